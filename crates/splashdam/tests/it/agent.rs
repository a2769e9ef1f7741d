//! `splashdam agent` as a process: start, stop, reload, and what keeps it from running.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long anything may take before a test gives up.
const LIMIT: Duration = Duration::from_secs(30);

/// A counter into files below `{dir}/k1`, and beside it a flow that no test touches.
const FLOWS: &str = "\
a1.sources = r1 r2
a1.channels = c1 c2
a1.sinks = k1 k2
a1.sources.r1.type = seq
a1.sources.r1.batchSize = 10
a1.sources.r1.channels = c1
a1.channels.c1.type = memory
a1.sinks.k1.type = file_roll
a1.sinks.k1.channel = c1
a1.sinks.k1.sink.directory = {dir}/k1
a1.sinks.k1.sink.rollInterval = 0
a1.sources.r2.type = seq
a1.sources.r2.totalEvents = 5
a1.sources.r2.channels = c2
a1.channels.c2.type = memory
a1.sinks.k2.type = null
a1.sinks.k2.channel = c2
";

struct Agent {
    dir: TempDir,
    process: Child,
}

impl Agent {
    fn start(name: &str, config: &str) -> Agent {
        Agent::with_grace("20", name, config)
    }

    fn with_grace(seconds: &str, name: &str, config: &str) -> Agent {
        let dir = tempfile::tempdir().expect("there is room");
        fs::create_dir(dir.path().join("k1")).expect("there is room");
        write(dir.path(), config);
        let log = File::create(dir.path().join("log")).expect("there is room");
        let process = Command::new(env!("CARGO_BIN_EXE_splashdam"))
            .args(["agent", "-n", name, "-f", "flume.conf", "--grace-time", seconds])
            .args(["-Dflume.monitoring.type=http", "-Dflume.monitoring.port=0"])
            .arg("-Dflume.monitoring.host=127.0.0.1")
            .current_dir(dir.path())
            .env_clear()
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the program starts");
        Agent { dir, process }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).expect("it is there")
    }

    /// Waits until the log has `text` so many times.
    fn says(&self, text: &str, times: usize) {
        self.until(text, || self.log().matches(text).count() >= times);
    }

    fn until(&self, what: &str, done: impl Fn() -> bool) {
        let began = Instant::now();
        while !done() {
            assert!(began.elapsed() < LIMIT, "never: {what}\n{}", self.log());
            sleep(Duration::from_millis(10));
        }
    }

    fn bytes_delivered(&self) -> u64 {
        let files = fs::read_dir(self.dir.path().join("k1")).expect("it is there");
        files.map(|file| file.and_then(|f| f.metadata()).map_or(0, |m| m.len())).sum()
    }

    fn delivers_more(&self) {
        let before = self.bytes_delivered();
        self.until("more delivered", || self.bytes_delivered() > before);
    }

    /// What monitoring says at `/metrics`.
    fn metrics(&self) -> serde_json::Value {
        let log = self.log();
        let (_, rest) = log.split_once("address=").expect("it serves metrics");
        let address = rest.split_whitespace().next().expect("an address");
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        let (_, body) = answer.split_once("\r\n\r\n").expect("an answer");
        serde_json::from_str(body).expect("the answer is JSON")
    }

    fn signal(&self) {
        let kill = format!("kill -TERM {}", self.process.id());
        let killed = Command::new("/bin/sh").args(["-c", &kill]).status();
        assert!(killed.is_ok_and(|status| status.success()), "{}", self.log());
    }

    fn terminate(mut self) -> (ExitStatus, String, TempDir) {
        self.signal();
        let status = self.process.wait().expect("it ends");
        (status, self.log(), self.dir)
    }
}

/// As editors do it: beside, then in its place.
fn write(dir: &Path, config: &str) {
    let config = config.replace("{dir}", &dir.display().to_string());
    fs::write(dir.join("new"), config).expect("there is room");
    fs::rename(dir.join("new"), dir.join("flume.conf")).expect("it can be renamed");
}

/// That the files below `k1` count from 0 without gap or repeat.
fn counts_on(dir: &Path) {
    let mut files: Vec<_> = fs::read_dir(dir.join("k1"))
        .expect("it is there")
        .map(|file| file.expect("it is there"))
        .collect();
    // A sink that was started anew begins a file with a later time in its name.
    files.sort_by_key(fs::DirEntry::file_name);
    let mut next = 0u64;
    for file in files {
        for line in fs::read_to_string(file.path()).expect("it is text").lines() {
            assert_eq!(line.parse(), Ok(next));
            next += 1;
        }
    }
    assert!(next > 0);
}

fn in_order(log: &str, texts: &[&str]) {
    let places: Vec<_> = texts.iter().map(|text| log.find(text)).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{texts:?}: {log}");
}

#[test]
fn it_starts_and_stops_in_order_and_drains() {
    let agent = Agent::start("a1", FLOWS);
    agent.says("is running, ready after", 1);
    agent.delivers_more();
    let (status, log, dir) = agent.terminate();
    assert_eq!(status.code(), Some(0), "{log}");
    in_order(
        &log,
        &[
            "Post-validation flume configuration contains configuration for agents: [\"a1\"]",
            "Creating instance of channel c1 type memory",
            "Starting Channel c1",
            "Starting Sink k1",
            "Starting Source r1",
            "Stopping Source r1",
            "Stopping Sink k1",
            "Stopping Channel c1",
        ],
    );
    assert!(!log.contains("which are lost"), "{log}");
    counts_on(dir.path());
}

#[test]
fn a_stop_waits_no_longer_than_its_grace_time() {
    // The sink waits for its directory, so the channel cannot drain.
    let stuck = FLOWS.replace("{dir}/k1", "{dir}/none");
    let agent = Agent::with_grace("1", "a1", &stuck);
    agent.says("Starting Source r2", 1);
    let began = Instant::now();
    let (status, log, _dir) = agent.terminate();
    assert!(began.elapsed() < Duration::from_secs(10), "{log}");
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("closes with events in it, which are lost"), "{log}");

    let agent = Agent::with_grace("60", "a1", &stuck);
    agent.says("Starting Source r2", 1);
    agent.signal();
    agent.says("a second signal ends at once", 1);
    let (status, log, _dir) = agent.terminate();
    assert_eq!(status.code(), Some(143), "{log}");
}

#[test]
fn what_is_fatal_ends_with_a_status() {
    for (change, says) in [
        ("a1.sources.r1.type = nosuch", "there is no source type `nosuch`"),
        ("a1.channels.c1.type = com.example.Channel", "there is no channel type"),
        ("a1.sinks.k1.type = hdfs", "this version has no sink of type `hdfs`"),
        ("a1.sinkgroups = g\na1.sinkgroups.g.processor.type = failover", "has no sinks"),
    ] {
        let mut agent = Agent::start("a1", &format!("{FLOWS}{change}\n"));
        let status = agent.process.wait().expect("it ends");
        let log = agent.log();
        assert_eq!(status.code(), Some(1), "{log}");
        assert!(log.contains(says) && !log.contains("Starting"), "{log}");
    }
    let missing = Command::new(env!("CARGO_BIN_EXE_splashdam"))
        .args(["agent", "-n", "a1", "-f", "/no/such/flume.conf"])
        .output()
        .expect("the program starts");
    assert_eq!(missing.status.code(), Some(1), "{missing:?}");
    assert!(String::from_utf8_lossy(&missing.stderr).contains("/no/such/flume.conf"));
}

#[test]
fn what_is_not_there_idles() {
    let agent = Agent::start("other", FLOWS);
    agent.says("no configuration found for this host: other", 1);
    let (status, log, _dir) = agent.terminate();
    assert_eq!(status.code(), Some(0), "{log}");
}

#[test]
fn a_reload_applies_what_changed_or_nothing() {
    let agent = Agent::start("a1", FLOWS);
    agent.says("is running, ready after", 1);
    agent.delivers_more();
    let before = agent.metrics();
    let started = |text: &str| agent.log().matches(text).count();
    // Another sink, then a broken one, then one more.
    let with = |batch: u32| FLOWS.to_owned() + &format!("a1.sinks.k1.sink.batchSize = {batch}\n");
    write(agent.dir.path(), &with(50));
    agent.says("the changed configuration is in force", 1);
    agent.delivers_more();
    write(agent.dir.path(), &(with(50) + "a1.sinks.k1.type = nosuch\n"));
    agent.says("nothing of it is applied", 1);
    agent.delivers_more();
    assert_eq!(started("Starting Sink k1"), 2);
    write(agent.dir.path(), &with(20));
    agent.says("the changed configuration is in force", 2);
    agent.delivers_more();
    assert_eq!(started("Starting Sink k1"), 3);
    for once in ["Starting Sink k2", "Starting Source r", "Starting Channel c"] {
        let times = if once.ends_with('2') { 1 } else { 2 };
        assert_eq!(started(once), times, "{once}: {}", agent.log());
    }
    // The server went on, and so did the counters of what did not change.
    let after = agent.metrics();
    for same in ["SOURCE.r1", "SOURCE.r2", "CHANNEL.c1", "SINK.k2"] {
        assert_eq!(after[same]["StartTime"], before[same]["StartTime"], "{same}");
    }
    assert_eq!(after["SINK.k2"]["EventDrainSuccessCount"], "5");
    assert_ne!(after["SINK.k1"]["StartTime"], before["SINK.k1"]["StartTime"]);
    let (status, log, dir) = agent.terminate();
    assert_eq!(status.code(), Some(0), "{log}");
    counts_on(dir.path());
}

#[test]
fn types_that_are_not_there_are_refused_by_name() {
    let dir = tempfile::tempdir().expect("there is room");
    let class = "org.apache.flume.";
    let check = |config: &str, says: &str| {
        let config = FLOWS.replace("{dir}", "/tmp") + config + "\n";
        fs::write(dir.path().join("flume.conf"), config).expect("there is room");
        let output = Command::new(env!("CARGO_BIN_EXE_splashdam"))
            .args(["check", "-n", "a1", "-f", "flume.conf"])
            .current_dir(dir.path())
            .output()
            .expect("the program starts");
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains(says), "{says}: {text}");
    };
    let types = [
        (
            "source",
            "sources.r1",
            "avro thrift jms netcatudp syslogtcp syslogudp multiport_syslogtcp http \
             .source.kafka.KafkaSource .source.scribe.ScribeSource .source.twitter.TwitterSource \
             .source.avroLegacy.AvroLegacySource .source.thriftLegacy.ThriftLegacySource",
        ),
        ("channel", "channels.c1", "file spillablememory jdbc .channel.kafka.KafkaChannel"),
        (
            "sink",
            "sinks.k1",
            "hdfs avro thrift irc http hive hbase hbase2 asynchbase morphline_solr elasticsearch \
             .sink.kafka.KafkaSink .sink.kudu.KuduSink .sink.kite.DatasetSink",
        ),
    ];
    for (role, component, names) in types {
        for name in names.split_whitespace() {
            let name = name.strip_prefix('.').map_or(name.to_owned(), |n| format!("{class}{n}"));
            let says = format!("this version has no {role} of type `{name}` yet");
            check(&format!("a1.{component}.type = {name}"), &says);
        }
    }
    let morphline = "org.apache.flume.sink.solr.morphline.MorphlineInterceptor$Builder";
    check(
        &format!("a1.sources.r1.interceptors = i\na1.sources.r1.interceptors.i.type = {morphline}"),
        &format!("this version has no interceptor of type `{morphline}` yet"),
    );
    let spooldir = "a1.sources.r1.type = spooldir\na1.sources.r1.spoolDir = /tmp\n";
    let blob = "org.apache.flume.sink.solr.morphline.BlobDeserializer$Builder";
    for name in ["AVRO", blob] {
        check(
            &format!("{spooldir}a1.sources.r1.deserializer = {name}"),
            &format!("deserializer `{name}` is not available yet"),
        );
    }
}
