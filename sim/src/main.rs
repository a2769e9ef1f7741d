//! `splashdam-sim [FIRST-SEED [SEEDS]]`: crashes at every act of every seed's run, with and without
//! calls that fail before, on one to three disks, full ones too. Prints what it did; ends with an
//! error and the plan at the first promise that was broken.

use std::process::ExitCode;
use std::time::Instant;

use splashdam_sim::run::{Plan, crash_everywhere};

/// The run of a seed: its kind follows from its number.
fn plan(seed: u64) -> Plan {
    let mut plan = Plan {
        disks: [1, 1, 2, 1, 3][usize::try_from(seed % 5).unwrap_or(0)],
        queues: 1 + usize::try_from(seed % 3).unwrap_or(0),
        steps: 40 + usize::try_from(seed % 7).unwrap_or(0) * 20,
        keys: if seed % 6 == 5 { vec!["one"] } else { Vec::new() },
        unsynced: seed % 9 == 4,
        ..Plan::new(seed)
    };
    match seed % 4 {
        1 => plan.faults = vec![15 + seed % 41],
        2 => plan.faults = vec![10 + seed % 53, 12 + seed % 53, 60 + seed % 31],
        3 if plan.disks == 1 => plan.capacity = 150_000,
        _ => {}
    }
    plan
}

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1).map(|arg| arg.parse::<u64>());
    let (first, count) = match (args.next(), args.next()) {
        (None, _) => (0, 200),
        (Some(Ok(first)), None) => (first, 200),
        (Some(Ok(first)), Some(Ok(count))) => (first, count),
        _ => {
            eprintln!("give the first seed and how many, as numbers");
            return ExitCode::FAILURE;
        }
    };
    let start = Instant::now();
    let mut crashes = 0;
    for seed in first..first.saturating_add(count) {
        match crash_everywhere(&plan(seed), 1, 1) {
            Ok(more) => crashes += more,
            Err(why) => {
                eprintln!("broken: {why}\n{:?}", plan(seed));
                return ExitCode::FAILURE;
            }
        }
    }
    println!("{count} seeds, {crashes} crashes in {:.1?}: every promise was kept", start.elapsed());
    ExitCode::SUCCESS
}
