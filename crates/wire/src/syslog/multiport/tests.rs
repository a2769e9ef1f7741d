use super::*;

/// 22 November 2026, in Berlin.
const NOW: i64 = 1_795_305_600_000;

fn event(keep: &str, line: &str, incomplete: bool) -> Result<Event, Malformed> {
    let berlin = TimeZone::get("Europe/Berlin").unwrap();
    let at = Moment { now_millis: NOW, zone: &berlin };
    read(&Bytes::copy_from_slice(line.as_bytes()), Keep::named(keep), incomplete, at)
}

#[test]
fn messages_become_what_flume_makes_of_them() {
    let check = |keep: &str, line: &str, headers: &str, body: &str| {
        let event = event(keep, line, false).unwrap_or_else(|error| panic!("{line}: {error}"));
        let said: Vec<String> =
            event.headers.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(
            (said.join(" ").as_str(), &event.body[..]),
            (headers, body.as_bytes()),
            "{line}"
        );
    };
    let full = "Priority=13 Facility=1 Severity=5";
    let v4 = "2022-03-04T05:06:07";
    for (time, millis) in [
        (format!("{v4}+02:00"), "1646363167000"),
        (format!("{v4}Z"), "1646370367000"),
        (format!("{v4}X"), "1646370367000"),
        (format!("{v4}Zebra"), "1646370367000"),
        (format!("{v4}.5+02:00"), "1646363167500"),
        (format!("{v4}.05-02:00"), "1646377567050"),
        (format!("{v4}.123456789Z"), "1646370367123"),
        (format!("{v4}-99:99"), "1646732707000"),
        ("2022-3-4T5:06:007Z".replace("007", "07.1"), "0"),
        ("2022-03-04t05:06:07z".to_owned(), "1646370367000"),
        ("9999-12-31T23:59:59Z".to_owned(), "253402300799000"),
        ("12022-03-04T05:06:07Z".to_owned(), "317215890360000"),
        ("0001-01-01T00:00:00Z".to_owned(), "-62135596800000"),
        ("-".to_owned(), "1795305600000"),
        ("Nov  1 05:06:07".to_owned(), "1793509567000"),
        ("NOV  1 05:06:07".to_owned(), "1793509567000"),
        ("Jan  1 05:06:07".to_owned(), "978325567000"),
        ("Dec 31 05:06:07".to_owned(), "946616767000"),
        ("June 1 05:06:07".to_owned(), "991371967000"),
        ("Feb 29 05:06:07".to_owned(), "983336767000"),
        ("Xyz  1 05:06:07".to_owned(), "0"),
        ("Nov 31 05:06:07".to_owned(), "0"),
    ] {
        if millis == "0" && time.starts_with('2') {
            assert!(event("none", &format!("<13>{time} mill x"), false).is_err(), "{time}");
            continue;
        }
        let line = format!("<13>{time} mill some text");
        check("none", &line, &format!("{full} timestamp={millis} host=mill"), "some text");
    }
    let now = "timestamp=1795305600000";
    let line = "<13>1 - mill app text";
    let headers = format!("{full} Version=1 {now} host=mill");
    for (keep, body) in [
        ("none", "app text"),
        ("all", line),
        ("priority", "<13>app text"),
        ("version", "1 app text"),
        ("timestamp", "- app text"),
        ("hostname", "mill app text"),
        ("priority version timestamp hostname", line),
    ] {
        check(keep, line, &headers, body);
    }
    check("none", "<13>-xmill text\r", &format!("{full} {now} host=mill"), "text\r");
    check("none", "<13>- mill ", &format!("{full} {now} host=mill"), "<13>- mill ");
    check("none", "<13>-  text", &format!("{full} {now} host="), "text");
    check(
        "none",
        "<00013>- h x",
        &format!("Priority=00013 Facility=1 Severity=5 {now} host=h"),
        "x",
    );
    check("none", "<-9>- h x", &format!("Priority=-9 Facility=-1 Severity=-1 {now} host=h"), "x");
    check("none", "<+9>- h x", &format!("Priority=+9 Facility=1 Severity=1 {now} host=h"), "x");
    check(
        "none",
        "<99999>- h x",
        &format!("Priority=99999 Facility=12499 Severity=7 {now} host=h"),
        "x",
    );
    check("none", "<13>- münchen grün", &format!("{full} {now} host=münchen"), "grün");
}

#[test]
fn what_is_no_message_is_refused() {
    for line in [
        "",
        "text",
        "<",
        "<>- h x",
        "<a>- h x",
        "<123456>- h x",
        "<13>",
        "<13>-",
        "<13>- ",
        "<13>- h",
        "<13>1 ",
        "<13>x",
        "<13>2 - h x",
        "<13>Nov 1",
        "<13>Nov  1 05:06:07",
        "<13>2022-03-04T05:06:07 h x",
        "<13>2022-03-04T05:06:07. h x",
        "<13>2022-03-04T05:06:07.5 h x",
        "<13>2022-03-04T05:06:07+0200 h x",
        "<13>2022-02-30T05:06:07Z h x",
        "<13>2022-03-04T05:06:61Z h x",
        "<13>2022-03-04T05:06:07.99999999999999999999Z h x",
        "<13>ääää",
        "<13>Äöü",
    ] {
        assert!(event("none", line, false).is_err(), "{line}");
    }
    let cut = event("none", "<13>- mill te", true).unwrap();
    assert_eq!(cut.headers.get("flume.syslog.status"), Some(&INCOMPLETE));
    assert_eq!(
        invalid(Bytes::from_static(b"x")).headers.get("flume.syslog.status"),
        Some(&INVALID)
    );
}
