use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use splashdam_core::{Event, Role};
use splashdam_testkit::{context, contract, events};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// A server that answers each request with the next of its statuses, and keeps what came.
#[derive(Clone, Default)]
struct Server {
    seen: Arc<Mutex<Vec<String>>>,
    connections: Arc<Mutex<usize>>,
}

impl Server {
    async fn start(statuses: &'static [u16], keep_alive: bool) -> (Server, SocketAddr) {
        let server = Server::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = server.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                *serving.connections.lock().unwrap() += 1;
                let server = serving.clone();
                let service = service_fn(move |request| answer(server.clone(), statuses, request));
                let connection = hyper::server::conn::http1::Builder::new()
                    .keep_alive(keep_alive)
                    .serve_connection(TokioIo::new(stream), service);
                tokio::spawn(async move { drop(connection.await) });
            }
        });
        (server, address)
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

async fn answer(
    server: Server,
    statuses: &[u16],
    request: hyper::Request<Incoming>,
) -> Result<hyper::Response<Full<Bytes>>, Infallible> {
    let head = ["host", "content-type", "accept"]
        .map(|name| request.headers().get(name).unwrap().to_str().unwrap().to_owned());
    let line = format!("{} {} {}", request.method(), request.uri(), head[1..].join(" "));
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let mut seen = server.seen.lock().unwrap();
    let status = statuses[seen.len() % statuses.len()];
    seen.push(format!("{line} {}", body.escape_ascii()));
    let mut response = hyper::Response::new(Full::from("an answer\n"));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    Ok(response)
}

async fn open(address: SocketAddr, keys: &str) -> Http {
    let keys = format!("endpoint = http://{address}/in?x=y\n{keys}");
    contract::open_sink::<Http>(&keys, context(Role::Sink)).await
}

/// What came of a delivery: `done 1`, `done 0 pause`, or `BackOff` and so on.
fn shown(delivered: Result<Delivered, DeliverError>) -> String {
    match delivered {
        Ok(Delivered { pause, rejected, .. }) if !rejected.is_empty() => {
            format!("rejected {}{}", rejected.len(), if pause { " pause" } else { "" })
        }
        Ok(Delivered { events, pause, .. }) => {
            format!("done {events}{}", if pause { " pause" } else { "" })
        }
        Err(error) => format!("{:?}", error.then),
    }
}

#[tokio::test]
async fn a_status_is_judged_by_its_code_then_its_class_then_the_default() {
    let check = async |keys: &str, status: &'static [u16], want: &str| {
        let (_, address) = Server::start(status, true).await;
        let mut sink = open(address, keys).await;
        assert_eq!(shown(sink.deliver(&events(0, 1)).await), want, "{status:?} {keys}");
    };
    check("", &[200], "BackOff").await;
    check("defaultBackoff = false", &[200], "RetryNow").await;
    check("defaultRollback = false", &[500], "rejected 1 pause").await;
    let usual = "rollback.2XX = false\nbackoff.2XX = false\nincrementMetrics.2XX = true\n\
                 rollback.400 = false\nincrementMetrics.204 = false\nbackoff.503 = false";
    check(usual, &[200], "done 1").await;
    check(usual, &[204], "done 0").await;
    check(usual, &[400], "rejected 1 pause").await;
    check(usual, &[404], "BackOff").await;
    check(usual, &[503], "RetryNow").await;
    check(usual, &[302], "BackOff").await;
}

const TAKEN: &str = "rollback.2XX = false\nbackoff.2XX = false\nincrementMetrics.2XX = true\n";

#[tokio::test]
async fn bodies_are_posted_over_one_connection() {
    let (server, address) = Server::start(&[200], true).await;
    let mut sink = open(address, &format!("{TAKEN}contentTypeHeader = application/json")).await;
    let binary: Batch = vec![Event::new(&b"\0\xff\n"[..])].into();
    for batch in [events(1, 1), binary] {
        assert_eq!(shown(sink.deliver(&batch).await), "done 1");
    }
    let empty: Batch = vec![Event::default()].into();
    assert_eq!(shown(sink.deliver(&empty).await), "done 0 pause");
    let line = "POST /in?x=y application/json text/plain";
    assert_eq!(server.seen(), [format!("{line} 1"), format!("{line} \\x00\\xff\\n")]);
    assert_eq!(*server.connections.lock().unwrap(), 1);
    sink.close().await.unwrap();
}

#[tokio::test]
async fn several_bodies_are_lines_of_one_request() {
    let (server, address) = Server::start(&[200], true).await;
    let mut sink = open(address, &format!("{TAKEN}batchSize = 10")).await;
    assert_eq!(sink.limit().events, 10);
    assert_eq!(shown(sink.deliver(&events(1, 3)).await), "done 3");
    let line = "POST /in?x=y text/plain text/plain";
    assert_eq!(server.seen(), [format!("{line} 1\\n2\\n3\\n")]);
    // One that is alone is a line, too: what reads lines does not take it otherwise.
    assert_eq!(shown(sink.deliver(&events(4, 1)).await), "done 1");
    assert_eq!(server.seen()[1], format!("{line} 4\\n"));
    let empty: Batch = vec![Event::default()].into();
    assert_eq!(shown(sink.deliver(&empty).await), "done 0 pause");
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn a_server_that_closes_or_is_away_is_tried_again() {
    let (server, address) = Server::start(&[200], false).await;
    let mut sink = open(address, TAKEN).await;
    for number in 0..3 {
        assert_eq!(shown(sink.deliver(&events(number, 1)).await), "done 1");
    }
    assert_eq!(server.seen().len(), 3);
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let mut sink = open(address, TAKEN).await;
    assert_eq!(shown(sink.deliver(&events(0, 1)).await), "BackOff");
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut sink = open(silent.local_addr().unwrap(), &format!("{TAKEN}requestTimeout = 50")).await;
    let error = sink.deliver(&events(0, 1)).await.unwrap_err();
    assert_eq!(error.then, Then::BackOff);
    assert!(error.to_string().contains("requestTimeout"), "{error}");
    assert_eq!(sink.client.metrics.connections_created.value(), 1);
    assert_eq!(sink.client.metrics.connections_closed.value(), 1);
}

/// A server that answers every request with these bytes and holds the connection; counts requests.
async fn holding(answer: &'static [u8]) -> (Arc<Mutex<usize>>, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let requests = Arc::new(Mutex::new(0));
    let counted = requests.clone();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let counted = counted.clone();
            tokio::spawn(async move {
                let mut request = [0; 4096];
                while let Ok(read @ 1..) = stream.read(&mut request).await {
                    if request[..read].starts_with(b"POST ") {
                        *counted.lock().unwrap() += 1;
                        stream.write_all(answer).await.unwrap();
                    }
                }
            });
        }
    });
    (requests, address)
}

#[tokio::test]
async fn an_answer_counts_though_its_body_never_ends() {
    let check = async |answer: &'static [u8]| {
        let (requests, address) = holding(answer).await;
        let mut sink = open(address, TAKEN).await;
        for sent in 1..=2 {
            assert_eq!(shown(sink.deliver(&events(0, 1)).await), "done 1", "{answer:?}");
            assert_eq!(*requests.lock().unwrap(), sent, "{answer:?}");
            assert!(sink.client.open.is_none(), "what has not ended is not used again");
        }
        assert_eq!(sink.client.metrics.connections_closed.value(), 2);
    };
    check(b"HTTP/1.1 200 OK\r\n\r\n").await;
    check(b"HTTP/1.1 200 OK\r\n\r\nsome of it").await;
    check(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n").await;
    check(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nok").await;
}

#[test]
fn endpoints_are_urls() {
    let read =
        |text| Endpoint::parse(text).map(|e| (e.secure, e.host, e.port, e.target.to_string()));
    let check = |text, secure, host: &str, port, target: &str| {
        assert_eq!(read(text), Ok((secure, host.to_owned(), port, target.to_owned())), "{text}");
    };
    check("http://mill", false, "mill", 80, "/");
    check("https://mill/a?b=c", true, "mill", 443, "/a?b=c");
    check("http://[::1]:8080/x", false, "::1", 8080, "/x");
    for wrong in ["", "mill", "ftp://mill/", "http://", "http://u:p@mill/", "http://mill:99999/"] {
        assert!(read(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn what_would_never_end_is_said() {
    let check = |keys: &str, want: &[&str]| {
        let keys = Section::parse(keys);
        let found = splashdam_core::Entry::sink::<Http>().look(&keys).findings;
        assert_eq!(found.iter().map(|finding| finding.code).collect::<Vec<_>>(), want);
    };
    check("endpoint = http://localhost/", &["endless-retry"]);
    check("endpoint = http://localhost/\nrollback.2XX = false", &[]);
    check("endpoint = http://localhost/\nrollback.200 = false\nbackoff.2xx = true", &["no-effect"]);
    check("endpoint = nowhere\nrollback.2XX = false", &["invalid-value"]);
    check("endpoint = http://h/\nrollback.2XX = false\nconnectTimeout = 0", &["bad-value"]);
}

#[tokio::test]
async fn requests_go_over_tls() {
    use crate::sources::http::Http as Source;
    use splashdam_testkit::Collector;

    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    for name in ["localhost", "stranger"] {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        std::fs::write(path(&format!("{name}.pem")), made.cert.pem()).unwrap();
        std::fs::write(path(name), made.cert.pem() + &made.signing_key.serialize_pem()).unwrap();
    }
    let keys = format!(
        "bind = 127.0.0.1\nport = 0\nhandler = blob\nenableSSL = true\nkeystore = {}\nkeystorePassword = x",
        path("localhost")
    );
    let source = contract::open_source::<Source>(&keys, context(Role::Source)).await;
    let port = source.local_addr().unwrap().port();
    let collector = Collector::new();
    let running = contract::run_source(source, &collector);
    let check = async |endpoint: String, trusted: &str, want: Result<&str, &str>| {
        let keys = format!("{TAKEN}endpoint = {endpoint}\ntruststore = {}", path(trusted));
        let mut sink = contract::open_sink::<Http>(&keys, context(Role::Sink)).await;
        match (sink.deliver(&events(7, 1)).await, want) {
            (Err(error), Err(want)) => assert!(error.to_string().contains(want), "{want}: {error}"),
            (delivered, want) => assert_eq!(Ok(shown(delivered).as_str()), want, "{endpoint}"),
        }
    };
    check(format!("https://localhost:{port}/"), "localhost.pem", Ok("done 1")).await;
    check(format!("https://localhost:{port}/"), "stranger.pem", Err("certificate")).await;
    check(format!("https://127.0.0.1:{port}/"), "localhost.pem", Err("certificate")).await;
    check(format!("http://localhost:{port}/"), "localhost.pem", Err("failed")).await;
    assert_eq!(collector.bodies(), ["7"]);
    running.stop().await.unwrap();
}
