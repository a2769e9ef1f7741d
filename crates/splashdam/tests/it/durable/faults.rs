//! Syncs that fail once, as the kernel fails them: what was not synced is gone from the cache, and the next sync of
//! the file would say that all is well.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::fs::{Advice, fadvise};

use super::{Cut, Load, Site, until};

/// The library that fails a sync, or `None` where there is no C compiler to make it.
fn library(site: &Site) -> Option<PathBuf> {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/durable/failing_sync.c");
    let library = site.path("failing_sync.so");
    let made = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(&library)
        .arg(source)
        .args(["-ldl", "-lpthread"])
        .status();
    match made {
        Ok(status) => {
            assert!(status.success(), "{source} does not compile: {status}");
            Some(library)
        }
        Err(error) => {
            println!("skipped: no C compiler to make a sync fail with: {error}");
            None
        }
    }
}

/// Forgets what the page cache holds of the files in a directory.
fn forget(site: &Site, dir: &str) {
    for entry in fs::read_dir(site.path(dir)).unwrap() {
        let file = File::open(entry.unwrap().path()).unwrap();
        fadvise(&file, 0, None, Advice::DontNeed).unwrap();
    }
}

/// Syncs of the log fail several times under load, each time with all of the file that was not synced before.
fn check(drains_meanwhile: bool, killed: bool) {
    let site = Site::new("$/data", "");
    if drains_meanwhile {
        site.drain();
    }
    let Some(library) = library(&site) else { return };
    let trigger = site.path("fail-a-sync");
    let environment = [("LD_PRELOAD", &*library), ("FAIL_A_SYNC", &*trigger)];
    let process = site.start_under(&[], &environment);
    process.netcat();
    let mut load = Load::new(4, 0);
    const FAILURES: u64 = 2;
    load.during(&process.netcat(), || {
        for failure in 1..=FAILURES {
            sleep(Duration::from_millis(200));
            fs::write(&trigger, "").unwrap();
            let failed = || process.metric("splashdam_channel_file_failed_files_total");
            until(|| failed() == failure, || format!("a sync to fail:\n{}", process.log()));
            assert!(!trigger.exists(), "it fails once");
        }
        if drains_meanwhile {
            let (failed, before) = (Instant::now(), process.taken());
            until(|| process.taken() > before, || format!("takes again:\n{}", process.log()));
            let took = failed.elapsed();
            println!("takes went on after {took:?}");
            assert!(took < Duration::from_secs(20), "takes went on after {took:?}");
        }
        sleep(Duration::from_millis(300));
    });
    let log = process.log();
    assert!(log.contains("a write or sync failed"), "{log}");
    assert!(load.refused() > 0, "the lines of a failed sync are refused");
    if killed {
        process.kill();
    } else {
        process.drain_and_stop();
    }
    forget(&site, "data");
    if !drains_meanwhile {
        site.drain();
    }
    site.ready().drain_and_stop();
    let syncs = usize::try_from(FAILURES).unwrap();
    let cut = Cut { kills: usize::from(killed), syncs };
    let found = load.check(&site.path("out"), cut);
    println!(
        "{FAILURES} failed syncs, drained meanwhile {drains_meanwhile}, killed {killed}: {found}"
    );
}

#[test]
fn failed_syncs_lose_nothing_acknowledged_while_sinks_drain() {
    check(true, false);
}

#[test]
fn failed_syncs_lose_nothing_acknowledged_after_a_kill() {
    check(false, true);
    check(true, true);
}

/// Every sync fails for a while, until the log stops: it opens again by itself when the disk is well,
/// and the same process goes on.
#[test]
fn a_log_that_stopped_opens_again_by_itself() {
    let site = Site::new("$/data", "");
    site.drain();
    let Some(library) = library(&site) else { return };
    let trigger = site.path("fail-a-sync");
    let environment = [("LD_PRELOAD", &*library), ("FAIL_A_SYNC", &*trigger)];
    let process = site.start_under(&[], &environment);
    let mut load = Load::new(4, 0);
    let told = |text: &'static str, times: usize| {
        let log = || process.log();
        until(|| log().matches(text).count() >= times, || format!("{text:?}:\n{}", log()));
    };
    const STOPS: usize = 2;
    load.during(&process.netcat(), || {
        for stop in 1..=STOPS {
            sleep(Duration::from_millis(200));
            fs::create_dir(&trigger).unwrap();
            told("the log has stopped: no directory is left", stop);
            fs::remove_dir(&trigger).unwrap();
            told("the log is open again", stop);
            let unhealthy = || process.metric("splashdam_channel_file_unhealthy");
            until(|| unhealthy() == 0, || format!("a healthy log:\n{}", process.log()));
            let before = process.taken();
            until(|| process.taken() > before, || format!("takes again:\n{}", process.log()));
        }
    });
    assert!(load.refused() > 0, "the lines of a failed sync are refused");
    let syncs = usize::try_from(process.metric("splashdam_channel_file_failed_files_total"));
    process.drain_and_stop();
    let cut = Cut { kills: 0, syncs: syncs.unwrap() };
    println!("stopped {STOPS} times: {}", load.check(&site.path("out"), cut));
}
