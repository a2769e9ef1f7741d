//! Batches that say where they come from are stored once: one task for each sender owns what is
//! known of it, and puts its batches one behind the other, whatever connections they come over.
//!
//! What is known ([`Known`]) lies beside each batch in the channel, as its origin's position, in the
//! same commit. The origin's own sequence counts the batches that are put here; the log refuses what
//! is behind a batch that failed, so that a batch that is stored with a position means that all of
//! what the position speaks of is stored. After a refusal the task waits for what is under way, asks
//! the channel where it stands and goes on in a new epoch.
//!
//! A batch is answered `OK` without being put only when the channel has all of its events already.
//!
//! That is so for Avro and for Thrift, and only where all required channels lie in one log. Several logs may stand apart, and a
//! selector may send a batch to some of them: there the caller puts batches plainly.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use sha1::{Digest, Sha1};
use splashdam_core::pipeline::{Put, Settled};
use splashdam_core::{Batch, Context, Origin, Outlet, Pipeline, Size};
use splashdam_wire::claim::Claim;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::known::Known;
use crate::simulation::planted;

/// Batches that wait for a sender's task; who has more waits.
const WAITING: usize = 16;
/// What a sender has under way at once.
const UNDER_WAY: Size = Size { events: 65_536, bytes: 8 * 1024 * 1024 };
/// A task ends when its sender was silent for so long; what it knows lies in the channel.
const SILENCE: Duration = Duration::from_secs(10);
/// The most tasks. Batches of further senders are stored without their origin.
const MOST_SENDERS: usize = 1024;

/// The senders at work. Their tasks end with it.
pub(in crate::sources) struct Senders {
    out: Outlet,
    /// The source's name: what it knows is not what another source of the same channel knows.
    source: Arc<str>,
    desks: Arc<Mutex<Desks>>,
    #[cfg(feature = "simulation")]
    simulation: Arc<crate::Simulation>,
}

/// The way to a sender's task, which does not end while somebody holds it.
pub(in crate::sources) struct Inbox(mpsc::Sender<Delivery>);

#[derive(Default)]
struct Desks {
    inboxes: HashMap<[u8; 16], mpsc::Sender<Delivery>>,
    tasks: JoinSet<()>,
}

/// The place of a caller's batch among those that it puts.
#[derive(Default)]
pub(in crate::sources) struct Turn {
    before: Option<oneshot::Receiver<()>>,
    /// Dropped when it is the next one's turn.
    passes: Option<oneshot::Sender<()>>,
}

/// Gives turns, one behind the other.
#[derive(Default)]
pub(in crate::sources) struct Turns(Option<oneshot::Receiver<()>>);

/// A batch, and whoever waits for it.
struct Delivery {
    batch: Batch,
    claim: Claim,
    reply: Reply,
}

/// Whoever waits for a batch.
struct Reply {
    to: oneshot::Sender<Result<(), NotStored>>,
    refused: Refused,
}

/// Why a batch is not stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::sources) enum NotStored {
    /// It was refused.
    Refused {
        /// What tells one trouble from another.
        key: String,
        why: String,
    },
    /// Nobody was asked, since one before it was refused.
    Behind,
}

/// Whether a batch of a connection was refused. What came behind it over that connection is refused
/// from then on, or it would be stored before it.
#[derive(Clone, Debug, Default)]
pub(in crate::sources) struct Refused(Arc<AtomicBool>);

/// A batch's place in the sender's life: epoch and sequence.
type Order = (u64, u64);

/// One sender's task.
struct Desk {
    out: Outlet,
    /// By what the channel knows the sender.
    key: [u8; 16],
    known: Known,
    epoch: u64,
    sequence: u64,
    /// Where the channel stood when it was last heard of.
    stands: Option<Order>,
    pipeline: Pipeline<(Reply, Order)>,
    /// A batch was refused, and what was put behind it is under way.
    broken: bool,
    /// Has events that are under way already: how that ends must be known first.
    held: Option<Delivery>,
    entry: Entry,
    #[cfg(feature = "simulation")]
    simulation: Arc<crate::Simulation>,
}

/// A sender's place among all; gone before its task has ended, however it does.
struct Entry {
    sender: [u8; 16],
    /// Who drops the senders drops their tasks with them.
    desks: Weak<Mutex<Desks>>,
}

impl Entry {
    /// Takes the place away if nobody has anything for the task or may yet send it something. Whoever
    /// asks for the sender from then on gets another task; calls never wait for one to end, which
    /// would let those behind them overtake.
    fn leave(&self, deliveries: &mpsc::Receiver<Delivery>) -> bool {
        let Some(desks) = self.desks.upgrade() else { return true };
        let mut desks = locked(&desks);
        let held = |inbox: &mpsc::Sender<_>| inbox.strong_count() > 1;
        if !deliveries.is_empty() || desks.inboxes.get(&self.sender).is_some_and(held) {
            return false;
        }
        desks.inboxes.remove(&self.sender);
        true
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let Some(desks) = self.desks.upgrade() else { return };
        let mut desks = locked(&desks);
        // Still there only after a panic; another task may have the place already.
        if desks.inboxes.get(&self.sender).is_some_and(mpsc::Sender::is_closed) {
            desks.inboxes.remove(&self.sender);
        }
    }
}

impl Refused {
    fn set(&self) {
        self.0.store(true, Relaxed);
    }

    fn is_set(&self) -> bool {
        self.0.load(Relaxed)
    }
}

impl Turns {
    /// The next one.
    pub(in crate::sources) fn next(&mut self) -> Turn {
        let (passes, next) = oneshot::channel();
        Turn { before: self.0.replace(next), passes: Some(passes) }
    }
}

impl NotStored {
    /// After a panic, or as the source is cut off.
    fn ended() -> Self {
        let why = "what stores the batches of its sender has ended".to_owned();
        NotStored::Refused { key: "ended".to_owned(), why }
    }
}

impl Reply {
    /// Says that the batch is stored, and goes on as one that nobody waits for.
    #[cfg(feature = "simulation")]
    fn said(self) -> Reply {
        let refused = self.refused.clone();
        self.say(Ok(()));
        Reply { to: oneshot::channel().0, refused }
    }

    fn say(self, stored: Result<(), NotStored>) {
        if stored.is_err() {
            self.refused.set();
        }
        // Whoever asked may be gone.
        self.to.send(stored).ok();
    }
}

fn locked(desks: &Mutex<Desks>) -> MutexGuard<'_, Desks> {
    desks.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Senders {
    /// None at work yet, for the source of this context.
    pub(in crate::sources) fn new(out: Outlet, cx: &Context) -> Self {
        Senders {
            out,
            source: cx.name.clone(),
            desks: Arc::default(),
            #[cfg(feature = "simulation")]
            simulation: cx.shared.of(),
        }
    }

    /// How many senders have a task.
    #[cfg(test)]
    pub(in crate::sources) fn at_work(&self) -> usize {
        locked(&self.desks).inboxes.len()
    }

    /// Waits until all tasks are through; nothing is put any more.
    pub(in crate::sources) async fn end(&self) {
        let mut tasks = {
            let mut desks = locked(&self.desks);
            desks.inboxes.clear();
            std::mem::take(&mut desks.tasks)
        };
        while tasks.join_next().await.is_some() {}
    }

    /// The way to a sender's task, which begins if there is none; `None` where there are too many.
    /// What one caller puts into inboxes of the same sender in some order is stored in that order.
    pub(in crate::sources) fn inbox(&self, sender: [u8; 16]) -> Option<Inbox> {
        let mut desks = locked(&self.desks);
        while desks.tasks.try_join_next().is_some() {}
        if let Some(inbox) = desks.inboxes.get(&sender).filter(|inbox| !inbox.is_closed()) {
            return Some(Inbox(inbox.clone()));
        }
        if desks.tasks.len() >= MOST_SENDERS {
            return None;
        }
        let (inbox, deliveries) = mpsc::channel(WAITING);
        let entry = Entry { sender, desks: Arc::downgrade(&self.desks) };
        let desk = Desk::new(self, entry);
        desks.tasks.spawn(desk.work(deliveries));
        desks.inboxes.insert(sender, inbox.clone());
        Some(Inbox(inbox))
    }

    fn key(&self, sender: [u8; 16]) -> [u8; 16] {
        let mut sum = Sha1::new();
        sum.update(sender);
        sum.update(self.source.as_bytes());
        let sum: [u8; 20] = sum.finalize().into();
        std::array::from_fn(|byte| sum[byte])
    }
}

impl Inbox {
    /// Stores what of a batch is not stored yet; an error where not all of it is then. Nothing is stored behind
    /// what was refused. Not cancel-safe in that the batch may be stored all the same.
    pub(in crate::sources) async fn put(
        self,
        batch: Batch,
        claim: Claim,
        refused: Refused,
    ) -> Result<(), NotStored> {
        self.put_in_turn(batch, claim, refused, Turn::default()).await
    }

    /// As `put`, but not handed over before the one whose turn comes first, whichever of them is polled first.
    pub(in crate::sources) async fn put_in_turn(
        self,
        batch: Batch,
        claim: Claim,
        refused: Refused,
        Turn { before, passes }: Turn,
    ) -> Result<(), NotStored> {
        if let Some(before) = before {
            // Passed on, or given up.
            before.await.ok();
        }
        let (to, answer) = oneshot::channel();
        let delivery = Delivery { batch, claim, reply: Reply { to, refused } };
        // It fails only where the task panicked, as it does not end while this is held.
        if let Err(back) = self.0.send(delivery).await {
            back.0.reply.say(Err(NotStored::ended()));
        }
        drop(passes);
        answer.await.unwrap_or_else(|_| Err(NotStored::ended()))
    }
}

impl Desk {
    fn new(all: &Senders, entry: Entry) -> Self {
        let pipeline = Pipeline::new(all.out.clone(), UNDER_WAY);
        Desk {
            out: all.out.clone(),
            key: all.key(entry.sender),
            known: Known::default(),
            epoch: 0,
            sequence: 0,
            stands: None,
            pipeline,
            broken: false,
            held: None,
            entry,
            #[cfg(feature = "simulation")]
            simulation: all.simulation.clone(),
        }
    }

    /// Goes by what the channel knows, in a new epoch.
    fn recall(&mut self) {
        let last = self.out.last_of(self.key);
        self.known =
            last.as_ref().and_then(|last| Known::decode(&last.position)).unwrap_or_default();
        self.stands = last.map(|last| last.order());
        // An epoch that failed may not have reached the channel.
        self.epoch = self.out.newest_epoch(self.key).max(self.epoch) + 1;
        self.sequence = 0;
        if planted!(self, EpochIgnored) {
            self.epoch = 1;
        }
        if planted!(self, SequenceReused)
            && let Some((epoch, sequence)) = self.stands
        {
            (self.epoch, self.sequence) = (epoch, sequence.saturating_sub(1));
        }
    }

    async fn work(mut self, mut deliveries: mpsc::Receiver<Delivery>) {
        // What an earlier task left behind that was cut off must be known first.
        self.out.settled(self.key).await;
        self.recall();
        let mut open = true;
        loop {
            let idle = self.pipeline.is_empty();
            if idle && !open {
                break;
            }
            let takes = open
                && !self.broken
                && self.held.is_none()
                && !self.pipeline.is_full(Size { events: 1, bytes: 1 });
            tokio::select! {
                biased;
                Some(settled) = self.pipeline.settle(), if !idle => self.settled(settled),
                next = timeout(SILENCE, deliveries.recv()), if takes => match next {
                    Ok(Some(delivery)) => self.take(delivery),
                    Ok(None) => open = false,
                    Err(_) if idle && self.entry.leave(&deliveries) => break,
                    Err(_) => {}
                },
            }
        }
    }

    fn take(&mut self, delivery: Delivery) {
        if delivery.reply.refused.is_set() && !planted!(self, RefusalForgotten) {
            return delivery.reply.say(Err(NotStored::Behind));
        }
        // A log that stopped may have more when it is opened again than was heard of it.
        if self.pipeline.is_empty() && self.last_order() != self.stands {
            self.recall();
        }
        let fresh = self.known.fresh(&delivery.claim);
        let all = delivery.batch.len();
        let count: usize = fresh.iter().map(ExactSizeIterator::len).sum();
        if count < all && !self.pipeline.is_empty() {
            self.held = Some(delivery);
            return;
        }
        let Delivery { batch, claim, reply } = delivery;
        self.out.metrics().events_repeated.add(all - count);
        if count == 0 {
            return reply.say(Ok(()));
        }
        let batch = match count == all {
            true => batch,
            false => {
                let events = batch.into_events();
                fresh.into_iter().flat_map(|range| events[range].iter().cloned()).collect()
            }
        };
        let before = planted!(self, StateAfterAnswer).then(|| self.known.encode());
        self.known.add(&claim);
        self.sequence += 1;
        #[cfg(feature = "simulation")]
        let reply = if planted!(self, AnswerBeforeStored) { reply.said() } else { reply };
        let origin = Origin {
            sender: self.key,
            epoch: self.epoch,
            sequence: self.sequence,
            position: before.unwrap_or_else(|| self.known.encode()),
        };
        let order = origin.order();
        self.pipeline.put(batch.with_origin(Some(origin)), (reply, order));
    }

    fn last_order(&self) -> Option<Order> {
        self.out.last_of(self.key).map(|last| last.order())
    }

    fn settled(&mut self, Settled { token: (reply, order), went }: Settled<(Reply, Order)>) {
        let stored = match went {
            Put::Stored => Ok(()),
            Put::Refused(error) => {
                Err(NotStored::Refused { key: error.key(), why: error.to_string() })
            }
            Put::Behind(_) => Err(NotStored::Behind),
        };
        self.broken |= stored.is_err();
        if stored.is_ok() {
            self.stands = Some(order);
        }
        reply.say(stored);
        if !self.pipeline.is_empty() {
            return;
        }
        if std::mem::take(&mut self.broken) {
            self.pipeline.resume();
            self.recall();
        }
        if let Some(held) = self.held.take() {
            self.take(held);
        }
    }
}
