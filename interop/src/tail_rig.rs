//! An agent that tails one folder into another: `TAILDIR` → memory → `file_roll`, with everything in one directory, so
//! that a test writes files, restarts agents and compares lines without knowing about configuration.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use crate::agent::Agent;
use crate::outputs;
use crate::peers::Make;

/// One such directory and the agent that runs in it, if one does.
#[derive(Debug)]
pub struct TailRig {
    make: Make,
    dir: PathBuf,
    extra: String,
    agent: Option<Agent>,
}

/// Starts Flume in `dir` with `extra` lines of configuration: see [`TailRig::start`].
pub fn run_flume_taildir(dir: &Path, extra: &str) -> Result<TailRig> {
    TailRig::start(&Make::flume()?, dir, extra)
}

impl TailRig {
    /// Makes `logs`, `out` and the rest inside `dir` where they are missing, and starts an agent. It follows every
    /// `logs/*.log`, looks every 50 ms, and writes positions every 100 ms. `extra` is appended to the configuration,
    /// where it wins (source `r1`, channel `c1`, sink `k1`).
    pub fn start(make: &Make, dir: &Path, extra: &str) -> Result<TailRig> {
        fs::create_dir_all(dir.join("logs"))?;
        fs::create_dir_all(dir.join("out"))?;
        let mut rig = TailRig {
            make: make.clone(),
            dir: dir.to_owned(),
            extra: extra.to_owned(),
            agent: None,
        };
        rig.restart()?;
        Ok(rig)
    }

    /// Where the files to follow are written; their names end in `.log`.
    pub fn logs(&self) -> PathBuf {
        self.dir.join("logs")
    }

    /// Where the agent writes.
    pub fn out(&self) -> PathBuf {
        self.dir.join("out")
    }

    /// Flume's position file.
    pub fn positions(&self) -> PathBuf {
        self.dir.join("position.json")
    }

    /// The running agent.
    pub fn agent(&mut self) -> Option<&mut Agent> {
        self.agent.as_mut()
    }

    /// Every line written so far, by all agents that ran here, in order.
    pub fn lines(&self) -> Result<Vec<String>> {
        outputs::lines(&self.out())
    }

    /// Stops the agent in order, if it runs.
    pub fn stop(&mut self) -> Result<()> {
        if let Some(agent) = self.agent.take() {
            agent.stop()?;
        }
        Ok(())
    }

    /// Ends the agent as a crash would.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(agent) = self.agent.take() {
            agent.kill()?;
        }
        Ok(())
    }

    /// Stops the agent if it runs, and starts one on the same files and positions.
    pub fn restart(&mut self) -> Result<()> {
        self.stop()?;
        let config = config(&self.dir, &self.extra);
        self.agent = Some(Agent::start(&self.make, &self.dir, &config)?);
        Ok(())
    }

    /// Goes on with the other make of agent, from the positions that the present one leaves.
    pub fn hand_over(&mut self, make: &Make) -> Result<()> {
        make.clone_into(&mut self.make);
        self.restart()
    }

    /// Waits until the running agent has delivered `events` since it started.
    pub fn wait_for(&mut self, events: u64, limit: Duration) -> Result<()> {
        if let Some(agent) = &mut self.agent {
            agent.wait_until(limit, &format!("{events} events delivered"), |metrics| {
                metrics
                    .count("SINK.k1", "EventDrainSuccessCount")
                    .is_some_and(|count| count >= events)
            })?;
        }
        Ok(())
    }
}

fn config(dir: &Path, extra: &str) -> String {
    let more = format!(
        "a1.sources.r1.writePosInterval = 100\n\
         a1.sources.r1.backoffSleepIncrement = 50\n\
         a1.sources.r1.maxBackoffSleep = 50\n\
         a1.channels.c1.keep-alive = 1\n\
         {extra}\n"
    );
    tail_to_roll(dir, MEMORY, &more)
}

/// A memory channel for [`tail_to_roll`].
pub const MEMORY: &str = "a1.channels.c1.type = memory\n\
                          a1.channels.c1.capacity = 100000\n\
                          a1.channels.c1.transactionCapacity = 1000\n";

/// Agent `a1`: all logs in `dir/logs` through the channel of the lines `channel` into one file in
/// `dir/out`, 1000 events at a time, with `more` lines.
pub fn tail_to_roll(dir: &Path, channel: &str, more: &str) -> String {
    let dir = dir.display();
    format!(
        "a1.sources = r1\n\
         a1.channels = c1\n\
         a1.sinks = k1\n\
         a1.sources.r1.type = TAILDIR\n\
         a1.sources.r1.channels = c1\n\
         a1.sources.r1.filegroups = g\n\
         a1.sources.r1.filegroups.g = {dir}/logs/.*\\\\.log\n\
         a1.sources.r1.positionFile = {dir}/position.json\n\
         a1.sources.r1.batchSize = 1000\n\
         {channel}\
         a1.sinks.k1.type = file_roll\n\
         a1.sinks.k1.channel = c1\n\
         a1.sinks.k1.sink.directory = {dir}/out\n\
         a1.sinks.k1.sink.rollInterval = 0\n\
         a1.sinks.k1.sink.batchSize = 1000\n\
         {more}"
    )
}
