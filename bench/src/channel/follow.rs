//! Workload `channel-follow`: a file of log lines through `TAILDIR`, file channel and `file_roll`, as it is and with
//! a kill -9 on the way.

use std::collections::HashMap;
use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use splashdam_interop::tail_rig::tail_to_roll;
use splashdam_interop::{Agent, Make, outputs};
use tempfile::TempDir;

use super::channel_config;
use crate::options::Options;
use crate::workload::{Better, Quantity, Run, Unit, Workload};
use crate::{lines, machine};

pub(crate) const WORKLOAD: Workload = Workload {
    name: "channel-follow",
    title: "Follow a file: TAILDIR → file → file_roll",
    about,
    quantities: &[
        Quantity { name: "Events per second", unit: Unit::EventsPerSecond, better: Better::Higher },
        Quantity { name: "Start to last byte out", unit: Unit::Seconds, better: Better::Lower },
        Quantity {
            name: "CPU per million events",
            unit: Unit::CpuSecondsPerMillion,
            better: Better::Lower,
        },
        Quantity { name: "Peak memory", unit: Unit::Bytes, better: Better::Lower },
        Quantity {
            name: "Lines lost by kill -9 at 40 %",
            unit: Unit::Count,
            better: Better::Lower,
        },
        Quantity {
            name: "Lines repeated by kill -9 at 40 %",
            unit: Unit::Count,
            better: Better::Lower,
        },
    ],
    prepare,
    peer: None,
};

/// A run that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(900);
/// The output's size is looked at this often.
const LOOK: Duration = Duration::from_millis(2);
/// After a kill nobody knows how much will come: it is over when nothing has come for this long.
const QUIET: Duration = Duration::from_secs(5);

fn lines_of(options: &Options) -> u64 {
    if options.quick { 100_000 } else { 5_000_000 }
}

fn about(options: &Options) -> String {
    format!(
        "A file of {} generated log lines, 200 bytes on average, batches of 1000, a file channel of 1,000,000 events \
         that syncs every commit, one output file. The file is there when the process starts. The rate is taken from \
         the first to the last growth of the output, which is then compared with the input, byte by byte. In a second \
         run the process is killed with SIGKILL when 40 % of the bytes are out and started again; when nothing has \
         come for {QUIET:?}, the lines that are missing and those that came again are counted.",
        lines_of(options)
    )
}

struct Input {
    _dir: TempDir,
    base: PathBuf,
    file: PathBuf,
    bytes: u64,
    lines: u64,
}

fn prepare(options: &Options) -> Result<Run> {
    let dir = tempfile::tempdir_in(&options.dir)?;
    let (file, lines) = (dir.path().join("input"), lines_of(options));
    let bytes = lines::write(&file, 3, lines)?;
    let input = Input { base: dir.path().to_owned(), _dir: dir, file, bytes, lines };
    Ok(Box::new(move |make| {
        let mut values = whole(make, &input)?;
        values.extend(killed(make, &input)?);
        Ok(values)
    }))
}

/// The folder of one run, with the input in it.
fn site(input: &Input) -> Result<TempDir> {
    let dir = tempfile::tempdir_in(&input.base)?;
    fs::create_dir(dir.path().join("logs"))?;
    fs::create_dir(dir.path().join("out"))?;
    machine::back_memory(dir.path(), 4 * input.bytes)?;
    fs::copy(&input.file, dir.path().join("logs/input.log"))?;
    machine::settle(dir.path())?;
    Ok(dir)
}

fn whole(make: &Make, input: &Input) -> Result<Vec<f64>> {
    let site = site(input)?;
    let out = site.path().join("out");
    let began = Instant::now();
    let mut agent = Agent::start(make, site.path(), &config(site.path()))?;
    let (first, first_bytes) = wait_for(&mut agent, &out, 1)?;
    let (last, _) = wait_for(&mut agent, &out, input.bytes)?;
    let usage = agent.usage()?;
    agent.stop().context("after the last byte")?;
    if let Some(offset) =
        outputs::first_difference(std::slice::from_ref(&input.file), &outputs::files(&out)?)?
    {
        bail!("the output differs from the input at byte {offset}");
    }
    let share = (input.bytes - first_bytes) as f64 / input.bytes as f64;
    let events = input.lines as f64;
    Ok(vec![
        events * share / (last - first).as_secs_f64(),
        (last - began).as_secs_f64(),
        usage.cpu.as_secs_f64() / (events / 1e6),
        usage.peak_bytes as f64,
    ])
}

fn killed(make: &Make, input: &Input) -> Result<Vec<f64>> {
    let site = site(input)?;
    let out = site.path().join("out");
    let mut agent = Agent::start(make, site.path(), &config(site.path()))?;
    wait_for(&mut agent, &out, input.bytes / 5 * 2)?;
    agent.kill()?;
    let mut agent = Agent::start(make, site.path(), &config(site.path()))?;
    let (began, mut size, mut grew) = (Instant::now(), 0, Instant::now());
    while grew.elapsed() < QUIET {
        ensure!(began.elapsed() < LIMIT, "it does not end\n{}", agent.log_tail());
        agent.still_running()?;
        let now = outputs::size_bytes(&out)?;
        if now != size {
            (size, grew) = (now, Instant::now());
        }
        thread::sleep(LOOK * 10);
    }
    agent.stop().context("after the second run")?;
    let (lost, repeated) = compared(&input.file, &outputs::files(&out)?)?;
    Ok(vec![lost as f64, repeated as f64])
}

/// Waits for so many bytes of output; answers when and how many there were.
fn wait_for(agent: &mut Agent, out: &Path, bytes: u64) -> Result<(Instant, u64)> {
    let began = Instant::now();
    loop {
        let size = outputs::size_bytes(out)?;
        if size >= bytes {
            return Ok((Instant::now(), size));
        }
        agent.still_running()?;
        ensure!(
            began.elapsed() < LIMIT,
            "{size} of {bytes} bytes after {LIMIT:?}\n{}",
            agent.log_tail()
        );
        thread::sleep(LOOK);
    }
}

/// Lines of the input that the output has less often, and those that it has more often, torn ones among them.
fn compared(input: &Path, output: &[PathBuf]) -> Result<(u64, u64)> {
    // A hash of 64 bits each: two of ten million lines are alike once in 370,000 runs.
    let state = RandomState::new();
    let mut left: HashMap<u64, i64> = HashMap::new();
    let mut count = |file: &Path, by: i64| -> Result<()> {
        let mut file = BufReader::with_capacity(1 << 20, File::open(file)?);
        let mut line = Vec::new();
        while file.read_until(b'\n', &mut line)? > 0 {
            *left.entry(state.hash_one(&line)).or_default() += by;
            line.clear();
        }
        Ok(())
    };
    count(input, 1)?;
    for file in output {
        count(file, -1)?;
    }
    let sum =
        |sign: i64| left.values().filter(|n| n.signum() == sign).map(|n| n.unsigned_abs()).sum();
    Ok((sum(1), sum(-1)))
}

fn config(dir: &Path) -> String {
    tail_to_roll(dir, &channel_config(dir, 1, 1_000_000), "")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::compared;

    #[test]
    fn counts_what_is_missing_and_what_came_again() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let input = dir.path().join("input");
        fs::write(&input, "a\nb\nb\nc\n").expect("writing a sample");
        let check = |parts: &[&str], counts| {
            let file = |(number, text): (usize, &&str)| {
                let path = dir.path().join(number.to_string());
                fs::write(&path, text).expect("writing a sample");
                path
            };
            let files: Vec<_> = parts.iter().enumerate().map(file).collect();
            assert_eq!(compared(&input, &files).expect("readable"), counts, "{parts:?}");
        };
        check(&["a\nb\n", "b\nc\n"], (0, 0));
        check(&["a\nb\n", "b\nb\nc\n"], (0, 1));
        check(&["a\nb\nc\n"], (1, 0));
        check(&["a\nb\nb", "c\n"], (1, 1));
    }
}
