//! Puts: into memory while there is room, into the overflow when there was none for long enough.

use std::sync::Arc;

use futures_util::FutureExt;
use splashdam_core::pipeline::Lane;
use splashdam_core::{Batch, BoxFuture, ChannelError, Put, Refused, Size};
use tokio::time::timeout;

use super::config::Limits;
use super::order::Store;
use super::{Inner, State, Used, slots_of};
use crate::channels::file::RoomHeld;

/// Holds room in one place, waiting no longer than `overflowTimeout`.
pub(super) async fn hold(inner: &Arc<Inner>, size: Size) -> Result<Box<dyn Put>, ChannelError> {
    let held = seek(inner, size).await;
    let mut state = inner.state();
    match &held {
        Ok(_) => state.refused = None,
        Err(error) if error.is_final() => {}
        Err(_) => state.refused = Some(state.wanted(size, false)),
    }
    held
}

async fn seek(inner: &Arc<Inner>, size: Size) -> Result<Box<dyn Put>, ChannelError> {
    let limits = inner.state().limits;
    if size.events > limits.transaction_events {
        return Err(ChannelError::TooLarge {
            channel: inner.name.clone(),
            events: size.events,
            capacity: limits.transaction_events,
        });
    }
    let wait = async {
        let _turn = inner.turn.lock().await;
        inner.when(|| try_hold(inner, size)).await
    };
    if let Ok(held) = timeout(limits.wait, wait).await {
        return held;
    }
    if let Some(held) = try_hold(inner, size)? {
        return Ok(held);
    }
    if inner.overflow.is_some() {
        inner.state().spilling = true;
        // Whoever waits for room in memory need not do so any more.
        inner.changed.notify_waiters();
        if let Some(held) = try_hold(inner, size)? {
            return Ok(held);
        }
    }
    // Where the disk is full, more capacity would not help.
    let disk_full = inner.overflow.as_ref().and_then(|log| log.main.disk_full());
    Err(disk_full.unwrap_or_else(|| ChannelError::Full {
        channel: inner.name.clone(),
        events: size.events,
        waited: limits.wait,
    }))
}

fn try_hold(inner: &Arc<Inner>, size: Size) -> Result<Option<Box<dyn Put>>, ChannelError> {
    let room = |used| -> Box<dyn Put> { Box::new(MemoryRoom { inner: inner.clone(), used }) };
    let overflows = {
        let mut state = inner.state();
        if state.closed {
            return Err(inner.closed_error());
        }
        let whole = inner.overflow.is_none();
        let wanted = state.wanted(size, whole);
        let calm = !state.spilling || state.is_calm();
        if let Some(used) = calm.then(|| state.reserve(wanted)).flatten() {
            state.spilling = false;
            return Ok(Some(room(used)));
        }
        state.spilling || !state.could_hold(wanted)
    };
    let Some(log) = inner.overflow.as_ref().filter(|_| overflows) else { return Ok(None) };
    // The overflow never waits by itself: it answers at once, or has no room.
    match log.main.hold(size).now_or_never() {
        Some(Ok(held)) => return Ok(Some(Box::new(LogRoom { inner: inner.clone(), held }))),
        Some(Err(ChannelError::Full { .. } | ChannelError::DiskFull { .. })) | None => {}
        Some(Err(error)) => return Err(error),
    }
    // Little room in memory is better than none at all.
    let mut state = inner.state();
    let wanted = state.wanted(size, false);
    Ok(state.reserve(wanted).map(room))
}

impl State {
    /// Bodies are not at hand yet: the slots of the whole are estimated from above, and what was
    /// too much goes back at the commit. Where there is memory only, a batch larger than that
    /// takes all of it.
    fn wanted(&self, size: Size, whole: bool) -> Used {
        let Limits { slots, slot_bytes, .. } = self.limits;
        let wanted = (size.bytes / slot_bytes).saturating_add(size.events);
        Used { events: size.events, slots: if whole { wanted.min(slots) } else { wanted } }
    }

    /// Whether this would fit if memory were empty.
    fn could_hold(&self, wanted: Used) -> bool {
        wanted.events <= self.limits.memory_events && wanted.slots <= self.limits.slots
    }

    /// Whether enough of memory is free for the overflow to end.
    fn is_calm(&self) -> bool {
        let free = |used: usize, most: usize| {
            let wanted = most as u128 * self.limits.free_percent as u128;
            most.saturating_sub(used) as u128 * 100 >= wanted
        };
        free(self.used.events, self.limits.memory_events)
            && free(self.used.slots, self.limits.slots)
    }

    /// What would be used with this, if it fits.
    fn with(&self, wanted: Used) -> Option<Used> {
        let events = self.used.events.checked_add(wanted.events)?;
        let slots = self.used.slots.checked_add(wanted.slots)?;
        let fits = events <= self.limits.memory_events && slots <= self.limits.slots;
        fits.then_some(Used { events, slots })
    }

    pub(super) fn has_room(&self, wanted: Used) -> bool {
        self.with(wanted).is_some()
    }

    fn reserve(&mut self, wanted: Used) -> Option<Used> {
        self.used = self.with(wanted)?;
        Some(wanted)
    }

    pub(super) fn release(&mut self, used: Used) {
        self.used.events = self.used.events.saturating_sub(used.events);
        self.used.slots = self.used.slots.saturating_sub(used.slots);
    }
}

/// Room in memory.
struct MemoryRoom {
    inner: Arc<Inner>,
    used: Used,
}

impl Put for MemoryRoom {
    fn commit(self: Box<Self>, batch: Batch) -> BoxFuture<'static, Result<(), Refused>> {
        Box::pin(std::future::ready(self.place(batch)))
    }
}

impl MemoryRoom {
    fn place(mut self, batch: Batch) -> Result<(), Refused> {
        if batch.is_empty() {
            return Ok(());
        }
        let events = batch.len();
        assert!(events <= self.used.events, "a batch larger than the room that was held for it");
        {
            let mut state = self.inner.state();
            if state.closed {
                drop(state);
                return Err(Refused { batch, error: self.inner.closed_error() });
            }
            let slots = slots_of(&batch, state.limits.slot_bytes);
            state.release(std::mem::take(&mut self.used));
            state.used.events += events;
            state.used.slots += slots;
            state.memory.put(batch, 0);
            state.order.push(Store::Memory, events as u64);
        }
        self.inner.changed.notify_waiters();
        Ok(())
    }
}

impl Drop for MemoryRoom {
    fn drop(&mut self) {
        if self.used != Used::default() {
            self.inner.state().release(self.used);
            self.inner.changed.notify_waiters();
        }
    }
}

/// Room in the overflow.
struct LogRoom {
    inner: Arc<Inner>,
    held: Box<RoomHeld>,
}

impl Put for LogRoom {
    fn in_lane(&mut self, lane: Lane) {
        self.held.in_lane(lane);
    }

    fn commit(self: Box<Self>, batch: Batch) -> BoxFuture<'static, Result<(), Refused>> {
        let LogRoom { inner, held } = *self;
        if batch.is_empty() {
            return Box::pin(std::future::ready(Ok(())));
        }
        let (life, number) = {
            let mut state = inner.state();
            if state.closed {
                drop(state);
                let error = inner.closed_error();
                return Box::pin(std::future::ready(Err(Refused { batch, error })));
            }
            inner.follow(&mut state);
            state.under_way += 1;
            (state.life, state.order.push_pending(Store::Overflow, batch.len() as u64))
        };
        let mut settling = Settling { inner, life, number, there: false };
        let told = Box::new(move |there| {
            settling.there = there;
            drop(settling);
        });
        // Batches of one sender go to both places, so the log must not take it that what it lacks
        // it had before.
        let origin = batch.origin().cloned();
        let commit = held.telling(told).commit(batch.with_origin(None));
        Box::pin(async move {
            commit.await.map_err(|Refused { batch, error }| Refused {
                batch: batch.with_origin(origin),
                error,
            })
        })
    }
}

/// A put that the log was asked for.
struct Settling {
    inner: Arc<Inner>,
    life: u64,
    number: u64,
    there: bool,
}

impl Drop for Settling {
    fn drop(&mut self) {
        {
            let mut state = self.inner.state();
            if state.life == self.life {
                state.order.settle(self.number, self.there);
            }
            state.under_way -= 1;
        }
        self.inner.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use splashdam_core::{Channel, Component, Role};
    use splashdam_testkit::{context, events};
    use tempfile::{TempDir, tempdir};
    use tokio::time::{Instant, sleep};

    use super::*;
    use crate::channels::spillable::Spillable;
    use crate::channels::spillable::tests::{put, read, take};

    /// A channel with room for 100 events in memory.
    async fn open(least_free: i64) -> (Spillable, TempDir) {
        let dir = tempdir().unwrap();
        let keys = format!(
            "dataDirs = {}\nmaxFileSize = 1048576\nminimumRequiredSpace = {least_free}\n\
             memoryCapacity = 100\noverflowCapacity = 1000\ntransactionCapacity = 100\n\
             overflowTimeout = 0",
            dir.path().display(),
        );
        (Spillable::open(read(&keys), context(Role::Channel)).await.unwrap(), dir)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_full_disk_is_named_as_soon_as_it_keeps_a_batch_out() {
        let (channel, _dir) = open(i64::MAX / 2).await;
        let log = channel.0.overflow.as_ref().unwrap();
        let begun = Instant::now();
        while log.main.hindrance().is_none() {
            assert!(begun.elapsed() < Duration::from_secs(20), "the disk is full");
            sleep(Duration::from_millis(5)).await;
        }
        let is_hindered = || {
            let hindrance = channel.hindrance();
            let right = |why: &String| why.starts_with("its disk is full");
            assert!(hindrance.as_ref().is_none_or(right), "{hindrance:?}");
            hindrance.is_some()
        };
        put(&channel, events(0, 95)).await.unwrap();
        assert!(!is_hindered(), "memory takes more");
        let refused = put(&channel, events(95, 10)).await.unwrap_err();
        assert!(matches!(refused, ChannelError::DiskFull { .. }), "{refused}");
        assert!(is_hindered());
        put(&channel, events(95, 4)).await.unwrap();
        assert!(!is_hindered(), "what was put last went in");
        put(&channel, events(99, 60)).await.unwrap_err();
        assert!(is_hindered());
        // There is room for the same again.
        take(&channel, 60).await;
        assert!(!is_hindered());
        // No disk makes room for that.
        let refused = put(&channel, events(99, 101)).await.unwrap_err();
        assert!(matches!(refused, ChannelError::TooLarge { .. }), "{refused}");
        assert!(!is_hindered());
        put(&channel, events(99, 61)).await.unwrap();
        assert!(is_hindered(), "memory is full");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_log_that_stopped_is_named_as_soon_as_it_keeps_a_batch_out() {
        let (channel, _dir) = open(1 << 20).await;
        put(&channel, events(0, 95)).await.unwrap();
        channel.0.overflow.as_ref().unwrap().main.open_log().close();
        assert_eq!(channel.hindrance(), None);
        put(&channel, events(95, 10)).await.unwrap_err();
        let hindrance = channel.hindrance().expect("it takes nothing");
        assert!(hindrance.starts_with("its log has stopped"), "{hindrance}");
        put(&channel, events(95, 5)).await.unwrap();
        take(&channel, 60).await;
        assert_eq!(channel.hindrance(), None);
    }
}
