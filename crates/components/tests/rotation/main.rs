//! The rotation torture test: an hour of rotations in less than a minute, no line lost, none
//! repeated, none torn. `SPLASHDAM_SEED` and `SPLASHDAM_ROTATION_STEPS` choose another run.

mod script;

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use splashdam_components::sources::taildir::Taildir;
use splashdam_core::{
    Batch, BoxFuture, Channel, ChannelError, Level, Put, Refused, Role, Size, Take,
};
use splashdam_testkit::contract::{Running, open_source, run_source_into};
use splashdam_testkit::fakes::{context, outlet};
use tokio::runtime::Handle;

use script::{Reader, Written, play};

/// Steps of a normal run. About one in twenty-five is a rotation: a log that rotates every
/// quarter of a minute does as many in an hour.
const STEPS: u64 = 3_000;

/// A channel that counts how often it got each line, and refuses now and then.
#[derive(Clone, Default)]
struct Tally(Arc<Mutex<Counts>>);

#[derive(Default)]
struct Counts {
    lines: HashMap<(String, u64), u64>,
    torn: Vec<String>,
    puts: u64,
}

impl Tally {
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn distinct(&self) -> u64 {
        self.lock().lines.len() as u64
    }
}

impl Counts {
    fn add(&mut self, body: &[u8]) {
        let text = String::from_utf8_lossy(body);
        let mut parts = text.splitn(3, ' ');
        let number = |text: Option<&str>| text.and_then(|n| n.parse().ok());
        match (parts.next(), number(parts.next()), parts.next()) {
            (Some(log), Some(n), Some(padding)) if padding.bytes().all(|b| b == b'x') => {
                *self.lines.entry((log.to_owned(), n)).or_default() += 1;
            }
            _ => self.torn.push(text.into_owned()),
        }
    }
}

impl Channel for Tally {
    fn begin_put(&self, _size: Size) -> BoxFuture<'_, Result<Box<dyn Put>, ChannelError>> {
        let mut counts = self.lock();
        counts.puts += 1;
        let full = ChannelError::Full { channel: "c1".into(), events: 0, waited: Duration::ZERO };
        let begun = if counts.puts.is_multiple_of(97) {
            Err(full)
        } else {
            Ok(Box::new(self.clone()) as _)
        };
        Box::pin(std::future::ready(begun))
    }
    fn begin_take(&self, _limit: Size) -> BoxFuture<'_, Result<Box<dyn Take>, ChannelError>> {
        let closed = ChannelError::Closed { channel: "c1".into() };
        Box::pin(std::future::ready(Err(closed)))
    }
    fn level(&self) -> Level {
        Level::default()
    }
    fn close(&self) -> BoxFuture<'_, Result<(), ChannelError>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

impl Put for Tally {
    fn commit(self: Box<Self>, batch: Batch) -> BoxFuture<'static, Result<(), Refused>> {
        let mut counts = self.lock();
        batch.events().iter().for_each(|event| counts.add(&event.body));
        drop(counts);
        Box::pin(std::future::ready(Ok(())))
    }
}

/// The source at work.
struct Agent {
    keys: String,
    tally: Tally,
    runtime: Handle,
    running: Option<Running>,
}

impl Agent {
    fn new(dir: &Path, tally: Tally, runtime: Handle) -> Self {
        let keys = format!(
            "filegroups = in out\nfilegroups.in = {0}/logs/[acdf]\\\\w*\\\\.log(\\\\.\\\\d+)?\n\
             filegroups.out = {0}/logs/[be]\\\\.log\npositionFile = {0}/p.json\n\
             maxBackoffSleep = 500\nwritePosInterval = 50\n",
            dir.display()
        );
        let mut agent = Agent { keys, tally, runtime, running: None };
        agent.start();
        agent
    }

    fn start(&mut self) {
        let source =
            self.runtime.block_on(open_source::<Taildir>(&self.keys, context(Role::Source)));
        let _inside = self.runtime.enter();
        self.running = Some(run_source_into(source, outlet(self.tally.clone())));
    }

    fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            self.runtime.block_on(running.stop()).expect("a clean end");
        }
    }
}

impl Reader for Agent {
    fn restart(&mut self, meanwhile: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()> {
        self.stop();
        meanwhile()?;
        self.start();
        Ok(())
    }

    fn settle(&mut self, lines: u64) -> io::Result<()> {
        let until = Instant::now() + Duration::from_secs(10);
        while self.tally.distinct() < lines {
            if Instant::now() > until {
                let counts = self.tally.lock();
                let mut most: HashMap<&str, (u64, u64)> = HashMap::new();
                for (log, n) in counts.lines.keys() {
                    let seen = most.entry(log).or_default();
                    *seen = (seen.0 + 1, seen.1.max(*n + 1));
                }
                let lines = format!("{lines} lines should have come: {most:?}");
                return Err(io::Error::other(lines));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn report(seed: u64, written: &Written, counts: &Counts) -> (u64, u64) {
    let lost = |(log, lines): &(String, u64)| {
        (0..*lines).filter(|n| !counts.lines.contains_key(&(log.clone(), *n))).count() as u64
    };
    let lost_of: Vec<_> = written.lines.iter().map(|of| (of.0.as_str(), lost(of))).collect();
    let lost: u64 = lost_of.iter().map(|(_, n)| n).sum();
    let repeated: u64 = counts.lines.values().map(|n| n - 1).sum();
    println!("seed {seed}: {written:?}");
    println!(
        "{} lines written, {lost} lost, {repeated} repeated, {} torn",
        written.total(),
        counts.torn.len()
    );
    if lost + repeated > 0 {
        let twice = counts.lines.iter().filter(|(_, n)| **n > 1).map(|(line, _)| line);
        let mut twice: Vec<_> = twice.collect();
        twice.sort();
        println!(
            "lost: {lost_of:?}; repeated, the first: {:?}; torn: {:?}",
            &twice[..twice.len().min(9)],
            counts.torn
        );
    }
    (lost, repeated)
}

#[test]
fn no_rotation_loses_or_repeats_a_line() {
    let seed = setting("SPLASHDAM_SEED", 20_260_101);
    let steps = setting("SPLASHDAM_ROTATION_STEPS", STEPS);
    let dir = tempfile::tempdir().expect("a directory");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let tally = Tally::default();
    let mut agent = Agent::new(dir.path(), tally.clone(), runtime.handle().clone());
    let began = Instant::now();
    let written = play(dir.path(), seed, steps, &mut agent)
        .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    // Longer than a copy is waited for: nothing may come late.
    std::thread::sleep(Duration::from_millis(1500));
    agent.stop();
    println!("took {:?}", began.elapsed());
    let counts = tally.lock();
    let (lost, repeated) = report(seed, &written, &counts);
    assert_eq!((lost, repeated, counts.torn.len()), (0, 0, 0), "lost, repeated, torn; seed {seed}");
    assert!(written.total() > steps, "the script wrote too little to mean anything");
}
