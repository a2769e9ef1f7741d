//! Source `http`: each request is a batch of events, answered 200 once the channels have it.
//!
//! Flume's class: `org.apache.flume.source.http.HTTPSource`. Any path will do; GET and HEAD are
//! treated as POST, TRACE and OPTIONS are answered 403. `handler` says how a request becomes events,
//! by the class of Flume's or by a name of ours:
//!
//! | handler | a request is |
//! |---|---|
//! | `org.apache.flume.source.http.JSONHandler`, `json` | an array of `{"headers": {…}, "body": "…"}`, in UTF-8, UTF-16 or UTF-32 |
//! | `org.apache.flume.source.http.BLOBHandler` | one event; parameters of the query become headers, and those in `handler.mandatoryParameters` (between commas) must be there |
//! | `org.apache.flume.sink.solr.morphline.BlobHandler`, `blob` | one event, cut off after `handler.maxBlobLength` bytes (100000000); parameters and `Content-Type` become headers |
//! | `lines` | a line is an event, parameters of the query become headers of each; `application/x-ndjson` must be JSON line by line |
//! | `auto` | lines when it says `text/plain` or `application/x-ndjson`, else JSON |
//!
//! The last two are not of Flume: with them `curl --data-binary @file`, Fluent Bit (`format
//! json_lines`) and Vector (`newline_delimited`) send here without a step in between. An event's body
//! is the line as it came, without its line end; empty lines of `application/x-ndjson` are none.
//!
//! | answer | when |
//! |---|---|
//! | 200 | the channels have all events of the request |
//! | 400 | it is not what the handler reads |
//! | 403, 405, 501 | the method is TRACE or OPTIONS, PUT or DELETE, or any other than GET, HEAD and POST |
//! | 408, 413, 415 | it took too long, is too large, or is encoded in a way that is not read here |
//! | 500 | it is empty, its charset is none of the handler's, or a mandatory parameter is missing |
//! | 503 | a channel refuses, which mostly is a full one, or there is no room for a large request: send it again |
//!
//! What differs from Flume:
//!
//! - A request has limits: `maxRequestBytes`, 30 seconds and one more for each 128 KiB to arrive,
//!   and those that are larger than 64 KiB take no more than 256 MiB together: who finds no room for
//!   5 seconds is answered 503. Lines, each with the headers that parameters make, may be 2,000,000.
//! - Bodies with `Content-Encoding: gzip`, `deflate` or `zstd` are unpacked for JSON and lines, within
//!   the same limit; blobs stay as they came.
//! - JSON without a charset is UTF-8 whatever the content type; Flume reads ISO-8859-1 unless that is
//!   `application/json` or `text/json`, which garbles what curl sends by default.
//! - A header whose value is null is left out. In Flume a file channel refuses such events for ever.
//! - `mandatoryParameters` that is not set demands nothing; Flume demands a parameter without a name.
//! - Answers are plain text, not HTML, and do not repeat what was sent.
//! - Of Jetty's settings `HttpConfiguration.requestHeaderSize`, `QueuedThreadPool.maxThreads` and
//!   `ServerConnector.idleTimeout` have an effect, the second one as a limit of requests at work.

pub(super) mod body;
pub(super) mod connection;
pub(super) mod handler;
mod parameters;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use splashdam_config::{Diagnostic, Section, Words};
use splashdam_core::{
    Claim, Component, Context, Facts, OpenError, Outlet, Source, SourceError, Stop, Transport,
};
use tokio::net::TcpListener;
use tracing::info;

use super::listen;
use crate::accepting::serve_all;
use crate::tls::{Acceptor, Password, ServerTls};
use connection::Service;
use handler::Handler;

/// Keys of the HTTP source.
#[derive(Clone, Debug, Deserialize)]
pub struct Config {
    /// Host name or address to listen on; `0.0.0.0` is every IPv4 address of this machine.
    #[serde(default = "bind")]
    pub bind: String,
    /// TCP port to listen on; 0 lets the system choose a free one.
    pub port: u16,
    /// How a request becomes events, with keys below: see above.
    #[serde(default)]
    pub handler: Section,
    /// Bytes of a request's body at the most, packed and unpacked, up to 1 GiB; what is larger is
    /// answered 413. Not a key of Flume, which has no limit.
    #[serde(rename = "maxRequestBytes", default = "max_request_bytes")]
    pub max_request_bytes: NonZeroU32,
    /// Connections at one time; further ones wait to be accepted. Not a key of Flume, which has no
    /// limit.
    #[serde(rename = "maxConnections", default = "max_connections")]
    pub max_connections: NonZeroUsize,
    /// Encryption.
    #[serde(rename = ".tls", default)]
    pub tls: ServerTls,
    /// Old name of `ssl`.
    #[serde(rename = "enableSSL", default)]
    pub enable_ssl: bool,
    /// Old name of `keystore-password`.
    #[serde(rename = "keystorePassword")]
    pub old_keystore_password: Option<Password>,
    /// Old name of `exclude-protocols`.
    #[serde(rename = "excludeProtocols", default)]
    pub old_exclude_protocols: Words,
    /// Settings of Jetty's pool of threads, of which `maxThreads` limits the requests that are at
    /// work at one time.
    #[serde(rename = "QueuedThreadPool", default)]
    pub queued_thread_pool: BTreeMap<String, String>,
    /// Settings of Jetty's HTTP, of which `requestHeaderSize` limits the bytes of a request's head.
    #[serde(rename = "HttpConfiguration", default)]
    pub http_configuration: BTreeMap<String, String>,
    /// Settings of Jetty's TLS, none of which has an effect here.
    #[serde(rename = "SslContextFactory", default)]
    pub ssl_context_factory: BTreeMap<String, String>,
    /// Settings of Jetty's connections, of which `idleTimeout` is the milliseconds after which a
    /// client that sends no further request is disconnected.
    #[serde(rename = "ServerConnector", default)]
    pub server_connector: BTreeMap<String, String>,
}

fn bind() -> String {
    "0.0.0.0".to_owned()
}

fn max_request_bytes() -> NonZeroU32 {
    const { NonZeroU32::new(128 * 1024 * 1024).unwrap() }
}

fn max_connections() -> NonZeroUsize {
    const { NonZeroUsize::new(10_000).unwrap() }
}

/// What a client may ask for; mostly made of the settings that Jetty has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// Bytes of a request's head.
    pub(super) head_bytes: usize,
    /// Bytes of its body, packed and unpacked.
    pub(super) body_bytes: usize,
    /// Requests at work at one time.
    pub(super) requests: usize,
    /// How long a client may stay away between two requests.
    pub(super) idle: Duration,
}

impl Default for Limits {
    /// Jetty's, but for heads, which have at most 8 KiB there.
    fn default() -> Self {
        Limits {
            head_bytes: 64 * 1024,
            body_bytes: max_request_bytes().get() as usize,
            requests: 200,
            idle: Duration::from_secs(30),
        }
    }
}

/// Bytes of a body at the most, whatever is asked for.
pub(super) const MOST_BODY_BYTES: u32 = 1 << 30;
/// The bytes of a head that can be asked for.
const HEAD_BYTES: std::ops::RangeInclusive<usize> = 8192..=1 << 20;

impl Config {
    /// The settings of TLS, old names included: a new one comes first, as in Flume.
    fn tls(&self) -> ServerTls {
        let mut tls = self.tls.clone();
        tls.ssl |= self.enable_ssl;
        tls.keystore_password =
            tls.keystore_password.or_else(|| self.old_keystore_password.clone());
        if tls.exclude_protocols.is_empty() {
            tls.exclude_protocols = self.old_exclude_protocols.clone();
        }
        tls
    }

    /// Jetty's settings, and what is to be said of them.
    fn limits(&self) -> (Limits, Vec<String>) {
        let body_bytes = self.max_request_bytes.get().min(MOST_BODY_BYTES) as usize;
        let mut limits = Limits { body_bytes, ..Limits::default() };
        let mut said = Vec::new();
        let groups = [
            ("QueuedThreadPool", &self.queued_thread_pool),
            ("HttpConfiguration", &self.http_configuration),
            ("SslContextFactory", &self.ssl_context_factory),
            ("ServerConnector", &self.server_connector),
        ];
        for (group, settings) in groups {
            for (name, value) in settings {
                let key = format!("{group}.{name}");
                let number = value.trim().parse::<usize>().ok().filter(|number| *number > 0);
                match (key.as_str(), number) {
                    ("QueuedThreadPool.maxThreads", Some(most)) => limits.requests = most,
                    ("HttpConfiguration.requestHeaderSize", Some(most)) => {
                        limits.head_bytes = most.clamp(*HEAD_BYTES.start(), *HEAD_BYTES.end());
                    }
                    ("ServerConnector.idleTimeout", Some(millis)) => {
                        let millis = u64::try_from(millis).unwrap_or(u64::MAX);
                        limits.idle = Duration::from_millis(millis);
                    }
                    _ => said.push(key),
                }
            }
        }
        (limits, said)
    }
}

/// The source.
pub struct Http {
    config: Config,
    handler: Handler,
    cx: Context,
    acceptor: Option<Acceptor>,
    listener: TcpListener,
}

impl Http {
    /// Where it listens.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Component for Http {
    const TYPE: &'static str = "http";
    const ALIASES: &'static [&'static str] = &["org.apache.flume.source.http.HTTPSource"];
    type Config = Config;

    async fn open(config: Config, cx: Context) -> Result<Self, OpenError> {
        let handler = Handler::look(&config.handler).into_result().map_err(OpenError::Config)?;
        let acceptor = config.tls().acceptor(&cx).await?;
        let listener = listen(&config.bind, config.port).await?;
        if let Ok(address) = listener.local_addr() {
            info!(component = %cx.title(), %address, "listening for HTTP requests");
        }
        Ok(Http { config, handler, cx, acceptor, listener })
    }

    fn facts(config: &Config) -> Facts {
        let (limits, _) = config.limits();
        let crash = "requests not answered yet are sent again by their clients, and may then be there twice";
        let connection = (body::FREE_BYTES + limits.head_bytes) as u64;
        let connections = connection.saturating_mul(config.max_connections.get() as u64);
        Facts {
            place: Some(format!("listens on {}:{}", config.bind, config.port)),
            claims: vec![Claim::port("port", Transport::Tcp, &config.bind, config.port)],
            memory_bytes: Some(body::ROOM_BYTES.saturating_add(connections)),
            acknowledged: Some(
                "after the channels have committed the events of the request, by the answer 200",
            ),
            process_crash: Some(crash),
            machine_crash: Some(crash),
            sets_headers: vec!["*".into()],
            ..Facts::default()
        }
    }

    fn check(config: &Config, section: &Section) -> Vec<Diagnostic> {
        let mut findings = Handler::look(&config.handler).findings;
        findings.extend(config.tls().findings(&config.bind, section));
        for key in config.limits().1 {
            let message =
                format!("`{key}` has no effect: there is no Jetty here, or no such value");
            let finding = Diagnostic::warning("no-effect", message).at(section.key_span(&key));
            findings.push(finding.help(
                "remove it; QueuedThreadPool.maxThreads, HttpConfiguration.requestHeaderSize and ServerConnector.idleTimeout are followed",
            ));
        }
        findings
    }
}

impl Source for Http {
    async fn run(self, out: Outlet, stop: Stop) -> Result<(), SourceError> {
        let Http { config, handler, cx, acceptor, listener } = self;
        let most = config.max_connections.get();
        let (limits, _) = config.limits();
        let service = Service::new(handler, limits, acceptor, &cx, out, stop.clone());
        let service = Arc::new(service);
        serve_all(&cx, service.out.metrics(), &stop, listener, most, |stream, peer| {
            service.clone().welcome(stream, peer)
        })
        .await;
        service.ended().await;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
