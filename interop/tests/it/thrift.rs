//! Thrift: Flume's own client and raw frames against both sources, and hops between the two agents.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use splashdam_interop::agent::free_port;
use splashdam_interop::thrift_client::{Load, send};
use splashdam_interop::{Agent, Make, Peers, outputs};

use crate::side_by_side::{Case, LIMIT, Site, channel_and_sink, compare, contrast, pair, wait_for};

const SOURCE: &str = "a1.sources = r1
a1.channels = c1
a1.sinks = k1
a1.sources.r1.type = thrift
a1.sources.r1.bind = 127.0.0.1
a1.sources.r1.port = {port}
a1.sources.r1.channels = c1
";
pub(crate) const PASSWORD: &str = "mill-race";

fn peers() -> Result<Peers> {
    Peers::available().context("the JDK was there a moment ago")
}

fn sorted_lines(dir: &Path) -> Result<Vec<String>> {
    let mut lines = outputs::lines(&dir.join("k1"))?;
    lines.sort();
    Ok(lines)
}

/// The client sends to both; both write the same.
fn clients(keys: &str, properties: &[&str], load: Load) -> Option<Vec<String>> {
    let config = channel_and_sink(1, "header_and_text") + SOURCE + keys;
    let events = u64::from(load.threads * load.events);
    let case = Case { config: &config, delivered: &[("k1", events)] };
    let drive = |site: &Site, agent: &mut Agent| -> Result<Vec<u64>> {
        let properties: Vec<String> = properties
            .iter()
            .map(|text| text.replace("{dir}", &site.dir.display().to_string()))
            .collect();
        // Flume's source accepts calls for up to a second before it sets its counters to nothing and starts them.
        agent.wait_until(LIMIT, "start of r1's counters", |metrics| {
            metrics.count("SOURCE.r1", "StartTime").is_some_and(|at| at > 0)
        })?;
        send(&peers()?, &format!("127.0.0.1:{}", site.port), &properties, load)?;
        wait_for(agent, "k1", events)?;
        let metrics = agent.metrics()?;
        let counters = [
            "EventReceivedCount",
            "EventAcceptedCount",
            "AppendReceivedCount",
            "AppendAcceptedCount",
            "AppendBatchReceivedCount",
            "AppendBatchAcceptedCount",
            "ChannelWriteFail",
            "EventReadFail",
        ];
        let count = |counter| metrics.count("SOURCE.r1", counter).context(counter);
        counters.into_iter().map(count).collect()
    };
    let (counts, lines) = compare(&case, stores, drive, sorted_lines)?;
    assert_eq!(counts[..3], [events, events, u64::from(load.threads)], "{counts:?}");
    Some(lines)
}

/// A key store and a trust store of it.
pub(crate) fn stores(dir: &Path) -> Result<()> {
    key_store(dir, "keys", "mill")?;
    trusts(dir, "trust", "mill")
}

/// A key with its certificate in a store, and the certificate alone.
pub(crate) fn key_store(dir: &Path, store: &str, name: &str) -> Result<()> {
    let (file, subject) = (format!("{store}.jks"), format!("CN={name}"));
    let pair = ["-genkeypair", "-alias", name, "-dname", &subject, "-keyalg", "RSA"];
    let store = ["-keystore", &*file, "-storetype", "JKS", "-keypass", PASSWORD];
    keytool(dir, &[&pair[..], &store].concat())?;
    let export = ["-exportcert", "-alias", name, "-keystore", &file, "-file"];
    keytool(dir, &[&export[..], &[&format!("{name}.der")]].concat())
}

/// Adds the certificate to a store of those that are trusted.
pub(crate) fn trusts(dir: &Path, store: &str, name: &str) -> Result<()> {
    let (file, from) = (format!("{store}.jks"), format!("{name}.der"));
    let import = ["-importcert", "-alias", name, "-keystore", &file, "-file", &from];
    keytool(dir, &[&import[..], &["-storetype", "JKS"]].concat())
}

fn keytool(dir: &Path, arguments: &[&str]) -> Result<()> {
    let keytool = peers()?.java.with_file_name("keytool");
    let pass = ["-storepass", PASSWORD, "-noprompt"];
    let said = Command::new(&keytool).args(arguments).args(pass).current_dir(dir).output()?;
    ensure!(said.status.success(), "keytool: {}", String::from_utf8_lossy(&said.stdout));
    Ok(())
}

pub(crate) const SERVER_TLS: &str = "a1.sources.r1.ssl = true
a1.sources.r1.keystore = {dir}/keys.jks
a1.sources.r1.keystore-password = mill-race
";

#[test]
fn java_client_compact() {
    let load = Load { threads: 4, events: 1001, together: 250 };
    let Some(lines) = clients("", &["batch-size=100", "maxConnections=3"], load) else { return };
    assert_eq!(lines.len(), 4004);
    assert!(lines.contains(&"{} 3 1000".to_owned()));
}

#[test]
fn java_client_binary() {
    let load = Load { threads: 2, events: 301, together: 100 };
    let keys = "a1.sources.r1.protocol = binary\n";
    let Some(lines) = clients(keys, &["protocol=binary"], load) else { return };
    assert_eq!(lines.len(), 602);
}

#[test]
fn java_client_over_tls() {
    let load = Load { threads: 2, events: 301, together: 100 };
    let client = ["ssl=true", "truststore={dir}/trust.jks", "truststore-password=mill-race"];
    let Some(lines) = clients(SERVER_TLS, &client, load) else { return };
    assert_eq!(lines.len(), 602);
}

/// A connection as soon as there is one: Flume starts some sources after its monitoring port answers.
pub(crate) fn connected(port: u16) -> Result<TcpStream> {
    let began = Instant::now();
    loop {
        match TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
            Err(_) if began.elapsed() < LIMIT => {
                thread::sleep(Duration::from_millis(100));
            }
            connected => return Ok(connected?),
        }
    }
}

/// Sends frames on one connection and reads an answer to each, until the source closes. An answer is shown escaped,
/// `closed` where there is none.
fn frames(port: u16, frames: &[&[u8]]) -> Result<Vec<String>> {
    let mut stream = connected(port)?;
    // An answer that is late only must not be taken for a closed connection.
    stream.set_read_timeout(Some(LIMIT))?;
    let mut answers = Vec::new();
    for frame in frames {
        stream.write_all(&u32::try_from(frame.len())?.to_be_bytes())?;
        stream.write_all(frame)?;
        let mut head = [0; 4];
        if stream.read_exact(&mut head).is_err() {
            answers.push("closed".to_owned());
            break;
        }
        let mut answer = vec![0; u32::from_be_bytes(head) as usize];
        stream.read_exact(&mut answer)?;
        answers.push(answer.escape_ascii().to_string());
    }
    Ok(answers)
}

/// What both answer alike, byte for byte: calls, calls that lack something, and what ends a connection.
#[test]
fn raw_frames_compact() {
    let config = channel_and_sink(1, "header_and_text") + SOURCE;
    let case = Case { config: &config, delivered: &[("k1", 6)] };
    let good: &[&[u8]] = &[
        b"\x82\x21\x01\x0bappendBatch\x19\x1c\x1b\x01\x88\x01a\x01b\x18\x02hi\0\0",
        b"\x82\x21\xff\xff\xff\xff\x0f\x06append\x1c\x1b\0\x18\x00\0\0",
        // Kinds of messages are not looked at; a field's long form; fields that nobody knows.
        b"\x82\x41\x02\x06append\x1c\x1b\0\x18\x04kind\0\0",
        b"\x82\x21\x03\x06append\x0c\x02\x0b\x02\0\x08\x04\x04long\0\0",
        b"\x82\x21\x04\x06append\x1c\x1b\0\x18\x04more\x11\x15\x02\x19\x15\x02\0\x35\x02\0",
        b"\x82\x21\x05\x06append\x1c\x1b\x01\x88\x02\xff\xfe\x01b\x18\x03bad\0\0",
        b"\x82\x21\x06\x0bappendBatch\x19\x0c\0",
        b"\x82\x21\x07\x03foo\0",
        b"\x82\x21\x08\x03f\xfco\x15\x02\0",
    ];
    // Answered by an exception. Flume fails the next call on such a connection, so each has its own.
    let lacking: &[&[u8]] = &[
        b"\x82\x21\x09\x06append\x1c\x28\x02h\xff\0\0",
        b"\x82\x21\x0a\x06append\x1c\x1b\x01\x88\x01a\x01b\0\0",
        b"\x82\x21\x0b\x06append\x1c\0\0",
        b"\x82\x21\x0c\x0bappendBatch\x19\x2c\x1b\0\x18\x01x\0\x18\x01y\0\0",
        b"\x82\x21\x0d\x06append\0",
        b"\x82\x21\x0e\x0bappendBatch\0",
    ];
    // Each ends its connection.
    let bad: &[&[u8]] = &[
        b"GET / HTTP/1.1",
        b"\x82\x21\x01",
        b"\x82\x22\x01\x06append\x1c\x1b\0\x18\x00\0\0",
        b"\x82\x21\x01\x06append\x1c\x1b\0\x18\x09hi\0\0",
        b"\x82\x21\x01\x06append\x1c\x1b\xff\xff\xff\xff\x07\x88\0\0",
    ];
    let drive = |site: &Site, _: &mut Agent| -> Result<Vec<Vec<String>>> {
        let one = frames(site.port, good);
        let each = lacking.iter().chain(bad).map(|frame| frames(site.port, &[frame]));
        [one].into_iter().chain(each).collect()
    };
    let Some((answers, lines)) = compare(&case, |_| Ok(()), drive, sorted_lines) else { return };
    assert_eq!(answers[0].len(), good.len(), "{answers:#?}");
    assert_eq!(lines.len(), 6, "{lines:#?}");
    for (index, answer) in answers[1..].iter().enumerate() {
        assert_eq!(answer == &["closed"], index >= lacking.len(), "{answers:#?}");
    }
}

#[test]
fn raw_frames_binary() {
    let config =
        channel_and_sink(1, "header_and_text") + SOURCE + "a1.sources.r1.protocol = binary\n";
    let case = Case { config: &config, delivered: &[("k1", 3)] };
    let event = b"\x0d\0\x01\x0b\x0b\0\0\0\x01\0\0\0\x01a\0\0\0\x01b\x0b\0\x02\0\0\0\x02hi\0";
    let strict =
        |rest: &[u8]| [b"\x80\x01\0\x01\0\0\0\x06append\0\0\0\x07\x0c\0\x01", rest].concat();
    let good = [
        strict(&[&event[..], b"\0"].concat()),
        [&b"\0\0\0\x06append\x01\0\0\0\x07\x0c\0\x01"[..], event, b"\0"].concat(),
        [
            &b"\x80\x01\0\x01\0\0\0\x0bappendBatch\0\0\0\x09\x0f\0\x01\x0c\0\0\0\x01"[..],
            event,
            b"\0",
        ]
        .concat(),
        b"\x80\x01\0\x01\0\0\0\x03foo\0\0\0\x01\0".to_vec(),
        strict(b"\x0b\0\x02\0\0\0\x02hi\0\0"),
    ];
    let good: Vec<&[u8]> = good.iter().map(Vec::as_slice).collect();
    let drive = |site: &Site, _: &mut Agent| frames(site.port, &good);
    let Some((answers, lines)) = compare(&case, |_| Ok(()), drive, sorted_lines) else { return };
    assert_eq!(answers.len(), 5, "{answers:#?}");
    assert_eq!(lines, ["{a=b} hi"; 3]);
}

/// Flume closes the connection of a client that speaks the other protocol; ours understands it.
#[test]
fn the_other_protocol() {
    let config = channel_and_sink(1, "text") + SOURCE + "a1.sources.r1.protocol = binary\n";
    let theirs = Case { config: &config, delivered: &[("k1", 0)] };
    let ours = Case { config: &config, delivered: &[("k1", 1)] };
    let call: &[u8] = b"\x82\x21\x01\x06append\x1c\x1b\0\x18\x02hi\0\0";
    let drive = |site: &Site, _: &mut Agent| frames(site.port, &[call]);
    let Some([flume, ours]) = contrast([&theirs, &ours], |_| Ok(()), drive, sorted_lines) else {
        return;
    };
    assert_eq!(flume, (vec!["closed".to_owned()], vec![]));
    let answer = b"\x82\x41\x01\x06append\x05\0\0\0".escape_ascii().to_string();
    assert_eq!(ours, (vec![answer], vec!["hi".to_owned()]));
}

/// A channel with room for two: both answer FAILED and put nothing.
#[test]
fn a_full_channel() {
    let config = "a1.sources = r1\na1.channels = c1\na1.channels.c1.type = memory
        a1.channels.c1.capacity = 2\na1.channels.c1.transactionCapacity = 2
        a1.channels.c1.keep-alive = 0\n"
        .to_owned()
        + SOURCE;
    let config = config.replace("a1.sinks = k1\n", "");
    let case = Case { config: &config, delivered: &[] };
    let two: &[u8] = b"\x82\x21\x01\x0bappendBatch\x19\x2c\x1b\0\x18\x02hi\0\x1b\0\x18\x02hi\0\0";
    let one: &[u8] = b"\x82\x21\x02\x06append\x1c\x1b\0\x18\x02hi\0\0";
    let three: &[u8] =
        b"\x82\x21\x03\x0bappendBatch\x19\x3c\x1b\0\x18\0\0\x1b\0\x18\0\0\x1b\0\x18\0\0\0";
    let drive = |site: &Site, _: &mut Agent| frames(site.port, &[three, two, two, one]);
    let Some((answers, ())) = compare(&case, |_| Ok(()), drive, |_| Ok(())) else { return };
    let failed: Vec<bool> =
        answers.iter().map(|answer| answer.ends_with("\\x05\\x00\\x02\\x00")).collect();
    assert_eq!(failed, [true, false, true, true], "{answers:#?}");
}

/// `events` numbers from one agent to the other, with `keys` of the sink and the source.
fn hop(from: &Make, to: &Make, sink: &str, source: &str) -> Result<Vec<String>> {
    const EVENTS: u64 = 5000;
    let dir = tempfile::tempdir()?;
    let port = free_port()?;
    stores(dir.path())?;
    let place = |text: String| {
        text.replace("{dir}", &dir.path().display().to_string())
            .replace("{port}", &port.to_string())
    };
    let receiver = dir.path().join("receiver");
    let sender = dir.path().join("sender");
    for folder in [&receiver, &sender, &dir.path().join("k1")] {
        std::fs::create_dir(folder)?;
    }
    let config = channel_and_sink(1, "text") + SOURCE + source;
    let mut receiving = Agent::start(to, &receiver, &place(config))?;
    let config = format!(
        "a1.sources = r1\na1.channels = c1\na1.sinks = k1
         a1.sources.r1.type = seq\na1.sources.r1.totalEvents = {EVENTS}\na1.sources.r1.batchSize = 100
         a1.sources.r1.channels = c1\na1.channels.c1.type = memory\na1.channels.c1.capacity = 10000
         a1.sinks.k1.type = thrift\na1.sinks.k1.channel = c1
         a1.sinks.k1.hostname = 127.0.0.1\na1.sinks.k1.port = {port}\n{sink}"
    );
    let sending = Agent::start(from, &sender, &place(config))?;
    wait_for(&mut receiving, "k1", EVENTS)?;
    let mut sending = sending;
    wait_for(&mut sending, "k1", EVENTS)?;
    sending.stop()?;
    receiving.stop()?;
    outputs::lines(&dir.path().join("k1"))
}

fn hops(sink: &str, source: &str) {
    let Some(([flume, ours], _turn)) = pair() else { return };
    let want: Vec<String> = (0..5000).map(|number| number.to_string()).collect();
    for (from, to) in [(&flume, &ours), (&ours, &flume)] {
        let lines = hop(from, to, sink, source);
        let lines =
            lines.unwrap_or_else(|error| panic!("{} to {}: {error:?}", from.name(), to.name()));
        assert!(lines == want, "{} to {}: {} lines", from.name(), to.name(), lines.len());
    }
}

#[test]
fn hops_compact() {
    hops("", "");
}

#[test]
fn hops_binary() {
    hops("a1.sinks.k1.protocol = binary\n", "a1.sources.r1.protocol = binary\n");
}

/// In Flume this means compact, on both sides.
#[test]
fn hops_with_a_capital() {
    hops("a1.sinks.k1.protocol = Binary\n", "a1.sources.r1.protocol = Binary\n");
}

#[test]
fn hops_over_tls() {
    let sink = "a1.sinks.k1.ssl = true
        a1.sinks.k1.truststore = {dir}/trust.jks
        a1.sinks.k1.truststore-password = mill-race\n";
    hops(sink, SERVER_TLS);
}

/// The receiver is killed again and again while the sender goes on: everything arrives, some of it twice.
#[test]
fn a_receiver_that_is_killed() {
    const EVENTS: u64 = 20_000;
    let Some(([flume, ours], _turn)) = pair() else { return };
    for (from, to) in [(&flume, &ours), (&ours, &flume)] {
        let killed = killed(from, to, EVENTS);
        let mut numbers =
            killed.unwrap_or_else(|error| panic!("{} to {}: {error:?}", from.name(), to.name()));
        numbers.sort_unstable();
        numbers.dedup();
        let want: Vec<u64> = (0..EVENTS).collect();
        assert!(numbers == want, "{} to {}: {}", from.name(), to.name(), numbers.len());
    }
}

fn killed(from: &Make, to: &Make, events: u64) -> Result<Vec<u64>> {
    let dir = tempfile::tempdir()?;
    let port = free_port()?;
    let shown = dir.path().display();
    for folder in ["receiver", "sender", "k1"] {
        std::fs::create_dir(dir.path().join(folder))?;
    }
    let file = |name: &str| {
        format!(
            "a1.channels.c1.type = file\na1.channels.c1.dataDirs = {shown}/{name}/data
             a1.channels.c1.checkpointDir = {shown}/{name}/checkpoint
             a1.channels.c1.minimumRequiredSpace = 1048576\n"
        )
    };
    let receiver = format!(
        "{}{}a1.sinks.k1.type = file_roll\na1.sinks.k1.channel = c1
         a1.sinks.k1.sink.directory = {shown}/k1\na1.sinks.k1.sink.rollInterval = 0\n",
        SOURCE.replace("{port}", &port.to_string()),
        file("receiver"),
    );
    let sender = format!(
        "a1.sources = r1\na1.channels = c1\na1.sinks = k1\n{}
         a1.sources.r1.type = seq\na1.sources.r1.totalEvents = {events}\na1.sources.r1.batchSize = 100
         a1.sources.r1.channels = c1
         a1.sinks.k1.type = thrift\na1.sinks.k1.channel = c1\na1.sinks.k1.request-timeout = 10000
         a1.sinks.k1.hostname = 127.0.0.1\na1.sinks.k1.port = {port}\n",
        file("sender"),
    );
    let place = dir.path().join("receiver");
    let mut receiving = Agent::start(to, &place, &receiver)?;
    let mut sending = Agent::start(from, &dir.path().join("sender"), &sender)?;
    for pause in [300, 50, 700] {
        thread::sleep(Duration::from_millis(pause));
        receiving.kill()?;
        receiving = Agent::start(to, &place, &receiver)?;
    }
    sending.wait_until(LIMIT * 2, "all sent", |metrics| {
        metrics.count("SINK.k1", "EventDrainSuccessCount").is_some_and(|count| count >= events)
    })?;
    sending.stop()?;
    receiving.wait_until(LIMIT, "an empty channel", |metrics| {
        metrics.count("CHANNEL.c1", "ChannelSize") == Some(0)
    })?;
    receiving.stop()?;
    // What a kill cut off in the middle of a line was not committed, and came again.
    let mut numbers = Vec::new();
    for file in outputs::files(&dir.path().join("k1"))? {
        let text = std::fs::read_to_string(file)?;
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        for line in whole.lines() {
            numbers.push(line.parse().with_context(|| format!("`{line}`"))?);
        }
    }
    Ok(numbers)
}
