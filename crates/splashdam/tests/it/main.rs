//! The program as a whole.

mod agent;
mod check;
mod durable;
mod ledger;
mod log_tools;
mod readiness;
mod waiting;
mod zookeeper;
