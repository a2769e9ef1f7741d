//! Room in a directory: the spare segment, the reserve for a full disk, and files that go.

use std::sync::Arc;

use super::{Directory, Spare};
use crate::frame::ALIGN;
use crate::options::{Notice, Options, Shortage, sabotaged};
use crate::recovery::Recovered;
use crate::segment::{self, FIRST_FRAME, SegmentHeader};
use crate::storage::{Asked, DiskError, StorageFile};

/// The file that holds blocks for a full disk.
pub(super) const RESERVE: &str = "splashdam.reserve";
/// A new file until it has its length for good: what has a segment's name is never shorter than it was made, so
/// that one that is has been cut.
const NEXT: &str = "splashdam.next";
/// For how long no put is tried after a write that found no room.
const NO_PUTS_MILLIS: u64 = 1000;
/// Room for takes in a segment that is made short because the disk is full.
const SHORT_BYTES: u64 = 4096;

/// What a reserve needs beyond its usual length, where `share` of that is for a cursor: it has room
/// for twice the present one, as it grows, and becomes longer in steps of a share.
fn beyond(cursor: u64, share: u64) -> u64 {
    (cursor + cursor.min(share)).saturating_sub(share).next_multiple_of(share)
}

impl Directory {
    /// Takes over the reserve of an earlier start, so that it is at hand if the disk is full.
    pub(super) fn find_reserve(&mut self) {
        let names = self.storage.list().unwrap_or_default();
        if names.iter().any(|name| name == RESERVE) {
            // Its length is looked at, and made durable, before a put relies on it.
            self.reserve = self.storage.open(RESERVE).ok().map(|file| (file, 0));
        }
    }

    /// Gives back the room behind the last frames, and files of no use: the disk is full, and yet
    /// there must be a segment for takes.
    pub(super) fn shorten(&mut self, recovered: &Recovered) -> Result<(), DiskError> {
        for one in recovered.headers.iter().filter(|one| one.frames_end < one.header.length) {
            let name = segment::name(one.header.number);
            let header = SegmentHeader { length: one.frames_end, ..one.header.clone() };
            self.replace_header(&*one.file, &header)?;
            one.file.truncate(one.frames_end).and_then(|()| one.file.sync_data()).asked(
                "shorten",
                &name,
                &*self.storage,
            )?;
        }
        let walked = |number| recovered.headers.iter().any(|one| one.header.number == number);
        for (number, (entry, held)) in &recovered.segments {
            let name = segment::name(*number);
            let length = held.file.length().asked("look at", &name, &*self.storage)?;
            if walked(*number) || length <= entry.end {
                continue;
            }
            // Its end is known from a cursor, which a crash may take back: then its header is asked.
            if let Ok(header) = SegmentHeader::read(&*held.file) {
                self.replace_header(&*held.file, &SegmentHeader { length: entry.end, ..header })?;
            }
            held.file.truncate(entry.end).and_then(|()| held.file.sync_data()).asked(
                "shorten",
                &name,
                &*self.storage,
            )?;
        }
        self.clear(&recovered.useless());
        Ok(())
    }

    /// Whether `pending` bytes of frames and then a put of `bytes` may be written: there is room in
    /// this segment or a prepared one, and the reserve for takes is there. `positions` is what these
    /// puts add to a cursor; an `exchange` is a put that takes, too, which not every segment holds.
    pub fn admits_put(&mut self, pending: u64, bytes: u64, positions: u64, exchange: bool) -> bool {
        let fits = self.fits(pending + bytes) && (!exchange || self.exchanges());
        let covered = self.reserve_covers(bytes, positions);
        if !covered || (self.spare.is_none() && !fits) || self.crowded.is_some() {
            self.prepare_ahead(bytes, positions);
        }
        let admits = self.reserve_covers(bytes, positions) && (fits || self.spare.is_some());
        admits && self.crowded.is_none()
    }

    /// Takes note of what a cursor takes now, so that the reserve has room for one.
    pub fn expect_cursor(&mut self, bytes: u64) {
        self.cursor_bytes = bytes;
    }

    /// The reserve becomes the next file to be used, if there is one.
    pub(super) fn use_reserve(&mut self) -> bool {
        let Some((file, _)) = self.reserve.take() else { return false };
        self.retire_file(RESERVE.to_owned(), file);
        true
    }

    /// Keeps a spare that is not to be one any more for the next file to be made.
    pub(super) fn retire(&mut self, spare: Option<Spare>) {
        if let Some(Spare { number, file, .. }) = spare {
            self.retire_file(segment::name(number), file);
        }
    }

    fn retire_file(&mut self, name: String, file: Arc<dyn StorageFile>) {
        if let Some((other, _)) = self.retired.replace((name, file)) {
            self.discard(&other);
        }
    }

    /// A write found no room, as on a file system where a length is no promise of blocks: the segment ends, as
    /// a part of the frames may be in it, but nothing is wrong with the disk. Puts wait; takes go on trying.
    pub(super) fn bury_for_room(&mut self, error: &DiskError) {
        let Some(current) = &self.current else { return };
        let (number, file) = (current.file.number, current.file.clone());
        let name = segment::name(number);
        let synced = error.act == "sync";
        if !synced && self.unsynced > 0 {
            // What counts in it is there, and waits for a sync as ever.
            match file.file.sync_data().asked("sync", &name, &*self.storage) {
                Ok(()) => {
                    self.watermark = self.written;
                    self.unsynced = 0;
                }
                Err(error) => return self.bury(&error),
            }
        }
        let now = self.options.surroundings.monotonic_millis();
        self.crowded = Some(now + NO_PUTS_MILLIS);
        self.note_shortage(Some(self.shortage_of(FIRST_FRAME, 0, error)));
        self.end_current();
        if synced {
            // The system forgets what it could not write: what was not synced before may be gone.
            let (place, why) = (self.storage.place(), error.to_string());
            (self.options.notice)(Notice::SegmentDead { place, segment: number, why });
            self.lengths.remove(&number);
        } else if self.table.get(&number).is_some_and(|entry| entry.end == FIRST_FRAME) {
            // Nothing in it counts: tried again and again it must not leave files behind.
            self.registry.drop_one(number);
            self.table.remove(&number);
            self.lengths.remove(&number);
            match self.storage.open(&name) {
                Ok(file) => self.retire_file(name, file),
                Err(_) => self.discard(&name),
            }
        }
    }

    /// Whether there is room again for what found none, as far as the file system tells.
    fn has_blocks(&mut self) -> bool {
        let Some(until) = self.crowded else { return true };
        let needed = self.shortage.as_ref().map_or(0, |shortage| shortage.needed_bytes);
        let free = self.storage.free_bytes().unwrap_or(0);
        let has = free >= needed && self.options.surroundings.monotonic_millis() >= until;
        if has {
            self.crowded = None;
        } else if let Some(shortage) = &mut self.shortage {
            shortage.free_bytes = Some(free);
        }
        has
    }

    /// Whether the reserve could take a put of `bytes` at the next start, with all that goes along.
    pub(super) fn reserve_covers(&self, bytes: u64, positions: u64) -> bool {
        let needed = self.reserve_bytes(bytes, positions);
        self.reserve.as_ref().is_some_and(|(_, length)| *length >= needed)
    }

    pub(super) fn reserve_bytes(&self, bytes: u64, positions: u64) -> u64 {
        let Options { reserve_bytes, group_bytes, .. } = self.options;
        let cursor = self.cursor_bytes + self.table_bytes + positions;
        let usual = reserve_bytes.max(bytes + 2 * FIRST_FRAME + SHORT_BYTES);
        usual + beyond(cursor, reserve_bytes - group_bytes)
    }

    /// Removes segments, after a cursor that no longer names them is durable.
    pub fn free(&mut self, numbers: &[u64]) {
        for &number in numbers {
            let held = self.registry.at_or_after(number).filter(|held| held.number == number);
            self.registry.drop_one(number);
            self.table.remove(&number);
            let length = self.lengths.remove(&number);
            let name = segment::name(number);
            let again = held.is_some()
                && self.retired.is_none()
                && length == Some(self.options.segment_bytes);
            // With a descriptor of its own, as it may be closed under its present name.
            match again.then(|| self.storage.open(&name)) {
                Some(Ok(file)) => self.retired = Some((name, file)),
                _ => self.discard(&name),
            }
        }
        self.sync_names();
        self.prepare_ahead(0, 0);
    }

    /// Removes files that recovery found to be of no use, now that a new segment is durable.
    pub fn clear(&mut self, leftovers: &[String]) {
        for name in leftovers {
            self.discard(name);
        }
        if !leftovers.is_empty() {
            self.sync_names();
        }
    }

    /// Makes the next segment ready, so that a roll finds it and a full disk shows early.
    pub fn prepare_ahead(&mut self, least: u64, positions: u64) {
        let room = FIRST_FRAME + (64 << 10) + least;
        if self.failed() || !self.has_blocks() {
            return;
        }
        let ready = self.spare.as_ref().is_some_and(|spare| spare.length >= room);
        if ready && self.reserve_covers(least, positions) {
            // It was not for a larger frame; others must not wait for that.
            self.note_shortage(None);
            return;
        }
        let reserve = self.reserve_bytes(least, positions);
        match self.prepare_both(room, reserve) {
            Ok(()) => self.note_shortage(None),
            Err(error) => {
                // Whatever the reason, there is no next segment yet: puts wait, takes have the
                // reserve. A fault of another kind shows again when the segment is needed.
                if !error.is_full() || error.lacks_descriptors() {
                    (self.options.notice)(Notice::Untidy {
                        place: self.storage.place(),
                        why: error.to_string(),
                    });
                }
                self.note_shortage(Some(self.shortage_of(room, reserve, &error)));
            }
        }
    }

    /// Whether there is room for puts, and as of now; a change is told, also the one at a start.
    pub(super) fn note_shortage(&mut self, shortage: Option<Shortage>) {
        let (was, is) = (self.full(), shortage.is_some());
        if was != is {
            (self.options.notice)(match &shortage {
                Some(shortage) => Notice::DiskFull(shortage.clone()),
                None => Notice::DiskRoom { place: self.storage.place() },
            });
        }
        self.shortage = shortage;
    }

    /// What there is and what it takes, where a segment of `room` bytes and a reserve of `reserve`
    /// could not be made.
    pub(super) fn shortage_of(&self, room: u64, reserve: u64, error: &DiskError) -> Shortage {
        let Options { least_free_bytes, segment_bytes, .. } = self.options;
        let held = self.reserve.as_ref().map_or(0, |(_, length)| *length);
        Shortage {
            place: self.storage.place(),
            free_bytes: self.storage.free_bytes().ok(),
            needed_bytes: least_free_bytes
                .saturating_add(room.max(segment_bytes))
                .saturating_add(reserve.saturating_sub(held)),
            why: error.to_string(),
        }
    }

    fn prepare_both(&mut self, room: u64, reserve: u64) -> Result<(), DiskError> {
        if self.reserve.as_ref().is_none_or(|(_, length)| *length < reserve) {
            let file = self.hold_reserve(reserve)?;
            self.reserve = Some((file, reserve));
        }
        if self.spare.is_none() {
            self.room_for_puts(room)?;
            self.spare = Some(self.prepare(room, false)?);
        }
        Ok(())
    }

    /// The reserve's file, of an earlier start or a new one.
    pub(super) fn hold_reserve(&self, bytes: u64) -> Result<Arc<dyn StorageFile>, DiskError> {
        let storage = &*self.storage;
        let file = self.opened_or_created(RESERVE)?;
        file.allocate(bytes).and_then(|()| file.sync_data()).asked("allocate", RESERVE, storage)?;
        storage.sync_dir().asked("sync the names in", "", storage)?;
        Ok(file)
    }

    /// Whether a new file would leave as much space free as was asked for. Takes do not ask.
    pub(super) fn room_for_puts(&self, bytes: u64) -> Result<(), DiskError> {
        let (least, storage) = (self.options.least_free_bytes, &*self.storage);
        if least == 0 || self.retired.is_some() {
            return Ok(());
        }
        let free = storage.free_bytes().asked("look for room in", "", storage)?;
        if free < least.saturating_add(bytes.max(self.options.segment_bytes)) {
            let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
            return Err(full).asked("make room in", "", storage);
        }
        Ok(())
    }

    pub(super) fn discard(&self, name: &str) {
        if let Err(error) = self.storage.remove(name).asked("remove", name, &*self.storage) {
            let (place, why) = (self.storage.place(), error.to_string());
            (self.options.notice)(Notice::Untidy { place, why });
        }
    }

    pub(super) fn sync_names(&self) {
        if sabotaged!(self.options, NoDirectorySync) {
            return;
        }
        // Names that come back are leftovers for the next start: no harm but their space.
        if let Err(error) = self.storage.sync_dir().asked("sync the names in", "", &*self.storage) {
            let (place, why) = (self.storage.place(), error.to_string());
            (self.options.notice)(Notice::Untidy { place, why });
        }
    }

    /// A file of an earlier start, or a new one.
    fn opened_or_created(&self, name: &str) -> Result<Arc<dyn StorageFile>, DiskError> {
        let storage = &*self.storage;
        match storage.list().asked("list", "", storage)?.iter().any(|there| there == name) {
            true => storage.open(name).asked("open", name, storage),
            false => storage.create(name).asked("create", name, storage),
        }
    }

    /// A file under its own name, of at least `least` bytes, all of that durable before the name is.
    pub(super) fn prepare(&mut self, least: u64, short: bool) -> Result<Spare, DiskError> {
        let storage = &*self.storage;
        let number = self.next_number;
        self.next_number += 1;
        let name = segment::name(number);
        let usual = if short { least + SHORT_BYTES } else { self.options.segment_bytes };
        let length = least.max(usual).next_multiple_of(ALIGN);
        let (from, file) = match self.retired.take() {
            Some(retired) => retired,
            None => (NEXT.to_owned(), self.opened_or_created(NEXT)?),
        };
        let allocated = match from == RESERVE || from == NEXT {
            // A sync of it may have failed, in an earlier life perhaps, and no later one makes up
            // for that. Its length is set anew, so that the header does not promise too much.
            true => file.length().and_then(|there| {
                file.truncate(there.saturating_sub(ALIGN))?;
                file.allocate(length.max(there))
            }),
            false => file.allocate(length),
        };
        let mut renamed = false;
        let made = allocated
            .asked("allocate", &from, storage)
            .and_then(|()| file.sync_data().asked("sync", &from, storage))
            .and_then(|()| storage.rename(&from, &name).asked("rename", &from, storage))
            .inspect(|()| renamed = true)
            .and_then(|()| match sabotaged!(self.options, NoDirectorySync) {
                true => Ok(()),
                false => storage.sync_dir().asked("sync the names in", "", storage),
            })
            .and_then(|()| file.length().asked("look at", &name, storage));
        match made {
            Ok(length) => Ok(Spare { number, file, length }),
            Err(error) => {
                self.discard(if renamed { &name } else { &from });
                Err(error)
            }
        }
    }
}
