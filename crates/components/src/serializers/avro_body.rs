//! Serializer `org.apache.flume.sink.hdfs.AvroEventSerializer$Builder`: an Avro container file
//! whose data are the bodies, which are encoded already.
//!
//! The schema of a file comes with its first event: its header `flume.avro.schema.url`, else its
//! header `flume.avro.schema.literal`, else the key `schemaURL`. As in Flume neither the bodies nor
//! the schemas of later events are looked at. Schemas are read from local files only (`file:` or a
//! path), where Flume reads from HDFS and the web too; and a file without events is empty, where
//! Flume fails.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use bytes::{BufMut, BytesMut};
use rustix::fs::OFlags;
use serde::Deserialize;
use splashdam_config::{Diagnostic, Section};
use splashdam_core::{Component, Context, Event, Facts, OpenError, SerializeError};

pub use super::avro_container::SyncInterval;
use super::avro_container::{Codec, Container, ContainerFile, Data, check_codec};

const URL_HEADER: &str = "flume.avro.schema.url";
const LITERAL_HEADER: &str = "flume.avro.schema.literal";
/// The most bytes of a schema.
const SCHEMA_LIMIT_BYTES: u64 = 1 << 20;
/// Schemas by URL that are remembered, so that a new file does not read one again.
const SCHEMAS_KEPT: usize = 100;
/// What becomes of a bad event.
const REJECTS: &str = "an event without a schema, or with one that is not JSON or not in a local file, holds the sink where a file would begin with it, as in Flume";

/// Keys of the Avro body serializer.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Bytes of data after which a block ends, 32 to 1073741824.
    #[serde(rename = "syncIntervalBytes")]
    pub sync_interval_bytes: SyncInterval,
    /// Compression of each block: `null`, `deflate`, `snappy`, `bzip2` or `zstandard`. Another
    /// name gives a warning and a file that is not compressed. Default: `null`.
    #[serde(rename = "compressionCodec")]
    pub compression_codec: String,
    /// The schema for files whose first event names none: a local file, as `file:/etc/x.avsc`.
    #[serde(rename = "schemaURL")]
    pub schema_url: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            sync_interval_bytes: SyncInterval::default(),
            compression_codec: Codec::Null.name().into(),
            schema_url: None,
        }
    }
}

/// Bodies as they are, under the schema of the first.
#[derive(Debug)]
pub struct Bodies {
    schema_url: Option<String>,
    schemas: HashMap<String, String>,
    /// Whether the header of the current file is written.
    begun: bool,
}

/// The serializer.
pub type AvroBody = ContainerFile<Bodies>;

impl Component for AvroBody {
    const TYPE: &'static str = "org.apache.flume.sink.hdfs.AvroEventSerializer$Builder";
    const ALIASES: &'static [&'static str] = &["org.apache.flume.sink.hdfs.AvroEventSerializer"];
    type Config = Config;

    async fn open(config: Config, cx: Context) -> Result<Self, OpenError> {
        let container = Container::new(&config.compression_codec, config.sync_interval_bytes, &cx);
        let schema_url = config.schema_url;
        let mut data = Bodies { schema_url, schemas: HashMap::new(), begun: false };
        if let Some(url) = data.schema_url.clone() {
            data.schema_at(&url).map_err(OpenError::unavailable)?;
        }
        Ok(ContainerFile { container, data })
    }

    fn facts(config: &Config) -> Facts {
        let block_bytes = u64::from(config.sync_interval_bytes.bytes());
        Facts { memory_bytes: Some(2 * block_bytes), rejects: Some(REJECTS), ..Facts::default() }
    }

    fn check(config: &Config, section: &Section) -> Vec<Diagnostic> {
        let mut findings = check_codec(&config.compression_codec, section);
        if let Some(Err(why)) = config.schema_url.as_deref().map(local_path) {
            let finding = Diagnostic::error("bad-value", why).at(section.value_span("schemaURL"));
            findings.push(finding);
        }
        findings
    }
}

/// Why there is no schema.
struct NoSchema {
    why: String,
    /// Whether the event is at fault, which had better not hold up others; the file of `schemaURL`
    /// may come back.
    for_good: bool,
}

impl Bodies {
    /// The schema for a file that begins with `event`.
    fn schema_of(&mut self, event: &Event) -> Result<String, NoSchema> {
        let of_event = |why| NoSchema { why, for_good: true };
        if let Some(url) = event.headers.get(URL_HEADER) {
            return self.schema_at(url).map_err(of_event);
        }
        if let Some(literal) = event.headers.get(LITERAL_HEADER) {
            let named = |why| of_event(format!("header {LITERAL_HEADER}: {why}"));
            return compact(literal).map_err(named);
        }
        match self.schema_url.clone() {
            Some(url) => self.schema_at(&url).map_err(|why| NoSchema { why, for_good: false }),
            None => Err(of_event(format!(
                "no schema: set the header {URL_HEADER} or {LITERAL_HEADER}, or the key schemaURL"
            ))),
        }
    }

    fn schema_at(&mut self, url: &str) -> Result<String, String> {
        if let Some(schema) = self.schemas.get(url) {
            return Ok(schema.clone());
        }
        let mut text = String::new();
        read_file(local_path(url)?, &mut text)
            .map_err(|error| format!("cannot read the schema {url}: {error}"))?;
        let schema = compact(&text).map_err(|why| format!("schema {url}: {why}"))?;
        if self.schemas.len() >= SCHEMAS_KEPT {
            self.schemas.clear();
        }
        self.schemas.insert(url.to_owned(), schema.clone());
        Ok(schema)
    }
}

/// Reads a file whose name an event may have brought: no pipe is waited for, and no device is read.
fn read_file(path: &Path, text: &mut String) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed());
    let file = options.open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    file.take(SCHEMA_LIMIT_BYTES).read_to_string(text)?;
    Ok(())
}

/// The path of a `file:` URL, or a path as it is.
fn local_path(url: &str) -> Result<&Path, String> {
    let path = match url.strip_prefix("file:") {
        // `file:///path` and `file:/path`; a host between is not ours to ask.
        Some(path) => path.strip_prefix("//").unwrap_or(path),
        None => url,
    };
    if path.contains("://") || !path.starts_with('/') {
        return Err(format!("schema `{url}` is not in a local file; write file:/PATH"));
    }
    Ok(Path::new(path))
}

/// The schema in as few bytes as it takes. Its JSON is checked, not what it says.
fn compact(text: &str) -> Result<String, String> {
    match serde_json::from_str::<serde_json::Value>(text) {
        Ok(schema) => Ok(schema.to_string()),
        Err(error) => Err(format!("not JSON: {error}")),
    }
}

impl Data for Bodies {
    fn start(&mut self, _container: &mut Container, _out: &mut BytesMut) {
        self.begun = false;
    }

    fn write(
        &mut self,
        events: &[Event],
        container: &mut Container,
        out: &mut BytesMut,
    ) -> Result<(), SerializeError> {
        if let (false, Some(first)) = (self.begun, events.first()) {
            let schema = self.schema_of(first);
            let schema = schema.map_err(|NoSchema { why, for_good }| SerializeError {
                index: 0,
                reason: why,
                for_good,
            })?;
            container.start(&schema, out);
            self.begun = true;
        }
        for event in events {
            container.append(|block| block.put_slice(&event.body), out);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use splashdam_core::{Role, Serializer, Start};
    use splashdam_testkit::{context, contract};

    async fn open(keys: &str) -> Result<AvroBody, String> {
        let config = Section::parse(keys).read::<Config>().into_result().unwrap();
        AvroBody::open(config, context(Role::Sink)).await.map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn keeps_the_contract() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.avsc");
        std::fs::write(&path, "\"bytes\"").unwrap();
        contract::serializer::<AvroBody>(&format!("schemaURL = file:{}", path.display())).await;
    }

    /// What the key names may come back, and is no event's fault.
    #[tokio::test]
    async fn a_schema_that_the_key_names_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.avsc");
        std::fs::write(&path, "\"bytes\"").unwrap();
        let mut body = open(&format!("schemaURL = file:{}", path.display())).await.unwrap();
        body.data.schemas.clear();
        std::fs::remove_file(&path).unwrap();
        let mut out = BytesMut::new();
        let refused = body.write(&[Event::new("x")], &mut out).unwrap_err();
        assert!(!refused.for_good && refused.reason.contains("cannot read"), "{refused}");
        std::fs::write(&path, "\"bytes\"").unwrap();
        body.write(&[Event::new("x")], &mut out).unwrap();
    }

    #[tokio::test]
    async fn the_first_event_of_a_file_brings_its_schema() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            format!("file://{}", path.display())
        };
        let (key, header) = (file("key.avsc", "\"int\""), file("header.avsc", "\n\"long\""));
        let mut avro = open(&format!("schemaURL = {key}")).await.unwrap();
        let mut check = |headers: &[(&str, &str)], want: Result<&str, &str>| {
            let mut event = Event::new("\u{2}");
            event.headers = headers.iter().copied().collect();
            let mut out = BytesMut::new();
            avro.start(&mut out, Start::Created);
            avro.flush(&mut out);
            assert!(out.is_empty(), "nothing before the first event");
            match (avro.write(&[event, Event::new("\u{4}")], &mut out), want) {
                (Ok(()), Ok(schema)) => {
                    avro.flush(&mut out);
                    let schema =
                        [b"\x16avro.schema", &[2 * schema.len() as u8][..], schema.as_bytes()];
                    assert!(out.windows(schema.concat().len()).any(|w| w == schema.concat()));
                    let block = out.split_at(out.len() - 20).1;
                    assert_eq!(&block[..4], b"\x04\x04\x02\x04", "two data of one byte each");
                }
                (Err(error), Err(want)) => {
                    assert!(out.is_empty());
                    assert!(error.to_string().contains(want), "{error}");
                }
                (got, _) => panic!("{headers:?}: {got:?}"),
            }
        };
        check(&[], Ok("\"int\""));
        check(&[(LITERAL_HEADER, "{ \"type\" : \"int\" }")], Ok("{\"type\":\"int\"}"));
        check(&[(LITERAL_HEADER, "\"int\""), (URL_HEADER, &header)], Ok("\"long\""));
        check(&[(LITERAL_HEADER, "{")], Err("not JSON"));
        check(&[(URL_HEADER, "hdfs://nn/x.avsc")], Err("not in a local file"));
        check(&[(URL_HEADER, "file:/no/such.avsc")], Err("cannot read the schema"));
        let mut without = open("").await.unwrap();
        let error = without.write(&[Event::new("x")], &mut BytesMut::new()).unwrap_err();
        assert!(error.reason.contains("schemaURL"), "{error}");
    }

    #[tokio::test]
    async fn a_schema_that_is_not_there_is_told_at_once() {
        let missing = open("schemaURL = /no/such.avsc").await.unwrap_err();
        assert!(missing.contains("/no/such.avsc"), "{missing}");
        let entry = splashdam_core::Entry::<dyn Serializer>::serializer::<AvroBody>();
        for (keys, want) in [
            ("schemaURL = http://x/y", "bad-value"),
            ("compressionCodec = lz4", "unknown-codec"),
            ("schemaUrl = /x", "unknown-key"),
        ] {
            let codes: Vec<_> =
                entry.look(&Section::parse(keys)).findings.iter().map(|f| f.code).collect();
            assert_eq!(codes, [want], "{keys}");
        }
    }
}
