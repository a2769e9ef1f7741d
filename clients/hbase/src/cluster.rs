//! What a client knows of its cluster, and the one place where a failure changes it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prost::Message;
use tokio::time::Instant;

use crate::cell_block::Cells;
use crate::config::Config;
use crate::connection::{CallError, Connection, Request, Service};
use crate::error::{Error, Malformed};
use crate::frame::Body;
use crate::model::{Address, Cell, Row, TableName};
use crate::proto;
use crate::random::Random;
use crate::region::{self, Located, Region, RegionCache};
use crate::registry::{self, Who};
use crate::remedy::{Remedy, remedy};
use crate::retry::{Next, Tries};
use crate::servers::Servers;

/// Calls to meta are served by handlers of their own from this priority on.
const HIGH_PRIORITY: u32 = 200;
/// Failed tries after which it is asked whether the table is disabled.
const DISABLED_AFTER_TRIES: u32 = 2;
/// A server that is silent for so long while calls wait is left once somebody gives up waiting. One
/// that is well answers in less; to leave one that is slow costs a connection and look-ups.
const LONG_SILENCE: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) config: Config,
    pub(crate) random: Random,
    /// Tells this client's nonces from those of others.
    pub(crate) nonce_group: u64,
    servers: Servers,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    regions: RegionCache,
    meta: Option<Address>,
    master: Option<Address>,
}

/// A failed try, after what it taught was noted.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) error: Error,
    pub(crate) next: Next,
    /// Whether the server was left for it.
    pub(crate) left: bool,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure { error, next: Next::Pause, left: false }
    }
}

/// What a call is about, for what its failure means.
#[derive(Clone, Copy)]
pub(crate) enum About<'a> {
    Region(&'a Region),
    Server(&'a Address),
}

impl About<'_> {
    fn server(&self) -> &Address {
        match self {
            About::Region(region) => &region.server,
            About::Server(server) => server,
        }
    }
}

/// A call under way. A caller that stops waiting for it drops it before its end; then a server that
/// is silent is left, as whoever comes next would wait for it again.
struct UnderWay<'a> {
    cluster: &'a Cluster,
    server: &'a Address,
    began: Instant,
    /// Nothing while it is made.
    connection: Option<Connection>,
    ended: bool,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let silence =
            self.connection.as_ref().map_or_else(|| self.began.elapsed(), Connection::silence);
        if !self.ended && silence >= LONG_SILENCE {
            tracing::debug!(server = %self.server, ?silence, "left, as nobody waits for it any more");
            self.cluster.leave(self.server);
        }
    }
}

impl Cluster {
    pub(crate) fn new(config: Config) -> Self {
        let random = Random::new();
        let nonce_group = random.nonce();
        let (servers, known) = (Servers::default(), Mutex::default());
        Cluster { config, random, nonce_group, servers, known }
    }

    pub(crate) fn tries(&self) -> Tries<'_> {
        Tries::new(&self.config, &self.random)
    }

    /// Makes one call. Dropping the future leaves a server that has been silent for long.
    pub(crate) async fn call<M: Message>(
        &self,
        about: About<'_>,
        service: Service,
        request: Request<'_, M>,
    ) -> Result<Body, Failure> {
        let server = about.server();
        let began = Instant::now();
        let mut call = UnderWay { cluster: self, server, began, connection: None, ended: false };
        let connection = self.servers.connection(server, service, &self.config).await;
        let called = match connection {
            Ok(connection) => call.connection.insert(connection).call(request).await,
            Err(error) => Err(CallError::Broken(error)),
        };
        call.ended = true;
        called.map_err(|failed| self.learn(about, failed))
    }

    /// Decodes an answer's message.
    pub(crate) fn decode<M: Message + Default>(
        &self,
        about: About<'_>,
        body: &Body,
    ) -> Result<M, Failure> {
        M::decode(body.message.clone())
            .map_err(|_| self.malformed(about, Malformed("an answer that cannot be read")))
    }

    /// An answer that makes no sense is a server to leave.
    pub(crate) fn malformed(&self, about: About<'_>, what: Malformed) -> Failure {
        let error = Error::lost(about.server(), format!("it sent {what}"));
        self.learn(about, CallError::Broken(error))
    }

    /// Notes what a failure says of regions and servers, and tells what the next try waits for.
    pub(crate) fn learn(&self, about: About<'_>, failed: CallError) -> Failure {
        let server = about.server();
        let exception = match failed {
            // The call itself was refused, or the server's greeting: leaving it does not help.
            CallError::Broken(error) if error.is_permanent() => {
                return Failure::from(error);
            }
            CallError::Broken(error) => {
                self.leave(server);
                return Failure { error, next: Next::AtOnce, left: true };
            }
            CallError::Exception(exception) => exception,
        };
        let cure = remedy(&exception);
        let next = match cure {
            Remedy::Fail | Remedy::Wait => Next::Pause,
            Remedy::Rescan => Next::AtOnce,
            Remedy::Relocate => {
                if let About::Region(region) = about {
                    self.forget(region, exception.moved_to.as_ref());
                }
                Next::AtOnce
            }
            Remedy::LeaveServer => {
                self.leave(server);
                Next::AtOnce
            }
        };
        let server = server.clone();
        let error = match cure {
            Remedy::Fail => Error::Refused { server, exception },
            _ => Error::Failed { server, exception },
        };
        Failure { error, next, left: cure == Remedy::LeaveServer }
    }

    /// Forgets where a region is, and notes where it went.
    pub(crate) fn forget(&self, region: &Region, moved_to: Option<&Address>) {
        let mut known = self.known();
        if region.table == TableName::meta() {
            known.meta = moved_to.cloned();
            return;
        }
        known.regions.remove(region);
        if let Some(server) = moved_to.filter(|server| **server != region.server) {
            known.regions.insert(Region { server: server.clone(), ..region.clone() });
        }
    }

    fn leave(&self, server: &Address) {
        self.servers.leave(server);
        let mut known = self.known();
        known.regions.remove_server(server);
        known.meta.take_if(|known| known == server);
        known.master.take_if(|known| known == server);
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        // Each change leaves it whole.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The region of a row as it was last seen.
    pub(crate) fn known_region(&self, table: &TableName, row: &[u8]) -> Option<Arc<Region>> {
        self.known().regions.find(table, row)
    }

    /// The region of a row: as it was last seen, or looked up, once.
    pub(crate) async fn locate(
        &self,
        table: &TableName,
        row: &[u8],
        tries: &Tries<'_>,
    ) -> Result<Arc<Region>, Failure> {
        if let Some(region) = self.known_region(table, row) {
            return Ok(region);
        }
        if *table == TableName::meta() {
            return Ok(Arc::new(Region::meta(self.meta().await?)));
        }
        let meta = Region::meta(self.meta().await?);
        let found = self.read_meta(&meta, region::meta_key(table, row), table, tries).await?;
        let located = region::located(table, row, &found)
            .map_err(|what| self.malformed(About::Region(&meta), what))?;
        let nowhere = match located {
            Located::At(region) => return Ok(self.known().regions.insert(region)),
            Located::NoTable => return Err(Error::TableNotFound { table: table.clone() }.into()),
            Located::Nowhere => {
                let row = format!("\"{}\"", row.escape_ascii()).into();
                Error::NoRegion { table: table.clone(), row }
            }
        };
        Err(nowhere.into())
    }

    /// Answers with an error when the table is disabled, once tries have failed.
    pub(crate) async fn check_enabled(
        &self,
        table: &TableName,
        tries: &Tries<'_>,
    ) -> Result<(), Error> {
        if tries.failed() < DISABLED_AFTER_TRIES || *table == TableName::meta() {
            return Ok(());
        }
        // It is a question beside the matter: that it cannot be answered is no failure.
        let Ok(server) = self.meta().await else { return Ok(()) };
        let meta = Region::meta(server);
        let request = proto::GetRequest {
            region: proto::RegionSpecifier::named(&meta.name),
            get: Some(proto::Get {
                row: table.to_string().into(),
                column: vec![proto::Column {
                    family: "table".into(),
                    qualifier: vec!["state".into()],
                }],
                max_versions: None,
            }),
        };
        let about = About::Region(&meta);
        let request = Request {
            method: "Get",
            parameter: &request,
            cells: &[],
            priority: Some(HIGH_PRIORITY),
            timeout: tries.call_timeout(self.config.rpc_timeout),
        };
        let Ok(body) = self.call(about, Service::Regions, request).await else { return Ok(()) };
        let Ok(answer) = self.decode::<proto::GetResponse>(about, &body) else { return Ok(()) };
        let cells = Cells(body.cells).of(answer.result.unwrap_or_default()).unwrap_or_default();
        let state = Row { cells };
        match state.value("table", "state") {
            Some(state) if !region::is_enabled(state) => {
                Err(Error::TableDisabled { table: table.clone() })
            }
            _ => Ok(()),
        }
    }

    /// The first row of meta at or before `start`, of this table.
    async fn read_meta(
        &self,
        meta: &Region,
        start: bytes::Bytes,
        table: &TableName,
        tries: &Tries<'_>,
    ) -> Result<Row, Failure> {
        let request = proto::ScanRequest {
            region: proto::RegionSpecifier::named(&meta.name),
            scan: Some(proto::Scan {
                column: vec![proto::Column { family: "info".into(), qualifier: Vec::new() }],
                start_row: Some(start),
                stop_row: Some(table.to_string().into()),
                reversed: Some(true),
                caching: Some(1),
                ..Default::default()
            }),
            number_of_rows: Some(1),
            close_scanner: Some(true),
            client_handles_partials: Some(false),
            ..Default::default()
        };
        let about = About::Region(meta);
        let request = Request {
            method: "Scan",
            parameter: &request,
            cells: &[],
            priority: Some(HIGH_PRIORITY),
            timeout: tries.call_timeout(self.config.rpc_timeout),
        };
        let body = self.call(about, Service::Regions, request).await?;
        let answer: proto::ScanResponse = self.decode(about, &body)?;
        let mut rows = rows(&answer, body).map_err(|what| self.malformed(about, what))?;
        Ok(if rows.is_empty() { Row::default() } else { rows.swap_remove(0) })
    }

    async fn meta(&self) -> Result<Address, Error> {
        let known = self.known().meta.clone();
        if let Some(server) = known {
            return Ok(server);
        }
        let server = registry::ask(Who::Meta, &self.config, &self.random).await?;
        self.known().meta = Some(server.clone());
        Ok(server)
    }

    /// The active master.
    pub(crate) async fn master(&self) -> Result<Address, Error> {
        let known = self.known().master.clone();
        if let Some(server) = known {
            return Ok(server);
        }
        let server = registry::ask(Who::Master, &self.config, &self.random).await?;
        self.known().master = Some(server.clone());
        Ok(server)
    }
}

/// The rows of a scan's answer, from the message or from the cell block.
pub(crate) fn rows(answer: &proto::ScanResponse, body: Body) -> Result<Vec<Row>, Malformed> {
    let mut block = Cells(body.cells);
    if answer.cells_per_result.is_empty() {
        let results = answer.results.iter().cloned();
        return results.map(|result| Ok(Row { cells: block.of(result)? })).collect();
    }
    let counts = answer.cells_per_result.iter();
    let row = |count: &u32| -> Result<Row, Malformed> {
        let cells: Vec<Cell> = block.take(usize::try_from(*count).unwrap_or(usize::MAX))?;
        Ok(Row { cells })
    };
    counts.map(row).collect()
}
