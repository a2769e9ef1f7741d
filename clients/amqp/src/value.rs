//! Values as they lie on the wire (AMQP 1.0, part 1): one byte says the type, and how long what follows is.
//!
//! ```text
//! 0x00        described: a value that names what the next one means, then that one
//! 0x4_ … 0x9_ 0, 1, 2, 4, 8 and 16 bytes
//! 0xa_  0xb_  u8 n │ n bytes            u32 n │ n bytes
//! 0xc_  0xd_  u8 n │ n bytes            u32 n │ n bytes, of which the first 1 or 4 are a count: list, map
//! 0xe_  0xf_  the same, and a constructor for all elements: array
//! ```
//!
//! Lists, maps and arrays are left as they are until somebody walks through them, so that reading a value takes
//! neither memory nor stack for what is in it.

use bytes::{Buf, Bytes};

/// Values that describe values that describe values: nobody nests them, so a few are enough.
const DESCRIBED_LEVELS: usize = 4;

/// A value; text, bytes and what holds other values are slices of the input.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing.
    Null,
    /// True or false.
    Boolean(bool),
    /// An unsigned number of 8, 16, 32 or 64 bits.
    Unsigned(u64),
    /// A number of 8, 16, 32 or 64 bits.
    Signed(i64),
    /// 32 bits of IEEE 754.
    Float(f32),
    /// 64 bits of IEEE 754.
    Double(f64),
    /// A decimal number of IEEE 754, as it lies on the wire.
    Decimal(Bytes),
    /// A character.
    Char(char),
    /// Milliseconds since 1970 UTC.
    Timestamp(i64),
    /// A UUID.
    Uuid(u128),
    /// Bytes.
    Binary(Bytes),
    /// Text, known to be UTF-8.
    Text(Bytes),
    /// A name, known to be UTF-8; ASCII by the book.
    Symbol(Bytes),
    /// A list.
    List(Elements),
    /// A map: its elements are keys and values by turns.
    Map(Elements),
    /// An array of equal types, of which only symbols are read.
    Array(Bytes),
    /// A value that another one gives a meaning.
    Described(Box<(Descriptor, Value)>),
}

/// What a described value means.
#[derive(Clone, Debug, PartialEq)]
pub enum Descriptor {
    /// By number.
    Code(u64),
    /// By name, or by something that no book allows.
    Other,
}

/// What a list or a map holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Elements {
    count: usize,
    bytes: Bytes,
}

/// The bytes are no value. What was expected, and how many bytes were left of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}, {left} bytes before the end")]
pub struct Malformed {
    /// What is wrong.
    pub what: &'static str,
    /// Bytes left of what was being read.
    pub left: usize,
}

impl Malformed {
    pub(crate) fn new(what: &'static str, rest: &Bytes) -> Self {
        Malformed { what, left: rest.len() }
    }
}

/// Takes the next value off `input`.
///
/// # Errors
/// [`Malformed`] when there is none.
pub(crate) fn read(input: &mut Bytes) -> Result<Value, Malformed> {
    read_within(input, DESCRIBED_LEVELS)
}

fn read_within(input: &mut Bytes, levels: usize) -> Result<Value, Malformed> {
    let code = byte(input)?;
    if code != 0 {
        return plain(code, input);
    }
    if levels == 0 {
        return Err(Malformed::new("described values in described values", input));
    }
    let descriptor = match read_within(input, levels - 1)? {
        Value::Unsigned(code) => Descriptor::Code(code),
        _ => Descriptor::Other,
    };
    Ok(Value::Described(Box::new((descriptor, read_within(input, levels - 1)?))))
}

/// The value behind a constructor that describes nothing.
fn plain(code: u8, input: &mut Bytes) -> Result<Value, Malformed> {
    let mut bytes = content(code, input)?;
    let utf8 = |bytes: Bytes| match std::str::from_utf8(&bytes) {
        Ok(_) => Ok(bytes),
        Err(_) => Err(Malformed::new("text that is no UTF-8", &bytes)),
    };
    // Each arm reads exactly what the first half of the code says there is.
    Ok(match code {
        0x40 => Value::Null,
        0x41 => Value::Boolean(true),
        0x42 => Value::Boolean(false),
        0x43 | 0x44 => Value::Unsigned(0),
        0x45 => Value::List(Elements { count: 0, bytes }),
        0x50 | 0x52 | 0x53 => Value::Unsigned(bytes.get_u8().into()),
        0x51 | 0x54 | 0x55 => Value::Signed(bytes.get_i8().into()),
        0x56 => Value::Boolean(bytes.get_u8() != 0),
        0x60 => Value::Unsigned(bytes.get_u16().into()),
        0x61 => Value::Signed(bytes.get_i16().into()),
        0x70 => Value::Unsigned(bytes.get_u32().into()),
        0x71 => Value::Signed(bytes.get_i32().into()),
        0x72 => Value::Float(bytes.get_f32()),
        0x73 => Value::Char(char::from_u32(bytes.get_u32()).unwrap_or(char::REPLACEMENT_CHARACTER)),
        0x74 | 0x84 | 0x94 => Value::Decimal(bytes),
        0x80 => Value::Unsigned(bytes.get_u64()),
        0x81 => Value::Signed(bytes.get_i64()),
        0x82 => Value::Double(bytes.get_f64()),
        0x83 => Value::Timestamp(bytes.get_i64()),
        0x98 => Value::Uuid(bytes.get_u128()),
        0xa0 | 0xb0 => Value::Binary(bytes),
        0xa1 | 0xb1 => Value::Text(utf8(bytes)?),
        0xa3 | 0xb3 => Value::Symbol(utf8(bytes)?),
        0xc0 => Value::List(Elements::new(length8(&mut bytes)?, bytes)),
        0xd0 => Value::List(Elements::new(length32(&mut bytes)?, bytes)),
        0xc1 => Value::Map(Elements::new(length8(&mut bytes)?, bytes)),
        0xd1 => Value::Map(Elements::new(length32(&mut bytes)?, bytes)),
        0xe0 | 0xf0 => Value::Array(array(code, bytes)?),
        _ => return Err(Malformed::new("a type that there is not", input)),
    })
}

/// The bytes behind a constructor, whose length its first half tells.
fn content(code: u8, input: &mut Bytes) -> Result<Bytes, Malformed> {
    let length = match code >> 4 {
        0x4 => 0,
        0x5 => 1,
        0x6 => 2,
        0x7 => 4,
        0x8 => 8,
        0x9 => 16,
        0xa | 0xc | 0xe => length8(input)?,
        0xb | 0xd | 0xf => length32(input)?,
        _ => return Err(Malformed::new("a type that there is not", input)),
    };
    if length > input.len() {
        return Err(Malformed::new("a value that ends after its input", input));
    }
    Ok(input.split_to(length))
}

/// An array without its count: the constructor of its elements and these. Which length they have is theirs to know.
fn array(code: u8, mut bytes: Bytes) -> Result<Bytes, Malformed> {
    if code == 0xe0 {
        length8(&mut bytes)?
    } else {
        length32(&mut bytes)?
    };
    Ok(bytes)
}

fn byte(input: &mut Bytes) -> Result<u8, Malformed> {
    if input.is_empty() {
        return Err(Malformed::new("an end where a value begins", input));
    }
    Ok(input.get_u8())
}

fn length8(input: &mut Bytes) -> Result<usize, Malformed> {
    byte(input).map(usize::from)
}

fn length32(input: &mut Bytes) -> Result<usize, Malformed> {
    if input.len() < 4 {
        return Err(Malformed::new("an end within a length", input));
    }
    Ok(usize::try_from(input.get_u32()).unwrap_or(usize::MAX))
}

impl Elements {
    fn new(count: usize, bytes: Bytes) -> Self {
        Elements { count, bytes }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The next element; `None` after the last one that was announced.
    ///
    /// # Errors
    /// [`Malformed`] when fewer are there than were announced, or one is no value.
    pub fn next_value(&mut self) -> Result<Option<Value>, Malformed> {
        let Some(left) = self.count.checked_sub(1) else { return Ok(None) };
        self.count = left;
        read(&mut self.bytes).map(Some)
    }

    /// The next field of a composite: those left out at the end are null.
    pub(crate) fn field(&mut self) -> Result<Value, Malformed> {
        Ok(self.next_value()?.unwrap_or(Value::Null))
    }

    /// Passes over fields that nobody here needs.
    pub(crate) fn pass(&mut self, fields: usize) -> Result<(), Malformed> {
        for _ in 0..fields {
            self.next_value()?;
        }
        Ok(())
    }
}

impl Value {
    /// The number, if it is one that has no sign and fits.
    pub(crate) fn unsigned(&self) -> Option<u32> {
        if let Value::Unsigned(n) = self { u32::try_from(*n).ok() } else { None }
    }

    /// Text or a symbol.
    pub fn text(&self) -> Option<&str> {
        match self {
            Value::Text(bytes) | Value::Symbol(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    pub(crate) fn is_true(&self) -> bool {
        *self == Value::Boolean(true)
    }

    /// A symbol, or an array of them.
    pub(crate) fn symbols(&self) -> Result<Vec<String>, Malformed> {
        let mut names = Vec::new();
        match self {
            Value::Symbol(_) => names.extend(self.text().map(ToOwned::to_owned)),
            Value::Array(bytes) => {
                let mut bytes = bytes.clone();
                let code = if bytes.is_empty() { 0 } else { bytes.get_u8() };
                while matches!(code, 0xa3 | 0xb3) && !bytes.is_empty() {
                    names.extend(plain(code, &mut bytes)?.text().map(ToOwned::to_owned));
                }
            }
            _ => {}
        }
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &'static str) -> Value {
        Value::Text(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn values_are_read_and_leave_what_follows() {
        let check = |bytes: &'static [u8], want: Value| {
            let mut input = Bytes::from([bytes, b"rest"].concat());
            assert_eq!(read(&mut input), Ok(want), "{bytes:x?}");
            assert_eq!(input, "rest");
        };
        check(b"\x40", Value::Null);
        check(b"\x41", Value::Boolean(true));
        check(b"\x56\x00", Value::Boolean(false));
        check(b"\x44", Value::Unsigned(0));
        check(b"\x50\xff", Value::Unsigned(255));
        check(b"\x54\xff", Value::Signed(-1));
        check(b"\x60\x01\x00", Value::Unsigned(256));
        check(b"\x61\xff\xfe", Value::Signed(-2));
        check(b"\x70\x80\x00\x00\x00", Value::Unsigned(1 << 31));
        check(b"\x72\x3f\x80\x00\x00", Value::Float(1.0));
        check(b"\x73\x00\x00\x00\x41", Value::Char('A'));
        check(b"\x73\xff\xff\xff\xff", Value::Char('\u{fffd}'));
        check(b"\x81\xff\xff\xff\xff\xff\xff\xff\xff", Value::Signed(-1));
        check(b"\x83\x00\x00\x00\x00\x00\x00\x00\x07", Value::Timestamp(7));
        check(b"\xa0\x02\xff\x00", Value::Binary(Bytes::from_static(b"\xff\x00")));
        check(b"\xa1\x02hi", text("hi"));
        check(b"\xb3\0\0\0\x02hi", Value::Symbol(Bytes::from_static(b"hi")));
        check(b"\0\x53\x24\x45", {
            let list = Value::List(Elements::new(0, Bytes::new()));
            Value::Described(Box::new((Descriptor::Code(0x24), list)))
        });
        check(b"\0\xa3\x01x\x40", Value::Described(Box::new((Descriptor::Other, Value::Null))));
    }

    #[test]
    fn what_is_no_value_is_refused() {
        let check = |bytes: &'static [u8], what: &str| {
            let error = read(&mut Bytes::from_static(bytes)).expect_err("it is no value");
            assert!(error.to_string().contains(what), "{bytes:x?}: {error}");
        };
        check(b"", "an end where a value begins");
        check(b"\x70\x00", "ends after its input");
        check(b"\xa1", "an end where");
        check(b"\xb1\xff\xff\xff\xff", "ends after its input");
        check(b"\xb1\xff\xff", "an end within a length");
        check(b"\xa1\x01\xff", "no UTF-8");
        check(b"\x4f", "a type that there is not");
        check(b"\x10", "a type that there is not");
        check(b"\0\0\0\0\0\0\0\0\0\0\0\0", "described values in described values");
        check(b"\xc0\0", "an end where");
    }

    #[test]
    fn lists_are_walked_as_far_as_they_reach() {
        let walk = |bytes: &'static [u8]| {
            let Ok(Value::List(mut elements)) = read(&mut Bytes::from_static(bytes)) else {
                panic!("{bytes:x?} is no list");
            };
            let mut found = Vec::new();
            while let Some(value) = elements.next_value()? {
                found.push(value);
            }
            Ok::<_, Malformed>(found)
        };
        assert_eq!(walk(b"\x45"), Ok(vec![]));
        assert_eq!(
            walk(b"\xc0\x04\x02\xa1\x01a"),
            Err(Malformed { what: "an end where a value begins", left: 0 })
        );
        assert_eq!(walk(b"\xc0\x05\x02\xa1\x01a\x40"), Ok(vec![text("a"), Value::Null]));
        assert_eq!(walk(b"\xd0\0\0\0\x05\0\0\0\x01\x41"), Ok(vec![Value::Boolean(true)]));
        // A count without elements takes no memory.
        assert!(walk(b"\xd0\0\0\0\x04\xff\xff\xff\xff").is_err());
        let symbols =
            |bytes: &'static [u8]| read(&mut Bytes::from_static(bytes)).unwrap().symbols();
        assert_eq!(
            symbols(b"\xe0\x08\x02\xa3\x01A\x03BCD"),
            Ok(vec!["A".to_owned(), "BCD".to_owned()])
        );
        assert_eq!(symbols(b"\xa3\x05PLAIN"), Ok(vec!["PLAIN".to_owned()]));
        assert_eq!(symbols(b"\x40"), Ok(vec![]));
        assert!(symbols(b"\xe0\x03\x02\xa3\x09").is_err());
    }
}
