//! Finds out what a directory holds, without writing a byte.

use std::collections::BTreeMap;
use std::io::IoSlice;
use std::sync::Arc;

use crate::error::{Damage, OpenError};
use crate::frame::{Header, Kind, LZ4, SEALED, TAG_BYTES, ZSTD};
use crate::options::{Options, sabotaged};
use crate::record::{CursorMeta, PutMeta, SegmentEntry, SegmentQueue, TakeMeta};
use crate::replay::State;
use crate::segment::{self, FIRST_FRAME, Found, SegmentFile, SegmentHeader, Walk};
use crate::storage::{Asked, DiskError, Shelf, Storage, StorageFile, read_full_at, write_all_at};

mod listing;
mod siblings;
mod trace;

use listing::Listed;
pub use siblings::{Directory, Told, recover_all};

/// Bytes of one read while walking.
const WALK_BYTES: usize = 64 << 10;

/// A frame that is whole but that no later frame knows to be synced: it is written again.
pub struct TailFrame {
    /// The segment it is in.
    pub segment: u64,
    /// Where it ends.
    pub end: u64,
    /// What it says.
    pub kind: Kind,
    /// How its body is compressed.
    pub compression: u8,
    /// Its meta part.
    pub meta: Vec<u8>,
    /// Its body, not encrypted.
    pub body: Vec<u8>,
    /// When it was written.
    pub time: u64,
}

/// A batch by its sender, epoch and sequence.
pub type Sent = ([u8; 16], (u64, u64));

/// A segment that was walked.
pub struct Headed {
    /// Its file.
    pub file: Arc<dyn StorageFile>,
    /// Its header.
    pub header: SegmentHeader,
    /// Where its last good frame ends, of any kind.
    pub frames_end: u64,
}

/// What a directory holds.
pub struct Recovered {
    /// What its frames add up to.
    pub state: State,
    /// What those of them add up to that are known to be synced.
    pub synced: State,
    /// Its segments, all closed.
    pub segments: BTreeMap<u64, (SegmentEntry, Arc<SegmentFile>)>,
    /// Segments that the last cursor names but that are not there or cut short.
    pub missing: Vec<SegmentEntry>,
    /// Segments from the base on that are shorter than their headers say: what stood behind is not known.
    pub cut_short: Vec<SegmentEntry>,
    /// Headers that may so far stand in the page cache only: a process that was killed may have
    /// written them without a sync. They are written again, equal, before anything relies on them.
    pub headers: Vec<Headed>,
    /// Frames to be written again.
    pub tail: Vec<TailFrame>,
    /// Senders, epochs and sequences of the puts that were read here.
    pub origins: Vec<Sent>,
    /// The last frame known to be synced.
    pub watermark: u64,
    /// The last frame that counts.
    pub last_lsn: u64,
    /// The last one that is there, if a sibling has seen later ones of which there is no trace: this
    /// is an older copy of the directory.
    pub older: Option<u64>,
    /// The number for the next segment.
    pub next_number: u64,
    /// Acknowledged bytes that are bad.
    pub damage: Vec<Damage>,
    /// Where frames were cut off that were never acknowledged.
    pub cut: Option<(u64, u64)>,
    /// What keeps few of its segments open.
    pub shelf: Arc<Shelf>,
    /// Files that are of no use any more.
    pub leftovers: Vec<String>,
    /// One of them that never was a segment under its present name: nothing that another crash may
    /// bring back depends on it, so that it can be the next segment at once.
    pub spare: Option<String>,
}

impl Recovered {
    /// Before any frame is looked at.
    fn begun(
        headers: Vec<Headed>,
        watermark: u64,
        next_number: u64,
        shelf: Arc<Shelf>,
        spare: Option<String>,
    ) -> Recovered {
        Recovered {
            state: State::default(),
            synced: State::default(),
            segments: BTreeMap::new(),
            missing: Vec::new(),
            cut_short: Vec::new(),
            headers,
            tail: Vec::new(),
            origins: Vec::new(),
            watermark,
            last_lsn: watermark,
            older: None,
            next_number,
            damage: Vec::new(),
            cut: None,
            shelf,
            leftovers: Vec::new(),
            spare,
        }
    }

    /// Files to be removed: all of no use but the one that becomes the new segment.
    pub fn useless(&self) -> Vec<String> {
        let names = self.leftovers.iter();
        names.filter(|name| Some(*name) != self.spare.as_ref()).cloned().collect()
    }
}

struct Candidate {
    header: SegmentHeader,
    file: Arc<SegmentFile>,
    length: u64,
    /// Why its frames cannot be read, whatever they are.
    locked: Option<OpenError>,
}

impl Candidate {
    /// Whether the cursor that it opens with is good.
    fn opens(&self) -> bool {
        let mut walk = Walk::new(&self.file, FIRST_FRAME, self.length, WALK_BYTES);
        matches!(walk.step(), Some(Found::Frame(frame, meta))
            if segment::opens(&frame, &self.header) && CursorMeta::decode(&meta).is_some())
    }
}

/// A frame that may count, and the segment it is in.
struct Scanned {
    segment: usize,
    header: Header,
    meta: Vec<u8>,
}

/// Reads a directory of the log `log`, of which the others have told this.
pub fn recover(
    storage: &Arc<dyn Storage>,
    log: [u8; 16],
    directory: [u8; 16],
    told: Told,
    options: &Options,
) -> Result<Recovered, OpenError> {
    let shelf = Shelf::new(storage.clone(), options.open_segments);
    let storage = &**storage;
    let Listed { candidates, others: mut leftovers, headless, next: next_number } =
        listing::list(storage, &shelf, log, directory, options)?;
    let next_number = next_number.max(told.next_number());
    let spare = listing::spare(storage, &leftovers, options)?;
    // An opening cursor that a later header made void is no base: nothing in its segment counts.
    let counts = |index: usize| {
        let first = candidates[index].header.first_lsn;
        first < told.void_from(candidates[index].header.number)
            && candidates[index + 1..].iter().all(|later| later.header.first_lsn > first)
    };
    let mut base = 0;
    for index in (0..candidates.len()).rev() {
        // What cannot be read for want of a key is not passed over.
        if let Some(error) = &candidates[index].locked {
            return Err(error.clone());
        }
        if counts(index) && candidates[index].opens() {
            base = index;
            break;
        }
    }
    let Walked { frames, headers, bad, watermark: own } = walk(&candidates, base, told);
    let watermark = own.max(told.seen);
    let mut recovered = Recovered::begun(headers, watermark, next_number, shelf, spare);
    let place = storage.place();
    let mut entries: Vec<SegmentEntry> = candidates
        .iter()
        .map(|candidate| SegmentEntry {
            number: candidate.header.number,
            first_lsn: candidate.header.first_lsn,
            last_lsn: candidate.header.first_lsn.saturating_sub(1),
            end: FIRST_FRAME,
            ..SegmentEntry::default()
        })
        .collect();
    let mut expected = candidates.get(base).map_or(1, |base| base.header.first_lsn);
    let mut table: Option<(u64, Vec<SegmentEntry>)> = None;
    let mut synced = None;
    for Scanned { segment, header, meta } in &frames {
        let candidate = &candidates[*segment];
        if header.lsn < expected {
            continue;
        }
        let durable = header.lsn <= watermark;
        let lost_until = if durable { header.lsn } else { watermark + 1 };
        if expected < lost_until {
            recovered.damage.push(damage(
                &place,
                &entries[*segment],
                &bad[*segment],
                Some(header.offset),
                expected..lost_until,
            ));
            expected = lost_until;
        }
        let body = if durable { Some(None) } else { whole(candidate, header).map(Some) };
        let Some(body) = body.filter(|_| header.lsn == expected) else {
            recovered.cut = Some((candidate.header.number, header.offset));
            break;
        };
        expected = header.lsn + 1;
        if !durable {
            synced.get_or_insert_with(|| recovered.state.clone());
        }
        let understood = fold(&mut recovered.state, &mut table, header, meta);
        let Some(put) = understood else {
            recovered.damage.push(damage(
                &place,
                &entries[*segment],
                &[(header.offset, header.end())],
                Some(header.end()),
                header.lsn..expected,
            ));
            continue;
        };
        if let Some(origin) = put.as_ref().and_then(|put| put.origin.as_ref()) {
            recovered.origins.push((origin.sender, origin.order()));
        }
        match body {
            Some(body) => {
                recovered.tail.push(TailFrame {
                    segment: header.segment,
                    end: header.end(),
                    kind: header.kind,
                    compression: header.flags & (LZ4 | ZSTD),
                    meta: meta.clone(),
                    body,
                    time: header.time,
                });
            }
            None => {
                let entry = &mut entries[*segment];
                entry.last_lsn = header.lsn;
                entry.end = header.end();
                if let Some(put) = put {
                    count_put(entry, &put, header);
                }
            }
        }
    }
    if expected <= watermark {
        let walked = || candidates.iter().zip(&bad).skip(base);
        let there =
            own >= watermark || walked().any(|(one, bad)| trace::of(one, bad, expected, watermark));
        match candidates.len().checked_sub(1).filter(|_| there) {
            Some(last) => {
                let lost = expected..watermark + 1;
                recovered.damage.push(damage(&place, &entries[last], &bad[last], None, lost));
            }
            None => recovered.older = Some(expected - 1),
        }
        expected = watermark + 1;
    }
    recovered.last_lsn = expected - 1;
    recovered.synced = synced.unwrap_or_else(|| recovered.state.clone());
    // The opening cursor and whatever repeats the state are of no use in the next segment.
    recovered.tail.retain(|frame| frame.kind != Kind::Cursor);
    if sabotaged!(options, TailNotCopied) {
        recovered.tail.clear();
    }
    let known = table.map(|(_, entries)| entries).unwrap_or_default();
    recovered.cut_short = behind_base(&candidates, base, headless);
    sort_out(&mut recovered, &candidates, base, entries, known, options, &mut leftovers);
    recovered.leftovers = leftovers;
    // An older segment's key is needed as long as the segment is.
    let needed = |one: &&Candidate| recovered.segments.contains_key(&one.header.number);
    if let Some(error) = candidates.iter().filter(needed).find_map(|one| one.locked.clone()) {
        return Err(error);
    }
    Ok(recovered)
}

/// Files newer than the base that are too short for a header.
fn behind_base(candidates: &[Candidate], base: usize, headless: Vec<u64>) -> Vec<SegmentEntry> {
    let base_number = candidates.get(base).map_or(0, |base| base.header.number);
    let headless = headless.into_iter().filter(|number| *number > base_number);
    headless.map(|number| SegmentEntry { number, ..SegmentEntry::default() }).collect()
}

/// Tells the segments that are there from those that should be and those of no use: the base and
/// later ones by what was read, the older ones by what the last cursor knew.
fn sort_out(
    recovered: &mut Recovered,
    candidates: &[Candidate],
    base: usize,
    entries: Vec<SegmentEntry>,
    known: Vec<SegmentEntry>,
    options: &Options,
    leftovers: &mut Vec<String>,
) {
    let base_number = candidates.get(base).map_or(0, |base| base.header.number);
    let ends: BTreeMap<u64, u64> = known.iter().map(|entry| (entry.number, entry.end)).collect();
    for entry in known.into_iter().filter(|entry| entry.number < base_number) {
        let found = candidates[..base].iter().find(|one| one.header.number == entry.number);
        match found {
            Some(found) if found.length >= entry.end => {
                found.file.close(entry.end);
                recovered.segments.insert(entry.number, (entry, found.file.clone()));
            }
            Some(found) if options.accept.segments => {
                // What is left of it is kept; the rest is a gap.
                let entry = SegmentEntry { end: entry.end.min(found.length), ..entry };
                found.file.close(entry.end);
                recovered.missing.push(entry.clone());
                recovered.segments.insert(entry.number, (entry, found.file.clone()));
            }
            _ => recovered.missing.push(entry),
        }
    }
    for (index, (candidate, entry)) in candidates.iter().zip(entries).enumerate() {
        let number = candidate.header.number;
        if index >= base {
            // Who is closed is known by its end, as a full disk may have cost it what lay behind.
            let promised = ends.get(&number).copied().unwrap_or(candidate.header.length);
            if candidate.length < promised {
                recovered.cut_short.push(entry.clone());
            }
            candidate.file.close(entry.end);
            recovered.segments.insert(number, (entry, candidate.file.clone()));
        } else if !recovered.segments.contains_key(&number) {
            leftovers.push(segment::name(number));
        }
    }
    let missing: Vec<_> = recovered
        .missing
        .iter()
        .chain(&recovered.cut_short)
        .map(|entry| segment::name(entry.number))
        .collect();
    leftovers.retain(|name| !missing.contains(name));
}

/// What walking over the segments from the base on came upon.
struct Walked {
    /// Frames that may count.
    frames: Vec<Scanned>,
    headers: Vec<Headed>,
    /// Per candidate from where to where there is no frame.
    bad: Vec<Vec<(u64, u64)>>,
    /// The highest in any header.
    watermark: u64,
}

fn walk(candidates: &[Candidate], base: usize, told: Told) -> Walked {
    let (mut frames, mut headers) = (Vec::new(), Vec::new());
    let mut bad: Vec<Vec<(u64, u64)>> = vec![Vec::new(); candidates.len()];
    let mut watermark = candidates.iter().map(|one| one.header.watermark).max().unwrap_or(0);
    for (index, candidate) in candidates.iter().enumerate().skip(base) {
        let later = candidates[index + 1..].iter().map(|later| later.header.first_lsn);
        let void_from =
            later.min().unwrap_or(u64::MAX).min(told.void_from(candidate.header.number));
        let mut walk = Walk::new(&candidate.file, FIRST_FRAME, candidate.length, WALK_BYTES);
        let mut frames_end = FIRST_FRAME;
        while let Some(found) = walk.step() {
            match found {
                Found::Frame(header, meta) => {
                    watermark = watermark.max(header.watermark);
                    frames_end = header.end();
                    if header.lsn < void_from && header.lsn >= candidate.header.first_lsn {
                        frames.push(Scanned { segment: index, header, meta });
                    }
                }
                Found::Bad { from, to } => bad[index].push((from, to)),
            }
        }
        let (file, header) = (candidate.file.file.clone(), candidate.header.clone());
        headers.push(Headed { file, header, frames_end });
    }
    Walked { frames, headers, bad, watermark }
}

/// The body of a frame, if it is good.
fn whole(candidate: &Candidate, header: &Header) -> Option<Vec<u8>> {
    Walk::new(&candidate.file, header.offset, candidate.length, 0).body(header)
}

/// Adds a frame to the state; `None` if its meta part makes no sense.
fn fold(
    state: &mut State,
    table: &mut Option<(u64, Vec<SegmentEntry>)>,
    header: &Header,
    meta: &[u8],
) -> Option<Option<PutMeta>> {
    match header.kind {
        Kind::Put => {
            let put = PutMeta::decode(meta)?;
            state.put(&put, header.time);
            Some(Some(put))
        }
        Kind::Take => {
            state.take(&TakeMeta::decode(meta)?);
            Some(None)
        }
        Kind::Cursor => {
            let cursor = CursorMeta::decode(meta)?;
            state.cursor(&cursor);
            if table.as_ref().is_none_or(|(lsn, _)| *lsn < header.lsn) {
                *table = Some((header.lsn, cursor.segments));
            }
            Some(None)
        }
    }
}

/// Adds a put to what its segment is known to hold.
pub fn count_put(entry: &mut SegmentEntry, put: &PutMeta, header: &Header) {
    let tag = if header.flags & SEALED > 0 { TAG_BYTES as u64 } else { 0 };
    let stored = u64::from(header.body_bytes).saturating_sub(tag);
    let body = put.inflated.map_or(stored, u64::from);
    let bytes = body.saturating_sub(4 * u64::from(put.events));
    if entry.events == 0 {
        entry.times.0 = header.time;
    }
    entry.times.1 = header.time;
    entry.events += u64::from(put.events);
    for (queue, first) in &put.queues {
        let numbers = *first..first + u64::from(put.events);
        match entry.queues.iter_mut().find(|held| held.queue == *queue) {
            Some(held) => {
                held.numbers.start = held.numbers.start.min(numbers.start);
                held.numbers.end = held.numbers.end.max(numbers.end);
                held.bytes += bytes;
            }
            None => entry.queues.push(SegmentQueue { queue: *queue, numbers, bytes }),
        }
    }
}

/// Names what is lost before `until`, with the bad bytes nearest to it.
fn damage(
    place: &str,
    entry: &SegmentEntry,
    bad: &[(u64, u64)],
    until: Option<u64>,
    lost: std::ops::Range<u64>,
) -> Damage {
    let near = bad.iter().rev().find(|(from, _)| until.is_none_or(|until| *from < until));
    let (from, to) = near.copied().unwrap_or((entry.end, entry.end));
    Damage {
        place: place.to_owned(),
        segment: entry.number,
        offset: from,
        bytes: to - from,
        lsns: Some(lost.start..=lost.end - 1),
    }
}

/// Most bytes of one piece of damage that are copied aside.
const MOST_QUARANTINED: usize = 4 << 20;

/// Copies damaged bytes aside, once.
pub fn quarantine(
    storage: &dyn Storage,
    file: &dyn StorageFile,
    damage: &Damage,
) -> Result<(), DiskError> {
    let name = format!("damaged-{:020}-{:012}", damage.segment, damage.offset);
    if storage.list().asked("list", "", storage)?.contains(&name) {
        return Ok(());
    }
    let length = usize::try_from(damage.bytes).unwrap_or(usize::MAX).min(MOST_QUARANTINED);
    let mut bytes = vec![0; length];
    // What cannot be read is the damage; the file's name is the note that it is there.
    let read = read_full_at(file, &mut bytes, damage.offset).unwrap_or(0);
    let copy = storage.create(&name).asked("create", &name, storage)?;
    write_all_at(&*copy, &mut [IoSlice::new(&bytes[..read])], 0).asked("write", &name, storage)?;
    copy.sync_data().asked("sync", &name, storage)?;
    storage.sync_dir().asked("sync the names in", "", storage)
}
