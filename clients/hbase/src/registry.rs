//! Asks who serves `hbase:meta` and who is the master.

use prost::Message;
use splashdam_zookeeper::{Ensemble, Node, Server};

use crate::config::{Config, Registry};
use crate::connection::{CallError, Connection, Request, Service};
use crate::error::Error;
use crate::model::Address;
use crate::proto;
use crate::random::Random;
use crate::region::server_of_node;

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// The server of `hbase:meta`.
    Meta,
    /// The active master.
    Master,
}

impl Who {
    const fn node(self) -> &'static str {
        match self {
            Who::Meta => "meta-region-server",
            Who::Master => "master",
        }
    }
}

/// Asks the registry, each of its servers once.
pub(crate) async fn ask(who: Who, config: &Config, random: &Random) -> Result<Address, Error> {
    let first = usize::try_from(random.next() % 1024).unwrap_or(0);
    match &config.registry {
        Registry::ZooKeeper { quorum, parent } => {
            let path = format!("{}/{}", parent.trim_end_matches('/'), who.node());
            let server = |at: &Address| Server { host: at.host.clone(), port: at.port };
            let ensemble = Ensemble::of(quorum.iter().map(server).collect());
            let ensemble =
                ensemble.ok_or_else(|| Error::NoCluster("the quorum names no server".into()))?;
            let node = ensemble.read(&path, first, config.connect_timeout).await;
            match node.map_err(|why| Error::NoCluster(why.to_string().into()))? {
                Node::Data(data) => server_of_node(&data)
                    .map_err(|what| Error::NoCluster(format!("`{path}` is {what}").into())),
                Node::Absent => Err(Error::NoCluster(
                    format!("ZooKeeper has no node `{path}`; is HBase up, and is zookeeper.znode.parent right?").into(),
                )),
            }
        }
        Registry::Masters(masters) => ask_masters(who, masters, first, config).await,
    }
}

async fn ask_masters(
    who: Who,
    masters: &[Address],
    first: usize,
    config: &Config,
) -> Result<Address, Error> {
    let mut failures = Vec::new();
    for turn in 0..masters.len() {
        match ask_master(who, &masters[(first + turn) % masters.len()], config).await {
            Ok(server) => return Ok(server),
            Err(why) => failures.push(why.to_string()),
        }
    }
    Err(Error::NoCluster(format!("no master answered ({})", failures.join("; ")).into()))
}

async fn ask_master(who: Who, master: &Address, config: &Config) -> Result<Address, Error> {
    let connection = Connection::open(master, Service::Registry, config).await?;
    let method = match who {
        Who::Meta => "GetMetaRegionLocations",
        Who::Master => "GetActiveMaster",
    };
    let request = Request {
        method,
        parameter: &proto::Empty {},
        cells: &[],
        priority: None,
        timeout: config.rpc_timeout,
    };
    let body = connection.call(request).await.map_err(|failed| match failed {
        CallError::Exception(exception) => Error::Failed { server: master.clone(), exception },
        CallError::Broken(error) => error,
    })?;
    let unreadable = |_| Error::lost(master, "it sent an answer that cannot be read");
    let server = match who {
        Who::Meta => {
            let answer = proto::GetMetaRegionLocationsResponse::decode(body.message);
            // The first is the region itself, further ones are copies for reading.
            answer.map_err(unreadable)?.meta_locations.into_iter().find_map(|at| at.server_name)
        }
        Who::Master => {
            let answer = proto::GetActiveMasterResponse::decode(body.message);
            answer.map_err(unreadable)?.server_name
        }
    };
    server
        .and_then(|server| server.address())
        .ok_or_else(|| Error::NoCluster(format!("{master} does not know it yet").into()))
}
