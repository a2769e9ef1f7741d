//! What can be started on this machine: a JDK with Flume's artifacts, and our own binary.

use std::env;
use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::jars;

/// Flume 1.11 as it can be started here.
#[derive(Clone, Debug)]
pub struct Peers {
    /// The `java` launcher, 11 or newer.
    pub java: PathBuf,
    /// The folder with Flume's jars and all they need.
    pub flume_jars: PathBuf,
    /// Options for the JVM beside those that Flume needs.
    pub java_options: Vec<&'static str>,
}

/// Whose agent a process runs. Both take the same flags and the same configuration.
#[derive(Clone, Debug)]
pub enum Make {
    /// Apache Flume 1.11.0.
    Flume(Peers),
    /// The `splashdam` binary at this path.
    Splashdam(PathBuf),
}

/// Why a peer cannot be started; the text says what to install or set.
#[derive(Debug)]
pub enum Missing {
    /// No `java`, or one that is too old.
    Jdk(String),
    /// No `mvn`, and the jars are not in the cache yet.
    Maven,
    /// Maven ran and could not bring the jars.
    Jars(String),
    /// Our own binary is not built.
    Binary(PathBuf),
}

impl Peers {
    /// Finds the JDK and Flume's jars; the first call on a machine resolves them with Maven, which takes a minute.
    pub fn available() -> Result<Peers, Missing> {
        let java = java()?;
        let flume_jars = jars::flume()?;
        Ok(Peers { java, flume_jars, java_options: Vec::new() })
    }

    /// Flume's appenders for Log4j and what they need, without an agent.
    pub fn of_log4j() -> Result<Peers, Missing> {
        let java = java()?;
        let flume_jars = jars::flume_log4j()?;
        Ok(Peers { java, flume_jars, java_options: Vec::new() })
    }

    /// The same with Flume's source for agents of Flume 0.9 that speak Avro, and the client's part of it.
    pub fn with_avro_legacy() -> Result<Peers, Missing> {
        let java = java()?;
        let flume_jars = jars::flume_with_avro_legacy()?;
        Ok(Peers { java, flume_jars, java_options: Vec::new() })
    }

    /// The same with Flume's source for JMS and clients of ActiveMQ, Artemis and Classic.
    pub fn with_jms() -> Result<Peers, Missing> {
        let java = java()?;
        let flume_jars = jars::flume_with_jms()?;
        Ok(Peers { java, flume_jars, java_options: Vec::new() })
    }

    /// The same with Flume's sink for HBase 2 and the client that it needs.
    pub fn with_hbase() -> Result<Peers, Missing> {
        let java = java()?;
        let flume_jars = jars::flume_with_hbase()?;
        Ok(Peers { java, flume_jars, java_options: Vec::new() })
    }
}

impl Make {
    /// Flume, where a JDK and its jars can be had.
    pub fn flume() -> Result<Make, Missing> {
        Peers::available().map(Make::Flume)
    }

    /// Our own agent: the file in `SPLASHDAM_BIN`, or else the one cargo built beside the running executable.
    pub fn splashdam() -> Result<Make, Missing> {
        let path = match env::var_os("SPLASHDAM_BIN") {
            Some(path) => PathBuf::from(path),
            None => beside_this_executable(),
        };
        if path.is_file() { Ok(Make::Splashdam(path)) } else { Err(Missing::Binary(path)) }
    }

    /// The same, but a JVM is told that it will live for seconds only: it compiles little, and starts sooner. Not for
    /// measuring.
    #[must_use]
    pub fn briefly(mut self) -> Make {
        if let Make::Flume(peers) = &mut self {
            peers.java_options = vec!["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"];
        }
        self
    }

    /// What to call it in tables and messages.
    pub fn name(&self) -> &'static str {
        match self {
            Make::Flume(_) => "flume",
            Make::Splashdam(_) => "splashdam",
        }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Missing::Jdk(found) => write!(out, "{found}: install a JDK 17 or point JAVA_HOME to one"),
            Missing::Maven => out.write_str(
                "no `mvn` to fetch its jars with: install Maven or put it on the PATH (needed once, the jars are cached)",
            ),
            Missing::Jars(why) => write!(out, "its jars could not be fetched: {why}"),
            Missing::Binary(path) => write!(
                out,
                "no splashdam binary at {}: run `cargo build -p splashdam` or set SPLASHDAM_BIN",
                path.display()
            ),
        }
    }
}

impl std::error::Error for Missing {}

pub(crate) fn java() -> Result<PathBuf, Missing> {
    let java =
        found_in("JAVA_HOME", "java").ok_or_else(|| Missing::Jdk("no `java` found".to_owned()))?;
    let shown = Command::new(&java)
        .arg("-version")
        .output()
        .map_err(|error| Missing::Jdk(format!("{} does not start: {error}", java.display())))?;
    let text = String::from_utf8_lossy(&shown.stderr).into_owned();
    match major_version(&text) {
        Some(major) if major >= 11 => Ok(java),
        Some(major) => Err(Missing::Jdk(format!("{} is Java {major}, too old", java.display()))),
        None => Err(Missing::Jdk(format!("{} does not say its version", java.display()))),
    }
}

/// The number in `openjdk version "17.0.15" …`; Java 8 calls itself 1.8.
fn major_version(text: &str) -> Option<u32> {
    let quoted = text.split('"').nth(1)?;
    let mut parts = quoted.split(['.', '-', '_', '+']);
    match parts.next()?.parse().ok()? {
        1 => parts.next()?.parse().ok(),
        major => Some(major),
    }
}

/// `name` in the `bin` of the folder that `home` names, or else on the PATH.
pub(crate) fn found_in(home: &str, name: &str) -> Option<PathBuf> {
    let from_home = env::var_os(home).map(|home| Path::new(&home).join("bin").join(name));
    let paths = env::var_os("PATH").unwrap_or_default();
    let on_path = env::split_paths(&paths).map(|folder| folder.join(name));
    from_home.into_iter().chain(on_path).find(|file| file.is_file())
}

/// Tests and benches lie in `target/PROFILE` or its `deps`; the binary lies in `target/PROFILE`, else in the other profile.
fn beside_this_executable() -> PathBuf {
    let exe = env::current_exe().unwrap_or_default();
    let mut profile = exe.parent().unwrap_or(Path::new("."));
    if profile.file_name() == Some(OsStr::new("deps")) {
        profile = profile.parent().unwrap_or(profile);
    }
    let target = profile.parent().unwrap_or(profile);
    let own = profile.join("splashdam");
    [own.clone(), target.join("release/splashdam"), target.join("debug/splashdam")]
        .into_iter()
        .find(|file| file.is_file())
        .unwrap_or(own)
}

#[cfg(test)]
mod tests {
    use super::major_version;

    #[test]
    fn reads_java_versions() {
        let check = |text: &str, major| assert_eq!(major_version(text), major, "{text}");
        check("openjdk version \"17.0.15\" 2025-04-15", Some(17));
        check("java version \"1.8.0_292\"", Some(8));
        check("openjdk version \"21\" 2023-09-19", Some(21));
        check("openjdk version \"22-ea\" 2024-03-19", Some(22));
        check("command not found", None);
    }
}
