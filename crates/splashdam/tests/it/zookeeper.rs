//! An agent whose configuration lies in ZooKeeper: it comes late, changes, is out of reach, goes.

use std::process::Command;
use std::time::Duration;

use splashdam_zookeeper::Node;
use splashdam_zookeeper::fake::{Fake, Mood};
use tokio::runtime::Runtime;

use crate::agent::{Agent, directory, lines};
use crate::waiting::until;

const SESSION: Duration = Duration::from_secs(40);

/// Ten events into the directory `out` of `dir`, by a source that is another with each `batch`.
fn config(dir: &str, out: &str, batch: u32, more: &str) -> Node {
    let text = format!(
        "a1.sources = r1\na1.channels = c1\na1.sinks = k1\n\
         a1.sources.r1.type = seq\na1.sources.r1.totalEvents = 10\na1.sources.r1.channels = c1\n\
         a1.sources.r1.batchSize = {batch}\n\
         a1.channels.c1.type = memory\n\
         a1.sinks.k1.type = file_roll\na1.sinks.k1.channel = c1\n\
         a1.sinks.k1.sink.directory = {dir}/{out}\na1.sinks.k1.sink.rollInterval = 0\n{more}"
    );
    Node::Data(text.into())
}

#[test]
fn a_node_is_followed_whatever_becomes_of_it() {
    let runtime = Runtime::new().unwrap();
    let fake = runtime.block_on(Fake::start(SESSION)).unwrap();
    let dir = directory();
    let path = dir.path().to_str().unwrap();
    let connect = format!("{}/chroot", fake.server());
    let agent = Agent::launch(dir.path(), &["-z", &connect, "-p", "/base", "-f", "ignored"]);
    agent.says("--conf-file and --conf-uri are ignored", 1);
    agent.says("the node /base/a1 of ZooKeeper is not there; nothing runs", 1);
    let delivers = |out: &str| {
        let out = dir.path().join(out);
        until(|| lines(&out).len() == 10, || format!("ten lines in {}", out.display()));
    };
    // Where nothing runs a configuration may have errors: what can run runs, as at a start.
    fake.set(config(path, "out", 1, "a1.sinks = k1 k2\na1.sinks.k2.channel = c1\n"));
    delivers("out");
    agent.says("the changed configuration is in force", 1);
    fake.mood(Mood::Away);
    agent.says("the one that runs stays in force", 1);
    fake.mood(Mood::Well);
    agent.says("the configuration can be read again", 1);
    fake.set(config(path, "out2", 2, "a1.sources = r1 r2\na1.sources.r2.channels = c1\n"));
    agent.says("the changed configuration has new errors", 1);
    fake.set(config(path, "out2", 2, ""));
    delivers("out2");
    fake.set(Node::Absent);
    agent.says("nothing runs", 2);
    fake.set(config(path, "out2", 3, ""));
    agent.says("the changed configuration is in force", 3);
    let log = agent.stop();
    assert_eq!(log.matches("stays in force").count(), 1, "said once:\n{log}");
    assert!(fake.visits().paths.iter().all(|path| path == "/chroot/base/a1"));
}

#[test]
fn check_and_graph_read_the_node() {
    let runtime = Runtime::new().unwrap();
    let fake = runtime.block_on(Fake::start(SESSION)).unwrap();
    let check = |arguments: &[&str], success: bool, says: &str| {
        let server = fake.server().to_string();
        let done = Command::new(env!("CARGO_BIN_EXE_splashdam"))
            .args(arguments)
            .args(["-n", "a1", "-z", &server])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&done.stdout) + String::from_utf8_lossy(&done.stderr);
        assert!(said.contains(says), "{arguments:?}: {said}");
        assert_eq!(done.status.success(), success, "{arguments:?}: {said}");
    };
    check(&["check"], false, "zookeeper:/flume/a1: there is no such node");
    fake.set(Node::Data("\n".into()));
    check(&["check"], false, "the node /flume/a1 of ZooKeeper is empty");
    fake.set(config("/nowhere", "out", 1, "a1.sinks.k1.sink.pathManager.prefix = ${env:HOME}\n"));
    check(&["check"], true, "agent a1 can run");
    check(&["check"], true, "zookeeper:/flume/a1:13");
    check(&["graph"], true, "r1");
}
