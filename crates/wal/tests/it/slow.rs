//! Disks that take their time: a wrapper around a real directory whose syncs wait.

use std::any::Any;
use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::time::{Duration, Instant};

use splashdam_wal::storage::{Disk, Storage, StorageFile};
use splashdam_wal::{Count, Log, Options, QueueOptions, Refusal};

use crate::Words;

/// How long each sync takes, and whether it comes back at all.
#[derive(Default)]
struct Pace {
    micros: AtomicU64,
    hangs: Mutex<bool>,
    wakes: Condvar,
    /// Files that the system need not keep in memory.
    let_go: AtomicU64,
}

impl Pace {
    fn hang(&self, hangs: bool) {
        *self.hangs.lock().expect("no panic") = hangs;
        self.wakes.notify_all();
    }
}

struct Slow(Disk, Arc<Pace>);
struct SlowFile(Arc<dyn StorageFile>, Arc<Pace>);

impl Slow {
    fn slowed(&self, file: Arc<dyn StorageFile>) -> Arc<dyn StorageFile> {
        Arc::new(SlowFile(file, self.1.clone()))
    }
}

impl Storage for Slow {
    fn place(&self) -> String {
        self.0.place()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        self.0.create(name).map(|file| self.slowed(file))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        self.0.open(name).map(|file| self.slowed(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.0.list()
    }

    fn sync_dir(&self) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, name: &str) -> io::Result<Box<dyn Any + Send + Sync>> {
        self.0.lock(name)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.0.free_bytes()
    }
}

impl StorageFile for SlowFile {
    fn write_at(&self, parts: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        self.0.write_at(parts, offset)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }

    /// The machine's own disk is left out: each of these is a disk of its own.
    fn sync_data(&self) -> io::Result<()> {
        std::thread::sleep(Duration::from_micros(self.1.micros.load(Ordering::Relaxed)));
        let hangs = self.1.hangs.lock().expect("no panic");
        drop(self.1.wakes.wait_while(hangs, |hangs| *hangs).expect("no panic"));
        Ok(())
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.0.truncate(length)
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        self.0.allocate(length)
    }

    fn length(&self) -> io::Result<u64> {
        self.0.length()
    }

    fn let_go(&self) {
        self.1.let_go.fetch_add(1, Ordering::Relaxed);
        self.0.let_go();
    }
}

fn open(place: &std::path::Path, paces: &[Arc<Pace>], capacity: Count) -> Log<Words> {
    let storages = paces.iter().enumerate().map(|(index, pace)| {
        let disk = Disk::open(&place.join(index.to_string())).expect("a directory");
        Arc::new(Slow(disk, pace.clone())) as Arc<dyn Storage>
    });
    // A group holds one batch, so that a sync is what a commit costs.
    let options = Options {
        segment_bytes: 4 << 20,
        group_bytes: 1 << 10,
        window_bytes: 64 << 10,
        cached_bytes: 16 << 20,
        ..Options::default()
    };
    let queue = QueueOptions { name: "c".into(), capacity };
    let opened = Log::open(storages.collect(), &[queue], options).expect("a log");
    opened.start().expect("threads")
}

/// Acknowledged batches a second, over disks whose syncs take 20 ms each and depend on nothing
/// else, with more sources than disks.
fn rate(disks: usize) -> f64 {
    let place = tempfile::tempdir().expect("a directory");
    let paces: Vec<_> = (0..disks).map(|_| Arc::<Pace>::default()).collect();
    let log = open(place.path(), &paces, Count { events: u64::MAX, bytes: u64::MAX });
    paces.iter().for_each(|pace| pace.micros.store(20_000, Ordering::Relaxed));
    let queue = log.queue("c").expect("a queue");
    let start = Instant::now();
    let stop = start + Duration::from_millis(600);
    let stored = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| {
                while Instant::now() < stop {
                    let count = Count { events: 1, bytes: 900 };
                    let room = log.reserve(&[queue], count).expect("room");
                    let (answer, answered) = mpsc::sync_channel(1);
                    let words = Words(vec!["x".repeat(900)]);
                    room.put(Arc::new(words), None, Box::new(move |done| _ = answer.send(done)));
                    answered.recv().expect("an answer").expect("a commit");
                    stored.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    let rate = stored.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64();
    log.close();
    rate
}

#[test]
fn throughput_grows_with_the_number_of_independent_disks() {
    // The best of up to ten rounds, since the machine may have other things to do. One disk never
    // does more than 50 a second; were the disks held up by each other, several would not either.
    let mut best = [0.0, 0.0, 0.0];
    for _ in 0..10 {
        for (best, disks) in best.iter_mut().zip([1, 2, 4]) {
            *best = rate(disks).max(*best);
        }
        let [one, two, four] = best;
        println!(
            "20 ms a sync: {one:.0} commits/s on one disk, {two:.0} on two, {four:.0} on four"
        );
        println!("that is {:.2} and {:.2} times the rate of one", two / one, four / one);
        if two >= 1.8 * one && four >= 3.2 * one {
            return;
        }
    }
    let [one, two, four] = best;
    assert!(two >= 1.5 * one, "two disks: {:.2} times", two / one);
    assert!(four >= 2.5 * one, "four disks: {:.2} times", four / one);
}

#[test]
fn a_disk_that_hangs_holds_up_its_own_log_within_bounds_and_no_other() {
    let place = tempfile::tempdir().expect("a directory");
    let paces = [Arc::<Pace>::default(), Arc::<Pace>::default()];
    let capacity = Count { events: 50, bytes: 50_000 };
    let [slow, quick] = ["slow", "quick"].map(|name| place.path().join(name));
    let slow = open(&slow, &paces[..1], capacity);
    let quick = open(&quick, &paces[1..], capacity);
    paces[0].hang(true);
    let put = |log: &Log<Words>, answer: mpsc::SyncSender<bool>| {
        let queue = log.queue("c").expect("a queue");
        let room = log.reserve(&[queue], Count { events: 1, bytes: 900 })?;
        let words = Words(vec!["x".repeat(900)]);
        room.put(Arc::new(words), None, Box::new(move |done| _ = answer.send(done.is_ok())));
        Ok::<_, Refusal>(())
    };
    // The disk hangs in the sync of the first put; what comes meanwhile is bounded by the capacity
    // and refused at once beyond it, so that a source waits no longer than its keep-alive.
    let (answer, answers) = mpsc::sync_channel(64);
    let mut taken_in = 0;
    while put(&slow, answer.clone()).is_ok() {
        taken_in += 1;
    }
    assert_eq!(taken_in, 50);
    assert!(matches!(put(&slow, answer.clone()), Err(Refusal::Full(_))));
    // Meanwhile the other log answers again and again.
    let (quick_answer, quick_answers) = mpsc::sync_channel(64);
    for _ in 0..50 {
        put(&quick, quick_answer.clone()).expect("room in the other log");
        assert_eq!(quick_answers.recv(), Ok(true));
    }
    let queue = slow.queue("c").expect("a queue");
    assert_eq!(answers.try_recv(), Err(mpsc::TryRecvError::Empty), "acknowledged before its sync");
    assert_eq!(slow.level(queue).reserved.events, 50);
    assert_eq!(slow.level(queue).queued.events, 0, "no taker sees what is not durable");
    // It wakes up: everything is answered, and there is room as soon as somebody takes.
    paces[0].hang(false);
    for _ in 0..50 {
        assert_eq!(answers.recv_timeout(Duration::from_secs(5)), Ok(true));
    }
    assert_eq!(slow.level(queue).queued.events, 50);
    slow.close();
    quick.close();
}

#[test]
fn only_what_waits_behind_much_else_leaves_the_systems_memory() {
    let place = tempfile::tempdir().expect("a directory");
    let pace = Arc::<Pace>::default();
    let log = open(
        place.path(),
        std::slice::from_ref(&pace),
        Count { events: u64::MAX, bytes: u64::MAX },
    );
    let queue = log.queue("c").expect("a queue");
    // Two of these fill a segment.
    let put = |n: usize| {
        let words = Words(vec![format!("{n}-{}", "x".repeat(3 << 19))]);
        let bytes = words.0[0].len() as u64;
        let room = log.reserve(&[queue], Count { events: 1, bytes }).expect("room");
        let (answer, answered) = mpsc::sync_channel(1);
        room.put(Arc::new(words), None, Box::new(move |done| _ = answer.send(done)));
        answered.recv().expect("an answer").expect("a commit");
    };
    let let_go = || pace.let_go.load(Ordering::Relaxed);
    (0..8).for_each(put);
    assert_eq!(let_go(), 0, "16 MiB are not full");
    (8..20).for_each(put);
    let gone = let_go();
    assert!((4..=6).contains(&gone), "{gone} of ten segments, of which four are kept");
    let all = crate::drain(&log, "c", 3);
    let numbers: Vec<_> = all.iter().map(|word| word.split('-').next().expect("one")).collect();
    assert_eq!(numbers, (0..20).map(|n| n.to_string()).collect::<Vec<_>>());
    // Freed, or nearly so: a queue that is kept short stays in memory.
    (0..4).for_each(put);
    assert_eq!(let_go(), gone);
    log.close();
}
