//! One run: a storm, a calm, and the verdict.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use splashdam_components::Bug;
use splashdam_core::{Batch, Channel, Event, Size};
use splashdam_sim::dice::Dice;
use splashdam_sim::disk::{Disks, Errno};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep};

use crate::flow::{self, Flow};
use crate::network::{Counts, Network};
use crate::node::{Death, Node};
use crate::verdict::{EventId, Promises, Verdict};

/// Virtual time in which all that is left must have arrived.
const CALM: Duration = Duration::from_secs(1200);

/// Takes in which a channel must have given all that it holds.
const MOST_TAKES: u32 = 1000;

/// What is to be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// From which everything follows.
    pub seed: u64,
    /// The kind of flow.
    pub kind: usize,
    /// Steps of the storm.
    pub steps: u32,
    /// A bug that is planted in all agents.
    pub bug: Option<Bug>,
}

impl Plan {
    /// The run of a seed.
    pub fn new(seed: u64) -> Plan {
        let kind = usize::try_from(seed % flow::KINDS as u64).unwrap_or(0);
        Plan { seed, kind, steps: 50, bug: None }
    }
}

struct Run {
    plan: Plan,
    flow: Flow,
    dice: Dice,
    network: Network,
    nodes: Vec<Node>,
    promises: Arc<Mutex<Promises>>,
    /// Held by each put that has not ended; what an agent that died had begun is let go with it.
    under_way: Arc<()>,
    /// Whether some disk had a fault: the order of what was put behind one that failed is then its
    /// own affair.
    has_faults: bool,
    deaths: u64,
}

fn locked(promises: &Mutex<Promises>) -> MutexGuard<'_, Promises> {
    promises.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a plan to its end.
///
/// # Errors
/// The promise that was broken.
pub fn run(plan: Plan) -> Result<(Verdict, Counts), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .map_err(|error| format!("no runtime: {error}"))?;
    runtime.block_on(async { Run::new(plan).all().await })
}

impl Run {
    fn new(plan: Plan) -> Run {
        let mut dice = Dice::new(plan.seed.wrapping_mul(0x9E37_79B9) ^ 0x0B0E);
        let flow = flow::flow(plan.kind, &mut dice);
        let network = Network::new(dice.roll());
        let began = Instant::now();
        let nodes = flow.nodes.iter().cloned().enumerate();
        let nodes = nodes.map(|(index, node)| {
            Node::new(index, node, network.clone(), plan.bug, dice.roll(), began)
        });
        let nodes = nodes.collect();
        let promises = Arc::default();
        let under_way = Arc::default();
        Run { plan, flow, dice, network, nodes, promises, under_way, has_faults: false, deaths: 0 }
    }

    async fn all(mut self) -> Result<(Verdict, Counts), String> {
        for node in &mut self.nodes {
            node.start().await?;
        }
        for _ in 0..self.plan.steps {
            self.step().await?;
        }
        self.calm().await?;
        let mut held = Vec::new();
        for last in self.flow.last.clone() {
            let mut channels = Vec::new();
            for channel in self.nodes[last].channels() {
                channels.push(drain(&*channel).await?);
            }
            held.push(channels);
        }
        if self.has_faults {
            self.flow.in_order = false;
        }
        let mut verdict = locked(&self.promises).judge(&self.flow, &held)?;
        self.check_books()?;
        verdict.deaths = self.deaths;
        verdict.trace = self.trace(&held);
        Ok((verdict, self.network.counts()))
    }

    /// One step of the storm.
    async fn step(&mut self) -> Result<(), String> {
        let longest = if self.dice.once_in(12) { 20_000 } else { 300 };
        sleep(Duration::from_millis(self.dice.below(longest))).await;
        self.network.repeat();
        self.bury().await;
        for index in 0..self.nodes.len() {
            if !self.nodes[index].is_up() && self.dice.once_in(3) {
                self.nodes[index].start().await?;
            }
        }
        let index = self.dice.index(self.nodes.len());
        match self.dice.below(24) {
            0 => self.end(index, Death::Kill).await,
            1 => self.end(index, Death::Power).await,
            2 if self.dice.once_in(2) => self.end(index, Death::Stop).await,
            3 | 4 => {
                // In the midst of a write, before or after a sync.
                let disks = self.disks_of(index);
                disks.crash_at(Some(disks.acts() + 1 + self.dice.below(12)));
            }
            5 if self.dice.once_in(2) => {
                self.has_faults = true;
                let disks = self.disks_of(index);
                disks.fail_at(disks.acts() + 1 + self.dice.below(8), Errno::Io);
            }
            6 => {}
            _ => {
                let first = self.flow.first[self.dice.index(self.flow.first.len())];
                self.put(first);
            }
        }
        Ok(())
    }

    fn disks_of(&mut self, index: usize) -> Disks {
        let disks = self.nodes[index].disks();
        disks[self.dice.index(disks.len())].clone()
    }

    async fn end(&mut self, index: usize, death: Death) {
        self.deaths += u64::from(self.nodes[index].is_up());
        self.nodes[index].end(death).await;
    }

    /// Agents whose power or disks failed are dead.
    async fn bury(&mut self) {
        for index in 0..self.nodes.len() {
            if self.nodes[index].has_fallen() {
                self.end(index, Death::Kill).await;
            }
        }
    }

    /// Puts some events into an agent; whoever put them hears of it if it lives.
    fn put(&mut self, index: usize) {
        let Some(out) = self.nodes[index].hand() else { return };
        let count = 1 + u32::try_from(self.dice.below(8)).unwrap_or(0);
        let ids = locked(&self.promises).begin(index, count);
        let batch: Batch = ids.iter().map(|id| Event::new(format!("{id:06}"))).collect();
        let promises = self.promises.clone();
        let under_way = self.under_way.clone();
        self.nodes[index].spawn(async move {
            if out.put(batch).await.is_ok() {
                locked(&promises).acknowledge(&ids);
            }
            drop(under_way);
        });
    }

    /// Everybody runs until nothing is left to send and nothing is on its way, then starts once more.
    async fn calm(&mut self) -> Result<(), String> {
        self.network.calm();
        for node in &self.nodes {
            node.disks().iter().for_each(|disks| disks.crash_at(None));
        }
        let began = Instant::now();
        // What has just started may not show yet what it has: it is looked at twice.
        let mut quiet = 0;
        while quiet < 2 {
            self.bury().await;
            for node in &mut self.nodes {
                node.start().await?;
            }
            self.network.repeat();
            sleep(Duration::from_millis(700)).await;
            // Who is down, as a disk had a fault just as it started, shows no channel and may hold
            // something.
            let are_up = self.nodes.iter().all(|node| node.is_up() && !node.has_fallen());
            let senders =
                self.nodes.iter().enumerate().filter(|(index, _)| !self.flow.last.contains(index));
            let mut channels = senders.flat_map(|(_, node)| node.channels());
            let is_empty = channels.all(|channel| {
                let level = channel.level();
                level.queued.events + level.leased.events == 0
            });
            // What is still being put is nowhere yet.
            let is_empty = is_empty && Arc::strong_count(&self.under_way) == 1;
            let is_quiet = are_up && is_empty && self.network.busy_until() < Instant::now();
            quiet = if is_quiet { quiet + 1 } else { 0 };
            if began.elapsed() > CALM {
                return Err(format!("the calm did not empty the channels: {}", self.levels()));
            }
        }
        // What the ledgers could not know of faults on disks they learn at a start.
        for index in 0..self.nodes.len() {
            self.nodes[index].end(Death::Stop).await;
            while !self.nodes[index].is_up() {
                self.nodes[index].start().await?;
            }
        }
        sleep(Duration::from_secs(2)).await;
        yield_now().await;
        Ok(())
    }

    fn levels(&self) -> String {
        let level = |node: &Node| {
            let levels: Vec<_> = node.channels().iter().map(|channel| channel.level()).collect();
            format!("agent {}: {levels:?}; {}", node.index, node.trouble())
        };
        self.nodes.iter().map(level).collect::<Vec<_>>().join("; ")
    }

    fn check_books(&self) -> Result<(), String> {
        // What several directories give to nobody, they count (docs/ledger.md).
        if self.flow.nodes.iter().any(|node| node.disks > 1) {
            return Ok(());
        }
        let books: Vec<_> = self.nodes.iter().map(Node::books).collect();
        if let Some(node) = books.iter().position(|books| books.balance != 0) {
            return Err(format!("the ledger of agent {node} does not balance: {books:?}"));
        }
        let sent: i64 = books.iter().map(|books| books.sent).sum();
        let received: u64 = books.iter().map(|books| books.received).sum();
        let is_single = self.flow.last.len() == 1;
        // A put whose disk failed leaves numbers that are given to nobody (docs/ledger.md).
        if !self.has_faults && self.flow.once && is_single && i64::try_from(received) != Ok(sent) {
            let pages = self.nodes.iter().map(Node::pages).collect::<Vec<_>>().join("; ");
            return Err(format!("{sent} events were sent and {received} received: {pages}"));
        }
        Ok(())
    }

    fn trace(&self, held: &[Vec<Vec<EventId>>]) -> u64 {
        let nodes = self.nodes.iter().map(Node::trace);
        let ids = held.iter().flatten().flatten().map(|id| u64::from(*id));
        nodes.chain(ids).fold(self.plan.seed, |sum, one| {
            (sum ^ one).wrapping_mul(0x0100_0000_01b3).rotate_left(7)
        })
    }
}

/// All that a channel holds, which it keeps.
async fn drain(channel: &dyn Channel) -> Result<Vec<EventId>, String> {
    let mut ids = Vec::new();
    let mut leases = Vec::new();
    // What lies on disk only is there when that is read, for which a take may wait in vain.
    for _ in 0..MOST_TAKES {
        if channel.level().queued.events == 0 {
            return Ok(ids);
        }
        let lease = channel.begin_take(Size::events(1000)).await;
        let lease = lease.map_err(|error| format!("a channel cannot be read: {error}"))?;
        for event in lease.batch().events() {
            let id = str::from_utf8(&event.body).ok().and_then(|text| text.parse().ok());
            ids.push(id.ok_or_else(|| format!("an event that nobody put: {:?}", event.body))?);
        }
        leases.push(lease);
    }
    Err(format!("a channel does not give what it holds: {:?}", channel.level()))
}
