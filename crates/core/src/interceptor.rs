//! An interceptor edits or removes events on their way into the channels.

use crate::Batch;

/// Edits and removes events, never adds any. Synchronous, without input or output.
pub trait Interceptor: Send + Sync {
    /// Works on the batch in place.
    fn intercept(&self, batch: &mut Batch);

    /// Whether it sets this header to another value when the same event comes again.
    fn varies(&self, _header: &str) -> bool {
        false
    }
}
