//! From those who put and take to the committers and back.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::sync::{Condvar, Mutex};
use shuttle::{Config, Runner, thread};
use splashdam_explore::storage::Storage;
use splashdam_explore::{
    Chunk, CommitError, Count, Log, Options, Parts, QueueOptions, Record, Sabotage, Stored,
};

use crate::disk::{Disk, Still};

/// One event: sixteen bytes that say who put it.
struct Mark([u8; 16]);

impl Mark {
    fn new(source: u64, turn: u64) -> Mark {
        let mut bytes = [0xA7; 16];
        bytes[..4].copy_from_slice(b"MARK");
        bytes[4] = source as u8;
        bytes[5] = turn as u8;
        Mark(bytes)
    }
}

impl Record for Mark {
    fn events(&self) -> usize {
        1
    }

    fn event_bytes(&self, _: usize) -> usize {
        self.0.len()
    }

    fn encode(&self, parts: &mut Parts) {
        parts.copy(&self.0);
    }

    fn part(&self, _: usize) -> &[u8] {
        &[]
    }
}

/// What happens beside the puts.
#[derive(Clone, Copy)]
struct Scene {
    directories: usize,
    sources: u64,
    turns: u64,
    /// A sink takes all that was put, or somebody closes the log at any time.
    taken: bool,
    /// One sync fails.
    fault: bool,
    /// So many directories fail for good, each at its first put.
    dying: usize,
    bug: Option<Sabotage>,
}

fn open(disks: &[Disk], bug: Option<Sabotage>) -> Log<Mark> {
    let storages = disks.iter().map(|disk| Arc::new(disk.clone()) as Arc<dyn Storage>).collect();
    let capacity = Count { events: 100, bytes: 1 << 20 };
    let options = Options {
        segment_bytes: 32 << 10,
        group_bytes: 2 << 10,
        window_bytes: 4 << 10,
        read_bytes: 2 << 10,
        reserve_bytes: 12 << 10,
        surroundings: Arc::new(Still::default()),
        sabotage: bug,
        ..Options::default()
    };
    let queue = QueueOptions { name: "c".into(), capacity };
    Log::open(storages, &[queue], options).expect("good disks").start().expect("threads")
}

/// A place for one answer.
struct Answer<T>(Mutex<Option<T>>, Condvar);

impl<T> Answer<T> {
    fn new() -> Arc<Answer<T>> {
        Arc::new(Answer(Mutex::new(None), Condvar::new()))
    }

    fn tell(&self, answer: T) {
        let before = self.0.lock().expect("no panic").replace(answer);
        assert!(before.is_none(), "answered twice");
        self.1.notify_one();
    }

    fn hear(&self) -> T {
        let mut held = self.0.lock().expect("no panic");
        loop {
            match held.take() {
                Some(answer) => return answer,
                None => held = self.1.wait(held).expect("no panic"),
            }
        }
    }
}

/// Puts a mark and waits for its answer, which comes only when the mark is durable.
fn put(log: &Log<Mark>, disks: &[Disk], source: u64, turn: u64) -> Result<Stored, CommitError> {
    let queue = log.queue("c").expect("it was opened");
    let mark = Mark::new(source, turn);
    let room = match log.reserve(&[queue], Count { events: 1, bytes: 16 }) {
        Ok(room) => room,
        Err(why) => return Err(CommitError::Closed(format!("{why:?}"))),
    };
    let answer = Answer::new();
    let (teller, bytes, disks) = (answer.clone(), mark.0, disks.to_vec());
    let done = move |result: Result<Stored, CommitError>| {
        let durable = disks.iter().any(|disk| disk.has(&bytes));
        teller.tell((result, durable));
    };
    room.put(Arc::new(mark), None, Box::new(done));
    let (result, durable) = answer.hear();
    assert!(durable || result.is_err(), "answered by an earlier sync");
    result
}

fn mark(chunk: &Chunk<Mark>, event: usize) -> [u8; 16] {
    match chunk {
        Chunk::Live(mark) => mark.0,
        Chunk::Stored(bytes, offsets) => {
            let start = offsets[event] as usize;
            bytes[start..start + 16].try_into().expect("sixteen bytes")
        }
    }
}

/// Takes until `count` events were taken, woken only by the log's own word.
fn take(log: &Log<Mark>, count: usize) -> Vec<[u8; 16]> {
    let queue = log.queue("c").expect("it was opened");
    let change = Arc::new((Mutex::new(false), Condvar::new()));
    let told = change.clone();
    log.listen(
        queue,
        Box::new(move || {
            *told.0.lock().expect("no panic") = true;
            told.1.notify_one();
        }),
    );
    let mut taken = Vec::new();
    while taken.len() < count {
        let most = Count { events: 2, bytes: 1 << 20 };
        let Some(lease) = log.lease(queue, most).expect("it is open") else {
            let mut changed = change.0.lock().expect("no panic");
            while !*changed {
                changed = change.1.wait(changed).expect("no panic");
            }
            *changed = false;
            continue;
        };
        let pieces = lease.pieces().iter();
        let marks: Vec<_> = pieces
            .flat_map(|piece| piece.events.clone().map(|event| mark(&piece.chunk, event)))
            .collect();
        let answer = Answer::new();
        let teller = answer.clone();
        lease.commit(Box::new(move |result| teller.tell(result)));
        if answer.hear().is_ok() {
            taken.extend(marks);
        }
    }
    taken
}

/// Plays the scene once, in the order that the scheduler chooses.
fn play(scene: Scene) {
    let disks: Vec<_> = (0..scene.directories).map(Disk::new).collect();
    let log = open(&disks, scene.bug);
    if scene.fault {
        disks[0].fail_sync_after(1);
    }
    disks[..scene.dying].iter().for_each(Disk::break_down);
    let all = usize::try_from(scene.sources * scene.turns).expect("few");
    let sources: Vec<_> = (0..scene.sources)
        .map(|source| {
            let (log, disks) = (log.clone(), disks.clone());
            thread::spawn(move || {
                let mut answers = Vec::new();
                for turn in 0..scene.turns {
                    let mut result = put(&log, &disks, source, turn);
                    // As a source does: again, until it is stored.
                    for _ in 0..1 + 4 * scene.dying {
                        if scene.taken && result.is_err() {
                            result = put(&log, &disks, source, turn);
                        }
                    }
                    answers.push((Mark::new(source, turn).0, result));
                }
                answers
            })
        })
        .collect();
    let mut taken = BTreeSet::new();
    if scene.taken {
        taken.extend(take(&log, all));
        let queue = log.queue("c").expect("it was opened");
        let (untaken, next) = log.untaken(queue);
        assert!(untaken.is_empty(), "{untaken:?} of {next} are in flight for ever");
    } else {
        log.close();
    }
    let mut stored = BTreeSet::new();
    let mut unknown = BTreeSet::new();
    for source in sources {
        for (mark, result) in source.join().expect("no panic") {
            match result {
                Ok(_) => _ = stored.insert(mark),
                Err(CommitError::Failed(_)) => _ = unknown.insert(mark),
                Err(_) => {}
            }
        }
    }
    log.close();
    disks.iter().for_each(Disk::heal);
    // What was acknowledged is there, what was refused is not.
    let again = open(&disks, scene.bug);
    let queue = again.queue("c").expect("it was opened");
    let left = again.level(queue).queued.events;
    let there: BTreeSet<_> =
        take(&again, usize::try_from(left).expect("few")).into_iter().collect();
    again.close();
    let lost: Vec<_> =
        stored.iter().filter(|mark| !there.contains(*mark) && !taken.contains(*mark)).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    let invented = there.iter().find(|mark| !stored.contains(*mark) && !unknown.contains(*mark));
    assert!(invented.is_none(), "refused and there: {invented:?}");
    let twice = there.iter().find(|mark| taken.contains(*mark));
    assert!(twice.is_none(), "taken and there again: {twice:?}");
}

const ORDERS: usize = 200;

fn explore(scene: Scene) {
    let mut config = Config::new();
    config.stack_size = 1 << 20;
    config.failure_persistence = shuttle::FailurePersistence::None;
    Runner::new(RandomScheduler::new_from_seed(4, ORDERS), config.clone()).run(move || play(scene));
    Runner::new(PctScheduler::new_from_seed(4, 3, ORDERS), config).run(move || play(scene));
}

const PLAIN: Scene =
    Scene { directories: 1, sources: 3, turns: 2, taken: true, fault: false, dying: 0, bug: None };
#[test]
fn a_sync_answers_only_those_who_were_written_before_it() {
    explore(PLAIN);
    explore(Scene { directories: 2, ..PLAIN });
}

#[test]
fn a_failed_sync_answers_nobody_well_and_nobody_waits_for_ever() {
    explore(Scene { fault: true, ..PLAIN });
    explore(Scene { fault: true, directories: 2, ..PLAIN });
}

#[test]
fn what_a_dead_directory_left_is_taken_over_by_one_that_lives() {
    explore(Scene { dying: 2, directories: 3, sources: 4, ..PLAIN });
}

#[test]
fn closing_loses_no_request() {
    explore(Scene { taken: false, ..PLAIN });
    explore(Scene { taken: false, fault: true, directories: 2, ..PLAIN });
}

/// The explorer is worth something only if it finds these.
#[test]
fn planted_bugs_of_the_hand_over_are_found() {
    use Sabotage::{AnswerBeforeSync, AnswerLatecomers, ClosingUnasked};
    for (bug, scene, shows) in [
        (AnswerBeforeSync, PLAIN, &["answered by an earlier sync"][..]),
        // A put or a take that nobody has written.
        (AnswerLatecomers, PLAIN, &["answered by an earlier sync", "taken and there again"]),
        (ClosingUnasked, Scene { taken: false, ..PLAIN }, &["deadlock"]),
    ] {
        let scene = Scene { bug: Some(bug), ..scene };
        let Err(panic) = catch_unwind(AssertUnwindSafe(|| explore(scene))) else {
            panic!("{bug:?} was not found in {} orders", 2 * ORDERS);
        };
        let told = panic.downcast_ref::<String>().cloned();
        let told = told.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
        let shown = told.is_some_and(|told| shows.iter().any(|shows| told.contains(shows)));
        assert!(shown, "{bug:?} showed otherwise");
    }
}
