//! The sources of syslog and netcat beside Flume's: one table of bytes goes to all of them, in one run of each agent,
//! and bodies and all headers are compared.
//!
//! Each case comes from an address of its own (`127.a.b.c`), which `clientIPHeader` writes into its events; so all may
//! be on their way at once. What differs on purpose stands beside the cases.

mod cases;

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpStream, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use splashdam_interop::agent::free_port;
use splashdam_interop::{Agent, Make, avro_file, outputs};

use crate::side_by_side::{LIMIT, channel_and_sink, is_set, ours, pair, program, wait_for};
use cases::{NETCAT_DIFFERENT, cases, differs, netcat_cases};

/// The header that names the case.
const ADDRESS: &str = "from";
/// Milliseconds around now in which a time is the time of the test.
const ABOUT_NOW: u128 = 600_000;

/// Sources of the same bytes, with what they are called here.
const SOURCES: &[(&str, &str)] = &[
    ("tcp", "type = syslogtcp\nport = {port}\neventSize = 300"),
    (
        "tcp-kept",
        "type = syslogtcp\nport = {port}\neventSize = 300\n\
         keepFields = priority version timestamp hostname",
    ),
    ("tcp-all", "type = syslogtcp\nport = {port}\neventSize = 300\nkeepFields = all"),
    (
        "tcp-own",
        "type = syslogtcp\nport = {port}\n\
         format.regex = <(\\\\d+)>(v\\\\d)? (\\\\S+) (\\\\S+) (.*)\n\
         format.dateFormat = yyyy/MM/dd\nformat.search = -\nformat.replace = /",
    ),
    ("multi", "type = multiport_syslogtcp\nports = {port}\neventSize = 300\nportHeader = port"),
    (
        "multi-latin1",
        "type = multiport_syslogtcp\nports = {port}\neventSize = 300\n\
         keepFields = priority version timestamp hostname\ncharset.port.{port} = ISO-8859-1",
    ),
    ("udp", "type = syslogudp\nport = {port}"),
];

/// Events of a case, in order: headers sorted, then the body.
type Events = Vec<String>;

/// What an agent made of all cases.
struct Seen {
    /// By source and number of the case.
    events: BTreeMap<(&'static str, usize), Events>,
    /// Of each case the answers and the bodies.
    netcat: Vec<(String, Vec<String>)>,
}

struct Site {
    dir: tempfile::TempDir,
    /// Of each source, and of netcat behind them.
    ports: Vec<u16>,
}

#[test]
fn the_same_bytes_give_the_same_events() {
    let Some((makes, _turn)) = pair() else { return };
    let (cases, netcat) = (cases(), netcat_cases());
    assert!(cases.len() >= 120 && netcat.len() >= 60, "{} and {}", cases.len(), netcat.len());
    let itself = is_set("SPLASHDAM_INTEROP_SELF");
    let [flume, ours] = makes.map(|make| {
        run(&make, &cases, &netcat).unwrap_or_else(|error| panic!("{}: {error:?}", make.name()))
    });
    let mut wrong = Vec::new();
    let mut judge = |name: &str, case: &[u8], same: bool, differs: bool, shown: String| {
        if same == (differs && !itself) {
            let case = String::from_utf8_lossy(case);
            let what = if same { "no longer differs" } else { "differs" };
            wrong.push(format!("{name} {case:?} {what}\n{shown}"));
        }
    };
    for (source, _) in SOURCES {
        for (at, case) in cases.iter().enumerate() {
            let of = |all: &Seen| all.events.get(&(*source, at)).cloned().unwrap_or_default();
            let (theirs, ours) = (of(&flume), of(&ours));
            let shown = format!("  flume {theirs:?}\n  ours  {ours:?}");
            judge(source, case, theirs == ours, differs(source, case), shown);
        }
    }
    for (at, case) in netcat.iter().enumerate() {
        let (theirs, ours) = (&flume.netcat[at], &ours.netcat[at]);
        let shown = format!("  flume {theirs:?}\n  ours  {ours:?}");
        judge("netcat", case, theirs == ours, NETCAT_DIFFERENT.contains(&case.as_slice()), shown);
    }
    assert!(wrong.is_empty(), "{} cases:\n{}", wrong.len(), wrong.join("\n"));
}

fn site() -> Result<(Site, String)> {
    let dir = tempfile::tempdir()?;
    let mut config = String::new();
    let mut ports = Vec::new();
    let (mut sources, mut channels, mut sinks) = (String::new(), String::new(), String::new());
    let netcat = ("netcat", "type = netcat\nbind = 127.0.0.1\nport = {port}");
    for (number, (name, keys)) in (1..).zip(SOURCES.iter().copied().chain([netcat])) {
        let port = free_port()?;
        ports.push(port);
        fs::create_dir(dir.path().join(format!("k{number}")))?;
        config += &channel_and_sink(number, "avro_event");
        let mut lines: Vec<String> = keys.lines().map(str::to_owned).collect();
        if name != "netcat" {
            lines.extend(["host = 127.0.0.1".into(), format!("clientIPHeader = {ADDRESS}")]);
        }
        lines.push(format!("channels = c{number}"));
        for line in lines {
            config +=
                &format!("a1.sources.r{number}.{}\n", line.replace("{port}", &port.to_string()));
        }
        sources += &format!(" r{number}");
        channels += &format!(" c{number}");
        sinks += &format!(" k{number}");
    }
    config += &format!("a1.sources ={sources}\na1.channels ={channels}\na1.sinks ={sinks}\n");
    let config = config.replace("{dir}", &dir.path().display().to_string());
    Ok((Site { dir, ports }, config))
}

fn run(make: &Make, cases: &[Vec<u8>], netcat: &[Vec<u8>]) -> Result<Seen> {
    let (site, config) = site()?;
    let mut agent = Agent::start(make, site.dir.path(), &config)?;
    for ((source, _), port) in SOURCES.iter().zip(&site.ports) {
        for (at, case) in cases.iter().enumerate() {
            let sent = match *source {
                "udp" => send_datagram(at, *port, case),
                _ => converse(at, *port, case).map(drop),
            };
            sent.with_context(|| format!("case {at} to {source}"))?;
        }
    }
    let netcat_port = site.ports[SOURCES.len()];
    let mut answers = Vec::new();
    for (at, case) in netcat.iter().enumerate() {
        answers.push(converse(0, netcat_port, case).with_context(|| format!("netcat {at}"))?);
        // Says where the lines of this case end.
        converse(0, netcat_port, format!("case {at}\n").as_bytes())?;
    }
    settled(&mut agent, &site, cases.len(), netcat.len())?;
    agent.stop()?;
    let mut events: BTreeMap<(&'static str, usize), Events> = BTreeMap::new();
    for (number, ((source, _), port)) in (1..).zip(SOURCES.iter().zip(&site.ports)) {
        for (mut headers, body) in events_of(&site.dir.path().join(format!("k{number}")))? {
            let from = headers.remove(ADDRESS).context("an event without an address")?;
            let case = case_of(from.parse()?);
            events.entry((source, case)).or_default().push(shown(headers, &body, *port));
        }
    }
    let lines = events_of(&site.dir.path().join(format!("k{}", SOURCES.len() + 1)))?;
    let mut lines = lines.into_iter().map(|(_, body)| String::from_utf8_lossy(&body).into_owned());
    let mut talks = Vec::new();
    for (at, answer) in answers.into_iter().enumerate() {
        let end = format!("case {at}");
        talks.push((answer, lines.by_ref().take_while(|line| *line != end).collect()));
    }
    Ok(Seen { events, netcat: talks })
}

fn address_of(case: usize) -> Ipv4Addr {
    let [_, _, high, low] = u32::try_from(case).unwrap_or(0).to_be_bytes();
    Ipv4Addr::new(127, 1, high, low)
}

fn case_of(address: Ipv4Addr) -> usize {
    let [_, _, high, low] = address.octets();
    usize::from(high) * 256 + usize::from(low)
}

/// Sends bytes from the case's address, and answers what comes back until the end.
fn converse(case: usize, port: u16, bytes: &[u8]) -> Result<String> {
    let began = Instant::now();
    // The supervisor may bind the port a moment after the monitoring port answers.
    let mut stream = loop {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
        bind(&socket, &SocketAddrV4::new(address_of(case), 0))?;
        match connect(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)) {
            Ok(()) => break TcpStream::from(socket),
            Err(error) if began.elapsed() > LIMIT => return Err(error).context("connecting"),
            Err(_) => thread::sleep(Duration::from_millis(10)),
        }
    };
    stream.set_read_timeout(Some(LIMIT))?;
    stream.write_all(bytes)?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => {
            Err(error).context("reading the answer")
        }
        _ => Ok(String::from_utf8_lossy(&answer).into_owned()),
    }
}

fn send_datagram(case: usize, port: u16, bytes: &[u8]) -> Result<()> {
    let socket = UdpSocket::bind((address_of(case), 0))?;
    socket.send_to(bytes, (Ipv4Addr::LOCALHOST, port))?;
    // Neither agent is to be outrun: what counts here is what becomes of each.
    thread::sleep(Duration::from_millis(1));
    Ok(())
}

/// Sends each source one more event, as a further case, and waits until it is written: a source closes a connection
/// once what came over it is in the channel, and reads datagrams in their order, so all others are written then.
fn settled(agent: &mut Agent, site: &Site, case: usize, netcat: usize) -> Result<()> {
    const LAST: &[u8] = b"<13>Oct 11 22:14:15 mill last\n";
    let from = address_of(case).to_string();
    for (number, ((source, _), port)) in (1..).zip(SOURCES.iter().zip(&site.ports)) {
        let is_datagram = *source == "udp";
        if !is_datagram {
            converse(case, *port, LAST)?;
        }
        let is_last = |(headers, _): &Logged| headers.get(ADDRESS) == Some(&from);
        written(agent, site, number, source, is_last, || match is_datagram {
            // The system may drop one.
            true => send_datagram(case, *port, LAST),
            false => Ok(()),
        })?;
    }
    // Its cases have ends already.
    let end = format!("case {}", netcat - 1);
    let is_last = |(_, body): &Logged| *body == end.as_bytes();
    written(agent, site, SOURCES.len() + 1, "netcat", is_last, || Ok(()))
}

/// Waits until a sink has written an event, doing `again` now and then meanwhile.
fn written(
    agent: &mut Agent,
    site: &Site,
    sink: usize,
    source: &str,
    is_last: impl Fn(&Logged) -> bool,
    again: impl Fn() -> Result<()>,
) -> Result<()> {
    let began = Instant::now();
    // A file that is being written may end within a block.
    let read = || events_of(&site.dir.path().join(format!("k{sink}"))).unwrap_or_default();
    for round in 0.. {
        if read().iter().any(&is_last) {
            break;
        }
        agent.still_running()?;
        ensure!(began.elapsed() < LIMIT, "{source}: no last event\n{}", agent.log_tail());
        if round % 20 == 0 {
            again()?;
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

pub(crate) fn events_of(dir: &Path) -> Result<Vec<Logged>> {
    let mut all = Vec::new();
    for file in outputs::files(dir)? {
        let bytes = fs::read(&file)?;
        if !bytes.is_empty() {
            all.extend(avro_file::read(&bytes)?.events);
        }
    }
    Ok(all)
}

/// An event as text. The time of the test and the port differ between two runs.
fn shown(headers: BTreeMap<String, String>, body: &[u8], port: u16) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let mut text = String::new();
    for (name, value) in headers {
        let value = match name.as_str() {
            "timestamp" if value.parse().is_ok_and(|at: u128| at.abs_diff(now) < ABOUT_NOW) => {
                "now".to_owned()
            }
            "port" if value == port.to_string() => "ours".to_owned(),
            _ => value,
        };
        text += &format!("{name}={value} ");
    }
    text + &body.escape_ascii().to_string()
}

#[test]
fn logger_of_util_linux() {
    let Some((ours, _turn)) = ours() else { return };
    if program("logger", "bsdutils").is_none() {
        return;
    }
    for (mode, kind) in
        [("flume", "syslogtcp"), ("rfc", "syslogtcp"), ("flume", "syslogudp"), ("rfc", "syslogudp")]
    {
        let events =
            logged(&ours, mode, kind).unwrap_or_else(|error| panic!("{mode} {kind}: {error:?}"));
        for (written, (headers, body)) in LOGGED.iter().zip(&events) {
            let header = |name: &str| headers.get(name).map_or("", String::as_str);
            let said = [header("Facility"), header("Severity"), header("flume.syslog.status")];
            assert_eq!(said, ["16", "4", ""], "{mode} {kind} {written:?} {headers:?}");
            assert!(!header("timestamp").is_empty() && !header("host").is_empty(), "{headers:?}");
            let body = String::from_utf8_lossy(body);
            match mode {
                "rfc" => {
                    let said = [header("appname"), header("procid"), &body];
                    assert_eq!(said, ["saw", "77", "some text"], "{kind} {written:?}");
                }
                _ => assert!(body.contains("saw") && body.ends_with("some text"), "{body}"),
            }
        }
        assert_eq!(events.len(), LOGGED.len(), "{mode} {kind}");
    }
}

/// How `logger` writes its messages.
const LOGGED: &[&[&str]] = &[
    &["--rfc5424"],
    &["--rfc3164"],
    &["--rfc5424=notq", "--msgid", "cut", "--sd-id", "a@1", "--sd-param", "b=\"c\""],
];

/// Headers and body.
pub(crate) type Logged = (BTreeMap<String, String>, Vec<u8>);

fn logged(make: &Make, mode: &str, kind: &str) -> Result<Vec<Logged>> {
    let dir = tempfile::tempdir()?;
    fs::create_dir(dir.path().join("k1"))?;
    let config = channel_and_sink(1, "avro_event")
        + &format!(
            "a1.sources = r1\na1.channels = c1\na1.sinks = k1\n\
             a1.sources.r1.type = {kind}\n\
             a1.sources.r1.host = 127.0.0.1\n\
             a1.sources.r1.port = 0\n\
             a1.sources.r1.mode = {mode}\n\
             a1.sources.r1.channels = c1\n"
        );
    let config = config.replace("{dir}", &dir.path().display().to_string());
    let mut agent = Agent::start(make, dir.path(), &config)?;
    let port = agent.listening("r1")?[0].port();
    let way = if kind == "syslogtcp" { "--tcp" } else { "--udp" };
    for form in LOGGED {
        let mut command = Command::new("logger");
        command.args(["--server", "127.0.0.1", "--port", &port.to_string(), way]);
        command.args(["--priority", "local0.warning", "--tag", "saw", "--id=77"]).args(*form);
        if kind == "syslogtcp" && mode == "rfc" {
            command.arg("--octet-count");
        }
        command.arg("some text");
        let output = command.output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "logger: {said}\n{}", agent.log_tail());
    }
    wait_for(&mut agent, "k1", LOGGED.len() as u64)?;
    agent.stop()?;
    events_of(&dir.path().join("k1"))
}
