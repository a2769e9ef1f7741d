//! As much of Protocol Buffers as Flume's files use: fields out of a slice, bounded by it, and fields into a vector.

use super::error::Malformed;

const CUT: Malformed = Malformed("a message is cut short");

/// The value of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Varint(u64),
    Fixed64(i64),
    Bytes(&'a [u8]),
    Fixed32(i32),
}

impl<'a> Value<'a> {
    pub(super) fn long(self) -> Result<i64, Malformed> {
        match self {
            Value::Fixed64(value) => Ok(value),
            _ => Err(Malformed("a field is not a long")),
        }
    }

    pub(super) fn int(self) -> Result<i32, Malformed> {
        match self {
            Value::Fixed32(value) => Ok(value),
            _ => Err(Malformed("a field is not an int")),
        }
    }

    pub(super) fn bytes(self) -> Result<&'a [u8], Malformed> {
        match self {
            Value::Bytes(value) => Ok(value),
            _ => Err(Malformed("a field is not bytes")),
        }
    }
}

/// The fields of a message, numbers and values, in the order in which they lie.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = field(&mut self.0);
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

fn field<'a>(rest: &mut &'a [u8]) -> Result<(u64, Value<'a>), Malformed> {
    let tag = varint(rest)?;
    let value = match tag & 7 {
        0 => Value::Varint(varint(rest)?),
        1 => Value::Fixed64(i64::from_le_bytes(fixed(rest)?)),
        2 => Value::Bytes(delimited(rest)?),
        5 => Value::Fixed32(i32::from_le_bytes(fixed(rest)?)),
        _ => return Err(Malformed("a field has no known type")),
    };
    if tag >> 3 == 0 { Err(Malformed("a field has number 0")) } else { Ok((tag >> 3, value)) }
}

/// A message behind its length.
pub(super) fn delimited<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], Malformed> {
    let length = usize::try_from(varint(rest)?).map_err(|_| CUT)?;
    let (message, behind) = rest.split_at_checked(length).ok_or(CUT)?;
    *rest = behind;
    Ok(message)
}

fn varint(rest: &mut &[u8]) -> Result<u64, Malformed> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, behind) = rest.split_first().ok_or(CUT)?;
        *rest = behind;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(Malformed("a number is too long"))
}

fn fixed<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Malformed> {
    let (&bytes, behind) = rest.split_first_chunk::<N>().ok_or(CUT)?;
    *rest = behind;
    Ok(bytes)
}

pub(super) fn put_varint(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        // The mask leaves seven bits.
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// How many bytes [`put_varint`] appends.
pub(super) fn varint_bytes(value: usize) -> usize {
    let bits = usize::BITS - (value | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

pub(super) fn put_int(out: &mut Vec<u8>, field: u8, value: i32) {
    out.push(field << 3 | 5);
    out.extend(value.to_le_bytes());
}

pub(super) fn put_long(out: &mut Vec<u8>, field: u8, value: i64) {
    out.push(field << 3 | 1);
    out.extend(value.to_le_bytes());
}

pub(super) fn put_bytes(out: &mut Vec<u8>, field: u8, value: &[u8]) {
    out.push(field << 3 | 2);
    put_varint(out, value.len());
    out.extend(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_any_length() {
        for value in [0, 1, 127, 128, 300, 1 << 14, usize::MAX >> 1, usize::MAX] {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            assert_eq!(bytes.len(), varint_bytes(value));
            assert_eq!(varint(&mut &bytes[..]).map(|got| got as usize), Ok(value));
            assert_eq!(varint(&mut &bytes[..bytes.len() - 1]), Err(CUT));
        }
        assert!(varint(&mut &[0xff; 11][..]).is_err());
    }

    #[test]
    fn refuses_what_is_no_message() {
        for bytes in [&[0x0a, 5, 1][..], &[0x0b], &[0x0d, 1, 2, 3], &[0x02, 0], &[0x09], &[0x80]] {
            assert!(Fields(bytes).any(|field| field.is_err()), "{bytes:x?}");
            assert!(Fields(bytes).count() <= bytes.len());
        }
    }
}
