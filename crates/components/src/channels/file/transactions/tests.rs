use std::path::Path;
use std::sync::atomic::Ordering;

use splashdam_core::pipeline::Lane;
use splashdam_core::{Batch, Channel, ChannelError, Event, Size};
use splashdam_testkit::fakes::ToAll;
use splashdam_testkit::{bodies, events};
use tempfile::tempdir;

use crate::channels::file::FileChannel;
use crate::channels::file::offline::{SegmentReport, Stored};
use crate::channels::file::tests::{Pair, drain, keys, numbers, open, outlet, pair, read};

/// Takes one event of `from` and puts a letter into `to` with it.
async fn exchange(from: &FileChannel, to: &FileChannel) -> Result<(), ChannelError> {
    let take = from.begin_take(Size { events: 1, bytes: usize::MAX }).await.unwrap();
    let letter = Batch::from(vec![Event::new("letter")]);
    let put = to.begin_put(letter.size()).await?;
    take.commit_with(put, letter).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_goes_in_the_frame_of_its_take_where_the_log_is_one() {
    let frames = |dir: &Path| {
        let stored = Stored::open(&read(&keys(dir, "")), dir, false).unwrap();
        let report = stored.verify(|_, _| {});
        let segments = || report.directories.iter().flat_map(|directory| &directory.segments);
        let sum = |count: fn(&SegmentReport) -> u64| segments().map(count).sum::<u64>();
        (sum(|segment| segment.puts), sum(|segment| segment.takes))
    };
    let (one, two) = (tempdir().unwrap(), tempdir().unwrap());
    let Pair { channels: [a, b], .. } = pair(one.path(), [9, 1]).await;
    let Pair { channels: [_, far], .. } = pair(two.path(), [9, 9]).await;
    outlet(std::slice::from_ref(&a), Box::new(ToAll(1))).put(events(0, 3)).await.unwrap();
    exchange(&a, &b).await.unwrap();
    assert!(matches!(exchange(&a, &b).await, Err(ChannelError::Full { .. })), "no room");
    assert_eq!((a.level().queued.events, b.level().queued.events), (2, 1));
    // Into another log it goes in a commit of its own.
    exchange(&a, &far).await.unwrap();
    assert_eq!(drain(&far).await, ["letter"]);
    for channel in [&a, &b, &far] {
        channel.close().await.unwrap();
    }
    drop((a, b));
    assert_eq!(frames(one.path()), (2, 2), "a put, an exchange, a take");
    let Pair { channels: [a, b], .. } = pair(one.path(), [9, 1]).await;
    assert_eq!((drain(&a).await, drain(&b).await), (numbers(2..3), vec!["letter".to_owned()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_behind_a_refused_batch_of_its_lane_is_refused() {
    let dir = tempdir().unwrap();
    let channel = open(dir.path(), "keep-alive = 0").await;
    let (lane, other) = (Lane::new(), Lane::new());
    let commit = async |n: usize, lane: &Lane| {
        let mut put = channel.begin_put(events(n, 1).size()).await.unwrap();
        put.in_lane(lane.clone());
        put.commit(events(n, 1)).await
    };
    commit(0, &lane).await.unwrap();
    lane.broken().store(true, Ordering::Release);
    let refused = commit(1, &lane).await.unwrap_err();
    assert!(refused.error.to_string().contains("failed"), "{}", refused.error);
    assert_eq!(bodies(refused.batch.events()), ["1"]);
    commit(2, &other).await.unwrap();
    assert_eq!(drain(&channel).await, ["0", "2"]);
    channel.close().await.unwrap();
}
