//! A directory of the file system.

use std::any::Any;
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{FallocateFlags, FlockOperation};

use super::{Storage, StorageFile};

/// A directory of the file system.
#[derive(Debug)]
pub struct Disk {
    path: PathBuf,
    directory: File,
    /// Whether allocation gives a file its length and no blocks.
    thin: Arc<AtomicBool>,
}

/// File systems that write everything to a new place, what was allocated too: ZFS and btrfs.
const WRITING_ANEW: [u64; 2] = [0x2FC1_2FC1, 0x9123_683E];

/// Of a path and what is above it what is not there, the lowest first. A relative path ends in an
/// empty one, which is the current directory.
fn missing(path: &Path) -> Vec<&Path> {
    let above = path.ancestors().filter(|above| !above.as_os_str().is_empty());
    above.take_while(|above| !above.exists()).collect()
}

impl Disk {
    /// Opens `path`, making it and its parents when they are missing, with their names synced.
    pub fn open(path: &Path) -> io::Result<Disk> {
        for above in missing(path).into_iter().rev() {
            match std::fs::create_dir(above) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
            let parent = match above.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent,
                _ => Path::new("."),
            };
            File::open(parent)?.sync_all()?;
        }
        Disk::find(path)
    }

    /// Opens `path`, which must be there: where a disk is not mounted nothing is made in its place.
    pub fn find(path: &Path) -> io::Result<Disk> {
        let path = path.canonicalize()?;
        let directory = File::open(&path)?;
        if !directory.metadata()?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let kind = rustix::fs::fstatfs(&directory).ok();
        let kind = kind.and_then(|about| u64::try_from(about.f_type).ok());
        let thin = kind.is_some_and(|kind| WRITING_ANEW.contains(&kind));
        Ok(Disk { path, directory, thin: Arc::new(AtomicBool::new(thin)) })
    }
}

impl Storage for Disk {
    fn place(&self) -> String {
        self.path.display().to_string()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(self.path.join(name))?;
        Ok(Arc::new(DiskFile(file, self.thin.clone())))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        let file = OpenOptions::new().read(true).write(true).open(self.path.join(name))?;
        Ok(Arc::new(DiskFile(file, self.thin.clone())))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path.join(name))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            // Our names are ASCII: what is not UTF-8 is not ours.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.directory.sync_all()
    }

    /// Two locks: one that also keeps out this very process, and the POSIX one that Java takes.
    fn lock(&self, name: &str) -> io::Result<Box<dyn Any + Send + Sync>> {
        let path = self.path.join(name);
        let open =
            || OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = open()?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        rustix::fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive).map_err(
            |error| match error {
                rustix::io::Errno::ACCESS => io::ErrorKind::WouldBlock.into(),
                other => io::Error::from(other),
            },
        )?;
        Ok(Box::new(file))
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let about = rustix::fs::fstatvfs(&self.directory)?;
        Ok(about.f_bavail.saturating_mul(about.f_frsize))
    }

    fn preallocates(&self) -> bool {
        !self.thin.load(Ordering::Relaxed)
    }
}

/// With whether its directory is known to allocate no blocks.
struct DiskFile(File, Arc<AtomicBool>);

impl StorageFile for DiskFile {
    fn write_at(&self, parts: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        Ok(rustix::io::pwritev(&self.0, parts, offset)?)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(&self.0, buffer, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        if self.length()? >= length {
            return Ok(());
        }
        match rustix::fs::fallocate(&self.0, FallocateFlags::empty(), 0, length) {
            // A file system without preallocation: the length at least is set, and a full disk
            // shows when writing.
            Err(rustix::io::Errno::OPNOTSUPP) => {
                self.1.store(true, Ordering::Relaxed);
                self.0.set_len(length)
            }
            other => Ok(other?),
        }
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    /// Blocks that were allocated and never written need not be read to know that they are zeros.
    fn next_data(&self, offset: u64) -> io::Result<Option<u64>> {
        match rustix::fs::seek(&self.0, rustix::fs::SeekFrom::Data(offset)) {
            Ok(at) => Ok(Some(at)),
            Err(rustix::io::Errno::NXIO) => Ok(None),
            // A file system that cannot tell: everything may be data.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::OPNOTSUPP) => Ok(Some(offset)),
            Err(other) => Err(other.into()),
        }
    }

    fn let_go(&self) {
        // Who keeps the pages all the same keeps them.
        let _hint = rustix::fs::fadvise(&self.0, 0, None, rustix::fs::Advice::DontNeed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_path_begins_where_the_process_is() {
        let check = |path: &str, want: &[&str]| {
            let want: Vec<_> = want.iter().map(Path::new).collect();
            assert_eq!(missing(Path::new(path)), want, "{path}");
        };
        check("not-there", &["not-there"]);
        check("not-there/data", &["not-there/data", "not-there"]);
        check("./not-there/data", &["./not-there/data", "./not-there"]);
        check("src/not-there", &["src/not-there"]);
        check("/", &[]);
        check("", &[]);
    }
}
