//! The service of Flume 0.9's agents, `append(event)`: a request of HTTP a call, each with a handshake.
//!
//! ```text
//! body      buffers, each its length in 4 bytes, big-endian, and its bytes; a length of 0 ends it
//! request   handshake, metadata (a map of bytes), the call's name, the event
//! event     timestamp, priority (0 FATAL … 5 TRACE), body, nanoseconds, host, fields (a map of bytes)
//! answer    handshake, metadata, a flag (0 = taken, 1 = error), then nothing or an error's text
//! ```
//!
//! Agents of 0.9 call the protocol `FlumeEventAvroServer` and the record `AvroFlumeEvent`; Flume 1 calls
//! them `FlumeOGEventAvroServer` and `AvroFlumeOGEvent`. Their names do not matter. What is behind the
//! last buffer, and behind the event, is ignored as Java does.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use serde_json::Value;
use splashdam_core::{Event, Malformed, Text};

use super::datum::Reader;
use super::handshake::{Hash, Match, Peer, Protocol, Request, Spoken, plain};
use super::rpc::put_error;
use crate::thrift::legacy::PRIORITIES;

/// Fields of an event at the most: each costs memory beside its bytes.
const MOST_FIELDS: usize = 10_000;
const APPEND: &[u8] = b"append";

/// The protocol as Flume 1.11 knows it, licence included.
pub const OG: Spoken = Spoken { text: PROTOCOL, hash: OG_HASH, also: &[], accepts: speaks_og };

const OG_HASH: Hash = [
    0x84, 0xf2, 0x6a, 0x5a, 0x74, 0xaf, 0x57, 0x26, 0xd8, 0xbc, 0x68, 0x10, 0x56, 0x69, 0xc9, 0x96,
];

/// The protocol without its comments.
const PROTOCOL: &str = concat!(
    r#"{"protocol":"FlumeOGEventAvroServer","namespace":"com.cloudera.flume.handlers.avro","types":["#,
    r#"{"type":"enum","name":"Priority","symbols":["FATAL","ERROR","WARN","INFO","DEBUG","TRACE"]},"#,
    r#"{"type":"record","name":"AvroFlumeOGEvent","fields":["#,
    r#"{"name":"timestamp","type":"long"},{"name":"priority","type":"Priority"},"#,
    r#"{"name":"body","type":"bytes"},{"name":"nanos","type":"long"},{"name":"host","type":"string"},"#,
    r#"{"name":"fields","type":{"type":"map","values":"bytes"}}]}],"#,
    r#""messages":{"append":{"request":[{"name":"evt","type":"AvroFlumeOGEvent"}],"response":"null"}}}"#,
);

/// The fields of the record, in order.
const FIELDS: [(&str, &str); 6] = [
    ("timestamp", "long"),
    ("priority", "enum"),
    ("body", "bytes"),
    ("nanos", "long"),
    ("host", "string"),
    ("fields", "map"),
];

/// What becomes of the bytes of an event's fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldValues {
    /// What Java says of a buffer: its length, nothing of what it holds. That is what Flume makes of
    /// them.
    Described,
    /// Their text, as UTF-8.
    Text,
}

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Said {
    /// An event to be stored, and the way to answer.
    Event(Event, Greeting),
    /// An answer that needs nothing stored: to a ping, or because the handshakes do not match yet.
    Nothing(Bytes),
    /// It cannot be executed: why, and the answer that says so.
    Unusable(String, Bytes),
}

/// What goes before an answer: the handshake.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Greeting(Vec<u8>);

impl Greeting {
    /// The answer once the event is stored.
    pub fn stored(self) -> Bytes {
        // No metadata, no error, and a result of no bytes.
        let Greeting(mut message) = self;
        message.extend_from_slice(&[0, 0]);
        framed(&message)
    }

    /// The answer when it is not.
    pub fn refused(self, why: &str) -> Bytes {
        let Greeting(mut message) = self;
        put_error(why, &mut message);
        framed(&message)
    }
}

/// Reads a request's body, from a client whose protocol is one of Flume's or `known`; also the hash of
/// a protocol that is to be known from now on.
///
/// # Errors
/// When it does not consist of buffers. What is wrong within them is answered.
pub fn read_request(
    body: &Bytes,
    values: FieldValues,
    known: impl FnOnce(&Hash) -> bool,
) -> Result<(Said, Option<Hash>), Malformed> {
    let message = unframed(body)?;
    let mut input = Reader::new(&message);
    let unusable = |before: Greeting, why: String| {
        let answer = before.refused(&why);
        (Said::Unusable(why, answer), None)
    };
    let hello = match Request::read(&mut input) {
        Ok(hello) => hello,
        Err(error) => return Ok(unusable(Greeting::default(), thrown(error))),
    };
    let (response, new) = match hello.answer(&OG, Peer::default(), known) {
        Ok(answer) => answer,
        Err(why) => return Ok(unusable(Greeting::default(), why)),
    };
    let mut greeting = Greeting::default();
    response.put(&OG, &mut greeting.0);
    if response.matched == Match::None {
        return Ok((Said::Nothing(framed(&greeting.0)), None));
    }
    let said = match call(&mut input, values) {
        Ok(Call::Append(event)) => Said::Event(event, greeting),
        Ok(Call::Ping) => Said::Nothing(framed(&greeting.0)),
        Ok(Call::Unknown(name)) => {
            // As Java says it.
            let why =
                format!("org.apache.avro.AvroRuntimeException: No such remote message: {name}");
            unusable(greeting, why).0
        }
        Err(error) => unusable(greeting, thrown(error)).0,
    };
    Ok((said, new))
}

enum Call {
    Append(Event),
    Ping,
    Unknown(String),
}

fn call(input: &mut Reader<'_>, values: FieldValues) -> Result<Call, Malformed> {
    input.entries(|_, _| {})?;
    Ok(match &*input.bytes()? {
        b"" => Call::Ping,
        APPEND => Call::Append(event(input, values)?),
        other => {
            Call::Unknown(String::from_utf8_lossy(&other[..other.len().min(100)]).into_owned())
        }
    })
}

fn event(input: &mut Reader<'_>, values: FieldValues) -> Result<Event, Malformed> {
    let timestamp = input.number()?;
    let priority = usize::try_from(input.number()?).ok();
    let priority = priority.and_then(|number| PRIORITIES.get(number).copied());
    let priority = priority.ok_or(input.malformed("a priority that Flume 0.9 has not"))?;
    let body = input.bytes()?;
    let nanos = input.number()?;
    let mut headers = vec![
        (Text::from_static("host"), text(input.bytes()?)),
        (Text::from_static("timestamp"), timestamp.to_string().into()),
        (Text::from_static("pri"), Text::from_static(priority)),
        (Text::from_static("nanos"), nanos.to_string().into()),
    ];
    let mut fields = 0;
    input.entries(|name, value| {
        fields += 1;
        if fields <= MOST_FIELDS {
            headers.push((text(name), values.of(value)));
        }
    })?;
    if fields > MOST_FIELDS {
        return Err(input.malformed("an event of more than 10000 fields"));
    }
    headers.push((Text::from_static("FlumeOG"), Text::from_static("yes")));
    // Of a name that comes twice the last value counts, as in Java's maps.
    Ok(Event { headers: headers.into_iter().collect(), body })
}

impl FieldValues {
    fn of(self, value: Bytes) -> Text {
        match self {
            FieldValues::Text => text(value),
            FieldValues::Described => {
                let length = value.len();
                format!("java.nio.HeapByteBuffer[pos=0 lim={length} cap={length}]").into()
            }
        }
    }
}

/// A text; what is not UTF-8 in it is replaced, as Java does.
fn text(bytes: Bytes) -> Text {
    if let Cow::Owned(mended) = String::from_utf8_lossy(&bytes) {
        return mended.into();
    }
    Text::from_utf8(bytes).unwrap_or_default()
}

/// What is wrong, as a Java client shows it.
fn thrown(error: Malformed) -> String {
    format!("java.io.IOException: {error}")
}

/// The message that a body's buffers hold; a slice of it where there is only one.
fn unframed(body: &Bytes) -> Result<Bytes, Malformed> {
    let (mut first, mut joined, mut at) = (Bytes::new(), BytesMut::new(), 0);
    loop {
        let malformed = |what| Malformed { at, what };
        let Some(length) = body[at..].first_chunk::<4>() else {
            return Err(malformed("it ends before the buffer of no bytes that ends a message"));
        };
        let length = u32::from_be_bytes(*length) as usize;
        let start = at + 4;
        if length > body.len() - start {
            return Err(malformed("a buffer that goes beyond the end"));
        }
        match length {
            0 if joined.is_empty() => return Ok(first),
            0 => return Ok(joined.freeze()),
            _ if first.is_empty() => first = body.slice(start..start + length),
            _ => {
                if joined.is_empty() {
                    joined.extend_from_slice(&first);
                }
                joined.extend_from_slice(&body[start..start + length]);
            }
        }
        at = start + length;
    }
}

/// A message as a body of one buffer.
fn framed(message: &[u8]) -> Bytes {
    // Handshakes and texts are far shorter than 4 GiB.
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&length[..], message, &[0; 4]].concat().into()
}

/// Checks that events of a protocol's `append` are read as Flume's are: the record has the same fields
/// in the same order, and the priorities are the same.
fn speaks_og(protocol: &[u8]) -> Result<(), String> {
    let protocol = Protocol::parse(protocol)?;
    let record = protocol.parameter("append").map(|given| protocol.resolve(given));
    let fields = record.and_then(|record| record["fields"].as_array());
    let is_same = |(field, (name, kind)): (&Value, &(&str, &str))| {
        let of = protocol.resolve(&field["type"]);
        let more = match *kind {
            "enum" => of["symbols"].as_array().is_some_and(|symbols| symbols == &PRIORITIES[..]),
            "map" => plain(&of["values"]) == Some("bytes"),
            _ => true,
        };
        field["name"] == *name && plain(of) == Some(*kind) && more
    };
    match fields {
        Some(fields) if fields.len() == FIELDS.len() && fields.iter().zip(&FIELDS).all(is_same) => {
            Ok(())
        }
        _ => {
            Err("the client's protocol has no call append that takes an event of Flume 0.9".into())
        }
    }
}

#[cfg(test)]
mod tests;
