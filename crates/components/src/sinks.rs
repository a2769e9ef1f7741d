//! Sinks, one file each.

pub mod avro;
pub mod file_roll;
pub mod logger;
pub mod null;
pub mod thrift;
