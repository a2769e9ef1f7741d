//! Flume's appenders for Log4j 1, as programs use them: `java/Log4jDriver.java`.

use std::fs;
use std::path::Path;

use anyhow::Result;

use crate::peers::Peers;
use crate::rpc_client::run;

/// Logs `n0`, `n1` and so on, `count` in all, with this configuration of Log4j. Its own log goes to `dir`.
pub fn send(peers: &Peers, dir: &Path, configuration: &str, count: u32) -> Result<()> {
    let file = dir.join("log4j.properties");
    fs::write(&file, configuration)?;
    let count = count.to_string();
    let file = file.to_string_lossy();
    run(peers, "Log4jDriver.java", [&*file, &count].into_iter(), dir)
}
