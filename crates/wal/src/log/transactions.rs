//! What is open on a log: room held for a put, and events that are leased. Dropping either is a
//! rollback.

use std::ops::Range;
use std::sync::Arc;

use super::{Log, PutDone, Shared, TakeDone};
use crate::committer::{PutRequest, Request, TakeRequest, Taking};
use crate::error::CommitError;
use crate::homes::{Home, Lane};
use crate::options::sabotaged;
use crate::queue::{Count, Piece};
use crate::record::{Body, MOST_POSITION, Origin, Record};

/// Room held in some queues. Dropping it gives the room back.
#[must_use]
pub struct Room<R: Record> {
    pub(super) log: Arc<Shared<R>>,
    pub(super) queues: Vec<u16>,
    pub(super) count: Count,
    pub(super) lane: Option<Lane>,
}

impl<R: Record> Room<R> {
    /// The log in which it is held.
    pub fn log(&self) -> Log<R> {
        Log(self.log.clone())
    }

    /// Holds more, whatever the capacity in bytes: for a batch that was let in by an estimate.
    pub fn widen(&mut self, bytes: u64) {
        let more = Count { events: 0, bytes: bytes.saturating_sub(self.count.bytes) };
        for queue in &self.queues {
            self.log.slots.at(*queue).lock().widen(more);
        }
        self.count.bytes += more.bytes;
    }

    /// What is put here without an origin goes into this lane.
    pub fn set_lane(&mut self, lane: Lane) {
        self.lane = Some(lane);
    }

    /// Puts a record into all queues that room is held in, and tells `done` when it is durable.
    /// It is encoded and checksummed here, on the caller's thread.
    pub fn put(mut self, record: Arc<R>, origin: Option<Origin>, done: PutDone) {
        let lane = self.lane.take().filter(|_| origin.is_none());
        let fits = origin.as_ref().is_none_or(|origin| origin.position.len() <= MOST_POSITION);
        let Some(body) = self.body(&record).filter(|_| fits) else {
            if let Some(origin) = &origin {
                self.log.hold_up(origin);
            }
            if let Some(lane) = lane {
                lane.end();
            }
            drop(self);
            return done(Err(CommitError::Unfit));
        };
        let home = match (&origin, &lane) {
            (Some(origin), _) => Some(Home::of(&self.log, origin.sender)),
            (None, Some(lane)) if !sabotaged!(self.log.options, LaneSpread) => {
                Some(Home::in_lane(&self.log, lane))
            }
            (None, _) => None,
        };
        let chosen = home.as_ref().map_or_else(|| self.log.able(None), Home::line);
        let request = PutRequest { origin, lane, home, ..self.request(record, body, done) };
        self.log.post(chosen, Request::Put(request));
    }

    /// A record encoded, if it is no larger than the room that is held.
    fn body(&self, record: &R) -> Option<Body> {
        Body::of(record, self.log.options.compression).filter(|body| {
            let bytes = body.bytes - 4 * body.events;
            body.events as u64 <= self.count.events && bytes as u64 <= self.count.bytes
        })
    }

    /// A plain put into all queues, which from now on holds the room.
    fn request(&mut self, record: Arc<R>, body: Body, done: PutDone) -> PutRequest<R> {
        let (queues, room) = (std::mem::take(&mut self.queues), self.count);
        PutRequest {
            record,
            body,
            queues,
            room,
            origin: None,
            lane: None,
            home: None,
            taking: None,
            done,
        }
    }
}

impl<R: Record> Drop for Room<R> {
    fn drop(&mut self) {
        for queue in &self.queues {
            let slot = self.log.slots.at(*queue);
            slot.lock().release(self.count);
            slot.changed();
        }
    }
}

/// Events leased from a queue. Dropping it puts them back in their place.
#[must_use]
pub struct Lease<R: Record> {
    pub(super) log: Arc<Shared<R>>,
    pub(super) queue: u16,
    pub(super) pieces: Vec<Piece<R>>,
}

impl<R: Record> Lease<R> {
    /// The events, in order.
    pub fn pieces(&self) -> &[Piece<R>] {
        &self.pieces
    }

    /// How many events, and their bytes.
    pub fn count(&self) -> Count {
        Count::of(&self.pieces)
    }

    /// Takes the events out for good, and tells `done` when that is durable. On an error they are
    /// back in their place.
    pub fn commit(mut self, done: TakeDone) {
        let chosen = self.directory();
        let request = TakeRequest { taking: self.taking(), done };
        self.log.post(chosen, Request::Take(request));
    }

    /// Whether room is held in the same log, as it is open now: then [`Lease::exchange`] works.
    pub fn is_beside(&self, room: &Room<R>) -> bool {
        Arc::ptr_eq(&self.log, &room.log)
    }

    /// Takes the events out for good and puts `record` where room is held, both or neither: it is
    /// one frame. Tells `done` when that is durable; on an error the events are back in their place,
    /// and the record is nowhere, or both of it may turn out to have happened.
    ///
    /// The room must be of this log ([`Lease::is_beside`]); any other is refused as unfit.
    pub fn exchange(mut self, mut room: Room<R>, record: Arc<R>, done: PutDone) {
        let body = room.body(&record).filter(|_| self.is_beside(&room));
        let Some(body) = body else {
            drop((self, room));
            return done(Err(CommitError::Unfit));
        };
        let chosen = self.directory();
        let mut request = room.request(record, body, done);
        if sabotaged!(self.log.options, ExchangeInTwo) {
            let request = TakeRequest { taking: self.taking(), done: Box::new(|_| {}) };
            self.log.post(chosen, Request::Take(request));
        } else {
            request.taking = Some(Box::new(self.taking()));
        }
        self.log.post(chosen, Request::Put(request));
    }

    /// The directory whose thread writes down that they go: that of the first, if it can.
    fn directory(&self) -> Option<usize> {
        self.log.able(self.pieces.first().map(|piece| piece.directory))
    }

    fn taking(&mut self) -> Taking<R> {
        let pieces = std::mem::take(&mut self.pieces);
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for numbers in pieces.iter().map(Piece::numbers) {
            match ranges.last_mut() {
                Some(last) if last.end == numbers.start => last.end = numbers.end,
                _ => ranges.push(numbers),
            }
        }
        Taking { queue: self.queue, pieces, ranges }
    }
}

impl<R: Record> Drop for Lease<R> {
    fn drop(&mut self) {
        if sabotaged!(self.log.options, RollbackForgets) {
            self.pieces.pop();
        }
        if !self.pieces.is_empty() {
            let slot = self.log.slots.at(self.queue);
            slot.lock().restore(std::mem::take(&mut self.pieces));
            slot.changed();
        }
    }
}
