//! Stops while the log takes nothing: memory is written down as soon as it does.

use std::any::Any;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Release};

use splashdam_wal::storage::{Disk, Storage, StorageFile};
use tokio::time::{sleep, timeout};

use super::*;

const LARGE: &str =
    "memoryCapacity = 3000\noverflowCapacity = 5\ntransactionCapacity = 5\noverflowTimeout = 0";

/// A disk that is full until somebody makes room.
struct Crowded {
    disk: Disk,
    has_room: Arc<AtomicBool>,
}

impl Storage for Crowded {
    fn place(&self) -> String {
        self.disk.place()
    }
    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        self.disk.create(name)
    }
    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        self.disk.open(name)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }
    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }
    fn sync_dir(&self) -> io::Result<()> {
        self.disk.sync_dir()
    }
    fn lock(&self, name: &str) -> io::Result<Box<dyn Any + Send + Sync>> {
        self.disk.lock(name)
    }
    fn free_bytes(&self) -> io::Result<u64> {
        Ok(if self.has_room.load(Relaxed) { 1 << 40 } else { 0 })
    }
}

/// A channel with so many events in memory, and its counters.
async fn holding(dir: &Path, events_in_memory: usize) -> (Spillable, Arc<ChannelMetrics>) {
    let cx = Context { name: "c1".into(), shared: Shared::default(), ..context(Role::Channel) };
    let counters = cx.counters.channel();
    let channel = Spillable::open(read(&keys(dir, LARGE)), cx).await.unwrap();
    for first in (0..events_in_memory).step_by(5) {
        let count = (events_in_memory - first).min(5);
        super::put(&channel, events(first, count)).await.unwrap();
    }
    assert_eq!(runs(&channel), [(Store::Memory, events_in_memory as u64)]);
    (channel, counters)
}

/// Closes it, and mends its log only when it has been at that for a while.
async fn closed_late(
    channel: Spillable,
    counters: &ChannelMetrics,
    mend: impl AsyncFnOnce(&FileChannel),
) {
    let mended = async {
        sleep(Duration::from_millis(300)).await;
        assert_eq!(counters.events_lost.value(), 0);
        mend(&channel.0.overflow.as_ref().unwrap().main).await;
    };
    let closed = timeout(Duration::from_secs(20), channel.close());
    let (closed, ()) = tokio::join!(closed, mended);
    closed.expect("it ends once there is room").unwrap();
    assert_eq!(counters.events_lost.value(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_written_down_when_a_full_disk_has_room_again() {
    for count in [7, 2500] {
        let dir = tempdir().unwrap();
        let (channel, counters) = holding(dir.path(), count).await;
        let has_room = Arc::new(AtomicBool::new(false));
        let log = &channel.0.overflow.as_ref().unwrap().main;
        log.open_again_on(|disk| Arc::new(Crowded { disk, has_room: has_room.clone() })).unwrap();
        while log.disk_full().is_none() {
            sleep(Duration::from_millis(1)).await;
        }
        closed_late(channel, &counters, async |_: &FileChannel| has_room.store(true, Release))
            .await;
        let channel = open_again(dir.path(), LARGE).await;
        assert_eq!(runs(&channel), [(Store::Kept, count as u64)]);
        assert_eq!(drain(&channel).await, numbers(0..count));
        channel.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_written_down_when_a_log_that_stopped_is_open_again() {
    let dir = tempdir().unwrap();
    let (channel, counters) = holding(dir.path(), 7).await;
    channel.0.overflow.as_ref().unwrap().main.open_log().close();
    closed_late(channel, &counters, async |log: &FileChannel| log.open_again().unwrap()).await;
    let channel = open_again(dir.path(), LARGE).await;
    assert_eq!(drain(&channel).await, numbers(0..7));
    channel.close().await.unwrap();
}
