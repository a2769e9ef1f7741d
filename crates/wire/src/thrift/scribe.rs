//! Scribe's service: one call, `Log`, whose entries become events.
//!
//! ```text
//! Log     call {1: list of entries}           answer {0: result i32}
//! entry   {1: category text, 2: message text}
//! ```
//!
//! In the binary protocol, whose heads of messages are read with a version and without, and answered
//! without one, as Flume's source does it.

use bytes::Bytes;
use splashdam_core::{Batch, Event, Malformed, Text};

use super::binary::{Binary, Write};
use super::frame::Builder;
use super::rpc::Exception;
use super::{
    Cursor, Decode, Encode, Field, Frame, Kind, MOST_DEPTH, MOST_EVENTS, MessageKind, Out,
};

const LOG: &[u8] = b"Log";
/// The header of an event that tells the category.
const CATEGORY: Text = Text::from_static("category");
/// The longest name of a method that is answered with its name.
const MOST_NAME_BYTES: usize = 256;
/// The shortest entry there is: its end.
const LEAST_ENTRY_BYTES: usize = 1;

/// A call as it was received.
#[derive(Debug)]
pub struct Log {
    method: Bytes,
    sequence: i32,
    /// The events of its entries; `None` where there is no list, or an entry has no message.
    pub batch: Option<Batch>,
    /// Why it cannot be carried out, however often it is sent. The answer says so.
    pub refused: Option<Exception>,
}

/// How a call went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResultCode {
    /// Every required channel has the events.
    Ok = 0,
    /// The sender keeps them and tries again.
    TryLater = 1,
}

/// Reads a call from a frame, without the length before it.
///
/// # Errors
/// The frame breaks off or contradicts itself.
pub fn read_log(frame: &Bytes) -> Result<Log, Malformed> {
    let mut input = Binary(Cursor::new(frame));
    let message = input.message()?;
    if message.name.len() > MOST_NAME_BYTES {
        return Err(input.cursor().malformed("a method's name of more than 256 bytes"));
    }
    let (batch, refused) = match *message.name == *LOG {
        true => match entries(&mut input)? {
            Ok(batch) => (batch, None),
            Err(refused) => (None, Some(refused)),
        },
        false => {
            let name = String::from_utf8_lossy(&message.name);
            let text = format!("Invalid method name: '{name}'");
            (None, Some(Exception { kind: Exception::UNKNOWN_METHOD, text }))
        }
    };
    Ok(Log { method: message.name, sequence: message.sequence, batch, refused })
}

/// Reads the entries of a call; an exception where there are too many.
fn entries(input: &mut Binary) -> Result<Result<Option<Batch>, Exception>, Malformed> {
    let (mut found, mut last) = (None, 0);
    while let Some(field) = input.field(&mut last)? {
        if field.id != 1 || field.kind != Kind::List {
            input.skip(field.kind, MOST_DEPTH)?;
            continue;
        }
        let (kind, count) = input.list()?;
        if count > 0 && kind != Kind::Struct {
            return Err(input.cursor().malformed("a list of something else than entries"));
        }
        if count > MOST_EVENTS {
            return Ok(Err(Exception::too_many("entries", MOST_EVENTS)));
        }
        let most = input.cursor().left() / LEAST_ENTRY_BYTES;
        // An event takes more memory than an empty entry does in the frame.
        let mut events = Vec::with_capacity(count.min(most / 16));
        let mut lacks = false;
        for _ in 0..count {
            match entry(input)? {
                Some(event) => events.push(event),
                None => lacks = true,
            }
        }
        found = (!lacks).then(|| Batch::from(events));
    }
    Ok(Ok(found))
}

/// An entry; `None` for one without a message.
fn entry(input: &mut Binary) -> Result<Option<Event>, Malformed> {
    let (mut category, mut message, mut last) = (None, None, 0);
    while let Some(field) = input.field(&mut last)? {
        match field {
            Field { id: 1, kind: Kind::Bytes } => category = Some(input.text()?),
            Field { id: 2, kind: Kind::Bytes } => message = Some(input.text()?),
            Field { kind, .. } => input.skip(kind, MOST_DEPTH)?,
        }
    }
    Ok(message.map(|message| {
        let mut event = Event::new(message.as_bytes().clone());
        if let Some(category) = category {
            event.headers.insert(CATEGORY, category);
        }
        event
    }))
}

impl Log {
    /// The answer as a frame, its length before it; why it is refused, if it is.
    pub fn answer(&self, result: ResultCode) -> Frame {
        let mut message = Vec::new();
        Write::bytes(&mut message, &self.method);
        match &self.refused {
            None => {
                message.put(&[MessageKind::Reply as u8]);
                Write::number(&mut message, self.sequence);
                Write::field(&mut message, 0, 0, Kind::I32);
                Write::number(&mut message, result as i32);
            }
            Some(Exception { kind, text }) => {
                message.put(&[MessageKind::Exception as u8]);
                Write::number(&mut message, self.sequence);
                Write::field(&mut message, 0, 1, Kind::Bytes);
                Write::bytes(&mut message, text.as_bytes());
                Write::field(&mut message, 1, 2, Kind::I32);
                Write::number(&mut message, *kind);
            }
        }
        Write::stop(&mut message);
        let mut frame = Builder::new(message.len(), message.len());
        frame.body(&message.into());
        frame.finish()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Buf;

    use super::*;

    fn text(text: &str) -> Vec<u8> {
        let length = u32::try_from(text.len()).unwrap().to_be_bytes();
        [&length[..], text.as_bytes()].concat()
    }

    /// A call in the old form: entries as pairs of what they have.
    fn call(method: &str, entries: &[(Option<&str>, Option<&str>)]) -> Vec<u8> {
        let mut call = [text(method), vec![1, 0, 0, 0, 7], vec![15, 0, 1, 12]].concat();
        call.extend(u32::try_from(entries.len()).unwrap().to_be_bytes());
        for (category, message) in entries {
            for (id, field) in [(1, category), (2, message)] {
                if let Some(field) = field {
                    call.extend([11, 0, id]);
                    call.extend(text(field));
                }
            }
            call.push(0);
        }
        call.push(0);
        call
    }

    fn read(frame: &[u8]) -> Result<Log, Malformed> {
        read_log(&Bytes::copy_from_slice(frame))
    }

    #[test]
    fn entries_become_events() {
        let log = read(&call("Log", &[(Some("web"), Some("one")), (None, Some(""))])).unwrap();
        let batch = log.batch.as_ref().unwrap();
        let mut first = Event::new("one");
        first.headers.insert("category", "web");
        assert_eq!(batch.events(), [first, Event::new("")]);
        let old = call("Log", &[(Some("web"), Some("one"))]);
        let strict = [&[0x80, 1, 0, 1][..], &old[..7], &[0, 0, 0, 9], &old[12..]].concat();
        let strict = read(&strict).unwrap();
        assert_eq!((strict.sequence, strict.batch.unwrap().len()), (9, 1));
        assert!(read(&call("Log", &[(Some("web"), None)])).unwrap().batch.is_none());
        assert!(read(&call("Log", &[])).unwrap().batch.is_some_and(|batch| batch.is_empty()));
        let nothing = [text("Log"), vec![1, 0, 0, 0, 7, 0]].concat();
        assert!(read(&nothing).unwrap().batch.is_none());
    }

    #[test]
    fn too_many_entries_are_refused_in_words() {
        let check = |entries: usize, refused: bool| {
            // Each is its end alone.
            let mut call = call("Log", &[]);
            call.truncate(call.len() - 5);
            call.extend(u32::try_from(entries).unwrap().to_be_bytes());
            call.resize(call.len() + entries + 1, 0);
            let log = read(&call).unwrap();
            assert_eq!(log.refused.is_some(), refused, "{entries}");
            let mut frame = log.answer(ResultCode::TryLater);
            let answer = frame.copy_to_bytes(frame.remaining());
            let words = b"at most 262144 entries";
            let says = answer.windows(words.len()).any(|part| part == words);
            assert_eq!(says, refused, "{entries}");
        };
        check(MOST_EVENTS, false);
        check(MOST_EVENTS + 1, true);
    }

    #[test]
    fn answers_have_no_version() {
        let check = |method: &str, result, want: &[u8]| {
            let mut frame = read(&call(method, &[])).unwrap().answer(result);
            let length = frame.get_u32() as usize;
            let message = frame.copy_to_bytes(frame.remaining());
            assert_eq!(message.len(), length);
            assert_eq!(message, [&text(method), want].concat(), "{method}");
        };
        let reply = |result| [2, 0, 0, 0, 7, 8, 0, 0, 0, 0, 0, result, 0];
        check("Log", ResultCode::Ok, &reply(0));
        check("Log", ResultCode::TryLater, &reply(1));
        let words = text("Invalid method name: 'Out'");
        let unknown = [&[3, 0, 0, 0, 7, 11, 0, 1], &words[..], &[8, 0, 2, 0, 0, 0, 1, 0]].concat();
        check("Out", ResultCode::Ok, &unknown);
    }

    #[test]
    fn broken_frames_are_refused() {
        let good = call("Log", &[(Some("web"), Some("one")), (Some("x"), Some("two"))]);
        for end in 0..good.len() {
            assert!(read(&good[..end]).is_err(), "{end} bytes");
        }
        for at in 0..good.len() {
            let mut altered = good.clone();
            altered[at] ^= 0xff;
            // Whatever it makes of it, it does not panic.
            drop(read(&altered));
        }
    }
}
