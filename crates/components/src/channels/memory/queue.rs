//! The events of a memory channel in order, and what is owed of its room.
//!
//! However large a put and however small the takes, each event moves once on its way out: the rest
//! of a run is never copied down.

use std::collections::{BTreeSet, VecDeque};
use std::vec::IntoIter;

use splashdam_core::{Batch, Event, Size};

use super::SLOT_BYTES;

#[derive(Default)]
pub(in crate::channels) struct Queue {
    runs: VecDeque<Waiting>,
    /// The number of the next event to be put.
    next: u64,
    pub(in crate::channels) queued: Size,
    pub(in crate::channels) leased: Size,
    /// First numbers of what is leased, where the channel keeps count of them.
    pub(in crate::channels) out: BTreeSet<u64>,
    /// Slots that bodies in the channel take beyond all there are; see [`super::Memory::hold`].
    overdraft: usize,
    /// What the channel has beyond what its configuration says, since it became smaller.
    pub(in crate::channels) owed: Space,
    pub(in crate::channels) closed: bool,
}

/// Space in a channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::channels) struct Space {
    pub(in crate::channels) places: usize,
    pub(in crate::channels) slots: usize,
}

/// Events that were put one after the other, numbered from `first`, so that what is rolled back
/// finds its place again.
pub(in crate::channels) struct Run {
    pub(in crate::channels) first: u64,
    pub(in crate::channels) batch: Batch,
}

/// A run in the queue; never empty.
struct Waiting {
    first: u64,
    events: Events,
}

enum Events {
    /// As they were put.
    Whole(Batch),
    /// What is left of a batch.
    Rest(IntoIter<Event>),
}

/// Slots that a batch takes: each body rounded up to whole slots, at least one.
pub(in crate::channels) fn slots_of(batch: &Batch) -> usize {
    batch.events().iter().map(|e| e.body.len().div_ceil(SLOT_BYTES).max(1)).sum()
}

impl Queue {
    pub(in crate::channels) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    pub(in crate::channels) fn put(&mut self, batch: Batch, overdraft: usize) {
        let first = self.next;
        self.next += batch.len() as u64;
        self.queued += batch.size();
        self.overdraft += overdraft;
        self.runs.push_back(Waiting { first, events: Events::Whole(batch) });
    }

    /// Takes up to `limit` off the head: whole runs as they lie where they fit, joined where they
    /// follow each other. A gap, left by another lease, ends the take.
    pub(in crate::channels) fn take(&mut self, limit: Size) -> Option<Run> {
        let mut taken = self.split_head(limit)?;
        loop {
            let left = limit - taken.batch.size();
            let follows = taken.first + taken.batch.len() as u64;
            let fits = self.runs.front().is_some_and(|head| {
                let bytes = head.events.as_slice().first().map_or(0, Event::bytes);
                head.first == follows && left.events > 0 && bytes <= left.bytes
            });
            match fits.then(|| self.split_head(left)).flatten() {
                Some(more) => taken.batch.append(more.batch),
                None => break,
            }
        }
        self.queued = self.queued - taken.batch.size();
        self.leased += taken.batch.size();
        Some(taken)
    }

    /// Every event numbered below this is gone for good, if the channel keeps count of what is out.
    pub(in crate::channels) fn low(&self) -> u64 {
        let waiting = self.runs.front().map_or(self.next, |head| head.first);
        self.out.first().map_or(waiting, |leased| waiting.min(*leased))
    }

    fn split_head(&mut self, limit: Size) -> Option<Run> {
        let head = self.runs.front_mut()?;
        let run = Run { first: head.first, batch: head.events.split_front(limit) };
        head.first += run.batch.len() as u64;
        if head.events.as_slice().is_empty() {
            self.runs.pop_front();
        }
        Some(run)
    }

    /// Takes back what was leased, unless nobody can take it any more.
    pub(in crate::channels) fn put_back(&mut self, run: Run) {
        self.leased = self.leased - run.batch.size();
        if self.closed {
            return;
        }
        self.queued += run.batch.size();
        let place = self.runs.partition_point(|other| other.first < run.first);
        let waiting = Waiting { first: run.first, events: Events::Whole(run.batch) };
        self.runs.insert(place, waiting);
    }

    /// Forgets what was leased and says how much room comes free.
    pub(in crate::channels) fn forget(&mut self, batch: &Batch) -> Space {
        self.leased = self.leased - batch.size();
        let slots = slots_of(batch);
        let overdrawn = self.overdraft.min(slots);
        self.overdraft -= overdrawn;
        self.owed.pay(batch.len(), slots - overdrawn)
    }

    /// Lets go of all that is queued; what is leased goes with its leases.
    pub(in crate::channels) fn close(&mut self) {
        self.closed = true;
        self.runs = VecDeque::new();
        self.queued = Size::ZERO;
    }
}

impl Space {
    /// Pays what is owed out of room that comes free; the rest of that.
    pub(in crate::channels) fn pay(&mut self, places: usize, slots: usize) -> Space {
        let paid = Space { places: self.places.min(places), slots: self.slots.min(slots) };
        self.places -= paid.places;
        self.slots -= paid.slots;
        Space { places: places - paid.places, slots: slots - paid.slots }
    }
}

impl Events {
    fn as_slice(&self) -> &[Event] {
        match self {
            Events::Whole(batch) => batch.events(),
            Events::Rest(rest) => rest.as_slice(),
        }
    }

    /// Takes off the front what fits in `limit`, at least one event if there is any.
    fn split_front(&mut self, limit: Size) -> Batch {
        let rest = match self {
            Events::Whole(batch) if batch.size().fits(limit) => return std::mem::take(batch),
            Events::Whole(batch) => std::mem::take(batch).into_events().into_iter(),
            Events::Rest(rest) => std::mem::take(rest),
        };
        let mut rest = rest;
        let mut front = Batch::with_capacity(limit.events.min(rest.len()));
        while let Some(event) = rest.as_slice().first() {
            let next = front.size() + Size { events: 1, bytes: event.bytes() };
            if !front.is_empty() && !next.fits(limit) {
                break;
            }
            rest.next().into_iter().for_each(|event| front.push(event));
        }
        *self = Events::Rest(rest);
        front
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_a_put_stays_where_it_is() {
        let mut queue = Queue::default();
        queue.put((0..1000).map(|n: u32| Event::new(n.to_string())).collect(), 0);
        let mut lies_at = None;
        let mut seen = 0;
        while let Some(run) = queue.take(Size::events(100)) {
            assert_eq!((run.first, run.batch.len()), (seen, 100));
            for event in run.batch.events() {
                assert_eq!(event.body, seen.to_string());
                seen += 1;
            }
            // The last event of the put lies where it lay after the first take.
            let last = queue.runs.back().and_then(|run| run.events.as_slice().last());
            if let Some(last) = last {
                let at = std::ptr::from_ref(last);
                assert_eq!(*lies_at.get_or_insert(at), at, "the rest was moved");
            }
            queue.forget(&run.batch);
        }
        assert_eq!((seen, queue.queued, queue.leased), (1000, Size::ZERO, Size::ZERO));
    }

    #[test]
    fn the_front_holds_what_fits_and_at_least_one() {
        let check = |limit: Size, want: &[usize]| {
            let bodies = ["aaaa", "bb", "c"];
            let mut events = Events::Whole(bodies.iter().map(|body| Event::new(*body)).collect());
            let mut got = Vec::new();
            while !events.as_slice().is_empty() {
                got.push(events.split_front(limit).len());
            }
            assert_eq!(got, want, "{limit:?}");
        };
        check(Size::events(2), &[2, 1]);
        check(Size::events(9), &[3]);
        check(Size { events: 9, bytes: 6 }, &[2, 1]);
        check(Size { events: 9, bytes: 3 }, &[1, 2]);
        check(Size { events: 0, bytes: 0 }, &[1, 1, 1]);
    }
}
