//! The machine in general terms, and building our binary on it.

use std::env;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, ensure};
use splashdam_interop::Peers;

/// Cores, memory, processor, kernel and Java in one sentence: enough to judge numbers, nothing that names a host.
pub(crate) fn described() -> String {
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let processor =
        line_value("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown processor".to_owned());
    let memory = line_value("/proc/meminfo", "MemTotal")
        .and_then(|text| text.split(' ').next()?.parse::<u64>().ok())
        .map_or_else(
            || "unknown memory".to_owned(),
            |kibibytes| format!("{} GiB", (kibibytes + (1 << 19)) >> 20),
        );
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let kernel = release.trim().split('-').next().unwrap_or_default().to_owned();
    let java = java().unwrap_or_else(|| "unknown Java".to_owned());
    format!(
        "{cores} cores ({processor}), {memory} memory, Linux {kernel}, {java}, Flume 1.11.0 with -Xmx1g"
    )
}

/// Tasks running or waiting over the last minute; a busy machine makes poor numbers.
pub(crate) fn load_average() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(f64::NAN)
}

/// `cargo build --release` of the binary, into the target folder that this program was built into.
pub(crate) fn build_splashdam() -> Result<()> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--release", "--package", "splashdam"])
        .status()
        .context("starting cargo")?;
    ensure!(
        status.success(),
        "splashdam does not build, see above; --no-build takes the binary that is there"
    );
    Ok(())
}

/// Waits until the disk has what was written so far, so that who warms up faster is not held back by its own earlier
/// writes while it is measured.
pub(crate) fn settle(dir: &Path) -> Result<()> {
    let synced = Command::new("sync").arg("-f").arg(dir).status()?;
    ensure!(synced.success(), "sync ended with {synced}");
    Ok(())
}

/// Fills this much of the page cache and lets it go again. On a virtual machine the first touch of a page costs many
/// times what the write into it does, and is counted as the writer's; without this, who is measured would pay for
/// memory that somebody else's files still hold.
pub(crate) fn back_memory(dir: &Path, bytes: u64) -> Result<()> {
    let scratch = dir.join("scratch");
    let mut file = fs::File::create(&scratch)?;
    let block = vec![0x5a; 1 << 20];
    for _ in 0..bytes.div_ceil(1 << 20) {
        file.write_all(&block)?;
    }
    drop(file);
    Ok(fs::remove_file(scratch)?)
}

fn java() -> Option<String> {
    let peers = Peers::available().ok()?;
    let said = Command::new(peers.java).arg("-version").output().ok()?;
    let version = String::from_utf8_lossy(&said.stderr).split('"').nth(1)?.to_owned();
    Some(format!("Java {version}"))
}

/// The value of the first `key : value` line.
fn line_value(file: &str, key: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(key))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
