//! Takes: from the place whose turn it is, and back to it.

use std::sync::Arc;

use splashdam_core::{Batch, BoxFuture, ChannelError, Size, Take};
use tokio::time::timeout;

use super::order::{Store, Ticket};
use super::{Inner, Leased, State, Used, slots_of};
use crate::channels::file::Held;

/// Leases from one place, waiting no longer than `overflowTimeout` for an event.
pub(super) async fn lease(inner: &Arc<Inner>, limit: Size) -> Result<Box<dyn Take>, ChannelError> {
    let wait = inner.state().limits.wait;
    match timeout(wait, inner.when(|| try_lease(inner, limit))).await {
        Ok(Ok(lease)) => Ok(Box::new(lease)),
        Ok(Err(error)) => Err(error),
        Err(_) => {
            let inner = inner.clone();
            Ok(Box::new(Lease { inner, id: None, batch: Batch::default(), held: None }))
        }
    }
}

fn try_lease(inner: &Arc<Inner>, limit: Size) -> Result<Option<Lease>, ChannelError> {
    let mut state = inner.state();
    if state.closed {
        return Err(inner.closed_error());
    }
    inner.follow(&mut state);
    let limit = Size { events: limit.events.min(state.limits.transaction_events), ..limit };
    while let Some(head) = state.order.head(limit.events as u64) {
        let limit = Size { events: usize::try_from(head.events).unwrap_or(usize::MAX), ..limit };
        let queue = match (head.store, &inner.overflow) {
            (Store::Overflow, Some(log)) => &log.main,
            (Store::Kept, Some(log)) => &log.kept,
            _ => {
                let Some(run) = state.memory.take(limit) else {
                    state.order.drop_first();
                    continue;
                };
                let batch = run.batch.clone();
                let ticket = state.order.take(batch.len() as u64);
                let lease = state.lend(Leased { ticket, run: Some(run) });
                drop(state);
                // Another taker may find more.
                inner.changed.notify_waiters();
                return Ok(Some(Lease {
                    inner: inner.clone(),
                    id: Some(lease),
                    batch,
                    held: None,
                }));
            }
        };
        let Some(log) = &state.log else { return Ok(None) };
        match queue.try_lease_in(log, limit)? {
            Some(held) => {
                let ticket = state.order.take(held.events());
                let id = Some(state.lend(Leased { ticket, run: None }));
                let (batch, held) = (Batch::default(), Some(Box::new(held)));
                return Ok(Some(Lease { inner: inner.clone(), id, batch, held }));
            }
            // The log may not hold what was stored in it: damaged events are skipped.
            None if queue.is_empty_in(log) => drop(state.order.drop_first()),
            None => return Ok(None),
        }
    }
    Ok(None)
}

impl State {
    fn lend(&mut self, leased: Leased) -> u64 {
        let id = self.next_lease;
        self.next_lease += 1;
        self.leases.insert(id, leased);
        id
    }
}

/// Events of one place, or none when nothing came.
struct Lease {
    inner: Arc<Inner>,
    /// Among the leases of the channel.
    id: Option<u64>,
    /// From memory.
    batch: Batch,
    /// From the log.
    held: Option<Box<Held>>,
}

impl Take for Lease {
    fn batch(&self) -> &Batch {
        self.held.as_ref().map_or(&self.batch, |held| held.batch())
    }

    fn commit(mut self: Box<Self>) -> BoxFuture<'static, Result<(), ChannelError>> {
        let Some(id) = self.id.take() else { return Box::pin(std::future::ready(Ok(()))) };
        let inner = self.inner.clone();
        let mut state = inner.state();
        // A channel that closes took all leases back.
        let Some(leased) = state.leases.remove(&id) else {
            drop(state);
            return Box::pin(std::future::ready(Err(inner.closed_error())));
        };
        let Some(held) = self.held.take() else {
            let slots = slots_of(&self.batch, state.limits.slot_bytes);
            state.memory.forget(&self.batch);
            state.release(Used { events: self.batch.len(), slots });
            drop(state);
            inner.changed.notify_waiters();
            return Box::pin(std::future::ready(Ok(())));
        };
        state.under_way += 1;
        let life = state.life;
        drop(state);
        let mut settling = Settling { inner, life, ticket: Some(leased.ticket) };
        let told = Box::new(move |done: bool| {
            if done {
                settling.ticket = None;
            }
            drop(settling);
        });
        held.telling(told).commit()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(id) = self.id else { return };
        // Its store has the events again before the order says so.
        drop(self.held.take());
        drop(std::mem::take(&mut self.batch));
        {
            let mut state = self.inner.state();
            if let Some(leased) = state.leases.remove(&id) {
                state.put_back(leased);
            }
        }
        self.inner.changed.notify_waiters();
    }
}

/// A take that the log was asked to commit.
struct Settling {
    inner: Arc<Inner>,
    life: u64,
    /// What returns if it fails.
    ticket: Option<Ticket>,
}

impl Drop for Settling {
    fn drop(&mut self) {
        {
            let mut state = self.inner.state();
            if let Some(ticket) = self.ticket.take().filter(|_| state.life == self.life) {
                state.order.put_back(ticket);
            }
            state.under_way -= 1;
        }
        self.inner.changed.notify_waiters();
    }
}
