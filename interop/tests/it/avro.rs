//! Hops over Avro RPC: Flume's sink and clients to our source, our sink to Flume's source, ours to ours.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use splashdam_interop::agent::free_port;
use splashdam_interop::{Agent, Make, outputs, rpc_client};

use crate::side_by_side::{LIMIT, pair};

/// Events of a hop.
const EVENTS: u32 = 3000;
/// Pairs of keys: the source's, and what its peers need.
const WAYS: &[(&str, &str, &str)] = &[
    ("plain", "", ""),
    ("deflate", "compression-type = deflate", "compression-type = deflate\ncompression-level = 9"),
    (
        "tls",
        TLS,
        "ssl = true\ntruststore = {stores}/trust.jks\ntruststore-password = storePassword",
    ),
    (
        "tls and deflate",
        "compression-type = deflate\nssl = true\nkeystore = {stores}/pair.jks\nkeystore-password = storePassword",
        "compression-type = deflate\nssl = true\ntrust-all-certs = true",
    ),
];
const TLS: &str = "ssl = true\nkeystore = {stores}/pair.jks\nkeystore-password = storePassword";

fn keys(of: &str, keys: &str) -> String {
    let stores = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/components/testdata/tls");
    let keys = keys.replace("{stores}", stores);
    keys.lines().map(|line| format!("{of}.{line}\n")).collect()
}

/// Avro source, memory channel, file_roll to `dir/out`.
fn receiver(dir: &Path, port: u16, of_source: &str) -> Result<String> {
    let out = dir.join("out");
    fs::create_dir_all(&out)?;
    Ok(format!(
        "a1.sources = r1\na1.channels = c1\na1.sinks = k1\n\
         a1.sources.r1.type = avro\n\
         a1.sources.r1.bind = 127.0.0.1\n\
         a1.sources.r1.port = {port}\n\
         a1.sources.r1.channels = c1\n\
         a1.channels.c1.type = memory\n\
         a1.channels.c1.capacity = 10000\n\
         a1.channels.c1.transactionCapacity = 1000\n\
         a1.sinks.k1.type = file_roll\n\
         a1.sinks.k1.channel = c1\n\
         a1.sinks.k1.sink.directory = {}\n\
         a1.sinks.k1.sink.rollInterval = 0\n\
         a1.sinks.k1.sink.serializer = header_and_text\n{}",
        out.display(),
        keys("a1.sources.r1", of_source)
    ))
}

/// Numbers with a header, memory channel, Avro sink.
fn sender(port: u16, of_sink: &str) -> String {
    format!(
        "a1.sources = r1\na1.channels = c1\na1.sinks = k1\n\
         a1.sources.r1.type = seq\n\
         a1.sources.r1.totalEvents = {EVENTS}\n\
         a1.sources.r1.batchSize = 100\n\
         a1.sources.r1.channels = c1\n\
         a1.sources.r1.interceptors = i1\n\
         a1.sources.r1.interceptors.i1.type = static\n\
         a1.sources.r1.interceptors.i1.key = from\n\
         a1.sources.r1.interceptors.i1.value = w\\u00e4rts\n\
         a1.channels.c1.type = memory\n\
         a1.channels.c1.capacity = 10000\n\
         a1.channels.c1.transactionCapacity = 1000\n\
         a1.sinks.k1.type = avro\n\
         a1.sinks.k1.channel = c1\n\
         a1.sinks.k1.hostname = 127.0.0.1\n\
         a1.sinks.k1.port = {port}\n\
         a1.sinks.k1.batch-size = 70\n{}",
        keys("a1.sinks.k1", of_sink)
    )
}

fn site(dir: &Path, name: &str) -> Result<std::path::PathBuf> {
    let site = dir.join(name);
    fs::create_dir_all(&site)?;
    Ok(site)
}

/// Waits until the receiver's sink has written so many events, and answers its lines.
fn received(mut agent: Agent, dir: &Path, events: u32) -> Result<Vec<String>> {
    agent.wait_until(LIMIT, "events", |metrics| {
        metrics.count("SINK.k1", "EventDrainSuccessCount") >= Some(events.into())
    })?;
    agent.stop()?;
    outputs::lines(&dir.join("out"))
}

fn hop(from: &Make, to: &Make, of_source: &str, of_sink: &str) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let port = free_port()?;
    let (there, here) = (site(dir.path(), "receiver")?, site(dir.path(), "sender")?);
    let receiving = Agent::start(to, &there, &receiver(&there, port, of_source)?)?;
    let sending = Agent::start(from, &here, &sender(port, of_sink))?;
    let lines = received(receiving, &there, EVENTS)?;
    let want: Vec<String> = (0..EVENTS).map(|n| format!("{{from=wärts}} {n}")).collect();
    ensure!(lines == want, "{} of {EVENTS} lines, {:?} …", lines.len(), lines.first());
    sending.stop()?;
    Ok(())
}

/// Hops between these two, each way that a connection can be.
fn hops(pick: impl Fn(&[Make; 2]) -> (Make, Make)) {
    let Some((makes, _turn)) = pair() else { return };
    let (from, to) = pick(&makes);
    for (way, of_source, of_sink) in WAYS {
        hop(&from, &to, of_source, of_sink)
            .unwrap_or_else(|error| panic!("{} → {}, {way}: {error:?}", from.name(), to.name()));
    }
}

#[test]
fn flumes_sink_to_our_source() {
    hops(|[flume, ours]| (flume.clone(), ours.clone()));
}

#[test]
fn our_sink_to_flumes_source() {
    hops(|[flume, ours]| (ours.clone(), flume.clone()));
}

#[test]
fn our_sink_to_our_source() {
    hops(|[_, ours]| (ours.clone(), ours.clone()));
}

#[test]
fn flumes_java_clients_to_our_source() {
    let Some(([flume, ours], _turn)) = pair() else { return };
    let Make::Flume(peers) = flume else { panic!("a JDK") };
    let run = |of_source: &str, of_client: &str| -> Result<()> {
        let dir = tempfile::tempdir()?;
        let port = free_port()?;
        let agent = Agent::start(&ours, dir.path(), &receiver(dir.path(), port, of_source)?)?;
        let mut properties = vec!["batch-size=90".to_owned()];
        // Nobody listens at the first of two.
        let dead = free_port()?;
        let hosts = format!("hosts.h1=127.0.0.1:{dead}\nhosts.h2=127.0.0.1:{port}");
        properties.extend(match of_client.starts_with("client.type") {
            true => format!("hosts=h1 h2\n{hosts}").lines().map(str::to_owned).collect::<Vec<_>>(),
            false => vec!["hosts=h2".to_owned(), format!("hosts.h2=127.0.0.1:{port}")],
        });
        properties.extend(keys("", of_client).lines().map(|line| {
            let line = line.trim_start_matches('.');
            line.split_once(" = ").map_or(line.to_owned(), |(key, value)| format!("{key}={value}"))
        }));
        rpc_client::send(&peers, dir.path(), &properties, EVENTS)?;
        let mut lines = received(agent, dir.path(), EVENTS)?;
        let mut want: Vec<String> = (0..EVENTS).map(|n| format!("{{n={n}}} {n}")).collect();
        if of_client.contains("default_loadbalance") {
            lines.sort();
            want.sort();
        }
        ensure!(lines == want, "{} of {EVENTS} lines, {:?} …", lines.len(), lines.first());
        Ok(())
    };
    let failing = [
        ("failover", "", "client.type = default_failover"),
        ("load balance", "", "client.type = default_loadbalance\nbackoff = true"),
    ];
    for (way, of_source, of_client) in WAYS.iter().chain(&failing) {
        run(of_source, of_client).unwrap_or_else(|error| panic!("{way}: {error:?}"));
    }
}

/// Sender and receiver with file channels; either is killed again and again, and each event arrives once.
#[test]
fn ours_are_killed_and_each_event_arrives_once() {
    let Some(([_, ours], _turn)) = pair() else { return };
    killed(&ours, 20_000).unwrap();
}

fn killed(ours: &Make, events: u32) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let port = free_port()?;
    let (there, here) = (site(dir.path(), "receiver")?, site(dir.path(), "sender")?);
    let input = site(dir.path(), "spool")?;
    let text: String = (0..events).map(|n| format!("{n}\n")).collect();
    fs::write(input.join("numbers"), text)?;
    let file_channel = |site: &Path| {
        format!(
            "a1.channels.c1.type = file\n\
             a1.channels.c1.checkpointDir = {0}/checkpoint\n\
             a1.channels.c1.dataDirs = {0}/data\n\
             a1.channels.c1.minimumRequiredSpace = 1048576\n\
             a1.channels.c1.transactionCapacity = 1000\n",
            site.display()
        )
    };
    let collects = receiver(&there, port, "")?
        .replace("a1.channels.c1.type = memory\n", &file_channel(&there))
        .replace("a1.channels.c1.capacity = 10000\n", "")
        // What a sink has written is written again after a kill: that is another hop's affair.
        .replace("a1.sinks = k1\n", "a1.sinks =\n");
    let sends = format!(
        "a1.sources = r1\na1.channels = c1\na1.sinks = k1 k2\n\
         a1.sources.r1.type = spooldir\n\
         a1.sources.r1.spoolDir = {}\n\
         a1.sources.r1.channels = c1\n{}\
         a1.sinks.k1.type = avro\n\
         a1.sinks.k1.channel = c1\n\
         a1.sinks.k1.hostname = 127.0.0.1\n\
         a1.sinks.k1.port = {port}\n\
         a1.sinks.k1.batch-size = 7\n\
         a1.sinks.k2.type = avro\n\
         a1.sinks.k2.channel = c1\n\
         a1.sinks.k2.hostname = 127.0.0.1\n\
         a1.sinks.k2.port = {port}\n\
         a1.sinks.k2.batch-size = 13\n",
        input.display(),
        file_channel(&here),
    );
    let mut receiving = Agent::start(ours, &there, &collects)?;
    let mut sending = Agent::start(ours, &here, &sends)?;
    for round in 0..12_u64 {
        thread::sleep(Duration::from_millis(150 + round * 37 % 200));
        if round % 2 == 0 {
            sending.kill()?;
            sending = Agent::start(ours, &here, &sends)?;
        } else {
            receiving.kill()?;
            receiving = Agent::start(ours, &there, &collects)?;
        }
    }
    sending.wait_until(LIMIT, "empty channel", |metrics| {
        metrics.count("CHANNEL.c1", "ChannelSize") == Some(0)
            && fs::exists(input.join("numbers.COMPLETED")).unwrap_or(false)
    })?;
    sending.stop()?;
    receiving.kill()?;
    let writes =
        collects.replace("a1.sinks =\n", "a1.sinks = k1\n").replace("header_and_text", "text");
    let receiving = Agent::start(ours, &there, &writes)?;
    let lines = received(receiving, &there, events)?;
    let mut numbers: Vec<u32> = lines
        .iter()
        .map(|line| line.parse().with_context(|| format!("a line {line:?}")))
        .collect::<Result<_>>()?;
    numbers.sort_unstable();
    ensure!(numbers.len() == events as usize, "{} events of {events}", numbers.len());
    ensure!(numbers.iter().copied().eq(0..events), "some are missing, some are there twice");
    Ok(())
}
