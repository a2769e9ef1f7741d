//! The lock by which one Flume keeps another out of a directory: a POSIX lock on the whole of `in_use.lock`.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::process::{Flock, FlockType, fcntl_getlk};

use super::error::{Error, at};

const NAME: &str = "in_use.lock";

/// Holds a directory's lock until it is dropped.
#[derive(Debug)]
pub struct DirectoryLock {
    _file: File,
}

/// Takes the lock of a directory. `None` when there is no lock file, as after a clean stop of Flume's: none is made,
/// since a directory that is read is not written to. Where the file may only be read, it is only asked for.
///
/// POSIX locks belong to a process and end when it closes *any* handle of the file: who holds the lock of this
/// directory already, as a log of ours in it does, must not call this.
///
/// # Errors
/// [`Error::InUse`] with the holder's process id.
pub fn lock(directory: &Path) -> Result<Option<DirectoryLock>, Error> {
    let path = directory.join(NAME);
    let (file, writable) = match OpenOptions::new().read(true).write(true).open(&path) {
        Ok(file) => (file, true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
            ) =>
        {
            (File::open(&path).map_err(at(&path))?, false)
        }
        Err(error) => return Err(at(&path)(error)),
    };
    let held = fcntl_getlk(&file, &Flock::from(FlockType::WriteLock))
        .map_err(|error| at(&path)(error.into()))?;
    let in_use = |pid| Error::InUse { path: directory.to_owned(), pid };
    if let Some(held) = held {
        return Err(in_use(held.pid.map_or(0, |pid| pid.as_raw_nonzero().get())));
    }
    if writable {
        match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::ACCESS | rustix::io::Errno::AGAIN) => return Err(in_use(0)),
            Err(error) => return Err(at(&path)(error.into())),
        }
    }
    Ok(Some(DirectoryLock { _file: file }))
}
