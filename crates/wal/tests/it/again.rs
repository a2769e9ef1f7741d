//! A log that is opened in the place of one that was.

use std::path::Path;
use std::sync::Arc;

use splashdam_wal::storage::{Disk, Storage};
use splashdam_wal::{Count, Log, OpenError, QueueOptions};

use crate::{Words, drain, open, put, small};

pub(crate) fn again(
    log: &Log<Words>,
    paths: &[&Path],
    queues: &[&str],
) -> Result<Log<Words>, OpenError> {
    let found = |path: &&Path| Arc::new(Disk::find(path).expect("a directory")) as Arc<dyn Storage>;
    let capacity = Count { events: 10_000, bytes: 100 << 20 };
    let queue = |name: &&str| QueueOptions { name: (*name).into(), capacity };
    let queues: Vec<_> = queues.iter().map(queue).collect();
    let opened = log.open_again(paths.iter().map(found).collect(), &queues, small())?;
    Ok(opened.start().expect("threads"))
}

fn names(path: &Path) -> Vec<std::ffi::OsString> {
    let entries = std::fs::read_dir(path).expect("a directory");
    let mut names: Vec<_> = entries.map(|entry| entry.expect("a name").file_name()).collect();
    names.sort();
    names
}

#[test]
fn only_the_directories_of_the_log_that_was_open_are_taken_and_nothing_is_made_in_others() {
    let place = tempfile::tempdir().expect("a directory");
    let path = |name: &str| place.path().join(name);
    let (one, two, empty, other) = (path("one"), path("two"), path("empty"), path("other"));
    let log = open(&[&one, &two], small()).expect("a log");
    put(&log, &["c1", "c2"], vec!["word".into()], None);
    log.close();
    open(&[&other], small()).expect("another log").close();
    std::fs::create_dir(&empty).expect("a directory");
    for paths in [
        [&*empty, &*empty],
        [&*one, &*empty],
        [&*empty, &*two],
        [&*other, &*two],
        [&*one, &*other],
        [&*other, &*empty],
    ] {
        let before = paths.map(names);
        let error = again(&log, &paths, &["c1", "c2"]).expect_err("not that log");
        assert!(matches!(error, OpenError::Membership { .. }), "{paths:?}: {error}");
        assert!(error.to_string().contains("is its disk mounted?"), "{paths:?}: {error}");
        assert_eq!(paths.map(names), before, "{paths:?}");
    }
    // Whatever the order, queues and directories are those that they were.
    let queues = ["c1", "c2"].map(|name| log.queue(name));
    let new = again(&log, &[&two, &one], &["c2", "c1"]).expect("the log again");
    assert_eq!(["c1", "c2"].map(|name| new.queue(name)), queues);
    assert_eq!(new.identity(), log.identity());
    assert_eq!(drain(&new, "c2", 10), ["word"]);
    new.close();
}

#[test]
fn an_older_copy_that_does_not_know_a_queue_is_refused() {
    let place = tempfile::tempdir().expect("a directory");
    let (one, copy) = (place.path().join("one"), place.path().join("copy"));
    let log = open(&[&one], small()).expect("a log");
    std::fs::create_dir(&copy).expect("a directory");
    for name in names(&one).iter().filter(|name| name.to_string_lossy().starts_with("member")) {
        std::fs::copy(one.join(name), copy.join(name)).expect("a copy");
    }
    log.add_queue("c3", Count { events: 1, bytes: 1 }).expect("a queue");
    log.close();
    let before = names(&copy);
    let error = again(&log, &[&copy], &["c3", "c1", "c2"]).expect_err("an older copy");
    assert!(error.to_string().contains("does not know the queues"), "{error}");
    assert_eq!(names(&copy), before);
    let new = again(&log, &[&one], &["c3", "c1", "c2"]).expect("the log again");
    assert_eq!(new.queue("c3"), log.queue("c3"));
    new.close();
}
