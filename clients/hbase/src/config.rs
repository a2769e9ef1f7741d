//! Where the cluster is and how patient the client is; HBase's own keys and defaults.

mod site;

use std::time::Duration;

use crate::error::Error;
use crate::model::Address;

/// ZooKeeper's port where none is given.
pub(crate) const ZOOKEEPER_PORT: u16 = splashdam_zookeeper::PORT;
/// The masters' port where none is given.
pub(crate) const MASTER_PORT: u16 = 16_000;

/// The longest time that Java's keys can say, some 24 days; ours stand for no longer ones.
pub(crate) const LONGEST: Duration = Duration::from_millis(i32::MAX as u64);

/// How the client finds the cluster, and its limits. Start from [`Config::default`],
/// [`Config::zookeeper`] or [`Config::from_site`] and change what differs. A time of more than 24 days
/// (2^31 milliseconds) counts as that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Who is asked where the cluster's servers are.
    pub registry: Registry,
    /// The name that servers take the caller for; simple authentication asks for no proof.
    pub user: String,
    /// How callers prove who they are (`hbase.security.authentication`).
    pub authentication: Authentication,
    /// Whether servers expect TLS (`hbase.client.netty.tls.enabled`).
    pub tls: bool,
    /// Tries after the first (`hbase.client.retries.number`).
    pub retries: u32,
    /// The unit of back-off (`hbase.client.pause`): multiplied by 1, 2, 3, 5, 10, 20, 40, 100 four
    /// times, then 200.
    pub pause: Duration,
    /// How long one call may take (`hbase.rpc.timeout`).
    pub rpc_timeout: Duration,
    /// How long one that writes may take, where that differs (`hbase.rpc.write.timeout`).
    pub write_timeout: Option<Duration>,
    /// How long one that reads a table may take, where that differs (`hbase.rpc.read.timeout`).
    pub read_timeout: Option<Duration>,
    /// How long one operation may take with all its calls, waits and look-ups
    /// (`hbase.client.operation.timeout`).
    pub operation_timeout: Duration,
    /// How long a connection may take to be made (`hbase.ipc.client.socket.timeout.connect`).
    pub connect_timeout: Duration,
    /// The largest cell that is sent (`hbase.client.keyvalue.maxsize`).
    pub cell_limit_bytes: usize,
    /// Above this a batch to one server goes in several calls, one behind the other
    /// (`hbase.client.write.buffer`).
    pub request_bytes: usize,
    /// Calls of one batch that are under way to one server at a time, where it has many mutations
    /// (`hbase.client.max.perserver.tasks`).
    pub calls_per_server: usize,
    /// The longest answer that is read; a longer one closes the connection.
    pub answer_limit_bytes: usize,
    /// Calls to one server wait when those under way hold so many bytes.
    pub in_flight_bytes: usize,
    /// What a server may gather for one call of a scan (`hbase.client.scanner.max.result.size`).
    pub scan_result_bytes: u64,
}

/// Who knows where the servers of a cluster are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Registry {
    /// ZooKeeper, as in every HBase.
    ZooKeeper {
        /// Its servers (`hbase.zookeeper.quorum`).
        quorum: Vec<Address>,
        /// The cluster's node (`zookeeper.znode.parent`).
        parent: String,
    },
    /// The masters themselves, since HBase 2.3 (`hbase.client.registry.impl`).
    Masters(Vec<Address>),
}

/// How callers prove who they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Authentication {
    /// Not at all.
    #[default]
    Simple,
    /// By Kerberos, which this client does not speak; [`Client::new`](crate::Client::new) refuses it.
    Kerberos,
}

impl Default for Config {
    /// HBase 2's defaults, on a ZooKeeper at `localhost:2181`.
    fn default() -> Self {
        Config {
            registry: Registry::ZooKeeper {
                quorum: vec![Address::new("localhost", ZOOKEEPER_PORT)],
                parent: "/hbase".to_owned(),
            },
            user: "hbase".to_owned(),
            authentication: Authentication::Simple,
            tls: false,
            retries: 15,
            pause: Duration::from_millis(100),
            rpc_timeout: Duration::from_secs(60),
            write_timeout: None,
            read_timeout: None,
            operation_timeout: Duration::from_secs(1200),
            connect_timeout: Duration::from_secs(10),
            cell_limit_bytes: 10 * 1024 * 1024,
            request_bytes: 2 * 1024 * 1024,
            calls_per_server: 2,
            answer_limit_bytes: 64 * 1024 * 1024,
            in_flight_bytes: 16 * 1024 * 1024,
            scan_result_bytes: 2 * 1024 * 1024,
        }
    }
}

impl Config {
    /// Defaults, with the cluster that this ZooKeeper knows: servers with or without port, between
    /// commas, and the cluster's node (`/hbase` where it was not changed).
    ///
    /// # Errors
    /// A quorum without servers or with an entry that is no address.
    pub fn zookeeper(quorum: &str, parent: &str) -> Result<Self, Error> {
        let quorum = addresses(quorum, ZOOKEEPER_PORT)?;
        let registry = Registry::ZooKeeper { quorum, parent: parent.to_owned() };
        Ok(Config { registry, ..Config::default() })
    }

    /// Defaults, with what an `hbase-site.xml` says. Keys that this client does not know are
    /// skipped, since most are the servers' or another client's.
    ///
    /// # Errors
    /// XML that cannot be read, or a known key with a value that cannot be used; it is named.
    pub fn from_site(xml: &str) -> Result<Self, Error> {
        site::read(xml)
    }

    /// With no time longer than servers and clocks can take.
    pub(crate) fn capped(mut self) -> Self {
        let times = [
            &mut self.pause,
            &mut self.rpc_timeout,
            &mut self.operation_timeout,
            &mut self.connect_timeout,
        ];
        let optional = [&mut self.write_timeout, &mut self.read_timeout].into_iter().flatten();
        times.into_iter().chain(optional).for_each(|time| *time = LONGEST.min(*time));
        self
    }

    /// How long a call that writes may take.
    pub(crate) fn of_writes(&self) -> Duration {
        self.write_timeout.unwrap_or(self.rpc_timeout)
    }

    /// How long a call that reads a table may take.
    pub(crate) fn of_reads(&self) -> Duration {
        self.read_timeout.unwrap_or(self.rpc_timeout)
    }

    /// Refuses what cannot work before anything is sent.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let refuse = |what: &str| Err(Error::Config(what.into()));
        if self.authentication == Authentication::Kerberos {
            return refuse(
                "the cluster asks for Kerberos (hbase.security.authentication), which this client does not speak; use a cluster or a gateway with simple authentication",
            );
        }
        if self.tls {
            return refuse(
                "the cluster asks for TLS (hbase.client.netty.tls.enabled), which this client does not speak; put a TLS tunnel before it or allow plain text (hbase.server.netty.tls.supportplaintext)",
            );
        }
        match &self.registry {
            Registry::ZooKeeper { quorum: none, .. } | Registry::Masters(none)
                if none.is_empty() =>
            {
                refuse("no server is named that knows the cluster; set hbase.zookeeper.quorum")
            }
            Registry::ZooKeeper { parent, .. } if !parent.starts_with('/') => {
                refuse("zookeeper.znode.parent must begin with `/`")
            }
            _ => Ok(()),
        }
    }
}

/// Reads addresses between commas; blanks around them are passed over.
pub(crate) fn addresses(list: &str, default_port: u16) -> Result<Vec<Address>, Error> {
    let words = list.split(',').map(str::trim).filter(|word| !word.is_empty());
    let read = |word: &str| {
        Address::parse(word, default_port)
            .ok_or_else(|| Error::Config(format!("`{word}` is no host or host:port").into()))
    };
    let addresses: Vec<Address> = words.map(read).collect::<Result<_, _>>()?;
    if addresses.is_empty() {
        return Err(Error::Config("a list of servers without a server".into()));
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_work_is_refused_with_the_reason() {
        let check = |config: Config, want: &str| {
            let got = config.check().err().map(|e| e.to_string()).unwrap_or_default();
            assert!(got.contains(want) && got.is_empty() == want.is_empty(), "{got}");
        };
        check(Config::default(), "");
        let authentication = Authentication::Kerberos;
        check(Config { authentication, ..Config::default() }, "Kerberos");
        check(Config { tls: true, ..Config::default() }, "TLS");
        check(Config { registry: Registry::Masters(vec![]), ..Config::default() }, "no server");
        check(Config::zookeeper("h", "hbase").unwrap(), "zookeeper.znode.parent");
    }

    #[test]
    fn no_time_is_too_long() {
        let long = Config {
            pause: Duration::MAX,
            rpc_timeout: Duration::MAX,
            operation_timeout: Duration::MAX,
            connect_timeout: Duration::MAX,
            write_timeout: Some(Duration::MAX),
            ..Config::default()
        };
        let capped = long.capped();
        assert_eq!((capped.of_writes(), capped.of_reads()), (LONGEST, LONGEST));
        assert_eq!((capped.pause, capped.operation_timeout), (LONGEST, LONGEST));
        let (short, default) = (Config::default().capped(), Config::default());
        assert_eq!(short, default);
    }

    #[test]
    fn quorums_are_read_with_and_without_ports() {
        let check = |list: &str, want: Option<&str>| {
            let got = addresses(list, 2181).ok();
            let got =
                got.map(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
            assert_eq!(got.as_deref(), want, "{list}");
        };
        check("a", Some("a:2181"));
        check(" a:1 ,b,", Some("a:1 b:2181"));
        check("", None);
        check(",", None);
        check("a:x", None);
    }
}
