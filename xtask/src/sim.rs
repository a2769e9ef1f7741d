//! `cargo xtask sim`: builds the simulation in release mode and hands it the arguments.

use std::process::Command;

use anyhow::Result;

use crate::repository::{self, cargo_program};

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let mut command = Command::new(cargo_program());
    command.args(["run", "--quiet", "--release", "--package", "splashdam-sim", "--"]);
    repository::run(command.args(arguments))
}
