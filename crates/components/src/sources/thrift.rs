//! Source `thrift`: Flume's Thrift service, for agents, SDK clients and programs in any language.
//!
//! Flume's class: `org.apache.flume.source.ThriftSource`. A call is answered `OK` once every
//! required channel has committed its events, and `FAILED` when one refuses. What differs from
//! Flume:
//!
//! - A call is understood, and answered, in whichever protocol it comes, so that `protocol` need
//!   not be the same on both sides. In Flume `Binary` is accepted and means compact.
//! - A frame's length is checked before the frame is read, and a frame has to arrive in time.
//! - Connections are limited by `maxConnections`; dead ones are found by TCP's keep-alive.
//! - Over TLS idle clients stay connected; Flume drops them after two minutes.
//! - Kerberos is refused: it is not built in.

pub(super) mod connection;
#[cfg(feature = "simulation")]
mod simulated;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;

use serde::Deserialize;
use splashdam_config::{Diagnostic, Lenient, Section};
use splashdam_core::{
    Claim, Component, Context, Facts, OpenError, Outlet, Source, SourceError, Stop, Transport,
};
use tokio::net::{TcpListener, TcpStream};
use tracing::{debug, info};

use super::listen;
use crate::accepting::serve_all;
use crate::tls::{Acceptor, ServerTls};
use connection::{Dialect, Service};
#[cfg(feature = "simulation")]
pub use simulated::Receiver;

/// What is said of `kerberos = true`.
const NO_KERBEROS: &str = "Kerberos is not built in, for Thrift neither";

/// Keys of the thrift source.
#[derive(Clone, Debug, Deserialize)]
pub struct Config {
    /// Host name or address to listen on; `0.0.0.0` is every IPv4 address of this machine.
    pub bind: String,
    /// TCP port to listen on; 0 lets the system choose a free one.
    pub port: u16,
    /// Calls that are carried out at one time; what is not a positive number means no limit, as in
    /// Flume.
    #[serde(default)]
    pub threads: Lenient<i32>,
    /// `compact` or `binary`, in any case. Either is understood, whatever is written here.
    #[serde(default)]
    pub protocol: Protocol,
    /// Whether clients prove who they are by Kerberos, which is refused here.
    #[serde(default)]
    pub kerberos: bool,
    /// Accepted as in Flume, for Kerberos.
    #[serde(rename = "agent-principal")]
    pub agent_principal: Option<String>,
    /// Accepted as in Flume, for Kerberos.
    #[serde(rename = "agent-keytab")]
    pub agent_keytab: Option<String>,
    /// Connections at one time; further ones wait to be accepted. Not a key of Flume, which has no
    /// limit.
    #[serde(rename = "maxConnections", default = "max_connections")]
    pub max_connections: NonZeroUsize,
    /// TLS.
    #[serde(rename = ".tls", default)]
    pub tls: ServerTls,
}

/// A protocol's name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename = "any case", rename_all = "lowercase")]
pub enum Protocol {
    /// Flume's default.
    #[default]
    Compact,
    /// Thrift's oldest.
    Binary,
}

fn max_connections() -> NonZeroUsize {
    const { NonZeroUsize::new(10_000).unwrap() }
}

impl Config {
    /// Calls at one time.
    fn calls(&self) -> Option<NonZeroUsize> {
        self.threads.0.and_then(|threads| NonZeroUsize::new(usize::try_from(threads).ok()?))
    }
}

/// The source.
pub struct Thrift {
    config: Config,
    cx: Context,
    listener: TcpListener,
    acceptor: Option<Acceptor>,
}

impl Thrift {
    /// Where it listens.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Component for Thrift {
    const TYPE: &'static str = "thrift";
    const ALIASES: &'static [&'static str] = &["org.apache.flume.source.ThriftSource"];
    type Config = Config;

    async fn open(config: Config, cx: Context) -> Result<Self, OpenError> {
        if config.kerberos {
            return Err(OpenError::config(NO_KERBEROS));
        }
        let acceptor = config.tls.acceptor(&cx).await?;
        let listener = listen(&config.bind, config.port).await?;
        if let Ok(address) = listener.local_addr() {
            info!(component = %cx.title(), %address, "listening for Thrift calls");
        }
        Ok(Thrift { config, cx, listener, acceptor })
    }

    fn facts(config: &Config) -> Facts {
        let crash = "calls not answered yet are repeated by their clients, so that some of their \
                     events may come twice; those of our own Thrift sink are stored once where every \
                     event goes to all of several file channels that share a log, or to a single channel";
        let begun = config.max_connections.get().saturating_mul(connection::FREE_BYTES);
        let begun = u64::try_from(begun).unwrap_or(u64::MAX);
        Facts {
            place: Some(format!("listens on {}:{}", config.bind, config.port)),
            claims: vec![Claim::port("port", Transport::Tcp, &config.bind, config.port)],
            memory_bytes: Some(connection::FRAMES_BYTES.saturating_add(begun)),
            acknowledged: Some(
                "after the channels have committed the call's events, by the answer `OK`",
            ),
            process_crash: Some(crash),
            machine_crash: Some(crash),
            sets_headers: vec!["*".into()],
            ..Facts::default()
        }
    }

    fn check(config: &Config, section: &Section) -> Vec<Diagnostic> {
        let kerberos = Diagnostic::error("kerberos-not-built", NO_KERBEROS)
            .at(section.value_span("kerberos"))
            .label("this source cannot start")
            .help("protect the port by `ssl`, and by what may reach it, and write `false`");
        let mut findings = config.tls.findings(&config.bind, section);
        findings.extend(config.kerberos.then_some(kerberos));
        findings
    }
}

impl Source for Thrift {
    async fn run(self, out: Outlet, stop: Stop) -> Result<(), SourceError> {
        let Thrift { config, cx, listener, acceptor } = self;
        let most = config.max_connections.get();
        let service =
            Service::new(Dialect::Flume, config.calls(), acceptor, &cx, out, stop.clone());
        let service = Arc::new(service);
        serve_all(&cx, service.out.metrics(), &stop, listener, most, |stream, peer| {
            prepare(&cx, &stream);
            service.clone().welcome(stream, peer)
        })
        .await;
        service.senders.end().await;
        Ok(())
    }
}

/// Answers go out at once, and a client that vanished is noticed. Neither is worth refusing a
/// connection for.
pub(super) fn prepare(cx: &Context, stream: &TcpStream) {
    let set = stream.set_nodelay(true).and_then(|()| splashdam_client::keep_alive(stream));
    if let Err(error) = set {
        debug!(component = %cx.title(), %error, "a connection goes on without its options");
    }
}

#[cfg(test)]
mod tests;
