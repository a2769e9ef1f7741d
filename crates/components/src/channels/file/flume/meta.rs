//! The two small messages beside the large files: `log-N.meta` and `checkpoint.meta`.

use super::error::Malformed;
use super::protobuf::{Fields, delimited, put_bytes, put_int, put_long, put_varint};

/// The version that Flume has written since 1.3.
pub(super) const VERSION: i32 = 3;
/// No `.meta` comes near this.
pub(super) const LIMIT_BYTES: u64 = 1 << 20;

/// `log-N.meta`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LogMeta {
    pub(super) file_id: i32,
    /// How far the checkpoint covers the log; a hint that may lag.
    pub(super) checkpoint: Covered,
    /// The same of the checkpoint before, whose copy the backup is.
    pub(super) backup: Covered,
    pub(super) encryption: Option<Encryption>,
}

/// A position in a log up to which a checkpoint knows all, and that checkpoint's write-order id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Covered {
    pub(super) position: i64,
    pub(super) order: i64,
}

/// How a log is encrypted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Encryption {
    /// As it was configured.
    pub(super) cipher: String,
    pub(super) alias: String,
    /// The initialisation vector.
    pub(super) vector: Vec<u8>,
}

impl LogMeta {
    pub(super) fn parse(mut bytes: &[u8]) -> Result<LogMeta, Malformed> {
        let mut meta = LogMeta::default();
        let (mut version, mut file_id) = (None, None);
        for field in Fields(delimited(&mut bytes)?) {
            let (number, value) = field?;
            match number {
                1 => version = Some(value.int()?),
                2 => file_id = Some(value.int()?),
                3 => meta.checkpoint.position = value.long()?,
                4 => meta.checkpoint.order = value.long()?,
                5 => meta.encryption = Some(Encryption::parse(value.bytes()?)?),
                6 => meta.backup.position = value.long()?,
                7 => meta.backup.order = value.long()?,
                _ => {}
            }
        }
        if version != Some(VERSION) {
            return Err(Malformed("has another version than 3"));
        }
        meta.file_id = file_id.ok_or(Malformed("names no number of its log"))?;
        Ok(meta)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut message = Vec::new();
        put_int(&mut message, 1, VERSION);
        put_int(&mut message, 2, self.file_id);
        put_long(&mut message, 3, self.checkpoint.position);
        put_long(&mut message, 4, self.checkpoint.order);
        if let Some(with) = &self.encryption {
            let mut inner = Vec::new();
            put_bytes(&mut inner, 1, with.cipher.as_bytes());
            put_bytes(&mut inner, 2, with.alias.as_bytes());
            put_bytes(&mut inner, 3, &with.vector);
            put_bytes(&mut message, 5, &inner);
        }
        put_long(&mut message, 6, self.backup.position);
        put_long(&mut message, 7, self.backup.order);
        let mut bytes = Vec::new();
        put_varint(&mut bytes, message.len());
        bytes.extend(message);
        bytes
    }
}

impl Encryption {
    fn parse(bytes: &[u8]) -> Result<Encryption, Malformed> {
        let text = |bytes: &[u8]| {
            String::from_utf8(bytes.to_vec()).map_err(|_| Malformed("names a key not in UTF-8"))
        };
        let mut with = Encryption::default();
        for field in Fields(bytes) {
            let (number, value) = field?;
            match number {
                1 => with.cipher = text(value.bytes()?)?,
                2 => with.alias = text(value.bytes()?)?,
                3 => with.vector = value.bytes()?.to_vec(),
                _ => {}
            }
        }
        Ok(with)
    }
}

/// `checkpoint.meta`; how many events of which log are queued is of no use here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct QueueMeta {
    pub(super) order: i64,
    pub(super) size: i32,
    pub(super) head: i32,
}

impl QueueMeta {
    pub(super) fn parse(mut bytes: &[u8]) -> Result<QueueMeta, Malformed> {
        let (mut version, mut order, mut size, mut head) = (None, None, None, None);
        for field in Fields(delimited(&mut bytes)?) {
            let (number, value) = field?;
            match number {
                1 => version = Some(value.int()?),
                2 => order = Some(value.long()?),
                3 => size = Some(value.int()?),
                4 => head = Some(value.int()?),
                _ => {}
            }
        }
        match (version, order, size, head) {
            (Some(VERSION), Some(order), Some(size), Some(head)) => {
                Ok(QueueMeta { order, size, head })
            }
            (Some(VERSION), ..) => Err(Malformed("lacks a field")),
            _ => Err(Malformed("has another version than 3")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len() / 2)
            .map(|i| u8::from_str_radix(&hex[i * 2..i * 2 + 2], 16).unwrap())
            .collect()
    }

    #[test]
    fn reads_and_writes_what_flume_writes() {
        let fresh = bytes(
            "2e0d030000001501000000190000000000000000210000000000000000310000000000000000390000000000000000",
        );
        let meta = LogMeta { file_id: 1, ..LogMeta::default() };
        assert_eq!(LogMeta::parse(&fresh), Ok(meta.clone()));
        assert_eq!(meta.encode(), fresh);
        let full = LogMeta {
            file_id: 7,
            checkpoint: Covered { position: 1 << 30, order: 1_700_000_000_009 },
            backup: Covered { position: 5, order: 3 },
            encryption: Some(Encryption {
                cipher: "AESCTRNOPADDING".into(),
                alias: "key-0".into(),
                vector: vec![1; 16],
            }),
        };
        assert_eq!(LogMeta::parse(&full.encode()), Ok(full.clone()));
        for cut in 0..full.encode().len() {
            assert!(LogMeta::parse(&full.encode()[..cut]).is_err(), "{cut}");
        }
        let queue = bytes("180d030000001100000000000000001d000000002500000000");
        assert_eq!(QueueMeta::parse(&queue), Ok(QueueMeta::default()));
        for cut in 0..queue.len() {
            assert!(QueueMeta::parse(&queue[..cut]).is_err(), "{cut}");
        }
    }
}
