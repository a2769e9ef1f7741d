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

/// What sources need a channel for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// For nothing, as one of dead letters.
    Nothing,
    /// It may take their events. They wait until it is open, and not for room in it.
    Optional,
    /// It has to take their events.
    #[default]
    Required,
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
    /// Since when it is being opened again, if it is. Its trouble is that of the time before.
    pub again: Option<Instant>,
    /// Whether others of its sink group do its work meanwhile.
    pub covered: bool,
    /// What it is needed for, if it is a channel.
    pub need: Need,
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

    /// Everybody, by role and name.
    pub fn all(&self) -> Vec<((Role, Arc<str>), Status)> {
        self.lock().iter().map(|(key, status)| (key.clone(), status.clone())).collect()
    }

    /// Forgets a component that is no longer configured.
    pub fn remove(&self, role: Role, name: &str) {
        self.lock().retain(|(r, n), _| *r != role || &**n != name);
    }

    /// Says what sources need a channel for, if it is there.
    pub fn need(&self, channel: &Arc<str>, need: Need) {
        if let Some(status) = self.lock().get_mut(&(Role::Channel, channel.clone())) {
            status.need = need;
        }
    }

    // Entries are replaced whole, so a panic elsewhere leaves the map as it should be.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<(Role, Arc<str>), Status>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sign {
    /// Says what the component does now. One that is draining does so to its end, also while it
    /// tries in vain.
    pub fn set(&self, phase: Phase, trouble: Option<&str>) {
        let mut board = self.board.lock();
        let old = board.get(&self.key);
        let draining = old.is_some_and(|old| old.phase == Phase::Draining);
        let phase = match phase {
            Phase::Running | Phase::Waiting if draining => Phase::Draining,
            phase => phase,
        };
        let (since, covered) = match old {
            Some(old) if old.phase == phase => (old.since, old.covered),
            _ => (Instant::now(), false),
        };
        let need = old.map(|old| old.need).unwrap_or_default();
        let trouble = trouble.map(Arc::from);
        let status = Status { phase, since, trouble, again: None, covered, need };
        board.insert(self.key.clone(), status);
    }

    /// Says that the component is being opened again: until it says what came of it, it waits as
    /// before.
    pub fn open_again(&self) {
        if let Some(status) = self.board.lock().get_mut(&self.key) {
            status.again = Some(Instant::now());
        }
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

    #[test]
    fn who_drains_does_so_to_the_end() {
        let board = Board::default();
        let sign = board.sign(Role::Sink, "k1".into());
        let now = || {
            let status = board.all()[0].1.clone();
            (status.phase, status.trouble)
        };
        sign.set(Phase::Draining, None);
        sign.set(Phase::Waiting, Some("refused"));
        assert_eq!(now(), (Phase::Draining, Some("refused".into())));
        sign.set(Phase::Running, None);
        assert_eq!(now(), (Phase::Draining, None));
        sign.set(Phase::Closed, None);
        assert_eq!(now(), (Phase::Closed, None));
    }

    #[test]
    fn what_a_channel_is_needed_for_outlasts_its_phases() {
        let board = Board::default();
        let sign = board.sign(Role::Channel, "c1".into());
        let need = || board.all()[0].1.need;
        assert_eq!(need(), Need::Required);
        board.need(&"c1".into(), Need::Optional);
        sign.set(Phase::Running, None);
        assert_eq!(need(), Need::Optional);
        board.need(&"c2".into(), Need::Nothing);
        assert_eq!(board.all().len(), 1);
    }
}
