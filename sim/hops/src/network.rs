//! A network without sockets. Bytes of one direction arrive in their order, late by chance; for the
//! rest each connection has a fate.
//!
//! What is fair: a connection is refused, or never answered; it is cut at any byte of either
//! direction, after which both ends hear of it, or one, or none; what is sent over it stays on its
//! way for up to a minute, though its sender has long given up; all that was sent over it comes once
//! more over another connection, from nobody. What is not fair: bytes that change, or come in another
//! order within a connection.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use splashdam_client::{Address, BoxStream, Connect};
use splashdam_core::BoxFuture;
use splashdam_sim::dice::Dice;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, sleep};

/// Bytes on their way in one direction before a writer waits.
const WINDOW: usize = 64 * 1024;
/// Connections that wait to be accepted.
const BACKLOG: usize = 128;
/// Bytes of a connection that may be sent again.
const MOST_RECORDED: usize = 32 * 1024;

/// The network of a run. Clones share it.
#[derive(Clone)]
pub struct Network(Arc<Mutex<State>>);

struct State {
    dice: Dice,
    storm: bool,
    listeners: BTreeMap<u16, mpsc::Sender<Stream>>,
    wires: Vec<Weak<Mutex<Wire>>>,
    /// What is sent again, when and where to.
    repeats: Vec<(Instant, u16, Bytes)>,
    /// When the last of what is on its way arrives.
    busy_until: Instant,
    counts: Counts,
}

/// What happened to connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Made.
    pub connections: u64,
    /// Refused or not answered.
    pub refused: u64,
    /// Cut at some byte or time.
    pub cut: u64,
    /// Held up on their way.
    pub late: u64,
    /// Sent again by nobody.
    pub repeated: u64,
}

/// An agent's way into the network.
pub struct Line {
    /// The network.
    pub network: Network,
    /// The agent, by its port.
    pub from: u16,
}

/// A connection.
struct Wire {
    dice: Dice,
    /// The ports of the agents: who made it, and who accepted it.
    ends: [u16; 2],
    /// From the first end to the second, and back.
    ways: [Way; 2],
    /// What the first end sent, if it is to be sent again.
    recorded: Option<Vec<u8>>,
    slowest: Duration,
}

/// One direction.
struct Way {
    chunks: VecDeque<(Instant, Bytes)>,
    bytes: usize,
    sent: usize,
    last_at: Instant,
    end: Option<(Instant, End)>,
    /// What is written arrives nowhere.
    lost: bool,
    /// At which byte it is cut, and who hears of that.
    cut: Option<(usize, Heard)>,
    /// From which byte on it is held up, and how long.
    held_up: Option<(usize, Duration)>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Closed,
    Reset,
}

/// Who hears of a cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    Both,
    First,
    Second,
    Nobody,
}

/// One end of a connection.
pub struct Stream {
    wire: Arc<Mutex<Wire>>,
    network: Weak<Mutex<State>>,
    /// 0 who made it, 1 who accepted it.
    side: usize,
    sleep: Option<Pin<Box<Sleep>>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

impl Network {
    /// A network in a storm.
    pub fn new(seed: u64) -> Network {
        Network(Arc::new(Mutex::new(State {
            dice: Dice::new(seed),
            storm: true,
            listeners: BTreeMap::new(),
            wires: Vec::new(),
            repeats: Vec::new(),
            busy_until: Instant::now(),
            counts: Counts::default(),
        })))
    }

    /// Ends the storm: connections from now on are good ones.
    pub fn calm(&self) {
        locked(&self.0).storm = false;
    }

    /// What happened.
    pub fn counts(&self) -> Counts {
        locked(&self.0).counts
    }

    /// When the last of what is on its way now arrives, and what will be sent again is.
    pub fn busy_until(&self) -> Instant {
        let state = locked(&self.0);
        state.repeats.iter().map(|(at, ..)| *at).fold(state.busy_until, Instant::max)
    }

    /// Listens for an agent, in place of its life before.
    pub fn listen(&self, port: u16) -> mpsc::Receiver<Stream> {
        let (listener, accepted) = mpsc::channel(BACKLOG);
        locked(&self.0).listeners.insert(port, listener);
        accepted
    }

    /// Takes an agent off the network. Who was connected hears of it, or does not.
    pub fn cut_off(&self, port: u16) {
        let mut state = locked(&self.0);
        state.listeners.remove(&port);
        let silent = state.dice.once_in(2);
        state.wires.retain(|wire| wire.strong_count() > 0);
        for wire in state.wires.iter().filter_map(Weak::upgrade) {
            let wire = &mut *locked(&wire);
            for side in 0..2 {
                if wire.ends[side] == port {
                    wire.ways.iter_mut().for_each(|way| way.lost = true);
                    if !silent {
                        wire.reset(1 - side);
                    }
                }
            }
        }
    }

    /// Sends again what is due, from nobody.
    pub fn repeat(&self) {
        let due: Vec<_> = {
            let mut state = locked(&self.0);
            let now = Instant::now();
            state.repeats.extract_if(.., |(at, ..)| *at <= now).collect()
        };
        for (_, port, bytes) in due {
            let Some((mut stream, listener)) = self.wire(0, port) else { continue };
            locked(&self.0).counts.repeated += 1;
            {
                let wire = &mut *locked(&stream.wire);
                wire.recorded = None;
                wire.ways[1].lost = true;
                wire.send(0, &bytes);
            }
            stream.note_busy();
            if let Ok(()) = listener.try_send(stream.other()) {
                drop(stream);
            }
        }
    }

    /// A connection and who accepts it; `None` where nobody listens.
    fn wire(&self, from: u16, to: u16) -> Option<(Stream, mpsc::Sender<Stream>)> {
        let mut state = locked(&self.0);
        let listener = state.listeners.get(&to)?.clone();
        state.counts.connections += 1;
        let mut wire = Wire::new([from, to], Dice::new(state.dice.roll()));
        if state.storm {
            wire.doom(&mut state.counts);
        }
        let wire = Arc::new(Mutex::new(wire));
        state.wires.push(Arc::downgrade(&wire));
        let network = Arc::downgrade(&self.0);
        Some((Stream { wire, network, side: 0, sleep: None }, listener))
    }

    async fn connect(&self, from: u16, to: u16) -> io::Result<Stream> {
        let (delay, silence) = {
            let mut state = locked(&self.0);
            let delay = Duration::from_millis(state.dice.below(20));
            (delay, state.storm && state.dice.once_in(12))
        };
        sleep(delay).await;
        if silence {
            locked(&self.0).counts.refused += 1;
            std::future::pending::<()>().await;
        }
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let Some((stream, listener)) = self.wire(from, to) else {
            locked(&self.0).counts.refused += 1;
            return Err(refused());
        };
        listener.try_send(stream.other()).map_err(|_| refused())?;
        Ok(stream)
    }
}

impl Connect for Line {
    fn connect<'a>(&'a self, address: &'a Address) -> BoxFuture<'a, io::Result<BoxStream>> {
        Box::pin(async move {
            let stream = self.network.connect(self.from, address.port).await?;
            Ok(Box::new(stream) as BoxStream)
        })
    }
}

impl Wire {
    fn new(ends: [u16; 2], dice: Dice) -> Wire {
        let now = Instant::now();
        let way = || Way {
            chunks: VecDeque::new(),
            bytes: 0,
            sent: 0,
            last_at: now,
            end: None,
            lost: false,
            cut: None,
            held_up: None,
            reader: None,
            writer: None,
        };
        let slowest = Duration::from_millis(3);
        Wire { dice, ends, ways: [way(), way()], recorded: None, slowest }
    }

    /// Gives it a fate.
    fn doom(&mut self, counts: &mut Counts) {
        self.slowest = Duration::from_millis(self.dice.below(60) + 1);
        if self.dice.once_in(4) {
            self.recorded = Some(Vec::new());
        }
        let heard = [Heard::Both, Heard::First, Heard::Second, Heard::Nobody];
        let heard = heard[self.dice.index(heard.len())];
        match self.dice.below(10) {
            0 | 1 => self.ways[0].cut = Some((self.dice.index(2500), heard)),
            // After the request and before the answer, or in the midst of answers.
            2 | 3 => self.ways[1].cut = Some((self.dice.index(200), heard)),
            way @ (4 | 5) => {
                let long = Duration::from_millis(500 + self.dice.below(50_000));
                let most = if way == 4 { 2500 } else { 200 };
                self.ways[usize::from(way == 5)].held_up = Some((self.dice.index(most), long));
                counts.late += 1;
            }
            6 => {
                let at = Instant::now() + Duration::from_millis(self.dice.below(3000));
                self.ways.iter_mut().for_each(|way| way.end = Some((at, End::Reset)));
                counts.cut += 1;
            }
            _ => {}
        }
        counts.cut += u64::from(self.ways.iter().any(|way| way.cut.is_some()));
    }

    /// Sends from one side to the other.
    fn send(&mut self, side: usize, bytes: &[u8]) {
        let way = &mut self.ways[side];
        if way.lost {
            return;
        }
        let room = way.cut.map_or(usize::MAX, |(at, _)| at.saturating_sub(way.sent));
        let kept = &bytes[..bytes.len().min(room)];
        if !kept.is_empty() {
            let now = Instant::now();
            let millis = u64::try_from(self.slowest.as_millis()).unwrap_or(1);
            let mut at = now + Duration::from_millis(self.dice.below(millis + 1));
            if let Some((from, long)) = way.held_up
                && way.sent + kept.len() > from
            {
                at = now + long;
                way.held_up = None;
            }
            way.last_at = way.last_at.max(at);
            way.chunks.push_back((way.last_at, Bytes::copy_from_slice(kept)));
            way.bytes += kept.len();
            way.sent += kept.len();
            wake(&mut way.reader);
        }
        if let Some(recorded) = self.recorded.as_mut().filter(|_| side == 0)
            && recorded.len() + bytes.len() <= MOST_RECORDED
        {
            recorded.extend_from_slice(bytes);
        }
        if bytes.len() >= room {
            self.cut(side);
        }
    }

    /// The way from `side` breaks off.
    fn cut(&mut self, side: usize) {
        let Some((_, heard)) = self.ways[side].cut.take() else { return };
        self.ways[side].lost = true;
        if matches!(heard, Heard::Both | Heard::First) {
            self.reset(0);
        }
        if matches!(heard, Heard::Both | Heard::Second) {
            self.reset(1);
        }
    }

    /// Lets one side hear, soon, that the connection is gone. What it sent stays on its way.
    fn reset(&mut self, side: usize) {
        let at = Instant::now() + Duration::from_millis(self.dice.below(200));
        self.ways[1 - side].end = Some((at, End::Reset));
        wake(&mut self.ways[1 - side].reader);
        wake(&mut self.ways[side].writer);
    }
}

impl Stream {
    fn other(&self) -> Stream {
        let Stream { wire, network, side, .. } = self;
        Stream { wire: wire.clone(), network: network.clone(), side: 1 - side, sleep: None }
    }

    fn note_busy(&mut self) {
        let Some(network) = self.network.upgrade() else { return };
        let last = locked(&self.wire).ways[0].last_at;
        let mut state = locked(&network);
        state.busy_until = state.busy_until.max(last);
    }

    /// Waits for a time; called again when something changes before.
    fn until(&mut self, at: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
        if sleep.deadline() != at {
            sleep.as_mut().reset(at);
        }
        sleep.as_mut().poll(cx)
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            let next = {
                let wire = &mut *locked(&this.wire);
                let way = &mut wire.ways[1 - this.side];
                let now = Instant::now();
                let ended = way.end.filter(|(at, _)| *at <= now).map(|(_, end)| end);
                if ended == Some(End::Reset) {
                    return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
                }
                match way.chunks.front_mut() {
                    Some((at, chunk)) if *at <= now => {
                        let count = chunk.len().min(buffer.remaining());
                        buffer.put_slice(&chunk[..count]);
                        chunk.advance(count);
                        way.bytes -= count;
                        if chunk.is_empty() {
                            way.chunks.pop_front();
                        }
                        wake(&mut way.writer);
                        return Poll::Ready(Ok(()));
                    }
                    None if ended == Some(End::Closed) => return Poll::Ready(Ok(())),
                    front => {
                        let first = front.map(|(at, _)| *at);
                        let end = way.end.map(|(at, _)| at).filter(|at| *at > now);
                        way.reader = Some(cx.waker().clone());
                        first.into_iter().chain(end).min()
                    }
                }
            };
            match next {
                None => return Poll::Pending,
                Some(at) => ready!(this.until(at, cx)),
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        {
            let wire = &mut *locked(&this.wire);
            let back = wire.ways[1 - this.side].end;
            if back.is_some_and(|(at, end)| end == End::Reset && at <= Instant::now()) {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            let way = &mut wire.ways[this.side];
            if way.bytes >= WINDOW && !way.lost {
                way.writer = Some(cx.waker().clone());
                return Poll::Pending;
            }
            wire.send(this.side, bytes);
        }
        if this.side == 0 {
            this.note_busy();
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.close();
        Poll::Ready(Ok(()))
    }
}

impl Stream {
    fn close(&self) {
        let wire = &mut *locked(&self.wire);
        let way = &mut wire.ways[self.side];
        if !way.lost && way.end.is_none() {
            way.end = Some((way.last_at.max(Instant::now()), End::Closed));
            wake(&mut way.reader);
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.close();
        if self.side == 1 {
            return;
        }
        let (recorded, to) = {
            let mut wire = locked(&self.wire);
            (wire.recorded.take().filter(|bytes| !bytes.is_empty()), wire.ends[1])
        };
        if let (Some(bytes), Some(network)) = (recorded, self.network.upgrade()) {
            let mut state = locked(&network);
            let at = Instant::now() + Duration::from_millis(state.dice.below(60_000));
            state.repeats.push((at, to, bytes.into()));
        }
    }
}
