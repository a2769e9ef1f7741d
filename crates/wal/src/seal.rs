//! Encryption of frames: a key per segment out of the channel's key and the segment's salt, a nonce
//! per part of a frame. `docs/wal-format.md` argues why a nonce comes only once for a key.

use std::fmt;
use std::sync::Arc;

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, KeyInit, Nonce, Tag};
use hkdf::Hkdf;
use sha2::Sha256;

use crate::frame::{Header, TAG_BYTES};
use crate::segment::SegmentHeader;

/// Most bytes of a key's alias.
pub const MOST_ALIAS: usize = 256;
/// Fewest bytes of a channel's key: those of AES-128, which Flume uses.
pub const LEAST_KEY: usize = 16;

/// A channel's key: the secret that the keys of segments are derived from. It is not shown.
#[derive(Clone)]
pub struct Key(Arc<[u8]>);

impl Key {
    /// Takes over the secret; `None` when it has fewer than [`LEAST_KEY`] bytes.
    pub fn new(secret: &[u8]) -> Option<Key> {
        (secret.len() >= LEAST_KEY).then(|| Key(secret.into()))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// Where keys come from (Flume's `KeyProvider`). Asked when a segment is begun and when one is opened.
pub trait Keys: Send + Sync + 'static {
    /// The alias, of at most [`MOST_ALIAS`] bytes, and the key for new segments; `None` writes them
    /// without encryption.
    fn active(&self) -> Option<(String, Key)>;
    /// The key of this alias, for segments that are there.
    fn key(&self, alias: &str) -> Option<Key>;
}

/// How the header of an encrypted segment names its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The key's alias.
    pub alias: String,
    /// Follows from key, salt and place: tells a wrong key from damage.
    pub check: [u8; 16],
}

/// Which part of a frame.
#[derive(Clone, Copy, Debug)]
pub enum Part {
    /// The meta part.
    Meta = 0,
    /// The body.
    Body = 1,
}

/// Seals and opens the frames of one segment.
pub struct Cipher {
    gcm: Aes256Gcm,
    /// Believes what does not pass its tag: a planted bug.
    #[cfg(feature = "sabotage")]
    pub(crate) trusting: bool,
}

impl Cipher {
    /// The cipher of a segment with this header, and the check of the key.
    pub fn derive(key: &Key, header: &SegmentHeader) -> (Cipher, [u8; 16]) {
        let derived = Hkdf::<Sha256>::new(Some(&header.salt), &key.0);
        let number = header.number.to_le_bytes();
        let (mut secret, mut check) = ([0; 32], [0; 16]);
        for (what, out) in
            [(&b"splashdam key 1"[..], &mut secret[..]), (b"splashdam check 1", &mut check[..])]
        {
            let info = [what, &header.log, &header.directory, &number].concat();
            derived.expand(&info, out).expect("HKDF gives 8160 bytes, more than these");
        }
        let cipher = Cipher {
            gcm: Aes256Gcm::new(&secret.into()),
            #[cfg(feature = "sabotage")]
            trusting: false,
        };
        (cipher, check)
    }

    /// Encrypts `bytes` in place and adds the tag.
    pub fn seal(&self, header: &Header, part: Part, bytes: &mut Vec<u8>) {
        let tag = self
            .gcm
            .encrypt_inout_detached(
                &nonce(header, part),
                &header.associated(),
                (&mut bytes[..]).into(),
            )
            .expect("a frame is smaller than the 64 GiB that a nonce is good for");
        bytes.extend_from_slice(&tag);
    }

    /// Decrypts `bytes` in place and takes the tag off; `None` when they are not what was sealed here.
    pub fn open(&self, header: &Header, part: Part, bytes: &mut Vec<u8>) -> Option<()> {
        let length = bytes.len().checked_sub(TAG_BYTES)?;
        let (secret, tag) = bytes.split_at_mut(length);
        let tag: [u8; TAG_BYTES] = *tag.first_chunk()?;
        let (nonce, known) = (nonce(header, part), header.associated());
        #[cfg(feature = "sabotage")]
        if self.trusting {
            let mut stream = vec![0; length];
            self.gcm.encrypt_inout_detached(&nonce, &known, (&mut stream[..]).into()).ok()?;
            secret.iter_mut().zip(stream).for_each(|(byte, mask)| *byte ^= mask);
            bytes.truncate(length);
            return Some(());
        }
        self.gcm.decrypt_inout_detached(&nonce, &known, secret.into(), &Tag::from(tag)).ok()?;
        bytes.truncate(length);
        Some(())
    }
}

/// The LSN and the part: within a segment each is written once.
fn nonce(header: &Header, part: Part) -> Nonce<aes_gcm::aead::consts::U12> {
    let mut nonce = [0; 12];
    nonce[..8].copy_from_slice(&header.lsn.to_le_bytes());
    nonce[8] = part as u8;
    nonce.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Kind, SEALED};

    fn segment(number: u64, salt: u8) -> SegmentHeader {
        SegmentHeader {
            log: [1; 16],
            directory: [2; 16],
            number,
            first_lsn: 4,
            salt: [salt; 32],
            begun: 6,
            watermark: 3,
            length: 64 << 20,
            exchanges: false,
            sealed: None,
        }
    }

    const FRAME: Header = Header {
        kind: Kind::Put,
        flags: SEALED,
        meta_bytes: 21,
        meta_crc: 0,
        body_bytes: 27,
        body_crc: 0,
        segment: 3,
        offset: 8192,
        lsn: 9,
        watermark: 8,
        time: 5,
    };

    #[test]
    fn only_its_own_key_place_and_part_open_what_was_sealed() {
        let key = Key::new(&[7; 16]).expect("long enough");
        let (cipher, check) = Cipher::derive(&key, &segment(3, 1));
        let mut sealed = b"hello world".to_vec();
        cipher.seal(&FRAME, Part::Body, &mut sealed);
        assert_eq!(sealed.len(), 11 + TAG_BYTES);
        let opens = |cipher: &Cipher, header: &Header, part, bytes: &[u8]| {
            let mut bytes = bytes.to_vec();
            cipher.open(header, part, &mut bytes).map(|()| bytes)
        };
        assert_eq!(opens(&cipher, &FRAME, Part::Body, &sealed), Some(b"hello world".to_vec()));
        assert_eq!(opens(&cipher, &FRAME, Part::Meta, &sealed), None);
        for other in [
            Header { lsn: 10, ..FRAME },
            Header { offset: 8200, ..FRAME },
            Header { watermark: 7, ..FRAME },
            Header { time: 6, ..FRAME },
            Header { kind: Kind::Take, ..FRAME },
            Header { meta_bytes: 22, ..FRAME },
            Header { flags: SEALED | 1, ..FRAME },
        ] {
            assert_eq!(opens(&cipher, &other, Part::Body, &sealed), None, "{other:?}");
        }
        for at in 0..sealed.len() {
            let mut bad = sealed.clone();
            bad[at] ^= 1;
            assert_eq!(opens(&cipher, &FRAME, Part::Body, &bad), None, "byte {at}");
        }
        for length in 0..sealed.len() {
            assert_eq!(opens(&cipher, &FRAME, Part::Body, &sealed[..length]), None);
        }
        let other_key = Key::new(&[8; 16]).expect("long enough");
        for (key, header) in
            [(&other_key, segment(3, 1)), (&key, segment(4, 1)), (&key, segment(3, 2))]
        {
            let (other, other_check) = Cipher::derive(key, &header);
            assert_ne!(check, other_check);
            assert_eq!(opens(&other, &FRAME, Part::Body, &sealed), None);
        }
        assert!(Key::new(&[1; 15]).is_none());
    }
}
