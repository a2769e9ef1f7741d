//! Ends of a process: kill -9 again and again, SIGTERM under load, and a process that stands still.

use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{Cut, Load, Site, setting};

#[test]
fn killed_again_and_again_it_loses_nothing_acknowledged() {
    // 200 and more for a day with time.
    let rounds = setting("SPLASHDAM_KILL_ROUNDS", 8);
    let site = Site::draining("$/data1,$/data2");
    let mut load = Load::new(4, 0);
    let mut fate = 0x5eed_u64;
    for round in 0..rounds {
        // Short lives too: those are killed while they read and tidy up what the last one left.
        fate = fate.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let life = Duration::from_millis(if round % 4 == 3 { fate >> 60 } else { fate >> 55 });
        if round % 4 == 3 {
            let process = site.start();
            sleep(life);
            process.kill();
            continue;
        }
        let process = site.ready();
        load.during(&process.netcat(), || {
            sleep(life);
            process.kill();
        });
    }
    site.ready().drain_and_stop();
    let kills = usize::try_from(rounds).unwrap();
    let found = load.check(&site.path("out"), Cut { kills, syncs: 0 });
    assert!(load.acknowledged() > 100 * kills, "too idle: {found}");
    println!("{rounds} kills: {found}");
}

#[test]
fn a_stop_under_load_is_quick_and_repeats_nothing() {
    let site = Site::draining("$/data");
    let mut load = Load::new(4, 0);
    for _ in 0..3 {
        let mut process = site.ready();
        load.during(&process.netcat(), || {
            sleep(Duration::from_millis(300));
            let begun = Instant::now();
            process.signal(Signal::TERM);
            let status = process.ended();
            assert!(status.success(), "{status}:\n{}", process.log());
            let took = begun.elapsed();
            assert!(took < Duration::from_secs(10), "a stop took {took:?}");
        });
    }
    site.ready().drain_and_stop();
    println!("3 stops: {}", load.check(&site.path("out"), Cut::default()));
}

#[test]
fn a_process_that_stood_still_goes_on_as_if_nothing_had_been() {
    let seconds = setting("SPLASHDAM_STILL_SECONDS", 3);
    let site = Site::draining("$/data");
    let mut load = Load::new(4, 0);
    let mut process = site.ready();
    load.during(&process.netcat(), || {
        sleep(Duration::from_millis(200));
        process.signal(Signal::STOP);
        sleep(Duration::from_secs(seconds));
        process.signal(Signal::CONT);
        let (before, awake) = (process.taken(), Instant::now());
        super::until(|| process.taken() > before, || "events after a pause".into());
        let took = awake.elapsed();
        println!("it took {took:?} to go on");
        assert!(took < Duration::from_secs(20), "it took {took:?} to go on");
        process.running();
    });
    process.drain_and_stop();
    println!("still for {seconds} s: {}", load.check(&site.path("out"), Cut::default()));
}
