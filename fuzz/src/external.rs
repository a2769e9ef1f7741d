//! Any bytes as messages of an external process, and as the answers in them.

use bytes::Bytes;
use splashdam_core::Event;
use splashdam_wire::external::{
    LENGTH_BYTES, Message, Outcome, message_length, read_edits, read_message, read_refusals,
};

const MOST_BYTES: usize = 1 << 20;

/// Cuts the input into messages and reads each: what is read holds no more than was there, and is
/// read again as the same when it is written.
pub fn messages(input: &[u8]) {
    let mut left = Bytes::copy_from_slice(input);
    while let Some(head) = left.first_chunk::<LENGTH_BYTES>() {
        let Ok(length) = message_length(*head, MOST_BYTES) else { return };
        if left.len() < LENGTH_BYTES + length {
            return;
        }
        let message = left.split_to(LENGTH_BYTES + length).slice(LENGTH_BYTES..);
        if let Ok(read) = read_message(&message) {
            one(&read, message.len());
        }
    }
}

fn one(read: &Message, length: usize) {
    let mut written = Vec::new();
    read.write(&mut written);
    // A name that comes twice is written once, and what a later version adds is passed over.
    assert!(written.len() <= LENGTH_BYTES + length);
    let again = read_message(&Bytes::from(written).slice(LENGTH_BYTES..));
    assert_eq!(again.as_ref(), Ok(read));
    if let Message::Batch { events, .. } = read {
        let bytes: usize = events.iter().map(Event::bytes).sum();
        assert!(bytes + 8 * events.len() <= length);
    }
    if let Message::Answer { outcome: Outcome::Done(done), .. } = read {
        let mut one = Event::new("body");
        one.headers.insert("name", "value");
        let batch = [one, Event::new(""), Event::new("other")];
        if let Ok(events) = read_edits(done, &batch) {
            assert!(events.len() <= batch.len());
            let bytes: usize = events.iter().map(Event::bytes).sum();
            assert!(bytes <= done.len() + batch.iter().map(Event::bytes).sum::<usize>());
        }
        if let Ok(refusals) = read_refusals(done, batch.len()) {
            assert!(refusals.len() <= batch.len());
        }
    }
}
