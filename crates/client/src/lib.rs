//! Sends events to agents, Flume's and ours, from programs in Rust.
//!
//! A [`Client`] is made from Flume's own properties and speaks to an Avro or a Thrift source:
//!
//! ```no_run
//! # async fn send() -> Result<(), Box<dyn std::error::Error>> {
//! use splashdam_client::{Client, Event, Settings};
//!
//! let settings = Settings::from_properties([
//!     ("client.type", "default_failover"),
//!     ("hosts", "near far"),
//!     ("hosts.near", "localhost:4141"),
//!     ("hosts.far", "collector.example.org:4141"),
//! ])?;
//! let client = Client::new(settings)?;
//! client.append_batch(&[Event::new("one"), Event::new("two")]).await?;
//! # Ok(())
//! # }
//! ```
//!
//! What differs from Flume's clients: calls are asynchronous; a client connects again by itself
//! after a failure, where Flume's Avro client is of no use any more; single events go out as a batch
//! of one over Avro.
//!
//! Nothing is queued. A call holds what it was given until it is answered, and waits for a free
//! connection where as many as `maxConnections` allows are in use.

pub mod avro;
pub mod client;
pub mod connect;
pub mod error;
pub mod settings;
pub mod thrift;

mod balance;
mod host;

pub use client::Client;
pub use connect::{Address, BoxStream, Connect, Plain, keep_alive};
pub use error::{CallError, DeliveryError};
pub use settings::{Kind, Settings};
pub use splashdam_core::{Event, Headers, Text};
pub use splashdam_wire::thrift::Protocol;
