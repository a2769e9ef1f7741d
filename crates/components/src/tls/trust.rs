//! Whom to trust, as Java does, which differs from webpki in these: a certificate that lies in the trust store itself
//! is good, whatever it says of itself and however old it is; one that may sign others may also speak for a server;
//! the host's name is looked at only when asked for.

use std::collections::HashSet;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme,
};

use super::key_store::{Damage, KeyStore};
use super::x509::Parts;

/// The certificates of a trust store.
#[derive(Debug)]
pub(super) struct Trust {
    anchors: HashSet<CertificateDer<'static>>,
    roots: Arc<RootCertStore>,
}

/// Judges a server's certificate.
#[derive(Debug)]
pub(super) struct JudgesServers {
    /// `None` accepts everybody.
    pub(super) trust: Option<Trust>,
    pub(super) verify_host_name: bool,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

/// Judges a client's certificate.
#[derive(Debug)]
pub(super) struct JudgesClients {
    trust: Trust,
    chains: Arc<dyn ClientCertVerifier>,
    mandatory: bool,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Trust {
    /// What a store makes trusted: its certificates, and of each key its own, as in Java.
    pub(super) fn of(store: KeyStore) -> Result<Self, Damage> {
        let own = store.keys.into_iter().filter_map(|key| key.chain.into_iter().next());
        Trust::of_certificates(store.certificates.into_iter().chain(own))
    }

    /// The certificates that this system trusts.
    pub(super) fn of_system() -> Result<Self, Damage> {
        Trust::of_certificates(rustls_native_certs::load_native_certs().certs)
    }

    fn of_certificates(
        certificates: impl IntoIterator<Item = CertificateDer<'static>>,
    ) -> Result<Self, Damage> {
        let anchors: HashSet<_> = certificates.into_iter().collect();
        if anchors.is_empty() {
            return Err(Damage::NoTrust);
        }
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(anchors.iter().cloned());
        Ok(Trust { anchors, roots: Arc::new(roots) })
    }

    /// Judges what webpki refused for a reason that is none for Java.
    fn second_look(
        &self,
        refused: Error,
        leaf: &CertificateDer<'_>,
        now: UnixTime,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<(), Error> {
        let unknown = || Error::InvalidCertificate(CertificateError::UnknownIssuer);
        if is_namesake(&refused) {
            return Err(unknown());
        }
        if !is_authority(&refused) {
            return Err(refused);
        }
        // An authority that one in the store vouches for; deeper chains under it are not followed.
        let leaf = Parts::of(leaf).ok_or_else(unknown)?;
        if !leaf.is_valid_at(now) {
            return Err(Error::InvalidCertificate(CertificateError::Expired));
        }
        let mut anchors = self.anchors.iter().filter_map(|anchor| Parts::of(anchor));
        let vouched = anchors.any(|anchor| leaf.is_signed_by(&anchor, algorithms.all));
        vouched.then_some(()).ok_or_else(unknown)
    }
}

/// Whether a certificate was refused since it may sign others.
fn is_authority(error: &Error) -> bool {
    let Error::InvalidCertificate(CertificateError::Other(other)) = error else { return false };
    matches!(other.0.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
}

/// Whether one in the store has the name of who signed, and another key: mostly a certificate that was made anew.
fn is_namesake(error: &Error) -> bool {
    use CertificateError::{BadSignature, UnsupportedSignatureAlgorithmForPublicKeyContext};
    let Error::InvalidCertificate(why) = error else { return false };
    matches!(why, BadSignature | UnsupportedSignatureAlgorithmForPublicKeyContext { .. })
}

impl ServerCertVerifier for JudgesServers {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        host: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(trust) = &self.trust else { return Ok(ServerCertVerified::assertion()) };
        let parsed = ParsedCertificate::try_from(leaf)?;
        if !trust.anchors.contains(leaf) {
            let algorithms = &self.algorithms;
            verify_server_cert_signed_by_trust_anchor(
                &parsed,
                &trust.roots,
                intermediates,
                now,
                algorithms.all,
            )
            .or_else(|refused| trust.second_look(refused, leaf, now, algorithms))?;
        }
        if self.verify_host_name {
            verify_server_name(&parsed, host)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl JudgesClients {
    pub(super) fn new(
        trust: Trust,
        mandatory: bool,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, Damage> {
        let roots = trust.roots.clone();
        let chains = WebPkiClientVerifier::builder_with_provider(roots, provider.clone()).build();
        let chains = chains.map_err(|_| Damage::NoTrust)?;
        let algorithms = provider.signature_verification_algorithms;
        Ok(JudgesClients { trust, chains, mandatory, algorithms })
    }
}

impl ClientCertVerifier for JudgesClients {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chains.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if !self.trust.anchors.contains(leaf) {
            let judged = self.chains.verify_client_cert(leaf, intermediates, now).map(|_| ());
            judged
                .or_else(|refused| self.trust.second_look(refused, leaf, now, &self.algorithms))?;
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
