//! Part by part from the plan to what can be opened.

use std::sync::Arc;

use splashdam_config::plan::{ChannelPlan, GroupPlan, SinkPlan, SourcePlan};
use splashdam_config::{Diagnostic, Plan, Section, Span, Spanned, nearest};
use splashdam_core::{
    ChannelSet, DynInterceptor, DynSink, Entry, Lists, Selector, SinkProcessor, find,
};

use super::kinds::{self, Kind};
use super::{CheckedChannel, CheckedGroup, CheckedSink, CheckedSource, Part, batch_key, strangers};

/// What has been found so far.
pub(super) struct Checker {
    lists: &'static Lists,
    pub(super) findings: Vec<Diagnostic>,
    /// Whether Flume would start nothing at all.
    pub(super) fatal: bool,
}

/// What is being looked at, for messages.
#[derive(Clone, Copy)]
struct Subject<'a> {
    kind: Kind,
    /// The component that goes when this cannot be read, as in `source r1`.
    bearer: &'a str,
}

impl Checker {
    pub(super) fn new(lists: &'static Lists) -> Self {
        Checker { lists, findings: Vec::new(), fatal: false }
    }

    pub(super) fn channel(&mut self, plan: &ChannelPlan) -> Option<CheckedChannel> {
        let title = format!("channel {}", plan.name);
        let subject = Subject { kind: Kind::Channel, bearer: &title };
        let part = self.part(self.lists.channels, subject, &plan.kind, &plan.section)?;
        Some(CheckedChannel { name: Arc::from(plan.name.as_str()), part })
    }

    pub(super) fn source(
        &mut self,
        plan: &SourcePlan,
        channels: &[CheckedChannel],
    ) -> Option<CheckedSource> {
        let title = format!("source {}", plan.name);
        let subject = Subject { kind: Kind::Source, bearer: &title };
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
        let subject = Subject { kind: Kind::Selector, bearer: source };
        let part = self.part(self.lists.selectors, subject, &kind, &section)?;
        let mut sound = true;
        let chosen = |name: &&Spanned<String>| !channels.iter().any(|c| **c == *name.value);
        for name in part.facts.chooses.iter().filter(chosen) {
            sound = false;
            let Spanned { value: name, span } = name;
            let message = format!("{title} names `{name}`, which is not one of its channels");
            let finding = Diagnostic::error("selector-channel", message)
                .at(span.or(section.span()))
                .component(source)
                .with_note(without(source));
            let listed = plan.channels.iter().any(|channel| channel.value == *name);
            let near = nearest(name, channels.iter().map(|channel| &**channel));
            self.findings.push(match near {
                _ if listed => finding.help(format!("mend channel {name}, which is left out")),
                Some(near) => finding.help(format!("did you mean `{near}`?")),
                None => finding.help(format!("add `{name}` to the source's `channels`")),
            });
        }
        sound.then_some(part)
    }

    fn interceptors(
        &mut self,
        plan: &SourcePlan,
        source: &str,
    ) -> Option<Vec<(Arc<str>, Part<dyn DynInterceptor>)>> {
        let looked: Vec<_> = plan
            .interceptors
            .iter()
            .map(|interceptor| {
                let subject = Subject { kind: Kind::Interceptor, bearer: source };
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

    pub(super) fn groups(&mut self, plan: &Plan, channels: &[CheckedChannel]) -> Vec<CheckedGroup> {
        let mut groups = Vec::new();
        for group in &plan.groups {
            groups.extend(self.group(plan, group, channels));
        }
        for sink in plan.lone_sinks() {
            let Some(sink) = self.sink(sink, channels) else { continue };
            let kind = Spanned { value: "default".to_owned(), span: None };
            let title = format!("sink {}", sink.name);
            let subject = Subject { kind: Kind::Processor, bearer: &title };
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
        let subject = Subject { kind: Kind::Processor, bearer: &title };
        let processor = self.part(self.lists.processors, subject, &group.kind, &group.processor);
        let members = group.sinks.iter().filter_map(|name| plan.sink(&name.value));
        let sinks: Vec<CheckedSink> =
            members.filter_map(|sink| self.sink(sink, channels)).collect();
        let processor = processor?;
        self.strange_sinks(&title, &processor, group);
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

    /// What a processor says of sinks that are not in its group does nothing, as in Flume.
    fn strange_sinks(
        &mut self,
        title: &str,
        processor: &Part<dyn SinkProcessor>,
        group: &GroupPlan,
    ) {
        for name in &processor.facts.chooses {
            if group.sinks.iter().any(|sink| sink.value == name.value) {
                continue;
            }
            let Spanned { value: name, span } = name;
            let keys = processor.section.entries().iter();
            let key = keys.map(splashdam_config::Entry::key_span).zip(processor.section.keys());
            let mut key = key.filter(|(_, key)| key.rsplit('.').next() == Some(name));
            let at = span.or(key.next().map(|(span, _)| span)).or(group.kind.span);
            let message = format!("{title} has no sink `{name}`");
            let finding = Diagnostic::warning("processor-sink", message)
                .at(at)
                .label("this does nothing")
                .component(title);
            let near = nearest(name, group.sinks.iter().map(|sink| sink.value.as_str()));
            self.findings.push(match near {
                Some(near) => finding.help(format!("did you mean `{near}`?")),
                None => finding.help(format!("add `{name}` to the group's `sinks`")),
            });
        }
    }

    fn sink(&mut self, plan: &SinkPlan, channels: &[CheckedChannel]) -> Option<CheckedSink> {
        let title = format!("sink {}", plan.name);
        let subject = Subject { kind: Kind::Sink, bearer: &title };
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
        let dead_letter = match &plan.dead_letter {
            Some(written) => Some(self.dead_letter(&title, plan, &part, written, channels)?),
            None => None,
        };
        let name = Arc::from(plan.name.as_str());
        // Known once all sinks are.
        let goes_round = false;
        Some(CheckedSink { name, part, channel: channel.name.clone(), dead_letter, goes_round })
    }

    /// The channel of a sink's dead letters, which must be there and take a whole batch.
    fn dead_letter(
        &mut self,
        title: &str,
        plan: &SinkPlan,
        part: &Part<dyn DynSink>,
        written: &Spanned<String>,
        channels: &[CheckedChannel],
    ) -> Option<Arc<str>> {
        let Some(channel) = channels.iter().find(|channel| *channel.name == *written.value) else {
            let name = &written.value;
            let message =
                format!("{title} is left out too, as channel {name} of its dead letters is");
            self.follows(title, message, written.span);
            return None;
        };
        let (verb, batch) = ("may send dead letters in", part.facts.batch_events);
        let fits = self.fits(title, verb, batch, &plan.section, channel);
        fits.then(|| channel.name.clone())
    }

    /// Drops channels that lost everything connected to them.
    pub(super) fn connected(
        &mut self,
        channels: Vec<CheckedChannel>,
        sources: &[CheckedSource],
        groups: &[CheckedGroup],
    ) -> Vec<CheckedChannel> {
        let mut kept = Vec::new();
        for channel in channels {
            let name = &channel.name;
            let fed = sources.iter().any(|source| source.channels.contains(name));
            let mut sinks = groups.iter().flat_map(|group| &group.sinks);
            let used =
                sinks.any(|sink| sink.channel == *name || sink.dead_letter.as_ref() == Some(name));
            if fed || used {
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
            finding.component.get_or_insert_with(|| subject.bearer.to_owned());
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
        let small = facts.capacity_events.is_some_and(|capacity| capacity < batch);
        let raise = match facts.capacity_key.filter(|_| small) {
            Some(key) => format!(
                "set `transactionCapacity` and `{key}` of channel {name} to {batch} or more"
            ),
            None => format!("set `transactionCapacity` of channel {name} to {batch} or more"),
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

/// How the consequence of an error starts that does not stop the agent.
pub(super) const WITHOUT: &str = "the agent runs without";

fn without(bearer: &str) -> String {
    format!("{WITHOUT} {bearer}")
}
