//! What a simulation of hops puts in place of the system, and the bugs that it plants to see whether
//! it would find them. Without the feature `simulation` nothing of it is there.

#[cfg(feature = "simulation")]
mod stand_in {
    use std::fmt;
    use std::sync::{Arc, OnceLock};

    use splashdam_client::Connect;
    use splashdam_wire::claim::Claim;

    /// A bug that somebody could have written.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Bug {
        /// What is known of a sender is stored with its next batch: after the acknowledgement.
        StateAfterAnswer,
        /// A sender's next life counts in the same epoch as the one before.
        EpochIgnored,
        /// A sender's first sequence after a restart is the last one before it.
        SequenceReused,
        /// A batch is acknowledged when it is on its way into the channel.
        AnswerBeforeStored,
        /// What is behind a refused batch is stored all the same.
        RefusalForgotten,
        /// The sink says that what it sends is settled.
        LowAhead,
    }

    /// What stands in for the system in one agent, as a part of its `Context::shared`.
    #[derive(Default)]
    pub struct Simulation {
        /// Makes the connections of sinks.
        pub network: OnceLock<Arc<dyn Connect>>,
        /// The bug that is planted, if one is.
        pub bug: OnceLock<Bug>,
    }

    impl Simulation {
        pub(crate) fn has(&self, bug: Bug) -> bool {
            self.bug.get() == Some(&bug)
        }
    }

    /// A claim that says its own events were settled.
    pub(crate) fn settled_early(claim: Claim) -> Claim {
        let low = claim.ranges.last().map_or(claim.low, |last| last.end);
        Claim { low, ..claim }
    }

    impl fmt::Debug for Simulation {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("Simulation").field("bug", &self.bug).finish_non_exhaustive()
        }
    }
}

#[cfg(feature = "simulation")]
pub(crate) use stand_in::settled_early;
#[cfg(feature = "simulation")]
pub use stand_in::{Bug, Simulation};

/// Whether a bug is planted. Its first argument has a field `simulation` where there is one.
macro_rules! planted {
    ($held:expr, $bug:ident) => {{
        #[cfg(feature = "simulation")]
        let planted = $held.simulation.has($crate::Bug::$bug);
        #[cfg(not(feature = "simulation"))]
        let planted = false;
        planted
    }};
}
pub(crate) use planted;
