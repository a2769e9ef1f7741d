//! From keys to an open table: where the cluster is, and whether the table is as it should be.

use std::path::{Path, PathBuf};

use splashdam_config::{Diagnostic, Section};
use splashdam_core::{Context, OpenError, World};
use splashdam_hbase::{
    Address, Client, Config as ClientConfig, Durability, Error, FamilyDescription, Get, Registry,
    TableDescription,
};

use super::config::{CellTime, HbaseTable, Quorum, Settings};
use super::{Writer, serializer};

/// Where Hadoop's packages put a cluster's configuration.
pub(super) const SITE: &str = "hbase-site.xml";
/// A site file larger than this is not one.
const SITE_LIMIT_BYTES: u64 = 16 * 1024 * 1024;
/// Tries after the first when a sink opens, which is itself tried again.
const OPEN_RETRIES: u32 = 3;

const KERBEROS: &str = "HBase with Kerberos is not supported";

/// Says of keys for Kerberos that it is not there.
pub(super) fn check_kerberos(section: &Section) -> Option<Diagnostic> {
    let key = ["kerberosPrincipal", "kerberosKeytab"]
        .into_iter()
        .find(|key| section.get(key).is_some())?;
    let finding = Diagnostic::error("invalid-value", KERBEROS).at(section.key_span(key));
    Some(finding.help("remove both keys and use a cluster with simple authentication"))
}

impl Writer {
    /// Asks the cluster for the table and opens the serializer. A cluster, table or family that is
    /// not there is waited for.
    pub(crate) async fn open(settings: Settings, cx: &Context) -> Result<Self, OpenError> {
        let metrics = cx.counters.sink();
        let findings = settings.check();
        if findings.iter().any(Diagnostic::is_error) {
            return Err(OpenError::Config(findings));
        }
        let serializer = serializer::open(&settings.serializer, settings.manner, cx)?;
        let opened = connect(&settings, cx).await;
        match &opened {
            Ok(_) => metrics.connections_created.add(1),
            Err(_) => metrics.connections_failed.add(1),
        }
        let durability = |wal| if wal { Durability::TableDefault } else { Durability::SkipWal };
        Ok(Writer {
            client: opened?,
            cell_time: settings.cell_time(),
            needs_place: settings.needs_place(),
            table: settings.table.0,
            family: settings.family.into(),
            serializer,
            puts: durability(settings.put_wal),
            increments: durability(settings.increment_wal),
            coalesce: settings.coalesce,
            dead_letters: cx.dead_letters,
            patience: settings.patience,
        })
    }
}

/// Asks the cluster for the table, and a server for a row of it, and says what there is.
pub(super) async fn probe(settings: &Settings, cx: &Context) -> Result<String, OpenError> {
    let config = client_config(settings, cx).await?;
    let HbaseTable(table) = &settings.table;
    let few_tries = ClientConfig { retries: OPEN_RETRIES, ..config };
    let client = Client::new(few_tries).map_err(refused)?;
    let described = described(&client, settings).await?;
    client.get(table, Get::new("0")).await.map_err(OpenError::unavailable)?;
    let at = match &client.config().registry {
        Registry::ZooKeeper { quorum, parent } => format!("{}{parent}", listed(quorum)),
        Registry::Masters(masters) => listed(masters),
    };
    let families = families(&described).join("`, `");
    Ok(format!(
        "the HBase at {at} has the table `{table}` with the families `{families}`, and its server answers"
    ))
}

fn listed(addresses: &[Address]) -> String {
    addresses.iter().map(Address::to_string).collect::<Vec<_>>().join(",")
}

async fn connect(settings: &Settings, cx: &Context) -> Result<Client, OpenError> {
    let config = client_config(settings, cx).await?;
    let few_tries = ClientConfig { retries: OPEN_RETRIES, ..config.clone() };
    described(&Client::new(few_tries).map_err(refused)?, settings).await?;
    Client::new(config).map_err(refused)
}

/// What the table is made of, if that will do.
async fn described(client: &Client, settings: &Settings) -> Result<TableDescription, OpenError> {
    let HbaseTable(table) = &settings.table;
    let described = client.describe(table).await.map_err(OpenError::unavailable)?;
    let Some(family) = described.family(&settings.family) else {
        return Err(OpenError::unavailable(format!(
            "table `{table}` has no column family `{}`, only `{}`; add it or name another",
            settings.family,
            families(&described).join("`, `")
        )));
    };
    let times_out = family.time_to_live();
    if let Some(seconds) = times_out.filter(|_| settings.cell_time() == CellTime::Number) {
        return Err(OpenError::config(format!(
            "table `{table}` drops cells after {seconds} s, and cells with numbers for their times would be gone at once; set `cellTime = header`"
        )));
    }
    Ok(described)
}

fn families(described: &TableDescription) -> Vec<String> {
    let name = |family: &FamilyDescription| String::from_utf8_lossy(&family.name).into_owned();
    described.families.iter().map(name).collect()
}

fn refused(error: Error) -> OpenError {
    OpenError::config(error.to_string())
}

/// The cluster's own file first, then the keys, which go before it.
async fn client_config(settings: &Settings, cx: &Context) -> Result<ClientConfig, OpenError> {
    if settings.kerberos {
        return Err(OpenError::config(KERBEROS));
    }
    let site = settings.site.clone().or_else(|| usual_site(&*cx.world));
    let mut config = match site {
        Some(path) => from_site(&path).await?,
        None => ClientConfig::default(),
    };
    let known_parent = match &config.registry {
        Registry::ZooKeeper { parent, .. } => parent.clone(),
        Registry::Masters(_) => "/hbase".to_owned(),
    };
    let parent = settings.znode_parent.clone();
    if let Some(Quorum(quorum)) = &settings.quorum {
        let parent = parent.unwrap_or(known_parent);
        config.registry = ClientConfig::zookeeper(quorum, &parent).map_err(refused)?.registry;
    } else if let (Some(given), Registry::ZooKeeper { parent, .. }) = (parent, &mut config.registry)
    {
        *parent = given;
    }
    let world = &cx.world;
    let user = world.variable("HADOOP_USER_NAME").or_else(|| world.property("user.name"));
    config.user = user.or_else(|| world.variable("USER")).unwrap_or_else(|| "flume".to_owned());
    Ok(config)
}

/// Where Flume's scripts put it on the class path from.
fn usual_site(world: &dyn World) -> Option<PathBuf> {
    let of_conf = world.variable("HBASE_CONF_DIR").map(PathBuf::from);
    let of_home = world.variable("HBASE_HOME").map(|home| Path::new(&home).join("conf"));
    let files = of_conf.into_iter().chain(of_home).map(|folder| folder.join(SITE));
    files.into_iter().find(|file| file.is_file())
}

async fn from_site(path: &Path) -> Result<ClientConfig, OpenError> {
    let shown = path.display();
    let unreadable = |error| OpenError::refused(format!("{shown} cannot be read: {error}"), error);
    let bytes = tokio::fs::metadata(path).await.map_err(unreadable)?.len();
    if bytes > SITE_LIMIT_BYTES {
        return Err(OpenError::config(format!(
            "{shown} has {bytes} bytes, too many for a site file"
        )));
    }
    let xml = tokio::fs::read_to_string(path).await.map_err(unreadable)?;
    ClientConfig::from_site(&xml).map_err(|error| OpenError::config(format!("{shown}: {error}")))
}
