//! What a connection to the Avro source or from the Avro sink may carry: nothing panics, no event comes from nowhere, and
//! what is made of a message is no more than it holds.

use bytes::Bytes;
use splashdam_wire::avro::datum::{Most, Reader};
use splashdam_wire::avro::handshake::{FLUME, FLUME_HASH, Match, Peer, Request, Response};
use splashdam_wire::avro::legacy::{FieldValues, Said, read_request};
use splashdam_wire::avro::pack::{Limits, Packs};
use splashdam_wire::avro::rpc::{Call, Incoming, Outgoing, read_answer};

const LIMITS: Limits = Limits { message_bytes: 1 << 16, buffers: 1 << 10 };
const MOST: Most = Most { events: 1 << 12, headers: 1 << 12 };

/// A connection's bytes, in pieces of as many as the first byte says.
pub fn rpc(input: &[u8]) {
    let Some((step, mut rest)) = input.split_first() else { return };
    let step = usize::from(*step).max(1);
    let mut packs = Packs::new(LIMITS);
    while !rest.is_empty() {
        let room = packs.room();
        let count = (room.capacity() - room.len()).min(step).min(rest.len());
        assert!(count > 0, "there is room");
        room.extend_from_slice(&rest[..count]);
        rest = &rest[count..];
        loop {
            match packs.next_pack() {
                Ok(Some(pack)) => message(&pack.message),
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
    assert!(packs.begun() <= input.len());
}

fn message(bytes: &Bytes) {
    // Whoever reads them: a client …
    drop(read_answer(bytes, true));
    drop(read_answer(bytes, false));
    // … and a server, before the handshake and after it.
    let mut reader = Reader::new(bytes);
    if Request::read(&mut reader).is_ok() {
        drop(Incoming::read(&mut reader, MOST));
    }
    let Ok(incoming) = Incoming::read(&mut Reader::new(bytes), MOST) else { return };
    let Call::AppendBatch(events) = incoming.call else { return };
    let held: usize = events.iter().map(|event| event.body.len() + event.headers.bytes()).sum();
    // Three bytes stand for one that is not UTF-8 in a header.
    assert!(held <= 3 * bytes.len());
    assert!(events.len() <= MOST.events);
    if let Some(claim) = &incoming.claim {
        assert_eq!(claim.events(), events.len() as u64);
    }
    // What is written of them is read as the same.
    let mut out = Outgoing::default();
    out.append_batch(1, None, incoming.claim.as_ref(), &events).expect("a short batch");
    let mut packs = Packs::new(Limits { message_bytes: 1 << 20, buffers: 2 });
    bytes::BufMut::put(packs.room(), out);
    let again = packs.next_pack().expect("a pack").expect("all of it");
    let again = Incoming::read(&mut Reader::new(&again.message), MOST).expect("a call");
    assert_eq!(again.call, Call::AppendBatch(events));
    assert_eq!(again.claim, incoming.claim);
}

/// A handshake of either side.
pub fn handshake(input: &[u8]) {
    let bytes = Bytes::copy_from_slice(input);
    drop(Response::read(&mut Reader::new(&bytes)));
    let Ok(request) = Request::read(&mut Reader::new(&bytes)) else { return };
    let peer = Peer { in_order: true, stores_once: true };
    let Ok((response, new)) = request.answer(&FLUME, peer, |hash| hash[0] == 1) else { return };
    assert!(new.is_none() || request.client_protocol.is_some());
    assert_eq!(response.matched == Match::Both, response.server_hash != Some(FLUME_HASH));
    let mut out = Vec::new();
    response.put(&FLUME, &mut out);
    let out = Bytes::from(out);
    assert_eq!(Response::read(&mut Reader::new(&out)), Ok(response));
}

/// A request's body as agents of Flume 0.9 send it, whose first byte says whether its sender is known.
/// What is answered can be told apart by a client.
pub fn legacy(input: &[u8]) {
    let Some((how, body)) = input.split_first() else { return };
    let bytes = Bytes::copy_from_slice(body);
    let (known, values) = match how % 4 {
        0 => (false, FieldValues::Described),
        1 => (false, FieldValues::Text),
        2 => (true, FieldValues::Described),
        _ => (true, FieldValues::Text),
    };
    let Ok((said, _)) = read_request(&bytes, values, |_| known) else { return };
    let answer = match said {
        Said::Event(event, greeting) => {
            assert!(event.body.len() < bytes.len());
            assert_eq!(event.headers.get("FlumeOG").map(splashdam_core::Text::as_str), Some("yes"));
            // Of each field there is a name and a value; what describes a value is no longer than this.
            let described = if values == FieldValues::Described { 100 } else { 0 };
            // A byte that is no text becomes three.
            assert!(
                event.headers.bytes() <= 3 * bytes.len() + event.headers.len() * described + 200
            );
            greeting.stored()
        }
        Said::Nothing(answer) => answer,
        Said::Unusable(why, answer) => {
            assert!(!why.is_empty());
            answer
        }
    };
    let (length, rest) = answer.split_first_chunk::<4>().expect("a buffer");
    let length = u32::from_be_bytes(*length) as usize;
    assert_eq!((rest.len(), &rest[length..]), (length + 4, &[0; 4][..]));
}
