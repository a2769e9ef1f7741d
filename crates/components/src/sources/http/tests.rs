use std::io::Write;
use std::time::Duration;

use splashdam_core::{Channel, Role};
use splashdam_testkit::{Collector, context, contract, outlet};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::*;

const KEYS: &str = "bind = 127.0.0.1\nport = 0";

fn cx() -> Context {
    context(Role::Source)
}

struct Bench {
    running: contract::Running,
    address: SocketAddr,
    collector: Collector,
}

async fn start(keys: &str, collector: Collector) -> Bench {
    let source = contract::open_source::<Http>(&format!("{KEYS}\n{keys}"), cx()).await;
    let address = source.local_addr().unwrap();
    Bench { running: contract::run_source(source, &collector), address, collector }
}

fn post(head: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let request = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n{head}\r\n");
    [request.into_bytes(), body.to_vec()].concat()
}

/// Sends bytes, ends its side, and returns all that is answered.
async fn talk(address: SocketAddr, input: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The source may close before it has read everything.
    drop(stream.write_all(input).await);
    drop(stream.shutdown().await);
    let mut answers = Vec::new();
    let read = timeout(Duration::from_secs(60), stream.read_to_end(&mut answers)).await;
    drop(read.expect("the source answers and closes"));
    String::from_utf8(answers).unwrap()
}

/// The statuses in what was answered.
fn statuses(answers: &str) -> Vec<u16> {
    let heads = answers.split("HTTP/1.1 ").skip(1);
    heads.map(|head| head[..3].parse().unwrap()).collect()
}

#[tokio::test]
async fn stops() {
    contract::source_stops::<Http>(KEYS, cx).await;
}

#[tokio::test]
async fn requests_are_answered_as_in_flume() {
    let bench = start("", Collector::new()).await;
    let good = br#"[{"headers":{"a":"b"},"body":"x"}]"#;
    let check = async |request: &[u8], want: &[u16]| {
        let answers = talk(bench.address, request).await;
        assert_eq!(statuses(&answers), want, "{}", String::from_utf8_lossy(request));
    };
    check(&post("", good), &[200]).await;
    check(&post("Content-Type: application/json\r\n", good), &[200]).await;
    check(&[post("", good), post("", b"[]")].concat(), &[200, 200]).await;
    check(&post("", b"{}"), &[400]).await;
    check(&post("", b""), &[500]).await;
    check(&post("Content-Type: application/json; charset=latin1\r\n", good), &[500]).await;
    check(&post("Content-Encoding: br\r\n", good), &[415]).await;
    check(&post("Content-Encoding: gzip\r\n", b"no gzip"), &[400]).await;
    check(b"GET /any/path?x=y HTTP/1.1\r\nHost: x\r\n\r\n", &[500]).await;
    check(b"OPTIONS / HTTP/1.1\r\nHost: x\r\n\r\n", &[403]).await;
    check(b"TRACE / HTTP/1.1\r\nHost: x\r\n\r\n", &[403]).await;
    check(b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", &[405]).await;
    check(b"PATCH / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", &[501]).await;
    check(b"no HTTP at all\r\n\r\n", &[400]).await;
    let chunked = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunked = format!("{chunked}5\r\n[{{bod\r\n6\r\ny:c}} ]\r\n0\r\n\r\n");
    check(chunked.as_bytes(), &[200]).await;
    let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(100_000));
    let answer = statuses(&talk(bench.address, long.as_bytes()).await);
    assert!(answer == [414] || answer == [431] || answer.is_empty(), "{answer:?}");
    assert_eq!(bench.collector.bodies(), ["x", "x", "x", "c"]);
    let metrics = bench.running.outlet.clone();
    bench.running.stop().await.unwrap();
    assert_eq!(metrics.metrics().events_accepted.value(), 4);
    assert_eq!(metrics.metrics().batches_accepted.value(), 5);
    assert!(metrics.metrics().read_failures.value() >= 7);
    assert_eq!(metrics.metrics().open_connections.value(), 0);
}

#[tokio::test]
async fn a_full_channel_is_503_and_later_200() {
    let collector = Collector::new();
    collector.refuse(1);
    let bench = start("", collector).await;
    let request = post("", b"[{body:x}]");
    let answers = talk(bench.address, &[request.clone(), request].concat()).await;
    assert_eq!(statuses(&answers), [503, 200]);
    assert!(
        answers.contains("channel c1 is full") && answers.contains("retry-after: 1"),
        "{answers}"
    );
    assert_eq!(bench.collector.bodies(), ["x"]);
    bench.running.stop().await.unwrap();
}

#[tokio::test]
async fn packed_bodies_are_unpacked_within_the_limit() {
    let bench = start("handler = lines\nmaxRequestBytes = 3000000", Collector::new()).await;
    let packed = |bytes: &[u8]| {
        let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        writer.write_all(bytes).unwrap();
        post("Content-Encoding: gzip\r\n", &writer.finish().unwrap())
    };
    assert_eq!(statuses(&talk(bench.address, &packed(b"one\ntwo\n")).await), [200]);
    let line = vec![b'x'; 2_000_000];
    assert_eq!(statuses(&talk(bench.address, &packed(&line)).await), [200]);
    let bomb = vec![0; 4_000_000];
    assert_eq!(statuses(&talk(bench.address, &packed(&bomb)).await), [413]);
    assert_eq!(statuses(&talk(bench.address, &post("", &bomb)).await), [413]);
    let bodies: Vec<usize> =
        bench.collector.events().iter().map(|event| event.body.len()).collect();
    assert_eq!(bodies, [3, 3, 2_000_000]);
    bench.running.stop().await.unwrap();
}

#[tokio::test]
async fn large_bodies_come_whole_or_cut() {
    let body: Vec<u8> = (0..500_000u32).map(|n| (n % 251) as u8).collect();
    let bench = start("handler = blob", Collector::new()).await;
    assert_eq!(statuses(&talk(bench.address, &post("", &body)).await), [200]);
    assert!(bench.collector.events()[0].body == body);
    bench.running.stop().await.unwrap();
    let keys = "handler = blob\nhandler.maxBlobLength = 300000\nmaxRequestBytes = 600000";
    let bench = start(keys, Collector::new()).await;
    assert_eq!(statuses(&talk(bench.address, &post("", &body)).await), [200]);
    assert!(bench.collector.events()[0].body == body[..300_000]);
    bench.running.stop().await.unwrap();
}

#[tokio::test]
async fn who_stalls_does_not_keep_others_out() {
    let bench = start("handler = lines", Collector::new()).await;
    let mut stalled = Vec::new();
    for announced in
        ["Transfer-Encoding: chunked\r\n\r\n13880\r\n", "Content-Length: 134217728\r\n\r\n"]
    {
        let mut stream = TcpStream::connect(bench.address).await.unwrap();
        let head = format!("POST / HTTP/1.1\r\nHost: x\r\n{announced}");
        stream.write_all(&[head.into_bytes(), vec![b'x'; 80_000]].concat()).await.unwrap();
        stalled.push(stream);
    }
    // They get as far as they come.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let request = post("", &[b'x'; 100_000]);
    let answered = timeout(Duration::from_secs(5), talk(bench.address, &request)).await;
    assert_eq!(statuses(&answered.expect("an answer")), [200]);
    drop(stalled);
    bench.running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_is_slow_is_told_so_and_who_is_silent_is_sent_away() {
    let bench = start("ServerConnector.idleTimeout = 2000", Collector::new()).await;
    let mut slow = TcpStream::connect(bench.address).await.unwrap();
    slow.write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n[").await.unwrap();
    let mut answer = [0; 1000];
    let read = timeout(Duration::from_secs(60), slow.read(&mut answer)).await.unwrap().unwrap();
    assert_eq!(statuses(std::str::from_utf8(&answer[..read]).unwrap()), [408]);
    for sent in ["", "POST / HT"] {
        let mut silent = TcpStream::connect(bench.address).await.unwrap();
        silent.write_all(sent.as_bytes()).await.unwrap();
        let mut rest = Vec::new();
        let closed = timeout(Duration::from_secs(20), silent.read_to_end(&mut rest)).await;
        drop(closed.expect("it is sent away"));
    }
    bench.running.stop().await.unwrap();
}

#[tokio::test]
async fn a_put_ends_though_its_client_is_gone() {
    let keys = "capacity = 1\ntransactionCapacity = 1\nkeep-alive = 2";
    let config = Section::parse(keys).read().into_result().unwrap();
    let memory =
        crate::channels::memory::Memory::open(config, context(Role::Channel)).await.unwrap();
    let source = contract::open_source::<Http>(KEYS, cx()).await;
    let address = source.local_addr().unwrap();
    let running = contract::run_source_into(source, outlet(memory.clone()));
    let request = post("", b"[{body:x}]");
    assert_eq!(statuses(&talk(address, &request).await), [200]);
    let mut second = TcpStream::connect(address).await.unwrap();
    second.write_all(&request).await.unwrap();
    while running.outlet.metrics().events_received.value() < 2 {
        tokio::task::yield_now().await;
    }
    drop(second);
    let lease = memory.begin_take(splashdam_core::Size::events(1)).await.unwrap();
    lease.commit().await.unwrap();
    running.stop().await.unwrap();
    assert_eq!(memory.level().queued.events, 1);
}

#[test]
fn settings_of_jetty_are_followed_or_said_to_have_no_effect() {
    let limits = |keys: &str| {
        let keys = Section::parse(&format!("{KEYS}\n{keys}"));
        keys.read::<Config>().into_result().unwrap().limits()
    };
    let keys = "QueuedThreadPool.maxThreads = 7\nServerConnector.idleTimeout = 5000\n\
                HttpConfiguration.requestHeaderSize = 1";
    let idle = Duration::from_secs(5);
    let want = Limits { head_bytes: 8192, requests: 7, idle, ..Limits::default() };
    assert_eq!(limits(keys), (want, Vec::new()));
    let (same, said) =
        limits("HttpConfiguration.sendServerVersion = true\nQueuedThreadPool.maxThreads = x");
    assert_eq!(same, Limits::default());
    assert_eq!(said, ["QueuedThreadPool.maxThreads", "HttpConfiguration.sendServerVersion"]);
}

#[test]
fn old_names_of_tls_keys_count_where_new_ones_are_not() {
    let tls = |keys: &str| {
        let keys = Section::parse(&format!("{KEYS}\n{keys}"));
        keys.read::<Config>().into_result().unwrap().tls()
    };
    let old = tls("enableSSL = true\nkeystorePassword = old\nexcludeProtocols = TLSv1.1");
    assert!(old.ssl && old.keystore_password == Some("old".into()));
    assert_eq!(*old.exclude_protocols, ["TLSv1.1"]);
    let both = tls("keystore-password = new\nkeystorePassword = old");
    assert!(!both.ssl && both.keystore_password == Some("new".into()));
}

#[test]
fn keys_are_checked() {
    let check = |keys: &str| {
        assert!(Section::parse(keys).read::<Config>().into_result().is_err(), "{keys}");
    };
    check("bind = localhost");
    check("port = 65536");
    check("port = 1\nmaxRequestBytes = 0");
    check("port = 1\nmaxConnections = 0");
}
