//! Sink `asynchbase`: events into a table of HBase.
//!
//! Flume's class: `org.apache.flume.sink.hbase.AsyncHBaseSink`. A batch must be acknowledged within
//! `timeout`. What differs from Flume:
//!
//! - No HBase client and no JVM is needed, and `hbase-site.xml` is looked for in `HBASE_CONF_DIR`
//!   and `HBASE_HOME/conf` (`hbaseSite` names another).
//! - Entries of `zookeeperQuorum` may have a port or not, and ports may differ.
//! - A cluster, table or family that is not there is said at the start and waited for.
//! - `EventDrainSuccessCount` counts events; Flume counts puts.
//! - All puts of a batch are acknowledged before its increments are sent; there both go at once.
//! - `async.*` is not handed to another client: of its keys those for ZooKeeper are used.
//! - `maxConsecutiveFails` has no effect: connections that failed are made anew at once.

use std::time::Duration;

use serde::Deserialize;

use super::hbase_writer::{Flavour, HbaseSink, Quorum, Settings, TableConfig};

/// Keys of the asynchbase sink.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// What, where and how.
    #[serde(rename = ".table")]
    pub table: TableConfig,
    /// Milliseconds in which a batch must be acknowledged; 0 or less is the default.
    #[serde(default = "defaults::timeout")]
    pub timeout: i64,
    /// Read and not needed: connections that failed are made anew at once.
    #[serde(default = "defaults::max_consecutive_fails")]
    pub max_consecutive_fails: i32,
    /// As `zookeeperQuorum`, which goes before it, under the name of Flume's client.
    #[serde(rename = "async.hbase.zookeeper.quorum", default)]
    pub async_quorum: Option<Quorum>,
    /// As `znodeParent`, which goes before it, under the name of Flume's client.
    #[serde(rename = "async.hbase.zookeeper.znode.parent", default)]
    pub async_parent: Option<String>,
}

mod defaults {
    pub(super) fn timeout() -> i64 {
        60_000
    }

    pub(super) fn max_consecutive_fails() -> i32 {
        10
    }
}

impl From<Config> for Settings {
    fn from(config: Config) -> Self {
        let millis = if config.timeout > 0 { config.timeout } else { defaults::timeout() };
        Settings::from(config.table)
            .or_at(config.async_quorum, config.async_parent)
            .asynchronous(Duration::from_millis(millis.unsigned_abs()))
    }
}

/// The sink.
pub type AsyncHbase = HbaseSink<OfAsyncHbase>;

/// What makes it this one.
pub struct OfAsyncHbase;

impl Flavour for OfAsyncHbase {
    const TYPE: &'static str = "asynchbase";
    const ALIASES: &'static [&'static str] = &["org.apache.flume.sink.hbase.AsyncHBaseSink"];
    type Config = Config;

    fn settings(config: Config) -> Settings {
        config.into()
    }
}

#[cfg(test)]
mod tests {
    use splashdam_hbase::fake::FakeCluster;
    use splashdam_testkit::contract;

    use super::*;

    #[tokio::test]
    async fn keeps_the_contract() {
        let cluster = FakeCluster::with_table().await;
        let quorum = cluster.quorum();
        let keys = format!("table = t\ncolumnFamily = f\nzookeeperQuorum = {quorum}");
        contract::sink::<AsyncHbase>(&keys).await;
        contract::sink::<AsyncHbase>(&format!("{keys}\nserializer = org.apache.flume.sink.hbase.SimpleAsyncHbaseEventSerializer\ncoalesceIncrements = true")).await;
    }
}
