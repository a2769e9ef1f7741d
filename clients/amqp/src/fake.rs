//! A broker with one queue, for tests. It gives as much as there is credit and room for, remembers the verdicts, and
//! gives again what was not settled when a connection ends.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;

use crate::Stream;
use crate::frame::{self, Protocol};
use crate::performative as say;
use crate::value::{self, Descriptor, Elements, Value};

/// The broker; clones are the same one.
#[derive(Clone)]
pub struct Broker(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    changed: watch::Sender<u64>,
}

/// What the broker knows.
#[derive(Debug, Default)]
pub struct State {
    /// Messages to be given, in order.
    pub queue: VecDeque<Bytes>,
    /// Those that were taken over.
    pub accepted: Vec<Bytes>,
    /// Those that were refused for good.
    pub rejected: Vec<Bytes>,
    /// How many came back.
    pub released: usize,
    /// How many were given and not settled when their connection ended.
    pub tried: usize,
    /// The fields of the attaches, and whether detaches were for good, as text.
    pub said: Vec<String>,
    /// How many connections there were.
    pub connections: usize,
    /// Messages after which the connection is cut, without a word.
    pub cuts_after: Option<usize>,
    /// Ends the link with these words then, instead of a cut.
    pub last_words: Option<String>,
    /// The bytes of a message that one transfer has at the most; 0 for all.
    pub piece_bytes: usize,
    /// Gives whatever there is, whatever the selector.
    pub ignores_selectors: bool,
    /// Refuses the link with this.
    pub refuses: Option<&'static str>,
    /// What it offers to log in by; `ANONYMOUS` and `PLAIN` while empty.
    pub mechanisms: Vec<&'static str>,
    /// `user\0password` as it wants it; anything, when it is not set.
    pub login: Option<&'static str>,
}

/// A message with a text.
pub fn text(text: &str) -> Bytes {
    let mut out = BytesMut::from(&b"\0\x53\x77\xb1"[..]);
    out.put_u32(u32::try_from(text.len()).unwrap_or(u32::MAX));
    out.put_slice(text.as_bytes());
    out.freeze()
}

impl Default for Broker {
    fn default() -> Self {
        Broker(Arc::new(Shared { state: Mutex::default(), changed: watch::Sender::new(0) }))
    }
}

/// A connection as the broker sees it.
#[derive(Default)]
struct Peer {
    credit: u32,
    window: u32,
    attached: bool,
    /// Messages and frames that were given.
    next: u32,
    frames: u32,
    /// Credit that was forgotten, and whether more is to be.
    drained: u32,
    drain: bool,
    /// What is still to come of the last one.
    rest: Option<Bytes>,
    given: VecDeque<(u32, Bytes)>,
}

impl Broker {
    /// Changes what it knows.
    pub fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let done = change(&mut self.state());
        self.0.changed.send_modify(|count| *count += 1);
        done
    }

    /// Waits until what it knows is as wished.
    pub async fn until(&self, wish: impl Fn(&State) -> bool) {
        let mut changed = self.0.changed.subscribe();
        while !wish(&self.state()) {
            changed.changed().await.ok();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves a connection until its end.
    pub async fn serve(&self, mut stream: impl Stream) {
        self.change(|state| state.connections += 1);
        let mut peer = Peer::default();
        let done = self.talk(&mut stream, &mut peer).await;
        self.change(|state| {
            state.said.push(done.map_or_else(|why| why, |()| "cut".to_owned()));
            state.tried += peer.given.len();
            for (_, message) in peer.given.drain(..).rev() {
                state.queue.push_front(message);
            }
        });
    }

    async fn talk(&self, stream: &mut impl Stream, peer: &mut Peer) -> Result<(), String> {
        let mut changed = self.0.changed.subscribe();
        let mut inbox = BytesMut::new();
        let mut out = BytesMut::new();
        let mut protocol = None;
        loop {
            while let Some(fields) = next(&mut inbox, &mut protocol)? {
                self.answer(fields, peer, &mut out)?;
            }
            let cut = self.give(peer, &mut out);
            stream.write_all_buf(&mut out).await.map_err(|error| error.to_string())?;
            if cut {
                return Ok(());
            }
            tokio::select! {
                read = stream.read_buf(&mut inbox) => match read {
                    Ok(0) => return Err("hung up".to_owned()),
                    Ok(_) => {}
                    Err(error) => return Err(error.to_string()),
                },
                _ = changed.changed() => {}
            }
        }
    }

    fn answer(&self, said: Said, peer: &mut Peer, out: &mut BytesMut) -> Result<(), String> {
        let (code, mut fields) = match said {
            Said::Header(protocol) => {
                out.put_slice(&protocol.header());
                if protocol == Protocol::Sasl {
                    let offered = self.state().mechanisms.clone();
                    let all = ["ANONYMOUS", "PLAIN"];
                    say::mechanisms(if offered.is_empty() { &all } else { &offered }, out);
                }
                return Ok(());
            }
            Said::Fields(code, fields) => (code, fields),
        };
        let whole = format!("{fields:?}");
        let mut field = || fields.field().map_err(|error| error.to_string());
        match code {
            0x41 => {
                field()?;
                let Value::Binary(response) = field()? else {
                    return Err("no response".to_owned());
                };
                let wanted = self.state().login.map(|login| format!("\0{login}"));
                say::outcome(u8::from(wanted.is_some_and(|wanted| wanted != response)), out);
            }
            0x10 => say::open("broker", "here", out),
            0x11 => {
                field()?;
                field()?;
                peer.window = field()?.unsigned().unwrap_or(0);
                say::begun(out);
            }
            0x12 => {
                self.change(|state| state.said.push(format!("attach {whole}")));
                let refuses = self.state().refuses;
                for _ in 0..5 {
                    field()?;
                }
                let selects = say::selects(field()?).map_err(|why| why.to_string())?;
                let knows = selects && !self.state().ignores_selectors;
                say::attached(refuses.is_none(), knows.then_some("x = 1"), out);
                peer.attached = refuses.is_none();
                if let Some(condition) = refuses {
                    say::detached(condition, "no such thing", out);
                }
            }
            0x13 => {
                // Both ends count: what is on its way uses up of what the other one grants.
                let mut number = || Ok::<_, String>(field()?.unsigned().unwrap_or(0));
                let (next, window) = (number()?, number()?);
                let (_, _, _) = (number()?, number()?, number()?);
                let (count, credit) = (number()?, number()?);
                number()?;
                peer.window = (next + window).saturating_sub(100 + peer.frames);
                peer.credit = (count + credit).saturating_sub(7 + peer.next + peer.drained);
                peer.drain = field()?.is_true();
            }
            0x15 => {
                field()?;
                let first = field()?.unsigned().unwrap_or(0);
                let last = field()?.unsigned().unwrap_or(first);
                field()?;
                let Value::Described(state) = field()? else { return Err("no state".to_owned()) };
                self.settle(peer, first, last, &state.0);
            }
            0x16 => {
                field()?;
                let closed = field()?.is_true();
                self.change(|state| state.said.push(format!("detach {closed}")));
                say::detach(closed, out);
            }
            0x18 => say::close(out),
            other => return Err(format!("what is {other:#x}?")),
        }
        Ok(())
    }

    fn settle(&self, peer: &mut Peer, first: u32, last: u32, state: &Descriptor) {
        let settled: VecDeque<_> = {
            let within = |id: &u32| (first..=last).contains(id);
            let all = std::mem::take(&mut peer.given);
            let (settled, left) = all.into_iter().partition(|(id, _)| within(id));
            peer.given = left;
            settled
        };
        self.change(|known| {
            let messages = settled.into_iter().map(|(_, message)| message);
            match state {
                Descriptor::Code(0x24) => known.accepted.extend(messages),
                Descriptor::Code(0x25) => known.rejected.extend(messages),
                _ => {
                    known.released += messages.len();
                    messages.rev().for_each(|message| known.queue.push_front(message));
                }
            }
        });
    }

    /// Gives what may be given; true when the connection is to be cut.
    fn give(&self, peer: &mut Peer, out: &mut BytesMut) -> bool {
        let mut state = self.state();
        let most = if state.piece_bytes == 0 { 32 * 1024 } else { state.piece_bytes };
        while peer.attached && peer.window > 0 {
            if peer.rest.is_none() {
                if peer.credit == 0 || state.queue.is_empty() {
                    break;
                }
                if state.cuts_after == Some(0) {
                    state.cuts_after = None;
                    let Some(words) = state.last_words.take() else { return true };
                    say::detached("amqp:internal-error", &words, out);
                    peer.attached = false;
                    return false;
                }
                state.cuts_after = state.cuts_after.map(|left| left - 1);
                let Some(message) = state.queue.pop_front() else { break };
                peer.given.push_back((peer.next, message.clone()));
                peer.rest = Some(message);
                peer.next += 1;
                peer.credit -= 1;
            }
            let Some(mut message) = peer.rest.take() else { break };
            let piece = message.split_to(message.len().min(most));
            say::transfer(peer.next - 1, !message.is_empty(), &piece, out);
            peer.window -= 1;
            peer.frames += 1;
            peer.rest = Some(message).filter(|message| !message.is_empty());
        }
        if peer.drain && peer.rest.is_none() && peer.credit > 0 && state.queue.is_empty() {
            peer.drained += std::mem::take(&mut peer.credit);
            say::drained(7 + peer.next + peer.drained, out);
        }
        false
    }
}

enum Said {
    Header(Protocol),
    Fields(u8, Elements),
}

/// What is said next: a header after each that changes the protocol.
fn next(inbox: &mut BytesMut, protocol: &mut Option<Protocol>) -> Result<Option<Said>, String> {
    if inbox.first_chunk::<4>() == Some(b"AMQP") {
        if inbox.len() < 8 {
            return Ok(None);
        }
        let now = if inbox[4] == 3 { Protocol::Sasl } else { Protocol::Amqp };
        inbox.advance(8);
        *protocol = Some(now);
        return Ok(Some(Said::Header(now)));
    }
    let Some(protocol) = *protocol else { return Ok(None) };
    loop {
        let cut = frame::cut(inbox, protocol).map_err(|error| error.to_string())?;
        let Some(mut body) = cut else { return Ok(None) };
        if body.is_empty() {
            continue;
        }
        let said = value::read(&mut body).map_err(|error| error.to_string())?;
        let Value::Described(said) = said else { return Err("nothing described".to_owned()) };
        let (Descriptor::Code(code), Value::List(fields)) = *said else {
            return Err("no performative".to_owned());
        };
        return Ok(Some(Said::Fields(u8::try_from(code).unwrap_or(u8::MAX), fields)));
    }
}
