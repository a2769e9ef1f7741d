//! Senders with batches that failed and did not come again yet. What such a sender sends behind
//! them must not be stored before them, or they would count as stored, too.

use std::collections::{BTreeSet, HashMap};

use crate::record::Origin;

/// Most sequences remembered of a sender. Beyond them the first ones stay, which hold up the rest.
const MOST_SEQUENCES: usize = 4096;

#[derive(Default)]
pub(crate) struct HeldUp {
    /// By sender, what failed of its newest epoch.
    failed: HashMap<[u8; 16], Failed>,
    /// By sender, the last batch that a log opened again turned out to have, though nobody was told.
    /// A sender that goes on in another epoch may have asked before where it stands.
    found: HashMap<[u8; 16], (u64, u64)>,
}

struct Failed {
    epoch: u64,
    sequences: BTreeSet<u64>,
}

impl HeldUp {
    /// A batch failed; at most `most_senders` are remembered.
    pub(crate) fn add(&mut self, origin: &Origin, most_senders: usize) {
        let fresh = || Failed { epoch: origin.epoch, sequences: BTreeSet::new() };
        let failed = self.failed.entry(origin.sender).or_insert_with(fresh);
        // A new life of the sender begins anew.
        if failed.epoch < origin.epoch {
            *failed = fresh();
        }
        if failed.epoch == origin.epoch {
            failed.sequences.insert(origin.sequence);
            if failed.sequences.len() > MOST_SEQUENCES {
                failed.sequences.pop_last();
            }
        }
        // Senders that never came back make room.
        if self.failed.len() > most_senders {
            self.failed.retain(|sender, _| *sender == origin.sender);
        }
    }

    /// The log that is opened again has this, and the one before did not say so.
    pub(crate) fn found(&mut self, sender: [u8; 16], order: (u64, u64)) {
        self.found.insert(sender, order);
    }

    /// The epoch of what failed of a sender; 0 without any.
    pub(crate) fn epoch(&self, sender: &[u8; 16]) -> u64 {
        self.failed.get(sender).map_or(0, |failed| failed.epoch)
    }

    /// Whether its sender must be asked anew where it stands: once, as it asks after a refusal.
    pub(crate) fn surprises(&mut self, origin: &Origin) -> bool {
        let found = self.found.remove(&origin.sender);
        found.is_some_and(|(epoch, _)| epoch < origin.epoch)
    }

    /// Whether one before this failed and did not come again.
    pub(crate) fn stops(&self, origin: &Origin) -> bool {
        self.failed.get(&origin.sender).is_some_and(|failed| {
            failed.epoch == origin.epoch
                && failed.sequences.first().is_some_and(|first| *first < origin.sequence)
        })
    }

    /// What failed up to this batch turned out to be stored.
    pub(crate) fn stored(&mut self, sender: &[u8; 16], epoch: u64, sequence: u64) {
        let Some(failed) = self.failed.get_mut(sender).filter(|failed| failed.epoch <= epoch)
        else {
            return;
        };
        if failed.epoch == epoch {
            failed.sequences.retain(|one| *one > sequence);
        }
        if failed.epoch < epoch || failed.sequences.is_empty() {
            self.failed.remove(sender);
        }
    }

    /// This one comes again. Those that failed behind it are held on to: their sender may not have
    /// heard of that, and send what follows them.
    pub(crate) fn remove(&mut self, origin: &Origin) {
        let Some(failed) = self.failed.get_mut(&origin.sender) else { return };
        if failed.epoch == origin.epoch {
            failed.sequences.remove(&origin.sequence);
        }
        if failed.epoch < origin.epoch || failed.sequences.is_empty() {
            self.failed.remove(&origin.sender);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(sender: u8, epoch: u64, sequence: u64) -> Origin {
        Origin { sender: [sender; 16], epoch, sequence, position: Vec::new() }
    }

    #[test]
    fn each_that_failed_is_waited_for() {
        let mut held = HeldUp::default();
        [3, 2, 5].iter().for_each(|sequence| held.add(&batch(1, 1, *sequence), 10));
        let stopped = |held: &HeldUp| (1..8).filter(|n| held.stops(&batch(1, 1, *n))).min();
        assert_eq!(stopped(&held), Some(3));
        for (comes, next) in [(2, Some(4)), (4, Some(4)), (3, Some(6)), (5, None)] {
            held.remove(&batch(1, 1, comes));
            assert_eq!(stopped(&held), next, "after {comes} came");
        }
        assert!(held.failed.is_empty());
    }

    #[test]
    fn what_turned_out_to_be_stored_holds_up_nothing() {
        let mut held = HeldUp::default();
        [2, 3, 5].iter().for_each(|sequence| held.add(&batch(1, 2, *sequence), 10));
        held.stored(&[1; 16], 1, 9);
        assert!(held.stops(&batch(1, 2, 3)), "what was stored in an earlier life");
        held.stored(&[1; 16], 2, 3);
        assert!(!held.stops(&batch(1, 2, 5)) && held.stops(&batch(1, 2, 6)));
        held.stored(&[1; 16], 2, 5);
        assert!(held.failed.is_empty());
    }

    #[test]
    fn lives_and_senders_are_apart_and_limited() {
        let mut held = HeldUp::default();
        held.add(&batch(1, 1, 1), 2);
        assert!(!held.stops(&batch(2, 1, 9)) && !held.stops(&batch(1, 2, 9)));
        held.add(&batch(1, 2, 4), 2);
        assert!(held.stops(&batch(1, 2, 9)) && !held.stops(&batch(1, 2, 3)));
        held.add(&batch(1, 1, 0), 2);
        assert!(!held.stops(&batch(1, 2, 3)), "an old life counts no more");
        (2..9).for_each(|sender| held.add(&batch(sender, 1, 1), 2));
        assert!(held.failed.len() <= 2);
        (0..5000).for_each(|sequence| held.add(&batch(1, 3, sequence), 2));
        assert_eq!(held.failed[&[1; 16]].sequences.len(), MOST_SEQUENCES);
        assert!(held.stops(&batch(1, 3, 5000)));
    }
}
