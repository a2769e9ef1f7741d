//! Bugs planted on purpose: the simulation is worth something only if it finds each of them.

use splashdam_sim::run::{Plan, Run};
use splashdam_wal::Sabotage;

/// Looks for the bug with crashes, and with calls that fail before them.
fn check(sabotage: Sabotage) {
    let mut runs = 0;
    for seed in 0..400 {
        let unsynced = matches!(sabotage, Sabotage::WrittenIsSynced | Sabotage::NoSyncBeforeRoll);
        let plan = Plan { sabotage: Some(sabotage), steps: 120, unsynced, ..Plan::new(seed) };
        for at in (1 + seed % 7..160).step_by(7) {
            let later = at + 1 + (seed * 7 + at) % 40;
            for (faults, crash) in [(vec![], at), (vec![at], later)] {
                runs += 1;
                let plan = Plan { crash_at: Some(crash), faults, ..plan.clone() };
                if let Err(why) = Run::new(plan).all() {
                    println!("{sabotage:?} found in run {runs}: {why:.200}");
                    return;
                }
            }
        }
    }
    panic!("{sabotage:?} not found in {runs} runs");
}

macro_rules! each_is_found {
    ($($name:ident: $bug:ident,)*) => {
        $(#[test] fn $name() { check(Sabotage::$bug); })*
    };
}

each_is_found! {
    an_answer_before_the_sync_is_found: AnswerBeforeSync,
    names_that_are_not_synced_are_found: NoDirectorySync,
    a_removal_that_is_too_early_is_found: RemovedTooEarly,
    a_watermark_ahead_of_the_data_is_found: WatermarkAhead,
    a_second_sync_is_found: SyncAgain,
    a_cursor_that_is_too_old_is_found: CursorBeforeData,
    a_tail_that_is_not_written_again_is_found: TailNotCopied,
    a_header_before_its_frames_is_found: HeaderFirst,
    what_is_only_written_and_called_synced_is_found: WrittenIsSynced,
    a_segment_that_ends_without_a_sync_is_found: NoSyncBeforeRoll,
}
