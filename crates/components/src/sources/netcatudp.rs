//! Source `netcatudp`: a datagram is an event, up to its first line end.
//!
//! Flume's class: `org.apache.flume.source.NetcatUdpSource`. Nobody is told what became of a
//! datagram: what the channels refuse is dropped, counted and logged. What differs from Flume:
//!
//! - Datagrams that arrive together share a transaction, of up to 100 or what the channel takes.
//! - Without `remoteAddress` events have no header. Flume gives them one without a name, which file
//!   channels and Avro sinks refuse.
//! - Datagrams that the kernel dropped, since they came faster than the channels take them, are counted
//!   as dropped events, and logged; in Flume nobody knows. On other systems than Linux they cannot be
//!   seen.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU16;

use bytes::{Bytes, BytesMut};
use serde::Deserialize;
use splashdam_config::{Diagnostic, Section};
use splashdam_core::{
    Batch, Claim, Component, Context, Event, Facts, OpenError, Outlet, PutError, Size, Source,
    SourceError, Stop, Transport, Trouble,
};
use tokio::net::UdpSocket;
use tokio::time::{Duration, sleep};
use tracing::{info, warn};

use super::udp_drops::Drops;
use super::{remedy, smaller_group};
use crate::tls::plain_listener;

/// Datagrams in one transaction at the most.
const GROUP: usize = 100;
/// How long receiving pauses after it failed.
const PAUSE: Duration = Duration::from_millis(200);

/// Keys of the netcat UDP source.
#[derive(Clone, Debug, Deserialize)]
pub struct Config {
    /// Host name or address to listen on; `0.0.0.0` is every IPv4 address of this machine.
    #[serde(default = "bind")]
    pub bind: String,
    /// UDP port to listen on; 0 lets the system choose a free one.
    pub port: u16,
    /// Name of the header that tells who sent it, as `/address:port`. None, when it is not set.
    #[serde(rename = "remoteAddress")]
    pub remote_address: Option<String>,
    /// Bytes of a datagram at the most; the rest of a longer one is cut off. Not a key of Flume,
    /// where it is 2048.
    #[serde(rename = "maxDatagramBytes", default = "max_datagram_bytes")]
    pub max_datagram_bytes: NonZeroU16,
}

fn bind() -> String {
    "0.0.0.0".to_owned()
}

fn max_datagram_bytes() -> NonZeroU16 {
    const { NonZeroU16::new(2048).unwrap() }
}

/// The source.
pub struct NetcatUdp {
    config: Config,
    cx: Context,
    socket: UdpSocket,
}

impl NetcatUdp {
    /// Where it listens.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

impl Component for NetcatUdp {
    const TYPE: &'static str = "netcatudp";
    const ALIASES: &'static [&'static str] = &["org.apache.flume.source.NetcatUdpSource"];
    type Config = Config;

    async fn open(config: Config, cx: Context) -> Result<Self, OpenError> {
        let Config { bind, port, .. } = &config;
        let socket = UdpSocket::bind((bind.as_str(), *port)).await.map_err(|error| {
            let remedy = remedy(error.kind());
            OpenError::refused(format!("cannot listen on {bind}:{port}: {error}; {remedy}"), error)
        })?;
        if let Ok(address) = socket.local_addr() {
            info!(component = %cx.title(), %address, "listening for datagrams");
        }
        Ok(NetcatUdp { config, cx, socket })
    }

    fn facts(config: &Config) -> Facts {
        Facts {
            place: Some(format!("listens on {}:{}", config.bind, config.port)),
            claims: vec![Claim::port("port", Transport::Udp, &config.bind, config.port)],
            memory_bytes: Some((GROUP * usize::from(config.max_datagram_bytes.get())) as u64),
            acknowledged: Some("never: UDP has no answers"),
            process_crash: Some("datagrams that are not in a channel are lost"),
            machine_crash: Some("datagrams that are not in a channel are lost"),
            sets_headers: config.remote_address.iter().cloned().collect(),
            ..Facts::default()
        }
    }

    fn check(config: &Config, section: &Section) -> Vec<Diagnostic> {
        plain_listener(&config.bind, section, PLAIN).into_iter().collect()
    }
}

/// Datagrams are not encrypted, here as in Flume.
const PLAIN: &str =
    "listen on 127.0.0.1 if senders are local; others had better use a source that speaks TLS";

/// What makes the kernel drop less.
const REMEDY: &str = "raise net.core.rmem_default";

/// What is kept between batches.
struct Receiver {
    buffer: Vec<u8>,
    header: Option<String>,
    /// Datagrams in one transaction; becomes smaller when a channel says that it takes no more.
    group: usize,
}

impl Receiver {
    /// All datagrams that are there, up to a group. An error is told once they are taken.
    fn receive(&mut self, socket: &UdpSocket) -> (Batch, io::Result<()>) {
        let mut batch = Batch::default();
        while batch.len() < self.group {
            match socket.try_recv_from(&mut self.buffer) {
                Ok((length, from)) => batch.push(self.event(length, from)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return (batch, Err(error)),
            }
        }
        (batch, Ok(()))
    }

    fn event(&self, length: usize, from: SocketAddr) -> Event {
        let datagram = &self.buffer[..length];
        let end = memchr::memchr(b'\n', datagram).unwrap_or(length);
        let mut event = Event::new(Bytes::from(BytesMut::from(&datagram[..end])));
        if let Some(header) = &self.header {
            event.headers.insert(header.as_str(), format!("/{from}"));
        }
        event
    }
}

impl Source for NetcatUdp {
    async fn run(self, out: Outlet, stop: Stop) -> Result<(), SourceError> {
        let NetcatUdp { config, cx, socket } = self;
        let buffer = vec![0; config.max_datagram_bytes.get().into()];
        let mut receiver = Receiver { buffer, header: config.remote_address, group: GROUP };
        let (mut refusals, mut failures) = (Trouble::new(), Trouble::new());
        let (mut drops, mut ask) = (Drops::new(&cx, &socket, REMEDY), Drops::times());
        loop {
            let ready = tokio::select! {
                biased;
                () = stop.wait() => break,
                _ = ask.tick() => {
                    drops.look(&out).await;
                    continue;
                }
                ready = socket.readable() => ready,
            };
            let (batch, received) = receiver.receive(&socket);
            if let Err(error) = ready.and(received) {
                out.metrics().read_failures.add(1);
                if failures.happened(cx.world.instant(), &error.to_string()).is_some() {
                    warn!(component = %cx.title(), %error, "cannot receive a datagram; trying on");
                }
                stop.or(sleep(PAUSE)).await;
            }
            if batch.is_empty() {
                continue;
            }
            match put(&out, batch, &mut receiver.group).await {
                (_, None) => {
                    if let Some(lasted) = refusals.ended(cx.world.instant()) {
                        info!(component = %cx.title(), ?lasted, "channels take datagrams again");
                    }
                }
                (lost, Some(error)) => {
                    out.metrics().events_dropped.add(lost);
                    if refusals.happened(cx.world.instant(), "").is_some() {
                        warn!(component = %cx.title(), %error, "channels refuse datagrams, which are dropped");
                    }
                }
            }
        }
        drops.look(&out).await;
        Ok(())
    }
}

/// Puts datagrams, in smaller transactions where a channel takes no more at once. How many are lost,
/// and why the last ones are.
async fn put(out: &Outlet, batch: Batch, group: &mut usize) -> (usize, Option<PutError>) {
    let (mut lost, mut why) = (0, None);
    let mut parts = vec![batch];
    while let Some(mut rest) = parts.pop() {
        let part = rest.split_front(Size::events(*group));
        if !rest.is_empty() {
            parts.push(rest);
        }
        let Err(error) = out.put(part).await else { continue };
        match smaller_group(&error) {
            Some(smaller) => {
                *group = smaller.min(*group);
                parts.push(error.batch);
            }
            None => {
                lost += error.batch.len();
                why = Some(error);
            }
        }
    }
    (lost, why)
}

#[cfg(test)]
mod tests {
    use splashdam_core::{Channel, Role};
    use splashdam_testkit::{Collector, context, contract, outlet};

    use super::*;

    const KEYS: &str = "bind = 127.0.0.1\nport = 0";

    fn cx() -> Context {
        context(Role::Source)
    }

    async fn sender(to: SocketAddr) -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(to).await.unwrap();
        socket
    }

    #[tokio::test]
    async fn stops() {
        contract::source_stops::<NetcatUdp>(KEYS, cx).await;
    }

    #[tokio::test]
    async fn datagrams_become_events_up_to_their_line_end() {
        let keys = format!("{KEYS}\nremoteAddress = from");
        let source = contract::open_source::<NetcatUdp>(&keys, cx()).await;
        let sender = sender(source.local_addr().unwrap()).await;
        let collector = Collector::new();
        let running = contract::run_source(source, &collector);
        let long = "x".repeat(3000);
        for datagram in ["one", "two\nlost", "", "\n", "cr\r\n", &long] {
            sender.send(datagram.as_bytes()).await.unwrap();
        }
        let events = collector.wait_for(6).await;
        assert_eq!(collector.bodies(), ["one", "two", "", "", "cr\r", &long[..2048]]);
        let from = format!("/{}", sender.local_addr().unwrap());
        assert!(events.iter().all(|event| event.headers.get("from").is_some_and(|h| **h == *from)));
        running.stop().await.unwrap();
    }

    #[tokio::test]
    async fn what_is_refused_is_dropped_and_counted() {
        let source = contract::open_source::<NetcatUdp>(KEYS, cx()).await;
        let sender = sender(source.local_addr().unwrap()).await;
        let collector = Collector::new();
        collector.refuse(1);
        let running = contract::run_source(source, &collector);
        let metrics = running.outlet.clone();
        sender.send(b"lost").await.unwrap();
        while metrics.metrics().events_dropped.value() == 0 {
            tokio::task::yield_now().await;
        }
        sender.send(b"kept").await.unwrap();
        collector.wait_for(1).await;
        assert_eq!(collector.bodies(), ["kept"]);
        assert!(collector.events()[0].headers.is_empty());
        running.stop().await.unwrap();
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn what_the_kernel_drops_is_counted() {
        let source = contract::open_source::<NetcatUdp>(KEYS, cx()).await;
        rustix::net::sockopt::set_socket_recv_buffer_size(&source.socket, 4096).unwrap();
        let sender = sender(source.local_addr().unwrap()).await;
        // Nobody reads yet.
        for _ in 0..100 {
            sender.send(&[b'x'; 1000]).await.unwrap();
        }
        let collector = Collector::new();
        let running = contract::run_source(source, &collector);
        let metrics = running.outlet.clone();
        // The last look is at the end.
        running.stop().await.unwrap();
        let dropped = metrics.metrics().events_dropped.value();
        let got = collector.events().len() as u64;
        assert!(dropped > 50 && got + dropped <= 100, "{dropped} dropped, {got} came");
    }

    #[tokio::test]
    async fn a_channel_with_small_transactions_gets_small_ones() {
        let keys = "capacity = 1000\ntransactionCapacity = 7";
        let config = Section::parse(keys).read().into_result().unwrap();
        let memory =
            crate::channels::memory::Memory::open(config, context(Role::Channel)).await.unwrap();
        let out = outlet(memory.clone());
        let mut group = GROUP;
        let (lost, why) = put(&out, splashdam_testkit::events(0, 95), &mut group).await;
        assert!(lost == 0 && why.is_none());
        assert_eq!((memory.level().queued.events, group), (95, 7));
    }
}
