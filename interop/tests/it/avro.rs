//! Hops over Avro RPC: Flume's sink and clients to our source, our sink to Flume's source, ours to ours.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use splashdam_interop::agent::free_port;
use splashdam_interop::{Agent, Make, Peers, log4j, outputs, rpc_client};

use crate::side_by_side::{LIMIT, pair};

/// Events of a hop.
const EVENTS: u32 = 3000;
/// Events that Log4j sends, one call each.
const LOGGED: u32 = 200;
/// Pairs of keys: the source's, and what its peers need.
const WAYS: &[(&str, &str, &str)] = &[
    ("plain", "", ""),
    ("deflate", "compression-type = deflate", "compression-type = deflate\ncompression-level = 9"),
    ("tls", TLS, "ssl = true\ntrust-all-certs = true"),
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

/// Avro source, file channel, Avro sink.
fn middle(dir: &Path, port: u16, next: u16) -> String {
    format!(
        "a1.sources = r1\na1.channels = c1\na1.sinks = k1\n\
         a1.sources.r1.type = avro\n\
         a1.sources.r1.bind = 127.0.0.1\n\
         a1.sources.r1.port = {port}\n\
         a1.sources.r1.channels = c1\n\
         a1.channels.c1.type = file\n\
         a1.channels.c1.checkpointDir = {0}/checkpoint\n\
         a1.channels.c1.dataDirs = {0}/data\n\
         a1.channels.c1.minimumRequiredSpace = 1048576\n\
         a1.sinks.k1.type = avro\n\
         a1.sinks.k1.channel = c1\n\
         a1.sinks.k1.hostname = 127.0.0.1\n\
         a1.sinks.k1.port = {next}\n\
         a1.sinks.k1.batch-size = 50\n",
        dir.display()
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
    let lines = received(receiving, &there, EVENTS).with_context(|| sending.log_tail())?;
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

/// Ours, Flume, ours; the one in the middle is killed as soon as something has come through. What it had taken and
/// not handed on comes after its next start; some of it may be there twice.
#[test]
fn three_hops_with_flume_in_the_middle() {
    let Some(([flume, ours], _turn)) = pair() else { return };
    let run = || -> Result<usize> {
        let dir = tempfile::tempdir()?;
        let (second, third) = (free_port()?, free_port()?);
        let sites = ["first", "second", "third"].map(|name| site(dir.path(), name));
        let [here, between, there] = sites;
        let (here, between, there) = (here?, between?, there?);
        let mut last = Agent::start(&ours, &there, &receiver(&there, third, "")?)?;
        let config = middle(&between, second, third);
        let killed = Agent::start(&flume, &between, &config)?;
        let mut first = Agent::start(&ours, &here, &sender(second, ""))?;
        let drained = |count: u64| {
            move |metrics: &splashdam_interop::Metrics| {
                metrics.count("SINK.k1", "EventDrainSuccessCount") >= Some(count)
            }
        };
        last.wait_until(LIMIT, "a first event", drained(1))?;
        killed.kill()?;
        let mut again = Agent::start(&flume, &between, &config)?;
        first.wait_until(LIMIT, "all sent", drained(EVENTS.into()))?;
        again.wait_until(LIMIT, "an empty channel", |metrics| {
            metrics.count("CHANNEL.c1", "ChannelSize") == Some(0)
        })?;
        for agent in [first, again, last] {
            agent.stop()?;
        }
        let lines = outputs::lines(&there.join("out"))?;
        let distinct: BTreeSet<&String> = lines.iter().collect();
        let want: Vec<String> = (0..EVENTS).map(|n| format!("{{from=wärts}} {n}")).collect();
        ensure!(distinct == want.iter().collect(), "{} of {EVENTS} lines", distinct.len());
        Ok(lines.len() - distinct.len())
    };
    println!("flume in the middle, killed once: 0 lost, {} double", run().unwrap());
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
        rpc_client::send(&peers, dir.path(), &properties, EVENTS)
            .with_context(|| agent.log_tail())?;
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

/// Flume's appenders for Log4j 1: one that knows one agent, and one that shares its events among several.
#[test]
fn flumes_log4j_appenders_to_our_source() {
    let Some(([_, ours], _turn)) = pair() else { return };
    let peers = Peers::of_log4j().unwrap();
    let class = "org.apache.flume.clients.log4jappender";
    let run = |appender: &dyn Fn(u16) -> String| -> Result<()> {
        let dir = tempfile::tempdir()?;
        let port = free_port()?;
        let agent = Agent::start(&ours, dir.path(), &receiver(dir.path(), port, "")?)?;
        let configuration = format!(
            "log4j.rootLogger = INFO, out\n\
             log4j.appender.out = org.apache.log4j.ConsoleAppender\n\
             log4j.appender.out.layout = org.apache.log4j.SimpleLayout\n\
             log4j.additivity.mill = false\n\
             log4j.logger.mill = INFO, flume\n{}\
             log4j.appender.flume.layout = org.apache.log4j.PatternLayout\n\
             log4j.appender.flume.layout.ConversionPattern = %p %m\n",
            appender(port)
        );
        log4j::send(&peers, dir.path(), &configuration, LOGGED)
            .with_context(|| agent.log_tail())?;
        let lines = received(agent, dir.path(), LOGGED)?;
        for (number, line) in lines.iter().enumerate() {
            ensure!(line.ends_with(&format!(" INFO n{number}")), "line {number} is {line:?}");
            for header in ["logger.name=mill", "log.level=20000", "message.encoding=UTF8"] {
                let header = format!("flume.client.log4j.{header}");
                ensure!(line.contains(&header), "{header} is not in {line:?}");
            }
        }
        ensure!(lines.len() == LOGGED as usize, "{} of {LOGGED} lines", lines.len());
        Ok(())
    };
    let one = |port| {
        format!(
            "log4j.appender.flume = {class}.Log4jAppender\n\
             log4j.appender.flume.Hostname = 127.0.0.1\n\
             log4j.appender.flume.Port = {port}\n"
        )
    };
    run(&one).expect("Log4jAppender");
    // Nobody listens at the first.
    let dead = free_port().unwrap();
    let several = |port| {
        format!(
            "log4j.appender.flume = {class}.LoadBalancingLog4jAppender\n\
             log4j.appender.flume.Hosts = 127.0.0.1:{dead} 127.0.0.1:{port}\n\
             log4j.appender.flume.Selector = ROUND_ROBIN\n\
             log4j.appender.flume.MaxBackoff = 30000\n"
        )
    };
    run(&several).expect("LoadBalancingLog4jAppender");
}
