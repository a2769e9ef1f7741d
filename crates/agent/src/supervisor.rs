//! What comes next in a component's life: a pure function, and the loop that follows it.
//!
//! Flume's supervisor tries a failed start again every three seconds, for ever. Here the wait
//! starts short and grows, with jitter, and never exceeds five seconds, so that a component is
//! back within that time after its trouble is gone.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use splashdam_core::{Cause, OpenError, Random, Stop, Trouble};
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
    let mut log = TroubleLog::new(title.clone());
    loop {
        let happening = match action {
            Action::Open => {
                // Who is tried again waits all the while, from when its trouble began.
                match state == (State::Opening { attempt: 0 }) {
                    true => sign.set(Phase::Opening, None),
                    false => sign.open_again(),
                }
                match stop.or(contained(&title, life.open())).await {
                    None => Happening::Stopped,
                    Some(Ok(Ok(ready))) => {
                        log.opened();
                        opened = Some(ready);
                        Happening::Opened
                    }
                    Some(Ok(Err(error))) => log.not_opened(&sign, &error),
                    Some(Err(panic)) => log.failed(&sign, &panic),
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
                        Ok(Err(error)) => log.failed(&sign, &error.to_string()),
                        Err(panic) => log.failed(&sign, &panic),
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
        (state, action) = next(state, happening, now(), |full| random.jitter(full));
        if happening == Happening::Finished {
            info!(component = %title, "finished: it has nothing more to bring");
            sign.set(Phase::Closed, None);
        }
    }
}

/// What keeps a component from its work, said once and then as a reminder, however often it is tried.
struct TroubleLog {
    title: String,
    /// That it does not open.
    opening: Trouble,
    /// That it opens and fails.
    running: Trouble,
}

impl TroubleLog {
    fn new(title: String) -> Self {
        TroubleLog { title, opening: Trouble::new(), running: Trouble::new() }
    }

    fn opened(&mut self) {
        if let Some(lasted) = self.opening.ended(now()) {
            info!(component = %self.title, ?lasted, "is open after all");
        }
    }

    fn not_opened(&mut self, sign: &Sign, error: &OpenError) -> Happening {
        let (title, text) = (&self.title, error.to_string());
        if let OpenError::Config(_) = error {
            error!(component = %title, error = %text, "cannot be opened as it is configured; it stays closed until its configuration changes");
            sign.set(Phase::Closed, Some(&text));
            return Happening::Misconfigured;
        }
        sign.set(Phase::Waiting, Some(&text));
        if let Some(repeats) = self.opening.happened(now(), &text) {
            let repeats = (repeats > 0).then_some(repeats);
            match error.needs_hand() {
                true => {
                    error!(component = %title, error = %text, repeats, "cannot be opened until somebody mends that; trying again meanwhile");
                }
                false => {
                    warn!(component = %title, error = %text, repeats, "cannot be opened now; trying again");
                }
            }
        }
        Happening::Failed
    }

    fn failed(&mut self, sign: &Sign, text: &str) -> Happening {
        sign.set(Phase::Waiting, Some(text));
        if let Some(repeats) = self.running.happened(now(), text) {
            let repeats = (repeats > 0).then_some(repeats);
            warn!(component = %self.title, error = %text, repeats, "failed; opening it again");
        }
        Happening::Failed
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
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
