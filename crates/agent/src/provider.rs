//! Where configuration comes from: files (`-f`) or URIs (`-u`), merged in the order in which they
//! are named.
//!
//! Flume: `UriConfigurationProvider` and its sources. Differences, on purpose: contents are
//! compared, so that a touched file or a server that always answers 200 restarts nothing; a file
//! is applied only once two looks at it agree; the backup holds what was read, not resolved
//! values, so that it holds no secret that the source does not hold.

mod file;
mod http;
mod uri;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use splashdam_config::{Source, Sources};
use tracing::warn;

pub use uri::UriError;

/// How long a changed file must stay as it is before it is believed to be whole.
const SETTLE: Duration = Duration::from_millis(100);
/// The same for one whose last line has no end, as while an editor or `cat` writes it in place.
const SETTLE_UNENDED: Duration = Duration::from_secs(1);
/// How often a file that keeps changing is looked at before it is left to the next poll.
const SETTLE_LOOKS: usize = 20;

/// What the command line says about where configuration comes from.
#[derive(Clone, Default)]
pub struct Settings {
    /// The agent's name (`-n`), for the name of the backup.
    pub agent: String,
    /// Files (`-f`), later ones override earlier ones. As in Flume they are ignored when there
    /// are URIs.
    pub files: Vec<PathBuf>,
    /// URIs (`-u`) with the schemes `file`, `http`, `https` and `classpath`.
    pub uris: Vec<String>,
    /// The configuration directory (`-c`), against which `classpath:` is resolved; the working
    /// directory when there is none.
    pub conf_dir: Option<PathBuf>,
    /// The user for Basic authentication of http(s) URIs (`--conf-user`).
    pub user: Option<String>,
    /// The password to go with it (`--conf-password`).
    pub password: Option<String>,
    /// Where a copy of what was read is kept for a start without the source (`-b`).
    pub backup: Option<PathBuf>,
}

/// Reads configuration and notices when it changes.
pub struct Provider {
    origins: Vec<Origin>,
    warnings: Vec<String>,
    backup: Option<PathBuf>,
}

/// What was read.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// The texts, in the order in which they are merged.
    pub sources: Sources,
    /// What was left out or is not as asked for; to be shown once.
    pub warnings: Vec<String>,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// Nothing was named that could be read.
    #[error(
        "no configuration was named; give a file with --conf-file or a file, http, https or classpath URI with --conf-uri"
    )]
    Nothing,
    /// A URI makes no sense.
    #[error(transparent)]
    Uri(#[from] UriError),
    /// A file or URI could not be read.
    #[error("cannot read the configuration {name}: {cause}")]
    Unreadable {
        /// Path or URI, without credentials.
        name: Arc<str>,
        /// What was in the way, and what to do.
        cause: String,
    },
    /// A file that was not empty has become so: most likely it is being written.
    #[error("the configuration {name} has become empty; what it said before stays in force")]
    Emptied {
        /// Path or URI.
        name: Arc<str>,
    },
}

/// One file or URI, and what it said when it was last read.
struct Origin {
    /// Path or URI without credentials, for messages.
    name: Arc<str>,
    place: Place,
    content: Option<Arc<[u8]>>,
    /// What was fetched since and is not applied yet: the server says that the same is still
    /// there, and does not send it again.
    fetched: Option<Arc<[u8]>>,
}

enum Place {
    File(PathBuf),
    /// Read once, as in Flume.
    Classpath(PathBuf),
    Http(Box<http::Fetch>),
}

impl Origin {
    fn new(name: Arc<str>, place: Place) -> Self {
        Origin { name, place, content: None, fetched: None }
    }
}

impl Provider {
    /// Decides what is to be read; nothing is touched yet.
    pub fn new(settings: &Settings) -> Result<Self, ProviderError> {
        let mut warnings = Vec::new();
        let mut origins = Vec::new();
        if settings.uris.is_empty() {
            for path in &settings.files {
                let name = path.display().to_string().into();
                origins.push(Origin::new(name, Place::File(path.clone())));
            }
        } else {
            if !settings.files.is_empty() {
                warnings.push(
                    "--conf-file is ignored because --conf-uri is given, as in Flume; name the files as file: URIs to merge them".into(),
                );
            }
            for written in &settings.uris {
                match uri::place(written, settings)? {
                    uri::Found::At { name, place } => {
                        origins.push(Origin::new(name, place));
                    }
                    uri::Found::Skipped(why) => warnings.push(why),
                }
            }
        }
        if origins.is_empty() {
            return Err(ProviderError::Nothing);
        }
        let backup = settings.backup.as_ref();
        let backup = backup.map(|dir| dir.join(format!(".{}.properties", settings.agent)));
        Ok(Provider { origins, warnings, backup })
    }

    /// Whether anything is fetched by http(s): Flume then polls every 300 s instead of every 30 s.
    pub fn is_remote(&self) -> bool {
        self.origins.iter().any(|origin| matches!(origin.place, Place::Http(_)))
    }

    /// The files whose changes matter, for notification.
    pub fn files(&self) -> Vec<PathBuf> {
        let files = self.origins.iter().filter_map(|origin| match &origin.place {
            Place::File(path) => Some(path.clone()),
            Place::Classpath(_) | Place::Http(_) => None,
        });
        files.collect()
    }

    /// Reads everything for the first time. What cannot be read is fatal, unless there is a backup.
    pub async fn load(&mut self) -> Result<Loaded, ProviderError> {
        let mut warnings = std::mem::take(&mut self.warnings);
        match self.read_all().await {
            Ok(()) => {
                self.write_backup().await;
                Ok(Loaded { sources: self.sources(), warnings })
            }
            Err(error) => {
                let Some(path) = self.backup.clone().filter(|path| path.exists()) else {
                    return Err(error);
                };
                let name: Arc<str> = path.display().to_string().into();
                let bytes = file::read(&path)
                    .await
                    .map_err(|cause| ProviderError::Unreadable { name: name.clone(), cause })?;
                warnings.push(format!("{error}; starting from the backup {name}"));
                let sources = std::iter::once(Source::from_latin1(name, &bytes)).collect();
                Ok(Loaded { sources, warnings })
            }
        }
    }

    /// Looks again. `None` when nothing has changed; otherwise everything, changed or not. An
    /// error changes nothing: what was read before stays in force. Something that can no longer be
    /// read does not keep changes elsewhere from being seen, and a file that never comes to rest
    /// only puts them off to a later look.
    pub async fn poll(&mut self) -> Result<Option<Loaded>, ProviderError> {
        let mut troubles = Vec::new();
        let mut fresh = self.look(&mut troubles).await;
        for _ in 0..SETTLE_LOOKS {
            if fresh.iter().all(Option::is_none) {
                return match troubles.into_iter().next() {
                    Some(trouble) => Err(trouble),
                    None => Ok(None),
                };
            }
            let unended = fresh.iter().flatten().any(|bytes| !bytes.ends_with(b"\n"));
            tokio::time::sleep(if unended { SETTLE_UNENDED } else { SETTLE }).await;
            troubles.clear();
            let again = self.look(&mut troubles).await;
            if again == fresh {
                for (origin, found) in self.origins.iter_mut().zip(fresh) {
                    if let Some(found) = found {
                        origin.content = Some(found);
                        origin.fetched = None;
                    }
                }
                self.write_backup().await;
                let warnings = troubles.iter().map(ToString::to_string).collect();
                return Ok(Some(Loaded { sources: self.sources(), warnings }));
            }
            fresh = again;
        }
        Ok(None)
    }

    async fn read_all(&mut self) -> Result<(), ProviderError> {
        for origin in &mut self.origins {
            let read = match &mut origin.place {
                Place::File(path) | Place::Classpath(path) => file::read(path).await.map(Some),
                Place::Http(fetch) => fetch.get().await,
            };
            match read {
                Ok(Some(bytes)) => origin.content = Some(bytes),
                Ok(None) => {}
                Err(cause) => {
                    return Err(ProviderError::Unreadable { name: origin.name.clone(), cause });
                }
            }
        }
        Ok(())
    }

    /// What is new at each origin.
    async fn look(&mut self, troubles: &mut Vec<ProviderError>) -> Vec<Option<Arc<[u8]>>> {
        let mut all = Vec::with_capacity(self.origins.len());
        for origin in &mut self.origins {
            let read = match &mut origin.place {
                Place::File(path) => file::read_again(path).await,
                Place::Classpath(_) => Ok(None),
                Place::Http(fetch) => match fetch.get().await {
                    Ok(Some(body)) => {
                        let new = origin.content.as_ref() != Some(&body) && !is_blank(&body);
                        origin.fetched = new.then(|| body.clone());
                        Ok(Some(body))
                    }
                    Ok(None) => Ok(origin.fetched.clone()),
                    Err(cause) => Err(cause),
                },
            };
            all.push(match read {
                Ok(Some(bytes)) if origin.content.as_ref() == Some(&bytes) => None,
                Ok(Some(bytes)) if is_blank(&bytes) => {
                    troubles.push(ProviderError::Emptied { name: origin.name.clone() });
                    None
                }
                Ok(Some(bytes)) => Some(bytes),
                Ok(None) => None,
                Err(cause) => {
                    troubles.push(ProviderError::Unreadable { name: origin.name.clone(), cause });
                    origin.fetched.clone()
                }
            });
        }
        all
    }

    fn sources(&self) -> Sources {
        let read = self.origins.iter().filter_map(|origin| {
            let content = origin.content.as_ref()?;
            Some(Source::from_latin1(origin.name.clone(), content))
        });
        read.collect()
    }

    /// Keeps a copy. A backup that cannot be written is no reason not to run.
    async fn write_backup(&self) {
        let Some(path) = &self.backup else { return };
        let mut merged = Vec::new();
        for content in self.origins.iter().filter_map(|origin| origin.content.as_ref()) {
            merged.extend_from_slice(content);
            // The first ends a last line, the second one that a backslash continued.
            merged.extend_from_slice(b"\n\n");
        }
        if let Err(error) = file::replace(path, merged).await {
            warn!(path = %path.display(), %error, "cannot write the backup of the configuration");
        }
    }
}

fn is_blank(bytes: &[u8]) -> bool {
    bytes.iter().all(u8::is_ascii_whitespace)
}

/// The directory that a relative `classpath:` name is looked for in.
fn class_directory(settings: &Settings) -> &Path {
    settings.conf_dir.as_deref().unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests;
