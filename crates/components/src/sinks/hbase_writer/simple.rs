//! Serializer `simple`: the body into one column of a row of its own, and one more counted in
//! another row.
//!
//! Flume's classes: `SimpleHbaseEventSerializer`, `SimpleHBase2EventSerializer`,
//! `SimpleAsyncHbaseEventSerializer`. As there both columns have defaults, and a key without a value
//! counts as not there, so that neither can be switched off. Headers are not written.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use serde::Deserialize;
use splashdam_core::{Context, Event, Random, World};
use uuid::Builder;

use super::serializer::{Actions, RowSerializer};

/// Keys of the simple serializer.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Config {
    /// What row keys begin with.
    pub(super) row_prefix: String,
    /// What follows: `uuid`, `random` (a signed number), `timestamp` (milliseconds: events of one
    /// millisecond overwrite each other) or `nano`. As in Flume anything else is `uuid`.
    pub(super) suffix: String,
    /// The column of the body.
    pub(super) payload_column: String,
    /// The column that counts events.
    pub(super) increment_column: String,
    /// The row that counts events.
    pub(super) increment_row: String,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            row_prefix: "default".into(),
            suffix: "uuid".into(),
            payload_column: "pCol".into(),
            increment_column: "iCol".into(),
            increment_row: "incRow".into(),
        }
    }
}

pub(super) struct Simple {
    prefix: String,
    suffix: Suffix,
    payload_column: Bytes,
    increment_column: Bytes,
    increment_row: Bytes,
    world: Arc<dyn World>,
    /// Two of 64 bits each, so that keys of many agents stay apart.
    halves: [Random; 2],
    /// What nanoseconds are counted from: unlike Java's, their origin is the year 1970.
    opened: (i64, Instant),
}

#[derive(Clone, Copy)]
enum Suffix {
    Uuid,
    Random,
    Timestamp,
    Nano,
}

impl Simple {
    pub(super) fn new(config: Config, cx: &Context) -> Self {
        let suffix = match &*config.suffix {
            "random" => Suffix::Random,
            "timestamp" => Suffix::Timestamp,
            "nano" => Suffix::Nano,
            _ => Suffix::Uuid,
        };
        Simple {
            prefix: config.row_prefix,
            suffix,
            payload_column: config.payload_column.into(),
            increment_column: config.increment_column.into(),
            increment_row: config.increment_row.into(),
            halves: [cx.random(), cx.random()],
            opened: (cx.world.now_millis(), cx.world.instant()),
            world: cx.world.clone(),
        }
    }

    fn row(&self) -> String {
        let prefix = &self.prefix;
        match self.suffix {
            Suffix::Uuid => {
                let mut bytes = [0; 16];
                for (half, random) in bytes.chunks_exact_mut(8).zip(&self.halves) {
                    half.copy_from_slice(&random.next().to_be_bytes());
                }
                format!("{prefix}{}", Builder::from_random_bytes(bytes).into_uuid().hyphenated())
            }
            Suffix::Random => format!("{prefix}{}", self.halves[0].next().cast_signed()),
            Suffix::Timestamp => format!("{prefix}{}", self.world.now_millis()),
            Suffix::Nano => {
                let (millis, since) = self.opened;
                let elapsed = self.world.instant().saturating_duration_since(since).as_nanos();
                let elapsed = i128::try_from(elapsed).unwrap_or(i128::MAX);
                format!("{prefix}{}", (i128::from(millis) * 1_000_000).saturating_add(elapsed))
            }
        }
    }
}

impl RowSerializer for Simple {
    fn write(&mut self, event: &Event, actions: &mut Actions) -> Result<(), String> {
        let payload = (self.payload_column.clone(), event.body.clone());
        actions.puts.push((self.row().into(), vec![payload]));
        let count = (self.increment_column.clone(), 1);
        actions.increments.push((self.increment_row.clone(), vec![count]));
        Ok(())
    }
}
