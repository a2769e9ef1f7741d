//! The project's front door: each sub-command is a module with a `run` of its own.

use std::env;
use std::process::ExitCode;

use anyhow::{Result, bail};

mod bench;
mod interop;

const USAGE: &str = "usage: cargo xtask <command>

  bench      both agents at the same work, ratios into docs/benchmarks.md (--help for more)
  interop    our agent against real Flume, failing where something is missing
";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:?}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let mut words = env::args().skip(1);
    let command = words.next();
    let rest: Vec<String> = words.collect();
    match command.as_deref() {
        Some("bench") => bench::run(&rest),
        Some("interop") => interop::run(&rest),
        None | Some("help" | "--help" | "-h") => {
            print!("{USAGE}");
            Ok(())
        }
        Some(other) => bail!("no command `{other}`\n\n{USAGE}"),
    }
}
