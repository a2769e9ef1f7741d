//! The compact protocol.
//!
//! ```text
//! message  82h, version 1 + kind << 5, sequence, name
//! field    kind + step << 4 where the field's number is at most 15 more than the last one,
//!          else kind, number (zigzag); 0 ends a struct
//! list     kind + count << 4 up to 14, else kind + F0h, count
//! map      count, and unless that is 0 value's kind + key's kind << 4
//! bytes    length, bytes
//! ```
//!
//! Numbers are seven bits a byte, the lowest first; where they may be negative they are zigzag.

use bytes::Bytes;
use splashdam_core::Malformed;

use super::{Cursor, Decode, Encode, Field, Kind, Message, MessageKind, Out};

/// The first byte of a message.
pub(super) const ID: u8 = 0x82;
const VERSION: u8 = 1;
const VERSION_BITS: u8 = 0x1f;
const LOW: u8 = 0x0f;
/// A list this long has its count in numbers of its own.
const LONG_LIST: usize = 15;

/// Reads the compact protocol.
pub(super) struct Compact(pub(super) Cursor);

/// Codes of kinds, of fields as of what lists and maps hold.
fn code(kind: Kind) -> u8 {
    match kind {
        Kind::Flag | Kind::Bool => 1,
        Kind::Byte => 3,
        Kind::I16 => 4,
        Kind::I32 => 5,
        Kind::I64 => 6,
        Kind::Double => 7,
        Kind::Bytes => 8,
        Kind::List => 9,
        Kind::Set => 10,
        Kind::Map => 11,
        Kind::Struct => 12,
    }
}

impl Compact {
    fn kind(&self, code: u8, truth: Kind) -> Result<Kind, Malformed> {
        Ok(match code & LOW {
            1 | 2 => truth,
            3 => Kind::Byte,
            4 => Kind::I16,
            5 => Kind::I32,
            6 => Kind::I64,
            7 => Kind::Double,
            8 => Kind::Bytes,
            9 => Kind::List,
            10 => Kind::Set,
            11 => Kind::Map,
            12 => Kind::Struct,
            _ => return Err(self.0.malformed("a kind of value that the compact protocol lacks")),
        })
    }

    fn unsigned(&mut self, bits: u32) -> Result<u64, Malformed> {
        let (start, mut value) = (self.0.at, 0u64);
        for shift in (0..bits).step_by(7) {
            let byte = self.0.byte()?;
            let low = u64::from(byte & 0x7f);
            if low << shift >> shift != low {
                break;
            }
            value |= low << shift;
            if byte & 0x80 == 0 {
                if bits < u64::BITS && value >> bits != 0 {
                    break;
                }
                return Ok(value);
            }
        }
        Err(Malformed { at: start, what: "a number of too many bits" })
    }

    fn zigzag(&mut self, bits: u32) -> Result<i64, Malformed> {
        let value = self.unsigned(bits)?;
        Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    /// How many bytes or values of at least `each` bytes come next. Java reads 32 bits with a sign.
    fn count(&mut self, each: usize) -> Result<usize, Malformed> {
        let count = self.unsigned(32)?;
        let count = i64::from(u32::try_from(count).unwrap_or(u32::MAX).cast_signed());
        self.0.counted(count, each)
    }
}

impl Decode for Compact {
    fn cursor(&mut self) -> &mut Cursor {
        &mut self.0
    }

    fn message(&mut self) -> Result<Message, Malformed> {
        if self.0.byte()? != ID {
            return Err(Malformed { at: 0, what: "not the compact protocol" });
        }
        let head = self.0.byte()?;
        if head & VERSION_BITS != VERSION {
            return Err(Malformed { at: 1, what: "an unknown version of the compact protocol" });
        }
        let sequence = u32::try_from(self.unsigned(32)?).unwrap_or_default().cast_signed();
        Ok(Message { name: self.bytes()?, kind: MessageKind::of(head >> 5), sequence })
    }

    fn field(&mut self, last: &mut i16) -> Result<Option<Field>, Malformed> {
        let head = self.0.byte()?;
        if head & LOW == 0 {
            return Ok(None);
        }
        let kind = self.kind(head, Kind::Flag)?;
        let id = match head >> 4 {
            0 => i16::try_from(self.zigzag(32)?).ok(),
            step => last.checked_add(i16::from(step)),
        };
        let id = id.ok_or_else(|| self.0.malformed("a field's number of more than 16 bits"))?;
        *last = id;
        Ok(Some(Field { id, kind }))
    }

    fn list(&mut self) -> Result<(Kind, usize), Malformed> {
        let head = self.0.byte()?;
        let kind = self.kind(head, Kind::Bool)?;
        let count = match usize::from(head >> 4) {
            LONG_LIST => self.count(1)?,
            count => self.0.counted(i64::from(head >> 4), 1).map(|_| count)?,
        };
        Ok((kind, count))
    }

    fn map(&mut self) -> Result<(Option<(Kind, Kind)>, usize), Malformed> {
        let count = self.count(2)?;
        if count == 0 {
            return Ok((None, 0));
        }
        let kinds = self.0.byte()?;
        let of = (self.kind(kinds >> 4, Kind::Bool)?, self.kind(kinds, Kind::Bool)?);
        Ok((Some(of), count))
    }

    fn number(&mut self) -> Result<i32, Malformed> {
        // 32 bits with zigzag are 32 bits without.
        Ok(i32::try_from(self.zigzag(32)?).unwrap_or_default())
    }

    fn bytes(&mut self) -> Result<Bytes, Malformed> {
        let length = self.count(1)?;
        self.0.slice(length)
    }

    fn skip_number(&mut self, kind: Kind) -> Result<(), Malformed> {
        self.unsigned(if kind == Kind::I64 { 64 } else { 32 }).map(drop)
    }
}

/// Writes the compact protocol.
pub(super) struct Write;

fn put_unsigned(out: &mut impl Out, mut rest: u64) {
    while rest >= 0x80 {
        out.put(&[(rest & 0x7f | 0x80) as u8]);
        rest >>= 7;
    }
    out.put(&[rest as u8]);
}

fn put_zigzag(out: &mut impl Out, value: i32) {
    put_unsigned(out, u64::from(((value << 1) ^ (value >> 31)).cast_unsigned()));
}

impl Encode for Write {
    fn message(out: &mut impl Out, kind: MessageKind, name: &[u8], sequence: i32) {
        out.put(&[ID, VERSION | (kind as u8) << 5]);
        put_unsigned(out, u64::from(sequence.cast_unsigned()));
        Self::bytes(out, name);
    }

    fn field(out: &mut impl Out, last: i16, id: i16, kind: Kind) {
        match u8::try_from(id - last) {
            Ok(step @ 1..=15) => out.put(&[step << 4 | code(kind)]),
            _ => {
                out.put(&[code(kind)]);
                put_zigzag(out, id.into());
            }
        }
    }

    fn list(out: &mut impl Out, of: Kind, count: usize) {
        if count < LONG_LIST {
            out.put(&[(count as u8) << 4 | code(of)]);
        } else {
            out.put(&[0xf0 | code(of)]);
            put_unsigned(out, count as u64);
        }
    }

    fn texts(out: &mut impl Out, count: usize) {
        put_unsigned(out, count as u64);
        if count > 0 {
            out.put(&[code(Kind::Bytes) << 4 | code(Kind::Bytes)]);
        }
    }

    fn number(out: &mut impl Out, value: i32) {
        put_zigzag(out, value);
    }

    fn length(out: &mut impl Out, bytes: usize) {
        put_unsigned(out, bytes as u64);
    }
}
