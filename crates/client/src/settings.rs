//! What a client is told, by Flume's names.

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use splashdam_wire::thrift::Protocol;

use crate::Address;

/// A client's settings. [`Settings::from_properties`] reads Flume's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How it chooses among the servers, and what it speaks.
    pub kind: Kind,
    /// The servers, by their aliases' order.
    pub hosts: Vec<Address>,
    /// The most events of one call; longer lists are several calls.
    pub batch_size: NonZeroUsize,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// How long an answer may take, the call's own way included.
    pub request_timeout: Duration,
    /// Connections to one server at one time; calls beyond them wait.
    pub max_connections: NonZeroUsize,
    /// Whether connections are encrypted, which is up to the [`crate::Connect`] in use.
    pub ssl: bool,
    /// The level of compression, if there is any, which is up to the [`crate::Connect`] in use.
    pub deflate: Option<u32>,
}

/// How a client chooses among its servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Avro, to the first server.
    Default,
    /// Avro, to the first server that takes a call, which is kept until it fails.
    Failover {
        /// How many servers are tried for a call.
        max_attempts: NonZeroUsize,
    },
    /// Avro, to each server in its turn; one that fails hands on to the next.
    LoadBalance {
        /// Whether turns are taken at random.
        random: bool,
        /// The longest time to pass over a server that failed, if it is passed over at all.
        back_off: Option<Duration>,
    },
    /// Thrift, to the first server.
    Thrift(Protocol),
}

/// Properties that do not make a client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// Nowhere to send to.
    #[error("`hosts` names nobody; write `hosts = h1` and `hosts.h1 = host:port`")]
    NoHosts,
    /// An alias without a server.
    #[error("`hosts.{0}` is missing; write it as host:port")]
    NoHost(String),
    /// A server's address is none.
    #[error("`hosts.{alias}`: {source}")]
    Address {
        /// The server's alias.
        alias: String,
        /// What is wrong.
        source: crate::connect::NoAddress,
    },
    /// One server alone carries everything.
    #[error("a client that balances load needs two hosts or more; use `client.type = default`")]
    OneHost,
    /// A type, a policy or the like that is not known here.
    #[error("`{key} = {value}` is not known here; {instead}")]
    Unknown {
        /// The property.
        key: &'static str,
        /// Its value.
        value: String,
        /// What may be written.
        instead: &'static str,
    },
}

const BATCH_SIZE: NonZeroUsize = NonZeroUsize::new(100).unwrap();
const MAX_CONNECTIONS: NonZeroUsize = NonZeroUsize::new(5).unwrap();
const TIMEOUT: Duration = Duration::from_secs(20);
/// Shorter ones are not believed, as in Flume.
const LEAST_TIMEOUT: Duration = Duration::from_secs(1);
const BACK_OFF: Duration = Duration::from_secs(30);
const LEVEL: u32 = 6;

impl Settings {
    /// Settings for one server, with Flume's defaults.
    pub fn to(address: Address, kind: Kind) -> Self {
        Settings {
            kind,
            hosts: vec![address],
            batch_size: BATCH_SIZE,
            connect_timeout: TIMEOUT,
            request_timeout: TIMEOUT,
            max_connections: MAX_CONNECTIONS,
            ssl: false,
            deflate: None,
        }
    }

    /// Reads the properties of Flume's RPC client: `client.type`, `hosts`, `hosts.<alias>`,
    /// `batch-size`, `connect-timeout`, `request-timeout`, `max-attempts`, `host-selector`,
    /// `backoff`, `maxBackoff`, `maxConnections`, `protocol`, `ssl`, `compression-type` and
    /// `compression-level`. As there, numbers that will not do mean the default, and what is not
    /// known means nothing.
    ///
    /// # Errors
    /// [`SettingsError`]; Kerberos is among what is refused.
    pub fn from_properties<K, V>(
        properties: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, SettingsError>
    where
        K: Into<String>,
        V: Into<String>,
    {
        let properties = properties.into_iter().map(|(key, value)| (key.into(), value.into()));
        let given = Given(properties.collect());
        if given.is_true("kerberos") {
            return Err(SettingsError::Unknown {
                key: "kerberos",
                value: "true".into(),
                instead: "it is not built in",
            });
        }
        let kind = given.kind()?;
        let hosts = given.hosts(&kind)?;
        let kind = match kind {
            Kind::Failover { .. } => {
                let every = NonZeroUsize::new(hosts.len()).unwrap_or(NonZeroUsize::MIN);
                Kind::Failover { max_attempts: given.count("max-attempts").unwrap_or(every) }
            }
            Kind::LoadBalance { .. } if hosts.len() < 2 => return Err(SettingsError::OneHost),
            kind => kind,
        };
        let level = given.number("compression-level").and_then(|level| u32::try_from(level).ok());
        let deflate = given.is("compression-type", "deflate");
        Ok(Settings {
            kind,
            hosts,
            batch_size: given.count("batch-size").unwrap_or(BATCH_SIZE),
            connect_timeout: given.timeout("connect-timeout"),
            request_timeout: given.timeout("request-timeout"),
            max_connections: given.count("maxConnections").unwrap_or(MAX_CONNECTIONS),
            ssl: given.is_true("ssl"),
            deflate: deflate.then(|| level.filter(|level| *level <= 9).unwrap_or(LEVEL)),
        })
    }
}

/// Properties as they were given.
struct Given(BTreeMap<String, String>);

impl Given {
    fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    fn is(&self, key: &str, value: &str) -> bool {
        self.text(key).is_some_and(|text| text.eq_ignore_ascii_case(value))
    }

    fn is_true(&self, key: &str) -> bool {
        self.is(key, "true")
    }

    fn number(&self, key: &str) -> Option<i64> {
        self.text(key)?.parse().ok()
    }

    fn count(&self, key: &str) -> Option<NonZeroUsize> {
        NonZeroUsize::try_from(NonZeroU32::new(u32::try_from(self.number(key)?).ok()?)?).ok()
    }

    fn timeout(&self, key: &str) -> Duration {
        let given = self.number(key).and_then(|millis| u64::try_from(millis).ok());
        let given = given.map(Duration::from_millis);
        given.filter(|timeout| *timeout >= LEAST_TIMEOUT).unwrap_or(TIMEOUT)
    }

    fn kind(&self) -> Result<Kind, SettingsError> {
        let written = self.text("client.type").unwrap_or("default");
        let class = |name: &str| written == format!("org.apache.flume.api.{name}");
        let is = |alias: &str, name: &str| written.eq_ignore_ascii_case(alias) || class(name);
        if is("default", "NettyAvroRpcClient") {
            Ok(Kind::Default)
        } else if is("default_failover", "FailoverRpcClient") {
            Ok(Kind::Failover { max_attempts: NonZeroUsize::MIN })
        } else if is("default_loadbalance", "LoadBalancingRpcClient") {
            self.balance()
        } else if is("thrift", "ThriftRpcClient") {
            // As in Flume, anything but this very word means compact.
            let binary = self.text("protocol") == Some("binary");
            Ok(Kind::Thrift(if binary { Protocol::Binary } else { Protocol::Compact }))
        } else {
            Err(SettingsError::Unknown {
                key: "client.type",
                value: written.to_owned(),
                instead: "write default, default_failover, default_loadbalance or thrift",
            })
        }
    }

    fn balance(&self) -> Result<Kind, SettingsError> {
        let selector = self.text("host-selector").unwrap_or("ROUND_ROBIN");
        let random = selector.eq_ignore_ascii_case("RANDOM");
        if !random && !selector.eq_ignore_ascii_case("ROUND_ROBIN") {
            return Err(SettingsError::Unknown {
                key: "host-selector",
                value: selector.to_owned(),
                instead: "write ROUND_ROBIN or RANDOM",
            });
        }
        let most = self.number("maxBackoff").and_then(|millis| u64::try_from(millis).ok());
        let most = most.filter(|millis| *millis > 0).map_or(BACK_OFF, Duration::from_millis);
        Ok(Kind::LoadBalance { random, back_off: self.is_true("backoff").then_some(most) })
    }

    /// Servers in the written order. As in Flume, groups do without aliases that have no address.
    fn hosts(&self, kind: &Kind) -> Result<Vec<Address>, SettingsError> {
        let one = matches!(kind, Kind::Default | Kind::Thrift(_));
        let mut hosts = Vec::new();
        for alias in self.text("hosts").unwrap_or_default().split_whitespace() {
            match self.text(&format!("hosts.{alias}")) {
                None if one => return Err(SettingsError::NoHost(alias.to_owned())),
                None => {}
                Some(text) => hosts.push(text.parse().map_err(|source| {
                    SettingsError::Address { alias: alias.to_owned(), source }
                })?),
            }
        }
        if hosts.is_empty() { Err(SettingsError::NoHosts) } else { Ok(hosts) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(properties: &str) -> Result<Settings, SettingsError> {
        let lines = properties.lines().filter_map(|line| line.split_once('='));
        Settings::from_properties(lines.map(|(key, value)| (key.trim(), value.trim())))
    }

    #[test]
    fn defaults_are_those_of_flume() {
        let address: Address = "mill:4141".parse().unwrap();
        let want = Settings::to(address.clone(), Kind::Default);
        assert_eq!(read("hosts = h\nhosts.h = mill:4141"), Ok(want.clone()));
        let odd = "batch-size = 0\nconnect-timeout = 999\nrequest-timeout = x\nmaxConnections = -1
            compression-type = none\nssl = false\nsome = thing";
        assert_eq!(read(&format!("hosts = h\nhosts.h = mill:4141\n{odd}")), Ok(want));
        let all =
            "batch-size = 5\nconnect-timeout = 1000\nrequest-timeout = 2000\nmaxConnections = 2
            compression-type = DEFLATE\ncompression-level = 3\nssl = true";
        let want = Settings {
            batch_size: NonZeroUsize::new(5).unwrap(),
            connect_timeout: Duration::from_secs(1),
            request_timeout: Duration::from_secs(2),
            max_connections: NonZeroUsize::new(2).unwrap(),
            ssl: true,
            deflate: Some(3),
            ..Settings::to(address, Kind::Default)
        };
        assert_eq!(read(&format!("hosts = h\nhosts.h = mill:4141\n{all}")), Ok(want));
    }

    #[test]
    fn kinds_are_told_by_flumes_names() {
        let hosts = "hosts = a  b c\nhosts.a = one:1\nhosts.b = two:2\n";
        let check = |properties: &str, want: Kind, count: usize| {
            let read = read(&format!("{hosts}{properties}")).unwrap();
            assert_eq!((read.kind, read.hosts.len()), (want, count), "{properties}");
        };
        let two = NonZeroUsize::new(2).unwrap();
        let failover = |max_attempts| Kind::Failover { max_attempts };
        check("client.type = default_failover", failover(two), 2);
        check("client.type = DEFAULT_FAILOVER\nmax-attempts = 1", failover(NonZeroUsize::MIN), 2);
        check("client.type = org.apache.flume.api.FailoverRpcClient", failover(two), 2);
        let balance = |random, back_off| Kind::LoadBalance { random, back_off };
        let balanced = "client.type = default_loadbalance\n";
        check(balanced, balance(false, None), 2);
        check(&format!("{balanced}maxBackoff = 5"), balance(false, None), 2);
        let backs_off = format!("{balanced}host-selector = random\nbackoff = true\n");
        check(&backs_off, balance(true, Some(Duration::from_secs(30))), 2);
        let shorter = format!("{backs_off}maxBackoff = 5000");
        check(&shorter, balance(true, Some(Duration::from_secs(5))), 2);
        let check = |properties: &str, want: Protocol| {
            let read =
                read(&format!("hosts = a\nhosts.a = one:1\nclient.type = thrift\n{properties}"));
            assert_eq!(read.unwrap().kind, Kind::Thrift(want), "{properties}");
        };
        check("", Protocol::Compact);
        check("protocol = binary", Protocol::Binary);
        check("protocol = Binary", Protocol::Compact);
    }

    #[test]
    fn what_makes_no_client_is_told() {
        let check = |properties: &str, says: &str| {
            let error = read(properties).unwrap_err().to_string();
            assert!(error.contains(says), "{properties}: {error}");
        };
        check("", "`hosts` names nobody");
        check("hosts = a", "`hosts.a` is missing");
        check("hosts = a\nhosts.a = one", "`one` is no address");
        check("hosts = a\nclient.type = default_failover", "`hosts` names nobody");
        let one = "hosts = a\nhosts.a = one:1\n";
        check(&format!("{one}client.type = default_loadbalance"), "two hosts or more");
        check(&format!("{one}client.type = com.example.Mine"), "not known here");
        check(&format!("{one}kerberos = true"), "not built in");
        let odd = "client.type = default_loadbalance\nhost-selector = com.example.Mine";
        check(&format!("{one}{odd}"), "ROUND_ROBIN or RANDOM");
    }
}
