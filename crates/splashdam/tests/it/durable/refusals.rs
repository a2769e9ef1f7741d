//! Directories that are not what they should be: the agent says which and why, is not ready, and touches nothing.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};

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

#[test]
fn a_file_in_the_place_of_a_directory_is_one_error_however_often_it_is_tried() {
    let site = Site::draining("$/data");
    fs::write(site.path("data"), "no directory").unwrap();
    let mut process = site.start();
    refuses(&mut process, "cannot be opened until somebody mends that");
    let body = || process.ask("/readyz").1;
    let waits = |body: &str| {
        let (_, rest) = body.split_once("waiting for ")?;
        rest.split_once(" s: cannot open directory")?.0.parse::<u64>().ok()
    };
    // The longest time between two tries is less.
    until(|| waits(&body()).is_some_and(|seconds| seconds >= 6), body);
    let log = process.stop();
    let errors: Vec<_> = log.lines().filter(|line| line.contains("ERROR")).collect();
    assert!(errors.len() == 1 && errors[0].contains("cannot open directory"), "{log}");
    assert!(!log.contains("WARN channel"), "{log}");
    assert!(!log.contains("is running"), "{log}");
}

#[test]
fn what_clients_do_wrong_is_told_with_who_they_are() {
    let site = Site::new(
        "$/data",
        "
a1.sources = r1 r2
a1.sources.r2.type = syslogtcp
a1.sources.r2.channels = c1
a1.sources.r2.host = 127.0.0.1
a1.sources.r2.port = 0
",
    );
    site.drain();
    let process = site.ready();
    let (netcat, syslog) = (process.netcat(), process.address("listening for syslog"));
    let long = "x".repeat(600) + "\n";
    for (address, sent, told) in [
        (&netcat, &*long, "a line is too long"),
        (&syslog, "GET / HTTP/1.1\r\n\r\n", "a message is not syslog"),
        (&syslog, "\u{16}\u{3}\u{1}", "does not end like a message"),
    ] {
        for _ in 0..2 {
            let mut client = TcpStream::connect(address).unwrap();
            client.write_all(sent.as_bytes()).unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            // Whatever is answered, it has been read then.
            drop(client.read_to_end(&mut Vec::new()));
        }
        process.says(told);
        let log = process.log();
        let lines: Vec<_> = log.lines().filter(|line| line.contains(told)).collect();
        assert!(lines.len() == 1 && lines[0].contains("peer=127.0.0.1:"), "{log}");
    }
    process.stop();
}
