//! Flume's two calls, `append` and `appendBatch`, in both roles.
//!
//! | message | parts |
//! |---|---|
//! | request | handshake until the connection is established, metadata (a map of bytes), the call's name, its parameters |
//! | answer | handshake if the request had one, metadata, a flag (0 = result, 1 = error), then the result (an index into OK, FAILED, UNKNOWN) or error (a union's index 0, a text) |
//!
//! A server decodes with [`Incoming`] and answers with [`put_answer`]; a client encodes with
//! [`Outgoing`] and reads with [`read_answer`]. Events are slices of the message they came in.

use std::io::IoSlice;

use bytes::{Buf, Bytes};
use splashdam_core::{Event, Malformed, Text};

use super::datum::{self, Most, Reader, number_length, put_bytes, put_number};
use super::handshake::{self, Hash};
use super::pack;
use crate::claim::{self, Claim};

/// Bodies from this length on are sent from where they lie; shorter ones are gathered, since a part
/// of its own costs more than the copy.
const KEPT_BYTES: usize = 2048;

const APPEND: &[u8] = b"append";
const APPEND_BATCH: &[u8] = b"appendBatch";

/// A request behind its handshake.
#[derive(Debug, PartialEq, Eq)]
pub struct Incoming {
    /// Where the events come from, if the caller said so.
    pub claim: Option<Claim>,
    /// What is to be done.
    pub call: Call,
}

/// What a caller wants.
#[derive(Debug, PartialEq, Eq)]
pub enum Call {
    /// Nothing but the handshake.
    Ping,
    /// One event to be stored.
    Append(Event),
    /// Several, together.
    AppendBatch(Vec<Event>),
    /// Something that Flume's protocol does not have.
    Unknown(Text),
}

/// What became of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The events are stored.
    Ok,
    /// They are not, as far as the server knows.
    Failed,
    /// Nobody knows; no Flume sends it.
    Unknown,
    /// The call could not be executed.
    Error(String),
}

impl Incoming {
    /// Reads what comes behind the handshake.
    ///
    /// # Errors
    /// When it is not what Avro writes, or holds more events or headers than `most`.
    pub fn read(input: &mut Reader<'_>, most: Most) -> Result<Incoming, Malformed> {
        let mut origin = None;
        input.entries(|name, value| {
            if name == claim::KEY {
                origin = Some(value);
            }
        })?;
        let call = match &*input.bytes()? {
            b"" => Call::Ping,
            APPEND => Call::Append(input.sent_event()?),
            APPEND_BATCH => Call::AppendBatch(input.events(most)?),
            other => {
                let name = String::from_utf8_lossy(&other[..other.len().min(100)]);
                return Ok(Incoming { claim: None, call: Call::Unknown(name.as_ref().into()) });
            }
        };
        if input.left() > 0 {
            return Err(input.malformed("bytes behind the call"));
        }
        let claim = match origin {
            Some(origin) => Claim::read(&origin)?,
            None => None,
        };
        let events = match &call {
            Call::AppendBatch(events) => events.len(),
            _ => 1,
        };
        if claim.as_ref().is_some_and(|claim| claim.events() != events as u64) {
            return Err(input.malformed("an origin that speaks of other events"));
        }
        Ok(Incoming { claim, call })
    }
}

/// Appends the answer to a call as one buffer. `None` answers a ping, and a handshake that did not
/// match, which nothing follows.
pub fn put_answer(
    serial: i32,
    handshake: Option<&handshake::Response>,
    answer: Option<&Answer>,
    out: &mut Vec<u8>,
) {
    let mut message = Vec::new();
    if let Some(handshake) = handshake {
        handshake.put(&handshake::FLUME, &mut message);
    }
    match answer {
        None => {}
        Some(Answer::Error(text)) => put_error(text, &mut message),
        Some(status) => {
            let index = match status {
                Answer::Ok => 0,
                Answer::Failed => 2,
                _ => 4,
            };
            message.extend_from_slice(&[0, 0, index]);
        }
    }
    pack::put_head(serial, 1, out);
    // Protocol and error texts are far shorter than 2 GiB.
    if pack::put_length(message.len(), out).is_some() {
        out.extend_from_slice(&message);
    }
}

/// Appends what says that a call could not be executed: no metadata, and a text.
pub(super) fn put_error(text: &str, message: &mut Vec<u8>) {
    message.extend_from_slice(&[0, 1, 0]);
    put_bytes(text.as_bytes(), message);
}

/// Reads an answer that is all of `message`; the handshake is there if the request had one. The
/// answer is missing where the handshake did not match.
///
/// # Errors
/// When it is not what Avro writes.
pub fn read_answer(
    message: &Bytes,
    with_handshake: bool,
) -> Result<(Option<handshake::Response>, Option<Answer>), Malformed> {
    let mut input = Reader::new(message);
    let handshake = match with_handshake {
        true => Some(handshake::Response::read(&mut input)?),
        false => None,
    };
    if handshake.as_ref().is_some_and(|answer| answer.matched == handshake::Match::None) {
        return Ok((handshake, None));
    }
    input.entries(|_, _| {})?;
    let [is_error] = input.fixed()?;
    let answer = if is_error == 0 {
        match input.choice(3)? {
            0 => Answer::Ok,
            1 => Answer::Failed,
            _ => Answer::Unknown,
        }
    } else {
        input.choice(1)?;
        // A peer's text is shown in our log.
        Answer::Error(String::from_utf8_lossy(&input.bytes()?).chars().take(500).collect())
    };
    match input.left() {
        0 => Ok((handshake, Some(answer))),
        _ => Err(input.malformed("bytes behind the answer")),
    }
}

/// A request as it goes out: what was gathered, and bodies as they lie.
#[derive(Debug, Default)]
pub struct Outgoing {
    gathered: Vec<u8>,
    parts: Vec<Part>,
    /// The part to be written next, and how much of it is.
    at: (usize, usize),
}

#[derive(Debug)]
enum Part {
    /// Up to here in what was gathered.
    Gathered {
        start: usize,
        end: usize,
    },
    Kept(Bytes),
}

/// The request is longer than any peer reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a batch of {bytes} bytes is more than Avro's framing can carry; lower the batch size")]
pub struct TooLong {
    /// Its length.
    pub bytes: usize,
}

impl Outgoing {
    /// Writes an `appendBatch` of `events` over what was there; with a handshake when the peer's
    /// hash is given.
    ///
    /// # Errors
    /// When the events are 2 GiB or more.
    pub fn append_batch(
        &mut self,
        serial: i32,
        handshake: Option<Hash>,
        claim: Option<&Claim>,
        events: &[Event],
    ) -> Result<(), TooLong> {
        let Outgoing { gathered, parts, at } = self;
        gathered.clear();
        parts.clear();
        *at = (0, 0);
        let mut head = Vec::new();
        if let Some(server_hash) = handshake {
            handshake::Request::put_ours(server_hash, &mut head);
        }
        if let Some(claim) = claim {
            let mut value = Vec::new();
            claim.put(&mut value);
            put_number(1, &mut head);
            put_bytes(claim::KEY, &mut head);
            put_bytes(&value, &mut head);
        }
        put_number(0, &mut head);
        put_bytes(APPEND_BATCH, &mut head);
        let blocks = match events.len() {
            0 => 1,
            count => number_length(count) + 1,
        };
        let bytes = blocks + events.iter().map(datum::length).sum::<usize>();
        pack::put_head(serial, 2, gathered);
        let fits = pack::put_length(head.len(), gathered).and_then(|()| {
            gathered.extend_from_slice(&head);
            pack::put_length(bytes, gathered)
        });
        fits.ok_or(TooLong { bytes })?;
        if !events.is_empty() {
            put_number(events.len(), gathered);
        }
        let mut start = 0;
        for event in events {
            datum::put_head(event, gathered);
            if event.body.len() < KEPT_BYTES {
                gathered.extend_from_slice(&event.body);
            } else {
                parts.push(Part::Gathered { start, end: gathered.len() });
                parts.push(Part::Kept(event.body.clone()));
                start = gathered.len();
            }
        }
        put_number(0, gathered);
        parts.push(Part::Gathered { start, end: gathered.len() });
        Ok(())
    }

    /// Lets go of the events, and of memory beyond `most_bytes`.
    pub fn clear(&mut self, most_bytes: usize) {
        self.parts.clear();
        self.gathered.clear();
        self.gathered.shrink_to(most_bytes);
    }

    fn part(&self, index: usize) -> &[u8] {
        match self.parts.get(index) {
            Some(Part::Gathered { start, end }) => &self.gathered[*start..*end],
            Some(Part::Kept(body)) => body,
            None => &[],
        }
    }
}

/// What is still to be written. Nothing is copied: each part is a slice of its own.
impl Buf for Outgoing {
    fn remaining(&self) -> usize {
        let (at, done) = self.at;
        let left: usize = (at..self.parts.len()).map(|index| self.part(index).len()).sum();
        left - done
    }

    fn chunk(&self) -> &[u8] {
        let (at, done) = self.at;
        &self.part(at)[done..]
    }

    fn advance(&mut self, mut count: usize) {
        while count > 0 {
            let (at, done) = self.at;
            assert!(at < self.parts.len(), "no more is written than there is");
            let left = self.part(at).len() - done;
            if count < left {
                self.at.1 += count;
                return;
            }
            count -= left;
            self.at = (at + 1, 0);
        }
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let (at, mut done) = self.at;
        let mut filled = 0;
        for (slice, index) in slices.iter_mut().zip(at..self.parts.len()) {
            *slice = IoSlice::new(&self.part(index)[done..]);
            done = 0;
            filled += 1;
        }
        filled
    }
}

#[cfg(test)]
mod tests;
