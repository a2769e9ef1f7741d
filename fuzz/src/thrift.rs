//! Any bytes as a frame of Thrift, as a call and as an answer; as Scribe's, and as what agents of Flume 0.9
//! send.

use bytes::{Buf, Bytes};
use splashdam_core::Event;
use splashdam_wire::thrift::legacy::{Said, read_message};
use splashdam_wire::thrift::rpc::{Call, Request, read_answer, read_call, write_append_batch};
use splashdam_wire::thrift::scribe::{ResultCode, read_log};
use splashdam_wire::thrift::{FRAME_HEAD_BYTES, Frame, Protocol};

/// Texts that are not UTF-8 grow at the most by this, as each bad byte becomes U+FFFD.
const GROWTH: usize = 3;

/// Reads the input; what is read holds no more than was there, and is the same when it is written
/// and read again.
pub fn frame(input: &[u8]) {
    let frame = Bytes::copy_from_slice(input);
    if let Ok(answer) = read_answer(&frame)
        && let Err(exception) = answer.outcome
    {
        assert!(exception.text.len() <= GROWTH * input.len());
    }
    let Ok(Call { caller, request }) = read_call(&frame) else { return };
    let events = match &request {
        Ok(Request::Append(event)) => std::slice::from_ref(event),
        Ok(Request::AppendBatch(batch)) => batch.events(),
        Err(exception) => {
            let answer = message(caller.answer(&Err(exception.clone())));
            assert!(read_answer(&answer).expect("our answer").outcome.is_err());
            return;
        }
    };
    let bytes: usize = events.iter().map(Event::bytes).sum();
    assert!(bytes <= GROWTH * input.len() && events.len() <= input.len());
    for protocol in [Protocol::Compact, Protocol::Binary] {
        let (written, count) = write_append_batch(protocol, 1, events).expect("small events");
        assert_eq!(count, events.len());
        let again = read_call(&message(written)).expect("our call").request;
        let Ok(Request::AppendBatch(again)) = again else { panic!("our call is a batch") };
        assert_eq!(again.events(), events);
    }
}

/// Reads the input as a call of Scribe's: what is read holds no more than was there, and has an answer.
pub fn scribe(input: &[u8]) {
    let Ok(log) = read_log(&Bytes::copy_from_slice(input)) else { return };
    for result in [ResultCode::Ok, ResultCode::TryLater] {
        assert!(!message(log.answer(result)).is_empty());
    }
    if let Some(batch) = log.batch {
        assert!(batch.len() <= input.len());
        let bytes: usize = batch.events().iter().map(|event| event.body.len()).sum();
        assert!(bytes <= GROWTH * input.len());
    }
}

/// Reads the input as messages of Flume 0.9, one after the other: they are the same when each is read
/// from its own bytes, and a part of one waits for the rest or is refused.
pub fn legacy(input: &[u8]) {
    let mut rest = Bytes::copy_from_slice(input);
    while let Ok(Some((said, length))) = read_message(&rest) {
        assert!(length > 0 && length <= rest.len());
        let own = rest.split_to(length);
        if let Said::Event(event) = &said {
            assert!(event.body.len() <= length);
        }
        let part = own.slice(..length - 1);
        assert_eq!(read_message(&own).ok().flatten(), Some((said, length)));
        assert!(read_message(&part).is_ok_and(|part| part.is_none()));
    }
}

fn message(mut frame: Frame) -> Bytes {
    frame.advance(FRAME_HEAD_BYTES);
    frame.copy_to_bytes(frame.remaining())
}
