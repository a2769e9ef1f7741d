//! Lines per second of the taildir source from the page cache into a channel that only counts,
//! and the latency of single lines. `cargo bench -p splashdam-components --bench taildir`; an
//! argument sets the number of lines.

use std::io::{BufWriter, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use splashdam_components::sources::taildir::Taildir;
use splashdam_core::{
    Batch, BoxFuture, Channel, ChannelError, Level, Put, Refused, Role, Size, Take,
};
use splashdam_testkit::contract::{open_source, run_source_into};
use splashdam_testkit::fakes::{context, outlet};

/// Counts and forgets.
#[derive(Clone, Default)]
struct Sink(Arc<AtomicUsize>);

impl Channel for Sink {
    fn begin_put(&self, _size: Size) -> BoxFuture<'_, Result<Box<dyn Put>, ChannelError>> {
        Box::pin(std::future::ready(Ok(Box::new(self.clone()) as Box<dyn Put>)))
    }
    fn begin_take(&self, _limit: Size) -> BoxFuture<'_, Result<Box<dyn Take>, ChannelError>> {
        let closed = ChannelError::Closed { channel: "c1".into() };
        Box::pin(std::future::ready(Err(closed)))
    }
    fn level(&self) -> Level {
        Level::default()
    }
    fn close(&self) -> BoxFuture<'_, Result<(), ChannelError>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

impl Put for Sink {
    fn commit(self: Box<Self>, batch: Batch) -> BoxFuture<'static, Result<(), Refused>> {
        self.0.fetch_add(batch.len(), Relaxed);
        Box::pin(std::future::ready(Ok(())))
    }
}

impl Sink {
    async fn reaches(&self, count: usize) {
        while self.0.load(Relaxed) < count {
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
    }
}

/// CPU time of this process so far: user and system.
fn cpu() -> (Duration, Duration) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<u64> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .map(|f| f.parse().unwrap_or(0))
        .collect();
    let ticks = |i: usize| Duration::from_millis(fields.get(i).copied().unwrap_or(0) * 10);
    (ticks(11), ticks(12))
}

async fn drain(path: &std::path::Path, lines: usize, batch_size: usize) {
    let dir = path.parent().expect("a directory").display();
    let keys = format!(
        "filegroups = g\nfilegroups.g = {dir}/a\npositionFile = {dir}/p\nbatchSize = {batch_size}"
    );
    drop(std::fs::remove_file(format!("{dir}/p")));
    let sink = Sink::default();
    let (began, before) = (Instant::now(), cpu());
    let source = open_source::<Taildir>(&keys, context(Role::Source)).await;
    let running = run_source_into(source, outlet(sink.clone()));
    sink.reaches(lines).await;
    let (took, after) = (began.elapsed(), cpu());
    running.stop().await.expect("a clean end");
    let per_line = |d: Duration| d.as_nanos() / lines as u128;
    println!(
        "batch {batch_size:>5}: {:>10.0} lines/s, CPU {} ns a line ({} user, {} system)",
        lines as f64 / took.as_secs_f64(),
        per_line(after.0 + after.1 - before.0 - before.1),
        per_line(after.0 - before.0),
        per_line(after.1 - before.1),
    );
}

async fn latency(path: &std::path::Path) {
    let dir = path.parent().expect("a directory").display();
    let keys = format!("filegroups = g\nfilegroups.g = {dir}/b\npositionFile = {dir}/q");
    let sink = Sink::default();
    let source = open_source::<Taildir>(&keys, context(Role::Source)).await;
    let running = run_source_into(source, outlet(sink.clone()));
    let mut file = std::fs::File::create(path.with_file_name("b")).expect("a file");
    let mut times = Vec::new();
    for n in 1..=200 {
        tokio::time::sleep(Duration::from_millis(7)).await;
        let began = Instant::now();
        file.write_all(b"a line\n").expect("a write");
        sink.reaches(n).await;
        times.push(began.elapsed());
    }
    times.sort();
    println!(
        "latency of single lines: median {:?}, 99th {:?}, worst {:?}",
        times[100], times[197], times[199]
    );
    let before = cpu();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let after = cpu();
    println!("idle: CPU {:?} in 3 s", after.0 + after.1 - before.0 - before.1);
    running.stop().await.expect("a clean end");
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let lines = std::env::args().skip(1).find_map(|a| a.parse().ok()).unwrap_or(5_000_000);
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("a");
    let mut file = BufWriter::new(std::fs::File::create(&path).expect("a file"));
    for n in 0..lines {
        writeln!(file, "{n:010} {:x<188}", "").expect("a write");
    }
    drop(file);
    for _ in 0..3 {
        for batch_size in [100, 1000] {
            drain(&path, lines, batch_size).await;
        }
    }
    latency(&path).await;
}
