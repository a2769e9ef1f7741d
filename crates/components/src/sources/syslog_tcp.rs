//! Source `syslogtcp`: syslog over TCP, one event a message.
//!
//! Flume's class: `org.apache.flume.source.SyslogTcpSource`. Messages end at LF and begin with `<`,
//! a priority and `>`. RFC 5424 and RFC 3164 are told apart, and their time and host become the
//! headers `timestamp` and `host`, beside `Facility`, `Severity`, `priority` and `version`. What is
//! no syslog message becomes an event all the same, with `flume.syslog.status` = `Invalid`; one that
//! is longer than `eventSize` becomes several, the first `Incomplete`. Results are Flume's, down to
//! these: a CR before the LF makes a message match no format, a time with a fraction is read in the
//! zone of this host whatever zone it names, and `priority` and `version` of a message are said of
//! an invalid one behind it, too. `mode = rfc` reads what the RFCs say.
//!
//! What differs from Flume:
//!
//! - A channel that is full makes senders wait, as their connections are not read meanwhile. Flume
//!   drops what it cannot put.
//! - Messages that arrive together share a transaction, of up to 100 or what the channel takes.
//! - `framing` understands messages that begin with their length (RFC 6587), as they have to over
//!   TLS by RFC 5425.
//! - An `eventSize` below 10 is 10.
//! - Connections are limited by `maxConnections`; dead ones are found by TCP's keep-alive.
//!
//! Syslog has no acknowledgement: what is on its way when the agent dies is lost.

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;

use serde::Deserialize;
use splashdam_config::{Diagnostic, Section};
use splashdam_core::{
    Claim, Component, Context, Facts, OpenError, Outlet, Source, SourceError, Stop, Transport,
};
use tokio::net::TcpListener;
use tracing::info;

use super::listen;
use super::syslog::connection::{Listening, MOST_READ, Putting, Service, UNDER_WAY};
use super::syslog::{FormatKeys, Framing, Messages, Mode, Times};
use crate::accepting::serve_all;
use crate::tls::{Acceptor, ServerTls};

/// Messages in one transaction at the most, however many arrived together.
pub(super) const GROUP: usize = 100;

/// Headers of messages in mode `flume`.
pub(super) const HEADERS: &[&str] =
    &["Facility", "Severity", "priority", "version", "timestamp", "host", "flume.syslog.status"];

/// What a crash costs.
pub(super) const CRASH: &str = "messages that the channels have not committed are lost: syslog has \
                                no acknowledgement, and senders do not send again";

/// Keys of the syslogtcp source.
#[derive(Clone, Debug, Deserialize)]
pub struct Config {
    /// Host name or address to listen on; `0.0.0.0` is every IPv4 address of this machine, and what
    /// is meant when it is not set. Flume then does not listen at all, and says so in its log only.
    #[serde(default = "everywhere")]
    pub host: String,
    /// TCP port to listen on; 0 lets the system choose a free one.
    pub port: u16,
    /// Bytes of a message, priority included: one of so many or more is cut there. 2500 in mode
    /// `flume`, and the rest becomes a message of its own; 65536 in mode `rfc`, and the rest is
    /// dropped.
    #[serde(rename = "eventSize")]
    pub event_size: Option<NonZeroU32>,
    /// How messages follow each other: `newline`, each ends at LF; `octet-counted`, each begins with
    /// its length; `auto`, told by the first byte of each. `newline` in mode `flume`, `auto` in mode
    /// `rfc`. Not a key of Flume, which knows line ends only.
    pub framing: Option<Framing>,
    /// A format of one's own.
    #[serde(default)]
    pub format: FormatKeys,
    /// Connections at one time; further ones wait to be accepted. Not a key of Flume, which has no
    /// limit.
    #[serde(rename = "maxConnections", default = "max_connections")]
    pub max_connections: NonZeroUsize,
    /// What all sources of syslog have.
    #[serde(rename = ".messages", default)]
    pub messages: Messages,
    /// TLS.
    #[serde(rename = ".tls", default)]
    pub tls: ServerTls,
}

pub(super) fn everywhere() -> String {
    "0.0.0.0".to_owned()
}

pub(super) fn max_connections() -> NonZeroUsize {
    const { NonZeroUsize::new(10_000).unwrap() }
}

impl Config {
    fn limit(&self) -> Option<usize> {
        self.event_size.map(|bytes| bytes.get() as usize)
    }
}

/// The most memory that connections take.
pub(super) fn memory_bytes(limit: usize, connections: NonZeroUsize) -> u64 {
    let each = limit.saturating_add(MOST_READ).saturating_add(UNDER_WAY.bytes);
    u64::try_from(each.saturating_mul(connections.get())).unwrap_or(u64::MAX)
}

/// The source.
pub struct SyslogTcp {
    config: Config,
    cx: Context,
    listening: Listening,
    listener: TcpListener,
    acceptor: Option<Acceptor>,
}

impl SyslogTcp {
    /// Where it listens.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Component for SyslogTcp {
    const TYPE: &'static str = "syslogtcp";
    const ALIASES: &'static [&'static str] = &["org.apache.flume.source.SyslogTcpSource"];
    type Config = Config;

    async fn open(config: Config, cx: Context) -> Result<Self, OpenError> {
        let messages = &config.messages;
        let mut cutter = messages.cutter(config.framing, config.limit());
        if messages.mode == Mode::Flume {
            cutter = cutter.with_priority_first();
        }
        let listening = Listening {
            dialect: messages.dialect(&config.format)?,
            cutter,
            peer: None,
            headers: Vec::new(),
            last_counts: messages.mode == Mode::Rfc,
        };
        let acceptor = config.tls.acceptor(&cx).await?;
        let listener = listen(&config.host, config.port).await?;
        if let Ok(address) = listener.local_addr() {
            info!(component = %cx.title(), %address, "listening for syslog");
        }
        Ok(SyslogTcp { config, cx, listening, listener, acceptor })
    }

    fn facts(config: &Config) -> Facts {
        let limit = config.messages.limit(config.limit());
        Facts {
            place: Some(format!("listens on {}:{}", config.host, config.port)),
            claims: vec![Claim::port("port", Transport::Tcp, &config.host, config.port)],
            memory_bytes: Some(memory_bytes(limit, config.max_connections)),
            process_crash: Some(CRASH),
            machine_crash: Some(CRASH),
            sets_headers: config.messages.sets_headers(HEADERS),
            ..Facts::default()
        }
    }

    fn check(config: &Config, section: &Section) -> Vec<Diagnostic> {
        let mut findings = config.tls.findings(&config.host, section);
        findings.extend(config.format.findings(config.messages.mode, section));
        findings
    }
}

impl Source for SyslogTcp {
    async fn run(self, out: Outlet, stop: Stop) -> Result<(), SourceError> {
        let SyslogTcp { config, cx, listening, listener, acceptor } = self;
        let putting = Putting::new(GROUP, &cx, out, stop.clone());
        let senders = config.messages.senders();
        let service = Arc::new(Service::new(putting, acceptor, senders, Times::new(&cx)));
        let (metrics, most) = (service.putting.out.metrics(), config.max_connections.get());
        serve_all(&cx, metrics, &stop, listener, most, |stream, peer| {
            service.clone().welcome(stream, peer, listening.clone())
        })
        .await;
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests;
