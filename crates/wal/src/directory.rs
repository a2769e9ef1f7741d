//! One directory of a log: append, roll, free. Owned by one thread; readers share its [`Registry`].

use std::collections::BTreeMap;
use std::io::IoSlice;
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::OpenError;
use crate::frame::{Header, Kind, TAG_BYTES, frame_bytes, most_frame_bytes};
use crate::options::{Notice, Options, Shortage, Syncs, sabotaged};
use crate::queue::Place;
use crate::record::{CursorMeta, PutMeta, SegmentEntry, checksum};
use crate::recovery::Recovered;
use crate::segment::{self, COPY_BYTES, FIRST_FRAME, SegmentFile, SegmentHeader};
use crate::storage::{Asked, DiskError, Shelf, Storage, StorageFile, write_all_at};

mod room;
mod writing;

/// Failures one after another that stop a directory for good.
const MOST_FAILURES: u32 = 3;

/// The segments of a directory that may be read.
#[derive(Default)]
pub struct Registry(Mutex<BTreeMap<u64, Arc<SegmentFile>>>);

impl Registry {
    /// The first segment from `number` on.
    pub fn at_or_after(&self, number: u64) -> Option<Arc<SegmentFile>> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.range(number..).next().map(|(_, file)| file.clone())
    }

    /// Whether this segment is still there.
    pub fn has(&self, number: u64) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&number)
    }

    pub(crate) fn add(&self, file: Arc<SegmentFile>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(file.number, file);
    }

    fn drop_one(&self, number: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
    }
}

/// A frame to be written.
pub struct Outgoing<'a> {
    /// What it says.
    pub kind: Kind,
    /// How its body is compressed.
    pub flags: u8,
    /// Its meta part.
    pub meta: &'a [u8],
    /// Its body in parts.
    pub body: Vec<&'a [u8]>,
    /// Bytes of the body.
    pub body_bytes: usize,
    /// CRC-32C of the body.
    pub body_crc: u32,
    /// Milliseconds since 1970.
    pub time: u64,
    /// What the meta part says, if it is a put.
    pub put: Option<&'a PutMeta>,
}

impl Outgoing<'_> {
    /// A frame without a body.
    pub fn bare(kind: Kind, meta: &[u8], time: u64) -> Outgoing<'_> {
        let (body, body_bytes, body_crc) = (Vec::new(), 0, 0);
        Outgoing { kind, flags: 0, meta, body, body_bytes, body_crc, time, put: None }
    }
}

struct Current {
    file: Arc<SegmentFile>,
    /// Where the next frame goes.
    offset: u64,
    length: u64,
    /// Whether its header says that puts in it may take, too.
    exchanges: bool,
    /// Header and opening cursor, until they are written together with the first frames.
    opening: Option<(SegmentHeader, Vec<u8>)>,
}

struct Spare {
    number: u64,
    file: Arc<dyn StorageFile>,
    length: u64,
}

/// Who a directory is.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    /// The log.
    pub log: [u8; 16],
    /// The directory.
    pub directory: [u8; 16],
}

/// One directory of a log.
pub struct Directory {
    storage: Arc<dyn Storage>,
    identity: Identity,
    options: Options,
    registry: Arc<Registry>,
    shelf: Arc<Shelf>,
    table: BTreeMap<u64, SegmentEntry>,
    lengths: BTreeMap<u64, u64>,
    current: Option<Current>,
    spare: Option<Spare>,
    /// A file that was a segment and may become one again.
    retired: Option<(String, Arc<dyn StorageFile>)>,
    /// Blocks held for takes and for the next start when the disk is full.
    reserve: Option<(Arc<dyn StorageFile>, u64)>,
    /// About what a cursor takes now, without the segments, and what these took when the last began.
    cursor_bytes: u64,
    table_bytes: u64,
    next_number: u64,
    next_lsn: u64,
    /// Whether puts may take, too, in the segments that are begun from now on.
    exchanges: bool,
    /// The highest frame that was synced.
    watermark: u64,
    /// The highest frame that counts: synced, or, with syncs now and then, written.
    written: u64,
    /// Bytes that count and are not synced.
    unsynced: u64,
    failures: u32,
    /// Why there is no room for puts, if there is none.
    shortage: Option<Shortage>,
    /// Until when at least no put is tried, on the clock that nobody sets: a write found no room, though its
    /// file had the length.
    crowded: Option<u64>,
    /// The last segment that was begun, be it that it has gone since.
    last_begun: u64,
    /// The current segment when all of the table was looked at last.
    looked_at: Option<u64>,
}

impl Directory {
    /// Takes over what recovery found; nothing is written yet.
    pub fn new(
        storage: Arc<dyn Storage>,
        identity: Identity,
        options: Options,
        recovered: &Recovered,
    ) -> Directory {
        let registry = Arc::new(Registry::default());
        let mut table = BTreeMap::new();
        for (number, (entry, file)) in &recovered.segments {
            registry.add(file.clone());
            table.insert(*number, entry.clone());
        }
        Directory {
            storage,
            identity,
            options,
            registry,
            shelf: recovered.shelf.clone(),
            table,
            lengths: BTreeMap::new(),
            current: None,
            spare: None,
            retired: None,
            reserve: None,
            cursor_bytes: 0,
            table_bytes: 0,
            next_number: recovered.next_number,
            next_lsn: recovered.watermark + 1,
            exchanges: false,
            watermark: recovered.watermark,
            written: recovered.watermark,
            unsynced: 0,
            failures: 0,
            shortage: None,
            crowded: None,
            last_begun: recovered.segments.keys().next_back().copied().unwrap_or(0),
            looked_at: None,
        }
    }

    /// Begins the segment of this run with the tail that recovery kept: frames first, synced, and
    /// only then the header that makes them count and the old ones void.
    pub fn begin(&mut self, cursor: CursorMeta, recovered: &Recovered) -> Result<(), OpenError> {
        let tail = &recovered.tail;
        let tail_bytes: u64 =
            tail.iter().map(|frame| most_frame_bytes(frame.meta.len(), frame.body.len())).sum();
        let puts: Vec<_> = tail
            .iter()
            .map(|frame| (frame.kind == Kind::Put).then(|| PutMeta::decode(&frame.meta)).flatten())
            .collect();
        self.exchanges = puts.iter().flatten().any(|put| put.take.is_some());
        self.find_reserve();
        // A spare of the last run saves making one.
        self.retired = recovered
            .spare
            .as_ref()
            .and_then(|name| self.storage.open(name).ok().map(|file| (name.clone(), file)));
        let header = match self.roll(cursor.clone(), tail_bytes) {
            Err(error) if error.is_full() => {
                self.shorten(recovered)?;
                self.roll(cursor, tail_bytes)?
            }
            other => other?,
        };
        if !self.storage.preallocates() {
            (self.options.notice)(Notice::NoRoomAhead { place: self.storage.place() });
        }
        let frames: Vec<_> = tail
            .iter()
            .zip(&puts)
            .map(|(frame, put)| Outgoing {
                kind: frame.kind,
                flags: frame.compression,
                meta: &frame.meta,
                body: vec![&frame.body],
                body_bytes: frame.body.len(),
                body_crc: checksum(&frame.body),
                time: frame.time,
                put: put.as_ref(),
            })
            .collect();
        if sabotaged!(self.options, HeaderFirst) {
            self.write(&frames, true, true)?;
            return Ok(());
        }
        self.write(&frames, false, true)?;
        let header = SegmentHeader { watermark: self.watermark, ..header };
        let Some(current) = &self.current else { return Ok(()) };
        self.write_header(&*current.file.file, &header)?;
        Ok(())
    }

    /// Writes again, equal, what may so far stand in the page cache only. Done in all directories
    /// before any of them writes down what the others hold.
    pub fn harden(&self, recovered: &Recovered) -> Result<(), OpenError> {
        for one in &recovered.headers {
            self.replace_header(&*one.file, &one.header)?;
        }
        Ok(())
    }

    /// Writes a header over another, one copy after the other: on the disk these bytes may be new,
    /// whatever the page cache says, and a torn write may spoil them.
    fn replace_header(
        &self,
        file: &dyn StorageFile,
        header: &SegmentHeader,
    ) -> Result<(), DiskError> {
        for copy in [0, COPY_BYTES as u64] {
            write_all_at(file, &mut [IoSlice::new(&header.encode())], copy)
                .and_then(|()| file.sync_data())
                .asked("write", &segment::name(header.number), &*self.storage)?;
        }
        Ok(())
    }

    /// Writes both copies of the first header of a segment, and syncs them.
    fn write_header(
        &self,
        file: &dyn StorageFile,
        header: &SegmentHeader,
    ) -> Result<(), DiskError> {
        let copy = header.encode();
        write_all_at(file, &mut [IoSlice::new(&copy), IoSlice::new(&copy)], 0)
            .and_then(|()| file.sync_data())
            .asked("write", &segment::name(header.number), &*self.storage)
    }

    /// The segments that may be read.
    pub fn registry(&self) -> Arc<Registry> {
        self.registry.clone()
    }

    /// Where its frames end.
    pub fn end(&self) -> Place {
        let current = self.current.as_ref();
        Place {
            segment: current.map_or(self.next_number, |current| current.file.number),
            offset: current.map_or(FIRST_FRAME, |current| current.offset),
        }
    }

    /// Where it is.
    pub fn place(&self) -> String {
        self.storage.place()
    }

    /// The highest frame known to be synced.
    pub fn watermark(&self) -> u64 {
        self.watermark
    }

    /// Whether it takes no more frames.
    pub fn failed(&self) -> bool {
        self.failures >= MOST_FAILURES
    }

    /// Whether there is no room for another segment.
    pub fn full(&self) -> bool {
        self.shortage.is_some()
    }

    /// Why there is none.
    pub fn shortage(&self) -> Option<&Shortage> {
        self.shortage.as_ref()
    }

    /// Whether a segment is open and has room for `bytes` more.
    pub fn fits(&self, bytes: u64) -> bool {
        self.current.as_ref().is_some_and(|current| current.offset + bytes <= current.length)
    }

    /// Whether puts in the present segment may take, too.
    pub fn exchanges(&self) -> bool {
        self.current.as_ref().is_some_and(|current| current.exchanges)
    }

    /// Has every segment from the next one on say that puts in it may take, too.
    pub fn allow_exchanges(&mut self) {
        self.exchanges = true;
    }

    /// Ends the current segment and makes ready the next one, with room for `least` bytes of
    /// frames. Its header and the cursor it opens with are written with the first frames.
    pub fn roll(&mut self, mut cursor: CursorMeta, least: u64) -> Result<SegmentHeader, DiskError> {
        cursor.segments = self.table.values().cloned().collect();
        let meta = cursor.encode();
        self.check_meta(&meta)?;
        self.table_bytes = cursor.segments.iter().map(SegmentEntry::cursor_bytes).sum();
        // All of a segment is synced before the next one's cursor speaks of it.
        if !sabotaged!(self.options, NoSyncBeforeRoll) {
            self.sync()?;
        }
        let least = FIRST_FRAME + most_frame_bytes(meta.len(), 0) + least;
        let made = match self.spare.take() {
            // Of all files the reserve is the likeliest to have blocks.
            spare if self.crowded.is_some() && self.use_reserve() => {
                let made = self.prepare(least, true);
                self.retire(spare);
                made
            }
            Some(spare) if spare.length >= least => Ok(spare),
            small => {
                // Too small for a frame this large: the file is made longer.
                self.retire(small);
                self.prepare(least, false)
            }
        };
        let spare = match made {
            // With a full disk a short segment does: there will be only takes in it.
            Err(error) if error.is_full() => {
                self.use_reserve();
                self.note_shortage(Some(self.shortage_of(least, 0, &error)));
                self.prepare(least, true)?
            }
            other => other?,
        };
        let mut salt = [0; 32];
        self.options.surroundings.random(&mut salt).asked(
            "read randomness for",
            "",
            &*self.storage,
        )?;
        // Only now that there is another: what still fits this one goes on without.
        self.end_current();
        self.next_lsn = self.written + 1;
        let header = SegmentHeader {
            log: self.identity.log,
            directory: self.identity.directory,
            number: spare.number,
            first_lsn: self.next_lsn,
            salt,
            begun: self.options.surroundings.now_millis(),
            watermark: self.watermark,
            length: spare.length,
            exchanges: self.exchanges,
            sealed: None,
        };
        let (header, cipher) = self.lock_up(header)?;
        let opening_bytes = frame_bytes(meta.len() + cipher.as_ref().map_or(0, |_| TAG_BYTES), 0);
        let file = self.shelf.hold(segment::name(spare.number), spare.file);
        let file = Arc::new(SegmentFile::new(&header, cipher, file, u64::MAX));
        self.registry.add(file.clone());
        self.last_begun = spare.number;
        self.lengths.insert(spare.number, spare.length);
        self.table.insert(
            spare.number,
            SegmentEntry {
                number: spare.number,
                first_lsn: self.next_lsn,
                last_lsn: self.written,
                end: FIRST_FRAME,
                ..SegmentEntry::default()
            },
        );
        self.current = Some(Current {
            file,
            offset: FIRST_FRAME + opening_bytes,
            length: spare.length,
            exchanges: header.exchanges,
            opening: Some((header.clone(), meta)),
        });
        Ok(header)
    }

    /// Writes frames that fit, with one sync, or with none if the options say so. On an error none
    /// of them counts, and the segment takes no more.
    pub fn append(&mut self, frames: &[Outgoing<'_>]) -> Result<Vec<Header>, DiskError> {
        let synced = match self.options.sync {
            Syncs::Each => true,
            Syncs::Every(interval) if interval.is_zero() => true,
            Syncs::Every(_) => {
                self.current.as_ref().is_none_or(|current| current.opening.is_some())
            }
        };
        self.append_with(frames, synced)
    }

    /// [`Directory::append`], synced whatever the options say.
    pub fn append_synced(&mut self, frames: &[Outgoing<'_>]) -> Result<Vec<Header>, DiskError> {
        self.append_with(frames, true)
    }

    fn append_with(
        &mut self,
        frames: &[Outgoing<'_>],
        synced: bool,
    ) -> Result<Vec<Header>, DiskError> {
        let bytes: u64 =
            frames.iter().map(|frame| most_frame_bytes(frame.meta.len(), frame.body_bytes)).sum();
        frames.iter().try_for_each(|frame| self.check_meta(frame.meta))?;
        if !synced && self.unsynced + bytes > self.options.group_bytes {
            // A start must be able to write again all that is not synced.
            self.sync()?;
        }
        let done = self.write(frames, true, synced);
        match &done {
            Ok(_) => self.failures = 0,
            Err(error) => self.bury(error),
        }
        done
    }

    /// Syncs what counts and is not synced yet. An error ends the segment; what counted goes on to count.
    pub fn sync(&mut self) -> Result<(), DiskError> {
        let Some(current) = &self.current else { return Ok(()) };
        // The first write of a segment is synced anyhow.
        if self.unsynced == 0 || current.opening.is_some() {
            return Ok(());
        }
        let name = segment::name(current.file.number);
        let done = current.file.file.sync_data().asked("sync", &name, &*self.storage);
        match &done {
            Ok(()) => {
                self.watermark = self.written;
                self.unsynced = 0;
            }
            Err(error) => self.bury(error),
        }
        done
    }

    /// Bytes that count and that no sync has covered.
    pub fn unsynced(&self) -> u64 {
        self.unsynced
    }

    /// What it may hold after a failure and must not count, in which segments: the last one, and
    /// above which LSN.
    pub fn void(&self) -> (u64, u64) {
        (self.last_begun, self.written)
    }

    /// A segment that it cannot go on without could not be made.
    pub fn note_failure(&mut self, error: &DiskError) {
        self.failures += 1;
        if self.failed() {
            let (place, why) = (self.storage.place(), error.to_string());
            (self.options.notice)(Notice::DirectoryFailed { place, why });
        }
    }

    /// A write or sync failed: the segment takes no more.
    fn bury(&mut self, error: &DiskError) {
        if error.is_full() {
            return self.bury_for_room(error);
        }
        self.failures += 1;
        let (place, why) = (self.storage.place(), error.to_string());
        let segment = self.current.as_ref().map_or(0, |current| current.file.number);
        let dead = Notice::SegmentDead { place: place.clone(), segment, why: why.clone() };
        (self.options.notice)(dead);
        // Without a length it is removed one day, and never used again: no second sync.
        self.lengths.remove(&segment);
        self.end_current();
        if self.failed() {
            (self.options.notice)(Notice::DirectoryFailed { place, why });
        }
    }

    /// What a cursor says of the segments, without those in `freed`.
    pub fn entries(&self, freed: &[u64]) -> Vec<SegmentEntry> {
        let current = self.current.as_ref().map(|current| current.file.number);
        self.table
            .values()
            .filter(|entry| Some(entry.number) != current && !freed.contains(&entry.number))
            .cloned()
            .collect()
    }

    /// The closed segments that no queue needs, given each queue's lowest number not taken. Looks
    /// at the oldest one, and at the others when that can go, a segment was begun since, or there is no
    /// room for another.
    pub fn freeable(&mut self, lows: &BTreeMap<u16, u64>) -> Vec<u64> {
        let current = self.current.as_ref().map(|current| current.file.number);
        let begun = self.looked_at != current;
        self.looked_at = current;
        let early = if sabotaged!(self.options, RemovedTooEarly) { 3 } else { 0 };
        let done = |entry: &SegmentEntry| {
            entry.queues.iter().all(|held| {
                lows.get(&held.queue).is_some_and(|low| held.numbers.end <= *low + early)
            })
        };
        // What others need of the oldest must not keep a full disk full.
        let short = self.full() || self.spare.is_none();
        if !begun && !short && self.table.values().next().is_some_and(|oldest| !done(oldest)) {
            return Vec::new();
        }
        self.table
            .values()
            .filter(|entry| Some(entry.number) != current && done(entry))
            .map(|entry| entry.number)
            .collect()
    }

    /// Closes the current segment where its last frame that counts ends.
    fn end_current(&mut self) {
        if let Some(current) = self.current.take() {
            let number = current.file.number;
            let end = self.table.get(&number).map_or(FIRST_FRAME, |entry| entry.end);
            current.file.close(end);
            current.file.file.rest();
            let Options { segment_bytes, cached_bytes, .. } = self.options;
            if self.table.len() as u64 * segment_bytes > cached_bytes {
                current.file.file.let_go();
            }
        }
    }
}
