//! Source `stress`: events of equal size, as many or as fast as asked for, to load an agent.
//!
//! Flume's class: `org.apache.flume.source.StressSource`, which has no alias there. As in Flume a
//! refused batch counts as attempted and is not repeated, and the pause after it grows with each
//! refusal in a row. Flume shortens the last batch for `maxTotalEvents` only and may overshoot
//! `maxSuccessfulEvents`; here both are exact.
//!
//! Batches follow each other without waiting for a channel that is slow to answer, a few at once.
//!
//! The events of one batch share one body, which no other batch does: source and sink, on two
//! cores, then do not pull at the same reference count.

use std::num::NonZeroU32;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use splashdam_config::{Diagnostic, Section};
use splashdam_core::pipeline::{Put, Settled};
use splashdam_core::{
    Batch, Component, Context, Event, Facts, OpenError, Outlet, Pipeline, Size, Source,
    SourceError, Stop,
};
use tokio::task::coop::consume_budget;
use tokio::time::{Instant, sleep, sleep_until};

use super::gave_up;

/// What bodies are filled with, as in Flume.
const FILL: u8 = 0x7f;
/// The largest body; Flume's key is an `int`.
const MOST_BYTES: u32 = 1 << 30;
/// What is on its way while the channels make durable what came before.
const AHEAD: Size = Size { events: 65_536, bytes: 8 * 1024 * 1024 };
/// How much of a delay a paced source makes up for afterwards.
const CREDIT: Duration = Duration::from_secs(1);

/// Keys of the stress source.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Config {
    /// Bytes of each body, at most 1 GiB.
    pub size: u32,
    /// Events to put or try to put before the source goes idle; negative means no end.
    pub max_total_events: i64,
    /// Events to get into the channels before the source goes idle; negative means no end.
    pub max_successful_events: i64,
    /// Events in one transaction, at least 1.
    pub batch_size: NonZeroU32,
    /// Events in a second at the most; 0 means as fast as the channels take them.
    pub max_events_per_second: u32,
    /// Milliseconds to wait after a refusal by a channel, times the refusals in a row.
    pub backoff_sleep_increment: u64,
    /// Milliseconds to wait after a refusal at the most.
    pub max_backoff_sleep: u64,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            size: 500,
            max_total_events: -1,
            max_successful_events: -1,
            batch_size: NonZeroU32::MIN,
            max_events_per_second: 0,
            backoff_sleep_increment: 1000,
            max_backoff_sleep: 5000,
        }
    }
}

/// The source.
pub struct Stress {
    config: Config,
}

impl Component for Stress {
    const TYPE: &'static str = "stress";
    const ALIASES: &'static [&'static str] = &["org.apache.flume.source.StressSource"];
    type Config = Config;

    async fn open(config: Config, _cx: Context) -> Result<Self, OpenError> {
        match too_large(&config) {
            Some(finding) => Err(OpenError::Config(vec![finding])),
            None => Ok(Stress { config }),
        }
    }

    fn check(config: &Config, section: &Section) -> Vec<Diagnostic> {
        too_large(config)
            .map(|finding| finding.at(section.value_span("size")))
            .into_iter()
            .collect()
    }

    fn facts(config: &Config) -> Facts {
        let batch_events = config.batch_size.get();
        Facts {
            batch_events: Some(batch_events as usize),
            place: Some(format!("makes events of {} bytes", config.size)),
            memory_bytes: Some(u64::from(config.size)),
            process_crash: Some("the count of events begins anew"),
            machine_crash: Some("the count of events begins anew"),
            ..Facts::default()
        }
    }
}

fn too_large(config: &Config) -> Option<Diagnostic> {
    let size = config.size;
    (size > MOST_BYTES).then(|| {
        Diagnostic::error("invalid-value", format!("size {size} is over 1 GiB"))
            .help(format!("write at most {MOST_BYTES}"))
    })
}

impl Source for Stress {
    async fn run(self, out: Outlet, stop: Stop) -> Result<(), SourceError> {
        let config = self.config;
        let mut left = Left::new(&config);
        let mut pace = Pace::new(config.max_events_per_second);
        let mut refusals = 0;
        // One event is like the other.
        let mut pipeline = Pipeline::new(out, AHEAD).in_any_order();
        loop {
            let next = left.next_batch(config.batch_size.get());
            // Nobody looks after what is on its way while this one keeps its pace.
            let begins = next.is_some_and(|events| match pace {
                Some(_) => pipeline.is_empty(),
                None => !pipeline.is_full(config.batch_bytes(events)),
            });
            let settled = match begins && !stop.requested() {
                true => pipeline.settled(),
                // Nothing more to begin now; at a stop only what was begun.
                false => pipeline.settle().await,
            };
            match (settled, next) {
                (Some(Settled { went: Put::Stored, .. }), _) => refusals = 0,
                (Some(refused), _) => {
                    // What follows comes back with it.
                    let mut refused = Some(refused);
                    while let Some(settled) = refused {
                        left.went(&settled);
                        match settled.went {
                            Put::Refused(error) if !error.retryable() => {
                                return gave_up(error, &stop);
                            }
                            _ => refused = pipeline.settle().await,
                        }
                    }
                    pipeline.resume();
                    refusals += 1;
                    stop.or(sleep(config.pause(refusals))).await;
                }
                (None, Some(events)) if !stop.requested() => {
                    if let Some(pace) = &mut pace
                        && stop.or(pace.wait(events)).await.is_none()
                    {
                        continue;
                    }
                    left.begin(events);
                    pipeline.put(batch(events, config.size), events);
                    consume_budget().await;
                }
                (None, _) => break,
            }
        }
        stop.wait().await;
        Ok(())
    }
}

impl Config {
    fn batch_bytes(&self, events: u32) -> Size {
        let (events, bytes) = (events as usize, self.size as usize);
        Size { events, bytes: events.saturating_mul(bytes) }
    }

    /// As Flume's runner waits after the n-th failure in a row.
    fn pause(&self, refusals: u64) -> Duration {
        let grown = self.backoff_sleep_increment.saturating_mul(refusals);
        Duration::from_millis(grown.min(self.max_backoff_sleep))
    }
}

/// `events` events that share one new body.
fn batch(events: u32, size: u32) -> Batch {
    let body = Bytes::from(vec![FILL; size as usize]);
    let mut batch = Batch::with_capacity(events as usize);
    for _ in 1..events {
        batch.push(Event { headers: Default::default(), body: body.clone() });
    }
    batch.push(Event { headers: Default::default(), body });
    batch
}

/// Events still to come; `None` is without end.
#[derive(Debug)]
struct Left {
    attempts: Option<u64>,
    successes: Option<u64>,
}

impl Left {
    fn new(config: &Config) -> Self {
        Left {
            attempts: u64::try_from(config.max_total_events).ok(),
            successes: u64::try_from(config.max_successful_events).ok(),
        }
    }

    /// The size of the next batch; `None` when there is none.
    fn next_batch(&self, batch_size: u32) -> Option<u32> {
        let left = [self.attempts, self.successes].into_iter().flatten();
        let events = left.fold(u64::from(batch_size), u64::min);
        u32::try_from(events).ok().filter(|events| *events > 0)
    }

    /// A batch is on its way.
    fn begin(&mut self, events: u32) {
        for left in [&mut self.attempts, &mut self.successes].into_iter().flatten() {
            *left -= u64::from(events);
        }
    }

    /// Takes back what did not happen.
    fn went(&mut self, settled: &Settled<u32>) {
        let events = u64::from(settled.token);
        let give_back = |left: &mut Option<u64>| {
            if let Some(left) = left {
                *left += events;
            }
        };
        match settled.went {
            Put::Stored => {}
            Put::Refused(_) => give_back(&mut self.successes),
            // Nobody was asked, so it was no attempt either.
            Put::Behind(_) => {
                give_back(&mut self.successes);
                give_back(&mut self.attempts);
            }
        }
    }
}

/// Spreads batches over time.
#[derive(Debug)]
struct Pace {
    per_second: u32,
    due: Instant,
}

impl Pace {
    fn new(per_second: u32) -> Option<Self> {
        (per_second > 0).then(|| Pace { per_second, due: Instant::now() })
    }

    /// Waits until `events` more may go. Cancel-safe: nothing has been spent before it returns.
    async fn wait(&mut self, events: u32) {
        sleep_until(self.due).await;
        let earliest = Instant::now().checked_sub(CREDIT).unwrap_or(self.due);
        let takes = Duration::from_secs_f64(f64::from(events) / f64::from(self.per_second));
        self.due = self.due.max(earliest) + takes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use splashdam_core::Role;
    use splashdam_testkit::{Collector, context, contract};

    fn cx() -> Context {
        context(Role::Source)
    }

    async fn run(keys: &str, collector: &Collector) -> contract::Running {
        contract::run_source(contract::open_source::<Stress>(keys, cx()).await, collector)
    }

    #[tokio::test]
    async fn stops() {
        contract::source_stops::<Stress>("", cx).await;
        contract::source_stops::<Stress>("maxEventsPerSecond = 1\nbatchSize = 10", cx).await;
        contract::source_stops::<Stress>("maxTotalEvents = 0", cx).await;
    }

    #[tokio::test(start_paused = true)]
    async fn limits_are_exact() {
        async fn check(keys: &str, refused: usize, want: &[usize]) {
            let collector = Collector::new();
            collector.refuse(refused);
            let running = run(keys, &collector).await;
            // Time passes by itself while all tasks wait, refusals and their pauses included.
            sleep(Duration::from_secs(60)).await;
            running.stop().await.unwrap();
            let sizes: Vec<usize> = collector.batches().iter().map(Batch::len).collect();
            assert_eq!(sizes, want, "{keys}, {refused} refused");
        }
        check("maxTotalEvents = 3", 0, &[1, 1, 1]).await;
        check("maxTotalEvents = 25\nbatchSize = 10", 0, &[10, 10, 5]).await;
        check("maxTotalEvents = 25\nbatchSize = 10", 2, &[5]).await;
        check("maxSuccessfulEvents = 25\nbatchSize = 10", 2, &[10, 10, 5]).await;
        check("maxSuccessfulEvents = 9\nmaxTotalEvents = 12\nbatchSize = 5", 0, &[5, 4]).await;
        check("maxTotalEvents = 0", 0, &[]).await;
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_are_as_asked_for_and_shared_within_a_batch_only() {
        let collector = Collector::new();
        let running = run("maxTotalEvents = 4\nbatchSize = 2\nsize = 3", &collector).await;
        let events = collector.wait_for(4).await;
        running.stop().await.unwrap();
        assert!(events.iter().all(|e| e.headers.is_empty() && *e.body == [FILL; 3]));
        let at: Vec<_> = events.iter().map(|e| e.body.as_ptr()).collect();
        assert_eq!((at[0], at[2]), (at[1], at[3]));
        assert_ne!(at[0], at[2]);
    }

    #[tokio::test(start_paused = true)]
    async fn keeps_its_pace() {
        let collector = Collector::new();
        let start = Instant::now();
        let running = run("maxEventsPerSecond = 100\nbatchSize = 10", &collector).await;
        sleep(Duration::from_millis(9_950)).await;
        running.stop().await.unwrap();
        assert!(start.elapsed() < Duration::from_secs(10));
        assert_eq!(collector.events().len(), 1000);
    }

    /// Not a check but a measurement: `cargo test --release -- --ignored --nocapture speed`.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "a measurement"]
    async fn speed() {
        use splashdam_core::{Channel, Size, Stop};
        let keys = "capacity = 100000\ntransactionCapacity = 1000\nbyteCapacity = 0";
        let config = splashdam_config::Section::parse(keys).read().into_result().unwrap();
        let memory = crate::channels::memory::Memory::open(config, context(Role::Channel)).await;
        let memory = memory.unwrap();
        let keys = "batchSize = 1000\nsize = 512\nmaxTotalEvents = 50000000";
        let source = contract::open_source::<Stress>(keys, cx()).await;
        let (handle, stop) = Stop::new();
        let outlet = splashdam_testkit::outlet(memory.clone());
        let start = std::time::Instant::now();
        let task = tokio::spawn(source.run(outlet, stop));
        let mut taken = 0;
        while taken < 50_000_000 {
            let lease = memory.begin_take(Size::events(1000)).await.unwrap();
            taken += lease.batch().len();
            lease.commit().await.unwrap();
        }
        let seconds = start.elapsed().as_secs_f64();
        println!("{:.1} million events a second", 50.0 / seconds);
        handle.stop();
        task.await.unwrap().unwrap();
    }
}
