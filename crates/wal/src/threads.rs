//! Locks and threads: the system's, or those that a scheduler steers. `explore/` compiles these
//! sources a second time with the latter, to run them in many orders.

#[cfg(not(explore))]
pub(crate) use std::{
    sync::{
        Condvar, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64},
    },
    thread::{Builder, JoinHandle},
};

#[cfg(explore)]
pub(crate) use shuttle::{
    sync::{
        Condvar, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64},
    },
    thread::{Builder, JoinHandle},
};
