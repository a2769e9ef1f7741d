//! Compressed files: each batch by itself, whole, one behind the other.
//!
//! What the tools of each format read as one file may be such a row of parts (members of gzip,
//! frames of zstd, streams of bzip2). So a file can be read up to the last batch that was delivered
//! at any time, also after `kill -9`, and a part that a full disk cut short is taken back like any
//! other bytes. The price: nothing is learnt from one batch for the next, so that small batches
//! compress badly.

use std::io::{self, Write};

use serde::Deserialize;

/// Compression of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename = "any case")]
pub enum Compression {
    /// As the serializer wrote it.
    #[default]
    #[serde(rename = "none")]
    None,
    /// Gzip.
    #[serde(rename = "gzip", alias = "org.apache.hadoop.io.compress.GzipCodec")]
    Gzip,
    /// Zstandard, with checksums.
    #[serde(rename = "zstd", alias = "org.apache.hadoop.io.compress.ZStandardCodec")]
    Zstd,
    /// Bzip2.
    #[serde(rename = "bzip2", alias = "org.apache.hadoop.io.compress.BZip2Codec")]
    Bzip2,
}

impl Compression {
    /// What names of files end with.
    pub(super) const fn suffix(self) -> &'static str {
        match self {
            Compression::None => "",
            Compression::Gzip => ".gz",
            Compression::Zstd => ".zst",
            Compression::Bzip2 => ".bz2",
        }
    }

    /// One part of the file, behind what `out` holds. Nothing becomes nothing.
    pub(super) fn pack(self, plain: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        if plain.is_empty() {
            return Ok(());
        }
        match self {
            Compression::None => out.extend_from_slice(plain),
            Compression::Gzip => {
                let mut packer = flate2::write::GzEncoder::new(out, flate2::Compression::default());
                packer.write_all(plain)?;
                packer.finish()?;
            }
            Compression::Zstd => {
                let mut packer = zstd::stream::Encoder::new(out, zstd::DEFAULT_COMPRESSION_LEVEL)?;
                packer.include_checksum(true)?;
                packer.set_pledged_src_size(Some(plain.len() as u64))?;
                packer.write_all(plain)?;
                packer.finish()?;
            }
            Compression::Bzip2 => {
                let mut packer = bzip2::write::BzEncoder::new(out, bzip2::Compression::default());
                packer.write_all(plain)?;
                packer.finish()?;
            }
        }
        Ok(())
    }
}
