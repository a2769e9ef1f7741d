//! Reading a file: one block at a time, checked against what was read before, cut into events.

use std::fs::File;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

use memchr::memrchr;
use rustix::buffer::spare_capacity;
use rustix::fs::{OFlags, SeekFrom, seek};
use rustix::io::{Errno, pread};
use splashdam_core::metrics::SourceMetrics;
use splashdam_core::{Event, Headers, Text};
use tracing::{info, warn};

use super::copies::Orphan;
use super::filler::Ended;
use super::lines::Next;
use super::positions::{Change, Key};
use super::print::{HEAD_BYTES, Print, TAIL_BYTES};
use super::tailed::{BLOCK_BYTES, Stat, State, Tailed};
use super::tailer::{Settings, Tailer};

/// Bytes of one file after which others get their turn.
const QUANTUM_BYTES: usize = 1024 * 1024;

const BYTE_OFFSET: Text = Text::from_static("byteoffset");

/// What one block brought.
enum Block {
    /// There may be more: bytes and lines read.
    More(usize, usize),
    /// All that there is was read.
    End,
    /// What was read before is not there any more.
    Replaced,
}

impl Tailer {
    /// Reads a file for one turn. With `over`, its last line counts as complete.
    pub(super) fn read(&mut self, key: Key, over: bool) -> Result<(), Ended> {
        if let Some(file) = self.files.get_mut(&key) {
            file.queued = false;
        }
        let (mut bytes, mut lines) = (0, 0);
        while bytes < QUANTUM_BYTES && lines < self.settings.quantum_lines {
            match self.read_block(key, over)? {
                Block::More(more_bytes, more_lines) => {
                    bytes += more_bytes;
                    lines += more_lines;
                }
                Block::End => {
                    self.close_if_many(key);
                    return Ok(());
                }
                Block::Replaced => {
                    self.orphan(key);
                    return Ok(());
                }
            }
            if self.stopping() {
                break;
            }
        }
        self.enqueue(key);
        self.close_if_many(key);
        Ok(())
    }

    /// Closes a file whose turn is over when not all can be open. It is opened again by its name,
    /// so one without stays open.
    pub(super) fn close_if_many(&mut self, key: Key) {
        if self.files.len() <= self.settings.most_open {
            return;
        }
        if let Some(file) = self.files.get_mut(&key).filter(|file| file.state != State::Gone) {
            let nameless = |open: &mut File| open.metadata().is_ok_and(|m| m.nlink() == 0);
            file.file.take_if(|open| !nameless(open));
        }
    }

    /// What a file held was replaced; where its old content went is looked for, and then it is
    /// read from its start.
    pub(super) fn orphan(&mut self, key: Key) {
        let Some(file) = self.files.get_mut(&key) else { return };
        info!(component = %self.settings.name, file = %file.path.display(), position = file.position, "a file was truncated or written anew; it is read from its start");
        self.orphans.push(Orphan::new(Some(key), file.entry()));
        file.rewind();
        (file.replaced, file.emptied) = (true, true);
        self.unlisted = true;
    }

    fn read_block(&mut self, key: Key, over: bool) -> Result<Block, Ended> {
        let Tailer { files, settings, blocks, filler, outlet, .. } = self;
        let metrics = outlet.metrics();
        let Some(file) = files.get_mut(&key) else { return Ok(Block::End) };
        if file.is_new() || file.replaced || !open(file, settings, metrics, &mut self.unlisted) {
            return Ok(Block::End);
        }
        let Some(open) = &file.file else { return Ok(Block::End) };
        if is_still_partial(open, file.position, &mut file.seen, settings.rule.sight()) && !over {
            return Ok(Block::End);
        }

        let overlap = file.tail.len;
        let base = file.position - overlap as u64;
        let mut block = blocks.take(overlap + file.want);
        let room = block.capacity();
        if let Err(error) = fill(open, &mut block, base) {
            metrics.read_failures.add(1);
            file.file = None;
            complain(file, settings, &error);
            return Ok(Block::End);
        }
        if block.get(..overlap).map(Print::of) != Some(file.tail) {
            blocks.give_back(block);
            return Ok(Block::Replaced);
        }
        let (read, at_end) = (block.len() - overlap, block.len() < room);
        if read == 0 {
            blocks.give_back(block);
            return Ok(Block::End);
        }

        if std::mem::take(&mut file.emptied) && block[0] == 0 {
            blocks.give_back(block);
            skip_hole(file);
            return Ok(Block::More(0, 0));
        }
        let end = block.len();
        let whole_lines = memrchr(b'\n', &block).map_or(0, |i| i + 1);
        let all = over || whole_lines <= overlap || end - whole_lines >= settings.rule.sight();
        let data = blocks.freeze(block, if all { end } else { whole_lines });
        let (mut at, mut lines) = (overlap, 0);
        let mut headers = headers(file, settings);
        loop {
            let mut next = settings.rule.next(&data, at, file.at);
            if next == Next::More && over && at_end {
                next = settings.rule.last(&data, at, file.at);
            }
            match next {
                Next::Line { body, next, at: then, cut } => {
                    let mut event = Event { headers: headers.clone(), body: data.slice(body) };
                    if settings.byte_offset {
                        let offset = base + at as u64;
                        event.headers.insert(BYTE_OFFSET, offset.to_string());
                    }
                    (at, file.at) = (next, then);
                    lines += 1;
                    metrics.events_dropped.add(usize::from(cut));
                    if filler.push(event) {
                        file.advance(&data, base, at);
                        filler.note(Change::Set(key, file.entry()));
                        filler.seal()?;
                        headers = self::headers(file, settings);
                    }
                }
                Next::Pass { next, at: then, dropped } => {
                    (at, file.at) = (next, then);
                    metrics.events_dropped.add(usize::from(dropped));
                }
                Next::More => break,
            }
        }
        let went_on = at > overlap;
        if went_on {
            file.advance(&data, base, at);
            filler.note(Change::Set(key, file.entry()));
        }
        file.seen = base + end as u64;
        // A line longer than the block: more of it at once next time.
        let longest = settings.rule.sight().max(BLOCK_BYTES);
        file.want = if went_on { BLOCK_BYTES } else { file.want.saturating_mul(2).min(longest) };
        Ok(if at_end { Block::End } else { Block::More(read, lines) })
    }
}

/// A program that does not append goes on at its old place after its file was emptied. The zeros
/// before that are no line.
fn skip_hole(file: &mut Tailed) {
    let Some(open) = &file.file else { return };
    let Ok(from) = seek(open, SeekFrom::Data(0)) else { return };
    let mut block = Vec::with_capacity(BLOCK_BYTES);
    if fill(open, &mut block, from).is_err() {
        return;
    }
    let zeros = block.iter().take_while(|b| **b == 0).count();
    let position = from + zeros as u64;
    let before = bytes_before(open, position, TAIL_BYTES);
    let start = bytes_before(open, position.min(HEAD_BYTES as u64), HEAD_BYTES);
    if let (Ok(before), Ok(start)) = (before, start) {
        (file.position, file.seen) = (position, position);
        (file.head, file.tail) = (Print::of(&start), Print::of(&before));
        file.know_start(&start);
    }
}

/// Whether a long line that had no end has none yet, without reading all of it again.
fn is_still_partial(open: &File, position: u64, seen: &mut u64, sight: usize) -> bool {
    let known = seen.saturating_sub(position);
    if known <= BLOCK_BYTES as u64 || known >= sight as u64 {
        return false;
    }
    let mut more = Vec::with_capacity(BLOCK_BYTES);
    if fill(open, &mut more, *seen).is_err() || more.is_empty() || more.contains(&b'\n') {
        return false;
    }
    *seen += more.len() as u64;
    more.len() < more.capacity() && *seen - position < sight as u64
}

/// Opens a file unless it is open. `false` when it can not be read now.
pub(super) fn open(
    file: &mut Tailed,
    settings: &Settings,
    metrics: &SourceMetrics,
    unlisted: &mut bool,
) -> bool {
    if file.file.is_some() {
        return true;
    }
    // Without waiting, should the name lead to a pipe by now.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let opened = File::options().read(true).custom_flags(flags).open(&file.path);
    let opened = opened.and_then(|open| Ok((Stat::of(&open.metadata()?), open)));
    match opened {
        Ok((stat, open)) if stat.same_file(&file.stat) => {
            file.file = Some(open);
            if std::mem::take(&mut file.in_trouble) {
                info!(component = %settings.name, file = %file.path.display(), "the file can be read again");
            }
            true
        }
        // Another file has its name by now. Of one that is gone that is known already: listing
        // the directory for each of very many would take for ever.
        Ok(_) => {
            *unlisted |= file.state != State::Gone;
            false
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            *unlisted |= file.state != State::Gone;
            file.in_trouble = false;
            false
        }
        Err(error) => {
            metrics.read_failures.add(1);
            complain(file, settings, &error);
            false
        }
    }
}

fn complain(file: &mut Tailed, settings: &Settings, error: &io::Error) {
    if !std::mem::replace(&mut file.in_trouble, true) {
        warn!(component = %settings.name, file = %file.path.display(), %error, "a file cannot be read; it is tried again, and the others go on: check its permissions and the limit of open files");
    }
}

/// Reads once into the free room of `block`.
pub(super) fn fill(open: &File, block: &mut Vec<u8>, from: u64) -> io::Result<()> {
    loop {
        match pread(open, spare_capacity(block), from) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The `len` bytes before `end`, or all there are.
pub(super) fn bytes_before(open: &File, end: u64, len: usize) -> io::Result<Vec<u8>> {
    let len = len.min(usize::try_from(end).unwrap_or(len));
    if len == 0 {
        return Ok(Vec::new());
    }
    let mut bytes = Vec::with_capacity(len);
    fill(open, &mut bytes, end - len as u64)?;
    bytes.truncate(len);
    Ok(bytes)
}

/// Whether a file still holds, before its position, what was read there.
pub(super) fn is_intact(file: &Tailed, open: &File) -> bool {
    bytes_before(open, file.position, TAIL_BYTES).is_ok_and(|bytes| Print::of(&bytes) == file.tail)
}

/// Headers of the events of one batch from one file. Made anew for each, so that threads that
/// hold different batches do not count references in one place.
fn headers(file: &Tailed, settings: &Settings) -> Headers {
    let group = settings.groups[file.group].headers.iter();
    let mut headers: Headers = group.map(|(name, value)| (name.clone(), value.clone())).collect();
    if let Some(name) = &settings.file_header {
        headers.insert(name.clone(), file.named.to_string_lossy().as_ref());
    }
    headers
}
