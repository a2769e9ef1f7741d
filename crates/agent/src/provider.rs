//! Where configuration comes from: files (`-f`) or URIs (`-u`), merged in the order in which they
//! are named, or a node of ZooKeeper (`-z`).
//!
//! Flume: `UriConfigurationProvider` and its sources, `PollingZooKeeperConfigurationProvider` and
//! `StaticZooKeeperConfigurationProvider`. Differences, on purpose: contents are compared, so that
//! a touched file or a server that always answers 200 restarts nothing; a file is applied only once
//! two looks at it agree; the backup holds what was read, not resolved values, so that it holds no
//! secret that the source does not hold.

mod file;
mod http;
mod texts;
mod uri;
mod zookeeper;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use splashdam_config::{Source, Sources};
use splashdam_zookeeper::Seen;
use tokio::sync::watch::Receiver;
use tracing::warn;

pub use uri::UriError;

use texts::{Origin, Place, Texts};
use zookeeper::ZooKeeper;

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
    /// A node of ZooKeeper; as in Flume files and URIs are ignored when there is one.
    pub zookeeper: Option<ZooKeeperSettings>,
}

/// What the command line says about ZooKeeper.
#[derive(Clone, Debug)]
pub struct ZooKeeperSettings {
    /// Its servers, and perhaps a path that stands before all paths (`-z`).
    pub connect: String,
    /// The node above the agent's (`-p`); `/flume` when there is none.
    pub base_path: Option<String>,
    /// Whether the node is followed, or read once (`--no-reload-conf`).
    pub follow: bool,
    /// Which of the servers is asked first, counted round and round.
    pub first: usize,
}

/// Reads configuration and notices when it changes.
pub struct Provider {
    place: Whence,
    warnings: Vec<String>,
    backup: Option<PathBuf>,
}

enum Whence {
    Texts(Texts),
    ZooKeeper(ZooKeeper),
}

/// What was read.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// The texts, in the order in which they are merged. None is where there is nothing to run: an
    /// agent idles then.
    pub sources: Sources,
    /// What was left out or is not as asked for; to be shown once.
    pub warnings: Vec<String>,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// Nothing was named that could be read.
    #[error(
        "no configuration was named; give a file with --conf-file, a file, http, https or classpath URI with --conf-uri, or a ZooKeeper with --zkConnString"
    )]
    Nothing,
    /// A URI makes no sense.
    #[error(transparent)]
    Uri(#[from] UriError),
    /// What is said of ZooKeeper makes no sense.
    #[error("--{option}: {cause}")]
    ZooKeeper {
        /// The option.
        option: &'static str,
        /// What is wrong with its value.
        cause: String,
    },
    /// A file, URI or node could not be read.
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

impl Provider {
    /// Decides what is to be read; nothing is touched yet.
    pub fn new(settings: &Settings) -> Result<Self, ProviderError> {
        let mut warnings = Vec::new();
        let place = match &settings.zookeeper {
            Some(zookeeper) => {
                if !(settings.uris.is_empty() && settings.files.is_empty()) {
                    warnings.push(
                        "--conf-file and --conf-uri are ignored because --zkConnString is given, as in Flume".into(),
                    );
                }
                Whence::ZooKeeper(ZooKeeper::new(zookeeper, &settings.agent)?)
            }
            None => Whence::Texts(texts(settings, &mut warnings)?),
        };
        let backup = settings.backup.as_ref();
        let backup = backup.map(|dir| dir.join(format!(".{}.properties", settings.agent)));
        Ok(Provider { place, warnings, backup })
    }

    /// Whether anything is fetched by http(s): Flume then polls every 300 s instead of every 30 s.
    pub fn is_remote(&self) -> bool {
        let http = |origin: &Origin| matches!(origin.place, Place::Http(_));
        self.texts().iter().any(http)
    }

    /// The files whose changes matter, for notification.
    pub fn files(&self) -> Vec<PathBuf> {
        let files = self.texts().iter().filter_map(|origin| match &origin.place {
            Place::File(path) => Some(path.clone()),
            Place::Classpath(_) | Place::Http(_) => None,
        });
        files.collect()
    }

    /// The node that is followed, for notification.
    pub fn node(&self) -> Option<Receiver<Seen>> {
        match &self.place {
            Whence::ZooKeeper(zookeeper) => zookeeper.seen(),
            Whence::Texts(_) => None,
        }
    }

    fn texts(&self) -> &[Origin] {
        match &self.place {
            Whence::Texts(texts) => &texts.0,
            Whence::ZooKeeper(_) => &[],
        }
    }

    /// Reads everything for the first time. What cannot be read is fatal, unless there is a backup
    /// or it is a node that is followed: that may come later. Needs a tokio runtime.
    pub async fn load(&mut self) -> Result<Loaded, ProviderError> {
        let mut warnings = std::mem::take(&mut self.warnings);
        let (read, may_come) = match &mut self.place {
            Whence::Texts(texts) => (texts.read().await.map(|()| None), false),
            Whence::ZooKeeper(zookeeper) => {
                (zookeeper.read().await.map(|found| zookeeper.warning(&found)), zookeeper.follows())
            }
        };
        match read {
            Ok(warning) => {
                warnings.extend(warning);
                self.write_backup().await;
                Ok(Loaded { sources: self.sources(), warnings })
            }
            Err(error) => match self.backup.clone().filter(|path| path.exists()) {
                Some(path) => {
                    warnings.push(format!("{error}; starting from the backup {}", path.display()));
                    self.load_backup(&path).await.map(|sources| Loaded { sources, warnings })
                }
                None if may_come => {
                    warnings.push(format!("{error}; the agent idles until one does"));
                    Ok(Loaded { sources: Sources::new(), warnings })
                }
                None => Err(error),
            },
        }
    }

    /// Looks again. `None` when nothing has changed; otherwise everything, changed or not. An
    /// error changes nothing: what was read before stays in force. Something that can no longer be
    /// read does not keep changes elsewhere from being seen, and a file that never comes to rest
    /// only puts them off to a later look.
    pub async fn poll(&mut self) -> Result<Option<Loaded>, ProviderError> {
        let warnings: Vec<String> = match &mut self.place {
            Whence::Texts(texts) => {
                let Some(troubles) = texts.poll().await? else { return Ok(None) };
                troubles.iter().map(ToString::to_string).collect()
            }
            Whence::ZooKeeper(zookeeper) => {
                let Some(found) = zookeeper.poll()? else { return Ok(None) };
                zookeeper.warning(&found).into_iter().collect()
            }
        };
        self.write_backup().await;
        Ok(Some(Loaded { sources: self.sources(), warnings }))
    }

    fn sources(&self) -> Sources {
        match &self.place {
            Whence::Texts(texts) => {
                let read = texts.0.iter().filter_map(|origin| {
                    let content = origin.content.as_ref()?;
                    Some(Source::from_latin1(origin.name.clone(), content))
                });
                read.collect()
            }
            Whence::ZooKeeper(zookeeper) => {
                let text = |bytes: &[u8]| Source::from_zookeeper(zookeeper.name(), bytes);
                zookeeper.content().map(text).into_iter().collect()
            }
        }
    }

    async fn load_backup(&self, path: &Path) -> Result<Sources, ProviderError> {
        let name: Arc<str> = path.display().to_string().into();
        let read = file::read(path).await;
        let bytes =
            read.map_err(|cause| ProviderError::Unreadable { name: name.clone(), cause })?;
        Ok(match &self.place {
            Whence::Texts(_) => std::iter::once(Source::from_latin1(name, &bytes)).collect(),
            Whence::ZooKeeper(_) if is_blank(&bytes) => Sources::new(),
            Whence::ZooKeeper(_) => std::iter::once(Source::from_zookeeper(name, &bytes)).collect(),
        })
    }

    /// Keeps a copy. A backup that cannot be written is no reason not to run.
    async fn write_backup(&self) {
        let Some(path) = &self.backup else { return };
        let mut merged = Vec::new();
        let contents = self.texts().iter().filter_map(|origin| origin.content.as_deref());
        let node = match &self.place {
            Whence::ZooKeeper(zookeeper) => zookeeper.content(),
            Whence::Texts(_) => None,
        };
        for content in contents.chain(node) {
            merged.extend_from_slice(content);
            // The first ends a last line, the second one that a backslash continued.
            merged.extend_from_slice(b"\n\n");
        }
        if let Err(error) = file::replace(path, merged).await {
            warn!(path = %path.display(), %error, "cannot write the backup of the configuration");
        }
    }
}

/// What the files or URIs of the command line lead to.
fn texts(settings: &Settings, warnings: &mut Vec<String>) -> Result<Texts, ProviderError> {
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
    Ok(Texts(origins))
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
