use super::*;
use crate::Kind;
use crate::fuzzing::settings;
use crate::performative as say;

fn link() -> Link {
    let mut link = Link::new(settings(2, 100));
    let mut said = BytesMut::from(&Protocol::Sasl.header()[..]);
    say::mechanisms(&["ANONYMOUS"], &mut said);
    say::outcome(0, &mut said);
    said.extend_from_slice(&Protocol::Amqp.header());
    say::open("broker", "h", &mut said);
    say::begun(&mut said);
    say::attached(true, None, &mut said);
    link.feed(&mut said).unwrap();
    assert!(link.is_open() && said.is_empty());
    link
}

#[test]
fn a_broker_that_gives_more_than_was_asked_for_is_left() {
    let check = |say: &dyn Fn(&mut BytesMut), what: &str| {
        let mut link = link();
        let mut said = BytesMut::new();
        say(&mut said);
        let fault = link.feed(&mut said).expect_err(what);
        assert!(fault.to_string().contains(what), "{fault}");
    };
    check(&|out| (0..3).for_each(|id| say::transfer(id, false, b"m", out)), "more messages than");
    let endless = |out: &mut BytesMut| (0..10_000).for_each(|_| say::transfer(0, true, b"", out));
    // An endless message uses up the window, which is opened again as long as nothing lies ready: it takes no memory.
    let mut link = link();
    let mut said = BytesMut::new();
    endless(&mut said);
    link.feed(&mut said).unwrap();
    assert!(!link.has_ready() && link.partial.as_ref().is_some_and(|partial| partial.bytes == 0));
    let mixed = |out: &mut BytesMut| (0..2).for_each(|id| say::transfer(id, true, b"m", out));
    check(&mixed, "pieces of two messages at once");
    check(&|out| say::outcome(0, out), "a frame of another protocol");
    check(
        &|out| out.extend_from_slice(b"\0\0\0\x0c\x02\0\0\0\0\x53\x77\x40"),
        "something that is not said",
    );
    let echo =
        b"\0\0\0\x18\x02\0\0\0\0\x53\x13\xc0\x0b\x0a\x40\x40\x40\x40\x40\x40\x40\x40\x42\x41";
    check(&|out| out.extend_from_slice(&echo.repeat(40_000)), "questions, and nobody who reads");
}

#[test]
fn much_may_be_said_of_messages() {
    let mut link = link();
    for id in 0..20_000 {
        link.settle(2 * id, 2 * id, &Verdict::Rejected("it is malformed"));
    }
    assert!(link.out.len() > OUT_LIMIT_BYTES);
    let mut said = BytesMut::new();
    say::transfer(0, false, b"m", &mut said);
    link.feed(&mut said).unwrap();
    assert!(link.has_ready());
}

#[test]
fn the_window_stays_shut_while_much_lies_ready() {
    let mut link = link();
    link.settings.prefetch_messages = 1000;
    link.settings.message_limit_bytes = u64::MAX;
    link.grant();
    let mut said = BytesMut::new();
    let mut given = 0;
    let payload = vec![0; 60_000];
    while link.window_frames > 0 {
        say::transfer(given, false, &payload, &mut said);
        link.feed(&mut said).unwrap();
        given += 1;
    }
    assert!(
        link.ready_bytes > READY_BYTES && link.ready_bytes <= HELD_BYTES,
        "{}",
        link.ready_bytes
    );
    say::transfer(given, false, b"m", &mut said);
    assert!(link.feed(&mut said.clone()).is_err());
    while link.ready_bytes > READY_BYTES {
        assert_eq!(link.window_frames, 0);
        link.take().unwrap();
    }
    assert_eq!(link.window_frames, WINDOW_FRAMES);
    link.feed(&mut said).unwrap();
}

#[test]
fn an_aborted_message_is_forgotten() {
    let mut link = link();
    let mut said = BytesMut::new();
    say::transfer(5, true, b"half", &mut said);
    link.feed(&mut said).unwrap();
    let aborted = Transfer { delivery: None, settled: false, more: false, aborted: true };
    link.transfer(&aborted, Bytes::new()).unwrap();
    say::transfer(6, false, b"whole", &mut said);
    link.feed(&mut said).unwrap();
    assert_eq!(link.take(), Some(Delivery { id: 6, payload: Ok(Bytes::from_static(b"whole")) }));
    assert_eq!(link.take(), None);
}

#[test]
fn names_have_the_prefix_that_the_broker_wants() {
    let check = |kind, address: &str, prefixes: bool, want: &[u8]| {
        let mut link = link();
        link.phase = Phase::Opening;
        if let Some(subscription) = &mut link.settings.subscription {
            (subscription.kind, subscription.address) = (kind, address.to_owned());
        }
        link.out.clear();
        let mut said = BytesMut::new();
        match prefixes {
            true => said.extend_from_slice(
                b"\0\0\0\x4b\x02\0\0\0\0\x53\x10\xc0\x3e\x0a\xa1\0\x40\x40\x40\x40\x40\x40\x40\x40\xc1\x31\x04\
                \xa3\x0cqueue-prefix\xa1\x08queue://\xa3\x0ctopic-prefix\xa1\x08topic://",
            ),
            false => say::open("broker", "h", &mut said),
        }
        link.feed(&mut said).unwrap();
        let length = u8::try_from(want.len()).unwrap();
        let text = [&[0xb1, 0, 0, 0, length], want].concat();
        assert!(link.out.windows(text.len()).any(|part| part == text), "{want:?}: {:?}", link.out);
    };
    check(Kind::Queue, "q", false, b"q");
    check(Kind::Topic, "t", false, b"t");
    check(Kind::Queue, "q", true, b"queue://q");
    check(Kind::Topic, "t", true, b"topic://t");
    check(Kind::Topic, "topic://t", true, b"topic://t");
}

/// What our last flow says: the count that we know, and the credit.
fn asked(link: &mut Link) -> (u32, u32) {
    link.out.clear();
    link.flow();
    (link.delivery_count, link.credit_messages)
}

#[test]
fn a_broker_that_forgets_credit_late_is_asked_again() {
    let mut link = link();
    let begun = link.delivery_count;
    assert_eq!(asked(&mut link), (begun, 2));
    link.hold();
    assert!(!link.is_quiet());
    // Nobody waited for its answer any longer.
    link.resume();
    assert_eq!(asked(&mut link), (begun, 2));
    let mut said = BytesMut::new();
    say::drained(begun.wrapping_add(2), &mut said);
    link.out.clear();
    link.feed(&mut said).unwrap();
    assert!(!link.out.is_empty(), "it has no credit, and is to have some");
    assert_eq!((link.delivery_count, link.credit_messages), (begun.wrapping_add(2), 2));
    // In time it ends what was asked for, and words that are older than that end nothing.
    link.hold();
    say::drained(begun.wrapping_add(2), &mut said);
    link.feed(&mut said).unwrap();
    assert!(!link.is_quiet());
    say::drained(begun.wrapping_add(4), &mut said);
    link.feed(&mut said).unwrap();
    assert!(link.is_quiet());
    // A count that lies behind is none.
    say::drained(begun, &mut said);
    link.feed(&mut said).unwrap();
    assert_eq!(link.delivery_count, begun.wrapping_add(4));
}
