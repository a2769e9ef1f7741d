//! A configuration in a real ZooKeeper, for Flume and for us: it comes late, changes, is emptied, comes back and is
//! removed, and ZooKeeper itself goes and comes back. Flume takes seconds for each, so there are few.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use splashdam_interop::agent::free_port;
use splashdam_interop::{Agent, Launch, Make, ZooKeeper, outputs};

use crate::side_by_side::{LIMIT, channel_and_sink, pair};

/// Where both look by default.
const NODE: &str = "/flume/a1";
const OUTS: [&str; 3] = ["k1", "k2", "k3"];

/// Lines that come to `port` go to `out`, with what a variable and a letter beyond ASCII become.
fn config(dir: &Path, port: u16, out: &str) -> Vec<u8> {
    let text = channel_and_sink(1, "header_and_text")
        + "a1.sources = r1\na1.channels = c1\na1.sinks = k1\n\
           a1.sources.r1.type = netcat\na1.sources.r1.channels = c1\n\
           a1.sources.r1.bind = 127.0.0.1\na1.sources.r1.port = {port}\n\
           a1.sources.r1.interceptors = i1 i2 i3\n\
           a1.sources.r1.interceptors.i1.type = static\n\
           a1.sources.r1.interceptors.i1.key = home\n\
           a1.sources.r1.interceptors.i1.value = ${env:HOME}\n\
           a1.sources.r1.interceptors.i2.type = static\n\
           a1.sources.r1.interceptors.i2.key = other\n\
           a1.sources.r1.interceptors.i2.value = ${a1.sources} $${x}\n\
           a1.sources.r1.interceptors.i3.type = static\n\
           a1.sources.r1.interceptors.i3.key = town\n\
           a1.sources.r1.interceptors.i3.value = K\u{f6}ln \\u4e2d\n";
    let text = text.replace("{dir}/k1", &format!("{}/{out}", dir.display()));
    text.replace("{port}", &port.to_string()).into_bytes()
}

/// Sends a line to the agent, if it listens, and waits for its answer.
fn send(port: u16, line: &str, patience: Duration) -> Result<()> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(format!("{line}\n").as_bytes())?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    ensure!(answer.trim_end() == "OK", "the source answered {answer:?}");
    Ok(())
}

fn until(what: &str, agent: &mut Agent, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let began = Instant::now();
    while !holds()? {
        agent.still_running()?;
        ensure!(began.elapsed() < LIMIT, "no {what}\n{}", agent.log_tail());
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Sends lines until one arrives in `out`; how long that took, and what the lines look like there.
fn arrives(agent: &mut Agent, port: u16, out: &Path) -> Result<(Duration, String)> {
    let began = Instant::now();
    until("line", agent, || {
        // Flume's source neither reads nor closes a connection that it takes in while it stops.
        send(port, "line", Duration::from_secs(2)).ok();
        Ok(!outputs::lines(out)?.is_empty())
    })?;
    Ok((began.elapsed(), outputs::lines(out)?.swap_remove(0)))
}

fn falls_silent(agent: &mut Agent, port: u16) -> Result<()> {
    until(
        "end of listening",
        agent,
        || Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err()),
    )
}

/// What became of the lines at each stage.
fn followed(make: &Make, zookeeper: &mut ZooKeeper) -> Result<Vec<String>> {
    let dir = tempfile::tempdir()?;
    let dir = dir.path();
    let outs = OUTS.map(|out| dir.join(out));
    outs.iter().try_for_each(fs::create_dir)?;
    let port = free_port()?;
    let mut seen = Vec::new();
    let mut stage = |agent: &mut Agent, out: usize| -> Result<()> {
        let (took, line) =
            arrives(agent, port, &outs[out]).with_context(|| format!("stage {out}"))?;
        println!("{}: in force at stage {out} after {took:?}", make.name());
        seen.push(line);
        Ok(())
    };
    zookeeper.remove(NODE)?;
    let connect = zookeeper.connect();
    let launch = Launch { zookeeper: Some(&connect), poll_seconds: Some(300), ..Launch::default() };
    let agent = &mut Agent::spawn(make, dir, launch)?;
    // Theirs says that it is connected, ours what it has found there.
    until("word that it waits", agent, || {
        let log = agent_log(dir)?;
        Ok(log.contains("State change: CONNECTED") || log.contains("is not there"))
    })?;
    zookeeper.set(NODE, &config(dir, port, OUTS[0]))?;
    stage(agent, 0)?;
    zookeeper.kill()?;
    send(port, "while nobody answers", LIMIT)?;
    zookeeper.restart()?;
    zookeeper.set(NODE, &config(dir, port, OUTS[1]))?;
    stage(agent, 1)?;
    zookeeper.set(NODE, b"")?;
    falls_silent(agent, port)?;
    zookeeper.set(NODE, &config(dir, port, OUTS[2]))?;
    stage(agent, 2)?;
    zookeeper.remove(NODE)?;
    falls_silent(agent, port)?;
    Ok(seen)
}

fn agent_log(dir: &Path) -> Result<String> {
    Ok(String::from_utf8_lossy(&fs::read(dir.join("agent.log"))?).into_owned())
}

#[test]
fn a_node_is_followed_as_flume_follows_it() {
    let Some((makes, _turn)) = pair() else { return };
    let dir = tempfile::tempdir().expect("a directory");
    let mut zookeeper = ZooKeeper::start(dir.path()).expect("a ZooKeeper");
    let [theirs, ours] = makes.map(|make| {
        let seen = followed(&make, &mut zookeeper);
        seen.unwrap_or_else(|error| panic!("{}: {error:?}", make.name()))
    });
    assert_eq!(theirs, ours);
    assert_eq!(ours.len(), OUTS.len());
    assert!(ours[0].contains("home=${env:HOME}") && ours[0].contains("K\u{f6}ln"), "{}", ours[0]);
}

#[test]
fn a_node_that_is_read_once_must_be_there() {
    let Some((makes, _turn)) = pair() else { return };
    let dir = tempfile::tempdir().expect("a directory");
    let zookeeper = ZooKeeper::start(dir.path()).expect("a ZooKeeper");
    let connect = zookeeper.connect();
    for make in &makes {
        let dir = tempfile::tempdir().expect("a directory");
        let launch = Launch { zookeeper: Some(&connect), ..Launch::default() };
        let ends = || Agent::spawn(make, dir.path(), launch)?.ended(LIMIT);
        let status = ends().unwrap_or_else(|error| panic!("{}: {error:?}", make.name()));
        let log = agent_log(dir.path()).expect("a log");
        // Flume's status says that all is well; ours is not to be copied from that.
        let (wanted, words) = match make {
            Make::Flume(_) => (0, "A fatal error occurred while running"),
            Make::Splashdam(_) => (1, "there is no such node"),
        };
        assert_eq!(status.code(), Some(wanted), "{}: {log}", make.name());
        assert!(log.contains(words), "{}: {log}", make.name());
    }
}
