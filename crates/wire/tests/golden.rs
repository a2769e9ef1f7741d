//! What Flume's SDK said to Flume's sources, and what these answered, recorded from Flume 1.11 (`golden/`, by a test of
//! `interop` that hears them anew): read here, and answered with the same bytes.

use std::io::Read;

use bytes::{Buf, Bytes};
use flate2::read::ZlibDecoder;
use splashdam_core::{Batch, Event, Text};
use splashdam_wire::avro::datum::{Most, Reader};
use splashdam_wire::avro::handshake::{FLUME, Match, Peer, Request};
use splashdam_wire::avro::legacy::{self, FieldValues, Said};
use splashdam_wire::avro::pack::{Limits, Packs};
use splashdam_wire::avro::rpc::{Answer, Call, Incoming, put_answer, read_answer};
use splashdam_wire::thrift::rpc::{self, Status};
use splashdam_wire::thrift::{FRAME_HEAD_BYTES, Protocol, frame_length};

const LIMITS: Limits = Limits { message_bytes: 1 << 20, buffers: 1 << 10 };
const MOST: Most = Most { events: 100, headers: 100 };

/// One event alone, then two and one together, as the client of `interop` sends them.
fn sent() -> [Vec<Event>; 3] {
    let event = |number: &str| {
        let mut event = Event::new(number.to_owned());
        event.headers.insert("n", number.to_owned());
        event
    };
    [vec![event("0")], vec![event("1"), event("2")], vec![event("3")]]
}

fn inflated(bytes: &[u8]) -> Vec<u8> {
    let (mut plain, mut chunk) = (Vec::new(), [0; 4096]);
    let mut stream = ZlibDecoder::new(bytes);
    // The end of a stream is not recorded where a connection broke off.
    while let Ok(count @ 1..) = stream.read(&mut chunk) {
        plain.extend_from_slice(&chunk[..count]);
    }
    plain
}

fn packs(bytes: &[u8]) -> Vec<(i32, Bytes)> {
    let mut packs = Packs::new(LIMITS);
    packs.room().extend_from_slice(bytes);
    let mut all = Vec::new();
    while let Some(pack) = packs.next_pack().unwrap() {
        all.push((pack.serial, pack.message));
    }
    assert_eq!(packs.begun(), 0, "nothing is left over");
    all
}

fn avro(calls: &[u8], answers: &[u8]) {
    let (mut read, mut ours) = (Vec::new(), Vec::new());
    for (index, (serial, message)) in packs(calls).into_iter().enumerate() {
        let mut input = Reader::new(&message);
        let greeting = (index == 0).then(|| {
            let hello = Request::read(&mut input).unwrap();
            hello.answer(&FLUME, Peer::default(), |_| false).unwrap().0
        });
        let incoming = Incoming::read(&mut input, MOST).unwrap();
        assert_eq!(incoming.claim, None);
        read.push(match incoming.call {
            Call::Append(event) => vec![event],
            Call::AppendBatch(events) => events,
            other => panic!("{other:?}"),
        });
        put_answer(serial, greeting.as_ref(), Some(&Answer::Ok), &mut ours);
    }
    assert_eq!(read, sent());
    // Flume cuts an answer into several buffers.
    assert_eq!(packs(&ours), packs(answers));
    for (index, (_, message)) in packs(answers).into_iter().enumerate() {
        let (greeting, answer) = read_answer(&message, index == 0).unwrap();
        assert_eq!(answer, Some(Answer::Ok));
        assert!(greeting.is_none_or(|greeting| greeting.matched == Match::Both));
    }
}

fn frames(bytes: &[u8]) -> Vec<Bytes> {
    let mut rest = Bytes::copy_from_slice(bytes);
    let mut all = Vec::new();
    while rest.has_remaining() {
        let length = frame_length(*rest.first_chunk().unwrap()).unwrap();
        rest.advance(FRAME_HEAD_BYTES);
        all.push(rest.split_to(length));
    }
    all
}

fn thrift(protocol: Protocol, calls: &[u8], answers: &[u8]) {
    let (mut read, mut ours, mut again) = (Vec::new(), Vec::new(), Vec::new());
    for (index, frame) in frames(calls).into_iter().enumerate() {
        assert_eq!(Protocol::of(&frame), Ok(protocol));
        let call = rpc::read_call(&frame).unwrap();
        let sequence = rpc::read_answer(&frames(answers)[index]).unwrap().sequence;
        let (batch, mut said) = match call.request.unwrap() {
            rpc::Request::Append(event) => {
                let said = rpc::write_append(protocol, sequence, &event).unwrap();
                (Batch::from(vec![event]), said)
            }
            rpc::Request::AppendBatch(batch, claim) => {
                assert_eq!(claim, None);
                let events = batch.events();
                let said = rpc::write_append_batch(protocol, sequence, events, None).unwrap().0;
                (batch, said)
            }
        };
        read.push(batch.into_events());
        again.extend_from_slice(&said.copy_to_bytes(said.remaining()));
        let mut answer = call.caller.answer(&Ok(Status::Ok));
        ours.extend_from_slice(&answer.copy_to_bytes(answer.remaining()));
    }
    assert_eq!(read, sent());
    assert_eq!(again, calls, "our client says the same");
    assert_eq!(ours, answers, "{} {}", ours.escape_ascii(), answers.escape_ascii());
}

/// Bodies of requests to Flume's legacy source, and of its answers: the client knows the protocol as
/// Flume does, so that its first handshake matches already.
#[test]
fn avro_legacy() {
    let messages = |bytes: &'static [u8]| {
        let mut rest = Bytes::from_static(bytes);
        let mut all = Vec::new();
        while !rest.is_empty() {
            let mut at = 0;
            let length =
                |at: usize| u32::from_be_bytes(*rest[at..].first_chunk().unwrap()) as usize;
            while length(at) > 0 {
                at += 4 + length(at);
            }
            all.push(rest.split_to(at + 4));
        }
        all
    };
    let said = |body: &Bytes| {
        let mut rest = body.clone();
        let mut message = Vec::new();
        while let Some(length) = rest.first_chunk::<4>().map(|four| u32::from_be_bytes(*four)) {
            rest.advance(4);
            message.extend_from_slice(&rest.split_to(length as usize));
        }
        message
    };
    let calls = messages(include_bytes!("golden/avro_legacy.calls"));
    let answers = messages(include_bytes!("golden/avro_legacy.answers"));
    assert_eq!((calls.len(), answers.len()), (9, 9));
    let mut hosts = Vec::new();
    for (call, answer) in calls.iter().zip(&answers) {
        let read = legacy::read_request(call, FieldValues::Described, |_| false).unwrap();
        let (Said::Event(event, greeting), None) = read else { panic!("{read:?}") };
        hosts.push(event.headers.get("host").unwrap().to_string());
        assert_eq!(event.headers.get("FlumeOG").map(Text::as_str), Some("yes"));
        assert_eq!(said(&greeting.stored()), said(answer));
    }
    assert_eq!(hosts[4], "m\u{fc}hle.example.org");
    assert_eq!(hosts[6], "java.nio.HeapByteBuffer[pos=0 lim=5 cap=5]");
}

#[test]
fn avro_plain() {
    avro(include_bytes!("golden/avro_plain.calls"), include_bytes!("golden/avro_plain.answers"));
}

#[test]
fn avro_deflate() {
    let [calls, answers] = [
        &include_bytes!("golden/avro_deflate.calls")[..],
        include_bytes!("golden/avro_deflate.answers"),
    ]
    .map(inflated);
    avro(&calls, &answers);
}

#[test]
fn thrift_compact() {
    let calls = include_bytes!("golden/thrift_compact.calls");
    thrift(Protocol::Compact, calls, include_bytes!("golden/thrift_compact.answers"));
}

#[test]
fn thrift_binary() {
    let calls = include_bytes!("golden/thrift_binary.calls");
    thrift(Protocol::Binary, calls, include_bytes!("golden/thrift_binary.answers"));
}
