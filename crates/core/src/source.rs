//! A source brings events into an outlet until it is told to stop.

use std::future::Future;

use tokio::sync::watch;

use crate::component::open;
use crate::{BoxFuture, Component, Entry, Outlet, SourceError};

/// Brings events. Polled or driven is the source's own affair.
pub trait Source: Sized + Send + 'static {
    /// Runs until `stop`; a batch is acknowledged upstream only after its `out.put` returned `Ok`.
    /// After `stop` a source takes nothing new, finishes what it is putting and returns `Ok`.
    /// Returning early without `stop` counts as having nothing more to bring.
    fn run(self, out: Outlet, stop: Stop) -> impl Future<Output = Result<(), SourceError>> + Send;
}

/// A [`Source`] as the registry holds it.
pub trait DynSource: Send {
    /// See [`Source::run`].
    fn run(self: Box<Self>, out: Outlet, stop: Stop)
    -> BoxFuture<'static, Result<(), SourceError>>;
}

impl<S: Source> DynSource for S {
    fn run(
        self: Box<Self>,
        out: Outlet,
        stop: Stop,
    ) -> BoxFuture<'static, Result<(), SourceError>> {
        Box::pin(Source::run(*self, out, stop))
    }
}

impl Entry<dyn DynSource> {
    /// A line of the list of sources.
    pub const fn source<C: Component + Source>() -> Self {
        Entry::new::<C>(|section, cx| {
            Box::pin(
                async move { Ok(Box::new(open::<C>(section, cx).await?) as Box<dyn DynSource>) },
            )
        })
    }
}

/// A request to stop, seen by any number of clones.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<bool>);

/// The hand that asks. Dropping it asks too.
#[derive(Debug)]
pub struct StopHandle(watch::Sender<bool>);

impl Stop {
    /// A handle and what it stops.
    pub fn new() -> (StopHandle, Stop) {
        let (tx, rx) = watch::channel(false);
        (StopHandle(tx), Stop(rx))
    }

    /// Whether a stop was asked for.
    pub fn requested(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }

    /// Waits until a stop is asked for. Cancel-safe.
    pub async fn wait(&self) {
        let mut rx = self.0.clone();
        // An error means that the handle is gone, which asks for a stop as well.
        drop(rx.wait_for(|stop| *stop).await);
    }

    /// Runs `work` unless a stop comes first. Cancel-safe as far as `work` is.
    pub async fn or<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.wait() => None,
            done = work => Some(done),
        }
    }
}

impl StopHandle {
    /// Asks all clones to stop.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn stop_reaches_clones_and_outlasts_the_handle() {
        let (handle, stop) = Stop::new();
        assert!(!stop.requested());
        assert_eq!(stop.or(async { 1 }).await, Some(1));
        let clone = stop.clone();
        handle.stop();
        clone.wait().await;
        assert!(stop.requested());
        assert_eq!(stop.or(std::future::pending::<()>()).await, None);
        let (handle, stop) = Stop::new();
        drop(handle);
        stop.wait().await;
        assert!(stop.requested());
    }
}
