//! Workloads `syslog-…`: messages of syslog over TCP and UDP into a file channel.

use std::io::{ErrorKind, Write};
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use splashdam_interop::agent::free_port;
use splashdam_interop::{Agent, Make};

use crate::machine;
use crate::options::Options;
use crate::workload::{Better, CPU, FLOW, PEAK, Quantity, RATE, Run, Unit, Workload};

const LOST: Quantity =
    Quantity { name: "Lost of a million", unit: Unit::Count, better: Better::Lower };

pub(crate) const TCP: Workload = Workload {
    name: "syslog-tcp",
    title: "Syslog over TCP into a file channel",
    about: about_tcp,
    quantities: FLOW,
    prepare: prepare_tcp,
    peer: None,
};

pub(crate) const UDP: Workload = Workload {
    name: "syslog-udp",
    title: "Syslog over UDP into a file channel",
    about: about_udp,
    quantities: &[RATE, LOST, CPU, PEAK],
    prepare: prepare_udp,
    peer: None,
};

/// Senders over TCP, each on its connection.
const SENDERS: usize = 4;
/// Bytes of a message.
const MESSAGE_BYTES: usize = 200;
/// Datagrams per second: more than Flume stores.
const DATAGRAMS_PER_SECOND: u64 = 40_000;

struct Times {
    warm_up: Duration,
    measured: Duration,
}

fn times(options: &Options) -> Times {
    let seconds = if options.quick { (3, 3) } else { (10, 10) };
    Times { warm_up: Duration::from_secs(seconds.0), measured: Duration::from_secs(seconds.1) }
}

fn measured_so(options: &Options) -> String {
    let Times { warm_up, measured } = times(options);
    format!(
        "A null sink empties the channel, which syncs each commit. After {warm_up:?} of warm-up, and rest, the channel's \
         count of events put is read from `/metrics` twice, {measured:?} apart."
    )
}

fn about_tcp(options: &Options) -> String {
    format!(
        "{SENDERS} connections send messages of RFC 5424 of {MESSAGE_BYTES} bytes to `syslogtcp` as fast as they are \
         read. {}",
        measured_so(options)
    )
}

fn about_udp(options: &Options) -> String {
    format!(
        "{DATAGRAMS_PER_SECOND} datagrams of {MESSAGE_BYTES} bytes a second go to `syslogudp`. {} What was sent in \
         between and is not put when the counts stand still is lost.",
        measured_so(options)
    )
}

fn prepare_tcp(options: &Options) -> Result<Run> {
    let (base, times) = (options.dir.clone(), times(options));
    Ok(Box::new(move |make| {
        let seen = run(&base, make, "syslogtcp", &times, |port| {
            (0..SENDERS)
                .map(|_| Sender::start(move |sent, stop| stream(port, sent, stop)))
                .collect()
        })?;
        Ok(vec![seen.events / seen.seconds, seen.cpu_per_million(), seen.peak])
    }))
}

fn prepare_udp(options: &Options) -> Result<Run> {
    let (base, times) = (options.dir.clone(), times(options));
    Ok(Box::new(move |make| {
        let seen = run(&base, make, "syslogudp", &times, |port| {
            vec![Sender::start(move |sent, stop| datagrams(port, sent, stop))]
        })?;
        let lost = (1.0 - seen.stored / seen.sent) * 1e6;
        Ok(vec![seen.events / seen.seconds, lost, seen.cpu_per_million(), seen.peak])
    }))
}

struct Seen {
    /// Put while it was measured.
    events: f64,
    /// Sent while it was measured.
    sent: f64,
    /// Of these, put in the end.
    stored: f64,
    seconds: f64,
    cpu: f64,
    peak: f64,
}

impl Seen {
    fn cpu_per_million(&self) -> f64 {
        self.cpu / (self.events / 1e6)
    }
}

fn run(
    base: &Path,
    make: &Make,
    kind: &str,
    times: &Times,
    senders: impl Fn(u16) -> Vec<Sender>,
) -> Result<Seen> {
    let dir = tempfile::tempdir_in(base)?;
    machine::settle(dir.path())?;
    let port = free_port()?;
    let mut agent = Agent::start(make, dir.path(), &config(dir.path(), kind, port))?;
    // What is on its way when the measured time begins or ends would count as lost or as won.
    let warming = senders(port);
    thread::sleep(times.warm_up);
    drop(warming);
    let put_before = at_rest(&agent)?;
    let (began, cpu_before) = (Instant::now(), agent.usage()?.cpu);
    let senders = senders(port);
    thread::sleep(times.measured);
    let put_after = put(&agent)?;
    let (ended, cpu_after) = (Instant::now(), agent.usage()?.cpu);
    let counts: Vec<_> = senders.iter().map(|sender| sender.sent.clone()).collect();
    drop(senders);
    let put_in_all = at_rest(&agent)?;
    let peak = agent.usage()?.peak_bytes;
    agent.still_running()?;
    agent.kill()?;
    // A slow agent lets senders over TCP wait for longer than this.
    ensure!(put_after > put_before, "no event came through");
    Ok(Seen {
        events: (put_after - put_before) as f64,
        sent: counts.iter().map(|sent| sent.load(Relaxed)).sum::<u64>() as f64,
        stored: (put_in_all - put_before) as f64,
        seconds: (ended - began).as_secs_f64(),
        cpu: (cpu_after - cpu_before).as_secs_f64(),
        peak: peak as f64,
    })
}

/// Events put when that has not changed for a second.
fn at_rest(agent: &Agent) -> Result<u64> {
    let (mut last, mut since, began) = (put(agent)?, Instant::now(), Instant::now());
    while since.elapsed() < Duration::from_secs(1) {
        ensure!(began.elapsed() < Duration::from_secs(120), "the agent goes on putting events");
        thread::sleep(Duration::from_millis(50));
        let now = put(agent)?;
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
    Ok(last)
}

fn put(agent: &Agent) -> Result<u64> {
    agent
        .metrics()?
        .count("CHANNEL.c1", "EventPutSuccessCount")
        .context("the channel counts no puts")
}

fn config(dir: &Path, kind: &str, port: u16) -> String {
    let dir = dir.display();
    format!(
        "a1.sources = r1\na1.channels = c1\na1.sinks = k1\n\
         a1.sources.r1.type = {kind}\n\
         a1.sources.r1.host = 127.0.0.1\n\
         a1.sources.r1.port = {port}\n\
         a1.sources.r1.channels = c1\n\
         a1.channels.c1.type = file\n\
         a1.channels.c1.checkpointDir = {dir}/checkpoint\n\
         a1.channels.c1.dataDirs = {dir}/data\n\
         a1.channels.c1.capacity = 1000000\n\
         a1.sinks.k1.type = null\n\
         a1.sinks.k1.channel = c1\n\
         a1.sinks.k1.batchSize = 1000\n\
         a1.sinks.k1.logEveryNEvents = 1000000000\n"
    )
}

/// A thread that sends until it is dropped.
struct Sender {
    sent: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Sender {
    fn start(work: impl FnOnce(&AtomicU64, &AtomicBool) -> Result<()> + Send + 'static) -> Sender {
        let (sent, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (counted, asked) = (sent.clone(), stop.clone());
        let thread = thread::spawn(move || {
            if let Err(error) = work(&counted, &asked) {
                // The counts show that nothing came through.
                eprintln!("a sender ended: {error:?}");
            }
        });
        Sender { sent, stop, thread: Some(thread) }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

fn message() -> String {
    let head = "<13>1 2022-03-04T05:06:07Z mill saw 42 - - ";
    format!("{head}{}", "x".repeat(MESSAGE_BYTES - head.len()))
}

fn stream(port: u16, sent: &AtomicU64, stop: &AtomicBool) -> Result<()> {
    const LINES: usize = 100;
    let lines = (message() + "\n").repeat(LINES);
    let mut stream = connected(port)?;
    stream.set_write_timeout(Some(Duration::from_millis(200)))?;
    let mut rest = lines.as_bytes();
    while !stop.load(Relaxed) {
        match stream.write(rest) {
            Ok(written) => rest = &rest[written..],
            // The agent makes us wait.
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error).context("sending"),
        }
        if rest.is_empty() {
            sent.fetch_add(LINES as u64, Relaxed);
            rest = lines.as_bytes();
        }
    }
    Ok(())
}

fn connected(port: u16) -> Result<TcpStream> {
    let began = Instant::now();
    loop {
        match TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
            Ok(stream) => return Ok(stream),
            Err(error) if began.elapsed() > Duration::from_secs(30) => {
                return Err(error).context("connecting to the source");
            }
            Err(_) => thread::sleep(Duration::from_millis(10)),
        }
    }
}

fn datagrams(port: u16, sent: &AtomicU64, stop: &AtomicBool) -> Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.connect((Ipv4Addr::LOCALHOST, port))?;
    let message = message();
    let began = Instant::now();
    let mut count: u64 = 0;
    while !stop.load(Relaxed) {
        let due = began.elapsed().as_micros() * u128::from(DATAGRAMS_PER_SECOND) / 1_000_000;
        while u128::from(count) < due {
            // Refused while nobody listens yet: it is lost like any other.
            socket.send(message.as_bytes()).ok();
            count += 1;
        }
        sent.store(count, Relaxed);
        thread::sleep(Duration::from_millis(1));
    }
    sent.store(count, Relaxed);
    Ok(())
}
