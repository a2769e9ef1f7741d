//! The HTTP source: the same requests, the same statuses and the same events, headers included.
//!
//! All cases go through one start of either agent: the JSON handler, the BLOB handler, and a second
//! JSON handler for what differs on purpose.

mod cases;

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use splashdam_interop::agent::free_port;
use splashdam_interop::{Agent, outputs};

use crate::side_by_side::{Case, LIMIT, Site, channel_and_sink, contrast};
use cases::Sent;

/// What a request came to.
type Answers = Vec<(String, u16)>;

#[test]
fn requests_answers_and_events() {
    let ports = [0; 3].map(|_| free_port().expect("a free port"));
    let config = config(ports);
    let tables = [cases::json(), cases::blob(), cases::different()];
    let count = |table: &[Sent]| table.iter().map(|sent| sent.events).sum::<u64>();
    let delivered: Vec<_> =
        ["k1", "k2", "k3"].into_iter().zip(&tables).map(|(k, table)| (k, count(table))).collect();
    let case = Case { config: &config, delivered: &delivered };
    let drive = |_: &Site, _: &mut Agent| -> Result<[Answers; 3]> {
        let mut answers = [const { Vec::new() }; 3];
        for ((table, port), answers) in tables.iter().zip(ports).zip(&mut answers) {
            for sent in table {
                let status = ask(port, &sent.request()).with_context(|| sent.name())?;
                answers.push((sent.name(), status));
            }
        }
        Ok(answers)
    };
    let look = |dir: &Path| -> Result<[Vec<String>; 3]> {
        let lines = |sink: &str| -> Result<Vec<String>> {
            Ok(outputs::lines(&dir.join(sink))?.iter().map(|line| sorted(line)).collect())
        };
        Ok([lines("k1")?, lines("k2")?, lines("k3")?])
    };
    let Some([(flume, theirs), (answers, lines)]) =
        contrast([&case, &case], |dir| Ok(fs::create_dir(dir.join("tmp"))?), drive, look)
    else {
        return;
    };
    let total: usize = tables.iter().map(Vec::len).sum();
    assert!(total >= 120, "{total} cases");
    for which in [0, 1] {
        for (ours, theirs) in answers[which].iter().zip(&flume[which]) {
            assert_eq!(ours, theirs, "ours is on the left, Flume's on the right");
        }
        for (sent, (name, status)) in tables[which].iter().zip(&flume[which]) {
            assert_eq!(sent.status, *status, "Flume's answer to {name}");
        }
        for (number, (ours, theirs)) in lines[which].iter().zip(&theirs[which]).enumerate() {
            assert_eq!(ours, theirs, "line {number}: ours is on the left, Flume's on the right");
        }
        assert_eq!(lines[which].len(), theirs[which].len());
    }
    // What differs on purpose.
    let [.., flume] = flume;
    let [.., answers] = answers;
    assert!(
        flume.iter().chain(&answers).all(|(_, status)| *status == 200),
        "{flume:?} {answers:?}"
    );
    assert_eq!(theirs[2], ["{} gr\u{c3}\u{bc}n", "{a=null, b=1} x"]);
    assert_eq!(lines[2], ["{} gr\u{fc}n", "{b=1} x"]);
}

/// A line with its headers in order: Java lists those of a map that was copied, as this source's are, in another one.
pub(crate) fn sorted(line: &str) -> String {
    match line.strip_prefix('{').and_then(|line| line.split_once("} ")) {
        Some((headers, body)) => {
            let mut headers: Vec<&str> = headers.split(", ").collect();
            headers.sort_unstable();
            format!("{{{}}} {body}", headers.join(", "))
        }
        None => line.to_owned(),
    }
}

fn config(ports: [u16; 3]) -> String {
    let mut config =
        "a1.sources = r1 r2 r3\na1.channels = c1 c2 c3\na1.sinks = k1 k2 k3\n".to_owned();
    for (number, port) in (1..).zip(ports) {
        config += &channel_and_sink(number, "header_and_text");
        config += &format!(
            "a1.sources.r{number}.type = http\n\
             a1.sources.r{number}.bind = 127.0.0.1\n\
             a1.sources.r{number}.port = {port}\n\
             a1.sources.r{number}.channels = c{number}\n"
        );
    }
    config
        + "a1.sources.r2.handler = org.apache.flume.source.http.BLOBHandler\n\
           a1.sources.r2.handler.mandatoryParameters = a\n"
}

/// Sends a request and returns the last status of what is answered; 0 if that is nothing.
fn ask(port: u16, request: &[u8]) -> Result<u16> {
    let began = Instant::now();
    // The supervisor may bind the port a moment after the monitoring port answers.
    let mut stream = loop {
        match TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
            Ok(stream) => break stream,
            Err(error) if began.elapsed() > LIMIT => {
                return Err(error).context("connecting to the HTTP source");
            }
            Err(_) => thread::sleep(Duration::from_millis(10)),
        }
    };
    stream.set_read_timeout(Some(LIMIT))?;
    // One that is refused early may close the connection before it has read all.
    stream.write_all(request).ok();
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => {
            return Err(error).context("reading the answer");
        }
        _ => drop(stream.shutdown(Shutdown::Both)),
    }
    let answer = String::from_utf8_lossy(&answer);
    let statuses = answer.split("HTTP/1.").skip(1).filter_map(|head| head.get(2..5)?.parse().ok());
    Ok(statuses.last().unwrap_or(0))
}
