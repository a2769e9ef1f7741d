//! The service of Flume 0.9's agents, `ThriftFlumeEventServer`: events one by one, without frames.
//!
//! ```text
//! append  oneway {1: event}    nobody answers
//! close   call {}              answer {}
//! event   {1: timestamp i64, 2: priority i32, 3: body, 4: nanos i64, 5: host text,
//!          6: map of texts to bytes}
//! ```
//!
//! In the binary protocol, heads of messages with a version and without. Where a message ends is
//! known only when it was read, so that reading one is tried again when more bytes came.

use bytes::Bytes;
use splashdam_core::{Event, Headers, Malformed, Text};

use super::binary::{Binary, Write};
use super::{BEYOND, Cursor, Decode, ENDS, Encode, Field, Kind, MOST_DEPTH, MessageKind};

const APPEND: &[u8] = b"append";
const CLOSE: &[u8] = b"close";
/// Bytes of a message at the most; Flume 0.9 keeps bodies below 32 KiB unless told otherwise.
pub const MOST_BYTES: usize = 1 << 20;
/// The longest name of a method.
const MOST_NAME_BYTES: usize = 256;
/// What a priority is called, by its number.
pub(crate) const PRIORITIES: [&str; 6] = ["FATAL", "ERROR", "WARN", "INFO", "DEBUG", "TRACE"];

/// What a sender says.
#[derive(Debug, PartialEq, Eq)]
pub enum Said {
    /// An event.
    Event(Event),
    /// It asks for this answer, and will say no more.
    Close(Vec<u8>),
    /// Something that asks for nothing.
    Nothing,
}

/// Reads the message at the start of what came: what it says and its bytes. `None` when more has to
/// come.
///
/// # Errors
/// It is no message, or one of more than 1 MiB.
pub fn read_message(input: &Bytes) -> Result<Option<(Said, usize)>, Malformed> {
    let mut binary = Binary(Cursor::new(input));
    match message(&mut binary) {
        Ok(said) => Ok(Some((said, binary.cursor().at))),
        Err(Malformed { what, .. }) if what == ENDS || what == BEYOND => {
            if input.len() < MOST_BYTES {
                Ok(None)
            } else {
                Err(binary.0.malformed("a message of more than 1 MiB"))
            }
        }
        Err(malformed) => Err(malformed),
    }
}

fn message(input: &mut Binary) -> Result<Said, Malformed> {
    let message = input.message()?;
    match &*message.name {
        APPEND => {
            let (mut said, mut last) = (Said::Nothing, 0);
            while let Some(field) = input.field(&mut last)? {
                match field {
                    Field { id: 1, kind: Kind::Struct } => said = Said::Event(event(input)?),
                    Field { kind, .. } => input.skip(kind, MOST_DEPTH)?,
                }
            }
            Ok(said)
        }
        CLOSE => {
            input.skip(Kind::Struct, MOST_DEPTH)?;
            let mut answer = Vec::new();
            Write::message(&mut answer, MessageKind::Reply, CLOSE, message.sequence);
            Write::stop(&mut answer);
            Ok(Said::Close(answer))
        }
        name if name.len() > MOST_NAME_BYTES => {
            Err(input.cursor().malformed("a method's name of more than 256 bytes"))
        }
        _ => Err(input.cursor().malformed("a method that Flume 0.9 has not")),
    }
}

fn event(input: &mut Binary) -> Result<Event, Malformed> {
    let (mut body, mut headers, mut last) = (Bytes::new(), Vec::new(), 0);
    let mut fields = Vec::new();
    while let Some(field) = input.field(&mut last)? {
        let mut set = |name, value: String| headers.push((Text::from_static(name), value.into()));
        match field {
            Field { id: 1, kind: Kind::I64 } => set("timestamp", long(input)?.to_string()),
            Field { id: 2, kind: Kind::I32 } => {
                let number = input.number()?;
                let name = usize::try_from(number).ok().and_then(|number| PRIORITIES.get(number));
                let name =
                    name.ok_or(input.cursor().malformed("a priority that Flume 0.9 has not"))?;
                set("pri", (*name).to_owned());
            }
            Field { id: 3, kind: Kind::Bytes } => body = input.bytes()?,
            Field { id: 4, kind: Kind::I64 } => set("nanos", long(input)?.to_string()),
            Field { id: 5, kind: Kind::Bytes } => {
                headers.push((Text::from_static("host"), input.text()?));
            }
            Field { id: 6, kind: Kind::Map } => {
                let (kinds, count) = input.map()?;
                if kinds.is_some_and(|kinds| kinds != (Kind::Bytes, Kind::Bytes)) {
                    return Err(input.cursor().malformed("fields that are not texts"));
                }
                for _ in 0..count {
                    fields.push((input.text()?, input.text()?));
                }
            }
            Field { kind, .. } => input.skip(kind, MOST_DEPTH)?,
        }
    }
    headers.extend(fields);
    headers.push((Text::from_static("FlumeOG"), Text::from_static("yes")));
    Ok(Event { headers: headers.into_iter().collect::<Headers>(), body })
}

fn long(input: &mut Binary) -> Result<i64, Malformed> {
    input.cursor().take().map(i64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Vec<u8> {
        [&u32::try_from(text.len()).unwrap().to_be_bytes()[..], text.as_bytes()].concat()
    }

    fn append() -> Vec<u8> {
        let parts: [&[u8]; 12] = [
            &[0x80, 1, 0, 4],
            &text("append"),
            &[0, 0, 0, 0, 12, 0, 1],
            &[10, 0, 1, 0, 0, 0, 0, 0, 0, 0, 5],
            &[8, 0, 2, 0, 0, 0, 1],
            &[11, 0, 3],
            &text("body"),
            &[10, 0, 4, 0, 0, 0, 0, 0, 0, 0, 9],
            &[11, 0, 5],
            &text("mill"),
            &[13, 0, 6, 11, 11, 0, 0, 0, 1],
            &[text("k"), text("v"), vec![0, 0]].concat(),
        ];
        parts.concat()
    }

    fn read(bytes: &[u8]) -> Result<Option<(Said, usize)>, Malformed> {
        read_message(&Bytes::copy_from_slice(bytes))
    }

    #[test]
    fn events_have_the_headers_that_flume_gives_them() {
        let call = append();
        let (said, length) = read(&[&call[..], b"more"].concat()).unwrap().unwrap();
        assert_eq!(length, call.len());
        let headers = [
            ("timestamp", "5"),
            ("pri", "ERROR"),
            ("nanos", "9"),
            ("host", "mill"),
            ("k", "v"),
            ("FlumeOG", "yes"),
        ];
        let headers = headers.into_iter().collect();
        assert_eq!(said, Said::Event(Event { headers, body: Bytes::from_static(b"body") }));
    }

    #[test]
    fn close_is_answered_and_nothing_asks_for_nothing() {
        let close = [text("close"), vec![1, 0, 0, 0, 7, 0]].concat();
        let answer = [&[0x80, 1, 0, 2][..], &text("close"), &[0, 0, 0, 7, 0]].concat();
        assert_eq!(read(&close), Ok(Some((Said::Close(answer), close.len()))));
        let nothing = [text("append"), vec![4, 0, 0, 0, 7, 0]].concat();
        assert_eq!(read(&nothing), Ok(Some((Said::Nothing, nothing.len()))));
    }

    #[test]
    fn parts_wait_for_the_rest_and_nonsense_is_refused() {
        let call = append();
        for end in 0..call.len() {
            assert_eq!(read(&call[..end]), Ok(None), "{end} bytes");
        }
        for at in 0..call.len() {
            let mut altered = call.clone();
            altered[at] ^= 0xff;
            // Whatever it makes of it, it does not panic.
            drop(read(&altered));
        }
        assert!(read(b"\x80\x02\0\x01").is_err());
        assert!(read(&[text("other"), vec![1, 0, 0, 0, 7, 0]].concat()).is_err());
        assert!(read(&vec![0x7f; MOST_BYTES]).is_err());
    }
}
