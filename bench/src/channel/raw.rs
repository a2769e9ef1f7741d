//! What the disk takes: sequential writes into preallocated files, each followed by `fdatasync`, and nothing else.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::spread::percentiles;

/// Each file has this length and is written again from its start when its end is reached, as segments are.
const FILE_BYTES: u64 = 64 << 20;
/// What comes before the measured time.
const WARM_UP: Duration = Duration::from_secs(1);

/// Synced writes of this size in a second, in `files` files at once.
pub(super) fn writes_per_second(
    base: &Path,
    bytes: usize,
    files: u32,
    measured: Duration,
) -> Result<f64> {
    let dir = tempfile::tempdir_in(base)?;
    let written = AtomicU64::new(0);
    let began = Instant::now();
    let done = thread::scope(|scope| {
        let writers: Vec<_> = (0..files)
            .map(|number| {
                let (path, written) = (dir.path().join(format!("{number}.raw")), &written);
                scope.spawn(move || write(&path, bytes, began, measured, written))
            })
            .collect();
        writers
            .into_iter()
            .map(|writer| writer.join().unwrap_or_else(|_| anyhow::bail!("a writer panicked")))
            .collect::<Result<Vec<Duration>>>()
    })?;
    let longest = done.into_iter().max().unwrap_or_default();
    ensure!(!longest.is_zero(), "nothing was written");
    Ok(written.into_inner() as f64 / longest.as_secs_f64())
}

/// Times of single synced writes of this size, so many a second: the median, the 99th and the 99.9th percentile, in seconds.
pub(crate) fn times_of_writes(
    base: &Path,
    bytes: usize,
    per_second: u32,
    measured: Duration,
) -> Result<[f64; 3]> {
    let dir = tempfile::tempdir_in(base)?;
    let (file, block) = (filled(&dir.path().join("paced.raw"))?, vec![0x7f; bytes]);
    let (mut times, mut offset, began) = (Vec::new(), 0, Instant::now());
    while began.elapsed() < WARM_UP + measured {
        let due = began + Duration::from_secs(1) * u32::try_from(times.len())? / per_second;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if offset + bytes as u64 > FILE_BYTES {
            offset = 0;
        }
        // The system's own delay of a sleep is not the disk's.
        let woken = Instant::now().max(due);
        file.write_all_at(&block, offset)?;
        file.sync_data()?;
        offset += bytes as u64;
        times.push(woken.elapsed().as_secs_f64());
    }
    let mut times =
        times.split_off((per_second as usize * WARM_UP.as_secs() as usize).min(times.len()));
    ensure!(!times.is_empty(), "the disk stands still");
    Ok(percentiles(&mut times))
}

/// A file that was written once, so that no write of the measured ones finds blocks that never were.
fn filled(path: &Path) -> Result<File> {
    let file = File::options().create_new(true).read(true).write(true).open(path)?;
    let fill = vec![0; 1 << 20];
    for at in 0..FILE_BYTES >> 20 {
        file.write_all_at(&fill, at << 20)?;
    }
    file.sync_all()?;
    Ok(file)
}

/// Writes until the time is over; answers how long the counted writes took.
fn write(
    path: &Path,
    bytes: usize,
    began: Instant,
    measured: Duration,
    written: &AtomicU64,
) -> Result<Duration> {
    let (file, block) = (filled(path)?, vec![0x7f; bytes]);
    let (ready, mut counting, mut offset) = (Instant::now(), None, 0);
    loop {
        let counted_since = match counting {
            Some(since) => since,
            None if ready.elapsed() >= WARM_UP => *counting.insert(Instant::now()),
            None => ready,
        };
        if counting.is_some() && counted_since.elapsed() >= measured {
            return Ok(counted_since.elapsed());
        }
        ensure!(began.elapsed() < measured * 10 + WARM_UP * 60, "the disk stands still");
        if offset + bytes as u64 > FILE_BYTES {
            offset = 0;
        }
        file.write_all_at(&block, offset)?;
        file.sync_data()?;
        offset += bytes as u64;
        if counting.is_some() {
            written.fetch_add(1, Ordering::Relaxed);
        }
    }
}
