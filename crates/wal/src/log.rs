//! What a channel uses: room, puts, leases, levels. Everything here returns at once; answers that
//! need the disk come later, through the callback that was handed in.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use crate::committer::Request;
use crate::directory::Registry;
use crate::error::{CommitError, OpenError};
use crate::held_up::HeldUp;
use crate::homes::Homes;
use crate::member::Member;
use crate::options::{Options, Shortage, sabotaged};
use crate::queue::{Count, Level, Place, Queue};
use crate::ranges::Ranges;
use crate::record::{CursorMeta, LastOf, Origin, QueueCursor, Record, VOID_BYTES, Void};
use crate::senders::Senders;
use crate::storage::Storage;
use crate::threads::{AtomicBool, AtomicU64, Condvar, JoinHandle, Mutex, MutexGuard};

mod slots;
mod transactions;

pub(crate) use slots::{Slot, Slots};
pub use transactions::{Lease, Room};

/// Most queues of a log.
pub(crate) const MOST_QUEUES: usize = 1024;
/// Most bytes of a queue's name.
pub(crate) const MOST_NAME: usize = 1024;

/// Which queue of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueId(pub(crate) u16);

/// How a put ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// It is durable.
    Now,
    /// The same batch of the same sender had been stored before; nothing was written.
    Before,
}

/// Is called once with how a put ended, on a committer's thread; must not block.
pub type PutDone = Box<dyn FnOnce(Result<Stored, CommitError>) + Send>;
/// Is called once with how a take ended, on a committer's thread; must not block.
pub type TakeDone = Box<dyn FnOnce(Result<(), CommitError>) + Send>;

/// Why there is no room.
#[derive(Clone, Debug)]
pub enum Refusal {
    /// The queue is at its capacity.
    Full(QueueId),
    /// The disks are full.
    DiskFull,
    /// The log is closed or stopped, for this reason.
    Closed(String),
}

/// The way to one committer.
pub(crate) struct Line<R: Record> {
    /// Bounded by the room that puts hold and by the leases that are open.
    pub(crate) inbox: Mutex<Vec<Request<R>>>,
    pub(crate) wake: Condvar,
    pub(crate) load: AtomicU64,
    pub(crate) failed: AtomicBool,
    pub(crate) full: AtomicBool,
    /// Why it is full, of when somebody looked last.
    pub(crate) shortage: Mutex<Option<Shortage>>,
    /// Until when others go before it, on the clock that nobody sets: it had no room for a put, and the same
    /// one would come back to it again and again.
    pub(crate) cramped: AtomicU64,
    pub(crate) watermark: AtomicU64,
}

impl<R: Record> Line<R> {
    /// Whether its directory takes anything.
    pub(crate) fn works(&self) -> bool {
        !self.failed.load(Ordering::Acquire)
    }
}

impl<R: Record> Default for Line<R> {
    fn default() -> Line<R> {
        Line {
            inbox: Mutex::new(Vec::new()),
            wake: Condvar::new(),
            load: AtomicU64::new(0),
            failed: AtomicBool::new(false),
            full: AtomicBool::new(false),
            shortage: Mutex::default(),
            cramped: AtomicU64::new(0),
            watermark: AtomicU64::new(0),
        }
    }
}

/// Who belongs to the log, as its member files say.
pub(crate) struct Roster {
    pub(crate) member: Member,
    pub(crate) storages: Vec<Arc<dyn Storage>>,
}

pub(crate) struct Shared<R: Record> {
    pub(crate) options: Options,
    pub(crate) roster: Mutex<Roster>,
    pub(crate) slots: Slots<R>,
    pub(crate) lines: Vec<Line<R>>,
    /// The place of each line's directory in the log's list, and how many are in that, those that
    /// have left included.
    pub(crate) places: (Vec<usize>, usize),
    pub(crate) registries: Vec<(String, Arc<Registry>)>,
    pub(crate) senders: Mutex<Senders>,
    /// Shared with the log that is opened in the place of this one, should it stop.
    pub(crate) held_up: Arc<Mutex<HeldUp>>,
    /// By its place, what a directory that failed may hold and must not count.
    pub(crate) voids: Mutex<BTreeMap<u16, Void>>,
    pub(crate) homes: Homes,
    pub(crate) stopped: Mutex<Option<String>>,
    pub(crate) closing: AtomicBool,
    pub(crate) reading: (Mutex<bool>, Condvar),
    pub(crate) locks: Mutex<Vec<Box<dyn Any + Send + Sync>>>,
    pub(crate) threads: Mutex<Vec<JoinHandle<()>>>,
}

pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<R: Record> Shared<R> {
    /// Stops the log for good; the first reason stands.
    pub(crate) fn stop(&self, why: &str) {
        locked(&self.stopped).get_or_insert_with(|| why.to_owned());
        for (_, slot) in self.slots.iter() {
            slot.changed();
        }
    }

    pub(crate) fn check_open(&self) -> Result<(), String> {
        match &*locked(&self.stopped) {
            Some(why) => Err(why.clone()),
            None => Ok(()),
        }
    }

    /// The state as a cursor says it, without the segments.
    pub(crate) fn cursor(&self) -> CursorMeta {
        let queues = self.slots.iter().map(|(id, slot)| (id, slot.lock().cursor())).collect();
        let origins = locked(&self.senders).in_order();
        let voids = locked(&self.voids).values().copied().collect();
        let (watermarks, segments) = (self.watermarks(), Vec::new());
        CursorMeta { queues, origins, watermarks, segments, voids }
    }

    /// Per directory of the log's list up to where it is synced.
    pub(crate) fn watermarks(&self) -> Vec<u64> {
        let mut watermarks = vec![0; self.places.1];
        for (line, place) in self.lines.iter().zip(&self.places.0) {
            watermarks[*place] = line.watermark.load(Ordering::Acquire);
        }
        watermarks
    }

    /// Each queue's lowest number that is not taken.
    pub(crate) fn lows(&self) -> BTreeMap<u16, u64> {
        self.slots.iter().map(|(id, slot)| (id, slot.lock().low())).collect()
    }

    /// What readers skipped, by queue, and no cursor has written down yet.
    pub(crate) fn skipped(&self) -> Vec<(u16, Ranges)> {
        let all = self.slots.iter().map(|(id, slot)| (id, slot.lock().skipped()));
        all.filter(|(_, numbers)| !numbers.is_empty()).collect()
    }

    /// About what [`Shared::cursor`] takes on disk.
    pub(crate) fn cursor_bytes(&self) -> u64 {
        let queues = self.slots.iter().map(|(_, slot)| slot.lock().cursor_bytes()).sum::<usize>();
        let voids = locked(&self.voids).len() * VOID_BYTES;
        (queues + voids + 8 * self.places.1 + locked(&self.senders).cursor_bytes()) as u64
    }

    /// A queue that nothing was put into yet.
    fn new_slot(&self) -> Slot<R> {
        // Reading begins where some other queue's ends: what is before was put without this one.
        let mut ends = vec![Place::default(); self.lines.len()];
        for (_, slot) in self.slots.iter() {
            for (end, other) in ends.iter_mut().zip(slot.lock().ends()) {
                *end = (*end).max(*other);
            }
        }
        let unlimited = Count { events: u64::MAX, bytes: u64::MAX };
        let cursor = QueueCursor::default();
        let window = self.options.window_bytes;
        Slot::new(Queue::new(cursor, 0, ends.clone(), ends, unlimited, window))
    }

    pub(crate) fn wake_reader(&self) {
        *locked(&self.reading.0) = true;
        self.reading.1.notify_one();
    }

    /// Whether this batch, or a later one of its sender, is stored.
    pub(crate) fn stored_before(&self, origin: &Origin) -> bool {
        let senders = locked(&self.senders);
        senders.get(&origin.sender).is_some_and(|last| last.origin.order() >= origin.order())
    }

    /// Holds up what follows a batch that failed.
    pub(crate) fn hold_up(&self, origin: &Origin) {
        // Of one that is stored, only the answer is missing.
        if !self.stored_before(origin) {
            locked(&self.held_up).add(origin, self.options.most_senders);
        }
    }

    pub(crate) fn is_held_up(&self, origin: &Origin) -> bool {
        let last = locked(&self.senders).get(&origin.sender).map(|last| last.origin.order());
        let mut held_up = locked(&self.held_up);
        if let Some((epoch, sequence)) = last {
            // A start may have found what failed before it.
            held_up.stored(&origin.sender, epoch, sequence);
        }
        !sabotaged!(self.options, HoldUpSkipped)
            && (held_up.surprises(origin) || held_up.stops(origin))
    }

    /// A batch that may have failed before comes again, or its sender begins anew.
    pub(crate) fn let_on(&self, origin: &Origin) {
        locked(&self.held_up).remove(origin);
    }

    /// Remembers a sender's last batch, and forgets others if there are too many.
    pub(crate) fn remember(&self, last: LastOf) {
        locked(&self.senders).remember(last);
    }

    /// The directory that takes what comes next: `wanted` if it works and its disk is not full, or
    /// the one with least to do of those for which that holds, or of those that work.
    pub(crate) fn able(&self, wanted: Option<usize>) -> Option<usize> {
        let able = self.lines.iter().enumerate().filter(|(_, line)| line.works());
        able.min_by_key(|(index, line)| {
            let other = wanted.is_some_and(|wanted| wanted != *index);
            let cramped = line.cramped.load(Ordering::Acquire);
            let cramped = cramped > 0 && self.options.surroundings.monotonic_millis() < cramped;
            (line.full.load(Ordering::Acquire) || cramped, other, line.load.load(Ordering::Acquire))
        })
        .map(|(index, _)| index)
    }

    /// Hands a request to a committer, or refuses it.
    pub(crate) fn post(&self, chosen: Option<usize>, request: Request<R>) {
        if let Some(request) = self.offer(chosen, request) {
            self.turn_away(request);
        }
    }

    /// Hands on what a directory that failed left behind. The next one may fail before it has that:
    /// then it goes to another, as long as there is any, since nobody may be told before.
    pub(crate) fn hand_on(&self, mut left: Request<R>) {
        while let Some(able) = self.able(None) {
            match self.offer(Some(able), left) {
                None => return,
                Some(back) => left = back,
            }
            // It failed meanwhile, or nobody takes anything any more.
            if self.lines[able].works() {
                break;
            }
        }
        self.turn_away(left);
    }

    /// Puts a request before a committer, or gives it back.
    fn offer(&self, chosen: Option<usize>, request: Request<R>) -> Option<Request<R>> {
        let Some(line) = chosen.and_then(|index| self.lines.get(index)) else {
            return Some(request);
        };
        let mut inbox = locked(&line.inbox);
        // Asked under the lock that the last look into the inbox takes: a request is either
        // seen by a committer or refused here.
        let closing =
            self.closing.load(Ordering::Acquire) && !sabotaged!(self.options, ClosingUnasked);
        if self.check_open().is_err() || closing || !line.works() {
            return Some(request);
        }
        line.load.fetch_add(request.bytes(), Ordering::AcqRel);
        inbox.push(request);
        line.wake.notify_one();
        None
    }

    fn turn_away(&self, request: Request<R>) {
        let why = self.check_open().err().unwrap_or_else(|| "it is closing".into());
        request.refuse(self, CommitError::Closed(why));
    }
}

/// A log: several queues in one or several directories.
pub struct Log<R: Record>(pub(crate) Arc<Shared<R>>);

impl<R: Record> Clone for Log<R> {
    fn clone(&self) -> Self {
        Log(self.0.clone())
    }
}

impl<R: Record> fmt::Debug for Log<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("queues", &self.queues()).finish_non_exhaustive()
    }
}

impl<R: Record> Log<R> {
    /// The names of its queues, those that nobody uses any more among them.
    pub fn queues(&self) -> Vec<String> {
        let roster = locked(&self.0.roster);
        roster.member.queues.iter().take(self.0.slots.len()).cloned().collect()
    }

    /// The queue of this name.
    pub fn queue(&self, name: &str) -> Option<QueueId> {
        let index = self.queues().iter().position(|known| known == name)?;
        u16::try_from(index).ok().map(QueueId)
    }

    /// The queue of this name, made if there is none, with this capacity from now on. Blocks while
    /// it tells the directories.
    pub fn add_queue(&self, name: &str, capacity: Count) -> Result<QueueId, OpenError> {
        if name.len() > MOST_NAME {
            let why = format!("the name of a queue has at most {MOST_NAME} bytes");
            return Err(OpenError::Options(why));
        }
        self.0.check_open().map_err(OpenError::Options)?;
        let mut roster = locked(&self.0.roster);
        let known = roster.member.queues.iter().position(|known| known == name);
        let id = known.unwrap_or(roster.member.queues.len());
        let number = u16::try_from(id).ok().filter(|_| id < MOST_QUEUES).map(QueueId);
        let Some(queue) = number else {
            return Err(OpenError::Options(format!("a log has at most {MOST_QUEUES} queues")));
        };
        if known.is_none() {
            // Should telling fail, the name keeps its number, since some directory may know it.
            roster.member.queues.push(name.to_owned());
        }
        if self.0.slots.len() <= id {
            let Roster { member, storages } = &mut *roster;
            member.announce(storages)?;
            while self.0.slots.len() < roster.member.queues.len() {
                self.0.slots.add(self.0.new_slot());
            }
        }
        drop(roster);
        self.set_capacity(queue, capacity);
        Ok(queue)
    }

    /// Changes how much a queue holds. What is in it stays, even if that is more.
    pub fn set_capacity(&self, queue: QueueId, capacity: Count) {
        let slot = self.0.slots.at(queue.0);
        slot.lock().set_capacity(capacity);
        slot.changed();
    }

    /// Calls `listener` whenever something about the queue may have changed: events came, room
    /// came, the log stopped. It must not block. One listener a queue; later ones are not taken.
    pub fn listen(&self, queue: QueueId, listener: Box<dyn Fn() + Send + Sync>) -> bool {
        self.0.slots.at(queue.0).listener.set(listener).is_ok()
    }

    /// Holds room in all of `queues`, or in none.
    pub fn reserve(&self, queues: &[QueueId], count: Count) -> Result<Room<R>, Refusal> {
        self.0.check_open().map_err(Refusal::Closed)?;
        let mut works = self.0.lines.iter().filter(|line| line.works());
        if works.all(|line| line.full.load(Ordering::Acquire)) {
            return Err(Refusal::DiskFull);
        }
        let mut room = Room { log: self.0.clone(), queues: Vec::new(), count, lane: None };
        for queue in queues {
            if room.queues.contains(&queue.0) {
                continue;
            }
            if !self.0.slots.at(queue.0).lock().reserve(count) {
                return Err(Refusal::Full(*queue));
            }
            room.queues.push(queue.0);
        }
        Ok(room)
    }

    /// Leases up to `most` from the head of a queue; at least one event if any is in memory.
    /// `None` says that there is nothing yet: the listener is called when there is.
    pub fn lease(&self, queue: QueueId, most: Count) -> Result<Option<Lease<R>>, CommitError> {
        self.0.check_open().map_err(CommitError::Closed)?;
        let mut held = self.0.slots.at(queue.0).lock();
        let pieces = held.lease(most);
        let wants = held.wants_reading();
        drop(held);
        if wants {
            self.0.wake_reader();
        }
        if pieces.is_empty() {
            return Ok(None);
        }
        Ok(Some(Lease { log: self.0.clone(), queue: queue.0, pieces }))
    }

    /// What the directories lack, where none of them has room for puts; else nothing. Looked at anew
    /// about once a second.
    pub fn shortages(&self) -> Vec<Shortage> {
        let works = || self.0.lines.iter().filter(|line| line.works());
        match works().all(|line| line.full.load(Ordering::Acquire)) {
            true => works().filter_map(|line| locked(&line.shortage).clone()).collect(),
            false => Vec::new(),
        }
    }

    /// How full a queue is.
    pub fn level(&self, queue: QueueId) -> Level {
        self.0.slots.at(queue.0).lock().level()
    }

    /// The numbers of a queue's events that were not taken for good, in order, and the number that
    /// comes next. Numbers stay with their events across restarts. Some of them may belong to
    /// puts that are under way, or to nothing, where data was damaged.
    pub fn untaken(&self, queue: QueueId) -> (Vec<Range<u64>>, u64) {
        let QueueCursor { next, taken } = self.0.slots.at(queue.0).lock().cursor();
        (taken.missing(0..next), next)
    }

    /// Every number of a queue below this one was taken for good. What could not be read and was
    /// skipped counts only once that is written down: until then a start may find it again.
    pub fn low(&self, queue: QueueId) -> u64 {
        self.0.slots.at(queue.0).lock().settled_low()
    }

    /// Whether the other is this very one, and not one that was opened before or after it.
    pub fn is(&self, other: &Log<R>) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The identity that the log was given when it was made.
    pub fn identity(&self) -> [u8; 16] {
        locked(&self.0.roster).member.log
    }

    /// What has been given up of it so far, each loss under an identity of its own. Numbers that its
    /// queues gave to events before may have been given to others since.
    pub fn given_up(&self) -> Vec<[u8; 16]> {
        locked(&self.0.roster).member.left().collect()
    }

    /// The last batch of a sender that is stored, with the position it had.
    pub fn last_of(&self, sender: [u8; 16]) -> Option<Origin> {
        locked(&self.0.senders).get(&sender).map(|last| last.origin.clone())
    }

    /// The newest epoch of a sender that is known, be it of batches that failed; 0 if none is.
    pub fn newest_epoch(&self, sender: [u8; 16]) -> u64 {
        let stored = locked(&self.0.senders).get(&sender).map_or(0, |last| last.origin.epoch);
        stored.max(locked(&self.0.held_up).epoch(&sender))
    }

    /// Whether it stopped since all of its directories failed: opened again, it may go on.
    pub fn failed(&self) -> bool {
        !self.0.lines.iter().any(Line::works)
    }

    /// Why the log takes nothing more, if so.
    pub fn stopped(&self) -> Option<String> {
        self.0.check_open().err()
    }

    /// Finishes what was posted, writes down the state, ends the threads and lets the directories
    /// go. Blocks until that is done. Leases that are still open come back at the next start.
    pub fn close(&self) {
        self.0.closing.store(true, Ordering::Release);
        for line in &self.0.lines {
            let _inbox = locked(&line.inbox);
            line.wake.notify_one();
        }
        self.0.wake_reader();
        let threads: Vec<_> = locked(&self.0.threads).drain(..).collect();
        for thread in threads {
            // A panic has stopped the log and been reported there.
            let _ended = thread.join();
        }
        self.0.stop("it was closed");
        locked(&self.0.locks).clear();
    }
}
