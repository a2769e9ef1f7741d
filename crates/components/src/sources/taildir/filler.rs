//! Batches on their way from the thread that reads to the task that puts, and the blocks of
//! memory that their events are slices of.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use splashdam_core::{Batch, Event};
use tokio::sync::mpsc;

use super::positions::Change;
use super::tailed::BLOCK_BYTES;

/// Bytes of bodies at which a batch is full, whatever `batchSize` says.
pub(super) const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// Events and bytes that are worth a wake-up.
const SEND_EVENTS: usize = 8192;
pub(super) const SEND_BYTES: usize = 1024 * 1024;
/// Bytes of bodies on their way, unless what is sent at once is more.
pub(super) const AHEAD_BYTES: usize = 8 * 1024 * 1024;
/// Files that go on within one batch: an origin has room for about twice as many.
const MOST_FILES: usize = 100;
/// Blocks remembered for use again.
const MOST_BLOCKS: usize = 16;

/// A batch, and what is true once it is committed.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) batch: Batch,
    pub(super) changes: Vec<Change>,
    /// Bytes of the bodies.
    pub(super) bytes: usize,
}

/// Batches that were sent at once.
#[derive(Debug)]
pub(super) struct Parcel {
    pub(super) turns: Vec<Turn>,
    /// What they take of the budget until they are put.
    pub(super) loan: Loan,
}

/// The bytes on their way.
#[derive(Debug, Default)]
struct Budget {
    lent: Mutex<usize>,
    returned: Condvar,
}

impl Budget {
    /// Waits until there is room for `bytes`, or nothing is on its way. Loans come back when
    /// parcels are dropped, so also when nobody takes them any more.
    fn lend(self: &Arc<Self>, bytes: usize) -> Loan {
        let lent = self.lent.lock().unwrap_or_else(PoisonError::into_inner);
        let full = |lent: &mut usize| *lent > 0 && lent.saturating_add(bytes) > AHEAD_BYTES;
        let mut lent = self.returned.wait_while(lent, full).unwrap_or_else(PoisonError::into_inner);
        *lent = lent.saturating_add(bytes);
        Loan { budget: self.clone(), bytes }
    }
}

/// Some of the budget, given back when dropped.
#[derive(Debug, Default)]
pub(super) struct Loan {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Drop for Loan {
    fn drop(&mut self) {
        let mut lent = self.budget.lent.lock().unwrap_or_else(PoisonError::into_inner);
        *lent = lent.saturating_sub(self.bytes);
        self.budget.returned.notify_one();
    }
}

/// Nobody takes batches any more.
#[derive(Debug)]
pub(super) struct Ended;

/// Fills batches and sends them.
#[derive(Debug)]
pub(super) struct Filler {
    to: mpsc::Sender<Parcel>,
    budget: Arc<Budget>,
    batch_size: usize,
    events: Vec<Event>,
    bytes: usize,
    changes: Vec<Change>,
    /// Batches that go together, so that small ones do not cost a wake-up each.
    turns: Vec<Turn>,
    turns_events: usize,
    turns_bytes: usize,
    /// When the first event was pushed that was not sent yet.
    since: Option<Instant>,
}

impl Filler {
    pub(super) fn new(to: mpsc::Sender<Parcel>, batch_size: usize) -> Self {
        Filler {
            to,
            budget: Arc::default(),
            batch_size,
            events: Vec::new(),
            bytes: 0,
            changes: Vec::new(),
            turns: Vec::new(),
            turns_events: 0,
            turns_bytes: 0,
            since: None,
        }
    }

    /// Adds an event; `true` when the batch is full.
    pub(super) fn push(&mut self, event: Event) -> bool {
        if self.events.is_empty() {
            self.events.reserve(self.batch_size.min(4096));
        }
        self.since.get_or_insert_with(Instant::now);
        self.bytes += event.body.len();
        self.events.push(event);
        self.events.len() >= self.batch_size
            || self.bytes >= BATCH_BYTES
            || self.changes.len() >= MOST_FILES
    }

    /// Notes what is true once all events pushed before are committed.
    pub(super) fn note(&mut self, change: Change) {
        self.changes.push(change);
    }

    /// Ends the batch, and sends it when there is enough to send.
    pub(super) fn seal(&mut self) -> Result<(), Ended> {
        if self.events.is_empty() && self.changes.is_empty() {
            return Ok(());
        }
        self.turns_events += self.events.len();
        let bytes = std::mem::take(&mut self.bytes);
        self.turns_bytes += bytes;
        let batch = Batch::from(std::mem::take(&mut self.events));
        self.turns.push(Turn { batch, changes: std::mem::take(&mut self.changes), bytes });
        if self.turns_events >= SEND_EVENTS || self.turns_bytes >= SEND_BYTES {
            return self.send();
        }
        Ok(())
    }

    /// When the first event was pushed of those that were not sent yet.
    pub(super) fn waits_since(&self) -> Option<Instant> {
        self.since
    }

    /// Sends all there is. Blocks while others wait already.
    pub(super) fn send(&mut self) -> Result<(), Ended> {
        if !self.events.is_empty() || !self.changes.is_empty() {
            self.seal()?;
        }
        if self.turns.is_empty() {
            return Ok(());
        }
        self.since = None;
        let loan = self.budget.lend(self.turns_bytes);
        (self.turns_events, self.turns_bytes) = (0, 0);
        let parcel = Parcel { turns: std::mem::take(&mut self.turns), loan };
        self.to.blocking_send(parcel).map_err(|_| Ended)
    }
}

/// Memory to read into. A block comes back when the last event that is a slice of it is gone.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    free: Vec<Vec<u8>>,
    lent: VecDeque<Bytes>,
}

impl Blocks {
    /// An empty block with room for `bytes` at least.
    pub(super) fn take(&mut self, bytes: usize) -> Vec<u8> {
        // Room beside the block for what is read again to be recognised.
        const ROOM: usize = BLOCK_BYTES + super::print::TAIL_BYTES;
        if bytes > ROOM {
            return Vec::with_capacity(bytes);
        }
        while self.lent.front().is_some_and(Bytes::is_unique) {
            if let Some(block) = self.lent.pop_front() {
                self.give_back(Vec::from(block));
            }
        }
        self.free.pop().unwrap_or_else(|| Vec::with_capacity(ROOM))
    }

    /// A block that is not needed after all.
    pub(super) fn give_back(&mut self, mut block: Vec<u8>) {
        if block.capacity() >= BLOCK_BYTES
            && block.capacity() < 2 * BLOCK_BYTES
            && self.free.len() < 4
        {
            block.clear();
            self.free.push(block);
        }
    }

    /// Turns what was read into bytes to slice. Only the first `used` of them will be: where that
    /// is a small part of the block they are copied, so that a short line does not hold a block.
    pub(super) fn freeze(&mut self, block: Vec<u8>, used: usize) -> Bytes {
        if used < block.capacity() / 4 {
            let copy = Bytes::copy_from_slice(&block[..used]);
            self.give_back(block);
            return copy;
        }
        let bytes = Bytes::from(block);
        if bytes.len() <= 2 * BLOCK_BYTES && self.lent.len() < MOST_BLOCKS {
            let mut kept = bytes.clone();
            // Kept short, as coming back copies what is kept of it.
            kept.truncate(1);
            self.lent.push_back(kept);
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_used_again_once_its_slices_are_gone() {
        let mut blocks = Blocks::default();
        let mut block = blocks.take(BLOCK_BYTES);
        block.resize(block.capacity() - 1, 7);
        let place = block.as_ptr();
        let frozen = blocks.freeze(block, BLOCK_BYTES);
        let slice = frozen.slice(10..20);
        drop(frozen);
        let other = blocks.take(BLOCK_BYTES);
        assert_ne!(other.as_ptr(), place);
        assert_eq!(slice, [7; 10].as_slice());
        drop(slice);
        let again = blocks.take(BLOCK_BYTES);
        assert_eq!((again.as_ptr(), again.len()), (place, 0));
    }

    #[test]
    fn what_is_on_its_way_is_bounded() {
        const LINE: usize = AHEAD_BYTES / 2 + 1;
        let (to, mut parcels) = mpsc::channel(10);
        let mut filler = Filler::new(to, 1);
        let sender = std::thread::spawn(move || {
            for _ in 0..3 {
                assert!(filler.push(Event { body: vec![7; LINE].into(), ..Event::default() }));
                filler.seal()?;
            }
            Ok::<_, Ended>(filler.budget)
        });
        for _ in 0..3 {
            let parcel = parcels.blocking_recv().unwrap();
            assert_eq!(parcel.turns.len(), 1);
            // Given the time to be sent, the next waits all the same.
            std::thread::sleep(std::time::Duration::from_millis(50));
            assert!(parcels.is_empty());
            drop(parcel);
        }
        let budget = sender.join().unwrap().unwrap();
        assert_eq!(*budget.lent.lock().unwrap(), 0);
    }

    #[test]
    fn nobody_waits_for_room_when_nobody_takes() {
        let (to, parcels) = mpsc::channel(10);
        let mut filler = Filler::new(to, 1);
        let mut send = move || {
            filler.push(Event { body: vec![7; AHEAD_BYTES].into(), ..Event::default() });
            filler.seal()
        };
        send().unwrap();
        let waiting = std::thread::spawn(send);
        std::thread::sleep(std::time::Duration::from_millis(20));
        drop(parcels);
        assert!(waiting.join().unwrap().is_err());
    }

    #[test]
    fn a_small_part_of_a_block_is_copied() {
        let mut blocks = Blocks::default();
        let mut block = blocks.take(BLOCK_BYTES);
        block.resize(100, 7);
        let place = block.as_ptr();
        let copy = blocks.freeze(block, 50);
        assert_eq!(copy.len(), 50);
        let again = blocks.take(BLOCK_BYTES);
        assert_eq!(again.as_ptr(), place);
    }
}
