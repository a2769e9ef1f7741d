//! What comes next in a component's life: a pure function, and the loop that follows it.
//!
//! Flume's supervisor tries a failed start again every three seconds, for ever. Here the wait
//! starts short and grows, with jitter, and never exceeds five seconds, so that a component is
//! back within that time after its trouble is gone.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use splashdam_core::{Cause, OpenError, Random, Stop};
use tracing::{error, info, warn};

use crate::status::{Phase, Sign};

/// The first wait after a failure.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// The longest wait between two tries.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// A component that ran this long had recovered: its next failure counts as the first.
const RECOVERED: Duration = Duration::from_secs(60);

/// Where a component is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Being opened for the `attempt`-th time in a row, counted from 0.
    Opening {
        /// Failures so far.
        attempt: u32,
    },
    /// At work since `since`.
    Running {
        /// Failures before it came up.
        attempt: u32,
        /// When it came up.
        since: Instant,
    },
    /// Failed; opened again at `until`.
    Waiting {
        /// Failures so far.
        attempt: u32,
        /// When to try again.
        until: Instant,
    },
    /// Over.
    Closed,
}

/// What happened to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happening {
    /// It opened.
    Opened,
    /// It could not open, or ended with an error, or panicked.
    Failed,
    /// Its configuration cannot work.
    Misconfigured,
    /// It ended of itself with nothing more to do.
    Finished,
    /// The wait is over.
    Woke,
    /// It was asked to stop.
    Stopped,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Open it.
    Open,
    /// Let it run.
    Run,
    /// Wait until then.
    WaitUntil(Instant),
    /// Nothing any more.
    End,
}

/// `(state, happening, now) → (state, action)`. `jitter` shortens a wait.
pub fn next(
    state: State,
    happening: Happening,
    now: Instant,
    jitter: impl Fn(Duration) -> Duration,
) -> (State, Action) {
    let wait = |attempt: u32| {
        let full = FIRST_WAIT.saturating_mul(1 << attempt.min(10)).min(LONGEST_WAIT);
        let until = now + jitter(full);
        (State::Waiting { attempt: attempt.saturating_add(1), until }, Action::WaitUntil(until))
    };
    match (state, happening) {
        (State::Closed, _)
        | (_, Happening::Stopped | Happening::Misconfigured | Happening::Finished) => {
            (State::Closed, Action::End)
        }
        (State::Opening { attempt }, Happening::Opened) => {
            (State::Running { attempt, since: now }, Action::Run)
        }
        (State::Opening { attempt }, Happening::Failed) => wait(attempt),
        (State::Running { attempt, since }, Happening::Failed) => {
            wait(if now.saturating_duration_since(since) >= RECOVERED { 0 } else { attempt })
        }
        (State::Waiting { attempt, .. }, Happening::Woke) => {
            (State::Opening { attempt }, Action::Open)
        }
        (State::Waiting { until, .. }, _) => (state, Action::WaitUntil(until)),
        (State::Opening { .. }, _) => (state, Action::Open),
        (State::Running { .. }, _) => (state, Action::Run),
    }
}

/// A component that can be opened again after it failed.
pub trait Life: Send {
    /// What `open` makes and `run` uses up.
    type Opened: Send;
    /// Makes it ready.
    fn open(&mut self) -> impl Future<Output = Result<Self::Opened, OpenError>> + Send;
    /// Lets it work until `stop` or its end.
    fn run(
        &mut self,
        opened: Self::Opened,
        stop: Stop,
    ) -> impl Future<Output = Result<(), Cause>> + Send;
}

/// Follows [`next`] until a stop or the component's own end. A panic counts as a failure, is
/// logged with the component's name and ends nothing else.
pub async fn supervise(title: String, mut life: impl Life, stop: Stop, sign: Sign, random: Random) {
    let mut state = State::Opening { attempt: 0 };
    let mut action = Action::Open;
    let mut opened = None;
    loop {
        let happening = match action {
            Action::Open => {
                sign.set(Phase::Opening, None);
                match stop.or(contained(&title, life.open())).await {
                    None => Happening::Stopped,
                    Some(Ok(Ok(ready))) => {
                        opened = Some(ready);
                        Happening::Opened
                    }
                    Some(Ok(Err(error))) => report_open(&title, &sign, &error),
                    Some(Err(panic)) => report_failure(&title, &sign, &panic),
                }
            }
            Action::Run => match opened.take() {
                None => Happening::Failed,
                Some(ready) => {
                    sign.set(Phase::Running, None);
                    let ran = contained(&title, life.run(ready, stop.clone())).await;
                    match ran {
                        Ok(Err(error)) if stop.requested() => {
                            warn!(component = %title, %error, "did not stop cleanly");
                            Happening::Stopped
                        }
                        _ if stop.requested() => Happening::Stopped,
                        Ok(Ok(())) => Happening::Finished,
                        Ok(Err(error)) => report_failure(&title, &sign, &error.to_string()),
                        Err(panic) => report_failure(&title, &sign, &panic),
                    }
                }
            },
            Action::WaitUntil(until) => match stop.or(tokio::time::sleep_until(until.into())).await
            {
                None => Happening::Stopped,
                Some(()) => Happening::Woke,
            },
            Action::End => break,
        };
        let now = tokio::time::Instant::now().into_std();
        (state, action) = next(state, happening, now, |full| random.jitter(full));
        if happening == Happening::Finished {
            info!(component = %title, "finished: it has nothing more to bring");
            sign.set(Phase::Closed, None);
        }
    }
}

fn report_open(title: &str, sign: &Sign, error: &OpenError) -> Happening {
    let text = error.to_string();
    match error {
        OpenError::Config(_) => {
            error!(component = %title, error = %text, "cannot be opened as it is configured; it stays closed until its configuration changes");
            sign.set(Phase::Closed, Some(&text));
            Happening::Misconfigured
        }
        OpenError::Unavailable(_) => {
            warn!(component = %title, error = %text, "cannot be opened now; trying again");
            sign.set(Phase::Waiting, Some(&text));
            Happening::Failed
        }
    }
}

fn report_failure(title: &str, sign: &Sign, text: &str) -> Happening {
    warn!(component = %title, error = %text, "failed; opening it again");
    sign.set(Phase::Waiting, Some(text));
    Happening::Failed
}

/// Runs `work`; a panic in it becomes an error with its message.
pub(crate) async fn contained<T>(title: &str, work: impl Future<Output = T>) -> Result<T, String> {
    AssertUnwindSafe(work).catch_unwind().await.map_err(|panic| {
        let text = panic
            .downcast_ref::<&str>()
            .map(|s| (*s).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "no message".to_owned());
        error!(component = %title, panic = %text, "panicked: this is a bug of ours; please report it with this log");
        format!("panicked: {text}")
    })
}

#[cfg(test)]
mod tests;
