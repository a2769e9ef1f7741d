//! A channel holds batches between sources and sinks; a transaction puts or takes, and does both only
//! where what a sink rejects moves to another channel.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use crate::metrics::ChannelMetrics;
use crate::pipeline::Lane;
use crate::{Batch, BoxFuture, ChannelError, Origin, OutletChannel, Size};

/// How long a take waits for an event, even where keep-alive is less: who takes asks again at once.
pub const LEAST_TAKE_WAIT: Duration = Duration::from_secs(1);

/// A transactional queue. It may be remote: nothing that uses one may assume otherwise.
pub trait Channel: Send + Sync + 'static {
    /// Holds room for `size`, waiting no longer than the channel's keep-alive. Cancel-safe: a
    /// dropped future holds nothing.
    fn begin_put(&self, size: Size) -> BoxFuture<'_, Result<Box<dyn Put>, ChannelError>>;

    /// Leases up to `limit` in order, waiting for the first event as long as keep-alive and
    /// [`LEAST_TAKE_WAIT`] at least; may be empty.
    /// At least one event is leased when there is any, whatever its size. Cancel-safe: what a
    /// dropped future had leased goes back to its place.
    fn begin_take(&self, limit: Size) -> BoxFuture<'_, Result<Box<dyn Take>, ChannelError>>;

    /// Channels of one agent that answer the same here can be put into together.
    fn joint(&self) -> Option<JointId> {
        None
    }

    /// Holds room for the same events in several channels of one [`Channel::joint`], this one among
    /// the `names`, so that one commit puts them into all of these or into none. Otherwise as
    /// [`Channel::begin_put`].
    fn begin_joint_put(
        &self,
        _names: Vec<Arc<str>>,
        size: Size,
    ) -> BoxFuture<'_, Result<Box<dyn Put>, ChannelError>> {
        self.begin_put(size)
    }

    /// Whether it stores where batches come from, in the same commit.
    fn keeps_origins(&self) -> bool {
        false
    }

    /// Whether it knows where batches came from at least as long as it has their events: longer, if it
    /// keeps origins; until the process ends, if it holds events no longer either.
    fn remembers_origins(&self) -> bool {
        self.keeps_origins()
    }

    /// The origin of the last batch of this sender that is stored, for channels that remember them.
    fn last_of(&self, _sender: [u8; 16]) -> Option<Origin> {
        None
    }

    /// The newest epoch of this sender that it knows of, be it of batches that failed; 0 if none.
    fn newest_epoch(&self, sender: [u8; 16]) -> u64 {
        self.last_of(sender).map_or(0, |last| last.epoch)
    }

    /// Waits until nothing of this sender is on its way any more, not even what nobody waits for:
    /// what [`Channel::last_of`] then says stays true until the sender puts again.
    fn settled(&self, _sender: [u8; 16]) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    /// What is in it now.
    fn level(&self) -> Level;

    /// Why it takes nothing in at present, though it is open and has capacity left, as when its disk is
    /// full; for readiness.
    fn hindrance(&self) -> Option<String> {
        None
    }

    /// Writes down what must outlive the process and refuses everything from now on. Events of a
    /// channel that is not [`Channel::volatile`] and that cannot be written are added to
    /// `events_lost`, also when the future is dropped before it ends.
    fn close(&self) -> BoxFuture<'_, Result<(), ChannelError>>;

    /// Offers this channel a new configuration while it holds data, as Flume's memory channel is
    /// resized by a reload. `false` means that it must be closed and opened anew.
    fn reconfigure(&self, _section: &splashdam_config::Section) -> bool {
        false
    }

    /// How much went through it since it was made, for channels that know. Asked when it has opened and before it
    /// closes, as it may take a while.
    fn lifetime(&self) -> Option<Lifetime> {
        None
    }

    /// Whether what it holds is gone once it is closed, so that draining matters at the end.
    fn volatile(&self) -> bool {
        true
    }
}

/// What channels have in common that can be put into together, such as a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JointId(pub u64);

/// How full a channel is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Level {
    /// Waiting to be taken, what is leased not counted (Flume's `ChannelSize`).
    pub queued: Size,
    /// Taken and not yet committed.
    pub leased: Size,
    /// The most it holds; `events` is 0 when unknown, as Flume reports it.
    pub capacity: Size,
}

/// How much went through a channel in all its life, however often it was opened, and where to keep what is to live as
/// long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// Events put for good.
    pub put: u64,
    /// Events taken for good.
    pub taken: u64,
    /// A directory that lives as long as its data.
    pub place: std::path::PathBuf,
}

/// Room held in a channel. Dropping it gives the room back. A channel knows its own rooms again when
/// one is handed to a take of its own ([`Take::commit_with`]).
pub trait Put: Any + Send {
    /// Says what else is under way, which is stored in the order in which it is committed. A channel that
    /// stores everything so, and refuses nothing once it let it in, need not know.
    fn in_lane(&mut self, _lane: Lane) {}

    /// Commits `batch`, which is no larger than what was asked for. An error gives the batch back.
    fn commit(self: Box<Self>, batch: Batch) -> BoxFuture<'static, Result<(), Refused>>;
}

/// A lease. Dropping it puts the events back at the head of the queue, in order.
pub trait Take: Send + 'static {
    /// What was leased.
    fn batch(&self) -> &Batch;
    /// Removes the events for good.
    fn commit(self: Box<Self>) -> BoxFuture<'static, Result<(), ChannelError>>;

    /// Commits `batch` where room is held in another channel, and removes the events for good. Where
    /// both channels answer the same to [`Channel::joint`] that is one commit, both or neither;
    /// otherwise the put comes first, so that a crash in between leaves both and never neither. After
    /// an error the events are back.
    fn commit_with(
        self: Box<Self>,
        put: Box<dyn Put>,
        batch: Batch,
    ) -> BoxFuture<'static, Result<(), ChannelError>> {
        Box::pin(async move {
            put.commit(batch).await.map_err(|refused| refused.error)?;
            self.commit().await
        })
    }
}

/// A batch that a channel did not commit. `error` says whether it may be there all the same.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Refused {
    /// What was to be put.
    pub batch: Batch,
    /// Why it was not.
    #[source]
    pub error: ChannelError,
}

/// An open put, counted. Dropping it rolls it back.
#[must_use]
pub struct PutTxn {
    put: Box<dyn Put>,
    metrics: Arc<ChannelMetrics>,
    /// Of the further channels of a joint put.
    others: Vec<Arc<ChannelMetrics>>,
}

impl PutTxn {
    /// Holds room in `channel`; see [`Channel::begin_put`].
    pub async fn begin(
        channel: &dyn Channel,
        metrics: &Arc<ChannelMetrics>,
        size: Size,
    ) -> Result<Self, ChannelError> {
        metrics.put_attempts.add(size.events);
        match channel.begin_put(size).await {
            Ok(put) => Ok(PutTxn { put, metrics: metrics.clone(), others: Vec::new() }),
            Err(error) => {
                count_refusal(metrics, None, &error);
                Err(error)
            }
        }
    }

    /// Holds room in all of these channels, which can be put into together; see
    /// [`Channel::begin_joint_put`].
    pub async fn begin_joint(
        first: &OutletChannel,
        others: &[&OutletChannel],
        size: Size,
    ) -> Result<Self, ChannelError> {
        if others.is_empty() {
            return PutTxn::begin(&*first.channel, &first.metrics, size).await;
        }
        let all = || std::iter::once(first).chain(others.iter().copied());
        all().for_each(|to| to.metrics.put_attempts.add(size.events));
        let names = all().map(|to| to.name.clone()).collect();
        match first.channel.begin_joint_put(names, size).await {
            Ok(put) => Ok(PutTxn {
                put,
                metrics: first.metrics.clone(),
                others: others.iter().map(|to| to.metrics.clone()).collect(),
            }),
            Err(error) => {
                all().for_each(|to| count_refusal(&to.metrics, Some(&to.name), &error));
                Err(error)
            }
        }
    }

    /// See [`Put::in_lane`].
    pub(crate) fn in_lane(mut self, lane: Option<Lane>) -> Self {
        if let Some(lane) = lane {
            self.put.in_lane(lane);
        }
        self
    }

    /// Commits `batch`.
    pub async fn commit(self, batch: Batch) -> Result<(), Refused> {
        let events = batch.len();
        let PutTxn { put, metrics, others } = self;
        let done = put.commit(batch).await;
        let refused = done.as_ref().err().map(|refused| &refused.error);
        count_put([metrics].iter().chain(&others), events, refused);
        done
    }

    /// Gives the room back.
    pub fn rollback(self) {}
}

fn count_put<'m>(
    channels: impl Iterator<Item = &'m Arc<ChannelMetrics>>,
    events: usize,
    refused: Option<&ChannelError>,
) {
    for metrics in channels {
        match refused {
            None => metrics.put_successes.add(events),
            Some(error) => count_refusal(metrics, None, error),
        }
    }
}

/// `name`, where it is known, tells the channel that was full from those that would have been put into with it.
fn count_refusal(metrics: &ChannelMetrics, name: Option<&str>, error: &ChannelError) {
    metrics.put_errors.add(1);
    let had_room = match (error, name) {
        (ChannelError::Full { channel, .. }, Some(name)) => **channel != *name,
        _ => false,
    };
    if !error.is_final() && !had_room {
        metrics.put_refusals.add(1);
    }
}

/// An open take, counted. Dropping it rolls it back.
#[must_use]
pub struct TakeTxn {
    take: Box<dyn Take>,
    metrics: Arc<ChannelMetrics>,
}

impl TakeTxn {
    /// Leases from `channel`; see [`Channel::begin_take`].
    pub async fn begin(
        channel: &dyn Channel,
        metrics: &Arc<ChannelMetrics>,
        limit: Size,
    ) -> Result<Self, ChannelError> {
        match channel.begin_take(limit).await {
            Ok(take) => {
                metrics.take_attempts.add(take.batch().len().max(1));
                Ok(TakeTxn { take, metrics: metrics.clone() })
            }
            Err(error) => {
                metrics.take_errors.add(1);
                Err(error)
            }
        }
    }

    /// What was leased.
    pub fn batch(&self) -> &Batch {
        self.take.batch()
    }

    /// Removes the events from the channel for good.
    pub async fn commit(self) -> Result<(), ChannelError> {
        let events = self.take.batch().len();
        let done = self.take.commit().await;
        count_take(&self.metrics, events, done.is_ok());
        done
    }

    /// Commits `batch` as `put` and removes the events; see [`Take::commit_with`].
    pub async fn commit_with(self, put: PutTxn, batch: Batch) -> Result<(), ChannelError> {
        let (events, more) = (self.take.batch().len(), batch.len());
        let PutTxn { put, metrics, others } = put;
        let done = self.take.commit_with(put, batch).await;
        count_take(&self.metrics, events, done.is_ok());
        count_put([metrics].iter().chain(&others), more, done.as_ref().err());
        done
    }

    /// Puts the events back at the head of the queue.
    pub fn rollback(self) {}
}

fn count_take(metrics: &ChannelMetrics, events: usize, done: bool) {
    match done {
        true => metrics.take_successes.add(events),
        false => metrics.take_errors.add(1),
    }
}
