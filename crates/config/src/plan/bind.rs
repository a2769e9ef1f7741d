//! Lists against definitions, sources and sinks against channels, groups against sinks: what
//! Flume's validation leaves out is left out, with the reason.

use std::collections::{HashMap, HashSet};

use super::keys::{self, Family, Keys};
use super::{ChannelPlan, FilterPlan, GroupPlan, InterceptorPlan, Plan, SinkPlan, SourcePlan};
use crate::de::Spanned;
use crate::diagnostic::Diagnostic;
use crate::mistakes;
use crate::nearest::nearest;
use crate::text::{Entry, Located};
use crate::tree::{Role, Section};

/// Binds the whole agent. `None` where Flume has nothing to run.
pub(super) fn agent(
    agent: &str,
    keys: &Keys,
    filters: Vec<FilterPlan>,
    findings: &mut Vec<Diagnostic>,
    fatal: &mut bool,
) -> Option<Plan> {
    let channels = channels(keys, findings);
    let sources = sources(keys, &channels, findings);
    let mut sinks = sinks(keys, &channels, findings);
    let groups = groups(keys, &mut sinks, findings, fatal);
    let plan = Plan { agent: agent.to_owned(), sources, channels, sinks, groups, filters };
    if let Some(finding) = idle(&plan, keys) {
        findings.push(finding);
        return None;
    }
    Some(without_unused_channels(plan, findings))
}

/// Config filters that are listed and have a type.
pub(super) fn filters(keys: &Keys, findings: &mut Vec<Diagnostic>) -> Vec<FilterPlan> {
    let listed = components(&keys.filters, Role::ConfigFilter, findings);
    listed.into_iter().map(|(name, kind, section)| FilterPlan { name, kind, section }).collect()
}

fn channels(keys: &Keys, findings: &mut Vec<Diagnostic>) -> Vec<ChannelPlan> {
    let listed = components(&keys.channels, Role::Channel, findings);
    for (_, _, section) in &listed {
        misplaced(section, &["selector", "interceptors", "channel", "channels"], findings);
    }
    listed.into_iter().map(|(name, kind, section)| ChannelPlan { name, kind, section }).collect()
}

fn sources(
    keys: &Keys,
    channels: &[ChannelPlan],
    findings: &mut Vec<Diagnostic>,
) -> Vec<SourcePlan> {
    let mut sources = Vec::new();
    for (name, kind, section) in components(&keys.sources, Role::Source, findings) {
        let Some(bound) = source_channels(&section, channels, findings) else {
            continue;
        };
        let Some(interceptors) = interceptors(&section, findings) else {
            continue;
        };
        sources.push(SourcePlan { name, kind, channels: bound, interceptors, section });
    }
    sources
}

/// The channels a source feeds that exist; nothing if there are none.
fn source_channels(
    section: &Section,
    channels: &[ChannelPlan],
    findings: &mut Vec<Diagnostic>,
) -> Option<Vec<Spanned<String>>> {
    let Some(entry) = section.entry("channels") else {
        let finding = left_out(
            section,
            "no-channels",
            format!("source `{}` has no channels", section.name()),
        );
        findings.push(match section.entry("channel") {
            Some(entry) => finding
                .at(entry.key_span())
                .label("a source may feed several: the key is `channels`")
                .help(format!("write `{} = {}`", section.whole_key("channels"), entry.value())),
            None => finding.at(section.span()).help(format!(
                "add `{} = ` and the names of one or more channels",
                section.whole_key("channels")
            )),
        });
        return None;
    };
    if let Some(stray) = section.entry("channel") {
        let finding = ignored(section, stray, "sources take `channels`, and that is set too");
        findings.push(finding.help("remove this line"));
    }
    let mut bound: Vec<Spanned<String>> = Vec::new();
    let mut missing = Vec::new();
    for word in words(entry) {
        if bound.iter().any(|before| before.value == word.text()) {
            continue;
        }
        if channels.iter().any(|channel| channel.name == word.text()) {
            bound.push(spanned(&word));
        } else {
            missing.push(unknown_channel(section, &word, channels));
        }
    }
    if bound.is_empty() {
        findings.append(&mut missing);
        let message = format!("source `{}` has no channel that exists", section.name());
        findings.push(left_out(section, "no-channels", message).at(entry.value_span()));
        return None;
    }
    findings.extend(
        missing
            .into_iter()
            .map(|finding| finding.with_note("the source runs with its other channels")),
    );
    Some(bound)
}

fn interceptors(section: &Section, findings: &mut Vec<Diagnostic>) -> Option<Vec<InterceptorPlan>> {
    let all = section.section("interceptors");
    let Some(list) = section.entry("interceptors") else {
        if let Some(entry) = all.entries().first() {
            let finding =
                Diagnostic::warning("not-listed", "interceptors are defined but not listed")
                    .at(entry.key_span())
                    .help(format!(
                        "add `{} = ` and their names, in order",
                        section.whole_key("interceptors")
                    ));
            findings.push(of(section, finding));
        }
        return Some(Vec::new());
    };
    let mut plans: Vec<InterceptorPlan> = Vec::new();
    for word in words(list) {
        let below = all.section(word.text());
        let Some(kind) = below.entry("type") else {
            let message = format!("interceptor `{}` has no type", word.text());
            let finding = left_out(section, "type-missing", message).at(word.span());
            findings.push(finding.help(format!("add `{} = `", below.whole_key("type"))));
            return None;
        };
        let kind = spanned(&kind.value);
        plans.push(InterceptorPlan { name: word.text().to_owned(), kind, section: below });
    }
    for child in all.children() {
        if !plans.iter().any(|plan| plan.name == child.name()) {
            let finding = Diagnostic::warning(
                "not-listed",
                format!("interceptor `{}` is not listed", child.name()),
            )
            .at(child.span())
            .help(format!(
                "add `{}` to `{}`",
                child.name(),
                section.whole_key("interceptors")
            ));
            findings.push(of(section, finding));
        }
    }
    Some(plans)
}

fn sinks(keys: &Keys, channels: &[ChannelPlan], findings: &mut Vec<Diagnostic>) -> Vec<SinkPlan> {
    let mut sinks = Vec::new();
    for (name, kind, section) in components(&keys.sinks, Role::Sink, findings) {
        misplaced(&section, &["selector", "interceptors"], findings);
        let Some(channel) = sink_channel(&section, channels, findings) else { continue };
        let Ok(dead_letter) = dead_letter(&section, &channel, channels, findings) else { continue };
        sinks.push(SinkPlan { name, kind, channel, dead_letter, section });
    }
    sinks
}

/// The channel of a sink's dead letters. A sink whose dead letters cannot be kept is left out: it
/// would hold or drop what somebody wants to see.
fn dead_letter(
    section: &Section,
    drained: &Spanned<String>,
    channels: &[ChannelPlan],
    findings: &mut Vec<Diagnostic>,
) -> Result<Option<Spanned<String>>, ()> {
    let Some(entry) = section.entry("deadLetter") else { return Ok(None) };
    let name = section.name();
    let finding = if entry.value() == drained.value {
        let message = format!("sink `{name}` sends dead letters into the channel it drains");
        left_out(section, "dead-letter-circle", message)
            .at(entry.value_span())
            .help("name another channel, which another sink drains")
    } else if channels.iter().any(|channel| channel.name == entry.value()) {
        return Ok(Some(spanned(&entry.value)));
    } else {
        let finding = unknown_channel(section, &entry.value, channels);
        Diagnostic { severity: crate::Severity::Error, ..finding }.with_note("the sink is left out")
    };
    findings.push(finding);
    Err(())
}

fn sink_channel(
    section: &Section,
    channels: &[ChannelPlan],
    findings: &mut Vec<Diagnostic>,
) -> Option<Spanned<String>> {
    let name = section.name();
    let Some(entry) = section.entry("channel") else {
        let finding = left_out(section, "no-channel", format!("sink `{name}` has no channel"));
        findings.push(match section.entry("channels") {
            Some(entry) => finding
                .at(entry.key_span())
                .label("a sink drains exactly one: the key is `channel`")
                .help(format!("write `{} = {}`", section.whole_key("channel"), entry.value())),
            None => finding.at(section.span()).help(format!(
                "add `{} = ` and the name of one channel",
                section.whole_key("channel")
            )),
        });
        return None;
    };
    if let Some(stray) = section.entry("channels") {
        let finding = ignored(section, stray, "sinks take `channel`, and that is set too");
        findings.push(finding.help("remove this line"));
    }
    if channels.iter().any(|channel| channel.name == entry.value()) {
        return Some(spanned(&entry.value));
    }
    findings.push(if words(entry).len() > 1 {
        left_out(section, "several-channels", format!("sink `{name}` names more than one channel"))
            .at(entry.value_span())
            .help("a sink drains exactly one channel; define another sink for the other")
    } else {
        let finding = unknown_channel(section, &entry.value, channels);
        Diagnostic { severity: crate::Severity::Error, ..finding }.with_note("the sink is left out")
    });
    None
}

fn groups(
    keys: &Keys,
    sinks: &mut Vec<SinkPlan>,
    findings: &mut Vec<Diagnostic>,
    fatal: &mut bool,
) -> Vec<GroupPlan> {
    let mut groups: Vec<GroupPlan> = Vec::new();
    let mut taken: HashMap<String, String> = HashMap::new();
    for word in listed(&keys.groups, Role::SinkGroup, findings) {
        let Some(section) = defined(&keys.groups, Role::SinkGroup, &word, findings) else {
            continue;
        };
        let name = word.text();
        let Some(list) = section.entry("sinks") else {
            let finding =
                left_out(&section, "no-sinks", format!("sink group `{name}` has no sinks"));
            findings.push(
                finding
                    .at(section.span())
                    .help(format!(
                        "add `{} = ` and the names of its sinks",
                        section.whole_key("sinks")
                    ))
                    .with_note("Flume stops here with a null pointer"),
            );
            *fatal = true;
            continue;
        };
        let members = members(&section, list, sinks, &mut taken, findings);
        let Some(members) = members else { continue };
        if let Some(kind) = group_kind(&section, &members, findings) {
            let processor = section.section("processor");
            groups.push(GroupPlan {
                name: name.to_owned(),
                sinks: members,
                kind,
                processor,
                section,
            });
        } else {
            // Flume removes the sinks along with the group that cannot run them.
            sinks.retain(|sink| !members.iter().any(|member| member.value == sink.name));
        }
    }
    groups
}

/// The sinks of a group that exist and that no other group has.
fn members(
    section: &Section,
    list: &Entry,
    sinks: &[SinkPlan],
    taken: &mut HashMap<String, String>,
    findings: &mut Vec<Diagnostic>,
) -> Option<Vec<Spanned<String>>> {
    let mut members: Vec<Spanned<String>> = Vec::new();
    let mut unknown = 0;
    for word in words(list) {
        if members.iter().any(|before| before.value == word.text()) {
            continue;
        }
        let exists = sinks.iter().any(|sink| sink.name == word.text());
        if exists && !taken.contains_key(word.text()) {
            members.push(spanned(&word));
            continue;
        }
        unknown += usize::from(!exists);
        let message = match taken.get(word.text()).filter(|_| exists) {
            Some(other) => format!("sink `{}` is in group `{other}` already", word.text()),
            None => format!(
                "sink group `{}` names sink `{}`, which is not running",
                section.name(),
                word.text()
            ),
        };
        let finding = Diagnostic::warning("group-member", message)
            .at(word.span())
            .label("left out of this group");
        let names = sinks.iter().map(|sink| sink.name.as_str());
        let meant = nearest(word.text(), names).filter(|_| !exists);
        findings.push(of(
            section,
            match meant {
                Some(name) => finding.help(format!("did you mean `{name}`?")),
                None => finding,
            },
        ));
    }
    if members.is_empty() {
        let why = if unknown > 0 {
            "none of its sinks is running"
        } else {
            "all of its sinks are in other groups"
        };
        let message = format!("sink group `{}` has no sinks left: {why}", section.name());
        findings.push(left_out(section, "no-sinks", message).at(list.value_span()));
        return None;
    }
    for member in &members {
        taken.insert(member.value.clone(), section.name().to_owned());
    }
    Some(members)
}

fn group_kind(
    section: &Section,
    members: &[Spanned<String>],
    findings: &mut Vec<Diagnostic>,
) -> Option<Spanned<String>> {
    let gone = "its sinks are left out with it";
    let name = section.name();
    let Some(kind) = section.entry("processor.type") else {
        let finding =
            left_out(section, "type-missing", format!("sink group `{name}` has no processor type"));
        let help = format!(
            "add `{} = failover`, `load_balance` or, for one sink, `default`",
            section.whole_key("processor.type")
        );
        findings.push(finding.at(section.span()).help(help).with_note(gone));
        return None;
    };
    let is = |alias: &str, class: &str| {
        kind.value().eq_ignore_ascii_case(alias) || kind.value() == class
    };
    let finding = if is("default", "org.apache.flume.sink.DefaultSinkProcessor")
        && members.len() > 1
    {
        left_out(
            section,
            "group-size",
            format!("sink group `{name}` has several sinks, the default processor takes one"),
        )
        .help(format!("use `{} = failover` or `load_balance`", section.whole_key("processor.type")))
    } else if is("load_balance", "org.apache.flume.sink.LoadBalancingSinkProcessor")
        && members.len() < 2
    {
        left_out(
            section,
            "group-size",
            format!("sink group `{name}` has one sink, load balancing needs two"),
        )
        .help(format!(
            "add another sink, or use `{} = default`",
            section.whole_key("processor.type")
        ))
    } else {
        return Some(spanned(&kind.value));
    };
    findings.push(finding.at(kind.value_span()).with_note(gone));
    None
}

/// Name, type and keys of the listed components of a role that have both.
fn components(
    family: &Family,
    role: Role,
    findings: &mut Vec<Diagnostic>,
) -> Vec<(String, Spanned<String>, Section)> {
    let mut found = Vec::new();
    for word in listed(family, role, findings) {
        let Some(section) = defined(family, role, &word, findings) else {
            continue;
        };
        let Some(kind) = section.entry("type") else {
            let finding = left_out(
                &section,
                "type-missing",
                format!("{} `{}` has no type", role.name(), word.text()),
            );
            let near = nearest("type", section.keys().filter(|key| !role.is_common(key)));
            findings.push(finding.at(section.span()).help(match near {
                Some(key) => format!("did you mean `type` where `{key}` stands?"),
                None => format!("add a line that sets `{}`", section.whole_key("type")),
            }));
            continue;
        };
        let kind = spanned(&kind.value);
        found.push((word.text().to_owned(), kind, section));
    }
    found
}

/// The names a role's list holds, each once; says what is defined but not listed.
fn listed(family: &Family, role: Role, findings: &mut Vec<Diagnostic>) -> Vec<Located> {
    let mut names: Vec<Located> = Vec::new();
    let mut seen = HashSet::new();
    let mut tangled = false;
    if let Some(list) = &family.list {
        for word in words(list) {
            if !seen.insert(word.text().to_owned()) {
                let message = format!("`{}` is listed twice", word.text());
                findings.push(
                    Diagnostic::warning("listed-twice", message)
                        .at(word.span())
                        .help("once is enough"),
                );
                continue;
            }
            tangled |= word.text().contains([',', ';']) && !family.defines(word.text());
            names.push(word);
        }
        if tangled {
            findings.push(mistakes::separators_in_list(&family.path, list));
        }
    }
    for (name, place) in family.defined().filter(|(name, _)| !seen.contains(*name)) {
        let near = names.iter().find(|word| !family.defines(word.text())).map(Located::text);
        let finding = Diagnostic::warning(
            "not-listed",
            format!("{} `{name}` is defined but not listed", role.name()),
        )
        .at(place.span())
        .label("does not run");
        let list = &family.path;
        findings.push(match (near.and_then(|near| nearest(name, [near])), tangled) {
            (_, true) => finding,
            (Some(near), _) => finding
                .help(format!("`{list}` lists `{near}`, which is not defined: is it the same?")),
            (None, _) if family.list.is_none() => {
                finding.help(format!("there is no `{list}`: add `{list} = {name}`"))
            }
            (None, _) => finding.help(format!("add `{name}` to `{list}`, or remove its lines")),
        });
    }
    names
}

fn defined(
    family: &Family,
    role: Role,
    word: &Located,
    findings: &mut Vec<Diagnostic>,
) -> Option<Section> {
    let section = family.section(word.text(), role);
    if let Some(section) = &section {
        findings.extend(keys::java_configuration(section));
    } else {
        let message = format!("{} `{}` is listed but not defined", role.name(), word.text());
        let finding = Diagnostic::error("not-defined", message)
            .at(word.span())
            .label("left out")
            .component(format!("{} {}", role.name(), word.text()));
        findings.push(match nearest(word.text(), family.defined().map(|(name, _)| name)) {
            Some(name) => finding.help(format!("did you mean `{name}`?")),
            None => {
                finding.help(format!("add lines such as `{}.{}.type = `", family.path, word.text()))
            }
        });
    }
    section
}

/// What is left to run, if anything is.
fn idle(plan: &Plan, keys: &Keys) -> Option<Diagnostic> {
    let families = [&keys.channels, &keys.sources, &keys.sinks];
    let place = families.iter().find_map(|family| family.list.as_ref()).map(Entry::key_span);
    let message = if plan.channels.is_empty() {
        "has no channel that can run"
    } else if plan.sources.is_empty() && plan.sinks.is_empty() {
        "has neither a source nor a sink that can run"
    } else {
        return None;
    };
    let finding =
        Diagnostic::error("nothing-to-run", format!("the agent `{}` {message}", plan.agent))
            .at(place)
            .with_note("as in Flume, the agent idles until the configuration changes");
    Some(match (plan.channels.is_empty(), &keys.channels.list) {
        (true, None) => finding.help(format!("list the channels: `{}.channels = c1`", plan.agent)),
        _ => finding.help("mend what the other findings name"),
    })
}

fn without_unused_channels(mut plan: Plan, findings: &mut Vec<Diagnostic>) -> Plan {
    let fed = plan.sources.iter().flat_map(|source| &source.channels);
    let drained = plan.sinks.iter().map(|sink| &sink.channel);
    let dead = plan.sinks.iter().filter_map(|sink| sink.dead_letter.as_ref());
    let used: HashSet<&str> =
        fed.chain(drained).chain(dead).map(|name| name.value.as_str()).collect();
    let (kept, unused): (Vec<_>, Vec<_>) = std::mem::take(&mut plan.channels)
        .into_iter()
        .partition(|channel| used.contains(channel.name.as_str()));
    for channel in unused {
        let message =
            format!("channel `{}` has no components connected and is left out", channel.name);
        let finding = Diagnostic::warning("unused-channel", message).at(channel.section.span());
        findings.push(of(
            &channel.section,
            finding.help("name it in a source's `channels` or a sink's `channel`"),
        ));
    }
    plan.channels = kept;
    plan
}

fn unknown_channel(section: &Section, word: &Located, channels: &[ChannelPlan]) -> Diagnostic {
    let message = format!("channel `{}` is not in the active set", word.text());
    let finding = Diagnostic::warning("unknown-channel", message).at(word.span());
    let names: Vec<&str> = channels.iter().map(|channel| channel.name.as_str()).collect();
    let bare = word.text().trim_matches([',', ';']);
    of(
        section,
        if bare != word.text() && names.contains(&bare) {
            finding.help("names are separated by blanks, without commas")
        } else if let Some(name) = nearest(word.text(), names.iter().copied()) {
            finding.help(format!("did you mean `{name}`?"))
        } else if names.is_empty() {
            finding.help("list the agent's channels in `channels` and give each a `type`")
        } else {
            finding.help(format!("the channels are {}", names.join(", ")))
        },
    )
}

/// Keys that this role does not have, though others do.
fn misplaced(section: &Section, keys: &[&str], findings: &mut Vec<Diagnostic>) {
    for key in keys {
        let node = section.section(key);
        let Some(entry) = section.entry(key).or_else(|| node.entries().first()) else {
            continue;
        };
        let why = match *key {
            "selector" => "only sources have a channel selector",
            "interceptors" => "only sources have interceptors",
            _ => "sources name their channels, and sinks name theirs",
        };
        let mut finding = ignored(section, entry, why);
        finding.message =
            format!("{} `{}` has no key `{key}`", section.role().name(), section.name());
        findings.push(finding);
    }
}

fn ignored(section: &Section, entry: &Entry, why: &str) -> Diagnostic {
    let message =
        format!("{} `{}` ignores `{}`", section.role().name(), section.name(), entry.key());
    of(section, Diagnostic::warning("misplaced-key", message).at(entry.key_span()).label(why))
}

fn left_out(section: &Section, code: &'static str, message: String) -> Diagnostic {
    let note = format!("the {} is left out", section.role().name());
    of(section, Diagnostic::error(code, message).with_note(note))
}

fn of(section: &Section, mut finding: Diagnostic) -> Diagnostic {
    finding.component = section.owner().map(str::to_owned);
    finding
}

fn spanned(text: &Located) -> Spanned<String> {
    Spanned::new(text.text().to_owned(), text.span())
}

/// Words between blanks, each with its place.
fn words(entry: &Entry) -> Vec<Located> {
    entry.value.words()
}
