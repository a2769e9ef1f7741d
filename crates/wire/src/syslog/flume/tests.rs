use jiff::tz::TimeZone;
use splashdam_core::Headers;

use super::*;

/// 22 November 2026, in Berlin: one hour ahead of UTC.
const NOW: i64 = 1_795_305_600_000;

pub(super) fn said(headers: &Headers) -> String {
    let all: Vec<String> = headers.iter().map(|(name, value)| format!("{name}={value}")).collect();
    all.join(" ")
}

fn read(reader: &mut Reader, message: &[u8], incomplete: bool) -> Option<(String, Vec<u8>)> {
    let berlin = TimeZone::get("Europe/Berlin").unwrap();
    let at = Moment { now_millis: NOW, zone: &berlin };
    let event = reader.read(&Bytes::copy_from_slice(message), incomplete, at).ok()?;
    Some((said(&event.headers), event.body.to_vec()))
}

#[test]
fn messages_become_what_flume_makes_of_them() {
    let check = |keep: &str, message: &[u8], headers: &str, body: &[u8]| {
        let mut reader = Reader::new(Keep::named(keep), None);
        let got = read(&mut reader, message, false);
        assert_eq!(got, Some((headers.to_owned(), body.to_vec())), "{keep} {message:?}");
    };
    let full = "Facility=1 Severity=5 priority=13";
    let host = "host=mill";
    let v4 = "2022-03-04T05:06:07";
    for (time, millis) in [
        (format!("{v4}+02:00"), "1646363167000"),
        (format!("{v4}Z"), "1646370367000"),
        (v4.to_owned(), "1646366767000"),
        // With a fraction the zone is not looked at, and the fraction is a number.
        (format!("{v4}.5+02:00"), "1646366767005"),
        (format!("{v4}.123456+02:00"), "1646366767123"),
        (format!("{v4}.5"), "1646366767005"),
        (format!("{v4}+99:00"), "1646366767000"),
        ("2022-13-32T25:61:61Z".to_owned(), "1675303321000"),
        ("Nov  1 05:06:07".to_owned(), "1793505967000"),
        ("Nov 1 05:06:07".to_owned(), "1793505967000"),
        ("Nov \t1 05:06:07".to_owned(), "1793505967000"),
        ("Dec 31 05:06:07".to_owned(), "1767153967000"),
        ("Feb 31 05:06:07".to_owned(), "1772510767000"),
    ] {
        let message = format!("<13>{time} mill some text");
        check(
            "none",
            message.as_bytes(),
            &format!("{full} timestamp={millis} {host}"),
            b"some text",
        );
        check(
            "all",
            message.as_bytes(),
            &format!("{full} timestamp={millis} {host}"),
            message.as_bytes(),
        );
    }
    let stamped = format!("{full} version=1 timestamp=1646370367000 {host}");
    let line = format!("<13>1 {v4}Z mill app 1 2 - text");
    for (keep, body) in [
        ("none", "app 1 2 - text".to_owned()),
        ("priority", "<13>app 1 2 - text".to_owned()),
        ("version", "1 app 1 2 - text".to_owned()),
        ("timestamp", format!("{v4}Z app 1 2 - text")),
        ("hostname", "mill app 1 2 - text".to_owned()),
        ("priority version timestamp hostname", format!("<13>1 {v4}Z mill app 1 2 - text")),
        ("all", line.clone()),
    ] {
        check(keep, line.as_bytes(), &stamped, body.as_bytes());
    }
    check("timestamp hostname", b"<13>- - text", full, b"null null text");
    check("none", b"<13>1 - - x", &format!("{full} version=1"), b"x");
    check("none", b"<13>1- - x", &format!("{full} version=1"), b"x");
    // Unknown months, wrong blanks: all but the time.
    check("none", b"<13>Xyz  1 05:06:07 mill x", &format!("{full} {host}"), b"x");
    check("none", b"<13>Nov\t1 05:06:07 mill x", &format!("{full} {host}"), b"x");
    // No text: the whole message is the body.
    check("none", b"<13>- mill ", &format!("{full} {host}"), b"<13>- mill ");
    let short = "Facility=1 Severity=5";
    for message in [
        &b"<13>"[..],
        b"<13>x",
        b"<13>- mill",
        b"<13>- mill text\r",
        b"<13>- mill te\xc2\x85xt",
        b"<13>- mill te\xe2\x80\xa8xt",
        b"<13>2022-03-04 05:06:07 mill x",
        b"<13>2022-03-04T05:06:07.1234567Z mill x",
        b"<13>Nov 1 5:06:07 mill x",
        b"<13>12 - mill x",
        b"<13",
        b"<13>\xff\xfe",
    ] {
        check("none", message, short, message);
    }
    check("none", b"<13>- mill a\xffb", &format!("{full} {host}"), "a\u{fffd}b".as_bytes());
    check("none", b"<999>- mill x", &format!("Facility=124 Severity=7 priority=999 {host}"), b"x");
    let invalid = "Facility=0 Severity=0 flume.syslog.status=Invalid";
    for message in [&b"text"[..], b"<>x", b"<a>x", b"<1234>x", b"<1\n2>x", b" <13>x", b"\0"] {
        check("none", message, invalid, message);
        check("all", message, invalid, message);
    }
    for message in [&b""[..], b"<"] {
        let mut reader = Reader::new(Keep::None, None);
        assert_eq!(read(&mut reader, message, false), None, "{message:?}");
    }
}

#[test]
fn priority_and_version_stay_behind() {
    let mut reader = Reader::new(Keep::None, None);
    let mut check = |message: &[u8], incomplete: bool, headers: &str| {
        let (got, _) = read(&mut reader, message, incomplete).unwrap();
        assert_eq!(got, headers, "{message:?}");
    };
    check(b"<13>1 - mill x", false, "Facility=1 Severity=5 priority=13 version=1 host=mill");
    check(
        b"text",
        false,
        "Facility=0 Severity=0 priority=13 version=1 flume.syslog.status=Invalid",
    );
    check(
        b"<14>cut",
        true,
        "Facility=1 Severity=6 priority=13 version=1 flume.syslog.status=Incomplete",
    );
    check(
        b"<15>- mill x",
        true,
        "Facility=1 Severity=7 priority=15 host=mill flume.syslog.status=Incomplete",
    );
    check(b"text", true, "Facility=0 Severity=0 priority=15 flume.syslog.status=Invalid");
}

#[test]
fn a_format_of_the_users_comes_first() {
    let format = Format::new(|line, _| {
        let start = line.find("::")?;
        Some(Found {
            host: Some(4..start),
            body: Some(start + 2..line.len()),
            millis: Some(7),
            ..Found::default()
        })
    });
    let mut reader = Reader::new(Keep::named("priority"), Some(format));
    let got = read(&mut reader, b"<13>mill::x", false).unwrap();
    assert_eq!(
        got,
        ("Facility=1 Severity=5 timestamp=7 host=mill".to_owned(), b"<null>x".to_vec())
    );
    let got = read(&mut reader, b"<13>- mill x", false).unwrap();
    assert_eq!(got.0, "Facility=1 Severity=5 priority=13 host=mill");
}

#[test]
fn a_datagram_is_its_first_line() {
    for (bytes, message) in [
        (&b"<1>a"[..], &b"<1>a"[..]),
        (b"<1>a\nb", b"<1>a"),
        (b"\n\n<1>a\n", b"<1>a"),
        (b"<1\na\nb", b"<1\na"),
        (b"\n", b""),
        (b"", b""),
        (b"<", b"<"),
        (b"<123", b"<123"),
    ] {
        assert_eq!(&bytes[datagram(bytes)], message, "{bytes:?}");
    }
}
