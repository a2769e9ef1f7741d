//! What must hold for any bytes: a fault or a value, in memory that the input bounds, and no panic. The fuzz target
//! and the property tests run the same functions.

use bytes::{Bytes, BytesMut};

use crate::link::Link;
use crate::message::{Body, Message};
use crate::performative::Verdict;
use crate::value::Value;
use crate::{Kind, Login, Settings, Subscription};

/// A message; answers how many bytes are in what was read of it.
pub fn message(input: &[u8]) -> usize {
    let Ok(message) = Message::read(Bytes::copy_from_slice(input)) else { return 0 };
    let text = |value: &Value| value.text().map_or(0, str::len);
    let properties =
        message.application_properties.iter().map(|(name, value)| name.len() + text(value));
    let body = match &message.body {
        Body::Data(bytes) => bytes.len(),
        Body::Value(value) => text(value),
        Body::None | Body::Sequence => 0,
    };
    body + properties.sum::<usize>()
}

/// What a broker sends, right after the connection is there and in the middle of everything; in pieces of the length
/// that the first byte says. Answers how many bytes of messages were taken.
pub fn broker(input: &[u8]) -> usize {
    let Some((piece, input)) = input.split_first() else { return 0 };
    [&[][..], &GREETING[..8], GREETING]
        .iter()
        .map(|before| talk(before, input, (*piece).max(1).into()))
        .sum()
}

/// All that a broker says before messages come: header, mechanisms, outcome, header, open, begin, attach.
const GREETING: &[u8] = b"AMQP\x03\x01\x00\x00\
    \x00\x00\x00\x19\x02\x01\x00\x00\x00S@\xc0\x0c\x01\xa3\x09ANONYMOUS\
    \x00\x00\x00\x10\x02\x01\x00\x00\x00SD\xc0\x03\x01P\x00\
    AMQP\x00\x01\x00\x00\
    \x00\x00\x00\x10\x02\x00\x00\x00\x00S\x10\xc0\x03\x01\xa1\x00\
    \x00\x00\x00\x11\x02\x00\x00\x00\x00S\x11\xc0\x04\x02@R\x00\
    \x00\x00\x00\x16\x02\x00\x00\x00\x00S\x12\xc0\x09\x06\xa1\x01lCB@@E";

/// Those of a link `l` to a queue `q`, which the greeting above opens.
pub(crate) fn settings(prefetch_messages: u32, message_limit_bytes: u64) -> Settings {
    let subscription = Subscription {
        name: "l".to_owned(),
        address: "q".to_owned(),
        kind: Kind::Queue,
        selector: None,
        lasting: false,
    };
    Settings {
        container: "c".to_owned(),
        host: "h".to_owned(),
        login: Login::Anonymous,
        subscription: Some(subscription),
        prefetch_messages,
        message_limit_bytes,
    }
}

fn talk(before: &[u8], input: &[u8], piece: usize) -> usize {
    let mut link = Link::new(settings(4, 1000));
    let mut inbox = BytesMut::from(before);
    let mut taken = 0;
    for piece in [&[][..]].into_iter().chain(input.chunks(piece)) {
        inbox.extend_from_slice(piece);
        if link.feed(&mut inbox).is_err() {
            break;
        }
        while let Some(delivery) = link.take() {
            taken += delivery.payload.as_ref().map_or(0, Bytes::len);
            link.settle(delivery.id, delivery.id, &Verdict::Accepted);
        }
        // Somebody reads the answers.
        link.out.clear();
    }
    taken
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_greeting_opens_a_link() {
        let message = b"\0\0\0\x1e\x02\0\0\0\0\x53\x14\xc0\x07\x06\x43\x43\x40\x40\x42\x42\0\x53\x75\xa0\x05hello";
        assert_eq!(broker(&[&[255], &message[..]].concat()), 10);
        assert_eq!(broker(&[&[1], &message[..]].concat()), 10);
    }

    proptest! {
        #[test]
        fn any_bytes_hold(input in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(message(&input) <= input.len());
            prop_assert!(broker(&input) <= 3 * input.len());
        }

        #[test]
        fn any_frames_hold(code in 0x10_u8..0x19, fields in proptest::collection::vec(any::<u8>(), 0..60)) {
            let size = u8::try_from(fields.len() + 8 + 5).unwrap();
            let inner = u8::try_from(fields.len()).unwrap();
            let head = [0, 0, 0, size, 2, 0, 0, 0, 0, 0x53, code, 0xc0, inner];
            let frame = [&[255], &head[..], &fields[..]].concat();
            prop_assert!(broker(&frame) <= frame.len());
            let section = [&[0, 0x53, code + 0x60, 0xc0, inner], &fields[..]].concat();
            prop_assert!(message(&section) <= section.len());
        }
    }
}
