//! Workload `channel-start`: how soon an agent is ready, and what it holds, with a channel full of events.

use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use splashdam_interop::{Agent, Make};

use super::{BODY_BYTES, channel_config};
use crate::options::Options;
use crate::workload::{Better, Quantity, Run, Unit, Workload};

pub(crate) const WORKLOAD: Workload = Workload {
    name: "channel-start",
    title: "File channel: start with events queued",
    about,
    quantities: &[
        Quantity { name: "Events queued", unit: Unit::Count, better: Better::Higher },
        Quantity {
            name: "Start to ready, after a clean stop",
            unit: Unit::Milliseconds,
            better: Better::Lower,
        },
        Quantity {
            name: "Start to ready, after kill -9",
            unit: Unit::Milliseconds,
            better: Better::Lower,
        },
        Quantity {
            name: "Peak memory, after a clean stop",
            unit: Unit::Bytes,
            better: Better::Lower,
        },
        Quantity { name: "Peak memory, after kill -9", unit: Unit::Bytes, better: Better::Lower },
        Quantity { name: "Peak memory while filling", unit: Unit::Bytes, better: Better::Lower },
    ],
    prepare,
    peer: None,
};

/// Filling takes Flume minutes.
const FILL_LIMIT: Duration = Duration::from_secs(1200);
/// After it is ready, before memory is looked at.
const IDLE: Duration = Duration::from_secs(2);

struct Amounts {
    ours: u64,
    flumes: u64,
}

fn amounts(options: &Options) -> Amounts {
    match (options.quick, options.full) {
        (true, _) => Amounts { ours: 500_000, flumes: 50_000 },
        (false, false) => Amounts { ours: 10_000_000, flumes: 1_000_000 },
        (false, true) => Amounts { ours: 10_000_000, flumes: 10_000_000 },
    }
}

fn about(options: &Options) -> String {
    let Amounts { ours, flumes } = amounts(options);
    let fewer = if ours == flumes {
        ""
    } else {
        ", fewer for Flume, which needs minutes otherwise (`--full` gives it as many)"
    };
    format!(
        "A stress source puts {ours} events of {BODY_BYTES} bytes (Flume: {flumes}{fewer}) into a channel without a \
         sink. Then the agent is killed with SIGKILL and started again, and stopped with SIGTERM and started again. \
         From just before the process is made until it says that it is ready; the most resident memory until \
         {IDLE:?} later. After each start the channel must hold all that was put."
    )
}

fn prepare(options: &Options) -> Result<Run> {
    let (base, amounts) = (options.dir.clone(), amounts(options));
    Ok(Box::new(move |make: &Make| {
        let events = match make {
            Make::Flume(_) => amounts.flumes,
            Make::Splashdam(_) => amounts.ours,
        };
        let dir = tempfile::tempdir_in(&base)?;
        let mut filling = Agent::start(make, dir.path(), &config(dir.path(), events, events))?;
        filling.wait_until(FILL_LIMIT, "full channel", |metrics| {
            metrics.count("CHANNEL.c1", "EventPutSuccessCount").is_some_and(|put| put >= events)
        })?;
        let filled_bytes = filling.usage()?.peak_bytes;
        filling.kill()?;
        let (killed, agent) = start(make, dir.path(), events).context("after kill -9")?;
        agent.stop().context("after a start")?;
        let (stopped, agent) = start(make, dir.path(), events).context("after a clean stop")?;
        agent.kill()?;
        Ok(vec![events as f64, stopped.0, killed.0, stopped.1, killed.1, filled_bytes as f64])
    }))
}

/// Milliseconds until it is ready, and its peak memory in bytes.
fn start(make: &Make, dir: &Path, events: u64) -> Result<((f64, f64), Agent)> {
    let agent = Agent::start(make, dir, &config(dir, 0, events))?;
    thread::sleep(IDLE);
    let metrics = agent.metrics()?;
    let size = metrics.count("CHANNEL.c1", "ChannelSize").context("the channel has no size")?;
    ensure!(size == events, "{size} events are in the channel and not {events}");
    let millis = agent.ready_after().as_secs_f64() * 1e3;
    Ok(((millis, agent.usage()?.peak_bytes as f64), agent))
}

fn config(dir: &Path, puts: u64, events: u64) -> String {
    format!(
        "a1.sources = r1\n\
         a1.channels = c1\n\
         a1.sources.r1.type = org.apache.flume.source.StressSource\n\
         a1.sources.r1.channels = c1\n\
         a1.sources.r1.size = {BODY_BYTES}\n\
         a1.sources.r1.batchSize = 1000\n\
         a1.sources.r1.maxTotalEvents = {puts}\n\
         {}",
        channel_config(dir, 1, events + 100_000)
    )
}
