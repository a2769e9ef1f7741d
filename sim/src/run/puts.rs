//! Puts of a run: some of nobody in particular, some of senders.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use splashdam_wal::{CommitError, Count, Lane, Level, Origin, Stored};

use super::{Answer, Life, Run};
use crate::oracle::Fate;
use crate::sender::Next;

/// Where those put who wait for nothing and are no senders, until one of theirs is refused.
pub(super) struct InLane {
    pub(super) number: u64,
    lane: Lane,
    /// Of each lane that ended, the first put that was refused.
    refused: BTreeMap<u64, u64>,
}

impl InLane {
    pub(super) fn new() -> InLane {
        InLane { number: 0, lane: Lane::new(0, Arc::default()), refused: BTreeMap::new() }
    }

    /// The next one.
    pub(super) fn renew(&mut self) {
        self.number += 1;
        self.lane = Lane::new(self.number, Arc::default());
    }
}

impl Run {
    pub(super) fn put(&mut self, life: &Life) -> Result<(), String> {
        if (0..self.plan.queues as u16).any(|queue| self.queue(life, queue).is_none()) {
            return Ok(());
        }
        let sender = self.dice.index(4);
        if sender >= self.senders.len() {
            let queues = self.some_queues();
            let id = self.oracle.put(&mut self.dice, queues);
            if id.is_multiple_of(2) {
                self.oracle.in_lane(id, self.lane.number);
            }
            return self.post(life, id, None);
        }
        for _ in 0..=self.dice.below(3) {
            let (id, sequence) = match self.senders[sender].next(&self.oracle, &mut self.dice) {
                Next::Wait => break,
                Next::Again(sequence) => (self.senders[sender].batch(sequence), sequence),
                Next::New => {
                    let queues = self.some_queues();
                    let id = self.oracle.put(&mut self.dice, queues);
                    self.oracle.sent_by(id, sender);
                    (id, self.senders[sender].add(id))
                }
            };
            let origin = self.senders[sender].origin(sequence);
            self.post(life, id, Some(origin))?;
        }
        Ok(())
    }

    pub(super) fn some_queues(&mut self) -> Vec<u16> {
        match self.dice.below(3) {
            0 => (0..self.plan.queues as u16).collect(),
            _ => vec![self.dice.index(self.plan.queues) as u16],
        }
    }

    fn post(&mut self, life: &Life, id: u64, origin: Option<Origin>) -> Result<(), String> {
        let batch = Arc::new(self.oracle.batch(id));
        let count = match self.plan.bounded {
            true => self.oracle.count(id),
            false => Count { events: 1 << 20, bytes: 1 << 30 },
        };
        let queues: Vec<_> = self
            .oracle
            .look(id)
            .queues
            .iter()
            .filter_map(|queue| self.queue(life, *queue))
            .collect();
        let stored = self.oracle.look(id).fate == Fate::Stored;
        match life.log.reserve(&queues, count) {
            Ok(mut room) => {
                if self.oracle.look(id).lane.is_some() {
                    room.set_lane(self.lane.lane.clone());
                }
                for queue in &queues {
                    let Level { queued, leased, reserved, capacity } = life.log.level(*queue);
                    if queued.events + leased.events + reserved.events > capacity.events {
                        let told = life.log.level(*queue);
                        return Err(format!("more than the capacity: {told:?}"));
                    }
                }
                if !stored {
                    self.oracle.again(id);
                }
                let answers = self.answers.clone();
                let done = move |answer| {
                    let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
                    answers.push(Answer::Put(id, answer));
                };
                room.put(batch, origin, Box::new(done));
            }
            Err(_) if stored => {}
            Err(_) => {
                self.verdict.refused += 1;
                if self.oracle.look(id).lane.is_some() {
                    self.lane.renew();
                }
                if self.oracle.look(id).fate == Fate::Waiting {
                    self.oracle.answered(id, Fate::Gone);
                }
            }
        }
        Ok(())
    }

    pub(super) fn hear_put(
        &mut self,
        id: u64,
        answer: Result<Stored, CommitError>,
    ) -> Result<(), String> {
        let known = self.oracle.look(id);
        let (stored, sender, lane) = (known.fate == Fate::Stored, known.sender, known.lane);
        let refused = lane.and_then(|lane| self.lane.refused.get(&lane));
        match answer {
            Ok(_) if refused.is_some_and(|refused| *refused < id) => {
                Err(format!("put {id} is stored, though its lane had one before it refused"))
            }
            Ok(now) => {
                self.verdict.stored += 1;
                match (stored, now) {
                    (true, Stored::Now) => Err(format!("put {id} was stored a second time")),
                    // Where a loss was named, what was lost counts as stored all the same.
                    (false, Stored::Before) if !self.oracle.losses_allowed => {
                        Err(format!("put {id} was not stored before, but counts as stored"))
                    }
                    (true, Stored::Before) => Ok(()),
                    (false, _) => {
                        self.oracle.answered(id, Fate::Stored);
                        Ok(())
                    }
                }
            }
            Err(error) => {
                self.verdict.refused += 1;
                if let Some(lane) = lane {
                    let known = self.lane.refused.entry(lane).or_insert(id);
                    *known = (*known).min(id);
                    if lane == self.lane.number {
                        self.lane.renew();
                    }
                }
                let sender = sender.and_then(|sender| self.senders.get(sender));
                if matches!(error, CommitError::OutOfOrder)
                    && lane.is_none()
                    && !sender.is_some_and(|sender| sender.lacks_one_before(id, &self.oracle))
                {
                    return Err(format!("put {id} is out of order, but all before it is stored"));
                }
                if !stored {
                    let fate = match error {
                        CommitError::Failed(_) => Fate::Unknown,
                        _ => Fate::Gone,
                    };
                    self.oracle.answered(id, fate);
                }
                Ok(())
            }
        }
    }

    /// With syncs now and then a put may be gone with all takes of its events, which the oracle took
    /// for done: the sender sends it again.
    pub(super) fn forget_what_went(&mut self, life: &Life) {
        for sender in &self.senders {
            let last = life.log.last_of(sender.identity);
            for id in sender.behind(last.as_ref()) {
                if self.oracle.look(*id).fate == Fate::Stored {
                    self.oracle.went_with_its_takes(*id);
                }
            }
        }
    }

    /// What counts as sent last is there, with all before it.
    pub(super) fn check_senders(&self, life: &Life) -> Result<(), String> {
        if self.oracle.losses_allowed {
            return Ok(());
        }
        self.senders.iter().try_for_each(|sender| {
            let last = life.log.last_of(sender.identity);
            sender.check(last.as_ref(), &self.oracle)
        })
    }
}
