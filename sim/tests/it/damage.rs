//! Bytes that change at rest, files that are cut or gone, directories that are not what they were.

use splashdam_sim::run::{Plan, Run};
use splashdam_wal::{Notice, OnDamage, OpenError, Sabotage};

/// A log that was closed with events in several segments. The run's oracle knows what is in it.
fn filled(plan: Plan) -> Run {
    let steps = plan.steps;
    let mut run = Run::new(plan);
    let mut life = run.open().expect("an open log");
    for _ in 0..steps {
        run.step(&mut life).expect("a good step");
    }
    run.end(life, true).expect("a clean end");
    let mut life = run.open().expect("an open log");
    run.inspect(&mut life).expect("all is there");
    run.end(life, true).expect("a clean end");
    run
}

fn segments(run: &Run) -> Vec<String> {
    let mut names = run.disks.names(0);
    names.retain(|name| name.ends_with(".seg"));
    names
}

fn damaged(run: &Run) -> usize {
    let notices = run.notices.lock().expect("no panic");
    notices.iter().filter(|notice| matches!(notice, Notice::Damaged(_))).count()
}

/// What opening and looking at everything came to, after `change` to a copy of a filled log.
fn after(
    run: &Run,
    sabotage: Option<Sabotage>,
    change: impl FnOnce(&Run),
) -> (Run, Result<(), String>) {
    let mut copy = run.copy(sabotage);
    copy.oracle.losses_allowed = true;
    change(&copy);
    let seen = match copy.open() {
        Err(error) => Err(error.to_string()),
        Ok(mut life) => {
            let looked = copy.inspect(&mut life).map(drop);
            if let Err(why) = looked {
                panic!("something wrong was delivered: {why}");
            }
            // What was skipped stays skipped, and the rest still comes out.
            copy.drain(&mut life).expect("a drain");
            copy.end(life, true).map(drop)
        }
    };
    (copy, seen)
}

#[test]
fn a_flipped_bit_costs_at_most_its_frame_and_is_named() {
    let run = filled(Plan { steps: 90, queues: 1, ..Plan::new(7) });
    let (mut flips, mut losses, mut refused) = (0, 0, 0);
    for name in segments(&run) {
        for at in (0..run.disks.bytes(0, &name).len()).step_by(67) {
            let bit = 1u8 << (at % 8);
            let (after, seen) =
                after(&run, None, |run| run.disks.alter(0, &name, |bytes| bytes[at] ^= bit));
            flips += 1;
            refused += u64::from(seen.is_err());
            if after.oracle.lost > 0 {
                losses += 1;
                assert!(damaged(&after) > 0, "{name} byte {at}: silent loss");
                assert!(after.oracle.lost <= 20, "{name} byte {at}: more than a frame is lost");
            }
        }
    }
    println!("{flips} flips, {losses} cost a frame, {refused} refused");
    assert!(losses > 400 && refused == 0, "{losses} {refused}");
}

#[test]
fn halt_refuses_what_quarantine_sets_aside() {
    let run = filled(Plan { steps: 90, queues: 1, ..Plan::new(8) });
    let newest = segments(&run).into_iter().find(|name| run.disks.bytes(0, name)[..4] != [0; 4]);
    let name = newest.expect("a segment");
    // The middle of the first frames: put long ago, surely synced.
    let change = |run: &Run| run.disks.alter(0, &name, |bytes| bytes[8192 + 700] ^= 1);
    let (quarantined, seen) = after(&run, None, change);
    assert!(seen.is_ok() && damaged(&quarantined) > 0, "{seen:?}");
    assert!(quarantined.disks.names(0).iter().any(|name| name.starts_with("damaged-")));
    let mut halting = run.copy(None);
    halting.on_damage = OnDamage::Halt;
    change(&halting);
    match halting.open() {
        Err(OpenError::Damaged(damage)) => assert!(!damage.is_empty()),
        Err(other) => panic!("{other}"),
        Ok(mut life) => {
            let looked = halting.inspect(&mut life);
            assert!(looked.is_err() || life.log.stopped().is_some(), "{looked:?}");
        }
    }
}

#[test]
fn a_skipped_checksum_is_found() {
    let run = filled(Plan { steps: 90, queues: 1, ..Plan::new(7) });
    let found = std::panic::catch_unwind(|| {
        for name in segments(&run) {
            for at in (8192..run.disks.bytes(0, &name).len()).step_by(41) {
                let sabotage = Some(Sabotage::ChecksumSkipped);
                let change = |run: &Run| run.disks.alter(0, &name, |bytes| bytes[at] ^= 4);
                assert!(after(&run, sabotage, change).1.is_ok(), "{name} {at}");
            }
        }
    });
    assert!(found.is_err(), "a wrong event was not noticed");
}

#[test]
fn a_segment_that_is_gone_or_cut_is_refused_by_name() {
    let run = filled(Plan { steps: 160, queues: 1, ..Plan::new(9) });
    let mut refused = 0;
    for name in segments(&run) {
        let (gone, seen) = after(&run, None, |run| run.disks.remove(0, &name));
        refused += u64::from(seen.is_err());
        assert!(
            seen.is_err() || gone.oracle.lost == 0 || damaged(&gone) > 0,
            "{name}: silent loss"
        );
        for length in [0, 100, 8192, 12_000] {
            let (cut, seen) =
                after(&run, None, |run| run.disks.alter(0, &name, |bytes| bytes.truncate(length)));
            refused += u64::from(seen.is_err());
            assert!(
                seen.is_err() || cut.oracle.lost == 0 || damaged(&cut) > 0,
                "{name} cut at {length}: silent loss of {}",
                cut.oracle.lost
            );
        }
    }
    assert!(refused > 3, "{refused}");
}

#[test]
fn runs_of_one_byte_in_the_durable_range_are_damage_and_no_end() {
    let run = filled(Plan { steps: 120, queues: 1, ..Plan::new(10) });
    for fill in [0, 0x80, 0xff] {
        for name in segments(&run) {
            let (after, _) = after(&run, None, |run| {
                run.disks.alter(0, &name, |bytes| bytes[9000..11_000].fill(fill));
            });
            assert!(after.oracle.lost == 0 || damaged(&after) > 0, "{name} {fill}: silent loss");
        }
    }
}

#[test]
fn reads_that_fail_cost_no_more_than_their_frames() {
    let run = filled(Plan { steps: 120, queues: 1, ..Plan::new(11) });
    for count in 1..40 {
        let (after, _) = after(&run, None, |run| run.disks.fail_reads(count));
        assert!(after.oracle.lost == 0 || damaged(&after) > 0, "{count}: silent loss");
    }
}

#[test]
fn directories_that_do_not_belong_are_refused() {
    let plan = Plan { disks: 2, ..Plan::new(12) };
    let older = filled(plan.clone());
    let check = |what: &str, change: &dyn Fn(&Run)| {
        let copy = older.copy(None);
        change(&copy);
        let error = copy.open().err().unwrap_or_else(|| panic!("{what} was opened"));
        let told = error.to_string();
        assert!(told.contains("disk-"), "{what}: {told} does not name the directory");
    };
    check("an empty sibling", &|run| run.disks.replace(1));
    check("a foreign sibling", &|run| {
        run.disks.restore(1, &filled(Plan { seed: 99, ..plan.clone() }).disks);
    });
    check("a copy of the first", &|run| run.disks.restore(1, &run.disks.copy_of(0)));
    check("no member file", &|run| {
        run.disks.remove(1, "member-a");
        run.disks.remove(1, "member-b");
    });
    // One directory from an earlier day.
    let mut newer = older.copy(None);
    let mut life = newer.open().expect("an open log");
    for _ in 0..200 {
        newer.step(&mut life).expect("a good step");
    }
    newer.end(life, true).expect("a clean end");
    newer.disks.restore(1, &older.disks);
    match newer.open() {
        Err(OpenError::Older { place, .. }) => assert_eq!(place, "disk-1"),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("a directory from an earlier day was opened"),
    }
}

#[test]
fn one_torn_copy_of_the_member_file_is_enough() {
    let run = filled(Plan::new(13));
    for name in ["member-a", "member-b"] {
        let (_, seen) = after(&run, None, |run| run.disks.alter(0, name, |bytes| bytes[40] ^= 1));
        assert!(seen.is_ok(), "{name}: {seen:?}");
    }
}

#[test]
fn a_directory_in_use_is_refused() {
    let run = filled(Plan::new(14));
    let life = run.open().expect("an open log");
    assert!(matches!(run.open(), Err(OpenError::Locked { .. })));
    life.log.close();
    run.open().expect("free again");
}
