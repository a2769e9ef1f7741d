//! What a sender sends on while an earlier batch of its own is under way.

use std::sync::{Arc, Mutex};

use splashdam_sim::dice::Dice;
use splashdam_sim::disk::Errno;
use splashdam_sim::oracle::Batch;
use splashdam_sim::run::{Life, Plan, Run};
use splashdam_wal::{CommitError, Count, Origin, Record, Stored};

type Answer = Result<Stored, CommitError>;

struct Sender {
    run: Run,
    life: Life,
    answers: Arc<Mutex<Vec<(u64, Answer)>>>,
}

impl Sender {
    fn new(seed: u64) -> Sender {
        let run = Run::new(Plan { queues: 1, ..Plan::new(seed) });
        let life = run.open().unwrap();
        Sender { run, life, answers: Arc::default() }
    }

    fn post(&mut self, epoch: u64, sequence: u64) {
        let queue = self.life.log.queue("c0").expect("the first queue");
        // Small ones, so that several fit into a group.
        let small =
            |batch: &Batch| (0..batch.events()).map(|e| batch.event_bytes(e)).sum::<usize>() < 500;
        let mut batches = (0..).map(|seed| {
            let id = self.run.oracle.put(&mut Dice::new(seed), vec![0]);
            self.run.oracle.batch(id)
        });
        let batch = batches.find(small).expect("some are small");
        let room =
            self.life.log.reserve(&[queue], Count { events: 1_000, bytes: 1 << 20 }).unwrap();
        let origin = Origin { sender: [7; 16], epoch, sequence, position: vec![] };
        let answers = self.answers.clone();
        let done = Box::new(move |answer| answers.lock().unwrap().push((sequence, answer)));
        room.put(Arc::new(batch), Some(origin), done);
    }

    /// Commits what was posted; the answers, in the order of the batches.
    fn commit(&mut self) -> Vec<(u64, Answer)> {
        self.life.committers[0].commit_waiting();
        let mut answers = std::mem::take(&mut *self.answers.lock().unwrap());
        answers.sort_by_key(|(sequence, _)| *sequence);
        answers
    }

    fn fail_now(&self) {
        self.run.disks.fail_at(self.run.disks.acts() + 1, Errno::Io);
    }
}

/// The log stops at a batch, whose bytes stay on the disk or were never written, and is opened again.
fn after_a_stop(stays: bool) -> Sender {
    // It stops when neither the next segment nor the one after that can be written. What a failed
    // sync leaves is up to the seed.
    let tries = (5..40).flat_map(|seed| (1..12).map(move |making| (seed, making)));
    let mut stopped = tries.filter_map(|(seed, making)| {
        let mut sender = Sender::new(seed);
        sender.post(1, 0);
        assert_eq!(stored(&sender.commit()), [(0, true)]);
        sender.post(1, 1);
        let first = sender.run.disks.acts() + 1 + u64::from(stays);
        for act in [first, first + 1, first + 1 + making] {
            sender.run.disks.fail_at(act, Errno::Io);
        }
        assert_eq!(stored(&sender.commit()), [(1, false)]);
        let Sender { run, life, answers } = sender;
        if !life.log.failed() {
            return None;
        }
        assert_eq!(life.log.last_of([7; 16]).unwrap().order(), (1, 0), "nobody was told more");
        let life = run.open_again(life).unwrap();
        let last = life.log.last_of([7; 16]).unwrap().order();
        (last == (1, u64::from(stays))).then_some(Sender { run, life, answers })
    });
    stopped.next().expect("a log that stopped so")
}

fn stored(answers: &[(u64, Answer)]) -> Vec<(u64, bool)> {
    answers.iter().map(|(n, answer)| (*n, matches!(answer, Ok(Stored::Now)))).collect()
}

#[test]
fn batches_of_one_sender_share_a_sync() {
    let mut sender = Sender::new(1);
    sender.post(1, 0);
    sender.commit();
    let alone = sender.run.disks.acts();
    sender.post(1, 1);
    sender.commit();
    let one = sender.run.disks.acts() - alone;
    (2..10).for_each(|n| sender.post(1, n));
    let before = sender.run.disks.acts();
    assert!(stored(&sender.commit()).iter().all(|(_, now)| *now));
    // A write may be cut short by the disk, and then has a second part.
    let eight = sender.run.disks.acts() - before;
    assert!(eight <= one + 1, "eight batches cost {eight} acts, one costs {one}");
}

#[test]
fn what_follows_a_failed_batch_waits_for_it() {
    let mut sender = Sender::new(2);
    sender.post(1, 0);
    assert_eq!(stored(&sender.commit()), [(0, true)]);
    sender.post(1, 1);
    sender.post(1, 2);
    sender.fail_now();
    assert_eq!(stored(&sender.commit()), [(1, false), (2, false)]);
    // Sent before the sender knew.
    sender.post(1, 3);
    let answers = sender.commit();
    assert!(matches!(answers[..], [(3, Err(CommitError::OutOfOrder))]), "{answers:?}");
    assert_eq!(sender.life.log.last_of([7; 16]).unwrap().order(), (1, 0));
    // In order again, and at once.
    (1..=3).for_each(|n| sender.post(1, n));
    assert_eq!(stored(&sender.commit()), [(1, true), (2, true), (3, true)]);
    assert_eq!(sender.life.log.last_of([7; 16]).unwrap().order(), (1, 3));
}

#[test]
fn a_new_life_of_the_sender_begins_anew() {
    let mut sender = Sender::new(3);
    sender.post(1, 1);
    sender.fail_now();
    assert_eq!(stored(&sender.commit()), [(1, false)]);
    sender.post(2, 0);
    sender.post(2, 1);
    assert_eq!(stored(&sender.commit()), [(0, true), (1, true)]);
    // What the old one still had on its way counts as stored.
    sender.post(1, 1);
    assert!(matches!(sender.commit()[..], [(1, Ok(Stored::Before))]));
}

#[test]
fn every_batch_that_failed_comes_before_what_follows() {
    let mut sender = Sender::new(4);
    (1..=3).for_each(|n| sender.post(1, n));
    sender.fail_now();
    assert_eq!(stored(&sender.commit()), [(1, false), (2, false), (3, false)]);
    // The sender has heard of the first one only, and goes on behind the others.
    sender.post(1, 1);
    sender.post(1, 4);
    assert_eq!(stored(&sender.commit()), [(1, true), (4, false)]);
    assert_eq!(sender.life.log.last_of([7; 16]).unwrap().order(), (1, 1));
    (2..=4).for_each(|n| sender.post(1, n));
    assert_eq!(stored(&sender.commit()), [(2, true), (3, true), (4, true)]);
}

#[test]
fn who_looked_before_a_log_was_opened_again_must_look_anew() {
    // It looked, found (1, 0), and sends what had failed in another epoch.
    let mut sender = after_a_stop(true);
    sender.post(2, 0);
    sender.post(2, 1);
    assert_eq!(stored(&sender.commit()), [(0, false), (1, false)], "it is stored already");
    sender.post(3, 0);
    assert_eq!(stored(&sender.commit()), [(0, true)], "it looked again");
    // Who sends the same batch again hears so, and goes on.
    let mut sender = after_a_stop(true);
    sender.post(1, 1);
    assert!(matches!(sender.commit()[..], [(1, Ok(Stored::Before))]));
    sender.post(1, 2);
    sender.post(2, 0);
    assert_eq!(stored(&sender.commit()), [(0, true), (2, true)]);
    // What looking told is still true.
    let mut sender = after_a_stop(false);
    sender.post(2, 0);
    assert_eq!(stored(&sender.commit()), [(0, true)]);
}
