//! Source `netcat`: lines over TCP, one event each, answered `OK` or `FAILED`.
//!
//! Flume's class: `org.apache.flume.source.NetcatSource`. Lines end at LF, a CR before it stays in
//! the body, an empty line is an event, text after the last LF is dropped. Bodies are UTF-8 whatever
//! `encoding` was read.
//!
//! At bytes that mean nothing in `encoding` Flume closes the connection without a word: that line,
//! what came with it and what followed are lost, and a client that sends them again fails again.
//! Here U+FFFD stands for such bytes, as in Flume's exec source, the line is taken and answered, and
//! the log says once that `encoding` may be wrong.
//!
//! Flume puts each line in a transaction of its own. Here lines that arrive together share one, of
//! up to 100 lines or what the channel takes; each is answered all the same, in order, and when the
//! channel refuses, `FAILED` goes out for each line of that transaction; lines that a stop comes
//! before are not put and not answered. Connections are limited by
//! `maxConnections`; while a channel makes a line wait, its connection is not read.

mod connection;

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
use crate::accepting::serve_all;
use crate::charset::Charset;
use crate::tls::plain_listener;
use connection::Service;

/// Keys of the netcat source.
#[derive(Clone, Debug, Deserialize)]
pub struct Config {
    /// Host name or address to listen on; `0.0.0.0` is every IPv4 address of this machine.
    pub bind: String,
    /// TCP port to listen on; 0 lets the system choose a free one.
    pub port: u16,
    /// Characters in a line at the most, line end included, as Java counts them. A client that
    /// sends a longer one is told so and disconnected.
    #[serde(rename = "max-line-length", default = "max_line_length")]
    pub max_line_length: NonZeroU32,
    /// Whether each line that the channels took is answered with `OK`. Refused lines are answered
    /// with `FAILED: ` and the reason in any case.
    #[serde(rename = "ack-every-event", default = "ack_every_event")]
    pub ack_every_event: bool,
    /// The charset that clients send, by its Java name.
    #[serde(default)]
    pub encoding: Charset,
    /// Connections at one time; further ones wait to be accepted. Not a key of Flume, which has no
    /// limit.
    #[serde(rename = "maxConnections", default = "max_connections")]
    pub max_connections: NonZeroUsize,
}

fn max_line_length() -> NonZeroU32 {
    const { NonZeroU32::new(512).unwrap() }
}

fn ack_every_event() -> bool {
    true
}

fn max_connections() -> NonZeroUsize {
    const { NonZeroUsize::new(10_000).unwrap() }
}

/// The source.
pub struct Netcat {
    config: Config,
    cx: Context,
    listener: TcpListener,
}

impl Netcat {
    /// Where it listens.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Component for Netcat {
    const TYPE: &'static str = "netcat";
    const ALIASES: &'static [&'static str] = &["org.apache.flume.source.NetcatSource"];
    type Config = Config;

    async fn open(config: Config, cx: Context) -> Result<Self, OpenError> {
        let listener = listen(&config.bind, config.port).await?;
        if let Ok(address) = listener.local_addr() {
            info!(component = %cx.title(), %address, "listening for lines");
        }
        Ok(Netcat { config, cx, listener })
    }

    fn facts(config: &Config) -> Facts {
        let connection =
            u64::from(config.max_line_length.get()) * 4 + connection::READ_BYTES as u64;
        Facts {
            place: Some(format!("listens on {}:{}", config.bind, config.port)),
            claims: vec![Claim::port("port", Transport::Tcp, &config.bind, config.port)],
            memory_bytes: Some(connection.saturating_mul(config.max_connections.get() as u64)),
            acknowledged: config.ack_every_event.then_some(
                "after the channels have committed the line, by an `OK` line to the client",
            ),
            process_crash: Some(
                "lines not answered yet are lost unless the client sends them again",
            ),
            machine_crash: Some(
                "lines not answered yet are lost unless the client sends them again",
            ),
            ..Facts::default()
        }
    }

    fn check(config: &Config, section: &Section) -> Vec<Diagnostic> {
        plain_listener(&config.bind, section, PLAIN).into_iter().collect()
    }
}

/// Netcat has no TLS, here as in Flume.
const PLAIN: &str =
    "listen on 127.0.0.1 if senders are local; others had better use a source that speaks TLS";

impl Source for Netcat {
    async fn run(self, out: Outlet, stop: Stop) -> Result<(), SourceError> {
        let Netcat { config, cx, listener } = self;
        let most = config.max_connections.get();
        let service = Arc::new(Service::new(&config, &cx, out, stop.clone()));
        serve_all(&cx, service.out.metrics(), &stop, listener, most, |stream, peer| {
            service.clone().serve(stream, peer)
        })
        .await;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
