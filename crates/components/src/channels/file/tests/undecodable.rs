//! Stored events that are none, though their checksums are right.

use splashdam_testkit::Lines;
use tokio::sync::oneshot;
use tracing::Level;

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
    let (errors, guard) = Lines::from_level(Level::ERROR);
    // A lease that is given back counts nothing.
    drop(whole(&channel).await);
    assert_eq!(skipped(&counters), 0);
    let taken = whole(&channel).await;
    assert_eq!(bodies(taken.batch().events()), ["0", "1", "2", "5", "6", "7"]);
    taken.commit().await.unwrap();
    drop(guard);
    assert_eq!((skipped(&counters), channel.level().queued.events), (2, 0));
    let said = errors.with("");
    assert_eq!(said.len(), 1, "{said:?}");
    for words in
        ["stored events cannot be read and are skipped", " component=channel c1", " events=2"]
    {
        assert!(said[0].contains(words), "{said:?}");
    }
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
