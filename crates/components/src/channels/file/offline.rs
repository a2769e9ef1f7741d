//! The channel's log and what a Flume left, looked at while no agent runs: what the command line's
//! tools stand on.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;

use bytes::Bytes;
use splashdam_core::Event;
use splashdam_wal::offline::{self, Offline};
use splashdam_wal::storage::{Disk, Storage};
use splashdam_wire::avro::datum;

pub use splashdam_wal::offline::{DirectoryReport, QueueReport, Report, SegmentReport};
pub use splashdam_wal::record::SegmentEntry;
pub use splashdam_wal::{Damage, Loss, Notice};

use super::config::Config;
use super::flume::{self, Counts, FlumeChannel, Limits, Written};
use super::import::{Before, Import, ImportError, Imported, Step};
use super::keys::KeyError;

/// Events that wait between the log's reader and who writes them elsewhere.
const WAITING_EVENTS: usize = 64;

/// Why a tool cannot do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// A directory that is not there is not made.
    #[error(
        "{} is not there: mount its disk, or name the directories that the channel has as dataDirs; \
         if it is lost for good, `splashdam log accept-loss --directory` gives it up",
        .0.display()
    )]
    NoDirectory(PathBuf),
    /// A directory cannot be opened.
    #[error("cannot open directory {}: {source}", path.display())]
    Unreadable {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The configuration's keys do not fit.
    #[error("{0}")]
    Config(#[from] splashdam_core::OpenError),
    /// The keys of the encryption.
    #[error("{0}")]
    Keys(#[from] KeyError),
    /// The log refuses.
    #[error("{0}")]
    Log(#[from] splashdam_wal::OpenError),
    /// An import did not come to its end.
    #[error("{0}")]
    Import(#[from] ImportError),
    /// Flume's files.
    #[error("{0}")]
    Flume(#[from] flume::Error),
    /// No such queue.
    #[error("there is no channel {wanted} in this log; it has {}", all_or_none(known))]
    NoQueue {
        /// Asked for.
        wanted: String,
        /// There are.
        known: Vec<String>,
    },
    /// Several queues, and none was named.
    #[error("several channels share this log; say which: {}", .0.join(", "))]
    SeveralQueues(Vec<String>),
    /// The log has no queue yet.
    #[error("the log has no channel yet; name one")]
    NoQueues,
}

fn all_or_none(known: &[String]) -> String {
    if known.is_empty() { "none yet".to_owned() } else { known.join(", ") }
}

/// A log as it lies there.
pub struct Stored {
    log: Offline,
    places: Vec<PathBuf>,
    cut_off: Option<String>,
}

/// What reading the queued events came upon besides them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// Events handed out.
    pub events: u64,
    /// Damage in their way.
    pub damage: Vec<Damage>,
    /// Stored events that are none: a mistake of whoever wrote them.
    pub undecodable: u64,
}

impl Passed {
    /// Whether nothing is missing.
    pub fn whole(&self) -> bool {
        self.damage.is_empty() && self.undecodable == 0
    }
}

/// The directories of a log of ours, which must be there.
fn existing(directories: &[PathBuf]) -> Result<Vec<Arc<dyn Storage>>, ToolError> {
    let open = |path: &PathBuf| -> Result<Arc<dyn Storage>, ToolError> {
        if !path.is_dir() {
            return Err(ToolError::NoDirectory(path.clone()));
        }
        let disk = Disk::open(path)
            .map_err(|source| ToolError::Unreadable { path: path.clone(), source })?;
        Ok(Arc::new(disk))
    };
    directories.iter().map(open).collect()
}

/// Whether a log of ours lies in a directory.
pub fn is_ours(directory: &Path) -> bool {
    ["member-a", "member-b"].iter().any(|name| directory.join(name).is_file())
}

impl Stored {
    /// Opens the log of a channel with this configuration. With `force` it may be in use; what is
    /// written meanwhile may look like damage then. Blocking.
    pub fn open(config: &Config, home: &Path, force: bool) -> Result<Stored, ToolError> {
        config.refuse()?;
        let places = config.directories(home);
        let (options, _) = config.settings().options(Arc::new(|_| {}))?;
        let storages = existing(&places)?;
        let cut_off = match Before::look(&storages)? {
            Before::Begun(marker) => Some(marker.queue),
            Before::Nothing | Before::Done(_) => None,
        };
        let log = Offline::open(storages, options, force)?;
        Ok(Stored { log, places, cut_off })
    }

    /// Its directories as they were named.
    pub fn places(&self) -> &[PathBuf] {
        &self.places
    }

    /// The channel into which an import was cut off: what it holds is thrown away when it opens.
    pub fn cut_off_import(&self) -> Option<&str> {
        self.cut_off.as_deref()
    }

    /// The names of its queues.
    pub fn queues(&self) -> &[String] {
        self.log.queues()
    }

    /// The number of the queue of this name, or of the only one.
    pub fn queue(&self, name: Option<&str>) -> Result<u16, ToolError> {
        let known = self.log.queues();
        let found = match (name, known) {
            (Some(name), _) => known.iter().position(|known| known == name).ok_or_else(|| {
                ToolError::NoQueue { wanted: name.to_owned(), known: known.to_vec() }
            })?,
            (None, [_]) => 0,
            (None, []) => return Err(ToolError::NoQueues),
            (None, several) => return Err(ToolError::SeveralQueues(several.to_vec())),
        };
        u16::try_from(found).map_err(|_| ToolError::NoQueues)
    }

    /// Reads all there is, and says how it is. `progress` is told how many bytes of how many.
    pub fn verify(&self, progress: impl FnMut(u64, u64)) -> Report {
        self.log.verify(progress)
    }

    /// Copies damaged bytes that a report names into files beside the segments.
    pub fn set_aside(&self, report: &Report) -> Result<(), ToolError> {
        self.log.set_aside(report).map_err(|error| ToolError::Log(error.into()))
    }

    /// Hands out the queued events of a queue, in order and each with its number, until `each` says
    /// that it is enough.
    pub fn events(
        &self,
        queue: u16,
        mut each: impl FnMut(u64, Event) -> ControlFlow<()>,
    ) -> Passed {
        let mut passed = Passed::default();
        let damage = self.log.scan(queue, |stored| {
            match datum::decode(&Bytes::copy_from_slice(stored.bytes)) {
                Ok(event) => {
                    passed.events += 1;
                    each(stored.number, event).is_continue()
                }
                Err(_) => {
                    passed.undecodable += 1;
                    true
                }
            }
        });
        Passed { damage, ..passed }
    }

    /// Writes the queued events of a queue as a Flume would have, into directories that hold no
    /// channel. `progress` is told how many events were read.
    pub fn export_flume(
        &self,
        queue: u16,
        checkpoint_dir: &Path,
        data_dirs: &[PathBuf],
        mut progress: impl FnMut(u64) + Send,
    ) -> Result<(Written, Passed), ToolError> {
        let (out, events) = mpsc::sync_channel::<Event>(WAITING_EVENTS);
        std::thread::scope(|scope| {
            let reading = scope.spawn(move || {
                let mut read = 0;
                self.events(queue, |_, event| {
                    read += 1;
                    progress(read);
                    // Who wrote them has given up, and says why.
                    match out.send(event) {
                        Ok(()) => ControlFlow::Continue(()),
                        Err(_) => ControlFlow::Break(()),
                    }
                })
            });
            let events = events.into_iter().map(Ok::<_, flume::Error>);
            let written = flume::write(checkpoint_dir, data_dirs, Limits::default(), events);
            let passed = reading.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            Ok((written?, passed))
        })
    }
}

/// Takes over what a Flume left in the directories of a channel, as the channel does when it opens
/// first; `None` when there is nothing or it was done before. With `dry_run` it is only counted.
/// Blocking.
pub fn import(
    config: &Config,
    home: &Path,
    queue: &str,
    dry_run: bool,
    tell: &mut dyn FnMut(Step<'_>) -> ControlFlow<()>,
) -> Result<Option<Imported>, ToolError> {
    config.refuse()?;
    let places = config.of_flume(home);
    let settings = config.settings();
    let (options, keys) = settings.options(Arc::new(|_| {}))?;
    let storages = existing(&places.data_dirs)?;
    let on_damage = settings.on_damage;
    let import = Import { queue, places: &places, keys: keys.as_deref(), on_damage, options };
    if !dry_run {
        return Ok(import.run(&storages, tell)?);
    }
    match Before::look(&storages)? {
        Before::Done(_) => Ok(None),
        Before::Begun(_) | Before::Nothing => Ok(import.rehearse(tell)?),
    }
}

/// Gives up what `loss` says, so that the log of a channel with this configuration opens without.
/// Directories that are given up are not among its `dataDirs`, or are taken out of them. Blocking.
pub fn accept(config: &Config, home: &Path, loss: Loss) -> Result<Vec<Notice>, ToolError> {
    config.refuse()?;
    let (options, _) = config.settings().options(Arc::new(|_| {}))?;
    let stays = |path: &PathBuf| !loss.directories.iter().any(|lost| Path::new(lost) == path);
    let places: Vec<PathBuf> = config.directories(home).into_iter().filter(stays).collect();
    let ours = places.iter().find(|path| path.is_dir() && !is_ours(path));
    if let Some(path) = ours {
        let why = "there is no log in it; only a log can give something up".to_owned();
        let place = path.display().to_string();
        return Err(splashdam_wal::OpenError::Membership { place, why }.into());
    }
    Ok(offline::accept(existing(&places)?, loss, options)?)
}

/// What a look at all records of a Flume's logs found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlumeRecords {
    /// Logs.
    pub logs: usize,
    /// Records by their kinds, and damage.
    pub counts: Counts,
    /// Puts whose event cannot be read.
    pub invalid_puts: u64,
    /// The first hundred damaged places.
    pub damages: Vec<flume::Damage>,
}

/// Goes through all records of the logs in a Flume's data directories, from their beginnings,
/// changing nothing; `None` when there are none. Of the configuration only the keys count, which
/// encrypted logs need.
pub fn flume_records(
    data_dirs: &[PathBuf],
    config: &Config,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Option<FlumeRecords>, ToolError> {
    if let Some(missing) = data_dirs.iter().find(|path| !path.is_dir()) {
        return Err(ToolError::NoDirectory(missing.clone()));
    }
    let Some(first) = data_dirs.first() else { return Ok(None) };
    // No checkpoint is looked at: all records are gone through.
    let Some(found) = FlumeChannel::find(first, None, data_dirs)? else { return Ok(None) };
    let (_, stored) = config.settings().options(Arc::new(|_| {}))?;
    let secret = |alias: &str| Ok(stored.as_ref().and_then(|keys| keys.secret(alias)));
    let keys: Option<flume::Keys<'_>> = if stored.is_some() { Some(&secret) } else { None };
    let checked = found.check(keys, &mut |step| progress(step.done_bytes, step.all_bytes))?;
    Ok(Some(FlumeRecords {
        logs: found.logs(),
        counts: checked.counts,
        invalid_puts: checked.invalid_puts,
        damages: checked.damages,
    }))
}
