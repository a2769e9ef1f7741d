//! Fingerprints of what a file holds: of its first bytes and of the bytes before a position.

use serde::{Deserialize, Serialize};

/// First bytes of a file that its fingerprint covers, as far as they were read.
pub(super) const HEAD_BYTES: usize = 1024;
/// Bytes before a position that its fingerprint covers, as far as there are any.
pub(super) const TAIL_BYTES: usize = 256;

/// The length of some bytes and their FNV-1a hash of 64 bits. It tells files apart that grew by
/// themselves; it is no defence against somebody who makes two alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Print {
    pub(super) len: usize,
    pub(super) hash: u64,
}

impl Print {
    /// Of no bytes.
    pub(super) const EMPTY: Print = Print { len: 0, hash: 0xcbf2_9ce4_8422_2325 };

    /// Of `bytes`.
    pub(super) fn of(bytes: &[u8]) -> Self {
        Print::EMPTY.and(bytes)
    }

    /// Of what it was of, followed by `bytes`.
    #[must_use]
    pub(super) fn and(self, bytes: &[u8]) -> Self {
        let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        Print { len: self.len + bytes.len(), hash: bytes.iter().fold(self.hash, step) }
    }

    /// Whether the first bytes of `start` are those it was made of.
    pub(super) fn begins(self, start: &[u8]) -> bool {
        start.get(..self.len).is_some_and(|bytes| Print::of(bytes) == self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_with_its_bytes() {
        // The reference value of FNV-1a for this text.
        assert_eq!(Print::of(b"foobar").hash, 0x8594_4171_f739_67e8);
        assert_eq!(Print::of(b"foo").and(b"bar"), Print::of(b"foobar"));
        assert!(Print::of(b"foo").begins(b"foobar"));
        assert!(!Print::of(b"foo").begins(b"fo"));
        assert!(!Print::of(b"foo").begins(b"fob"));
        assert!(Print::EMPTY.begins(b""));
    }
}
