//! An interceptor edits or removes events on their way into the channels.

use crate::Batch;

/// Edits and removes events, never adds any. Synchronous, without input or output.
pub trait Interceptor: Send + Sync {
    /// Works on the batch in place.
    fn intercept(&self, batch: &mut Batch);
}
