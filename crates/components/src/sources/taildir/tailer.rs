//! The thread that follows the files: what is ready is read in turn, what is not is waited for.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime};

use splashdam_core::{Outlet, Text, Trouble, World};
use tokio::sync::mpsc;
use tracing::debug;

use super::copies::Orphan;
use super::filler::{Blocks, Ended, Filler, Turn};
use super::groups::{Group, directories};
use super::lines::Rule;
use super::positions::{Change, Entry, Key, Saved};
use super::tailed::{Stat, State, Tailed};
use super::watch::{Hints, Watch};

/// Files kept open while nothing is written to them; more are closed once read.
pub(super) const MOST_OPEN: usize = 512;
/// How often files are looked at where the kernel gives no hints.
const POLL: Duration = Duration::from_millis(250);
/// How often new files are looked at that may be copies.
pub(super) const POLL_NEW: Duration = Duration::from_millis(50);
/// The shortest time between two wake-ups, so that many small writes are read together.
const COALESCE: Duration = Duration::from_millis(5);
/// Looking at all files takes at most one part of so many of the time.
const SHARE: u32 = 50;
/// The longest that a source asked to stop goes on reading files that nobody can find again.
const LAST_READS: Duration = Duration::from_secs(2);

/// The configuration as the thread needs it.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) name: Arc<str>,
    pub(super) groups: Vec<Group>,
    pub(super) file_header: Option<Text>,
    pub(super) byte_offset: bool,
    pub(super) skip_to_end: bool,
    pub(super) idle: Duration,
    pub(super) batch_size: usize,
    pub(super) quantum_lines: usize,
    pub(super) rule: Rule,
    pub(super) cache_listing: bool,
    pub(super) longest_poll: Duration,
}

/// A directory with files to follow.
#[derive(Debug)]
pub(super) struct Directory {
    pub(super) path: PathBuf,
    /// Its time of change when it was last listed, unless that was too near to tell.
    pub(super) listed: Option<SystemTime>,
    /// Whether the kernel says what happens in it.
    pub(super) hinted: bool,
    pub(super) trouble: Trouble,
}

/// All files and what is to be done with them.
pub(super) struct Tailer {
    pub(super) settings: Settings,
    pub(super) world: Arc<dyn World>,
    /// For its counters; batches go to it by way of the task that puts them.
    pub(super) outlet: Outlet,
    stop: Arc<AtomicBool>,
    pub(super) directories: Vec<Directory>,
    pub(super) files: BTreeMap<Key, Tailed>,
    pub(super) by_inode: HashMap<(u64, u64), Key>,
    pub(super) by_path: HashMap<Arc<Path>, Key>,
    next_key: Key,
    /// Where earlier runs were in files that were not found yet, by inode.
    pub(super) saved: HashMap<u64, Vec<(Key, Entry)>>,
    pub(super) saved_at: Option<SystemTime>,
    /// Content that a file held and lost, while its copy is looked for.
    pub(super) orphans: Vec<Orphan>,
    /// Listings in a row that names disturbed while there were orphans.
    pub(super) unsettled: usize,
    pub(super) ready: VecDeque<Key>,
    pub(super) filler: Filler,
    pub(super) blocks: Blocks,
    pub(super) watch: Watch,
    hints: Hints,
    /// Names changed: list the directories.
    pub(super) unlisted: bool,
    pub(super) first_listing: bool,
    /// Whether an earlier run left positions.
    pub(super) goes_on: bool,
    pub(super) new_files: usize,
    /// When new files are judged again, if any can be before they change.
    pub(super) next_judgement: Option<Instant>,
    next_look: Instant,
    last_wake: Instant,
}

impl Tailer {
    pub(super) fn new(
        settings: Settings,
        saved: Saved,
        watch: Watch,
        to: mpsc::Sender<Vec<Turn>>,
        stop: Arc<AtomicBool>,
        world: Arc<dyn World>,
        outlet: Outlet,
    ) -> Self {
        let now = world.instant();
        let directory =
            |path| Directory { path, listed: None, hinted: false, trouble: Trouble::new() };
        let mut next_key = 0;
        let mut by_inode: HashMap<u64, Vec<(Key, Entry)>> = HashMap::new();
        for (key, entry) in saved.entries {
            next_key = next_key.max(key);
            by_inode.entry(entry.inode).or_default().push((key, entry));
        }
        Tailer {
            directories: directories(&settings.groups).into_iter().map(directory).collect(),
            filler: Filler::new(to, settings.batch_size),
            settings,
            world,
            outlet,
            stop,
            files: BTreeMap::new(),
            by_inode: HashMap::new(),
            by_path: HashMap::new(),
            next_key,
            goes_on: !by_inode.is_empty(),
            saved: by_inode,
            saved_at: saved.written,
            orphans: Vec::new(),
            unsettled: 0,
            ready: VecDeque::new(),
            blocks: Blocks::default(),
            watch,
            hints: Hints::default(),
            unlisted: true,
            first_listing: true,
            new_files: 0,
            next_judgement: None,
            next_look: now,
            last_wake: now,
        }
    }

    /// Follows the files until a stop is asked for or nobody takes batches any more.
    pub(super) fn run(mut self) -> Result<(), Ended> {
        while !self.stopping() {
            if std::mem::take(&mut self.unlisted) {
                self.list()?;
            }
            if self.new_files > 0 || !self.orphans.is_empty() {
                self.judge_new()?;
            }
            match self.ready.pop_front() {
                Some(key) => {
                    self.read(key, false)?;
                    self.collect_hints();
                }
                None => {
                    self.filler.send()?;
                    self.wait();
                    self.follow_hints();
                }
            }
            if self.now() >= self.next_look {
                self.look_at_all()?;
            }
        }
        self.finish()
    }

    pub(super) fn stopping(&self) -> bool {
        self.stop.load(Relaxed)
    }

    pub(super) fn now(&self) -> Instant {
        self.world.instant()
    }

    pub(super) fn fresh_key(&mut self) -> Key {
        self.next_key += 1;
        self.next_key
    }

    /// Puts a file in the queue of those that are read.
    pub(super) fn enqueue(&mut self, key: Key) {
        let Some(file) = self.files.get_mut(&key) else { return };
        if !file.queued && !file.replaced && !file.is_new() {
            file.queued = true;
            self.ready.push_back(key);
        }
    }

    fn wait(&mut self) {
        if self.unlisted || !self.orphans.is_empty() {
            return;
        }
        let mut most = self.next_look.saturating_duration_since(self.now());
        if let Some(at) = self.next_judgement {
            most = most.min(at.saturating_duration_since(self.now()));
        }
        self.watch.wait(most, &mut self.hints);
        let since = self.now().saturating_duration_since(self.last_wake);
        if since < COALESCE && !self.stopping() {
            std::thread::sleep(COALESCE - since);
            self.watch.collect(&mut self.hints);
        }
        self.last_wake = self.now();
    }

    /// Takes the hints that are there, without waiting.
    pub(super) fn collect_hints(&mut self) {
        self.watch.collect(&mut self.hints);
        self.follow_hints();
    }

    fn follow_hints(&mut self) {
        let hints = std::mem::take(&mut self.hints);
        self.unlisted |= hints.names || hints.all;
        if hints.all {
            self.next_look = self.now();
        }
        for path in hints.files {
            match self.by_path.get(path.as_path()) {
                Some(key) => self.look(*key),
                // A name that matches no group, or one that is about to be listed.
                None => {
                    debug!(component = %self.settings.name, path = %path.display(), "a file that is not followed changed");
                }
            }
        }
    }

    /// Looks at every file and directory, and decides when to do so again.
    fn look_at_all(&mut self) -> Result<(), Ended> {
        let began = self.now();
        for index in 0..self.directories.len() {
            self.unlisted |= self.is_unlisted(index);
        }
        let keys: Vec<Key> = self.files.keys().copied().collect();
        for key in keys {
            self.look(key);
            if self.is_idle(key, began) {
                self.rest(key)?;
            }
        }
        let hinted = self.directories.iter().all(|d| d.hinted);
        let pause = if hinted { self.settings.longest_poll } else { POLL };
        let pause = pause.min(self.settings.idle.max(COALESCE));
        let took = self.now().saturating_duration_since(began);
        self.next_look =
            self.now() + pause.max(took * SHARE).min(self.settings.longest_poll.max(pause));
        Ok(())
    }

    /// Whether a directory may hold other names than when it was last listed.
    fn is_unlisted(&self, index: usize) -> bool {
        let directory = &self.directories[index];
        let changed = std::fs::metadata(&directory.path).and_then(|m| m.modified()).ok();
        !self.settings.cache_listing || changed.is_none() || changed != directory.listed
    }

    /// Looks whether a file changed.
    pub(super) fn look(&mut self, key: Key) {
        let now = self.now();
        let Some(file) = self.files.get_mut(&key) else { return };
        let found = match &file.file {
            Some(open) => open.metadata(),
            None => std::fs::metadata(&file.path),
        };
        let Ok(found) = found else {
            // Moved or removed, which listing the directory will tell.
            self.unlisted |= file.file.is_none() && file.state == State::Live;
            return;
        };
        let stat = Stat::of(&found);
        if !stat.same_file(&file.stat) {
            self.unlisted = true;
            return;
        }
        if (stat.size, stat.modified) != (file.stat.size, file.stat.modified) || file.in_trouble {
            file.stat = stat;
            file.changed = now;
            file.quiet = false;
            if file.is_new() {
                self.judge_soon();
            }
            self.enqueue(key);
        }
        if let Some(file) = self.files.get_mut(&key) {
            file.stat.links = stat.links;
        }
    }

    fn is_idle(&self, key: Key, now: Instant) -> bool {
        self.files.get(&key).is_some_and(|file| {
            !file.quiet
                && !file.queued
                && !file.is_new()
                && now.saturating_duration_since(file.changed) >= self.settings.idle
        })
    }

    /// A file has been quiet for long: its last line is delivered as it is, and it is closed.
    /// One without a name that matches is forgotten.
    fn rest(&mut self, key: Key) -> Result<(), Ended> {
        self.read(key, true)?;
        let Some(file) = self.files.get_mut(&key) else { return Ok(()) };
        if file.queued || file.replaced {
            return Ok(());
        }
        file.quiet = true;
        file.file = None;
        if file.state == State::Gone {
            self.forget(key);
        }
        Ok(())
    }

    /// Drops all memory of a file.
    pub(super) fn forget(&mut self, key: Key) {
        let Some(file) = self.files.remove(&key) else { return };
        let id = (file.stat.device, file.stat.inode);
        if self.by_inode.get(&id) == Some(&key) {
            self.by_inode.remove(&id);
        }
        if self.by_path.get(&file.path) == Some(&key) {
            self.by_path.remove(&file.path);
        }
        if file.is_new() {
            self.new_files -= 1;
        }
        self.filler.note(Change::Forget(key));
    }

    /// Whether no name leads to a file any more, as far as is known.
    fn is_out_of_reach(&self, key: Key) -> bool {
        self.files.get(&key).is_some_and(|file| {
            file.state == State::Gone && self.by_path.get(&file.path) != Some(&key)
        })
    }

    /// After a stop nothing new is taken, but for what will be out of reach later: files that
    /// have lost their name are read to their end.
    fn finish(mut self) -> Result<(), Ended> {
        let until = self.now() + LAST_READS;
        self.list()?;
        for key in self.files.keys().copied().collect::<Vec<_>>() {
            if !self.is_out_of_reach(key) {
                continue;
            }
            self.enqueue(key);
            while self.files.get(&key).is_some_and(|f| f.queued) && self.now() < until {
                self.read(key, false)?;
            }
            if self.now() < until {
                self.read(key, true)?;
            }
        }
        self.filler.send()
    }
}
