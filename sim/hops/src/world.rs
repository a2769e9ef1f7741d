//! The machine of a simulated agent.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use splashdam_core::{Clock, World};
use splashdam_sim::dice::Dice;
use tokio::time::Instant;

/// When every run begins, in milliseconds since 1970.
const BEGAN: i64 = 1_700_000_000_000;

/// A host with a name, and with the clock of the run.
pub(crate) struct SimWorld {
    host: String,
    began: Instant,
    dice: Mutex<Dice>,
}

impl SimWorld {
    pub(crate) fn new(host: String, began: Instant, seed: u64) -> Self {
        SimWorld { host, began, dice: Mutex::new(Dice::new(seed)) }
    }
}

impl Clock for SimWorld {
    fn now_millis(&self) -> i64 {
        BEGAN + i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX / 2)
    }

    fn instant(&self) -> std::time::Instant {
        Instant::now().into_std()
    }
}

impl World for SimWorld {
    fn seed(&self) -> u64 {
        self.dice.lock().unwrap_or_else(PoisonError::into_inner).roll()
    }

    fn host_name(&self) -> Option<String> {
        Some(self.host.clone())
    }

    fn canonical_host_name(&self) -> Option<String> {
        self.host_name()
    }

    fn host_address(&self) -> Option<String> {
        None
    }

    fn variable(&self, _name: &str) -> Option<String> {
        None
    }

    fn property(&self, _name: &str) -> Option<String> {
        None
    }

    fn home(&self) -> PathBuf {
        PathBuf::new()
    }
}
