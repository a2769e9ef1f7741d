//! Config filter `hadoop`: passwords out of Hadoop's credential stores.
//!
//! Flume's class: `org.apache.flume.configfilter.HadoopCredentialStoreConfigFilter`. Read are
//! `localjceks://file/path` and `jceks://file/path`, which are JCEKS key stores in local files; a
//! store in HDFS or in another format has to be copied to such a one first. As in Hadoop the
//! password is that of the variable `HADOOP_CREDSTORE_PASSWORD`, else of the password file, else
//! `none`, and several stores, behind commas, are asked one after the other.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use splashdam_config::{CommaList, ConfigFilter};
use splashdam_core::{Component, Context, OpenError};

use crate::jceks::KeyStore;

const PASSWORD_VARIABLE: &str = "HADOOP_CREDSTORE_PASSWORD";
const DEFAULT_PASSWORD: &str = "none";
/// The most bytes of a password file.
const PASSWORD_LIMIT_BYTES: u64 = 4096;

/// Keys of the Hadoop credential store filter.
#[derive(Clone, Debug, Deserialize)]
pub struct Config {
    /// The stores, behind commas, as `localjceks://file/etc/flume/secrets.jceks`. Hadoop's
    /// `hadoop.security.credential.provider.path`.
    #[serde(rename = "credential.provider.path")]
    pub provider_path: Providers,
    /// A file with the password of the stores, used when the environment has none. Hadoop looks
    /// for it on Java's class path; here it is an ordinary path.
    #[serde(rename = "credstore.java-keystore-provider.password-file", default)]
    pub password_file: Option<PathBuf>,
}

/// Paths of local key stores.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "CommaList")]
pub struct Providers(Vec<PathBuf>);

impl TryFrom<CommaList> for Providers {
    type Error = String;
    fn try_from(CommaList(uris): CommaList) -> Result<Self, String> {
        if uris.is_empty() {
            return Err("it names no credential store".into());
        }
        uris.iter().map(|uri| local_path(uri)).collect::<Result<_, _>>().map(Providers)
    }
}

/// The path behind `localjceks://file/path` or `jceks://file/path`.
fn local_path(uri: &str) -> Result<PathBuf, String> {
    let advice = "write localjceks://file/PATH and put a JCEKS store there";
    let (scheme, rest) =
        uri.split_once("://").ok_or_else(|| format!("`{uri}` is not a URI; {advice}"))?;
    if !matches!(scheme, "localjceks" | "jceks") {
        return Err(format!("credential stores of type `{scheme}` cannot be read; {advice}"));
    }
    match rest.split_once('/') {
        Some(("file", path)) if !path.is_empty() => Ok(Path::new("/").join(path)),
        Some(("file", _)) | None => Err(format!("`{uri}` names no file; {advice}")),
        Some((place, _)) => {
            Err(format!("the store is in `{place}`, not in a local file; {advice}"))
        }
    }
}

/// The filter.
#[derive(Debug)]
pub struct HadoopCredentials {
    stores: Vec<KeyStore>,
    password: String,
}

impl Component for HadoopCredentials {
    const TYPE: &'static str = "hadoop";
    const ALIASES: &'static [&'static str] =
        &["org.apache.flume.configfilter.HadoopCredentialStoreConfigFilter"];
    type Config = Config;

    async fn open(config: Config, cx: Context) -> Result<Self, OpenError> {
        let password = match (cx.world.variable(PASSWORD_VARIABLE), &config.password_file) {
            (Some(password), _) => password,
            (None, Some(path)) => password_of(path).map_err(OpenError::unavailable)?,
            (None, None) => DEFAULT_PASSWORD.to_owned(),
        };
        let open = |path: &PathBuf| {
            KeyStore::read(path, &password)
                .map_err(|error| format!("credential store {}: {error}", path.display()))
        };
        let stores = config.provider_path.0.iter().map(open).collect::<Result<_, _>>();
        Ok(HadoopCredentials { stores: stores.map_err(OpenError::unavailable)?, password })
    }
}

fn password_of(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    let read = std::fs::File::open(path)
        .and_then(|file| file.take(PASSWORD_LIMIT_BYTES).read_to_string(&mut text));
    read.map_err(|error| format!("cannot read the password file {}: {error}", path.display()))?;
    Ok(text.trim().to_owned())
}

impl ConfigFilter for HadoopCredentials {
    fn lookup(&self, key: &str) -> Result<Option<String>, String> {
        for store in &self.stores {
            if let Some(found) =
                store.secret_key(key, &self.password).map_err(|error| error.to_string())?
            {
                let text = String::from_utf8(found.bytes);
                return text.map(Some).map_err(|_| format!("credential {key} is not a text"));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use splashdam_config::Section;
    use splashdam_core::Role;
    use splashdam_testkit::FakeWorld;
    use splashdam_testkit::fakes::context_in;

    /// A folder of stores that a JDK wrote; see the tests of [`crate::jceks`].
    const STORES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/jceks");

    async fn open(keys: &str, world: FakeWorld) -> Result<HadoopCredentials, String> {
        let config = Section::parse(keys).read::<Config>().into_result().unwrap();
        let cx = context_in(Role::Source, Arc::new(world));
        HadoopCredentials::open(config, cx).await.map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn credentials_are_found_in_any_store() {
        let keys = format!(
            "credential.provider.path = localjceks://file{STORES}/credentials.jceks, \
             jceks://file{STORES}/credentials.jceks"
        );
        let filter = open(&keys, FakeWorld::default()).await.unwrap();
        for (key, want) in
            [("db.password", Some("s3cr3t grün")), ("Sink.Token", Some("token")), ("other", None)]
        {
            assert_eq!(filter.lookup(key), Ok(want.map(str::to_owned)), "{key}");
        }
    }

    #[tokio::test]
    async fn the_password_is_looked_for_as_hadoop_does() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("password");
        std::fs::write(&file, "changeit\n").unwrap();
        let path = format!("credential.provider.path = localjceks://file{STORES}/imported.jceks");
        let with_file =
            format!("{path}\ncredstore.java-keystore-provider.password-file = {}", file.display());
        let variable =
            |password: &str| FakeWorld::default().with_variable(PASSWORD_VARIABLE, password);
        let wrong = open(&path, FakeWorld::default()).await.unwrap_err();
        assert!(wrong.contains("imported.jceks") && wrong.contains("password"), "{wrong}");
        for (keys, world) in [(&with_file, FakeWorld::default()), (&path, variable("changeit"))] {
            let filter = open(keys, world).await.unwrap();
            assert_eq!(filter.lookup("imported"), Ok(Some("secret".into())));
        }
        open(&with_file, variable("wrong")).await.unwrap_err();
        std::fs::remove_file(&file).unwrap();
        let missing = open(&with_file, FakeWorld::default()).await.unwrap_err();
        assert!(missing.contains("cannot read the password file"), "{missing}");
        let missing = "credential.provider.path = localjceks://file/no/such.jceks";
        let missing = open(missing, FakeWorld::default()).await.unwrap_err();
        assert!(missing.contains("/no/such.jceks"), "{missing}");
    }

    #[test]
    fn stores_elsewhere_are_refused_with_advice() {
        let check = |uri: &str, want: Result<&str, &str>| match (local_path(uri), want) {
            (Ok(path), Ok(want)) => assert_eq!(path, Path::new(want)),
            (Err(error), Err(want)) => assert!(error.contains(want), "{error}"),
            (got, _) => panic!("{uri}: {got:?}"),
        };
        check("localjceks://file/a/b.jceks", Ok("/a/b.jceks"));
        check("jceks://file/a/b.jceks", Ok("/a/b.jceks"));
        check("jceks://file//a/b.jceks", Ok("/a/b.jceks"));
        check("jceks://hdfs@nn1:8020/a", Err("not in a local file"));
        check("localjceks://file/", Err("names no file"));
        check("localjceks://file", Err("names no file"));
        check("user:///", Err("type `user`"));
        check("bcfks://file/a", Err("type `bcfks`"));
        check("/a/b.jceks", Err("is not a URI"));
        let empty = Section::parse("credential.provider.path = ,").read::<Config>();
        assert!(empty.value.is_none());
    }
}
