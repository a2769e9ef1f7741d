//! Avro's object container file, as far as writing goes: a header, then blocks of data that are
//! compressed one by one, each behind its count and size and before the file's sync marker.
//!
//! `Obj` 1 · metadata map (`avro.schema`, `avro.codec`) · 16 bytes of sync marker, then blocks:
//! count (long) · bytes (long) · data · sync marker. Longs are zigzag varints.

use std::io::Write;

use bytes::{BufMut, BytesMut};
use flate2::Crc;
use flate2::write::DeflateEncoder;
use serde::Deserialize;
use splashdam_config::{Diagnostic, Section};
use splashdam_core::{Context, Event, SerializeError, Serializer, Start};
use tracing::warn;

/// How the blocks of a file are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Codec {
    /// Not at all.
    Null,
    /// Deflate without a wrapper, level 6.
    Deflate,
    /// One raw snappy block, then a big-endian CRC-32 of what it unpacks to.
    Snappy,
    /// bzip2 with blocks of 900 kB.
    Bzip2,
    /// Zstandard, level 3.
    Zstandard,
}

impl Codec {
    const ALL: [Codec; 5] =
        [Codec::Null, Codec::Deflate, Codec::Snappy, Codec::Bzip2, Codec::Zstandard];

    /// The codec of that name, in exactly this writing, as in Avro.
    fn named(name: &str) -> Option<Codec> {
        Codec::ALL.into_iter().find(|codec| codec.name() == name)
    }

    /// Its name in the file and in a configuration.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Codec::Null => "null",
            Codec::Deflate => "deflate",
            Codec::Snappy => "snappy",
            Codec::Bzip2 => "bzip2",
            Codec::Zstandard => "zstandard",
        }
    }

    /// Compresses into memory, which fails only for want of it.
    fn compress(self, data: &[u8]) -> std::io::Result<Vec<u8>> {
        match self {
            Codec::Null => Ok(data.to_vec()),
            Codec::Deflate => {
                let mut encoder = DeflateEncoder::new(Vec::new(), flate2::Compression::new(6));
                encoder.write_all(data)?;
                encoder.finish()
            }
            Codec::Snappy => {
                let mut packed = snap::raw::Encoder::new().compress_vec(data)?;
                let mut crc = Crc::new();
                crc.update(data);
                packed.extend_from_slice(&crc.sum().to_be_bytes());
                Ok(packed)
            }
            Codec::Bzip2 => {
                let best = bzip2::Compression::best();
                let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), best);
                encoder.write_all(data)?;
                encoder.finish()
            }
            Codec::Zstandard => zstd::bulk::compress(data, 3),
        }
    }
}

/// What is to be said of the name of a codec that stands in `section`.
pub(crate) fn check_codec(name: &str, section: &Section) -> Vec<Diagnostic> {
    if Codec::named(name).is_some() {
        return Vec::new();
    }
    let known = Codec::ALL.map(Codec::name).join("`, `");
    let message = format!("unknown compressionCodec `{name}`, the files will not be compressed");
    let finding = Diagnostic::warning("unknown-codec", message);
    vec![finding.at(section.value_span("compressionCodec")).help(format!("known are `{known}`"))]
}

/// Bytes of data after which a block ends, within the bounds of Avro.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "u32")]
pub struct SyncInterval(u32);

impl SyncInterval {
    const BOUNDS: std::ops::RangeInclusive<u32> = 32..=1 << 30;

    pub(crate) const fn bytes(self) -> u32 {
        self.0
    }
}

impl Default for SyncInterval {
    fn default() -> Self {
        SyncInterval(2_048_000)
    }
}

impl TryFrom<u32> for SyncInterval {
    type Error = String;
    fn try_from(bytes: u32) -> Result<Self, String> {
        let (least, most) = Self::BOUNDS.into_inner();
        let within = Self::BOUNDS.contains(&bytes).then_some(SyncInterval(bytes));
        within.ok_or_else(|| format!("{bytes} is not between {least} and {most}"))
    }
}

/// Writes container files one after the other.
#[derive(Debug)]
pub struct Container {
    codec: Option<Codec>,
    sync_interval_bytes: usize,
    sync_marker: [u8; 16],
    block: BytesMut,
    count: u64,
}

impl Container {
    /// A writer with a sync marker of its own. Under a codec that is not known the files are not
    /// compressed and name none, as Flume's do.
    pub(crate) fn new(codec: &str, sync_interval: SyncInterval, cx: &Context) -> Self {
        let known = Codec::named(codec);
        if known.is_none() {
            warn!(component = %cx.name, codec, "unknown compressionCodec, the files are not compressed");
        }
        let random = cx.random();
        let mut sync_marker = [0; 16];
        sync_marker[..8].copy_from_slice(&random.next().to_be_bytes());
        sync_marker[8..].copy_from_slice(&random.next().to_be_bytes());
        Container {
            codec: known,
            sync_interval_bytes: usize::try_from(sync_interval.bytes()).unwrap_or(usize::MAX),
            sync_marker,
            block: BytesMut::new(),
            count: 0,
        }
    }

    /// Begins a file: whatever an earlier one had left is forgotten.
    pub(crate) fn start(&mut self, schema: &str, out: &mut BytesMut) {
        self.block.clear();
        self.count = 0;
        out.put_slice(b"Obj\x01");
        let codec = self.codec.map(|codec| ("avro.codec", codec.name()));
        put_long(if codec.is_some() { 2 } else { 1 }, out);
        for (name, value) in std::iter::once(("avro.schema", schema)).chain(codec) {
            put_bytes(name.as_bytes(), out);
            put_bytes(value.as_bytes(), out);
        }
        put_long(0, out);
        out.put_slice(&self.sync_marker);
    }

    /// Adds one datum, which `encode` appends, and ends the block when it is full.
    pub(crate) fn append(&mut self, encode: impl FnOnce(&mut BytesMut), out: &mut BytesMut) {
        encode(&mut self.block);
        self.count += 1;
        if self.block.len() >= self.sync_interval_bytes {
            self.end_block(out);
        }
    }

    /// Ends the block, if it holds anything.
    pub(crate) fn end_block(&mut self, out: &mut BytesMut) {
        if self.count == 0 {
            return;
        }
        // Encoders into memory do not fail; were one to, there would be no byte to answer with.
        let packed = match self.codec.unwrap_or(Codec::Null) {
            Codec::Null => None,
            codec => Some(codec.compress(&self.block).unwrap_or_else(|error| {
                panic!("cannot compress {} bytes: {error}", self.block.len())
            })),
        };
        let data = packed.as_deref().unwrap_or(&self.block);
        out.reserve(data.len() + 40);
        put_long(self.count, out);
        put_bytes(data, out);
        out.put_slice(&self.sync_marker);
        self.block.clear();
        self.count = 0;
    }
}

/// What goes into container files.
pub trait Data: Send + 'static {
    /// A new file begins.
    fn start(&mut self, container: &mut Container, out: &mut BytesMut);
    /// Appends a datum for each event, or fails before the first.
    fn write(
        &mut self,
        events: &[Event],
        container: &mut Container,
        out: &mut BytesMut,
    ) -> Result<(), SerializeError>;
}

/// A serializer that writes container files. The end of each batch ends a block, so that readers
/// see every delivered event.
#[derive(Debug)]
pub struct ContainerFile<D> {
    pub(crate) container: Container,
    pub(crate) data: D,
}

impl<D: Data> Serializer for ContainerFile<D> {
    fn start(&mut self, out: &mut BytesMut, _start: Start) {
        self.data.start(&mut self.container, out);
    }

    fn write(&mut self, events: &[Event], out: &mut BytesMut) -> Result<(), SerializeError> {
        self.data.write(events, &mut self.container, out)
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

/// A long that is not negative.
pub(crate) fn put_long(value: u64, out: &mut BytesMut) {
    let mut rest = u128::from(value) << 1;
    while rest >= 0x80 {
        out.put_u8(u8::try_from(rest & 0x7f).unwrap_or(0) | 0x80);
        rest >>= 7;
    }
    out.put_u8(u8::try_from(rest).unwrap_or(0));
}

/// Bytes or a string: the length, then the content.
pub(crate) fn put_bytes(bytes: &[u8], out: &mut BytesMut) {
    put_long(bytes.len() as u64, out);
    out.put_slice(bytes);
}
