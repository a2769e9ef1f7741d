//! How often and how long an operation is tried.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::config::Config;
use crate::error::Error;
use crate::random::Random;

/// HBase's multipliers of the pause, one for each try in turn, the last for all that follow.
const MULTIPLIERS: [u32; 13] = [1, 2, 3, 5, 10, 20, 40, 100, 100, 100, 100, 200, 200];

/// What the next try waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Next {
    /// Nothing, if this is the first failure in a row that says so.
    AtOnce,
    /// The pause of its turn.
    Pause,
}

/// The tries of one operation.
#[derive(Debug)]
pub(crate) struct Tries<'a> {
    config: &'a Config,
    random: &'a Random,
    began: Instant,
    failed: u32,
    /// Whether the last failure was tried again without a pause.
    at_once: bool,
}

impl<'a> Tries<'a> {
    pub(crate) fn new(config: &'a Config, random: &'a Random) -> Self {
        Tries { config, random, began: Instant::now(), failed: 0, at_once: false }
    }

    /// How many have failed.
    pub(crate) fn failed(&self) -> u32 {
        self.failed
    }

    /// How long the next call may take, of those that may take so long.
    pub(crate) fn call_timeout(&self, limit: Duration) -> Duration {
        limit.min(self.left()).max(Duration::from_millis(1))
    }

    /// Whether the operation has had its time.
    pub(crate) fn is_late(&self) -> bool {
        self.left().is_zero()
    }

    fn left(&self) -> Duration {
        self.config.operation_timeout.saturating_sub(self.began.elapsed())
    }

    /// Waits until it is time to try again, or says that it was tried enough.
    pub(crate) async fn again(&mut self, failure: Error, next: Next) -> Result<(), Error> {
        if failure.is_permanent() {
            return Err(failure);
        }
        self.failed += 1;
        let pause =
            if next == Next::AtOnce && !self.at_once { Duration::ZERO } else { self.pause() };
        self.at_once = pause.is_zero();
        if self.failed > self.config.retries || pause >= self.left() {
            return Err(Error::GaveUp {
                tries: self.failed,
                waited: self.began.elapsed(),
                last: Box::new(failure),
            });
        }
        tracing::debug!(tries = self.failed, ?pause, %failure, "trying again");
        if !pause.is_zero() {
            sleep(pause).await;
        }
        Ok(())
    }

    fn pause(&self) -> Duration {
        self.random.jitter(full_pause(self.config.pause, self.failed))
    }
}

/// Without jitter, after `failed` failures.
fn full_pause(unit: Duration, failed: u32) -> Duration {
    let turn = usize::try_from(failed.saturating_sub(1)).unwrap_or(usize::MAX);
    unit * MULTIPLIERS[turn.min(MULTIPLIERS.len() - 1)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Address;

    fn lost() -> Error {
        Error::lost(&Address::new("h", 1), "x")
    }

    #[test]
    fn pauses_grow_as_in_hbase() {
        let check = |failed: u32, millis: u64| {
            let pause = full_pause(Duration::from_millis(100), failed);
            assert_eq!(pause, Duration::from_millis(millis), "{failed}");
        };
        for (failed, millis) in
            [(1, 100), (2, 200), (5, 1000), (8, 10_000), (13, 20_000), (99, 20_000)]
        {
            check(failed, millis);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn tries_end_by_number_by_time_and_by_the_last_word() {
        let random = Random::new();
        let few = Config { retries: 2, ..Config::default() };
        let mut tries = Tries::new(&few, &random);
        tries.again(lost(), Next::Pause).await.unwrap();
        tries.again(lost(), Next::Pause).await.unwrap();
        let end = tries.again(lost(), Next::Pause).await.unwrap_err();
        assert!(matches!(end, Error::GaveUp { tries: 3, .. }), "{end}");

        let short = Config { operation_timeout: Duration::from_millis(250), ..Config::default() };
        let mut tries = Tries::new(&short, &random);
        tries.again(lost(), Next::Pause).await.unwrap();
        assert!(tries.call_timeout(short.rpc_timeout) <= Duration::from_millis(150));
        assert!(tries.again(lost(), Next::Pause).await.is_err());

        let mut tries = Tries::new(&few, &random);
        let invalid = Error::invalid("x");
        assert_eq!(tries.again(invalid.clone(), Next::AtOnce).await, Err(invalid));
    }

    #[tokio::test(start_paused = true)]
    async fn at_once_is_only_once_in_a_row() {
        let random = Random::new();
        let config = Config::default();
        let mut tries = Tries::new(&config, &random);
        let mut waits = Vec::new();
        for next in [Next::AtOnce, Next::AtOnce, Next::AtOnce, Next::Pause, Next::AtOnce] {
            let before = Instant::now();
            tries.again(lost(), next).await.unwrap();
            waits.push(before.elapsed().is_zero());
        }
        assert_eq!(waits, [true, false, true, false, true]);
    }
}
