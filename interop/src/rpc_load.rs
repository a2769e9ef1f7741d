//! Load by Flume's RPC client for Java, with the times of its calls: `java/RpcLoad.java`.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::peers::Peers;

/// Java's start and the compiling of the driver may take this much longer than the load.
const START: Duration = Duration::from_secs(60);

/// What the clients do.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Clients, each with one batch under way.
    pub threads: u32,
    /// Events of a batch.
    pub batch: u32,
    /// Bytes of a body.
    pub body_bytes: u32,
    /// Batches a second of all clients together; 0: as many as go.
    pub batches_per_second: u32,
    /// What comes before.
    pub warm_up: Duration,
    /// How long is measured.
    pub measured: Duration,
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// Events acknowledged a second.
    pub events_per_second: f64,
    /// Seconds that one call took: median, 99th and 99.9th percentile.
    pub seconds: [f64; 3],
}

impl Load {
    /// Sends to this port of this machine. What the clients say goes to `dir`.
    pub fn run(&self, peers: &Peers, dir: &Path, port: u16) -> Result<Report> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("java/RpcLoad.java");
        let (said, wrote) = (dir.join("load.log"), dir.join("load.out"));
        let numbers = [
            u64::from(port),
            self.threads.into(),
            self.batch.into(),
            self.body_bytes.into(),
            self.batches_per_second.into(),
            self.warm_up.as_secs(),
            self.measured.as_secs(),
        ];
        let mut child = Command::new(&peers.java)
            .args(&peers.java_options)
            .arg("-Xmx512m")
            .arg("-cp")
            .arg(peers.flume_jars.join("*"))
            .arg(source)
            .args(numbers.map(|number| number.to_string()))
            .stdin(Stdio::null())
            .stdout(File::create(&wrote)?)
            .stderr(File::create(&said)?)
            .spawn()
            .context("starting java")?;
        let began = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if began.elapsed() > self.warm_up + self.measured + START {
                child.kill()?;
                child.wait()?;
                bail!("the clients do not come to an end");
            }
            thread::sleep(Duration::from_millis(10));
        };
        ensure!(status.success(), "the clients failed: {}", fs::read_to_string(said)?);
        let text = fs::read_to_string(wrote)?;
        let last = text.lines().last().unwrap_or_default();
        let numbers: Vec<f64> = last
            .split(' ')
            .map(str::parse)
            .collect::<Result<_, _>>()
            .with_context(|| format!("what the clients said: `{last}`"))?;
        let [events, seconds, p50, p99, p999, _most] = numbers[..] else {
            bail!("what the clients said: `{last}`")
        };
        Ok(Report {
            events_per_second: events / seconds,
            seconds: [p50, p99, p999].map(|micros| micros / 1e6),
        })
    }
}
