//! Prometheus text, format 0.0.4.

use std::sync::Arc;

use splashdam_core::metrics::{
    ChannelMetrics, Counters, FileMetrics, Kind, Registered, Row, SinkMetrics, SourceMetrics,
};
use splashdam_core::{Level, Role};

use super::process::Usage;

/// One set of components with the same table: name and counters of each.
type Sets<'a, S> = Vec<(&'a str, &'a S)>;

/// All components and the process. A family stands together, as the format asks.
pub(super) fn metrics(all: &[((Role, Arc<str>), Registered)], usage: Option<&Usage>) -> String {
    let mut out = String::new();
    let mut sources: Sets<'_, SourceMetrics> = Vec::new();
    let mut channels: Sets<'_, ChannelMetrics> = Vec::new();
    let mut sinks: Sets<'_, SinkMetrics> = Vec::new();
    let mut levels: Vec<(&str, Level)> = Vec::new();
    for ((_, name), registered) in all {
        match &registered.counters {
            Counters::Source(set) => sources.push((name, &**set)),
            Counters::Sink(set) => sinks.push((name, &**set)),
            Counters::Channel(set) => {
                channels.push((name, &**set));
                levels.extend(registered.level.as_ref().map(|read| (&**name, read())));
            }
        }
    }
    families(&mut out, SourceMetrics::TABLE, &sources);
    families(&mut out, ChannelMetrics::TABLE, &channels);
    let files = channels.iter().filter_map(|(name, set)| Some((*name, set.file.get()?)));
    families(&mut out, FileMetrics::TABLE, &files.collect::<Vec<_>>());
    let mut level = |name: &str, help: &str, read: fn(&Level) -> usize| {
        let values = levels.iter().map(|(channel, level)| (Some(*channel), read(level) as f64));
        family(&mut out, name, Kind::Gauge, help, values);
    };
    level("splashdam_channel_queued_events", "Events waiting to be taken.", |l| l.queued.events);
    level("splashdam_channel_queued_bytes", "Bytes of events waiting to be taken.", |l| {
        l.queued.bytes
    });
    level("splashdam_channel_leased_events", "Events taken and not yet committed.", |l| {
        l.leased.events
    });
    level("splashdam_channel_capacity_events", "Events it holds at the most, 0 if unknown.", |l| {
        l.capacity.events
    });
    families(&mut out, SinkMetrics::TABLE, &sinks);
    let lives = all.iter().map(|((role, name), registered)| (*role, name, &registered.counters));
    started(&mut out, lives);
    if let Some(usage) = usage {
        process(&mut out, usage);
    }
    out
}

fn families<S>(out: &mut String, table: &[Row<S>], sets: &[(&str, &S)]) {
    for row in table {
        let values = sets.iter().map(|(name, set)| (Some(*name), (row.read)(set)));
        family(out, row.prometheus, row.kind, row.help, values);
    }
}

fn family<'a>(
    out: &mut String,
    name: &str,
    kind: Kind,
    help: &str,
    values: impl Iterator<Item = (Option<&'a str>, f64)>,
) {
    let mut values = values.peekable();
    if values.peek().is_none() {
        return;
    }
    head(out, name, kind, help);
    for (component, value) in values {
        out.push_str(name);
        if let Some(component) = component {
            label(out, &[("component", component)]);
        }
        line_end(out, value);
    }
}

/// When each component started, in seconds since 1970, as Prometheus likes times.
fn started<'a>(out: &mut String, lives: impl Iterator<Item = (Role, &'a Arc<str>, &'a Counters)>) {
    let mut lives = lives.peekable();
    if lives.peek().is_none() {
        return;
    }
    let name = "splashdam_component_start_time_seconds";
    head(out, name, Kind::Gauge, "When the component was started, in seconds since 1970.");
    for (role, component, counters) in lives {
        out.push_str(name);
        label(out, &[("role", role.word()), ("component", component)]);
        line_end(out, counters.life().started.value() as f64 / 1000.0);
    }
}

fn process(out: &mut String, usage: &Usage) {
    let mut one = |name: &str, kind: Kind, help: &str, value: f64| {
        family(out, name, kind, help, std::iter::once((None, value)));
    };
    one(
        "process_cpu_seconds_total",
        Kind::Counter,
        "Processor time used, of user and system.",
        usage.cpu_seconds,
    );
    one(
        "process_resident_memory_bytes",
        Kind::Gauge,
        "Resident memory.",
        usage.resident_bytes as f64,
    );
    one("process_open_fds", Kind::Gauge, "Open file descriptors.", usage.open_files as f64);
    one(
        "process_start_time_seconds",
        Kind::Gauge,
        "When the process was started, in seconds since 1970.",
        usage.start_seconds,
    );
    one(
        "splashdam_uptime_seconds",
        Kind::Gauge,
        "How long the process has been running.",
        usage.uptime_seconds,
    );
}

fn head(out: &mut String, name: &str, kind: Kind, help: &str) {
    let kind = match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
    };
    out.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
}

fn label(out: &mut String, labels: &[(&str, &str)]) {
    out.push('{');
    for (index, (key, value)) in labels.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        out.push_str(&format!("{key}=\""));
        for c in value.chars() {
            match c {
                '\\' => out.push_str("\\\\"),
                '"' => out.push_str("\\\""),
                '\n' => out.push_str("\\n"),
                c => out.push(c),
            }
        }
        out.push('"');
    }
    out.push('}');
}

fn line_end(out: &mut String, value: f64) {
    // Rust's shortest form is what Prometheus parses; whole numbers come without a point.
    out.push_str(&format!(" {value}\n"));
}
