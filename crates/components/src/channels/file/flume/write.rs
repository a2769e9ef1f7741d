//! The way back: a queue laid down as Flume's file channel would have, for a Flume to open.
//!
//! Logs of version 3 without a checkpoint, which Flume replays from their beginnings. A log's `.meta` is written when
//! all logs are whole and synced: until then Flume refuses the directory, and so an export that was cut off is never
//! taken for a queue.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use splashdam_core::Event;

use super::error::{Error, at};
use super::log_file;
use super::meta::LogMeta;
use super::protobuf::{put_bytes, put_int, put_long, put_varint, varint_bytes};
use super::record::{FRAME_BYTES, RECORD};

/// Flume's default and upper limit of `maxFileSize`.
const LOG_LIMIT_BYTES: u64 = 1_623_195_647;
/// Events a transaction; Flume's default allows 10,000.
const TRANSACTION_EVENTS: usize = 1000;

/// How the logs are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most bytes of a log, Flume's `maxFileSize`; at most its default of 1,623,195,647.
    pub log_bytes: u64,
    /// The most events of a transaction.
    pub transaction_events: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { log_bytes: LOG_LIMIT_BYTES, transaction_events: TRANSACTION_EVENTS }
    }
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Events. Flume's `capacity` must not be less.
    pub events: u64,
    /// Bytes of all logs.
    pub bytes: u64,
    /// Logs.
    pub logs: u64,
}

/// Writes a channel that holds `events`: to be opened by Flume 1.4 or newer with these directories and at least this
/// capacity. Several data directories are filled in turn, one transaction each. Blocking; synced when it returns.
///
/// # Errors
/// An error of `events` or of the file system, an event that is too large, and a directory that holds logs or a
/// checkpoint already. What was written until then stays, and Flume refuses it.
pub fn write<E: From<Error>>(
    checkpoint_dir: &Path,
    data_dirs: &[PathBuf],
    limits: Limits,
    events: impl IntoIterator<Item = Result<Event, E>>,
) -> Result<Written, E> {
    let mut writer = Writer::new(checkpoint_dir, data_dirs, limits)?;
    for event in events {
        writer.put(&event?)?;
    }
    Ok(writer.finish()?)
}

/// Logs that are being written, one a directory at a time.
struct Writer<'a> {
    limits: Limits,
    directories: Vec<Directory<'a>>,
    /// Where the open transaction goes.
    turn: usize,
    open_events: usize,
    transaction: i64,
    order: i64,
    files: Vec<(u32, PathBuf)>,
    payload: Vec<u8>,
    written: Written,
}

struct Directory<'a> {
    path: &'a Path,
    log: Option<Log>,
}

struct Log {
    path: PathBuf,
    out: BufWriter<File>,
    bytes: u64,
}

impl Log {
    fn close(mut self) -> Result<(), Error> {
        self.out.flush().and_then(|()| self.out.get_ref().sync_all()).map_err(at(&self.path))
    }
}

impl<'a> Writer<'a> {
    fn new(
        checkpoint_dir: &Path,
        data_dirs: &'a [PathBuf],
        limits: Limits,
    ) -> Result<Writer<'a>, Error> {
        let target = |path: &Path, what| Error::Target { path: path.to_owned(), what };
        if data_dirs.is_empty() {
            return Err(target(checkpoint_dir, "no data directory is given"));
        }
        for path in data_dirs.iter().map(PathBuf::as_path).chain([checkpoint_dir]) {
            fs::create_dir_all(path).map_err(at(path))?;
        }
        for name in ["checkpoint", "checkpoint.meta"] {
            if checkpoint_dir.join(name).exists() {
                return Err(target(
                    checkpoint_dir,
                    "it holds a checkpoint; name an empty directory",
                ));
            }
        }
        for path in data_dirs {
            // An export that was cut off has logs without a `.meta`, which `list` complains of.
            if !log_file::list(std::slice::from_ref(path))?.is_empty() {
                return Err(target(path, "it holds logs; name an empty directory"));
            }
        }
        // Flume begins with the time too, so that ids grow from one writer of a directory to the next.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = i64::try_from(now.as_millis()).unwrap_or_default();
        Ok(Writer {
            limits: Limits {
                log_bytes: limits.log_bytes.min(LOG_LIMIT_BYTES),
                transaction_events: limits.transaction_events.max(1),
            },
            directories: data_dirs.iter().map(|path| Directory { path, log: None }).collect(),
            turn: 0,
            open_events: 0,
            transaction: now,
            order: now,
            files: Vec::new(),
            payload: Vec::new(),
            written: Written::default(),
        })
    }

    fn put(&mut self, event: &Event) -> Result<(), Error> {
        if self.open_events == 0 {
            self.transaction += 1;
        }
        self.order += 1;
        self.payload.clear();
        encode_put(&mut self.payload, self.transaction, self.order, event);
        self.append()?;
        self.open_events += 1;
        self.written.events += 1;
        if self.open_events == self.limits.transaction_events { self.commit() } else { Ok(()) }
    }

    fn commit(&mut self) -> Result<(), Error> {
        self.order += 1;
        self.payload.clear();
        encode_commit(&mut self.payload, self.transaction, self.order, 1);
        self.append()?;
        self.open_events = 0;
        self.turn = (self.turn + 1) % self.directories.len();
        Ok(())
    }

    /// Appends the payload as a record to the log whose turn it is, or to a new one.
    fn append(&mut self) -> Result<(), Error> {
        let length = self.payload.len();
        let (limit_bytes, framed) = (self.limits.log_bytes, (FRAME_BYTES + length) as u64);
        if framed > limit_bytes {
            return Err(Error::TooLarge { bytes: length, limit_bytes });
        }
        let directory = &mut self.directories[self.turn];
        if directory.log.as_ref().is_some_and(|log| log.bytes + framed > limit_bytes)
            && let Some(log) = directory.log.take()
        {
            log.close()?;
        }
        let log = match &mut directory.log {
            Some(log) => log,
            none => {
                self.written.logs += 1;
                let id = self.written.logs as u32;
                let path = directory.path.join(format!("log-{id}"));
                let file = File::create_new(&path).map_err(at(&path))?;
                self.files.push((id, path.clone()));
                let out = BufWriter::with_capacity(1 << 20, file);
                none.insert(Log { path, out, bytes: 0 })
            }
        };
        let frame = frame(length);
        log.out
            .write_all(&frame)
            .and_then(|()| log.out.write_all(&self.payload))
            .map_err(at(&log.path))?;
        log.bytes += framed;
        self.written.bytes += framed;
        Ok(())
    }

    fn finish(mut self) -> Result<Written, Error> {
        if self.open_events > 0 {
            self.commit()?;
        }
        for directory in &mut self.directories {
            if let Some(log) = directory.log.take() {
                log.close()?;
            }
            sync_directory(directory.path)?;
        }
        for (id, log) in &self.files {
            let meta = LogMeta { file_id: id.cast_signed(), ..LogMeta::default() };
            let path = log.with_extension("meta");
            let new = log.with_extension("meta.tmp");
            File::create(&new)
                .and_then(|mut file| {
                    file.write_all(&meta.encode())?;
                    file.sync_all()
                })
                .map_err(at(&new))?;
            fs::rename(&new, &path).map_err(at(&path))?;
        }
        for directory in &self.directories {
            sync_directory(directory.path)?;
        }
        Ok(self.written)
    }
}

fn sync_directory(path: &Path) -> Result<(), Error> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(at(path))
}

/// Op and length of a record.
pub(super) fn frame(payload_bytes: usize) -> [u8; FRAME_BYTES] {
    // A payload is shorter than a log, and that is less than 2 GiB.
    let [a, b, c, d] = (payload_bytes as u32).to_be_bytes();
    [RECORD, a, b, c, d]
}

fn encode_head(out: &mut Vec<u8>, kind: i32, transaction: i64, order: i64) {
    // Three fields of five and twice nine bytes.
    out.push(23);
    put_int(out, 1, kind);
    put_long(out, 2, transaction);
    put_long(out, 3, order);
}

/// The payload of a put.
pub(super) fn encode_put(out: &mut Vec<u8>, transaction: i64, order: i64, event: &Event) {
    let field = |length: usize| 1 + varint_bytes(length) + length;
    let header = |name: usize, value: usize| field(name) + field(value);
    let headers = event
        .headers
        .iter()
        .map(|(name, value)| field(header(name.as_bytes().len(), value.as_bytes().len())));
    let inner: usize = headers.sum::<usize>() + field(event.body.len());
    encode_head(out, 1, transaction, order);
    put_varint(out, field(inner) + 9);
    out.push(0x0a);
    put_varint(out, inner);
    for (name, value) in event.headers.iter() {
        out.push(0x0a);
        put_varint(out, header(name.as_bytes().len(), value.as_bytes().len()));
        put_bytes(out, 1, name.as_bytes());
        put_bytes(out, 2, value.as_bytes());
    }
    put_bytes(out, 2, &event.body);
    put_long(out, 2, i64::from(crc32fast::hash(&event.body)));
    out.push(0);
}

/// The payload of a commit: of puts 1, of takes 2.
pub(super) fn encode_commit(out: &mut Vec<u8>, transaction: i64, order: i64, of: i32) {
    encode_head(out, 4, transaction, order);
    out.push(5);
    put_int(out, 1, of);
    out.push(0);
}

/// The payload of a take.
#[cfg(test)]
pub(super) fn encode_take(
    out: &mut Vec<u8>,
    transaction: i64,
    order: i64,
    of: super::record::Pointer,
) {
    encode_head(out, 2, transaction, order);
    out.push(10);
    put_int(out, 1, of.file().cast_signed());
    put_int(out, 2, (of.offset() as u32).cast_signed());
    out.push(0);
}

/// The payload of a rollback.
#[cfg(test)]
pub(super) fn encode_rollback(out: &mut Vec<u8>, transaction: i64, order: i64) {
    encode_head(out, 3, transaction, order);
    out.extend([0, 0]);
}
