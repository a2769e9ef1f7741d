//! Calendar arithmetic as Java's: fields out of their range roll over, dates before 15 October 1582
//! are Julian, and a missing year is guessed.

use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};
use jiff::{Span, Timestamp};

use super::Moment;

const DAY_SECONDS: i64 = 86_400;
/// 15 October 1582, the first Gregorian day, counted from 1970.
const FIRST_GREGORIAN_DAY: i64 = -141_427;

/// A date and time of day whose fields may lie outside of their ranges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fields {
    pub(super) year: i64,
    /// 1 is January.
    pub(super) month: i64,
    pub(super) day: i64,
    pub(super) hour: i64,
    pub(super) minute: i64,
    pub(super) second: i64,
    pub(super) millis: i64,
}

impl Fields {
    /// Milliseconds since 1970 at `offset_seconds` east of UTC.
    pub(super) fn at_offset(self, offset_seconds: i64) -> i64 {
        (self.local_seconds() - offset_seconds) * 1000 + self.millis
    }

    /// Milliseconds since 1970 in a zone. A time that a change of clocks skipped is read by the
    /// clock before it, one that happened twice is the later.
    pub(super) fn in_zone(self, zone: &TimeZone) -> i64 {
        // Milliseconds may be more than a second's worth, and roll over.
        let local = self.local_seconds() + self.millis.div_euclid(1000);
        let offset = match local_time(local) {
            Some(local) => i64::from(later_offset(zone, local).seconds()),
            // Far outside of any calendar.
            None => 0,
        };
        (local - offset) * 1000 + self.millis.rem_euclid(1000)
    }

    /// Milliseconds since 1970 in UTC, by the Gregorian calendar however long ago.
    pub(super) fn gregorian_millis(self) -> i64 {
        let days = gregorian_days(self.year, self.month) + self.day - 1;
        (days * DAY_SECONDS + self.time_seconds()) * 1000 + self.millis
    }

    fn local_seconds(self) -> i64 {
        self.days() * DAY_SECONDS + self.time_seconds()
    }

    fn time_seconds(self) -> i64 {
        (self.hour * 60 + self.minute) * 60 + self.second
    }

    fn days(self) -> i64 {
        let months = self.year * 12 + self.month - 1;
        let (year, month) = (months.div_euclid(12), months.rem_euclid(12) + 1);
        let gregorian = gregorian_days(year, month) + self.day - 1;
        if gregorian >= FIRST_GREGORIAN_DAY {
            return gregorian;
        }
        julian_days(year, month) + self.day - 1
    }
}

/// Days of a month of the Gregorian calendar, 1 to 12.
pub(super) fn days_in_month(year: i64, month: i64) -> i64 {
    let next = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    gregorian_days(next.0, next.1) - gregorian_days(year, month)
}

/// The first of a month, in days since 1970. Years begin in March here, so that the leap day is the
/// last.
fn gregorian_days(year: i64, month: i64) -> i64 {
    let (year, day_of_year) = from_march(year, month);
    let (era, year) = (year.div_euclid(400), year.rem_euclid(400));
    era * 146_097 + year * 365 + year / 4 - year / 100 + day_of_year - 719_468
}

fn julian_days(year: i64, month: i64) -> i64 {
    let (year, day_of_year) = from_march(year, month);
    let (era, year) = (year.div_euclid(4), year.rem_euclid(4));
    era * 1461 + year * 365 + day_of_year - 719_470
}

fn from_march(year: i64, month: i64) -> (i64, i64) {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    (year, (153 * month + 2) / 5)
}

fn local_time(seconds: i64) -> Option<DateTime> {
    let moment = Timestamp::from_second(seconds).ok()?;
    Some(Offset::UTC.to_datetime(moment))
}

fn later_offset(zone: &TimeZone, local: DateTime) -> Offset {
    use jiff::tz::AmbiguousOffset::{Fold, Gap, Unambiguous};
    match zone.to_ambiguous_timestamp(local).offset() {
        Unambiguous { offset } => offset,
        Gap { before, .. } => before,
        Fold { after, .. } => after,
    }
}

/// Milliseconds since 1970 of a local time, [`Fields::in_zone`].
pub(super) fn millis_in_zone(local: DateTime, zone: &TimeZone) -> i64 {
    let offset = later_offset(zone, local);
    offset.to_timestamp(local).map_or(0, Timestamp::as_millisecond)
}

/// The local time in a zone.
pub(super) fn local_in_zone(millis: i64, zone: &TimeZone) -> Option<DateTime> {
    let moment = Timestamp::from_millisecond(millis).ok()?;
    Some(zone.to_offset(moment).to_datetime(moment))
}

/// The year in UTC.
pub(super) fn utc_year(millis: i64) -> i64 {
    local_in_zone(millis, &TimeZone::UTC).map_or(1970, |now| i64::from(now.year()))
}

/// `local`, moved by years and months; a day that the month lacks becomes its last.
pub(super) fn moved(local: DateTime, years: i64, months: i64) -> DateTime {
    local.checked_add(Span::new().years(years).months(months)).unwrap_or(local)
}

/// A time that was read with this year in UTC, in the year that it probably was: the last one if it
/// is more than a month ahead, the next one if it is more than eleven months ago.
pub(super) fn with_guessed_year(millis: i64, at: Moment<'_>) -> i64 {
    let Some(local) = local_in_zone(millis, at.zone) else { return millis };
    let shifted = |years, months| millis_in_zone(moved(local, years, months), at.zone);
    if millis > at.now_millis && shifted(0, -1) > at.now_millis {
        shifted(-1, 0)
    } else if millis < at.now_millis && shifted(0, 11) < at.now_millis {
        shifted(1, 0)
    } else {
        millis
    }
}

/// The month that a name of three letters means, 1 to 12, in any case.
pub(super) fn month(name: &[u8]) -> Option<i64> {
    const NAMES: [&[u8; 3]; 12] = [
        b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov",
        b"dec",
    ];
    let at = NAMES.iter().position(|known| name.eq_ignore_ascii_case(*known))?;
    i64::try_from(at + 1).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Fields {
        let mut numbers = text.split([' ', '-', ':', '.']).map(|n| n.parse().unwrap());
        let mut next = || numbers.next().unwrap_or(0);
        Fields {
            year: next(),
            month: next(),
            day: next(),
            hour: next(),
            minute: next(),
            second: next(),
            millis: next(),
        }
    }

    #[test]
    fn fields_roll_over() {
        for (written, millis) in [
            ("1970-1-1", 0),
            ("2022-3-4 5:6:7.8", 1_646_370_367_008),
            ("2022-13-1", 1_672_531_200_000),
            ("2022-2-31 25:61:61", 1_646_359_321_000),
            ("2022-0-0", 1_638_230_400_000),
            ("2000-2-29", 951_782_400_000),
            ("1582-10-15", -12_219_292_800_000),
            ("1582-10-4", -12_219_379_200_000),
            ("1582-10-10", -12_218_860_800_000),
            ("1-1-1", -62_135_769_600_000),
            ("0-1-1", -62_167_392_000_000),
            ("9999-99-99", 253_636_790_400_000),
        ] {
            assert_eq!(fields(written).at_offset(0), millis, "{written}");
            assert_eq!(fields(written).in_zone(&TimeZone::UTC), millis, "{written} in UTC");
        }
    }

    #[test]
    fn changes_of_clocks_are_read_as_in_java() {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        for (written, millis) in [
            ("2022-3-4 5:6:7", 1_646_366_767_000),
            // Skipped: an hour later by the new clock.
            ("2022-3-27 2:30:0", 1_648_344_600_000),
            // Twice: in winter time.
            ("2022-10-30 2:30:0", 1_667_093_400_000),
        ] {
            assert_eq!(fields(written).in_zone(&berlin), millis, "{written}");
        }
    }

    #[test]
    fn the_year_is_the_one_that_is_near() {
        let at = |text: &str| fields(text).at_offset(0);
        for (now, written, want) in [
            ("2026-11-22", "2026-11-1", "2026-11-1"),
            ("2026-11-22", "2026-12-21", "2026-12-21"),
            ("2026-11-22", "2026-12-31", "2025-12-31"),
            ("2026-11-22", "2026-1-1", "2026-1-1"),
            ("2026-12-22", "2026-1-1", "2027-1-1"),
            ("2026-1-2", "2026-12-31", "2025-12-31"),
            ("2026-1-2", "2026-2-1", "2026-2-1"),
            ("2025-12-31", "2025-1-1", "2026-1-1"),
        ] {
            let moment = Moment { now_millis: at(now), zone: &TimeZone::UTC };
            assert_eq!(with_guessed_year(at(written), moment), at(want), "{written} on {now}");
        }
    }
}
