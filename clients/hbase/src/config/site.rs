//! Reads `hbase-site.xml`: `<configuration><property><name>…</name><value>…</value></property>…`.

use std::collections::HashMap;
use std::time::Duration;

use super::{Authentication, Config, LONGEST, MASTER_PORT, Registry, ZOOKEEPER_PORT, addresses};
use crate::error::Error;

/// How often a value may name another; Hadoop's own limit.
const SUBSTITUTIONS: usize = 20;
/// The longest value after substitution, so that values that double each other stay small.
const VALUE_LIMIT_BYTES: usize = 64 * 1024;

pub(super) fn read(xml: &str) -> Result<Config, Error> {
    let site = Site::parse(xml)?;
    let mut config = Config { registry: site.registry()?, ..Config::default() };
    if site.is("hbase.security.authentication", "kerberos") {
        config.authentication = Authentication::Kerberos;
    }
    config.tls = site.is("hbase.client.netty.tls.enabled", "true");
    site.number("hbase.client.retries.number", &mut config.retries)?;
    // As in Java 0 or less is no pause.
    config.pause = site.millis("hbase.client.pause")?.unwrap_or(config.pause);
    for (key, limit) in [
        ("hbase.rpc.timeout", &mut config.rpc_timeout),
        ("hbase.client.operation.timeout", &mut config.operation_timeout),
        ("hbase.ipc.client.socket.timeout.connect", &mut config.connect_timeout),
    ] {
        *limit = site.limit(key)?.unwrap_or(*limit);
    }
    config.write_timeout = site.limit("hbase.rpc.write.timeout")?;
    config.read_timeout = site.limit("hbase.rpc.read.timeout")?;
    // Java's client takes 0 or less for no limit; a frame has one.
    let mut cell_limit = i32::try_from(config.cell_limit_bytes).unwrap_or(i32::MAX);
    site.number("hbase.client.keyvalue.maxsize", &mut cell_limit)?;
    let cell_limit = if cell_limit > 0 { cell_limit } else { i32::MAX };
    config.cell_limit_bytes = usize::try_from(cell_limit).unwrap_or(config.cell_limit_bytes);
    site.number("hbase.client.write.buffer", &mut config.request_bytes)?;
    site.number("hbase.client.max.perserver.tasks", &mut config.calls_per_server)?;
    site.number("hbase.client.scanner.max.result.size", &mut config.scan_result_bytes)?;
    Ok(config)
}

struct Site(HashMap<String, String>);

impl Site {
    fn parse(xml: &str) -> Result<Self, Error> {
        let unreadable = |e| Error::Config(format!("hbase-site.xml cannot be read: {e}").into());
        let document = roxmltree::Document::parse(xml).map_err(unreadable)?;
        let mut values = HashMap::new();
        for property in document.root_element().children().filter(|n| n.has_tag_name("property")) {
            let text = |tag| {
                let node = property.children().find(|n| n.has_tag_name(tag))?;
                Some(node.text().unwrap_or_default().trim().to_owned())
            };
            // As in Hadoop the last of several counts.
            if let (Some(name), Some(value)) = (text("name"), text("value")) {
                values.insert(name, value);
            }
        }
        Ok(Site(values))
    }

    /// A value with `${other}` replaced by the value of that key, where there is one.
    fn value(&self, key: &str) -> Option<String> {
        let mut value = self.0.get(key)?.clone();
        for _ in 0..SUBSTITUTIONS {
            let Some((start, end, name)) = variable(&value) else { break };
            let Some(other) = self.0.get(name) else { break };
            value = format!("{}{other}{}", &value[..start], &value[end..]);
            if value.len() > VALUE_LIMIT_BYTES {
                break;
            }
        }
        Some(value).filter(|value| !value.is_empty())
    }

    fn is(&self, key: &str, word: &str) -> bool {
        self.value(key).is_some_and(|value| value.eq_ignore_ascii_case(word))
    }

    fn number<T: std::str::FromStr>(&self, key: &str, into: &mut T) -> Result<(), Error> {
        if let Some(value) = self.value(key) {
            *into = value.parse().map_err(|_| {
                Error::Config(
                    format!("`{key}` is `{value}`, which is no number of its range").into(),
                )
            })?;
        }
        Ok(())
    }

    /// A time, if the key is there; below 0 is 0.
    fn millis(&self, key: &str) -> Result<Option<Duration>, Error> {
        let mut millis: i32 = 0;
        self.number(key, &mut millis)?;
        let time = Duration::from_millis(u64::try_from(millis).unwrap_or(0));
        Ok(self.value(key).map(|_| time))
    }

    /// How long something may take, if the key is there. 0 or less is no limit to Java's client; here
    /// it is the longest that the key can say.
    fn limit(&self, key: &str) -> Result<Option<Duration>, Error> {
        Ok(self.millis(key)?.map(|time| if time.is_zero() { LONGEST } else { time }))
    }

    fn registry(&self) -> Result<Registry, Error> {
        let class = self.value("hbase.client.registry.impl").unwrap_or_default();
        if class.ends_with("MasterRegistry") || class.ends_with("RpcConnectionRegistry") {
            let mut port = MASTER_PORT;
            self.number("hbase.master.port", &mut port)?;
            // RpcConnectionRegistry may name servers of its own, which answer the same questions.
            let bootstrap = self.value("hbase.client.bootstrap.servers");
            let list = bootstrap.or_else(|| self.value("hbase.masters"));
            let list = list.unwrap_or_else(|| "localhost".to_owned());
            return Ok(Registry::Masters(addresses(&list, port)?));
        }
        let mut port = ZOOKEEPER_PORT;
        self.number("hbase.zookeeper.property.clientPort", &mut port)?;
        // Clients may have a ZooKeeper of their own; its port counts only with its servers.
        let of_clients = self.value("hbase.client.zookeeper.quorum");
        if of_clients.is_some() {
            self.number("hbase.client.zookeeper.property.clientPort", &mut port)?;
        }
        let quorum = of_clients.or_else(|| self.value("hbase.zookeeper.quorum"));
        let quorum = addresses(quorum.as_deref().unwrap_or("localhost"), port)?;
        let parent = self.value("zookeeper.znode.parent").unwrap_or_else(|| "/hbase".to_owned());
        Ok(Registry::ZooKeeper { quorum, parent })
    }
}

/// The first `${name}` that has a name, with its place.
fn variable(value: &str) -> Option<(usize, usize, &str)> {
    let start = value.find("${")?;
    let end = start + value[start..].find('}')?;
    Some((start, end + 1, &value[start + 2..end]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(pairs: &[(&str, &str)]) -> String {
        let property = |(name, value): &(&str, &str)| {
            format!(
                "<property><name>{name}</name><value>{value}</value><final>true</final></property>"
            )
        };
        let all: String = pairs.iter().map(property).collect();
        format!("<?xml version=\"1.0\"?><!-- x --><configuration>{all}</configuration>")
    }

    #[test]
    fn keys_of_hbase_become_the_configuration() {
        let zookeeper = |quorum: &str, parent: &str| Config::zookeeper(quorum, parent).unwrap();
        let check = |pairs: &[(&str, &str)], want: Config| {
            assert_eq!(Config::from_site(&site(pairs)), Ok(want), "{pairs:?}");
        };
        check(&[], Config::default());
        check(&[("hbase.zookeeper.quorum", "a,b:7")], zookeeper("a:2181,b:7", "/hbase"));
        let port = ("hbase.zookeeper.property.clientPort", " 5 ");
        let parent = ("zookeeper.znode.parent", "/hbase-unsecure");
        let quorum = ("hbase.zookeeper.quorum", "${zk.a},${zk.b}");
        check(
            &[("zk.a", "a"), ("zk.b", "b"), quorum, port, parent],
            zookeeper("a:5,b:5", "/hbase-unsecure"),
        );
        let of_clients = ("hbase.client.zookeeper.quorum", "c,d:8");
        let of_servers = ("hbase.zookeeper.quorum", "a");
        let clients_port = ("hbase.client.zookeeper.property.clientPort", "6");
        check(&[of_servers, of_clients], zookeeper("c:2181,d:8", "/hbase"));
        check(&[of_servers, of_clients, port], zookeeper("c:5,d:8", "/hbase"));
        check(&[of_servers, of_clients, port, clients_port], zookeeper("c:6,d:8", "/hbase"));
        check(&[of_servers, port, clients_port], zookeeper("a:5", "/hbase"));
        let seven = Duration::from_millis(7);
        let rpc = ("hbase.rpc.timeout", "7");
        check(&[rpc], Config { rpc_timeout: seven, ..Config::default() });
        let eight = Some(Duration::from_millis(8));
        check(
            &[("hbase.rpc.write.timeout", "8"), rpc],
            Config { rpc_timeout: seven, write_timeout: eight, ..Config::default() },
        );
        check(
            &[("hbase.rpc.read.timeout", "8"), rpc],
            Config { rpc_timeout: seven, read_timeout: eight, ..Config::default() },
        );
        // 0 is no limit and no pause.
        for never in ["0", "-1"] {
            check(
                &[("hbase.rpc.timeout", never)],
                Config { rpc_timeout: LONGEST, ..Config::default() },
            );
            check(
                &[("hbase.client.operation.timeout", never)],
                Config { operation_timeout: LONGEST, ..Config::default() },
            );
            check(
                &[("hbase.client.pause", never)],
                Config { pause: Duration::ZERO, ..Config::default() },
            );
        }
        let pause = Duration::from_millis(7);
        check(&[("hbase.client.pause", "7")], Config { pause, ..Config::default() });
        let cell_limit_bytes = i32::MAX.unsigned_abs() as usize;
        check(
            &[("hbase.client.keyvalue.maxsize", "-1")],
            Config { cell_limit_bytes, ..Config::default() },
        );
        check(&[("hbase.client.retries.number", "3")], Config { retries: 3, ..Config::default() });
        let tasks = ("hbase.client.max.perserver.tasks", "8");
        check(&[tasks], Config { calls_per_server: 8, ..Config::default() });
        let authentication = Authentication::Kerberos;
        check(
            &[("hbase.security.authentication", "Kerberos")],
            Config { authentication, ..Config::default() },
        );
        let masters = Registry::Masters(vec![Address::new("m", 16000), Address::new("n", 1)]);
        check(
            &[
                (
                    "hbase.client.registry.impl",
                    "org.apache.hadoop.hbase.client.RpcConnectionRegistry",
                ),
                ("hbase.masters", "m,n:1"),
            ],
            Config { registry: masters, ..Config::default() },
        );
        check(&[("x", "${x}${x}"), ("hbase.master.info.port", "${x}")], Config::default());
    }

    use crate::model::Address;

    #[test]
    fn what_cannot_be_used_is_named() {
        let check = |xml: &str, want: &str| {
            let error = Config::from_site(xml).unwrap_err().to_string();
            assert!(error.contains(want), "{error}");
        };
        check("<configuration>", "hbase-site.xml");
        check(&site(&[("hbase.rpc.timeout", "soon")]), "hbase.rpc.timeout");
        check(&site(&[("hbase.client.retries.number", "-1")]), "hbase.client.retries.number");
        check(&site(&[("hbase.zookeeper.quorum", "a:b")]), "a:b");
        let doubled = [("a", "${b}${b}"), ("b", "${a}${a}"), ("hbase.client.pause", "${a}")];
        check(&site(&doubled), "hbase.client.pause");
    }
}
