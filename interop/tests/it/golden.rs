//! Bytes that real peers say to each other: Flume's SDK and Flume's sources, heard by a relay between the two.
//!
//! They lie in `crates/wire/tests/golden`, where tests read them without any Flume. Here they are heard anew and
//! compared; `SPLASHDAM_RECORD=1` writes them down where they are missing.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use flate2::read::ZlibDecoder;
use splashdam_interop::agent::free_port;
use splashdam_interop::{Agent, Make, rpc_client};

use crate::side_by_side::{is_set, pair};
use crate::thrift::connected;

/// What the client sends: one event alone, then two and one together.
const EVENTS: u32 = 4;
/// A name, keys of the source, properties of the client.
const WAYS: [(&str, &str, &str); 4] = [
    ("avro_plain", "type = avro", "client.type=default"),
    (
        "avro_deflate",
        "type = avro\ncompression-type = deflate",
        "client.type=default\ncompression-type=deflate",
    ),
    ("thrift_compact", "type = thrift", "client.type=thrift"),
    ("thrift_binary", "type = thrift\nprotocol = binary", "client.type=thrift\nprotocol=binary"),
];
/// How long a peer may be silent.
const SILENCE: Duration = Duration::from_secs(60);

/// Stands between a client and a server and hears what they say: the calls, and the answers.
pub(crate) struct Relay {
    pub(crate) port: u16,
    pub(crate) heard: JoinHandle<Result<[Vec<u8>; 2]>>,
}

impl Relay {
    pub(crate) fn to(server: u16) -> Result<Relay> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let heard = thread::spawn(move || {
            let (client, _) = listener.accept()?;
            let server = TcpStream::connect((Ipv4Addr::LOCALHOST, server))?;
            let (from, to) = (client.try_clone()?, server.try_clone()?);
            let calls = thread::spawn(move || pass_on(from, to));
            let answers = pass_on(server, client)?;
            let calls = calls.join().map_err(|_| anyhow!("the relay panicked"))??;
            Ok([calls, answers])
        });
        Ok(Relay { port, heard })
    }
}

/// Hands on what comes, until nothing comes any more.
fn pass_on(mut from: TcpStream, mut to: TcpStream) -> Result<Vec<u8>> {
    from.set_read_timeout(Some(SILENCE))?;
    let (mut heard, mut bytes) = (Vec::new(), [0; 4096]);
    // Who is through may break off; what was said before is whole or found wanting.
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        heard.extend_from_slice(&bytes[..count]);
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    to.shutdown(Shutdown::Write).ok();
    Ok(heard)
}

/// What bytes say: how they are compressed is the business of whoever does it, and so is into how many buffers Avro
/// cuts a message.
fn meant(name: &str, bytes: &[u8]) -> Vec<u8> {
    let plain = if name.contains("deflate") { inflated(bytes) } else { bytes.to_vec() };
    if name.starts_with("avro") { joined(&plain) } else { plain }
}

/// Avro's messages, each as its number and its bytes; what is left over as it lies.
fn joined(mut bytes: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some((serial, rest)) = bytes.split_first_chunk::<4>()
        && let Some((count, mut rest)) = rest.split_first_chunk::<4>()
    {
        let mut message = Vec::new();
        for _ in 0..u32::from_be_bytes(*count) {
            let Some((length, behind)) = rest.split_first_chunk::<4>() else { break };
            let length = (u32::from_be_bytes(*length) as usize).min(behind.len());
            message.extend_from_slice(&behind[..length]);
            rest = &behind[length..];
        }
        all.extend_from_slice(serial);
        all.extend_from_slice(&u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
        all.extend_from_slice(&message);
        bytes = rest;
    }
    all.extend_from_slice(bytes);
    all
}

fn inflated(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut chunk = [0; 4096];
    let mut stream = ZlibDecoder::new(bytes);
    // The stream may lack its end, as connections just break off.
    while let Ok(count @ 1..) = stream.read(&mut chunk) {
        plain.extend_from_slice(&chunk[..count]);
    }
    plain
}

fn config(ports: &[u16]) -> String {
    let mut text = "a1.sources = r0 r1 r2 r3\na1.channels = c1\na1.sinks = k1\n\
                    a1.channels.c1.type = memory\na1.sinks.k1.type = null\na1.sinks.k1.channel = c1\n"
        .to_owned();
    for (index, ((_, keys, _), port)) in WAYS.iter().zip(ports).enumerate() {
        let bound = format!("{keys}\nbind = 127.0.0.1\nport = {port}\nchannels = c1");
        text.extend(bound.lines().map(|line| format!("a1.sources.r{index}.{line}\n")));
    }
    text
}

/// Where what was recorded lies.
pub(crate) fn golden(name: &str, part: &str) -> std::path::PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/wire/tests/golden");
    folder.join(format!("{name}.{part}"))
}

/// Flume's answers are those that were recorded, and so are its client's calls; ours are the same.
#[test]
fn what_flumes_client_and_sources_say_is_what_was_recorded() {
    let Some(([flume, ours], _turn)) = pair() else { return };
    let Make::Flume(peers) = &flume else { panic!("a JDK") };
    for to in [&flume, &ours] {
        let dir = tempfile::tempdir().unwrap();
        let ports = WAYS.map(|_| free_port().unwrap());
        let agent = Agent::start(to, dir.path(), &config(&ports)).unwrap();
        for ((name, _, client), port) in WAYS.iter().zip(ports) {
            let run = || -> Result<()> {
                drop(connected(port)?);
                let relay = Relay::to(port)?;
                let mut properties: Vec<String> = client.lines().map(str::to_owned).collect();
                properties.extend([
                    "batch-size=2".to_owned(),
                    "hosts=h1".to_owned(),
                    format!("hosts.h1=127.0.0.1:{}", relay.port),
                ]);
                rpc_client::send(peers, dir.path(), &properties, EVENTS)?;
                let heard = relay.heard.join().map_err(|_| anyhow!("the relay panicked"))??;
                for (part, bytes) in ["calls", "answers"].into_iter().zip(heard) {
                    let path = golden(name, part);
                    if is_set("SPLASHDAM_RECORD") && to.name() == "flume" && !path.exists() {
                        fs::write(&path, &bytes)?;
                    }
                    let recorded = fs::read(&path).with_context(|| path.display().to_string())?;
                    let (heard, recorded) = (meant(name, &bytes), meant(name, &recorded));
                    ensure!(
                        heard == recorded && !heard.is_empty(),
                        "{part}: {}\nrecorded: {}",
                        heard.escape_ascii(),
                        recorded.escape_ascii()
                    );
                }
                Ok(())
            };
            run().unwrap_or_else(|error| panic!("{} {name}: {error:?}", to.name()));
        }
        agent.stop().unwrap();
    }
}
