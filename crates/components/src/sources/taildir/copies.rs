//! Telling a copy from a new file.
//!
//! `copytruncate` copies a log and then empties it: the lines that were not read yet are in the
//! copy only, and those that were read are there again. So a new file whose content is that of a
//! file that is followed waits: when the other loses its content, this one goes on at the
//! position reached there; when it grows beyond the other or differs from it, or the other keeps
//! its content for [`PATIENCE`], it is a file with lines of its own.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::filler::Ended;
use super::known::{Round, is_comparable};
use super::positions::{Change, Entry, Key};
use super::print::{HEAD_BYTES, Print, TAIL_BYTES};
use super::reading::{bytes_before, is_intact, open};
use super::tailed::{State, Tailed};
use super::tailer::Tailer;

/// How long a file that does not grow is taken for a copy of one that keeps its content.
const PATIENCE: Duration = Duration::from_secs(1);
/// Bytes that must agree before a new file is taken for one that is gone: a common first line
/// proves nothing.
const PROOF_BYTES: u64 = HEAD_BYTES as u64;
/// Listings in a row, disturbed by names that move, after which no better one is waited for.
const MOST_UNSETTLED: usize = 50;
/// Files that a new one is compared with, at most.
const MOST_COMPARED: usize = 64;
/// Contents whose whereabouts are not known that a new file is compared with, at most.
const MOST_FITTING: usize = 1024;
/// How long new files are judged before files are read again.
const TURN: Duration = Duration::from_millis(20);

/// Content that was read up to a position and is not in its file any more.
#[derive(Debug)]
pub(super) struct Orphan {
    /// The file that held it; `None` when that is gone as well.
    pub(super) key: Option<Key>,
    pub(super) entry: Entry,
    /// Whether a file was found that holds it.
    pub(super) found: bool,
}

impl Orphan {
    pub(super) fn new(key: Option<Key>, entry: Entry) -> Self {
        Orphan { key, entry, found: false }
    }
}

/// What a new file is.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// It has lines of its own.
    Own,
    /// It holds the content of this orphan.
    Orphaned(usize),
    /// It holds what an earlier run read of a file that cannot be seen now.
    Remembered(Key, Entry),
    /// It holds the content of this file, which is gone.
    Moved(Key),
    /// It cannot be told yet: look again soon.
    Soon,
    /// It is empty or cannot be read: look again when it changes.
    Later,
}

impl Tailer {
    /// Has new files looked at in the next round.
    pub(super) fn judge_soon(&mut self) {
        self.next_judgement = Some(self.now());
    }

    /// Judges new files, and lets go of orphans whose content is nowhere. While names still move
    /// that cannot be said: a listing may have missed a file.
    /// Very many files are judged in parts, with reading in between.
    pub(super) fn judge_new(&mut self, is_listed: bool) -> Result<(), Ended> {
        let now = self.now();
        let mut round = match self.round.take() {
            Some(round) => round,
            None => {
                let ripe = if is_listed { self.orphans.len() } else { 0 };
                if ripe == 0 && self.next_judgement.is_none_or(|at| at > now) {
                    return Ok(());
                }
                self.next_judgement = None;
                Round::of(self, ripe)
            }
        };
        let ripe = round.ripe;
        while let Some(key) = round.new.pop_front() {
            match self.verdict(key, &round, now) {
                Verdict::Own => {
                    self.own(key);
                    if let Some(file) =
                        self.files.get(&key).filter(|f| is_comparable(f) && !f.at_first)
                    {
                        round.add(key, file);
                    }
                }
                Verdict::Orphaned(index) => {
                    self.orphans[index].found = true;
                    let entry = self.orphans[index].entry.clone();
                    self.go_on(key, &entry);
                }
                Verdict::Remembered(before, entry) => {
                    if let Some(entries) = self.saved.get_mut(&entry.inode) {
                        entries.retain(|(key, _)| *key != before);
                    }
                    self.filler.note(Change::Forget(before));
                    self.go_on(key, &entry);
                }
                Verdict::Moved(from) => {
                    let entry = self.files.get(&from).map(Tailed::entry);
                    self.forget(from);
                    if let Some(entry) = entry {
                        self.go_on(key, &entry);
                    }
                }
                Verdict::Soon => {
                    let soon = now + super::tailer::POLL_NEW;
                    self.next_judgement = Some(self.next_judgement.map_or(soon, |at| at.min(soon)));
                }
                Verdict::Later => {}
            }
            self.close_if_many(key);
            if !round.new.is_empty() && self.now().saturating_duration_since(now) >= TURN {
                self.round = Some(round);
                return Ok(());
            }
        }
        self.collect_hints();
        if self.unlisted && ripe > 0 && self.unsettled < MOST_UNSETTLED {
            self.unsettled += 1;
            return Ok(());
        }
        self.unsettled = 0;
        let orphans: Vec<Orphan> = self.orphans.drain(..ripe).collect();
        for Orphan { entry, .. } in orphans.iter().filter(|o| o.key.is_none() && !o.found) {
            warn!(component = %self.settings.name, file = %entry.path.display(), position = entry.position, "a file that was read before is not there any more; its position is given up");
        }
        for key in orphans.into_iter().filter_map(|orphan| orphan.key) {
            let Some(file) = self.files.get_mut(&key) else { continue };
            file.replaced = false;
            self.filler.note(Change::Set(key, file.entry()));
            self.enqueue(key);
        }
        Ok(())
    }

    fn verdict(&mut self, key: Key, round: &Round, now: Instant) -> Verdict {
        let Some(mut file) = self.files.remove(&key) else { return Verdict::Later };
        let verdict = self.verdict_on(&mut file, round, now);
        self.files.insert(key, file);
        verdict
    }

    fn verdict_on(&mut self, file: &mut Tailed, round: &Round, now: Instant) -> Verdict {
        if !file.is_new() || !open(file, &self.settings, self.outlet.metrics(), &mut self.unlisted)
        {
            return Verdict::Later;
        }
        let Some(opened) = &file.file else { return Verdict::Later };
        let size = opened.metadata().map_or(0, |m| m.size());
        let Ok(start) = bytes_before(opened, size.min(HEAD_BYTES as u64), HEAD_BYTES) else {
            return Verdict::Later;
        };
        if start.is_empty() {
            return Verdict::Later;
        }
        let since = match file.state {
            State::New { since, size: before } if before == size => since,
            _ => now,
        };
        file.state = State::New { since, size };
        file.know_start(&start);
        file.judged = Print::of(&start);
        let Some(opened) = &file.file else { return Verdict::Later };

        let fits =
            |orphan: &Orphan| holds(opened, size, &start, &orphan.entry, orphan.key.is_none());
        let mut lost = round.orphans.fitting(&start).filter(|index| !self.orphans[*index].found);
        if let Some(index) = lost.by_ref().take(MOST_FITTING).find(|i| fits(&self.orphans[*i])) {
            return Verdict::Orphaned(index);
        }
        // A disk may have been replaced by another, and the files copied to it.
        let moved = |e: &Entry| {
            e.path.parent() == file.path.parent() && holds(opened, size, &start, e, true)
        };
        let mut remembered = round
            .saved
            .fitting(&start)
            .take(MOST_FITTING)
            .filter_map(|(i, key)| self.saved.get(&i)?.iter().find(|(saved, _)| *saved == key));
        if let Some((key, entry)) = remembered.find(|(_, e)| moved(e)) {
            return Verdict::Remembered(*key, entry.clone());
        }
        match self.compare(opened, size, &start, file.at_first, round) {
            Some(Verdict::Soon) if now.saturating_duration_since(since) < PATIENCE => Verdict::Soon,
            Some(Verdict::Soon) | None => Verdict::Own,
            Some(verdict) => verdict,
        }
    }

    /// Compares a new file with those that have been read. `Soon` when it may be a copy.
    fn compare(
        &mut self,
        new: &File,
        size: u64,
        start: &[u8],
        at_first: bool,
        round: &Round,
    ) -> Option<Verdict> {
        if at_first && !self.goes_on {
            return None;
        }
        // Unread ones count only when files come one by one: at the start there may be very many.
        let is_alike =
            |f: &Tailed| is_comparable(f) && (f.position > 0 || f.stat.size > 0 && !at_first);
        let alike = round
            .alike(start)
            .take(MOST_FITTING)
            .filter(|key| self.files.get(key).is_some_and(is_alike));
        let alike: Vec<Key> = alike.take(MOST_COMPARED).collect();
        let mut verdict = None;
        for key in alike {
            let Tailer { files, settings, outlet, unlisted, .. } = self;
            let Some(other) = files.get_mut(&key) else { continue };
            let was_open = other.file.is_some();
            if !open(other, settings, outlet.metrics(), unlisted) {
                continue;
            }
            let Some(opened) = &other.file else { continue };
            if !is_intact(other, opened) {
                // Judged again once it is known where the content went.
                self.orphan(key);
                return Some(Verdict::Soon);
            }
            let is_copy = if other.position > 0 && size >= other.position {
                holds(new, size, start, &other.entry(), false)
            } else {
                let part = |file: &File| bytes_before(file, size, TAIL_BYTES).ok();
                let begin = |file: &File| bytes_before(file, start.len() as u64, HEAD_BYTES).ok();
                part(new).is_some_and(|p| Some(p) == part(opened))
                    && begin(opened).as_deref() == Some(start)
            };
            let read_up = opened.metadata().is_ok_and(|m| m.size() == other.position);
            let nameless = opened.metadata().is_ok_and(|m| m.nlink() == 0);
            if !was_open {
                other.file = None;
            }
            if is_copy
                && nameless
                && read_up
                && size >= other.position
                && other.position >= PROOF_BYTES
            {
                return Some(Verdict::Moved(key));
            }
            if is_copy {
                verdict = Some(Verdict::Soon);
            }
        }
        verdict
    }

    fn own(&mut self, key: Key) {
        let skip = self.settings.skip_to_end;
        let Some(file) = self.files.get_mut(&key) else { return };
        if skip && file.at_first {
            let size = file.file.as_ref().and_then(|f| f.metadata().ok()).map_or(0, |m| m.size());
            let part = |end: u64, len| {
                let opened = file.file.as_ref();
                opened.and_then(|f| bytes_before(f, end, len).ok()).unwrap_or_default()
            };
            let start = part(size.min(HEAD_BYTES as u64), HEAD_BYTES);
            let tail = Print::of(&part(size, TAIL_BYTES));
            (file.head, file.tail) = (Print::of(&start), tail);
            (file.position, file.seen) = (size, size);
            file.know_start(&start);
        }
        self.follow(key);
    }

    fn go_on(&mut self, key: Key, entry: &Entry) {
        let Some(file) = self.files.get_mut(&key) else { return };
        info!(component = %self.settings.name, file = %file.path.display(), of = %entry.path.display(), position = entry.position, "a file holds what another held; going on in it");
        let opened = file.file.as_ref();
        let start = opened
            .and_then(|f| bytes_before(f, entry.position.min(HEAD_BYTES as u64), HEAD_BYTES).ok());
        let tail = opened.and_then(|f| bytes_before(f, entry.position, TAIL_BYTES).ok());
        if let Some((start, tail)) = start.zip(tail) {
            (file.head, file.tail) = (Print::of(&start), Print::of(&tail));
            (file.position, file.seen, file.at) = (entry.position, entry.position, entry.at);
            file.know_start(&start);
        }
        self.follow(key);
    }

    fn follow(&mut self, key: Key) {
        let now = self.now();
        let Some(file) = self.files.get_mut(&key) else { return };
        (file.state, file.changed) = (State::Live, now);
        self.new_files -= 1;
        self.filler.note(Change::Set(key, file.entry()));
        // It may have lost its name while it was judged.
        self.unlisted |=
            file.file.as_ref().is_some_and(|f| f.metadata().is_ok_and(|m| m.nlink() == 0));
        self.enqueue(key);
    }
}

/// Whether `file` holds what was read up to a position elsewhere.
fn holds(file: &File, size: u64, start: &[u8], entry: &Entry, is_gone: bool) -> bool {
    let least = if is_gone { PROOF_BYTES } else { 1 };
    let (Some(head), Some(tail)) = (entry.head, entry.tail) else { return false };
    entry.position >= least
        && size >= entry.position
        && head.len > 0
        && head.begins(start)
        && bytes_before(file, entry.position, TAIL_BYTES)
            .is_ok_and(|bytes| Print::of(&bytes) == tail)
}
