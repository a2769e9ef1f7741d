//! Each file of `examples/` at work: our agent runs it, a client sends, and what it sent arrives.
//!
//! Only places are changed: ports that the system chooses, folders of the test's own, and in place of
//! other machines an agent that takes everything ([`far`]), or a server of IRC ([`irc`]).

mod far;
mod irc;
mod senders;

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use splashdam_interop::{Agent, Launch, Make};

use crate::side_by_side::{LIMIT, ours, program};
use far::Far;
use irc::Irc;
use senders::Send;

/// What is sent, and found again.
const TEXT: &str = "hello from a client";

/// An agent of a file, who sends to it, and where that arrives.
struct Example {
    file: &'static str,
    agent: &'static str,
    /// What else is changed.
    changed: &'static [(&'static str, &'static str)],
    source: &'static str,
    send: Send,
    arrives: Arrives,
    /// What arrives.
    text: &'static str,
}

/// Where events go.
#[derive(Clone, Copy)]
enum Arrives {
    /// Into the log of the agent, by a logger sink that shows so much of each body.
    Log,
    /// Into files of this folder.
    Files(&'static str),
    /// To the far agent.
    Far,
    /// To the server of IRC.
    Irc,
    /// Nowhere: the sink of this name only counts.
    Counted(&'static str),
}

const fn example(
    file: &'static str,
    source: &'static str,
    send: Send,
    arrives: Arrives,
) -> Example {
    // The logger shows 16 bytes unless it is told otherwise.
    let text = match arrives {
        Arrives::Log => "hello from a cli",
        _ => TEXT,
    };
    Example { file, agent: "a1", changed: &[], source, send, arrives, text }
}

impl Example {
    const fn agent(self, agent: &'static str) -> Self {
        Example { agent, ..self }
    }

    const fn changed(self, changed: &'static [(&'static str, &'static str)]) -> Self {
        Example { changed, ..self }
    }

    const fn text(self, text: &'static str) -> Self {
        Example { text, ..self }
    }
}

const EXAMPLES: &[Example] = &[
    example("avro-hop.conf", "r1", Send::AvroClient, Arrives::Far)
        .agent("near")
        .changed(&[("hostname = localhost", "hostname = next.example.org"), ("= 4142", "= 4141")]),
    example("avro-hop.conf", "r1", Send::AvroClient, Arrives::Log).agent("far"),
    example("avro-legacy.conf", "r1", Send::AvroLegacy, Arrives::Far),
    example("config-filters.conf", "r1", Send::Line, Arrives::Log),
    example("discard.conf", "", Send::Nothing, Arrives::Counted("nowhere")).agent("load"),
    example("exec.conf", "", Send::Nothing, Arrives::Files("exec/out"))
        .changed(&[("vmstat 5", "echo hello from a client")]),
    example("external.conf", "r1", Send::Line, Arrives::Files("var/log/splashdam"))
        .changed(&[("examples/external.py", "@examples/external.py")]),
    example("external-source.conf", "", Send::File("var/log/messages"), Arrives::Log)
        .changed(&[("examples/external.py", "@examples/external.py")]),
    example("file-channel.conf", "r1", Send::Line, Arrives::Files("file-channel/out")),
    example("http.conf", "r1", Send::Curl, Arrives::Files("http/out")),
    example("http-sink.conf", "", Send::File("var/log/app.log"), Arrives::Far),
    example("interceptors.conf", "lines", Send::Says("ERROR hello from user=7"), Arrives::Log)
        .agent("mill")
        .text("ERROR hello from"),
    example("irc.conf", "", Send::File("var/log/alerts.log"), Arrives::Irc),
    example("multiport-syslogtcp.conf", "r1", Send::Logger("--tcp"), Arrives::Log)
        .changed(&[("= 10001 10002 10003", "= 0")])
        .text("saw - - [timeQua"),
    example("netcat-to-log.conf", "r1", Send::Line, Arrives::Log),
    example("netcat.conf", "r1", Send::Line, Arrives::Log),
    example("netcatudp.conf", "r1", Send::Datagram, Arrives::Log),
    example(
        "quickstart.conf",
        "",
        Send::File("quickstart/in/a.log"),
        Arrives::Files("quickstart/out"),
    )
    .agent("quickstart"),
    example("roll-files.conf", "lines", Send::Line, Arrives::Files("out/text")).agent("files"),
    example("scribe.conf", "r1", Send::Scribe, Arrives::Files("scribe/out")),
    example("seq.conf", "", Send::Nothing, Arrives::Log).text("body: 39 39"),
    example("sink-groups.conf", "", Send::Nothing, Arrives::Files("out/first"))
        .agent("groups")
        .text("\n99\n"),
    example("spillable.conf", "lines", Send::Line, Arrives::Files("spill/out")).agent("spill"),
    example("spooldir.conf", "", Send::File("spooldir/in/a"), Arrives::Files("spooldir/out")),
    example("stress.conf", "", Send::Nothing, Arrives::Counted("k1")),
    example("syslogtcp.conf", "r1", Send::Logger("--tcp"), Arrives::Far),
    example("syslogudp.conf", "r1", Send::Logger("--udp"), Arrives::Far)
        // The far agent has no certificate of that name.
        .changed(&[("ssl = true", "ssl = false")]),
    example(
        "taildir.conf",
        "",
        Send::File("var/log/nginx/access.log"),
        Arrives::Files("taildir/out"),
    ),
    example("thrift.conf", "r1", Send::Thrift, Arrives::Far),
    example("thrift-legacy.conf", "r1", Send::Legacy, Arrives::Far),
];

/// They need an HBase; `hbase::example` runs one of them.
const WITH_HBASE: &[&str] = &["hbase-columns.conf", "hbase-once.conf", "hbase.conf"];
/// It needs a broker of AMQP 1.0.
const WITH_BROKER: &[&str] = &["jms.conf"];

#[test]
fn each_example_delivers() -> Result<()> {
    let Some((ours, _turn)) = ours() else { return Ok(()) };
    let programs = [("logger", "bsdutils"), ("curl", "curl"), ("python3", "python3")];
    if programs.iter().any(|(name, package)| program(name, package).is_none()) {
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let (far, irc) = (Far::start(&ours, &dir.path().join("far"))?, Irc::start()?);
    for (number, example) in EXAMPLES.iter().enumerate() {
        let dir = dir.path().join(number.to_string());
        example
            .run(&ours, &dir, &far, &irc)
            .with_context(|| format!("{}, agent {}", example.file, example.agent))?;
    }
    Ok(())
}

#[test]
fn every_example_is_run() -> Result<()> {
    for entry in fs::read_dir(folder())? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let runs = EXAMPLES.iter().any(|example| example.file == name);
        let is_elsewhere = [WITH_HBASE, WITH_BROKER].iter().any(|list| list.contains(&&*name));
        let is_known = runs || is_elsewhere || !name.ends_with(".conf");
        ensure!(is_known, "no test runs {name}; give it a line in EXAMPLES");
    }
    Ok(())
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")
}

impl Example {
    fn run(&self, ours: &Make, dir: &Path, far: &Far, irc: &Irc) -> Result<()> {
        fs::create_dir_all(dir)?;
        let config = self.configuration(dir, far, irc)?;
        for place in folders(&config, dir) {
            fs::create_dir_all(place)?;
        }
        fs::write(dir.join(self.file), config)?;
        let launch =
            Launch { agent: self.agent, file: self.file, poll_seconds: None, zookeeper: None };
        let mut agent = Agent::launch(ours, dir, launch)?;
        let before = far.heard(self.text)?;
        self.send.act(ours, &agent, self.source, dir, TEXT)?;
        let began = Instant::now();
        while !self.arrived(dir, &agent, far, before, irc)? {
            ensure!(
                began.elapsed() < LIMIT,
                "nothing arrived within {LIMIT:?}\n{}",
                agent.log_tail()
            );
            agent.still_running()?;
            thread::sleep(Duration::from_millis(20));
        }
        agent.stop()?;
        Ok(())
    }

    /// The file with places of this test.
    fn configuration(&self, dir: &Path, far: &Far, irc: &Irc) -> Result<String> {
        let mut text = fs::read_to_string(folder().join(self.file))?;
        for (from, to) in self.changed {
            ensure!(text.contains(from), "there is no `{from}` in it");
            text = text.replace(from, to);
        }
        let far = far.ports(&text)?;
        let line = |line: &str| {
            let (key, value) = line.split_once(" = ").unwrap_or((line, ""));
            let is_source = key.contains(".sources.");
            let value = match key.rsplit_once('.').map_or(key, |(_, last)| last) {
                "port" if is_source => "0".to_owned(),
                "port" if value == "6667" => irc.port().to_string(),
                "port" => far.to_string(),
                "hostname" => "127.0.0.1".to_owned(),
                "endpoint" => format!("http://127.0.0.1:{far}/events"),
                _ => value
                    .replace("/var/", &format!("{}/var/", dir.display()))
                    .replace("@examples", &folder().display().to_string()),
            };
            match line.split_once(" = ") {
                Some(_) => format!("{key} = {value}\n"),
                None => format!("{line}\n"),
            }
        };
        Ok(text.lines().map(line).collect())
    }

    fn arrived(
        &self,
        dir: &Path,
        agent: &Agent,
        far: &Far,
        before: usize,
        irc: &Irc,
    ) -> Result<bool> {
        Ok(match self.arrives {
            Arrives::Log => agent.log_tail().contains(self.text),
            Arrives::Files(folder) => far::files(&dir.join(folder))?.contains(self.text),
            Arrives::Far => far.heard(self.text)? > before,
            Arrives::Irc => irc.heard(self.text),
            Arrives::Counted(sink) => {
                let component = format!("SINK.{sink}");
                agent.metrics()?.count(&component, "EventDrainSuccessCount") > Some(0)
            }
        })
    }
}

/// Folders that have to be there before an agent starts.
fn folders(config: &str, dir: &Path) -> Vec<PathBuf> {
    let folder = |line: &str| {
        let (key, value) = line.split_once(" = ")?;
        let place = dir.join(value.trim());
        match key.rsplit_once('.')?.1 {
            "directory" | "spoolDir" => Some(place),
            "file" => Some(place.parent()?.to_owned()),
            // Their last part is made, those above it are not.
            "dataDirs" | "checkpointDir" | "positionFile" => {
                Some(dir.join(value.split(',').next()?.trim()).parent()?.to_owned())
            }
            // A file group is a folder and a pattern.
            _ if key.contains(".filegroups.") => Some(place.parent()?.to_owned()),
            _ => None,
        }
    };
    config.lines().filter(|line| !line.starts_with('#')).filter_map(folder).collect()
}
