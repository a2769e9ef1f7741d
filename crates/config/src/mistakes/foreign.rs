//! Characters that come from web pages and word processors, as such and as their UTF-8 bytes look
//! when read as ISO-8859-1.

use crate::diagnostic::Diagnostic;
use crate::source::{FileId, Source, Span};
use crate::text::Located;

/// A character nobody types into a configuration.
struct Foreign {
    c: char,
    name: &'static str,
    instead: &'static str,
}

const FOREIGN: [Foreign; 16] = [
    Foreign { c: '\u{201c}', name: "a curly quote", instead: "remove it, values need no quotes" },
    Foreign { c: '\u{201d}', name: "a curly quote", instead: "remove it, values need no quotes" },
    Foreign { c: '\u{201e}', name: "a curly quote", instead: "remove it, values need no quotes" },
    Foreign { c: '\u{2018}', name: "a curly apostrophe", instead: "write a plain `'`, or nothing" },
    Foreign { c: '\u{2019}', name: "a curly apostrophe", instead: "write a plain `'`, or nothing" },
    Foreign {
        c: '\u{a0}',
        name: "a non-breaking blank",
        instead: "write a plain blank, or nothing",
    },
    Foreign {
        c: '\u{202f}',
        name: "a non-breaking blank",
        instead: "write a plain blank, or nothing",
    },
    Foreign { c: '\u{3000}', name: "a wide blank", instead: "write a plain blank, or nothing" },
    Foreign { c: '\u{200b}', name: "an invisible blank", instead: "remove it" },
    Foreign { c: '\u{200c}', name: "an invisible joiner", instead: "remove it" },
    Foreign { c: '\u{200d}', name: "an invisible joiner", instead: "remove it" },
    Foreign { c: '\u{feff}', name: "a byte order mark", instead: "remove it" },
    Foreign { c: '\u{ad}', name: "a soft hyphen", instead: "remove it" },
    Foreign { c: '\u{2010}', name: "a typographic hyphen", instead: "write a plain `-`" },
    Foreign { c: '\u{2013}', name: "a dash", instead: "write a plain `-`" },
    Foreign { c: '\u{2014}', name: "a dash", instead: "write a plain `-`" },
];

/// A byte order mark at the start of a file, which becomes part of its first key.
pub(super) fn byte_order_mark(file: FileId, source: &Source, findings: &mut Vec<Diagnostic>) {
    for mark in ["\u{feff}", "\u{ef}\u{bb}\u{bf}"] {
        if source.text.starts_with(mark) {
            findings.push(
                Diagnostic::warning(
                    "byte-order-mark",
                    "the file starts with a byte order mark, which Java does not skip",
                )
                .at(Span::new(file, 0, mark.len()))
                .label("becomes part of the first key")
                .help("save the file without byte order mark"),
            );
        }
    }
}

/// What a key holds beyond ASCII.
pub(super) fn in_key(key: &Located, findings: &mut Vec<Diagnostic>) {
    check(key, "key", findings);
}

/// What a value holds beyond ASCII.
pub(super) fn in_value(value: &Located, findings: &mut Vec<Diagnostic>) {
    check(value, "value", findings);
}

/// One finding at most: such texts are pasted whole.
fn check(text: &Located, what: &str, findings: &mut Vec<Diagnostic>) {
    if text.text().is_ascii() {
        return;
    }
    let mark = what == "key"
        && ["\u{feff}", "\u{ef}\u{bb}\u{bf}"].iter().any(|mark| text.text().starts_with(mark));
    if mark {
        return; // `byte_order_mark` says so
    }
    for (from, to, c, bytes) in characters(text.text()) {
        let Some(foreign) = FOREIGN.iter().find(|foreign| foreign.c == c) else {
            continue;
        };
        let seen = if bytes { ", here as its UTF-8 bytes" } else { "" };
        let message = format!("the {what} holds {} (U+{:04X}){seen}", foreign.name, u32::from(c));
        findings.push(
            Diagnostic::warning("pasted-character", message)
                .at(text.part_span(from, to))
                .label("pasted from a web page or a word processor?")
                .help(foreign.instead),
        );
        return;
    }
    if let Some((from, to, c, _)) = characters(text.text()).find(|(_, _, _, bytes)| *bytes) {
        let read: String = text.text()[from..to].chars().filter(|c| !c.is_control()).collect();
        let mut units = [0; 2];
        let escape: String =
            c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")).collect();
        findings.push(
            Diagnostic::warning(
                "not-latin1",
                format!("`{c}` is read as `{read}`: files are ISO-8859-1, as in Flume"),
            )
            .at(text.part_span(from, to))
            .help(format!("write `{escape}`")),
        );
    }
}

/// Characters beyond ASCII, with their range: as they are, or decoded once more where a run of
/// characters below U+0100 is UTF-8 that was read as ISO-8859-1 (then the last is true).
fn characters(text: &str) -> impl Iterator<Item = (usize, usize, char, bool)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let c = text[at..].chars().next()?;
            let from = at;
            if let Some((decoded, length)) = utf8_in_latin1(&text[at..]) {
                at += length;
                return Some((from, at, decoded, true));
            }
            at += c.len_utf8();
            if !c.is_ascii() {
                return Some((from, at, c, false));
            }
        }
    })
}

/// The character whose UTF-8 bytes the text starts with, as characters, and their length here.
fn utf8_in_latin1(text: &str) -> Option<(char, usize)> {
    let mut bytes = [0u8; 4];
    let mut length = 0;
    for (index, c) in text.chars().take(4).enumerate() {
        let byte = u8::try_from(u32::from(c)).ok().filter(|byte| *byte >= 0x80)?;
        bytes[index] = byte;
        length += c.len_utf8();
        if let Ok(decoded) = std::str::from_utf8(&bytes[..=index]) {
            return decoded.chars().next().map(|c| (c, length));
        }
    }
    None
}
