//! Workloads `hop-…`: two agents on this machine, a stress source in one and a null sink in the other, Avro between.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use splashdam_interop::agent::free_port;
use splashdam_interop::{Agent, Make};

use crate::machine;
use crate::options::Options;
use crate::workload::{Better, Peer, Quantity, Run, Unit, Workload};

mod client;
mod loopback;
mod thin;

pub(crate) use client::{
    CALLS, FILE as CLIENT_FILE, LATENCY as CLIENT_LATENCY, MEMORY as CLIENT_MEMORY,
};

/// Which channels are in files, and how many sinks send.
struct Row {
    sender: bool,
    receiver: bool,
    sinks: u32,
}

const MEMORY: Row = Row { sender: false, receiver: false, sinks: 1 };
const MEMORY_4: Row = Row { sinks: 4, ..MEMORY };
const RECEIVER: Row = Row { receiver: true, ..MEMORY };
const RECEIVER_4: Row = Row { sinks: 4, ..RECEIVER };
const FILES: Row = Row { sender: true, receiver: true, sinks: 1 };

const QUANTITIES: &[Quantity] = &[
    Quantity { name: "Events per second", unit: Unit::EventsPerSecond, better: Better::Higher },
    Quantity {
        name: "CPU of both per million events",
        unit: Unit::CpuSecondsPerMillion,
        better: Better::Lower,
    },
    Quantity { name: "Peak memory of the receiver", unit: Unit::Bytes, better: Better::Lower },
];

/// A workload of a row; functions without surroundings, since workloads are constants.
macro_rules! workload {
    ($name:literal, $title:literal, $row:ident, $beside:literal, $peer:expr) => {
        Workload {
            name: $name,
            title: $title,
            about: |options| about(options, &$row),
            quantities: QUANTITIES,
            prepare: |options| prepare(options, &$row),
            peer: Some(Peer { name: $beside, run: $peer }),
        }
    };
}

pub(crate) const MEMORY_MEMORY: Workload = workload!(
    "hop-memory",
    "Hop over Avro: memory channels on both sides, one sink",
    MEMORY,
    "raw loopback",
    |options| loopback::run(options)
);
pub(crate) const MEMORY_MEMORY_4: Workload = workload!(
    "hop-memory-4",
    "Hop over Avro: memory channels on both sides, four sinks",
    MEMORY_4,
    "flume → splashdam",
    |options| mixed(options, &MEMORY_4)
);
pub(crate) const MEMORY_FILE: Workload = workload!(
    "hop-receiver",
    "Hop over Avro: memory channel to file channel, one sink",
    RECEIVER,
    "flume → splashdam",
    |options| mixed(options, &RECEIVER)
);
pub(crate) const MEMORY_FILE_4: Workload = workload!(
    "hop-receiver-4",
    "Hop over Avro: memory channel to file channel, four sinks",
    RECEIVER_4,
    "flume → splashdam",
    |options| mixed(options, &RECEIVER_4)
);
pub(crate) const FILE_FILE: Workload = workload!(
    "hop-files",
    "Hop over Avro: file channels on both sides, one sink",
    FILES,
    "flume → splashdam",
    |options| mixed(options, &FILES)
);

const BATCH: u32 = 1000;
const BODY_BYTES: u32 = 512;

fn times(options: &Options) -> (Duration, Duration) {
    let (warm_up, measured) = if options.quick { (3, 3) } else { (15, 10) };
    (Duration::from_secs(warm_up), Duration::from_secs(measured))
}

fn about(options: &Options, row: &Row) -> String {
    let (warm_up, measured) = times(options);
    let kind = |file: bool| if file { "file" } else { "memory" };
    format!(
        "One agent: `org.apache.flume.source.StressSource` ({BODY_BYTES} bytes, batches of {BATCH}), {} channel, {} \
         with `batch-size` {BATCH}. The other: Avro source, {} channel, null sink. Both on this machine, over \
         loopback. File channels sync each commit. After {warm_up:?} of warm-up the receiver's count of events taken is \
         read from `/metrics` twice, {measured:?} apart. *flume → splashdam* is a sender of Flume's and a receiver of ours; \
         *raw loopback* is one TCP connection of two processes' threads that write and read 512 bytes an event and do \
         nothing else.",
        kind(row.sender),
        if row.sinks == 1 {
            "one Avro sink".to_owned()
        } else {
            format!("{} Avro sinks", row.sinks)
        },
        kind(row.receiver)
    )
}

fn prepare(options: &Options, row: &'static Row) -> Result<Run> {
    let (base, times) = (options.dir.clone(), times(options));
    Ok(Box::new(move |make: &Make| run(&base, times, make, make, row)))
}

fn mixed(options: &Options, row: &Row) -> Result<Vec<f64>> {
    run(&options.dir, times(options), &Make::flume()?, &Make::splashdam()?, row)
}

fn run(
    base: &Path,
    (warm_up, measured): (Duration, Duration),
    from: &Make,
    to: &Make,
    row: &Row,
) -> Result<Vec<f64>> {
    let dir = tempfile::tempdir_in(base)?;
    let (here, there) = (dir.path().join("sender"), dir.path().join("receiver"));
    [&here, &there].into_iter().try_for_each(std::fs::create_dir)?;
    machine::settle(dir.path())?;
    let port = free_port()?;
    let mut receiver = Agent::start(to, &there, &receives(&there, port, row.receiver))?;
    let mut sender = Agent::start(from, &here, &sends(&here, port, row))?;
    thread::sleep(warm_up);
    let cpu = |sender: &Agent, receiver: &Agent| -> Result<f64> {
        Ok((sender.usage()?.cpu + receiver.usage()?.cpu).as_secs_f64())
    };
    let (began, before, cpu_before) = (Instant::now(), taken(&receiver)?, cpu(&sender, &receiver)?);
    thread::sleep(measured);
    let (elapsed, after, cpu_after) =
        (began.elapsed(), taken(&receiver)?, cpu(&sender, &receiver)?);
    let peak = receiver.usage()?.peak_bytes;
    sender.still_running()?;
    receiver.still_running()?;
    sender.kill()?;
    receiver.kill()?;
    ensure!(after > before, "no event came through");
    let events = (after - before) as f64;
    Ok(vec![events / elapsed.as_secs_f64(), (cpu_after - cpu_before) / (events / 1e6), peak as f64])
}

fn taken(agent: &Agent) -> Result<u64> {
    agent
        .metrics()?
        .count("CHANNEL.c1", "EventTakeSuccessCount")
        .context("no count of events taken")
}

fn channel(dir: &Path, file: bool) -> String {
    let dir = dir.display();
    let kind = match file {
        true => format!(
            "a1.channels.c1.type = file\n\
             a1.channels.c1.checkpointDir = {dir}/checkpoint\n\
             a1.channels.c1.dataDirs = {dir}/data\n\
             a1.channels.c1.capacity = 1000000\n"
        ),
        false => "a1.channels.c1.type = memory\na1.channels.c1.capacity = 100000\n".to_owned(),
    };
    kind + "a1.channels.c1.transactionCapacity = 10000\n"
}

fn sends(dir: &Path, port: u16, row: &Row) -> String {
    let names: Vec<_> = (1..=row.sinks).map(|number| format!("k{number}")).collect();
    let mut config = format!(
        "a1.sources = r1\na1.channels = c1\na1.sinks = {}\n{}\
         a1.sources.r1.type = org.apache.flume.source.StressSource\n\
         a1.sources.r1.channels = c1\n\
         a1.sources.r1.size = {BODY_BYTES}\n\
         a1.sources.r1.batchSize = {BATCH}\n",
        names.join(" "),
        channel(dir, row.sender)
    );
    for name in names {
        let sink = format!("a1.sinks.{name}");
        config += &format!(
            "{sink}.type = avro\n{sink}.channel = c1\n{sink}.hostname = 127.0.0.1\n{sink}.port = {port}\n{sink}.batch-size = {BATCH}\n"
        );
    }
    config
}

fn receives(dir: &Path, port: u16, file: bool) -> String {
    format!(
        "a1.sources = r1\na1.channels = c1\na1.sinks = k1\n{}\
         a1.sources.r1.type = avro\n\
         a1.sources.r1.channels = c1\n\
         a1.sources.r1.bind = 127.0.0.1\n\
         a1.sources.r1.port = {port}\n\
         a1.sinks.k1.type = null\n\
         a1.sinks.k1.channel = c1\n\
         a1.sinks.k1.batchSize = {BATCH}\n\
         a1.sinks.k1.logEveryNEvents = 1000000000\n",
        channel(dir, file)
    )
}
