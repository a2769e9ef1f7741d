//! The program as a whole.

mod agent;
mod check;
mod durable;
mod log_tools;
mod waiting;
