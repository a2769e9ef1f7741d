//! Channels that store how far a file is read.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use splashdam_core::{
    BoxFuture, Channel, ChannelError, ChannelSet, Level, Put, Refused, Route, Selector, Size, Stop,
    Take,
};
use splashdam_testkit::fakes::{ToAll, outlet_channels, outlet_to};
use tokio::task::block_in_place;

use super::*;
use crate::channels::file::FileChannel;

async fn file_channel(data: &Path) -> Arc<FileChannel> {
    let keys = format!("dataDirs = {0}\ncheckpointDir = {0}", data.display());
    let config = Section::parse(&keys).read().into_result().unwrap();
    Arc::new(FileChannel::open(config, context(Role::Channel)).await.unwrap())
}

async fn taken(channel: &dyn Channel) -> Vec<String> {
    let mut got = Vec::new();
    while channel.level().queued.events > 0 {
        let taken = channel.begin_take(Size::events(10_000)).await.unwrap();
        got.extend(bodies(taken.batch().events()));
        taken.commit().await.unwrap();
    }
    got
}

fn lines(count: usize) -> String {
    (0..count).map(|n| format!("line {n}\n")).collect()
}

fn next(reading: &mut Spooler) -> Option<Batch> {
    match block_in_place(|| reading.step().unwrap()) {
        Step::Batch(batch) => Some(batch),
        Step::Idle => None,
    }
}

/// Reads all there is.
async fn read_on(dir: &Path, more: &str, outlet: &Outlet) {
    let mut reading = spooler(dir, more);
    reading.tell(outlet);
    while let Some(batch) = next(&mut reading) {
        outlet.put(batch).await.unwrap();
        reading.delivered();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_durable_channel_crashes_repeat_nothing() {
    let content = lines(1000);
    let dir = directory(&[("a", content.as_bytes())]);
    let data = tempfile::tempdir().unwrap();
    let channel = file_channel(data.path()).await;
    let outlet = || outlet_to(vec![channel.clone()]);
    // Batches are stored, and their source dies before it writes that down.
    for _ in 0..3 {
        let mut reading = spooler(dir.path(), "batchSize = 10");
        reading.tell(&outlet());
        for written_down in [true, false] {
            let batch = next(&mut reading).expect("there is more");
            outlet().put(batch).await.unwrap();
            if written_down {
                reading.delivered();
            }
        }
    }
    let (handle, stop) = Stop::new();
    let keys = keys(dir.path(), "batchSize = 10");
    let source = contract::open_source::<SpoolDir>(&keys, cx()).await;
    let task = tokio::spawn(source.run(outlet(), stop));
    for _ in 0..400 {
        if channel.level().queued.events >= 1000 {
            break;
        }
        sleep(Duration::from_millis(10)).await;
    }
    handle.stop();
    task.await.unwrap().unwrap();
    assert_eq!(taken(&*channel).await, content.lines().collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_failed_holds_up_no_reading_in_other_batches() {
    for batch_size in [3, 10, 25] {
        let content = lines(100);
        let dir = directory(&[("a", content.as_bytes())]);
        let data = tempfile::tempdir().unwrap();
        let channel = file_channel(data.path()).await;
        let outlet = outlet_to(vec![channel.clone()]);
        let mut reading = spooler(dir.path(), "batchSize = 10");
        reading.tell(&outlet);
        let batch = next(&mut reading).expect("there is something");
        // The log is opened anew between the two.
        let put = channel.begin_put(batch.size()).await.unwrap();
        block_in_place(|| channel.open_again().unwrap());
        assert!(put.commit(batch).await.is_err());
        drop(reading);
        read_on(dir.path(), &format!("batchSize = {batch_size}"), &outlet).await;
        let got = taken(&*channel).await;
        assert_eq!(got, content.lines().collect::<Vec<_>>(), "batches of {batch_size}");
    }
}

/// A file channel whose commits fail at first.
struct Ailing(Arc<FileChannel>, AtomicBool);

impl Channel for Ailing {
    fn begin_put(&self, size: Size) -> BoxFuture<'_, Result<Box<dyn Put>, ChannelError>> {
        if self.1.load(Ordering::Relaxed) {
            return self.0.begin_put(size);
        }
        Box::pin(async { Ok(Box::new(Fails) as Box<dyn Put>) })
    }

    fn begin_take(&self, limit: Size) -> BoxFuture<'_, Result<Box<dyn Take>, ChannelError>> {
        self.0.begin_take(limit)
    }

    fn keeps_origins(&self) -> bool {
        true
    }

    fn last_of(&self, sender: [u8; 16]) -> Option<splashdam_core::Origin> {
        self.0.last_of(sender)
    }

    fn level(&self) -> Level {
        self.0.level()
    }

    fn close(&self) -> BoxFuture<'_, Result<(), ChannelError>> {
        self.0.close()
    }
}

struct Fails;

impl Put for Fails {
    fn commit(self: Box<Self>, batch: Batch) -> BoxFuture<'static, Result<(), Refused>> {
        let error = ChannelError::Closed { channel: "b".into() };
        Box::pin(std::future::ready(Err(Refused { batch, error })))
    }
}

/// Lines with an even number go to the first channel, the others to the second.
struct ByNumber;

impl Selector for ByNumber {
    fn route(&self, event: &Event) -> Route {
        let odd = event.body.last().is_some_and(|digit| digit % 2 == 1);
        let required = ChannelSet::default().with(usize::from(odd));
        Route { required, optional: ChannelSet::default() }
    }

    fn repeats(&self, _varies: &dyn Fn(&str) -> bool) -> bool {
        true
    }
}

/// The first line goes to the channel of this number, the next one to the other, and so on.
struct InTurn(AtomicUsize);

impl Selector for InTurn {
    fn route(&self, _event: &Event) -> Route {
        let required = ChannelSet::default().with(self.0.fetch_add(1, Ordering::Relaxed) % 2);
        Route { required, optional: ChannelSet::default() }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_that_stand_apart_take_what_they_lack_and_another_way_loses_nothing() {
    let content = lines(100);
    for other_way in [false, true] {
        let dir = directory(&[("a", content.as_bytes())]);
        let data = tempfile::tempdir().unwrap();
        let a = file_channel(&data.path().join("a")).await;
        let b = Arc::new(Ailing(file_channel(&data.path().join("b")).await, false.into()));
        let outlet = |channels: Vec<Arc<dyn Channel>>, selector: Box<dyn Selector>, digest| {
            let channels = outlet_channels(channels);
            Outlet::new("r1".into(), Vec::new(), selector, channels, Arc::default())
                .configured(digest)
        };
        let parted = outlet(vec![a.clone(), b.clone()], Box::new(ByNumber), 1);
        let mut reading = spooler(dir.path(), "batchSize = 10");
        reading.tell(&parted);
        let batch = next(&mut reading).expect("there is something");
        parted.put(batch).await.expect_err("half of it is stored");
        drop(reading);
        b.1.store(true, Ordering::Relaxed);
        let whole = outlet(vec![a.clone()], Box::new(ToAll(1)), 2);
        let outlet = if other_way { whole } else { parted };
        read_on(dir.path(), "batchSize = 10", &outlet).await;
        let (got, rest) = (taken(&*a).await, taken(&*b).await);
        let number = |line: &&str| line.as_bytes()[line.len() - 1].is_multiple_of(2);
        let (even, odd): (Vec<_>, Vec<_>) = content.lines().partition(number);
        if other_way {
            // What was stored of the first batch, and then all.
            assert_eq!(got[..5], even[..5]);
            assert_eq!(got[5..], content.lines().collect::<Vec<_>>());
        } else {
            assert_eq!((got, rest), (text(&even), text(&odd)));
        }
    }
}

fn text(lines: &[&str]) -> Vec<String> {
    lines.iter().map(ToString::to_string).collect()
}

/// A source is killed when one of two logs has its part of a batch; then lines take other turns.
#[tokio::test(flavor = "multi_thread")]
async fn lines_that_take_turns_between_logs_are_all_stored() {
    let content = lines(100);
    for turn in [0, 1] {
        let dir = directory(&[("a", content.as_bytes())]);
        let data = tempfile::tempdir().unwrap();
        let a = file_channel(&data.path().join("a")).await;
        let b = Arc::new(Ailing(file_channel(&data.path().join("b")).await, false.into()));
        let outlet = |turn: usize| {
            let channels = outlet_channels(vec![a.clone(), b.clone()]);
            let selector = Box::new(InTurn(turn.into()));
            Outlet::new("r1".into(), Vec::new(), selector, channels, Arc::default())
        };
        let mut reading = spooler(dir.path(), "batchSize = 10");
        reading.tell(&outlet(0));
        let batch = next(&mut reading).expect("there is something");
        outlet(0).put(batch).await.expect_err("half of it is stored");
        drop(reading);
        b.1.store(true, Ordering::Relaxed);
        read_on(dir.path(), "batchSize = 10", &outlet(turn)).await;
        let mut got = [taken(&*a).await, taken(&*b).await].concat();
        assert_eq!(got.len(), 105, "those of the first batch that were stored come again");
        got.sort();
        got.dedup();
        let mut want = text(&content.lines().collect::<Vec<_>>());
        want.sort();
        assert_eq!(got, want, "turn {turn}");
    }
}
