//! The open logs of an agent: channels that name the same directories share one.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::Duration;

use sha1::{Digest, Sha1};
use splashdam_core::{ChannelError, Context, JointId, OpenError};
use splashdam_wal::member::absent;
use splashdam_wal::storage::{Disk, Storage};
use splashdam_wal::{self as wal, Log, QueueId, QueueOptions};
use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tracing::{info, warn};

use super::config::{Limits, Settings};
use super::flume;
use super::health::Health;
use super::import::{FlumePlaces, Import, ImportError, Step};
use super::record::Datums;
use super::under_way::UnderWay;

mod again;
#[cfg(feature = "simulation")]
mod by_hand;
#[cfg(feature = "simulation")]
pub use by_hand::Hands;

/// How long after a log was opened its queues must have found their channels.
const FIND_CHANNELS: Duration = Duration::from_secs(10);

/// How long a channel without Flume's checkpoint lets others come first that may have it.
const GIVES_WAY: Duration = Duration::from_millis(300);

/// Where a log of these directories is, while it is open. Locked while it opens and closes.
type Place = Arc<tokio::sync::Mutex<Weak<OpenLog>>>;

/// The logs of an agent, by their directories.
#[derive(Default)]
pub(super) struct Logs {
    places: Mutex<BTreeMap<Vec<String>, Place>>,
    opened: AtomicU64,
}

/// One channel's part of a log.
pub(super) struct Member {
    pub(super) name: Arc<str>,
    pub(super) queue: QueueId,
    /// What names the queue to peers that events are sent to; none where a crash of the machine may
    /// give the number of an event that has been sent to another.
    pub(super) identity: Option<[u8; 16]>,
    limits: Mutex<Limits>,
    pub(super) closed: AtomicBool,
    /// Told whenever something about the queue may have changed.
    pub(super) changed: Arc<Notify>,
}

/// A log and the channels that use it.
pub(super) struct OpenLog {
    pub(super) id: JointId,
    /// Another one after it was opened again.
    log: RwLock<Log<Datums>>,
    directories: Vec<PathBuf>,
    settings: Settings,
    pub(super) under_way: Arc<UnderWay>,
    members: Mutex<BTreeMap<Arc<str>, Arc<Member>>>,
    /// One for each queue that had a channel; a log takes one listener for a queue.
    signals: Mutex<BTreeMap<QueueId, Arc<Notify>>>,
    health: Arc<Health>,
    place: Place,
    closed: AtomicBool,
}

/// What these locks guard is changed in single steps, so a panic elsewhere does not spoil it.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Member {
    pub(super) fn limits(&self) -> Limits {
        *locked(&self.limits)
    }

    pub(super) fn closed_error(&self) -> ChannelError {
        ChannelError::Closed { channel: self.name.clone() }
    }

    pub(super) fn check_open(&self) -> Result<(), ChannelError> {
        match self.closed.load(Ordering::Acquire) {
            true => Err(self.closed_error()),
            false => Ok(()),
        }
    }
}

/// One that is locked is being opened or closed.
fn is_used(place: &Place) -> bool {
    place.try_lock().map_or(true, |open| open.strong_count() > 0)
}

impl Logs {
    /// Opens the log in `directories`, or joins those who did.
    pub(super) async fn attach(
        &self,
        places: FlumePlaces,
        settings: Settings,
        limits: Limits,
        cx: &Context,
    ) -> Result<(Arc<OpenLog>, Arc<Member>), OpenError> {
        let directories = places.data_dirs.clone();
        let there = blocking(move || found(&directories)).await?;
        let names = there.iter().flatten().map(|storage| storage.place()).collect();
        // Whoever shares some must hear that, also where one of the others is missing.
        refuse_shared(&locked(&self.places), &names, &places.data_dirs)?;
        let directories = places.data_dirs.clone();
        let storages = blocking(move || made(&directories, &there)).await?;
        let mut names: Vec<_> = storages.iter().map(|storage| storage.place()).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            let message = format!("dataDirs names {} twice; name each directory once", twice[0]);
            return Err(OpenError::config(message));
        }
        let place = self.place(names, &places.data_dirs)?;
        let mut held = place.clone().lock_owned().await;
        if held.strong_count() == 0 {
            let (looked, there) = (storages.clone(), places.clone());
            let lack = move || there.lack_checkpoint(&looked).map_err(not_taken_over);
            if blocking(lack).await? {
                drop(held);
                tokio::time::sleep(GIVES_WAY).await;
                held = place.clone().lock_owned().await;
            }
        }
        let open = match held.upgrade() {
            Some(open) => open,
            None => {
                let id = JointId(self.opened.fetch_add(1, Ordering::Relaxed));
                let health = Arc::new(Health::new(cx));
                let disks = Disks { storages, places };
                let open = open(disks, settings.clone(), limits, cx, id, health, place).await?;
                *held = Arc::downgrade(&open);
                open
            }
        };
        if let Some(why) = open.log().stopped() {
            return Err(OpenError::unavailable(format!(
                "the log has stopped ({why}) and is not open again yet"
            )));
        }
        if open.settings != settings {
            warn!(
                component = %cx.title(),
                "another channel of the same dataDirs was opened with other values of maxFileSize, minimumRequiredSpace, memoryBytes, onDamage, compression, fsyncPerTransaction, fsyncInterval or encryption, and these count for both; give all of them the same"
            );
        }
        let name = cx.name.clone();
        let joined = open.clone();
        let counters = cx.counters.channel();
        let identity = open.settings.sync == wal::Syncs::Each;
        let identity = identity.then(|| identity_of(&open.log(), cx));
        let joining = move || {
            joined
                .join(name, identity, limits, counters)
                .map(|member| Joined(Some((joined, member))))
        };
        let member = blocking(joining).await?.stays();
        // Held until the channel has joined, so that the log is not closed before.
        drop(held);
        Ok((open, member))
    }

    fn place(&self, names: Vec<String>, written: &[PathBuf]) -> Result<Place, OpenError> {
        let mut places = locked(&self.places);
        // Places without a log are forgotten here, so that reloads do not pile them up, but for
        // those that somebody has in hand.
        places.retain(|_, place| Arc::strong_count(place) > 1 || is_used(place));
        refuse_shared(&places, &names.iter().cloned().collect(), written)?;
        Ok(places.entry(names).or_default().clone())
    }
}

/// No channel has some of these directories open, of which those of `names` are there.
fn refuse_shared(
    places: &BTreeMap<Vec<String>, Place>,
    names: &BTreeSet<String>,
    written: &[PathBuf],
) -> Result<(), OpenError> {
    let shares = |(other, place): &(&Vec<String>, &Place)| {
        let common = other.iter().filter(|name| names.contains(*name)).count();
        let same = common == other.len() && other.len() == written.len();
        common > 0 && !same && is_used(place)
    };
    let Some((other, _)) = places.iter().find(shares) else { return Ok(()) };
    let written: Vec<_> = written.iter().map(|path| path.display().to_string()).collect();
    Err(OpenError::config(format!(
        "dataDirs {} and dataDirs {} of another channel have some directories in common; \
         channels share all directories or none",
        written.join(","),
        other.join(",")
    )))
}

/// The directories of a log, and where a Flume may have left something.
struct Disks {
    storages: Vec<Arc<dyn Storage>>,
    places: FlumePlaces,
}

async fn open(
    disks: Disks,
    settings: Settings,
    limits: Limits,
    cx: &Context,
    id: JointId,
    health: Arc<Health>,
    place: Place,
) -> Result<Arc<OpenLog>, OpenError> {
    let (notices, wanted) = (health.clone(), settings.clone());
    let directories = disks.places.data_dirs.clone();
    let queue = QueueOptions { name: cx.name.to_string(), capacity: limits.capacity };
    // Gone when nobody waits for the channel to open any more, as at a stop.
    let wanted_still = Arc::new(());
    let waiting = Arc::downgrade(&wanted_still);
    let log = blocking(move || {
        let Disks { storages, places } = disks;
        let health = notices.clone();
        let (options, keys) = wanted
            .options(Arc::new(move |notice| notices.notice(&notice)))
            .map_err(OpenError::unmended)?;
        let import = Import {
            queue: &queue.name,
            places: &places,
            keys: keys.as_deref(),
            on_damage: wanted.on_damage,
            options: options.clone(),
        };
        let mut told = health.of_import();
        let mut tell = |step: Step<'_>| match waiting.strong_count() {
            0 => ControlFlow::Break(()),
            _ => told.step(&step),
        };
        import.run(&storages, &mut tell).map_err(not_taken_over)?;
        let opened = Log::open(storages, &[queue], options).map_err(unavailable)?;
        let log = opened.start();
        let log = log.map_err(|error| OpenError::unavailable(format!("cannot start: {error}")))?;
        // Made here, so that it is closed again when nobody waits for it any more.
        Ok(Arc::new(OpenLog {
            id,
            log: RwLock::new(log),
            directories,
            settings: wanted,
            under_way: Arc::default(),
            members: Mutex::default(),
            signals: Mutex::default(),
            health,
            place,
            closed: AtomicBool::new(false),
        }))
    });
    let open = log.await.inspect(|_| drop(wanted_still))?;
    tokio::spawn(again::watch(Arc::downgrade(&open), open.health.clone()));
    if open.log().queues().len() > 1 {
        let (open, title) = (Arc::downgrade(&open), cx.title());
        tokio::spawn(async move {
            tokio::time::sleep(FIND_CHANNELS).await;
            if let Some(open) = open.upgrade() {
                open.name_the_forgotten(&title);
            }
        });
    }
    Ok(open)
}

impl OpenLog {
    /// The log as it is open now.
    pub(super) fn log(&self) -> Log<Datums> {
        self.log.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn join(
        &self,
        name: Arc<str>,
        identity: Option<[u8; 16]>,
        limits: Limits,
        counters: Arc<splashdam_core::metrics::ChannelMetrics>,
    ) -> Result<Arc<Member>, OpenError> {
        if locked(&self.members).contains_key(&name) {
            return Err(OpenError::unavailable(format!("channel {name} is still being closed")));
        }
        let log = self.log();
        let queue = log.add_queue(&name, limits.capacity).map_err(unavailable)?;
        let changed = match locked(&self.signals).entry(queue) {
            std::collections::btree_map::Entry::Occupied(known) => known.get().clone(),
            std::collections::btree_map::Entry::Vacant(place) => {
                let changed = Arc::new(Notify::new());
                let told = changed.clone();
                log.listen(queue, Box::new(move || told.notify_waiters()));
                place.insert(changed).clone()
            }
        };
        let member = Arc::new(Member {
            name: name.clone(),
            queue,
            identity,
            limits: Mutex::new(limits),
            closed: AtomicBool::new(false),
            changed,
        });
        self.health.join(&name, counters);
        locked(&self.members).insert(name, member.clone());
        Ok(member)
    }

    /// The channel of that name, if it is open.
    pub(super) fn member(&self, name: &str) -> Option<Arc<Member>> {
        locked(&self.members).get(name).cloned()
    }

    pub(super) fn set_limits(&self, member: &Member, limits: Limits) {
        let mut held = locked(&member.limits);
        *held = limits;
        self.apply_limits(member, &held);
    }

    /// Tells the log as it is open now; called with the lock on them, so that the last ones stay.
    fn apply_limits(&self, member: &Member, limits: &Limits) {
        self.log().set_capacity(member.queue, limits.capacity);
    }

    /// A stored event that is none.
    pub(super) fn undecodable(&self, member: &Member, events: usize) {
        self.health.undecodable(&member.name, events);
    }

    /// Takes a channel out, and says whether it was the last one.
    pub(super) fn leave(&self, member: &Member) -> bool {
        member.closed.store(true, Ordering::Release);
        member.changed.notify_waiters();
        let mut members = locked(&self.members);
        // One that somebody held on to for long must not take out who came after it under its name.
        if members.get(&member.name).is_some_and(|held| std::ptr::eq(&**held, member)) {
            members.remove(&member.name);
            self.health.leave(&member.name);
        }
        members.is_empty()
    }

    /// Takes a channel out, and closes the log after the last one.
    pub(super) async fn close(self: Arc<Self>, member: &Member) {
        member.closed.store(true, Ordering::Release);
        member.changed.notify_waiters();
        let mut held = self.place.clone().lock_owned().await;
        if self.leave(member) {
            *held = Weak::new();
            let closed = spawn_blocking(move || {
                self.closed.store(true, Ordering::Release);
                self.log().close();
                drop(held);
            });
            // It does not panic; were it so, its threads would have said why.
            drop(closed.await);
        }
    }

    /// A queue that no channel names holds its events, and with them their segments.
    fn name_the_forgotten(&self, title: &str) {
        let log = self.log();
        for name in log.queues() {
            let held = log.queue(&name).map(|queue| log.level(queue).queued.events);
            if self.member(&name).is_some() || self.closed.load(Ordering::Acquire) {
                continue;
            }
            match held {
                Some(events) if events > 0 => warn!(
                    component = %title, queue = %name, events,
                    "dataDirs hold events of a channel that is not there any more, and the disk space behind them; name a channel so to take them out"
                ),
                _ => {
                    info!(component = %title, queue = %name, "dataDirs know an empty channel that is not there any more");
                }
            }
        }
    }
}

/// A channel that joined, and leaves again if nobody waited for it.
struct Joined(Option<(Arc<OpenLog>, Arc<Member>)>);

impl Joined {
    fn stays(mut self) -> Arc<Member> {
        let (_, member) = self.0.take().expect("there until now");
        member
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        if let Some((open, member)) = self.0.take() {
            open.leave(&member);
        }
    }
}

impl Drop for OpenLog {
    fn drop(&mut self) {
        // Whoever waits to open it again has nothing to wait for.
        self.health.stopped.notify_one();
        if !self.closed.load(Ordering::Acquire) {
            let log = self.log();
            // Whoever drops may not block. If there is no thread, the process's end closes it.
            let _closing =
                std::thread::Builder::new().name("wal-close".into()).spawn(move || log.close());
        }
    }
}

/// The identity of a channel's queue: the log's own, and who has it. Copies of a log's directories
/// on other hosts, and channels that share a log, are different queues; and so is a queue from before a
/// loss, whose numbers are given again.
fn identity_of(log: &Log<Datums>, cx: &Context) -> [u8; 16] {
    let host = cx.world.host_name().unwrap_or_default();
    let (identity, given_up) = (log.identity(), log.given_up());
    let owner = [&identity[..], host.as_bytes(), cx.agent.as_bytes(), cx.name.as_bytes()];
    let mut sum = Sha1::new();
    for part in owner.into_iter().chain(given_up.iter().map(|loss| &loss[..])) {
        sum.update((part.len() as u64).to_be_bytes());
        sum.update(part);
    }
    let sum: [u8; 20] = sum.finalize().into();
    std::array::from_fn(|byte| sum[byte])
}

/// Runs what blocks aside.
pub(super) async fn blocking<T: Send + 'static>(
    act: impl FnOnce() -> Result<T, OpenError> + Send + 'static,
) -> Result<T, OpenError> {
    match spawn_blocking(act).await {
        Ok(done) => done,
        Err(error) => Err(OpenError::unavailable(format!("opening was cut off: {error}"))),
    }
}

fn unavailable(error: wal::OpenError) -> OpenError {
    match error {
        wal::OpenError::Options(why) => OpenError::config(why),
        wal::OpenError::Disk(error) => OpenError::unavailable(error),
        wal::OpenError::Random(_) | wal::OpenError::Locked { .. } => {
            OpenError::unavailable(error.to_string())
        }
        // What is damaged, missing, foreign or sealed with another key.
        _ => OpenError::unmended(error.to_string()),
    }
}

fn not_taken_over(error: ImportError) -> OpenError {
    use ImportError::{Disk, Ended, Failed, Flume, Full};
    match error {
        ImportError::Log(error) => unavailable(error),
        Flume(flume::Error::Io { .. } | flume::Error::InUse { .. })
        | Disk(_)
        | Full
        | Failed(_)
        | Ended => OpenError::unavailable(error),
        // What is damaged, missing, encrypted with another key or not meant for this channel.
        _ => OpenError::unmended(error),
    }
}

/// Those of the directories that are there.
fn found(directories: &[PathBuf]) -> Result<Vec<Option<Arc<dyn Storage>>>, OpenError> {
    let find = |path: &PathBuf| match Disk::find(path) {
        Ok(disk) => Ok(Some(Arc::new(disk) as Arc<dyn Storage>)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unopened(path, error)),
    };
    directories.iter().map(find).collect()
}

/// All of the directories. Those that are not `there` are made, unless they may be those of a log
/// whose other directories are there, as when a disk is not mounted.
fn made(
    directories: &[PathBuf],
    there: &[Option<Arc<dyn Storage>>],
) -> Result<Vec<Arc<dyn Storage>>, OpenError> {
    let all = || directories.iter().zip(there);
    if let Some((missing, _)) = all().find(|(_, storage)| storage.is_none()) {
        let there: Vec<_> = there.iter().flatten().cloned().collect();
        let absent = absent(&there).map_err(unavailable)?;
        if !absent.is_empty() {
            return Err(OpenError::unmended(format!(
                "directory {} of dataDirs is missing, and the log of the others has data in {}; is its disk mounted? If it is lost for good, `splashdam log accept-loss --directory` gives it up",
                missing.display(),
                absent.join(", ")
            )));
        }
    }
    let make = |(path, storage): (&PathBuf, &Option<Arc<dyn Storage>>)| match storage {
        Some(storage) => Ok(storage.clone()),
        None => match Disk::open(path) {
            Ok(disk) => Ok(Arc::new(disk) as Arc<dyn Storage>),
            Err(error) => Err(unopened(path, error)),
        },
    };
    all().map(make).collect()
}

fn unopened(path: &Path, error: io::Error) -> OpenError {
    OpenError::refused(format!("cannot open directory {}: {error}", path.display()), error)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use splashdam_config::Section;
    use splashdam_core::{Channel, Component, Role, Shared};
    use splashdam_testkit::{context, events};
    use tempfile::tempdir;

    use super::*;
    use crate::channels::file::FileChannel;
    use crate::channels::file::tests::{drain, numbers, put};

    #[tokio::test(flavor = "multi_thread")]
    async fn a_missing_directory_of_a_log_is_named_and_not_made() {
        let place = tempdir().unwrap();
        let [a, b, c] = ["a", "b", "c"].map(|name| place.path().join(name).join("data"));
        let open = async |dirs: &[&PathBuf]| {
            let dirs: Vec<_> = dirs.iter().map(|dir| dir.display().to_string()).collect();
            let keys = format!("dataDirs = {}\nmaxFileSize = 1048576", dirs.join(","));
            let config = Section::parse(&keys).read().into_result().unwrap();
            let shared = Shared::default();
            FileChannel::open(config, Context { shared, ..context(Role::Channel) }).await
        };
        let stored = open(&[&a, &b]).await.expect("all are made at the first start");
        put(&stored, events(0, 6)).await.unwrap();
        stored.close().await.unwrap();
        let aside = place.path().join("aside");
        for dir in [&a, &b] {
            let mount = dir.parent().unwrap();
            fs::rename(mount, &aside).unwrap();
            let why = open(&[&a, &b]).await.err().expect("one is missing").to_string();
            assert!(why.contains(&*dir.to_string_lossy()) && why.contains("mounted"), "{why}");
            assert!(!mount.exists(), "{why}");
            fs::rename(&aside, mount).unwrap();
        }
        let more = open(&[&a, &b, &c]).await.expect("one that is added is made");
        assert!(c.exists());
        assert_eq!(drain(&more).await, numbers(0..6));
        more.close().await.unwrap();
    }
}
