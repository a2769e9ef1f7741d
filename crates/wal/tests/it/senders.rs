//! How many senders a log remembers.

use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use splashdam_wal::record::MOST_POSITION;
use splashdam_wal::{CommitError, Count, Log, Options, Origin, Syncs};

use crate::{Words, drain, open, small};

fn sender(n: usize) -> [u8; 16] {
    (n as u128).to_be_bytes()
}

/// Puts a batch of each sender, with the longest position there may be; gives the answers' errors.
fn put_all(log: &Log<Words>, senders: std::ops::Range<usize>) -> Vec<CommitError> {
    let id = log.queue("c1").expect("a queue");
    let (answer, answered) = mpsc::sync_channel(senders.len());
    for n in senders {
        let position = vec![b'p'; MOST_POSITION];
        let origin = Origin { sender: sender(n), epoch: 1, sequence: 1, position };
        let room = log.reserve(&[id], Count { events: 1, bytes: 100 }).expect("room");
        let answer = answer.clone();
        let done = move |result| _ = answer.send(result);
        room.put(Arc::new(Words(vec![n.to_string()])), Some(origin), Box::new(done));
    }
    drop(answer);
    answered.iter().filter_map(Result::err).collect()
}

#[test]
fn positions_are_limited_in_bytes_now_and_after_a_start() {
    let place = tempfile::tempdir().expect("a directory");
    let options =
        |most: usize| Options { most_position_bytes: most * MOST_POSITION + 1, ..small() };
    let check = |log: &Log<Words>, want: std::ops::Range<usize>| {
        for n in 0..20 {
            let known = log.last_of(sender(n)).is_some();
            assert_eq!(known, want.contains(&n), "sender {n} of {want:?}");
        }
    };
    let open = |most| open(&[place.path()], options(most)).expect("a log");
    let log = open(10);
    for n in 0..20 {
        assert!(put_all(&log, n..n + 1).is_empty());
        // Their times tell them apart.
        std::thread::sleep(Duration::from_millis(2));
    }
    check(&log, 10..20);
    log.close();
    let log = open(4);
    check(&log, 16..20);
    log.close();
    let log = open(10);
    // The segment before was not read again: its cursor said what there was.
    assert!(log.last_of(sender(15)).is_none() && log.last_of(sender(19)).is_some());
    assert_eq!(drain(&log, "c1", 10).len(), 20);
    log.close();
}

#[test]
fn a_state_that_no_start_could_read_is_not_written() {
    let place = tempfile::tempdir().expect("a directory");
    let paths: [&Path; 1] = [place.path()];
    let long = Options {
        segment_bytes: 70 << 20,
        most_position_bytes: usize::MAX,
        sync: Syncs::Every(Duration::from_secs(1)),
        ..Options::default()
    };
    let log = open(&paths, long).expect("a log");
    let errors = put_all(&log, 0..2300);
    let first = errors.first().expect("a segment ends, and its state is too long").to_string();
    assert!(first.contains("can be read again"), "{first}");
    let stored = 2300 - errors.len();
    assert!(stored > 2050, "{stored}");
    log.close();
    let log = open(&paths, Options::default()).expect("the log again");
    assert_eq!(put_all(&log, 2300..2310).len(), 0);
    assert_eq!(drain(&log, "c1", 1000).len(), stored + 10);
    log.close();
}
