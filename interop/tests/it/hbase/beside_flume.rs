//! Real Flume's `hbase2` sink and ours on the same lines: the same cells, but for what chance and clocks make.

use std::fs;
use std::path::Path;

use anyhow::Result;
use splashdam_interop::hbase::HBase;
use splashdam_interop::{Agent, Make, Peers};

use super::cluster;
use crate::side_by_side::{LIMIT, is_set};

const LINES: &str = "web1 503 timed out\nnothing here\nweb2 200 x\nw\u{e9}b 1 \u{fc}ber\n";
const COUNT: u64 = 4;

/// Runs an agent until it has taken all lines, and answers the newest cells as text, sorted.
fn cells(make: &Make, hbase: &mut HBase, dir: &Path, keys: &str) -> Result<Vec<String>> {
    fs::create_dir_all(dir)?;
    fs::write(dir.join("in.log"), LINES)?;
    let at = dir.display();
    let config = format!(
        "a1.sources = r1\na1.channels = c1\na1.sinks = k1\n\
         a1.sources.r1.type = TAILDIR\n\
         a1.sources.r1.filegroups = g\n\
         a1.sources.r1.filegroups.g = {at}/in.log\n\
         a1.sources.r1.positionFile = {at}/position.json\n\
         a1.sources.r1.headers.g.zone = e\u{e4}st\n\
         a1.sources.r1.channels = c1\n\
         a1.channels.c1.type = memory\n\
         a1.channels.c1.keep-alive = 1\n\
         a1.sinks.k1.type = hbase2\n\
         a1.sinks.k1.channel = c1\n\
         a1.sinks.k1.table = t\n\
         a1.sinks.k1.columnFamily = f\n\
         a1.sinks.k1.zookeeperQuorum = {}\n{keys}",
        hbase.quorum()
    );
    hbase.drive("create t f")?;
    let mut agent = Agent::start(make, dir, &config)?;
    agent.wait_until(LIMIT, "taken lines", |metrics| {
        metrics.count("CHANNEL.c1", "EventTakeSuccessCount") >= Some(COUNT)
    })?;
    agent.stop()?;
    let mut cells = hbase.cells("t")?;
    cells.dedup_by(|later, first| later.row == first.row && later.qualifier == first.qualifier);
    let mut shown: Vec<String> = cells
        .iter()
        .map(|cell| {
            let [row, column, value] = [&cell.row, &cell.qualifier, &cell.value]
                .map(|bytes| bytes.escape_ascii().to_string());
            format!("{} {column}={value}", shape(&row))
        })
        .collect();
    shown.sort();
    hbase.drive("drop t")?;
    Ok(shown)
}

/// A row key with each hexadecimal digit, decimal or letter of a made part replaced, so that only its form is left.
fn shape(row: &str) -> String {
    for prefix in ["p-", "default"] {
        if let Some(made) = row.strip_prefix(prefix) {
            let kind = |c: char| if c.is_ascii_hexdigit() { 'x' } else { c };
            return format!("{prefix}{}", made.chars().map(kind).collect::<String>());
        }
    }
    let parts: Vec<&str> = row.split('-').collect();
    let is_number = |text: &str| text.parse::<u64>().is_ok();
    match parts[..] {
        [time, letters, count] if is_number(time) && is_number(count) => {
            format!("{}-{}-{count}", time.len(), letters.len())
        }
        _ => row.to_owned(),
    }
}

#[test]
fn the_same_cells() -> Result<()> {
    let Some((mut hbase, dir, _turn)) = cluster() else { return Ok(()) };
    let (flume, ours) = match (Peers::with_hbase(), Make::splashdam()) {
        (Ok(flume), Ok(ours)) => (Make::Flume(flume).briefly(), ours),
        (Err(missing), _) | (_, Err(missing)) => {
            assert!(!is_set("SPLASHDAM_REQUIRE_INTEROP"), "{missing}");
            eprintln!("skipped: {missing}");
            return Ok(());
        }
    };
    let class =
        |name: &str| format!("a1.sinks.k1.serializer = org.apache.flume.sink.hbase2.{name}");
    let regex = class("RegexHBase2EventSerializer");
    let simple = class("SimpleHBase2EventSerializer");
    let group =
        "a1.sinks.k1.serializer.regex = (\\\\S+) (\\\\d+) (.*)\na1.sinks.k1.serializer.colNames = ";
    let cases = [
        ("", 5),
        (
            &*format!(
                "{simple}\na1.sinks.k1.serializer.rowPrefix = p-\na1.sinks.k1.coalesceIncrements = true"
            ),
            5,
        ),
        (&*format!("{regex}\na1.sinks.k1.enableWal = false"), 4),
        (
            &*format!(
                "{regex}\n{group}ROW_KEY,status,message\na1.sinks.k1.serializer.rowKeyIndex = 0"
            ),
            6,
        ),
        (
            &*format!(
                "{regex}\n{group}a,b,c\na1.sinks.k1.serializer.depositHeaders = true\na1.sinks.k1.serializer.charset = ISO-8859-1"
            ),
            12,
        ),
        (&*format!("{regex}\n{group}too,few"), 0),
    ];
    for (number, (keys, count)) in cases.into_iter().enumerate() {
        let mut run = |make: &Make| {
            let dir = dir.path().join(format!("{}-{number}", make.name()));
            cells(make, &mut hbase, &dir, keys)
        };
        let (theirs, ours) = (run(&flume)?, run(&ours)?);
        assert_eq!(theirs, ours, "{keys}");
        assert_eq!(ours.len(), count, "{keys}: {ours:?}");
    }
    Ok(())
}
