//! One connection: calls go out as they come, answers come back in any order.
//!
//! A task owns the socket and what waits for an answer. Callers hold a [`Connection`], a cheap
//! handle, also while they wait; the task ends when the last of them is gone, when the peer closes, or
//! at the first bytes that make no sense. Memory is bounded: the bytes of calls under way by permits, an answer by its
//! limit.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout};

use crate::config::Config;
use crate::error::{Error, Malformed, ServerException};
use crate::frame::{self, Body, CallHead};
use crate::model::Address;

/// Calls that may wait for the task to take them; it takes them at once unless it is writing.
const QUEUE_CALLS: usize = 16;
/// Permits stand for so many bytes each, since a semaphore counts to 32 bits at most.
const PERMIT_BYTES: usize = 1024;
/// Room that a read has at least.
const READ_BYTES: usize = 64 * 1024;

/// Which of a server's services a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Service {
    Regions,
    Master,
    /// The registry that masters and, since HBase 2.5, region servers serve.
    Registry,
}

impl Service {
    const fn name(self) -> &'static str {
        match self {
            Service::Regions => "ClientService",
            Service::Master => "MasterService",
            Service::Registry => "ClientMetaService",
        }
    }
}

/// A handle to a connection.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    server: Address,
    calls: mpsc::Sender<Call>,
    next_id: Arc<AtomicU32>,
    room: Arc<Semaphore>,
    /// The permits of an empty connection.
    room_permits: u32,
    silence: Silence,
}

/// Since when calls have waited without a byte from the server; nothing while none waits.
#[derive(Clone, Debug, Default)]
struct Silence(Arc<Mutex<Option<Instant>>>);

impl Silence {
    fn change(&self, change: impl FnOnce(&mut Option<Instant>)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// What a caller asks for.
pub(crate) struct Request<'a, M> {
    pub(crate) method: &'static str,
    pub(crate) parameter: &'a M,
    pub(crate) cells: &'a [u8],
    pub(crate) priority: Option<u32>,
    pub(crate) timeout: Duration,
}

/// Why a call has no result.
#[derive(Debug)]
pub(crate) enum CallError {
    /// The server said so.
    Exception(ServerException),
    /// The connection is of no use any more, or the call is not to be made.
    Broken(Error),
}

#[derive(Debug)]
struct Call {
    id: u32,
    frame: Bytes,
    waiting: Waiting,
}

#[derive(Debug)]
struct Waiting {
    answer: oneshot::Sender<Result<Body, CallError>>,
    /// Held until the answer is there.
    _room: OwnedSemaphorePermit,
}

impl Connection {
    /// Connects and greets. The server does not answer a greeting, so a wrong peer shows at the
    /// first call.
    pub(crate) async fn open(
        server: &Address,
        service: Service,
        config: &Config,
    ) -> Result<Self, Error> {
        let lost = |why: std::io::Error| Error::lost(server, why);
        let connecting = TcpStream::connect((&*server.host, server.port));
        let stream = match timeout(config.connect_timeout, connecting).await {
            Ok(connected) => connected.map_err(lost)?,
            Err(_) => {
                let why = format!("not connected within {:?}", config.connect_timeout);
                return Err(Error::lost(server, why));
            }
        };
        stream.set_nodelay(true).map_err(lost)?;
        let permits = (config.in_flight_bytes / PERMIT_BYTES).max(1);
        let room_permits = u32::try_from(permits).unwrap_or(u32::MAX);
        let (calls, taken) = mpsc::channel(QUEUE_CALLS);
        let silence = Silence::default();
        let task = Task {
            server: server.clone(),
            stream,
            calls: taken,
            outgoing: VecDeque::from([frame::greeting(&config.user, service.name())]),
            incoming: BytesMut::new(),
            waiting: HashMap::new(),
            answer_limit_bytes: config.answer_limit_bytes,
            silence: silence.clone(),
        };
        tokio::spawn(task.run());
        Ok(Connection {
            server: server.clone(),
            calls,
            next_id: Arc::default(),
            room: Arc::new(Semaphore::new(usize::try_from(room_permits).unwrap_or(permits))),
            room_permits,
            silence,
        })
    }

    /// Whether calls can still be made.
    pub(crate) fn is_open(&self) -> bool {
        !self.calls.is_closed()
    }

    /// How long calls have waited, those included whose callers do not any more, without a byte from
    /// the server.
    pub(crate) fn silence(&self) -> Duration {
        let mut since = None;
        self.silence.change(|known| since = *known);
        since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Makes a call and waits for its answer, for room to send it included. Dropping the future
    /// does not take the call back.
    pub(crate) async fn call<M: Message>(
        &self,
        request: Request<'_, M>,
    ) -> Result<Body, CallError> {
        let after = request.timeout;
        match timeout(after, self.send(request)).await {
            Ok(done) => done,
            Err(_) => {
                Err(CallError::Broken(Error::TimedOut { server: self.server.clone(), after }))
            }
        }
    }

    async fn send<M: Message>(&self, request: Request<'_, M>) -> Result<Body, CallError> {
        let head = CallHead {
            id: self.next_id.fetch_add(1, Relaxed),
            method: request.method,
            timeout_millis: u32::try_from(request.timeout.as_millis()).unwrap_or(u32::MAX).max(1),
            priority: request.priority,
        };
        let Some(frame) = frame::call(&head, request.parameter, request.cells) else {
            let error = Error::invalid("a call longer than a frame can be; send less at once");
            return Err(CallError::Broken(error));
        };
        // A call larger than all the room goes alone.
        let permits = u32::try_from(frame.len() / PERMIT_BYTES + 1).unwrap_or(u32::MAX);
        let closed = || CallError::Broken(Error::lost(&self.server, "the connection is closed"));
        let room = self.room.clone().acquire_many_owned(permits.min(self.room_permits));
        let room = room.await.map_err(|_| closed())?;
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting { answer, _room: room };
        self.calls.send(Call { id: head.id, frame, waiting }).await.map_err(|_| closed())?;
        answered.await.map_err(|_| closed())?
    }
}

/// Owns the socket.
struct Task {
    server: Address,
    stream: TcpStream,
    calls: mpsc::Receiver<Call>,
    outgoing: VecDeque<Bytes>,
    incoming: BytesMut,
    waiting: HashMap<u32, Waiting>,
    answer_limit_bytes: usize,
    silence: Silence,
}

impl Task {
    async fn run(mut self) {
        let why = self.serve().await.err();
        // From here on callers find the connection closed, and those that wait learn why.
        self.calls.close();
        let why = why.unwrap_or_else(|| Error::lost(&self.server, "the connection was given up"));
        tracing::debug!(server = %self.server, %why, "connection closed");
        for (_, waiting) in self.waiting.drain() {
            waiting.answer.send(Err(CallError::Broken(why.clone()))).ok();
        }
        while let Ok(call) = self.calls.try_recv() {
            call.waiting.answer.send(Err(CallError::Broken(why.clone()))).ok();
        }
    }

    /// Until nobody needs the connection, or it fails.
    async fn serve(&mut self) -> Result<(), Error> {
        let (mut reader, mut writer) = self.stream.split();
        loop {
            self.incoming.reserve(READ_BYTES);
            tokio::select! {
                call = self.calls.recv() => match call {
                    Some(Call { id, frame, waiting }) => {
                        self.outgoing.push_back(frame);
                        self.waiting.insert(id, waiting);
                        self.silence.change(|since| _ = since.get_or_insert_with(Instant::now));
                    }
                    // Whoever waits for an answer holds a handle: nobody does.
                    None => return Ok(()),
                },
                wrote = write_front(&mut writer, &mut self.outgoing),
                    if !self.outgoing.is_empty() =>
                {
                    wrote.map_err(|e| Error::lost(&self.server, e))?;
                }
                read = reader.read_buf(&mut self.incoming) => {
                    match read.map_err(|e| Error::lost(&self.server, e))? {
                        0 => return Err(Error::lost(&self.server, "the server closed the connection")),
                        _ => {
                            let limit = self.answer_limit_bytes;
                            answer_all(&mut self.incoming, &mut self.waiting, limit)
                                .map_err(|why| why.error(&self.server))?;
                            let waits = !self.waiting.is_empty();
                            self.silence.change(|since| *since = waits.then(Instant::now));
                        }
                    }
                }
            }
        }
    }
}

/// Writes some of the first frame; what is written is gone from it, so that the future may be
/// dropped between.
async fn write_front(
    writer: &mut (impl AsyncWriteExt + Unpin),
    outgoing: &mut VecDeque<Bytes>,
) -> std::io::Result<()> {
    let Some(front) = outgoing.front_mut() else { return Ok(()) };
    if writer.write_buf(front).await? == 0 && !front.is_empty() {
        return Err(std::io::ErrorKind::WriteZero.into());
    }
    if front.is_empty() {
        outgoing.pop_front();
    }
    Ok(())
}

/// Why a connection cannot go on.
enum Unusable {
    Malformed(Malformed),
    /// An exception that answers no call: the server is done with the connection.
    Exception(ServerException),
}

impl Unusable {
    fn error(self, server: &Address) -> Error {
        match self {
            Unusable::Malformed(what) => Error::lost(server, format!("it sent {what}")),
            Unusable::Exception(exception) if exception.do_not_retry => {
                Error::Refused { server: server.clone(), exception }
            }
            Unusable::Exception(exception) => Error::lost(server, exception),
        }
    }
}

fn answer_all(
    incoming: &mut BytesMut,
    waiting: &mut HashMap<u32, Waiting>,
    limit: usize,
) -> Result<(), Unusable> {
    while let Some(frame) = frame::take(incoming, limit).map_err(Unusable::Malformed)? {
        let answer = frame::answer(frame).map_err(Unusable::Malformed)?;
        match (waiting.remove(&answer.call_id), answer.outcome) {
            // A caller that no longer waits has dropped its end.
            (Some(waiting), Ok(body)) => drop(waiting.answer.send(Ok(body))),
            (Some(waiting), Err(exception)) => {
                drop(waiting.answer.send(Err(CallError::Exception(exception))));
            }
            (None, Err(exception)) => return Err(Unusable::Exception(exception)),
            (None, Ok(_)) => {
                return Err(Unusable::Malformed(Malformed(
                    "an answer to a call that was not made",
                )));
            }
        }
    }
    Ok(())
}
