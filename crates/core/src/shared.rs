//! What components of one agent have in common, by its type.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// A place where components of one agent find each other: one value of each type, made when it is
/// first asked for. The agent owns it and hands it down, so nothing here is global.
#[derive(Clone, Default)]
pub struct Shared(Arc<Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>>);

impl Shared {
    /// The agent's `T`.
    pub fn of<T: Default + Send + Sync + 'static>(&self) -> Arc<T> {
        // Values are only ever added whole, so a panic elsewhere leaves the map as it was.
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let held = all.entry(TypeId::of::<T>()).or_insert_with(|| Arc::<T>::default());
        // What lies under a type's own name is of that type.
        held.clone().downcast().unwrap_or_default()
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_value_of_each_type() {
        let shared = Shared::default();
        shared.of::<Mutex<u8>>().lock().map(|mut value| *value = 7).unwrap();
        assert_eq!(*shared.clone().of::<Mutex<u8>>().lock().unwrap(), 7);
        assert_eq!(*shared.of::<Mutex<u16>>().lock().unwrap(), 0);
        assert_eq!(*Shared::default().of::<Mutex<u8>>().lock().unwrap(), 0);
    }
}
