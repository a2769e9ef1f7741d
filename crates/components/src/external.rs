//! Processes that do the work of an interceptor, a source or a sink; `docs/external.md` says how they
//! are spoken to.
//!
//! A [`Peer`] is one process in its life. A [`Worker`] keeps one going for who asks it about batches,
//! and gives what one process has not answered to the next.

mod peer;
mod worker;

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroUsize};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::{Deserializer, Error};
use splashdam_config::{Diagnostic, Section};
use splashdam_core::{Context, OpenError};
use splashdam_wire::external::{Hello, VERSION};

use crate::child::CommandLine;
pub(crate) use peer::{Lost, Peer};
pub(crate) use worker::Worker;

/// The longest pause between two starts.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Keys that every external process has; a component holds it under `#[serde(rename = ".process")]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessConfig {
    /// The command. Without `shell` it is split at blanks: quotes, pipes and globs mean nothing.
    pub command: CommandLine,
    /// A shell with its option, such as `/bin/sh -c`, split at blanks; the command becomes its last
    /// argument, whole.
    #[serde(default)]
    pub shell: Option<CommandLine>,
    /// `set.NAME`: a setting that the process is told when it starts. Not on its command line, where
    /// others could read it.
    #[serde(default)]
    pub set: BTreeMap<String, String>,
    /// Milliseconds that the process may take from its start until it is ready.
    #[serde(default = "start_timeout")]
    pub start_timeout: NonZeroU32,
    /// Milliseconds that the process may take until it answers something; then it is killed and
    /// started again. As long a batch waits for its answer before its source is told to send it
    /// again, or its sink has failed.
    #[serde(default = "timeout")]
    pub timeout: NonZeroU32,
    /// Milliseconds that the process may take to end once it was told to; then its group is killed.
    #[serde(default = "stop_timeout")]
    pub stop_timeout: u32,
    /// Milliseconds between the end of a process and the start of the next; twice as long each time
    /// until one has answered a batch, up to a minute.
    #[serde(default = "restart_throttle")]
    pub restart_throttle: NonZeroU32,
    /// Bytes of one message at the most, up to 1 GiB; batches are cut so that they fit. An event that
    /// does not fit by itself is refused. Default: `67108864`.
    #[serde(default)]
    pub max_message_bytes: MessageBytes,
}

fn start_timeout() -> NonZeroU32 {
    const { NonZeroU32::new(30_000).unwrap() }
}

fn timeout() -> NonZeroU32 {
    const { NonZeroU32::new(10_000).unwrap() }
}

fn stop_timeout() -> u32 {
    2000
}

fn restart_throttle() -> NonZeroU32 {
    const { NonZeroU32::new(500).unwrap() }
}

/// Bytes of a message at the most: 1024 to 1 GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageBytes(u32);

impl MessageBytes {
    /// The number.
    pub fn bytes(self) -> u32 {
        self.0
    }
}

impl Default for MessageBytes {
    fn default() -> Self {
        MessageBytes(64 * 1024 * 1024)
    }
}

impl<'de> Deserialize<'de> for MessageBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u32::deserialize(deserializer)? {
            bytes @ 1024..=0x4000_0000 => Ok(MessageBytes(bytes)),
            bytes => Err(D::Error::custom(format!("is {bytes}; write 1024 to 1073741824"))),
        }
    }
}

/// Findings about a command, whose keys lie in `section`.
pub(crate) fn check(config: &ProcessConfig, section: &Section) -> Vec<Diagnostic> {
    let mut findings = Vec::new();
    let words = config.command.arguments(config.shell.as_ref());
    let program = words.first().copied().unwrap_or_default();
    let key = if config.shell.is_some() { "shell" } else { "command" };
    if let Some(why) = cannot_run(program) {
        let finding = Diagnostic::warning("no-such-command", format!("`{program}` {why}"));
        let help = "without it the agent starts nothing: install it, or correct the path";
        findings.push(finding.at(section.value_span(key)).help(help));
    }
    // What an interpreter is given is a file, too.
    let script = words.iter().skip(1).find(|word| word.starts_with('/'));
    if config.shell.is_none()
        && let Some(script) = script.filter(|script| !Path::new(script).exists())
    {
        let finding = Diagnostic::warning("no-such-command", format!("`{script}` is not there"));
        let help = "the process is started with it: put it there, or correct the path";
        findings.push(finding.at(section.value_span("command")).help(help));
    }
    findings
}

/// Why a program that is named by its path cannot be run. Others are looked for when they are started,
/// in the directories that the agent's environment names then.
fn cannot_run(program: &str) -> Option<&'static str> {
    if !program.contains('/') {
        return None;
    }
    match std::fs::metadata(program) {
        Err(_) => Some("is not there"),
        Ok(there) if there.is_dir() => Some("is a directory"),
        Ok(there) if there.permissions().mode() & 0o111 == 0 => Some("is not executable"),
        Ok(_) => None,
    }
}

/// Starts a process, waits until it is ready, and stops it: what it calls itself.
pub(crate) async fn probe(settings: Settings) -> Result<Option<String>, OpenError> {
    let mut peer = Peer::start(&settings).await.map_err(OpenError::unavailable)?;
    let program = peer.program.clone();
    peer.tell_to_stop();
    peer.leave().await;
    Ok(Some(format!("`{}` starts and calls itself {program}", settings.process.command.as_str())))
}

/// All that it takes to start a process.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    process: ProcessConfig,
    title: String,
    role: &'static str,
    agent: String,
    component: String,
    /// Events in one message at the most, where there is a limit.
    batch_events: Option<NonZeroUsize>,
}

impl Settings {
    /// For a process that is to be a `role` (`interceptor`, `source` or `sink`).
    pub(crate) fn new(
        process: ProcessConfig,
        role: &'static str,
        batch_events: Option<NonZeroUsize>,
        cx: &Context,
    ) -> Self {
        let title = match role {
            "interceptor" => format!("interceptor external of {}", cx.title()),
            _ => cx.title(),
        };
        let (agent, component) = (cx.agent.to_string(), cx.name.to_string());
        Settings { process, title, role, agent, component, batch_events }
    }

    /// Who works, for messages.
    pub(crate) fn title(&self) -> &str {
        &self.title
    }

    /// The most that the length of a message may say.
    pub(crate) fn most_message_bytes(&self) -> usize {
        self.process.max_message_bytes.0 as usize
    }

    fn hello(&self) -> Hello {
        let events = self.batch_events.map_or(0, NonZeroUsize::get);
        Hello {
            version: VERSION,
            role: self.role.into(),
            agent: self.agent.as_str().into(),
            component: self.component.as_str().into(),
            most_message_bytes: self.process.max_message_bytes.0,
            batch_events: u32::try_from(events).unwrap_or(u32::MAX),
            settings: self.process.set.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect(),
        }
    }

    fn start_timeout(&self) -> Duration {
        Duration::from_millis(self.process.start_timeout.get().into())
    }

    /// How long an answer may take.
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_millis(self.process.timeout.get().into())
    }

    /// How long the process may take to end.
    pub(crate) fn stop_timeout(&self) -> Duration {
        Duration::from_millis(self.process.stop_timeout.into())
    }

    /// The pauses between a process and the next.
    pub(crate) fn pauses(&self) -> Pauses {
        let first = Duration::from_millis(self.process.restart_throttle.get().into());
        Pauses { first, next: first }
    }
}

/// Pauses that double until all is well.
#[derive(Debug)]
pub(crate) struct Pauses {
    first: Duration,
    next: Duration,
}

impl Pauses {
    /// The pause that is due after a process that lived so long; a long life counts as well.
    pub(crate) fn after(&mut self, lived: Duration) -> Duration {
        if lived >= LONGEST_PAUSE {
            self.well();
        }
        let pause = self.next;
        self.next = (pause * 2).min(LONGEST_PAUSE).max(self.first);
        pause
    }

    /// The next one is short again.
    pub(crate) fn well(&mut self) {
        self.next = self.first;
    }
}

/// A message as it goes out.
pub(crate) fn written(message: &splashdam_wire::external::Message) -> Bytes {
    let mut out = Vec::new();
    message.write(&mut out);
    out.into()
}

#[cfg(test)]
pub(crate) mod tests;
