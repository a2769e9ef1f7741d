//! Keeps the agent's ledger: books it by the minute, puts it beside the data of durable channels, and after a crash
//! sets it right by what their logs know. `docs/ledger.md` tells it whole.

mod report;
mod store;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use splashdam_core::ledger::{Ledger, Line, Pages, What};
use splashdam_core::metrics::{ChannelMetrics, Registry, SourceMetrics};
use splashdam_core::{Lifetime, Stop, Trouble, World};
use tokio::task::spawn_blocking;
use tracing::{info, warn};

pub use report::{ChannelReport, FetchError, Report, SinkReport, SourceReport, fetch};
use store::Saved;

/// How often the ledger is booked and written.
const BOOK_EVERY: Duration = Duration::from_secs(1);

const MINUTE_MILLIS: i64 = 60_000;

/// Stands for sources and sinks that a crash made unknown.
pub const AT_CRASH: &str = "(crash)";
/// Stands for sources of what a channel held before its ledger began.
pub const BEFORE: &str = "(before)";

/// The keeper of an agent's ledger. Clones share everything.
#[derive(Clone)]
pub struct Bookkeeper(Arc<Inner>);

struct Inner {
    agent: Arc<str>,
    world: Arc<dyn World>,
    ledger: Ledger,
    /// When this run began, in milliseconds since 1970.
    began: i64,
    channels: Mutex<BTreeMap<Arc<str>, Channel>>,
    is_writing: AtomicBool,
}

/// A durable channel's part of the ledger.
struct Channel {
    lifetime: Lifetime,
    /// When its ledger began, in milliseconds since 1970.
    since: i64,
    /// Events that were put before that, by the log's count. Below zero when the log lost some that had been counted.
    put_before: i64,
    /// What was written last.
    written: Option<Saved>,
    trouble: Trouble,
    /// What was found to be received after a crash, by source.
    recovered: BTreeMap<String, u64>,
}

/// A part of the ledger that is to be written.
struct Due {
    channel: Arc<str>,
    place: PathBuf,
    saved: Saved,
    /// Whether a minute is over.
    is_whole: bool,
}

impl Bookkeeper {
    /// An empty ledger.
    pub fn new(agent: Arc<str>, world: Arc<dyn World>) -> Self {
        let began = world.now_millis();
        Bookkeeper(Arc::new(Inner {
            agent,
            world,
            ledger: Ledger::default(),
            began,
            channels: Mutex::default(),
            is_writing: AtomicBool::new(false),
        }))
    }

    /// The ledger, for those who count.
    pub fn ledger(&self) -> &Ledger {
        &self.0.ledger
    }

    /// Follows what only a source counts.
    pub fn follow_source(&self, source: &str, metrics: Arc<SourceMetrics>) {
        let read = Box::new(move || metrics.events_dropped.value());
        self.0.ledger.follow(Line::of(What::Rejected, source), read);
    }

    /// Follows what is lost in a channel, from nothing: to be called before it opens.
    pub fn follow_channel(&self, channel: &str, metrics: Arc<ChannelMetrics>) {
        let read = move || {
            let skipped = metrics.file.get().map_or(0, |file| file.events_skipped.value());
            metrics.events_lost.value() + skipped
        };
        self.0.ledger.follow(Line::of(What::Lost, channel), Box::new(read));
    }

    /// A channel has opened: takes over its part of the ledger, and sets that right by what the channel knows.
    pub async fn opened(&self, channel: &Arc<str>, lifetime: Option<Lifetime>) {
        let Some(lifetime) = lifetime else { return };
        let known = self.channels().contains_key(channel);
        if !known {
            let (place, name) = (lifetime.place.clone(), channel.clone());
            let saved = spawn_blocking(move || store::read(&place, &name)).await;
            let saved = saved.unwrap_or_else(|_| Err("reading it failed".into()));
            let saved = saved.unwrap_or_else(|error| {
                warn!(component = %format!("channel {channel}"), %error, "its ledger cannot be read and begins anew");
                None
            });
            self.take_over(channel, &lifetime, saved);
        }
        self.set_right(channel, lifetime);
        // Before the first event: a crash from now on finds from where to count.
        let due = self.due(channel, self.0.world.now_millis());
        if let Some(due) = due {
            self.write_one(due).await;
        }
    }

    /// As [`Bookkeeper::opened`], for who keeps what [`Bookkeeper::paper`] says in another place.
    pub fn found(&self, channel: &Arc<str>, lifetime: Lifetime, paper: Option<&[u8]>) {
        let saved = paper.and_then(|bytes| serde_json::from_slice(bytes).ok());
        self.take_over(channel, &lifetime, saved);
        self.set_right(channel, lifetime);
    }

    /// Books what was counted to the minute, and answers what of it is to outlive the process, for a
    /// channel that is open.
    pub fn paper(&self, channel: &Arc<str>) -> Option<Vec<u8>> {
        let now = self.0.world.now_millis();
        self.0.ledger.book_to(now / MINUTE_MILLIS);
        serde_json::to_vec(&self.due(channel, now)?.saved).ok()
    }

    fn take_over(&self, channel: &Arc<str>, lifetime: &Lifetime, saved: Option<Saved>) {
        let now = self.0.world.now_millis();
        let held = lifetime.put.saturating_sub(lifetime.taken);
        let (since, put_before) = match &saved {
            Some(saved) => {
                self.0.ledger.restore(&saved.pages);
                (saved.since, saved.put_before)
            }
            None => {
                if held > 0 {
                    let line = Line::between(What::In, BEFORE, channel);
                    self.0.ledger.add(now / MINUTE_MILLIS, line, held);
                }
                (now, signed(lifetime.put - held))
            }
        };
        let entry = Channel {
            lifetime: lifetime.clone(),
            since,
            put_before,
            written: saved,
            trouble: Trouble::new(),
            recovered: BTreeMap::new(),
        };
        self.channels().insert(channel.clone(), entry);
    }

    /// Books what happened between the last writing and a crash: by how much the log's counts differ from ours.
    fn set_right(&self, channel: &Arc<str>, lifetime: Lifetime) {
        let ledger = &self.0.ledger;
        let mut channels = self.channels();
        let Some(kept) = channels.get_mut(channel) else { return };
        let now = self.0.world.now_millis();
        let at = kept.written.as_ref().map_or(now, |saved| saved.at) / MINUTE_MILLIS;
        let counted = signed(ledger.total(|line| is(line, What::In, "", channel)));
        let put = signed(lifetime.put) - kept.put_before - counted;
        if put > 0 {
            let source = self.only(|line| (is(line, What::In, "", channel)).then_some(&line.from));
            let source = source.unwrap_or_else(|| AT_CRASH.into());
            let put = put.unsigned_abs();
            // A batch that went to several channels was received once.
            let received = put.saturating_sub(recovered(&channels, &source));
            if received > 0 && source != AT_CRASH {
                ledger.add(at, Line::of(What::Received, &source), received);
            }
            ledger.add(at, Line::between(What::In, &source, channel), put);
            if let Some(kept) = channels.get_mut(channel) {
                *kept.recovered.entry(source).or_default() += put;
            }
        } else if put < 0 {
            ledger.add(at, Line::of(What::Lost, channel), put.unsigned_abs());
            kept.put_before += put;
        }
        let held = signed(lifetime.put.saturating_sub(lifetime.taken));
        let gone = self.held(channel) - held;
        if gone > 0 {
            let sink = self.only(|line| is(line, What::Out, channel, "").then_some(&line.to));
            let sink = sink.unwrap_or_else(|| AT_CRASH.into());
            ledger.add(at, Line::between(What::Out, channel, &sink), gone.unsigned_abs());
        } else if gone < 0 {
            ledger.add(at, Line::of(What::Returned, channel), gone.unsigned_abs());
        }
        if put != 0 || gone != 0 {
            info!(component = %format!("channel {channel}"), put, taken = gone, "the ledger was set right by the log after a crash");
        }
        if let Some(kept) = channels.get_mut(channel) {
            kept.lifetime = lifetime;
        }
    }

    /// What a channel holds by the ledger.
    fn held(&self, channel: &str) -> i64 {
        signed(self.0.ledger.total(|line| adds_to(line, channel)))
            - signed(self.0.ledger.total(|line| takes_from(line, channel)))
    }

    /// The one name that `of` finds in the ledger's lines, those that stand for others left out.
    fn only(&self, of: impl Fn(&Line) -> Option<&String>) -> Option<String> {
        let pages = self.0.ledger.pages(|line| of(line).is_some());
        let mut names = pages.totals.iter().filter_map(|entry| of(&entry.line));
        let mut real = names.by_ref().filter(|name| !name.starts_with('('));
        let first = real.next()?;
        real.all(|name| name == first).then(|| first.clone())
    }

    /// Books and writes once a second until `stop`, and then once more.
    pub async fn run(self, stop: Stop) {
        while stop.or(tokio::time::sleep(BOOK_EVERY)).await.is_some() {
            self.write().await;
        }
        self.write().await;
    }

    /// Books what was counted to the minute, and writes what has changed beside the channels' data.
    pub async fn write(&self) {
        let now = self.0.world.now_millis();
        self.0.ledger.book_to(now / MINUTE_MILLIS);
        // Only one at a time, so that what is older never comes last.
        if self.0.is_writing.swap(true, Relaxed) {
            return;
        }
        let names: Vec<_> = self.channels().keys().cloned().collect();
        for due in names.iter().filter_map(|name| self.due(name, now)) {
            self.write_one(due).await;
        }
        self.0.is_writing.store(false, Relaxed);
    }

    /// What of a channel's ledger has changed since it was written.
    fn due(&self, channel: &Arc<str>, now: i64) -> Option<Due> {
        let pages = self.pages(channel);
        let channels = self.channels();
        let Channel { since, put_before, written, lifetime, .. } = channels.get(channel)?;
        if written.as_ref().is_some_and(|old| old.pages == pages) {
            return None;
        }
        let minute = |millis: i64| millis / MINUTE_MILLIS;
        Some(Due {
            channel: channel.clone(),
            place: lifetime.place.clone(),
            is_whole: written.as_ref().is_none_or(|old| minute(old.at) != minute(now)),
            saved: Saved { since: *since, at: now, put_before: *put_before, pages },
        })
    }

    async fn write_one(&self, due: Due) {
        let written = spawn_blocking(move || {
            let Due { channel, place, saved, is_whole } = due;
            let done = store::write(&place, &channel, &saved, is_whole);
            (channel, done.map(|()| saved))
        });
        // What fails otherwise does so as the process ends.
        let Ok((channel, done)) = written.await else { return };
        let mut channels = self.channels();
        let Some(kept) = channels.get_mut(&channel) else { return };
        match done {
            Ok(saved) => {
                kept.written = Some(saved);
                kept.trouble.ended(Instant::now());
            }
            Err(error) => {
                if kept.trouble.happened(Instant::now(), &error.to_string()).is_some() {
                    warn!(component = %format!("channel {channel}"), %error, "its ledger cannot be written; a crash now would make it less exact");
                }
            }
        }
    }

    /// The lines that lie beside a channel's data: its own, and those of the sources that feed it.
    fn pages(&self, channel: &str) -> Pages {
        let ledger = &self.0.ledger;
        let feeds = ledger.pages(|line| is(line, What::In, "", channel));
        let sources: Vec<_> = feeds.totals.into_iter().map(|entry| entry.line.from).collect();
        ledger.pages(|line| {
            adds_to(line, channel)
                || takes_from(line, channel)
                || (line.to.is_empty() && sources.contains(&line.from))
        })
    }

    /// Everything, as it is served.
    pub fn report(&self, registry: &Registry) -> Report {
        self.0.ledger.book_to(self.0.world.now_millis() / MINUTE_MILLIS);
        let since = self.channels().iter().map(|(name, c)| (name.to_string(), c.since)).collect();
        let (agent, now) = (self.0.agent.to_string(), self.0.world.now_millis());
        report::of(agent, now, self.0.began, &since, &self.0.ledger, registry)
    }

    fn channels(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Channel>> {
        self.0.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The most that any channel found to have come from a source before a crash.
fn recovered(channels: &BTreeMap<Arc<str>, Channel>, source: &str) -> u64 {
    channels.values().filter_map(|kept| kept.recovered.get(source)).copied().max().unwrap_or(0)
}

fn is(line: &Line, what: What, from: &str, to: &str) -> bool {
    line.what == what && (from.is_empty() || line.from == from) && (to.is_empty() || line.to == to)
}

/// Whether a line counts what comes into a channel.
fn adds_to(line: &Line, channel: &str) -> bool {
    is(line, What::In, "", channel) || is(line, What::Returned, channel, "")
}

/// Whether a line counts what leaves a channel.
fn takes_from(line: &Line, channel: &str) -> bool {
    [What::Out, What::Refused, What::Lost].iter().any(|what| is(line, *what, channel, ""))
}

fn signed(events: u64) -> i64 {
    i64::try_from(events).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
