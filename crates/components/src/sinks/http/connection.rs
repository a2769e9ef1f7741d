//! The connection of the HTTP sink: one request after the other, each within its time.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{
    ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderValue, TRANSFER_ENCODING, USER_AGENT,
};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use splashdam_client::Address;
use splashdam_client::connect::tcp;
use splashdam_core::metrics::SinkMetrics;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::Endpoint;
use crate::tls::Connector;

/// Bytes of an answer's body that are read so that the connection can be used again …
const ANSWER_BYTES: usize = 64 * 1024;
/// … and how long they may take: what the server thinks is known by then.
const ANSWER_TIME: Duration = Duration::from_secs(1);

/// Posts to one endpoint.
pub(super) struct Client {
    pub(super) endpoint: Endpoint,
    pub(super) connector: Option<Connector>,
    pub(super) content_type: HeaderValue,
    pub(super) accept: HeaderValue,
    pub(super) connect_timeout: Duration,
    pub(super) request_timeout: Duration,
    pub(super) metrics: Arc<SinkMetrics>,
    pub(super) open: Option<Open>,
}

/// A connection that is open.
pub(super) struct Open {
    sender: SendRequest<Full<Bytes>>,
    /// Moves the bytes; ends with the connection.
    driver: JoinHandle<()>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// A request was not answered. It may have been taken all the same.
#[derive(Debug, thiserror::Error)]
pub(super) enum PostError {
    #[error("cannot connect to {to}: {why}")]
    Connect { to: Address, why: String },
    #[error("no answer from {to} within {after:?} (requestTimeout)")]
    NoAnswer { to: Address, after: Duration },
    #[error("the request to {to} failed: {why}")]
    Failed { to: Address, why: hyper::Error },
}

impl Client {
    /// Posts a body; the answer's status. A connection that the server closed since the last request
    /// is replaced once, as it was not at fault.
    pub(super) async fn post(&mut self, body: Bytes) -> Result<StatusCode, PostError> {
        let kept = self.open.is_some();
        let mut outcome = self.post_once(body.clone()).await;
        if kept && matches!(&outcome, Err(PostError::Failed { why, .. }) if was_not_sent(why)) {
            self.hang_up();
            outcome = self.post_once(body).await;
        }
        if outcome.is_err() {
            self.hang_up();
        }
        outcome
    }

    /// Closes the connection.
    pub(super) fn hang_up(&mut self) {
        if self.open.take().is_some() {
            self.metrics.connections_closed.add(1);
        }
    }

    async fn post_once(&mut self, body: Bytes) -> Result<StatusCode, PostError> {
        let to = self.address();
        let request = self.request(body);
        let mut open = match self.open.take() {
            Some(open) if !open.sender.is_closed() => open,
            other => {
                self.metrics.connections_closed.add(usize::from(other.is_some()));
                self.connect().await?
            }
        };
        let exchange = async {
            open.sender.ready().await?;
            open.sender.send_request(request).await
        };
        match timeout(self.request_timeout, exchange).await {
            Ok(Ok(answer)) => {
                let status = answer.status();
                self.open = Some(open);
                // Whatever becomes of its body, the answer is there.
                if !timeout(ANSWER_TIME, drained(answer)).await.unwrap_or(false) {
                    self.hang_up();
                }
                Ok(status)
            }
            Ok(Err(why)) => {
                self.metrics.connections_closed.add(1);
                Err(PostError::Failed { to, why })
            }
            Err(_) => {
                self.metrics.connections_closed.add(1);
                Err(PostError::NoAnswer { to, after: self.request_timeout })
            }
        }
    }

    async fn connect(&self) -> Result<Open, PostError> {
        let after = self.connect_timeout;
        let connected = timeout(after, self.handshake()).await;
        let connected =
            connected.unwrap_or_else(|_| Err(format!("nobody answered within {after:?}")));
        let counter = match &connected {
            Ok(_) => &self.metrics.connections_created,
            Err(_) => &self.metrics.connections_failed,
        };
        counter.add(1);
        connected.map_err(|why| PostError::Connect { to: self.address(), why })
    }

    async fn handshake(&self) -> Result<Open, String> {
        let text = |error: io::Error| error.to_string();
        let stream = tcp(&self.address()).await.map_err(text)?;
        let io: Box<dyn splashdam_client::connect::Stream> = match &self.connector {
            None => Box::new(stream),
            Some(tls) => {
                let shaken = tls.connect(stream, &self.endpoint.host).await;
                Box::new(shaken.map_err(|error| error.to_string())?)
            }
        };
        let (sender, connection) =
            handshake(TokioIo::new(io)).await.map_err(|error| error.to_string())?;
        // What ends it shows in the request that is under way, or in the next.
        let driver = tokio::spawn(async move { drop(connection.await) });
        Ok(Open { sender, driver })
    }

    fn address(&self) -> Address {
        Address { host: self.endpoint.host.clone(), port: self.endpoint.port }
    }

    fn request(&self, body: Bytes) -> Request<Full<Bytes>> {
        const AGENT: HeaderValue =
            HeaderValue::from_static(concat!("splashdam/", env!("CARGO_PKG_VERSION")));
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = hyper::Method::POST;
        *request.uri_mut() = self.endpoint.target.clone();
        let headers = request.headers_mut();
        // An authority of a URL is a value.
        if let Ok(host) = HeaderValue::from_str(&self.endpoint.authority) {
            headers.insert(HOST, host);
        }
        headers.insert(USER_AGENT, AGENT);
        headers.insert(CONTENT_TYPE, self.content_type.clone());
        headers.insert(ACCEPT, self.accept.clone());
        request
    }
}

/// Reads an answer's body away; whether it came to its end, so that another request can follow.
async fn drained(mut answer: Response<Incoming>) -> bool {
    let has = |header| answer.headers().contains_key(header);
    if !answer.body().is_end_stream() && !has(CONTENT_LENGTH) && !has(TRANSFER_ENCODING) {
        // It ends when the server closes, and then nothing can follow.
        return false;
    }
    let mut read = 0;
    while let Some(frame) = answer.frame().await {
        let Ok(frame) = frame else { return false };
        read += frame.data_ref().map_or(0, Bytes::len);
        if read > ANSWER_BYTES {
            return false;
        }
    }
    true
}

/// Whether a request surely did not reach the server.
fn was_not_sent(error: &hyper::Error) -> bool {
    error.is_canceled() || error.is_closed()
}
