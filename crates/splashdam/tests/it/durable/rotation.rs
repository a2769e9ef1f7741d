//! The rotation torture script of the taildir source, played to a process with a file channel that is killed
//! again and again: nothing is lost or torn, and a kill repeats one batch of the sink at most.

#[path = "../../../../components/tests/rotation/script.rs"]
mod script;

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use script::{Reader, Written, play};

use super::{Process, Site, setting};

/// Events in one take.
const TAKE: u64 = 100;

const CONFIG: &str = "
a1.sources = r1
a1.channels = c1
a1.sinks = k1
a1.sources.r1.type = TAILDIR
a1.sources.r1.channels = c1
a1.sources.r1.filegroups = in out
a1.sources.r1.filegroups.in = $/logs/[acdf]\\\\w*\\\\.log(\\\\.\\\\d+)?
a1.sources.r1.filegroups.out = $/logs/[be]\\\\.log
a1.sources.r1.positionFile = $/positions.json
a1.sources.r1.writePosInterval = 50
a1.sources.r1.maxBackoffSleep = 500
a1.channels.c1.type = file
a1.channels.c1.dataDirs = $/data
a1.channels.c1.checkpointDir = $/checkpoint
a1.channels.c1.maxFileSize = 1048576
a1.channels.c1.minimumRequiredSpace = 1048576
a1.sinks.k1.type = file_roll
a1.sinks.k1.channel = c1
a1.sinks.k1.sink.directory = $/out
a1.sinks.k1.sink.rollInterval = 0
a1.sinks.k1.sink.batchSize = 100
";

/// The process that reads, and what came of it so far.
struct Agent<'a> {
    site: &'a Site,
    process: Option<Process>,
    kills: u64,
    /// How often each line came out, by log and number.
    lines: HashMap<(String, u64), u64>,
    torn: Vec<String>,
    /// How far each file was read: always behind a line end.
    read: HashMap<PathBuf, u64>,
}

impl Agent<'_> {
    fn look(&mut self) -> io::Result<()> {
        for entry in self.site.path("out").read_dir()? {
            let path = entry?.path();
            if path.is_file() {
                self.look_at(path)?;
            }
        }
        Ok(())
    }

    fn look_at(&mut self, path: PathBuf) -> io::Result<()> {
        let mut file = File::open(&path)?;
        let from = self.read.entry(path).or_default();
        file.seek(SeekFrom::Start(*from))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        // A kill may cut the last write short; what it cut is written again.
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        *from += whole as u64;
        for line in String::from_utf8_lossy(&bytes[..whole]).lines() {
            match numbered(line) {
                Some(line) => *self.lines.entry(line).or_default() += 1,
                None => self.torn.push(line.to_owned()),
            }
        }
        Ok(())
    }

    fn lost(&self, written: &Written) -> Vec<(String, u64)> {
        let each = written.lines.iter();
        let each = each.flat_map(|(log, lines)| (0..*lines).map(move |n| (log.clone(), n)));
        each.filter(|line| !self.lines.contains_key(line)).collect()
    }
}

/// Log and number of an untorn line.
fn numbered(line: &str) -> Option<(String, u64)> {
    let mut parts = line.splitn(3, ' ');
    let (log, number, padding) = (parts.next()?, parts.next()?, parts.next()?);
    padding.bytes().all(|byte| byte == b'x').then_some((log.to_owned(), number.parse().ok()?))
}

impl Reader for Agent<'_> {
    fn restart(&mut self, meanwhile: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()> {
        if let Some(process) = self.process.take() {
            process.kill();
        }
        self.kills += 1;
        meanwhile()?;
        self.process = Some(self.site.start());
        Ok(())
    }

    fn is_killed(&self) -> bool {
        true
    }

    fn settle(&mut self, lines: u64) -> io::Result<()> {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            self.look()?;
            let found = self.lines.len() as u64;
            if found >= lines {
                return Ok(());
            }
            if Instant::now() > until {
                let log = self.process.as_ref().map(Process::log).unwrap_or_default();
                let why =
                    format!("{found} of {lines} lines came, after {} kills\n{log}", self.kills);
                return Err(io::Error::other(why));
            }
            sleep(Duration::from_millis(3));
        }
    }
}

fn torture(dir: &Path, agent: &mut Agent<'_>) -> Written {
    let seed = setting("SPLASHDAM_SEED", 20_260_101);
    let steps = setting("SPLASHDAM_ROTATION_STEPS", 1_000);
    let written = play(dir, seed, steps, agent).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
    assert!(written.total() > steps, "the script wrote too little to mean anything");
    written
}

#[test]
fn kills_among_rotations_lose_and_tear_nothing_and_repeat_a_batch_at_most() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let config = CONFIG.replace('$', dir.path().to_str().expect("a path in UTF-8"));
    let site = Site { dir, config };
    site.drain();
    let mut agent = Agent {
        site: &site,
        process: Some(site.start()),
        kills: 0,
        lines: HashMap::new(),
        torn: Vec::new(),
        read: HashMap::new(),
    };
    let written = torture(site.dir.path(), &mut agent);
    // Longer than a copy is waited for: nothing may come late.
    sleep(Duration::from_millis(1500));
    agent.process.take().expect("it runs").drain_and_stop();
    agent.look().expect("the output can be read");
    let lost = agent.lost(&written);
    let repeated: u64 = agent.lines.values().map(|times| times - 1).sum();
    let (kills, torn) = (agent.kills, agent.torn.len());
    println!(
        "{kills} kills, {} lines written, {} lost, {repeated} repeated, {torn} torn; {written:?}",
        written.total(),
        lost.len()
    );
    assert!(lost.is_empty(), "{} lines are lost: {:?} …", lost.len(), &lost[..lost.len().min(9)]);
    assert_eq!(agent.torn, Vec::<String>::new());
    assert!(repeated <= kills * TAKE, "{repeated} lines came again after {kills} kills");
    assert!(kills > 5, "{kills} kills are too few to show anything");
}
