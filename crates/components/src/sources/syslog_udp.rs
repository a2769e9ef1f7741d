//! Source `syslogudp`: syslog over UDP, one event a datagram.
//!
//! Flume's class: `org.apache.flume.source.SyslogUDPSource`. A datagram is one message, up to its
//! first LF; what is behind that is dropped. Headers and bodies are those of `syslogtcp`; an empty
//! datagram is none. As in Flume, `priority` and `version` of a message are said of an invalid one
//! behind it, whoever sent it. `mode = rfc` reads what the RFCs say, and line ends within.
//!
//! What differs from Flume:
//!
//! - Datagrams are taken whole; Flume cuts them off at 2048 bytes.
//! - Many are received by one system call, and share a transaction of up to 100 or what the channel
//!   takes.
//! - With `clientHostnameHeader` a sender's address stands for its name until that is known, and the
//!   name is asked for again after ten minutes; Flume waits for the name of each.
//! - A stop takes what the kernel has, no more than it can keep, and for no longer than 2 seconds.
//! - While a channel is full, messages are held back, up to 16 MiB of them, and then by the kernel, up
//!   to `receiveBufferBytes`. Only then are they lost, and counted as dropped. Flume drops what it
//!   cannot put at once.
//!
//! The kernel's drops for want of room are read from `/proc/net/udp`, counted as dropped events, and
//! logged. On other systems than Linux they cannot be seen.
//!
//! UDP has no acknowledgement: what is on its way when the agent dies is lost.

mod socket;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use splashdam_config::{Diagnostic, Section};
use splashdam_core::{
    Batch, Claim, Component, Context, Facts, OpenError, Outlet, Size, Source, SourceError, Stop,
    Transport,
};
use splashdam_wire::syslog::flume::datagram;
use tokio::time::Instant;
use tracing::info;

use super::syslog::connection::{Flow, Putting};
use super::syslog::{Dialect, FormatKeys, Messages, Senders, Times, Told};
use super::syslog_tcp::{CRASH, GROUP, HEADERS, everywhere};
use super::udp_drops::Drops;
use crate::tls::plain_listener;
use socket::{Received, Socket};

/// Messages that are on their way into channels.
const UNDER_WAY: Size = Size { events: 200_000, bytes: 16 * 1024 * 1024 };
/// How long datagrams are taken after a stop: senders may go on for ever.
const LAST_ONES: Duration = Duration::from_secs(2);

/// Keys of the syslogudp source.
#[derive(Clone, Debug, Deserialize)]
pub struct Config {
    /// Host name or address to listen on; `0.0.0.0` is every IPv4 address of this machine.
    #[serde(default = "everywhere")]
    pub host: String,
    /// UDP port to listen on; 0 lets the system choose a free one.
    pub port: u16,
    /// Bytes of datagrams that the kernel is asked to keep until they are read. It grants no more
    /// than `net.core.rmem_max`, unless the agent has the capability CAP_NET_ADMIN. Not a key of
    /// Flume.
    #[serde(rename = "receiveBufferBytes", default = "receive_buffer_bytes")]
    pub receive_buffer_bytes: NonZeroUsize,
    /// A format of one's own.
    #[serde(default)]
    pub format: FormatKeys,
    /// What all sources of syslog have.
    #[serde(rename = ".messages", default)]
    pub messages: Messages,
}

fn receive_buffer_bytes() -> NonZeroUsize {
    const { NonZeroUsize::new(8 * 1024 * 1024).unwrap() }
}

/// The source.
pub struct SyslogUdp {
    config: Config,
    cx: Context,
    dialect: Dialect,
    socket: Socket,
}

impl SyslogUdp {
    /// Where it listens.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

impl Component for SyslogUdp {
    const TYPE: &'static str = "syslogudp";
    const ALIASES: &'static [&'static str] = &["org.apache.flume.source.SyslogUDPSource"];
    type Config = Config;

    async fn open(config: Config, cx: Context) -> Result<Self, OpenError> {
        let dialect = config.messages.dialect(&config.format)?;
        let wanted = config.receive_buffer_bytes.get();
        let socket = Socket::open(&config.host, config.port, wanted).await?;
        if let Ok(address) = socket.local_addr() {
            info!(component = %cx.title(), %address, "listening for syslog");
        }
        let granted = socket.receive_buffer_bytes();
        if granted < wanted {
            info!(component = %cx.title(), granted, wanted, "the kernel keeps fewer bytes of datagrams than receiveBufferBytes asks for; raise net.core.rmem_max if it drops some");
        }
        Ok(SyslogUdp { config, cx, dialect, socket })
    }

    fn facts(config: &Config) -> Facts {
        let memory = UNDER_WAY.bytes + socket::BUFFERS_BYTES;
        Facts {
            place: Some(format!("listens on {}:{}, UDP", config.host, config.port)),
            claims: vec![Claim::port("port", Transport::Udp, &config.host, config.port)],
            memory_bytes: u64::try_from(memory).ok(),
            process_crash: Some(CRASH),
            machine_crash: Some(CRASH),
            sets_headers: config.messages.sets_headers(HEADERS),
            ..Facts::default()
        }
    }

    fn check(config: &Config, section: &Section) -> Vec<Diagnostic> {
        let plain = plain_listener(&config.host, section, PLAIN);
        plain.into_iter().chain(config.format.findings(config.messages.mode, section)).collect()
    }
}

/// There is no TLS over UDP, here as in Flume.
const PLAIN: &str = "listen on 127.0.0.1 if senders are local; others had better send to a \
                     syslogtcp source with `ssl`";

/// What makes the kernel drop less.
const REMEDY: &str = "raise receiveBufferBytes and net.core.rmem_max";

impl Source for SyslogUdp {
    async fn run(self, out: Outlet, stop: Stop) -> Result<(), SourceError> {
        let SyslogUdp { config, cx, dialect, mut socket } = self;
        let putting = Putting::new(GROUP, &cx, out, stop.clone());
        let mut reading =
            Reading { dialect, times: Times::new(&cx), senders: config.messages.senders() };
        let (mut drops, mut ask) = (Drops::new(&cx, socket.as_fd(), REMEDY), Drops::times());
        let mut flow = Flow::new(&putting).with_most(UNDER_WAY);
        let mut received = Received::new();
        let ended = loop {
            let room = !flow.is_full(Size { events: GROUP, bytes: socket::MOST_BYTES });
            tokio::select! {
                biased;
                () = stop.wait() => break Ok(()),
                _ = ask.tick() => drops.look(&putting.out).await,
                went = flow.stored(), if !flow.is_idle() => putting.settle(went).await,
                read = socket.receive(&mut received), if room => match read {
                    Ok(()) => reading.put_all(&received, &putting, &mut flow).await,
                    Err(error) => break Err(SourceError::new(error)),
                }
            }
        };
        // What the kernel has already is not left behind.
        let (mut last_ones, until) = (0, Instant::now() + LAST_ONES);
        let most = socket.receive_buffer_bytes();
        while ended.is_ok()
            && last_ones <= most
            && Instant::now() < until
            && socket.receive_now(&mut received)
        {
            last_ones += received.bytes();
            reading.put_all(&received, &putting, &mut flow).await;
        }
        flow.finish().await;
        drops.look(&putting.out).await;
        ended
    }
}

/// How datagrams become events.
struct Reading {
    dialect: Dialect,
    times: Times,
    senders: Senders,
}

impl Reading {
    /// Begins to put what was received.
    async fn put_all(&mut self, received: &Received, putting: &Putting, flow: &mut Flow<'_>) {
        let mut batch = Batch::default();
        for (message, sender) in received.datagrams() {
            if let Some(event) = self.event(message, sender, putting) {
                batch.push(event);
            }
            if batch.len() >= putting.group() {
                flow.put(std::mem::take(&mut batch)).await;
            }
        }
        flow.put(batch).await;
    }

    fn event(
        &mut self,
        message: &Bytes,
        sender: SocketAddr,
        putting: &Putting,
    ) -> Option<splashdam_core::Event> {
        let message = match self.dialect {
            Dialect::Rfc(_) => trimmed(message),
            _ => message.slice(datagram(message)),
        };
        let told = self.dialect.read(&message, false, &self.times);
        let mut event = match told {
            Told::Event(event) | Told::Invalid(event) => event,
            Told::Odd(event) => {
                putting.odd(Some(sender));
                event
            }
            Told::Nothing => {
                putting.invalid(Some(sender));
                return None;
            }
        };
        self.senders.add_so_far(sender, &mut event);
        Some(event)
    }
}

/// Without line ends and NULs at its end, which some senders add.
fn trimmed(message: &Bytes) -> Bytes {
    let end = message.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r' | 0));
    message.slice(..end.map_or(0, |end| end + 1))
}

#[cfg(test)]
mod tests;
