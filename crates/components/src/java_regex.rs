//! Patterns in the syntax of `java.util.regex`, as they stand in a `flume.conf`.
//!
//! A pattern is translated once, when it is read: to the `regex` crate, which takes time in
//! proportion to the text, or, where it needs look-around, back-references or atomic groups, to
//! `fancy-regex` with a limit of steps. What can be translated to neither is an error that names
//! the construct and its place. The meaning is Java 8 to 17's: `.` stops at five line terminators,
//! `$` matches before a final one, `\d \w \s` and ignoring case are ASCII, `\b` is not.
//!
//! Text is matched as Flume decodes it: bytes that are not UTF-8 count as U+FFFD.

mod class;
mod replacement;
mod translate;

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, Error as _};

pub use replacement::{JavaReplacement, Replacement, ReplacementError};
use translate::{QuickIf, translate};

/// Steps after which a pattern that backtracks gives up on one text.
const STEPS: usize = 1_000_000;
/// Bytes that one compiled pattern may take, to keep `(a{999}){999}` out of memory.
const COMPILED_BYTES: usize = 10 * 1024 * 1024;

/// A compiled pattern. Cheap to clone; two are equal when they were written alike.
#[derive(Clone)]
pub struct JavaRegex {
    pattern: Arc<str>,
    /// The name of each group, if it has one; group 1 first.
    names: Arc<[Option<Box<str>>]>,
    find: Pair,
    full: Pair,
}

/// A pattern cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the pattern `{pattern}` cannot be used: {what} at character {at}")]
pub struct PatternError {
    /// The pattern as written.
    pub pattern: String,
    /// The place, counted in characters from 1.
    pub at: usize,
    /// What is wrong or not supported there.
    pub what: String,
}

/// A pattern that backtracks took too many steps on a text; whether it matches is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the pattern needs more than {STEPS} steps for a text; make it simpler")]
pub struct GaveUp;

/// Where a pattern and its groups matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captures<'t> {
    /// The text that was searched: the input, unless bytes of it had to be replaced.
    pub text: Cow<'t, str>,
    /// The whole match, then each group that took part, as ranges of `text`.
    pub groups: Vec<Option<Range<usize>>>,
}

/// The same pattern twice: `exact` holds for any text. `quick` holds for most texts and needs no
/// look-around to say what `$` means.
#[derive(Clone)]
struct Pair {
    exact: Engine,
    quick: Option<(QuickIf, Engine)>,
}

#[derive(Clone)]
enum Engine {
    Linear(regex::Regex),
    Backtracking(Arc<fancy_regex::Regex>),
}

impl JavaRegex {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// What is wrong with it, or which construct is not supported, and where.
    pub fn new(pattern: &str) -> Result<Self, PatternError> {
        let refused =
            |at: usize, what: String| PatternError { pattern: shown(pattern), at: at + 1, what };
        let done = translate(pattern).map_err(|e| refused(e.at, e.what))?;
        let pair = |before: &str, after: &str| {
            let compile = |text: &str, fancy: bool| {
                Engine::new(&format!("{before}{text}{after}"), fancy).map_err(|e| refused(0, e))
            };
            let exact = compile(&done.exact, done.backtracks || done.quick_if.is_some())?;
            let quick = match done.quick_if {
                Some(when) => Some((when, compile(&done.quick, done.backtracks)?)),
                None => None,
            };
            Ok(Pair { exact, quick })
        };
        Ok(JavaRegex {
            pattern: pattern.into(),
            names: done.names.into(),
            find: pair("", "")?,
            full: pair("\\A(?:", ")\\z")?,
        })
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.pattern
    }

    /// How many groups it has, the whole match not counted.
    pub fn groups(&self) -> usize {
        self.names.len()
    }

    /// The number of the group of this name.
    pub fn group_named(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|n| n.as_deref() == Some(name)).map(|index| index + 1)
    }

    /// Names of groups and their numbers.
    pub fn names(&self) -> impl Iterator<Item = (&str, usize)> {
        self.names.iter().enumerate().filter_map(|(i, name)| Some((name.as_deref()?, i + 1)))
    }

    /// Whether the whole text matches (Java's `matches`).
    pub fn is_full_match(&self, text: &[u8]) -> Result<bool, GaveUp> {
        let text = String::from_utf8_lossy(text);
        self.full.engine(&text).is_match(&text)
    }

    /// Whether it matches somewhere in the text (Java's `find`).
    pub fn is_match(&self, text: &[u8]) -> Result<bool, GaveUp> {
        let text = String::from_utf8_lossy(text);
        self.find.engine(&text).is_match(&text)
    }

    /// The groups of the first match somewhere in the text.
    pub fn captures<'t>(&self, text: &'t [u8]) -> Result<Option<Captures<'t>>, GaveUp> {
        let text = String::from_utf8_lossy(text);
        let groups = self.find.engine(&text).groups_at(&text, 0)?;
        Ok(groups.map(|groups| Captures { text, groups }))
    }

    /// The groups when the whole text matches.
    pub fn full_captures<'t>(&self, text: &'t [u8]) -> Result<Option<Captures<'t>>, GaveUp> {
        let text = String::from_utf8_lossy(text);
        let groups = self.full.engine(&text).groups_at(&text, 0)?;
        Ok(groups.map(|groups| Captures { text, groups }))
    }

    /// The parts of `text` between matches (Java's `split`): empty ones at the end are left out.
    /// Where the pattern gives up, the rest is one part.
    pub fn split(&self, text: &str) -> Vec<String> {
        let engine = self.find.engine(text);
        let (mut parts, mut start, mut from) = (Vec::new(), 0, 0);
        while let Some(whole) = engine.whole_at(text, from) {
            // An empty match at the very start splits nothing off.
            if whole.end > 0 {
                parts.push(text[start..whole.start].to_owned());
                start = whole.end;
            }
            match behind(text, &whole) {
                Some(next) => from = next,
                None => break,
            }
        }
        let whole = parts.is_empty();
        parts.push(text[start..].to_owned());
        while !whole && parts.last().is_some_and(String::is_empty) {
            parts.pop();
        }
        parts
    }

    /// Replaces every match (Java's `replaceAll`). `None` when there is none. Matching starts anew
    /// behind each match, and an empty match may follow right behind one that is not, as in Java.
    pub fn replace_all(
        &self,
        text: &[u8],
        replacement: &Replacement,
    ) -> Result<Option<String>, GaveUp> {
        let text = String::from_utf8_lossy(text);
        let engine = self.find.engine(&text);
        let (mut out, mut copied, mut from) = (String::new(), 0, 0);
        let mut replaced = false;
        while let Some(groups) = engine.groups_at(&text, from)? {
            let Some(Some(whole)) = groups.first().cloned() else { break };
            replaced = true;
            out.push_str(&text[copied..whole.start]);
            replacement.expand(&text, &groups, &mut out);
            copied = whole.end;
            match behind(&text, &whole) {
                Some(next) => from = next,
                None => break,
            }
        }
        if !replaced {
            return Ok(None);
        }
        out.push_str(&text[copied..]);
        Ok(Some(out))
    }
}

impl Captures<'_> {
    /// The text of a group; 0 is the whole match. `None` where it took no part or there is none.
    pub fn group(&self, number: usize) -> Option<&str> {
        let range = self.groups.get(number)?.clone()?;
        self.text.get(range)
    }

    /// Whether ranges of `text` are ranges of the input, too.
    pub fn in_input(&self) -> bool {
        matches!(self.text, Cow::Borrowed(_))
    }
}

impl Pair {
    fn engine(&self, text: &str) -> &Engine {
        match &self.quick {
            Some((when, quick)) if when.holds(text) => quick,
            _ => &self.exact,
        }
    }
}

impl Engine {
    fn new(pattern: &str, backtracks: bool) -> Result<Self, String> {
        if backtracks {
            let regex = fancy_regex::RegexBuilder::new(pattern)
                .backtrack_limit(STEPS)
                .delegate_size_limit(COMPILED_BYTES)
                .build();
            return match regex {
                Ok(regex) => Ok(Engine::Backtracking(Arc::new(regex))),
                Err(error) => Err(format!("not supported: {error}")),
            };
        }
        match regex::RegexBuilder::new(pattern).size_limit(COMPILED_BYTES).build() {
            Ok(regex) => Ok(Engine::Linear(regex)),
            Err(regex::Error::CompiledTooBig(_)) => {
                Err("its repetitions make it too large; make it simpler, which starts".into())
            }
            Err(error) => Err(format!("not supported: {error}")),
        }
    }

    fn is_match(&self, text: &str) -> Result<bool, GaveUp> {
        match self {
            Engine::Linear(regex) => Ok(regex.is_match(text)),
            Engine::Backtracking(regex) => regex.is_match(text).map_err(|_| GaveUp),
        }
    }

    fn whole_at(&self, text: &str, from: usize) -> Option<Range<usize>> {
        self.groups_at(text, from).ok()??.first()?.clone()
    }

    fn groups_at(
        &self,
        text: &str,
        from: usize,
    ) -> Result<Option<Vec<Option<Range<usize>>>>, GaveUp> {
        match self {
            Engine::Linear(regex) => Ok(regex
                .captures_at(text, from)
                .map(|found| found.iter().map(|group| group.map(|m| m.range())).collect())),
            Engine::Backtracking(regex) => {
                let found = regex.captures_from_pos(text, from).map_err(|_| GaveUp)?;
                Ok(found.map(|found| found.iter().map(|group| group.map(|m| m.range())).collect()))
            }
        }
    }
}

/// Where the search after a match goes on: a character further, where it was empty.
fn behind(text: &str, whole: &Range<usize>) -> Option<usize> {
    if !whole.is_empty() {
        return Some(whole.end);
    }
    text[whole.end..].chars().next().map(|skipped| whole.end + skipped.len_utf8())
}

/// A pattern as messages show it.
fn shown(pattern: &str) -> String {
    const SHOWN_CHARS: usize = 80;
    match pattern.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &pattern[..end]),
        None => pattern.to_owned(),
    }
}

impl fmt::Debug for JavaRegex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("JavaRegex").field(&self.pattern).finish()
    }
}

impl fmt::Display for JavaRegex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.pattern)
    }
}

impl PartialEq for JavaRegex {
    fn eq(&self, other: &Self) -> bool {
        self.pattern == other.pattern
    }
}

impl Eq for JavaRegex {}

impl<'de> Deserialize<'de> for JavaRegex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        JavaRegex::new(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests;
