//! A world without surprises, and a channel that remembers and refuses on demand.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use splashdam_core::metrics::{ChannelMetrics, Counters};
use splashdam_core::{
    Batch, BoxFuture, Channel, ChannelError, ChannelSet, Clock, Context, Event, Level, Outlet,
    OutletChannel, Put, Refused, Role, Route, Selector, Shared, Size, Take, World,
};

/// A world whose time is set by hand (wall) or by tokio's clock (monotonic), with made-up names.
#[derive(Debug)]
pub struct FakeWorld {
    millis: AtomicI64,
    seeds: AtomicU64,
    variables: BTreeMap<String, String>,
    properties: BTreeMap<String, String>,
    home: PathBuf,
}

impl Default for FakeWorld {
    fn default() -> Self {
        FakeWorld {
            millis: AtomicI64::new(1_700_000_000_000),
            seeds: AtomicU64::new(1),
            variables: BTreeMap::new(),
            properties: BTreeMap::new(),
            home: std::env::temp_dir().join("nobody"),
        }
    }
}

impl FakeWorld {
    /// This world with an environment variable.
    #[must_use]
    pub fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.into(), value.into());
        self
    }

    /// This world with a `-D` property.
    #[must_use]
    pub fn with_property(mut self, name: &str, value: &str) -> Self {
        self.properties.insert(name.into(), value.into());
        self
    }

    /// This world with a home directory.
    #[must_use]
    pub fn with_home(mut self, home: impl Into<PathBuf>) -> Self {
        self.home = home.into();
        self
    }

    /// Sets the wall clock.
    pub fn set_millis(&self, millis: i64) {
        self.millis.store(millis, SeqCst);
    }
}

impl Clock for FakeWorld {
    fn now_millis(&self) -> i64 {
        self.millis.load(SeqCst)
    }
    fn instant(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }
}

impl World for FakeWorld {
    fn seed(&self) -> u64 {
        self.seeds.fetch_add(1, SeqCst)
    }
    fn host_name(&self) -> Option<String> {
        Some("mill".into())
    }
    fn canonical_host_name(&self) -> Option<String> {
        Some("mill.example.org".into())
    }
    fn host_address(&self) -> Option<String> {
        Some("192.0.2.7".into())
    }
    fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).cloned()
    }
    fn property(&self, name: &str) -> Option<String> {
        self.properties.get(name).cloned()
    }
    fn home(&self) -> PathBuf {
        self.home.clone()
    }
}

/// A context for a component of `role` in a [`FakeWorld`].
pub fn context(role: Role) -> Context {
    context_in(role, Arc::new(FakeWorld::default()))
}

/// A context for a component of `role` in `world`.
pub fn context_in(role: Role, world: Arc<dyn World>) -> Context {
    Context {
        agent: "a1".into(),
        name: "x1".into(),
        role,
        choices: Arc::new([]),
        dead_letters: false,
        counters: Counters::new(role),
        world,
        shared: Shared::default(),
    }
}

/// Events with the bodies `first`, `first + 1`, …
pub fn events(first: usize, count: usize) -> Batch {
    (first..first + count).map(|n| Event::new(n.to_string())).collect()
}

/// Bodies as text, for comparing.
pub fn bodies<'a>(events: impl IntoIterator<Item = &'a Event>) -> Vec<String> {
    events.into_iter().map(|e| String::from_utf8_lossy(&e.body).into_owned()).collect()
}

/// A channel without a limit that remembers every committed batch and refuses on demand.
#[derive(Clone, Default)]
pub struct Collector(Arc<Mutex<Collected>>);

#[derive(Default)]
struct Collected {
    batches: Vec<Batch>,
    refusals: VecDeque<ChannelError>,
    commit_refusals: VecDeque<ChannelError>,
    unfit: Option<String>,
    puts: usize,
}

impl Collector {
    /// A collector that took nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Refuses the next `times` puts as a full channel does.
    pub fn refuse(&self, times: usize) {
        let full = ChannelError::Full { channel: "c1".into(), events: 0, waited: Duration::ZERO };
        self.lock().refusals.extend(std::iter::repeat_n(full, times));
    }

    /// Refuses the next `times` puts as a channel whose disk is full does, with less free each time.
    pub fn refuse_for_want_of_disk(&self, times: usize) {
        let full = |free: usize| ChannelError::DiskFull {
            channel: "c1".into(),
            reason: format!("/data has {free}.1 MiB free and needs 564.0 MiB").into(),
        };
        self.lock().refusals.extend((0..times).rev().map(full));
    }

    /// Refuses the next puts for these reasons, one after the other.
    pub fn refuse_for(&self, reasons: impl IntoIterator<Item = ChannelError>) {
        self.lock().refusals.extend(reasons);
    }

    /// Refuses the next puts as these channels do that are full, one after the other.
    pub fn refuse_as(&self, channels: &[&str]) {
        self.refuse_for(channels.iter().map(|name| ChannelError::Full {
            channel: (*name).into(),
            events: 0,
            waited: Duration::ZERO,
        }));
    }

    /// Lets the next `times` commits fail after room was granted.
    pub fn fail_commits(&self, times: usize) {
        let failed = ChannelError::Failed { channel: "c1".into(), reason: "on demand".into() };
        self.lock().commit_refusals.extend(std::iter::repeat_n(failed, times));
    }

    /// Never takes a batch with this body in it, as an interceptor that cannot carry it.
    pub fn never_take(&self, body: &str) {
        self.lock().unfit = Some(body.to_owned());
    }

    /// Every committed batch.
    pub fn batches(&self) -> Vec<Batch> {
        self.lock().batches.clone()
    }

    /// Every committed event.
    pub fn events(&self) -> Vec<Event> {
        self.lock().batches.iter().flat_map(|b| b.events().to_vec()).collect()
    }

    /// Every committed body, as text.
    pub fn bodies(&self) -> Vec<String> {
        bodies(&self.events())
    }

    /// How many puts were begun.
    pub fn puts(&self) -> usize {
        self.lock().puts
    }

    /// Waits until `count` events are committed; gives up after 20 s with what there is.
    pub async fn wait_for(&self, count: usize) -> Vec<Event> {
        for _ in 0..20_000 {
            let events = self.events();
            if events.len() >= count {
                return events;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.events()
    }

    fn lock(&self) -> MutexGuard<'_, Collected> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Channel for Collector {
    fn begin_put(&self, _size: Size) -> BoxFuture<'_, Result<Box<dyn Put>, ChannelError>> {
        let mut state = self.lock();
        state.puts += 1;
        let begun = match state.refusals.pop_front() {
            Some(error) => Err(error),
            None => Ok(Box::new(CollectorPut(self.clone())) as Box<dyn Put>),
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

struct CollectorPut(Collector);

impl Put for CollectorPut {
    fn commit(self: Box<Self>, batch: Batch) -> BoxFuture<'static, Result<(), Refused>> {
        let mut state = self.0.lock();
        let unfit = state.unfit.as_ref().filter(|body| bodies(batch.events()).contains(body));
        let unfit = unfit.map(|body| ChannelError::Unfit { reason: body.as_str().into() });
        let done = match unfit.or_else(|| state.commit_refusals.pop_front()) {
            Some(error) => Err(Refused { batch, error }),
            None => {
                state.batches.push(batch);
                Ok(())
            }
        };
        Box::pin(std::future::ready(done))
    }
}

/// Every event to every one of `n` channels.
#[derive(Debug)]
pub struct ToAll(pub usize);

impl Selector for ToAll {
    fn route(&self, _event: &Event) -> Route {
        Route { required: ChannelSet::first(self.0), optional: ChannelSet::default() }
    }
    fn uniform(&self) -> Option<Route> {
        Some(Route { required: ChannelSet::first(self.0), optional: ChannelSet::default() })
    }
}

/// An outlet into one channel, without interceptors.
pub fn outlet(channel: impl Channel) -> Outlet {
    outlet_to(vec![Arc::new(channel)])
}

/// An outlet that replicates into `channels`, without interceptors.
pub fn outlet_to(channels: Vec<Arc<dyn Channel>>) -> Outlet {
    let selector = Box::new(ToAll(channels.len()));
    Outlet::new("r1".into(), Vec::new(), selector, outlet_channels(channels), Arc::default())
}

/// Channels as an outlet sees them, named `c1`, `c2`, …
pub fn outlet_channels(channels: Vec<Arc<dyn Channel>>) -> Vec<OutletChannel> {
    let named = channels.into_iter().enumerate();
    let named = named.map(|(i, channel)| OutletChannel {
        name: format!("c{}", i + 1).into(),
        channel,
        metrics: Arc::new(ChannelMetrics::default()),
    });
    named.collect()
}

/// A channel without limits, for tests of what drains one.
#[derive(Clone, Default)]
pub struct Queue(Arc<QueueInner>);

#[derive(Default)]
struct QueueInner {
    events: Mutex<VecDeque<Event>>,
    leases: AtomicU64,
    leased: AtomicUsize,
    /// Events at the head that no take can read.
    unreadable: AtomicUsize,
}

impl Queue {
    /// A queue that holds `batch`.
    pub fn holding(batch: Batch) -> Self {
        let queue = Queue::default();
        queue.lock().extend(batch.into_events());
        queue
    }

    /// The first `count` events cannot be read: a take leases them and does not show them.
    pub fn spoil(&self, count: usize) {
        self.0.unreadable.store(count, SeqCst);
    }

    /// The same for clones, different for others.
    pub fn place(&self) -> *const () {
        Arc::as_ptr(&self.0).cast()
    }

    /// How many takes found events.
    pub fn leases(&self) -> u64 {
        self.0.leases.load(SeqCst)
    }

    /// Adds events at the end.
    pub fn add(&self, batch: Batch) {
        self.lock().extend(batch.into_events());
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Event>> {
        self.0.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Channel for Queue {
    fn begin_put(&self, _size: Size) -> BoxFuture<'_, Result<Box<dyn Put>, ChannelError>> {
        let put: Box<dyn Put> = Box::new(QueuePut(self.clone()));
        Box::pin(std::future::ready(Ok(put)))
    }

    fn begin_take(&self, limit: Size) -> BoxFuture<'_, Result<Box<dyn Take>, ChannelError>> {
        Box::pin(async move {
            for _ in 0..30 {
                if !self.lock().is_empty() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            let mut queue = self.lock();
            let count = limit.events.min(queue.len());
            if count > 0 {
                self.0.leases.fetch_add(1, SeqCst);
            }
            let spoilt = self.0.unreadable.load(SeqCst).min(count);
            self.0.unreadable.fetch_sub(spoilt, SeqCst);
            let hidden = queue.drain(..spoilt).collect();
            let batch = queue.drain(..count - spoilt).collect();
            self.0.leased.fetch_add(count, SeqCst);
            Ok(Box::new(QueueTake { queue: self.clone(), hidden, batch }) as Box<dyn Take>)
        })
    }

    fn level(&self) -> Level {
        let queue = self.lock();
        let queued = Size { events: queue.len(), bytes: 0 };
        let leased = Size { events: self.0.leased.load(SeqCst), bytes: 0 };
        Level { queued, leased, ..Level::default() }
    }

    fn close(&self) -> BoxFuture<'_, Result<(), ChannelError>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

struct QueuePut(Queue);

impl Put for QueuePut {
    fn commit(self: Box<Self>, batch: Batch) -> BoxFuture<'static, Result<(), Refused>> {
        self.0.add(batch);
        Box::pin(std::future::ready(Ok(())))
    }
}

struct QueueTake {
    queue: Queue,
    /// What cannot be read, before the batch.
    hidden: Vec<Event>,
    batch: Batch,
}

impl Take for QueueTake {
    fn batch(&self) -> &Batch {
        &self.batch
    }

    fn commit(mut self: Box<Self>) -> BoxFuture<'static, Result<(), ChannelError>> {
        let taken = std::mem::take(&mut self.batch).len() + self.hidden.drain(..).count();
        self.queue.0.leased.fetch_sub(taken, SeqCst);
        Box::pin(std::future::ready(Ok(())))
    }
}

impl Drop for QueueTake {
    fn drop(&mut self) {
        let mut queue = self.queue.lock();
        self.queue.0.leased.fetch_sub(self.batch.len() + self.hidden.len(), SeqCst);
        self.queue.0.unreadable.fetch_add(self.hidden.len(), SeqCst);
        let readable = std::mem::take(&mut self.batch).into_events();
        for event in readable.into_iter().rev().chain(self.hidden.drain(..).rev()) {
            queue.push_front(event);
        }
    }
}
