//! Takes of a run, some of which put something in exchange, as a sink does with what it rejects.

use std::sync::{Arc, PoisonError};

use splashdam_wal::{CommitError, Count, Lease};

use super::{Answer, Life, Run};
use crate::oracle::{Batch, EventId, Fate};

impl Run {
    pub(super) fn commit_lease(&mut self, ids: Vec<EventId>, lease: Lease<Batch>) {
        let take = self.oracle.taking(ids);
        let answers = self.answers.clone();
        lease.commit(Box::new(move |answer| {
            let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
            answers.push(Answer::Take(take, answer));
        }));
    }

    /// Takes what is leased and puts a new batch, both or neither. Where there is no room for that the
    /// lease goes back.
    pub(super) fn exchange_lease(&mut self, life: &Life, ids: Vec<EventId>, lease: Lease<Batch>) {
        let names = self.some_queues();
        let queues: Vec<_> = names.iter().filter_map(|queue| self.queue(life, *queue)).collect();
        if queues.len() < names.len() {
            return;
        }
        let put = self.oracle.put(&mut self.dice, names);
        let count = match self.plan.bounded {
            true => self.oracle.count(put),
            false => Count { events: 1 << 20, bytes: 1 << 30 },
        };
        let Ok(room) = life.log.reserve(&queues, count) else {
            self.oracle.answered(put, Fate::Gone);
            return;
        };
        let take = self.oracle.exchanging(ids, put);
        let answers = self.answers.clone();
        let done = move |answer| {
            let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
            answers.push(Answer::Exchange(take, put, answer));
        };
        lease.exchange(room, Arc::new(self.oracle.batch(put)), Box::new(done));
    }

    pub(super) fn hear_take(&mut self, take: u64, answer: Result<(), CommitError>) {
        match answer {
            Ok(()) => {
                self.verdict.taken += 1;
                self.oracle.took(take, true);
            }
            Err(error) => {
                self.verdict.refused += 1;
                if !matches!(error, CommitError::Failed(_)) {
                    self.oracle.took(take, false);
                }
            }
        }
    }
}
