//! Workload `stress`: events made in memory, carried through a memory channel and dropped. No disk, no decoding.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use splashdam_interop::{Agent, Make};

use crate::options::Options;
use crate::workload::{FLOW, Run, Workload};

pub(crate) const WORKLOAD: Workload = Workload {
    name: "stress",
    title: "Carry events: stress source → memory → null",
    about,
    quantities: FLOW,
    prepare,
    peer: None,
};

struct Times {
    warm_up: Duration,
    measured: Duration,
}

fn times(options: &Options) -> Times {
    let seconds = if options.quick { (3, 3) } else { (15, 10) };
    Times { warm_up: Duration::from_secs(seconds.0), measured: Duration::from_secs(seconds.1) }
}

fn about(options: &Options) -> String {
    let Times { warm_up, measured } = times(options);
    format!(
        "`org.apache.flume.source.StressSource` makes events of 512 bytes in batches of 1000, a null sink takes them \
         1000 at a time. After {warm_up:?} of warm-up the channel's count of events taken is read from `/metrics` \
         twice, {measured:?} apart."
    )
}

const CONFIG: &str = "a1.sources = r1
a1.channels = c1
a1.sinks = k1
a1.sources.r1.type = org.apache.flume.source.StressSource
a1.sources.r1.channels = c1
a1.sources.r1.size = 512
a1.sources.r1.batchSize = 1000
a1.channels.c1.type = memory
a1.channels.c1.capacity = 100000
a1.channels.c1.transactionCapacity = 1000
a1.sinks.k1.type = null
a1.sinks.k1.channel = c1
a1.sinks.k1.batchSize = 1000
# A line in the log every few milliseconds would be measured too.
a1.sinks.k1.logEveryNEvents = 1000000000
";

fn prepare(options: &Options) -> Result<Run> {
    let (base, times) = (options.dir.clone(), times(options));
    Ok(Box::new(move |make: &Make| {
        let dir = tempfile::tempdir_in(&base)?;
        let mut agent = Agent::start(make, dir.path(), CONFIG)?;
        thread::sleep(times.warm_up);
        let (began, taken_before, cpu_before) =
            (Instant::now(), taken(&agent)?, agent.usage()?.cpu);
        thread::sleep(times.measured);
        let (elapsed, taken_after, usage) = (began.elapsed(), taken(&agent)?, agent.usage()?);
        agent.still_running()?;
        agent.stop()?;
        ensure!(taken_after > taken_before, "no event came through");
        let events = (taken_after - taken_before) as f64;
        Ok(vec![
            events / elapsed.as_secs_f64(),
            (usage.cpu - cpu_before).as_secs_f64() / (events / 1e6),
            usage.peak_bytes as f64,
        ])
    }))
}

fn taken(agent: &Agent) -> Result<u64> {
    agent
        .metrics()?
        .count("CHANNEL.c1", "EventTakeSuccessCount")
        .context("the channel counts no takes")
}
