//! One external process, from its start to its end: what goes to it and what comes from it.

use std::collections::VecDeque;
use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use splashdam_core::Malformed;
use splashdam_wire::external::{LENGTH_BYTES, Message, VERSION, message_length, read_message};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::time::timeout;
use tracing::debug;

use super::{Settings, written};
use crate::child::{Child, StandardError, how};

/// Lines of standard error that are logged in a second.
const LOGGED_LINES: u32 = 20;
/// The least room for a read.
const READ_BYTES: usize = 64 * 1024;
/// What the pipes are asked to hold, so that a batch seldom takes several turns. Who may not have as
/// much goes on with less.
const PIPE_BYTES: usize = 1 << 20;

/// A process that said that it is ready. Dropping it kills its process group.
pub(crate) struct Peer {
    /// What it calls itself.
    pub(crate) program: String,
    /// What comes from it.
    pub(crate) incoming: Incoming,
    /// What goes to it.
    pub(crate) outgoing: Outgoing,
    child: Child,
    stop_timeout: Duration,
}

/// What comes from a process.
pub(crate) struct Incoming {
    stdout: ChildStdout,
    buffer: BytesMut,
    most_bytes: usize,
}

/// What goes to a process.
pub(crate) struct Outgoing {
    /// `None` once nothing more goes.
    stdin: Option<ChildStdin>,
    waiting: VecDeque<Bytes>,
}

/// Why a process is of no more use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Lost {
    /// It ended, or does not listen.
    #[error("it closed its {0}")]
    Closed(&'static str),
    /// It does not keep to the protocol.
    #[error("it does not keep to the protocol: {0}")]
    Malformed(#[from] Malformed),
    /// It said something that has no place there.
    #[error("it does not keep to the protocol: {0}")]
    Confused(&'static str),
    /// It speaks another version.
    #[error("it speaks version {0} of the protocol, and the agent version {VERSION}")]
    Version(u16),
    /// It took too long.
    #[error("it did not {what} within {limit:?}")]
    Slow {
        /// What was waited for.
        what: &'static str,
        /// For how long.
        limit: Duration,
    },
}

impl Peer {
    /// Starts a process and waits until it is ready. An error says what was run and what went wrong.
    pub(crate) async fn start(settings: &Settings) -> Result<Peer, String> {
        let process = &settings.process;
        let arguments = process.command.arguments(process.shell.as_ref());
        let standard_error = StandardError::Logged { most: LOGGED_LINES };
        let program = arguments.first().copied().unwrap_or_default();
        let mut child =
            Child::start(&arguments, settings.title(), standard_error).map_err(|error| {
                format!("cannot start `{program}`: {error}; check `command` and `shell`, a full path is best")
            })?;
        let (Some(stdin), Some(stdout)) = (child.take_stdin(), child.take_stdout()) else {
            return Err(format!("`{program}` was started without its pipes"));
        };
        widen(&stdin, &stdout);
        let most_bytes = settings.most_message_bytes();
        let mut peer = Peer {
            program: String::new(),
            incoming: Incoming { stdout, buffer: BytesMut::new(), most_bytes },
            outgoing: Outgoing { stdin: Some(stdin), waiting: VecDeque::new() },
            child,
            stop_timeout: settings.stop_timeout(),
        };
        peer.outgoing.send(written(&Message::Hello(settings.hello())));
        let limit = settings.start_timeout();
        let greeted = match timeout(limit, peer.greet()).await {
            Ok(greeted) => greeted,
            Err(_) => Err(Lost::Slow { what: "get ready", limit }),
        };
        match greeted {
            Ok(program) => {
                debug!(component = %settings.title(), program, "the process is ready");
                peer.program = program;
                Ok(peer)
            }
            Err(lost) => {
                let ended = peer.end().await;
                Err(format!("`{}` cannot be used: {lost}{ended}", process.command.as_str()))
            }
        }
    }

    async fn greet(&mut self) -> Result<String, Lost> {
        let ready = loop {
            tokio::select! {
                biased;
                ready = self.incoming.next() => break ready?,
                // Who does not listen may have said all that it has to say.
                _ = self.outgoing.flush(), if !self.outgoing.is_empty() => {}
            }
        };
        // What is left of the greeting goes on its way with what comes next.
        match ready {
            Some(Message::Ready { version: VERSION, program }) => Ok(program.to_string()),
            Some(Message::Ready { version, .. }) => Err(Lost::Version(version)),
            Some(_) => Err(Lost::Confused("the first message is not Ready")),
            None => Err(Lost::Closed("standard output")),
        }
    }

    /// Says that nothing more comes.
    pub(crate) fn tell_to_stop(&mut self) {
        self.outgoing.send(written(&Message::Stop));
    }

    /// Lets it end by itself, passing over what it still says, and ends it when it takes too long.
    pub(crate) async fn leave(mut self) -> Option<ExitStatus> {
        let silent = async {
            // Who does not listen any more is ending already.
            drop(self.outgoing.flush().await);
            self.outgoing.stdin = None;
            while let Ok(Some(_)) = self.incoming.next().await {}
            drop(self.child.wait().await);
        };
        match timeout(self.stop_timeout, silent).await {
            Ok(()) => self.child.end(Duration::ZERO).await,
            Err(_) => {
                self.child.kill().await;
                None
            }
        }
    }

    /// Ends it. How it ended by itself, if it did, as a further clause.
    pub(crate) async fn end(self) -> String {
        /// What closed a pipe is mostly about to end.
        const MOMENT: Duration = Duration::from_millis(200);
        let Peer { mut child, incoming, outgoing, .. } = self;
        drop((incoming, outgoing));
        match timeout(MOMENT, child.wait()).await {
            Ok(Ok(status)) => {
                child.end(Duration::ZERO).await;
                format!("; it {}", how(status))
            }
            _ => {
                child.end(Duration::ZERO).await;
                String::new()
            }
        }
    }
}

impl Incoming {
    /// The next message; `None` at the end. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Result<Option<Message>, Lost> {
        loop {
            let mut missing = LENGTH_BYTES;
            if let Some(head) = self.buffer.first_chunk() {
                let whole = LENGTH_BYTES + message_length(*head, self.most_bytes)?;
                if self.buffer.len() >= whole {
                    let mut message = self.buffer.split_to(whole).freeze();
                    message.advance(LENGTH_BYTES);
                    return Ok(Some(read_message(&message)?));
                }
                missing = whole - self.buffer.len();
            }
            if self.buffer.capacity() - self.buffer.len() < missing {
                self.buffer.reserve(missing.max(READ_BYTES));
            }
            // A pipe does not fail; should it, there is nothing more to read.
            if self.stdout.read_buf(&mut self.buffer).await.unwrap_or(0) == 0 {
                return match self.buffer.is_empty() {
                    true => Ok(None),
                    false => Err(Lost::Closed("standard output within a message")),
                };
            }
        }
    }
}

impl Outgoing {
    /// Lets a message go out with [`Outgoing::flush`]. Who sends bounds how many wait.
    pub(crate) fn send(&mut self, message: Bytes) {
        self.waiting.push_back(message);
    }

    /// How many messages wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Writes what waits, or throws it away when the process does not listen, which is an error then
    /// and each time after it. Cancel-safe.
    pub(crate) async fn flush(&mut self) -> Result<(), Lost> {
        if !self.written().await {
            self.stdin = None;
            self.waiting.clear();
            return Err(Lost::Closed("standard input"));
        }
        Ok(())
    }

    async fn written(&mut self) -> bool {
        let Some(stdin) = &mut self.stdin else { return false };
        while let Some(message) = self.waiting.front_mut() {
            while message.has_remaining() {
                if !matches!(stdin.write_buf(message).await, Ok(1..)) {
                    return false;
                }
            }
            self.waiting.pop_front();
        }
        true
    }
}

/// Lets pipes hold more, where the system does.
#[cfg(target_os = "linux")]
fn widen(stdin: &ChildStdin, stdout: &ChildStdout) {
    let widened = |size: rustix::io::Result<usize>| size.map_err(io::Error::from);
    let sizes = [
        widened(rustix::pipe::fcntl_setpipe_size(stdin, PIPE_BYTES)),
        widened(rustix::pipe::fcntl_setpipe_size(stdout, PIPE_BYTES)),
    ];
    if let Some(error) = sizes.into_iter().find_map(Result::err) {
        debug!(%error, "pipes stay as small as they are");
    }
}

#[cfg(not(target_os = "linux"))]
fn widen(_: &ChildStdin, _: &ChildStdout) {}
