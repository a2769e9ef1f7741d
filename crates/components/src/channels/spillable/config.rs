//! Keys of the spillable memory channel: its own, and those of the file channel.

use std::time::Duration;

use crate::channels::value_replaced;
use serde::Deserialize;
use splashdam_config::{Diagnostic, Lenient, Section};

use crate::channels::file;

const MEMORY_CAPACITY: i64 = 10_000;
const OVERFLOW_CAPACITY: i64 = 100_000_000;
const OVERFLOW_TIMEOUT: i64 = 3;
const DEACTIVATION_PERCENT: i64 = 5;
/// As of the memory channel.
const BYTE_CAPACITY: i64 = 16 * 1024 * 1024;
const BUFFER_PERCENT: i64 = 20;
const AVERAGE_EVENT_BYTES: i64 = 500;
const TRANSACTION_CAPACITY: i64 = 10_000;

/// Keys of the spillable memory channel, and all those of the file channel for the overflow.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Config {
    /// Events it holds in memory; 0 sends all to the overflow.
    pub memory_capacity: Lenient<i64>,
    /// Events it holds in the overflow, on disk; 0 does without, whatever is on the disk.
    pub overflow_capacity: Lenient<i64>,
    /// Seconds that a put waits for room in memory before the overflow is used, and that a take
    /// waits for an event.
    pub overflow_timeout: Lenient<i64>,
    /// Share of memory, in percent, that must be free before memory is used again once the
    /// overflow is.
    pub overflow_deactivation_threshold: Lenient<i64>,
    /// Bytes of bodies it holds in memory. 0 means no limit, as in Flume.
    pub byte_capacity: Lenient<i64>,
    /// Share of `byteCapacity`, in percent, that is left for headers.
    pub byte_capacity_buffer_percentage: Lenient<i64>,
    /// Bytes of one slot of the byte accounting: each body counts as whole slots, at least one.
    pub avg_event_size: Lenient<i64>,
    /// All keys of the [file channel](#file) but `capacity` and `keep-alive`; `transactionCapacity`
    /// limits every transaction.
    #[serde(rename = ".file")]
    pub file: file::Config,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            memory_capacity: Lenient(Some(MEMORY_CAPACITY)),
            overflow_capacity: Lenient(Some(OVERFLOW_CAPACITY)),
            overflow_timeout: Lenient(Some(OVERFLOW_TIMEOUT)),
            overflow_deactivation_threshold: Lenient(Some(DEACTIVATION_PERCENT)),
            byte_capacity: Lenient(Some(BYTE_CAPACITY)),
            byte_capacity_buffer_percentage: Lenient(Some(BUFFER_PERCENT)),
            avg_event_size: Lenient(Some(AVERAGE_EVENT_BYTES)),
            file: file::Config::default(),
        }
    }
}

/// The configuration with Flume's fall-backs applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// Events in memory.
    pub(super) memory_events: usize,
    /// Slots in memory.
    pub(super) slots: usize,
    pub(super) slot_bytes: usize,
    /// Events in the overflow.
    pub(super) overflow_events: usize,
    pub(super) transaction_events: usize,
    /// Of memory, for the overflow to end.
    pub(super) free_percent: usize,
    pub(super) wait: Duration,
}

impl Limits {
    /// Bytes of bodies in memory.
    pub(super) fn memory_bytes(&self) -> usize {
        if self.memory_events == 0 { 0 } else { self.slots.saturating_mul(self.slot_bytes) }
    }
}

/// A number from `least` on, or the default.
fn number<T: TryFrom<i64>>(value: Lenient<i64>, least: i64, default: i64, most: T) -> T {
    let value = value.0.filter(|value| *value >= least).unwrap_or(default);
    T::try_from(value).unwrap_or(most)
}

impl Config {
    pub(super) fn limits(&self) -> Limits {
        let bytes = number(self.byte_capacity, 0, BYTE_CAPACITY, u64::MAX);
        let percent = number(self.byte_capacity_buffer_percentage, 0, BUFFER_PERCENT, 100u64);
        let slot_bytes = number(self.avg_event_size, 1, AVERAGE_EVENT_BYTES, usize::MAX);
        let kept = u128::from(bytes) * u128::from(100 - percent.min(100)) / 100;
        let slots = usize::try_from(kept / slot_bytes as u128).unwrap_or(usize::MAX);
        let memory_events = number(self.memory_capacity, 0, MEMORY_CAPACITY, usize::MAX);
        let overflow_events = number(self.overflow_capacity, 0, OVERFLOW_CAPACITY, usize::MAX);
        let transaction_events =
            number(self.file.transaction_capacity, 1, TRANSACTION_CAPACITY, usize::MAX);
        Limits {
            memory_events,
            // Under one slot there is no limit (Flume: as many slots as an int can count).
            slots: if slots == 0 { i32::MAX as usize } else { slots },
            slot_bytes,
            overflow_events,
            transaction_events: match overflow_events {
                0 => transaction_events.min(memory_events),
                _ => transaction_events,
            },
            free_percent: number(
                self.overflow_deactivation_threshold,
                0,
                DEACTIVATION_PERCENT,
                100usize,
            )
            .min(100),
            wait: Duration::from_secs(number(self.overflow_timeout, 0, OVERFLOW_TIMEOUT, u64::MAX)),
        }
    }

    /// The configuration of the overflow, if there is one. It never waits: this channel does.
    pub(super) fn overflow(&self) -> Option<file::Config> {
        let limits = self.limits();
        let capacity = i64::try_from(limits.overflow_events).unwrap_or(i64::MAX);
        (capacity > 0).then(|| file::Config {
            capacity: Lenient(Some(capacity)),
            keep_alive: Lenient(Some(0)),
            ..self.file.clone()
        })
    }

    /// Findings of the channel's own that keep it from opening.
    pub(super) fn refusals(&self, section: Option<&Section>) -> Vec<Diagnostic> {
        let limits = self.limits();
        let at = |key: &str| section.and_then(|section| section.value_span(key));
        let mut findings = Vec::new();
        if limits.memory_events == 0 && limits.overflow_events == 0 {
            findings.push(
                Diagnostic::error(
                    "invalid-value",
                    "memoryCapacity and overflowCapacity are both 0",
                )
                .at(at("overflowCapacity").or_else(|| at("memoryCapacity")))
                .help("remove one of the lines: there is no room for any event"),
            );
        } else if limits.overflow_events > 0 && limits.transaction_events > limits.overflow_events {
            findings.push(
                Diagnostic::error(
                    "transaction-exceeds-capacity",
                    format!(
                        "transactionCapacity {} is greater than overflowCapacity {}",
                        limits.transaction_events, limits.overflow_events
                    ),
                )
                .at(at("transactionCapacity").or_else(|| at("overflowCapacity")))
                .help("raise overflowCapacity, or lower transactionCapacity to at most that"),
            );
        }
        findings
    }
}

/// What else there is to say of a section.
pub(super) fn remarks(config: &Config, section: &Section) -> Vec<Diagnostic> {
    let numbers = [
        ("memoryCapacity", config.memory_capacity, 0, MEMORY_CAPACITY),
        ("overflowCapacity", config.overflow_capacity, 0, OVERFLOW_CAPACITY),
        ("overflowTimeout", config.overflow_timeout, 0, OVERFLOW_TIMEOUT),
        (
            "overflowDeactivationThreshold",
            config.overflow_deactivation_threshold,
            0,
            DEACTIVATION_PERCENT,
        ),
        ("byteCapacity", config.byte_capacity, 0, BYTE_CAPACITY),
        ("byteCapacityBufferPercentage", config.byte_capacity_buffer_percentage, 0, BUFFER_PERCENT),
        ("avgEventSize", config.avg_event_size, 1, AVERAGE_EVENT_BYTES),
    ];
    let replaced = numbers.into_iter().filter_map(|(key, value, least, default)| {
        value_replaced(section, key, value, least, format_args!("the default {default}"))
    });
    let others = [("capacity", "overflowCapacity"), ("keep-alive", "overflowTimeout")];
    let others = others.into_iter().filter(|(key, _)| section.get(key).is_some());
    let others = others.map(|(key, other)| {
        let message = format!("`{key}` has no effect: `{other}` takes its place");
        Diagnostic::note("no-effect", message).at(section.key_span(key))
    });
    replaced.chain(others).collect()
}
