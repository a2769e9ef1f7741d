//! A directory in memory that gives others their turn inside each write and each sync, and knows
//! which bytes a sync found when it began.

use std::any::Any;
use std::collections::BTreeMap;
use std::io::{self, ErrorKind, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard};

use shuttle::thread::yield_now;
use splashdam_explore::storage::{Storage, StorageFile, Surroundings};

#[derive(Default)]
struct File {
    seen: Vec<u8>,
    durable: Vec<u8>,
    broken: bool,
}

#[derive(Default)]
struct World {
    files: BTreeMap<String, Arc<Mutex<File>>>,
    locks: Vec<String>,
    /// How many more syncs succeed, if not all.
    good_syncs: Option<u32>,
    /// Whether nothing can be written any more, or from the next put on.
    dead: bool,
    doomed: bool,
}

/// The directory. No lock in here is held while others have their turn.
#[derive(Clone, Default)]
pub(crate) struct Disk(Arc<Mutex<World>>, usize);

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics with it")
}

impl Disk {
    pub(crate) fn new(number: usize) -> Disk {
        Disk(Arc::default(), number)
    }

    /// Lets one sync fail, after so many that succeed.
    pub(crate) fn fail_sync_after(&self, count: u32) {
        locked(&self.0).good_syncs = Some(count);
    }

    /// Nothing can be written from the next put on.
    pub(crate) fn break_down(&self) {
        locked(&self.0).doomed = true;
    }

    fn alive(&self) -> io::Result<()> {
        if locked(&self.0).dead { Err(io::Error::from_raw_os_error(5)) } else { Ok(()) }
    }

    /// No sync fails any more, and the next process writes anew what it wants to rely on.
    pub(crate) fn heal(&self) {
        {
            let mut world = locked(&self.0);
            (world.good_syncs, world.dead, world.doomed) = (None, false, false);
        }
        let files: Vec<_> = locked(&self.0).files.values().cloned().collect();
        files.iter().for_each(|file| locked(file).broken = false);
    }

    /// Whether a sync has made these bytes durable.
    pub(crate) fn has(&self, bytes: &[u8]) -> bool {
        let files: Vec<_> = locked(&self.0).files.values().cloned().collect();
        files
            .iter()
            .any(|file| locked(file).durable.windows(bytes.len()).any(|window| window == bytes))
    }
}

impl Storage for Disk {
    fn place(&self) -> String {
        format!("memory-{}", self.1)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        self.alive()?;
        let mut world = locked(&self.0);
        if world.files.contains_key(name) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let file = Arc::new(Mutex::new(File::default()));
        world.files.insert(name.to_owned(), file.clone());
        Ok(Arc::new(Open(file, self.clone())))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        let file = locked(&self.0).files.get(name).cloned().ok_or(ErrorKind::NotFound)?;
        Ok(Arc::new(Open(file, self.clone())))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut world = locked(&self.0);
        let file = world.files.remove(from).ok_or(ErrorKind::NotFound)?;
        world.files.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        locked(&self.0).files.remove(name).map(drop).ok_or(ErrorKind::NotFound.into())
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(locked(&self.0).files.keys().cloned().collect())
    }

    fn sync_dir(&self) -> io::Result<()> {
        yield_now();
        Ok(())
    }

    fn lock(&self, name: &str) -> io::Result<Box<dyn Any + Send + Sync>> {
        let mut world = locked(&self.0);
        if world.locks.iter().any(|held| held == name) {
            return Err(ErrorKind::WouldBlock.into());
        }
        world.locks.push(name.to_owned());
        Ok(Box::new(Lock(name.to_owned(), self.clone())))
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(1 << 40)
    }
}

struct Lock(String, Disk);

impl Drop for Lock {
    fn drop(&mut self) {
        locked(&self.1.0).locks.retain(|held| *held != self.0);
    }
}

fn is_put(bytes: &[u8]) -> bool {
    bytes.windows(4).any(|window| window == b"MARK")
}

struct Open(Arc<Mutex<File>>, Disk);

impl Open {
    fn resize(&self, length: u64, shrink: bool) -> io::Result<()> {
        let length = usize::try_from(length).map_err(|_| ErrorKind::FileTooLarge)?;
        let mut file = locked(&self.0);
        if shrink || length > file.seen.len() {
            file.seen.resize(length, 0);
        }
        Ok(())
    }
}

impl StorageFile for Open {
    fn write_at(&self, parts: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        yield_now();
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        {
            let mut world = locked(&self.1.0);
            world.dead |= world.doomed && is_put(&bytes);
        }
        self.1.alive()?;
        let start = usize::try_from(offset).map_err(|_| ErrorKind::FileTooLarge)?;
        let mut file = locked(&self.0);
        let end = start + bytes.len();
        if file.seen.len() < end {
            file.seen.resize(end, 0);
        }
        file.seen[start..end].copy_from_slice(&bytes);
        Ok(bytes.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let file = locked(&self.0);
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(file.seen.len());
        let length = buffer.len().min(file.seen.len() - start);
        buffer[..length].copy_from_slice(&file.seen[start..start + length]);
        Ok(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        // What is written from here on waits for the next sync.
        let before = locked(&self.0).seen.clone();
        yield_now();
        yield_now();
        let fails = {
            // Only of what was put: a spare that cannot be made is waited for by the clock, which
            // stands still here.
            let left = &mut locked(&self.1.0).good_syncs;
            let counts = is_put(&before);
            let fails = counts && *left == Some(0);
            *left = match *left {
                Some(0) if counts => None,
                Some(count) if counts => Some(count - 1),
                left => left,
            };
            fails
        };
        let mut file = locked(&self.0);
        if fails {
            file.broken = true;
            return Err(io::Error::from_raw_os_error(5));
        }
        assert!(!file.broken, "a second sync after one that failed");
        file.durable = before;
        Ok(())
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.resize(length, true)
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        self.resize(length, false)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(locked(&self.0).seen.len() as u64)
    }
}

/// A clock that stands still, and counted randomness.
#[derive(Default)]
pub(crate) struct Still(std::sync::atomic::AtomicU64);

impl Surroundings for Still {
    fn now_millis(&self) -> u64 {
        1_700_000_000_000
    }

    fn monotonic_millis(&self) -> u64 {
        1
    }

    fn random(&self, bytes: &mut [u8]) -> io::Result<()> {
        let count = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mut mixed = (count + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        for byte in bytes {
            mixed = mixed.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
            *byte = (mixed >> 56) as u8;
        }
        Ok(())
    }
}
