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

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sha1::{Digest, Sha1};
use splashdam_core::pipeline::{Put, Settled};
use splashdam_core::{Batch, Origin, Outlet, Pipeline, Size};
use splashdam_wire::avro::claim::Claim;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::known::Known;

/// Batches that wait for a sender's task; who has more waits.
const WAITING: usize = 16;
/// What a sender has under way at once.
const UNDER_WAY: Size = Size { events: 65_536, bytes: 8 * 1024 * 1024 };
/// A task ends when its sender was silent for so long; what it knows lies in the channel.
const SILENCE: Duration = Duration::from_secs(10);
/// How soon is looked whether a task that ends has ended.
const ENDING: Duration = Duration::from_millis(1);
/// The most tasks. Batches of further senders are stored without their origin.
const MOST_SENDERS: usize = 1024;

/// The senders at work.
pub(super) struct Senders {
    out: Outlet,
    /// The source's name: what it knows is not what another source of the same channel knows.
    source: Arc<str>,
    desks: Arc<Mutex<Desks>>,
}

#[derive(Default)]
struct Desks {
    inboxes: HashMap<[u8; 16], mpsc::Sender<Delivery>>,
    tasks: JoinSet<()>,
}

/// A batch, and whoever waits for it.
struct Delivery {
    batch: Batch,
    claim: Claim,
    reply: oneshot::Sender<bool>,
}

/// One sender's task.
struct Desk {
    out: Outlet,
    /// By what the channel knows the sender.
    key: [u8; 16],
    known: Known,
    epoch: u64,
    sequence: u64,
    pipeline: Pipeline<oneshot::Sender<bool>>,
    /// A batch was refused, and what was put behind it is under way.
    broken: bool,
    /// Has events that are under way already: how that ends must be known first.
    held: Option<Delivery>,
}

/// A sender's place among all; gone when its task has ended, however it did.
struct Entry {
    sender: [u8; 16],
    desks: Arc<Mutex<Desks>>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        locked(&self.desks).inboxes.remove(&self.sender);
    }
}

fn locked(desks: &Mutex<Desks>) -> MutexGuard<'_, Desks> {
    desks.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Senders {
    pub(super) fn new(out: Outlet, source: Arc<str>) -> Self {
        Senders { out, source, desks: Arc::default() }
    }

    /// Stores what of a batch is not stored yet; whether all of it is then. Not cancel-safe in that
    /// the batch may be stored all the same.
    pub(super) async fn put(&self, batch: Batch, claim: Claim) -> bool {
        let (reply, answer) = oneshot::channel();
        let mut delivery = Delivery { batch, claim, reply };
        loop {
            let Some(inbox) = self.inbox(delivery.claim.sender) else {
                return self.out.put(delivery.batch).await.is_ok();
            };
            match inbox.send(delivery).await {
                Ok(()) => return answer.await.unwrap_or(false),
                // Its task is about to end. Until it has, no other may speak for the sender.
                Err(back) => {
                    delivery = back.0;
                    sleep(ENDING).await;
                }
            }
        }
    }

    /// Waits until all tasks are through; nothing is put any more.
    pub(super) async fn end(&self) {
        let mut tasks = {
            let mut desks = locked(&self.desks);
            desks.inboxes.clear();
            std::mem::take(&mut desks.tasks)
        };
        while tasks.join_next().await.is_some() {}
    }

    fn inbox(&self, sender: [u8; 16]) -> Option<mpsc::Sender<Delivery>> {
        let mut desks = locked(&self.desks);
        while desks.tasks.try_join_next().is_some() {}
        if let Some(inbox) = desks.inboxes.get(&sender) {
            return Some(inbox.clone());
        }
        if desks.tasks.len() >= MOST_SENDERS {
            return None;
        }
        let (inbox, deliveries) = mpsc::channel(WAITING);
        let desk = Desk::new(self.out.clone(), self.key(sender));
        let entry = Entry { sender, desks: self.desks.clone() };
        desks.tasks.spawn(async move {
            let _entry = entry;
            desk.work(deliveries).await;
        });
        desks.inboxes.insert(sender, inbox.clone());
        Some(inbox)
    }

    fn key(&self, sender: [u8; 16]) -> [u8; 16] {
        let mut sum = Sha1::new();
        sum.update(sender);
        sum.update(self.source.as_bytes());
        let sum: [u8; 20] = sum.finalize().into();
        std::array::from_fn(|byte| sum[byte])
    }
}

impl Desk {
    fn new(out: Outlet, key: [u8; 16]) -> Self {
        let pipeline = Pipeline::new(out.clone(), UNDER_WAY);
        let known = Known::default();
        Desk { out, key, known, epoch: 0, sequence: 0, pipeline, broken: false, held: None }
    }

    /// Goes by what the channel knows, in a new epoch.
    fn recall(&mut self) {
        let last = self.out.last_of(self.key);
        self.known =
            last.as_ref().and_then(|last| Known::decode(&last.position)).unwrap_or_default();
        // An epoch that failed may not have reached the channel.
        self.epoch = last.map_or(0, |last| last.epoch).max(self.epoch) + 1;
        self.sequence = 0;
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
                    // What was sent before that still comes.
                    Err(_) if idle => deliveries.close(),
                    Err(_) => {}
                },
            }
        }
    }

    fn take(&mut self, delivery: Delivery) {
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
            // Whoever asked may be gone.
            reply.send(true).ok();
            return;
        }
        let batch = match count == all {
            true => batch,
            false => {
                let events = batch.into_events();
                fresh.into_iter().flat_map(|range| events[range].iter().cloned()).collect()
            }
        };
        self.known.add(&claim);
        self.sequence += 1;
        let origin = Origin {
            sender: self.key,
            epoch: self.epoch,
            sequence: self.sequence,
            position: self.known.encode(),
        };
        self.pipeline.put(batch.with_origin(Some(origin)), reply);
    }

    fn settled(&mut self, settled: Settled<oneshot::Sender<bool>>) {
        let stored = matches!(settled.went, Put::Stored);
        self.broken |= !stored;
        settled.token.send(stored).ok();
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
