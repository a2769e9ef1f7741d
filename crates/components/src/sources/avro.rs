//! Source `avro`: batches from Flume's Avro sinks and clients, and from our own.
//!
//! Flume's class: `org.apache.flume.source.AvroSource`. A call is answered `OK` once every required
//! channel has committed its events, `FAILED` when one refuses. Calls of a connection that follow
//! each other without waiting for answers take effect in their order and are stored together where
//! they can be; Flume hands them to a pool of threads. Behind a refused one they are refused as well.
//!
//! Batches of our own Avro sink that drains a file or memory channel say where they come from. Where
//! all batches go to one memory channel, or to file channels that share a log, such a batch is stored
//! once, however often it is sent (`senders.rs`); elsewhere at least once, which the sink is told.
//! What they say is believed: whoever may connect can call events of another agent's channel settled, so
//! that they are dropped when they come. Where not everybody is trusted, let `ipFilter`, TLS with
//! `client-authentication = needed` or the network decide who may connect.
//!
//! Flume bounds neither messages nor connections. Here a message, the number of connections, what
//! is read ahead, the time that a message may take, and what all connections hold together of
//! messages that are not stored yet (`avro/inflow.rs`) have limits.

mod connection;
mod inflow;
#[cfg(feature = "simulation")]
mod simulated;

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use splashdam_config::{Diagnostic, Lenient, Section};
use splashdam_core::{
    Claim, Component, Context, Facts, OpenError, Outlet, Source, SourceError, Stop, Transport,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tracing::{debug, info};

use super::listen;
use crate::accepting::{Counted, serve_all};
use crate::ip_filter::{Admission, IpFilter, IpFilterKeys};
use crate::tls::{Acceptor, HandshakeError, ServerTls};
use crate::zlib_stream::{ZlibStream, unspoken};
use connection::Service;
#[cfg(feature = "simulation")]
pub use simulated::Receiver;

/// How long a client that encrypts may take to say something.
const FIRST_BYTE: Duration = Duration::from_secs(10);
/// What a zlib stream begins with.
const ZLIB: u8 = 0x78;
/// The level at which Flume's source compresses its answers.
const LEVEL: u32 = 6;

/// Keys of the Avro source.
#[derive(Clone, Debug, Deserialize)]
pub struct Config {
    /// Host name or address to listen on; `0.0.0.0` is every IPv4 address of this machine.
    pub bind: String,
    /// TCP port to listen on; 0 lets the system choose a free one.
    pub port: u16,
    /// Read and not used, as in Flume 1.11: all connections share the agent's threads.
    #[serde(default)]
    pub threads: Lenient<u32>,
    /// `deflate` if the clients compress what they send, and expect it of the answers; anything else
    /// means that they do not. Both ends must agree.
    #[serde(rename = "compression-type", default)]
    pub compression_type: String,
    /// Who may connect.
    #[serde(rename = ".ipFilter", default)]
    pub ip_filter: IpFilterKeys,
    /// Encryption.
    #[serde(rename = ".tls", default)]
    pub tls: ServerTls,
    /// Connections at one time; further ones wait to be accepted. Not a key of Flume, which has no
    /// limit.
    #[serde(rename = "maxConnections", default = "max_connections")]
    pub max_connections: NonZeroUsize,
    /// Bytes of one message, that is of a batch, at the most, up to 1 GiB; who sends a longer one is
    /// disconnected. Our own sinks send up to 8 MiB of bodies and headers in one, unless one event
    /// alone has more. Not a key of Flume.
    #[serde(rename = "maxMessageBytes", default = "max_message_bytes")]
    pub max_message_bytes: NonZeroU32,
    /// Seconds after which a client that sends nothing is disconnected; 0 means never, as in Flume.
    /// Who waits for an answer is not. One that has begun a message and does not end it is disconnected in any case. Not a key of
    /// Flume.
    #[serde(rename = "idleTimeout", default)]
    pub idle_timeout: u32,
}

fn max_connections() -> NonZeroUsize {
    const { NonZeroUsize::new(10_000).unwrap() }
}

fn max_message_bytes() -> NonZeroU32 {
    const { NonZeroU32::new(64 * 1024 * 1024).unwrap() }
}

impl Config {
    fn deflates(&self) -> bool {
        self.compression_type.eq_ignore_ascii_case("deflate")
    }
}

/// The source.
pub struct Avro {
    config: Config,
    cx: Context,
    filter: Option<IpFilter>,
    acceptor: Option<Arc<Acceptor>>,
    listener: TcpListener,
}

impl Avro {
    /// Where it listens.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Component for Avro {
    const TYPE: &'static str = "avro";
    const ALIASES: &'static [&'static str] = &["org.apache.flume.source.AvroSource"];
    type Config = Config;

    async fn open(config: Config, cx: Context) -> Result<Self, OpenError> {
        let filter = config.ip_filter.filter(&cx)?;
        let acceptor = config.tls.acceptor(&cx).await?.map(Arc::new);
        let listener = listen(&config.bind, config.port).await?;
        if let Ok(address) = listener.local_addr() {
            info!(component = %cx.title(), %address, "listening for Avro clients");
        }
        Ok(Avro { config, cx, filter, acceptor, listener })
    }

    fn facts(config: &Config) -> Facts {
        let crash = "batches not answered yet are sent again by their clients, and may then be there twice; those of our own Avro sink are stored once where every event goes to all of several file channels that share a log, or to a single channel";
        Facts {
            place: Some(format!("listens on {}:{}", config.bind, config.port)),
            claims: vec![Claim::port("port", Transport::Tcp, &config.bind, config.port)],
            acknowledged: Some(
                "after the channels have committed the batch, by the answer OK to the client",
            ),
            process_crash: Some(crash),
            machine_crash: Some(crash),
            sets_headers: vec!["*".into()],
            ..Facts::default()
        }
    }

    fn check(config: &Config, section: &Section) -> Vec<Diagnostic> {
        let mut findings = config.tls.findings(&config.bind, section);
        findings.extend(config.ip_filter.findings(section));
        findings.extend(unspoken(&config.compression_type, section));
        findings
    }
}

impl Source for Avro {
    async fn run(self, out: Outlet, stop: Stop) -> Result<(), SourceError> {
        let Avro { config, cx, filter, acceptor, listener } = self;
        let most = config.max_connections.get();
        let service = Arc::new(Service::new(&config, &cx, out, stop.clone()));
        let guest = || Guest {
            service: service.clone(),
            filter: filter.clone(),
            acceptor: acceptor.clone(),
            stop: stop.clone(),
            deflates: config.deflates(),
        };
        serve_all(&cx, service.out.metrics(), &stop, listener, most, |stream, peer| {
            guest().welcome(stream, peer)
        })
        .await;
        service.senders.end().await;
        Ok(())
    }
}

/// A connection that was accepted, and what it goes through before its first call.
struct Guest {
    service: Arc<Service>,
    filter: Option<IpFilter>,
    acceptor: Option<Arc<Acceptor>>,
    stop: Stop,
    deflates: bool,
}

impl Guest {
    async fn welcome(self, stream: TcpStream, peer: SocketAddr) {
        if let Some(filter) = &self.filter {
            match self.stop.or(filter.admits(peer)).await {
                Some(Admission::Allowed) => {}
                None => return,
                Some(Admission::Denied { rule }) => {
                    let ip = peer.ip();
                    let error = format!("the rule {rule} keeps {ip} out");
                    return self.service.complain(peer, &rule, &error);
                }
                Some(Admission::NameUnknown) => {
                    let ip = peer.ip();
                    let error =
                        format!("DNS did not tell the name of {ip} that ipFilterRules ask for");
                    return self.service.complain(peer, "a name", &error);
                }
            }
        }
        let _open = Counted::new(self.service.out.metrics());
        // Answers are small and waited for. Neither is worth refusing a connection for.
        let set = stream.set_nodelay(true).and_then(|()| splashdam_client::keep_alive(&stream));
        if let Err(error) = set {
            debug!(component = %self.service.name, %peer, %error, "a connection goes on without its options");
        }
        if let Err(error) = self.serve(stream, peer).await {
            self.service.out.metrics().read_failures.add(1);
            self.service.complain(peer, "a handshake", &error.to_string());
        }
    }

    async fn serve(&self, stream: TcpStream, peer: SocketAddr) -> Result<(), HandshakeError> {
        let zlib = |stream| ZlibStream::new(stream, LEVEL);
        match (&self.acceptor, self.deflates) {
            (None, false) => self.service.serve(stream, peer).await,
            (None, true) => self.service.serve(zlib(stream), peer).await,
            (Some(acceptor), false) => self.serve_tls(acceptor, stream, peer).await?,
            // Flume 1.10 and 1.11 compress what is encrypted, earlier ones encrypt what is
            // compressed; the first byte tells.
            (Some(acceptor), true) => match self.first_byte(&stream).await {
                None => {}
                Some(ZLIB) => self.serve_tls(acceptor, zlib(stream), peer).await?,
                Some(_) => {
                    if let Some(shaken) = self.stop.or(acceptor.accept(stream)).await {
                        self.service.serve(ZlibStream::new(shaken?, LEVEL), peer).await;
                    }
                }
            },
        }
        Ok(())
    }

    async fn serve_tls<IO>(
        &self,
        acceptor: &Acceptor,
        io: IO,
        peer: SocketAddr,
    ) -> Result<(), HandshakeError>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send,
    {
        if let Some(shaken) = self.stop.or(acceptor.accept(io)).await {
            self.service.serve(shaken?, peer).await;
        }
        Ok(())
    }

    /// What the client says first, without taking it; `None` if that is nothing.
    async fn first_byte(&self, stream: &TcpStream) -> Option<u8> {
        let mut byte = [0; 1];
        let peeked = self.stop.or(timeout(FIRST_BYTE, stream.peek(&mut byte))).await?;
        peeked.ok()?.ok().filter(|count| *count > 0).map(|_| byte[0])
    }
}

#[cfg(test)]
mod tests;
