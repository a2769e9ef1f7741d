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
use splashdam_core::{
    Component, Context, Event, Facts, OpenError, SerializeError, Serializer, Start,
};
use tracing::warn;

use super::avro_container::{Codec, Container, put_bytes, put_long};

/// The schema as Flume writes it into the file, byte for byte.
const SCHEMA: &str = r#"{"type":"record","name":"Event","fields":[{"name":"headers","type":{"type":"map","values":"string"}},{"name":"body","type":"bytes"}]}"#;

/// Bounds that Avro sets on the size of a block.
const SYNC_INTERVAL_BYTES: std::ops::RangeInclusive<u32> = 32..=1 << 30;

/// Keys of the Avro event serializer.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Config {
    /// Bytes of data after which a block ends, 32 to 1073741824.
    pub sync_interval_bytes: SyncInterval,
    /// Compression of each block: `null`, `deflate`, `snappy`, `bzip2` or `zstandard`. Another
    /// name gives a warning and a file that is not compressed.
    pub compression_codec: String,
}

impl Default for Config {
    fn default() -> Self {
        let sync_interval_bytes = SyncInterval(2_048_000);
        Config { sync_interval_bytes, compression_codec: Codec::Null.name().into() }
    }
}

/// Bytes after which a block ends, within Avro's bounds.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "u32")]
pub struct SyncInterval(u32);

impl TryFrom<u32> for SyncInterval {
    type Error = String;
    fn try_from(bytes: u32) -> Result<Self, String> {
        let (least, most) = SYNC_INTERVAL_BYTES.into_inner();
        let within = (least..=most).contains(&bytes);
        within
            .then_some(SyncInterval(bytes))
            .ok_or_else(|| format!("{bytes} is not between {least} and {most}"))
    }
}

impl Config {
    fn codec(&self) -> Option<Codec> {
        Codec::ALL.into_iter().find(|codec| codec.name() == self.compression_codec)
    }
}

/// The serializer.
#[derive(Debug)]
pub struct AvroEvent {
    container: Container,
}

impl Component for AvroEvent {
    const TYPE: &'static str = "avro_event";
    const ALIASES: &'static [&'static str] = &[
        "org.apache.flume.serialization.FlumeEventAvroEventSerializer$Builder",
        "org.apache.flume.serialization.FlumeEventAvroEventSerializer",
    ];
    type Config = Config;

    async fn open(config: Config, cx: Context) -> Result<Self, OpenError> {
        let codec = config.codec();
        if codec.is_none() {
            warn!(component = %cx.name, codec = config.compression_codec, "unknown compressionCodec, the files are not compressed");
        }
        let random = cx.random();
        let mut sync_marker = [0; 16];
        sync_marker[..8].copy_from_slice(&random.next().to_be_bytes());
        sync_marker[8..].copy_from_slice(&random.next().to_be_bytes());
        let interval = usize::try_from(config.sync_interval_bytes.0).unwrap_or(usize::MAX);
        Ok(AvroEvent { container: Container::new(codec, interval, sync_marker) })
    }

    fn facts(config: &Config) -> Facts {
        Facts {
            memory_bytes: Some(2 * u64::from(config.sync_interval_bytes.0)),
            ..Facts::default()
        }
    }

    fn check(config: &Config, section: &Section) -> Vec<Diagnostic> {
        if config.codec().is_some() {
            return Vec::new();
        }
        let known = Codec::ALL.map(Codec::name).join("`, `");
        let message = format!(
            "unknown compressionCodec `{}`, the files will not be compressed",
            config.compression_codec
        );
        let finding = Diagnostic::warning("unknown-codec", message);
        vec![
            finding.at(section.value_span("compressionCodec")).help(format!("known are `{known}`")),
        ]
    }
}

impl Serializer for AvroEvent {
    fn start(&mut self, out: &mut BytesMut, _start: Start) {
        self.container.start(SCHEMA, out);
    }

    fn write(&mut self, events: &[Event], out: &mut BytesMut) -> Result<(), SerializeError> {
        for event in events {
            self.container.append(|block| encode(event, block), out);
        }
        Ok(())
    }

    fn flush(&mut self, out: &mut BytesMut) {
        self.container.end_block(out);
    }

    fn finish(&mut self, out: &mut BytesMut) {
        self.container.end_block(out);
    }

    fn reopens(&self) -> bool {
        false
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
