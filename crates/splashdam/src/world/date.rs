//! Dates in patterns of Java's `SimpleDateFormat`, in English.

use jiff::Zoned;
use jiff::civil::{Era, Weekday};

/// A letter may be repeated this often; more is no pattern but a mistake.
const WIDTH_LIMIT: usize = 64;

/// `now` in `pattern`; nothing for a letter that Java does not know or a quote that is not closed.
pub(super) fn format(pattern: &str, now: &Zoned) -> Option<String> {
    let mut out = String::new();
    let mut rest = pattern;
    while let Some(letter) = rest.chars().next() {
        if letter == '\'' {
            rest = quoted(&rest[1..], &mut out)?;
        } else if letter.is_ascii_alphabetic() {
            let width = rest.chars().take_while(|c| *c == letter).count();
            if width > WIDTH_LIMIT {
                return None;
            }
            field(&mut out, letter, width, now)?;
            rest = &rest[width..];
        } else {
            out.push(letter);
            rest = &rest[letter.len_utf8()..];
        }
    }
    Some(out)
}

/// Text between quotes, two quotes being one; what comes after the closing one.
fn quoted<'a>(rest: &'a str, out: &mut String) -> Option<&'a str> {
    if let Some(rest) = rest.strip_prefix('\'') {
        out.push('\'');
        return Some(rest);
    }
    let mut rest = rest;
    loop {
        let end = rest.find('\'')?;
        out.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('\'') {
            Some(more) => {
                out.push('\'');
                rest = more;
            }
            None => return Some(rest),
        }
    }
}

fn field(out: &mut String, letter: char, width: usize, now: &Zoned) -> Option<()> {
    let number = |out: &mut String, value: i64| {
        out.push_str(&format!("{value:0width$}"));
    };
    let hour = i64::from(now.hour());
    match letter {
        'G' => out.push_str(if now.date().era_year().1 == Era::CE { "AD" } else { "BC" }),
        'y' => year(out, i64::from(now.date().era_year().0), width),
        'Y' => year(out, i64::from(week_of_year(now).0), width),
        'M' | 'L' if width >= 4 => out.push_str(MONTHS[usize::try_from(now.month() - 1).ok()?]),
        'M' | 'L' if width == 3 => {
            out.push_str(&MONTHS[usize::try_from(now.month() - 1).ok()?][..3]);
        }
        'M' | 'L' => number(out, now.month().into()),
        'w' => number(out, week_of_year(now).1.into()),
        'W' => number(out, week_of_month(now).into()),
        'D' => number(out, now.day_of_year().into()),
        'd' => number(out, now.day().into()),
        'F' => number(out, i64::from((now.day() - 1) / 7 + 1)),
        'E' => {
            let name = WEEKDAYS[usize::try_from(now.weekday().to_sunday_zero_offset()).ok()?];
            out.push_str(if width >= 4 { name } else { &name[..3] });
        }
        'u' => number(out, now.weekday().to_monday_one_offset().into()),
        'a' => out.push_str(if hour < 12 { "AM" } else { "PM" }),
        'H' => number(out, hour),
        'k' => number(out, if hour == 0 { 24 } else { hour }),
        'K' => number(out, hour % 12),
        'h' => number(out, if hour % 12 == 0 { 12 } else { hour % 12 }),
        'm' => number(out, now.minute().into()),
        's' => number(out, now.second().into()),
        'S' => number(out, now.millisecond().into()),
        'z' => out.push_str(now.time_zone().to_offset_info(now.timestamp()).abbreviation()),
        'Z' => offset(out, now, Some("")),
        'X' if width <= 3 && now.offset().is_zero() => out.push('Z'),
        'X' => match width {
            1 => offset(out, now, None),
            2 => offset(out, now, Some("")),
            3 => offset(out, now, Some(":")),
            _ => return None,
        },
        _ => return None,
    }
    Some(())
}

/// Two letters mean two digits, as in Java.
fn year(out: &mut String, year: i64, width: usize) {
    let value = if width == 2 { year % 100 } else { year };
    out.push_str(&format!("{value:0width$}"));
}

/// `+hh`, and the minutes after `between` if there is one.
fn offset(out: &mut String, now: &Zoned, between: Option<&str>) {
    let seconds = now.offset().seconds();
    let sign = if seconds < 0 { '-' } else { '+' };
    let minutes = seconds.abs() / 60;
    out.push_str(&format!("{sign}{:02}", minutes / 60));
    if let Some(between) = between {
        out.push_str(&format!("{between}{:02}", minutes % 60));
    }
}

/// Week-based year and week, weeks beginning on Sunday and the first one holding 1 January.
fn week_of_year(now: &Zoned) -> (i16, i16) {
    let year = now.year();
    let week = (now.day_of_year() - 1 + days_before_new_year(now)) / 7 + 1;
    // The last days of December belong to the week of the next 1 January.
    let saturday = now.day_of_year() + 6 - i16::from(now.weekday().to_sunday_zero_offset());
    if saturday > now.days_in_year() { (year + 1, 1) } else { (year, week) }
}

/// How many days of 1 January's week lie before it.
fn days_before_new_year(now: &Zoned) -> i16 {
    let today = i16::from(now.weekday().to_sunday_zero_offset());
    (today - (now.day_of_year() - 1)).rem_euclid(7)
}

fn week_of_month(now: &Zoned) -> i8 {
    let first = (now.weekday().since(Weekday::Sunday) - (now.day() - 1)).rem_euclid(7);
    (now.day() - 1 + first) / 7 + 1
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

const WEEKDAYS: [&str; 7] =
    ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

#[cfg(test)]
mod tests {
    use super::*;

    fn check(at: &str, table: &[(&str, Option<&str>)]) {
        let now: Zoned = at.parse().unwrap();
        for (pattern, want) in table {
            assert_eq!(format(pattern, &now).as_deref(), *want, "{pattern} at {at}");
        }
    }

    #[test]
    fn letters_as_in_java() {
        check(
            "2024-03-05T00:07:09.042+05:30[Asia/Kolkata]",
            &[
                ("yyyy-MM-dd", Some("2024-03-05")),
                ("yy/M/d", Some("24/3/5")),
                ("EEE, MMM d yyyy", Some("Tue, Mar 5 2024")),
                ("EEEE MMMM", Some("Tuesday March")),
                ("HH:mm:ss.SSS", Some("00:07:09.042")),
                ("k h K a", Some("24 12 0 AM")),
                ("D F w W u", Some("65 1 10 2 2")),
                ("Z XXX XX X z", Some("+0530 +05:30 +0530 +05 IST")),
                ("yyyy-MM-dd'T'HH 'o''clock'", Some("2024-03-05T00 o'clock")),
                ("'' yyyyy S", Some("' 02024 42")),
                ("G \u{e9}", Some("AD \u{e9}")),
                ("b", None),
                ("'open", None),
                ("XXXX", None),
                ("", Some("")),
            ],
        );
    }

    #[test]
    fn zones_and_ends_of_years() {
        check(
            "2023-12-31T13:00:00-08:00[America/Los_Angeles]",
            &[("Z XXX h a", Some("-0800 -08:00 1 PM")), ("YYYY w yyyy W", Some("2024 1 2023 6"))],
        );
        check("2022-01-01T12:00:00Z[UTC]", &[("X XXX h Y w", Some("Z Z 12 2022 1"))]);
        check("2021-01-03T12:00:00Z[UTC]", &[("Y w W", Some("2021 2 2"))]);
    }
}
