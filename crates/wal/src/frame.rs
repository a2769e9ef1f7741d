//! A frame: the unit of writing, checked, never spread over segments. One frame is one transaction.

use crc32c::{crc32c, crc32c_append};

/// Bytes of a frame's header.
pub const HEADER_BYTES: usize = 64;
/// Frames start at multiples of this.
pub const ALIGN: u64 = 8;
/// Most bytes of a frame's meta part.
pub const MOST_META: u32 = 64 << 20;
/// Most bytes of a frame's body.
pub const MOST_BODY: u32 = 1 << 30;
/// Bytes that sealing adds to a part.
pub const TAG_BYTES: usize = 16;

/// Flag: the body is one lz4 block.
pub const LZ4: u8 = 1;
/// Flag: the body is one zstd frame.
pub const ZSTD: u8 = 2;
/// Flag: both parts are encrypted.
pub const SEALED: u8 = 4;

/// What a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Events are in these queues.
    Put,
    /// Events have left a queue.
    Take,
    /// All that earlier frames add up to.
    Cursor,
}

/// Mixes a segment's salt into the checksum of each frame header in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(u32);

impl Seed {
    /// The seed of a segment with this salt.
    pub fn of(salt: &[u8; 32]) -> Seed {
        Seed(crc32c(salt))
    }
}

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the frame says.
    pub kind: Kind,
    /// [`LZ4`] or [`ZSTD`], and [`SEALED`].
    pub flags: u8,
    /// Bytes of the meta part.
    pub meta_bytes: u32,
    /// CRC-32C of the meta part.
    pub meta_crc: u32,
    /// Bytes of the body as stored.
    pub body_bytes: u32,
    /// CRC-32C of the body as stored.
    pub body_crc: u32,
    /// The segment it was written to.
    pub segment: u64,
    /// Where in the segment.
    pub offset: u64,
    /// Its number in the directory, from 1 without gaps.
    pub lsn: u64,
    /// The highest number that a successful sync had covered when this frame was built.
    pub watermark: u64,
    /// Milliseconds since 1970; orders nothing.
    pub time: u64,
}

/// Why bytes are not a frame. A reason for a person; the reader only needs to know that they are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAFrame {
    /// The bytes end too early.
    Short,
    /// The header's checksum, segment or offset is not right.
    Header,
    /// A kind, flag or reserved field this version does not know, under a good checksum.
    Unknown {
        /// Kind found.
        kind: u8,
        /// Flags found.
        flags: u8,
    },
    /// A length beyond the limits.
    Length,
    /// The meta part does not match its checksum.
    Meta,
    /// The body does not match its checksum.
    Body,
}

impl Header {
    /// The header as it is written.
    pub fn encode(&self, seed: Seed) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        out[4..8].copy_from_slice(&self.meta_bytes.to_le_bytes());
        out[8..12].copy_from_slice(&self.meta_crc.to_le_bytes());
        out[12..16].copy_from_slice(&self.body_bytes.to_le_bytes());
        out[16..20].copy_from_slice(&self.body_crc.to_le_bytes());
        out[20] = match self.kind {
            Kind::Put => 1,
            Kind::Take => 2,
            Kind::Cursor => 3,
        };
        out[21] = self.flags;
        out[24..32].copy_from_slice(&self.segment.to_le_bytes());
        out[32..40].copy_from_slice(&self.offset.to_le_bytes());
        out[40..48].copy_from_slice(&self.lsn.to_le_bytes());
        out[48..56].copy_from_slice(&self.watermark.to_le_bytes());
        out[56..64].copy_from_slice(&self.time.to_le_bytes());
        let crc = crc32c_append(seed.0, &out[4..]);
        out[..4].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads the header at `offset` of `segment`. Nothing in it is believed before its checksum is.
    pub fn decode(
        bytes: &[u8],
        seed: Seed,
        segment: u64,
        offset: u64,
    ) -> Result<Header, NotAFrame> {
        let bytes: &[u8; HEADER_BYTES] = bytes.first_chunk().ok_or(NotAFrame::Short)?;
        let (segment_found, offset_found) = (u64_at(bytes, 24), u64_at(bytes, 32));
        // The cheap tests come first: looking for the next frame behind a bad one tries every place.
        if segment_found != segment
            || offset_found != offset
            || crc32c_append(seed.0, &bytes[4..]) != u32_at(bytes, 0)
        {
            return Err(NotAFrame::Header);
        }
        let kind = match bytes[20] {
            1 => Kind::Put,
            2 => Kind::Take,
            3 => Kind::Cursor,
            kind => return Err(NotAFrame::Unknown { kind, flags: bytes[21] }),
        };
        let flags = bytes[21];
        if flags & !(LZ4 | ZSTD | SEALED) != 0
            || flags & (LZ4 | ZSTD) == LZ4 | ZSTD
            || bytes[22..24] != [0, 0]
        {
            return Err(NotAFrame::Unknown { kind: bytes[20], flags });
        }
        let header = Header {
            kind,
            flags,
            meta_bytes: u32_at(bytes, 4),
            meta_crc: u32_at(bytes, 8),
            body_bytes: u32_at(bytes, 12),
            body_crc: u32_at(bytes, 16),
            segment,
            offset,
            lsn: u64_at(bytes, 40),
            watermark: u64_at(bytes, 48),
            time: u64_at(bytes, 56),
        };
        if header.meta_bytes > MOST_META
            || header.body_bytes > MOST_BODY
            || header.lsn == 0
            || header.watermark >= header.lsn
        {
            return Err(NotAFrame::Length);
        }
        Ok(header)
    }

    /// What is authenticated along with each sealed part: all of the header but the checksums.
    pub fn associated(&self) -> [u8; HEADER_BYTES] {
        let mut known = Header { meta_crc: 0, body_crc: 0, ..*self }.encode(Seed(0));
        known[..4].fill(0);
        known
    }

    /// Bytes of the whole frame with its padding.
    pub fn frame_bytes(&self) -> u64 {
        frame_bytes(self.meta_bytes as usize, self.body_bytes as usize)
    }

    /// Where the next frame starts.
    pub fn end(&self) -> u64 {
        self.offset + self.frame_bytes()
    }

    /// Whether these are the bytes of its meta part.
    pub fn meta_fits(&self, meta: &[u8]) -> bool {
        meta.len() == self.meta_bytes as usize && crc32c(meta) == self.meta_crc
    }

    /// Whether these are the bytes of its body.
    pub fn body_fits(&self, body: &[u8]) -> bool {
        body.len() == self.body_bytes as usize && crc32c(body) == self.body_crc
    }
}

/// Bytes of a frame with parts of these lengths, with its padding.
pub fn frame_bytes(meta: usize, body: usize) -> u64 {
    (HEADER_BYTES as u64 + meta as u64 + body as u64).next_multiple_of(ALIGN)
}

/// The most bytes that a frame with parts of these lengths takes, sealed or not.
pub fn most_frame_bytes(meta: usize, body: usize) -> u64 {
    frame_bytes(meta + TAG_BYTES, body + TAG_BYTES)
}

fn u32_at(bytes: &[u8; HEADER_BYTES], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// What a header, good or not, says of its place: segment, offset, LSN.
pub(crate) fn place_of(head: &[u8]) -> (u64, u64, u64) {
    match head.first_chunk::<HEADER_BYTES>() {
        Some(head) => (u64_at(head, 24), u64_at(head, 32), u64_at(head, 40)),
        None => (0, 0, 0),
    }
}

fn u64_at(bytes: &[u8; HEADER_BYTES], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Header = Header {
        kind: Kind::Put,
        flags: 0,
        meta_bytes: 18,
        meta_crc: 7,
        body_bytes: 1 << 20,
        body_crc: 9,
        segment: 3,
        offset: 8192,
        lsn: 12,
        watermark: 10,
        time: 1_700_000_000_000,
    };

    #[test]
    fn a_header_comes_back_from_its_own_place_and_nowhere_else() {
        let seed = Seed::of(&[1; 32]);
        for kind in [Kind::Put, Kind::Take, Kind::Cursor] {
            let header = Header { kind, ..HEADER };
            let bytes = header.encode(seed);
            assert_eq!(Header::decode(&bytes, seed, 3, 8192), Ok(header));
            assert_eq!(Header::decode(&bytes, seed, 4, 8192), Err(NotAFrame::Header));
            assert_eq!(Header::decode(&bytes, seed, 3, 8200), Err(NotAFrame::Header));
            assert_eq!(Header::decode(&bytes, Seed::of(&[2; 32]), 3, 8192), Err(NotAFrame::Header));
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_refused() {
        let seed = Seed::of(&[1; 32]);
        let good = HEADER.encode(seed);
        for bit in 0..HEADER_BYTES * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Header::decode(&bad, seed, 3, 8192).is_err(), "bit {bit}");
        }
        for length in 0..HEADER_BYTES {
            assert_eq!(Header::decode(&good[..length], seed, 3, 8192), Err(NotAFrame::Short));
        }
        for fill in [0u8, 0x80, 0xff] {
            assert!(Header::decode(&[fill; HEADER_BYTES], seed, 3, 8192).is_err());
        }
    }

    #[test]
    fn good_checksums_do_not_excuse_senseless_fields() {
        let seed = Seed::of(&[1; 32]);
        let check = |header: Header| {
            assert_eq!(
                Header::decode(&header.encode(seed), seed, 3, 8192),
                Err(NotAFrame::Length),
                "{header:?}"
            );
        };
        check(Header { meta_bytes: MOST_META + 1, ..HEADER });
        check(Header { body_bytes: MOST_BODY + 1, ..HEADER });
        check(Header { lsn: 0, watermark: 0, ..HEADER });
        check(Header { watermark: 12, ..HEADER });
    }
}
