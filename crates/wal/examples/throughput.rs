//! Puts and takes on a real disk, beside raw sequential writes of the same size, each followed by
//! `fdatasync`: `cargo run --release -p splashdam-wal --example throughput -- DIRECTORY [SECONDS]`. With `--features`
//! before the directory: the same put and take encrypted, compressed, and with syncs now and then.

use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use splashdam_wal::storage::{Disk, Storage};
use splashdam_wal::{
    Compression, Count, Key, Keys, Log, Options, Parts, QueueOptions, Record, Syncs,
};

/// Events of one length, with a header of 16 bytes each.
struct Batch {
    events: usize,
    body: Vec<u8>,
}

impl Record for Batch {
    fn events(&self) -> usize {
        self.events
    }

    fn event_bytes(&self, _: usize) -> usize {
        self.body.len() / self.events + 3
    }

    fn encode(&self, parts: &mut Parts) {
        let length = self.body.len() / self.events;
        for event in 0..self.events {
            parts.copy(&[0, 0x80, 0x08]);
            parts.keep(event, &self.body[event * length..(event + 1) * length]);
        }
    }

    fn part(&self, part: usize) -> &[u8] {
        let length = self.body.len() / self.events;
        &self.body[part * length..(part + 1) * length]
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1).peekable();
    let features = args.next_if(|arg| arg == "--features").is_some();
    let place = args.next().ok_or("name a directory to write in")?;
    let seconds = args.next().map_or(Ok(4), |text| text.parse())?;
    let place = Path::new(&place);
    std::fs::create_dir_all(place)?;
    println!("bytes batch sources what events/s MB/s cpu-s/M-events");
    if features {
        let keys = || Some(Arc::new(OneKey) as Arc<dyn Keys>);
        let plain = Options::default();
        for (what, options) in [
            ("plain", plain.clone()),
            ("encrypted", Options { keys: keys(), ..plain.clone() }),
            ("lz4", Options { compression: Compression::Lz4, ..plain.clone() }),
            ("zstd", Options { compression: Compression::Zstd, ..plain.clone() }),
            (
                "zstd, encrypted",
                Options { compression: Compression::Zstd, keys: keys(), ..plain.clone() },
            ),
            ("a sync each 5 s", Options { sync: Syncs::Every(Duration::from_secs(5)), ..plain }),
        ] {
            for (events, sources) in [(1000, 4), (100, 4), (1, 16)] {
                println!("{what}:");
                log(place, events, sources, true, seconds, options.clone())?;
            }
        }
        return Ok(());
    }
    for (events, sources, takes) in [
        (1000, 1, true),
        (1000, 4, true),
        (1000, 4, false),
        (100, 1, true),
        (1, 1, true),
        (1, 16, true),
    ] {
        raw(place, events * 527, events, seconds)?;
        log(place, events, sources, takes, seconds, Options::default())?;
    }
    Ok(())
}

/// A key for all.
struct OneKey;

impl Keys for OneKey {
    fn active(&self) -> Option<(String, Key)> {
        Some(("one".into(), self.key("one")?))
    }

    fn key(&self, _: &str) -> Option<Key> {
        Key::new(&[7; 32])
    }
}

/// Text that compresses somewhat, as logs do: words out of a few, and numbers.
fn text(bytes: usize) -> Vec<u8> {
    let words = ["GET", "/index.html", "200", "in", "ms", "user", "agent", "Mozilla/5.0"];
    let mut out = Vec::with_capacity(bytes + 32);
    let mut dice = 1u64;
    while out.len() < bytes {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let word = words[usize::try_from(dice >> 61).unwrap_or(0)];
        out.extend_from_slice(format!("{word} {} ", (dice >> 33) % 9973).as_bytes());
    }
    out.truncate(bytes);
    out
}

/// What the disk takes: one file, written in order over blocks that are there.
fn raw(place: &Path, bytes: usize, events: usize, seconds: u64) -> std::io::Result<()> {
    let path = place.join("raw");
    let mut file = std::fs::File::create(&path)?;
    let block = vec![7u8; bytes];
    let (start, cpu) = (Instant::now(), cpu_seconds());
    let (mut writes, mut at) = (0u64, 0);
    while start.elapsed() < Duration::from_secs(seconds) {
        file.write_all(&block)?;
        file.sync_data()?;
        writes += 1;
        at += bytes;
        if at > 64 << 20 {
            std::io::Seek::rewind(&mut file)?;
            at = 0;
        }
    }
    report("raw write+fdatasync", events, 1, writes * events as u64, start.elapsed(), cpu);
    std::fs::remove_file(path)
}

fn log(
    place: &Path,
    events: usize,
    sources: usize,
    takes: bool,
    seconds: u64,
    options: Options,
) -> Result<(), Box<dyn std::error::Error>> {
    let path = place.join("log");
    let storage: Arc<dyn Storage> = Arc::new(Disk::open(&path)?);
    let capacity = Count { events: 400_000, bytes: if takes { 64 << 20 } else { u64::MAX } };
    let capacity = if takes { capacity } else { Count { events: u64::MAX, ..capacity } };
    let queues = [QueueOptions { name: "c1".into(), capacity }];
    let log: Log<Batch> = Log::open(vec![storage], &queues, options.clone())?.start()?;
    let queue = log.queue("c1").ok_or("no queue")?;
    let (wake, woken) = mpsc::sync_channel(1);
    log.listen(queue, Box::new(move || _ = wake.try_send(())));
    let done = AtomicU64::new(0);
    let stop = Instant::now() + Duration::from_secs(seconds);
    let (start, cpu) = (Instant::now(), cpu_seconds());
    std::thread::scope(|scope| {
        for _ in 0..sources {
            scope.spawn(|| {
                let batch = Arc::new(Batch { events, body: text(events * 512) });
                let count = Count { events: events as u64, bytes: (events * 515) as u64 };
                while Instant::now() < stop {
                    let Ok(room) = log.reserve(&[queue], count) else {
                        std::thread::sleep(Duration::from_micros(200));
                        continue;
                    };
                    let (answer, answered) = mpsc::sync_channel(1);
                    let tell = move |result: Result<_, _>| _ = answer.send(result.is_ok());
                    room.put(batch.clone(), None, Box::new(tell));
                    if answered.recv() == Ok(true) && !takes {
                        done.fetch_add(events as u64, Ordering::Relaxed);
                    }
                }
            });
        }
        if takes {
            let most = Count { events: events.max(100) as u64, bytes: u64::MAX };
            while Instant::now() < stop {
                let Ok(Some(lease)) = log.lease(queue, most) else {
                    _ = woken.recv_timeout(Duration::from_millis(10));
                    continue;
                };
                let taken = lease.count().events;
                let (answer, answered) = mpsc::sync_channel(1);
                lease.commit(Box::new(move |result| _ = answer.send(result.is_ok())));
                if answered.recv() == Ok(true) {
                    done.fetch_add(taken, Ordering::Relaxed);
                }
            }
        }
    });
    let what = if takes { "log put+take" } else { "log put only" };
    report(what, events, sources, done.load(Ordering::Relaxed), start.elapsed(), cpu);
    log.close();
    let queued = log.level(queue).queued.events;
    drop(log);
    if !takes {
        let start = Instant::now();
        let storage: Arc<dyn Storage> = Arc::new(Disk::open(&path)?);
        let log: Log<Batch> = Log::open(vec![storage], &queues, options)?.start()?;
        println!("    opened with {queued} events queued in {:?}", start.elapsed());
        log.close();
    }
    std::fs::remove_dir_all(path)?;
    Ok(())
}

fn report(what: &str, batch: usize, sources: usize, events: u64, took: Duration, cpu: f64) {
    let rate = events as f64 / took.as_secs_f64();
    let each = (cpu_seconds() - cpu) / (events.max(1) as f64) * 1e6;
    println!(
        "512 {batch:5} {sources:3} {what:20} {rate:10.0} {:7.1} {each:6.2}",
        rate * 512.0 / 1e6
    );
}

/// User and system time of this process, in seconds.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<_> = text.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks =
        |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}
