//! Sink `syslog`: messages to a syslog server, over TCP, TLS or UDP. Flume has none.
//!
//! A message is written from an event: the headers `Facility`, `Severity`, `timestamp`, `host`,
//! `appname`, `procid` and `msgid` are its parts, as this agent's syslog sources set them, and keys of
//! the sink stand in for the first two, the host and the program where an event lacks them. The body
//! is the text.
//!
//! **Syslog has no acknowledgement.** A batch counts as delivered when the system took all of its
//! bytes, so what the server, or the network, loses after that is gone; over UDP nobody knows. A
//! connection that turns out broken while a batch is written means the whole batch is written again,
//! so that some of it may come twice. Where that is too little, use a hop of Avro.
//!
//! With `framing = newline` line ends within a message become blanks. A datagram holds 65,507 bytes;
//! what is longer is cut, or goes whole to the channel of dead letters where there is one.

mod target;

use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use serde::Deserialize;
use splashdam_client::Address;
use splashdam_config::{Diagnostic, Section};
use splashdam_core::metrics::SinkMetrics;
use splashdam_core::{
    Batch, Component, Context, DeliverError, Delivered, Event, Facts, OpenError, Rejected, Sink,
    Size, World,
};
use splashdam_wire::syslog::write::{Delimiting, Form, Message, write};
use tracing::{info, warn};

use crate::dialer::Dialer;
use crate::time_zone;
use crate::tls::ClientTls;
use target::Target;

/// Bytes of one delivery.
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// Bytes of a datagram of UDP over IPv4.
const DATAGRAM_BYTES: usize = 65_507;

/// Keys of the syslog sink.
#[derive(Clone, Debug, Deserialize)]
pub struct Config {
    /// Host name or address of the server.
    pub hostname: String,
    /// Its port: by custom 514 over UDP and TCP, 6514 over TLS.
    pub port: u16,
    /// `tcp` or `udp`.
    #[serde(default)]
    pub protocol: Protocol,
    /// `rfc5424` or `rfc3164`, which has no place for years, zones and kinds of message.
    #[serde(default)]
    pub format: Format,
    /// How messages follow each other over TCP: `octet-counted`, each begins with its length;
    /// `newline`, each ends at LF, for servers that understand nothing else.
    #[serde(default)]
    pub framing: Framing,
    /// The facility of events that have no header `Facility` with a number from 0 to 23. 1 is user
    /// level, 16 is `local0`.
    #[serde(default = "facility")]
    pub facility: Code<23>,
    /// The severity of events that have no header `Severity` with a number from 0 to 7. 5 is notice.
    #[serde(default = "severity")]
    pub severity: Code<7>,
    /// The host of events that have no header `host`; this host's name, when it is not set.
    pub host: Option<String>,
    /// The program of events that have no header `appname`.
    #[serde(rename = "appName", default = "app_name")]
    pub app_name: String,
    /// Events per transaction.
    #[serde(rename = "batchSize", default = "batch_size")]
    pub batch_size: NonZeroUsize,
    /// Milliseconds to wait for a connection.
    #[serde(rename = "connect-timeout", default = "timeout_millis")]
    pub connect_timeout: NonZeroU32,
    /// Milliseconds that the server may take to take a batch.
    #[serde(rename = "request-timeout", default = "timeout_millis")]
    pub request_timeout: NonZeroU32,
    /// TLS, over TCP.
    #[serde(rename = ".tls", default)]
    pub tls: ClientTls,
}

/// What carries messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// One behind the other on a connection.
    #[default]
    Tcp,
    /// One a datagram.
    Udp,
}

/// How messages are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// The newer.
    #[default]
    Rfc5424,
    /// The older.
    Rfc3164,
}

/// How messages follow each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Framing {
    /// Each begins with its length.
    #[default]
    OctetCounted,
    /// Each ends at LF.
    Newline,
}

/// A number up to `MOST`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u8")]
pub struct Code<const MOST: u8>(u8);

impl<const MOST: u8> TryFrom<u8> for Code<MOST> {
    type Error = String;

    fn try_from(code: u8) -> Result<Self, String> {
        if code > MOST { Err(format!("{code} is more than {MOST}")) } else { Ok(Code(code)) }
    }
}

fn facility() -> Code<23> {
    Code(1)
}

fn severity() -> Code<7> {
    Code(5)
}

fn app_name() -> String {
    "splashdam".to_owned()
}

fn batch_size() -> NonZeroUsize {
    const { NonZeroUsize::new(100).unwrap() }
}

fn timeout_millis() -> NonZeroU32 {
    const { NonZeroU32::new(20_000).unwrap() }
}

impl Config {
    fn delimiting(&self) -> Delimiting {
        match (self.protocol, self.framing) {
            (Protocol::Udp, _) => Delimiting::Datagram,
            (Protocol::Tcp, Framing::OctetCounted) => Delimiting::OctetCounted,
            (Protocol::Tcp, Framing::Newline) => Delimiting::Newline,
        }
    }
}

/// The sink.
pub struct Syslog {
    name: Arc<str>,
    world: Arc<dyn World>,
    metrics: Arc<SinkMetrics>,
    writer: Writer,
    target: Target,
    batch_size: NonZeroUsize,
    request_timeout: Duration,
    /// Whether it was said that datagrams are cut.
    cut: bool,
}

/// How events become messages.
struct Writer {
    form: Form,
    delimiting: Delimiting,
    zone: TimeZone,
    facility: u8,
    severity: u8,
    host: String,
    app_name: String,
    /// Whether somebody takes what is too long for a datagram.
    dead_letters: bool,
}

impl Component for Syslog {
    const TYPE: &'static str = "syslog";
    type Config = Config;

    async fn open(config: Config, cx: Context) -> Result<Self, OpenError> {
        if config.protocol == Protocol::Udp && config.tls.ssl {
            return Err(OpenError::config(NO_TLS));
        }
        let address = Address { host: config.hostname.clone(), port: config.port };
        let connect_timeout = Duration::from_millis(config.connect_timeout.get().into());
        let target = match config.protocol {
            Protocol::Tcp => {
                let dialer = Dialer::new(&config.tls, None, &cx).await?;
                Target::stream(address, dialer, connect_timeout)
            }
            Protocol::Udp => Target::datagrams(address, connect_timeout),
        };
        let own_host = || cx.world.host_name().unwrap_or_default();
        let writer = Writer {
            form: match config.format {
                Format::Rfc5424 => Form::Rfc5424,
                Format::Rfc3164 => Form::Rfc3164,
            },
            delimiting: config.delimiting(),
            zone: time_zone::local(&*cx.world),
            facility: config.facility.0,
            severity: config.severity.0,
            host: config.host.clone().unwrap_or_else(own_host),
            app_name: config.app_name,
            dead_letters: cx.dead_letters,
        };
        Ok(Syslog {
            name: cx.name.clone(),
            metrics: cx.counters.sink(),
            world: cx.world,
            writer,
            target,
            batch_size: config.batch_size,
            request_timeout: Duration::from_millis(config.request_timeout.get().into()),
            cut: false,
        })
    }

    fn facts(config: &Config) -> Facts {
        let crash = "syslog has no acknowledgement: a batch that was being written is written \
                     again, and what the server had not read of those before may be lost";
        let address = Address { host: config.hostname.clone(), port: config.port };
        let over = match config.protocol {
            Protocol::Tcp => "TCP",
            Protocol::Udp => "UDP",
        };
        Facts {
            batch_events: Some(config.batch_size.get()),
            place: Some(format!("sends to {address}, {over}")),
            process_crash: Some(crash),
            machine_crash: Some(crash),
            rejects: (config.protocol == Protocol::Udp).then_some(CUTS),
            ..Facts::default()
        }
    }

    fn check(config: &Config, section: &Section) -> Vec<Diagnostic> {
        let mut findings = config.tls.findings(section);
        if config.protocol == Protocol::Udp && config.tls.ssl {
            let finding = Diagnostic::error("invalid-value", NO_TLS);
            findings.push(finding.at(section.value_span("ssl")).help("write `protocol = tcp`"));
        }
        if config.protocol == Protocol::Udp && section.get("framing").is_some() {
            let what = "`framing` has no meaning over UDP, where each message is a datagram";
            let finding = Diagnostic::warning("unused-key", what);
            findings.push(finding.at(section.value_span("framing")));
        }
        findings
    }
}

/// What becomes of what is too long.
const CUTS: &str = "a message of more than 65507 bytes, the most of a datagram, is cut";
/// What is said of `ssl` over UDP.
const NO_TLS: &str = "there is no TLS over UDP here";

impl Sink for Syslog {
    fn limit(&self) -> Size {
        Size { events: self.batch_size.get(), bytes: BATCH_BYTES }
    }

    async fn deliver(&mut self, batch: &Batch) -> Result<Delivered, DeliverError> {
        let now = self.world.now_millis();
        let messages = self.writer.messages(batch.events(), now);
        if messages.cut > 0 && !std::mem::replace(&mut self.cut, true) {
            warn!(component = %self.name, messages = messages.cut, "messages are longer than a datagram and are cut; use `protocol = tcp`");
        }
        if !self.target.is_open() {
            self.connect().await?;
        }
        let sent = self.target.send(&messages, self.request_timeout).await;
        if let Err(error) = sent {
            self.disconnect();
            return Err(DeliverError::fail_over(error));
        }
        Ok(Delivered::all_but(batch, messages.rejected))
    }

    async fn close(mut self) -> Result<(), DeliverError> {
        self.target.finish(self.request_timeout).await;
        self.disconnect();
        Ok(())
    }
}

impl Syslog {
    async fn connect(&mut self) -> Result<(), DeliverError> {
        // It may have been open, and found closed by the server.
        self.disconnect();
        match self.target.open().await {
            Ok(()) => {
                self.metrics.connections_created.add(1);
                info!(component = %self.name, address = %self.target.address(), "connected");
                Ok(())
            }
            Err(error) => {
                self.metrics.connections_failed.add(1);
                Err(DeliverError::fail_over(error))
            }
        }
    }

    fn disconnect(&mut self) {
        if self.target.close() {
            self.metrics.connections_closed.add(1);
        }
    }
}

/// Messages as they go out.
pub(super) struct Messages {
    bytes: Vec<u8>,
    /// Where each ends.
    ends: Vec<usize>,
    /// How many were cut.
    cut: usize,
    /// Which are none, as they are too long.
    rejected: Vec<Rejected>,
}

impl Writer {
    fn messages(&self, events: &[Event], now_millis: i64) -> Messages {
        let mut messages =
            Messages { bytes: Vec::new(), ends: Vec::new(), cut: 0, rejected: Vec::new() };
        for (at, event) in events.iter().enumerate() {
            let start = messages.bytes.len();
            let message = self.message(event, now_millis);
            write(&mut messages.bytes, &message, self.form, self.delimiting, &self.zone);
            let length = messages.bytes.len() - start;
            if self.delimiting == Delimiting::Datagram && length > DATAGRAM_BYTES {
                if self.dead_letters {
                    messages.bytes.truncate(start);
                    let why = format!("a message of {length} bytes is longer than a datagram");
                    messages.rejected.push(Rejected { at, why });
                    continue;
                }
                messages.bytes.truncate(start + DATAGRAM_BYTES);
                messages.cut += 1;
            }
            messages.ends.push(messages.bytes.len());
        }
        messages
    }

    fn message<'a>(&'a self, event: &'a Event, now_millis: i64) -> Message<'a> {
        let header = |name: &str| event.headers.get(name).map(splashdam_core::Text::as_str);
        let code = |name, most, instead| {
            let code = header(name).and_then(|text| text.parse().ok());
            code.filter(|code| *code <= most).unwrap_or(instead)
        };
        let facility: u8 = code("Facility", 23, self.facility);
        let severity: u8 = code("Severity", 7, self.severity);
        let millis = header("timestamp").and_then(|text| text.parse().ok());
        Message {
            priority: facility * 8 + severity,
            millis: millis.unwrap_or(now_millis),
            host: header("host").filter(|host| !host.is_empty()).unwrap_or(&self.host),
            app_name: header("appname").unwrap_or(&self.app_name),
            proc_id: header("procid").unwrap_or_default(),
            msg_id: header("msgid").unwrap_or_default(),
            body: &event.body,
        }
    }
}

#[cfg(test)]
mod tests;
