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

/// Seeds that found something once.
#[test]
fn what_was_found_once_stays_found() {
    // Two channels of a log, of which each was told of what both had skipped.
    runs(92_320..92_321);
}

#[test]
fn one_seed_twice_is_one_run() {
    for seed in 0..2 * KINDS as u64 {
        let plan = Plan::new(seed);
        assert_eq!(run(plan).unwrap(), run(plan).unwrap(), "{plan:?}");
    }
}

/// Each breaks the promise that it should.
#[test]
fn planted_bugs_are_found() {
    let check = |bug: Bug, word: &str| {
        assert!(planted::BUGS.contains(&bug), "{bug:?}");
        let (_, why) = planted::find(bug).unwrap_or_else(|| panic!("{bug:?} was not found"));
        assert!(why.contains(word), "{bug:?}: {why}");
    };
    let lost = "was acknowledged and is";
    check(Bug::StateAfterAnswer, "events twice");
    check(Bug::EpochIgnored, lost);
    check(Bug::SequenceReused, lost);
    check(Bug::AnswerBeforeStored, lost);
    check(Bug::RefusalForgotten, "comes before");
    check(Bug::LowAhead, lost);
}
