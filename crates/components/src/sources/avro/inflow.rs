//! What all connections of the source hold of messages, and how much of that there may be.
//!
//! A connection reads on while what it put is being stored, up to a limit of its own. Here is the
//! limit of all together: beyond it those wait that have something to wait for. So the source holds
//! at most `MOST_HELD_BYTES`, of each connection one message that is no longer than `FREE_BYTES`, and
//! one message more: where all that is held is parts of messages, one connection after the other may
//! read its own to the end, as else all would wait for each other. And as no more than
//! `MOST_AHEAD_BYTES` make a sync worth its time, however many connections there are, beyond that each
//! has one call under way, as behind Flume's source.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use splashdam_core::Size;
use tokio::sync::Notify;

/// What all connections together may hold of messages that are not complete, besides the free part
/// of each.
pub(super) const MOST_BEGUN_BYTES: usize = 256 * 1024 * 1024;
/// The same, with what is on its way into the channels.
pub(super) const MOST_HELD_BYTES: usize = 384 * 1024 * 1024;
/// What may be on its way into the channels while connections that have put something read on.
pub(super) const MOST_AHEAD_BYTES: usize = 4 * 1024 * 1024;
/// What a connection may hold of a message that is not complete, whatever others do.
pub(super) const FREE_BYTES: usize = 64 * 1024;
/// What an event costs in memory besides its bytes.
const EVENT_BYTES: usize = 128;
/// What a header costs besides its bytes: two texts, each a slice of its message.
const HEADER_BYTES: usize = 64;

/// What all hold.
pub(super) struct Inflow {
    most_begun: usize,
    begun: AtomicUsize,
    ahead: AtomicUsize,
    /// Whether somebody may read on whatever all hold.
    has_leader: AtomicBool,
    waiting: AtomicUsize,
    room: Notify,
}

/// What one connection holds; given back when it is dropped.
pub(super) struct Share<'a> {
    all: &'a Inflow,
    begun: usize,
    ahead: usize,
    /// Whether it is the one that may read on.
    leads: bool,
}

impl Default for Inflow {
    fn default() -> Self {
        Inflow::of(MOST_BEGUN_BYTES)
    }
}

impl Inflow {
    /// With this limit of what has begun.
    pub(super) fn of(most_begun: usize) -> Self {
        Inflow {
            most_begun,
            begun: AtomicUsize::new(0),
            ahead: AtomicUsize::new(0),
            has_leader: AtomicBool::new(false),
            waiting: AtomicUsize::new(0),
            room: Notify::new(),
        }
    }

    /// A connection's share.
    pub(super) fn share(&self) -> Share<'_> {
        Share { all: self, begun: 0, ahead: 0, leads: false }
    }

    fn is_crowded(&self) -> bool {
        self.begun.load(SeqCst) + self.ahead.load(SeqCst) > MOST_HELD_BYTES
    }

    fn has_begun_too_much(&self) -> bool {
        self.begun.load(SeqCst) > self.most_begun
    }

    fn is_well_ahead(&self) -> bool {
        self.ahead.load(SeqCst) > MOST_AHEAD_BYTES
    }

    fn change(&self, of: &AtomicUsize, before: usize, now: usize) {
        if now > before {
            of.fetch_add(now - before, SeqCst);
        } else if now < before {
            let full = || (self.is_crowded(), self.is_well_ahead());
            let was_full = full();
            of.fetch_sub(before - now, SeqCst);
            if was_full != full() {
                self.room.notify_waiters();
            }
        }
    }
}

impl Share<'_> {
    /// Counts bytes of a message that is not complete.
    pub(super) fn begun(&mut self, bytes: usize) {
        let before = std::mem::replace(&mut self.begun, bytes.saturating_sub(FREE_BYTES));
        self.all.change(&self.all.begun, before, self.begun);
        // Fewer than before: the message is complete, and this is of another one.
        if self.begun < before {
            self.completed();
        }
    }

    /// Counts what is on its way into the channels, with so many headers.
    pub(super) fn ahead(&mut self, size: Size, headers: usize) {
        let weight = size.bytes.saturating_add(size.events.saturating_mul(EVENT_BYTES));
        let weight = weight.saturating_add(headers.saturating_mul(HEADER_BYTES));
        let before = std::mem::replace(&mut self.ahead, weight);
        self.all.change(&self.all.ahead, before, weight);
    }

    /// Whether it has to wait before it reads on.
    pub(super) fn must_wait(&mut self) -> bool {
        let crowded = (self.begun > 0 || self.ahead > 0) && self.all.is_crowded();
        let is_ahead = self.ahead > 0 && self.all.is_well_ahead();
        let others = self.waits_for_others();
        if self.leads || !(crowded || is_ahead || others) {
            return false;
        }
        self.leads = others && !self.all.has_leader.swap(true, SeqCst);
        !self.leads
    }

    /// Whether others must complete or give up what they have begun before it can go on.
    pub(super) fn waits_for_others(&self) -> bool {
        self.begun > 0 && self.all.has_begun_too_much()
    }

    /// A message is complete or given up: who waits for that may go on, or lead.
    fn completed(&mut self) {
        let led = std::mem::take(&mut self.leads);
        if led {
            self.all.has_leader.store(false, SeqCst);
        }
        // Asked after the change, as who waits says so before it looks.
        if self.all.waiting.load(SeqCst) > 0 && (led || !self.all.has_begun_too_much()) {
            self.all.room.notify_waiters();
        }
    }

    /// Waits until it need not any more. Cancel-safe.
    pub(super) async fn room(&mut self) {
        let all = self.all;
        let _waits = Waits::of(all);
        loop {
            let mut room = std::pin::pin!(all.room.notified());
            room.as_mut().enable();
            if !self.must_wait() {
                return;
            }
            room.await;
        }
    }
}

/// That one waits, until it is dropped.
struct Waits<'a>(&'a Inflow);

impl<'a> Waits<'a> {
    fn of(all: &'a Inflow) -> Self {
        all.waiting.fetch_add(1, SeqCst);
        Waits(all)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, SeqCst);
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.all.change(&self.all.begun, self.begun, 0);
        self.all.change(&self.all.ahead, self.ahead, 0);
        if self.begun > 0 || self.leads {
            self.completed();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const LARGE: usize = 100 * 1024 * 1024;

    #[test]
    fn where_too_much_has_begun_one_after_the_other_goes_on() {
        let all = Inflow::default();
        let mut shares: Vec<_> = (0..4).map(|_| all.share()).collect();
        let waits = |shares: &mut Vec<Share<'_>>| -> Vec<bool> {
            shares.iter_mut().map(Share::must_wait).collect()
        };
        shares[0].begun(LARGE);
        shares[1].begun(LARGE);
        assert_eq!(waits(&mut shares), [false; 4]);
        shares[2].begun(LARGE);
        // Who begins a small one need not wait, and one of the others does not either.
        shares[3].begun(FREE_BYTES);
        assert_eq!(waits(&mut shares), [false, true, true, false]);
        shares[0].begun(2 * LARGE);
        assert_eq!(waits(&mut shares), [false, true, true, false]);
        // It is through, and begins another one.
        shares[0].begun(LARGE);
        assert_eq!(waits(&mut shares), [false, true, true, false], "any of them");
        drop(shares.remove(0));
        assert_eq!(waits(&mut shares), [false, false, false]);
        shares.clear();
        assert_eq!((all.begun.load(SeqCst), all.has_leader.load(SeqCst)), (0, false));
    }

    #[test]
    fn who_waits_is_woken_when_the_one_that_goes_on_is_through() {
        let all = Inflow::of(0);
        let (mut first, mut second) = (all.share(), all.share());
        first.begun(2 * FREE_BYTES);
        second.begun(2 * FREE_BYTES);
        assert!(!first.must_wait() && second.must_wait());
        let mut room = Box::pin(second.room());
        assert!(room.as_mut().now_or_never().is_none());
        first.begun(0);
        assert!(room.as_mut().now_or_never().is_some());
        drop(room);
        first.begun(2 * FREE_BYTES);
        assert!(first.must_wait() && !second.must_wait());
        drop(second);
        assert!(!first.must_wait());
    }

    #[test]
    fn who_has_something_waits_for_the_others() {
        let all = Inflow::default();
        let (mut first, mut second, mut third) = (all.share(), all.share(), all.share());
        let size = |bytes: usize| Size { events: 1, bytes };
        first.ahead(size(MOST_AHEAD_BYTES - EVENT_BYTES), 0);
        assert!(!first.must_wait());
        second.ahead(size(1), 0);
        assert!(first.must_wait() && second.must_wait());
        assert!(!third.must_wait(), "it has nothing that would give room");
        let mut room = std::pin::pin!(second.room());
        assert!(room.as_mut().now_or_never().is_none());
        first.ahead(size(0), 0);
        assert!(room.as_mut().now_or_never().is_some());
        // Small events weigh more than their bytes.
        first.ahead(Size { events: MOST_AHEAD_BYTES / EVENT_BYTES, bytes: 0 }, 0);
        assert!(first.must_wait());
        // So do small headers.
        first.ahead(size(0), 0);
        assert!(!first.must_wait());
        first.ahead(size(0), MOST_AHEAD_BYTES / HEADER_BYTES);
        assert!(first.must_wait());
        drop(first);
        assert!(!all.is_well_ahead());
    }

    #[test]
    fn who_has_begun_something_waits_only_in_a_crowd() {
        let all = Inflow::default();
        let (mut first, mut second, mut third) = (all.share(), all.share(), all.share());
        second.begun(FREE_BYTES + 1);
        first.ahead(Size { events: 0, bytes: MOST_HELD_BYTES - 1 }, 0);
        assert!(!second.must_wait());
        second.begun(FREE_BYTES + 2);
        assert!(second.must_wait() && !third.must_wait());
        let mut room = std::pin::pin!(second.room());
        assert!(room.as_mut().now_or_never().is_none());
        first.ahead(Size { events: 0, bytes: MOST_HELD_BYTES - 2 }, 0);
        assert!(room.as_mut().now_or_never().is_some() && !all.is_crowded());
    }
}
