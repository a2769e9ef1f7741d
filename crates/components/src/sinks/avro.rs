//! Sink `avro`: batches to a Flume's Avro source, or to our own.
//!
//! Flume's class: `org.apache.flume.sink.AvroSink`. A batch is one `appendBatch`, delivered once the
//! answer is `OK`. Whatever else happens, the connection is closed and the batch goes back; an answer
//! that was lost makes the peer have the batch twice.
//!
//! Not so where the peer is our own source with a single channel, or file channels that share a log,
//! and this sink drains a file channel that syncs each commit, or a memory channel: then each call says which events of which queue it carries
//! (`splashdam_wire::claim`), the peer stores each of them once, and several calls may be
//! under way at once. Which of both it is, is said in the log when it becomes known.

mod calls;
mod connection;
mod refused;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use splashdam_config::{Diagnostic, Lenient, Section};
use splashdam_core::metrics::SinkMetrics;
use splashdam_core::{
    Batch, Component, Context, DeliverError, Delivered, Event, Facts, OpenError, Sink, Size,
};
use splashdam_wire::avro::handshake::{FLUME_HASH, Hash};
use tokio::time::Instant;
use tracing::info;

use crate::channels::value_replaced;
use crate::tls::{ClientTls, Connector};
use crate::zlib_stream::unspoken;
use calls::{CALL_BYTES, claims, lengths};
use connection::{Connection, SendError, Settings};

#[cfg(feature = "simulation")]
use crate::simulation::{planted, settled_early};

/// Calls under way at once, where the peer stores each event once.
const CALLS: usize = 8;
/// A call with more bytes than this may be more than its peer takes, which then hangs up.
const LARGE_BYTES: usize = 1024 * 1024;
/// Shorter timeouts are not believed, as in Flume.
const LEAST_TIMEOUT: i64 = 1000;
const TIMEOUT: i64 = 20_000;
const BATCH_SIZE: u32 = 100;
const LEVEL: u32 = 6;

/// Keys of the Avro sink.
#[derive(Clone, Debug, Deserialize)]
pub struct Config {
    /// The peer's host name or address.
    pub hostname: String,
    /// The peer's TCP port.
    pub port: u16,
    /// Events in one call, and so in one transaction of the peer; less than 1 means the default. A call
    /// has at most 8 MiB of bodies and headers, unless one event alone has more: beyond that events
    /// go into the next one.
    #[serde(rename = "batch-size", default = "batch_size")]
    pub batch_size: Lenient<i64>,
    /// Milliseconds for connecting, and for handing a call over; less than 1000 means the default.
    #[serde(rename = "connect-timeout", default = "milliseconds")]
    pub connect_timeout: Lenient<i64>,
    /// Milliseconds for the answer to a call; less than 1000 means the default.
    #[serde(rename = "request-timeout", default = "milliseconds")]
    pub request_timeout: Lenient<i64>,
    /// Seconds after which the connection is closed and made anew before the next batch, so that a
    /// load balancer can choose another host; 0 means never.
    #[serde(rename = "reset-connection-interval", default = "never")]
    pub reset_connection_interval: Lenient<i64>,
    /// `deflate` to compress what is sent; the peer must do so too.
    #[serde(rename = "compression-type", default)]
    pub compression_type: String,
    /// How hard to compress, 1 to 9; 0 is taken for 1.
    #[serde(rename = "compression-level", default = "level")]
    pub compression_level: Lenient<u32>,
    /// With `ssl` and `deflate` together: whether what is compressed is encrypted, as up to Flume 1.9, and not what
    /// is encrypted compressed, as from 1.10 on. Our own source understands both. Not a key of Flume.
    #[serde(rename = "deflate-inside-tls", default)]
    pub deflate_inside_tls: bool,
    /// Encryption.
    #[serde(rename = ".tls", default)]
    pub tls: ClientTls,
    /// Read and not used, as in Flume 1.11.
    #[serde(rename = "maxIoWorkers", default)]
    pub max_io_workers: Lenient<i64>,
}

fn batch_size() -> Lenient<i64> {
    Lenient(Some(BATCH_SIZE.into()))
}

fn milliseconds() -> Lenient<i64> {
    Lenient(Some(TIMEOUT))
}

fn never() -> Lenient<i64> {
    Lenient(Some(0))
}

fn level() -> Lenient<u32> {
    Lenient(Some(LEVEL))
}

impl Config {
    fn batch_events(&self) -> NonZeroU32 {
        let written = self.batch_size.0.and_then(|size| u32::try_from(size).ok());
        written.and_then(NonZeroU32::new).unwrap_or(const { NonZeroU32::new(BATCH_SIZE).unwrap() })
    }

    fn settings(&self, connector: Option<Connector>) -> Settings {
        let timeout = |written: Lenient<i64>| {
            let written = written.0.filter(|millis| *millis >= LEAST_TIMEOUT).unwrap_or(TIMEOUT);
            Duration::from_millis(written.unsigned_abs())
        };
        Settings {
            host: self.hostname.clone(),
            port: self.port,
            connect_timeout: timeout(self.connect_timeout),
            request_timeout: timeout(self.request_timeout),
            deflate: self
                .compression_type
                .eq_ignore_ascii_case("deflate")
                .then(|| self.compression_level.0.filter(|level| *level <= 9).unwrap_or(LEVEL)),
            connector,
            deflate_inside_tls: self.deflate_inside_tls,
            #[cfg(feature = "simulation")]
            network: None,
        }
    }

    fn reset_after(&self) -> Option<Duration> {
        let seconds = self.reset_connection_interval.0.and_then(|s| u64::try_from(s).ok());
        seconds.filter(|seconds| *seconds > 0).map(Duration::from_secs)
    }
}

/// The sink.
pub struct Avro {
    title: String,
    settings: Settings,
    batch_events: usize,
    reset_after: Option<Duration>,
    metrics: Arc<SinkMetrics>,
    /// What the peer said its protocol's hash is.
    peer_hash: Hash,
    connection: Option<(Connection, Instant)>,
    /// Whether several calls may be under way: as the last batch and the peer are.
    ahead: bool,
    guarantee: Option<bool>,
    /// Whether somebody takes what the peer refuses for good.
    dead_letters: bool,
    /// Deliveries in a row that ended as they do when the peer will not have an event.
    suspicious: u32,
    waits: refused::Waits,
    #[cfg(feature = "simulation")]
    simulation: Arc<crate::Simulation>,
}

impl Component for Avro {
    const TYPE: &'static str = "avro";
    const ALIASES: &'static [&'static str] = &["org.apache.flume.sink.AvroSink"];
    type Config = Config;

    async fn open(config: Config, cx: Context) -> Result<Self, OpenError> {
        let connector = config.tls.connector(&cx).await?;
        Ok(Avro {
            title: cx.title(),
            settings: Settings {
                #[cfg(feature = "simulation")]
                network: cx.shared.of::<crate::Simulation>().network.get().cloned(),
                ..config.settings(connector)
            },
            batch_events: config.batch_events().get() as usize,
            reset_after: config.reset_after(),
            metrics: cx.counters.sink(),
            peer_hash: FLUME_HASH,
            connection: None,
            ahead: false,
            guarantee: None,
            dead_letters: cx.dead_letters,
            suspicious: 0,
            waits: refused::Waits::default(),
            #[cfg(feature = "simulation")]
            simulation: cx.shared.of(),
        })
    }

    fn facts(config: &Config) -> Facts {
        let crash = "a batch whose answer did not come is sent again, and may then be there twice; an Avro source of ours with a single channel, or file channels that share a log, stores it once if the same peer gets it";
        Facts {
            batch_events: Some(config.batch_events().get() as usize),
            place: Some(format!("sends to {}:{}", config.hostname, config.port)),
            process_crash: Some(crash),
            machine_crash: Some(crash),
            rejects: Some(refused::HOLDS),
            ..Facts::default()
        }
    }

    fn check(config: &Config, section: &Section) -> Vec<Diagnostic> {
        let mut findings = config.tls.findings(section);
        findings.extend(unspoken(&config.compression_type, section));
        let replaced = |key, value: Lenient<i64>, least, default: i64| {
            value_replaced(section, key, value, least, default)
        };
        findings.extend(replaced("batch-size", config.batch_size, 1, BATCH_SIZE.into()));
        findings.extend(replaced(
            "connect-timeout",
            config.connect_timeout,
            LEAST_TIMEOUT,
            TIMEOUT,
        ));
        findings.extend(replaced(
            "request-timeout",
            config.request_timeout,
            LEAST_TIMEOUT,
            TIMEOUT,
        ));
        if let Some(level @ 10..) = config.compression_level.0 {
            let message = format!("`compression-level` cannot be {level}");
            let finding = Diagnostic::warning("value-replaced", message)
                .at(section.value_span("compression-level"))
                .label(format!("{LEVEL} is used instead"));
            findings.push(finding.help("write 1 (fast) to 9 (small)"));
        }
        findings
    }
}

impl Avro {
    /// The connection, made now if there is none. It is out of the sink while it is used, so that a
    /// delivery that is given up leaves none behind that is half through.
    async fn connected(&mut self) -> Result<(Connection, Instant), DeliverError> {
        let old = |made: &Instant| self.reset_after.is_some_and(|after| made.elapsed() >= after);
        if let Some((connection, made)) = self.connection.take() {
            if !old(&made) && connection.is_usable() {
                return Ok((connection, made));
            }
            self.metrics.connections_closed.add(1);
            connection.close().await;
        }
        match Connection::open(&self.settings).await {
            Ok(connection) => {
                self.metrics.connections_created.add(1);
                Ok((connection, Instant::now()))
            }
            Err(error) => {
                self.metrics.connections_failed.add(1);
                Err(DeliverError::fail_over(error.to_string()))
            }
        }
    }

    /// Counts a connection that is given up.
    fn failed(&self, error: &SendError, hint: &str) -> DeliverError {
        self.metrics.connections_closed.add(1);
        let Settings { host, port, .. } = &self.settings;
        DeliverError::fail_over(format!("{host}:{port}: {error}{hint}"))
    }

    fn learn(&mut self, stores_once: bool) {
        if self.guarantee.replace(stores_once) == Some(stores_once) {
            return;
        }
        let peer = format!("{}:{}", self.settings.host, self.settings.port);
        if stores_once {
            info!(component = %self.title, peer, "the peer stores each event once, also what has to be sent again");
        } else {
            info!(component = %self.title, peer, "delivery is at least once: what has to be sent again may be there twice");
        }
    }
}

impl Sink for Avro {
    fn limit(&self) -> Size {
        let calls = if self.ahead { CALLS } else { 1 };
        Size { events: self.batch_events.saturating_mul(calls), bytes: CALL_BYTES }
    }

    fn batch_events(&self) -> usize {
        self.batch_events
    }

    async fn deliver(&mut self, batch: &Batch) -> Result<Delivered, DeliverError> {
        if self.suspects() {
            return self.sift(batch).await;
        }
        let (mut connection, made) = self.connected().await?;
        let calls = lengths(batch.events(), self.batch_events);
        let claims = batch.place().and_then(|place| claims(place, &calls));
        #[cfg(feature = "simulation")]
        let claims = claims.map(|claims| match planted!(self, LowAhead) {
            true => claims.into_iter().map(settled_early).collect(),
            false => claims,
        });
        let sent =
            connection.send(batch.events(), &calls, claims.as_deref(), &mut self.peer_hash).await;
        if let Err(error) = sent {
            self.suspect(&error);
            let hung_up = matches!(error, SendError::Closed | SendError::Io(_));
            let large = largest(batch, &calls).filter(|_| hung_up);
            let hint = large.map(|bytes| {
                format!(
                    "; a call had {bytes} bytes: if that is more than the peer takes, raise its \
                     `maxMessageBytes` or lower `batch-size`"
                )
            });
            return Err(self.failed(&error, &hint.unwrap_or_default()));
        }
        self.suspicious = 0;
        let peer = connection.peer();
        let stores_once = claims.is_some() && peer.stores_once;
        self.ahead = stores_once && peer.in_order;
        self.learn(stores_once);
        self.connection = Some((connection, made));
        Ok(Delivered::all(batch))
    }

    async fn close(self) -> Result<(), DeliverError> {
        if let Some((connection, _)) = self.connection {
            self.metrics.connections_closed.add(1);
            connection.close().await;
        }
        Ok(())
    }
}

/// Bytes of the largest of the calls that these events are sent in, if it is a large one.
fn largest(batch: &Batch, calls: &[usize]) -> Option<usize> {
    let mut events = batch.events().iter();
    let bytes = calls.iter().map(|call| events.by_ref().take(*call).map(Event::bytes).sum());
    bytes.max().filter(|bytes| *bytes > LARGE_BYTES)
}

#[cfg(test)]
mod tests;
