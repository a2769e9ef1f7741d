//! What every source answers alike.

use std::time::Duration;

use splashdam_config::Section;
use splashdam_core::{Component, Context, Outlet, Source, SourceError, Stop, StopHandle};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::fakes::{Collector, outlet};

/// The longest a source may take from the request to stop to its end.
const PROMPT: Duration = Duration::from_secs(20);

/// A source at work.
pub struct Running {
    /// Its outlet, for its counters.
    pub outlet: Outlet,
    stop: StopHandle,
    task: JoinHandle<Result<(), SourceError>>,
}

impl Running {
    /// Asks it to stop and waits for its end; panics when that takes more than twenty seconds.
    pub async fn stop(self) -> Result<(), SourceError> {
        self.stop.stop();
        self.ended().await
    }

    /// Waits until it ends by itself, for at most twenty seconds.
    pub async fn ended(self) -> Result<(), SourceError> {
        let done = timeout(PROMPT, self.task).await;
        done.expect("the source ends within twenty seconds").expect("no panic")
    }

    /// Ends it as `kill -9` would: its task is dropped where it stands.
    pub async fn abort(self) {
        self.task.abort();
        drop(self.task.await);
    }
}

/// Opens a source from the keys of a `flume.conf` below its name.
pub async fn open_source<S: Component + Source>(keys: &str, cx: Context) -> S {
    let config = Section::parse(keys).read::<S::Config>().into_result().expect("valid keys");
    S::open(config, cx).await.expect("an open source")
}

/// Runs a source into `collector`.
pub fn run_source<S: Source>(source: S, collector: &Collector) -> Running {
    run_source_into(source, outlet(collector.clone()))
}

/// Runs a source into an outlet.
pub fn run_source_into<S: Source>(source: S, outlet: Outlet) -> Running {
    let (stop_handle, stop) = Stop::new();
    let task = tokio::spawn(Source::run(source, outlet.clone(), stop));
    Running { outlet, stop: stop_handle, task }
}

/// Asks a source that has nothing to bring, or an endless stream: it stops promptly before it
/// began, while idle, and while its channel is full, and then puts nothing more.
pub async fn source_stops<S: Component + Source>(keys: &str, cx: impl Fn() -> Context) {
    let at_once = run_source(open_source::<S>(keys, cx()).await, &Collector::new());
    at_once.stop().await.expect("a stop before it began");

    let collector = Collector::new();
    let later = run_source(open_source::<S>(keys, cx()).await, &collector);
    tokio::time::sleep(Duration::from_millis(50)).await;
    later.stop().await.expect("a stop at work");
    let count = collector.puts();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(collector.puts(), count, "a put after the end");

    let full = Collector::new();
    full.refuse(usize::from(u16::MAX));
    let refused = run_source(open_source::<S>(keys, cx()).await, &full);
    tokio::time::sleep(Duration::from_millis(50)).await;
    drop(refused.stop().await);
    assert!(full.batches().is_empty());
}
