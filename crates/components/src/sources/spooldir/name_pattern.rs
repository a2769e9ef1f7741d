//! A regular expression that a whole file name matches.

use serde::Deserialize;
use serde::de::Deserializer;

use crate::java_regex::JavaRegex;

/// `includePattern` and `ignorePattern`.
#[derive(Clone, Debug)]
pub enum NamePattern {
    /// Every name; Flume's `^.*$`.
    Everything,
    /// No name; Flume's `^$`.
    Nothing,
    /// What was written.
    Pattern(JavaRegex),
}

impl NamePattern {
    /// Every name.
    pub fn everything() -> Self {
        NamePattern::Everything
    }

    /// No name.
    pub fn nothing() -> Self {
        NamePattern::Nothing
    }

    /// Whether all of `name` matches; `unsure` when the pattern takes too many steps to tell.
    pub fn matches(&self, name: &str, unsure: bool) -> bool {
        match self {
            NamePattern::Everything => true,
            NamePattern::Nothing => false,
            NamePattern::Pattern(pattern) => {
                pattern.is_full_match(name.as_bytes()).unwrap_or(unsure)
            }
        }
    }
}

impl<'de> Deserialize<'de> for NamePattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        JavaRegex::deserialize(deserializer).map(NamePattern::Pattern)
    }
}
