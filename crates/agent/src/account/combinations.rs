//! Combinations that work against each other, or that people often do not mean.

use std::collections::BTreeSet;
use std::sync::Arc;

use splashdam_config::{Diagnostic, Section, Span};
use splashdam_core::Facts;

use super::{claims, rejecting};
use crate::checked::{Checked, CheckedChannel, CheckedSink, CheckedSource, batch_key};

/// A sink's batch that is this many times a source's makes a finding.
const SMALL_BATCH: usize = 20;
/// More than any machine this runs on has to spare for one channel.
const NO_LIMIT_BYTES: u64 = 1 << 36;

/// Header names that stand for all: a source that hands on the headers of its sender.
const ANY_HEADER: &str = "*";

/// All of them.
pub(super) fn findings(checked: &Checked) -> Vec<Diagnostic> {
    let mut findings = Vec::new();
    for channel in &checked.channels {
        ends(checked, channel, &mut findings);
        room(checked, channel, &mut findings);
        volatile(checked, channel, &mut findings);
        shared(checked, channel, &mut findings);
    }
    for source in &checked.sources {
        small_batches(checked, source, &mut findings);
        headers_on_the_way(source, &mut findings);
    }
    for (_, sink) in checked.sinks() {
        run_together(sink, &mut findings);
        dead_letters(sink, &mut findings);
        no_place(checked, sink, &mut findings);
    }
    scattered_groups(checked, &mut findings);
    headers_for_sinks(checked, &mut findings);
    findings.extend(claims::findings(checked));
    findings
}

/// A channel that only fills, or only drains.
fn ends(checked: &Checked, channel: &CheckedChannel, findings: &mut Vec<Diagnostic>) {
    let name = &channel.name;
    if sinks_of(checked, name).is_empty() {
        let message = format!("no sink drains channel {name}: once it is full, its sources wait");
        let help = format!("give a sink `channel = {name}`");
        findings.push(of_channel(channel, Diagnostic::warning("no-sink", message)).help(help));
    }
    let fed = !sources_of(checked, name).is_empty() || rejecting(checked, name).next().is_some();
    if !fed && !channel.part.facts.durable {
        let message = format!("no source feeds channel {name}, which starts out empty");
        let help = format!("add {name} to the `channels` of a source");
        findings.push(of_channel(channel, Diagnostic::warning("no-source", message)).help(help));
    }
}

/// A channel that a batch or two fill, or that nothing bounds.
fn room(checked: &Checked, channel: &CheckedChannel, findings: &mut Vec<Diagnostic>) {
    let name = &channel.name;
    let facts = &channel.part.facts;
    let most = |batches: Vec<Option<usize>>| batches.into_iter().flatten().max().unwrap_or(0);
    let put = most(sources_of(checked, name).iter().map(|s| s.part.facts.batch_events).collect());
    let take = most(sinks_of(checked, name).iter().map(|s| s.part.facts.batch_events).collect());
    if let Some(capacity) = facts.capacity_events.filter(|capacity| *capacity < put + take) {
        let message = format!(
            "channel {name} holds {capacity} events, less than a batch of its source ({put}) and \
             one of its sink ({take}) together, so that one waits for the other"
        );
        let key = facts.capacity_key;
        let least = 4 * put.max(take);
        let help =
            key.map(|key| format!("set `{key}` of {name} to several batches, {least} or more"));
        let finding = Diagnostic::note("tight-channel", message);
        findings.push(about_key(channel, key, help, finding));
    }
    if facts.memory_bytes.is_some_and(|bytes| bytes > NO_LIMIT_BYTES) {
        let message = format!("nothing limits the memory that channel {name} may take");
        let key = facts.memory_key;
        let help = key.map(|key| format!("set `{key}` to what the machine can spare"));
        let finding = Diagnostic::warning("no-memory-limit", message);
        findings.push(about_key(channel, key, help, finding));
    }
}

/// Several sinks at one channel share its events: none gets all.
fn shared(checked: &Checked, channel: &CheckedChannel, findings: &mut Vec<Diagnostic>) {
    let name = &channel.name;
    let drains = |group: &&crate::checked::CheckedGroup| {
        group.sinks.iter().any(|sink| sink.channel == *name)
    };
    let groups: Vec<_> = checked.groups.iter().filter(drains).collect();
    if groups.len() < 2 {
        return;
    }
    let sinks = sinks_of(checked, name);
    let names = sinks.iter().map(|sink| &*sink.name).collect::<Vec<_>>().join(", ");
    let kinds: BTreeSet<&str> = sinks.iter().map(|sink| sink.part.entry.name).collect();
    let last = sinks[sinks.len() - 1];
    let at = last.part.section.value_span("channel");
    let finding = if kinds.len() > 1 {
        let message = format!("sinks {names} share channel {name}: each event reaches one of them");
        Diagnostic::warning("shared-channel", message).help(
            "give each sink a channel of its own, and the source all of them, for a copy each",
        )
    } else {
        let message =
            format!("sinks {names} share channel {name}: events arrive in no fixed order");
        Diagnostic::note("shared-channel", message)
            .help("let one sink drain it where the order matters")
    };
    findings.push(finding.at(at).component(format!("sink {}", last.name)));
}

/// Sources that tell their senders that all is well, before a channel that forgets.
fn volatile(checked: &Checked, channel: &CheckedChannel, findings: &mut Vec<Diagnostic>) {
    let acknowledges = |source: &&CheckedSource| source.part.facts.acknowledged.is_some();
    let sources: Vec<&CheckedSource> =
        sources_of(checked, &channel.name).into_iter().filter(acknowledges).collect();
    if channel.part.facts.durable || sources.is_empty() {
        return;
    }
    let names = sources.iter().map(|source| &*source.name).collect::<Vec<_>>().join(", ");
    let (subject, verb) =
        if sources.len() == 1 { ("source", "counts") } else { ("sources", "count") };
    let name = &channel.name;
    let (empties, lives) = match channel.part.facts.volatile_events {
        Some(_) => ("of which a crash empties memory", "lives in memory in part"),
        None => ("which a crash empties", "lives in memory"),
    };
    let message = format!(
        "{subject} {names} {verb} an event as delivered once it is in channel {name}, {empties}"
    );
    let mut finding = Diagnostic::note("volatile-channel", message)
        .at(channel.part.section.value_span("type"))
        .label(lives)
        .component(format!("channel {name}"));
    for source in sources {
        let acknowledged = source.part.facts.acknowledged.unwrap_or_default();
        finding = finding.with_note(format!("source {}: {acknowledged}", source.name));
    }
    findings.push(finding);
}

/// Many small commits before few large takes.
fn small_batches(checked: &Checked, source: &CheckedSource, findings: &mut Vec<Diagnostic>) {
    let Some(put) = source.part.facts.batch_events else { return };
    let sinks = source.channels.iter().flat_map(|channel| sinks_of(checked, channel));
    let Some(take) = sinks.filter_map(|sink| sink.part.facts.batch_events).max() else { return };
    if put.saturating_mul(SMALL_BATCH) > take {
        return;
    }
    let name = &source.name;
    let section = &source.part.section;
    let written = batch_key(section);
    let message = format!(
        "source {name} commits at most {put} {} at a time while its sinks take up to {take}: \
         every commit has its price",
        if put == 1 { "event" } else { "events" }
    );
    let key = written.map_or("batchSize", |entry| entry.key());
    findings.push(
        Diagnostic::note("small-batches", message)
            .at(written.map(splashdam_config::Entry::value_span).or(section.span()))
            .help(format!("raise `{key}` of the source"))
            .component(format!("source {name}")),
    );
}

/// A serializer that is told to put nothing between events.
fn run_together(sink: &CheckedSink, findings: &mut Vec<Diagnostic>) {
    let told = sink.part.section.entries().iter().find(|entry| {
        entry.key().ends_with("serializer.appendNewline")
            && !entry.value().eq_ignore_ascii_case("true")
    });
    let Some(entry) = told else { return };
    let name = &sink.name;
    let message = format!("sink {name} writes events one after the other with nothing in between");
    findings.push(
        Diagnostic::note("no-newline", message)
            .at(entry.value_span())
            .help("leave the line out, unless events end in a line break of their own")
            .component(format!("sink {name}")),
    );
}

/// A sink that has nothing to send into its channel of dead letters, or gets its own back.
fn dead_letters(sink: &CheckedSink, findings: &mut Vec<Diagnostic>) {
    let Some(channel) = &sink.dead_letter else { return };
    let name = &sink.name;
    let finding = if sink.part.facts.rejects.is_none() {
        let kind = sink.part.entry.name;
        let message =
            format!("sink {name} never uses `deadLetter`: type `{kind}` rejects no event");
        Diagnostic::note("dead-letter-unused", message).help("leave the line out")
    } else if sink.goes_round {
        let message = format!("what sink {name} rejects may come back to it by way of {channel}");
        Diagnostic::warning("dead-letter-circle", message)
            .help("end the way in a sink that takes everything, such as `file_roll`")
    } else {
        return;
    };
    let at = sink.part.section.value_span("deadLetter");
    findings.push(finding.at(at).component(format!("sink {name}")));
}

/// A sink that has to know where events lie, and a channel that does not tell.
fn no_place(checked: &Checked, sink: &CheckedSink, findings: &mut Vec<Diagnostic>) {
    let tells = |channel: &CheckedChannel| channel.part.facts.tells_place;
    if !sink.part.facts.needs_place || checked.channel(&sink.channel).is_none_or(tells) {
        return;
    }
    let (name, channel) = (&sink.name, &sink.channel);
    let message =
        format!("sink {name} has to know where events lie, and channel {channel} does not tell");
    findings.push(
        Diagnostic::error("no-place", message)
            .at(sink.part.section.value_span("channel"))
            .help(format!("make {channel} a file channel that syncs each transaction"))
            .with_note("the sink delivers nothing")
            .component(format!("sink {name}")),
    );
}

/// One group, several channels: no sink can stand in for another.
fn scattered_groups(checked: &Checked, findings: &mut Vec<Diagnostic>) {
    for group in &checked.groups {
        let channels: BTreeSet<&str> = group.sinks.iter().map(|sink| &*sink.channel).collect();
        if channels.len() < 2 {
            continue;
        }
        let name = &group.name;
        let odd = group.sinks.iter().find(|sink| sink.channel != group.sinks[0].channel);
        let message = format!(
            "the sinks of group {name} drain different channels, so that none can stand in for \
             another"
        );
        findings.push(
            Diagnostic::warning("scattered-group", message)
                .at(odd.and_then(|sink| sink.part.section.value_span("channel")))
                .help(format!("let all of them drain `{}`", group.sinks[0].channel))
                .component(format!("sink group {name}")),
        );
    }
}

/// Headers that interceptors and the selector of a source need.
fn headers_on_the_way(source: &CheckedSource, findings: &mut Vec<Diagnostic>) {
    let name = &source.name;
    let mut set: Vec<&str> = source.part.facts.sets_headers.iter().map(String::as_str).collect();
    let mut needs = Vec::new();
    for (interceptor, part) in &source.interceptors {
        let who = format!("interceptor {interceptor} of source {name}");
        needs.extend(lacking(&part.facts, &set).map(|header| (who.clone(), header, &part.section)));
        set.extend(part.facts.sets_headers.iter().map(String::as_str));
    }
    let selector = &source.selector;
    let who = format!("the selector of source {name}");
    needs.extend(lacking(&selector.facts, &set).map(|h| (who.clone(), h, &selector.section)));
    if set.contains(&ANY_HEADER) {
        return;
    }
    for (who, header, section) in needs {
        let message = format!("{who} looks at the header `{header}`, which nothing before it sets");
        findings.push(
            Diagnostic::warning("header-never-set", message)
                .at(place_of(section, header))
                .help(advice(header, std::slice::from_ref(name)))
                .component(format!("source {name}")),
        );
    }
}

/// Headers that sinks need and that no source on the way sets.
fn headers_for_sinks(checked: &Checked, findings: &mut Vec<Diagnostic>) {
    for (_, sink) in checked.sinks() {
        let sources = sources_of(checked, &sink.channel);
        for header in &sink.part.facts.needs_headers {
            let without: Vec<Arc<str>> = sources
                .iter()
                .filter(|source| !sets(source, header))
                .map(|source| source.name.clone())
                .collect();
            if without.is_empty() {
                continue;
            }
            let name = &sink.name;
            let message = format!(
                "sink {name} needs the header `{header}` on every event, and source {} sets none",
                without.join(", ")
            );
            findings.push(
                Diagnostic::warning("header-never-set", message)
                    .at(place_of(&sink.part.section, header))
                    .help(advice(header, &without))
                    .with_note("an event without it fails its batch again and again")
                    .component(format!("sink {name}")),
            );
        }
    }
}

fn sets(source: &CheckedSource, header: &str) -> bool {
    let parts = source.interceptors.iter().map(|(_, part)| &part.facts);
    let mut facts = std::iter::once(&source.part.facts).chain(parts);
    facts.any(|facts| facts.sets_headers.iter().any(|set| set == header || set == ANY_HEADER))
}

fn lacking<'f>(facts: &'f Facts, set: &[&str]) -> impl Iterator<Item = &'f String> {
    facts.needs_headers.iter().filter(|header| !set.contains(&header.as_str()))
}

fn advice(header: &str, sources: &[Arc<str>]) -> String {
    let sources = sources.join(", ");
    let kind = match header {
        "timestamp" => "timestamp",
        "host" | "hostname" => "host",
        _ => "static",
    };
    format!("add an interceptor of type `{kind}` that sets it to source {sources}")
}

/// The value that asks for a header: an escape for it, or its name.
fn place_of(section: &Section, header: &str) -> Option<Span> {
    let escape = format!("%{{{header}}}");
    let values = || section.entries().iter();
    let by = |asks: &dyn Fn(&str) -> bool| values().find(|entry| asks(entry.value()));
    by(&|value| value.contains(&escape))
        .or_else(|| by(&|value| value == header))
        .or_else(|| by(&|value| header == "timestamp" && has_time_escape(value)))
        .map(splashdam_config::Entry::value_span)
        .or(section.span())
}

fn has_time_escape(value: &str) -> bool {
    value.match_indices('%').any(|(at, _)| {
        value[at + 1..].chars().next().is_some_and(|c| c.is_ascii_alphabetic() && c != 't')
    })
}

fn sinks_of<'c>(checked: &'c Checked, channel: &str) -> Vec<&'c CheckedSink> {
    checked.sinks().map(|(_, sink)| sink).filter(|sink| *sink.channel == *channel).collect()
}

fn sources_of<'c>(checked: &'c Checked, channel: &str) -> Vec<&'c CheckedSource> {
    let feeds = |source: &&CheckedSource| source.channels.iter().any(|name| **name == *channel);
    checked.sources.iter().filter(feeds).collect()
}

fn of_channel(channel: &CheckedChannel, finding: Diagnostic) -> Diagnostic {
    finding.at(channel.part.section.span()).component(format!("channel {}", channel.name))
}

/// A finding at the value of one of a channel's keys, which the help speaks of.
fn about_key(
    channel: &CheckedChannel,
    key: Option<&str>,
    help: Option<String>,
    finding: Diagnostic,
) -> Diagnostic {
    let section = &channel.part.section;
    let at = key.and_then(|key| section.value_span(key));
    let finding = of_channel(channel, finding).at(at.or(section.span()));
    match help {
        Some(help) => finding.help(help),
        None => finding,
    }
}
