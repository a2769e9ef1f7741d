//! Source `scribe`: entries of Scribe's clients, one event each with the header `category`.
//!
//! Flume's class: `org.apache.flume.source.scribe.ScribeSource`; `scribe` is a name of ours. A call is
//! answered `OK` once every required channel has committed its entries, and `TRY_LATER` when one
//! refuses, or when an entry has no message. What differs from Flume:
//!
//! - Frames have at most 16384000 bytes, whatever `maxReadBufferBytes` says, and have to arrive in
//!   time; those of all connections take no more than 256 MiB together.
//! - Connections are limited by `maxConnections`; `bind` may choose one address.
//! - Messages are UTF-8, whatever the charset of the machine.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;

use serde::Deserialize;
use splashdam_config::{Diagnostic, Lenient, Section};
use splashdam_core::{
    Claim, Component, Context, Facts, OpenError, Outlet, Source, SourceError, Stop, Transport,
};
use tokio::net::TcpListener;
use tracing::info;

use super::listen;
use super::thrift::connection::{Dialect, FRAMES_BYTES, FREE_BYTES, Service};
use super::thrift::prepare;
use crate::accepting::serve_all;
use crate::tls::plain_listener;

/// Keys of the Scribe source.
#[derive(Clone, Debug, Deserialize)]
pub struct Config {
    /// TCP port to listen on; 0 lets the system choose a free one.
    #[serde(default = "port")]
    pub port: u16,
    /// Host name or address to listen on. Not a key of Flume, which listens on all.
    #[serde(default = "bind")]
    pub bind: String,
    /// Read and not used: frames have at most 16384000 bytes, which is Flume's default.
    #[serde(rename = "maxReadBufferBytes", default)]
    pub max_read_buffer_bytes: Lenient<i32>,
    /// Calls that are carried out at one time; 5 where it is no positive number.
    #[serde(rename = "workerThreads", default)]
    pub worker_threads: Lenient<i32>,
    /// Connections at one time; further ones wait to be accepted. Not a key of Flume, which has no
    /// limit.
    #[serde(rename = "maxConnections", default = "max_connections")]
    pub max_connections: NonZeroUsize,
}

fn port() -> u16 {
    1499
}

fn bind() -> String {
    "0.0.0.0".to_owned()
}

fn max_connections() -> NonZeroUsize {
    const { NonZeroUsize::new(10_000).unwrap() }
}

impl Config {
    /// Calls at one time.
    fn calls(&self) -> NonZeroUsize {
        const FIVE: NonZeroUsize = NonZeroUsize::new(5).unwrap();
        let threads = self.worker_threads.0.and_then(|threads| usize::try_from(threads).ok());
        threads.and_then(NonZeroUsize::new).unwrap_or(FIVE)
    }
}

/// The source.
pub struct Scribe {
    config: Config,
    cx: Context,
    listener: TcpListener,
}

impl Scribe {
    /// Where it listens.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Component for Scribe {
    const TYPE: &'static str = "scribe";
    const ALIASES: &'static [&'static str] = &["org.apache.flume.source.scribe.ScribeSource"];
    type Config = Config;

    async fn open(config: Config, cx: Context) -> Result<Self, OpenError> {
        let listener = listen(&config.bind, config.port).await?;
        if let Ok(address) = listener.local_addr() {
            info!(component = %cx.title(), %address, "listening for Scribe's clients");
        }
        Ok(Scribe { config, cx, listener })
    }

    fn facts(config: &Config) -> Facts {
        let crash = "calls not answered yet are repeated by their clients, so that some of their \
                     events may come twice";
        let begun = config.max_connections.get().saturating_mul(FREE_BYTES);
        let begun = u64::try_from(begun).unwrap_or(u64::MAX);
        Facts {
            place: Some(format!("listens on {}:{}", config.bind, config.port)),
            claims: vec![Claim::port("port", Transport::Tcp, &config.bind, config.port)],
            memory_bytes: Some(FRAMES_BYTES.saturating_add(begun)),
            acknowledged: Some("after the channels have committed the call's entries, by `OK`"),
            process_crash: Some(crash),
            machine_crash: Some(crash),
            sets_headers: vec!["category".into()],
            ..Facts::default()
        }
    }

    fn check(config: &Config, section: &Section) -> Vec<Diagnostic> {
        plain_listener(&config.bind, section, PLAIN).into_iter().collect()
    }
}

/// Scribe has no TLS.
const PLAIN: &str =
    "set `bind` to 127.0.0.1 if senders are local; others had better use a source that speaks TLS";

impl Source for Scribe {
    async fn run(self, out: Outlet, stop: Stop) -> Result<(), SourceError> {
        let Scribe { config, cx, listener } = self;
        let most = config.max_connections.get();
        let calls = Some(config.calls());
        let service = Service::new(Dialect::Scribe, calls, None, &cx, out, stop.clone());
        let service = Arc::new(service);
        serve_all(&cx, service.out.metrics(), &stop, listener, most, |stream, peer| {
            prepare(&cx, &stream);
            service.clone().welcome(stream, peer)
        })
        .await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use splashdam_core::Role;
    use splashdam_testkit::{Collector, context, contract};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    const KEYS: &str = "bind = 127.0.0.1\nport = 0";

    fn cx() -> Context {
        context(Role::Source)
    }

    /// A call of `Log` with one entry, as Scribe's clients write it.
    fn call(category: &str, message: &str) -> Vec<u8> {
        let text = |text: &str| {
            let length = u32::try_from(text.len()).unwrap().to_be_bytes();
            [&length[..], text.as_bytes()].concat()
        };
        let head = [text("Log"), vec![1, 0, 0, 0, 7], vec![15, 0, 1, 12, 0, 0, 0, 1]].concat();
        let entry = [vec![11, 0, 1], text(category), vec![11, 0, 2], text(message), vec![0, 0]];
        let call = [head, entry.concat()].concat();
        [&u32::try_from(call.len()).unwrap().to_be_bytes()[..], &call].concat()
    }

    #[tokio::test]
    async fn stops() {
        contract::source_stops::<Scribe>(KEYS, cx).await;
    }

    #[tokio::test]
    async fn entries_are_taken_and_refused_ones_kept_by_their_sender() {
        let source = contract::open_source::<Scribe>(KEYS, cx()).await;
        let address = source.local_addr().unwrap();
        let collector = Collector::new();
        collector.refuse(1);
        let running = contract::run_source(source, &collector);
        let mut stream = TcpStream::connect(address).await.unwrap();
        for result in [1, 0] {
            stream.write_all(&call("web", "hello")).await.unwrap();
            let mut answer = [0; 24];
            stream.read_exact(&mut answer).await.unwrap();
            assert_eq!(answer[..11], *b"\0\0\0\x14\0\0\0\x03Log");
            assert_eq!(answer[11..], [2, 0, 0, 0, 7, 8, 0, 0, 0, 0, 0, result, 0]);
        }
        assert_eq!(collector.bodies(), ["hello"]);
        let events = collector.events();
        assert_eq!(**events[0].headers.get("category").unwrap(), *"web");
        running.stop().await.unwrap();
    }

    #[test]
    fn numbers_that_will_not_do_are_defaults() {
        let calls = |keys: &str| {
            let config = Section::parse(keys).read::<Config>().value.unwrap();
            (config.port, config.calls().get())
        };
        assert_eq!(calls(""), (1499, 5));
        assert_eq!(calls("workerThreads = 0\nmaxReadBufferBytes = -1"), (1499, 5));
        assert_eq!(calls("port = 1\nworkerThreads = 9"), (1, 9));
    }
}
