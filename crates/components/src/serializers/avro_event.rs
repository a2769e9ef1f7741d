//! Serializer `avro_event`: an Avro container file of records `Event` {headers, body}.
//!
//! Flume's class: `org.apache.flume.serialization.FlumeEventAvroEventSerializer`. The schema is
//! Flume's for files: named `Event`, without a namespace, which is not the record of its RPC. The
//! end of each batch ends a block, so that readers see every delivered event, as in Flume. The
//! codec `xz` is not there: as for a codec that Flume does not know, a warning is given and the
//! file is not compressed.

use bytes::BytesMut;
use serde::Deserialize;
use splashdam_config::{Diagnostic, Section};
use splashdam_core::{Component, Context, Event, Facts, OpenError, SerializeError};

pub use super::avro_container::SyncInterval;
use super::avro_container::{
    Codec, Container, ContainerFile, Data, check_codec, put_bytes, put_long,
};

/// The schema as Flume writes it into the file, byte for byte.
const SCHEMA: &str = r#"{"type":"record","name":"Event","fields":[{"name":"headers","type":{"type":"map","values":"string"}},{"name":"body","type":"bytes"}]}"#;

/// Keys of the Avro event serializer.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Config {
    /// Bytes of data after which a block ends, 32 to 1073741824.
    pub sync_interval_bytes: SyncInterval,
    /// Compression of each block: `null`, `deflate`, `snappy`, `bzip2` or `zstandard`. Another
    /// name gives a warning and a file that is not compressed. Default: `null`.
    pub compression_codec: String,
}

impl Default for Config {
    fn default() -> Self {
        let sync_interval_bytes = SyncInterval::default();
        Config { sync_interval_bytes, compression_codec: Codec::Null.name().into() }
    }
}

/// Events as records.
#[derive(Debug)]
pub struct Records;

/// The serializer.
pub type AvroEvent = ContainerFile<Records>;

impl Component for AvroEvent {
    const TYPE: &'static str = "avro_event";
    const ALIASES: &'static [&'static str] = &[
        "org.apache.flume.serialization.FlumeEventAvroEventSerializer$Builder",
        "org.apache.flume.serialization.FlumeEventAvroEventSerializer",
    ];
    type Config = Config;

    async fn open(config: Config, cx: Context) -> Result<Self, OpenError> {
        let Config { sync_interval_bytes, compression_codec } = config;
        let container = Container::new(&compression_codec, sync_interval_bytes, &cx);
        Ok(ContainerFile { container, data: Records })
    }

    fn facts(config: &Config) -> Facts {
        Facts {
            memory_bytes: Some(2 * u64::from(config.sync_interval_bytes.bytes())),
            ..Facts::default()
        }
    }

    fn check(config: &Config, section: &Section) -> Vec<Diagnostic> {
        check_codec(&config.compression_codec, section)
    }
}

impl Data for Records {
    fn start(&mut self, container: &mut Container, out: &mut BytesMut) {
        container.start(SCHEMA, out);
    }

    fn write(
        &mut self,
        events: &[Event],
        container: &mut Container,
        out: &mut BytesMut,
    ) -> Result<(), SerializeError> {
        for event in events {
            container.append(|block| encode(event, block), out);
        }
        Ok(())
    }
}

/// The record: headers as one block of a map, then the body.
fn encode(event: &Event, block: &mut BytesMut) {
    block.reserve(event.bytes() + 16 * (event.headers.len() + 1));
    if !event.headers.is_empty() {
        put_long(event.headers.len() as u64, block);
        for (name, value) in event.headers.iter() {
            put_bytes(name.as_bytes(), block);
            put_bytes(value.as_bytes(), block);
        }
    }
    put_long(0, block);
    put_bytes(&event.body, block);
}

#[cfg(test)]
mod tests;
