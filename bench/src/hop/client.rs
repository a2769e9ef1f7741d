//! Clients against an Avro source, Flume's in Java and a thin one: rates, and the times of single calls.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use splashdam_interop::agent::free_port;
use splashdam_interop::rpc_load::{Load, Report};
use splashdam_interop::{Agent, Make, Peers};

use super::{BODY_BYTES, receives, thin};
use crate::channel::raw::times_of_writes;
use crate::machine;
use crate::options::Options;
use crate::workload::{Better, Peer, Quantity, Run, Unit, Workload};

const THREADS: u32 = 4;
const BATCH: u32 = 1000;
const SMALL_BATCH: u32 = 100;

const QUANTITIES: &[Quantity] = &[
    Quantity { name: "Events per second", unit: Unit::EventsPerSecond, better: Better::Higher },
    Quantity { name: "A call, median", unit: Unit::Milliseconds, better: Better::Lower },
    Quantity { name: "A call, 99th percentile", unit: Unit::Milliseconds, better: Better::Lower },
    Quantity { name: "A call, 99.9th percentile", unit: Unit::Milliseconds, better: Better::Lower },
    Quantity { name: "Peak memory of the receiver", unit: Unit::Bytes, better: Better::Lower },
];

pub(crate) const MEMORY: Workload = Workload {
    name: "hop-client-memory",
    title: "Flume's Java client to a source: memory channel",
    about: |options| about(options, "memory"),
    quantities: QUANTITIES,
    prepare: |options| at_full_rate(options, false),
    peer: None,
};
pub(crate) const FILE: Workload = Workload {
    name: "hop-client-file",
    title: "Flume's Java client to a source: file channel",
    about: |options| about(options, "file"),
    quantities: QUANTITIES,
    prepare: |options| at_full_rate(options, true),
    peer: None,
};
pub(crate) const LATENCY: Workload = Workload {
    name: "hop-client-latency",
    title: "Flume's Java client to a source: times of calls at half of Flume's rate, file channel",
    about: |options| about_latency(options, "clients of Flume's SDK in one JVM"),
    quantities: QUANTITIES,
    prepare: |options| at_half_rate(options, Client::Flume),
    peer: Some(Peer { name: "raw disk", run: raw_writes }),
};
pub(crate) const CALLS: Workload = Workload {
    name: "hop-calls",
    title: "Single calls of an Avro source: times at half of Flume's rate, file channel",
    about: |options| {
        about_latency(options, "connections of a client that does next to nothing itself")
    },
    quantities: QUANTITIES,
    prepare: |options| at_half_rate(options, Client::Thin),
    peer: Some(Peer { name: "raw disk", run: raw_writes }),
};

/// Who calls.
#[derive(Clone, Copy)]
enum Client {
    /// Flume's, in Java.
    Flume,
    /// One that costs next to nothing.
    Thin,
}

fn load(options: &Options) -> Load {
    let seconds = if options.quick { 3 } else { 10 };
    Load {
        threads: THREADS,
        batch: BATCH,
        body_bytes: BODY_BYTES,
        batches_per_second: 0,
        warm_up: Duration::from_secs(seconds),
        measured: Duration::from_secs(seconds),
    }
}

fn about(options: &Options, channel: &str) -> String {
    let Load { warm_up, measured, .. } = load(options);
    format!(
        "{THREADS} clients of Flume's SDK in one JVM on the same machine, each with one `appendBatch` of {BATCH} events of \
         {BODY_BYTES} bytes under way, an Avro source, a {channel} channel, a null sink. Acknowledged events of {measured:?} after \
         {warm_up:?}; the clients share the machine's cores."
    )
}

fn about_latency(options: &Options, who: &str) -> String {
    let Load { warm_up, measured, .. } = load(options);
    format!(
        "{THREADS} {who} send `appendBatch`es of {SMALL_BATCH} events of {BODY_BYTES} bytes to a file channel \
         behind an Avro source, at half of the rate that Flume's agent reached with them just before, to both alike. A call \
         counts from when it was due. {measured:?} after {warm_up:?}. *raw disk* is one write of as many bytes followed by `fdatasync`, \
         {RAW_WRITES} times a second, and nothing else: no answer that waits for the disk comes sooner."
    )
}

/// Lone writes a second, about as many as there are batches at half of Flume's rate.
const RAW_WRITES: u32 = 200;

fn raw_writes(options: &Options) -> Result<Vec<f64>> {
    let bytes = (SMALL_BATCH * BODY_BYTES) as usize;
    let times = times_of_writes(&options.dir, bytes, RAW_WRITES, load(options).measured)?;
    let [median, most, outliers] = times.map(|seconds| seconds * 1e3);
    Ok(vec![f64::NAN, median, most, outliers, f64::NAN])
}

fn at_full_rate(options: &Options, file: bool) -> Result<Run> {
    let (base, load) = (options.dir.clone(), load(options));
    Ok(Box::new(move |make: &Make| {
        let (report, peak) = run(&base, make, &load, file, Client::Flume)?;
        Ok(values(&report, peak))
    }))
}

fn at_half_rate(options: &Options, client: Client) -> Result<Run> {
    let (base, full) = (options.dir.clone(), Load { batch: SMALL_BATCH, ..load(options) });
    let (most, _) = run(&base, &Make::flume()?, &full, true, client)?;
    let half = (most.events_per_second / 2.0 / f64::from(SMALL_BATCH)).max(1.0);
    #[expect(clippy::cast_sign_loss, reason = "it is positive")]
    let load = Load { batches_per_second: half as u32, ..full };
    Ok(Box::new(move |make: &Make| {
        let (report, peak) = run(&base, make, &load, true, client)?;
        Ok(values(&report, peak))
    }))
}

fn values(report: &Report, peak: u64) -> Vec<f64> {
    let [median, most, outliers] = report.seconds.map(|seconds| seconds * 1e3);
    vec![report.events_per_second, median, most, outliers, peak as f64]
}

fn run(base: &Path, make: &Make, load: &Load, file: bool, client: Client) -> Result<(Report, u64)> {
    let peers = Peers::available()?;
    let dir = tempfile::tempdir_in(base)?;
    machine::settle(dir.path())?;
    let port = free_port()?;
    let mut agent = Agent::start(make, dir.path(), &receives(dir.path(), port, file))?;
    let report = match client {
        Client::Flume => load.run(&peers, dir.path(), port),
        Client::Thin => thin::run(load, port),
    };
    let report = report.context("the load")?;
    agent.still_running()?;
    let peak = agent.usage()?.peak_bytes;
    agent.kill()?;
    Ok((report, peak))
}
