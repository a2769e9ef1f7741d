//! `avro-client`, Flume's and ours, to Flume's Avro source; and ours to both Thrift sources.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail, ensure};
use splashdam_interop::agent::free_port;
use splashdam_interop::{Agent, Make, outputs};

use crate::side_by_side::{channel_and_sink, pair, wait_for};
use crate::thrift::{SERVER_TLS, connected, stores};

const SOURCE: &str = "a1.sources = r1
a1.channels = c1
a1.sinks = k1
a1.sources.r1.type = {type}
a1.sources.r1.bind = 127.0.0.1
a1.sources.r1.port = {port}
a1.sources.r1.channels = c1
";

/// Runs a client to its end.
fn client(make: &Make, dir: &Path, arguments: &[&str]) -> Result<Output> {
    let mut command = match make {
        Make::Splashdam(binary) => {
            let mut command = Command::new(binary);
            command.arg("avro-client");
            command
        }
        Make::Flume(peers) => {
            let mut command = Command::new(&peers.java);
            command.args(&peers.java_options).arg("-cp").arg(peers.flume_jars.join("*"));
            command.args(["-Dfile.encoding=UTF-8", "org.apache.flume.client.avro.AvroCLIClient"]);
            command
        }
    };
    command.args(arguments).current_dir(dir).stdin(Stdio::null());
    Ok(command.output()?)
}

/// What arrives at an agent of `to` when `arguments` are run by `from`.
fn sent(
    from: &Make,
    to: &Make,
    [source, keys]: [&str; 2],
    arguments: &[&str],
    events: u64,
    prepare: impl Fn(&Path, u16) -> Result<()>,
) -> Result<Vec<String>> {
    let dir = tempfile::tempdir()?;
    let (agent, port) = (dir.path().join("agent"), free_port()?);
    fs::create_dir(&agent)?;
    fs::create_dir(dir.path().join("k1"))?;
    prepare(dir.path(), port)?;
    let config = channel_and_sink(1, "header_and_text") + SOURCE + keys;
    let config = config
        .replace("{dir}", &dir.path().display().to_string())
        .replace("{type}", source)
        .replace("{port}", &port.to_string());
    let mut agent = Agent::start(to, &agent, &config)?;
    connected(port)?;
    let port = port.to_string();
    let arguments: Vec<&str> =
        arguments.iter().map(|word| if *word == "{port}" { &port } else { *word }).collect();
    let said = client(from, dir.path(), &arguments)?;
    if !said.status.success() {
        bail!("{}", String::from_utf8_lossy(&said.stderr));
    }
    wait_for(&mut agent, "k1", events).with_context(|| {
        format!(
            "{} {}",
            String::from_utf8_lossy(&said.stdout),
            String::from_utf8_lossy(&said.stderr)
        )
    })?;
    agent.stop()?;
    if arguments.contains(&"--dirname") && matches!(from, Make::Splashdam(_)) {
        let done = fs::read_dir(dir.path().join("spool"))?;
        for file in done {
            ensure!(file?.file_name().to_string_lossy().ends_with(".COMPLETED"));
        }
    }
    outputs::lines(&dir.path().join("k1"))
}

/// Lines that end in every way, and the headers.
fn files(dir: &Path, _: u16) -> Result<()> {
    fs::write(dir.join("lines"), "one\ntwo\r\nthree\rgrün \u{1f30a}\n\nlast")?;
    fs::write(dir.join("headers"), "# comment\ncolour = gr\\u00fcn\n")?;
    fs::create_dir(dir.join("spool"))?;
    fs::write(dir.join("spool/one"), "a\nb\n")?;
    fs::write(dir.join("spool/two"), "c")?;
    Ok(())
}

#[test]
fn both_clients_send_the_same() {
    let Some(([flume, ours], _turn)) = pair() else { return };
    let check = |arguments: &[&str], events: u64, want: &[&str]| {
        for from in [&flume, &ours] {
            let lines = sent(from, &flume, ["avro", ""], arguments, events, files);
            let lines = lines.unwrap_or_else(|error| panic!("{}: {error:?}", from.name()));
            assert_eq!(lines, want, "{} {arguments:?}", from.name());
        }
    };
    let address = ["-H", "127.0.0.1", "-p", "{port}"];
    let file = [&address[..], &["-F", "lines"]].concat();
    check(&file, 6, &["{} one", "{} two", "{} three", "{} grün \u{1f30a}", "{} ", "{} last"]);
    let headers = [&file[..], &["--headerFile", "headers"]].concat();
    let line = |text: &str| format!("{{colour=grün}} {text}");
    let want = ["one", "two", "three", "grün \u{1f30a}", "", "last"].map(line);
    check(&headers, 6, &want.each_ref().map(String::as_str));
}

#[test]
fn directories_and_properties() {
    let Some(([flume, ours], _turn)) = pair() else { return };
    let properties = |dir: &Path, port: u16| -> Result<()> {
        let text = format!(
            "client.type = thrift\nhosts = h1\nhosts.h1 = 127.0.0.1:{port}\nbatch-size = 2\n"
        );
        fs::write(dir.join("props"), text)?;
        files(dir, port)
    };
    for to in [&flume, &ours] {
        let arguments = ["-P", "props", "--dirname", "spool"];
        let lines = sent(&ours, to, ["thrift", ""], &arguments, 3, properties);
        let mut lines = lines.unwrap_or_else(|error| panic!("{}: {error:?}", to.name()));
        lines.sort();
        assert_eq!(lines, ["{} a", "{} b", "{} c"], "{}", to.name());
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let port = free_port().expect("a port").to_string();
    let said = client(&ours, dir.path(), &["-H", "127.0.0.1", "-p", &port, "-F", "missing"]);
    let said = said.expect("our binary");
    assert_eq!(said.status.code(), Some(1), "{said:?}");
    fs::write(dir.path().join("lines"), "x\n").expect("room");
    let said = client(&ours, dir.path(), &["-H", "127.0.0.1", "-p", &port, "-F", "lines"]);
    let said = said.expect("our binary");
    assert_eq!(said.status.code(), Some(1), "{said:?}");
    let text = String::from_utf8_lossy(&said.stderr);
    assert!(text.contains("cannot connect") && text.contains("0 events were sent"), "{text}");
}

/// The clients of properties are those of the crate `client`: TLS, compression, both, and a first server that is not there.
#[test]
fn our_client_to_both_avro_sources() {
    let Some(([flume, ours], _turn)) = pair() else { return };
    let deflate = "a1.sources.r1.compression-type = deflate\n";
    let tls = "ssl = true\ntruststore = {dir}/trust.jks\ntruststore-password = mill-race\n";
    let deflated = "compression-type = deflate\n";
    let cases = [
        (String::new(), String::new()),
        (SERVER_TLS.to_owned(), tls.to_owned()),
        (deflate.to_owned(), deflated.to_owned()),
        (SERVER_TLS.to_owned() + deflate, tls.to_owned() + deflated),
    ];
    let kinds = ["default", "default_failover", "default_loadbalance"];
    for to in [&flume, &ours] {
        for (index, (source, client)) in cases.iter().enumerate() {
            let kind = kinds[index % kinds.len()];
            let properties = |dir: &Path, port: u16| -> Result<()> {
                let hosts = if kind == "default" { "live" } else { "dead live" };
                let text = format!(
                    "client.type = {kind}\nhosts = {hosts}\nhosts.live = 127.0.0.1:{port}
                     hosts.dead = 127.0.0.1:{}\nbatch-size = 50\n{client}",
                    free_port()?
                );
                fs::write(dir.join("props"), text.replace("{dir}", &dir.display().to_string()))?;
                let lines: String = (0..500).map(|number| format!("{number}\n")).collect();
                fs::write(dir.join("lines"), lines)?;
                stores(dir)
            };
            let arguments = ["-P", "props", "-F", "lines"];
            let lines = sent(&ours, to, ["avro", source], &arguments, 500, properties);
            let lines =
                lines.unwrap_or_else(|error| panic!("{} {kind} {client}: {error:?}", to.name()));
            let want: Vec<String> = (0..500).map(|number| format!("{{}} {number}")).collect();
            assert_eq!(lines, want, "{} {kind} {client}", to.name());
        }
    }
}
