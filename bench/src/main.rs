//! Benchmarks against real Flume, end to end: both agents do the same work in one interleaved run, and the ratios
//! go to `docs/benchmarks.md`.

use std::process::ExitCode;

use anyhow::{Context, Result};
use splashdam_interop::Make;

mod workload;

mod channel;
mod flow;
mod hbase;
mod hop;
mod http;
mod jms;
mod lines;
mod stress;
mod syslog;

mod start;

mod chart;
mod machine;
mod options;
mod report;
mod spread;

use options::{Options, Side};
use report::Measured;
use workload::Workload;

/// Every workload, in the order in which they run and are told of.
const WORKLOADS: &[Workload] = &[
    flow::WORKLOAD,
    stress::WORKLOAD,
    start::WORKLOAD,
    channel::BATCH_1000,
    channel::BATCH_100,
    channel::BATCH_1,
    channel::SOURCES_16,
    channel::PUT,
    channel::TWO_DIRECTORIES,
    channel::FOLLOW,
    channel::QUEUED,
    hop::MEMORY_MEMORY,
    hop::MEMORY_MEMORY_4,
    hop::MEMORY_FILE,
    hop::MEMORY_FILE_4,
    hop::FILE_FILE,
    hop::CLIENT_MEMORY,
    hop::CLIENT_FILE,
    hop::CLIENT_LATENCY,
    hop::CALLS,
    http::WORKLOAD,
    jms::WORKLOAD,
    hbase::PUTS_100,
    hbase::PUTS_1000,
    hbase::COUNTED_100,
    hbase::COUNTED_1000,
    syslog::TCP,
    syslog::UDP,
];

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:?}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let Some(options) = Options::parse(std::env::args().skip(1), WORKLOADS)? else {
        print!("{}", options::usage(WORKLOADS));
        return Ok(());
    };
    let mut makes = Vec::new();
    if options.side != Some(Side::Splashdam) {
        makes.push(Make::flume()?);
    }
    if options.side != Some(Side::Flume) {
        if options.build {
            machine::build_splashdam()?;
        }
        makes.push(Make::splashdam()?);
    }
    for workload in WORKLOADS.iter().filter(|workload| options.wants(workload)) {
        let measured = measure(workload, &makes, &options)?;
        println!("{}", measured.table());
        // One side alone has no ratios, and a quick look is no result to keep.
        if options.write && options.side.is_none() {
            measured.write(&options).context("writing docs/benchmarks")?;
        }
    }
    Ok(())
}

/// Runs the workload on each make in turn, round by round; every other round begins with the other one.
fn measure<'a>(workload: &'a Workload, makes: &[Make], options: &Options) -> Result<Measured<'a>> {
    let mut measured = Measured::new(workload);
    let work =
        (workload.prepare)(options).with_context(|| format!("preparing {}", workload.name))?;
    for round in 0..options.rounds {
        let mut turns: Vec<&Make> = makes.iter().collect();
        if round % 2 == 1 {
            turns.reverse();
        }
        for make in turns {
            let busy = machine::load_average();
            let values =
                work(make).with_context(|| format!("{} with {}", workload.name, make.name()))?;
            eprintln!(
                "{} round {} of {}, {}: {} (load before: {busy:.1})",
                workload.name,
                round + 1,
                options.rounds,
                make.name(),
                workload.shown(&values)
            );
            measured.add(make, values, busy);
        }
        if let Some(peer) = &workload.peer {
            let values = (peer.run)(options)
                .with_context(|| format!("{} with {}", workload.name, peer.name))?;
            eprintln!(
                "{} round {} of {}, {}: {}",
                workload.name,
                round + 1,
                options.rounds,
                peer.name,
                workload.shown(&values)
            );
            measured.add_peer(values);
        }
    }
    Ok(measured)
}
