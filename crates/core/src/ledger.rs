//! The delivery ledger: where every event of an agent went, by path and by minute, so that in = delivered + held +
//! dropped can be shown, and two hops can be compared.
//!
//! Paths count in totals, with one addition for a batch. Once a second what they grew by is booked to the minute, so
//! an event may stand in the minute after its own. `docs/ledger.md` says what each line means and how it outlives a
//! crash.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::ChannelSet;
use crate::metrics::Counter;

/// Minutes that are kept: a day.
pub const KEPT_MINUTES: usize = 24 * 60;

/// What happened to events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum What {
    /// A source took them over from whoever sent them, for good.
    Received,
    /// Of these, interceptors removed them.
    Filtered,
    /// Of these, the selector mapped them to no channel.
    Unmapped,
    /// A source gave them up by rule, such as lines over the limit; not among the received ones.
    Rejected,
    /// From a source into a channel.
    In,
    /// From a channel, delivered by a sink.
    Out,
    /// From a channel, taken by a sink that could not deliver them and never will.
    Refused,
    /// Gone with a channel: it kept them in memory, or what held them was damaged.
    Lost,
    /// Back in a channel after a crash that undid their delivery, or lost before and found again.
    Returned,
}

/// One line of the ledger: what happened on which way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Line {
    /// What happened.
    pub what: What,
    /// The source or channel they come from.
    pub from: String,
    /// The channel or sink they go to; empty for a line of a source or channel alone.
    pub to: String,
}

/// How many events a line counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The line.
    #[serde(flatten)]
    pub line: Line,
    /// How many.
    pub events: u64,
}

/// What was booked to one minute.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Minute {
    /// Minutes since 1970 UTC.
    pub minute: i64,
    /// In order of their lines; none is zero.
    pub entries: Vec<Entry>,
}

/// Everything there is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pages {
    /// Since the ledger began, in order of their lines.
    pub totals: Vec<Entry>,
    /// The minutes that are kept, in order.
    pub minutes: Vec<Minute>,
}

/// An agent's ledger. Clones share everything.
#[derive(Clone, Default)]
pub struct Ledger(Arc<Mutex<Book>>);

#[derive(Default)]
struct Book {
    lines: BTreeMap<Line, Account>,
    /// In order, the latest last.
    minutes: VecDeque<(i64, BTreeMap<Line, u64>)>,
}

#[derive(Default)]
struct Account {
    /// Counted before this run, or where nobody counts any more.
    carried: u64,
    counter: Arc<Counter>,
    /// A metric that counts the same thing, from its value at the start.
    metric: Option<Metric>,
    /// What of the total is booked to minutes.
    booked: u64,
}

/// Reads a metric.
pub type ReadMetric = Box<dyn Fn() -> u64 + Send + Sync>;

struct Metric {
    read: ReadMetric,
    began: u64,
}

/// What a source counts on its way into its channels.
#[derive(Clone, Debug, Default)]
pub struct SourceTally {
    pub(crate) received: Arc<Counter>,
    pub(crate) filtered: Arc<Counter>,
    pub(crate) unmapped: Arc<Counter>,
    /// By the channels' indexes.
    pub(crate) into: Vec<Arc<Counter>>,
}

impl Line {
    /// A line of a source or channel alone.
    pub fn of(what: What, from: &str) -> Self {
        Line::between(what, from, "")
    }

    /// A line of a way from one component to the next.
    pub fn between(what: What, from: &str, to: &str) -> Self {
        Line { what, from: from.into(), to: to.into() }
    }
}

impl Account {
    fn total(&self) -> u64 {
        self.carried + self.counter.value() + self.metric.as_ref().map_or(0, Metric::grown)
    }
}

impl Metric {
    fn grown(&self) -> u64 {
        (self.read)().saturating_sub(self.began)
    }
}

impl Ledger {
    /// The counter of a line, which is there from now on. To be asked for once, not for each batch.
    pub fn counter(&self, line: Line) -> Arc<Counter> {
        self.book().lines.entry(line).or_default().counter.clone()
    }

    /// Lets a line grow with a metric, in place of one that it followed before.
    pub fn follow(&self, line: Line, read: ReadMetric) {
        let mut book = self.book();
        let account = book.lines.entry(line).or_default();
        account.carried += account.metric.take().map_or(0, |old| old.grown());
        account.metric = Some(Metric { began: read(), read });
    }

    /// The counters of a source, with its channels in the order of their indexes.
    pub fn source<'a>(
        &self,
        source: &str,
        channels: impl IntoIterator<Item = &'a str>,
    ) -> SourceTally {
        let own = |what| self.counter(Line::of(what, source));
        let into = |channel: &str| self.counter(Line::between(What::In, source, channel));
        SourceTally {
            received: own(What::Received),
            filtered: own(What::Filtered),
            unmapped: own(What::Unmapped),
            into: channels.into_iter().map(into).collect(),
        }
    }

    /// Books what was counted since the last time to `minute`.
    pub fn book_to(&self, minute: i64) {
        let book = &mut *self.book();
        for (line, account) in &mut book.lines {
            let total = account.total();
            let grown = total - account.booked;
            account.booked = total;
            if grown > 0 {
                *page(&mut book.minutes, minute).entry(line.clone()).or_default() += grown;
            }
        }
    }

    /// Counts events that were found out about later, and books them to `minute`.
    pub fn add(&self, minute: i64, line: Line, events: u64) {
        let book = &mut *self.book();
        let account = book.lines.entry(line.clone()).or_default();
        account.carried += events;
        account.booked += events;
        *page(&mut book.minutes, minute).entry(line).or_default() += events;
    }

    /// Takes over what was counted in an earlier run. Lines that have been taken over before are left out.
    pub fn restore(&self, pages: &Pages) {
        let book = &mut *self.book();
        let known =
            |book: &Book, line: &Line| book.lines.get(line).is_some_and(|known| known.carried > 0);
        let mut new = Vec::new();
        for Entry { line, events } in &pages.totals {
            if !known(book, line) {
                let account = book.lines.entry(line.clone()).or_default();
                account.carried += events;
                account.booked += events;
                new.push(line);
            }
        }
        for Minute { minute, entries } in &pages.minutes {
            for Entry { line, events } in entries.iter().filter(|entry| new.contains(&&entry.line))
            {
                *page(&mut book.minutes, *minute).entry(line.clone()).or_default() += events;
            }
        }
    }

    /// The total of all lines that `of` chooses.
    pub fn total(&self, of: impl Fn(&Line) -> bool) -> u64 {
        let book = self.book();
        book.lines.iter().filter(|(line, _)| of(line)).map(|(_, account)| account.total()).sum()
    }

    /// The lines that `of` chooses, with what is booked of them.
    pub fn pages(&self, of: impl Fn(&Line) -> bool) -> Pages {
        let book = self.book();
        let entry = |(line, events): (&Line, u64)| Entry { line: line.clone(), events };
        let totals = book.lines.iter().map(|(line, account)| (line, account.booked));
        let minutes = book.minutes.iter().map(|(minute, counts)| Minute {
            minute: *minute,
            entries: counts
                .iter()
                .map(|(line, events)| (line, *events))
                .filter(|(line, _)| of(line))
                .map(entry)
                .collect(),
        });
        Pages {
            totals: totals.filter(|(line, _)| of(line)).map(entry).collect(),
            minutes: minutes.filter(|minute| !minute.entries.is_empty()).collect(),
        }
    }

    // Each change is whole before anything can panic.
    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SourceTally {
    /// Counts a batch that was taken over from its sender.
    pub(crate) fn took_over(&self, received: usize, filtered: usize, unmapped: usize) {
        self.received.add(received);
        if filtered > 0 {
            self.filtered.add(filtered);
        }
        if unmapped > 0 {
            self.unmapped.add(unmapped);
        }
    }

    /// Counts events that channels took.
    pub(crate) fn put(&self, channels: ChannelSet, events: usize) {
        channels.iter().for_each(|channel| self.into[channel].add(events));
    }
}

/// The page of a minute. The oldest goes when there are too many, and stands for what is older still.
fn page(
    minutes: &mut VecDeque<(i64, BTreeMap<Line, u64>)>,
    minute: i64,
) -> &mut BTreeMap<Line, u64> {
    let is_full = minutes.len() >= KEPT_MINUTES;
    let oldest = minutes.front().map_or(minute, |(oldest, _)| *oldest);
    let minute = if is_full { minute.max(oldest) } else { minute };
    let mut at = minutes.partition_point(|(known, _)| *known < minute);
    if minutes.get(at).is_none_or(|(known, _)| *known != minute) {
        if is_full {
            minutes.pop_front();
            at -= 1;
        }
        minutes.insert(at, (minute, BTreeMap::new()));
    }
    &mut minutes[at].1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received() -> Line {
        Line::of(What::Received, "r1")
    }

    fn minutes(ledger: &Ledger) -> Vec<(i64, u64)> {
        let pages = ledger.pages(|_| true);
        let sum = |entries: &[Entry]| entries.iter().map(|entry| entry.events).sum();
        let booked: u64 = pages.minutes.iter().map(|minute| sum(&minute.entries)).sum();
        assert!(booked <= sum(&pages.totals));
        pages.minutes.iter().map(|minute| (minute.minute, sum(&minute.entries))).collect()
    }

    #[test]
    fn what_grew_is_booked_to_the_minute_once() {
        let ledger = Ledger::default();
        let counter = ledger.counter(received());
        counter.add(3);
        ledger.book_to(10);
        ledger.book_to(10);
        counter.add(4);
        ledger.book_to(10);
        ledger.book_to(11);
        counter.add(5);
        ledger.book_to(12);
        ledger.add(11, received(), 2);
        assert_eq!(minutes(&ledger), [(10, 7), (11, 2), (12, 5)]);
        assert_eq!(ledger.total(|line| line.what == What::Received), 14);
        // The one counter of a line, whoever asks.
        ledger.counter(received()).add(1);
        assert_eq!(counter.value(), 13);
    }

    #[test]
    fn a_metric_is_followed_from_where_it_stands() {
        let ledger = Ledger::default();
        let line = Line::of(What::Rejected, "r1");
        let metric = |start| {
            let counter = Arc::new(Counter::default());
            counter.add(start);
            let read = counter.clone();
            ledger.follow(line.clone(), Box::new(move || read.value()));
            counter
        };
        let first = metric(100);
        first.add(5);
        ledger.book_to(1);
        first.add(1);
        let second = metric(0);
        second.add(2);
        first.add(50);
        ledger.book_to(2);
        assert_eq!(minutes(&ledger), [(1, 5), (2, 3)]);
    }

    #[test]
    fn an_earlier_run_is_taken_over_once() {
        let earlier = Ledger::default();
        earlier.add(7, received(), 10);
        earlier.add(8, Line::between(What::In, "r1", "c1"), 9);
        let pages = earlier.pages(|_| true);
        let ledger = Ledger::default();
        let counter = ledger.counter(received());
        counter.add(1);
        ledger.restore(&pages);
        ledger.restore(&pages);
        ledger.book_to(9);
        assert_eq!(minutes(&ledger), [(7, 10), (8, 9), (9, 1)]);
        assert_eq!(ledger.total(|_| true), 20);
        let of_channel = ledger.pages(|line| line.to == "c1");
        assert_eq!((of_channel.totals.len(), of_channel.minutes.len()), (1, 1));
    }

    #[test]
    fn a_day_is_kept() {
        let ledger = Ledger::default();
        for minute in 0..3000 {
            ledger.add(minute, received(), 1);
        }
        let kept = minutes(&ledger);
        assert_eq!((kept.len(), kept[0].0), (KEPT_MINUTES, 3000 - 1440));
        ledger.add(1, received(), 1);
        assert_eq!(minutes(&ledger)[0], (3000 - 1440, 2));
        ledger.add(3000, received(), 1);
        assert_eq!(minutes(&ledger).len(), KEPT_MINUTES);
        assert_eq!(ledger.total(|_| true), 3002);
    }
}
