//! A sink hands batches to a destination; the runner owns the lease.

use std::future::{Future, ready};

use crate::component::open;
use crate::{Batch, BoxFuture, Component, DeliverError, Entry, Size};

/// Delivers batches.
pub trait Sink: Sized + Send + 'static {
    /// Whether deliveries hold up their thread, with writes to local files for instance. The
    /// group of such a sink has a thread of its own, as every sink of Flume's has: handing each
    /// batch to another thread and waiting for it costs two wake-ups, which on a virtual machine
    /// take longer than to write the batch.
    const BLOCKS: bool = false;

    /// The most that one delivery takes.
    fn limit(&self) -> Size;

    /// Events of a full batch, as it was configured, by which batches are counted. Fewer than the limit where one
    /// delivery takes several batches.
    fn batch_events(&self) -> usize {
        self.limit().events
    }

    /// `Ok` means the destination has it and the lease may be committed. Not cancelled by the
    /// runner, but for the end of the grace time.
    fn deliver(
        &mut self,
        batch: &Batch,
    ) -> impl Future<Output = Result<Delivered, DeliverError>> + Send;

    /// Called while idle and between batches: time to roll a file, refresh a login.
    fn tick(&mut self) -> impl Future<Output = Result<(), DeliverError>> + Send {
        ready(Ok(()))
    }

    /// Finishes what is open.
    fn close(self) -> impl Future<Output = Result<(), DeliverError>> + Send {
        ready(Ok(()))
    }
}

/// What became of a batch that need not be sent again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// Events that count as delivered (Flume's `EventDrainSuccessCount`).
    pub events: usize,
    /// Whether to back off before the next batch, as a sink may that could not place the batch.
    pub pause: bool,
    /// Events that are given up, in the order of the batch and none of them among `events`. They go
    /// to the channel of dead letters, or away where there is none. A sink that would rather hold
    /// them than see them go looks at [`Context::dead_letters`](crate::Context::dead_letters) first.
    pub rejected: Vec<Rejected>,
}

/// An event that the destination or a serializer refuses, however often it is tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Its place in the batch.
    pub at: usize,
    /// What is wrong with it, for a header and for the log.
    pub why: String,
}

impl Delivered {
    /// Every event of `batch` was delivered.
    pub fn all(batch: &Batch) -> Self {
        Delivered { events: batch.len(), pause: false, rejected: Vec::new() }
    }

    /// Every event of `batch` was delivered but these.
    pub fn all_but(batch: &Batch, rejected: Vec<Rejected>) -> Self {
        let events = batch.len().saturating_sub(rejected.len());
        Delivered { events, pause: false, rejected }
    }
}

/// A [`Sink`] as the registry holds it.
pub trait DynSink: Send {
    /// See [`Sink::limit`].
    fn limit(&self) -> Size;
    /// See [`Sink::batch_events`].
    fn batch_events(&self) -> usize;
    /// See [`Sink::deliver`].
    fn deliver<'a>(
        &'a mut self,
        batch: &'a Batch,
    ) -> BoxFuture<'a, Result<Delivered, DeliverError>>;
    /// See [`Sink::tick`].
    fn tick(&mut self) -> BoxFuture<'_, Result<(), DeliverError>>;
    /// See [`Sink::close`].
    fn close(self: Box<Self>) -> BoxFuture<'static, Result<(), DeliverError>>;
}

impl<S: Sink> DynSink for S {
    fn limit(&self) -> Size {
        Sink::limit(self)
    }
    fn batch_events(&self) -> usize {
        Sink::batch_events(self)
    }
    fn deliver<'a>(
        &'a mut self,
        batch: &'a Batch,
    ) -> BoxFuture<'a, Result<Delivered, DeliverError>> {
        Box::pin(Sink::deliver(self, batch))
    }
    fn tick(&mut self) -> BoxFuture<'_, Result<(), DeliverError>> {
        Box::pin(Sink::tick(self))
    }
    fn close(self: Box<Self>) -> BoxFuture<'static, Result<(), DeliverError>> {
        Box::pin(Sink::close(*self))
    }
}

impl Entry<dyn DynSink> {
    /// A line of the list of sinks.
    pub const fn sink<C: Component + Sink>() -> Self {
        let entry = Entry::new::<C>(|section, cx| {
            Box::pin(async move { Ok(Box::new(open::<C>(section, cx).await?) as Box<dyn DynSink>) })
        });
        entry.with_blocks(C::BLOCKS)
    }
}
