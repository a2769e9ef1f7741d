//! Where the source stands, as durable channels store it with each batch.
//!
//! An origin's position holds every file that went on since the position file was last written, so
//! that file and origin together say where everything stands as of the last batch that is stored.
//! Who removes the position file begins anew: it holds the name under which the channels know the
//! source.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use bytes::{BufMut, Bytes, BytesMut};
use splashdam_core::Origin;

use super::lines::At;
use super::positions::{Change, Entry, Key, Mark};
use super::print::Print;

/// The layout below.
const VERSION: u8 = 1;

/// The files that went on since the position file was written.
#[derive(Debug)]
pub(super) struct Trail {
    sender: [u8; 16],
    at: Mark,
    changed: BTreeMap<Key, (u64, Entry)>,
}

impl Trail {
    /// The trail of a life of the source.
    pub(super) fn new(sender: [u8; 16], life: Mark) -> Trail {
        Trail { sender, at: life, changed: BTreeMap::new() }
    }

    /// The next batch, behind which these files stand elsewhere; `is_news` tells what the position
    /// file does not say anyhow.
    pub(super) fn step(
        &mut self,
        changes: &[Change],
        is_news: impl Fn(Key, &Entry) -> bool,
    ) -> Mark {
        self.at.sequence += 1;
        for change in changes {
            match change {
                Change::Set(key, entry) => {
                    if self.changed.contains_key(key) || is_news(*key, entry) {
                        self.changed.insert(*key, (self.at.sequence, entry.clone()));
                    }
                }
                // That it is remembered for longer does no harm.
                Change::Forget(key) => drop(self.changed.remove(key)),
            }
        }
        self.at
    }

    /// The origin of the last step's batch, when the position file holds all steps through
    /// `saved`. `None` when more files went on since than an origin has room for.
    pub(super) fn origin(&mut self, saved: Mark) -> Option<Origin> {
        if saved.epoch == self.at.epoch {
            self.changed.retain(|_, (step, _)| *step > saved.sequence);
        }
        let mut out = BytesMut::with_capacity(1 + self.changed.len() * 128);
        out.put_u8(VERSION);
        for (key, (_, entry)) in &self.changed {
            put(&mut out, *key, entry);
            if out.len() > Origin::MOST_POSITION_BYTES {
                return None;
            }
        }
        let Trail { sender, at: Mark { epoch, sequence }, .. } = *self;
        Some(Origin { sender, epoch, sequence, position: out.freeze() })
    }
}

/// Key, path, inode, device, birth, position, head, tail and where in the line; a byte before tells
/// which of those there are that there need not be.
fn put(out: &mut BytesMut, key: Key, entry: &Entry) {
    let path = entry.path.as_os_str().as_bytes();
    let path = &path[..path.len().min(usize::from(u16::MAX))];
    let flags =
        [entry.device.is_some(), entry.birth.is_some(), entry.head.is_some(), entry.tail.is_some()];
    let flags = flags.iter().enumerate().map(|(bit, there)| u8::from(*there) << bit).sum();
    out.put_u8(flags);
    out.put_u64_le(key);
    out.put_u16_le(u16::try_from(path.len()).unwrap_or(u16::MAX));
    out.put_slice(path);
    out.put_u64_le(entry.inode);
    out.put_u64_le(entry.position);
    for number in [entry.device, entry.birth].into_iter().flatten() {
        out.put_u64_le(number);
    }
    for print in [entry.head, entry.tail].into_iter().flatten() {
        out.put_u64_le(print.len as u64);
        out.put_u64_le(print.hash);
    }
    out.put_u8(match entry.at {
        At::Start => 0,
        At::Within => 1,
        At::Dropped => 2,
    });
}

/// What an origin says of files; `None` if it is not of this layout.
pub(super) fn files(position: &Bytes) -> Option<Vec<(Key, Entry)>> {
    let (version, mut input) = position.split_first()?;
    if *version != VERSION {
        return None;
    }
    let mut files = Vec::new();
    while !input.is_empty() {
        files.push(take(&mut input)?);
    }
    Some(files)
}

fn take(input: &mut &[u8]) -> Option<(Key, Entry)> {
    let flags = take_bytes(input, 1)?[0];
    if flags > 0b1111 {
        return None;
    }
    let there = |bit: u8| flags & 1 << bit != 0;
    let key = take_u64(input)?;
    let length = u16::from_le_bytes(*take_bytes(input, 2)?.first_chunk()?);
    let path = Path::new(OsStr::from_bytes(take_bytes(input, length.into())?)).into();
    let (inode, position) = (take_u64(input)?, take_u64(input)?);
    let device = if there(0) { Some(take_u64(input)?) } else { None };
    let birth = if there(1) { Some(take_u64(input)?) } else { None };
    let head = if there(2) { Some(take_print(input)?) } else { None };
    let tail = if there(3) { Some(take_print(input)?) } else { None };
    let at = match take_bytes(input, 1)?[0] {
        0 => At::Start,
        1 => At::Within,
        2 => At::Dropped,
        _ => return None,
    };
    Some((key, Entry { path, inode, device, birth, position, head, tail, at }))
}

fn take_print(input: &mut &[u8]) -> Option<Print> {
    let len = usize::try_from(take_u64(input)?).ok()?;
    Some(Print { len, hash: take_u64(input)? })
}

fn take_u64(input: &mut &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(*take_bytes(input, 8)?.first_chunk()?))
}

fn take_bytes<'a>(input: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (head, rest) = input.split_at_checked(count)?;
    *input = rest;
    Some(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, position: u64) -> Entry {
        Entry {
            path: Path::new(path).into(),
            inode: 7,
            device: Some(8),
            birth: None,
            position,
            head: Some(Print::of(b"head")),
            tail: None,
            at: At::Within,
        }
    }

    fn mark(epoch: u64, sequence: u64) -> Mark {
        Mark { epoch, sequence }
    }

    #[test]
    fn an_origin_holds_what_went_on_since_the_file_was_written() {
        let mut trail = Trail::new([1; 16], mark(5, 0));
        let set = |key, position| Change::Set(key, entry("/l/a", position));
        assert_eq!(trail.step(&[set(1, 10), set(2, 20)], |_, _| true), mark(5, 1));
        assert_eq!(trail.step(&[set(2, 21)], |_, _| true), mark(5, 2));
        // Another life's file says nothing of this one's steps.
        let origin = trail.origin(mark(4, 9)).unwrap();
        assert_eq!(origin.order(), (5, 2));
        let want = [(1, entry("/l/a", 10)), (2, entry("/l/a", 21))];
        assert_eq!(files(&origin.position).unwrap(), want);
        // The first step was written down.
        let origin = trail.origin(mark(5, 1)).unwrap();
        assert_eq!(files(&origin.position).unwrap(), [(2, entry("/l/a", 21))]);
        // What is no news is left out, unless it was news before.
        trail.step(&[set(1, 10), set(2, 22)], |_, _| false);
        let origin = trail.origin(mark(5, 1)).unwrap();
        assert_eq!(files(&origin.position).unwrap(), [(2, entry("/l/a", 22))]);
        trail.step(&[Change::Forget(2)], |_, _| true);
        assert_eq!(files(&trail.origin(mark(5, 1)).unwrap().position).unwrap(), []);
    }

    #[test]
    fn too_many_files_have_no_origin_until_the_file_is_written() {
        let mut trail = Trail::new([1; 16], mark(1, 0));
        let path = "/l/".to_owned() + &"a".repeat(200);
        let changes: Vec<_> = (0..200).map(|key| Change::Set(key, entry(&path, 1))).collect();
        trail.step(&changes, |_, _| true);
        assert!(trail.origin(mark(0, 0)).is_none());
        trail.step(&[Change::Set(3, entry(&path, 2))], |_, _| true);
        let origin = trail.origin(mark(1, 1)).unwrap();
        assert_eq!(files(&origin.position).unwrap(), [(3, entry(&path, 2))]);
    }

    #[test]
    fn what_is_cut_or_altered_is_refused_or_another_value() {
        let mut out = BytesMut::new();
        out.put_u8(VERSION);
        put(&mut out, 3, &entry("/l/a", 4));
        let whole = out.freeze();
        assert_eq!(files(&whole).unwrap(), [(3, entry("/l/a", 4))]);
        for end in (0..whole.len()).filter(|end| *end != 1) {
            assert!(files(&whole.slice(..end)).is_none(), "{end}");
        }
        for at in 0..whole.len() {
            let mut bytes = whole.to_vec();
            bytes[at] ^= 0x80;
            // It must not panic, and not be taken for the same.
            assert_ne!(files(&bytes.into()), files(&whole), "{at}");
        }
    }
}
