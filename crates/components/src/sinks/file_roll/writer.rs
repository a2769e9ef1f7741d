//! The files of one sink, one open at a time: everything that blocks.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::BytesMut;
use splashdam_core::metrics::SinkMetrics;
use splashdam_core::{Batch, Event, Rejected, SerializeError, Serializer, Start, World};
use tracing::warn;

use super::SyncWhen;
use super::compression::Compression;
use super::disk::{Disk, Output};
use super::names::Names;
use super::note::Note;

/// Names that are tried until one is free.
const MOST_NAMES: usize = 10_000;
/// The most bytes that the buffer keeps between batches.
const KEPT_BYTES: usize = 8 << 20;

/// Writes batches into files. A batch is in the file as a whole or not at all.
pub(super) struct Writer {
    pub(super) component: Arc<str>,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) world: Arc<dyn World>,
    pub(super) metrics: Arc<SinkMetrics>,
    pub(super) directory: PathBuf,
    pub(super) names: Names,
    pub(super) serializer: Box<dyn Serializer>,
    pub(super) sync: SyncWhen,
    pub(super) compression: Compression,
    pub(super) full: Full,
    pub(super) current: Option<Current>,
    /// The bytes of the batch under way.
    pub(super) buffer: BytesMut,
    /// Whether somebody takes what the serializer refuses for good.
    pub(super) dead_letters: bool,
    /// The same, compressed.
    pub(super) packed: Vec<u8>,
    /// Which events of a channel that numbers them the files have.
    pub(super) note: Option<Note>,
    /// Under which name that is to be read, until the first batch is there: another agent may have the channel, and
    /// write it, until then.
    pub(super) unread_note: Option<String>,
}

/// What makes a file full; 0 is never.
#[derive(Clone, Copy, Debug)]
pub(super) struct Full {
    pub(super) bytes: u64,
    pub(super) events: u64,
}

/// The file that is written to.
pub(super) struct Current {
    pub(super) path: PathBuf,
    output: Box<dyn Output>,
    /// Bytes of whole batches, and of the format's header. While it is 0 the header is due.
    len: u64,
    events: u64,
}

/// What went wrong with a file.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    /// No new file.
    #[error("cannot create {}: {error}; {}", path.display(), advice(error, path))]
    Create {
        path: PathBuf,
        #[source]
        error: io::Error,
    },
    /// The serializer refused an event.
    #[error(transparent)]
    Serialize(#[from] SerializeError),
    /// Every name that was tried is taken.
    #[error("{MOST_NAMES} file names up to {} are taken; clear the directory", .0.display())]
    NoFreeName(PathBuf),
    /// The batch is not in the file.
    #[error("cannot write to {}: {error}; {}", path.display(), advice(error, path))]
    Write {
        path: PathBuf,
        #[source]
        error: io::Error,
    },
    /// Part of the batch is in the file and cannot be removed.
    #[error(
        "cannot write to {}: {error}; and cannot take back {torn_bytes} bytes of the batch: {then}; \
         the file ends in a part of a batch that is written again to the next file",
        path.display()
    )]
    Torn {
        path: PathBuf,
        torn_bytes: u64,
        #[source]
        error: io::Error,
        then: io::Error,
    },
    /// Nobody could find what was written.
    #[error("{} was removed while it was being written; the batch goes to a new file", .0.display())]
    Removed(PathBuf),
    /// Written, and perhaps not on the disk.
    #[error("cannot sync {}: {error}; check the disk, the batch goes to a new file", path.display())]
    Sync {
        path: PathBuf,
        #[source]
        error: io::Error,
    },
}

/// What to do about an error.
fn advice(error: &io::Error, path: &Path) -> String {
    let directory = path.parent().unwrap_or(path).display();
    match error.kind() {
        io::ErrorKind::NotFound => format!("create the directory {directory}"),
        io::ErrorKind::NotADirectory => format!("{directory} must be a directory"),
        io::ErrorKind::PermissionDenied => {
            format!("let the user of this agent create and write files in {directory}")
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free some space, writing then goes on by itself".to_owned()
        }
        io::ErrorKind::ReadOnlyFilesystem => "mount the file system for writing".to_owned(),
        _ => format!("check the disk of {directory}, it is tried again"),
    }
}

impl Writer {
    /// Makes the directory and those above it, each of them for good unless `sink.sync` is `never`.
    pub(super) fn create_directory(&self) -> Result<(), FileError> {
        let mut missing = Vec::new();
        for path in self.directory.ancestors().filter(|path| !path.as_os_str().is_empty()) {
            if path.is_dir() {
                break;
            }
            missing.push(path);
        }
        for path in missing.into_iter().rev() {
            let made = match self.disk.create_directory(path) {
                // Somebody else was quicker; is it a file, then making what is below it tells.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
                made => made,
            };
            made.and_then(|()| self.sync_names(path))
                .map_err(|error| FileError::Create { path: path.to_owned(), error })?;
        }
        Ok(())
    }

    /// Makes the name of `path` durable, if anything is to be.
    fn sync_names(&self, path: &Path) -> io::Result<()> {
        if self.sync == SyncWhen::Never {
            return Ok(());
        }
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        self.disk.sync_directory(parent.unwrap_or(Path::new(".")))
    }

    /// Ends the current file and begins the next. When no new file can be made, the current one
    /// stays.
    pub(super) fn roll(&mut self) -> Result<(), FileError> {
        let next = self.create()?;
        self.finish();
        self.current = Some(next);
        self.metrics.connections_created.add(1);
        self.write_header();
        Ok(())
    }

    /// Whether the next batch belongs into the next file.
    pub(super) fn is_full(&self) -> bool {
        let Full { bytes, events } = self.full;
        let full = |most: u64, has: u64| most > 0 && has >= most;
        self.current.as_ref().is_some_and(|file| {
            // A header alone fills no file.
            file.events > 0 && (full(bytes, file.len) || full(events, file.events))
        })
    }

    /// Counts a file that could not be made, but for the first, which the runner counts.
    pub(super) fn count_failure(&self) {
        self.metrics.connections_failed.add(1);
    }

    /// Appends what the files do not have of a batch, all or none, but for what it answers: that is
    /// rejected. A file must be open.
    pub(super) fn deliver(&mut self, batch: &Batch) -> Result<Vec<Rejected>, FileError> {
        // What a queue in memory hands out goes with it, and so would a note of it.
        let lasting = batch.place().filter(|place| place.lasting);
        if let Some(name) = self.unread_note.take_if(|_| lasting.is_some()) {
            self.note = Note::read(&self.directory, &name);
        }
        let (Some(place), Some(note)) = (lasting, &mut self.note) else {
            return self.write(batch.events());
        };
        let fresh = note.fresh(place);
        let rejected = match fresh.iter().map(ExactSizeIterator::len).sum::<usize>() {
            0 => return Ok(Vec::new()),
            all if all == batch.len() => self.write(batch.events())?,
            _ => {
                let (at, events): (Vec<_>, Vec<_>) = fresh
                    .into_iter()
                    .flatten()
                    .filter_map(|at| Some((at, batch.events().get(at)?.clone())))
                    .unzip();
                let mut rejected = self.write(&events)?;
                rejected.iter_mut().for_each(|rejected| rejected.at = at[rejected.at]);
                rejected
            }
        };
        if let Some(note) = &mut self.note {
            // What is rejected must come again, should the process be killed before it lies elsewhere.
            match rejected.is_empty() {
                true => note.add(place, &self.component),
                false => {
                    let written = place.without(rejected.iter().map(|rejected| rejected.at));
                    note.add(&written, &self.component);
                }
            }
        }
        Ok(rejected)
    }

    /// Appends events to the file, all or none but the rejected. A file must be open.
    fn write(&mut self, events: &[Event]) -> Result<Vec<Rejected>, FileError> {
        let rejected = self.serialize(events)?;
        self.append()?;
        if let Some(current) = &mut self.current {
            current.events += (events.len() - rejected.len()) as u64;
        }
        Ok(rejected)
    }

    /// Turns events into bytes in the buffer, but for those that it answers.
    fn serialize(&mut self, events: &[Event]) -> Result<Vec<Rejected>, SerializeError> {
        self.buffer.clear();
        if self.current.as_ref().is_none_or(|current| current.len == 0) {
            self.serializer.start(&mut self.buffer, Start::Created);
        }
        let done = self.serialize_into(events);
        self.serializer.flush(&mut self.buffer);
        if done.is_err() {
            // All or nothing: what came before the bad event goes as well.
            self.buffer.clear();
        }
        done
    }

    /// Goes on behind an event that is refused for good, if somebody takes it.
    fn serialize_into(&mut self, events: &[Event]) -> Result<Vec<Rejected>, SerializeError> {
        let (mut rejected, mut done) = (Vec::new(), 0);
        while let Err(refused) = self.serializer.write(&events[done..], &mut self.buffer) {
            let SerializeError { index, reason, for_good } = refused;
            let index = done + index;
            if !(for_good && self.dead_letters) {
                return Err(SerializeError { index, reason, for_good });
            }
            rejected.push(Rejected { at: index, why: reason });
            done = index + 1;
        }
        Ok(rejected)
    }

    /// Appends the buffer to the file, or leaves the file as it was. After an error that makes the
    /// file doubtful it is closed.
    fn append(&mut self) -> Result<(), FileError> {
        let Some(mut current) = self.current.take() else {
            // Only a caller that did not open one after an error comes here.
            return Err(FileError::NoFreeName(self.directory.clone()));
        };
        let sync = self.sync == SyncWhen::Batch;
        let written =
            current.append(packed(self.compression, &self.buffer, &mut self.packed), sync);
        if self.buffer.capacity() > KEPT_BYTES {
            self.buffer = BytesMut::new();
            self.packed = Vec::new();
        }
        match &written {
            Ok(()) | Err(FileError::Write { .. }) => self.current = Some(current),
            Err(_) => self.metrics.connections_closed.add(1),
        }
        written
    }

    /// Ends the current file, if there is one. Trouble is logged: nothing can be done about it, and
    /// every batch in the file is whole.
    pub(super) fn finish(&mut self) {
        if self.current.is_none() {
            return;
        }
        self.write_header();
        let Some(mut current) = self.current.take() else { return };
        self.metrics.connections_closed.add(1);
        self.buffer.clear();
        self.serializer.finish(&mut self.buffer);
        let end = packed(self.compression, &self.buffer, &mut self.packed);
        let ended = match current.append(end, false) {
            Ok(()) if self.sync != SyncWhen::Never => current.sync(),
            done => done,
        };
        if let Err(error) = ended {
            warn!(component = %self.component, %error, "a file could not be ended properly");
        }
    }

    /// Writes the header of a new file. When that fails the next batch brings it along.
    fn write_header(&mut self) {
        let Some(current) = self.current.as_mut().filter(|current| current.len == 0) else {
            return;
        };
        self.buffer.clear();
        self.serializer.start(&mut self.buffer, Start::Created);
        let header = packed(self.compression, &self.buffer, &mut self.packed);
        if let Err(error) = current.append(header, false) {
            warn!(component = %self.component, %error, "the header of a new file is written later");
            if !matches!(error, FileError::Write { .. }) {
                self.current = None;
                self.metrics.connections_closed.add(1);
            }
        }
    }

    /// A new file under the next free name. What is there already is never touched.
    fn create(&mut self) -> Result<Current, FileError> {
        let mut path = self.directory.clone();
        for _ in 0..MOST_NAMES {
            path = self.directory.join(self.names.next(self.world.now_millis()));
            let made = self.disk.create(&path).and_then(|output| {
                self.sync_names(&path)?;
                Ok(output)
            });
            match made {
                Ok(output) => return Ok(Current { path, output, len: 0, events: 0 }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    self.names.give_back();
                    return Err(FileError::Create { path, error });
                }
            }
        }
        Err(FileError::NoFreeName(path))
    }
}

/// What goes into the file for `plain`: that, or one part of a compressed file.
fn packed<'a>(
    compression: Compression,
    plain: &'a [u8],
    out: &'a mut Vec<u8>,
) -> io::Result<&'a [u8]> {
    if compression == Compression::None {
        return Ok(plain);
    }
    out.clear();
    compression.pack(plain, out)?;
    Ok(out)
}

impl Current {
    /// Appends bytes, all or none, unless they could not be made.
    fn append(&mut self, bytes: io::Result<&[u8]>, sync: bool) -> Result<(), FileError> {
        let write_failed = |error| FileError::Write { path: self.path.clone(), error };
        let bytes = bytes.map_err(write_failed)?;
        if bytes.is_empty() {
            return Ok(());
        }
        let mut written = 0;
        while written < bytes.len() {
            match self.output.write(&bytes[written..]) {
                Ok(0) => return Err(self.undo(written, io::ErrorKind::WriteZero.into())),
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.undo(written, error)),
            }
        }
        if !self.output.is_named().unwrap_or(true) {
            return Err(FileError::Removed(self.path.clone()));
        }
        if sync && let Err(failed) = self.sync() {
            // After a failed sync nobody knows what the disk has, and a second one would not
            // tell: the batch is taken out, so that it is not there twice, and goes elsewhere.
            return Err(match self.output.take_back(bytes.len() as u64) {
                Ok(()) => failed,
                Err(then) => self.torn(bytes.len(), io::Error::other(failed), then),
            });
        }
        self.len += bytes.len() as u64;
        Ok(())
    }

    fn undo(&mut self, written: usize, error: io::Error) -> FileError {
        let undone = match written {
            0 => Ok(()),
            written => self.output.take_back(written as u64),
        };
        match undone {
            Ok(()) => FileError::Write { path: self.path.clone(), error },
            Err(then) => self.torn(written, error, then),
        }
    }

    fn torn(&self, written: usize, error: io::Error, then: io::Error) -> FileError {
        FileError::Torn { path: self.path.clone(), torn_bytes: written as u64, error, then }
    }

    fn sync(&mut self) -> Result<(), FileError> {
        let synced = self.output.sync();
        synced.map_err(|error| FileError::Sync { path: self.path.clone(), error })
    }
}
