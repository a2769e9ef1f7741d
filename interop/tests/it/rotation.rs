//! The rotation torture script of the taildir source, played to Flume and to us. Flume's losses and repeats are only
//! printed (`--nocapture` shows them); ours must be none.
//!
//! Part of what Flume loses it loses at the clean restarts: it does not drain its memory channel.

#[path = "../../../crates/components/tests/rotation/script.rs"]
mod script;

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use splashdam_interop::{Make, TailRig, outputs};

use crate::side_by_side::pair;
use script::{Reader, Written, play};

/// As many as leave Flume's restarts, of some seconds each, bearable.
const STEPS: u64 = 450;
const SEED: u64 = 20_260_101;

/// How often each line came out, by log and number.
#[derive(Default)]
struct Tally {
    lines: HashMap<(String, u64), u64>,
    torn: u64,
    /// How far each file was read: always behind a line end.
    read: HashMap<PathBuf, u64>,
}

impl Tally {
    /// Reads on, and says how many different lines there are.
    fn look(&mut self, out: &Path) -> Result<u64> {
        for path in outputs::files(out)? {
            let from = self.read.entry(path.clone()).or_default();
            let mut file = File::open(&path)?;
            file.seek(SeekFrom::Start(*from))?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            *from += whole as u64;
            for line in bytes[..whole].split_inclusive(|byte| *byte == b'\n') {
                match numbered(line) {
                    Some(line) => *self.lines.entry(line).or_default() += 1,
                    None => self.torn += 1,
                }
            }
        }
        Ok(self.lines.len() as u64)
    }

    fn report(&self, written: &Written) -> Outcome {
        let lost = |(log, lines): &(String, u64)| {
            (0..*lines).filter(|n| !self.lines.contains_key(&(log.clone(), *n))).count() as u64
        };
        Outcome {
            lost: written.lines.iter().map(lost).sum(),
            repeated: self.lines.values().map(|times| times - 1).sum(),
            torn: self.torn,
        }
    }
}

#[derive(Debug, PartialEq)]
struct Outcome {
    lost: u64,
    repeated: u64,
    torn: u64,
}

/// Log and number of an untorn line.
fn numbered(line: &[u8]) -> Option<(String, u64)> {
    let text = std::str::from_utf8(line).ok()?.strip_suffix('\n')?;
    let mut parts = text.splitn(3, ' ');
    let (log, number, padding) = (parts.next()?, parts.next()?, parts.next()?);
    padding.bytes().all(|byte| byte == b'x').then_some((log.to_owned(), number.parse().ok()?))
}

/// The agent that reads, and what came of it so far.
struct Player {
    rig: TailRig,
    tally: Tally,
    /// Without anything new for so long, what is missing is given up; the script goes on.
    patience: Duration,
    given_up: u64,
}

impl Reader for Player {
    fn restart(&mut self, meanwhile: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()> {
        self.rig.stop().map_err(io::Error::other)?;
        meanwhile()?;
        self.rig.restart().map_err(io::Error::other)
    }

    fn settle(&mut self, lines: u64) -> io::Result<()> {
        let (mut most, mut since) = (0, Instant::now());
        loop {
            let found = self.tally.look(&self.rig.out()).map_err(io::Error::other)?;
            if found + self.given_up >= lines {
                return Ok(());
            }
            if found > most {
                (most, since) = (found, Instant::now());
            } else if since.elapsed() > self.patience {
                self.given_up = lines - found;
                return Ok(());
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

fn run(make: &Make, patience: Duration) -> Result<(Written, Outcome)> {
    let dir = tempfile::tempdir()?;
    let groups = format!(
        "a1.sources.r1.filegroups = in out\n\
         a1.sources.r1.filegroups.in = {0}/logs/[acdf]\\\\w*\\\\.log(\\\\.\\\\d+)?\n\
         a1.sources.r1.filegroups.out = {0}/logs/[be]\\\\.log",
        dir.path().display()
    );
    let rig = TailRig::start(make, dir.path(), &groups)?;
    let mut player = Player { rig, tally: Tally::default(), patience, given_up: 0 };
    let written = play(dir.path(), SEED, STEPS, &mut player)?;
    // What comes late would be a repeat; a copy that may still be one is waited for a second.
    thread::sleep(Duration::from_millis(1500));
    player.rig.stop()?;
    player.tally.look(&player.rig.out())?;
    let outcome = player.tally.report(&written);
    Ok((written, outcome))
}

#[test]
fn rotations_lose_and_repeat_nothing() {
    let Some((makes, _turn)) = pair() else { return };
    for make in &makes {
        // Flume is not waited for long: what it skipped it never reads.
        let flume = matches!(make, Make::Flume(_));
        let patience = Duration::from_secs(if flume { 1 } else { 10 });
        let began = Instant::now();
        let (written, outcome) =
            run(make, patience).unwrap_or_else(|error| panic!("{}: {error:?}", make.name()));
        println!(
            "{}: {outcome:?} of {} lines, in {:?}",
            make.name(),
            written.total(),
            began.elapsed()
        );
        println!("{written:?}");
        assert!(written.total() > STEPS, "the script wrote too little to mean anything");
        assert!(flume || outcome == Outcome { lost: 0, repeated: 0, torn: 0 }, "{outcome:?}");
    }
}
