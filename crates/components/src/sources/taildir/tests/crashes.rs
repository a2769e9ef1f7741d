//! Crashes in a row.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_repeats_has_a_bound() {
    // Soon after the first lines, and then by volume, long before the interval is over.
    let mut rig = Rig::new("writePosInterval = 60000\nbatchSize = 1000");
    rig.append("a", &lines(0, 10));
    rig.start().await;
    let mut count = 10;
    for (lines_more, most_repeated) in [(0, 0), (5, 5), (150_000, 100_000)] {
        rig.append("a", &lines(count, count + lines_more));
        count += lines_more;
        rig.collector.wait_for(count).await;
        sleep(Duration::from_millis(700)).await;
        let text = fs::read_to_string(rig.dir.path().join("p.json")).unwrap_or_default();
        let position = text.split_once("\"pos\":").and_then(|(_, rest)| rest.split_once(','));
        let position: u64 = position.map_or(0, |(number, _)| number.parse().unwrap());
        let repeated = (fs::metadata(rig.path("a")).unwrap().len() - position) / 50;
        assert!(repeated <= most_repeated, "{count}: {text}");
        // Few lines wait for the interval.
        assert!(lines_more != 5 || repeated == 5, "{count}: {text}");
    }
    rig.restart().await;
    for _ in 0..3 {
        rig.running.take().unwrap().abort().await;
        rig.append("a", &lines(count, count + 1));
        count += 1;
        rig.start().await;
        rig.collector.wait_for(count).await;
        sleep(Duration::from_millis(400)).await;
    }
    assert_eq!(rig.collector.bodies(), line_bodies(0, count));
}
