//! Reads `hbase-site.xml`: `<configuration><property><name>…</name><value>…</value></property>…`.

use std::collections::HashMap;
use std::time::Duration;

use super::{Authentication, Config, MASTER_PORT, Registry, ZOOKEEPER_PORT, addresses};
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
    for (key, duration) in [
        ("hbase.client.pause", &mut config.pause),
        ("hbase.rpc.timeout", &mut config.rpc_timeout),
        ("hbase.client.operation.timeout", &mut config.operation_timeout),
        ("hbase.ipc.client.socket.timeout.connect", &mut config.connect_timeout),
    ] {
        site.millis(key, duration)?;
    }
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

    fn millis(&self, key: &str, into: &mut Duration) -> Result<(), Error> {
        let mut millis: u32 = 0;
        self.number(key, &mut millis)?;
        if millis > 0 {
            *into = Duration::from_millis(millis.into());
        }
        Ok(())
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
        let quorum = self.value("hbase.zookeeper.quorum");
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
