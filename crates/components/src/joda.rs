//! Date patterns of Joda-Time, for reading texts: `yyyy-MM-dd HH:mm:ss,SSS`.
//!
//! Rules are those of Joda's `DateTimeFormat` with names of months and days in English. A pattern
//! is checked when it is read; letters that are not supported (`G`, `C` and the long zone name
//! `zzzz`) are named. Parts that a pattern lacks are those of 1970-01-01T00:00, or of the year 2000
//! where there is a month or a day, as in Joda.

use std::str::FromStr;

use jiff::civil::{Date, DateTime, ISOWeekDate, Time, Weekday};
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};
use serde::de::{Deserialize, Deserializer, Error as _};

/// A pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JodaPattern {
    written: String,
    parts: Vec<Part>,
}

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
    /// A number of at most so many digits.
    Number(Field, usize),
    /// Two digits near the present; others are a year as it is, where `lenient`.
    ShortYear(Field, bool),
    /// Digits behind the decimal point of a second, at most so many.
    Fraction(usize),
    MonthName,
    DayName,
    HalfDay,
    Offset,
    ZoneId,
    ZoneName,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Year,
    WeekYear,
    Month,
    Week,
    DayOfMonth,
    DayOfYear,
    DayOfWeek,
    Hour,
    /// 1 to 24.
    ClockHour,
    /// 0 to 11.
    HalfDayHour,
    /// 1 to 12.
    HalfDayClockHour,
    Minute,
    Second,
}

/// What a text said.
#[derive(Default)]
struct Read {
    year: Option<i64>,
    week_year: Option<i64>,
    month: Option<i64>,
    week: Option<i64>,
    day: Option<i64>,
    day_of_year: Option<i64>,
    weekday: Option<i64>,
    hour: Option<i64>,
    half_day_hour: Option<i64>,
    afternoon: bool,
    minute: i64,
    second: i64,
    millisecond: i64,
    zone: Option<TimeZone>,
}

impl Field {
    fn is_year(self) -> bool {
        matches!(self, Field::Year | Field::WeekYear)
    }

    fn range(self) -> std::ops::RangeInclusive<i64> {
        match self {
            Field::Year | Field::WeekYear => -9998..=9998,
            Field::Month | Field::HalfDayClockHour => 1..=12,
            Field::Week => 1..=53,
            Field::DayOfMonth => 1..=31,
            Field::DayOfYear => 1..=366,
            Field::DayOfWeek => 1..=7,
            Field::Hour => 0..=23,
            Field::ClockHour => 1..=24,
            Field::HalfDayHour => 0..=11,
            Field::Minute | Field::Second => 0..=59,
        }
    }
}

const MONTHS: [&str; 12] = [
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
const DAYS: [&str; 7] =
    ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
/// Joda's default zone names and their hours from UTC.
const ZONES: [(&str, i8); 11] = [
    ("UTC", 0),
    ("UT", 0),
    ("GMT", 0),
    ("EST", -5),
    ("EDT", -4),
    ("CST", -6),
    ("CDT", -5),
    ("MST", -7),
    ("MDT", -6),
    ("PST", -8),
    ("PDT", -7),
];

impl JodaPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// An empty pattern, or a letter without a meaning or without support here.
    pub fn new(written: &str) -> Result<Self, DatePatternError> {
        let wrong = |what: String| DatePatternError { pattern: written.to_owned(), what };
        let tokens = tokens(written);
        if tokens.is_empty() {
            return Err(wrong("it is empty".to_owned()));
        }
        let mut parts = Vec::with_capacity(tokens.len());
        for (index, token) in tokens.iter().enumerate() {
            parts.push(match token {
                Token::Text(text) => Part::Text(text.clone()),
                Token::Letters(letter, count) => {
                    let joined = tokens.get(index + 1).is_some_and(Token::is_number);
                    part(*letter, *count, joined).ok_or_else(|| {
                        let token = String::from(*letter).repeat(*count);
                        wrong(format!("`{token}` is not supported"))
                    })?
                }
            });
        }
        Ok(JodaPattern { written: written.to_owned(), parts })
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.written
    }

    /// Milliseconds since 1970 of the time that the whole of `text` says, in `zone` unless it
    /// names one. `this_year` decides the century of years of two digits: within 80 years before
    /// and 19 behind it. `None` if it does not fit, or names a time that a clock change skips.
    pub fn millis(&self, text: &str, zone: &TimeZone, this_year: i16) -> Option<i64> {
        let mut read = Read::default();
        let mut rest = text;
        for part in &self.parts {
            rest = read.part(part, rest, i64::from(this_year))?;
        }
        rest.is_empty().then(|| read.millis(zone)).flatten()
    }
}

enum Token {
    Text(String),
    Letters(char, usize),
}

impl Token {
    fn is_number(&self) -> bool {
        match self {
            Token::Text(_) => false,
            Token::Letters('M', count) => *count <= 2,
            Token::Letters(letter, _) => "cCxyYdhHmsSewDFwWkK".contains(*letter),
        }
    }
}

/// Runs of one letter, and text between them with its quotes taken off.
fn tokens(written: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut text = String::new();
    let mut quoted = false;
    let mut chars = written.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\'' if chars.next_if_eq(&'\'').is_some() => text.push('\''),
            '\'' => quoted = !quoted,
            c if c.is_ascii_alphabetic() && !quoted => {
                if !text.is_empty() {
                    tokens.push(Token::Text(std::mem::take(&mut text)));
                }
                let mut count = 1;
                while chars.next_if_eq(&c).is_some() {
                    count += 1;
                }
                tokens.push(Token::Letters(c, count));
            }
            c => text.push(c),
        }
    }
    if !text.is_empty() {
        tokens.push(Token::Text(text));
    }
    tokens
}

/// `joined` says that a number follows without anything between.
fn part(letter: char, count: usize, joined: bool) -> Option<Part> {
    let number = |field| Some(Part::Number(field, 2));
    match letter {
        'x' | 'y' | 'Y' => {
            let field = if letter == 'x' { Field::WeekYear } else { Field::Year };
            if count == 2 {
                return Some(Part::ShortYear(field, !joined));
            }
            Some(Part::Number(field, if joined { count } else { 9 }))
        }
        'M' if count >= 3 => Some(Part::MonthName),
        'M' => number(Field::Month),
        'd' => number(Field::DayOfMonth),
        'D' => Some(Part::Number(Field::DayOfYear, 3)),
        'w' => number(Field::Week),
        'e' => Some(Part::Number(Field::DayOfWeek, 1)),
        'E' => Some(Part::DayName),
        'a' => Some(Part::HalfDay),
        'H' => number(Field::Hour),
        'k' => number(Field::ClockHour),
        'K' => number(Field::HalfDayHour),
        'h' => number(Field::HalfDayClockHour),
        'm' => number(Field::Minute),
        's' => number(Field::Second),
        'S' => Some(Part::Fraction(count)),
        'Z' if count <= 2 => Some(Part::Offset),
        'Z' => Some(Part::ZoneId),
        'z' if count <= 3 => Some(Part::ZoneName),
        _ => None,
    }
}

impl Read {
    /// Takes what `part` stands for off the front of `text`.
    fn part<'t>(&mut self, part: &Part, text: &'t str, this_year: i64) -> Option<&'t str> {
        match part {
            Part::Text(wanted) => after(text, wanted),
            Part::Number(field, most) => {
                let (number, _, rest) = number(text, *most, field.is_year())?;
                self.set(*field, number)?;
                Some(rest)
            }
            Part::ShortYear(field, lenient) => {
                let most = if *lenient { 9 } else { 2 };
                let (year, digits, rest) = number(text, most, *lenient)?;
                let short = digits == 2 && text.starts_with(|c: char| c.is_ascii_digit());
                if !short && !lenient {
                    return None;
                }
                self.set(*field, if short { near(year, this_year) } else { year })?;
                Some(rest)
            }
            Part::Fraction(most) => {
                let (_, digits, rest) = number(text, *most, false)?;
                let millis: String = text[..digits].chars().chain("000".chars()).take(3).collect();
                self.millisecond = millis.parse().ok()?;
                Some(rest)
            }
            Part::MonthName => {
                let (index, rest) = name(text, &MONTHS)?;
                self.set(Field::Month, index)?;
                Some(rest)
            }
            Part::DayName => {
                let (index, rest) = name(text, &DAYS)?;
                self.set(Field::DayOfWeek, index)?;
                Some(rest)
            }
            Part::HalfDay => {
                self.afternoon = after(text, "PM").is_some();
                after(text, if self.afternoon { "PM" } else { "AM" })
            }
            Part::Offset => {
                let (offset, rest) = offset(text)?;
                self.zone = Some(offset.to_time_zone());
                Some(rest)
            }
            Part::ZoneId => {
                let end = text
                    .find(|c: char| !(c.is_ascii_alphanumeric() || "/_+-".contains(c)))
                    .unwrap_or(text.len());
                self.zone = Some(TimeZone::get(&text[..end]).ok()?);
                Some(&text[end..])
            }
            Part::ZoneName => {
                let known = |(name, hours): &(&str, i8)| {
                    Some((Offset::constant(*hours), after(text, name)?))
                };
                let (offset, rest) = ZONES.iter().find_map(known)?;
                self.zone = Some(offset.to_time_zone());
                Some(rest)
            }
        }
    }

    fn set(&mut self, field: Field, value: i64) -> Option<()> {
        if !field.range().contains(&value) {
            return None;
        }
        match field {
            Field::Year => self.year = Some(value),
            Field::WeekYear => self.week_year = Some(value),
            Field::Month => self.month = Some(value),
            Field::Week => self.week = Some(value),
            Field::DayOfMonth => self.day = Some(value),
            Field::DayOfYear => self.day_of_year = Some(value),
            Field::DayOfWeek => self.weekday = Some(value),
            Field::Hour => self.hour = Some(value),
            Field::ClockHour => self.hour = Some(value % 24),
            Field::HalfDayHour => self.half_day_hour = Some(value),
            Field::HalfDayClockHour => self.half_day_hour = Some(value % 12),
            Field::Minute => self.minute = value,
            Field::Second => self.second = value,
        }
        Some(())
    }

    fn millis(&self, zone: &TimeZone) -> Option<i64> {
        let half = self.half_day_hour.map(|hour| hour + 12 * i64::from(self.afternoon));
        let hour = self.hour.or(half).unwrap_or(if self.afternoon { 12 } else { 0 });
        let time = Time::new(
            i8::try_from(hour).ok()?,
            i8::try_from(self.minute).ok()?,
            i8::try_from(self.second).ok()?,
            i32::try_from(self.millisecond * 1_000_000).ok()?,
        );
        let local = DateTime::from_parts(self.date()?, time.ok()?);
        let zone = self.zone.as_ref().unwrap_or(zone);
        let ambiguous = zone.to_ambiguous_timestamp(local);
        if matches!(ambiguous.offset(), AmbiguousOffset::Gap { .. }) {
            return None;
        }
        Some(ambiguous.earlier().ok()?.as_millisecond())
    }

    fn date(&self) -> Option<Date> {
        let short = |value: i64| i8::try_from(value).ok();
        let weekday = self.weekday.map(|day| Weekday::from_monday_one_offset(short(day)?).ok());
        if self.week.is_some() || self.week_year.is_some() {
            let year = i16::try_from(self.week_year.or(self.year).unwrap_or(1970)).ok()?;
            let day = weekday.unwrap_or(Some(Weekday::Monday))?;
            return Some(ISOWeekDate::new(year, short(self.week.unwrap_or(1))?, day).ok()?.date());
        }
        let dated = [self.month, self.day, self.day_of_year, self.weekday];
        let default = if dated.iter().any(Option::is_some) { 2000 } else { 1970 };
        let year = i16::try_from(self.year.unwrap_or(default)).ok()?;
        let date = match self.day_of_year {
            Some(day) => {
                let date = Date::new(year, 1, 1).ok()?;
                let date = date.checked_add(jiff::Span::new().days(day - 1)).ok()?;
                (date.year() == year).then_some(date)?
            }
            None => Date::new(year, short(self.month.unwrap_or(1))?, short(self.day.unwrap_or(1))?)
                .ok()?,
        };
        let Some(weekday) = weekday else { return Some(date) };
        // Joda moves the date within its week when the day's name says another.
        let days = weekday?.to_monday_one_offset() - date.weekday().to_monday_one_offset();
        date.checked_add(jiff::Span::new().days(i64::from(days))).ok()
    }
}

/// The year that ends in `short`, from 80 years before `this_year` to 19 behind it.
fn near(short: i64, this_year: i64) -> i64 {
    let first = this_year - 80;
    first + (short - first).rem_euclid(100)
}

/// What follows `wanted`, in any case of ASCII letters.
fn after<'t>(text: &'t str, wanted: &str) -> Option<&'t str> {
    let front = text.get(..wanted.len())?;
    front.eq_ignore_ascii_case(wanted).then(|| &text[wanted.len()..])
}

/// A number of at most `most` digits, how many it had, and the rest.
fn number(text: &str, most: usize, signed: bool) -> Option<(i64, usize, &str)> {
    let digits = match signed {
        true => text.strip_prefix(['+', '-']).unwrap_or(text),
        false => text,
    };
    let count = digits.bytes().take(most).take_while(u8::is_ascii_digit).count();
    let value = digits.get(..count).filter(|digits| !digits.is_empty())?;
    // More than fits into a number only occurs in fractions, where the value does not matter.
    let value = i64::from_str(&value[..count.min(18)]).ok()?;
    let negative = signed && text.starts_with('-');
    Some((if negative { -value } else { value }, count, &digits[count..]))
}

/// The number from 1 of the name, long or short, that `text` starts with.
fn name<'t>(text: &'t str, names: &[&str]) -> Option<(i64, &'t str)> {
    let long = (1..).zip(names).map(|(i, name)| (i, *name));
    let short = (1..).zip(names).map(|(i, name)| (i, &name[..3]));
    long.chain(short).find_map(|(i, name)| Some((i, after(text, name)?)))
}

/// `Z`, `+hh`, `+hhmm` or `+hh:mm`.
fn offset(text: &str) -> Option<(Offset, &str)> {
    if let Some(rest) = text.strip_prefix('Z') {
        return Some((Offset::UTC, rest));
    }
    let unsigned = text.strip_prefix(['+', '-'])?;
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let (hours, digits, rest) = number(unsigned, 2, false)?;
    let colon = rest.strip_prefix(':');
    let minutes = number(colon.unwrap_or(rest), 2, false);
    let (minutes, rest) = match minutes {
        Some((minutes, 2, rest)) => (minutes, rest),
        _ => (0, rest),
    };
    if digits != 2 || hours > 23 || minutes > 59 {
        return None;
    }
    let seconds = i32::try_from(sign * (hours * 3600 + minutes * 60)).ok()?;
    Some((Offset::from_seconds(seconds).ok()?, rest))
}

impl<'de> Deserialize<'de> for JodaPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        JodaPattern::new(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests;
