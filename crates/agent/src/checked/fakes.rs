//! A small list of components that do nothing, for tests of what is said about agents.

use std::collections::BTreeMap;
use std::time::Instant;

use serde::Deserialize;
use splashdam_config::{CommaList, Plan, Severity, Source as Text, Sources, Spanned};
use splashdam_core::{
    Batch, BoxFuture, Channel, ChannelError, Claim, Component, Context, DeliverError, Delivered,
    Entry, Event, Facts, Hold, Interceptor, Level, Lists, LogTerms, OpenError, Outlet, Put, Route,
    Selector, Sink, SinkId, SinkProcessor, Size, Source, SourceError, Stop, Take, Transport, Went,
};

use super::{Checking, check};

/// Lists that hold the components of this module.
pub(crate) static LISTS: Lists = Lists {
    sources: &[Entry::source::<Tail>(), Entry::source::<Seq>()],
    channels: &[Entry::channel::<Memory>(), Entry::channel::<File>()],
    sinks: &[Entry::sink::<Null>(), Entry::sink::<Roll>()],
    interceptors: &[Entry::interceptor::<Timestamp>()],
    selectors: &[Entry::selector::<Multiplexing>(), Entry::selector::<Replicating>()],
    processors: &[
        Entry::processor::<Default_>(),
        Entry::processor::<Failover>(),
        Entry::processor::<LoadBalance>(),
        Entry::processor::<Shut>(),
    ],
    serializers: &[],
    config_filters: &[],
};

/// Reads agent `a1` out of `text`, and checks it against [`LISTS`]. What the plan says comes first.
pub(crate) fn checking(text: &str) -> Checking {
    let sources: Sources = std::iter::once(Text::new("flume.conf", text)).collect();
    let none = |_: &splashdam_config::plan::FilterPlan| Err("no filters here".to_owned());
    let reading = Plan::read("a1", &sources, &splashdam_config::NoLookups, &none);
    let mut findings = reading.findings;
    let Some(plan) = reading.plan else {
        return Checking { checked: None, findings, fatal: reading.fatal };
    };
    let mut checking = check(&plan, &LISTS);
    findings.append(&mut checking.findings);
    Checking { findings, ..checking }
}

macro_rules! component {
    ($name:ident, $config:ident, $kind:literal, $class:literal, |$c:ident| $facts:expr) => {
        pub(crate) struct $name;

        impl Component for $name {
            const TYPE: &'static str = $kind;
            const ALIASES: &'static [&'static str] = &[$class];
            type Config = $config;
            async fn open(_: $config, _: Context) -> Result<Self, OpenError> {
                Ok($name)
            }
            fn facts($c: &$config) -> Facts {
                $facts
            }
        }
    };
}

macro_rules! config {
    ($name:ident { $($key:literal $field:ident: $type:ty = $default:expr,)* }) => {
        #[derive(Deserialize)]
        #[serde(default)]
        #[allow(dead_code, reason = "fields are read by serde alone")]
        pub(crate) struct $name { $(#[serde(rename = $key)] $field: $type,)* }

        impl Default for $name {
            fn default() -> Self {
                $name { $($field: $default,)* }
            }
        }
    };
}

config!(TailConfig {
    "batchSize" batch_size: usize = 100,
    "positionFile" position_file: String = "~/positions".into(),
});
component!(Tail, TailConfig, "taildir", "org.apache.flume.source.taildir.TaildirSource", |c| {
    Facts {
        batch_events: Some(c.batch_size),
        acknowledged: Some("after the commit"),
        claims: vec![Claim::file("positionFile", &c.position_file, Severity::Error)],
        process_crash: Some("lines since the last position are read again"),
        ..Facts::default()
    }
});
config!(SeqConfig {
    "batchSize" batch_size: usize = 1,
    "totalEvents" total: u64 = 0,
    "host" host: String = "0.0.0.0".into(),
    "ports" ports: Vec<u16> = Vec::new(),
});
component!(Seq, SeqConfig, "seq", "org.apache.flume.source.SequenceGeneratorSource", |c| Facts {
    batch_events: Some(c.batch_size),
    claims: c.ports.iter().map(|n| Claim::port("ports", Transport::Tcp, &c.host, *n)).collect(),
    ..Facts::default()
});
config!(MemoryConfig {
    "capacity" capacity: usize = 100,
    "transactionCapacity" transaction_capacity: usize = 100,
    "keep-alive" keep_alive: u64 = 3,
});
component!(Memory, MemoryConfig, "memory", "org.apache.flume.channel.MemoryChannel", |c| Facts {
    capacity_events: Some(c.capacity),
    capacity_key: Some("capacity"),
    transaction_events: Some(c.transaction_capacity),
    memory_bytes: Some(1 << 20),
    process_crash: Some("everything in the channel is lost"),
    machine_crash: Some("everything in the channel is lost"),
    ..Facts::default()
});
config!(FileConfig {
    "dataDirs" data_dirs: CommaList = CommaList(vec!["~/data".into()]),
    "checkpointDir" checkpoint_dir: Option<String> = None,
    "onDamage" on_damage: String = "quarantine".into(),
    "compression" compression: String = "none".into(),
    "apart" apart: bool = false,
    "holds" holds: usize = 1_000_000,
});
component!(File, FileConfig, "file", "org.apache.flume.channel.file.FileChannel", |c| Facts {
    claims: {
        let data = c.data_dirs.0.iter().map(|path| ("dataDirs", path, Hold::Log));
        let of_flume = c.checkpoint_dir.iter().map(|path| ("checkpointDir", path, Hold::OfFlume));
        data.chain(of_flume).map(|(key, path, hold)| Claim::directory(key, path, hold)).collect()
    },
    log: Some(LogTerms {
        agree: vec![("onDamage", c.on_damage.clone()), ("compression", c.compression.clone())],
        joint: !c.apart,
    }),
    capacity_events: Some(c.holds),
    capacity_key: Some("holds"),
    transaction_events: Some(10_000),
    tells_place: true,
    durable: true,
    ..Facts::default()
});
config!(NullConfig { "batchSize" batch_size: usize = 100, });
component!(Null, NullConfig, "null", "org.apache.flume.sink.NullSink", |c| Facts {
    batch_events: Some(c.batch_size),
    ..Facts::default()
});
config!(RollConfig {
    "sink.directory" directory: String = "/rolled".into(),
    "sink.pathManager.prefix" prefix: String = String::new(),
    "sink.batchSize" batch_size: usize = 100,
});
component!(Roll, RollConfig, "file_roll", "org.apache.flume.sink.RollingFileSink", |c| Facts {
    batch_events: Some(c.batch_size),
    rejects: Some("what it cannot write holds it"),
    claims: vec![Claim::files("sink.directory", &c.directory, &c.prefix, "", Severity::Warning)],
    needs_place: c.directory == "/once",
    needs_headers: c.directory.contains("%Y").then(|| "timestamp".into()).into_iter().collect(),
    ..Facts::default()
});
config!(TimestampConfig { "headerName" header: String = "timestamp".into(), });
component!(Timestamp, TimestampConfig, "timestamp", "a.T$Builder", |c| Facts {
    sets_headers: vec![c.header.clone()],
    ..Facts::default()
});
config!(MultiplexingConfig {
    "header" header: String = "flume.selector.header".into(),
    "default" default: Vec<Spanned<String>> = Vec::new(),
    "mapping" mapping: BTreeMap<String, Vec<Spanned<String>>> = BTreeMap::new(),
});
component!(Multiplexing, MultiplexingConfig, "multiplexing", "a.M", |c| Facts {
    needs_headers: vec![c.header.clone()],
    chooses: c.mapping.values().flatten().chain(&c.default).cloned().collect(),
    ..Facts::default()
});
config!(ReplicatingConfig { "optional" optional: Vec<Spanned<String>> = Vec::new(), });
component!(Replicating, ReplicatingConfig, "replicating", "a.R", |c| Facts {
    chooses: c.optional.clone(),
    passes_over: c.optional.iter().map(|name| name.value.clone()).collect(),
    to_all: true,
    ..Facts::default()
});
config!(NoKeys { "no" no: String = String::new(), });
component!(Default_, NoKeys, "default", "org.apache.flume.sink.DefaultSinkProcessor", |_c| {
    Facts::default()
});
config!(FailoverConfig { "priority" priority: BTreeMap<String, u32> = BTreeMap::new(), });
component!(Failover, FailoverConfig, "failover", "a.F", |c| Facts {
    chooses: c.priority.keys().cloned().map(Spanned::from).collect(),
    ..Facts::default()
});
component!(LoadBalance, NoKeys, "load_balance", "a.L", |_c| Facts::default());

/// Has good keys, and does not open.
pub(crate) struct Shut;

impl Component for Shut {
    const TYPE: &'static str = "shut";
    type Config = NoKeys;
    async fn open(_: NoKeys, _: Context) -> Result<Self, OpenError> {
        Err(OpenError::config("it never opens"))
    }
}

macro_rules! idle {
    ($($source:ident)*; $($channel:ident)*; $($sink:ident)*; $($selector:ident)*; $($processor:ident)*) => {
        $(impl Source for $source {
            async fn run(self, _: Outlet, _: Stop) -> Result<(), SourceError> {
                Ok(())
            }
        })*
        $(impl Channel for $channel {
            fn begin_put(&self, _: Size) -> BoxFuture<'_, Result<Box<dyn Put>, ChannelError>> {
                unreachable!("nothing opens it")
            }
            fn begin_take(&self, _: Size) -> BoxFuture<'_, Result<Box<dyn Take>, ChannelError>> {
                // There is nothing in it.
                Box::pin(std::future::pending())
            }
            fn level(&self) -> Level {
                Level::default()
            }
            fn close(&self) -> BoxFuture<'_, Result<(), ChannelError>> {
                Box::pin(async { Ok(()) })
            }
        })*
        $(impl Sink for $sink {
            fn limit(&self) -> Size {
                Size::default()
            }
            async fn deliver(&mut self, batch: &Batch) -> Result<Delivered, DeliverError> {
                Ok(Delivered::all(batch))
            }
        })*
        $(impl Selector for $selector {
            fn route(&self, _: &Event) -> Route {
                Route::default()
            }
        })*
        $(impl SinkProcessor for $processor {
            fn pick(&mut self, _: Instant, _: &[SinkId]) -> Option<SinkId> {
                None
            }
            fn settle(&mut self, _: Instant, _: SinkId, _: Went) {}
        })*
    };
}

idle!(Tail Seq; Memory File; Null Roll; Multiplexing Replicating; Default_ Failover LoadBalance Shut);

impl Interceptor for Timestamp {
    fn intercept(&self, _: &mut Batch) {}
}
