//! An interceptor edits or removes events on their way into the channels.

use crate::component::open;
use crate::{Batch, BoxFuture, Component, Entry};

/// Edits and removes events, never adds any. Synchronous, without input or output.
pub trait Interceptor: Send + Sync {
    /// Works on the batch in place.
    fn intercept(&self, batch: &mut Batch);

    /// Whether it sets this header to another value when the same event comes again.
    fn varies(&self, _header: &str) -> bool {
        false
    }
}

/// Why an interceptor elsewhere has not done its work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undone {
    /// Nobody answered, or who did wants the batch again: it may go through when it comes again.
    #[error("{0}")]
    Unanswered(String),
    /// The batch never goes through as it is, whatever is waited.
    #[error("{0}")]
    Unfit(String),
}

/// An interceptor whose work is done by somebody else, who has to be asked and waited for.
pub trait RemoteInterceptor: Send + Sync {
    /// Works on the batch, and waits no longer than the interceptor's own limit. An error says who
    /// did not answer and why; the batch is then as it was, no channel is asked, and the source
    /// waits or refuses as with a full channel, or with one whose transactions are too small for
    /// the batch. May be called by several at once.
    fn intercept<'a>(&'a self, batch: &'a mut Batch) -> BoxFuture<'a, Result<(), Undone>>;

    /// Ends what works for it; called when its source has ended.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// An interceptor as the registry holds it. What decides at once is never boxed.
pub trait DynInterceptor: Send + Sync {
    /// Where its work is done.
    fn place(&self) -> Interception<'_>;
}

/// Where an interceptor's work is done.
pub enum Interception<'a> {
    /// Here and at once.
    Here(&'a dyn Interceptor),
    /// Elsewhere, with a wait.
    Elsewhere(&'a dyn RemoteInterceptor),
}

impl Interception<'_> {
    /// Whether it sets this header to another value when the same event comes again; nobody knows that of what is
    /// done elsewhere.
    pub fn varies(&self, header: &str) -> bool {
        match self {
            Interception::Here(interceptor) => interceptor.varies(header),
            Interception::Elsewhere(_) => true,
        }
    }
}

impl<I: Interceptor> DynInterceptor for I {
    fn place(&self) -> Interception<'_> {
        Interception::Here(self)
    }
}

impl Entry<dyn DynInterceptor> {
    /// A line of the list of interceptors.
    pub const fn interceptor<C: Component + DynInterceptor>() -> Self {
        Entry::new::<C>(|section, cx| {
            Box::pin(async move {
                Ok(Box::new(open::<C>(section, cx).await?) as Box<dyn DynInterceptor>)
            })
        })
    }
}
