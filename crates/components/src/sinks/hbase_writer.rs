//! What the sinks `hbase`, `hbase2` and `asynchbase` have in common: events become puts and
//! increments, which go to a table in that order.
//!
//! All puts of a batch are acknowledged before its increments are sent, as in Flume. HBase has no
//! transaction over both, so a batch that failed half-way is written again whole: puts under row
//! keys that differ from try to try are there twice, and increments are counted twice.

mod open;
mod regex;
mod serializer;
mod simple;

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use splashdam_core::{Batch, DeliverError, Delivered};
use splashdam_hbase::{BatchResult, Client, Durability, Mutation, TableName};
use tokio::time::timeout;

pub use open::{HbaseTable, Quorum};
pub(crate) use open::{Settings, check_kerberos, place};
pub(crate) use serializer::check;
use serializer::{Actions, Columns, RowSerializer};

/// What a crash costs with any of the three.
pub(crate) const PROCESS_CRASH: &str = "the batch that is being written is written again after the restart: rows under generated keys may be there twice, and increments counted twice";

/// An open table and how events get into it.
pub(crate) struct Writer {
    client: Client,
    table: TableName,
    family: Bytes,
    serializer: Box<dyn RowSerializer>,
    puts: Durability,
    increments: Durability,
    coalesce: bool,
    /// How long a batch may take, where that is not left to the client.
    patience: Option<Duration>,
}

impl Writer {
    /// Writes a batch; `Ok` means that HBase acknowledged all of it.
    pub(crate) async fn deliver(&mut self, batch: &Batch) -> Result<Delivered, DeliverError> {
        let mut actions = Actions::default();
        for event in batch.events() {
            self.serializer.write(event, &mut actions).map_err(DeliverError::fail_over)?;
        }
        let patience = self.patience;
        let written = self.write(actions);
        match patience {
            None => written.await?,
            Some(patience) => timeout(patience, written).await.map_err(|_| {
                let why = format!("HBase did not acknowledge all of a batch within {patience:?}");
                DeliverError::fail_over(why)
            })??,
        }
        Ok(Delivered::all(batch))
    }

    async fn write(&mut self, actions: Actions) -> Result<(), DeliverError> {
        let puts = actions.puts.into_iter().map(|(row, columns)| {
            let set = |put: Mutation, (column, value)| put.set(self.family.clone(), column, value);
            columns.into_iter().fold(Mutation::put(row), set).durability(self.puts)
        });
        let puts: Vec<Mutation> = puts.collect();
        acknowledged(&self.client.batch(&self.table, &puts).await)?;
        let increments = match self.coalesce {
            true => coalesced(actions.increments),
            false => actions.increments,
        };
        let increments = increments.into_iter().map(|(row, columns)| {
            let add = |sum: Mutation, (column, by)| sum.add(self.family.clone(), column, by);
            columns.into_iter().fold(Mutation::increment(row), add).durability(self.increments)
        });
        let increments: Vec<Mutation> = increments.collect();
        acknowledged(&self.client.batch(&self.table, &increments).await)
    }
}

/// The first failure, with how much of the batch it is about.
fn acknowledged(done: &BatchResult) -> Result<(), DeliverError> {
    done.all().map_err(|(_, error)| {
        let (failed, all) = (done.results.len() - done.done(), done.results.len());
        DeliverError::fail_over(format!("{failed} of {all} changes were not written: {error}"))
    })
}

/// One increment for each row and one amount for each column of it, in the order in which they first
/// came.
fn coalesced(increments: Vec<(Bytes, Columns<i64>)>) -> Vec<(Bytes, Columns<i64>)> {
    let mut sums: Vec<(Bytes, Columns<i64>)> = Vec::new();
    let mut places: HashMap<(Bytes, Bytes), (usize, usize)> = HashMap::new();
    let mut rows: HashMap<Bytes, usize> = HashMap::new();
    for (row, columns) in increments {
        let at = *rows.entry(row.clone()).or_insert_with(|| {
            sums.push((row.clone(), Columns::new()));
            sums.len() - 1
        });
        for (column, by) in columns {
            let sum = &mut sums[at].1;
            let next = (at, sum.len());
            let (_, place) = *places.entry((row.clone(), column.clone())).or_insert(next);
            match sum.get_mut(place) {
                // Java's sum wraps around, too.
                Some((_, known)) => *known = known.wrapping_add(by),
                None => sum.push((column, by)),
            }
        }
    }
    sums
}

#[cfg(test)]
mod tests;
