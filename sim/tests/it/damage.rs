//! Bytes that change at rest, files that are cut or gone, directories that are not what they were.

use std::sync::Arc;

use splashdam_sim::dice::Dice;
use splashdam_sim::run::{Plan, Run};
use splashdam_wal::{Committer, Count, Notice, OnDamage, OpenError, Sabotage};

/// A log that was closed with events in several segments, the newest too. The run's oracle knows what is in it.
fn closed_once(plan: Plan) -> Run {
    let steps = plan.steps;
    let mut run = Run::new(plan);
    let mut life = run.open().expect("an open log");
    for _ in 0..steps {
        run.step(&mut life).expect("a good step");
    }
    run.end(life, true).expect("a clean end");
    run
}

/// The same after one more life that put nothing, so that a cursor of its own is all that its newest segment has.
fn filled(plan: Plan) -> Run {
    let mut run = closed_once(plan);
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

/// A directory of 64 KiB or little more, and the plain or encrypted segments in it.
fn small(keys: Vec<&'static str>) -> Run {
    let sized = |steps| {
        let run = filled(Plan { steps, queues: 1, keys: keys.clone(), ..Plan::new(7) });
        let bytes: usize = segments(&run).iter().map(|name| run.disks.bytes(0, name).len()).sum();
        (run, bytes)
    };
    let (run, bytes) = (5..).map(sized).find(|(_, bytes)| *bytes >= 64 << 10).expect("it grows");
    println!("{bytes} bytes in {} segments", segments(&run).len());
    run
}

/// Tries every `stride`th change of `all`, on two threads: how many, how many cost a frame, and
/// how many were refused.
fn each(run: &Run, all: Vec<Change>, stride: usize) -> (usize, usize, usize) {
    let chosen: Vec<_> = all.into_iter().step_by(stride).collect();
    let halves = chosen.split_at(chosen.len() / 2);
    let counts = std::thread::scope(|scope| {
        let threads = [halves.0, halves.1].map(|half| {
            let mine = run.copy(None);
            scope.spawn(move || {
                let (mut losses, mut refused) = (0, 0);
                for change in half {
                    let (after, seen) = after(&mine, None, |run| change.make(run));
                    refused += usize::from(seen.is_err());
                    if after.oracle.lost > 0 {
                        losses += 1;
                        assert!(damaged(&after) > 0, "{change:?}: silent loss");
                        let cut = matches!(change, Change::Cut(..));
                        assert!(cut || after.oracle.lost <= 20, "{change:?}: more than a frame");
                    }
                }
                (losses, refused)
            })
        });
        threads.map(|thread| thread.join().expect("no panic"))
    });
    (chosen.len(), counts[0].0 + counts[1].0, counts[0].1 + counts[1].1)
}

/// What happens to a file at rest.
#[derive(Debug)]
enum Change {
    /// This bit of it.
    Flip(String, usize),
    /// Cut to this length.
    Cut(String, usize),
}

impl Change {
    fn make(&self, run: &Run) {
        match self {
            Change::Flip(name, bit) => {
                run.disks.alter(0, name, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
            }
            Change::Cut(name, length) => {
                run.disks.alter(0, name, |bytes| bytes.truncate(*length));
            }
        }
    }
}

fn flip_bits(keys: Vec<&'static str>, stride: usize) {
    let run = small(keys.clone());
    let names = run.disks.names(0).into_iter();
    let all: Vec<_> = names
        .filter(|name| name.ends_with(".seg") || name.starts_with("member"))
        .flat_map(|name| {
            let bits = run.disks.bytes(0, &name).len() * 8;
            (0..bits).map(move |bit| Change::Flip(name.clone(), bit))
        })
        .collect();
    let (flips, losses, refused) = each(&run, all, stride);
    println!("{flips} flips, {losses} cost a frame, {refused} refused, keys {keys:?}");
    assert!(losses > 4_000 / stride && refused == 0, "{losses} {refused}");
}

fn cut_files(keys: Vec<&'static str>, stride: usize) {
    cut_files_of(&small(keys.clone()), stride, &keys);
}

fn cut_files_of(run: &Run, stride: usize, keys: &[&str]) {
    let all: Vec<_> = segments(run)
        .into_iter()
        .flat_map(|name| {
            let bytes = run.disks.bytes(0, &name).len();
            (0..bytes).map(move |length| Change::Cut(name.clone(), length))
        })
        .collect();
    let (cuts, losses, refused) = each(run, all, stride);
    println!("{cuts} cuts, {losses} cost something, {refused} refused, keys {keys:?}");
    assert!(refused > 1_000 / stride, "{refused}");
}

#[test]
fn a_flipped_bit_costs_at_most_its_frame_and_is_named() {
    flip_bits(vec![], 151);
    flip_bits(vec!["one"], 151);
}

#[test]
fn a_cut_file_is_refused_or_costs_nothing_in_silence() {
    cut_files(vec![], 29);
    cut_files(vec!["one"], 29);
}

/// The newest segment is the one whose end no later one knows.
#[test]
fn a_newest_segment_that_is_cut_is_refused() {
    for keys in [vec![], vec!["one"]] {
        for seed in 1..4 {
            let plan = Plan { steps: 45, queues: 1, keys: keys.clone(), ..Plan::new(seed) };
            cut_files_of(&closed_once(plan), 97, &keys);
        }
    }
}

/// Every bit of a directory of 64 KiB, and every length. Takes minutes: `cargo test -p splashdam-sim
/// -- --ignored`.
#[test]
#[ignore = "takes minutes; the sampled forms above run always"]
fn every_flipped_bit_and_every_cut() {
    for keys in [vec![], vec!["one"]] {
        flip_bits(keys.clone(), 1);
        cut_files(keys, 1);
    }
}

/// Somebody who can write to the disk but has no key changes a body and puts its checksums right.
#[test]
fn what_is_changed_on_purpose_is_damage_and_a_skipped_tag_is_found() {
    use splashdam_wal::frame::{HEADER_BYTES, Header, Kind, Seed};
    let run = small(vec!["one"]);
    let forge = |bytes: &mut Vec<u8>| {
        let salt = bytes[64..96].try_into().expect("32 bytes");
        let number = u64::from_le_bytes(bytes[48..56].try_into().expect("8 bytes"));
        let (seed, mut at) = (Seed::of(&salt), 8192);
        let mut forged = 0;
        while let Ok(header) =
            Header::decode(bytes.get(at..).unwrap_or_default(), seed, number, at as u64)
        {
            let body = at + HEADER_BYTES + header.meta_bytes as usize;
            let end = body + header.body_bytes as usize;
            if header.kind == Kind::Put && end <= bytes.len() {
                // The first byte of the first event.
                let events = (body..end).nth(40).unwrap_or(body);
                bytes[events] ^= 1;
                let body_crc = crc32c(&bytes[body..end]);
                let header = Header { body_crc, ..header };
                bytes[at..at + HEADER_BYTES].copy_from_slice(&header.encode(seed));
                forged += 1;
            }
            at = usize::try_from(header.end()).expect("small");
        }
        forged
    };
    let all = |sabotage| {
        let mut forged = 0;
        let (after, _) = after(&run, sabotage, |run| {
            for name in segments(run) {
                run.disks.alter(0, &name, |bytes| forged += forge(bytes));
            }
        });
        assert!(forged > 3 && damaged(&after) > 0, "{forged} frames were forged unnoticed");
    };
    all(None);
    let found = std::panic::catch_unwind(|| all(Some(Sabotage::TagSkipped)));
    assert!(found.is_err(), "a wrong event was not noticed");
}

/// CRC-32C, as the frames have it.
fn crc32c(bytes: &[u8]) -> u32 {
    bytes.iter().fold(!0u32, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            (sum >> 1) ^ (0x82F6_3B78 & 0u32.wrapping_sub(sum & 1))
        })
    }) ^ !0
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

/// Below [`splashdam_wal::Log::low`] nothing may come again: a sink has told its peer so.
#[test]
fn what_could_not_be_read_is_settled_only_once_that_is_written_down() {
    let most = Count { events: 1_000, bytes: 1 << 20 };
    let mut came_again = 0;
    for (seed, cleanly) in (900..915).flat_map(|seed| [(seed, false), (seed, true)]) {
        let mut run = Run::new(Plan { queues: 1, ..Plan::new(seed) });
        let mut life = run.open().expect("an open log");
        let queue = life.log.queue("c0").expect("the first queue");
        // More than memory holds, and less than a segment.
        for batch in 0..10 {
            let id = run.oracle.put(&mut Dice::new(seed << 8 | batch), vec![0]);
            let room = life.log.reserve(&[queue], most).expect("room");
            let batch = Arc::new(run.oracle.batch(id));
            room.put(batch, None, Box::new(|how| assert!(how.is_ok())));
            life.committers[0].commit_waiting();
        }
        // Each is tried twice, together and by itself.
        run.disks.fail_reads(4);
        loop {
            match life.log.lease(queue, most).expect("it is open") {
                Some(lease) => lease.commit(Box::new(|how| how.expect("a take"))),
                None if life.reader.read_waiting() => {}
                None => break,
            }
            life.committers[0].commit_waiting();
        }
        let next = life.log.untaken(queue).1;
        if cleanly {
            life.committers.into_iter().for_each(Committer::finish);
            assert_eq!(life.log.low(queue), next, "seed {seed}: all is written down");
        }
        let told = life.log.low(queue);
        life.log.close();
        run.disks.restart(false);
        let life = run.open().expect("an open log");
        let first = life.log.untaken(queue).0.first().map_or(next, |range| range.start);
        assert!(first >= told, "seed {seed}: {first} comes again, all below {told} was settled");
        came_again += u64::from(first < next);
    }
    assert!(came_again > 5, "events came again {came_again} times, too seldom to show anything");
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
