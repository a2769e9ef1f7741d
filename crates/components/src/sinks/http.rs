//! Sink `http`: posts the body of each event to a URL, and does what the answer's status is set to.
//!
//! Flume's class: `org.apache.flume.sink.http.HttpSink`. Headers of events are not sent. For the
//! status of each answer three settings say what follows, by the code (`200`), else by its class
//! (`2XX`), else by the default:
//!
//! | setting | true | false |
//! |---|---|---|
//! | `rollback` | the event stays in the channel and is sent again | it is done with |
//! | `backoff` | the sink waits before it goes on | it goes on at once |
//! | `incrementMetrics` | the event counts as delivered | it does not |
//!
//! As in Flume the defaults are made for nobody: without `rollback.2XX = false` every event is sent
//! again for ever, which `check` points out. An event without a body is let go, and a server that
//! cannot be reached or does not answer in time is tried again after a pause; neither hands the event
//! to another sink of a group.
//!
//! `https` verifies the server's certificate and host name by the `truststore` here, by that of
//! `-Djavax.net.ssl.trustStore`, or by the system's. What differs from Flume: one connection is kept
//! for all requests; an answer that redirects is not followed but judged like any other; an error
//! without a body is judged by its code, where Flume stumbles and sends the event again; and
//! `batchSize` may send several bodies at once, each with a line end behind it, as Elasticsearch's
//! `_bulk` wants them.

mod connection;

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hyper::header::HeaderValue;
use hyper::{StatusCode, Uri};
use serde::Deserialize;
use splashdam_config::{Diagnostic, Section};
use splashdam_core::{
    Batch, Component, Context, DeliverError, Delivered, Facts, OpenError, Rejected, Sink, Size,
    Then,
};
use tracing::debug;

use crate::tls::{ClientTls, Password};
use connection::Client;

/// Bytes of one request at the most, unless one event alone has more.
const REQUEST_BYTES: usize = 16 * 1024 * 1024;

/// What becomes of a bad event.
const REJECTS: &str = "what is answered with an error is sent again where rollback says so for its status, and else dropped, as in Flume";

/// Keys of the HTTP sink.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// Where to post to: an `http` or `https` URL.
    pub endpoint: String,
    /// Milliseconds to wait for a connection.
    #[serde(default = "timeout_millis")]
    pub connect_timeout: NonZeroU32,
    /// Milliseconds to wait for an answer.
    #[serde(default = "timeout_millis")]
    pub request_timeout: NonZeroU32,
    /// The value of the request's `Content-Type`.
    #[serde(default = "text_plain")]
    pub content_type_header: String,
    /// The value of the request's `Accept`.
    #[serde(default = "text_plain")]
    pub accept_header: String,
    /// Whether to wait after an answer for whose status `backoff` says nothing.
    #[serde(default = "yes")]
    pub default_backoff: bool,
    /// Whether to send again after an answer for whose status `rollback` says nothing.
    #[serde(default = "yes")]
    pub default_rollback: bool,
    /// Whether an event counts as delivered after an answer for whose status `incrementMetrics` says
    /// nothing.
    #[serde(default)]
    pub default_increment_metrics: bool,
    /// `backoff.CODE`: whether to wait after an answer of this status, such as `503` or `5XX`.
    #[serde(default)]
    pub backoff: BTreeMap<String, bool>,
    /// `rollback.CODE`: whether to send again after it.
    #[serde(default)]
    pub rollback: BTreeMap<String, bool>,
    /// `incrementMetrics.CODE`: whether the event counts as delivered then.
    #[serde(default)]
    pub increment_metrics: BTreeMap<String, bool>,
    /// Events in one request at the most. With more than 1 each body is followed by a line end, also
    /// when it goes alone. Not a key of Flume, which sends one.
    #[serde(default = "batch_size")]
    pub batch_size: NonZeroUsize,
    /// The file with the certificates that the server's is judged by: JKS, PKCS12 or PEM. Not a key
    /// of Flume's sink, nor are those below.
    pub truststore: Option<std::path::PathBuf>,
    /// The password of the trust store.
    #[serde(rename = "truststore-password")]
    pub truststore_password: Option<Password>,
    /// `JKS`, `PKCS12` or `PEM`; each is told by the file's first bytes.
    #[serde(rename = "truststore-type")]
    pub truststore_type: Option<String>,
    /// The file with the key and the certificate to show to servers that ask.
    pub keystore: Option<std::path::PathBuf>,
    /// The password of the key store and of its key.
    #[serde(rename = "keystore-password")]
    pub keystore_password: Option<Password>,
    /// As `truststore-type`.
    #[serde(rename = "keystore-type")]
    pub keystore_type: Option<String>,
}

fn timeout_millis() -> NonZeroU32 {
    const { NonZeroU32::new(5000).unwrap() }
}

fn text_plain() -> String {
    "text/plain".to_owned()
}

fn yes() -> bool {
    true
}

fn batch_size() -> NonZeroUsize {
    NonZeroUsize::MIN
}

/// Where requests go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    secure: bool,
    host: String,
    port: u16,
    /// The value of `Host`.
    authority: String,
    /// Path and query.
    target: Uri,
}

impl Endpoint {
    fn parse(text: &str) -> Result<Endpoint, String> {
        let wrong =
            |why: &str| format!("`endpoint` {why}; write a URL such as http://host:8080/path");
        let uri: Uri =
            text.trim().parse().map_err(|error| wrong(&format!("is no URL ({error})")))?;
        let secure = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            Some(_) => return Err(wrong("is neither http nor https")),
            None => return Err(wrong("has no scheme")),
        };
        let authority = uri.authority().filter(|authority| !authority.host().is_empty());
        let authority = authority.ok_or_else(|| wrong("names no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("must hold no user and password, which would not be sent"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = match (authority.port_u16(), authority.as_str().ends_with(authority.host())) {
            (Some(port), _) => port,
            (None, true) if secure => 443,
            (None, true) => 80,
            (None, false) => return Err(wrong("has a port that is none")),
        };
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        let target = target.parse().map_err(|error| wrong(&format!("is no URL ({error})")))?;
        Ok(Endpoint { secure, host, port, authority: authority.as_str().to_owned(), target })
    }
}

/// What follows an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rule {
    rollback: bool,
    backoff: bool,
    counts: bool,
}

impl Config {
    fn tls(&self, secure: bool) -> ClientTls {
        ClientTls {
            ssl: secure,
            verify_host_name: true,
            truststore: self.truststore.clone(),
            truststore_password: self.truststore_password.clone(),
            truststore_type: self.truststore_type.clone(),
            keystore: self.keystore.clone(),
            keystore_password: self.keystore_password.clone(),
            keystore_type: self.keystore_type.clone(),
            ..ClientTls::default()
        }
    }

    /// What is set for a status.
    fn rule(&self, status: StatusCode) -> Rule {
        let code = status.as_str();
        let class = format!("{}XX", &code[..1]);
        let of = |rules: &BTreeMap<String, bool>, default| {
            *rules.get(code).or_else(|| rules.get(&class)).unwrap_or(&default)
        };
        Rule {
            rollback: of(&self.rollback, self.default_rollback),
            backoff: of(&self.backoff, self.default_backoff),
            counts: of(&self.increment_metrics, self.default_increment_metrics),
        }
    }

    /// Keys that no status has.
    fn strange_codes(&self) -> impl Iterator<Item = String> {
        let groups = [
            ("backoff", &self.backoff),
            ("rollback", &self.rollback),
            ("incrementMetrics", &self.increment_metrics),
        ];
        let is_code = |code: &str| match code.as_bytes() {
            [b'1'..=b'5', b'X', b'X'] => true,
            [b'1'..=b'9', digits @ ..] => {
                digits.len() == 2 && digits.iter().all(u8::is_ascii_digit)
            }
            _ => false,
        };
        groups.into_iter().flat_map(move |(group, rules)| {
            let strange = rules.keys().filter(move |code| !is_code(code));
            strange.map(move |code| format!("{group}.{code}"))
        })
    }
}

/// The sink.
pub struct Http {
    config: Config,
    client: Client,
}

impl Component for Http {
    const TYPE: &'static str = "http";
    const ALIASES: &'static [&'static str] = &["org.apache.flume.sink.http.HttpSink"];
    type Config = Config;

    async fn open(config: Config, cx: Context) -> Result<Self, OpenError> {
        let endpoint = Endpoint::parse(&config.endpoint).map_err(OpenError::config)?;
        let value = |key: &str, text: &str| {
            HeaderValue::from_str(text)
                .map_err(|_| OpenError::config(format!("`{key}` cannot stand in a request")))
        };
        let content_type = value("contentTypeHeader", &config.content_type_header)?;
        let accept = value("acceptHeader", &config.accept_header)?;
        let connector = config.tls(endpoint.secure).connector(&cx).await?;
        let millis = |millis: NonZeroU32| Duration::from_millis(millis.get().into());
        let client = Client {
            endpoint,
            connector,
            content_type,
            accept,
            connect_timeout: millis(config.connect_timeout),
            request_timeout: millis(config.request_timeout),
            metrics: cx.counters.sink(),
            open: None,
        };
        Ok(Http { config, client })
    }

    fn facts(config: &Config) -> Facts {
        let crash = "requests whose answer was not judged yet are sent again, so that their events may come twice";
        Facts {
            batch_events: Some(config.batch_size.get()),
            place: Some(format!("posts to {}", config.endpoint)),
            memory_bytes: Some(2 * REQUEST_BYTES as u64),
            process_crash: Some(crash),
            machine_crash: Some(crash),
            rejects: Some(REJECTS),
            ..Facts::default()
        }
    }

    fn check(config: &Config, section: &Section) -> Vec<Diagnostic> {
        let mut findings = Vec::new();
        match Endpoint::parse(&config.endpoint) {
            Ok(endpoint) => findings.extend(config.tls(endpoint.secure).findings(section)),
            Err(error) => {
                let finding = Diagnostic::error("invalid-value", error);
                findings.push(finding.at(section.value_span("endpoint")));
            }
        }
        if config.rule(StatusCode::OK).rollback {
            let message = "events are sent again for ever, even when the server answers 200";
            let finding = Diagnostic::warning("endless-retry", message).at(section.span());
            findings
                .push(finding.help(
                    "set `rollback.2XX = false`, and `backoff.2XX = false` to go on at once",
                ));
        }
        for key in config.strange_codes() {
            let finding = Diagnostic::warning("no-effect", format!("`{key}` is set for no status"));
            let finding = finding.at(section.key_span(&key));
            findings.push(finding.help("write a code, such as 200, or a class, such as 2XX"));
        }
        findings
    }
}

/// The body of a request; empty when there is nothing to send.
fn body(batch: &Batch, as_lines: bool) -> Bytes {
    match batch.events() {
        [event] if !as_lines => event.body.clone(),
        events => {
            let mut body = BytesMut::with_capacity(batch.size().bytes + events.len());
            for event in events.iter().filter(|event| !event.body.is_empty()) {
                body.extend_from_slice(&event.body);
                body.extend_from_slice(b"\n");
            }
            body.freeze()
        }
    }
}

impl Sink for Http {
    fn limit(&self) -> Size {
        Size { events: self.config.batch_size.get(), bytes: REQUEST_BYTES }
    }

    async fn deliver(&mut self, batch: &Batch) -> Result<Delivered, DeliverError> {
        let body = body(batch, self.config.batch_size.get() > 1);
        if body.is_empty() {
            debug!("events without a body are let go");
            return Ok(Delivered { events: 0, pause: true, rejected: Vec::new() });
        }
        let status = self.client.post(body).await.map_err(DeliverError::back_off)?;
        let rule = self.config.rule(status);
        if rule.rollback {
            let then = if rule.backoff { Then::BackOff } else { Then::RetryNow };
            let source =
                format!("{} answered {status}, for which rollback is set", self.config.endpoint);
            return Err(DeliverError { then, source: source.into() });
        }
        let events = if rule.counts { batch.len() } else { 0 };
        // What an error is let pass for is given up, unless it is said to count.
        let refused = !rule.counts && (status.is_client_error() || status.is_server_error());
        let places = if refused { 0..batch.len() } else { 0..0 };
        let why = format!("{} answered {status}", self.config.endpoint);
        let rejected = places.map(|at| Rejected { at, why: why.clone() }).collect();
        Ok(Delivered { events, pause: rule.backoff, rejected })
    }

    async fn close(mut self) -> Result<(), DeliverError> {
        self.client.hang_up();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
