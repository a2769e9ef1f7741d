//! Which file of the spooling directory comes next.

use std::cmp::Ordering;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use splashdam_core::Random;

use super::{Config, ConsumeOrder};
use crate::name_pattern::NamePattern;

/// Candidates that are remembered of one listing; the rest is listed again later.
const MOST_CANDIDATES: usize = 1000;
/// Levels of directories below the spooling directory.
const MOST_LEVELS: usize = 64;

/// What tells whether a file has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Print {
    pub(super) modified: Option<SystemTime>,
    pub(super) bytes: u64,
    inode: (u64, u64),
}

impl Print {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Print {
            modified: metadata.modified().ok(),
            bytes: metadata.len(),
            inode: (metadata.dev(), metadata.ino()),
        }
    }
}

/// A file to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    /// Its path below the spooling directory.
    pub(super) relative: PathBuf,
    pub(super) print: Print,
}

/// What is to be read and in which order.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) root: PathBuf,
    /// Where finished files are noted; `None` when they are renamed or deleted.
    pub(super) tracker: Option<PathBuf>,
    /// The tracker directory, which is no place for files to be read.
    pub(super) never_enter: PathBuf,
    suffix: String,
    include: NamePattern,
    ignore: NamePattern,
    recursive: bool,
    pub(super) follow_links: bool,
    order: ConsumeOrder,
}

impl Rules {
    pub(super) fn new(config: &Config, tracker_dir: &Path, tracks: bool) -> Self {
        Rules {
            root: config.spool_dir.clone(),
            tracker: tracks.then(|| tracker_dir.to_owned()),
            never_enter: tracker_dir.to_owned(),
            suffix: config.file_suffix.clone(),
            include: config.include_pattern.clone(),
            ignore: config.ignore_pattern.clone(),
            recursive: config.recursive_directory_search,
            follow_links: config.follow_symlinks,
            order: config.consume_order,
        }
    }

    /// The note that a file is finished.
    pub(super) fn note(&self, relative: &Path) -> Option<PathBuf> {
        let tracker = self.tracker.as_ref()?;
        let mut name = tracker.join(relative).into_os_string();
        name.push(&self.suffix);
        Some(name.into())
    }

    /// What a finished file is renamed to.
    pub(super) fn finished(&self, relative: &Path) -> PathBuf {
        let mut name = self.root.join(relative).into_os_string();
        name.push(&self.suffix);
        name.into()
    }

    /// Lists the directory. The next file is the last of the answer. `skip` says which to leave
    /// out, beyond the rules; it is also told of links that are not followed.
    pub(super) fn candidates(
        &self,
        random: &Random,
        skip: &mut dyn FnMut(&Candidate, bool) -> bool,
    ) -> io::Result<Vec<Candidate>> {
        let mut found = Vec::new();
        self.list(Path::new(""), 0, skip, &mut found)?;
        match self.order {
            ConsumeOrder::Random => shuffle(&mut found, random),
            _ => self.sort(&mut found),
        }
        Ok(found)
    }

    fn list(
        &self,
        below: &Path,
        level: usize,
        skip: &mut dyn FnMut(&Candidate, bool) -> bool,
        found: &mut Vec<Candidate>,
    ) -> io::Result<()> {
        for entry in fs::read_dir(self.root.join(below))? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let relative = below.join(entry.file_name());
            // Something that vanishes while it is listed is not there.
            let Ok(kind) = entry.file_type() else { continue };
            // A file is left alone when a pattern cannot tell.
            if name.starts_with('.') || self.ignore.matches(name.as_bytes(), true) {
                continue;
            }
            if kind.is_dir() {
                let enter = self.recursive && level < MOST_LEVELS;
                if enter && self.root.join(&relative) != self.never_enter {
                    // One that cannot be listed does not hide the others.
                    self.list(&relative, level + 1, skip, found).ok();
                }
                continue;
            }
            if name.ends_with(&*self.suffix) || !self.include.matches(name.as_bytes(), false) {
                continue;
            }
            // Follows links, to see what they point to; where they may not be, it is only told.
            let Ok(metadata) = fs::metadata(self.root.join(&relative)) else { continue };
            let link = kind.is_symlink() && !self.follow_links;
            if !metadata.is_file() || self.note(&relative).is_some_and(|note| note.exists()) {
                continue;
            }
            let candidate = Candidate { relative, print: Print::of(&metadata) };
            if !skip(&candidate, link) && !link {
                found.push(candidate);
                self.thin_out(found);
            }
        }
        Ok(())
    }

    /// Keeps a listing of many files small: those that come last are listed again in time.
    fn thin_out(&self, found: &mut Vec<Candidate>) {
        if found.len() < 2 * MOST_CANDIDATES {
            return;
        }
        if self.order != ConsumeOrder::Random {
            self.sort(found);
            found.drain(..found.len() - MOST_CANDIDATES);
        } else {
            found.truncate(MOST_CANDIDATES);
        }
    }

    /// The next file last.
    fn sort(&self, found: &mut [Candidate]) {
        found.sort_unstable_by(|a, b| {
            let by_age = match self.order {
                ConsumeOrder::Youngest => a.print.modified.cmp(&b.print.modified),
                _ => b.print.modified.cmp(&a.print.modified),
            };
            match by_age {
                Ordering::Equal => b.relative.cmp(&a.relative),
                other => other,
            }
        });
    }
}

/// Fisher and Yates.
fn shuffle(found: &mut [Candidate], random: &Random) {
    for at in (1..found.len()).rev() {
        found.swap(at, random.below(at + 1));
    }
}
