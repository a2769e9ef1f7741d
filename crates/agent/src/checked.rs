//! The agent as checked: every part found in the lists, its keys readable, its batches fitting.
//!
//! As written, as checked and as running are three types: a [`Plan`] says what somebody wrote, a
//! [`Checked`] what of it can be opened, the topology what is open. What Flume leaves out is left
//! out on the way from the first to the second, with a finding that says where, why and what
//! follows; what is fatal in Flume is fatal here.

mod checker;
mod kinds;
mod strangers;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use splashdam_config::{Diagnostic, Plan, Section};
use splashdam_core::{
    Channel, DynInterceptor, DynSink, DynSource, Entry, Facts, Lists, Role, Selector, SinkProcessor,
};

use crate::status::Need;

use checker::Checker;

/// An agent that can be opened.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked {
    /// The agent's name.
    pub agent: Arc<str>,
    /// Channels that something is connected to, in written order.
    pub channels: Vec<CheckedChannel>,
    /// Sources, in written order.
    pub sources: Vec<CheckedSource>,
    /// Sink groups in written order, then lone sinks, each a group of its own.
    pub groups: Vec<CheckedGroup>,
    /// What somebody wrote and does not run, as whoever read it found.
    pub left_out: Vec<LeftOut>,
}

/// A component that is written and cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// What it would be.
    pub role: Role,
    /// Its name.
    pub name: Arc<str>,
    /// What is wrong with it.
    pub why: String,
}

/// A component's line in the lists, with its keys and what it says of itself.
///
/// Two are equal when they name the same type and say the same, wherever it is written: the
/// question that a reload asks.
pub struct Part<T: ?Sized + 'static> {
    /// Opens it.
    pub entry: &'static Entry<T>,
    /// Its keys.
    pub section: Section,
    /// What it says of itself with these keys.
    pub facts: Facts,
}

/// A channel.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckedChannel {
    /// Its name.
    pub name: Arc<str>,
    /// What it is.
    pub part: Part<dyn Channel>,
}

/// A source, with all that its outlet is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckedSource {
    /// Its name.
    pub name: Arc<str>,
    /// What it is.
    pub part: Part<dyn DynSource>,
    /// Channels it feeds, in written order, at least one, all of them checked.
    pub channels: Vec<Arc<str>>,
    /// What chooses among them.
    pub selector: Part<dyn Selector>,
    /// Names and parts, in the order in which they work.
    pub interceptors: Vec<(Arc<str>, Part<dyn DynInterceptor>)>,
}

/// Sinks that one processor chooses among. A lone sink is a group of one under the `default`
/// processor, named like the sink.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckedGroup {
    /// Its name.
    pub name: Arc<str>,
    /// What chooses.
    pub processor: Part<dyn SinkProcessor>,
    /// Sinks, in written order, at least one.
    pub sinks: Vec<CheckedSink>,
}

/// A sink.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckedSink {
    /// Its name.
    pub name: Arc<str>,
    /// What it is.
    pub part: Part<dyn DynSink>,
    /// The channel it drains, which is checked.
    pub channel: Arc<str>,
    /// The channel that takes what it rejects, which is checked.
    pub dead_letter: Option<Arc<str>>,
    /// Whether what it rejects can come back to the channel that it drains, by way of another one.
    pub goes_round: bool,
}

/// What checking a plan gave.
#[derive(Debug)]
#[must_use]
pub struct Checking {
    /// The agent, or nothing where Flume would idle (`fatal` is false) or stop (`fatal` is true).
    pub checked: Option<Checked>,
    /// Everything noticed beyond what the plan's own findings say.
    pub findings: Vec<Diagnostic>,
    /// Where Flume stops with a fatal error instead of leaving something out: exit non-zero.
    pub fatal: bool,
}

impl Checked {
    /// An agent that has nothing to run.
    #[must_use]
    pub fn nothing(agent: Arc<str>) -> Self {
        let (channels, sources, groups, left_out) = Default::default();
        Checked { agent, channels, sources, groups, left_out }
    }

    /// This agent, with those that the findings speak of and that it does not have.
    #[must_use]
    pub fn without(mut self, findings: &[Diagnostic]) -> Self {
        // An error says more than what follows from it.
        let errors = findings.iter().filter(|finding| finding.is_error());
        let follows = findings.iter().filter(|finding| finding.code == "left-out");
        for finding in errors.chain(follows) {
            let Some((role, name)) = finding.component.as_deref().and_then(role_and_name) else {
                continue;
            };
            let known = |one: &LeftOut| one.role == role && *one.name == *name;
            if self.has(role, name) || self.left_out.iter().any(known) {
                continue;
            }
            let why = finding.message.clone();
            self.left_out.push(LeftOut { role, name: name.into(), why });
        }
        self
    }

    fn has(&self, role: Role, name: &str) -> bool {
        match role {
            Role::Source => self.sources.iter().any(|source| *source.name == *name),
            Role::Channel => self.channel(name).is_some(),
            Role::Sink => self.sinks().any(|(_, sink)| *sink.name == *name),
            Role::SinkGroup => {
                self.groups.iter().any(|group| *group.name == *name && !group.is_lone_sink())
            }
        }
    }

    /// What its sources need a channel for.
    #[must_use]
    pub fn need(&self, channel: &str) -> Need {
        let feeds = self.sources.iter().filter(|source| source.feeds(channel));
        let needs = feeds.map(|source| {
            let passes_over = &source.selector.facts.passes_over;
            match passes_over.iter().any(|name| name == channel) {
                true => Need::Optional,
                false => Need::Required,
            }
        });
        needs.max().unwrap_or(Need::Nothing)
    }

    /// The channel of that name.
    #[must_use]
    pub fn channel(&self, name: &str) -> Option<&CheckedChannel> {
        self.channels.iter().find(|channel| &*channel.name == name)
    }

    /// All sinks with their groups.
    pub fn sinks(&self) -> impl Iterator<Item = (&CheckedGroup, &CheckedSink)> {
        self.groups.iter().flat_map(|group| group.sinks.iter().map(move |sink| (group, sink)))
    }
}

impl CheckedSource {
    fn feeds(&self, channel: &str) -> bool {
        self.channels.iter().any(|name| **name == *channel)
    }
}

impl CheckedSink {
    /// The channel it drains and the one for its dead letters.
    pub fn channels(&self) -> impl Iterator<Item = &Arc<str>> {
        std::iter::once(&self.channel).chain(&self.dead_letter)
    }
}

impl CheckedGroup {
    /// Whether it stands for a sink that is in no group.
    #[must_use]
    pub fn is_lone_sink(&self) -> bool {
        self.sinks.len() == 1
            && self.sinks[0].name == self.name
            && self.processor.section.is_empty()
    }
}

impl<T: ?Sized> Clone for Part<T> {
    fn clone(&self) -> Self {
        Part { entry: self.entry, section: self.section.clone(), facts: self.facts.clone() }
    }
}

impl<T: ?Sized> PartialEq for Part<T> {
    fn eq(&self, other: &Self) -> bool {
        self.entry.name == other.entry.name && self.section == other.section
    }
}

impl<T: ?Sized> fmt::Debug for Part<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Part")
            .field("type", &self.entry.name)
            .field("section", &self.section)
            .finish_non_exhaustive()
    }
}

/// Reads `source r1`.
fn role_and_name(component: &str) -> Option<(Role, &str)> {
    [Role::SinkGroup, Role::Source, Role::Channel, Role::Sink]
        .into_iter()
        .find_map(|role| Some((role, component.strip_prefix(role.word())?.strip_prefix(' ')?)))
}

/// Marks the sinks whose dead letters can reach the channel that they drain.
fn mark_circles(groups: &mut [CheckedGroup]) {
    let sinks = groups.iter().flat_map(|group| &group.sinks);
    let ways: Vec<_> =
        sinks.filter_map(|sink| Some((sink.channel.clone(), sink.dead_letter.clone()?))).collect();
    for sink in groups.iter_mut().flat_map(|group| &mut group.sinks) {
        let mut reached: BTreeSet<&Arc<str>> = sink.dead_letter.iter().collect();
        // Each round reaches one channel more, or all have been reached.
        for _ in &ways {
            let on = ways.iter().filter(|(from, _)| reached.contains(from));
            let further: Vec<_> = on.map(|(_, to)| to).collect();
            reached.extend(further);
        }
        sink.goes_round = reached.contains(&sink.channel);
    }
}

/// Looks up every part of `plan` in `lists` and reads its keys; opens nothing.
pub fn check(plan: &Plan, lists: &'static Lists) -> Checking {
    let mut checker = Checker::new(lists);
    let channels: Vec<CheckedChannel> =
        plan.channels.iter().filter_map(|channel| checker.channel(channel)).collect();
    let sources: Vec<CheckedSource> =
        plan.sources.iter().filter_map(|source| checker.source(source, &channels)).collect();
    let mut groups = checker.groups(plan, &channels);
    mark_circles(&mut groups);
    let channels = checker.connected(channels, &sources, &groups);
    let Checker { mut findings, fatal, .. } = checker;
    if fatal {
        // Nothing runs, with or without this or that.
        findings.retain(|finding| finding.code != "left-out");
        for finding in &mut findings {
            finding.notes.retain(|note| !note.starts_with(checker::WITHOUT));
        }
    }
    let idle = sources.is_empty() && groups.is_empty();
    if idle && !fatal {
        findings.push(
            Diagnostic::error("nothing-left", format!("agent `{}` has nothing to run", plan.agent))
                .with_note("every source and every sink is left out; the agent idles, as in Flume")
                .help("mend the other errors"),
        );
    }
    let agent = Arc::from(plan.agent.as_str());
    let checked = (!fatal && !idle).then(|| {
        let left_out = Vec::new();
        Checked { agent, channels, sources, groups, left_out }
    });
    Checking { checked, findings, fatal }
}

/// The key that sets the batch size, by any of the names Flume has for it.
pub(crate) fn batch_key(section: &Section) -> Option<&splashdam_config::Entry> {
    section.entries().iter().find(|entry| {
        let last = entry.key().rsplit('.').next().unwrap_or_default();
        last.eq_ignore_ascii_case("batchSize") || last == "batch-size"
    })
}

#[cfg(test)]
pub(crate) mod fakes;
#[cfg(test)]
mod tests;
