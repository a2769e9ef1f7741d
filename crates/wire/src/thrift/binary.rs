//! The binary protocol.
//!
//! ```text
//! message  i32 80010000h + kind, name, sequence i32       (strict: what is written)
//!          name, kind i8, sequence i32                    (old: read as well)
//! field    kind i8, number i16; kind 0 ends a struct
//! list     kind i8, count i32
//! map      key's kind i8, value's kind i8, count i32
//! bytes    length i32, bytes
//! ```
//!
//! Numbers are big endian.

use bytes::Bytes;
use splashdam_core::Malformed;

use super::{Cursor, Decode, Encode, Field, Kind, Message, MessageKind, Out};

const VERSION: u32 = 0x8001_0000;
const VERSION_BITS: u32 = 0xffff_0000;

/// Reads the binary protocol.
pub(super) struct Binary(pub(super) Cursor);

fn code(kind: Kind) -> u8 {
    match kind {
        Kind::Flag | Kind::Bool => 2,
        Kind::Byte => 3,
        Kind::Double => 4,
        Kind::I16 => 6,
        Kind::I32 => 8,
        Kind::I64 => 10,
        Kind::Bytes => 11,
        Kind::Struct => 12,
        Kind::Map => 13,
        Kind::Set => 14,
        Kind::List => 15,
    }
}

impl Binary {
    fn kind(&self, code: u8) -> Result<Kind, Malformed> {
        Ok(match code {
            2 => Kind::Bool,
            3 => Kind::Byte,
            4 => Kind::Double,
            6 => Kind::I16,
            8 => Kind::I32,
            10 => Kind::I64,
            11 => Kind::Bytes,
            12 => Kind::Struct,
            13 => Kind::Map,
            14 => Kind::Set,
            15 => Kind::List,
            _ => return Err(self.0.malformed("a kind of value that the binary protocol lacks")),
        })
    }

    /// How many bytes or values of at least `each` bytes come next.
    fn count(&mut self, each: usize) -> Result<usize, Malformed> {
        let count = self.number()?;
        self.0.counted(count.into(), each)
    }
}

impl Decode for Binary {
    fn cursor(&mut self) -> &mut Cursor {
        &mut self.0
    }

    fn message(&mut self) -> Result<Message, Malformed> {
        let head = self.number()?;
        if head >= 0 {
            let length = self.0.counted(head.into(), 1)?;
            let name = self.0.slice(length)?;
            let kind = MessageKind::of(self.0.byte()?);
            return Ok(Message { name, kind, sequence: self.number()? });
        }
        if head.cast_unsigned() & VERSION_BITS != VERSION {
            return Err(Malformed { at: 0, what: "an unknown version of the binary protocol" });
        }
        let kind = MessageKind::of(head.to_be_bytes()[3]);
        Ok(Message { name: self.bytes()?, kind, sequence: self.number()? })
    }

    fn field(&mut self, last: &mut i16) -> Result<Option<Field>, Malformed> {
        let code = self.0.byte()?;
        if code == 0 {
            return Ok(None);
        }
        let kind = self.kind(code)?;
        *last = i16::from_be_bytes(self.0.take()?);
        Ok(Some(Field { id: *last, kind }))
    }

    fn list(&mut self) -> Result<(Kind, usize), Malformed> {
        let code = self.0.byte()?;
        let count = self.count(1)?;
        // Some writers give a list without values no kind.
        let kind = if count == 0 { Kind::Bool } else { self.kind(code)? };
        Ok((kind, count))
    }

    fn map(&mut self) -> Result<(Option<(Kind, Kind)>, usize), Malformed> {
        let (key, value) = (self.0.byte()?, self.0.byte()?);
        match self.count(2)? {
            0 => Ok((None, 0)),
            count => Ok((Some((self.kind(key)?, self.kind(value)?)), count)),
        }
    }

    fn number(&mut self) -> Result<i32, Malformed> {
        self.0.take().map(i32::from_be_bytes)
    }

    fn bytes(&mut self) -> Result<Bytes, Malformed> {
        let length = self.count(1)?;
        self.0.slice(length)
    }

    fn skip_number(&mut self, kind: Kind) -> Result<(), Malformed> {
        match kind {
            Kind::I16 => self.0.take::<2>().map(drop),
            Kind::I64 => self.0.take::<8>().map(drop),
            _ => self.0.take::<4>().map(drop),
        }
    }
}

/// Writes the binary protocol.
pub(super) struct Write;

impl Encode for Write {
    fn message(out: &mut impl Out, kind: MessageKind, name: &[u8], sequence: i32) {
        out.put(&(VERSION | kind as u32).to_be_bytes());
        Self::bytes(out, name);
        Self::number(out, sequence);
    }

    fn field(out: &mut impl Out, _last: i16, id: i16, kind: Kind) {
        out.put(&[code(kind)]);
        out.put(&id.to_be_bytes());
    }

    fn list(out: &mut impl Out, of: Kind, count: usize) {
        out.put(&[code(of)]);
        Self::length(out, count);
    }

    fn texts(out: &mut impl Out, count: usize) {
        out.put(&[code(Kind::Bytes); 2]);
        Self::length(out, count);
    }

    fn number(out: &mut impl Out, value: i32) {
        out.put(&value.to_be_bytes());
    }

    fn length(out: &mut impl Out, bytes: usize) {
        // A frame holds less than 2 GiB, and longer ones are refused when they are counted.
        out.put(&u32::try_from(bytes).unwrap_or(u32::MAX).to_be_bytes());
    }
}
