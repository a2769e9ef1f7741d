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

use std::path::PathBuf;

use serde::Deserialize;

use super::hbase_writer::{Flavour, HbaseSink, Settings, TableConfig};

/// Keys of the hbase sink.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// What, where and how.
    #[serde(rename = ".table")]
    pub table: TableConfig,
    /// Refused: Kerberos is not supported yet.
    #[serde(default)]
    pub kerberos_principal: Option<String>,
    /// Refused: Kerberos is not supported yet.
    #[serde(default)]
    pub kerberos_keytab: Option<PathBuf>,
}

impl From<Config> for Settings {
    fn from(config: Config) -> Self {
        let kerberos = config.kerberos_principal.is_some() || config.kerberos_keytab.is_some();
        Settings::from(config.table).kerberos(kerberos)
    }
}

/// The sink.
pub type Hbase = HbaseSink<OfHbase>;

/// What makes it this one.
pub struct OfHbase;

impl Flavour for OfHbase {
    const TYPE: &'static str = "hbase";
    const ALIASES: &'static [&'static str] = &["org.apache.flume.sink.hbase.HBaseSink"];
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
        contract::sink::<Hbase>(&keys).await;
        contract::sink::<Hbase>(&format!("{keys}\nserializer = org.apache.flume.sink.hbase.SimpleHbaseEventSerializer\ncoalesceIncrements = true")).await;
    }
}
