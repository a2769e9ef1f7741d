//! A sender that puts one batch behind the other without waiting, and those that failed again, in
//! order, as soon as it hears of it.

use splashdam_wal::Origin;

use crate::dice::Dice;
use crate::oracle::{Fate, Oracle};

/// Most batches of a sender that were not answered yet.
const MOST_UNDER_WAY: usize = 6;

/// One sender, and its batches by their sequence.
#[derive(Clone, Debug)]
pub struct Sender {
    /// Its identity.
    pub identity: [u8; 16],
    batches: Vec<u64>,
}

/// What a sender does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It puts the batch of this sequence again.
    Again(usize),
    /// It puts a new one.
    New,
    /// It waits for an answer.
    Wait,
}

impl Sender {
    /// A sender that has sent nothing yet.
    pub fn new(number: u8) -> Sender {
        Sender { identity: [number; 16], batches: Vec::new() }
    }

    /// Decides what to do.
    pub fn next(&self, oracle: &Oracle, dice: &mut Dice) -> Next {
        let fate = |id: &u64| oracle.look(*id).fate;
        let failed = |id: &u64| matches!(fate(id), Fate::Unknown | Fate::Gone);
        if let Some(sequence) = self.batches.iter().position(failed) {
            return Next::Again(sequence);
        }
        let recent = self.batches.len().saturating_sub(4);
        if dice.once_in(8) {
            // The answer was lost on its way: it is sent again though it is stored.
            let stored = |id: &u64| fate(id) == Fate::Stored;
            if let Some(offset) = self.batches[recent..].iter().position(stored) {
                return Next::Again(recent + offset);
            }
        }
        let under_way = self.batches.iter().filter(|id| fate(id) == Fate::Waiting).count();
        if under_way < MOST_UNDER_WAY { Next::New } else { Next::Wait }
    }

    /// The put that has this sequence.
    pub fn batch(&self, sequence: usize) -> u64 {
        self.batches[sequence]
    }

    /// Gives a new put the next sequence.
    pub fn add(&mut self, id: u64) -> usize {
        self.batches.push(id);
        self.batches.len() - 1
    }

    /// What a batch says of itself.
    pub fn origin(&self, sequence: usize) -> Origin {
        let position = vec![b'p'; sequence * 7 % 20];
        Origin { sender: self.identity, epoch: 1, sequence: sequence as u64, position }
    }

    /// Whether one before this put is neither stored nor under way.
    pub fn lacks_one_before(&self, id: u64, oracle: &Oracle) -> bool {
        let before = self.batches.iter().take_while(|batch| **batch != id);
        before.into_iter().any(|batch| oracle.look(*batch).fate != Fate::Stored)
    }

    /// The puts behind what counts as sent last.
    pub fn behind(&self, last: Option<&Origin>) -> &[u64] {
        let stored =
            last.map_or(0, |last| usize::try_from(last.sequence + 1).unwrap_or(usize::MAX));
        self.batches.get(stored..).unwrap_or_default()
    }

    /// Compares what the log says was stored last with what was answered: nothing before it may be
    /// open or missing, and nothing behind it stored.
    pub fn check(&self, last: Option<&Origin>, oracle: &Oracle) -> Result<(), String> {
        let stored = match last {
            None => 0,
            Some(last) => {
                let sequence = usize::try_from(last.sequence).unwrap_or(usize::MAX);
                if sequence >= self.batches.len() || *last != self.origin(sequence) {
                    return Err(format!("nobody sent what counts as sent last: {last:?}"));
                }
                sequence + 1
            }
        };
        for (sequence, id) in self.batches.iter().enumerate() {
            let fate = oracle.look(*id).fate;
            let fits = match sequence < stored {
                true => fate == Fate::Stored,
                false => fate != Fate::Stored,
            };
            if !fits {
                let sender = self.identity[0];
                return Err(format!(
                    "batch {sequence} of sender {sender}, put {id}, is {fate:?}, but {last:?} \
                     counts as sent last"
                ));
            }
        }
        Ok(())
    }
}
