//! Whether an agent is ready, as load balancers ask and as its log says.

use std::fs;
use std::io::Write as _;
use std::net::TcpStream;

use rustix::process::Signal;

use crate::agent::{Agent, MONITORED, directory};
use crate::waiting::until;

/// Nobody listens there.
const NO_NEXT_HOP: &str = "
a1.sources = r1
a1.channels = c1
a1.sinks = k1
a1.sources.r1.type = netcat
a1.sources.r1.channels = c1
a1.sources.r1.bind = 127.0.0.1
a1.sources.r1.port = 0
a1.channels.c1.type = memory
a1.sinks.k1.type = avro
a1.sinks.k1.channel = c1
a1.sinks.k1.hostname = 127.0.0.1
a1.sinks.k1.port = 1
";

fn is_ready(agent: &Agent) -> bool {
    agent.asked("/readyz").is_some_and(|(status, _)| status == 200)
}

#[test]
fn an_agent_whose_next_hop_is_down_is_ready_until_it_stops_and_not_while_it_does() {
    let dir = directory();
    let options = [MONITORED, &["--grace-time", "3"]].concat();
    let mut agent = Agent::start(dir.path(), NO_NEXT_HOP, &options);
    agent.says("is running", 1);
    assert!(is_ready(&agent), "{:?}", agent.asked("/readyz"));
    let log = agent.log();
    let (_, source) = log.split_once("listening for lines").unwrap();
    let (_, address) = source.split_once("address=").unwrap();
    let mut client = TcpStream::connect(address.split_whitespace().next().unwrap()).unwrap();
    client.write_all(b"x\n").unwrap();
    until(
        || agent.asked("/flowz").is_some_and(|(status, _)| status == 503),
        || format!("a sink in trouble:\n{}", agent.log()),
    );
    assert!(is_ready(&agent), "{:?}", agent.asked("/readyz"));
    agent.signal(Signal::TERM);
    agent.says("stopping: sources first", 1);
    let mut answers = 0;
    while let Some((status, body)) = agent.asked("/readyz") {
        assert_eq!(status, 503, "{body}");
        assert!(body.contains("it is stopping"), "{body}");
        answers += 1;
    }
    assert!(answers > 0, "nobody answered while it drained");
    assert_eq!(agent.ended().code(), Some(1), "an event in memory is lost");
}

#[test]
fn the_word_in_the_log_and_the_answer_are_of_one_mind() {
    let dir = directory();
    let (head, _) = NO_NEXT_HOP.split_once("a1.sinks.k1.type").unwrap();
    let nowhere = dir.path().join("nowhere");
    let sink = format!(
        "a1.sinks.k1.type = file_roll\na1.sinks.k1.channel = c1\na1.sinks.k1.sink.directory = {}\n",
        nowhere.display()
    );
    let agent = Agent::start(dir.path(), &format!("{head}{sink}"), MONITORED);
    let stuck = || agent.asked("/flowz").is_some_and(|(_, body)| body.contains("sink k1"));
    until(stuck, || format!("a sink that does not open:\n{}", agent.log()));
    // Events come in all the same.
    agent.says("is running", 1);
    assert!(is_ready(&agent), "{:?}", agent.asked("/readyz"));
    agent.stop();
}

#[test]
fn an_agent_that_nobody_configured_is_not_ready_until_somebody_does() {
    let dir = directory();
    let agent = Agent::start(dir.path(), "b2.sources = r1\n", MONITORED);
    agent.says("the agent idles", 1);
    until(|| agent.asked("/readyz").is_some(), || agent.log());
    for (path, want) in [("/healthz", 200), ("/readyz", 503), ("/flowz", 503)] {
        let (status, body) = agent.asked(path).unwrap();
        assert_eq!(status, want, "{path}: {body}");
        assert_eq!(body.contains("nothing is configured"), want == 503, "{path}: {body}");
    }
    fs::write(dir.path().join("flume.conf"), NO_NEXT_HOP).unwrap();
    agent.signal(Signal::HUP);
    until(|| is_ready(&agent), || agent.log());
    agent.stop();
}

#[test]
fn a_source_that_is_left_out_shows_until_it_is_mended() {
    let dir = directory();
    let second = "a1.sources = r1 r2\na1.sources.r2.type = seq\na1.sources.r2.channels = c1\n";
    let broken = format!("{NO_NEXT_HOP}{second}a1.sources.r2.batchSize = 100000\n");
    let agent = Agent::start(dir.path(), &broken, MONITORED);
    agent.says("not ready yet", 1);
    assert!(!agent.log().contains("is running"), "{}", agent.log());
    let (status, body) = agent.asked("/readyz").unwrap();
    assert!(status == 503 && body.contains("source r2"), "{status}: {body}");
    assert!(body.contains("it is left out: source r2 commits batches of 100000"), "{body}");
    fs::write(dir.path().join("flume.conf"), NO_NEXT_HOP).unwrap();
    agent.signal(Signal::HUP);
    until(|| is_ready(&agent), || agent.log());
    agent.says("is running", 1);
    agent.stop();
}
