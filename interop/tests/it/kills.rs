//! Hops between agents that are killed again and again, with file channels on both sides: ours lose
//! nothing and repeat nothing; with a Flume on one side nothing is lost, and what is there twice is
//! counted.
//!
//! `SPLASHDAM_KILLS=500` says how many times, `SPLASHDAM_SEED` at which moments; how many in a hop
//! with Flume says `SPLASHDAM_FLUME_KILLS`.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use splashdam_interop::agent::free_port;
use splashdam_interop::{Agent, Make, outputs};
use tempfile::TempDir;

use crate::side_by_side::pair;

/// Lines that are put before each kill.
const LINES: u32 = 400;
/// How long everything may take to arrive in the end.
const LIMIT: Duration = Duration::from_secs(240);
const SEED: u64 = 1;

/// Sender and receiver, and their directories.
struct Hop {
    dir: TempDir,
    port: u16,
    /// `avro` or `thrift`.
    protocol: &'static str,
    makes: [Make; 2],
    /// The sender and the receiver.
    agents: [Option<Agent>; 2],
    lines: u32,
}

/// What arrived.
#[derive(Debug, PartialEq, Eq)]
struct Arrived {
    lost: u32,
    twice: usize,
}

fn number(name: &str, otherwise: u64) -> u64 {
    env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn file_channel(dir: &Path) -> String {
    format!(
        "a1.channels = c1\n\
         a1.channels.c1.type = file\n\
         a1.channels.c1.checkpointDir = {0}/checkpoint\n\
         a1.channels.c1.dataDirs = {0}/data\n\
         a1.channels.c1.minimumRequiredSpace = 1048576\n\
         a1.channels.c1.transactionCapacity = 1000\n",
        dir.display()
    )
}

impl Hop {
    fn start(protocol: &'static str, sender: &Make, receiver: &Make) -> Result<Hop> {
        let (dir, port) = (tempfile::tempdir()?, free_port()?);
        for name in ["sender", "receiver", "spool", "out"] {
            fs::create_dir(dir.path().join(name))?;
        }
        let makes = [sender.clone(), receiver.clone()];
        let mut hop = Hop { dir, port, protocol, makes, agents: [None, None], lines: 0 };
        hop.start_again(1)?;
        hop.start_again(0)?;
        Ok(hop)
    }

    fn site(&self, side: usize) -> PathBuf {
        self.dir.path().join(["sender", "receiver"][side])
    }

    fn config(&self, side: usize) -> String {
        let channel = file_channel(&self.site(side));
        let Hop { port, protocol, .. } = self;
        if side == 1 {
            return format!(
                "{channel}a1.sources = r1\na1.sinks =\n\
                 a1.sources.r1.type = {protocol}\n\
                 a1.sources.r1.bind = 127.0.0.1\n\
                 a1.sources.r1.port = {port}\n\
                 a1.sources.r1.channels = c1\n"
            );
        }
        let sink = |name: &str, batch: u32| {
            format!(
                "a1.sinks.{name}.type = {protocol}\n\
                 a1.sinks.{name}.channel = c1\n\
                 a1.sinks.{name}.hostname = 127.0.0.1\n\
                 a1.sinks.{name}.port = {port}\n\
                 a1.sinks.{name}.batch-size = {batch}\n"
            )
        };
        let spool = self.dir.path().join("spool");
        format!(
            "{channel}a1.sources = r1\na1.sinks = k1 k2\n\
             a1.sources.r1.type = spooldir\n\
             a1.sources.r1.spoolDir = {}\n\
             a1.sources.r1.channels = c1\n{}{}",
            spool.display(),
            sink("k1", 7),
            sink("k2", 13)
        )
    }

    fn start_again(&mut self, side: usize) -> Result<()> {
        let agent = Agent::start(&self.makes[side], &self.site(side), &self.config(side))?;
        self.agents[side] = Some(agent);
        Ok(())
    }

    fn kill(&mut self, side: usize) -> Result<()> {
        self.agents[side].take().context("it runs")?.kill()?;
        Ok(())
    }

    /// Puts some more lines, and kills one of the two in the midst of them.
    fn round(&mut self, random: u64) -> Result<()> {
        let next = self.lines + LINES;
        let text: String = (self.lines..next).map(|line| format!("{line}\n")).collect();
        let aside = self.dir.path().join("aside");
        fs::write(&aside, text)?;
        fs::rename(aside, self.dir.path().join(format!("spool/{:08}", self.lines)))?;
        self.lines = next;
        thread::sleep(Duration::from_millis(random % 180));
        let side = usize::from(random >> 32 & 1 == 1);
        self.kill(side)?;
        self.start_again(side)
    }

    /// Waits until all has been sent, and reads what the receiver has.
    fn end(mut self) -> Result<Arrived> {
        let mut sender = self.agents[0].take().context("it runs")?;
        let began = Instant::now();
        while !self.is_all_read()? {
            ensure!(began.elapsed() < LIMIT, "files are left: {}", sender.log_tail());
            thread::sleep(Duration::from_millis(50));
        }
        sender.wait_until(LIMIT, "empty channel", |metrics| {
            metrics.count("CHANNEL.c1", "ChannelSize") == Some(0)
        })?;
        sender.stop()?;
        self.kill(1)?;
        let out = self.dir.path().join("out");
        let writes = format!(
            "{}\
             a1.sinks.k1.type = file_roll\n\
             a1.sinks.k1.channel = c1\n\
             a1.sinks.k1.sink.directory = {}\n\
             a1.sinks.k1.sink.rollInterval = 0\n",
            self.config(1).replace("a1.sinks =\n", "a1.sinks = k1\n"),
            out.display()
        );
        let mut receiver = Agent::start(&self.makes[1], &self.site(1), &writes)?;
        receiver.wait_until(LIMIT, "empty channel", |metrics| {
            metrics.count("CHANNEL.c1", "ChannelSize") == Some(0)
        })?;
        receiver.stop()?;
        let mut seen = vec![0_usize; self.lines as usize];
        for line in outputs::lines(&out)? {
            let number: usize = line.parse().with_context(|| format!("a line {line:?}"))?;
            *seen.get_mut(number).with_context(|| format!("nobody put {number}"))? += 1;
        }
        let lost = seen.iter().map(|times| u32::from(*times == 0)).sum();
        Ok(Arrived { lost, twice: seen.iter().map(|times| times.saturating_sub(1)).sum() })
    }

    fn is_all_read(&self) -> Result<bool> {
        for entry in fs::read_dir(self.dir.path().join("spool"))? {
            let name = entry?.file_name();
            let name = name.to_string_lossy();
            if !name.starts_with('.') && !name.ends_with(".COMPLETED") {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Kills so often, at moments that follow from a seed.
fn killed(protocol: &'static str, sender: &Make, receiver: &Make, kills: u64) -> Result<Arrived> {
    let began = Instant::now();
    let mut hop = Hop::start(protocol, sender, receiver)?;
    let mut random = number("SPLASHDAM_SEED", SEED);
    for round in 0..kills {
        // Knuth's generator; its upper half is random enough.
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        hop.round(random >> 16).with_context(|| format!("round {round}"))?;
    }
    let lines = hop.lines;
    let arrived = hop.end()?;
    println!(
        "{protocol}, {} → {}: {kills} kills, {lines} events, {} lost, {} double, {:.0?}",
        sender.name(),
        receiver.name(),
        arrived.lost,
        arrived.twice,
        began.elapsed()
    );
    Ok(arrived)
}

#[test]
fn ours_are_killed_and_each_event_arrives_once() {
    let Some(([_, ours], _turn)) = pair() else { return };
    for protocol in ["avro", "thrift"] {
        let arrived = killed(protocol, &ours, &ours, number("SPLASHDAM_KILLS", 8)).unwrap();
        assert_eq!(arrived, Arrived { lost: 0, twice: 0 }, "{protocol}");
    }
}

#[test]
fn with_flume_at_one_side_nothing_is_lost() {
    let Some(([flume, ours], _turn)) = pair() else { return };
    let kills = number("SPLASHDAM_FLUME_KILLS", 3);
    for (sender, receiver) in [(&flume, &ours), (&ours, &flume)] {
        let arrived = killed("avro", sender, receiver, kills).unwrap();
        assert_eq!(arrived.lost, 0, "{} → {}", sender.name(), receiver.name());
    }
}
