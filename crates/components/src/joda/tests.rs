//! What Joda-Time 2.9.9 answered for the same patterns in Europe/Berlin, in English.

use super::*;

#[rustfmt::skip]
const CASES: &[(&str, &str, Option<i64>)] = &[
    ("yyyy-MM-dd HH:mm:ss,SSS", "2024-01-02 03:04:05,678", Some(1704161045678)),
    ("yyyy-MM-dd HH:mm:ss,SSS", "2024-1-2 3:4:5,6", Some(1704161045600)),
    ("yyyy-MM-dd HH:mm:ss,SSS", "2024-01-02 03:04:05,67", Some(1704161045670)),
    ("yyyy-MM-dd HH:mm:ss,SSS", "2024-01-02 03:04:05", None),
    ("yyyy-MM-dd HH:mm:ss,SSS", "2024-13-02 03:04:05,678", None),
    ("yyyy-MM-dd HH:mm:ss,SSS", "2024-02-30 03:04:05,678", None),
    ("yyyy-MM-dd HH:mm:ss,SSS", "2024-03-31 02:30:00,000", None),
    ("yyyy-MM-dd HH:mm:ss,SSS", "2024-10-27 02:30:00,000", Some(1729989000000)),
    ("yyyy-MM-dd HH:mm:ss,SSS", " 2024-01-02 03:04:05,678", None),
    ("yyyy-MM-dd HH:mm:ss,SSS", "2024-01-02 03:04:05,6789", None),
    ("yyyy-MM-dd HH:mm:ss,SSS", "x", None),
    ("yyyyMMddHHmmss", "20240102030405", Some(1704161045000)),
    ("yyyyMMddHHmmss", "2024010203040", Some(1704161040000)),
    ("yyyy-MM-dd'T'HH:mm:ssZ", "2024-01-02T03:04:05+0100", Some(1704161045000)),
    ("yyyy-MM-dd'T'HH:mm:ssZ", "2024-01-02T03:04:05-05:30", Some(1704184445000)),
    ("yyyy-MM-dd'T'HH:mm:ssZ", "2024-01-02T03:04:05Z", Some(1704164645000)),
    ("yyyy-MM-dd'T'HH:mm:ssZ", "2024-01-02t03:04:05+01", Some(1704161045000)),
    ("yyyy-MM-dd'T'HH:mm:ss.SSSZZ", "2024-01-02T03:04:05.5+01:00", Some(1704161045500)),
    ("yyyy-MM-dd'T'HH:mm:ss.SSSZZ", "2024-01-02T03:04:05.123456+01:00", None),
    ("dd/MMM/yyyy:HH:mm:ss Z", "02/Jan/2024:03:04:05 +0000", Some(1704164645000)),
    ("dd/MMM/yyyy:HH:mm:ss Z", "02/january/2024:03:04:05 +0000", Some(1704164645000)),
    ("dd/MMM/yyyy:HH:mm:ss Z", "02/JAN/2024:03:04:05 +0000", Some(1704164645000)),
    ("EEE, d MMM yyyy HH:mm:ss z", "Tue, 2 Jan 2024 03:04:05 GMT", Some(1704164645000)),
    ("EEE, d MMM yyyy HH:mm:ss z", "Tuesday, 2 Jan 2024 03:04:05 EST", Some(1704182645000)),
    ("EEE, d MMM yyyy HH:mm:ss z", "Mon, 2 Jan 2024 03:04:05 UTC", Some(1704078245000)),
    ("MM-dd HH:mm", "02-29 10:11", Some(951815460000)),
    ("HH:mm", "10:11", Some(33060000)),
    ("hh:mm a", "12:30 AM", Some(-1800000)),
    ("hh:mm a", "12:30 PM", Some(41400000)),
    ("hh:mm a", "01:00 pm", Some(43200000)),
    ("hh:mm a", "13:00 PM", None),
    ("KK:mm a", "11:30 PM", Some(81000000)),
    ("kk:mm", "24:00", Some(-3600000)),
    ("yy-MM-dd", "24-01-02", Some(1704150000000)),
    ("yy-MM-dd", "70-01-02", Some(82800000)),
    ("yy-MM-dd", "2024-01-02", Some(1704150000000)),
    ("yyMMdd", "240102", Some(1704150000000)),
    ("D yyyy", "60 2024", Some(1709161200000)),
    ("D yyyy", "366 2023", None),
    ("xxxx-'W'ww-e", "2024-W01-1", Some(1704063600000)),
    ("xxxx-'W'ww-e", "2024-W01-7", Some(1704582000000)),
    ("yyyy", "2024", Some(1704063600000)),
    ("yyyy-MM-dd HH:mm:ss ZZZ", "2024-01-02 03:04:05 America/New_York", Some(1704182645000)),
    ("'at' HH 'o''clock'", "at 10 o'clock", Some(32400000)),
    ("'at' HH 'o''clock'", "AT 10 o'clock", Some(32400000)),
    ("ss", "60", None),
    ("SSSSSS", "123456", Some(-3599877)),
    ("a", "PM", Some(39600000)),
];

#[test]
fn reads_what_joda_reads() {
    let zone = TimeZone::get("Europe/Berlin").unwrap();
    for (pattern, text, want) in CASES {
        let got = JodaPattern::new(pattern).unwrap().millis(text, &zone, 2026);
        assert_eq!(got, *want, "{pattern:?} on {text:?}");
    }
}

#[test]
fn short_years_are_near_the_present() {
    let pattern = JodaPattern::new("yy").unwrap();
    let check = |text: &str, this_year: i16, year: i16| {
        let got = pattern.millis(text, &TimeZone::UTC, this_year).unwrap();
        let want = Date::new(year, 1, 1).unwrap().to_zoned(TimeZone::UTC).unwrap();
        assert_eq!(got, want.timestamp().as_millisecond(), "{text} in {this_year}");
    };
    check("46", 2026, 1946);
    check("45", 2026, 2045);
    check("99", 2026, 1999);
    check("99", 2090, 2099);
    check("1066", 2026, 1066);
}

#[test]
fn refuses_what_has_no_meaning() {
    for (pattern, what) in [
        ("", "empty"),
        ("yyyy-bb", "`bb`"),
        ("G yyyy", "`G`"),
        ("HH zzzz", "`zzzz`"),
        ("CC", "`CC`"),
        ("yyyyTMM", "`T`"),
    ] {
        let error = JodaPattern::new(pattern).unwrap_err();
        assert!(error.to_string().contains(what), "{error}");
    }
}

#[test]
fn any_text_is_read_or_not() {
    let patterns = [
        "yyyy-MM-dd HH:mm:ss.SSSZ",
        "EEE MMM d z yy ZZZ",
        "xxxxwwe",
        "D'é'SSSSSSSSSSSSSSSSSSSSSSSS",
    ];
    let pieces = ["1", "99999", "-", "+", ":", "é", "Jan", "Z", "UTC", " ", "2024", "00", "."];
    let random = splashdam_core::Random::new(9);
    for pattern in patterns {
        let pattern = JodaPattern::new(pattern).unwrap();
        for _ in 0..2000 {
            let text: String =
                (0..random.below(12)).map(|_| pieces[random.below(pieces.len())]).collect();
            pattern.millis(&text, &TimeZone::UTC, 2026);
        }
    }
    assert_eq!(patterns.len(), 4);
}
