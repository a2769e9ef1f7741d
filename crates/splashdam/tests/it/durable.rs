//! File channels of real processes: what kills, stops, full disks and failing syncs leave of what was acknowledged.
//!
//! Senders talk to a netcat source and note which lines were answered `OK`; `file_roll` writes what comes out. In
//! the end every line that was answered is there, in its sender's order, and a line is there twice only if a take of
//! it was under way when the process was killed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::waiting::{PATIENCE, ended, until};

mod external;
mod faults;
mod kills;
mod order;
mod refusals;
mod rotation;
mod space;

/// Events in one take. Takes whose commits are under way come again, but the sink passes over what it
/// has noted: only the one that was being written may be there twice.
const TAKE: usize = 10;
const TAKES: usize = 1;
/// Lines that a sender sends before it waits for the answers.
const BURST: u64 = 25;

const CONFIG: &str = "
a1.sources = r1
a1.channels = c1
a1.sinks = k1
a1.sources.r1.type = netcat
a1.sources.r1.channels = c1
a1.sources.r1.bind = 127.0.0.1
a1.sources.r1.port = 0
a1.channels.c1.type = file
a1.channels.c1.dataDirs = DATA
a1.channels.c1.maxFileSize = 1048576
a1.channels.c1.minimumRequiredSpace = 1048576
a1.channels.c1.keep-alive = 1
a1.sinks.k1.type = file_roll
a1.sinks.k1.channel = c1
a1.sinks.k1.sink.directory = $/out
a1.sinks.k1.sink.rollInterval = 0
a1.sinks.k1.sink.batchSize = 10
";

/// A directory of a test's own, with a configuration in it.
struct Site {
    dir: TempDir,
    config: String,
}

impl Site {
    /// `data` is the value of `dataDirs`; `$` stands for the directory there and in `more` lines.
    fn new(data: &str, more: &str) -> Site {
        let dir = tempfile::tempdir().unwrap();
        let config = format!("{CONFIG}{more}").replace("DATA", data);
        let config = config.replace('$', dir.path().to_str().unwrap());
        Site { dir, config }
    }

    /// The same with the directory for the output, without which the sink does not open.
    fn draining(data: &str) -> Site {
        let site = Site::new(data, "");
        site.drain();
        site
    }

    fn drain(&self) {
        fs::create_dir(self.path("out")).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn start(&self) -> Process {
        self.start_under(&[], &[])
    }

    /// Starts the agent as the last arguments of a command, unless that is empty.
    fn start_under(&self, under: &[&str], environment: &[(&str, &Path)]) -> Process {
        let conf = self.path("flume.conf");
        fs::write(&conf, &self.config).unwrap();
        let log =
            self.path(&format!("agent-{}.log", fs::read_dir(self.dir.path()).unwrap().count()));
        let binary = env!("CARGO_BIN_EXE_splashdam");
        let mut words = under.iter().copied().chain([binary]);
        let child = Command::new(words.next().unwrap())
            .args(words)
            .args(["agent", "-n", "a1", "--no-reload-conf", "-f"])
            .arg(&conf)
            .args(["-Dflume.monitoring.type=http", "-Dflume.monitoring.port=0"])
            .arg("-Dflume.monitoring.host=127.0.0.1")
            .envs(environment.iter().copied())
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Process { child, log }
    }

    /// Starts it and waits until lines are taken; a sink without a directory is not ready then.
    fn ready(&self) -> Process {
        let process = self.start();
        process.netcat();
        process
    }
}

/// An agent's process; killed when dropped.
struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    fn says(&self, text: &str) {
        until(|| self.log().contains(text), || format!("{text:?} in the log:\n{}", self.log()));
    }

    fn address(&self, line: &str) -> String {
        let says = || self.log().lines().any(|said| said.contains(line));
        until(says, || format!("{line:?} in the log:\n{}", self.log()));
        let log = self.log();
        let said = log.lines().find(|said| said.contains(line)).unwrap();
        let (_, address) = said.split_once("address=").unwrap();
        address.split_whitespace().next().unwrap().to_owned()
    }

    /// Where the netcat source listens.
    fn netcat(&self) -> String {
        self.address("listening for lines")
    }

    /// Status and body of what monitoring answers.
    fn ask(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address("serving metrics")).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// A value of the channel, by its Prometheus name.
    fn metric(&self, name: &str) -> u64 {
        let (_, text) = self.ask("/metrics/prometheus");
        let start = format!("{name}{{component=\"c1\"}} ");
        let value = text.lines().find_map(|line| line.strip_prefix(&start));
        value.unwrap_or_else(|| panic!("no {name} in\n{text}")).parse().unwrap()
    }

    fn taken(&self) -> u64 {
        let (_, text) = self.ask("/metrics");
        let all: serde_json::Value = serde_json::from_str(&text).unwrap();
        all["CHANNEL.c1"]["EventTakeSuccessCount"].as_str().unwrap().parse().unwrap()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn running(&mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("ended with {status}:\n{}", self.log());
        }
    }

    fn ended(&mut self) -> ExitStatus {
        ended(&mut self.child, &self.log)
    }

    fn stop(mut self) -> String {
        self.signal(Signal::TERM);
        let status = self.ended();
        assert!(status.success(), "{status}:\n{}", self.log());
        self.log()
    }

    /// Waits until everything in the channel is out, and stops.
    fn drain_and_stop(self) -> String {
        let left = || {
            let queued = self.metric("splashdam_channel_queued_events");
            (queued, self.metric("splashdam_channel_leased_events"))
        };
        until(
            || left() == (0, 0),
            || format!("{:?} queued and leased to come out:\n{}", left(), self.log()),
        );
        self.stop()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended long ago.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A number from the environment, for the long forms of tests.
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().expect("a number"))
}

/// One client: numbered lines, and what was said to them.
struct Sender {
    name: String,
    /// Bytes that make lines longer.
    padding: String,
    next: u64,
    acknowledged: BTreeSet<u64>,
    refused: u64,
}

impl Sender {
    /// Sends bursts until told to stop, or until nobody is there any more.
    fn work(&mut self, address: &str, stop: &AtomicBool) {
        let Ok(stream) = TcpStream::connect(address) else { return };
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut answers = BufReader::new(stream.try_clone().unwrap());
        let mut stream = stream;
        while !stop.load(Ordering::Relaxed) {
            let burst = self.next..self.next + BURST;
            let text: String =
                burst.clone().map(|n| format!("{}-{n}{}\n", self.name, self.padding)).collect();
            self.next = burst.end;
            if stream.write_all(text.as_bytes()).is_err() {
                return;
            }
            for number in burst {
                let mut answer = String::new();
                match answers.read_line(&mut answer) {
                    Ok(_) if answer == "OK\n" => {
                        self.acknowledged.insert(number);
                    }
                    Ok(_) if answer.starts_with("FAILED") && answer.ends_with('\n') => {
                        self.refused += 1;
                    }
                    // Cut off, perhaps in the middle of a word.
                    _ => return,
                }
            }
        }
    }
}

/// How often takes were cut off while their commits were under way.
#[derive(Clone, Copy, Default)]
struct Cut {
    /// By an end of the process that it knew nothing of.
    kills: usize,
    /// By a sync that failed.
    syncs: usize,
}

/// Several clients at once.
struct Load {
    senders: Vec<Sender>,
}

impl Load {
    fn new(senders: u64, padding: usize) -> Load {
        let sender = |n| Sender {
            name: format!("s{n}"),
            padding: ".".repeat(padding),
            next: 0,
            acknowledged: BTreeSet::new(),
            refused: 0,
        };
        Load { senders: (0..senders).map(sender).collect() }
    }

    /// Sends while `act` acts.
    fn during<T>(&mut self, address: &str, act: impl FnOnce() -> T) -> T {
        /// Tells the senders also when `act` panics.
        struct Stop<'a>(&'a AtomicBool);
        impl Drop for Stop<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let stopped = AtomicBool::new(false);
        thread::scope(|scope| {
            for sender in &mut self.senders {
                scope.spawn(|| sender.work(address, &stopped));
            }
            let _stop = Stop(&stopped);
            act()
        })
    }

    fn acknowledged(&self) -> usize {
        self.senders.iter().map(|sender| sender.acknowledged.len()).sum()
    }

    fn refused(&self) -> u64 {
        self.senders.iter().map(|sender| sender.refused).sum()
    }

    /// Looks at all that came out, and says it in numbers.
    fn check(&self, out: &Path, cut: Cut) -> String {
        let files = output(out);
        let mut at: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
        let (mut repeated, mut strangers) = (0, 0);
        let mut newest: BTreeMap<&str, u64> = BTreeMap::new();
        for (file, lines) in files.iter().enumerate() {
            for (index, line) in lines.iter().enumerate() {
                let line = line.trim_end_matches('.');
                let (name, number) = line.split_once('-').unwrap_or_else(|| panic!("{line:?}"));
                let number: u64 = number.parse().unwrap_or_else(|_| panic!("{line:?}"));
                let sender = self.senders.iter().find(|sender| sender.name == name);
                let sender = sender.unwrap_or_else(|| panic!("nobody sent {line:?}"));
                assert!(number < sender.next, "nobody sent {line:?}");
                if let Some((earlier, place)) = at.insert(line, (file, index)) {
                    repeated += 1;
                    let behind = if earlier < file {
                        files[earlier].len() - place
                    } else {
                        // First all that was under way goes out, then all of it again.
                        assert!(cut.syncs > 0, "{line} came twice in one run");
                        (index - place).saturating_sub(TAKE * TAKES)
                    };
                    assert!(behind <= TAKE * TAKES, "{line} came again, {behind} lines later");
                    continue;
                }
                let before = newest.insert(name, number);
                assert!(before.is_none_or(|n| n < number), "{line} after {before:?} of its sender");
                strangers += usize::from(!sender.acknowledged.contains(&number));
            }
        }
        for sender in &self.senders {
            let missing: Vec<_> = sender
                .acknowledged
                .iter()
                .map(|n| format!("{}-{n}", sender.name))
                .filter(|line| !at.contains_key(line.as_str()))
                .collect();
            assert!(
                missing.is_empty(),
                "{} acknowledged lines are lost: {:?} …",
                missing.len(),
                &missing[..missing.len().min(5)]
            );
        }
        assert!(repeated <= (cut.kills + cut.syncs) * TAKE * TAKES, "{repeated} repeated");
        format!(
            "{} lines acknowledged, 0 lost, {repeated} delivered again, {strangers} delivered without an answer, {} refused",
            self.acknowledged(),
            self.refused()
        )
    }
}

/// Whole lines of each file, in the order in which the files were begun.
fn output(dir: &Path) -> Vec<Vec<String>> {
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.is_file());
    files.sort_by_key(|path| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let (at, number) = name.split_once('-').unwrap();
        (at.parse::<u64>().unwrap(), number.parse::<u64>().unwrap())
    });
    let lines = |path: &PathBuf| {
        let text = fs::read_to_string(path).unwrap();
        // A kill may cut the last write short; what it cut is written again.
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        text[..whole].lines().map(str::to_owned).collect()
    };
    files.iter().map(lines).collect()
}
