//! Through a context reach a component: its name, time, randomness, the host, the environment.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// What a component is in the topology.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Brings events.
    Source,
    /// Holds events.
    Channel,
    /// Delivers events.
    Sink,
    /// Several sinks that share work.
    SinkGroup,
}

impl Role {
    /// The word of a `flume.conf` and of messages.
    pub const fn word(self) -> &'static str {
        match self {
            Role::Source => "source",
            Role::Channel => "channel",
            Role::Sink => "sink",
            Role::SinkGroup => "sink group",
        }
    }

    /// Flume's name of the counter set.
    pub const fn flume(self) -> &'static str {
        match self {
            Role::Source => "SOURCE",
            Role::Channel => "CHANNEL",
            Role::Sink => "SINK",
            Role::SinkGroup => "SINK_GROUP",
        }
    }
}

/// The machine as seen by components: real in the agent, made up in tests and simulations.
pub trait World: Clock + Send + Sync + 'static {
    /// A seed that differs from call to call, unless the world is simulated.
    fn seed(&self) -> u64;
    /// The host's short name.
    fn host_name(&self) -> Option<String>;
    /// The host's full name, as Java's `getCanonicalHostName`.
    fn canonical_host_name(&self) -> Option<String>;
    /// The host's address, as Java's `getLocalHost().getHostAddress()`.
    fn host_address(&self) -> Option<String>;
    /// An environment variable.
    fn variable(&self, name: &str) -> Option<String>;
    /// A property given with `-D` on the command line.
    fn property(&self, name: &str) -> Option<String>;
    /// The user's home directory, for Flume's default paths.
    fn home(&self) -> PathBuf;
}

/// Time. Wall time names things for people and fills headers; it orders nothing.
pub trait Clock {
    /// Milliseconds since 1970 UTC.
    fn now_millis(&self) -> i64;
    /// Monotonic time, for waits and ages.
    fn instant(&self) -> Instant;
}

/// What a component is told when it opens.
#[derive(Clone)]
pub struct Context {
    /// The agent's name.
    pub agent: Arc<str>,
    /// The component's name.
    pub name: Arc<str>,
    /// What it is.
    pub role: Role,
    /// Names that this part chooses among: a selector's channels, a sink processor's sinks.
    pub choices: Arc<[Arc<str>]>,
    /// Whether a channel takes the events that this sink rejects. Where none does, a sink holds or
    /// drops them, as Flume's does.
    pub dead_letters: bool,
    /// Counters of the source, sink or channel, for what only the component knows.
    pub counters: crate::metrics::Counters,
    /// The machine.
    pub world: Arc<dyn World>,
    /// What the agent's components share.
    pub shared: crate::Shared,
}

impl Context {
    /// `source r1`, for messages.
    pub fn title(&self) -> String {
        format!("{} {}", self.role.word(), self.name)
    }

    /// A generator of its own for this component.
    pub fn random(&self) -> Random {
        Random::new(self.world.seed())
    }
}

/// A small pseudo-random generator (SplitMix64; Steele, Lea, Flood 2014) for jitter, choice and
/// identifiers that need not be secret. Shared by reference; equal seeds give equal sequences.
#[derive(Debug)]
pub struct Random(AtomicU64);

impl Random {
    /// A generator that starts from `seed`.
    pub const fn new(seed: u64) -> Self {
        Random(AtomicU64::new(seed))
    }

    /// The next 64 bits.
    pub fn next(&self) -> u64 {
        const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
        let mut z = self.0.fetch_add(STEP, Relaxed).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`, 0 when `bound` is 0. The bias is below one in 2^32 for small bounds.
    pub fn below(&self, bound: usize) -> usize {
        let wide = u128::from(self.next()) * bound as u128;
        usize::try_from(wide >> 64).unwrap_or(0)
    }

    /// `full`, shortened by up to a quarter at random, so that many who wait do not wake at once.
    pub fn jitter(&self, full: Duration) -> Duration {
        let quarter = full / 4;
        let part = u32::try_from(self.below(1024)).unwrap_or(0);
        full - quarter * part / 1024
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_repeats_from_its_seed_and_keeps_its_bounds() {
        let (a, b) = (Random::new(7), Random::new(7));
        for _ in 0..1000 {
            assert_eq!(a.next(), b.next());
            assert!(a.below(10) < 10);
            b.next();
            let waited = a.jitter(Duration::from_secs(4));
            b.next();
            assert!(waited > Duration::from_secs(3) - Duration::from_millis(1));
            assert!(waited <= Duration::from_secs(4));
        }
        assert_eq!(a.below(0), 0);
    }
}
