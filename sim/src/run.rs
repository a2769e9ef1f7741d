//! One run: random operations on a log over simulated disks, a crash, starts, and the verdict.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use splashdam_wal::storage::Storage;
use splashdam_wal::{
    CommitError, Committer, Count, Key, Keys, Lease, Log, Notice, OnDamage, OpenError, Opened,
    Options, QueueId, QueueOptions, Reader, Sabotage, Stored, Syncs,
};

use crate::dice::Dice;
use crate::disk::{Disks, Errno};
use crate::oracle::{Batch, EventId, Oracle};
use crate::sender::Sender;

pub use crate::plan::{Plan, Verdict};

mod puts;
mod takes;

/// Keys by their names: each alias is its own secret.
struct KeyRing(Vec<&'static str>);

impl Keys for KeyRing {
    fn active(&self) -> Option<(String, Key)> {
        let alias = *self.0.last()?;
        let name = alias.split('=').next().unwrap_or(alias);
        Some((name.to_owned(), self.key(name)?))
    }

    fn key(&self, alias: &str) -> Option<Key> {
        // What follows `=` is the secret, so that a test can have a wrong one.
        let entry = self.0.iter().find(|entry| entry.split('=').next() == Some(alias))?;
        Key::new(entry.repeat(16).as_bytes())
    }
}

type Answers = Arc<Mutex<Vec<Answer>>>;

enum Answer {
    Put(u64, Result<Stored, CommitError>),
    Take(u64, Result<(), CommitError>),
    /// The take and the put.
    Exchange(u64, u64, Result<Stored, CommitError>),
}

/// What damage at rest came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    /// Nothing: nobody needed what was hit.
    None,
    /// It was named, and cost a frame at most.
    Named,
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

impl From<Opened<Batch>> for Life {
    fn from(Opened { log, committers, reader }: Opened<Batch>) -> Life {
        Life { log, committers, reader, leases: Vec::new() }
    }
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
    /// One fate of many from one crash: the starts after the first are seldom cut short again.
    forked: bool,
    senders: Vec<Sender>,
    lane: puts::InLane,
}

const SEGMENT_BYTES: u64 = 32 << 10;
const UNLIMITED: Count = Count { events: u64::MAX, bytes: u64::MAX };

impl Run {
    /// Nothing has happened yet.
    pub fn new(plan: Plan) -> Run {
        let disks = Disks::new(plan.seed, plan.disks);
        disks.limit(plan.capacity);
        if plan.thin {
            disks.thin();
        }
        disks.crash_at(plan.crash_at);
        for fault in &plan.faults {
            disks.fail_at(*fault, Errno::Io);
        }
        for fault in &plan.no_space {
            disks.fail_at(*fault, Errno::NoSpace);
        }
        Run {
            disks,
            oracle: Oracle::default(),
            verdict: Verdict::default(),
            notices: Arc::default(),
            on_damage: OnDamage::Quarantine,
            dice: Dice::new(plan.seed ^ 0x5EED),
            answers: Arc::default(),
            lane: puts::InLane::new(),
            forked: false,
            senders: plan.senders.map(Sender::new).into(),
            plan,
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
            lane: puts::InLane::new(),
            forked: self.forked,
            senders: self.senders.clone(),
        }
    }

    /// Changes how the next start opens the log.
    pub fn plan(&mut self) -> &mut Plan {
        &mut self.plan
    }

    /// Opens the log.
    pub fn open(&self) -> Result<Life, OpenError> {
        self.open_on(self.disks.storages())
    }

    /// Opens the log with these directories.
    pub fn open_on(&self, storages: Vec<Arc<dyn Storage>>) -> Result<Life, OpenError> {
        // In every other run the rest of the queues are added when they are first needed.
        let named = if self.plan.seed % 2 == 1 { 1 } else { self.plan.queues };
        let capacity = self.room_of_this_life();
        let queues: Vec<_> =
            (0..named).map(|index| QueueOptions { name: format!("c{index}"), capacity }).collect();
        Ok(Log::open(storages, &queues, self.options())?.into())
    }

    /// Opens the log in the place of one that stopped, in the same process.
    pub fn open_again(&self, life: Life) -> Result<Life, OpenError> {
        life.log.close();
        self.disks.restart(false);
        let capacity = self.room_of_this_life();
        let queues = life.log.queues().into_iter();
        let queues: Vec<_> = queues.map(|name| QueueOptions { name, capacity }).collect();
        Ok(life.log.open_again(self.disks.storages(), &queues, self.options())?.into())
    }

    /// How the log is opened.
    pub fn options(&self) -> Options {
        let notices = self.notices.clone();
        Options {
            segment_bytes: SEGMENT_BYTES,
            group_bytes: 8 << 10,
            window_bytes: 3 << 10,
            read_bytes: 2 << 10,
            reserve_bytes: 24 << 10,
            open_segments: 1,
            on_damage: self.on_damage,
            surroundings: Arc::new(self.disks.clone()),
            notice: Arc::new(move |notice| {
                notices.lock().unwrap_or_else(PoisonError::into_inner).push(notice);
            }),
            // The interval never passes by itself: the steps sync.
            sync: match self.plan.unsynced {
                true => Syncs::Every(Duration::from_secs(3600)),
                false => Syncs::Each,
            },
            compression: self.plan.compression,
            keys: (!self.plan.keys.is_empty())
                .then(|| Arc::new(KeyRing(self.plan.keys.clone())) as Arc<dyn Keys>),
            sabotage: self.plan.sabotage,
            ..Options::default()
        }
    }

    /// How much a queue holds, until the next start.
    fn room_of_this_life(&self) -> Count {
        match self.plan.bounded {
            true => {
                let mut dice = Dice::new(self.plan.seed ^ (self.disks.life() << 32));
                Count { events: 20 + dice.below(60), ..UNLIMITED }
            }
            false => UNLIMITED,
        }
    }

    /// A queue, added if it is not there; `None` when the disk refuses that.
    fn queue(&self, life: &Life, queue: u16) -> Option<QueueId> {
        let name = format!("c{queue}");
        life.log.queue(&name).or_else(|| life.log.add_queue(&name, self.room_of_this_life()).ok())
    }

    /// One random operation.
    pub fn step(&mut self, life: &mut Life) -> Result<(), String> {
        match self.dice.below(16) {
            0..6 => self.put(life)?,
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
                    if self.plan.exchanges && self.dice.once_in(2) {
                        self.exchange_lease(life, ids, lease);
                    } else {
                        self.commit_lease(ids, lease);
                    }
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
        if self.plan.unsynced && self.dice.once_in(8) {
            life.committers.iter_mut().for_each(Committer::sync);
        }
        self.hear()?;
        // What was answered before this and lies synced now survives the power, too.
        if !self.disks.crashed()
            && life.committers.iter().all(|committer| committer.unsynced() == 0)
        {
            self.oracle.synced();
        }
        self.check_senders(life)
    }

    /// Takes note of the answers.
    fn hear(&mut self) -> Result<(), String> {
        let answers =
            std::mem::take(&mut *self.answers.lock().unwrap_or_else(PoisonError::into_inner));
        for answer in answers {
            match answer {
                Answer::Put(id, answer) => self.hear_put(id, answer)?,
                Answer::Take(take, answer) => self.hear_take(take, answer),
                Answer::Exchange(take, put, answer) => {
                    self.hear_take(take, answer.clone().map(|_| ()));
                    self.hear_put(put, answer)?;
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
        if self.plan.unsynced {
            self.forget_what_went(life);
        }
        self.check_senders(life)?;
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
        if cleanly && !self.disks.crashed() && self.plan.faults.is_empty() {
            self.oracle.synced();
        }
        self.oracle.process_ended();
        self.lane.renew();
        Ok(())
    }

    /// Starts again, with the power failing during some of the starts.
    pub fn start_again(&mut self, power_was_lost: bool) -> Result<Life, String> {
        self.restart(power_was_lost);
        if self.forked && !self.dice.once_in(4) {
            return self.open().map_err(|error| format!("it does not open again: {error}"));
        }
        self.start_after_crashes()
    }

    fn start_after_crashes(&mut self) -> Result<Life, String> {
        for _ in 0..self.dice.below(3) {
            self.disks
                .crash_at(Some(self.disks.acts() + 1 + self.dice.below(self.plan.start_acts)));
            if let Ok(life) = self.open() {
                self.end(life, false)?;
            }
            self.verdict.crashes += u64::from(self.disks.crashed());
            let lost = self.dice.below(4) > 0;
            self.restart(lost);
        }
        self.open().map_err(|error| format!("it does not open again: {error}"))
    }

    /// The whole of a plan.
    pub fn all(mut self) -> Result<Verdict, String> {
        let life = self.work()?;
        self.verdict.acts = self.disks.acts();
        self.verdict.trace = self.disks.trace();
        let crashed = self.disks.crashed();
        self.verdict.crashes += u64::from(crashed);
        self.end_somehow(life)?;
        let lost = crashed && self.dice.below(4) > 0;
        self.restart(lost);
        self.aftermath()
    }

    /// The machine comes up again, after its power failed or only its process was killed.
    fn restart(&mut self, power_was_lost: bool) {
        let power_was_lost = power_was_lost && self.may_lose_power();
        self.disks.restart(power_was_lost);
        self.make_room();
        if power_was_lost && self.plan.unsynced {
            self.oracle.power_failed();
        }
    }

    /// A start writes, for which a thin disk holds nothing back.
    fn make_room(&self) {
        if self.plan.thin {
            self.disks.limit(usize::MAX);
        }
    }

    /// With several disks and syncs now and then, a sibling's cursor may speak of what the power
    /// took: that is allowed then, and too much for the oracle to know.
    fn may_lose_power(&self) -> bool {
        !self.plan.unsynced || self.plan.disks == 1
    }

    /// Its operations, until they are done or the power fails.
    fn work(&mut self) -> Result<Option<Life>, String> {
        // A sync that failed may cost what it was to cover, if that was acknowledged before.
        self.oracle.losses_allowed = self.plan.unsynced && self.plan.has_faults();
        let mut life = match self.open() {
            Ok(life) => Some(life),
            Err(_) if self.disks.crashed() || self.plan.has_faults() => None,
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
        Ok(life)
    }

    fn end_somehow(&mut self, life: Option<Life>) -> Result<(), String> {
        let Some(life) = life else { return Ok(()) };
        let stopped = self.disks.crashed() || life.log.stopped().is_some();
        let cleanly = self.dice.below(3) > 0 && !stopped;
        self.end(life, cleanly)
    }

    /// The operations of a plan and their end, clean or not, to try several fates from there.
    pub fn until_the_end(plan: Plan) -> Result<Run, String> {
        let mut run = Run::new(plan);
        let life = run.work()?;
        run.end_somehow(life)?;
        run.verdict.acts = run.disks.acts();
        run.verdict.trace = run.disks.trace();
        run.expect_no_damage()?;
        Ok(run)
    }

    /// What comes after, if this is what becomes of the disks: see [`Disks::restart_in`].
    pub fn fate(&self, mood: Option<u64>) -> Result<Verdict, String> {
        let mut run = self.copy(self.plan.sabotage);
        run.forked = true;
        run.dice = Dice::new(
            self.plan.seed ^ self.verdict.acts << 24 ^ mood.map_or(0, |mood| mood + 1) << 56,
        );
        let mood = mood.filter(|_| run.may_lose_power());
        run.disks.restart_in(mood);
        run.make_room();
        if mood.is_some() && run.plan.unsynced {
            run.oracle.power_failed();
        }
        run.aftermath()
    }

    /// What comes after, if the process was killed, and the power fails at this act of the start
    /// that follows, and takes all that was not synced. Says whether the start came so far.
    pub fn fate_of_start(&self, act: u64) -> Result<bool, String> {
        let mut run = self.copy(self.plan.sabotage);
        run.disks.restart_in(None);
        run.disks.crash_at(Some(run.disks.acts() + act));
        if let Ok(life) = run.open() {
            run.end(life, false)?;
        }
        let cut = run.disks.crashed();
        run.disks.restart_in(Some(0));
        run.aftermath().map(|_| cut)
    }

    /// The log of a plan, filled and closed cleanly.
    pub fn closed(plan: Plan) -> Result<Run, String> {
        let steps = plan.steps;
        let mut run = Run::new(plan);
        let mut life = run.open().map_err(|error| error.to_string())?;
        for _ in 0..steps {
            run.step(&mut life)?;
        }
        run.end(life, true)?;
        Ok(run)
    }

    /// Opens a copy after `change` to its disks, and takes out what is left: nothing wrong is
    /// delivered and nothing is missing that is not named.
    pub fn after_damage(&self, change: impl FnOnce(&Disks)) -> Result<Harm, String> {
        let mut copy = self.copy(self.plan.sabotage);
        copy.oracle.losses_allowed = true;
        change(&copy.disks);
        let mut life = match copy.open() {
            Ok(life) => life,
            Err(error) => return Err(format!("it does not open: {error}")),
        };
        copy.inspect(&mut life)?;
        copy.drain(&mut life)?;
        copy.end(life, true)?;
        let named = copy.expect_no_damage().is_err();
        match copy.oracle.lost {
            0 if !named => Ok(Harm::None),
            lost if !named => Err(format!("{lost} events are lost in silence")),
            // A put has at most 20 events, in each of its queues.
            lost if lost <= 20 * self.plan.queues as u64 => Ok(Harm::Named),
            lost => Err(format!("{lost} events are lost, more than a frame has")),
        }
    }

    /// It is opened and looked at; it goes on as if nothing had been; everything comes out, and
    /// nothing comes back.
    fn aftermath(mut self) -> Result<Verdict, String> {
        let mut life = self.start_after_crashes()?;
        self.inspect(&mut life)?;
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
        self.expect_no_silent_loss()?;
        Ok(self.verdict)
    }

    fn expect_no_silent_loss(&self) -> Result<(), String> {
        match (self.expect_no_damage(), self.oracle.lost) {
            (Ok(()), 0) => Ok(()),
            (Ok(()), lost) => Err(format!("{lost} acknowledged events are lost in silence")),
            (Err(_), _) if self.oracle.losses_allowed => Ok(()),
            (Err(why), _) => Err(why),
        }
    }

    fn expect_no_damage(&self) -> Result<(), String> {
        let notices = self.notices.lock().unwrap_or_else(PoisonError::into_inner);
        match notices.iter().any(|notice| matches!(notice, Notice::Damaged(_))) {
            true => Err(format!("damage where nothing was damaged: {notices:?}")),
            false => Ok(()),
        }
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
