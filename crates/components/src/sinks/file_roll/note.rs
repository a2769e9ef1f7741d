//! Which events of a file channel the files have, so that `kill -9` repeats next to none.
//!
//! A take is committed some batches after the files have them. Were the process killed in between,
//! all of those would be written again. So the numbers that the channel gave the events are noted
//! beside the files with each batch, in `.splashdam/<agent>.<sink>` of the same directory, and what
//! comes again is passed over. The note is written behind the batch: a kill between the two repeats
//! that one. It is not synced and holds only while the machine runs on, as the files' last bytes do:
//! who finds the note of another boot begins anew, and writes what may be missing again.
//!
//! An older copy of the channel's directory gives numbers again. So what was noted before the
//! channel was opened counts only up to the number that it began with, and nothing of it where the
//! lowest number in the queue went back.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `SDROLL` and version 1 |
//! | 36 | boot of the machine, as Linux writes it |
//! | 16 | queue of the channel |
//! | rest | numbers of the events, as an Avro source of ours keeps them ([`Known`]) |
//! | 4 | CRC-32 of all before, big-endian |

use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use splashdam_core::Place;
use splashdam_wire::claim::Claim;
use tracing::warn;

use crate::known::Known;

const MAGIC: [u8; 8] = *b"SDROLL\0\x01";
const BOOT_BYTES: usize = 36;
const HEAD_BYTES: usize = MAGIC.len() + BOOT_BYTES + 16;
const SUM_BYTES: usize = 4;
/// A longer note is none of ours.
const MOST_BYTES: u64 = 64 * 1024;
/// Where Linux tells one boot from another.
const BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// What is known to be in the files.
pub(super) struct Note {
    path: PathBuf,
    boot: [u8; BOOT_BYTES],
    queue: [u8; 16],
    known: Known,
    /// Read, and not compared with its queue yet.
    read: bool,
    /// Open from the first batch on.
    file: Option<File>,
    /// Bytes of the note that the file has.
    length: usize,
    /// Writing failed, and that was said.
    failed: bool,
}

impl Note {
    /// What was noted in `directory` during this boot; `None` where the system has no word for it.
    pub(super) fn read(directory: &Path, name: &str) -> Option<Note> {
        let boot = fs::read(BOOT).ok()?;
        Self::of_boot(directory, name, *boot.first_chunk()?)
    }

    fn of_boot(directory: &Path, name: &str, boot: [u8; BOOT_BYTES]) -> Option<Note> {
        let path = directory.join(".splashdam").join(name.replace('/', "_"));
        let small = fs::metadata(&path).is_ok_and(|found| found.len() <= MOST_BYTES);
        let noted = small.then(|| fs::read(&path).ok()).flatten();
        let (queue, known) = noted.and_then(|noted| decode(&noted, boot)).unwrap_or_default();
        Some(Note { path, boot, queue, known, read: true, file: None, length: 0, failed: false })
    }

    /// Which events of a batch from `place` the files do not have, as indexes.
    pub(super) fn fresh(&mut self, place: &Place) -> Vec<Range<usize>> {
        if std::mem::take(&mut self.read) {
            self.known.forget_from(place.began);
        }
        let known = if self.is_of(place) { &self.known } else { &Known::default() };
        known.fresh(&claim(place))
    }

    fn is_of(&self, place: &Place) -> bool {
        place.queue == self.queue && place.low >= self.known.low()
    }

    /// The files have the events of `place` now. Where that cannot be noted they may come again.
    pub(super) fn add(&mut self, place: &Place, component: &str) {
        if !self.is_of(place) {
            (self.queue, self.known) = (place.queue, Known::default());
        }
        self.known.add(&claim(place));
        match self.write() {
            Ok(()) => self.failed = false,
            Err(error) => {
                self.file = None;
                if !std::mem::replace(&mut self.failed, true) {
                    warn!(component, file = %self.path.display(), %error, "what is delivered cannot be noted; after a kill some batches may be written again");
                }
            }
        }
    }

    fn write(&mut self) -> io::Result<()> {
        let note = encode(self.boot, self.queue, &self.known);
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                if let Some(parent) = self.path.parent()
                    && let Err(error) = fs::create_dir(parent)
                    && error.kind() != io::ErrorKind::AlreadyExists
                {
                    return Err(error);
                }
                self.length = usize::MAX;
                let mut options = OpenOptions::new();
                options.write(true).create(true).truncate(false);
                none.insert(options.open(&self.path)?)
            }
        };
        file.write_all_at(&note, 0)?;
        if note.len() < self.length {
            file.set_len(note.len() as u64)?;
        }
        self.length = note.len();
        Ok(())
    }
}

fn claim(place: &Place) -> Claim {
    Claim { sender: place.queue, low: place.low, ranges: place.ranges.clone() }
}

fn encode(boot: [u8; BOOT_BYTES], queue: [u8; 16], known: &Known) -> Vec<u8> {
    let mut note = [&MAGIC[..], &boot, &queue, &known.encode()].concat();
    note.extend_from_slice(&crc32fast::hash(&note).to_be_bytes());
    note
}

/// The queue and its numbers, if the note is whole and of this boot.
fn decode(note: &[u8], boot: [u8; BOOT_BYTES]) -> Option<([u8; 16], Known)> {
    let (rest, sum) = note.split_last_chunk::<SUM_BYTES>()?;
    let body = rest.get(HEAD_BYTES..)?;
    let ours = rest.starts_with(&MAGIC) && rest[MAGIC.len()..].starts_with(&boot);
    if !ours || crc32fast::hash(rest).to_be_bytes() != *sum {
        return None;
    }
    let queue = *rest[MAGIC.len() + BOOT_BYTES..].first_chunk()?;
    Some((queue, Known::decode(&Bytes::copy_from_slice(body))?))
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "places are lists of ranges")]
mod tests {
    use super::*;

    const BOOT: [u8; BOOT_BYTES] = [b'a'; BOOT_BYTES];

    fn place(queue: u8, low: u64, ranges: &[Range<u64>]) -> Place {
        Place { queue: [queue; 16], low, began: 1000, ranges: ranges.to_vec(), lasting: true }
    }

    #[test]
    fn what_was_noted_is_known_until_the_machine_starts_anew() {
        let dir = tempfile::tempdir().unwrap();
        let open = |boot| Note::of_boot(dir.path(), "a1.k/1", boot).unwrap();
        let mut first = open(BOOT);
        assert_eq!(first.fresh(&place(1, 0, &[0..10])), [0..10]);
        first.add(&place(1, 0, &[0..10, 40..50]), "k1");
        first.add(&place(1, 5, &[10..20]), "k1");
        let check = |boot, batch: &Place, want: &[Range<usize>]| {
            assert_eq!(open(boot).fresh(batch), want, "{batch:?}");
        };
        check(BOOT, &place(1, 5, &[5..25]), &[15..20]);
        check(BOOT, &place(1, 5, &[45..55]), &[5..10]);
        check(BOOT, &place(2, 5, &[5..25]), &[0..20]);
        check([b'b'; BOOT_BYTES], &place(1, 5, &[5..25]), &[0..20]);
        // A shorter note leaves nothing of the longer one behind.
        open(BOOT).add(&place(1, 60, &[60..61]), "k1");
        check(BOOT, &place(1, 60, &[60..62]), &[1..2]);
        // An older copy of the queue had given only some of the numbers when it was opened.
        let copy = Place { began: 60, ..place(1, 60, &[60..62]) };
        check(BOOT, &copy, &[0..2]);
        // One that shows it begins anew, and so does another one.
        check(BOOT, &place(1, 59, &[60..62]), &[0..2]);
        open(BOOT).add(&place(2, 0, &[0..3]), "k1");
        check(BOOT, &place(2, 0, &[0..4]), &[3..4]);
        check(BOOT, &place(1, 60, &[60..62]), &[0..2]);
    }

    #[test]
    fn a_note_that_is_not_whole_says_nothing() {
        let mut known = Known::default();
        known.add(&claim(&place(1, 3, &[4..9])));
        let note = encode(BOOT, [1; 16], &known);
        assert_eq!(decode(&note, BOOT), Some(([1; 16], known)));
        for cut in 0..note.len() {
            assert_eq!(decode(&note[..cut], BOOT), None, "{cut} bytes");
        }
        for at in 0..note.len() {
            let mut other = note.clone();
            other[at] ^= 4;
            assert_eq!(decode(&other, BOOT), None, "byte {at}");
        }
    }

    #[test]
    fn where_nothing_can_be_noted_everything_is_fresh_again() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(".splashdam"), "in the way").unwrap();
        let mut note = Note::of_boot(dir.path(), "k1", BOOT).unwrap();
        note.add(&place(1, 0, &[0..10]), "k1");
        assert!(note.fresh(&place(1, 0, &[0..10])).is_empty());
        let mut again = Note::of_boot(dir.path(), "k1", BOOT).unwrap();
        assert_eq!(again.fresh(&place(1, 0, &[0..10])), [0..10]);
    }
}
