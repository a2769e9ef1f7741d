//! One server and the connections to it.

use std::sync::{Arc, Mutex, PoisonError};

use splashdam_core::Event;
use tokio::sync::Semaphore;

use crate::settings::{Kind, Settings};
use crate::{Address, CallError, Connect, avro, thrift};

/// A server. Calls share its connections; there are never more than was said.
pub(crate) struct Host {
    address: Address,
    connect: Arc<dyn Connect>,
    slots: Semaphore,
    /// Connections that nobody uses now, the last used one last.
    idle: Mutex<Vec<Connection>>,
}

enum Connection {
    Avro(avro::Connection),
    Thrift(thrift::Connection),
}

impl Host {
    pub(crate) fn new(address: Address, settings: &Settings, connect: Arc<dyn Connect>) -> Self {
        let slots = settings.max_connections.get().min(Semaphore::MAX_PERMITS);
        Host { address, connect, slots: Semaphore::new(slots), idle: Mutex::default() }
    }

    /// Sends events on a connection, in calls of the batch size. Dropped on the way it closes the
    /// connection.
    pub(crate) async fn send(
        &self,
        events: &[Event],
        settings: &Settings,
    ) -> Result<(), CallError> {
        // The semaphore is never closed.
        let _slot = self.slots.acquire().await;
        let idle = self.idle().pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => self.open(settings).await?,
        };
        let mut sent = Ok(());
        for call in events.chunks(settings.batch_size.get()) {
            sent = connection.send(call, settings).await;
            if sent.is_err() {
                break;
            }
        }
        if connection.is_usable() {
            self.idle().push(connection);
        }
        sent
    }

    async fn open(&self, settings: &Settings) -> Result<Connection, CallError> {
        let (connect, address) = (&*self.connect, self.address.clone());
        let limit = settings.connect_timeout;
        Ok(match settings.kind {
            Kind::Thrift(protocol) => Connection::Thrift(
                thrift::Connection::open(connect, address, protocol, limit).await?,
            ),
            _ => Connection::Avro(avro::Connection::open(connect, address, limit).await?),
        })
    }

    // The list is only ever pushed to and popped from, so a panic elsewhere leaves it whole.
    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    async fn send(&mut self, call: &[Event], settings: &Settings) -> Result<(), CallError> {
        let limit = settings.request_timeout;
        match self {
            Connection::Avro(connection) => connection.append_batch(call, limit).await,
            Connection::Thrift(connection) => connection.append_batch(call, limit).await,
        }
    }

    fn is_usable(&self) -> bool {
        match self {
            Connection::Avro(connection) => connection.is_usable(),
            Connection::Thrift(connection) => connection.is_usable(),
        }
    }
}
