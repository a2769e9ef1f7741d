//! `cargo xtask interop`: builds our binary and runs every interop test; what is missing fails instead of skipping.

use std::env;
use std::process::Command;

use anyhow::{Context, Result, ensure};

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    cargo(&["build", "--package", "splashdam"], &[])?;
    cargo(&["test", "--package", "splashdam-interop", "--"], arguments)
}

fn cargo(words: &[&str], arguments: &[String]) -> Result<()> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(words)
        .args(arguments)
        .env("SPLASHDAM_REQUIRE_INTEROP", "1")
        .status()
        .context("starting cargo")?;
    ensure!(status.success(), "cargo {} ended with {status}", words.join(" "));
    Ok(())
}
