//! How far the file at hand was read: `.flumespool-main.meta` in the tracker directory.
//!
//! Flume's form, an Avro container: the metadata `file` names the file, every commit appends a block
//! with one position, and the last whole block counts. A commit is written at once, which outlives
//! the process, and synced once in a tenth of a second, as a sync takes longer than a batch: what a
//! crash of the machine undoes is read again, never lost. Beside it `splashdam.inode` tells a file from
//! another of the same name, which Flume ignores. A file that is set aside keeps its progress under
//! a name of its own, so that what was delivered of it is not delivered again.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use splashdam_core::Random;
use tracing::warn;

use crate::avro_file::{Header, SYNC_BYTES, encode_long_block, last_long};

/// Flume's name.
pub(super) const META: &str = ".flumespool-main.meta";
/// Where the last progress file that could not be understood is kept.
const DAMAGED: &str = ".flumespool-damaged.meta";
/// Bytes that are read of the start and of the end of a progress file.
const LOOK_BYTES: u64 = 64 * 1024;
/// The most that a crash of the machine undoes, one commit apart.
pub(super) const SYNC_EVERY: Duration = Duration::from_millis(100);
const INODE: &str = "splashdam.inode";
const SCHEMA: &str = r#"{"type":"record","name":"TransferStateFileMeta","namespace":"org.apache.flume.serialization","fields":[{"name":"offset","type":"long"}]}"#;

/// The progress in one file.
#[derive(Debug)]
pub(super) struct Progress {
    dir: PathBuf,
    /// What the file is called in the progress file.
    file: String,
    inode: String,
    sync: [u8; SYNC_BYTES],
    /// The progress file, once there is one for this file.
    open: Option<File>,
    /// Whether the main progress file is that of this file.
    in_main: bool,
    /// Since when commits are not synced; `None` when all are.
    unsynced_since: Option<Instant>,
    /// Whether the progress file has its name for good.
    durable: bool,
    /// Whether some progress of this file was ever durable.
    worthy: bool,
    /// The position that was written down last.
    committed: Option<u64>,
    /// What was read back.
    resumed: Option<u64>,
}

/// What there is of a progress file.
#[derive(Debug)]
enum Look {
    /// None, or an empty one.
    Nothing,
    Found(Found),
    /// One that cannot be understood.
    Damaged,
}

/// What a progress file says.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    file: String,
    inode: Option<String>,
    position: Option<u64>,
}

impl Progress {
    /// Looks for progress in the file that is called `file` and open with `metadata`; it goes no
    /// further than `content_bytes`.
    pub(super) fn find(
        dir: &Path,
        file: String,
        metadata: &fs::Metadata,
        content_bytes: u64,
        random: &Random,
    ) -> io::Result<Progress> {
        // Inodes are used again, times of birth are not.
        let born = metadata.created().ok();
        let born = born.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
        let born = born.map_or(0, |since| since.as_nanos());
        let inode = format!("{}:{}:{born}", metadata.dev(), metadata.ino());
        let mut progress = Progress {
            dir: dir.to_owned(),
            sync: sync_marker(random),
            file,
            inode,
            open: None,
            in_main: false,
            unsynced_since: None,
            durable: false,
            worthy: false,
            committed: None,
            resumed: None,
        };
        let (main, aside) = (dir.join(META), aside_path(dir, &progress.file));
        progress.keep_others(&main)?;
        for path in [&main, &aside] {
            let found = match look(path)? {
                Look::Found(found) => found,
                Look::Nothing => continue,
                Look::Damaged => {
                    keep_damaged(dir, path)?;
                    continue;
                }
            };
            let same = found.file == progress.file
                && found.inode.is_none_or(|inode| inode == progress.inode);
            if same && let Some(position) = found.position.filter(|at| *at <= content_bytes) {
                progress.resumed = Some(position);
                progress.in_main = *path == main;
                break;
            }
        }
        Ok(progress)
    }

    /// Moves another file's progress out of the way: its turn may come again. Only that of a file
    /// that is known to be gone goes with it.
    fn keep_others(&self, main: &Path) -> io::Result<()> {
        match look(main)? {
            Look::Found(found) if found.file == self.file => Ok(()),
            Look::Found(found) if Path::new(&found.file).try_exists().unwrap_or(true) => {
                fs::rename(main, aside_path(&self.dir, &found.file))
            }
            Look::Damaged => keep_damaged(&self.dir, main),
            Look::Found(_) | Look::Nothing => remove(main),
        }
    }

    /// The position that was committed last before this file was opened.
    pub(super) fn resumed(&self) -> Option<u64> {
        self.resumed
    }

    /// Writes `position` down. Should it fail, nothing is lost: it can be tried again.
    pub(super) fn commit(&mut self, position: u64, now: Instant) -> io::Result<()> {
        match &mut self.open {
            None => self.open = Some(self.begin(position)?),
            Some(open) => {
                let end = open.metadata()?.len();
                if let Err(error) = open.write_all(&block(position, self.sync)) {
                    // A torn block would hide those after it. Begun anew if even this fails.
                    if open.set_len(end).is_err() {
                        self.open = None;
                    }
                    return Err(error);
                }
            }
        }
        self.committed = Some(position);
        let since = *self.unsynced_since.get_or_insert(now);
        if now.saturating_duration_since(since) >= SYNC_EVERY { self.sync() } else { Ok(()) }
    }

    /// Makes what was committed durable.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        let (Some(position), Some(_)) = (self.committed, self.unsynced_since) else {
            return Ok(());
        };
        let open = match self.open.take() {
            Some(open) => open,
            None => self.begin(position)?,
        };
        // Should it fail, whether it is there is unknown from now on: the next try begins it anew.
        open.sync_data()?;
        self.open = Some(open);
        if !self.durable {
            sync_dir(&self.dir)?;
            self.durable = true;
            self.worthy = true;
        }
        self.unsynced_since = None;
        Ok(())
    }

    /// Whether a crash of the machine would leave this progress.
    pub(super) fn outlives_the_machine(&self) -> bool {
        self.worthy || self.resumed.is_some()
    }

    /// Replaces the progress file. A crash of the machine before the first sync may leave an empty
    /// one, which says nothing: the file was begun a moment ago and is begun again.
    fn begin(&mut self, position: u64) -> io::Result<File> {
        let metadata = [
            ("avro.schema", SCHEMA.as_bytes()),
            ("file", self.file.as_bytes()),
            (INODE, self.inode.as_bytes()),
        ];
        let temporary = self.dir.join(".flumespool-main.meta.tmp");
        remove(&temporary)?;
        let mut file = OpenOptions::new().append(true).create_new(true).open(&temporary)?;
        file.write_all(&Header::encode(&metadata, self.sync))?;
        file.write_all(&block(position, self.sync))?;
        if self.outlives_the_machine() {
            // What it replaces may be worth more than a moment.
            file.sync_all()?;
        }
        fs::rename(&temporary, self.dir.join(META))?;
        self.in_main = true;
        self.durable = false;
        Ok(file)
    }

    /// Forgets it, as the file is finished.
    pub(super) fn finish(self) -> io::Result<()> {
        // Should it come back after a crash of the machine, it is that of a file that is gone.
        remove(&self.dir.join(META))?;
        remove(&aside_path(&self.dir, &self.file))
    }

    /// Keeps it for later, as the file is set aside and others come first.
    pub(super) fn set_aside(mut self) -> io::Result<()> {
        self.sync()?;
        if self.in_main {
            fs::rename(self.dir.join(META), aside_path(&self.dir, &self.file))?;
            sync_dir(&self.dir)?;
        }
        Ok(())
    }
}

/// Where the progress in `file` is kept while others come first. FNV-1a of the name: a clash only
/// means that one of two files begins anew.
fn aside_path(dir: &Path, file: &str) -> PathBuf {
    let hash = file.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    dir.join(format!(".flumespool-aside-{hash:016x}.meta"))
}

/// Puts a progress file that cannot be understood where somebody can look at it. One is kept.
fn keep_damaged(dir: &Path, path: &Path) -> io::Result<()> {
    let kept = dir.join(DAMAGED);
    fs::rename(path, &kept)?;
    warn!(
        "the progress file {} is damaged; the file that it was about is read again from its start. It is kept as {} until the next one",
        path.display(),
        kept.display()
    );
    Ok(())
}

fn block(position: u64, sync: [u8; SYNC_BYTES]) -> Vec<u8> {
    encode_long_block(i64::try_from(position).unwrap_or(i64::MAX), sync)
}

/// Makes changes of names in a directory durable.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn sync_marker(random: &Random) -> [u8; SYNC_BYTES] {
    let mut sync = [0; SYNC_BYTES];
    sync[..8].copy_from_slice(&random.next().to_le_bytes());
    sync[8..].copy_from_slice(&random.next().to_le_bytes());
    sync
}

/// Reads a progress file. An empty one is what a crash of the machine leaves of one begun a moment
/// before.
fn look(path: &Path) -> io::Result<Look> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Look::Nothing),
        file => file?,
    };
    let mut head = Vec::new();
    (&mut file).take(LOOK_BYTES).read_to_end(&mut head)?;
    let length = file.metadata()?.len();
    let tail_at = length.saturating_sub(LOOK_BYTES);
    let mut tail = Vec::new();
    if tail_at > 0 {
        file.seek(SeekFrom::Start(tail_at))?;
        file.take(LOOK_BYTES).read_to_end(&mut tail)?;
    }
    if head.is_empty() {
        return Ok(Look::Nothing);
    }
    Ok(understand(&head, &tail).map_or(Look::Damaged, Look::Found))
}

/// What the first bytes of a progress file say together with its last, which are empty when the
/// first are all.
fn understand(head: &[u8], tail: &[u8]) -> Option<Found> {
    let header = Header::decode(head).ok()?;
    if header.get("avro.codec").is_some_and(|codec| codec != b"null") {
        return None;
    }
    let text = |key| header.get(key).map(|value| String::from_utf8_lossy(value).into_owned());
    let blocks = if tail.is_empty() {
        head.get(header.length..)
    } else {
        // The tail begins anywhere: behind the first sync marker begins a block.
        let mut windows = tail.windows(SYNC_BYTES);
        let marker = windows.position(|window| window == header.sync)?;
        tail.get(marker + SYNC_BYTES..)
    };
    let position = last_long(blocks?, header.sync).and_then(|last| u64::try_from(last).ok());
    Some(Found { file: text("file")?, inode: text(INODE), position })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random() -> Random {
        Random::new(7)
    }

    fn progress(dir: &Path, file: &Path) -> Progress {
        let metadata = fs::metadata(file).unwrap();
        Progress::find(dir, file.display().to_string(), &metadata, metadata.len(), &random())
            .unwrap()
    }

    #[test]
    fn the_last_commit_counts_also_after_a_torn_one() {
        let dir = tempfile::tempdir().unwrap();
        let (dir, file) = (dir.path(), dir.path().join("data"));
        fs::write(&file, vec![b'x'; 1 << 20]).unwrap();
        assert_eq!(progress(dir, &file).resumed(), None);
        // As many as reach beyond what is looked at of either end.
        let mut writing = progress(dir, &file);
        let now = Instant::now();
        for position in 1..=8000 {
            writing.commit(position, now).unwrap();
        }
        assert!(fs::metadata(dir.join(META)).unwrap().len() > 2 * LOOK_BYTES);
        assert_eq!(progress(dir, &file).resumed(), Some(8000));
        let mut meta = OpenOptions::new().append(true).open(dir.join(META)).unwrap();
        meta.write_all(b"\x02\x04\x80").unwrap();
        let mut again = progress(dir, &file);
        assert_eq!(again.resumed(), Some(8000));
        again.commit(9000, Instant::now()).unwrap();
        assert_eq!(progress(dir, &file).resumed(), Some(9000));
        again.finish().unwrap();
        assert_eq!(progress(dir, &file).resumed(), None);
    }

    #[test]
    fn progress_is_that_of_one_file() {
        let dir = tempfile::tempdir().unwrap();
        let (dir, one) = (dir.path(), dir.path().join("one"));
        let two = dir.join("two");
        fs::write(&one, "12345").unwrap();
        fs::write(&two, "12345").unwrap();
        let mut first = progress(dir, &one);
        first.commit(3, Instant::now()).unwrap();
        first.set_aside().unwrap();
        assert_eq!(progress(dir, &two).resumed(), None);
        progress(dir, &two).commit(4, Instant::now()).unwrap();
        assert_eq!(progress(dir, &one).resumed(), Some(3), "kept aside");
        assert_eq!(progress(dir, &two).resumed(), Some(4));
        // Shorter than what was read, or another file of that name: it begins anew.
        fs::write(&two, "123").unwrap();
        assert_eq!(progress(dir, &two).resumed(), None);
        fs::write(dir.join("new"), "12345").unwrap();
        fs::rename(dir.join("new"), &one).unwrap();
        assert_eq!(progress(dir, &one).resumed(), None);
    }

    #[test]
    fn progress_of_a_file_that_may_be_there_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let loops = dir.join("loop");
        let check = |lost: &Path, kept: bool| {
            let other = dir.join("other");
            fs::write(&other, "12345").unwrap();
            let mut writing = progress(dir, &other);
            writing.file = lost.display().to_string();
            writing.commit(3, Instant::now()).unwrap();
            drop(writing);
            progress(dir, &other);
            let aside = aside_path(dir, &lost.display().to_string());
            assert_eq!(aside.exists(), kept, "{}", lost.display());
            assert!(!dir.join(META).exists());
        };
        check(&dir.join("gone"), false);
        // Whether it is there cannot be told, as on a server that does not answer.
        std::os::unix::fs::symlink(&loops, &loops).unwrap();
        check(&loops.join("file"), true);
    }

    #[test]
    fn a_damaged_progress_file_is_kept_aside() {
        let dir = tempfile::tempdir().unwrap();
        let (dir, file) = (dir.path(), dir.path().join("data"));
        fs::write(&file, "12345").unwrap();
        let aside = aside_path(dir, &file.display().to_string());
        for path in [dir.join(META), aside] {
            fs::write(&path, b"").unwrap();
            assert_eq!(progress(dir, &file).resumed(), None);
            assert!(!dir.join(DAMAGED).exists(), "an empty one says nothing");
            fs::write(&path, b"Obj\x01damage").unwrap();
            assert_eq!(progress(dir, &file).resumed(), None);
            assert_eq!(fs::read(dir.join(DAMAGED)).unwrap(), b"Obj\x01damage");
            fs::remove_file(dir.join(DAMAGED)).unwrap();
            assert!(!path.exists());
        }
    }

    #[test]
    fn a_new_progress_file_gets_its_name_for_good() {
        let dir = tempfile::tempdir().unwrap();
        let (dir, file) = (dir.path(), dir.path().join("data"));
        fs::write(&file, "12345").unwrap();
        let mut writing = progress(dir, &file);
        let now = Instant::now();
        writing.commit(1, now).unwrap();
        writing.sync().unwrap();
        assert!(writing.durable && writing.unsynced_since.is_none());
        // As after a failed sync.
        writing.commit(2, now).unwrap();
        writing.open = None;
        writing.commit(3, now).unwrap();
        assert!(!writing.durable, "its name is a new one");
        assert!(writing.outlives_the_machine());
        writing.sync().unwrap();
        assert!(writing.durable);
        // A sync alone brings back what a failed one made doubtful.
        writing.commit(4, now).unwrap();
        writing.open = None;
        fs::remove_file(dir.join(META)).unwrap();
        writing.sync().unwrap();
        assert_eq!(progress(dir, &file).resumed(), Some(4));
    }

    #[test]
    fn reads_what_flume_writes() {
        let sync = [9; SYNC_BYTES];
        let file = b"/var/spool/x.log".as_slice();
        let mut meta = Header::encode(&[("avro.schema", b"{}"), ("file", file)], sync);
        let want =
            |position| Some(Found { file: "/var/spool/x.log".to_owned(), inode: None, position });
        assert_eq!(understand(&meta, b""), want(None));
        meta.extend(encode_long_block(25, sync));
        meta.extend(encode_long_block(62, sync));
        assert_eq!(understand(&meta, b""), want(Some(62)));
        assert_eq!(understand(b"", b""), None);
        let packed = Header::encode(&[("file", file), ("avro.codec", b"deflate")], sync);
        assert_eq!(understand(&packed, b""), None);
    }
}
