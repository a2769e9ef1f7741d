//! Descriptors are few, files may be many.

use super::*;

/// Files of `rig` that this process has open.
fn open_files(rig: &Rig) -> usize {
    let logs = rig.path("");
    let links = fs::read_dir("/proc/self/fd").unwrap().flatten();
    links
        .filter_map(|link| fs::read_link(link.path()).ok())
        .filter(|to| to.starts_with(&logs))
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn many_files_do_not_use_up_the_descriptors() {
    // Empty ones are never known to be done; unread ones wait for their next turn.
    for content in [String::new(), lines(0, 10)] {
        let mut rig = Rig::new("batchSize = 1\nmaxBatchCount = 1\nmaxBackoffSleep = 50");
        for n in 0..700 {
            fs::write(rig.path(&format!("a{n}")), &content).unwrap();
        }
        let unread = !content.is_empty();
        if unread {
            rig.collector.refuse(usize::from(u16::MAX));
        }
        rig.start().await;
        let mut most = 0;
        for _ in 0..40 {
            sleep(Duration::from_millis(20)).await;
            most = most.max(open_files(&rig));
        }
        // Beside them the one whose turn it is, one compared with it, and the directory.
        assert!(most <= most_open() + 3, "{most} open, unread: {unread}");
        if !unread {
            rig.append("a1", "one\n");
            rig.expect(&["one"]).await;
        }
        rig.stop().await;
    }
}
