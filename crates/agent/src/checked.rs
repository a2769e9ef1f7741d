//! The agent as checked: every part found in the lists, its keys readable, its batches fitting.
//!
//! As written, as checked and as running are three types: a [`Plan`] says what somebody wrote, a
//! [`Checked`] what of it can be opened, the topology what is open. What Flume leaves out is left
//! out on the way from the first to the second, with a finding that says where, why and what
//! follows; what is fatal in Flume is fatal here.

mod kinds;
mod strangers;

use std::fmt;
use std::sync::Arc;

use splashdam_config::plan::{GroupPlan, SinkPlan, SourcePlan};
use splashdam_config::{Diagnostic, Plan, Section, Span, Spanned, nearest};
use splashdam_core::{
    Channel, ChannelSet, DynSink, DynSource, Entry, Facts, Interceptor, Lists, Selector,
    SinkProcessor, find,
};

use kinds::Kind;

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
    pub interceptors: Vec<(Arc<str>, Part<dyn Interceptor>)>,
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

/// Looks up every part of `plan` in `lists` and reads its keys; opens nothing.
pub fn check(plan: &Plan, lists: &'static Lists) -> Checking {
    let mut checker = Checker { lists, findings: Vec::new(), fatal: false };
    let channels: Vec<CheckedChannel> =
        plan.channels.iter().filter_map(|channel| checker.channel(channel)).collect();
    let sources: Vec<CheckedSource> =
        plan.sources.iter().filter_map(|source| checker.source(source, &channels)).collect();
    let groups = checker.groups(plan, &channels);
    let channels = checker.connected(channels, &sources, &groups);
    let Checker { mut findings, fatal, .. } = checker;
    let idle = sources.is_empty() && groups.is_empty();
    if idle && !fatal {
        findings.push(
            Diagnostic::error("nothing-left", format!("agent `{}` has nothing to run", plan.agent))
                .with_note("every source and every sink is left out; the agent idles, as in Flume")
                .help("mend the errors above"),
        );
    }
    let agent = Arc::from(plan.agent.as_str());
    let checked = (!fatal && !idle).then_some(Checked { agent, channels, sources, groups });
    Checking { checked, findings, fatal }
}

struct Checker {
    lists: &'static Lists,
    findings: Vec<Diagnostic>,
    fatal: bool,
}

/// What is being looked at, for messages.
#[derive(Clone, Copy)]
struct Subject<'a> {
    kind: Kind,
    /// As in `source r1` or `interceptor i1 of source r1`.
    title: &'a str,
    /// The component that goes when this cannot be read, as in `source r1`.
    bearer: &'a str,
}

impl Checker {
    fn channel(&mut self, plan: &splashdam_config::plan::ChannelPlan) -> Option<CheckedChannel> {
        let title = format!("channel {}", plan.name);
        let subject = Subject { kind: Kind::Channel, title: &title, bearer: &title };
        let part = self.part(self.lists.channels, subject, &plan.kind, &plan.section)?;
        Some(CheckedChannel { name: Arc::from(plan.name.as_str()), part })
    }

    fn source(&mut self, plan: &SourcePlan, channels: &[CheckedChannel]) -> Option<CheckedSource> {
        let title = format!("source {}", plan.name);
        let subject = Subject { kind: Kind::Source, title: &title, bearer: &title };
        // Everything is looked at before anything is given up, so that all is found at once.
        let part = self.part(self.lists.sources, subject, &plan.kind, &plan.section);
        let bound = self.source_channels(plan, &title, channels);
        let names: Vec<Arc<str>> = bound.iter().map(|channel| channel.name.clone()).collect();
        let selector = self.selector(plan, &title, &names);
        let interceptors = self.interceptors(plan, &title);
        let (part, selector, interceptors) = (part?, selector?, interceptors?);
        if bound.is_empty() {
            return None;
        }
        let batch = part.facts.batch_events;
        let misfits = bound
            .iter()
            .filter(|channel| !self.fits(&title, "commits", batch, &plan.section, channel))
            .count();
        let name = Arc::from(plan.name.as_str());
        (misfits == 0).then_some(CheckedSource {
            name,
            part,
            channels: names,
            selector,
            interceptors,
        })
    }

    /// Those of a source's channels that are left.
    fn source_channels<'c>(
        &mut self,
        plan: &SourcePlan,
        title: &str,
        channels: &'c [CheckedChannel],
    ) -> Vec<&'c CheckedChannel> {
        let mut bound = Vec::new();
        let mut gone = Vec::new();
        for written in &plan.channels {
            match channels.iter().find(|channel| *channel.name == *written.value) {
                Some(channel) => bound.push(channel),
                None => gone.push(written),
            }
        }
        for written in gone {
            let follows = if bound.is_empty() {
                format!("{title} is left out too, as channel {} is", written.value)
            } else {
                format!("{title} runs without channel {}, which is left out", written.value)
            };
            self.follows(title, follows, written.span);
        }
        if bound.len() > ChannelSet::MAX {
            self.findings.push(
                Diagnostic::error(
                    "too-many-channels",
                    format!(
                        "{title} feeds {} channels, {} is the most",
                        bound.len(),
                        ChannelSet::MAX
                    ),
                )
                .at(plan.section.value_span("channels"))
                .component(title)
                .with_note(without(title)),
            );
            bound.clear();
        }
        bound
    }

    fn selector(
        &mut self,
        plan: &SourcePlan,
        source: &str,
        channels: &[Arc<str>],
    ) -> Option<Part<dyn Selector>> {
        let section = plan.selector();
        let kind = Spanned {
            value: section.get("type").unwrap_or("replicating").to_owned(),
            span: section.value_span("type").or(section.span()).or(plan.kind.span),
        };
        let title = format!("the channel selector of {source}");
        let subject = Subject { kind: Kind::Selector, title: &title, bearer: source };
        let seen = self.findings.len();
        let part = self.part(self.lists.selectors, subject, &kind, &section)?;
        let strangers: Vec<Span> = self.findings[seen..]
            .iter()
            .filter(|finding| finding.code == "unknown-key")
            .filter_map(|finding| finding.span)
            .collect();
        let mut sound = true;
        for entry in section.entries() {
            let key = entry.key();
            let lists_channels = matches!(key, "default" | "optional")
                || key.starts_with("mapping.")
                || key.starts_with("optional.");
            if !lists_channels || strangers.contains(&entry.key_span()) {
                continue;
            }
            for word in entry.value.words() {
                let name = word.text();
                if channels.iter().any(|channel| **channel == *name) {
                    continue;
                }
                sound = false;
                let message = format!("{title} names `{name}`, which is not one of its channels");
                let finding = Diagnostic::error("selector-channel", message)
                    .at(word.span())
                    .component(source)
                    .with_note(without(source));
                let listed = plan.channels.iter().any(|channel| channel.value == name);
                let near = nearest(name, channels.iter().map(|channel| &**channel));
                self.findings.push(match near {
                    _ if listed => finding.help(format!("mend channel {name}, which is left out")),
                    Some(near) => finding.help(format!("did you mean `{near}`?")),
                    None => finding.help(format!("add `{name}` to the source's `channels`")),
                });
            }
        }
        sound.then_some(part)
    }

    fn interceptors(
        &mut self,
        plan: &SourcePlan,
        source: &str,
    ) -> Option<Vec<(Arc<str>, Part<dyn Interceptor>)>> {
        let looked: Vec<_> = plan
            .interceptors
            .iter()
            .map(|interceptor| {
                let title = format!("interceptor {} of {source}", interceptor.name);
                let subject = Subject { kind: Kind::Interceptor, title: &title, bearer: source };
                let part = self.part(
                    self.lists.interceptors,
                    subject,
                    &interceptor.kind,
                    &interceptor.section,
                )?;
                Some((Arc::from(interceptor.name.as_str()), part))
            })
            .collect();
        looked.into_iter().collect()
    }

    fn groups(&mut self, plan: &Plan, channels: &[CheckedChannel]) -> Vec<CheckedGroup> {
        let mut groups = Vec::new();
        for group in &plan.groups {
            groups.extend(self.group(plan, group, channels));
        }
        for sink in plan.lone_sinks() {
            let Some(sink) = self.sink(sink, channels) else { continue };
            let kind = Spanned { value: "default".to_owned(), span: None };
            let title = format!("sink {}", sink.name);
            let subject = Subject { kind: Kind::Processor, title: &title, bearer: &title };
            let processor = self.part(self.lists.processors, subject, &kind, &Section::empty());
            let Some(processor) = processor else { continue };
            groups.push(CheckedGroup { name: sink.name.clone(), processor, sinks: vec![sink] });
        }
        groups
    }

    fn group(
        &mut self,
        plan: &Plan,
        group: &GroupPlan,
        channels: &[CheckedChannel],
    ) -> Option<CheckedGroup> {
        let title = format!("sink group {}", group.name);
        let subject = Subject { kind: Kind::Processor, title: &title, bearer: &title };
        let processor = self.part(self.lists.processors, subject, &group.kind, &group.processor);
        let members = group.sinks.iter().filter_map(|name| plan.sink(&name.value));
        let sinks: Vec<CheckedSink> =
            members.filter_map(|sink| self.sink(sink, channels)).collect();
        let processor = processor?;
        if sinks.is_empty() {
            let message = format!("{title} is left out too, as all of its sinks are");
            self.follows(&title, message, group.section.value_span("sinks"));
            return None;
        }
        let lost = group.sinks.len() - sinks.len();
        if lost > 0 {
            // Flume empties the whole agent's configuration here, which helps nobody.
            let names: Vec<&str> = sinks.iter().map(|sink| &*sink.name).collect();
            let message = format!("{title} runs with {} only", names.join(", "));
            self.follows(&title, message, group.section.value_span("sinks"));
        }
        let processor = if lost > 0 && sinks.len() == 1 {
            // What is left of a group of several needs no choice, and load balancing refuses one.
            let kind = Spanned { value: "default".to_owned(), span: group.kind.span };
            self.part(self.lists.processors, subject, &kind, &Section::empty())?
        } else {
            processor
        };
        Some(CheckedGroup { name: Arc::from(group.name.as_str()), processor, sinks })
    }

    fn sink(&mut self, plan: &SinkPlan, channels: &[CheckedChannel]) -> Option<CheckedSink> {
        let title = format!("sink {}", plan.name);
        let subject = Subject { kind: Kind::Sink, title: &title, bearer: &title };
        let part = self.part(self.lists.sinks, subject, &plan.kind, &plan.section);
        let channel = channels.iter().find(|channel| *channel.name == *plan.channel.value);
        let Some(channel) = channel else {
            let message = format!("{title} is left out too, as channel {} is", plan.channel.value);
            self.follows(&title, message, plan.channel.span);
            return None;
        };
        let part = part?;
        if !self.fits(&title, "takes", part.facts.batch_events, &plan.section, channel) {
            return None;
        }
        let name = Arc::from(plan.name.as_str());
        Some(CheckedSink { name, part, channel: channel.name.clone() })
    }

    /// Drops channels that lost everything connected to them.
    fn connected(
        &mut self,
        channels: Vec<CheckedChannel>,
        sources: &[CheckedSource],
        groups: &[CheckedGroup],
    ) -> Vec<CheckedChannel> {
        let mut kept = Vec::new();
        for channel in channels {
            let name = &channel.name;
            let fed = sources.iter().any(|source| source.channels.contains(name));
            let drained =
                groups.iter().flat_map(|group| &group.sinks).any(|sink| sink.channel == *name);
            if fed || drained {
                kept.push(channel);
                continue;
            }
            let title = format!("channel {name}");
            let message =
                format!("{title} is left out too, as nothing that is left is connected to it");
            self.follows(&title, message, channel.part.section.span());
        }
        kept
    }

    /// Finds a part's type and reads its keys; `None` when it cannot be opened.
    fn part<T: ?Sized>(
        &mut self,
        list: &'static [Entry<T>],
        subject: Subject<'_>,
        kind: &Spanned<String>,
        section: &Section,
    ) -> Option<Part<T>> {
        let Some(entry) = find(list, &kind.value) else {
            let finding = kinds::unknown(self.lists, subject.kind, &kind.value, kind.span);
            let fatal = subject.kind.is_fatal();
            self.fatal |= fatal;
            self.findings.push(finding.component(subject.bearer).with_note(if fatal {
                "the agent does not start, as in Flume".to_owned()
            } else {
                without(subject.bearer)
            }));
            return None;
        };
        let mut looked = entry.look(section);
        strangers::explain(&mut looked.findings, section, self.lists, subject.kind);
        for finding in &mut looked.findings {
            finding.component.get_or_insert_with(|| subject.title.to_owned());
            finding.span = finding.span.or(section.span()).or(kind.span);
        }
        let last_error = looked.findings.iter_mut().rfind(|finding| finding.is_error());
        let sound = last_error.is_none();
        if let Some(finding) = last_error {
            finding.notes.push(without(subject.bearer));
        }
        self.findings.append(&mut looked.findings);
        let facts = looked.facts.filter(|_| sound)?;
        Some(Part { entry, section: section.clone(), facts })
    }

    /// Whether a batch fits a channel's transaction, which it must, as in Flume.
    fn fits(
        &mut self,
        title: &str,
        verb: &str,
        batch: Option<usize>,
        section: &Section,
        channel: &CheckedChannel,
    ) -> bool {
        let facts = &channel.part.facts;
        let (Some(batch), Some(most)) = (batch, facts.transaction_events) else { return true };
        if batch <= most {
            return true;
        }
        let written = batch_key(section);
        let at = written.map(splashdam_config::Entry::value_span).or(section.span());
        let name = &channel.name;
        let raise = if facts.capacity_events.is_some_and(|capacity| capacity < batch) {
            format!("set `transactionCapacity` and `capacity` of channel {name} to {batch} or more")
        } else {
            format!("set `transactionCapacity` of channel {name} to {batch} or more")
        };
        let lower = match written {
            Some(entry) => format!(", or `{}` to at most {most}", entry.key()),
            None => String::new(),
        };
        self.findings.push(
            Diagnostic::error(
                "batch-exceeds-transaction",
                format!(
                    "{title} {verb} batches of {batch} events, but channel {name} allows {most} in \
                     a transaction"
                ),
            )
            .at(at)
            .help(raise + &lower)
            .component(title)
            .with_note(without(title)),
        );
        false
    }

    /// A consequence of an error that was reported where it arose.
    fn follows(&mut self, title: &str, message: String, at: Option<Span>) {
        self.findings.push(Diagnostic::warning("left-out", message).at(at).component(title));
    }
}

fn without(bearer: &str) -> String {
    format!("the agent runs without {bearer}")
}

/// The key that sets the batch size, by any of the names Flume has for it.
pub(crate) fn batch_key(section: &Section) -> Option<&splashdam_config::Entry> {
    section.entries().iter().find(|entry| {
        let last = entry.key().rsplit('.').next().unwrap_or_default();
        last.eq_ignore_ascii_case("batchSize") || last == "batch-size"
    })
}
