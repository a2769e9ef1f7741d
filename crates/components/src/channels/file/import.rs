//! Taking over what a Flume left in the directories of a channel: all of it or nothing, once.
//!
//! `docs/wal-format.md` has the argument. In short: a marker says that an import into a queue has
//! begun, and until another marker says that it is done the queue is open to nobody; an import that
//! was cut off is thrown away and begun anew. Flume's own files are only read.

mod marker;

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, mpsc};
use std::time::Duration;

use splashdam_core::{Batch, Event};
use splashdam_wal::storage::{DiskError, Storage};
use splashdam_wal::{self as wal, CommitError, Count, Log, Notice, QueueId, QueueOptions, Refusal};

use super::config::OnDamage;
use super::flume::{self, Counts, Damage, FlumeChannel, Origin, Progress};
use super::keys::StoredKeys;
use super::record::Datums;
pub(super) use marker::{Before, Marker, Trace};

/// A batch has at most so many events, and ends with the event by which it has so many bytes.
const BATCH_EVENTS: usize = 1000;
const BATCH_BYTES: usize = 1 << 20;
/// So often, a second apart, is looked whether a full disk has room again.
const LOOKS_FOR_ROOM: usize = 10;
/// So often, at most a second apart, is waited for events to come back from the disk.
const LOOKS_FOR_EVENTS: usize = 600;
/// So much damage is named; more is counted.
const NAMED_DAMAGE: usize = 100;
const NO_LIMIT: Count = Count { events: u64::MAX, bytes: u64::MAX };

/// Where a Flume has the files of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlumePlaces {
    /// Its `checkpointDir`.
    pub checkpoint_dir: PathBuf,
    /// Its `backupCheckpointDir`, if it has dual checkpoints.
    pub backup_dir: Option<PathBuf>,
    /// Its `dataDirs`.
    pub data_dirs: Vec<PathBuf>,
}

/// What is to be imported, and how.
pub(super) struct Import<'a> {
    pub(super) queue: &'a str,
    pub(super) places: &'a FlumePlaces,
    pub(super) keys: Option<&'a StoredKeys>,
    pub(super) on_damage: OnDamage,
    /// Of the log; when it syncs is the import's own affair.
    pub(super) options: wal::Options,
}

/// How far an import is. Whoever is told may say that it ends here, as a crash would end it.
#[derive(Debug)]
pub enum Step<'a> {
    /// It was done at an earlier start, and Flume's files have changed since.
    ChangedSince,
    /// There is something to take over.
    Found {
        /// Flume's logs.
        logs: usize,
        /// Bytes of them.
        bytes: u64,
    },
    /// Flume's logs are being read.
    Reading(Progress),
    /// What an import that was cut off had stored is thrown away.
    Discarded {
        /// Events.
        events: u64,
    },
    /// It is written down that the import begins.
    Begun {
        /// Events to be stored, those that are damaged among them.
        events: u64,
    },
    /// Events have been stored.
    Stored {
        /// So far.
        events: u64,
        /// Of so many.
        of: u64,
    },
    /// All is stored and durable; it is not yet written down that the import is done.
    Durable,
    /// One directory knows that the import is done.
    Marked,
    /// It is done.
    Done(&'a Imported),
}

/// What an import brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// Events stored, or that would be.
    pub events: u64,
    /// Queued events that cannot be read, and are left behind.
    pub unreadable: u64,
    /// What the replay of Flume's logs came upon.
    pub counts: Counts,
    /// The first hundred damaged places.
    pub damages: Vec<Damage>,
    /// What the replay began with.
    pub origin: Origin,
    /// Whether events that were delivered may come again; see [`flume::Queue::may_repeat`].
    pub may_repeat: bool,
}

/// Why an import did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// Flume's files.
    #[error("cannot take over what a flume left: {0}")]
    Flume(#[from] flume::Error),
    /// Our log did not open.
    #[error("{0}")]
    Log(#[from] wal::OpenError),
    /// The disk.
    #[error("{0}")]
    Disk(#[from] DiskError),
    /// A marker that cannot be read.
    #[error("{place}/{name} cannot be read: {what}; restore it from one of the other directories")]
    Marker {
        /// The directory.
        place: String,
        /// The file.
        name: &'static str,
        /// What is wrong.
        what: &'static str,
    },
    /// Another queue is half imported.
    #[error(
        "an import into channel {queue} was cut off and begins anew when that channel opens; name a channel so, or run `splashdam log import`"
    )]
    OtherQueue {
        /// That queue.
        queue: String,
    },
    /// An import was cut off, and there is nothing to begin anew with.
    #[error(
        "an import into channel {queue} was cut off and flume's files are gone; put them back, or remove splashdam.importing from each of dataDirs to keep what had been imported until then"
    )]
    Gone {
        /// The queue.
        queue: String,
    },
    /// The channel has events of its own.
    #[error(
        "dataDirs hold the data of a flume that was never taken over, and channel {queue} has {events} events of its own there; move flume's log files aside, or name new dataDirs and import from there"
    )]
    Occupied {
        /// The queue.
        queue: String,
        /// In it.
        events: u64,
    },
    /// Logs that hold queued events are missing.
    #[error(
        "flume's checkpoint names events in logs that are in none of dataDirs ({}); name all directories of that channel, or remove the checkpoint to go on without them",
        names(logs)
    )]
    MissingLogs {
        /// Their numbers.
        logs: Vec<u32>,
    },
    /// There is damage and nothing else.
    #[error(
        "nothing that a flume left can be read, {unreadable} queued events and {damaged} places in its logs are damaged{}; restore the files and the key that flume had, or move its logs and its checkpoint aside to begin without them",
        first.as_ref().map_or_else(String::new, |first| format!(", the first: {first}"))
    )]
    OnlyDamage {
        /// Queued events that cannot be read.
        unreadable: u64,
        /// Places in the logs that cannot.
        damaged: u64,
        /// One of them.
        first: Option<Damage>,
    },
    /// No room on the disk.
    #[error(
        "no room on the disk for what a flume left; make room or lower minimumRequiredSpace, the import begins anew then"
    )]
    Full,
    /// A write failed, or what was written is not there.
    #[error("the import failed and begins anew at the next start: {0}")]
    Failed(String),
    /// Whoever was told said so.
    #[error("the import was ended early and begins anew at the next start")]
    Ended,
}

fn names(logs: &[u32]) -> String {
    let shown: Vec<_> = logs.iter().take(10).map(|log| format!("log-{log}")).collect();
    let more = if logs.len() > shown.len() { ", …" } else { "" };
    shown.join(", ") + more
}

type Tell<'a> = &'a mut dyn FnMut(Step<'_>) -> ControlFlow<()>;

fn told(tell: Tell<'_>, step: Step<'_>) -> Result<(), ImportError> {
    match tell(step) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(ImportError::Ended),
    }
}

impl FlumePlaces {
    /// Whether something is to be imported into the log in `storages` and no checkpoint of it is
    /// where this channel looks: another channel of the log may know better what is queued.
    pub(super) fn lack_checkpoint(
        &self,
        storages: &[Arc<dyn Storage>],
    ) -> Result<bool, ImportError> {
        if !matches!(Before::look(storages)?, Before::Nothing) {
            return Ok(false);
        }
        let Some(found) = self.find()? else { return Ok(false) };
        Ok(!found.has_checkpoint()?)
    }

    fn find(&self) -> Result<Option<FlumeChannel>, flume::Error> {
        FlumeChannel::find(&self.checkpoint_dir, self.backup_dir.as_deref(), &self.data_dirs)
    }

    /// Keeps Flume out of its checkpoints. The data directories are locked by our log, and must not
    /// be locked again: the end of one lock would be the end of the other.
    fn lock_checkpoints(&self) -> Result<Vec<flume::DirectoryLock>, flume::Error> {
        let same = |a: &PathBuf, b: &PathBuf| match (a.canonicalize(), b.canonicalize()) {
            (Ok(a), Ok(b)) => a == b,
            _ => a == b,
        };
        let mut locks = Vec::new();
        for directory in [&self.checkpoint_dir].into_iter().chain(&self.backup_dir) {
            if !self.data_dirs.iter().any(|data| same(data, directory)) {
                locks.extend(flume::lock(directory)?);
            }
        }
        Ok(locks)
    }
}

/// Whether the markers are what they were, asked when nobody else can write them.
fn still(before: &Before, storages: &[Arc<dyn Storage>]) -> Result<(), ImportError> {
    match Before::look(storages)? == *before {
        true => Ok(()),
        false => Err(ImportError::Failed("another process imports into the directories".into())),
    }
}

impl Import<'_> {
    /// Imports what there is to import, unless that was done before; `None` when there is nothing.
    /// Blocking. The log in `storages` must not be open; when this returns well it can be opened, and
    /// must not be before. It is locked while events are stored, and again while that is marked as done.
    pub(super) fn run(
        &self,
        storages: &[Arc<dyn Storage>],
        tell: Tell<'_>,
    ) -> Result<Option<Imported>, ImportError> {
        let before = Before::look(storages)?;
        match &before {
            Before::Done(marker) => {
                // Also what an earlier start may have left in the cache only.
                marker.done(storages, &mut || Ok(()))?;
                if Trace::of(&self.places.data_dirs) != marker.trace {
                    told(tell, Step::ChangedSince)?;
                }
                return Ok(None);
            }
            Before::Begun(marker) if marker.queue != self.queue => {
                return Err(ImportError::OtherQueue { queue: marker.queue.clone() });
            }
            Before::Begun(_) | Before::Nothing => {}
        }
        let begun = matches!(before, Before::Begun(_));
        let Some(found) = self.places.find()? else {
            let queue = self.queue.to_owned();
            return if begun { Err(ImportError::Gone { queue }) } else { Ok(None) };
        };
        told(tell, Step::Found { logs: found.logs(), bytes: found.bytes() })?;
        let _checkpoints = self.places.lock_checkpoints()?;
        let target = Target::open(self, storages)?;
        let stored = self.store(&target, storages, &before, tell);
        // The end of the log is also the sync of all that was written.
        target.log.close();
        let (imported, marker) = stored?;
        target.check()?;
        let again = Target::open(self, storages)?;
        let marked = again.mark(&imported, &marker, storages, tell);
        // Nobody else has it before all directories know that it is done.
        again.log.close();
        marked?;
        told(tell, Step::Done(&imported))?;
        Ok(Some(imported))
    }

    /// What an import would bring; changes nothing.
    pub(super) fn rehearse(&self, tell: Tell<'_>) -> Result<Option<Imported>, ImportError> {
        let Some(found) = self.places.find()? else { return Ok(None) };
        told(tell, Step::Found { logs: found.logs(), bytes: found.bytes() })?;
        let mut source = Source::read(self, &found, tell)?;
        let of = source.left;
        while let Some(batch) = source.batch()? {
            source.imported.events += batch.len() as u64;
            told(tell, Step::Stored { events: source.imported.events, of })?;
        }
        Ok(Some(source.imported))
    }

    fn store(
        &self,
        target: &Target,
        storages: &[Arc<dyn Storage>],
        before: &Before,
        tell: Tell<'_>,
    ) -> Result<(Imported, Marker), ImportError> {
        // Until it was locked somebody else may have begun one, or even done it.
        still(before, storages)?;
        let events = target.queued();
        if matches!(before, Before::Begun(_)) {
            target.discard()?;
            told(tell, Step::Discarded { events })?;
        } else if events > 0 {
            return Err(ImportError::Occupied { queue: self.queue.to_owned(), events });
        }
        // Looked for again, now that nobody writes there.
        let queue = self.queue.to_owned();
        let Some(found) = self.places.find()? else { return Err(ImportError::Gone { queue }) };
        let marker = Marker { queue, trace: Trace::of(&self.places.data_dirs) };
        let mut source = Source::read(self, &found, tell)?;
        // Who has nothing but damage is told so before anything says that an import has begun.
        let mut next = source.batch()?;
        marker.begun(storages)?;
        let of = source.left;
        told(tell, Step::Begun { events: of })?;
        while let Some(batch) = next {
            let events = batch.len() as u64;
            target.put(batch)?;
            source.imported.events += events;
            told(tell, Step::Stored { events: source.imported.events, of })?;
            next = source.batch()?;
        }
        target.check()?;
        Ok((source.imported, marker))
    }
}

/// The events of a Flume, in batches.
struct Source {
    events: flume::Events,
    left: u64,
    skips: bool,
    imported: Imported,
}

impl Source {
    fn read(
        import: &Import<'_>,
        found: &FlumeChannel,
        tell: Tell<'_>,
    ) -> Result<Source, ImportError> {
        let keys = |alias: &str| Ok(import.keys.and_then(|keys| keys.secret(alias)));
        let keys: Option<flume::Keys<'_>> = if import.keys.is_some() { Some(&keys) } else { None };
        let skips = import.on_damage == OnDamage::Quarantine;
        let on_damage = if skips { flume::OnDamage::Skip } else { flume::OnDamage::Stop };
        let mut ended = false;
        let queue = found.read(keys, on_damage, &mut |progress| {
            ended |= tell(Step::Reading(progress)).is_break();
        })?;
        if ended {
            return Err(ImportError::Ended);
        }
        // What should be there and is not is refused whatever is done about damage.
        let logs = queue.missing_logs();
        if !logs.is_empty() {
            return Err(ImportError::MissingLogs { logs });
        }
        let imported = Imported {
            events: 0,
            unreadable: 0,
            counts: queue.counts,
            damages: queue.damages.clone(),
            origin: queue.origin.clone(),
            may_repeat: queue.may_repeat,
        };
        Ok(Source { left: queue.len() as u64, events: queue.into_events(), skips, imported })
    }

    /// The next events, `None` at the end, which is no good one when there was only damage before it.
    fn batch(&mut self) -> Result<Option<Batch>, ImportError> {
        let (mut events, mut bytes) = (Vec::<Event>::new(), 0);
        while events.len() < BATCH_EVENTS && bytes < BATCH_BYTES {
            match self.events.next() {
                Some(Ok(event)) => {
                    bytes += event.bytes();
                    events.push(event);
                }
                Some(Err(flume::Error::Damaged(damage))) if self.skips => {
                    self.imported.unreadable += 1;
                    if self.imported.damages.len() < NAMED_DAMAGE {
                        self.imported.damages.push(damage);
                    }
                }
                Some(Err(error)) => return Err(error.into()),
                None => break,
            }
        }
        if !events.is_empty() {
            return Ok(Some(Batch::from(events)));
        }
        let Imported { events, unreadable, counts, damages, .. } = &self.imported;
        match (*events, unreadable + counts.damaged) {
            (0, 1..) => Err(ImportError::OnlyDamage {
                unreadable: *unreadable,
                damaged: counts.damaged,
                first: damages.first().cloned(),
            }),
            _ => Ok(None),
        }
    }
}

/// The log that is imported into.
struct Target {
    log: Log<Datums>,
    queue: QueueId,
    changed: Arc<(Mutex<bool>, Condvar)>,
    trouble: Arc<Mutex<Option<String>>>,
    troubled: Arc<AtomicBool>,
}

impl Target {
    fn open(import: &Import<'_>, storages: &[Arc<dyn Storage>]) -> Result<Target, ImportError> {
        let trouble: Arc<Mutex<Option<String>>> = Arc::default();
        let troubled: Arc<AtomicBool> = Arc::default();
        let (noted, flag, next) =
            (trouble.clone(), troubled.clone(), import.options.notice.clone());
        let notice = move |notice: Notice| {
            // With syncs now and then these may have cost what was answered well.
            let why = match &notice {
                Notice::SegmentDead { why, .. } | Notice::DirectoryFailed { why, .. } => {
                    Some(why.clone())
                }
                _ => None,
            };
            if let Some(why) = why {
                noted.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
                flag.store(true, Ordering::Release);
            }
            next(notice);
        };
        let options = wal::Options {
            sync: wal::Syncs::Every(Duration::from_secs(1)),
            notice: Arc::new(notice),
            ..import.options.clone()
        };
        let queue = QueueOptions { name: import.queue.to_owned(), capacity: NO_LIMIT };
        let opened = Log::open(storages.to_vec(), &[queue], options)?;
        let log = opened.start().map_err(|error| ImportError::Failed(error.to_string()))?;
        let queue = match log.queue(import.queue) {
            Some(queue) => queue,
            None => log.add_queue(import.queue, NO_LIMIT)?,
        };
        let changed: Arc<(Mutex<bool>, Condvar)> = Arc::default();
        let told = changed.clone();
        log.listen(
            queue,
            Box::new(move || {
                *told.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
                told.1.notify_all();
            }),
        );
        Ok(Target { log, queue, changed, trouble, troubled })
    }

    /// Marks the import as done, now that it is open again, if all is there.
    fn mark(
        &self,
        imported: &Imported,
        marker: &Marker,
        storages: &[Arc<dyn Storage>],
        tell: Tell<'_>,
    ) -> Result<(), ImportError> {
        still(&Before::Begun(marker.clone()), storages)?;
        let events = self.queued();
        self.check()?;
        if events != imported.events {
            let what = format!("{} events were stored, {events} are there", imported.events);
            return Err(ImportError::Failed(what));
        }
        told(tell, Step::Durable)?;
        marker.done(storages, &mut || told(tell, Step::Marked))
    }

    fn queued(&self) -> u64 {
        self.log.level(self.queue).queued.events
    }

    /// Whether all that was answered well can be relied on.
    fn check(&self) -> Result<(), ImportError> {
        if !self.troubled.load(Ordering::Acquire) {
            return Ok(());
        }
        let why = self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Err(ImportError::Failed(why.unwrap_or_else(|| "a write failed".into())))
    }

    /// Waits until something may have changed, a second at most.
    fn wait(&self) {
        let (changed, told) = &*self.changed;
        let mut changed = changed.lock().unwrap_or_else(PoisonError::into_inner);
        if !*changed {
            let waited = told.wait_timeout(changed, Duration::from_secs(1));
            changed = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        *changed = false;
    }

    fn put(&self, batch: Batch) -> Result<(), ImportError> {
        self.check()?;
        let record = Arc::new(Datums::new(batch));
        let count = Count { events: record.batch.len() as u64, bytes: record.bytes() };
        let mut looks = 0;
        let room = loop {
            match self.log.reserve(&[self.queue], count) {
                Ok(room) => break room,
                Err(Refusal::Closed(why)) => return Err(ImportError::Failed(why)),
                Err(Refusal::Full(_) | Refusal::DiskFull) if looks < LOOKS_FOR_ROOM => {
                    looks += 1;
                    self.wait();
                }
                Err(Refusal::Full(_) | Refusal::DiskFull) => return Err(ImportError::Full),
            }
        };
        let (done, answer) = mpsc::sync_channel(1);
        // Somebody waits for it below.
        room.put(record, None, Box::new(move |answer| drop(done.send(answer))));
        match answer.recv() {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(CommitError::Full)) => Err(ImportError::Full),
            Ok(Err(error)) => Err(ImportError::Failed(error.to_string())),
            Err(_) => Err(ImportError::Failed("the log gave no answer".into())),
        }
    }

    /// Takes all out that an import which was cut off put in; nobody has seen any of it.
    fn discard(&self) -> Result<(), ImportError> {
        let failed = |error: CommitError| ImportError::Failed(error.to_string());
        let mut looks = 0;
        while self.queued() > 0 {
            let most = Count { events: 100_000, bytes: 8 << 20 };
            let Some(lease) = self.log.lease(self.queue, most).map_err(failed)? else {
                if looks == LOOKS_FOR_EVENTS {
                    return Err(ImportError::Failed("the disk gives nothing back".into()));
                }
                looks += 1;
                self.wait();
                continue;
            };
            looks = 0;
            let (done, answer) = mpsc::sync_channel(1);
            lease.commit(Box::new(move |answer| drop(done.send(answer))));
            match answer.recv() {
                Ok(answer) => answer.map_err(failed)?,
                Err(_) => return Err(ImportError::Failed("the log gave no answer".into())),
            }
            self.check()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
