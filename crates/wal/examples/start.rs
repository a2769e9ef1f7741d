//! How long a start takes with many events queued: fills a log on a real disk once, then opens it
//! after a clean stop and after an end without one, and says what the disk was asked meanwhile:
//! `cargo run --release -p splashdam-wal --example start -- DIRECTORY [EVENTS [EVENTS-A-BATCH]]`.
//! Needs 530 bytes of room an event. `--cold` before them drops the files from the page cache first.

use std::any::Any;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use splashdam_wal::storage::{Disk, Storage, StorageFile};
use splashdam_wal::{Count, Log, Options, Parts, QueueOptions, Record};

/// Events of 512 bytes.
struct Batch(usize);

const EVENT: [u8; 512] = [b'x'; 512];

impl Record for Batch {
    fn events(&self) -> usize {
        self.0
    }

    fn event_bytes(&self, _: usize) -> usize {
        EVENT.len()
    }

    fn encode(&self, parts: &mut Parts) {
        for event in 0..self.0 {
            parts.keep(event, &EVENT);
        }
    }

    fn part(&self, _: usize) -> &[u8] {
        &EVENT
    }
}

/// What the disk was asked: the act, how often, how long in all.
type Acts = Arc<Mutex<Vec<(&'static str, u32, Duration)>>>;

fn timed<T>(acts: &Acts, act: &'static str, ask: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let answer = ask();
    let took = start.elapsed();
    let mut acts = acts.lock().unwrap_or_else(PoisonError::into_inner);
    match acts.iter_mut().find(|known| known.0 == act) {
        Some(known) => *known = (act, known.1 + 1, known.2 + took),
        None => acts.push((act, 1, took)),
    }
    answer
}

struct Watched(Disk, Acts);
struct WatchedFile(Arc<dyn StorageFile>, Acts);

impl Storage for Watched {
    fn place(&self) -> String {
        self.0.place()
    }
    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        let file = timed(&self.1, "create", || self.0.create(name))?;
        Ok(Arc::new(WatchedFile(file, self.1.clone())))
    }
    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        let file = timed(&self.1, "open", || self.0.open(name))?;
        Ok(Arc::new(WatchedFile(file, self.1.clone())))
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        timed(&self.1, "rename", || self.0.rename(from, to))
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        timed(&self.1, "remove", || self.0.remove(name))
    }
    fn list(&self) -> io::Result<Vec<String>> {
        timed(&self.1, "list", || self.0.list())
    }
    fn sync_dir(&self) -> io::Result<()> {
        timed(&self.1, "sync names", || self.0.sync_dir())
    }
    fn lock(&self, name: &str) -> io::Result<Box<dyn Any + Send + Sync>> {
        timed(&self.1, "lock", || self.0.lock(name))
    }
    fn free_bytes(&self) -> io::Result<u64> {
        self.0.free_bytes()
    }
}

impl StorageFile for WatchedFile {
    fn write_at(&self, parts: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        timed(&self.1, "write", || self.0.write_at(parts, offset))
    }
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        timed(&self.1, "read", || self.0.read_at(buffer, offset))
    }
    fn sync_data(&self) -> io::Result<()> {
        timed(&self.1, "sync", || self.0.sync_data())
    }
    fn truncate(&self, length: u64) -> io::Result<()> {
        timed(&self.1, "truncate", || self.0.truncate(length))
    }
    fn allocate(&self, length: u64) -> io::Result<()> {
        timed(&self.1, "allocate", || self.0.allocate(length))
    }
    fn length(&self) -> io::Result<u64> {
        self.0.length()
    }
    fn next_data(&self, offset: u64) -> io::Result<Option<u64>> {
        timed(&self.1, "look for data", || self.0.next_data(offset))
    }
}

fn queues() -> [QueueOptions; 1] {
    let capacity = Count { events: u64::MAX, bytes: u64::MAX };
    [QueueOptions { name: "c1".into(), capacity }]
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args: Vec<_> = std::env::args().skip(1).collect();
    let cold = args.iter().position(|arg| arg == "--cold").map(|at| args.remove(at)).is_some();
    let mut args = args.into_iter();
    let place = args.next().ok_or("name a directory to write in")?;
    let events: u64 = args.next().map_or(Ok(10_000_000), |text| text.parse())?;
    let batch: usize = args.next().map_or(Ok(1000), |text| text.parse())?;
    let place = Path::new(&place);
    fill(place, events, batch)?;
    for (how, cleanly) in [
        ("as it was left", true),
        ("clean stop", true),
        ("clean stop", false),
        ("no stop", false),
        ("no stop", false),
    ] {
        if cold {
            forget(place)?;
        }
        start(place, how, cleanly)?;
    }
    Ok(())
}

/// Puts until there are `events`.
fn fill(place: &Path, events: u64, batch: usize) -> Result<(), Box<dyn std::error::Error>> {
    let storage: Arc<dyn Storage> = Arc::new(Disk::open(place)?);
    let log: Log<Batch> = Log::open(vec![storage], &queues(), Options::default())?.start()?;
    let queue = log.queue("c1").ok_or("no queue")?;
    let record = Arc::new(Batch(batch));
    let (answer, answered) = mpsc::sync_channel(16);
    let mut under_way = 0;
    let count = Count { events: batch as u64, bytes: (batch * EVENT.len()) as u64 };
    let start = log.level(queue).queued.events;
    for _ in (start..events).step_by(batch) {
        if under_way == 8 {
            answered.recv()?;
            under_way -= 1;
        }
        let room = log.reserve(&[queue], count).map_err(|why| format!("{why:?}"))?;
        let answer = answer.clone();
        room.put(record.clone(), None, Box::new(move |_| _ = answer.send(())));
        under_way += 1;
    }
    log.close();
    Ok(())
}

/// Opens, says what that took, and stops, cleanly or by leaving everything as it is.
fn start(place: &Path, how: &str, cleanly: bool) -> Result<(), Box<dyn std::error::Error>> {
    let acts = Acts::default();
    let start = Instant::now();
    let storage: Arc<dyn Storage> = Arc::new(Watched(Disk::open(place)?, acts.clone()));
    let opened: splashdam_wal::Opened<Batch> =
        Log::open(vec![storage], &queues(), Options::default())?;
    let took = start.elapsed();
    let asked = std::mem::take(&mut *acts.lock().unwrap_or_else(PoisonError::into_inner));
    let queued = opened.log.level(opened.log.queue("c1").ok_or("no queue")?).queued.events;
    println!("after {how}: open with {queued} events took {took:.1?}");
    for (act, times, took) in asked {
        println!("    {act:>12} {times:5} times {took:10.1?}");
    }
    match cleanly {
        true => opened.start()?.close(),
        false => opened.log.close(),
    }
    Ok(())
}

/// Drops the files from the page cache.
fn forget(place: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(place)? {
        let file = std::fs::File::open(entry?.path())?;
        file.sync_all()?;
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
    }
    Ok(())
}
