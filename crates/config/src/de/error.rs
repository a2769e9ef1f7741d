//! Why a value could not be read; becomes a [`Diagnostic`] once its place is known.

use std::fmt;

use serde::de::{self, Expected, Unexpected};

use super::node::joined;
use crate::diagnostic::{Diagnostic, Severity};
use crate::nearest::nearest;
use crate::source::Span;
use crate::tree::Section;

/// What stopped an attempt, and at which key.
#[derive(Debug)]
pub struct ReadError {
    pub(super) kind: Kind,
    /// Dotted key relative to the section that is read; unset until a field's reader sets it.
    pub(super) path: Option<String>,
    pub(super) span: Option<Span>,
    pub(super) lenient: bool,
}

#[derive(Debug)]
pub(super) enum Kind {
    /// A value is wanted, and only keys below are written.
    Absent,
    /// A required field is not written.
    Missing(&'static str),
    /// A field is written by its name, which is given, and by an older one.
    Twice(&'static str),
    /// The name of that field should be read before the older one.
    Prefer,
    /// An older name should be left alone, as the name given is written too.
    Ignore(&'static str),
    /// The value will not do.
    Bad(Box<Bad>),
}

#[derive(Debug)]
pub(super) struct Bad {
    pub(super) code: &'static str,
    pub(super) message: String,
    pub(super) help: Option<String>,
}

impl ReadError {
    fn of(kind: Kind) -> Self {
        ReadError { kind, path: None, span: None, lenient: false }
    }

    pub(super) fn absent() -> Self {
        ReadError::of(Kind::Absent)
    }

    /// What to do about the field `name` of `node`, of which `last` was the second name read.
    pub(super) fn untwinned(self, node: &str, last: &str) -> Self {
        let Kind::Twice(name) = self.kind else {
            return self;
        };
        let (kind, field) =
            if last == name { (Kind::Prefer, name) } else { (Kind::Ignore(name), last) };
        ReadError { kind, path: Some(joined(node, field)), ..self }
    }

    pub(super) fn bad(
        code: &'static str,
        message: impl Into<String>,
        help: Option<String>,
    ) -> Self {
        ReadError::of(Kind::Bad(Box::new(Bad { code, message: message.into(), help })))
    }

    /// Says which field it is about, unless a field inside said so already.
    pub(super) fn located(mut self, node: &str, field: &str) -> Self {
        if self.path.is_none() {
            self.path = Some(match &self.kind {
                Kind::Missing(missing) if field.starts_with('.') => joined(node, missing),
                Kind::Missing(missing) => joined(&joined(node, field), missing),
                _ => joined(node, field),
            });
        }
        self
    }

    pub(super) fn into_diagnostic(self, section: &Section, path: &str) -> Diagnostic {
        let severity = if self.lenient { Severity::Warning } else { Severity::Error };
        let Kind::Bad(bad) = self.kind else {
            return Diagnostic::new(severity, "bad-value", format!("`{path}` cannot be read"));
        };
        let shown = path.rsplit_once("..").map_or(path, |(node, _)| node);
        let message = match shown {
            "" => bad.message,
            _ if shown.starts_with('.') => bad.message,
            _ => format!("`{shown}`: {}", bad.message),
        };
        let written = || section.value_span(path).or_else(|| section.section(path).span());
        let mut finding = Diagnostic::new(severity, bad.code, message)
            .at(self.span.or_else(written).or(section.span()));
        finding.help = bad.help;
        if self.lenient {
            finding.notes.push("as Flume does, the default is used instead".to_owned());
        }
        finding
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Absent => f.write_str("no value"),
            Kind::Missing(field) => write!(f, "missing key `{field}`"),
            Kind::Twice(field) | Kind::Ignore(field) => write!(f, "`{field}` is set twice"),
            Kind::Prefer => f.write_str("set twice"),
            Kind::Bad(bad) => f.write_str(&bad.message),
        }
    }
}

impl std::error::Error for ReadError {}

impl de::Error for ReadError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        ReadError::bad("bad-value", message.to_string(), None)
    }

    fn missing_field(field: &'static str) -> Self {
        ReadError::of(Kind::Missing(field))
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let found = match unexpected {
            Unexpected::Unsigned(number) => format!("`{number}`"),
            Unexpected::Signed(number) => format!("`{number}`"),
            Unexpected::Float(number) => format!("`{number}`"),
            Unexpected::Str(text) => format!("`{text}`"),
            other => other.to_string(),
        };
        ReadError::bad("bad-value", format!("{found} will not do, expected {expected}"), None)
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let known: Vec<String> = expected.iter().map(|name| format!("`{name}`")).collect();
        let help = nearest(variant, expected.iter().copied()).map_or_else(
            || format!("write one of {}", known.join(", ")),
            |name| format!("did you mean `{name}`?"),
        );
        let message = format!("`{variant}` is not one of {}", known.join(", "));
        ReadError::bad("unknown-value", message, Some(help))
    }

    fn duplicate_field(field: &'static str) -> Self {
        ReadError::of(Kind::Twice(field))
    }
}
