//! The agent as written: names, types and bindings, and an untouched [`Section`] per component.
//!
//! What Flume would leave out is left out here, with a finding that says where, why and what
//! follows. Unlike in Flume, everything keeps its written order.

mod bind;
mod keys;

use std::collections::{BTreeMap, BTreeSet};

use crate::de::Spanned;
use crate::diagnostic::Diagnostic;
use crate::mistakes;
use crate::nearest::nearest;
use crate::source::{Sources, Span};
use crate::subst::{self, ConfigFilter, Lookups, Referred, Substitution};
use crate::text::{self, Entry};
use crate::tree::{Role, Section};
use keys::Keys;

/// One agent. Two plans, or two components of them, are equal when they say the same, wherever
/// it is written.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The agent's name.
    pub agent: String,
    /// In the order of `sources =`.
    pub sources: Vec<SourcePlan>,
    /// In the order of `channels =`; those that nothing is connected to are left out.
    pub channels: Vec<ChannelPlan>,
    /// In the order of `sinks =`, those in groups included.
    pub sinks: Vec<SinkPlan>,
    /// In the order of `sinkgroups =`.
    pub groups: Vec<GroupPlan>,
    /// In the order of `configfilters =`.
    pub filters: Vec<FilterPlan>,
}

/// A source and the channels it feeds.
#[derive(Debug, Clone, PartialEq)]
pub struct SourcePlan {
    /// Its name.
    pub name: String,
    /// Its type: alias or class name, as written.
    pub kind: Spanned<String>,
    /// Channels it feeds, in written order, all of them in the plan; at least one.
    pub channels: Vec<Spanned<String>>,
    /// In the order of `interceptors =`.
    pub interceptors: Vec<InterceptorPlan>,
    /// Its keys.
    pub section: Section,
}

/// An interceptor of a source.
#[derive(Debug, Clone, PartialEq)]
pub struct InterceptorPlan {
    /// Its name within the source.
    pub name: String,
    /// Its type, as written.
    pub kind: Spanned<String>,
    /// Its keys, relative to it.
    pub section: Section,
}

/// A channel.
#[derive(Debug, Clone, PartialEq)]
pub struct ChannelPlan {
    /// Its name.
    pub name: String,
    /// Its type, as written.
    pub kind: Spanned<String>,
    /// Its keys.
    pub section: Section,
}

/// A sink and the channel it drains.
#[derive(Debug, Clone, PartialEq)]
pub struct SinkPlan {
    /// Its name.
    pub name: String,
    /// Its type, as written.
    pub kind: Spanned<String>,
    /// The channel it drains, which is in the plan.
    pub channel: Spanned<String>,
    /// Where events go that it rejects for good, which is in the plan and not the channel it drains.
    pub dead_letter: Option<Spanned<String>>,
    /// Its keys.
    pub section: Section,
}

/// Sinks that one processor chooses among.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupPlan {
    /// Its name.
    pub name: String,
    /// Sinks, in written order, all of them in the plan and in no other group; at least one.
    pub sinks: Vec<Spanned<String>>,
    /// `processor.type`, as written.
    pub kind: Spanned<String>,
    /// Keys below `processor.`.
    pub processor: Section,
    /// All keys of the group.
    pub section: Section,
}

/// A config filter.
#[derive(Debug, Clone, PartialEq)]
pub struct FilterPlan {
    /// Its name.
    pub name: String,
    /// Its type, as written.
    pub kind: Spanned<String>,
    /// Its keys.
    pub section: Section,
}

/// What reading an agent gave.
#[derive(Debug)]
#[must_use]
pub struct PlanReading {
    /// The agent, or nothing where Flume would idle or stop.
    pub plan: Option<Plan>,
    /// Everything noticed.
    pub findings: Vec<Diagnostic>,
    /// Where Flume stops with a fatal error instead of leaving something out: exit non-zero.
    pub fatal: bool,
    /// Agents that the configuration names, by the alphabet.
    pub agents: Vec<String>,
}

/// Creates the config filter that a plan asks for, or says why it cannot.
pub type FilterFactory<'a> = &'a dyn Fn(&FilterPlan) -> Result<Box<dyn ConfigFilter>, String>;

/// More findings than this help nobody.
const FINDINGS_SHOWN: usize = 1000;

impl Plan {
    /// Reads `agent` out of the merged `sources`.
    pub fn read(
        agent: &str,
        sources: &Sources,
        lookups: &dyn Lookups,
        filters: FilterFactory<'_>,
    ) -> PlanReading {
        let properties = text::parse_all(sources);
        let mut findings = properties.findings;
        if findings.iter().any(text::is_no_text) {
            findings.retain(text::is_no_text);
            return PlanReading { plan: None, findings, fatal: true, agents: Vec::new() };
        }
        let unreadable = findings.iter().any(Diagnostic::is_error);
        mistakes::in_sources(sources, &mut findings);
        for entry in &properties.entries {
            mistakes::in_entry(entry, &mut findings);
        }
        let (own, agents) = own_entries(agent, &properties.entries, &mut findings);
        if unreadable {
            return PlanReading { plan: None, findings, fatal: true, agents }.sorted();
        }
        if own.is_empty() {
            findings.push(unknown_agent(agent, &agents, sources));
            return PlanReading { plan: None, findings, fatal: false, agents }.sorted();
        }
        let mut substitution = Substitution::new(&properties.entries, lookups);
        let mut substituted = Vec::with_capacity(own.len());
        for entry in own {
            let is_verbatim = sources.find(entry.value_span().file).is_some_and(|at| at.verbatim);
            let value = if is_verbatim {
                subst::say_left_alone(&entry.value, &mut findings);
                entry.value
            } else {
                substitution.value(&entry.value, &mut findings)
            };
            let entry = Entry { value, key: entry.key };
            if entry.value().trim().is_empty() {
                findings.push(mistakes::empty_value(&entry));
            } else {
                substituted.push(entry);
            }
        }
        let mut keys = Keys::split(agent, substituted, &mut findings);
        let filter_plans = bind::filters(&keys, &mut findings);
        apply_filters(&mut keys, &filter_plans, filters, &mut findings);
        let mut fatal = false;
        let plan = bind::agent(agent, &keys, filter_plans, &mut findings, &mut fatal);
        PlanReading { plan, findings, fatal, agents }.sorted()
    }

    /// The channel of that name.
    #[must_use]
    pub fn channel(&self, name: &str) -> Option<&ChannelPlan> {
        self.channels.iter().find(|channel| channel.name == name)
    }

    /// The sink of that name.
    #[must_use]
    pub fn sink(&self, name: &str) -> Option<&SinkPlan> {
        self.sinks.iter().find(|sink| sink.name == name)
    }

    /// Sinks that run alone.
    pub fn lone_sinks(&self) -> impl Iterator<Item = &SinkPlan> {
        let grouped = |name: &str| {
            self.groups.iter().any(|group| group.sinks.iter().any(|sink| sink.value == name))
        };
        self.sinks.iter().filter(move |sink| !grouped(&sink.name))
    }
}

impl SourcePlan {
    /// Value-less node of the channel selector: `type` and all keys below `selector.`.
    #[must_use]
    pub fn selector(&self) -> Section {
        self.section.section("selector")
    }
}

impl PlanReading {
    /// In the order of the text, errors before warnings at one place. Of too many, errors stay.
    fn sorted(mut self) -> Self {
        let place = |finding: &Diagnostic| finding.span.map(|span| (span.file, span.start));
        if self.findings.len() > FINDINGS_SHOWN {
            self.findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
            let more = self.findings.len() - FINDINGS_SHOWN;
            self.findings.truncate(FINDINGS_SHOWN);
            let message = format!("{more} more findings are not shown");
            self.findings.push(Diagnostic::note("too-many-findings", message));
        }
        self.findings.sort_by(|a, b| place(a).cmp(&place(b)).then(b.severity.cmp(&a.severity)));
        self
    }
}

/// Entries of one agent with keys relative to it, and the names of all agents. What belongs to no
/// agent is reported.
fn own_entries(
    agent: &str,
    entries: &[Entry],
    findings: &mut Vec<Diagnostic>,
) -> (Vec<Entry>, Vec<String>) {
    let mut own = Vec::new();
    let mut agents = BTreeSet::new();
    let referred = Referred::by(entries);
    for entry in entries {
        if entry.value().is_empty() {
            findings.push(mistakes::empty_value(entry));
            continue;
        }
        let dot = entry.key().find('.');
        let split = dot
            .map(|dot| entry.key().split_at(dot))
            .filter(|(name, rest)| !name.is_empty() && rest.len() > 1);
        let Some((name, _)) = split else {
            if !referred.has(entry.key()) {
                findings.push(mistakes::key_without_agent(entry));
            }
            continue;
        };
        agents.insert(name.to_owned());
        if name == agent
            && let Some(key) = entry.key.part(name.len() + 1, entry.key().len())
        {
            own.push(Entry { key, value: entry.value.clone() });
        }
    }
    if !own.is_empty() {
        stray_agents(agent, entries, &referred, findings);
    }
    (own, agents.into_iter().collect())
}

/// Agents that look like this one misspelt, or like an agent's name left out.
fn stray_agents(
    agent: &str,
    entries: &[Entry],
    referred: &Referred<'_>,
    findings: &mut Vec<Diagnostic>,
) {
    // The first key of each other agent, and whether it lists components, as real agents do.
    let mut others: BTreeMap<&str, (&Entry, bool)> = BTreeMap::new();
    for entry in entries {
        let named = |(name, _): &(&str, &str)| !name.is_empty() && *name != agent;
        let Some((other, key)) = entry.key().split_once('.').filter(named) else {
            continue;
        };
        if referred.has(entry.key()) {
            continue;
        }
        let lists = matches!(key, "sources" | "sinks" | "channels");
        others.entry(other).or_insert((entry, false)).1 |= lists;
    }
    for (other, (first, lists)) in others {
        let comma = other.strip_prefix(agent).is_some_and(|rest| rest.starts_with([',', ';']));
        let finding = if keys::SECTIONS.contains(&other) {
            let message = format!("the key starts with `{other}`, where the agent's name belongs");
            Diagnostic::warning("agent-name-missing", message)
                .help(format!("write `{agent}.{}`", first.key()))
        } else if comma {
            let dotted = first.key().replace([',', ';'], ".");
            Diagnostic::warning("comma-for-dot", format!("`{other}` is taken for another agent"))
                .help(format!("a comma stands where a dot belongs: write `{dotted}`"))
        } else if !lists && nearest(other, [agent]).is_some() {
            Diagnostic::warning(
                "agent-name-misspelt",
                format!("`{other}` is taken for another agent"),
            )
            .help(format!("did you mean `{agent}`?"))
        } else {
            continue;
        };
        findings.push(finding.at(first.key.part_span(0, other.len())));
    }
}

/// The first of many names, and how many more there are: keys of any file start like an agent's.
#[must_use]
pub fn some_of(names: &[String]) -> String {
    const SHOWN: usize = 10;
    let shown = names.iter().take(SHOWN).map(|name| format!("`{}`", mistakes::shown(name)));
    let mut text = shown.collect::<Vec<_>>().join(", ");
    if let Some(more) = names.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        text += &format!(" and {more} more");
    }
    text
}

fn unknown_agent(agent: &str, agents: &[String], sources: &Sources) -> Diagnostic {
    let finding = Diagnostic::error(
        "unknown-agent",
        format!("no configuration found for the agent `{agent}`"),
    )
    .at(sources.iter().next().map(|(file, _)| Span::start_of(file)))
    .with_note("as in Flume, the agent idles until the configuration changes");
    let meant = nearest(agent, agents.iter().map(String::as_str));
    match (meant, agents.is_empty()) {
        (Some(name), _) => finding.help(format!("did you mean `--name {name}`?")),
        (None, false) => finding.help(format!("the agents here are {}", some_of(agents))),
        (None, true) => finding.help(format!("keys look like `{agent}.sources = r1`")),
    }
}

fn apply_filters(
    keys: &mut Keys,
    plans: &[FilterPlan],
    factory: FilterFactory<'_>,
    findings: &mut Vec<Diagnostic>,
) {
    for plan in plans {
        match factory(plan) {
            Ok(filter) => {
                for value in keys.values_mut() {
                    *value = subst::apply_filter(value, &plan.name, filter.as_ref(), findings);
                }
            }
            Err(why) => findings.push(
                Diagnostic::error(
                    "config-filter",
                    format!("config filter `{}` cannot be used: {why}", plan.name),
                )
                .at(plan.kind.span)
                .component(format!("{} {}", Role::ConfigFilter.name(), plan.name))
                .with_note("values that ask it stay as they are"),
            ),
        }
    }
    let names: Vec<&str> = plans.iter().map(|plan| plan.name.as_str()).collect();
    let list = keys.filters.path.clone();
    for value in keys.values_mut() {
        for (filter, span) in subst::asked_filters(value) {
            if names.contains(&filter.as_str()) {
                continue;
            }
            let finding = Diagnostic::warning(
                "unknown-filter",
                format!("there is no config filter `{filter}`"),
            )
            .at(span)
            .label("stays as it is");
            findings.push(match nearest(&filter, names.iter().copied()) {
                Some(name) => finding.help(format!("did you mean `{name}`?")),
                None => finding.help(format!(
                    "list it in `{list}` and give it a type with `{list}.{filter}.type = `"
                )),
            });
        }
    }
}

#[cfg(test)]
mod tests;
