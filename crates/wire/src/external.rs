//! What an agent and an external process say to each other over pipes; `docs/external.md` draws it.
//!
//! ```text
//! message  length u32, kind u8, payload        length counts kind and payload
//! 1 hello  version u16, role, agent, component, most bytes u32, events u32, pairs
//! 2 ready  version u16, program
//! 3 batch  id u64, events
//! 4 answer id u64, outcome u8: 0 done, and what the role has to say; 1 again, reason
//! 5 stop
//! event    pairs, body                          texts, pairs and bodies behind a u32
//! ```
//!
//! All numbers are big-endian. What is read are slices of the message.

use bytes::{Buf, Bytes};
use splashdam_core::{Event, Headers, Malformed, Text};

/// The version of the protocol that is spoken here.
pub const VERSION: u16 = 1;
/// Bytes of the length before each message.
pub const LENGTH_BYTES: usize = 4;
/// Bytes of a batch's message beside its events.
pub const BATCH_BYTES: usize = LENGTH_BYTES + 1 + 8 + 4;
/// The least bytes of a header or an event: two lengths.
const LEAST_BYTES: usize = 8;

const HELLO: u8 = 1;
const READY: u8 = 2;
const BATCH: u8 = 3;
const ANSWER: u8 = 4;
const STOP: u8 = 5;

const DONE: u8 = 0;
const AGAIN: u8 = 1;

const WHOLE: u8 = 0;
const UNCHANGED: u8 = 1;
const HEADERS: u8 = 2;
const ADDED: u8 = 3;

/// A message of either side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// The agent begins.
    Hello(Hello),
    /// The process is ready.
    Ready {
        /// The version that it speaks.
        version: u16,
        /// What it calls itself.
        program: Text,
    },
    /// Events.
    Batch {
        /// What its answer is told by.
        id: u64,
        /// In order.
        events: Vec<Event>,
    },
    /// What became of a batch.
    Answer {
        /// That of the batch.
        id: u64,
        /// How it went.
        outcome: Outcome,
    },
    /// Nothing more comes.
    Stop,
}

/// What the agent says first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The version that it speaks.
    pub version: u16,
    /// What the process is to be: `interceptor`, `source` or `sink`.
    pub role: Text,
    /// The agent's name.
    pub agent: Text,
    /// The name of the source or sink; of an interceptor that of its source.
    pub component: Text,
    /// The most that the length of a message may say.
    pub most_message_bytes: u32,
    /// Events that suit one batch; 0 where any number does.
    pub batch_events: u32,
    /// What the configuration sets for the process.
    pub settings: Headers,
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is done with; the rest depends on the role: [`read_edits`], [`read_refusals`], or nothing.
    Done(Bytes),
    /// It has to come again, for this reason.
    Again(Text),
}

/// How an interceptor gives an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// In full.
    Whole(Event),
    /// The one at this place as it came.
    Unchanged(u32),
    /// The body at this place with these headers.
    Headers(u32, Headers),
    /// The event at this place with these headers beside its own, or in place of them.
    Added(u32, Headers),
}

/// An event that a sink refuses for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Its place in the batch.
    pub at: u32,
    /// Why.
    pub why: Text,
}

/// What the length before a message says.
///
/// # Errors
/// It is 0 or more than `most`.
pub fn message_length(head: [u8; LENGTH_BYTES], most: usize) -> Result<usize, Malformed> {
    match u32::from_be_bytes(head) as usize {
        0 => Err(Malformed { at: 0, what: "a message of no bytes" }),
        length if length > most => {
            Err(Malformed { at: 0, what: "a message longer than `maxMessageBytes` allows" })
        }
        length => Ok(length),
    }
}

/// Bytes of an event in a message.
pub fn event_length(event: &Event) -> usize {
    pairs_length(&event.headers) + 4 + event.body.len()
}

fn pairs_length(pairs: &Headers) -> usize {
    4 + pairs.len() * LEAST_BYTES + pairs.bytes()
}

/// Reads a message, its length already taken off.
///
/// # Errors
/// It is none, or cut short, or longer than what it says.
pub fn read_message(message: &Bytes) -> Result<Message, Malformed> {
    let mut cursor = Cursor::new(message);
    let message = match cursor.u8()? {
        HELLO => Message::Hello(hello(&mut cursor)?),
        READY => {
            let ready = Message::Ready { version: cursor.u16()?, program: cursor.text()? };
            cursor.pass_over_the_rest();
            ready
        }
        BATCH => {
            let id = cursor.u64()?;
            let count = cursor.count(LEAST_BYTES)?;
            let mut events = Vec::with_capacity(count);
            for _ in 0..count {
                events.push(cursor.event()?);
            }
            Message::Batch { id, events }
        }
        ANSWER => {
            let id = cursor.u64()?;
            let outcome = match cursor.u8()? {
                DONE => Outcome::Done(cursor.rest()),
                AGAIN => Outcome::Again(cursor.text()?),
                _ => return Err(cursor.malformed("an unknown outcome")),
            };
            Message::Answer { id, outcome }
        }
        STOP => Message::Stop,
        _ => return Err(cursor.malformed("an unknown kind of message")),
    };
    cursor.end()?;
    Ok(message)
}

fn hello(cursor: &mut Cursor) -> Result<Hello, Malformed> {
    let hello = Hello {
        version: cursor.u16()?,
        role: cursor.text()?,
        agent: cursor.text()?,
        component: cursor.text()?,
        most_message_bytes: cursor.u32()?,
        batch_events: cursor.u32()?,
        settings: cursor.pairs()?,
    };
    cursor.pass_over_the_rest();
    Ok(hello)
}

/// The events that go on, of those that `batch` had.
///
/// # Errors
/// There are more than came, a place is not one of theirs or is named twice, or the bytes are cut
/// short or too many.
pub fn read_edits(done: &Bytes, batch: &[Event]) -> Result<Vec<Event>, Malformed> {
    let mut cursor = Cursor::new(done);
    let count = cursor.count(1)?;
    if count > batch.len() {
        return Err(cursor.malformed("more events than came"));
    }
    let mut named = vec![false; batch.len()];
    let mut events = Vec::with_capacity(count);
    for _ in 0..count {
        events.push(match cursor.u8()? {
            WHOLE => cursor.event()?,
            UNCHANGED => cursor.one_of(batch, &mut named)?.clone(),
            HEADERS => {
                let body = cursor.one_of(batch, &mut named)?.body.clone();
                Event { headers: cursor.pairs()?, body }
            }
            ADDED => {
                let event = cursor.one_of(batch, &mut named)?;
                let added = cursor.pairs()?;
                let both = event.headers.iter().chain(added.iter());
                let headers = both.map(|(name, value)| (name.clone(), value.clone())).collect();
                Event { headers, body: event.body.clone() }
            }
            _ => return Err(cursor.malformed("an unknown way to give an event")),
        });
    }
    cursor.end()?;
    Ok(events)
}

/// The events that a sink refuses for good, of so many.
///
/// # Errors
/// Places are not in order or not below `events`, or the bytes are cut short or too many.
pub fn read_refusals(done: &Bytes, events: usize) -> Result<Vec<Refusal>, Malformed> {
    let mut cursor = Cursor::new(done);
    let count = cursor.count(LEAST_BYTES)?;
    let mut refusals = Vec::with_capacity(count);
    let mut next = 0;
    for _ in 0..count {
        let at = cursor.u32()?;
        if (at as usize) < next || at as usize >= events {
            return Err(cursor.malformed("a refused event's place out of order or of range"));
        }
        next = at as usize + 1;
        refusals.push(Refusal { at, why: cursor.text()? });
    }
    cursor.end()?;
    Ok(refusals)
}

impl Message {
    /// Adds the message with its length.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Message::Hello(hello) => whole(out, HELLO, |out| hello.write(out)),
            Message::Ready { version, program } => whole(out, READY, |out| {
                out.extend_from_slice(&version.to_be_bytes());
                put_bytes(out, program.as_bytes());
            }),
            Message::Batch { id, events } => write_batch(*id, events, out),
            Message::Answer { id, outcome: Outcome::Done(done) } => {
                answer(out, *id, DONE, |out| out.extend_from_slice(done));
            }
            Message::Answer { id, outcome: Outcome::Again(reason) } => {
                answer(out, *id, AGAIN, |out| put_bytes(out, reason.as_bytes()));
            }
            Message::Stop => whole(out, STOP, |_| ()),
        }
    }
}

impl Hello {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.version.to_be_bytes());
        for text in [&self.role, &self.agent, &self.component] {
            put_bytes(out, text.as_bytes());
        }
        put_u32(out, self.most_message_bytes as usize);
        put_u32(out, self.batch_events as usize);
        put_pairs(out, &self.settings);
    }
}

/// Adds a batch's message.
pub fn write_batch(id: u64, events: &[Event], out: &mut Vec<u8>) {
    out.reserve(BATCH_BYTES + events.iter().map(event_length).sum::<usize>());
    whole(out, BATCH, |out| {
        out.extend_from_slice(&id.to_be_bytes());
        put_u32(out, events.len());
        events.iter().for_each(|event| put_event(out, event));
    });
}

/// Adds an interceptor's answer.
pub fn write_edits(id: u64, edits: &[Edit], out: &mut Vec<u8>) {
    answer(out, id, DONE, |out| {
        put_u32(out, edits.len());
        for edit in edits {
            let (how, at) = match edit {
                Edit::Whole(_) => (WHOLE, None),
                Edit::Unchanged(at) => (UNCHANGED, Some(at)),
                Edit::Headers(at, _) => (HEADERS, Some(at)),
                Edit::Added(at, _) => (ADDED, Some(at)),
            };
            out.push(how);
            out.extend(at.iter().flat_map(|at| at.to_be_bytes()));
            match edit {
                Edit::Whole(event) => put_event(out, event),
                Edit::Unchanged(_) => {}
                Edit::Headers(_, pairs) | Edit::Added(_, pairs) => put_pairs(out, pairs),
            }
        }
    });
}

/// Adds a sink's answer.
pub fn write_refusals(id: u64, refusals: &[Refusal], out: &mut Vec<u8>) {
    answer(out, id, DONE, |out| {
        put_u32(out, refusals.len());
        for Refusal { at, why } in refusals {
            out.extend_from_slice(&at.to_be_bytes());
            put_bytes(out, why.as_bytes());
        }
    });
}

fn answer(out: &mut Vec<u8>, id: u64, outcome: u8, rest: impl FnOnce(&mut Vec<u8>)) {
    whole(out, ANSWER, |out| {
        out.extend_from_slice(&id.to_be_bytes());
        out.push(outcome);
        rest(out);
    });
}

/// Adds a message of this kind behind its length, which is known when it is there.
fn whole(out: &mut Vec<u8>, kind: u8, payload: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; LENGTH_BYTES]);
    out.push(kind);
    payload(out);
    let length = out.len() - start - LENGTH_BYTES;
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    out[start..start + LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
}

fn put_event(out: &mut Vec<u8>, event: &Event) {
    put_pairs(out, &event.headers);
    put_bytes(out, &event.body);
}

fn put_pairs(out: &mut Vec<u8>, pairs: &Headers) {
    put_u32(out, pairs.len());
    for (name, value) in pairs.iter() {
        put_bytes(out, name.as_bytes());
        put_bytes(out, value.as_bytes());
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_u32(out, bytes.len());
    out.extend_from_slice(bytes);
}

/// Who writes keeps messages below 4 GiB; beyond that the reader refuses what comes.
fn put_u32(out: &mut Vec<u8>, number: usize) {
    let number = u32::try_from(number).unwrap_or(u32::MAX);
    out.extend_from_slice(&number.to_be_bytes());
}

/// What is left of a message.
struct Cursor {
    left: Bytes,
    length: usize,
}

impl Cursor {
    fn new(bytes: &Bytes) -> Self {
        Cursor { left: bytes.clone(), length: bytes.len() }
    }

    fn malformed(&self, what: &'static str) -> Malformed {
        Malformed { at: self.length - self.left.len(), what }
    }

    fn cut_short(&self) -> Malformed {
        self.malformed("the message ends before it is complete")
    }

    fn u8(&mut self) -> Result<u8, Malformed> {
        self.left.try_get_u8().map_err(|_| self.cut_short())
    }

    fn u16(&mut self) -> Result<u16, Malformed> {
        self.left.try_get_u16().map_err(|_| self.cut_short())
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        self.left.try_get_u32().map_err(|_| self.cut_short())
    }

    fn u64(&mut self) -> Result<u64, Malformed> {
        self.left.try_get_u64().map_err(|_| self.cut_short())
    }

    /// How many things follow, of which each has at least so many bytes.
    fn count(&mut self, least_bytes: usize) -> Result<usize, Malformed> {
        let count = self.u32()? as usize;
        if count > self.left.len() / least_bytes {
            return Err(self.malformed("a count beyond what the message holds"));
        }
        Ok(count)
    }

    fn bytes(&mut self) -> Result<Bytes, Malformed> {
        let length = self.u32()? as usize;
        if length > self.left.len() {
            return Err(self.cut_short());
        }
        Ok(self.left.split_to(length))
    }

    fn text(&mut self) -> Result<Text, Malformed> {
        let bytes = self.bytes()?;
        Text::from_utf8(bytes).map_err(|_| self.malformed("a text that is not UTF-8"))
    }

    fn pairs(&mut self) -> Result<Headers, Malformed> {
        let count = self.count(LEAST_BYTES)?;
        let mut pairs = Vec::with_capacity(count);
        for _ in 0..count {
            pairs.push((self.text()?, self.text()?));
        }
        Ok(pairs.into_iter().collect())
    }

    fn event(&mut self) -> Result<Event, Malformed> {
        Ok(Event { headers: self.pairs()?, body: self.bytes()? })
    }

    /// The event at a place that was not named before.
    fn one_of<'b>(
        &mut self,
        batch: &'b [Event],
        named: &mut [bool],
    ) -> Result<&'b Event, Malformed> {
        let at = self.u32()? as usize;
        let (Some(event), Some(named)) = (batch.get(at), named.get_mut(at)) else {
            return Err(self.malformed("the place of an event that did not come"));
        };
        match std::mem::replace(named, true) {
            false => Ok(event),
            true => Err(self.malformed("an event's place that was named before")),
        }
    }

    fn rest(&mut self) -> Bytes {
        std::mem::take(&mut self.left)
    }

    fn pass_over_the_rest(&mut self) {
        self.left.clear();
    }

    fn end(&self) -> Result<(), Malformed> {
        match self.left.is_empty() {
            true => Ok(()),
            false => Err(self.malformed("bytes behind the end of what the message says")),
        }
    }
}

#[cfg(test)]
mod tests;
