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

#[test]
fn nothing_acknowledged_is_lost_at_any_crash_point() {
    let mut crashes = 0;
    for seed in 0..40 {
        crashes += crash_everywhere(&Plan::new(seed), 1, 1).unwrap_or_else(|why| panic!("{why}"));
    }
    println!("{crashes} crashes, nothing lost");
    assert!(crashes > 2_000, "only {crashes} crashes");
}
