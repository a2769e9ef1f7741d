//! One run: random operations on a log over simulated disks, a crash, starts, and the verdict.

use std::sync::{Arc, Mutex, PoisonError};

use splashdam_wal::{
    CommitError, Committer, Count, Lease, Log, Notice, OnDamage, OpenError, Options, Origin,
    QueueId, QueueOptions, Reader, Sabotage, Stored,
};

use crate::dice::Dice;
use crate::disk::Disks;
use crate::oracle::{Batch, EventId, Fate, Oracle};

/// What is to happen.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Decides everything that is left to chance.
    pub seed: u64,
    /// Directories of the log.
    pub disks: usize,
    /// Queues of the log.
    pub queues: usize,
    /// Operations before the end.
    pub steps: usize,
    /// The act of a disk at which the power fails.
    pub crash_at: Option<u64>,
    /// Acts of a disk that fail with EIO.
    pub faults: Vec<u64>,
    /// Bytes a disk holds.
    pub capacity: usize,
    /// A planted bug.
    pub sabotage: Option<Sabotage>,
}

impl Plan {
    /// A plain run.
    pub fn new(seed: u64) -> Plan {
        Plan {
            seed,
            disks: 1,
            queues: 2,
            steps: 60,
            crash_at: None,
            faults: Vec::new(),
            capacity: usize::MAX,
            sabotage: None,
        }
    }
}

/// How a run went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Acts of the disks before the end of the operations.
    pub acts: u64,
    /// Differs as soon as two runs do.
    pub trace: u64,
    /// Power failures and kills, those during a start included.
    pub crashes: u64,
    /// Puts that were acknowledged.
    pub stored: u64,
    /// Takes that were acknowledged.
    pub taken: u64,
    /// Puts and takes that failed or were refused.
    pub refused: u64,
    /// Damage that was reported.
    pub damaged: u64,
}

type Answers = Arc<Mutex<Vec<Answer>>>;

enum Answer {
    Put(u64, Result<Stored, CommitError>),
    Take(Vec<EventId>, Result<(), CommitError>),
}

/// An open log, moved by hand.
pub struct Life {
    /// The log.
    pub log: Log<Batch>,
    /// Its writers.
    pub committers: Vec<Committer<Batch>>,
    /// Its reader.
    pub reader: Reader<Batch>,
    leases: Vec<(Vec<EventId>, Lease<Batch>)>,
}

/// A run under way.
pub struct Run {
    /// The disks.
    pub disks: Disks,
    /// What was promised.
    pub oracle: Oracle,
    /// How it went so far.
    pub verdict: Verdict,
    /// What was noticed.
    pub notices: Arc<Mutex<Vec<Notice>>>,
    /// What to do about damage.
    pub on_damage: OnDamage,
    plan: Plan,
    dice: Dice,
    answers: Answers,
    /// Per sender its epoch, its last sequence and the put that had it.
    senders: Vec<(u64, Option<u64>)>,
}

const SEGMENT_BYTES: u64 = 32 << 10;
const UNLIMITED: Count = Count { events: u64::MAX, bytes: u64::MAX };

impl Run {
    /// Nothing has happened yet.
    pub fn new(plan: Plan) -> Run {
        let disks = Disks::new(plan.seed, plan.disks);
        disks.limit(plan.capacity);
        disks.crash_at(plan.crash_at);
        for fault in &plan.faults {
            disks.fail_at(*fault);
        }
        Run {
            disks,
            oracle: Oracle::default(),
            verdict: Verdict::default(),
            notices: Arc::default(),
            on_damage: OnDamage::Quarantine,
            dice: Dice::new(plan.seed ^ 0x5EED),
            plan,
            answers: Arc::default(),
            senders: vec![(0, None); 2],
        }
    }

    /// The same disks and promises again, to try another fate; nothing may be open.
    pub fn copy(&self, sabotage: Option<Sabotage>) -> Run {
        Run {
            disks: self.disks.copy(),
            oracle: self.oracle.clone(),
            verdict: self.verdict,
            notices: Arc::default(),
            on_damage: self.on_damage,
            plan: Plan { sabotage, ..self.plan.clone() },
            dice: self.dice.clone(),
            answers: Arc::default(),
            senders: self.senders.clone(),
        }
    }

    /// Opens the log.
    pub fn open(&self) -> Result<Life, OpenError> {
        // In every other run the rest of the queues are added when they are first needed.
        let named = if self.plan.seed % 2 == 1 { 1 } else { self.plan.queues };
        let queues: Vec<_> = (0..named)
            .map(|index| QueueOptions { name: format!("c{index}"), capacity: UNLIMITED })
            .collect();
        let notices = self.notices.clone();
        let options = Options {
            segment_bytes: SEGMENT_BYTES,
            group_bytes: 8 << 10,
            window_bytes: 3 << 10,
            read_bytes: 2 << 10,
            reserve_bytes: 24 << 10,
            on_damage: self.on_damage,
            surroundings: Arc::new(self.disks.clone()),
            notice: Arc::new(move |notice| {
                notices.lock().unwrap_or_else(PoisonError::into_inner).push(notice);
            }),
            sabotage: self.plan.sabotage,
            ..Options::default()
        };
        let opened = Log::open(self.disks.storages(), &queues, options)?;
        Ok(Life {
            log: opened.log,
            committers: opened.committers,
            reader: opened.reader,
            leases: Vec::new(),
        })
    }

    /// A queue, added if it is not there; `None` when the disk refuses that.
    fn queue(&self, life: &Life, queue: u16) -> Option<QueueId> {
        let name = format!("c{queue}");
        life.log.queue(&name).or_else(|| life.log.add_queue(&name, UNLIMITED).ok())
    }

    /// One random operation.
    pub fn step(&mut self, life: &mut Life) -> Result<(), String> {
        match self.dice.below(16) {
            0..6 => self.put(life),
            6..9 => {
                for index in 0..life.committers.len() {
                    if self.dice.below(3) > 0 {
                        life.committers[index].commit_waiting();
                    }
                }
            }
            9..12 => {
                let queue = self.dice.index(self.plan.queues) as u16;
                let most = Count { events: self.dice.below(12) + 1, bytes: 4096 };
                if life.leases.len() < 5
                    && let Some(id) = self.queue(life, queue)
                    && let Ok(Some(lease)) = life.log.lease(id, most)
                {
                    let ids = self.oracle.leased(queue, &lease)?;
                    self.oracle.only_stored(&ids)?;
                    if let Some((held, _)) =
                        life.leases.iter().find(|(held, _)| held.iter().any(|id| ids.contains(id)))
                    {
                        return Err(format!("leased twice: {held:?} and {ids:?}"));
                    }
                    life.leases.push((ids, lease));
                }
            }
            12..14 => {
                if !life.leases.is_empty() {
                    let (ids, lease) = life.leases.swap_remove(self.dice.index(life.leases.len()));
                    self.commit_lease(ids, lease);
                }
            }
            14 => {
                if !life.leases.is_empty() {
                    drop(life.leases.swap_remove(self.dice.index(life.leases.len())));
                }
            }
            _ => {
                life.reader.read_waiting();
            }
        }
        self.hear()
    }

    fn commit_lease(&mut self, ids: Vec<EventId>, lease: Lease<Batch>) {
        self.oracle.taking(&ids);
        let answers = self.answers.clone();
        lease.commit(Box::new(move |answer| {
            let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
            answers.push(Answer::Take(ids, answer));
        }));
    }

    fn put(&mut self, life: &Life) {
        let queues: Vec<u16> = match self.dice.below(3) {
            0 => (0..self.plan.queues as u16).collect(),
            _ => vec![self.dice.index(self.plan.queues) as u16],
        };
        if (0..self.plan.queues as u16).any(|queue| self.queue(life, queue).is_none()) {
            return;
        }
        let sender = self.dice.index(6);
        let mut origin = None;
        let mut id = None;
        if let Some((sequence, last)) = self.senders.get_mut(sender) {
            match last.map(|last| (last, self.oracle.look(last).fate)) {
                // Its answer is still to come.
                Some((_, Fate::Waiting)) => return,
                // Nobody knows, or the answer was lost: it is sent again.
                Some((last, Fate::Unknown | Fate::Gone)) => id = Some(last),
                Some((last, Fate::Stored)) if self.dice.once_in(4) => id = Some(last),
                _ => *sequence += 1,
            }
            let position = vec![b'p'; self.dice.index(20)];
            let identity = [sender as u8 + 1; 16];
            origin = Some(Origin { sender: identity, epoch: 1, sequence: *sequence, position });
        }
        let id = match id {
            Some(id) => id,
            None => {
                let id = self.oracle.put(&mut self.dice, queues);
                if let Some((_, last)) = self.senders.get_mut(sender) {
                    *last = Some(id);
                }
                id
            }
        };
        let batch = Arc::new(self.oracle.batch(id));
        let count = Count { events: 1 << 20, bytes: 1 << 30 };
        let queues: Vec<_> = self
            .oracle
            .look(id)
            .queues
            .iter()
            .filter_map(|queue| self.queue(life, *queue))
            .collect();
        let stored = self.oracle.look(id).fate == Fate::Stored;
        match life.log.reserve(&queues, count) {
            Ok(room) => {
                if !stored {
                    self.oracle.again(id);
                }
                let answers = self.answers.clone();
                let done = move |answer| {
                    let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
                    answers.push(Answer::Put(id, answer));
                };
                room.put(batch, origin, Box::new(done));
            }
            Err(_) if stored => {}
            Err(_) => {
                self.verdict.refused += 1;
                if self.oracle.look(id).fate == Fate::Waiting {
                    self.oracle.answered(id, Fate::Gone);
                }
            }
        }
    }

    /// Takes note of the answers.
    fn hear(&mut self) -> Result<(), String> {
        let answers =
            std::mem::take(&mut *self.answers.lock().unwrap_or_else(PoisonError::into_inner));
        for answer in answers {
            match answer {
                Answer::Put(id, Ok(stored)) => {
                    self.verdict.stored += 1;
                    if self.oracle.look(id).fate != Fate::Stored {
                        self.oracle.answered(id, Fate::Stored);
                    } else if stored == Stored::Now {
                        return Err(format!("put {id} was stored a second time"));
                    }
                }
                Answer::Put(id, Err(error)) => {
                    self.verdict.refused += 1;
                    if self.oracle.look(id).fate != Fate::Stored {
                        let fate = match error {
                            CommitError::Failed(_) => Fate::Unknown,
                            _ => Fate::Gone,
                        };
                        self.oracle.answered(id, fate);
                    }
                }
                Answer::Take(ids, Ok(())) => {
                    self.verdict.taken += 1;
                    self.oracle.took(&ids, true);
                }
                Answer::Take(ids, Err(error)) => {
                    self.verdict.refused += 1;
                    if !matches!(error, CommitError::Failed(_)) {
                        self.oracle.took(&ids, false);
                    }
                }
            }
        }
        Ok(())
    }

    /// Leases all there is, compares it with what was promised, and puts it back.
    pub fn inspect(&mut self, life: &mut Life) -> Result<u64, String> {
        life.leases.clear();
        let mut all = Vec::new();
        let mut leases = Vec::new();
        for queue in 0..self.plan.queues as u16 {
            let mut held = Vec::new();
            let Some(id) = self.queue(life, queue) else {
                all.push(held);
                continue;
            };
            loop {
                match life.log.lease(id, UNLIMITED) {
                    Ok(Some(lease)) => {
                        held.extend(self.oracle.leased(queue, &lease)?);
                        leases.push(lease);
                    }
                    Ok(None) if life.reader.read_waiting() => {}
                    Ok(None) => break,
                    Err(error) => return Err(format!("no lease: {error}")),
                }
            }
            let level = life.log.level(id);
            if level.queued.events != 0 || level.leased.events != held.len() as u64 {
                return Err(format!("queue {queue} holds {}, but says {level:?}", held.len()));
            }
            all.push(held);
        }
        self.oracle.settle(&all)?;
        drop(leases);
        Ok(all.iter().map(|held| held.len() as u64).sum())
    }

    /// Ends the process, cleanly or not, and whatever it had open.
    pub fn end(&mut self, mut life: Life, cleanly: bool) -> Result<(), String> {
        life.leases.clear();
        if cleanly {
            for committer in life.committers {
                committer.finish();
            }
        } else {
            drop(life.committers);
        }
        life.log.close();
        self.hear()?;
        self.oracle.process_ended();
        Ok(())
    }

    /// Starts again, with the power failing during some of the starts.
    pub fn start_again(&mut self, power_was_lost: bool) -> Result<Life, String> {
        self.disks.restart(power_was_lost);
        for _ in 0..self.dice.below(3) {
            self.disks.crash_at(Some(self.disks.acts() + 1 + self.dice.below(14)));
            if let Ok(life) = self.open() {
                self.end(life, false)?;
            }
            self.verdict.crashes += u64::from(self.disks.crashed());
            let lost = self.dice.below(4) > 0;
            self.disks.restart(lost);
        }
        self.open().map_err(|error| format!("it does not open again: {error}"))
    }

    /// The whole of a plan.
    pub fn all(mut self) -> Result<Verdict, String> {
        let mut life = match self.open() {
            Ok(life) => Some(life),
            Err(error) if self.disks.crashed() || !self.plan.faults.is_empty() => {
                let _expected = error;
                None
            }
            Err(error) => return Err(format!("it does not open: {error}")),
        };
        let mut steps = 0;
        while let Some(open) = &mut life {
            if steps == self.plan.steps || self.disks.crashed() || open.log.stopped().is_some() {
                break;
            }
            steps += 1;
            self.step(open)?;
            if self.dice.once_in(60) {
                break;
            }
        }
        self.verdict.acts = self.disks.acts();
        self.verdict.trace = self.disks.trace();
        let crashed = self.disks.crashed();
        self.verdict.crashes += u64::from(crashed);
        if let Some(life) = life {
            let cleanly = self.dice.below(3) > 0 && !crashed && life.log.stopped().is_none();
            self.end(life, cleanly)?;
        }
        let lost = crashed && self.dice.below(4) > 0;
        let mut life = self.start_again(lost)?;
        self.inspect(&mut life)?;
        // It goes on as if nothing had been: some more work, and everything comes out.
        for _ in 0..10 {
            self.step(&mut life)?;
        }
        self.end(life, true)?;
        let mut life = self.start_again(false)?;
        self.inspect(&mut life)?;
        self.drain(&mut life)?;
        self.end(life, true)?;
        let mut life = self.start_again(true)?;
        let left = self.inspect(&mut life)?;
        if left > 0 {
            return Err(format!("{left} events are left after all were taken"));
        }
        self.end(life, true)?;
        let notices = self.notices.lock().unwrap_or_else(PoisonError::into_inner);
        let damaged = |notice: &&Notice| matches!(notice, Notice::Damaged(_));
        self.verdict.damaged = notices.iter().filter(damaged).count() as u64;
        if self.verdict.damaged > 0 {
            return Err(format!("damage where nothing was damaged: {notices:?}"));
        }
        Ok(self.verdict)
    }

    /// Takes everything out.
    pub fn drain(&mut self, life: &mut Life) -> Result<(), String> {
        for queue in 0..self.plan.queues as u16 {
            let Some(id) = self.queue(life, queue) else { continue };
            loop {
                let most = Count { events: 7, bytes: 100_000 };
                match life.log.lease(id, most) {
                    Ok(Some(lease)) => {
                        let ids = self.oracle.leased(queue, &lease)?;
                        self.oracle.only_stored(&ids)?;
                        self.commit_lease(ids, lease);
                        for committer in &mut life.committers {
                            committer.commit_waiting();
                        }
                        self.hear()?;
                    }
                    Ok(None) if life.reader.read_waiting() => {}
                    Ok(None) => break,
                    Err(error) => return Err(format!("no lease: {error}")),
                }
            }
        }
        for committer in &mut life.committers {
            committer.commit_waiting();
        }
        for disk in 0..self.plan.disks {
            let segments =
                self.disks.names(disk).iter().filter(|name| name.ends_with(".seg")).count();
            if segments > 3 {
                return Err(format!("{segments} segments are left on disk {disk}, all useless"));
            }
        }
        Ok(())
    }
}

/// Runs a plan with the power failing at each act of its disks in turn, from `first` in strides
/// of `stride`. Says how many crashes that were.
pub fn crash_everywhere(plan: &Plan, first: u64, stride: u64) -> Result<u64, String> {
    let whole = Run::new(plan.clone())
        .all()
        .map_err(|why| format!("seed {}, no crash: {why}", plan.seed))?;
    let (seed, mut crashes) = (plan.seed, whole.crashes);
    let mut at = first.max(1);
    while at <= whole.acts {
        let plan = Plan { crash_at: Some(at), ..plan.clone() };
        let verdict =
            Run::new(plan).all().map_err(|why| format!("seed {seed}, crash at act {at}: {why}"))?;
        crashes += verdict.crashes;
        at += stride;
    }
    Ok(crashes)
}
