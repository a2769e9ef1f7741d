//! What frames add up to. Everything in it only grows, so that frames may be folded in any order,
//! more than once, and from several directories: the result is the same.

use std::collections::{BTreeMap, HashMap};

use crate::record::{CursorMeta, LastOf, PutMeta, QueueCursor, TakeMeta, Void};

/// The state of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Each queue: the number that comes next, and which are taken.
    pub queues: BTreeMap<u16, QueueCursor>,
    /// The last batch of each sender.
    pub senders: HashMap<[u8; 16], LastOf>,
    /// Per directory the highest frame that a cursor anywhere has seen synced.
    pub watermarks: Vec<u64>,
    /// What a cursor anywhere says is void; of each directory the newest.
    pub voids: BTreeMap<u16, Void>,
}

impl State {
    /// A put of a frame written at `time`, with what it was exchanged for.
    pub fn put(&mut self, put: &PutMeta, time: u64) {
        for (queue, first) in &put.queues {
            let queue = self.queues.entry(*queue).or_default();
            queue.next = queue.next.max(first + u64::from(put.events));
        }
        if let Some(origin) = &put.origin {
            self.sender(LastOf { origin: origin.clone(), seen: time });
        }
        if let Some(take) = &put.take {
            self.take(take);
        }
    }

    /// A take.
    pub fn take(&mut self, take: &TakeMeta) {
        let queue = self.queues.entry(take.queue).or_default();
        for range in &take.ranges {
            queue.taken.insert(range.clone());
            queue.next = queue.next.max(range.end);
        }
    }

    /// All that a cursor says.
    pub fn cursor(&mut self, cursor: &CursorMeta) {
        for (number, held) in &cursor.queues {
            let queue = self.queues.entry(*number).or_default();
            queue.next = queue.next.max(held.next).max(held.taken.low());
            queue.taken.join(&held.taken);
        }
        for last in &cursor.origins {
            self.sender(last.clone());
        }
        self.watermarks(&cursor.watermarks);
        cursor.voids.iter().for_each(|void| self.void(*void));
    }

    /// The cursor that says all of it, but for the segments.
    pub fn to_cursor(&self, watermarks: Vec<u64>) -> CursorMeta {
        let mut origins: Vec<_> = self.senders.values().cloned().collect();
        origins.sort_unstable_by_key(|last| last.origin.sender);
        CursorMeta {
            queues: self.queues.iter().map(|(id, queue)| (*id, queue.clone())).collect(),
            origins,
            watermarks,
            segments: Vec::new(),
            voids: self.voids.values().copied().collect(),
        }
    }

    /// All that another state knows.
    pub fn join(&mut self, other: &State) {
        for (number, held) in &other.queues {
            let queue = self.queues.entry(*number).or_default();
            queue.next = queue.next.max(held.next);
            queue.taken.join(&held.taken);
        }
        for last in other.senders.values() {
            self.sender(last.clone());
        }
        self.watermarks(&other.watermarks);
        other.voids.values().for_each(|void| self.void(*void));
    }

    fn void(&mut self, void: Void) {
        let known = self.voids.entry(void.directory).or_insert(void);
        *known = (*known).max(void);
    }

    fn sender(&mut self, last: LastOf) {
        let known = self.senders.get(&last.origin.sender);
        if known.is_none_or(|known| known.origin.order() < last.origin.order()) {
            self.senders.insert(last.origin.sender, last);
        }
    }

    fn watermarks(&mut self, seen: &[u64]) {
        if self.watermarks.len() < seen.len() {
            self.watermarks.resize(seen.len(), 0);
        }
        for (known, seen) in self.watermarks.iter_mut().zip(seen) {
            *known = (*known).max(*seen);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ranges::Taken;
    use crate::record::Origin;

    enum Step {
        Put(PutMeta, u64),
        Take(TakeMeta),
        Cursor(CursorMeta),
    }

    #[test]
    #[expect(clippy::single_range_in_vec_init, reason = "one range is what is meant")]
    fn order_and_repetition_make_no_difference() {
        let origin =
            |sequence| Some(Origin { sender: [1; 16], epoch: 1, sequence, position: vec![] });
        let put = |first, events, sequence| PutMeta {
            events,
            queues: vec![(0, first), (1, first)],
            origin: origin(sequence),
            inflated: None,
            take: None,
        };
        let take = Some(TakeMeta { queue: 1, ranges: vec![0..1] });
        let exchanged = PutMeta { queues: vec![(0, 8)], take, ..put(8, 1, 0) };
        let queue = QueueCursor { next: 4, taken: Taken::new(2, [3..4]) };
        let cursor = CursorMeta {
            queues: vec![(0, queue)],
            watermarks: vec![3, 9],
            voids: vec![Void { directory: 1, segment: 4, above: 9 }],
            ..CursorMeta::default()
        };
        let older = CursorMeta {
            voids: vec![Void { directory: 1, segment: 3, above: 12 }],
            ..CursorMeta::default()
        };
        let steps = [
            Step::Put(put(0, 3, 1), 10),
            Step::Put(put(3, 5, 2), 11),
            Step::Take(TakeMeta { queue: 0, ranges: vec![0..2] }),
            Step::Take(TakeMeta { queue: 0, ranges: vec![3..4, 6..7] }),
            Step::Cursor(cursor),
            Step::Cursor(older),
            Step::Put(exchanged, 12),
        ];
        let fold = |order: &[usize]| {
            let mut state = State::default();
            for &step in order {
                match &steps[step] {
                    Step::Put(put, time) => state.put(put, *time),
                    Step::Take(take) => state.take(take),
                    Step::Cursor(cursor) => state.cursor(cursor),
                }
            }
            state
        };
        let want = fold(&[0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(want.queues[&0].next, 9);
        assert_eq!(want.queues[&1].taken, Taken::new(1, []));
        assert_eq!(want.queues[&0].taken, Taken::new(2, [3..4, 6..7]));
        assert_eq!(want.senders[&[1; 16]].origin.sequence, 2);
        assert_eq!(want.voids[&1].segment, 4);
        let orders: [&[usize]; 3] =
            [&[6, 5, 4, 3, 2, 1, 0], &[3, 3, 6, 0, 4, 1, 2, 6, 5, 0, 1], &[1, 4, 5, 6, 0, 2, 3]];
        for order in orders {
            assert_eq!(fold(order), want, "{order:?}");
        }
        let mut joined = fold(&[0, 3]);
        joined.join(&fold(&[1, 2, 4, 5, 6]));
        assert_eq!(joined, want);
    }
}
