//! The same events to three queues: once put into one log, or put into each of three logs, as
//! Flume's replicating selector does. Interleaved, on a real disk:
//! `cargo run --release -p splashdam-wal --example fanout -- DIRECTORY [SECONDS [ROUNDS]]`.

use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use splashdam_wal::storage::{Disk, Storage};
use splashdam_wal::{Count, Log, Options, Parts, QueueOptions, Record};

const QUEUES: [&str; 3] = ["c1", "c2", "c3"];
const EVENTS: usize = 1000;
const EVENT_BYTES: usize = 512;

/// Events of one length.
struct Batch(Vec<u8>);

impl Record for Batch {
    fn events(&self) -> usize {
        EVENTS
    }

    fn event_bytes(&self, _: usize) -> usize {
        EVENT_BYTES
    }

    fn encode(&self, parts: &mut Parts) {
        for event in 0..EVENTS {
            parts.keep(event, self.part(event));
        }
    }

    fn part(&self, part: usize) -> &[u8] {
        &self.0[part * EVENT_BYTES..(part + 1) * EVENT_BYTES]
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let place = args.next().ok_or("name a directory to write in")?;
    let seconds = args.next().map_or(Ok(2), |text| text.parse())?;
    let rounds = args.next().map_or(Ok(5), |text| text.parse())?;
    let (mut ratios, mut rates) = (Vec::new(), Vec::new());
    println!("round  one log, events/s  three logs, events/s  ratio");
    for round in 1..=rounds {
        let one = rate(Path::new(&place), 1, seconds)?;
        let three = rate(Path::new(&place), 3, seconds)?;
        println!("{round:5}  {one:17.0}  {three:20.0}  {:5.2}", one / three);
        ratios.push(one / three);
        rates.push(one);
    }
    ratios.sort_by(f64::total_cmp);
    let median = ratios.get(ratios.len() / 2).ok_or("no rounds")?;
    println!(
        "median: {median:.2} times; batches of {EVENTS} events of {EVENT_BYTES} B, one sync a commit"
    );
    Ok(())
}

/// Events a second that were stored in all three queues, which are spread over so many logs. They
/// are put only: what is taken costs both sides the same.
fn rate(place: &Path, logs: usize, seconds: u64) -> Result<f64, Box<dyn std::error::Error>> {
    let capacity = Count { events: u64::MAX, bytes: u64::MAX };
    let mut open: Vec<Log<Batch>> = Vec::new();
    for names in QUEUES.chunks(QUEUES.len() / logs) {
        let queues: Vec<_> =
            names.iter().map(|name| QueueOptions { name: (*name).to_owned(), capacity }).collect();
        let disk: Arc<dyn Storage> = Arc::new(Disk::open(&place.join(names[0]))?);
        open.push(Log::open(vec![disk], &queues, Options::default())?.start()?);
    }
    // Made once: what a source does for a batch is not what is compared.
    let batch = Arc::new(Batch(vec![b'x'; EVENTS * EVENT_BYTES]));
    let start = Instant::now();
    let mut stored = 0;
    while start.elapsed() < Duration::from_secs(seconds) {
        let (answer, answered) = mpsc::sync_channel(QUEUES.len());
        for log in &open {
            let queues: Vec<_> = QUEUES.iter().filter_map(|name| log.queue(name)).collect();
            let count = Count { events: EVENTS as u64, bytes: (EVENTS * EVENT_BYTES) as u64 };
            let room = log.reserve(&queues, count).map_err(|why| format!("{why:?}"))?;
            let answer = answer.clone();
            room.put(batch.clone(), None, Box::new(move |done| _ = answer.send(done)));
            if open.len() > 1 {
                // Flume's selector writes to one channel after the other.
                answered.recv()??;
            }
        }
        if open.len() == 1 {
            answered.recv()??;
        }
        stored += EVENTS;
    }
    let took = start.elapsed();
    open.iter().for_each(Log::close);
    drop(open);
    for name in QUEUES {
        let path = place.join(name);
        if path.is_dir() {
            std::fs::remove_dir_all(path)?;
        }
    }
    Ok(stored as f64 / took.as_secs_f64())
}
