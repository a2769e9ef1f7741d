//! Avro's container file, as far as reading it needs: a header with metadata, then blocks of data,
//! each followed by the header's sync marker. And the files of one long after the other that keep the
//! progress of a spooling directory.
//!
//! ```text
//! Obj 01 | metadata map | sync (16)
//! count (long) | bytes (long) | data | sync (16)      as often as there are blocks
//! ```

use splashdam_core::Malformed;

const MAGIC: &[u8] = b"Obj\x01";
/// Bytes of a sync marker.
pub(crate) const SYNC_BYTES: usize = 16;
/// Entries of metadata at the most; files have two or three.
const MOST_ENTRIES: usize = 64;

/// What a container begins with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Keys and values.
    pub(crate) metadata: Vec<(String, Vec<u8>)>,
    /// Ends the header and every block.
    pub(crate) sync: [u8; SYNC_BYTES],
    /// Bytes of the header.
    pub(crate) length: usize,
}

impl Header {
    /// Reads the header at the start of `bytes`.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Header, Malformed> {
        let mut reader = Reader { bytes, at: 0 };
        if reader.take(MAGIC.len())? != MAGIC {
            return Err(Malformed { at: 0, what: "no Avro container file" });
        }
        let mut metadata = Vec::new();
        loop {
            let count = reader.long()?;
            if count == 0 {
                break;
            }
            if count < 0 {
                // A negative count is followed by the bytes of the block, for who wants to skip it.
                reader.long()?;
            }
            for _ in 0..count.unsigned_abs() {
                if metadata.len() == MOST_ENTRIES {
                    return Err(reader.error("too much metadata"));
                }
                let key = reader.bytes()?.to_vec();
                let key = String::from_utf8(key).map_err(|_| reader.error("a key is not UTF-8"))?;
                metadata.push((key, reader.bytes()?.to_vec()));
            }
        }
        let sync = reader.sync()?;
        Ok(Header { metadata, sync, length: reader.at })
    }

    /// Writes a header.
    pub(crate) fn encode(metadata: &[(&str, &[u8])], sync: [u8; SYNC_BYTES]) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        put_length(metadata.len(), &mut out);
        for (key, value) in metadata {
            put_length(key.len(), &mut out);
            out.extend_from_slice(key.as_bytes());
            put_length(value.len(), &mut out);
            out.extend_from_slice(value);
        }
        put_long(0, &mut out);
        out.extend_from_slice(&sync);
        out
    }

    /// The value under `key`.
    pub(crate) fn get(&self, key: &str) -> Option<&[u8]> {
        self.metadata.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_slice())
    }
}

/// One block of one long.
pub(crate) fn encode_long_block(value: i64, sync: [u8; SYNC_BYTES]) -> Vec<u8> {
    let mut data = Vec::new();
    put_long(value, &mut data);
    let mut out = Vec::new();
    put_long(1, &mut out);
    put_length(data.len(), &mut out);
    out.append(&mut data);
    out.extend_from_slice(&sync);
    out
}

/// The last long of the last whole block in `bytes`, which begin with a block. What cannot be
/// read ends it, as a torn tail does.
pub(crate) fn last_long(bytes: &[u8], sync: [u8; SYNC_BYTES]) -> Option<i64> {
    let mut reader = Reader { bytes, at: 0 };
    let mut last = None;
    while let Ok(value) = reader.long_block(sync) {
        last = value.or(last);
    }
    last
}

/// Reads values one after the other.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Reads from the beginning.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Reader { bytes, at: 0 }
    }

    /// The bytes read so far.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// The bytes that follow.
    pub(crate) fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// That something is wrong here.
    pub(crate) fn error(&self, what: &'static str) -> Malformed {
        Malformed { at: self.at, what }
    }

    /// So many bytes.
    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let rest = &self.bytes[self.at..];
        let taken = rest.get(..length).ok_or(self.error("it ends too early"))?;
        self.at += length;
        Ok(taken)
    }

    /// A zig-zag number of at most ten bytes.
    pub(crate) fn long(&mut self) -> Result<i64, Malformed> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
            }
        }
        Err(self.error("a number is too long"))
    }

    /// Bytes behind their length.
    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.long()?;
        let length = usize::try_from(length).map_err(|_| self.error("a length is negative"))?;
        self.take(length)
    }

    fn sync(&mut self) -> Result<[u8; SYNC_BYTES], Malformed> {
        let error = self.error("no sync marker");
        self.take(SYNC_BYTES)?.try_into().map_err(|_| error)
    }

    fn long_block(&mut self, sync: [u8; SYNC_BYTES]) -> Result<Option<i64>, Malformed> {
        let count = self.long()?;
        let data = self.bytes()?;
        if self.sync()? != sync {
            return Err(self.error("another sync marker"));
        }
        let mut values = Reader { bytes: data, at: 0 };
        let mut last = None;
        // Each value has a byte at least, so a count beyond that fails soon.
        for _ in 0..usize::try_from(count).unwrap_or(0) {
            last = Some(values.long()?);
        }
        Ok(last)
    }
}

fn put_length(length: usize, out: &mut Vec<u8>) {
    put_long(i64::try_from(length).unwrap_or(i64::MAX), out);
}

fn put_long(value: i64, out: &mut Vec<u8>) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while rest >= 0x80 {
        out.push((rest & 0x7f | 0x80) as u8);
        rest >>= 7;
    }
    out.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYNC: [u8; 16] = *b"0123456789abcdef";

    #[test]
    fn what_is_written_is_read() {
        let mut file = Header::encode(&[("avro.schema", b"\"long\""), ("file", b"/x")], SYNC);
        let header = Header::decode(&file).unwrap();
        assert_eq!((header.sync, header.length), (SYNC, file.len()));
        assert_eq!(header.get("file"), Some(&b"/x"[..]));
        assert_eq!(header.get("other"), None);
        let start = file.len();
        assert_eq!(last_long(&file[start..], SYNC), None);
        for value in [0, 1, -1, 63, 64, 1 << 40, i64::MAX, i64::MIN] {
            file.extend(encode_long_block(value, SYNC));
            assert_eq!(last_long(&file[start..], SYNC), Some(value));
        }
    }

    #[test]
    fn a_torn_or_altered_tail_is_left_out() {
        let first = encode_long_block(25, SYNC);
        let file = [first.clone(), encode_long_block(62, SYNC)].concat();
        for end in 0..file.len() {
            let want = (end >= first.len()).then_some(25);
            assert_eq!(last_long(&file[..end], SYNC), want, "{end} bytes");
        }
        for at in 0..first.len() {
            let mut altered = file.clone();
            altered[at] ^= 0x55;
            // Whatever it makes of it, it does not panic.
            last_long(&altered, SYNC);
        }
    }

    #[test]
    fn bad_headers_are_refused() {
        let good = Header::encode(&[("file", b"/x")], SYNC);
        for end in 0..good.len() {
            assert!(Header::decode(&good[..end]).is_err(), "{end} bytes");
        }
        for at in 0..good.len() - SYNC_BYTES {
            let mut altered = good.clone();
            altered[at] ^= 0x81;
            assert!(Header::decode(&altered).map_or(true, |h| h.get("file") != Some(b"/x")));
        }
        let endless = [MAGIC, &[0xff; 40]].concat();
        assert!(Header::decode(&endless).is_err());
    }
}
