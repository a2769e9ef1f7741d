//! Reads an Avro container of Flume's `avro_event` records, uncompressed, for comparing two of them by content: their
//! sync markers are random and their blocks may be cut elsewhere.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// A container, decoded.
#[derive(Debug, PartialEq)]
pub struct Container {
    /// The schema, parsed, so that blanks do not matter.
    pub schema: Value,
    /// The codec's name, `null` where none is given.
    pub codec: String,
    /// Headers and body of each record, in order.
    pub events: Vec<(BTreeMap<String, String>, Vec<u8>)>,
}

/// Decodes a whole file. Anything left over, or a wrong sync marker, is an error.
pub fn read(file: &[u8]) -> Result<Container> {
    let mut rest =
        file.strip_prefix(b"Obj\x01").context("no container: the magic bytes are missing")?;
    let meta = map(&mut rest, |rest| blob(rest).map(<[u8]>::to_vec))?;
    let sync = take(&mut rest, 16)?;
    let schema =
        serde_json::from_slice(meta.get("avro.schema").context("the container has no schema")?)?;
    let codec = meta
        .get("avro.codec")
        .map_or("null".into(), |name| String::from_utf8_lossy(name).into_owned());
    ensure!(codec == "null", "codec {codec} is not read here");
    let mut events = Vec::new();
    while !rest.is_empty() {
        let count = length(&mut rest)?;
        let mut block = blob(&mut rest)?;
        for _ in 0..count {
            events.push((map(&mut block, text)?, blob(&mut block)?.to_vec()));
        }
        ensure!(block.is_empty(), "{} bytes behind the last record of a block", block.len());
        ensure!(take(&mut rest, 16)? == sync, "a block ends with another sync marker");
    }
    Ok(Container { schema, codec, events })
}

fn map<'a, T>(
    rest: &mut &'a [u8],
    value: impl Fn(&mut &'a [u8]) -> Result<T>,
) -> Result<BTreeMap<String, T>> {
    let mut all = BTreeMap::new();
    loop {
        let mut count = long(rest)?;
        if count == 0 {
            return Ok(all);
        }
        if count < 0 {
            // A negative count is followed by the block's size in bytes.
            long(rest)?;
            count = -count;
        }
        for _ in 0..count {
            all.insert(text(rest)?, value(rest)?);
        }
    }
}

fn text(rest: &mut &[u8]) -> Result<String> {
    Ok(String::from_utf8(blob(rest)?.to_vec())?)
}

fn blob<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8]> {
    let length = length(rest)?;
    take(rest, length)
}

fn length(rest: &mut &[u8]) -> Result<usize> {
    usize::try_from(long(rest)?).context("a negative length")
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(length).context("the file ends inside a value")?;
    *rest = left;
    Ok(taken)
}

/// A zigzag varint.
fn long(rest: &mut &[u8]) -> Result<i64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = take(rest, 1)?[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
        }
    }
    bail!("a number of more than ten bytes")
}

#[cfg(test)]
mod tests {
    use super::{long, read};

    #[test]
    fn reads_zigzag() {
        let check = |mut bytes: &[u8], value| assert_eq!(long(&mut bytes).expect("whole"), value);
        check(&[0], 0);
        check(&[1], -1);
        check(&[2], 1);
        check(&[0x80, 0x01], 64);
        check(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], i64::MIN);
        assert!(long(&mut &[0x80u8; 11][..]).is_err());
    }

    #[test]
    fn reads_a_container() {
        let mut file = b"Obj\x01\x02\x16avro.schema\x04{}\x00".to_vec();
        let sync = [7; 16];
        file.extend_from_slice(&sync);
        file.extend_from_slice(b"\x02\x12\x02\x02k\x02v\x00\x04hi");
        file.extend_from_slice(&sync);
        let found = read(&file).expect("well formed");
        assert_eq!(found.events, [([("k".to_owned(), "v".to_owned())].into(), b"hi".to_vec())]);
        for cut in [3, 10, file.len() - 1] {
            assert!(read(&file[..cut]).is_err(), "cut at {cut}");
        }
    }
}
