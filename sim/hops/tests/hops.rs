//! A short form of `cargo xtask sim --hops N`.

use splashdam_components::Bug;
use splashdam_hops::flow::KINDS;
use splashdam_hops::planted;
use splashdam_hops::run::{Plan, run};

fn runs(seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let plan = Plan::new(seed);
        run(plan).unwrap_or_else(|why| panic!("{why}\n{plan:?}"));
    }
}

#[test]
fn what_is_promised_is_kept() {
    runs(0..20 * KINDS as u64);
}

#[test]
fn one_seed_twice_is_one_run() {
    for seed in 0..2 * KINDS as u64 {
        let plan = Plan::new(seed);
        assert_eq!(run(plan).unwrap(), run(plan).unwrap(), "{plan:?}");
    }
}

#[test]
fn planted_bugs_are_found() {
    for bug in planted::BUGS {
        let found = planted::find(bug);
        assert!(found.is_some(), "{bug:?} was not found");
    }
}

/// Which promise a bug breaks.
#[test]
fn bugs_break_what_they_should() {
    let check = |bug: Bug, words: &[&str]| {
        let (_, why) = planted::find(bug).unwrap();
        assert!(words.iter().any(|word| why.contains(word)), "{bug:?}: {why}");
    };
    check(Bug::StateAfterAnswer, &["twice"]);
    check(Bug::EpochIgnored, &["acknowledged and is"]);
    check(Bug::SequenceReused, &["acknowledged and is"]);
}
