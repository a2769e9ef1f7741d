//! Why events were not delivered.

use std::io;
use std::time::Duration;

use splashdam_core::{Cause, Malformed};

use crate::Address;

/// A call that did not go well. Whether the events are there after all is only known for
/// [`CallError::Connect`] and [`CallError::TooLarge`]: they are not.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// There is no connection.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// The server.
        address: Address,
        /// What the system says.
        source: io::Error,
    },
    /// The server took too long.
    #[error("{address} did not answer within {limit:?}; whether it has the events is not known")]
    TimedOut {
        /// The server.
        address: Address,
        /// How long was waited.
        limit: Duration,
    },
    /// The connection broke.
    #[error("the connection to {address} broke: {source}")]
    Lost {
        /// The server.
        address: Address,
        /// What the system says.
        source: io::Error,
    },
    /// The server does not have the events; it may later. The connection is as good as before.
    #[error("{address} refused the events with status {status}; its channel may be full")]
    Refused {
        /// The server.
        address: Address,
        /// The name that Flume gives to the answer.
        status: &'static str,
    },
    /// The server could not make sense of the call, or failed.
    #[error("{address} answered with an error: {said}")]
    Exception {
        /// The server.
        address: Address,
        /// What it said.
        said: String,
    },
    /// The answer is none.
    #[error("{address} answered with something else than an answer: {source}")]
    Malformed {
        /// The server.
        address: Address,
        /// Where and what.
        source: Malformed,
    },
    /// It cannot be sent, now or later.
    #[error("{0}")]
    TooLarge(#[source] Cause),
}

impl CallError {
    /// A call on a connection that is not usable.
    pub(crate) fn spoilt(address: Address) -> Self {
        let what = "an earlier call on it has no answer; connect again";
        CallError::Lost { address, source: io::Error::new(io::ErrorKind::BrokenPipe, what) }
    }

    /// Whether the connection can be used for the next call.
    pub fn keeps_connection(&self) -> bool {
        matches!(self, CallError::Refused { .. } | CallError::TooLarge(_))
    }
}

/// Nobody took the events.
#[derive(Debug, thiserror::Error)]
#[error("{}", told(.failures))]
pub struct DeliveryError {
    /// What became of each try, in order; none where all servers are passed over for a while.
    pub failures: Vec<CallError>,
}

fn told(failures: &[CallError]) -> String {
    if failures.is_empty() {
        return "all servers failed a moment ago and are passed over for a while".to_owned();
    }
    failures.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
