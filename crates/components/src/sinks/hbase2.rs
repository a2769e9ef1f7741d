//! Sink `hbase2`: events into a table of HBase.
//!
//! Flume's class: `org.apache.flume.sink.hbase2.HBase2Sink`. All puts of a batch go first, then its
//! increments, as there. What differs from Flume:
//!
//! - No HBase client and no JVM is needed, and `hbase-site.xml` is looked for in `HBASE_CONF_DIR`
//!   and `HBASE_HOME/conf` (`hbaseSite` names another).
//! - Entries of `zookeeperQuorum` may have a port or not, and ports may differ.
//! - A cluster, table or family that is not there is said at the start and waited for.
//! - `EventDrainSuccessCount` counts events; Flume counts puts.
//! - Kerberos is refused.

use super::hbase::Config;
use super::hbase_writer::{Flavour, HbaseSink, Settings};

/// The sink.
pub type Hbase2 = HbaseSink<OfHbase2>;

/// What makes it this one.
pub struct OfHbase2;

impl Flavour for OfHbase2 {
    const TYPE: &'static str = "hbase2";
    const ALIASES: &'static [&'static str] = &["org.apache.flume.sink.hbase2.HBase2Sink"];
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
        contract::sink::<Hbase2>(&keys).await;
        contract::sink::<Hbase2>(&format!("{keys}\nserializer = org.apache.flume.sink.hbase2.SimpleHBase2EventSerializer\ncoalesceIncrements = true")).await;
    }
}
