//! How a server is reached.

use std::fmt;
use std::io;
use std::str::FromStr;
use std::time::Duration;

use rustix::net::sockopt;
use splashdam_core::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::CallError;

/// A connection is asked for a sign of life after this much silence …
const KEEP_ALIVE_IDLE: Duration = Duration::from_secs(60);
/// … and then this often …
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// … until this many went unanswered.
const KEEP_ALIVE_COUNT: u32 = 4;

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    /// A name or an address.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

/// It is not `host:port`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no address; write `host:port`, or `[address]:port` for IPv6")]
pub struct NoAddress(String);

impl FromStr for Address {
    type Err = NoAddress;

    /// Reads `host:port`. As in Flume there is one colon, but that an IPv6 address between brackets
    /// is understood too.
    fn from_str(text: &str) -> Result<Self, NoAddress> {
        let wrong = || NoAddress(text.to_owned());
        let (host, port) = text.trim().rsplit_once(':').ok_or_else(wrong)?;
        let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let plain = Some(host).filter(|host| !host.contains(':'));
        let host = inner.or(plain).map(str::trim).filter(|host| !host.is_empty());
        let port = port.trim().parse().map_err(|_| wrong())?;
        Ok(Address { host: host.ok_or_else(wrong)?.to_owned(), port })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Address { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

/// What goes both ways.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A connection of any kind.
pub type BoxStream = Box<dyn Stream>;

/// Makes connections: plain ones, or with something around them, such as TLS.
pub trait Connect: Send + Sync + 'static {
    /// A connection that is ready for the first call. Who calls limits the time.
    fn connect<'a>(&'a self, address: &'a Address) -> BoxFuture<'a, io::Result<BoxStream>>;
}

/// Makes connections without anything around them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plain;

impl Connect for Plain {
    fn connect<'a>(&'a self, address: &'a Address) -> BoxFuture<'a, io::Result<BoxStream>> {
        Box::pin(async move { Ok(Box::new(tcp(address).await?) as BoxStream) })
    }
}

/// A TCP connection that sends at once and notices a peer that vanished.
///
/// # Errors
/// The name has no address, or nobody listens there.
pub async fn tcp(address: &Address) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((address.host.as_str(), address.port)).await?;
    stream.set_nodelay(true)?;
    keep_alive(&stream)?;
    Ok(stream)
}

/// A connection that is made within `limit`.
pub(crate) async fn within(
    limit: Duration,
    connect: &dyn Connect,
    address: &Address,
) -> Result<BoxStream, CallError> {
    let connected = match timeout(limit, connect.connect(address)).await {
        Ok(connected) => connected,
        Err(_) => {
            let what = format!("nobody answered within {limit:?}");
            Err(io::Error::new(io::ErrorKind::TimedOut, what))
        }
    };
    connected.map_err(|source| CallError::Connect { address: address.clone(), source })
}

/// Has the system ask a silent peer for a sign of life, so that one that vanished without a word is
/// noticed after two minutes.
///
/// # Errors
/// What the system says.
pub fn keep_alive(stream: &TcpStream) -> io::Result<()> {
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEP_ALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(stream, KEEP_ALIVE_INTERVAL)?;
    Ok(sockopt::set_tcp_keepcnt(stream, KEEP_ALIVE_COUNT)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_in_flume() {
        let check = |text: &str, want: Option<(&str, u16)>| {
            let read = text.parse::<Address>().ok();
            let read = read.as_ref().map(|address| (address.host.as_str(), address.port));
            assert_eq!(read, want, "{text}");
        };
        check("mill:4141", Some(("mill", 4141)));
        check(" 192.0.2.7:1 ", Some(("192.0.2.7", 1)));
        check("[::1]:4141", Some(("::1", 4141)));
        for wrong in ["", "mill", "mill:", ":4141", "mill:x", "mill:70000", "a:b:1", "::1:4141"] {
            check(wrong, None);
        }
        assert_eq!("[::1]:4141".parse::<Address>().unwrap().to_string(), "[::1]:4141");
        assert_eq!("mill:4141".parse::<Address>().unwrap().to_string(), "mill:4141");
    }
}
