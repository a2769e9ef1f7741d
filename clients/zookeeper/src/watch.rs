//! Following one node: what it holds, whoever of the ensemble is there to say.
//!
//! A session is taken up again at another server when a connection breaks. Watches are not carried
//! over: after every connection the node is read anew, with a new watch, so that no change is
//! missed, and the last change that was seen keeps a server that lags from showing an older one.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch::Sender;
use tokio::time::{Instant, sleep};

use crate::connection::{Broken, Connection};
use crate::ensemble::{Ensemble, Server};
use crate::packet::{Node, Session};

/// Between one server and the next.
const PAUSE: Duration = Duration::from_millis(100);
/// Between one round and the next, when nobody answers for long.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How long what may take.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Connecting, and each answer.
    pub answer: Duration,
    /// The session's timeout that is asked for; the server grants one between limits of its own.
    /// A server that is silent for two thirds of it is left for another.
    pub session: Duration,
}

impl Default for Patience {
    /// Curator's: 15 s and 60 s.
    fn default() -> Self {
        Patience { answer: Duration::from_secs(15), session: Duration::from_secs(60) }
    }
}

/// What is known of the node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// What there was when somebody last answered; nothing before the first answer.
    pub node: Option<Node>,
    /// What each server did when all of them were asked in turn and none answered; nothing while
    /// one does.
    pub trouble: Option<Arc<str>>,
}

/// One node of an ensemble, to be followed.
#[derive(Clone, Debug)]
pub struct Watch {
    ensemble: Ensemble,
    path: String,
    first: usize,
    patience: Patience,
}

impl Watch {
    /// The node at `path`. The server at `first`, counted round and round, is asked first: let that
    /// differ among clients.
    #[must_use]
    pub fn new(ensemble: Ensemble, path: &str, first: usize) -> Self {
        let path = ensemble.full(path);
        let first = first % ensemble.count();
        Watch { ensemble, path, first, patience: Patience::default() }
    }

    /// The same, with other limits of time.
    #[must_use]
    pub fn patience(self, patience: Patience) -> Self {
        Watch { patience, ..self }
    }

    /// Tells `seen` what there is, each time it changes, until nobody listens any more.
    pub async fn run(self, seen: Sender<Seen>) {
        tokio::select! {
            () = self.follow(&seen) => {}
            () = seen.closed() => {}
        }
    }

    async fn follow(&self, seen: &Sender<Seen>) {
        let mut session = Session::new(self.patience.session);
        let mut last_answer = Instant::now();
        let mut turn = self.first;
        let mut failures = Vec::new();
        let mut pause = PAUSE;
        loop {
            let server = self.ensemble.server(turn);
            turn = (turn + 1) % self.ensemble.count();
            let mut answer = None;
            let broken = self.stay(server, &mut session, seen, &mut answer).await;
            let expired = broken == Broken::Expired && session.id != 0;
            if let Some(at) = answer {
                last_answer = at;
                failures.clear();
                pause = PAUSE;
            } else if !expired {
                failures.push(format!("{server}: {broken}"));
            }
            if expired || last_answer.elapsed() > session.timeout {
                // What the session had seen goes with it: an ensemble that was set up anew counts
                // from the start.
                session = Session::new(self.patience.session);
            }
            if failures.len() < self.ensemble.count() {
                sleep(PAUSE).await;
                continue;
            }
            let trouble: Arc<str> = failures.join("; ").into();
            failures.clear();
            change(seen, |seen| seen.trouble = Some(trouble));
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Follows the node at one server until that is of no use any more, and says why. `answer` is
    /// when it last said what there is, if it did.
    async fn stay(
        &self,
        server: &Server,
        session: &mut Session,
        seen: &Sender<Seen>,
        answer: &mut Option<Instant>,
    ) -> Broken {
        let followed = async {
            let mut connection = Connection::open(server, session, self.patience.answer).await?;
            loop {
                let node = connection.watch(&self.path, session).await?;
                *answer = Some(Instant::now());
                change(seen, |seen| *seen = Seen { node: Some(node), trouble: None });
                let quiet = connection.quiet(session).await;
                *answer = Some(Instant::now());
                quiet?;
            }
        };
        let ended: Result<Infallible, Broken> = followed.await;
        match ended {
            Ok(never) => match never {},
            Err(broken) => broken,
        }
    }
}

/// Wakes the listeners only when something is different.
fn change(seen: &Sender<Seen>, edit: impl FnOnce(&mut Seen)) {
    seen.send_if_modified(|seen| {
        let before = seen.clone();
        edit(seen);
        *seen != before
    });
}

#[cfg(test)]
mod tests;
