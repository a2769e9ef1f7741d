//! What frames say, as bytes: puts, takes and cursors; and how a caller's record becomes a body.

use std::ops::Range;

use crc32c::{crc32c, crc32c_append};

use crate::frame::{MOST_BODY, TAG_BYTES};
use crate::pack::{Compression, deflate};
use crate::ranges::Taken;

/// Most bytes of a source's own position within an origin.
pub const MOST_POSITION: usize = 32 * 1024;
/// Most events in one record.
pub const MOST_EVENTS: usize = 1 << 24;

/// A batch of events that knows its own bytes at rest.
///
/// The log asks once for the bytes, keeps the record while it is in memory, and hands the record
/// itself to takers; what is read back from disk is handed out as bytes.
pub trait Record: Send + Sync + 'static {
    /// How many events it has; at least 1.
    fn events(&self) -> usize;
    /// Bytes at rest of one event, as [`Record::encode`] gives them.
    fn event_bytes(&self, event: usize) -> usize;
    /// Gives the bytes of all events to `parts`, in order.
    fn encode(&self, parts: &mut Parts);
    /// The bytes that [`Parts::keep`] was told to fetch as `part`.
    fn part(&self, part: usize) -> &[u8];
}

/// The bytes of a record: small ones gathered into one buffer, large ones left where they are.
#[derive(Debug, Default)]
pub struct Parts {
    gathered: Vec<u8>,
    pieces: Vec<Piece>,
    kept_bytes: usize,
}

#[derive(Clone, Debug)]
enum Piece {
    Gathered(Range<usize>),
    Kept(usize),
}

/// Below this many bytes a copy is cheaper than a part of its own in the vectored write.
pub const COPY_BELOW: usize = 2048;

impl Parts {
    /// Copies `bytes`.
    pub fn copy(&mut self, bytes: &[u8]) {
        let start = self.gathered.len();
        self.gathered.extend_from_slice(bytes);
        let end = self.gathered.len();
        match self.pieces.last_mut() {
            Some(Piece::Gathered(range)) => range.end = end,
            _ => self.pieces.push(Piece::Gathered(start..end)),
        }
    }

    /// Leaves `bytes` where they are, to be fetched with [`Record::part`] as `part`; small ones are
    /// copied after all.
    pub fn keep(&mut self, part: usize, bytes: &[u8]) {
        if bytes.len() < COPY_BELOW {
            return self.copy(bytes);
        }
        self.pieces.push(Piece::Kept(part));
        self.kept_bytes += bytes.len();
    }
}

/// A record as the body of a put frame: the length of each event, then the events.
#[derive(Debug)]
pub struct Body {
    parts: Parts,
    /// The body compressed, with the flag that says how.
    packed: Option<(u8, Vec<u8>)>,
    /// Bytes of the body, inflated.
    pub bytes: usize,
    /// CRC-32C of the body as it is stored, computed once, here.
    pub crc: u32,
    /// How many events there are.
    pub events: usize,
}

impl Body {
    /// Encodes a record. `None` when it is empty, too large, or contradicts itself.
    pub fn of(record: &impl Record, compression: Compression) -> Option<Body> {
        let events = record.events();
        if events == 0 || events > MOST_EVENTS {
            return None;
        }
        let lengths: usize = (0..events).map(|event| record.event_bytes(event)).sum();
        let bytes = lengths.checked_add(events * 4)?;
        if bytes > MOST_BODY as usize - TAG_BYTES {
            return None;
        }
        let mut parts = Parts::default();
        parts.gathered.reserve(bytes.min(events * 4 + events * COPY_BELOW));
        let mut table = Vec::with_capacity(events * 4);
        for event in 0..events {
            table.extend_from_slice(&u32::try_from(record.event_bytes(event)).ok()?.to_le_bytes());
        }
        parts.copy(&table);
        record.encode(&mut parts);
        if parts.gathered.len() + parts.kept_bytes != bytes {
            return None;
        }
        let mut body = Body { parts, packed: None, bytes, crc: 0, events };
        if compression != Compression::None {
            let whole: Vec<_> = body.slices(record).collect();
            body.packed = deflate(&whole.concat(), compression);
            if body.packed.is_some() {
                body.parts = Parts::default();
            }
        }
        body.crc = body.slices(record).fold(0, crc32c_append);
        Some(body)
    }

    /// The bytes to be stored, in order.
    pub fn slices<'a>(&'a self, record: &'a impl Record) -> impl Iterator<Item = &'a [u8]> {
        let packed = self.packed.iter().map(|(_, bytes)| &bytes[..]);
        packed.chain(self.parts.pieces.iter().map(move |piece| match piece {
            Piece::Gathered(range) => &self.parts.gathered[range.clone()],
            Piece::Kept(part) => record.part(*part),
        }))
    }

    /// Bytes to be stored.
    pub fn stored_bytes(&self) -> usize {
        self.packed.as_ref().map_or(self.bytes, |(_, bytes)| bytes.len())
    }

    /// How it is compressed, as the flag of a frame.
    pub fn flags(&self) -> u8 {
        self.packed.as_ref().map_or(0, |(flag, _)| *flag)
    }
}

/// Finds the events in a body: `events + 1` offsets into it. `None` if the lengths do not add up.
pub fn event_offsets(body: &[u8], events: u32) -> Option<Vec<u32>> {
    let table = usize::try_from(events).ok()?.checked_mul(4)?;
    let mut at = u32::try_from(table).ok()?;
    let lengths = body.get(..table)?;
    let mut offsets = Vec::with_capacity(events as usize + 1);
    offsets.push(at);
    for length in lengths.as_chunks::<4>().0 {
        at = at.checked_add(u32::from_le_bytes(*length))?;
        offsets.push(at);
    }
    (at as usize == body.len()).then_some(offsets)
}

/// What a cursor takes on disk for a queue besides its ranges, for a range, for a sender besides its
/// position, for a segment besides its queues, for a queue of a segment, for a void.
pub(crate) const QUEUE_CURSOR_BYTES: usize = 22;
pub(crate) const RANGE_BYTES: usize = 16;
pub(crate) const SENDER_BYTES: usize = 42;
const SEGMENT_BYTES: usize = 58;
const HELD_BYTES: usize = 26;
pub(crate) const VOID_BYTES: usize = 18;

/// Who sent a batch and which of theirs it was, so that the same one is not stored twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The sender's identity.
    pub sender: [u8; 16],
    /// Which life of the sender.
    pub epoch: u64,
    /// The sender's count within the epoch.
    pub sequence: u64,
    /// Where the sender stood in its own input, opaque here; at most [`MOST_POSITION`] bytes.
    pub position: Vec<u8>,
}

/// The meta part of a put frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutMeta {
    /// How many events.
    pub events: u32,
    /// Each queue it goes to, with the number that queue gave to the first event.
    pub queues: Vec<(u16, u64)>,
    /// Where it came from.
    pub origin: Option<Origin>,
    /// Bytes of the body once inflated, if it is compressed.
    pub inflated: Option<u32>,
    /// What leaves a queue in the same frame, in exchange for it.
    pub take: Option<TakeMeta>,
}

/// Flags of the meta part of a put: what follows them, in this order.
const HAS_ORIGIN: u8 = 1;
const HAS_INFLATED: u8 = 2;
const HAS_TAKE: u8 = 4;

/// The meta part of a take frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakeMeta {
    /// The queue.
    pub queue: u16,
    /// The numbers of the events.
    pub ranges: Vec<Range<u64>>,
}

/// One queue in a cursor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueCursor {
    /// The number the next event gets.
    pub next: u64,
    /// Which are gone.
    pub taken: Taken,
}

/// What is known of a sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastOf {
    /// Its last batch.
    pub origin: Origin,
    /// Milliseconds since 1970 when it was put.
    pub seen: u64,
}

/// One segment in a cursor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SegmentEntry {
    /// Its number.
    pub number: u64,
    /// The LSN of its first frame.
    pub first_lsn: u64,
    /// The LSN of its last frame that counts.
    pub last_lsn: u64,
    /// Where its last frame that counts ends.
    pub end: u64,
    /// Events put in it.
    pub events: u64,
    /// Times of its first and last put; 0 when there is none.
    pub times: (u64, u64),
    /// What it holds for each queue.
    pub queues: Vec<SegmentQueue>,
}

/// What a segment holds for one queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentQueue {
    /// The queue.
    pub queue: u16,
    /// From the lowest number put to beyond the highest.
    pub numbers: Range<u64>,
    /// Bytes of the events, for levels only.
    pub bytes: u64,
}

/// All that earlier frames of a directory add up to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CursorMeta {
    /// Each queue by its number.
    pub queues: Vec<(u16, QueueCursor)>,
    /// Each sender.
    pub origins: Vec<LastOf>,
    /// Per directory of the log, in order, the watermark it had.
    pub watermarks: Vec<u64>,
    /// The earlier segments of this directory that are still there.
    pub segments: Vec<SegmentEntry>,
    /// What directories that failed may still hold and must not count.
    pub voids: Vec<Void>,
}

/// Frames of a directory that failed: they were answered with 'failed', and may be on its disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Void {
    /// The directory's place in the log's list.
    pub directory: u16,
    /// The last segment that it may hold them in.
    pub segment: u64,
    /// Those above this LSN are void.
    pub above: u64,
}

impl PutMeta {
    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(24 + self.queues.len() * 10);
        out.extend_from_slice(&self.events.to_le_bytes());
        put_len16(&mut out, self.queues.len());
        for (queue, first) in &self.queues {
            out.extend_from_slice(&queue.to_le_bytes());
            out.extend_from_slice(&first.to_le_bytes());
        }
        let flags = [
            (self.origin.is_some(), HAS_ORIGIN),
            (self.inflated.is_some(), HAS_INFLATED),
            (self.take.is_some(), HAS_TAKE),
        ];
        out.push(flags.iter().filter(|(has, _)| *has).fold(0, |sum, (_, flag)| sum | flag));
        if let Some(origin) = &self.origin {
            origin.encode(&mut out);
        }
        if let Some(inflated) = self.inflated {
            out.extend_from_slice(&inflated.to_le_bytes());
        }
        if let Some(take) = &self.take {
            out.extend_from_slice(&take.encode());
        }
        out
    }

    /// From bytes.
    pub fn decode(bytes: &[u8]) -> Option<PutMeta> {
        let mut input = Input(bytes);
        let events = input.u32()?;
        let queues = input.list16(|input| Some((input.u16()?, input.u64()?)))?;
        let flags = input.u8()?;
        let has = |flag| flags & flag > 0;
        let origin = if has(HAS_ORIGIN) { Some(Origin::decode(&mut input)?) } else { None };
        let inflated = if has(HAS_INFLATED) { Some(input.u32()?) } else { None };
        let take = if has(HAS_TAKE) { Some(TakeMeta::read(&mut input)?) } else { None };
        let fits = queues.iter().all(|(_, first)| first.checked_add(u64::from(events)).is_some());
        let known = flags & !(HAS_ORIGIN | HAS_INFLATED | HAS_TAKE) == 0;
        (events > 0 && known && fits && input.0.is_empty()).then_some(PutMeta {
            events,
            queues,
            origin,
            inflated,
            take,
        })
    }
}

impl Origin {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.sender);
        out.extend_from_slice(&self.epoch.to_le_bytes());
        out.extend_from_slice(&self.sequence.to_le_bytes());
        let position = &self.position[..self.position.len().min(MOST_POSITION)];
        put_len16(out, position.len());
        out.extend_from_slice(position);
    }

    fn decode(input: &mut Input<'_>) -> Option<Origin> {
        Some(Origin {
            sender: *input.take(16)?.first_chunk()?,
            epoch: input.u64()?,
            sequence: input.u64()?,
            position: {
                let length = input.u16()?;
                input.take(usize::from(length))?.to_vec()
            },
        })
    }

    /// What a cursor takes for it.
    pub(crate) fn cursor_bytes(&self) -> u64 {
        (SENDER_BYTES + self.position.len()) as u64
    }

    /// What orders a sender's batches.
    pub fn order(&self) -> (u64, u64) {
        (self.epoch, self.sequence)
    }
}

impl SegmentEntry {
    /// What a cursor takes for it.
    pub(crate) fn cursor_bytes(&self) -> u64 {
        (SEGMENT_BYTES + HELD_BYTES * self.queues.len()) as u64
    }
}

impl TakeMeta {
    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(6 + self.ranges.len() * 16);
        out.extend_from_slice(&self.queue.to_le_bytes());
        put_ranges(&mut out, self.ranges.len(), self.ranges.iter().cloned());
        out
    }

    /// From bytes.
    pub fn decode(bytes: &[u8]) -> Option<TakeMeta> {
        let mut input = Input(bytes);
        let meta = TakeMeta::read(&mut input)?;
        input.0.is_empty().then_some(meta)
    }

    fn read(input: &mut Input<'_>) -> Option<TakeMeta> {
        Some(TakeMeta { queue: input.u16()?, ranges: input.ranges()? })
    }
}

impl CursorMeta {
    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_len16(&mut out, self.queues.len());
        for (queue, cursor) in &self.queues {
            out.extend_from_slice(&queue.to_le_bytes());
            for number in [cursor.next, cursor.taken.low()] {
                out.extend_from_slice(&number.to_le_bytes());
            }
            put_ranges(&mut out, cursor.taken.above().len(), cursor.taken.above().iter());
        }
        put_len32(&mut out, self.origins.len());
        for last in &self.origins {
            out.extend_from_slice(&last.seen.to_le_bytes());
            last.origin.encode(&mut out);
        }
        put_len16(&mut out, self.watermarks.len());
        for watermark in &self.watermarks {
            out.extend_from_slice(&watermark.to_le_bytes());
        }
        put_len32(&mut out, self.segments.len());
        for entry in &self.segments {
            let SegmentEntry { number, first_lsn, last_lsn, end, events, times, queues } = entry;
            for number in [number, first_lsn, last_lsn, end, events, &times.0, &times.1] {
                out.extend_from_slice(&number.to_le_bytes());
            }
            put_len16(&mut out, queues.len());
            for held in queues {
                out.extend_from_slice(&held.queue.to_le_bytes());
                for number in [held.numbers.start, held.numbers.end, held.bytes] {
                    out.extend_from_slice(&number.to_le_bytes());
                }
            }
        }
        if !self.voids.is_empty() {
            put_len16(&mut out, self.voids.len());
        }
        for void in &self.voids {
            out.extend_from_slice(&void.directory.to_le_bytes());
            for number in [void.segment, void.above] {
                out.extend_from_slice(&number.to_le_bytes());
            }
        }
        out
    }

    /// From bytes.
    pub fn decode(bytes: &[u8]) -> Option<CursorMeta> {
        let mut input = Input(bytes);
        let queues = input.list16(|input| {
            let queue = input.u16()?;
            let (next, low) = (input.u64()?, input.u64()?);
            let taken = Taken::new(low, input.ranges()?);
            Some((queue, QueueCursor { next, taken }))
        })?;
        let origins = input.list32(34, |input| {
            let seen = input.u64()?;
            Some(LastOf { seen, origin: Origin::decode(input)? })
        })?;
        let watermarks = input.list16(Input::u64)?;
        let segments = input.list32(58, |input| {
            Some(SegmentEntry {
                number: input.u64()?,
                first_lsn: input.u64()?,
                last_lsn: input.u64()?,
                end: input.u64()?,
                events: input.u64()?,
                times: (input.u64()?, input.u64()?),
                queues: input.list16(|input| {
                    let queue = input.u16()?;
                    let numbers = input.u64()?..input.u64()?;
                    Some(SegmentQueue { queue, numbers, bytes: input.u64()? })
                })?,
            })
        })?;
        let voids = match input.0.is_empty() {
            true => Vec::new(),
            false => input.list16(|input| {
                let directory = input.u16()?;
                Some(Void { directory, segment: input.u64()?, above: input.u64()? })
            })?,
        };
        input.0.is_empty().then_some(CursorMeta { queues, origins, watermarks, segments, voids })
    }
}

/// Lists here have at most as many entries as their counts can say; callers keep to that.
pub(crate) fn put_len16(out: &mut Vec<u8>, length: usize) {
    let length =
        u16::try_from(length).expect("lists with short counts are limited where they grow");
    out.extend_from_slice(&length.to_le_bytes());
}

fn put_len32(out: &mut Vec<u8>, length: usize) {
    let length = u32::try_from(length).expect("a list that fits into memory many times over");
    out.extend_from_slice(&length.to_le_bytes());
}

fn put_ranges(out: &mut Vec<u8>, count: usize, ranges: impl Iterator<Item = Range<u64>>) {
    put_len32(out, count);
    for range in ranges {
        out.extend_from_slice(&range.start.to_le_bytes());
        out.extend_from_slice(&(range.end - range.start).to_le_bytes());
    }
}

/// Bytes being read; every step checks that they are there.
pub(crate) struct Input<'a>(pub(crate) &'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(length)?;
        self.0 = tail;
        Some(head)
    }

    fn u8(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes(*self.take(2)?.first_chunk()?))
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(*self.take(4)?.first_chunk()?))
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(*self.take(8)?.first_chunk()?))
    }

    fn ranges(&mut self) -> Option<Vec<Range<u64>>> {
        self.list32(16, |input| {
            let start = input.u64()?;
            Some(start..start.checked_add(input.u64()?)?)
        })
    }

    pub(crate) fn list16<T>(&mut self, entry: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = usize::from(self.u16()?);
        (0..count).map(|_| entry(self)).collect()
    }

    /// Refuses a count that the bytes left cannot hold at `least` bytes an entry.
    fn list32<T>(
        &mut self,
        least: usize,
        entry: impl Fn(&mut Self) -> Option<T>,
    ) -> Option<Vec<T>> {
        let count = usize::try_from(self.u32()?).ok()?;
        if count.checked_mul(least)? > self.0.len() {
            return None;
        }
        (0..count).map(|_| entry(self)).collect()
    }
}

/// CRC-32C of a meta part.
pub(crate) fn checksum(bytes: &[u8]) -> u32 {
    crc32c(bytes)
}

#[cfg(test)]
mod tests;
