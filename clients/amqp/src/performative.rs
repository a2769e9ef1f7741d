//! What is said in frames (AMQP 1.0, parts 2, 3 and 5): what a receiver hears, and what it says.

use std::fmt;

use bytes::{Bytes, BytesMut};

use crate::frame::{Composite, FRAME_LIMIT_BYTES, Protocol};
use crate::value::{self, Descriptor, Elements, Malformed, Value};
use crate::{Kind, Login, Subscription};

/// Codes of what is said.
mod code {
    pub(super) const OPEN: u8 = 0x10;
    pub(super) const BEGIN: u8 = 0x11;
    pub(super) const ATTACH: u8 = 0x12;
    pub(super) const FLOW: u8 = 0x13;
    pub(super) const TRANSFER: u8 = 0x14;
    pub(super) const DISPOSITION: u8 = 0x15;
    pub(super) const DETACH: u8 = 0x16;
    pub(super) const END: u8 = 0x17;
    pub(super) const CLOSE: u8 = 0x18;
    pub(super) const ERROR: u8 = 0x1d;
    pub(super) const ACCEPTED: u8 = 0x24;
    pub(super) const REJECTED: u8 = 0x25;
    pub(super) const RELEASED: u8 = 0x26;
    pub(super) const MODIFIED: u8 = 0x27;
    pub(super) const SOURCE: u8 = 0x28;
    pub(super) const TARGET: u8 = 0x29;
    pub(super) const MECHANISMS: u8 = 0x40;
    pub(super) const INIT: u8 = 0x41;
    pub(super) const CHALLENGE: u8 = 0x42;
    pub(super) const OUTCOME: u8 = 0x44;
}

/// The number of `apache.org:selector-filter:string`, by which brokers know what JMS calls a selector.
const SELECTOR_FILTER: u64 = 0x0000_468c_0000_0004;

/// Silence that is announced to be too long, in milliseconds; half of what is waited for, as the book wants it.
const IDLE_MILLIS: u32 = 30_000;

/// What the broker says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Heard {
    Open {
        frame_bytes: u32,
        idle_millis: u32,
        prefixes: Prefixes,
    },
    Begin {
        next_outgoing: u32,
    },
    /// The link is there; without a source it is about to be refused.
    Attach {
        /// Whether it chooses messages, as it was asked to.
        selects: bool,
        granted: bool,
        delivery_count: u32,
    },
    Flow {
        echo: bool,
        delivery_count: Option<u32>,
    },
    Transfer(Transfer),
    Disposition,
    Detach(Reason),
    End(Reason),
    Close(Reason),
    Mechanisms(Vec<String>),
    Challenge,
    Outcome(u8),
}

/// What goes before the names of queues and topics with a broker that tells them apart by that, as ActiveMQ Classic
/// does. Nothing with others, to whom the link says which it wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Prefixes {
    pub(crate) queue: String,
    pub(crate) topic: String,
}

/// The head of a piece of a message; the piece follows it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Transfer {
    pub(crate) delivery: Option<u32>,
    pub(crate) settled: bool,
    pub(crate) more: bool,
    pub(crate) aborted: bool,
}

/// Why the broker ended something, as it says it; empty when it gives no reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reason {
    /// A name such as `amqp:not-found`.
    pub condition: String,
    /// A sentence for people.
    pub description: String,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&*self.condition, &*self.description) {
            ("", "") => f.write_str("without a reason"),
            (condition, "") => f.write_str(condition),
            ("", description) => f.write_str(description),
            (condition, description) => write!(f, "{condition}: {description}"),
        }
    }
}

/// Names and sentences of a broker are shown up to this length.
const SHOWN_BYTES: usize = 512;

/// Takes what is said off a frame's body; what is left is a piece of a message.
pub(crate) fn heard(body: &mut Bytes) -> Result<Heard, Malformed> {
    let wrong = Malformed { what: "something that is not said in frames", left: body.len() };
    let Value::Described(described) = value::read(body)? else { return Err(wrong) };
    let (Descriptor::Code(number), Value::List(fields)) = *described else { return Err(wrong) };
    match u8::try_from(number) {
        Ok(code) => performative(code, fields)?.ok_or(wrong),
        Err(_) => Err(wrong),
    }
}

fn performative(code: u8, mut fields: Elements) -> Result<Option<Heard>, Malformed> {
    let fields = &mut fields;
    Ok(Some(match code {
        code::OPEN => {
            fields.pass(2)?;
            let frame_bytes = fields.field()?.unsigned().unwrap_or(u32::MAX);
            fields.pass(1)?;
            let idle_millis = fields.field()?.unsigned().unwrap_or(0);
            fields.pass(4)?;
            Heard::Open { frame_bytes, idle_millis, prefixes: prefixes(fields.field()?)? }
        }
        code::BEGIN => {
            fields.pass(1)?;
            let missing =
                Malformed { what: "a session that does not say where it begins", left: 0 };
            Heard::Begin { next_outgoing: fields.field()?.unsigned().ok_or(missing)? }
        }
        code::ATTACH => {
            fields.pass(5)?;
            let source = fields.field()?;
            let (granted, selects) = (source != Value::Null, selects(source)?);
            fields.pass(3)?;
            let delivery_count = fields.field()?.unsigned().unwrap_or(0);
            Heard::Attach { granted, selects, delivery_count }
        }
        code::FLOW => {
            fields.pass(5)?;
            let delivery_count = fields.field()?.unsigned();
            fields.pass(3)?;
            Heard::Flow { echo: fields.field()?.is_true(), delivery_count }
        }
        code::TRANSFER => {
            fields.pass(1)?;
            let delivery = fields.field()?.unsigned();
            fields.pass(2)?;
            let (settled, more) = (fields.field()?.is_true(), fields.field()?.is_true());
            fields.pass(3)?;
            Heard::Transfer(Transfer {
                delivery,
                settled,
                more,
                aborted: fields.field()?.is_true(),
            })
        }
        code::DISPOSITION => Heard::Disposition,
        code::DETACH => {
            fields.pass(2)?;
            Heard::Detach(reason(fields.field()?)?)
        }
        code::END => Heard::End(reason(fields.field()?)?),
        code::CLOSE => Heard::Close(reason(fields.field()?)?),
        code::MECHANISMS => Heard::Mechanisms(fields.field()?.symbols()?),
        code::CHALLENGE => Heard::Challenge,
        code::OUTCOME => {
            let code = fields.field()?.unsigned().and_then(|code| u8::try_from(code).ok());
            Heard::Outcome(code.unwrap_or(u8::MAX))
        }
        _ => return Ok(None),
    }))
}

/// Looks for them among the properties of a connection.
fn prefixes(properties: Value) -> Result<Prefixes, Malformed> {
    let mut prefixes = Prefixes::default();
    let Value::Map(mut properties) = properties else { return Ok(prefixes) };
    while let Some(name) = properties.next_value()? {
        let Some(value) = properties.next_value()? else { break };
        let prefix = match name.text() {
            Some("queue-prefix") => &mut prefixes.queue,
            Some("topic-prefix") => &mut prefixes.topic,
            _ => continue,
        };
        value.text().unwrap_or_default().clone_into(prefix);
    }
    Ok(prefixes)
}

fn reason(value: Value) -> Result<Reason, Malformed> {
    let Value::Described(described) = value else { return Ok(Reason::default()) };
    let (Descriptor::Code(_), Value::List(mut fields)) = *described else {
        return Ok(Reason::default());
    };
    let mut shown = || {
        let field = fields.field()?;
        Ok::<_, Malformed>(self::shown(field.text().unwrap_or_default()))
    };
    Ok(Reason { condition: shown()?, description: shown()? })
}

/// Whether the source of a link has filters; those that a broker does not know are left out of what it answers.
pub(crate) fn selects(source: Value) -> Result<bool, Malformed> {
    let Value::Described(described) = source else { return Ok(false) };
    let (_, Value::List(mut fields)) = *described else { return Ok(false) };
    fields.pass(7)?;
    let Value::Map(mut filters) = fields.field()? else { return Ok(false) };
    Ok(filters.next_value()?.is_some())
}

/// A broker's words as far as people are shown them.
pub(crate) fn shown(text: &str) -> String {
    let end = text.floor_char_boundary(SHOWN_BYTES);
    text[..end].replace(char::is_control, " ")
}

/// What becomes of a message that the broker gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is taken over: the broker forgets it.
    Accepted,
    /// It never can be taken over, and why: the broker sets it aside.
    Rejected(&'static str),
    /// It could not be taken over now: the broker gives it again, here or elsewhere, and does not count this time.
    Released,
}

/// How much a receiver takes, which it says again and again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    pub(crate) next_incoming: u32,
    pub(crate) window_frames: u32,
    pub(crate) delivery_count: u32,
    pub(crate) credit_messages: u32,
    /// Whether credit that is not used up at once is to be forgotten.
    pub(crate) drain: bool,
}

pub(crate) fn init(login: &Login, mechanism: &str, host: &str, out: &mut BytesMut) {
    let response = match login {
        Login::Anonymous | Login::Certificate => Vec::new(),
        Login::Password { user, password } => format!("\0{user}\0{password}").into_bytes(),
    };
    let init = Composite::new(code::INIT).symbol(mechanism).binary(&response).text(host);
    init.frame(Protocol::Sasl, &[], out);
}

pub(crate) fn open(container: &str, host: &str, out: &mut BytesMut) {
    let frame_bytes = const { FRAME_LIMIT_BYTES as u32 };
    let open = Composite::new(code::OPEN).text(container).text(host).uint(frame_bytes);
    open.ushort(0).uint(IDLE_MILLIS).frame(Protocol::Amqp, &[], out);
}

pub(crate) fn begin(window_frames: u32, out: &mut BytesMut) {
    let begin = Composite::new(code::BEGIN).null().uint(0).uint(window_frames).uint(0).uint(0);
    begin.frame(Protocol::Amqp, &[], out);
}

/// Asks for messages. A lasting subscription is known by the link's name and outlives the link; its broker does not
/// forget what was on its way when the connection broke.
pub(crate) fn attach(wanted: &Subscription, prefixes: &Prefixes, out: &mut BytesMut) {
    let outcomes =
        ["amqp:accepted:list", "amqp:rejected:list", "amqp:released:list", "amqp:modified:list"];
    let prefix = match wanted.kind {
        Kind::Queue => &prefixes.queue,
        Kind::Topic => &prefixes.topic,
    };
    // Who wrote the prefix by hand need not write it twice.
    let name = wanted.address.strip_prefix(&**prefix).unwrap_or(&wanted.address);
    let source = Composite::new(code::SOURCE).text(&format!("{prefix}{name}"));
    let source = match wanted.lasting {
        true => source.uint(2).symbol("never"),
        false => source.uint(0).symbol("link-detach"),
    };
    let source = source.uint(0).boolean(false).null();
    let source = match wanted.kind {
        Kind::Queue => source.null(),
        Kind::Topic => source.symbol("copy"),
    };
    let source = match &wanted.selector {
        Some(selector) => source.described_text("jms-selector", SELECTOR_FILTER, selector),
        None => source.null(),
    };
    // What was given and not settled when the link breaks counts as tried, so that a broker sets aside at last what
    // nobody ever comes to the end of.
    let source = source.nested(Composite::new(code::MODIFIED).boolean(true)).symbols(&outcomes);
    let source = match wanted.kind {
        Kind::Queue => source.symbols(&["queue"]),
        Kind::Topic => source.symbols(&["topic"]),
    };
    let attach = Composite::new(code::ATTACH).text(&wanted.name).uint(0).boolean(true);
    let attach = attach.ubyte(0).ubyte(0).nested(source).nested(Composite::new(code::TARGET));
    attach.frame(Protocol::Amqp, &[], out);
}

pub(crate) fn flow(room: Room, out: &mut BytesMut) {
    let flow = Composite::new(code::FLOW).uint(room.next_incoming).uint(room.window_frames);
    let flow = flow.uint(0).uint(0).uint(0).uint(room.delivery_count).uint(room.credit_messages);
    let flow = flow.null().boolean(room.drain);
    flow.frame(Protocol::Amqp, &[], out);
}

pub(crate) fn disposition(first: u32, last: u32, verdict: &Verdict, out: &mut BytesMut) {
    let state = match verdict {
        Verdict::Accepted => Composite::new(code::ACCEPTED),
        Verdict::Released => Composite::new(code::RELEASED),
        Verdict::Rejected(why) => {
            let error = Composite::new(code::ERROR).symbol("amqp:not-allowed").text(why);
            Composite::new(code::REJECTED).nested(error)
        }
    };
    let disposition = Composite::new(code::DISPOSITION).boolean(true).uint(first).uint(last);
    disposition.boolean(true).nested(state).frame(Protocol::Amqp, &[], out);
}

/// Leaves the link; `closed` makes the broker forget that there was one.
pub(crate) fn detach(closed: bool, out: &mut BytesMut) {
    Composite::new(code::DETACH).uint(0).boolean(closed).frame(Protocol::Amqp, &[], out);
}

pub(crate) fn close(out: &mut BytesMut) {
    Composite::new(code::CLOSE).frame(Protocol::Amqp, &[], out);
}

#[cfg(any(test, feature = "fake"))]
pub(crate) use broker::*;

/// What a broker says, for the one in tests.
#[cfg(any(test, feature = "fake"))]
mod broker {
    use super::*;

    pub(crate) fn mechanisms(names: &[&str], out: &mut BytesMut) {
        Composite::new(code::MECHANISMS).symbols(names).frame(Protocol::Sasl, &[], out);
    }

    pub(crate) fn outcome(verdict: u8, out: &mut BytesMut) {
        Composite::new(code::OUTCOME).ubyte(verdict).frame(Protocol::Sasl, &[], out);
    }

    pub(crate) fn begun(out: &mut BytesMut) {
        let begin = Composite::new(code::BEGIN).ushort(0).uint(100).uint(1000).uint(1000);
        begin.frame(Protocol::Amqp, &[], out);
    }

    /// A link, if it is granted, with the selector that it goes by.
    pub(crate) fn attached(granted: bool, selector: Option<&str>, out: &mut BytesMut) {
        let attach =
            Composite::new(code::ATTACH).text("l").uint(0).boolean(false).ubyte(0).ubyte(0);
        let source = Composite::new(code::SOURCE).text("q").uint(0).symbol("link-detach").uint(0);
        let source = source.boolean(false).null().null();
        let attach = match (granted, selector) {
            (true, Some(selector)) => {
                attach.nested(source.described_text("jms-selector", SELECTOR_FILTER, selector))
            }
            (true, None) => attach.nested(source),
            (false, _) => attach.null(),
        };
        let attach = attach.nested(Composite::new(code::TARGET)).null().boolean(false).uint(7);
        attach.frame(Protocol::Amqp, &[], out);
    }

    pub(crate) fn transfer(delivery: u32, more: bool, payload: &[u8], out: &mut BytesMut) {
        let transfer = Composite::new(code::TRANSFER).uint(0).uint(delivery).binary(b"t").uint(0);
        transfer.boolean(false).boolean(more).frame(Protocol::Amqp, payload, out);
    }

    pub(crate) fn drained(delivery_count: u32, out: &mut BytesMut) {
        let flow = Composite::new(code::FLOW).uint(0).uint(1000).uint(0).uint(1000).uint(0);
        let flow = flow.uint(delivery_count).uint(0).uint(0).boolean(true);
        flow.frame(Protocol::Amqp, &[], out);
    }

    pub(crate) fn detached(condition: &str, description: &str, out: &mut BytesMut) {
        let error = Composite::new(code::ERROR).symbol(condition).text(description);
        let detach = Composite::new(code::DETACH).uint(0).boolean(true).nested(error);
        detach.frame(Protocol::Amqp, &[], out);
    }
}
