//! One Thrift connection: a frame, its call into the channels, its answer, and again. For Flume's
//! service and for Scribe's.

use std::collections::HashMap;
use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use splashdam_core::{Batch, Context, Malformed, Outlet, PutError, Stop, Trouble, World};
use splashdam_wire::claim::Claim;
use splashdam_wire::thrift::rpc::{self, Call, Request, Status};
use splashdam_wire::thrift::scribe::{self, Log, ResultCode};
use splashdam_wire::thrift::{FRAME_HEAD_BYTES, Frame, frame_length};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::error::Elapsed;
use tokio::time::timeout;
use tracing::{debug, info, warn};

use crate::accepting::Counted;
use crate::sources::senders::{NotStored, Refused, Senders};
use crate::tls::{Acceptor, HANDSHAKE, HandshakeError};

/// Bytes of all large frames that are received or put at one time, as in Flume; who comes then waits.
pub(in crate::sources) const FRAMES_BYTES: u64 = 268_435_456;
/// The semaphore counts in these, as it counts in 32 bits.
const UNIT_BYTES: usize = 1024;
/// What a frame may have without asking for room: who claims to send a lot has to send this first,
/// and most calls are no longer.
pub(in crate::sources) const FREE_BYTES: usize = 64 * 1024;
/// What a frame has to arrive in: this …
const FRAME_TIME: Duration = Duration::from_secs(30);
/// … and a second for each of these.
const FRAME_BYTES_A_SECOND: usize = 128 * 1024;
/// A client has this long to take an answer.
const ANSWER_TIME: Duration = Duration::from_secs(30);

/// Whose calls are understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sources) enum Dialect {
    Flume,
    Scribe,
}

/// What all connections share.
pub(in crate::sources) struct Service {
    pub(in crate::sources) out: Outlet,
    pub(in crate::sources) senders: Senders,
    dialect: Dialect,
    name: Arc<str>,
    world: Arc<dyn World>,
    stop: Stop,
    acceptor: Option<Acceptor>,
    /// Calls that may go on at one time, if that is limited.
    calls: Option<Semaphore>,
    frames: Semaphore,
    refusals: Mutex<Trouble>,
    /// What clients send that is no call, each kind by itself, so that many at once are a few lines.
    nonsense: Mutex<HashMap<&'static str, Trouble>>,
    handshakes: Mutex<Trouble>,
}

/// Why a connection ended, other than by its client.
#[derive(Debug)]
enum Lost {
    Io(io::Error),
    Malformed(Malformed),
    /// A frame took too long to arrive, or an answer to leave.
    Slow(&'static str),
}

impl From<io::Error> for Lost {
    fn from(error: io::Error) -> Self {
        Lost::Io(error)
    }
}

impl From<Malformed> for Lost {
    fn from(malformed: Malformed) -> Self {
        Lost::Malformed(malformed)
    }
}

impl Service {
    pub(in crate::sources) fn new(
        dialect: Dialect,
        calls: Option<NonZeroUsize>,
        acceptor: Option<Acceptor>,
        cx: &Context,
        out: Outlet,
        stop: Stop,
    ) -> Self {
        let units = usize::try_from(FRAMES_BYTES).unwrap_or(usize::MAX) / UNIT_BYTES;
        Service {
            senders: Senders::new(out.clone(), cx),
            out,
            dialect,
            name: cx.name.clone(),
            world: cx.world.clone(),
            stop,
            acceptor,
            calls: calls.map(|calls| Semaphore::new(calls.get().min(Semaphore::MAX_PERMITS))),
            frames: Semaphore::new(units),
            refusals: Mutex::new(Trouble::new()),
            nonsense: Mutex::new(HashMap::new()),
            handshakes: Mutex::new(Trouble::new()),
        }
    }

    /// Serves a client behind a handshake, where there has to be one.
    pub(in crate::sources) async fn welcome(self: Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        let _open = Counted::new(self.out.metrics());
        let Some(acceptor) = &self.acceptor else { return self.serve(stream, peer).await };
        // Who connects and goes without a word, as load balancers do to see who is there, is no
        // client that failed.
        if let None | Some(Ok(Ok(0))) =
            self.stop.or(timeout(HANDSHAKE, stream.peek(&mut [0]))).await
        {
            return;
        }
        match self.stop.or(acceptor.accept(stream)).await {
            None => {}
            Some(Ok(stream)) => self.serve(stream, peer).await,
            Some(Err(error)) => self.unwelcome(peer, &error),
        }
    }

    fn unwelcome(&self, peer: SocketAddr, error: &HandshakeError) {
        self.out.metrics().read_failures.add(1);
        let mut handshakes = self.handshakes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(repeats) = handshakes.happened(self.world.instant(), "") {
            warn!(component = %self.name, %peer, %error, repeats, "a client was turned away");
        }
    }

    /// Serves a client until it closes, sends what is no frame, or a stop is asked for.
    pub(super) async fn serve<S>(&self, stream: S, peer: SocketAddr)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin,
    {
        let (what, hint) = match self.converse(stream).await {
            Ok(()) => return,
            Err(Lost::Io(error)) => {
                debug!(component = %self.name, %peer, %error, "a client is gone");
                return;
            }
            Err(Lost::Slow(what)) => (what, "if clients are that slow, let them send less at once"),
            Err(Lost::Malformed(malformed)) => {
                (malformed.what, "only clients of Flume's Thrift service belong on this port")
            }
        };
        self.out.metrics().read_failures.add(1);
        let mut nonsense = self.nonsense.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(repeats) =
            nonsense.entry(what).or_default().happened(self.world.instant(), what)
        {
            warn!(component = %self.name, %peer, what, repeats, "a connection was closed; {hint}");
        }
    }

    async fn converse<S>(&self, mut stream: S) -> Result<(), Lost>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin,
    {
        loop {
            let Some(received) = self.stop.or(self.receive(&mut stream)).await else {
                return Ok(());
            };
            let Some((frame, room)) = received? else { return Ok(()) };
            let answer = match self.dialect {
                Dialect::Flume => {
                    let call = rpc::read_call(&frame)?;
                    drop(frame);
                    self.carry_out(call).await
                }
                Dialect::Scribe => {
                    let log = scribe::read_log(&frame)?;
                    drop(frame);
                    self.take_log(log).await
                }
            };
            drop(room);
            self.send(&mut stream, answer).await?;
            if self.stop.requested() {
                return Ok(());
            }
        }
    }

    /// The next frame, and the room that it takes, if it is large; `None` at the end of the stream.
    /// Silence before a frame may last for ever; a frame that has begun has to arrive.
    async fn receive(
        &self,
        stream: &mut (impl AsyncRead + Unpin),
    ) -> Result<Option<(Bytes, Option<SemaphorePermit<'_>>)>, Lost> {
        // No buffer before something comes: most clients are idle most of the time.
        let mut head = [0; FRAME_HEAD_BYTES];
        let began = stream.read(&mut head).await?;
        if began == 0 {
            return Ok(None);
        }
        let rest = stream.read_exact(&mut head[began..]);
        timeout(FRAME_TIME, rest).await.map_err(slow)??;
        let length = frame_length(head)?;
        // Memory that nothing came into yet costs nothing.
        let mut frame = BytesMut::with_capacity(length);
        let free = length.min(FREE_BYTES);
        timeout(FRAME_TIME, fill(stream, &mut frame, free)).await.map_err(slow)??;
        if free == length {
            return Ok(Some((frame.freeze(), None)));
        }
        let units = u32::try_from(length.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX);
        // The semaphore is never closed.
        let room = self.frames.acquire_many(units).await.map_err(io::Error::other)?;
        let seconds = u64::try_from(length / FRAME_BYTES_A_SECOND).unwrap_or(u64::MAX);
        let time = FRAME_TIME + Duration::from_secs(seconds);
        timeout(time, fill(stream, &mut frame, length)).await.map_err(slow)??;
        Ok(Some((frame.freeze(), Some(room))))
    }

    /// A turn, where calls at one time are limited.
    async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        match &self.calls {
            Some(calls) => calls.acquire().await.ok(),
            None => None,
        }
    }

    /// Takes entries over, and puts the answer down.
    async fn take_log(&self, mut log: Log) -> Frame {
        let _turn = self.turn().await;
        let result = match log.batch.take() {
            Some(batch) if batch.is_empty() => ResultCode::Ok,
            Some(batch) => match self.put(batch).await {
                Status::Ok => ResultCode::Ok,
                _ => ResultCode::TryLater,
            },
            None => {
                self.out.metrics().read_failures.add(1);
                if let Some(exception) = &log.refused {
                    debug!(component = %self.name, %exception, "a call that cannot be carried out");
                }
                ResultCode::TryLater
            }
        };
        log.answer(result)
    }

    /// Does what a call asks for, and puts the answer down.
    async fn carry_out(&self, Call { caller, request }: Call) -> Frame {
        let _turn = self.turn().await;
        match request {
            Ok(Request::Append(event)) => {
                let went = self.out.append(event).await;
                caller.answer(&Ok(self.judge(&went)))
            }
            Ok(Request::AppendBatch(batch, None)) => caller.answer(&Ok(self.put(batch).await)),
            Ok(Request::AppendBatch(batch, Some(claim))) => {
                let (status, once) = self.put_once(batch, claim).await;
                caller.answer_ours(&Ok(status), once)
            }
            Err(exception) => {
                self.out.metrics().read_failures.add(1);
                debug!(component = %self.name, %exception, "a call that cannot be carried out");
                caller.answer(&Err(exception))
            }
        }
    }

    async fn put(&self, batch: Batch) -> Status {
        self.judge(&self.out.put(batch).await)
    }

    /// Puts what is not stored yet of a batch that says where it comes from; and whether it was
    /// looked at what is. A connection's next call comes when this one is answered, so that none is
    /// behind a refused one.
    async fn put_once(&self, batch: Batch, claim: Claim) -> (Status, bool) {
        let inbox = match self.out.stores_once() {
            true => self.senders.inbox(claim.sender),
            false => None,
        };
        let Some(inbox) = inbox else { return (self.put(batch).await, false) };
        let status = match inbox.put(batch, claim, Refused::default()).await {
            Ok(()) => self.note(None),
            Err(NotStored::Refused { key, why }) => self.note(Some((&key, &why))),
            Err(NotStored::Behind) => Status::Failed,
        };
        (status, true)
    }

    fn judge(&self, put: &Result<(), PutError>) -> Status {
        match put {
            Ok(()) => self.note(None),
            Err(error) => self.note(Some((&error.key(), error))),
        }
    }

    /// What is answered; tells when the channels begin to refuse, and when that ends.
    fn note(&self, refused: Option<(&str, &dyn Display)>) -> Status {
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        match refused {
            None => {
                if let Some(lasted) = refusals.ended(self.world.instant()) {
                    info!(component = %self.name, ?lasted, "channels take calls again");
                }
                Status::Ok
            }
            Some((key, error)) => {
                if refusals.happened(self.world.instant(), key).is_some() {
                    warn!(component = %self.name, %error, "channels refuse calls; clients are told so and send them again");
                }
                Status::Failed
            }
        }
    }

    /// Sends an answer. A stop leaves a client behind that does not take it, but not before a write
    /// was tried: what was put should be answered.
    async fn send(
        &self,
        stream: &mut (impl AsyncWrite + Unpin),
        mut answer: Frame,
    ) -> Result<(), Lost> {
        let write = async {
            stream.write_all_buf(&mut answer).await?;
            stream.flush().await
        };
        tokio::select! {
            biased;
            written = timeout(ANSWER_TIME, write) => match written {
                Ok(written) => Ok(written?),
                Err(_) => Err(Lost::Slow("a client did not take its answer in time")),
            },
            () = self.stop.wait() => Ok(()),
        }
    }
}

fn slow(_: Elapsed) -> Lost {
    Lost::Slow("a frame did not arrive in time")
}

/// Reads into a frame's buffer, which the events become slices of, until it holds `length` bytes.
async fn fill(
    stream: &mut (impl AsyncRead + Unpin),
    frame: &mut BytesMut,
    length: usize,
) -> io::Result<()> {
    while frame.len() < length {
        let left = length - frame.len();
        if stream.read_buf(&mut (&mut *frame).limit(left)).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}
