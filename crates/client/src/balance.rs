//! Whose turn it is among servers that share the load.

use std::time::Duration;

use splashdam_core::Random;
use tokio::time::Instant;

/// Failures that lie no further apart, beyond their wait, are in a row.
const IN_A_ROW: Duration = Duration::from_secs(3600);
/// Failures in a row that are counted.
const MOST_FAILURES: u32 = 16;

/// The turns, and who is passed over for a while: for 2 s after a failure, then 4 s and so on.
#[derive(Debug)]
pub(crate) struct Balance {
    random: Option<Random>,
    back_off: Option<Duration>,
    servers: Vec<Server>,
    next: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Server {
    failures: u32,
    last_failure: Option<Instant>,
    until: Option<Instant>,
}

impl Balance {
    /// Turns among `servers`; at random where there is a generator.
    pub(crate) fn new(servers: usize, random: Option<Random>, back_off: Option<Duration>) -> Self {
        Balance { random, back_off, servers: vec![Server::default(); servers], next: 0 }
    }

    /// In which order the servers are tried for the next call. Nobody twice; those that are passed
    /// over are not in it, and nobody is if all are.
    pub(crate) fn order(&mut self, now: Instant) -> Vec<usize> {
        let ready = |server: &Server| server.until.is_none_or(|until| until <= now);
        let servers = self.servers.iter().enumerate().filter(|(_, server)| ready(server));
        let mut order: Vec<usize> = servers.map(|(index, _)| index).collect();
        if let Some(random) = &self.random {
            for last in (1..order.len()).rev() {
                order.swap(last, random.below(last + 1));
            }
        } else if !order.is_empty() {
            let next = if self.next < order.len() { self.next } else { 0 };
            order.rotate_left(next);
            self.next = (next + 1) % order.len();
        }
        order
    }

    /// Notes that a server failed.
    pub(crate) fn failed(&mut self, now: Instant, server: usize) {
        let (Some(most), Some(server)) = (self.back_off, self.servers.get_mut(server)) else {
            return;
        };
        let in_a_row = server.last_failure.is_some_and(|last| {
            now.saturating_duration_since(last) < penalty(server.failures, most) + IN_A_ROW
        });
        server.failures = if in_a_row { (server.failures + 1).min(MOST_FAILURES) } else { 1 };
        server.last_failure = Some(now);
        server.until = Some(now + penalty(server.failures, most));
    }
}

fn penalty(failures: u32, most: Duration) -> Duration {
    Duration::from_secs(1 << failures).min(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_go_round() {
        let now = Instant::now();
        let mut balance = Balance::new(3, None, None);
        for want in [[0, 1, 2], [1, 2, 0], [2, 0, 1], [0, 1, 2]] {
            assert_eq!(balance.order(now), want);
            // Without back-off failures are not remembered.
            balance.failed(now, want[0]);
        }
    }

    #[test]
    fn who_fails_is_passed_over_longer_each_time() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut balance = Balance::new(2, None, Some(Duration::from_secs(5)));
        balance.failed(at(0), 0);
        assert_eq!(balance.order(at(1)), [1]);
        assert_eq!(balance.order(at(2)).len(), 2);
        balance.failed(at(2), 0);
        assert_eq!(balance.order(at(5)), [1]);
        assert_eq!(balance.order(at(6)).len(), 2);
        // No longer than was said, and from the beginning after an hour.
        balance.failed(at(6), 0);
        assert_eq!(balance.order(at(11)).len(), 2);
        balance.failed(at(8000), 0);
        assert_eq!(balance.order(at(8002)).len(), 2);
        balance.failed(at(9000), 0);
        balance.failed(at(9000), 1);
        assert_eq!(balance.order(at(9000)), [0; 0]);
    }

    #[test]
    fn chance_is_fair_and_complete() {
        let mut balance = Balance::new(4, Some(Random::new(7)), None);
        let mut first = [0; 4];
        for _ in 0..4000 {
            let mut order = balance.order(Instant::now());
            first[order[0]] += 1;
            order.sort_unstable();
            assert_eq!(order, [0, 1, 2, 3]);
        }
        assert!(first.iter().all(|count| (800..1200).contains(count)), "{first:?}");
    }
}
