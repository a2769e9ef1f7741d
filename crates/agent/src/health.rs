//! Whether the process lives, takes events in, and carries them on: judged from what the components
//! are and what they have counted.
//!
//! Three questions, since whoever asks does different things about them. *Dead*: something ended that
//! only a new start of the process brings back. *Unready*: something that events have to come in by is
//! not open, or has no room. *Stuck*: a process that lives may still carry nothing, as when a component
//! waits to be opened again, a channel holds events that nobody takes, or a sink tries and delivers
//! nothing. What is judged comes in, the verdict goes out; nothing here waits or reads a clock.

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
/// The most characters of a component's trouble or hindrance that are shown.
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
        /// What keeps it from taking anything in, other than its capacity.
        hindrance: Option<String>,
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

/// The answers to `/healthz`, `/readyz` and `/flowz`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// What only a new start brings back. What is wrong elsewhere, such as with the next hop, is not
    /// here: a new start would not mend it.
    pub dead: Vec<Problem>,
    /// Why events cannot be brought here now. A sink in trouble is not here: that is what channels
    /// are for.
    pub unready: Vec<Problem>,
    /// Why events do not get through from end to end.
    pub stuck: Vec<Problem>,
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
                    hindrance: registered.hindrance.as_ref().and_then(|read| read()),
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
                    verdict.stuck.push(problem());
                    if *role != Role::Sink {
                        verdict.unready.push(problem());
                    }
                }
                Phase::Dead => {
                    verdict.dead.push(problem());
                    verdict.stuck.push(problem());
                }
            }
        }
        self.seen.retain(|key, _| readings.iter().any(|(read, _)| read == key));
        for (key, reading) in readings {
            let seen = self.seen.entry(key.clone()).or_insert_with(|| Seen::first(now, reading));
            seen.update(now, reading);
            let covered = states.iter().any(|(state, status)| state == key && status.covered);
            let problem =
                |reason| Problem { component: format!("{} {}", key.0.word(), key.1), reason };
            if let Reading::Channel { hindrance: Some(reason), .. } = reading {
                verdict.unready.push(problem(shortened(reason)));
                verdict.stuck.push(problem(shortened(reason)));
            }
            if let Some(still) = seen.standstill(now, reading).filter(|_| !covered) {
                if matches!(still, Standstill::Full(_)) {
                    verdict.unready.push(problem(still.reason()));
                }
                verdict.stuck.push(problem(still.reason()));
            }
        }
        verdict
    }
}

/// How a component stands still, and for how many seconds.
enum Standstill {
    /// A channel that is full, so that its sources are held up.
    Full(u64),
    /// A channel that holds so many events.
    Held(usize, u64),
    /// A sink.
    Undelivered(u64),
}

impl Standstill {
    fn reason(&self) -> String {
        match self {
            Standstill::Full(seconds) => {
                format!("it is full and nothing was taken for {seconds} s")
            }
            Standstill::Held(held, seconds) => {
                format!("it holds {held} events and none was taken for {seconds} s")
            }
            Standstill::Undelivered(seconds) => {
                format!("it has tried for {seconds} s and delivered nothing")
            }
        }
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

    fn standstill(&self, now: Instant, reading: &Reading) -> Option<Standstill> {
        let still = now.saturating_duration_since(self.moved);
        let seconds = still.as_secs();
        match reading {
            Reading::Channel { held, capacity, .. } => {
                if *capacity > 0 && held >= capacity && still >= FULL_AFTER {
                    return Some(Standstill::Full(seconds));
                }
                (*held > 0 && still >= STALLED_AFTER).then_some(Standstill::Held(*held, seconds))
            }
            Reading::Sink { tried, .. } => {
                let trying = now.saturating_duration_since(self.tried_at) <= TRIES_WITHIN;
                let tried = tried.saturating_sub(self.tried_then);
                (trying && tried > 0 && still >= STALLED_AFTER)
                    .then_some(Standstill::Undelivered(seconds))
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
        reason.push_str(&shortened(trouble));
    }
    reason
}

fn shortened(reason: &str) -> String {
    reason.chars().take(REASON_LIMIT_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(role: Role) -> (Role, Arc<str>) {
        (role, "x".into())
    }

    fn channel(held: usize, capacity: usize, taken: u64) -> Reading {
        Reading::Channel { held, capacity, taken, hindrance: None }
    }

    /// The seconds at which a series of readings is judged stuck.
    fn stuck_at(role: Role, series: impl Fn(u64) -> Reading) -> Vec<u64> {
        let start = Instant::now();
        let mut health = Health::default();
        let ill = (0..200).step_by(5).filter(|s| {
            let readings = [(key(role), series(*s))];
            let verdict = health.observe(start + Duration::from_secs(*s), &readings, &[]);
            assert!(verdict.dead.is_empty(), "a new start would not help");
            !verdict.stuck.is_empty()
        });
        ill.collect()
    }

    #[test]
    fn a_channel_must_move_while_it_holds_events() {
        let check = |want: &[u64], series: fn(u64) -> Reading| {
            let got = stuck_at(Role::Channel, series);
            assert_eq!((got.first(), got.last()), (want.first(), want.last()), "{got:?}");
        };
        check(&[], |_| channel(0, 9, 0));
        check(&[], |s| channel(9, 9, s / 20));
        check(&[60, 195], |_| channel(1, 9, 3));
        check(&[30, 195], |_| channel(9, 9, 3));
        check(&[60, 195], |_| channel(9, 0, 3));
        // Long idle, then an event that is taken in time.
        check(&[], |s| channel(usize::from(s > 150 && s < 170), 9, u64::from(s >= 170)));
        check(&[60, 95], |s| channel(5, 9, if s < 100 { 0 } else { s }));
    }

    #[test]
    fn a_sink_must_deliver_while_it_tries() {
        let check = |want: &[u64], series: fn(u64) -> Reading| {
            let got = stuck_at(Role::Sink, series);
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
    fn what_takes_nothing_in_is_not_ready_and_lives() {
        let check = |after: u64, reading: Reading, want: Option<&str>| {
            let (start, mut health) = (Instant::now(), Health::default());
            let readings = [(key(Role::Channel), reading)];
            health.observe(start, &readings, &[]);
            let verdict = health.observe(start + Duration::from_secs(after), &readings, &[]);
            let reasons = |of: &[Problem]| of.iter().map(|one| one.reason.clone()).collect();
            let unready: Vec<String> = reasons(&verdict.unready);
            assert_eq!(unready, want.into_iter().collect::<Vec<_>>(), "{verdict:?}");
            assert_eq!(verdict.dead, []);
        };
        let full = Some("it is full and nothing was taken for 31 s".to_owned());
        check(31, channel(9, 9, 0), full.as_deref());
        check(5, channel(9, 9, 0), None);
        // It holds events that nobody takes, and has room for more.
        check(90, channel(8, 9, 0), None);
        let disk = "its disk is full: /data has 3.0 MiB free and needs 564.0 MiB";
        let hindrance = Some(disk.to_owned());
        check(0, Reading::Channel { held: 1, capacity: 9, taken: 0, hindrance }, Some(disk));
    }

    #[test]
    fn phases_decide() {
        let now = Instant::now();
        let check = |role, phase, trouble: Option<&str>, want: [bool; 3]| {
            let status =
                Status { phase, since: now, trouble: trouble.map(Arc::from), covered: false };
            let verdict = Health::default().observe(now, &[], &[(key(role), status)]);
            let Verdict { dead, unready, stuck } = verdict;
            let got = [&dead, &unready, &stuck].map(|problems| !problems.is_empty());
            assert_eq!(got, want, "{role:?} {phase:?}");
            stuck
        };
        const WELL: [bool; 3] = [false; 3];
        const UNREADY: [bool; 3] = [false, true, false];
        const STUCK: [bool; 3] = [false, false, true];
        const BOTH: [bool; 3] = [false, true, true];
        for role in [Role::Source, Role::Channel, Role::Sink] {
            check(role, Phase::Running, None, WELL);
            check(role, Phase::Running, Some("slow"), WELL);
            check(role, Phase::Closed, None, WELL);
            check(role, Phase::Opening, None, UNREADY);
            check(role, Phase::Draining, None, UNREADY);
            // A next hop that is down neither kills the agent nor keeps events from coming in.
            let waits = if role == Role::Sink { STUCK } else { BOTH };
            check(role, Phase::Closed, Some("no such directory"), waits);
            check(role, Phase::Waiting, Some("connection refused"), waits);
            check(role, Phase::Dead, Some("panicked"), [true, false, true]);
        }
        let stuck = check(Role::Sink, Phase::Waiting, Some("connection refused"), STUCK);
        assert_eq!(stuck[0].component, "sink x");
        assert_eq!(stuck[0].reason, "waiting for 0 s: connection refused");
    }
}
