//! The charsets that Flume's JSON handler takes, as Java reads and writes them.

use bytes::{BufMut, Bytes, BytesMut};
use splashdam_core::Text;

/// A charset of a request, which its bodies are given in, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Charset {
    /// The default.
    #[default]
    Utf8,
    /// Read in the byte order of its mark, else big-endian; written big-endian with a mark.
    Utf16,
    /// As UTF-16, but written without a mark.
    Utf32,
}

impl Charset {
    /// The charset of that name, in any case: as Flume compares it, and as Jetty spells it out
    /// before that. Java's other names for them are none of Flume's.
    pub fn named(name: &str) -> Option<Charset> {
        const NAMES: [(&str, Charset); 5] = [
            ("utf-8", Charset::Utf8),
            ("utf8", Charset::Utf8),
            ("utf-16", Charset::Utf16),
            ("utf16", Charset::Utf16),
            ("utf-32", Charset::Utf32),
        ];
        let known = NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        known.map(|(_, charset)| *charset)
    }

    /// What came in this charset, as UTF-8. U+FFFD stands for what is malformed, as in Java.
    pub fn decode(self, bytes: Bytes) -> Bytes {
        match self {
            Charset::Utf8 => match std::str::from_utf8(&bytes) {
                Ok(_) => bytes,
                Err(_) => String::from_utf8_lossy(&bytes).into_owned().into(),
            },
            Charset::Utf16 => decode_16(&bytes).into(),
            Charset::Utf32 => decode_32(&bytes).into(),
        }
    }

    /// The bytes of a body, as `String.getBytes` makes them: no mark where there is no text.
    pub(super) fn encode(self, text: Text) -> Bytes {
        let mut out = BytesMut::new();
        match self {
            Charset::Utf8 => return text.as_bytes().clone(),
            Charset::Utf16 if text.is_empty() => {}
            Charset::Utf16 => {
                out.put_u16(0xfeff);
                text.encode_utf16().for_each(|unit| out.put_u16(unit));
            }
            Charset::Utf32 => text.chars().for_each(|char| out.put_u32(char.into())),
        }
        out.freeze()
    }

    /// What Java writes for half a character in this charset.
    pub(super) fn replacement(self) -> char {
        if self == Charset::Utf8 { '?' } else { char::REPLACEMENT_CHARACTER }
    }
}

fn decode_16(bytes: &[u8]) -> String {
    let (rest, little) = match bytes {
        [0xff, 0xfe, rest @ ..] => (rest, true),
        [0xfe, 0xff, rest @ ..] => (rest, false),
        rest => (rest, false),
    };
    let unit = |pair: &[u8; 2]| match little {
        true => u16::from_le_bytes(*pair),
        false => u16::from_be_bytes(*pair),
    };
    let (pairs, odd) = rest.as_chunks();
    let chars = char::decode_utf16(pairs.iter().map(unit));
    let chars = chars.map(|char| char.unwrap_or(char::REPLACEMENT_CHARACTER));
    chars.chain((!odd.is_empty()).then_some(char::REPLACEMENT_CHARACTER)).collect()
}

fn decode_32(bytes: &[u8]) -> String {
    let (rest, little) = match bytes {
        [0xff, 0xfe, 0, 0, rest @ ..] => (rest, true),
        [0, 0, 0xfe, 0xff, rest @ ..] => (rest, false),
        rest => (rest, false),
    };
    let point = |four: &[u8; 4]| match little {
        true => u32::from_le_bytes(*four),
        false => u32::from_be_bytes(*four),
    };
    let (fours, odd) = rest.as_chunks();
    let chars = fours.iter().map(point);
    let chars = chars.map(|point| char::from_u32(point).unwrap_or(char::REPLACEMENT_CHARACTER));
    chars.chain((!odd.is_empty()).then_some(char::REPLACEMENT_CHARACTER)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_decoded_as_in_java() {
        let check = |charset: Charset, bytes: &[u8], want: &str| {
            assert_eq!(charset.decode(Bytes::copy_from_slice(bytes)), want, "{bytes:x?}");
        };
        check(Charset::Utf8, "grün".as_bytes(), "grün");
        check(Charset::Utf8, b"a\xffb\xe2\x82", "a\u{fffd}b\u{fffd}");
        check(Charset::Utf16, b"\0a\0b", "ab");
        check(Charset::Utf16, b"\xff\xfea\0\x3d\xd8\x00\xde", "a\u{1f600}");
        check(Charset::Utf16, b"\xfe\xff\0a\xd8\x3d\0b\0", "a\u{fffd}b\u{fffd}");
        check(Charset::Utf32, b"\0\0\0a\0\x01\xf6\0", "a\u{1f600}");
        check(Charset::Utf32, b"\xff\xfe\0\0a\0\0\0\xff\xff\xff\xff\0", "a\u{fffd}\u{fffd}");
    }

    #[test]
    fn bodies_are_encoded_as_in_java() {
        let check = |charset: Charset, text: &str, want: &[u8]| {
            assert_eq!(charset.encode(text.into()), want, "{text}");
        };
        check(Charset::Utf8, "ü", b"\xc3\xbc");
        check(Charset::Utf16, "ü", b"\xfe\xff\0\xfc");
        check(Charset::Utf16, "", b"");
        check(Charset::Utf32, "ü", b"\0\0\0\xfc");
        check(Charset::Utf32, "", b"");
    }

    #[test]
    fn names_are_those_that_flume_compares_with() {
        assert_eq!(Charset::named("UTF-16"), Some(Charset::Utf16));
        assert_eq!(Charset::named("Utf8"), Some(Charset::Utf8));
        assert_eq!(Charset::named("utf32"), None);
        assert_eq!(Charset::named("ISO-8859-1"), None);
    }
}
