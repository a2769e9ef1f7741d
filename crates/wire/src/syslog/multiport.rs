//! Messages as Flume's `SyslogParser` reads them, for the source `multiport_syslogtcp`.
//!
//! `<`, a priority, `>`, perhaps `1 `, a time (`-`, RFC 3164 or RFC 5424), a host, and the rest is
//! the body. Times without a zone are UTC. The year of an RFC 3164 time is right when it is within
//! a month of now, and else 2001 for the past and 1999 for the future, as in Flume.

use bytes::Bytes;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use splashdam_core::{Event, Headers, Malformed, Text};

use super::calendar::{Fields, days_in_month, local_in_zone, millis_in_zone, month, moved};
use super::{
    FACILITY, HOST, INCOMPLETE, INVALID, Keep, Moment, Parts, SEVERITY, STATUS, TIMESTAMP, number,
    text,
};

const PRIORITY: Text = Text::from_static("Priority");
const VERSION: Text = Text::from_static("Version");
/// UTF-16 units of `Mmm dd hh:mm:ss`.
const RFC3164_UNITS: usize = 15;

/// The event of a message that is UTF-8; the body is a slice of it where nothing is kept.
///
/// # Errors
/// When it does not have the parts that a message has; [`invalid`] is the event then.
pub fn read(
    line: &Bytes,
    keep: Keep,
    incomplete: bool,
    at: Moment<'_>,
) -> Result<Event, Malformed> {
    let written = std::str::from_utf8(line)
        .map_err(|error| Malformed { at: error.valid_up_to(), what: "bytes that are not UTF-8" })?;
    let (priority, mut here) = priority(written)?;
    let value: i32 = java_integer(priority).ok_or(NO_PRIORITY)?;
    if here == written.len() {
        return Err(Malformed { at: here, what: "no data except priority" });
    }
    let version = written[here..].strip_prefix("1 ").filter(|rest| !rest.is_empty()).map(|_| "1");
    if version.is_some() {
        here += 2;
    }
    let time = time(written, here, at)?;
    let rest = &written[time.next..];
    let host_length = memchr::memchr(b' ', rest.as_bytes());
    let host_length = host_length.ok_or(Malformed { at: time.next, what: "no host" })?;
    let host = time.next..time.next + host_length;
    let start = host.end + 1;
    let parts = Parts {
        priority,
        version,
        timestamp: Some(time.written),
        host: Some(&written[host.clone()]),
    };
    let body = match keep {
        Keep::All => line.clone(),
        _ if start == written.len() => line.clone(),
        _ => keep.body(&parts, line.slice(start..)),
    };
    let all = [
        (PRIORITY, Some(priority.into())),
        (FACILITY, Some(number(i64::from(value / 8)))),
        (SEVERITY, Some(number(i64::from(value % 8)))),
        (VERSION, version.map(Text::from_static)),
        (TIMESTAMP, Some(number(time.millis))),
        (HOST, Some(text(line, host))),
        (STATUS, incomplete.then_some(INCOMPLETE)),
    ];
    let headers = all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    Ok(Event { headers, body })
}

/// The event of what is no message: all of it is body.
pub fn invalid(body: Bytes) -> Event {
    Event { headers: Headers::from_iter([(STATUS, INVALID)]), body }
}

const NO_PRIORITY: Malformed = Malformed { at: 0, what: "no priority" };

/// The text between `<` and `>`, which is at most five characters as Java counts them, and what
/// follows it.
fn priority(line: &str) -> Result<(&str, usize), Malformed> {
    let inner = line.strip_prefix('<').ok_or(NO_PRIORITY)?;
    let end = memchr::memchr(b'>', inner.as_bytes()).ok_or(NO_PRIORITY)?;
    let inner = &inner[..end];
    if inner.encode_utf16().take(6).count() > 5 {
        return Err(NO_PRIORITY);
    }
    Ok((inner, end + 2))
}

/// A number as Java reads it: with a sign, if there is one.
fn java_integer(text: &str) -> Option<i32> {
    // Rust's reading of integers is the same but for digits outside of ASCII.
    text.parse().ok()
}

struct Time<'a> {
    millis: i64,
    written: &'a str,
    /// Where what follows the time begins.
    next: usize,
}

fn time<'a>(line: &'a str, here: usize, at: Moment<'_>) -> Result<Time<'a>, Malformed> {
    let bad = Malformed { at: here, what: "a bad time" };
    let rest = &line[here..];
    match rest.as_bytes().first() {
        None => Err(bad),
        Some(b'-') => {
            // Whatever stands behind it is taken for a blank.
            let skipped = rest[1..].chars().next().map_or(0, char::len_utf8);
            let next = here + 1 + skipped;
            if next >= line.len() {
                return Err(Malformed { at: here, what: "no host" });
            }
            Ok(Time { millis: at.now_millis, written: &rest[..1], next })
        }
        Some(b'A'..=b'Z') => {
            let length = units(rest, RFC3164_UNITS).ok_or(bad.clone())?;
            let skipped = rest[length..].chars().next().ok_or(bad)?.len_utf8();
            let written = &rest[..length];
            let millis = rfc3164_millis(written, at).unwrap_or(0);
            Ok(Time { millis, written, next: here + length + skipped })
        }
        Some(_) => {
            let length = memchr::memchr(b' ', rest.as_bytes()).ok_or(bad.clone())?;
            let written = &rest[..length];
            let millis = rfc5424_millis(written).ok_or(bad)?;
            Ok(Time { millis, written, next: here + length + 1 })
        }
    }
}

/// The bytes of the first `count` UTF-16 units; a character of two is not cut.
fn units(text: &str, count: usize) -> Option<usize> {
    let mut left = count;
    for (at, c) in text.char_indices() {
        if left == 0 {
            return Some(at);
        }
        left = left.saturating_sub(c.len_utf16());
    }
    (left == 0).then_some(text.len())
}

/// `yyyy-MM-ddTHH:mm:ss` in 19 characters, a fraction of any length, and `Z`, an offset, or any
/// other character, which means UTC.
fn rfc5424_millis(written: &str) -> Option<i64> {
    let bytes = written.as_bytes();
    let (head, mut tail) = bytes.split_at_checked(19)?;
    let mut millis = joda_date_time(head)?;
    if let [b'.', rest @ ..] = tail {
        let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let digits = std::str::from_utf8(&rest[..count]).ok()?;
        millis = millis.checked_add(fraction_millis(digits)?)?;
        tail = &rest[count..];
    }
    match tail {
        [] => None,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2, ..]
            if [h1, h2, m1, m2].iter().all(|digit| digit.is_ascii_digit()) =>
        {
            let number = |a: &u8, b: &u8| i64::from(a - b'0') * 10 + i64::from(b - b'0');
            let offset = (number(h1, h2) * 60 + number(m1, m2)) * 60_000;
            millis.checked_sub(if *sign == b'-' { -offset } else { offset })
        }
        [b'+' | b'-', ..] => None,
        _ => Some(millis),
    }
}

/// Digits behind the point of a second, in Java's arithmetic.
fn fraction_millis(digits: &str) -> Option<i64> {
    let value: i64 = digits.parse().ok()?;
    let power = |digits: usize| 10f64.powi(i32::try_from(digits).unwrap_or(i32::MAX));
    #[expect(clippy::cast_possible_truncation, reason = "it is meant to drop the digits behind")]
    Some(match digits.len() {
        more @ 4.. => (value as f64 / power(more - 3)) as i64,
        3 => value,
        less => (value as f64 * power(3 - less)) as i64,
    })
}

/// A strict date and time in which numbers may have fewer digits, as Joda-Time reads them.
fn joda_date_time(bytes: &[u8]) -> Option<i64> {
    let mut reader = Numbers(bytes);
    let year = reader.signed(9)?;
    let month = reader.behind(b'-')?.number(2)?;
    let day = reader.behind(b'-')?.number(2)?;
    let hour = reader.behind(b'T')?.number(2)?;
    let (minute, second) = (reader.behind(b':')?.number(2)?, reader.behind(b':')?.number(2)?);
    let in_range = (1..=12).contains(&month)
        && (1..=days_in_month(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    let fields = Fields { year, month, day, hour, minute, second, millis: 0 };
    (reader.0.is_empty() && in_range).then(|| fields.gregorian_millis())
}

/// Numbers at the start of some bytes.
struct Numbers<'a>(&'a [u8]);

impl Numbers<'_> {
    /// Behind a character, which may be small or large.
    fn behind(&mut self, literal: u8) -> Option<&mut Self> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        first.eq_ignore_ascii_case(&literal).then_some(self)
    }

    fn number(&mut self, most: usize) -> Option<i64> {
        let count = self.0.iter().take(most).take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, rest) = self.0.split_at(count);
        self.0 = rest;
        std::str::from_utf8(digits).ok()?.parse().ok()
    }

    fn signed(&mut self, most: usize) -> Option<i64> {
        let sign = match self.0 {
            [b'-', ..] => -1,
            [b'+', ..] => 1,
            _ => return self.number(most),
        };
        self.0 = &self.0[1..];
        Some(sign * self.number(most)?)
    }
}

/// A time without a year, as in Flume: read in the year 2000, which stays in all that is more than
/// a month from now but for one year less or more.
fn rfc3164_millis(written: &str, at: Moment<'_>) -> Option<i64> {
    let date_time = month_day_time(&written.replacen("  ", " ", 1))?;
    let year = local_in_zone(at.now_millis, at.zone)?.year();
    let millis = |local| millis_in_zone(local, &TimeZone::UTC);
    let years = i64::from(year) - i64::from(date_time.year());
    let fixed = moved(date_time, years, 0);
    let now = at.now_millis;
    let guessed = if millis(fixed) > now && millis(moved(fixed, 0, -1)) > now {
        moved(date_time, -1, 0)
    } else if millis(fixed) < now && millis(moved(fixed, 0, 1)) < now {
        moved(date_time, 1, 0)
    } else {
        fixed
    };
    Some(millis(guessed))
}

/// `MMM d HH:mm:ss` in the year 2000. Months have their short or long name, written small, large or
/// as names are.
fn month_day_time(written: &str) -> Option<DateTime> {
    const LONG: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    let (name, rest) = written.split_once(' ')?;
    let as_names_are =
        |known: &str| name == known || name == known.to_uppercase() || name == known.to_lowercase();
    let known = LONG.iter().position(|long| as_names_are(long) || as_names_are(&long[..3]))?;
    let month = month(&LONG[known].as_bytes()[..3])?;
    let mut reader = Numbers(rest.as_bytes());
    let day = reader.number(2)?;
    let hour = reader.behind(b' ')?.number(2)?;
    let (minute, second) = (reader.behind(b':')?.number(2)?, reader.behind(b':')?.number(2)?);
    if !reader.0.is_empty() || second > 59 {
        return None;
    }
    let small = |n: i64| i8::try_from(n).ok();
    let (month, day) = (small(month)?, small(day)?);
    DateTime::new(2000, month, day, small(hour)?, small(minute)?, small(second)?, 0).ok()
}

#[cfg(test)]
mod tests;
