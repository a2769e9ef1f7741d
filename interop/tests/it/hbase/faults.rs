//! Seeded rounds of trouble under load: regions split, merge and move, a region server is killed, or frozen so that it
//! accepts and never answers, a table is disabled, everything restarts, ZooKeeper included. Each event is in the table
//! afterwards, and with `effectivelyOnce` there is one row for it.
//!
//! `SPLASHDAM_HBASE_ROUNDS` says how many rounds (3), `SPLASHDAM_HBASE_SEED` with which seed they begin.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use splashdam_core::Random;
use splashdam_interop::hbase::{HBase, HBasePeer, hex};
use splashdam_interop::{Agent, Launch, Make};

use super::{cluster, cluster_by};
use crate::side_by_side::is_set;

/// A killed server is missed after its session, and its log is then split; a restart takes as long as two starts.
const ROUND_LIMIT: Duration = Duration::from_secs(150);
const TABLES: [&str; 2] = ["once", "least"];

#[derive(Clone, Copy, Debug)]
enum Trouble {
    Split,
    KillServer,
    Restart,
    Move,
    Disable,
    Merge,
    Freeze,
}

const TROUBLES: [Trouble; 7] = [
    Trouble::Split,
    Trouble::KillServer,
    Trouble::Restart,
    Trouble::Move,
    Trouble::Disable,
    Trouble::Merge,
    Trouble::Freeze,
];
/// Longer than the session of a region server: its regions are given to another meanwhile.
const FROZEN: Duration = Duration::from_secs(8);
/// So long there is no ZooKeeper.
const ZOOKEEPER_GONE: Duration = Duration::from_secs(15);
/// Between two events: so many that each trouble meets some, so few that the tables of many rounds can be read.
const EVENT_EVERY: Duration = Duration::from_millis(4);

fn number(name: &str, otherwise: u64) -> u64 {
    env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn configuration(dir: &Path, hbase: &HBase) -> String {
    let at = dir.display();
    let mut text = format!(
        "a1.sources = r1\na1.channels = once least\na1.sinks = once least\n\
         a1.sources.r1.type = TAILDIR\na1.sources.r1.filegroups = g\n\
         a1.sources.r1.filegroups.g = {at}/in.log\na1.sources.r1.positionFile = {at}/position.json\n\
         a1.sources.r1.channels = once least\na1.sources.r1.batchSize = 20\n\
         a1.sinks.once.effectivelyOnce = true\na1.sinks.once.serializer.count = false\n\
         a1.sinks.least.serializer.count = false\n"
    );
    for name in TABLES {
        text += &format!(
            "a1.channels.{name}.type = file\na1.channels.{name}.checkpointDir = {at}/checkpoint\n\
             a1.channels.{name}.dataDirs = {at}/log\n\
             a1.sinks.{name}.type = hbase2\na1.sinks.{name}.channel = {name}\n\
             a1.sinks.{name}.table = {name}\na1.sinks.{name}.columnFamily = f\n\
             a1.sinks.{name}.batchSize = 20\na1.sinks.{name}.zookeeperQuorum = {}\n",
            hbase.quorum()
        );
    }
    text
}

/// How many rows each event has.
fn rows(hbase: &mut HBase, table: &str) -> Result<BTreeMap<u64, usize>> {
    let mut rows = BTreeMap::new();
    for cell in hbase.cells(table)? {
        let text = String::from_utf8(cell.value)?;
        let event = text.parse().with_context(|| format!("`{text}` is no event"))?;
        *rows.entry(event).or_default() += 1;
    }
    Ok(rows)
}

/// A region that a split or a merge has just made may refuse the next one.
fn try_to(hbase: &mut HBase, command: &str) {
    if let Err(why) = hbase.drive(command) {
        println!("{}", format!("{why:#}").chars().take(200).collect::<String>());
    }
}

fn make_trouble(hbase: &mut HBase, trouble: Trouble, random: &Random) -> Result<()> {
    match trouble {
        Trouble::Split => {
            // Row keys of `least` begin with a UUID, those of `once` end in the number.
            let row = format!("default{:08x}", random.next() >> 32);
            try_to(hbase, &format!("split least {}", hex(row.as_bytes())));
            hbase.drive("move least")?;
        }
        Trouble::Merge => {
            try_to(hbase, &format!("join least {}", random.below(1000)));
            hbase.drive("move least")?;
        }
        Trouble::Move => {
            hbase.drive("move once")?;
            hbase.drive("move least")?;
        }
        Trouble::Disable => {
            hbase.drive("disable once")?;
            thread::sleep(Duration::from_millis(500));
            hbase.drive("enable once")?;
        }
        Trouble::KillServer => {
            // Until it has regions of the tables: each move puts them on any server.
            hbase.drive("move once")?;
            hbase.drive("move least")?;
            hbase.kill_second()?;
        }
        Trouble::Freeze => {
            hbase.drive("move once")?;
            hbase.drive("move least")?;
            hbase.freeze_second()?;
            thread::sleep(FROZEN);
            hbase.kill_second()?;
        }
        Trouble::Restart => hbase.restart()?,
    }
    if matches!(trouble, Trouble::KillServer | Trouble::Freeze | Trouble::Restart) {
        hbase.start_second()?;
    }
    Ok(())
}

#[test]
fn trouble_under_load_loses_nothing_and_once_is_once() -> Result<()> {
    let (rounds, first_seed) =
        (number("SPLASHDAM_HBASE_ROUNDS", 3), number("SPLASHDAM_HBASE_SEED", 1));
    let Some((mut hbase, dir, _turn)) = cluster() else { return Ok(()) };
    let Some(ours) = ours() else { return Ok(()) };
    hbase.start_second()?;
    let (run, mut log) = prepare(&mut hbase, dir.path())?;
    let config = configuration(&run, &hbase);
    let mut agent = Agent::start(&ours, &run, &config)?;
    let mut written = 0;
    for round in 0..rounds {
        let seed = first_seed + round;
        let random = Random::new(seed);
        let trouble = TROUBLES[usize::try_from(seed - 1)? % TROUBLES.len()];
        let kills_agent = random.below(3) == 0;
        println!("round {seed}: {trouble:?}, agent killed: {kills_agent}");
        let load = Load::begin(log, written);
        thread::sleep(Duration::from_millis(200 + random.below(300) as u64));
        let troubled = make_trouble(&mut hbase, trouble, &random);
        if kills_agent {
            agent.kill()?;
            agent = Agent::start(&ours, &run, &config)?;
        }
        (log, written) = load.end()?;
        troubled.with_context(|| format!("round {seed}"))?;
        let took = settle(&mut hbase, written)
            .with_context(|| format!("round {seed}: {}", agent.log_tail()))?;
        println!("round {seed}: {written} events, all of them in both tables {took:.1?} later");
    }
    let once = each_is_there_once(&mut hbase)?;
    println!("{rounds} rounds from seed {first_seed}: {once} events, each once in `once`");
    agent.stop()?;
    Ok(())
}

/// ZooKeeper alone goes, for longer than the sessions of all who had one. Who knows the servers goes on writing; an agent
/// that is started meanwhile knows none, and waits.
#[test]
fn zookeeper_alone_may_be_gone_for_longer_than_a_session() -> Result<()> {
    let Some((mut hbase, dir, _turn)) = cluster_by(HBasePeer::start_apart) else { return Ok(()) };
    let Some(ours) = ours() else { return Ok(()) };
    let (run, log) = prepare(&mut hbase, dir.path())?;
    let agent = Agent::start(&ours, &run, &configuration(&run, &hbase))?;
    let load = Load::begin(log, 0);
    let arrive = |hbase: &mut HBase, events: usize| -> Result<usize> {
        let began = Instant::now();
        loop {
            let seen = rows(hbase, "once").map_or(0, |rows| rows.len());
            if seen >= events {
                return Ok(seen);
            }
            ensure!(began.elapsed() < ROUND_LIMIT, "{seen} events are in the table, not {events}");
            thread::sleep(Duration::from_millis(100));
        }
    };
    arrive(&mut hbase, 1)?;
    assert!(ZOOKEEPER_GONE > hbase.session());
    hbase.zookeeper()?.kill()?;
    let gone = Instant::now();
    let seen = arrive(&mut hbase, 0)?;
    arrive(&mut hbase, seen + 500)?;
    println!("events go on arriving without ZooKeeper, {:.1?} after it went", gone.elapsed());
    agent.kill()?;
    let agent = Agent::spawn(&ours, &run, Launch::default())?;
    thread::sleep(ZOOKEEPER_GONE.saturating_sub(gone.elapsed()));
    hbase.zookeeper()?.restart()?;
    println!("ZooKeeper is there again {:.1?} after it went", gone.elapsed());
    let (_, written) = load.end()?;
    let took = settle(&mut hbase, written).with_context(|| agent.log_tail())?;
    let once = each_is_there_once(&mut hbase)?;
    println!("all of {once} events in both tables {took:.1?} later, each once in `once`");
    agent.stop()?;
    Ok(())
}

/// Our agent, or `None` after saying what is missing.
fn ours() -> Option<Make> {
    let ours = Make::splashdam();
    ours.inspect_err(|missing| {
        assert!(!is_set("SPLASHDAM_REQUIRE_INTEROP"), "{missing}");
        eprintln!("skipped: {missing}");
    })
    .ok()
}

/// Makes the tables, and a directory with a file for the agent to follow.
fn prepare(hbase: &mut HBase, dir: &Path) -> Result<(PathBuf, File)> {
    for table in TABLES {
        let borders = b"2468ace".map(|digit| hex(&[b"default", &[digit][..]].concat()));
        hbase.drive(&format!("create {table} f {}", borders.join(",")))?;
    }
    let run = dir.join("run");
    fs::create_dir_all(&run)?;
    let log = OpenOptions::new().create(true).append(true).open(run.join("in.log"))?;
    Ok((run, log))
}

/// Somebody who writes events all the time.
struct Load {
    over: Arc<AtomicBool>,
    writer: JoinHandle<Result<(File, u64)>>,
}

impl Load {
    /// Writes numbers from `written` on, at least 200.
    fn begin(mut log: File, written: u64) -> Load {
        let over = Arc::new(AtomicBool::new(false));
        let seen = over.clone();
        let writer = thread::spawn(move || {
            let mut next = written;
            while !seen.load(Relaxed) || next < written + 200 {
                writeln!(log, "{next}")?;
                next += 1;
                thread::sleep(EVENT_EVERY);
            }
            Ok((log, next))
        });
        Load { over, writer }
    }

    /// The file, and the number that would have come next.
    fn end(self) -> Result<(File, u64)> {
        self.over.store(true, Relaxed);
        self.writer.join().map_err(|_| anyhow::anyhow!("the writer panicked"))?
    }
}

/// How many events there are, each with one row in the table `once`.
fn each_is_there_once(hbase: &mut HBase) -> Result<usize> {
    let once = rows(hbase, "once")?;
    let twice: Vec<_> = once.iter().filter(|(_, rows)| **rows != 1).take(10).collect();
    ensure!(twice.is_empty(), "events with several cells: {twice:?}");
    Ok(once.len())
}

/// Waits until every event is in both tables, and says how long that took.
fn settle(hbase: &mut HBase, written: u64) -> Result<Duration> {
    let began = Instant::now();
    for table in TABLES {
        loop {
            let asked = Instant::now();
            // While regions move a scan may fail.
            let seen = rows(hbase, table).map(|rows| rows.len() as u64);
            match seen {
                Ok(seen) if seen == written => break,
                seen => ensure!(
                    began.elapsed() < ROUND_LIMIT,
                    "{written} events were written, and table {table} has {seen:?}"
                ),
            }
            // Reading a large table is work for the servers, too.
            thread::sleep(asked.elapsed().max(Duration::from_millis(500)));
        }
    }
    Ok(began.elapsed())
}
