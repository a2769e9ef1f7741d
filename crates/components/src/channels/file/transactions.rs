//! What is open on a file channel: room held for a put, and a lease; and how they are committed.

use std::any::Any;
use std::sync::Arc;

use splashdam_core::pipeline::Lane;
use splashdam_core::{Batch, BoxFuture, ChannelError, Put, Refused, Take};
use splashdam_wal::{self as wal, CommitError, Lease, Log, Room};
use tokio::sync::oneshot;

use super::logs::{Member, OpenLog};
use super::record::Datums;
use super::under_way::UnderWay;
use super::{failed, lacking};

/// Is called once with whether a commit took effect, on a thread of the log, before the commit
/// answers and whether or not anybody waits for that; must not block.
pub(in super::super) type Told = Box<dyn FnOnce(bool) + Send>;

/// Room held for a put.
pub(in super::super) struct RoomHeld {
    pub(super) room: Room<Datums>,
    pub(super) members: Vec<Arc<Member>>,
    pub(super) under_way: Arc<UnderWay>,
    pub(super) told: Option<Told>,
}

impl RoomHeld {
    /// Tells `told` how the commit ends; dropped untold where it never begins.
    pub(in super::super) fn telling(mut self: Box<Self>, told: Told) -> Box<Self> {
        self.told = Some(told);
        self
    }

    fn check_open(&self) -> Result<(), ChannelError> {
        self.members.iter().try_for_each(|member| member.check_open())
    }
}

impl Put for RoomHeld {
    fn in_lane(&mut self, lane: Lane) {
        self.room.set_lane(wal::Lane::new(lane.number(), lane.broken().clone()));
    }

    fn commit(self: Box<Self>, batch: Batch) -> BoxFuture<'static, Result<(), Refused>> {
        let closed = self.check_open().err();
        let RoomHeld { mut room, members, under_way, told } = *self;
        if batch.is_empty() {
            return Box::pin(std::future::ready(Ok(())));
        }
        if let Some(error) = closed {
            return Box::pin(std::future::ready(Err(Refused { batch, error })));
        }
        let origin = batch.origin().map(|origin| wal::Origin {
            sender: origin.sender,
            epoch: origin.epoch,
            sequence: origin.sequence,
            position: origin.position.to_vec(),
        });
        let record = Arc::new(Datums::new(batch));
        room.widen(record.bytes());
        let (done, answer) = oneshot::channel();
        let on_its_way = origin.as_ref().map(|origin| under_way.begin(origin.sender));
        let done = move |answer: Result<_, _>| {
            drop(on_its_way);
            if let Some(told) = told {
                told(answer.is_ok());
            }
            // Nobody listens any more when the put was cancelled.
            drop(done.send(answer));
        };
        let log = room.log();
        room.put(record.clone(), origin, Box::new(done));
        Box::pin(async move {
            let Err(error) = heard(answer).await else { return Ok(()) };
            let batch = Arc::try_unwrap(record)
                .map_or_else(|record| record.batch.clone(), |record| record.batch);
            let error = not_put(&log, &members, batch.len(), &error);
            Err(Refused { batch, error })
        })
    }
}

/// A lease, or none when nothing came.
pub(in super::super) struct Held {
    pub(super) member: Arc<Member>,
    pub(super) lease: Option<Lease<Datums>>,
    pub(super) batch: Batch,
    pub(super) told: Option<Told>,
    /// How many of its events are none, counted once they are gone.
    pub(super) unread: Option<(Arc<OpenLog>, usize)>,
}

impl Held {
    /// Events that are out of the queue; those that could not be read are not in the batch.
    pub(in super::super) fn events(&self) -> u64 {
        self.lease.as_ref().map_or(0, |lease| lease.count().events)
    }

    /// Tells `told` how the commit ends; dropped untold where it never begins.
    pub(in super::super) fn telling(mut self: Box<Self>, told: Told) -> Box<Self> {
        self.told = Some(told);
        self
    }
}

impl Take for Held {
    fn batch(&self) -> &Batch {
        &self.batch
    }

    fn commit(self: Box<Self>) -> BoxFuture<'static, Result<(), ChannelError>> {
        let Held { member, lease, batch, told, unread } = *self;
        // Let go of the events first: the log may then free them.
        drop(batch);
        let Some(lease) = lease else { return Box::pin(std::future::ready(Ok(()))) };
        let (done, answer) = oneshot::channel();
        lease.commit(Box::new(move |answer| {
            if let Some(told) = told {
                told(answer.is_ok());
            }
            drop(done.send(answer));
        }));
        Box::pin(async move {
            heard(answer).await.map_err(|error| failed(&member, &error))?;
            count_unread(&member, unread);
            Ok(())
        })
    }

    fn commit_with(
        mut self: Box<Self>,
        put: Box<dyn Put>,
        letters: Batch,
    ) -> BoxFuture<'static, Result<(), ChannelError>> {
        let Some(lease) = self.lease.take_if(|lease| goes_along(&*put, lease, &letters)) else {
            return put_first(self, put, letters);
        };
        let put: Box<dyn Any> = put;
        let put: Box<RoomHeld> = put.downcast().expect("what goes along is of this type");
        if let Err(error) = put.check_open() {
            return Box::pin(std::future::ready(Err(error)));
        }
        let Held { member, batch, told, unread, .. } = *self;
        drop(batch);
        let RoomHeld { mut room, members, told: also_told, .. } = *put;
        let events = letters.len();
        let record = Arc::new(Datums::new(letters));
        room.widen(record.bytes());
        let (done, answer) = oneshot::channel();
        let done = move |answer: Result<_, _>| {
            for told in [told, also_told].into_iter().flatten() {
                told(answer.is_ok());
            }
            drop(done.send(answer));
        };
        let log = room.log();
        lease.exchange(room, record, Box::new(done));
        Box::pin(async move {
            heard(answer).await.map_err(|error| not_put(&log, &members, events, &error))?;
            count_unread(&member, unread);
            Ok(())
        })
    }
}

/// What the log answers.
async fn heard<T>(answer: oneshot::Receiver<Result<T, CommitError>>) -> Result<T, CommitError> {
    answer.await.unwrap_or_else(|_| Err(CommitError::Failed("the log gave no answer".into())))
}

/// What the log's refusal of a put means.
fn not_put(
    log: &Log<Datums>,
    members: &[Arc<Member>],
    events: usize,
    error: &CommitError,
) -> ChannelError {
    let Some(member) = members.first() else {
        return ChannelError::Failed { channel: "".into(), reason: error.to_string().into() };
    };
    let channel = member.name.clone();
    match error {
        CommitError::Full => {
            // Room came meanwhile, or a directory has some, and too little for this.
            let reason = lacking(log).unwrap_or_else(|| {
                format!("there was too little left for a batch of {events} events")
            });
            ChannelError::DiskFull { channel, reason: reason.into() }
        }
        CommitError::Unfit => {
            let capacity = member.limits().transaction_events;
            ChannelError::TooLarge { channel, events, capacity }
        }
        other => failed(member, other),
    }
}

fn count_unread(member: &Member, unread: Option<(Arc<OpenLog>, usize)>) {
    if let Some((log, bad)) = unread {
        log.undecodable(member, bad);
    }
}

/// Whether one frame can have the put for which room is held and the take. It gives a batch no origin,
/// so one that has one goes the usual way.
fn goes_along(put: &dyn Put, lease: &Lease<Datums>, batch: &Batch) -> bool {
    let put: &dyn Any = put;
    let one_log = put.downcast_ref().is_some_and(|held: &RoomHeld| lease.is_beside(&held.room));
    one_log && !batch.is_empty() && batch.origin().is_none()
}

/// Two commits, so that a crash between them leaves the events in both channels.
fn put_first(
    take: Box<Held>,
    put: Box<dyn Put>,
    batch: Batch,
) -> BoxFuture<'static, Result<(), ChannelError>> {
    Box::pin(async move {
        put.commit(batch).await.map_err(|refused| refused.error)?;
        take.commit().await
    })
}

#[cfg(test)]
mod tests;
