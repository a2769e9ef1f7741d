//! What must hold for any input, one function per target. The same functions run over the seeds as
//! ordinary tests.

pub mod amqp;
pub mod avro;
pub mod config;
pub mod external;
pub mod flume_channel;
pub mod hbase;
pub mod http_json;
pub mod jks;
pub mod spooled;
pub mod syslog;
pub mod thrift;
pub mod wal;
