//! The repository as a tree of files, and the tools that are run in it.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Where the workspace lies.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// The text of a file, by its path from the root.
pub(crate) fn read(path: &str) -> Result<String> {
    fs::read_to_string(root().join(path)).with_context(|| format!("reading {path}"))
}

/// Files that git tracks or would track, by their paths from the root, in order.
pub(crate) fn files() -> Result<Vec<String>> {
    let listed = output("git", &["ls-files", "--cached", "--others", "--exclude-standard"])?;
    let mut files: Vec<String> = listed.lines().map(str::to_owned).collect();
    // A file that was removed and not yet committed is listed still.
    files.retain(|path| root().join(path).is_file());
    files.sort();
    files.dedup();
    Ok(files)
}

/// What a command says on standard output.
pub(crate) fn output(program: &str, words: &[&str]) -> Result<String> {
    let title = || format!("{program} {}", words.join(" "));
    let done = Command::new(program).args(words).current_dir(root()).output();
    let done = done.with_context(|| format!("starting {}", title()))?;
    ensure!(
        done.status.success(),
        "{} ended with {}: {}",
        title(),
        done.status,
        String::from_utf8_lossy(&done.stderr)
    );
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

/// Runs cargo for all to see; failing when it fails.
pub(crate) fn cargo(words: &[&str]) -> Result<()> {
    run(Command::new(cargo_program()).args(words))
}

/// The cargo that runs us, or the one in the path.
pub(crate) fn cargo_program() -> std::ffi::OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Runs a command in the root for all to see; failing when it fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
    let title = format!("{} {}", command.get_program().to_string_lossy(), words.join(" "));
    let status = command.current_dir(root()).status();
    let status = status.with_context(|| format!("starting {title}"))?;
    ensure!(status.success(), "{title} ended with {status}");
    Ok(())
}
