//! Three agents in a row: what each counted fits what its neighbours did, to the event.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use serde_json::Value;

use super::{Agent, reconcile};

/// An agent that takes events from `source`, keeps them in a file channel and hands them to `sink`.
fn agent(source: &str, sink: &str) -> String {
    format!(
        "a1.sources = r1\na1.channels = c1\na1.sinks = k1\n{source}\
         a1.sources.r1.channels = c1\na1.sources.r1.bind = 127.0.0.1\n\
         a1.channels.c1.type = file\na1.channels.c1.dataDirs = $/data\n\
         a1.channels.c1.minimumRequiredSpace = 1048576\n\
         {sink}a1.sinks.k1.channel = c1\n"
    )
}

fn listens(port: u16) -> String {
    format!("a1.sources.r1.type = avro\na1.sources.r1.port = {port}\n")
}

fn sends(port: u16) -> String {
    format!(
        "a1.sinks.k1.type = avro\na1.sinks.k1.hostname = 127.0.0.1\na1.sinks.k1.port = {port}\n\
         a1.sinks.k1.batch-size = 7\n"
    )
}

const LINES: &str = "a1.sources.r1.type = netcat\na1.sources.r1.port = 0\n";
const NULL: &str = "a1.sinks.k1.type = null\n";

struct Flow {
    agents: [Agent; 3],
    /// The port of the last.
    last: u16,
    sent: u64,
}

/// Not one that the system gives by itself: while an agent is down, a connection on its way out may get
/// its port, even the one that looks for that agent.
fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let own = std::process::id().wrapping_mul(31);
    loop {
        let port = 12_000 + own.wrapping_add(NEXT.fetch_add(1, Relaxed)) % 8000;
        let port = u16::try_from(port).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

impl Flow {
    fn new() -> Flow {
        let (second, last) = (free_port(), free_port());
        let agents = [
            agent(LINES, &sends(second)),
            agent(&listens(second), &sends(last)),
            agent(&listens(last), NULL),
        ];
        Flow { agents: agents.map(|config| Agent::with(&config)), last, sent: 0 }
    }

    fn send(&mut self, count: u64) {
        self.agents[0].send((self.sent..self.sent + count).map(|number| format!("line {number}")));
        self.sent += count;
    }

    fn check_balance(&self, index: usize, events: u64) {
        let ledger = self.agents[index].drained(events);
        let channel = &ledger["channels"]["c1"];
        let count = |name: &str| channel[name].as_i64().unwrap();
        let gone = count("out") - count("returned");
        let want = (0, i64::try_from(events).unwrap(), 0);
        assert_eq!((count("balance"), gone, count("lost")), want, "agent {index}: {ledger:#}");
    }

    /// What `splashdam reconcile` answers for two neighbours: its status and its words.
    fn compare(&self, from: usize) -> (Option<i32>, String) {
        let said = reconcile(&self.agents[from], &self.agents[from + 1], &[]);
        (said.status.code(), String::from_utf8(said.stdout).unwrap())
    }
}

#[test]
fn three_ledgers_balance_through_kills() {
    let mut flow = Flow::new();
    for round in 0..9 {
        flow.send(60);
        flow.agents[round % 3].kill();
        flow.agents[round % 3].start();
    }
    flow.send(60);
    for index in [2, 1, 0] {
        flow.check_balance(index, flow.sent);
    }
    for from in 0..2 {
        let (status, text) = flow.compare(from);
        assert_eq!(status, Some(0), "{text}");
        assert!(text.contains("nothing is missing, nothing came twice"), "{text}");
        assert!(text.contains("sent 600, received 600"), "{text}");
    }
}

#[test]
fn events_dropped_between_two_hops_are_found_with_minute_and_path() {
    let mut flow = Flow::new();
    flow.send(100);
    flow.agents[2].drained(100);
    // Somebody else answers in the place of the last agent, and keeps nothing.
    flow.agents[2].kill();
    let memory = agent(&listens(flow.last), NULL).replace("type = file", "type = memory");
    let mut thief = Agent::with(&memory);
    flow.send(35);
    flow.agents[1].drained(135);
    let stolen = thief.drained(35);
    thief.kill();
    flow.agents[2].start();
    flow.send(65);
    flow.check_balance(2, 165);
    flow.check_balance(1, 200);

    assert_eq!(flow.compare(0).0, Some(0));
    let (status, text) = flow.compare(1);
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("sent 200, received 165, in flight 0"), "{text}");
    assert!(text.contains("missing: 35\n") && text.contains("35  k1 → r1\n"), "{text}");
    let said = reconcile(&flow.agents[1], &flow.agents[2], &["--format", "json"]);
    let found: Value = serde_json::from_slice(&said.stdout).unwrap();
    let at = found["missing"][0]["minute"].as_i64().unwrap();
    let minute = stolen["minutes"][0]["minute"].as_i64().unwrap();
    assert!((minute - 1..=minute + 1).contains(&at), "{found:#}");
}
