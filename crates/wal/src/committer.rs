//! One thread a directory: takes all that waits, writes it with one vectored write and one sync,
//! and only then lets takers see it and answers everybody.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use crate::directory::{Directory, Outgoing};
use crate::error::CommitError;
use crate::frame::{Header, Kind, most_frame_bytes};
use crate::homes::Lane;
use crate::log::{Shared, Stored, locked};
use crate::options::{Syncs, sabotaged};
use crate::queue::{Chunk, Piece, Place};
use crate::record::{CursorMeta, LastOf, Origin, PutMeta, Record};

mod failure;
mod panics;
mod request;

pub(crate) use panics::StopOnPanic;
use request::{Buried, Job};
pub(crate) use request::{PutRequest, Request, TakeRequest, Taking};

/// Longest wait for company; a quarter of the last group's time if that is less.
const MOST_PATIENCE: Duration = Duration::from_micros(500);
/// For how long puts go elsewhere, if they can, after one found no room.
const CRAMPED_MILLIS: u64 = 1000;
/// How often an idle thread looks whether segments can go and whether a full disk has room again.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The shortest time between two such looks, however short the interval of syncs.
const LEAST_LOOK: Duration = Duration::from_millis(1);

/// The one writer of a directory.
pub struct Committer<R: Record> {
    pub(crate) shared: Arc<Shared<R>>,
    pub(crate) index: usize,
    pub(crate) directory: Directory,
    pub(crate) pending: VecDeque<Request<R>>,
    /// Numbers of failed puts whose frames a crash may still bring back.
    pub(crate) stranded: Vec<(u16, Range<u64>)>,
    /// What other directories left and could not be told of yet.
    pub(crate) unburied: Vec<Buried<R>>,
    pub(crate) stale: Option<CursorMeta>,
}

impl<R: Record> Committer<R> {
    /// Commits all that waits, and tidies up. Says whether there was anything.
    pub fn commit_waiting(&mut self) -> bool {
        let line = &self.shared.lines[self.index];
        let waiting = std::mem::take(&mut *locked(&line.inbox));
        let any = !waiting.is_empty();
        for request in &waiting {
            line.load.fetch_sub(request.bytes(), Ordering::AcqRel);
        }
        self.pending.extend(waiting);
        while !self.pending.is_empty() {
            self.commit_group();
        }
        self.tidy();
        any
    }

    /// Syncs what was acknowledged without a sync.
    pub fn sync(&mut self) {
        match self.directory.sync() {
            Ok(()) => {
                let line = &self.shared.lines[self.index];
                line.watermark.store(self.directory.watermark(), Ordering::Release);
            }
            Err(error) => self.give_up_if_failed(&error.to_string()),
        }
    }

    /// Bytes that were acknowledged and are not synced.
    pub fn unsynced(&self) -> u64 {
        self.directory.unsynced()
    }

    /// Commits what waits and writes down the state, for the last time.
    pub fn finish(mut self) {
        self.commit_waiting();
        for buried in std::mem::take(&mut self.unburied) {
            Request::Bury(buried).refuse(&self.shared, CommitError::Full);
        }
        if self.unsynced() > 0 {
            // So that the cursor's watermark covers it: what is damaged later is then no torn tail.
            self.sync();
        }
        if self.shared.check_open().is_ok() && !self.directory.failed() {
            // If that fails, the next start reads what this would have summed up.
            let _unneeded = self.write_cursor(&[]);
        }
    }

    /// Waits for work and does it until the log closes.
    pub(crate) fn run(mut self) {
        let shared = self.shared.clone();
        let guard = StopOnPanic::of(&shared, Some(self.index));
        let line = &shared.lines[self.index];
        let (mut last_group, mut patience) = (0, Duration::ZERO);
        // The start has left this to be done while nobody waits for it.
        self.tidy();
        let interval = match shared.options.sync {
            Syncs::Every(interval) => interval,
            Syncs::Each => LOOK_EVERY,
        };
        let look = (interval / 2).clamp(LEAST_LOOK, LOOK_EVERY);
        let mut all_synced = Instant::now();
        loop {
            let inbox = locked(&line.inbox);
            let idle =
                |inbox: &mut Vec<_>| inbox.is_empty() && !shared.closing.load(Ordering::Acquire);
            let waited = line.wake.wait_timeout_while(inbox, look, idle);
            let (inbox, _) = waited.unwrap_or_else(PoisonError::into_inner);
            // Whoever was answered together will mostly be back together: a moment's wait lets
            // them share the next sync, too. It ends when as many are there as the last time. In
            // the explorer no time passes, so nobody waits for it.
            let fewer = |inbox: &mut Vec<_>| {
                !cfg!(explore)
                    && !inbox.is_empty()
                    && inbox.len() < last_group
                    && !shared.closing.load(Ordering::Acquire)
            };
            let waited = line.wake.wait_timeout_while(inbox, patience, fewer);
            let (inbox, _) = waited.unwrap_or_else(PoisonError::into_inner);
            last_group = inbox.len();
            drop(inbox);
            let start = Instant::now();
            if self.commit_waiting() {
                patience = (start.elapsed() / 4).min(MOST_PATIENCE);
            }
            if self.unsynced() > 0 && all_synced.elapsed() >= interval.saturating_sub(look) {
                self.sync();
            }
            if self.unsynced() == 0 {
                all_synced = Instant::now();
            }
            if shared.closing.load(Ordering::Acquire) {
                break;
            }
        }
        self.finish();
        std::mem::forget(guard);
    }

    /// Builds frames for as much as fits into one write, and commits them.
    fn commit_group(&mut self) {
        let mut jobs: Vec<Job<R>> = Vec::new();
        let (mut bytes, mut positions) = (0, 0);
        if let Err(why) = self.shared.check_open() {
            self.refuse_all(&CommitError::Closed(why));
            return;
        }
        while let Some(request) = self.pending.front() {
            let more = request.bytes();
            if let Request::Bury(_) = request {
                if !jobs.is_empty() {
                    break;
                }
                if let Some(Request::Bury(buried)) = self.pending.pop_front() {
                    self.bury(buried);
                }
                continue;
            }
            if !jobs.is_empty() && bytes + more > self.shared.options.group_bytes {
                break;
            }
            if let Request::Put(put) = request {
                if awaits_sender(&jobs, put) {
                    break;
                }
                let origin = put.origin.as_ref();
                if origin.is_some_and(|origin| self.shared.stored_before(origin)) {
                    if let Some(Request::Put(mut put)) = self.pending.pop_front() {
                        put.release(&self.shared);
                        put.home = None;
                        (put.done)(Ok(Stored::Before));
                    }
                    continue;
                }
                let broken = put.lane.as_ref().is_some_and(Lane::is_broken)
                    && !sabotaged!(self.shared.options, LaneIgnored);
                if broken || origin.is_some_and(|origin| self.shared.is_held_up(origin)) {
                    self.refuse_first(CommitError::OutOfOrder);
                    continue;
                }
                let position = origin.map_or(0, Origin::cursor_bytes);
                let exchange = put.taking.is_some();
                if !self.directory.admits_put(bytes, more, positions + position, exchange) {
                    self.refuse_first(CommitError::Full);
                    continue;
                }
            }
            let exchange = matches!(request, Request::Put(PutRequest { taking: Some(_), .. }));
            if !self.directory.fits(bytes + more) || (exchange && !self.directory.exchanges()) {
                if !jobs.is_empty() {
                    break;
                }
                if exchange {
                    self.directory.allow_exchanges();
                }
                let cursor = self.opening_cursor();
                if let Err(error) = self.directory.roll(cursor, more) {
                    let full = error.is_full();
                    let why = if full {
                        CommitError::Full
                    } else {
                        CommitError::Failed(error.to_string())
                    };
                    self.refuse_first(why);
                    if !full {
                        self.note_failure(&error);
                    }
                    continue;
                }
            }
            bytes += more;
            if let Some(request) = self.pending.pop_front() {
                if let Request::Put(PutRequest { origin: Some(origin), .. }) = &request {
                    positions += origin.cursor_bytes();
                    self.shared.let_on(origin);
                }
                jobs.push(self.job(request));
            }
        }
        if jobs.is_empty() {
            return;
        }
        if sabotaged!(self.shared.options, CursorBeforeData) {
            self.stale = Some(self.shared.cursor());
        }
        let now = self.shared.options.surroundings.now_millis();
        let frames: Vec<_> = jobs.iter().map(|job| job.frame(now)).collect();
        if sabotaged!(self.shared.options, OriginBeforeData) {
            jobs.iter().for_each(|job| self.remember_too_early(job, now));
        }
        let done = self.directory.append(&frames);
        drop(frames);
        match done {
            Ok(headers) => {
                self.durable();
                for (job, header) in jobs.into_iter().zip(headers) {
                    self.publish(job, &header);
                }
                if sabotaged!(self.shared.options, AnswerLatecomers) {
                    self.answer_latecomers();
                }
            }
            Err(error) => {
                let sealed = self.seal();
                if !sealed && self.directory.failed() {
                    self.give_up(jobs, &error.to_string());
                    return;
                }
                // Once it is void nothing has happened.
                let why = match sealed && error.is_full() {
                    true => CommitError::Full,
                    false => CommitError::Failed(error.to_string()),
                };
                if !sealed && self.others_work() {
                    self.leave(jobs, why);
                    return;
                }
                // Backwards, so that the numbers given last are the first to be given again.
                for job in jobs.into_iter().rev() {
                    self.withdraw(&job, sealed);
                    job.request.refuse(&self.shared, why.clone());
                }
            }
        }
    }

    fn refuse_first(&mut self, why: CommitError) {
        if matches!(why, CommitError::Full) {
            let until = self.shared.options.surroundings.monotonic_millis() + CRAMPED_MILLIS;
            self.shared.lines[self.index].cramped.store(until, Ordering::Release);
        }
        if let Some(request) = self.pending.pop_front() {
            request.refuse(&self.shared, why);
        }
    }

    fn refuse_all(&mut self, why: &CommitError) {
        while let Some(request) = self.pending.pop_front() {
            request.refuse(&self.shared, why.clone());
        }
    }

    fn opening_cursor(&mut self) -> CursorMeta {
        match self.stale.take() {
            Some(stale) if sabotaged!(self.shared.options, CursorBeforeData) => stale,
            _ => self.shared.cursor(),
        }
    }

    /// Gives a request its numbers and its meta part.
    fn job(&self, request: Request<R>) -> Job<R> {
        match &request {
            Request::Put(put) => {
                let events = put.body.events as u64;
                let number =
                    |queue: &u16| (*queue, self.shared.slots.at(*queue).lock().number(events));
                let put = PutMeta {
                    events: u32::try_from(events).expect("limited where it was encoded"),
                    queues: match sabotaged!(self.shared.options, FanOutHalf) {
                        true => put.queues.iter().take(1).map(number).collect(),
                        false => put.queues.iter().map(number).collect(),
                    },
                    origin: put.origin.clone(),
                    // A body has less than 1 GiB.
                    inflated: (put.body.flags() > 0)
                        .then(|| u32::try_from(put.body.bytes).unwrap_or(u32::MAX)),
                    take: put.taking.as_ref().map(|taking| taking.meta()),
                };
                Job { meta: put.encode(), put: Some(put), request }
            }
            Request::Take(take) => Job { meta: take.taking.meta().encode(), put: None, request },
            Request::Bury(_) => Job { meta: Vec::new(), put: None, request },
        }
    }

    fn publish(&self, job: Job<R>, header: &Header) {
        let at = Place { segment: header.segment, offset: header.offset };
        let end = Place { segment: header.segment, offset: header.end() };
        match job.request {
            Request::Put(request) => {
                let queues = job.put.map(|put| put.queues).unwrap_or_default();
                for (queue, first) in queues {
                    let slot = self.shared.slots.at(queue);
                    let chunk = Chunk::Live(request.record.clone());
                    let events = 0..request.body.events;
                    let mut held = slot.lock();
                    held.release(request.room);
                    held.publish(Piece { first, chunk, events, directory: self.index }, at, end);
                    let wants = held.wants_reading();
                    drop(held);
                    if wants {
                        self.shared.wake_reader();
                    }
                    slot.changed();
                }
                if let Some(origin) = request.origin {
                    self.shared.remember(LastOf { origin, seen: header.time });
                }
                if let Some(taking) = request.taking {
                    taking.finish(&self.shared);
                }
                drop(request.home);
                (request.done)(Ok(Stored::Now));
            }
            Request::Take(TakeRequest { taking, done }) => {
                taking.finish(&self.shared);
                done(Ok(()));
            }
            Request::Bury(_) => {}
        }
    }

    /// A planted bug: see `Sabotage::OriginBeforeData`.
    fn remember_too_early(&self, job: &Job<R>, seen: u64) {
        if let Request::Put(PutRequest { origin: Some(origin), .. }) = &job.request {
            self.shared.remember(LastOf { origin: origin.clone(), seen });
        }
    }

    /// A planted bug: see `Sabotage::AnswerLatecomers`.
    fn answer_latecomers(&self) {
        let late = std::mem::take(&mut *locked(&self.shared.lines[self.index].inbox));
        for request in late {
            match request {
                Request::Put(put) => (put.done)(Ok(Stored::Now)),
                Request::Take(take) => (take.done)(Ok(())),
                Request::Bury(_) => {}
            }
        }
    }

    /// Something was synced: the watermark rises, and frames of dead segments are void for good.
    fn durable(&mut self) {
        let line = &self.shared.lines[self.index];
        line.watermark.store(self.directory.watermark(), Ordering::Release);
        self.withdraw_stranded();
    }

    /// Frees segments that nobody needs, and makes the next one ready.
    fn tidy(&mut self) {
        if self.shared.check_open().is_err() || self.directory.failed() {
            return;
        }
        for buried in std::mem::take(&mut self.unburied) {
            self.bury(buried);
        }
        self.directory.expect_cursor(self.shared.cursor_bytes());
        let freeable = self.directory.freeable(&self.shared.lows());
        if !freeable.is_empty() && self.write_cursor(&freeable).is_ok() {
            self.directory.free(&freeable);
        }
        self.directory.prepare_ahead(0, 0);
        let line = &self.shared.lines[self.index];
        let full = self.directory.full();
        // Known before anybody is refused for it.
        if full || line.full.load(Ordering::Acquire) {
            *locked(&line.shortage) = self.directory.shortage().cloned();
        }
        if line.full.swap(full, Ordering::AcqRel) && !full {
            for (_, slot) in self.shared.slots.iter() {
                slot.changed();
            }
        }
    }

    /// Writes the state down, without the segments in `freed`.
    fn write_cursor(&mut self, freed: &[u64]) -> Result<(), ()> {
        // Asked for first, so that the cursor has all of it.
        let skipped = self.shared.skipped();
        let mut cursor = self.shared.cursor();
        cursor.segments = self.directory.entries(freed);
        let mut meta = cursor.encode();
        if !self.directory.fits(most_frame_bytes(meta.len(), 0)) {
            let opening = self.shared.cursor();
            let least = most_frame_bytes(meta.len(), 0) + 1024;
            if let Err(error) = self.directory.roll(opening, least) {
                if !error.is_full() {
                    self.note_failure(&error);
                }
                return Err(());
            }
            cursor.segments = self.directory.entries(freed);
            meta = cursor.encode();
        }
        let now = self.shared.options.surroundings.now_millis();
        match self.directory.append_synced(&[Outgoing::bare(Kind::Cursor, &meta, now)]) {
            Ok(_) => {
                self.durable();
                for (queue, numbers) in skipped {
                    self.shared.slots.at(queue).lock().skipped_for_good(&numbers);
                }
                Ok(())
            }
            Err(error) => {
                self.give_up_if_failed(&error.to_string());
                Err(())
            }
        }
    }
}

/// Whether the same batch of the same sender, or a later one, is on its way, so that this one must
/// wait to be compared. What follows in order goes with it: of a torn group only a first part counts.
fn awaits_sender<R: Record>(jobs: &[Job<R>], put: &PutRequest<R>) -> bool {
    put.origin.as_ref().is_some_and(|origin| {
        let origins = jobs.iter().filter_map(|job| job.put.as_ref()?.origin.as_ref());
        let mut same = origins.filter(|other| other.sender == origin.sender);
        same.any(|other| other.order() >= origin.order())
    })
}
