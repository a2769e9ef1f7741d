use proptest::prelude::*;

use super::*;

fn event(headers: &[(&str, &str)], body: &'static str) -> Event {
    Event { headers: headers.iter().copied().collect(), body: Bytes::from_static(body.as_bytes()) }
}

fn written(message: &Message) -> Vec<u8> {
    let mut out = Vec::new();
    message.write(&mut out);
    out
}

/// A message as it comes: its length is right and taken off.
fn came(bytes: &[u8]) -> Bytes {
    let (head, rest) = bytes.split_first_chunk().unwrap();
    assert_eq!(message_length(*head, 1 << 20), Ok(rest.len()));
    Bytes::copy_from_slice(rest)
}

fn hello() -> Hello {
    Hello {
        version: 1,
        role: "sink".into(),
        agent: "a1".into(),
        component: "k1".into(),
        most_message_bytes: 258,
        batch_events: 100,
        settings: [("a", "b")].into_iter().collect(),
    }
}

#[test]
fn bytes_are_those_of_the_document() {
    let check = |message: Message, want: &[u8]| {
        let bytes = written(&message);
        assert_eq!(bytes, want, "{message:?}");
        assert_eq!(read_message(&came(&bytes)), Ok(message));
    };
    check(
        Message::Hello(hello()),
        b"\0\0\0\x2d\x01\0\x01\0\0\0\x04sink\0\0\0\x02a1\0\0\0\x02k1\0\0\x01\x02\0\0\0\x64\
          \0\0\0\x01\0\0\0\x01a\0\0\0\x01b",
    );
    check(Message::Ready { version: 1, program: "me".into() }, b"\0\0\0\x09\x02\0\x01\0\0\0\x02me");
    check(
        Message::Batch { id: 7, events: vec![event(&[("h", "v")], "body"), event(&[], "")] },
        b"\0\0\0\x2b\x03\0\0\0\0\0\0\0\x07\0\0\0\x02\0\0\0\x01\0\0\0\x01h\0\0\0\x01v\0\0\0\x04body\
          \0\0\0\0\0\0\0\0",
    );
    let again = Outcome::Again("no".into());
    check(
        Message::Answer { id: 7, outcome: again },
        b"\0\0\0\x10\x04\0\0\0\0\0\0\0\x07\x01\0\0\0\x02no",
    );
    let done = Outcome::Done(Bytes::new());
    check(Message::Answer { id: 7, outcome: done }, b"\0\0\0\x0a\x04\0\0\0\0\0\0\0\x07\0");
    check(Message::Stop, b"\0\0\0\x01\x05");
}

#[test]
fn a_later_hello_may_say_more_and_nothing_else_may() {
    let check = |message: Message, passes: bool| {
        let mut bytes = written(&message).split_off(LENGTH_BYTES);
        bytes.extend_from_slice(b"more");
        let read = read_message(&bytes.into());
        assert_eq!(read.is_ok(), passes, "{read:?}");
    };
    check(Message::Hello(hello()), true);
    check(Message::Ready { version: 1, program: "me".into() }, true);
    check(Message::Batch { id: 1, events: vec![event(&[], "a")] }, false);
    check(Message::Answer { id: 1, outcome: Outcome::Again("no".into()) }, false);
    check(Message::Stop, false);
}

#[test]
fn what_is_wrong_is_refused_at_its_place() {
    let check = |bytes: &'static [u8], at: usize, what: &str| {
        let error = read_message(&Bytes::from_static(bytes)).unwrap_err();
        assert_eq!((error.at, error.what.contains(what)), (at, true), "{error} of {bytes:?}");
    };
    check(b"", 0, "ends before");
    check(b"\x09", 1, "unknown kind");
    check(b"\x03\0\0\0\0\0\0\0\x01\xff\xff\xff\xff", 13, "count beyond");
    check(b"\x03\0\0\0\0\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\0\0\0", 17, "count beyond");
    check(b"\x03\0\0\0\0\0\0\0\x01\0\0\0\x01\0\0\0\0\0\0\0\x02a", 21, "ends before");
    check(b"\x03\0\0\0\0\0\0\0\x01\0\0\0\0x", 13, "bytes behind");
    check(b"\x04\0\0\0\0\0\0\0\x01\x02", 10, "unknown outcome");
    check(b"\x04\0\0\0\0\0\0\0\x01\x01\0\0\0\x01\xff", 15, "not UTF-8");
    check(b"\x02\0\x01\0\0\0\x05four", 7, "ends before");
    for (head, most, fits) in [([0, 0, 0, 0], 9, false), ([0, 0, 0, 9], 9, true)] {
        assert_eq!(message_length(head, most).is_ok(), fits);
    }
    assert!(message_length([0, 0, 0, 10], 9).is_err());
    assert!(message_length([0xff; 4], 1 << 30).is_err());
}

#[test]
fn edits_keep_to_what_came() {
    let batch = [event(&[("a", "1"), ("b", "2")], "x"), event(&[], "y")];
    let check = |edits: &[Edit], want: Result<&[Event], &str>| {
        let mut out = Vec::new();
        write_edits(1, edits, &mut out);
        let Ok(Message::Answer { outcome: Outcome::Done(done), .. }) = read_message(&came(&out))
        else {
            panic!("no answer");
        };
        let got = read_edits(&done, &batch);
        match want {
            Ok(want) => assert_eq!(got.as_deref(), Ok(want), "{edits:?}"),
            Err(what) => assert!(got.unwrap_err().what.contains(what), "{edits:?}"),
        }
        for length in 0..done.len() {
            assert!(read_edits(&done.slice(..length), &batch).is_err(), "{length} of {edits:?}");
        }
    };
    let pairs = |pairs: &[(&str, &str)]| pairs.iter().copied().collect::<Headers>();
    check(&[], Ok(&[]));
    check(&[Edit::Unchanged(1), Edit::Unchanged(0)], Ok(&[batch[1].clone(), batch[0].clone()]));
    check(&[Edit::Whole(event(&[], "z"))], Ok(&[event(&[], "z")]));
    check(&[Edit::Headers(0, pairs(&[("c", "3")]))], Ok(&[event(&[("c", "3")], "x")]));
    let both = [("a", "9"), ("b", "2"), ("c", "3")];
    check(&[Edit::Added(0, pairs(&[("a", "9"), ("c", "3")]))], Ok(&[event(&both, "x")]));
    let whole = Edit::Whole(event(&[], "z"));
    check(&[whole.clone(), whole.clone()], Ok(&[event(&[], "z"), event(&[], "z")]));
    check(&[whole.clone(), whole.clone(), whole], Err("more events than came"));
    check(&[Edit::Unchanged(2)], Err("did not come"));
    check(&[Edit::Unchanged(0), Edit::Added(0, pairs(&[]))], Err("named before"));
    assert!(read_edits(&Bytes::from_static(b"\0\0\0\x01\x07"), &batch).is_err());
    assert!(read_edits(&Bytes::from_static(b"\0\0\0\0x"), &batch).is_err());
}

#[test]
fn refusals_come_in_order_and_of_what_came() {
    let check = |places: &[u32], good: bool| {
        let refusals: Vec<_> =
            places.iter().map(|at| Refusal { at: *at, why: "bad".into() }).collect();
        let mut out = Vec::new();
        write_refusals(1, &refusals, &mut out);
        let Ok(Message::Answer { outcome: Outcome::Done(done), .. }) = read_message(&came(&out))
        else {
            panic!("no answer");
        };
        assert_eq!(read_refusals(&done, 3).ok(), good.then_some(refusals), "{places:?}");
    };
    check(&[], true);
    check(&[0, 2], true);
    check(&[3], false);
    check(&[2, 0], false);
    check(&[1, 1], false);
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let header = (".{0,6}", ".{0,6}");
    let headers = prop::collection::vec(header, 0..4).prop_map(Headers::from_iter);
    let body = prop::collection::vec(any::<u8>(), 0..30).prop_map(Bytes::from);
    prop::collection::vec((headers, body).prop_map(|(headers, body)| Event { headers, body }), 0..5)
}

proptest! {
    #[test]
    fn batches_come_back(id: u64, events in events()) {
        let mut out = Vec::new();
        write_batch(id, &events, &mut out);
        let length: usize = events.iter().map(event_length).sum();
        prop_assert_eq!(out.len(), BATCH_BYTES + length);
        let bytes = came(&out);
        prop_assert_eq!(read_message(&bytes), Ok(Message::Batch { id, events }));
        for length in 0..bytes.len() {
            prop_assert!(read_message(&bytes.slice(..length)).is_err());
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let bytes = Bytes::from(bytes);
        let batch = [Event::new("x"), Event::new("y")];
        drop((read_message(&bytes), read_edits(&bytes, &batch), read_refusals(&bytes, 2)));
    }
}
