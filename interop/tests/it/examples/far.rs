//! The machine to which examples send: an agent of ours that takes all protocols, and writes bodies into files.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use splashdam_interop::{Agent, Make, outputs};

use crate::side_by_side::channel_and_sink;

/// It, at work.
pub(super) struct Far {
    agent: Agent,
    dir: PathBuf,
}

/// Its sources, by the types of the sinks that send to them.
const SOURCES: &[(&str, &str)] = &[
    ("avro", "type = avro\nbind = 127.0.0.1"),
    ("thrift", "type = thrift\nbind = 127.0.0.1"),
    ("http", "type = http\nbind = 127.0.0.1\nhandler = lines"),
    ("syslog", "type = syslogtcp\nhost = 127.0.0.1\nmode = rfc"),
];

impl Far {
    pub(super) fn start(ours: &Make, dir: &Path) -> Result<Far> {
        fs::create_dir_all(dir.join("k1"))?;
        let mut config = channel_and_sink(1, "TEXT").replace("{dir}", &dir.display().to_string());
        for (name, keys) in SOURCES {
            for line in format!("{keys}\nport = 0\nchannels = c1").lines() {
                config += &format!("a1.sources.{name}.{line}\n");
            }
        }
        config += "a1.sources = avro thrift http syslog\na1.channels = c1\na1.sinks = k1\n";
        Ok(Far { agent: Agent::start(ours, dir, &config)?, dir: dir.join("k1") })
    }

    /// The port for the sink of an example that sends somewhere; 0 where none does.
    pub(super) fn ports(&self, example: &str) -> Result<u16> {
        let sink = example.lines().filter(|line| line.contains(".sinks."));
        let kinds = sink.filter_map(|line| line.split_once(".type = "));
        let mut known =
            kinds.filter_map(|(_, kind)| SOURCES.iter().find(|(name, _)| *name == kind));
        match known.next_back() {
            Some((name, _)) => Ok(self.agent.listening(name)?[0].port()),
            None => Ok(0),
        }
    }

    /// How often it has written a text.
    pub(super) fn heard(&self, text: &str) -> Result<usize> {
        Ok(files(&self.dir)?.matches(text).count())
    }
}

/// All that the files of a folder hold, as text.
pub(super) fn files(folder: &Path) -> Result<String> {
    let bytes = outputs::bytes(folder).with_context(|| folder.display().to_string())?;
    Ok(format!("\n{}", String::from_utf8_lossy(&bytes)))
}
