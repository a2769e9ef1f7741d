//! Compares two hops by their ledgers: what the sinks of one delivered with what the sources of the next received,
//! minute by minute.
//!
//! Both sides count the same events in the same order, though not at the same moment. So the difference between the
//! two sums so far comes and goes with what is under way; what never comes back is missing, from the minute on in which
//! it last grew; what stays below nothing came twice.

use std::collections::BTreeMap;

use serde::Serialize;
use splashdam_core::ledger::{Entry, Line, What};

use crate::ledger::Report;

/// A difference that lasted this long and then went is told: an event may be late, or one lost and another doubled.
const LATE_MINUTES: i64 = 2;

/// Which way is compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Way {
    /// Sinks of the sender; all, when none is named.
    pub sinks: Vec<String>,
    /// Sources of the receiver; all, when none is named.
    pub sources: Vec<String>,
}

/// What a comparison found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reconciled {
    /// The path: sinks of the sender, sources of the receiver.
    pub path: String,
    /// The first minute that was compared, since 1970.
    pub from: i64,
    /// Whether earlier minutes were left out, as one side did not count them.
    pub is_partial: bool,
    /// Delivered by the sinks, before the receiver was asked.
    pub sent: u64,
    /// Received by the sources.
    pub received: u64,
    /// Received, and not yet counted as delivered when the sender was asked first.
    pub in_flight: u64,
    /// In the channels of the sender, on their way.
    pub held: u64,
    /// Delivered and never received, by the last minute in which they can have gone.
    pub missing: Vec<Found>,
    /// Received more often than delivered, likewise.
    pub double: Vec<Found>,
    /// Differences that lasted for minutes and went.
    pub late: Vec<Late>,
}

/// Events found in a minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Found {
    /// Minutes since 1970.
    pub minute: i64,
    /// How many.
    pub events: u64,
}

/// Events that were missing, or too many, for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Late {
    /// From this minute on.
    pub from: i64,
    /// Until this one.
    pub until: i64,
    /// How many were missing all the time; fewer than none when they were too many.
    pub events: i64,
}

/// Names that one side does not have.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("agent {agent} has no {role} {name}; it has {known}")]
pub struct UnknownName {
    agent: String,
    role: &'static str,
    name: String,
    known: String,
}

impl Reconciled {
    /// Whether neither side counted anything, so that there was nothing to compare.
    pub fn is_empty(&self) -> bool {
        self.sent == 0 && self.received == 0
    }

    /// Whether nothing is missing and nothing came twice.
    pub fn is_balanced(&self) -> bool {
        self.missing.is_empty() && self.double.is_empty()
    }
}

/// Compares a sender, asked before and after the receiver, with that receiver.
///
/// # Errors
/// A name of `way` that is not there.
pub fn reconcile(
    before: &Report,
    receiver: &Report,
    after: &Report,
    way: &Way,
) -> Result<Reconciled, UnknownName> {
    let sinks = chosen(&way.sinks, before.sinks.keys(), &before.agent, "sink")?;
    let sources = chosen(&way.sources, receiver.sources.keys(), &receiver.agent, "source")?;
    let out = |line: &Line| line.what == What::Out && sinks.contains(&line.to);
    let received = |line: &Line| line.what == What::Received && sources.contains(&line.from);
    let (sent, got) = (by_minute(before, out), by_minute(receiver, received));
    let (from, is_partial) = beginning(before, receiver, [&sent, &got]);
    let later = by_minute(after, out);
    let sum = |counts: &BTreeMap<i64, i64>| counts.range(from..).map(|(_, n)| n).sum::<i64>();
    let (sent_sum, got_sum) = (sum(&sent), sum(&got));
    let leased: u64 = after.channels.values().map(|channel| channel.leased).sum();
    let most = sum(&later).saturating_add_unsigned(leased).max(sent_sum);
    let differences = differences(&sent, &got, from);
    let opposite: Vec<_> = differences.iter().map(|(minute, n)| (*minute, -n)).collect();
    // What came after the sender was asked is no double: it is left out from the end.
    let in_flight = (got_sum - sent_sum).clamp(0, most - sent_sum);
    let mut late = late(&differences);
    late.extend(self::late(&opposite).into_iter().map(|l| Late { events: -l.events, ..l }));
    late.sort_by_key(|late| late.from);
    Ok(Reconciled {
        path: format!("{} → {}", sinks.join("+"), sources.join("+")),
        from,
        is_partial,
        sent: sent_sum.unsigned_abs(),
        received: got_sum.unsigned_abs(),
        in_flight: in_flight.unsigned_abs(),
        held: after.channels.values().map(|channel| channel.held).sum(),
        missing: lasting(&differences, 0),
        double: lasting(&opposite, in_flight),
        late,
    })
}

fn chosen<'a>(
    wanted: &[String],
    known: impl Iterator<Item = &'a String> + Clone,
    agent: &str,
    role: &'static str,
) -> Result<Vec<String>, UnknownName> {
    if wanted.is_empty() {
        return Ok(known.filter(|name| !name.starts_with('(')).cloned().collect());
    }
    match wanted.iter().find(|name| known.clone().all(|other| other != *name)) {
        None => Ok(wanted.to_vec()),
        Some(name) => Err(UnknownName {
            agent: agent.to_owned(),
            role,
            name: name.clone(),
            known: match known.cloned().collect::<Vec<_>>().join(", ") {
                none if none.is_empty() => "none".to_owned(),
                some => some,
            },
        }),
    }
}

fn by_minute(report: &Report, of: impl Fn(&Line) -> bool) -> BTreeMap<i64, i64> {
    let counts = report.minutes.iter().map(|minute| {
        let entries = minute.entries.iter().filter(|Entry { line, .. }| of(line));
        let sum = entries.map(|entry| i64::try_from(entry.events).unwrap_or(i64::MAX)).sum();
        (minute.minute, sum)
    });
    counts.filter(|(_, events): &(i64, i64)| *events != 0).collect()
}

/// The first minute that both sides count whole, and whether one counts more before it.
fn beginning(a: &Report, b: &Report, counts: [&BTreeMap<i64, i64>; 2]) -> (i64, bool) {
    let since = |report: &Report| {
        let begun = report.channels.values().map(|channel| channel.since);
        // What is forgotten is older than a day; the first minute of both is then what is left.
        let full = report.minutes.len() >= splashdam_core::ledger::KEPT_MINUTES;
        let oldest = report.minutes.first().filter(|_| full).map(|minute| minute.minute);
        (begun.max().unwrap_or(report.began) / 60_000).max(oldest.unwrap_or(i64::MIN))
    };
    let from = since(a).max(since(b));
    let earlier = counts.iter().any(|counts| counts.range(..from).next().is_some());
    (if earlier { from + 1 } else { from }, earlier)
}

/// Sent less received, so far, at the end of each minute in which something was counted.
fn differences(sent: &BTreeMap<i64, i64>, got: &BTreeMap<i64, i64>, from: i64) -> Vec<(i64, i64)> {
    let mut minutes: Vec<_> =
        sent.range(from..).chain(got.range(from..)).map(|(m, _)| *m).collect();
    minutes.sort_unstable();
    minutes.dedup();
    let count =
        |counts: &BTreeMap<i64, i64>, minute: i64| counts.get(&minute).copied().unwrap_or(0);
    let mut so_far = 0;
    let at = |minute: i64| {
        so_far += count(sent, minute) - count(got, minute);
        (minute, so_far)
    };
    minutes.into_iter().map(at).collect()
}

/// The least that each difference and all later ones have: what stays from that minute on.
fn floor(differences: &[(i64, i64)]) -> Vec<i64> {
    let mut least = i64::MAX;
    let from_behind = differences.iter().rev().map(|(_, n)| {
        least = least.min((*n).max(0));
        least
    });
    let mut floor: Vec<_> = from_behind.collect();
    floor.reverse();
    floor
}

/// What came to stay, by the minute in which it came; the last `but` of it left out.
fn lasting(differences: &[(i64, i64)], but: i64) -> Vec<Found> {
    let floor = floor(differences);
    let mut left = floor.last().copied().unwrap_or(0) - but;
    let mut before = 0;
    let mut found = Vec::new();
    for ((minute, _), stays) in differences.iter().zip(floor) {
        let came = (stays - before).min(left);
        before = stays;
        if came > 0 {
            left -= came;
            found.push(Found { minute: *minute, events: came.unsigned_abs() });
        }
    }
    found
}

/// What was more than what stays, for a while.
fn late(differences: &[(i64, i64)]) -> Vec<Late> {
    let mut found = Vec::new();
    let mut open: Option<Late> = None;
    for ((minute, n), stays) in differences.iter().zip(floor(differences)) {
        let more = n - stays;
        open = match (open, more > 0) {
            (None, true) => Some(Late { from: *minute, until: *minute, events: more }),
            (Some(late), true) => Some(Late { events: late.events.min(more), ..late }),
            (Some(late), false) => {
                found.push(Late { until: *minute, ..late });
                None
            }
            (None, false) => None,
        };
    }
    // One that is open at the end cannot be: there everything stays.
    found.retain(|late| late.until - late.from >= LATE_MINUTES);
    found
}

#[cfg(test)]
mod tests {
    use splashdam_core::ledger::Minute;

    use super::*;
    use crate::ledger::{ChannelReport, SinkReport, SourceReport};

    /// A report with these counts of a line by minutes, from minute 0 on.
    fn report(line: &Line, counts: &[u64]) -> Report {
        let mut report = Report { agent: "a1".into(), ..Report::default() };
        report.channels.insert("c1".into(), ChannelReport::default());
        for (minute, events) in (0..).zip(counts.iter().copied()) {
            let entries = vec![Entry { line: line.clone(), events }];
            report.minutes.push(Minute { minute, entries });
        }
        report
    }

    fn sender(counts: &[u64]) -> Report {
        let mut report = report(&Line::between(What::Out, "c1", "k1"), counts);
        report.sinks.insert("k1".into(), SinkReport::default());
        report
    }

    fn receiver(counts: &[u64]) -> Report {
        let mut report = report(&Line::of(What::Received, "r1"), counts);
        report.sources.insert("r1".into(), SourceReport::default());
        report
    }

    fn pairs(found: &[Found]) -> Vec<(i64, u64)> {
        found.iter().map(|found| (found.minute, found.events)).collect()
    }

    #[test]
    fn what_never_comes_is_found_in_its_minute() {
        type Pairs<'a> = &'a [(i64, u64)];
        let check = |sent: &[u64], got: &[u64], missing: Pairs<'_>, double: Pairs<'_>| {
            let sent = sender(sent);
            let found = reconcile(&sent, &receiver(got), &sent, &Way::default()).unwrap();
            assert_eq!(found.path, "k1 → r1");
            let what = (pairs(&found.missing), pairs(&found.double));
            assert_eq!(what, (missing.to_vec(), double.to_vec()), "{sent:?} {got:?}");
            assert_eq!(found.is_balanced(), missing.is_empty() && double.is_empty());
        };
        check(&[], &[], &[], &[]);
        check(&[100, 100, 100], &[100, 100, 100], &[], &[]);
        // Counted in the minute after, or before.
        check(&[100, 100, 100], &[60, 110, 130], &[], &[]);
        check(&[100, 100, 100], &[120, 100, 80], &[], &[]);
        check(&[100, 100, 100], &[100, 50, 100], &[(1, 50)], &[]);
        check(&[100, 100, 100], &[60, 90, 100], &[(0, 40), (1, 10)], &[]);
        check(&[100, 100, 100], &[60, 90, 130], &[(0, 20)], &[]);
        check(&[100, 100, 100], &[100, 110, 100], &[], &[(1, 10)]);
        check(&[100, 0, 100], &[100, 10, 100], &[], &[(1, 10)]);
        check(&[100, 100, 100], &[0, 0, 0], &[(0, 100), (1, 100), (2, 100)], &[]);
    }

    #[test]
    fn what_lies_between_the_two_questions_is_in_flight() {
        let check = |after: &[u64], leased, got: &[u64], in_flight, double: &[(i64, u64)]| {
            let mut after = sender(after);
            after
                .channels
                .insert("c1".into(), ChannelReport { leased, held: 7, ..ChannelReport::default() });
            let found = reconcile(&sender(&[100, 50]), &receiver(got), &after, &Way::default());
            let found = found.unwrap();
            assert_eq!((found.in_flight, pairs(&found.double)), (in_flight, double.to_vec()));
            assert_eq!((found.missing.len(), found.held), (0, 7));
        };
        check(&[100, 50], 0, &[100, 50], 0, &[]);
        check(&[100, 80], 0, &[100, 70], 20, &[]);
        check(&[100, 80], 10, &[100, 90], 40, &[]);
        check(&[100, 80], 10, &[110, 95], 40, &[(0, 10), (1, 5)]);
    }

    #[test]
    fn what_was_gone_for_minutes_is_told() {
        let sent = sender(&[100, 100, 100, 100, 100]);
        let check = |got: &[u64], want: &[(i64, i64, i64)]| {
            let found = reconcile(&sent, &receiver(got), &sent, &Way::default()).unwrap();
            assert!(found.is_balanced());
            let late: Vec<_> = found.late.iter().map(|l| (l.from, l.until, l.events)).collect();
            assert_eq!(late, want, "{got:?}");
        };
        check(&[100, 90, 110, 100, 100], &[]);
        check(&[100, 90, 100, 100, 110], &[(1, 4, 10)]);
        check(&[110, 100, 90, 100, 100], &[(0, 2, -10)]);
    }

    #[test]
    fn only_minutes_that_both_count_are_compared() {
        let mut got = receiver(&[0, 0, 30, 100]);
        got.minutes.drain(..2);
        for channel in got.channels.values_mut() {
            channel.since = 2 * 60_000 + 30_000;
        }
        let sent = sender(&[100, 100, 60, 100]);
        let found = reconcile(&sent, &got, &sent, &Way::default()).unwrap();
        assert_eq!((found.from, found.is_partial, found.is_balanced()), (3, true, true));
    }

    #[test]
    fn names_are_looked_up() {
        let way = |sinks: &[&str], sources: &[&str]| Way {
            sinks: sinks.iter().map(ToString::to_string).collect(),
            sources: sources.iter().map(ToString::to_string).collect(),
        };
        let (a, b) = (sender(&[5]), receiver(&[5]));
        assert!(reconcile(&a, &b, &a, &way(&["k1"], &["r1"])).is_ok());
        let error = reconcile(&a, &b, &a, &way(&["k2"], &[])).unwrap_err();
        assert_eq!(error.to_string(), "agent a1 has no sink k2; it has k1");
        assert!(reconcile(&a, &b, &a, &way(&[], &["r7"])).is_err());
        let error = reconcile(&Report::default(), &b, &a, &way(&["k2"], &[])).unwrap_err();
        assert!(error.to_string().ends_with("has no sink k2; it has none"), "{error}");
    }
}
