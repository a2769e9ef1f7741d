//! From names to files: which are known, which are new, which have lost their name.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use tracing::{debug, info, warn};

use super::copies::Orphan;
use super::filler::Ended;
use super::groups::{self, Name};
use super::positions::{Change, Entry, Key};
use super::print::{HEAD_BYTES, Print, TAIL_BYTES};
use super::reading::{bytes_before, open};
use super::tailed::{Stat, State, Tailed};
use super::tailer::Tailer;

/// A directory that changed so recently may change again without its time telling.
const TIME_GUARD: Duration = Duration::from_secs(1);

/// A name of a file.
struct Found {
    name: Name,
    stat: Stat,
}

/// What listing the directories brought.
#[derive(Default)]
struct Listed {
    /// Those that could be listed, and the devices that they are on.
    directories: HashMap<PathBuf, u64>,
    found: Vec<Found>,
    /// Names whose files cannot be seen now, though they may be there: links that lead nowhere at
    /// the moment, and what the file system does not tell of.
    hidden: HashSet<PathBuf>,
}

/// What stands behind a name.
enum Behind {
    /// A regular file.
    File(Stat),
    /// Nothing, or nothing to follow.
    Nothing,
    /// That cannot be told now.
    Hidden,
}

impl Listed {
    /// Whether the file of a path is missing where it was: its directory could be listed and is
    /// the one that was on `device`, not that below a mount which is not there.
    fn is_missing(&self, path: &Path, device: Option<u64>) -> bool {
        let parent = path.parent().unwrap_or(Path::new("/"));
        !self.hidden.contains(path)
            && self.directories.get(parent).is_some_and(|on| device.is_none_or(|d| d == *on))
    }
}

impl Tailer {
    /// Lists the directories and settles what became of each name and file.
    pub(super) fn list(&mut self) -> Result<(), Ended> {
        let mut listed = Listed::default();
        for index in 0..self.directories.len() {
            self.list_directory(index, &mut listed);
        }
        listed.found.sort_by_key(|f| f.stat.modified);
        let mut seen = HashMap::new();
        for Found { name, stat } in &listed.found {
            if let Some(group) = name.group
                && let Some(key) = self.known_or_new(name, group, *stat)
            {
                seen.entry(key).or_insert_with(Vec::new).push(name);
            }
        }
        self.by_path.retain(|path, _| {
            let parent = path.parent().unwrap_or(Path::new("/"));
            listed.hidden.contains(&**path) || !listed.directories.contains_key(parent)
        });
        for (key, names) in &seen {
            self.rename(*key, names);
            if let Some(file) = self.files.get_mut(key) {
                let parent = file.path.parent().unwrap_or(Path::new("/"));
                file.among = listed.directories.get(parent).copied();
            }
        }
        self.note_gone(&listed, &seen);
        self.find_elsewhere(&listed.found, &seen);
        self.give_up_saved(&listed);
        self.first_listing = false;
        Ok(())
    }

    fn list_directory(&mut self, index: usize, listed: &mut Listed) {
        let now = self.now();
        let directory = &mut self.directories[index];
        let path = directory.path.clone();
        let made = fs::metadata(&path);
        let id = made.as_ref().ok().map(|m| (m.dev(), m.ino()));
        if std::mem::replace(&mut directory.id, id) != id {
            // The watch is on what stood there before, such as the directory below a mount.
            self.watch.forget(&path);
        }
        // Before the listing, so that no name can come in between unnoticed.
        directory.hinted = self.watch.directory(&path);
        let modified = made.as_ref().ok().and_then(|m| m.modified().ok());
        let device = made.as_ref().map_or(0, MetadataExt::dev);
        let (by_inode, saved) = (&self.by_inode, &self.saved);
        let wanted = |inode| by_inode.contains_key(&(device, inode)) || saved.contains_key(&inode);
        let names = match groups::list(&path, &self.settings.groups, wanted) {
            Ok(names) => names,
            Err(error) => {
                directory.listed = None;
                if directory.trouble.happened(now, &error.to_string()).is_some() {
                    warn!(component = %self.settings.name, directory = %path.display(), %error, "a directory of a file group cannot be listed; it is tried again, and positions in it are kept");
                }
                return;
            }
        };
        if directory.trouble.ended(now).is_some() {
            info!(component = %self.settings.name, directory = %path.display(), "the directory can be listed again");
        }
        // A name that moved meanwhile may have been missed.
        self.unlisted |= fs::metadata(&path).and_then(|m| m.modified()).ok() != modified;
        let wall = Duration::from_millis(self.world.now_millis().try_into().unwrap_or(0));
        let settled = |t: &std::time::SystemTime| {
            t.duration_since(UNIX_EPOCH).is_ok_and(|t| t + TIME_GUARD < wall)
        };
        directory.listed = modified.filter(settled);
        for name in names {
            match self.behind(&name, device) {
                Behind::File(stat) => listed.found.push(Found { name, stat }),
                Behind::Nothing => {}
                Behind::Hidden => drop(listed.hidden.insert(name.path)),
            }
        }
        listed.directories.insert(path, device);
    }

    fn behind(&mut self, name: &Name, device: u64) -> Behind {
        // The inode of an open file is not used again, so the same number is the same file.
        let known = self.by_path.get(name.path.as_path()).and_then(|key| self.files.get(key));
        if let Some(file) = known.filter(|file| {
            file.file.is_some()
                && !name.is_link
                && (file.stat.device, file.stat.inode) == (device, name.inode)
        }) {
            return Behind::File(file.stat);
        }
        if name.is_link {
            self.watch.forget(&name.path);
            self.watch.link(&name.path);
        }
        match fs::metadata(&name.path) {
            Ok(found) if found.is_file() => Behind::File(Stat::of(&found)),
            Ok(_) => Behind::Nothing,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !name.is_link => {
                Behind::Nothing
            }
            Err(error) => {
                debug!(component = %self.settings.name, file = %name.path.display(), %error, "a file cannot be seen now; its position is kept");
                Behind::Hidden
            }
        }
    }

    /// The file of a name that matches.
    fn known_or_new(&mut self, name: &Name, group: usize, stat: Stat) -> Option<Key> {
        let id = (stat.device, stat.inode);
        if let Some(key) = self.by_inode.get(&id).copied() {
            let known = self.files.get(&key).is_some_and(|file| file.stat.same_file(&stat));
            if known {
                return Some(key);
            }
            debug!(component = %self.settings.name, file = %name.path.display(), "an inode is used again by another file");
            self.give_up(key);
        }
        let path: Arc<Path> = name.path.as_path().into();
        let mut file = Tailed::new(stat, path, group, self.now());
        file.is_link = name.is_link;
        file.at_first = self.first_listing;
        match self.saved_entry(&name.path, &stat) {
            Some((key, entry)) => {
                self.restore(key, file, entry, true);
                Some(key)
            }
            None => {
                let key = self.fresh_key();
                self.by_inode.insert(id, key);
                self.files.insert(key, file);
                self.new_files += 1;
                self.judge_soon();
                Some(key)
            }
        }
    }

    /// Takes what an earlier run knew of a file, if it is that file. Of those that Flume wrote
    /// down only the inode is known: then the path must be the same, as Flume has it, or the file
    /// older than the position file, so that it was this file that had the inode at that time.
    fn saved_entry(&mut self, path: &Path, stat: &Stat) -> Option<(Key, Entry)> {
        let entries = self.saved.get_mut(&stat.inode)?;
        let written = self.saved_at.and_then(|t| t.duration_since(UNIX_EPOCH).ok());
        let is_older = |birth: u64| written.is_some_and(|t| u128::from(birth) <= t.as_nanos());
        // Numbers of devices may change when they are mounted again.
        let elsewhere = |e: &Entry| match (e.birth, stat.birth) {
            (Some(then), Some(now)) => then == now,
            _ => *e.path == *path && e.head.is_some_and(|head| head.len > 0),
        };
        let same = |(_, e): &(Key, Entry)| {
            (e.device.is_none_or(|device| device == stat.device) || elsewhere(e))
                && match (e.birth, stat.birth) {
                    (Some(then), Some(now)) => then == now,
                    (None, Some(birth)) => *e.path == *path || is_older(birth),
                    _ => *e.path == *path || e.head.is_some_and(|head| head.len > 0),
                }
        };
        let index = entries.iter().position(same)?;
        let taken = entries.swap_remove(index);
        if entries.is_empty() {
            self.saved.remove(&stat.inode);
        }
        Some(taken)
    }

    /// Goes on with a file where an earlier run was, if it still holds what was read. Otherwise
    /// its content is looked for elsewhere, and it is read from its start, if `matches`.
    fn restore(&mut self, key: Key, mut file: Tailed, entry: Entry, matches: bool) {
        file.state = if matches { State::Live } else { State::Gone };
        let can_read = open(&mut file, &self.settings, self.outlet.metrics(), &mut self.unlisted);
        let kept = match &file.file {
            Some(opened) => prints_at(opened, &entry).filter(|_| file.stat.size >= entry.position),
            // Checked when it can be read.
            None => entry.head.zip(entry.tail).map(|(head, tail)| (head, tail, Vec::new())),
        };
        match kept {
            Some((head, tail, start)) => {
                (file.position, file.seen, file.at) = (entry.position, entry.position, entry.at);
                (file.head, file.tail) = (head, tail);
                file.know_start(&start);
            }
            None if !can_read => (file.position, file.seen) = (entry.position, entry.position),
            None if !matches => {
                warn!(component = %self.settings.name, file = %entry.path.display(), now = %file.path.display(), position = entry.position, "a file that was renamed out of its group does not hold what was read of it; its position is given up");
                self.filler.note(Change::Forget(key));
                return;
            }
            None => {
                info!(component = %self.settings.name, file = %file.path.display(), position = entry.position, "the file does not hold what was read of it; it is read from its start");
                self.orphans.push(Orphan::new(Some(key), entry));
                (file.replaced, file.emptied) = (true, true);
            }
        }
        self.by_inode.insert((file.stat.device, file.stat.inode), key);
        if !file.replaced {
            self.filler.note(Change::Set(key, file.entry()));
        }
        self.files.insert(key, file);
        self.close_if_many(key);
        self.enqueue(key);
    }

    /// Gives a file the names that it has now. It keeps the one it had, if it still has it.
    fn rename(&mut self, key: Key, names: &[&Name]) {
        let Some(file) = self.files.get_mut(&key) else { return };
        let kept = names.iter().any(|name| name.path == *file.path);
        if let Some(name) = names.first().filter(|_| !kept) {
            debug!(component = %self.settings.name, from = %file.path.display(), to = %name.path.display(), "a file was renamed");
            file.path = name.path.as_path().into();
            file.named = file.path.clone();
            file.is_link = name.is_link;
            if let Some(group) = name.group {
                file.group = group;
            }
            if !file.is_new() && !file.replaced {
                self.filler.note(Change::Set(key, file.entry()));
            }
        }
        if file.state == State::Gone {
            file.state = State::Live;
        }
        for name in names {
            self.by_path.insert(name.path.as_path().into(), key);
        }
    }

    /// Files of listed directories that no name leads to any more.
    fn note_gone(&mut self, listed: &Listed, seen: &HashMap<Key, Vec<&Name>>) {
        let now = self.now();
        let unseen = |(key, file): &(&Key, &Tailed)| {
            !seen.contains_key(key) && listed.is_missing(&file.path, file.among)
        };
        let gone: Vec<Key> = self.files.iter().filter(unseen).map(|(key, _)| *key).collect();
        for key in gone {
            let Some(file) = self.files.get_mut(&key) else { continue };
            if file.state == State::Gone {
                continue;
            }
            if file.file.is_none() && file.is_new() {
                self.forget(key);
                continue;
            }
            if file.state == State::Live {
                (file.state, file.changed, file.quiet) = (State::Gone, now, false);
                self.look(key);
                self.enqueue(key);
            }
        }
    }

    /// Files that were renamed out of the pattern, in the same directory: they can be opened
    /// there to be read to their end.
    fn find_elsewhere(&mut self, found: &[Found], seen: &HashMap<Key, Vec<&Name>>) {
        for Found { name, stat } in found.iter().filter(|f| f.name.group.is_none()) {
            let path: Arc<Path> = name.path.as_path().into();
            let known = self.by_inode.get(&(stat.device, stat.inode)).copied();
            let known = known.filter(|key| !seen.contains_key(key));
            if let Some(file) = known.and_then(|key| self.files.get_mut(&key)) {
                if file.stat.same_file(stat) {
                    file.path = path.clone();
                    self.by_path.extend(known.map(|key| (path, key)));
                }
                continue;
            }
            let Some((key, entry)) = self.saved_entry(&name.path, stat) else { continue };
            let group = entry.path.parent().zip(entry.path.file_name());
            let group = group.and_then(|(d, n)| groups::matching(d, &self.settings.groups, n));
            let Some(group) = group else {
                warn!(component = %self.settings.name, file = %entry.path.display(), position = entry.position, "a file belongs to no file group any more; its position is given up");
                self.filler.note(Change::Forget(key));
                continue;
            };
            self.by_path.insert(path.clone(), key);
            let mut file = Tailed::new(*stat, path, group, self.now());
            file.named = entry.path.clone();
            self.restore(key, file, entry, false);
        }
    }

    /// Files of an earlier run that are not there any more, though their directory is.
    fn give_up_saved(&mut self, listed: &Listed) {
        let Tailer { saved, orphans, filler, .. } = self;
        let all: Vec<PathBuf> = self.directories.iter().map(|d| d.path.clone()).collect();
        saved.retain(|_, entries| {
            entries.retain(|(key, entry)| {
                let parent = entry.path.parent().unwrap_or(Path::new("/"));
                // Also one that belongs to no group any more.
                let given_up = listed.is_missing(&entry.path, entry.device)
                    || !all.iter().any(|d| d == parent);
                if given_up {
                    filler.note(Change::Forget(*key));
                    orphans.push(Orphan::new(None, entry.clone()));
                }
                !given_up
            });
            !entries.is_empty()
        });
    }
}

/// The fingerprints of `file` at the position of `entry`, and its first bytes; `None` when they
/// are not those of `entry`.
fn prints_at(file: &fs::File, entry: &Entry) -> Option<(Print, Print, Vec<u8>)> {
    let start = bytes_before(file, entry.position.min(HEAD_BYTES as u64), HEAD_BYTES).ok()?;
    let before = bytes_before(file, entry.position, TAIL_BYTES).ok()?;
    let (head, tail) = (Print::of(&start), Print::of(&before));
    let same = entry.head.is_none_or(|h| h.begins(&start)) && entry.tail.is_none_or(|t| t == tail);
    same.then_some((head, tail, start))
}
