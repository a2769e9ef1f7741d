//! Opens a log again that stopped, as all of its directories failed: what was acknowledged is on the
//! disks, and the channels, their sources and sinks go on where they were.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use splashdam_core::OpenError;
use splashdam_wal::storage::{Disk, Storage};
use splashdam_wal::{Log, Options, QueueOptions};
use tokio::time::sleep;

use super::{Member, OpenLog, blocking, locked, unavailable};
use crate::channels::file::health::Health;
use crate::channels::file::record::Datums;

/// The first wait for a disk to recover, and the longest.
const WAITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Waits for the log to stop, and opens it again as often as it does, until nobody uses it.
pub(super) async fn watch(log: Weak<OpenLog>, health: Arc<Health>) {
    loop {
        health.stopped.notified().await;
        let mut wait = WAITS.0;
        loop {
            sleep(wait).await;
            wait = (wait * 2).min(WAITS.1);
            let Some(log) = log.upgrade() else { return };
            match log.open_again().await {
                Ok(()) => break,
                Err(error) => health.not_healed(&error, wait),
            }
        }
    }
}

impl OpenLog {
    /// Opens the log in place of the one that stopped, unless it is closed.
    async fn open_again(self: Arc<Self>) -> Result<(), OpenError> {
        // Neither closed nor joined meanwhile.
        let held = self.place.clone().lock_owned().await;
        if self.closed.load(Ordering::Acquire) || !self.log().failed() {
            return Ok(());
        }
        blocking(move || {
            let _held = held;
            self.replace()
        })
        .await
    }

    pub(in crate::channels::file) fn replace(&self) -> Result<(), OpenError> {
        let members: Vec<_> = locked(&self.members).values().cloned().collect();
        let new = self.opened_anew(&members)?;
        self.take(new, &members);
        Ok(())
    }

    /// The same, with its directories seen through something else.
    #[cfg(test)]
    pub(in crate::channels::file) fn replace_on(
        &self,
        on: impl Fn(Disk) -> Arc<dyn Storage>,
    ) -> Result<(), OpenError> {
        let members: Vec<_> = locked(&self.members).values().cloned().collect();
        let find =
            || Ok(self.directories.iter().map(|path| on(Disk::find(path).unwrap())).collect());
        let new = self.opened_anew_on(&members, find)?;
        self.take(new, &members);
        Ok(())
    }

    /// The log out of its own directories; where they are not there, or others are, nothing is made.
    fn opened_anew(&self, members: &[Arc<Member>]) -> Result<Log<Datums>, OpenError> {
        self.opened_anew_on(members, || self.found())
    }

    fn opened_anew_on(
        &self,
        members: &[Arc<Member>],
        find: impl FnOnce() -> Result<Vec<Arc<dyn Storage>>, OpenError>,
    ) -> Result<Log<Datums>, OpenError> {
        let old = self.log();
        // Nothing writes any more, and nobody waits for an answer, before anything is read.
        old.close();
        let health = self.health.clone();
        let (options, _) = self
            .settings
            .options(Arc::new(move |notice| health.notice(&notice)))
            .map_err(OpenError::unmended)?;
        let queues: Vec<_> = members
            .iter()
            .map(|member| QueueOptions {
                name: member.name.to_string(),
                capacity: member.limits().capacity,
            })
            .collect();
        self.begin(&old, find()?, &queues, options, members)
    }

    /// The log in these storages, in place of `old`.
    fn begin(
        &self,
        old: &Log<Datums>,
        storages: Vec<Arc<dyn Storage>>,
        queues: &[QueueOptions],
        options: Options,
        members: &[Arc<Member>],
    ) -> Result<Log<Datums>, OpenError> {
        self.health.anew();
        let opened = old.open_again(storages, queues, options).map_err(unavailable)?;
        if let Some(other) =
            members.iter().find(|member| opened.log.queue(&member.name) != Some(member.queue))
        {
            return Err(OpenError::unavailable(format!(
                "dataDirs know channel {} by another number than before; restart the agent",
                other.name
            )));
        }
        opened.start().map_err(|error| OpenError::unavailable(format!("cannot start: {error}")))
    }

    /// Its directories, as they are.
    fn found(&self) -> Result<Vec<Arc<dyn Storage>>, OpenError> {
        let find = |path: &PathBuf| match Disk::find(path) {
            Ok(disk) => Ok(Arc::new(disk) as Arc<dyn Storage>),
            Err(error) => {
                let path = path.display();
                let said = format!("cannot open directory {path}: {error}; is its disk mounted?");
                Err(OpenError::refused(said, error))
            }
        };
        self.directories.iter().map(find).collect()
    }

    /// Goes on with `new`.
    fn take(&self, new: Log<Datums>, members: &[Arc<Member>]) {
        for (queue, changed) in &*locked(&self.signals) {
            let told = changed.clone();
            new.listen(*queue, Box::new(move || told.notify_waiters()));
        }
        *self.log.write().unwrap_or_else(PoisonError::into_inner) = new;
        // Limits that were set meanwhile went to the log before.
        for member in members {
            self.apply_limits(member, &locked(&member.limits));
        }
        self.health.healed();
        for changed in locked(&self.signals).values() {
            changed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io;
    use std::time::{Duration, Instant};

    use splashdam_config::Section;
    use splashdam_core::metrics::Counters;
    use splashdam_core::{Channel, ChannelError, Component, Context, Role, Shared};
    use splashdam_testkit::{context, events};
    use splashdam_wal::storage::StorageFile;
    use tempfile::tempdir;
    use tokio::time::sleep;

    use super::*;
    use crate::channels::file::FileChannel;
    use crate::channels::file::config::Config;
    use crate::channels::file::tests::{drain, encryption, numbers, open, put};

    #[tokio::test(flavor = "multi_thread")]
    async fn a_log_whose_disk_is_not_there_is_not_begun_anew() {
        let place = tempdir().unwrap();
        let (dir, aside) = (place.path().join("data"), place.path().join("aside"));
        let channel = open(&dir, "").await;
        put(&channel, events(0, 6)).await.unwrap();
        let (log, queue) = (channel.log.clone(), channel.member.queue);
        let identity = log.log().identity();
        let refused = |what: &str| {
            let why = log.replace().expect_err(what).to_string();
            assert!(why.contains(&*dir.to_string_lossy()), "{what}: {why}");
            assert!(why.contains("is its disk mounted?"), "{what}: {why}");
        };
        assert_eq!(channel.hindrance(), None);
        log.log().close();
        let hindrance = channel.hindrance().expect("nothing is taken in");
        assert!(hindrance.starts_with("its log has stopped"), "{hindrance}");
        fs::rename(&dir, &aside).unwrap();
        refused("nothing there");
        assert!(!dir.exists());
        fs::create_dir(&dir).unwrap();
        refused("an empty directory");
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
        let other = open(&dir, "").await;
        other.close().await.unwrap();
        let names = || -> Vec<_> {
            fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name()).collect()
        };
        let before = names();
        refused("another log");
        assert_eq!(names(), before);
        fs::remove_dir_all(&dir).unwrap();
        fs::rename(&aside, &dir).unwrap();
        log.replace().unwrap();
        assert_eq!(channel.hindrance(), None);
        assert_eq!((log.log().identity(), channel.member.queue), (identity, queue));
        assert_eq!(drain(&channel).await, numbers(0..6));
        channel.close().await.unwrap();
    }

    /// What a source is told.
    async fn refused(channel: &FileChannel) -> Option<String> {
        let refused = put(channel, events(0, 1)).await.err()?;
        assert!(matches!(refused, ChannelError::DiskFull { .. }), "{refused:?}");
        Some(refused.to_string())
    }

    /// What is still wrong when a log is open again shows, though it was wrong before.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_disk_that_is_full_is_so_when_the_log_is_opened_again() {
        let dir = tempdir().unwrap();
        let keys = format!(
            "dataDirs = {}\nkeep-alive = 0\nmaxFileSize = 1048576\nminimumRequiredSpace = {}",
            dir.path().display(),
            i64::MAX / 2
        );
        let config = Section::parse(&keys).read::<Config>().into_result().unwrap();
        let cx = context(Role::Channel);
        let counters = cx.counters.channel();
        let channel = FileChannel::open(config, cx).await.unwrap();
        let is_full = async || {
            let told = || counters.file.get().is_some_and(|file| file.disk_full.value() == 1);
            let full = || told() && channel.hindrance().is_some();
            let begun = Instant::now();
            while !full() && begun.elapsed() < Duration::from_secs(20) {
                sleep(Duration::from_millis(5)).await;
            }
            full()
        };
        assert!(is_full().await);
        let log = channel.log.clone();
        log.replace().unwrap();
        assert!(is_full().await);
        let place = dir.path().canonicalize().unwrap().display().to_string();
        let words = [&place, " MiB free and needs ", "lower minimumRequiredSpace"];
        for said in [channel.hindrance(), refused(&channel).await] {
            let said = said.expect("it takes nothing");
            assert!(words.iter().all(|word| said.contains(word)), "{said}");
        }
        channel.close().await.unwrap();
    }

    /// As when it is opened first.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_key_that_cannot_be_had_when_a_log_is_opened_again_needs_a_hand() {
        let (dir, keys) = (tempdir().unwrap(), tempdir().unwrap());
        let encrypted = encryption(keys.path(), "key-0", "key-0");
        let channel = open(dir.path(), &encrypted).await;
        fs::write(keys.path().join("store"), "another").unwrap();
        let why = channel.log.replace().unwrap_err();
        assert!(why.needs_hand() && why.to_string().contains("password of the store"), "{why}");
        encryption(keys.path(), "key-0", "key-0");
        channel.log.replace().unwrap();
        channel.close().await.unwrap();
    }

    /// A disk with no room but for what is held back for that.
    struct Crowded(Disk);

    struct CrowdedFile(Arc<dyn StorageFile>);

    impl Crowded {
        fn file(name: &str, file: Arc<dyn StorageFile>) -> Arc<dyn StorageFile> {
            if name == "splashdam.reserve" { file } else { Arc::new(CrowdedFile(file)) }
        }
    }

    impl Storage for Crowded {
        fn place(&self) -> String {
            self.0.place()
        }
        fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
            Ok(Crowded::file(name, self.0.create(name)?))
        }
        fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
            Ok(Crowded::file(name, self.0.open(name)?))
        }
        fn rename(&self, from: &str, to: &str) -> io::Result<()> {
            self.0.rename(from, to)
        }
        fn remove(&self, name: &str) -> io::Result<()> {
            self.0.remove(name)
        }
        fn list(&self) -> io::Result<Vec<String>> {
            self.0.list()
        }
        fn sync_dir(&self) -> io::Result<()> {
            self.0.sync_dir()
        }
        fn lock(&self, name: &str) -> io::Result<Box<dyn std::any::Any + Send + Sync>> {
            self.0.lock(name)
        }
        fn free_bytes(&self) -> io::Result<u64> {
            Ok(0)
        }
    }

    impl StorageFile for CrowdedFile {
        fn write_at(&self, parts: &[io::IoSlice<'_>], offset: u64) -> io::Result<usize> {
            self.0.write_at(parts, offset)
        }
        fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
            self.0.read_at(buffer, offset)
        }
        fn sync_data(&self) -> io::Result<()> {
            self.0.sync_data()
        }
        fn truncate(&self, length: u64) -> io::Result<()> {
            self.0.truncate(length)
        }
        fn allocate(&self, _: u64) -> io::Result<()> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn length(&self) -> io::Result<u64> {
            self.0.length()
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_disk_without_room_shows_when_it_is_found_at_the_first_step() {
        let dir = tempdir().unwrap();
        let cx = Context {
            shared: Shared::default(),
            counters: Counters::new(Role::Channel),
            ..context(Role::Channel)
        };
        let counters = cx.counters.channel();
        let keys = crate::channels::file::tests::keys(dir.path(), "");
        let config = crate::channels::file::tests::read(&keys);
        let channel = FileChannel::open(config, cx).await.unwrap();
        put(&channel, events(0, 6)).await.unwrap();
        let (log, members) = (channel.log.clone(), [channel.member.clone()]);
        let old = log.log();
        old.close();
        let health = log.health.clone();
        let notice = Arc::new(move |notice| health.notice(&notice));
        let (options, _) = log.settings.options(notice).unwrap();
        let queues = [QueueOptions {
            name: channel.member.name.to_string(),
            capacity: channel.member.limits().capacity,
        }];
        let storage = Arc::new(Crowded(Disk::find(dir.path()).unwrap()));
        let new = log.begin(&old, vec![storage], &queues, options, &members).unwrap();
        log.take(new, &members);
        let gauges = || {
            let file = counters.file.get().unwrap();
            (file.disk_full.value(), file.unhealthy.value())
        };
        assert_eq!(gauges(), (1, 0));
        assert_eq!(drain(&channel).await, numbers(0..6));
        assert_eq!(gauges(), (1, 0));
        channel.close().await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_channel_that_is_closed_has_no_trouble_with_its_log() {
        let dir = tempdir().unwrap();
        let channel = open(dir.path(), "").await;
        let log = channel.log.clone();
        channel.close().await.unwrap();
        assert!(log.log().stopped().is_some());
        assert_eq!(channel.hindrance(), None);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn limits_that_change_while_a_log_is_opened_again_count() {
        let dir = tempdir().unwrap();
        let channel = open(dir.path(), "").await;
        let (log, members) = (channel.log.clone(), [channel.member.clone()]);
        let new = log.opened_anew(&members).unwrap();
        let mut limits = channel.member.limits();
        limits.capacity.events = 7;
        log.set_limits(&channel.member, limits);
        log.take(new, &members);
        assert_eq!(log.log().level(channel.member.queue).capacity.events, 7);
        channel.close().await.unwrap();
    }
}
