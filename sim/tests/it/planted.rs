//! Bugs planted on purpose: the simulation is worth something only if it finds each of them.

use splashdam_sim::run::{Plan, Run};
use splashdam_wal::Sabotage;

/// Looks for the bug with crashes, and with calls that fail before them.
fn found(sabotage: Sabotage) -> Option<(u64, String)> {
    let mut runs = 0;
    for seed in 0..200 {
        let plan = Plan { sabotage: Some(sabotage), steps: 120, disks: 1, ..Plan::new(seed) };
        for at in (1 + seed % 5..160).step_by(5) {
            for faults in [vec![], vec![at - 1], vec![at.saturating_sub(3)]] {
                runs += 1;
                let plan = Plan { crash_at: Some(at), faults, ..plan.clone() };
                if let Err(why) = Run::new(plan).all() {
                    return Some((runs, why));
                }
            }
        }
    }
    None
}

#[test]
fn each_planted_bug_is_found() {
    let mut missed = Vec::new();
    for bug in [
        Sabotage::AnswerBeforeSync,
        Sabotage::NoDirectorySync,
        Sabotage::CursorAfterRemoval,
        Sabotage::WatermarkAhead,
        Sabotage::SyncAgain,
        Sabotage::CursorBeforeData,
        Sabotage::DeadFramesCount,
        Sabotage::TailNotCopied,
        Sabotage::HeaderFirst,
    ] {
        match found(bug) {
            Some((runs, why)) => println!("{bug:?} found in run {runs}: {why}"),
            None => missed.push(bug),
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}
