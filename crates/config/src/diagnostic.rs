//! What is wrong, where, and what to do about it.

use std::borrow::Cow;

use serde::Serialize;
use serde::ser::{SerializeSeq, Serializer};

use crate::source::{Sources, Span};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// Probably not what was meant; the agent runs.
    Warning,
    /// Something is left out, or the agent does not run: `check` fails.
    Error,
}

/// One finding.
///
/// `code` is stable and in kebab-case; `message` is lower case without a full stop and names the
/// thing; `label` stands beside the caret; `help` says what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad.
    pub severity: Severity,
    /// Stable name of this kind of finding, such as `unknown-key`.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// Where.
    pub span: Option<Span>,
    /// Said beside the caret.
    pub label: Option<String>,
    /// What to do about it.
    pub help: Option<String>,
    /// What else to know: causes, consequences.
    pub notes: Vec<String>,
    /// The component concerned, as in `sink k1`.
    pub component: Option<String>,
}

impl Diagnostic {
    /// A finding without a place yet.
    pub fn new(severity: Severity, code: &'static str, message: impl Into<String>) -> Self {
        Diagnostic {
            severity,
            code,
            message: message.into(),
            span: None,
            label: None,
            help: None,
            notes: Vec::new(),
            component: None,
        }
    }

    /// Something is left out or cannot run.
    pub fn error(code: &'static str, message: impl Into<String>) -> Self {
        Diagnostic::new(Severity::Error, code, message)
    }

    /// Probably not what was meant.
    pub fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Diagnostic::new(Severity::Warning, code, message)
    }

    /// Worth knowing.
    pub fn note(code: &'static str, message: impl Into<String>) -> Self {
        Diagnostic::new(Severity::Note, code, message)
    }

    /// Sets the place.
    #[must_use]
    pub fn at(mut self, span: impl Into<Option<Span>>) -> Self {
        self.span = span.into();
        self
    }

    /// Sets the text beside the caret.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Sets what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds a cause or a consequence.
    #[must_use]
    pub fn with_note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// Sets the component concerned, as in `sink k1`.
    #[must_use]
    pub fn component(mut self, component: impl Into<String>) -> Self {
        self.component = Some(component.into());
        self
    }

    /// Whether it is an error.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// One line for logs: `file:line:column: severity: message`, then the help in brackets.
    #[must_use]
    pub fn plain(&self, sources: &Sources) -> String {
        let place = self.span.and_then(|span| sources.locate(span));
        let place = place
            .map_or_else(String::new, |(name, at)| format!("{name}:{}:{}: ", at.line, at.column));
        let help = self.help.as_ref().map_or_else(String::new, |help| format!(" ({help})"));
        let line = format!("{place}{}: {}{help}", self.severity.name(), self.message);
        escaped(&line, false).into_owned()
    }

    /// The finding with file name, line and column, for JSON.
    #[must_use]
    pub fn located<'a>(&'a self, sources: &'a Sources) -> impl Serialize + 'a {
        let place = self.span.and_then(|span| {
            let source = sources.find(span.file)?;
            let (start, end) = (source.line_col(span.start), source.line_col(span.end));
            Some(Place {
                file: &source.name,
                line: start.line,
                column: start.column,
                end_line: end.line,
                end_column: end.column,
            })
        });
        Report {
            severity: self.severity,
            code: self.code,
            message: &self.message,
            component: self.component.as_deref(),
            place,
            label: self.label.as_deref(),
            help: self.help.as_deref(),
            notes: &self.notes,
        }
    }
}

/// A text without characters that terminals act on: they come from keys and values, and show as
/// `\u{1b}`. Line breaks stay where `lines` says so.
#[must_use]
pub fn escaped(text: &str, lines: bool) -> Cow<'_, str> {
    // Marks of direction make a line look like another one.
    let acts = |c: char| {
        (c.is_control() && !(lines && c == '\n'))
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(acts) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if acts(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// All findings as a JSON array, each as [`Diagnostic::located`] shows it.
#[must_use]
pub fn report<'a>(findings: &'a [Diagnostic], sources: &'a Sources) -> impl Serialize + 'a {
    Reports { findings, sources }
}

impl Severity {
    /// `error`, `warning` or `note`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

#[derive(Serialize)]
struct Place<'a> {
    file: &'a str,
    line: usize,
    column: usize,
    end_line: usize,
    end_column: usize,
}

#[derive(Serialize)]
struct Report<'a> {
    severity: Severity,
    code: &'static str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    component: Option<&'a str>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    place: Option<Place<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    notes: &'a [String],
}

struct Reports<'a> {
    findings: &'a [Diagnostic],
    sources: &'a Sources,
}

impl Serialize for Reports<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut seq = serializer.serialize_seq(Some(self.findings.len()))?;
        for finding in self.findings {
            seq.serialize_element(&finding.located(self.sources))?;
        }
        seq.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Source;

    #[test]
    fn nothing_reaches_a_terminal_that_acts_on_it() {
        for (text, lines, want) in [
            ("plain \u{e9}\u{2192}", false, "plain \u{e9}\u{2192}"),
            ("\u{1b}[31m", false, "\\u{1b}[31m"),
            ("a\nb\t\r", false, "a\\nb\\t\\r"),
            ("a\nb\u{7f}", true, "a\nb\\u{7f}"),
            ("\u{9b}31m\u{202e}", true, "\\u{9b}31m\\u{202e}"),
        ] {
            assert_eq!(escaped(text, lines), want);
        }
        let plain = Diagnostic::error("odd", "`\u{1b}`").help("\u{7}").plain(&Sources::new());
        assert_eq!(plain, "error: `\\u{1b}` (\\u{7})");
    }

    #[test]
    fn says_where_in_one_line_and_in_json() {
        let mut sources = Sources::new();
        let file = sources.add(Source::new("flume.conf", "# x\na1.foo = 1\n"));
        let finding = Diagnostic::warning("unknown-key", "no key `foo`")
            .at(Span::new(file, 7, 10))
            .help("did you mean `fo`?");
        assert_eq!(
            finding.plain(&sources),
            "flume.conf:2:4: warning: no key `foo` (did you mean `fo`?)"
        );
        let json = serde_json::to_value(finding.located(&sources)).unwrap();
        assert_eq!(json["line"], 2);
        assert_eq!(json["end_column"], 7);
        assert_eq!(json["severity"], "warning");
    }
}
