//! A Java regular expression that a whole file name matches.
//!
//! Nearly all that are written are literals with `.*` between them. Those are matched here, since
//! to compile an expression takes a millisecond and leaves half a megabyte of heap behind.

use std::sync::Arc;

use serde::Deserialize;
use serde::de::{Deserializer, Error};

use crate::java_regex::{JavaRegex, PatternError};

/// A pattern for names.
#[derive(Clone, Debug)]
pub struct NamePattern {
    written: Arc<str>,
    means: Means,
}

#[derive(Clone, Debug)]
enum Means {
    /// Every name, also one with a line terminator in it, which no `.` matches.
    Everything,
    /// Literals, with anything but line terminators between them; never empty.
    Literals(Arc<[String]>),
    /// Whatever it says.
    Expression(JavaRegex),
}

impl NamePattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// Those of [`JavaRegex::new`].
    pub fn new(pattern: &str) -> Result<Self, PatternError> {
        let means = match literals(pattern) {
            Some(literals) => Means::Literals(literals.into()),
            None => Means::Expression(JavaRegex::new(pattern)?),
        };
        Ok(NamePattern { written: pattern.into(), means })
    }

    /// Every name; Flume writes `^.*$`.
    pub fn everything() -> Self {
        NamePattern { written: "^.*$".into(), means: Means::Everything }
    }

    /// No name; Flume writes `^$`.
    pub fn nothing() -> Self {
        NamePattern { written: "^$".into(), means: Means::Literals([String::new()].into()) }
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.written
    }

    /// Whether all of `name` matches; `unsure` when the pattern takes too many steps to tell.
    /// Bytes that are not UTF-8 count as U+FFFD.
    pub fn matches(&self, name: &[u8], unsure: bool) -> bool {
        match &self.means {
            Means::Everything => true,
            Means::Literals(literals) => lie_in(literals, &String::from_utf8_lossy(name)),
            Means::Expression(pattern) => pattern.is_full_match(name).unwrap_or(unsure),
        }
    }
}

impl<'de> Deserialize<'de> for NamePattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let pattern = String::deserialize(deserializer)?;
        NamePattern::new(&pattern).map_err(D::Error::custom)
    }
}

/// The literals between the `.*` of a pattern that has nothing else, but for anchors at its ends.
fn literals(pattern: &str) -> Option<Vec<String>> {
    let inner = pattern.strip_prefix('^').unwrap_or(pattern);
    let inner = inner.strip_suffix('$').unwrap_or(inner);
    let mut all = vec![String::new()];
    let mut rest = inner.chars().peekable();
    while let Some(char) = rest.next() {
        let literal = match char {
            '\\' => rest.next().filter(char::is_ascii_punctuation)?,
            '.' if rest.next() == Some('*') => {
                all.push(String::new());
                continue;
            }
            ' ' | '_' | '-' | '/' | ':' | ',' | '=' | '@' | '~' | '%' => char,
            _ if char.is_ascii_alphanumeric() => char,
            _ => return None,
        };
        // What is repeated is no literal.
        if matches!(rest.peek(), Some('*' | '+' | '?' | '{')) {
            return None;
        }
        all.last_mut()?.push(literal);
    }
    Some(all)
}

/// Whether `name` is the literals in their order, with anything but line terminators between them.
fn lie_in(literals: &[String], name: &str) -> bool {
    let (first, others) = match literals {
        [] => return false,
        [only] => return name == only,
        [first, others @ ..] => (first, others),
    };
    if name.contains(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']) {
        return false;
    }
    let Some((last, between)) = others.split_last() else { return false };
    let inner = name.strip_prefix(first.as_str()).and_then(|rest| rest.strip_suffix(last.as_str()));
    let Some(mut rest) = inner else { return false };
    between.iter().all(|literal| match rest.split_once(literal.as_str()) {
        Some((_, behind)) => {
            rest = behind;
            true
        }
        None => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_ones_need_no_expression() {
        let check = |pattern: &str, want: Option<&[&str]>| {
            let found = literals(pattern);
            assert_eq!(
                found.as_ref().map(|all| all.iter().map(String::as_str).collect()),
                want.map(<[_]>::to_vec),
                "{pattern}"
            );
        };
        check("app.log", None);
        check(r"app\.log", Some(&["app.log"]));
        check(".*log.*", Some(&["", "log", ""]));
        check(r"^a-b_c.*\.gz$", Some(&["a-b_c", ".gz"]));
        check("", Some(&[""]));
        check("^$", Some(&[""]));
        // Taking the anchor off leaves a lone backslash.
        check(r"a\$", None);
        let others = [
            r"\d.*", ".*?", ".*+", "a*", r"\.+", "a|b", "[ab].*", "(a)", "a{2}", "é", "a^b", ".",
            "\\",
        ];
        others.iter().for_each(|other| check(other, None));
    }

    /// All rows of up to `most` of `parts`.
    fn rows(parts: &[&str], most: usize) -> Vec<String> {
        let mut all = vec![String::new()];
        let mut begin = 0;
        for _ in 0..most {
            let longer: Vec<_> = all[begin..]
                .iter()
                .flat_map(|row| parts.iter().map(move |part| format!("{row}{part}")))
                .collect();
            begin = all.len();
            all.extend(longer);
        }
        all
    }

    #[test]
    fn they_mean_what_the_expression_means() {
        let names = rows(&["a", ".", "\n", "é"], 4);
        for (index, pattern) in rows(&["a", r"\.", ".*"], 3).iter().enumerate() {
            let (before, after) = [("", ""), ("^", ""), ("", "$"), ("^", "$")][index % 4];
            let pattern = format!("{before}{pattern}{after}");
            assert!(literals(&pattern).is_some(), "{pattern}");
            let (plain, full) =
                (NamePattern::new(&pattern).unwrap(), JavaRegex::new(&pattern).unwrap());
            for name in &names {
                let want = full.is_full_match(name.as_bytes()).unwrap();
                assert_eq!(plain.matches(name.as_bytes(), false), want, "{pattern} on {name:?}");
            }
        }
    }
}
