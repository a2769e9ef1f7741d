//! Sink `hbase`: events into a table of HBase.
//!
//! Flume's class: `org.apache.flume.sink.hbase.HBaseSink`. That one is for servers of HBase 1; here
//! it is the same as `hbase2`, since one client speaks to both. What differs from Flume:
//!
//! - No HBase client and no JVM is needed, and `hbase-site.xml` is looked for in `HBASE_CONF_DIR`
//!   and `HBASE_HOME/conf` (`hbaseSite` names another).
//! - Entries of `zookeeperQuorum` may have a port or not, and ports may differ.
//! - A cluster, table or family that is not there is said at the start and waited for.
//! - `EventDrainSuccessCount` counts events; Flume counts puts.
//! - Kerberos is refused.

use std::num::NonZeroU32;
use std::path::PathBuf;

use serde::Deserialize;
use splashdam_config::{Diagnostic, Section};
use splashdam_core::{
    Batch, Component, Context, DeliverError, Delivered, Facts, OpenError, Sink, Size,
};

use super::hbase_writer::{self, HbaseTable, Quorum, Settings, Writer};

/// Keys of the hbase sink.
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
    /// Refused: Kerberos is not supported yet.
    #[serde(default)]
    pub kerberos_principal: Option<String>,
    /// Refused: Kerberos is not supported yet.
    #[serde(default)]
    pub kerberos_keytab: Option<PathBuf>,
}

mod defaults {
    use std::num::NonZeroU32;

    pub(super) fn batch_size() -> NonZeroU32 {
        const { NonZeroU32::new(100).unwrap() }
    }

    pub(super) fn enable_wal() -> bool {
        true
    }
}

impl Config {
    fn batch_events(&self) -> usize {
        usize::try_from(self.batch_size.get()).unwrap_or(usize::MAX)
    }

    fn kerberos(&self) -> bool {
        self.kerberos_principal.is_some() || self.kerberos_keytab.is_some()
    }

    fn settings(self) -> Settings {
        Settings {
            kerberos: self.kerberos(),
            table: self.table,
            family: self.column_family,
            serializer: self.serializer,
            quorum: self.zookeeper_quorum,
            znode_parent: self.znode_parent,
            site: self.hbase_site,
            put_wal: self.enable_wal,
            increment_wal: self.enable_wal,
            coalesce: self.coalesce_increments,
            patience: None,
        }
    }
}

/// The sink.
pub struct Hbase {
    limit: Size,
    writer: Writer,
}

impl Component for Hbase {
    const TYPE: &'static str = "hbase";
    const ALIASES: &'static [&'static str] = &["org.apache.flume.sink.hbase.HBaseSink"];
    type Config = Config;

    async fn open(config: Config, cx: Context) -> Result<Self, OpenError> {
        let limit = Size::events(config.batch_events());
        Ok(Hbase { limit, writer: Writer::open(config.settings(), &cx).await? })
    }

    fn facts(config: &Config) -> Facts {
        let quorum = config.zookeeper_quorum.as_ref();
        Facts {
            batch_events: Some(config.batch_events()),
            place: Some(hbase_writer::place(&config.table, &config.column_family, quorum)),
            process_crash: Some(hbase_writer::PROCESS_CRASH),
            machine_crash: Some(hbase_writer::PROCESS_CRASH),
            ..Facts::default()
        }
    }

    fn check(config: &Config, section: &Section) -> Vec<Diagnostic> {
        let mut findings = hbase_writer::check(&config.serializer);
        findings.extend(hbase_writer::check_kerberos(section));
        findings
    }
}

impl Sink for Hbase {
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
        contract::sink::<Hbase>(&keys).await;
        contract::sink::<Hbase>(&format!("{keys}\nserializer = org.apache.flume.sink.hbase.SimpleHbaseEventSerializer\ncoalesceIncrements = true")).await;
    }
}
