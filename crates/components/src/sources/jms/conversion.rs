//! What becomes of a message: the event that Flume's `DefaultJMSMessageConverter` makes of what a JMS client makes of it.
//!
//! | in AMQP | in JMS | body |
//! |---|---|---|
//! | data | bytes, object | as it is |
//! | value: text | text | in the converter's charset |
//! | value: bytes | bytes | as they are |
//! | value: map or list, sequence | map, stream | empty |
//! | value: a number or the like | object | its text |
//! | none | message | empty |
//!
//! Each property becomes a header, as text as Java writes it. Those without a value, or with one that JMS has not, are
//! left out.

use bytes::Bytes;
use splashdam_amqp::{Body, Message, Value};
use splashdam_core::{Event, Text};

use crate::charset::Charset;

/// An event that has less than a part in so many of its message does not keep it.
const LITTLE: usize = 4;

/// The event of a message, and the bytes of memory that it holds. Its texts are slices of the message, but where most
/// of that is of no use, such as a map: that would stay as long as the event, and no limit would count it.
pub(super) fn event_of(message: Message, message_bytes: usize, charset: Charset) -> (Event, usize) {
    let mut event = event(message, charset);
    let mut bytes = event.bytes().max(message_bytes);
    if event.bytes().saturating_mul(LITTLE) < message_bytes {
        event = copy(&event);
        bytes = event.bytes();
    }
    let headers_bytes = event.headers.len() * size_of::<(Text, Text)>();
    (event, bytes + headers_bytes)
}

fn copy(event: &Event) -> Event {
    let headers = event.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    Event { headers: headers.collect(), body: Bytes::copy_from_slice(&event.body) }
}

fn event(message: Message, charset: Charset) -> Event {
    let properties = message.application_properties.into_iter();
    let properties = properties.filter_map(|(name, value)| {
        let value = text(value)?;
        Some((Text::from_utf8(name).ok()?, value))
    });
    // What every JMS client shows among the properties, though it lies elsewhere in the message.
    let group = message.group_id.and_then(text);
    let sequence = message.group_sequence.filter(|_| group.is_some());
    let user = message.user_id.and_then(|user| Text::from_utf8(user).ok());
    let times = u64::from(message.delivery_count) + 1;
    let shown = [
        ("JMSXGroupID", group),
        ("JMSXGroupSeq", sequence.map(|sequence| sequence.to_string().into())),
        ("JMSXUserID", user),
        ("JMSXDeliveryCount", Some(times.to_string().into())),
    ];
    let shown = shown.into_iter();
    let shown = shown.filter_map(|(name, value)| Some((Text::from_static(name), value?)));
    // Collected and not inserted one by one, as there may be thousands.
    Event { headers: properties.chain(shown).collect(), body: body(message.body, charset) }
}

fn body(body: Body, charset: Charset) -> Bytes {
    match body {
        Body::Data(bytes) | Body::Value(Value::Binary(bytes)) => bytes,
        Body::Value(value) => match text(value) {
            Some(text) if charset.is_utf8() => text.as_bytes().clone(),
            Some(text) => charset.encode(text.as_str()).into(),
            None => Bytes::new(),
        },
        Body::None | Body::Sequence => Bytes::new(),
    }
}

/// A value as Java's `String.valueOf` writes it; none for what is made of other values, or of bytes.
fn text(value: Value) -> Option<Text> {
    Some(match value {
        Value::Text(text) | Value::Symbol(text) => Text::from_utf8(text).ok()?,
        Value::Boolean(value) => value.to_string().into(),
        Value::Unsigned(number) => number.to_string().into(),
        Value::Signed(number) | Value::Timestamp(number) => number.to_string().into(),
        // The shortest digits of a float are not those of the double that it becomes.
        Value::Float(number) => {
            float(number.into(), &number.to_string(), &format!("{number:e}")).into()
        }
        Value::Double(number) => float(number, &number.to_string(), &format!("{number:e}")).into(),
        Value::Char(char) => char.to_string().into(),
        Value::Uuid(bits) => uuid::Uuid::from_u128(bits).to_string().into(),
        Value::Null
        | Value::Decimal(_)
        | Value::Binary(_)
        | Value::List(_)
        | Value::Map(_)
        | Value::Array(_)
        | Value::Described(_) => return None,
    })
}

/// A number as Java's `Double.toString` writes it, given its digits in two ways.
fn float(number: f64, plain: &str, scientific: &str) -> String {
    let with_point = |digits: &str| match digits.contains('.') {
        true => digits.to_owned(),
        false => format!("{digits}.0"),
    };
    if number.is_nan() {
        "NaN".to_owned()
    } else if number.is_infinite() {
        if number > 0.0 { "Infinity".to_owned() } else { "-Infinity".to_owned() }
    } else if number == 0.0 || (1e-3..1e7).contains(&number.abs()) {
        with_point(plain)
    } else {
        let (digits, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
        format!("{}E{exponent}", with_point(digits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `name=value`s and the body.
    fn shown(message: Message, charset: &str) -> (String, Vec<u8>) {
        let event = event(message, Charset::named(charset).unwrap());
        let headers = event.headers.iter().map(|(name, value)| format!("{}={}", &**name, &**value));
        (headers.collect::<Vec<_>>().join(" "), event.body.to_vec())
    }

    fn said(text: &'static str) -> Value {
        Value::Text(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn bodies_are_as_flume_has_them() {
        let check = |body: Body, charset: &str, want: &[u8]| {
            let shown = format!("{body:?}");
            let got = self::shown(Message { body, ..Message::default() }, charset);
            assert_eq!(got, ("JMSXDeliveryCount=1".to_owned(), want.to_vec()), "{shown}");
        };
        let binary = Bytes::from_static(b"\xff\0");
        check(Body::None, "UTF-8", b"");
        check(Body::Data(binary.clone()), "UTF-16", b"\xff\0");
        check(Body::Value(Value::Binary(binary)), "UTF-8", b"\xff\0");
        check(Body::Value(said("h\u{e9}llo")), "UTF-8", "h\u{e9}llo".as_bytes());
        check(Body::Value(said("h\u{e9}")), "ISO-8859-1", b"h\xe9");
        check(Body::Value(said("h\u{4e00}")), "US-ASCII", b"h?");
        check(Body::Value(said("h")), "UTF-16BE", b"\0h");
        check(Body::Value(Value::Null), "UTF-8", b"");
        check(Body::Value(Value::Signed(-5)), "UTF-8", b"-5");
        check(Body::Sequence, "UTF-8", b"");
        let list = Message::read(Bytes::from_static(b"\0\x53\x77\x45")).unwrap();
        check(list.body, "UTF-8", b"");
        let map =
            Message::read(Bytes::from_static(b"\0\x53\x77\xc1\x05\x02\xa1\x01a\x41")).unwrap();
        check(map.body, "UTF-8", b"");
    }

    #[test]
    fn properties_are_headers_in_javas_text() {
        let check = |value: Value, want: Option<&str>| {
            let shown = format!("{value:?}");
            let application_properties = vec![(Bytes::from_static(b"p"), value)];
            let message = Message { application_properties, ..Message::default() };
            let event = event(message, Charset::UTF_8);
            assert_eq!(event.headers.get("p").map(Text::as_str), want, "{shown}");
        };
        check(said("x"), Some("x"));
        check(Value::Boolean(true), Some("true"));
        check(Value::Unsigned(u64::MAX), Some("18446744073709551615"));
        check(Value::Signed(-1), Some("-1"));
        check(Value::Char('c'), Some("c"));
        check(Value::Timestamp(7), Some("7"));
        check(Value::Uuid(1), Some("00000000-0000-0000-0000-000000000001"));
        check(Value::Null, None);
        check(Value::Binary(Bytes::from_static(b"x")), None);
        for (number, want) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (0.5, "0.5"),
            (-3.25, "-3.25"),
            (0.001, "0.001"),
            (0.0009, "9.0E-4"),
            (9_999_999.0, "9999999.0"),
            (1e7, "1.0E7"),
            (1.5e300, "1.5E300"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "Infinity"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            check(Value::Double(number), Some(want));
        }
        check(Value::Float(0.1), Some("0.1"));
        check(Value::Float(3.4e38), Some("3.4E38"));
    }

    #[test]
    fn an_event_keeps_no_message_that_is_much_larger() {
        let check = |body: Body, bytes: usize, keeps: bool, holds: usize| {
            let name = Bytes::from(vec![b'n'; 10]);
            let application_properties = vec![(name.clone(), said("value"))];
            let message = Message { body, application_properties, ..Message::default() };
            let (event, held) = event_of(message, bytes, Charset::UTF_8);
            assert_eq!(event.headers.get("nnnnnnnnnn").map(Text::as_str), Some("value"));
            // Only one that nobody else holds can be changed.
            assert_eq!(name.try_into_mut().is_err(), keeps, "{bytes}");
            assert_eq!(held, holds, "{bytes}");
        };
        // What there is for two headers, and these: nnnnnnnnnn=value JMSXDeliveryCount=1.
        let (two, texts) = (2 * size_of::<(Text, Text)>(), 15 + 18);
        check(Body::None, texts, true, texts + two);
        check(Body::None, 4 * texts, true, 4 * texts + two);
        check(Body::None, 4 * texts + 1, false, texts + two);
        let data = || Body::Data(Bytes::from(vec![b'x'; 1000]));
        check(data(), 1100, true, 1100 + two);
        check(data(), 10_000, false, 1000 + texts + two);
    }

    #[test]
    fn what_jms_shows_among_the_properties_is_there() {
        let message = Message {
            delivery_count: u32::MAX,
            user_id: Some(Bytes::from_static(b"ada")),
            group_id: Some(said("g")),
            group_sequence: Some(3),
            application_properties: vec![
                (Bytes::from_static(b"a"), said("1")),
                (Bytes::from_static(b"a"), said("2")),
            ],
            ..Message::default()
        };
        let want = "a=2 JMSXGroupID=g JMSXGroupSeq=3 JMSXUserID=ada JMSXDeliveryCount=4294967296";
        assert_eq!(shown(message, "UTF-8").0, want);
    }
}
