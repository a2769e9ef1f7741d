//! What comes of a start that has nothing to run: an end with a reason, or an agent that idles.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use splashdam_interop::scrape::fetch;
use splashdam_interop::{Agent, Launch, Make};

use crate::side_by_side::{channel_and_sink, pair};

/// A configuration that would run.
fn good(dir: &Path) -> String {
    let text = channel_and_sink(1, "text")
        + "a1.sources = r1\na1.channels = c1\na1.sinks = k1\n\
           a1.sources.r1.type = seq\na1.sources.r1.channels = c1\n";
    text.replace("{dir}", &dir.display().to_string())
}

/// Starts an agent that is to end by itself; its exit status and its log.
fn ends(make: &Make, file: &str, broken: &str) -> Result<(i32, String)> {
    let dir = tempfile::tempdir()?;
    fs::create_dir(dir.path().join("k1"))?;
    fs::write(dir.path().join("flume.conf"), good(dir.path()) + broken + "\n")?;
    let refusal = match Agent::launch(make, dir.path(), Launch { file, ..Launch::default() }) {
        Ok(_) => bail!("it runs"),
        Err(error) => error.to_string(),
    };
    let status = refusal
        .split_once("ended early with exit status: ")
        .and_then(|(_, rest)| rest.lines().next()?.parse().ok())
        .with_context(|| format!("no exit status in {refusal}"))?;
    Ok((status, fs::read_to_string(dir.path().join("agent.log"))?))
}

#[test]
fn fatal_configurations_end_with_the_reason() {
    let Some((makes, _turn)) = pair() else { return };
    let check = |file: &str, broken: &str, theirs: &str, ours: &str| {
        for make in &makes {
            let (status, log) = ends(make, file, broken)
                .unwrap_or_else(|error| panic!("{} with {broken:?}: {error:?}", make.name()));
            // Flume's status says that all is well; ours is not to be copied from that.
            let (wanted, words) = match make {
                Make::Flume(_) => (0, theirs),
                Make::Splashdam(_) => (1, ours),
            };
            assert_eq!(status, wanted, "{} with {broken:?}: {log}", make.name());
            assert!(log.contains(words), "{} with {broken:?}: {log}", make.name());
        }
    };
    let fatal = "A fatal error occurred while running";
    check("flume.conf", "a1.sources.r1.type = nosuch", fatal, "there is no source type `nosuch`");
    check("flume.conf", "a1.channels.c1.type = nosuch", fatal, "there is no channel type `nosuch`");
    check("flume.conf", "a1.sinks.k1.type = nosuch", fatal, "there is no sink type `nosuch`");
    check(
        "flume.conf",
        "a1.sinkgroups = g1\na1.sinkgroups.g1.processor.type = failover",
        fatal,
        "sink group `g1` has no sinks",
    );
    check("flume.conf", "a1.sources.r1.x = \\u12", fatal, "four hexadecimal digits");
    check("absent.conf", "", fatal, "absent.conf: No such file or directory");
}

#[test]
fn nothing_to_run_idles() {
    let Some((makes, _turn)) = pair() else { return };
    let idles = |make: &Make, agent: &str, broken: &str| -> Result<()> {
        let dir = tempfile::tempdir()?;
        fs::create_dir(dir.path().join("k1"))?;
        fs::write(dir.path().join("flume.conf"), good(dir.path()) + broken)?;
        let launch = Launch { agent, ..Launch::default() };
        let mut running = Agent::launch(make, dir.path(), launch)?;
        ensure!(fetch(running.port(), "/metrics")? == (200, b"{}".to_vec()), "it runs something");
        // Long enough for an end that would follow the start at once.
        thread::sleep(Duration::from_millis(300));
        running.still_running()?;
        let log = fs::read_to_string(dir.path().join("agent.log"))?;
        let words = format!("o configuration found for this host: {agent}");
        let words = [words.clone(), words.replace(": ", ":")];
        ensure!(words.iter().any(|words| log.contains(words)), "it says nothing: {log}");
        let status = running.stop()?;
        // A JVM ends a handled signal with 128 and its number; an orderly end of ours is a success.
        let wanted = if matches!(make, Make::Flume(_)) { 143 } else { 0 };
        ensure!(status.code() == Some(wanted), "{status}");
        Ok(())
    };
    for make in &makes {
        for (agent, broken) in [("other", ""), ("a1", "a1.channels = absent\n")] {
            idles(make, agent, broken)
                .unwrap_or_else(|error| panic!("{} with {agent} {broken}: {error:?}", make.name()));
        }
    }
}
