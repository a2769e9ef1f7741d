//! Charsets under Java's names: text from bytes and back, as `inputCharset`, `outputCharset`,
//! `charset` and `encoding` want it.
//!
//! Tables are those of the WHATWG (`encoding_rs`), but for ISO-8859-1, US-ASCII and UTF-16, which
//! mean there what old web pages meant and here what Java means. A few further names share a table
//! with their Windows superset: ISO-8859-9 (windows-1254), ISO-8859-11 and TIS-620 (windows-874),
//! GB2312 (GBK), Shift_JIS (windows-31j) and EUC-KR (windows-949) decode some bytes that Java calls
//! malformed. UTF-32, EBCDIC, DOS code pages but 866, and UTF-7 are refused by name.

use std::borrow::Cow;
use std::fmt;
use std::ops::{ControlFlow, Range};

use encoding_rs::{DecoderResult, EncoderResult, Encoding};
use serde::Deserialize;
use serde::de::{Deserializer, Error};
use splashdam_core::Malformed;

/// A charset. Bytes in it are read in units of one byte, or two for UTF-16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charset(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Utf8,
    Ascii,
    Latin1,
    /// Byte order by its mark, else big-endian; see [`Charset::resolve`].
    Utf16,
    Utf16Le,
    Utf16Be,
    Other(&'static Encoding),
}

/// What becomes of bytes that mean nothing in their charset (Flume's `DecodeErrorPolicy`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename = "any case")]
pub enum OnMalformed {
    /// The input is refused at that place.
    #[default]
    #[serde(rename = "FAIL")]
    Fail,
    /// Each malformed sequence becomes U+FFFD.
    #[serde(rename = "REPLACE")]
    Replace,
    /// They are left out.
    #[serde(rename = "IGNORE")]
    Ignore,
}

/// Sees characters, or `None` for what is malformed, with the bytes that they came from.
type Each<'a> = dyn FnMut(Range<usize>, Option<&str>) -> ControlFlow<()> + 'a;

/// A name that no supported charset has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("charset `{name}` {why}")]
pub struct UnknownCharset {
    name: String,
    why: &'static str,
}

const UTF_32: &str = "is not supported; convert the input to UTF-8 first, as `iconv -f UTF-32 -t UTF-8` does, and name UTF-8 here";
const EBCDIC: &str = "is an EBCDIC code page, which is not supported; convert the input to UTF-8 first, as `iconv -f IBM037 -t UTF-8` does, and name UTF-8 here";
const DOS: &str = "is a DOS code page, which is not supported; convert the input to UTF-8 first, as `iconv -f CP437 -t UTF-8` does, and name UTF-8 here";
const STATEFUL: &str = "is not supported because its bytes mean something only together with all before them; convert the input to UTF-8 first and name UTF-8 here";
const STRANGE: &str =
    "is not known; use a name such as UTF-8, ISO-8859-1, windows-1252, Shift_JIS or UTF-16";

/// Numbers of EBCDIC code pages that Java knows as `Cp…` and `IBM…`.
const EBCDIC_PAGES: &[u32] = &[
    37, 273, 277, 278, 280, 284, 285, 290, 297, 420, 424, 500, 838, 870, 871, 875, 918, 930, 933,
    935, 937, 939, 1025, 1026, 1047, 1097, 1112, 1122, 1123, 1140, 1141, 1142, 1143, 1144, 1145,
    1146, 1147, 1148, 1149,
];
/// Numbers of DOS code pages that Java knows likewise.
const DOS_PAGES: &[u32] =
    &[437, 720, 737, 775, 850, 852, 855, 856, 857, 858, 860, 861, 862, 863, 864, 865, 868, 869];

/// Java's names for tables that the WHATWG knows by another name.
const JAVA_NAMES: &[(&str, &str)] = &[
    ("cp874", "windows-874"),
    ("cp936", "gbk"),
    ("cp949", "euc-kr"),
    ("cp950", "big5"),
    ("euc-cn", "gbk"),
    ("eucjis", "euc-jp"),
    ("maccyrillic", "x-mac-cyrillic"),
    ("macroman", "macintosh"),
    ("ms874", "windows-874"),
    ("ms936", "gbk"),
    ("ms949", "euc-kr"),
    ("ms950", "big5"),
    ("x-maccyrillic", "x-mac-cyrillic"),
    ("x-macroman", "macintosh"),
    ("x-ms950", "big5"),
    ("x-mswin-936", "gbk"),
    ("x-windows-874", "windows-874"),
    ("x-windows-949", "euc-kr"),
    ("x-windows-950", "big5"),
];

impl Charset {
    /// UTF-8, Flume's default everywhere.
    pub const UTF_8: Charset = Charset(Kind::Utf8);

    /// The charset that Java knows as `name`, in any case.
    pub fn named(name: &str) -> Result<Charset, UnknownCharset> {
        let lower = name.trim().to_ascii_lowercase();
        let dashed = lower.replace('_', "-");
        let kind = match dashed.as_str() {
            "utf-8" | "utf8" | "unicode-1-1-utf-8" => Kind::Utf8,
            "us-ascii" | "ascii" | "ascii7" | "iso646-us" | "iso-646.irv:1991" | "646"
            | "cp367" | "ibm367" | "ansi-x3.4-1968" | "ansi-x3.4-1986" => Kind::Ascii,
            "iso-8859-1" | "iso8859-1" | "iso88591" | "8859-1" | "latin1" | "l1" | "cp819"
            | "ibm819" | "ibm-819" | "819" | "iso-ir-100" | "iso-8859-1:1987" | "csisolatin1" => {
                Kind::Latin1
            }
            "utf-16" | "utf16" | "unicode" | "unicodebig" => Kind::Utf16,
            "utf-16le" | "x-utf-16le" | "unicodelittleunmarked" => Kind::Utf16Le,
            "utf-16be" | "x-utf-16be" | "unicodebigunmarked" => Kind::Utf16Be,
            _ => return Self::by_label(name, &lower, &dashed),
        };
        Ok(Charset(kind))
    }

    fn by_label(name: &str, lower: &str, dashed: &str) -> Result<Charset, UnknownCharset> {
        let renamed = JAVA_NAMES.iter().find(|(java, _)| *java == dashed).map(|(_, label)| *label);
        // Java also drops the `iso` of ISO-8859 names.
        let numbered = dashed.strip_prefix("8859-").map(|part| format!("iso-8859-{part}"));
        let labels = [renamed, numbered.as_deref(), Some(lower), Some(dashed)];
        let mut found = labels
            .into_iter()
            .flatten()
            .filter_map(|label| Encoding::for_label_no_replacement(label.as_bytes()));
        match found.next() {
            Some(encoding) if encoding == encoding_rs::UTF_8 => Ok(Charset::UTF_8),
            Some(encoding) if encoding == encoding_rs::UTF_16LE => Ok(Charset(Kind::Utf16Le)),
            Some(encoding) if encoding == encoding_rs::UTF_16BE => Ok(Charset(Kind::Utf16Be)),
            Some(encoding) => Ok(Charset(Kind::Other(encoding))),
            None => Err(UnknownCharset { name: name.to_owned(), why: why_unknown(dashed) }),
        }
    }

    /// Its canonical name.
    pub fn name(self) -> &'static str {
        match self.0 {
            Kind::Utf8 => "UTF-8",
            Kind::Ascii => "US-ASCII",
            Kind::Latin1 => "ISO-8859-1",
            Kind::Utf16 => "UTF-16",
            Kind::Utf16Le => "UTF-16LE",
            Kind::Utf16Be => "UTF-16BE",
            Kind::Other(encoding) => encoding.name(),
        }
    }

    /// Whether text in it is UTF-8 as it lies.
    pub fn is_utf8(self) -> bool {
        self.0 == Kind::Utf8
    }

    /// Bytes that are read together: input is cut at multiples of these only.
    pub fn unit_bytes(self) -> usize {
        match self.0 {
            Kind::Utf16 | Kind::Utf16Le | Kind::Utf16Be => 2,
            _ => 1,
        }
    }

    /// The charset with its byte order settled by the first bytes of the input, and how many of
    /// these are a byte order mark to be skipped. As in Java only plain UTF-16 has one: in UTF-8 it
    /// is a character like any other.
    pub fn resolve(self, head: &[u8]) -> (Charset, usize) {
        match (self.0, head) {
            (Kind::Utf16, [0xff, 0xfe, ..]) => (Charset(Kind::Utf16Le), 2),
            (Kind::Utf16, [0xfe, 0xff, ..]) => (Charset(Kind::Utf16Be), 2),
            (Kind::Utf16, _) => (Charset(Kind::Utf16Be), 0),
            _ => (self, 0),
        }
    }

    /// Where the first `wanted` character stands, an ASCII control character. `bytes` begins with a
    /// whole unit.
    pub fn find(self, bytes: &[u8], wanted: u8) -> Option<usize> {
        self.settle(memchr::memchr_iter(wanted, bytes), bytes)
    }

    /// Where the first of two control characters stands; see [`Charset::find`].
    pub fn find_either(self, bytes: &[u8], one: u8, other: u8) -> Option<usize> {
        self.settle(memchr::memchr2_iter(one, other, bytes), bytes)
    }

    /// The first of `candidates` that is a unit of its own: the start of that unit.
    fn settle(self, mut candidates: impl Iterator<Item = usize>, bytes: &[u8]) -> Option<usize> {
        match self.0 {
            Kind::Utf16Le => {
                candidates.find(|&at| at.is_multiple_of(2) && bytes.get(at + 1) == Some(&0))
            }
            Kind::Utf16 | Kind::Utf16Be => {
                candidates.find(|&at| !at.is_multiple_of(2) && bytes[at - 1] == 0).map(|at| at - 1)
            }
            _ => candidates.next(),
        }
    }

    /// Text from all of `bytes`, which begins and ends between characters.
    ///
    /// # Errors
    /// The place of the first malformed sequence, if `on` is to fail.
    pub fn decode(self, bytes: &[u8], on: OnMalformed) -> Result<Cow<'_, str>, Malformed> {
        match self.0 {
            Kind::Utf8 | Kind::Ascii if bytes.is_ascii() || self.is_utf8() => {
                if let Ok(text) = std::str::from_utf8(bytes) {
                    return Ok(Cow::Borrowed(text));
                }
            }
            Kind::Other(encoding) => {
                if let Some(text) =
                    encoding.decode_without_bom_handling_and_without_replacement(bytes)
                {
                    return Ok(text);
                }
            }
            _ => {}
        }
        let mut text = String::with_capacity(bytes.len());
        let mut first_bad = None;
        let walked = self.walk(bytes, &mut |range, piece| {
            match (piece, on) {
                (Some(piece), _) => text.push_str(piece),
                (None, OnMalformed::Replace) => text.push(char::REPLACEMENT_CHARACTER),
                (None, OnMalformed::Ignore) => {}
                (None, OnMalformed::Fail) => {
                    first_bad = Some(range.start);
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        });
        match (walked, first_bad) {
            (ControlFlow::Break(()), Some(at)) => {
                Err(Malformed { at, what: "bytes that mean nothing in the charset" })
            }
            _ => Ok(Cow::Owned(text)),
        }
    }

    /// The bytes of the first characters that have `units` UTF-16 units together, as Java counts
    /// characters; `None` when `bytes` has fewer. What is malformed counts as one unless it is to
    /// be ignored. A character of two units is never cut, so there may be one unit more.
    pub fn prefix(self, bytes: &[u8], units: usize, on: OnMalformed) -> Option<usize> {
        // No unit of text has less than a byte, and of UTF-16 less than two.
        if bytes.len() / self.unit_bytes() < units {
            return None;
        }
        if matches!(self.0, Kind::Utf8 | Kind::Ascii) && bytes[..units].is_ascii() {
            return Some(units);
        }
        let (mut count, mut end) = (0, 0);
        let malformed = usize::from(on != OnMalformed::Ignore);
        let walked = self.walk(bytes, &mut |range, piece| {
            count += piece.map_or(malformed, |piece| piece.encode_utf16().count());
            if count < units {
                return ControlFlow::Continue(());
            }
            end = range.end;
            ControlFlow::Break(())
        });
        walked.is_break().then_some(end)
    }

    /// The end of the last character that is complete in `bytes`, for input that is cut anywhere.
    /// At most three bytes are left over, unless `bytes` are no longer than that.
    pub fn whole(self, bytes: &[u8]) -> usize {
        let cut = match self.0 {
            Kind::Utf8 => {
                // The last lead byte may want more than follows it.
                let tail = bytes.iter().rev().take(4).position(|byte| byte & 0xc0 != 0x80);
                match tail {
                    Some(back) => {
                        let needs = bytes[bytes.len() - 1 - back].leading_ones() as usize;
                        if needs > back + 1 && needs <= 4 { back + 1 } else { 0 }
                    }
                    None => 0,
                }
            }
            Kind::Utf16 | Kind::Utf16Le | Kind::Utf16Be => {
                let odd = bytes.len() % 2;
                let units = &bytes[..bytes.len() - odd];
                let high = units.len() >= 2
                    && self.unit([units[units.len() - 2], units[units.len() - 1]]) & 0xfc00
                        == 0xd800;
                odd + if high { 2 } else { 0 }
            }
            Kind::Ascii | Kind::Latin1 => 0,
            Kind::Other(_) => {
                // What the walk calls malformed at the very end may only be incomplete.
                let mut last = None;
                let walked = self.walk(bytes, &mut |range, piece| {
                    last = Some((range, piece.is_none()));
                    ControlFlow::Continue(())
                });
                assert!(walked.is_continue(), "nobody broke it off");
                match last {
                    Some((range, true)) if range.end == bytes.len() && range.len() < 4 => {
                        range.len()
                    }
                    _ => 0,
                }
            }
        };
        bytes.len() - cut
    }

    /// `text` in this charset; `?` stands for characters that it lacks, as in Java.
    pub fn encode(self, text: &str) -> Vec<u8> {
        let utf16 = |order: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(order);
        let narrow = |most: u32| {
            text.chars().map(move |c| match u8::try_from(u32::from(c)) {
                Ok(byte) if u32::from(byte) <= most => byte,
                _ => b'?',
            })
        };
        match self.0 {
            Kind::Utf8 => text.as_bytes().to_vec(),
            Kind::Ascii => narrow(0x7f).collect(),
            Kind::Latin1 => narrow(0xff).collect(),
            Kind::Utf16 => [0xfe, 0xff].into_iter().chain(utf16(u16::to_be_bytes)).collect(),
            Kind::Utf16Le => utf16(u16::to_le_bytes).collect(),
            Kind::Utf16Be => utf16(u16::to_be_bytes).collect(),
            Kind::Other(encoding) => encode_by_table(encoding, text),
        }
    }

    fn unit(self, bytes: [u8; 2]) -> u16 {
        match self.0 {
            Kind::Utf16Le => u16::from_le_bytes(bytes),
            _ => u16::from_be_bytes(bytes),
        }
    }

    /// Shows each character, or `None` for what is malformed, with the bytes that it came from.
    fn walk(self, bytes: &[u8], each: &mut Each<'_>) -> ControlFlow<()> {
        match self.0 {
            Kind::Utf8 => {
                let mut at = 0;
                for chunk in bytes.utf8_chunks() {
                    for c in chunk.valid().chars() {
                        let end = at + c.len_utf8();
                        each(at..end, Some(c.encode_utf8(&mut [0; 4])))?;
                        at = end;
                    }
                    if !chunk.invalid().is_empty() {
                        let end = at + chunk.invalid().len();
                        each(at..end, None)?;
                        at = end;
                    }
                }
            }
            Kind::Ascii | Kind::Latin1 => {
                for (at, &byte) in bytes.iter().enumerate() {
                    let known = byte.is_ascii() || self.0 == Kind::Latin1;
                    let mut buffer = [0; 4];
                    let text = known.then(|| &*char::from(byte).encode_utf8(&mut buffer));
                    each(at..at + 1, text)?;
                }
            }
            Kind::Utf16 | Kind::Utf16Le | Kind::Utf16Be => {
                let units = bytes.chunks_exact(2).map(|pair| self.unit([pair[0], pair[1]]));
                let mut at = 0;
                for c in char::decode_utf16(units) {
                    let units = c.as_ref().map_or(1, |c| c.len_utf16());
                    let end = at + 2 * units;
                    match c {
                        Ok(c) => each(at..end, Some(c.encode_utf8(&mut [0; 4])))?,
                        Err(_) => each(at..end, None)?,
                    }
                    at = end;
                }
                if at < bytes.len() {
                    each(at..bytes.len(), None)?;
                }
            }
            Kind::Other(encoding) => walk_by_table(encoding, bytes, each)?,
        }
        ControlFlow::Continue(())
    }
}

/// Feeds a decoder byte by byte, which tells where each character ends. Slow, and only used for
/// lines over the limit and for malformed ones.
fn walk_by_table(
    encoding: &'static Encoding,
    bytes: &[u8],
    each: &mut Each<'_>,
) -> ControlFlow<()> {
    let mut decoder = encoding.new_decoder_without_bom_handling();
    let (mut start, mut fed) = (0, 0);
    loop {
        let last = fed == bytes.len();
        let one = &bytes[fed..(fed + 1).min(bytes.len())];
        let mut text = [0; 32];
        let (result, read, written) =
            decoder.decode_to_utf8_without_replacement(one, &mut text, last);
        fed += read;
        if written > 0 {
            let text = std::str::from_utf8(&text[..written]).unwrap_or_default();
            each(start..fed, Some(text))?;
            start = fed;
        }
        match result {
            DecoderResult::InputEmpty if last => return ControlFlow::Continue(()),
            DecoderResult::InputEmpty | DecoderResult::OutputFull => {}
            DecoderResult::Malformed(..) => {
                each(start..fed, None)?;
                start = fed;
                if last {
                    return ControlFlow::Continue(());
                }
            }
        }
    }
}

fn encode_by_table(encoding: &'static Encoding, text: &str) -> Vec<u8> {
    let mut encoder = encoding.new_encoder();
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    loop {
        bytes.reserve(rest.len().max(32));
        let (result, read) =
            encoder.encode_from_utf8_to_vec_without_replacement(rest, &mut bytes, true);
        rest = &rest[read..];
        match result {
            EncoderResult::InputEmpty => return bytes,
            EncoderResult::OutputFull => {}
            EncoderResult::Unmappable(_) => bytes.push(b'?'),
        }
    }
}

fn why_unknown(dashed: &str) -> &'static str {
    let starts = |names: &[&str]| names.iter().any(|name| dashed.starts_with(name));
    if starts(&["utf-32", "utf32", "ucs-4", "x-utf-32", "iso-10646-ucs-4"]) {
        return UTF_32;
    }
    if starts(&["utf-7", "iso-2022", "x-iso-2022", "hz", "scsu", "bocu", "x-compound"]) {
        return STATEFUL;
    }
    let page = ["cp", "ibm-", "ibm", "x-ibm"].iter().find_map(|prefix| {
        dashed.strip_prefix(prefix)?.split(['-', 'c']).next()?.parse::<u32>().ok()
    });
    match page {
        Some(page) if EBCDIC_PAGES.contains(&page) => EBCDIC,
        Some(page) if DOS_PAGES.contains(&page) => DOS,
        _ if dashed.contains("ebcdic") => EBCDIC,
        _ => STRANGE,
    }
}

impl Default for Charset {
    fn default() -> Self {
        Charset::UTF_8
    }
}

impl fmt::Display for Charset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Charset {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Charset::named(&name).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests;
