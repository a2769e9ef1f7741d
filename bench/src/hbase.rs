//! Workloads `hbase-…`: events into a table of a standalone HBase on this machine, beside HBase's own client without an agent.

use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use splashdam_interop::hbase::{HBase, HBasePeer};
use splashdam_interop::{Agent, Make, Peers};
use tempfile::TempDir;

use crate::options::Options;
use crate::workload::{FLOW, Peer, Run, Workload};

/// What is written, and how many events at a time.
struct Row {
    batch: u32,
    /// Whether each event is counted with an increment, as Flume's default is.
    counted: bool,
}

/// A workload of a row; functions without surroundings, since workloads are constants.
macro_rules! workload {
    ($name:literal, $title:literal, $row:expr) => {
        Workload {
            name: $name,
            title: $title,
            about: |options| about(options, &$row),
            quantities: FLOW,
            prepare: |options| prepare(options, &$row),
            peer: Some(Peer { name: "java client", run: java }),
        }
    };
}

pub(crate) const PUTS_100: Workload = workload!(
    "hbase-100",
    "HBase: stress → memory → hbase2, puts, batches of 100",
    Row { batch: 100, counted: false }
);
pub(crate) const PUTS_1000: Workload = workload!(
    "hbase-1000",
    "HBase: stress → memory → hbase2, puts, batches of 1000",
    Row { batch: 1000, counted: false }
);
pub(crate) const COUNTED_100: Workload = workload!(
    "hbase-counted-100",
    "HBase: stress → memory → hbase2, puts and increments, batches of 100",
    Row { batch: 100, counted: true }
);
pub(crate) const COUNTED_1000: Workload = workload!(
    "hbase-counted-1000",
    "HBase: stress → memory → hbase2, puts and increments, batches of 1000",
    Row { batch: 1000, counted: true }
);

const BODY_BYTES: u32 = 200;

/// How long each side runs, and how much the client alone writes.
struct Amounts {
    warm_up: Duration,
    measured: Duration,
    rows: u32,
}

fn amounts(options: &Options) -> Amounts {
    let (warm_up, measured, rows) = if options.quick { (2, 3, 20_000) } else { (12, 10, 300_000) };
    Amounts { warm_up: Duration::from_secs(warm_up), measured: Duration::from_secs(measured), rows }
}

fn about(options: &Options, row: &Row) -> String {
    let Amounts { warm_up, measured, rows } = amounts(options);
    let serializer = match row.counted {
        true => "the simple serializer, Flume's default: a put and an increment for each event",
        false => "the regex serializer with its default pattern: a put for each event",
    };
    format!(
        "`org.apache.flume.source.StressSource` makes events of {BODY_BYTES} bytes, and the sink `hbase2` writes them {} \
         at a time with {serializer}. Server and agent share this machine. After {warm_up:?} of warm-up the channel's \
         count of events taken is read from `/metrics` twice, {measured:?} apart. *Java client*: HBase's own buffered \
         mutator, without any agent, writes {rows} puts of {BODY_BYTES} bytes after as many that are not measured.",
        row.batch
    )
}

/// A cluster in a directory of its own.
struct Cluster {
    hbase: HBase,
    _dir: TempDir,
}

fn cluster(options: &Options) -> Result<Cluster> {
    let dir = tempfile::tempdir_in(&options.dir)?;
    let hbase = HBasePeer::available()?.at_length().start(dir.path())?;
    Ok(Cluster { hbase, _dir: dir })
}

fn prepare(options: &Options, row: &'static Row) -> Result<Run> {
    let (base, amounts) = (options.dir.clone(), amounts(options));
    let cluster = Mutex::new(cluster(options)?);
    Ok(Box::new(move |make: &Make| {
        let mut cluster = cluster.lock().ok().context("an earlier run panicked")?;
        let make = match make {
            Make::Flume(_) => Make::Flume(Peers::with_hbase()?),
            ours => ours.clone(),
        };
        let dir = tempfile::tempdir_in(&base)?;
        cluster.hbase.drive("create t f")?;
        let values = run(&make, &dir, &config(row, &cluster.hbase.quorum()), &amounts);
        cluster.hbase.drive("drop t")?;
        values
    }))
}

fn run(make: &Make, dir: &TempDir, config: &str, amounts: &Amounts) -> Result<Vec<f64>> {
    let mut agent = Agent::start(make, dir.path(), config)?;
    thread::sleep(amounts.warm_up);
    let (began, before, cpu) = (Instant::now(), taken(&agent)?, agent.usage()?.cpu);
    thread::sleep(amounts.measured);
    let (elapsed, after, usage) = (began.elapsed(), taken(&agent)?, agent.usage()?);
    agent.still_running()?;
    // Its source never ends, so that a stop would only drain.
    agent.kill()?;
    ensure!(after > before, "no event came through");
    let events = (after - before) as f64;
    Ok(vec![
        events / elapsed.as_secs_f64(),
        (usage.cpu - cpu).as_secs_f64() / (events / 1e6),
        usage.peak_bytes as f64,
    ])
}

fn config(row: &Row, quorum: &str) -> String {
    let batch = row.batch;
    let class = match row.counted {
        true => "SimpleHBase2EventSerializer",
        false => "RegexHBase2EventSerializer",
    };
    format!(
        "a1.sources = r1\n\
         a1.channels = c1\n\
         a1.sinks = k1\n\
         a1.sources.r1.type = org.apache.flume.source.StressSource\n\
         a1.sources.r1.channels = c1\n\
         a1.sources.r1.size = {BODY_BYTES}\n\
         a1.sources.r1.batchSize = {batch}\n\
         a1.channels.c1.type = memory\n\
         a1.channels.c1.capacity = 100000\n\
         a1.channels.c1.transactionCapacity = 1000\n\
         a1.sinks.k1.type = hbase2\n\
         a1.sinks.k1.channel = c1\n\
         a1.sinks.k1.table = t\n\
         a1.sinks.k1.columnFamily = f\n\
         a1.sinks.k1.batchSize = {batch}\n\
         a1.sinks.k1.zookeeperQuorum = {quorum}\n\
         a1.sinks.k1.serializer = org.apache.flume.sink.hbase2.{class}\n"
    )
}

fn taken(agent: &Agent) -> Result<u64> {
    agent
        .metrics()?
        .count("CHANNEL.c1", "EventTakeSuccessCount")
        .context("the channel counts no takes")
}

/// HBase's own client into a cluster like that of the agents.
fn java(options: &Options) -> Result<Vec<f64>> {
    let mut cluster = cluster(options)?;
    let rows = amounts(options).rows;
    cluster.hbase.drive("create t f")?;
    let load = format!("load t f {rows} {BODY_BYTES}");
    cluster.hbase.drive(&load)?;
    let said = cluster.hbase.drive(&load)?;
    let took = said.first().and_then(|line| line.strip_prefix("took ")).context("no time")?;
    let millis: f64 = took.parse()?;
    Ok(vec![f64::from(rows) / (millis / 1e3), f64::NAN, f64::NAN])
}
