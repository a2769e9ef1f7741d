//! Protocols as functions from bytes to batches and back. Nothing here knows sockets, tasks or
//! clocks; nothing panics or allocates more than its input allows, whatever the input.

pub mod avro;
pub mod claim;
pub mod external;
pub mod http_json;
pub mod syslog;
pub mod thrift;
