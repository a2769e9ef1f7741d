//! `examples/hbase-once.conf` at work: lines of a file into a table that HBase's own client reads, each once, although the
//! agent is killed on the way.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, ensure};
use splashdam_interop::hbase::HBase;
use splashdam_interop::{Agent, Launch, Make};

use super::cluster;
use crate::side_by_side::{LIMIT, is_set};

const LINES: usize = 4_000;
const LIVES: usize = 4;

/// The line of that number, and the columns of its row; nothing for one of another form.
fn line(number: usize) -> (String, Option<BTreeMap<String, String>>) {
    if number % 100 == 99 {
        return (format!("no syslog {number}"), None);
    }
    let parts = [
        ("priority", format!("{}", 128 + number % 8)),
        ("time", format!("Nov {:>2} 22:13:{:02}", 1 + number % 28, number % 60)),
        ("host", format!("web{}", number % 3)),
        ("program", format!("sshd[{number}]")),
        ("message", format!("session \u{e4} {number}: opened")),
    ];
    let [priority, time, host, program, message] = parts.each_ref().map(|(_, text)| text);
    let line = format!("<{priority}>{time} {host} {program}: {message}");
    (line, Some(parts.map(|(name, text)| (name.to_owned(), text)).into()))
}

/// The example with the places of this test.
fn configuration(dir: &Path, hbase: &HBase) -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/hbase-once.conf");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let at = |name: &str| format!("= {}/{name}", dir.display());
    let text = ["data/logs/", "data/positions", "data/checkpoint", "data/log", "data/rejected"]
        .iter()
        .fold(text, |text, name| text.replace(&format!("= {name}"), &at(name)));
    ensure!(text.contains("localhost:2181"), "the example has no quorum");
    Ok(text
        .replace("localhost:2181", &hbase.quorum())
        .replace("batchSize = 1000", "batchSize = 50"))
}

/// All rows as their columns, and how many versions there are besides.
fn rows(hbase: &mut HBase) -> Result<(Vec<BTreeMap<String, String>>, usize)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut rows: BTreeMap<Vec<u8>, BTreeMap<String, String>> = BTreeMap::new();
    let mut more = 0;
    for cell in hbase.cells("syslog")? {
        let row = rows.entry(cell.row).or_default();
        more += usize::from(row.insert(text(&cell.qualifier), text(&cell.value)).is_some());
    }
    Ok((rows.into_values().collect(), more))
}

#[test]
fn lines_are_rows_once() -> Result<()> {
    let Some((mut hbase, dir, _turn)) = cluster() else { return Ok(()) };
    let ours = match Make::splashdam() {
        Ok(ours) => ours,
        Err(missing) => {
            assert!(!is_set("SPLASHDAM_REQUIRE_INTEROP"), "{missing}");
            eprintln!("skipped: {missing}");
            return Ok(());
        }
    };
    let run = dir.path().join("run");
    for folder in ["data/logs", "data/rejected"] {
        fs::create_dir_all(run.join(folder))?;
    }
    fs::write(run.join("once.conf"), configuration(&run, &hbase)?)?;
    hbase.drive("create syslog l")?;
    let mut log =
        OpenOptions::new().create(true).append(true).open(run.join("data/logs/app.log"))?;
    let launch = Launch { agent: "logs", file: "once.conf", ..Launch::default() };
    // The agent is killed while it delivers, more than once, and goes on.
    for life in 0..LIVES {
        let mut agent = Agent::launch(&ours, &run, launch)?;
        for number in life * LINES / LIVES..(life + 1) * LINES / LIVES {
            writeln!(log, "{}", line(number).0)?;
        }
        if life + 1 < LIVES {
            agent.wait_until(LIMIT, "begun to deliver", |metrics| {
                metrics.count("SINK.table", "EventDrainSuccessCount") >= Some(100)
            })?;
            agent.kill()?;
        } else {
            let began = Instant::now();
            while hbase.cells("syslog")?.len() < 5 * (LINES - LINES / 100) {
                ensure!(began.elapsed() < LIMIT, "not all lines came within {LIMIT:?}");
                thread::sleep(Duration::from_millis(200));
            }
            agent.stop()?;
        }
    }
    let (mut rows, more) = rows(&mut hbase)?;
    let (mut want, mut apart) = (Vec::new(), Vec::new());
    for (text, columns) in (0..LINES).map(line) {
        match columns {
            Some(columns) => want.push(columns),
            None => apart.push(text),
        }
    }
    rows.sort();
    want.sort();
    assert!(rows == want, "{} rows, {} wanted", rows.len(), want.len());
    assert_eq!(more, 0, "cells were written again with other times");
    rejected(&run.join("data/rejected"), &apart)
}

/// Looks for each line that is of another form, with its reason, in the files of the other sink.
fn rejected(folder: &Path, lines: &[String]) -> Result<()> {
    let mut text = String::new();
    for path in fs::read_dir(folder)?.map(|entry| Ok::<_, Error>(entry?.path())) {
        let path = path?;
        if path.is_file() {
            text += &fs::read_to_string(path)?;
        }
    }
    for line in lines {
        let found = text.lines().find(|said| said.ends_with(line.as_str()));
        let said = found.with_context(|| format!("`{line}` is not among the dead letters"))?;
        ensure!(said.contains("deadLetter.reason") && said.contains("does not match"), "{said}");
    }
    Ok(())
}
