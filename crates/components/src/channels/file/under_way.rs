//! Senders with batches on their way into the log, also such that nobody waits for any more.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// How many batches of each sender are between their post and the log's answer.
#[derive(Default)]
pub(super) struct UnderWay {
    batches: Mutex<HashMap<[u8; 16], usize>>,
    settled: Notify,
}

/// One batch; dropped with the answer.
pub(super) struct OnItsWay {
    all: Arc<UnderWay>,
    sender: [u8; 16],
}

impl UnderWay {
    fn batches(&self) -> MutexGuard<'_, HashMap<[u8; 16], usize>> {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn begin(self: &Arc<Self>, sender: [u8; 16]) -> OnItsWay {
        *self.batches().entry(sender).or_default() += 1;
        OnItsWay { all: self.clone(), sender }
    }

    /// Waits until none of this sender is on its way. The log answers every batch, so this ends.
    /// Cancel-safe.
    pub(super) async fn settled(&self, sender: [u8; 16]) {
        loop {
            let mut settled = std::pin::pin!(self.settled.notified());
            settled.as_mut().enable();
            if !self.batches().contains_key(&sender) {
                return;
            }
            settled.await;
        }
    }
}

impl Drop for OnItsWay {
    fn drop(&mut self) {
        let mut batches = self.all.batches();
        let left = batches.get_mut(&self.sender).map_or(0, |left| {
            *left -= 1;
            *left
        });
        if left == 0 {
            batches.remove(&self.sender);
            self.all.settled.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn the_last_of_a_sender_ends_the_wait() {
        let all = Arc::new(UnderWay::default());
        let (first, second, other) = (all.begin([1; 16]), all.begin([1; 16]), all.begin([2; 16]));
        let mut waits = std::pin::pin!(all.settled([1; 16]));
        assert!(waits.as_mut().now_or_never().is_none());
        drop(first);
        assert!(waits.as_mut().now_or_never().is_none());
        drop(second);
        waits.await;
        assert!(all.settled([2; 16]).now_or_never().is_none());
        drop(other);
        assert!(all.batches().is_empty());
    }
}
