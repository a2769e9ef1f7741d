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

/// Which channels are in files.
struct Row {
    sender: bool,
    receiver: bool,
}

const MEMORY: Row = Row { sender: false, receiver: false };
const RECEIVER: Row = Row { sender: false, receiver: true };
const FILES: Row = Row { sender: true, receiver: true };

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
    ($name:literal, $title:literal, $row:ident) => {
        Workload {
            name: $name,
            title: $title,
            about: |options| about(options, &$row),
            quantities: QUANTITIES,
            prepare: |options| prepare(options, &$row),
            peer: Some(Peer { name: "flume → splashdam", run: |options| mixed(options, &$row) }),
        }
    };
}

pub(crate) const MEMORY_MEMORY: Workload =
    workload!("hop-memory", "Hop over Avro: memory channels on both sides", MEMORY);
pub(crate) const MEMORY_FILE: Workload =
    workload!("hop-receiver", "Hop over Avro: memory channel to file channel", RECEIVER);
pub(crate) const FILE_FILE: Workload =
    workload!("hop-files", "Hop over Avro: file channels on both sides", FILES);

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
        "One agent: `org.apache.flume.source.StressSource` ({BODY_BYTES} bytes, batches of {BATCH}), {} channel, one Avro \
         sink with `batch-size` {BATCH}. The other: Avro source, {} channel, null sink. Both on this machine, over \
         loopback. File channels sync each commit. After {warm_up:?} of warm-up the receiver's count of events taken is \
         read from `/metrics` twice, {measured:?} apart. *flume → splashdam* is a sender of Flume's and a receiver of ours.",
        kind(row.sender),
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
    let mut sender = Agent::start(from, &here, &sends(&here, port, row.sender))?;
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
        false => "a1.channels.c1.type = memory\na1.channels.c1.capacity = 10000\n".to_owned(),
    };
    kind + "a1.channels.c1.transactionCapacity = 10000\n"
}

fn sends(dir: &Path, port: u16, file: bool) -> String {
    format!(
        "a1.sources = r1\na1.channels = c1\na1.sinks = k1\n{}\
         a1.sources.r1.type = org.apache.flume.source.StressSource\n\
         a1.sources.r1.channels = c1\n\
         a1.sources.r1.size = {BODY_BYTES}\n\
         a1.sources.r1.batchSize = {BATCH}\n\
         a1.sinks.k1.type = avro\n\
         a1.sinks.k1.channel = c1\n\
         a1.sinks.k1.hostname = 127.0.0.1\n\
         a1.sinks.k1.port = {port}\n\
         a1.sinks.k1.batch-size = {BATCH}\n",
        channel(dir, file)
    )
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
