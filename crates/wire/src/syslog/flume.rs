//! Messages as Flume's `SyslogUtils` reads them, for the sources `syslogtcp` and `syslogudp`.
//!
//! A message begins with `<`, up to three digits and `>`; one that does not is *invalid*. Its text
//! is matched as a whole against a format of the user's, RFC 5424's and RFC 3164's, in Flume's
//! reading of them: the name of the program and what follows it are body, a CR at the end makes it
//! match nothing, and then the body is the message as it came.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use splashdam_core::{Event, Headers, Text};

use super::calendar::{Fields, month, utc_year, with_guessed_year};
use super::{
    FACILITY, HOST, INCOMPLETE, INVALID, Keep, Moment, Parts, SEVERITY, STATUS, TIMESTAMP, as_text,
    number, text,
};

const PRIORITY: Text = Text::from_static("priority");
const VERSION: Text = Text::from_static("version");

/// Reads messages. As in Flume the priority and the version of a message stay behind, and are said
/// of the next one too if that has none of its own.
#[derive(Clone, Debug)]
pub struct Reader {
    keep: Keep,
    format: Option<Format>,
    priority: Option<Text>,
    version: Option<Text>,
}

/// A format of the user's, which is tried first.
#[derive(Clone)]
pub struct Format(Arc<dyn Fn(&str, Moment<'_>) -> Option<Found> + Send + Sync>);

/// What a format found in a message, as places in its text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The digits of the priority.
    pub priority: Option<Range<usize>>,
    /// The version.
    pub version: Option<Range<usize>>,
    /// The time.
    pub timestamp: Option<Range<usize>>,
    /// The host.
    pub host: Option<Range<usize>>,
    /// The text of the message.
    pub body: Option<Range<usize>>,
    /// The time in milliseconds since 1970, if it could be read.
    pub millis: Option<i64>,
}

/// A message has no priority at all: Flume gives up on such datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message without a priority")]
pub struct NoPriority;

/// How a message begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    Priority(u16),
    Bad,
    None,
}

impl Format {
    /// A format that `find` finds in a message.
    pub fn new(find: impl Fn(&str, Moment<'_>) -> Option<Found> + Send + Sync + 'static) -> Self {
        Format(Arc::new(find))
    }
}

impl fmt::Debug for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Format")
    }
}

impl Reader {
    /// A reader of one connection, or of all datagrams.
    pub fn new(keep: Keep, format: Option<Format>) -> Self {
        Reader { keep, format, priority: None, version: None }
    }

    /// The event of a message. Header values and the body are slices of it where it is UTF-8.
    ///
    /// # Errors
    /// When there is nothing in it to tell a priority from, as in an empty datagram.
    pub fn read(
        &mut self,
        message: &Bytes,
        incomplete: bool,
        at: Moment<'_>,
    ) -> Result<Event, NoPriority> {
        let start = start(message);
        let (mut found, mut line) = (None, Bytes::new());
        let priority = match start {
            Start::None => return Err(NoPriority),
            Start::Bad => 0,
            Start::Priority(priority) => {
                line = as_text(message);
                let written = std::str::from_utf8(&line).unwrap_or_default();
                let own = self.format.as_ref().and_then(|format| format.0(written, at));
                found = own.or_else(|| find(written, at));
                priority
            }
        };
        let found = found.map(|found| self.remember(found, &line));
        let body = found.as_ref().and_then(|(_, body)| body.clone());
        let body = match self.keep {
            Keep::All => message.clone(),
            _ => body.filter(|body| !body.is_empty()).unwrap_or_else(|| message.clone()),
        };
        let headers = self.headers(start, priority, found.map(|(host, _)| host), incomplete);
        Ok(Event { headers, body })
    }

    /// Takes what a format found: the priority and the version stay here.
    fn remember(&mut self, found: Found, line: &Bytes) -> (HostAndTime, Option<Bytes>) {
        let part = |range: &Option<Range<usize>>| range.clone().map(|range| text(line, range));
        (self.priority, self.version) = (part(&found.priority), part(&found.version));
        let (host, timestamp) = (part(&found.host), part(&found.timestamp));
        let parts = Parts {
            priority: self.priority.as_deref().unwrap_or("null"),
            version: self.version.as_deref(),
            timestamp: timestamp.as_deref(),
            host: host.as_deref(),
        };
        let body = found.body.map(|body| self.keep.body(&parts, line.slice(body)));
        (HostAndTime { host, millis: found.millis }, body)
    }

    fn headers(
        &self,
        start: Start,
        priority: u16,
        found: Option<HostAndTime>,
        incomplete: bool,
    ) -> Headers {
        let found = found.unwrap_or_default();
        let status = match start {
            Start::Bad => Some(INVALID),
            _ => incomplete.then_some(INCOMPLETE),
        };
        let set = |value: &Option<Text>| value.clone().filter(|value| !value.as_bytes().is_empty());
        let all = [
            (FACILITY, Some(number(i64::from(priority / 8)))),
            (SEVERITY, Some(number(i64::from(priority % 8)))),
            (PRIORITY, set(&self.priority)),
            (VERSION, set(&self.version)),
            (TIMESTAMP, found.millis.map(number)),
            (HOST, set(&found.host)),
            (STATUS, status),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

#[derive(Default)]
struct HostAndTime {
    host: Option<Text>,
    millis: Option<i64>,
}

/// The message of a datagram: what stands before the first line end, those at its start passed
/// over.
pub fn datagram(bytes: &[u8]) -> Range<usize> {
    let start = bytes.iter().position(|byte| *byte != b'\n').unwrap_or(bytes.len());
    let rest = &bytes[start..];
    // A line end in the priority is part of the message.
    let from = match rest {
        [b'<', ..] => 1 + digits(&rest[1..], 3) + 1,
        _ => 0,
    };
    let from = from.min(rest.len());
    let length = memchr::memchr(b'\n', &rest[from..]).map_or(rest.len(), |at| from + at);
    start..start + length
}

fn start(message: &[u8]) -> Start {
    let [b'<', rest @ ..] = message else {
        return if message.is_empty() { Start::None } else { Start::Bad };
    };
    let count = digits(rest, 3);
    match (count, rest.get(count)) {
        (0, None) => Start::None,
        (1.., None | Some(b'>')) => {
            let value = rest[..count].iter().fold(0, |sum, d| sum * 10 + u16::from(d - b'0'));
            Start::Priority(value)
        }
        _ => Start::Bad,
    }
}

/// How many of the first `most` bytes are digits in a row.
fn digits(bytes: &[u8], most: usize) -> usize {
    bytes.iter().take(most).take_while(|byte| byte.is_ascii_digit()).count()
}

/// Matches RFC 5424, then RFC 3164.
fn find(line: &str, at: Moment<'_>) -> Option<Found> {
    let bytes = line.as_bytes();
    let count = digits(bytes.get(1..)?, 3);
    let start = 1 + count;
    if bytes[0] != b'<' || count == 0 || bytes.get(start) != Some(&b'>') {
        return None;
    }
    let priority = 1..start;
    // The version is one digit or none, a blank may follow: whichever way lets the rest match.
    let after = start + 1;
    let ways = |form: fn(&[u8], usize, Moment<'_>) -> Option<Found>| {
        let digit = bytes.get(after).is_some_and(u8::is_ascii_digit);
        let versions = [digit.then_some(after + 1), Some(after)];
        versions.into_iter().flatten().find_map(|end| {
            let blank = bytes.get(end).is_some_and(is_blank).then_some(end + 1);
            let found =
                [blank, Some(end)].into_iter().flatten().find_map(|at_| form(bytes, at_, at));
            found.map(|found| Found { version: (end > after).then_some(after..end), ..found })
        })
    };
    let found = ways(rfc5424).or_else(|| ways(rfc3164))?;
    Some(Found { priority: Some(priority), ..found })
}

/// White space as Java's `\s` has it.
fn is_blank(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r')
}

/// A time or `-`, a host or `-`, the rest.
fn rfc5424(bytes: &[u8], start: usize, at: Moment<'_>) -> Option<Found> {
    let mut found = Found::default();
    let mut here = start;
    if bytes.get(here) == Some(&b'-') {
        here += 1;
    } else {
        let (fields, end) = date_time(bytes, here)?;
        found.timestamp = Some(here..end);
        found.millis = Some(iso_millis(fields, &bytes[here + DATE_TIME..end], at));
        here = end;
    }
    here = blank(bytes, here)?;
    if bytes.get(here) == Some(&b'-') {
        here += 1;
    } else {
        let end = host_end(bytes, here)?;
        found.host = Some(here..end);
        here = end;
    }
    found.body = Some(body(bytes, here)?);
    Some(found)
}

fn blank(bytes: &[u8], here: usize) -> Option<usize> {
    bytes.get(here).is_some_and(is_blank).then_some(here + 1)
}

/// A letter, digit or underscore, then those and `.@-`.
fn host_end(bytes: &[u8], start: usize) -> Option<usize> {
    let word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let more = |byte: &u8| word(byte) || matches!(byte, b'.' | b'@' | b'-');
    bytes.get(start).filter(|byte| word(byte))?;
    Some(start + bytes[start..].iter().take_while(|byte| more(byte)).count())
}

/// Behind a blank, to the end, where no character ends a line as Java has it.
fn body(bytes: &[u8], here: usize) -> Option<Range<usize>> {
    let start = blank(bytes, here)?;
    let rest = &bytes[start..];
    let ends_line = memchr::memchr2_iter(b'\n', b'\r', rest).next().is_some()
        || memchr::memchr2_iter(0x85, 0xe2, rest).any(|at| match rest[at] {
            0x85 => at > 0 && rest[at - 1] == 0xc2,
            _ => matches!(rest.get(at + 1..at + 3), Some([0x80, 0xa8 | 0xa9])),
        });
    (!ends_line).then_some(start..bytes.len())
}

/// Bytes of `yyyy-MM-ddTHH:mm:ss`.
const DATE_TIME: usize = 19;

/// `yyyy-MM-ddTHH:mm:ss`, perhaps a fraction, perhaps a zone; and where it ends.
fn date_time(bytes: &[u8], start: usize) -> Option<(Fields, usize)> {
    let text: &[u8; DATE_TIME] = bytes.get(start..)?.first_chunk()?;
    let shape = b"dddd-dd-ddTdd:dd:dd";
    let fits = |(byte, shape): (&u8, &u8)| match shape {
        b'd' => byte.is_ascii_digit(),
        other => byte == other,
    };
    if !text.iter().zip(shape).all(fits) {
        return None;
    }
    let value = |range: Range<usize>| integer(&text[range]);
    let fields = Fields {
        year: value(0..4),
        month: value(5..7),
        day: value(8..10),
        hour: value(11..13),
        minute: value(14..16),
        second: value(17..19),
        millis: 0,
    };
    let mut end = start + DATE_TIME;
    if bytes.get(end) == Some(&b'.') {
        let count = digits(&bytes[end + 1..], 6);
        if count == 0 {
            return None;
        }
        end += 1 + count;
    }
    match bytes.get(end..) {
        Some([b'Z', ..]) => end += 1,
        Some([b'+' | b'-', h1, h2, b':', m1, m2, ..])
            if [h1, h2, m1, m2].iter().all(|digit| digit.is_ascii_digit()) =>
        {
            end += 6;
        }
        _ => {}
    }
    Some((fields, end))
}

fn integer(digits: &[u8]) -> i64 {
    digits.iter().fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'))
}

/// A time with `tail` behind its seconds. With a fraction the zone is not looked at, and the
/// fraction, cut to three digits, is a number of milliseconds; so does Flume.
fn iso_millis(fields: Fields, tail: &[u8], at: Moment<'_>) -> i64 {
    match tail {
        [b'.', rest @ ..] => {
            let count = digits(rest, 3);
            Fields { millis: integer(&rest[..count]), ..fields }.in_zone(at.zone)
        }
        [b'Z'] => fields.at_offset(0),
        [sign, h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (integer(&[*h1, *h2]), integer(&[*m1, *m2]));
            if hours > 23 || minutes > 59 {
                return fields.in_zone(at.zone);
            }
            let seconds = (hours * 60 + minutes) * 60;
            fields.at_offset(if *sign == b'-' { -seconds } else { seconds })
        }
        _ => fields.in_zone(at.zone),
    }
}

/// `Mmm d HH:mm:ss`, a host, the rest.
fn rfc3164(bytes: &[u8], start: usize, at: Moment<'_>) -> Option<Found> {
    let [first, second, third] = bytes.get(start..)?.first_chunk()?;
    if !(first.is_ascii_uppercase() && second.is_ascii_lowercase() && third.is_ascii_lowercase()) {
        return None;
    }
    let after_month = start + 3;
    let blanks = bytes[after_month..].iter().take(2).take_while(|byte| is_blank(byte)).count();
    let day = after_month + blanks;
    let day_digits = digits(bytes.get(day..)?, 2);
    if blanks == 0 || day_digits == 0 {
        return None;
    }
    let after_day = day + day_digits;
    let time: &[u8; 8] = bytes.get(blank(bytes, after_day)?..)?.first_chunk()?;
    let [h1, h2, b':', m1, m2, b':', s1, s2] = time else { return None };
    if ![h1, h2, m1, m2, s1, s2].iter().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let end = after_day + 1 + time.len();
    let host = blank(bytes, end)?;
    let host_end = host_end(bytes, host)?;
    // Java's reader wants a blank where its pattern has one, and passes over tabs before a number.
    let blanks_fit = matches!(bytes[after_month..day], [b' '] | [b' ', b' ' | b'\t'])
        && bytes[after_day] == b' ';
    let fields = month(&bytes[start..after_month]).filter(|_| blanks_fit).map(|month| Fields {
        year: utc_year(at.now_millis),
        month,
        day: integer(&bytes[day..after_day]),
        hour: integer(&[*h1, *h2]),
        minute: integer(&[*m1, *m2]),
        second: integer(&[*s1, *s2]),
        millis: 0,
    });
    Some(Found {
        timestamp: Some(start..end),
        host: Some(host..host_end),
        body: Some(body(bytes, host_end)?),
        millis: fields.map(|fields| with_guessed_year(fields.in_zone(at.zone), at)),
        ..Found::default()
    })
}

#[cfg(test)]
mod tests;
