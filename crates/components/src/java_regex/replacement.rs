//! What stands in for a match: Java's `$1`, `${name}` and `\$`.

use std::ops::Range;

use serde::de::{Deserialize, Deserializer, Error as _};

use super::JavaRegex;

/// A replacement whose form was checked; whether its groups exist only its pattern can say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JavaReplacement {
    written: String,
    parts: Vec<Written>,
}

/// A replacement that fits its pattern.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replacement(Vec<Part>);

/// A replacement will not do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the replacement `{replacement}` cannot be used: {what}")]
pub struct ReplacementError {
    /// The replacement as written.
    pub replacement: String,
    /// What is wrong and what to write instead.
    pub what: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Written {
    Text(String),
    /// Digits behind a `$`, of which as many count as name a group.
    Number(String),
    Name(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Group(usize),
}

impl JavaReplacement {
    /// Reads a replacement.
    ///
    /// # Errors
    /// A `$` without a group, a backslash with nothing behind it.
    pub fn new(written: &str) -> Result<Self, ReplacementError> {
        let wrong = |what: &str| ReplacementError {
            replacement: super::shown(written),
            what: what.to_owned(),
        };
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut chars = written.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '\\' => match chars.next() {
                    Some(escaped) => text.push(escaped),
                    None => return Err(wrong("a backslash at its end; write `\\\\` for one")),
                },
                '$' => {
                    if !text.is_empty() {
                        parts.push(Written::Text(std::mem::take(&mut text)));
                    }
                    let braced = chars.next_if_eq(&'{').is_some();
                    let mut group = String::new();
                    while let Some(c) =
                        chars.next_if(|c| c.is_ascii_digit() || (braced && c.is_ascii_alphabetic()))
                    {
                        group.push(c);
                    }
                    let named = group.starts_with(|c: char| c.is_ascii_alphabetic());
                    if group.is_empty() || braced && (!named || chars.next() != Some('}')) {
                        return Err(wrong(
                            "a `$` that no group's number or `{name}` follows; write `\\$` for the sign itself",
                        ));
                    }
                    let make = if braced { Written::Name } else { Written::Number };
                    parts.push(make(group));
                }
                c => text.push(c),
            }
        }
        if !text.is_empty() {
            parts.push(Written::Text(text));
        }
        Ok(JavaReplacement { written: written.to_owned(), parts })
    }

    /// Finds the groups of `regex` that it names.
    ///
    /// # Errors
    /// A group that there is not.
    pub fn resolve(&self, regex: &JavaRegex) -> Result<Replacement, ReplacementError> {
        let groups = regex.groups();
        let none = |group: &str| ReplacementError {
            replacement: super::shown(&self.written),
            what: format!("the pattern has no group {group}; it has {groups} groups"),
        };
        let mut parts = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            match part {
                Written::Text(text) => parts.push(Part::Text(text.clone())),
                Written::Name(name) => {
                    let group = regex.group_named(name);
                    parts.push(Part::Group(group.ok_or_else(|| none(&format!("`{name}`")))?));
                }
                Written::Number(digits) => {
                    // As in Java: the first digit counts always, more while there is such a group.
                    let (group, rest) = number(digits, groups);
                    if group > groups {
                        return Err(none(&group.to_string()));
                    }
                    parts.push(Part::Group(group));
                    if !rest.is_empty() {
                        parts.push(Part::Text(rest.to_owned()));
                    }
                }
            }
        }
        Ok(Replacement(parts))
    }
}

fn number(digits: &str, groups: usize) -> (usize, &str) {
    let mut group = 0;
    for (at, digit) in digits.bytes().enumerate() {
        let longer = group * 10 + usize::from(digit - b'0');
        if at > 0 && longer > groups {
            return (group, &digits[at..]);
        }
        group = longer;
    }
    (group, "")
}

impl Replacement {
    /// Appends the replacement of a match; a group that took no part adds nothing.
    pub(super) fn expand(&self, text: &str, groups: &[Option<Range<usize>>], out: &mut String) {
        for part in &self.0 {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Group(group) => {
                    if let Some(Some(range)) = groups.get(*group) {
                        out.push_str(&text[range.clone()]);
                    }
                }
            }
        }
    }
}

impl<'de> Deserialize<'de> for JavaReplacement {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        JavaReplacement::new(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}
