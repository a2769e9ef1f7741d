//! Errors, each with what its caller does next.

use std::collections::BTreeSet;
use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use splashdam_config::Diagnostic;

use crate::Batch;

/// A boxed cause.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// A component could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its configuration is wrong: reported at its place, and not tried again until it changes.
    #[error("{}", join(.0))]
    Config(Vec<Diagnostic>),
    /// What it needs is not there now: waited for and tried again.
    #[error("{0}")]
    Unavailable(#[source] Cause),
}

fn join(findings: &[Diagnostic]) -> String {
    findings.iter().map(|d| d.message.as_str()).collect::<Vec<_>>().join("; ")
}

impl OpenError {
    /// A configuration error without a place, for what only opening can tell.
    pub fn config(message: impl Into<String>) -> Self {
        OpenError::Config(vec![Diagnostic::error("invalid-value", message)])
    }

    /// Something is not there now. `what` names it and says what to do.
    pub fn unavailable(what: impl Into<Cause>) -> Self {
        OpenError::Unavailable(what.into())
    }

    /// The system refused. `what` says all of it; the kind of `source` tells who has to act.
    pub fn refused(what: impl Into<String>, source: io::Error) -> Self {
        OpenError::unavailable(BySystem { what: what.into(), source })
    }

    /// What is there is not what it should be. It is tried again, as somebody may mend it while the
    /// agent runs, but not without: `what` says how.
    pub fn unmended(what: impl Into<Cause>) -> Self {
        OpenError::unavailable(Unmended(what.into()))
    }

    /// Whether it stays so until a human acts: what is tried again will fail again, unlike with a peer
    /// that is down for a while.
    pub fn needs_hand(&self) -> bool {
        use io::ErrorKind::{AlreadyExists, IsADirectory, NotADirectory};
        use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
        let OpenError::Unavailable(cause) = self else { return true };
        // What exists already and cannot be used is a file where a directory has to be made.
        let by_hand =
            [AlreadyExists, IsADirectory, NotADirectory, PermissionDenied, ReadOnlyFilesystem];
        let mut next: Option<&(dyn Error + 'static)> = Some(&**cause);
        while let Some(error) = next {
            let io = error.downcast_ref::<io::Error>();
            if error.is::<Unmended>() || io.is_some_and(|io| by_hand.contains(&io.kind())) {
                return true;
            }
            next = error.source();
        }
        false
    }
}

/// What the system refused, in words that have its answer in them.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
struct BySystem {
    what: String,
    #[source]
    source: io::Error,
}

/// What a human has to mend.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Unmended(#[source] Cause);

/// A channel refused.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ChannelError {
    /// No room came free within keep-alive: tell the client to retry.
    #[error("channel {channel} is full: no room for {events} events within {waited:?}")]
    Full {
        /// The channel.
        channel: Arc<str>,
        /// Events that were to be put.
        events: usize,
        /// How long was waited for room.
        waited: Duration,
    },
    /// Its disk has no room, or too little, whatever its capacity: tell the client to retry, and let a
    /// human know.
    #[error(
        "channel {channel} takes nothing as its disk is full: {reason}; make room there, or lower \
         minimumRequiredSpace"
    )]
    DiskFull {
        /// The channel.
        channel: Arc<str>,
        /// Which directories, how much is free and how much is needed.
        reason: Arc<str>,
    },
    /// More events than one transaction may hold: never fits, whatever is waited.
    #[error(
        "channel {channel} takes at most {capacity} events in a transaction and was given {events}; \
         lower the batch size or raise transactionCapacity"
    )]
    TooLarge {
        /// The channel.
        channel: Arc<str>,
        /// Events that were to be put.
        events: usize,
        /// Its transaction capacity.
        capacity: usize,
    },
    /// It is closed: stop.
    #[error("channel {channel} is closed")]
    Closed {
        /// The channel.
        channel: Arc<str>,
    },
    /// It was not asked, nor was any other: an interceptor before it did not answer. Tell the client
    /// to retry.
    #[error("{reason}; the batch was put nowhere")]
    NotReached {
        /// Who did not answer, and why.
        reason: Arc<str>,
    },
    /// It was not asked, nor was any other: an interceptor before it never lets the batch through.
    /// Refuse it for good.
    #[error("{reason}; the batch was put nowhere")]
    Unfit {
        /// Who does not let it through, and why.
        reason: Arc<str>,
    },
    /// It failed and must be reopened. Whether a commit took effect is unknown.
    #[error("channel {channel} failed: {reason}")]
    Failed {
        /// The channel.
        channel: Arc<str>,
        /// What failed.
        reason: Arc<str>,
    },
}

impl ChannelError {
    /// Whether it is the same however long is waited, as long as the batch and the configuration are.
    pub fn is_final(&self) -> bool {
        matches!(self, ChannelError::TooLarge { .. } | ChannelError::Unfit { .. })
    }

    /// What tells one trouble from another, whatever the numbers in its words: of which kind it is and
    /// in which channel, and of a failure the reason, too.
    pub fn key(&self) -> String {
        match self {
            ChannelError::Full { channel, .. } => format!("full {channel}"),
            ChannelError::DiskFull { channel, .. } => format!("disk full {channel}"),
            ChannelError::TooLarge { channel, .. } => format!("too large {channel}"),
            ChannelError::Closed { channel } => format!("closed {channel}"),
            ChannelError::NotReached { .. } => "not reached".to_owned(),
            ChannelError::Unfit { .. } => "unfit".to_owned(),
            ChannelError::Failed { channel, reason } => format!("failed {channel}: {reason}"),
        }
    }

    /// As [`ChannelError::key`], of several together: in any order, and however often each is there.
    pub(crate) fn key_of<'e>(errors: impl IntoIterator<Item = &'e ChannelError>) -> String {
        let keys: BTreeSet<String> = errors.into_iter().map(ChannelError::key).collect();
        Vec::from_iter(keys).join("; ")
    }
}

/// The outlet could not put a batch into every required channel. Channels that took it are
/// remembered in the batch, so that putting it again does not repeat it there.
#[derive(Debug, thiserror::Error)]
#[error("{}", .failures.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct PutError {
    /// The batch, to be put again or refused upstream.
    pub batch: Batch,
    /// Which channels refused, and why.
    pub failures: Vec<ChannelError>,
}

impl PutError {
    /// Whether waiting can help: every failure is a full channel, one that is being reopened, or one
    /// that an interceptor kept from being asked.
    pub fn retryable(&self) -> bool {
        !self.failures.iter().any(ChannelError::is_final)
    }

    /// As [`ChannelError::key`], of all failures.
    pub fn key(&self) -> String {
        ChannelError::key_of(&self.failures)
    }
}

/// What a sink wants done with a batch that it could not deliver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Try again at once.
    RetryNow,
    /// Wait and try again; the sink keeps its place in its group (Flume's BACKOFF).
    BackOff,
    /// Let another sink of the group try (Flume's exception).
    FailOver,
}

/// A sink could not deliver a batch; it is rolled back.
#[derive(Debug, thiserror::Error)]
#[error("{source}")]
pub struct DeliverError {
    /// What comes next.
    pub then: Then,
    /// What went wrong.
    #[source]
    pub source: Cause,
}

impl DeliverError {
    /// An error after which another sink may try.
    pub fn fail_over(source: impl Into<Cause>) -> Self {
        DeliverError { then: Then::FailOver, source: source.into() }
    }

    /// An error after which this sink wants time.
    pub fn back_off(source: impl Into<Cause>) -> Self {
        DeliverError { then: Then::BackOff, source: source.into() }
    }
}

/// A source ended early: waited for and opened again.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SourceError(#[source] pub Cause);

impl SourceError {
    /// `what` names the thing and says what to do.
    pub fn new(what: impl Into<Cause>) -> Self {
        SourceError(what.into())
    }
}

/// Input that a decoder refused: counted, then the connection is closed or the line dropped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed input at byte {at}: {what}")]
pub struct Malformed {
    /// Bytes before the place.
    pub at: usize,
    /// What is wrong there.
    pub what: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_is_down_needs_no_hand_and_a_forbidden_file_does() {
        let check = |error: OpenError, want: bool| assert_eq!(error.needs_hand(), want, "{error}");
        for (kind, want) in [
            (io::ErrorKind::ConnectionRefused, false),
            (io::ErrorKind::NotFound, false),
            (io::ErrorKind::StorageFull, false),
            (io::ErrorKind::PermissionDenied, true),
            (io::ErrorKind::NotADirectory, true),
            (io::ErrorKind::AlreadyExists, true),
            (io::ErrorKind::ReadOnlyFilesystem, true),
        ] {
            check(OpenError::refused("cannot open it", kind.into()), want);
            check(OpenError::unavailable(io::Error::from(kind)), want);
        }
        check(OpenError::unavailable("no peer"), false);
        check(OpenError::unmended("the key is another"), true);
        check(OpenError::config("a port is missing"), true);
    }
}
