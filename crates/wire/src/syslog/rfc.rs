//! Messages as RFC 5424 and RFC 3164 have them.
//!
//! Everything in front of the text becomes headers: priority, facility and severity, version, time,
//! host, `appname`, `procid`, `msgid`, and each parameter of structured data as `sd.ID.NAME`. What
//! the sender left out (`-`) has no header. Times keep their zone and their fraction.
//!
//! What begins with a priority and a version is RFC 5424, and *invalid* if it is not well formed;
//! all else is RFC 3164, where a time (also of RFC 5424, as rsyslog sends it), a host and a tag are
//! taken as far as they are there. Without a priority a message is one of user level, `notice`, and
//! *invalid*.

use bytes::Bytes;
use splashdam_core::{Event, Headers, Text};

use super::calendar::{Fields, month, utc_year, with_guessed_year};
use super::{
    FACILITY, HOST, INCOMPLETE, INVALID, Keep, Moment, Parts, SEVERITY, STATUS, TIMESTAMP, as_text,
    number, text,
};

const PRIORITY: Text = Text::from_static("priority");
const VERSION: Text = Text::from_static("version");
const APP_NAME: Text = Text::from_static("appname");
const PROC_ID: Text = Text::from_static("procid");
const MSG_ID: Text = Text::from_static("msgid");
/// RFC 3164's tag is at most this long.
const TAG_BYTES: usize = 48;
/// User level, notice: what a message without a priority is taken for.
const DEFAULT_PRIORITY: u16 = 13;
/// The byte order mark that says that RFC 5424's text is UTF-8.
const BOM: &str = "\u{feff}";

/// What was read, as places in the text.
#[derive(Default)]
struct Read<'a> {
    version: Option<&'a str>,
    timestamp: Option<&'a str>,
    millis: Option<i64>,
    host: Option<&'a str>,
    app_name: Option<&'a str>,
    proc_id: Option<&'a str>,
    msg_id: Option<&'a str>,
    data: Vec<(String, String)>,
    /// Where the text begins; nowhere in what is not well formed.
    body: Option<usize>,
}

/// The event of a message. Bytes that are not UTF-8 stay as they are in the body.
pub fn read(message: &Bytes, keep: Keep, incomplete: bool, at: Moment<'_>) -> Event {
    let line = as_text(message);
    let written = std::str::from_utf8(&line).unwrap_or_default();
    let (priority, start) = priority(written).map_or((None, 0), |(p, start)| (Some(p), start));
    let rest = &written[start..];
    let read = match priority {
        Some(_) if is_versioned(rest) => rfc5424(rest),
        Some(_) => Some(rfc3164(rest, at)),
        None => None,
    };
    let value = priority.unwrap_or(DEFAULT_PRIORITY);
    let digits = priority.map(|_| &written[1..start - 1]);
    let status = match (&read, incomplete) {
        // What is cut off may well end in the middle of a header.
        (_, true) => Some(INCOMPLETE),
        (None, false) => Some(INVALID),
        (Some(_), false) => None,
    };
    let read = read.unwrap_or_default();
    let place = |part: Option<&str>| part.map(|part| slice(&line, written, part));
    let all = [
        (FACILITY, Some(number(i64::from(value / 8)))),
        (SEVERITY, Some(number(i64::from(value % 8)))),
        (PRIORITY, place(digits)),
        (VERSION, place(read.version)),
        (TIMESTAMP, read.millis.map(number)),
        (HOST, place(read.host)),
        (APP_NAME, place(read.app_name)),
        (PROC_ID, place(read.proc_id)),
        (MSG_ID, place(read.msg_id)),
        (STATUS, status),
    ];
    let all = all.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let data = joined(&read.data).into_iter().map(|(name, value)| (name.into(), value.into()));
    let headers: Headers = all.chain(data).collect();
    let body = match (keep, read.body) {
        (Keep::All, _) | (_, None) => message.clone(),
        (_, Some(from)) => {
            let parts = Parts {
                priority: digits.unwrap_or_default(),
                version: read.version,
                timestamp: read.timestamp.or(Some("-")),
                host: read.host.or(Some("-")),
            };
            // What follows the headers is the same bytes at the end of the message as they came,
            // unless something in the headers had to be replaced.
            let tail = written.len() - start - from;
            let same = line.len() == message.len();
            let rest = if same {
                message.slice(message.len() - tail..)
            } else {
                raw_tail(message, written, start + from)
            };
            keep.body(&parts, rest)
        }
    };
    Event { headers, body }
}

/// The bytes of a message behind its first characters, which are counted in its text.
fn raw_tail(message: &Bytes, written: &str, from: usize) -> Bytes {
    // Walk both: each invalid run is one U+FFFD in the text.
    let (mut text_at, mut raw_at) = (0, 0);
    let replaced = char::REPLACEMENT_CHARACTER.len_utf8();
    for chunk in message.utf8_chunks() {
        let valid = chunk.valid().len();
        if text_at + valid >= from {
            return message.slice(raw_at + (from - text_at)..);
        }
        text_at += valid;
        raw_at += valid + chunk.invalid().len();
        if !chunk.invalid().is_empty()
            && written[text_at..].starts_with(char::REPLACEMENT_CHARACTER)
        {
            text_at += replaced;
        }
    }
    message.slice(raw_at.min(message.len())..)
}

fn slice(line: &Bytes, written: &str, part: &str) -> Text {
    let at = part.as_ptr().addr() - written.as_ptr().addr();
    text(line, at..at + part.len())
}

/// `<`, one to three digits up to 191, `>`: the number and where it ends.
fn priority(written: &str) -> Option<(u16, usize)> {
    let inner = written.strip_prefix('<')?;
    let end = inner.bytes().take(3).take_while(u8::is_ascii_digit).count();
    let value: u16 = inner[..end].parse().ok()?;
    (value <= 191 && inner[end..].starts_with('>')).then_some((value, end + 2))
}

/// Whether a version follows: up to three digits, the first not 0, and a blank.
fn is_versioned(rest: &str) -> bool {
    let digits = rest.bytes().take(3).take_while(u8::is_ascii_digit).count();
    digits > 0 && !rest.starts_with('0') && rest[digits..].starts_with(' ')
}

fn rfc5424(rest: &str) -> Option<Read<'_>> {
    let whole = rest;
    let mut rest = rest;
    let mut field = |most: usize| -> Option<&str> {
        let (field, after) = rest.split_once(' ').unwrap_or((rest, ""));
        rest = after;
        let fits = !field.is_empty()
            && field.len() <= most
            && field.bytes().all(|byte| byte.is_ascii_graphic());
        fits.then_some(field)
    };
    let version = field(3)?;
    let timestamp = field(64)?;
    let (host, app_name, proc_id, msg_id) = (field(255)?, field(48)?, field(128)?, field(32)?);
    let millis = match timestamp {
        "-" => None,
        written => Some(iso_millis(written)?),
    };
    let (data, after) = structured_data(rest)?;
    let body = match after.strip_prefix(' ') {
        Some(body) => body.strip_prefix(BOM).unwrap_or(body),
        None if after.is_empty() => after,
        None => return None,
    };
    let there = |field: &'_ str| field != "-";
    Some(Read {
        version: Some(version),
        timestamp: Some(timestamp).filter(|field| there(field)),
        millis,
        host: Some(host).filter(|field| there(field)),
        app_name: Some(app_name).filter(|field| there(field)),
        proc_id: Some(proc_id).filter(|field| there(field)),
        msg_id: Some(msg_id).filter(|field| there(field)),
        data,
        body: Some(whole.len() - body.len()),
    })
}

/// Parameters in the order they stand in.
type Data = Vec<(String, String)>;

/// `-`, or elements one behind the other; the names and values of all, and what follows them.
fn structured_data(text: &str) -> Option<(Data, &str)> {
    if let Some(rest) = text.strip_prefix('-') {
        return Some((Vec::new(), rest));
    }
    let mut all = Vec::new();
    let mut rest = text.strip_prefix('[').map(|_| text)?;
    while let Some(inner) = rest.strip_prefix('[') {
        let (id, mut inner) = name(inner)?;
        loop {
            if let Some(after) = inner.strip_prefix(']') {
                rest = after;
                break;
            }
            let (param, after) = name(inner.strip_prefix(' ')?)?;
            let (value, after) = quoted(after.strip_prefix("=\"")?)?;
            all.push((format!("sd.{id}.{param}"), value));
            inner = after;
        }
    }
    Some((all, rest))
}

fn name(text: &str) -> Option<(&str, &str)> {
    let ok = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'=' | b']' | b'"');
    let length = text.bytes().take(32).take_while(ok).count();
    (length > 0).then(|| text.split_at(length))
}

/// A value up to its closing quote; a backslash takes the meaning from `"`, `\` and `]` only.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            ']' => return None,
            '\\' => match chars.clone().next() {
                Some((_, escaped @ ('"' | '\\' | ']'))) => {
                    chars.next();
                    value.push(escaped);
                }
                _ => value.push('\\'),
            },
            other => value.push(other),
        }
    }
    None
}

/// Parameters that stand more than once have their values joined with commas.
fn joined(data: &[(String, String)]) -> Data {
    let mut joined: Data = Vec::with_capacity(data.len());
    let mut places = std::collections::HashMap::new();
    for (name, value) in data {
        match places.get(name) {
            None => {
                places.insert(name, joined.len());
                joined.push((name.clone(), value.clone()));
            }
            Some(at) => {
                let known: &mut (String, String) = &mut joined[*at];
                known.1.push(',');
                known.1.push_str(value);
            }
        }
    }
    joined
}

/// A time of RFC 3339 as RFC 5424 has it: `T`, up to six digits of a fraction, `Z` or an offset.
fn iso_millis(written: &str) -> Option<i64> {
    let shape_fits = written.len() > 19
        && written.as_bytes()[10] == b'T'
        && written
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b':' | b'.' | b'T' | b'Z'));
    let stamp: jiff::Timestamp = shape_fits.then(|| written.parse().ok())??;
    // Times before 1970 have their fraction cut, too, not rounded up.
    Some(stamp.as_nanosecond().div_euclid(1_000_000)).and_then(|millis| i64::try_from(millis).ok())
}

/// A time, a host and a tag, as far as they are there.
fn rfc3164<'a>(rest: &'a str, at: Moment<'_>) -> Read<'a> {
    let mut read = Read::default();
    let mut text = rest;
    if let Some((millis, length)) = bsd_time(text, at).or_else(|| iso_time(text)) {
        read.timestamp = Some(&text[..length]);
        read.millis = Some(millis);
        text = &text[length + 1..];
        // A word that ends with a colon, or with brackets, is a tag: there is no host.
        let (word, after) = text.split_once(' ').unwrap_or((text, ""));
        let is_host = !word.is_empty()
            && word.len() <= 255
            && !after.is_empty()
            && word.bytes().all(|byte| byte.is_ascii_graphic())
            && !word.ends_with(':')
            && !word.contains('[');
        if is_host {
            read.host = Some(word);
            text = after;
        }
    }
    if let Some((app_name, proc_id, after)) = tag(text) {
        (read.app_name, read.proc_id) = (Some(app_name), proc_id);
        text = after;
    }
    read.body = Some(rest.len() - text.len());
    read
}

/// `name:` or `name[pid]:`, and what follows it without a blank.
fn tag(text: &str) -> Option<(&str, Option<&str>, &str)> {
    let in_name = |byte: &u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/' | b'(' | b')')
    };
    let length = text.bytes().take(TAG_BYTES + 1).take_while(in_name).count();
    if length == 0 || length > TAG_BYTES {
        return None;
    }
    let (name, rest) = text.split_at(length);
    let (id, rest) = match rest.strip_prefix('[') {
        None => (None, rest),
        Some(inner) => {
            let end = inner.bytes().take(129).position(|byte| byte == b']')?;
            (Some(&inner[..end]).filter(|id| !id.is_empty()), &inner[end + 1..])
        }
    };
    let rest = rest.strip_prefix(':')?;
    Some((name, id, rest.strip_prefix(' ').unwrap_or(rest)))
}

/// `Mmm dd hh:mm:ss` or `Mmm dd yyyy hh:mm:ss` and a blank: the time and its length.
fn bsd_time(text: &str, at: Moment<'_>) -> Option<(i64, usize)> {
    let bytes = text.as_bytes();
    let month = month(bytes.get(..3)?)?;
    let mut here = 3;
    let mut number = |before: u8, most: usize| -> Option<i64> {
        let mut start = here;
        if bytes.get(start) != Some(&before) {
            return None;
        }
        start += 1;
        // A day of one digit has a blank or a zero in front of it.
        if before == b' ' && bytes.get(start) == Some(&b' ') {
            start += 1;
        }
        let count = bytes[start..].iter().take(most).take_while(|b| b.is_ascii_digit()).count();
        here = start + count;
        std::str::from_utf8(&bytes[start..here]).ok()?.parse().ok()
    };
    let day = number(b' ', 2)?;
    let next = number(b' ', 4)?;
    let (year, hour) = if next > 99 { (Some(next), number(b' ', 2)?) } else { (None, next) };
    let (minute, second) = (number(b':', 2)?, number(b':', 2)?);
    let in_range = (1..=31).contains(&day) && hour < 24 && minute < 60 && second < 61;
    if !in_range || bytes.get(here) != Some(&b' ') {
        return None;
    }
    let written = year.unwrap_or_else(|| utc_year(at.now_millis));
    let fields = Fields { year: written, month, day, hour, minute, second, millis: 0 };
    let millis = fields.in_zone(at.zone);
    Some((if year.is_some() { millis } else { with_guessed_year(millis, at) }, here))
}

fn iso_time(text: &str) -> Option<(i64, usize)> {
    let length = text.bytes().take(40).position(|byte| byte == b' ')?;
    Some((iso_millis(&text[..length])?, length))
}

#[cfg(test)]
mod tests;
