//! A regular expression that a whole file name matches.

use regex::Regex;
use serde::Deserialize;
use serde::de::{Deserializer, Error};

/// `includePattern` and `ignorePattern`.
#[derive(Clone, Debug)]
pub struct NamePattern(Regex);

/// Anchored at both ends, as Java's `matches` is.
fn compile(pattern: &str) -> Result<Regex, regex::Error> {
    Regex::new(&format!(r"\A(?:{pattern})\z"))
}

impl NamePattern {
    /// `^.*$`: every name.
    pub fn everything() -> Self {
        Self::known("^.*$")
    }

    /// `^$`: no name.
    pub fn nothing() -> Self {
        Self::known("^$")
    }

    fn known(pattern: &'static str) -> Self {
        NamePattern(compile(pattern).expect("a pattern of ours"))
    }

    /// Whether all of `name` matches.
    pub fn matches(&self, name: &str) -> bool {
        self.0.is_match(name)
    }
}

impl<'de> Deserialize<'de> for NamePattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let pattern = String::deserialize(deserializer)?;
        compile(&pattern).map(NamePattern).map_err(|error| {
            D::Error::custom(format!("`{pattern}` is no regular expression: {error}"))
        })
    }
}
