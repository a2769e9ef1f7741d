//! The connections of a client: one for each server and service, made when it is first needed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Mutex as AsyncMutex;

use crate::config::Config;
use crate::connection::{Connection, Service};
use crate::error::Error;
use crate::model::Address;

/// One for whoever asks first; others wait for it instead of connecting as well.
type Slot = Arc<AsyncMutex<Option<Connection>>>;

#[derive(Debug, Default)]
pub(crate) struct Servers(Mutex<HashMap<(Address, Service), Slot>>);

impl Servers {
    /// The open connection, or a new one.
    pub(crate) async fn connection(
        &self,
        server: &Address,
        service: Service,
        config: &Config,
    ) -> Result<Connection, Error> {
        let slot = self.lock().entry((server.clone(), service)).or_default().clone();
        let mut slot = slot.lock().await;
        if let Some(connection) = slot.as_ref().filter(|connection| connection.is_open()) {
            return Ok(connection.clone());
        }
        let connection = Connection::open(server, service, config).await?;
        *slot = Some(connection.clone());
        Ok(connection)
    }

    /// Forgets the connections to a server. Calls under way on them end in their own time.
    pub(crate) fn leave(&self, server: &Address) {
        self.lock().retain(|(known, _), _| known != server);
    }

    // The map changes entry by entry, so a panic elsewhere leaves it whole.
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(Address, Service), Slot>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
