//! The side that is connected to.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::UnixTime;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use splashdam_core::{Cause, Context, OpenError, World};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tracing::warn;

use super::fallback::Global;
use super::key_store::{Damage, KeyStore, Place, StoreError, Wanted, unopened};
use super::names::Names;
use super::reloading::Reloading;
use super::stream::{HandshakeError, Side, Stream};
use super::trust::{JudgesClients, Trust};
use super::x509::Parts;
use super::{ClientAuthentication, ServerTls};

/// How long a handshake may take, as in Netty.
pub(crate) const HANDSHAKE: Duration = Duration::from_secs(10);

/// When the end of a certificate is near enough to be mentioned, in seconds.
const SOON: i64 = 14 * 24 * 60 * 60;

/// Shakes hands with clients.
pub struct Acceptor {
    config: Reloading<ServerConfig>,
}

/// The keys of a store; a client is shown the first that it understands.
#[derive(Debug)]
pub(super) struct Keys(Vec<Arc<CertifiedKey>>);

/// The time of the world that components live in.
pub(super) struct WorldTime(pub(super) Arc<dyn World>);

impl ServerTls {
    /// What connections are accepted with; `None` when they are not encrypted.
    ///
    /// # Errors
    /// [`OpenError::Config`] when the settings cannot be met, [`OpenError::Unavailable`] when a file of theirs
    /// cannot be used as it is now.
    pub async fn acceptor(&self, cx: &Context) -> Result<Option<Acceptor>, OpenError> {
        if !self.ssl {
            return Ok(None);
        }
        let global = Global(&*cx.world);
        let names = self.names(global);
        names.allowed().map_err(OpenError::config)?;
        let key_store = self.key_store(global)?.ok_or_else(|| {
            OpenError::config(
                "`ssl` is true and there is no key store; set `keystore` and `keystore-password`, or -Djavax.net.ssl.keyStore \
                 for all components",
            )
        })?;
        let clients = match self.client_authentication {
            ClientAuthentication::None => None,
            asked => {
                let trust_store = self.trust_store(global)?.ok_or_else(|| {
                    OpenError::config(
                        "`client-authentication` needs certificates to judge clients by; set `truststore`",
                    )
                })?;
                Some((trust_store, asked == ClientAuthentication::Needed))
            }
        };
        let files = key_store.files().chain(clients.iter().flat_map(|(store, _)| store.files()));
        let files = files.map(ToOwned::to_owned).collect();
        let (title, world) = (cx.title(), cx.world.clone());
        let make = move || server_config(&names, &key_store, clients.as_ref(), &title, &world);
        let config = Reloading::new(cx.clone(), files, make).await;
        Ok(Some(Acceptor { config: config.map_err(unopened)? }))
    }
}

impl Acceptor {
    /// Shakes hands over `io`.
    ///
    /// # Errors
    /// What the client did wrong, or that it took longer than ten seconds. Dropping the future closes `io`.
    pub async fn accept<IO>(&self, io: IO) -> Result<Stream<IO>, HandshakeError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let config = self.config.current().await;
        let shaken = timeout(HANDSHAKE, tokio_rustls::TlsAcceptor::from(config).accept(io)).await;
        match shaken {
            Ok(Ok(stream)) => Ok(Stream::encrypted(stream.into())),
            Ok(Err(error)) => Err(HandshakeError::explain(error, Side::Server)),
            Err(_) => Err(HandshakeError::TimedOut),
        }
    }
}

fn server_config(
    names: &Names,
    key_store: &Place,
    clients: Option<&(Place, bool)>,
    title: &str,
    world: &Arc<dyn World>,
) -> Result<ServerConfig, Cause> {
    let allowed = names.allowed()?;
    let provider = allowed.provider;
    let keys = Keys::of(key_store, &provider)?;
    keys.warn_of_age(title, key_store, world.now_millis() / 1000);
    let judge: Arc<dyn ClientCertVerifier> = match clients {
        None => WebPkiClientVerifier::no_client_auth(),
        Some((place, mandatory)) => {
            let damaged = |damage| StoreError { path: place.path.clone(), damage };
            let trust = Trust::of(place.read(Wanted::Trust)?).map_err(damaged)?;
            Arc::new(JudgesClients::new(trust, *mandatory, &provider).map_err(damaged)?)
        }
    };
    let time = Arc::new(WorldTime(world.clone()));
    Ok(ServerConfig::builder_with_details(provider, time)
        .with_protocol_versions(&allowed.versions)?
        .with_client_cert_verifier(judge)
        .with_cert_resolver(Arc::new(keys)))
}

impl Keys {
    /// The keys of a store that can be used.
    pub(super) fn of(place: &Place, provider: &CryptoProvider) -> Result<Self, StoreError> {
        let KeyStore { keys: entries, .. } = place.read(Wanted::Keys)?;
        let (mut keys, mut trouble) = (Vec::new(), Damage::NoKey);
        for entry in entries {
            let unusable = |what| Damage::Key { alias: entry.alias.clone(), what };
            let Some(key) = entry.key else { continue };
            let Ok(key) = provider.key_provider.load_private_key(key) else {
                trouble = unusable("its kind is not spoken; make an RSA or EC key");
                continue;
            };
            if entry.chain.is_empty() {
                trouble = unusable("it has no certificate");
                continue;
            }
            let key = CertifiedKey::new(entry.chain, key);
            if matches!(
                key.keys_match(),
                Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch))
            ) {
                trouble = unusable("its certificate is for another key");
                continue;
            }
            keys.push(Arc::new(key));
        }
        if keys.is_empty() {
            return Err(StoreError { path: place.path.clone(), damage: trouble });
        }
        Ok(Keys(keys))
    }

    /// The first key.
    pub(super) fn first(&self) -> Option<Arc<CertifiedKey>> {
        self.0.first().cloned()
    }

    /// Says which certificates have come or come to their end.
    pub(super) fn warn_of_age(&self, component: &str, place: &Place, now: i64) {
        let leaves = self.0.iter().filter_map(|key| key.cert.first());
        for certificate in leaves.filter_map(|leaf| Parts::of(leaf)) {
            let until = certificate.not_after;
            if until > now.saturating_add(SOON) {
                continue;
            }
            let ends = jiff::Timestamp::from_second(until).unwrap_or(jiff::Timestamp::MAX);
            let key_store = place.path.display();
            warn!(%component, %key_store, %ends, "the certificate {}; replace the file, which is noticed without a restart",
                if until < now { "has expired, and peers will refuse it" } else { "expires soon" });
        }
    }
}

impl ResolvesServerCert for Keys {
    fn resolve(&self, client: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let understood =
            |key: &&Arc<CertifiedKey>| key.key.choose_scheme(client.signature_schemes()).is_some();
        self.0.iter().find(understood).or(self.0.first()).cloned()
    }
}

impl TimeProvider for WorldTime {
    fn current_time(&self) -> Option<UnixTime> {
        let millis = u64::try_from(self.0.now_millis()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_millis(millis)))
    }
}

impl fmt::Debug for WorldTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WorldTime")
    }
}
