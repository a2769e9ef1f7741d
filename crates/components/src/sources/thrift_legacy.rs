//! Source `thriftLegacy`: events of agents of Flume 0.9, over Thrift without frames.
//!
//! Flume's class: `org.apache.flume.source.thriftLegacy.ThriftLegacySource`; `thriftLegacy` is a name of
//! ours. Host, time, priority and nanoseconds become the headers `host`, `timestamp`, `pri` and
//! `nanos`, the event's fields further ones, and `FlumeOG` is `yes`. Senders are told nothing. What
//! differs from Flume:
//!
//! - While the channels refuse, the connection is not read, so that the sender waits; Flume drops
//!   what they refuse. What was read and not put is lost when the agent stops.
//! - Events that arrive together share a transaction, of up to 100 or what the channel takes.
//! - An event that lacks a field has no such header; Flume drops it.
//! - Messages have at most 1 MiB, where Flume 0.9 sends up to 32 KiB, and 30 s to come; connections are
//!   limited by `maxConnections`.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use serde::Deserialize;
use splashdam_config::{Diagnostic, Section};
use splashdam_core::{
    Batch, Claim, Component, Context, Facts, Malformed, OpenError, Outlet, Size, Source,
    SourceError, Stop, Transport, Trouble,
};
use splashdam_wire::thrift::legacy::{MOST_BYTES, Said, read_message};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout_at};
use tracing::{debug, info, warn};

use super::thrift::prepare;
use super::{listen, smaller_group};
use crate::accepting::{Counted, serve_all};
use crate::tls::plain_listener;

/// Bytes that are read at once.
const READ_BYTES: usize = 16 * 1024;
/// Events in one transaction at the most.
const GROUP: usize = 100;
/// How long a message that was begun may take to come.
const MESSAGE_TIME: Duration = Duration::from_secs(30);
/// Waits between tries to put what channels refuse.
const RETRY: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(4)];

/// Keys of the legacy Thrift source.
#[derive(Clone, Debug, Deserialize)]
pub struct Config {
    /// Host name or address to listen on; `0.0.0.0` is every IPv4 address of this machine.
    pub host: String,
    /// TCP port to listen on; 0 lets the system choose a free one.
    pub port: u16,
    /// Connections at one time; further ones wait to be accepted. Not a key of Flume, which has no
    /// limit.
    #[serde(rename = "maxConnections", default = "max_connections")]
    pub max_connections: NonZeroUsize,
}

fn max_connections() -> NonZeroUsize {
    const { NonZeroUsize::new(100).unwrap() }
}

/// The source.
pub struct ThriftLegacy {
    config: Config,
    cx: Context,
    listener: TcpListener,
    /// How long a message that was begun may take to come.
    message_time: Duration,
}

impl ThriftLegacy {
    /// Where it listens.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Component for ThriftLegacy {
    const TYPE: &'static str = "thriftLegacy";
    const ALIASES: &'static [&'static str] =
        &["org.apache.flume.source.thriftLegacy.ThriftLegacySource"];
    type Config = Config;

    async fn open(config: Config, cx: Context) -> Result<Self, OpenError> {
        let listener = listen(&config.host, config.port).await?;
        if let Ok(address) = listener.local_addr() {
            info!(component = %cx.title(), %address, "listening for agents of Flume 0.9");
        }
        Ok(ThriftLegacy { config, cx, listener, message_time: MESSAGE_TIME })
    }

    fn facts(config: &Config) -> Facts {
        let crash = "what was sent and is not in a channel is lost";
        Facts {
            place: Some(format!("listens on {}:{}", config.host, config.port)),
            claims: vec![Claim::port("port", Transport::Tcp, &config.host, config.port)],
            memory_bytes: Some(
                (config.max_connections.get().saturating_mul(2 * MOST_BYTES)) as u64,
            ),
            acknowledged: Some("never: senders of Flume 0.9 are told nothing"),
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

/// Why no more messages are read of what has come. The events before that are put in any case.
enum End {
    /// More must come.
    More,
    /// The client is done, and gets this answer.
    Close(Vec<u8>),
    /// What follows is no message.
    Malformed(Malformed),
}

/// What all connections share.
struct Service {
    out: Outlet,
    cx: Context,
    stop: Stop,
    /// Events in one transaction; becomes smaller when a channel says that it takes no more.
    group: AtomicUsize,
    message_time: Duration,
    nonsense: Mutex<Trouble>,
}

impl Service {
    async fn serve(self: Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        let _open = Counted::new(self.out.metrics());
        let Err(error) = self.converse(stream).await else { return };
        if error.kind() != io::ErrorKind::InvalidData {
            debug!(component = %self.cx.title(), %peer, %error, "a client is gone");
            return;
        }
        self.out.metrics().read_failures.add(1);
        let mut nonsense = self.nonsense.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(repeats) = nonsense.happened(self.cx.world.instant(), "") {
            warn!(component = %self.cx.title(), %peer, %error, repeats, "a connection was closed; only agents of Flume 0.9 belong on this port");
        }
    }

    async fn converse(&self, mut stream: TcpStream) -> io::Result<()> {
        let mut buffer = BytesMut::new();
        // When the rest of a message that was begun is due.
        let mut due = None;
        loop {
            buffer.reserve(READ_BYTES);
            let Some(read) = self.stop.or(read_more(&mut stream, &mut buffer, due)).await else {
                return Ok(());
            };
            if read? == 0 {
                return Ok(());
            }
            let mut batch = Batch::default();
            // What is read of a message is a slice of what came.
            let mut rest = buffer.split().freeze();
            let before = rest.len();
            let end = read_messages(&mut rest, &mut batch);
            if rest.len() < before || rest.is_empty() {
                due = None;
            }
            if !rest.is_empty() {
                due = due.or_else(|| Some(Instant::now() + self.message_time));
            }
            // It is copied only when events hold on to what came before it.
            buffer = rest.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
            if !self.put(batch).await {
                return Ok(());
            }
            match end {
                End::More => {}
                End::Close(answer) => return stream.write_all(&answer).await,
                End::Malformed(error) => {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, error));
                }
            }
        }
    }

    /// Puts events, however long that takes; false when there is no use in going on.
    async fn put(&self, batch: Batch) -> bool {
        let mut parts = vec![batch];
        while let Some(mut rest) = parts.pop() {
            let part = rest.split_front(Size::events(self.group.load(Relaxed)));
            if !rest.is_empty() {
                parts.push(rest);
            }
            let [first, most] = RETRY;
            let Err(error) = self.out.put_patiently(part, &self.stop, first, most).await else {
                continue;
            };
            match smaller_group(&error) {
                Some(smaller) => {
                    self.group.fetch_min(smaller, Relaxed);
                    parts.push(error.batch);
                }
                None => {
                    let lost = error.batch.len() + parts.iter().map(Batch::len).sum::<usize>();
                    self.out.metrics().events_dropped.add(lost);
                    warn!(component = %self.cx.title(), %error, lost, "events are lost, as the channels do not take them");
                    return false;
                }
            }
        }
        true
    }
}

/// Reads what comes, or says that it took too long.
async fn read_more(
    stream: &mut TcpStream,
    buffer: &mut BytesMut,
    due: Option<Instant>,
) -> io::Result<usize> {
    let Some(due) = due else { return stream.read_buf(buffer).await };
    let late =
        |_| io::Error::new(io::ErrorKind::InvalidData, "a message took more than 30 s to come");
    timeout_at(due, stream.read_buf(buffer)).await.map_err(late)?
}

/// Takes whole messages off the front of what came.
fn read_messages(rest: &mut Bytes, batch: &mut Batch) -> End {
    loop {
        let (said, length) = match read_message(rest) {
            Ok(Some(read)) => read,
            Ok(None) => return End::More,
            Err(error) => return End::Malformed(error),
        };
        rest.advance(length);
        match said {
            Said::Event(event) => batch.push(event),
            Said::Close(answer) => return End::Close(answer),
            Said::Nothing => {}
        }
    }
}

impl Source for ThriftLegacy {
    async fn run(self, out: Outlet, stop: Stop) -> Result<(), SourceError> {
        let ThriftLegacy { config, cx, listener, message_time } = self;
        let most = config.max_connections.get();
        let (group, nonsense) = (AtomicUsize::new(GROUP), Mutex::new(Trouble::new()));
        let (its_cx, its_stop) = (cx.clone(), stop.clone());
        let service = Service { out, cx: its_cx, stop: its_stop, group, message_time, nonsense };
        let service = Arc::new(service);
        serve_all(&cx, service.out.metrics(), &stop, listener, most, |stream, peer| {
            prepare(&cx, &stream);
            service.clone().serve(stream, peer)
        })
        .await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use splashdam_core::Role;
    use splashdam_testkit::{Collector, context, contract};
    use tokio::time::timeout;

    use super::*;

    const KEYS: &str = "host = 127.0.0.1\nport = 0";

    fn cx() -> Context {
        context(Role::Source)
    }

    fn text(text: &str) -> Vec<u8> {
        [&u32::try_from(text.len()).unwrap().to_be_bytes()[..], text.as_bytes()].concat()
    }

    fn append(body: &str) -> Vec<u8> {
        let event =
            [vec![12, 0, 1, 11, 0, 3], text(body), vec![11, 0, 5], text("mill"), vec![0, 0]];
        [text("append"), vec![4, 0, 0, 0, 1], event.concat()].concat()
    }

    #[tokio::test]
    async fn stops() {
        contract::source_stops::<ThriftLegacy>(KEYS, cx).await;
    }

    #[tokio::test]
    async fn events_are_taken_however_they_are_cut_and_close_is_answered() {
        let source = contract::open_source::<ThriftLegacy>(KEYS, cx()).await;
        let address = source.local_addr().unwrap();
        let collector = Collector::new();
        collector.refuse(1);
        let running = contract::run_source(source, &collector);
        let large = "x".repeat(100_000);
        let close = [text("close"), vec![1, 0, 0, 0, 7, 0]].concat();
        let all = [append("one"), append(&large), append("two"), close].concat();
        let mut stream = TcpStream::connect(address).await.unwrap();
        for part in all.chunks(30_000) {
            stream.write_all(part).await.unwrap();
            tokio::task::yield_now().await;
        }
        let mut answer = Vec::new();
        let read = timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
        read.expect("it is answered").unwrap();
        assert_eq!(answer, [&[0x80, 1, 0, 2][..], &text("close"), &[0, 0, 0, 7, 0]].concat());
        assert_eq!(collector.bodies(), ["one", &large, "two"]);
        let events = collector.events();
        let header = |name: &str| events[2].headers.get(name).map(ToString::to_string);
        assert_eq!([header("host"), header("FlumeOG")], [Some("mill".into()), Some("yes".into())]);
        running.stop().await.unwrap();
    }

    #[tokio::test]
    async fn a_slow_message_is_given_up_and_an_idle_client_is_not() {
        const SHORT: Duration = Duration::from_millis(200);
        let mut source = contract::open_source::<ThriftLegacy>(KEYS, cx()).await;
        assert_eq!(source.message_time, MESSAGE_TIME);
        source.message_time = SHORT;
        let address = source.local_addr().unwrap();
        let collector = Collector::new();
        let running = contract::run_source(source, &collector);
        let mut idle = TcpStream::connect(address).await.unwrap();
        idle.write_all(&append("one")).await.unwrap();
        let mut slow = TcpStream::connect(address).await.unwrap();
        let began = Instant::now();
        slow.write_all(&append("never")[..20]).await.unwrap();
        let given_up = timeout(MESSAGE_TIME, slow.read(&mut [0])).await;
        assert_eq!(given_up.expect("it is given up").unwrap(), 0);
        assert!(began.elapsed() >= SHORT, "{:?}", began.elapsed());
        tokio::time::sleep(2 * SHORT).await;
        idle.write_all(&append("two")).await.unwrap();
        collector.wait_for(2).await;
        assert_eq!(collector.bodies(), ["one", "two"]);
        assert_eq!(running.outlet.metrics().read_failures.value(), 1);
        running.stop().await.unwrap();
    }

    #[tokio::test]
    async fn nonsense_ends_its_connection_and_nobody_elses() {
        let source = contract::open_source::<ThriftLegacy>(KEYS, cx()).await;
        let address = source.local_addr().unwrap();
        let collector = Collector::new();
        let running = contract::run_source(source, &collector);
        let mut good = TcpStream::connect(address).await.unwrap();
        let mut bad = TcpStream::connect(address).await.unwrap();
        let nonsense = [append("before"), b"\x80\x02\0\x01".to_vec()].concat();
        bad.write_all(&nonsense).await.unwrap();
        let mut rest = Vec::new();
        let closed = timeout(Duration::from_secs(10), bad.read_to_end(&mut rest)).await;
        drop(closed.expect("it is closed"));
        good.write_all(&append("kept")).await.unwrap();
        collector.wait_for(2).await;
        assert_eq!(collector.bodies(), ["before", "kept"], "what came before nonsense is put");
        assert_eq!(running.outlet.metrics().read_failures.value(), 1);
        running.stop().await.unwrap();
    }
}
