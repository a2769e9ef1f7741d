//! Puts that follow each other without waiting: while a disk syncs one batch, the next ones are
//! on their way already, and one sync serves them all.
//!
//! Order holds: a batch reserves and posts only after the one before it has, and once one is
//! refused those that were not posted yet are given back untouched, until the pipeline is resumed.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::FutureExt;
use futures_util::stream::{FuturesOrdered, StreamExt};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::{Batch, BoxFuture, Outlet, PutError, Size};

/// Puts under way, each with a token that says what it was.
pub struct Pipeline<T> {
    outlet: Outlet,
    most: Size,
    gate: Arc<Gate>,
    under_way: FuturesOrdered<BoxFuture<'static, (Settled<T>, Size)>>,
    /// Through, and not asked for yet.
    settled: VecDeque<Settled<T>>,
    size: Size,
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
}

/// The right to post, handed on as soon as that is done.
pub(crate) struct Turn(Option<OwnedMutexGuard<()>>);

impl Turn {
    /// For who waits for nobody and keeps nobody waiting.
    pub(crate) const fn alone() -> Turn {
        Turn(None)
    }

    /// Lets the next one post.
    pub(crate) fn pass(&mut self) {
        self.0 = None;
    }
}

impl<T: Send + 'static> Pipeline<T> {
    /// A pipeline into `outlet` that holds `most` at once, unless one batch alone is more.
    pub fn new(outlet: Outlet, most: Size) -> Self {
        Pipeline {
            outlet,
            most,
            gate: Arc::default(),
            under_way: FuturesOrdered::new(),
            settled: VecDeque::new(),
            size: Size::ZERO,
        }
    }

    /// Whether a batch of this size has to wait until some of those under way are settled.
    pub fn is_full(&self, next: Size) -> bool {
        !self.is_empty() && !(self.size + next).fits(self.most)
    }

    /// Whether nothing is under way or waits to be asked for.
    pub fn is_empty(&self) -> bool {
        self.under_way.is_empty() && self.settled.is_empty()
    }

    /// Begins to put a batch. It goes on while [`Pipeline::settle`] is waited for.
    pub fn put(&mut self, batch: Batch, token: T) {
        let size = batch.size();
        self.size += size;
        let (outlet, gate) = (self.outlet.clone(), self.gate.clone());
        self.under_way.push_back(Box::pin(async move {
            let went = gate.put(&outlet, batch).await;
            (Settled { token, went }, size)
        }));
        // Polled once, so that it begins now.
        while let Some(Some(settled)) = self.under_way.next().now_or_never() {
            let settled = self.note(settled);
            self.settled.push_back(settled);
        }
    }

    /// Waits for the oldest; `None` when there is none. Cancel-safe.
    pub async fn settle(&mut self) -> Option<Settled<T>> {
        if let Some(settled) = self.settled() {
            return Some(settled);
        }
        let settled = self.under_way.next().await?;
        Some(self.note(settled))
    }

    /// The oldest, if it is through.
    pub fn settled(&mut self) -> Option<Settled<T>> {
        self.settled.pop_front()
    }

    /// Takes batches again after one was refused.
    ///
    /// # Panics
    /// When something is under way: what was refused has to be put first.
    pub fn resume(&mut self) {
        assert!(self.is_empty(), "a pipeline is resumed before all of it is settled");
        self.gate.broken.store(false, Ordering::Release);
    }

    fn note(&mut self, (settled, size): (Settled<T>, Size)) -> Settled<T> {
        self.size = self.size - size;
        settled
    }
}

impl Gate {
    async fn put(&self, outlet: &Outlet, batch: Batch) -> Put {
        let mut turn = Turn(Some(self.turn.clone().lock_owned().await));
        if self.broken.load(Ordering::Acquire) {
            return Put::Behind(batch);
        }
        let put = outlet.put_in_turn(batch, &mut turn).await;
        match put {
            Ok(()) => Put::Stored,
            Err(error) => {
                // Before the turn, if it was not passed on yet, is dropped.
                self.broken.store(true, Ordering::Release);
                Put::Refused(error)
            }
        }
    }
}

impl<T> fmt::Debug for Pipeline<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipeline").field("size", &self.size).finish_non_exhaustive()
    }
}
