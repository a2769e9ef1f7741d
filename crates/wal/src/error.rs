//! What can go wrong, as the caller must tell it apart.

use std::fmt;
use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::record::SegmentEntry;
use crate::storage::DiskError;

/// Why a log did not open.
#[derive(Clone, Debug)]
pub enum OpenError {
    /// The disk refused something.
    Disk(DiskError),
    /// The system gave no randomness.
    Random(Arc<io::Error>),
    /// Another process, or this one, has the directory.
    Locked {
        /// The directory.
        place: String,
    },
    /// The directory is not what the log's other directories say.
    Membership {
        /// The directory.
        place: String,
        /// What is wrong and what to do.
        why: String,
    },
    /// Written by another version.
    Version {
        /// The directory.
        place: String,
        /// Version found.
        version: u32,
        /// Flags found.
        flags: u32,
    },
    /// Segments that must be there are not, or are cut short.
    Missing {
        /// The directory.
        place: String,
        /// Which, and what was in them.
        segments: Vec<SegmentEntry>,
    },
    /// Directories contradict each other: one is older than the rest.
    Older {
        /// The directory.
        place: String,
        /// The last frame in it.
        last_lsn: u64,
        /// The frame that another directory has seen synced in it.
        seen_lsn: u64,
    },
    /// An encrypted segment cannot be read, or a new one not be begun.
    Key {
        /// The directory.
        place: String,
        /// The segment.
        segment: u64,
        /// The key it needs.
        alias: String,
        /// What is wrong with that key and what to do.
        why: &'static str,
    },
    /// Damage, and the policy says to stop.
    Damaged(Vec<Damage>),
    /// The options make no sense.
    Options(String),
}

/// Acknowledged bytes that do not pass their checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The directory.
    pub place: String,
    /// The segment.
    pub segment: u64,
    /// Where in the segment.
    pub offset: u64,
    /// How many bytes.
    pub bytes: u64,
    /// The frames lost, as far as known.
    pub lsns: Option<RangeInclusive<u64>>,
}

/// Why a put or a take was not committed.
#[derive(Clone, Debug)]
pub enum CommitError {
    /// No room on the disk; try again later. Nothing happened.
    Full,
    /// An earlier batch of the same sender failed and was not put again.
    OutOfOrder,
    /// The record is empty, too large, or its bytes are not what it said. Nothing happened.
    Unfit,
    /// A failed write or sync: it may have happened or not, but whole.
    Failed(String),
    /// The log is closed, or stopped after a fault, for this reason. Nothing happened.
    Closed(String),
}

impl From<DiskError> for OpenError {
    fn from(error: DiskError) -> OpenError {
        OpenError::Disk(error)
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Damage { place, segment, offset, bytes, lsns } = self;
        write!(f, "{bytes} bytes at {offset} of segment {segment} in {place} are damaged")?;
        match lsns {
            Some(lsns) => write!(f, " (frames {} to {})", lsns.start(), lsns.end()),
            None => Ok(()),
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Disk(error) => error.fmt(f),
            OpenError::Random(error) => write!(f, "cannot read randomness: {error}"),
            OpenError::Locked { place } => {
                write!(f, "{place} is in use by another agent; stop it or name another directory")
            }
            OpenError::Membership { place, why } => write!(f, "cannot use {place}: {why}"),
            OpenError::Version { place, version, flags } => write!(
                f,
                "{place} was written by version {version} with flags {flags}; this version reads 1 with flags 0; use the version that wrote it"
            ),
            OpenError::Missing { place, segments } => {
                write!(f, "segments missing, unreadable or cut short in {place}, restore them:")?;
                for entry in segments {
                    write!(f, " segment {} with {} events", entry.number, entry.events)?;
                    for held in &entry.queues {
                        let (queue, numbers) = (held.queue, &held.numbers);
                        write!(f, ", queue {queue} numbers {} to {}", numbers.start, numbers.end)?;
                    }
                    write!(f, ";")?;
                }
                Ok(())
            }
            OpenError::Older { place, last_lsn, seen_lsn } => write!(
                f,
                "{place} ends at frame {last_lsn} but a sibling has seen frame {seen_lsn} in it; it was restored from an older copy, restore all directories from one time"
            ),
            OpenError::Key { place, segment, alias, why } => {
                write!(f, "cannot open segment {segment} in {place}: the key '{alias}' {why}")
            }
            OpenError::Damaged(damage) => {
                for (index, one) in damage.iter().enumerate() {
                    write!(f, "{}{one}", if index > 0 { "; " } else { "" })?;
                }
                write!(f, "; open with quarantine to set it aside")
            }
            OpenError::Options(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for OpenError {}

impl fmt::Display for CommitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CommitError::Full => f.write_str("no room on the disk, try again later"),
            CommitError::OutOfOrder => {
                f.write_str("an earlier batch of the same sender failed and comes first")
            }
            CommitError::Unfit => f.write_str("the record is empty, too large or inconsistent"),
            CommitError::Failed(why) => write!(f, "{why}; it may have happened all the same"),
            CommitError::Closed(why) => write!(f, "the log is closed: {why}"),
        }
    }
}

impl std::error::Error for CommitError {}
