//! Bugs planted on purpose: the simulation is worth something only if it finds each of them.

use splashdam_sim::planted::{BUGS, find};
use splashdam_wal::Sabotage;

fn check(bug: Sabotage) {
    assert!(BUGS.contains(&bug), "`cargo xtask sim` does not look for {bug:?}");
    let (runs, why) = find(bug).unwrap_or_else(|| panic!("{bug:?} was not found"));
    println!("{bug:?} found in run {runs}: {why:.200}");
}

macro_rules! each_is_found {
    ($($name:ident: $bug:ident,)*) => {
        $(#[test] fn $name() { check(Sabotage::$bug); })*
    };
}

each_is_found! {
    an_answer_before_the_sync_is_found: AnswerBeforeSync,
    half_a_fan_out_is_found: FanOutHalf,
    an_origin_before_its_batch_is_found: OriginBeforeData,
    a_rollback_that_forgets_is_found: RollbackForgets,
    a_checksum_that_is_skipped_is_found: ChecksumSkipped,
    names_that_are_not_synced_are_found: NoDirectorySync,
    a_removal_that_is_too_early_is_found: RemovedTooEarly,
    a_watermark_ahead_of_the_data_is_found: WatermarkAhead,
    a_second_sync_is_found: SyncAgain,
    a_cursor_that_is_too_old_is_found: CursorBeforeData,
    a_tail_that_is_not_written_again_is_found: TailNotCopied,
    a_header_before_its_frames_is_found: HeaderFirst,
    a_sender_that_is_not_held_up_is_found: HoldUpSkipped,
    a_lane_that_goes_on_behind_a_refusal_is_found: LaneIgnored,
    a_lane_with_several_writers_is_found: LaneSpread,
    what_is_only_written_and_called_synced_is_found: WrittenIsSynced,
    a_segment_that_ends_without_a_sync_is_found: NoSyncBeforeRoll,
    what_a_failed_directory_left_and_nobody_was_told_is_found: VoidUntold,
    a_cursor_that_speaks_of_a_tail_before_its_copy_is_found: TailBeforeItsCopy,
    an_exchange_in_two_frames_is_found: ExchangeInTwo,
}
