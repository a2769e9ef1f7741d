//! Reads rows in order, region by region.

use std::sync::Arc;

use bytes::Bytes;

use crate::client::columns;
use crate::cluster::{About, Cluster, Failure, rows};
use crate::connection::{Request, Service};
use crate::error::Error;
use crate::model::{ROW_LIMIT_BYTES, Row, Scan, TableName};
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
    /// The first row that the next region or scanner may give; nothing when no row can follow.
    next_row: Option<Bytes>,
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
        let next_row = Some(scan.start.clone());
        let (open, ended) = (None, false);
        Scanner { cluster, table, scan, next_row, given_rows: 0, open, ended }
    }

    /// The next rows, some thousands at most; empty when there are no more.
    ///
    /// # Errors
    /// What the last try failed with. The scan can be gone on with.
    pub async fn next(&mut self) -> Result<Vec<Row>, Error> {
        let cluster = self.cluster.clone();
        let mut tries = cluster.tries();
        loop {
            self.ended |= self.open.is_none() && self.next_start().is_none();
            if self.ended {
                return Ok(Vec::new());
            }
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
        let Some(open) = &mut self.open else {
            return self.open_scanner(request, tries).await;
        };
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
        let from = self.next_start().unwrap_or_default();
        let region = self.cluster.locate(&self.table, &from, tries).await?;
        let request = proto::ScanRequest {
            region: proto::RegionSpecifier::named(&region.name),
            scan: Some(proto::Scan {
                column: columns(&self.scan.columns),
                start_row: Some(from),
                stop_row: Some(self.scan.stop.clone()),
                max_versions: self.scan.versions,
                max_result_size: Some(self.cluster.config.scan_result_bytes),
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
            timeout: tries.call_timeout(self.cluster.config.of_reads()),
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
            self.next_row = behind(last);
        }
        if let (None, Some(id)) = (&self.open, part.scanner) {
            self.open = Some(Open { region: part.region.clone(), id, calls: 0 });
        }
        let end = &part.region.end;
        if !part.more_in_region {
            // The server has closed its scanner.
            self.open = None;
            self.ended |= end.is_empty();
            self.next_row = Some(end.clone());
        }
        self.ended |= !part.more || self.left() == Some(0);
        rows
    }

    /// Where a scanner is to begin, unless no row is wanted from there on: what begins and stops at
    /// the same row asks HBase for that row.
    fn next_start(&self) -> Option<Bytes> {
        let stop = &self.scan.stop;
        self.next_row.clone().filter(|row| stop.is_empty() || row < stop)
    }
}

/// The first row key that may follow this one, if there is one. Servers before HBase 1.4 cannot be
/// asked for the rows behind one.
fn behind(row: &Bytes) -> Option<Bytes> {
    if row.len() < ROW_LIMIT_BYTES {
        return Some([&row[..], &[0]].concat().into());
    }
    let end = row.iter().rposition(|byte| *byte < u8::MAX)?;
    let mut next = row[..=end].to_vec();
    next[end] += 1;
    Some(next.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_row_behind_another_is_the_next_that_can_be() {
        let check = |row: &[u8], want: Option<&[u8]>| {
            assert_eq!(behind(&Bytes::copy_from_slice(row)).as_deref(), want);
        };
        check(b"", Some(b"\0"));
        check(b"a", Some(b"a\0"));
        check(&[0xff], Some(&[0xff, 0]));
        let longest = [7; ROW_LIMIT_BYTES];
        let mut next = longest;
        next[ROW_LIMIT_BYTES - 1] = 8;
        check(&longest, Some(&next));
        let mut end = [0xff; ROW_LIMIT_BYTES];
        check(&end, None);
        end[0] = 3;
        check(&end, Some(&[4]));
    }
}
