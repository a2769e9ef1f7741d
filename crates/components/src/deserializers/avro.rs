//! Deserializer `AVRO`: a datum of an Avro container file is an event.
//!
//! Flume's class: `org.apache.flume.serialization.AvroEventDeserializer`. The body is the datum as it
//! lies in the file, in Avro's binary encoding, and a header says what it was written with. As in
//! Flume the position in a file is that of a block, so that after a crash the data of one block may
//! come twice; when a channel refuses for a while, nothing does. What differs:
//!
//! - Flume reads and writes each datum, so that arrays and maps in several parts become one, and
//!   maps change their order; here they stay as they were.
//! - `schemaType = LITERAL` gives the schema as it stands in the file, which Flume prints anew.
//! - Files compressed with `xz` are set aside; `deflate`, `snappy`, `bzip2` and `zstandard` are read.
//! - A block has at most 256 MiB, packed and unpacked, and a schema that takes more than 64 steps for
//!   each of its bytes, and a million, is refused.

mod schema;

use std::io::{self, Read};

use bytes::Bytes;
use flate2::Crc;
use flate2::read::DeflateDecoder;
use serde::Deserialize;
use splashdam_core::{Batch, Event, Headers, Malformed};

use super::{BATCH_BYTES, Content, Deserializer, Input, ReadError};
use crate::avro_file::{Header, Reader, SYNC_BYTES};
pub use schema::{Schema, Steps};

/// Bytes of a header at the most: schemas may be long.
const MOST_HEADER: usize = 16 << 20;
/// Bytes of a block's data at the most.
const MOST_BLOCK: usize = 256 << 20;
/// Bytes of the two numbers that a block begins with, at the most.
const BLOCK_HEAD: usize = 20;
/// Bytes that are read at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// Keys of the Avro deserializer, below `deserializer.`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Config {
    /// What the header of an event says of its schema: `HASH`, its CRC-64-AVRO fingerprint in
    /// `flume.avro.schema.hash`, or `LITERAL`, its JSON in `flume.avro.schema.literal`.
    pub schema_type: SchemaType,
}

/// What a header says of the schema.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename = "any case", rename_all = "UPPERCASE")]
pub enum SchemaType {
    /// Its fingerprint.
    #[default]
    Hash,
    /// Its text.
    Literal,
}

/// How blocks are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Codec {
    Null,
    Deflate,
    Snappy,
    Bzip2,
    Zstandard,
}

/// The deserializer, reading.
pub struct Avro {
    window: Window,
    schema: Schema,
    codec: Codec,
    sync: [u8; SYNC_BYTES],
    headers: Headers,
    /// What of the block at hand was not returned, and how many data that is.
    data: Bytes,
    count: u64,
    /// What its data may still take.
    steps: Steps,
    /// Where the marker in front of the block at hand begins, and of the next one.
    block: u64,
    next_block: u64,
}

/// Bytes of a file in memory, as many as were asked for.
struct Window {
    content: Content,
    bytes: Vec<u8>,
    /// Where `bytes` begin in the file.
    start: u64,
}

impl Window {
    /// The bytes from `position` on, `wanted` of them or all there are.
    fn at(&mut self, position: u64, wanted: usize) -> io::Result<&[u8]> {
        let end = self.start + self.bytes.len() as u64;
        if position < self.start || position > end {
            self.content.go_to(position)?;
            (self.start, self.bytes) = (position, Vec::new());
        }
        let skip = usize::try_from(position - self.start).unwrap_or(usize::MAX);
        let missing = (skip + wanted).saturating_sub(self.bytes.len());
        if missing > 0 {
            self.bytes.drain(..skip);
            self.start = position;
            let here = self.start + self.bytes.len() as u64;
            // After an error the file may stand anywhere.
            self.content.go_to(here)?;
            let limit = missing.max(CHUNK_BYTES) as u64;
            if let Err(error) = (&mut self.content).take(limit).read_to_end(&mut self.bytes) {
                self.bytes.clear();
                return Err(error);
            }
            return Ok(&self.bytes);
        }
        Ok(&self.bytes[skip..])
    }
}

impl Avro {
    pub(super) fn open(config: &Config, input: Input) -> io::Result<Self> {
        let Input { content, position, .. } = input;
        let mut window = Window { content, bytes: Vec::new(), start: 0 };
        let header = read_header(&mut window)?;
        let wrong = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
        let text = header.get("avro.schema").ok_or_else(|| wrong("it has no schema".into()))?;
        let text =
            std::str::from_utf8(text).map_err(|_| wrong("its schema is not UTF-8".into()))?;
        let schema = Schema::parse(text).map_err(|error| wrong(error.to_string()))?;
        let codec = match header.get("avro.codec") {
            None => Codec::Null,
            Some(name) => Codec::named(name).ok_or_else(|| {
                wrong(format!("its codec {} is not read here", name.escape_ascii()))
            })?,
        };
        let mut headers = Headers::default();
        match config.schema_type {
            SchemaType::Hash => headers.insert("flume.avro.schema.hash", schema.fingerprint()),
            SchemaType::Literal => headers.insert("flume.avro.schema.literal", text),
        };
        let (sync, first) = (header.sync, (header.length - SYNC_BYTES) as u64);
        let mut avro = Avro {
            window,
            schema,
            codec,
            sync,
            headers,
            data: Bytes::new(),
            count: 0,
            steps: Steps::for_bytes(0),
            block: first,
            next_block: first,
        };
        if position > first {
            avro.next_block = avro.find_marker(position)?;
            avro.block = avro.next_block;
        }
        Ok(avro)
    }

    /// The next sync marker from `position` on, or the end of the file.
    fn find_marker(&mut self, mut position: u64) -> io::Result<u64> {
        loop {
            let bytes = self.window.at(position, CHUNK_BYTES)?;
            if let Some(found) = memchr::memmem::find(bytes, &self.sync) {
                return Ok(position + found as u64);
            }
            if bytes.len() < CHUNK_BYTES {
                return Ok(position + bytes.len() as u64);
            }
            position += (bytes.len() - SYNC_BYTES + 1) as u64;
        }
    }

    fn next(&mut self) -> Result<Option<Event>, ReadError> {
        while self.count == 0 {
            if !self.read_block()? {
                return Ok(None);
            }
        }
        let length = self.schema.datum_length(&self.data, &mut self.steps);
        let length = length.map_err(|error| self.damaged(error))?;
        let body = self.data.split_to(length);
        self.count -= 1;
        if self.count == 0 && !self.data.is_empty() {
            let error = Malformed { at: 0, what: "a block has more bytes than its data" };
            // It fails again when it is read again.
            self.count = 1;
            return Err(self.damaged(error));
        }
        Ok(Some(Event { headers: self.headers.clone(), body }))
    }

    /// Reads the next block; false at the end of the file.
    fn read_block(&mut self) -> Result<bool, ReadError> {
        let at = self.next_block + SYNC_BYTES as u64;
        let io = |source| ReadError::reading(at, source);
        let head = self.window.at(at, BLOCK_HEAD).map_err(io)?;
        if head.is_empty() {
            return Ok(false);
        }
        let mut reader = Reader::new(&head[..head.len().min(BLOCK_HEAD)]);
        let numbers = (|| {
            let (count, size) = (reader.long()?, reader.long()?);
            let size = usize::try_from(size).ok().filter(|size| *size <= MOST_BLOCK);
            let size = size.ok_or(reader.error("a block's size is out of bounds"))?;
            let count =
                u64::try_from(count).map_err(|_| reader.error("a block's count is negative"))?;
            Ok((count, size, reader.at()))
        })();
        let damaged = |error: Malformed| ReadError::Damaged { at, what: error.what.into() };
        let (count, size, head) = numbers.map_err(damaged)?;
        let whole = head + size + SYNC_BYTES;
        let bytes = self.window.at(at, whole).map_err(io)?;
        let ends = Malformed { at: 0, what: "it ends within a block" };
        let bytes = bytes.get(..whole).ok_or_else(|| damaged(ends))?;
        let (data, sync) = bytes[head..].split_at(size);
        if sync != self.sync {
            return Err(damaged(Malformed {
                at: 0,
                what: "a block is not followed by the sync marker",
            }));
        }
        let data = self.codec.unpack(data).map_err(|_| {
            damaged(Malformed {
                at: 0,
                what: "a block cannot be unpacked, or is more than 256 MiB",
            })
        })?;
        // A datum without a byte is nothing that anybody keeps.
        if count > data.len().max(1) as u64 {
            return Err(damaged(Malformed {
                at: 0,
                what: "a block counts more data than it has bytes",
            }));
        }
        self.steps = Steps::for_bytes(data.len());
        (self.data, self.count) = (data, count);
        self.block = self.next_block;
        self.next_block = at + (head + size) as u64;
        Ok(true)
    }

    fn damaged(&self, error: Malformed) -> ReadError {
        ReadError::Damaged { at: self.block + SYNC_BYTES as u64, what: error.what.into() }
    }
}

impl Deserializer for Avro {
    fn read(&mut self, most: usize) -> Result<Batch, ReadError> {
        let mut batch = Batch::default();
        while batch.len() < most && batch.size().bytes < BATCH_BYTES {
            match self.next() {
                Ok(Some(event)) => batch.push(event),
                Ok(None) => break,
                Err(error) if batch.is_empty() => return Err(error),
                Err(_) => break,
            }
        }
        Ok(batch)
    }

    fn position(&self) -> u64 {
        if self.count == 0 { self.next_block } else { self.block }
    }
}

impl Codec {
    fn named(name: &[u8]) -> Option<Codec> {
        Some(match name {
            b"null" => Codec::Null,
            b"deflate" => Codec::Deflate,
            b"snappy" => Codec::Snappy,
            b"bzip2" => Codec::Bzip2,
            b"zstandard" => Codec::Zstandard,
            _ => return None,
        })
    }

    fn unpack(self, data: &[u8]) -> io::Result<Bytes> {
        match self {
            Codec::Null => Ok(Bytes::copy_from_slice(data)),
            Codec::Deflate => read(DeflateDecoder::new(data)),
            Codec::Bzip2 => read(bzip2::read::BzDecoder::new(data)),
            Codec::Zstandard => read(zstd::stream::read::Decoder::with_buffer(data)?),
            Codec::Snappy => {
                let (data, sum) = data.split_last_chunk::<4>().ok_or(io::ErrorKind::InvalidData)?;
                if snap::raw::decompress_len(data)? > MOST_BLOCK {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                let unpacked = snap::raw::Decoder::new().decompress_vec(data)?;
                let mut crc = Crc::new();
                crc.update(&unpacked);
                let right = crc.sum() == u32::from_be_bytes(*sum);
                if right { Ok(unpacked.into()) } else { Err(io::ErrorKind::InvalidData.into()) }
            }
        }
    }
}

fn read(unpacked: impl Read) -> io::Result<Bytes> {
    let mut data = Vec::new();
    unpacked.take(MOST_BLOCK as u64 + 1).read_to_end(&mut data)?;
    if data.len() > MOST_BLOCK { Err(io::ErrorKind::InvalidData.into()) } else { Ok(data.into()) }
}

/// Reads the header, more and more of the file as long as that is not whole.
fn read_header(window: &mut Window) -> io::Result<Header> {
    let mut wanted = CHUNK_BYTES;
    loop {
        let bytes = window.at(0, wanted)?;
        match Header::decode(bytes) {
            Ok(header) => return Ok(header),
            Err(_) if bytes.len() >= wanted && wanted < MOST_HEADER => wanted *= 4,
            Err(error) => {
                let why = format!("it is no Avro container file: {error}");
                return Err(io::Error::new(io::ErrorKind::InvalidData, why));
            }
        }
    }
}

#[cfg(test)]
mod tests;
