use md5::{Digest, Md5};
use proptest::prelude::*;

use super::*;

const PEER: Peer = Peer { in_order: true, stores_once: true };

fn read(bytes: &[u8]) -> Result<Request, Malformed> {
    let bytes = Bytes::copy_from_slice(bytes);
    let mut reader = Reader::new(&bytes);
    let request = Request::read(&mut reader)?;
    assert_eq!(reader.left(), 0);
    Ok(request)
}

#[test]
fn our_text_has_our_hash() {
    assert_eq!(PROTOCOL.len(), 509);
    assert_eq!(OUR_HASH, <Hash>::from(Md5::digest(PROTOCOL)));
    assert_eq!(speaks_flume(PROTOCOL.as_bytes()), Ok(()));
}

#[test]
fn what_a_server_answers() {
    let request = |client_hash: Hash, text: Option<&'static str>, server_hash: Hash| Request {
        client_hash,
        client_protocol: text.map(|text| Bytes::from_static(text.as_bytes())),
        server_hash,
        ours: false,
    };
    let check = |request: Request, matched: Match, learnt: bool| {
        let (response, new) = request.answer(&FLUME, PEER, |known| *known == [7; 16]).unwrap();
        assert_eq!((response.matched, new.is_some()), (matched, learnt), "{request:?}");
        assert_eq!(response.server_hash, (matched != Match::Both).then_some(FLUME_HASH));
        assert_eq!(response.peer, None);
    };
    check(request(FLUME_HASH, None, FLUME_HASH), Match::Both, false);
    check(request(OUR_HASH, None, FLUME_HASH), Match::Both, false);
    check(request(FLUME_HASH, None, [1; 16]), Match::Client, false);
    check(request([7; 16], None, FLUME_HASH), Match::Both, false);
    check(request([1; 16], None, FLUME_HASH), Match::None, false);
    check(request([1; 16], Some(PROTOCOL), FLUME_HASH), Match::Both, true);
    check(request([1; 16], Some(PROTOCOL), [1; 16]), Match::Client, true);
    let refused = request([1; 16], Some("{}"), FLUME_HASH).answer(&FLUME, PEER, |_| false);
    assert!(refused.unwrap_err().contains("no call append"));
}

#[test]
fn protocols_of_other_compilers() {
    let check = |from: &str, to: &str, good: bool| {
        let text = PROTOCOL.replace(from, to);
        assert_ne!(text, PROTOCOL);
        assert_eq!(speaks_flume(text.as_bytes()).is_ok(), good, "{from} → {to}");
    };
    check(r#""string""#, r#"{"type":"string","avro.java.string":"String"}"#, true);
    check(r#""name":"AvroFlumeEvent""#, r#""name":"org.x.AvroFlumeEvent","doc":"d""#, true);
    check("AvroFlumeEvent", "E", true);
    check(r#""type":"bytes""#, r#""type":"string""#, false);
    check(r#""values":"string""#, r#""values":"bytes""#, false);
    check(r#""name":"body""#, r#""name":"payload""#, false);
    check(r#""append":"#, r#""add":"#, false);
    check(r#"{"name":"body","type":"bytes"}"#, r#"{"name":"body","type":"bytes"},{}"#, false);
    check(r#"{"type":"array","items":"AvroFlumeEvent"}"#, r#""AvroFlumeEvent""#, false);
    check("{", "[", false);
}

#[test]
fn both_sides_read_what_the_other_writes() {
    let mut bytes = Vec::new();
    Request::put_ours(FLUME_HASH, &mut bytes);
    let request = read(&bytes).unwrap();
    assert!(request.ours);
    assert_eq!((request.client_hash, request.server_hash), (OUR_HASH, FLUME_HASH));
    for peer in [PEER, Peer { in_order: false, stores_once: true }, Peer::default()] {
        let check = |request: &Request| {
            let (response, _) = request.answer(&FLUME, peer, |_| false).unwrap();
            assert_eq!(response.peer, Some(peer));
            let mut bytes = Vec::new();
            response.put(&FLUME, &mut bytes);
            let bytes = Bytes::from(bytes);
            assert_eq!(Response::read(&mut Reader::new(&bytes)), Ok(response));
        };
        check(&request);
        check(&Request { server_hash: [0; 16], ours: true, ..read(&bytes).unwrap() });
        check(&Request { client_hash: [0; 16], client_protocol: None, ..read(&bytes).unwrap() });
    }
}

#[test]
fn what_is_wrong_is_refused() {
    let flume = [&FLUME_HASH[..], b"\0", &FLUME_HASH, b"\x02\0"].concat();
    assert!(!read(&flume).unwrap().ours);
    for end in 0..flume.len() {
        assert!(read(&flume[..end]).is_err(), "{end}");
    }
    let strange = [&FLUME_HASH[..], b"\x04"].concat();
    assert_eq!(read(&strange).unwrap_err().what, "a choice that does not exist");
    let mut long = [&FLUME_HASH[..], b"\x02"].concat();
    put_bytes(&vec![b'x'; MOST_PROTOCOL_BYTES + 1], &mut long);
    assert_eq!(read(&long).unwrap_err().what, "a protocol longer than any");
}

proptest! {
    #[test]
    fn any_text_is_judged_without_panic(text in ".{0,60}") {
        drop(speaks_flume(text.as_bytes()));
        drop(speaks_flume(PROTOCOL.replace("bytes", &text).as_bytes()));
    }
}
