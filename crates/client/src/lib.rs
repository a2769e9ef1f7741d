//! Sends events to agents, Flume's and ours.

pub mod connect;
pub mod error;
pub mod thrift;

pub use connect::{Address, BoxStream, Connect, Plain, keep_alive};
pub use error::CallError;
