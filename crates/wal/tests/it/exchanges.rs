//! Takes that put something in exchange, in one frame, possibly into another queue.

use std::path::Path;
use std::sync::{Arc, mpsc};

use splashdam_wal::segment::{COPY_BYTES, SegmentHeader};
use splashdam_wal::{CommitError, Count, Log, Room, Stored};

use super::{ALL, Words, drain, open, put, small};

/// Leases `most` events of `c1` and exchanges them for one.
fn exchange(log: &Log<Words>, most: u64, room: Room<Words>) -> Result<Stored, CommitError> {
    let id = log.queue("c1").expect("a queue");
    let lease = log.lease(id, Count { events: most, ..ALL }).expect("open").expect("events");
    let (answer, answered) = mpsc::sync_channel(1);
    let letter = Arc::new(Words(vec!["letter".into()]));
    lease.exchange(room, letter, Box::new(move |result| _ = answer.send(result)));
    answered.recv().expect("an answer")
}

fn room(log: &Log<Words>, bytes: u64) -> Room<Words> {
    let id = log.queue("c2").expect("a queue");
    log.reserve(&[id], Count { events: 1, bytes }).expect("room")
}

/// Of each segment in order, whether its header says that puts in it may take.
fn marked(place: &Path) -> Vec<bool> {
    let entries =
        std::fs::read_dir(place).expect("a directory").map(|entry| entry.expect("a name").path());
    let mut names: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|end| end == "seg")).collect();
    names.sort();
    let headers = names.iter().filter_map(|name| {
        let bytes = std::fs::read(name).expect("a file");
        SegmentHeader::decode(bytes.get(..COPY_BYTES)?).ok()
    });
    headers.map(|header| header.exchanges).collect()
}

#[test]
fn one_frame_takes_and_puts_and_its_segment_says_so() {
    let place = tempfile::tempdir().expect("a directory");
    let paths = [place.path()];
    let log = open(&paths, small()).expect("a log");
    let words: Vec<_> = ["one", "two", "three", "four"].map(str::to_owned).into();
    put(&log, &["c1"], words, None);
    assert_eq!(marked(place.path()), [false], "who never does this writes what he always did");
    assert!(matches!(exchange(&log, 3, room(&log, 6)), Ok(Stored::Now)));
    assert_eq!(marked(place.path()), [false, true]);
    let level = |log: &Log<Words>, name| log.level(log.queue(name).expect("a queue"));
    for (name, events) in [("c1", 1), ("c2", 1)] {
        let level = level(&log, name);
        assert_eq!((level.queued.events, level.leased.events), (events, 0), "{name}");
        assert_eq!(level.reserved, Count::default(), "{name}");
    }
    log.close();
    let log = open(&paths, small()).expect("the log again");
    assert_eq!(drain(&log, "c1", 9), ["four"]);
    assert_eq!(drain(&log, "c2", 9), ["letter"]);
    log.close();
}

#[test]
fn what_is_refused_leaves_the_lease_and_the_room_where_they_were() {
    let places = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
    let [log, other] =
        places.each_ref().map(|place| open(&[place.path()], small()).expect("a log"));
    let words = ["one", "two"].map(str::to_owned);
    put(&log, &["c1"], words.to_vec(), None);
    for (place, bytes, why) in [(&log, 5, "too little room"), (&other, 6, "of another log")] {
        let held = room(place, bytes);
        assert!(matches!(exchange(&log, 1, held), Err(CommitError::Unfit)), "{why}");
        for log in [&log, &other] {
            let level = log.level(log.queue("c2").expect("a queue"));
            assert_eq!((level.queued.events, level.reserved.events), (0, 0), "{why}");
        }
    }
    assert_eq!(drain(&log, "c1", 1), words);
    let late = room(&log, 6);
    put(&log, &["c1"], words.to_vec(), None);
    let id = log.queue("c1").expect("a queue");
    let lease = log.lease(id, ALL).expect("open").expect("events");
    log.close();
    let (answer, answered) = mpsc::sync_channel(1);
    let letter = Arc::new(Words(vec!["letter".into()]));
    lease.exchange(late, letter, Box::new(move |result| _ = answer.send(result)));
    assert!(matches!(answered.recv().expect("an answer"), Err(CommitError::Closed(_))));
    let log = open(&[places[0].path()], small()).expect("the log again");
    assert_eq!((drain(&log, "c1", 9), drain(&log, "c2", 9)), (words.to_vec(), vec![]));
    log.close();
}
