//! Commits that were begun and are not through: a window, in order, limited in number and bytes.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use splashdam_core::{BoxFuture, ChannelError, TakeTxn};

use super::dead_letters::Enclosed;

/// The most commits that are under way: what is delivered again when the process is killed. At
/// 1000 events a batch and 10 ms a sync they allow more than a million events in a second.
const MOST: usize = 16;
/// The most bytes of events in them, unless one has more.
const MOST_BYTES: usize = 6 * 1024 * 1024;

/// The window of one sink.
#[derive(Default)]
pub(super) struct Unsettled {
    commits: VecDeque<Commit>,
    bytes: usize,
}

struct Commit {
    done: BoxFuture<'static, Result<(), ChannelError>>,
    /// How it went, once known.
    went: Option<Result<(), ChannelError>>,
    bytes: usize,
    taken: usize,
    delivered: usize,
    letters: usize,
}

/// A commit that is through.
pub(super) struct Settled {
    pub(super) done: Result<(), ChannelError>,
    /// Events that were taken.
    pub(super) taken: usize,
    /// Events that count as delivered.
    pub(super) delivered: usize,
    /// Events that went to the channel of dead letters in the same commit.
    pub(super) letters: usize,
}

impl Unsettled {
    /// Begins a commit, in which dead letters may go along. `delivered` of its events count as
    /// delivered.
    pub(super) fn push(&mut self, txn: TakeTxn, delivered: usize, enclosed: Option<Enclosed>) {
        let (bytes, taken) = (txn.batch().size().bytes, txn.batch().len());
        let letters = enclosed.as_ref().map_or(0, |enclosed| enclosed.letters.len());
        let mut done: BoxFuture<'static, _> = match enclosed {
            None => Box::pin(txn.commit()),
            Some(Enclosed { put, letters }) => Box::pin(txn.commit_with(put, letters)),
        };
        // Polled so that it begins now; it is polled again by who waits for it.
        let polled = Pin::new(&mut done).poll(&mut Context::from_waker(Waker::noop()));
        let went = match polled {
            Poll::Ready(went) => Some(went),
            Poll::Pending => None,
        };
        self.bytes += bytes;
        self.commits.push_back(Commit { done, went, bytes, taken, delivered, letters });
    }

    /// Whether the next commit has to wait for an earlier one.
    pub(super) fn is_full(&self) -> bool {
        self.commits.len() >= MOST || self.bytes >= MOST_BYTES
    }

    /// The oldest, if it is known to be through already.
    pub(super) fn ready(&mut self) -> Option<Settled> {
        let mut oldest = Context::from_waker(Waker::noop());
        match self.poll_next(&mut oldest) {
            Poll::Ready(settled) => settled,
            Poll::Pending => None,
        }
    }

    /// Waits for the oldest; `None` when there is none. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<Settled> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Settled>> {
        let Some(oldest) = self.commits.front_mut() else { return Poll::Ready(None) };
        let done = match oldest.went.take() {
            Some(went) => went,
            None => match oldest.done.as_mut().poll(cx) {
                Poll::Ready(went) => went,
                Poll::Pending => return Poll::Pending,
            },
        };
        let Some(oldest) = self.commits.pop_front() else { return Poll::Ready(None) };
        self.bytes -= oldest.bytes;
        let Commit { taken, delivered, letters, .. } = oldest;
        Poll::Ready(Some(Settled { done, taken, delivered, letters }))
    }
}
