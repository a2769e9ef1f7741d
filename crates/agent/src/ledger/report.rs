//! The ledger as it is served at `/ledger`, and fetched from there.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use splashdam_core::Role;
use splashdam_core::ledger::{Ledger, Line, Minute, Pages, What};
use splashdam_core::metrics::Registry;

/// How long an agent may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// More than a day of minutes with a hundred paths.
const ANSWER_LIMIT_BYTES: usize = 64 << 20;
/// How often the counts are read again while they move.
const LOOKS: usize = 5;

/// An agent's ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The agent's name.
    pub agent: String,
    /// When this was read, in milliseconds since 1970.
    pub now: i64,
    /// When this run of the agent began, likewise. What is not kept by a durable channel counts from then.
    pub began: i64,
    /// By name.
    pub sources: BTreeMap<String, SourceReport>,
    /// By name.
    pub channels: BTreeMap<String, ChannelReport>,
    /// By name.
    pub sinks: BTreeMap<String, SinkReport>,
    /// What was booked to each minute, a day back at the most.
    pub minutes: Vec<Minute>,
}

/// A source's totals: received = routed + filtered + unmapped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceReport {
    /// Taken over from senders.
    pub received: u64,
    /// Of these, put into a channel at least.
    pub routed: u64,
    /// Of these, removed by interceptors.
    pub filtered: u64,
    /// Of these, mapped to no channel.
    pub unmapped: u64,
    /// Given up by rule before they were received, such as lines over the limit.
    pub rejected: u64,
}

/// A channel's totals: in + returned = out + refused + lost + held.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelReport {
    /// Put.
    #[serde(rename = "in")]
    pub put: u64,
    /// Delivered.
    pub out: u64,
    /// Taken by sinks that could not deliver them.
    pub refused: u64,
    /// Gone with the channel.
    pub lost: u64,
    /// Back after a crash that undid their delivery.
    pub returned: u64,
    /// In it now.
    pub held: u64,
    /// Of these, in the hands of a sink.
    pub leased: u64,
    /// What the sums differ by: 0, but for what moves while it is counted.
    pub balance: i64,
    /// Since when it is counted, in milliseconds since 1970.
    pub since: i64,
    /// Whether its counts outlive the process.
    pub durable: bool,
}

/// A sink's totals.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkReport {
    /// Delivered, and the take committed.
    pub out: u64,
    /// Taken and not delivered.
    pub refused: u64,
}

/// A ledger could not be fetched.
#[derive(Debug, thiserror::Error)]
#[error("{url}: {what}")]
pub struct FetchError {
    url: String,
    what: String,
}

/// Reads everything; again while counts move, a few times.
pub(super) fn of(
    agent: String,
    now: i64,
    began: i64,
    since: &BTreeMap<String, i64>,
    ledger: &Ledger,
    registry: &Registry,
) -> Report {
    let mut report = Report { agent, now, began, ..Report::default() };
    for _ in 0..LOOKS {
        let pages = ledger.pages(|_| true);
        fill(&mut report, &pages, since, registry);
        // Totals are those that are booked, so that minutes and totals agree; levels are of now.
        ledger.book_to(now / super::MINUTE_MILLIS);
        if ledger.pages(|_| true).totals == pages.totals {
            break;
        }
    }
    report
}

fn fill(report: &mut Report, pages: &Pages, since: &BTreeMap<String, i64>, registry: &Registry) {
    (report.sources, report.channels, report.sinks) = Default::default();
    report.minutes.clone_from(&pages.minutes);
    for entry in &pages.totals {
        let Line { what, from, to } = &entry.line;
        let n = entry.events;
        match what {
            What::Received => source(report, from).received += n,
            What::Filtered => source(report, from).filtered += n,
            What::Unmapped => source(report, from).unmapped += n,
            What::Rejected => source(report, from).rejected += n,
            What::In => channel(report, to).put += n,
            What::Out => {
                channel(report, from).out += n;
                report.sinks.entry(to.clone()).or_default().out += n;
            }
            What::Refused => {
                channel(report, from).refused += n;
                report.sinks.entry(to.clone()).or_default().refused += n;
            }
            What::Lost => channel(report, from).lost += n,
            What::Returned => channel(report, from).returned += n,
        }
    }
    for source in report.sources.values_mut() {
        source.routed = source.received.saturating_sub(source.filtered + source.unmapped);
    }
    for ((role, name), registered) in registry.all() {
        let (Role::Channel, Some(level)) = (role, &registered.level) else { continue };
        let level = level();
        let channel = channel(report, &name);
        channel.leased = level.leased.events as u64;
        channel.held = level.queued.events as u64 + channel.leased;
    }
    let began = report.began;
    for (name, channel) in &mut report.channels {
        channel.durable = since.contains_key(name);
        channel.since = since.get(name).copied().unwrap_or(began);
        let gone = channel.out + channel.refused + channel.lost + channel.held;
        channel.balance = super::signed(channel.put + channel.returned) - super::signed(gone);
    }
}

fn source<'a>(report: &'a mut Report, name: &str) -> &'a mut SourceReport {
    report.sources.entry(name.to_owned()).or_default()
}

fn channel<'a>(report: &'a mut Report, name: &str) -> &'a mut ChannelReport {
    report.channels.entry(name.to_owned()).or_default()
}

/// Fetches the ledger of an agent from its monitoring port: `http://host:41414`, with or without `/ledger`.
///
/// # Errors
/// What hinders, with the address.
pub async fn fetch(url: &str) -> Result<Report, FetchError> {
    let base = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    let base = base.trim_end_matches('/');
    let url = if base.ends_with("/ledger") { base.to_owned() } else { format!("{base}/ledger") };
    let failed = |what: String| FetchError { url: url.clone(), what };
    let client = reqwest::Client::builder().timeout(ANSWER_TIMEOUT).build();
    let client = client.map_err(|error| failed(error.to_string()))?;
    let mut answer = client.get(&url).send().await.map_err(|error| failed(plain(&error)))?;
    if !answer.status().is_success() {
        return Err(failed(format!(
            "answers {}; give the address that -Dflume.monitoring.port sets, of an agent that serves a ledger",
            answer.status()
        )));
    }
    let mut body = Vec::new();
    while let Some(part) = answer.chunk().await.map_err(|error| failed(plain(&error)))? {
        body.extend_from_slice(&part);
        if body.len() > ANSWER_LIMIT_BYTES {
            return Err(failed(format!("answers more than {ANSWER_LIMIT_BYTES} bytes")));
        }
    }
    serde_json::from_slice(&body).map_err(|error| failed(format!("is no ledger: {error}")))
}

/// The innermost cause, which is what a person can act upon.
fn plain(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    format!("{cause}; is the agent running, with -Dflume.monitoring.type=http?")
}
