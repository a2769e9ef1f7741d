//! What can go wrong, and what a caller can do about it.

use std::sync::Arc;
use std::time::Duration;

use crate::model::{Address, TableName};
use crate::proto;

/// Why an operation, or one mutation of a batch, was not done. Cheap to clone, since one cause may
/// answer for many mutations.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration cannot be used. Nothing was sent.
    #[error("{0}")]
    Config(Arc<str>),
    /// Something that no server would take. Nothing was sent.
    #[error("{0}")]
    Invalid(Arc<str>),
    /// There is no such table.
    #[error("there is no table `{table}`; create it")]
    TableNotFound {
        /// The table.
        table: TableName,
    },
    /// The table is disabled.
    #[error("table `{table}` is disabled; enable it")]
    TableDisabled {
        /// The table.
        table: TableName,
    },
    /// A server answered that the operation will never succeed.
    #[error("{server} refused for good: {exception}")]
    Refused {
        /// Who answered.
        server: Address,
        /// What it said.
        exception: ServerException,
    },
    /// A server answered with a failure that may pass.
    #[error("{server} failed: {exception}")]
    Failed {
        /// Who answered.
        server: Address,
        /// What it said.
        exception: ServerException,
    },
    /// A connection could not be made or broke. Whether calls on it were carried out is unknown.
    #[error("no connection to {server}: {why}")]
    Lost {
        /// The server.
        server: Address,
        /// What the system said.
        why: Arc<str>,
    },
    /// A server did not answer in time. Whether it carried the call out is unknown.
    #[error("{server} did not answer within {after:?}")]
    TimedOut {
        /// The server.
        server: Address,
        /// How long was waited.
        after: Duration,
    },
    /// Nobody could say where the cluster's servers are.
    #[error("the cluster was not found: {0}")]
    NoCluster(Arc<str>),
    /// `hbase:meta` has no server for a row now: a region moves, splits or failed to open.
    #[error("no server has the region of {row} in table `{table}` now")]
    NoRegion {
        /// The table.
        table: TableName,
        /// The row, escaped.
        row: Arc<str>,
    },
    /// Tries or time are used up.
    #[error("given up after {tries} tries in {waited:?}: {last}")]
    GaveUp {
        /// How often it was tried.
        tries: u32,
        /// Since the operation began.
        waited: Duration,
        /// How the last try ended.
        last: Box<Error>,
    },
}

impl Error {
    pub(crate) fn invalid(what: impl Into<Arc<str>>) -> Self {
        Error::Invalid(what.into())
    }

    pub(crate) fn lost(server: &Address, why: impl ToString) -> Self {
        Error::Lost { server: server.clone(), why: why.to_string().into() }
    }

    /// Whether doing the same again cannot help until somebody changes the input, the table or the
    /// configuration.
    pub fn is_permanent(&self) -> bool {
        match self {
            Error::Config(_) | Error::Invalid(_) | Error::Refused { .. } => true,
            Error::TableNotFound { .. } | Error::TableDisabled { .. } => true,
            Error::Failed { .. } | Error::Lost { .. } | Error::TimedOut { .. } => false,
            Error::NoCluster(_) | Error::NoRegion { .. } | Error::GaveUp { .. } => false,
        }
    }
}

/// An exception that a server answered with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", self.short_class())]
pub struct ServerException {
    /// The Java class.
    pub class: Arc<str>,
    /// Its message, without the stack.
    pub message: Arc<str>,
    /// Whether the server said that trying again cannot help.
    pub do_not_retry: bool,
    /// Where a region went, if the server said so.
    pub moved_to: Option<Address>,
}

/// Classes that are about what was to be written, whatever else they say.
const ABOUT_CONTENT: [&str; 4] = [
    "ConstraintException",
    "FailedSanityCheckException",
    "RowTooBigException",
    "IllegalArgumentException",
];

/// The class of all else that is final, such as a region that is read only, and what it says of a
/// cell: that it is too large, or that it is no counter.
const FINAL: &str = "DoNotRetryIOException";
const OF_A_CELL: [&str; 3] = ["exceeds limit of", "Field is not a long", "isn't 64 bits wide"];

impl ServerException {
    /// The class without its package.
    pub fn short_class(&self) -> &str {
        self.class.rsplit(['.', '$']).next().unwrap_or(&self.class)
    }

    /// Whether it blames what was to be written or the cell that this is for, and neither the table
    /// nor the cluster: another change may go through, this one never will.
    pub fn blames_content(&self) -> bool {
        let class = self.short_class();
        let of_a_cell = || OF_A_CELL.iter().any(|words| self.message.contains(words));
        ABOUT_CONTENT.contains(&class) || (class == FINAL && of_a_cell())
    }

    fn new(class: &[u8], stack: &[u8], moved_to: Option<Address>, do_not_retry: bool) -> Self {
        let (class, stack) = (String::from_utf8_lossy(class), String::from_utf8_lossy(stack));
        let message = message_of(&class, &stack);
        let moved_to = moved_to.or_else(|| moved_to_in(&stack));
        ServerException { class: class.into(), message: message.into(), do_not_retry, moved_to }
    }
}

/// The message in front of a stack: `class: message\n\tat …`, cut to a line's length.
fn message_of(class: &str, stack: &str) -> String {
    const SHOWN_CHARS: usize = 400;
    let text = stack.split("\n\tat ").next().unwrap_or(stack);
    let text = text.strip_prefix(class).map_or(text, |rest| rest.trim_start_matches(':'));
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// `Region moved to: hostname=H port=P startCode=S …`, as `RegionMovedException` writes it.
fn moved_to_in(text: &str) -> Option<Address> {
    let text = &text[text.find("Region moved to: hostname=")?..];
    let word = |key: &str| {
        let rest = &text[text.find(key)? + key.len()..];
        rest.split([' ', '.', '\n']).next().filter(|word| !word.is_empty())
    };
    let host = &text[text.find("hostname=")? + 9..];
    let host = host.split([' ', '\n']).next().filter(|host| !host.is_empty())?;
    Some(Address::new(host, word("port=")?.parse().ok()?))
}

impl From<proto::ExceptionResponse> for ServerException {
    fn from(said: proto::ExceptionResponse) -> Self {
        let port = said.port.and_then(|port| u16::try_from(port).ok()).filter(|&port| port > 0);
        let host = said.hostname.filter(|host| !host.is_empty());
        let moved_to =
            host.zip(port).map(|(host, port)| Address::new(&String::from_utf8_lossy(&host), port));
        ServerException::new(
            &said.exception_class_name.unwrap_or_default(),
            &said.stack_trace.unwrap_or_default(),
            moved_to,
            said.do_not_retry.unwrap_or(false),
        )
    }
}

/// As an answer to `Multi` carries it: a class and a stack. Whether it is final is known by class.
impl From<proto::NameBytesPair> for ServerException {
    fn from(said: proto::NameBytesPair) -> Self {
        ServerException::new(&said.name, &said.value.unwrap_or_default(), None, false)
    }
}

/// Bytes that are not what HBase or ZooKeeper would send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Malformed(pub(crate) &'static str);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions_are_read_from_both_forms() {
        let stack = "org.x.RegionMovedException: Region moved to: hostname=h.example port=16020 \
                     startCode=1. As of locationSeqNum=2.\n\tat org.x.Y(Z.java:1)\n";
        let said = proto::NameBytesPair {
            name: "org.x.RegionMovedException".into(),
            value: Some(stack.into()),
        };
        let exception = ServerException::from(said);
        assert_eq!(exception.short_class(), "RegionMovedException");
        assert!(exception.message.starts_with("Region moved to:"), "{exception}");
        assert!(!exception.message.contains("Z.java"));
        assert_eq!(exception.moved_to, Some(Address::new("h.example", 16020)));
        let said = proto::ExceptionResponse {
            exception_class_name: Some("a.B$C".into()),
            stack_trace: None,
            hostname: Some("h".into()),
            port: Some(1),
            do_not_retry: None,
        };
        let exception = ServerException::from(said.clone());
        assert_eq!(
            (exception.short_class(), exception.moved_to.clone()),
            ("C", Some(Address::new("h", 1)))
        );
        let nowhere = ServerException::from(proto::ExceptionResponse { port: Some(-1), ..said });
        assert_eq!(nowhere.moved_to, None);
    }

    #[test]
    fn only_what_is_about_a_cell_or_a_row_blames_content() {
        let check = |class: &str, message: &str, want: bool| {
            let said = ServerException {
                class: format!("org.apache.hadoop.hbase.{class}").into(),
                message: message.into(),
                do_not_retry: true,
                moved_to: None,
            };
            assert_eq!(said.blames_content(), want, "{class} {message}");
        };
        check("DoNotRetryIOException", "Cell[x] with size 11 exceeds limit of 10 bytes", true);
        check("DoNotRetryIOException", "Field is not a long, it's 4 bytes wide", true);
        check("DoNotRetryIOException", "region is read only", false);
        check("DoNotRetryIOException", "", false);
        check("constraint.ConstraintException", "no", true);
        check("AccessDeniedException", "exceeds limit of", false);
    }

    #[test]
    fn messages_are_one_line_of_bounded_length() {
        let check = |stack: &str, want: &str| assert_eq!(message_of("a.B", stack), want);
        check("a.B: why\n\tat x", "why");
        check("a.B", "");
        check("other: why\nmore", "other: why more");
        assert_eq!(message_of("a.B", &"x".repeat(5000)).chars().count(), 401);
    }
}
