//! Avro, as Flume speaks it.

pub mod datum;
