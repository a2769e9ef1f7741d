//! The sources, one file each.

pub mod exec;
pub mod netcat;
pub mod seq;
pub mod stress;

use splashdam_core::{PutError, SourceError, Stop};

/// What a source answers when its channels refuse a batch and it gives up: after a request to stop
/// that is a proper end, as nobody was told that the batch was taken; else it is an early one.
pub(crate) fn gave_up(error: PutError, stop: &Stop) -> Result<(), SourceError> {
    if stop.requested() { Ok(()) } else { Err(SourceError::new(error)) }
}
