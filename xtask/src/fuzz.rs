//! `cargo xtask fuzz`: random input for a parser, guided by coverage, on the pinned toolchain.
//!
//! The flags below are what cargo-fuzz would pass, of which the compiler calls none unstable; so
//! neither it nor a nightly compiler is needed, only a C++ compiler for libFuzzer itself.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::thread;

use anyhow::{Context, Result, bail, ensure};

use crate::repository::{self, cargo_program, root};

const USAGE: &str =
    "usage: cargo xtask fuzz <target>|all|list [--seconds N] [-- libFuzzer's options]

Starts from fuzz/seeds/<target> and what earlier runs found under fuzz/corpus/<target>; ends after
N seconds (60) or at the first failure, whose input is kept under fuzz/artifacts/<target>. Add it to
the seeds when it is mended: the seeds are replayed by `cargo xtask test`.
";

const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing -Ccodegen-units=1";

/// The longest input. Nothing of interest needs more, and longer ones are slow.
const INPUT_LIMIT_BYTES: usize = 4096;
/// The most memory, so that an allocation without bound is a failure.
const MEMORY_LIMIT_MB: usize = 1024;
/// One input may take this long.
const INPUT_LIMIT_SECONDS: usize = 10;

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let mut target = None;
    let mut seconds: u64 = 60;
    let mut words = arguments.iter();
    let mut more: Vec<&str> = Vec::new();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--help" | "-h" => {
                print!("{USAGE}");
                return Ok(());
            }
            "--seconds" => {
                let given = words.next().context("--seconds needs a number")?;
                seconds = given.parse().with_context(|| format!("`{given}` is no number"))?;
            }
            "--" => more.extend(words.by_ref().map(String::as_str)),
            name if target.is_none() && !name.starts_with('-') => target = Some(name),
            other => bail!("no option `{other}`\n\n{USAGE}"),
        }
    }
    let targets = targets()?;
    let chosen = match target {
        Some("all") => targets,
        Some("list") => {
            println!("{}", targets.join("\n"));
            return Ok(());
        }
        Some(name) if targets.iter().any(|target| target == name) => vec![name.to_owned()],
        Some(name) => bail!("no target `{name}`; there are {}", targets.join(", ")),
        None => bail!("name a target: {}\n\n{USAGE}", targets.join(", ")),
    };
    let host = host()?;
    build(&host)?;
    side_by_side(&chosen, |name| fuzz(&host, name, seconds, &more))?;
    println!("fuzz: {} clean for {seconds} s each", chosen.join(", "));
    Ok(())
}

/// Runs one target on each core, which is all that one uses, until the first failure.
fn side_by_side(names: &[String], fuzz: impl Fn(&str) -> Result<()> + Sync) -> Result<()> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let (waiting, failed) = (Mutex::new(names.iter()), Mutex::new(None));
    let next = || match failed.lock() {
        Ok(failed) if failed.is_none() => waiting.lock().ok()?.next(),
        _ => None,
    };
    thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while let Some(name) = next() {
                    if let (Err(error), Ok(mut failed)) = (fuzz(name), failed.lock()) {
                        failed.get_or_insert(error);
                    }
                }
            });
        }
    });
    match failed.into_inner() {
        Ok(None) => Ok(()),
        Ok(Some(error)) => Err(error),
        Err(_) => bail!("a thread that ran a fuzz target panicked"),
    }
}

fn targets() -> Result<Vec<String>> {
    let folder = root().join("fuzz/targets");
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        names.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
    }
    names.sort();
    Ok(names)
}

/// With a `--target` the flags reach what is fuzzed and not the build scripts.
fn build(host: &str) -> Result<()> {
    let mut command = Command::new(cargo_program());
    command.args(["build", "--release", "--bins", "--quiet", "--locked"]);
    command.args(["--manifest-path", "fuzz/Cargo.toml", "--target", host]);
    command.arg("--target-dir").arg(target_dir());
    repository::run(command.env("RUSTFLAGS", FLAGS)).context("building the fuzz targets")
}

fn fuzz(host: &str, name: &str, seconds: u64, more: &[&str]) -> Result<()> {
    let folder = |kind: &str| root().join("fuzz").join(kind).join(name);
    let (corpus, artifacts, seeds) = (folder("corpus"), folder("artifacts"), folder("seeds"));
    for folder in [&corpus, &artifacts] {
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    }
    ensure!(seeds.is_dir(), "target `{name}` has no seeds; put some into {}", seeds.display());
    let mut command = Command::new(target_dir().join(host).join("release").join(name));
    command.arg(format!("-max_total_time={seconds}"));
    command.arg(format!("-max_len={INPUT_LIMIT_BYTES}"));
    command.arg(format!("-rss_limit_mb={MEMORY_LIMIT_MB}"));
    command.arg(format!("-timeout={INPUT_LIMIT_SECONDS}"));
    command.arg(format!("-artifact_prefix={}/", artifacts.display()));
    command.args(["-print_final_stats=1", "-verbosity=0"]).args(more);
    let ran = command.arg(corpus).arg(seeds).output();
    let ran = ran.with_context(|| format!("starting fuzz target `{name}`"))?;
    let said = String::from_utf8_lossy(&ran.stderr);
    if !ran.status.success() {
        eprintln!("{said}{}", String::from_utf8_lossy(&ran.stdout));
        bail!("target `{name}` failed with {}; see {}", ran.status, artifacts.display());
    }
    let runs = said.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    println!("fuzz: {name} for {seconds} s, {} inputs, clean", runs.unwrap_or("?").trim());
    Ok(())
}

fn target_dir() -> PathBuf {
    root().join("fuzz/target")
}

fn host() -> Result<String> {
    let said = repository::output("rustc", &["-vV"])?;
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names no host")?.to_owned())
}
