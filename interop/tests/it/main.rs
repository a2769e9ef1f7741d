//! Our agent against real Flume: the same configuration and the same input, and then what each of them wrote.
//!
//! Without a JDK, Maven or our own binary a test says so and passes; with `SPLASHDAM_REQUIRE_INTEROP=1` it fails
//! instead. `SPLASHDAM_INTEROP_SELF=1` puts Flume on both sides, which shows that a comparison itself is steady.

mod side_by_side;

mod avro;
mod avro_client;
mod avro_event;
mod avro_legacy;
mod clients;
mod examples;
mod file_channel;
mod golden;
mod groups;
mod hbase;
mod http;
mod interceptors;
mod jms;
mod kills;
mod metrics;
mod positions;
mod properties;
mod reload;
mod rotation;
mod selectors;
mod sources;
mod spooled;
mod startup;
mod syslog;
mod thrift;
mod validation;
mod zookeeper;
