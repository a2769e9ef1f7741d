//! Flume's RPC client for Java, as programs use it: `java/RpcClientDriver.java`.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::peers::Peers;

/// A client that takes longer hangs, however busy the machine.
const LIMIT: Duration = Duration::from_secs(180);

/// Sends `count` events, numbered from 0, with a client of these properties, `key=value` each. Its log goes to `dir`.
pub fn send(peers: &Peers, dir: &Path, properties: &[String], count: u32) -> Result<()> {
    let count = count.to_string();
    let arguments = properties.iter().map(String::as_str).chain(["--", &count]);
    run(peers, "RpcClientDriver.java", arguments, dir)
}

/// Runs a program of `java/` with these jars to its end. Its log goes to `dir`.
pub(crate) fn run<'a>(
    peers: &Peers,
    program: &str,
    arguments: impl Iterator<Item = &'a str>,
    dir: &Path,
) -> Result<()> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("java").join(program);
    let said = dir.join("client.log");
    let mut child = Command::new(&peers.java)
        .args(&peers.java_options)
        .arg("-cp")
        .arg(peers.flume_jars.join("*"))
        .arg(source)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(&said)?)
        .spawn()
        .context("starting java")?;
    let began = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if began.elapsed() > LIMIT {
            child.kill()?;
            child.wait()?;
            bail!("the client took longer than {LIMIT:?}");
        }
        thread::sleep(Duration::from_millis(10));
    };
    ensure!(status.success(), "the client failed: {}", fs::read_to_string(said)?);
    Ok(())
}
