use jiff::tz::TimeZone;

use super::*;

/// 22 November 2026, in Berlin.
const NOW: i64 = 1_795_305_600_000;

fn check(keep: &str, message: &[u8], headers: &str, body: &[u8]) {
    let berlin = TimeZone::get("Europe/Berlin").unwrap();
    let at = Moment { now_millis: NOW, zone: &berlin };
    let event = read(&Bytes::copy_from_slice(message), Keep::named(keep), false, at);
    let said: Vec<String> =
        event.headers.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let message = String::from_utf8_lossy(message);
    assert_eq!((said.join(" ").as_str(), &event.body[..]), (headers, body), "{message}");
}

#[test]
fn messages_of_rfc_5424() {
    let full = "Facility=4 Severity=2 priority=34 version=1";
    check(
        "none",
        b"<34>1 2003-10-11T22:14:15.003Z mill su - ID47 - \xef\xbb\xbf'su root' failed",
        &format!("{full} timestamp=1065910455003 host=mill appname=su msgid=ID47"),
        b"'su root' failed",
    );
    check(
        "none",
        b"<165>1 2003-08-24T05:14:15.000003-07:00 192.0.2.1 app 8710 - - %% text",
        "Facility=20 Severity=5 priority=165 version=1 timestamp=1061727255000 host=192.0.2.1 appname=app procid=8710",
        b"%% text",
    );
    let data = r#"[a@1 iut="3" src="App\"l\\i\]c\x"][b ip="1" ip="2"]"#;
    check(
        "none",
        format!("<34>1 - - - - - {data} text").as_bytes(),
        &format!(r#"{full} sd.a@1.iut=3 sd.a@1.src=App"l\i]c\x sd.b.ip=1,2"#),
        b"text",
    );
    check("none", b"<34>1 - - - - - -", full, b"");
    check("none", b"<34>1 - - - - - - ", full, b"");
    check("none", b"<34>1 - - - - - [empty]", full, b"");
    check("none", b"<34>1 - - - - - - a\xffb\xfec", full, b"a\xffb\xfec");
    check("timestamp hostname", b"<34>1 - - - - - - x", full, b"- - x");
    check("priority version", b"<34>1 - - - - - - x", full, b"<34>1 x");
    check("all", b"<34>1 - - - - - - x", full, b"<34>1 - - - - - - x");
    for malformed in [
        "<34>1 2003-10-11 h a p m - x",
        "<34>1 2003-13-11T22:14:15Z h a p m - x",
        "<34>1 - h",
        "<34>1 - h a p m",
        "<34>1 - h a p m x",
        "<34>1 - h a p m -x",
        "<34>1 - h a p m [a",
        "<34>1 - h a p m [a b]",
        "<34>1 - h a p m [a b=\"c]",
        "<34>1 - h a p m [a b=\"c\"] x".replace("] x", "]x").as_str(),
        "<34>1 -  a p m - x",
        "<34>1 - h\u{e4} a p m - x",
    ] {
        let headers = "Facility=4 Severity=2 priority=34 flume.syslog.status=Invalid";
        check("none", malformed.as_bytes(), headers, malformed.as_bytes());
    }
}

#[test]
fn messages_of_rfc_3164() {
    let full = "Facility=4 Severity=2 priority=34";
    let tagged = "appname=su procid=7";
    check(
        "none",
        b"<34>Nov  1 22:14:15 mill su[7]: failed",
        &format!("{full} timestamp=1793567655000 host=mill {tagged}"),
        b"failed",
    );
    check(
        "none",
        b"<34>Dec 31 2025 05:06:07 mill su[7]:failed",
        &format!("{full} timestamp=1767153967000 host=mill {tagged}"),
        b"failed",
    );
    check(
        "none",
        b"<34>2022-03-04T05:06:07.5+02:00 mill su[7]: failed",
        &format!("{full} timestamp=1646363167500 host=mill {tagged}"),
        b"failed",
    );
    check(
        "none",
        b"<34>Nov  1 22:14:15 su[7]: failed",
        &format!("{full} timestamp=1793567655000 {tagged}"),
        b"failed",
    );
    check(
        "none",
        b"<34>Nov  1 22:14:15 mill plain text",
        &format!("{full} timestamp=1793567655000 host=mill"),
        b"plain text",
    );
    check("none", b"<34>su: failed", &format!("{full} appname=su"), b"failed");
    check("none", b"<34>just text", full, b"just text");
    check("none", b"<34>Nov 32 22:14:15 mill x", full, b"Nov 32 22:14:15 mill x");
    check(
        "hostname",
        b"<34>Nov  1 22:14:15 mill su[7]: x",
        &format!("{full} timestamp=1793567655000 host=mill {tagged}"),
        b"mill x",
    );
    check(
        "none",
        b"<34>Nov  1 22:14:15 m\xff x: a\xffb",
        &format!("{full} timestamp=1793567655000 appname=x").replace(" appname=x", ""),
        b"m\xff x: a\xffb",
    );
    for malformed in ["text", "<192>x", "<>x", "<1234>x", "", "<13"] {
        let headers = "Facility=1 Severity=5 flume.syslog.status=Invalid";
        check("none", malformed.as_bytes(), headers, malformed.as_bytes());
    }
}
