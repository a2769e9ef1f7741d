//! Stored events that are none, though their checksums are right.

use std::sync::Mutex;

use tokio::sync::oneshot;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record as Recorded};
use tracing::{Level, Metadata, Subscriber};

use super::*;

/// Puts events whose bytes are parted at other places than where they end.
async fn put_nonsense(channel: &FileChannel, batch: Batch) {
    let lengths = batch.events().iter().map(splashdam_wire::avro::datum::length);
    let mut lengths: Vec<u32> = lengths.map(|length| u32::try_from(length).unwrap()).collect();
    lengths[0] -= 1;
    *lengths.last_mut().unwrap() += 1;
    let log = channel.log.log();
    let count = Count { events: batch.len() as u64, bytes: 1000 };
    let room = log.reserve(&[channel.member.queue], count).map_err(drop).unwrap();
    let (done, answer) = oneshot::channel();
    let record = Arc::new(Datums::parted(batch, lengths));
    room.put(record, None, Box::new(move |answer| drop(done.send(answer))));
    answer.await.unwrap().unwrap();
}

/// The channel, and its counters.
async fn open_counted(dir: &Path) -> (Arc<FileChannel>, Counters) {
    let counters = Counters::new(Role::Channel);
    let cx = Context {
        name: "c1".into(),
        shared: Shared::default(),
        counters: counters.clone(),
        ..context(Role::Channel)
    };
    let channel = FileChannel::open(read(&keys(dir, "")), cx).await.unwrap();
    (Arc::new(channel), counters)
}

fn skipped(counters: &Counters) -> u64 {
    counters.channel().file.get().unwrap().events_skipped.value()
}

/// What is logged as an error: component, message and how many events.
#[derive(Clone, Default)]
struct Errors(Arc<Mutex<Vec<[String; 3]>>>);

impl Visit for Errors {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let place = match field.name() {
            "component" => 0,
            "message" => 1,
            "events" => 2,
            _ => return,
        };
        if let Some(last) = self.0.lock().unwrap().last_mut() {
            last[place] = format!("{value:?}");
        }
    }
}

impl Subscriber for Errors {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR
    }
    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _span: &Id, _values: &Recorded<'_>) {}
    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        self.0.lock().unwrap().push(Default::default());
        event.record(&mut self.clone());
    }
    fn enter(&self, _span: &Id) {}
    fn exit(&self, _span: &Id) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_decoded_is_counted_named_and_never_comes_again() {
    let dir = tempdir().unwrap();
    let channel = open(dir.path(), "").await;
    put(&channel, events(0, 3)).await.unwrap();
    put_nonsense(&channel, events(3, 2)).await;
    put(&channel, events(5, 3)).await.unwrap();
    channel.close().await.unwrap();

    let (channel, counters) = open_counted(dir.path()).await;
    assert_eq!(channel.level().queued.events, 8);
    let errors = Errors::default();
    let guard = tracing::subscriber::set_default(errors.clone());
    // A lease that is given back counts nothing.
    drop(whole(&channel).await);
    assert_eq!(skipped(&counters), 0);
    let taken = whole(&channel).await;
    assert_eq!(bodies(taken.batch().events()), ["0", "1", "2", "5", "6", "7"]);
    taken.commit().await.unwrap();
    drop(guard);
    assert_eq!((skipped(&counters), channel.level().queued.events), (2, 0));
    let said = errors.0.lock().unwrap().clone();
    assert_eq!(said.len(), 1, "{said:?}");
    assert_eq!([&*said[0][0], &*said[0][2]], ["channel c1", "2"]);
    assert!(said[0][1].contains("stored events cannot be read and are skipped"), "{said:?}");
    put(&channel, events(8, 1)).await.unwrap();
    channel.close().await.unwrap();

    let (channel, counters) = open_counted(dir.path()).await;
    assert_eq!(drain(&channel).await, ["8"]);
    assert_eq!(skipped(&counters), 0);
    channel.close().await.unwrap();
}

/// All that is in the channel, in one lease, once it is read from the disk.
async fn whole(channel: &FileChannel) -> Box<dyn Take> {
    loop {
        let taken = channel.begin_take(ALL).await.unwrap();
        if channel.level().queued.events == 0 {
            return taken;
        }
        drop(taken);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
