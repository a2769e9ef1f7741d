//! One connection of the Avro source: packs in, calls put, answers out.
//!
//! Calls that arrive while others are being stored are read and put behind them, as far as memory
//! allows, so that one sync serves many. Answers go out as the puts settle, in the order of the
//! calls; once one is refused, what was sent behind it is refused too. What was put when a connection
//! breaks off is seen to its end all the same, and counted.

use std::collections::{HashMap, HashSet};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::stream::{FuturesOrdered, StreamExt};
use splashdam_core::pipeline::{Put, Settled};
use splashdam_core::{
    Batch, BoxFuture, Context, Malformed, Outlet, Pipeline, Size, Stop, Trouble, World,
};
use splashdam_wire::avro::datum::{Most, Reader};
use splashdam_wire::avro::handshake::{self, Hash, Match, Peer};
use splashdam_wire::avro::pack::{Limits, Pack, Packs};
use splashdam_wire::avro::rpc::{Answer, Call, Incoming, put_answer};
use splashdam_wire::claim::Claim;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::task::coop::consume_budget;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, info, warn};

use super::Config;
use super::inflow::{Inflow, MOST_BEGUN_BYTES, Share};
use crate::sources::senders::{NotStored, Refused, Senders, Turns};

/// What a connection has under way while the channels make it durable.
const AHEAD: Size = Size { events: 65_536, bytes: 8 * 1024 * 1024 };
/// Batches with an origin that are under way, however small.
const MOST_CLAIMED: usize = 256;
/// The most that one call carries; bytes are limited by a key.
const MOST: Most = Most { events: 1 << 18, headers: 1 << 20 };
/// The most buffers of a pack; Java's are of 8 KiB.
const MOST_BUFFERS: usize = 1 << 17;
/// Protocols of clients that are remembered.
const MOST_PROTOCOLS: usize = 256;
/// A message that has begun must be here after this time …
const MESSAGE_TIME: Duration = Duration::from_secs(30);
/// … and the time that its bytes take at this rate.
const BYTES_PER_SECOND: u64 = 16 * 1024;
/// How long a client waits for others to complete what they have begun before its connection is closed. Flume's
/// clients and ours give up after 20 s unless they are told otherwise, and do not take that for a word about the batch.
const CROWDED_TIME: Duration = Duration::from_secs(30);
/// How long a client may leave its answers unread.
const ANSWER_TIME: Duration = Duration::from_secs(60);

/// What all connections share.
pub(super) struct Service {
    pub(super) out: Outlet,
    pub(super) senders: Senders,
    pub(super) name: Arc<str>,
    world: Arc<dyn World>,
    stop: Stop,
    limits: Limits,
    idle: Option<Duration>,
    protocols: Mutex<HashSet<Hash>>,
    pub(super) inflow: Inflow,
    trouble: Mutex<Trouble>,
    /// What is wrong with clients, each kind by itself, so that many at once are a few lines.
    foreign: Mutex<HashMap<String, Trouble>>,
}

/// A connection.
struct Connection<'a, S> {
    service: &'a Service,
    stream: S,
    packs: Packs,
    established: bool,
    /// What came without an origin.
    pipeline: Pipeline<Asked>,
    /// The pipeline is broken until it is empty.
    refused: bool,
    /// What came with one.
    claimed: FuturesOrdered<BoxFuture<'a, (Asked, Size, Result<(), NotStored>)>>,
    claimed_size: Size,
    /// Whether one of these was refused: its client begins anew, over another connection.
    claimed_refused: Refused,
    /// The order of their calls, in which their senders' tasks get them.
    claimed_turns: Turns,
    /// Of all that is under way.
    headers: usize,
    answers: Vec<u8>,
    /// Nothing more is read.
    over: bool,
    /// When the message that has begun must be here.
    began: Option<Instant>,
    /// Until when it waits for others.
    crowded: Option<Instant>,
    /// What of `Service::inflow` is this one's.
    share: Share<'a>,
}

/// A call that is to be answered.
struct Asked {
    serial: i32,
    /// What goes before the answer to a connection's first call.
    greeting: Option<handshake::Response>,
    /// Of its events.
    headers: usize,
}

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}; is the client an Avro client, with the same compression-type and ssl?")]
    Malformed(#[from] Malformed),
    #[error(
        "clients have begun messages of more than {MOST_BEGUN_BYTES} bytes in all and do not complete them; lower their batch sizes or maxConnections"
    )]
    TooMuch,
    #[error("{0}")]
    Refused(&'static str),
    /// It speaks another protocol.
    #[error("{0}")]
    Stranger(String),
}

impl Ended {
    /// What tells one trouble from another: no places, numbers or names in it, which clients choose.
    fn kind(&self) -> &'static str {
        match self {
            Ended::Io(_) => "not to be read",
            Ended::Malformed(malformed) => malformed.what,
            Ended::TooMuch => "too much",
            Ended::Refused(what) => what,
            Ended::Stranger(_) => "a stranger",
        }
    }
}

impl Service {
    pub(super) fn new(config: &Config, cx: &Context, out: Outlet, stop: Stop) -> Self {
        Service {
            senders: Senders::new(out.clone(), cx),
            out,
            name: cx.name.clone(),
            world: cx.world.clone(),
            stop,
            limits: Limits {
                message_bytes: config.max_message_bytes.get() as usize,
                buffers: MOST_BUFFERS,
            },
            idle: (config.idle_timeout > 0)
                .then(|| Duration::from_secs(config.idle_timeout.into())),
            protocols: Mutex::default(),
            inflow: Inflow::default(),
            trouble: Mutex::new(Trouble::new()),
            foreign: Mutex::default(),
        }
    }

    /// Serves a client until it closes, sends what is no call, or a stop is asked for.
    pub(super) async fn serve<S>(&self, stream: S, peer: SocketAddr)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let mut connection = Connection {
            service: self,
            stream,
            packs: Packs::new(self.limits),
            established: false,
            pipeline: Pipeline::new(self.out.clone(), AHEAD),
            refused: false,
            claimed: FuturesOrdered::new(),
            claimed_size: Size::ZERO,
            claimed_refused: Refused::default(),
            claimed_turns: Turns::default(),
            headers: 0,
            answers: Vec::new(),
            over: false,
            began: None,
            crowded: None,
            share: self.inflow.share(),
        };
        match connection.converse().await {
            Ok(()) => {}
            Err(Ended::Io(error)) if error.kind() != io::ErrorKind::InvalidData => {
                debug!(component = %self.name, %peer, %error, "a client is gone");
            }
            Err(error) => {
                self.out.metrics().read_failures.add(1);
                self.complain(peer, error.kind(), &error.to_string());
            }
        }
        if !connection.pipeline.is_empty() {
            // Boxed, as it is rare, and thousands of connections may be open.
            Box::pin(connection.end()).await;
        }
    }

    /// Says, once in a while, what is wrong with clients. There are few kinds, whatever clients do.
    pub(super) fn complain(&self, peer: SocketAddr, kind: &str, error: &str) {
        let mut foreign = self.foreign.lock().unwrap_or_else(PoisonError::into_inner);
        let trouble = foreign.entry(kind.to_owned()).or_default();
        if let Some(repeats) = trouble.happened(self.world.instant(), kind) {
            warn!(component = %self.name, %peer, error, repeats, "a connection was closed");
        }
    }

    fn peer(&self) -> Peer {
        Peer { in_order: true, stores_once: self.out.stores_once() }
    }

    fn greet(&self, hello: &handshake::Request) -> Result<handshake::Response, String> {
        let mut protocols = self.protocols.lock().unwrap_or_else(PoisonError::into_inner);
        let (response, new) =
            hello.answer(&handshake::FLUME, self.peer(), |hash| protocols.contains(hash))?;
        if let Some(hash) = new.filter(|_| protocols.len() < MOST_PROTOCOLS) {
            protocols.insert(hash);
        }
        Ok(response)
    }

    /// What is answered for a batch that has an origin.
    fn judge(&self, stored: &Result<(), NotStored>) -> Answer {
        match stored {
            Ok(()) => self.note(None),
            Err(NotStored::Refused { key, why }) => self.note(Some((key, why))),
            Err(NotStored::Behind) => {}
        }
        if stored.is_ok() { Answer::Ok } else { Answer::Failed }
    }

    /// What is answered for one that has none.
    fn judge_put(&self, went: &Put) -> Answer {
        match went {
            Put::Stored => self.note(None),
            Put::Refused(error) => self.note(Some((&error.key(), &error.to_string()))),
            Put::Behind(_) => {}
        }
        if matches!(went, Put::Stored) { Answer::Ok } else { Answer::Failed }
    }

    fn note(&self, refused: Option<(&str, &str)>) {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        match refused {
            None if !trouble.is_on() => {}
            None => {
                if let Some(lasted) = trouble.ended(self.world.instant()) {
                    info!(component = %self.name, ?lasted, "channels take batches again");
                }
            }
            Some((key, error)) => {
                if trouble.happened(self.world.instant(), key).is_some() {
                    warn!(component = %self.name, error, "channels refuse a batch; its client is told so and keeps it");
                }
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Connection<'_, S> {
    async fn converse(&mut self) -> Result<(), Ended> {
        loop {
            self.take_calls().await?;
            while let Some(settled) = self.pipeline.settled() {
                self.settled(settled);
            }
            // What is stored by now holds nobody up, this connection least of all: nothing else would wake it.
            self.count();
            self.answer().await?;
            let (waits, claims) = (!self.pipeline.is_empty(), !self.claimed.is_empty());
            if self.over && !waits && !claims {
                // The peer may be gone already.
                timeout(ANSWER_TIME, self.stream.shutdown()).await.ok();
                return Ok(());
            }
            let wants = !self.over && !self.is_full();
            let waits_for_room = wants && self.share.must_wait();
            let reads = wants && !waits_for_room;
            let deadline = match (reads, waits_for_room && self.share.waits_for_others()) {
                (true, _) => self.deadline(),
                (false, true) => Some(self.wait_for_others()),
                (false, false) => {
                    (self.began, self.crowded) = (None, None);
                    None
                }
            };
            let Connection { service, stream, packs, pipeline, claimed, share, .. } = self;
            tokio::select! {
                biased;
                Some(settled) = pipeline.settle(), if waits => self.settled(settled),
                Some((asked, size, stored)) = claimed.next(), if claims => {
                    self.claimed_size = self.claimed_size - size;
                    let answer = self.service.judge(&stored);
                    self.reply(&asked, &answer);
                }
                () = service.stop.wait(), if !self.over => self.over = true,
                read = read_some(stream, packs), if reads => self.over |= read? == 0,
                () = share.room(), if waits_for_room => {}
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                    return Err(Ended::Refused(match self.began {
                        _ if self.crowded.is_some() => return Err(Ended::TooMuch),
                        Some(_) => "a client sent part of a message and then too little or nothing",
                        None => "a client was silent for longer than idleTimeout",
                    }));
                }
            }
        }
    }

    /// Lets the client go, who may be gone already, and waits for what is on its way into the channels: they may
    /// have it, so it has to be counted, and to be in the optional ones too.
    async fn end(self) {
        let Connection { service, stream, packs, mut pipeline, claimed, mut share, .. } = self;
        let mut headers = self.headers;
        drop((stream, packs));
        // Their senders' tasks see to these.
        drop(claimed);
        loop {
            share.ahead(pipeline.size(), headers);
            share.begun(0);
            let Some(settled) = pipeline.settle().await else { break };
            headers -= settled.token.headers;
            service.judge_put(&settled.went);
        }
    }

    /// When others must have made room.
    fn wait_for_others(&mut self) -> Instant {
        // What is not read cannot come.
        self.began = None;
        *self.crowded.get_or_insert_with(|| Instant::now() + CROWDED_TIME)
    }

    /// When a client that is read must have sent something, or all of what it began.
    fn deadline(&mut self) -> Option<Instant> {
        self.crowded = None;
        let begun = self.packs.begun();
        if begun == 0 {
            self.began = None;
            // Who waits for an answer has nothing to say.
            let waits = !self.pipeline.is_empty() || !self.claimed.is_empty();
            return self.service.idle.filter(|_| !waits).map(|idle| Instant::now() + idle);
        }
        let began = *self.began.get_or_insert_with(Instant::now);
        Some(began + MESSAGE_TIME + Duration::from_secs(begun as u64 / BYTES_PER_SECOND))
    }

    fn is_full(&self) -> bool {
        let next = Size { events: 1, bytes: 1 };
        self.pipeline.is_full(next)
            || self.claimed.len() >= MOST_CLAIMED
            || (!self.claimed.is_empty() && !(self.claimed_size + next).fits(AHEAD))
    }

    /// Puts what has arrived.
    async fn take_calls(&mut self) -> Result<(), Ended> {
        while !self.over && !self.is_full() {
            // A busy client must not keep a worker to itself.
            consume_budget().await;
            let Some(pack) = self.packs.next_pack()? else { break };
            self.began = None;
            self.call(pack)?;
        }
        Ok(())
    }

    /// Counts what it holds against what all may hold.
    fn count(&mut self) {
        self.share.ahead(self.pipeline.size() + self.claimed_size, self.headers);
        self.share.begun(self.packs.begun());
    }

    fn call(&mut self, Pack { serial, message }: Pack) -> Result<(), Ended> {
        let mut input = Reader::new(&message);
        let mut greeting = None;
        if !self.established {
            let hello = handshake::Request::read(&mut input)?;
            let response = self.service.greet(&hello).map_err(Ended::Stranger)?;
            if response.matched == Match::None {
                put_answer(serial, Some(&response), None, &mut self.answers);
                return Ok(());
            }
            self.established = true;
            greeting = Some(response);
        }
        let incoming = match Incoming::read(&mut input, MOST) {
            Ok(incoming) => incoming,
            Err(error) => {
                self.service.out.metrics().read_failures.add(1);
                let answer = Answer::Error(format!("java.io.IOException: {error}"));
                put_answer(serial, greeting.as_ref(), Some(&answer), &mut self.answers);
                return Ok(());
            }
        };
        let headers = match &incoming.call {
            Call::AppendBatch(events) => events.iter().map(|event| event.headers.len()).sum(),
            Call::Append(event) => event.headers.len(),
            Call::Ping | Call::Unknown(_) => 0,
        };
        self.headers += headers;
        let asked = Asked { serial, greeting, headers };
        match incoming.call {
            Call::AppendBatch(events) => self.batch(Batch::from(events), incoming.claim, asked),
            Call::Append(event) => self.pipeline.append(event, asked),
            Call::Ping => put_answer(serial, asked.greeting.as_ref(), None, &mut self.answers),
            Call::Unknown(name) => {
                // As Java says it.
                let text =
                    format!("org.apache.avro.AvroRuntimeException: No such remote message: {name}");
                self.reply(&asked, &Answer::Error(text));
            }
        }
        Ok(())
    }

    fn batch(&mut self, batch: Batch, claim: Option<Claim>, asked: Asked) {
        let service = self.service;
        // What is put without its claim must not be overtaken by what comes behind it.
        let claim = claim.filter(|_| self.pipeline.is_empty() && service.out.stores_once());
        let inbox = claim.as_ref().and_then(|claim| service.senders.inbox(claim.sender));
        match inbox.zip(claim) {
            None => self.pipeline.put(batch, asked),
            Some((inbox, claim)) => {
                let size = batch.size();
                self.claimed_size += size;
                let refused = self.claimed_refused.clone();
                let turn = self.claimed_turns.next();
                self.claimed.push_back(Box::pin(async move {
                    (asked, size, inbox.put_in_turn(batch, claim, refused, turn).await)
                }));
            }
        }
    }

    fn settled(&mut self, settled: Settled<Asked>) {
        let answer = self.service.judge_put(&settled.went);
        self.refused |= answer == Answer::Failed;
        self.reply(&settled.token, &answer);
        if self.refused && self.pipeline.is_empty() {
            self.refused = false;
            self.pipeline.resume();
        }
    }

    fn reply(&mut self, asked: &Asked, answer: &Answer) {
        self.headers -= asked.headers;
        put_answer(asked.serial, asked.greeting.as_ref(), Some(answer), &mut self.answers);
    }

    /// Sends the answers there are.
    async fn answer(&mut self) -> Result<(), Ended> {
        if self.answers.is_empty() {
            return Ok(());
        }
        let Connection { stream, answers, .. } = self;
        let send = async {
            stream.write_all(answers).await?;
            stream.flush().await
        };
        match timeout(ANSWER_TIME, send).await {
            Ok(sent) => sent?,
            Err(_) => return Err(Ended::Refused("a client does not read its answers")),
        }
        self.answers.clear();
        Ok(())
    }
}

/// Reads what there is. While nothing comes no buffer is held, as most clients are idle most of the
/// time. Cancel-safe.
async fn read_some(stream: &mut (impl AsyncRead + Unpin), packs: &mut Packs) -> io::Result<usize> {
    poll_fn(|cx| {
        let read = std::pin::pin!(stream.read_buf(packs.room())).poll(cx);
        if read.is_pending() {
            packs.rest();
        }
        read
    })
    .await
}
