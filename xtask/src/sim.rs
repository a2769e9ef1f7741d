//! `cargo xtask sim`: builds a simulation in release mode and hands it the arguments: of hops with
//! `--hops`, else of the log.

use std::process::Command;

use anyhow::Result;

use crate::repository::{self, cargo_program};

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let mut command = Command::new(cargo_program());
    // The log allocates and frees much at every start; without these, a quarter of the time goes
    // into giving memory back to the system and asking for it again (glibc).
    command.env("MALLOC_TOP_PAD_", (32u32 << 20).to_string());
    command.env("MALLOC_TRIM_THRESHOLD_", (256u32 << 20).to_string());
    let package = match arguments.iter().any(|argument| argument == "--hops") {
        true => {
            // It is linked from all components, which would take longer than what it gains.
            command.env("CARGO_PROFILE_RELEASE_LTO", "off");
            "splashdam-hops"
        }
        false => "splashdam-sim",
    };
    command.args(["run", "--quiet", "--release", "--package", package, "--"]);
    repository::run(command.args(arguments))
}
