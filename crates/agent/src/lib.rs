//! From a plan to a running topology: runners, supervisor, reload, admin.

pub mod channel_slot;
pub mod sink_runner;
pub mod source_runner;
pub mod status;
pub mod supervisor;

pub use status::{Board, Phase, Sign, Status};
