//! Date patterns of Java's `SimpleDateFormat`, for a format of the user's: `yyyy-MM-dd HH:mm:ss`.
//!
//! Read as Java reads them: leniently, so that fields out of their range roll over, and only as far
//! as the pattern goes, so that text behind it is not looked at. Names are English. Eras, weeks and
//! days of the year are not read, nor are zones by name but for `UTC`, `GMT` and `Z`.

use jiff::tz::TimeZone;

use super::Moment;
use super::calendar::{Fields, local_in_zone, month};

/// A pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatePattern(Vec<Part>);

/// A pattern cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the date pattern `{pattern}` cannot be used: {what}")]
pub struct DatePatternError {
    /// The pattern as written.
    pub pattern: String,
    /// What is wrong with it.
    pub what: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    /// A letter, how often it stands there, and whether a number follows at once.
    Field(u8, usize, bool),
}

/// What a text said.
struct Read {
    fields: Fields,
    half_day: Option<i64>,
    afternoon: bool,
    offset_seconds: Option<i64>,
}

impl DatePattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// A letter that is not read here, or a quote that does not end.
    pub fn new(pattern: &str) -> Result<Self, DatePatternError> {
        let refuse = |what: String| DatePatternError { pattern: pattern.to_owned(), what };
        let mut parts: Vec<Part> = Vec::new();
        let mut rest = pattern;
        while let Some(first) = rest.chars().next() {
            if first == '\'' {
                let (text, after) =
                    quoted(rest).ok_or_else(|| refuse("a quote does not end".into()))?;
                push_text(&mut parts, &text);
                rest = after;
                continue;
            }
            let length = rest.len() - rest.trim_start_matches(first).len();
            match first {
                'y' | 'M' | 'L' | 'd' | 'H' | 'k' | 'K' | 'h' | 'm' | 's' | 'S' | 'a' | 'E'
                | 'u' | 'Z' | 'X' | 'z' => {
                    let letter = if first == 'L' { b'M' } else { rest.as_bytes()[0] };
                    // A field that a number follows at once has as many digits as letters.
                    if let Some(Part::Field(_, _, followed)) = parts.last_mut() {
                        *followed = true;
                    }
                    parts.push(Part::Field(letter, length, false));
                }
                'A'..='Z' | 'a'..='z' => {
                    return Err(refuse(format!("the letter `{first}` is not read here")));
                }
                _ => push_text(&mut parts, &rest[..length]),
            }
            rest = &rest[length..];
        }
        Ok(DatePattern(parts))
    }

    /// Milliseconds since 1970 of a text that begins with a date of this pattern.
    pub fn millis(&self, text: &str, at: Moment<'_>) -> Option<i64> {
        let mut read = Read {
            fields: Fields { year: 1970, month: 1, day: 1, ..Fields::default() },
            half_day: None,
            afternoon: false,
            offset_seconds: None,
        };
        let mut rest = text;
        for part in &self.0 {
            rest = match part {
                Part::Text(literal) => rest.strip_prefix(literal.as_str())?,
                Part::Field(letter, count, followed) => {
                    read.field(*letter, *count, *followed, rest, at)?
                }
            };
        }
        if let Some(hour) = read.half_day {
            read.fields.hour = hour + if read.afternoon { 12 } else { 0 };
        }
        Some(match read.offset_seconds {
            Some(offset) => read.fields.at_offset(offset),
            None => read.fields.in_zone(at.zone),
        })
    }
}

fn push_text(parts: &mut Vec<Part>, text: &str) {
    match parts.last_mut() {
        Some(Part::Text(before)) => before.push_str(text),
        _ => parts.push(Part::Text(text.to_owned())),
    }
}

/// The text in quotes at the start, and what follows it; two quotes are one.
fn quoted(pattern: &str) -> Option<(String, &str)> {
    let inner = &pattern[1..];
    if let Some(after) = inner.strip_prefix('\'') {
        return Some(("'".to_owned(), after));
    }
    let (mut text, mut rest) = (String::new(), inner);
    loop {
        let end = rest.find('\'')?;
        text.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('\'') {
            Some(after) => {
                text.push('\'');
                rest = after;
            }
            None => return Some((text, rest)),
        }
    }
}

impl Read {
    /// Takes one field from the start of a text; what is left of it.
    fn field<'a>(
        &mut self,
        letter: u8,
        count: usize,
        followed: bool,
        text: &'a str,
        at: Moment<'_>,
    ) -> Option<&'a str> {
        let text = text.trim_start_matches([' ', '\t']);
        match (letter, count) {
            (b'M', 3..) => {
                let name = text.get(..3).and_then(|name| month(name.as_bytes()))?;
                self.fields.month = name;
                return Some(&text[name_length(text, MONTHS, name)..]);
            }
            (b'E', _) => {
                let days = DAYS.iter().position(|day| starts_with(text, &day[..3]));
                let day = i64::try_from(days?).ok()? + 1;
                return Some(&text[name_length(text, DAYS, day)..]);
            }
            (b'a', _) => {
                self.afternoon = starts_with(text, "PM");
                return (self.afternoon || starts_with(text, "AM")).then(|| &text[2..]);
            }
            (b'Z' | b'X' | b'z', _) => {
                let (offset, rest) = zone(text)?;
                self.offset_seconds = Some(offset);
                return Some(rest);
            }
            _ => {}
        }
        let most = if followed { count } else { 18 };
        let digits = text.bytes().take(most).take_while(u8::is_ascii_digit).count();
        let value: i64 = text[..digits].parse().ok()?;
        let value = value.min(100_000_000);
        let fields = &mut self.fields;
        match letter {
            b'y' if count <= 2 && digits == 2 => fields.year = near_year(value, at),
            b'y' => fields.year = value,
            b'M' => fields.month = value,
            b'd' => fields.day = value,
            b'H' => fields.hour = value,
            b'k' => fields.hour = if value == 24 { 0 } else { value },
            b'K' => self.half_day = Some(value),
            b'h' => self.half_day = Some(if value == 12 { 0 } else { value }),
            b'm' => fields.minute = value,
            b's' => fields.second = value,
            b'S' => fields.millis = value,
            _ => {}
        }
        Some(&text[digits..])
    }
}

const MONTHS: &[&str] = &[
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
const DAYS: &[&str] =
    &["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

fn starts_with(text: &str, start: &str) -> bool {
    text.get(..start.len()).is_some_and(|head| head.eq_ignore_ascii_case(start))
}

/// Bytes of a long name, or of a short one.
fn name_length(text: &str, names: &[&str], number: i64) -> usize {
    let long = usize::try_from(number - 1).ok().and_then(|at| names.get(at));
    long.filter(|long| starts_with(text, long)).map_or(3, |long| long.len())
}

/// The year of two digits that is at most 80 years ago and at most 20 ahead.
fn near_year(two_digits: i64, at: Moment<'_>) -> i64 {
    let now =
        local_in_zone(at.now_millis, &TimeZone::UTC).map_or(1970, |now| i64::from(now.year()));
    let first = now - 80;
    first + (two_digits - first).rem_euclid(100)
}

/// Seconds east of UTC: `+0100`, `+01:00`, `+01`, `GMT+1:00`, `UTC`, `Z`.
fn zone(text: &str) -> Option<(i64, &str)> {
    let named = ["GMT", "UTC", "UT", "Z"].iter().find(|name| starts_with(text, name));
    let rest = &text[named.map_or(0, |name| name.len())..];
    let sign = match rest.as_bytes().first() {
        Some(b'+') => 1,
        Some(b'-') => -1,
        _ => return named.map(|_| (0, rest)),
    };
    let digits = |text: &str| text.bytes().take(2).take_while(u8::is_ascii_digit).count();
    let rest = &rest[1..];
    let (hours, rest) = rest.split_at(digits(rest));
    let minutes = rest.strip_prefix(':').unwrap_or(rest);
    let (minutes, rest) = match digits(minutes) {
        2 => minutes.split_at(2),
        _ => ("0", rest),
    };
    let (hours, minutes): (i64, i64) = (hours.parse().ok()?, minutes.parse().ok()?);
    (hours <= 23 && minutes <= 59).then_some((sign * (hours * 60 + minutes) * 60, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_read_as_java_does() {
        let at = Moment { now_millis: 1_795_305_600_000, zone: &TimeZone::UTC };
        for (pattern, text, millis) in [
            ("yyyy-MM-dd HH:mm:ss", "2022-03-04 05:06:07", Some(1_646_370_367_000)),
            ("yyyy-MM-dd HH:mm:ss", "2022-03-04 05:06:07 and more", Some(1_646_370_367_000)),
            ("yyyy-MM-dd HH:mm:ss,SSS", "2022-03-04 05:06:07,5", Some(1_646_370_367_005)),
            ("yyyy-MM-dd'T'HH:mm:ssZ", "2022-03-04T05:06:07+0200", Some(1_646_363_167_000)),
            ("yyyy-MM-dd'T'HH:mm:ssXXX", "2022-03-04T05:06:07-02:00", Some(1_646_377_567_000)),
            ("yyyyMMddHHmmss", "20220304050607", Some(1_646_370_367_000)),
            ("dd/MMM/yy hh:mm a", "04/Mar/22 05:06 pm", Some(1_646_413_560_000)),
            ("EEE, d MMM yyyy", "Fri, 4 March 2022", Some(1_646_352_000_000)),
            ("yyyy-MM-dd", "2022-14-01", Some(1_675_209_600_000)),
            ("HH 'o''clock'", "5 o'clock", Some(18_000_000)),
            ("yyyy", "x", None),
            ("yyyy-MM", "2022/03", None),
            ("MMM", "Xyz", None),
            ("Z", "+9900", None),
        ] {
            let read = DatePattern::new(pattern).unwrap().millis(text, at);
            assert_eq!(read, millis, "{pattern} of {text}");
        }
        for pattern in ["yyyy-ww", "'open", "G", "D"] {
            assert!(DatePattern::new(pattern).is_err(), "{pattern}");
        }
    }
}
