//! The legacy Avro source: a Java client as agents of Flume 0.9 have it, and raw requests, against both. All goes
//! through one start of either agent.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;

use anyhow::{Context, Result, anyhow, ensure};
use splashdam_interop::agent::free_port;
use splashdam_interop::avro_legacy::{EVENTS, Words, send};
use splashdam_interop::{Agent, Make, Peers, outputs};

use crate::golden::{Relay, golden};
use crate::http::sorted;
use crate::side_by_side::{LIMIT, Turn, channel_and_sink, is_set, wait_for};
use crate::thrift::connected;

const SOURCE: &str = "a1.sources = r1
a1.channels = c1
a1.sinks = k1
a1.sources.r1.type = org.apache.flume.source.avroLegacy.AvroLegacySource
a1.sources.r1.host = 127.0.0.1
a1.sources.r1.port = {port}
a1.sources.r1.channels = c1
";

/// A request, and the status of its answer.
const RAW: &[(&str, &[u8], u16)] = &[
    ("GET", b"", 405),
    ("HEAD", b"", 405),
    ("PUT", b"", 405),
    ("DELETE", b"", 405),
    ("OPTIONS", b"", 200),
    ("PATCH", b"", 501),
    ("POST", b"", 500),
    ("POST", b"\0\0\0\x09short", 500),
    ("POST", b"\xff\xff\xff\xffx", 500),
    // What is within the buffers is answered by Avro, whatever it is.
    ("POST", b"\0\0\0\0", 200),
    ("POST", b"\0\0\0\x03abc\0\0\0\0", 200),
];

/// What came of it all.
struct Seen {
    /// Bodies of requests and of answers, of the client with Flume's own words.
    heard: [Vec<u8>; 2],
    /// Statuses of raw requests, and how answers of Avro's to them begin.
    answers: Vec<(u16, Vec<u8>)>,
    lines: Vec<String>,
}

#[test]
fn agents_of_0_9_are_served_alike() {
    let _turn = Turn::take();
    let (peers, ours) = match (Peers::with_avro_legacy(), Make::splashdam()) {
        (Ok(peers), Ok(ours)) => (peers, ours),
        (Err(missing), _) | (_, Err(missing)) => {
            assert!(!is_set("SPLASHDAM_REQUIRE_INTEROP"), "{missing}");
            eprintln!("skipped: {missing}");
            return;
        }
    };
    let run = |make: Make| {
        run(&make, &peers).unwrap_or_else(|error| panic!("{}: {error:?}", make.name()))
    };
    let (theirs, ours) = (run(Make::Flume(peers.clone()).briefly()), run(ours));
    assert_eq!(ours.lines, theirs.lines, "ours is on the left, Flume's on the right");
    assert_eq!(ours.lines.len(), 2 * EVENTS);
    let has = |text: &str| ours.lines.iter().any(|line| line.contains(text));
    assert!(has("k=java.nio.HeapByteBuffer[pos=0 lim=5 cap=5]"), "{:?}", ours.lines);
    assert!(has("pri=FATAL") && has("FlumeOG=yes") && !has("FlumeOG=no"), "{:?}", ours.lines);
    assert_eq!(ours.answers, theirs.answers);
    let statuses: Vec<u16> = ours.answers.iter().map(|(status, _)| *status).collect();
    assert_eq!(statuses, RAW.iter().map(|(_, _, status)| *status).collect::<Vec<_>>());
    for (at, part) in ["calls", "answers"].into_iter().enumerate() {
        let path = golden("avro_legacy", part);
        if is_set("SPLASHDAM_RECORD") && !path.exists() {
            fs::write(&path, &theirs.heard[at]).unwrap();
        }
        let recorded = fs::read(&path).unwrap();
        assert_eq!(messages(&theirs.heard[at]), messages(&recorded), "{part} of Flume");
        assert_eq!(messages(&ours.heard[at]), messages(&recorded), "{part} of ours");
    }
}

fn run(make: &Make, peers: &Peers) -> Result<Seen> {
    let dir = tempfile::tempdir()?;
    let port = free_port()?;
    fs::create_dir(dir.path().join("k1"))?;
    let config = (channel_and_sink(1, "header_and_text") + SOURCE)
        .replace("{dir}", &dir.path().display().to_string())
        .replace("{port}", &port.to_string());
    let mut agent = Agent::start(make, dir.path(), &config)?;
    drop(connected(port)?);
    let relay = Relay::to(port)?;
    send(peers, dir.path(), &format!("127.0.0.1:{}", relay.port), Words::Og)?;
    let heard = relay.heard.join().map_err(|_| anyhow!("the relay panicked"))??;
    send(peers, dir.path(), &format!("127.0.0.1:{port}"), Words::Old)?;
    let ask = |(method, body, _): &(&str, &[u8], u16)| {
        ask(port, method, body).with_context(|| format!("{method} {}", body.escape_ascii()))
    };
    let answers = RAW.iter().map(ask).collect::<Result<_>>()?;
    wait_for(&mut agent, "k1", 2 * EVENTS as u64)?;
    agent.stop()?;
    let lines = outputs::lines(&dir.path().join("k1"))?;
    let lines = lines.iter().map(|line| sorted(line)).collect();
    let [calls, told] = heard;
    Ok(Seen { heard: [bodies(&calls)?, bodies(&told)?], answers, lines })
}

/// Sends a request and returns the status and, of an answer of Avro's, the first bytes.
fn ask(port: u16, method: &str, body: &[u8]) -> Result<(u16, Vec<u8>)> {
    let mut stream = connected(port)?;
    stream.set_read_timeout(Some(LIMIT))?;
    let length = body.len();
    let head = format!(
        "{method} / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(&[head.as_bytes(), body].concat())?;
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => return Err(error.into()),
        _ => drop(stream.shutdown(Shutdown::Both)),
    }
    let status = answer.get(9..12).map(|digits| String::from_utf8_lossy(digits).parse());
    let status = status.context("no status")??;
    if (method, status) != ("POST", 200) {
        return Ok((status, Vec::new()));
    }
    let message = messages(&bodies(&answer)?).concat();
    Ok((status, message.into_iter().take(3).collect()))
}

/// The bodies of all requests or answers of a connection, one behind the other.
fn bodies(mut bytes: &[u8]) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").context("no head")? + 4;
        let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.context("no length")?.trim().parse()?;
        ensure!(bytes.len() >= end + length, "a body is cut off");
        all.extend_from_slice(&bytes[end..end + length]);
        bytes = &bytes[end + length..];
    }
    Ok(all)
}

/// What bodies say, however it is cut into buffers.
fn messages(mut bodies: &[u8]) -> Vec<Vec<u8>> {
    let (mut all, mut message) = (Vec::new(), Vec::new());
    while let Some((length, rest)) = bodies.split_first_chunk::<4>() {
        let length = (u32::from_be_bytes(*length) as usize).min(rest.len());
        if length == 0 {
            all.push(std::mem::take(&mut message));
        }
        message.extend_from_slice(&rest[..length]);
        bodies = &rest[length..];
    }
    all
}
