//! How soon what is written arrives.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn new_lines_arrive_at_once() {
    let rig = Rig::started("").await;
    rig.append("a", "first\n");
    rig.collector.wait_for(1).await;
    let mut took = [Duration::ZERO; 18];
    for (n, took) in (2..).zip(&mut took) {
        sleep(Duration::from_millis(17)).await;
        let began = Instant::now();
        rig.append("a", "next\n");
        rig.collector.wait_for(n).await;
        *took = began.elapsed();
    }
    // Without word from the system all of them wait for the next look, after about 230 ms.
    not_always_slow(&took, 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_leads_elsewhere() {
    let mut rig = Rig::new("");
    let far = rig.dir.path().to_owned();
    let target = |n: usize| far.join(format!("target{n}"));
    append(&target(1), &lines(0, 10));
    symlink(target(1), rig.path("a")).unwrap();
    rig.start().await;
    rig.collector.wait_for(10).await;
    append(&target(1), &lines(10, 20));
    append(&target(2), &lines(20, 30));
    symlink(target(2), rig.path("tmp")).unwrap();
    fs::rename(rig.path("tmp"), rig.path("a")).unwrap();
    rig.collector.wait_for(30).await;
    let mut took = [Duration::ZERO; 5];
    for (n, took) in (3..).zip(&mut took) {
        append(&target(2), &lines(10 * n, 10 * n + 10));
        let began = Instant::now();
        rig.collector.wait_for(10 * n + 10).await;
        *took = began.elapsed();
    }
    not_always_slow(&took, 500);
    let mut got = rig.collector.bodies();
    got.sort();
    assert_eq!(got, line_bodies(0, 80));
    rig.restart().await;
    append(&target(2), &lines(80, 81));
    assert_eq!(rig.collector.wait_for(81).await.len(), 81);
}

/// The machine may be slow now and then; what is not watched is so each time.
fn not_always_slow(took: &[Duration], millis: u64) {
    println!("lines took {took:?}");
    assert!(took.iter().min() < Some(&Duration::from_millis(millis)), "{took:?}");
}
