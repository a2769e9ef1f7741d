//! What each component is doing now, as the supervisor, the sink runners and `/readyz` share it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use splashdam_core::Role;

/// A phase in a component's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Binding, connecting, replaying.
    Opening,
    /// At work.
    Running,
    /// Failed, and about to be tried again.
    Waiting,
    /// Finishes what it has, takes nothing new.
    Draining,
    /// Has nothing more to do, or cannot do anything until its configuration changes.
    Closed,
    /// Ended by a bug of ours, and nothing but a new start of the process brings it back.
    Dead,
}

impl Phase {
    /// One word.
    pub const fn word(self) -> &'static str {
        match self {
            Phase::Opening => "opening",
            Phase::Running => "running",
            Phase::Waiting => "waiting",
            Phase::Draining => "draining",
            Phase::Closed => "closed",
            Phase::Dead => "dead",
        }
    }
}

/// A component's phase, since when, and its trouble if it has any.
#[derive(Clone, Debug)]
pub struct Status {
    /// What it does.
    pub phase: Phase,
    /// Since when.
    pub since: Instant,
    /// Why it waits or is closed before its time.
    pub trouble: Option<Arc<str>>,
    /// Whether others of its sink group do its work meanwhile.
    pub covered: bool,
}

/// Everybody's status. Clones share it.
#[derive(Clone, Default)]
pub struct Board(Arc<Mutex<BTreeMap<(Role, Arc<str>), Status>>>);

/// One component's place on the board.
#[derive(Clone)]
pub struct Sign {
    board: Board,
    key: (Role, Arc<str>),
}

impl Board {
    /// A place for a component, which begins as opening.
    pub fn sign(&self, role: Role, name: Arc<str>) -> Sign {
        let sign = Sign { board: self.clone(), key: (role, name) };
        sign.set(Phase::Opening, None);
        sign
    }

    /// Whether there is anybody, and everybody is at work or has done it.
    pub fn is_ready(&self) -> bool {
        let board = self.lock();
        let up = |status: &Status| {
            status.phase == Phase::Running
                || status.covered
                || status.phase == Phase::Closed && status.trouble.is_none()
        };
        !board.is_empty() && board.values().all(up)
    }

    /// Everybody, by role and name.
    pub fn all(&self) -> Vec<((Role, Arc<str>), Status)> {
        self.lock().iter().map(|(key, status)| (key.clone(), status.clone())).collect()
    }

    /// Forgets a component that is no longer configured.
    pub fn remove(&self, role: Role, name: &str) {
        self.lock().retain(|(r, n), _| *r != role || &**n != name);
    }

    // Entries are replaced whole, so a panic elsewhere leaves the map as it should be.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<(Role, Arc<str>), Status>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sign {
    /// Says what the component does now.
    pub fn set(&self, phase: Phase, trouble: Option<&str>) {
        let mut board = self.board.lock();
        let (since, covered) = match board.get(&self.key) {
            Some(old) if old.phase == phase => (old.since, old.covered),
            _ => (Instant::now(), false),
        };
        let trouble = trouble.map(Arc::from);
        board.insert(self.key.clone(), Status { phase, since, trouble, covered });
    }

    /// Says whether others do this component's work, until it changes its phase.
    pub fn cover(&self, covered: bool) {
        if let Some(status) = self.board.lock().get_mut(&self.key) {
            status.covered = covered;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_the_change_of_phase() {
        let board = Board::default();
        let sign = board.sign(Role::Sink, "k1".into());
        sign.set(Phase::Running, None);
        let first = board.all()[0].1.since;
        sign.set(Phase::Running, Some("slow"));
        let status = board.all()[0].1.clone();
        assert_eq!((status.since, status.trouble.as_deref()), (first, Some("slow")));
        board.remove(Role::Sink, "k1");
        assert!(board.all().is_empty());
    }
}
