//! Contents that are known, by how they begin, so that a new file is compared with few of them.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound::{Included, Unbounded};

use super::copies::Orphan;
use super::positions::{Entry, Key};
use super::print::{HEAD_BYTES, Print};
use super::tailed::{State, Tailed};
use super::tailer::Tailer;

/// Whatever is told apart by the fingerprint of its first bytes.
#[derive(Debug)]
pub(super) struct Heads<T>(BTreeMap<usize, HashMap<Print, Vec<T>>>);

impl<T: Copy> Heads<T> {
    fn new() -> Self {
        Heads(BTreeMap::new())
    }

    fn add(&mut self, head: Print, of: T) {
        self.0.entry(head.len).or_default().entry(head).or_default().push(of);
    }

    /// Those whose first bytes are the first of `start`; those that agree in most bytes first.
    pub(super) fn fitting(&self, start: &[u8]) -> impl Iterator<Item = T> + use<'_, T> {
        let (mut print, mut fitting) = (Print::EMPTY, Vec::new());
        for (len, heads) in self.0.range(..=start.len()) {
            print = print.and(&start[print.len..*len]);
            fitting.extend(heads.get(&print));
        }
        fitting.into_iter().rev().flatten().copied()
    }
}

/// New files that are judged one after the other, and what they are compared with.
#[derive(Debug)]
pub(super) struct Round {
    pub(super) new: VecDeque<Key>,
    /// So many orphans may be let go when all were judged.
    pub(super) ripe: usize,
    pub(super) orphans: Heads<usize>,
    /// By inode and key.
    pub(super) saved: Heads<(u64, Key)>,
    files: Heads<Key>,
    /// Lengths of what is known of files, by their first bytes.
    starts: BTreeMap<Vec<u8>, Vec<(usize, Key)>>,
}

impl Round {
    pub(super) fn of(tailer: &Tailer, ripe: usize) -> Self {
        let files = tailer.files.iter();
        let mut round = Round {
            new: files.filter(|(_, f)| f.is_new()).map(|(key, _)| *key).collect(),
            ripe,
            orphans: Heads::new(),
            saved: Heads::new(),
            files: Heads::new(),
            starts: BTreeMap::new(),
        };
        if round.new.is_empty() {
            return round;
        }
        for (index, Orphan { entry, .. }) in tailer.orphans[..ripe].iter().enumerate() {
            round.orphans.add(entry.head.unwrap_or(Print::EMPTY), index);
        }
        for (key, entry) in tailer.saved.values().flatten() {
            let Entry { inode, head, .. } = entry;
            round.saved.add(head.unwrap_or(Print::EMPTY), (*inode, *key));
        }
        for (key, file) in &tailer.files {
            // Nobody can open one that has lost its name and is closed.
            let can_open = file.state != State::Gone
                || file.file.is_some()
                || tailer.by_path.get(&file.path) == Some(key);
            if can_open && is_comparable(file) {
                round.add(*key, file);
            }
        }
        round
    }

    /// Adds a file that later ones are compared with.
    pub(super) fn add(&mut self, key: Key, file: &Tailed) {
        let known = file.known();
        self.files.add(known, key);
        self.starts.entry(file.start().to_vec()).or_default().push((known.len, key));
    }

    /// Files that may hold what a new one with these first bytes does, or a part of it.
    pub(super) fn alike<'a>(&'a self, start: &'a [u8]) -> impl Iterator<Item = Key> + use<'a> {
        let first = &start[..start.len().min(super::tailed::START_BYTES)];
        let longer = self
            .starts
            .range::<[u8], _>((Included(first), Unbounded))
            .take_while(|(s, _)| s.starts_with(first));
        let longer = longer.flat_map(|(_, files)| files).filter(|(len, _)| *len > start.len());
        let longer = longer.map(|(_, key)| *key);
        // The first bytes of a long file are all that is known of any.
        self.files.fitting(start).chain(longer.take_while(|_| start.len() < HEAD_BYTES))
    }
}

/// Whether copies of a file matter: what was not read yet may be copied as well.
pub(super) fn is_comparable(file: &Tailed) -> bool {
    !file.is_new() && !file.replaced && (file.position == 0 || file.head.len > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_that_fit_are_found() {
        let mut heads = Heads::new();
        for head in ["", "a", "ab", "abc", "b", "abd"] {
            heads.add(Print::of(head.as_bytes()), head);
        }
        let check = |start: &str, want: &[&str]| {
            assert_eq!(heads.fitting(start.as_bytes()).collect::<Vec<_>>(), want, "{start}");
        };
        check("abcd", &["abc", "ab", "a", ""]);
        check("ab", &["ab", "a", ""]);
        check("x", &[""]);
    }
}
