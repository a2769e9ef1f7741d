//! Source `multiport_syslogtcp`: syslog over TCP on several ports, each with its charset.
//!
//! Flume's class: `org.apache.flume.source.MultiportSyslogTCPSource`. Headers are `Priority`,
//! `Facility`, `Severity`, `Version`, `timestamp` and `host`, written otherwise than those of
//! `syslogtcp`; what cannot be read becomes an event with nothing but `flume.syslog.status` =
//! `Invalid`, what is longer than `eventSize` several, the first `Incomplete`. Results are Flume's,
//! down to these: a time without a year is read in UTC, and in the year 2001 if it is more than a
//! month ago or 1999 if it is more than a month ahead. `mode = rfc` reads what the RFCs say.
//!
//! What differs from Flume:
//!
//! - A channel that is full makes senders wait, as their connections are not read meanwhile. Flume
//!   drops what it cannot put.
//! - Empty lines, and times such as `2022-99-99T00:00:00Z`, cost Flume all that came with them; here
//!   the former are passed over and the latter are invalid. A NUL stays in the message, which Flume
//!   cuts off there.
//! - A line of UTF-16 ends at a line end of UTF-16, not at any byte 10.
//! - A port that cannot be had is tried again while the others are served.
//! - Connections are limited by `maxConnections`; dead ones are found by TCP's keep-alive.
//!
//! Syslog has no acknowledgement: what is on its way when the agent dies is lost.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde::Deserialize;
use splashdam_config::{Diagnostic, Lenient, Section};
use splashdam_core::{
    Claim, Component, Context, Facts, OpenError, Outlet, Source, SourceError, Stop, Text,
    Transport, Trouble,
};
use tokio::net::TcpListener;
use tokio::time::sleep;
use tracing::{info, warn};

use super::listen;
use super::syslog::connection::{Listening, Putting, Service};
use super::syslog::{Framing, Messages, Mode, Times, line_end};
use super::syslog_tcp::{CRASH, everywhere, max_connections, memory_bytes};
use crate::accepting::serve_all;
use crate::charset::Charset;
use crate::tls::{Acceptor, ServerTls};

/// How long a port that cannot be had is left alone.
const AGAIN: Duration = Duration::from_secs(5);

/// Headers of messages in mode `flume`.
const HEADERS: &[&str] =
    &["Priority", "Facility", "Severity", "Version", "timestamp", "host", "flume.syslog.status"];

/// Keys of the multiport_syslogtcp source.
#[derive(Clone, Debug, Deserialize)]
pub struct Config {
    /// TCP ports to listen on, between blanks; 0 lets the system choose a free one.
    pub ports: Vec<u16>,
    /// Host name or address to listen on; `0.0.0.0` is every IPv4 address of this machine.
    #[serde(default = "everywhere")]
    pub host: String,
    /// Bytes of a message, priority and line end included: one of more is cut there. 2500 in mode
    /// `flume`, and the rest becomes a message of its own; 65536 in mode `rfc`, and the rest is
    /// dropped.
    #[serde(rename = "eventSize")]
    pub event_size: Option<NonZeroU32>,
    /// Messages in one transaction at the most.
    #[serde(rename = "batchSize", default = "batch_size")]
    pub batch_size: NonZeroUsize,
    /// Name of the header that gets the port that a message came in by. No header, when it is not
    /// set.
    #[serde(rename = "portHeader")]
    pub port_header: Option<String>,
    /// The charset of messages, by its Java name.
    #[serde(rename = "charset.default", default)]
    pub charset: Charset,
    /// Charsets of single ports: `charset.port.5140 = ISO-8859-1`.
    #[serde(rename = "charset.port", default)]
    pub port_charsets: BTreeMap<String, Charset>,
    /// Accepted as in Flume, and without a meaning: reads grow with what senders send.
    #[serde(rename = "readBufferBytes", default)]
    pub read_buffer_bytes: Lenient<i32>,
    /// Accepted as in Flume, and without a meaning: connections share the agent's threads.
    #[serde(rename = "numProcessors", default)]
    pub num_processors: Lenient<i32>,
    /// How messages follow each other: `newline`, each ends at LF; `octet-counted`, each begins with
    /// its length; `auto`, told by the first byte of each. `newline` in mode `flume`, `auto` in mode
    /// `rfc`. Not a key of Flume, which knows line ends only.
    pub framing: Option<Framing>,
    /// Connections of one port at one time; further ones wait to be accepted. Not a key of Flume,
    /// which has no limit.
    #[serde(rename = "maxConnections", default = "max_connections")]
    pub max_connections: NonZeroUsize,
    /// What all sources of syslog have.
    #[serde(rename = ".messages", default)]
    pub messages: Messages,
    /// TLS.
    #[serde(rename = ".tls", default)]
    pub tls: ServerTls,
}

fn batch_size() -> NonZeroUsize {
    const { NonZeroUsize::new(100).unwrap() }
}

impl Config {
    fn limit(&self) -> Option<usize> {
        self.event_size.map(|bytes| bytes.get() as usize)
    }

    fn charset_of(&self, port: u16) -> Charset {
        let own = self.port_charsets.iter().find(|(name, _)| name.parse() == Ok(port));
        own.map_or(self.charset, |(_, charset)| *charset)
    }

    /// How messages of a port are read. `found` is the port as the system has it.
    fn listening(&self, port: u16, found: u16) -> Listening {
        let (charset, _) = self.charset_of(port).resolve(&[]);
        let cutter = self.messages.cutter(self.framing, self.limit());
        let header = self.port_header.as_deref().map(Text::from);
        Listening {
            dialect: self.messages.multiport_dialect(charset),
            cutter: cutter.with_line_end(line_end(charset)),
            peer: None,
            headers: header.map(|name| (name, found.to_string().into())).into_iter().collect(),
            last_counts: self.messages.mode == Mode::Rfc,
        }
    }

    fn strange_ports(&self) -> impl Iterator<Item = &String> {
        self.port_charsets.keys().filter(|port| !self.ports.iter().any(|p| port.parse() == Ok(*p)))
    }
}

/// The source.
pub struct MultiportSyslogTcp {
    config: Config,
    cx: Context,
    /// Each port as configured, and its listener, if it could be had.
    listeners: Vec<(u16, Option<TcpListener>)>,
    acceptor: Option<Acceptor>,
}

impl MultiportSyslogTcp {
    /// Where it listens.
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        let open = self.listeners.iter().filter_map(|(_, listener)| listener.as_ref());
        open.filter_map(|listener| listener.local_addr().ok()).collect()
    }
}

impl Component for MultiportSyslogTcp {
    const TYPE: &'static str = "multiport_syslogtcp";
    const ALIASES: &'static [&'static str] = &["org.apache.flume.source.MultiportSyslogTCPSource"];
    type Config = Config;

    async fn open(config: Config, cx: Context) -> Result<Self, OpenError> {
        if config.ports.is_empty() {
            return Err(OpenError::config("`ports` names no port"));
        }
        let acceptor = config.tls.acceptor(&cx).await?;
        let (mut listeners, mut refused) = (Vec::new(), None);
        for port in &config.ports {
            let listener = match listen(&config.host, *port).await {
                Ok(listener) => Some(listener),
                Err(error) => {
                    warn!(component = %cx.title(), %error, "a port is not served; it is tried again");
                    refused = Some(error);
                    None
                }
            };
            if let Some(address) = listener.as_ref().and_then(|open| open.local_addr().ok()) {
                info!(component = %cx.title(), %address, "listening for syslog");
            }
            listeners.push((*port, listener));
        }
        match refused {
            Some(error) if listeners.iter().all(|(_, listener)| listener.is_none()) => Err(error),
            _ => Ok(MultiportSyslogTcp { config, cx, listeners, acceptor }),
        }
    }

    fn facts(config: &Config) -> Facts {
        let limit = config.messages.limit(config.limit());
        let ports: Vec<String> = config.ports.iter().map(u16::to_string).collect();
        let memory = memory_bytes(limit, config.max_connections);
        let mut sets_headers = config.messages.sets_headers(HEADERS);
        sets_headers.extend(config.port_header.clone());
        let claims = config.ports.iter();
        let claims =
            claims.map(|port| Claim::port("ports", Transport::Tcp, &config.host, *port)).collect();
        Facts {
            batch_events: Some(config.batch_size.get()),
            place: Some(format!("listens on {}, ports {}", config.host, ports.join(" "))),
            claims,
            memory_bytes: Some(memory.saturating_mul(config.ports.len() as u64)),
            process_crash: Some(CRASH),
            machine_crash: Some(CRASH),
            sets_headers,
            ..Facts::default()
        }
    }

    fn check(config: &Config, section: &Section) -> Vec<Diagnostic> {
        let mut findings = config.tls.findings(&config.host, section);
        if config.ports.is_empty() {
            let none = Diagnostic::error("invalid-value", "`ports` names no port");
            findings.push(none.at(section.value_span("ports")));
        }
        findings.extend(config.strange_ports().map(|port| {
            let what = format!("`charset.port.{port}` is for a port that `ports` does not name");
            let key = format!("charset.port.{port}");
            Diagnostic::warning("unused-key", what).at(section.value_span(&key))
        }));
        findings
    }
}

impl Source for MultiportSyslogTcp {
    async fn run(self, out: Outlet, stop: Stop) -> Result<(), SourceError> {
        let MultiportSyslogTcp { config, cx, listeners, acceptor } = self;
        let putting = Putting::new(config.batch_size.get(), &cx, out, stop.clone());
        let senders = config.messages.senders();
        let service = Arc::new(Service::new(putting, acceptor, senders, Times::new(&cx)));
        let ports = listeners
            .into_iter()
            .map(|(port, listener)| serve_port(&config, &cx, &service, port, listener));
        join_all(ports).await;
        Ok(())
    }
}

/// Serves one port, once it can be had.
async fn serve_port(
    config: &Config,
    cx: &Context,
    service: &Arc<Service>,
    port: u16,
    listener: Option<TcpListener>,
) {
    let stop = &service.putting.stop;
    let Some(listener) = had(config, cx, stop, port, listener).await else { return };
    let found = listener.local_addr().map_or(port, |address| address.port());
    let listening = config.listening(port, found);
    let (metrics, most) = (service.putting.out.metrics(), config.max_connections.get());
    serve_all(cx, metrics, stop, listener, most, |stream, peer| {
        service.clone().welcome(stream, peer, listening.clone())
    })
    .await;
}

/// The listener; `None` when a stop was asked for before there was one.
async fn had(
    config: &Config,
    cx: &Context,
    stop: &Stop,
    port: u16,
    listener: Option<TcpListener>,
) -> Option<TcpListener> {
    let mut trouble = Trouble::new();
    let mut listener = listener;
    loop {
        if let Some(listener) = listener {
            if trouble.ended(cx.world.instant()).is_some() {
                info!(component = %cx.title(), port, "listening for syslog");
            }
            return Some(listener);
        }
        stop.or(sleep(AGAIN)).await?;
        listener = match listen(&config.host, port).await {
            Ok(listener) => Some(listener),
            Err(error) => {
                if trouble.happened(cx.world.instant(), &error.to_string()).is_some() {
                    warn!(component = %cx.title(), %error, "a port is not served; it is tried again");
                }
                None
            }
        };
    }
}

#[cfg(test)]
mod tests;
