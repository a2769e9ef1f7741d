//! The thread that follows the files: what is ready is read in turn, what is not is waited for.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime};

use rustix::process::{Resource, getrlimit};
use splashdam_core::{Outlet, Text, Trouble, World};
use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use super::copies::Orphan;
use super::filler::{Blocks, Ended, Filler, Parcel};
use super::groups::{Group, directories};
use super::known::Round;
use super::lines::Rule;
use super::positions::{Change, Entry, Key, Saved};
use super::tailed::{Stat, State, Tailed};
use super::watch::{Hints, Watch};

/// With more files than this, or than a quarter of the descriptors that the process may have, each
/// is closed when its turn to be judged or read is over. Kept open all the same are files without
/// a name that matches, until they are idle: nobody could open them again.
const MOST_OPEN: usize = 512;
/// How often files are looked at where the kernel gives no hints.
const POLL: Duration = Duration::from_millis(250);
/// How often new files are looked at that may be copies.
pub(super) const POLL_NEW: Duration = Duration::from_millis(50);
/// The shortest time between two wake-ups, so that many small writes are read together.
const COALESCE: Duration = Duration::from_millis(5);
/// Looking at all files takes at most one part of so many of the time.
const SHARE: u32 = 50;
/// After a listing that took long there is none for so many times as long, but no longer than
/// this. After a short one there may be: a copy is told from a new file by what is listed at once.
const LONG_LISTING: Duration = Duration::from_millis(20);
const LIST_SHARE: u32 = 2;
const LIST_PAUSE: Duration = Duration::from_millis(250);
/// How long an event waits for its batch to be sent while other files are read.
const LATE: Duration = Duration::from_millis(50);
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
    /// Files up to which all may be open at once.
    pub(super) most_open: usize,
}

/// [`MOST_OPEN`], or less where the process may have few descriptors.
pub(super) fn most_open() -> usize {
    share_of(getrlimit(Resource::Nofile).current)
}

fn share_of(limit: Option<u64>) -> usize {
    limit.and_then(|n| usize::try_from(n / 4).ok()).map_or(MOST_OPEN, |n| n.min(MOST_OPEN))
}

/// A directory with files to follow.
#[derive(Debug)]
pub(super) struct Directory {
    pub(super) path: PathBuf,
    /// Device and inode of what was last found there.
    pub(super) id: Option<(u64, u64)>,
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
    /// Some of them were judged, others have their turn after some reading.
    pub(super) round: Option<Round>,
    next_look: Instant,
    next_listing: Instant,
    next_directories: Instant,
    last_wake: Instant,
}

impl Tailer {
    pub(super) fn new(
        settings: Settings,
        saved: Saved,
        watch: Watch,
        to: mpsc::Sender<Parcel>,
        stop: Arc<AtomicBool>,
        world: Arc<dyn World>,
        outlet: Outlet,
    ) -> Self {
        let now = world.instant();
        let directory = |path| Directory {
            path,
            id: None,
            listed: None,
            hinted: false,
            trouble: Trouble::new(),
        };
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
            round: None,
            next_look: now,
            next_listing: now,
            next_directories: now,
            last_wake: now,
        }
    }

    /// Follows the files until a stop is asked for or nobody takes batches any more.
    pub(super) fn run(mut self) -> Result<(), Ended> {
        while !self.stopping() {
            if self.unlisted && self.now() >= self.next_listing {
                self.unlisted = false;
                let began = self.now();
                self.list()?;
                let took = self.now().saturating_duration_since(began);
                // Files that lost their content wait for a copy of it to be found, and whoever copies
                // does not wait.
                let at_once = took < LONG_LISTING || !self.orphans.is_empty();
                let pause = if at_once { Duration::ZERO } else { took * LIST_SHARE };
                self.next_listing = self.now() + pause.min(LIST_PAUSE);
                self.judge_new(true)?;
            } else if self.new_files > 0 || !self.orphans.is_empty() || self.round.is_some() {
                let is_listed = !self.unlisted;
                self.judge_new(is_listed)?;
            }
            match self.ready.pop_front() {
                Some(key) => {
                    self.read(key, false)?;
                    self.collect_hints();
                    if self.filler.waits_since().is_some_and(|t| t.elapsed() >= LATE) {
                        self.filler.send()?;
                    }
                }
                None => {
                    self.filler.send()?;
                    self.wait();
                    self.follow_hints();
                }
            }
            self.look_at_unhinted();
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
        if self.round.is_some() || !self.unlisted && !self.orphans.is_empty() {
            return;
        }
        let mut most = self.next_look.saturating_duration_since(self.now());
        if self.directories.iter().any(|d| !d.hinted) {
            most = most.min(self.next_directories.saturating_duration_since(self.now()));
        }
        if self.unlisted {
            most = most.min(self.next_listing.saturating_duration_since(self.now()));
            if most.is_zero() {
                return;
            }
        }
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

    /// Looks at directories that give no hints, such as those that are missing: they may come back
    /// long before all files are looked at.
    fn look_at_unhinted(&mut self) {
        if self.now() < self.next_directories {
            return;
        }
        self.next_directories = self.now() + POLL;
        for index in 0..self.directories.len() {
            let directory = &self.directories[index];
            let is_missing = directory.id.is_none() && !directory.path.exists();
            self.unlisted |= !directory.hinted && !is_missing && self.is_unlisted(index);
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
        let found = std::fs::metadata(&directory.path).ok();
        let changed = found.as_ref().and_then(|m| m.modified().ok());
        let id = found.map(|m| (m.dev(), m.ino()));
        !self.settings.cache_listing
            || changed.is_none()
            || (id, changed) != (directory.id, directory.listed)
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
            self.unlisted |= file.state != State::Gone;
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
        if file.state == State::Gone && file.in_trouble {
            // It is there and may be read another time.
            file.changed = self.world.instant();
            return Ok(());
        }
        if file.state == State::Gone {
            self.give_up(key);
            return Ok(());
        }
        file.quiet = true;
        file.file = None;
        Ok(())
    }

    /// Drops all memory of a file that nothing leads to any more, and says so.
    pub(super) fn give_up(&mut self, key: Key) {
        let Some(file) = self.files.get(&key) else { return };
        let size = file.file.as_ref().and_then(|f| f.metadata().ok()).map(|m| m.size());
        let size = size.unwrap_or(file.stat.size);
        let (name, path, position) = (&self.settings.name, file.named.display(), file.position);
        if file.is_new() {
            debug!(component = %name, file = %path, "a file is gone before anything was read of it");
        } else if size > position {
            warn!(component = %name, file = %path, position, size, "a file is gone before it was read to its end; its position is given up");
        } else {
            info!(component = %name, file = %path, position, "a file is gone and was read to its end; its position is given up");
        }
        self.forget(key);
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
            // Such as one that was removed behind a link.
            let nameless = |open: &File| open.metadata().is_ok_and(|m| m.nlink() == 0);
            file.state == State::Gone && self.by_path.get(&file.path) != Some(&key)
                || file.state == State::Live && file.file.as_ref().is_some_and(nameless)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_descriptors_are_shared() {
        let check = |limit, want| assert_eq!(share_of(limit), want, "{limit:?}");
        check(None, MOST_OPEN);
        check(Some(u64::MAX), MOST_OPEN);
        check(Some(1024), 256);
        check(Some(3), 0);
    }
}
