//! Source `avroLegacy`: events of agents of Flume 0.9, over Avro in HTTP.
//!
//! Flume's class: `org.apache.flume.source.avroLegacy.AvroLegacySource`; `avroLegacy` is a name of ours.
//! A request of POST to any path is a call with one event. Host, time, priority and nanoseconds become
//! the headers `host`, `timestamp`, `pri` and `nanos`, the event's fields further ones, and `FlumeOG` is
//! `yes`. What cannot be read is answered as Flume's servlet does: with an error of Avro's, or with the
//! status 500 where the body is not even cut as Avro cuts it. What differs from Flume:
//!
//! - A call is answered once every required channel has committed its event, and with an error when one
//!   refuses, so that its sender keeps it; Flume tells the sender that all is well.
//! - `fieldValues = text` makes headers of what fields hold. Flume has, instead of a field's bytes, what
//!   Java says of the buffer that they lie in: `java.nio.HeapByteBuffer[pos=0 lim=4 cap=4]`.
//! - The client's protocol must have the event of Flume 0.9, field by field, as its agents do; Flume also
//!   reads others that Avro can turn into it.
//! - Requests have at most `maxRequestBytes`, an event 10000 fields; a request has 30 s to come.
//!   Connections are limited by `maxConnections`.
//! - TRACE is answered 405, where Flume sends back what it was sent.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, StatusCode};
use serde::Deserialize;
use splashdam_config::{Diagnostic, Section};
use splashdam_core::{
    Batch, Claim, Component, Context, Facts, OpenError, Outlet, PutError, Source, SourceError,
    Stop, Transport,
};
use splashdam_wire::avro::handshake::Hash;
use splashdam_wire::avro::legacy::{self, Greeting, Said, read_request};
use tokio::net::TcpListener;
use tracing::info;

use super::http::body::{FREE_BYTES, ROOM_BYTES};
use super::http::connection::{Dialect, Instead, Response, Service, use_post};
use super::http::handler::{Answer, Request};
use super::http::{Limits, MOST_BODY_BYTES};
use super::listen;
use crate::accepting::serve_all;
use crate::tls::plain_listener;

/// How long a client may stay away between two requests, as in Avro's server.
const IDLE: Duration = Duration::from_secs(10);
/// Protocols of clients that are remembered.
const MOST_PROTOCOLS: usize = 256;

/// Keys of the legacy Avro source.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// Host name or address to listen on; `0.0.0.0` is every IPv4 address of this machine.
    pub host: String,
    /// TCP port to listen on; 0 lets the system choose a free one.
    pub port: u16,
    /// What becomes of the bytes of an event's fields: `buffer` is what Java says of them, as in Flume,
    /// `text` what they hold, as UTF-8. Not a key of Flume.
    #[serde(default)]
    pub field_values: FieldValues,
    /// Bytes of a request's body at the most, up to 1 GiB; what is larger is answered 413. Agents of
    /// Flume 0.9 send bodies of up to 32 KiB unless told otherwise. Not a key of Flume, which has no
    /// limit.
    #[serde(default = "max_request_bytes")]
    pub max_request_bytes: NonZeroU32,
    /// Connections at one time; further ones wait to be accepted. Not a key of Flume, which has no
    /// limit.
    #[serde(default = "max_connections")]
    pub max_connections: NonZeroUsize,
}

/// What becomes of fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FieldValues {
    /// What Java says of the buffer.
    #[default]
    Buffer,
    /// What it holds.
    Text,
}

fn max_request_bytes() -> NonZeroU32 {
    const { NonZeroU32::new(1_048_576).unwrap() }
}

fn max_connections() -> NonZeroUsize {
    const { NonZeroUsize::new(1000).unwrap() }
}

impl Config {
    fn limits(&self) -> Limits {
        let body_bytes = self.max_request_bytes.get().min(MOST_BODY_BYTES) as usize;
        Limits { body_bytes, idle: IDLE, ..Limits::default() }
    }

    fn calls(&self) -> Calls {
        let values = match self.field_values {
            FieldValues::Buffer => legacy::FieldValues::Described,
            FieldValues::Text => legacy::FieldValues::Text,
        };
        Calls { values, protocols: Mutex::default() }
    }
}

/// The source.
pub struct AvroLegacy {
    config: Config,
    cx: Context,
    listener: TcpListener,
}

impl AvroLegacy {
    /// Where it listens.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Component for AvroLegacy {
    const TYPE: &'static str = "avroLegacy";
    const ALIASES: &'static [&'static str] =
        &["org.apache.flume.source.avroLegacy.AvroLegacySource"];
    type Config = Config;

    async fn open(config: Config, cx: Context) -> Result<Self, OpenError> {
        let listener = listen(&config.host, config.port).await?;
        if let Ok(address) = listener.local_addr() {
            info!(component = %cx.title(), %address, "listening for agents of Flume 0.9");
        }
        Ok(AvroLegacy { config, cx, listener })
    }

    fn facts(config: &Config) -> Facts {
        let crash =
            "events not answered yet are sent again by their agents, and may then be there twice";
        let connection = (FREE_BYTES + config.limits().head_bytes) as u64;
        let connections = connection.saturating_mul(config.max_connections.get() as u64);
        Facts {
            place: Some(format!("listens on {}:{}", config.host, config.port)),
            claims: vec![Claim::port("port", Transport::Tcp, &config.host, config.port)],
            memory_bytes: Some(ROOM_BYTES.saturating_add(connections)),
            acknowledged: Some(
                "after the channels have committed the event, by the answer to the call",
            ),
            process_crash: Some(crash),
            machine_crash: Some(crash),
            sets_headers: vec!["*".into()],
            ..Facts::default()
        }
    }

    fn check(config: &Config, section: &Section) -> Vec<Diagnostic> {
        let help = "set `host` to 127.0.0.1 if senders are local; Flume 0.9 speaks no TLS";
        plain_listener(&config.host, section, help).into_iter().collect()
    }
}

/// Avro's calls as requests of HTTP.
struct Calls {
    values: legacy::FieldValues,
    /// The protocols of clients that named theirs in full once.
    protocols: Mutex<HashSet<Hash>>,
}

impl Dialect for Calls {
    type Reply = Greeting;

    fn refused_method(&self, method: &Method) -> Option<Response> {
        const ALLOWED: Option<&str> = Some("POST, OPTIONS");
        match *method {
            Method::POST => None,
            Method::OPTIONS => Some(use_post(StatusCode::OK, ALLOWED)),
            Method::GET | Method::HEAD | Method::PUT | Method::DELETE | Method::TRACE => {
                Some(use_post(StatusCode::METHOD_NOT_ALLOWED, ALLOWED))
            }
            _ => Some(use_post(StatusCode::NOT_IMPLEMENTED, None)),
        }
    }

    fn events(&self, request: Request) -> Result<(Batch, Greeting), Instead> {
        let protocols = || self.protocols.lock().unwrap_or_else(PoisonError::into_inner);
        let read = read_request(&request.body, self.values, |hash| protocols().contains(hash));
        let (said, new) = read.map_err(|error| {
            let why = format!("{error}; is the client an agent of Flume 0.9?");
            Answer::new(StatusCode::INTERNAL_SERVER_ERROR, why)
        })?;
        if let Some(hash) = new {
            let mut protocols = protocols();
            if protocols.len() < MOST_PROTOCOLS {
                protocols.insert(hash);
            }
        }
        match said {
            Said::Event(event, greeting) => Ok((vec![event].into(), greeting)),
            Said::Nothing(answer) => Err(Instead { why: None, response: Box::new(avro(answer)) }),
            Said::Unusable(why, answer) => {
                Err(Instead { why: Some(why), response: Box::new(avro(answer)) })
            }
        }
    }

    fn stored(&self, greeting: Greeting) -> Response {
        avro(greeting.stored())
    }

    fn refused(&self, greeting: Greeting, error: &PutError) -> Response {
        avro(greeting.refused(&format!("org.apache.flume.ChannelException: {error}")))
    }
}

/// A message of Avro's as an answer.
fn avro(message: Bytes) -> Response {
    let mut response = Response::new(Full::new(message));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("avro/binary"));
    response
}

impl Source for AvroLegacy {
    async fn run(self, out: Outlet, stop: Stop) -> Result<(), SourceError> {
        let AvroLegacy { config, cx, listener } = self;
        let most = config.max_connections.get();
        let (calls, limits) = (config.calls(), config.limits());
        let service = Arc::new(Service::new(calls, limits, None, &cx, out, stop.clone()));
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
