//! The power fails at every act of the disks, those of recovery included.

use splashdam_sim::run::{Plan, Run, crash_everywhere};

#[test]
fn one_seed_twice_gives_one_trace() {
    for seed in 0..20 {
        let plan = Plan { disks: 1 + seed as usize % 2, ..Plan::new(seed) };
        let one = Run::new(plan.clone()).all().expect("a good run");
        let two = Run::new(plan).all().expect("a good run");
        assert_eq!(one, two, "seed {seed}");
    }
}

/// Runs plans with a crash everywhere and says how many crashes there were.
fn check(plans: impl Iterator<Item = Plan>, least: u64) {
    let mut crashes = 0;
    for plan in plans {
        crashes += crash_everywhere(&plan, 1, 1).unwrap_or_else(|why| panic!("{why}"));
    }
    println!("{crashes} crashes, nothing lost");
    assert!(crashes >= least, "only {crashes} crashes");
}

#[test]
fn nothing_acknowledged_is_lost_at_any_crash_point() {
    check((0..32).map(Plan::new), 4_000);
}

#[test]
fn nothing_is_lost_with_several_directories() {
    check((100..115).map(|seed| Plan { disks: 2, ..Plan::new(seed) }), 3_000);
    check((120..126).map(|seed| Plan { disks: 3, queues: 3, ..Plan::new(seed) }), 1_500);
}

#[test]
fn nothing_is_lost_in_longer_runs() {
    check((200..205).map(|seed| Plan { steps: 400, ..Plan::new(seed) }), 1_000);
}
