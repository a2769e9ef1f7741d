//! A ledger and a channel that outlives it, as far as it was told; the file of the ledger is real.

use std::sync::Arc;

use splashdam_core::Role;
use splashdam_core::metrics::{Counters, Registered};
use splashdam_core::{Level, Size};
use splashdam_testkit::FakeWorld;

use super::*;

/// One minute after the other, from this one on.
const FIRST: i64 = 28_000_000;

struct Run {
    keeper: Bookkeeper,
    world: Arc<FakeWorld>,
    place: std::path::PathBuf,
    put: u64,
    taken: u64,
}

impl Run {
    /// A run that finds what lies in `place`, beside a log that counts so.
    async fn new(place: &std::path::Path, minute: i64, put: u64, taken: u64) -> Run {
        let world = Arc::new(FakeWorld::default());
        world.set_millis((FIRST + minute) * MINUTE_MILLIS);
        let keeper = Bookkeeper::new("a1".into(), world.clone());
        let run = Run { keeper, world, place: place.to_owned(), put, taken };
        run.keeper.opened(&"c1".into(), Some(run.lifetime())).await;
        run
    }

    fn lifetime(&self) -> Lifetime {
        Lifetime { put: self.put, taken: self.taken, place: self.place.clone() }
    }

    fn minute(&self, minute: i64) {
        self.world.set_millis((FIRST + minute) * MINUTE_MILLIS);
    }

    /// Events come in from `r1`, and go out to `k1`.
    fn count(&mut self, came: usize, went: usize) {
        let tally = |what, from: &str, to: &str| {
            self.keeper.ledger().counter(Line::between(what, from, to))
        };
        tally(What::Received, "r1", "").add(came);
        tally(What::In, "r1", "c1").add(came);
        tally(What::Out, "c1", "k1").add(went);
        self.put += came as u64;
        self.taken += went as u64;
    }

    /// As it is served, with what the log holds.
    fn report(&self) -> Report {
        let registry = Registry::default();
        let events = usize::try_from(self.put - self.taken).unwrap();
        let level = Level { queued: Size { events, bytes: 0 }, ..Level::default() };
        let level: splashdam_core::metrics::ReadLevel = Arc::new(move || level);
        let counters = Counters::new(Role::Channel);
        registry.register(
            Role::Channel,
            "c1".into(),
            Registered { counters, level: Some(level), hindrance: None },
        );
        self.keeper.report(&registry)
    }
}

fn minutes(report: &Report, what: What) -> Vec<(i64, u64)> {
    let rows = report.minutes.iter().flat_map(|minute| {
        let entries = minute.entries.iter().filter(move |entry| entry.line.what == what);
        entries.map(|entry| (minute.minute - FIRST, entry.events))
    });
    rows.collect()
}

#[tokio::test]
async fn a_run_goes_on_where_the_last_one_ended() {
    let dir = tempfile::tempdir().unwrap();
    let mut run = Run::new(dir.path(), 0, 0, 0).await;
    run.count(100, 60);
    run.keeper.write().await;
    run.minute(1);
    run.count(10, 20);
    run.keeper.write().await;
    let last = run.report();
    let run = Run::new(dir.path(), 5, 110, 80).await;
    let report = run.report();
    assert_eq!(report.channels, last.channels);
    assert_eq!((&report.sources, &report.minutes), (&last.sources, &last.minutes));
    let channel = &report.channels["c1"];
    assert_eq!((channel.put, channel.out, channel.held, channel.balance), (110, 80, 30, 0));
    assert_eq!(minutes(&report, What::In), [(0, 100), (1, 10)]);
}

#[tokio::test]
async fn what_a_crash_kept_from_the_ledger_the_log_knows() {
    let dir = tempfile::tempdir().unwrap();
    let mut run = Run::new(dir.path(), 0, 0, 0).await;
    run.count(100, 60);
    run.keeper.write().await;
    // Counted and not written: 40 came, 70 went.
    let run = Run::new(dir.path(), 3, 140, 130).await;
    let report = run.report();
    let channel = &report.channels["c1"];
    assert_eq!((channel.put, channel.out, channel.held, channel.balance), (140, 130, 10, 0));
    assert_eq!((report.sources["r1"].received, report.sinks["k1"].out), (140, 130));
    // They are booked to the minute in which the ledger was written last.
    assert_eq!(minutes(&report, What::In), [(0, 140)]);
    assert_eq!(minutes(&report, What::Out), [(0, 130)]);
}

#[tokio::test]
async fn what_a_log_lost_or_brought_back_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut run = Run::new(dir.path(), 0, 0, 0).await;
    run.count(100, 60);
    run.keeper.write().await;
    // A log that is not synced lost the last 5 puts and 10 takes with the machine.
    let mut run = Run::new(dir.path(), 1, 95, 50).await;
    let balance = |run: &Run| {
        let channel = run.report().channels["c1"].clone();
        assert_eq!(channel.balance, 0, "{channel:?}");
        (channel.put, channel.out, channel.lost, channel.returned, channel.held)
    };
    assert_eq!(balance(&run), (100, 60, 5, 10, 45));
    run.count(10, 20);
    run.keeper.write().await;
    let run = Run::new(dir.path(), 2, 105, 70).await;
    assert_eq!(balance(&run), (110, 80, 5, 10, 35));
}

#[tokio::test]
async fn a_channel_that_is_older_than_its_ledger_brings_what_it_holds() {
    let dir = tempfile::tempdir().unwrap();
    let mut run = Run::new(dir.path(), 0, 1000, 970).await;
    run.count(5, 35);
    let report = run.report();
    let channel = &report.channels["c1"];
    assert_eq!((channel.put, channel.out, channel.held, channel.balance), (35, 35, 0, 0));
    assert_eq!(report.sources["r1"].received, 5);
    run.keeper.write().await;
    let report = Run::new(dir.path(), 1, 1005, 1005).await.report();
    assert_eq!(report.channels["c1"].balance, 0);
}

#[tokio::test]
async fn files_that_are_damaged_begin_anew() {
    let dir = tempfile::tempdir().unwrap();
    let mut run = Run::new(dir.path(), 0, 0, 0).await;
    run.count(100, 60);
    run.keeper.write().await;
    let [all, now] = ["ledger-c1.json", "ledger-c1.now.json"].map(|name| dir.path().join(name));
    std::fs::write(&now, "{").unwrap();
    let report = Run::new(dir.path(), 1, 100, 60).await.report();
    assert_eq!(report.channels["c1"].put, 100, "the other file has it all");
    std::fs::write(&all, "").unwrap();
    std::fs::write(&now, "nonsense").unwrap();
    let report = Run::new(dir.path(), 2, 100, 60).await.report();
    let channel = &report.channels["c1"];
    assert_eq!((channel.put, channel.held, channel.balance), (40, 40, 0));
}

#[tokio::test]
async fn a_batch_in_two_channels_was_received_once() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let open = async |keeper: &Bookkeeper, put| {
        for (name, dir) in ["c1", "c2"].into_iter().zip(&dirs) {
            let place = dir.path().to_owned();
            keeper.opened(&name.into(), Some(Lifetime { put, taken: 0, place })).await;
        }
    };
    let world = || Arc::new(FakeWorld::default());
    let keeper = Bookkeeper::new("a1".into(), world());
    open(&keeper, 0).await;
    for line in [
        Line::of(What::Received, "r1"),
        Line::between(What::In, "r1", "c1"),
        Line::between(What::In, "r1", "c2"),
    ] {
        keeper.ledger().counter(line).add(10);
    }
    keeper.write().await;
    let keeper = Bookkeeper::new("a1".into(), world());
    open(&keeper, 25).await;
    let report = keeper.report(&Registry::default());
    assert_eq!(report.sources["r1"].received, 25);
    assert_eq!((report.channels["c1"].put, report.channels["c2"].put), (25, 25));
}

#[test]
fn any_name_is_a_file_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let saved = Saved { since: 1, at: 2, put_before: 3, pages: Pages::default() };
    for name in ["c1", "../c1", "c 1", "c%201", "ä"] {
        store::write(dir.path(), name, &saved, true).unwrap();
        assert_eq!(store::read(dir.path(), name).unwrap(), Some(saved.clone()));
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 10);
}
