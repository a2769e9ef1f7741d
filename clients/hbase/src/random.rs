//! Numbers for nonces and jitter: they must differ, not be secret.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// SplitMix64 (Steele, Lea, Flood 2014), seeded from the system.
#[derive(Debug)]
pub(crate) struct Random(AtomicU64);

impl Random {
    pub(crate) fn new() -> Self {
        let (seed, _) = uuid::Uuid::new_v4().as_u64_pair();
        Random(AtomicU64::new(seed))
    }

    pub(crate) fn next(&self) -> u64 {
        const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
        let mut z = self.0.fetch_add(STEP, Relaxed).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number for a nonce; 0 means none to HBase.
    pub(crate) fn nonce(&self) -> u64 {
        self.next().max(1)
    }

    /// `full` and up to a quarter more, so that many who wait do not come back at once.
    pub(crate) fn jitter(&self, full: Duration) -> Duration {
        let part = u32::try_from(self.next() % 1024).unwrap_or(0);
        full + full / 4 * part / 1024
    }
}
