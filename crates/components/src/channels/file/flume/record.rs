//! One record of a log, in either of its two layouts.
//!
//! Version 3: op, length, and a payload that may be encrypted.
//!
//! ```text
//! 7F | i32 length | header: type, transaction, write order | body | footer
//! 00 | i32 length | …         struck out by Flume's integrity tool
//! 80                          from here to the end of the file nothing was written
//! ```
//!
//! Version 2, of Flume 1.2, has no length: `7F | DEADBEEF | i16 type | i64 transaction | i64 write order | body`.

use bytes::Bytes;
use splashdam_core::{Event, Headers, Text};

use super::cipher::Cipher;
use super::error::Malformed;
use super::protobuf::{Fields, delimited};

pub(super) const RECORD: u8 = 0x7f;
pub(super) const STRUCK_OUT: u8 = 0;
pub(super) const END: u8 = 0x80;
/// Op and length.
pub(super) const FRAME_BYTES: usize = 5;
/// Of a payload, what tells all but an event: 24 bytes of header and 11 of a take.
const HEAD_BYTES: usize = 96;
const MAGIC: [u8; 4] = 0xDEAD_BEEF_u32.to_be_bytes();
/// What comes before the body of a record of version 2.
const V2_HEAD_BYTES: usize = 23;
/// Hadoop's mark of a byte array among the values of a map.
const BYTE_ARRAY: u8 = 0x8c;

pub(super) const NOTHING: &str = "nothing was written from here on";
const NO_OP: &str = "there is no record";
const CUT: &str = "the record is cut short";
const NOT_AN_EVENT: &str = "the record is not an event";

/// Where an event lies: the number of its log, and the offset of its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Pointer(pub(super) u64);

impl Pointer {
    pub(super) fn new(file: u32, offset: u32) -> Pointer {
        Pointer(u64::from(file) << 32 | u64::from(offset))
    }

    pub(super) fn file(self) -> u32 {
        // The upper half.
        (self.0 >> 32) as u32
    }

    pub(super) fn offset(self) -> u64 {
        self.0 & 0xffff_ffff
    }
}

/// What happened. The order is that in which Flume replays records of one write-order id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Take(Pointer),
    Put,
    Rollback,
    CommitOfPuts,
    CommitOfTakes,
}

/// A record without the event in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) order: i64,
    pub(super) transaction: i64,
    pub(super) kind: Kind,
}

/// Why there is no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// So many bytes are needed, more than were given; the file has them.
    Short(usize),
    Bad(&'static str),
}

impl From<Malformed> for Unreadable {
    fn from(malformed: Malformed) -> Unreadable {
        Unreadable::Bad(malformed.0)
    }
}

/// How the records of a log are laid out.
#[derive(Debug)]
pub(super) enum Layout {
    V2,
    V3(Option<Cipher>),
}

impl Layout {
    /// The record at the beginning of `bytes`, `None` for one that was struck out, and its length. `remaining` is how
    /// many bytes the file has from there on.
    pub(super) fn record(
        &self,
        bytes: &[u8],
        remaining: u64,
    ) -> Result<(Option<Record>, u64), Unreadable> {
        match self {
            Layout::V2 => {
                let mut input = Input { bytes, position: 0, remaining };
                let record = v2_head(&mut input)?;
                if record.kind == Kind::Put {
                    v2_put(&mut input, None)?;
                }
                Ok((Some(record), input.position as u64))
            }
            Layout::V3(cipher) => {
                let length = v3_length(bytes, remaining)?;
                let whole = (FRAME_BYTES + length) as u64;
                if bytes[0] == STRUCK_OUT {
                    return Ok((None, whole));
                }
                let known = length.min(HEAD_BYTES);
                let head = bytes
                    .get(FRAME_BYTES..FRAME_BYTES + known)
                    .ok_or(Unreadable::Short(FRAME_BYTES + known))?;
                let mut clear = [0; HEAD_BYTES];
                let head = match cipher {
                    None => head,
                    Some(cipher) => {
                        let clear = &mut clear[..known];
                        clear.copy_from_slice(head);
                        cipher.apply(clear);
                        clear
                    }
                };
                Ok((Some(v3_record(head)?), whole))
            }
        }
    }

    /// The event in the record at the beginning of `bytes` and the write-order id of its put; `None` when it was
    /// struck out.
    pub(super) fn event(
        &self,
        bytes: &[u8],
        remaining: u64,
    ) -> Result<Option<(i64, Event)>, Unreadable> {
        match self {
            Layout::V2 => {
                let mut input = Input { bytes, position: 0, remaining };
                let record = v2_head(&mut input)?;
                if record.kind != Kind::Put {
                    return Err(Unreadable::Bad(NOT_AN_EVENT));
                }
                let mut event = Event::default();
                v2_put(&mut input, Some(&mut event))?;
                Ok(Some((record.order, event)))
            }
            Layout::V3(cipher) => {
                let length = v3_length(bytes, remaining)?;
                if bytes[0] == STRUCK_OUT {
                    return Ok(None);
                }
                let whole = FRAME_BYTES + length;
                let payload = bytes.get(FRAME_BYTES..whole).ok_or(Unreadable::Short(whole))?;
                let mut payload = payload.to_vec();
                if let Some(cipher) = cipher {
                    cipher.apply(&mut payload);
                }
                Ok(Some(v3_event(&Bytes::from(payload))?))
            }
        }
    }
}

fn v3_length(bytes: &[u8], remaining: u64) -> Result<usize, Unreadable> {
    match bytes.first() {
        Some(&(RECORD | STRUCK_OUT)) => {}
        Some(&END) => return Err(Unreadable::Bad(NOTHING)),
        _ => return Err(Unreadable::Bad(NO_OP)),
    }
    if remaining < FRAME_BYTES as u64 {
        return Err(Unreadable::Bad(CUT));
    }
    let frame = bytes.first_chunk::<FRAME_BYTES>().ok_or(Unreadable::Short(FRAME_BYTES))?;
    let length = i32::from_be_bytes([frame[1], frame[2], frame[3], frame[4]]);
    // Zeros are a hole that the file system left; to Flume they are records struck out.
    let length = usize::try_from(length)
        .ok()
        .filter(|&length| length > 0)
        .ok_or(Unreadable::Bad("the length of the record makes no sense"))?;
    if length as u64 > remaining - FRAME_BYTES as u64 {
        return Err(Unreadable::Bad("the record is longer than the file"));
    }
    Ok(length)
}

fn v3_head(payload: &mut &[u8]) -> Result<(i32, i64, i64), Malformed> {
    let (mut kind, mut transaction, mut order) = (None, None, None);
    for field in Fields(delimited(payload)?) {
        let (number, value) = field?;
        match number {
            1 => kind = Some(value.int()?),
            2 => transaction = Some(value.long()?),
            3 => order = Some(value.long()?),
            _ => {}
        }
    }
    match (kind, transaction, order) {
        (Some(kind), Some(transaction), Some(order)) => Ok((kind, transaction, order)),
        _ => Err(Malformed("the record has no header")),
    }
}

fn v3_record(mut payload: &[u8]) -> Result<Record, Malformed> {
    let (kind, transaction, order) = v3_head(&mut payload)?;
    // Of a put only the beginning is here.
    if kind == 1 {
        return Ok(Record { order, transaction, kind: Kind::Put });
    }
    let body = delimited(&mut payload)?;
    let kind = match kind {
        2 => v3_take(body)?,
        3 => Kind::Rollback,
        4 => v3_commit(body)?,
        _ => return Err(Malformed("the record is of no known type")),
    };
    // The footer, without which a commit is none.
    delimited(&mut payload)?;
    Ok(Record { order, transaction, kind })
}

fn v3_take(body: &[u8]) -> Result<Kind, Malformed> {
    let (mut file, mut offset) = (None, None);
    for field in Fields(body) {
        let (number, value) = field?;
        match number {
            1 => file = Some(value.int()?),
            2 => offset = Some(value.int()?),
            _ => {}
        }
    }
    take(file.unwrap_or(-1), offset.unwrap_or(-1))
}

fn take(file: i32, offset: i32) -> Result<Kind, Malformed> {
    match (u32::try_from(file), u32::try_from(offset)) {
        (Ok(file), Ok(offset)) => Ok(Kind::Take(Pointer::new(file, offset))),
        _ => Err(Malformed("a take says not of what")),
    }
}

fn v3_commit(body: &[u8]) -> Result<Kind, Malformed> {
    let mut of = None;
    for field in Fields(body) {
        let (number, value) = field?;
        if number == 1 {
            of = Some(value.int()?);
        }
    }
    commit(of.unwrap_or(0))
}

fn commit(of: i32) -> Result<Kind, Malformed> {
    match of {
        1 => Ok(Kind::CommitOfPuts),
        2 => Ok(Kind::CommitOfTakes),
        _ => Err(Malformed("a commit says not of what")),
    }
}

fn v3_event(payload: &Bytes) -> Result<(i64, Event), Malformed> {
    let mut rest = &payload[..];
    let (kind, _, order) = v3_head(&mut rest)?;
    if kind != 1 {
        return Err(Malformed(NOT_AN_EVENT));
    }
    let (mut event, mut checksum) = (None, None);
    for field in Fields(delimited(&mut rest)?) {
        let (number, value) = field?;
        match number {
            1 => event = Some(value.bytes()?),
            2 => checksum = Some(value.long()?),
            _ => {}
        }
    }
    let (mut headers, mut body) = (Headers::default(), None);
    for field in Fields(event.ok_or(Malformed(NOT_AN_EVENT))?) {
        let (number, value) = field?;
        match number {
            1 => {
                let (name, value) = v3_header(value.bytes()?)?;
                headers.insert(text(payload, name), text(payload, value));
            }
            2 => body = Some(value.bytes()?),
            _ => {}
        }
    }
    let body = body.ok_or(Malformed("the event has no body"))?;
    if checksum.is_some_and(|sum| sum != i64::from(crc32fast::hash(body))) {
        return Err(Malformed("the checksum of the body is wrong"));
    }
    Ok((order, Event { headers, body: payload.slice_ref(body) }))
}

/// A value that is missing was `null`, which Flume reads back as empty.
fn v3_header(bytes: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let (mut name, mut text) = (None, &[][..]);
    for field in Fields(bytes) {
        let (number, value) = field?;
        match number {
            1 => name = Some(value.bytes()?),
            2 => text = value.bytes()?,
            _ => {}
        }
    }
    Ok((name.ok_or(Malformed("a header has no name"))?, text))
}

/// A slice of the record; what is not UTF-8 is replaced, as Java does.
fn text(record: &Bytes, bytes: &[u8]) -> Text {
    Text::from_utf8(record.slice_ref(bytes))
        .unwrap_or_else(|_| Text::from(String::from_utf8_lossy(bytes).into_owned()))
}

/// Bytes that may end before the file does.
struct Input<'a> {
    bytes: &'a [u8],
    position: usize,
    remaining: u64,
}

impl<'a> Input<'a> {
    /// Passes over `length` bytes, which need not be there.
    fn skip(&mut self, length: usize) -> Result<(), Unreadable> {
        let end = self.position.saturating_add(length);
        if end as u64 > self.remaining {
            return Err(Unreadable::Bad(CUT));
        }
        self.position = end;
        Ok(())
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Unreadable> {
        let begin = self.position;
        self.skip(length)?;
        self.bytes.get(begin..self.position).ok_or(Unreadable::Short(self.position))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Unreadable> {
        self.take(N)?.try_into().map_err(|_| Unreadable::Bad(CUT))
    }

    fn int(&mut self) -> Result<i32, Unreadable> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    fn long(&mut self) -> Result<i64, Unreadable> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    /// Bytes behind their mark and their length, which is a variable number of Hadoop's.
    fn byte_array(&mut self) -> Result<&'a [u8], Unreadable> {
        let [mark, first] = self.array()?;
        if mark != BYTE_ARRAY {
            return Err(Unreadable::Bad("a header is not made of bytes"));
        }
        let length = match first {
            0..=127 => usize::from(first),
            // -113 to -120: one to eight bytes follow. What lies beyond is negative.
            0x88..=0x8f => {
                let more = self.take(0x90 - usize::from(first))?;
                let number = more.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
                usize::try_from(number).map_err(|_| Unreadable::Bad(CUT))?
            }
            _ => return Err(Unreadable::Bad("the length of a header makes no sense")),
        };
        self.take(length)
    }
}

fn v2_head(input: &mut Input<'_>) -> Result<Record, Unreadable> {
    match input.bytes.first() {
        Some(&RECORD) => {}
        Some(&END) => return Err(Unreadable::Bad(NOTHING)),
        _ => return Err(Unreadable::Bad(NO_OP)),
    }
    if input.remaining < V2_HEAD_BYTES as u64 {
        return Err(Unreadable::Bad(CUT));
    }
    let [_, magic @ .., high, low] = input.array::<7>()?;
    if magic != MAGIC {
        return Err(Unreadable::Bad(NO_OP));
    }
    let (transaction, order) = (input.long()?, input.long()?);
    let kind = match i16::from_be_bytes([high, low]) {
        1 => Kind::Put,
        2 => {
            let (offset, file) = (input.int()?, input.int()?);
            take(file, offset)?
        }
        3 => Kind::Rollback,
        4 => commit(i32::from(i16::from_be_bytes(input.array()?)))?,
        _ => return Err(Unreadable::Bad("the record is of no known type")),
    };
    Ok(Record { order, transaction, kind })
}

/// Reads the rest of a put into `event`; without one, its body is passed over.
fn v2_put(input: &mut Input<'_>, mut event: Option<&mut Event>) -> Result<(), Unreadable> {
    let [classes] = input.array()?;
    for _ in 0..classes {
        let [_, high, low] = input.array()?;
        input.take(usize::from(u16::from_be_bytes([high, low])))?;
    }
    // A count that lies ends with the file.
    for _ in 0..input.int()?.max(0) {
        let (name, value) = (input.byte_array()?, input.byte_array()?);
        if let Some(event) = &mut event {
            let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
            event.headers.insert(text(name), text(value));
        }
    }
    let length = usize::try_from(input.int()?).unwrap_or(0);
    match event {
        None => input.skip(length),
        Some(event) => {
            event.body = Bytes::copy_from_slice(input.take(length)?);
            Ok(())
        }
    }
}
