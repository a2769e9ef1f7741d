//! Stream serializers, one file each, for sinks that write files.

pub mod avro_event;
mod avro_container;
pub mod header_and_text;
pub mod text;
