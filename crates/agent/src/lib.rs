//! From a plan to a running topology: runners, supervisor, reload, admin.

pub mod admin;
pub mod health;
pub mod provider;
pub mod watch;
