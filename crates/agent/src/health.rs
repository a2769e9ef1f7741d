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
use splashdam_core::metrics::{Counters, Registered, Registry};
use splashdam_core::{Role, Size, Stop};

use crate::status::{Board, Need, Phase, Status};

/// How long a channel may hold events that nobody takes, or a sink try in vain.
pub const STALLED_AFTER: Duration = Duration::from_secs(60);
/// How long a full channel may stay so without a take, and how long one may refuse every put: its
/// sources are held up all the while.
pub const FULL_AFTER: Duration = Duration::from_secs(30);
/// A channel that has refused nobody for this long has not been asked: senders that keep away from a
/// refusal come back within it.
const REFUSES_WITHIN: Duration = Duration::from_secs(60);
/// A sink that has not tried for this long is not trying: another of its group may have taken over.
const TRIES_WITHIN: Duration = Duration::from_secs(30);
/// Why an agent that has no component is neither ready nor of use.
const NOTHING: &str = "nothing is configured that it could run";
/// The most characters of a component's trouble or hindrance that are shown.
const REASON_LIMIT_CHARS: usize = 300;

/// One component's numbers at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Of a channel.
    Channel {
        /// Waiting or leased.
        held: Size,
        /// What it holds at the most, 0 when unknown.
        capacity: Size,
        /// Events taken and committed so far.
        taken: u64,
        /// Events put and committed so far.
        put: u64,
        /// Puts refused so far that were not at fault themselves.
        refused: u64,
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
    /// `sink k1`, or `agent` for all of it.
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
    /// Of a channel.
    refusals: Refusals,
}

/// Whether a channel refuses whatever is put.
#[derive(Debug)]
struct Refusals {
    /// Events put when last looked at.
    put: u64,
    /// Puts refused when last looked at.
    refused: u64,
    /// When the first was refused since anything was put, while nothing else kept it from that.
    since: Option<Instant>,
    /// When the last was.
    last: Instant,
    /// What it could hold when last looked at.
    capacity: Size,
}

impl Reading {
    /// Reads what monitoring knows of a component; nothing of a source.
    pub fn of(registered: &Registered) -> Option<Self> {
        match &registered.counters {
            Counters::Source(_) => None,
            Counters::Channel(counted) => {
                let level = registered.level.as_ref().map(|read| read()).unwrap_or_default();
                Some(Reading::Channel {
                    held: level.queued + level.leased,
                    capacity: level.capacity,
                    taken: counted.take_successes.value(),
                    put: counted.put_successes.value(),
                    refused: counted.put_refusals.value(),
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
    /// Reads what there is now and judges it. Called every few seconds, and when somebody asks.
    /// `stop` is that of the agent.
    pub fn look(&mut self, registry: &Registry, board: &Board, stop: &Stop) -> Verdict {
        let all = registry.all();
        let readings = all.iter().filter_map(|(key, registered)| {
            // A component that stopped has nothing more to do.
            let stopped = registered.counters.life().stopped.value() != 0;
            let reading = if stopped { None } else { Reading::of(registered) };
            Some((key.clone(), reading?))
        });
        let readings: Vec<_> = readings.collect();
        self.observe(Instant::now(), &readings, &board.all(), stop.requested())
    }

    /// Judges what was read.
    pub fn observe(
        &mut self,
        now: Instant,
        readings: &[((Role, Arc<str>), Reading)],
        states: &[((Role, Arc<str>), Status)],
        stopping: bool,
    ) -> Verdict {
        let mut verdict = Verdict::default();
        let agent = |reason: &str| Problem { component: "agent".into(), reason: reason.into() };
        if stopping {
            verdict.unready.push(agent("it is stopping"));
        } else if states.is_empty() {
            verdict.unready.push(agent(NOTHING));
            verdict.stuck.push(agent(NOTHING));
        }
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
                Phase::Opening if *role == Role::Channel && status.need == Need::Nothing => {}
                Phase::Opening => verdict.unready.push(problem()),
                Phase::Draining => {
                    verdict.unready.push(problem());
                    if status.trouble.is_some() && !status.covered {
                        verdict.stuck.push(problem());
                    }
                }
                Phase::Waiting | Phase::Closed => {
                    // What takes so long to open is at work, such as at an import.
                    let begun = status.again.unwrap_or(now);
                    if now.saturating_duration_since(begun) < STALLED_AFTER {
                        verdict.stuck.push(problem());
                    }
                    let carries_in = match role {
                        Role::Source => true,
                        Role::Channel => status.need > Need::Nothing,
                        Role::Sink | Role::SinkGroup => false,
                    };
                    if carries_in {
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
            let status = states.iter().find(|(state, _)| state == key).map(|(_, status)| status);
            if status.is_some_and(|status| status.covered) {
                continue;
            }
            // Of others it takes nothing in, and yet every source can put.
            let needed = status.is_none_or(|status| status.need == Need::Required);
            for (reason, full) in seen.hindrances(now, reading) {
                let component = format!("{} {}", key.0.word(), key.1);
                let problem = Problem { component, reason };
                if full && needed {
                    verdict.unready.push(problem.clone());
                }
                verdict.stuck.push(problem);
            }
        }
        verdict
    }
}

impl Seen {
    fn first(now: Instant, reading: &Reading) -> Self {
        let (done, tried) = reading.progress();
        let mut refusals =
            Refusals { put: 0, refused: 0, since: None, last: now, capacity: Size::default() };
        refusals.begin(reading);
        Seen { done, moved: now, tried, tried_at: now, tried_then: tried, refusals }
    }

    fn update(&mut self, now: Instant, reading: &Reading) {
        let (done, tried) = reading.progress();
        if tried != self.tried {
            self.tried = tried;
            self.tried_at = now;
        }
        let idle = match reading {
            Reading::Channel { held, .. } => held.events == 0,
            Reading::Sink { .. } => tried == self.tried_then,
        };
        if done != self.done || idle {
            self.done = done;
            self.moved = now;
            self.tried_then = tried;
        }
        self.refusals.update(now, reading, self.moved);
    }

    /// What keeps it from its work, each with whether it is that nothing can be put.
    fn hindrances(&self, now: Instant, reading: &Reading) -> Vec<(String, bool)> {
        let still = now.saturating_duration_since(self.moved);
        let seconds = still.as_secs();
        let mut found = Vec::new();
        match reading {
            Reading::Channel { hindrance: Some(reason), .. } => {
                found.push((shortened(reason), true));
            }
            Reading::Channel { held, capacity, .. }
                if still >= FULL_AFTER && is_full(*held, *capacity) =>
            {
                found.push((format!("it is full and nothing was taken for {seconds} s"), true));
                return found;
            }
            Reading::Channel { .. } => {
                let refuses =
                    |seconds: u64| format!("it has refused whatever was put for {seconds} s");
                found.extend(self.refusals.for_seconds(now).map(|s| (refuses(s), true)));
            }
            Reading::Sink { tried, .. } => {
                let trying = now.saturating_duration_since(self.tried_at) <= TRIES_WITHIN;
                let tried = tried.saturating_sub(self.tried_then);
                if trying && tried > 0 && still >= STALLED_AFTER {
                    let reason = format!("it has tried for {seconds} s and delivered nothing");
                    found.push((reason, false));
                }
            }
        }
        if let Reading::Channel { held: Size { events, .. }, .. } = reading
            && *events > 0
            && still >= STALLED_AFTER
        {
            let reason = format!("it holds {events} events and none was taken for {seconds} s");
            found.push((reason, false));
        }
        found
    }
}

impl Refusals {
    /// From here on.
    fn begin(&mut self, reading: &Reading) {
        (self.put, self.refused) = reading.puts();
        if let Reading::Channel { capacity, .. } = reading {
            self.capacity = *capacity;
        }
        self.since = None;
    }

    /// `moved` is when something was last taken, or the channel was empty.
    fn update(&mut self, now: Instant, reading: &Reading, moved: Instant) {
        let Reading::Channel { capacity, hindrance, .. } = reading else { return };
        let (put, refused) = reading.puts();
        let quiet = now.saturating_duration_since(self.last) > REFUSES_WITHIN;
        if put != self.put || hindrance.is_some() || *capacity != self.capacity {
            // What is refused while a disk is full, say, tells nothing of later; whoever asks whether
            // to put again must not wait for a put.
            self.begin(reading);
        } else if refused != self.refused {
            self.since.get_or_insert(now);
            self.last = now;
        } else if quiet && moved > self.last {
            // There is more room than there was, and nobody has tried.
            self.since = None;
        }
        self.refused = refused;
    }

    /// For how long, if for long enough. A single refusal says nothing of a later one.
    fn for_seconds(&self, now: Instant) -> Option<u64> {
        let since = self.since?;
        let long = self.last.saturating_duration_since(since) >= FULL_AFTER;
        long.then(|| now.saturating_duration_since(since).as_secs())
    }
}

fn is_full(held: Size, capacity: Size) -> bool {
    let is_full = |held: usize, capacity: usize| capacity > 0 && held >= capacity;
    is_full(held.events, capacity.events) || is_full(held.bytes, capacity.bytes)
}

impl Reading {
    /// Events done, events tried.
    fn progress(&self) -> (u64, u64) {
        match self {
            Reading::Channel { taken, .. } => (*taken, 0),
            Reading::Sink { tried, delivered } => (*delivered, *tried),
        }
    }

    /// Events put, puts refused.
    fn puts(&self) -> (u64, u64) {
        match self {
            Reading::Channel { put, refused, .. } => (*put, *refused),
            Reading::Sink { .. } => (0, 0),
        }
    }
}

fn reason_of(now: Instant, status: &Status) -> String {
    let seconds = |since| now.saturating_duration_since(since).as_secs();
    let mut reason = format!("{} for {} s", status.phase.word(), seconds(status.since));
    let after = status.again.map(|again| format!(", opening again for {} s after", seconds(again)));
    reason.push_str(after.as_deref().unwrap_or_default());
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
mod tests;
