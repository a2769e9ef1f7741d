//! Reads rows in order, region by region.

use std::sync::Arc;

use bytes::Bytes;

use crate::client::columns;
use crate::cluster::{About, Cluster, Failure, rows};
use crate::connection::{Request, Service};
use crate::error::Error;
use crate::model::{Row, Scan, TableName};
use crate::proto;
use crate::region::Region;
use crate::retry::Tries;

/// Rows in one answer at most, beside the limit in bytes that the server keeps.
const ANSWER_ROWS: u32 = 10_000;

/// A scan under way. It goes on behind the last row that it gave when a region moves or a server
/// goes; rows are whole, each as it was at some moment of the scan.
///
/// Dropping it before the end leaves a scanner on the server until its lease ends; [`Scanner::close`]
/// does not.
#[derive(Debug)]
pub struct Scanner {
    cluster: Arc<Cluster>,
    table: TableName,
    scan: Scan,
    /// Where the next region or scanner begins.
    next_row: Bytes,
    /// Whether `next_row` itself is wanted.
    inclusive: bool,
    given_rows: u64,
    open: Option<Open>,
    ended: bool,
}

/// A scanner on a server.
#[derive(Debug)]
struct Open {
    region: Arc<Region>,
    id: u64,
    calls: u64,
}

/// One answer.
struct Part {
    rows: Vec<Row>,
    region: Arc<Region>,
    scanner: Option<u64>,
    more: bool,
    more_in_region: bool,
}

impl Scanner {
    pub(crate) fn new(cluster: Arc<Cluster>, table: TableName, scan: Scan) -> Self {
        let next_row = scan.start.clone();
        Scanner {
            cluster,
            table,
            scan,
            next_row,
            inclusive: true,
            given_rows: 0,
            open: None,
            ended: false,
        }
    }

    /// The next rows, some thousands at most; empty when there are no more.
    ///
    /// # Errors
    /// What the last try failed with. The scan can be gone on with.
    pub async fn next(&mut self) -> Result<Vec<Row>, Error> {
        let cluster = self.cluster.clone();
        let mut tries = cluster.tries();
        while !self.ended {
            match self.part(&tries).await {
                Ok(part) => {
                    let rows = self.accept(part);
                    if !rows.is_empty() {
                        return Ok(rows);
                    }
                    // An answer without rows is progress, too: the server found none so far.
                    tries = cluster.tries();
                }
                Err(failed) => {
                    self.open = None;
                    tries.again(failed.error, failed.next).await?;
                    cluster.check_enabled(&self.table, &tries).await?;
                }
            }
        }
        Ok(Vec::new())
    }

    /// All rows that are left. For tables that fit in memory.
    ///
    /// # Errors
    /// As [`Scanner::next`].
    pub async fn collect(mut self) -> Result<Vec<Row>, Error> {
        let mut all = Vec::new();
        loop {
            match self.next().await? {
                rows if rows.is_empty() => return Ok(all),
                rows => all.extend(rows),
            }
        }
    }

    /// Ends the scan early and frees the server's scanner. What the server answers does not matter:
    /// its lease ends by itself.
    pub async fn close(mut self) {
        self.close_scanner().await;
    }

    async fn close_scanner(&mut self) {
        let Some(open) = self.open.take() else { return };
        let request = proto::ScanRequest {
            scanner_id: Some(open.id),
            close_scanner: Some(true),
            number_of_rows: Some(0),
            ..Default::default()
        };
        let tries = self.cluster.tries();
        self.call(&open.region, &request, &tries).await.ok();
    }

    fn left(&self) -> Option<u64> {
        self.scan.limit_rows.map(|limit| limit.saturating_sub(self.given_rows))
    }

    /// Asks for the next rows of the open scanner, or opens one.
    async fn part(&mut self, tries: &Tries<'_>) -> Result<Part, Failure> {
        let left = self.left().map(|left| u32::try_from(left).unwrap_or(u32::MAX));
        let number_of_rows = Some(left.unwrap_or(ANSWER_ROWS).min(ANSWER_ROWS));
        let request = proto::ScanRequest { number_of_rows, ..self.plain() };
        let Some(open) = &mut self.open else { return self.open_scanner(request, tries).await };
        let request = proto::ScanRequest {
            scanner_id: Some(open.id),
            next_call_seq: Some(open.calls),
            ..request
        };
        open.calls += 1;
        let region = open.region.clone();
        self.call(&region, &request, tries).await
    }

    fn plain(&self) -> proto::ScanRequest {
        proto::ScanRequest {
            client_handles_partials: Some(false),
            client_handles_heartbeats: Some(true),
            close_scanner: Some(false),
            limit_of_rows: self.left().and_then(|left| u32::try_from(left).ok()),
            ..Default::default()
        }
    }

    async fn open_scanner(
        &mut self,
        request: proto::ScanRequest,
        tries: &Tries<'_>,
    ) -> Result<Part, Failure> {
        let region = self.cluster.locate(&self.table, &self.next_row, tries).await?;
        let request = proto::ScanRequest {
            region: proto::RegionSpecifier::named(&region.name),
            scan: Some(proto::Scan {
                column: columns(&self.scan.columns),
                start_row: Some(self.next_row.clone()),
                stop_row: Some(self.scan.stop.clone()),
                max_versions: self.scan.versions,
                max_result_size: Some(self.cluster.config.scan_result_bytes),
                include_start_row: Some(self.inclusive),
                ..Default::default()
            }),
            ..request
        };
        self.call(&region, &request, tries).await
    }

    async fn call(
        &self,
        region: &Arc<Region>,
        request: &proto::ScanRequest,
        tries: &Tries<'_>,
    ) -> Result<Part, Failure> {
        let about = About::Region(region);
        let request = Request {
            method: "Scan",
            parameter: request,
            cells: &[],
            priority: None,
            timeout: tries.call_timeout(),
        };
        let body = self.cluster.call(about, Service::Regions, request).await?;
        let answer: proto::ScanResponse = self.cluster.decode(about, &body)?;
        let rows = rows(&answer, body).map_err(|what| self.cluster.malformed(about, what))?;
        Ok(Part {
            rows,
            region: region.clone(),
            scanner: answer.scanner_id,
            more: answer.more_results.unwrap_or(true),
            more_in_region: answer.more_results_in_region.unwrap_or(false),
        })
    }

    /// Notes how far the scan is.
    fn accept(&mut self, part: Part) -> Vec<Row> {
        let mut rows = part.rows;
        if let Some(left) = self.left() {
            rows.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        }
        self.given_rows += rows.len() as u64;
        if let Some(last) = rows.last().and_then(Row::key) {
            (self.next_row, self.inclusive) = (last.clone(), false);
        }
        if let (None, Some(id)) = (&self.open, part.scanner) {
            self.open = Some(Open { region: part.region.clone(), id, calls: 0 });
        }
        let end = &part.region.end;
        let beyond = !self.scan.stop.is_empty() && *end >= self.scan.stop;
        if !part.more_in_region {
            // The server has closed its scanner.
            self.open = None;
            self.ended = !part.more || end.is_empty() || beyond;
            (self.next_row, self.inclusive) = (end.clone(), true);
        }
        self.ended |= !part.more || self.left() == Some(0);
        rows
    }
}
