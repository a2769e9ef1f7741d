//! Deserializer `BLOB`: a whole file is an event.
//!
//! Flume's class: `org.apache.flume.sink.solr.morphline.BlobDeserializer`. A file of more than
//! `maxBlobLength` bytes goes on in further events. `BLOB` is a name of ours; Flume has the class
//! only.

use std::io::{self, Read};
use std::num::NonZeroU32;

use serde::Deserialize;
use splashdam_core::{Batch, Event};

use super::{BATCH_BYTES, Content, Deserializer, Input, ReadError};

/// Keys of the blob deserializer, below `deserializer.`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Config {
    /// Bytes in an event at the most; a longer file goes on in the next one.
    pub max_blob_length: NonZeroU32,
}

impl Default for Config {
    fn default() -> Self {
        Config { max_blob_length: const { NonZeroU32::new(100_000_000).unwrap() } }
    }
}

/// The deserializer, reading.
pub struct Blob {
    content: Content,
    most: u64,
    position: u64,
}

impl Blob {
    pub(super) fn open(config: &Config, input: Input) -> io::Result<Self> {
        let Input { mut content, position, .. } = input;
        content.go_to(position)?;
        Ok(Blob { content, most: config.max_blob_length.get().into(), position })
    }

    fn next(&mut self) -> io::Result<Vec<u8>> {
        // After an error the file may stand anywhere.
        self.content.go_to(self.position)?;
        let mut body = Vec::new();
        (&mut self.content).take(self.most).read_to_end(&mut body)?;
        self.position += body.len() as u64;
        Ok(body)
    }
}

impl Deserializer for Blob {
    fn read(&mut self, most: usize) -> Result<Batch, ReadError> {
        let mut batch = Batch::default();
        while batch.len() < most && batch.size().bytes < BATCH_BYTES {
            match self.next() {
                Ok(body) if body.is_empty() => break,
                Ok(body) => batch.push(Event::new(body)),
                Err(source) if batch.is_empty() => {
                    return Err(ReadError::reading(self.position, source));
                }
                Err(_) => break,
            }
        }
        Ok(batch)
    }

    fn position(&self) -> u64 {
        self.position
    }
}

#[cfg(test)]
mod tests {
    use splashdam_testkit::bodies;

    use super::super::content::tests::file_of;
    use super::*;
    use crate::charset::{Charset, OnMalformed};

    #[test]
    fn a_file_is_one_event_or_as_many_as_it_takes() {
        let check = |most: u32, position: u64, text: &str, want: &[&str]| {
            let config = Config { max_blob_length: NonZeroU32::new(most).unwrap() };
            let content = Content::plain(file_of(text.as_bytes())).unwrap();
            let (charset, on_malformed) = (Charset::UTF_8, OnMalformed::Fail);
            let input = Input { content, position, charset, on_malformed };
            let mut blob = Blob::open(&config, input).unwrap();
            assert_eq!(bodies(blob.read(100).unwrap().events()), want, "{text}");
            assert_eq!(blob.position(), text.len() as u64);
            assert!(blob.read(100).unwrap().is_empty());
        };
        check(100, 0, "one\ntwo\n", &["one\ntwo\n"]);
        check(3, 0, "abcdefgh", &["abc", "def", "gh"]);
        check(3, 0, "abcdef", &["abc", "def"]);
        check(3, 3, "abcdef", &["def"]);
        check(100, 0, "", &[]);
    }
}
