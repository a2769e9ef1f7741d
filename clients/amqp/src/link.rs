//! A connection with one session and at most one receiving link, as a function from what came in to what goes out.
//! It knows no socket and no clock.
//!
//! What the broker may send is bounded three times: by credit in messages, by the session's window in frames, which
//! is opened again only while little lies ready, and by the longest message. A broker that does not keep to that is
//! left.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use crate::frame::{self, Protocol};
use crate::performative::{self, Heard, Prefixes, Room, Transfer, Verdict};
use crate::value::Malformed;
use crate::{Fault, Settings};

/// Frames that the broker may send before the window is opened again.
const WINDOW_FRAMES: u32 = 64;
/// While more than this lies ready, the window stays as it is.
const READY_BYTES: usize = 8 << 20;
/// Answers that the broker does not read are kept up to this.
const OUT_LIMIT_BYTES: usize = 1 << 20;

/// Memory that a link takes at the most for what lies ready, in bytes, besides one message of the greatest length.
pub const HELD_BYTES: usize = READY_BYTES + WINDOW_FRAMES as usize * frame::FRAME_LIMIT_BYTES;

/// A message that the broker gave, until it is settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// By which it is settled; numbers follow each other.
    pub id: u32,
    /// The message, or how long it is if that is too long.
    pub payload: Result<Bytes, TooLong>,
}

/// A message has more bytes than are taken; these are not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong {
    /// Its length.
    pub bytes: u64,
}

/// How far the conversation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Waits for the broker's header of SASL, …
    SaslHeader,
    /// … for the ways to log in, …
    Mechanisms,
    /// … for the verdict on ours, …
    Outcome,
    /// … for the header of AMQP, …
    Header,
    /// … for what the broker is, …
    Opening,
    /// … and for a session and a link.
    Attaching,
    Open,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Link {
    settings: Settings,
    phase: Phase,
    /// What goes out next.
    pub(crate) out: BytesMut,
    /// How much of that the broker asked for.
    answers_bytes: usize,
    /// Silence after which the broker wants a sign of life, in milliseconds; 0 for none.
    pub(crate) idle_millis: u32,
    next_incoming: u32,
    window_frames: u32,
    delivery_count: u32,
    credit_messages: u32,
    /// Whether nothing more is asked for, for the time being.
    held: bool,
    partial: Option<Partial>,
    ready: VecDeque<Delivery>,
    ready_bytes: usize,
}

/// A message of which more is to come.
#[derive(Debug)]
struct Partial {
    id: u32,
    first: Bytes,
    /// What came after the first piece; empty while there is one piece only, which then is not copied.
    more: BytesMut,
    bytes: u64,
}

impl Partial {
    /// Adds a piece, or counts it where the message is longer than `limit`.
    fn push(&mut self, piece: Bytes, limit: u64) {
        self.bytes += piece.len() as u64;
        if self.bytes > limit {
            (self.first, self.more) = (Bytes::new(), BytesMut::new());
        } else if self.first.is_empty() && self.more.is_empty() {
            self.first = piece;
        } else {
            if self.more.is_empty() {
                self.more.extend_from_slice(&std::mem::take(&mut self.first));
            }
            self.more.extend_from_slice(&piece);
        }
    }

    fn whole(self, limit: u64) -> Delivery {
        let payload = if self.bytes > limit {
            Err(TooLong { bytes: self.bytes })
        } else if self.more.is_empty() {
            Ok(self.first)
        } else {
            Ok(self.more.freeze())
        };
        Delivery { id: self.id, payload }
    }
}

impl Link {
    pub(crate) fn new(settings: Settings) -> Self {
        let mut out = BytesMut::new();
        out.extend_from_slice(&Protocol::Sasl.header());
        Link {
            settings,
            phase: Phase::SaslHeader,
            out,
            answers_bytes: 0,
            idle_millis: 0,
            next_incoming: 0,
            window_frames: WINDOW_FRAMES,
            delivery_count: 0,
            credit_messages: 0,
            held: false,
            partial: None,
            ready: VecDeque::new(),
            ready_bytes: 0,
        }
    }

    /// Whether messages may come.
    pub(crate) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Takes in all that is whole.
    pub(crate) fn feed(&mut self, input: &mut BytesMut) -> Result<(), Fault> {
        loop {
            let protocol = match self.phase {
                Phase::SaslHeader | Phase::Header => match self.header(input)? {
                    true => continue,
                    false => return Ok(()),
                },
                Phase::Mechanisms | Phase::Outcome => Protocol::Sasl,
                Phase::Opening | Phase::Attaching | Phase::Open => Protocol::Amqp,
            };
            let Some(mut body) = frame::cut(input, protocol)? else { return Ok(()) };
            if body.is_empty() {
                continue;
            }
            let heard = performative::heard(&mut body)?;
            // What the owner says of messages is bounded by their number, and is not the broker's fault.
            let before = self.out.len();
            let unread = self.answers_bytes.min(before);
            self.hear(heard, body)?;
            self.answers_bytes = unread + (self.out.len() - before);
            if self.answers_bytes > OUT_LIMIT_BYTES {
                return Err(Malformed {
                    what: "questions, and nobody who reads the answers",
                    left: 0,
                }
                .into());
            }
        }
    }

    /// Takes the header that must come next; false while it is not whole.
    fn header(&mut self, input: &mut BytesMut) -> Result<bool, Fault> {
        let wanted = match self.phase {
            Phase::SaslHeader => Protocol::Sasl,
            _ => Protocol::Amqp,
        };
        let wanted = wanted.header();
        let known = input.len().min(wanted.len());
        if input[..known] != wanted[..known] {
            return Err(Fault::NotAmqp {
                began: Bytes::copy_from_slice(&input[..input.len().min(16)]),
            });
        }
        if input.len() < wanted.len() {
            return Ok(false);
        }
        drop(input.split_to(wanted.len()));
        self.phase = match self.phase {
            Phase::SaslHeader => Phase::Mechanisms,
            _ => Phase::Opening,
        };
        Ok(true)
    }

    fn hear(&mut self, heard: Heard, payload: Bytes) -> Result<(), Fault> {
        match (self.phase, heard) {
            (Phase::Mechanisms, Heard::Mechanisms(offered)) => self.log_in(&offered)?,
            (Phase::Outcome, Heard::Outcome(0)) => self.open(),
            (Phase::Outcome, Heard::Outcome(code)) => return Err(Fault::Login { code }),
            (Phase::Opening, heard @ (Heard::Open { .. } | Heard::Close(_)))
            | (Phase::Attaching | Phase::Open, heard) => return self.hear_open(heard, payload),
            _ => return Err(Malformed { what: "an answer to what was not asked", left: 0 }.into()),
        }
        Ok(())
    }

    fn log_in(&mut self, offered: &[String]) -> Result<(), Fault> {
        let known = self.settings.login.mechanisms();
        let Some(mechanism) = known.iter().find(|known| offered.iter().any(|name| name == *known))
        else {
            let offered = performative::shown(&offered.join(", "));
            return Err(Fault::Mechanism { wanted: known[0], offered });
        };
        performative::init(&self.settings.login, mechanism, &self.settings.host, &mut self.out);
        self.phase = Phase::Outcome;
        Ok(())
    }

    fn open(&mut self) {
        self.out.extend_from_slice(&Protocol::Amqp.header());
        performative::open(&self.settings.container, &self.settings.host, &mut self.out);
        self.phase = Phase::Header;
    }

    /// Session and link are asked for at once, as the book allows.
    fn attach(&mut self, prefixes: &Prefixes) {
        performative::begin(WINDOW_FRAMES, &mut self.out);
        if let Some(wanted) = &self.settings.subscription {
            performative::attach(wanted, prefixes, &mut self.out);
        }
        self.phase = Phase::Attaching;
    }

    fn hear_open(&mut self, heard: Heard, payload: Bytes) -> Result<(), Fault> {
        match heard {
            Heard::Open { frame_bytes: 0..512, .. } => {
                Err(Malformed { what: "frames of less than 512 bytes", left: 0 }.into())
            }
            Heard::Open { idle_millis, prefixes, .. } => {
                self.idle_millis = idle_millis;
                if self.phase == Phase::Opening {
                    self.attach(&prefixes);
                }
                Ok(())
            }
            Heard::Begin { next_outgoing } => {
                self.next_incoming = next_outgoing;
                if self.settings.subscription.is_none() {
                    self.phase = Phase::Open;
                }
                Ok(())
            }
            Heard::Attach { granted, selects, delivery_count } => {
                let wanted = self.settings.subscription.as_ref();
                if granted && !selects && wanted.is_some_and(|wanted| wanted.selector.is_some()) {
                    return Err(Fault::Unselected);
                }
                // Where it is not granted, the reason follows.
                if granted {
                    self.delivery_count = delivery_count;
                    self.phase = Phase::Open;
                    self.grant();
                }
                Ok(())
            }
            Heard::Flow { echo, delivery_count } => {
                if let Some(count) = delivery_count {
                    self.counted(count);
                }
                if echo && self.is_open() {
                    self.flow();
                }
                Ok(())
            }
            Heard::Transfer(transfer) => self.transfer(&transfer, payload),
            Heard::Disposition => Ok(()),
            Heard::Detach(reason) => Err(Fault::Ended { what: "the link", reason }),
            Heard::End(reason) => Err(Fault::Ended { what: "the session", reason }),
            Heard::Close(reason) => Err(Fault::Ended { what: "the connection", reason }),
            Heard::Mechanisms(_) | Heard::Challenge | Heard::Outcome(_) => {
                Err(Malformed { what: "a login after the login", left: 0 }.into())
            }
        }
    }

    /// The broker's count of messages: what it is ahead by is credit that it has forgotten, as it was asked to, maybe so
    /// late that it has been asked for more meanwhile. The credit that it speaks of is as old as its words are.
    fn counted(&mut self, count: u32) {
        let forgotten = count.wrapping_sub(self.delivery_count);
        // Flows and messages come in order, so that a count that lies behind is none.
        if forgotten <= u32::MAX / 2 {
            self.credit_messages = self.credit_messages.saturating_sub(forgotten);
            self.delivery_count = count;
            self.grant();
        }
    }

    fn transfer(&mut self, transfer: &Transfer, payload: Bytes) -> Result<(), Fault> {
        let wrong = |what| Err(Malformed { what, left: 0 }.into());
        if transfer.settled && !transfer.aborted {
            return wrong("a message that it would not take back, though it was asked to");
        }
        if !self.is_open() || self.settings.subscription.is_none() {
            return wrong("a message that was not asked for");
        }
        let Some(window) = self.window_frames.checked_sub(1) else {
            return wrong("more frames than the window has room for");
        };
        self.window_frames = window;
        self.next_incoming = self.next_incoming.wrapping_add(1);
        let limit = self.settings.message_limit_bytes;
        let mut partial = match self.partial.take() {
            Some(partial) if transfer.delivery.is_none_or(|id| id == partial.id) => partial,
            Some(_) => return wrong("pieces of two messages at once"),
            None => {
                let Some(credit) = self.credit_messages.checked_sub(1) else {
                    return wrong("more messages than were asked for");
                };
                let Some(id) = transfer.delivery else {
                    return wrong("a message without a number");
                };
                self.credit_messages = credit;
                self.delivery_count = self.delivery_count.wrapping_add(1);
                Partial { id, first: Bytes::new(), more: BytesMut::new(), bytes: 0 }
            }
        };
        partial.push(payload, limit);
        if transfer.aborted {
            // It comes again, if at all, as another one.
        } else if transfer.more {
            self.partial = Some(partial);
        } else {
            let delivery = partial.whole(limit);
            self.ready_bytes += delivery.bytes();
            self.ready.push_back(delivery);
        }
        self.grant();
        Ok(())
    }

    /// Opens the window and gives credit, where half of either is used up and there is room.
    fn grant(&mut self) {
        if !self.is_open() || self.settings.subscription.is_none() {
            return;
        }
        let has_room = self.ready_bytes <= READY_BYTES || self.ready.is_empty();
        let opens = self.window_frames <= WINDOW_FRAMES / 2 && has_room;
        let credit = self.wanted();
        let gives = !self.held && self.credit_messages < credit.div_ceil(2);
        if opens {
            self.window_frames = WINDOW_FRAMES;
        }
        if gives {
            self.credit_messages = credit;
        }
        if opens || gives {
            self.flow();
        }
    }

    fn flow(&mut self) {
        let room = Room {
            next_incoming: self.next_incoming,
            window_frames: self.window_frames,
            delivery_count: self.delivery_count,
            credit_messages: self.credit_messages,
            drain: self.held,
        };
        performative::flow(room, &mut self.out);
    }

    /// Asks for nothing more. What is on its way still comes, until [`Link::is_quiet`].
    pub(crate) fn hold(&mut self) {
        self.held = true;
        if !self.is_quiet() {
            self.flow();
        }
    }

    /// Whether nothing comes any more until [`Link::resume`].
    pub(crate) fn is_quiet(&self) -> bool {
        self.held && self.credit_messages == 0 && self.partial.is_none()
    }

    /// Whether nothing comes until something is taken.
    pub(crate) fn is_full(&self) -> bool {
        self.ready_bytes > READY_BYTES
    }

    /// Asks again.
    pub(crate) fn resume(&mut self) {
        self.held = false;
        if self.is_open() && self.settings.subscription.is_some() {
            // What was given and not forgotten yet may still be used.
            self.credit_messages = self.credit_messages.max(self.wanted());
            self.flow();
        }
    }

    /// Messages to ask for, with what lies ready.
    fn wanted(&self) -> u32 {
        let ready = u32::try_from(self.ready.len()).unwrap_or(u32::MAX);
        self.settings.prefetch_messages.saturating_sub(ready)
    }

    /// Whether a message lies ready.
    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// How many do.
    pub(crate) fn ready(&self) -> usize {
        self.ready.len()
    }

    pub(crate) fn take(&mut self) -> Option<Delivery> {
        let delivery = self.ready.pop_front()?;
        self.ready_bytes -= delivery.bytes();
        self.grant();
        Some(delivery)
    }

    pub(crate) fn settle(&mut self, first: u32, last: u32, verdict: &Verdict) {
        performative::disposition(first, last, verdict, &mut self.out);
    }

    pub(crate) fn sign_of_life(&mut self) {
        if matches!(self.phase, Phase::Opening | Phase::Attaching | Phase::Open)
            && self.out.is_empty()
        {
            frame::sign_of_life(&mut self.out);
        }
    }

    /// Says good-bye. A lasting subscription stays with the broker.
    pub(crate) fn close(&mut self) {
        if let Some(subscription) = &self.settings.subscription {
            performative::detach(!subscription.lasting, &mut self.out);
        }
        performative::close(&mut self.out);
    }
}

impl Delivery {
    fn bytes(&self) -> usize {
        self.payload.as_ref().map_or(0, Bytes::len)
    }
}

#[cfg(test)]
mod tests;
