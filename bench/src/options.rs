//! What the command line asks for.

use std::env;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::workload::Workload;

/// Run one side alone, to look at it; nothing is written then.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Side {
    Flume,
    Splashdam,
}

pub(crate) struct Options {
    /// Names of workloads; empty for all.
    workloads: Vec<String>,
    pub(crate) rounds: u32,
    pub(crate) quick: bool,
    /// Flume does the same amount also where that takes it many minutes.
    pub(crate) full: bool,
    pub(crate) side: Option<Side>,
    pub(crate) build: bool,
    pub(crate) write: bool,
    /// Where the runs' files go.
    pub(crate) dir: PathBuf,
    /// The command to repeat the run.
    pub(crate) command: String,
}

pub(crate) fn usage(workloads: &[Workload]) -> String {
    let mut text =
        "usage: cargo xtask bench [WORKLOAD…] [OPTIONS]\n\nworkloads (default: all; `channel` is all that begin so)\n".to_owned();
    for workload in workloads {
        text += &format!("  {:<20}{}\n", workload.name, workload.title);
    }
    text + "\noptions\n\
        \x20 --rounds N          rounds of both agents, default 3\n\
        \x20 --quick             a tenth of the work, one round: to see that all runs; writes nothing\n\
        \x20 --full              the same amounts for Flume also where it needs many minutes\n\
        \x20 --only SIDE         flume or splashdam alone; writes nothing\n\
        \x20 --dir DIR           where inputs and outputs go, some 6 GB, default the system's temporary folder\n\
        \x20 --no-build          take the splashdam binary as it is (SPLASHDAM_BIN names another)\n\
        \x20 --no-write          print, leave docs/benchmarks.md alone\n"
}

impl Options {
    /// `None` if help is wanted.
    pub(crate) fn parse(
        words: impl Iterator<Item = String>,
        known: &[Workload],
    ) -> Result<Option<Options>> {
        let words: Vec<String> = words.collect();
        let mut options = Options {
            workloads: Vec::new(),
            rounds: 3,
            quick: false,
            full: false,
            side: None,
            build: true,
            write: true,
            dir: env::temp_dir(),
            command: repeatable(&words),
        };
        let mut rounds = None;
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().with_context(|| format!("`{word}` needs a value"));
            match word.as_str() {
                "-h" | "--help" => return Ok(None),
                "--rounds" => {
                    let number = value()?;
                    rounds = Some(number.parse().context("`--rounds` needs a whole number")?);
                }
                "--quick" => options.quick = true,
                "--full" => options.full = true,
                "--only" => options.side = Some(side(&value()?)?),
                "--dir" => options.dir = PathBuf::from(value()?),
                "--no-build" => options.build = false,
                "--no-write" => options.write = false,
                "all" => {}
                name if known.iter().any(|workload| named(workload, name)) => {
                    options.workloads.push(word);
                }
                other => bail!("no workload or option `{other}`, see --help"),
            }
        }
        options.write &= !options.quick;
        options.rounds = rounds.unwrap_or(if options.quick { 1 } else { 3 });
        Ok(Some(options))
    }

    pub(crate) fn wants(&self, workload: &Workload) -> bool {
        self.workloads.is_empty() || self.workloads.iter().any(|name| named(workload, name))
    }
}

/// Whether `name` is the workload's, or that of the family which its own begins with.
fn named(workload: &Workload, name: &str) -> bool {
    workload.name.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

fn side(name: &str) -> Result<Side> {
    match name {
        "flume" => Ok(Side::Flume),
        "splashdam" => Ok(Side::Splashdam),
        other => bail!("`--only` takes flume or splashdam, not `{other}`"),
    }
}

/// The command line without the folder, which is of this machine only.
fn repeatable(words: &[String]) -> String {
    let mut command = "cargo xtask bench".to_owned();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word == "--dir" {
            words.next();
        } else {
            command = command + " " + word;
        }
    }
    command
}
