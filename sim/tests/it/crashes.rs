//! The power fails at every act of the disks, those of recovery included.

use std::sync::Arc;

use splashdam_sim::campaign;
use splashdam_sim::dice::Dice;
use splashdam_sim::everywhere::{Tally, crash_everywhere};
use splashdam_sim::run::{Plan, Run};
use splashdam_sim::scenario::{KINDS, kind};
use splashdam_wal::Count;

#[test]
fn one_seed_twice_gives_one_trace() {
    for seed in 0..20 {
        let plan = Plan { disks: 1 + seed as usize % 2, ..Plan::new(seed) };
        let one = Run::new(plan.clone()).all().expect("a good run");
        let two = Run::new(plan).all().expect("a good run");
        assert_eq!(one, two, "seed {seed}");
    }
}

/// Runs plans with a crash everywhere and says how many crash points there were.
fn check(plans: impl Iterator<Item = Plan>, least: u64) {
    let mut tally = Tally::default();
    for plan in plans {
        tally += crash_everywhere(&plan).unwrap_or_else(|why| panic!("{why}"));
    }
    let Tally { points, nested, .. } = tally;
    println!("{points} crash points, {nested} more inside the starts after them: nothing lost");
    assert!(points >= least, "only {points} crash points");
}

#[test]
fn nothing_acknowledged_is_lost_at_any_crash_point() {
    check((0..30).map(Plan::new), 7_500);
}

#[test]
fn nothing_is_lost_with_several_directories() {
    check((100..110).map(|seed| Plan { disks: 2, ..Plan::new(seed) }), 3_000);
    check((120..125).map(|seed| Plan { disks: 3, queues: 3, ..Plan::new(seed) }), 2_000);
}

#[test]
fn nothing_is_lost_in_longer_runs() {
    check((200..204).map(|seed| Plan { steps: 400, ..Plan::new(seed) }), 1_000);
}

#[test]
fn nothing_is_lost_when_the_capacity_changes_at_each_start() {
    check(
        (300..310).map(|seed| Plan {
            bounded: true,
            disks: 1 + seed as usize % 2,
            ..Plan::new(seed)
        }),
        3_000,
    );
}

#[test]
fn what_is_exchanged_is_taken_and_put_or_neither() {
    let exchanging = |seed| Plan { exchanges: true, ..Plan::new(seed) };
    check((400..412).map(exchanging), 3_000);
    check((420..426).map(|seed| Plan { bounded: true, ..exchanging(seed) }), 1_000);
    check((430..436).map(|seed| Plan { disks: 2, ..exchanging(seed) }), 1_500);
    check((440..444).map(|seed| Plan { unsynced: true, ..exchanging(seed) }), 300);
}

#[test]
fn every_kind_of_run_keeps_every_promise() {
    for seed in 0..KINDS.len() as u64 {
        let tally = campaign::seed(seed).unwrap_or_else(|why| panic!("{why}"));
        let Tally { points, faults, flips, .. } = tally;
        println!(
            "{}: {points} crash points, {faults} fault points, {flips} flips",
            KINDS[kind(seed)]
        );
        assert!(points > 50 && faults > 2 && flips == 12, "{tally:?}");
    }
}

#[test]
fn a_start_that_is_cut_between_its_directories_promises_nothing() {
    let mut points = 0;
    for seed in 0..6 {
        let plan =
            Plan { disks: 2, queues: 1, steps: 40, senders: [1, 3], ..Plan::new(5_000 + seed) };
        let whole = Run::until_the_end(plan.clone()).unwrap_or_else(|why| panic!("{why}"));
        for at in (1..=whole.verdict.acts).skip(20) {
            // A sync that failed may have left in the cache what is not on the disk.
            let faults = vec![at - 1];
            let plan = Plan { crash_at: Some(at), faults, ..plan.clone() };
            let told = format!("{plan:?}");
            let run = Run::until_the_end(plan).unwrap_or_else(|why| panic!("{told}: {why}"));
            let mut act = 1;
            while run.fate_of_start(act).unwrap_or_else(|why| panic!("{told}, act {act}: {why}")) {
                (act, points) = (act + 1, points + 1);
            }
        }
    }
    println!("{points} starts cut short, nothing lost");
}

/// Bytes bring puts to a stop where the capacity has a limit in them.
#[test]
fn what_is_found_behind_the_last_sync_counts_for_its_own_queue_only() {
    let most = Count { events: 1_000, bytes: 1 << 20 };
    let mut run = Run::new(Plan { unsynced: true, ..Plan::new(38) });
    let mut life = run.open().expect("an open log");
    let queues = ["c0", "c1"].map(|name| life.log.queue(name).expect("a queue"));
    for number in 0..30 {
        let queue = usize::from(number == 7);
        let id = run.oracle.put(&mut Dice::new(number), vec![queue as u16]);
        let batch = Arc::new(run.oracle.batch(id));
        let room = life.log.reserve(&[queues[queue]], most).expect("room");
        room.put(batch, None, Box::new(|how| assert!(how.is_ok(), "{how:?}")));
        life.committers[0].commit_waiting();
    }
    let few = Count { events: 5, ..most };
    let lease = life.log.lease(queues[0], few).expect("an open log").expect("a lease");
    lease.commit(Box::new(|how| how.expect("a take")));
    life.committers[0].commit_waiting();
    assert!(life.committers[0].unsynced() > 2_000, "a long tail");
    let before = queues.map(|queue| life.log.level(queue).queued);
    drop(life.committers);
    life.log.close();
    run.disks.restart(false);
    let life = run.open().expect("an open log");
    let after = queues.map(|queue| life.log.level(queue).queued);
    assert_eq!(after[1], before[1]);
    assert_eq!(after[0].events, before[0].events);
    // Of a frame that is taken in part it is an estimate.
    assert!(after[0].bytes.abs_diff(before[0].bytes) < 1_000, "{after:?}, not {before:?}");
}
