//! Channel `memory`: batches in a queue, limited in events and in bytes, gone with the process.
//!
//! Flume's class and its accounting: `org.apache.flume.channel.MemoryChannel`. Bytes are counted
//! in slots of 100, rounded up for each event's body; a share of `byteCapacity` stays free for
//! headers. Room is held when a put begins, so a commit cannot fail for want of it.
//!
//! Events have numbers while they are here, and the channel remembers whose batches it has. So an
//! Avro sink and an Avro source of ours store what has to be sent again once, also with this channel
//! on either side, as long as its process lives.

pub(super) mod queue;
mod senders;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use splashdam_config::{Diagnostic, Lenient, Section};
use splashdam_core::{
    Batch, BoxFuture, Channel, ChannelError, Component, Context, Facts, LEAST_TAKE_WAIT, Level,
    OpenError, Origin, Place, Put, Refused, Size, Take,
};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::value_replaced;
use queue::{Queue, Run, slots_of};
use senders::Senders;

/// Bytes of body in one slot of the byte accounting.
const SLOT_BYTES: usize = 100;
/// Flume's default is 80 % of the JVM's heap; there is no heap to ask here, so this stands for one
/// of 20 MB, which is what Flume's script gives an agent.
const DEFAULT_BYTE_CAPACITY: u64 = 16 * 1024 * 1024;
/// The most permits that a semaphore is asked for at once.
const MOST_PERMITS: usize = u32::MAX as usize;

/// Keys of the memory channel.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Events it holds. A value that is not a positive number means the default, as in Flume.
    pub capacity: Lenient<i64>,
    /// Events in one transaction, at most `capacity`.
    #[serde(rename = "transactionCapacity")]
    pub transaction_capacity: Lenient<i64>,
    /// Seconds to wait for room at a put and for an event at a take, which is given a second at least.
    #[serde(rename = "keep-alive")]
    pub keep_alive: Lenient<i64>,
    /// Bytes of bodies it holds. 0 means no limit, as in Flume.
    #[serde(rename = "byteCapacity")]
    pub byte_capacity: Lenient<i64>,
    /// Share of `byteCapacity`, in percent, that is left for headers.
    #[serde(rename = "byteCapacityBufferPercentage")]
    pub byte_capacity_buffer_percentage: Lenient<i64>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            capacity: Lenient(Some(100)),
            transaction_capacity: Lenient(Some(100)),
            keep_alive: Lenient(Some(3)),
            byte_capacity: Lenient(Some(DEFAULT_BYTE_CAPACITY.cast_signed())),
            byte_capacity_buffer_percentage: Lenient(Some(20)),
        }
    }
}

/// The configuration with Flume's fall-backs applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Limits {
    events: usize,
    transaction_events: usize,
    slots: usize,
    bytes: usize,
    keep_alive: Duration,
}

impl Config {
    fn limits(&self) -> Limits {
        let positive = |value: &Lenient<i64>, default: usize| {
            let value = value.0.and_then(|v| usize::try_from(v).ok());
            value.filter(|v| *v > 0).unwrap_or(default).min(Semaphore::MAX_PERMITS)
        };
        let keep_alive = self.keep_alive.0.and_then(|v| u64::try_from(v).ok());
        let bytes = self.byte_capacity.0.and_then(|v| u64::try_from(v).ok());
        let bytes = bytes.unwrap_or(DEFAULT_BYTE_CAPACITY);
        let percent = self.byte_capacity_buffer_percentage.0;
        let percent = percent.and_then(|v| u64::try_from(v).ok()).unwrap_or(20).min(100);
        let kept = u128::from(bytes) * u128::from(100 - percent) / 100;
        let slots = usize::try_from(kept / SLOT_BYTES as u128).unwrap_or(usize::MAX);
        // Under one slot there is no limit (Flume: as many slots as an int can count).
        let slots = if slots == 0 { i32::MAX as usize } else { slots.min(Semaphore::MAX_PERMITS) };
        Limits {
            events: positive(&self.capacity, 100),
            transaction_events: positive(&self.transaction_capacity, 100),
            slots,
            bytes: slots.saturating_mul(SLOT_BYTES),
            keep_alive: Duration::from_secs(keep_alive.unwrap_or(3)),
        }
    }
}

/// The channel.
#[derive(Clone)]
pub struct Memory(Arc<Inner>);

struct Inner {
    name: Arc<str>,
    limits: Mutex<Limits>,
    /// Free places for events; its waiters are served in order.
    places: Arc<Semaphore>,
    /// Free slots for bytes of bodies.
    slots: Arc<Semaphore>,
    queue: Mutex<Queue>,
    /// Whose batches it has. Locked inside the queue's lock where both are.
    senders: Mutex<Senders>,
    /// The queue's name for those who receive from it, made up anew by each process.
    identity: [u8; 16],
    /// Told when events come in, one waiter at a time, and when the channel closes.
    filled: Notify,
}

impl Component for Memory {
    const TYPE: &'static str = "memory";
    const ALIASES: &'static [&'static str] = &["org.apache.flume.channel.MemoryChannel"];
    type Config = Config;

    async fn open(config: Config, cx: Context) -> Result<Self, OpenError> {
        let limits = config.limits();
        if limits.transaction_events > limits.events {
            return Err(OpenError::Config(vec![too_large(limits, None)]));
        }
        let random = cx.random();
        let halves = [random.next(), random.next()];
        Ok(Memory::new(cx.name, limits, halves))
    }

    fn facts(config: &Config) -> Facts {
        let limits = config.limits();
        Facts {
            transaction_events: Some(limits.transaction_events),
            capacity_events: Some(limits.events),
            capacity_key: Some("capacity"),
            place: Some(format!("holds up to {} events in memory", limits.events)),
            memory_bytes: Some(limits.bytes as u64),
            memory_key: Some("byteCapacity"),
            durable: false,
            process_crash: Some("everything in the channel is lost"),
            machine_crash: Some("everything in the channel is lost"),
            ..Facts::default()
        }
    }

    fn check(config: &Config, section: &Section) -> Vec<Diagnostic> {
        let limits = config.limits();
        let mut findings = replaced(config, section);
        if limits.transaction_events > limits.events {
            let place = ["transactionCapacity", "capacity"].map(|key| section.value_span(key));
            let place = place.into_iter().flatten().next();
            findings.push(too_large(limits, Some(section)).at(place));
        }
        findings
    }
}

/// Values that cannot be meant.
fn replaced(config: &Config, section: &Section) -> Vec<Diagnostic> {
    let keys = [
        ("capacity", config.capacity, 1, "100"),
        ("transactionCapacity", config.transaction_capacity, 1, "100"),
        ("keep-alive", config.keep_alive, 0, "3"),
        ("byteCapacity", config.byte_capacity, 0, "16777216"),
        ("byteCapacityBufferPercentage", config.byte_capacity_buffer_percentage, 0, "20"),
    ];
    let finding = |(key, value, least, default)| {
        value_replaced(section, key, value, least, format_args!("the default {default}"))
    };
    keys.into_iter().filter_map(finding).collect()
}

/// `section` tells what is written from what is a default, where it is known.
fn too_large(limits: Limits, section: Option<&Section>) -> Diagnostic {
    let said = |key: &str, value: usize| {
        let written = section.is_none_or(|section| {
            section.get(key).and_then(|text| text.trim().parse().ok()) == Some(value)
        });
        format!("{key} {value}{}", if written { "" } else { " (the default)" })
    };
    Diagnostic::error(
        "transaction-exceeds-capacity",
        format!(
            "{} is greater than {}",
            said("transactionCapacity", limits.transaction_events),
            said("capacity", limits.events)
        ),
    )
    .help("raise capacity, or lower transactionCapacity to at most capacity")
}

impl Memory {
    fn new(name: Arc<str>, limits: Limits, identity: [u64; 2]) -> Self {
        let [first, second] = identity.map(u64::to_be_bytes);
        Memory(Arc::new(Inner {
            name,
            limits: Mutex::new(limits),
            places: Arc::new(Semaphore::new(limits.events)),
            slots: Arc::new(Semaphore::new(limits.slots)),
            queue: Mutex::default(),
            senders: Mutex::default(),
            identity: std::array::from_fn(|at| if at < 8 { first[at] } else { second[at - 8] }),
            filled: Notify::new(),
        }))
    }

    async fn hold(&self, size: Size) -> Result<Box<dyn Put>, ChannelError> {
        let inner = &self.0;
        let limits = inner.limits();
        if size.events > limits.transaction_events {
            return Err(ChannelError::TooLarge {
                channel: inner.name.clone(),
                events: size.events,
                capacity: limits.transaction_events,
            });
        }
        // Bodies are not at hand yet: the slots of the whole are estimated from above, and what
        // was too much goes back at the commit. A batch larger than the channel takes all of it.
        let slots = (size.bytes / SLOT_BYTES + size.events).min(limits.slots);
        let full = || ChannelError::Full {
            channel: inner.name.clone(),
            events: size.events,
            waited: limits.keep_alive,
        };
        let wait = async {
            let slots = acquire(&inner.slots, slots).await;
            let places = acquire(&inner.places, size.events).await;
            slots.zip(places)
        };
        let held = match timeout(limits.keep_alive, wait).await {
            Err(_) => return Err(full()),
            Ok(None) => return Err(inner.closed_error()),
            Ok(Some(held)) => held,
        };
        Ok(Box::new(Room { channel: self.clone(), slots: held.0, places: held.1 }))
    }

    async fn lease(&self, limit: Size) -> Result<Box<dyn Take>, ChannelError> {
        let limits = self.0.limits();
        let limit = Size { events: limit.events.min(limits.transaction_events), ..limit };
        let fill = async {
            loop {
                let filled = self.0.filled.notified();
                if let Some(lease) = self.try_lease(limit)? {
                    return Ok(lease);
                }
                filled.await;
            }
        };
        match timeout(limits.keep_alive.max(LEAST_TAKE_WAIT), fill).await {
            Ok(lease) => lease,
            Err(_) => {
                Ok(Box::new(Lease { channel: self.clone(), run: None, none: Batch::default() }))
            }
        }
    }

    fn try_lease(&self, limit: Size) -> Result<Option<Box<dyn Take>>, ChannelError> {
        let mut queue = self.0.queue();
        if queue.closed {
            return Err(self.0.closed_error());
        }
        let Some(mut run) = queue.take(limit) else { return Ok(None) };
        let more = !queue.is_empty();
        queue.out.insert(run.first);
        let low = queue.low();
        drop(queue);
        let last = run.first + run.batch.len() as u64;
        run.batch = run.batch.with_place(Some(Place {
            queue: self.0.identity,
            low,
            began: 0,
            ranges: std::iter::once(run.first..last).collect(),
            lasting: false,
        }));
        if more {
            // Another taker may be waiting, and each put wakes only one.
            self.0.filled.notify_one();
        }
        Ok(Some(Box::new(Lease { channel: self.clone(), run: Some(run), none: Batch::default() })))
    }
}

/// `None` when the channel is closed.
async fn acquire(semaphore: &Arc<Semaphore>, permits: usize) -> Option<Vec<OwnedSemaphorePermit>> {
    let mut held = Vec::with_capacity(1);
    let mut rest = permits;
    loop {
        let part = u32::try_from(rest.min(MOST_PERMITS)).unwrap_or(u32::MAX);
        held.push(semaphore.clone().acquire_many_owned(part).await.ok()?);
        rest -= part as usize;
        if rest == 0 {
            return Some(held);
        }
    }
}

impl Inner {
    // Both locks guard plain values that every method leaves whole, so a panic elsewhere while
    // one was held does not spoil them.
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn senders(&self) -> MutexGuard<'_, Senders> {
        self.senders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn limits(&self) -> Limits {
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn closed_error(&self) -> ChannelError {
        ChannelError::Closed { channel: self.name.clone() }
    }
}

impl Channel for Memory {
    fn begin_put(&self, size: Size) -> BoxFuture<'_, Result<Box<dyn Put>, ChannelError>> {
        Box::pin(self.hold(size))
    }

    fn begin_take(&self, limit: Size) -> BoxFuture<'_, Result<Box<dyn Take>, ChannelError>> {
        Box::pin(self.lease(limit))
    }

    fn remembers_origins(&self) -> bool {
        true
    }

    fn last_of(&self, sender: [u8; 16]) -> Option<Origin> {
        self.0.senders().last_of(sender)
    }

    fn level(&self) -> Level {
        let limits = self.0.limits();
        let queue = self.0.queue();
        Level {
            queued: queue.queued,
            leased: queue.leased,
            capacity: Size {
                events: limits.events + queue.owed.places,
                bytes: limits.bytes.saturating_add(queue.owed.slots.saturating_mul(SLOT_BYTES)),
            },
        }
    }

    fn close(&self) -> BoxFuture<'_, Result<(), ChannelError>> {
        self.0.queue().close();
        self.0.places.close();
        self.0.slots.close();
        self.0.filled.notify_waiters();
        Box::pin(std::future::ready(Ok(())))
    }

    fn reconfigure(&self, section: &Section) -> bool {
        section.read::<Config>().value.is_some_and(|config| self.resize(&config))
    }
}

impl Memory {
    /// Growing is immediate. Shrinking takes what is free now; what is not free is owed, and paid
    /// as events go (Flume gives up on shrinking).
    pub(super) fn resize(&self, config: &Config) -> bool {
        let new = config.limits();
        let mut limits = self.0.limits.lock().unwrap_or_else(PoisonError::into_inner);
        let mut queue = self.0.queue();
        let owed = &mut queue.owed;
        owed.places = resize(&self.0.places, limits.events + owed.places, new.events);
        owed.slots = resize(&self.0.slots, limits.slots + owed.slots, new.slots);
        let transaction_events = new.transaction_events.min(new.events);
        *limits = Limits { transaction_events, ..new };
        true
    }
}

/// Changes how many permits there are and says how many are still too many.
fn resize(semaphore: &Semaphore, now: usize, wanted: usize) -> usize {
    if wanted >= now {
        semaphore.add_permits(wanted - now);
        return 0;
    }
    let excess = now - wanted;
    excess - semaphore.forget_permits(excess)
}

/// Room held for a put.
struct Room {
    channel: Memory,
    slots: Vec<OwnedSemaphorePermit>,
    places: Vec<OwnedSemaphorePermit>,
}

impl Put for Room {
    fn commit(self: Box<Self>, batch: Batch) -> BoxFuture<'static, Result<(), Refused>> {
        Box::pin(std::future::ready(self.place(batch)))
    }
}

impl Room {
    fn place(self, mut batch: Batch) -> Result<(), Refused> {
        if batch.is_empty() {
            return Ok(());
        }
        let inner = &self.channel.0;
        let events = batch.len();
        let held = |permits: &[OwnedSemaphorePermit]| -> usize {
            permits.iter().map(OwnedSemaphorePermit::num_permits).sum()
        };
        let (slots, places) = (held(&self.slots), held(&self.places));
        assert!(events <= places, "a batch larger than the room that was held for it");
        {
            let mut queue = inner.queue();
            if queue.closed {
                drop(queue);
                return Err(Refused { batch, error: inner.closed_error() });
            }
            if let Some(origin) = batch.take_origin()
                && !inner.senders().note(origin)
            {
                // It is here already.
                return Ok(());
            }
            let needed = slots_of(&batch);
            queue.put(batch, needed.saturating_sub(slots));
            let spare = queue.owed.pay(places - events, slots.saturating_sub(needed));
            drop(queue);
            self.slots.into_iter().for_each(OwnedSemaphorePermit::forget);
            self.places.into_iter().for_each(OwnedSemaphorePermit::forget);
            inner.slots.add_permits(spare.slots);
            inner.places.add_permits(spare.places);
        }
        inner.filled.notify_one();
        Ok(())
    }
}

/// Events out of the queue and not yet gone.
struct Lease {
    channel: Memory,
    run: Option<Run>,
    none: Batch,
}

impl Take for Lease {
    fn batch(&self) -> &Batch {
        self.run.as_ref().map_or(&self.none, |run| &run.batch)
    }

    fn commit(mut self: Box<Self>) -> BoxFuture<'static, Result<(), ChannelError>> {
        if let Some(run) = self.run.take() {
            let inner = &self.channel.0;
            let free = {
                let mut queue = inner.queue();
                queue.out.remove(&run.first);
                queue.forget(&run.batch)
            };
            inner.slots.add_permits(free.slots);
            inner.places.add_permits(free.places);
        }
        Box::pin(std::future::ready(Ok(())))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(run) = self.run.take() {
            let mut queue = self.channel.0.queue();
            queue.out.remove(&run.first);
            queue.put_back(run);
            drop(queue);
            self.channel.0.filled.notify_one();
        }
    }
}

#[cfg(test)]
mod tests;
