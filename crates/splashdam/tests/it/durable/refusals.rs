//! Directories that are not what they should be: the agent says which and why, is not ready, and touches nothing.

use std::fs;

use super::{Cut, Load, Process, Site, until};

/// Waits until the process has said so, and is not ready for that reason.
fn refuses(process: &mut Process, says: &str) {
    process.says(says);
    let (status, body) = process.ask("/readyz");
    assert_eq!(status, 503, "{body}");
    assert!(body.contains("c1"), "{body}");
    process.running();
    assert!(!process.log().contains("is running"), "{}", process.log());
}

#[test]
fn directories_that_do_not_belong_are_refused_and_lose_nothing() {
    let check = |spoil: fn(&Site), says: &str, repair: fn(&Site)| {
        let site = Site::new("$/data1,$/data2", "");
        let mut load = Load::new(2, 0);
        let process = site.ready();
        load.during(&process.netcat(), || {
            until(|| process.metric("splashdam_channel_queued_events") > 500, || "events".into());
        });
        process.kill();
        spoil(&site);
        let mut process = site.start();
        refuses(&mut process, &says.replace('$', site.dir.path().to_str().unwrap()));
        process.kill();
        repair(&site);
        site.drain();
        site.ready().drain_and_stop();
        let found = load.check(&site.path("out"), Cut::default());
        assert!(load.acknowledged() > 500, "{found}");
    };
    let away = |site: &Site| fs::rename(site.path("data2"), site.path("away")).unwrap();
    let back = |site: &Site| fs::rename(site.path("away"), site.path("data2")).unwrap();
    let in_its_place = |site: &Site| {
        fs::remove_dir_all(site.path("data2")).unwrap();
        fs::rename(site.path("away"), site.path("data2")).unwrap();
    };
    // Nothing is made in the place of what should be there: the disk may be mounted late.
    check(away, "directory $/data2 of dataDirs is missing", back);
    check(
        |site| {
            fs::rename(site.path("data2"), site.path("away")).unwrap();
            fs::create_dir(site.path("data2")).unwrap();
        },
        "cannot use $/data2: it is empty, but the log has data in it",
        in_its_place,
    );
    check(
        |site| {
            fs::rename(site.path("data2"), site.path("away")).unwrap();
            let other = Site::new("$/data", "");
            other.ready().kill();
            copy(&other, "data", site, "data2");
        },
        "cannot use $/data",
        in_its_place,
    );
    check(
        |site| {
            fs::rename(site.path("data2"), site.path("away")).unwrap();
            copy(site, "data1", site, "data2");
        },
        "cannot use $/data",
        in_its_place,
    );
    check(
        |site| {
            fs::rename(site.path("data2"), site.path("away")).unwrap();
            fs::write(site.path("data2"), "no directory").unwrap();
        },
        "cannot open directory $/data2",
        |site| {
            fs::remove_file(site.path("data2")).unwrap();
            fs::rename(site.path("away"), site.path("data2")).unwrap();
        },
    );
}

/// Copies the files of a directory into a new one.
fn copy(from: &Site, name: &str, to: &Site, new: &str) {
    fs::create_dir(to.path(new)).unwrap();
    for entry in fs::read_dir(from.path(name)).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.path(new).join(path.file_name().unwrap())).unwrap();
    }
}

#[test]
fn a_second_agent_is_refused_until_the_first_is_gone() {
    let site = Site::draining("$/data1,$/data2");
    let mut load = Load::new(2, 0);
    let first = site.ready();
    let mut second = site.start();
    load.during(&first.netcat(), || {
        refuses(&mut second, "is in use by another agent");
        let before = first.taken();
        until(|| first.taken() > before, || "events of the first agent".into());
        first.kill();
    });
    // The kernel has let go of the locks with the process.
    second.says("is running");
    load.during(&second.netcat(), || {
        until(|| second.taken() > 100, || "events of the second agent".into());
    });
    second.drain_and_stop();
    println!("a second agent: {}", load.check(&site.path("out"), Cut { kills: 1, syncs: 0 }));
}

#[test]
fn flumes_checkpoint_directory_is_accepted_and_left_alone() {
    let site = Site::new("$/data", "a1.channels.c1.checkpointDir = $/checkpoint\n");
    site.drain();
    let log = site.ready().stop();
    assert!(log.contains("`checkpointDir` has no effect"), "{log}");
}
