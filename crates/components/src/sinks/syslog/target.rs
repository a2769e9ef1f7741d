//! Where messages go: a connection, or a socket for datagrams.

use std::io;
use std::time::Duration;

use futures_util::future::FutureExt;
use splashdam_client::{Address, BoxStream, Connect};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UdpSocket, lookup_host};
use tokio::time::timeout;

use super::Messages;
use crate::dialer::Dialer;

/// The target.
pub(super) struct Target {
    address: Address,
    connect_timeout: Duration,
    way: Way,
}

enum Way {
    /// Boxed, as it is much larger than the other.
    Stream {
        dialer: Box<Dialer>,
        open: Option<BoxStream>,
    },
    Datagrams {
        open: Option<UdpSocket>,
    },
}

/// It does not go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum TargetError {
    #[error(
        "{address} cannot be reached: {error}; is the server running, and are host and port right?"
    )]
    Connect { address: Address, error: io::Error },
    #[error(
        "{address} does not answer within {limit:?}; is the port right, or does something drop its packets?"
    )]
    Silent { address: Address, limit: Duration },
    #[error("{address} broke the connection: {error}; its log may say why")]
    Broken { address: Address, error: io::Error },
    #[error("{address} takes no messages: none went out for {limit:?}; it may be overloaded")]
    Stuck { address: Address, limit: Duration },
}

impl Target {
    pub(super) fn stream(address: Address, dialer: Dialer, connect_timeout: Duration) -> Self {
        Target {
            address,
            connect_timeout,
            way: Way::Stream { dialer: Box::new(dialer), open: None },
        }
    }

    pub(super) const fn datagrams(address: Address, connect_timeout: Duration) -> Self {
        Target { address, connect_timeout, way: Way::Datagrams { open: None } }
    }

    pub(super) const fn address(&self) -> &Address {
        &self.address
    }

    /// Whether it is open, as far as can be seen: a server that closed its side reads no more. What
    /// it may have said is of no interest.
    pub(super) fn is_open(&mut self) -> bool {
        match &mut self.way {
            Way::Datagrams { open } => open.is_some(),
            Way::Stream { open: None, .. } => false,
            Way::Stream { open: Some(stream), .. } => {
                let mut said = [0; 512];
                loop {
                    match stream.read(&mut said).now_or_never() {
                        None => return true,
                        Some(Ok(1..)) => {}
                        Some(Ok(0) | Err(_)) => return false,
                    }
                }
            }
        }
    }

    /// Opens it.
    pub(super) async fn open(&mut self) -> Result<(), TargetError> {
        let limit = self.connect_timeout;
        let opened = timeout(limit, Target::opened(&mut self.way, &self.address)).await;
        let address = self.address.clone();
        match opened {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(TargetError::Connect { address, error }),
            Err(_) => Err(TargetError::Silent { address, limit }),
        }
    }

    async fn opened(way: &mut Way, address: &Address) -> io::Result<()> {
        match way {
            Way::Stream { dialer, open } => *open = Some(dialer.connect(address).await?),
            Way::Datagrams { open } => {
                let mut found = lookup_host((address.host.as_str(), address.port)).await?;
                let none = || io::Error::new(io::ErrorKind::NotFound, "the host has no address");
                let server = found.next().ok_or_else(none)?;
                let any = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                let socket = UdpSocket::bind(any).await?;
                socket.connect(server).await?;
                *open = Some(socket);
            }
        }
        Ok(())
    }

    /// Hands all messages to the system.
    pub(super) async fn send(
        &mut self,
        messages: &Messages,
        limit: Duration,
    ) -> Result<(), TargetError> {
        let sent = timeout(limit, Target::sent(&mut self.way, messages)).await;
        let address = self.address.clone();
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(TargetError::Broken { address, error }),
            Err(_) => Err(TargetError::Stuck { address, limit }),
        }
    }

    async fn sent(way: &mut Way, messages: &Messages) -> io::Result<()> {
        match way {
            Way::Stream { open: Some(stream), .. } => {
                stream.write_all(&messages.bytes).await?;
                stream.flush().await
            }
            Way::Datagrams { open: Some(socket) } => {
                let mut start = 0;
                for end in &messages.ends {
                    socket.send(&messages.bytes[start..*end]).await?;
                    start = *end;
                }
                Ok(())
            }
            _ => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Tells the server that nothing more comes, so that it reads to the end.
    pub(super) async fn finish(&mut self, limit: Duration) {
        if let Way::Stream { open: Some(stream), .. } = &mut self.way {
            // Nothing is left to be done about an error.
            drop(timeout(limit, stream.shutdown()).await);
        }
    }

    /// Closes it; whether it was open.
    pub(super) fn close(&mut self) -> bool {
        match &mut self.way {
            Way::Stream { open, .. } => open.take().is_some(),
            Way::Datagrams { open } => open.take().is_some(),
        }
    }
}
