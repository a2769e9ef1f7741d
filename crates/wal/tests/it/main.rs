//! The log with its threads, on a real directory.

mod again;
mod exchanges;
mod fuzz_seeds;
mod lanes;
mod panics;
mod senders;
mod slow;

use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use splashdam_wal::storage::{Disk, Storage};
use splashdam_wal::{
    Chunk, Count, Lease, Log, OpenError, Options, Origin, Parts, QueueOptions, Record, Refusal,
    Stored,
};

struct Words(Vec<String>);

impl Record for Words {
    fn events(&self) -> usize {
        self.0.len()
    }

    fn event_bytes(&self, event: usize) -> usize {
        self.0[event].len()
    }

    fn encode(&self, parts: &mut Parts) {
        for (index, word) in self.0.iter().enumerate() {
            parts.keep(index, word.as_bytes());
        }
    }

    fn part(&self, part: usize) -> &[u8] {
        self.0[part].as_bytes()
    }
}

const ALL: Count = Count { events: u64::MAX, bytes: u64::MAX };

fn open(paths: &[&std::path::Path], options: Options) -> Result<Log<Words>, OpenError> {
    let storages = paths
        .iter()
        .map(|path| Arc::new(Disk::open(path).expect("a directory")) as Arc<dyn Storage>)
        .collect();
    let capacity = Count { events: 10_000, bytes: 100 << 20 };
    let queue = |name: &str| QueueOptions { name: name.into(), capacity };
    let opened = Log::open(storages, &[queue("c1"), queue("c2")], options)?;
    Ok(opened.start().expect("threads"))
}

fn small() -> Options {
    Options {
        segment_bytes: 1 << 20,
        group_bytes: 256 << 10,
        reserve_bytes: 512 << 10,
        window_bytes: 64 << 10,
        ..Options::default()
    }
}

fn put(log: &Log<Words>, queues: &[&str], words: Vec<String>, origin: Option<Origin>) -> Stored {
    let ids: Vec<_> = queues.iter().map(|name| log.queue(name).expect("a queue")).collect();
    let bytes = words.iter().map(String::len).sum::<usize>() as u64;
    let room = log.reserve(&ids, Count { events: words.len() as u64, bytes }).expect("room");
    let (answer, answered) = mpsc::sync_channel(1);
    room.put(Arc::new(Words(words)), origin, Box::new(move |result| _ = answer.send(result)));
    answered.recv().expect("an answer").expect("a commit")
}

fn words(lease: &Lease<Words>) -> Vec<String> {
    let mut all = Vec::new();
    for piece in lease.pieces() {
        for event in piece.events.clone() {
            all.push(match &piece.chunk {
                Chunk::Live(record) => record.0[event].clone(),
                Chunk::Stored(bytes, offsets) => {
                    let range = offsets[event] as usize..offsets[event + 1] as usize;
                    String::from_utf8(bytes[range].to_vec()).expect("what was put")
                }
            });
        }
    }
    all
}

/// Takes from a queue until it is empty.
fn drain(log: &Log<Words>, queue: &str, most: u64) -> Vec<String> {
    let id = log.queue(queue).expect("a queue");
    let mut all = Vec::new();
    while log.level(id).queued.events > 0 {
        let Some(lease) = log.lease(id, Count { events: most, ..ALL }).expect("open") else {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        };
        all.extend(words(&lease));
        let (answer, answered) = mpsc::sync_channel(1);
        lease.commit(Box::new(move |result| _ = answer.send(result)));
        answered.recv().expect("an answer").expect("a commit");
    }
    all
}

#[test]
fn what_was_put_comes_out_in_order_before_and_after_a_start() {
    for directories in [1, 2] {
        let place = tempfile::tempdir().expect("a directory");
        let paths: Vec<_> = (0..directories).map(|n| place.path().join(n.to_string())).collect();
        let paths: Vec<_> = paths.iter().map(std::path::PathBuf::as_path).collect();
        let log = open(&paths, small()).expect("a log");
        let mut want = Vec::new();
        for batch in 0..300 {
            let words: Vec<_> =
                (0..9).map(|n| format!("{batch}-{n}-{}", "x".repeat(500))).collect();
            want.extend(words.clone());
            put(&log, if batch % 2 == 0 { &["c1"] } else { &["c1", "c2"] }, words, None);
        }
        let id = log.queue("c1").expect("a queue");
        assert_eq!(log.level(id).queued.events, 2700);
        let mut got = Vec::new();
        let lease = log.lease(id, Count { events: 5, ..ALL }).expect("open").expect("events");
        assert_eq!(words(&lease), want[..5]);
        drop(lease);
        while got.len() < 1000 {
            let Some(lease) = log.lease(id, Count { events: 37, ..ALL }).expect("open") else {
                std::thread::sleep(Duration::from_millis(1));
                continue;
            };
            got.extend(words(&lease));
            let (answer, answered) = mpsc::sync_channel(1);
            lease.commit(Box::new(move |result| _ = answer.send(result)));
            answered.recv().expect("an answer").expect("a commit");
        }
        assert!(matches!(open(&paths, small()), Err(OpenError::Locked { .. })));
        log.close();
        assert!(matches!(
            log.reserve(&[id], Count { events: 1, bytes: 1 }),
            Err(Refusal::Closed(_))
        ));
        let log = open(&paths, small()).expect("the log again");
        assert_eq!(log.level(id).queued.events, (want.len() - got.len()) as u64);
        got.extend(drain(&log, "c1", 100));
        assert!(got == want, "{directories} directories: order or events differ");
        assert_eq!(drain(&log, "c2", 10_000).len(), 1350);
        log.close();
        for path in paths {
            let files = std::fs::read_dir(path).expect("a directory");
            let segments = files.filter(|file| {
                file.as_ref().is_ok_and(|file| file.path().extension().is_some_and(|e| e == "seg"))
            });
            assert!(segments.count() <= 4, "useless segments are left");
        }
    }
}

#[test]
fn a_batch_that_is_sent_again_is_stored_once() {
    let place = tempfile::tempdir().expect("a directory");
    let origin = |sequence| {
        Some(Origin { sender: [9; 16], epoch: 1, sequence, position: sequence.to_string().into() })
    };
    let log = open(&[place.path()], small()).expect("a log");
    assert_eq!(put(&log, &["c1"], vec!["one".into()], origin(1)), Stored::Now);
    assert_eq!(put(&log, &["c1"], vec!["one".into()], origin(1)), Stored::Before);
    assert_eq!(put(&log, &["c1"], vec!["two".into()], origin(2)), Stored::Now);
    log.close();
    let log = open(&[place.path()], small()).expect("the log again");
    assert_eq!(put(&log, &["c1"], vec!["two".into()], origin(2)), Stored::Before);
    assert_eq!(log.last_of([9; 16]).expect("a sender").position, b"2");
    assert_eq!(drain(&log, "c1", 10), ["one", "two"]);
    log.close();
}

#[test]
fn room_is_held_and_given_back() {
    let place = tempfile::tempdir().expect("a directory");
    let log = open(&[place.path()], small()).expect("a log");
    let id = log.queue("c1").expect("a queue");
    let all = Count { events: 10_000, bytes: 10 };
    let room = log.reserve(&[id], all).expect("room");
    let one = Count { events: 1, bytes: 1 };
    assert!(matches!(log.reserve(&[id], one), Err(Refusal::Full(full)) if full == id));
    drop(room);
    drop(log.reserve(&[id], one).expect("room again"));
    log.close();
}

#[test]
fn many_sources_and_sinks_lose_and_repeat_nothing() {
    let place = tempfile::tempdir().expect("a directory");
    let log = open(&[place.path()], small()).expect("a log");
    let taken = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for source in 0..4 {
            let log = log.clone();
            scope.spawn(move || {
                for batch in 0..40 {
                    let words = (0..5).map(|n| format!("{source}-{batch}-{n}")).collect();
                    put(&log, &["c1"], words, None);
                }
            });
        }
        for _ in 0..3 {
            scope.spawn(|| {
                let id = log.queue("c1").expect("a queue");
                while taken.lock().expect("no panic").len() < 800 {
                    let Some(lease) = log.lease(id, Count { events: 7, ..ALL }).expect("open")
                    else {
                        std::thread::sleep(Duration::from_millis(1));
                        continue;
                    };
                    let got = words(&lease);
                    let (answer, answered) = mpsc::sync_channel(1);
                    lease.commit(Box::new(move |result| _ = answer.send(result)));
                    answered.recv().expect("an answer").expect("a commit");
                    taken.lock().expect("no panic").extend(got);
                }
            });
        }
    });
    let mut taken = taken.into_inner().expect("no panic");
    taken.sort();
    taken.dedup();
    assert_eq!(taken.len(), 800);
    log.close();
}

/// Files under `place` that this process has open.
fn descriptors(place: &std::path::Path) -> usize {
    let all = std::fs::read_dir("/proc/self/fd").expect("descriptors");
    let links = all.filter_map(|one| std::fs::read_link(one.ok()?.path()).ok());
    links.filter(|link| link.starts_with(place) && link.extension().is_some()).count()
}

#[test]
fn a_long_backlog_holds_few_descriptors() {
    let place = tempfile::tempdir().expect("a directory");
    let options = || Options {
        segment_bytes: 64 << 10,
        group_bytes: 16 << 10,
        reserve_bytes: 64 << 10,
        window_bytes: 4 << 10,
        open_segments: 3,
        ..Options::default()
    };
    // Locks, the current segment, the next one, the reserve, a retired one, and one being opened.
    let most = 3 + 7;
    let log = open(&[place.path()], options()).expect("a log");
    let mut want = Vec::new();
    for batch in 0..200 {
        let words: Vec<_> = (0..9).map(|n| format!("{batch}-{n}-{}", "x".repeat(2000))).collect();
        want.extend(words.clone());
        put(&log, &["c1"], words, None);
        let open = descriptors(place.path());
        assert!(open <= most, "{open} descriptors after batch {batch}");
    }
    let files = || std::fs::read_dir(place.path()).expect("a directory").count();
    assert!(files() > 50, "{} files are no long backlog", files());
    let id = log.queue("c1").expect("a queue");
    let mut got = words(&log.lease(id, Count { events: 1, ..ALL }).expect("open").expect("events"));
    assert_eq!(got, want[..1]);
    log.close();
    drop(log);
    let log = open(&[place.path()], options()).expect("the log again");
    assert!(descriptors(place.path()) <= most, "after the start");
    got = drain(&log, "c1", 50);
    assert!(descriptors(place.path()) <= most, "after all was read");
    assert!(got == want, "order or events differ");
    log.close();
}
