//! URIs of `--conf-uri`: which scheme, which path.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::Arc;

use reqwest::Url;

use super::http::Fetch;
use super::{Place, Settings, class_directory};

/// What is wrong with a URI of `--conf-uri`.
#[derive(Debug, thiserror::Error)]
#[error("the configuration URI `{uri}` {what}")]
pub struct UriError {
    uri: String,
    what: String,
}

/// What a URI leads to.
pub(super) enum Found {
    At { name: Arc<str>, place: Place },
    Skipped(String),
}

/// Reads a URI. As in Flume an unknown scheme brings nothing, but here it is said.
pub(super) fn place(written: &str, settings: &Settings) -> Result<Found, UriError> {
    let refuse = |what: String| UriError { uri: without_credentials(written), what };
    let Some((scheme, rest)) = written.split_once(':') else {
        return Err(refuse(format!(
            "has no scheme; write file://{written} or use --conf-file for a file"
        )));
    };
    let path_of = |rest: &str| {
        // `//host/path`, `///path` and `/path` all mean the path.
        let path = match rest.strip_prefix("//") {
            Some(rest) => rest.find('/').map_or("", |at| &rest[at..]),
            None => rest,
        };
        decode_percent(path)
    };
    let at = |place| Ok(Found::At { name: without_credentials(written).into(), place });
    match scheme.to_ascii_lowercase().as_str() {
        "file" => {
            let path = path_of(rest);
            if path.as_os_str().is_empty() {
                return Err(refuse("names no file; write file:///path/to/flume.conf".into()));
            }
            if let Some(why) = other_format(written, &path) {
                return Ok(Found::Skipped(why));
            }
            at(Place::File(path))
        }
        "classpath" => {
            let name = decode_percent(rest.trim_start_matches('/'));
            if name.as_os_str().is_empty() {
                return Err(refuse("names no file; write classpath:///flume.conf".into()));
            }
            if let Some(why) = other_format(written, &name) {
                return Ok(Found::Skipped(why));
            }
            at(Place::Classpath(class_directory(settings).join(name)))
        }
        "http" | "https" => {
            let url = Url::parse(written).map_err(|error| refuse(format!("is wrong: {error}")))?;
            let path = PathBuf::from(url.path());
            if let Some(why) = other_format(written, &path) {
                return Ok(Found::Skipped(why));
            }
            let login = settings.user.clone().map(|user| (user, settings.password.clone()));
            at(Place::Http(Box::new(Fetch::new(url, login))))
        }
        _ => Ok(Found::Skipped(format!(
            "the configuration URI `{}` is ignored: scheme `{scheme}` is none of file, http, https and classpath",
            without_credentials(written)
        ))),
    }
}

/// Flume leaves out a path whose text after its first dot is one of these.
fn other_format(written: &str, path: &std::path::Path) -> Option<String> {
    let path = path.to_string_lossy();
    let (_, after) = path.split_once('.')?;
    ["json", "yaml", "xml"].contains(&after).then(|| {
        format!(
            "the configuration URI `{}` is ignored: only properties can be read, not {after}",
            without_credentials(written)
        )
    })
}

/// The URI without `user:password@`, for messages.
fn without_credentials(written: &str) -> String {
    let Some((scheme, rest)) = written.split_once("://") else { return written.to_owned() };
    let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let authority = &rest[..authority_end];
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{}", &rest[authority_end..])
}

fn decode_percent(text: &str) -> PathBuf {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = text.get(at + 1..at + 3).filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) if bytes[at] == b'%' => {
                out.push(byte);
                at += 3;
            }
            _ => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    PathBuf::from(OsString::from_vec(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn describe(written: &str) -> String {
        let settings = Settings { conf_dir: Some("/conf".into()), ..Settings::default() };
        match place(written, &settings) {
            Ok(Found::At { name, place }) => match place {
                Place::File(path) => format!("file {}", path.display()),
                Place::Classpath(path) => format!("classpath {}", path.display()),
                Place::Http(_) => format!("http {name}"),
            },
            Ok(Found::Skipped(why)) => format!("skipped: {why}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn schemes() {
        let check = |written: &str, want: &str| {
            let got = describe(written);
            assert!(got.starts_with(want), "{written}: {got}");
        };
        check("file:/etc/a.conf", "file /etc/a.conf");
        check("file:///etc/a%20b.conf", "file /etc/a b.conf");
        check("FILE://localhost/etc/a.conf", "file /etc/a.conf");
        check("file:///etc/100%", "file /etc/100%");
        check("file:///etc/x.json", "skipped: the configuration URI");
        check("file:///etc/flume.d/x.json", "file /etc/flume.d/x.json");
        check("classpath:flume.conf", "classpath /conf/flume.conf");
        check("classpath:///flume.conf", "classpath /conf/flume.conf");
        check("http://u:secret@h:1/p?x@y", "http http://h:1/p?x@y");
        check("ftp://u:secret@h/x", "skipped: the configuration URI `ftp://h/x` is ignored");
        check("/etc/a.conf", "the configuration URI `/etc/a.conf` has no scheme");
        check("http://", "the configuration URI `http://` is wrong");
        check("file:", "the configuration URI `file:` names no file");
    }
}
