//! Workload `jms-1000`: messages of a queue of ActiveMQ Artemis through a file channel.

use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use splashdam_interop::jms::{Brand, JmsBroker, JmsPeer};
use splashdam_interop::{Agent, Make, Peers};
use tempfile::TempDir;

use crate::options::{Options, Side};
use crate::workload::{FLOW, Run, Workload};

pub(crate) const WORKLOAD: Workload = Workload {
    name: "jms-1000",
    title: "JMS: a queue of Artemis → file → null, batches of 1000",
    about,
    quantities: FLOW,
    prepare,
    peer: None,
};

const BODY_BYTES: u32 = 200;
/// Sent by one command.
const LOT: usize = 50_000;
/// How long one of an agent's lots may take.
const LIMIT: Duration = Duration::from_secs(300);
const LOOK: Duration = Duration::from_millis(10);

/// Messages before those that are measured, and these.
struct Amounts {
    warm_up: u64,
    measured: u64,
}

fn amounts(options: &Options) -> Amounts {
    let (warm_up, measured) = if options.quick { (20_000, 20_000) } else { (300_000, 300_000) };
    Amounts { warm_up, measured }
}

fn about(options: &Options) -> String {
    let Amounts { warm_up, measured } = amounts(options);
    format!(
        "A queue of ActiveMQ Artemis 2.37 on this machine is filled with {} messages of {BODY_BYTES} bytes, then an agent \
         is started: source `jms` with batches of 1000, a file channel, a null sink. Its first {warm_up} events warm it \
         up, and its next {measured} are measured, by the source's count of events accepted. Flume speaks Artemis' own \
         protocol to it, splashdam AMQP 1.0. Before the rounds the broker is warmed up by one such lot for each. \
         The broker takes its share of the machine, and is the same for both.",
        warm_up + measured
    )
}

/// A broker that serves all runs.
struct Site {
    broker: JmsBroker,
    /// Each run has a queue of its own, as what one leaves behind is no part of the next.
    queues: u32,
    _dir: TempDir,
}

fn prepare(options: &Options) -> Result<Run> {
    let (base, amounts) = (options.dir.clone(), amounts(options));
    let dir = tempfile::tempdir_in(&base)?;
    let broker = JmsPeer::available(Brand::Artemis)?.at_length().start(dir.path(), None)?;
    let mut site = Site { broker, queues: 0, _dir: dir };
    // It compiles what either protocol takes.
    if options.side != Some(Side::Splashdam) {
        site.run(&Make::flume()?, tempfile::tempdir_in(&base)?, &amounts)?;
    }
    if options.side != Some(Side::Flume) {
        site.run(&Make::splashdam()?, tempfile::tempdir_in(&base)?, &amounts)?;
    }
    let site = Mutex::new(site);
    Ok(Box::new(move |make: &Make| {
        let mut site = site.lock().ok().context("an earlier run panicked")?;
        site.run(make, tempfile::tempdir_in(&base)?, &amounts)
    }))
}

impl Site {
    fn run(&mut self, make: &Make, dir: TempDir, amounts: &Amounts) -> Result<Vec<f64>> {
        let Amounts { warm_up, measured } = *amounts;
        let make = match make {
            Make::Flume(_) => {
                let mut peers = Peers::with_jms()?;
                // Without it Flume connects nowhere but to `java:`.
                peers.java_options.push("-DJndiAllowedProtocols=tcp");
                Make::Flume(peers)
            }
            ours => ours.clone(),
        };
        self.queues += 1;
        let queue = format!("bench{}", self.queues);
        let all = warm_up + measured;
        for sent in (0..all).step_by(LOT) {
            let lot = all.min(sent + LOT as u64) - sent;
            self.broker.drive(&format!("large {queue} {BODY_BYTES} {lot}"))?;
        }
        let config = config(&make, self.broker.port(), &queue, &dir);
        let mut agent = Agent::start(&make, dir.path(), &config)?;
        let before = accepted(&mut agent, warm_up)?;
        let (began, cpu) = (Instant::now(), agent.usage()?.cpu);
        let after = accepted(&mut agent, warm_up + measured)?;
        let (elapsed, usage) = (began.elapsed(), agent.usage()?);
        agent.kill()?;
        let events = (after - before) as f64;
        Ok(vec![
            events / elapsed.as_secs_f64(),
            (usage.cpu - cpu).as_secs_f64() / (events / 1e6),
            usage.peak_bytes as f64,
        ])
    }
}

/// Waits until the source has so many events, and answers how many it has.
fn accepted(agent: &mut Agent, wanted: u64) -> Result<u64> {
    let began = Instant::now();
    loop {
        let count = agent.metrics()?.count("SOURCE.r1", "EventAcceptedCount").unwrap_or(0);
        if count >= wanted {
            return Ok(count);
        }
        agent.still_running()?;
        if began.elapsed() > LIMIT {
            bail!("{count} of {wanted} events after {LIMIT:?}\n{}", agent.log_tail());
        }
        thread::sleep(LOOK);
    }
}

fn config(make: &Make, port: u16, queue: &str, dir: &TempDir) -> String {
    let scheme = if matches!(make, Make::Flume(_)) { "tcp" } else { "amqp" };
    let dir = dir.path().display();
    format!(
        "a1.sources = r1\n\
         a1.channels = c1\n\
         a1.sinks = k1\n\
         a1.sources.r1.type = jms\n\
         a1.sources.r1.channels = c1\n\
         a1.sources.r1.initialContextFactory = org.apache.activemq.artemis.jndi.ActiveMQInitialContextFactory\n\
         a1.sources.r1.connectionFactory = ConnectionFactory\n\
         a1.sources.r1.providerURL = {scheme}://127.0.0.1:{port}\n\
         a1.sources.r1.destinationName = {queue}\n\
         a1.sources.r1.destinationType = queue\n\
         a1.sources.r1.batchSize = 1000\n\
         a1.channels.c1.type = file\n\
         a1.channels.c1.checkpointDir = {dir}/checkpoint\n\
         a1.channels.c1.dataDirs = {dir}/data\n\
         a1.sinks.k1.type = null\n\
         a1.sinks.k1.channel = c1\n\
         a1.sinks.k1.batchSize = 1000\n"
    )
}
