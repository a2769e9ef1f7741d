//! Sink processor `load_balance`: sinks in turn or at random.
//!
//! Flume's class: `org.apache.flume.sink.LoadBalancingSinkProcessor`. A batch that one sink failed
//! goes to the others before it counts as failed. With `backoff` a sink that failed is passed over
//! for 2 s, then 4 s and so on; a failure more than an hour after the last wait starts over.

use std::time::{Duration, Instant};

use serde::Deserialize;
use splashdam_config::Lenient;
use splashdam_core::{Component, Context, OpenError, Random, SinkId, SinkProcessor, Went};

use super::penalty;

const DEFAULT_MAX_TIME_OUT_MS: i64 = 30_000;
/// Failures that lie no further apart, beyond their wait, are in a row.
const IN_A_ROW: Duration = Duration::from_secs(3600);
/// Failures in a row that are counted.
const MOST_FAILURES: u32 = 16;

/// Sinks that share the work.
pub struct LoadBalance {
    members: Vec<Member>,
    policy: Policy,
    random: Random,
    backoff: bool,
    max_time_out: Duration,
    /// Where the next round starts, among the sinks that are not passed over.
    head: usize,
    /// This round's order.
    order: Vec<SinkId>,
}

#[derive(Clone, Copy, Default)]
struct Member {
    failures: u32,
    last_failure: Option<Instant>,
    until: Option<Instant>,
}

/// Keys of the load_balance processor.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct Config {
    /// How the next sink is found: `round_robin` or `random`, in any case.
    pub selector: Policy,
    /// Whether sinks that failed are passed over for a while.
    pub backoff: bool,
    /// The longest time to pass a sink over, in milliseconds.
    #[serde(rename = "selector.maxTimeOut")]
    pub max_time_out: Lenient<i64>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            selector: Policy::RoundRobin,
            backoff: false,
            max_time_out: Lenient(Some(DEFAULT_MAX_TIME_OUT_MS)),
        }
    }
}

/// How the next sink is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename = "any case")]
pub enum Policy {
    /// Each round starts one further.
    #[serde(rename = "round_robin")]
    RoundRobin,
    /// Each round has an order of its own.
    #[serde(rename = "random")]
    Random,
}

impl Component for LoadBalance {
    const TYPE: &'static str = "load_balance";
    const ALIASES: &'static [&'static str] = &["org.apache.flume.sink.LoadBalancingSinkProcessor"];
    type Config = Config;

    async fn open(config: Config, cx: Context) -> Result<Self, OpenError> {
        if cx.choices.len() < 2 {
            return Err(OpenError::config(format!(
                "{} needs two sinks or more for processor `load_balance` and has {}; use `default` for one",
                cx.title(),
                cx.choices.len()
            )));
        }
        let max = config.max_time_out.unwrap_or(DEFAULT_MAX_TIME_OUT_MS);
        Ok(LoadBalance {
            members: vec![Member::default(); cx.choices.len()],
            policy: config.selector,
            random: cx.random(),
            backoff: config.backoff,
            max_time_out: Duration::from_millis(u64::try_from(max).unwrap_or(0)),
            head: 0,
            order: Vec::with_capacity(cx.choices.len()),
        })
    }
}

impl SinkProcessor for LoadBalance {
    fn begin(&mut self, now: Instant) {
        self.order_sinks(now);
    }

    fn pick(&mut self, _now: Instant, tried: &[SinkId]) -> Option<SinkId> {
        self.order.iter().find(|sink| !tried.contains(sink)).copied()
    }

    fn settle(&mut self, now: Instant, sink: SinkId, went: Went) {
        if !self.backoff || went != Went::Failed {
            return;
        }
        let most = self.max_time_out;
        let Some(member) = self.members.get_mut(sink.0) else { return };
        let in_a_row = member.last_failure.is_some_and(|last| {
            now.saturating_duration_since(last) < penalty(member.failures, most) + IN_A_ROW
        });
        member.failures = if in_a_row { (member.failures + 1).min(MOST_FAILURES) } else { 1 };
        member.last_failure = Some(now);
        member.until = Some(now + penalty(member.failures, most));
    }
}

impl LoadBalance {
    /// Who is tried in a round, and in which order.
    fn order_sinks(&mut self, now: Instant) {
        let ready = |member: &Member| member.until.is_none_or(|until| until <= now);
        let sinks = self.members.iter().enumerate().filter(|(_, member)| ready(member));
        self.order.clear();
        self.order.extend(sinks.map(|(index, _)| SinkId(index)));
        let count = self.order.len();
        match self.policy {
            Policy::RoundRobin if count > 0 => {
                // There may be fewer than in the last round.
                let head = if self.head < count { self.head } else { 0 };
                self.order.rotate_left(head);
                self.head = (head + 1) % count;
            }
            Policy::RoundRobin => {}
            Policy::Random => {
                for last in (1..count).rev() {
                    self.order.swap(last, self.random.below(last + 1));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use splashdam_testkit::contract;

    use super::super::tests::{Group, opened};
    use super::*;

    #[tokio::test]
    async fn keeps_the_contract() {
        contract::processor::<LoadBalance>("", &["k1", "k2"]).await;
        let keys = "selector = random\nbackoff = true\nselector.maxTimeOut = 10000";
        contract::processor::<LoadBalance>(keys, &["k1", "k2", "k3"]).await;
    }

    type Scene = (u64, &'static [u8; 3], &'static [usize]);

    async fn play(keys: &str, scenes: &[Scene]) {
        let mut group = Group::<LoadBalance>::new(keys, &["k1", "k2", "k3"]).await;
        for (millis, answers, tried) in scenes {
            group.answers = answers.to_vec();
            assert_eq!(group.batch(*millis), *tried, "at {millis} ms of {scenes:?}");
        }
    }

    #[tokio::test]
    async fn takes_turns_and_goes_on_past_a_failure() {
        play(
            "",
            &[
                (0, b"ddd", &[0]),
                (0, b"ddd", &[1]),
                (0, b"ddd", &[2]),
                (0, b"ddd", &[0]),
                (0, b"dfd", &[1, 2]),
                (0, b"dfd", &[2]),
                (0, b"fff", &[0, 1, 2]),
                // Without back-off nothing is remembered.
                (0, b"fff", &[1, 2, 0]),
                (0, b"bdd", &[2]),
                (0, b"bdd", &[0]),
                (0, b"ddd", &[1]),
            ],
        )
        .await;
    }

    #[tokio::test]
    async fn passes_over_those_that_failed() {
        play(
            "backoff = true\nselector = ROUND_ROBIN\nselector.maxTimeOut = 5000",
            &[
                (0, b"fdd", &[0, 1]),
                (0, b"fdd", &[2]),
                (0, b"fdd", &[1]),
                (1_999, b"fdd", &[2]),
                (2_000, b"fdd", &[0, 1]),
                (2_000, b"fdd", &[2]),
                (5_999, b"fdd", &[1]),
                // Now 4 s are over, and the third failure waits for no more than the limit of 5 s.
                (6_000, b"fdd", &[1]),
                (6_000, b"fdd", &[2]),
                (6_000, b"fdd", &[0, 1]),
                (10_999, b"ddd", &[2]),
                (10_999, b"ddd", &[1]),
                (11_000, b"ddd", &[1]),
                (11_000, b"ddd", &[2]),
                // A failure long after the last starts over with 2 s.
                (9_000_000, b"fdd", &[0, 1]),
                (9_001_999, b"ddd", &[2]),
                (9_002_000, b"ddd", &[0]),
            ],
        )
        .await;
    }

    /// As when sinks are drained at the end and some have nothing left.
    #[tokio::test]
    async fn a_round_without_some_sinks_has_an_order_of_its_own() {
        for keys in ["backoff = true", "backoff = true\nselector = random"] {
            let mut group = Group::<LoadBalance>::new(keys, &["k1", "k2"]).await;
            let idle = [SinkId(0)];
            group.answers = b"df".to_vec();
            assert_eq!(group.batch_without(0, &idle), [1]);
            assert_eq!(group.batch_without(1_999, &idle), [0; 0]);
            assert_eq!(group.batch_without(2_000, &idle), [1]);
            group.answers = b"dd".to_vec();
            assert_eq!(group.batch_without(5_999, &idle), [0; 0]);
            assert_eq!(group.batch_without(6_000, &idle), [1]);
        }
    }

    #[tokio::test]
    async fn nobody_is_left_while_all_are_passed_over() {
        for keys in ["backoff = true", "backoff = true\nselector = random"] {
            let mut group = Group::<LoadBalance>::new(keys, &["k1", "k2"]).await;
            group.answers = b"ff".to_vec();
            assert_eq!(group.batch(0).len(), 2);
            group.answers = b"dd".to_vec();
            assert_eq!(group.batch(1_999), [0; 0]);
            assert_eq!(group.batch(2_000).len(), 1);
        }
    }

    #[tokio::test]
    async fn random_gives_each_its_share() {
        let mut group = Group::<LoadBalance>::new("selector = Random", &["k1", "k2", "k3"]).await;
        let mut counts = [0; 3];
        for _ in 0..300 {
            counts[group.batch(0)[0]] += 1;
        }
        assert!(counts.iter().all(|n| (60..=140).contains(n)), "{counts:?}");
        group.answers = b"fff".to_vec();
        let mut all = group.batch(0);
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2]);
    }

    #[tokio::test]
    async fn needs_two_sinks_and_a_known_selector() {
        assert!(opened::<LoadBalance>("", &["k1"]).await.is_err());
        assert!(opened::<LoadBalance>("selector = org.example.Mine", &["k1", "k2"]).await.is_err());
    }
}
