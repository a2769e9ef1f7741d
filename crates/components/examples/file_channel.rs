//! What an event costs on its way through an outlet, a file channel and a take that commits:
//! `cargo run --release -p splashdam-components --example file_channel -- DIRECTORY [SECONDS]`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use splashdam_components::LISTS;
use splashdam_config::Section;
use splashdam_core::metrics::ChannelMetrics;
use splashdam_core::{Batch, Event, OutletChannel, PutError, Role, Size, TakeTxn, find};
use splashdam_testkit::context;
use splashdam_testkit::fakes::outlet_to;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let place = args.next().ok_or("name a directory to write in")?;
    let seconds = args.next().map_or(Ok(5), |text| text.parse())?;
    println!("batch sources what events/s cpu-s/M-events");
    for (size, sources, takes) in
        [(1000, 1, true), (1000, 4, true), (1000, 1, false), (100, 1, true), (1, 16, true)]
    {
        let place = format!("{place}/{size}-{sources}-{takes}");
        measure(&place, size, sources, takes, Duration::from_secs(seconds)).await?;
        std::fs::remove_dir_all(place)?;
    }
    Ok(())
}

async fn measure(
    place: &str,
    size: usize,
    sources: usize,
    takes: bool,
    time: Duration,
) -> Result<(), Box<dyn std::error::Error>> {
    let keys = format!("dataDirs = {place}\ncapacity = 100000000\nminimumRequiredSpace = 1048576");
    let entry = find(LISTS.channels, "file").ok_or("no file channel")?;
    let channel = Arc::from(entry.open(Section::parse(&keys), context(Role::Channel)).await?);
    let (stop, moved) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let body = bytes::Bytes::from(vec![b'x'; 512]);
    let (start, cpu) = (Instant::now(), cpu_seconds());
    let mut tasks = Vec::new();
    for _ in 0..sources {
        let (outlet, body) = (outlet_to(vec![Arc::clone(&channel)]), body.clone());
        let (stop, moved) = (stop.clone(), moved.clone());
        tasks.push(tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let batch: Batch = (0..size).map(|_| Event::new(body.clone())).collect();
                outlet.put(batch).await.map_err(|error: PutError| error.to_string())?;
                if !takes {
                    moved.fetch_add(size as u64, Ordering::Relaxed);
                }
            }
            Ok::<(), String>(())
        }));
    }
    if takes {
        let metrics = Arc::new(ChannelMetrics::default());
        let to = OutletChannel { name: "c1".into(), channel: channel.clone(), metrics };
        let (stop, moved) = (stop.clone(), moved.clone());
        tasks.push(tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let limit = Size::events(1000);
                let lease = TakeTxn::begin(&*to.channel, &to.metrics, limit).await;
                let lease = lease.map_err(|error| error.to_string())?;
                moved.fetch_add(lease.batch().len() as u64, Ordering::Relaxed);
                lease.commit().await.map_err(|error| error.to_string())?;
            }
            Ok(())
        }));
    }
    tokio::time::sleep(time).await;
    let (took, cpu) = (start.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    let moved = moved.load(Ordering::Relaxed) as f64;
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await??;
    }
    channel.close().await?;
    let what = if takes { "put+take" } else { "put" };
    println!("{size} {sources} {what} {:.0} {:.2}", moved / took, cpu / moved * 1e6);
    Ok(())
}

/// Processor time of this process so far.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11);
    let mut ticks = || fields.next().and_then(|ticks| ticks.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks() + ticks()) / 100.0
}
