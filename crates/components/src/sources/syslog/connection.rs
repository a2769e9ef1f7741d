//! One connection of syslog: read, cut into messages, put. Nothing is ever answered.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use splashdam_core::pipeline::Patience;
use splashdam_core::{
    Batch, ChannelError, Context, Malformed, Outlet, Pipeline, PutError, Size, Stop, Trouble, World,
};
use splashdam_wire::syslog::cut::{Cut, Cutter};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpStream;
use tokio::task::coop::consume_budget;
use tokio::time::timeout;
use tracing::field::display;
use tracing::{debug, error, warn};

use super::{Dialect, SenderHeaders, Senders, Times, Told, add_headers};
use crate::tls::{Acceptor, HANDSHAKE, HandshakeError};

/// Bytes that are read at once: this many from who sends little …
const LEAST_READ: usize = 1024;
/// … and this many from who sends a lot.
pub(in crate::sources) const MOST_READ: usize = 64 * 1024;
/// Messages of one connection that are on their way into channels.
pub(in crate::sources) const UNDER_WAY: Size = Size { events: 10_000, bytes: 128 * 1024 };
/// Waits between tries to put what a channel refused.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const MOST_WAIT: Duration = Duration::from_secs(5);
/// How long what was read is still tried to be put after the source was told to stop.
const AT_LAST: Duration = Duration::from_secs(2);

/// What all connections of a source share.
pub(in crate::sources) struct Service {
    pub(in crate::sources) putting: Putting,
    pub(in crate::sources) acceptor: Option<Acceptor>,
    pub(in crate::sources) senders: Senders,
    pub(in crate::sources) times: Times,
    handshakes: Mutex<Trouble>,
    foreign: Mutex<Trouble>,
}

/// How messages of a listener are read.
#[derive(Clone)]
pub(in crate::sources) struct Listening {
    pub(in crate::sources) dialect: Dialect,
    pub(in crate::sources) cutter: Cutter,
    /// Who sends, once somebody does.
    pub(in crate::sources) peer: Option<SocketAddr>,
    /// Headers that say where a message came in.
    pub(in crate::sources) headers: SenderHeaders,
    /// Whether what is left when a client goes is a message.
    pub(in crate::sources) last_counts: bool,
}

/// The way into the channels, for messages whose senders are never told what became of them: they
/// are put until they are taken.
pub(in crate::sources) struct Putting {
    pub(in crate::sources) out: Outlet,
    pub(in crate::sources) name: Arc<str>,
    pub(in crate::sources) world: Arc<dyn World>,
    pub(in crate::sources) stop: Stop,
    /// Messages in one transaction; becomes smaller when a channel says that it takes no more.
    group: AtomicUsize,
    losses: Mutex<Trouble>,
    nonsense: Mutex<Trouble>,
    unfinished: Mutex<Trouble>,
}

impl Putting {
    pub(in crate::sources) fn new(group: usize, cx: &Context, out: Outlet, stop: Stop) -> Self {
        Putting {
            out,
            name: cx.name.clone(),
            world: cx.world.clone(),
            stop,
            group: AtomicUsize::new(group),
            losses: Mutex::new(Trouble::new()),
            nonsense: Mutex::new(Trouble::new()),
            unfinished: Mutex::new(Trouble::new()),
        }
    }

    /// Messages in one transaction at the most.
    pub(in crate::sources) fn group(&self) -> usize {
        self.group.load(Relaxed)
    }

    /// Sees to what was refused.
    pub(in crate::sources) async fn settle(&self, went: Went) {
        if let Some(Err(error)) = went {
            self.put_in_parts(error).await;
        }
    }

    /// Puts a refused batch in parts, if it is too large for a channel. That is in order, as
    /// nothing behind it has been put.
    async fn put_in_parts(&self, error: PutError) {
        let mut rest = match self.smaller_group(error) {
            Ok(batch) => batch,
            Err(error) => return self.lost(&error),
        };
        while !rest.is_empty() {
            let part = rest.split_front(Size::events(self.group()));
            let put = self.out.put_patiently(part, &self.stop, FIRST_WAIT, MOST_WAIT).await;
            if let Err(error) = put {
                match self.smaller_group(error) {
                    Ok(mut part) => {
                        part.append(std::mem::take(&mut rest));
                        rest = part;
                    }
                    Err(error) => self.lost(&error),
                }
            }
        }
    }

    /// The batch back, if it is to be put in smaller parts.
    fn smaller_group(&self, error: PutError) -> Result<Batch, PutError> {
        let least = error.failures.iter().filter_map(|failure| match failure {
            ChannelError::TooLarge { capacity, .. } => Some(*capacity),
            _ => None,
        });
        match (least.min(), error.batch.len()) {
            (Some(least), 2..) => {
                self.group.fetch_min(least.clamp(1, error.batch.len() - 1), Relaxed);
                Ok(error.batch)
            }
            _ => Err(error),
        }
    }

    /// Says that messages are gone.
    fn lost(&self, error: &PutError) {
        let events = error.batch.len();
        self.out.metrics().events_dropped.add(events);
        let mut losses = self.losses.lock().unwrap_or_else(PoisonError::into_inner);
        let (key, reason) = match error.failures.is_empty() {
            true => ("stop".to_owned(), "the agent stops".to_owned()),
            false => (error.key(), error.to_string()),
        };
        if let Some(repeats) = losses.happened(self.world.instant(), &key) {
            error!(component = %self.name, error = %reason, events, repeats, "messages are lost, as channels do not take them and syslog has no way to refuse them; give the channel more room");
        }
    }

    /// Counts a message that was none.
    pub(in crate::sources) fn invalid(&self, peer: Option<SocketAddr>) {
        self.out.metrics().read_failures.add(1);
        self.odd(peer);
    }

    /// Says that a message was none.
    pub(in crate::sources) fn odd(&self, peer: Option<SocketAddr>) {
        let mut nonsense = self.nonsense.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(repeats) = nonsense.happened(self.world.instant(), "") {
            let peer = peer.map(display);
            warn!(component = %self.name, peer, repeats, "a message is not syslog; its event has the header flume.syslog.status, unless there is nothing in it");
        }
    }

    /// Says that a client went in the middle of a message, or sent none.
    fn unfinished(&self, peer: Option<SocketAddr>, bytes: usize) {
        let mut unfinished = self.unfinished.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(repeats) = unfinished.happened(self.world.instant(), "") {
            let peer = peer.map(display);
            warn!(component = %self.name, peer, bytes, repeats, "what a client sent last does not end like a message, and is left out");
        }
    }
}

/// What became of the oldest batch under way, if there is any.
pub(in crate::sources) type Went = Option<Result<(), PutError>>;

/// Batches on their way into the channels, in order.
pub(in crate::sources) struct Flow<'a> {
    putting: &'a Putting,
    pipeline: Pipeline<()>,
    patience: Patience,
}

impl<'a> Flow<'a> {
    pub(in crate::sources) fn new(putting: &'a Putting) -> Self {
        let patience = Patience::new(putting.name.clone(), FIRST_WAIT, MOST_WAIT, AT_LAST);
        Flow { putting, pipeline: Pipeline::new(putting.out.clone(), UNDER_WAY), patience }
    }

    /// With another limit of what is under way.
    pub(in crate::sources) fn with_most(mut self, most: Size) -> Self {
        self.pipeline = Pipeline::new(self.putting.out.clone(), most);
        self
    }

    /// Whether nothing is under way.
    pub(in crate::sources) fn is_idle(&self) -> bool {
        self.pipeline.is_empty()
    }

    /// Whether a batch of this size has to wait.
    pub(in crate::sources) fn is_full(&self, next: Size) -> bool {
        self.pipeline.is_full(next)
    }

    /// Begins to put a batch once there is room for it.
    pub(in crate::sources) async fn put(&mut self, batch: Batch) {
        if batch.is_empty() {
            return;
        }
        while self.pipeline.is_full(batch.size()) {
            self.settle_one().await;
        }
        self.pipeline.put(batch, ());
    }

    /// Waits until the oldest batch is stored, or refused for good. Cancel-safe.
    pub(in crate::sources) async fn stored(&mut self) -> Went {
        self.pipeline.stored(&mut self.patience, &self.putting.stop).await
    }

    async fn settle_one(&mut self) {
        let went = self.stored().await;
        self.putting.settle(went).await;
    }

    /// Waits for all.
    pub(in crate::sources) async fn finish(mut self) {
        while !self.is_idle() {
            self.settle_one().await;
        }
    }
}

/// Counts a connection as open while it lives.
struct Counted<'a>(&'a Outlet);

impl<'a> Counted<'a> {
    fn new(out: &'a Outlet) -> Self {
        out.metrics().open_connections.add(1);
        Counted(out)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.metrics().open_connections.add(-1);
    }
}

/// Why a connection ended, other than by its client.
enum Lost {
    Io(io::Error),
    Malformed(Malformed),
}

impl Service {
    pub(in crate::sources) fn new(
        putting: Putting,
        acceptor: Option<Acceptor>,
        senders: Senders,
        times: Times,
    ) -> Self {
        let (handshakes, foreign) = (Mutex::new(Trouble::new()), Mutex::new(Trouble::new()));
        Service { putting, acceptor, senders, times, handshakes, foreign }
    }

    /// Serves a client behind a handshake, where there has to be one.
    pub(in crate::sources) async fn welcome(
        self: Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        listening: Listening,
    ) {
        let _open = Counted::new(&self.putting.out);
        let stop = &self.putting.stop;
        if let Err(error) = splashdam_client::keep_alive(&stream) {
            debug!(component = %self.putting.name, %error, "a connection goes on without its options");
        }
        let Some(acceptor) = &self.acceptor else {
            return self.serve(stream, peer, listening).await;
        };
        // Who connects and goes without a word, as load balancers do to see who is there, is no
        // client that failed.
        if let None | Some(Ok(Ok(0))) = stop.or(timeout(HANDSHAKE, stream.peek(&mut [0]))).await {
            return;
        }
        match stop.or(acceptor.accept(stream)).await {
            None => {}
            Some(Ok(stream)) => self.serve(stream, peer, listening).await,
            Some(Err(error)) => self.unwelcome(peer, &error),
        }
    }

    fn unwelcome(&self, peer: SocketAddr, error: &HandshakeError) {
        self.putting.out.metrics().read_failures.add(1);
        let mut handshakes = self.handshakes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(repeats) = handshakes.happened(self.putting.world.instant(), "") {
            warn!(component = %self.putting.name, %peer, %error, repeats, "a client was turned away");
        }
    }

    /// Serves a client until it closes, sends what cannot be cut, or a stop is asked for.
    async fn serve(
        &self,
        stream: impl AsyncRead + Send + Unpin,
        peer: SocketAddr,
        mut listening: Listening,
    ) {
        if !self.senders.is_empty() {
            let Some(said) = self.putting.stop.or(self.senders.headers(peer)).await else { return };
            listening.headers.extend(said);
        }
        listening.peer = Some(peer);
        match self.converse(stream, listening).await {
            Ok(()) => {}
            Err(Lost::Io(error)) => {
                debug!(component = %self.putting.name, %peer, %error, "a client is gone");
            }
            Err(Lost::Malformed(malformed)) => {
                self.putting.out.metrics().read_failures.add(1);
                let mut foreign = self.foreign.lock().unwrap_or_else(PoisonError::into_inner);
                let what = malformed.what;
                if let Some(repeats) = foreign.happened(self.putting.world.instant(), what) {
                    warn!(component = %self.putting.name, %peer, what, repeats, "a connection was closed; set `framing` to what clients send");
                }
            }
        }
    }

    async fn converse(
        &self,
        mut stream: impl AsyncRead + Send + Unpin,
        mut listening: Listening,
    ) -> Result<(), Lost> {
        let mut flow = Flow::new(&self.putting);
        let (mut buffer, mut room) = (BytesMut::new(), LEAST_READ);
        let ended = loop {
            // Room for little before something comes: most clients are idle most of the time.
            buffer.reserve(room);
            let read = tokio::select! {
                biased;
                () = self.putting.stop.wait() => break Ok(()),
                went = flow.stored(), if !flow.is_idle() => {
                    self.putting.settle(went).await;
                    continue;
                }
                read = stream.read_buf(&mut buffer) => read,
            };
            let read = match read {
                Ok(read) => read,
                Err(error) => break Err(Lost::Io(error)),
            };
            room = next_room(room, read);
            if let Err(malformed) = self.put_all(&mut flow, &mut buffer, &mut listening).await {
                break Err(Lost::Malformed(malformed));
            }
            if read == 0 {
                self.put_last(&mut flow, buffer.split(), &mut listening).await;
                break Ok(());
            }
            if buffer.is_empty() {
                buffer = BytesMut::new();
            }
        };
        flow.finish().await;
        ended
    }

    /// Begins to put all whole messages of `buffer`.
    async fn put_all(
        &self,
        flow: &mut Flow<'_>,
        buffer: &mut BytesMut,
        listening: &mut Listening,
    ) -> Result<(), Malformed> {
        loop {
            let Taken { batch, then } = self.take(buffer, listening);
            flow.put(batch).await;
            // A busy client must not keep a worker to itself.
            consume_budget().await;
            match then {
                Then::More => {}
                Then::Read => return Ok(()),
                Then::End(malformed) => return Err(malformed),
            }
        }
    }

    /// What is left when a client is gone is a message, if it may be.
    async fn put_last(&self, flow: &mut Flow<'_>, rest: BytesMut, listening: &mut Listening) {
        if listening.last_counts && listening.cutter.may_end_here(&rest) {
            let mut batch = Batch::default();
            self.tell(&rest.freeze(), false, listening, &mut batch);
            flow.put(batch).await;
        } else if !rest.is_empty() {
            self.putting.unfinished(listening.peer, rest.len());
        }
    }

    /// Cuts what goes into one transaction off the start of `buffer`.
    fn take(&self, buffer: &mut BytesMut, listening: &mut Listening) -> Taken {
        let (mut messages, mut end) = (Vec::new(), 0);
        let most = self.putting.group();
        let then = loop {
            if messages.len() >= most {
                break Then::More;
            }
            match listening.cutter.cut(&buffer[end..]) {
                Ok(Cut::Part) => break Then::Read,
                Ok(Cut::Nothing { next }) => end += next,
                Ok(Cut::Message { at, next, incomplete }) => {
                    messages.push((end + at.start..end + at.end, incomplete));
                    end += next;
                }
                Err(malformed) => break Then::End(malformed),
            }
        };
        let mut batch = Batch::with_capacity(messages.len());
        if !messages.is_empty() {
            // One copy, so that events do not hold on to the whole of the read buffer.
            let text = Bytes::copy_from_slice(&buffer[..end]);
            for (at, incomplete) in messages {
                self.tell(&text.slice(at), incomplete, listening, &mut batch);
            }
        }
        buffer.advance(end);
        Taken { batch, then }
    }

    /// Adds what a message became.
    fn tell(
        &self,
        message: &Bytes,
        incomplete: bool,
        listening: &mut Listening,
        batch: &mut Batch,
    ) {
        let mut event = match listening.dialect.read(message, incomplete, &self.times) {
            Told::Event(event) => event,
            Told::Invalid(event) => {
                self.putting.invalid(listening.peer);
                event
            }
            Told::Odd(event) => {
                self.putting.odd(listening.peer);
                event
            }
            Told::Nothing => return self.putting.invalid(listening.peer),
        };
        add_headers(&mut event, &listening.headers);
        batch.push(event);
    }
}

/// Messages cut off a buffer, and what comes next.
struct Taken {
    batch: Batch,
    then: Then,
}

enum Then {
    /// There are more messages.
    More,
    /// More has to be read.
    Read,
    /// What follows cannot be cut.
    End(Malformed),
}

/// Reads that filled their room get more of it, those that need little of it less.
fn next_room(room: usize, read: usize) -> usize {
    match read {
        _ if read >= room => (room * 4).min(MOST_READ),
        _ if read < room / 8 => (room / 2).max(LEAST_READ),
        _ => room,
    }
}
