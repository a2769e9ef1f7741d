//! The last batch of each sender, as many as a cursor can say.

use std::cmp::Reverse;
use std::collections::HashMap;

use crate::record::{LastOf, SENDER_BYTES};

/// Senders by identity, limited in number and in the bytes of their positions; those that were
/// unseen for longest go first.
pub(crate) struct Senders {
    all: HashMap<[u8; 16], LastOf>,
    position_bytes: usize,
    most: usize,
    most_bytes: usize,
}

impl Senders {
    /// Those of `all` that were seen last.
    pub(crate) fn of(all: HashMap<[u8; 16], LastOf>, most: usize, most_bytes: usize) -> Senders {
        let position_bytes = all.values().map(position_bytes).sum();
        let mut senders = Senders { all, position_bytes, most, most_bytes };
        if senders.too_many() {
            let mut oldest: Vec<_> = senders.all.values().map(age).map(Reverse).collect();
            oldest.sort_unstable();
            while senders.too_many()
                && let Some(Reverse((_, sender))) = oldest.pop()
            {
                senders.forget(&sender);
            }
        }
        senders
    }

    pub(crate) fn get(&self, sender: &[u8; 16]) -> Option<&LastOf> {
        self.all.get(sender)
    }

    /// All of them, by identity.
    pub(crate) fn in_order(&self) -> Vec<LastOf> {
        let mut all: Vec<_> = self.all.values().cloned().collect();
        all.sort_unstable_by_key(|last| last.origin.sender);
        all
    }

    /// Bytes of them in a cursor.
    pub(crate) fn cursor_bytes(&self) -> usize {
        self.all.len() * SENDER_BYTES + self.position_bytes
    }

    pub(crate) fn into_all(self) -> HashMap<[u8; 16], LastOf> {
        self.all
    }

    /// Remembers a sender's last batch, unless a later one is known, and forgets others for it.
    pub(crate) fn remember(&mut self, last: LastOf) {
        let sender = last.origin.sender;
        let known = self.all.get(&sender);
        if known.is_some_and(|known| known.origin.order() > last.origin.order()) {
            return;
        }
        self.position_bytes += position_bytes(&last);
        if let Some(before) = self.all.insert(sender, last) {
            self.position_bytes -= position_bytes(&before);
        }
        while self.too_many() {
            // The clock may go back: the one that has just come is not the oldest.
            let others = self.all.values().filter(|last| last.origin.sender != sender);
            let Some((_, oldest)) = others.map(age).min() else { return };
            self.forget(&oldest);
        }
    }

    fn too_many(&self) -> bool {
        self.all.len() > self.most || self.position_bytes > self.most_bytes
    }

    fn forget(&mut self, sender: &[u8; 16]) {
        if let Some(last) = self.all.remove(sender) {
            self.position_bytes -= position_bytes(&last);
        }
    }
}

/// Ascending from the one unseen for longest.
fn age(last: &LastOf) -> (u64, [u8; 16]) {
    (last.seen, last.origin.sender)
}

fn position_bytes(last: &LastOf) -> usize {
    last.origin.position.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Origin;

    fn last(sender: u8, sequence: u64, seen: u64, position: usize) -> LastOf {
        let position = vec![0; position];
        LastOf { origin: Origin { sender: [sender; 16], epoch: 1, sequence, position }, seen }
    }

    #[test]
    fn those_unseen_for_longest_go_first_by_number_and_by_bytes() {
        let check = |steps: &[LastOf], want: &[u8]| {
            let mut senders = Senders::of(HashMap::new(), 3, 100);
            steps.iter().for_each(|step| senders.remember(step.clone()));
            let left: Vec<u8> =
                senders.in_order().iter().map(|last| last.origin.sender[0]).collect();
            assert_eq!(left, want, "{steps:?}");
            let bytes: usize = senders.all.values().map(position_bytes).sum();
            assert_eq!(senders.position_bytes, bytes, "{steps:?}");
        };
        check(&[last(1, 1, 1, 0), last(2, 1, 2, 0), last(3, 1, 3, 0)], &[1, 2, 3]);
        check(
            &[last(1, 1, 1, 0), last(2, 1, 2, 0), last(3, 1, 3, 0), last(4, 1, 4, 0)],
            &[2, 3, 4],
        );
        check(&[last(1, 1, 2, 50), last(2, 1, 1, 50), last(3, 1, 3, 1)], &[1, 3]);
        check(&[last(1, 1, 1, 50), last(2, 1, 2, 50), last(3, 1, 3, 60)], &[3]);
        // A sender's own earlier position does not count, and a late answer changes nothing.
        check(&[last(1, 1, 1, 60), last(1, 2, 2, 70), last(2, 1, 3, 30)], &[1, 2]);
        check(&[last(1, 2, 1, 60), last(2, 1, 2, 30), last(1, 1, 3, 100)], &[1, 2]);
        // The clock went back.
        check(&[last(1, 1, 9, 60), last(2, 1, 1, 60)], &[2]);
    }

    #[test]
    fn what_a_start_finds_is_limited_likewise() {
        let check = |most, most_bytes, want: &[u8]| {
            let found = [last(1, 1, 5, 40), last(2, 1, 2, 40), last(3, 1, 8, 40)];
            let found = found.into_iter().map(|last| (last.origin.sender, last)).collect();
            let senders = Senders::of(found, most, most_bytes);
            let left: Vec<u8> =
                senders.in_order().iter().map(|last| last.origin.sender[0]).collect();
            assert_eq!(left, want, "{most} {most_bytes}");
        };
        check(3, 120, &[1, 2, 3]);
        check(3, 119, &[1, 3]);
        check(1, 120, &[3]);
        check(3, 79, &[3]);
        check(3, 39, &[]);
    }
}
