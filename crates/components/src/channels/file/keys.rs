//! The keys of an encrypted channel: named as in Flume, read out of a JCEKS key store.
//!
//! Flume's class: `org.apache.flume.channel.file.encryption.JCEKSFileKeyProvider`.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use splashdam_config::{Diagnostic, Section};
use splashdam_wal as wal;
use tracing::warn;

use super::config::Config;
use crate::jceks::{KeyStore, KeyStoreError, SecretKey};
use crate::tls::readable_secret;

/// The most bytes of a password file.
const PASSWORD_LIMIT_BYTES: u64 = 4096;
/// The most keys a channel names.
const MOST_KEYS: usize = 1024;

const PROVIDERS: [&str; 3] = [
    "JCEKSFILE",
    "org.apache.flume.channel.file.encryption.JCEKSFileKeyProvider",
    "org.apache.flume.channel.file.encryption.JCEKSFileKeyProvider$Builder",
];
const CIPHERS: [&str; 3] = [
    "AESCTRNOPADDING",
    "org.apache.flume.channel.file.encryption.AESCTRNoPaddingProvider",
    "org.apache.flume.channel.file.encryption.AESCTRNoPaddingProvider$Provider",
];

/// Where the keys of a channel are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeySource {
    store: PathBuf,
    password_file: PathBuf,
    /// Aliases, each with the file of its password if it has one of its own.
    keys: Vec<(String, Option<PathBuf>)>,
    active: String,
}

/// Keys that were read, and the one for new data.
#[derive(Clone)]
pub(super) struct StoredKeys {
    active: String,
    keys: BTreeMap<String, (SecretKey, wal::Key)>,
}

/// Why the keys of a channel cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A password file.
    #[error("cannot read the password file {}: {source}", path.display())]
    Password {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The store as a whole.
    #[error("key store {}: {source}", store.display())]
    Store {
        /// The store.
        store: PathBuf,
        /// What is wrong.
        source: KeyStoreError,
    },
    /// One key.
    #[error("key {alias} of key store {}: {what}", store.display())]
    Key {
        /// The store.
        store: PathBuf,
        /// The key.
        alias: String,
        /// What is wrong.
        what: String,
    },
}

fn one_of(known: &[&str], written: &str) -> bool {
    known.iter().any(|name| name.eq_ignore_ascii_case(written))
}

impl KeySource {
    /// What channels of one log must agree on: first of all, whether there are keys.
    pub(super) fn terms(of: Option<&KeySource>) -> Vec<(&'static str, String)> {
        let Some(KeySource { store, password_file, keys, active }) = of else {
            return vec![("encryption.activeKey", String::new())];
        };
        vec![
            ("encryption.activeKey", active.clone()),
            ("encryption.keyProvider.keyStoreFile", store.display().to_string()),
            ("encryption.keyProvider.keyStorePasswordFile", password_file.display().to_string()),
            ("encryption.keyProvider.keys", format!("{keys:?}")),
        ]
    }

    /// What a configuration says of keys; `None` when it says nothing.
    ///
    /// # Errors
    /// What is missing or unknown, each with the key that it is about.
    pub(super) fn of(config: &Config) -> Result<Option<KeySource>, Vec<(String, Diagnostic)>> {
        let section = &config.key_provider;
        let provider = section.value();
        let three = [
            ("encryption.activeKey", config.active_key.as_deref()),
            ("encryption.cipherProvider", config.cipher_provider.as_deref()),
            ("encryption.keyProvider", provider),
        ];
        if three.iter().all(|(_, value)| value.is_none()) {
            return Ok(None);
        }
        let mut wrong = Vec::new();
        let mut missing = |key: &str, help: &str| {
            let message = format!("{key} is missing, which encryption needs");
            let finding = Diagnostic::error("missing-key", message).help(help.to_owned());
            // It has no place of its own: that of whatever asks for encryption will do.
            let place =
                three.iter().find(|(_, value)| value.is_some()).map_or(key, |(key, _)| *key);
            wrong.push((place.to_owned(), finding));
        };
        for (key, value) in three {
            if value.is_none() {
                missing(
                    key,
                    "write all three of encryption.activeKey, .cipherProvider and .keyProvider, or none",
                );
            }
        }
        let needed = |key: &str| section.get(key).filter(|value| !value.is_empty());
        let whole = |key: &str| format!("encryption.keyProvider.{key}");
        if provider.is_some() {
            for key in ["keyStoreFile", "keyStorePasswordFile", "keys"] {
                if needed(key).is_none() {
                    missing(
                        &whole(key),
                        "name the JCEKS key store, the file with its password, and the aliases of its keys",
                    );
                }
            }
        }
        let aliases: Vec<&str> = needed("keys").unwrap_or_default().split_whitespace().collect();
        let mut unfit = |key: &str, message: String, help: &str| {
            let finding = Diagnostic::error("invalid-value", message).help(help.to_owned());
            wrong.push((key.to_owned(), finding));
        };
        if let Some(written) = provider.filter(|written| !one_of(&PROVIDERS, written)) {
            let message = format!("key provider {written} is not known");
            unfit(
                "encryption.keyProvider",
                message,
                "write JCEKSFILE; Java classes are not loaded",
            );
        }
        if let Some(written) = &config.cipher_provider
            && !one_of(&CIPHERS, written)
        {
            let message = format!("cipher provider {written} is not known");
            unfit(
                "encryption.cipherProvider",
                message,
                "write AESCTRNOPADDING, by which a flume's data is read; new data is sealed with AES-256-GCM",
            );
        }
        if aliases.len() > MOST_KEYS {
            let message = format!("{} keys are named, and {MOST_KEYS} is the most", aliases.len());
            unfit("encryption.keyProvider", message, "name the keys that data is encrypted with");
        }
        if let Some(active) = &config.active_key {
            if !aliases.is_empty() && !aliases.contains(&active.as_str()) {
                let message =
                    format!("the active key {active} is not among encryption.keyProvider.keys");
                unfit(
                    "encryption.activeKey",
                    message,
                    "add its alias to encryption.keyProvider.keys",
                );
            }
            if active.len() > wal::seal::MOST_ALIAS {
                let most = wal::seal::MOST_ALIAS;
                let message = format!("the alias of the active key is longer than {most} bytes");
                unfit("encryption.activeKey", message, "give the key a shorter alias");
            }
        }
        if !wrong.is_empty() {
            return Err(wrong);
        }
        let path = |key: &str| PathBuf::from(needed(key).unwrap_or_default());
        let own =
            |alias: &str| section.get(&format!("keys.{alias}.passwordFile")).map(PathBuf::from);
        Ok(Some(KeySource {
            store: path("keyStoreFile"),
            password_file: path("keyStorePasswordFile"),
            keys: aliases.iter().map(|alias| ((*alias).to_owned(), own(alias))).collect(),
            active: config.active_key.clone().unwrap_or_default(),
        }))
    }

    /// Reads all keys. Blocking.
    pub(super) fn read(&self) -> Result<StoredKeys, KeyError> {
        let password = password_of(&self.password_file)?;
        let store = KeyStore::read(&self.store, &password)
            .map_err(|source| KeyError::Store { store: self.store.clone(), source })?;
        let mut keys = BTreeMap::new();
        for (alias, file) in &self.keys {
            let wrong = |what: String| KeyError::Key {
                store: self.store.clone(),
                alias: alias.clone(),
                what,
            };
            let own = match file {
                // As in Flume, where a missing file means the password of the store.
                Some(path) if !path.exists() => {
                    warn!(%alias, file = %path.display(), "the password file of a key is missing; the password of the key store is tried");
                    password.clone()
                }
                Some(path) => password_of(path)?,
                None => password.clone(),
            };
            let secret = store
                .secret_key(alias, &own)
                .map_err(|error| wrong(error.to_string()))?
                .ok_or_else(|| {
                    wrong("there is no secret key of that name; add it, or take it out of encryption.keyProvider.keys".into())
                })?;
            let key = wal::Key::new(&secret.bytes).ok_or_else(|| {
                wrong(format!(
                    "it has {} bytes, and {} are needed; make an AES key of 128 bits or more",
                    secret.bytes.len(),
                    wal::seal::LEAST_KEY
                ))
            })?;
            keys.insert(alias.clone(), (secret, key));
        }
        Ok(StoredKeys { active: self.active.clone(), keys })
    }
}

impl StoredKeys {
    /// The key as Flume's own logs use it.
    pub(super) fn secret(&self, alias: &str) -> Option<SecretKey> {
        self.find(alias).map(|(secret, _)| secret.clone())
    }

    /// Key stores know no case.
    fn find(&self, alias: &str) -> Option<&(SecretKey, wal::Key)> {
        let other = || {
            let found = self.keys.iter().find(|(known, _)| known.eq_ignore_ascii_case(alias));
            found.map(|(_, key)| key)
        };
        self.keys.get(alias).or_else(other)
    }
}

impl wal::Keys for StoredKeys {
    fn active(&self) -> Option<(String, wal::Key)> {
        self.find(&self.active).map(|(_, key)| (self.active.clone(), key.clone()))
    }

    fn key(&self, alias: &str) -> Option<wal::Key> {
        self.find(alias).map(|(_, key)| key.clone())
    }
}

fn password_of(path: &Path) -> Result<String, KeyError> {
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(PASSWORD_LIMIT_BYTES).read_to_string(&mut text))
        .map_err(|source| KeyError::Password { path: path.to_owned(), source })?;
    Ok(text.trim().to_owned())
}

/// Keys below `encryption.keyProvider` that nothing asks for.
pub(super) fn strangers(section: &Section) -> Vec<String> {
    let known = |key: &str| {
        matches!(key, "keyStoreFile" | "keyStorePasswordFile" | "keys")
            || (key.starts_with("keys.") && key.ends_with(".passwordFile"))
    };
    section.keys().filter(|key| !known(key)).map(str::to_owned).collect()
}

/// Warnings for key stores and passwords that every user of the machine can read.
pub(super) fn in_sight(section: &Section) -> Vec<Diagnostic> {
    let secret = |key: &str| {
        matches!(key, "keyStoreFile" | "keyStorePasswordFile") || key.ends_with(".passwordFile")
    };
    let named = section.keys().filter(|key| secret(key));
    named.filter_map(|key| readable_secret(section.get(key).map(Path::new), key, section)).collect()
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn secrets_that_all_can_read_are_warned_of() {
        let dir = tempfile::tempdir().unwrap();
        let check = |modes: [u32; 3], want: &[&str]| {
            let names = ["keyStoreFile", "keyStorePasswordFile", "keys.k0.passwordFile"];
            let mut keys = "keys = k0\n".to_owned();
            for (name, mode) in names.iter().zip(modes) {
                let path = dir.path().join(name);
                fs::write(&path, "x").unwrap();
                fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
                keys += &format!("{name} = {}\n", path.display());
            }
            let section = Section::parse(&keys);
            let findings = in_sight(&section);
            let at: Vec<_> = findings.iter().map(|finding| (finding.code, finding.span)).collect();
            let place = |name: &&str| ("readable-secret", section.value_span(name));
            assert_eq!(at, want.iter().map(place).collect::<Vec<_>>(), "{modes:?}");
        };
        check([0o600, 0o640, 0o400], &[]);
        check([0o644, 0o600, 0o600], &["keyStoreFile"]);
        check([0o600, 0o604, 0o644], &["keyStorePasswordFile", "keys.k0.passwordFile"]);
    }
}
