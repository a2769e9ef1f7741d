//! The same promises with encryption and compression, and those that are left with syncs now and then.

use splashdam_sim::everywhere::crash_everywhere;
use splashdam_sim::run::{Plan, Run};
use splashdam_wal::{Compression, OpenError};

fn check(plans: impl Iterator<Item = Plan>, least: u64) {
    let mut crashes = 0;
    for plan in plans {
        crashes += crash_everywhere(&plan).unwrap_or_else(|why| panic!("{why}")).points;
    }
    println!("{crashes} crashes, nothing lost");
    assert!(crashes >= least, "only {crashes} crashes");
}

#[test]
fn nothing_is_lost_with_encryption_and_compression() {
    for (index, compression) in (0..).zip([Compression::None, Compression::Lz4, Compression::Zstd])
    {
        let plan = |seed| Plan {
            keys: vec!["one"],
            compression,
            disks: 1 + seed as usize % 2,
            ..Plan::new(seed)
        };
        check((0..2).map(|seed| plan(400 + index * 10 + seed)), 400);
        check((0..2).map(|seed| Plan { keys: vec![], ..plan(440 + index * 10 + seed) }), 400);
    }
}

#[test]
fn keys_change_and_what_old_ones_closed_stays_readable() {
    for seed in 0..20 {
        let mut run = Run::new(Plan { steps: 80, ..Plan::new(500 + seed) });
        // Not encrypted, then with one key, a second one beside it, then without any new ones.
        for keys in [vec![], vec!["one"], vec!["one", "two"], vec!["two", "one"]] {
            run.plan().keys = keys;
            run.plan().compression =
                [Compression::Lz4, Compression::None, Compression::Zstd][seed as usize % 3];
            let mut life = run.open().expect("an open log");
            run.inspect(&mut life).expect("all is there");
            for _ in 0..60 {
                run.step(&mut life).expect("a good step");
            }
            run.end(life, seed % 2 == 0).expect("an end");
        }
        let mut life = run.open().expect("an open log");
        run.inspect(&mut life).expect("all is there");
        run.drain(&mut life).expect("a drain");
        run.end(life, true).expect("an end");
        // All that the second key closed is gone by now, and so is the need for it.
        run.plan().keys = vec!["one"];
        let life = run.open().unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        run.end(life, true).expect("an end");
    }
}

#[test]
fn a_missing_or_wrong_key_refuses_by_its_name_and_changes_nothing() {
    for (seed, cleanly) in (600..610).zip([true, false].into_iter().cycle()) {
        let mut run = Run::new(Plan { keys: vec!["one", "two"], ..Plan::new(seed) });
        let mut life = run.open().expect("an open log");
        for _ in 0..60 {
            run.step(&mut life).expect("a good step");
        }
        run.end(life, cleanly).expect("an end");
        run.plan().keys = vec!["one", "two", "three"];
        let life = run.open().expect("an open log");
        run.end(life, cleanly).expect("an end");
        let check = |keys: &[&'static str], alias: &str| {
            let mut other = run.copy(None);
            other.plan().keys = keys.to_vec();
            match other.open() {
                Err(error @ OpenError::Key { .. }) => {
                    let told = error.to_string();
                    assert!(told.contains(&format!("'{alias}'")), "{keys:?}: {told}");
                }
                Err(other) => panic!("{keys:?}: {other}"),
                Ok(_) => panic!("opened with {keys:?}"),
            }
            other.plan().keys = run.copy(None).plan().keys.clone();
            let mut life = other.open().expect("an open log");
            other.inspect(&mut life).expect("all is there");
        };
        check(&[], "three");
        check(&["one", "two"], "three");
        check(&["three=wrong", "two"], "three");
        if seed % 2 == 0 {
            check(&["one", "three"], "two");
            check(&["two=wrong", "three"], "two");
        }
    }
}

#[test]
fn syncs_now_and_then_lose_nothing_that_was_synced_and_nothing_when_killed() {
    let plan = |seed| Plan { unsynced: true, ..Plan::new(seed) };
    check((700..705).map(plan), 1_000);
    check((720..725).map(|seed| Plan { disks: 2, ..plan(seed) }), 500);
    check((730..733).map(|seed| Plan { steps: 200, keys: vec!["one"], ..plan(seed) }), 500);
}

#[test]
fn with_syncs_now_and_then_a_call_that_fails_costs_nothing_in_silence() {
    for seed in 800..812 {
        let plan = Plan { unsynced: true, disks: 1 + seed as usize % 2, ..Plan::new(seed) };
        let whole = Run::new(plan.clone()).all().expect("a good run");
        for at in 1..=whole.acts {
            for crash_at in [None, Some(at + 1 + seed % 7)] {
                let plan = Plan { faults: vec![at], crash_at, ..plan.clone() };
                Run::new(plan.clone()).all().unwrap_or_else(|why| panic!("{plan:?}: {why}"));
            }
        }
    }
}
