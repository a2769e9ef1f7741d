use std::path::Path;
use std::time::Duration;

use splashdam_core::{Event, Shared};
use splashdam_testkit::{bodies, context, contract, events};
use tempfile::{TempDir, tempdir};
use tokio::time::Instant;

use super::order::Store;
use super::*;

mod configuration;
mod stops;

pub(super) fn read(keys: &str) -> Config {
    Section::parse(keys).read::<Config>().into_result().unwrap()
}

fn keys(dir: &Path, more: &str) -> String {
    let dir = dir.display();
    format!("dataDirs = {dir}\nmaxFileSize = 1048576\nminimumRequiredSpace = 1048576\n{more}")
}

async fn try_open(dir: &Path, more: &str) -> Result<Spillable, OpenError> {
    let cx = Context {
        name: "c1".into(),
        shared: Shared::default(),
        counters: Counters::new(Role::Channel),
        ..context(Role::Channel)
    };
    Spillable::open(read(&keys(dir, more)), cx).await
}

async fn open(dir: &Path, more: &str) -> Spillable {
    try_open(dir, more).await.unwrap()
}

/// As soon as those who had the directories have let them go.
async fn open_again(dir: &Path, more: &str) -> Spillable {
    for _ in 0..500 {
        match try_open(dir, more).await {
            Err(OpenError::Unavailable(_)) => tokio::time::sleep(Duration::from_millis(10)).await,
            opened => return opened.unwrap(),
        }
    }
    panic!("the directories stay locked");
}

pub(super) async fn put(channel: &Spillable, batch: Batch) -> Result<(), ChannelError> {
    let put = channel.begin_put(batch.size()).await?;
    put.commit(batch).await.map_err(|refused| refused.error)
}

/// What is there, also where it has to be read from the disk first.
async fn lease(channel: &Spillable, limit: usize) -> Box<dyn Take> {
    loop {
        let taken = channel.begin_take(Size::events(limit)).await.unwrap();
        if !taken.batch().is_empty() || channel.level().queued.events == 0 {
            return taken;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

pub(super) async fn take(channel: &Spillable, limit: usize) -> Vec<String> {
    let taken = lease(channel, limit).await;
    let got = bodies(taken.batch().events());
    taken.commit().await.unwrap();
    got
}

async fn drain(channel: &Spillable) -> Vec<String> {
    let mut all = Vec::new();
    while channel.level().queued.events > 0 {
        all.extend(take(channel, usize::MAX).await);
    }
    all
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

/// Where the events are, from the head.
fn runs(channel: &Spillable) -> Vec<(Store, u64)> {
    channel.0.state().order.runs().collect()
}

#[tokio::test(start_paused = true)]
async fn keeps_the_contract_in_memory() {
    contract::channel(async |capacity: usize, transaction: usize| {
        let keys = format!(
            "memoryCapacity = {capacity}\noverflowCapacity = 0\noverflowTimeout = 1\n\
             transactionCapacity = {transaction}"
        );
        let channel = Spillable::open(read(&keys), context(Role::Channel)).await.unwrap();
        Arc::new(channel) as Arc<dyn Channel>
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_contract_in_the_overflow() {
    // The directories go when the suite is through.
    let dirs = Mutex::new(Vec::<TempDir>::new());
    contract::channel(async |capacity: usize, transaction: usize| {
        let dir = tempdir().unwrap();
        let more = format!(
            "memoryCapacity = 0\noverflowCapacity = {capacity}\noverflowTimeout = 1\n\
             transactionCapacity = {transaction}"
        );
        let channel = open(dir.path(), &more).await;
        dirs.lock().unwrap().push(dir);
        Arc::new(channel) as Arc<dyn Channel>
    })
    .await;
}

const SMALL: &str = "memoryCapacity = 10\noverflowCapacity = 100\ntransactionCapacity = 20\n\
                     overflowDeactivationThreshold = 50\noverflowTimeout = 0";

#[tokio::test(flavor = "multi_thread")]
async fn a_full_memory_overflows_until_enough_is_free() {
    let dir = tempdir().unwrap();
    let channel = open(dir.path(), SMALL).await;
    put(&channel, events(0, 8)).await.unwrap();
    // Whole batches only: this one does not fit.
    put(&channel, events(8, 4)).await.unwrap();
    // It would fit, but the overflow goes on.
    put(&channel, events(12, 1)).await.unwrap();
    assert_eq!(runs(&channel), [(Store::Memory, 8), (Store::Overflow, 5)]);
    assert_eq!(take(&channel, 2).await, numbers(0..2));
    put(&channel, events(13, 1)).await.unwrap();
    assert_eq!(runs(&channel), [(Store::Memory, 6), (Store::Overflow, 6)]);
    // Half of memory is free from here on.
    assert_eq!(take(&channel, 1).await, numbers(2..3));
    put(&channel, events(14, 3)).await.unwrap();
    put(&channel, events(17, 2)).await.unwrap();
    assert_eq!(runs(&channel), [(Store::Memory, 5), (Store::Overflow, 6), (Store::Memory, 5)]);
    put(&channel, events(19, 1)).await.unwrap();
    assert_eq!(channel.level().queued.events, 17);
    // A take has events of one place.
    for range in [3..8, 8..14, 14..19, 19..20] {
        assert_eq!(take(&channel, 20).await, numbers(range));
    }
    assert_eq!(channel.level().queued, Size::ZERO);
    assert_eq!(channel.0.state().used, Used::default());
    channel.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_put_waits_for_memory_before_it_overflows() {
    let dir = tempdir().unwrap();
    let channel = Arc::new(open(dir.path(), &SMALL.replace("Timeout = 0", "Timeout = 1")).await);
    put(&channel, events(0, 10)).await.unwrap();
    let start = Instant::now();
    put(&channel, events(10, 2)).await.unwrap();
    let waited = start.elapsed();
    assert!(waited >= Duration::from_millis(900), "overflowed after {waited:?}");
    let start = Instant::now();
    put(&channel, events(12, 2)).await.unwrap();
    assert!(start.elapsed() < Duration::from_millis(900), "it has overflowed already");
    assert_eq!(runs(&channel), [(Store::Memory, 10), (Store::Overflow, 4)]);
    assert_eq!(take(&channel, 20).await, numbers(0..10));
    // Memory is used again, and waited for again; room that comes in time is taken.
    put(&channel, events(14, 10)).await.unwrap();
    let waiting = tokio::spawn({
        let channel = channel.clone();
        async move { put(&channel, events(24, 2)).await }
    });
    assert_eq!(take(&channel, 20).await, numbers(10..14));
    assert_eq!(take(&channel, 20).await, numbers(14..24));
    waiting.await.unwrap().unwrap();
    assert_eq!(runs(&channel), [(Store::Memory, 2)]);
    channel.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn both_places_have_limits() {
    let dir = tempdir().unwrap();
    let channel = open(dir.path(), &SMALL.replace("Capacity = 100", "Capacity = 20")).await;
    // More than memory ever holds goes to the overflow, and does not begin it.
    put(&channel, events(0, 12)).await.unwrap();
    put(&channel, events(12, 8)).await.unwrap();
    put(&channel, events(20, 8)).await.unwrap();
    assert_eq!(runs(&channel), [(Store::Overflow, 12), (Store::Memory, 8), (Store::Overflow, 8)]);
    let refused = put(&channel, events(28, 3)).await;
    assert!(matches!(refused, Err(ChannelError::Full { events: 3, .. })), "{refused:?}");
    // Little room is better than none.
    put(&channel, events(28, 2)).await.unwrap();
    let refused = put(&channel, events(30, 1)).await;
    assert!(matches!(refused, Err(ChannelError::Full { .. })), "{refused:?}");
    let refused = put(&channel, events(30, 21)).await;
    assert!(matches!(refused, Err(ChannelError::TooLarge { capacity: 20, .. })), "{refused:?}");
    assert_eq!(channel.level().capacity.events, 30);
    assert_eq!(drain(&channel).await, numbers(0..30));
    channel.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_limited_in_bytes() {
    let dir = tempdir().unwrap();
    // 5 slots of 100 bytes.
    let bytes = "byteCapacity = 1000\nbyteCapacityBufferPercentage = 50\navgEventSize = 100";
    let check = async |more: &str, sizes: &[usize], want: &[(Store, u64)]| {
        let channel = open(dir.path(), &format!("overflowTimeout = 0\n{bytes}\n{more}")).await;
        for size in sizes {
            put(&channel, [Event::new(vec![b'x'; *size])].into_iter().collect()).await.unwrap();
        }
        assert_eq!(runs(&channel), want, "{sizes:?}");
        for size in sizes {
            let taken = channel.begin_take(Size::events(1)).await.unwrap();
            assert_eq!(taken.batch().events()[0].body.len(), *size);
            taken.commit().await.unwrap();
        }
        assert_eq!(channel.0.state().used, Used::default());
        channel.close().await.unwrap();
    };
    check("", &[1, 1, 100, 100], &[(Store::Memory, 4)]).await;
    let around = [(Store::Memory, 2), (Store::Overflow, 1), (Store::Memory, 1)];
    check("", &[1, 1, 301, 1], &around).await;
    // A batch that memory can never hold.
    check("", &[1000, 1], &[(Store::Overflow, 1), (Store::Memory, 1)]).await;
    // It passes alone where there is no overflow.
    check("overflowCapacity = 0", &[1000], &[(Store::Memory, 1)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_rolled_back_returns_to_the_head() {
    let dir = tempdir().unwrap();
    let channel = open(dir.path(), SMALL).await;
    put(&channel, events(0, 10)).await.unwrap();
    put(&channel, events(10, 10)).await.unwrap();
    assert_eq!(take(&channel, 8).await, numbers(0..8));
    put(&channel, events(20, 5)).await.unwrap();
    let mut leases = Vec::new();
    for count in [2, 4, 6, 5] {
        leases.push(lease(&channel, count).await);
    }
    let got: Vec<_> = leases.iter().map(|lease| bodies(lease.batch().events())).collect();
    assert_eq!(got.concat(), numbers(8..25));
    assert_eq!(channel.level().leased.events, 17);
    for index in [2, 0, 1, 0] {
        drop(leases.remove(index));
    }
    assert_eq!(drain(&channel).await, numbers(8..25));
    channel.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn many_sinks_share_without_loss_or_repeat() {
    const COUNT: usize = 3_000;
    let dir = tempdir().unwrap();
    let more = SMALL.replace("Timeout = 0", "Timeout = 1");
    let channel = Arc::new(open(dir.path(), &more).await);
    let taker = |n: usize| {
        let channel = channel.clone();
        async move {
            let (mut all, mut turn) = (Vec::new(), n);
            loop {
                let taken = channel.begin_take(Size::events(1 + turn % 7)).await.unwrap();
                turn += 1;
                if taken.batch().is_empty() {
                    return all;
                }
                if turn % 5 == 0 {
                    continue;
                }
                all.extend(bodies(taken.batch().events()));
                taken.commit().await.unwrap();
            }
        }
    };
    channel.0.state().spilling = true;
    let takers: Vec<_> = (0..3).map(|n| tokio::spawn(taker(n))).collect();
    let (mut next, mut overflowed) = (0, false);
    while next < COUNT {
        let count = (1 + next % 9).min(COUNT - next);
        match put(&channel, events(next, count)).await {
            Ok(()) => next += count,
            Err(ChannelError::Full { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        channel.0.state().spilling |= next % 3 == 0;
        overflowed |= runs(&channel).len() > 1;
    }
    let mut all = Vec::new();
    for taker in takers {
        all.extend(taker.await.unwrap());
    }
    all.sort_by_key(|n| n.parse::<usize>().unwrap());
    assert_eq!(all, numbers(0..COUNT));
    assert!(overflowed, "both places were in use");
    assert_eq!(runs(&channel), []);
    assert_eq!(channel.0.state().used, Used::default());
    channel.close().await.unwrap();
}

/// Memory, overflow, and memory again, of which two events are taken and two leased.
async fn filled(dir: &Path) -> (Spillable, Box<dyn Take>) {
    let channel = open(dir, SMALL).await;
    put(&channel, events(0, 10)).await.unwrap();
    put(&channel, events(10, 10)).await.unwrap();
    assert_eq!(take(&channel, 6).await, numbers(0..6));
    put(&channel, events(20, 5)).await.unwrap();
    let lease = lease(&channel, 2).await;
    assert_eq!(runs(&channel), [(Store::Memory, 2), (Store::Overflow, 10), (Store::Memory, 5)]);
    (channel, lease)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_stop_keeps_memory_and_order() {
    let dir = tempdir().unwrap();
    let (channel, lease) = filled(dir.path()).await;
    channel.close().await.unwrap();
    assert!(matches!(lease.commit().await, Err(ChannelError::Closed { .. })));
    drop(channel);

    let channel = open_again(dir.path(), SMALL).await;
    let want = [(Store::Kept, 4), (Store::Overflow, 10), (Store::Kept, 5)];
    assert_eq!(runs(&channel), want);
    assert_eq!(channel.level().queued.events, 19);
    put(&channel, events(25, 3)).await.unwrap();
    assert_eq!(take(&channel, 3).await, numbers(6..9));
    // What was kept is kept on, and in order, however often it stops.
    channel.close().await.unwrap();
    drop(channel);
    let channel = open_again(dir.path(), SMALL).await;
    let want = [(Store::Kept, 1), (Store::Overflow, 10), (Store::Kept, 8)];
    assert_eq!(runs(&channel), want);
    assert_eq!(drain(&channel).await, numbers(9..28));
    channel.close().await.unwrap();
    drop(channel);
    let channel = open_again(dir.path(), SMALL).await;
    assert_eq!(runs(&channel), []);
    channel.close().await.unwrap();
}

/// What a log had and was not told of: it took two events, and stored two.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_opened_again_is_followed() {
    let dir = tempdir().unwrap();
    let (channel, memory) = filled(dir.path()).await;
    assert_eq!(take(&channel, 2).await, numbers(8..10));
    let overflow = lease(&channel, 3).await;
    assert_eq!(bodies(overflow.batch().events()), numbers(10..13));
    let log = &channel.0.overflow.as_ref().unwrap().main;
    log.open_log().close();
    assert!(put(&channel, events(90, 9)).await.is_err());
    let config = read(&keys(dir.path(), SMALL)).overflow().unwrap();
    let cx = Context { name: "c1".into(), shared: Shared::default(), ..context(Role::Channel) };
    let other = FileChannel::open(config, cx).await.unwrap();
    let taken = loop {
        let taken = other.begin_take(Size::events(2)).await.unwrap();
        if !taken.batch().is_empty() {
            break taken;
        }
    };
    assert_eq!(bodies(taken.batch().events()), numbers(10..12));
    taken.commit().await.unwrap();
    let stored = other.begin_put(Size::events(2)).await.unwrap();
    stored.commit(events(100, 2)).await.unwrap();
    other.close().await.unwrap();
    drop(other);
    log.open_again().unwrap();
    put(&channel, events(25, 2)).await.unwrap();
    let want = [(Store::Overflow, 8), (Store::Memory, 5), (Store::Overflow, 4)];
    assert_eq!(runs(&channel), want);
    assert!(overflow.commit().await.is_err(), "it comes again");
    assert_eq!(runs(&channel), want);
    drop(memory);
    assert_eq!(take(&channel, 20).await, numbers(6..8));
    assert_eq!(take(&channel, 3).await, numbers(12..15));
    channel.close().await.unwrap();
    drop(channel);
    let channel = open_again(dir.path(), SMALL).await;
    let left = [numbers(15..25), numbers(100..102), numbers(25..27)].concat();
    assert_eq!(drain(&channel).await, left);
    channel.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_loses_memory_and_nothing_else() {
    let dir = tempdir().unwrap();
    let (channel, lease) = filled(dir.path()).await;
    drop((channel, lease));
    let channel = open_again(dir.path(), SMALL).await;
    assert_eq!(runs(&channel), [(Store::Overflow, 10)]);
    // What a clean stop has written down outlives a later crash.
    put(&channel, events(20, 2)).await.unwrap();
    channel.close().await.unwrap();
    drop(channel);
    let channel = open_again(dir.path(), SMALL).await;
    assert_eq!(take(&channel, 4).await, numbers(10..14));
    put(&channel, events(22, 2)).await.unwrap();
    assert_eq!(runs(&channel), [(Store::Overflow, 6), (Store::Kept, 2), (Store::Memory, 2)]);
    drop(channel);
    let channel = open_again(dir.path(), SMALL).await;
    assert_eq!(drain(&channel).await, numbers(14..22));
    channel.close().await.unwrap();
}

/// A small repeatable source of numbers.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn order_holds_whatever_happens() {
    for seed in 1..4 {
        let mut dice = Dice(seed * 0x1234_5678_9abc_def1);
        let dir = tempdir().unwrap();
        let mut channel = open(dir.path(), SMALL).await;
        let (mut next, mut head, mut most) = (0, 0, 0);
        for _ in 0..400 {
            match dice.below(20) {
                0..8 => {
                    let count = 1 + dice.below(7);
                    match put(&channel, events(next, count)).await {
                        Ok(()) => next += count,
                        Err(ChannelError::Full { .. }) => assert!(next - head > 80),
                        Err(error) => panic!("{error}"),
                    }
                }
                8..18 if next > head => {
                    let taken = lease(&channel, 1 + dice.below(9)).await;
                    let count = taken.batch().len();
                    assert_eq!(bodies(taken.batch().events()), numbers(head..head + count));
                    if dice.below(3) > 0 {
                        taken.commit().await.unwrap();
                        head += count;
                    }
                }
                18 if next > head + 1 => {
                    let first = lease(&channel, 1 + dice.below(2)).await;
                    let second = lease(&channel, 1 + dice.below(2)).await;
                    drop(first);
                    drop(second);
                }
                19 if dice.below(3) == 0 => {
                    channel.close().await.unwrap();
                    drop(channel);
                    channel = open_again(dir.path(), SMALL).await;
                }
                _ => {}
            }
            assert_eq!(channel.level().queued.events, next - head);
            most = most.max(runs(&channel).len());
        }
        assert!(most > 3, "seed {seed}: memory and overflow took turns");
        assert_eq!(drain(&channel).await, numbers(head..next), "seed {seed}");
        channel.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_counters_of_the_overflow_are_there_too() {
    let dir = tempdir().unwrap();
    let cx = context(Role::Channel);
    let counters = cx.counters.channel();
    let channel = Spillable::open(read(&keys(dir.path(), SMALL)), cx).await.unwrap();
    let state = || counters.file.get().map(|file| (file.open.value(), file.closed.value()));
    assert_eq!(state(), Some((1, 0)));
    put(&channel, events(0, 1)).await.unwrap();
    channel.close().await.unwrap();
    assert_eq!(state(), Some((0, 1)));
    assert_eq!(counters.events_lost.value(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_that_cannot_be_written_down_is_counted() {
    let dir = tempdir().unwrap();
    let cx = context(Role::Channel);
    let counters = cx.counters.channel();
    let channel = Spillable::open(read(&keys(dir.path(), SMALL)), cx).await.unwrap();
    put(&channel, events(0, 7)).await.unwrap();
    // Somebody else has closed the log.
    channel.0.overflow.as_ref().unwrap().kept.close().await.unwrap();
    let failed = channel.close().await.unwrap_err().to_string();
    assert!(failed.contains("7 events in memory could not be written down"), "{failed}");
    assert_eq!(counters.events_lost.value(), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_that_is_not_written_down_in_time_is_counted() {
    let dir = tempdir().unwrap();
    let cx = context(Role::Channel);
    let counters = cx.counters.channel();
    let channel = Spillable::open(read(&keys(dir.path(), SMALL)), cx).await.unwrap();
    put(&channel, events(0, 7)).await.unwrap();
    let held = channel.begin_take(Size::events(2)).await.unwrap();
    // A commit that the log does not answer.
    channel.0.state().under_way += 1;
    let waited = tokio::time::timeout(Duration::from_millis(20), channel.close()).await;
    assert!(waited.is_err());
    assert_eq!(counters.events_lost.value(), 7);
    drop(held);
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_change_while_it_runs() {
    let dir = tempdir().unwrap();
    let channel = open(dir.path(), SMALL).await;
    put(&channel, events(0, 10)).await.unwrap();
    put(&channel, events(10, 5)).await.unwrap();
    let offer = |more: &str| channel.reconfigure(&Section::parse(&keys(dir.path(), more)));
    assert!(offer(
        "memoryCapacity = 20\noverflowCapacity = 50\ntransactionCapacity = 20\noverflowTimeout = 0"
    ));
    assert_eq!(channel.level().capacity.events, 70);
    put(&channel, events(15, 10)).await.unwrap();
    assert!(offer(
        "memoryCapacity = 2\noverflowCapacity = 20\ntransactionCapacity = 20\noverflowTimeout = 0"
    ));
    let want = [(Store::Memory, 10), (Store::Overflow, 5), (Store::Memory, 10)];
    assert_eq!(runs(&channel), want, "what is held is not taken away");
    put(&channel, events(25, 1)).await.unwrap();
    assert!(!offer("overflowCapacity = 0"), "it must be opened anew for that");
    assert!(!offer(&format!("{SMALL}\navgEventSize = 7")));
    assert!(!offer(&format!("{SMALL}\nmaxFileSize = 2097152")));
    assert!(!offer("memoryCapacity = 0\noverflowCapacity = 0"));
    assert_eq!(channel.level().capacity.events, 22);
    assert_eq!(drain(&channel).await, numbers(0..26));
    channel.close().await.unwrap();
}
