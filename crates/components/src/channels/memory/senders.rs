//! Whose batches a memory channel has: the origin of the last one of each sender.

use std::collections::HashMap;

use splashdam_core::Origin;

/// The most senders remembered, and the most bytes of their positions. Who was silent longest is
/// forgotten first; what such a one sends again is stored again.
const MOST: usize = 1024;
const MOST_BYTES: usize = 4 * 1024 * 1024;

#[derive(Default)]
pub(super) struct Senders {
    last: HashMap<[u8; 16], Noted>,
    /// Bytes of all positions.
    bytes: usize,
    /// How many batches were noted.
    count: u64,
}

struct Noted {
    origin: Origin,
    /// Which batch it was, of all senders' batches.
    at: u64,
}

impl Senders {
    /// Notes a batch that is about to be stored; `false` if it or a later one is stored already.
    pub(super) fn note(&mut self, origin: Origin) -> bool {
        let known = self.last.get(&origin.sender);
        if known.is_some_and(|known| known.origin.order() >= origin.order()) {
            return false;
        }
        self.count += 1;
        self.bytes += origin.position.len();
        let noted = Noted { at: self.count, origin };
        if let Some(before) = self.last.insert(noted.origin.sender, noted) {
            self.bytes -= before.origin.position.len();
        }
        while self.last.len() > MOST || self.bytes > MOST_BYTES {
            let oldest = self.last.iter().min_by_key(|(_, noted)| noted.at).map(|(key, _)| *key);
            let Some(gone) = oldest.and_then(|oldest| self.last.remove(&oldest)) else { break };
            self.bytes -= gone.origin.position.len();
        }
        true
    }

    /// The last batch of a sender.
    pub(super) fn last_of(&self, sender: [u8; 16]) -> Option<Origin> {
        self.last.get(&sender).map(|noted| noted.origin.clone())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn origin(sender: u16, sequence: u64, bytes: usize) -> Origin {
        let mut key = [0; 16];
        key[..2].copy_from_slice(&sender.to_be_bytes());
        Origin { sender: key, epoch: 1, sequence, position: Bytes::from(vec![0; bytes]) }
    }

    #[test]
    fn the_silent_are_forgotten_beyond_the_bounds() {
        let check = |bytes: usize, kept: usize| {
            let mut senders = Senders::default();
            for sender in 0..2000 {
                assert!(senders.note(origin(sender, 1, bytes)));
                // The first one goes on sending.
                assert!(senders.note(origin(0, 2 + u64::from(sender), bytes)));
            }
            assert_eq!(senders.last.len(), kept);
            assert_eq!(senders.bytes, kept * bytes);
            assert!(senders.last_of(origin(0, 0, 0).sender).is_some());
            assert!(senders.last_of(origin(1, 0, 0).sender).is_none());
            assert!(senders.last_of(origin(1999, 0, 0).sender).is_some());
        };
        check(10, MOST);
        check(32 * 1024, MOST_BYTES / (32 * 1024));
    }
}
