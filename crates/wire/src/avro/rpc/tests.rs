use proptest::prelude::*;

use super::super::handshake::{FLUME_HASH, Match, Peer};
use super::super::pack::{Limits, Packs};
use super::*;
use crate::claim::Claim;

const MOST: Most = Most { events: 100_000, headers: 100_000 };

fn event(headers: &[(&str, &str)], body: impl Into<Bytes>) -> Event {
    Event { headers: headers.iter().copied().collect(), body: body.into() }
}

fn message(pack: &[u8]) -> (i32, Bytes) {
    let mut packs = Packs::new(Limits { message_bytes: 1 << 30, buffers: 1000 });
    packs.room().extend_from_slice(pack);
    let pack = packs.next_pack().unwrap().expect("a whole pack");
    assert_eq!(packs.begun(), 0, "one pack only");
    (pack.serial, pack.message)
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let pairs = digits.as_chunks::<2>().0.iter();
    pairs.map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn read(message: &Bytes) -> Result<Incoming, Malformed> {
    Incoming::read(&mut Reader::new(message), MOST)
}

/// Bytes that a client and a source of Flume 1.11 exchanged.
#[test]
fn flumes_requests_are_read() {
    let flume = "86aadae2c45474c0fe93ffd0f2350a65";
    let first = format!(
        "00000001 00000002 0000002b {flume} 00 {flume} 0200 00 0c617070656e64 00000009 020261026200046869"
    );
    let (serial, bytes) = message(&hex(&first));
    let mut input = Reader::new(&bytes);
    let hello = handshake::Request::read(&mut input).unwrap();
    assert_eq!((serial, hello.client_hash, hello.server_hash), (1, FLUME_HASH, FLUME_HASH));
    let want = event(&[("a", "b")], "hi");
    let got = Incoming::read(&mut input, MOST).unwrap();
    assert_eq!(got, Incoming { claim: None, call: Call::Append(want.clone()) });

    let batch =
        "00000002 00000002 0000000d 00 16 617070656e644261746368 0000000b 02 020261026200046869 00";
    let (serial, bytes) = message(&hex(batch));
    let got = read(&bytes).unwrap();
    assert_eq!((serial, got.call), (2, Call::AppendBatch(vec![want])));
}

#[test]
fn flumes_answers_are_read() {
    let check = |text: &str, with_handshake: bool, want: Answer| {
        let (_, bytes) = message(&hex(text));
        let (handshake, answer) = read_answer(&bytes, with_handshake).unwrap();
        assert_eq!(handshake.map(|answer| answer.matched), with_handshake.then_some(Match::Both));
        assert_eq!(answer, Some(want), "{text}");
    };
    check("00000001 00000003 00000004 00000000 00000001 00 00000002 0000", true, Answer::Ok);
    check("00000002 00000003 00000000 00000001 00 00000002 0000", false, Answer::Ok);
    check("00000002 00000003 00000000 00000001 00 00000002 0002", false, Answer::Failed);
    check("00000002 00000003 00000000 00000001 00 00000002 0004", false, Answer::Unknown);
    let error = Answer::Error("no".into());
    check("00000002 00000001 00000006 00 01 00 04 6e6f", false, error);
}

#[test]
fn our_answers_are_those_of_flume_in_one_buffer() {
    let check = |handshake: Option<&handshake::Response>, answer: Option<Answer>, want: &str| {
        let mut out = Vec::new();
        put_answer(1, handshake, answer.as_ref(), &mut out);
        assert_eq!(out, hex(want));
        if answer.is_some() {
            let (_, bytes) = message(&out);
            assert_eq!(read_answer(&bytes, handshake.is_some()).unwrap().1, answer);
        }
    };
    let both = handshake::Response { matched: Match::Both, server_hash: None, peer: None };
    check(Some(&both), Some(Answer::Ok), "00000001 00000001 00000007 00 00 00 00 00 00 00");
    check(Some(&both), None, "00000001 00000001 00000004 00 00 00 00");
    check(None, Some(Answer::Failed), "00000001 00000001 00000003 00 00 02");
    check(None, Some(Answer::Unknown), "00000001 00000001 00000003 00 00 04");
    check(None, Some(Answer::Error("x".into())), "00000001 00000001 00000005 00 01 00 02 78");
}

#[test]
fn a_handshake_that_does_not_match_ends_the_answer() {
    let peer = Some(Peer { in_order: true, stores_once: false });
    let none = handshake::Response { matched: Match::None, server_hash: Some(FLUME_HASH), peer };
    let mut out = Vec::new();
    put_answer(9, Some(&none), None, &mut out);
    let (serial, bytes) = message(&out);
    assert_eq!((serial, read_answer(&bytes, true)), (9, Ok((Some(none), None))));
}

#[test]
fn pings_and_strangers() {
    let call = |bytes: &'static [u8]| read(&Bytes::from_static(bytes)).unwrap().call;
    assert_eq!(call(b"\0\0"), Call::Ping);
    assert_eq!(call(b"\0\x06foowhatever"), Call::Unknown("foo".into()));
}

#[test]
fn what_is_wrong_is_refused() {
    let check = |bytes: &[u8], what: &str| {
        let refused = read(&Bytes::copy_from_slice(bytes)).unwrap_err();
        assert_eq!(refused.what, what, "{bytes:?}");
    };
    check(b"", "it ends within a number");
    check(b"\0\x0cappend", "it ends within a number");
    check(b"\0\x0cappend\0\0x", "bytes behind the call");
    let call = |rest: &[u8]| [b"\0\x16appendBatch", rest].concat();
    check(&call(b"\x80\x80\x80\x80\x08"), "more entries than there are bytes");
    check(&call(b"\x02\0"), "more entries than there are bytes");
    check(&call(b"\x02\0\0"), "it ends within a number");
    let most = Most { events: 2, headers: 1 };
    let limited = |events: &[Event]| {
        let bytes = request(1, None, None, events).1;
        Incoming::read(&mut Reader::new(&bytes), most).map_err(|refused| refused.what)
    };
    let (plain, with) = (event(&[], "x"), event(&[("a", "b")], "x"));
    assert!(limited(&[plain.clone(), with.clone()]).is_ok());
    let three = [plain.clone(), plain.clone(), plain];
    assert_eq!(limited(&three).unwrap_err(), "more events than a call may have");
    assert_eq!(limited(&[with.clone(), with]).unwrap_err(), "more headers than a call may have");
}

/// Java's peers send what they have, and one that is refused would send it for ever.
#[test]
fn headers_that_are_not_utf8_are_read_as_in_java() {
    let sent = b"\x02\x04a\xff\x06\xc3\xa9\xe2\0\x02\xff";
    let want = event(&[("a\u{fffd}", "\u{e9}\u{fffd}")], &b"\xff"[..]);
    let call = |call: &[u8]| read(&Bytes::copy_from_slice(call)).unwrap().call;
    assert_eq!(call(&[b"\0\x0cappend", &sent[..]].concat()), Call::Append(want.clone()));
    let batch = [b"\0\x16appendBatch\x02", &sent[..], b"\0"].concat();
    assert_eq!(call(&batch), Call::AppendBatch(vec![want]));
    // What is read back from a log is as it was written, or damaged.
    assert_eq!(datum::decode(&Bytes::from_static(sent)).unwrap_err().what, "text is not UTF-8");
}

#[test]
fn an_origin_speaks_of_all_events_or_is_refused() {
    let claim = Claim { sender: [1; 16], low: 3, ranges: vec![5..6, 8..9] };
    let events = [event(&[], "a"), event(&[], "b")];
    let (_, bytes) = request(4, None, Some(&claim), &events);
    assert_eq!(read(&bytes).unwrap().claim, Some(claim.clone()));
    let (_, bytes) = request(4, None, Some(&claim), &events[..1]);
    assert_eq!(read(&bytes).unwrap_err().what, "an origin that speaks of other events");
}

fn request(
    serial: i32,
    hash: Option<Hash>,
    claim: Option<&Claim>,
    events: &[Event],
) -> (i32, Bytes) {
    let mut out = Outgoing::default();
    out.append_batch(serial, hash, claim, events).unwrap();
    let mut bytes = Vec::new();
    while out.has_remaining() {
        // As a socket takes them: some slices, and the last of these in part.
        let mut slices = [IoSlice::new(&[]); 3];
        let filled = out.chunks_vectored(&mut slices);
        let offered: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect();
        let taken = offered.len().div_ceil(2);
        bytes.extend_from_slice(&offered[..taken]);
        let before = out.remaining();
        out.advance(taken);
        assert_eq!(out.remaining(), before - taken);
    }
    message(&bytes)
}

proptest! {
    #[test]
    fn batches_come_as_they_were_sent(
        events in prop::collection::vec(
            (
                prop::collection::vec(("[a-c]{1,3}", ".{0,9}"), 0..4),
                prop_oneof![0usize..40, Just(KEPT_BYTES - 1), Just(KEPT_BYTES), Just(9000)],
            ),
            0..20,
        ),
        with_handshake: bool,
        serial: i32,
    ) {
        let events: Vec<Event> = events
            .into_iter()
            .map(|(headers, body)| Event {
                headers: headers.into_iter().collect(),
                body: vec![b'x'; body].into(),
            })
            .collect();
        let hash = with_handshake.then_some(FLUME_HASH);
        let (got, bytes) = request(serial, hash, None, &events);
        prop_assert_eq!(got, serial);
        let mut input = Reader::new(&bytes);
        if with_handshake {
            prop_assert!(handshake::Request::read(&mut input).unwrap().ours);
        }
        let got = Incoming::read(&mut input, MOST).unwrap();
        prop_assert_eq!(got.call, Call::AppendBatch(events));
        for end in 0..bytes.len().min(30) {
            let mut input = Reader::new(&bytes);
            let cut = bytes.slice(..end);
            input = if with_handshake { Reader::new(&cut) } else { input };
            if with_handshake {
                prop_assert!(handshake::Request::read(&mut input).is_err());
            }
        }
    }

    #[test]
    fn anything_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        let bytes = Bytes::from(bytes);
        drop(read(&bytes));
        drop(read_answer(&bytes, true));
        drop(read_answer(&bytes, false));
        let call = [b"\0\x16appendBatch", &bytes[..]].concat();
        drop(read(&call.into()));
    }
}
