use super::*;
use splashdam_core::{Event, Role};
use splashdam_testkit::{context, contract};

fn memory(keys: &str) -> Memory {
    let config = Section::parse(keys).read::<Config>().into_result().unwrap();
    Memory::new("c1".into(), config.limits(), [1, 2])
}

fn memory_of(identity: [u64; 2]) -> Memory {
    Memory::new("c2".into(), Config::default().limits(), identity)
}

#[tokio::test(start_paused = true)]
async fn keeps_the_contract() {
    contract::channel(async |capacity: usize, transaction: usize| {
        let keys =
            format!("capacity = {capacity}\ntransactionCapacity = {transaction}\nkeep-alive = 1");
        Arc::new(memory(&keys)) as Arc<dyn Channel>
    })
    .await;
}

#[test]
fn keys_fall_back_as_in_flume() {
    let check = |keys: &str, events, transaction_events, slots, seconds| {
        let limits = memory(keys).0.limits();
        let got =
            (limits.events, limits.transaction_events, limits.slots, limits.keep_alive.as_secs());
        assert_eq!(got, (events, transaction_events, slots, seconds), "{keys}");
    };
    check("", 100, 100, 134_217, 3);
    check("capacity = -1\ntransactionCapacity = 0\nkeep-alive = x", 100, 100, 134_217, 3);
    check("capacity = 7\ntransactionCapacity = 5\nkeep-alive = 0", 7, 5, 134_217, 0);
    check("byteCapacity = 1000\nbyteCapacityBufferPercentage = 50", 100, 100, 5, 3);
    check("byteCapacity = 0", 100, 100, i32::MAX as usize, 3);
    check("byteCapacity = 99", 100, 100, i32::MAX as usize, 3);
}

#[test]
fn values_that_defaults_replace_are_said() {
    let check = |keys: &str, want: &[&str]| {
        let section = Section::parse(keys);
        let config = section.read::<Config>().into_result().unwrap();
        let findings = Memory::check(&config, &section);
        let got: Vec<String> = findings
            .iter()
            .map(|f| format!("{}; {}", f.message, f.label.as_deref().unwrap_or("")))
            .collect();
        assert_eq!(got, want, "{keys}");
        assert!(findings.iter().all(|finding| finding.span.is_some()), "{keys}");
    };
    check("keep-alive = 0\nbyteCapacity = 0\nbyteCapacityBufferPercentage = 0", &[]);
    check("capacity = -5", &["`capacity` cannot be -5; the default 100 is used instead"]);
    check(
        "transactionCapacity = 0\nkeep-alive = -1",
        &[
            "`transactionCapacity` cannot be 0; the default 100 is used instead",
            "`keep-alive` cannot be -1; the default 3 is used instead",
        ],
    );
    check(
        "byteCapacity = -1",
        &["`byteCapacity` cannot be -1; the default 16777216 is used instead"],
    );
    check(
        "transactionCapacity = 1000",
        &["transactionCapacity 1000 is greater than capacity 100 (the default); "],
    );
    check(
        "capacity = 50",
        &["transactionCapacity 100 (the default) is greater than capacity 50; "],
    );
    check(
        "capacity = 7\ntransactionCapacity = 8",
        &["transactionCapacity 8 is greater than capacity 7; "],
    );
}

#[tokio::test]
async fn a_transaction_larger_than_the_channel_does_not_open() {
    let config = "capacity = 10\ntransactionCapacity = 11";
    let section = Section::parse(config);
    let config = section.read::<Config>().into_result().unwrap();
    assert_eq!(Memory::check(&config, &section).len(), 1);
    let opened = Memory::open(config, context(Role::Channel)).await;
    assert!(matches!(opened, Err(OpenError::Config(_))));
}

async fn put(channel: &Memory, bodies: &[usize]) -> Result<(), ChannelError> {
    let batch: Batch = bodies.iter().map(|n| Event::new(vec![b'x'; *n])).collect();
    let room = Channel::begin_put(channel, batch.size()).await?;
    room.commit(batch).await.map_err(|refused| refused.error)
}

async fn take(channel: &Memory, count: usize) -> usize {
    let lease = channel.begin_take(Size::events(count)).await.unwrap();
    let taken = lease.batch().len();
    lease.commit().await.unwrap();
    taken
}

#[tokio::test(start_paused = true)]
async fn bytes_are_counted_in_slots() {
    // 5 slots of 100 bytes.
    let channel = memory("byteCapacity = 500\nbyteCapacityBufferPercentage = 0");
    put(&channel, &[1, 1, 99]).await.unwrap();
    assert_eq!(channel.0.slots.available_permits(), 2);
    assert!(matches!(put(&channel, &[150, 50]).await, Err(ChannelError::Full { .. })));
    put(&channel, &[100]).await.unwrap();
    assert_eq!(channel.0.slots.available_permits(), 1);
    assert_eq!(take(&channel, 2).await, 2);
    assert_eq!(channel.0.slots.available_permits(), 3);
    assert_eq!(take(&channel, 9).await, 2);
    assert_eq!(channel.0.slots.available_permits(), 5);
    assert_eq!(channel.0.places.available_permits(), 100);
}

#[tokio::test(start_paused = true)]
async fn one_batch_larger_than_all_slots_passes_alone() {
    let channel = memory("byteCapacity = 500\nbyteCapacityBufferPercentage = 0");
    put(&channel, &[5000, 1]).await.unwrap();
    assert!(matches!(put(&channel, &[1]).await, Err(ChannelError::Full { .. })));
    assert_eq!(take(&channel, 1).await, 1);
    assert_eq!(take(&channel, 1).await, 1);
    assert_eq!(channel.0.slots.available_permits(), 5);
    put(&channel, &[1]).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn limits_change_while_it_holds_events() {
    let channel = memory("capacity = 4\ntransactionCapacity = 4");
    put(&channel, &[1, 1, 1]).await.unwrap();
    assert!(channel.reconfigure(&Section::parse("capacity = 8\ntransactionCapacity = 8")));
    put(&channel, &[1, 1, 1, 1, 1]).await.unwrap();
    assert!(channel.reconfigure(&Section::parse("capacity = 2\ntransactionCapacity = 2")));
    assert_eq!(channel.level().capacity.events, 8, "what is held is not taken away");
    assert_eq!(take(&channel, 9).await, 2, "a transaction is as small as was asked for");
    // What could not be taken at once goes as the events go, and no sooner is there room.
    for (left, capacity) in [(4, 4), (2, 2), (0, 2)] {
        assert_eq!(channel.level().capacity.events, capacity.max(left + 2));
        assert!(matches!(put(&channel, &[1]).await, Err(ChannelError::Full { .. })));
        assert_eq!(take(&channel, 9).await, 2);
        assert_eq!(channel.level().queued.events, left);
    }
    put(&channel, &[1, 1]).await.unwrap();
    assert!(matches!(put(&channel, &[1]).await, Err(ChannelError::Full { .. })));
}

#[tokio::test(start_paused = true)]
async fn bytes_owed_after_shrinking_are_paid_or_forgiven() {
    let keys = |bytes: usize| format!("byteCapacity = {bytes}\nbyteCapacityBufferPercentage = 0");
    let channel = memory(&keys(500));
    put(&channel, &[100, 100, 100]).await.unwrap();
    assert!(channel.reconfigure(&Section::parse(&keys(100))));
    assert_eq!(channel.level().capacity.bytes, 300);
    assert_eq!(take(&channel, 1).await, 1);
    assert_eq!(channel.level().capacity.bytes, 200);
    // Growing again forgives first.
    assert!(channel.reconfigure(&Section::parse(&keys(400))));
    assert_eq!(channel.level().capacity.bytes, 400);
    assert_eq!(channel.0.slots.available_permits(), 2);
    assert_eq!(take(&channel, 9).await, 2);
    assert_eq!(channel.0.slots.available_permits(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_closed_channel_keeps_nothing() {
    let channel = memory("");
    let body = bytes::Bytes::from(vec![b'x'; 10]);
    let batch: Batch = (0..3).map(|_| Event::new(body.clone())).collect();
    let room = Channel::begin_put(&channel, batch.size()).await.unwrap();
    room.commit(batch).await.map_err(|refused| refused.error).unwrap();
    let lease = channel.begin_take(Size::events(1)).await.unwrap();
    channel.close().await.unwrap();
    drop(lease);
    assert!(body.is_unique(), "events are let go of");
    assert_eq!(channel.level().queued, Size::ZERO);
    assert_eq!(channel.level().leased, Size::ZERO);
}

#[tokio::test]
async fn events_keep_their_numbers_and_the_lowest_tells_what_is_gone() {
    let channel = memory("");
    put(&channel, &[1; 10]).await.unwrap();
    let lease = async || channel.begin_take(Size::events(4)).await.unwrap();
    let numbers = |take: &dyn Take| {
        let place = take.batch().place().unwrap();
        let [only] = &place.ranges[..] else { panic!("one range") };
        (place.low, only.clone())
    };
    let first = lease().await;
    let second = lease().await;
    assert_eq!(numbers(&*first), (0, 0..4));
    assert_eq!(numbers(&*second), (0, 4..8));
    second.commit().await.unwrap();
    drop(first);
    let again = lease().await;
    assert_eq!(numbers(&*again), (0, 0..4));
    again.commit().await.unwrap();
    let last = lease().await;
    assert_eq!(numbers(&*last), (8, 8..10));
    let place = last.batch().place().unwrap();
    assert!(!place.lasting);
    assert_ne!(place.queue, memory_of([3, 4]).0.identity);
}

/// Else a sink would ask without a pause.
#[tokio::test(start_paused = true)]
async fn a_take_waits_even_where_a_put_does_not() {
    let channel = memory("keep-alive = 0");
    let start = tokio::time::Instant::now();
    assert!(channel.begin_take(Size::events(1)).await.unwrap().batch().is_empty());
    assert_eq!(start.elapsed(), splashdam_core::LEAST_TAKE_WAIT);
}

#[tokio::test]
async fn a_batch_that_is_put_again_is_there_once() {
    let channel = memory("");
    let sender = [5; 16];
    let batch = |epoch: u64, sequence: u64| {
        let position = bytes::Bytes::from(format!("{epoch}.{sequence}"));
        let origin = Origin { sender, epoch, sequence, position };
        Batch::from(vec![Event::new("x")]).with_origin(Some(origin))
    };
    assert_eq!(channel.last_of(sender), None);
    for (epoch, sequence, events) in
        [(1, 1, 1), (1, 2, 2), (1, 2, 2), (1, 1, 2), (2, 1, 3), (1, 9, 3)]
    {
        let batch = batch(epoch, sequence);
        let room = channel.begin_put(batch.size()).await.unwrap();
        room.commit(batch).await.unwrap();
        assert_eq!(channel.level().queued.events, events, "{epoch}.{sequence}");
    }
    let last = channel.last_of(sender).unwrap();
    assert_eq!((last.order(), &last.position[..]), ((2, 1), &b"2.1"[..]));
    // What was held for batches that were there already is free again.
    assert_eq!(channel.0.places.available_permits(), 97);
}

#[tokio::test(start_paused = true)]
async fn what_no_waiting_helps_is_not_counted_as_a_refusal() {
    let channel = memory("capacity = 10\ntransactionCapacity = 5\nkeep-alive = 1");
    let counters = Arc::new(splashdam_core::metrics::ChannelMetrics::default());
    let put = async |events: usize| {
        let begun = splashdam_core::PutTxn::begin(&channel, &counters, Size::events(events)).await;
        let failed = begun.is_err();
        (failed, counters.put_errors.value(), counters.put_refusals.value())
    };
    assert_eq!(put(6).await, (true, 1, 0), "too large");
    let held = channel.begin_put(Size::events(5)).await.unwrap();
    assert_eq!(put(5).await, (true, 2, 1), "full");
    drop(held);
    assert_eq!(put(2).await, (false, 2, 1));
}
