//! Flume's own Thrift client, driven by `java/ThriftClient.java`.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::peers::Peers;

/// What a client is to send.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// How many threads share the client.
    pub threads: u32,
    /// Events of each thread.
    pub events: u32,
    /// Events in one list; the client parts it further by its `batch-size`.
    pub together: u32,
}

/// Sends events to `address` with more properties of the client, `key=value` each, and waits for the end. Fails with
/// what Java said when a call failed.
pub fn send(peers: &Peers, address: &str, properties: &[String], load: Load) -> Result<()> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("java/ThriftClient.java");
    let numbers = [load.threads, load.events, load.together].map(|number| number.to_string());
    let said = Command::new(&peers.java)
        .args(["-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp"])
        .arg(peers.flume_jars.join("*"))
        .arg(&source)
        .args(numbers)
        .args(["client.type=thrift", "hosts=h1", &format!("hosts.h1={address}")])
        .args(properties)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("starting java on {}", source.display()))?;
    let sent = String::from_utf8_lossy(&said.stdout);
    ensure!(sent.lines().any(|line| line == "sent"), "{}", String::from_utf8_lossy(&said.stderr));
    Ok(())
}
