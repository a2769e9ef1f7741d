//! What a checked agent promises: each way from a source through a channel to its sinks, what a
//! crash can lose or repeat on it, the memory all of it may need, and combinations that work
//! against each other.
//!
//! Everything here is composed from what the components say of themselves ([`Facts`]).

mod claims;
mod combinations;

use serde::Serialize;
use splashdam_config::Diagnostic;
use splashdam_core::Facts;

use crate::checked::{Checked, CheckedChannel, CheckedGroup, CheckedSink, CheckedSource};

/// The account of an agent.
#[derive(Clone, Debug, Serialize)]
pub struct Account {
    /// The agent's name.
    pub agent: String,
    /// Every way through it: sources in order, for each its channels in order; then channels that
    /// no source feeds.
    pub flows: Vec<Flow>,
    /// The memory it may need.
    pub memory: Memory,
    /// Combinations worth knowing of; none of them keeps a component from running.
    #[serde(skip)]
    pub findings: Vec<Diagnostic>,
}

/// One way from a source through a channel to the sinks that work on it by turns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Flow {
    /// Where events come from; nothing for a channel that is only drained.
    pub source: Option<Station>,
    /// Sinks whose dead letters come into the channel.
    pub rejected_by: Vec<Station>,
    /// What events pass before the channel, as in `interceptor i1 (timestamp)`.
    pub through: Vec<Station>,
    /// What chooses this channel among several.
    pub selector: Option<&'static str>,
    /// Whether a failure of this channel is passed over.
    pub optional: bool,
    /// Where they wait.
    pub channel: Station,
    /// The group the sinks are in.
    pub group: Option<Station>,
    /// Where they go; nothing for a channel that nobody drains.
    pub sinks: Vec<Station>,
    /// The promise in short.
    pub promise: Promise,
    /// When the source's sender, or its file's position, counts an event as handed over.
    pub acknowledged: Option<String>,
    /// What becomes of events that a sink refuses for good.
    pub rejects: Vec<Clause>,
    /// What a crash of the process can lose or repeat.
    pub process_crash: Vec<Clause>,
    /// What a crash of the machine can lose or repeat.
    pub machine_crash: Vec<Clause>,
}

/// A component on the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Station {
    /// Its name.
    pub name: String,
    /// Its type, by Flume's alias.
    #[serde(rename = "type")]
    pub kind: &'static str,
}

/// What one component says of a crash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Clause {
    /// The component, as in `channel c1`.
    pub at: String,
    /// What happens there.
    pub says: String,
}

/// How much a flow promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Promise {
    /// What was acknowledged arrives at least once, also after a crash.
    AtLeastOnce,
    /// As above while the process lives; what waits in the channel dies with it.
    WhileRunning,
    /// Nobody is told whether an event arrives.
    BestEffort,
}

/// The memory that the components say they may need; the process itself comes on top.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// The sum of what is known, in bytes.
    pub bytes: u64,
    /// What makes it up.
    pub shares: Vec<Share>,
    /// Channels that do not say; nothing bounds them here.
    pub unknown_channels: Vec<String>,
}

/// What one component may need.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Share {
    /// The component, as in `channel c1`.
    pub of: String,
    /// Bytes.
    pub bytes: u64,
}

/// Draws up the account.
#[must_use]
pub fn account(checked: &Checked) -> Account {
    let mut flows = Vec::new();
    for source in &checked.sources {
        for channel in checked.channels.iter().filter(|c| source.channels.contains(&c.name)) {
            flows.extend(flows_of(checked, Some(source), channel));
        }
    }
    for channel in &checked.channels {
        if !checked.sources.iter().any(|source| source.channels.contains(&channel.name)) {
            flows.extend(flows_of(checked, None, channel));
        }
    }
    Account {
        agent: checked.agent.to_string(),
        flows,
        memory: memory(checked),
        findings: combinations::findings(checked),
    }
}

impl Station {
    /// The type in short: the alias, or a class without its package.
    #[must_use]
    pub fn short_kind(&self) -> &'static str {
        short(self.kind)
    }
}

/// A type in short: an alias as it is, a class without its package.
#[must_use]
pub fn short(kind: &'static str) -> &'static str {
    let class = kind.rsplit('.').next().unwrap_or(kind);
    class.strip_suffix("$Builder").unwrap_or(class)
}

impl Promise {
    /// The promise as a sentence.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Promise::AtLeastOnce => "at least once, also after a crash",
            Promise::WhileRunning => {
                "at least once while the process runs; what waits in the channel dies with it"
            }
            Promise::BestEffort => "best effort: nobody is told of an event that is lost",
        }
    }
}

/// One flow for each group that drains `channel`, or one that ends there.
fn flows_of(
    checked: &Checked,
    source: Option<&CheckedSource>,
    channel: &CheckedChannel,
) -> Vec<Flow> {
    let drains = |group: &&CheckedGroup| group.sinks.iter().any(|s| s.channel == channel.name);
    let groups: Vec<&CheckedGroup> = checked.groups.iter().filter(drains).collect();
    if groups.is_empty() {
        return vec![flow(checked, source, channel, None)];
    }
    groups.into_iter().map(|group| flow(checked, source, channel, Some(group))).collect()
}

fn flow(
    checked: &Checked,
    source: Option<&CheckedSource>,
    channel: &CheckedChannel,
    group: Option<&CheckedGroup>,
) -> Flow {
    let optional = source.is_some_and(|source| is_optional(source, &channel.name));
    let sinks: Vec<_> = group
        .into_iter()
        .flat_map(|group| group.sinks.iter().filter(|sink| sink.channel == channel.name))
        .collect();
    let facts = &channel.part.facts;
    let promise = match source {
        _ if optional => Promise::BestEffort,
        Some(source) if source.part.facts.acknowledged.is_none() => Promise::BestEffort,
        _ if facts.durable => Promise::AtLeastOnce,
        _ => Promise::WhileRunning,
    };
    let mut parts: Vec<(String, &Facts)> = Vec::new();
    parts.extend(source.map(|source| (format!("source {}", source.name), &source.part.facts)));
    for (name, part) in source.into_iter().flat_map(|source| &source.interceptors) {
        parts.push((format!("interceptor {name}"), &part.facts));
    }
    parts.push((format!("channel {}", channel.name), facts));
    parts.extend(sinks.iter().map(|sink| (format!("sink {}", sink.name), &sink.part.facts)));
    let clauses = |of: fn(&Facts) -> Option<&'static str>| {
        let said = parts.iter().filter_map(|(at, facts)| Some((at, facts, of(facts)?)));
        said.map(|(at, facts, says)| Clause { at: at.clone(), says: bounded(says, facts) })
            .collect()
    };
    let (process_crash, machine_crash) =
        (clauses(|facts| facts.process_crash), clauses(|facts| facts.machine_crash));
    Flow {
        source: source.map(|source| station(&source.name, source.part.entry.name)),
        rejected_by: rejecting(checked, &channel.name)
            .map(|sink| station(&sink.name, sink.part.entry.name))
            .collect(),
        through: source
            .into_iter()
            .flat_map(|source| &source.interceptors)
            .map(|(name, part)| station(name, part.entry.name))
            .collect(),
        selector: source.filter(|s| chooses(s)).map(|source| source.selector.entry.name),
        optional,
        channel: station(&channel.name, channel.part.entry.name),
        group: group
            .filter(|group| !group.is_lone_sink())
            .map(|group| station(&group.name, group.processor.entry.name)),
        sinks: sinks.iter().map(|sink| station(&sink.name, sink.part.entry.name)).collect(),
        promise,
        acknowledged: source.and_then(|s| s.part.facts.acknowledged).map(str::to_owned),
        rejects: sinks.iter().filter_map(|sink| rejects(checked, sink)).collect(),
        process_crash,
        machine_crash,
    }
}

/// Sinks that send their dead letters into `channel`.
fn rejecting<'c>(checked: &'c Checked, channel: &str) -> impl Iterator<Item = &'c CheckedSink> {
    let sends = move |sink: &&CheckedSink| sink.dead_letter.as_deref() == Some(channel);
    checked.sinks().map(|(_, sink)| sink).filter(sends)
}

/// What becomes of what a sink rejects.
fn rejects(checked: &Checked, sink: &CheckedSink) -> Option<Clause> {
    let says = match &sink.dead_letter {
        _ if sink.part.facts.rejects.is_none() => return None,
        Some(channel) if claims::share_log(checked, &sink.channel, channel) => format!(
            "goes to channel {channel} with the reason in its headers, in the commit of its take, as both channels share a log: it is in one of them and never in both"
        ),
        Some(channel) => format!(
            "goes to channel {channel} with the reason in its headers, before its take is committed: a crash in between puts it there again"
        ),
        None => sink.part.facts.rejects?.to_owned(),
    };
    Some(Clause { at: format!("sink {}", sink.name), says })
}

/// Whether a source's selector has anything to say.
fn chooses(source: &CheckedSource) -> bool {
    source.channels.len() > 1 || !source.selector.facts.to_all
}

/// Whether the selector passes over a failure of `channel` for every event.
fn is_optional(source: &CheckedSource, channel: &str) -> bool {
    source.selector.facts.passes_over.iter().any(|name| name == channel)
}

/// What a volatile channel loses, with how much that is at the most.
fn bounded(says: &str, facts: &Facts) -> String {
    match facts.volatile_events.or(facts.capacity_events) {
        Some(events) if !facts.durable => format!("{says}, at most {events} events"),
        _ => says.to_owned(),
    }
}

fn station(name: &str, kind: &'static str) -> Station {
    Station { name: name.to_owned(), kind }
}

fn memory(checked: &Checked) -> Memory {
    let channels = checked.channels.iter().map(|c| (format!("channel {}", c.name), &c.part.facts));
    let sources = checked.sources.iter().map(|s| (format!("source {}", s.name), &s.part.facts));
    let sinks = checked.sinks().map(|(_, s)| (format!("sink {}", s.name), &s.part.facts));
    let shares: Vec<Share> = channels
        .chain(sources)
        .chain(sinks)
        .filter_map(|(of, facts)| Some(Share { of, bytes: facts.memory_bytes? }))
        .collect();
    let unknown = checked.channels.iter().filter(|c| c.part.facts.memory_bytes.is_none());
    Memory {
        bytes: shares.iter().fold(0, |sum, share| sum.saturating_add(share.bytes)),
        shares,
        unknown_channels: unknown.map(|channel| channel.name.to_string()).collect(),
    }
}

#[cfg(test)]
mod tests;
