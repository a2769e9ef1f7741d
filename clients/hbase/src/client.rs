//! The client: one operation after another, each tried until it is done, refused or out of time.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;

use crate::batch::{self, BatchResult};
use crate::cell_block::{self, Cells};
use crate::cluster::{About, Cluster, Failure};
use crate::config::Config;
use crate::connection::{Request, Service};
use crate::error::Error;
use crate::frame::Body;
use crate::model::{
    self, Change, Columns, FamilyDescription, Get, Mutation, MutationKind, Row, Scan,
    TableDescription, TableName,
};
use crate::proto;
use crate::region::Region;
use crate::retry::Tries;
use crate::scan::Scanner;

/// A client of one cluster. Cheap to clone; clones share connections and what is known of regions.
///
/// Operations may run side by side, from any number of tasks: calls to one server share a
/// connection and do not wait for each other's answers. Dropping the future of an operation leaves
/// open whether it was carried out.
#[derive(Clone, Debug)]
pub struct Client {
    cluster: Arc<Cluster>,
}

impl Client {
    /// A client for the cluster that `config` names. Nothing is sent yet: a cluster that is down
    /// shows at the first operation.
    ///
    /// # Errors
    /// A configuration that cannot work, such as one that asks for Kerberos.
    pub fn new(config: Config) -> Result<Self, Error> {
        config.check()?;
        Ok(Client { cluster: Arc::new(Cluster::new(config.capped())) })
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.cluster.config
    }

    /// Says what [`Client::mutate`] and [`Client::batch`] would refuse without asking a server: a row
    /// key, a family or a cell that none takes.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the reason.
    pub fn check(&self, mutation: &Mutation) -> Result<(), Error> {
        mutation.check(self.cluster.config.cell_limit_bytes)
    }

    /// Asks the master what a table is made of.
    ///
    /// # Errors
    /// [`Error::TableNotFound`]; else what [`Error::GaveUp`] names.
    pub async fn describe(&self, table: &TableName) -> Result<TableDescription, Error> {
        let request = proto::GetTableDescriptorsRequest { table_names: vec![table.into()] };
        let cluster = &self.cluster;
        let mut tries = cluster.tries();
        loop {
            match self.describe_once(table, &request, &tries).await {
                Ok(description) => return Ok(description),
                Err(failed) => tries.again(failed.error, failed.next).await?,
            }
        }
    }

    async fn describe_once(
        &self,
        table: &TableName,
        request: &proto::GetTableDescriptorsRequest,
        tries: &Tries<'_>,
    ) -> Result<TableDescription, Failure> {
        let cluster = &self.cluster;
        let master = cluster.master().await?;
        let about = About::Server(&master);
        let request = Request {
            method: "GetTableDescriptors",
            parameter: request,
            cells: &[],
            priority: None,
            timeout: tries.call_timeout(cluster.config.rpc_timeout),
        };
        let body = cluster.call(about, Service::Master, request).await?;
        let answer: proto::GetTableDescriptorsResponse = cluster.decode(about, &body)?;
        let schema = answer.table_schema.into_iter().next();
        let schema = schema.ok_or_else(|| Error::TableNotFound { table: table.clone() })?;
        Ok(description(table, schema))
    }

    /// Reads a row; `None` when it has none of the columns.
    ///
    /// # Errors
    /// A row key that HBase does not take, or that the read was given up.
    pub async fn get(&self, table: &TableName, get: Get) -> Result<Option<Row>, Error> {
        model::check_row(&get.row)?;
        let row = get.row.clone();
        let limit = self.cluster.config.of_reads();
        let make = |region: &Region| proto::GetRequest {
            region: proto::RegionSpecifier::named(&region.name),
            get: Some(proto::Get {
                row: get.row.clone(),
                column: columns(&get.columns),
                max_versions: get.versions,
            }),
        };
        let read = |body: Body, answer: proto::GetResponse| {
            Cells(body.cells).of(answer.result.unwrap_or_default())
        };
        let cells = self.on_row(table, &row, ("Get", limit), &[], make, read).await?;
        Ok((!cells.is_empty()).then_some(Row { cells }))
    }

    /// Changes a row. An increment answers with the new values, others with an empty row.
    ///
    /// # Errors
    /// A mutation that no server takes, before anything is sent; one that the server refuses; or
    /// that it was given up, and then it may have been carried out.
    pub async fn mutate(&self, table: &TableName, mutation: Mutation) -> Result<Row, Error> {
        let cluster = &self.cluster;
        mutation.check(cluster.config.cell_limit_bytes)?;
        let mut block = BytesMut::new();
        write_cells(&mut block, &mutation);
        let nonce = nonce(cluster, &mutation);
        let make = |region: &Region| proto::MutateRequest {
            region: proto::RegionSpecifier::named(&region.name),
            mutation: Some(head(&mutation, nonce)),
            nonce_group: nonce.map(|_| cluster.nonce_group),
        };
        let read = |body: Body, answer: proto::MutateResponse| {
            Cells(body.cells).of(answer.result.unwrap_or_default())
        };
        let (row, call) = (mutation.row.clone(), ("Mutate", cluster.config.of_writes()));
        Ok(Row { cells: self.on_row(table, &row, call, &block, make, read).await? })
    }

    /// Changes many rows with few calls: one to each server for up to [`Config::request_bytes`], or up
    /// to [`Config::calls_per_server`] at a time where there are hundreds of mutations for it. Every mutation has a result of its own, in the order given; only
    /// what failed is sent again. Mutations of one row are applied in the order given, unless one
    /// of them had to be sent again.
    pub async fn batch(&self, table: &TableName, mutations: &[Mutation]) -> BatchResult {
        batch::run(&self.cluster, table, mutations).await
    }

    /// Reads rows in order of their keys.
    pub fn scan(&self, table: &TableName, scan: Scan) -> Scanner {
        Scanner::new(self.cluster.clone(), table.clone(), scan)
    }

    /// One call to the region of a row, of this method and for so long, tried until it is done.
    async fn on_row<M: prost::Message, A: prost::Message + Default, T>(
        &self,
        table: &TableName,
        row: &[u8],
        (method, limit): (&'static str, Duration),
        cells: &[u8],
        make: impl Fn(&Region) -> M,
        read: impl Fn(Body, A) -> Result<T, crate::error::Malformed>,
    ) -> Result<T, Error> {
        let cluster = &self.cluster;
        let mut tries = cluster.tries();
        loop {
            let tried = async {
                let region = cluster.locate(table, row, &tries).await?;
                let about = About::Region(&region);
                let (parameter, timeout) = (make(&region), tries.call_timeout(limit));
                let parameter = &parameter;
                let request = Request { method, parameter, cells, priority: None, timeout };
                let body = cluster.call(about, Service::Regions, request).await?;
                let answer: A = cluster.decode(about, &body)?;
                read(body, answer).map_err(|what| cluster.malformed(about, what))
            };
            match tried.await {
                Ok(done) => return Ok(done),
                Err(failed) => tries.again(failed.error, failed.next).await?,
            }
            cluster.check_enabled(table, &tries).await?;
        }
    }
}

/// What a mutation says of itself beside the cells in the block. An increment has its cells here: for
/// one with a nonce that they know, servers before HBase 2.4 read the cells once more, and find none in
/// a block that they have just read them from.
pub(crate) fn head(mutation: &Mutation, nonce: Option<u64>) -> proto::MutationProto {
    let cells = &mutation.cells;
    let in_block = mutation.kind != MutationKind::Increment;
    let column = |cell: &Change| proto::ColumnValue {
        family: cell.family.clone(),
        qualifier_value: vec![proto::QualifierValue {
            qualifier: Some(cell.qualifier.clone()),
            value: Some(cell.value.clone()),
        }],
    };
    proto::MutationProto {
        row: Some(mutation.row.clone()),
        mutate_type: Some(mutation.kind.code()),
        column_value: cells.iter().filter(|_| !in_block).map(column).collect(),
        durability: Some(mutation.durability.code()),
        associated_cell_count: in_block.then(|| i32::try_from(cells.len()).unwrap_or(i32::MAX)),
        nonce,
    }
}

/// Appends those cells of a mutation that [`head`] does not have.
pub(crate) fn write_cells(block: &mut BytesMut, mutation: &Mutation) {
    if mutation.kind != MutationKind::Increment {
        mutation.cells.iter().for_each(|cell| cell_block::write(block, &mutation.row, cell));
    }
}

/// A nonce for what must not be applied twice. It is the same for all tries.
pub(crate) fn nonce(cluster: &Cluster, mutation: &Mutation) -> Option<u64> {
    (mutation.kind == MutationKind::Increment).then(|| cluster.random.nonce())
}

pub(crate) fn columns(columns: &Columns) -> Vec<proto::Column> {
    let column = |(family, qualifier): &(bytes::Bytes, Vec<bytes::Bytes>)| proto::Column {
        family: family.clone(),
        qualifier: qualifier.clone(),
    };
    columns.iter().map(column).collect()
}

fn description(table: &TableName, schema: proto::TableSchema) -> TableDescription {
    let family = |family: proto::ColumnFamilySchema| FamilyDescription {
        name: family.name,
        attributes: family.attributes.into_iter().map(|pair| (pair.first, pair.second)).collect(),
    };
    let families = schema.column_families.into_iter().map(family).collect();
    TableDescription { name: table.clone(), families }
}

impl From<&TableName> for proto::TableName {
    fn from(table: &TableName) -> Self {
        proto::TableName {
            namespace: table.namespace().to_owned().into(),
            qualifier: table.qualifier().to_owned().into(),
        }
    }
}

#[cfg(test)]
mod tests;
