//! Flume's service, `ThriftSourceProtocol`: its two calls and their answers.
//!
//! ```text
//! append       call {1: event}           answer {0: status i32}
//! appendBatch  call {1: list of events}  answer {0: status i32}
//! event        {1: required map of texts, 2: required bytes}
//! exception    {1: text, 2: i32}         of any call, as a message of its own kind
//! ```
//!
//! Between our own two more fields go with `appendBatch`, which Flume passes over as it does every
//! field that it does not know:
//!
//! ```text
//! call    {21316: bytes}  where the events come from, as in [`crate::claim`]
//! answer  {21316: i32}    1: whoever answered looks at that, and stores each event once
//! ```
//!
//! A call that cannot be understood as one of these is answered with an exception, in Flume's words
//! (Thrift 0.14), and the connection goes on; a frame that breaks off or contradicts itself ends it.

use std::fmt::Write as _;

use bytes::Bytes;
use splashdam_core::{Batch, Event, Headers, Malformed};

use super::binary::{self, Binary};
use super::compact::{self, Compact};
use super::frame::Builder;
use super::{
    Count, Cursor, Decode, Encode, Field, Frame, Kind, MOST_DEPTH, MOST_EVENTS, MOST_FRAME_BYTES,
    MOST_HEADERS, MessageKind, Protocol,
};
use crate::claim::Claim;

const APPEND: &[u8] = b"append";
const APPEND_BATCH: &[u8] = b"appendBatch";
/// The field of ours, in calls and answers: "SD", far from those that Flume may come to use.
const OURS: i16 = 0x5344;
/// What it holds in an answer.
const STORES_ONCE: i32 = 1;
/// The longest name of a method that is answered with its name.
const MOST_NAME_BYTES: usize = 256;
/// What is repeated of the headers and the body of a refused event.
const MOST_SHOWN_BYTES: usize = 128;
/// What is kept of the text of an exception.
const MOST_TEXT_BYTES: usize = 1024;
/// The shortest event there is: two fields' heads, two lengths and the end.
const LEAST_EVENT_BYTES: usize = 5;

/// A call as it was received.
#[derive(Debug, PartialEq)]
pub struct Call {
    /// To whom the answer goes.
    pub caller: Caller,
    /// What is asked, or what is answered to something that cannot be done.
    pub request: Result<Request, Exception>,
}

/// What is asked.
#[derive(Debug)]
pub enum Request {
    /// One event.
    Append(Event),
    /// Several, and where they come from if the caller said so.
    AppendBatch(Batch, Option<Claim>),
}

impl PartialEq for Request {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Request::Append(one), Request::Append(other)) => one == other,
            (Request::AppendBatch(one, claim), Request::AppendBatch(other, others)) => {
                one.events() == other.events() && claim == others
            }
            _ => false,
        }
    }
}

/// What an answer repeats of its call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    protocol: Protocol,
    method: String,
    sequence: i32,
}

/// How a call went. The numbers are those of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Every required channel has the events.
    Ok = 0,
    /// A channel refused.
    Failed = 1,
    /// Never sent by Flume.
    Error = 2,
    /// Never sent by Flume.
    Unknown = 3,
}

/// Why a call could not be understood or carried out: Thrift's `TApplicationException`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text} (Thrift's error {kind})")]
pub struct Exception {
    /// One of Thrift's numbers, such as [`Exception::UNKNOWN_METHOD`].
    pub kind: i32,
    /// What is wrong.
    pub text: String,
}

impl Exception {
    /// There is no such method.
    pub const UNKNOWN_METHOD: i32 = 1;
    /// The call failed where no channel was to blame.
    pub const INTERNAL_ERROR: i32 = 6;
    /// The call lacks what it must have.
    pub const PROTOCOL_ERROR: i32 = 7;

    /// The call failed, for no fault of the channels.
    pub fn internal(method: &str) -> Self {
        let text = format!("Internal error processing {method}");
        Exception { kind: Exception::INTERNAL_ERROR, text }
    }

    fn unknown_method(name: &[u8]) -> Self {
        let text = format!("Invalid method name: '{}'", String::from_utf8_lossy(name));
        Exception { kind: Exception::UNKNOWN_METHOD, text }
    }

    /// The call has more of something than `most`.
    pub(super) fn too_many(what: &str, most: usize) -> Self {
        let text = format!("a call has at most {most} {what}; send fewer at a time");
        Exception { kind: Exception::INTERNAL_ERROR, text }
    }

    fn lacking(field: &str, headers: Option<&Headers>, body: Option<&Bytes>) -> Self {
        let (headers, body) = (shown_headers(headers), shown_body(body));
        let text = format!(
            "Required field '{field}' was not present! \
             Struct: ThriftFlumeEvent(headers:{headers}, body:{body})"
        );
        Exception { kind: Exception::PROTOCOL_ERROR, text }
    }
}

/// An answer as it was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The number of the call.
    pub sequence: i32,
    /// How it went.
    pub outcome: Result<Status, Exception>,
    /// Whether whoever answered looks at where events come from, and stores each of them once.
    pub stores_once: bool,
}

/// What cannot be sent, as one event makes a frame that nobody would take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "an event of {bytes} bytes makes a frame of more than {MOST_FRAME_BYTES} bytes, the most that \
     Thrift carries; shorten events where they enter, or send this flow through avro"
)]
pub struct EventTooLarge {
    /// Bytes of its headers and body.
    pub bytes: usize,
}

/// Why reading a call ended.
enum Stopped {
    Malformed(Malformed),
    Answered(Exception),
}

impl From<Malformed> for Stopped {
    fn from(malformed: Malformed) -> Self {
        Stopped::Malformed(malformed)
    }
}

/// Reads a call from a frame, without the length before it.
///
/// # Errors
/// The frame breaks off or contradicts itself.
pub fn read_call(frame: &Bytes) -> Result<Call, Malformed> {
    let cursor = Cursor::new(frame);
    match Protocol::of(frame)? {
        Protocol::Compact => call(Protocol::Compact, &mut Compact(cursor)),
        Protocol::Binary => call(Protocol::Binary, &mut Binary(cursor)),
    }
}

fn call(protocol: Protocol, input: &mut impl Decode) -> Result<Call, Malformed> {
    let message = input.message()?;
    if message.name.len() > MOST_NAME_BYTES {
        return Err(input.cursor().malformed("a method's name of more than 256 bytes"));
    }
    let read = match &*message.name {
        APPEND => arguments(input, Kind::Struct, |input| event(input, &mut { MOST_HEADERS }))
            .map(|(event, _)| event.map(Request::Append)),
        APPEND_BATCH => arguments(input, Kind::List, events).and_then(|(batch, said)| {
            let Some(batch) = batch else { return Ok(None) };
            let claim = claim_of(&batch, said.as_ref())?;
            Ok(Some(Request::AppendBatch(batch, claim)))
        }),
        name => Err(Stopped::Answered(Exception::unknown_method(name))),
    };
    let method = String::from_utf8_lossy(&message.name).into_owned();
    let request = match read {
        Ok(request) => request.ok_or_else(|| Exception::internal(&method)),
        Err(Stopped::Answered(exception)) => Err(exception),
        Err(Stopped::Malformed(malformed)) => return Err(malformed),
    };
    Ok(Call { caller: Caller { protocol, method, sequence: message.sequence }, request })
}

/// Reads field 1 of a call's struct and ours; the last ones count if there are several.
fn arguments<D: Decode, T>(
    input: &mut D,
    kind: Kind,
    read: impl Fn(&mut D) -> Result<T, Stopped>,
) -> Result<(Option<T>, Option<Bytes>), Stopped> {
    let (mut found, mut ours, mut last) = (None, None, 0);
    while let Some(field) = input.field(&mut last)? {
        match field {
            Field { id: 1, kind: found_kind } if found_kind == kind => found = Some(read(input)?),
            Field { id: OURS, kind: Kind::Bytes } => ours = Some(input.bytes()?),
            Field { kind, .. } => input.skip(kind, MOST_DEPTH)?,
        }
    }
    Ok((found, ours))
}

/// What a call says of where these events come from.
fn claim_of(batch: &Batch, said: Option<&Bytes>) -> Result<Option<Claim>, Malformed> {
    let Some(said) = said else { return Ok(None) };
    let claim = Claim::read(said)?;
    match claim.as_ref().is_some_and(|claim| claim.events() != batch.len() as u64) {
        true => Err(Malformed { at: 0, what: "an origin that speaks of other events" }),
        false => Ok(claim),
    }
}

fn events(input: &mut impl Decode) -> Result<Batch, Stopped> {
    let (kind, count) = input.list()?;
    if count > 0 && kind != Kind::Struct {
        return Err(input.cursor().malformed("a list of something else than events").into());
    }
    if count > MOST_EVENTS {
        return Err(Stopped::Answered(Exception::too_many("events", MOST_EVENTS)));
    }
    let mut events = Vec::with_capacity(count.min(input.cursor().left() / LEAST_EVENT_BYTES));
    let mut headers_left = MOST_HEADERS;
    for _ in 0..count {
        events.push(event(input, &mut headers_left)?);
    }
    Ok(Batch::from(events))
}

/// Reads an event of a call that may have so many headers more.
fn event(input: &mut impl Decode, headers_left: &mut usize) -> Result<Event, Stopped> {
    let (mut headers, mut body, mut last) = (None, None, 0);
    while let Some(field) = input.field(&mut last)? {
        match field {
            Field { id: 1, kind: Kind::Map } => headers = Some(texts(input, headers_left)?),
            Field { id: 2, kind: Kind::Bytes } => body = Some(input.bytes()?),
            Field { kind, .. } => input.skip(kind, MOST_DEPTH)?,
        }
    }
    match (headers, body) {
        (Some(headers), Some(body)) => Ok(Event { headers, body }),
        (None, body) => Err(Stopped::Answered(Exception::lacking("headers", None, body.as_ref()))),
        (Some(headers), None) => {
            Err(Stopped::Answered(Exception::lacking("body", Some(&headers), None)))
        }
    }
}

fn texts(input: &mut impl Decode, left: &mut usize) -> Result<Headers, Stopped> {
    let (kinds, mut count) = input.map()?;
    if kinds.is_some_and(|kinds| kinds != (Kind::Bytes, Kind::Bytes)) {
        return Err(input.cursor().malformed("headers that are not texts").into());
    }
    *left = left
        .checked_sub(count)
        .ok_or_else(|| Stopped::Answered(Exception::too_many("headers", MOST_HEADERS)))?;
    let mut failed = None;
    let pairs = std::iter::from_fn(|| {
        count = count.checked_sub(1)?;
        let pair = input.text().and_then(|name| Ok((name, input.text()?)));
        pair.map_err(|error| failed = Some(error)).ok()
    });
    let headers = pairs.collect();
    failed.map_or(Ok(headers), |error| Err(error.into()))
}

impl Caller {
    /// The method's name.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The answer as a frame, its length before it.
    pub fn answer(&self, outcome: &Result<Status, Exception>) -> Frame {
        self.answer_ours(outcome, false)
    }

    /// The answer to a call that said where its events come from: whether each is stored once.
    pub fn answer_ours(&self, outcome: &Result<Status, Exception>, stores_once: bool) -> Frame {
        match self.protocol {
            Protocol::Compact => self.write::<compact::Write>(outcome, stores_once),
            Protocol::Binary => self.write::<binary::Write>(outcome, stores_once),
        }
    }

    fn write<E: Encode>(&self, outcome: &Result<Status, Exception>, stores_once: bool) -> Frame {
        let (name, mut message) = (self.method.as_bytes(), Vec::new());
        match outcome {
            Ok(status) => {
                E::message(&mut message, MessageKind::Reply, name, self.sequence);
                // Field 0 is the result, so that the step to it is none.
                E::field(&mut message, 0, 0, Kind::I32);
                E::number(&mut message, *status as i32);
                if stores_once {
                    E::field(&mut message, 0, OURS, Kind::I32);
                    E::number(&mut message, STORES_ONCE);
                }
            }
            Err(exception) => {
                E::message(&mut message, MessageKind::Exception, name, self.sequence);
                E::field(&mut message, 0, 1, Kind::Bytes);
                E::bytes(&mut message, exception.text.as_bytes());
                E::field(&mut message, 1, 2, Kind::I32);
                E::number(&mut message, exception.kind);
            }
        }
        E::stop(&mut message);
        let mut frame = Builder::new(message.len(), message.len());
        frame.body(&message.into());
        frame.finish()
    }
}

/// A call of `append`, framed.
///
/// # Errors
/// No frame is large enough for the event.
pub fn write_append(
    protocol: Protocol,
    sequence: i32,
    event: &Event,
) -> Result<Frame, EventTooLarge> {
    match protocol {
        Protocol::Compact => append::<compact::Write>(sequence, event),
        Protocol::Binary => append::<binary::Write>(sequence, event),
    }
}

/// A call of `appendBatch`, framed, with as many of the events, in order, as a frame holds and a call
/// may have; and how many these are. `claim` speaks of all of them, and goes along for those that do,
/// unless a frame would then be too short for the first of them.
///
/// # Errors
/// No frame is large enough for the first event.
pub fn write_append_batch(
    protocol: Protocol,
    sequence: i32,
    events: &[Event],
    claim: Option<&Claim>,
) -> Result<(Frame, usize), EventTooLarge> {
    match protocol {
        Protocol::Compact => append_batch::<compact::Write>(sequence, events, claim),
        Protocol::Binary => append_batch::<binary::Write>(sequence, events, claim),
    }
}

fn append<E: Encode>(sequence: i32, event: &Event) -> Result<Frame, EventTooLarge> {
    let mut head = Vec::new();
    E::message(&mut head, MessageKind::Call, APPEND, sequence);
    E::field(&mut head, 0, 1, Kind::Struct);
    let (around, bytes) = event_length::<E>(event);
    // The struct of the call ends with one byte.
    let length = head.len() + bytes + 1;
    if length > MOST_FRAME_BYTES {
        return Err(EventTooLarge { bytes: event.bytes() });
    }
    let mut frame = Builder::new(length, head.len() + around + 1);
    super::Out::put(&mut frame, &head);
    put_event::<E>(event, &mut frame);
    E::stop(&mut frame);
    Ok(frame.finish())
}

fn append_batch<E: Encode>(
    sequence: i32,
    events: &[Event],
    claim: Option<&Claim>,
) -> Result<(Frame, usize), EventTooLarge> {
    let head = |count| {
        let mut head = Vec::new();
        E::message(&mut head, MessageKind::Call, APPEND_BATCH, sequence);
        E::field(&mut head, 0, 1, Kind::List);
        E::list(&mut head, Kind::Struct, count);
        head
    };
    // What speaks of some of the events is no longer than what speaks of all.
    let tail = |claim: Option<&Claim>| {
        let mut tail = Vec::new();
        if let Some(claim) = claim {
            let mut said = Vec::new();
            claim.put(&mut said);
            E::field(&mut tail, 1, OURS, Kind::Bytes);
            E::bytes(&mut tail, &said);
        }
        E::stop(&mut tail);
        tail
    };
    let room = MOST_FRAME_BYTES - head(events.len()).len();
    let first = events.first().map_or(0, |first| event_length::<E>(first).1);
    let claim = claim.filter(|claim| first + tail(Some(claim)).len() <= room);
    let whole = tail(claim);
    let most = room.saturating_sub(whole.len());
    let (mut count, mut length, mut gathered, mut headers) = (0, 0, 0, 0);
    for event in events.iter().take(MOST_EVENTS) {
        let (around, bytes) = event_length::<E>(event);
        headers += event.headers.len();
        if length + bytes > most || (count > 0 && headers > MOST_HEADERS) {
            break;
        }
        count += 1;
        length += bytes;
        gathered += around;
    }
    if let (0, Some(first)) = (count, events.first()) {
        return Err(EventTooLarge { bytes: first.bytes() });
    }
    let head = head(count);
    let tail = match claim.filter(|_| count < events.len()) {
        Some(claim) => tail(Some(&claim.split(count as u64).0)),
        None => whole,
    };
    let ends = head.len() + tail.len();
    let mut frame = Builder::new(ends + length, ends + gathered);
    super::Out::put(&mut frame, &head);
    for event in &events[..count] {
        put_event::<E>(event, &mut frame);
    }
    super::Out::put(&mut frame, &tail);
    Ok((frame.finish(), count))
}

/// Bytes that are gathered for an event, and all of its bytes.
fn event_length<E: Encode>(event: &Event) -> (usize, usize) {
    let mut around = Count::default();
    put_event_head::<E>(event, &mut around);
    E::stop(&mut around);
    let all = around.0 + event.body.len();
    (if Builder::gathers(event.body.len()) { all } else { around.0 }, all)
}

fn put_event<E: Encode>(event: &Event, out: &mut Builder) {
    put_event_head::<E>(event, out);
    out.body(&event.body);
    E::stop(out);
}

/// All of an event up to its body.
fn put_event_head<E: Encode>(event: &Event, out: &mut impl super::Out) {
    E::field(out, 0, 1, Kind::Map);
    E::texts(out, event.headers.len());
    for text in event.headers.iter().flat_map(|(name, value)| [name, value]) {
        E::bytes(out, text.as_bytes());
    }
    E::field(out, 1, 2, Kind::Bytes);
    E::length(out, event.body.len());
}

/// Reads an answer from a frame, without the length before it.
///
/// # Errors
/// The frame breaks off, contradicts itself, or answers nothing that Flume's service would.
pub fn read_answer(frame: &Bytes) -> Result<Answer, Malformed> {
    let cursor = Cursor::new(frame);
    match Protocol::of(frame)? {
        Protocol::Compact => answer(&mut Compact(cursor)),
        Protocol::Binary => answer(&mut Binary(cursor)),
    }
}

fn answer(input: &mut impl Decode) -> Result<Answer, Malformed> {
    let message = input.message()?;
    let (outcome, stores_once) = match message.kind {
        MessageKind::Reply => status(input).map(|(status, once)| (Ok(status), once))?,
        MessageKind::Exception => (Err(exception(input)?), false),
        MessageKind::Call => return Err(input.cursor().malformed("a call instead of an answer")),
    };
    Ok(Answer { sequence: message.sequence, outcome, stores_once })
}

fn status(input: &mut impl Decode) -> Result<(Status, bool), Malformed> {
    let (mut found, mut ours, mut last) = (None, 0, 0);
    while let Some(field) = input.field(&mut last)? {
        match field {
            Field { id: 0, kind: Kind::I32 } => found = Some(input.number()?),
            Field { id: OURS, kind: Kind::I32 } => ours = input.number()?,
            Field { kind, .. } => input.skip(kind, MOST_DEPTH)?,
        }
    }
    let status = match found {
        Some(0) => Status::Ok,
        Some(1) => Status::Failed,
        Some(2) => Status::Error,
        Some(3) => Status::Unknown,
        _ => return Err(input.cursor().malformed("an answer without a status that is known")),
    };
    Ok((status, ours == STORES_ONCE))
}

fn exception(input: &mut impl Decode) -> Result<Exception, Malformed> {
    let (mut kind, mut text, mut last) = (0, String::new(), 0);
    while let Some(field) = input.field(&mut last)? {
        match field {
            Field { id: 1, kind: Kind::Bytes } => {
                let bytes = input.bytes()?;
                let shown = &bytes[..bytes.len().min(MOST_TEXT_BYTES)];
                text = String::from_utf8_lossy(shown).into_owned();
            }
            Field { id: 2, kind: Kind::I32 } => kind = input.number()?,
            Field { kind, .. } => input.skip(kind, MOST_DEPTH)?,
        }
    }
    Ok(Exception { kind, text })
}

/// Headers as Java prints a map, cut off where they are long.
fn shown_headers(headers: Option<&Headers>) -> String {
    let Some(headers) = headers else { return "null".to_owned() };
    let mut shown = String::from("{");
    for (index, (name, value)) in headers.iter().enumerate() {
        if shown.len() + name.as_bytes().len() + value.as_bytes().len() > MOST_SHOWN_BYTES {
            shown.push_str("...");
            break;
        }
        let comma = if index > 0 { ", " } else { "" };
        let _infallible = write!(shown, "{comma}{}={}", name.as_str(), value.as_str());
    }
    shown.push('}');
    shown
}

/// A body as Thrift prints bytes.
fn shown_body(body: Option<&Bytes>) -> String {
    let Some(body) = body else { return "null".to_owned() };
    let bytes = body.iter().take(MOST_SHOWN_BYTES).map(|byte| format!("{byte:02X}"));
    let mut shown = bytes.collect::<Vec<_>>().join(" ");
    if body.len() > MOST_SHOWN_BYTES {
        shown.push_str("...");
    }
    shown
}
