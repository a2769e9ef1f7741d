//! The files that say how far an import is: `splashdam.importing` and `splashdam.imported`, in each
//! directory, lines of text.

use std::io::IoSlice;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use splashdam_wal::storage::{DiskError, Storage, read_full_at, write_all_at};

use super::ImportError;

const BEGUN: &str = "splashdam.importing";
const DONE: &str = "splashdam.imported";
const NEW: &str = "splashdam.import-new";
const FIRST_LINE: &str = "splashdam import 1";
const MOST_BYTES: usize = 4096;

/// What markers say of Flume's files, to see whether they change later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Trace {
    logs: u64,
    bytes: u64,
    /// Milliseconds since 1970 when the newest was last changed.
    newest: u64,
}

/// Of which queue, and of what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Marker {
    pub(in super::super) queue: String,
    pub(in super::super) trace: Trace,
}

/// What was done at earlier starts.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) enum Before {
    /// No import.
    Nothing,
    /// One that did not come to its end.
    Begun(Marker),
    /// One that did.
    Done(Marker),
}

impl Trace {
    /// Of the logs in some directories, as far as they can be seen.
    pub(in super::super) fn of(data_dirs: &[PathBuf]) -> Trace {
        let mut trace = Trace::default();
        let entries = data_dirs.iter().filter_map(|path| std::fs::read_dir(path).ok()).flatten();
        for entry in entries.flatten() {
            let name = entry.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix("log-"));
            let is_log = number
                .is_some_and(|n| !n.is_empty() && n.bytes().all(|byte| byte.is_ascii_digit()));
            let Some(about) = entry.metadata().ok().filter(|_| is_log) else { continue };
            let changed = about.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
            let changed = changed.map_or(0, |since| since.as_millis());
            trace.logs += 1;
            trace.bytes += about.len();
            trace.newest = trace.newest.max(u64::try_from(changed).unwrap_or(u64::MAX));
        }
        trace
    }
}

impl Before {
    /// Reads the markers of all directories; one that says done outweighs the others.
    pub(in super::super) fn look(storages: &[Arc<dyn Storage>]) -> Result<Before, ImportError> {
        let mut before = Before::Nothing;
        for storage in storages {
            let names = storage.list().map_err(asked("list", "", &**storage))?;
            let has = |name: &str| names.iter().any(|known| known == name);
            if has(DONE) {
                return Ok(Before::Done(Marker::read(&**storage, DONE)?));
            }
            if has(BEGUN) {
                before = Before::Begun(Marker::read(&**storage, BEGUN)?);
            }
        }
        Ok(before)
    }
}

impl Marker {
    /// Makes it durable in all directories that the import has begun.
    pub(in super::super) fn begun(&self, storages: &[Arc<dyn Storage>]) -> Result<(), ImportError> {
        storages.iter().try_for_each(|storage| self.write(&**storage, BEGUN))
    }

    /// Makes it durable in all directories that the import is done, as it is from the first of them
    /// on. `marked` is called behind each.
    pub(in super::super) fn done(
        &self,
        storages: &[Arc<dyn Storage>],
        marked: &mut dyn FnMut() -> Result<(), ImportError>,
    ) -> Result<(), ImportError> {
        for storage in storages {
            let names = storage.list().map_err(asked("list", "", &**storage))?;
            if !names.iter().any(|name| name == DONE) {
                self.write(&**storage, DONE)?;
                marked()?;
            } else {
                // It may be in the cache only, after a process that was killed.
                let file = storage.open(DONE).map_err(asked("open", DONE, &**storage))?;
                file.sync_data().map_err(asked("sync", DONE, &**storage))?;
                storage.sync_dir().map_err(asked("sync the names in", "", &**storage))?;
            }
        }
        for storage in storages {
            let names = storage.list().map_err(asked("list", "", &**storage))?;
            for name in [BEGUN, NEW].into_iter().filter(|name| names.iter().any(|n| n == name)) {
                storage.remove(name).map_err(asked("remove", name, &**storage))?;
                storage.sync_dir().map_err(asked("sync the names in", "", &**storage))?;
            }
        }
        Ok(())
    }

    fn write(&self, storage: &dyn Storage, name: &'static str) -> Result<(), ImportError> {
        let Marker { queue, trace: Trace { logs, bytes, newest } } = self;
        let text = format!(
            "{FIRST_LINE}\nqueue {queue}\nlogs {logs}\nbytes {bytes}\nnewest {newest}\nend\n"
        );
        if storage.list().map_err(asked("list", "", storage))?.iter().any(|n| n == NEW) {
            storage.remove(NEW).map_err(asked("remove", NEW, storage))?;
        }
        let file = storage.create(NEW).map_err(asked("create", NEW, storage))?;
        write_all_at(&*file, &mut [IoSlice::new(text.as_bytes())], 0)
            .map_err(asked("write", NEW, storage))?;
        file.sync_data().map_err(asked("sync", NEW, storage))?;
        storage.rename(NEW, name).map_err(asked("rename", NEW, storage))?;
        storage.sync_dir().map_err(asked("sync the names in", "", storage))?;
        Ok(())
    }

    fn read(storage: &dyn Storage, name: &'static str) -> Result<Marker, ImportError> {
        let file = storage.open(name).map_err(asked("open", name, storage))?;
        let mut bytes = vec![0; MOST_BYTES];
        let length = read_full_at(&*file, &mut bytes, 0).map_err(asked("read", name, storage))?;
        bytes.truncate(length);
        let place = storage.place();
        let bad = |what| ImportError::Marker { place: place.clone(), name, what };
        let text = String::from_utf8(bytes).map_err(|_| bad("it is no text"))?;
        Marker::parse(&text).map_err(bad)
    }

    fn parse(text: &str) -> Result<Marker, &'static str> {
        let mut lines = text.lines();
        match lines.next() {
            Some(FIRST_LINE) => {}
            Some(other) if other.starts_with("splashdam import ") => {
                return Err("it is of another version, use that");
            }
            _ => return Err("it does not begin as it should"),
        }
        let mut field =
            |name: &str| lines.next().and_then(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let queue = field("queue").ok_or("it names no queue")?.to_owned();
        let mut number = |name| field(name).and_then(|text| text.parse().ok());
        let trace = match (number("logs"), number("bytes"), number("newest")) {
            (Some(logs), Some(bytes), Some(newest)) => Trace { logs, bytes, newest },
            _ => return Err("a number is missing"),
        };
        match lines.next() {
            Some("end") => Ok(Marker { queue, trace }),
            _ => Err("it is cut short"),
        }
    }
}

fn asked(
    act: &'static str,
    name: &str,
    storage: &dyn Storage,
) -> impl FnOnce(std::io::Error) -> DiskError {
    let (name, place) = (name.to_owned(), storage.place());
    move |source| DiskError { act, name, place, source: Arc::new(source) }
}
