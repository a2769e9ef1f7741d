//! Sink processor `failover`: the best sink that works.
//!
//! Flume's class: `org.apache.flume.sink.FailoverSinkProcessor`. A sink that fails waits for 2 s,
//! then 4 s and so on up to `maxpenalty`, is then tried before all others, and comes back once it
//! delivers. What differs from Flume:
//! - Sinks without a priority come after those listed before them in `sinks`; Flume's order is
//!   that of its hash table.
//! - Sinks of equal priority are all used, in listed order, with a warning; Flume never uses one.
//! - A failed sink that backs off when it is tried waits once more, so that others work meanwhile;
//!   Flume tries it with every batch.
//! - One that has nothing to deliver when it is tried has its old place, and waits longer if it fails
//!   again; in Flume it is tried before all others until it delivers.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Deserialize;
use splashdam_config::{Diagnostic, Lenient, Section, Spanned};
use splashdam_core::{Component, Context, Facts, OpenError, SinkId, SinkProcessor, Went};

use super::penalty;

const DEFAULT_MAX_PENALTY_MS: i64 = 30_000;

/// Sinks in order of preference.
pub struct Failover {
    /// Best first.
    members: Vec<Member>,
    max_penalty: Duration,
}

struct Member {
    sink: SinkId,
    failed: Option<Failed>,
}

/// Times without a delivery in between, and the end of the wait, if it waits.
#[derive(Clone, Copy)]
struct Failed {
    times: u32,
    until: Option<Instant>,
}

/// Keys of the failover processor.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct Config {
    /// A sink's rank, as in `priority.<sink> = 10`; the highest works. One that is not a number
    /// means none.
    pub priority: BTreeMap<String, Lenient<i32>>,
    /// The longest wait of a failed sink, in milliseconds. A value that is not a number means the
    /// default.
    pub maxpenalty: Lenient<i64>,
}

impl Default for Config {
    fn default() -> Self {
        Config { priority: BTreeMap::new(), maxpenalty: Lenient(Some(DEFAULT_MAX_PENALTY_MS)) }
    }
}

impl Component for Failover {
    const TYPE: &'static str = "failover";
    const ALIASES: &'static [&'static str] = &["org.apache.flume.sink.FailoverSinkProcessor"];
    type Config = Config;

    async fn open(config: Config, cx: Context) -> Result<Self, OpenError> {
        let mut unranked = 0;
        let mut ranked: Vec<(i32, SinkId)> = Vec::with_capacity(cx.choices.len());
        for (index, name) in cx.choices.iter().enumerate() {
            let written = config.priority.get(&**name).and_then(|priority| priority.0);
            let priority = written.unwrap_or_else(|| {
                unranked -= 1;
                unranked
            });
            ranked.push((priority, SinkId(index)));
        }
        // Stable: equal ones stay as listed.
        ranked.sort_by_key(|(priority, _)| std::cmp::Reverse(*priority));
        let max_penalty = config.maxpenalty.unwrap_or(DEFAULT_MAX_PENALTY_MS);
        Ok(Failover {
            members: ranked.into_iter().map(|(_, sink)| Member { sink, failed: None }).collect(),
            max_penalty: Duration::from_millis(u64::try_from(max_penalty).unwrap_or(0)),
        })
    }

    fn facts(config: &Config) -> Facts {
        let names = config.priority.keys().cloned().map(Spanned::from);
        Facts { chooses: names.collect(), ..Facts::default() }
    }

    fn check(config: &Config, section: &Section) -> Vec<Diagnostic> {
        let mut seen: BTreeMap<i32, &str> = BTreeMap::new();
        let mut findings = Vec::new();
        for (name, priority) in &config.priority {
            let Some(priority) = priority.0 else { continue };
            match seen.get(&priority) {
                None => drop(seen.insert(priority, name)),
                Some(other) => findings.push(
                    Diagnostic::warning(
                        "equal-priority",
                        format!("sinks {other} and {name} have the same priority {priority}"),
                    )
                    .at(section.value_span(&format!("priority.{name}")))
                    .help("give each a priority of its own; Flume never uses one of two such sinks")
                    .with_note("here both are used, in the order in which the group lists them"),
                ),
            }
        }
        findings
    }
}

impl SinkProcessor for Failover {
    fn pick(&mut self, now: Instant, tried: &[SinkId]) -> Option<SinkId> {
        let untried = || self.members.iter().filter(|member| !tried.contains(&member.sink));
        let due = untried().filter_map(|member| Some((member.waits_until()?, member.sink)));
        let due = due.filter(|(until, _)| *until <= now).min_by_key(|(until, _)| *until);
        let live = || untried().find(|member| member.waits_until().is_none());
        due.map(|(_, sink)| sink).or_else(|| Some(live()?.sink))
    }

    fn settle(&mut self, now: Instant, sink: SinkId, went: Went) {
        let Some(member) = self.members.iter_mut().find(|m| m.sink == sink) else { return };
        let times = member.failed.map_or(0, |failed| failed.times);
        let wait =
            |times| Some(Failed { times, until: Some(now + penalty(times, self.max_penalty)) });
        match went {
            Went::Delivered => member.failed = None,
            Went::Idle => member.failed = member.failed.map(|f| Failed { until: None, ..f }),
            Went::BackedOff if member.waits_until().is_some() => member.failed = wait(times),
            Went::BackedOff => {}
            Went::Failed => member.failed = wait(times.saturating_add(1)),
        }
    }
}

impl Member {
    fn waits_until(&self) -> Option<Instant> {
        self.failed?.until
    }
}

#[cfg(test)]
mod tests {
    use splashdam_testkit::contract;

    use super::super::tests::Group;
    use super::*;

    #[tokio::test]
    async fn keeps_the_contract() {
        contract::processor::<Failover>("", &["k1"]).await;
        let keys = "priority.k2 = 10\npriority.k1 = 5\nmaxpenalty = 10000";
        contract::processor::<Failover>(keys, &["k1", "k2", "k3"]).await;
    }

    /// The order in which the sinks of a group are tried when all fail.
    async fn order(keys: &str) -> Vec<usize> {
        let mut group = Group::<Failover>::new(keys, &["k1", "k2", "k3"]).await;
        group.answers = b"fff".to_vec();
        group.batch(0)
    }

    #[tokio::test]
    async fn the_highest_priority_comes_first() {
        assert_eq!(order("priority.k1 = 1\npriority.k2 = 3\npriority.k3 = 2").await, [1, 2, 0]);
        assert_eq!(order("").await, [0, 1, 2]);
        assert_eq!(order("priority.k3 = 0").await, [2, 0, 1]);
        assert_eq!(order("priority.k1 = -9").await, [1, 2, 0]);
        assert_eq!(order("priority.k1 = x\npriority.k2 = 1").await, [1, 0, 2]);
        assert_eq!(order("priority.k2 = 5\npriority.k3 = 5\npriority.k1 = 5").await, [0, 1, 2]);
    }

    /// What happens at a time, in milliseconds: the answers of k1, k2, k3 from then on, and the
    /// sinks that a batch is tried on.
    type Scene = (u64, &'static [u8; 3], &'static [usize]);

    async fn play(keys: &str, scenes: &[Scene]) {
        let mut group = Group::<Failover>::new(keys, &["k1", "k2", "k3"]).await;
        for (millis, answers, tried) in scenes {
            group.answers = answers.to_vec();
            assert_eq!(group.batch(*millis), *tried, "at {millis} ms of {scenes:?}");
        }
    }

    #[tokio::test]
    async fn the_primary_is_killed_and_restored() {
        play(
            "",
            &[
                (0, b"ddd", &[0]),
                (100, b"fdd", &[0, 1]),
                (2_099, b"fdd", &[1]),
                // Penalties of 2 s, 4 s, 8 s, 16 s, 30 s, 30 s.
                (2_100, b"fdd", &[0, 1]),
                (6_099, b"fdd", &[1]),
                (6_100, b"fdd", &[0, 1]),
                (14_100, b"fdd", &[0, 1]),
                (30_099, b"fdd", &[1]),
                (30_100, b"fdd", &[0, 1]),
                (60_099, b"fdd", &[1]),
                (60_100, b"fdd", &[0, 1]),
                // Restored: found when its penalty ends.
                (90_099, b"ddd", &[1]),
                (90_100, b"ddd", &[0]),
                (90_101, b"ddd", &[0]),
                // Failures count anew.
                (90_200, b"fdd", &[0, 1]),
                (92_200, b"ddd", &[0]),
            ],
        )
        .await;
    }

    #[tokio::test]
    async fn all_failed_and_back() {
        play(
            "maxpenalty = 3000",
            &[
                (0, b"fff", &[0, 1, 2]),
                (1_000, b"ddd", &[]),
                (1_999, b"ddd", &[]),
                (2_000, b"fff", &[0, 1, 2]),
                (4_999, b"ddd", &[]),
                // Not the best but the one that waited longest; equal here, so in order.
                (5_000, b"fdd", &[0, 1]),
                (5_001, b"fdd", &[2]),
                (5_002, b"fdd", &[1]),
            ],
        )
        .await;
    }

    #[tokio::test]
    async fn a_probe_goes_to_the_earliest_expiry() {
        play(
            "",
            &[
                (0, b"fdd", &[0, 1]),
                (500, b"ffd", &[1, 2]),
                (2_000, b"bdd", &[0]),
                (2_500, b"ddd", &[1]),
                (2_501, b"ddd", &[1]),
                (4_000, b"ddd", &[0]),
            ],
        )
        .await;
    }

    #[tokio::test]
    async fn backing_off_is_no_failure_and_no_recovery() {
        play(
            "",
            &[
                (0, b"bdd", &[0]),
                (1, b"bdd", &[0]),
                (10, b"fdd", &[0, 1]),
                (2_010, b"bdd", &[0]),
                // It waits once more, as long as before, and others work.
                (2_011, b"bdd", &[1]),
                (4_010, b"bdd", &[0]),
                (6_010, b"fdd", &[0, 1]),
                (10_009, b"ddd", &[1]),
                (10_010, b"ddd", &[0]),
            ],
        )
        .await;
    }

    #[tokio::test]
    async fn having_nothing_to_deliver_is_no_recovery() {
        play(
            "",
            &[
                (0, b"fdd", &[0, 1]),
                (1_999, b"idd", &[1]),
                // It has its place again, but its failures count on: 4 s now, …
                (2_000, b"idd", &[0]),
                (2_001, b"bdd", &[0]),
                (2_002, b"fdd", &[0, 1]),
                (6_001, b"idd", &[1]),
                (6_002, b"idd", &[0]),
                // … and 8 s then, until it delivers.
                (7_000, b"fdd", &[0, 1]),
                (14_999, b"ddd", &[1]),
                (15_000, b"ddd", &[0]),
                (15_001, b"fdd", &[0, 1]),
                (17_001, b"ddd", &[0]),
            ],
        )
        .await;
        // Who has nothing holds up nobody who is better.
        let scenes: &[Scene] = &[
            (0, b"ffd", &[0, 1, 2]),
            (2_000, b"ddi", &[0]),
            (2_001, b"did", &[1]),
            (2_002, b"did", &[0]),
        ];
        play("", scenes).await;
    }

    #[tokio::test]
    async fn penalties_never_overflow() {
        let mut group = Group::<Failover>::new("", &["k1", "k2", "k3"]).await;
        group.answers = b"fff".to_vec();
        for n in 0..100 {
            assert_eq!(group.batch(n * 30_000), [0, 1, 2]);
            if n > 5 {
                assert_eq!(group.batch(n * 30_000 + 29_999), [0; 0]);
            }
        }
    }

    #[test]
    fn equal_priorities_are_mentioned() {
        let check = |keys: &str, want: usize| {
            let section = Section::parse(keys);
            let config = section.read::<Config>().into_result().unwrap();
            assert_eq!(Failover::check(&config, &section).len(), want, "{keys}");
        };
        check("priority.k1 = 1\npriority.k2 = 2", 0);
        check("priority.k1 = 1\npriority.k2 = 1\npriority.k3 = 1", 2);
        check("priority.k1 = x\npriority.k2 = x", 0);
    }
}
