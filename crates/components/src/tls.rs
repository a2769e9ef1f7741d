//! TLS for every source and sink that speaks it: settings, key stores, trust as Java has it, and the handshakes.
//!
//! A source holds [`ServerTls`] under `#[serde(rename = ".tls", default)]` and asks it for an [`Acceptor`] when it
//! opens; a sink holds [`ClientTls`] and asks for a [`Connector`]. What comes of either is a [`Stream`] over
//! whatever carries bytes. Flume's classes: `SSLUtil`, `SslContextAwareAbstractSource` and the RPC clients.
//!
//! As in Flume, a key that is not set falls back to the system property given with `-D`, that to the environment:
//!
//! | key | property | variable |
//! |---|---|---|
//! | `keystore` | `javax.net.ssl.keyStore` | `FLUME_SSL_KEYSTORE_PATH` |
//! | `keystore-password` | `javax.net.ssl.keyStorePassword` | `FLUME_SSL_KEYSTORE_PASSWORD` |
//! | `keystore-type` | `javax.net.ssl.keyStoreType` | `FLUME_SSL_KEYSTORE_TYPE` |
//! | `truststore` | `javax.net.ssl.trustStore` | `FLUME_SSL_TRUSTSTORE_PATH` |
//! | `truststore-password` | `javax.net.ssl.trustStorePassword` | `FLUME_SSL_TRUSTSTORE_PASSWORD` |
//! | `truststore-type` | `javax.net.ssl.trustStoreType` | `FLUME_SSL_TRUSTSTORE_TYPE` |
//! | `include-protocols` | `flume.ssl.include.protocols` | `FLUME_SSL_INCLUDE_PROTOCOLS` |
//! | `exclude-protocols` | `flume.ssl.exclude.protocols` | `FLUME_SSL_EXCLUDE_PROTOCOLS` |
//! | `include-cipher-suites` | `flume.ssl.include.cipherSuites` | `FLUME_SSL_INCLUDE_CIPHERSUITES` |
//! | `exclude-cipher-suites` | `flume.ssl.exclude.cipherSuites` | `FLUME_SSL_EXCLUDE_CIPHERSUITES` |
//!
//! Key stores are read again when their files change, looked at no more than every 30 seconds and when somebody
//! connects; connections that are open stay as they are.

mod client;
mod der;
mod fallback;
mod findings;
mod jks;
mod key_store;
mod names;
mod reloading;
mod server;
mod stream;
mod trust;
mod x509;

use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;
use splashdam_config::Words;

pub use client::Connector;
pub use findings::{plain_listener, readable_secret};
pub use key_store::{Listed, list};
pub use server::Acceptor;
pub(crate) use server::HANDSHAKE;
pub use stream::{HandshakeError, Stream};

/// A password, which is never shown.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Password(String);

/// Keys of a source that can speak TLS.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct ServerTls {
    /// Whether connections are encrypted.
    pub ssl: bool,
    /// The file with the private key and its certificates: JKS, PKCS12 or PEM.
    pub keystore: Option<PathBuf>,
    /// The password of the key store and of its key.
    pub keystore_password: Option<Password>,
    /// `JKS`, `PKCS12` or `PEM`; each is told by the file's first bytes, whatever is written here. PEM is not of Flume.
    pub keystore_type: Option<String>,
    /// The file with the private key in PEM, when `keystore` is in PEM and holds certificates only. Not a key of Flume.
    pub private_key: Option<PathBuf>,
    /// Protocols to speak, by Java's names, between blanks: `TLSv1.2`, `TLSv1.3`. All, when none is named.
    pub include_protocols: Words,
    /// Protocols not to speak, even when included. `SSLv3` always is among them.
    pub exclude_protocols: Words,
    /// Cipher suites to use, by Java's names, between blanks. All that are spoken here, when none is named.
    pub include_cipher_suites: Words,
    /// Cipher suites not to use, even when included.
    pub exclude_cipher_suites: Words,
    /// Whether clients must show a certificate: `none`, `wanted` or `needed`. Not a key of Flume, whose sources never
    /// ask for one.
    pub client_authentication: ClientAuthentication,
    /// The file with the certificates that clients' certificates are judged by. Not a key of Flume's sources.
    pub truststore: Option<PathBuf>,
    /// The password of the trust store; without one its integrity is not checked.
    pub truststore_password: Option<Password>,
    /// As `keystore-type`.
    pub truststore_type: Option<String>,
}

/// Keys of a sink that can speak TLS.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct ClientTls {
    /// Whether connections are encrypted.
    pub ssl: bool,
    /// Whether to accept any certificate, which leaves the connection open to whoever stands between. For tests.
    pub trust_all_certs: bool,
    /// The file with the certificates that the server's certificate is judged by: JKS, PKCS12 or PEM. The system's, when
    /// it is not set.
    pub truststore: Option<PathBuf>,
    /// The password of the trust store; without one its integrity is not checked.
    pub truststore_password: Option<Password>,
    /// `JKS`, `PKCS12` or `PEM`; each is told by the file's first bytes, whatever is written here. PEM is not of Flume.
    pub truststore_type: Option<String>,
    /// Protocols to speak, by Java's names, between blanks: `TLSv1.2`, `TLSv1.3`. All, when none is named.
    pub include_protocols: Words,
    /// Protocols not to speak, even when included. `SSLv3` always is among them.
    pub exclude_protocols: Words,
    /// Cipher suites to use, by Java's names, between blanks. All that are spoken here, when none is named.
    pub include_cipher_suites: Words,
    /// Cipher suites not to use, even when included.
    pub exclude_cipher_suites: Words,
    /// Whether the certificate must be for the host that was connected to. Not a key of Flume, which never checks it.
    pub verify_host_name: bool,
    /// The file with the key and the certificate to show to servers that ask: JKS, PKCS12 or PEM. Not a key of Flume,
    /// whose clients never show one.
    pub keystore: Option<PathBuf>,
    /// The password of the key store and of its key.
    pub keystore_password: Option<Password>,
    /// As `truststore-type`.
    pub keystore_type: Option<String>,
    /// The file with the private key in PEM, when `keystore` is in PEM and holds certificates only.
    pub private_key: Option<PathBuf>,
}

/// Whether a source asks its clients for a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientAuthentication {
    /// It does not, as in Flume.
    #[default]
    None,
    /// It does; one that is shown must be good, and none is fine.
    Wanted,
    /// Who has none is refused.
    Needed,
}

impl Password {
    /// The password, for who has to send it.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Password {
    fn from(text: &str) -> Self {
        Password(text.to_owned())
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod java_tests;
#[cfg(test)]
mod tests;
