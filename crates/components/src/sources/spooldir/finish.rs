//! What becomes of a file that was read to its end.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::scan::{Print, Rules};

/// What to do with a finished file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finish {
    Rename,
    Delete,
    /// Left as it is; an empty file in the tracker directory says that it is finished.
    Note,
}

/// Why a file cannot be finished.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unfinished {
    #[error(
        "changed after it was opened; put only complete files here, by renaming them into the directory. \
         What was read of it is delivered; it is read on as it grows, and finished a minute after its last change"
    )]
    Changed,
    #[error("was removed or renamed by somebody else before it was finished")]
    Gone,
    #[error(
        "is finished, but {} exists already; file names must not be used twice. \
         It is left alone until the other is gone", .0.display()
    )]
    Exists(PathBuf),
    #[error("cannot be finished: {0}")]
    Io(#[from] io::Error),
}

impl Finish {
    /// Finishes a file that was opened as `print`. Returns the directories that have to be synced
    /// for it to outlive a crash of the machine.
    pub(super) fn apply(
        self,
        rules: &Rules,
        relative: &Path,
        print: &Print,
    ) -> Result<Vec<PathBuf>, Unfinished> {
        let path = rules.root.join(relative);
        match fs::metadata(&path) {
            Ok(metadata) if Print::of(&metadata) == *print => {}
            Ok(_) => return Err(Unfinished::Changed),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Unfinished::Gone),
            Err(error) => return Err(error.into()),
        }
        let mut unsynced = Vec::new();
        let changed = match self {
            Finish::Rename => {
                let target = rules.finished(relative);
                rename_new(&path, &target)?;
                target
            }
            Finish::Delete => {
                fs::remove_file(&path)?;
                path
            }
            Finish::Note => {
                let note = rules.note(relative).unwrap_or(path);
                create_note(&note, &mut unsynced)?;
                note
            }
        };
        unsynced.push(changed.parent().unwrap_or(&rules.root).to_owned());
        Ok(unsynced)
    }
}

/// Renames unless the new name is taken.
fn rename_new(from: &Path, to: &Path) -> Result<(), Unfinished> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        Err(Errno::EXIST) => Err(Unfinished::Exists(to.to_owned())),
        // File systems that cannot do it at once; nobody but us makes these names.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => match fs::symlink_metadata(to) {
            Ok(_) => Err(Unfinished::Exists(to.to_owned())),
            Err(_) => Ok(fs::rename(from, to)?),
        },
        Err(error) => Err(io::Error::from(error).into()),
    }
}

/// One that is there already says the same. Directories that get a new one go to `unsynced`.
fn create_note(note: &Path, unsynced: &mut Vec<PathBuf>) -> io::Result<()> {
    let above = note.ancestors().skip(1).filter(|path| !path.as_os_str().is_empty());
    let missing: Vec<_> = above.take_while(|path| !path.is_dir()).collect();
    for path in missing.into_iter().rev() {
        match fs::create_dir(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => unsynced.extend(path.parent().map(Path::to_owned)),
        }
    }
    OpenOptions::new().write(true).create(true).truncate(false).open(note)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_names_the_directories_that_it_changed() {
        let dir = tempfile::tempdir().unwrap();
        let check = |note: &str, want: &[&str]| {
            let mut unsynced = Vec::new();
            create_note(&dir.path().join(note), &mut unsynced).unwrap();
            let want: Vec<_> = want.iter().map(|path| dir.path().join(path)).collect();
            assert_eq!(unsynced, want, "{note}");
            assert!(dir.path().join(note).is_file());
        };
        check("x", &[]);
        check("a/b/x", &["", "a"]);
        check("a/b/y", &[]);
        check("a/c/x", &["a"]);
    }
}
