//! Many seeds on all processors, until enough crash points were tried.

use std::fmt;
use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::everywhere::{Tally, crash_everywhere, fail_everywhere, flip_bits};
use crate::plan::Plan;
use crate::planted;
use crate::scenario::{KINDS, kind, plan};

/// How much to do.
#[derive(Clone, Copy, Debug)]
pub struct Campaign {
    /// The first seed.
    pub first: u64,
    /// Crash points after which no further seed is begun.
    pub points: u64,
    /// No further seed is begun after this time.
    pub most: Duration,
}

/// What was done.
#[derive(Clone, Debug)]
pub struct Report {
    /// By the kind of run: seeds and what was tried.
    pub kinds: Vec<(u64, Tally)>,
    /// The first promise that was broken, if one was.
    pub broken: Option<String>,
    /// Bugs that were planted and found, of how many.
    pub planted: (usize, usize),
    first: u64,
    took: Duration,
    cpu_seconds: f64,
}

impl Report {
    /// Of all kinds together.
    pub fn sum(&self) -> (u64, Tally) {
        self.kinds.iter().fold((0, Tally::default()), |(seeds, mut sum), (more, tally)| {
            sum += *tally;
            (seeds + more, sum)
        })
    }

    /// Whether every promise was kept and every planted bug found.
    pub fn good(&self) -> bool {
        self.broken.is_none() && self.planted.0 == self.planted.1
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:38} {:>7} {:>10} {:>10} {:>8} {:>7}",
            "scenario", "seeds", "crash", "in", "fault", "bit"
        )?;
        writeln!(
            f,
            "{:38} {:>7} {:>10} {:>10} {:>8} {:>7}",
            "", "", "points", "recovery", "points", "flips"
        )?;
        let line = |f: &mut fmt::Formatter<'_>, name: &str, (seeds, tally): (u64, Tally)| {
            let Tally { points, nested, faults, flips, .. } = tally;
            writeln!(f, "{name:38} {seeds:>7} {points:>10} {nested:>10} {faults:>8} {flips:>7}")
        };
        for (name, kind) in KINDS.iter().zip(&self.kinds) {
            line(f, name, *kind)?;
        }
        let (seeds, sum) = self.sum();
        line(f, "all", (seeds, sum))?;
        let last = (self.first + seeds).saturating_sub(1);
        writeln!(
            f,
            "seeds {} to {last}, {} puts and {} takes acknowledged, {} refused, {} flips cost a frame that was named",
            self.first, sum.stored, sum.taken, sum.refused, sum.named
        )?;
        writeln!(f, "planted bugs caught: {} of {}", self.planted.0, self.planted.1)?;
        match &self.broken {
            None => writeln!(
                f,
                "0 lost, 0 invented, 0 out of order, in {:.1?} ({:.0} s of processor time)",
                self.took, self.cpu_seconds
            ),
            Some(why) => writeln!(f, "broken: {why}"),
        }
    }
}

/// One seed with all that is tried on it.
pub fn seed(seed: u64) -> Result<Tally, String> {
    let plan = plan(seed);
    let broken = |why: String| format!("{why}\n{plan:?}");
    let mut tally = crash_everywhere(&plan).map_err(broken)?;
    tally += fail_everywhere(&plan, 5).map_err(broken)?;
    // Damage comes to a log whose disks were good until then.
    let good = Plan { faults: Vec::new(), no_space: Vec::new(), ..plan.clone() };
    tally += flip_bits(&good, 12).map_err(broken)?;
    Ok(tally)
}

impl Campaign {
    /// Does it, with one thread for each processor, and tells on stderr how far it is.
    pub fn run(self) -> Report {
        let start = Instant::now();
        let report = Mutex::new(Report {
            kinds: vec![Default::default(); KINDS.len()],
            broken: None,
            planted: (0, planted::BUGS.len()),
            first: self.first,
            took: Duration::ZERO,
            cpu_seconds: 0.0,
        });
        let (next, points) = (AtomicU64::new(self.first), AtomicU64::new(0));
        let (next_bug, over) = (AtomicU64::new(0), AtomicBool::new(false));
        let locked = || report.lock().unwrap_or_else(PoisonError::into_inner);
        let work = || {
            while let Some(bug) = usize::try_from(next_bug.fetch_add(1, Ordering::Relaxed))
                .ok()
                .and_then(|index| planted::BUGS.get(index))
            {
                match planted::find(*bug) {
                    Some(_) => locked().planted.0 += 1,
                    None => eprintln!("sim: the planted bug {bug:?} was not found"),
                }
            }
            while !over.load(Ordering::Relaxed)
                && points.load(Ordering::Relaxed) < self.points
                && start.elapsed() < self.most
            {
                let number = next.fetch_add(1, Ordering::Relaxed);
                match seed(number) {
                    Ok(tally) => {
                        points.fetch_add(tally.points, Ordering::Relaxed);
                        let one = &mut locked().kinds[kind(number)];
                        one.0 += 1;
                        one.1 += tally;
                    }
                    Err(why) => {
                        over.store(true, Ordering::Relaxed);
                        locked().broken.get_or_insert(why);
                    }
                }
            }
        };
        let threads = thread::available_parallelism().map_or(2, usize::from);
        thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            let mut told = Instant::now();
            while !workers.iter().all(thread::ScopedJoinHandle::is_finished) {
                thread::sleep(Duration::from_millis(50));
                let often = if std::io::stderr().is_terminal() { 1 } else { 20 };
                if told.elapsed() >= Duration::from_secs(often) {
                    told = Instant::now();
                    self.progress(points.load(Ordering::Relaxed), start.elapsed());
                }
            }
        });
        let mut report = report.into_inner().unwrap_or_else(PoisonError::into_inner);
        report.took = start.elapsed();
        report.cpu_seconds = cpu_seconds();
        report
    }

    fn progress(self, points: u64, took: Duration) {
        let rate = points as f64 / took.as_secs_f64();
        let percent = 100.0 * points as f64 / self.points.max(1) as f64;
        let line = format!(
            "sim: {points} of {} crash points ({percent:.0} %), {rate:.0}/s, {:.0} s",
            self.points,
            took.as_secs_f64()
        );
        let mut stderr = std::io::stderr();
        // That nobody reads it is no reason to stop.
        let _unread = match stderr.is_terminal() {
            true => write!(stderr, "\r{line}  ").and_then(|()| stderr.flush()),
            false => writeln!(stderr, "{line}"),
        };
    }
}

/// User and system time of this process, 0 where it is not told: a busy machine makes the time on
/// the wall say little.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<_> = text.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok());
    (ticks(11).unwrap_or(0.0) + ticks(12).unwrap_or(0.0)) / 100.0
}
