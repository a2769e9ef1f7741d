//! The sinks of one group: lease → deliver → commit or roll back. The only place where a take is
//! committed.
//!
//! One task serves a group, as in Flume. The processor picks a sink; a batch that one sink failed
//! to deliver goes to the next without being taken twice, where both drain the same channel. A
//! sink that cannot be opened or that panicked counts as failed and is opened again when its turn
//! comes.
//!
//! A commit need not be through before the next batch is delivered: while a disk syncs, a few
//! more batches go out, and one sync serves the commits of all of them. Should the process be
//! killed in between, what was delivered and not yet committed is delivered again.
//!
//! What a sink gives up for good goes to its channel of dead letters, if it has one, with the commit
//! of the take or before it.

mod dead_letters;
mod unsettled;

use std::sync::Arc;
use std::time::Duration;

use splashdam_config::Section;
use splashdam_core::ledger::{Ledger, Line, What};
use splashdam_core::metrics::{Counter, SinkMetrics};
use splashdam_core::{
    Batch, ChannelError, Context, DeliverError, Delivered, DynSink, Entry, OpenError, Random,
    SinkId, SinkProcessor, Size, Stop, TakeTxn, Then, Trouble, Went,
};
use tokio::time::{Instant, sleep, timeout};
use tracing::{error, info, trace, warn};

use crate::channel_slot::ChannelSlot;
use crate::status::{Phase, Sign};
use crate::supervisor::contained;
use dead_letters::{Burial, Enclosed};
use unsettled::{Settled, Unsettled};

/// The longest that an idle sink goes without a tick.
const TICK: Duration = Duration::from_secs(1);
/// The waits after back-offs and failures in a row grow by this (Flume: 1 s) …
const STEP: Duration = Duration::from_secs(1);
/// … up to this (Flume: 5 s).
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// The wait of a group whose picked sink has nothing to wait for itself.
const STALLED: Duration = Duration::from_millis(50);
/// How long a sink that ends waits for its commits.
const LAST_COMMITS: Duration = Duration::from_secs(5);
/// How often a sink may ask for an immediate second try of the same batch.
const RETRIES: u32 = 3;

/// A sink and what it needs to be opened again.
pub struct Member {
    /// Its line in the list of sinks.
    pub entry: &'static Entry<dyn DynSink>,
    /// Its keys.
    pub section: Section,
    /// Its context.
    pub context: Context,
    /// The channel it drains.
    pub channel: ChannelSlot,
    /// The channel that takes what it rejects.
    pub dead_letters: Option<ChannelSlot>,
    /// Whether what it rejects can come back to the channel that it drains.
    pub goes_round: bool,
    /// Its place on the board.
    pub sign: Sign,
    /// Its lines in the ledger.
    pub tally: SinkTally,
}

/// A sink's lines in the ledger.
#[derive(Clone, Debug, Default)]
pub struct SinkTally {
    out: Arc<Counter>,
    refused: Arc<Counter>,
    /// Into the channel of dead letters.
    dead: Arc<Counter>,
}

struct Worker {
    member: Member,
    title: String,
    metrics: Arc<SinkMetrics>,
    sink: Option<Box<dyn DynSink>>,
    /// Its configuration cannot work: not opened again until that changes.
    broken: Option<String>,
    trouble: Trouble,
    /// That it rejects events.
    rejecting: Trouble,
    /// Commits of what it delivered.
    unsettled: Unsettled,
}

/// The runner of one group.
pub struct SinkRunner {
    processor: Box<dyn SinkProcessor>,
    workers: Vec<Worker>,
    random: Random,
}

/// How a group ends.
#[derive(Clone)]
pub struct Signals {
    /// Deliver what the channels hold, then end.
    pub drain: Stop,
    /// End after the batch in hand.
    pub halt: Stop,
}

/// How one round went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Round {
    Delivered,
    /// Nothing came within a tick's time.
    Idle,
    /// There was nothing to wait for: no channel, or an empty one at the end.
    Stalled,
    BackedOff,
    Failed,
}

impl SinkTally {
    /// The lines of the way from `channel` to `sink`, and from there to the channel that takes what
    /// it rejects.
    pub fn new(ledger: &Ledger, channel: &str, sink: &str, dead_letter: Option<&str>) -> Self {
        let counter = |what| ledger.counter(Line::between(what, channel, sink));
        let dead = dead_letter.map(|to| ledger.counter(Line::between(What::In, sink, to)));
        SinkTally {
            out: counter(What::Out),
            refused: counter(What::Refused),
            dead: dead.unwrap_or_default(),
        }
    }
}

impl SinkRunner {
    /// A runner of `members`, in the order in which `processor` numbers them.
    pub fn new(processor: Box<dyn SinkProcessor>, members: Vec<Member>, random: Random) -> Self {
        let workers = members.into_iter().map(Worker::new).collect();
        SinkRunner { processor, workers, random }
    }

    /// Works until told to end, then closes the sinks.
    pub async fn run(mut self, signals: Signals) {
        for worker in &mut self.workers {
            if signals.halt.or(worker.opened()).await.is_none() {
                break;
            }
        }
        self.cover();
        let (mut misses, mut draining) = (0_u32, false);
        while !signals.halt.requested() {
            if signals.drain.requested() && !std::mem::replace(&mut draining, true) {
                self.workers.iter().for_each(|w| w.member.sign.set(Phase::Draining, None));
            }
            // A group that always finds work still lets others have the thread.
            tokio::task::consume_budget().await;
            let round = self.round(&signals).await;
            self.cover();
            match round {
                Round::Delivered => misses = 0,
                Round::Idle | Round::Stalled if draining && self.drained() => break,
                Round::Idle => misses = 0,
                Round::Stalled => drop(signals.halt.or(sleep(STALLED)).await),
                Round::BackedOff | Round::Failed => {
                    misses = misses.saturating_add(1);
                    let wait = self.random.jitter((STEP * misses).min(LONGEST_WAIT));
                    signals.halt.or(sleep(wait)).await;
                }
            }
        }
        for worker in self.workers {
            worker.close().await;
        }
    }

    /// Shows whether sinks in trouble are stood in for by others of the group that are well.
    fn cover(&self) {
        let troubled = self.workers.iter().filter(|worker| !worker.is_well());
        let covered = self.workers.iter().any(Worker::is_well);
        troubled.for_each(|worker| worker.member.sign.cover(covered));
    }

    /// Whether there is nothing left to deliver, nor anything that may come back.
    fn drained(&self) -> bool {
        self.workers.iter().all(Worker::is_drained)
    }

    /// One batch, offered to one sink after the other until somebody takes it.
    async fn round(&mut self, signals: &Signals) -> Round {
        let mut tried = Vec::new();
        if signals.drain.requested() {
            // At the end the turn goes to sinks whose channels still hold something.
            let ids = (0..self.workers.len()).map(SinkId);
            tried.extend(ids.filter(|id| self.workers[id.0].is_drained()));
            if tried.len() == self.workers.len() {
                return Round::Stalled;
            }
        }
        let mut lease = None;
        self.processor.begin(now());
        loop {
            let Some(id) = self.processor.pick(now(), &tried) else { return Round::Failed };
            let round = self.workers[id.0].attempt(&mut lease, signals).await;
            self.processor.settle(now(), id, went(round));
            if round != Round::Failed || signals.halt.requested() {
                return round;
            }
            tried.push(id);
            self.keep_for_others(&mut lease, id);
        }
    }

    /// A lease is of use to the other sinks only if they drain the same channel.
    fn keep_for_others(&self, lease: &mut Option<TakeTxn>, failed: SinkId) {
        let from = &self.workers[failed.0].member.channel.name;
        if !self.workers.iter().all(|worker| worker.member.channel.name == *from) {
            *lease = None;
        }
    }
}

const fn went(round: Round) -> Went {
    match round {
        Round::Delivered => Went::Delivered,
        Round::Idle | Round::Stalled => Went::Idle,
        Round::BackedOff => Went::BackedOff,
        Round::Failed => Went::Failed,
    }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

impl Worker {
    fn new(member: Member) -> Self {
        let (title, metrics) = (member.context.title(), member.context.counters.sink());
        Worker {
            member,
            title,
            metrics,
            sink: None,
            broken: None,
            trouble: Trouble::new(),
            rejecting: Trouble::new(),
            unsettled: Unsettled::default(),
        }
    }

    fn is_well(&self) -> bool {
        self.sink.is_some() && !self.trouble.is_on()
    }

    fn is_drained(&self) -> bool {
        let level = self.member.channel.now().map(|channel| channel.level());
        level.is_none_or(|level| level.queued.events == 0 && level.leased.events == 0)
    }

    /// Takes a batch, or the one in `lease`, and delivers it. A lease that was not delivered
    /// stays in `lease` if another sink may try, and is rolled back otherwise.
    async fn attempt(&mut self, lease: &mut Option<TakeTxn>, signals: &Signals) -> Round {
        if !self.opened().await {
            return Round::Failed;
        }
        if self.make_room(signals).await.is_err() {
            return Round::BackedOff;
        }
        let Some(sink) = &self.sink else { return Round::Failed };
        let (limit, full) = (sink.limit(), sink.batch_events());
        let held = lease.take().filter(|held| held.batch().size().fits(limit));
        let txn = match held {
            Some(held) => held,
            None => match self.take(limit, signals).await {
                Ok(Some(txn)) => txn,
                Ok(None) => return self.idle().await,
                Err(round) => return round,
            },
        };
        self.count_batch(txn.batch(), full);
        match self.deliver(txn.batch()).await {
            Ok(delivered) => match self.bury(txn.batch(), &delivered.rejected, signals).await {
                Burial::Done => self.commit(txn, delivered, None).await,
                Burial::WithTake(letters) => self.commit(txn, delivered, Some(letters)).await,
                Burial::Waits => {
                    txn.rollback();
                    Round::BackedOff
                }
            },
            Err(error) => {
                self.metrics.write_failures.add(1);
                self.note(&error.to_string());
                if error.then == Then::FailOver {
                    *lease = Some(txn);
                    return Round::Failed;
                }
                txn.rollback();
                Round::BackedOff
            }
        }
    }

    /// Leases a batch; `None` when there was nothing within a tick's time.
    async fn take(&mut self, limit: Size, signals: &Signals) -> Result<Option<TakeTxn>, Round> {
        let open = tokio::select! {
            biased;
            open = self.member.channel.open(&signals.halt) => open,
            // One that is not open by now has nothing to drain.
            () = signals.drain.wait() => None,
        };
        let Some(open) = open else { return Err(Round::Stalled) };
        let draining = signals.drain.requested();
        let begin = timeout(TICK, TakeTxn::begin(&*open.channel, &open.metrics, limit));
        tokio::pin!(begin);
        let begun = loop {
            tokio::select! {
                biased;
                begun = &mut begin => break begun,
                Some(settled) = self.unsettled.next() => {
                    self.settle(settled).await?;
                    if draining && self.is_drained() {
                        return Ok(None);
                    }
                }
                () = signals.halt.wait() => return Ok(None),
                () = signals.drain.wait(), if !draining => return Ok(None),
            }
        };
        match begun {
            Err(_) => Ok(None),
            // Nothing came, or nothing that can be read: that is taken for good, as it would come
            // first again and again.
            Ok(Ok(txn)) if txn.batch().is_empty() => match txn.commit().await {
                Ok(()) => Ok(None),
                Err(error) => Err(self.could_not_take(&error)),
            },
            Ok(Ok(txn)) => Ok(Some(txn)),
            Ok(Err(error)) => Err(self.could_not_take(&error)),
        }
    }

    fn could_not_take(&mut self, error: &ChannelError) -> Round {
        self.metrics.channel_read_failures.add(1);
        self.note(&error.to_string());
        Round::BackedOff
    }

    /// Begins to commit what was delivered, and sees to what has been committed meanwhile.
    async fn commit(
        &mut self,
        txn: TakeTxn,
        delivered: Delivered,
        letters: Option<Enclosed>,
    ) -> Round {
        let pause = delivered.pause;
        self.unsettled.push(txn, delivered.events, letters);
        while let Some(settled) = self.unsettled.ready() {
            if let Err(round) = self.settle(settled).await {
                return round;
            }
        }
        self.tick().await;
        if pause { Round::BackedOff } else { Round::Delivered }
    }

    /// Waits until another commit may be begun, or a halt.
    async fn make_room(&mut self, signals: &Signals) -> Result<(), Round> {
        while self.unsettled.is_full() {
            match signals.halt.or(self.unsettled.next()).await {
                Some(Some(settled)) => self.settle(settled).await?,
                Some(None) | None => break,
            }
        }
        Ok(())
    }

    /// Counts a commit that is through. What was under way beside one that failed mostly shares
    /// its fate, for the sake of one sync: that is one failure, to be waited after once.
    async fn settle(&mut self, settled: Settled) -> Result<(), Round> {
        if let Err(error) = settled.done {
            self.metrics.channel_read_failures.add(1);
            self.note(&format!("{error}; the batch was delivered and may be delivered again"));
            while let Ok(Some(other)) = timeout(STALLED, self.unsettled.next()).await {
                match other.done {
                    Ok(()) => self.count_delivered(&other),
                    Err(_) => self.metrics.channel_read_failures.add(1),
                }
            }
            return Err(Round::BackedOff);
        }
        self.count_delivered(&settled);
        self.well();
        trace!(component = %self.title, events = settled.delivered, "delivered");
        Ok(())
    }

    fn count_delivered(&self, settled: &Settled) {
        self.metrics.drain_successes.add(settled.delivered);
        self.member.tally.out.add(settled.delivered);
        self.member.tally.refused.add(settled.taken.saturating_sub(settled.delivered));
        self.count_letters(settled.letters);
    }

    /// Delivers, again at once if the sink asks for it, a few times. A panic drops the sink.
    async fn deliver(&mut self, batch: &Batch) -> Result<Delivered, DeliverError> {
        let mut tries = 0;
        loop {
            let Some(sink) = &mut self.sink else {
                return Err(DeliverError::fail_over("the sink is not open"));
            };
            let done = contained(&self.title, sink.deliver(batch)).await.unwrap_or_else(|panic| {
                self.sink = None;
                Err(DeliverError::fail_over(panic))
            });
            match done {
                Err(error) if error.then == Then::RetryNow && tries < RETRIES => tries += 1,
                done => return done,
            }
        }
    }

    async fn idle(&mut self) -> Round {
        self.metrics.batches_empty.add(1);
        self.tick().await;
        Round::Idle
    }

    async fn tick(&mut self) {
        let Some(sink) = &mut self.sink else { return };
        match contained(&self.title, sink.tick()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.note(&error.to_string()),
            Err(panic) => {
                self.sink = None;
                self.note(&panic);
            }
        }
    }

    /// Opens the sink if it is not open, and says whether it is.
    async fn opened(&mut self) -> bool {
        if self.sink.is_some() {
            return true;
        }
        if let Some(why) = &self.broken {
            self.member.sign.set(Phase::Closed, Some(why));
            return false;
        }
        let Member { entry, section, context, .. } = &self.member;
        let open = contained(&self.title, entry.open(section.clone(), context.clone())).await;
        match open.unwrap_or_else(|panic| Err(OpenError::unavailable(panic))) {
            Ok(sink) => {
                self.sink = Some(sink);
                self.member.sign.set(Phase::Running, None);
                self.well();
                true
            }
            Err(error @ OpenError::Unavailable(_)) => {
                self.metrics.connections_failed.add(1);
                self.note_unopened(&error);
                false
            }
            Err(error @ OpenError::Config(_)) => {
                let text = error.to_string();
                error!(component = %self.title, error = %text, "cannot be opened as it is configured; it stays closed until its configuration changes");
                self.member.sign.set(Phase::Closed, Some(&text));
                self.broken = Some(text);
                false
            }
        }
    }

    async fn close(mut self) {
        let settle_all = async {
            while let Some(settled) = self.unsettled.next().await {
                // What failed has been noted.
                let _round = self.settle(settled).await;
            }
        };
        if timeout(LAST_COMMITS, settle_all).await.is_err() {
            self.note(
                "commits take too long; their batches were delivered and may be delivered again",
            );
        }
        if let Some(sink) = self.sink.take() {
            match contained(&self.title, sink.close()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => warn!(component = %self.title, %error, "did not close cleanly"),
                Err(_) => {}
            }
        }
        self.member.sign.set(Phase::Closed, None);
    }

    /// Counts what is taken, in batches of `full` events: a sink may take several at once.
    fn count_batch(&self, batch: &Batch, full: usize) {
        self.metrics.drain_attempts.add(batch.len());
        let full = full.max(1);
        self.metrics.batches_complete.add(batch.len() / full);
        self.metrics.batches_underflow.add(usize::from(!batch.len().is_multiple_of(full)));
    }

    /// What a peer will mend by itself is a warning, what somebody has to mend is an error.
    fn note_unopened(&mut self, error: &OpenError) {
        let text = error.to_string();
        if !error.needs_hand() {
            return self.note(&text);
        }
        self.member.sign.set(Phase::Waiting, Some(&text));
        if let Some(repeats) = self.trouble.happened(now(), &text) {
            let repeats = (repeats > 0).then_some(repeats);
            error!(component = %self.title, error = %text, repeats, "cannot be opened until somebody mends that; its events stay in the channel, and it is tried again");
        }
    }

    fn note(&mut self, what: &str) {
        self.note_as(what, what);
    }

    /// As `note`, for words with numbers in them: `key` tells one trouble from another.
    fn note_as(&mut self, key: &str, what: &str) {
        self.member.sign.set(Phase::Waiting, Some(what));
        if let Some(repeats) = self.trouble.happened(now(), key) {
            // Said only where it is news.
            let repeats = (repeats > 0).then_some(repeats);
            warn!(component = %self.title, error = %what, repeats, "the batch stays in the channel and is tried again");
        }
    }

    fn well(&mut self) {
        if let Some(lasted) = self.trouble.ended(now()) {
            info!(component = %self.title, ?lasted, "delivers again");
            self.member.sign.set(Phase::Running, None);
        }
    }
}

#[cfg(test)]
mod tests;
