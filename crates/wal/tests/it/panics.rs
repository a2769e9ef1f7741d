//! A panic on a thread of the log leaves nobody without an answer, and the log can be opened again.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use splashdam_wal::{CommitError, Count, Log, Notice, Options, Stored};

use crate::again::again;
use crate::{Words, drain, open, put, small};

const PATIENCE: Duration = Duration::from_secs(20);

fn post(log: &Log<Words>, word: &str) -> Receiver<Result<Stored, CommitError>> {
    let queue = log.queue("c1").expect("a queue");
    let room = log.reserve(&[queue], Count { events: 1, bytes: 100 }).expect("room");
    let (answer, answered) = mpsc::sync_channel(1);
    let record = Arc::new(Words(vec![word.to_owned()]));
    room.put(record, None, Box::new(move |result| _ = answer.send(result)));
    answered
}

#[test]
fn who_waits_behind_a_panic_is_answered_and_the_log_counts_as_failed() {
    for directories in [1, 2] {
        let place = tempfile::tempdir().expect("a directory");
        let paths: Vec<_> = (0..directories).map(|n| place.path().join(n.to_string())).collect();
        let paths: Vec<_> = paths.iter().map(std::path::PathBuf::as_path).collect();
        let (stopped, told) = mpsc::sync_channel(1);
        let notice = move |notice| {
            if let Notice::Stopped { why } = notice {
                _ = stopped.try_send(why);
                panic!("on purpose, while it panics");
            }
        };
        let log = open(&paths, Options { notice: Arc::new(notice), ..small() }).expect("a log");
        put(&log, &["c1"], vec!["stored".into()], None);
        let queue = log.queue("c1").expect("a queue");
        let room = log.reserve(&[queue], Count { events: 1, bytes: 100 }).expect("room");
        let (reached, there) = mpsc::sync_channel(1);
        let (go, gone) = mpsc::sync_channel(1);
        let done = move |_| {
            _ = reached.send(());
            _ = gone.recv();
            panic!("on purpose");
        };
        room.put(Arc::new(Words(vec!["first".into()])), None, Box::new(done));
        there.recv_timeout(PATIENCE).expect("the first is durable");
        // With several directories one of them goes to the thread that is about to panic.
        let behind: Vec<_> = (0..4).map(|n| post(&log, &format!("behind {n}"))).collect();
        go.send(()).expect("it waits");
        let answers: Vec<_> =
            behind.iter().map(|answer| answer.recv_timeout(PATIENCE).expect("an answer")).collect();
        let refused = |answer: &Result<_, _>| matches!(answer, Err(CommitError::Closed(_)));
        assert!(answers.iter().any(refused), "{answers:?}");
        assert!(directories == 2 || answers.iter().all(refused), "{answers:?}");
        let why = told.recv_timeout(PATIENCE).expect("it is told");
        assert!(why.contains("panicked") && log.stopped().is_some(), "{why}");
        assert!(log.failed(), "it can be opened again");
        log.close();

        let log = again(&log, &paths, &["c1"]).expect("the log again");
        let all = drain(&log, "c1", 100);
        assert!(
            ["stored", "first"].iter().all(|word| all.iter().any(|had| had == word)),
            "{all:?}"
        );
        log.close();
    }
}
