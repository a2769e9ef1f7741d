//! Why a directory of Flume's cannot be read or written.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::jceks::KeyStoreError;

/// Why a directory of Flume's cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// Of what.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// A Flume runs on the directory.
    #[error("{} is in use by process {pid}: stop that flume agent first", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
        /// Who holds the lock; 0 when it ended just now or runs in another container.
        pid: i32,
    },
    /// Two directories hold logs of one number.
    #[error("{} and {} have one number: name only the directories of one channel", first.display(), second.display())]
    Twice {
        /// The one.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// What says how to read a log is missing or damaged.
    #[error("{} {what}: restore it, or move the log aside to go on without it", path.display())]
    Log {
        /// The log.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A log is encrypted and its key cannot be had.
    #[error("{} is encrypted with key {alias}: {why}", path.display())]
    Key {
        /// The log.
        path: PathBuf,
        /// The key.
        alias: String,
        /// What is wrong.
        why: KeyTrouble,
    },
    /// Something in a log cannot be read.
    #[error("{0}; skip what is damaged to go on without it")]
    Damaged(Damage),
    /// The directory to write to is not fit for it.
    #[error("cannot write to {}: {what}", path.display())]
    Target {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// An event is larger than any log of Flume's may be.
    #[error(
        "an event takes {bytes} bytes, and a log of flume's at most {limit_bytes}: leave it out"
    )]
    TooLarge {
        /// Of the event's record.
        bytes: usize,
        /// Of a file.
        limit_bytes: u64,
    },
}

/// What is wrong with a key.
#[derive(Debug, thiserror::Error)]
pub enum KeyTrouble {
    /// No key provider was given.
    #[error("set encryption.keyProvider as flume had it")]
    NoProvider,
    /// The provider does not know it.
    #[error("the key store has no such key; keep old keys until no log needs them")]
    Unknown,
    /// The secret under its name is another.
    #[error(
        "nothing in the log can be read with it; give it the secret that flume had under this name, or move the log aside to go on without it"
    )]
    Other,
    /// The key store says why.
    #[error(transparent)]
    Store(#[from] KeyStoreError),
    /// The key does not fit the cipher.
    #[error("an AES key has 16, 24 or 32 bytes, this one has {0}")]
    Length(usize),
    /// A cipher of a plug-in.
    #[error("cipher {0} is not known, only AESCTRNOPADDING is")]
    Cipher(String),
    /// The vector is part of the log's `.meta`.
    #[error("the initialisation vector has {0} bytes, not 16")]
    Vector(usize),
}

/// A place in a log that cannot be read, with readable records behind it, or an event that cannot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The log.
    pub path: PathBuf,
    /// Where the record begins, in bytes.
    pub offset: u64,
    /// What is wrong with it.
    pub what: &'static str,
}

impl fmt::Display for Damage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} is damaged at byte {}: {}", self.path.display(), self.offset, self.what)
    }
}

/// What to do where a log is damaged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnDamage {
    /// Give up with [`Error::Damaged`], as Flume does.
    #[default]
    Stop,
    /// Count it, name it, and go on behind it.
    Skip,
}

/// Bytes that do not say what they should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

/// Names the file of an error.
pub(super) fn at(path: &Path) -> impl Fn(io::Error) -> Error + '_ {
    move |source| Error::Io { path: path.to_owned(), source }
}
