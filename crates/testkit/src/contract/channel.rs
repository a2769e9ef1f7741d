//! What every channel answers alike, memory or disk.

use std::sync::Arc;
use std::time::Duration;

use splashdam_core::{Batch, Channel, ChannelError, Event, Put, Size, Take};
use tokio::time::{Instant, timeout};

use crate::fakes::{bodies, events};

/// How to open the channel under test: at most `capacity` events, `transaction` events in one
/// transaction, 1 s keep-alive.
pub trait ChannelUnderTest {
    /// Opens a fresh, empty channel.
    fn open(&self, capacity: usize, transaction: usize) -> impl Future<Output = Arc<dyn Channel>>;
}

impl<F, Fut> ChannelUnderTest for F
where
    F: Fn(usize, usize) -> Fut,
    Fut: Future<Output = Arc<dyn Channel>>,
{
    fn open(&self, capacity: usize, transaction: usize) -> impl Future<Output = Arc<dyn Channel>> {
        self(capacity, transaction)
    }
}

const ALL: Size = Size { events: usize::MAX, bytes: usize::MAX };

/// Asks every question. Runs under tokio's paused clock or the real one.
pub async fn channel(under_test: impl ChannelUnderTest) {
    order_is_kept_whatever_the_batches(&*under_test.open(1000, 1000).await).await;
    a_put_is_seen_only_after_its_commit(&*under_test.open(10, 10).await).await;
    a_rolled_back_take_returns_to_the_head(&*under_test.open(10, 10).await).await;
    a_dropped_put_gives_its_room_back(&*under_test.open(4, 4).await).await;
    a_full_channel_refuses_after_keep_alive(&*under_test.open(4, 4).await).await;
    a_lease_holds_its_room_until_committed(&*under_test.open(4, 4).await).await;
    room_wakes_a_waiting_put(under_test.open(4, 4).await).await;
    events_wake_a_waiting_take(under_test.open(4, 4).await).await;
    an_idle_take_ends_empty_after_keep_alive(&*under_test.open(4, 4).await).await;
    a_transaction_has_a_limit(&*under_test.open(10, 4).await).await;
    limits_of_a_take_are_kept(&*under_test.open(100, 100).await).await;
    many_takers_share_without_loss_or_repeat(under_test.open(100, 100).await).await;
    a_cancelled_wait_leaves_nothing_behind(&*under_test.open(4, 4).await).await;
    a_closed_channel_refuses(&*under_test.open(4, 4).await).await;
}

async fn put(channel: &dyn Channel, batch: Batch) -> Result<(), ChannelError> {
    let put = channel.begin_put(batch.size()).await?;
    put.commit(batch).await.map_err(|refused| refused.error)
}

async fn take(channel: &dyn Channel, count: usize) -> Box<dyn Take> {
    channel.begin_take(Size::events(count)).await.expect("a take")
}

async fn drain(channel: &dyn Channel) -> Vec<String> {
    let mut all = Vec::new();
    while channel.level().queued.events > 0 {
        let taken = channel.begin_take(ALL).await.expect("a take");
        all.extend(bodies(taken.batch().events()));
        taken.commit().await.expect("a commit");
    }
    all
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

async fn order_is_kept_whatever_the_batches(channel: &dyn Channel) {
    let mut next = 0;
    for count in [1, 7, 100, 3, 250, 1, 1, 37] {
        put(channel, events(next, count)).await.expect("room");
        next += count;
    }
    assert_eq!(channel.level().queued.events, next);
    let mut all = Vec::new();
    for count in [2, 1, 150, 5, 1000] {
        let taken = take(channel, count).await;
        all.extend(bodies(taken.batch().events()));
        taken.commit().await.expect("a commit");
    }
    all.extend(drain(channel).await);
    assert_eq!(all, numbers(0..next));
}

async fn a_put_is_seen_only_after_its_commit(channel: &dyn Channel) {
    let batch = events(0, 3);
    let open = channel.begin_put(batch.size()).await.expect("room");
    assert_eq!(channel.level().queued.events, 0);
    assert!(take(channel, 5).await.batch().is_empty(), "an open put was seen");
    open.commit(batch).await.expect("a commit");
    assert_eq!(drain(channel).await, numbers(0..3));
}

async fn a_rolled_back_take_returns_to_the_head(channel: &dyn Channel) {
    put(channel, events(0, 3)).await.expect("room");
    put(channel, events(3, 3)).await.expect("room");
    let first = take(channel, 2).await;
    let second = take(channel, 2).await;
    assert_eq!(bodies(second.batch().events()), numbers(2..4));
    assert_eq!(channel.level().leased.events, 4);
    drop(second);
    drop(first);
    assert_eq!(drain(channel).await, numbers(0..6), "order after rollbacks");
    put(channel, events(0, 4)).await.expect("room");
    let first = take(channel, 2).await;
    let second = take(channel, 2).await;
    drop(first);
    second.commit().await.expect("a commit");
    assert_eq!(drain(channel).await, numbers(0..2), "a later lease committed first");
}

async fn a_dropped_put_gives_its_room_back(channel: &dyn Channel) {
    for _ in 0..10 {
        drop(channel.begin_put(events(0, 4).size()).await.expect("room"));
    }
    put(channel, events(0, 4)).await.expect("all of the room");
    assert_eq!(drain(channel).await, numbers(0..4));
}

async fn a_full_channel_refuses_after_keep_alive(channel: &dyn Channel) {
    put(channel, events(0, 3)).await.expect("room");
    let start = Instant::now();
    let refused = put(channel, events(3, 2)).await;
    assert!(matches!(refused, Err(ChannelError::Full { .. })), "{refused:?}");
    let waited = start.elapsed();
    assert!(waited >= Duration::from_millis(900), "gave up after {waited:?}");
    assert!(waited < Duration::from_secs(5), "gave up after {waited:?}");
    put(channel, events(3, 1)).await.expect("one fits");
    assert_eq!(drain(channel).await, numbers(0..4));
}

async fn a_lease_holds_its_room_until_committed(channel: &dyn Channel) {
    put(channel, events(0, 4)).await.expect("room");
    let lease = take(channel, 4).await;
    let refused = put(channel, events(4, 1)).await;
    assert!(matches!(refused, Err(ChannelError::Full { .. })), "{refused:?}");
    lease.commit().await.expect("a commit");
    put(channel, events(4, 4)).await.expect("room");
    assert_eq!(drain(channel).await, numbers(4..8));
}

async fn room_wakes_a_waiting_put(channel: Arc<dyn Channel>) {
    put(&*channel, events(0, 4)).await.expect("room");
    let waiting = tokio::spawn({
        let channel = channel.clone();
        async move { put(&*channel, events(4, 4)).await }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    take(&*channel, 4).await.commit().await.expect("a commit");
    waiting.await.expect("no panic").expect("room came");
    assert_eq!(drain(&*channel).await, numbers(4..8));
}

async fn events_wake_a_waiting_take(channel: Arc<dyn Channel>) {
    let waiting = tokio::spawn({
        let channel = channel.clone();
        async move {
            let taken = take(&*channel, 10).await;
            let got = bodies(taken.batch().events());
            taken.commit().await.expect("a commit");
            got
        }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    put(&*channel, events(0, 2)).await.expect("room");
    assert_eq!(waiting.await.expect("no panic"), numbers(0..2));
}

async fn an_idle_take_ends_empty_after_keep_alive(channel: &dyn Channel) {
    let taken = timeout(Duration::from_secs(5), take(channel, 4)).await.expect("an end");
    assert!(taken.batch().is_empty());
    taken.commit().await.expect("committing nothing");
}

async fn a_transaction_has_a_limit(channel: &dyn Channel) {
    let refused = put(channel, events(0, 5)).await;
    assert!(
        matches!(refused, Err(ChannelError::TooLarge { events: 5, capacity: 4, .. })),
        "{refused:?}"
    );
    put(channel, events(0, 4)).await.expect("the limit itself");
    put(channel, events(4, 4)).await.expect("the limit itself");
    assert!(take(channel, 100).await.batch().len() <= 4, "a take beyond the limit");
    assert_eq!(drain(channel).await, numbers(0..8));
}

async fn limits_of_a_take_are_kept(channel: &dyn Channel) {
    let wide: Batch = (0..9).map(|_| Event::new(vec![b'x'; 100])).collect();
    put(channel, wide).await.expect("room");
    let check = async |limit, want| {
        let taken = channel.begin_take(limit).await.expect("a take");
        assert_eq!(taken.batch().len(), want, "{limit:?}");
    };
    check(Size { events: 3, bytes: 10_000 }, 3).await;
    check(Size { events: 50, bytes: 450 }, 4).await;
    check(Size { events: 50, bytes: 1 }, 1).await;
}

async fn many_takers_share_without_loss_or_repeat(channel: Arc<dyn Channel>) {
    const COUNT: usize = 5_000;
    let taker = |n: usize| {
        let channel = channel.clone();
        async move {
            let (mut all, mut turn) = (Vec::new(), n);
            loop {
                let taken = take(&*channel, 1 + turn % 17).await;
                turn += 1;
                if taken.batch().is_empty() {
                    return all;
                }
                if turn % 5 == 0 {
                    drop(taken);
                    continue;
                }
                all.extend(bodies(taken.batch().events()));
                taken.commit().await.expect("a commit");
            }
        }
    };
    let takers: Vec<_> = (0..3).map(|n| tokio::spawn(taker(n))).collect();
    let mut next = 0;
    while next < COUNT {
        let count = (1 + next % 23).min(COUNT - next);
        match put(&*channel, events(next, count)).await {
            Ok(()) => next += count,
            Err(ChannelError::Full { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    let mut all = Vec::new();
    for taker in takers {
        all.extend(taker.await.expect("no panic"));
    }
    all.sort_by_key(|n| n.parse::<usize>().expect("a number"));
    assert_eq!(all, numbers(0..COUNT));
}

async fn a_cancelled_wait_leaves_nothing_behind(channel: &dyn Channel) {
    let cut = timeout(Duration::from_millis(20), channel.begin_take(ALL)).await;
    assert!(cut.is_err(), "nothing was there to take");
    put(channel, events(0, 4)).await.expect("room");
    let cut = timeout(Duration::from_millis(20), channel.begin_put(events(0, 1).size())).await;
    assert!(cut.is_err(), "no room was there");
    assert_eq!(drain(channel).await, numbers(0..4));
    put(channel, events(4, 4)).await.expect("all of the room");
    assert_eq!(drain(channel).await, numbers(4..8));
}

async fn a_closed_channel_refuses(channel: &dyn Channel) {
    put(channel, events(0, 1)).await.expect("room");
    channel.close().await.expect("a close");
    let refused = put(channel, events(1, 1)).await;
    assert!(matches!(refused, Err(ChannelError::Closed { .. })), "{refused:?}");
    let refused = channel.begin_take(ALL).await.map(|_| ());
    assert!(matches!(refused, Err(ChannelError::Closed { .. })), "{refused:?}");
}

/// Keeps the trait in scope for callers that only name the suite.
const _: fn(Box<dyn Put>) = |_| {};
