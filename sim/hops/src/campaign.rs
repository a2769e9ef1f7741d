//! Many runs on all processors.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::flow::{self, KINDS};
use crate::network::Counts;
use crate::planted;
use crate::run::{Plan, run};
use crate::verdict::Verdict;
use splashdam_sim::dice::Dice;

/// How much to do.
#[derive(Clone, Copy, Debug)]
pub struct Campaign {
    /// The first seed.
    pub first: u64,
    /// How many runs. Where they are few, one seed is looked at, and no planted bug is looked for.
    pub runs: u64,
}

/// From so many runs on planted bugs are looked for.
const MANY: u64 = 100;

/// Characters of what showed a bug.
const MOST_SHOWN: usize = 90;

/// What was done.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// By the kind of flow: runs, and what they came to.
    pub kinds: [(u64, Verdict, Counts); KINDS],
    /// The first promise that was broken, if one was, with the plan.
    pub broken: Option<String>,
    /// Bugs that were planted, after how many runs each was found, and what showed it.
    pub planted: Vec<(String, Option<(u64, String)>)>,
    took: Duration,
}

impl Report {
    /// Whether every promise was kept and every planted bug found.
    pub fn good(&self) -> bool {
        self.broken.is_none() && self.planted.iter().all(|(_, found)| found.is_some())
    }

    fn add(&mut self, kind: usize, verdict: Verdict, counts: Counts) {
        let (runs, sum, all) = &mut self.kinds[kind];
        *runs += 1;
        sum.put += verdict.put;
        sum.acknowledged += verdict.acknowledged;
        sum.twice += verdict.twice;
        sum.deaths += verdict.deaths;
        all.connections += counts.connections;
        all.refused += counts.refused;
        all.cut += counts.cut;
        all.late += counts.late;
        all.repeated += counts.repeated;
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = [
            "runs", "put", "acked", "twice", "deaths", "connects", "refused", "cut", "late",
            "repeated",
        ];
        write!(f, "{:24}", "flow")?;
        head.iter().try_for_each(|name| write!(f, " {name:>9}"))?;
        writeln!(f)?;
        for (kind, (runs, sum, counts)) in self.kinds.iter().enumerate() {
            let Verdict { put, acknowledged, twice, deaths, .. } = *sum;
            let Counts { connections, refused, cut, late, repeated } = *counts;
            write!(f, "{:24}", flow::flow(kind, &mut Dice::new(0)).name)?;
            let numbers = [
                *runs,
                put,
                acknowledged,
                twice,
                deaths,
                connections,
                refused,
                cut,
                late,
                repeated,
            ];
            numbers.iter().try_for_each(|number| write!(f, " {number:>9}"))?;
            writeln!(f)?;
        }
        for (bug, found) in &self.planted {
            match found {
                Some((runs, why)) => {
                    let why: String = why.chars().take(MOST_SHOWN).collect();
                    writeln!(f, "the planted bug {bug} was found in run {runs}: {why}")?;
                }
                None => writeln!(f, "the planted bug {bug} was not found")?,
            }
        }
        match &self.broken {
            None => writeln!(
                f,
                "0 lost, 0 double where once was promised, every ledger balanced, in {:.1?}",
                self.took
            ),
            Some(why) => writeln!(f, "broken: {why}"),
        }
    }
}

impl Campaign {
    /// Does it, with one thread for each processor, and tells on stderr how far it is.
    pub fn run(self) -> Report {
        let start = Instant::now();
        let report = Mutex::new(Report::default());
        let locked = || report.lock().unwrap_or_else(PoisonError::into_inner);
        let (next, next_bug, over) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
        let work = || {
            while self.runs >= MANY
                && let Ok(index) = usize::try_from(next_bug.fetch_add(1, Relaxed))
                && let Some(bug) = planted::BUGS.get(index)
            {
                let found = planted::find(*bug);
                locked().planted.push((format!("{bug:?}"), found));
            }
            while !over.load(Relaxed) {
                let number = next.fetch_add(1, Relaxed);
                if number >= self.runs {
                    break;
                }
                let plan = Plan::new(self.first + number);
                match run(plan) {
                    Ok((verdict, counts)) => locked().add(plan.kind, verdict, counts),
                    Err(why) => {
                        over.store(true, Relaxed);
                        locked().broken.get_or_insert(format!("{why}\n{plan:?}"));
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
                if told.elapsed() >= Duration::from_secs(20) {
                    told = Instant::now();
                    let done = next.load(Relaxed).min(self.runs);
                    let seconds = start.elapsed().as_secs();
                    eprintln!("hops: {done} of {} runs, {seconds} s", self.runs);
                }
            }
        });
        let mut report = report.into_inner().unwrap_or_else(PoisonError::into_inner);
        report.planted.sort();
        report.took = start.elapsed();
        report
    }
}
