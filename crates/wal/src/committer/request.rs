//! What is asked of a committer, and what it makes of it.

use std::ops::Range;
use std::sync::Arc;

use crate::directory::Outgoing;
use crate::error::CommitError;
use crate::frame::{Kind, most_frame_bytes};
use crate::homes::{Home, Lane};
use crate::log::{PutDone, Shared, TakeDone};
use crate::queue::{Count, Piece};
use crate::record::{Body, Origin, PutMeta, Record, TakeMeta, Void};

pub(crate) enum Request<R: Record> {
    Put(PutRequest<R>),
    Take(TakeRequest<R>),
    Bury(Buried<R>),
}

/// What a directory that failed leaves to the others: before these are answered, one of them has to
/// say that what it may still hold of them is void.
pub(crate) struct Buried<R: Record> {
    pub(super) void: Void,
    pub(super) failed: Vec<Job<R>>,
    /// Numbers of those before them that were answered.
    pub(super) stranded: Vec<(u16, Range<u64>)>,
    pub(super) why: CommitError,
}

pub(crate) struct PutRequest<R: Record> {
    pub(crate) record: Arc<R>,
    pub(crate) body: Body,
    pub(crate) queues: Vec<u16>,
    pub(crate) room: Count,
    pub(crate) origin: Option<Origin>,
    /// Only without an origin.
    pub(crate) lane: Option<Lane>,
    pub(crate) home: Option<Home<R>>,
    /// What it is exchanged for, which is rare; then it has no origin.
    pub(crate) taking: Option<Box<Taking<R>>>,
    pub(crate) done: PutDone,
}

pub(crate) struct TakeRequest<R> {
    pub(crate) taking: Taking<R>,
    pub(crate) done: TakeDone,
}

/// Leased events on their way out of their queue.
pub(crate) struct Taking<R> {
    pub(crate) queue: u16,
    pub(crate) pieces: Vec<Piece<R>>,
    pub(crate) ranges: Vec<Range<u64>>,
}

impl<R: Record> Taking<R> {
    /// What is written down of it.
    pub(super) fn meta(&self) -> TakeMeta {
        TakeMeta { queue: self.queue, ranges: self.ranges.clone() }
    }

    /// Bytes of that.
    fn meta_bytes(&self) -> usize {
        6 + 16 * self.ranges.len()
    }

    /// They are gone for good.
    pub(super) fn finish(self, shared: &Shared<R>) {
        let slot = shared.slots.at(self.queue);
        slot.lock().take(&self.ranges, Count::of(&self.pieces));
        slot.changed();
    }

    /// They return to their place.
    fn restore(self, shared: &Shared<R>) {
        let slot = shared.slots.at(self.queue);
        slot.lock().restore(self.pieces);
        slot.changed();
    }
}

impl<R: Record> Request<R> {
    /// The most bytes that the frame it becomes takes.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Request::Put(put) => {
                let origin = put.origin.as_ref().map_or(0, |origin| 34 + origin.position.len());
                let taking = put.taking.as_ref().map_or(0, |taking| taking.meta_bytes());
                let meta = 11 + 10 * put.queues.len() + origin + taking;
                most_frame_bytes(meta, put.body.stored_bytes())
            }
            Request::Take(take) => most_frame_bytes(take.taking.meta_bytes(), 0),
            Request::Bury(_) => 0,
        }
    }

    /// What follows it must not be stored before it.
    pub(super) fn hold_up(&self, shared: &Shared<R>) {
        match self {
            Request::Put(PutRequest { origin: Some(origin), .. }) => shared.hold_up(origin),
            Request::Put(PutRequest { lane: Some(lane), .. }) => lane.end(),
            _ => {}
        }
    }

    /// Answers that it did not happen, and undoes what was held for it.
    pub(crate) fn refuse(self, shared: &Shared<R>, why: CommitError) {
        self.hold_up(shared);
        match self {
            Request::Put(mut put) => {
                put.release(shared);
                put.home = None;
                if let Some(taking) = put.taking {
                    taking.restore(shared);
                }
                (put.done)(Err(why));
            }
            Request::Take(TakeRequest { taking, done }) => {
                taking.restore(shared);
                done(Err(why));
            }
            // Nobody stores them elsewhere any more: the log is closing, or has stopped.
            Request::Bury(Buried { failed, why, .. }) => {
                failed.into_iter().for_each(|job| job.request.refuse(shared, why.clone()));
            }
        }
    }
}

impl<R: Record> PutRequest<R> {
    pub(super) fn release(&self, shared: &Shared<R>) {
        for queue in &self.queues {
            let slot = shared.slots.at(*queue);
            slot.lock().release(self.room);
            slot.changed();
        }
    }
}

/// A request that is being written.
pub(crate) struct Job<R: Record> {
    pub(super) request: Request<R>,
    pub(super) meta: Vec<u8>,
    pub(super) put: Option<PutMeta>,
}

impl<R: Record> Job<R> {
    pub(super) fn frame(&self, time: u64) -> Outgoing<'_> {
        match &self.request {
            Request::Put(put) => Outgoing {
                kind: Kind::Put,
                flags: put.body.flags(),
                meta: &self.meta,
                body: put.body.slices(&*put.record).collect(),
                body_bytes: put.body.stored_bytes(),
                body_crc: put.body.crc,
                time,
                put: self.put.as_ref(),
            },
            _ => Outgoing::bare(Kind::Take, &self.meta, time),
        }
    }
}
