//! Bugs planted on purpose: the simulation is worth something only if it finds each of them.

use splashdam_wal::Sabotage;

use crate::everywhere::flip_bits;
use crate::run::{Plan, Run};

/// The bugs that show without threads; the explorer looks for the others.
pub const BUGS: [Sabotage; 15] = [
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
    Sabotage::WrittenIsSynced,
    Sabotage::NoSyncBeforeRoll,
];

/// Looks for a bug with crashes, with calls that fail before them, and with flipped bits. Says
/// after how many runs it was found and what showed it.
pub fn find(bug: Sabotage) -> Option<(u64, String)> {
    let mut runs = 0;
    for seed in 0..400 {
        let bounded = seed % 3 == 2;
        let unsynced = matches!(bug, Sabotage::WrittenIsSynced | Sabotage::NoSyncBeforeRoll);
        let plan = Plan { sabotage: Some(bug), steps: 120, bounded, unsynced, ..Plan::new(seed) };
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
