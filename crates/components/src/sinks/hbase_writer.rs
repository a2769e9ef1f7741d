//! What the sinks `hbase`, `hbase2` and `asynchbase` have in common: events become puts and
//! increments, which go to a table in that order.
//!
//! All puts of a batch are acknowledged before its increments are sent, as in Flume. HBase has no
//! transaction over both, so a batch that failed half-way is written again whole: puts under row
//! keys that differ from try to try are there twice, and increments are counted twice. Where
//! `effectivelyOnce` is set neither exists: row keys and times of cells come from the event and from
//! its place in the channel, which stays its own across restarts, so that what is written again are
//! the same cells.

mod columns;
mod config;
mod json;
mod open;
mod regex;
mod serializer;
mod simple;
mod sink;
mod template;
mod value;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use bytes::Bytes;
use splashdam_core::{Batch, DeliverError, Delivered, Event, Rejected};
use splashdam_hbase::{BatchResult, Client, Durability, Error, Mutation, TableName};
use tokio::time::timeout;

pub use config::{CellTime, HbaseTable, Quorum, Settings, TableConfig};
use serializer::{Actions, Columns, EventPlace, NO_PLACE, Refusal, RowSerializer};
pub use sink::{Flavour, HbaseSink};

/// What a crash costs with any of the three.
const AT_LEAST_ONCE: &str = "the batch that is being written is written again after the restart: rows under generated keys may be there twice, and increments counted twice";
/// What it costs where writing is repeatable.
const EFFECTIVELY_ONCE: &str = "the batch that is being written is written again after the restart, as the same cells: each event is there once";
/// What becomes of a bad event.
const REJECTS: &str = "an event that no row can be made of (by its serializer, or as a row key, cell or value is not what HBase takes) holds the batch, but that the serializer `regex` drops what its pattern does not match, as in Flume";

/// An open table and how events get into it.
struct Writer {
    client: Client,
    table: TableName,
    family: Bytes,
    serializer: Box<dyn RowSerializer>,
    puts: Durability,
    increments: Durability,
    coalesce: bool,
    cell_time: CellTime,
    needs_place: bool,
    /// Whether somebody takes what is rejected.
    dead_letters: bool,
    /// How long a batch may take, where that is not left to the client.
    patience: Option<Duration>,
}

/// A batch as changes of rows, each with the event that it is of, by its place in the batch.
#[derive(Default)]
struct Changes {
    puts: Vec<Mutation>,
    put_by: Vec<usize>,
    increments: Vec<Increment>,
    rejected: Vec<Rejected>,
}

/// What is added to a row, and the events that it is for, by their places in the batch.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Increment {
    row: Bytes,
    columns: Columns<i64>,
    by: Vec<usize>,
}

impl Writer {
    /// Writes a batch; `Ok` means that HBase acknowledged all of it that is not rejected.
    async fn deliver(&mut self, batch: &Batch) -> Result<Delivered, DeliverError> {
        let changes = self.changes(batch)?;
        let patience = self.patience;
        let written = self.write(changes);
        let rejected = match patience {
            None => written.await?,
            Some(patience) => timeout(patience, written).await.map_err(|_| {
                let why = format!("HBase did not acknowledge all of a batch within {patience:?}");
                DeliverError::fail_over(why)
            })??,
        };
        Ok(Delivered::all_but(batch, rejected))
    }

    /// What a batch comes to. Nothing is written while an event holds it.
    fn changes(&mut self, batch: &Batch) -> Result<Changes, DeliverError> {
        let mut places = EventPlace::of(batch.place());
        let mut changes = Changes::default();
        for (at, event) in batch.events().iter().enumerate() {
            let place = places.next();
            if place.is_none() && self.needs_place {
                return Err(DeliverError::fail_over(NO_PLACE));
            }
            match self.change(event, place) {
                Ok((puts, increments)) => {
                    changes.put_by.extend(puts.iter().map(|_| at));
                    changes.puts.extend(puts);
                    let of_event = |(row, columns)| Increment { row, columns, by: vec![at] };
                    changes.increments.extend(increments.into_iter().map(of_event));
                }
                Err(Refusal::Holds(why)) if !self.dead_letters => {
                    return Err(DeliverError::fail_over(why));
                }
                Err(Refusal::Holds(why) | Refusal::Drops(why)) => {
                    changes.rejected.push(Rejected { at, why });
                }
            }
        }
        Ok(changes)
    }

    /// What an event comes to, looked at as a server would.
    fn change(
        &mut self,
        event: &Event,
        place: Option<EventPlace>,
    ) -> Result<(Vec<Mutation>, Vec<(Bytes, Columns<i64>)>), Refusal> {
        let mut actions = Actions::default();
        self.serializer.write(event, place, &mut actions)?;
        let time = match (self.cell_time, place) {
            (CellTime::Server, _) | (CellTime::Number, None) => None,
            (CellTime::Number, Some(place)) => Some(place.number),
            (CellTime::Header, _) => {
                let millis = template::millis(event)?;
                let before =
                    || format!("the header `timestamp` of an event is {millis}: before 1970");
                Some(u64::try_from(millis).map_err(|_| before())?)
            }
        };
        let puts = actions.puts.into_iter().map(|(row, columns)| {
            let set = |put: Mutation, (column, value)| match time {
                None => put.set(self.family.clone(), column, value),
                Some(time) => put.set_at(self.family.clone(), column, time, value),
            };
            columns.into_iter().fold(Mutation::put(row), set).durability(self.puts)
        });
        let puts: Vec<Mutation> = puts.collect();
        for put in &puts {
            self.client.check(put).map_err(|error| error.to_string())?;
        }
        Ok((puts, actions.increments))
    }

    /// Writes the changes and answers which events were rejected.
    async fn write(&mut self, changes: Changes) -> Result<Vec<Rejected>, DeliverError> {
        let Changes { puts, put_by, increments, mut rejected } = changes;
        let done = self.client.batch(&self.table, &puts).await;
        let refused = refused(&done);
        if self.dead_letters {
            let why =
                |put: &usize, error: &Error| Rejected { at: put_by[*put], why: error.to_string() };
            rejected.extend(refused.iter().map(|(put, error)| why(put, error)));
        }
        let gone: HashSet<usize> = rejected.iter().map(|rejected| rejected.at).collect();
        acknowledged(&done, |put| !gone.contains(&put_by[put]))?;
        let kept = increments.into_iter().filter(|one| !one.by.iter().any(|by| gone.contains(by)));
        let increments = if self.coalesce { coalesced(kept) } else { kept.collect() };
        rejected.extend(self.count(increments).await?);
        rejected.sort_by_key(|rejected| rejected.at);
        rejected.dedup_by_key(|rejected| rejected.at);
        Ok(rejected)
    }

    /// Makes the increments and answers which events were rejected for what their cells hold, such as
    /// a text where a count should be: servers refuse an increment by itself.
    async fn count(&mut self, increments: Vec<Increment>) -> Result<Vec<Rejected>, DeliverError> {
        let mutation = |one: &Increment| {
            let add = |sum: Mutation, (column, by): &(Bytes, i64)| {
                sum.add(self.family.clone(), column.clone(), *by)
            };
            let sum = Mutation::increment(one.row.clone());
            one.columns.iter().fold(sum, add).durability(self.increments)
        };
        let mutations: Vec<Mutation> = increments.iter().map(mutation).collect();
        let done = self.client.batch(&self.table, &mutations).await;
        let refused = refused(&done);
        if refused.is_empty() || !self.dead_letters {
            return acknowledged(&done, |_| true).map(|()| Vec::new());
        }
        acknowledged(&done, |at| !refused.contains_key(&at))?;
        let rejected = refused.iter().flat_map(|(at, error)| {
            let Increment { row, by, .. } = &increments[*at];
            let row = row.escape_ascii();
            let why = format!("it is written, but not counted in row `{row}`: {error}");
            by.iter().map(move |at| Rejected { at: *at, why: why.clone() })
        });
        Ok(rejected.collect())
    }
}

/// The changes that a server refused for what is in them or in the cells they are for.
fn refused(done: &BatchResult) -> BTreeMap<usize, &Error> {
    let failed = done.results.iter().enumerate();
    let refused = failed.filter_map(|(at, result)| match result {
        Err(error @ Error::Refused { exception, .. }) if exception.blames_content() => {
            Some((at, error))
        }
        _ => None,
    });
    refused.collect()
}

/// The first failure of a change that `counts`, with how much of the batch it is about.
fn acknowledged(done: &BatchResult, counts: impl Fn(usize) -> bool) -> Result<(), DeliverError> {
    let mut failures = done.results.iter().enumerate().filter(|(at, _)| counts(*at));
    let Some(error) = failures.find_map(|(_, result)| result.as_ref().err()) else { return Ok(()) };
    let (failed, all) = (done.results.len() - done.done(), done.results.len());
    Err(DeliverError::fail_over(format!("{failed} of {all} changes were not written: {error}")))
}

/// One increment for each row and one amount for each column of it, in the order in which they first
/// came.
fn coalesced(increments: impl IntoIterator<Item = Increment>) -> Vec<Increment> {
    let mut sums: Vec<Increment> = Vec::new();
    let mut places: HashMap<(Bytes, Bytes), (usize, usize)> = HashMap::new();
    let mut rows: HashMap<Bytes, usize> = HashMap::new();
    for Increment { row, columns, by } in increments {
        let at = *rows.entry(row.clone()).or_insert_with(|| {
            let (row, columns) = (row.clone(), Columns::new());
            sums.push(Increment { row, columns, by: Vec::new() });
            sums.len() - 1
        });
        sums[at].by.extend(by);
        for (column, by) in columns {
            let sum = &mut sums[at].columns;
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
