//! Workload `start`: how soon a small agent is ready, and what it holds while nothing happens.

use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use splashdam_interop::{Agent, Make};

use crate::options::Options;
use crate::spread::Spread;
use crate::workload::{Better, Quantity, Run, Unit, Workload};

pub(crate) const WORKLOAD: Workload = Workload {
    name: "start",
    title: "Start and idle: TAILDIR → memory → file_roll, no input",
    about,
    quantities: &[
        Quantity { name: "Start to ready", unit: Unit::Milliseconds, better: Better::Lower },
        Quantity { name: "Idle resident memory", unit: Unit::Bytes, better: Better::Lower },
    ],
    prepare,
    peer: None,
};

const STARTS: usize = 3;
const IDLE: Duration = Duration::from_secs(2);

fn about(_: &Options) -> String {
    format!(
        "From just before the process is made until its monitoring port says that it is ready (ours: `/readyz`; \
         Flume opens the port after it has started its components): the median of {STARTS} starts a round. Resident \
         memory {IDLE:?} after the last of them, with nothing to do."
    )
}

fn prepare(options: &Options) -> Result<Run> {
    let base = options.dir.clone();
    Ok(Box::new(move |make: &Make| {
        let (mut starts, mut idle_bytes) = (Vec::new(), 0);
        for start in 1..=STARTS {
            let dir = tempfile::tempdir_in(&base)?;
            fs::create_dir(dir.path().join("logs"))?;
            fs::create_dir(dir.path().join("out"))?;
            let place = dir.path().display();
            let config = format!(
                "a1.sources = r1\n\
                 a1.channels = c1\n\
                 a1.sinks = k1\n\
                 a1.sources.r1.type = TAILDIR\n\
                 a1.sources.r1.channels = c1\n\
                 a1.sources.r1.filegroups = g\n\
                 a1.sources.r1.filegroups.g = {place}/logs/.*\n\
                 a1.sources.r1.positionFile = {place}/position.json\n\
                 a1.channels.c1.type = memory\n\
                 a1.sinks.k1.type = file_roll\n\
                 a1.sinks.k1.channel = c1\n\
                 a1.sinks.k1.sink.directory = {place}/out\n\
                 a1.sinks.k1.sink.rollInterval = 0\n"
            );
            let agent = Agent::start(make, dir.path(), &config)?;
            starts.push(agent.ready_after().as_secs_f64() * 1e3);
            if start == STARTS {
                thread::sleep(IDLE);
                idle_bytes = agent.usage()?.resident_bytes;
            }
            agent.stop()?;
        }
        let ready = Spread::of(&starts).context("no start was measured")?.median;
        Ok(vec![ready, idle_bytes as f64])
    }))
}
