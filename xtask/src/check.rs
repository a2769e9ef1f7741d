//! `cargo xtask check`: format, lints, dependency rules, tidiness, generated documents.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::repository::{self, cargo, cargo_program, root};
use crate::{docs, tidy};

/// The release whose findings we know.
const DENY_VERSION: &str = "0.20.2";

const USAGE: &str = "usage: cargo xtask check [--install] [--require-deny]

Runs cargo fmt --check, clippy with warnings as errors, cargo deny, tidy and docs --check.
cargo-deny is looked for in the path and under target/tools; without it that part is left out
with a word, unless
  --install       installs it under target/tools first (a few minutes, once)
  --require-deny  fails
";

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let (mut install, mut required) = (false, false);
    for argument in arguments {
        match argument.as_str() {
            "--install" => (install, required) = (true, true),
            "--require-deny" => required = true,
            "--help" | "-h" => {
                print!("{USAGE}");
                return Ok(());
            }
            other => bail!("no option `{other}`\n\n{USAGE}"),
        }
    }
    step("format");
    cargo(&["fmt", "--all", "--check"])?;
    step("tidy");
    tidy::run(&[])?;
    step("docs");
    docs::run(&["--check".to_owned()])?;
    step("lints");
    cargo(&["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"])?;
    step("dependencies");
    deny(install, required)
}

fn step(name: &str) {
    println!("check: {name}");
}

/// Licences, duplicates and origins of what we depend on. Advisories need a database from
/// elsewhere, so that they are for `cargo deny check advisories` by hand.
fn deny(install: bool, required: bool) -> Result<()> {
    let ours = tools().join("bin").join("cargo-deny");
    let installed = || ours.is_file() || version_of("cargo-deny").is_some();
    if !installed() && install {
        let root = tools();
        let mut command = Command::new(cargo_program());
        // Built without optimization: it runs for a second, and would be built for many minutes.
        command.args(["install", "--locked", "--quiet", "--debug", "--version", DENY_VERSION]);
        command.arg("--root");
        repository::run(command.arg(&root).arg("cargo-deny")).context("installing cargo-deny")?;
    }
    if !installed() {
        if required {
            bail!("cargo-deny is not installed; run `cargo xtask check --install`");
        }
        println!("check: cargo-deny is not installed, so licences and duplicates are not checked");
        return Ok(());
    }
    let program = if ours.is_file() { ours } else { PathBuf::from("cargo-deny") };
    let mut command = Command::new(program);
    repository::run(command.args([
        "check",
        "--hide-inclusion-graph",
        "bans",
        "licenses",
        "sources",
    ]))
}

fn tools() -> PathBuf {
    root().join("target").join("tools")
}

fn version_of(program: &str) -> Option<String> {
    let said = Command::new(program).arg("--version").output().ok()?;
    said.status.success().then(|| String::from_utf8_lossy(&said.stdout).into_owned())
}
