//! What Flume's SDK said to Flume's sources, and what these answered, recorded from Flume 1.11 (`golden/`, by a test of
//! `interop` that hears them anew): read here, and answered with the same bytes.

use std::io::Read;

use bytes::{Buf, Bytes};
use flate2::read::ZlibDecoder;
use splashdam_core::{Batch, Event};
use splashdam_wire::avro::datum::{Most, Reader};
use splashdam_wire::avro::handshake::{Match, Peer, Request};
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
            hello.answer(Peer::default(), |_| false).unwrap().0
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
