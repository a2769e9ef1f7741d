//! Reading a component's configuration from its [`Section`] through serde.
//!
//! ```
//! use splashdam_config::Section;
//!
//! #[derive(serde::Deserialize)]
//! #[serde(rename_all = "camelCase", default)]
//! struct Config {
//!     batch_size: u32,
//!     #[serde(rename = "sink.rollInterval")]
//!     roll_interval: u64,
//! }
//!
//! impl Default for Config {
//!     fn default() -> Self {
//!         Config { batch_size: 100, roll_interval: 30 }
//!     }
//! }
//!
//! let config: Config = Section::parse("sink.rollInterval = 5").read().into_result().unwrap();
//! assert_eq!((config.batch_size, config.roll_interval), (100, 5));
//! ```
//!
//! What a field may be:
//!
//! | field type | reads |
//! |---|---|
//! | integers, floats, `NonZero…` | Java's decimal rules: no units, no `_`, no hex; limits of the type are checked |
//! | `bool` | `true` in any case is true, all else is false, with a warning unless it is `false` |
//! | `String`, `char`, `PathBuf` | the text |
//! | enum | a variant by its exact name or alias; with `#[serde(rename = "any case")]` on the enum itself, ignoring case. A variant with content reads it from the same node |
//! | `Vec<T>`, [`Words`] | words between blanks |
//! | [`CommaList`] | parts between commas, trimmed |
//! | struct | keys below `field.`; a field renamed to a dotted key works too |
//! | struct, field renamed to `.name` | keys of this same section: what `flatten` is elsewhere |
//! | maps of text | all keys below `field.`, dots included; a struct can not be a map's value, see [`Section::children`] |
//! | [`Section`] | value and keys below, untouched; who reads it later reports what is unknown there |
//! | [`Spanned<T>`] | `T` and the place of its value |
//! | [`Lenient<T>`] | `T`, or nothing and a warning where Flume falls back to a default |
//! | `Option<T>` | absent is `None` |
//!
//! `#[serde(flatten)]` does not work, as serde then hides the field types.
//!
//! Reading goes on after a bad value, so that all are reported at once: the value is skipped and
//! the whole read again, which costs one pass per bad value.

mod error;
mod node;
mod placeholder;
mod scalar;
mod wrappers;

use std::collections::{BTreeSet, HashSet};

use serde::de::DeserializeOwned;

pub use error::ReadError;
pub use wrappers::{CommaList, Lenient, Spanned, Words};

use crate::diagnostic::Diagnostic;
use crate::nearest::nearest;
use crate::tree::{Role, Section};
use error::Kind;
use node::{Attempt, Node, joined};

/// Bad values after which reading gives up; no component has as many keys.
const ATTEMPTS: usize = 200;

/// Unknown keys after which the rest is not worth naming.
const UNKNOWN_SHOWN: usize = 100;

/// What reading a section gave.
#[derive(Debug)]
#[must_use]
pub struct Reading<T> {
    /// The configuration, if there was no error.
    pub value: Option<T>,
    /// Everything noticed: errors, warnings, notes.
    pub findings: Vec<Diagnostic>,
}

/// Tells of a key unknown here where it belongs.
type Elsewhere<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A reading about to happen, with what the caller knows beyond the section.
#[must_use]
pub struct Reader<'a> {
    section: &'a Section,
    subject: Option<String>,
    elsewhere: Option<Elsewhere<'a>>,
    also_known: &'a [&'a str],
}

impl<T> Reading<T> {
    /// The configuration, or all findings if there is an error among them. Warnings are dropped.
    ///
    /// # Errors
    /// All findings, if no value could be read.
    pub fn into_result(self) -> Result<T, Vec<Diagnostic>> {
        self.value.ok_or(self.findings)
    }
}

impl Section {
    /// Reads a component's configuration; see [`crate::de`] for what it may hold.
    pub fn read<T: DeserializeOwned>(&self) -> Reading<T> {
        self.reader().read()
    }

    /// Prepares a reading with more to say about unknown keys.
    pub fn reader(&self) -> Reader<'_> {
        Reader { section: self, subject: None, elsewhere: None, also_known: &[] }
    }
}

impl<'a> Reader<'a> {
    /// What is being read, for messages: "sink type `hdfs`".
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// Asked about each unknown key; an answer such as "`hdfs.path` is a key of the hdfs sink"
    /// becomes the help, unless a near name of this component fits.
    pub fn elsewhere(mut self, elsewhere: Elsewhere<'a>) -> Self {
        self.elsewhere = Some(elsewhere);
        self
    }

    /// Keys that somebody else reads: neither these nor keys below them are unknown.
    pub fn also_known(mut self, keys: &'a [&'a str]) -> Self {
        self.also_known = keys;
        self
    }

    /// Reads.
    pub fn read<T: DeserializeOwned>(self) -> Reading<T> {
        let mut course = Course::default();
        for _ in 0..ATTEMPTS {
            let attempt = Attempt::new(self.section, &course);
            let outcome = T::deserialize(Node::root(&attempt));
            let notes = attempt.into_notes();
            match outcome {
                Ok(value) => return self.conclude(Some(value), course, notes),
                Err(error) => {
                    if !self.settle(error, &mut course) {
                        return self.conclude(None, course, notes);
                    }
                }
            }
        }
        self.conclude(None, course, Notes::default())
    }

    /// Notes an error so that the next attempt gets past it; false if there is no way past.
    fn settle(&self, error: ReadError, course: &mut Course) -> bool {
        let path = error.path.clone().unwrap_or_default();
        match &error.kind {
            Kind::Absent => return course.absent.insert(path),
            Kind::Missing(field) => {
                let path = error.path.unwrap_or_else(|| joined("", field));
                // One that was skipped for its bad value is no news.
                if !course.skipped.contains(&path) && !course.placeholders.contains(&path) {
                    course.findings.push(self.missing(&path));
                }
                return course.placeholders.insert(path);
            }
            Kind::Prefer => return course.preferred.insert(path),
            Kind::Ignore(name) => {
                let finding = Diagnostic::warning(
                    "duplicate-key",
                    format!("`{path}` is an older name of `{name}`"),
                )
                .at(self.section.key_span(&path))
                .label(format!("ignored, as `{name}` is set too"))
                .help("remove this line");
                course.findings.push(self.owned(finding));
                return course.skipped.insert(path);
            }
            Kind::Bad(_) | Kind::Twice(_) => {}
        }
        if course.placeholders.contains(&path) {
            return false;
        }
        let finding = error.into_diagnostic(self.section, &path);
        let finding = self.owned(finding);
        if error_is_lenient(&finding) {
            course.findings.push(finding);
            return course.lenient.insert(path);
        }
        course.findings.push(finding);
        !path.is_empty() && course.skipped.insert(path)
    }

    fn missing(&self, path: &str) -> Diagnostic {
        let finding = Diagnostic::error(
            "missing-key",
            format!("{} needs the key `{path}`", self.subject_text()),
        )
        .at(self.section.span())
        .help(format!("add a line that sets `{}`", self.section.whole_key(path)));
        self.owned(finding)
    }

    fn owned(&self, mut finding: Diagnostic) -> Diagnostic {
        finding.component = self.section.owner().map(str::to_owned);
        finding
    }

    fn subject_text(&self) -> String {
        if let Some(subject) = &self.subject {
            return subject.clone();
        }
        let section = self.section;
        match (section.role(), section.get("type").or(section.value())) {
            (Role::Part, Some(kind)) => format!("`{}` of type `{kind}`", section.name()),
            (Role::Part, None) => format!("`{}`", section.name()),
            (role, Some(kind)) => format!("{} type `{kind}`", role.name()),
            (role, None) => format!("{} `{}`", role.name(), section.name()),
        }
    }

    fn conclude<T>(&self, value: Option<T>, course: Course, notes: Notes) -> Reading<T> {
        let failed = course.findings.iter().any(Diagnostic::is_error);
        let unknown =
            if notes.asked { self.unknown(&course, &notes, value.is_some()) } else { Vec::new() };
        let mut findings = course.findings;
        findings.extend(notes.findings.into_iter().map(|finding| self.owned(finding)));
        findings.extend(unknown);
        findings.sort_by_key(|finding| finding.span.map(|span| (span.file, span.start)));
        Reading { value: value.filter(|_| !failed), findings }
    }

    fn unknown(&self, course: &Course, notes: &Notes, complete: bool) -> Vec<Diagnostic> {
        let answered = |key: &str| {
            let under = |parent: &str| {
                key.strip_prefix(parent)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            };
            notes.claimed.contains(key)
                || self.section.role().is_common(key)
                || course.skipped.iter().any(|path| under(path))
                || self.also_known.iter().any(|path| under(path))
                // After giving up nobody knows what else would have been asked for.
                || (!complete && notes.known.iter().any(|path| under(path)))
        };
        let strangers = self.section.entries().iter().filter(|entry| !answered(entry.key()));
        strangers
            .take(UNKNOWN_SHOWN)
            .map(|entry| {
                let key = entry.key();
                let message = format!("{} has no key `{key}`", self.subject_text());
                let known =
                    notes.known.iter().map(String::as_str).chain(self.also_known.iter().copied());
                let meant = nearest(key, known).map(|name| format!("did you mean `{name}`?"));
                let help = meant.or_else(|| self.elsewhere.and_then(|elsewhere| elsewhere(key)));
                let mut finding = Diagnostic::warning("unknown-key", message).at(entry.key_span());
                finding.label = Some("nobody reads this key".to_owned());
                finding.help = help;
                self.owned(finding)
            })
            .collect()
    }
}

fn error_is_lenient(finding: &Diagnostic) -> bool {
    !finding.is_error()
}

/// What earlier attempts taught: paths of fields, and how to get past each.
#[derive(Debug, Default)]
struct Course {
    /// Had a bad value, which was reported: as if not written.
    skipped: HashSet<String>,
    /// Have keys below, but no value where one is wanted: as if not written.
    absent: HashSet<String>,
    /// Are required but missing: filled with anything, to see what else is wrong.
    placeholders: HashSet<String>,
    /// Are written by an older name too, and to be read first.
    preferred: HashSet<String>,
    /// Had a bad value that does not matter.
    lenient: HashSet<String>,
    findings: Vec<Diagnostic>,
}

/// What one attempt noticed.
#[derive(Debug, Default)]
struct Notes {
    /// Whether it came to fields at all.
    asked: bool,
    /// Keys somebody took.
    claimed: HashSet<String>,
    /// Keys somebody would take.
    known: BTreeSet<String>,
    findings: Vec<Diagnostic>,
}

#[cfg(test)]
mod tests;
