//! Opens a log again that stopped, as all of its directories failed: what was acknowledged is on the
//! disks, and the channels, their sources and sinks go on where they were.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use splashdam_core::OpenError;
use splashdam_wal::QueueOptions;
use tokio::time::sleep;

use super::{OpenLog, blocking, locked, storages, unavailable};
use crate::channels::file::health::Health;

/// The first wait for a disk to recover, and the longest.
const WAITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Waits for the log to stop, and opens it again as often as it does, until nobody uses it.
pub(super) async fn watch(log: Weak<OpenLog>, health: Arc<Health>) {
    loop {
        health.stopped.notified().await;
        let mut wait = WAITS.0;
        loop {
            sleep(wait).await;
            wait = (wait * 2).min(WAITS.1);
            let Some(log) = log.upgrade() else { return };
            match log.open_again().await {
                Ok(()) => break,
                Err(error) => health.not_healed(&error, wait),
            }
        }
    }
}

impl OpenLog {
    /// Lets it be when it has stopped.
    pub(in crate::channels::file) fn stays_stopped(&self) {
        self.stays_stopped.store(true, Ordering::Release);
    }

    /// Opens the log in place of the one that stopped, unless it is closed or is to stay so.
    async fn open_again(self: Arc<Self>) -> Result<(), OpenError> {
        // Neither closed nor joined meanwhile.
        let held = self.place.clone().lock_owned().await;
        if self.closed.load(Ordering::Acquire)
            || self.stays_stopped.load(Ordering::Acquire)
            || !self.log().failed()
        {
            return Ok(());
        }
        blocking(move || {
            let _held = held;
            self.replace()
        })
        .await
    }

    fn replace(&self) -> Result<(), OpenError> {
        let old = self.log();
        // Nothing writes any more, and nobody waits for an answer, before anything is read.
        old.close();
        let health = self.health.clone();
        let (options, _) = self
            .settings
            .options(Arc::new(move |notice| health.notice(&notice)))
            .map_err(OpenError::unavailable)?;
        let members: Vec<_> = locked(&self.members).values().cloned().collect();
        let queues: Vec<_> = members
            .iter()
            .map(|member| QueueOptions {
                name: member.name.to_string(),
                capacity: member.limits().capacity,
            })
            .collect();
        let opened = old.open_again(storages(&self.directories)?, &queues, options);
        let new = opened.map_err(unavailable)?.start();
        let new = new.map_err(|error| OpenError::unavailable(format!("cannot start: {error}")))?;
        for (queue, changed) in &*locked(&self.signals) {
            let told = changed.clone();
            new.listen(*queue, Box::new(move || told.notify_waiters()));
        }
        *self.log.write().unwrap_or_else(PoisonError::into_inner) = new;
        self.health.healed();
        for changed in locked(&self.signals).values() {
            changed.notify_waiters();
        }
        Ok(())
    }
}
