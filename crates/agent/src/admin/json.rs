//! Flume's JSON: one object per component, every value a string.

use std::sync::Arc;

use serde_json::{Map, Value};
use splashdam_core::metrics::{
    ChannelMetrics, Counters, FileMetrics, Registered, Row, SinkMetrics, SourceMetrics,
};
use splashdam_core::{Level, Role};

/// All components as Flume's `/metrics` shows them.
pub(super) fn metrics(all: &[((Role, Arc<str>), Registered)]) -> String {
    let mut object = Map::new();
    for ((role, name), registered) in all {
        let mut values = Map::new();
        let mut put = |key: &str, value: String| {
            values.insert(key.to_owned(), Value::String(value));
        };
        put("Type", role.flume().to_owned());
        let life = registered.counters.life();
        put("StartTime", life.started.value().to_string());
        put("StopTime", life.stopped.value().to_string());
        match &registered.counters {
            Counters::Source(set) => rows(SourceMetrics::TABLE, set, &mut put),
            Counters::Sink(set) => rows(SinkMetrics::TABLE, set, &mut put),
            Counters::Channel(set) => {
                let level = registered.level.as_ref().map(|read| read()).unwrap_or_default();
                put("ChannelSize", level.queued.events.to_string());
                put("ChannelCapacity", level.capacity.events.to_string());
                put("ChannelFillPercentage", java_double(fill_percentage(level)));
                rows(ChannelMetrics::TABLE, set, &mut put);
                if let Some(file) = set.file.get() {
                    put("Open", (file.open.value() > 0).to_string());
                    put("EventPutErrorCount", set.put_errors.value().to_string());
                    put("EventTakeErrorCount", set.take_errors.value().to_string());
                    rows(FileMetrics::TABLE, file, &mut put);
                }
            }
        }
        object.insert(format!("{}.{name}", role.flume()), Value::Object(values));
    }
    Value::Object(object).to_string()
}

fn rows<S>(table: &[Row<S>], set: &S, put: &mut impl FnMut(&str, String)) {
    for row in table {
        if let Some(key) = row.flume {
            // Counts are whole numbers, exact up to 2^53.
            put(key, format!("{:.0}", (row.read)(set)));
        }
    }
}

/// Flume's `ChannelFillPercentage`, in the order of operations that Flume has.
fn fill_percentage(level: Level) -> f64 {
    match level.capacity.events {
        0 => f64::MAX,
        capacity => level.queued.events as f64 / capacity as f64 * 100.0,
    }
}

/// A double as Java's `Double.toString` writes it: at least one digit after the point, and an
/// exponent below 10^-3 and from 10^7.
pub fn java_double(value: f64) -> String {
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity".into() } else { "-Infinity".into() };
    }
    let size = value.abs();
    if size == 0.0 || (1e-3..1e7).contains(&size) {
        return format!("{value:?}");
    }
    // Rust's exponent form has the same digits: `1e-7`, `1.25e9`.
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let point = if digits.contains('.') { "" } else { ".0" };
    format!("{digits}{point}E{exponent}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_as_in_java() {
        let check = |value: f64, want: &str| assert_eq!(java_double(value), want);
        check(0.0, "0.0");
        check(-0.0, "-0.0");
        check(100.0, "100.0");
        check(1.0 / 3.0 * 100.0, "33.33333333333333");
        check(0.001, "0.001");
        check(0.000_999, "9.99E-4");
        check(1.0 / 10_000_000.0 * 100.0, "9.999999999999999E-6");
        check(1e-5, "1.0E-5");
        check(9_999_999.5, "9999999.5");
        check(1e7, "1.0E7");
        check(12_345_678.9, "1.23456789E7");
        check(f64::MAX, "1.7976931348623157E308");
        check(-1.5e300, "-1.5E300");
        check(f64::INFINITY, "Infinity");
        check(f64::NAN, "NaN");
    }

    #[test]
    fn fill_follows_the_level() {
        let check = |queued, capacity, want: &str| {
            let size = |events| splashdam_core::Size { events, bytes: 0 };
            let level =
                Level { queued: size(queued), capacity: size(capacity), ..Level::default() };
            assert_eq!(java_double(fill_percentage(level)), want);
        };
        check(0, 0, "1.7976931348623157E308");
        check(0, 100, "0.0");
        check(1, 3, "33.33333333333333");
        check(1, 10_000_000, "9.999999999999999E-6");
        check(100, 100, "100.0");
    }
}
