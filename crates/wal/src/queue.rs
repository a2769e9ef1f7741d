//! One queue: which of its events are gone, which are leased, and those that lie in memory.
//!
//! Per event nothing is kept. What was put lately waits in the window, as it was put; when that is
//! full, a [`ReadPlace`] remembers where on disk the rest begins, and what is put meanwhile is only
//! counted. Pure: no IO, no clock, no waiting.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use crate::ranges::{Ranges, Taken};
use crate::record::{QUEUE_CURSOR_BYTES, QueueCursor, RANGE_BYTES, Record};

/// A place in a directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The segment.
    pub segment: u64,
    /// The offset in it.
    pub offset: u64,
}

/// Events and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// How many.
    pub events: u64,
    /// Their bytes at rest.
    pub bytes: u64,
}

impl Count {
    /// Of all these pieces together.
    pub fn of<R: Record>(pieces: &[Piece<R>]) -> Count {
        let mut sum = Count::default();
        pieces.iter().for_each(|piece| sum.add(piece.count()));
        sum
    }

    fn add(&mut self, other: Count) {
        self.events += other.events;
        self.bytes += other.bytes;
    }

    fn sub(&mut self, other: Count) {
        self.events = self.events.saturating_sub(other.events);
        // Bytes of what was there before a start are an estimate; none are left when nothing is.
        self.bytes = match self.events {
            0 => 0,
            _ => self.bytes.saturating_sub(other.bytes),
        };
    }
}

/// How full a queue is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Level {
    /// Waiting to be taken.
    pub queued: Count,
    /// Leased.
    pub leased: Count,
    /// Held for puts that are under way.
    pub reserved: Count,
    /// The most there may be of all that together.
    pub capacity: Count,
}

/// Events in memory: a record as it was put, or a frame's body as it was read.
pub enum Chunk<R> {
    /// As it was put.
    Live(Arc<R>),
    /// As it was read: the bytes, and where each event starts in them and the last one ends.
    Stored(Arc<Vec<u8>>, Arc<Vec<u32>>),
}

impl<R> Clone for Chunk<R> {
    fn clone(&self) -> Self {
        match self {
            Chunk::Live(record) => Chunk::Live(record.clone()),
            Chunk::Stored(bytes, offsets) => Chunk::Stored(bytes.clone(), offsets.clone()),
        }
    }
}

impl<R: Record> Chunk<R> {
    /// Bytes at rest of one event.
    pub fn event_bytes(&self, event: usize) -> usize {
        match self {
            Chunk::Live(record) => record.event_bytes(event),
            Chunk::Stored(_, offsets) => (offsets[event + 1] - offsets[event]) as usize,
        }
    }

    fn count(&self, events: &Range<usize>) -> Count {
        let bytes = match self {
            Chunk::Live(record) => events.clone().map(|event| record.event_bytes(event)).sum(),
            Chunk::Stored(_, offsets) => (offsets[events.end] - offsets[events.start]) as usize,
        };
        Count { events: events.len() as u64, bytes: bytes as u64 }
    }
}

/// A run of events of one chunk.
pub struct Piece<R> {
    /// The queue's number of the first event.
    pub first: u64,
    /// Where the events are.
    pub chunk: Chunk<R>,
    /// Which of the chunk's events.
    pub events: Range<usize>,
    /// The directory they are in.
    pub directory: usize,
}

impl<R: Record> Piece<R> {
    /// The queue's numbers of the events.
    pub fn numbers(&self) -> Range<u64> {
        self.first..self.first + self.events.len() as u64
    }

    /// How many, and their bytes.
    pub fn count(&self) -> Count {
        self.chunk.count(&self.events)
    }

    fn part(&self, events: Range<usize>) -> Piece<R> {
        Piece {
            first: self.first + (events.start - self.events.start) as u64,
            chunk: self.chunk.clone(),
            events,
            directory: self.directory,
        }
    }
}

/// From where on events are on disk only.
pub struct ReadPlace<R> {
    /// Per directory the frame to be read next.
    pub at: Vec<Place>,
    /// Per directory what was read and not yet handed on.
    pub heads: Vec<std::collections::VecDeque<Piece<R>>>,
    /// All published numbers below have been handed on.
    pub expected: u64,
}

/// What a reader works with while the queue is not locked.
pub struct Errand<R> {
    /// The place, to be given back.
    pub place: ReadPlace<R>,
    /// Per directory up to where frames are published.
    pub ends: Vec<Place>,
    /// Numbers given to puts that are under way.
    pub in_flight: Ranges,
    /// The next number to be given.
    pub next: u64,
    /// Bytes the window has room for.
    pub room: usize,
}

/// A queue.
pub struct Queue<R> {
    taken: Taken,
    next: u64,
    in_flight: Ranges,
    leased: Ranges,
    /// Taken only since a reader did not find them, and no cursor has said so yet: a later start
    /// may find them.
    skipped: Ranges,
    window: BTreeMap<u64, Piece<R>>,
    window_bytes: usize,
    most_window_bytes: usize,
    reader: Option<ReadPlace<R>>,
    /// Whether somebody reads on its behalf just now.
    reading: bool,
    ends: Vec<Place>,
    level: Level,
}

/// What a piece in the window costs besides its bytes, and each of its events.
const PIECE_BYTES: usize = 128;
const OFFSET_BYTES: usize = 4;
/// The same for a record as it was put, as far as can be known here.
const LIVE_PIECE_BYTES: usize = 384;
const LIVE_EVENT_BYTES: usize = 64;

impl<R: Record> Queue<R> {
    /// A queue as recovery found it: per directory its first segment that matters to it, and
    /// where the frames of this run begin.
    pub fn new(
        cursor: QueueCursor,
        queued_bytes: u64,
        starts: Vec<Place>,
        ends: Vec<Place>,
        capacity: Count,
        most_window_bytes: usize,
    ) -> Queue<R> {
        let expected = cursor.taken.low();
        let above = cursor.taken.above().count();
        let events = cursor.next.saturating_sub(expected).saturating_sub(above);
        let heads = starts.iter().map(|_| Default::default()).collect();
        let bytes = if events == 0 { 0 } else { queued_bytes };
        Queue {
            taken: cursor.taken,
            next: cursor.next.max(expected),
            in_flight: Ranges::default(),
            leased: Ranges::default(),
            skipped: Ranges::default(),
            window: BTreeMap::new(),
            window_bytes: 0,
            most_window_bytes,
            reader: (events > 0).then_some(ReadPlace { at: starts, heads, expected }),
            reading: false,
            ends,
            level: Level { queued: Count { events, bytes }, capacity, ..Level::default() },
        }
    }

    /// Reading goes up to here: where the frames of this run begin.
    pub fn begin(&mut self, ends: &[Place]) {
        self.ends = ends.to_vec();
    }

    /// What a cursor says of it.
    pub fn cursor(&self) -> QueueCursor {
        QueueCursor { next: self.next, taken: self.taken.clone() }
    }

    /// Bytes of that on disk.
    pub fn cursor_bytes(&self) -> usize {
        QUEUE_CURSOR_BYTES + RANGE_BYTES * self.taken.above().len()
    }

    /// The lowest number not taken.
    pub fn low(&self) -> u64 {
        self.taken.low()
    }

    /// Every number below this one is gone, and no start finds any of them again.
    pub fn settled_low(&self) -> u64 {
        self.skipped.iter().next().map_or(self.low(), |first| first.start.min(self.low()))
    }

    /// What a reader skipped and no cursor has written down yet.
    pub fn skipped(&self) -> Ranges {
        self.skipped.clone()
    }

    /// A cursor that says that these are gone is durable.
    pub fn skipped_for_good(&mut self, numbers: &Ranges) {
        numbers.iter().for_each(|range| self.skipped.remove(range));
    }

    /// How full it is.
    pub fn level(&self) -> Level {
        self.level
    }

    /// Holds room for a put, if there is any.
    pub fn reserve(&mut self, count: Count) -> bool {
        let Level { queued, leased, reserved, capacity } = self.level;
        let fits = |held: [u64; 3], more: u64, most: u64| {
            held.iter()
                .try_fold(more, |sum, held| sum.checked_add(*held))
                .is_some_and(|sum| sum <= most)
        };
        let ok =
            fits([queued.events, leased.events, reserved.events], count.events, capacity.events)
                && fits([queued.bytes, leased.bytes, reserved.bytes], count.bytes, capacity.bytes);
        if ok {
            self.level.reserved.add(count);
        }
        ok
    }

    /// Holds more room, whether there is any or not.
    pub fn widen(&mut self, count: Count) {
        self.level.reserved.add(count);
    }

    /// Changes the most it holds; what is more than that stays.
    pub fn set_capacity(&mut self, capacity: Count) {
        self.level.capacity = capacity;
    }

    /// Per directory up to where what was put into it is published.
    pub fn ends(&self) -> &[Place] {
        &self.ends
    }

    /// Gives room back.
    pub fn release(&mut self, count: Count) {
        let reserved = &mut self.level.reserved;
        reserved.events = reserved.events.saturating_sub(count.events);
        reserved.bytes = reserved.bytes.saturating_sub(count.bytes);
    }

    /// Gives numbers to a put that is about to be written.
    pub fn number(&mut self, events: u64) -> u64 {
        let first = self.next;
        self.next += events;
        self.in_flight.insert(first..self.next);
        first
    }

    /// A put failed: its numbers are given again, or never. With several directories never, since
    /// the dead frame of one must not meet a good frame with the same numbers in another.
    pub fn withdraw(&mut self, numbers: Range<u64>) {
        self.in_flight.remove(numbers.clone());
        if self.next == numbers.end && self.ends.len() == 1 {
            self.next = numbers.start;
        } else {
            self.taken.insert(numbers);
        }
    }

    /// A put is durable: its events may be taken.
    pub fn publish(&mut self, piece: Piece<R>, at: Place, end: Place) {
        let (numbers, count, directory) = (piece.numbers(), piece.count(), piece.directory);
        assert!(numbers.end <= self.next, "only numbers that were given are published");
        self.in_flight.remove(numbers);
        self.level.queued.add(count);
        let bytes = cost(&piece);
        if self.reader.is_none() && !self.reading {
            if self.window.is_empty() || self.window_bytes + bytes <= self.most_window_bytes {
                self.window_bytes += bytes;
                self.window.insert(piece.first, piece);
            } else {
                let mut places = self.ends.clone();
                places[directory] = at;
                let heads = places.iter().map(|_| Default::default()).collect();
                self.reader = Some(ReadPlace { at: places, heads, expected: piece.first });
            }
        }
        self.ends[directory] = end;
    }

    /// Leases from the head up to `most`; at least one event if any is in memory.
    pub fn lease(&mut self, most: Count) -> Vec<Piece<R>> {
        let (mut leased, mut so_far) = (Vec::new(), Count::default());
        while let Some(entry) = self.window.first_entry() {
            let piece = entry.get();
            let mut end = piece.events.start;
            while end < piece.events.end {
                let bytes = so_far.bytes + piece.chunk.event_bytes(end) as u64;
                let fits = so_far.events < most.events && bytes <= most.bytes;
                if !fits && so_far.events > 0 {
                    break;
                }
                so_far.add(Count { events: 1, bytes: bytes - so_far.bytes });
                end += 1;
            }
            if end == piece.events.start {
                break;
            }
            let piece = entry.remove();
            self.window_bytes -= cost(&piece);
            if end < piece.events.end {
                let rest = piece.part(end..piece.events.end);
                self.window_bytes += cost(&rest);
                self.window.insert(rest.first, rest);
                leased.push(piece.part(piece.events.start..end));
                break;
            }
            leased.push(piece);
        }
        for piece in &leased {
            self.leased.insert(piece.numbers());
        }
        self.level.queued.sub(so_far);
        self.level.leased.add(so_far);
        leased
    }

    /// A lease's events are gone for good.
    pub fn take(&mut self, numbers: &[Range<u64>], count: Count) {
        for range in numbers {
            self.taken.insert(range.clone());
            self.leased.remove(range.clone());
        }
        self.level.leased.sub(count);
    }

    /// A lease's events return to their place.
    pub fn restore(&mut self, pieces: Vec<Piece<R>>) {
        for piece in pieces {
            let count = piece.count();
            self.leased.remove(piece.numbers());
            self.level.leased.sub(count);
            self.level.queued.add(count);
            self.window_bytes += cost(&piece);
            self.window.insert(piece.first, piece);
        }
    }

    /// Whether events are in memory.
    pub fn ready(&self) -> bool {
        !self.window.is_empty()
    }

    /// Whether there is something to be read and room for it.
    pub fn wants_reading(&self) -> bool {
        self.reader.is_some() && !self.reading && self.window_bytes < self.most_window_bytes / 2
    }

    /// What a reader needs to know, if there is something to be read and room for it.
    pub fn send_reader(&mut self) -> Option<Errand<R>> {
        if !self.wants_reading() {
            return None;
        }
        self.reading = true;
        Some(Errand {
            place: self.reader.take()?,
            ends: self.ends.clone(),
            in_flight: self.in_flight.clone(),
            next: self.next,
            room: self.most_window_bytes.saturating_sub(self.window_bytes),
        })
    }

    /// Takes what a reader brought: events, and numbers that no frame has. Says how many events
    /// those skip.
    pub fn receive(
        &mut self,
        place: ReadPlace<R>,
        pieces: Vec<Piece<R>>,
        void: Vec<Range<u64>>,
    ) -> u64 {
        for piece in pieces {
            // Some may have been taken before the last start.
            for numbers in self.taken.missing(piece.numbers()) {
                let offset = |number: u64| {
                    piece.events.start + usize::try_from(number - piece.first).unwrap_or(usize::MAX)
                };
                let part = piece.part(offset(numbers.start)..offset(numbers.end));
                self.window_bytes += cost(&part);
                self.window.insert(part.first, part);
            }
        }
        let mut skipped = 0;
        if !void.is_empty() {
            // What came while another directory was slow may lie in memory out of order.
            let mut here = self.leased.clone();
            for piece in self.window.values() {
                here.insert(piece.numbers());
            }
            for range in void.into_iter().flat_map(|range| here.missing(range)) {
                for fresh in self.taken.missing(range) {
                    skipped += self.taken.insert(fresh.clone());
                    self.skipped.insert(fresh);
                }
            }
        }
        self.level.queued.sub(Count { events: skipped, bytes: 0 });
        self.reading = false;
        let idle = place.heads.iter().all(std::collections::VecDeque::is_empty)
            && place.at.iter().zip(&self.ends).all(|(at, end)| at >= end);
        self.reader = (!idle).then_some(place);
        skipped
    }

    /// Takes a reader back that brought nothing because the log stopped.
    pub fn dismiss(&mut self, place: ReadPlace<R>) {
        self.reading = false;
        self.reader = Some(place);
    }
}

/// What a piece takes in memory: a record as it was put comes in many small parts.
fn cost<R: Record>(piece: &Piece<R>) -> usize {
    let count = piece.count();
    let (events, bytes) = [count.events, count.bytes]
        .map(|number| usize::try_from(number).unwrap_or(usize::MAX))
        .into();
    let beside = match piece.chunk {
        Chunk::Live(_) => LIVE_PIECE_BYTES.saturating_add(events.saturating_mul(LIVE_EVENT_BYTES)),
        Chunk::Stored(..) => PIECE_BYTES.saturating_add(events.saturating_mul(OFFSET_BYTES)),
    };
    bytes.saturating_add(beside)
}
