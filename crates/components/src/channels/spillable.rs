//! Channel `SPILLABLEMEMORY`: batches in memory, and on disk while memory is full.
//!
//! Flume's class: `org.apache.flume.channel.SpillableMemoryChannel`. A batch goes to memory or to
//! the overflow, which is a file channel, and whole. Events leave in the order they came, wherever
//! they lie; a take has events of one place only. A crash loses what is in memory and nothing else;
//! a clean stop writes memory down beside the overflow, and the order of both. A log that stopped, as
//! its disks failed, is opened again, and the order follows what it turns out to have.

mod again;
mod config;
mod hold;
mod kept;
mod lease;
mod order;

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use splashdam_config::{Diagnostic, Section};
use splashdam_core::metrics::{ChannelMetrics, Counters};
use splashdam_core::{
    Batch, BoxFuture, Channel, ChannelError, Component, Context, Facts, Level, LogTerms, OpenError,
    Put, Role, Size, Take,
};
use tokio::sync::Notify;

use crate::channels::file::{FileChannel, OpenedLog};
use crate::channels::memory::queue::{Queue, Run};
pub use config::Config;
use config::Limits;
use order::{Order, Ticket};

/// The channel.
pub struct Spillable(Arc<Inner>);

struct Inner {
    name: Arc<str>,
    metrics: Arc<ChannelMetrics>,
    state: Mutex<State>,
    overflow: Option<Overflow>,
    /// Whose turn it is to wait for room, so that large batches get some.
    turn: tokio::sync::Mutex<()>,
    /// Told when events or room came, and when the channel closes.
    changed: Notify,
    /// Never told.
    quiet: Notify,
}

/// Two queues of one log.
struct Overflow {
    main: FileChannel,
    /// What was in memory when the channel was closed.
    kept: FileChannel,
}

struct State {
    limits: Limits,
    order: Order,
    /// The log that the order speaks of.
    log: Option<OpenedLog>,
    /// How many logs there were before it: what left the order of another finds no place in this.
    life: u64,
    memory: Queue,
    /// Of memory, by events in the queue, leased or to be put.
    used: Used,
    /// Whether puts go to the overflow without waiting for memory.
    spilling: bool,
    /// What of memory the last put would have needed, if neither place took it.
    refused: Option<Used>,
    leases: BTreeMap<u64, Leased>,
    next_lease: u64,
    /// Commits that the log was asked for and has not answered.
    under_way: usize,
    closed: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Used {
    events: usize,
    slots: usize,
}

/// How many events of memory are not written down at a stop: lost when it is dropped, be it that the
/// log refused them or that nobody waited any longer.
struct Unwritten {
    events: AtomicUsize,
    metrics: Arc<ChannelMetrics>,
}

/// What a lease puts back.
struct Leased {
    ticket: Ticket,
    /// Of memory.
    run: Option<Run>,
}

impl Component for Spillable {
    const TYPE: &'static str = "SPILLABLEMEMORY";
    const ALIASES: &'static [&'static str] = &["org.apache.flume.channel.SpillableMemoryChannel"];
    type Config = Config;

    async fn open(config: Config, cx: Context) -> Result<Self, OpenError> {
        let refusals = config.refusals(None);
        if !refusals.is_empty() {
            return Err(OpenError::Config(refusals));
        }
        let (mut order, mut overflow) = (Order::default(), None);
        if let Some(file) = config.overflow() {
            let name = kept::name(&cx.name);
            let beside = Context { name, counters: Counters::new(Role::Channel), ..cx.clone() };
            let main = FileChannel::open(file.clone(), cx.clone()).await?;
            let kept = FileChannel::open(kept::config(file), beside).await?;
            let log = main.open_log();
            order = kept::order(&cx.name, &main, &kept, &log);
            overflow = Some((Overflow { main, kept }, log));
        }
        let (overflow, log) = overflow.unzip();
        Ok(Spillable(Arc::new(Inner {
            name: cx.name,
            metrics: cx.counters.channel(),
            state: Mutex::new(State {
                limits: config.limits(),
                order,
                log,
                life: 0,
                memory: Queue::default(),
                used: Used::default(),
                spilling: false,
                refused: None,
                leases: BTreeMap::new(),
                next_lease: 0,
                under_way: 0,
                closed: false,
            }),
            overflow,
            turn: tokio::sync::Mutex::new(()),
            changed: Notify::new(),
            quiet: Notify::new(),
        })))
    }

    fn facts(config: &Config) -> Facts {
        let limits = config.limits();
        let Some(file) = config.overflow() else {
            return Facts {
                transaction_events: Some(limits.transaction_events),
                capacity_events: Some(limits.memory_events),
                capacity_key: Some("memoryCapacity"),
                place: Some(format!("holds up to {} events in memory", limits.memory_events)),
                memory_bytes: Some(limits.memory_bytes() as u64),
                memory_key: Some("byteCapacity"),
                durable: false,
                process_crash: Some("everything in the channel is lost"),
                machine_crash: Some("everything in the channel is lost"),
                ..Facts::default()
            };
        };
        let mut overflow =
            Facts { capacity_key: Some("overflowCapacity"), ..FileChannel::facts(&file) };
        // The order of its events lies beside them, so it takes and puts in commits of its own.
        overflow.log = overflow.log.map(|log| LogTerms { joint: false, ..log });
        let place = overflow.place.as_deref().unwrap_or_default();
        let window = overflow.memory_bytes.unwrap_or_default().saturating_mul(2);
        if limits.memory_events == 0 {
            return Facts { memory_bytes: Some(window), ..overflow };
        }
        let loses = "nothing that was committed to the overflow is lost; what is in memory, be it older or newer, is lost";
        Facts {
            capacity_events: Some(limits.memory_events.saturating_add(limits.overflow_events)),
            volatile_events: Some(limits.memory_events),
            place: Some(format!(
                "holds up to {} events in memory; when these are too many, it {place}",
                limits.memory_events
            )),
            memory_bytes: Some(window.saturating_add(limits.memory_bytes() as u64)),
            memory_key: Some("byteCapacity"),
            durable: false,
            process_crash: Some(loses),
            machine_crash: Some(if file.fsync_per_transaction {
                loses
            } else {
                "what was committed to the overflow since the last sync may be lost (fsyncPerTransaction is false, so that is up to fsyncInterval ago), and what was taken since then comes again; what is in memory, be it older or newer, is lost"
            }),
            ..overflow
        }
    }

    fn check(config: &Config, section: &Section) -> Vec<Diagnostic> {
        let mut findings = config.refusals(Some(section));
        findings.extend(config::remarks(config, section));
        if let Some(mut file) = config.overflow().filter(|_| findings.is_empty()) {
            // What is wrong with these was said in this channel's own words.
            file.capacity = splashdam_config::Lenient(Some(i64::MAX));
            findings.extend(FileChannel::check(&file, section));
        }
        findings
    }
}

impl Inner {
    // The lock guards plain values that every method leaves whole, so a panic elsewhere while it
    // was held does not spoil them.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn closed_error(&self) -> ChannelError {
        ChannelError::Closed { channel: self.name.clone() }
    }

    /// Tries whenever something changed.
    async fn when<T>(
        &self,
        mut attempt: impl FnMut() -> Result<Option<T>, ChannelError>,
    ) -> Result<T, ChannelError> {
        let log = self.overflow.as_ref();
        let told = [
            &self.changed,
            log.map_or(&self.quiet, |log| log.main.changed()),
            log.map_or(&self.quiet, |log| log.kept.changed()),
        ];
        loop {
            let [own, main, kept] = told.map(Notify::notified);
            let (mut own, mut main, mut kept) = (pin!(own), pin!(main), pin!(kept));
            own.as_mut().enable();
            main.as_mut().enable();
            kept.as_mut().enable();
            if let Some(done) = attempt()? {
                return Ok(done);
            }
            tokio::select! {
                () = own => {}
                () = main => {}
                () = kept => {}
            }
        }
    }

    fn level(&self) -> Level {
        let (memory, leased, limits) = {
            let state = self.state();
            (state.memory.queued, state.memory.leased, state.limits)
        };
        let capacity = Size { events: limits.memory_events, bytes: limits.memory_bytes() };
        let mut level = Level { queued: memory, leased, capacity };
        if let Some(Overflow { main, kept }) = &self.overflow {
            let (main, kept) = (main.level(), kept.level());
            level.queued += main.queued + kept.queued;
            level.leased += main.leased + kept.leased;
            level.capacity += main.capacity;
        }
        level
    }

    /// What keeps the overflow from taking anything, as long as memory has no room either for what
    /// was put last.
    fn hindrance(&self) -> Option<String> {
        let full = {
            let state = self.state();
            let Used { events, slots } = state.used;
            let lacks = |wanted| !state.has_room(wanted);
            events >= state.limits.memory_events
                || slots >= state.limits.slots
                || state.refused.is_some_and(lacks)
        };
        let overflow = self.overflow.as_ref().filter(|_| full);
        overflow.and_then(|overflow| overflow.main.hindrance())
    }

    /// Writes down what is in memory, behind what was written down before. Who waits no longer for
    /// that loses what is not written by then; it is counted.
    async fn close(&self) -> Result<(), ChannelError> {
        let memory = {
            let mut state = self.state();
            if std::mem::replace(&mut state.closed, true) {
                return Ok(());
            }
            self.follow(&mut state);
            for (_, leased) in std::mem::take(&mut state.leases) {
                state.put_back(leased);
            }
            state.memory.queued.events
        };
        // Without an overflow nobody expects it to be written down: it goes with the channel.
        let doomed = if self.overflow.is_some() { memory } else { 0 };
        let unwritten = Unwritten { events: doomed.into(), metrics: self.metrics.clone() };
        self.changed.notify_waiters();
        self.when(|| Ok((self.state().under_way == 0).then_some(()))).await?;
        let Some(Overflow { main, kept }) = &self.overflow else {
            self.state().forget_memory();
            return Ok(());
        };
        let (runs, batches) = {
            let mut state = self.state();
            self.follow(&mut state);
            (state.order.runs().collect::<Vec<_>>(), state.forget_memory())
        };
        unwritten.events.store(batches.iter().map(Batch::len).sum(), Relaxed);
        let written = kept::write(&self.name, main, kept, &runs, batches, &unwritten).await;
        let events = unwritten.events();
        drop(unwritten);
        kept.close().await?;
        main.close().await?;
        let Err(why) = written else { return Ok(()) };
        Err(ChannelError::Failed {
            channel: self.name.clone(),
            reason: format!(
                "{events} events in memory could not be written down and are lost: {why}"
            )
            .into(),
        })
    }
}

impl Unwritten {
    /// So many are written.
    fn written(&self, events: usize) {
        self.events.fetch_sub(events, Relaxed);
    }

    fn events(&self) -> usize {
        self.events.load(Relaxed)
    }
}

impl Drop for Unwritten {
    fn drop(&mut self) {
        self.metrics.events_lost.add(self.events());
    }
}

impl State {
    fn put_back(&mut self, leased: Leased) {
        if let Some(run) = leased.run {
            self.memory.put_back(run);
        }
        self.order.put_back(leased.ticket);
    }

    /// Empties memory.
    fn forget_memory(&mut self) -> Vec<Batch> {
        let mut all = Vec::new();
        while let Some(run) = self.memory.take(kept::BATCH) {
            self.memory.forget(&run.batch);
            all.push(run.batch);
        }
        all
    }
}

/// Slots that a batch takes: each body rounded up to whole slots, at least one.
fn slots_of(batch: &Batch, slot_bytes: usize) -> usize {
    batch.events().iter().map(|event| event.body.len().div_ceil(slot_bytes).max(1)).sum()
}

impl Channel for Spillable {
    fn begin_put(&self, size: Size) -> BoxFuture<'_, Result<Box<dyn Put>, ChannelError>> {
        Box::pin(hold::hold(&self.0, size))
    }

    fn begin_take(&self, limit: Size) -> BoxFuture<'_, Result<Box<dyn Take>, ChannelError>> {
        Box::pin(lease::lease(&self.0, limit))
    }

    fn level(&self) -> Level {
        self.0.level()
    }

    fn hindrance(&self) -> Option<String> {
        self.0.hindrance()
    }

    fn close(&self) -> BoxFuture<'_, Result<(), ChannelError>> {
        Box::pin(self.0.close())
    }

    fn reconfigure(&self, section: &Section) -> bool {
        let Some(config) = section.read::<Config>().value else { return false };
        let limits = config.limits();
        // What is in memory was counted in slots of this size.
        if !config.refusals(None).is_empty()
            || limits.slot_bytes != self.0.state().limits.slot_bytes
        {
            return false;
        }
        let adopted = match (&self.0.overflow, config.overflow()) {
            (None, None) => true,
            (Some(log), Some(file)) => log.main.adopt(&file) && log.kept.adopt(&kept::config(file)),
            _ => false,
        };
        if adopted {
            self.0.state().limits = limits;
            self.0.changed.notify_waiters();
        }
        adopted
    }

    fn volatile(&self) -> bool {
        self.0.overflow.is_none()
    }
}

#[cfg(test)]
mod tests;
