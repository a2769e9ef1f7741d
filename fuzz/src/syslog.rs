//! Any bytes as a stream of syslog messages, in each framing and each dialect.

use bytes::Bytes;
use splashdam_core::Event;
use splashdam_wire::syslog::cut::{Cut, Cutter, Framing, LineEnd, Rest};
use splashdam_wire::syslog::java_date::DatePattern;
use splashdam_wire::syslog::write::{Delimiting, Form, Message, write};
use splashdam_wire::syslog::{Keep, Moment, TimeZone, flume, multiport, rfc};

/// The time and the limit of messages here.
const NOW: i64 = 1_795_305_600_000;
const LIMIT: usize = 64;
/// Bytes that are not UTF-8 become U+FFFD, in headers and body, and what is kept of headers is in the
/// body, too; numbers and names of headers come on top.
const GROWTH: usize = 7;
const NAMES: usize = 512;

/// Cuts and reads the input, whose first byte says how. The same messages come of it in pieces as
/// at once; none is longer than the limit, and none grows without bound.
pub fn stream(input: &[u8]) {
    let Some((&how, stream)) = input.split_first() else { return };
    let cutter = cutter(how);
    let messages = messages(cutter.clone(), stream, stream.len().max(1));
    assert_eq!(messages, self::messages(cutter, stream, 1 + usize::from(how) % 7));
    let keep = [Keep::None, Keep::All, Keep::named("priority version timestamp hostname")];
    let keep = keep[usize::from(how >> 4) % keep.len()];
    let zone = TimeZone::get("Europe/Berlin").unwrap_or(TimeZone::UTC);
    let at = Moment { now_millis: NOW, zone: &zone };
    let mut reader = flume::Reader::new(keep, None);
    for (message, incomplete) in messages {
        assert!(message.len() <= LIMIT);
        let message = Bytes::from(message);
        let events = [
            reader.read(&message, incomplete, at).ok(),
            multiport::read(&message, keep, incomplete, at).ok(),
            Some(rfc::read(&message, keep, incomplete, at)),
        ];
        for event in events.into_iter().flatten() {
            check(&event, &message);
        }
        let datagram = flume::datagram(&message);
        assert!(datagram.start <= datagram.end && datagram.end <= message.len());
        date(&message, at);
    }
}

fn cutter(how: u8) -> Cutter {
    let framing =
        [Framing::Newline, Framing::OctetCounted, Framing::Auto][usize::from(how >> 2) % 3];
    let rest = if how & 1 == 0 { Rest::NextMessage } else { Rest::Skipped };
    let cutter = Cutter::new(framing, LIMIT, rest);
    match how & 3 {
        0 => cutter.with_priority_first(),
        3 => cutter.with_line_end(LineEnd::Utf16Le),
        _ => cutter,
    }
}

/// The messages of a stream that comes in pieces.
fn messages(mut cutter: Cutter, stream: &[u8], piece: usize) -> Vec<(Vec<u8>, bool)> {
    let (mut all, mut start, mut end) = (Vec::new(), 0, 0);
    let mut still = 0;
    loop {
        let before = start;
        match cutter.cut(&stream[start..end]) {
            Err(_) => return all,
            Ok(Cut::Part) if end == stream.len() => return all,
            Ok(Cut::Part) => end = stream.len().min(end + piece),
            Ok(Cut::Nothing { next }) => start += next,
            Ok(Cut::Message { at, next, incomplete }) => {
                assert!(at.end <= next && next <= end - start && next > 0);
                all.push((stream[start..][at].to_vec(), incomplete));
                start += next;
            }
        }
        still = if start == before && end == stream.len() { still + 1 } else { 0 };
        assert!(still < 3, "it does not go on");
    }
}

/// What comes of a message is bounded, and can be written and read again.
fn check(event: &Event, message: &Bytes) {
    assert!(event.bytes() <= GROWTH * message.len() * 3 + NAMES);
    let header = |name: &str| event.headers.get(name).map(ToString::to_string);
    let host = header("host").unwrap_or_default();
    let app_name = header("appname").unwrap_or_default();
    let written = Message {
        priority: 13,
        millis: header("timestamp").and_then(|text| text.parse().ok()).unwrap_or(NOW),
        host: &host,
        app_name: &app_name,
        proc_id: "",
        msg_id: "",
        body: &event.body,
    };
    for form in [Form::Rfc5424, Form::Rfc3164] {
        let mut out = Vec::new();
        write(&mut out, &written, form, Delimiting::OctetCounted, &TimeZone::UTC);
        let mut cutter = Cutter::new(Framing::OctetCounted, 1 << 20, Rest::Skipped);
        let Ok(Cut::Message { at, next, incomplete: false }) = cutter.cut(&out) else {
            panic!("our own message is not cut")
        };
        assert_eq!(next, out.len());
        if form == Form::Rfc5424 && !event.body.starts_with(b"\xef\xbb\xbf") {
            let moment = Moment { now_millis: NOW, zone: &TimeZone::UTC };
            let again = rfc::read(&Bytes::copy_from_slice(&out[at]), Keep::None, false, moment);
            // A counted message may end by LF beside its length.
            let sent = event.body.strip_suffix(b"\n").unwrap_or(&event.body);
            assert_eq!(&again.body[..], sent);
            assert!(again.headers.get("flume.syslog.status").is_none());
        }
    }
}

/// The message as a pattern of dates and as a date.
fn date(message: &Bytes, at: Moment<'_>) {
    let text = String::from_utf8_lossy(message);
    if let Ok(pattern) = DatePattern::new(&text) {
        pattern.millis(&text, at);
    }
    for pattern in ["yyyy-MM-dd'T'HH:mm:ss.SSSZ", "EEE, d MMM yy hh:mm a z"] {
        DatePattern::new(pattern).map(|pattern| pattern.millis(&text, at)).ok();
    }
}
