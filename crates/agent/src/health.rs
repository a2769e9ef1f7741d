//! Whether events move, judged from what the components are and what they have counted.
//!
//! A process that lives may still carry nothing. Unhealthy means: a component failed or waits to
//! be opened again, a channel holds events that nobody takes, or a sink tries and delivers
//! nothing. Ready means: every component is open. What is judged comes in, the verdict goes out;
//! nothing here waits or reads a clock.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use splashdam_core::Role;
use splashdam_core::metrics::{Counters, Registered};

use crate::status::{Phase, Status};

/// How long a channel may hold events that nobody takes, or a sink try in vain.
pub const STALLED_AFTER: Duration = Duration::from_secs(60);
/// How long a full channel may stay so without a take: its sources are held up all the while.
pub const FULL_AFTER: Duration = Duration::from_secs(30);
/// A sink that has not tried for this long is not trying: another of its group may have taken over.
const TRIES_WITHIN: Duration = Duration::from_secs(30);
/// The most characters of a component's trouble that are shown.
const REASON_LIMIT_CHARS: usize = 300;

/// One component's numbers at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Of a channel.
    Channel {
        /// Events waiting or leased.
        held: usize,
        /// Events it holds at the most, 0 when unknown.
        capacity: usize,
        /// Events taken and committed so far.
        taken: u64,
    },
    /// Of a sink.
    Sink {
        /// Events whose delivery was tried so far.
        tried: u64,
        /// Events delivered so far.
        delivered: u64,
    },
}

/// What is wrong with one component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// `sink k1`.
    pub component: String,
    /// Lower case, without a full stop.
    pub reason: String,
}

/// The answer to `/healthz` and `/readyz`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Why it is not healthy; empty when it is.
    pub unhealthy: Vec<Problem>,
    /// Why it is not ready; empty when it is.
    pub unready: Vec<Problem>,
}

/// What was seen before, so that standing still can be told from moving slowly.
#[derive(Debug, Default)]
pub struct Health {
    seen: BTreeMap<(Role, Arc<str>), Seen>,
}

/// One component's progress.
#[derive(Debug)]
struct Seen {
    /// Events taken or delivered when last looked at.
    done: u64,
    /// When that number last changed, or there was last nothing to do.
    moved: Instant,
    /// Events tried when last looked at.
    tried: u64,
    /// When that number last changed.
    tried_at: Instant,
    /// Events tried when `done` last changed.
    tried_then: u64,
}

impl Reading {
    /// Reads what monitoring knows of a component; nothing of a source.
    pub fn of(registered: &Registered) -> Option<Self> {
        match &registered.counters {
            Counters::Source(_) => None,
            Counters::Channel(counted) => {
                let level = registered.level.as_ref().map(|read| read()).unwrap_or_default();
                Some(Reading::Channel {
                    held: (level.queued + level.leased).events,
                    capacity: level.capacity.events,
                    taken: counted.take_successes.value(),
                })
            }
            Counters::Sink(counted) => Some(Reading::Sink {
                tried: counted.drain_attempts.value(),
                delivered: counted.drain_successes.value(),
            }),
        }
    }
}

impl Health {
    /// Looks at everything once. Called every few seconds, and when somebody asks.
    pub fn observe(
        &mut self,
        now: Instant,
        readings: &[((Role, Arc<str>), Reading)],
        states: &[((Role, Arc<str>), Status)],
    ) -> Verdict {
        let mut verdict = Verdict::default();
        for ((role, name), status) in states {
            let problem = || Problem {
                component: format!("{} {name}", role.word()),
                reason: reason_of(now, status),
            };
            match status.phase {
                Phase::Running => {}
                // A source may have nothing more to bring.
                Phase::Closed if status.trouble.is_none() => {}
                // The group delivers; which sink does not is in the log.
                Phase::Waiting | Phase::Closed if status.covered => {}
                Phase::Opening | Phase::Draining => verdict.unready.push(problem()),
                Phase::Waiting | Phase::Closed => {
                    verdict.unhealthy.push(problem());
                    verdict.unready.push(problem());
                }
            }
        }
        self.seen.retain(|key, _| readings.iter().any(|(read, _)| read == key));
        for (key, reading) in readings {
            let seen = self.seen.entry(key.clone()).or_insert_with(|| Seen::first(now, reading));
            seen.update(now, reading);
            let covered = states.iter().any(|(state, status)| state == key && status.covered);
            if let Some(reason) = seen.standstill(now, reading).filter(|_| !covered) {
                let component = format!("{} {}", key.0.word(), key.1);
                verdict.unhealthy.push(Problem { component, reason });
            }
        }
        verdict
    }
}

impl Seen {
    fn first(now: Instant, reading: &Reading) -> Self {
        let (done, tried) = reading.progress();
        Seen { done, moved: now, tried, tried_at: now, tried_then: tried }
    }

    fn update(&mut self, now: Instant, reading: &Reading) {
        let (done, tried) = reading.progress();
        if tried != self.tried {
            self.tried = tried;
            self.tried_at = now;
        }
        let idle = match reading {
            Reading::Channel { held, .. } => *held == 0,
            Reading::Sink { .. } => tried == self.tried_then,
        };
        if done != self.done || idle {
            self.done = done;
            self.moved = now;
            self.tried_then = tried;
        }
    }

    fn standstill(&self, now: Instant, reading: &Reading) -> Option<String> {
        let still = now.saturating_duration_since(self.moved);
        let seconds = still.as_secs();
        match reading {
            Reading::Channel { held, capacity, .. } => {
                if *capacity > 0 && held >= capacity && still >= FULL_AFTER {
                    return Some(format!("it is full and nothing was taken for {seconds} s"));
                }
                (*held > 0 && still >= STALLED_AFTER)
                    .then(|| format!("it holds {held} events and none was taken for {seconds} s"))
            }
            Reading::Sink { tried, .. } => {
                let trying = now.saturating_duration_since(self.tried_at) <= TRIES_WITHIN;
                let tried = tried.saturating_sub(self.tried_then);
                (trying && tried > 0 && still >= STALLED_AFTER)
                    .then(|| format!("it has tried for {seconds} s and delivered nothing"))
            }
        }
    }
}

impl Reading {
    /// Events done, events tried.
    fn progress(&self) -> (u64, u64) {
        match self {
            Reading::Channel { taken, .. } => (*taken, 0),
            Reading::Sink { tried, delivered } => (*delivered, *tried),
        }
    }
}

fn reason_of(now: Instant, status: &Status) -> String {
    let seconds = now.saturating_duration_since(status.since).as_secs();
    let mut reason = format!("{} for {seconds} s", status.phase.word());
    if let Some(trouble) = &status.trouble {
        reason.push_str(": ");
        reason.extend(trouble.chars().take(REASON_LIMIT_CHARS));
    }
    reason
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(role: Role) -> (Role, Arc<str>) {
        (role, "x".into())
    }

    /// The seconds at which a series of readings is judged unhealthy.
    fn unhealthy_at(role: Role, series: impl Fn(u64) -> Reading) -> Vec<u64> {
        let start = Instant::now();
        let mut health = Health::default();
        let ill = (0..200).step_by(5).filter(|s| {
            let readings = [(key(role), series(*s))];
            let verdict = health.observe(start + Duration::from_secs(*s), &readings, &[]);
            !verdict.unhealthy.is_empty()
        });
        ill.collect()
    }

    #[test]
    fn a_channel_must_move_while_it_holds_events() {
        let check = |want: &[u64], series: fn(u64) -> Reading| {
            let got = unhealthy_at(Role::Channel, series);
            assert_eq!((got.first(), got.last()), (want.first(), want.last()), "{got:?}");
        };
        let empty = |_| Reading::Channel { held: 0, capacity: 9, taken: 0 };
        check(&[], empty);
        check(&[], |s| Reading::Channel { held: 9, capacity: 9, taken: s / 20 });
        check(&[60, 195], |_| Reading::Channel { held: 1, capacity: 9, taken: 3 });
        check(&[30, 195], |_| Reading::Channel { held: 9, capacity: 9, taken: 3 });
        check(&[60, 195], |_| Reading::Channel { held: 9, capacity: 0, taken: 3 });
        // Long idle, then an event that is taken in time.
        let late = |s| Reading::Channel {
            held: usize::from(s > 150 && s < 170),
            capacity: 9,
            taken: u64::from(s >= 170),
        };
        check(&[], late);
        check(&[60, 95], |s| Reading::Channel {
            held: 5,
            capacity: 9,
            taken: if s < 100 { 0 } else { s },
        });
    }

    #[test]
    fn a_sink_must_deliver_while_it_tries() {
        let check = |want: &[u64], series: fn(u64) -> Reading| {
            let got = unhealthy_at(Role::Sink, series);
            assert_eq!((got.first(), got.last()), (want.first(), want.last()), "{got:?}");
        };
        check(&[], |_| Reading::Sink { tried: 7, delivered: 0 });
        check(&[], |s| Reading::Sink { tried: s, delivered: s });
        check(&[60, 195], |s| Reading::Sink { tried: s, delivered: 0 });
        // It failed and another took over: no longer its affair.
        check(&[60, 110], |s| Reading::Sink { tried: s.min(80), delivered: 0 });
        check(&[60, 95], |s| Reading::Sink { tried: s, delivered: if s < 100 { 0 } else { s } });
    }

    #[test]
    fn phases_decide_readiness() {
        let now = Instant::now();
        let check = |phase, trouble: Option<&str>, unhealthy: usize, unready: usize| {
            let status =
                Status { phase, since: now, trouble: trouble.map(Arc::from), covered: false };
            let verdict = Health::default().observe(now, &[], &[(key(Role::Sink), status)]);
            assert_eq!((verdict.unhealthy.len(), verdict.unready.len()), (unhealthy, unready));
            verdict.unready
        };
        check(Phase::Running, None, 0, 0);
        check(Phase::Running, Some("slow"), 0, 0);
        check(Phase::Closed, None, 0, 0);
        check(Phase::Closed, Some("no such directory"), 1, 1);
        check(Phase::Opening, None, 0, 1);
        check(Phase::Draining, None, 0, 1);
        let unready = check(Phase::Waiting, Some("connection refused"), 1, 1);
        assert_eq!(unready[0].component, "sink x");
        assert_eq!(unready[0].reason, "waiting for 0 s: connection refused");
    }
}
