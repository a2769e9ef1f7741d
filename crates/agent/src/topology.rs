//! From a checked configuration to running components, and from one configuration to the next.
//!
//! Start: channels open side by side, then sinks run, then sources. Stop: sources stop and finish
//! what they were putting; sinks deliver until their channels are empty or the grace time ends;
//! channels close. A new configuration is compared with the one that runs: components that are
//! the same do not notice, changed ones close and open in the same order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use splashdam_core::metrics::{Counters, ReadHindrance, ReadLevel, Registered, Registry};
use splashdam_core::{Channel, Context, OpenError, Role, Shared, Stop, StopHandle, World};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tracing::{info, warn};

use crate::channel_slot::{ChannelSlot, SlotFiller};
use crate::checked::{Checked, CheckedChannel, CheckedGroup, CheckedSink, CheckedSource, LeftOut};
use crate::ledger::Bookkeeper;
use crate::own_thread;
use crate::sink_runner::{Member, Signals, SinkRunner, SinkTally};
use crate::source_runner::SourceLife;
use crate::status::{Board, Need, Phase, Sign};
use crate::supervisor::{Life, contained, supervise};

/// What all components of an agent share.
#[derive(Clone)]
pub struct Surroundings {
    /// The machine.
    pub world: Arc<dyn World>,
    /// Where counters are registered.
    pub registry: Registry,
    /// Where everybody's status is shown.
    pub board: Board,
    /// Who keeps the ledger.
    pub ledger: Bookkeeper,
    /// How long stopping components may finish what they have.
    pub grace: Duration,
}

/// An agent at work.
pub struct Topology {
    agent: Arc<str>,
    around: Surroundings,
    shared: Shared,
    channels: BTreeMap<Arc<str>, RunningChannel>,
    groups: BTreeMap<Arc<str>, RunningGroup>,
    sources: BTreeMap<Arc<str>, RunningSource>,
    /// What is on the board and does not run, as nothing can open it.
    unopened: BTreeSet<(Role, Arc<str>)>,
}

struct RunningChannel {
    checked: CheckedChannel,
    slot: ChannelSlot,
    stop: StopHandle,
    task: JoinHandle<()>,
}

struct RunningGroup {
    checked: CheckedGroup,
    drain: StopHandle,
    halt: StopHandle,
    task: JoinHandle<()>,
}

struct RunningSource {
    checked: CheckedSource,
    sign: Sign,
    stop: StopHandle,
    task: JoinHandle<()>,
}

/// When each stage of a stop is over at the latest; they share one grace time.
#[derive(Clone, Copy, Debug)]
struct Ending {
    /// Sources have finished what they were putting: a third of the time.
    sources: Instant,
    /// Sinks take no further batch: nine tenths.
    drained: Instant,
    /// The batch in hand is delivered, channels are closed: all of it.
    all: Instant,
}

impl Ending {
    fn after(grace: Duration) -> Self {
        let now = Instant::now();
        Ending { sources: now + grace / 3, drained: now + grace / 10 * 9, all: now + grace }
    }
}

/// What a change of configuration touches.
#[derive(Debug, Default, PartialEq, Eq)]
struct Touched {
    channels: BTreeSet<Arc<str>>,
    groups: BTreeSet<Arc<str>>,
    sources: BTreeSet<Arc<str>>,
}

impl Topology {
    /// An agent without components.
    pub fn new(agent: Arc<str>, around: Surroundings) -> Self {
        Topology {
            agent,
            around,
            shared: Shared::default(),
            channels: BTreeMap::new(),
            groups: BTreeMap::new(),
            sources: BTreeMap::new(),
            unopened: BTreeSet::new(),
        }
    }

    /// Goes over to `checked`. Returns once everything that had to stop has stopped and the rest
    /// was started; components open on their own time, which the board shows.
    pub async fn apply(&mut self, checked: Checked) {
        let touched = self.touched(&checked);
        let end = Ending::after(self.around.grace);
        self.stop_sources(&touched.sources, end).await;
        self.stop_groups(&touched, end).await;
        self.close_channels(&touched.channels, end).await;
        self.announce_ways(&checked);
        for (role, name) in std::mem::take(&mut self.unopened) {
            self.around.board.remove(role, &name);
        }
        let needs: Vec<_> =
            checked.channels.iter().map(|c| (c.name.clone(), checked.need(&c.name))).collect();
        let Checked { channels, groups, sources, left_out, .. } = checked;
        for channel in channels {
            if !self.channels.contains_key(&channel.name) {
                self.start_channel(channel);
            }
        }
        needs.iter().for_each(|(name, need)| self.around.board.need(name, *need));
        for group in groups {
            if !self.groups.contains_key(&title(&group)) {
                self.start_group(group).await;
            }
        }
        for source in sources {
            if !self.sources.contains_key(&source.name) {
                self.start_source(source);
            }
        }
        for LeftOut { role, name, why } in left_out {
            self.show_unopened(role, name.clone(), &format!("it is left out: {why}"));
            if role == Role::Channel {
                // Whoever is left does without it.
                self.around.board.need(&name, Need::Nothing);
            }
        }
    }

    /// Shows a component that does not run, until the configuration changes.
    fn show_unopened(&mut self, role: Role, name: Arc<str>, why: &str) {
        self.around.board.sign(role, name.clone()).set(Phase::Closed, Some(why));
        self.unopened.insert((role, name));
    }

    /// Stops in order, within the grace time, and answers how many events were lost with channels
    /// that could not be emptied in it.
    pub async fn stop(mut self) -> usize {
        let end = Ending::after(self.around.grace);
        let sources = self.sources.keys().cloned().collect();
        self.stop_sources(&sources, end).await;
        let groups = self.groups.keys().cloned().collect();
        self.end_groups(&groups, true, end).await;
        let channels = self.channels.keys().cloned().collect();
        self.close_channels(&channels, end).await
    }

    /// What of the running topology has to stop for `new`. Channels that take their new
    /// configuration while they run are not among it.
    fn touched(&mut self, new: &Checked) -> Touched {
        let mut touched = Touched::default();
        for (name, running) in &mut self.channels {
            match new.channels.iter().find(|c| c.name == *name) {
                Some(channel) if *channel == running.checked => {}
                Some(channel) if running.reconfigure(channel) => {
                    info!(component = %format!("channel {name}"), "took its new configuration");
                }
                _ => drop(touched.channels.insert(name.clone())),
            }
        }
        for (name, running) in &self.groups {
            let same = new.groups.contains(&running.checked);
            let gone = |name: &Arc<str>| touched.channels.contains(name);
            let stays = !running.checked.sinks.iter().flat_map(CheckedSink::channels).any(gone);
            if !(same && stays) {
                touched.groups.insert(name.clone());
            }
        }
        for (name, running) in &self.sources {
            let same = new.sources.contains(&running.checked);
            let stays = running.checked.channels.iter().all(|c| !touched.channels.contains(c));
            if !(same && stays) {
                touched.sources.insert(name.clone());
            }
        }
        touched
    }

    /// Tells the ledger who feeds and who drains each channel, before one opens that has to know after a crash.
    fn announce_ways(&self, checked: &Checked) {
        let ledger = self.around.ledger.ledger();
        for source in &checked.sources {
            ledger.source(&source.name, source.channels.iter().map(|channel| &**channel));
        }
        for (_, sink) in checked.sinks() {
            SinkTally::new(ledger, &sink.channel, &sink.name, sink.dead_letter.as_deref());
        }
    }

    fn context(&self, role: Role, name: &Arc<str>, choices: Vec<Arc<str>>) -> Context {
        Context {
            agent: self.agent.clone(),
            name: name.clone(),
            role,
            choices: choices.into(),
            dead_letters: false,
            counters: Counters::new(role),
            world: self.around.world.clone(),
            shared: self.shared.clone(),
        }
    }

    /// Shows a component to monitoring; a channel with where it will be found.
    fn register(&self, context: &Context, channel: Option<&ChannelSlot>) {
        context.counters.life().started.set(context.world.now_millis());
        let (level, hindrance) = (channel.cloned(), channel.cloned());
        let registered = Registered {
            counters: context.counters.clone(),
            level: level.map(|slot| -> ReadLevel {
                Arc::new(move || slot.now().map(|open| open.level()).unwrap_or_default())
            }),
            hindrance: hindrance.map(|slot| -> ReadHindrance {
                Arc::new(move || slot.now().and_then(|open| open.hindrance()))
            }),
        };
        self.around.registry.register(context.role, context.name.clone(), registered);
    }

    fn start_channel(&mut self, checked: CheckedChannel) {
        info!("Creating instance of channel {} type {}", checked.name, checked.part.entry.name);
        info!("Starting Channel {}", checked.name);
        let context = self.context(Role::Channel, &checked.name, Vec::new());
        let (filler, slot) = ChannelSlot::new(checked.name.clone(), context.counters.channel());
        self.register(&context, Some(&slot));
        let sign = self.around.board.sign(Role::Channel, checked.name.clone());
        let (stop, stopped) = Stop::new();
        let random = context.random();
        let title = context.title();
        let ledger = self.around.ledger.clone();
        ledger.follow_channel(&checked.name, context.counters.channel());
        let life = ChannelLife { checked: checked.clone(), context, filler, ledger };
        let task = tokio::spawn(supervise(title, life, stopped, sign, random));
        let name = checked.name.clone();
        self.channels.insert(name, RunningChannel { checked, slot, stop, task });
    }

    async fn start_group(&mut self, checked: CheckedGroup) {
        let names: Vec<_> = checked.sinks.iter().map(|sink| sink.name.clone()).collect();
        let group = self.context(Role::SinkGroup, &checked.name, names);
        let part = &checked.processor;
        let processor = match part.entry.open(part.section.clone(), group.clone()).await {
            Ok(processor) => processor,
            Err(error) => {
                warn!(component = %group.title(), %error, "cannot be started; its sinks do not run");
                for sink in &checked.sinks {
                    let why = format!("{} cannot be started: {error}", group.title());
                    self.show_unopened(Role::Sink, sink.name.clone(), &why);
                }
                return;
            }
        };
        let mut members = Vec::with_capacity(checked.sinks.len());
        for sink in &checked.sinks {
            let Some(channel) = self.channels.get(&sink.channel) else { continue };
            info!("Creating instance of sink {} type {}", sink.name, sink.part.entry.name);
            info!("Starting Sink {}", sink.name);
            let dead = sink.dead_letter.as_ref();
            let dead_letters = dead.and_then(|name| self.channels.get(name));
            let dead_letters = dead_letters.map(|running| running.slot.clone());
            let mut context = self.context(Role::Sink, &sink.name, Vec::new());
            context.dead_letters = dead_letters.is_some();
            self.register(&context, None);
            let ledger = self.around.ledger.ledger();
            members.push(Member {
                entry: sink.part.entry,
                section: sink.part.section.clone(),
                context,
                channel: channel.slot.clone(),
                dead_letters,
                goes_round: sink.goes_round,
                sign: self.around.board.sign(Role::Sink, sink.name.clone()),
                tally: SinkTally::new(ledger, &sink.channel, &sink.name, dead.map(|name| &**name)),
            });
        }
        let ((drain, drained), (halt, halted)) = (Stop::new(), Stop::new());
        let signs: Vec<_> = members.iter().map(|member| member.sign.clone()).collect();
        let blocks = members.iter().any(|member| member.entry.blocks);
        let runner = SinkRunner::new(processor, members, group.random());
        let whole = title(&checked);
        let work = async move {
            // Sinks are contained one by one; this is for what they share.
            let run = runner.run(Signals { drain: drained, halt: halted });
            if let Err(panic) = contained(&whole, run).await {
                signs.iter().for_each(|sign| sign.set(Phase::Dead, Some(&panic)));
            }
        };
        let task = if blocks { own_thread::spawn(work) } else { tokio::spawn(work) };
        let name = title(&checked);
        self.groups.insert(name, RunningGroup { checked, drain, halt, task });
    }

    fn start_source(&mut self, checked: CheckedSource) {
        info!("Creating instance of source {} type {}", checked.name, checked.part.entry.name);
        info!("Starting Source {}", checked.name);
        let slots = checked.channels.iter().filter_map(|name| self.channels.get(name));
        let channels: Vec<_> = slots.map(|running| running.slot.clone()).collect();
        let context = self.context(Role::Source, &checked.name, checked.channels.clone());
        self.register(&context, None);
        self.around.ledger.follow_source(&checked.name, context.counters.source());
        let sign = self.around.board.sign(Role::Source, checked.name.clone());
        let (stop, stopped) = Stop::new();
        let (random, title) = (context.random(), context.title());
        let life = SourceLife {
            entry: checked.part.entry,
            section: checked.part.section.clone(),
            context,
            channels,
            selector: (checked.selector.entry, checked.selector.section.clone()),
            interceptors: checked
                .interceptors
                .iter()
                .map(|(_, part)| (part.entry, part.section.clone()))
                .collect(),
            stop: stopped.clone(),
            ledger: self.around.ledger.ledger().clone(),
        };
        let task = tokio::spawn(supervise(title, life, stopped, sign.clone(), random));
        let name = checked.name.clone();
        self.sources.insert(name, RunningSource { checked, sign, stop, task });
    }

    async fn stop_sources(&mut self, names: &BTreeSet<Arc<str>>, ending: Ending) {
        let running: Vec<_> = names.iter().filter_map(|n| self.sources.remove_entry(n)).collect();
        for (name, source) in &running {
            info!("Stopping Source {name}");
            source.sign.set(Phase::Draining, None);
            source.stop.stop();
        }
        let ends = running.into_iter().map(async |(name, source)| {
            end(&format!("source {name}"), source.task, ending.sources).await;
            (Role::Source, name)
        });
        for (role, name) in join_all(ends).await {
            self.stopped(role, &name);
        }
    }

    /// Stops the groups that changed. What is in a channel that goes away and would be lost with
    /// it is delivered first, as far as the grace time reaches.
    async fn stop_groups(&mut self, touched: &Touched, ending: Ending) {
        let leaving = |name: &Arc<str>| {
            let channel =
                touched.channels.contains(name).then(|| self.channels.get(name)).flatten();
            channel.and_then(|c| c.slot.now()).is_some_and(|c| c.volatile())
        };
        let (drain, halt): (BTreeSet<_>, BTreeSet<_>) =
            touched.groups.iter().cloned().partition(|name| {
                let group = self.groups.get(name);
                group.is_some_and(|g| g.checked.sinks.iter().any(|s| leaving(&s.channel)))
            });
        self.end_groups(&halt, false, ending).await;
        self.end_groups(&drain, true, ending).await;
    }

    /// Ends groups, those that send dead letters to others before these, so that what they still
    /// send is drained, too.
    async fn end_groups(&mut self, names: &BTreeSet<Arc<str>>, drain: bool, ending: Ending) {
        let mut left = names.clone();
        while !left.is_empty() {
            let fed: BTreeSet<&Arc<str>> = left.iter().flat_map(|name| self.fed_by(name)).collect();
            let (later, first): (BTreeSet<_>, BTreeSet<_>) =
                left.iter().cloned().partition(|name| self.drains_any(name, &fed));
            // Where dead letters go round nobody is first.
            let (first, later) = match first.is_empty() {
                true => (later, first),
                false => (first, later),
            };
            self.end_together(&first, drain, ending).await;
            left = later;
        }
    }

    /// The channels that a group sends dead letters to.
    fn fed_by(&self, group: &str) -> impl Iterator<Item = &Arc<str>> {
        let group = self.groups.get(group).into_iter();
        group.flat_map(|g| &g.checked.sinks).filter_map(|sink| sink.dead_letter.as_ref())
    }

    fn drains_any(&self, group: &str, channels: &BTreeSet<&Arc<str>>) -> bool {
        let group = self.groups.get(group);
        group.is_some_and(|g| g.checked.sinks.iter().any(|sink| channels.contains(&sink.channel)))
    }

    async fn end_together(&mut self, names: &BTreeSet<Arc<str>>, drain: bool, ending: Ending) {
        let running: Vec<_> = names.iter().filter_map(|n| self.groups.remove_entry(n)).collect();
        let ends = running.into_iter().map(async |(name, mut group)| {
            for sink in &group.checked.sinks {
                info!("Stopping Sink {}", sink.name);
            }
            group.drain.stop();
            if drain && timeout_at(ending.drained, &mut group.task).await.is_ok() {
                return group.checked;
            }
            group.halt.stop();
            // The batch in hand gets a moment of its own, so that it is not delivered twice.
            end(&name, group.task, ending.all).await;
            group.checked
        });
        for checked in join_all(ends).await {
            for sink in &checked.sinks {
                self.stopped(Role::Sink, &sink.name);
            }
        }
    }

    /// Closes channels and answers how many events are lost with them.
    async fn close_channels(&mut self, names: &BTreeSet<Arc<str>>, ending: Ending) -> usize {
        let running: Vec<_> = names.iter().filter_map(|n| self.channels.remove_entry(n)).collect();
        let ends = running.into_iter().map(async |(name, channel)| {
            info!("Stopping Channel {name}");
            let title = format!("channel {name}");
            let mut lost = 0;
            if let Some(open) = channel.slot.now() {
                let left = open.level();
                if open.volatile() {
                    let bytes = left.queued.bytes + left.leased.bytes;
                    lost = left.queued.events + left.leased.events;
                    if lost > 0 {
                        channel.slot.metrics.events_lost.add(lost);
                        warn!(component = %title, events = lost, bytes, "closes with events in it, which are lost");
                    }
                }
                let last = ending.all.max(Instant::now() + self.around.grace / 10);
                // What a channel loses by closing it counts itself.
                let before = channel.slot.metrics.events_lost.value();
                let closed = timeout_at(last, open.close()).await;
                let unkept = channel.slot.metrics.events_lost.value() - before;
                lost += usize::try_from(unkept).unwrap_or(usize::MAX);
                match closed {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => {
                        warn!(component = %title, %error, lost, "did not close cleanly");
                    }
                    Err(_) => warn!(component = %title, lost, "did not close within the grace time"),
                }
            }
            channel.stop.stop();
            end(&title, channel.task, ending.all.max(Instant::now() + self.around.grace / 10)).await;
            (name, lost)
        });
        let mut all_lost = 0;
        for (name, lost) in join_all(ends).await {
            self.stopped(Role::Channel, &name);
            all_lost += lost;
        }
        all_lost
    }

    fn stopped(&self, role: Role, name: &Arc<str>) {
        self.around.board.remove(role, name);
        let all = self.around.registry.all();
        if let Some((_, registered)) = all.iter().find(|((r, n), _)| *r == role && n == name) {
            registered.counters.life().stopped.set(self.around.world.now_millis());
        }
    }
}

/// What a group is known by: a lone sink may have the name of a group.
fn title(group: &CheckedGroup) -> Arc<str> {
    let role = if group.is_lone_sink() { Role::Sink } else { Role::SinkGroup };
    Arc::from(format!("{} {}", role.word(), group.name))
}

/// Waits for a task until `deadline` and ends it there.
async fn end(title: &str, mut task: JoinHandle<()>, deadline: Instant) {
    if timeout_at(deadline, &mut task).await.is_err() {
        warn!(component = %title, "did not stop within the grace time and is cut off");
        task.abort();
        // The only answer left is that it was cut off.
        drop(task.await);
    }
}

impl RunningChannel {
    /// Whether the channel took `new` while it runs.
    fn reconfigure(&mut self, new: &CheckedChannel) -> bool {
        let kind = std::ptr::eq(new.part.entry, self.checked.part.entry);
        let took = kind && self.slot.now().is_some_and(|c| c.reconfigure(&new.part.section));
        if took {
            self.checked = new.clone();
        }
        took
    }
}

/// A channel opens, is handed to everybody who waits for it, and stays open.
struct ChannelLife {
    checked: CheckedChannel,
    context: Context,
    filler: SlotFiller,
    ledger: Bookkeeper,
}

impl Life for ChannelLife {
    type Opened = Arc<dyn Channel>;

    async fn open(&mut self) -> Result<Self::Opened, OpenError> {
        let part = &self.checked.part;
        let channel = part.entry.open(part.section.clone(), self.context.clone()).await?;
        self.ledger.opened(&self.checked.name, channel.lifetime()).await;
        Ok(Arc::from(channel))
    }

    async fn run(
        &mut self,
        channel: Self::Opened,
        stop: Stop,
    ) -> Result<(), splashdam_core::Cause> {
        self.filler.fill(channel);
        stop.wait().await;
        self.filler.empty();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
