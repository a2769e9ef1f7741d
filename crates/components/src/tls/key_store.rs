//! Key stores of any kind, read into keys and certificates. What a file is, its first bytes say: Java, too, opens a
//! PKCS12 store that is called `JKS`, and the other way round.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use p12_keystore::Pkcs12Archive;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use splashdam_core::{Cause, OpenError};

use super::x509::Parts;
use super::{Password, jks};

/// Larger than any bundle of certificates.
const LIMIT_BYTES: u64 = 16 << 20;
const PEM_BEGIN: &[u8] = b"-----BEGIN ";
const PEM_ENCRYPTED_KEY: &[u8] = b"-----BEGIN ENCRYPTED PRIVATE KEY-----";
const JCEKS_MAGIC: &[u8] = &[0xce, 0xce, 0xce, 0xce];
const DER_SEQUENCE: u8 = 0x30;
/// Certificates that one key can have; peers refuse fewer.
const LONGEST_CHAIN: usize = 32;

/// Where a key store lies, and how it is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The file.
    pub(super) path: PathBuf,
    /// A second file, of a PEM key that does not lie with its certificates.
    pub(super) key_path: Option<PathBuf>,
    /// Of the store and of its keys.
    pub(super) password: Option<Password>,
    /// The key of the configuration that names the file, for messages: `keystore` or `truststore`.
    pub(super) named_by: &'static str,
}

/// What a reader is after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Private keys, which are opened.
    Keys,
    /// Certificates; private keys stay closed.
    Trust,
}

/// A key store's content.
#[derive(Debug, Default)]
pub(super) struct KeyStore {
    /// Private keys with their certificates, in the order of the file.
    pub(super) keys: Vec<KeyEntry>,
    /// Certificates that stand alone.
    pub(super) certificates: Vec<CertificateDer<'static>>,
}

/// A private key.
#[derive(Debug)]
pub(super) struct KeyEntry {
    pub(super) alias: String,
    /// Its own certificate first.
    pub(super) chain: Vec<CertificateDer<'static>>,
    /// `None` when only trust was wanted.
    pub(super) key: Option<PrivateKeyDer<'static>>,
}

/// An entry of a key store, as far as it can be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The name of a private key; `None` for a certificate that stands alone.
    pub alias: Option<String>,
    /// How many certificates it has.
    pub certificates: usize,
    /// Until when the first of these is valid, in seconds since 1970, if it can be read.
    pub valid_until: Option<i64>,
}

/// What is in a key store of any kind: the keys first, which are opened. Bounded by its length in time and memory, but
/// for PKCS12, whose iterations are limited.
///
/// # Errors
/// Why it cannot be opened, and what to do.
pub fn list(bytes: &[u8], password: Option<&str>) -> Result<Vec<Listed>, Cause> {
    let store = parse(bytes, password, Wanted::Keys)?;
    let until = |chain: &[CertificateDer<'_>]| Parts::of(chain.first()?).map(|c| c.not_after);
    let keys = store.keys.iter().map(|key| Listed {
        alias: Some(key.alias.clone()),
        certificates: key.chain.len(),
        valid_until: until(&key.chain),
    });
    let alone = store.certificates.iter().map(|certificate| Listed {
        alias: None,
        certificates: 1,
        valid_until: until(std::slice::from_ref(certificate)),
    });
    Ok(keys.chain(alone).collect())
}

/// A key store could not be used.
#[derive(Debug, thiserror::Error)]
#[error("key store {}: {damage}", path.display())]
pub(super) struct StoreError {
    pub(super) path: PathBuf,
    #[source]
    pub(super) damage: Damage,
}

/// Why, and what to do.
#[derive(Debug, thiserror::Error)]
pub(super) enum Damage {
    #[error("{error}; check `{named_by}` and that the agent's user may read the file")]
    Unreadable {
        #[source]
        error: io::Error,
        named_by: &'static str,
    },
    #[error("it is larger than {LIMIT_BYTES} bytes, which no key store is")]
    TooLarge,
    #[error(
        "its kind is not known, as it is neither JKS nor PKCS12 nor PEM; convert it with `keytool -importkeystore -deststoretype PKCS12`"
    )]
    UnknownKind,
    #[error(
        "keys for TLS are not read from JCEKS stores; convert it with `keytool -importkeystore -deststoretype PKCS12`"
    )]
    Jceks,
    #[error("the password is wrong, or the file is damaged")]
    WrongPassword,
    #[error("it needs a password to be opened")]
    NoPassword,
    #[error("the password of key {alias} is not that of the store; give both the same")]
    WrongKeyPassword { alias: String },
    #[error("key {alias} cannot be used: {what}")]
    Key { alias: String, what: &'static str },
    #[error("it is damaged: {0}")]
    Content(&'static str),
    #[error("it is damaged or written in a way that is not understood: {0}")]
    Pkcs12(p12_keystore::error::Error),
    #[error("it is no valid PEM: {0}")]
    Pem(rustls::pki_types::pem::Error),
    #[error(
        "its private key is under a password of its own; open it with `openssl pkcs8 -in KEY -out KEY.open`, or make a PKCS12 store"
    )]
    EncryptedPem,
    #[error(
        "there is no private key in it; a source that speaks TLS needs one with its certificate"
    )]
    NoKey,
    #[error("there is no certificate in it that could be trusted")]
    NoTrust,
}

/// Why what needs keys or certificates does not open. A file that cannot be read may come, or be allowed;
/// what is in one does not get better by itself.
pub(super) fn unopened(why: Cause) -> OpenError {
    let store = why.downcast_ref::<StoreError>();
    match store.map(|store| &store.damage) {
        Some(Damage::Unreadable { .. }) => OpenError::unavailable(why),
        _ => OpenError::unmended(why),
    }
}

impl Place {
    /// Reads it. Blocking.
    pub(super) fn read(&self, wanted: Wanted) -> Result<KeyStore, StoreError> {
        let mut store = self.read_file(&self.path, wanted)?;
        if let Some(path) = &self.key_path {
            let keys = self.read_file(path, wanted)?;
            let certificates = std::mem::take(&mut store.certificates);
            store.keys = keys.keys;
            match store.keys.first_mut() {
                Some(entry) => entry.chain = certificates,
                None => return Err(StoreError { path: path.clone(), damage: Damage::NoKey }),
            }
        }
        Ok(store)
    }

    /// The files that it is made of.
    pub(super) fn files(&self) -> impl Iterator<Item = &Path> {
        std::iter::once(self.path.as_path()).chain(self.key_path.as_deref())
    }

    fn read_file(&self, path: &Path, wanted: Wanted) -> Result<KeyStore, StoreError> {
        let named_by = self.named_by;
        let bytes = read_bounded(path).map_err(|error| Damage::Unreadable { error, named_by });
        let password = self.password.as_ref().map(|password| password.0.as_str());
        bytes
            .and_then(|bytes| parse(&bytes, password, wanted))
            .map_err(|damage| StoreError { path: path.to_owned(), damage })
    }
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LIMIT_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads a store of any kind. Without a password only what lies in the clear can be read.
pub(super) fn parse(
    bytes: &[u8],
    password: Option<&str>,
    wanted: Wanted,
) -> Result<KeyStore, Damage> {
    if bytes.len() as u64 > LIMIT_BYTES {
        return Err(Damage::TooLarge);
    }
    if bytes.starts_with(jks::MAGIC) {
        jks::parse(bytes, password, wanted)
    } else if bytes.starts_with(JCEKS_MAGIC) {
        Err(Damage::Jceks)
    } else if bytes.first() == Some(&DER_SEQUENCE) {
        pkcs12(bytes, password)
    } else if bytes.windows(PEM_BEGIN.len()).any(|part| part == PEM_BEGIN) {
        pem(bytes)
    } else {
        Err(Damage::UnknownKind)
    }
}

fn pkcs12(bytes: &[u8], password: Option<&str>) -> Result<KeyStore, Damage> {
    use p12_keystore::error::Error::{MacError, Pkcs5Error, UnpadError};
    let archive = match Pkcs12Archive::from_pkcs12(bytes, password.unwrap_or("")) {
        Ok(archive) => archive,
        Err(MacError(_) | Pkcs5Error(_) | UnpadError) if password.is_none() => {
            return Err(Damage::NoPassword);
        }
        Err(MacError(_) | Pkcs5Error(_) | UnpadError) => return Err(Damage::WrongPassword),
        Err(error) => return Err(Damage::Pkcs12(error)),
    };
    let der = |bag: &p12_keystore::CertificateBag| CertificateDer::from(bag.cert.as_der().to_vec());
    let mut store = KeyStore::default();
    for bag in &archive.keys {
        let id = bag.local_key_id.as_ref().map(|id| id.0.as_slice());
        // A store of one key need not say which certificate is its own.
        let own = archive
            .certs
            .iter()
            .find(|cert| cert.local_key_id.as_deref() == id && id.is_some())
            .or_else(|| archive.certs.first().filter(|_| archive.keys.len() == 1));
        let mut chain: Vec<&p12_keystore::CertificateBag> = own.into_iter().collect();
        while let Some(last) = chain.last().filter(|_| chain.len() < LONGEST_CHAIN) {
            let issuer = archive.certs.iter().find(|cert| {
                cert.cert.subject() == last.cert.issuer()
                    && chain.iter().all(|c| c.cert != cert.cert)
            });
            match issuer {
                Some(issuer) => chain.push(issuer),
                None => break,
            }
        }
        store.keys.push(KeyEntry {
            alias: bag.friendly_name.clone().unwrap_or_else(|| "without a name".to_owned()),
            chain: chain.into_iter().map(der).collect(),
            key: Some(PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(bag.key.as_der().to_vec()))),
        });
    }
    // Java trusts what carries its mark; a store made by openssl has no marks and, here, means all that it holds.
    let marked = archive.certs.iter().any(|cert| cert.trusted);
    let alone =
        archive.certs.iter().filter(|cert| cert.trusted || !marked && store.keys.is_empty());
    store.certificates = alone.map(der).collect();
    Ok(store)
}

fn pem(bytes: &[u8]) -> Result<KeyStore, Damage> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    let certificates = certificates.map_err(Damage::Pem)?;
    let keys: Result<Vec<_>, _> = PrivateKeyDer::pem_slice_iter(bytes).collect();
    let mut store = KeyStore::default();
    match keys.map_err(Damage::Pem)?.into_iter().next() {
        Some(key) => {
            let alias = "of the PEM file".to_owned();
            store.keys.push(KeyEntry { alias, chain: certificates, key: Some(key) });
        }
        None if bytes.windows(PEM_ENCRYPTED_KEY.len()).any(|part| part == PEM_ENCRYPTED_KEY) => {
            return Err(Damage::EncryptedPem);
        }
        None => store.certificates = certificates,
    }
    Ok(store)
}

#[cfg(test)]
mod tests;
