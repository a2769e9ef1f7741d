//! Whether the disks of a channel have room for its log, asked without changing anything.

use std::io;
use std::path::{Path, PathBuf};

use splashdam_core::OpenError;
use splashdam_wal::storage::{Disk, Storage};
use splashdam_wal::{Options, Shortage, segment};

/// Says how much is free in each of the directories; an error where that is less in all of them than puts
/// need: `least_free` bytes that stay free, and where there is no log yet its first files.
pub(super) fn rooms(
    directories: &[PathBuf],
    least_free: u64,
    segment: u64,
) -> Result<String, OpenError> {
    let mut said = Vec::with_capacity(directories.len());
    let mut short = Vec::new();
    for directory in directories {
        let room = room(directory, least_free, segment);
        let room = room.map_err(|error| {
            OpenError::unavailable(format!(
                "dataDirs: cannot look at {}: {error}",
                directory.display()
            ))
        })?;
        if room.free_bytes.is_some_and(|free| free < room.needed_bytes) {
            short.push(room.to_string());
        } else {
            said.push(room.why);
        }
    }
    if said.is_empty() && !short.is_empty() {
        return Err(OpenError::unavailable(format!(
            "{}; puts wait there as on a full disk: make room, or lower minimumRequiredSpace",
            short.join(", ")
        )));
    }
    said.extend(short.into_iter().map(|short| short + ", so that puts go elsewhere"));
    Ok(said.join(", "))
}

/// How it stands with one directory, or with the place where it is going to be made.
fn room(directory: &Path, least_free: u64, segment: u64) -> io::Result<Shortage> {
    let mut there = directory;
    let (disk, is_new) = loop {
        match Disk::find(there) {
            Ok(disk) => break (disk, there != directory),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Err(error) => match there.parent() {
                Some(above) if above.as_os_str().is_empty() => there = Path::new("."),
                Some(above) => there = above,
                None => return Err(error),
            },
        }
    };
    let free = disk.free_bytes()?;
    // A new log makes two segments and the reserve before the first put; one that is there mostly has its
    // next segment already. What else may lie there is none: `lost+found`, or what a Flume left.
    let first = 2 * segment + Options::default().reserve_bytes;
    let has_log = !is_new && disk.list()?.iter().any(|name| segment::number(name).is_some());
    let more = if has_log { 0 } else { first };
    let place = directory.display().to_string();
    let needed_bytes = least_free.saturating_add(more);
    let why = format!("{place} has {} MiB free", free >> 20);
    Ok(Shortage { place, free_bytes: Some(free), needed_bytes, why })
}

#[cfg(test)]
mod tests {
    use tempfile::tempdir;

    use super::*;

    #[test]
    fn room_is_told_and_its_lack_with_numbers() {
        let dir = tempdir().unwrap();
        let check = |name: &str, least_free: u64, want: Result<&str, &str>| {
            let path = dir.path().join(name);
            let before = std::fs::read_dir(dir.path()).unwrap().count();
            let got = rooms(&[path], least_free, 1 << 20).map_err(|error| error.to_string());
            let (got, want) = match (got, want) {
                (Ok(got), Ok(want)) | (Err(got), Err(want)) => (got, want),
                (got, want) => panic!("{got:?}, not {want:?}"),
            };
            for part in want.split(" … ") {
                assert!(got.contains(part), "{got:?} lacks {part:?}");
            }
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), before);
        };
        std::fs::write(dir.path().join("file"), "x").unwrap();
        check("", 0, Ok("MiB free"));
        check("new/data", 0, Ok("/new/data has … MiB free"));
        const MUCH: u64 = u64::MAX >> 1;
        check("new", MUCH, Err("/new has … MiB free and needs … lower minimumRequiredSpace"));
        check("file", 0, Err("cannot look at … /file"));
        check("file/data", 0, Err("cannot look at … /file/data"));
    }

    #[test]
    fn a_log_is_new_where_there_is_something_else() {
        // Whose first files no disk has room for.
        const SEGMENT: u64 = 1 << 60;
        let dir = tempdir().unwrap();
        let check = |name: &str, is_new: bool| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(&path).unwrap();
            let here = rooms(&[path.parent().unwrap().to_owned()], 0, SEGMENT);
            assert_eq!(here.is_err(), is_new, "{name}: {here:?}");
        };
        check("mounted/lost+found", true);
        check("flumes/log-3", true);
        check(&format!("ours/{}", segment::name(3)), false);
    }
}
