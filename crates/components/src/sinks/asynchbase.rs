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

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use splashdam_config::{Diagnostic, Section};
use splashdam_core::{
    Batch, Component, Context, DeliverError, Delivered, Facts, OpenError, Sink, Size,
};

use super::hbase_writer::{self, HbaseTable, Quorum, Settings, Writer};

/// Keys of the asynchbase sink.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// The table, with `namespace:` before it where that is not `default`. It must exist.
    pub table: HbaseTable,
    /// The column family of all columns. It must exist.
    pub column_family: String,
    /// Events per transaction.
    #[serde(default = "defaults::batch_size")]
    pub batch_size: NonZeroU32,
    /// How events become rows: `simple` (a row for each body, and a count), `regex` (a column for
    /// each group of a pattern), or Flume's class for one of them; the keys of the serializer go
    /// below. Default: `simple`.
    #[serde(default)]
    pub serializer: Section,
    /// ZooKeeper's servers, between commas, with or without `:port`; else what `hbase-site.xml`
    /// says.
    #[serde(default)]
    pub zookeeper_quorum: Option<Quorum>,
    /// The cluster's node in ZooKeeper; else what `hbase-site.xml` says, else `/hbase`.
    #[serde(default)]
    pub znode_parent: Option<String>,
    /// The cluster's `hbase-site.xml`; not a key of Flume's.
    #[serde(default)]
    pub hbase_site: Option<PathBuf>,
    /// Whether HBase logs what it is given before it acknowledges it. Without, a region server that
    /// crashes loses what was not flushed.
    #[serde(default = "defaults::enable_wal")]
    pub enable_wal: bool,
    /// Whether increments of one column in a batch are added up before they are sent.
    #[serde(default)]
    pub coalesce_increments: bool,
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
    use std::num::NonZeroU32;

    pub(super) fn batch_size() -> NonZeroU32 {
        const { NonZeroU32::new(100).unwrap() }
    }

    pub(super) fn enable_wal() -> bool {
        true
    }

    pub(super) fn timeout() -> i64 {
        60_000
    }

    pub(super) fn max_consecutive_fails() -> i32 {
        10
    }
}

impl Config {
    fn batch_events(&self) -> usize {
        usize::try_from(self.batch_size.get()).unwrap_or(usize::MAX)
    }

    fn patience(&self) -> Duration {
        let millis = if self.timeout > 0 { self.timeout } else { defaults::timeout() };
        Duration::from_millis(millis.unsigned_abs())
    }

    fn settings(self) -> Settings {
        Settings {
            patience: Some(self.patience()),
            kerberos: false,
            table: self.table,
            family: self.column_family,
            serializer: self.serializer,
            quorum: self.zookeeper_quorum.or(self.async_quorum),
            znode_parent: self.znode_parent.or(self.async_parent),
            site: self.hbase_site,
            put_wal: self.enable_wal,
            // As there, increments are logged in any case.
            increment_wal: true,
            coalesce: self.coalesce_increments,
        }
    }
}

/// The sink.
pub struct AsyncHbase {
    limit: Size,
    writer: Writer,
}

impl Component for AsyncHbase {
    const TYPE: &'static str = "asynchbase";
    const ALIASES: &'static [&'static str] = &["org.apache.flume.sink.hbase.AsyncHBaseSink"];
    type Config = Config;

    async fn open(config: Config, cx: Context) -> Result<Self, OpenError> {
        let limit = Size::events(config.batch_events());
        Ok(AsyncHbase { limit, writer: Writer::open(config.settings(), &cx).await? })
    }

    fn facts(config: &Config) -> Facts {
        let quorum = config.zookeeper_quorum.as_ref().or(config.async_quorum.as_ref());
        Facts {
            batch_events: Some(config.batch_events()),
            place: Some(hbase_writer::place(&config.table, &config.column_family, quorum)),
            process_crash: Some(hbase_writer::PROCESS_CRASH),
            machine_crash: Some(hbase_writer::PROCESS_CRASH),
            ..Facts::default()
        }
    }

    fn check(config: &Config, _section: &Section) -> Vec<Diagnostic> {
        hbase_writer::check(&config.serializer)
    }
}

impl Sink for AsyncHbase {
    fn limit(&self) -> Size {
        self.limit
    }

    async fn deliver(&mut self, batch: &Batch) -> Result<Delivered, DeliverError> {
        self.writer.deliver(batch).await
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
