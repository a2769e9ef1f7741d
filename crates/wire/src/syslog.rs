//! Syslog: messages of RFC 3164 and RFC 5424 cut out of a stream, read, and written.
//!
//! Flume has two readers that do not agree, and both are here, each with what it makes of
//! malformed input: [`flume`] is that of `syslogtcp` and `syslogudp` (`SyslogUtils`),
//! [`multiport`] that of `multiport_syslogtcp` (`SyslogParser`). [`rfc`] reads what the RFCs say.
//! [`cut`] finds where messages end, [`write`](mod@write) is for senders.
//!
//! Time comes in from outside as a [`Moment`], for dates that lack a year or a zone.

mod calendar;
pub mod cut;
pub mod flume;
pub mod java_date;
pub mod multiport;
pub mod rfc;
pub mod write;

use bytes::Bytes;
pub use jiff::tz::TimeZone;
use splashdam_core::Text;

/// Header with the facility: priority div 8.
pub const FACILITY: Text = Text::from_static("Facility");
/// Header with the severity: priority mod 8.
pub const SEVERITY: Text = Text::from_static("Severity");
/// Header with the time in milliseconds since 1970.
pub const TIMESTAMP: Text = Text::from_static("timestamp");
/// Header with the host that the message names.
pub const HOST: Text = Text::from_static("host");
/// Header that says what was wrong with a message, [`INVALID`] or [`INCOMPLETE`].
pub const STATUS: Text = Text::from_static("flume.syslog.status");
/// The message is not syslog.
pub const INVALID: Text = Text::from_static("Invalid");
/// The message was longer than allowed.
pub const INCOMPLETE: Text = Text::from_static("Incomplete");

/// Which parts of a message stay in the body, in front of its text (Flume's `keepFields`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// None.
    #[default]
    None,
    /// The message as it came.
    All,
    /// Some.
    Some {
        /// `<13>`.
        priority: bool,
        /// `1` and a blank.
        version: bool,
        /// The time as it was written, and a blank.
        timestamp: bool,
        /// The host, and a blank.
        hostname: bool,
    },
}

/// When and where a message is read.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// Milliseconds since 1970 UTC.
    pub now_millis: i64,
    /// The zone of times that name none.
    pub zone: &'a TimeZone,
}

/// The parts of a message that may stay in the body, as written.
struct Parts<'a> {
    priority: &'a str,
    version: Option<&'a str>,
    timestamp: Option<&'a str>,
    host: Option<&'a str>,
}

impl Keep {
    /// Reads the key's value as Flume does: `none` or `false`, `all` or `true`, in any case; else
    /// the names of fields, wherever they stand in the text.
    pub fn named(text: &str) -> Keep {
        let text = text.trim().to_lowercase();
        match text.as_str() {
            "none" | "false" => Keep::None,
            "all" | "true" => Keep::All,
            _ => Keep::Some {
                priority: text.contains("priority"),
                version: text.contains("version"),
                timestamp: text.contains("timestamp"),
                hostname: text.contains("hostname"),
            },
        }
    }

    /// The body: what is kept of `parts`, then `rest`, which is a slice of the message and stays
    /// one where nothing is kept. As Java writes it, a kept part that is missing is `null`, but for
    /// a missing version.
    fn body(self, parts: &Parts<'_>, rest: Bytes) -> Bytes {
        let Keep::Some { priority, version, timestamp, hostname } = self else { return rest };
        let mut kept = String::new();
        if priority {
            kept.extend(["<", parts.priority, ">"]);
        }
        if version && let Some(version) = parts.version.filter(|version| !version.is_empty()) {
            kept.extend([version, " "]);
        }
        for (keep, part) in [(timestamp, parts.timestamp), (hostname, parts.host)] {
            if keep {
                kept.extend([part.unwrap_or("null"), " "]);
            }
        }
        if kept.is_empty() {
            return rest;
        }
        let mut body = kept.into_bytes();
        body.extend_from_slice(&rest);
        body.into()
    }
}

/// The text of a small number without an allocation.
fn number(n: i64) -> Text {
    const SMALL: [&str; 24] = [
        "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16",
        "17", "18", "19", "20", "21", "22", "23",
    ];
    let small = usize::try_from(n).ok().and_then(|n| SMALL.get(n));
    small.map_or_else(|| n.to_string().into(), |text| Text::from_static(text))
}

/// `bytes` as UTF-8, U+FFFD in the place of what is not: a slice where nothing was replaced.
fn as_text(bytes: &Bytes) -> Bytes {
    match std::str::from_utf8(bytes) {
        Ok(_) => bytes.clone(),
        Err(_) => java_lossy(bytes).into(),
    }
}

/// As `String::from_utf8_lossy`, but the three bytes of a lone surrogate are replaced once, as in
/// Java.
fn java_lossy(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    // How many bytes of a surrogate's three were seen and stand for nothing more.
    let mut surrogate = 0;
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        let bad = chunk.invalid();
        if !chunk.valid().is_empty() {
            surrogate = 0;
        }
        match (surrogate, bad) {
            (_, []) => {}
            (0, [0xed]) => {
                surrogate = 1;
                text.push(char::REPLACEMENT_CHARACTER);
            }
            (1, [0xa0..=0xbf]) => surrogate = 2,
            (2, [0x80..=0xbf]) => surrogate = 0,
            _ => {
                surrogate = 0;
                text.push(char::REPLACEMENT_CHARACTER);
            }
        }
    }
    text
}

/// A slice of a message that is known to be UTF-8.
fn text(line: &Bytes, range: std::ops::Range<usize>) -> Text {
    Text::from_utf8(line.slice(range)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_fields_are_found_wherever_they_stand() {
        let some = |priority, version, timestamp, hostname| Keep::Some {
            priority,
            version,
            timestamp,
            hostname,
        };
        for (text, keep) in [
            ("none", Keep::None),
            (" FALSE ", Keep::None),
            ("True", Keep::All),
            ("all", Keep::All),
            ("priority", some(true, false, false, false)),
            ("hostname, TIMESTAMP", some(false, false, true, true)),
            ("xversionx", some(false, true, false, false)),
            ("host", some(false, false, false, false)),
            ("", some(false, false, false, false)),
        ] {
            assert_eq!(Keep::named(text), keep, "{text}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced_as_in_java() {
        for (bytes, text) in [
            (&b"ab"[..], "ab"),
            (b"a\xffb", "a\u{fffd}b"),
            (b"\xed\xa0\x80x", "\u{fffd}x"),
            (b"\xed\xa0\x80\xed\xb0\x80", "\u{fffd}\u{fffd}"),
            (b"\xe2\x82", "\u{fffd}"),
            (b"\xf0\x9f\x98x", "\u{fffd}x"),
            (b"\xc0\xaf", "\u{fffd}\u{fffd}"),
        ] {
            assert_eq!(java_lossy(bytes), text, "{bytes:x?}");
        }
    }
}
