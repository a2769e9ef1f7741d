//! From a plan to a running topology: runners, supervisor, reload, admin.

pub mod provider;
pub mod watch;
