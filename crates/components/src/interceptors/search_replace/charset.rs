//! Charsets by Java's names, both ways.

use std::borrow::Cow;

use encoding_rs::Encoding;
use serde::de::{Deserialize, Deserializer, Error as _};

/// A charset that can be read and written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Charset {
    /// UTF-8, the default.
    #[default]
    Utf8,
    /// US-ASCII: other bytes are U+FFFD.
    Ascii,
    /// ISO-8859-1: every byte is the character of its number.
    Latin1,
    /// UTF-16; without a byte order mark the first byte is the high one.
    Utf16(Order),
    /// One of the older ones.
    Other(&'static Encoding),
}

/// Order of the bytes of UTF-16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Told by a mark, which is written, too.
    Marked,
    /// High byte first.
    Big,
    /// Low byte first.
    Little,
}

impl Charset {
    /// The charset that Java knows by this name, in any case.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "utf-8" | "utf8" => Charset::Utf8,
            "us-ascii" | "ascii" | "iso646-us" => Charset::Ascii,
            "iso-8859-1" | "iso8859_1" | "iso8859-1" | "latin1" | "l1" => Charset::Latin1,
            "utf-16" | "utf16" => Charset::Utf16(Order::Marked),
            "utf-16be" => Charset::Utf16(Order::Big),
            "utf-16le" => Charset::Utf16(Order::Little),
            other => {
                let other = other.strip_prefix("cp125").map(|n| format!("windows-125{n}"));
                let label = other.as_deref().unwrap_or(name);
                let encoding = Encoding::for_label_no_replacement(label.as_bytes())?;
                // The rest of its labels mean what the web makes of them, not what Java does.
                if encoding.output_encoding() != encoding || encoding == encoding_rs::UTF_8 {
                    return None;
                }
                Charset::Other(encoding)
            }
        })
    }

    pub(super) fn is_utf8(self) -> bool {
        self == Charset::Utf8
    }

    /// Bytes into text; what is not valid becomes U+FFFD.
    pub(super) fn decode(self, bytes: &[u8]) -> Cow<'_, str> {
        match self {
            Charset::Utf8 => String::from_utf8_lossy(bytes),
            Charset::Ascii => bytes
                .iter()
                .map(|b| if b.is_ascii() { char::from(*b) } else { char::REPLACEMENT_CHARACTER })
                .collect(),
            Charset::Latin1 => bytes.iter().map(|b| char::from(*b)).collect(),
            Charset::Utf16(order) => Cow::Owned(decode_utf16(bytes, order)),
            Charset::Other(encoding) => encoding.decode_without_bom_handling(bytes).0,
        }
    }

    /// Text into bytes; what the charset does not have becomes `?`.
    pub(super) fn encode(self, text: &str) -> Vec<u8> {
        let narrow = |limit: u32| {
            let byte = |c: char| u8::try_from(u32::from(c)).ok().filter(|b| u32::from(*b) < limit);
            text.chars().map(|c| byte(c).unwrap_or(b'?')).collect()
        };
        match self {
            Charset::Utf8 => text.as_bytes().to_vec(),
            Charset::Ascii => narrow(0x80),
            Charset::Latin1 => narrow(0x100),
            Charset::Utf16(Order::Little) => {
                text.encode_utf16().flat_map(u16::to_le_bytes).collect()
            }
            Charset::Utf16(Order::Big) => text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
            Charset::Utf16(Order::Marked) => {
                let mark = std::iter::once(0xFEFF);
                mark.chain(text.encode_utf16()).flat_map(u16::to_be_bytes).collect()
            }
            Charset::Other(encoding) => encode_other(encoding, text),
        }
    }
}

fn decode_utf16(bytes: &[u8], order: Order) -> String {
    let (little, bytes) = match (order, bytes) {
        (Order::Marked, [0xFF, 0xFE, rest @ ..]) => (true, rest),
        (Order::Marked, [0xFE, 0xFF, rest @ ..]) => (false, rest),
        (order, bytes) => (order == Order::Little, bytes),
    };
    let (pairs, odd) = bytes.as_chunks::<2>();
    let unit = |pair: &[u8; 2]| match little {
        true => u16::from_le_bytes(*pair),
        false => u16::from_be_bytes(*pair),
    };
    let units = pairs.iter().map(unit);
    let mut text: String =
        char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
    if !odd.is_empty() {
        text.push(char::REPLACEMENT_CHARACTER);
    }
    text
}

/// Character by character where something does not fit, as the library would write `&#…;` for it.
fn encode_other(encoding: &'static Encoding, text: &str) -> Vec<u8> {
    let (bytes, _, unmappable) = encoding.encode(text);
    if !unmappable {
        return bytes.into_owned();
    }
    let mut out = Vec::with_capacity(text.len());
    let mut one = [0; 4];
    for c in text.chars() {
        match encoding.encode(c.encode_utf8(&mut one)) {
            (bytes, _, false) => out.extend_from_slice(&bytes),
            _ => out.push(b'?'),
        }
    }
    out
}

impl<'de> Deserialize<'de> for Charset {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Charset::named(name.trim()).ok_or_else(|| {
            D::Error::custom(format!("the charset `{name}` is not known here; UTF-8, US-ASCII, ISO-8859-1, UTF-16 and most of Java's older ones are"))
        })
    }
}
