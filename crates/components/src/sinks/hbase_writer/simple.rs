//! Serializer `simple`: the body into one column of a row of its own, and one more counted in
//! another row.
//!
//! Flume's classes: `SimpleHbaseEventSerializer`, `SimpleHBase2EventSerializer`,
//! `SimpleAsyncHbaseEventSerializer`. As there both columns have defaults, and a key without a value
//! counts as not there, so that neither can be switched off that way; our own `count = false`
//! switches off the counting. Headers are not written.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use serde::Deserialize;
use splashdam_config::Diagnostic;
use splashdam_core::{Context, Event, OpenError, Random, World};
use uuid::Builder;

use super::serializer::{Actions, EventPlace, Manner, Refusal, RowSerializer};

/// Keys of the simple serializer.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Config {
    /// What row keys begin with.
    pub(super) row_prefix: String,
    /// What follows: `uuid`, `random` (a signed number), `timestamp` (milliseconds: events of one
    /// millisecond overwrite each other) or `nano`; or, not of Flume's, `place` (where the event lies
    /// in its channel). As in Flume anything else is `uuid`.
    pub(super) suffix: Option<String>,
    /// The column of the body.
    pub(super) payload_column: String,
    /// The column that counts events.
    pub(super) increment_column: String,
    /// The row that counts events.
    pub(super) increment_row: String,
    /// Whether events are counted; not a key of Flume's.
    pub(super) count: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            row_prefix: "default".into(),
            suffix: None,
            payload_column: "pCol".into(),
            increment_column: "iCol".into(),
            increment_row: "incRow".into(),
            count: true,
        }
    }
}

impl Config {
    pub(super) fn uses_place(config: &Option<Config>) -> bool {
        config.as_ref().is_some_and(|config| config.suffix.as_deref() == Some("place"))
    }

    /// What only reading the configuration can tell.
    pub(super) fn check(&self, manner: Manner) -> Vec<Diagnostic> {
        let mut findings = Vec::new();
        let mut wrong = |what: &str, help: &str| {
            findings.push(Diagnostic::error("invalid-value", what).help(help));
        };
        if manner.repeatable && self.count {
            wrong(
                "`effectivelyOnce` and a count of events do not go together: an increment that is made again counts again",
                "set `serializer.count = false`, and count rows instead",
            );
        }
        if manner.repeatable && self.suffix.as_deref().is_some_and(|suffix| suffix != "place") {
            wrong(
                "`effectivelyOnce` needs the same row key from each try, and this suffix differs",
                "leave `serializer.suffix` out, or set it to `place`",
            );
        }
        findings
    }
}

pub(super) struct Simple {
    prefix: String,
    suffix: Suffix,
    payload_column: Bytes,
    count: Option<(Bytes, Bytes)>,
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
    Place,
}

impl Simple {
    pub(super) fn new(config: Config, manner: Manner, cx: &Context) -> Result<Self, OpenError> {
        let findings = config.check(manner);
        if !findings.is_empty() {
            return Err(OpenError::Config(findings));
        }
        let suffix = match config.suffix.as_deref() {
            None if manner.repeatable => Suffix::Place,
            Some("random") => Suffix::Random,
            Some("timestamp") => Suffix::Timestamp,
            Some("nano") => Suffix::Nano,
            Some("place") => Suffix::Place,
            _ => Suffix::Uuid,
        };
        let count = (config.increment_row.into(), config.increment_column.into());
        Ok(Simple {
            prefix: config.row_prefix,
            suffix,
            payload_column: config.payload_column.into(),
            count: config.count.then_some(count),
            halves: [cx.random(), cx.random()],
            opened: (cx.world.now_millis(), cx.world.instant()),
            world: cx.world.clone(),
        })
    }

    fn row(&self, place: Option<EventPlace>) -> Result<String, Refusal> {
        let prefix = &self.prefix;
        Ok(match self.suffix {
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
            Suffix::Place => format!("{prefix}{}", EventPlace::key_of(place)?),
        })
    }
}

impl RowSerializer for Simple {
    fn write(
        &mut self,
        event: &Event,
        place: Option<EventPlace>,
        actions: &mut Actions,
    ) -> Result<(), Refusal> {
        let payload = (self.payload_column.clone(), event.body.clone());
        actions.puts.push((self.row(place)?.into(), vec![payload]));
        let count = self.count.iter().map(|(row, column)| (row.clone(), vec![(column.clone(), 1)]));
        actions.increments.extend(count);
        Ok(())
    }
}
