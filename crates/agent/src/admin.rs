//! The monitoring server: JSON as Flume serves it, Prometheus text, health.
//!
//! Flume: `HTTPMetricsServer`, chosen by `-Dflume.monitoring.type=http`. Served: `/metrics` (JSON
//! with all values as strings; Prometheus text under type `prometheus`), `/metrics/json`,
//! `/metrics/prometheus`, `/healthz`, `/readyz`, `/flowz`, `/ledger`, and `/` for people. As in Flume paths of metrics
//! are matched in any case, TRACE and OPTIONS are answered 403, and other methods are all GET.

mod choice;
mod json;
mod process;
mod prometheus;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use splashdam_core::metrics::Registry;
use splashdam_core::{Stop, Trouble};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tracing::{info, warn};

pub use choice::{Choice, ChoiceError, Form, Monitoring};
pub use json::java_double;

use crate::health::{Health, Problem, Verdict};
use crate::ledger::Bookkeeper;
use crate::status::Board;

/// Connections at once. One more takes the place of the oldest that has asked for nothing yet, so
/// that clients that only hold connections keep nobody from asking after health.
const CONNECTIONS: usize = 512;
/// A connection carries one exchange, which may take this long.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(30);
/// The request's head must come within this time.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// The most bytes of a request's head.
const HEAD_LIMIT_BYTES: usize = 16 << 10;
/// The most header lines of a request.
const HEAD_LIMIT_LINES: usize = 64;
/// How often progress is looked at between requests.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long to wait after a failed accept, such as for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A bound server that does not serve yet.
pub struct Admin {
    listener: TcpListener,
    form: Form,
    connections: usize,
}

/// The address could not be bound.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen on {at} for monitoring: {cause}; choose another port with -Dflume.monitoring.port"
)]
pub struct BindError {
    at: String,
    #[source]
    cause: io::Error,
}

/// What answers are made of.
struct Served {
    registry: Registry,
    board: Board,
    ledger: Bookkeeper,
    health: Mutex<Health>,
    /// The agent's.
    stopping: Stop,
    form: Form,
}

impl Admin {
    /// Binds the address that was chosen; without a host all interfaces, as in Flume.
    pub async fn bind(monitoring: &Monitoring) -> Result<Self, BindError> {
        let port = monitoring.port;
        let bound = match &monitoring.host {
            Some(host) => TcpListener::bind((host.as_str(), port)).await,
            // Where there is no IPv6, the first one fails.
            None => match TcpListener::bind(("::", port)).await {
                Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
                    TcpListener::bind(("0.0.0.0", port)).await
                }
                bound => bound,
            },
        };
        let at = || format!("{}:{port}", monitoring.host.as_deref().unwrap_or("*"));
        let listener = bound.map_err(|cause| BindError { at: at(), cause })?;
        Ok(Admin { listener, form: monitoring.form, connections: CONNECTIONS })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until `stop`, also while the agent does what it does when it is `stopping`.
    pub async fn serve(
        self,
        registry: Registry,
        board: Board,
        ledger: Bookkeeper,
        stopping: Stop,
        stop: Stop,
    ) {
        let (health, form) = (Mutex::default(), self.form);
        let served = Arc::new(Served { registry, board, ledger, health, stopping, form });
        let mut crowd = Crowd::default();
        let mut look = tokio::time::interval(LOOK_EVERY);
        let mut trouble = Trouble::new();
        if let Ok(address) = self.local_addr() {
            info!(component = "monitoring", %address, "serving metrics");
        }
        loop {
            tokio::select! {
                () = stop.wait() => return,
                _ = look.tick() => drop(served.verdict()),
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        trouble.ended(Instant::now());
                        crowd.make_room(self.connections);
                        crowd.add(stream, &served);
                    }
                    Err(error) => {
                        if trouble.happened(Instant::now(), &error.to_string()).is_some() {
                            warn!(component = "monitoring", %error, "cannot accept a connection");
                        }
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
    }
}

/// The connections there are, the oldest first.
#[derive(Default)]
struct Crowd(VecDeque<Client>);

struct Client {
    /// Whether its request has come.
    has_asked: Arc<AtomicBool>,
    task: AbortHandle,
}

impl Crowd {
    fn add(&mut self, stream: TcpStream, served: &Arc<Served>) {
        let has_asked = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(converse(stream, served.clone(), has_asked.clone()));
        self.0.push_back(Client { has_asked, task: task.abort_handle() });
    }

    /// Leaves fewer than `most`: sends the oldest away that has not asked, else the oldest of all.
    fn make_room(&mut self, most: usize) {
        if self.0.len() < most {
            return;
        }
        self.0.retain(|client| !client.task.is_finished());
        while self.0.len() >= most {
            let silent = self.0.iter().position(|client| !client.has_asked.load(Relaxed));
            let Some(client) = self.0.remove(silent.unwrap_or(0)) else { return };
            client.task.abort();
        }
    }
}

/// One exchange. Whatever goes wrong here is the client's affair.
async fn converse(stream: TcpStream, served: Arc<Served>, has_asked: Arc<AtomicBool>) {
    let service = service_fn(move |request: Request<Incoming>| {
        has_asked.store(true, Relaxed);
        let answer = served.answer(request.method(), request.uri().path());
        std::future::ready(Ok::<_, Infallible>(answer))
    });
    let exchange = hyper::server::conn::http1::Builder::new()
        .keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(HEAD_LIMIT_LINES)
        .max_buf_size(HEAD_LIMIT_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    drop(tokio::time::timeout(EXCHANGE_TIMEOUT, exchange).await);
}

impl Served {
    fn answer(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        if method == Method::TRACE || method == Method::OPTIONS {
            return response(StatusCode::FORBIDDEN, TEXT, "forbidden\n".into());
        }
        let json = || response(StatusCode::OK, JSON, json::metrics(&self.registry.all()));
        let prometheus = || {
            let text = prometheus::metrics(&self.registry.all(), process::Usage::read().as_ref());
            response(StatusCode::OK, PROMETHEUS, text)
        };
        match path.to_ascii_lowercase().trim_end_matches('/') {
            "" => response(StatusCode::OK, HTML, PAGE.into()),
            "/metrics" if self.form == Form::Prometheus => prometheus(),
            "/metrics" | "/metrics/json" => json(),
            "/metrics/prometheus" => prometheus(),
            "/ledger" => {
                let report = self.ledger.report(&self.registry);
                response(StatusCode::OK, JSON, serde_json::to_string(&report).unwrap_or_default())
            }
            "/healthz" => report("dead", &self.verdict().dead),
            "/readyz" => report("not ready", &self.verdict().unready),
            "/flowz" => report("stuck", &self.verdict().stuck),
            _ => response(StatusCode::NOT_FOUND, TEXT, "not found\n".into()),
        }
    }

    fn verdict(&self) -> Verdict {
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        health.look(&self.registry, &self.board, &self.stopping)
    }
}

const TEXT: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json;charset=utf-8";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

const PAGE: &str = "<!DOCTYPE html><title>splashdam</title><h1>splashdam</h1><ul>\
<li><a href=\"/metrics/json\">metrics as JSON</a>\
<li><a href=\"/metrics/prometheus\">metrics for Prometheus</a>\
<li><a href=\"/ledger\">the delivery ledger</a>\
<li><a href=\"/healthz\">whether the process lives</a>\
<li><a href=\"/readyz\">whether it takes events in</a>\
<li><a href=\"/flowz\">whether events get through</a></ul>\n";

/// 200 when there is no problem, 503 with the problems otherwise.
fn report(bad: &'static str, problems: &[Problem]) -> Response<Full<Bytes>> {
    #[derive(Serialize)]
    struct Report<'a> {
        status: &'static str,
        problems: &'a [Problem],
    }
    let (code, status) = match problems {
        [] => (StatusCode::OK, "ok"),
        _ => (StatusCode::SERVICE_UNAVAILABLE, bad),
    };
    let text = serde_json::to_string(&Report { status, problems }).unwrap_or_default();
    response(code, JSON, text)
}

fn response(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests;
