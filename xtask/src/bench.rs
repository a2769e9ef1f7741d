//! `cargo xtask bench`: builds the harness in release mode and hands it the arguments.

use std::env;
use std::process::Command;

use anyhow::{Context, Result, ensure};

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["run", "--quiet", "--release", "--package", "splashdam-bench", "--"])
        .args(arguments)
        .status()
        .context("starting cargo")?;
    ensure!(status.success(), "the benchmarks ended with {status}");
    Ok(())
}
