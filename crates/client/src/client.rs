//! A client: one server, or several of which some may be away.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use splashdam_core::{Event, Random};
use tokio::time::Instant;

use crate::balance::Balance;
use crate::host::Host;
use crate::settings::{Kind, Settings};
use crate::{CallError, Connect, DeliveryError, Plain};

/// Sends events. Shared by reference, it may be used by any number of tasks at once.
pub struct Client {
    settings: Settings,
    hosts: Vec<Host>,
    /// The server that took the last call, for failover.
    current: AtomicUsize,
    balance: Mutex<Balance>,
}

impl Client {
    /// A client over plain TCP. Nothing is connected before the first call.
    ///
    /// # Errors
    /// The settings want TLS or compression, which take [`Client::with`].
    pub fn new(settings: Settings) -> Result<Self, NotPlain> {
        if settings.ssl || settings.deflate.is_some() {
            return Err(NotPlain);
        }
        Ok(Client::with(settings, Arc::new(Plain)))
    }

    /// A client whose connections are made by `connect`, which sees to TLS and compression.
    pub fn with(settings: Settings, connect: Arc<dyn Connect>) -> Self {
        let host =
            |address: &crate::Address| Host::new(address.clone(), &settings, connect.clone());
        let hosts: Vec<Host> = settings.hosts.iter().map(host).collect();
        let (random, back_off) = match settings.kind {
            Kind::LoadBalance { random, back_off } => (random, back_off),
            _ => (false, None),
        };
        // A seed that differs from client to client; it need not be secret.
        let random = random.then(|| Random::new(RandomState::new().hash_one(())));
        let balance = Mutex::new(Balance::new(hosts.len(), random, back_off));
        Client { settings, hosts, current: AtomicUsize::new(0), balance }
    }

    /// Sends one event and waits until a server's channels have it; see [`Client::append_batch`].
    ///
    /// # Errors
    /// [`DeliveryError`].
    pub async fn append(&self, event: &Event) -> Result<(), DeliveryError> {
        self.append_batch(std::slice::from_ref(event)).await
    }

    /// Sends events, in order, and waits until a server's channels have all of them. After an error
    /// none, some or all may be there, as with Flume's clients: who sends them again may have some
    /// twice. Dropping the future gives the call up and closes its connection.
    ///
    /// # Errors
    /// [`DeliveryError`], with what each server that was tried had to say.
    pub async fn append_batch(&self, events: &[Event]) -> Result<(), DeliveryError> {
        if events.is_empty() {
            return Ok(());
        }
        let mut failures = Vec::new();
        for server in self.order() {
            let Err(error) = self.hosts[server].send(events, &self.settings).await else {
                self.current.store(server, Relaxed);
                return Ok(());
            };
            let hopeless = matches!(error, CallError::TooLarge(_));
            failures.push(error);
            if hopeless {
                break;
            }
            self.balance().failed(Instant::now(), server);
        }
        Err(DeliveryError { failures })
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Which servers are tried for a call.
    fn order(&self) -> Vec<usize> {
        match self.settings.kind {
            Kind::Default | Kind::Thrift(_) => vec![0],
            Kind::Failover { max_attempts } => {
                let (first, count) = (self.current.load(Relaxed), self.hosts.len());
                (first..first + max_attempts.get()).map(|server| server % count).collect()
            }
            Kind::LoadBalance { .. } => self.balance().order(Instant::now()),
        }
    }

    // Turns are whole after each step, so a panic elsewhere leaves them so.
    fn balance(&self) -> std::sync::MutexGuard<'_, Balance> {
        self.balance.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The settings want TLS or compression.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`ssl` and `compression-type` need connections of another kind; see `Client::with`")]
pub struct NotPlain;

#[cfg(test)]
mod tests;
