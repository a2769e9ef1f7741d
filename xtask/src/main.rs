//! The project's front door: each sub-command is a module with a `run` of its own.

use std::env;
use std::process::ExitCode;

use anyhow::{Result, bail};

mod bench;
mod check;
mod docs;
mod fuzz;
mod interop;
mod manifest;
mod repository;
mod sim;
mod test;
mod tidy;

const USAGE: &str = "usage: cargo xtask <command>

  check      format, lints, dependency rules, tidiness, generated documents (--help for more)
  test       all tests of the workspace (--require-interop: what is missing fails)
  tidy       layering, sizes, and what each component must have
  docs       writes docs/components/ and docs/compatibility.md (--check: only compares)
  sim        crashes of the log on simulated disks, from a seed; with --hops N, agents that send to
             each other (--help for more)
  fuzz       random input for a parser (--help for more)
  bench      both agents at the same work, ratios into docs/benchmarks.md (--help for more)
  interop    our agent against real Flume, failing where something is missing
";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let mut words = env::args().skip(1);
    let command = words.next();
    let rest: Vec<String> = words.collect();
    match command.as_deref() {
        Some("check") => check::run(&rest),
        Some("test") => test::run(&rest),
        Some("tidy") => tidy::run(&rest),
        Some("docs") => docs::run(&rest),
        Some("sim") => sim::run(&rest),
        Some("fuzz") => fuzz::run(&rest),
        Some("bench") => bench::run(&rest),
        Some("interop") => interop::run(&rest),
        None | Some("help" | "--help" | "-h") => {
            print!("{USAGE}");
            Ok(())
        }
        Some(other) => bail!("no command `{other}`\n\n{USAGE}"),
    }
}
