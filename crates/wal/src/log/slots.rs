//! The queues of an open log, each with whoever listens to it.

use std::sync::{OnceLock, PoisonError};

use super::MOST_QUEUES;
use crate::queue::Queue;
use crate::threads::{Mutex, MutexGuard};

pub(crate) struct Slot<R> {
    queue: Mutex<Queue<R>>,
    pub(super) listener: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl<R> Slot<R> {
    pub(crate) fn new(queue: Queue<R>) -> Slot<R> {
        Slot { queue: Mutex::new(queue), listener: OnceLock::new() }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Queue<R>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn changed(&self) {
        if let Some(listener) = self.listener.get() {
            listener();
        }
    }
}

/// The queues of a log. Some may be added while it is open, none goes; looking one up takes no lock.
pub(crate) struct Slots<R>(Box<[OnceLock<Box<Slot<R>>>]>);

impl<R> Slots<R> {
    pub(crate) fn new(slots: impl IntoIterator<Item = Slot<R>>) -> Slots<R> {
        let mut all: Vec<_> =
            slots.into_iter().map(|slot| OnceLock::from(Box::new(slot))).collect();
        all.resize_with(all.len().max(MOST_QUEUES), OnceLock::new);
        Slots(all.into())
    }

    /// A queue that is there, since its number came from here or from a recovered frame.
    pub(crate) fn at(&self, queue: u16) -> &Slot<R> {
        self.0[usize::from(queue)].get().expect("numbers of queues are given with their slots")
    }

    pub(crate) fn len(&self) -> usize {
        self.0.iter().take_while(|slot| slot.get().is_some()).count()
    }

    /// All of them, in order of their numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u16, &Slot<R>)> {
        (0u16..).zip(self.0.iter().map_while(OnceLock::get).map(Box::as_ref))
    }

    /// Adds one under the next number; callers hold the roster.
    pub(super) fn add(&self, slot: Slot<R>) {
        if let Some(place) = self.0.get(self.len()) {
            // Nobody else adds, so the place is empty.
            let _placed = place.set(Box::new(slot));
        }
    }
}
