//! A sink processor decides which sink of a group works next.

use std::time::Instant;

/// A sink of the group, by its index in the group's `sinks` list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SinkId(pub usize);

/// How a delivery went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Went {
    /// The destination has the batch (Flume's READY), or there was nothing to deliver.
    Delivered,
    /// The sink asked for time and keeps its place (Flume's BACKOFF without an exception).
    BackedOff,
    /// The sink failed (Flume's exception).
    Failed,
}

/// Picks sinks and learns how they fare. Time comes in as an argument; nothing waits here.
pub trait SinkProcessor: Send {
    /// The sink for the next batch, or for the same batch after those in `tried` failed; `None`
    /// when nobody is left to try now.
    fn pick(&mut self, now: Instant, tried: &[SinkId]) -> Option<SinkId>;
    /// Learns how the picked sink fared.
    fn settle(&mut self, now: Instant, sink: SinkId, went: Went);
}
