//! What a disk holds, what only its cache holds, and what is left of that when the power fails.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::dice::Dice;

const SECTOR: usize = 512;
/// What a thin disk gives room in.
pub(super) const BLOCK: usize = 4096;

#[derive(Clone, Debug)]
pub(super) enum Pending {
    Write { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

#[derive(Clone, Debug, Default)]
pub(super) struct Inode {
    /// What reads show. Shared with the copies of the disks until one of them writes.
    pub(super) seen: Arc<Vec<u8>>,
    /// What survives.
    pub(super) durable: Arc<Vec<u8>>,
    pub(super) pending: Vec<Pending>,
    /// Where something was written, on a thin disk.
    pub(super) blocks: BTreeSet<usize>,
}

#[derive(Clone, Debug)]
pub(super) enum NameOp {
    Link(String, u64),
    Unlink(String),
    Rename(String, String, u64),
}

#[derive(Clone, Debug, Default)]
pub(super) struct DiskState {
    pub(super) names: BTreeMap<String, u64>,
    pub(super) durable_names: BTreeMap<String, u64>,
    pub(super) pending: Vec<NameOp>,
    pub(super) inodes: BTreeMap<u64, Inode>,
    pub(super) locks: Vec<String>,
}

impl DiskState {
    pub(super) fn lose_names(&mut self, dice: &mut Dice, mood: u64) {
        let pending = std::mem::take(&mut self.pending);
        let keep = dice.index(pending.len() + 1);
        for (index, op) in pending.into_iter().enumerate() {
            let survives = match mood {
                0 => false,
                1 => true,
                2 => index < keep,
                _ => dice.once_in(2),
            };
            if survives {
                op.apply(&mut self.durable_names);
            }
        }
        self.names = self.durable_names.clone();
        let alive: Vec<_> = self.names.values().copied().collect();
        self.inodes.retain(|inode, _| alive.contains(inode));
    }
}

impl NameOp {
    pub(super) fn apply(self, names: &mut BTreeMap<String, u64>) {
        match self {
            NameOp::Link(name, inode) => {
                names.insert(name, inode);
            }
            NameOp::Unlink(name) => {
                names.remove(&name);
            }
            NameOp::Rename(from, to, inode) => {
                names.remove(&from);
                names.insert(to, inode);
            }
        }
    }
}

impl Inode {
    /// What it takes of a disk.
    pub(super) fn bytes(&self, thin: bool) -> usize {
        if thin { self.blocks.len() * BLOCK } else { self.seen.len() }
    }

    /// How many of `length` bytes at `offset` a disk with `left` free blocks gives room to.
    pub(super) fn admits(&mut self, mut left: usize, offset: usize, length: usize) -> usize {
        for block in offset / BLOCK..(offset + length).div_ceil(BLOCK) {
            if self.blocks.contains(&block) {
                continue;
            }
            if left == 0 {
                return (block * BLOCK).saturating_sub(offset);
            }
            left -= 1;
            self.blocks.insert(block);
        }
        length
    }

    pub(super) fn lose(&mut self, dice: &mut Dice, mood: u64) {
        if self.pending.is_empty() && Arc::ptr_eq(&self.seen, &self.durable) {
            return;
        }
        for pending in std::mem::take(&mut self.pending) {
            self.survive(pending, dice, mood);
        }
        self.seen = self.durable.clone();
    }

    /// What is left on the platter of something that waited to be written.
    pub(super) fn survive(&mut self, pending: Pending, dice: &mut Dice, mood: u64) {
        match pending {
            Pending::Length(length) => {
                if mood == 1 || (mood > 1 && dice.once_in(2)) {
                    Arc::make_mut(&mut self.durable).resize(length, 0);
                }
            }
            Pending::Write { offset, bytes } => {
                if mood == 0 || (mood == 2 && dice.once_in(2)) {
                    return;
                }
                let mut at = 0;
                while at < bytes.len() {
                    let sector_end = ((offset + at) / SECTOR + 1) * SECTOR - offset;
                    let end = sector_end.min(bytes.len());
                    let kept = match mood {
                        1 | 2 => end,
                        3 if dice.once_in(2) => at,
                        3 => end,
                        _ => at + dice.index(end - at + 1),
                    };
                    write_into(Arc::make_mut(&mut self.durable), offset + at, &bytes[at..kept]);
                    at = end;
                }
            }
        }
    }

    /// Only what waits is written: what an earlier sync failed to write does not wait any more.
    pub(super) fn sync(&mut self) {
        for pending in std::mem::take(&mut self.pending) {
            match pending {
                Pending::Length(length) => Arc::make_mut(&mut self.durable).resize(length, 0),
                Pending::Write { offset, bytes } => {
                    write_into(Arc::make_mut(&mut self.durable), offset, &bytes);
                }
            }
        }
    }
}

pub(super) fn write_into(file: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    if file.len() < offset + bytes.len() {
        file.resize(offset + bytes.len(), 0);
    }
    file[offset..offset + bytes.len()].copy_from_slice(bytes);
}
