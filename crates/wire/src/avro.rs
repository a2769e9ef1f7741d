//! Avro, as Flume speaks it.

pub mod datum;
pub mod handshake;
pub mod legacy;
pub mod pack;
pub mod rpc;
