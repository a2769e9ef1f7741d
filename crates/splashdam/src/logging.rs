//! Logs go to standard error, as text or as JSON, from a level that several habits can set.

mod fields;

use std::env;
use std::fmt;
use std::io::{self, IsTerminal};

use anyhow::{Context as _, Result, bail};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::Registry;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people: time, level, message, fields.
    #[default]
    Text,
    /// One object a line, for machines.
    Json,
}

/// What is logged.
#[derive(Debug, PartialEq)]
pub(crate) enum Filter {
    /// Everything from a level on.
    Level(LevelFilter),
    /// Directives of `RUST_LOG`, such as `info,splashdam_agent=debug`.
    Directives(String),
}

/// How to log.
#[derive(Debug, PartialEq)]
pub(crate) struct Settings {
    pub(crate) format: Format,
    pub(crate) filter: Filter,
}

impl Settings {
    /// Reads the `-D` properties and `RUST_LOG`, which wins. `flume.root.logger` is what the
    /// documentation of Flume up to 1.10 tells people to write: a level and an appender, of which
    /// the appender is left aside. `flume.log.level` and `flume.log.format` are ours.
    pub(crate) fn read(
        property: impl Fn(&str) -> Option<String>,
        rust_log: Option<String>,
    ) -> Result<Self> {
        let format = match property("flume.log.format") {
            None => Format::Text,
            Some(text) if text.eq_ignore_ascii_case("text") => Format::Text,
            Some(text) if text.eq_ignore_ascii_case("json") => Format::Json,
            Some(text) => bail!("-Dflume.log.format={text} is neither text nor json"),
        };
        if let Some(directives) = rust_log.filter(|text| !text.trim().is_empty()) {
            return Ok(Settings { format, filter: Filter::Directives(directives) });
        }
        let named = ["flume.log.level", "flume.root.logger"];
        let given = named.into_iter().find_map(|name| Some((name, property(name)?)));
        let level = match given {
            None => LevelFilter::INFO,
            Some((property, value)) => {
                let word = value.split(',').next().unwrap_or_default();
                level(word.trim()).with_context(|| {
                    format!(
                        "-D{property}={value} names no level; use OFF, ERROR, WARN, INFO, DEBUG or TRACE, as in -Dflume.root.logger=DEBUG,console"
                    )
                })?
            }
        };
        Ok(Settings { format, filter: Filter::Level(level) })
    }

    /// Starts logging for the whole process. Once; again is an error.
    pub(crate) fn start(self) -> Result<(), TryInitError> {
        let filter: Box<dyn Layer<Registry> + Send + Sync> = match self.filter {
            Filter::Level(level) => Box::new(level),
            // What cannot be read in `RUST_LOG` is left out with a line on standard error.
            Filter::Directives(text) => Box::new(EnvFilter::builder().parse_lossy(text)),
        };
        let registry = tracing_subscriber::registry().with(filter);
        let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr);
        match self.format {
            Format::Text => {
                let colours = io::stderr().is_terminal() && env::var_os("NO_COLOR").is_none();
                let lines = lines.compact().fmt_fields(fields::Fields);
                registry.with(lines.with_target(false).with_ansi(colours)).try_init()
            }
            Format::Json => {
                let lines = lines.json().flatten_event(true).with_current_span(false);
                registry.with(lines.with_span_list(false)).try_init()
            }
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Text => "text",
            Format::Json => "json",
        })
    }
}

/// log4j's levels; FATAL has no counterpart and means ERROR.
fn level(word: &str) -> Option<LevelFilter> {
    Some(match word.to_ascii_uppercase().as_str() {
        "OFF" => LevelFilter::OFF,
        "FATAL" | "ERROR" => LevelFilter::ERROR,
        "WARN" | "WARNING" => LevelFilter::WARN,
        "INFO" => LevelFilter::INFO,
        "DEBUG" => LevelFilter::DEBUG,
        "TRACE" | "ALL" => LevelFilter::TRACE,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn habits_set_the_level() {
        let check = |given: &[(&str, &str)], rust_log: Option<&str>, want: &str| {
            let property = |name: &str| {
                let found = given.iter().find(|(key, _)| *key == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            let got = match Settings::read(property, rust_log.map(str::to_owned)) {
                Ok(Settings { format, filter: Filter::Level(level) }) => {
                    format!("{format} {level}")
                }
                Ok(Settings { format, filter: Filter::Directives(text) }) => {
                    format!("{format} RUST_LOG {text}")
                }
                Err(error) => error.to_string(),
            };
            assert!(got.starts_with(want), "{got}");
        };
        check(&[], None, "text info");
        check(&[("flume.root.logger", "DEBUG,console")], None, "text debug");
        check(&[("flume.root.logger", "fatal , LOGFILE")], Some(" "), "text error");
        check(&[("flume.log.level", "ALL"), ("flume.root.logger", "INFO")], None, "text trace");
        check(&[("flume.root.logger", "INFO")], Some("a=debug"), "text RUST_LOG a=debug");
        check(&[("flume.log.format", "JSON")], None, "json info");
        check(&[("flume.root.logger", "LOUD,console")], None, "-Dflume.root.logger=LOUD,console");
        check(&[("flume.log.format", "xml")], None, "-Dflume.log.format=xml is neither");
    }

    #[test]
    fn it_starts_once() {
        let quiet = || Settings { format: Format::Json, filter: Filter::Directives("off".into()) };
        assert!(quiet().start().is_ok());
        assert!(quiet().start().is_err());
    }
}
