use proptest::prelude::*;

use super::super::datum::{put_bytes, put_number};
use super::super::rpc::{Answer, read_answer};
use super::*;

/// A protocol that agents of Flume 0.9 speak: other names, types where they are used.
const OLD: &str = r#"{"protocol":"FlumeEventAvroServer","namespace":"com.cloudera.flume.handlers.avro","types":[{"type":"record","name":"AvroFlumeEvent","fields":[{"name":"timestamp","type":"long"},{"name":"priority","type":{"type":"enum","name":"Priority","symbols":["FATAL","ERROR","WARN","INFO","DEBUG","TRACE"]}},{"name":"body","type":"bytes"},{"name":"nanos","type":"long"},{"name":"host","type":"string"},{"name":"fields","type":{"type":"map","values":"bytes"}}]}],"messages":{"append":{"request":[{"name":"evt","type":"AvroFlumeEvent"}],"response":"null"}}}"#;

fn handshake(client: Hash, text: Option<&str>, server: Hash) -> Vec<u8> {
    let mut out = client.to_vec();
    match text {
        None => put_number(0, &mut out),
        Some(text) => {
            put_number(1, &mut out);
            put_bytes(text.as_bytes(), &mut out);
        }
    }
    out.extend_from_slice(&server);
    put_number(0, &mut out);
    out
}

/// A call behind no metadata.
fn calls(name: &str, parameter: &[u8]) -> Vec<u8> {
    let mut out = vec![0];
    put_bytes(name.as_bytes(), &mut out);
    out.extend_from_slice(parameter);
    out
}

fn evt(priority: usize, fields: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    put_number(5, &mut out);
    put_number(priority, &mut out);
    put_bytes(b"body", &mut out);
    put_number(9, &mut out);
    put_bytes(b"mi\xffll", &mut out);
    if !fields.is_empty() {
        put_number(fields.len(), &mut out);
    }
    for part in fields.iter().flat_map(|(name, value)| [name, value]) {
        put_bytes(part, &mut out);
    }
    put_number(0, &mut out);
    out
}

fn body(message: &[u8], cut: usize) -> Bytes {
    let mut out = Vec::new();
    for part in message.chunks(cut) {
        out.extend_from_slice(&u32::try_from(part.len()).unwrap().to_be_bytes());
        out.extend_from_slice(part);
    }
    out.extend_from_slice(&[0; 4]);
    out.into()
}

fn read(message: &[u8], values: FieldValues) -> (Said, Option<Hash>) {
    read_request(&body(message, 10_000), values, |hash| *hash == [7; 16]).unwrap()
}

fn good(fields: &[(&[u8], &[u8])]) -> Vec<u8> {
    [handshake(OG_HASH, None, OG_HASH), calls("append", &evt(1, fields))].concat()
}

/// What an answer says: the handshake's match, if there is one, and whether it is an error.
fn told(answer: &Bytes, with_handshake: bool) -> (Option<Match>, Result<(), String>) {
    let message = unframed(answer).unwrap();
    let text = match message.as_ref() {
        // `read_answer` expects a result, which this call has not.
        [.., 0, 0] => [&message[..], &[0]].concat().into(),
        _ => message.clone(),
    };
    let (handshake, said) = read_answer(&text, with_handshake).unwrap();
    let result = match said {
        Some(Answer::Error(text)) => Err(text),
        _ => Ok(()),
    };
    (handshake.map(|handshake| handshake.matched), result)
}

#[test]
fn calls_become_events_with_the_headers_of_flume() {
    let fields: [(&[u8], &[u8]); 3] = [(b"k", b"v1"), (b"nanos", b"abcd"), (b"FlumeOG", b"no")];
    let check = |values, [k, nanos]: [&str; 2]| {
        let (Said::Event(event, greeting), None) = read(&good(&fields), values) else {
            panic!("an event")
        };
        let headers = [
            ("host", "mi\u{fffd}ll"),
            ("timestamp", "5"),
            ("pri", "ERROR"),
            ("nanos", nanos),
            ("k", k),
            ("FlumeOG", "yes"),
        ];
        assert_eq!(event.headers, headers.into_iter().collect());
        assert_eq!(event.body, "body");
        assert_eq!(greeting.stored(), body(&[0, 0, 0, 0, 0, 0], 100));
    };
    let buffer = |length| format!("java.nio.HeapByteBuffer[pos=0 lim={length} cap={length}]");
    check(FieldValues::Described, [&buffer(2), &buffer(4)]);
    check(FieldValues::Text, ["v1", "abcd"]);
}

#[test]
fn the_text_is_one_that_is_accepted() {
    assert_eq!(speaks_og(PROTOCOL.as_bytes()), Ok(()));
    let check = |from: &str, to: &str, good: bool| {
        let text = OLD.replace(from, to);
        assert_eq!(text == OLD, from == to);
        assert_eq!(speaks_og(text.as_bytes()).is_ok(), good, "{from} → {to}");
    };
    check("", "", true);
    check("AvroFlumeEvent", "Other", true);
    check(r#""string""#, r#"{"type":"string","avro.java.string":"String"}"#, true);
    check(r#""FATAL","ERROR""#, r#""ERROR","FATAL""#, false);
    check(r#""values":"bytes""#, r#""values":"string""#, false);
    check(r#""name":"nanos""#, r#""name":"nano""#, false);
    check(r#""name":"nanos","type":"long""#, r#""name":"nanos","type":"int""#, false);
    check(r#""append""#, r#""add""#, false);
    check("{", "[", false);
}

#[test]
fn handshakes_are_answered_as_by_java() {
    let call = calls("append", &evt(1, &[]));
    let check = |hello: Vec<u8>, matched: Match, learnt: Option<Hash>| {
        let (said, new) = read(&[hello, call.clone()].concat(), FieldValues::Text);
        let answer = match said {
            Said::Event(_, greeting) => greeting.stored(),
            Said::Nothing(answer) => answer,
            Said::Unusable(why, _) => panic!("{why}"),
        };
        assert_eq!((told(&answer, true), new), ((Some(matched), Ok(())), learnt));
    };
    check(handshake(OG_HASH, None, OG_HASH), Match::Both, None);
    check(handshake(OG_HASH, None, [1; 16]), Match::Client, None);
    check(handshake([7; 16], None, OG_HASH), Match::Both, None);
    check(handshake([1; 16], None, [1; 16]), Match::None, None);
    check(handshake([1; 16], Some(OLD), [1; 16]), Match::Client, Some([1; 16]));
    check(handshake([1; 16], Some(OLD), OG_HASH), Match::Both, Some([1; 16]));
    let (said, new) =
        read(&[handshake(OG_HASH, None, OG_HASH), calls("", b"")].concat(), FieldValues::Text);
    assert_eq!((said, new), (Said::Nothing(body(&[0, 0, 0, 0], 100)), None));
}

#[test]
fn what_cannot_be_executed_is_answered_by_an_error() {
    let hello = || handshake(OG_HASH, None, OG_HASH);
    let check = |message: Vec<u8>, greeted: bool, says: &str| {
        let (said, new) = read(&message, FieldValues::Text);
        let Said::Unusable(why, answer) = said else { panic!("{says}: {said:?}") };
        let matched = greeted.then_some(Match::Both);
        assert_eq!(told(&answer, greeted), (matched, Err(why.clone())), "{says}");
        assert!(why.contains(says), "{why}");
        assert_eq!(new, None);
    };
    check(vec![], false, "fixed length");
    check(handshake([1; 16], Some("{}"), [1; 16]), false, "no call append");
    check(handshake([1; 16], Some("{"), [1; 16]), false, "is not JSON");
    check(hello(), true, "ends within a number");
    check([hello(), calls("add", b"")].concat(), true, "No such remote message: add");
    check([hello(), calls("append", &evt(6, &[]))].concat(), true, "a priority that");
    let many = vec![(&b"k"[..], &b""[..]); MOST_FIELDS + 1];
    check(good(&many), true, "more than 10000 fields");
    let call = good(&[(b"k", b"v")]);
    for end in hello().len()..call.len() {
        check(call[..end].to_vec(), true, "java.io.IOException: ");
    }
}

#[test]
fn buffers_are_joined_and_must_be_whole() {
    let message = good(&[(b"k", b"v")]);
    let whole = read(&message, FieldValues::Text);
    let again = |body: &Bytes| read_request(body, FieldValues::Text, |_| false);
    for cut in [1, 7, message.len()] {
        let cut = body(&message, cut);
        assert_eq!(again(&cut), Ok(read(&message, FieldValues::Text)));
        for end in 0..cut.len() {
            assert!(again(&cut.slice(..end)).is_err(), "{end} bytes");
        }
        let more = Bytes::from([&cut[..], b"more"].concat());
        assert_eq!(again(&more), Ok(read(&message, FieldValues::Text)), "what follows is ignored");
    }
    let behind = [&message[..], b"more"].concat();
    assert_eq!(read(&behind, FieldValues::Text), whole);
    assert!(again(&Bytes::from_static(b"\xff\xff\xff\xffx")).is_err());
}

proptest! {
    #[test]
    fn anything_is_read_or_refused(
        bytes in prop::collection::vec(any::<u8>(), 0..100),
        at in any::<prop::sample::Index>(),
        flip in 1u8..,
    ) {
        drop(read_request(&Bytes::from(bytes.clone()), FieldValues::Text, |_| true));
        drop(read(&[&good(&[])[..34], &bytes].concat(), FieldValues::Described));
        let mut altered = good(&[(b"k", b"v")]);
        let at = at.index(altered.len());
        altered[at] ^= flip;
        drop(read(&altered, FieldValues::Text));
    }
}
