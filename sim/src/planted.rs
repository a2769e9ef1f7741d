//! Bugs planted on purpose: the simulation is worth something only if it finds each of them.

use splashdam_wal::Sabotage;

use crate::everywhere::flip_bits;
use crate::run::{Plan, Run};

/// The bugs that show without threads; the explorer looks for the others.
pub const BUGS: [Sabotage; 20] = [
    Sabotage::AnswerBeforeSync,
    Sabotage::FanOutHalf,
    Sabotage::OriginBeforeData,
    Sabotage::RollbackForgets,
    Sabotage::NoDirectorySync,
    Sabotage::ChecksumSkipped,
    Sabotage::RemovedTooEarly,
    Sabotage::WatermarkAhead,
    Sabotage::SyncAgain,
    Sabotage::CursorBeforeData,
    Sabotage::TailNotCopied,
    Sabotage::HeaderFirst,
    Sabotage::HoldUpSkipped,
    Sabotage::LaneIgnored,
    Sabotage::LaneSpread,
    Sabotage::WrittenIsSynced,
    Sabotage::NoSyncBeforeRoll,
    Sabotage::VoidUntold,
    Sabotage::TailBeforeItsCopy,
    Sabotage::ExchangeInTwo,
];

/// Looks for a bug with crashes, with calls that fail before them, and with flipped bits. Says
/// after how many runs it was found and what showed it.
pub fn find(bug: Sabotage) -> Option<(u64, String)> {
    match bug {
        Sabotage::VoidUntold => return find_among_siblings(bug, 6),
        Sabotage::TailBeforeItsCopy | Sabotage::LaneSpread => {
            return find_among_siblings(bug, 1);
        }
        _ => {}
    }
    let mut runs = 0;
    for seed in 0..400 {
        let bounded = seed % 3 == 2;
        let unsynced = matches!(bug, Sabotage::WrittenIsSynced | Sabotage::NoSyncBeforeRoll);
        let exchanges = bug == Sabotage::ExchangeInTwo;
        let plan = Plan { sabotage: Some(bug), bounded, unsynced, exchanges, ..Plan::new(seed) };
        let plan = Plan { steps: 120, ..plan };
        runs += 10;
        if let Err(why) = flip_bits(&plan, 10) {
            return Some((runs, why));
        }
        for at in (1 + seed % 7..160).step_by(7) {
            let later = at + 1 + (seed * 7 + at) % 40;
            for (faults, crash) in [(vec![], at), (vec![at], later)] {
                runs += 1;
                let plan = Plan { crash_at: Some(crash), faults, ..plan.clone() };
                if let Err(why) = Run::new(plan).all() {
                    return Some((runs, why));
                }
            }
        }
    }
    None
}

/// Looks for a bug that takes two directories to show, with some calls that fail one after another,
/// a kill, and starts that are cut short.
fn find_among_siblings(bug: Sabotage, calls: u64) -> Option<(u64, String)> {
    let mut runs = 0;
    for seed in 0..400 {
        let senders = [1, 3];
        let plan = Plan { sabotage: Some(bug), disks: 2, senders, queues: 1, ..Plan::new(seed) };
        for at in (20 + seed % 5..160).step_by(5) {
            let faults: Vec<_> = (at..at + calls).collect();
            for later in [0, 1 + seed % 40] {
                let crash_at = Some(at + calls + later);
                let plan = Plan { faults: faults.clone(), crash_at, ..plan.clone() };
                runs += 1;
                let run = match Run::until_the_end(plan) {
                    Ok(run) => run,
                    Err(why) => return Some((runs, why)),
                };
                if let Err(why) = run.fate(None).and_then(|_| run.fate_of_start(15 + at % 8)) {
                    return Some((runs, why));
                }
            }
        }
    }
    None
}
