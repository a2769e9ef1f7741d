//! A sink processor decides which sink of a group works next.

use std::time::Instant;

/// A sink of the group, by its index in the group's `sinks` list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SinkId(pub usize);

/// How a delivery went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Went {
    /// The destination has the batch (Flume's READY).
    Delivered,
    /// There was nothing to deliver, so that nobody knows.
    Idle,
    /// The sink asked for time and keeps its place (Flume's BACKOFF without an exception).
    BackedOff,
    /// The sink failed (Flume's exception).
    Failed,
}

/// Picks sinks and learns how they fare. Time comes in as an argument; nothing waits here.
pub trait SinkProcessor: Send {
    /// A round begins: the next batch goes to one sink after the other until somebody takes it.
    fn begin(&mut self, _now: Instant) {}
    /// The sink for the round's batch, but for those in `tried`, which failed in this round or have nothing to
    /// deliver; `None` when nobody is left to try now.
    fn pick(&mut self, now: Instant, tried: &[SinkId]) -> Option<SinkId>;
    /// Learns how the picked sink fared.
    fn settle(&mut self, now: Instant, sink: SinkId, went: Went);
}
