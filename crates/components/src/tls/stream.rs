//! A connection, encrypted or not, and why one did not come about.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection: as it is, or under TLS. Reads and writes are cancel safe as those of `IO` are.
#[derive(Debug)]
pub struct Stream<IO>(Inner<IO>);

#[derive(Debug)]
enum Inner<IO> {
    Plain(IO),
    // Boxed, as it is a thousand bytes and more.
    Encrypted(Box<tokio_rustls::TlsStream<IO>>),
}

/// A handshake failed.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The peer was too slow, or silent.
    #[error(
        "the TLS handshake took longer than 10 seconds; if the peer speaks no TLS, set `ssl` to the same on both sides"
    )]
    TimedOut,
    /// What went wrong and what to do.
    #[error("{0}")]
    Failed(String),
    /// What one side refuses of the other, and what to do: it stays so until somebody does that.
    #[error("{0}")]
    Refused(String),
}

/// Who explains an error.
#[derive(Clone, Copy)]
pub(super) enum Side<'a> {
    Server,
    /// With the place of the certificates that servers are judged by.
    Client(&'a str),
}

impl<IO> Stream<IO> {
    /// A connection that is not encrypted, for code that handles both alike.
    pub const fn plain(io: IO) -> Self {
        Stream(Inner::Plain(io))
    }

    pub(super) fn encrypted(stream: tokio_rustls::TlsStream<IO>) -> Self {
        Stream(Inner::Encrypted(Box::new(stream)))
    }

    /// Whether TLS protects it.
    pub const fn is_encrypted(&self) -> bool {
        matches!(self.0, Inner::Encrypted(_))
    }

    /// What carries the bytes.
    pub fn carrier(&self) -> &IO {
        match &self.0 {
            Inner::Plain(io) => io,
            Inner::Encrypted(stream) => stream.get_ref().0,
        }
    }
}

impl HandshakeError {
    pub(super) fn explain(error: io::Error, side: Side<'_>) -> Self {
        let text = match (tls_error(&error), side) {
            (None, _) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return HandshakeError::Failed(
                    "the peer closed the connection during the TLS handshake; its log may say why"
                        .into(),
                );
            }
            (None, _) => {
                return HandshakeError::Failed(format!("the TLS handshake failed: {error}"));
            }
            (Some(Error::InvalidMessage(InvalidMessage::InvalidContentType)), _) => {
                "the peer does not speak TLS; set `ssl` (and, with deflate, compression) to the same on both sides".into()
            }
            (Some(Error::PeerIncompatible(what)), _) => format!(
                "the peer speaks no protocol or cipher suite that is allowed here ({what:?}); TLS 1.2 and 1.3 with ECDHE \
                 are spoken, see `include-protocols` and `include-cipher-suites`"
            ),
            (Some(Error::AlertReceived(alert)), side) => match refused(*alert, side) {
                Some(text) => text,
                None => {
                    return HandshakeError::Failed(format!(
                        "the peer ends the TLS handshake with the alert {alert:?}"
                    ));
                }
            },
            (Some(Error::InvalidCertificate(why)), Side::Client(trust)) => server_refused(why, trust),
            (Some(Error::NoCertificatesPresented), Side::Server) => {
                "the client shows no certificate, and `client-authentication` needs one".into()
            }
            (Some(Error::InvalidCertificate(why)), Side::Server) => {
                format!("the client's certificate is refused: {}; see `truststore`", reason(why))
            }
            (Some(error), _) => {
                return HandshakeError::Failed(format!("the TLS handshake failed: {error}"));
            }
        };
        HandshakeError::Refused(text)
    }

    /// What a server says of our certificate behind the handshake, if `error` is that: in TLS 1.3 it looks at it when
    /// our side is done.
    pub fn behind_it(error: &io::Error) -> Option<Self> {
        match tls_error(error)? {
            Error::AlertReceived(alert) if OF_CERTIFICATES.contains(alert) => {
                refused(*alert, Side::Client("")).map(HandshakeError::Refused)
            }
            _ => None,
        }
    }

    /// Whether it stays so until somebody changes the settings of either side.
    pub fn needs_hand(&self) -> bool {
        matches!(self, HandshakeError::Refused(_))
    }
}

/// What is said of a certificate.
const OF_CERTIFICATES: [AlertDescription; 8] = [
    AlertDescription::BadCertificate,
    AlertDescription::UnsupportedCertificate,
    AlertDescription::CertificateRevoked,
    AlertDescription::CertificateExpired,
    AlertDescription::CertificateUnknown,
    AlertDescription::CertificateRequired,
    AlertDescription::UnknownCA,
    AlertDescription::AccessDenied,
];

fn tls_error(error: &io::Error) -> Option<&Error> {
    error.get_ref().and_then(|cause| cause.downcast_ref::<Error>())
}

/// What an alert asks for, if it is one that is heard until somebody does that.
fn refused(alert: AlertDescription, side: Side<'_>) -> Option<String> {
    use AlertDescription::{
        BadCertificate, CertificateExpired, CertificateRequired, CertificateUnknown,
        HandshakeFailure, ProtocolVersion, UnknownCA,
    };
    Some(match (alert, side) {
        (CertificateExpired, Side::Server) => {
            "the client refuses our certificate as expired; replace it".into()
        }
        (BadCertificate | CertificateUnknown | UnknownCA, Side::Server) => {
            "the client does not trust our certificate; import it, or who signed it, into the client's trust store".into()
        }
        (CertificateExpired, Side::Client(_)) => {
            "the server refuses our certificate as expired; replace what is in `keystore`".into()
        }
        (CertificateRequired, Side::Client(_)) => {
            "the server wants a certificate; set `keystore` to a key with one that it trusts".into()
        }
        (alert, Side::Client(_)) if OF_CERTIFICATES.contains(&alert) => format!(
            "the server refuses our certificate, or wants one ({alert:?}); set `keystore` to a key with one that it trusts"
        ),
        (HandshakeFailure | ProtocolVersion, _) => {
            "the peer finds no common protocol or cipher suite; TLS 1.2 and 1.3 with ECDHE are spoken here".into()
        }
        _ => return None,
    })
}

fn server_refused(why: &CertificateError, trust: &str) -> String {
    let remedy = match why {
        CertificateError::UnknownIssuer => {
            format!(
                "; import who signed it into {trust} (`keytool -importcert`), which is noticed without a restart"
            )
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "; connect by a name that it is for, or unset `verify-host-name`".to_owned()
        }
        _ => String::new(),
    };
    format!("the server's certificate is refused: {}{remedy}", reason(why))
}

fn reason(why: &CertificateError) -> String {
    match why {
        CertificateError::UnknownIssuer => "nobody that is trusted has signed it".into(),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "it has expired".into()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet".into()
        }
        CertificateError::BadEncoding => {
            "it cannot be read, or is of X.509 version 1; it has to be issued again".into()
        }
        other => other.to_string(),
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for Stream<IO> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Inner::Plain(io) => Pin::new(io).poll_read(cx, buffer),
            Inner::Encrypted(io) => Pin::new(io).poll_read(cx, buffer),
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<IO> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().0 {
            Inner::Plain(io) => Pin::new(io).poll_write(cx, bytes),
            Inner::Encrypted(io) => Pin::new(io).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().0 {
            Inner::Plain(io) => Pin::new(io).poll_write_vectored(cx, parts),
            Inner::Encrypted(io) => Pin::new(io).poll_write_vectored(cx, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.0 {
            Inner::Plain(io) => io.is_write_vectored(),
            Inner::Encrypted(io) => io.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Inner::Plain(io) => Pin::new(io).poll_flush(cx),
            Inner::Encrypted(io) => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Inner::Plain(io) => Pin::new(io).poll_shutdown(cx),
            Inner::Encrypted(io) => Pin::new(io).poll_shutdown(cx),
        }
    }
}
