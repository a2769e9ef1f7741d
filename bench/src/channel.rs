//! Workloads `channel-…`: the file channel, both sides syncing each commit, beside what the disk itself takes.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use splashdam_interop::{Agent, Make};

use crate::machine;
use crate::options::Options;
use crate::workload::{FLOW, Peer, Run, Workload};

mod follow;
mod queued;
pub(crate) mod raw;

pub(crate) use follow::WORKLOAD as FOLLOW;
pub(crate) use queued::WORKLOAD as QUEUED;

/// What is carried, and how.
struct Row {
    batch: u32,
    sources: u32,
    /// Events that the sink takes at once; without a sink, how the put alone is.
    takes: Option<u32>,
    directories: u32,
}

const fn row(batch: u32) -> Row {
    Row { batch, sources: 1, takes: Some(batch), directories: 1 }
}

const ROW_1000: Row = row(1000);
const ROW_100: Row = row(100);
const ROW_1: Row = row(1);
const ROW_16: Row = Row { batch: 1, sources: 16, takes: Some(100), directories: 1 };
const ROW_PUT: Row = Row { batch: 1000, sources: 1, takes: None, directories: 1 };
const ROW_TWO: Row = Row { batch: 1000, sources: 1, takes: Some(1000), directories: 2 };

/// A workload of a row; functions without surroundings, since workloads are constants.
macro_rules! workload {
    ($name:literal, $title:literal, $row:ident) => {
        Workload {
            name: $name,
            title: $title,
            about: |options| about(options, &$row),
            quantities: FLOW,
            prepare: |options| prepare(options, &$row),
            peer: Some(Peer { name: "raw disk", run: |options| raw(options, &$row) }),
        }
    };
}

pub(crate) const BATCH_1000: Workload =
    workload!("channel-1000", "File channel: stress → file → null, batches of 1000", ROW_1000);
pub(crate) const BATCH_100: Workload =
    workload!("channel-100", "File channel: stress → file → null, batches of 100", ROW_100);
pub(crate) const BATCH_1: Workload =
    workload!("channel-1", "File channel: stress → file → null, batches of 1", ROW_1);
pub(crate) const SOURCES_16: Workload = workload!(
    "channel-16x1",
    "File channel: 16 stress sources → file → null, batches of 1",
    ROW_16
);
pub(crate) const PUT: Workload =
    workload!("channel-put", "File channel: stress → file, only put, batches of 1000", ROW_PUT);
pub(crate) const TWO_DIRECTORIES: Workload = workload!(
    "channel-two",
    "File channel: stress → file → null, two data directories on one disk, batches of 1000",
    ROW_TWO
);

const BODY_BYTES: u32 = 512;
/// More than any run has put when its time is over: only put, nothing makes room again.
const CAPACITY: u64 = 20_000_000;

struct Times {
    warm_up: Duration,
    measured: Duration,
}

fn times(options: &Options, row: &Row) -> Times {
    let seconds = match (options.quick, row.takes) {
        (true, _) => (1, 2),
        (false, Some(_)) => (15, 10),
        // What is put stays, so the disk would fill up.
        (false, None) => (5, 5),
    };
    Times { warm_up: Duration::from_secs(seconds.0), measured: Duration::from_secs(seconds.1) }
}

fn about(options: &Options, row: &Row) -> String {
    let Times { warm_up, measured } = times(options, row);
    let Row { batch, sources, takes, directories } = row;
    let (takes, counted) = match takes {
        Some(takes) => (format!("a null sink takes up to {takes} at a time"), "taken"),
        None => ("nobody takes them".to_owned(), "put"),
    };
    let plural = |count: u32, one: &str, many: &str| {
        if count == 1 { format!("one {one}") } else { format!("{count} {many}") }
    };
    format!(
        "{} events of {BODY_BYTES} bytes in batches of {batch} into one file channel with {}; {takes}. \
         Both sides sync every commit, of puts and of takes. After {warm_up:?} of warm-up the channel's count of \
         events {counted} is read from `/metrics` twice, {measured:?} apart. *Raw disk*: sequential writes of {batch} \
         × {BODY_BYTES} bytes, each followed by `fdatasync`, into {} of the same file system, without anything \
         else, as events per second.",
        plural(
            *sources,
            "`org.apache.flume.source.StressSource` makes",
            "`org.apache.flume.source.StressSource` make"
        ),
        plural(*directories, "data directory", "data directories on the same disk"),
        plural(*directories, "preallocated file", "preallocated files at once"),
    )
}

fn prepare(options: &Options, row: &'static Row) -> Result<Run> {
    let (base, times) = (options.dir.clone(), times(options, row));
    // What the measured time may write at the most, about.
    let touched_bytes = if options.quick { 256 << 20 } else { 6 << 30 };
    Ok(Box::new(move |make: &Make| {
        let dir = tempfile::tempdir_in(&base)?;
        machine::back_memory(dir.path(), touched_bytes)?;
        machine::settle(dir.path())?;
        let mut agent = Agent::start(make, dir.path(), &config(dir.path(), row))?;
        thread::sleep(times.warm_up);
        let (began, before, cpu_before) =
            (Instant::now(), counted(&agent, row)?, agent.usage()?.cpu);
        thread::sleep(times.measured);
        let (elapsed, after, usage) = (began.elapsed(), counted(&agent, row)?, agent.usage()?);
        agent.still_running()?;
        agent.kill()?;
        ensure!(after > before, "no event came through");
        let events = (after - before) as f64;
        Ok(vec![
            events / elapsed.as_secs_f64(),
            (usage.cpu - cpu_before).as_secs_f64() / (events / 1e6),
            usage.peak_bytes as f64,
        ])
    }))
}

fn raw(options: &Options, row: &Row) -> Result<Vec<f64>> {
    let measured = times(options, row).measured;
    let bytes = (row.batch * BODY_BYTES) as usize;
    let per_second = raw::writes_per_second(&options.dir, bytes, row.directories, measured)?;
    Ok(vec![per_second * f64::from(row.batch), f64::NAN, f64::NAN])
}

fn counted(agent: &Agent, row: &Row) -> Result<u64> {
    let counter =
        if row.takes.is_some() { "EventTakeSuccessCount" } else { "EventPutSuccessCount" };
    agent.metrics()?.count("CHANNEL.c1", counter).with_context(|| format!("there is no {counter}"))
}

/// The keys of the channel that all of these workloads share.
fn channel_config(dir: &Path, directories: u32, capacity: u64) -> String {
    let dir = dir.display();
    let data: Vec<String> = (1..=directories).map(|n| format!("{dir}/data{n}")).collect();
    format!(
        "a1.channels.c1.type = file\n\
         a1.channels.c1.checkpointDir = {dir}/checkpoint\n\
         a1.channels.c1.dataDirs = {}\n\
         a1.channels.c1.capacity = {capacity}\n\
         a1.channels.c1.transactionCapacity = 10000\n",
        data.join(",")
    )
}

fn config(dir: &Path, row: &Row) -> String {
    let names: Vec<String> = (1..=row.sources).map(|n| format!("r{n}")).collect();
    let capacity = if row.takes.is_some() { 1_000_000 } else { CAPACITY };
    let mut config = format!(
        "a1.sources = {}\na1.channels = c1\n{}",
        names.join(" "),
        channel_config(dir, row.directories, capacity)
    );
    for name in names {
        config += &format!(
            "a1.sources.{name}.type = org.apache.flume.source.StressSource\n\
             a1.sources.{name}.channels = c1\n\
             a1.sources.{name}.size = {BODY_BYTES}\n\
             a1.sources.{name}.batchSize = {}\n",
            row.batch
        );
    }
    if let Some(takes) = row.takes {
        // A line in the log every few milliseconds would be measured too.
        config += &format!(
            "a1.sinks = k1\n\
             a1.sinks.k1.type = null\n\
             a1.sinks.k1.channel = c1\n\
             a1.sinks.k1.batchSize = {takes}\n\
             a1.sinks.k1.logEveryNEvents = 1000000000\n"
        );
    }
    config
}
