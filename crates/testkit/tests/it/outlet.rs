//! The outlet: all required channels or none, no channel twice, interceptors once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use splashdam_core::metrics::{ChannelMetrics, SourceMetrics};
use splashdam_core::{
    Batch, BoxFuture, Channel, ChannelError, ChannelSet, DynInterceptor, Event, Interception,
    Interceptor, Level, Origin, Outlet, OutletChannel, Put, Refused, RemoteInterceptor, Route,
    Selector, Size, Stop, Take, Undone,
};
use splashdam_testkit::fakes::{ToAll, outlet_channels};
use splashdam_testkit::{Collector, Lines, bodies, events};

/// An outlet, its channels and its counters.
struct Rig {
    outlet: Outlet,
    channels: Vec<Collector>,
    channel_metrics: Vec<Arc<ChannelMetrics>>,
    metrics: Arc<SourceMetrics>,
}

impl Rig {
    fn new(channels: usize, selector: impl Selector + 'static) -> Self {
        Rig::with(channels, selector, Vec::new())
    }

    fn with(
        channels: usize,
        selector: impl Selector + 'static,
        interceptors: Vec<Box<dyn DynInterceptor>>,
    ) -> Self {
        Rig::boxed(channels, Box::new(selector), interceptors)
    }

    fn boxed(
        channels: usize,
        selector: Box<dyn Selector>,
        interceptors: Vec<Box<dyn DynInterceptor>>,
    ) -> Self {
        let collectors: Vec<Collector> = (0..channels).map(|_| Collector::new()).collect();
        let erased = collectors.iter().map(|c| Arc::new(c.clone()) as Arc<dyn Channel>).collect();
        let channels: Vec<OutletChannel> = outlet_channels(erased);
        let channel_metrics = channels.iter().map(|c| c.metrics.clone()).collect();
        let metrics = Arc::new(SourceMetrics::default());
        let outlet = Outlet::new("r1".into(), interceptors, selector, channels, metrics.clone());
        Rig { outlet, channels: collectors, channel_metrics, metrics }
    }

    /// What each channel has, bodies joined by blanks.
    fn held(&self) -> Vec<String> {
        self.channels.iter().map(|channel| channel.bodies().join(" ")).collect()
    }
}

/// The body's letters name the channels: `a` is the first, capitals are optional.
struct ByBody;

impl Selector for ByBody {
    fn route(&self, event: &Event) -> Route {
        let mut route = Route::default();
        for letter in event.body.iter().filter(|byte| byte.is_ascii_alphabetic()) {
            let channel = usize::from(letter.to_ascii_lowercase() - b'a');
            match letter.is_ascii_lowercase() {
                true => route.required = route.required.with(channel),
                false => route.optional = route.optional.with(channel),
            }
        }
        route
    }
}

/// Channels in turn, one for each event.
#[derive(Default)]
struct InTurn(AtomicUsize);

impl Selector for InTurn {
    fn route(&self, _event: &Event) -> Route {
        let channel = self.0.fetch_add(1, SeqCst) % 2;
        Route { required: ChannelSet::default().with(channel), optional: ChannelSet::default() }
    }
}

/// Sends every other event to the second channel, if `varies` spares the header `way`.
#[derive(Default)]
struct ByWay(InTurn);

impl Selector for ByWay {
    fn route(&self, event: &Event) -> Route {
        self.0.route(event)
    }

    fn repeats(&self, varies: &dyn Fn(&str) -> bool) -> bool {
        !varies("way")
    }
}

/// Says of a header that it varies.
struct Varies(&'static str);

impl Interceptor for Varies {
    fn intercept(&self, _batch: &mut Batch) {}

    fn varies(&self, header: &str) -> bool {
        header == self.0
    }
}

fn with_origin(batch: Batch) -> Batch {
    let position = bytes::Bytes::new();
    batch.with_origin(Some(Origin { sender: [7; 16], epoch: 1, sequence: 1, position }))
}

/// Marks every event it sees, and drops those that say `drop`.
struct Mark;

impl Interceptor for Mark {
    fn intercept(&self, batch: &mut Batch) {
        batch.retain(|event| event.body != "drop");
        batch.edit(|event| {
            let seen = event.headers.get("seen").map_or(0, |seen| seen.len());
            event.headers.insert("seen", "x".repeat(seen + 1));
        });
    }
}

/// Keeps the first event only, once it does answer.
#[derive(Clone, Default)]
struct Distant {
    silent: Arc<AtomicUsize>,
    never: bool,
    closed: Arc<AtomicUsize>,
}

impl DynInterceptor for Distant {
    fn place(&self) -> Interception<'_> {
        Interception::Elsewhere(self)
    }
}

impl RemoteInterceptor for Distant {
    fn intercept<'a>(&'a self, batch: &'a mut Batch) -> BoxFuture<'a, Result<(), Undone>> {
        Box::pin(async {
            let silent = self.silent.load(SeqCst);
            if silent > 0 {
                self.silent.store(silent - 1, SeqCst);
                return Err(Undone::Unanswered("nobody is there".into()));
            }
            if self.never {
                return Err(Undone::Unfit("it is too long".into()));
            }
            batch.replace(batch.events()[..1].to_vec());
            Ok(())
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.closed.fetch_add(1, SeqCst);
        })
    }
}

fn batch(all: &[&'static str]) -> Batch {
    all.iter().map(|body| Event::new(*body)).collect()
}

#[tokio::test]
async fn a_full_channel_keeps_the_others_empty() {
    for full in 0..3 {
        let rig = Rig::new(3, ToAll(3));
        rig.channels[full].refuse(1);
        let error = rig.outlet.put(events(0, 5)).await.unwrap_err();
        assert!(matches!(error.failures[..], [ChannelError::Full { .. }]));
        assert!(error.retryable());
        assert_eq!(bodies(error.batch.events()), bodies(events(0, 5).events()));
        assert_eq!(rig.held(), ["", "", ""], "channel {full} was full");
        rig.outlet.put(error.batch).await.unwrap();
        assert_eq!(rig.held(), ["0 1 2 3 4", "0 1 2 3 4", "0 1 2 3 4"]);
    }
}

#[tokio::test]
async fn parted_batches_are_reserved_whole_too() {
    let rig = Rig::new(2, ByBody);
    rig.channels[1].refuse(1);
    let error = rig.outlet.put(batch(&["a1", "b1", "a2"])).await.unwrap_err();
    assert_eq!(rig.held(), ["", ""]);
    rig.outlet.put(error.batch).await.unwrap();
    assert_eq!(rig.held(), ["a1 a2", "b1"]);
}

#[tokio::test]
async fn a_retry_goes_only_where_the_commit_failed() {
    let rig = Rig::new(3, ToAll(3));
    rig.channels[1].fail_commits(2);
    let error = rig.outlet.put(batch(&["x", "y"])).await.unwrap_err();
    assert!(matches!(error.failures[..], [ChannelError::Failed { .. }]));
    assert_eq!(rig.held(), ["x y", "", "x y"]);
    let error = rig.outlet.put(error.batch).await.unwrap_err();
    rig.outlet.put(error.batch).await.unwrap();
    assert_eq!(rig.held(), ["x y", "x y", "x y"]);
    assert_eq!(rig.channels.iter().map(Collector::puts).collect::<Vec<_>>(), [1, 3, 1]);

    let rig = Rig::new(2, ByBody);
    rig.channels[0].fail_commits(1);
    let error = rig.outlet.put(batch(&["a1", "b1", "ab2"])).await.unwrap_err();
    assert_eq!(rig.held(), ["", "b1 ab2"]);
    rig.outlet.put(error.batch).await.unwrap();
    assert_eq!(rig.held(), ["a1 ab2", "b1 ab2"]);
}

#[tokio::test]
async fn a_selector_that_takes_turns_loses_nothing_in_a_retry() {
    // Three events: a second look would send each of them the other way.
    for failing in 0..2 {
        let rig = Rig::new(2, InTurn::default());
        rig.channels[failing].fail_commits(1);
        let error = rig.outlet.put(batch(&["1", "2", "3"])).await.unwrap_err();
        rig.outlet.put(error.batch).await.unwrap();
        assert_eq!(rig.held(), ["1 3", "2"], "channel {failing} failed");
    }
}

#[tokio::test]
async fn origins_go_where_a_batch_that_comes_again_goes() {
    let check = async |selector: Box<dyn Selector>, varies: &'static str, want: bool| {
        let rig = Rig::boxed(2, selector, vec![Box::new(Varies(varies))]);
        rig.outlet.put(with_origin(events(0, 3))).await.unwrap();
        for channel in &rig.channels {
            let told = channel.batches().iter().all(|batch| batch.origin().is_some());
            assert_eq!(told, want, "{varies}");
        }
    };
    check(Box::new(ToAll(2)), "way", true).await;
    check(Box::new(ByWay::default()), "time", true).await;
    check(Box::new(ByWay::default()), "way", false).await;
    check(Box::new(InTurn::default()), "", false).await;
}

/// Both channels fail, and either may have its part all the same.
#[tokio::test]
async fn a_batch_with_an_origin_goes_the_same_way_in_a_retry() {
    let rig = Rig::new(2, ByWay::default());
    rig.channels.iter().for_each(|channel| channel.fail_commits(1));
    let error = rig.outlet.put(with_origin(events(0, 3))).await.unwrap_err();
    assert_eq!(rig.held(), ["", ""]);
    rig.outlet.put(error.batch).await.unwrap();
    assert_eq!(rig.held(), ["0 2", "1"]);
}

#[tokio::test]
async fn a_selector_is_asked_once_for_each_event() {
    let selector = InTurn::default();
    let rig = Rig::new(2, selector);
    rig.outlet.put(events(0, 4)).await.unwrap();
    rig.outlet.put(events(4, 3)).await.unwrap();
    assert_eq!(rig.held(), ["0 2 4 6", "1 3 5"]);
}

#[tokio::test]
async fn interceptors_run_once_however_often_a_batch_is_put() {
    let rig = Rig::with(1, ToAll(1), vec![Box::new(Mark), Box::new(Mark)]);
    rig.channels[0].refuse(2);
    rig.channels[0].fail_commits(1);
    let mut left = batch(&["x", "drop", "y"]);
    for _ in 0..3 {
        left = rig.outlet.put(left).await.unwrap_err().batch;
    }
    rig.outlet.put(left).await.unwrap();
    let events = rig.channels[0].events();
    assert_eq!(bodies(&events), ["x", "y"]);
    for event in events {
        assert_eq!(&**event.headers.get("seen").unwrap(), "xx");
    }
    let metrics = &rig.metrics;
    assert_eq!(metrics.events_received.value(), 3);
    assert_eq!(metrics.events_accepted.value(), 3);
    assert_eq!(metrics.events_filtered.value(), 1);
    assert_eq!(metrics.batches_received.value(), 1);
    assert_eq!(metrics.batches_accepted.value(), 1);
    assert_eq!(metrics.channel_write_failures.value(), 3);
}

#[tokio::test]
async fn a_batch_that_was_filtered_away_is_accepted() {
    let rig = Rig::with(1, ToAll(1), vec![Box::new(Mark)]);
    rig.outlet.put(batch(&["drop", "drop"])).await.unwrap();
    rig.outlet.put(Batch::default()).await.unwrap();
    assert_eq!(rig.channels[0].puts(), 0);
    assert_eq!(rig.metrics.events_filtered.value(), 2);
    assert_eq!(rig.metrics.batches_accepted.value(), 2);
}

#[tokio::test]
async fn optional_channels_fail_on_their_own() {
    let rig = Rig::new(3, ByBody);
    rig.channels[1].refuse(1);
    rig.channels[2].fail_commits(1);
    rig.outlet.put(batch(&["aBC1", "aBC2"])).await.unwrap();
    assert_eq!(rig.held(), ["aBC1 aBC2", "", ""]);
    assert_eq!(rig.metrics.optional_failures.value(), 2);
    assert_eq!(rig.metrics.channel_write_failures.value(), 0);
    rig.outlet.put(batch(&["aB3", "C4", "B5"])).await.unwrap();
    assert_eq!(rig.held(), ["aBC1 aBC2 aB3", "aB3 B5", "C4"]);
    // Only optional channels: nobody has to take it.
    rig.channels[1].refuse(1);
    rig.outlet.put(batch(&["B6"])).await.unwrap();
    assert_eq!(rig.metrics.optional_failures.value(), 3);
}

#[tokio::test]
async fn optional_channels_wait_for_the_required_ones() {
    let rig = Rig::new(2, ByBody);
    rig.channels[0].fail_commits(1);
    let error = rig.outlet.put(batch(&["aB1"])).await.unwrap_err();
    assert_eq!(rig.held(), ["", ""]);
    rig.outlet.put(error.batch).await.unwrap();
    assert_eq!(rig.held(), ["aB1", "aB1"]);
}

#[tokio::test]
async fn each_channel_gets_its_events_in_order() {
    let rig = Rig::new(3, ByBody);
    rig.outlet.put(batch(&["a1", "b1", "ab2", "c1", "a3", "cb2", "a4"])).await.unwrap();
    assert_eq!(rig.held(), ["a1 ab2 a3 a4", "b1 ab2 cb2", "c1 cb2"]);
}

#[tokio::test]
async fn what_goes_nowhere_is_counted_once() {
    let check = async |bodies: &[&'static str], unrouted: u64| {
        let rig = Rig::new(2, ByBody);
        rig.channels[0].refuse(1);
        if let Err(error) = rig.outlet.put(batch(bodies)).await {
            rig.outlet.put(error.batch).await.unwrap();
        }
        assert_eq!(rig.metrics.events_unrouted.value(), unrouted, "{bodies:?}");
        assert_eq!(rig.metrics.events_accepted.value(), bodies.len() as u64);
    };
    check(&["1", "2"], 2).await;
    check(&["a1", "2", "b1", "3"], 2).await;
    check(&["a1", "b1"], 0).await;
}

#[tokio::test]
async fn everything_is_counted() {
    let rig = Rig::new(2, ToAll(2));
    rig.outlet.put(events(0, 4)).await.unwrap();
    rig.outlet.append(Event::new("x")).await.unwrap();
    rig.channels[0].refuse(1);
    let error = rig.outlet.append(Event::new("y")).await.unwrap_err();
    assert_eq!(bodies(error.batch.events()), ["y"]);
    let metrics = &rig.metrics;
    let got = [
        metrics.events_received.value(),
        metrics.events_accepted.value(),
        metrics.batches_received.value(),
        metrics.batches_accepted.value(),
        metrics.appends_received.value(),
        metrics.appends_accepted.value(),
        metrics.channel_write_failures.value(),
    ];
    assert_eq!(got, [6, 5, 1, 1, 2, 1, 1]);
    let first = &rig.channel_metrics[0];
    let got = [
        first.put_attempts.value(),
        first.put_successes.value(),
        first.put_errors.value(),
        first.put_refusals.value(),
    ];
    assert_eq!(got, [6, 5, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn patience_waits_longer_each_time_until_the_batch_is_taken() {
    let rig = Rig::new(1, ToAll(1));
    rig.channels[0].refuse(5);
    let (_handle, stop) = Stop::new();
    let before = tokio::time::Instant::now();
    let (first, most) = (Duration::from_secs(1), Duration::from_secs(5));
    rig.outlet.put_patiently(events(0, 2), &stop, first, most).await.unwrap();
    assert_eq!(before.elapsed().as_secs(), 1 + 2 + 4 + 5 + 5);
    assert_eq!(rig.held(), ["0 1"]);
    assert_eq!(rig.metrics.events_received.value(), 2);
}

#[tokio::test(start_paused = true)]
async fn patience_ends_with_a_stop() {
    let rig = Rig::new(1, ToAll(1));
    rig.channels[0].refuse(1000);
    let (handle, stop) = Stop::new();
    let before = tokio::time::Instant::now();
    let second = Duration::from_secs(1);
    let waiting = rig.outlet.put_patiently(events(0, 2), &stop, second, second);
    let stopping = async {
        tokio::time::sleep(Duration::from_millis(3500)).await;
        handle.stop();
    };
    let (put, ()) = tokio::join!(waiting, stopping);
    assert_eq!(put.unwrap_err().batch.len(), 2);
    assert_eq!(before.elapsed().as_millis(), 3500);
    assert_eq!(rig.channels[0].puts(), 4);
}

#[tokio::test(start_paused = true)]
async fn patience_does_not_wait_for_what_never_fits() {
    let metrics = Arc::new(ChannelMetrics::default());
    let channel = Arc::new(Narrow::default());
    let narrow = OutletChannel { name: "c1".into(), channel: channel.clone(), metrics };
    let outlet =
        Outlet::new("r1".into(), Vec::new(), Box::new(ToAll(1)), vec![narrow], Arc::default());
    let (_handle, stop) = Stop::new();
    let second = Duration::from_secs(1);
    let error = outlet.put_patiently(events(0, 2), &stop, second, second).await.unwrap_err();
    assert!(matches!(error.failures[..], [ChannelError::TooLarge { .. }]));
    assert_eq!(channel.begun.load(SeqCst), 1);
    outlet.put_patiently(events(0, 1), &stop, second, second).await.unwrap();
}

#[tokio::test]
async fn room_that_is_not_used_is_given_back() {
    let (narrow, full) = (Arc::new(Narrow::default()), Collector::new());
    full.refuse(1);
    let channels = outlet_channels(vec![narrow.clone(), Arc::new(full.clone())]);
    let outlet = Outlet::new("r1".into(), Vec::new(), Box::new(ToAll(2)), channels, Arc::default());
    let error = outlet.put(events(0, 1)).await.unwrap_err();
    assert_eq!((narrow.begun.load(SeqCst), narrow.open.load(SeqCst)), (1, 0));
    outlet.put(error.batch).await.unwrap();
    assert_eq!((narrow.begun.load(SeqCst), narrow.open.load(SeqCst)), (2, 0));
    assert_eq!(full.bodies(), ["0"]);
}

/// A channel whose transactions hold one event, and that knows how many are open.
#[derive(Default)]
struct Narrow {
    begun: AtomicUsize,
    open: Arc<AtomicUsize>,
}

struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

impl Put for Open {
    fn commit(self: Box<Self>, _batch: Batch) -> BoxFuture<'static, Result<(), Refused>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

impl Channel for Narrow {
    fn begin_put(&self, size: Size) -> BoxFuture<'_, Result<Box<dyn Put>, ChannelError>> {
        self.begun.fetch_add(1, SeqCst);
        let begun = if size.events > 1 {
            let (channel, events) = ("c1".into(), size.events);
            Err(ChannelError::TooLarge { channel, events, capacity: 1 })
        } else {
            self.open.fetch_add(1, SeqCst);
            Ok(Box::new(Open(self.open.clone())) as Box<dyn Put>)
        };
        Box::pin(std::future::ready(begun))
    }

    fn begin_take(&self, _limit: Size) -> BoxFuture<'_, Result<Box<dyn Take>, ChannelError>> {
        let closed = ChannelError::Closed { channel: "c1".into() };
        Box::pin(std::future::ready(Err(closed)))
    }

    fn level(&self) -> Level {
        Level::default()
    }

    fn close(&self) -> BoxFuture<'_, Result<(), ChannelError>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

#[tokio::test]
async fn what_an_interceptor_never_lets_through_is_not_tried_for_ever() {
    let distant = Distant { never: true, ..Distant::default() };
    let rig = Rig::with(1, ToAll(1), vec![Box::new(distant)]);
    let (_handle, stop) = Stop::new();
    let wait = Duration::from_secs(1);
    let error = rig.outlet.put_patiently(batch(&["a"]), &stop, wait, wait).await.unwrap_err();
    assert!(matches!(error.failures[..], [ChannelError::Unfit { .. }]));
    assert!(!error.retryable() && error.to_string().contains("it is too long"), "{error}");
    assert_eq!((bodies(error.batch.events()), rig.channels[0].puts()), (vec!["a".to_owned()], 0));
}

#[tokio::test]
async fn nothing_goes_past_an_interceptor_that_does_not_answer() {
    let distant = Distant::default();
    distant.silent.store(2, SeqCst);
    let rig =
        Rig::with(1, ToAll(1), vec![Box::new(Mark), Box::new(distant.clone()), Box::new(Mark)]);
    let mut again = batch(&["drop", "a", "b"]);
    for _ in 0..2 {
        let error = rig.outlet.put(again).await.unwrap_err();
        assert!(error.retryable() && error.to_string().contains("nobody is there"), "{error}");
        assert!(matches!(error.failures[..], [ChannelError::NotReached { .. }]));
        assert_eq!((error.batch.len(), rig.channels[0].puts()), (2, 0));
        again = error.batch;
    }
    rig.outlet.put(again).await.unwrap();
    let events = rig.channels[0].events();
    assert_eq!(bodies(&events), ["a"]);
    // Once by each of those that mark, however often it was put.
    assert_eq!(&**events[0].headers.get("seen").unwrap(), "xx");
    assert_eq!(rig.metrics.events_received.value(), 3);
    assert_eq!(rig.metrics.events_accepted.value(), 3);
    assert_eq!(rig.metrics.events_filtered.value(), 2);
    rig.outlet.close().await;
    assert_eq!(distant.closed.load(SeqCst), 1);
}

/// How much is free differs from try to try, and is no news.
#[tokio::test(start_paused = true)]
async fn a_full_disk_is_one_line_however_often_it_refuses() {
    let (lines, _guard) = Lines::of_this_thread();
    let rig = Rig::new(3, ByBody);
    let (_handle, stop) = Stop::new();
    let wait = Duration::from_secs(1);
    rig.channels[0].refuse_for_want_of_disk(20);
    rig.outlet.put_patiently(batch(&["a"]), &stop, wait, wait).await.unwrap();
    let said = lines.with("channels refuse a batch");
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("its disk is full: /data has 19.1 MiB free"), "{said:?}");
    // Another optional channel is well meanwhile.
    rig.channels[1].refuse_for_want_of_disk(20);
    for _ in 0..20 {
        rig.outlet.put(batch(&["aBC"])).await.unwrap();
    }
    assert_eq!(rig.metrics.optional_failures.value(), 20);
    let said = lines.with("an optional channel refused");
    assert_eq!(said.len(), 1, "{said:?}");
}

/// Without an end of the first trouble in between.
#[tokio::test(start_paused = true)]
async fn another_trouble_is_said_too_and_those_that_take_turns_once_each() {
    let failed =
        |reason: &str| ChannelError::Failed { channel: "c2".into(), reason: reason.into() };
    let (lines, _guard) = Lines::of_this_thread();
    let rig = Rig::new(3, ByBody);
    let (_handle, stop) = Stop::new();
    let wait = Duration::from_secs(1);
    rig.channels[0].refuse_as(&["c1", "c1"]);
    rig.channels[1].refuse_as(&["c2", "c2"]);
    rig.channels[1].refuse_for(["no disk", "no wire", "no disk"].map(failed));
    rig.channels[1].refuse_as(&["c2"]);
    rig.outlet.put_patiently(batch(&["ab"]), &stop, wait, wait).await.unwrap();
    let said = lines.with("channels refuse a batch");
    let want = ["c1 is full", "c2 is full", "c2 failed: no disk", "c2 failed: no wire"];
    assert_eq!(said.len(), want.len(), "{said:?}");
    assert!(said.iter().zip(want).all(|(line, want)| line.contains(want)), "{said:?}");
    rig.channels[2].refuse_for([failed("no disk"), failed("no wire"), failed("no disk")]);
    for _ in 0..3 {
        rig.outlet.put(batch(&["aC"])).await.unwrap();
    }
    let said = lines.with("an optional channel refused");
    assert_eq!(said.len(), 2, "{said:?}");
}
