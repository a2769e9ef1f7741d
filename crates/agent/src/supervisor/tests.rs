use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use splashdam_core::Role;

use super::*;
use crate::status::Board;

#[test]
fn waits_grow_to_five_seconds_and_start_over_after_a_recovery() {
    let start = Instant::now();
    let mut state = State::Opening { attempt: 0 };
    let mut now = start;
    let mut waits = Vec::new();
    for _ in 0..8 {
        let (waiting, action) = next(state, Happening::Failed, now, |full| full);
        let Action::WaitUntil(until) = action else { panic!("{action:?}") };
        waits.push((until - now).as_millis());
        now = until;
        let (opening, action) = next(waiting, Happening::Woke, now, |full| full);
        assert_eq!(action, Action::Open);
        state = opening;
    }
    assert_eq!(waits, [250, 500, 1000, 2000, 4000, 5000, 5000, 5000]);

    let check = |ran: Duration, want: u64| {
        let (running, action) = next(state, Happening::Opened, now, |full| full);
        assert_eq!(action, Action::Run);
        let end = now + ran;
        let (_, action) = next(running, Happening::Failed, end, |full| full);
        assert_eq!(action, Action::WaitUntil(end + Duration::from_millis(want)), "{ran:?}");
    };
    check(Duration::from_secs(1), 5000);
    check(Duration::from_secs(60), 250);
}

#[test]
fn what_ends_a_life_ends_it_in_every_state() {
    let now = Instant::now();
    let states = [
        State::Opening { attempt: 3 },
        State::Running { attempt: 0, since: now },
        State::Waiting { attempt: 1, until: now },
        State::Closed,
    ];
    for state in states {
        for happening in [Happening::Stopped, Happening::Misconfigured, Happening::Finished] {
            let after = next(state, happening, now, |full| full);
            assert_eq!(after, (State::Closed, Action::End), "{state:?} {happening:?}");
        }
    }
    assert_eq!(next(State::Closed, Happening::Woke, now, |full| full).1, Action::End);
}

/// Fails to open twice, fails once at work, panics once, then runs until stopped.
struct Troubled {
    opens: Arc<AtomicU32>,
    runs: Arc<AtomicU32>,
}

impl Life for Troubled {
    type Opened = u32;

    async fn open(&mut self) -> Result<u32, OpenError> {
        match self.opens.fetch_add(1, SeqCst) {
            0 | 1 => Err(OpenError::unavailable("not yet")),
            n => Ok(n),
        }
    }

    async fn run(&mut self, _: u32, stop: Stop) -> Result<(), Cause> {
        match self.runs.fetch_add(1, SeqCst) {
            0 => Err("broke".into()),
            1 => panic!("a bug"),
            _ => {
                stop.wait().await;
                Ok(())
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_component_comes_back_after_errors_and_panics() {
    let (opens, runs) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let life = Troubled { opens: opens.clone(), runs: runs.clone() };
    let board = Board::default();
    let (handle, stop) = Stop::new();
    let sign = board.sign(Role::Source, "r1".into());
    let task = tokio::spawn(supervise("source r1".into(), life, stop, sign, Random::new(1)));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!((opens.load(SeqCst), runs.load(SeqCst)), (5, 3));
    assert_eq!(board.all()[0].1.phase, Phase::Running);
    handle.stop();
    task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_at_a_stop() {
    struct Never;
    impl Life for Never {
        type Opened = ();
        async fn open(&mut self) -> Result<(), OpenError> {
            Err(OpenError::unavailable("never"))
        }
        async fn run(&mut self, (): (), _: Stop) -> Result<(), Cause> {
            Ok(())
        }
    }
    let (handle, stop) = Stop::new();
    let board = Board::default();
    let sign = board.sign(Role::Source, "r1".into());
    let task = tokio::spawn(supervise("source r1".into(), Never, stop, sign, Random::new(1)));
    tokio::time::sleep(Duration::from_secs(20)).await;
    let status = board.all()[0].1.clone();
    assert_eq!((status.phase, status.trouble.as_deref()), (Phase::Waiting, Some("never")));
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(board.all()[0].1.since, status.since, "a try does not end the wait");
    let start = tokio::time::Instant::now();
    handle.stop();
    task.await.unwrap();
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_second_try_shows_as_one_and_keeps_what_was_wrong() {
    /// Fails at once, and then takes long.
    struct Slow(u32);
    impl Life for Slow {
        type Opened = ();
        async fn open(&mut self) -> Result<(), OpenError> {
            self.0 += 1;
            if self.0 > 1 {
                tokio::time::sleep(Duration::from_secs(60)).await;
            }
            Err(OpenError::unavailable(format!("in use, {} times", self.0)))
        }
        async fn run(&mut self, (): (), _: Stop) -> Result<(), Cause> {
            Ok(())
        }
    }
    let (handle, stop) = Stop::new();
    let board = Board::default();
    let sign = board.sign(Role::Channel, "c1".into());
    let task = tokio::spawn(supervise("channel c1".into(), Slow(0), stop, sign, Random::new(1)));
    let now = || {
        let status = board.all()[0].1.clone();
        (status.phase, status.again.is_some(), status.trouble, status.since)
    };
    // The first wait is at least three quarters of its length.
    tokio::time::sleep(FIRST_WAIT / 2).await;
    let (phase, again, trouble, since) = now();
    let first: Option<Arc<str>> = Some("in use, 1 times".into());
    assert_eq!((phase, again, &trouble), (Phase::Waiting, false, &first));
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(now(), (Phase::Waiting, true, first, since));
    tokio::time::sleep(Duration::from_secs(30) + FIRST_WAIT).await;
    let second = Some("in use, 2 times".into());
    assert_eq!(now(), (Phase::Waiting, false, second, since));
    handle.stop();
    task.await.unwrap();
}
