//! The ledger of real processes: it balances whatever kills them, and a batch that somebody dropped between two of
//! them is found.
//!
//! The hop is the test itself: it reads what the first agent's sink wrote and sends it to the second one's source.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::waiting::until;

mod three_hops;

const CONFIG: &str = "
a1.sources = r1
a1.channels = c1
a1.sinks = k1
a1.sources.r1.type = netcat
a1.sources.r1.channels = c1
a1.sources.r1.bind = 127.0.0.1
a1.sources.r1.port = 0
a1.sources.r1.interceptors = i1
a1.sources.r1.interceptors.i1.type = regex_filter
a1.sources.r1.interceptors.i1.regex = ^noise
a1.sources.r1.interceptors.i1.excludeEvents = true
a1.channels.c1.type = file
a1.channels.c1.dataDirs = $/data
a1.channels.c1.minimumRequiredSpace = 1048576
a1.sinks.k1.type = null
a1.sinks.k1.channel = c1
a1.sinks.k1.batchSize = 10
";

struct Agent {
    dir: TempDir,
    child: Option<Child>,
    starts: usize,
}

impl Agent {
    fn new() -> Agent {
        Agent::with(CONFIG)
    }

    /// An agent whose configuration says `$` where its directory stands.
    fn with(config: &str) -> Agent {
        let dir = tempfile::tempdir().unwrap();
        let config = config.replace('$', dir.path().to_str().unwrap());
        fs::write(dir.path().join("flume.conf"), config).unwrap();
        let mut agent = Agent { dir, child: None, starts: 0 };
        agent.start();
        agent
    }

    fn start(&mut self) {
        self.starts += 1;
        let child = Command::new(env!("CARGO_BIN_EXE_splashdam"))
            .args(["agent", "-n", "a1", "--no-reload-conf", "-f"])
            .arg(self.dir.path().join("flume.conf"))
            .args(["-Dflume.monitoring.type=http", "-Dflume.monitoring.port=0"])
            .arg("-Dflume.monitoring.host=127.0.0.1")
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(self.log()).unwrap())
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    fn log(&self) -> std::path::PathBuf {
        self.dir.path().join(format!("agent-{}.log", self.starts))
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn address(&self, line: &str) -> String {
        let log = || fs::read_to_string(self.log()).unwrap();
        let said = || log().lines().find(|said| said.contains(line)).map(str::to_owned);
        until(|| said().is_some(), || format!("{line:?} in the log:\n{}", log()));
        let said = said().unwrap();
        let (_, address) = said.split_once("address=").unwrap();
        address.split_whitespace().next().unwrap().to_owned()
    }

    fn monitoring(&self) -> String {
        self.address("serving metrics")
    }

    /// Sends lines and waits until all are acknowledged.
    fn send(&self, lines: impl Iterator<Item = String>) {
        let stream = TcpStream::connect(self.address("listening for lines")).unwrap();
        let mut answers = BufReader::new(stream.try_clone().unwrap()).lines();
        for line in lines {
            (&stream).write_all(format!("{line}\n").as_bytes()).unwrap();
            assert_eq!(answers.next().unwrap().unwrap(), "OK");
        }
    }

    fn ledger(&self) -> Value {
        let mut stream = TcpStream::connect(self.monitoring()).unwrap();
        stream.write_all(b"GET /ledger HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        serde_json::from_str(body).unwrap()
    }

    /// Waits until all that came has gone and nothing moves, and answers the ledger then.
    fn drained(&self, received: u64) -> Value {
        let mut ledger = Value::Null;
        until(
            || {
                ledger = self.ledger();
                let channel = &ledger["channels"]["c1"];
                let at_rest = channel["held"] == 0 && channel["balance"] == 0;
                ledger["sources"]["r1"]["received"] == received && at_rest
            },
            || format!("{received} events and an empty channel in {:#}", self.ledger()),
        );
        ledger
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.kill();
    }
}

fn lines(of: std::ops::Range<u64>) -> impl Iterator<Item = String> {
    of.map(
        |number| {
            if number % 10 == 0 { format!("noise {number}") } else { format!("line {number}") }
        },
    )
}

fn reconcile(sender: &Agent, receiver: &Agent, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_splashdam"))
        .args(["reconcile", &sender.monitoring(), &receiver.monitoring()])
        .args(more)
        .output()
        .unwrap()
}

fn files(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    entries.map(|name| name.into_string().unwrap()).collect()
}

#[test]
fn the_ledger_balances_through_kills() {
    let mut agent = Agent::new();
    let mut sent = 0;
    for _ in 0..4 {
        agent.send(lines(sent..sent + 200));
        sent += 200;
        // The ledger may not have been written since; the log knows.
        agent.kill();
        agent.start();
    }
    agent.send(lines(sent..sent + 100));
    let mut ledger = Value::Null;
    until(
        || {
            ledger = agent.ledger();
            // An event that just left is counted a moment later.
            let channel = &ledger["channels"]["c1"];
            channel["held"] == 0 && channel["balance"] == 0
        },
        || format!("an empty channel at rest in {:#}", agent.ledger()),
    );
    let channel = &ledger["channels"]["c1"];
    let count = |name: &str| channel[name].as_u64().unwrap();
    // Of 900 a tenth is noise, which never reaches the channel.
    assert_eq!((count("in"), count("out"), count("lost")), (810, 810, 0), "{ledger:#}");
    assert_eq!((channel["balance"].as_i64(), count("returned")), (Some(0), 0), "{ledger:#}");
    let source = &ledger["sources"]["r1"];
    let count = |name: &str| source[name].as_u64().unwrap();
    assert_eq!(count("routed"), 810, "{ledger:#}");
    // What was filtered in the second before a kill is all that may be unknown.
    assert!(count("filtered") <= 90 && count("filtered") >= 10, "{ledger:#}");
    assert_eq!(count("received"), count("routed") + count("filtered"), "{ledger:#}");
    let booked = ledger["minutes"].as_array().unwrap().iter().flat_map(|minute| {
        minute["entries"].as_array().unwrap().iter().filter(|entry| entry["what"] == "out")
    });
    assert_eq!(booked.map(|entry| entry["events"].as_u64().unwrap()).sum::<u64>(), 810);
    let names = files(&agent.dir.path().join("data"));
    assert!(names.iter().any(|name| name == "ledger-c1.json"), "{names:?}");
}

#[test]
fn a_dropped_batch_is_found_with_minute_and_path() {
    let (sender, mut receiver) = (Agent::new(), Agent::new());
    let plain = |of: std::ops::Range<u64>| of.map(|number| format!("line {number}"));
    sender.send(plain(0..300));
    sender.drained(300);
    receiver.send(plain(0..100));
    receiver.kill();
    receiver.start();
    receiver.send(plain(200..300));
    let ledger = receiver.drained(200);
    let minute = ledger["minutes"].as_array().unwrap()[0]["minute"].as_i64().unwrap();

    let said = reconcile(&sender, &receiver, &["--sink", "k1", "--source", "r1"]);
    let text = String::from_utf8(said.stdout).unwrap();
    assert_eq!(said.status.code(), Some(1), "{text}");
    assert!(text.contains("sent 300, received 200, in flight 0"), "{text}");
    assert!(text.contains("missing: 100\n") && text.contains("100  k1 → r1\n"), "{text}");
    let said = reconcile(&sender, &receiver, &["--format", "json"]);
    let json: Value = serde_json::from_slice(&said.stdout).unwrap();
    let found = &json["missing"].as_array().unwrap()[0];
    let at = found["minute"].as_i64().unwrap();
    assert!((minute - 1..=minute + 1).contains(&at), "{json:#}");

    // It comes after all, twice.
    receiver.send(plain(100..200));
    receiver.drained(300);
    let said = reconcile(&sender, &receiver, &[]);
    assert_eq!(said.status.code(), Some(0), "{}", String::from_utf8_lossy(&said.stdout));
    receiver.send(plain(100..200));
    receiver.drained(400);
    let said = reconcile(&sender, &receiver, &[]);
    let text = String::from_utf8(said.stdout).unwrap();
    assert_eq!((said.status.code(), text.contains("double: 100\n")), (Some(1), true), "{text}");
    // Whoever asked may read the status only.
    let (reader, gone) = std::io::pipe().unwrap();
    drop(reader);
    let status = Command::new(env!("CARGO_BIN_EXE_splashdam"))
        .args(["reconcile", &sender.monitoring(), &receiver.monitoring()])
        .stdout(gone)
        .status();
    assert_eq!(status.unwrap().code(), Some(1));
}

#[test]
fn what_cannot_be_compared_is_said() {
    let agent = Agent::new();
    let check = |arguments: &[&str], want: &str| {
        let said = Command::new(env!("CARGO_BIN_EXE_splashdam")).args(arguments).output().unwrap();
        let text = String::from_utf8(said.stderr).unwrap();
        assert!(said.status.code() == Some(2) && text.contains(want), "{text}");
    };
    let here = agent.monitoring();
    check(&["reconcile", &here, "127.0.0.1:1"], "127.0.0.1:1/ledger");
    check(&["reconcile", &here, &here, "--sink", "k9"], "has no sink k9; it has k1");
    check(&["reconcile", &format!("{here}/metrics/x"), &here], "404");
    check(&["reconcile", &here], "RECEIVER");
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let untold = Command::new(env!("CARGO_BIN_EXE_splashdam"))
        .args(["reconcile", &here, &here])
        .stdout(full)
        .stderr(std::process::Stdio::null())
        .status();
    assert_eq!(untold.unwrap().code(), Some(2), "1 would say that events are missing");
    let said = reconcile(&agent, &agent, &[]);
    let text = String::from_utf8(said.stdout).unwrap();
    assert!(said.status.code() == Some(0) && text.contains("nothing to compare"), "{text}");
}
