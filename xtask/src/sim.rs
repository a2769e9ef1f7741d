//! `cargo xtask sim`: builds the simulation in release mode and hands it the arguments.

use std::process::Command;

use anyhow::Result;

use crate::repository::{self, cargo_program};

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let mut command = Command::new(cargo_program());
    // The log allocates and frees much at every start; without these, a quarter of the time goes
    // into giving memory back to the system and asking for it again (glibc).
    command.env("MALLOC_TOP_PAD_", (32u32 << 20).to_string());
    command.env("MALLOC_TRIM_THRESHOLD_", (256u32 << 20).to_string());
    command.args(["run", "--quiet", "--release", "--package", "splashdam-sim", "--"]);
    repository::run(command.args(arguments))
}
