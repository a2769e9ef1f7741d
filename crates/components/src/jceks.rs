//! Secret keys out of JCEKS key stores: Java's format for the file channel's keys and for Hadoop's
//! credential stores.
//!
//! A store is `CE CE CE CE`, version, count and that many entries, all big-endian, then the SHA-1
//! of the password (UTF-16), the words `Mighty Aphrodite` and all before it. The digest is checked
//! first, so nothing is parsed that was not written by someone who knew the password. An entry is
//!
//! | tag | entry | content |
//! |---|---|---|
//! | 1 | private key | alias, date, key, certificates: passed over |
//! | 2 | certificate | alias, date, certificate: passed over |
//! | 3 | secret key | alias, date, a serialized `SealedObject` |
//!
//! The sealed object holds a serialized key under PBEWithMD5AndTripleDES, Sun's own scheme: of each
//! half of the salt, MD5 with the password is taken again and again; the two results are the key
//! and the initialisation vector of DES-EDE3 in CBC mode with PKCS#5 padding. That is weak by any
//! measure of today; it is read here, never written.

use std::fmt;
use std::io::{Cursor, Read};
use std::path::Path;

use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeDecrypt, KeyIvInit};
use jaded::{Content, FromJava, ObjectData, Parser, Value};
use md5::Md5;
use sha1::{Digest, Sha1};

/// The most bytes that a store may have.
pub const LIMIT_BYTES: u64 = 16 << 20;
const MAGIC: u32 = 0xCECE_CECE;
const VERSIONS: std::ops::RangeInclusive<u32> = 1..=2;
const DIGEST_BYTES: usize = 20;
const WHITENER: &[u8] = b"Mighty Aphrodite";
/// The one scheme that a JDK seals keys with.
const SCHEME: &str = "PBEWithMD5AndTripleDES";
const SALT_BYTES: usize = 8;
/// The most rounds that a JDK accepts; it writes 200000, older ones wrote 20.
const MOST_ROUNDS: u32 = 5_000_000;

/// A key store whose digest was right.
pub struct KeyStore {
    entries: Vec<(String, Sealed)>,
}

/// A key as it lies in the store.
struct Sealed {
    scheme: String,
    parameters: Vec<u8>,
    content: Vec<u8>,
}

/// A key, not shown when printed.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretKey {
    /// Java's name of the algorithm, such as `AES`.
    pub algorithm: String,
    /// The key itself.
    pub bytes: Vec<u8>,
}

/// Why a key store or a key cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum KeyStoreError {
    /// The file cannot be read.
    #[error("cannot read the file: {0}")]
    Unreadable(#[from] std::io::Error),
    /// More than [`LIMIT_BYTES`].
    #[error("it is larger than {LIMIT_BYTES} bytes, which no key store is")]
    TooLarge,
    /// It does not begin as a JCEKS store does.
    #[error(
        "it is not a JCEKS key store; convert it with keytool -importkeystore -deststoretype JCEKS"
    )]
    NotJceks,
    /// The digest does not fit.
    #[error("the password of the store is wrong, or the file is damaged")]
    WrongPassword,
    /// The digest is right and the content is not.
    #[error("the store is damaged: {0}")]
    Damaged(&'static str),
    /// The key is there and the password does not open it.
    #[error("the password of key {alias} is wrong")]
    WrongKeyPassword {
        /// The key.
        alias: String,
    },
    /// The key is sealed or written in a way that no JDK uses.
    #[error("key {alias} cannot be read: {what}")]
    Unsupported {
        /// The key.
        alias: String,
        /// What is not understood.
        what: String,
    },
}

impl KeyStore {
    /// Reads a store from a file. Blocking.
    pub fn read(path: &Path, password: &str) -> Result<Self, KeyStoreError> {
        let mut bytes = Vec::new();
        std::fs::File::open(path)?.take(LIMIT_BYTES + 1).read_to_end(&mut bytes)?;
        Self::parse(&bytes, password)
    }

    /// Reads a store.
    pub fn parse(bytes: &[u8], password: &str) -> Result<Self, KeyStoreError> {
        if bytes.len() as u64 > LIMIT_BYTES {
            return Err(KeyStoreError::TooLarge);
        }
        if !bytes.starts_with(&MAGIC.to_be_bytes()) || bytes.len() < 12 + DIGEST_BYTES {
            return Err(KeyStoreError::NotJceks);
        }
        let (content, digest) = bytes.split_at(bytes.len() - DIGEST_BYTES);
        if store_digest(content, password) != digest {
            return Err(KeyStoreError::WrongPassword);
        }
        let mut fields = Fields(Cursor::new(content));
        fields.int()?;
        let version = fields.int()?;
        if !VERSIONS.contains(&version) {
            return Err(KeyStoreError::Damaged("its version is not known"));
        }
        let count = fields.int()?;
        let mut entries = Vec::new();
        for _ in 0..count {
            if let Some(entry) = fields.entry(version)? {
                entries.push(entry);
            }
        }
        Ok(KeyStore { entries })
    }

    /// The names of its secret keys, in lower case, as a JDK keeps them.
    pub fn aliases(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|(alias, _)| alias.as_str())
    }

    /// The secret key called `alias`, in any case. `None` when there is none of that name.
    pub fn secret_key(
        &self,
        alias: &str,
        password: &str,
    ) -> Result<Option<SecretKey>, KeyStoreError> {
        let wanted = alias.to_lowercase();
        match self.entries.iter().find(|(name, _)| *name == wanted) {
            Some((name, sealed)) => sealed.open(name, password).map(Some),
            None => Ok(None),
        }
    }
}

fn store_digest(content: &[u8], password: &str) -> [u8; DIGEST_BYTES] {
    let mut sha1 = Sha1::new();
    for unit in password.encode_utf16() {
        sha1.update(unit.to_be_bytes());
    }
    sha1.update(WHITENER);
    sha1.update(content);
    sha1.finalize().into()
}

/// The fields of a store, one after the other.
struct Fields<'a>(Cursor<&'a [u8]>);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], KeyStoreError> {
        let mut bytes = [0; N];
        let read = self.0.read_exact(&mut bytes);
        read.map(|()| bytes).map_err(|_| KeyStoreError::Damaged("it ends too soon"))
    }

    fn int(&mut self) -> Result<u32, KeyStoreError> {
        self.take().map(u32::from_be_bytes)
    }

    /// Java's `writeUTF`; what its special form of UTF-8 makes of rare characters is replaced.
    fn text(&mut self) -> Result<String, KeyStoreError> {
        let len = u64::from(u16::from_be_bytes(self.take()?));
        let mut bytes = Vec::new();
        self.0.by_ref().take(len).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn skip(&mut self, bytes: u32) {
        // A position past the end makes the next read fail.
        self.0.set_position(self.0.position() + u64::from(bytes));
    }

    fn certificate(&mut self, version: u32) -> Result<(), KeyStoreError> {
        if version == 2 {
            self.text()?;
        }
        let len = self.int()?;
        self.skip(len);
        Ok(())
    }

    fn entry(&mut self, version: u32) -> Result<Option<(String, Sealed)>, KeyStoreError> {
        let tag = self.int()?;
        let alias = self.text()?.to_lowercase();
        let _date: [u8; 8] = self.take()?;
        match tag {
            1 => {
                let key = self.int()?;
                self.skip(key);
                for _ in 0..self.int()? {
                    self.certificate(version)?;
                }
                Ok(None)
            }
            2 => self.certificate(version).map(|()| None),
            3 => Ok(Some((alias, Sealed::read(&mut self.0)?))),
            _ => Err(KeyStoreError::Damaged("an entry is of no known kind")),
        }
    }
}

impl Sealed {
    fn read(from: &mut Cursor<&[u8]>) -> Result<Self, KeyStoreError> {
        const DAMAGED: KeyStoreError = KeyStoreError::Damaged("a key is not a sealed object");
        let object = java_object(from).ok_or(DAMAGED)?;
        let bytes = |name| field::<Vec<u8>>(&object, name);
        Ok(Sealed {
            scheme: field(&object, "sealAlg").ok_or(DAMAGED)?,
            parameters: bytes("encodedParams").ok_or(DAMAGED)?,
            content: bytes("encryptedContent").ok_or(DAMAGED)?,
        })
    }

    fn open(&self, alias: &str, password: &str) -> Result<SecretKey, KeyStoreError> {
        let unsupported = |what: String| KeyStoreError::Unsupported { alias: alias.into(), what };
        if self.scheme != SCHEME {
            return Err(unsupported(format!("it is sealed with {}, not {SCHEME}", self.scheme)));
        }
        let (salt, rounds) = parameters(&self.parameters)
            .ok_or_else(|| unsupported("the parameters of its seal are not understood".into()))?;
        let wrong = || KeyStoreError::WrongKeyPassword { alias: alias.into() };
        let plain = decrypt(&self.content, password, salt, rounds).ok_or_else(wrong)?;
        // Padding that fits by chance, one time in 256, still is no serialized object.
        let object = java_object(&mut Cursor::new(&plain)).ok_or_else(wrong)?;
        let bytes = field::<Vec<u8>>(&object, "key").or_else(|| field(&object, "encoded"));
        match (field(&object, "algorithm"), bytes) {
            (Some(algorithm), Some(key)) => Ok(SecretKey { algorithm, bytes: key }),
            _ => Err(unsupported(format!("a {} is not known", object.class_name()))),
        }
    }
}

fn java_object(from: &mut Cursor<&[u8]>) -> Option<ObjectData> {
    match Parser::new(from).ok()?.read().ok()? {
        Content::Object(Value::Object(object)) => Some(object),
        _ => None,
    }
}

fn field<T: FromJava>(object: &ObjectData, name: &str) -> Option<T> {
    object.get_field_as(name).ok()
}

/// `SEQUENCE { OCTET STRING salt, INTEGER rounds }` in DER.
fn parameters(der: &[u8]) -> Option<([u8; SALT_BYTES], u32)> {
    let content = der.strip_prefix(&[0x30])?;
    let (len, content) = content.split_first()?;
    let content =
        content.strip_prefix(&[0x04, 8]).filter(|_| usize::from(*len) == content.len())?;
    let (salt, content) = content.split_first_chunk::<SALT_BYTES>()?;
    let (len, number) = content.strip_prefix(&[0x02])?.split_first()?;
    if number.len() != usize::from(*len) || number.len() > 4 {
        return None;
    }
    let rounds = number.iter().fold(0, |n: u32, byte| n << 8 | u32::from(*byte));
    (1..=MOST_ROUNDS).contains(&rounds).then_some((*salt, rounds))
}

fn decrypt(content: &[u8], password: &str, salt: [u8; SALT_BYTES], rounds: u32) -> Option<Vec<u8>> {
    let derived = derive(password, salt, rounds);
    let (key, iv) = derived.split_at(24);
    let cipher = cbc::Decryptor::<des::TdesEde3>::new_from_slices(key, iv).ok()?;
    cipher.decrypt_padded_vec::<Pkcs7>(content).ok()
}

/// Sun's derivation: 24 bytes of key and 8 of initialisation vector.
fn derive(password: &str, mut salt: [u8; SALT_BYTES], rounds: u32) -> [u8; 32] {
    if salt[..4] == salt[4..] {
        // Equal halves would give equal results. This is what Java makes of the first half: it
        // means to reverse it and, by a slip that is now part of the format, does not quite.
        for i in 0..2 {
            let byte = salt[i];
            salt[i] = salt[3 - i];
            salt[2] = byte;
        }
    }
    let mut derived = [0; 32];
    for (half, out) in salt.chunks(4).zip(derived.chunks_mut(16)) {
        let mut state = half.to_vec();
        for _ in 0..rounds {
            let mut md5 = Md5::new();
            md5.update(&state);
            md5.update(password.as_bytes());
            state = md5.finalize().to_vec();
        }
        out.copy_from_slice(&state);
    }
    derived
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey({}, {} bytes)", self.algorithm, self.bytes.len())
    }
}

impl fmt::Debug for KeyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.aliases()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Stores that JDK 17 wrote, as the comments say; all but the first with
    // `-Djdk.jceks.iterationCount=10000`, which keeps the tests short.

    /// `keytool -genseckey -alias key-0 -keyalg AES -keysize 128 -storetype JCEKS
    /// -keystore file-channel.jceks -storepass storePassword -keypass keyPassword0`; the bytes of
    /// the key were printed by `KeyStore.getKey`.
    const FILE_CHANNEL: &[u8] = include_bytes!("../testdata/jceks/file-channel.jceks");
    /// Two `SecretKeySpec`s set by `KeyStore.setKeyEntry` as Hadoop sets credentials: the bytes of
    /// the password in UTF-8, store and keys under the password `none`.
    const CREDENTIALS: &[u8] = include_bytes!("../testdata/jceks/credentials.jceks");
    /// `keytool -genkeypair -alias pair -keyalg RSA …`, then `keytool -genseckey -alias des -keyalg
    /// DESede -keysize 168 … -keypass other12` into the same store.
    const MIXED: &[u8] = include_bytes!("../testdata/jceks/mixed.jceks");
    /// `keytool -importpass -alias imported … -storepass changeit`, the password being `secret`.
    const IMPORTED: &[u8] = include_bytes!("../testdata/jceks/imported.jceks");

    #[test]
    fn keys_of_a_real_store_are_read() {
        let check = |store: &[u8], password, alias: &str, key_password, algorithm, want: &[u8]| {
            let store = KeyStore::parse(store, password).unwrap();
            let key = store.secret_key(alias, key_password).unwrap().unwrap();
            assert_eq!(
                (key.algorithm.as_str(), key.bytes.as_slice()),
                (algorithm, want),
                "{alias}"
            );
        };
        let aes = 0x8268_d20b_4b1d_6249_3ed1_cd0e_396e_3dd0_u128.to_be_bytes();
        check(FILE_CHANNEL, "storePassword", "key-0", "keyPassword0", "AES", &aes);
        let password = "s3cr3t grün".as_bytes();
        check(CREDENTIALS, "none", "db.password", "none", "AES", password);
        check(CREDENTIALS, "none", "SINK.token", "none", "AES", b"token");
        check(IMPORTED, "changeit", "imported", "changeit", "PBEWithMD5AndDES", b"secret");
        let mixed = KeyStore::parse(MIXED, "storePassword").unwrap();
        assert_eq!(mixed.aliases().collect::<Vec<_>>(), ["des"]);
        let key = mixed.secret_key("des", "other12").unwrap().unwrap();
        assert_eq!((key.algorithm.as_str(), key.bytes.len()), ("DESede", 24));
        assert_eq!(format!("{key:?}"), "SecretKey(DESede, 24 bytes)");
    }

    #[test]
    fn wrong_passwords_and_names_are_told_apart() {
        let wrong = KeyStore::parse(FILE_CHANNEL, "storepassword");
        assert!(matches!(wrong, Err(KeyStoreError::WrongPassword)), "{wrong:?}");
        let store = KeyStore::parse(MIXED, "storePassword").unwrap();
        for password in ["", "x", "storePassword", "other13"] {
            let wrong = store.secret_key("des", password);
            assert!(matches!(wrong, Err(KeyStoreError::WrongKeyPassword { .. })), "{wrong:?}");
        }
        assert_eq!(store.secret_key("key-1", "other12").unwrap(), None);
    }

    #[test]
    fn whatever_is_cut_or_altered_is_refused() {
        for at in 0..FILE_CHANNEL.len() {
            assert!(KeyStore::parse(&FILE_CHANNEL[..at], "storePassword").is_err(), "{at}");
            let mut altered = FILE_CHANNEL.to_vec();
            altered[at] ^= 0x55;
            assert!(KeyStore::parse(&altered, "storePassword").is_err(), "{at}");
        }
        assert!(matches!(KeyStore::parse(&[0xCE; 4], ""), Err(KeyStoreError::NotJceks)));
        assert!(matches!(KeyStore::parse(b"{}", ""), Err(KeyStoreError::NotJceks)));
    }

    /// Content under a right digest may still lie about its lengths and counts.
    #[test]
    fn a_signed_store_that_lies_is_refused() {
        let check = |content: &[&[u8]]| {
            let mut store = [&MAGIC.to_be_bytes(), &2_u32.to_be_bytes()[..]].concat();
            store.extend(content.concat());
            let digest = store_digest(&store, "x");
            store.extend(digest);
            let parsed = KeyStore::parse(&store, "x");
            assert!(matches!(parsed, Err(KeyStoreError::Damaged(_))), "{parsed:?}");
        };
        let (one, most) = (1_u32.to_be_bytes(), u32::MAX.to_be_bytes());
        check(&[&most]);
        check(&[&one, &9_u32.to_be_bytes(), &[0; 10]]);
        check(&[&one, &one, &[0; 10], &most]);
        check(&[&one, &one, &[0; 10], &[0; 4], &most]);
        check(&[&one, &3_u32.to_be_bytes(), &[0; 10], b"\xac\xed\x00\x05\x75"]);
        check(&[&one, &3_u32.to_be_bytes(), &[0; 10], b"\xac\xed\x00\x05\x70"]);
    }

    #[test]
    fn parameters_are_der() {
        let salt = [1, 2, 3, 4, 5, 6, 7, 8];
        let check = |tail: &[u8], want: Option<u32>| {
            let content = [&[4, 8][..], &salt, tail].concat();
            let der = [&[0x30, u8::try_from(content.len()).unwrap()][..], &content].concat();
            assert_eq!(parameters(&der), want.map(|rounds| (salt, rounds)), "{tail:?}");
        };
        check(&[2, 1, 20], Some(20));
        check(&[2, 3, 3, 0x0d, 0x40], Some(200_000));
        check(&[2, 1, 0], None);
        check(&[2, 4, 0x7f, 0, 0, 0], None);
        check(&[2, 2, 20], None);
        check(&[3, 1, 20], None);
        check(&[], None);
        assert_eq!(parameters(&[]), None);
        assert_eq!(parameters(&[0x30, 0x80]), None);
    }
}
