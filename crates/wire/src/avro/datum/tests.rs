use proptest::prelude::*;

use super::*;

fn event(headers: &[(&str, &str)], body: &str) -> Event {
    let headers = headers.iter().copied().collect();
    Event { headers, body: Bytes::copy_from_slice(body.as_bytes()) }
}

fn encode(event: &Event) -> Bytes {
    let mut out = Vec::new();
    put_head(event, &mut out);
    assert_eq!(out.len(), head_length(event));
    out.extend_from_slice(&event.body);
    assert_eq!(out.len(), length(event));
    out.into()
}

#[test]
fn bytes_are_those_of_avro() {
    let check = |event: Event, want: &[u8]| {
        assert_eq!(encode(&event), want, "{event:?}");
        assert_eq!(decode(&Bytes::copy_from_slice(want)), Ok(event));
    };
    check(event(&[], ""), b"\x00\x00");
    check(event(&[], "hello"), b"\x00\x0ahello");
    check(event(&[("a", "bc")], "x"), b"\x02\x02a\x04bc\x00\x02x");
    check(event(&[("a", ""), ("b", "\u{e9}")], ""), b"\x04\x02a\x00\x02b\x04\xc3\xa9\x00\x00");
    let long = "y".repeat(64);
    check(event(&[], &long), &[b"\x00\x80\x01", long.as_bytes()].concat());
}

#[test]
fn other_writers_blocks_are_read() {
    let check = |bytes: &'static [u8], want: &[(&str, &str)]| {
        assert_eq!(decode(&Bytes::from_static(bytes)), Ok(event(want, "z")), "{bytes:?}");
    };
    // One block with its size, two blocks, and a name that comes twice.
    check(b"\x01\x08\x02a\x02b\x00\x02z", &[("a", "b")]);
    check(b"\x02\x02a\x02b\x02\x02c\x02d\x00\x02z", &[("a", "b"), ("c", "d")]);
    check(b"\x02\x02a\x02b\x01\x08\x02c\x02d\x00\x02z", &[("a", "b"), ("c", "d")]);
    check(b"\x04\x02a\x02b\x02a\x02c\x00\x02z", &[("a", "c")]);
}

#[test]
fn what_is_wrong_is_refused_at_its_place() {
    let check = |bytes: &'static [u8], at: usize, what: &str| {
        let error = decode(&Bytes::from_static(bytes)).unwrap_err();
        assert_eq!((error.at, error.what), (at, what), "{bytes:?}");
    };
    check(b"", 0, "it ends within a number");
    check(b"\x00", 1, "it ends within a number");
    check(b"\x00\x80", 2, "it ends within a number");
    check(b"\x00\x02", 1, "a length beyond the end");
    check(b"\x00\x01x", 1, "a negative length");
    check(b"\x00\x02xy", 3, "bytes behind the event");
    check(b"\x02\x02\xff\x00\x00\x00", 2, "text is not UTF-8");
    check(b"\x06\x00\x00\x00\x00", 0, "more entries than there are bytes");
    check(b"\x01\x7e\x02a\x02b\x00\x02z", 1, "a block's size is beyond the end");
    check(b"\x01\x01\x02a\x02b\x00\x02z", 1, "a block's size is beyond the end");
    check(
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00\x00",
        0,
        "more entries than there are bytes",
    );
    check(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02\x00", 0, "a number of more than 64 bits");
    check(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00", 0, "a number of more than 64 bits");
}

#[test]
fn texts_and_body_are_slices_of_the_input() {
    let bytes = encode(&event(&[("name", "value")], "body"));
    let event = decode(&bytes).unwrap();
    let inside = |part: &[u8]| bytes.as_ptr_range().contains(&part.as_ptr());
    assert!(inside(&event.body));
    assert!(event.headers.iter().all(|(n, v)| inside(n.as_bytes()) && inside(v.as_bytes())));
}

#[test]
fn room_for_events_grows_in_leaps_however_they_are_parted() {
    let count = 200_000;
    let most = Most { events: 1 << 18, headers: 0 };
    let capacity = |array: Vec<u8>| {
        let events = Reader::new(&array.into()).events(most).unwrap();
        assert_eq!(events.len(), count);
        events.capacity()
    };
    let mut whole = Vec::new();
    put_number(count, &mut whole);
    whole.extend_from_slice(&vec![0; 2 * count + 1]);
    assert_eq!(capacity(whole), count, "who says how many gets room for these");
    // One block for each: with room for that one alone all of them would be copied each time.
    let each = [&b"\x02\0\0".repeat(count)[..], b"\0"].concat();
    assert_eq!(capacity(each), count.next_power_of_two());
}

fn events() -> impl Strategy<Value = Event> {
    let headers = proptest::collection::vec((".{0,9}", ".{0,70}"), 0..20);
    (headers, proptest::collection::vec(any::<u8>(), 0..300)).prop_map(|(headers, body)| Event {
        headers: headers.into_iter().collect(),
        body: body.into(),
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read(event in events()) {
        prop_assert_eq!(decode(&encode(&event)), Ok(event));
    }

    #[test]
    fn a_shorter_one_is_refused(event in events(), cut in any::<prop::sample::Index>()) {
        let bytes = encode(&event);
        prop_assert!(decode(&bytes.slice(..cut.index(bytes.len()))).is_err());
    }

    #[test]
    fn whatever_comes_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let bytes = Bytes::from(bytes);
        if let Ok(event) = decode(&bytes) {
            // Nothing is made up.
            prop_assert!(event.bytes() <= bytes.len());
        }
    }

    #[test]
    fn an_altered_one_is_read_or_refused(
        event in events(), at in any::<prop::sample::Index>(), bit in 0..8u32,
    ) {
        let mut bytes = encode(&event).to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(read) = decode(&Bytes::from(bytes.clone())) {
            prop_assert!(read.bytes() <= bytes.len());
        }
    }
}
