//! Variables in values: `${env:HOME}`, `${other.key}`, `${sys:x:-default}`, by the rules of
//! commons-text as Flume sets it up, and config filters, `${filter['key']}`, after that.
//!
//! Unlike in Flume a reference to another property does not depend on the order of anything.
//! Environment, clock and system properties come from [`Lookups`]; nothing is read here.

use std::collections::{HashMap, HashSet};

use crate::diagnostic::Diagnostic;
use crate::nearest::nearest;
use crate::source::Span;
use crate::text::{Entry, Located};

/// A value may grow to this many bytes.
pub const VALUE_LIMIT_BYTES: usize = 1 << 20;
/// All values together may cost this many bytes of copying.
const WORK_LIMIT_BYTES: usize = 32 << 20;
/// What following one variable counts for in that, however short its value.
const STEP_COST_BYTES: usize = 128;
/// References may lead to references this many times.
const DEPTH_LIMIT: usize = 32;
/// Findings for one value; the rest would say the same.
const FINDINGS_PER_VALUE: usize = 10;

/// Where values of variables come from. Without a method of its own a lookup finds nothing.
pub trait Lookups {
    /// `${sys:name}`: a `-Dname=value` of the command line, or a system property we can answer.
    fn system(&self, name: &str) -> Option<String> {
        let _ = name;
        None
    }

    /// `${env:name}`.
    fn environment(&self, name: &str) -> Option<String> {
        let _ = name;
        None
    }

    /// `${java:name}`, where the name is `version`, `runtime`, `vm`, `os`, `hardware` or `locale`.
    fn java(&self, name: &str) -> Option<String> {
        let _ = name;
        None
    }

    /// `${date:pattern}`: now, in a pattern of `SimpleDateFormat`.
    fn date(&self, pattern: &str) -> Option<String> {
        let _ = pattern;
        None
    }

    /// Whether a bare `${NAME}` falls back to the environment, as with
    /// `-DpropertiesImplementation=org.apache.flume.node.EnvVarResolverProperties`.
    fn bare_environment(&self) -> bool {
        false
    }
}

/// Lookups that find nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoLookups;

impl Lookups for NoLookups {}

/// Answers `${filter['key']}`.
pub trait ConfigFilter {
    /// The value of `key`. `None` leaves the placeholder in place, as does an error, which says why
    /// in lower case without a full stop.
    ///
    /// # Errors
    /// What kept it from answering.
    fn lookup(&self, key: &str) -> Result<Option<String>, String>;
}

/// Substitutes in the values of one merged configuration.
pub struct Substitution<'a> {
    properties: HashMap<&'a str, &'a str>,
    lookups: &'a dyn Lookups,
    work_left: usize,
}

/// The properties that values refer to: such keys need no agent's name.
pub(crate) struct Referred<'a> {
    names: HashSet<&'a str>,
    /// How names start whose rest is itself a variable.
    starts: Vec<&'a str>,
}

/// Why a value stays as it was written.
enum Trouble {
    Cycle(Vec<String>),
    Deep,
    Large,
}

/// What is left in place, and where in the value.
struct Unknown {
    variable: String,
    at: Option<(usize, usize)>,
}

/// The course of one value: names being resolved, and what was not found.
#[derive(Default)]
struct Course {
    names: Vec<String>,
    unknown: Vec<Unknown>,
}

/// Substitutes in one text that stands alone: the entry point for fuzzing.
#[must_use]
pub fn expand(text: &str, lookups: &dyn Lookups) -> String {
    let mut substitution = Substitution::new(&[], lookups);
    substitution.expand(text, &mut Course::default(), 0).unwrap_or_else(|_| text.to_owned())
}

impl<'a> Substitution<'a> {
    /// References find the values of `entries`.
    pub fn new(entries: &'a [Entry], lookups: &'a dyn Lookups) -> Self {
        let properties = entries.iter().map(|entry| (entry.key(), entry.value())).collect();
        Substitution { properties, lookups, work_left: WORK_LIMIT_BYTES }
    }

    /// The value with its variables filled in. What is unknown stays, with a warning; a value that
    /// refers to itself or grows beyond [`VALUE_LIMIT_BYTES`] stays as a whole, with an error.
    pub fn value(&mut self, value: &Located, findings: &mut Vec<Diagnostic>) -> Located {
        if !value.text().contains("${") {
            return value.clone();
        }
        let mut course = Course::default();
        let expanded = self.expand(value.text(), &mut course, 0);
        for unknown in course.unknown.iter().take(FINDINGS_PER_VALUE) {
            let span = unknown.at.map_or(value.span(), |(from, to)| value.part_span(from, to));
            findings.push(self.unknown(&unknown.variable, span));
        }
        match expanded {
            Ok(text) if text == value.text() => value.clone(),
            Ok(text) => value.replaced(text),
            Err(trouble) => {
                findings.push(trouble.finding().at(value.span()));
                value.clone()
            }
        }
    }

    fn expand(&mut self, text: &str, course: &mut Course, depth: usize) -> Result<String, Trouble> {
        if depth > DEPTH_LIMIT {
            return Err(Trouble::Deep);
        }
        self.work_left =
            self.work_left.checked_sub(text.len() + STEP_COST_BYTES).ok_or(Trouble::Large)?;
        let mut out = String::new();
        let mut at = 0;
        while let Some(found) = text[at..].find("${") {
            out.push_str(&text[at..at + found]);
            let open = at + found;
            if out.ends_with('$') {
                // `$${x}` yields `${x}`, whose name may hold variables still.
                out.push('{');
                at = open + 2;
                continue;
            }
            let Some(close) = closing(text, open + 2) else {
                // As in commons-text an unclosed one ends it: nothing after is looked at.
                course.note_unknown(&text[open..], (depth == 0).then_some((open, text.len())));
                at = open;
                break;
            };
            let variable = &text[open + 2..close];
            match self.variable(variable, course, depth)? {
                Some(value) => out.push_str(&value),
                None => {
                    if !is_filter_placeholder(variable) {
                        course.note_unknown(variable, (depth == 0).then_some((open, close + 1)));
                    }
                    out.push_str(&text[open..=close]);
                }
            }
            if out.len() > VALUE_LIMIT_BYTES {
                return Err(Trouble::Large);
            }
            at = close + 1;
        }
        out.push_str(&text[at..]);
        Ok(out)
    }

    /// What stands for `${variable}`, if anything does.
    fn variable(
        &mut self,
        variable: &str,
        course: &mut Course,
        depth: usize,
    ) -> Result<Option<String>, Trouble> {
        let nested = variable.contains("${");
        let variable =
            if nested { self.expand(variable, course, depth + 1)? } else { variable.to_owned() };
        let (name, default) = match variable.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (variable.as_str(), None),
        };
        if course.names.iter().any(|before| before == name) {
            course.names.push(name.to_owned());
            return Err(Trouble::Cycle(std::mem::take(&mut course.names)));
        }
        let Some(value) = self.resolve(name).or_else(|| default.map(str::to_owned)) else {
            return Ok(None);
        };
        course.names.push(name.to_owned());
        let value = self.expand(&value, course, depth + 1)?;
        course.names.pop();
        Ok(Some(value))
    }

    fn resolve(&self, name: &str) -> Option<String> {
        let bare = match name.split_once(':') {
            Some((prefix, rest)) => {
                let found = match prefix.to_ascii_lowercase().as_str() {
                    "sys" => self.lookups.system(rest),
                    "env" => self.lookups.environment(rest),
                    "java" => self.lookups.java(rest),
                    "date" => self.lookups.date(rest),
                    _ => None,
                };
                if found.is_some() {
                    return found;
                }
                rest
            }
            None => name,
        };
        if let Some(value) = self.properties.get(bare) {
            return Some((*value).to_owned());
        }
        let environment = self.lookups.bare_environment().then(|| self.lookups.environment(bare));
        environment.flatten()
    }

    fn unknown(&self, variable: &str, span: Span) -> Diagnostic {
        let shown: String = variable.chars().take(60).collect();
        if variable.starts_with("${") {
            let message = format!("`{shown}` is not closed and stays as it is");
            return Diagnostic::warning("unclosed-variable", message).at(span).help("add the `}`");
        }
        let name = variable.split_once(":-").map_or(variable, |(name, _)| name);
        let help = match name.split_once(':') {
            Some(("env", name)) => {
                format!(
                    "set the environment variable `{name}`, or give a default: `${{env:{name}:-value}}`"
                )
            }
            Some(("sys", name)) => {
                format!("start with -D{name}=value, or give a default: `${{sys:{name}:-value}}`")
            }
            Some(("java" | "date", _)) => "check the name after the colon".to_owned(),
            Some(_) => "the prefixes are `env:`, `sys:`, `java:` and `date:`".to_owned(),
            None if self.lookups.environment(name).is_some() => format!(
                "an environment variable of that name is set: write `${{env:{name}}}`, or start with \
                 -DpropertiesImplementation=org.apache.flume.node.EnvVarResolverProperties"
            ),
            None => match nearest(name, self.properties.keys().copied()) {
                Some(meant) => format!("did you mean `${{{meant}}}`?"),
                None => format!(
                    "write `${{env:NAME}}` for the environment, or `$${{{shown}}}` if it is meant literally"
                ),
            },
        };
        Diagnostic::warning(
            "unknown-variable",
            format!("`${{{shown}}}` is not known and stays as it is"),
        )
        .at(span)
        .label("not substituted")
        .help(help)
    }
}

impl<'a> Referred<'a> {
    /// What the values of all `entries` name in variables.
    pub(crate) fn by(entries: &'a [Entry]) -> Self {
        const MOST_STARTS: usize = 100;
        let mut referred = Referred { names: HashSet::new(), starts: Vec::new() };
        for entry in entries {
            for variable in entry.value().split("${").skip(1) {
                // A piece that ends before its brace is followed by a variable within its name.
                let end = variable.find(":-").into_iter().chain(variable.find('}')).min();
                let name = &variable[..end.unwrap_or(variable.len())];
                // As in `resolve`, what no prefix finds is looked for among the properties.
                for name in [name, name.split_once(':').map_or(name, |(_, bare)| bare)] {
                    if end.is_some() {
                        referred.names.insert(name);
                    } else if !name.is_empty() && referred.starts.len() < MOST_STARTS {
                        referred.starts.push(name);
                    }
                }
            }
        }
        referred
    }

    /// Whether `key` is one of them.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.names.contains(key) || self.starts.iter().any(|start| key.starts_with(start))
    }
}

impl Course {
    fn note_unknown(&mut self, variable: &str, at: Option<(usize, usize)>) {
        if self.unknown.len() < FINDINGS_PER_VALUE {
            self.unknown.push(Unknown { variable: variable.chars().take(200).collect(), at });
        }
    }
}

impl Trouble {
    fn finding(&self) -> Diagnostic {
        match self {
            Trouble::Cycle(names) => {
                let path: Vec<String> =
                    names.iter().take(10).map(|name| format!("`{name}`")).collect();
                Diagnostic::error(
                    "substitution-cycle",
                    format!("the value refers to itself: {}", path.join(" → ")),
                )
                .help("break the circle: give one of them a value of its own")
            }
            Trouble::Deep => Diagnostic::error(
                "substitution-too-deep",
                format!("variables lead to variables over {DEPTH_LIMIT} times"),
            )
            .help("write the value out"),
            Trouble::Large => Diagnostic::error(
                "substitution-too-large",
                "the variables grow this value beyond all use",
            )
            .help(format!(
                "a value has at most {VALUE_LIMIT_BYTES} bytes; do variables double each other?"
            )),
        }
    }
}

/// Says of each variable in a value that it stays as it is, since nothing is filled in there.
pub(crate) fn say_left_alone(value: &Located, findings: &mut Vec<Diagnostic>) {
    let text = value.text();
    let mut at = 0;
    for _ in 0..FINDINGS_PER_VALUE {
        let Some(open) = text[at..].find("${").map(|found| at + found) else { return };
        let Some(close) = closing(text, open + 2) else { return };
        at = close + 1;
        if is_filter_placeholder(&text[open + 2..close]) {
            continue;
        }
        let shown: String = text[open..at].chars().take(60).collect();
        let finding = Diagnostic::warning(
            "variable-left-alone",
            format!(
                "`{shown}` stays as it is, as in Flume: variables are not filled in in what comes from ZooKeeper"
            ),
        );
        let help = "write the value itself, use a config filter, or read a file or URI instead";
        findings.push(finding.at(value.part_span(open, at)).label("not substituted").help(help));
    }
}

/// Where the `}` stands that closes a variable whose name starts at `from`.
fn closing(text: &str, from: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut nested = 0usize;
    let mut at = from;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'$' if bytes.get(at + 1) == Some(&b'{') => {
                nested += 1;
                at += 1;
            }
            b'}' if nested == 0 => return Some(at),
            b'}' => nested -= 1,
            _ => {}
        }
        at += 1;
    }
    None
}

fn is_filter_placeholder(variable: &str) -> bool {
    filter_call(variable).is_some()
}

/// Filter and key of `filter['key']`, `filter["key"]` or `filter[key]`.
fn filter_call(variable: &str) -> Option<(&str, &str)> {
    let (filter, rest) = variable.split_once('[')?;
    let inner = rest.strip_suffix(']')?;
    let quoted = |quote| inner.strip_prefix(quote)?.strip_suffix(quote);
    let key: &str = quoted('\'').or_else(|| quoted('"')).unwrap_or(inner);
    let of_key = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (!filter.is_empty() && !key.is_empty() && key.bytes().all(of_key)).then_some((filter, key))
}

/// Replaces the placeholders of one config filter in a value; others stay.
pub fn apply_filter(
    value: &Located,
    name: &str,
    filter: &dyn ConfigFilter,
    findings: &mut Vec<Diagnostic>,
) -> Located {
    let text = value.text();
    let mut out = String::new();
    let mut at = 0;
    while let Some((open, close, _, key)) = next_placeholder(text, at, |filter| filter == name) {
        out.push_str(&text[at..open]);
        let placeholder = &text[open..close];
        let unanswered = |why: String| {
            Diagnostic::warning("unanswered-filter", why)
                .at(value.part_span(open, close))
                .label("stays as it is")
        };
        match filter.lookup(key) {
            Ok(Some(found)) if out.len() + found.len() <= VALUE_LIMIT_BYTES => out.push_str(&found),
            Ok(Some(_)) => {
                findings.push(unanswered(format!(
                    "config filter `{name}` has too long a value for `{key}`"
                )));
                out.push_str(placeholder);
            }
            Ok(None) => {
                findings
                    .push(unanswered(format!("config filter `{name}` has no value for `{key}`")));
                out.push_str(placeholder);
            }
            Err(why) => {
                findings
                    .push(unanswered(format!("config filter `{name}` failed for `{key}`: {why}")));
                out.push_str(placeholder);
            }
        }
        at = close;
    }
    if at == 0 {
        return value.clone();
    }
    out.push_str(&text[at..]);
    value.replaced(out)
}

/// Names of filters that placeholders of `value` ask for, with their places.
pub(crate) fn asked_filters(value: &Located) -> Vec<(String, Span)> {
    let mut asked = Vec::new();
    let mut at = 0;
    while let Some((open, close, filter, _)) = next_placeholder(value.text(), at, |_| true) {
        asked.push((filter.to_owned(), value.part_span(open, close)));
        at = close;
    }
    asked
}

/// The next `${filter[key]}`: where it opens, where it is over, filter and key.
fn next_placeholder(
    text: &str,
    mut at: usize,
    wanted: impl Fn(&str) -> bool,
) -> Option<(usize, usize, &str, &str)> {
    loop {
        let open = at + text[at..].find("${")?;
        // The name ends where the next variable or the closing brace is, so this stays linear.
        let rest = &text[open + 2..];
        let end = rest.find(['}', '$'])?;
        if rest[end..].starts_with('}')
            && let Some((filter, key)) = filter_call(&rest[..end])
            && wanted(filter)
        {
            return Some((open, open + 2 + end + 1, filter, key));
        }
        at = open + 2;
    }
}

#[cfg(test)]
mod tests;
