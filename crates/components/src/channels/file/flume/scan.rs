//! The records of one log, one after the other.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::error::{Damage, Error, at};
use super::log_file::LogFile;
use super::record::{FRAME_BYTES, Layout, NOTHING, Pointer, RECORD, Record, Unreadable};

/// Logs that wait for their turn hold no more than this.
const FIRST_CHUNK_BYTES: usize = 8 << 10;
const LARGEST_CHUNK_BYTES: usize = 512 << 10;

/// A part of a file in memory; it moves forward, and grows for what is large.
#[derive(Debug)]
pub(super) struct Window {
    path: PathBuf,
    length: u64,
    /// Where the buffer lies in the file.
    at: u64,
    buffer: Vec<u8>,
    chunk_bytes: usize,
}

impl Window {
    /// Opens the file for each read, which is seldom, so that any number of logs can wait for their turn.
    pub(super) fn new(path: &Path, length: u64) -> Window {
        let path = path.to_owned();
        Window { path, length, at: 0, buffer: Vec::new(), chunk_bytes: FIRST_CHUNK_BYTES }
    }

    /// What lies at `position`: at least `need` bytes, unless the file ends before.
    pub(super) fn bytes(&mut self, position: u64, need: usize) -> Result<&[u8], Error> {
        let skipped = position
            .checked_sub(self.at)
            .and_then(|skipped| usize::try_from(skipped).ok())
            .filter(|&skipped| skipped <= self.buffer.len());
        let have = skipped.map_or(0, |skipped| self.buffer.len() - skipped);
        let left = self.length.saturating_sub(position);
        if have < need && (have as u64) < left {
            self.buffer.drain(..skipped.unwrap_or(self.buffer.len()));
            self.at = position;
            self.chunk_bytes = (self.chunk_bytes * 2).min(LARGEST_CHUNK_BYTES);
            let wanted =
                need.max(self.chunk_bytes).min(usize::try_from(left).unwrap_or(usize::MAX));
            if self.buffer.capacity() > 4 * wanted.max(LARGEST_CHUNK_BYTES) {
                self.buffer.shrink_to(wanted);
            }
            self.buffer.resize(wanted, 0);
            File::open(&self.path)
                .and_then(|file| {
                    file.read_exact_at(&mut self.buffer[have..], position + have as u64)
                })
                .map_err(|error| match error.kind() {
                    io::ErrorKind::UnexpectedEof => at(&self.path)(io::Error::new(
                        error.kind(),
                        "the file shrank while it was read",
                    )),
                    _ => at(&self.path)(error),
                })?;
            return Ok(&self.buffer);
        }
        Ok(skipped.map_or(&[], |skipped| &self.buffer[skipped..]))
    }

    /// Gives back what a large record needed.
    fn rest(&mut self) {
        self.buffer = Vec::new();
    }
}

/// What a scan comes upon.
#[derive(Debug)]
pub(super) enum Found {
    Record(Pointer, Record),
    /// Records are missing here, and there are more behind.
    Damage(Damage),
}

/// Goes through the records of one log that are newer than a checkpoint.
#[derive(Debug)]
pub(super) struct Scan<'a> {
    id: u32,
    log: &'a LogFile,
    layout: &'a Layout,
    window: Window,
    position: u64,
    known: i64,
    /// Whether any record could be read.
    any: bool,
    /// Damage that matters only when something new lies behind it.
    damage: Option<Damage>,
    /// The record behind the damage that was just answered.
    next: Option<(Pointer, Record)>,
    /// Records that the integrity tool struck out.
    pub(super) struck_out: u64,
    /// Whether the log ends in half a record, as a crash leaves it.
    pub(super) torn: bool,
}

impl<'a> Scan<'a> {
    /// From where the log goes on behind a checkpoint that knows all up to the write-order id `known`.
    pub(super) fn begin(
        id: u32,
        log: &'a LogFile,
        layout: &'a Layout,
        known: i64,
    ) -> Result<Scan<'a>, Error> {
        let window = Window::new(&log.path, log.length);
        let position = log.begin(known);
        let (damage, next) = (None, None);
        let mut scan = Scan {
            id,
            log,
            layout,
            window,
            position,
            known,
            any: false,
            damage,
            next,
            struck_out: 0,
            torn: false,
        };
        // The position is a hint: where no record begins, all are gone through.
        if scan.position > log.first()
            && scan.position < log.length
            && scan.parse()?.is_err_and(|what| what != NOTHING)
        {
            scan.position = log.first();
        }
        Ok(scan)
    }

    /// Bytes of the log that are done with.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// The next record that is newer than the checkpoint, or damage before it; `None` at the end.
    ///
    /// # Errors
    /// A file that cannot be read, and an encrypted log of which nothing can: its key is another.
    pub(super) fn next(&mut self) -> Result<Option<Found>, Error> {
        if let Some((pointer, record)) = self.next.take() {
            return Ok(Some(Found::Record(pointer, record)));
        }
        while self.position < self.log.length {
            let offset = self.position;
            match self.parse()? {
                Ok((record, length)) => {
                    self.position += length;
                    let Some(record) = record else {
                        self.struck_out += 1;
                        continue;
                    };
                    self.any = true;
                    if record.order <= self.known {
                        // What is damaged before an old record was old too.
                        self.damage = None;
                        continue;
                    }
                    // Flume's offsets are non-negative ints; a longer file is none of Flume's.
                    let Ok(offset) = u32::try_from(offset) else { break };
                    let pointer = Pointer::new(self.id, offset);
                    return Ok(Some(match self.damage.take() {
                        None => Found::Record(pointer, record),
                        Some(damage) => {
                            self.next = Some((pointer, record));
                            Found::Damage(damage)
                        }
                    }));
                }
                Err(what) => {
                    if self.find_next()? {
                        let path = self.log.path.clone();
                        self.damage.get_or_insert(Damage { path, offset, what });
                    } else if self.more_behind(offset)? {
                        if let Some(error) = self.log.other_key().filter(|_| !self.any) {
                            return Err(error);
                        }
                        let path = self.log.path.clone();
                        let what = "no record can be read from here on";
                        return Ok(Some(Found::Damage(Damage { path, offset, what })));
                    } else {
                        self.torn = what != NOTHING;
                    }
                }
            }
        }
        self.position = self.log.length;
        self.window.rest();
        Ok(None)
    }

    /// The record at the position.
    fn parse(&mut self) -> Result<Result<(Option<Record>, u64), &'static str>, Error> {
        let remaining = self.log.length.saturating_sub(self.position);
        let mut need = 128;
        loop {
            let bytes = self.window.bytes(self.position, need)?;
            match self.layout.record(bytes, remaining) {
                Ok(found) => return Ok(Ok(found)),
                Err(Unreadable::Bad(what)) => return Ok(Err(what)),
                // Twice, so that a record of many small parts is not gone through for each of them.
                Err(Unreadable::Short(more)) => need = more.max(need * 2),
            }
        }
    }

    /// Whether an unreadable record is followed by what has the form of one: then it is more than a torn end.
    fn more_behind(&mut self, broken: u64) -> Result<bool, Error> {
        let mut position = broken;
        for _ in 0..2 {
            let Some(length) = self.framed(position)? else { return Ok(false) };
            position += length;
            if position > self.log.length {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The length that a record claims to have, frame and all.
    fn framed(&mut self, position: u64) -> Result<Option<u64>, Error> {
        let frame = self.window.bytes(position, FRAME_BYTES)?.first_chunk::<FRAME_BYTES>();
        let framed =
            frame.filter(|frame| frame[0] == RECORD && matches!(self.layout, Layout::V3(_)));
        Ok(framed.map(|frame| {
            let length = u32::from_be_bytes([frame[1], frame[2], frame[3], frame[4]]);
            FRAME_BYTES as u64 + u64::from(length)
        }))
    }

    /// Moves to the next record behind one that is unreadable: by its length if that leads to a record, else to the
    /// first bytes that are one. `false`, and the end of the log, when there is none.
    fn find_next(&mut self) -> Result<bool, Error> {
        let broken = self.position;
        if let Some(length) = self.framed(broken)? {
            self.position = broken + length;
            if self.position < self.log.length && matches!(self.parse()?, Ok((Some(_), _))) {
                return Ok(true);
            }
        }
        self.position = broken + 1;
        while self.position < self.log.length {
            let bytes = self.window.bytes(self.position, FRAME_BYTES)?;
            let passed = memchr::memchr(RECORD, bytes);
            self.position += passed.unwrap_or(bytes.len().max(1)) as u64;
            if passed.is_some() {
                if matches!(self.parse()?, Ok((Some(_), _))) {
                    return Ok(true);
                }
                self.position += 1;
            }
        }
        Ok(false)
    }
}
