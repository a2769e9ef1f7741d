//! Puts that follow each other without waiting: while a disk syncs one batch, the next ones are
//! on their way already, and one sync serves them all.
//!
//! Order holds: a batch reserves and posts only after the one before it has, and once one is
//! refused those that were not posted yet are given back untouched, until the pipeline is resumed.
//! Those that were posted already carry a [`Lane`], by which a channel that has several writers, or
//! room for a small batch where a large one found none, keeps to the order, too.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex as StdMutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::FutureExt;
use futures_util::stream::{FuturesOrdered, StreamExt};
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use crate::{Batch, BoxFuture, ChannelError, Event, Outlet, PutError, Size, Stop, Trouble};

/// The most puts that are under way, however small: each costs memory of its own.
const MOST_PUTS: usize = 128;

/// Puts under way, each with a token that says what it was.
pub struct Pipeline<T> {
    outlet: Outlet,
    most: Size,
    gate: Arc<Gate>,
    under_way: FuturesOrdered<BoxFuture<'static, (Settled<T>, Size)>>,
    /// Through, and not asked for yet.
    settled: VecDeque<(Settled<T>, Size)>,
    /// Of all that is in here.
    size: Size,
    /// To be put again, in order; see [`Pipeline::stored`].
    refused: VecDeque<Waiting<T>>,
    again_at: Option<Instant>,
}

/// What is to be put again.
struct Waiting<T> {
    batch: Batch,
    token: T,
    /// What the pipeline counts for it.
    size: Size,
    /// Why it was refused itself; nothing for one that was only behind another.
    why: Vec<ChannelError>,
}

/// How long refused batches are tried again, and what was said about it.
#[derive(Debug)]
pub struct Patience {
    source: Arc<str>,
    first: Duration,
    most: Duration,
    at_last: Duration,
    wait: Duration,
    trouble: Trouble,
    stopping: Option<Instant>,
}

impl Patience {
    /// Waits of `first`, doubled up to `most`; once the source was told to stop, of `first` for
    /// no longer than `at_last` in all. `source` is who is named in the log.
    pub fn new(source: Arc<str>, first: Duration, most: Duration, at_last: Duration) -> Self {
        let trouble = Trouble::new();
        Patience { source, first, most, at_last, wait: first.min(most), trouble, stopping: None }
    }

    /// When to try again; `None` when it is over.
    fn next_try(&mut self, stop: &Stop, why: &[&ChannelError]) -> Option<Instant> {
        let now = Instant::now();
        if stop.requested() {
            let since = *self.stopping.get_or_insert(now);
            return (now.duration_since(since) < self.at_last).then(|| now + self.first);
        }
        let key = ChannelError::key_of(why.iter().copied());
        if self.trouble.happened(now.into_std(), &key).is_some() {
            let error = why.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            warn!(component = %self.source, %error, "channels refuse a batch; it is kept and tried again");
        }
        let wait = self.wait;
        self.wait = (wait * 2).min(self.most);
        Some(now + wait)
    }

    fn well(&mut self) {
        self.wait = self.first.min(self.most);
        if let Some(lasted) = self.trouble.ended(Instant::now().into_std()) {
            info!(component = %self.source, ?lasted, "channels take batches again");
        }
    }
}

/// How a put ended, in the order in which they were begun.
#[derive(Debug)]
pub struct Settled<T> {
    /// What it was begun with.
    pub token: T,
    /// How it went.
    pub went: Put,
}

/// What became of a batch.
#[derive(Debug)]
pub enum Put {
    /// Every required channel has it.
    Stored,
    /// It was refused.
    Refused(PutError),
    /// Nobody was asked, since one before it was refused.
    Behind(Batch),
}

#[derive(Default)]
struct Gate {
    turn: Arc<Mutex<()>>,
    broken: AtomicBool,
    /// Of what is under way now; another one after each refusal.
    lane: StdMutex<Option<Lane>>,
}

/// What the batches have in common that a pipeline has under way: a channel stores them in the order in which they
/// are committed, and once it refused one of them it refuses all that come after it.
#[derive(Clone, Debug)]
pub struct Lane {
    number: u64,
    broken: Arc<AtomicBool>,
}

impl Default for Lane {
    fn default() -> Self {
        Lane::new()
    }
}

impl Lane {
    /// One that nothing is in yet.
    pub fn new() -> Lane {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Lane { number: LAST.fetch_add(1, Ordering::Relaxed), broken: Arc::default() }
    }

    /// Which lane it is, of all of this process.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Set by a channel as it refuses a batch of the lane.
    pub fn broken(&self) -> &Arc<AtomicBool> {
        &self.broken
    }
}

/// The right to post, handed on as soon as that is done, and the lane to post in.
pub(crate) struct Turn {
    right: Option<OwnedMutexGuard<()>>,
    lane: Option<Lane>,
}

impl Turn {
    /// For who waits for nobody and keeps nobody waiting.
    pub(crate) const fn alone() -> Turn {
        Turn { right: None, lane: None }
    }

    /// Lets the next one post.
    pub(crate) fn pass(&mut self) {
        self.right = None;
    }

    /// The lane, unless the batch is alone.
    pub(crate) fn lane(&self) -> Option<Lane> {
        self.lane.clone()
    }
}

impl<T: Send + 'static> Pipeline<T> {
    /// A pipeline into `outlet` that holds `most` at once, unless one batch alone is more, and 128
    /// batches.
    pub fn new(outlet: Outlet, most: Size) -> Self {
        Pipeline {
            outlet,
            most,
            gate: Arc::new(Gate { lane: StdMutex::new(Some(Lane::new())), ..Gate::default() }),
            under_way: FuturesOrdered::new(),
            settled: VecDeque::new(),
            size: Size::ZERO,
            refused: VecDeque::new(),
            again_at: None,
        }
    }

    /// Says that the order of its batches means nothing to anybody, so that a channel with several writers may
    /// give them to all of these.
    #[must_use]
    pub fn in_any_order(self) -> Self {
        *self.gate.lane() = None;
        self
    }

    /// Whether a batch of this size has to wait until some of those under way are settled.
    pub fn is_full(&self, next: Size) -> bool {
        self.under_way.len() + self.settled.len() + self.refused.len() >= MOST_PUTS
            || (!self.is_empty() && !(self.size + next).fits(self.most))
    }

    /// Whether nothing is under way or waits to be asked for.
    pub fn is_empty(&self) -> bool {
        self.under_way.is_empty() && self.settled.is_empty() && self.refused.is_empty()
    }

    /// Of all that is under way or waits to be asked for.
    pub fn size(&self) -> Size {
        self.size
    }

    /// Begins to put a batch. It goes on while [`Pipeline::settle`] is waited for.
    pub fn put(&mut self, batch: Batch, token: T) {
        let (outlet, gate, size) = (self.outlet.clone(), self.gate.clone(), batch.size());
        self.begin(size, token, async move { gate.put(&outlet, batch).await });
    }

    /// Begins to put a single event, counted as [`Outlet::append`] does.
    pub fn append(&mut self, event: Event, token: T) {
        let (outlet, gate) = (self.outlet.clone(), self.gate.clone());
        let size = Size { events: 1, bytes: event.bytes() };
        self.begin(size, token, async move { gate.append(&outlet, event).await });
    }

    fn begin(&mut self, size: Size, token: T, put: impl Future<Output = Put> + Send + 'static) {
        self.size += size;
        self.under_way
            .push_back(Box::pin(async move { (Settled { token, went: put.await }, size) }));
        // Polled once, so that it begins now.
        while let Some(Some(settled)) = self.under_way.next().now_or_never() {
            self.settled.push_back(settled);
        }
    }

    /// Waits for the oldest; `None` when there is none. Cancel-safe.
    pub async fn settle(&mut self) -> Option<Settled<T>> {
        let settled = self.oldest().await?;
        Some(self.hand_out(settled))
    }

    async fn oldest(&mut self) -> Option<(Settled<T>, Size)> {
        match self.settled.pop_front() {
            Some(settled) => Some(settled),
            None => self.under_way.next().await,
        }
    }

    fn hand_out(&mut self, (settled, size): (Settled<T>, Size)) -> Settled<T> {
        self.size = self.size - size;
        settled
    }

    /// Waits until the oldest is stored, and puts what was refused again, in order. `None` when there
    /// is none; an error, with the oldest batch and what was wrong with it, when no more waiting can
    /// help or is wanted. Those behind it are put when this is asked again. Cancel-safe.
    pub async fn stored(
        &mut self,
        patience: &mut Patience,
        stop: &Stop,
    ) -> Option<Result<T, PutError>> {
        loop {
            if self.refused.is_empty() {
                let oldest = self.oldest().await?;
                if matches!(oldest.0.went, Put::Stored) {
                    patience.well();
                    return Some(Ok(self.hand_out(oldest).token));
                }
                self.refused.push_back(Waiting::of(oldest));
            }
            while let Some(next) = self.oldest().await {
                self.refused.push_back(Waiting::of(next));
            }
            if self.again_at.is_none() {
                self.again_at = self.next_try(patience, stop);
            }
            let Some(at) = self.again_at else { return self.give_up().map(Err) };
            let stopping = stop.requested();
            tokio::select! {
                () = sleep_until(at) => {}
                () = stop.wait(), if !stopping => {}
            }
            self.again_at = None;
            let refused = std::mem::take(&mut self.refused);
            self.resume();
            // All of it is put, and so counted, again.
            self.size = Size::ZERO;
            for Waiting { batch, token, .. } in refused {
                self.put(batch, token);
            }
        }
    }

    /// When what was refused is put again; `None` when that is of no use for the oldest. What is wrong
    /// with a later one does not matter until it is the oldest.
    fn next_try(&self, patience: &mut Patience, stop: &Stop) -> Option<Instant> {
        let oldest = self.refused.front()?;
        if oldest.why.iter().any(ChannelError::is_final) {
            return None;
        }
        let why: Vec<_> = self.refused.iter().flat_map(|waiting| &waiting.why).collect();
        if why.is_empty() && !stop.requested() {
            // They were behind one that is given up.
            return Some(Instant::now());
        }
        patience.next_try(stop, &why)
    }

    /// Takes the oldest out of what was refused.
    fn give_up(&mut self) -> Option<PutError> {
        let Waiting { batch, size, why, .. } = self.refused.pop_front()?;
        self.size = self.size - size;
        if self.refused.is_empty() {
            self.resume();
        }
        Some(PutError { batch, failures: why })
    }

    /// The oldest, if it is through.
    pub fn settled(&mut self) -> Option<Settled<T>> {
        let settled = self.settled.pop_front()?;
        Some(self.hand_out(settled))
    }

    /// Takes batches again after one was refused.
    ///
    /// # Panics
    /// When something is under way: what was refused has to be put first.
    pub fn resume(&mut self) {
        assert!(self.is_empty(), "a pipeline is resumed before all of it is settled");
        if let Some(lane) = &mut *self.gate.lane() {
            *lane = Lane::new();
        }
        self.gate.broken.store(false, Ordering::Release);
    }
}

impl<T> Waiting<T> {
    /// A batch that is stored although one before it is not, as happens where they go to different
    /// channels, keeps its place with nothing in it.
    fn of((Settled { token, went }, size): (Settled<T>, Size)) -> Self {
        let (batch, why) = match went {
            Put::Stored => (Batch::default(), Vec::new()),
            Put::Refused(error) => (error.batch, error.failures),
            Put::Behind(batch) => (batch, Vec::new()),
        };
        Waiting { batch, token, size, why }
    }
}

impl Gate {
    fn lane(&self) -> MutexGuard<'_, Option<Lane>> {
        self.lane.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn turn(&self) -> Turn {
        let right = Some(self.turn.clone().lock_owned().await);
        Turn { right, lane: self.lane().clone() }
    }

    async fn put(&self, outlet: &Outlet, batch: Batch) -> Put {
        let mut turn = self.turn().await;
        if self.broken.load(Ordering::Acquire) {
            return Put::Behind(batch);
        }
        let put = outlet.put_in_turn(batch, &mut turn).await;
        self.judge(put, turn)
    }

    async fn append(&self, outlet: &Outlet, event: Event) -> Put {
        let mut turn = self.turn().await;
        if self.broken.load(Ordering::Acquire) {
            return Put::Behind(Batch::from(vec![event]));
        }
        let put = outlet.append_in_turn(event, &mut turn).await;
        self.judge(put, turn)
    }

    fn judge(&self, put: Result<(), PutError>, turn: Turn) -> Put {
        let went = match put {
            Ok(()) => Put::Stored,
            Err(error) => {
                self.broken.store(true, Ordering::Release);
                Put::Refused(error)
            }
        };
        // Now, if it was not passed on yet: the next one knows of a refusal.
        drop(turn);
        went
    }
}

impl<T> fmt::Debug for Pipeline<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipeline").field("size", &self.size).finish_non_exhaustive()
    }
}
