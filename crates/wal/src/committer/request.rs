//! What is asked of a committer, and what it makes of it.

use std::ops::Range;
use std::sync::Arc;

use crate::directory::Outgoing;
use crate::error::CommitError;
use crate::frame::{Kind, most_frame_bytes};
use crate::homes::Home;
use crate::log::{PutDone, Shared, TakeDone};
use crate::queue::{Count, Piece};
use crate::record::{Body, Origin, PutMeta, Record, Void};

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
    pub(crate) home: Option<Home<R>>,
    pub(crate) done: PutDone,
}

pub(crate) struct TakeRequest<R> {
    pub(crate) queue: u16,
    pub(crate) pieces: Vec<Piece<R>>,
    pub(crate) ranges: Vec<Range<u64>>,
    pub(crate) done: TakeDone,
}

impl<R: Record> Request<R> {
    /// The most bytes that the frame it becomes takes.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Request::Put(put) => {
                let origin = put.origin.as_ref().map_or(0, |origin| 34 + origin.position.len());
                most_frame_bytes(11 + 10 * put.queues.len() + origin, put.body.stored_bytes())
            }
            Request::Take(take) => most_frame_bytes(6 + 16 * take.ranges.len(), 0),
            Request::Bury(_) => 0,
        }
    }

    /// What follows it must not be stored before it.
    pub(super) fn hold_up(&self, shared: &Shared<R>) {
        if let Request::Put(PutRequest { origin: Some(origin), .. }) = self {
            shared.hold_up(origin);
        }
    }

    /// Answers that it did not happen, and undoes what was held for it.
    pub(crate) fn refuse(self, shared: &Shared<R>, why: CommitError) {
        self.hold_up(shared);
        match self {
            Request::Put(mut put) => {
                put.release(shared);
                put.home = None;
                (put.done)(Err(why));
            }
            Request::Take(take) => {
                let slot = shared.slots.at(take.queue);
                slot.lock().restore(take.pieces);
                slot.changed();
                (take.done)(Err(why));
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
