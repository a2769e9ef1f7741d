//! The directories of Flume's own file channel: read to take over what a Flume left behind, written for the way back.
//!
//! | Path | What it is |
//! |---|---|
//! | `<data>/log-N` | puts, takes, commits and rollbacks, as they came |
//! | `<data>/log-N.meta` | its version, checkpoint position and encryption (version 3) |
//! | `<checkpoint>/checkpoint`, `checkpoint.meta` | the queue at some moment: pointers into the logs |
//! | `<checkpoint>/inflightputs`, `inflighttakes` | transactions that were open at that moment |
//! | `<backup>/…`, `backupComplete` | a copy of the checkpoint that is one older |
//!
//! [`FlumeChannel::find`] says whether directories hold such a channel, [`FlumeChannel::read`] replays it as Flume
//! would when it starts, and the [`Queue`] that comes out yields the events that Flume would deliver, in the same
//! order. [`write()`] lays a queue down as Flume would have. Nothing here writes to a directory that it reads.
//!
//! Memory: 8 bytes a queued event and 16 to 32 an event in a transaction without an end or taken out of order; bodies
//! are read when asked for.

mod check;
mod checkpoint;
mod cipher;
mod error;
mod events;
mod lock;
mod log_file;
mod meta;
mod protobuf;
mod record;
mod replay;
mod scan;
mod write;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use check::Checked;
pub use checkpoint::Origin;
pub use error::{Damage, Error, OnDamage};
pub use events::Events;
pub use lock::{DirectoryLock, lock};
pub use replay::{Counts, Progress, Queue};
pub use write::{Limits, Written, write};

use crate::jceks::{KeyStoreError, SecretKey};
use log_file::LogFile;

/// Finds the key of an alias; `None` when there is none of that name.
pub type Keys<'a> = &'a dyn Fn(&str) -> Result<Option<SecretKey>, KeyStoreError>;

/// A file channel of Flume 1.2 or newer in its directories (`org.apache.flume.channel.file.FileChannel`).
#[derive(Debug)]
pub struct FlumeChannel {
    checkpoint_dir: PathBuf,
    backup_dir: Option<PathBuf>,
    data_dirs: Vec<PathBuf>,
    /// By their ids, which are unique in a channel.
    files: BTreeMap<u32, LogFile>,
}

impl FlumeChannel {
    /// Looks for a channel in its directories; `None` when there is none, as in directories that are missing, empty or
    /// ours. Blocking. Takes no lock, see [`FlumeChannel::lock`].
    ///
    /// # Errors
    /// A directory that cannot be read, two logs of one number, a log whose `.meta` is missing or damaged.
    pub fn find(
        checkpoint_dir: &Path,
        backup_dir: Option<&Path>,
        data_dirs: &[PathBuf],
    ) -> Result<Option<FlumeChannel>, Error> {
        let files = log_file::list(data_dirs)?;
        if files.is_empty() && !checkpoint::looks_like_one(checkpoint_dir)? {
            return Ok(None);
        }
        Ok(Some(FlumeChannel {
            checkpoint_dir: checkpoint_dir.to_owned(),
            backup_dir: backup_dir.map(Path::to_owned),
            data_dirs: data_dirs.to_owned(),
            files,
        }))
    }

    /// Whether there is a checkpoint, good or not, where the channel has its own.
    ///
    /// # Errors
    /// A directory that cannot be read.
    pub fn has_checkpoint(&self) -> Result<bool, Error> {
        let mut places = [&self.checkpoint_dir].into_iter().chain(&self.backup_dir);
        places.try_fold(false, |found, place| Ok(found || checkpoint::looks_like_one(place)?))
    }

    /// How many logs there are.
    pub fn logs(&self) -> usize {
        self.files.len()
    }

    /// Bytes of all logs.
    pub fn bytes(&self) -> u64 {
        self.files.values().map(|file| file.length).sum()
    }

    /// The aliases of the keys that its logs are encrypted with, each once.
    pub fn key_aliases(&self) -> Vec<&str> {
        let mut aliases: Vec<&str> = self
            .files
            .values()
            .filter_map(|file| file.encryption.as_ref())
            .map(|with| &*with.alias)
            .collect();
        aliases.sort_unstable();
        aliases.dedup();
        aliases
    }

    /// Keeps Flume out of all directories until the answer is dropped, as one Flume keeps out another; see
    /// [`lock()`] for who must not call this.
    ///
    /// # Errors
    /// [`Error::InUse`] while a Flume has the channel open.
    pub fn lock(&self) -> Result<Vec<DirectoryLock>, Error> {
        let directories =
            [&self.checkpoint_dir].into_iter().chain(&self.backup_dir).chain(&self.data_dirs);
        let mut locks = Vec::new();
        for directory in directories {
            locks.extend(lock(directory)?);
        }
        Ok(locks)
    }

    /// Replays checkpoint and logs and answers the queue: what was committed and not taken. Blocking; reads each log
    /// that the checkpoint does not cover once. `progress` is called about every MiB.
    ///
    /// # Errors
    /// A file that cannot be read, an encrypted log without its key, and damage, unless it is to be skipped.
    pub fn read(
        &self,
        keys: Option<Keys<'_>>,
        on_damage: OnDamage,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Queue, Error> {
        replay::replay(self, keys, on_damage, progress)
    }

    /// Looks at every record of every log from its beginning, and at the event in each put. Blocking. Damage is
    /// counted and named.
    ///
    /// # Errors
    /// A file that cannot be read, and an encrypted log without its key.
    pub fn check(
        &self,
        keys: Option<Keys<'_>>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Checked, Error> {
        check::check(self, keys, progress)
    }
}

#[cfg(test)]
pub(super) mod tests;
