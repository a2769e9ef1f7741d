//! Disks that keep what was synced and make no other promise.
//!
//! What is fair. Before a sync a write may reach the platter whole, in any of its sectors, in a part
//! of a sector, or not at all, in any order; the same goes for lengths. A name that was made, changed
//! or removed is durable only after the directory's sync, each on its own, in any order; a rename is
//! atomic. A sync that fails has written some of what waited, will not try the rest again, and the
//! next one says that all is well, while reads still show what was written. Any call may fail once
//! with EIO or ENOSPC. Allocation fails when the disk is full; on a thin disk it sets a length only, and writes
//! fail, short before that. What is not fair: bytes that were durable change
//! only if a test flips them, and a sector that is written again with equal bytes keeps them.

use std::any::Any;
use std::io::{self, ErrorKind, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use splashdam_wal::storage::{Storage, StorageFile, Surroundings};

use crate::dice::Dice;

mod platter;

use platter::{BLOCK, DiskState, Inode, NameOp, Pending, write_into};

#[derive(Debug)]
struct World {
    dice: Dice,
    disks: Vec<DiskState>,
    /// Counts the acts that change something.
    acts: u64,
    crash_at: Option<u64>,
    crashed: bool,
    /// Acts that fail, and with what.
    faults: Vec<(u64, Errno)>,
    /// A disk on which no file can be made, renamed or made longer, and why.
    no_files: Option<(usize, Errno)>,
    /// A disk that is broken: whatever is written or synced fails.
    broken: Option<usize>,
    /// How many more reads fail with EIO.
    bad_reads: u32,
    /// Most bytes of files on a disk.
    capacity: usize,
    /// Whether a length takes no room, but only what is written.
    thin: bool,
    next_inode: u64,
    /// Lives so far: files opened in an earlier one are dead.
    life: u64,
    now: u64,
    trace: u64,
}

/// How an act fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errno {
    /// The medium has a fault (EIO).
    Io,
    /// There is no room (ENOSPC).
    NoSpace,
}

impl Errno {
    fn error(self) -> io::Error {
        io::Error::from_raw_os_error(match self {
            Errno::Io => 5,
            Errno::NoSpace => 28,
        })
    }
}

/// What a power failure may do to what was not synced: none of it stays, all of it, some whole
/// writes, some sectors, parts of sectors.
pub const MOODS: u64 = 5;

/// Some disks, a clock and randomness, all from one seed.
#[derive(Clone, Debug)]
pub struct Disks(Arc<Mutex<World>>);

impl Disks {
    /// `count` empty disks.
    pub fn new(seed: u64, count: usize) -> Disks {
        Disks(Arc::new(Mutex::new(World {
            dice: Dice::new(seed),
            disks: vec![DiskState::default(); count],
            acts: 0,
            crash_at: None,
            crashed: false,
            faults: Vec::new(),
            no_files: None,
            broken: None,
            bad_reads: 0,
            capacity: usize::MAX,
            thin: false,
            next_inode: 1,
            life: 1,
            now: 1_700_000_000_000,
            trace: 0,
        })))
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The disks as the log sees them.
    pub fn storages(&self) -> Vec<Arc<dyn Storage>> {
        let (count, life) = {
            let world = self.world();
            (world.disks.len(), world.life)
        };
        (0..count)
            .map(|disk| Arc::new(SimDisk { disks: self.clone(), disk, life }) as Arc<dyn Storage>)
            .collect()
    }

    /// How often the power was on, or a process began.
    pub fn life(&self) -> u64 {
        self.world().life
    }

    /// Acts so far.
    pub fn acts(&self) -> u64 {
        self.world().acts
    }

    /// A number that differs as soon as two runs do.
    pub fn trace(&self) -> u64 {
        self.world().trace
    }

    /// Lets the power fail at this act.
    pub fn crash_at(&self, act: Option<u64>) {
        self.world().crash_at = act;
    }

    /// Whether the power has failed.
    pub fn crashed(&self) -> bool {
        self.world().crashed
    }

    /// Lets this act fail.
    pub fn fail_at(&self, act: u64, with: Errno) {
        self.world().faults.push((act, with));
    }

    /// From now on until the next start no file can be made, renamed or made longer on a disk.
    pub fn refuse_files(&self, refused: Option<(usize, Errno)>) {
        self.world().no_files = refused;
    }

    /// From now on until the next start nothing can be written to a disk, nor synced.
    pub fn break_down(&self, disk: usize) {
        self.world().broken = Some(disk);
        self.world().no_files = Some((disk, Errno::Io));
    }

    /// Lets the next reads fail with EIO.
    pub fn fail_reads(&self, count: u32) {
        self.world().bad_reads = count;
    }

    /// Lets a disk hold at most so many bytes.
    pub fn limit(&self, capacity: usize) {
        self.world().capacity = capacity;
    }

    /// Allocation sets lengths only, from the first file on: a full disk shows when something is written.
    pub fn thin(&self) {
        self.world().thin = true;
    }

    /// Bytes that the files of a disk take.
    pub fn used(&self, disk: usize) -> usize {
        self.world().used(disk)
    }

    /// Lets time pass in which nothing is done.
    pub fn pass(&self, millis: u64) {
        self.world().now += millis;
    }

    /// Turns the power on again: what survived is what there is.
    pub fn restart(&self, power_was_lost: bool) {
        self.power_on(|dice| power_was_lost.then(|| dice.below(MOODS)));
    }

    /// The same with a chosen mood, which says what becomes of what was not synced; without one
    /// only the process ended, and the page cache still has all of it.
    pub fn restart_in(&self, mood: Option<u64>) {
        self.power_on(|_| mood);
    }

    fn power_on(&self, mood: impl Fn(&mut Dice) -> Option<u64>) {
        let mut world = self.world();
        let world = &mut *world;
        world.crashed = false;
        world.crash_at = None;
        world.faults.clear();
        (world.no_files, world.broken) = (None, None);
        world.bad_reads = 0;
        world.life += 1;
        for disk in &mut world.disks {
            disk.locks.clear();
            if let Some(mood) = mood(&mut world.dice) {
                disk.lose_names(&mut world.dice, mood);
                for inode in disk.inodes.values_mut() {
                    inode.lose(&mut world.dice, mood);
                }
            }
        }
    }

    /// The names on a disk.
    pub fn names(&self, disk: usize) -> Vec<String> {
        self.world().disks[disk].names.keys().cloned().collect()
    }

    /// The bytes of a file.
    pub fn bytes(&self, disk: usize, name: &str) -> Vec<u8> {
        let world = self.world();
        let disk = &world.disks[disk];
        disk.names.get(name).map(|inode| disk.inodes[inode].seen.to_vec()).unwrap_or_default()
    }

    /// Changes a file at rest.
    pub fn alter(&self, disk: usize, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut world = self.world();
        let disk = &mut world.disks[disk];
        if let Some(inode) = disk.names.get(name).and_then(|inode| disk.inodes.get_mut(inode)) {
            change(Arc::make_mut(&mut inode.seen));
            inode.durable = inode.seen.clone();
            inode.pending.clear();
        }
    }

    /// Takes a file away at rest.
    pub fn remove(&self, disk: usize, name: &str) {
        let mut world = self.world();
        let disk = &mut world.disks[disk];
        disk.names.remove(name);
        disk.durable_names.remove(name);
    }

    /// Empties a disk, as if another were mounted in its place.
    pub fn replace(&self, disk: usize) {
        self.world().disks[disk] = DiskState::default();
    }

    /// The same disks again, apart from these: for trying several fates.
    pub fn copy(&self) -> Disks {
        let world = self.world();
        Disks(Arc::new(Mutex::new(World {
            dice: world.dice.clone(),
            disks: world.disks.clone(),
            faults: world.faults.clone(),
            ..*world
        })))
    }

    /// Disks that all hold what one of these holds.
    pub fn copy_of(&self, disk: usize) -> Disks {
        let copy = self.copy();
        let one = copy.world().disks[disk].clone();
        copy.world().disks.fill(one);
        copy
    }

    /// Puts back what a disk held in a copy: a restore from a backup.
    pub fn restore(&self, disk: usize, from: &Disks) {
        let mut old = from.world().disks[disk].clone();
        old.locks.clear();
        self.world().disks[disk] = old;
    }
}

/// What an act must do.
enum Fate {
    Happens,
    Fails(Errno),
    /// It happens as far as unsynced things do, but nobody hears of it.
    PowerFails,
}

impl World {
    fn act(&mut self, life: u64, kind: u64) -> io::Result<Fate> {
        if self.crashed || self.life != life {
            return Err(io::Error::other("the power is off"));
        }
        self.acts += 1;
        self.now += 1;
        self.trace = (self.trace ^ kind).wrapping_mul(0x0100_0000_01b3).rotate_left(5) ^ self.acts;
        if self.crash_at == Some(self.acts) {
            self.crashed = true;
            return Ok(Fate::PowerFails);
        }
        let fault = self.faults.iter().find(|(act, _)| *act == self.acts);
        Ok(fault.map_or(Fate::Happens, |(_, errno)| Fate::Fails(*errno)))
    }

    fn fate_on(&self, disk: usize, fate: Fate) -> Fate {
        match fate {
            Fate::Happens if self.broken == Some(disk) => Fate::Fails(Errno::Io),
            fate => fate,
        }
    }

    fn admits_file(&self, disk: usize) -> io::Result<()> {
        let refused = self.no_files.filter(|(refused, _)| *refused == disk);
        refused.map_or(Ok(()), |(_, errno)| Err(errno.error()))
    }

    fn used(&self, disk: usize) -> usize {
        let disk = &self.disks[disk];
        disk.names.values().map(|inode| disk.inodes[inode].bytes(self.thin)).sum()
    }

    /// How many of `length` bytes find room at `offset`: none, or fewer, on a thin disk that is full.
    fn admits(&mut self, disk: usize, inode: u64, offset: usize, length: usize) -> usize {
        if !self.thin {
            return length;
        }
        let left = self.capacity.saturating_sub(self.used(disk)) / BLOCK;
        let inode = self.disks[disk].inodes.get_mut(&inode);
        inode.map_or(length, |inode| inode.admits(left, offset, length))
    }
}

fn eio() -> io::Error {
    io::Error::from_raw_os_error(5)
}

fn power_off() -> io::Error {
    io::Error::other("the power failed")
}

struct SimDisk {
    disks: Disks,
    disk: usize,
    life: u64,
}

impl SimDisk {
    fn rename_op(
        &self,
        kind: u64,
        change: impl FnOnce(&mut World) -> io::Result<NameOp>,
    ) -> io::Result<()> {
        let mut world = self.disks.world();
        let fate = world.act(self.life, kind)?;
        world.admits_file(self.disk)?;
        if let Fate::Fails(errno) = fate {
            return Err(errno.error());
        }
        let op = change(&mut world)?;
        let disk = &mut world.disks[self.disk];
        op.clone().apply(&mut disk.names);
        disk.pending.push(op);
        match fate {
            Fate::PowerFails => Err(power_off()),
            _ => Ok(()),
        }
    }

    fn file(&self, inode: u64) -> Arc<dyn StorageFile> {
        let (disks, disk, life) = (self.disks.clone(), self.disk, self.life);
        Arc::new(SimFile { disks, disk, life, inode })
    }
}

impl Storage for SimDisk {
    fn place(&self) -> String {
        format!("disk-{}", self.disk)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        let mut made = 0;
        self.rename_op(1, |world| {
            if world.disks[self.disk].names.contains_key(name) {
                return Err(ErrorKind::AlreadyExists.into());
            }
            made = world.next_inode;
            world.next_inode += 1;
            world.disks[self.disk].inodes.insert(made, Inode::default());
            Ok(NameOp::Link(name.to_owned(), made))
        })?;
        Ok(self.file(made))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        let world = self.disks.world();
        let inode = world.disks[self.disk].names.get(name).ok_or(ErrorKind::NotFound)?;
        Ok(self.file(*inode))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.rename_op(2, |world| {
            let inode = world.disks[self.disk].names.get(from).ok_or(ErrorKind::NotFound)?;
            Ok(NameOp::Rename(from.to_owned(), to.to_owned(), *inode))
        })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.rename_op(3, |world| match world.disks[self.disk].names.contains_key(name) {
            true => Ok(NameOp::Unlink(name.to_owned())),
            false => Err(ErrorKind::NotFound.into()),
        })
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.disks.names(self.disk))
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut world = self.disks.world();
        match world.act(self.life, 4)? {
            Fate::Happens => {
                let disk = &mut world.disks[self.disk];
                disk.pending.clear();
                disk.durable_names = disk.names.clone();
                Ok(())
            }
            Fate::Fails(errno) => Err(errno.error()),
            Fate::PowerFails => Err(power_off()),
        }
    }

    fn lock(&self, name: &str) -> io::Result<Box<dyn Any + Send + Sync>> {
        let mut world = self.disks.world();
        let disk = &mut world.disks[self.disk];
        if disk.locks.iter().any(|held| held == name) {
            return Err(ErrorKind::WouldBlock.into());
        }
        disk.locks.push(name.to_owned());
        let (disks, disk, life, name) = (self.disks.clone(), self.disk, self.life, name.to_owned());
        Ok(Box::new(SimLock { disks, disk, life, name }))
    }

    fn preallocates(&self) -> bool {
        !self.disks.world().thin
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let world = self.disks.world();
        Ok(world.capacity.saturating_sub(world.used(self.disk)) as u64)
    }
}

struct SimLock {
    disks: Disks,
    disk: usize,
    life: u64,
    name: String,
}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut world = self.disks.world();
        if world.life == self.life {
            world.disks[self.disk].locks.retain(|held| *held != self.name);
        }
    }
}

struct SimFile {
    disks: Disks,
    disk: usize,
    life: u64,
    inode: u64,
}

impl SimFile {
    fn inode<'a>(&self, world: &'a mut World) -> io::Result<&'a mut Inode> {
        world.disks[self.disk].inodes.get_mut(&self.inode).ok_or_else(eio)
    }

    fn set_length(&self, length: u64, shrink: bool) -> io::Result<()> {
        let length = usize::try_from(length).map_err(|_| ErrorKind::FileTooLarge)?;
        let mut world = self.disks.world();
        let fate = world.act(self.life, 6)?;
        world.admits_file(self.disk)?;
        if let Fate::Fails(errno) = fate {
            return Err(errno.error());
        }
        let (used, capacity, thin) = (world.used(self.disk), world.capacity, world.thin);
        let inode = self.inode(&mut world)?;
        let more = length.saturating_sub(inode.seen.len());
        if !thin && more > 0 && used + more > capacity {
            return Err(ErrorKind::StorageFull.into());
        }
        if shrink || more > 0 {
            inode.blocks.retain(|block| block * BLOCK < length);
            Arc::make_mut(&mut inode.seen).resize(length, 0);
            inode.pending.push(Pending::Length(length));
        }
        match fate {
            Fate::PowerFails => Err(power_off()),
            _ => Ok(()),
        }
    }
}

impl StorageFile for SimFile {
    fn write_at(&self, parts: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        let mut world = self.disks.world();
        if world.dice.once_in(40) {
            return Err(ErrorKind::Interrupted.into());
        }
        let fate = world.act(self.life, 5)?;
        let fate = world.fate_on(self.disk, fate);
        let mut bytes = Vec::with_capacity(parts.iter().map(|part| part.len()).sum());
        parts.iter().for_each(|part| bytes.extend_from_slice(part));
        if world.dice.once_in(20) || matches!(fate, Fate::Fails(_)) {
            let some = world.dice.index(bytes.len()) + 1;
            bytes.truncate(some);
        }
        let offset = usize::try_from(offset).map_err(|_| ErrorKind::FileTooLarge)?;
        let admitted = world.admits(self.disk, self.inode, offset, bytes.len());
        if admitted == 0 && !bytes.is_empty() && !matches!(fate, Fate::PowerFails) {
            return Err(Errno::NoSpace.error());
        }
        bytes.truncate(admitted);
        let inode = self.inode(&mut world)?;
        write_into(Arc::make_mut(&mut inode.seen), offset, &bytes);
        let written = bytes.len();
        inode.pending.push(Pending::Write { offset, bytes });
        match fate {
            Fate::Happens => Ok(written),
            Fate::Fails(errno) => Err(errno.error()),
            Fate::PowerFails => Err(power_off()),
        }
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut world = self.disks.world();
        if world.crashed || world.life != self.life {
            return Err(power_off());
        }
        if world.bad_reads > 0 {
            world.bad_reads -= 1;
            return Err(eio());
        }
        let inode = self.inode(&mut world)?;
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(inode.seen.len());
        let length = buffer.len().min(inode.seen.len() - start);
        buffer[..length].copy_from_slice(&inode.seen[start..start + length]);
        Ok(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut world = self.disks.world();
        let fate = world.act(self.life, 7)?;
        match world.fate_on(self.disk, fate) {
            Fate::Happens => {
                self.inode(&mut world)?.sync();
                Ok(())
            }
            Fate::Fails(errno) => {
                let mut dice = world.dice.clone();
                let inode = self.inode(&mut world)?;
                let mood = dice.below(MOODS);
                for pending in std::mem::take(&mut inode.pending) {
                    inode.survive(pending, &mut dice, mood);
                }
                world.dice = dice;
                Err(errno.error())
            }
            Fate::PowerFails => Err(power_off()),
        }
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.set_length(length, true)
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        self.set_length(length, false)
    }

    fn length(&self) -> io::Result<u64> {
        let mut world = self.disks.world();
        Ok(self.inode(&mut world)?.seen.len() as u64)
    }
}

impl Surroundings for Disks {
    fn now_millis(&self) -> u64 {
        self.world().now
    }

    fn monotonic_millis(&self) -> u64 {
        self.world().now
    }

    fn random(&self, bytes: &mut [u8]) -> io::Result<()> {
        let mut world = self.world();
        for chunk in bytes.chunks_mut(8) {
            let roll = world.dice.roll().to_le_bytes();
            chunk.copy_from_slice(&roll[..chunk.len()]);
        }
        Ok(())
    }
}
