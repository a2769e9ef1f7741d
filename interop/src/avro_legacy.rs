//! Agents of Flume 0.9, whose Avro sinks speak HTTP: `java/AvroLegacyDriver.java`.

use std::path::Path;

use anyhow::Result;

use crate::peers::Peers;
use crate::rpc_client::run;

/// How many events are sent.
pub const EVENTS: usize = 9;

/// Whose words a sender uses.
#[derive(Clone, Copy, Debug)]
pub enum Words {
    /// Those of Flume 1, as its own tests do.
    Og,
    /// Those of Flume 0.9.
    Old,
}

/// Sends the events to `address`, one call after the other. Its log goes to `dir`. Fails with what Java
/// said when a call failed.
pub fn send(peers: &Peers, dir: &Path, address: &str, words: Words) -> Result<()> {
    let words = match words {
        Words::Og => "og",
        Words::Old => "old",
    };
    run(peers, "AvroLegacyDriver.java", [address, words].into_iter(), dir)
}
