//! What all connections of the source hold of messages, and how much of that there may be.
//!
//! A connection reads on while what it put is being stored, up to a limit of its own. Here is the
//! limit of all together: beyond it those wait that have something to wait for. So the source holds
//! at most `MOST_HELD_BYTES`, and of each connection one message that is no longer than `FREE_BYTES`.
//! And as no more than `MOST_AHEAD_BYTES` make a sync worth its time, however many connections there
//! are, beyond that each has one call under way, as behind Flume's source.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use splashdam_core::Size;
use tokio::sync::Notify;

/// What all connections together may hold of messages that are not complete, besides the free part
/// of each.
pub(super) const MOST_BEGUN_BYTES: usize = 256 * 1024 * 1024;
/// The same, with what is on its way into the channels.
pub(super) const MOST_HELD_BYTES: usize = 384 * 1024 * 1024;
/// What may be on its way into the channels while connections that have put something read on.
pub(super) const MOST_AHEAD_BYTES: usize = 8 * 1024 * 1024;
/// What a connection may hold of a message that is not complete, whatever others do.
pub(super) const FREE_BYTES: usize = 64 * 1024;
/// What an event costs in memory besides its bytes.
const EVENT_BYTES: usize = 128;

/// What all hold.
#[derive(Default)]
pub(super) struct Inflow {
    begun: AtomicUsize,
    ahead: AtomicUsize,
    room: Notify,
}

/// What one connection holds; given back when it is dropped.
pub(super) struct Share<'a> {
    all: &'a Inflow,
    begun: usize,
    ahead: usize,
}

/// Clients have begun more than there may be.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "clients have begun messages of more than {MOST_BEGUN_BYTES} bytes in all; lower their batch sizes or maxConnections"
)]
pub(super) struct TooMuch;

impl Inflow {
    /// A connection's share.
    pub(super) fn share(&self) -> Share<'_> {
        Share { all: self, begun: 0, ahead: 0 }
    }

    fn is_crowded(&self) -> bool {
        self.begun.load(Relaxed) + self.ahead.load(Relaxed) > MOST_HELD_BYTES
    }

    fn is_well_ahead(&self) -> bool {
        self.ahead.load(Relaxed) > MOST_AHEAD_BYTES
    }

    fn change(&self, of: &AtomicUsize, before: usize, now: usize) {
        if now > before {
            of.fetch_add(now - before, Relaxed);
        } else if now < before {
            let (crowded, well_ahead) = (self.is_crowded(), self.is_well_ahead());
            of.fetch_sub(before - now, Relaxed);
            if crowded && !self.is_crowded() || well_ahead && !self.is_well_ahead() {
                self.room.notify_waiters();
            }
        }
    }
}

impl Share<'_> {
    /// Counts bytes of a message that is not complete.
    pub(super) fn begun(&mut self, bytes: usize) -> Result<(), TooMuch> {
        let before = std::mem::replace(&mut self.begun, bytes.saturating_sub(FREE_BYTES));
        self.all.change(&self.all.begun, before, self.begun);
        match self.begun > before && self.all.begun.load(Relaxed) > MOST_BEGUN_BYTES {
            true => Err(TooMuch),
            false => Ok(()),
        }
    }

    /// Counts what is on its way into the channels.
    pub(super) fn ahead(&mut self, size: Size) {
        let weight = size.bytes.saturating_add(size.events.saturating_mul(EVENT_BYTES));
        let before = std::mem::replace(&mut self.ahead, weight);
        self.all.change(&self.all.ahead, before, weight);
    }

    /// Whether it has to wait before it reads on.
    pub(super) fn must_wait(&self) -> bool {
        (self.begun > 0 || self.ahead > 0) && self.all.is_crowded()
            || self.ahead > 0 && self.all.is_well_ahead()
    }

    /// Waits until it need not any more. Cancel-safe.
    pub(super) async fn room(&self) {
        loop {
            let mut room = std::pin::pin!(self.all.room.notified());
            room.as_mut().enable();
            if !self.must_wait() {
                return;
            }
            room.await;
        }
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.all.change(&self.all.begun, self.begun, 0);
        self.all.change(&self.all.ahead, self.ahead, 0);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const LARGE: usize = 100 * 1024 * 1024;

    #[test]
    fn who_has_begun_too_much_is_told() {
        let all = Inflow::default();
        let mut shares: Vec<_> = (0..3).map(|_| all.share()).collect();
        assert_eq!(shares[0].begun(LARGE), Ok(()));
        assert_eq!(shares[1].begun(LARGE), Ok(()));
        assert_eq!(shares[2].begun(LARGE), Err(TooMuch));
        // Not who is done with some of it, nor who begins a small one.
        assert_eq!(shares[2].begun(LARGE / 2 + FREE_BYTES), Ok(()));
        assert_eq!(shares[0].begun(LARGE), Ok(()));
        assert_eq!(all.share().begun(FREE_BYTES), Ok(()));
        shares.clear();
        assert_eq!(all.begun.load(Relaxed), 0);
    }

    #[test]
    fn who_has_something_waits_for_the_others() {
        let all = Inflow::default();
        let (mut first, mut second, third) = (all.share(), all.share(), all.share());
        let size = |bytes: usize| Size { events: 1, bytes };
        first.ahead(size(MOST_AHEAD_BYTES - EVENT_BYTES));
        assert!(!first.must_wait());
        second.ahead(size(1));
        assert!(first.must_wait() && second.must_wait());
        assert!(!third.must_wait(), "it has nothing that would give room");
        let mut room = std::pin::pin!(second.room());
        assert!(room.as_mut().now_or_never().is_none());
        first.ahead(size(0));
        assert!(room.as_mut().now_or_never().is_some());
        // Small events weigh more than their bytes.
        first.ahead(Size { events: MOST_AHEAD_BYTES / EVENT_BYTES, bytes: 0 });
        assert!(first.must_wait());
        drop(first);
        assert!(!all.is_well_ahead());
    }

    #[test]
    fn who_has_begun_something_waits_only_in_a_crowd() {
        let all = Inflow::default();
        let (mut first, mut second, third) = (all.share(), all.share(), all.share());
        second.begun(FREE_BYTES + 1).unwrap();
        first.ahead(Size { events: 0, bytes: MOST_HELD_BYTES - 1 });
        assert!(!second.must_wait());
        second.begun(FREE_BYTES + 2).unwrap();
        assert!(second.must_wait() && !third.must_wait());
        let mut room = std::pin::pin!(second.room());
        assert!(room.as_mut().now_or_never().is_none());
        first.ahead(Size { events: 0, bytes: MOST_HELD_BYTES - 2 });
        assert!(room.as_mut().now_or_never().is_some() && !all.is_crowded());
    }
}
