//! Sink `thrift`: batches to the Thrift source of another agent, Flume's or ours.
//!
//! Flume's class: `org.apache.flume.sink.ThriftSink`. A batch goes out as one call, or as several
//! where it makes more than the 16,384,000 bytes of a frame.
//!
//! Where the peer is our own source with a single channel, or file channels that share a log, and this
//! sink drains a file channel that syncs each commit, or a memory channel, each call says which events
//! of which queue it carries (`splashdam_wire::claim`), and the peer stores each of them once. With
//! any other peer delivery is at least once. Which of both it is, is said in the log when it becomes
//! known.
//!
//! What differs from Flume:
//!
//! - `connect-timeout` counts; Flume's Thrift client has no such limit.
//! - The connection is made with the first batch, and is kept when the other agent answers that its
//!   channel is full.
//! - `reset-connection-interval` may also be written as Flume's guide has it,
//!   `connection-reset-interval`.
//! - `trust-all-certs` counts; Flume's Thrift client does not look at it.
//! - Of the keys of Flume's RPC client those of the Thrift client are known, but for `hosts`.
//! - An event that no frame can carry goes to the channel of dead letters, if there is one; else it
//!   holds the sink, as in Flume.
//! - Kerberos is refused: it is not built in.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Deserialize;
use splashdam_client::thrift::Connection;
use splashdam_client::{Address, CallError, Connect};
use splashdam_config::{Diagnostic, Lenient, Section};
use splashdam_core::metrics::SinkMetrics;
use splashdam_core::{
    Batch, Component, Context, DeliverError, Delivered, Event, Facts, OpenError, Rejected, Sink,
    Size, World,
};
use splashdam_wire::claim::Claim;
use splashdam_wire::thrift::{MOST_FRAME_BYTES, Protocol, rpc};
use tracing::info;

use crate::dialer::Dialer;
use crate::tls::ClientTls;

#[cfg(feature = "simulation")]
use crate::simulation::{planted, settled_early};

const BATCH_EVENTS: NonZeroU32 = NonZeroU32::new(100).unwrap();
const TIMEOUT_MILLIS: u32 = 20_000;
/// Shorter timeouts are not believed, as in Flume.
const LEAST_TIMEOUT_MILLIS: u32 = 1000;
/// What is said of `kerberos = true`.
const NO_KERBEROS: &str = "Kerberos is not built in, for Thrift neither";

/// Keys of the thrift sink.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Config {
    /// Host name or address of the other agent.
    pub hostname: String,
    /// The port of its source.
    pub port: u16,
    /// Events per transaction, and per call. What is not a positive number means 100, as in Flume.
    #[serde(default = "batch_size")]
    pub batch_size: Lenient<NonZeroU32>,
    /// Milliseconds to wait for a connection. Less than 1000 means 20000, as in Flume.
    #[serde(default = "default_timeout")]
    pub connect_timeout: Lenient<u32>,
    /// Milliseconds to wait for the answer to a call. Less than 1000 means 20000, as in Flume.
    #[serde(default = "default_timeout")]
    pub request_timeout: Lenient<u32>,
    /// Seconds after which the next batch goes out on a new connection, so that a balancer in
    /// between may choose anew; 0 means never.
    #[serde(default, alias = "connection-reset-interval")]
    pub reset_connection_interval: Lenient<u32>,
    /// Accepted as in Flume. One connection is in use, as one batch is under way at a time; several
    /// sinks in a group use several.
    #[serde(default, rename = "maxConnections")]
    pub max_connections: Lenient<u32>,
    /// `compact` or `binary`, in small letters. Anything else means compact, as in Flume.
    #[serde(default = "protocol")]
    pub protocol: String,
    /// Whether to prove who we are by Kerberos, which is refused here.
    #[serde(default)]
    pub kerberos: bool,
    /// Accepted as in Flume, for Kerberos.
    pub client_principal: Option<String>,
    /// Accepted as in Flume, for Kerberos.
    pub client_keytab: Option<String>,
    /// Accepted as in Flume, for Kerberos.
    pub server_principal: Option<String>,
    /// TLS.
    #[serde(rename = ".tls", default)]
    pub tls: ClientTls,
}

fn batch_size() -> Lenient<NonZeroU32> {
    Lenient(Some(BATCH_EVENTS))
}

fn default_timeout() -> Lenient<u32> {
    Lenient(Some(TIMEOUT_MILLIS))
}

fn protocol() -> String {
    "compact".to_owned()
}

/// A timeout as it counts.
fn timeout(millis: Lenient<u32>) -> Duration {
    let millis = millis.0.filter(|millis| *millis >= LEAST_TIMEOUT_MILLIS);
    Duration::from_millis(millis.unwrap_or(TIMEOUT_MILLIS).into())
}

impl Config {
    fn batch_events(&self) -> usize {
        usize::try_from(self.batch_size.unwrap_or(BATCH_EVENTS).get()).unwrap_or(usize::MAX)
    }

    fn protocol(&self) -> Protocol {
        if self.protocol == "binary" { Protocol::Binary } else { Protocol::Compact }
    }
}

/// The sink.
pub struct Thrift {
    title: String,
    world: Arc<dyn World>,
    metrics: Arc<SinkMetrics>,
    connect: Arc<dyn Connect>,
    address: Address,
    protocol: Protocol,
    batch_events: usize,
    connect_timeout: Duration,
    request_timeout: Duration,
    /// How long a connection is used, if that has an end.
    reset_after: Option<Duration>,
    /// Whether somebody takes what no frame can carry.
    dead_letters: bool,
    open: Option<Open>,
    /// Whether the peer stores each event once, as far as it is known.
    guarantee: Option<bool>,
    #[cfg(feature = "simulation")]
    simulation: Arc<crate::Simulation>,
}

struct Open {
    connection: Connection,
    since: Instant,
}

impl Component for Thrift {
    const TYPE: &'static str = "thrift";
    const ALIASES: &'static [&'static str] = &["org.apache.flume.sink.ThriftSink"];
    type Config = Config;

    async fn open(config: Config, cx: Context) -> Result<Self, OpenError> {
        if config.kerberos {
            return Err(OpenError::config(NO_KERBEROS));
        }
        let connect: Arc<dyn Connect> = Arc::new(Dialer::new(&config.tls, None, &cx).await?);
        #[cfg(feature = "simulation")]
        let connect = match cx.shared.of::<crate::Simulation>().network.get() {
            Some(network) => network.clone(),
            None => connect,
        };
        let reset = config.reset_connection_interval.unwrap_or(0);
        Ok(Thrift {
            title: cx.title(),
            metrics: cx.counters.sink(),
            #[cfg(feature = "simulation")]
            simulation: cx.shared.of(),
            world: cx.world,
            connect,
            protocol: config.protocol(),
            batch_events: config.batch_events(),
            connect_timeout: timeout(config.connect_timeout),
            request_timeout: timeout(config.request_timeout),
            reset_after: (reset > 0).then(|| Duration::from_secs(reset.into())),
            address: Address { host: config.hostname, port: config.port },
            dead_letters: cx.dead_letters,
            open: None,
            guarantee: None,
        })
    }

    fn facts(config: &Config) -> Facts {
        let crash = "a batch whose answer did not come is sent again, and may then be there twice; a \
                     Thrift source of ours with a single channel, or file channels that share a log, \
                     stores it once if the same peer gets it";
        let address = Address { host: config.hostname.clone(), port: config.port };
        Facts {
            batch_events: Some(config.batch_events()),
            place: Some(format!("sends to {address}")),
            process_crash: Some(crash),
            machine_crash: Some(crash),
            rejects: Some(
                "an event that makes a frame of more than 16384000 bytes holds the sink, as in Flume",
            ),
            ..Facts::default()
        }
    }

    fn check(config: &Config, section: &Section) -> Vec<Diagnostic> {
        let mut findings = config.tls.findings(section);
        if config.kerberos {
            let finding = Diagnostic::error("kerberos-not-built", NO_KERBEROS);
            let finding = finding.at(section.value_span("kerberos"));
            findings.push(finding.label("this sink cannot start").help("write `false`"));
        }
        if !["compact", "binary"].contains(&config.protocol.as_str()) {
            let message = format!("`{}` means the compact protocol", config.protocol);
            let finding = Diagnostic::warning("value-replaced", message);
            let finding = finding.at(section.value_span("protocol"));
            findings.push(finding.help("write `compact` or `binary`, in small letters"));
        }
        let timeouts = [
            ("connect-timeout", config.connect_timeout),
            ("request-timeout", config.request_timeout),
        ];
        for (key, millis) in timeouts {
            if let Some(millis @ ..LEAST_TIMEOUT_MILLIS) = millis.0 {
                let message = format!("`{key}` cannot be {millis} ms");
                let finding = Diagnostic::warning("value-replaced", message);
                let finding = finding.at(section.value_span(key));
                let finding = finding.label(format!("{TIMEOUT_MILLIS} is used instead"));
                findings.push(finding.help("write milliseconds, 1000 or more"));
            }
        }
        findings
    }
}

impl Sink for Thrift {
    fn limit(&self) -> Size {
        Size { events: self.batch_events, bytes: MOST_FRAME_BYTES }
    }

    async fn deliver(&mut self, batch: &Batch) -> Result<Delivered, DeliverError> {
        let limit = self.request_timeout;
        let rejected = self.too_large(batch);
        let few: Vec<Event>;
        let events = match rejected.is_empty() {
            true => batch.events(),
            false => {
                few = all_but(batch.events(), &rejected);
                &few
            }
        };
        if events.is_empty() {
            // Nobody has to be asked for that.
            return Ok(Delivered::all_but(batch, rejected));
        }
        let claim = batch.place().map(|place| match rejected.is_empty() {
            true => Claim::of(place),
            false => Claim::of(&place.without(rejected.iter().map(|rejected| rejected.at))),
        });
        let claim = claim.filter(Claim::is_readable);
        #[cfg(feature = "simulation")]
        let claim = claim.map(|claim| match planted!(self, LowAhead) {
            true => settled_early(claim),
            false => claim,
        });
        let connection = self.connection().await.map_err(DeliverError::fail_over)?;
        match connection.append_claimed(events, claim, limit).await {
            Ok(stores_once) => {
                self.learn(stores_once);
                Ok(Delivered::all_but(batch, rejected))
            }
            Err(error) => {
                if !error.keeps_connection() {
                    self.disconnect();
                }
                Err(DeliverError::fail_over(error))
            }
        }
    }

    async fn close(mut self) -> Result<(), DeliverError> {
        self.disconnect();
        Ok(())
    }
}

/// The events that are not rejected.
fn all_but(events: &[Event], rejected: &[Rejected]) -> Vec<Event> {
    let mut rejected = rejected.iter().map(|rejected| rejected.at).peekable();
    let sent = events.iter().enumerate().filter(|(at, _)| rejected.next_if_eq(at).is_none());
    sent.map(|(_, event)| event.clone()).collect()
}

impl Thrift {
    /// Events that no frame can carry, where somebody takes them. Only large ones are looked at
    /// closely: around its bytes an event needs no more than some for each header.
    fn too_large(&self, batch: &Batch) -> Vec<Rejected> {
        let is_large = |bytes: usize| bytes > MOST_FRAME_BYTES / 16;
        if !self.dead_letters || !is_large(batch.size().bytes) {
            return Vec::new();
        }
        let large = batch.events().iter().enumerate().filter(|(_, event)| is_large(event.bytes()));
        let rejected = large.filter_map(|(at, event)| {
            let refused =
                rpc::write_append_batch(self.protocol, 0, std::slice::from_ref(event), None)
                    .err()?;
            Some(Rejected { at, why: refused.to_string() })
        });
        rejected.collect()
    }

    /// The connection, made anew where there is none, or where it has served its time.
    async fn connection(&mut self) -> Result<&mut Connection, CallError> {
        let now = self.world.instant();
        let serves = |open: &Open| {
            let age = now.saturating_duration_since(open.since);
            open.connection.is_usable() && self.reset_after.is_none_or(|most| age < most)
        };
        if !self.open.as_ref().is_some_and(serves) {
            self.disconnect();
        }
        let open = match self.open.take() {
            Some(open) => open,
            None => self.connect().await?,
        };
        Ok(&mut self.open.insert(open).connection)
    }

    async fn connect(&mut self) -> Result<Open, CallError> {
        let (address, limit) = (self.address.clone(), self.connect_timeout);
        match Connection::open(&*self.connect, address, self.protocol, limit).await {
            Ok(connection) => {
                self.metrics.connections_created.add(1);
                info!(component = %self.title, address = %self.address, "connected");
                Ok(Open { connection, since: self.world.instant() })
            }
            Err(error) => {
                self.metrics.connections_failed.add(1);
                Err(error)
            }
        }
    }

    fn learn(&mut self, stores_once: bool) {
        if self.guarantee.replace(stores_once) == Some(stores_once) {
            return;
        }
        let address = &self.address;
        if stores_once {
            info!(component = %self.title, %address, "the peer stores each event once, also what has to be sent again");
        } else {
            info!(component = %self.title, %address, "delivery is at least once: what has to be sent again may be there twice");
        }
    }

    fn disconnect(&mut self) {
        if self.open.take().is_some() {
            self.metrics.connections_closed.add(1);
        }
    }
}

#[cfg(test)]
mod tests;
