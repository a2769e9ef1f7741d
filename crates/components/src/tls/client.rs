//! The side that connects.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::pki_types::ServerName;
use rustls::sign::CertifiedKey;
use splashdam_core::{Cause, Context, OpenError, World};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tracing::warn;

use super::ClientTls;
use super::fallback::Global;
use super::key_store::{Place, StoreError, Wanted, unopened};
use super::names::Names;
use super::reloading::Reloading;
use super::server::{HANDSHAKE, Keys, WorldTime};
use super::stream::{HandshakeError, Side, Stream};
use super::trust::{JudgesServers, Trust};

/// Shakes hands with servers.
pub struct Connector {
    config: Reloading<ClientConfig>,
    verify_host_name: bool,
    /// For messages: where the certificates lie that servers are judged by.
    trust: String,
}

/// What a configuration is made of.
struct Recipe {
    names: Names,
    trust: Judged,
    key_store: Option<Place>,
    verify_host_name: bool,
}

enum Judged {
    ByStore(Place),
    BySystem,
    NotAtAll,
}

/// The key to show.
#[derive(Debug)]
struct Shown(Option<Arc<CertifiedKey>>);

impl ClientTls {
    /// What connections are made with; `None` when they are not encrypted.
    ///
    /// # Errors
    /// [`OpenError::Config`] when the settings cannot be met, [`OpenError::Unavailable`] when a file of theirs
    /// cannot be used as it is now.
    pub async fn connector(&self, cx: &Context) -> Result<Option<Connector>, OpenError> {
        if !self.ssl {
            return Ok(None);
        }
        let global = Global(&*cx.world);
        let names = self.names(global);
        names.allowed().map_err(OpenError::config)?;
        let key_store = self.key_store(global)?;
        let trust = match self.trust_store(global)? {
            _ if self.trust_all_certs => Judged::NotAtAll,
            Some(place) => Judged::ByStore(place),
            None => Judged::BySystem,
        };
        if self.trust_all_certs {
            warn!(component = %cx.title(), "trust-all-certs is set: whoever answers is taken for the server");
        }
        let described = match &trust {
            Judged::ByStore(place) => place.path.display().to_string(),
            Judged::BySystem | Judged::NotAtAll => "the system's certificates".to_owned(),
        };
        let verify_host_name = self.verify_host_name;
        let recipe = Recipe { names, trust, key_store, verify_host_name };
        let (files, title, world) = (recipe.files(), cx.title(), cx.world.clone());
        let config = Reloading::new(cx.clone(), files, move || recipe.make(&title, &world)).await;
        let config = config.map_err(unopened)?;
        Ok(Some(Connector { config, verify_host_name, trust: described }))
    }
}

impl Recipe {
    fn files(&self) -> Vec<std::path::PathBuf> {
        let trust = if let Judged::ByStore(place) = &self.trust { Some(place) } else { None };
        let places = trust.into_iter().chain(&self.key_store);
        places.flat_map(Place::files).map(ToOwned::to_owned).collect()
    }

    fn make(&self, title: &str, world: &Arc<dyn World>) -> Result<ClientConfig, Cause> {
        let allowed = self.names.allowed()?;
        let provider = allowed.provider;
        let trust = match &self.trust {
            Judged::NotAtAll => None,
            Judged::BySystem => Some(Trust::of_system().map_err(|_| {
                "this system has no certificates to judge the server by; set `truststore`, or install the package ca-certificates"
            })?),
            Judged::ByStore(place) => {
                let damaged = |damage| StoreError { path: place.path.clone(), damage };
                Some(Trust::of(place.read(Wanted::Trust)?).map_err(damaged)?)
            }
        };
        let shown = match &self.key_store {
            None => None,
            Some(place) => {
                let keys = Keys::of(place, &provider)?;
                keys.warn_of_age(title, place, world.now_millis() / 1000);
                keys.first()
            }
        };
        let judge = JudgesServers {
            trust,
            verify_host_name: self.verify_host_name,
            algorithms: provider.signature_verification_algorithms,
        };
        let time = Arc::new(WorldTime(world.clone()));
        let mut config = ClientConfig::builder_with_details(provider, time)
            .with_protocol_versions(&allowed.versions)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(judge))
            .with_client_cert_resolver(Arc::new(Shown(shown)));
        // Connections last, and sessions would be remembered by names that need not be those of one server.
        config.resumption = Resumption::disabled();
        Ok(config)
    }
}

impl Connector {
    /// Shakes hands over `io` with the server called `host`, a name or an address.
    ///
    /// # Errors
    /// Why the server is not trusted or not understood, or that it took longer than ten seconds. Dropping the
    /// future closes `io`.
    pub async fn connect<IO>(&self, io: IO, host: &str) -> Result<Stream<IO>, HandshakeError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let name = match ServerName::try_from(host) {
            Ok(name) => name.to_owned(),
            Err(_) if self.verify_host_name => {
                return Err(HandshakeError::Refused(format!(
                    "{host} is no name that a certificate could be for; connect by another"
                )));
            }
            // A name is of use to the server only, if at all; an address makes that none is sent.
            Err(_) => ServerName::from(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        };
        let config = self.config.current().await;
        let connector = tokio_rustls::TlsConnector::from(config);
        match timeout(HANDSHAKE, connector.connect(name, io)).await {
            Ok(Ok(stream)) => Ok(Stream::encrypted(stream.into())),
            Ok(Err(error)) => Err(HandshakeError::explain(error, Side::Client(&self.trust))),
            Err(_) => Err(HandshakeError::TimedOut),
        }
    }
}

impl ResolvesClientCert for Shown {
    fn resolve(
        &self,
        _hints: &[&[u8]],
        schemes: &[rustls::SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        self.0.clone().filter(|key| key.key.choose_scheme(schemes).is_some())
    }

    fn has_certs(&self) -> bool {
        self.0.is_some()
    }
}
