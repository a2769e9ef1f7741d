//! An agent: its channels on simulated disks, its Avro or Thrift source on the network, its sinks and their
//! runners, its ledger. It lives until it is stopped, killed, or loses its power, and starts again
//! with what its disks kept.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use splashdam_agent::channel_slot::{ChannelSlot, SlotFiller};
use splashdam_agent::ledger::Bookkeeper;
use splashdam_agent::sink_runner::{Member, Signals, SinkRunner, SinkTally};
use splashdam_agent::status::Board;
use splashdam_components::channels::file::{FileChannel, Hands};
use splashdam_components::sources::{avro, thrift};
use splashdam_components::{Bug, PROCESSORS, SINKS, Simulation};
use splashdam_config::Section;
use splashdam_core::ledger::{Line, What};
use splashdam_core::metrics::Counters;
use splashdam_core::{
    Channel, ChannelSet, Context, Event, Outlet, OutletChannel, Random, Role, Route, Selector,
    Shared, Stop, StopHandle, find,
};
use splashdam_sim::dice::Dice;
use splashdam_sim::disk::Disks;
use splashdam_wal as wal;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::flow::{NodePlan, Protocol};
use crate::network::{Line as NetworkLine, Network, Stream};
use crate::watched::Watched;
use crate::world::SimWorld;

const SOURCE_KEYS: &str = "bind = here\nport = 1";
/// How long a clean stop may take before it is a kill.
const STOPS: Duration = Duration::from_secs(3);
/// How often the ledger is written down.
const BOOKS: Duration = Duration::from_secs(4);
/// How often an idle log looks whether there is room, as it does by itself.
const LOOKS: Duration = Duration::from_secs(1);
/// How often in a row a disk may have a fault just as it starts.
const MOST_REFUSED: u32 = 4;
/// The source of what is put by hand.
const HAND: &str = "hand";
/// The Avro or Thrift source.
const SOURCE: &str = "r1";

/// An agent, whether it lives or not.
pub struct Node {
    /// Its index, which is its host's name and its port.
    pub index: usize,
    plan: NodePlan,
    /// For each log.
    disks: Vec<Disks>,
    /// By the channels' indexes.
    papers: Papers,
    network: Network,
    bug: Option<Bug>,
    dice: Dice,
    began: Instant,
    life: Option<Life>,
    /// How often in a row it did not start.
    refused: u32,
}

type Papers = Arc<Mutex<Vec<Paper>>>;

/// What an agent's ledger wrote beside a channel's data.
#[derive(Clone, Debug, Default)]
struct Paper {
    last: Option<Vec<u8>>,
    /// When it was synced last.
    synced: Option<Vec<u8>>,
}

/// What dies with the process.
struct Life {
    channels: Vec<OutletChannel>,
    out: Outlet,
    keeper: Bookkeeper,
    /// Sources and sinks stop first, then the logs. Nobody asks for the third, which would drain.
    stops: [StopHandle; 3],
    receiver: Arc<Receiver>,
    tasks: JoinSet<()>,
    logs: JoinSet<()>,
    board: Board,
    /// A log has stopped, or its machine has lost its power.
    fallen: Arc<AtomicBool>,
    _slots: Vec<SlotFiller>,
}

/// The source that takes over what other agents send.
enum Receiver {
    Avro(Box<avro::Receiver>),
    Thrift(Box<thrift::Receiver>),
}

impl Receiver {
    async fn serve(&self, stream: Stream) {
        match self {
            Receiver::Avro(source) => source.serve(stream).await,
            Receiver::Thrift(source) => source.serve(stream).await,
        }
    }

    async fn end(&self) {
        match self {
            Receiver::Avro(source) => source.end().await,
            Receiver::Thrift(source) => source.end().await,
        }
    }
}

/// How a life ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// Sources, sinks and logs finish.
    Stop,
    /// `kill -9`.
    Kill,
    /// The machine goes with it.
    Power,
}

/// An agent's ledger, as far as it is compared with others.
#[derive(Clone, Copy, Debug, Default)]
pub struct Books {
    /// What all channels differ by from in = out + held.
    pub balance: i64,
    /// Received from other agents.
    pub received: u64,
    /// Delivered by its sinks, less what came back.
    pub sent: i64,
}

/// Every event to every channel.
struct ToAll(usize);

impl Selector for ToAll {
    fn route(&self, _: &Event) -> Route {
        Route { required: ChannelSet::first(self.0), optional: ChannelSet::default() }
    }

    fn uniform(&self) -> Option<Route> {
        Some(self.route(&Event::default()))
    }
}

/// The port of an agent.
fn port(index: usize) -> u16 {
    u16::try_from(index + 1).unwrap_or(u16::MAX)
}

fn papers(papers: &Papers) -> MutexGuard<'_, Vec<Paper>> {
    papers.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Node {
    /// An agent that was never started.
    pub fn new(
        index: usize,
        plan: NodePlan,
        network: Network,
        bug: Option<Bug>,
        seed: u64,
        began: Instant,
    ) -> Node {
        let mut dice = Dice::new(seed);
        let disks = plan.logs.iter().map(|_| Disks::new(dice.roll(), plan.disks)).collect();
        let channels = plan.logs.iter().sum();
        let papers = Arc::new(Mutex::new(vec![Paper::default(); channels]));
        Node { index, plan, disks, papers, network, bug, dice, began, life: None, refused: 0 }
    }

    /// Whether it lives.
    pub fn is_up(&self) -> bool {
        self.life.is_some()
    }

    /// Whether it must be killed, as its power or its disks failed.
    pub fn has_fallen(&self) -> bool {
        self.life.as_ref().is_some_and(|life| life.fallen.load(Relaxed))
    }

    /// Its disks, one set for each log.
    pub fn disks(&self) -> &[Disks] {
        &self.disks
    }

    /// A number that differs as soon as two runs do.
    pub fn trace(&self) -> u64 {
        self.disks.iter().fold(0, |sum, disks| disks.trace().wrapping_add(sum.rotate_left(9)))
    }

    /// What its sinks say is wrong, for people.
    pub fn trouble(&self) -> String {
        let all = self.life.iter().flat_map(|life| life.board.all());
        all.filter_map(|((_, name), status)| Some(format!("{name}: {}", status.trouble?))).collect()
    }

    /// Its channels.
    pub fn channels(&self) -> Vec<Arc<dyn Channel>> {
        let life = self.life.iter().flat_map(|life| &life.channels);
        life.map(|open| open.channel.clone()).collect()
    }

    /// The way in for what is put by hand.
    pub fn hand(&self) -> Option<Outlet> {
        self.life.as_ref().map(|life| life.out.clone())
    }

    /// Runs something for as long as it lives.
    pub fn spawn(&mut self, work: impl Future<Output = ()> + Send + 'static) {
        if let Some(life) = &mut self.life {
            life.tasks.spawn(work);
        }
    }

    /// Starts it. It stays down where its power fails meanwhile, or a disk has a fault.
    ///
    /// # Errors
    /// What keeps it from starting again and again, though its power and its disks are well.
    pub async fn start(&mut self) -> Result<(), String> {
        if self.life.is_some() {
            return Ok(());
        }
        match self.live().await {
            Ok(life) => {
                self.life = Some(life);
                self.refused = 0;
            }
            Err(why) if self.refused == MOST_REFUSED => {
                return Err(format!("agent {} does not start: {why}", self.index));
            }
            Err(_) => {
                let power = self.disks.iter().any(Disks::crashed);
                self.disks.iter().for_each(|disks| disks.restart(power));
                self.refused += u32::from(!power);
            }
        }
        Ok(())
    }

    async fn live(&mut self) -> Result<Life, String> {
        let shared = Shared::default();
        let simulation = shared.of::<Simulation>();
        let line = NetworkLine { network: self.network.clone(), from: port(self.index) };
        // Both are set here only.
        drop(simulation.network.set(Arc::new(line)));
        if let Some(bug) = self.bug {
            simulation.bug.set(bug).ok();
        }
        let host = format!("host{}", self.index);
        let world = Arc::new(SimWorld::new(host, self.began, self.dice.roll()));
        let agent: Arc<str> = format!("a{}", self.index).into();
        let context = |role, name: &str, choices: Vec<Arc<str>>| Context {
            agent: agent.clone(),
            name: name.into(),
            role,
            choices: choices.into(),
            dead_letters: false,
            counters: Counters::new(role),
            world: world.clone(),
            shared: shared.clone(),
        };
        let keeper = Bookkeeper::new(agent.clone(), world.clone());
        let names: Vec<String> =
            (0..self.plan.logs.iter().sum()).map(|index| format!("c{index}")).collect();
        let source = if self.plan.is_first { HAND } else { SOURCE };
        let tally = keeper.ledger().source(source, names.iter().map(String::as_str));
        for sink in self.plan.groups.iter().flat_map(|group| &group.to).enumerate() {
            SinkTally::new(keeper.ledger(), &names[0], &format!("k{}", sink.0), None);
        }
        let fallen = Arc::new(AtomicBool::new(false));
        let (stop, stopped) = Stop::new();
        let (end, ended) = Stop::new();
        let (drain, drained) = Stop::new();
        let (mut channels, mut logs) = (Vec::new(), JoinSet::new());
        for (log, count) in self.plan.logs.clone().into_iter().enumerate() {
            let members = &names[channels.len()..channels.len() + count];
            let contexts: Vec<_> =
                members.iter().map(|name| context(Role::Channel, name, vec![])).collect();
            let (opened, hands) = FileChannel::by_hand(
                &contexts,
                &self.channel_section(),
                self.disks[log].storages(),
                options(&self.disks[log]),
                log as u64,
            )
            .map_err(|error| error.to_string())?;
            let posted = Arc::new(Notify::new());
            for (cx, channel) in contexts.iter().zip(opened) {
                keeper.follow_channel(&cx.name, cx.counters.channel());
                let lifetime = channel.lifetime().ok_or("a channel without a lifetime")?;
                let paper = &mut papers(&self.papers)[channels.len()];
                keeper.found(&cx.name, lifetime, paper.last.as_deref());
                if paper.last.is_none() {
                    paper.last = keeper.paper(&cx.name);
                    paper.synced = paper.last.clone();
                }
                channels.push(OutletChannel {
                    name: cx.name.clone(),
                    channel: Arc::new(Watched::new(channel, posted.clone())),
                    metrics: cx.counters.channel(),
                });
            }
            let disks = self.disks[log].clone();
            let dice = Dice::new(self.dice.roll());
            logs.spawn(write(hands, posted, disks, dice, fallen.clone(), ended.clone()));
        }
        let mut tasks = JoinSet::new();
        let books =
            keep_books(keeper.clone(), channels.clone(), self.papers.clone(), self.disks.clone());
        tasks.spawn(books);
        let cx = context(Role::Source, source, vec![]);
        let (selector, metrics) = (Box::new(ToAll(channels.len())), cx.counters.source());
        let name = cx.name.clone();
        let out = Outlet::tallied(name, vec![], selector, channels.clone(), metrics, tally);
        let keys = Section::parse(SOURCE_KEYS);
        let (entrance, halt) = (out.clone(), stopped.clone());
        let receiver = match self.plan.protocol {
            Protocol::Avro => avro::Receiver::new(&keys, &cx, entrance, halt)
                .map(|source| Receiver::Avro(Box::new(source))),
            Protocol::Thrift => thrift::Receiver::new(&keys, &cx, entrance, halt)
                .map(|source| Receiver::Thrift(Box::new(source))),
        };
        let receiver = Arc::new(receiver.map_err(|error| error.to_string())?);
        let mut accepted = self.network.listen(port(self.index));
        let (serving, stopping) = (receiver.clone(), stopped.clone());
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Some(Some(stream)) = stopping.or(accepted.recv()).await {
                let receiver = serving.clone();
                connections.spawn(async move { receiver.serve(stream).await });
                while connections.try_join_next().is_some() {}
            }
            while connections.join_next().await.is_some() {}
        });
        let (filler, slot) =
            ChannelSlot::new(channels[0].name.clone(), channels[0].metrics.clone());
        filler.fill(channels[0].channel.clone());
        let (board, mut sinks) = (Board::default(), 0);
        for group in &self.plan.groups {
            let names: Vec<Arc<str>> =
                (0..group.to.len()).map(|index| format!("k{index}").into()).collect();
            let cx = context(Role::SinkGroup, "g", names.clone());
            let processor = find(PROCESSORS, group.processor).ok_or("no such processor")?;
            let processor = processor.open(Section::parse(group.keys), cx.clone()).await;
            let processor = processor.map_err(|error| error.to_string())?;
            let mut members = Vec::new();
            for to in &group.to {
                let name = format!("k{sinks}");
                sinks += 1;
                members.push(Member {
                    goes_round: false,
                    entry: find(SINKS, self.plan.protocol.name()).ok_or("no such sink")?,
                    section: self.sink_section(*to),
                    context: context(Role::Sink, &name, vec![]),
                    channel: slot.clone(),
                    dead_letters: None,
                    sign: board.sign(Role::Sink, name.as_str().into()),
                    tally: SinkTally::new(keeper.ledger(), &slot.name, &name, None),
                });
            }
            let runner = SinkRunner::new(processor, members, Random::new(self.dice.roll()));
            // What is left stays in the channel.
            let signals = Signals { drain: drained.clone(), halt: stopped.clone() };
            tasks.spawn(runner.run(signals));
        }
        Ok(Life {
            channels,
            out,
            keeper,
            stops: [stop, end, drain],
            receiver,
            tasks,
            logs,
            board,
            fallen,
            _slots: vec![filler],
        })
    }

    fn channel_section(&self) -> Section {
        let most = self.plan.batch_events;
        Section::parse(&match self.plan.is_narrow {
            true => {
                let capacity = 2 * most + 1;
                format!("keep-alive = 0\ncapacity = {capacity}\ntransactionCapacity = {most}")
            }
            false => "keep-alive = 1".to_owned(),
        })
    }

    fn sink_section(&self, to: usize) -> Section {
        Section::parse(&format!(
            "hostname = host{to}\nport = {}\nbatch-size = {}\nconnect-timeout = 1000\nrequest-timeout = 1500",
            port(to),
            self.plan.batch_events
        ))
    }

    /// Ends its life.
    pub async fn end(&mut self, death: Death) {
        let Some(mut life) = self.life.take() else { return };
        if death == Death::Stop {
            let [stop, end, _] = &life.stops;
            stop.stop();
            let finish = async {
                // The books are kept for ever, and what was put by hand is answered.
                timeout(STOPS, life.receiver.end()).await.ok();
                sleep(STOPS).await;
                end.stop();
                while life.logs.join_next().await.is_some() {}
            };
            finish.await;
        }
        // First what others see of it, then the disks: what it still does is done by nobody.
        self.network.cut_off(port(self.index));
        let power = death == Death::Power || self.disks.iter().any(Disks::crashed);
        self.disks.iter().for_each(|disks| disks.restart(power));
        if power && self.dice.once_in(2) {
            papers(&self.papers).iter_mut().for_each(|paper| paper.last = paper.synced.clone());
        }
        let Life { mut tasks, mut logs, .. } = life;
        tasks.abort_all();
        logs.abort_all();
        while tasks.join_next().await.is_some() {}
        while logs.join_next().await.is_some() {}
    }

    /// The totals of its ledger, for people.
    pub fn pages(&self) -> String {
        let Some(life) = &self.life else { return String::new() };
        let entry = |entry: &splashdam_core::ledger::Entry| {
            let Line { what, from, to } = &entry.line;
            format!("{what:?} {from} {to}: {}", entry.events)
        };
        let totals = life.keeper.ledger().pages(|_| true).totals;
        totals.iter().filter(|one| one.events > 0).map(entry).collect::<Vec<_>>().join(", ")
    }

    /// What its ledger says now.
    pub fn books(&self) -> Books {
        let Some(life) = &self.life else { return Books::default() };
        let total = |what: What, of: &dyn Fn(&Line) -> bool| {
            let sum = life.keeper.ledger().total(|line| line.what == what && of(line));
            i64::try_from(sum).unwrap_or(i64::MAX)
        };
        let mut balance = 0;
        for open in &life.channels {
            let (from, to) =
                (|line: &Line| line.from == *open.name, |line: &Line| line.to == *open.name);
            let level = open.channel.level();
            let held = level.queued.events + level.leased.events;
            let came = total(What::In, &to) + total(What::Returned, &from);
            let went =
                total(What::Out, &from) + total(What::Refused, &from) + total(What::Lost, &from);
            balance += (came - went - i64::try_from(held).unwrap_or(i64::MAX)).abs();
        }
        let received = total(What::Received, &|line| line.from == SOURCE);
        let sent = total(What::Out, &|_| true) - total(What::Returned, &|_| true);
        Books { balance, received: received.unsigned_abs(), sent }
    }
}

/// How logs are opened: small, so that they roll and read from disk.
fn options(disks: &Disks) -> wal::Options {
    wal::Options {
        segment_bytes: 32 << 10,
        group_bytes: 8 << 10,
        window_bytes: 3 << 10,
        read_bytes: 2 << 10,
        reserve_bytes: 24 << 10,
        open_segments: 1,
        surroundings: Arc::new(disks.clone()),
        ..wal::Options::default()
    }
}

/// Moves a log: as slowly as a disk by chance is.
async fn write(
    mut hands: Hands,
    posted: Arc<Notify>,
    disks: Disks,
    mut dice: Dice,
    fallen: Arc<AtomicBool>,
    end: Stop,
) {
    // Nobody may be there to ask for room that has come back.
    while end.or(timeout(LOOKS, posted.notified())).await.is_some() {
        let slow = if dice.once_in(20) { 1500 } else { 25 };
        sleep(Duration::from_millis(dice.below(slow))).await;
        hands.work();
        if disks.crashed() || hands.stopped() {
            fallen.store(true, Relaxed);
            return;
        }
    }
    hands.finish();
}

/// Writes the ledger down now and then, and syncs it seldom, both less often than it really is.
async fn keep_books(
    keeper: Bookkeeper,
    channels: Vec<OutletChannel>,
    kept: Papers,
    disks: Vec<Disks>,
) {
    for time in 1_u64.. {
        sleep(BOOKS).await;
        // Without power nobody writes that the disks cannot be read any more.
        if disks.iter().any(Disks::crashed) {
            return;
        }
        for (open, kept) in channels.iter().zip(papers(&kept).iter_mut()) {
            if let Some(paper) = keeper.paper(&open.name) {
                kept.last = Some(paper);
            }
            if time.is_multiple_of(20) {
                kept.synced.clone_from(&kept.last);
            }
        }
    }
}
