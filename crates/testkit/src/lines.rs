//! What a test's thread logs.

use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::{DefaultGuard, NoSubscriber};
use tracing::{Dispatch, Level, Metadata, Subscriber};

/// What was logged, a line each, with its level before it and its fields behind it.
#[derive(Clone)]
pub struct Lines {
    least: Level,
    said: Arc<Mutex<Vec<String>>>,
}

/// Lines are kept until this is dropped.
pub struct Listening {
    _lines: DefaultGuard,
    /// Where there is one subscriber only, `tracing` asks that of the thread that comes first to a place
    /// that logs, which may be another test's and have none, and takes its answer for all threads.
    _second: Dispatch,
}

impl Lines {
    /// Keeps what this thread logs from now on as a warning or an error.
    pub fn of_this_thread() -> (Lines, Listening) {
        Lines::from_level(Level::WARN)
    }

    /// Keeps what this thread logs from now on at this level or as something worse.
    pub fn from_level(least: Level) -> (Lines, Listening) {
        let lines = Lines { least, said: Arc::default() };
        let second = Dispatch::new(NoSubscriber::default());
        let guard = tracing::subscriber::set_default(lines.clone());
        (lines, Listening { _lines: guard, _second: second })
    }

    /// Those with these words in them.
    pub fn with(&self, words: &str) -> Vec<String> {
        let lines = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().filter(|line| line.contains(words)).cloned().collect()
    }
}

/// The line that an event becomes.
struct Line {
    said: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Text cannot fail to grow.
        let _written = match field.name() {
            "message" => write!(self.said, " {value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.least
    }
    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _span: &Id, _values: &Record<'_>) {}
    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        let said = event.metadata().level().to_string();
        let mut line = Line { said, fields: String::new() };
        event.record(&mut line);
        let mut lines = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push(line.said + &line.fields);
    }
    fn enter(&self, _span: &Id) {}
    fn exit(&self, _span: &Id) {}
}
