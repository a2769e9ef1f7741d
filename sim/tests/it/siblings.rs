//! One of two directories makes trouble: the other takes over, in order, and lets go of what it can.

use std::sync::{Arc, Mutex};

use splashdam_sim::dice::Dice;
use splashdam_sim::disk::{Disks, Errno};
use splashdam_sim::run::{Harm, Life, Plan, Run};
use splashdam_wal::{CommitError, Count, Level, Origin, QueueId, Stored};

type Answer = Result<Stored, CommitError>;

const MOST: Count = Count { events: 1_000, bytes: 1 << 20 };

struct Two {
    run: Run,
    life: Life,
    queue: QueueId,
}

impl Two {
    fn new(seed: u64) -> Two {
        let run = Run::new(Plan { queues: 1, disks: 2, ..Plan::new(seed) });
        let life = run.open().unwrap();
        let queue = life.log.queue("c0").expect("the first queue");
        Two { run, life, queue }
    }

    /// Puts a batch, of a sender or of nobody in particular, and says how it ends.
    fn put(&mut self, origin: Option<(u8, u64)>) -> Option<Answer> {
        let seed = self.run.disks.acts();
        let id = self.run.oracle.put(&mut Dice::new(seed), vec![0]);
        let batch = self.run.oracle.batch(id);
        let room = self.life.log.reserve(&[self.queue], MOST).ok()?;
        let origin = origin.map(|(sender, sequence)| Origin {
            sender: [sender; 16],
            epoch: 1,
            sequence,
            position: vec![],
        });
        let answer = Arc::new(Mutex::new(None));
        let told = answer.clone();
        room.put(Arc::new(batch), origin, Box::new(move |how| *told.lock().unwrap() = Some(how)));
        self.commit();
        answer.lock().unwrap().take()
    }

    fn commit(&mut self) {
        // What one hands to the other is done in the second round.
        for _ in 0..2 {
            self.life.committers.iter_mut().for_each(|one| {
                one.commit_waiting();
            });
        }
    }

    /// Puts until so many are stored, each batch of a sender again until it is. Says how many attempts
    /// of each batch that needed several failed.
    fn put_all(&mut self, sender: Option<u8>, count: u64) -> Vec<u64> {
        let mut all = Vec::new();
        for sequence in 0..count {
            let mut failed = 0;
            while !matches!(self.put(sender.map(|sender| (sender, sequence))), Some(Ok(_))) {
                failed += 1;
                assert!(failed < 20, "batch {sequence} of {sender:?} is never stored");
            }
            all.extend(Some(failed).filter(|failed| *failed > 0));
        }
        all
    }

    fn take_all(&mut self) {
        loop {
            match self.life.log.lease(self.queue, MOST).unwrap() {
                Some(lease) => {
                    lease.commit(Box::new(|how| how.expect("a take")));
                    self.commit();
                }
                None if self.life.reader.read_waiting() => {}
                None => break,
            }
        }
        self.commit();
    }

    fn segments(&self, disk: usize) -> usize {
        self.run.disks.names(disk).iter().filter(|name| name.ends_with(".seg")).count()
    }
}

/// Senders whose place is in the first directory, in the second, and none.
const SENDERS: [Option<u8>; 3] = [Some(1), Some(3), None];

#[test]
fn a_directory_that_can_make_no_file_leaves_its_batches_to_the_others() {
    for errno in [Errno::Io, Errno::NoSpace] {
        for sender in SENDERS {
            for disk in [0, 1] {
                let mut two = Two::new(disk as u64);
                two.put_all(None, 3);
                two.run.disks.refuse_files(Some((disk, errno)));
                // Many segments' worth.
                two.put_all(sender, 600);
                assert!(two.life.log.stopped().is_none());
                assert!(two.segments(1 - disk) > 4, "hardly anything came to the other one");
                two.take_all();
                let Level { queued, leased, reserved, .. } = two.life.log.level(two.queue);
                assert_eq!([queued, leased, reserved].map(|count| count.events), [0; 3]);
                let left = two.segments(1 - disk);
                assert!(left <= 3, "{left} segments are left in the good directory");
            }
        }
    }
}

#[test]
fn what_a_dead_directory_left_keeps_no_segment_of_the_others() {
    let mut dead = 0;
    for seed in 0..20 {
        let mut two = Two::new(seed);
        two.put_all(Some(1), 3);
        // The write fails, and so does every attempt to begin anew: what was put is void only by the
        // word of the sibling.
        two.run.disks.break_down(0);
        match two.put(Some((1, 3))) {
            Some(Err(CommitError::Failed(_))) => dead += 1,
            // It would have needed a larger reserve first.
            Some(Err(CommitError::Full)) => continue,
            other => panic!("seed {seed}: {other:?}"),
        }
        assert!(matches!(two.put(Some((1, 3))), Some(Ok(Stored::Now))));
        two.put_all(None, 400);
        two.take_all();
        let left = two.segments(1);
        assert!(left <= 3, "seed {seed}: {left} segments are left in the good directory");
    }
    assert!(dead > 10, "{dead} directories died");
}

#[test]
fn a_sender_comes_back_to_its_directory_when_there_is_room() {
    let mut two = Two::new(7);
    two.put_all(Some(1), 2);
    two.run.disks.refuse_files(Some((0, Errno::NoSpace)));
    let failed = two.put_all(Some(1), 300);
    // A batch that is too large for what the directory could still hold goes elsewhere at the next attempt.
    let found = failed.iter().all(|attempts| *attempts == 1) && failed.len() <= 6;
    assert!(found, "{failed:?} attempts failed, though there was room in the other directory");
    assert_eq!(two.life.log.last_of([1; 16]).map(|last| last.sequence), Some(299));
    two.run.disks.refuse_files(None);
    two.take_all();
    two.commit();
    let segments = two.segments(0);
    (300..700).for_each(|sequence| {
        assert!(matches!(two.put(Some((1, sequence))), Some(Ok(Stored::Now))));
    });
    assert!(two.segments(0) > segments, "nothing came back to the first directory");
}

#[test]
fn a_broken_last_frame_is_damage_and_no_older_directory() {
    let mut tried = 0;
    for seed in 0..4 {
        let plan = Plan { queues: 1, disks: 2, senders: [1, 3], steps: 30, ..Plan::new(seed) };
        let run = Run::closed(plan).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        // Its end is a cursor, which the other directory's has seen.
        let names = run.disks.names(0);
        let name = names.iter().rfind(|name| {
            name.ends_with(".seg") && run.disks.bytes(0, name)[8192..].iter().any(|byte| *byte != 0)
        });
        let name = name.expect("a segment with frames");
        let bytes = run.disks.bytes(0, name);
        let says = |at: usize, what: usize| bytes[at + what..at + what + 8].to_vec();
        let last = (8192..bytes.len() - 64).step_by(8).rfind(|at| {
            says(*at, 32) == (*at as u64).to_le_bytes() && says(*at, 24)[..] == bytes[48..56]
        });
        let last = last.expect("a frame");
        for at in last..last + 72 {
            for bit in [0, 5] {
                let told = format!("seed {seed}, {name}, byte {at}, bit {bit}");
                let change = |disks: &Disks| disks.alter(0, name, |bytes| bytes[at] ^= 1 << bit);
                let harm = run.after_damage(change).unwrap_or_else(|why| panic!("{told}: {why}"));
                assert_eq!(harm, Harm::Named, "{told}");
                tried += 1;
            }
        }
    }
    println!("{tried} bits, each named");
}
