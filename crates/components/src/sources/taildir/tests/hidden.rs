//! Files that cannot be seen for a while, and what is given up when they are gone for good.

use super::*;

/// The text of the file beside the position file.
fn side(rig: &Rig) -> String {
    fs::read_to_string(rig.dir.path().join("p.json.splashdam")).unwrap()
}

/// Waits until the position file was written with what `is_there` looks for.
async fn written(rig: &Rig, is_there: impl Fn(&str) -> bool) {
    let began = Instant::now();
    while !is_there(&fs::read_to_string(rig.dir.path().join("p.json")).unwrap_or_default()) {
        assert!(began.elapsed() < Duration::from_secs(10), "the position file is not as it should");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Makes a link lead to `target`.
fn lead(rig: &Rig, name: &str, target: &Path) {
    symlink(target, rig.path("tmp")).unwrap();
    rig.rename("tmp", name);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mount_that_comes_late_is_read_on_where_it_was() {
    // The device has another number than before, as that of a network file system may have.
    for away in [false, true] {
        let mut rig = Rig::started("maxBackoffSleep = 50").await;
        rig.append("a", "one\n");
        rig.expect(&["one"]).await;
        rig.stop().await;
        let device = fs::metadata(rig.path("a")).unwrap().dev();
        let other = side(&rig)
            .replace(&format!(r#""device":{device}"#), &format!(r#""device":{}"#, device + 1_000));
        fs::write(rig.dir.path().join("p.json.splashdam"), other).unwrap();
        let aside = rig.dir.path().join("aside");
        if away {
            fs::rename(rig.path("a"), &aside).unwrap();
            rig.start().await;
            // Long enough to be listed; what is given up is noted at the stop.
            sleep(Duration::from_millis(100)).await;
            rig.restart().await;
            sleep(Duration::from_millis(100)).await;
            fs::rename(&aside, rig.path("a")).unwrap();
        } else {
            rig.start().await;
        }
        rig.append("a", "two\n");
        rig.expect(&["one", "two"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_copied_to_another_disk_are_read_on() {
    let mut rig = Rig::started("").await;
    rig.append("a", &lines(0, 100));
    rig.collector.wait_for(100).await;
    rig.stop().await;
    let device = fs::metadata(rig.path("a")).unwrap().dev();
    let other = side(&rig)
        .replace(&format!(r#""device":{device}"#), &format!(r#""device":{}"#, device + 1_000));
    fs::write(rig.dir.path().join("p.json.splashdam"), other).unwrap();
    fs::copy(rig.path("a"), rig.path("tmp")).unwrap();
    rig.rename("tmp", "a");
    rig.append("a", &lines(100, 110));
    rig.start().await;
    rig.collector.wait_for(110).await;
    sleep(Duration::from_millis(60)).await;
    assert_eq!(rig.collector.bodies(), line_bodies(0, 110));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_leads_nowhere_for_a_while_keeps_its_position() {
    // A link to itself gives an error other than that there is no file.
    for nowhere in ["missing", "a"] {
        for stopped in [false, true] {
            let mut rig =
                Rig::new("maxBackoffSleep = 50\nidleTimeout = 100\nwritePosInterval = 20");
            let target = rig.dir.path().join("target");
            append(&target, "one\n");
            symlink(&target, rig.path("a")).unwrap();
            rig.start().await;
            rig.expect(&["one"]).await;
            if stopped {
                rig.stop().await;
            }
            // Closed by now, so that nothing but its name leads to it.
            sleep(Duration::from_millis(300)).await;
            lead(&rig, "a", &rig.path(nowhere));
            if stopped {
                rig.start().await;
            }
            sleep(Duration::from_millis(500)).await;
            lead(&rig, "a", &target);
            append(&target, "two\n");
            rig.expect(&["one", "two"]).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_below_a_mount_does_not_count() {
    let rig = Rig::new("maxBackoffSleep = 50\nidleTimeout = 100\nwritePosInterval = 20");
    let Ok(mounted) = tempfile::tempdir_in("/dev/shm") else { return };
    let (logs, below) = (rig.dir.path().join("logs"), rig.dir.path().join("below"));
    if fs::metadata(&mounted).unwrap().dev() == fs::metadata(&logs).unwrap().dev() {
        return;
    }
    fs::rename(&logs, &below).unwrap();
    symlink(mounted.path(), &logs).unwrap();
    let mut rig = rig;
    rig.append("a", "one\n");
    rig.start().await;
    rig.expect(&["one"]).await;
    sleep(Duration::from_millis(300)).await;
    fs::remove_file(&logs).unwrap();
    symlink(&below, &logs).unwrap();
    sleep(Duration::from_millis(500)).await;
    fs::remove_file(&logs).unwrap();
    symlink(mounted.path(), &logs).unwrap();
    rig.append("a", "two\n");
    rig.expect(&["one", "two"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_removed_is_given_up() {
    for stopped in [false, true] {
        let mut rig =
            Rig::started("maxBackoffSleep = 50\nidleTimeout = 100\nwritePosInterval = 20").await;
        rig.append("a1", "one\n");
        rig.expect(&["one"]).await;
        rig.append("a2", "two\n");
        rig.expect(&["one", "two"]).await;
        if stopped {
            rig.stop().await;
        }
        fs::remove_file(rig.path("a1")).unwrap();
        if stopped {
            rig.start().await;
        }
        written(&rig, |text| text.contains("/a2") && !text.contains("/a1")).await;
    }
}
