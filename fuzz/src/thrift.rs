//! Any bytes as a frame of Thrift, as a call and as an answer.

use bytes::{Buf, Bytes};
use splashdam_core::Event;
use splashdam_wire::thrift::rpc::{Call, Request, read_answer, read_call, write_append_batch};
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
    let (events, claim) = match &request {
        Ok(Request::Append(event)) => (std::slice::from_ref(event), None),
        Ok(Request::AppendBatch(batch, claim)) => (batch.events(), claim.as_ref()),
        Err(exception) => {
            let answer = message(caller.answer(&Err(exception.clone())));
            assert!(read_answer(&answer).expect("our answer").outcome.is_err());
            return;
        }
    };
    let bytes: usize = events.iter().map(Event::bytes).sum();
    assert!(bytes <= GROWTH * input.len() && events.len() <= input.len());
    for protocol in [Protocol::Compact, Protocol::Binary] {
        let (written, count) =
            write_append_batch(protocol, 1, events, claim).expect("small events");
        assert_eq!(count, events.len());
        let again = read_call(&message(written)).expect("our call").request;
        let Ok(Request::AppendBatch(again, said)) = again else { panic!("our call is a batch") };
        assert_eq!((again.events(), said.as_ref()), (events, claim));
    }
}

fn message(mut frame: Frame) -> Bytes {
    frame.advance(FRAME_HEAD_BYTES);
    frame.copy_to_bytes(frame.remaining())
}
