use bytes::Buf;
use proptest::prelude::*;
use splashdam_core::Event;

use super::rpc::{
    Call, Exception, Request, Status, read_answer, read_call, write_append, write_append_batch,
};
use super::*;
use crate::claim::Claim;

const PROTOCOLS: [Protocol; 2] = [Protocol::Compact, Protocol::Binary];

fn event(headers: &[(&str, &str)], body: &str) -> Event {
    let headers = headers.iter().copied().collect();
    Event { headers, body: Bytes::copy_from_slice(body.as_bytes()) }
}

fn sent(mut frame: Frame) -> Bytes {
    frame.copy_to_bytes(frame.remaining())
}

/// What comes behind the length, which must be right.
fn message(frame: Frame) -> Bytes {
    let bytes = sent(frame);
    let head = *bytes.first_chunk().expect("a length");
    assert_eq!(frame_length(head), Ok(bytes.len() - FRAME_HEAD_BYTES));
    bytes.slice(FRAME_HEAD_BYTES..)
}

fn batch(protocol: Protocol, events: &[Event]) -> Bytes {
    let (frame, count) = write_append_batch(protocol, 1, events, None).expect("small events");
    assert_eq!(count, events.len());
    message(frame)
}

fn bytes(parts: &[&[u8]]) -> Bytes {
    parts.concat().into()
}

/// The request, or the exception as its number and text.
fn asked(frame: &Bytes) -> Result<Request, (i32, String)> {
    let call = read_call(frame).expect("a whole frame");
    call.request.map_err(|Exception { kind, text }| (kind, text))
}

fn append_batch(events: &[Event]) -> Request {
    Request::AppendBatch(events.to_vec().into(), None)
}

/// Recorded from Flume 1.11 and its client.
#[test]
fn bytes_are_those_of_flume() {
    let one = [event(&[("a", "b")], "hi")];
    let call = b"\0\0\0\x1e\x82\x21\x01\x0bappendBatch\x19\x1c\x1b\x01\x88\x01a\x01b\x18\x02hi\0\0";
    let (frame, _) = write_append_batch(Protocol::Compact, 1, &one, None).unwrap();
    assert_eq!(sent(frame), call[..]);
    let read = read_call(&Bytes::from_static(&call[4..])).unwrap();
    assert_eq!(read.request, Ok(append_batch(&one)));
    let ok = b"\0\0\0\x13\x82\x41\x01\x0bappendBatch\x05\0\0\0";
    assert_eq!(sent(read.caller.answer(&Ok(Status::Ok))), ok[..]);
    let answer = read_answer(&Bytes::from_static(&ok[4..])).unwrap();
    assert_eq!((answer.sequence, answer.outcome), (1, Ok(Status::Ok)));

    let call = b"\x82\x21\x01\x03foo\0";
    let answer = b"\x82\x61\x01\x03foo\x18\x1aInvalid method name: 'foo'\x15\x02\0";
    let Call { caller, request } = read_call(&Bytes::from_static(call)).unwrap();
    assert_eq!(message(caller.answer(&Err(request.unwrap_err()))), answer[..]);
}

#[test]
fn both_protocols_and_the_old_form_are_read() {
    let one = event(&[("a", "b")], "hi");
    let check = |frame: &[&[u8]], want: Request| {
        let read = read_call(&bytes(frame)).unwrap();
        assert_eq!(read.request, Ok(want), "{frame:?}");
    };
    let body = b"\x0d\0\x01\x0b\x0b\0\0\0\x01\0\0\0\x01a\0\0\0\x01b\x0b\0\x02\0\0\0\x02hi\0";
    let strict = b"\x80\x01\0\x01\0\0\0\x06append\0\0\0\x07\x0c\0\x01";
    let old = b"\0\0\0\x06append\x01\0\0\0\x07\x0c\0\x01";
    check(&[strict, body, b"\0"], Request::Append(one.clone()));
    check(&[old, body, b"\0"], Request::Append(one.clone()));
    let list = b"\x80\x01\0\x01\0\0\0\x0bappendBatch\0\0\0\x07\x0f\0\x01\x0c\0\0\0\x02";
    check(&[list, body, body, b"\0"], append_batch(&[one.clone(), one.clone()]));
    let (frame, _) =
        write_append_batch(Protocol::Binary, 7, &[one.clone(), one.clone()], None).unwrap();
    assert_eq!(message(frame), bytes(&[list, body, body, b"\0"]));
    check(
        &[b"\x82\x21\x07\x06append\x1c\x1b\x01\x88\x01a\x01b\x18\x02hi\0\0"],
        Request::Append(one),
    );
    // A long form of the list and of the fields, no headers, an empty body; no events at all.
    let long = b"\x82\x21\x01\x0bappendBatch\x09\x02\xfc\x01\x0b\x02\0\x08\x04\0\0\0";
    check(&[long], append_batch(&[event(&[], "")]));
    check(&[b"\x82\x21\x01\x0bappendBatch\x19\x0c\0"], append_batch(&[]));
    // A name that comes twice has its last value.
    let twice = b"\x82\x21\x07\x06append\x1c\x1b\x02\x88\x01a\x01b\x01a\x01c\x18\0\0\0";
    check(&[twice], Request::Append(event(&[("a", "c")], "")));
    // Texts that are not UTF-8 are read as Java reads them.
    let broken = b"\x82\x21\x07\x06append\x1c\x1b\x01\x88\x01\xff\x01b\x18\0\0\0";
    check(&[broken], Request::Append(event(&[("\u{fffd}", "b")], "")));
}

/// Fields of every kind that Flume's structs lack, in either protocol.
#[test]
fn unknown_fields_are_passed_over() {
    let check = |head: &[u8], unknown: &[u8], tail: &[u8]| {
        let read = asked(&bytes(&[head, unknown, tail]));
        assert_eq!(read, Ok(Request::Append(event(&[], "z"))), "{unknown:?}");
    };
    let compact = |unknown: &[u8]| {
        check(b"\x82\x21\x07\x06append\x1c", unknown, b"\x0b\x02\0\x18\x01z\0\0");
    };
    for unknown in [
        &b"\x31"[..],
        b"\x32",
        b"\x33\x7f",
        b"\x34\xff\x01",
        b"\x35\xff\xff\xff\xff\x0f",
        b"\x36\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x37\0\0\0\0\0\0\0\0",
        b"\x38\x03abc",
        b"\x39\x21\x01\x02",
        b"\x39\x2c\x15\x02\0\0",
        b"\x3a\xf5\x02\x02\x04",
        b"\x3b\0",
        b"\x3b\x01\x8b\x01k\x01\x53\x02\x03",
        b"\x3c\x11\x12\x15\x02\0",
        // Fields of ours with another kind are unknown ones.
        b"\x15\x02\x15\x02",
    ] {
        compact(unknown);
    }
    let binary = |unknown: &[u8]| {
        let head = b"\x80\x01\0\x01\0\0\0\x06append\0\0\0\x07\x0c\0\x01";
        check(head, unknown, b"\x0d\0\x01\x0b\x0b\0\0\0\0\x0b\0\x02\0\0\0\x01z\0\0");
    };
    for unknown in [
        &b"\x02\0\x03\x01"[..],
        b"\x03\0\x03\x01",
        b"\x04\0\x03\0\0\0\0\0\0\0\0",
        b"\x06\0\x03\0\0",
        b"\x08\0\x03\0\0\0\0",
        b"\x0a\0\x03\0\0\0\0\0\0\0\0",
        b"\x0b\0\x03\0\0\0\x02ab",
        b"\x0c\0\x03\x08\0\x01\0\0\0\x01\0",
        b"\x0d\0\x03\x08\x06\0\0\0\x01\0\0\0\x01\0\x02",
        b"\x0e\0\x03\x02\0\0\0\x02\x01\0",
        b"\x0f\0\x03\x0c\0\0\0\x01\x08\0\x01\0\0\0\x01\0",
        b"\x0f\0\x03\0\0\0\0\0",
    ] {
        binary(unknown);
    }
}

#[test]
fn what_cannot_be_done_is_answered_in_flumes_words() {
    let check = |frame: &[u8], kind: i32, text: &str| {
        let read = asked(&Bytes::copy_from_slice(frame));
        assert_eq!(read, Err((kind, text.to_owned())), "{frame:?}");
    };
    check(b"\x82\x21\x01\x03foo\0", 1, "Invalid method name: 'foo'");
    check(b"\x80\x01\0\x01\0\0\0\x03foo\0\0\0\x01\0", 1, "Invalid method name: 'foo'");
    check(b"\x82\x21\x01\x06append\0", 6, "Internal error processing append");
    check(b"\x82\x21\x01\x0bappendBatch\x15\x02\0", 6, "Internal error processing appendBatch");
    let lacking = |field, headers, body| {
        format!(
            "Required field '{field}' was not present! \
             Struct: ThriftFlumeEvent(headers:{headers}, body:{body})"
        )
    };
    let no_headers = lacking("headers", "null", "68 FF");
    check(b"\x82\x21\x01\x06append\x1c\x28\x02h\xff\0\0", 7, &no_headers);
    check(b"\x82\x21\x01\x06append\x1c\0\0", 7, &lacking("headers", "null", "null"));
    let no_body = lacking("body", "{a=b, c=}", "null");
    check(b"\x82\x21\x01\x06append\x1c\x1b\x02\x88\x01a\x01b\x01c\0\0\0", 7, &no_body);
    check(b"\x82\x21\x01\x0bappendBatch\x19\x1c\0\0", 7, &lacking("headers", "null", "null"));
}

#[test]
fn what_an_exception_repeats_is_cut_off() {
    let long = vec![0xab; 129];
    let frame = bytes(&[b"\x82\x21\x01\x06append\x1c\x28\x81\x01", &long, b"\0\0"]);
    let (_, text) = asked(&frame).unwrap_err();
    let want = format!("headers:null, body:{}...)", ["AB"; 128].join(" "));
    assert!(text.ends_with(&want), "{text}");
    let frame =
        bytes(&[b"\x82\x21\x01\x06append\x1c\x1b\x01\x88\x81\x01", &[b'n'; 129], b"\x01v\0\0"]);
    let (_, text) = asked(&frame).unwrap_err();
    assert!(text.ends_with("headers:{...}, body:null)"), "{text}");
}

#[test]
fn too_much_in_a_call_is_refused_in_words() {
    // Where the counts lie in a binary call: of events, and of the first one's headers.
    let check = |at: usize, count: usize, least_bytes: usize, words: &str| {
        for (count, refused) in [(count, false), (count + 1, true)] {
            let mut call = batch(Protocol::Binary, &[event(&[], "")]).to_vec();
            call[at..at + 4].copy_from_slice(&u32::try_from(count).unwrap().to_be_bytes());
            call.splice(at + 4..at + 4, vec![0; count * least_bytes]);
            let request = read_call(&call.into()).unwrap().request;
            let said = request.err().map_or(String::new(), |exception| exception.text);
            assert_eq!(said.contains(words), refused, "{count}: {said}");
        }
    };
    check(27, MOST_EVENTS, 1, "a call has at most 262144 events");
    check(36, MOST_HEADERS, 8, "a call has at most 1048576 headers");
    let events = vec![event(&[], ""); MOST_EVENTS + 1];
    for protocol in PROTOCOLS {
        let (frame, count) = write_append_batch(protocol, 1, &events, None).unwrap();
        assert_eq!(count, MOST_EVENTS);
        assert_eq!(asked(&message(frame)), Ok(append_batch(&events[..count])));
    }
}

#[test]
fn what_is_wrong_is_refused_at_its_place() {
    let check = |frame: &[u8], at: usize, what: &str| {
        let error = read_call(&Bytes::copy_from_slice(frame)).unwrap_err();
        assert_eq!((error.at, error.what), (at, what), "{frame:?}");
    };
    let neither = "neither the compact nor the binary protocol";
    check(b"", 0, neither);
    check(b"GET / HTTP/1.1\r\n", 0, neither);
    check(b"\x82\x22\0\0", 1, "an unknown version of the compact protocol");
    check(b"\x80\x02\0\x01\0\0\0\0", 0, "an unknown version of the binary protocol");
    let ends = "it ends within a value";
    check(b"\x82", 1, ends);
    check(b"\x82\x21\x80", 3, ends);
    check(b"\x80\x01\0", 0, ends);
    let beyond = "a length or count beyond the end";
    check(b"\x82\x21\x01\x04foo", 4, beyond);
    check(b"\0\0\0\x09foo", 4, beyond);
    check(b"\x82\x21\x01\xff\xff\xff\xff\x0ffoo", 8, "a negative length or count");
    check(b"\x80\x01\0\x01\xff\xff\xff\xfffoo", 8, "a negative length or count");
    check(b"\x82\x21\xff\xff\xff\xff\x1f\0", 2, "a number of too many bits");
    check(b"\x82\x21\xff\xff\xff\xff\xff\0", 2, "a number of too many bits");
    let batch = |rest: &[u8]| [b"\x82\x21\x01\x0bappendBatch", rest].concat();
    check(&batch(b"\x19\xfc\xff\xff\xff\xff\x07\0"), 22, beyond);
    check(&batch(b"\x19\xfc\xff\xff\xff\xff\x0f\0"), 22, "a negative length or count");
    check(&batch(b"\x19\x15\x02\0"), 17, "a list of something else than events");
    check(&batch(b"\x19\x1c\x1b\xff\xff\xff\xff\x07\x88\0\0"), 23, beyond);
    check(&batch(b"\x19\x1c\x1b\x01\x85\x01k\x02"), 20, "headers that are not texts");
    check(&batch(b"\x19\x1c\x1b\0\x18\x09hi\0\0"), 21, beyond);
    check(&batch(b"\x19\x1c\x1b\0\x18\x02hi\0"), 24, ends);
    check(&batch(b"\x1d\0"), 16, "a kind of value that the compact protocol lacks");
    check(&batch(b"\x05\xff\xff\xff\xff\x0f\0\0"), 21, "a field's number of more than 16 bits");
    let binary = |rest: &[u8]| [b"\x80\x01\0\x01\0\0\0\x06append\0\0\0\x07", rest].concat();
    check(&binary(b"\x01\0\x01"), 19, "a kind of value that the binary protocol lacks");
    check(&binary(b"\x0c\0\x01\x0d\0\x01\x0b\x0b\x7f\xff\xff\xff\0"), 30, beyond);
    let name = [b'x'; 257];
    let long = [b"\x82\x21\x01\x81\x02", &name[..], b"\0"].concat();
    check(&long, 262, "a method's name of more than 256 bytes");
    for nesting in [b"\x1c", b"\x19"] {
        let deep = [b"\x82\x21\x01\x06append".as_slice(), &nesting.repeat(100)].concat();
        let error = read_call(&deep.into()).unwrap_err();
        assert_eq!(error.what, "values are nested too deeply", "{nesting:?}");
    }
}

#[test]
fn frames_have_bounds_before_they_are_kept() {
    let check = |head: &[u8; 4], want: Result<usize, &str>| {
        assert_eq!(frame_length(*head).map_err(|error| error.what), want, "{head:?}");
    };
    check(b"\0\0\0\x01", Ok(1));
    check(&16_384_000_i32.to_be_bytes(), Ok(16_384_000));
    let large = "a frame of more than 16384000 bytes; smaller batches keep below that";
    check(&16_384_001_i32.to_be_bytes(), Err(large));
    check(&i32::MAX.to_be_bytes(), Err(large));
    check(b"\0\0\0\0", Err("a frame without a byte"));
    check(&i32::MIN.to_be_bytes(), Err("a frame without a byte"));
    check(b"GET ", Err("HTTP instead of a frame"));
    let tls = "TLS instead of a frame; `ssl` has to be the same on both sides";
    check(b"\x16\x03\x01\x02", Err(tls));
    check(b"\x15\x03\x03\0", Err(tls));
}

#[test]
fn texts_and_bodies_are_slices_of_the_frame() {
    for protocol in PROTOCOLS {
        let frame = batch(protocol, &[event(&[("name", "value")], "body")]);
        let Ok(Request::AppendBatch(read, _)) = asked(&frame) else { panic!("no batch") };
        let inside = |part: &[u8]| frame.as_ptr_range().contains(&part.as_ptr());
        let event = &read.events()[0];
        assert!(inside(&event.body));
        assert!(event.headers.iter().all(|(n, v)| inside(n.as_bytes()) && inside(v.as_bytes())));
    }
}

#[test]
fn large_bodies_are_sent_from_where_they_lie() {
    let large = Event::new(vec![b'x'; 5000]);
    let events = [event(&[], "a"), large.clone(), event(&[], "b")];
    for protocol in PROTOCOLS {
        let (mut frame, _) = write_append_batch(protocol, 1, &events, None).unwrap();
        let whole = frame.clone();
        let first = frame.chunk().len();
        frame.advance(first);
        assert_eq!(frame.chunk().as_ptr(), large.body.as_ptr());
        frame.advance(4999);
        assert_eq!(frame.chunk().len(), 1);
        assert_eq!(asked(&message(whole)), Ok(append_batch(&events)));
    }
}

#[test]
fn a_frame_takes_what_fits() {
    let body = |bytes: usize| Event::new(Bytes::from(vec![0; bytes]));
    for protocol in PROTOCOLS {
        let events = [body(8_000_000), body(8_000_000), body(8_000_000)];
        let (frame, count) = write_append_batch(protocol, 1, &events, None).unwrap();
        assert_eq!(count, 2);
        assert_eq!(asked(&message(frame)), Ok(append_batch(&events[..2])));
        let (frame, count) = write_append_batch(protocol, 1, &[], None).unwrap();
        assert_eq!((asked(&message(frame)), count), (Ok(append_batch(&[])), 0));
        // The largest there is, and one byte more.
        let around =
            message(write_append(protocol, 1, &body(3_000_000)).unwrap()).len() - 3_000_000;
        let largest = MOST_FRAME_BYTES - around;
        assert_eq!(message(write_append(protocol, 1, &body(largest)).unwrap()).len(), 16_384_000);
        assert!(write_append(protocol, 1, &body(largest + 1)).is_err());
        let error = write_append_batch(protocol, 1, &[body(MOST_FRAME_BYTES)], None).unwrap_err();
        assert_eq!(error.bytes, MOST_FRAME_BYTES);
    }
}

/// A claim of so many events, from 5 on, with a gap.
fn claim(events: u64) -> Claim {
    let first = events / 2;
    let ranges = [5..5 + first, 1000..1000 + events - first];
    let ranges = ranges.into_iter().filter(|range| !range.is_empty()).collect();
    Claim { sender: [9; 16], low: 4, ranges }
}

#[test]
fn where_events_come_from_is_said_beside_them() {
    let body = |bytes: usize| Event::new(Bytes::from(vec![0; bytes]));
    for protocol in PROTOCOLS {
        let check = |events: &[Event], fit: usize| {
            let whole = claim(events.len() as u64);
            let (frame, count) =
                write_append_batch(protocol, 1, events, Some(&whole)).expect("events that fit");
            assert_eq!(count, fit);
            let own = whole.split(count as u64).0;
            let want = Request::AppendBatch(events[..count].to_vec().into(), Some(own));
            let call = read_call(&message(frame)).unwrap();
            assert_eq!(call.request, Ok(want));
            for stores_once in [false, true] {
                let answer = call.caller.answer_ours(&Ok(Status::Ok), stores_once);
                let answer = read_answer(&message(answer)).unwrap();
                assert_eq!((answer.outcome, answer.stores_once), (Ok(Status::Ok), stores_once));
            }
        };
        check(&[event(&[("a", "b")], "hi"), event(&[], "")], 2);
        check(&[body(8_000_000), body(8_000_000), body(8_000_000)], 2);
        // Speaks of other events than there are.
        let (frame, _) =
            write_append_batch(protocol, 1, &[body(3)], Some(&claim(2))).expect("a small event");
        let what = "an origin that speaks of other events";
        assert_eq!(read_call(&message(frame)).unwrap_err().what, what);
    }
    // A version to come says nothing; what is none ends the connection.
    let call = |said: &[u8]| {
        let length = [u8::try_from(said.len()).unwrap()];
        let head = b"\x82\x21\x01\x0bappendBatch\x19\x1c\x1b\0\x18\x02hi\0\x08\x88\xcd\x02";
        read_call(&bytes(&[head, &length, said, b"\0"])).map(|call| call.request)
    };
    let hi = || Ok(append_batch(&[event(&[], "hi")]));
    assert_eq!(call(b"\x02whatever"), Ok(hi()));
    assert!(call(b"\x01short").is_err());
}

#[test]
fn answers_are_read() {
    for protocol in PROTOCOLS {
        let call = read_call(&batch(protocol, &[])).unwrap();
        assert_eq!(call.caller.method(), "appendBatch");
        let exception = Exception::internal("appendBatch");
        for outcome in [
            Ok(Status::Ok),
            Ok(Status::Failed),
            Ok(Status::Error),
            Ok(Status::Unknown),
            Err(exception),
        ] {
            let answer = read_answer(&message(call.caller.answer(&outcome))).unwrap();
            assert_eq!((answer.sequence, answer.outcome), (1, outcome));
        }
    }
    let check = |frame: &'static [u8], what: &str| {
        assert_eq!(read_answer(&Bytes::from_static(frame)).unwrap_err().what, what, "{frame:?}");
    };
    check(b"\x82\x21\x01\x06append\0", "a call instead of an answer");
    check(b"\x82\x41\x01\x06append\0", "an answer without a status that is known");
    check(b"\x82\x41\x01\x06append\x05\0\x08\0", "an answer without a status that is known");
    check(b"\x82\x41\x01\x06append\x05\0", "it ends within a value");
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let headers = proptest::collection::vec((".{0,9}", ".{0,70}"), 0..20);
    let body = proptest::collection::vec(any::<u8>(), 0..3000);
    let event = (headers, body).prop_map(|(headers, body)| Event {
        headers: headers.into_iter().collect(),
        body: body.into(),
    });
    proptest::collection::vec(event, 0..20)
}

fn protocols() -> impl Strategy<Value = Protocol> {
    prop_oneof![Just(Protocol::Compact), Just(Protocol::Binary)]
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        events in events(), protocol in protocols(), sequence: i32, claims: bool,
    ) {
        let claim = claims.then(|| claim(events.len() as u64));
        let (frame, count) =
            write_append_batch(protocol, sequence, &events, claim.as_ref()).unwrap();
        prop_assert_eq!(count, events.len());
        let call = read_call(&message(frame)).unwrap();
        prop_assert_eq!(call.request, Ok(Request::AppendBatch(events.clone().into(), claim)));
        let answer = read_answer(&message(call.caller.answer(&Ok(Status::Failed)))).unwrap();
        prop_assert_eq!(answer.sequence, sequence);
        for event in events {
            let frame = message(write_append(protocol, sequence, &event).unwrap());
            prop_assert_eq!(asked(&frame), Ok(Request::Append(event)));
        }
    }

    #[test]
    fn a_shorter_one_is_refused(
        events in events(), protocol in protocols(), cut in any::<prop::sample::Index>(),
    ) {
        let frame = batch(protocol, &events);
        prop_assert!(read_call(&frame.slice(..cut.index(frame.len()))).is_err());
    }

    #[test]
    fn an_altered_one_is_read_or_refused(
        events in events(), protocol in protocols(), at in any::<prop::sample::Index>(), bit in 0..8u32,
    ) {
        let mut frame = batch(protocol, &events).to_vec();
        let at = at.index(frame.len());
        frame[at] ^= 1 << bit;
        let length = frame.len();
        let call = read_call(&frame.into());
        if let Ok(Call { request: Ok(Request::AppendBatch(read, _)), .. }) = call {
            // Nothing is made up, but that U+FFFD is longer than what it stands for.
            prop_assert!(read.size().bytes <= length + 2);
        }
    }
}
