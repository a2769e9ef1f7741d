//! The logs of a channel: which there are, and what is to be known before one is read.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::Keys;
use super::cipher::Cipher;
use super::error::{Error, KeyTrouble, Malformed, at};
use super::meta::{Covered, Encryption, LIMIT_BYTES, LogMeta};
use super::record::Layout;

/// Version, number, position and write-order id open a log of version 2.
pub(super) const V2_HEADER_BYTES: usize = 24;
/// Names that a crash may have left in place of `log-N.meta`, and which Flume takes for it too.
const OTHER_METAS: [&str; 4] = [".meta.tmp", ".meta.old", ".meta.meta.old", ".tmp"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    V2,
    V3,
}

/// A log and what its `.meta` says.
#[derive(Clone, Debug)]
pub(super) struct LogFile {
    pub(super) path: PathBuf,
    pub(super) length: u64,
    pub(super) encryption: Option<Encryption>,
    version: Version,
    checkpoint: Covered,
    backup: Covered,
}

/// The logs in some directories, by their numbers.
pub(super) fn list(directories: &[PathBuf]) -> Result<BTreeMap<u32, LogFile>, Error> {
    let mut files = BTreeMap::<u32, LogFile>::new();
    for directory in directories {
        let entries = match fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(at(directory)(error)),
        };
        for entry in entries {
            let entry = entry.map_err(at(directory))?;
            let Some(id) = entry.file_name().to_str().and_then(number) else { continue };
            let path = entry.path();
            if let Some(file) = LogFile::open(path.clone(), id)?
                && let Some(other) = files.insert(id, file)
            {
                return Err(Error::Twice { first: other.path, second: path });
            }
        }
    }
    Ok(files)
}

/// The N of `log-N`.
fn number(name: &str) -> Option<u32> {
    let digits = name.strip_prefix("log-")?;
    let id = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())??;
    (id <= i32::MAX.unsigned_abs()).then_some(id)
}

impl LogFile {
    /// `None` for a file that was made and never written.
    fn open(path: PathBuf, id: u32) -> Result<Option<LogFile>, Error> {
        let wrong = |what: &str| Error::Log { path: path.clone(), what: what.to_owned() };
        let file = File::open(&path).map_err(at(&path))?;
        let about = file.metadata().map_err(at(&path))?;
        if !about.is_file() || about.len() == 0 {
            return Ok(None);
        }
        let length = about.len();
        let (version, meta) = match meta(&path)? {
            Some(Ok(meta)) => (Version::V3, meta),
            Some(Err(malformed)) => {
                return Err(wrong(&format!("has a .meta that {}", malformed.0)));
            }
            None => {
                let mut header = [0; V2_HEADER_BYTES];
                match file.read_exact_at(&mut header, 0) {
                    Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
                        return Err(at(&path)(error));
                    }
                    _ => (Version::V2, v2_header(&header).ok_or_else(|| wrong("has no .meta"))?),
                }
            }
        };
        if u32::try_from(meta.file_id) != Ok(id) {
            return Err(wrong(&format!("says that its number is {}", meta.file_id)));
        }
        Ok(Some(LogFile {
            path,
            length,
            encryption: meta.encryption,
            version,
            checkpoint: meta.checkpoint,
            backup: meta.backup,
        }))
    }

    /// Where its first record lies.
    pub(super) fn first(&self) -> u64 {
        match self.version {
            Version::V2 => V2_HEADER_BYTES as u64,
            Version::V3 => 0,
        }
    }

    /// Where to begin when all up to the write-order id `known` is known from a checkpoint.
    pub(super) fn begin(&self, known: i64) -> u64 {
        let first = [self.checkpoint, self.backup]
            .into_iter()
            .take_while(|_| self.checkpoint.position > 0)
            .find(|covered| covered.position > 0 && covered.order <= known);
        let first = first.map_or(0, |covered| covered.position.unsigned_abs());
        // Of a file that is shorter than its header there is only the end.
        first.max(self.first()).min(self.length)
    }

    /// What to say when none of its records can be read: no checksum tells a wrong key from damage. `None` where it
    /// is not encrypted.
    pub(super) fn other_key(&self) -> Option<Error> {
        let with = self.encryption.as_ref()?;
        let (path, alias) = (self.path.clone(), with.alias.clone());
        Some(Error::Key { path, alias, why: KeyTrouble::Other })
    }

    /// How its records are laid out, with the key to them.
    pub(super) fn layout(&self, keys: Option<Keys<'_>>) -> Result<Layout, Error> {
        match (self.version, &self.encryption) {
            (Version::V2, _) => Ok(Layout::V2),
            (Version::V3, None) => Ok(Layout::V3(None)),
            (Version::V3, Some(with)) => Ok(Layout::V3(Some(Cipher::new(&self.path, with, keys)?))),
        }
    }
}

fn v2_header(header: &[u8; V2_HEADER_BYTES]) -> Option<LogMeta> {
    let (version, rest) = header.split_first_chunk::<4>()?;
    let (id, rest) = rest.split_first_chunk::<4>()?;
    let (position, rest) = rest.split_first_chunk::<8>()?;
    let (order, _) = rest.split_first_chunk::<8>()?;
    let checkpoint =
        Covered { position: i64::from_be_bytes(*position), order: i64::from_be_bytes(*order) };
    let file_id = i32::from_be_bytes(*id);
    (i32::from_be_bytes(*version) == 2).then(|| LogMeta {
        file_id,
        checkpoint,
        ..LogMeta::default()
    })
}

/// The `.meta` of a log, or the best that a crash left of it.
fn meta(log: &Path) -> Result<Option<Result<LogMeta, Malformed>>, Error> {
    let beside = |ending: &str| {
        let mut name = log.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    let read = |path: PathBuf| match limited(&path, LIMIT_BYTES) {
        Ok(bytes) => Ok(Some(LogMeta::parse(&bytes))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(at(&path)(error)),
    };
    let regular = read(beside(".meta"))?;
    if regular.is_some() {
        return Ok(regular);
    }
    for ending in OTHER_METAS {
        if let Some(Ok(meta)) = read(beside(ending))? {
            return Ok(Some(Ok(meta)));
        }
    }
    Ok(None)
}

/// A whole file that is not larger than it should be.
pub(super) fn limited(path: &Path, limit_bytes: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit_bytes + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit_bytes {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than flume makes it"));
    }
    Ok(bytes)
}
