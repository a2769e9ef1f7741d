//! What `file_roll` asks of a disk: a trait, so that tests can fill it up and break it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Where files are made. All of it blocks.
pub(super) trait Disk: Send + Sync {
    /// Makes a file that was not there and opens it for appending.
    fn create(&self, path: &Path) -> io::Result<Box<dyn Output>>;
    /// Makes one directory below another that is there.
    fn create_directory(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable.
    fn sync_directory(&self, path: &Path) -> io::Result<()>;
}

/// An open file that is appended to.
pub(super) trait Output: Send {
    /// Appends some of `bytes` and says how many.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;
    /// Removes the last `count` bytes of the file.
    fn take_back(&mut self, count: u64) -> io::Result<()>;
    /// Makes what was written durable.
    fn sync(&mut self) -> io::Result<()>;
    /// Whether the file still has a name, so that somebody can find what is written to it.
    fn is_named(&self) -> io::Result<bool>;
}

/// The machine's own file systems.
pub(super) struct RealDisk;

impl Disk for RealDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn Output>> {
        let file = OpenOptions::new().append(true).create_new(true).open(path)?;
        Ok(Box::new(file))
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        std::fs::create_dir(path)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }
}

impl Output for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Write::write(self, bytes)
    }

    fn take_back(&mut self, count: u64) -> io::Result<()> {
        // The length is asked for, since somebody else may have cut the file meanwhile.
        let len = self.metadata()?.len();
        self.set_len(len.saturating_sub(count))
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn is_named(&self) -> io::Result<bool> {
        Ok(self.metadata()?.nlink() > 0)
    }
}
