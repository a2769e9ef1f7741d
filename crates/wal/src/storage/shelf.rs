//! Segments that are only read are open a few at a time: a long backlog has more of them than a
//! process may have descriptors.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use super::{Storage, StorageFile, lacks_descriptors};
use crate::threads::{AtomicBool, Mutex, MutexGuard};

/// How long to wait for a descriptor when neither the process nor this shelf has one to spare.
const WAIT: Duration = Duration::from_millis(50);

/// The files of a directory that are opened when they are needed.
pub struct Shelf {
    storage: Arc<dyn Storage>,
    most: usize,
    /// Those that are open and may be closed, the one opened longest ago first.
    open: Mutex<VecDeque<Weak<Shelved>>>,
}

/// A file that is open while it is written, and later when it is needed.
pub struct Shelved {
    shelf: Arc<Shelf>,
    /// Itself.
    me: Weak<Shelved>,
    name: String,
    file: Mutex<Option<Arc<dyn StorageFile>>>,
    rests: AtomicBool,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shelf {
    /// At most `most` of the files that rest are open.
    pub fn new(storage: Arc<dyn Storage>, most: usize) -> Arc<Shelf> {
        Arc::new(Shelf { storage, most, open: Mutex::default() })
    }

    /// Takes an open file of this name, which stays open until it is to rest.
    pub fn hold(self: &Arc<Self>, name: String, file: Arc<dyn StorageFile>) -> Arc<Shelved> {
        let (shelf, file) = (self.clone(), Mutex::new(Some(file)));
        let rests = AtomicBool::new(false);
        Arc::new_cyclic(|me| Shelved { shelf, me: me.clone(), name, file, rests })
    }

    /// Counts an open file, and closes those that are too many.
    fn count(&self, file: &Weak<Shelved>) {
        let mut open = locked(&self.open);
        open.push_back(file.clone());
        let many = open.len().saturating_sub(self.most);
        let oldest: Vec<_> = open.drain(..many).collect();
        drop(open);
        for file in oldest.iter().filter_map(Weak::upgrade) {
            locked(&file.file).take();
        }
    }

    fn close_one(&self) -> bool {
        let oldest = locked(&self.open).pop_front();
        oldest.as_ref().and_then(Weak::upgrade).inspect(|file| drop(locked(&file.file).take()));
        oldest.is_some()
    }

    /// Opens a file. Waits for a descriptor as long as there is none: what is there must not look as
    /// if it could not be read.
    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        loop {
            match self.storage.open(name) {
                Err(error) if lacks_descriptors(&error) => {
                    if !self.close_one() {
                        std::thread::sleep(WAIT);
                    }
                }
                other => return other,
            }
        }
    }
}

impl Shelved {
    /// It is written no more, and all of it is synced or void: from now on it may be closed.
    pub fn rest(&self) {
        if !self.rests.swap(true, Ordering::AcqRel) {
            self.shelf.count(&self.me);
        }
    }

    fn file(&self) -> io::Result<Arc<dyn StorageFile>> {
        if let Some(file) = &*locked(&self.file) {
            return Ok(file.clone());
        }
        // Two may open it at once; the descriptor of one of them is closed again.
        let file = self.shelf.open(&self.name)?;
        *locked(&self.file) = Some(file.clone());
        self.shelf.count(&self.me);
        Ok(file)
    }
}

impl StorageFile for Shelved {
    fn write_at(&self, parts: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        self.file()?.write_at(parts, offset)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file()?.read_at(buffer, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file()?.sync_data()
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.file()?.truncate(length)
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        self.file()?.allocate(length)
    }

    fn length(&self) -> io::Result<u64> {
        self.file()?.length()
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<u64>> {
        self.file()?.next_data(offset)
    }

    fn let_go(&self) {
        if let Ok(file) = self.file() {
            file.let_go();
        }
    }
}
