//! Real agents side by side: Apache Flume 1.11 on a JDK and splashdam's own binary, started on the same
//! configuration and asked the same questions. Tests and benchmarks lean on this crate; nothing else does.
//!
//! Read [`peers`] first (what is on this machine), then [`agent`] (one running process), then the readers of what
//! an agent leaves behind.

pub mod agent;
pub mod avro_file;
pub mod avro_legacy;
pub mod file_channel;
pub mod hbase;
pub mod jars;
pub mod jms;
pub mod log4j;
pub mod outputs;
pub mod peers;
pub mod ports;
pub mod properties_oracle;
pub mod rpc_client;
pub mod rpc_load;
pub mod scrape;
pub mod tail_rig;
pub mod thrift_client;
pub mod zookeeper;

pub use agent::{Agent, Launch, Usage};
pub use peers::{Make, Missing, Peers};
pub use scrape::Metrics;
pub use tail_rig::{TailRig, run_flume_taildir};
pub use zookeeper::ZooKeeper;
