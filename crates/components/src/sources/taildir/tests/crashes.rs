//! Crashes in a row.

use splashdam_core::{Channel, Size};
use splashdam_testkit::fakes::{FakeWorld, context_in, outlet_to};

use super::*;
use crate::channels::file::FileChannel;

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

#[tokio::test(flavor = "multi_thread")]
async fn with_a_durable_channel_crashes_repeat_nothing() {
    let rig = Rig::new("writePosInterval = 60000\nbatchSize = 7");
    let data = rig.dir.path().join("channel");
    let keys = format!("dataDirs = {0}\ncheckpointDir = {0}\nkeep-alive = 1", data.display());
    let channel = || async {
        let config = Section::parse(&keys).read().into_result().unwrap();
        Arc::new(FileChannel::open(config, context(Role::Channel)).await.unwrap())
    };
    let mut open = channel().await;
    let mut count = 0;
    // Within the time to the first write of positions, and after it.
    for pause in [3, 20, 0, 160, 1, 40, 8] {
        rig.append("a", &lines(count, count + 100));
        rig.append("a2", &lines(count, count + 100));
        count += 100;
        let source = reopen(&rig.keys).await;
        let (_handle, stop) = Stop::new();
        let outlet = outlet_to(vec![open.clone()]);
        let task = tokio::spawn(async move { source.run(outlet, stop).await });
        sleep(Duration::from_millis(pause)).await;
        task.abort();
        drop(task.await);
        if pause % 2 == 0 {
            // The agent goes, too.
            open.close().await.unwrap();
            open = channel().await;
        }
    }
    rig.append("a", &lines(count, count + 1));
    let source = reopen(&rig.keys).await;
    let (handle, stop) = Stop::new();
    let task = tokio::spawn(source.run(outlet_to(vec![open.clone()]), stop));
    for _ in 0..400 {
        if open.level().queued.events > 2 * count {
            break;
        }
        sleep(Duration::from_millis(10)).await;
    }
    sleep(Duration::from_millis(60)).await;
    handle.stop();
    task.await.unwrap().unwrap();
    let mut got = Vec::new();
    while open.level().queued.events > 0 {
        let taken = open.begin_take(Size::events(10_000)).await.unwrap();
        got.extend(bodies(taken.batch().events()));
        taken.commit().await.unwrap();
    }
    // Each line of either file once. Which file came first in a round is left open.
    let mut want = [line_bodies(0, count), line_bodies(0, count + 1)].concat();
    got.sort();
    want.sort();
    assert_eq!(got.len(), want.len());
    assert_eq!(got, want);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_removes_the_position_file_begins_anew() {
    let mut rig = Rig::new("");
    let data = rig.dir.path().join("channel");
    let keys = format!("dataDirs = {0}\ncheckpointDir = {0}", data.display());
    let config = Section::parse(&keys).read().into_result().unwrap();
    let open = Arc::new(FileChannel::open(config, context(Role::Channel)).await.unwrap());
    rig.append("a", &lines(0, 100));
    // One machine, whose randomness goes on.
    let cx = context(Role::Source);
    for want in [100, 100, 200] {
        let config = Section::parse(&rig.keys).read().into_result().unwrap();
        let source = Taildir::open(config, cx.clone()).await.unwrap();
        let (handle, stop) = Stop::new();
        let task = tokio::spawn(source.run(outlet_to(vec![open.clone()]), stop));
        sleep(Duration::from_millis(300)).await;
        handle.stop();
        task.await.unwrap().unwrap();
        assert_eq!(open.level().queued.events, want);
        if want == 100 && rig.keys.contains("batchSize") {
            fs::remove_file(rig.dir.path().join("p.json")).unwrap();
        }
        rig.keys.push_str("\nbatchSize = 10");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_though_channels_refuse_and_much_is_waiting() {
    let mut rig = Rig::new("batchSize = 1000");
    rig.append("a", &lines(0, 600_000));
    rig.collector.refuse(1_000_000);
    rig.start().await;
    // Long enough that the reader waits for room.
    sleep(Duration::from_millis(300)).await;
    let stopped = tokio::time::timeout(Duration::from_secs(5), rig.stop()).await;
    assert!(stopped.is_ok(), "the source hangs");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_further_ahead_than_others_gets_what_comes() {
    let rig = Rig::new("");
    let file = rig.dir.path().join("p.json");
    let cx = context(Role::Channel);
    let channel = async |name: &str| {
        let keys =
            format!("dataDirs = {0}/{name}\ncheckpointDir = {0}/{name}", rig.dir.path().display());
        let config = Section::parse(&keys).read().into_result().unwrap();
        Arc::new(FileChannel::open(config, cx.clone()).await.unwrap()) as Arc<dyn Channel>
    };
    let channels = [channel("c1").await, channel("c2").await];
    let mut older = Vec::new();
    // The clock was wrong for a while, and the position file is set back to what it was
    // before.
    let lives = [(0, 2, 0, [0, 0]), (1_000_000, 1, 10, [10, 0]), (0, 2, 15, [25, 15])];
    for (life, (millis, count, lines_then, want)) in lives.into_iter().enumerate() {
        rig.append("a", &lines(if life == 2 { 10 } else { 0 }, lines_then));
        let world = FakeWorld::default();
        world.set_millis(1_700_000_000_000 + millis);
        let config = Section::parse(&rig.keys).read().into_result().unwrap();
        let source =
            Taildir::open(config, context_in(Role::Source, Arc::new(world))).await.unwrap();
        let (handle, stop) = Stop::new();
        let task = tokio::spawn(source.run(outlet_to(channels[..count].to_vec()), stop));
        let queued = || [0, 1].map(|channel: usize| channels[channel].level().queued.events);
        for _ in 0..100 {
            if queued() == want && file.exists() {
                break;
            }
            sleep(Duration::from_millis(10)).await;
        }
        handle.stop();
        task.await.unwrap().unwrap();
        assert_eq!(queued(), want, "{life}");
        if life == 0 {
            let beside = fs::read_dir(rig.dir.path()).unwrap().map(|entry| entry.unwrap().path());
            let files = beside.filter(|path| path.is_file());
            older.extend(files.map(|path| (path.clone(), fs::read(path).unwrap())));
        }
        for (path, bytes) in &older {
            fs::write(path, bytes).unwrap();
        }
    }
}
