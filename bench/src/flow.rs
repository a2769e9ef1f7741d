//! Workload `flow`: a file of log lines through `TAILDIR`, memory channel and `file_roll`, checked byte for byte.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use splashdam_interop::tail_rig::{MEMORY, tail_to_roll};
use splashdam_interop::{Agent, Make, outputs};
use tempfile::TempDir;

use crate::lines;
use crate::machine;
use crate::options::Options;
use crate::workload::{Better, Quantity, Run, Unit, Workload};

pub(crate) const WORKLOAD: Workload = Workload {
    name: "flow",
    title: "Follow a file: TAILDIR → memory → file_roll",
    about,
    quantities: &[
        Quantity {
            name: "Events per second, warm",
            unit: Unit::EventsPerSecond,
            better: Better::Higher,
        },
        Quantity {
            name: "File appears to last byte out, warm",
            unit: Unit::Seconds,
            better: Better::Lower,
        },
        Quantity {
            name: "CPU per million events, warm",
            unit: Unit::CpuSecondsPerMillion,
            better: Better::Lower,
        },
        Quantity { name: "Peak memory, warm", unit: Unit::Bytes, better: Better::Lower },
        Quantity {
            name: "Start to last byte out, cold",
            unit: Unit::Seconds,
            better: Better::Lower,
        },
        Quantity {
            name: "CPU per million events, cold",
            unit: Unit::CpuSecondsPerMillion,
            better: Better::Lower,
        },
        Quantity { name: "Peak memory, cold", unit: Unit::Bytes, better: Better::Lower },
    ],
    prepare,
    peer: None,
};

/// A run that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(300);
/// The output's size is looked at this often; it bounds the error of the times.
const LOOK: Duration = Duration::from_millis(2);

struct Amounts {
    lines: u64,
    /// Files of this many lines each are carried before the measured one.
    warm_up_lines: u64,
    warm_up_files: u32,
}

fn amounts(options: &Options) -> Amounts {
    if options.quick {
        Amounts { lines: 500_000, warm_up_lines: 500_000, warm_up_files: 1 }
    } else {
        Amounts { lines: 5_000_000, warm_up_lines: 2_000_000, warm_up_files: 5 }
    }
}

fn about(options: &Options) -> String {
    let Amounts { lines, warm_up_lines, warm_up_files } = amounts(options);
    format!(
        "A file of {lines} generated log lines, 200 bytes on average, batches of 1000, a memory channel of 100,000 \
         events, one output file. *Warm*: the process first carries {warm_up_files} files of {warm_up_lines} lines, \
         each moved into the directory when the one before is through; then, once the disk has all of that, the measured \
         file is moved in. The rate \
         is taken from the first to the last growth of the output, so it leaves out how soon the file is noticed; \
         the time beside it does not. *Cold*: the file is there when the process starts, and time counts from then. \
         After every run the output is compared with the input, byte by byte."
    )
}

struct Inputs {
    _dir: TempDir,
    base: PathBuf,
    measured: PathBuf,
    measured_bytes: u64,
    warm_up: PathBuf,
    warm_up_bytes: u64,
    amounts: Amounts,
}

fn prepare(options: &Options) -> Result<Run> {
    let dir = tempfile::tempdir_in(&options.dir)?;
    let (measured, warm_up) = (dir.path().join("measured"), dir.path().join("warm-up"));
    let amounts = amounts(options);
    let measured_bytes = lines::write(&measured, 1, amounts.lines)?;
    let warm_up_bytes = lines::write(&warm_up, 2, amounts.warm_up_lines)?;
    let base = dir.path().to_owned();
    let inputs =
        Inputs { _dir: dir, base, measured, measured_bytes, warm_up, warm_up_bytes, amounts };
    Ok(Box::new(move |make| {
        let mut values = warm(make, &inputs)?;
        values.extend(cold(make, &inputs)?);
        Ok(values)
    }))
}

/// The folder of one run; it goes away with its gigabytes when the run ends, however it ends.
struct Site {
    dir: TempDir,
    arrived: Vec<PathBuf>,
    expected_bytes: u64,
    /// The file of this size is the measured one.
    settled_bytes: u64,
}

impl Site {
    fn new(inputs: &Inputs) -> Result<Site> {
        let dir = tempfile::tempdir_in(&inputs.base)?;
        fs::create_dir(dir.path().join("logs"))?;
        fs::create_dir(dir.path().join("out"))?;
        let settled_bytes = inputs.measured_bytes;
        Ok(Site { dir, arrived: Vec::new(), expected_bytes: 0, settled_bytes })
    }

    fn out(&self) -> PathBuf {
        self.dir.path().join("out")
    }

    /// Copies a file beside the followed directory, then moves it in as a whole; answers when that was.
    fn drop_in(&mut self, file: &Path, bytes: u64) -> Result<Instant> {
        let copy = self.dir.path().join("arriving");
        if bytes == self.settled_bytes {
            machine::back_memory(self.dir.path(), 4 * bytes)?;
        }
        fs::copy(file, &copy)?;
        if bytes == self.settled_bytes {
            machine::settle(self.dir.path())?;
        }
        let at = Instant::now();
        fs::rename(copy, self.dir.path().join(format!("logs/{:02}.log", self.arrived.len())))?;
        self.arrived.push(file.to_owned());
        self.expected_bytes += bytes;
        Ok(at)
    }

    /// Waits for the output to have all that was dropped in; answers when it began to grow and when it was whole.
    fn wait(&self, agent: &mut Agent) -> Result<(Instant, Instant)> {
        let out = self.out();
        let (began, before) = (Instant::now(), outputs::size_bytes(&out)?);
        let mut first = None;
        loop {
            let size = outputs::size_bytes(&out)?;
            let now = Instant::now();
            if size > before && first.is_none() {
                first = Some(now);
            }
            if size >= self.expected_bytes {
                ensure!(
                    size == self.expected_bytes,
                    "{size} bytes came out, {} went in",
                    self.expected_bytes
                );
                return Ok((first.unwrap_or(began), now));
            }
            agent.still_running()?;
            if began.elapsed() > LIMIT {
                bail!(
                    "{size} of {} bytes after {LIMIT:?}\n{}",
                    self.expected_bytes,
                    agent.log_tail()
                );
            }
            thread::sleep(LOOK);
        }
    }

    fn check(&self) -> Result<()> {
        let found = outputs::files(&self.out())?;
        match outputs::first_difference(&self.arrived, &found)? {
            None => Ok(()),
            Some(offset) => bail!("the output differs from the input at byte {offset}"),
        }
    }
}

fn warm(make: &Make, inputs: &Inputs) -> Result<Vec<f64>> {
    let mut site = Site::new(inputs)?;
    let mut agent = Agent::start(make, site.dir.path(), &config(site.dir.path()))?;
    for _ in 0..inputs.amounts.warm_up_files {
        site.drop_in(&inputs.warm_up, inputs.warm_up_bytes)?;
        site.wait(&mut agent)?;
    }
    let before = agent.usage()?;
    let dropped = site.drop_in(&inputs.measured, inputs.measured_bytes)?;
    let (first, last) = site.wait(&mut agent)?;
    let after = agent.usage()?;
    agent.stop()?;
    site.check()?;
    let events = inputs.amounts.lines as f64;
    Ok(vec![
        events / (last - first).as_secs_f64(),
        (last - dropped).as_secs_f64(),
        (after.cpu - before.cpu).as_secs_f64() / (events / 1e6),
        after.peak_bytes as f64,
    ])
}

fn cold(make: &Make, inputs: &Inputs) -> Result<Vec<f64>> {
    let mut site = Site::new(inputs)?;
    site.drop_in(&inputs.measured, inputs.measured_bytes)?;
    let began = Instant::now();
    let mut agent = Agent::start(make, site.dir.path(), &config(site.dir.path()))?;
    let (_, last) = site.wait(&mut agent)?;
    let usage = agent.usage()?;
    agent.stop().context("after the last byte")?;
    site.check()?;
    Ok(vec![
        (last - began).as_secs_f64(),
        usage.cpu.as_secs_f64() / (inputs.amounts.lines as f64 / 1e6),
        usage.peak_bytes as f64,
    ])
}

fn config(dir: &Path) -> String {
    let sleeps = "a1.sources.r1.backoffSleepIncrement = 20\n\
                  a1.sources.r1.maxBackoffSleep = 20\n";
    tail_to_roll(dir, MEMORY, sleeps)
}
