//! Positions: what the channels have committed of each file, and the files that remember it.
//!
//! `positionFile` is Flume's, byte for byte, so that Flume can go on from it; its loader takes no
//! further members. What else is known of a file stands beside it in `<positionFile>.splashdam`,
//! which names the content of the position file that it belongs to: when Flume has written the
//! position file since, Flume's positions hold. Both are written aside, synced and renamed, this
//! one first; `<positionFile>.lock` is locked as long as the source lives.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use splashdam_core::{Context, OpenError};
use tokio::sync::Notify;
use tracing::{info, warn};

use super::lines::At;
use super::print::Print;

/// Lines and bytes that are committed at most before positions are due to be written.
const MOST_LINES: usize = 100_000;
const MOST_BYTES: usize = 64 * 1024 * 1024;

/// A number that a file keeps while the source knows it.
pub(super) type Key = u64;

/// What is known of a file at a position. What Flume did not write down is `None`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    #[serde(rename = "file", serialize_with = "lossy", deserialize_with = "shared")]
    pub(super) path: Arc<Path>,
    pub(super) inode: u64,
    pub(super) device: Option<u64>,
    /// When the file was made, in nanoseconds since 1970.
    pub(super) birth: Option<u64>,
    /// Bytes delivered.
    #[serde(rename = "pos")]
    pub(super) position: u64,
    /// Of the first bytes before the position.
    pub(super) head: Option<Print>,
    /// Of the last bytes before the position.
    pub(super) tail: Option<Print>,
    #[serde(default)]
    pub(super) at: At,
}

/// A name that is not UTF-8 is written as near as may be: files are told apart by other means.
fn lossy<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    path.to_string_lossy().serialize(serializer)
}

fn shared<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<Path>, D::Error> {
    Ok(PathBuf::deserialize(deserializer)?.into())
}

/// A step forward, true as soon as everything put before it is committed.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Set(Key, Entry),
    Forget(Key),
}

/// Which batch of which life of the source; see `trail`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Mark {
    pub(super) epoch: u64,
    pub(super) sequence: u64,
}

impl Mark {
    /// A life behind all that is known of others. The time, in milliseconds, only helps where a
    /// crash kept it from being known.
    pub(super) fn new_life(self, now: i64) -> Mark {
        let epoch = u64::try_from(now).unwrap_or(0).max(self.epoch.saturating_add(1));
        Mark { epoch, sequence: 0 }
    }
}

/// What an earlier run left.
#[derive(Debug, Default)]
pub(super) struct Saved {
    pub(super) entries: Vec<(Key, Entry)>,
    /// When the position file was written: what was born later is not in it.
    pub(super) written: Option<SystemTime>,
    /// The name under which channels know the source, if Flume has not gone on since.
    sender: Option<[u8; 16]>,
    /// The last batch that the entries know of.
    mark: Mark,
}

impl Saved {
    /// Takes over what a channel stored later.
    pub(super) fn go_on(&mut self, later: Vec<(Key, Entry)>) {
        for (key, entry) in later {
            match self.entries.iter_mut().find(|(known, _)| *known == key) {
                Some((_, known)) => *known = entry,
                None => self.entries.push((key, entry)),
            }
        }
    }
}

/// The committed positions. Whoever reads files learns from here where to go on, and from
/// nowhere else.
#[derive(Debug)]
pub(super) struct Positions {
    file: PathBuf,
    /// Keeps everybody else away.
    _lock: File,
    entries: Mutex<Entries>,
    /// They should be written before the interval is over.
    due: Notify,
    /// Held while the files are written; the hash of the position file's content.
    written: Mutex<u64>,
    /// The name under which channels know the source.
    sender: [u8; 16],
}

#[derive(Debug, Default)]
struct Entries {
    map: BTreeMap<Key, Entry>,
    changed: bool,
    /// Some lines were committed in this run.
    began: bool,
    /// Committed since they were written.
    lines: usize,
    bytes: usize,
    /// The last batch that they know of, and the last that the files do.
    mark: Mark,
    saved: Mark,
}

/// A line of Flume's file. Members in this order, as Flume writes them.
#[derive(Serialize, Deserialize)]
struct FlumeEntry {
    inode: u64,
    pos: u64,
    file: String,
}

/// The file beside Flume's.
#[derive(Serialize, Deserialize)]
struct Side {
    /// Hash of the position file that was written after this.
    of: u64,
    /// Hash of the position file before, which is still there when a crash came in between.
    after: u64,
    files: Vec<Entry>,
    /// The keys of the files, in the same order.
    #[serde(default)]
    keys: Vec<Key>,
    #[serde(default)]
    sender: Option<[u8; 16]>,
    #[serde(default)]
    mark: Mark,
}

impl Side {
    fn into_saved(self) -> Saved {
        let Side { files, keys, sender, mark, .. } = self;
        let entries = match keys.len() == files.len() {
            true => keys.into_iter().zip(files).collect(),
            false => (1..).zip(files).collect(),
        };
        Saved { entries, written: None, sender, mark }
    }
}

impl Positions {
    /// Locks `file` and reads what an earlier run left there.
    pub(super) fn open(file: &Path, cx: &Context) -> Result<(Self, Saved), OpenError> {
        let file = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
        let cannot = |what: &str, error: io::Error| {
            let said = format!("position file {}: {what}: {error}", file.display());
            OpenError::refused(said, error)
        };
        let directory = directory(&file);
        make_directory(directory, sync_directory)
            .map_err(|e| cannot("its directory cannot be made", e))?;
        let lock = lock(&file, cx)?;
        let (saved, hash) = load(&file, cx)?;
        // Found out now rather than after the first lines.
        let probe = beside(&file, "tmp");
        File::create(&probe)
            .and_then(|_| fs::remove_file(&probe))
            .map_err(|e| cannot("its directory cannot be written", e))?;
        let map = saved.entries.iter().cloned().collect();
        let Saved { mark, sender, .. } = saved;
        let entries = Mutex::new(Entries { map, mark, saved: mark, ..Entries::default() });
        let (due, written) = (Notify::new(), Mutex::new(hash));
        let sender = sender.unwrap_or_else(|| {
            let mut name = [0; 16];
            name[..8].copy_from_slice(&cx.random().next().to_le_bytes());
            name[8..].copy_from_slice(&cx.random().next().to_le_bytes());
            name
        });
        Ok((Positions { file, _lock: lock, entries, due, written, sender }, saved))
    }

    /// The name under which channels know the source.
    pub(super) fn sender(&self) -> [u8; 16] {
        self.sender
    }

    /// Begins a life of the source, behind `stored`, of which a channel says what `later` is. What
    /// is stored under the source's name needs [`Positions::save`] before: so no life is begun
    /// twice, whatever of an earlier one is still on its way, and the name is known.
    pub(super) fn begin(&self, stored: Mark, later: &[(Key, Entry)], now: i64) -> Mark {
        let mut entries = self.entries();
        entries.map.extend(later.iter().cloned());
        entries.mark = entries.mark.max(stored).new_life(now);
        entries.mark
    }

    /// Writes them down whether or not they changed. Blocks.
    pub(super) fn save_now(&self) -> io::Result<()> {
        self.entries().changed = true;
        self.save()
    }

    /// The last batch that they know of.
    pub(super) fn mark(&self) -> Mark {
        self.entries().mark
    }

    /// The last batch that the files know of.
    pub(super) fn saved(&self) -> Mark {
        self.entries().saved
    }

    /// Whether a file is known to stand elsewhere.
    pub(super) fn is_news(&self, key: Key, entry: &Entry) -> bool {
        self.entries().map.get(&key) != Some(entry)
    }

    /// Takes over what has been committed with so many lines and bytes.
    pub(super) fn apply(&self, changes: Vec<Change>, lines: usize, bytes: usize, mark: Mark) {
        if changes.is_empty() {
            return;
        }
        let mut entries = self.entries();
        (entries.changed, entries.mark) = (true, mark);
        entries.lines += lines;
        entries.bytes += bytes;
        let is_first = lines > 0 && !std::mem::replace(&mut entries.began, true);
        if is_first || entries.lines >= MOST_LINES || entries.bytes >= MOST_BYTES {
            self.due.notify_one();
        }
        for change in changes {
            match change {
                Change::Set(key, entry) => drop(entries.map.insert(key, entry)),
                Change::Forget(key) => drop(entries.map.remove(&key)),
            }
        }
    }

    /// Waits until they should be written before the interval is over: after the first lines of
    /// a run, and after many.
    pub(super) async fn due(&self) {
        self.due.notified().await;
    }

    /// Writes them down, if they changed. Blocks.
    pub(super) fn save(&self) -> io::Result<()> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let side = {
            let mut entries = self.entries();
            if !std::mem::take(&mut entries.changed) {
                return Ok(());
            }
            (entries.lines, entries.bytes) = (0, 0);
            Side {
                of: 0,
                after: *written,
                files: entries.map.values().cloned().collect(),
                keys: entries.map.keys().copied().collect(),
                sender: Some(self.sender),
                mark: entries.mark,
            }
        };
        let mark = side.mark;
        let done = write_both(&self.file, side);
        match done {
            Ok(hash) => {
                *written = hash;
                self.entries().saved = mark;
            }
            Err(_) => self.entries().changed = true,
        }
        done.map(drop)
    }

    /// The position file.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}

fn directory(file: &Path) -> &Path {
    file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes a directory and those above it that are missing, and makes their names last: `sync` is
/// called for the directory above each that was missing, from the top, and for `path` itself.
pub(super) fn make_directory(
    path: &Path,
    mut sync: impl FnMut(&Path) -> io::Result<()>,
) -> io::Result<()> {
    let is_missing = |d: &&Path| !d.as_os_str().is_empty() && !d.exists();
    let missing: Vec<PathBuf> =
        path.ancestors().take_while(is_missing).map(Path::to_owned).collect();
    fs::create_dir_all(path)?;
    for made in missing.iter().rev() {
        sync(directory(made))?;
    }
    if missing.is_empty() { Ok(()) } else { sync(path) }
}

pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn lock(file: &Path, cx: &Context) -> Result<File, OpenError> {
    let path = beside(file, "lock");
    let failed = |error: io::Error| {
        OpenError::refused(format!("{} cannot be locked: {error}", path.display()), error)
    };
    let lock = File::options().read(true).write(true).create(true).truncate(false).open(&path);
    let lock = lock.map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let holder = fs::read_to_string(&path).unwrap_or_default();
            return Err(OpenError::unavailable(format!(
                "position file {} is in use by {}; give each source a positionFile of its own",
                file.display(),
                if holder.is_empty() { "another source" } else { holder.trim_end() },
            )));
        }
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    // Only for the message above, so nothing depends on its being written.
    let holder = format!("agent {}, {}, process {}\n", cx.agent, cx.title(), std::process::id());
    let _noted = lock.set_len(0).and_then(|()| (&lock).write_all(holder.as_bytes())).is_ok();
    Ok(lock)
}

fn load(file: &Path, cx: &Context) -> Result<(Saved, u64), OpenError> {
    let text = match fs::read(file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            info!(component = %cx.name, file = %file.display(), "there is no position file yet; files count as new");
            return Ok((Saved::default(), Print::EMPTY.hash));
        }
        Err(error) => {
            let message = format!("position file {} cannot be read: {error}", file.display());
            return Err(OpenError::refused(message, error));
        }
    };
    let hash = Print::of(&text).hash;
    let written = fs::metadata(file).and_then(|m| m.modified()).ok();
    let side = fs::read(beside(file, "splashdam")).ok();
    let side: Option<Side> = side.and_then(|text| serde_json::from_slice(&text).ok());
    let saved = match (serde_json::from_slice::<Vec<FlumeEntry>>(&text), side) {
        (Ok(_), Some(side)) if side.of == hash || side.after == hash => side.into_saved(),
        (Ok(flume), side) => {
            info!(component = %cx.name, file = %file.display(), "going on from positions that Flume wrote");
            let entries = with_side(flume, side.map(|side| side.files).unwrap_or_default());
            Saved { entries: (1..).zip(entries).collect(), ..Saved::default() }
        }
        (Err(error), Some(side)) => {
            warn!(component = %cx.name, file = %file.display(), %error, "the position file is damaged; going on from the copy in <positionFile>.splashdam, which may repeat lines if Flume ran last");
            side.into_saved()
        }
        (Err(_), None) if text.trim_ascii().is_empty() => {
            warn!(component = %cx.name, file = %file.display(), "the position file is empty, as Flume leaves it when no file matched or when it was killed while writing; files count as new: put back a copy of it if they were read before");
            Saved::default()
        }
        (Err(error), None) => {
            return Err(OpenError::unmended(format!(
                "position file {} is damaged ({error}): put back a copy of it, or remove it to \
                 count all files as new (read from their start, or with skipToEnd from their end)",
                file.display()
            )));
        }
    };
    Ok((Saved { written, ..saved }, hash))
}

/// Flume's positions, with what was known of the same files before Flume went on.
fn with_side(flume: Vec<FlumeEntry>, known: Vec<Entry>) -> Vec<Entry> {
    let join = |FlumeEntry { inode, pos, file }| {
        let same = |e: &&Entry| e.inode == inode && e.path.to_string_lossy() == *file;
        let known = known.iter().find(same);
        let unmoved = known.filter(|e| e.position == pos);
        Entry {
            path: Path::new(&file).into(),
            inode,
            device: known.and_then(|e| e.device),
            birth: known.and_then(|e| e.birth),
            position: pos,
            head: known.and_then(|e| e.head).filter(|h| h.len as u64 <= pos),
            tail: unmoved.and_then(|e| e.tail),
            at: unmoved.map(|e| e.at).unwrap_or_default(),
        }
    };
    flume.into_iter().map(join).collect()
}

fn write_both(file: &Path, side: Side) -> io::Result<u64> {
    let flume = flume_text(&side.files)?;
    let of = Print::of(flume.as_bytes()).hash;
    let side = serde_json::to_vec(&Side { of, ..side })?;
    write_aside(&beside(file, "splashdam"), &side)?;
    write_aside(file, flume.as_bytes())?;
    Ok(of)
}

/// The array as Flume's Gson writes it, which escapes what HTML might mistake.
fn flume_text(files: &[Entry]) -> io::Result<String> {
    let entry = |e: &Entry| FlumeEntry {
        inode: e.inode,
        pos: e.position,
        file: e.path.to_string_lossy().into_owned(),
    };
    let text = serde_json::to_string(&files.iter().map(entry).collect::<Vec<_>>())?;
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' | '>' | '&' | '=' | '\'' | '\u{2028}' | '\u{2029}' => {
                safe.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => safe.push(c),
        }
    }
    Ok(safe)
}

/// Replaces `path` so that a crash leaves the old content or the new.
fn write_aside(path: &Path, content: &[u8]) -> io::Result<()> {
    let aside = beside(path, "tmp");
    let mut file = File::create(&aside)?;
    file.write_all(content)?;
    file.sync_all()?;
    drop(file);
    fs::rename(&aside, path)?;
    sync_directory(directory(path))
}

#[cfg(test)]
mod tests;
