//! The replay: what Flume does when it starts, to learn what is queued
//! (`org.apache.flume.channel.file.ReplayHandler.replayLogv2`).
//!
//! All logs are merged by write-order id. A commit of puts adds to the end of the queue what its transaction put, a
//! commit of takes removes what it took; what was taken and not committed when the checkpoint was written, and is not
//! committed later, returns to the head.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet, VecDeque};
use std::path::PathBuf;

use super::checkpoint::{self, Checkpoint, InFlight, Origin};
use super::error::{Damage, Error, OnDamage};
use super::events::{Events, Reader};
use super::record::{Kind, Layout, Pointer, Record};
use super::scan::{Found, Scan};
use super::{FlumeChannel, Keys};

/// So much damage is named; more is counted.
const NAMED_DAMAGE: usize = 100;
/// Bytes from one report of progress to the next.
const PROGRESS_BYTES: u64 = 1 << 20;

/// How far a replay is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of logs that were read or passed over.
    pub done_bytes: u64,
    /// Bytes of all logs.
    pub all_bytes: u64,
}

/// What a replay came upon. Records that a checkpoint covers are not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Events in the checkpoint's queue.
    pub from_checkpoint: u64,
    /// Puts in the logs.
    pub puts: u64,
    /// Takes in the logs.
    pub takes: u64,
    /// Commits in the logs.
    pub commits: u64,
    /// Rollbacks in the logs.
    pub rollbacks: u64,
    /// Transactions that neither were committed nor rolled back: their puts are lost, as they are in Flume, and their
    /// takes are delivered again.
    pub open_transactions: u64,
    /// Events taken and not committed when the checkpoint was written, and delivered again.
    pub returned: u64,
    /// Records that Flume's integrity tool struck out.
    pub struck_out: u64,
    /// Logs that end in half a record, as a crash leaves them.
    pub torn_logs: u64,
    /// Places in the logs that are damaged.
    pub damaged: u64,
}

/// What Flume would deliver, oldest first.
#[derive(Debug)]
pub struct Queue {
    /// What the replay began with.
    pub origin: Origin,
    /// What the replay came upon.
    pub counts: Counts,
    /// The first hundred damaged places.
    pub damages: Vec<Damage>,
    /// Whether events that were delivered may come again: without a checkpoint, where several directories were used,
    /// Flume may have deleted a log with a take before the one with its put.
    pub may_repeat: bool,
    pointers: VecDeque<Pointer>,
    reader: Reader,
}

impl Queue {
    /// How many events are queued. Those that are damaged are among them.
    pub fn len(&self) -> usize {
        self.pointers.len()
    }

    /// Whether none is queued.
    pub fn is_empty(&self) -> bool {
        self.pointers.is_empty()
    }

    /// The numbers of logs that hold queued events and are in none of the data directories.
    pub fn missing_logs(&self) -> Vec<u32> {
        let missing: std::collections::BTreeSet<u32> = self
            .pointers
            .iter()
            .map(|pointer| pointer.file())
            .filter(|log| !self.reader.has(*log))
            .collect();
        missing.into_iter().collect()
    }

    /// The events, oldest first; each is read when it is asked for. Damaged events are errors, one each, and the next
    /// event may be asked for after them.
    pub fn into_events(self) -> Events {
        Events::new(self.pointers, self.reader)
    }
}

/// See [`FlumeChannel::read`].
pub(super) fn replay(
    channel: &FlumeChannel,
    keys: Option<Keys<'_>>,
    on_damage: OnDamage,
    progress: &mut dyn FnMut(Progress),
) -> Result<Queue, Error> {
    let layouts = channel
        .files
        .iter()
        .map(|(id, log)| Ok((*id, log.layout(keys)?)))
        .collect::<Result<BTreeMap<u32, Layout>, Error>>()?;
    let (checkpoint, origin) =
        checkpoint::load(&channel.checkpoint_dir, channel.backup_dir.as_deref());
    let known = checkpoint.order;
    let used: HashSet<Option<PathBuf>> =
        channel.files.values().map(|log| log.path.parent().map(PathBuf::from)).collect();
    let may_repeat = matches!(origin, Origin::Logs(_)) && used.len() > 1;
    let all_bytes = channel.bytes();
    let (mut state, mut damages) = (State::new(checkpoint), Vec::new());
    {
        let mut merge = Merge { scans: BTreeMap::new(), heads: BinaryHeap::new() };
        for ((id, log), layout) in channel.files.iter().zip(layouts.values()) {
            merge.scans.insert(*id, Scan::begin(*id, log, layout, known)?);
        }
        let mut done_bytes: u64 = merge.scans.values().map(Scan::position).sum();
        progress(Progress { done_bytes, all_bytes });
        let mut reported = done_bytes;
        let mut damaged = |counts: &mut Counts, damage: Damage| match on_damage {
            OnDamage::Stop => Err(Error::Damaged(damage)),
            OnDamage::Skip => {
                counts.damaged += 1;
                if damages.len() < NAMED_DAMAGE {
                    damages.push(damage);
                }
                Ok(())
            }
        };
        for id in channel.files.keys() {
            done_bytes += merge.advance(*id, &mut state.counts, &mut damaged)?;
        }
        while let Some(Reverse(head)) = merge.heads.pop() {
            state.apply(head.pointer, &head.record);
            done_bytes += merge.advance(head.pointer.file(), &mut state.counts, &mut damaged)?;
            if done_bytes >= reported + PROGRESS_BYTES {
                reported = done_bytes;
                progress(Progress { done_bytes, all_bytes });
            }
        }
    }
    progress(Progress { done_bytes: all_bytes, all_bytes });
    let mut reader = Reader::new(&channel.files, layouts);
    let (pointers, counts) = state.finish(&mut reader)?;
    Ok(Queue { origin, counts, damages, may_repeat, pointers, reader })
}

/// The next record of a log, in the order of Flume's `TransactionEventRecord` comparison.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    record: Record,
    pointer: Pointer,
}

impl Head {
    fn key(&self) -> (i64, i64, Kind, Pointer) {
        (self.record.order, self.record.transaction, self.record.kind, self.pointer)
    }
}

impl Ord for Head {
    fn cmp(&self, other: &Head) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Head) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

struct Merge<'a> {
    scans: BTreeMap<u32, Scan<'a>>,
    heads: BinaryHeap<Reverse<Head>>,
}

impl Merge<'_> {
    /// Puts the next record of a log among the heads; answers how many bytes it went forward.
    fn advance(
        &mut self,
        id: u32,
        counts: &mut Counts,
        damaged: &mut dyn FnMut(&mut Counts, Damage) -> Result<(), Error>,
    ) -> Result<u64, Error> {
        let Some(scan) = self.scans.get_mut(&id) else { return Ok(0) };
        let before = scan.position();
        loop {
            match scan.next()? {
                Some(Found::Record(pointer, record)) => {
                    self.heads.push(Reverse(Head { record, pointer }));
                    return Ok(scan.position() - before);
                }
                Some(Found::Damage(damage)) => damaged(counts, damage)?,
                None => {
                    let passed = scan.position() - before;
                    counts.struck_out += scan.struck_out;
                    counts.torn_logs += u64::from(scan.torn);
                    self.scans.remove(&id);
                    return Ok(passed);
                }
            }
        }
    }
}

/// The queue while records are applied to it.
struct State {
    queue: VecDeque<Pointer>,
    /// Taken for good: not yet at the head of the queue, or not in it yet.
    taken: HashSet<Pointer>,
    open: HashMap<i64, Vec<Pointer>>,
    /// Takes that were in flight at the checkpoint and are not committed so far.
    in_flight: InFlight,
    counts: Counts,
}

impl State {
    fn new(checkpoint: Checkpoint) -> State {
        let from_checkpoint = checkpoint.queue.len() as u64;
        State {
            queue: checkpoint.queue.into(),
            taken: HashSet::new(),
            open: checkpoint.puts,
            in_flight: checkpoint.takes,
            counts: Counts { from_checkpoint, ..Counts::default() },
        }
    }

    fn apply(&mut self, pointer: Pointer, record: &Record) {
        match record.kind {
            Kind::Put => {
                self.counts.puts += 1;
                self.open.entry(record.transaction).or_default().push(pointer);
            }
            Kind::Take(target) => {
                self.counts.takes += 1;
                self.open.entry(record.transaction).or_default().push(target);
            }
            Kind::Rollback => {
                self.counts.rollbacks += 1;
                self.open.remove(&record.transaction);
            }
            Kind::CommitOfPuts => {
                self.counts.commits += 1;
                for pointer in self.open.remove(&record.transaction).unwrap_or_default() {
                    if !self.taken.remove(&pointer) {
                        self.queue.push_back(pointer);
                    }
                }
            }
            Kind::CommitOfTakes => {
                self.counts.commits += 1;
                let late = self.open.remove(&record.transaction).unwrap_or_default();
                let early = self.in_flight.remove(&record.transaction).unwrap_or_default();
                for pointer in late.into_iter().chain(early) {
                    // Most takes are of the head, where nothing needs to be remembered.
                    if self.queue.front() == Some(&pointer) {
                        self.queue.pop_front();
                        self.settle();
                    } else {
                        self.taken.insert(pointer);
                    }
                }
                self.settle();
            }
        }
    }

    /// Drops from the head what was taken out of order.
    fn settle(&mut self) {
        while !self.taken.is_empty()
            && let Some(pointer) = self.queue.front()
            && self.taken.remove(pointer)
        {
            self.queue.pop_front();
        }
    }

    fn finish(mut self, reader: &mut Reader) -> Result<(VecDeque<Pointer>, Counts), Error> {
        self.counts.open_transactions = self.open.len() as u64;
        let (mut queue, taken) = (self.queue, self.taken);
        if !taken.is_empty() {
            queue.retain(|pointer| !taken.contains(pointer));
        }
        // In the order in which they were put, which Flume does not keep. What another transaction took after a
        // rollback is not delivered again, though Flume would.
        let mut returned = Vec::new();
        for pointer in self.in_flight.into_values().flatten() {
            if !taken.contains(&pointer) {
                returned.push((reader.put_order(pointer)?, pointer));
            }
        }
        returned.sort_unstable();
        self.counts.returned = returned.len() as u64;
        for (_, pointer) in returned.into_iter().rev() {
            queue.push_front(pointer);
        }
        Ok((queue, self.counts))
    }
}
