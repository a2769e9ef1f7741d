//! Agents as processes: what is appended arrives, a stop drains, a change applies, a crash of the
//! configuration changes nothing.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use tempfile::TempDir;

use crate::waiting::{ended, until};

/// An agent named `a1` at work in a directory of its own; killed when dropped.
pub(crate) struct Agent {
    child: Child,
    log: PathBuf,
}

impl Agent {
    pub(crate) fn start(dir: &Path, config: &str, options: &[&str]) -> Agent {
        let file = dir.join("flume.conf");
        fs::write(&file, config).unwrap();
        let arguments: Vec<&str> =
            ["-f", file.to_str().unwrap()].into_iter().chain(options.iter().copied()).collect();
        Agent::launch(dir, &arguments)
    }

    /// One whose configuration is somewhere else.
    pub(crate) fn launch(dir: &Path, arguments: &[&str]) -> Agent {
        let log = dir.join(format!("agent-{}.log", fs::read_dir(dir).unwrap().count()));
        let child = Command::new(env!("CARGO_BIN_EXE_splashdam"))
            .args(["agent", "-n", "a1"])
            .args(arguments)
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Agent { child, log }
    }

    fn ready(dir: &Path, config: &str, options: &[&str]) -> Agent {
        let agent = Agent::start(dir, config, options);
        agent.says("is running", 1);
        agent
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Waits until the log holds `text` `times` times.
    pub(crate) fn says(&self, text: &str, times: usize) {
        let what = || format!("{text:?} {times} times in the log:\n{}", self.log());
        until(|| self.log().matches(text).count() >= times, what);
    }

    /// Status and body of what monitoring answers, of an agent with [`MONITORED`]; nothing when nobody
    /// answers any more.
    pub(crate) fn asked(&self, path: &str) -> Option<(u16, String)> {
        let log = self.log();
        let (_, rest) = log.split_once("serving metrics")?.1.split_once("address=")?;
        let mut stream = TcpStream::connect(rest.split_whitespace().next()?).ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    }

    /// What monitoring says at `/metrics`.
    fn metrics(&self) -> serde_json::Value {
        serde_json::from_str(&self.asked("/metrics").unwrap().1).unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub(crate) fn ended(&mut self) -> ExitStatus {
        ended(&mut self.child, &self.log)
    }

    pub(crate) fn stop(mut self) -> String {
        self.signal(Signal::TERM);
        let status = self.ended();
        assert!(status.success(), "{status}:\n{}", self.log());
        self.log()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended long ago.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// All lines of all files in `dir`, in the order of the files' names.
pub(crate) fn lines(dir: &Path) -> Vec<String> {
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|path| path.is_file());
    files.sort_by_key(|path| {
        path.to_string_lossy().rsplit('-').next().map(|n| n.parse::<u64>().ok())
    });
    files
        .iter()
        .flat_map(|f| fs::read_to_string(f).unwrap().lines().map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|n| n.to_string()).collect()
}

pub(crate) fn directory() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in ["in", "out", "out2"] {
        fs::create_dir(dir.path().join(name)).unwrap();
    }
    dir
}

/// `$` stands for the directory.
fn in_dir(dir: &TempDir, config: &str) -> String {
    config.replace('$', dir.path().to_str().unwrap())
}

const TAIL: &str = "
a1.sources = r1
a1.channels = c1
a1.sinks = k1
a1.sources.r1.type = TAILDIR
a1.sources.r1.channels = c1
a1.sources.r1.filegroups = g
a1.sources.r1.filegroups.g = $/in/.*log
a1.sources.r1.positionFile = $/position.json
a1.channels.c1.type = memory
a1.sinks.k1.type = file_roll
a1.sinks.k1.channel = c1
a1.sinks.k1.sink.directory = $/out
a1.sinks.k1.sink.rollInterval = 0
";

const COUNT: &str = "
a1.sources = r1
a1.channels = c1
a1.sinks = k1
a1.sources.r1.type = seq
a1.sources.r1.batchSize = 10
a1.sources.r1.channels = c1
a1.channels.c1.type = memory
a1.sinks.k1.channel = c1
a1.sinks.k1.type = file_roll
a1.sinks.k1.sink.directory = $/out
a1.sinks.k1.sink.rollInterval = 0
";

pub(crate) const MONITORED: &[&str] = &[
    "-Dflume.monitoring.type=http",
    "-Dflume.monitoring.port=0",
    "-Dflume.monitoring.host=127.0.0.1",
];

#[test]
fn what_is_appended_appears_within_a_second_and_the_next_run_goes_on() {
    let dir = directory();
    let (config, out) = (in_dir(&dir, TAIL), dir.path().join("out"));
    let path = dir.path().join("in/app.log");
    let mut input = OpenOptions::new().create(true).append(true).open(path).unwrap();
    let mut written = 0;
    for run in 0..3 {
        // What comes while nobody is there waits for the next run.
        if run > 0 {
            writeln!(input, "{written}").unwrap();
            written += 1;
        }
        let agent = Agent::ready(dir.path(), &config, &[]);
        let took = [(); 5].map(|()| {
            let appended = Instant::now();
            writeln!(input, "{written}").unwrap();
            written += 1;
            until(|| lines(&out).len() >= written, || format!("{written} lines"));
            appended.elapsed()
        });
        println!("run {run}: lines took {took:?}");
        // The machine may be slow now and then; a file that is not watched is so each time.
        assert!(took.iter().min() < Some(&Duration::from_secs(1)), "a line took {took:?}");
        for _ in 0..200 {
            writeln!(input, "{written}").unwrap();
            written += 1;
        }
        until(|| lines(&out).len() >= written, || format!("{written} lines"));
        agent.stop();
        assert_eq!(lines(&out).len(), written, "run {run}");
    }
    let mut all = lines(&out);
    all.sort_by_key(|n| n.parse::<usize>().unwrap());
    assert_eq!(all, numbers(written));
}

#[test]
fn it_starts_and_stops_in_order() {
    let dir = directory();
    let log = Agent::ready(dir.path(), &in_dir(&dir, COUNT), &[]).stop();
    let texts = [
        "Post-validation flume configuration contains configuration for agents: [\"a1\"]",
        "Creating instance of channel c1 type memory",
        "Starting Channel c1",
        "Starting Sink k1",
        "Starting Source r1",
        "Stopping Source r1",
        "Stopping Sink k1",
        "Stopping Channel c1",
    ];
    let places = texts.map(|text| log.find(text));
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?} in\n{log}");
}

#[test]
fn a_stop_delivers_what_the_channel_holds() {
    let dir = directory();
    let agent = Agent::ready(dir.path(), &in_dir(&dir, COUNT), &[]);
    let out = dir.path().join("out");
    until(|| lines(&out).len() > 1000, || "a thousand lines".into());
    let log = agent.stop();
    let all = lines(&out);
    assert_eq!(all, numbers(all.len()), "a gap or a repeat");
    assert_eq!(all.len() % 10, 0, "batches of ten are whole");
    assert!(!log.contains("which are lost"), "{log}");
}

#[test]
fn a_stop_ends_with_the_grace_time_and_says_what_is_lost() {
    let dir = directory();
    let config = in_dir(&dir, COUNT).replace("/out\n", "/nowhere\n");
    let options = [&["--grace-time", "2"], MONITORED].concat();
    let mut agent = Agent::start(dir.path(), &config, &options);
    agent.says("nowhere", 1);
    agent.says("address=", 1);
    let held = || agent.metrics()["CHANNEL.c1"]["ChannelSize"].as_str() == Some("100");
    until(held, || format!("a full channel:\n{}", agent.log()));
    let start = Instant::now();
    agent.signal(Signal::TERM);
    assert_eq!(agent.ended().code(), Some(1), "a loss shows in the exit status");
    let (took, log) = (start.elapsed(), agent.log());
    println!("a grace time of 2 s took {took:?}");
    assert!(took < Duration::from_secs(12), "{took:?}");
    assert!(log.contains("closes with events in it, which are lost"), "{log}");
    assert!(log.contains("100 events in memory could not be delivered"), "{log}");
}

#[test]
fn memory_that_cannot_be_written_down_shows_in_the_exit_status() {
    const SPILLING: &str = "
a1.sources = r1
a1.channels = c1
a1.sinks = k1
a1.sources.r1.type = stress
a1.sources.r1.size = 1000
a1.sources.r1.maxTotalEvents = 100
a1.sources.r1.channels = c1
a1.channels.c1.type = SPILLABLEMEMORY
a1.channels.c1.dataDirs = $/data
a1.sinks.k1.channel = c1
a1.sinks.k1.type = file_roll
a1.sinks.k1.sink.directory = $/nowhere
";
    let dir = directory();
    let options = [MONITORED, &["--grace-time", "2"]].concat();
    let mut agent = Agent::start(dir.path(), &in_dir(&dir, SPILLING), &options);
    // It is not ready, as a sink lacks its directory.
    agent.says("address=", 1);
    let held = || agent.metrics()["CHANNEL.c1"]["ChannelSize"].clone();
    until(|| held() == "100", || format!("100 events in the channel:\n{}", agent.log()));
    // As good as a full disk: the log of the agent is shorter.
    let limit = Rlimit { current: Some(32 * 1024), maximum: None };
    prlimit(Some(Pid::from_child(&agent.child)), Resource::Fsize, limit).unwrap();
    agent.signal(Signal::TERM);
    assert_eq!(agent.ended().code(), Some(1), "a loss shows in the exit status");
    let log = agent.log();
    assert!(log.contains("100 events in memory could not be delivered or written down"), "{log}");
}

#[test]
fn signals_that_ask_after_its_state_end_nothing() {
    let dir = directory();
    let agent = Agent::ready(dir.path(), &in_dir(&dir, COUNT), &[]);
    for (times, signal) in [(1, Signal::USR1), (2, Signal::USR2), (3, Signal::QUIT)] {
        agent.signal(signal);
        agent.says("components follow", times);
        agent.says("phase=running", 3 * times);
    }
    agent.stop();
}

#[test]
fn a_second_signal_ends_at_once() {
    let dir = directory();
    let config = in_dir(&dir, COUNT).replace("/out\n", "/nowhere\n");
    let options = [MONITORED, &["--grace-time", "60"]].concat();
    let mut agent = Agent::start(dir.path(), &config, &options);
    agent.says("nowhere", 1);
    agent.says("serving metrics", 1);
    // What is in the channel keeps it from ending.
    let held = || agent.metrics()["CHANNEL.c1"]["ChannelSize"].as_str().is_some_and(|n| n != "0");
    until(held, || format!("events in the channel:\n{}", agent.log()));
    agent.signal(Signal::TERM);
    agent.says("stopping; a second signal", 1);
    // One that comes at once is an echo of the first.
    agent.signal(Signal::TERM);
    agent.says("taken for the first one still", 1);
    sleep(Duration::from_millis(1100));
    assert!(agent.child.try_wait().unwrap().is_none(), "{}", agent.log());
    agent.signal(Signal::TERM);
    let start = Instant::now();
    assert_eq!(agent.ended().code(), Some(143));
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_hundred_changes_of_a_sink_lose_nothing_and_disturb_nobody() {
    let dir = directory();
    let config = |turn: usize| {
        let changed = format!("{COUNT}a1.sinks.k1.sink.batchSize = {}\n", 1 + turn % 90);
        let other = COUNT.replace("c1", "c2").replace("k1", "k2").replace("r1", "r2");
        let other = other.replace("/out", "/out2");
        let own =
            |line: &&str| line.contains(".r2.") || line.contains(".c2.") || line.contains(".k2.");
        let other: Vec<&str> = other.lines().filter(own).collect();
        let both = changed
            .replace("sources = r1", "sources = r1 r2")
            .replace("channels = c1\na1.sinks =", "channels = c1 c2\na1.sinks =")
            .replace("sinks = k1", "sinks = k1 k2");
        in_dir(&dir, &format!("{both}{}\n", other.join("\n")))
    };
    let agent = Agent::ready(dir.path(), &config(0), &[]);
    let (out, out2) = (dir.path().join("out"), dir.path().join("out2"));
    for turn in 1..=100 {
        let before = fs::metadata(newest(&out)).unwrap().len();
        let next = dir.path().join("flume.conf.next");
        fs::write(&next, config(turn)).unwrap();
        fs::rename(&next, dir.path().join("flume.conf")).unwrap();
        agent.signal(Signal::HUP);
        agent.says("the changed configuration is in force", turn);
        if turn % 10 == 0 {
            let grows = || fs::metadata(newest(&out)).unwrap().len() != before;
            until(grows, || "events after a change".into());
        }
    }
    let log = agent.stop();
    for (dir, starts) in [(&out, 101), (&out2, 1)] {
        let mut all = lines(dir);
        let distinct: BTreeSet<usize> = all.iter().map(|n| n.parse().unwrap()).collect();
        assert_eq!(distinct.len(), all.len(), "an event came twice");
        assert_eq!(distinct.last().map(|n| n + 1), Some(all.len()), "an event is missing");
        all.clear();
        let sink = if starts == 1 { "k2" } else { "k1" };
        assert_eq!(log.matches(&format!("Starting Sink {sink}")).count(), starts);
    }
    for unchanged in ["Source r1", "Source r2", "Channel c1", "Channel c2"] {
        assert_eq!(log.matches(&format!("Starting {unchanged}")).count(), 1, "{unchanged}");
    }
    println!(
        "100 changes: {} and {} events, none lost, none repeated",
        lines(&out).len(),
        lines(&out2).len()
    );
}

#[test]
fn monitoring_goes_on_through_a_change() {
    let dir = directory();
    let config = in_dir(&dir, COUNT).replace("batchSize = 10", "totalEvents = 5");
    let agent = Agent::ready(dir.path(), &config, MONITORED);
    until(|| lines(&dir.path().join("out")).len() == 5, || "five events".into());
    let before = agent.metrics();
    let changed = format!("{config}a1.sinks.k1.sink.batchSize = 7\n");
    fs::write(dir.path().join("flume.conf"), changed).unwrap();
    agent.signal(Signal::HUP);
    agent.says("the changed configuration is in force", 1);
    let after = agent.metrics();
    for same in ["SOURCE.r1", "CHANNEL.c1"] {
        assert_eq!(after[same]["StartTime"], before[same]["StartTime"], "{same}");
    }
    assert_eq!(after["SOURCE.r1"]["EventAcceptedCount"], "5");
    assert_eq!(after["SINK.k1"]["EventDrainSuccessCount"], "0", "it was started anew");
    agent.stop();
}

fn newest(dir: &Path) -> PathBuf {
    let files = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    files
        .filter(|path| path.is_file())
        .max_by_key(|path| fs::metadata(path).and_then(|m| m.modified()).ok())
        .unwrap()
}

#[test]
fn a_broken_change_changes_nothing_and_the_next_good_one_applies() {
    let dir = directory();
    let config = in_dir(&dir, COUNT);
    let agent = Agent::ready(dir.path(), &config, &[]);
    let change = |text: &str| {
        fs::write(dir.path().join("flume.conf"), text).unwrap();
        agent.signal(Signal::HUP);
    };
    change(&config.replace("type = file_roll", "type = file_rol"));
    agent.says("nothing of it is applied", 1);
    let out = dir.path().join("out");
    let before = lines(&out).len();
    until(|| lines(&out).len() > before, || "events under the old configuration".into());
    change(&config.replace("batchSize = 10", "batchSize = 20"));
    agent.says("the changed configuration is in force", 1);
    agent.says("Starting Source r1", 2);
    let log = agent.stop();
    assert_eq!(log.matches("Starting Sink k1").count(), 1, "{log}");
}

#[test]
fn what_cannot_run_says_so() {
    let dir = directory();
    let check = |config: &str, says: &str| {
        let mut agent = Agent::start(dir.path(), config, &[]);
        let status = agent.ended();
        assert_eq!(status.code(), Some(1), "{says}");
        assert!(agent.log().contains(says), "{says:?} in\n{}", agent.log());
    };
    let good = in_dir(&dir, COUNT);
    check(&good.replace("type = seq", "type = com.example.Mine"), "com.example.Mine");
    check(&good.replace("type = memory", "type = nosuch"), "there is no channel type `nosuch`");
    check(&good.replace("type = file_roll", "type = hdfs"), "no sink of type `hdfs`");
    let group = "a1.sinkgroups = g\na1.sinkgroups.g.processor.type = failover\n";
    check(&format!("{good}{group}"), "has no sinks");
    check(&format!("{good}a1.sinks.k1.x = \\u00zz\n"), "flume.conf:13");

    // An agent that nobody configured idles, as in Flume, until somebody does.
    let agent = Agent::start(dir.path(), "b2.sources = r1\n", &[]);
    agent.says("the agent idles", 1);
    fs::write(dir.path().join("flume.conf"), &good).unwrap();
    agent.signal(Signal::HUP);
    agent.says("the changed configuration is in force", 1);
    until(|| !lines(&dir.path().join("out")).is_empty(), || "events".into());
    agent.stop();
}

#[test]
fn a_sink_may_be_named_like_a_group() {
    let dir = directory();
    let more = "
a1.sinks.k2.channel = c2
a1.sinks.k2.type = file_roll
a1.sinks.k2.sink.directory = $/out2
a1.channels.c2.type = memory
a1.sinkgroups = k1
a1.sinkgroups.k1.sinks = k2
a1.sinkgroups.k1.processor.type = default
";
    let both = COUNT
        .replace("a1.sinks = k1", "a1.sinks = k1 k2")
        .replace("channels = c1", "channels = c1 c2");
    let agent = Agent::ready(dir.path(), &in_dir(&dir, &format!("{both}{more}")), &[]);
    for out in ["out", "out2"] {
        let out = dir.path().join(out);
        until(|| !lines(&out).is_empty(), || "events from both".into());
    }
    agent.stop();
}

/// A sink takes several batches at once where its peer stores each event once; they are counted one by one.
#[test]
fn batches_over_a_hop_are_counted_by_their_size() {
    let dir = tempfile::tempdir().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = format!(
        "a1.sources = r1 r2
a1.channels = c1 c2
a1.sinks = k1 k2
a1.sources.r1.type = seq
a1.sources.r1.channels = c1
a1.sources.r1.totalEvents = 1000
a1.sources.r1.batchSize = 1000
a1.channels.c1.type = memory
a1.channels.c1.capacity = 1000
a1.channels.c1.transactionCapacity = 1000
a1.sinks.k1.type = avro
a1.sinks.k1.channel = c1
a1.sinks.k1.hostname = 127.0.0.1
a1.sinks.k1.port = {port}
a1.sinks.k1.batch-size = 100
a1.sources.r2.type = avro
a1.sources.r2.channels = c2
a1.sources.r2.bind = 127.0.0.1
a1.sources.r2.port = {port}
a1.channels.c2.type = memory
a1.channels.c2.capacity = 1000
a1.channels.c2.transactionCapacity = 1000
a1.sinks.k2.type = null
a1.sinks.k2.channel = c2
"
    );
    let agent = Agent::ready(dir.path(), &config, MONITORED);
    let sink = || agent.metrics()["SINK.k1"].clone();
    let done = || sink()["EventDrainSuccessCount"] == "1000";
    until(done, || format!("1000 events delivered: {:#}\n{}", sink(), agent.log()));
    let sink = sink();
    let count = |name: &str| sink[name].as_str().unwrap().parse::<u64>().unwrap();
    // The source may not be there yet when the first one is sent, which is then sent again.
    assert_eq!(count("BatchCompleteCount") * 100, count("EventDrainAttemptCount"), "{sink:#}");
    assert_eq!(count("BatchUnderflowCount"), 0, "{sink:#}");
}
