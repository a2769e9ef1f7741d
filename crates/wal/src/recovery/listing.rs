//! What lies in a directory: segments, and files of use to nobody.

use std::sync::Arc;

use super::Candidate;
use crate::error::OpenError;
use crate::options::Options;
#[cfg(feature = "sabotage")]
use crate::options::sabotaged;
use crate::seal::{Cipher, Sealed};
use crate::segment::{self, COPY_BYTES, FIRST_FRAME, NotAHeader, SegmentFile, SegmentHeader};
use crate::storage::{Asked, Shelf, Storage, StorageFile, read_full_at};

/// The files of a directory.
pub(super) struct Listed {
    /// Those with a good header, in order of their numbers.
    pub(super) candidates: Vec<Candidate>,
    /// The names of the others.
    pub(super) others: Vec<String>,
    /// Of these, the numbers of those too short for a header: a file has its length before it has its name.
    pub(super) headless: Vec<u64>,
    /// The number that no file has yet.
    pub(super) next: u64,
}

pub(super) fn list(
    storage: &dyn Storage,
    shelf: &Arc<Shelf>,
    log: [u8; 16],
    directory: [u8; 16],
    options: &Options,
) -> Result<Listed, OpenError> {
    let names = storage.list().asked("list", "", storage)?;
    let mut numbers: Vec<_> = names.iter().filter_map(|name| segment::number(name)).collect();
    numbers.sort_unstable();
    let (mut candidates, mut others, mut headless) = (Vec::new(), Vec::new(), Vec::new());
    for &number in &numbers {
        let name = segment::name(number);
        let file: Arc<dyn StorageFile> = storage.open(&name).asked("open", &name, storage)?;
        let header = match SegmentHeader::read(&*file) {
            Ok(header) => header,
            Err(NotAHeader::Damaged) => {
                if file.length().asked("look at", &name, storage)? < FIRST_FRAME {
                    headless.push(number);
                }
                others.push(name);
                continue;
            }
            Err(NotAHeader::Version { version, flags }) => {
                return Err(OpenError::Version { place: storage.place(), version, flags });
            }
        };
        if header.log != log || header.directory != directory {
            let why = format!("{name} belongs to another directory or log; take it away");
            return Err(OpenError::Membership { place: storage.place(), why });
        }
        if header.number != number {
            // A segment on its way to be used again.
            others.push(name);
            continue;
        }
        let length = file.length().asked("look at", &name, storage)?;
        let (cipher, locked) = match cipher(&header, options, storage) {
            Ok(cipher) => (cipher, None),
            Err(error) => (None, Some(error)),
        };
        let file = shelf.hold(name, file);
        file.rest();
        let file = Arc::new(SegmentFile::new(&header, cipher, file, 0));
        candidates.push(Candidate { header, file, length, locked });
    }
    let next = numbers.last().map_or(1, |last| last.saturating_add(1));
    Ok(Listed { candidates, others, headless, next })
}

/// What opens the frames of a segment; an error that names the key if that is not the right one.
fn cipher(
    header: &SegmentHeader,
    options: &Options,
    storage: &dyn Storage,
) -> Result<Option<Cipher>, OpenError> {
    let Some(Sealed { alias, check }) = &header.sealed else { return Ok(None) };
    let refuse = |why| {
        let (place, alias) = (storage.place(), alias.clone());
        Err(OpenError::Key { place, segment: header.number, alias, why })
    };
    let Some(keys) = &options.keys else {
        return refuse("is needed but no keys are configured; configure the key provider");
    };
    let Some(key) = keys.key(alias) else {
        return refuse(
            "is not in the key store; put it back, old keys stay until no segment needs them",
        );
    };
    let derived = Cipher::derive(&key, header);
    if derived.1 != *check {
        return refuse(
            "is not the one it was encrypted with; put the right key back under this alias",
        );
    }
    #[cfg(feature = "sabotage")]
    let derived = {
        let mut derived = derived;
        derived.0.trusting = sabotaged!(options, TagSkipped);
        derived
    };
    Ok(Some(derived.0))
}

/// The last of `others` that was a segment of the usual length once and then never became another:
/// its header is still that of the earlier number. Its length is durable, since it was so before
/// that header; of a file without a header nobody knows whether the sync of its length failed.
pub(super) fn spare(
    storage: &dyn Storage,
    others: &[String],
    options: &Options,
) -> Result<Option<String>, OpenError> {
    for name in others.iter().rev() {
        let file = storage.open(name).asked("open", name, storage)?;
        if file.length().asked("look at", name, storage)? != options.segment_bytes {
            continue;
        }
        let mut head = vec![0; FIRST_FRAME as usize];
        let read = read_full_at(&*file, &mut head, 0).unwrap_or(0);
        let other = |header: SegmentHeader| {
            segment::number(name) != Some(header.number) && header.length == options.segment_bytes
        };
        let mut copies = head[..read].chunks(COPY_BYTES);
        if read == head.len() && copies.all(|copy| SegmentHeader::decode(copy).is_ok_and(other)) {
            return Ok(Some(name.clone()));
        }
    }
    Ok(None)
}
