//! A segment: a file of frames behind a header that is there twice.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::frame::{ALIGN, HEADER_BYTES, Header, Kind, SEALED, Seed};
use crate::record::{checksum, put_len16};
use crate::seal::{Cipher, MOST_ALIAS, Part, Sealed};
use crate::storage::{Shelved, StorageFile, read_full_at};

/// Bytes of one copy of the header; the second follows the first.
pub const COPY_BYTES: usize = 4096;
/// Where frames start.
pub const FIRST_FRAME: u64 = 2 * COPY_BYTES as u64;
/// The version written, and the only one read.
pub const VERSION: u32 = 1;

const MAGIC: &[u8; 8] = b"SPLDSEGM";
/// Where the alias of the key stands, behind its length.
const ALIAS_AT: usize = 122;

/// The name of a segment's file.
pub fn name(number: u64) -> String {
    format!("{number:020}.seg")
}

/// The number of a segment by its file's name.
pub fn number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".seg")?;
    (digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| digits.parse().ok())?
}

/// Flag of a segment: its frames are encrypted.
const ENCRYPTED: u32 = 1;
/// Flag of a segment: puts in it may take, too. Who does not know that must not open it.
const EXCHANGES: u32 = 2;

/// What stands at the head of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The log's identity.
    pub log: [u8; 16],
    /// The directory's identity.
    pub directory: [u8; 16],
    /// The segment's number in its directory.
    pub number: u64,
    /// The LSN of its first frame. Frames of earlier segments from this one on are void.
    pub first_lsn: u64,
    /// Random; mixed into the checksum of each frame header.
    pub salt: [u8; 32],
    /// Milliseconds since 1970 when it was begun, for people.
    pub begun: u64,
    /// The watermark when the header was written.
    pub watermark: u64,
    /// The length that the file was given before the header was written.
    pub length: u64,
    /// Whether puts in it may take, too.
    pub exchanges: bool,
    /// The key of an encrypted segment.
    pub sealed: Option<Sealed>,
}

/// Where a frame header says its segment's number.
const NUMBER_AT: usize = 24;

/// Why a header was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAHeader {
    /// Neither copy passes its checksum.
    Damaged,
    /// A version or flag from another time, under a good checksum.
    Version {
        /// Version found.
        version: u32,
        /// Flags found.
        flags: u32,
    },
}

impl SegmentHeader {
    /// One copy as it is written.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(COPY_BYTES);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        let encrypted = if self.sealed.is_some() { ENCRYPTED } else { 0 };
        let flags = encrypted | if self.exchanges { EXCHANGES } else { 0 };
        out.extend_from_slice(&flags.to_le_bytes());
        out.extend_from_slice(&self.log);
        out.extend_from_slice(&self.directory);
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(&self.first_lsn.to_le_bytes());
        out.extend_from_slice(&self.salt);
        out.extend_from_slice(&self.begun.to_le_bytes());
        out.extend_from_slice(&self.watermark.to_le_bytes());
        out.extend_from_slice(&self.length.to_le_bytes());
        if let Some(Sealed { alias, check }) = &self.sealed {
            put_len16(&mut out, alias.len());
            out.extend_from_slice(alias.as_bytes());
            out.resize(ALIAS_AT + MOST_ALIAS, 0);
            out.extend_from_slice(check);
        }
        out.resize(COPY_BYTES - 4, 0);
        let crc = checksum(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads one copy.
    pub fn decode(bytes: &[u8]) -> Result<SegmentHeader, NotAHeader> {
        let mut input = crate::record::Input(bytes);
        let mut read = || {
            let good = bytes.len() == COPY_BYTES
                && bytes.starts_with(MAGIC)
                && bytes[COPY_BYTES - 4..] == checksum(&bytes[..COPY_BYTES - 4]).to_le_bytes();
            if !good {
                return None;
            }
            input.take(MAGIC.len())?;
            let (version, flags) = (input.u32()?, input.u32()?);
            let mut header = SegmentHeader {
                log: *input.take(16)?.first_chunk()?,
                directory: *input.take(16)?.first_chunk()?,
                number: input.u64()?,
                first_lsn: input.u64()?,
                salt: *input.take(32)?.first_chunk()?,
                begun: input.u64()?,
                watermark: input.u64()?,
                length: input.u64()?,
                exchanges: flags & EXCHANGES > 0,
                sealed: None,
            };
            if version == VERSION && flags & ENCRYPTED > 0 {
                let length = usize::from(input.u16()?);
                let alias = input.take(MOST_ALIAS)?.get(..length)?;
                let alias = String::from_utf8(alias.to_vec()).ok()?;
                header.sealed = Some(Sealed { alias, check: *input.take(16)?.first_chunk()? });
            }
            Some((version, flags, header))
        };
        match read() {
            None => Err(NotAHeader::Damaged),
            Some((VERSION, flags, header)) if flags & !(ENCRYPTED | EXCHANGES) == 0 => Ok(header),
            Some((version, flags, _)) => Err(NotAHeader::Version { version, flags }),
        }
    }

    /// Reads the header of a file from whichever copy is good.
    pub fn read(file: &dyn StorageFile) -> Result<SegmentHeader, NotAHeader> {
        let mut found = Err(NotAHeader::Damaged);
        for copy in [0, COPY_BYTES as u64] {
            let mut bytes = vec![0; COPY_BYTES];
            // A copy that cannot be read is a damaged copy.
            let read = read_full_at(file, &mut bytes, copy).unwrap_or(0);
            match SegmentHeader::decode(&bytes[..read]) {
                Ok(header) => return Ok(header),
                Err(NotAHeader::Damaged) => {}
                Err(other) => found = Err(other),
            }
        }
        found
    }
}

/// An open segment, shared between the thread that writes it and those that read it.
pub struct SegmentFile {
    /// Its number.
    pub number: u64,
    /// What checks its frames.
    pub seed: Seed,
    /// What opens its frames, if it is encrypted.
    pub cipher: Option<Cipher>,
    /// The file.
    pub file: Arc<Shelved>,
    /// Where the frames that count end, once it is closed.
    end: AtomicU64,
}

impl SegmentFile {
    /// A segment whose frames end at `end`; `u64::MAX` while it is written.
    pub fn new(
        header: &SegmentHeader,
        cipher: Option<Cipher>,
        file: Arc<Shelved>,
        end: u64,
    ) -> SegmentFile {
        let (number, seed) = (header.number, Seed::of(&header.salt));
        SegmentFile { number, seed, cipher, file, end: AtomicU64::new(end) }
    }

    /// A part of a frame as it was before it was sealed, if it was sealed here.
    fn opened(&self, header: &Header, part: Part, mut stored: Vec<u8>) -> Option<Vec<u8>> {
        match (&self.cipher, header.flags & SEALED) {
            (None, 0) => Some(stored),
            // An empty body is not sealed.
            (Some(_), SEALED) if stored.is_empty() && matches!(part, Part::Body) => Some(stored),
            (Some(cipher), SEALED) => cipher.open(header, part, &mut stored).map(|()| stored),
            _ => None,
        }
    }

    /// Where its frames end; `u64::MAX` while it is written.
    pub fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    /// Says where its frames end.
    pub fn close(&self, end: u64) {
        self.end.store(end, Ordering::Release);
    }
}

/// What a [`Walk`] comes upon.
#[derive(Debug)]
pub enum Found {
    /// A frame with a good header and meta part. Its body is not looked at.
    Frame(Header, Vec<u8>),
    /// Bytes that are no frame, up to the next one or the end.
    Bad {
        /// Where they start.
        from: u64,
        /// Where they end.
        to: u64,
    },
}

/// Walks over the frames of a segment with large reads, past what is damaged.
pub struct Walk<'a> {
    segment: &'a SegmentFile,
    /// Where the next frame is expected.
    at: u64,
    end: u64,
    chunk: usize,
    buffer: Vec<u8>,
    buffer_at: u64,
    trusting: bool,
}

impl<'a> Walk<'a> {
    /// From `at` to `end`, reading `chunk` bytes at a time.
    pub fn new(segment: &'a SegmentFile, at: u64, end: u64, chunk: usize) -> Walk<'a> {
        Walk { segment, at, end, chunk, buffer: Vec::new(), buffer_at: 0, trusting: false }
    }

    /// Believes bodies without looking: a planted bug.
    #[cfg(feature = "sabotage")]
    pub fn trusting(mut self, trusting: bool) -> Walk<'a> {
        self.trusting = trusting;
        self
    }

    /// Where the next frame is expected.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// Whether the whole of a frame is in what was read last, so that its body costs no read.
    pub fn holds(&mut self, header: &Header) -> bool {
        self.buffered(header.offset, header.frame_bytes()).is_some()
    }

    /// The next frame or what is in its place; `None` at the end.
    pub fn step(&mut self) -> Option<Found> {
        if self.at >= self.end {
            return None;
        }
        if let Some((header, meta)) = self.frame_at(self.at) {
            self.at = header.end();
            return Some(Found::Frame(header, meta));
        }
        let from = self.at;
        self.at = from + ALIGN;
        while let Some(at) = self.plausible(self.at) {
            self.at = at;
            if self.frame_at(at).is_some() {
                return Some(Found::Bad { from, to: at });
            }
            self.at += ALIGN;
        }
        self.at = self.end;
        Some(Found::Bad { from, to: self.end })
    }

    /// The body of a frame as it was before it was sealed, compressed or not, if it matches its checksum.
    pub fn body(&mut self, header: &Header) -> Option<Vec<u8>> {
        let at = header.offset + HEADER_BYTES as u64 + u64::from(header.meta_bytes);
        let body = self.bytes(at, header.body_bytes as usize)?.to_vec();
        let body = (self.trusting || header.body_fits(&body)).then_some(body)?;
        self.segment.opened(header, Part::Body, body)
    }

    fn frame_at(&mut self, at: u64) -> Option<(Header, Vec<u8>)> {
        let (seed, number, end) = (self.segment.seed, self.segment.number, self.end);
        let header = Header::decode(self.bytes(at, HEADER_BYTES)?, seed, number, at).ok()?;
        if header.end() > end {
            return None;
        }
        let meta = self.bytes(at + HEADER_BYTES as u64, header.meta_bytes as usize)?.to_vec();
        let meta = header.meta_fits(&meta).then_some(meta)?;
        Some((header, self.segment.opened(&header, Part::Meta, meta)?))
    }

    /// The first place from `at` on where a header may be: the segment's number stands where it
    /// must. A cheap look before the real one, as it tries every place.
    fn plausible(&mut self, mut at: u64) -> Option<u64> {
        let number = self.segment.number.to_le_bytes();
        let mut known_data = at;
        while at.checked_add(HEADER_BYTES as u64)? <= self.end {
            if self.buffered(at, HEADER_BYTES as u64).is_none() {
                // A hole is not read: there is no number in zeros. It may hide the start of a
                // header whose number is data, so the search goes on that much before the data.
                if at >= known_data {
                    match self.segment.file.next_data(at + NUMBER_AT as u64) {
                        Ok(Some(data)) => {
                            known_data = data.max(at + 1);
                            let data = (data - data % ALIGN).saturating_sub(NUMBER_AT as u64);
                            at = at.max(data.next_multiple_of(ALIGN));
                        }
                        Ok(None) => return None,
                        // Reading shows what is there.
                        Err(_) => known_data = self.end,
                    }
                    if at + HEADER_BYTES as u64 > self.end {
                        return None;
                    }
                }
                self.bytes(at, HEADER_BYTES);
            }
            let start = usize::try_from(at - self.buffer_at).ok()?;
            let Some(words) = self.buffer.get(start + NUMBER_AT..) else {
                // Shorter than it said: nothing more can be read.
                return None;
            };
            let words = words.as_chunks::<{ ALIGN as usize }>().0;
            match words.iter().position(|word| *word == number) {
                Some(index) => return Some(at + (index as u64) * ALIGN),
                None if words.is_empty() => return None,
                None => at += (words.len() as u64) * ALIGN,
            }
        }
        None
    }

    fn buffered(&self, at: u64, length: u64) -> Option<&[u8]> {
        let start = usize::try_from(at.checked_sub(self.buffer_at)?).ok()?;
        self.buffer.get(start..start.checked_add(usize::try_from(length).ok()?)?)
    }

    fn bytes(&mut self, at: u64, length: usize) -> Option<&[u8]> {
        if at.checked_add(length as u64)? > self.end {
            return None;
        }
        if self.buffered(at, length as u64).is_none() {
            let left = usize::try_from(self.end - at).unwrap_or(usize::MAX);
            self.buffer.resize(left.min(self.chunk).max(length), 0);
            self.buffer_at = at;
            let read = read_what_can_be(&*self.segment.file, &mut self.buffer, at);
            self.buffer.truncate(read);
        }
        self.buffered(at, length as u64)
    }
}

/// Reads a range; blocks that cannot be read after two attempts come back as zeros, which no
/// checksum accepts.
fn read_what_can_be(file: &dyn StorageFile, buffer: &mut [u8], at: u64) -> usize {
    let attempt = |buffer: &mut [u8], at: u64| -> io::Result<usize> {
        read_full_at(file, buffer, at).or_else(|_| read_full_at(file, buffer, at))
    };
    if let Ok(read) = attempt(buffer, at) {
        return read;
    }
    let mut end = 0;
    for (index, block) in buffer.chunks_mut(COPY_BYTES).enumerate() {
        let start = index * COPY_BYTES;
        match attempt(block, at + start as u64) {
            Ok(read) if read > 0 => end = start + read,
            Ok(_) => break,
            Err(_) => {
                block.fill(0);
                end = start + block.len();
            }
        }
    }
    end
}

/// Whether a frame is the cursor that a segment opens with.
pub fn opens(header: &Header, segment: &SegmentHeader) -> bool {
    header.kind == Kind::Cursor && header.lsn == segment.first_lsn && header.offset == FIRST_FRAME
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: SegmentHeader = SegmentHeader {
        log: [1; 16],
        directory: [2; 16],
        number: 3,
        first_lsn: 4,
        salt: [5; 32],
        begun: 6,
        watermark: 3,
        length: 64 << 20,
        exchanges: false,
        sealed: None,
    };

    #[test]
    fn names_are_numbers() {
        for wanted in [0, 1, 77, u64::MAX] {
            assert_eq!(number(&name(wanted)), Some(wanted));
        }
        for other in
            ["1.seg", "00000000000000000001.seg.tmp", "splashdam.lock", "+0000000000000000001.seg"]
        {
            assert_eq!(number(other), None, "{other}");
        }
    }

    #[test]
    fn a_header_comes_back_and_an_altered_one_does_not() {
        let sealed = Sealed { alias: "key-1".into(), check: [9; 16] };
        for sealed in [None, Some(sealed)] {
            for exchanges in [false, true] {
                altered(&SegmentHeader { exchanges, sealed: sealed.clone(), ..HEADER });
            }
        }
    }

    fn altered(header: &SegmentHeader) {
        let good = header.encode();
        assert_eq!(good.len(), COPY_BYTES);
        assert_eq!(SegmentHeader::decode(&good).as_ref(), Ok(header));
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            assert_eq!(SegmentHeader::decode(&bad), Err(NotAHeader::Damaged), "byte {at}");
        }
        assert_eq!(SegmentHeader::decode(&good[..100]), Err(NotAHeader::Damaged));
        let known = u32::from(header.sealed.is_some()) | u32::from(header.exchanges) << 1;
        for (at, value, version, flags) in
            [(8, 9, 9, known), (12, good[12] | 4, VERSION, known | 4)]
        {
            let mut later = good.clone();
            later[at] = value;
            let crc = checksum(&later[..COPY_BYTES - 4]);
            later[COPY_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
            let refused = Err(NotAHeader::Version { version, flags });
            assert_eq!(SegmentHeader::decode(&later), refused);
        }
    }
}
