//! Many files vanish at once, and others come.

use super::*;

/// A new file that is no copy is delivered this soon, whatever vanished, also by a build that is
/// not optimised on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(3);

async fn check(before: usize, absent: Duration, after: usize, content: impl Fn(usize) -> String) {
    let mut rig = Rig::new("batchSize = 1000");
    for n in 0..before {
        fs::write(rig.path(&format!("a{n}.log")), content(n)).unwrap();
    }
    rig.start().await;
    rig.collector.wait_for(before).await;
    fs::remove_dir_all(rig.path("")).unwrap();
    sleep(absent).await;
    fs::create_dir(rig.path("")).unwrap();
    for n in before..before + after {
        fs::write(rig.path(&format!("a{n}.log")), content(n)).unwrap();
    }
    let began = Instant::now();
    while rig.collector.events().len() < before + after {
        let got = rig.collector.events().len() - before;
        assert!(
            began.elapsed() < AT_ONCE,
            "{got} of {after} new files after {before} that vanished for {absent:?}"
        );
        sleep(Duration::from_millis(10)).await;
    }
    println!("{before}, {absent:?}, {after}: {:?}", began.elapsed());
    let got: std::collections::BTreeSet<String> = rig.collector.bodies().into_iter().collect();
    let want: std::collections::BTreeSet<String> =
        (0..before + after).map(|n| content(n).trim_end().to_owned()).collect();
    assert_eq!(got, want);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_file_comes_after_ten_thousand_vanished() {
    check(10_000, Duration::from_millis(1500), 1, |n| format!("line of file {n}\n")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_files_come_after_some_vanished() {
    let alike = |n| format!("2026-11-22 15:08:08.123 INFO a first line that is long: {n}\n");
    check(300, Duration::from_secs(2), 1_000, alike).await;
    check(300, Duration::ZERO, 1_000, |n| format!("{n}\n")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_come_as_vanished() {
    let alike = |n| format!("2026-11-22 15:08:08.123 INFO a first line that is long: {n}\n");
    check(4_000, Duration::ZERO, 4_000, alike).await;
}
