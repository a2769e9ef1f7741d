//! Keys that all of the sinks have.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de::Error as _};
use splashdam_config::{Diagnostic, Section};
use splashdam_hbase::{Config as ClientConfig, TableName};

use super::serializer::{self, Manner, shares_rows};

/// A table's name, read and checked.
#[derive(Clone, Debug, PartialEq)]
pub struct HbaseTable(pub(super) TableName);

/// ZooKeeper's servers between commas, each with or without port.
#[derive(Clone, Debug, PartialEq)]
pub struct Quorum(pub(super) String);

/// What, where and how; a sink holds it under `#[serde(rename = ".table")]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TableConfig {
    /// The table, with `namespace:` before it where that is not `default`. It must exist.
    pub table: HbaseTable,
    /// The column family of all columns. It must exist.
    pub column_family: String,
    /// Events per transaction.
    #[serde(default = "defaults::batch_size")]
    pub batch_size: NonZeroU32,
    /// How events become rows: `simple` (a row for each body, and a count), `regex` (a column for
    /// each group of a pattern), or Flume's class for one of them; `columns` (as described) or `json`
    /// (a column for each member). The keys of the serializer go below; see hbase-serializers.md. Default: `simple`.
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
    /// Whether each event is there once, however often it is written: row keys are made of where the
    /// event lies in its channel, or of the event, and so are the times of cells. The channel must be
    /// a file channel that syncs each transaction. Increments are refused. Not a key of Flume's.
    #[serde(default)]
    pub effectively_once: bool,
    /// The times of cells: `server` (when they were written), `header` (the event's header
    /// `timestamp`, in milliseconds) or `number` (the event's in its channel, so that a later event
    /// goes before an earlier one whenever it is written). Not a key of Flume's. Default: `server`,
    /// with `effectivelyOnce` `number`; `server` does not go with that.
    #[serde(default)]
    pub cell_time: Option<CellTime>,
    /// Whether increments of one column in a batch are added up before they are sent. Flume's default
    /// is `false`: the sums are the same, and the server keeps a version of the cell for each event.
    #[serde(default = "defaults::coalesce_increments")]
    pub coalesce_increments: bool,
}

/// What cells have for their time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CellTime {
    /// When the server wrote them.
    Server,
    /// The event's header `timestamp`.
    Header,
    /// The event's number in its channel.
    Number,
}

mod defaults {
    use std::num::NonZeroU32;

    pub(super) fn batch_size() -> NonZeroU32 {
        const { NonZeroU32::new(100).unwrap() }
    }

    pub(super) fn enable_wal() -> bool {
        true
    }

    pub(super) fn coalesce_increments() -> bool {
        true
    }
}

/// What the keys of a sink come to.
#[derive(Clone, Debug)]
pub struct Settings {
    pub(super) batch_events: usize,
    pub(super) table: HbaseTable,
    pub(super) family: String,
    pub(super) serializer: Section,
    pub(super) quorum: Option<Quorum>,
    pub(super) znode_parent: Option<String>,
    pub(super) site: Option<PathBuf>,
    pub(super) kerberos: bool,
    /// Whether puts are logged by HBase before they are acknowledged.
    pub(super) put_wal: bool,
    /// Whether increments are.
    pub(super) increment_wal: bool,
    pub(super) coalesce: bool,
    pub(super) manner: Manner,
    pub(super) cell_time: Option<CellTime>,
    /// How long a batch may take, where that is not left to the client.
    pub(super) patience: Option<Duration>,
}

impl From<TableConfig> for Settings {
    fn from(config: TableConfig) -> Self {
        Settings {
            batch_events: usize::try_from(config.batch_size.get()).unwrap_or(usize::MAX),
            table: config.table,
            family: config.column_family,
            serializer: config.serializer,
            quorum: config.zookeeper_quorum,
            znode_parent: config.znode_parent,
            site: config.hbase_site,
            kerberos: false,
            put_wal: config.enable_wal,
            increment_wal: config.enable_wal,
            coalesce: config.coalesce_increments,
            manner: Manner { repeatable: config.effectively_once },
            cell_time: config.cell_time,
            patience: None,
        }
    }
}

impl Settings {
    /// With keys for Kerberos or without.
    pub(crate) fn kerberos(self, kerberos: bool) -> Self {
        Settings { kerberos, ..self }
    }

    /// Where the cluster is, if nothing else says it.
    pub(crate) fn or_at(self, quorum: Option<Quorum>, parent: Option<String>) -> Self {
        let quorum = self.quorum.or(quorum);
        Settings { quorum, znode_parent: self.znode_parent.or(parent), ..self }
    }

    /// Increments are logged in any case, and a batch has this time.
    pub(crate) fn asynchronous(self, patience: Duration) -> Self {
        Settings { increment_wal: true, patience: Some(patience), ..self }
    }

    /// What cells have for their time.
    pub(super) fn cell_time(&self) -> CellTime {
        let default = if self.manner.repeatable { CellTime::Number } else { CellTime::Server };
        self.cell_time.unwrap_or(default)
    }

    /// Whether events must tell where they lie.
    pub(super) fn needs_place(&self) -> bool {
        self.manner.repeatable
            || self.cell_time() == CellTime::Number
            || serializer::uses_place(&self.serializer)
    }

    /// What does not go together.
    pub(super) fn check(&self) -> Vec<Diagnostic> {
        let mut findings = serializer::check(&self.serializer, self.manner);
        if self.manner.repeatable && self.cell_time.is_none() && shares_rows(&self.serializer) {
            let what = "row keys come from the events, so that a cell may be written by one event after another, and numbers as times of cells would hide the newer value once the channel begins anew";
            findings.push(
                Diagnostic::error("invalid-value", what)
                    .help("set `cellTime = header`, or `number` where the channel's directories are never removed"),
            );
        }
        if self.manner.repeatable && self.cell_time == Some(CellTime::Server) {
            let what = "`effectivelyOnce` needs the same cells from each try, and `cellTime = server` gives them the time of the try";
            findings.push(
                Diagnostic::error("invalid-value", what)
                    .help("leave `cellTime` out, or set it to `header`"),
            );
        }
        findings
    }

    /// Where the sink writes, as a clause.
    pub(super) fn place(&self) -> String {
        let at = self.quorum.as_ref().map_or(super::open::SITE, |quorum| &quorum.0);
        let (family, table) = (&self.family, &self.table);
        format!("writes into family `{family}` of HBase table `{table}`, which {at} knows")
    }
}

impl<'de> Deserialize<'de> for HbaseTable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = TableName::parse(&String::deserialize(deserializer)?);
        name.map(HbaseTable).map_err(D::Error::custom)
    }
}

impl std::fmt::Display for HbaseTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Quorum {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let quorum = String::deserialize(deserializer)?;
        ClientConfig::zookeeper(&quorum, "/hbase").map_err(D::Error::custom)?;
        Ok(Quorum(quorum))
    }
}
