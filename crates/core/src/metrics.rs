//! Counters under Flume's names, with Prometheus names beside them in the same table.
//!
//! Outlet, transactions and sink runner do the counting, so all components count alike; a
//! component adds only what it alone knows. Names and shape: Flume's `SourceCounter`,
//! `SinkCounter`, `ChannelCounter`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::Role;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: usize) {
        self.0.fetch_add(n as u64, Relaxed);
    }
    /// The sum so far.
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Adds `n`, which may be negative.
    pub fn add(&self, n: i64) {
        self.0.fetch_add(n, Relaxed);
    }
    /// Sets it.
    pub fn set(&self, n: i64) {
        self.0.store(n, Relaxed);
    }
    /// What it is now.
    pub fn value(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

/// How a value behaves, for Prometheus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// One line of a table of metrics.
pub struct Row<S: 'static> {
    /// Flume's attribute, if Flume has it.
    pub flume: Option<&'static str>,
    /// The Prometheus name.
    pub prometheus: &'static str,
    /// How it behaves.
    pub kind: Kind,
    /// One sentence.
    pub help: &'static str,
    /// Reads it.
    pub read: fn(&S) -> f64,
}

macro_rules! counters {
    ($(#[$doc:meta])* $set:ident $([$(#[$inner_doc:meta])* $inner:ident: $inner_type:ty])? { $($field:ident: $type:ident, $kind:ident, $flume:expr, $prometheus:literal, $help:literal;)* }) => {
        $(#[$doc])*
        #[derive(Debug, Default)]
        pub struct $set {
            /// When the component was started and stopped.
            pub life: Life,
            $($(#[$inner_doc])* pub $inner: $inner_type,)?
            $(#[doc = $help] pub $field: $type,)*
        }
        impl $set {
            /// Names and readers of all its values.
            pub const TABLE: &'static [Row<$set>] = &[$(Row {
                flume: $flume,
                prometheus: $prometheus,
                kind: Kind::$kind,
                help: $help,
                read: |set| set.$field.value() as f64,
            },)*];
        }
    };
}

counters! {
    /// What a source counts (Flume's `SourceCounter`).
    SourceMetrics {
        events_received: Counter, Counter, Some("EventReceivedCount"), "splashdam_source_events_received_total", "Events that reached the source.";
        events_accepted: Counter, Counter, Some("EventAcceptedCount"), "splashdam_source_events_accepted_total", "Events that its channels took.";
        appends_received: Counter, Counter, Some("AppendReceivedCount"), "splashdam_source_appends_received_total", "Single events received by call.";
        appends_accepted: Counter, Counter, Some("AppendAcceptedCount"), "splashdam_source_appends_accepted_total", "Single events by call that were accepted.";
        batches_received: Counter, Counter, Some("AppendBatchReceivedCount"), "splashdam_source_batches_received_total", "Batches received.";
        batches_accepted: Counter, Counter, Some("AppendBatchAcceptedCount"), "splashdam_source_batches_accepted_total", "Batches that the channels took.";
        open_connections: Gauge, Gauge, Some("OpenConnectionCount"), "splashdam_source_open_connections", "Connections open now.";
        read_failures: Counter, Counter, Some("EventReadFail"), "splashdam_source_read_failures_total", "Inputs that could not be read or decoded.";
        channel_write_failures: Counter, Counter, Some("ChannelWriteFail"), "splashdam_source_channel_write_failures_total", "Batches that a required channel refused.";
        processing_failures: Counter, Counter, Some("GenericProcessingFail"), "splashdam_source_processing_failures_total", "Failures that fit nowhere else.";
        events_filtered: Counter, Counter, None, "splashdam_source_events_filtered_total", "Events that interceptors removed.";
        events_unrouted: Counter, Counter, None, "splashdam_source_events_unrouted_total", "Events that the selector mapped to no channel.";
        events_dropped: Counter, Counter, None, "splashdam_source_events_dropped_total", "Events given up by rule, such as lines over the limit.";
        events_repeated: Counter, Counter, None, "splashdam_source_events_repeated_total", "Events that a sender repeated and the channels had already; not stored again.";
        optional_failures: Counter, Counter, None, "splashdam_source_optional_channel_failures_total", "Batches that an optional channel refused.";
    }
}

counters! {
    /// What a sink counts (Flume's `SinkCounter`).
    SinkMetrics {
        connections_created: Counter, Counter, Some("ConnectionCreatedCount"), "splashdam_sink_connections_created_total", "Connections or files opened.";
        connections_closed: Counter, Counter, Some("ConnectionClosedCount"), "splashdam_sink_connections_closed_total", "Connections or files closed.";
        connections_failed: Counter, Counter, Some("ConnectionFailedCount"), "splashdam_sink_connections_failed_total", "Connections or files that could not be opened.";
        batches_empty: Counter, Counter, Some("BatchEmptyCount"), "splashdam_sink_batches_empty_total", "Takes that found nothing.";
        batches_underflow: Counter, Counter, Some("BatchUnderflowCount"), "splashdam_sink_batches_underflow_total", "Batches smaller than the batch size.";
        batches_complete: Counter, Counter, Some("BatchCompleteCount"), "splashdam_sink_batches_complete_total", "Batches of the full batch size.";
        drain_attempts: Counter, Counter, Some("EventDrainAttemptCount"), "splashdam_sink_drain_attempts_total", "Events whose delivery was tried.";
        drain_successes: Counter, Counter, Some("EventDrainSuccessCount"), "splashdam_sink_drain_successes_total", "Events delivered.";
        write_failures: Counter, Counter, Some("EventWriteFail"), "splashdam_sink_write_failures_total", "Batches that could not be delivered.";
        channel_read_failures: Counter, Counter, Some("ChannelReadFail"), "splashdam_sink_channel_read_failures_total", "Takes that the channel refused.";
        rejected: Counter, Counter, None, "splashdam_sink_rejected_total", "Events that the sink gave up for good.";
        dead_letters: Counter, Counter, None, "splashdam_sink_dead_letters_total", "Of these, events that went to the channel of dead letters.";
    }
}

counters! {
    /// What a channel counts (Flume's `ChannelCounter`), but for its level, which it tells itself.
    ChannelMetrics [
        /// What a file channel counts besides.
        file: OnceLock<FileMetrics>
    ] {
        put_attempts: Counter, Counter, Some("EventPutAttemptCount"), "splashdam_channel_put_attempts_total", "Events that were to be put.";
        put_successes: Counter, Counter, Some("EventPutSuccessCount"), "splashdam_channel_put_successes_total", "Events put and committed.";
        take_attempts: Counter, Counter, Some("EventTakeAttemptCount"), "splashdam_channel_take_attempts_total", "Events taken, and takes that found nothing.";
        take_successes: Counter, Counter, Some("EventTakeSuccessCount"), "splashdam_channel_take_successes_total", "Events taken and committed.";
        put_errors: Counter, Counter, None, "splashdam_channel_put_errors_total", "Put transactions that failed.";
        put_refusals: Counter, Counter, None, "splashdam_channel_put_refusals_total", "Of these, transactions that may go through another time: there was no room, or the channel was not well.";
        take_errors: Counter, Counter, None, "splashdam_channel_take_errors_total", "Take transactions that failed.";
        events_lost: Counter, Counter, None, "splashdam_channel_events_lost_total", "Events that were in a memory channel when it was closed.";
    }
}

counters! {
    /// What a file channel counts besides (Flume's `FileChannelCounter`). Of Flume's attributes
    /// `EventPutErrorCount` and `EventTakeErrorCount` are counted for every channel; checkpoints
    /// do not fail here on their own.
    FileMetrics {
        open: Gauge, Gauge, None, "splashdam_channel_file_open", "Whether the channel is open.";
        closed: Gauge, Gauge, Some("Closed"), "splashdam_channel_file_closed", "Whether the channel was closed.";
        unhealthy: Gauge, Gauge, Some("Unhealthy"), "splashdam_channel_file_unhealthy", "Whether the channel could not be opened or a directory of it failed for good.";
        disk_full: Gauge, Gauge, None, "splashdam_channel_file_disk_full", "Whether a directory has no room for puts, so that they go to the others or wait.";
        failed_files: Counter, Counter, None, "splashdam_channel_file_failed_files_total", "Files given up after a failed write or sync.";
        damaged: Counter, Counter, None, "splashdam_channel_file_damaged_total", "Runs of stored bytes that did not pass their checks.";
        events_skipped: Counter, Counter, None, "splashdam_channel_file_events_skipped_total", "Events skipped since the data that held them is damaged or of failed transactions.";
        checkpoint_errors: Counter, Counter, Some("CheckpointWriteErrorCount"), "splashdam_channel_file_checkpoint_errors_total", "Checkpoints that failed on their own, of which there are none here.";
        backup_errors: Counter, Counter, Some("CheckpointBackupWriteErrorCount"), "splashdam_channel_file_checkpoint_backup_errors_total", "Second checkpoints that failed, of which there are none here.";
    }
}

/// Start and stop of a component, in milliseconds since 1970; 0 while it has not happened.
#[derive(Debug, Default)]
pub struct Life {
    /// When it started.
    pub started: Gauge,
    /// When it stopped.
    pub stopped: Gauge,
}

/// One component's counters.
#[derive(Clone, Debug)]
pub enum Counters {
    /// A source's.
    Source(Arc<SourceMetrics>),
    /// A channel's.
    Channel(Arc<ChannelMetrics>),
    /// A sink's.
    Sink(Arc<SinkMetrics>),
}

impl Counters {
    /// New counters, all zero, for a component of this role.
    pub fn new(role: Role) -> Self {
        match role {
            Role::Source => Counters::Source(Arc::default()),
            Role::Channel => Counters::Channel(Arc::default()),
            Role::Sink | Role::SinkGroup => Counters::Sink(Arc::default()),
        }
    }

    /// The source's counters; those of nobody for another role.
    pub fn source(&self) -> Arc<SourceMetrics> {
        if let Counters::Source(set) = self { set.clone() } else { Arc::default() }
    }

    /// The channel's counters; those of nobody for another role.
    pub fn channel(&self) -> Arc<ChannelMetrics> {
        if let Counters::Channel(set) = self { set.clone() } else { Arc::default() }
    }

    /// The sink's counters; those of nobody for another role.
    pub fn sink(&self) -> Arc<SinkMetrics> {
        if let Counters::Sink(set) = self { set.clone() } else { Arc::default() }
    }

    /// Start and stop.
    pub fn life(&self) -> &Life {
        match self {
            Counters::Source(set) => &set.life,
            Counters::Channel(set) => &set.life,
            Counters::Sink(set) => &set.life,
        }
    }
}

/// Reads a channel's level.
pub type ReadLevel = Arc<dyn Fn() -> crate::Level + Send + Sync>;

/// Reads a channel's hindrance.
pub type ReadHindrance = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// One component as monitoring sees it.
#[derive(Clone)]
pub struct Registered {
    /// Its counters.
    pub counters: Counters,
    /// How full it is, if it is a channel.
    pub level: Option<ReadLevel>,
    /// What keeps it from taking anything in, if it is a channel.
    pub hindrance: Option<ReadHindrance>,
}

/// All components that were started, by role and name. A stopped one stays until another of that
/// name is started, as in Flume.
#[derive(Clone, Default)]
pub struct Registry(Arc<Mutex<BTreeMap<(Role, Arc<str>), Registered>>>);

impl Registry {
    /// Adds a component or replaces the one of that name.
    pub fn register(&self, role: Role, name: Arc<str>, registered: Registered) {
        self.lock().insert((role, name), registered);
    }

    /// Everything, by role and name.
    pub fn all(&self) -> Vec<((Role, Arc<str>), Registered)> {
        self.lock().iter().map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    // The map is only ever replaced entry by entry, so a panic elsewhere leaves it whole.
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<(Role, Arc<str>), Registered>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_in_each_table() {
        fn check<S>(table: &[Row<S>]) {
            let mut names: Vec<_> = table.iter().map(|r| r.prometheus).collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), table.len());
            for row in table {
                assert_eq!(row.kind == Kind::Counter, row.prometheus.ends_with("_total"));
            }
        }
        check(SourceMetrics::TABLE);
        check(SinkMetrics::TABLE);
        check(ChannelMetrics::TABLE);
        check(FileMetrics::TABLE);
    }

    #[test]
    fn a_stopped_component_stays_until_replaced() {
        let registry = Registry::default();
        let counters = Counters::new(Role::Source);
        counters.source().events_received.add(3);
        registry.register(
            Role::Source,
            "r1".into(),
            Registered { counters, level: None, hindrance: None },
        );
        let all = registry.all();
        assert_eq!(all[0].1.counters.source().events_received.value(), 3);
        let counters = Counters::new(Role::Source);
        registry.register(
            Role::Source,
            "r1".into(),
            Registered { counters, level: None, hindrance: None },
        );
        let all = registry.all();
        assert_eq!((all.len(), all[0].1.counters.source().events_received.value()), (1, 0));
    }
}
