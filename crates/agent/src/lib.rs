//! From a plan to a running topology: what can be opened, what it promises, and what runs it.

pub mod account;
pub mod checked;
