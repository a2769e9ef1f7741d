//! Puts in a lane keep their order, whatever becomes of them.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use splashdam_wal::storage::{Disk, Storage};
use splashdam_wal::{CommitError, Count, Lane, Log, Opened, Options, Origin, QueueOptions, Stored};
use tempfile::TempDir;

use crate::{ALL, Words, small, words};

/// A log whose threads do not run.
fn by_hand(place: &TempDir, directories: usize, options: Options) -> Opened<Words> {
    let disk = |n: usize| Disk::open(&place.path().join(n.to_string())).expect("a directory");
    let storages = (0..directories).map(|n| Arc::new(disk(n)) as Arc<dyn Storage>).collect();
    let queue = QueueOptions { name: "c1".into(), capacity: ALL };
    Log::open(storages, &[queue], options).expect("a log")
}

type Answer = Receiver<Result<Stored, CommitError>>;

fn post(log: &Log<Words>, word: &str, origin: Option<Origin>, lane: Option<&Lane>) -> Answer {
    let id = log.queue("c1").expect("a queue");
    let count = Count { events: 1, bytes: word.len() as u64 };
    let mut room = log.reserve(&[id], count).expect("room");
    if let Some(lane) = lane {
        room.set_lane(lane.clone());
    }
    let (answer, answered) = sync_channel(1);
    let done = move |result| _ = answer.send(result);
    room.put(Arc::new(Words(vec![word.to_owned()])), origin, Box::new(done));
    answered
}

fn queued(log: &Log<Words>) -> Vec<String> {
    let id = log.queue("c1").expect("a queue");
    log.lease(id, ALL).expect("open").map(|lease| words(&lease)).unwrap_or_default()
}

fn lane(number: u64) -> Lane {
    Lane::new(number, Arc::default())
}

#[test]
fn the_faster_of_two_directories_does_not_get_ahead() {
    let place = tempfile::tempdir().expect("a directory");
    let Opened { log, mut committers, .. } = by_hand(&place, 2, small());
    let (one, other) = (lane(1), lane(2));
    let puts = [("a0", &one), ("b0", &other), ("a1", &one), ("b1", &other), ("a2", &one)];
    let answers: Vec<_> =
        puts.iter().map(|(word, lane)| post(&log, word, None, Some(lane))).collect();
    // The second is done with all that it was given before the first begins.
    for committer in committers.iter_mut().rev() {
        committer.commit_waiting();
    }
    assert!(answers.iter().all(|answer| matches!(answer.recv(), Ok(Ok(Stored::Now)))));
    let all = queued(&log);
    let of = |lane: char| all.iter().filter(move |word| word.starts_with(lane)).cloned();
    assert_eq!(of('a').collect::<Vec<_>>(), ["a0", "a1", "a2"]);
    assert_eq!(of('b').collect::<Vec<_>>(), ["b0", "b1"]);
    assert!(all[0].starts_with('b'), "each lane goes where least is to be done: {all:?}");
}

#[test]
fn what_fits_does_not_get_ahead_of_what_did_not() {
    // No room for another segment.
    let options = || Options { least_free_bytes: u64::MAX / 2, ..small() };
    let large = "x".repeat(2 << 20);
    for in_lane in [false, true] {
        let place = tempfile::tempdir().expect("a directory");
        let Opened { log, mut committers, .. } = by_hand(&place, 1, options());
        let one = lane(1);
        let of_it = in_lane.then_some(&one);
        let answers = [
            post(&log, "first", None, of_it),
            post(&log, &large, None, of_it),
            post(&log, "small", None, of_it),
            post(&log, "other", None, Some(&lane(2))),
        ];
        committers[0].commit_waiting();
        let [first, large, small, other] = answers.map(|answer| answer.recv().expect("an answer"));
        assert!(matches!(large, Err(CommitError::Full)), "{large:?}");
        assert!(first.is_ok() && other.is_ok());
        match in_lane {
            true => assert!(matches!(small, Err(CommitError::OutOfOrder)), "{small:?}"),
            false => assert!(small.is_ok(), "{small:?}"),
        }
        let words: &[&str] =
            if in_lane { &["first", "other"] } else { &["first", "small", "other"] };
        assert_eq!(queued(&log), words);
    }
}

#[test]
fn an_origin_needs_no_lane() {
    let place = tempfile::tempdir().expect("a directory");
    let Opened { log, mut committers, .. } = by_hand(&place, 1, small());
    let one = lane(1);
    let origin =
        |sequence| Some(Origin { sender: [1; 16], epoch: 1, sequence, position: Vec::new() });
    let too_long = Origin { position: vec![0; 1 << 20], ..origin(1).expect("one") };
    let refused = post(&log, "a", Some(too_long), Some(&one));
    assert!(matches!(refused.recv(), Ok(Err(CommitError::Unfit))));
    let behind = post(&log, "b", origin(2), Some(&one));
    let plain = post(&log, "c", None, Some(&one));
    committers[0].commit_waiting();
    assert!(matches!(behind.recv(), Ok(Err(CommitError::OutOfOrder))), "by its origin");
    assert!(matches!(plain.recv(), Ok(Ok(Stored::Now))), "nothing of the lane itself was refused");
}
