//! Sinks, one file each.

pub mod asynchbase;
pub mod avro;
pub mod external;
pub mod file_roll;
pub mod hbase;
pub mod hbase2;
pub mod hbase_writer;
pub mod http;
pub mod irc;
pub mod logger;
pub mod null;
pub mod syslog;
pub mod thrift;
