//! What Flume's script and Java take out of the command line before the agent sees it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use super::grammar;

/// A command line without Java.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Java {
    /// `-Dkey=value`; the last of equal keys wins.
    pub(crate) properties: BTreeMap<String, String>,
    /// What was given and means nothing here.
    pub(crate) notes: Vec<String>,
    /// Everything else, in order, long options with two dashes.
    pub(crate) rest: Vec<OsString>,
}

/// Options with a value that only a Java machine can use, and what to say of them.
const OF_JAVA: &[(&str, &str)] = &[
    ("-C", "there is no class path"),
    ("--classpath", "there is no class path"),
    ("--plugins-path", "plug-ins of Flume are Java classes"),
];

impl Java {
    /// Takes `-D`, `-X` and their kin out of `arguments`, wherever they stand.
    pub(crate) fn strip(arguments: Vec<OsString>, before: Java) -> Java {
        let mut java = Java { rest: Vec::new(), ..before };
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            // What is not text is a path, or nothing that is looked for here.
            let Some(text) = argument.to_str() else {
                java.rest.push(argument);
                continue;
            };
            if text == "--" {
                java.rest.push(argument);
                java.rest.extend(arguments);
                break;
            }
            if text == "-D" {
                match arguments.next() {
                    Some(pair) => java.property(&pair.to_string_lossy()),
                    None => java.rest.push(argument),
                }
            } else if let Some(pair) = text.strip_prefix("-D") {
                java.property(pair);
            } else if is_of_machine(text) {
                java.notes.push(format!("{text} is left aside: there is no Java machine to tune"));
            } else if let Some((option, why)) = OF_JAVA.iter().find(|(option, _)| *option == text) {
                let value = arguments.next().unwrap_or_default();
                let value = value.to_string_lossy();
                java.notes.push(format!("{option} {value} is left aside: {why}"));
            } else {
                let word = two_dashes(text).unwrap_or(argument);
                let takes_value = grammar::takes_value(&word);
                java.rest.push(word);
                if takes_value {
                    java.rest.extend(arguments.next());
                }
            }
        }
        java
    }

    /// Takes what is of use out of a line of Java options, as of `FLUME_JAVA_OPTS`.
    pub(crate) fn from_options(line: &str) -> Java {
        let words = line.split_whitespace().map(OsString::from).collect();
        let mut java = Java::strip(words, Java::default());
        for word in std::mem::take(&mut java.rest) {
            let word = word.to_string_lossy();
            java.notes.push(format!("{word} of FLUME_JAVA_OPTS is left aside: there is no Java"));
        }
        java
    }

    fn property(&mut self, pair: &str) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        self.properties.insert(key.to_owned(), value.to_owned());
    }
}

/// Whether only a Java machine can make something of an option.
pub(crate) fn is_of_machine(text: &str) -> bool {
    let starts = |prefix: &str| text.starts_with(prefix);
    (starts("-X") && text.len() > 2)
        || (starts("-J") && text.len() > 2)
        || starts("-agentlib:")
        || starts("-agentpath:")
        || starts("-javaagent:")
        || matches!(text, "-server" | "-client" | "-ea" | "-verbose:gc")
}

/// Flume's parser takes `-name` and `-prov` for long options; ours wants `--name` and
/// `--conf-provider`.
fn two_dashes(text: &str) -> Option<OsString> {
    let name = text.strip_prefix('-').filter(|name| !name.starts_with('-') && name.len() > 1)?;
    let (name, value) = match name.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (name, None),
    };
    let long = match name {
        "prov" => "conf-provider",
        "user" => "conf-user",
        "pwd" => "conf-password",
        long if grammar::is_long_option(long) => long,
        _ => return None,
    };
    Some(OsString::from(match value {
        Some(value) => format!("--{long}={value}"),
        None => format!("--{long}"),
    }))
}

/// The text of an argument, for comparing.
pub(super) fn text(argument: &OsStr) -> &str {
    argument.to_str().unwrap_or_default()
}
