//! Looking at a log that nobody runs, and giving up what is lost.

use splashdam_sim::oracle::EventId;
use splashdam_sim::run::{Plan, Run};
use splashdam_wal::offline::{Offline, accept};
use splashdam_wal::storage::Storage;
use splashdam_wal::{Compression, Loss, Notice, OpenError};

/// A log in use, ended cleanly or not.
fn used(plan: Plan, cleanly: bool) -> Run {
    let steps = plan.steps;
    let mut run = Run::new(plan);
    let mut life = run.open().expect("an open log");
    for _ in 0..steps {
        run.step(&mut life).expect("a good step");
    }
    run.end(life, cleanly).expect("an end");
    run
}

/// Put and index of each event, by its own bytes.
fn scanned(offline: &Offline, queue: u16) -> Vec<EventId> {
    let mut ids = Vec::new();
    let damage = offline.scan(queue, |event| {
        let id = u64::from_le_bytes(event.bytes[..8].try_into().expect("8 bytes"));
        let index = u32::from_le_bytes(event.bytes[8..12].try_into().expect("4 bytes"));
        ids.push((queue, id, index));
        true
    });
    assert!(damage.is_empty(), "{damage:?}");
    ids
}

#[test]
fn what_is_seen_from_outside_is_what_a_start_finds_and_nothing_is_changed() {
    for seed in 0..24 {
        let plan = Plan {
            disks: 1 + seed as usize % 3,
            steps: 150,
            keys: if seed % 2 == 0 { vec!["one"] } else { vec![] },
            compression: [Compression::None, Compression::Lz4][seed as usize / 2 % 2],
            unsynced: seed % 5 == 0,
            ..Plan::new(5_000 + seed)
        };
        let mut run = used(plan, seed % 3 > 0);
        let acts = run.disks.acts();
        let offline = Offline::open(run.disks.storages(), run.options(), false).expect("a log");
        assert!(
            matches!(
                Offline::open(run.disks.storages(), run.options(), false),
                Err(OpenError::Locked { .. })
            ),
            "it is not locked"
        );
        Offline::open(run.disks.storages(), run.options(), true).expect("by force");
        let mut last = (0, 0);
        let report = offline.verify(|read, total| {
            assert!(read >= last.0 && read <= total, "{read} of {total} after {last:?}");
            last = (read, total);
        });
        assert!(report.sound(), "seed {seed}: {report:?}");
        let seen: Vec<_> = (0..2).map(|queue| scanned(&offline, queue)).collect();
        for (queue, ids) in report.queues.iter().zip(&seen) {
            assert_eq!(queue.queued, ids.len() as u64, "seed {seed}, {}", queue.name);
        }
        assert_eq!(run.disks.acts(), acts, "something was written");
        drop(offline);
        let mut life = run.open().expect("an open log");
        let there = run.inspect(&mut life).expect("all is there");
        assert_eq!(there, seen.iter().map(Vec::len).sum::<usize>() as u64);
        run.oracle.settle(&seen).expect("the same, in the same order");
    }
}

/// Opens after giving up `loss`, by name and for good; the rest comes out.
fn given_up(mut run: Run, storages: impl Fn(&Run) -> Vec<std::sync::Arc<dyn Storage>>, loss: Loss) {
    run.oracle.losses_allowed = true;
    let notices = accept(storages(&run), loss, run.options()).expect("accepted");
    let named = notices.iter().filter(|notice| matches!(notice, Notice::GivenUp { .. })).count();
    assert!(named > 0, "{notices:?}");
    let report =
        Offline::open(storages(&run), run.options(), false).expect("a log").verify(|_, _| {});
    assert!(report.absent.is_empty(), "{report:?}");
    let mut life = run.open_on(storages(&run)).expect("it opens without asking again");
    run.inspect(&mut life).expect("the rest is as it was");
    run.drain(&mut life).expect("a drain");
    run.end(life, true).expect("an end");
    assert!(run.oracle.lost > 0, "nothing was lost, so nothing was shown");
}

#[test]
fn a_segment_that_is_gone_can_be_given_up() {
    let plan = Plan { queues: 1, steps: 160, ..Plan::new(9) };
    let mut shown = 0;
    for at in 0..6 {
        let run = used(plan.clone(), true);
        let names = run.disks.names(0).into_iter().filter(|name| name.ends_with(".seg"));
        let Some(name) = names.collect::<Vec<_>>().into_iter().nth(at) else { continue };
        run.disks.remove(0, &name);
        if matches!(run.open(), Err(OpenError::Missing { .. })) {
            let loss = Loss { segments: true, ..Loss::default() };
            given_up(run, |run| run.disks.storages(), loss);
            shown += 1;
        }
    }
    assert!(shown > 0);
}

#[test]
fn a_directory_can_leave_when_its_loss_is_accepted_and_not_before() {
    let run = used(Plan { disks: 3, steps: 200, ..Plan::new(5_100) }, true);
    let without = |run: &Run| {
        let mut storages = run.disks.storages();
        storages.remove(1);
        storages
    };
    match run.open_on(without(&run)) {
        Err(OpenError::Membership { place, .. }) => assert_eq!(place, "disk-1"),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("opened without a directory"),
    }
    let offline = Offline::open(without(&run), run.options(), false).expect("a log");
    assert_eq!(offline.verify(|_, _| {}).absent, ["disk-1"]);
    drop(offline);
    let loss = Loss { directories: vec!["disk-1".into()], ..Loss::default() };
    let copy = run.copy(None);
    given_up(run, without, loss.clone());
    // It does not come back by being named again.
    accept(without(&copy), loss, copy.options()).expect("accepted");
    match copy.open() {
        Err(OpenError::Membership { place, why }) => {
            assert!(place == "disk-1" && why.contains("left"), "{place}: {why}");
        }
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("a directory that has left was opened"),
    }
}

#[test]
fn a_directory_from_an_earlier_day_can_be_accepted() {
    let mut older = used(Plan { disks: 2, ..Plan::new(12) }, true);
    let copy = older.copy(None);
    let mut life = older.open().expect("an open log");
    for _ in 0..200 {
        older.step(&mut life).expect("a good step");
    }
    older.end(life, true).expect("an end");
    older.disks.restore(1, &copy.disks);
    assert!(matches!(older.open(), Err(OpenError::Older { .. })));
    older.oracle.losses_allowed = true;
    let loss = Loss { older: true, segments: true, ..Loss::default() };
    let notices = accept(older.disks.storages(), loss, older.options()).expect("accepted");
    assert!(notices.iter().any(|notice| matches!(notice, Notice::GivenUp { .. })), "{notices:?}");
    for _ in 0..2 {
        let life = older.open().expect("it opens without asking again");
        older.end(life, true).expect("an end");
    }
}
