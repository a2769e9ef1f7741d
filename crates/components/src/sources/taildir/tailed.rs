//! One file as the source knows it.

use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, UNIX_EPOCH};

use super::lines::At;
use super::positions::Entry;
use super::print::{HEAD_BYTES, Print, TAIL_BYTES};

/// Bytes read at once, unless a line is longer.
pub(super) const BLOCK_BYTES: usize = 256 * 1024;
/// First bytes kept as they are, to find a longer file by those of a short one.
pub(super) const START_BYTES: usize = 32;

/// What the file system says of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) device: u64,
    pub(super) inode: u64,
    /// Nanoseconds since 1970; unset where the file system does not know.
    pub(super) birth: Option<u64>,
    pub(super) size: u64,
    pub(super) modified: (i64, i64),
    pub(super) links: u64,
}

/// How far the source has come to know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Not read yet: it may be a copy of another, whose lines are known already.
    New {
        /// When it last grew.
        since: Instant,
        size: u64,
    },
    /// Under a name that matches.
    Live,
    /// Under no name that matches any more: read until it is quiet.
    Gone,
}

/// A file, open or not.
#[derive(Debug)]
pub(super) struct Tailed {
    pub(super) stat: Stat,
    /// Where it can be opened.
    pub(super) path: Arc<Path>,
    /// Its last name that matched a group.
    pub(super) named: Arc<Path>,
    pub(super) is_link: bool,
    /// The device of the directory that it was last seen in.
    pub(super) among: Option<u64>,
    pub(super) group: usize,
    pub(super) state: State,
    pub(super) file: Option<File>,
    /// Bytes delivered, or on their way.
    pub(super) position: u64,
    pub(super) at: At,
    pub(super) head: Print,
    pub(super) tail: Print,
    start: [u8; START_BYTES],
    /// How many of them are known.
    started: usize,
    /// Of the first bytes when it was judged.
    pub(super) judged: Print,
    /// Bytes to read at once.
    pub(super) want: usize,
    /// Up to here there is no end of line behind the position.
    pub(super) seen: u64,
    /// When it last changed.
    pub(super) changed: Instant,
    /// Nothing was written for `idleTimeout`, and what it holds was delivered.
    pub(super) quiet: bool,
    /// In the queue of files to be read.
    pub(super) queued: bool,
    /// Its content was replaced; not read before it is known where the old content is.
    pub(super) replaced: bool,
    /// Found when the source started.
    pub(super) at_first: bool,
    /// It was emptied, and nothing was read since.
    pub(super) emptied: bool,
    /// It could not be read, and that was said.
    pub(super) in_trouble: bool,
}

impl Stat {
    pub(super) fn of(found: &Metadata) -> Self {
        let birth = found.created().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok());
        Stat {
            device: found.dev(),
            inode: found.ino(),
            birth: birth.and_then(|age| u64::try_from(age.as_nanos()).ok()),
            size: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
            links: found.nlink(),
        }
    }

    /// Whether both are of one file, as far as inode and birth can tell.
    pub(super) fn same_file(&self, other: &Stat) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
            && (self.birth == other.birth || self.birth.is_none() || other.birth.is_none())
    }
}

impl Tailed {
    pub(super) fn new(stat: Stat, path: Arc<Path>, group: usize, now: Instant) -> Self {
        Tailed {
            stat,
            named: path.clone(),
            path,
            is_link: false,
            among: None,
            group,
            state: State::New { since: now, size: stat.size },
            file: None,
            position: 0,
            at: At::Start,
            head: Print::EMPTY,
            tail: Print::EMPTY,
            start: [0; START_BYTES],
            started: 0,
            judged: Print::EMPTY,
            want: BLOCK_BYTES,
            seen: 0,
            changed: now,
            quiet: false,
            queued: false,
            replaced: false,
            at_first: false,
            emptied: false,
            in_trouble: false,
        }
    }

    pub(super) fn is_new(&self) -> bool {
        matches!(self.state, State::New { .. })
    }

    /// What is remembered of it at its position.
    pub(super) fn entry(&self) -> Entry {
        Entry {
            path: self.named.clone(),
            inode: self.stat.inode,
            device: Some(self.stat.device),
            birth: self.stat.birth,
            position: self.position,
            head: Some(self.head),
            tail: Some(self.tail),
            at: self.at,
        }
    }

    /// Notes the first bytes.
    pub(super) fn know_start(&mut self, bytes: &[u8]) {
        let known = bytes.len().min(START_BYTES);
        self.start[..known].copy_from_slice(&bytes[..known]);
        self.started = known;
    }

    /// The first bytes, as far as they are kept.
    pub(super) fn start(&self) -> &[u8] {
        &self.start[..self.started]
    }

    /// The fingerprint of the first bytes, as far as they are known.
    pub(super) fn known(&self) -> Print {
        if self.position > 0 { self.head } else { self.judged }
    }

    /// Back to the start: what it holds was never read.
    pub(super) fn rewind(&mut self) {
        (self.position, self.seen, self.want) = (0, 0, BLOCK_BYTES);
        (self.head, self.tail, self.at) = (Print::EMPTY, Print::EMPTY, At::Start);
        (self.started, self.judged) = (0, Print::EMPTY);
    }

    /// Goes on to `data[to]`, where `data` begins at byte `base` of the file, no later than
    /// [`TAIL_BYTES`] before the position.
    pub(super) fn advance(&mut self, data: &[u8], base: u64, to: usize) {
        let position = base + to as u64;
        if self.head.len < HEAD_BYTES && position > self.position {
            // The head is that long still only while all before the position is in it, and then
            // the position is so near the start that `data` begins where the head ends, or before.
            let from =
                (self.head.len as u64).checked_sub(base).and_then(|n| usize::try_from(n).ok());
            let end = usize::try_from((HEAD_BYTES as u64).saturating_sub(base)).unwrap_or(to);
            let more = from.and_then(|from| data.get(from..to.min(end)));
            self.head = self.head.and(more.unwrap_or_default());
        }
        if base == 0 {
            self.know_start(&data[..to]);
        }
        self.position = position;
        self.seen = self.seen.max(position);
        self.tail = Print::of(&data[to.saturating_sub(TAIL_BYTES)..to]);
    }
}
