//! Java's own key store, `JKS`: private keys under a cipher of Sun's, certificates in the clear, all under a digest.
//!
//! ```text
//! fe ed fe ed · version (1 or 2) · number of entries · entries · SHA-1(password, "Mighty Aphrodite", all before)
//! entry: tag 1 · alias · date (8) · sealed key · number of certificates · certificates
//!        tag 2 · alias · date (8) · certificate
//! alias: length (2) · UTF-8        sealed key, certificate: length (4) · bytes
//! ```
//!
//! Before each certificate of a version 2 stands its type as an alias does. Numbers are four bytes, big-endian.

use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use sha1::{Digest, Sha1};

use super::der::{self, Der};
use super::key_store::{Damage, KeyEntry, KeyStore, Wanted};

/// What a JKS store begins with.
pub(super) const MAGIC: &[u8] = &[0xfe, 0xed, 0xfe, 0xed];

/// Between password and content, in the digest.
const WHITENER: &[u8] = b"Mighty Aphrodite";
const DIGEST_BYTES: usize = 20;

/// 1.3.6.1.4.1.42.2.17.1.1, the cipher of JKS keys.
const KEY_PROTECTOR: &[u8] = &[0x2b, 6, 1, 4, 1, 0x2a, 2, 0x11, 1, 1];

/// Reads a store. Without a password its digest is not checked, as in Java, and its keys cannot be opened.
pub(super) fn parse(
    bytes: &[u8],
    password: Option<&str>,
    wanted: Wanted,
) -> Result<KeyStore, Damage> {
    let (content, digest) =
        bytes.split_last_chunk::<DIGEST_BYTES>().ok_or(Damage::Content("it ends too soon"))?;
    if password.is_some_and(|password| store_digest(password, content) != *digest) {
        return Err(Damage::WrongPassword);
    }
    let mut fields = Fields(content);
    fields.take(MAGIC.len())?;
    let version = fields.number()?;
    if !(1..=2).contains(&version) {
        return Err(Damage::Content("its version is not known"));
    }
    let mut store = KeyStore::default();
    for _ in 0..fields.number()? {
        fields.entry(version, password, wanted, &mut store)?;
    }
    Ok(store)
}

/// The password as Java's characters.
fn password_bytes(password: &str) -> Vec<u8> {
    password.encode_utf16().flat_map(u16::to_be_bytes).collect()
}

fn store_digest(password: &str, content: &[u8]) -> [u8; DIGEST_BYTES] {
    sha1(&[&password_bytes(password), WHITENER, content])
}

fn sha1(parts: &[&[u8]]) -> [u8; DIGEST_BYTES] {
    let mut sha1 = Sha1::new();
    parts.iter().for_each(|part| sha1.update(part));
    sha1.finalize().into()
}

/// What is left of a store.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Damage> {
        let (taken, rest) =
            self.0.split_at_checked(count).ok_or(Damage::Content("it ends too soon"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn number(&mut self) -> Result<u32, Damage> {
        let bytes = self.take(4)?;
        Ok(bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
    }

    fn bytes(&mut self) -> Result<&'a [u8], Damage> {
        let count = self.number()?;
        self.take(usize::try_from(count).unwrap_or(usize::MAX))
    }

    fn text(&mut self) -> Result<String, Damage> {
        let count = self.take(2)?.iter().fold(0, |count, byte| count << 8 | usize::from(*byte));
        Ok(String::from_utf8_lossy(self.take(count)?).into_owned())
    }

    fn certificate(&mut self, version: u32) -> Result<CertificateDer<'static>, Damage> {
        if version == 2 {
            self.text()?;
        }
        Ok(CertificateDer::from(self.bytes()?.to_vec()))
    }

    fn entry(
        &mut self,
        version: u32,
        password: Option<&str>,
        wanted: Wanted,
        store: &mut KeyStore,
    ) -> Result<(), Damage> {
        let tag = self.number()?;
        let alias = self.text()?;
        let _date = self.take(8)?;
        match tag {
            1 => {
                let sealed = self.bytes()?;
                let mut chain = Vec::new();
                for _ in 0..self.number()? {
                    chain.push(self.certificate(version)?);
                }
                let key = match wanted {
                    Wanted::Keys => Some(open(sealed, password, &alias)?),
                    Wanted::Trust => None,
                };
                store.keys.push(KeyEntry { alias, chain, key });
            }
            2 => store.certificates.push(self.certificate(version)?),
            _ => return Err(Damage::Content("an entry is of no known kind")),
        }
        Ok(())
    }
}

/// Opens a key: salt, then the key under a stream of digests of password and salt, then a digest of both.
fn open(
    sealed: &[u8],
    password: Option<&str>,
    alias: &str,
) -> Result<PrivateKeyDer<'static>, Damage> {
    let password = password_bytes(password.ok_or(Damage::NoPassword)?);
    let wrong = || Damage::WrongKeyPassword { alias: alias.to_owned() };
    let content = sealed_content(sealed)
        .ok_or_else(|| Damage::Key { alias: alias.to_owned(), what: "its cipher is not known" })?;
    let (salt, content) = content.split_at_checked(DIGEST_BYTES).ok_or_else(wrong)?;
    let (cipher, check) = content.split_last_chunk::<DIGEST_BYTES>().ok_or_else(wrong)?;
    let mut plain = Vec::with_capacity(cipher.len());
    let mut stream = sha1(&[&password, salt]);
    for block in cipher.chunks(DIGEST_BYTES) {
        plain.extend(block.iter().zip(stream).map(|(byte, mask)| byte ^ mask));
        if plain.len() < cipher.len() {
            stream = sha1(&[&password, &stream]);
        }
    }
    if sha1(&[&password, &plain]) != *check {
        return Err(wrong());
    }
    Ok(PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(plain)))
}

/// `EncryptedPrivateKeyInfo ::= SEQUENCE { SEQUENCE { OBJECT IDENTIFIER, … }, OCTET STRING }`
fn sealed_content(sealed: &[u8]) -> Option<&[u8]> {
    let mut info = Der(Der(sealed).content(der::SEQUENCE)?);
    let mut algorithm = Der(info.content(der::SEQUENCE)?);
    (algorithm.content(der::OBJECT_IDENTIFIER)? == KEY_PROTECTOR).then_some(())?;
    info.content(der::OCTET_STRING)
}

#[cfg(test)]
mod tests;
