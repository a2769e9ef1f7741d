//! Source `exec`: lines that a command writes to its standard output.
//!
//! Flume's class: `org.apache.flume.source.ExecSource`. What differs: when a channel refuses, Flume
//! kills the command and loses the lines at hand; here they are kept and put again, and the command
//! is not read meanwhile, so that it waits. A partial batch goes out `batchTimeout` after its first
//! line. A stop ends the command's whole process group, not only the command. Lines have a longest
//! length, `maxLineLength`. A command that cannot be started is tried again.

mod lines;

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use serde::Deserialize;
use splashdam_config::{Diagnostic, Section};
use splashdam_core::{
    Batch, Component, Context, Event, Facts, OpenError, Outlet, PutError, Source, SourceError, Stop,
};
use tokio::io::AsyncReadExt;
use tokio::process::ChildStdout;
use tokio::task::coop::consume_budget;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{info, warn};

use super::gave_up;
use crate::charset::Charset;
use crate::child::{Child, CommandLine, StandardError, how};
use lines::Lines;

/// The first wait after a channel refused, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(4));

/// Keys of the exec source.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// The command. Without `shell` it is split at blanks: quotes, pipes and globs mean nothing.
    pub command: CommandLine,
    /// A shell with its option, such as `/bin/sh -c`, split at blanks; the command becomes its last
    /// argument, whole.
    #[serde(default)]
    pub shell: Option<CommandLine>,
    /// Whether the command is started again when it has ended.
    #[serde(default)]
    pub restart: bool,
    /// Milliseconds between its end and its next start.
    #[serde(default = "restart_throttle")]
    pub restart_throttle: u64,
    /// Whether its standard error is logged, line by line, at level info. It is read in any case.
    #[serde(default)]
    pub log_std_err: bool,
    /// Lines in one transaction.
    #[serde(default = "batch_size")]
    pub batch_size: NonZeroU32,
    /// Milliseconds that a line waits at most for the batch to fill up.
    #[serde(default = "batch_timeout")]
    pub batch_timeout: u64,
    /// The charset that the command writes, by its Java name. Bodies are UTF-8.
    #[serde(default)]
    pub charset: Charset,
    /// Bytes in a line at the most; longer ones are split. Not a key of Flume, which has no limit.
    #[serde(default = "max_line_length")]
    pub max_line_length: NonZeroUsize,
}

fn restart_throttle() -> u64 {
    10_000
}

fn batch_size() -> NonZeroU32 {
    const { NonZeroU32::new(20).unwrap() }
}

fn batch_timeout() -> u64 {
    3000
}

fn max_line_length() -> NonZeroUsize {
    const { NonZeroUsize::new(16 * 1024 * 1024).unwrap() }
}

/// The source.
pub struct Exec {
    config: Config,
    cx: Context,
}

impl Component for Exec {
    const TYPE: &'static str = "exec";
    const ALIASES: &'static [&'static str] = &["org.apache.flume.source.ExecSource"];
    type Config = Config;

    async fn open(config: Config, cx: Context) -> Result<Self, OpenError> {
        Ok(Exec { config, cx })
    }

    fn facts(config: &Config) -> Facts {
        let lost = "lines that the command wrote and no channel has taken yet are lost";
        Facts {
            batch_events: Some(config.batch_size.get() as usize),
            place: Some(format!("runs `{}`", config.command.as_str())),
            memory_bytes: Some((config.max_line_length.get() as u64).saturating_mul(4)),
            process_crash: Some(lost),
            machine_crash: Some(lost),
            ..Facts::default()
        }
    }

    fn check(config: &Config, section: &Section) -> Vec<Diagnostic> {
        let special = ["|", "&&", ";", ">", "<", "\"", "'", "`", "$(", "*"];
        let found = special.into_iter().find(|text| config.command.as_str().contains(text));
        match found.filter(|_| config.shell.is_none()) {
            None => Vec::new(),
            Some(found) => vec![
                Diagnostic::warning(
                    "shell-syntax-without-shell",
                    format!("`{found}` in `command` means nothing without a shell"),
                )
                .at(section.value_span("command"))
                .help("set `shell = /bin/sh -c`, or leave it out of the command"),
            ],
        }
    }
}

impl Source for Exec {
    async fn run(self, out: Outlet, stop: Stop) -> Result<(), SourceError> {
        let Exec { config, cx } = self;
        while !stop.requested() {
            let mut child = start(&config, &cx)?;
            let work = Work { config: &config, out: &out, stop: &stop, batch: Batch::default() };
            match work.read(child.take_stdout()).await {
                Ok(true) => ended(child, &config.command, &cx, &stop).await,
                Ok(false) => {
                    child.kill().await;
                    return Ok(());
                }
                Err(Lost { error, lost }) => {
                    child.kill().await;
                    out.metrics().events_dropped.add(lost);
                    warn!(component = %cx.title(), %error, lost, "lines of the command are lost, as the channels do not take them");
                    return gave_up(error, &stop);
                }
            }
            if !config.restart {
                info!(component = %cx.title(), "the command is not started again, as `restart` is not set");
                break;
            }
            stop.or(sleep(Duration::from_millis(config.restart_throttle))).await;
        }
        Ok(())
    }
}

fn start(config: &Config, cx: &Context) -> Result<Child, SourceError> {
    let arguments = config.command.arguments(config.shell.as_ref());
    let standard_error = match config.log_std_err {
        true => StandardError::Logged { most: u32::MAX },
        false => StandardError::Dropped,
    };
    // As in Flume its standard input stays open and silent.
    Child::start(&arguments, &cx.title(), standard_error).map_err(|error| {
        let program = arguments.first().unwrap_or(&"");
        SourceError::new(format!(
            "cannot start `{program}`: {error}; check `command` and `shell`, a full path is best"
        ))
    })
}

/// Waits for the end of a command whose output is over, and says how it went. A stop cuts that short.
async fn ended(mut child: Child, command: &CommandLine, cx: &Context, stop: &Stop) {
    let Some(status) = stop.or(child.wait()).await else { return child.kill().await };
    let command = command.as_str();
    match status {
        Ok(status) if status.success() => {
            info!(component = %cx.title(), "command [{command}] exited with 0");
        }
        Ok(status) => {
            warn!(component = %cx.title(), "command [{command}] {}", how(status));
        }
        Err(error) => {
            warn!(component = %cx.title(), %error, "command [{command}] cannot be waited for");
        }
    }
    // As in Flume: what it put into the background goes on.
    child.let_go().await;
}

/// The channels did not take a batch and waiting would not help.
struct Lost {
    error: PutError,
    /// Lines that were read and are in no channel.
    lost: usize,
}

/// Reading of one run of the command.
struct Work<'a> {
    config: &'a Config,
    out: &'a Outlet,
    stop: &'a Stop,
    batch: Batch,
}

impl Work<'_> {
    /// Puts every line until the output ends (true) or a stop is asked for (false). What was read
    /// by then is put, the piece of a last line included, as in Flume.
    async fn read(mut self, stdout: Option<ChildStdout>) -> Result<bool, Lost> {
        let Some(stdout) = stdout else { return Ok(true) };
        let mut lines = Lines::new(self.config.charset, self.config.max_line_length.get());
        self.read_lines(stdout, &mut lines).await.map_err(|error| {
            let unread = std::iter::from_fn(|| lines.next()).count();
            let lost = error.batch.len() + unread + usize::from(lines.last().is_some());
            Lost { error, lost }
        })
    }

    async fn read_lines(
        &mut self,
        mut stdout: ChildStdout,
        lines: &mut Lines,
    ) -> Result<bool, PutError> {
        let timeout = Duration::from_millis(self.config.batch_timeout);
        let mut due = Instant::now();
        let ended = loop {
            while let Some(line) = lines.next() {
                if self.batch.is_empty() {
                    due = Instant::now() + timeout;
                }
                self.push(line).await?;
            }
            let read = tokio::select! {
                biased;
                () = self.stop.wait() => break false,
                () = sleep_until(due), if !self.batch.is_empty() => {
                    self.flush().await?;
                    continue;
                }
                read = stdout.read_buf(lines.room()) => read,
            };
            // A pipe does not fail; should it, there is nothing more to read.
            if read.unwrap_or(0) == 0 {
                break true;
            }
        };
        if let Some(line) = lines.last() {
            self.push(line).await?;
        }
        self.flush().await?;
        Ok(ended)
    }

    async fn push(&mut self, event: Event) -> Result<(), PutError> {
        self.batch.push(event);
        let size = self.batch.size();
        let full = size.events >= self.config.batch_size.get() as usize;
        if full || size.bytes >= self.config.max_line_length.get() {
            self.flush().await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), PutError> {
        let batch = std::mem::take(&mut self.batch);
        if batch.is_empty() {
            return Ok(());
        }
        // A chatty command must not keep a worker to itself.
        consume_budget().await;
        self.out.put_patiently(batch, self.stop, RETRY.0, RETRY.1).await
    }
}

#[cfg(test)]
mod tests;
