use std::sync::{Arc, Mutex};

use splashdam_core::pipeline::{Lane, Patience, Put as Went};
use splashdam_core::{
    Batch, BoxFuture, Channel, ChannelError, Level, Pipeline, Put, Refused, Size, Stop, Take,
};
use splashdam_testkit::{Collector, Lines, bodies, events, outlet};
use tokio::sync::Semaphore;

/// The most events that a put may have.
const MOST_EVENTS: usize = 10;

/// A channel whose commits wait to be let through, one by one.
#[derive(Clone)]
struct Slow(Arc<State>);

struct State {
    posted: Mutex<Vec<String>>,
    stored: Mutex<Vec<String>>,
    /// Bodies whose commit fails once.
    failing: Mutex<Vec<String>>,
    through: Semaphore,
    /// The lane of each commit.
    lanes: Mutex<Vec<u64>>,
}

impl Slow {
    fn new(failing: &[&str]) -> Slow {
        let failing = Mutex::new(failing.iter().map(|body| (*body).to_owned()).collect());
        let (posted, stored, lanes) = Default::default();
        Slow(Arc::new(State { posted, stored, failing, through: Semaphore::new(0), lanes }))
    }

    fn posted(&self) -> Vec<String> {
        self.0.posted.lock().unwrap().clone()
    }

    fn stored(&self) -> Vec<String> {
        self.0.stored.lock().unwrap().clone()
    }
}

impl Channel for Slow {
    fn begin_put(&self, size: Size) -> BoxFuture<'_, Result<Box<dyn Put>, ChannelError>> {
        let channel = self.clone();
        Box::pin(async move {
            if size.events > MOST_EVENTS {
                let (channel, events, capacity) = ("c1".into(), size.events, MOST_EVENTS);
                return Err(ChannelError::TooLarge { channel, events, capacity });
            }
            // Room does not always come at once.
            tokio::task::yield_now().await;
            Ok(Box::new(channel) as Box<dyn Put>)
        })
    }
    fn begin_take(&self, _: Size) -> BoxFuture<'_, Result<Box<dyn Take>, ChannelError>> {
        Box::pin(std::future::pending())
    }
    fn level(&self) -> Level {
        Level::default()
    }
    fn close(&self) -> BoxFuture<'_, Result<(), ChannelError>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

impl Put for Slow {
    fn in_lane(&mut self, lane: Lane) {
        self.0.lanes.lock().unwrap().push(lane.number());
    }

    fn commit(self: Box<Self>, batch: Batch) -> BoxFuture<'static, Result<(), Refused>> {
        let texts = bodies(batch.events());
        self.0.posted.lock().unwrap().extend(texts.clone());
        Box::pin(async move {
            self.0.through.acquire().await.unwrap().forget();
            let mut failing = self.0.failing.lock().unwrap();
            if let Some(at) = failing.iter().position(|body| texts.contains(body)) {
                failing.remove(at);
                let reason = "on demand".into();
                return Err(Refused {
                    batch,
                    error: ChannelError::Failed { channel: "c1".into(), reason },
                });
            }
            self.0.stored.lock().unwrap().extend(texts);
            Ok(())
        })
    }
}

/// Lets what is under way get as far as it can without another commit.
async fn turn_over(pipeline: &mut Pipeline<usize>) {
    tokio::select! {
        biased;
        settled = pipeline.settle() => panic!("{settled:?} is through"),
        () = tokio::time::sleep(std::time::Duration::from_millis(1)) => {}
    }
}

fn names(range: std::ops::Range<usize>) -> Vec<String> {
    range.flat_map(|n| bodies(events(n, 1).events())).collect()
}

#[tokio::test(start_paused = true)]
async fn batches_are_posted_in_order_before_the_first_is_through() {
    let slow = Slow::new(&[]);
    let mut pipeline = Pipeline::new(outlet(slow.clone()), Size { events: 5, bytes: 1 << 20 });
    for n in 0..5 {
        assert!(!pipeline.is_full(events(n, 1).size()), "{n}");
        pipeline.put(events(n, 1), n);
    }
    assert!(pipeline.is_full(events(5, 1).size()));
    turn_over(&mut pipeline).await;
    assert_eq!(slow.posted(), names(0..5));
    assert!(slow.stored().is_empty());
    slow.0.through.add_permits(5);
    for n in 0..5 {
        let settled = pipeline.settle().await.unwrap();
        assert!(settled.token == n && matches!(settled.went, Went::Stored), "{settled:?}");
    }
    assert!(pipeline.is_empty() && pipeline.settle().await.is_none());
    assert_eq!(slow.stored(), names(0..5));
}

#[tokio::test(start_paused = true)]
async fn what_comes_behind_a_refused_batch_is_given_back_until_resumed() {
    let slow = Slow::new(&["1"]);
    let mut pipeline = Pipeline::new(outlet(slow.clone()), Size { events: 99, bytes: 1 << 20 });
    pipeline.put(events(0, 1), 0);
    pipeline.put(events(1, 1), 1);
    turn_over(&mut pipeline).await;
    slow.0.through.add_permits(2);
    assert!(matches!(pipeline.settle().await.unwrap().went, Went::Stored));
    let refused = pipeline.settle().await.unwrap().went;
    let Went::Refused(error) = refused else { panic!("{refused:?}") };
    // Begun before the source has looked.
    pipeline.put(events(2, 1), 2);
    let behind = pipeline.settle().await.unwrap().went;
    let Went::Behind(behind) = behind else { panic!("{behind:?}") };
    assert_eq!(slow.posted(), names(0..2));
    pipeline.resume();
    pipeline.put(error.batch, 1);
    pipeline.put(behind, 2);
    slow.0.through.add_permits(2);
    for n in 1..3 {
        let settled = pipeline.settle().await.unwrap();
        assert!(settled.token == n && matches!(settled.went, Went::Stored), "{settled:?}");
    }
    assert_eq!(slow.stored(), names(0..3));
}

#[tokio::test(start_paused = true)]
async fn one_batch_may_be_larger_than_the_window() {
    let slow = Slow::new(&[]);
    let mut pipeline = Pipeline::new(outlet(slow.clone()), Size { events: 2, bytes: 1 });
    assert!(!pipeline.is_full(events(0, 9).size()));
    pipeline.put(events(0, 9), 0);
    assert!(pipeline.is_full(events(9, 1).size()));
    slow.0.through.add_permits(1);
    assert!(matches!(pipeline.settle().await.unwrap().went, Went::Stored));
    assert!(!pipeline.is_full(events(9, 1).size()));
}

#[tokio::test(start_paused = true)]
async fn what_was_refused_counts_until_it_is_stored() {
    let slow = Slow::new(&["0"]);
    let mut pipeline = Pipeline::new(outlet(slow.clone()), Size { events: 3, bytes: 1 << 20 });
    let second = std::time::Duration::from_secs(1);
    let mut patience = Patience::new("r1".into(), second, second, second);
    let (_handle, stop) = Stop::new();
    slow.0.through.add_permits(9);
    for n in 0..3 {
        assert!(!pipeline.is_full(events(n, 1).size()), "{n}");
        pipeline.put(events(n, 1), n);
    }
    // It waits to try again; nothing is forgotten meanwhile.
    let waited = tokio::time::timeout(second / 2, pipeline.stored(&mut patience, &stop)).await;
    assert!(waited.is_err(), "{waited:?}");
    assert!(pipeline.is_full(events(3, 1).size()));
    for n in 0..3 {
        assert_eq!(pipeline.stored(&mut patience, &stop).await.unwrap().unwrap(), n);
        assert!(!pipeline.is_full(events(3, 1).size()));
    }
    assert!(pipeline.is_empty());
    assert_eq!(slow.stored(), names(0..3));
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_not_blamed_for_a_later_one_that_is_too_large() {
    let slow = Slow::new(&["0"]);
    let mut pipeline = Pipeline::new(outlet(slow.clone()), Size { events: 100, bytes: 1 << 20 });
    let second = std::time::Duration::from_secs(1);
    let mut patience = Patience::new("r1".into(), second, second, second);
    let (_handle, stop) = Stop::new();
    let sizes = [(0, 1), (1, MOST_EVENTS + 1), (50, 1)];
    for (token, (first, count)) in sizes.into_iter().enumerate() {
        pipeline.put(events(first, count), token);
    }
    // The second is refused at once, the first when it is let through.
    turn_over(&mut pipeline).await;
    slow.0.through.add_permits(9);
    assert_eq!(pipeline.stored(&mut patience, &stop).await.unwrap().unwrap(), 0);
    let error = pipeline.stored(&mut patience, &stop).await.unwrap().unwrap_err();
    assert_eq!(error.batch.len(), MOST_EVENTS + 1);
    assert!(matches!(error.failures[..], [ChannelError::TooLarge { .. }]), "{error:?}");
    assert_eq!(pipeline.size(), events(50, 1).size());
    assert_eq!(pipeline.stored(&mut patience, &stop).await.unwrap().unwrap(), 2);
    assert_eq!(slow.stored(), [names(0..1), names(50..51)].concat());
    // The last one that is given up leaves the way open.
    pipeline.put(events(60, MOST_EVENTS + 1), 3);
    pipeline.stored(&mut patience, &stop).await.unwrap().unwrap_err();
    assert!(pipeline.is_empty() && pipeline.size() == Size::ZERO);
    pipeline.put(events(80, 1), 4);
    assert_eq!(pipeline.stored(&mut patience, &stop).await.unwrap().unwrap(), 4);
}

#[tokio::test(start_paused = true)]
async fn at_a_stop_what_is_behind_a_batch_that_is_given_up_is_not_tried_again() {
    let collector = Collector::new();
    collector.refuse(1);
    let mut pipeline = Pipeline::new(outlet(collector.clone()), Size { events: 9, bytes: 1 << 20 });
    let second = std::time::Duration::from_secs(1);
    let mut patience = Patience::new("r1".into(), second, second, std::time::Duration::ZERO);
    let (handle, stop) = Stop::new();
    (0..3).for_each(|n| pipeline.put(events(n, 1), n));
    handle.stop();
    for n in 0..3 {
        let error = pipeline.stored(&mut patience, &stop).await.unwrap().unwrap_err();
        assert_eq!(bodies(error.batch.events()), names(n..n + 1));
    }
    assert!(pipeline.is_empty() && collector.bodies().is_empty());
}

/// Thousands of puts may be under way, each with its future.
#[test]
fn a_put_under_way_is_small() {
    let outlet = outlet(Slow::new(&[]));
    let put = outlet.put(Batch::default());
    assert!(size_of_val(&put) <= 2048, "{} bytes", size_of_val(&put));
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_is_one_line_though_how_full_changes() {
    let (lines, _guard) = Lines::of_this_thread();
    let collector = Collector::new();
    collector.refuse_for_want_of_disk(20);
    let mut pipeline = Pipeline::new(outlet(collector.clone()), Size { events: 9, bytes: 1 << 20 });
    let second = std::time::Duration::from_secs(1);
    let mut patience = Patience::new("r1".into(), second, second, second);
    let (_handle, stop) = Stop::new();
    for n in 0..2 {
        pipeline.put(events(n, 1), n);
    }
    for n in 0..2 {
        assert_eq!(pipeline.stored(&mut patience, &stop).await.unwrap().unwrap(), n);
    }
    let said = lines.with("channels refuse a batch");
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("its disk is full: /data has 19.1 MiB free"), "{said:?}");
}

#[tokio::test(start_paused = true)]
async fn another_channel_that_is_full_is_another_line() {
    let (lines, _guard) = Lines::of_this_thread();
    let collector = Collector::new();
    collector.refuse_as(&["c1", "c1", "c2", "c1", "c2"]);
    let mut pipeline = Pipeline::new(outlet(collector.clone()), Size { events: 9, bytes: 1 << 20 });
    let second = std::time::Duration::from_secs(1);
    let mut patience = Patience::new("r1".into(), second, second, second);
    let (_handle, stop) = Stop::new();
    pipeline.put(events(0, 1), 0);
    assert_eq!(pipeline.stored(&mut patience, &stop).await.unwrap().unwrap(), 0);
    let said = lines.with("channels refuse a batch");
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].contains("c1 is full") && said[1].contains("c2 is full"), "{said:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_under_way_together_shares_a_lane_until_something_is_refused() {
    let slow = Slow::new(&["1"]);
    let mut pipeline = Pipeline::new(outlet(slow.clone()), Size { events: 99, bytes: 1 << 20 });
    slow.0.through.add_permits(99);
    for n in 0..3 {
        pipeline.put(events(n, 1), n);
    }
    while pipeline.settle().await.is_some() {}
    pipeline.resume();
    pipeline.put(events(3, 1), 3);
    pipeline.append(events(4, 1).into_events().remove(0), 4);
    while pipeline.settle().await.is_some() {}
    let mut lanes = std::mem::take(&mut *slow.0.lanes.lock().unwrap());
    let first = lanes[0];
    lanes.dedup();
    assert!(lanes.len() == 2 && lanes[1] > first, "{lanes:?}");
    let mut another = Pipeline::new(outlet(slow.clone()), Size { events: 99, bytes: 1 << 20 });
    another.put(events(5, 1), 5);
    while another.settle().await.is_some() {}
    assert!(slow.0.lanes.lock().unwrap()[0] > lanes[1], "each pipeline has its own");
    slow.0.lanes.lock().unwrap().clear();
    let pipeline = Pipeline::new(outlet(slow.clone()), Size { events: 99, bytes: 1 << 20 });
    let mut pipeline = pipeline.in_any_order();
    pipeline.put(events(6, 1), 6);
    outlet(slow.clone()).put(events(7, 1)).await.unwrap();
    while pipeline.settle().await.is_some() {}
    assert!(slow.0.lanes.lock().unwrap().is_empty(), "nobody minds their order");
}
