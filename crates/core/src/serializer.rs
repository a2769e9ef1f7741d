//! A serializer turns events into the bytes of a file.

use bytes::BytesMut;

use crate::Event;

/// Whether the file is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The file is empty: write its header.
    Created,
    /// The file has content of an earlier run.
    Reopened,
}

/// An event could not be written in this format; nothing of it was appended.
#[derive(Debug, thiserror::Error)]
#[error("event {index} of the batch cannot be serialized: {reason}")]
pub struct SerializeError {
    /// Its place in the slice that was handed over.
    pub index: usize,
    /// What was in the way.
    pub reason: String,
    /// Whether it would be in the way at every later try, too.
    pub for_good: bool,
}

/// Writes events. One serializer serves one sink, file after file. Synchronous.
pub trait Serializer: Send {
    /// A file begins: `out` is its first bytes.
    fn start(&mut self, out: &mut BytesMut, start: Start);
    /// Appends `events` to `out`. On an error the events before `index` are in `out`.
    fn write(&mut self, events: &[Event], out: &mut BytesMut) -> Result<(), SerializeError>;
    /// Whatever is still held back goes to `out`, so that a reader of the file sees every event
    /// written so far. Called at the end of each batch.
    fn flush(&mut self, _out: &mut BytesMut) {}
    /// The file ends.
    fn finish(&mut self, out: &mut BytesMut);
    /// Whether it can continue a file that it wrote earlier.
    fn reopens(&self) -> bool;
}
