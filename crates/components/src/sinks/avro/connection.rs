//! The Avro sink's connection: calls out, answers in, every wait bounded.

use std::io;
use std::time::Duration;

use splashdam_core::{Event, Malformed};
use splashdam_wire::avro::claim::Claim;
use splashdam_wire::avro::handshake::{Hash, Match, Peer};
use splashdam_wire::avro::pack::{Limits, Packs};
use splashdam_wire::avro::rpc::{Answer, Outgoing, TooLong, read_answer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::tls::{Connector, HandshakeError};
use crate::zlib_stream::ZlibStream;

/// What an answer may be: a status, a protocol's text or the text of an error.
const LIMITS: Limits = Limits { message_bytes: 1024 * 1024, buffers: 1024 };
/// What is kept of a buffer between calls.
const KEPT_BYTES: usize = 2 * 1024 * 1024;
/// How long closing may take; the peer may be gone.
const CLOSE_TIME: Duration = Duration::from_secs(1);

/// What a connection is made with.
pub(super) struct Settings {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) connect_timeout: Duration,
    pub(super) request_timeout: Duration,
    /// The level, if what is sent is compressed.
    pub(super) deflate: Option<u32>,
    /// How connections are encrypted, if they are.
    pub(super) connector: Option<Connector>,
    /// Whether TLS carries what is compressed, as it did up to Flume 1.9; else it is the other way round.
    pub(super) deflate_inside_tls: bool,
    /// What stands in for the system's network.
    #[cfg(feature = "simulation")]
    pub(super) network: Option<std::sync::Arc<dyn splashdam_client::Connect>>,
}

/// What a connection runs over.
trait Carrier: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Carrier for S {}

/// A connection to a peer.
pub(super) struct Connection {
    stream: Box<dyn Carrier>,
    packs: Packs,
    outgoing: Outgoing,
    next_serial: i32,
    established: bool,
    peer: Peer,
    connect_timeout: Duration,
    request_timeout: Duration,
}

/// Why a batch was not delivered. It may be there all the same unless the peer said otherwise.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the peer closed the connection")]
    Closed,
    #[error("the call could not be handed over within {0:?} (connect-timeout)")]
    NotTaken(Duration),
    #[error("no answer within {0:?} (request-timeout)")]
    NoAnswer(Duration),
    #[error("the peer could not store the batch; its channel may be full")]
    Failed,
    #[error("the peer refused the call: {0}")]
    Refused(String),
    #[error("{0}; is the peer an Avro source, with the same compression-type and ssl?")]
    Malformed(#[from] Malformed),
    #[error("the peer answered a call that was not made")]
    Strange,
    #[error("the peer does not know flume's protocol")]
    Stranger,
    #[error("{0}")]
    TooLong(#[from] TooLong),
}

/// The peer could not be reached.
#[derive(Debug, thiserror::Error)]
#[error("cannot connect to {host}:{port}: {why}")]
pub(super) struct ConnectError {
    host: String,
    port: u16,
    why: String,
}

impl Settings {
    async fn carrier(&self) -> Result<Box<dyn Carrier>, String> {
        let text = |error: io::Error| error.to_string();
        #[cfg(feature = "simulation")]
        if let Some(network) = &self.network {
            let address = splashdam_client::Address { host: self.host.clone(), port: self.port };
            let stream = network.connect(&address).await.map_err(text)?;
            return Ok(Box::new(stream));
        }
        let plain = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(text)?;
        plain.set_nodelay(true).map_err(text)?;
        let refused = |error: HandshakeError| error.to_string();
        Ok(match (&self.connector, self.deflate) {
            (None, None) => Box::new(plain),
            (None, Some(level)) => Box::new(ZlibStream::new(plain, level)),
            (Some(tls), None) => Box::new(tls.connect(plain, &self.host).await.map_err(refused)?),
            (Some(tls), Some(level)) if self.deflate_inside_tls => {
                let inner = tls.connect(plain, &self.host).await.map_err(refused)?;
                Box::new(ZlibStream::new(inner, level))
            }
            (Some(tls), Some(level)) => {
                let outer = ZlibStream::new(plain, level);
                Box::new(tls.connect(outer, &self.host).await.map_err(refused)?)
            }
        })
    }
}

impl Connection {
    pub(super) async fn open(settings: &Settings) -> Result<Connection, ConnectError> {
        let Settings { host, port, connect_timeout, request_timeout, .. } = settings;
        let failed = |why: String| ConnectError { host: host.clone(), port: *port, why };
        let stream = match timeout(*connect_timeout, settings.carrier()).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(why)) => return Err(failed(why)),
            Err(_) => return Err(failed(format!("no answer within {connect_timeout:?}"))),
        };
        Ok(Connection {
            stream,
            packs: Packs::new(LIMITS),
            outgoing: Outgoing::default(),
            next_serial: 1,
            established: false,
            peer: Peer::default(),
            connect_timeout: *connect_timeout,
            request_timeout: *request_timeout,
        })
    }

    /// What the peer said it does.
    pub(super) fn peer(&self) -> Peer {
        self.peer
    }

    /// Whether another call can be numbered.
    pub(super) fn is_usable(&self) -> bool {
        self.next_serial < i32::MAX / 2
    }

    /// Sends events in calls of `batch_events`, one behind the other where the peer keeps their
    /// order, else one at a time; `Ok` when the peer has all of them. After an error, or when it is
    /// given up, the connection is of no use.
    pub(super) async fn send(
        &mut self,
        events: &[Event],
        batch_events: usize,
        claims: Option<&[Claim]>,
        peer_hash: &mut Hash,
    ) -> Result<(), SendError> {
        let mut calls = events.chunks(batch_events).enumerate();
        let mut under_way = 0;
        while !self.established {
            let Some((index, call)) = calls.next() else { return Ok(()) };
            let claim = claims.and_then(|claims| claims.get(index));
            self.greet(call, claim, peer_hash).await?;
        }
        for (index, call) in calls {
            if under_way > 0 && !self.peer.in_order {
                self.answered(under_way).await?;
                under_way = 0;
            }
            self.hand_over(None, claims.and_then(|claims| claims.get(index)), call).await?;
            under_way += 1;
        }
        self.outgoing.clear(KEPT_BYTES);
        self.answered(under_way).await
    }

    /// Sends a call without events over a connection that sent none yet; `Ok` when the peer answers
    /// it as it should.
    pub(super) async fn ask(&mut self, peer_hash: &mut Hash) -> Result<(), SendError> {
        self.greet(&[], None, peer_hash).await
    }

    /// The first call, with the handshake; again where the peer's hash was another one.
    async fn greet(
        &mut self,
        call: &[Event],
        claim: Option<&Claim>,
        peer_hash: &mut Hash,
    ) -> Result<(), SendError> {
        for _ in 0..2 {
            let serial = self.hand_over(Some(*peer_hash), claim, call).await?;
            let pack = self.next_answer().await?;
            if pack.0 != serial {
                return Err(SendError::Strange);
            }
            let (greeting, answer) = read_answer(&pack.1, true)?;
            let greeting = greeting.ok_or(SendError::Stranger)?;
            if let Some(hash) = greeting.server_hash {
                *peer_hash = hash;
            }
            if greeting.matched == Match::None {
                continue;
            }
            self.established = true;
            self.peer = greeting.peer.unwrap_or_default();
            return judge(answer);
        }
        Err(SendError::Stranger)
    }

    async fn hand_over(
        &mut self,
        handshake: Option<Hash>,
        claim: Option<&Claim>,
        call: &[Event],
    ) -> Result<i32, SendError> {
        let serial = self.next_serial;
        self.next_serial += 1;
        self.outgoing.append_batch(serial, handshake, claim, call)?;
        let Connection { stream, outgoing, connect_timeout, .. } = self;
        let write = async {
            stream.write_all_buf(outgoing).await?;
            stream.flush().await
        };
        match timeout(*connect_timeout, write).await {
            Ok(written) => written?,
            Err(_) => return Err(SendError::NotTaken(*connect_timeout)),
        }
        Ok(serial)
    }

    /// Waits for the answers to the last `count` calls, in whatever order they come.
    async fn answered(&mut self, count: i32) -> Result<(), SendError> {
        let first = self.next_serial - count;
        let mut open: Vec<i32> = (first..self.next_serial).collect();
        while !open.is_empty() {
            let (serial, message) = self.next_answer().await?;
            let place = open.iter().position(|asked| *asked == serial);
            open.remove(place.ok_or(SendError::Strange)?);
            judge(read_answer(&message, false)?.1)?;
        }
        Ok(())
    }

    async fn next_answer(&mut self) -> Result<(i32, bytes::Bytes), SendError> {
        let Connection { stream, packs, request_timeout, .. } = self;
        let read = async {
            loop {
                if let Some(pack) = packs.next_pack()? {
                    return Ok((pack.serial, pack.message));
                }
                if stream.read_buf(packs.room()).await? == 0 {
                    return Err(SendError::Closed);
                }
            }
        };
        match timeout(*request_timeout, read).await {
            Ok(answer) => answer,
            Err(_) => Err(SendError::NoAnswer(*request_timeout)),
        }
    }

    /// Ends it properly, if that goes quickly.
    pub(super) async fn close(mut self) {
        // Whatever is wrong with it does not matter any more.
        timeout(CLOSE_TIME, self.stream.shutdown()).await.ok();
    }
}

fn judge(answer: Option<Answer>) -> Result<(), SendError> {
    match answer {
        Some(Answer::Ok) => Ok(()),
        Some(Answer::Failed | Answer::Unknown) => Err(SendError::Failed),
        Some(Answer::Error(text)) => Err(SendError::Refused(text)),
        None => Err(SendError::Stranger),
    }
}
