//! Brings events back from disk: large reads, frame after frame, the directories merged in the
//! order of the queue's numbers.

use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use crate::committer::StopOnPanic;
use crate::directory::Registry;
use crate::error::Damage;
use crate::frame::Kind;
use crate::log::{Shared, locked};
use crate::options::{Notice, OnDamage, Options};
use crate::pack::inflate;
use crate::queue::{Chunk, Errand, Piece, Place, ReadPlace};
use crate::ranges::Ranges;
use crate::record::{PutMeta, Record, event_offsets};
use crate::recovery::quarantine;
use crate::segment::{FIRST_FRAME, Found, SegmentFile, Walk};
use crate::storage::Storage;

/// Brings events back from disk for all queues of a log.
pub struct Reader<R: Record> {
    pub(crate) shared: Arc<Shared<R>>,
    pub(crate) storages: Vec<Arc<dyn Storage>>,
}

impl<R: Record> Reader<R> {
    /// Reads for each queue that has something to be read and room for it.
    pub fn read_waiting(&self) -> bool {
        let mut any = false;
        for (id, slot) in self.shared.slots.iter() {
            let Some(errand) = slot.lock().send_reader() else { continue };
            any = true;
            let options = &self.shared.options;
            let brought = read(id, errand, &self.shared.registries, options);
            if !self.accept(&brought.damage) {
                slot.lock().dismiss(brought.place);
                continue;
            }
            let skipped = slot.lock().receive(brought.place, brought.pieces, brought.void);
            if skipped > 0 {
                let names = &locked(&self.shared.roster).member.queues;
                let queue = names.get(usize::from(id)).cloned().unwrap_or_default();
                (options.notice)(Notice::Skipped { queue, events: skipped });
            }
            slot.changed();
        }
        any
    }

    /// Sets damage aside, or stops the log. Says whether to go on.
    fn accept(&self, damage: &[(usize, Arc<SegmentFile>, Damage)]) -> bool {
        for (directory, segment, damage) in damage {
            let options = &self.shared.options;
            (options.notice)(Notice::Damaged(damage.clone()));
            if options.on_damage == OnDamage::Halt {
                self.shared.stop(&damage.to_string());
                return false;
            }
            let storage = &*self.storages[*directory];
            if let Err(error) = quarantine(storage, &*segment.file, damage) {
                // The copy is for people; that it could not be made must not hold up the rest.
                let (place, why) = (storage.place(), error.to_string());
                (options.notice)(Notice::Untidy { place, why });
            }
        }
        true
    }

    pub(crate) fn run(self) {
        let guard = StopOnPanic::of(&self.shared, None);
        loop {
            let mut wanted = locked(&self.shared.reading.0);
            while !*wanted {
                wanted = self.shared.reading.1.wait(wanted).unwrap_or_else(PoisonError::into_inner);
            }
            *wanted = false;
            drop(wanted);
            if self.shared.closing.load(Ordering::Acquire) {
                break;
            }
            while self.read_waiting() && !self.shared.closing.load(Ordering::Acquire) {}
        }
        std::mem::forget(guard);
    }
}

/// What came of an errand.
pub struct Brought<R> {
    /// Where the next errand goes on.
    pub place: ReadPlace<R>,
    /// Events in order.
    pub pieces: Vec<Piece<R>>,
    /// Numbers that no frame has.
    pub void: Vec<Range<u64>>,
    /// Bad bytes on the way: the directory, the segment, and where.
    pub damage: Vec<(usize, Arc<SegmentFile>, Damage)>,
}

/// Reads until the errand's room is used up or all that was published is read.
pub fn read<R: Record>(
    queue: u16,
    errand: Errand<R>,
    registries: &[(String, Arc<Registry>)],
    options: &Options,
) -> Brought<R> {
    let Errand { mut place, ends, in_flight, next, room } = errand;
    let (mut pieces, mut void, mut damage) = (Vec::new(), Vec::new(), Vec::new());
    let mut used = 0;
    loop {
        for (directory, (name, registry)) in registries.iter().enumerate() {
            while place.heads[directory].is_empty() && place.at[directory] < ends[directory] {
                let frames = Frames { queue, directory, place: name, registry, options };
                frames.advance(&mut place, ends[directory], &mut damage);
            }
        }
        let heads = place.heads.iter().enumerate();
        let first = heads.filter_map(|(at, head)| Some((head.front()?.first, at))).min();
        let Some((number, directory)) = first else {
            skip(&mut void, &in_flight, place.expected..next);
            // What is in flight comes after all that was read, and is expected then.
            place.expected =
                in_flight.iter().next().map_or(next, |range| range.start).max(place.expected);
            break;
        };
        if used >= room && !pieces.is_empty() {
            break;
        }
        skip(&mut void, &in_flight, place.expected..number);
        let Some(piece) = place.heads[directory].pop_front() else { break };
        place.expected = place.expected.max(piece.numbers().end);
        used += usize::try_from(piece.count().bytes).unwrap_or(usize::MAX);
        pieces.push(piece);
    }
    Brought { place, pieces, void, damage }
}

/// Numbers below what is read next are neither published nor, unless in flight, ever will be.
fn skip(void: &mut Vec<Range<u64>>, in_flight: &Ranges, numbers: Range<u64>) {
    if !numbers.is_empty() {
        void.extend(in_flight.missing(numbers));
    }
}

struct Frames<'a> {
    queue: u16,
    directory: usize,
    place: &'a str,
    registry: &'a Registry,
    options: &'a Options,
}

impl Frames<'_> {
    /// Reads on in one directory, about one read's worth of frames.
    fn advance<R: Record>(
        &self,
        place: &mut ReadPlace<R>,
        end: Place,
        damage: &mut Vec<(usize, Arc<SegmentFile>, Damage)>,
    ) {
        let at = place.at[self.directory];
        let Some(segment) =
            self.registry.at_or_after(at.segment).filter(|found| found.number <= end.segment)
        else {
            place.at[self.directory] = end;
            return;
        };
        let start = if segment.number == at.segment { at.offset } else { FIRST_FRAME };
        let last = segment.number == end.segment;
        let stop = if last { end.offset.min(segment.end()) } else { segment.end() };
        let mut walk = Walk::new(&segment, start.max(FIRST_FRAME), stop, self.options.read_bytes);
        #[cfg(feature = "sabotage")]
        {
            let planted = self.options.sabotage == Some(crate::options::Sabotage::ChecksumSkipped);
            walk = walk.trusting(planted);
        }
        let mut bad = Vec::new();
        let mut brought = 0;
        while brought < self.options.read_bytes {
            match walk.step() {
                None => break,
                Some(Found::Bad { from, to }) => bad.push((from, to)),
                Some(Found::Frame(header, meta)) if header.kind == Kind::Put => {
                    let Some(put) = PutMeta::decode(&meta) else {
                        bad.push((header.offset, header.end()));
                        continue;
                    };
                    let Some((_, first)) =
                        put.queues.iter().find(|(queue, _)| *queue == self.queue)
                    else {
                        continue;
                    };
                    let body = walk.body(&header);
                    let body = body.and_then(|body| inflate(header.flags, body, put.inflated));
                    let found =
                        body.and_then(|body| Some((event_offsets(&body, put.events)?, body)));
                    match found {
                        Some((offsets, body)) => {
                            brought += body.len();
                            place.heads[self.directory].push_back(Piece {
                                first: *first,
                                events: 0..put.events as usize,
                                chunk: Chunk::Stored(Arc::new(body), Arc::new(offsets)),
                                directory: self.directory,
                            });
                        }
                        None => bad.push((header.offset, header.end())),
                    }
                }
                Some(Found::Frame(..)) => {}
            }
        }
        place.at[self.directory] = match walk.at() >= stop {
            true if last => end,
            true => Place { segment: segment.number + 1, offset: FIRST_FRAME },
            false => Place { segment: segment.number, offset: walk.at() },
        };
        // A segment freed while it was read is not damaged: nobody needs what was in it.
        if !bad.is_empty() && self.registry.has(segment.number) {
            damage.extend(bad.into_iter().map(|(from, to)| {
                let place = self.place.to_owned();
                let (number, bytes) = (segment.number, to - from);
                let found = Damage { place, segment: number, offset: from, bytes, lsns: None };
                (self.directory, segment.clone(), found)
            }));
        }
    }
}
