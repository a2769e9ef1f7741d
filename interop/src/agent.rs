//! One running agent process, Flume's or ours: started on a configuration text, watched, measured and always reaped.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::peers::{Make, Peers};
pub use crate::ports::free_port;
use crate::scrape::{Metrics, fetch};

/// A JVM on a busy machine takes its time, and Flume's file channel minutes with millions of events in it; past this
/// it will not come.
const START_LIMIT: Duration = Duration::from_secs(300);
/// How long an agent may drain after SIGTERM before it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(90);
const LOG_TAIL_LINES: usize = 30;

/// The agent's name in every configuration that this crate starts.
pub const AGENT: &str = "a1";

/// What a start says on the command line, beside the monitoring port.
#[derive(Clone, Copy, Debug)]
pub struct Launch<'a> {
    /// `-n`.
    pub agent: &'a str,
    /// `-f`, by its name in the run's directory; it need not exist.
    pub file: &'a str,
    /// Seconds between looks for a changed file; `None` is `--no-reload-conf`.
    pub poll_seconds: Option<u32>,
    /// `-z`, and no file then.
    pub zookeeper: Option<&'a str>,
}

impl Default for Launch<'_> {
    fn default() -> Self {
        Launch { agent: AGENT, file: "flume.conf", poll_seconds: None, zookeeper: None }
    }
}

/// A running agent. Dropping it kills the process; [`Agent::stop`] is the orderly way.
#[derive(Debug)]
pub struct Agent {
    name: &'static str,
    child: Child,
    port: u16,
    log: PathBuf,
    ready_after: Duration,
}

/// What a process has used so far.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// User and system time, in steps of the kernel's clock tick.
    pub cpu: Duration,
    /// Resident memory now, in bytes.
    pub resident_bytes: u64,
    /// The largest resident memory so far, in bytes.
    pub peak_bytes: u64,
}

impl Agent {
    /// Writes `config` into `dir` as `flume.conf` and starts an agent named `a1` on it, see [`Agent::launch`].
    pub fn start(make: &Make, dir: &Path, config: &str) -> Result<Agent> {
        let launch = Launch::default();
        let conf = dir.join(launch.file);
        fs::write(&conf, config).with_context(|| format!("writing {}", conf.display()))?;
        Agent::launch(make, dir, launch)
    }

    /// Starts an agent and waits until it is ready: components started and the monitoring port answering. Its log is
    /// `dir/agent.log`. Fails with the log's end when the process ends early or is not ready after five minutes.
    pub fn launch(make: &Make, dir: &Path, launch: Launch<'_>) -> Result<Agent> {
        let began = Instant::now();
        let mut agent = Agent::spawn(make, dir, launch)?;
        agent.wait_until_ready(make, began)?;
        Ok(agent)
    }

    /// The same without waiting: Flume opens its monitoring port only once it has something to run.
    pub fn spawn(make: &Make, dir: &Path, launch: Launch<'_>) -> Result<Agent> {
        let port = free_port()?;
        let log = dir.join("agent.log");
        let said = File::options().create(true).append(true).open(&log)?;
        let monitoring =
            ["-Dflume.monitoring.type=http".to_owned(), format!("-Dflume.monitoring.port={port}")];
        let mut command = match make {
            Make::Flume(peers) => flume(peers, dir, &monitoring)?,
            Make::Splashdam(binary) => splashdam(binary, &monitoring),
        };
        match launch.poll_seconds {
            Some(seconds) => command.args(["--poll-interval", &seconds.to_string()]),
            None => command.arg("--no-reload-conf"),
        };
        match launch.zookeeper {
            Some(zookeeper) => command.args(["-z", zookeeper]),
            None => command.arg("-f").arg(dir.join(launch.file)),
        };
        command
            .args(["-n", launch.agent])
            .env("LC_ALL", "C.UTF-8")
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(said.try_clone()?)
            .stderr(said);
        let child =
            command.spawn().with_context(|| format!("starting {:?}", command.get_program()))?;
        Ok(Agent { name: make.name(), child, port, log, ready_after: Duration::ZERO })
    }

    /// From just before `exec` until the agent said it was ready.
    pub fn ready_after(&self) -> Duration {
        self.ready_after
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The monitoring port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Asks for the counters.
    pub fn metrics(&self) -> Result<Metrics> {
        Metrics::scrape(self.port)
    }

    /// Waits until `reached` says so of the counters, asking every few milliseconds; a busy agent may leave some
    /// questions without an answer. Fails, naming the last counters and the log's end, when the limit passes or the
    /// process ends.
    pub fn wait_until(
        &mut self,
        limit: Duration,
        what: &str,
        reached: impl Fn(&Metrics) -> bool,
    ) -> Result<Metrics> {
        let began = Instant::now();
        loop {
            let metrics = match self.metrics() {
                Ok(metrics) if reached(&metrics) => return Ok(metrics),
                metrics => metrics,
            };
            self.still_running()?;
            if began.elapsed() > limit {
                bail!(
                    "{}: no {what} within {limit:?}, counters {metrics:?}\n{}",
                    self.name,
                    self.log_tail()
                );
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// CPU time and memory so far. Linux only: it reads `/proc`.
    pub fn usage(&self) -> Result<Usage> {
        let proc = PathBuf::from(format!("/proc/{}", self.id()));
        let stat = fs::read_to_string(proc.join("stat"))?;
        let status = fs::read_to_string(proc.join("status"))?;
        Ok(Usage {
            cpu: cpu(&stat).context("no CPU times in /proc/PID/stat")?,
            resident_bytes: memory(&status, "VmRSS:").context("no VmRSS in /proc/PID/status")?,
            peak_bytes: memory(&status, "VmHWM:").context("no VmHWM in /proc/PID/status")?,
        })
    }

    /// Sends SIGTERM, waits for the end, kills after a limit. Answers the exit status; needing to kill is an error.
    pub fn stop(mut self) -> Result<ExitStatus> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(status);
        }
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if began.elapsed() > STOP_LIMIT {
                // Dropping `self` kills and reaps.
                bail!(
                    "{} did not end within {STOP_LIMIT:?} of SIGTERM\n{}",
                    self.name,
                    self.log_tail()
                );
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends the process as a crash would, and reaps it.
    pub fn kill(mut self) -> Result<ExitStatus> {
        self.child.kill()?;
        Ok(self.child.wait()?)
    }

    /// Fails with the log's end when the process has ended.
    pub fn still_running(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("{} ended early with {status}\n{}", self.name, self.log_tail()),
            None => Ok(()),
        }
    }

    /// Waits until the process has ended by itself, and answers how.
    pub fn ended(&mut self, limit: Duration) -> Result<ExitStatus> {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if began.elapsed() > limit {
                bail!("{} did not end within {limit:?}\n{}", self.name, self.log_tail());
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// The last lines of the agent's log.
    pub fn log_tail(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
    }

    /// Where a source of our agent said that it listens, in order. With `port = 0` in its configuration that is a port
    /// that nobody else can have taken meanwhile.
    pub fn listening(&self, source: &str) -> Result<Vec<SocketAddr>> {
        let text = fs::read_to_string(&self.log)?;
        let named = format!(" source {source}: listening for ");
        let addresses = text.lines().filter(|line| line.contains(&named)).map(|line| {
            let (_, rest) = line.split_once("address=").context("a source says no address")?;
            let address = rest.split_whitespace().next().unwrap_or_default();
            address.parse().with_context(|| format!("`{address}` is no address"))
        });
        let addresses: Vec<_> = addresses.collect::<Result<_>>()?;
        ensure!(!addresses.is_empty(), "source {source} does not listen\n{}", self.log_tail());
        Ok(addresses)
    }

    fn wait_until_ready(&mut self, make: &Make, began: Instant) -> Result<()> {
        // Flume opens its port after it has started its components; ours has a question of its own for that.
        let path = match make {
            Make::Flume(_) => "/metrics",
            Make::Splashdam(_) => "/readyz",
        };
        loop {
            if fetch(self.port, path).is_ok_and(|(status, body)| has_started(status, &body)) {
                self.ready_after = began.elapsed();
                return Ok(());
            }
            self.still_running()?;
            if began.elapsed() > START_LIMIT {
                bail!("{} is not ready after {START_LIMIT:?}\n{}", self.name, self.log_tail());
            }
            // Closely watched at first, where a native binary answers; a JVM is not worth the spinning.
            let early = began.elapsed() < Duration::from_millis(200);
            thread::sleep(if early {
                Duration::from_micros(500)
            } else {
                Duration::from_millis(10)
            });
        }
    }
}

/// Whether an agent has begun with all that it will begin with: Flume calls that started whatever its
/// configuration left out, ours is not ready then, and says so.
fn has_started(status: u16, body: &[u8]) -> bool {
    let report = || serde_json::from_slice::<serde_json::Value>(body).unwrap_or_default();
    let left_out = |problem: &serde_json::Value| {
        let reason = problem["reason"].as_str().unwrap_or_default();
        reason.contains("it is left out: ") || reason.starts_with("nothing is configured")
    };
    status == 200
        || report()["problems"].as_array().is_some_and(|problems| problems.iter().all(left_out))
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Errors mean that the process is gone already, which is what is wanted.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn splashdam(binary: &Path, monitoring: &[String]) -> Command {
    let mut command = Command::new(binary);
    command.arg("agent").args(monitoring);
    command
}

fn flume(peers: &Peers, dir: &Path, monitoring: &[String]) -> Result<Command> {
    let logging = dir.join("log4j2.xml");
    fs::write(&logging, LOG4J2)?;
    let mut command = Command::new(&peers.java);
    command
        .args(["-Xmx1g", "-Dfile.encoding=UTF-8"])
        .args(&peers.java_options)
        .args(["--add-opens", "java.base/java.nio=ALL-UNNAMED"])
        .args(["--add-opens", "java.base/sun.nio.ch=ALL-UNNAMED"])
        .arg(format!("-Dlog4j2.configurationFile={}", logging.display()))
        // State that a configuration does not place elsewhere goes to `~/.flume`; here home is the run's folder.
        .arg(format!("-Duser.home={}", dir.display()))
        .args(monitoring)
        .arg("-cp")
        .arg(peers.flume_jars.join("*"))
        .arg("org.apache.flume.node.Application");
    Ok(command)
}

const LOG4J2: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<Configuration status="ERROR">
  <Appenders>
    <Console name="out"><PatternLayout pattern="%d %p %c{1} [%t] %m%n"/></Console>
  </Appenders>
  <Loggers>
    <Root level="INFO"><AppenderRef ref="out"/></Root>
  </Loggers>
</Configuration>
"#;

/// User and system time of `/proc/PID/stat`: fields 14 and 15, counted behind the name, which may hold blanks.
fn cpu(stat: &str) -> Option<Duration> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    let per_second = rustix::param::clock_ticks_per_second();
    Some(Duration::from_millis((user + system).checked_mul(1000)?.checked_div(per_second)?))
}

/// A line such as `VmHWM:     1234 kB` in bytes.
fn memory(status: &str, key: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    let kibibytes: u64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{cpu, memory};

    #[test]
    fn reads_proc() {
        let stat = "7 (a (b) c) S 1 7 7 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 9 0 12345 1000 200";
        let ticks = rustix::param::clock_ticks_per_second();
        assert_eq!(cpu(stat), Some(Duration::from_millis(200 * 1000 / ticks)));
        assert_eq!(cpu("7 (x) S 1"), None);
        let status = "Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t     512 kB\n";
        assert_eq!(memory(status, "VmHWM:"), Some(2 << 20));
        assert_eq!(memory(status, "VmSwap:"), None);
    }
}
