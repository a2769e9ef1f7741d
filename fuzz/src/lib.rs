//! What must hold for any input, one function per target. The same functions run over the seeds as
//! ordinary tests.

pub mod avro;
pub mod config;
pub mod flume_channel;
pub mod hbase;
pub mod jks;
pub mod syslog;
pub mod thrift;
