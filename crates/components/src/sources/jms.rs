//! Source `jms`: messages of a queue or a topic of a JMS broker, over AMQP 1.0.
//!
//! Flume's class: `org.apache.flume.source.jms.JMSSource`. That one loads the broker's Java client; here brokers are
//! spoken to in AMQP 1.0, which ActiveMQ Classic and Artemis, Qpid and others serve beside their own protocols. So
//! `providerURL` is that of the broker's AMQP connector, such as `amqp://broker:5672`, and the classes that JNDI would
//! load mean nothing. As there, messages are the broker's until the channels have committed them, and are given again
//! where they have not. What else differs:
//!
//! - OpenWire (`tcp://` of ActiveMQ Classic) and Artemis' own protocol are not spoken: such a `providerURL` is refused, and
//!   the refusal names the URL to write. The port of AMQP is mostly 5672, and open unless somebody closed it.
//! - A batch that the channels refuse is given back together with everything that was fetched ahead, so that order
//!   holds, and does not count as a failed delivery: a channel that is full for long sends nothing to the broker's
//!   queue of dead letters.
//! - A message that is malformed, longer than `maxMessageBytes`, or refused by a channel or interceptor whenever it comes,
//!   though it comes alone, is rejected, so that the broker sets it aside. Flume would be given it again for ever.
//! - A broker that does not know `messageSelector`, or does not take back what it gave, is left: it would give what is
//!   meant for others, or lose what the channels refuse.
//! - A connection that breaks is made anew after a pause, which grows with each failure in a row; after more than
//!   `errorThreshold` of them the source ends and is opened again.
//! - A login, a destination or a certificate that is refused ends it at once, as that takes somebody to mend it; it is
//!   said as an error, once, with what to do, and tried again meanwhile.
//! - A message goes out as it comes; `pollTimeout` is for those who poll.

mod conversion;
mod findings;
mod hindrance;
mod provider;
mod session;

use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;

use serde::Deserialize;
use splashdam_amqp::HELD_BYTES;
use splashdam_config::{Diagnostic, Section};
use splashdam_core::{Component, Context, Facts, OpenError, Outlet, Source, SourceError, Stop};

use crate::charset::Charset;
use crate::tls::ClientTls;
use provider::Provider;
use session::{Connection, Session};

/// Keys of the JMS source.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// Read and not used: Flume loads this Java class to find the broker, and requires it.
    pub initial_context_factory: Option<String>,
    /// The broker's AMQP connector: `amqp://host:5672`, `amqps://host:5671`, or several of these in `failover:(…)`,
    /// tried in order. Of options, `transport.verifyHost=false` is understood.
    #[serde(rename = "providerURL")]
    pub provider: Provider,
    /// Read and not used: Flume looks this name up.
    pub connection_factory: Option<String>,
    /// The name of the queue or topic.
    pub destination_name: String,
    /// `queue` or `topic`.
    pub destination_type: DestinationType,
    /// How the name is meant: `CDI` as it is; `JNDI` without `dynamicQueues/` or `dynamicTopics/` before it, as no
    /// directory is asked.
    #[serde(default)]
    pub destination_locator: Locator,
    /// Which messages to take, in the language of JMS, which the broker understands.
    pub message_selector: Option<String>,
    /// The name to log in with.
    pub user_name: Option<String>,
    /// The file that holds the password and nothing else; blanks around it do not count.
    pub password_file: Option<PathBuf>,
    /// Messages in one transaction at the most. A batch also ends at 16 MiB.
    #[serde(default = "batch_size")]
    pub batch_size: NonZeroU32,
    /// Failures in a row, without a batch or a minute's connection between them, above which the source ends and is
    /// opened again.
    #[serde(default = "error_threshold")]
    pub error_threshold: u32,
    /// Read and not used: milliseconds that Flume waits for the first message of a batch.
    #[serde(default = "poll_timeout")]
    pub poll_timeout: u64,
    /// How the connection is called; a broker has one of each name. Needed for a durable subscription.
    pub client_id: Option<String>,
    /// Whether the broker keeps what a topic gets while nobody is connected.
    #[serde(default)]
    pub create_durable_subscription: bool,
    /// The name of the durable subscription.
    pub durable_subscription_name: Option<String>,
    /// `DEFAULT`; classes of Java are not loaded.
    #[serde(rename = "converter.type", default)]
    pub converter_type: ConverterType,
    /// Read and not used, as in Flume, whatever its guide says: `converter.converter.charset` is.
    #[serde(rename = "converter.charset")]
    pub charset_without_effect: Option<String>,
    /// The charset of bodies that were text, by its Java name.
    #[serde(rename = "converter.converter.charset", default)]
    pub charset: Charset,
    /// Milliseconds to wait after the first failure or refusal; grows by as much with each further one.
    #[serde(default = "backoff_sleep_increment")]
    pub backoff_sleep_increment: u64,
    /// Milliseconds to wait after a failure or refusal at the most.
    #[serde(default = "max_backoff_sleep")]
    pub max_backoff_sleep: u64,
    /// Bytes in a message at the most; longer ones are rejected. Not a key of Flume, which takes up to 2 GiB.
    #[serde(default = "max_message_bytes")]
    pub max_message_bytes: NonZeroU64,
    /// TLS, for `amqps`, which sets `ssl` and `verify-host-name` by itself.
    #[serde(rename = ".tls", default)]
    pub tls: ClientTls,
}

/// What the destination is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum DestinationType {
    /// Each message goes to one receiver.
    Queue,
    /// Each message goes to each receiver.
    Topic,
}

impl DestinationType {
    fn name(self) -> &'static str {
        match self {
            DestinationType::Queue => "queue",
            DestinationType::Topic => "topic",
        }
    }
}

impl TryFrom<String> for DestinationType {
    type Error = &'static str;

    fn try_from(word: String) -> Result<Self, Self::Error> {
        match &*word.trim().to_ascii_lowercase() {
            "queue" => Ok(DestinationType::Queue),
            "topic" => Ok(DestinationType::Topic),
            _ => Err("must be `queue` or `topic`"),
        }
    }
}

/// How the destination's name is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Locator {
    /// As the broker knows it.
    #[default]
    #[serde(rename = "CDI")]
    Cdi,
    /// As a directory knows it.
    #[serde(rename = "JNDI")]
    Jndi,
}

impl TryFrom<String> for Locator {
    type Error = &'static str;

    fn try_from(word: String) -> Result<Self, Self::Error> {
        match &*word.trim().to_ascii_lowercase() {
            "cdi" => Ok(Locator::Cdi),
            "jndi" => Ok(Locator::Jndi),
            _ => Err("must be `CDI` or `JNDI`"),
        }
    }
}

/// The only converter that there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct ConverterType;

impl TryFrom<String> for ConverterType {
    type Error = &'static str;

    fn try_from(word: String) -> Result<Self, Self::Error> {
        let class = "org.apache.flume.source.jms.DefaultJMSMessageConverter";
        let name = word.trim();
        let rest = name.strip_prefix(class);
        if name.eq_ignore_ascii_case("DEFAULT") || matches!(rest, Some("" | "$Builder")) {
            Ok(ConverterType)
        } else {
            Err(
                "must be `DEFAULT`, as classes of Java are not loaded; let an interceptor of type `external` change events",
            )
        }
    }
}

fn batch_size() -> NonZeroU32 {
    const { NonZeroU32::new(100).unwrap() }
}

fn error_threshold() -> u32 {
    10
}

fn poll_timeout() -> u64 {
    1000
}

fn backoff_sleep_increment() -> u64 {
    1000
}

fn max_backoff_sleep() -> u64 {
    5000
}

fn max_message_bytes() -> NonZeroU64 {
    const { NonZeroU64::new(64 * 1024 * 1024).unwrap() }
}

/// The source.
pub struct Jms {
    session: Session,
    /// What opening made.
    connection: Connection,
}

impl Component for Jms {
    const TYPE: &'static str = "jms";
    const ALIASES: &'static [&'static str] = &["org.apache.flume.source.jms.JMSSource"];
    type Config = Config;

    async fn open(config: Config, cx: Context) -> Result<Self, OpenError> {
        let mut session = Session::new(config, cx).await?;
        let connection = session.open().await?;
        Ok(Jms { session, connection })
    }

    async fn probe(config: Config, cx: Context) -> Result<Option<String>, OpenError> {
        let session = Session::new(config, cx).await?;
        Ok(Some(session.probe().await?))
    }

    fn facts(config: &Config) -> Facts {
        let crash = "messages that the channels have and the broker was not told of come again";
        let held = session::BATCH_BYTES + HELD_BYTES;
        let longest = config.max_message_bytes.get().saturating_mul(2);
        let kind = config.destination_type.name();
        let brokers = config.provider.brokers.iter();
        let brokers = brokers.map(|broker| broker.address.to_string()).collect::<Vec<_>>();
        Facts {
            batch_events: usize::try_from(config.batch_size.get()).ok(),
            place: Some(format!(
                "receives from the {kind} {} at {}",
                config.destination_name,
                brokers.join(" or ")
            )),
            memory_bytes: Some(longest.saturating_add(held as u64)),
            acknowledged: Some(
                "after the channels have committed the batch, by accepting its messages",
            ),
            process_crash: Some(crash),
            machine_crash: Some(crash),
            sets_headers: vec!["*".into()],
            ..Facts::default()
        }
    }

    fn check(config: &Config, section: &Section) -> Vec<Diagnostic> {
        findings::of(config, section)
    }
}

impl Source for Jms {
    async fn run(mut self, out: Outlet, stop: Stop) -> Result<(), SourceError> {
        self.session.run(self.connection, &out, &stop).await
    }
}

#[cfg(test)]
mod tests;
