//! What an event costs on its way through an outlet into a memory channel and out again, per
//! event, at 1, 100 and 1000 events in a batch. `clone` is the share of it that goes into making
//! the batches themselves.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use splashdam_components::LISTS;
use splashdam_config::Section;
use splashdam_core::{
    Batch, Channel, Context, DynInterceptor, Event, Outlet, OutletChannel, Role, Selector, Size,
    TakeTxn, find,
};
use splashdam_testkit::context;
use splashdam_testkit::fakes::outlet_channels;

const BATCHES: [usize; 3] = [1, 100, 1000];

/// An outlet and the memory channels behind it.
struct Rig {
    outlet: Outlet,
    channels: Vec<OutletChannel>,
}

impl Rig {
    async fn new(
        selector: &str,
        keys: &str,
        channels: usize,
        interceptors: &[(&str, &str)],
    ) -> Self {
        let memory = find(LISTS.channels, "memory").unwrap();
        let mut opened: Vec<Arc<dyn Channel>> = Vec::new();
        for _ in 0..channels {
            let limits =
                Section::parse("capacity = 10000\ntransactionCapacity = 10000\nkeep-alive = 0");
            opened.push(memory.open(limits, context(Role::Channel)).await.unwrap().into());
        }
        let channels = outlet_channels(opened);
        let choices = channels.iter().map(|channel| channel.name.clone()).collect();
        let cx = Context { choices, ..context(Role::Source) };
        let selector = find(LISTS.selectors, selector).unwrap();
        let selector: Box<dyn Selector> =
            selector.open(Section::parse(keys), cx.clone()).await.unwrap();
        let mut chain: Vec<Box<dyn DynInterceptor>> = Vec::new();
        for (kind, keys) in interceptors {
            let entry = find(LISTS.interceptors, kind).unwrap();
            chain.push(entry.open(Section::parse(keys), cx.clone()).await.unwrap());
        }
        let outlet = Outlet::new("r1".into(), chain, selector, channels.clone(), Arc::default());
        Rig { outlet, channels }
    }

    async fn pass(&self, batch: Batch) {
        let limit = Size::events(batch.len());
        self.outlet.put(batch).await.unwrap();
        for to in &self.channels {
            let lease = TakeTxn::begin(&*to.channel, &to.metrics, limit).await.unwrap();
            black_box(lease.batch());
            lease.commit().await.unwrap();
        }
    }

    async fn time(&self, batch: &Batch, rounds: u64) -> Duration {
        let start = Instant::now();
        for _ in 0..rounds {
            self.pass(batch.clone()).await;
        }
        start.elapsed()
    }
}

/// Events of 200 bytes with two headers, half of them for each of two channels.
fn batch(events: usize) -> Batch {
    let event = |n: usize| {
        let mut event = Event::new(vec![b'x'; 200]);
        event.headers.insert("host", "mill.example.org");
        event.headers.insert("kind", if n.is_multiple_of(2) { "even" } else { "odd" });
        event
    };
    (0..events).map(event).collect()
}

fn pipeline(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let mut group = criterion.benchmark_group("pipeline");
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    let headers = [("timestamp", ""), ("host", "useIP = false"), ("static", "")];
    let filter = [("regex_filter", "regex = ^(?:x|y)+$")];
    let parted = "header = kind\nmapping.even = c1\nmapping.odd = c2";
    for events in BATCHES {
        group.throughput(Throughput::Elements(events as u64));
        let batch = batch(events);
        group.bench_function(BenchmarkId::new("clone", events), |b| {
            b.iter(|| black_box(batch.clone()));
        });
        for (name, selector, keys, channels, interceptors) in [
            ("one channel", "replicating", "", 1, &[][..]),
            ("two channels", "replicating", "", 2, &[]),
            ("parted in two", "multiplexing", parted, 2, &[]),
            ("three headers", "replicating", "", 1, &headers),
            ("regex filter", "replicating", "", 1, &filter),
        ] {
            let rig = runtime.block_on(Rig::new(selector, keys, channels, interceptors));
            group.bench_function(BenchmarkId::new(name, events), |b| {
                b.iter_custom(|rounds| runtime.block_on(rig.time(&batch, rounds)));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, pipeline);
criterion_main!(benches);
