//! What must hold for any input, one function per target. The same functions run over the seeds as
//! ordinary tests.

pub mod config;
pub mod flume_channel;
pub mod thrift;
