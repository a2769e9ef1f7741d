//! In which order the events of several stores were put: Flume's drain order queue.
//!
//! Nothing is kept per event. Each store hands its events out in order and takes them back to their
//! place, so that a count per run is enough: the first event of a store's first run is the first
//! event in that store. Pure: no waiting, no locks.

use std::collections::BTreeMap;

/// Where events are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Store {
    /// In memory.
    Memory,
    /// In the overflow.
    Overflow,
    /// In the log too, since memory was written down at a stop.
    Kept,
}

/// Events of one store that were put one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    store: Store,
    events: u64,
    /// Its commit is under way: nothing may pass it.
    pending: bool,
}

/// What is at the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Where.
    pub(super) store: Store,
    /// How many events lie there until another store's turn comes; at least 1.
    pub(super) events: u64,
}

/// Numbers of events that left the order; they find their place again by them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    /// Where the events are.
    pub(super) store: Store,
    /// The first number and how many follow, in order.
    ranges: Vec<(u64, u64)>,
}

impl Ticket {
    /// Of events whose place is known otherwise.
    pub(super) fn of_nothing(store: Store) -> Ticket {
        Ticket { store, ranges: Vec::new() }
    }

    /// Before which others its events were.
    pub(super) fn first(&self) -> u64 {
        self.ranges.first().map_or(u64::MAX, |(first, _)| *first)
    }

    /// How many events.
    pub(super) fn events(&self) -> u64 {
        self.ranges.iter().map(|(_, events)| events).sum()
    }
}

/// The order.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// By the number of their first event.
    runs: BTreeMap<u64, Run>,
    next: u64,
}

impl Order {
    /// Adds events at the end and answers their first number.
    pub(super) fn push(&mut self, store: Store, events: u64) -> u64 {
        let first = self.next;
        self.next += events;
        self.insert(first, store, events);
        first
    }

    /// Adds events at the end whose commit is under way.
    pub(super) fn push_pending(&mut self, store: Store, events: u64) -> u64 {
        let first = self.next;
        self.next += events;
        self.runs.insert(first, Run { store, events, pending: true });
        first
    }

    /// The events that were pending under this number are there, or never will be.
    pub(super) fn settle(&mut self, first: u64, there: bool) {
        let Some(run) = self.runs.remove(&first) else { return };
        if there {
            self.insert(first, run.store, run.events);
        }
    }

    /// The store whose turn it is, and for how many events, counted up to `most`. `None` when there
    /// is nothing, or nothing yet.
    pub(super) fn head(&self, most: u64) -> Option<Head> {
        let mut runs = self.runs.values();
        let first = runs.next().filter(|run| !run.pending)?;
        let mut events = first.events;
        for run in runs.take_while(|run| run.store == first.store && !run.pending) {
            if events >= most {
                break;
            }
            events += run.events;
        }
        Some(Head { store: first.store, events: events.min(most.max(1)) })
    }

    /// Takes the first `events` events out, which are all at the [`Order::head`].
    pub(super) fn take(&mut self, events: u64) -> Ticket {
        let mut ticket = Ticket { store: Store::Memory, ranges: Vec::new() };
        let mut left = events;
        while left > 0
            && let Some((first, run)) = self.runs.pop_first()
        {
            assert!(!run.pending, "what is pending is not taken");
            ticket.store = run.store;
            let part = run.events.min(left);
            left -= part;
            ticket.ranges.push((first, part));
            if part < run.events {
                self.runs.insert(first + part, Run { events: run.events - part, ..run });
            }
        }
        ticket
    }

    /// Events return to their place.
    pub(super) fn put_back(&mut self, ticket: Ticket) {
        for (first, events) in ticket.ranges {
            self.insert(first, ticket.store, events);
        }
    }

    /// Forgets the first run: its store says that the events are not there.
    pub(super) fn drop_first(&mut self) -> u64 {
        self.runs.pop_first().map_or(0, |(_, run)| run.events)
    }

    /// Stores and how many events of theirs follow each other.
    pub(super) fn runs(&self) -> impl Iterator<Item = (Store, u64)> + '_ {
        self.runs.values().map(|run| (run.store, run.events))
    }

    /// Runs that follow each other without a gap become one, so that a long queue is a short list.
    fn insert(&mut self, first: u64, store: Store, events: u64) {
        let (mut first, mut events) = (first, events);
        let joins = |run: &Run| run.store == store && !run.pending;
        if let Some((before, run)) = self.runs.range(..first).next_back()
            && joins(run)
            && before + run.events == first
        {
            (first, events) = (*before, run.events + events);
        }
        if let Some(run) = self.runs.get(&(first + events)).copied().filter(joins) {
            self.runs.remove(&(first + events));
            events += run.events;
        }
        self.runs.insert(first, Run { store, events, pending: false });
    }
}

#[cfg(test)]
mod tests {
    use super::Store::{Kept, Memory, Overflow};
    use super::*;

    fn order(runs: &[(Store, u64)]) -> Order {
        let mut order = Order::default();
        for (store, events) in runs {
            order.push(*store, *events);
        }
        order
    }

    fn runs(order: &Order) -> Vec<(Store, u64)> {
        order.runs().collect()
    }

    #[test]
    fn runs_of_one_store_become_one() {
        let check = |put: &[(Store, u64)], want: &[(Store, u64)]| {
            assert_eq!(runs(&order(put)), want, "{put:?}");
        };
        check(&[(Memory, 1), (Memory, 2)], &[(Memory, 3)]);
        check(
            &[(Kept, 4), (Memory, 1), (Overflow, 2), (Overflow, 3), (Memory, 1)],
            &[(Kept, 4), (Memory, 1), (Overflow, 5), (Memory, 1)],
        );
    }

    #[test]
    fn the_head_ends_at_the_next_store_and_before_what_is_pending() {
        let mut order = order(&[(Memory, 3)]);
        let pending = order.push_pending(Overflow, 5);
        order.push(Memory, 2);
        assert_eq!(order.head(9), Some(Head { store: Memory, events: 3 }));
        assert_eq!(order.head(2), Some(Head { store: Memory, events: 2 }));
        order.take(3);
        assert_eq!(order.head(9), None);
        order.settle(pending, true);
        assert_eq!(order.head(9), Some(Head { store: Overflow, events: 5 }));
        let failed = order.push_pending(Overflow, 7);
        order.settle(failed, false);
        order.push(Memory, 1);
        order.take(5);
        assert_eq!(order.head(9), Some(Head { store: Memory, events: 3 }), "across a gap");
        assert_eq!(runs(&order), [(Memory, 2), (Memory, 1)]);
    }

    #[test]
    fn what_is_put_back_finds_its_place() {
        let put = [(Memory, 4), (Overflow, 4), (Memory, 4)];
        let mut order = order(&put);
        let parts = [2, 2, 3, 1, 4].map(|events| order.take(events));
        assert_eq!(runs(&order), []);
        let [a, b, c, d, e] = parts;
        for ticket in [d, a, e] {
            order.put_back(ticket);
        }
        assert_eq!(runs(&order), [(Memory, 2), (Overflow, 1), (Memory, 4)]);
        let again = order.take(1);
        for ticket in [c, b, again] {
            order.put_back(ticket);
        }
        assert_eq!(runs(&order), put);
    }

    #[test]
    fn a_take_across_a_gap_returns_to_both_sides() {
        let mut order = order(&[(Memory, 6)]);
        let (first, gap) = (order.take(2), order.take(2));
        order.put_back(first);
        let across = order.take(4);
        assert_eq!(across.ranges, [(0, 2), (4, 2)]);
        order.put_back(gap);
        order.put_back(across);
        assert_eq!(runs(&order), [(Memory, 6)]);
    }
}
