//! Workload `http`: clients on this machine post events in JSON, which go through a file channel into a null sink.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use splashdam_interop::agent::free_port;
use splashdam_interop::{Agent, Make};

use crate::machine;
use crate::options::Options;
use crate::workload::{Better, Quantity, Run, Unit, Workload};

const QUANTITIES: &[Quantity] = &[
    Quantity { name: "Events per second", unit: Unit::EventsPerSecond, better: Better::Higher },
    Quantity {
        name: "CPU of the agent per million events",
        unit: Unit::CpuSecondsPerMillion,
        better: Better::Lower,
    },
    Quantity { name: "Peak memory", unit: Unit::Bytes, better: Better::Lower },
];

pub(crate) const WORKLOAD: Workload = Workload {
    name: "http",
    title: "HTTP source: JSON into a file channel",
    about,
    quantities: QUANTITIES,
    prepare,
    peer: None,
};

/// Connections, each with one request under way.
const CLIENTS: usize = 8;
/// Events in a request.
const BATCH: usize = 100;
const BODY_BYTES: usize = 200;
/// How long the source may take until it listens.
const START: Duration = Duration::from_secs(30);

fn times(options: &Options) -> (Duration, Duration) {
    let (warm_up, measured) = if options.quick { (3, 3) } else { (15, 10) };
    (Duration::from_secs(warm_up), Duration::from_secs(measured))
}

fn about(options: &Options) -> String {
    let (warm_up, measured) = times(options);
    format!(
        "{CLIENTS} connections over loopback, each posting one request after the other: {BATCH} events in JSON with two \
         headers and a body of {BODY_BYTES} bytes. HTTP source with Flume's JSON handler, file channel that syncs each \
         commit, null sink. After {warm_up:?} of warm-up the channel's count of events taken is read from `/metrics` \
         twice, {measured:?} apart."
    )
}

fn prepare(options: &Options) -> Result<Run> {
    let (base, times) = (options.dir.clone(), times(options));
    let request = request();
    Ok(Box::new(move |make: &Make| run(&base, times, make, &request)))
}

fn run(
    base: &Path,
    (warm_up, measured): (Duration, Duration),
    make: &Make,
    request: &[u8],
) -> Result<Vec<f64>> {
    let dir = tempfile::tempdir_in(base)?;
    machine::settle(dir.path())?;
    let port = free_port()?;
    let mut agent = Agent::start(make, dir.path(), &config(dir.path(), port))?;
    let stop = AtomicBool::new(false);
    let values = thread::scope(|scope| {
        let clients: Vec<_> =
            (0..CLIENTS).map(|_| scope.spawn(|| post(port, request, &stop))).collect();
        let values = measure(&agent, warm_up, measured);
        stop.store(true, Relaxed);
        for client in clients {
            client.join().map_err(|_| anyhow::anyhow!("a client panicked"))??;
        }
        values
    })?;
    agent.still_running()?;
    agent.kill()?;
    Ok(values)
}

fn measure(agent: &Agent, warm_up: Duration, measured: Duration) -> Result<Vec<f64>> {
    thread::sleep(warm_up);
    let (began, before, cpu_before) = (Instant::now(), taken(agent)?, agent.usage()?.cpu);
    thread::sleep(measured);
    let (elapsed, after, usage) = (began.elapsed(), taken(agent)?, agent.usage()?);
    ensure!(after > before, "no event came through");
    let events = (after - before) as f64;
    let cpu = (usage.cpu - cpu_before).as_secs_f64();
    Ok(vec![events / elapsed.as_secs_f64(), cpu / (events / 1e6), usage.peak_bytes as f64])
}

fn taken(agent: &Agent) -> Result<u64> {
    agent
        .metrics()?
        .count("CHANNEL.c1", "EventTakeSuccessCount")
        .context("no count of events taken")
}

/// Posts until told to stop. A full channel is asked again.
fn post(port: u16, request: &[u8], stop: &AtomicBool) -> Result<()> {
    let began = Instant::now();
    let mut stream = loop {
        match TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
            Ok(stream) => break stream,
            Err(error) if began.elapsed() > START => return Err(error).context("connecting"),
            Err(_) => thread::sleep(Duration::from_millis(10)),
        }
    };
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(START))?;
    let mut answer = Vec::new();
    while !stop.load(Relaxed) {
        stream.write_all(request)?;
        match status(&mut stream, &mut answer)? {
            200 | 503 => {}
            other => bail!("a request was answered {other}"),
        }
    }
    Ok(())
}

/// Reads one answer: its head, and as much body as that says.
fn status(stream: &mut TcpStream, answer: &mut Vec<u8>) -> Result<u16> {
    answer.clear();
    let mut chunk = [0; 4096];
    loop {
        let read = stream.read(&mut chunk)?;
        ensure!(read > 0, "the source closed the connection");
        answer.extend_from_slice(&chunk[..read]);
        let text = String::from_utf8_lossy(answer);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let value = |wanted: &str| {
            let mut lines = head.lines().filter_map(|line| line.split_once(':'));
            let found = lines.find(|(name, _)| name.eq_ignore_ascii_case(wanted));
            found.map(|(_, value)| value.trim())
        };
        let length = value("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        // Jetty sends what it did not know the length of, were it nothing, in chunks.
        let ended = match value("transfer-encoding") {
            Some(_) => body.ends_with("0\r\n\r\n"),
            None => body.len() >= length,
        };
        if ended {
            let status = head.get(9..12).and_then(|code| code.parse().ok());
            return status.with_context(|| format!("no status in {text:?}"));
        }
    }
}

fn request() -> Vec<u8> {
    let text = "the quick brown fox jumps over the lazy dog; ".repeat(BODY_BYTES / 40);
    let event = |number: usize| {
        let body = &format!("{number:06} {text}")[..BODY_BYTES];
        format!(
            "{{\"headers\":{{\"host\":\"mill{number}\",\"kind\":\"bench\"}},\"body\":\"{body}\"}}"
        )
    };
    let events: Vec<String> = (0..BATCH).map(event).collect();
    let body = format!("[{}]", events.join(","));
    let length = body.len();
    let head =
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json; charset=UTF-8";
    format!("{head}\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
}

fn config(dir: &Path, port: u16) -> String {
    let dir = dir.display();
    format!(
        "a1.sources = r1\na1.channels = c1\na1.sinks = k1\n\
         a1.sources.r1.type = http\n\
         a1.sources.r1.channels = c1\n\
         a1.sources.r1.bind = 127.0.0.1\n\
         a1.sources.r1.port = {port}\n\
         a1.channels.c1.type = file\n\
         a1.channels.c1.checkpointDir = {dir}/checkpoint\n\
         a1.channels.c1.dataDirs = {dir}/data\n\
         a1.channels.c1.capacity = 1000000\n\
         a1.channels.c1.transactionCapacity = 10000\n\
         a1.sinks.k1.type = null\n\
         a1.sinks.k1.channel = c1\n\
         a1.sinks.k1.batchSize = 1000\n\
         a1.sinks.k1.logEveryNEvents = 1000000000\n"
    )
}
