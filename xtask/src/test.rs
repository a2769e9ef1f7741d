//! `cargo xtask test`: all tests of the workspace, with cargo's own words at the end.

use std::process::Command;

use anyhow::{Result, bail};

use crate::repository::{self, cargo, cargo_program, root};

const USAGE: &str = "usage: cargo xtask test [--require-interop] [arguments for cargo test]

Builds the agent, which the interop tests start, and runs
`cargo test --workspace --no-fail-fast`.
  --require-interop  a missing JDK, Maven or Flume fails the tests that need them
";

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let mut rest: Vec<&str> = Vec::new();
    let mut required = false;
    for argument in arguments {
        match argument.as_str() {
            "--require-interop" => required = true,
            "--help" | "-h" => {
                print!("{USAGE}");
                return Ok(());
            }
            other => rest.push(other),
        }
    }
    if required && !root().join("interop").is_dir() {
        bail!("there are no interop tests to require");
    }
    cargo(&["build", "--quiet", "--package", "splashdam"])?;
    let mut command = Command::new(cargo_program());
    command.args(["test", "--workspace", "--no-fail-fast"]).args(rest);
    if required {
        command.env("SPLASHDAM_REQUIRE_INTEROP", "1");
    }
    repository::run(&mut command)
}
