//! AES/CTR/NoPadding as Flume uses it: every record of a log begins the same key stream anew. That is broken as a
//! means of secrecy, and so it is read here and never written.

use std::path::Path;

use aes::{Aes128, Aes192, Aes256};
use ctr::cipher::consts::U16;
use ctr::cipher::{
    Array, Block, BlockCipherEncrypt, BlockSizeUser, InnerIvInit, KeyInit, StreamCipher,
};
use ctr::{Ctr128BE, CtrCore};

use super::Keys;
use super::error::{Error, KeyTrouble};
use super::meta::Encryption;

const VECTOR_BYTES: usize = 16;
const NAMES: [&str; 2] =
    ["AESCTRNOPADDING", "org.apache.flume.channel.file.encryption.AESCTRNoPaddingProvider"];

/// What one log is encrypted with.
pub(super) struct Cipher {
    key: Key,
    vector: [u8; VECTOR_BYTES],
}

enum Key {
    Aes128(Box<Aes128>),
    Aes192(Box<Aes192>),
    Aes256(Box<Aes256>),
}

impl Cipher {
    /// The cipher of the log at `path`.
    pub(super) fn new(
        path: &Path,
        with: &Encryption,
        keys: Option<Keys<'_>>,
    ) -> Result<Cipher, Error> {
        let failed = |why| Error::Key { path: path.to_owned(), alias: with.alias.clone(), why };
        // A provider class may be named with the builder inside it.
        let name = with.cipher.split('$').next().unwrap_or_default();
        if !NAMES.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            return Err(failed(KeyTrouble::Cipher(with.cipher.clone())));
        }
        let keys = keys.ok_or_else(|| failed(KeyTrouble::NoProvider))?;
        let key = keys(&with.alias)
            .map_err(|error| failed(KeyTrouble::Store(error)))?
            .ok_or_else(|| failed(KeyTrouble::Unknown))?;
        Cipher::from_parts(&key.bytes, &with.vector).map_err(failed)
    }

    pub(super) fn from_parts(key: &[u8], vector: &[u8]) -> Result<Cipher, KeyTrouble> {
        let vector = vector.try_into().map_err(|_| KeyTrouble::Vector(vector.len()))?;
        let length = |_| KeyTrouble::Length(key.len());
        let key = match key.len() {
            24 => Key::Aes192(Box::new(Aes192::new_from_slice(key).map_err(length)?)),
            32 => Key::Aes256(Box::new(Aes256::new_from_slice(key).map_err(length)?)),
            _ => Key::Aes128(Box::new(Aes128::new_from_slice(key).map_err(length)?)),
        };
        Ok(Cipher { key, vector })
    }

    /// Deciphers a payload, or as much of its beginning as is given; twice is as never.
    pub(super) fn apply(&self, payload: &mut [u8]) {
        let vector = Array(self.vector);
        match &self.key {
            Key::Aes128(key) => stream(key.as_ref(), &vector, payload),
            Key::Aes192(key) => stream(key.as_ref(), &vector, payload),
            Key::Aes256(key) => stream(key.as_ref(), &vector, payload),
        }
    }
}

fn stream<K>(key: &K, vector: &Block<K>, payload: &mut [u8])
where
    for<'a> &'a K: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16>,
    K: BlockSizeUser<BlockSize = U16>,
{
    Ctr128BE::from_core(CtrCore::inner_iv_init(key, vector)).apply_keystream(payload);
}

impl std::fmt::Debug for Cipher {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Cipher")
    }
}
