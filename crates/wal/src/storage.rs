//! The disk as a trait: all that the log asks of one directory, and nothing else touches a disk.
//!
//! Names are flat: a storage is one directory. The real one is [`Disk`]; the simulated one lives
//! in `sim/` and loses, tears and reorders whatever was not synced.

use std::any::Any;
use std::fmt;
use std::io::{self, IoSlice};
use std::sync::Arc;

mod disk;
mod shelf;

pub use disk::Disk;
pub(crate) use shelf::{Shelf, Shelved};

/// One directory of a log.
pub trait Storage: Send + Sync + 'static {
    /// Where it is, for messages and for telling directories apart: a path.
    fn place(&self) -> String;
    /// Creates a file that must not exist, for reading and writing.
    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>>;
    /// Opens a file that must exist, for reading and writing.
    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>>;
    /// Renames a file over whatever has the new name.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// The names of all files, in any order.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Makes created, renamed and removed names durable.
    fn sync_dir(&self) -> io::Result<()>;
    /// Takes a lock on a file, made if it is missing, until the returned value is dropped.
    /// `WouldBlock` says that somebody else has it.
    fn lock(&self, name: &str) -> io::Result<Box<dyn Any + Send + Sync>>;
    /// Bytes that may still be allocated.
    fn free_bytes(&self) -> io::Result<u64>;
    /// Whether what was allocated is room that nobody else can take, as far as is known by now. Where it is not,
    /// a full disk shows when something is written.
    fn preallocates(&self) -> bool {
        true
    }
}

/// An open file of a [`Storage`].
pub trait StorageFile: Send + Sync + 'static {
    /// Writes some of `parts` at `offset` and says how many bytes that were.
    fn write_at(&self, parts: &[IoSlice<'_>], offset: u64) -> io::Result<usize>;
    /// Reads some bytes at `offset`; 0 is the end of the file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Makes contents and length durable. After an error it must not be called again: the system
    /// forgets what it could not write and answers success the next time.
    fn sync_data(&self) -> io::Result<()>;
    /// Sets the length, down or up.
    fn truncate(&self, length: u64) -> io::Result<()>;
    /// Makes the file at least this long, with real blocks behind it.
    fn allocate(&self, length: u64) -> io::Result<()>;
    /// The length in bytes.
    fn length(&self) -> io::Result<u64>;
    /// Where the first byte at or behind `offset` may be that is not zero, as far as the system
    /// knows without reading; `None` if there is none up to the end.
    fn next_data(&self, offset: u64) -> io::Result<Option<u64>> {
        Ok(Some(offset))
    }
    /// A hint: what is written and synced will not be read soon, and need not stay in the system's memory.
    fn let_go(&self) {}
}

/// Time and randomness, handed in so that a simulation can repeat itself.
pub trait Surroundings: Send + Sync + 'static {
    /// Milliseconds since 1970. Orders nothing.
    fn now_millis(&self) -> u64;
    /// Milliseconds of a clock that nobody sets, since any time. For waits.
    fn monotonic_millis(&self) -> u64;
    /// Fills `bytes` with randomness for identities and salts.
    fn random(&self, bytes: &mut [u8]) -> io::Result<()>;
}

/// The system's clock and randomness.
#[derive(Debug, Default)]
pub struct System;

impl Surroundings for System {
    fn now_millis(&self) -> u64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    fn monotonic_millis(&self) -> u64 {
        use rustix::time::{ClockId, clock_gettime};
        let now = clock_gettime(ClockId::Monotonic);
        // Neither is negative.
        let (seconds, nanos) = (now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs());
        seconds.saturating_mul(1000).saturating_add(nanos / 1_000_000)
    }

    fn random(&self, bytes: &mut [u8]) -> io::Result<()> {
        use rustix::rand::{GetRandomFlags, getrandom};
        // Not out of a file: a new segment must not fail for want of a descriptor.
        let mut rest = bytes;
        while !rest.is_empty() {
            let filled = match getrandom(&mut *rest, GetRandomFlags::empty()) {
                Err(rustix::io::Errno::INTR) => 0,
                other => other?,
            };
            rest = rest.get_mut(filled..).unwrap_or_default();
        }
        Ok(())
    }
}

/// What the disk refused: which act, on which file, where.
#[derive(Clone, Debug)]
pub struct DiskError {
    /// The act, as in "cannot {act}".
    pub act: &'static str,
    /// The file, empty for the directory itself.
    pub name: String,
    /// The directory.
    pub place: String,
    /// The system's answer.
    pub source: Arc<io::Error>,
}

impl DiskError {
    /// Whether there was no room, rather than a fault: space, quota, file size, inodes; and file
    /// descriptors, without which there are no new files either, but the reserve is open.
    pub fn is_full(&self) -> bool {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        matches!(self.source.kind(), StorageFull | QuotaExceeded | FileTooLarge)
            || self.lacks_descriptors()
    }

    /// Whether the process or the system has no file descriptors left.
    pub fn lacks_descriptors(&self) -> bool {
        lacks_descriptors(&self.source)
    }
}

fn lacks_descriptors(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let lacking = [Errno::MFILE, Errno::NFILE].map(Errno::raw_os_error);
    error.raw_os_error().is_some_and(|number| lacking.contains(&number))
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DiskError { act, name, place, source } = self;
        let slash = if name.is_empty() { "" } else { "/" };
        write!(f, "cannot {act} {place}{slash}{name}: {source}")
    }
}

impl std::error::Error for DiskError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.source)
    }
}

/// Adds to an answer of the disk what was asked.
pub(crate) trait Asked<T> {
    fn asked(self, act: &'static str, name: &str, storage: &dyn Storage) -> Result<T, DiskError>;
}

impl<T> Asked<T> for io::Result<T> {
    fn asked(self, act: &'static str, name: &str, storage: &dyn Storage) -> Result<T, DiskError> {
        self.map_err(|source| DiskError {
            act,
            name: name.to_owned(),
            place: storage.place(),
            source: Arc::new(source),
        })
    }
}

/// How many parts one vectored write may have on Linux.
const MOST_PARTS: usize = 1024;

/// Writes all of `parts` from `offset` on, finishing short writes.
pub fn write_all_at(
    file: &dyn StorageFile,
    mut parts: &mut [IoSlice<'_>],
    mut offset: u64,
) -> io::Result<()> {
    IoSlice::advance_slices(&mut parts, 0);
    while !parts.is_empty() {
        let few = &parts[..parts.len().min(MOST_PARTS)];
        match file.write_at(few, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                IoSlice::advance_slices(&mut parts, written);
                offset += written as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Fills `buffer` from `offset` on and says how much there was before the end of the file.
pub fn read_full_at(file: &dyn StorageFile, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
