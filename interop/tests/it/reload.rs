//! A configuration that changes while lines come in: first the sink, then the source as well.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use splashdam_interop::{Agent, Launch, Make, outputs};

use crate::side_by_side::{LIMIT, channel_and_sink, pair};

/// `out`: the sink's directory, `zone`: the value of a header that the source sets, if any.
fn config(dir: &Path, out: &str, zone: &str) -> String {
    let source = "a1.sources = r1\na1.channels = c1\na1.sinks = k1\n\
        a1.sources.r1.type = TAILDIR\n\
        a1.sources.r1.channels = c1\n\
        a1.sources.r1.filegroups = g\n\
        a1.sources.r1.filegroups.g = {dir}/app.log\n\
        a1.sources.r1.positionFile = {dir}/position.json\n\
        a1.sources.r1.backoffSleepIncrement = 50\n\
        a1.sources.r1.maxBackoffSleep = 50\n";
    let mut text = (channel_and_sink(1, "header_and_text") + source)
        .replace("{dir}/k1", &format!("{{dir}}/{out}"))
        .replace("{dir}", &dir.display().to_string());
    if !zone.is_empty() {
        text += &format!("a1.sources.r1.headers.g.zone = {zone}\n");
    }
    text
}

/// Puts a configuration in its place at once, as careful editors do.
fn change(dir: &Path, text: &str) -> Result<()> {
    fs::write(dir.join("new"), text)?;
    Ok(fs::rename(dir.join("new"), dir.join("flume.conf"))?)
}

/// Appends a line a millisecond until told to stop; answers how many.
fn write_lines(path: &Path, stop: &AtomicBool) -> Result<u64> {
    let mut file = File::options().append(true).open(path)?;
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        writeln!(file, "line {number}")?;
        number += 1;
        thread::sleep(Duration::from_millis(1));
    }
    Ok(number)
}

/// Waits until a directory's files have at least so many lines.
fn wait_for_lines(out: &Path, lines: usize) -> Result<()> {
    let began = Instant::now();
    while outputs::lines(out)?.len() < lines {
        ensure!(began.elapsed() < LIMIT, "no {lines} lines in {}", out.display());
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

struct Outcome {
    written: u64,
    lost: u64,
    repeated: u64,
    /// The lines of each of the three outputs.
    outs: [Vec<String>; 3],
}

fn run(make: &Make) -> Result<Outcome> {
    const OUTS: [&str; 3] = ["k1", "k2", "k3"];
    let dir = tempfile::tempdir()?;
    let dir = dir.path();
    OUTS.iter().try_for_each(|out| fs::create_dir(dir.join(out)))?;
    let log = dir.join("app.log");
    File::create(&log)?;
    change(dir, &config(dir, "k1", ""))?;
    let mut agent =
        Agent::launch(make, dir, Launch { poll_seconds: Some(1), ..Launch::default() })?;
    let stop = AtomicBool::new(false);
    let written = thread::scope(|scope| {
        let writer = scope.spawn(|| write_lines(&log, &stop));
        let changed = || -> Result<()> {
            wait_for_lines(&dir.join("k1"), 100)?;
            change(dir, &config(dir, "k2", ""))?;
            wait_for_lines(&dir.join("k2"), 100)?;
            change(dir, &config(dir, "k3", "east"))?;
            wait_for_lines(&dir.join("k3"), 100)
        }();
        stop.store(true, Ordering::Relaxed);
        let written = writer.join().ok().context("the writer panicked")?;
        changed.with_context(|| agent.log_tail())?;
        written
    })?;
    let outs = || -> Result<[Vec<String>; 3]> {
        let [one, two, three] = OUTS.map(|out| outputs::lines(&dir.join(out)));
        Ok([one?, two?, three?])
    };
    // Until the last line is out; it never comes if the agent lost it.
    let (last, began) = (format!("line {}", written - 1), Instant::now());
    while !outs()?[2].last().is_some_and(|line| line.ends_with(&last)) && began.elapsed() < LIMIT {
        agent.still_running()?;
        thread::sleep(Duration::from_millis(20));
    }
    agent.stop()?;
    let outs = outs()?;
    let mut times: BTreeMap<&str, u64> = BTreeMap::new();
    for line in outs.iter().flatten() {
        let (_, text) = line.split_once("} ").with_context(|| format!("no headers: {line}"))?;
        *times.entry(text).or_default() += 1;
    }
    let lost = (0..written).filter(|n| !times.contains_key(format!("line {n}").as_str())).count();
    let repeated = times.values().map(|times| times - 1).sum();
    ensure!(times.len() as u64 + lost as u64 == written, "lines that nobody wrote: {times:?}");
    Ok(Outcome { written, lost: lost as u64, repeated, outs })
}

#[test]
fn changes_apply_under_load() {
    let Some((makes, _turn)) = pair() else { return };
    for make in &makes {
        let Outcome { written, lost, repeated, outs } =
            run(make).unwrap_or_else(|error| panic!("{}: {error:?}", make.name()));
        println!("{}: {lost} lost, {repeated} repeated of {written} lines", make.name());
        assert_eq!(outs[0][0], "{} line 0", "{}", make.name());
        assert!(outs[1].iter().all(|line| line.starts_with("{} ")), "{}", make.name());
        // Lines that waited in the channel while the source changed have no header yet.
        let east = outs[2].iter().filter(|line| line.starts_with("{zone=east} ")).count();
        assert!(east > 0, "{}: {:?}", make.name(), outs[2]);
        if matches!(make, Make::Splashdam(_)) {
            assert_eq!((lost, repeated), (0, 0));
        }
    }
}
