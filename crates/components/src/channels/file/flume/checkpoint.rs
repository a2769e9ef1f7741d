//! The checkpoint: the queue as it was at some moment, and what was in flight.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::Path;

use md5::{Digest, Md5};

use super::error::{Error, at};
use super::log_file::limited;
use super::meta::{LIMIT_BYTES, QueueMeta};
use super::record::Pointer;

/// Longs before the queue's ring.
const HEADER_LONGS: u64 = 1029;
const LONG_BYTES: u64 = 8;
/// Pointers of open transactions: sixteen million. Flume's default allows 10,000 a transaction.
const IN_FLIGHT_LIMIT_BYTES: u64 = 128 << 20;
/// What snappy-java's stream opens with: its magic, its version and the oldest that can read it.
const SNAPPY: [u8; 16] = *b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";
/// snappy-java compresses 32 KiB at a time; this leaves room for another block size.
const SNAPPY_BLOCK_LIMIT_BYTES: usize = 1 << 20;

/// What the replay began with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The checkpoint.
    Checkpoint,
    /// The copy of the one before, since the checkpoint cannot be used, which the text explains.
    Backup(String),
    /// Nothing: all logs were read from their beginnings. The text says why.
    Logs(String),
}

/// Transactions and what they put or took.
pub(super) type InFlight = HashMap<i64, Vec<Pointer>>;

/// The queue as it was when all up to a write-order id was known.
#[derive(Debug, Default)]
pub(super) struct Checkpoint {
    /// Zero when there is none.
    pub(super) order: i64,
    pub(super) queue: Vec<Pointer>,
    pub(super) puts: InFlight,
    pub(super) takes: InFlight,
}

/// Why a checkpoint cannot be used; then a full replay does without.
type Bad = String;

/// Whether a directory holds something that begins as a checkpoint of Flume's does.
pub(super) fn looks_like_one(directory: &Path) -> Result<bool, Error> {
    let path = directory.join("checkpoint");
    let mut first = [0; 8];
    match File::open(&path).and_then(|mut file| file.read_exact(&mut first)) {
        Ok(()) => Ok(matches!(i64::from_be_bytes(first), 2 | 3)),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound
                    | io::ErrorKind::NotADirectory
                    | io::ErrorKind::IsADirectory
                    | io::ErrorKind::UnexpectedEof
            ) =>
        {
            Ok(false)
        }
        Err(error) => Err(at(&path)(error)),
    }
}

/// The checkpoint, or else the one before, or else an empty one.
pub(super) fn load(directory: &Path, backup: Option<&Path>) -> (Checkpoint, Origin) {
    let why = match load_from(directory) {
        Ok(checkpoint) => return (checkpoint, Origin::Checkpoint),
        Err(bad) => bad,
    };
    let Some(backup) = backup else {
        return (Checkpoint::default(), Origin::Logs(why));
    };
    let second = if backup.join("backupComplete").exists() {
        load_from(backup)
    } else {
        Err(format!("{} holds no complete copy", backup.display()))
    };
    match second {
        Ok(checkpoint) => (checkpoint, Origin::Backup(why)),
        Err(bad) => (Checkpoint::default(), Origin::Logs(format!("{why}; {bad}"))),
    }
}

fn load_from(directory: &Path) -> Result<Checkpoint, Bad> {
    let ring = Ring::find(directory)?;
    let path = ring.path.clone();
    let bad = |what: &str| format!("{} {what}", path.display());
    let header = ring.header()?;
    if header.marker != 0 {
        return Err(bad("was being written"));
    }
    let meta_path = directory.join("checkpoint.meta");
    let meta = match limited(&meta_path, LIMIT_BYTES) {
        Ok(bytes) => {
            let meta = QueueMeta::parse(&bytes)
                .map_err(|malformed| format!("{} {}", meta_path.display(), malformed.0))?;
            if header.version != 3 {
                return Err(bad("is of another version than its .meta"));
            }
            if header.order != meta.order {
                return Err(bad("is not of the moment that its .meta is of"));
            }
            meta
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound && header.version == 2 => {
            header.v2()?
        }
        Err(error) => return Err(format!("{}: {error}", meta_path.display())),
    };
    let queue = ring.queue(&meta)?;
    let puts = in_flight(&directory.join("inflightputs"))?;
    let takes = in_flight(&directory.join("inflighttakes"))?;
    Ok(Checkpoint { order: meta.order, queue, puts, takes })
}

/// The file `checkpoint`, or `checkpoint.snappy`: an array of longs.
struct Ring {
    path: std::path::PathBuf,
    compressed: bool,
    longs: u64,
}

struct Header {
    version: i64,
    order: i64,
    /// Where version 2 keeps them.
    size: i64,
    head: i64,
    marker: i64,
}

impl Header {
    fn v2(&self) -> Result<QueueMeta, Bad> {
        let int =
            |value: i64| i32::try_from(value).map_err(|_| "checkpoint has no queue".to_owned());
        Ok(QueueMeta { order: self.order, size: int(self.size)?, head: int(self.head)? })
    }
}

impl Ring {
    fn find(directory: &Path) -> Result<Ring, Bad> {
        let plain = directory.join("checkpoint");
        let compressed = directory.join("checkpoint.snappy");
        let (path, compressed) = match (plain.is_file(), compressed.is_file()) {
            (false, true) => (compressed, true),
            _ => (plain, false),
        };
        let io = |error: io::Error| format!("{}: {error}", path.display());
        let bytes = if compressed {
            io::copy(&mut Snappy::open(&path).map_err(io)?, &mut io::sink()).map_err(io)?
        } else {
            fs::metadata(&path).map_err(io)?.len()
        };
        if bytes % LONG_BYTES != 0 || bytes / LONG_BYTES <= HEADER_LONGS {
            return Err(format!("{} is not as large as any checkpoint", path.display()));
        }
        Ok(Ring { path, compressed, longs: bytes / LONG_BYTES })
    }

    fn open(&self) -> io::Result<Box<dyn Read>> {
        if self.compressed {
            Ok(Box::new(BufReader::new(Snappy::open(&self.path)?)))
        } else {
            Ok(Box::new(BufReader::with_capacity(256 << 10, File::open(&self.path)?)))
        }
    }

    fn io(&self) -> impl Fn(io::Error) -> Bad + '_ {
        |error| format!("{}: {error}", self.path.display())
    }

    fn header(&self) -> Result<Header, Bad> {
        let mut from = self.open().map_err(self.io())?;
        let mut next = || long(&mut from).map_err(self.io());
        let (version, order) = (next()?, next()?);
        let (size, head, marker) = (next()?, next()?, next()?);
        Ok(Header { version, order, size, head, marker })
    }

    /// What is queued, oldest first. The ring is as large as its file, whatever the capacity is configured to.
    fn queue(&self, meta: &QueueMeta) -> Result<Vec<Pointer>, Bad> {
        let capacity = self.longs - HEADER_LONGS;
        let bad = |what: &str| format!("{} {what}", self.path.display());
        let (Ok(size), Ok(head)) = (u64::try_from(meta.size), u64::try_from(meta.head)) else {
            return Err(bad("has a queue of no size"));
        };
        if size > capacity || head >= capacity {
            return Err(bad("has a queue that is larger than itself"));
        }
        let mut from = self.open().map_err(self.io())?;
        io::copy(&mut from.by_ref().take(HEADER_LONGS * LONG_BYTES), &mut io::sink())
            .map_err(self.io())?;
        // The end of the ring is read first when the queue goes on at its beginning.
        let wrapped = (head + size).saturating_sub(capacity);
        let second = self.pointers(&mut from, wrapped)?;
        let gap = (head - wrapped) * LONG_BYTES;
        io::copy(&mut from.by_ref().take(gap), &mut io::sink()).map_err(self.io())?;
        let mut queue = self.pointers(&mut from, size - wrapped)?;
        queue.extend(second);
        Ok(queue)
    }

    fn pointers(&self, from: &mut impl Read, count: u64) -> Result<Vec<Pointer>, Bad> {
        let mut pointers = Vec::new();
        for _ in 0..count {
            match u64::try_from(long(from).map_err(self.io())?) {
                // Zero is an empty place, and no log has the number 0.
                Ok(pointer) if pointer > u64::from(u32::MAX) => pointers.push(Pointer(pointer)),
                _ => {
                    return Err(format!("{} has an empty place in its queue", self.path.display()));
                }
            }
        }
        Ok(pointers)
    }
}

fn long(from: &mut impl Read) -> io::Result<i64> {
    let mut bytes = [0; 8];
    from.read_exact(&mut bytes)?;
    Ok(i64::from_be_bytes(bytes))
}

/// `inflightputs` or `inflighttakes`: an MD5 sum, then transaction, count and pointers again and again, and two zeros.
/// A checkpoint of version 2 has none.
fn in_flight(path: &Path) -> Result<InFlight, Bad> {
    let bytes = match limited(path, IN_FLIGHT_LIMIT_BYTES) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(InFlight::new()),
        Err(error) => return Err(format!("{}: {error}", path.display())),
    };
    let bad = |what: &str| format!("{} {what}", path.display());
    let Some((sum, rest)) = bytes.split_first_chunk::<16>() else {
        return if bytes.is_empty() { Ok(InFlight::new()) } else { Err(bad("is cut short")) };
    };
    if Md5::digest(rest).as_slice() != sum {
        return Err(bad("does not fit its checksum"));
    }
    let mut longs = rest.as_chunks::<8>().0.iter().map(|bytes| i64::from_be_bytes(*bytes));
    let mut open = InFlight::new();
    while let Some(transaction) = longs.next() {
        for _ in 0..longs.next().unwrap_or(0) {
            let pointer = longs.next().and_then(|pointer| u64::try_from(pointer).ok());
            let pointer = pointer.ok_or_else(|| bad("is cut short"))?;
            open.entry(transaction).or_default().push(Pointer(pointer));
        }
    }
    Ok(open)
}

/// snappy-java's stream: blocks behind their lengths.
struct Snappy {
    from: BufReader<File>,
    block: Vec<u8>,
    used: usize,
}

impl Snappy {
    fn open(path: &Path) -> io::Result<Snappy> {
        let mut from = BufReader::new(File::open(path)?);
        let mut magic = [0; SNAPPY.len()];
        from.read_exact(&mut magic)?;
        if magic != SNAPPY {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not a stream of snappy-java"));
        }
        Ok(Snappy { from, block: Vec::new(), used: 0 })
    }

    /// The next block, empty at the end.
    fn fill(&mut self) -> io::Result<()> {
        let damaged = |what: &'static str| io::Error::new(io::ErrorKind::InvalidData, what);
        self.block.clear();
        self.used = 0;
        let mut length = [0; 4];
        if self.from.read(&mut length[..1])? == 0 {
            return Ok(());
        }
        self.from.read_exact(&mut length[1..])?;
        let length = usize::try_from(i32::from_be_bytes(length))
            .ok()
            .filter(|&length| length <= SNAPPY_BLOCK_LIMIT_BYTES)
            .ok_or_else(|| damaged("a block is too long"))?;
        let mut compressed = vec![0; length];
        self.from.read_exact(&mut compressed)?;
        if snap::raw::decompress_len(&compressed)
            .is_ok_and(|bytes| bytes > SNAPPY_BLOCK_LIMIT_BYTES)
        {
            return Err(damaged("a block is too long"));
        }
        self.block = snap::raw::Decoder::new()
            .decompress_vec(&compressed)
            .map_err(|_| damaged("a block cannot be decompressed"))?;
        if self.block.is_empty() { Err(damaged("a block is empty")) } else { Ok(()) }
    }
}

impl Read for Snappy {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.used == self.block.len() {
            self.fill()?;
        }
        let count = out.len().min(self.block.len() - self.used);
        out[..count].copy_from_slice(&self.block[self.used..self.used + count]);
        self.used += count;
        Ok(count)
    }
}
