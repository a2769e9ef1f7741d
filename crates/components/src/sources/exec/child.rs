//! The command as a process: in a process group of its own, which a stop ends as a whole.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use splashdam_core::{SourceError, Stop};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{ChildStdout, Command};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{info, warn};

use super::Config;

/// How long a command may take to end by itself after it was asked to.
const GRACE: Duration = Duration::from_secs(2);
/// Bytes of a line of standard error that are logged as one.
const LOGGED_BYTES: usize = 8 * 1024;

/// A running command. Dropping it kills its process group.
pub(super) struct Child {
    title: String,
    child: tokio::process::Child,
    /// The process group; `None` once the command was waited for.
    group: Option<Pid>,
    /// Reads standard error; dropping it ends that.
    _stderr: JoinSet<()>,
}

impl Child {
    /// Starts the command of `config` for the source `title`.
    pub(super) fn start(config: &Config, title: &str) -> Result<Self, SourceError> {
        let arguments = config.arguments();
        let (program, rest) = arguments.split_first().unwrap_or((&"", &[]));
        let mut command = Command::new(program);
        // As in Flume its standard input stays open and silent.
        command.args(rest).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0).kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| {
            SourceError::new(format!(
                "cannot start `{program}`: {error}; check `command` and `shell`, a full path is best"
            ))
        })?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let mut stderr = JoinSet::new();
        if let Some(pipe) = child.stderr.take() {
            stderr.spawn(drain(pipe, config.log_std_err.then(|| title.to_owned())));
        }
        Ok(Child { title: title.to_owned(), child, group, _stderr: stderr })
    }

    /// Its standard output, once.
    pub(super) fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// Waits for its end, as its output is over, and says how it went. A stop cuts that short.
    pub(super) async fn ended(mut self, command: &str, stop: &Stop) {
        let Some(status) = stop.or(self.child.wait()).await else { return self.kill().await };
        self.group = None;
        match status {
            Ok(status) if status.success() => {
                info!(component = %self.title, "command [{command}] exited with 0");
            }
            Ok(status) => {
                warn!(component = %self.title, "command [{command}] {}", how(status));
            }
            Err(error) => {
                warn!(component = %self.title, %error, "command [{command}] cannot be waited for");
            }
        }
    }

    /// Asks the whole group to end, waits a little, and ends it.
    pub(super) async fn kill(mut self) {
        self.signal(Signal::TERM);
        if timeout(GRACE, self.child.wait()).await.is_err() {
            warn!(component = %self.title, "the command did not end within {GRACE:?} and is killed");
        }
        // Also when the command itself is gone: its children may not be.
        self.signal(Signal::KILL);
        self.group = None;
        if let Err(error) = self.child.wait().await {
            warn!(component = %self.title, %error, "the command cannot be waited for");
        }
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

fn how(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

/// Reads standard error to its end, so that the command never waits for that; logs it under
/// `title` if there is one.
async fn drain(mut pipe: impl AsyncRead + Unpin, title: Option<String>) {
    let mut buffer = vec![0; LOGGED_BYTES];
    let mut held = 0;
    while let Ok(read @ 1..) = pipe.read(&mut buffer[held..]).await {
        let Some(title) = &title else { continue };
        let end = held + read;
        let mut start = 0;
        while let Some(length) = memchr::memchr(b'\n', &buffer[start..end]) {
            log(title, &buffer[start..start + length]);
            start += length + 1;
        }
        if start == 0 && end == buffer.len() {
            log(title, &buffer);
            start = end;
        }
        buffer.copy_within(start..end, 0);
        held = end - start;
    }
    if let Some(title) = title
        && held > 0
    {
        log(&title, &buffer[..held]);
    }
}

fn log(title: &str, line: &[u8]) {
    info!(component = %title, "stderr: {}", String::from_utf8_lossy(line.trim_ascii_end()));
}
