//! A command as a process: in a process group of its own, which a stop ends as a whole.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;
use serde::de::{Deserializer, Error};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{ChildStdin, ChildStdout, Command};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

/// How long a command may take to end by itself after it was asked to.
const GRACE: Duration = Duration::from_secs(2);
/// How long what a command said on standard error is read on after its end.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// Bytes of a line of standard error that are logged as one.
const LOGGED_BYTES: usize = 8 * 1024;

/// Words between blanks, at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandLine(String);

impl CommandLine {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The program and its arguments; `shell` is put before it, as a whole, if there is one.
    pub(crate) fn arguments<'a>(&'a self, shell: Option<&'a CommandLine>) -> Vec<&'a str> {
        match shell {
            Some(shell) => shell.0.split_whitespace().chain([self.as_str()]).collect(),
            None => self.0.split_whitespace().collect(),
        }
    }
}

impl<'de> Deserialize<'de> for CommandLine {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.trim().is_empty() {
            return Err(D::Error::custom("is empty; name a program"));
        }
        if text.contains('\0') {
            return Err(D::Error::custom("holds a NUL character, which no program can be given"));
        }
        Ok(CommandLine(text))
    }
}

/// What becomes of standard error, which is read in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StandardError {
    /// Nothing.
    Dropped,
    /// It is logged.
    Logged {
        /// Lines a second at the most; how many more there were is said.
        most: u32,
    },
}

/// A running command. Dropping it kills its process group.
pub(crate) struct Child {
    title: String,
    child: tokio::process::Child,
    /// The process group; `None` once it was ended or let go. While anybody is in it, the system gives
    /// its number to nobody else.
    group: Option<Pid>,
    /// Reads standard error; dropping it ends that.
    stderr: JoinSet<()>,
}

impl Child {
    /// Starts a program with its arguments for the component `title`, with pipes for its standard
    /// input and output.
    pub(crate) fn start(
        arguments: &[&str],
        title: &str,
        standard_error: StandardError,
    ) -> io::Result<Self> {
        let (program, rest) = arguments.split_first().unwrap_or((&"", &[]));
        let mut command = Command::new(program);
        command.args(rest).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0).kill_on_drop(true);
        let mut child = command.spawn()?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let mut stderr = JoinSet::new();
        if let Some(pipe) = child.stderr.take() {
            stderr.spawn(drain(pipe, title.to_owned(), standard_error));
        }
        Ok(Child { title: title.to_owned(), child, group, stderr })
    }

    /// Its standard input, once.
    pub(crate) fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// Its standard output, once.
    pub(crate) fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// Waits for its end, not for that of its children. Cancel-safe.
    pub(crate) async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Leaves its children to themselves, after its own end. What it said at last on standard error is
    /// still read, but not for long: its children may hold that open.
    pub(crate) async fn let_go(mut self) {
        self.group = None;
        drop(timeout(LAST_WORDS, self.said()).await);
    }

    /// Asks the whole group to end, waits a little, and ends it.
    pub(crate) async fn kill(self) {
        self.signal(Signal::TERM);
        self.end(GRACE).await;
    }

    /// Waits so long for its end, then for what it still says, and ends what is left of the group.
    pub(crate) async fn end(mut self, patience: Duration) -> Option<ExitStatus> {
        if timeout(patience, self.child.wait()).await.is_err() && patience > Duration::ZERO {
            warn!(component = %self.title, "the command did not end within {patience:?} and is killed");
        }
        // Also when the command itself is gone: its children may not be.
        self.signal(Signal::KILL);
        self.group = None;
        let status = self.child.wait().await;
        // Nobody who could write is left, unless somebody left the group.
        drop(timeout(GRACE, self.said()).await);
        status
            .inspect_err(|error| {
                warn!(component = %self.title, %error, "the command cannot be waited for");
            })
            .ok()
    }

    /// Waits until standard error was read to its end.
    async fn said(&mut self) {
        while self.stderr.join_next().await.is_some() {}
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            // It fails when nobody is left in the group, which is what is wanted.
            kill_process_group(group, signal).ok();
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// How a command ended, as a clause.
pub(crate) fn how(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

/// Reads standard error to its end, so that the command never waits for that.
async fn drain(mut pipe: impl AsyncRead + Unpin, title: String, standard_error: StandardError) {
    let mut log = match standard_error {
        StandardError::Dropped => None,
        StandardError::Logged { most } => Some(Paced::new(title, most)),
    };
    let mut buffer = vec![0; LOGGED_BYTES];
    let mut held = 0;
    while let Ok(read @ 1..) = pipe.read(&mut buffer[held..]).await {
        let Some(log) = &mut log else { continue };
        let end = held + read;
        let mut start = 0;
        while let Some(length) = memchr::memchr(b'\n', &buffer[start..end]) {
            log.line(&buffer[start..start + length]);
            start += length + 1;
        }
        if start == 0 && end == buffer.len() {
            log.line(&buffer);
            start = end;
        }
        buffer.copy_within(start..end, 0);
        held = end - start;
    }
    if let Some(mut log) = log {
        if held > 0 {
            log.line(&buffer[..held]);
        }
        log.say_what_was_left_out();
    }
}

/// Logs so many lines a second.
struct Paced {
    title: String,
    most: u32,
    second: Instant,
    lines: u32,
    left_out: u64,
}

impl Paced {
    fn new(title: String, most: u32) -> Self {
        Paced { title, most, second: Instant::now(), lines: 0, left_out: 0 }
    }

    fn line(&mut self, line: &[u8]) {
        if self.second.elapsed() >= Duration::from_secs(1) {
            self.say_what_was_left_out();
            (self.second, self.lines) = (Instant::now(), 0);
        }
        if self.lines >= self.most {
            self.left_out += 1;
            return;
        }
        self.lines += 1;
        let line = String::from_utf8_lossy(line.trim_ascii_end());
        info!(component = %self.title, "stderr: {line}");
    }

    fn say_what_was_left_out(&mut self) {
        let lines = std::mem::take(&mut self.left_out);
        if lines > 0 {
            info!(component = %self.title, lines, "stderr: further lines are left out");
        }
    }
}
