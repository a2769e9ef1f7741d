//! Frames on a connection: the greeting, one call, one answer.
//!
//! ```text
//! greeting  "HBas" 00 50 │ i32 n │ ConnectionHeader (n bytes)
//! call      i32 n │ varint, RequestHeader │ varint, parameter │ cell block      n counts what follows it
//! answer    i32 n │ varint, ResponseHeader │ varint, result │ cell block
//! ```
//!
//! All integers are big-endian. An answer with an exception ends behind its header.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;
use prost::encoding::{decode_varint, encoded_len_varint};

use crate::error::{Malformed, ServerException};
use crate::proto;

const MAGIC: &[u8; 4] = b"HBas";
const VERSION: u8 = 0;
/// The authentication method that asks for no proof: the user's name is taken as given.
const SIMPLE: u8 = 0x50;
const CODEC: &str = "org.apache.hadoop.hbase.codec.KeyValueCodec";
const LENGTH_BYTES: usize = 4;

/// What an answer carries when the call went well.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Body {
    /// The result message, encoded.
    pub(crate) message: Bytes,
    /// The cell block; empty when there is none.
    pub(crate) cells: Bytes,
}

/// An answer as it comes from the wire.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) call_id: u32,
    pub(crate) outcome: Result<Body, ServerException>,
}

/// Encodes the greeting for simple authentication.
pub(crate) fn greeting(user: &str, service: &str) -> Bytes {
    let header = proto::ConnectionHeader {
        user_info: Some(proto::UserInformation { effective_user: user.to_owned() }),
        service_name: Some(service.to_owned()),
        cell_block_codec_class: Some(CODEC.to_owned()),
    };
    let header = header.encode_to_vec();
    let mut out = BytesMut::with_capacity(10 + header.len());
    out.put_slice(MAGIC);
    out.put_slice(&[VERSION, SIMPLE]);
    out.put_u32(u32::try_from(header.len()).unwrap_or(u32::MAX));
    out.put_slice(&header);
    out.freeze()
}

/// What a call says of itself.
pub(crate) struct CallHead<'a> {
    pub(crate) id: u32,
    pub(crate) method: &'a str,
    pub(crate) timeout_millis: u32,
    /// Above 0 for calls to `hbase:meta`, which the server's own handlers serve.
    pub(crate) priority: Option<u32>,
}

/// Encodes a call. `None` when it is longer than a frame can be.
pub(crate) fn call(head: &CallHead<'_>, parameter: &impl Message, cells: &[u8]) -> Option<Bytes> {
    let block = u32::try_from(cells.len()).ok()?;
    let header = proto::RequestHeader {
        call_id: Some(head.id),
        method_name: Some(head.method.to_owned()),
        request_param: Some(true),
        cell_block_meta: (block > 0).then_some(proto::CellBlockMeta { length: Some(block) }),
        priority: head.priority,
        timeout: Some(head.timeout_millis),
    };
    let delimited = |length: usize| encoded_len_varint(length as u64) + length;
    let length = delimited(header.encoded_len()) + delimited(parameter.encoded_len()) + cells.len();
    let announced = i32::try_from(length).ok()?;
    let mut out = BytesMut::with_capacity(LENGTH_BYTES + length);
    out.put_i32(announced);
    // A BytesMut grows, so that encoding into it does not fail.
    header.encode_length_delimited(&mut out).ok()?;
    parameter.encode_length_delimited(&mut out).ok()?;
    out.put_slice(cells);
    Some(out.freeze())
}

/// Takes one whole frame off the front of `input`; `None` while it is not all there.
pub(crate) fn take(input: &mut BytesMut, limit_bytes: usize) -> Result<Option<Bytes>, Malformed> {
    let Some(length) = input.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
    let length = u32::from_be_bytes(*length);
    let Some(length) = usize::try_from(length).ok().filter(|&length| length <= limit_bytes) else {
        return Err(Malformed("an answer longer than the limit; is it HBase that listens there?"));
    };
    if input.len() < LENGTH_BYTES + length {
        return Ok(None);
    }
    input.advance(LENGTH_BYTES);
    Ok(Some(input.split_to(length).freeze()))
}

/// Decodes an answer.
pub(crate) fn answer(mut frame: Bytes) -> Result<Answer, Malformed> {
    let header = delimited(&mut frame, "an answer's header")?;
    let header = proto::ResponseHeader::decode(header)
        .map_err(|_| Malformed("an answer whose header cannot be read"))?;
    let call_id = header.call_id.ok_or(Malformed("an answer to no call"))?;
    if let Some(exception) = header.exception {
        return Ok(Answer { call_id, outcome: Err(exception.into()) });
    }
    let message =
        if frame.is_empty() { Bytes::new() } else { delimited(&mut frame, "an answer's result")? };
    let announced = header.cell_block_meta.and_then(|meta| meta.length).unwrap_or(0);
    if u64::from(announced) != frame.len() as u64 {
        return Err(Malformed("an answer whose cell block is not as long as it says"));
    }
    Ok(Answer { call_id, outcome: Ok(Body { message, cells: frame }) })
}

fn delimited(frame: &mut Bytes, _what: &'static str) -> Result<Bytes, Malformed> {
    let length = decode_varint(frame).map_err(|_| Malformed("an answer cut short"))?;
    match usize::try_from(length) {
        Ok(length) if length <= frame.len() => Ok(frame.split_to(length)),
        _ => Err(Malformed("an answer cut short")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The mirror of [`call`]: what a server sends.
    pub(crate) fn encode_answer(
        header: &proto::ResponseHeader,
        message: Option<&[u8]>,
        cells: &[u8],
    ) -> Bytes {
        let mut out = BytesMut::new();
        header.encode_length_delimited(&mut out).unwrap();
        if let Some(message) = message {
            prost::encoding::encode_varint(message.len() as u64, &mut out);
            out.put_slice(message);
        }
        out.put_slice(cells);
        out.freeze()
    }

    #[test]
    fn the_greeting_is_as_hbase_reads_it() {
        let bytes = greeting("u", "S");
        assert_eq!(&bytes[..6], b"HBas\x00\x50");
        assert_eq!(&bytes[6..10], ((bytes.len() - 10) as u32).to_be_bytes());
        let header = proto::ConnectionHeader::decode(&bytes[10..]).unwrap();
        assert_eq!(header.service_name.as_deref(), Some("S"));
        assert_eq!(header.user_info.unwrap().effective_user, "u");
    }

    #[test]
    fn a_call_says_its_length_and_carries_its_parts() {
        let head = CallHead { id: 7, method: "Get", timeout_millis: 5, priority: None };
        let parameter = proto::GetTableDescriptorsRequest::default();
        let bytes = call(&head, &parameter, b"cells").unwrap();
        assert_eq!(&bytes[..4], ((bytes.len() - 4) as u32).to_be_bytes());
        let mut rest = bytes.slice(4..);
        let header = delimited(&mut rest, "").unwrap();
        let header = proto::RequestHeader::decode(header).unwrap();
        assert_eq!((header.call_id, header.timeout), (Some(7), Some(5)));
        assert_eq!(header.cell_block_meta.unwrap().length, Some(5));
        assert_eq!(delimited(&mut rest, "").unwrap(), "");
        assert_eq!(rest, "cells");
    }

    #[test]
    fn frames_are_taken_whole_and_within_the_limit() {
        let check = |input: &[u8], limit: usize, want: Result<Option<&[u8]>, ()>| {
            let mut buffer = BytesMut::from(input);
            let got = take(&mut buffer, limit).map_err(|_| ());
            assert_eq!(
                got.as_ref().map(|frame| frame.as_deref()),
                want.as_ref().copied(),
                "{input:?}"
            );
        };
        check(b"", 9, Ok(None));
        check(b"\0\0\0", 9, Ok(None));
        check(b"\0\0\0\x02a", 9, Ok(None));
        check(b"\0\0\0\x02ab", 9, Ok(Some(b"ab")));
        check(b"\0\0\0\x02abc", 9, Ok(Some(b"ab")));
        check(b"\0\0\0\0", 9, Ok(Some(b"")));
        check(b"\0\0\0\x0a", 9, Err(()));
        check(b"HTTP/1.1 400", 1 << 20, Err(()));
        check(&[0xff; 4], usize::MAX, Ok(None));
    }

    #[test]
    fn answers_are_read_or_refused() {
        let header = |cells: Option<u32>| proto::ResponseHeader {
            call_id: Some(3),
            exception: None,
            cell_block_meta: cells.map(|length| proto::CellBlockMeta { length: Some(length) }),
        };
        let check = |frame: Bytes, want: Option<(&[u8], &[u8])>| {
            let got = answer(frame).ok().map(|answer| answer.outcome.unwrap());
            let got = got.as_ref().map(|body| (&body.message[..], &body.cells[..]));
            assert_eq!(got, want);
        };
        check(encode_answer(&header(None), None, b""), Some((b"", b"")));
        check(encode_answer(&header(None), Some(b"m"), b""), Some((b"m", b"")));
        check(encode_answer(&header(Some(2)), Some(b"m"), b"cc"), Some((b"m", b"cc")));
        check(encode_answer(&header(Some(3)), Some(b"m"), b"cc"), None);
        check(encode_answer(&header(None), Some(b"m"), b"cc"), None);
        check(Bytes::from_static(b"\x05\x08"), None);
        check(Bytes::from_static(b"\x00"), None);
        check(Bytes::new(), None);
        let exception = proto::ExceptionResponse {
            exception_class_name: Some("a.b.C".into()),
            stack_trace: Some("a.b.C: why\n\tat x".into()),
            do_not_retry: Some(true),
            ..Default::default()
        };
        let header = proto::ResponseHeader { exception: Some(exception), ..header(None) };
        let failed = answer(encode_answer(&header, None, b"")).unwrap().outcome.unwrap_err();
        assert_eq!((&*failed.class, &*failed.message), ("a.b.C", "why"));
        assert!(failed.do_not_retry);
    }
}
