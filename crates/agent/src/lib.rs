//! From a plan to a running topology: what can be opened, what it promises, and what runs it.
//!
//! Start with [`topology`]: it is the agent. [`checked`] is what it is built from.

pub mod account;
pub mod admin;
pub mod channel_slot;
pub mod checked;
pub mod health;
pub mod ledger;
mod own_thread;
pub mod provider;
pub mod reader;
pub mod reconcile;
pub mod reload;
pub mod sink_runner;
pub mod source_runner;
pub mod status;
pub mod supervisor;
pub mod topology;
pub mod watch;

pub use checked::Checked;
pub use health::{Health, Problem};
pub use reader::{Read, Reader};
pub use status::{Board, Phase, Sign, Status};
pub use topology::{Surroundings, Topology};
