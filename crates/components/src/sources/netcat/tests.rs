use std::time::Duration;

use super::*;
use splashdam_config::Section;
use splashdam_core::{Channel, Role};
use splashdam_testkit::{Collector, context, contract, outlet};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

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
    let source = contract::open_source::<Netcat>(&format!("{KEYS}\n{keys}"), cx()).await;
    let address = source.local_addr().unwrap();
    Bench { running: contract::run_source(source, &collector), address, collector }
}

/// Sends `input`, closes the sending side, and returns everything that is answered.
async fn talk(address: SocketAddr, input: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The source may close before it has read everything.
    drop(stream.write_all(input).await);
    drop(stream.shutdown().await);
    let mut answers = Vec::new();
    let read = timeout(Duration::from_secs(10), stream.read_to_end(&mut answers)).await;
    drop(read.expect("the source answers and closes"));
    String::from_utf8(answers).unwrap()
}

#[tokio::test]
async fn stops() {
    contract::source_stops::<Netcat>(KEYS, cx).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn silent_clients_are_watched() {
    let bench = start("", Collector::new()).await;
    let client = TcpStream::connect(bench.address).await.unwrap();
    crate::accepting::tests::is_kept_alive(bench.address, client.local_addr().unwrap()).await;
    bench.running.stop().await.unwrap();
}

#[tokio::test]
async fn lines_become_events_and_answers() {
    async fn check(keys: &str, input: &[u8], bodies: &[&str], answers: &str) {
        let bench = start(keys, Collector::new()).await;
        assert_eq!(talk(bench.address, input).await, answers, "{keys}");
        assert_eq!(bench.collector.bodies(), bodies, "{keys}");
        bench.running.stop().await.unwrap();
    }
    let too_long = |most| {
        format!("FAILED: Event exceeds the maximum length ({most} chars, including newline)\n")
    };
    check("", b"one\ntwo\n", &["one", "two"], "OK\nOK\n").await;
    check("", b"", &[], "").await;
    check("", b"one\nunfinished", &["one"], "OK\n").await;
    check("", b"dos\r\n\n", &["dos\r", ""], "OK\nOK\n").await;
    check("ack-every-event = false", b"one\ntwo\n", &["one", "two"], "").await;
    check("max-line-length = 4", b"abc\nabcd\nlost\n", &["abc"], &format!("OK\n{}", too_long(4)))
        .await;
    check("max-line-length = 4", b"abcd", &[], &too_long(4)).await;
    check("max-line-length = 4", "üüü\n".as_bytes(), &["üüü"], "OK\n").await;
    check("", &[b'x'; 513], &[], &too_long(512)).await;
    check("", b"a\xffb\n", &["a\u{fffd}b"], "OK\n").await;
    check("encoding = ISO-8859-1", b"gr\xfcn\n", &["grün"], "OK\n").await;
    check("encoding = UTF-16", b"\xff\xfea\0\n\0b\0\n\0", &["a", "b"], "OK\nOK\n").await;
    check("encoding = UTF-16BE", b"\0a\0\n", &["a"], "OK\n").await;
    let many = "line\n".repeat(1000);
    check("", many.as_bytes(), &["line"; 1000], &"OK\n".repeat(1000)).await;
}

#[tokio::test]
async fn a_line_in_pieces_is_one_line() {
    let bench = start("", Collector::new()).await;
    let mut stream = TcpStream::connect(bench.address).await.unwrap();
    for piece in ["he", "ll", "o\nwor", "ld\n"] {
        stream.write_all(piece.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(bench.collector.wait_for(2).await.len(), 2);
    assert_eq!(bench.collector.bodies(), ["hello", "world"]);
    bench.running.stop().await.unwrap();
}

#[tokio::test]
async fn a_refused_line_is_answered_and_the_connection_stays() {
    for acks in [true, false] {
        let collector = Collector::new();
        collector.refuse(1);
        let bench = start(&format!("ack-every-event = {acks}"), collector).await;
        let mut stream = TcpStream::connect(bench.address).await.unwrap();
        stream.write_all(b"lost\n").await.unwrap();
        let mut answer = [0; 256];
        let read = stream.read(&mut answer).await.unwrap();
        let answer = std::str::from_utf8(&answer[..read]).unwrap();
        assert!(answer.starts_with("FAILED: channel c1 is full") && answer.ends_with('\n'));
        stream.write_all(b"kept\n").await.unwrap();
        bench.collector.wait_for(1).await;
        assert_eq!(bench.collector.bodies(), ["kept"]);
        bench.running.stop().await.unwrap();
    }
}

#[tokio::test]
async fn a_channel_with_small_transactions_gets_small_ones() {
    let keys = "capacity = 1000\ntransactionCapacity = 7";
    let config = Section::parse(keys).read().into_result().unwrap();
    let memory =
        crate::channels::memory::Memory::open(config, context(Role::Channel)).await.unwrap();
    let source = contract::open_source::<Netcat>(KEYS, cx()).await;
    let address = source.local_addr().unwrap();
    let (handle, stop) = Stop::new();
    let out = outlet(memory.clone());
    let task = tokio::spawn(source.run(out.clone(), stop));
    assert_eq!(talk(address, "x\n".repeat(500).as_bytes()).await, "OK\n".repeat(500));
    assert_eq!(memory.level().queued.events, 500);
    assert_eq!(out.metrics().events_received.value(), 500);
    assert_eq!(out.metrics().events_accepted.value(), 500);
    handle.stop();
    task.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_stop_waits_for_one_full_channel_at_the_most() {
    let keys = "capacity = 1\ntransactionCapacity = 1\nkeep-alive = 1";
    let config = Section::parse(keys).read().into_result().unwrap();
    let memory =
        crate::channels::memory::Memory::open(config, context(Role::Channel)).await.unwrap();
    let source = contract::open_source::<Netcat>(KEYS, cx()).await;
    let address = source.local_addr().unwrap();
    let (handle, stop) = Stop::new();
    let task = tokio::spawn(source.run(outlet(memory.clone()), stop));
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&b"x\n".repeat(50)).await.unwrap();
    while memory.level().queued.events == 0 {
        tokio::task::yield_now().await;
    }
    handle.stop();
    timeout(Duration::from_secs(10), task).await.expect("it stops soon").unwrap().unwrap();
}

#[tokio::test]
async fn connections_are_counted_and_limited() {
    let bench = start("maxConnections = 1", Collector::new()).await;
    let mut first = TcpStream::connect(bench.address).await.unwrap();
    first.write_all(b"1\n").await.unwrap();
    bench.collector.wait_for(1).await;
    let metrics = bench.running.outlet.clone();
    assert_eq!(metrics.metrics().open_connections.value(), 1);
    // The second waits in the backlog until the first is gone.
    let second = tokio::spawn(talk(bench.address, b"3\n"));
    tokio::time::sleep(Duration::from_millis(20)).await;
    first.write_all(b"2\n").await.unwrap();
    bench.collector.wait_for(2).await;
    drop(first);
    assert_eq!(second.await.unwrap(), "OK\n");
    assert_eq!(bench.collector.bodies(), ["1", "2", "3"]);
    bench.running.stop().await.unwrap();
    assert_eq!(metrics.metrics().open_connections.value(), 0);
}

#[tokio::test]
async fn a_client_that_never_reads_is_not_read_either_and_stops() {
    let bench = start("", Collector::new()).await;
    let stream = TcpStream::connect(bench.address).await.unwrap();
    let (reading, mut writing) = stream.into_split();
    let lines = b"\n".repeat(64 * 1024);
    // Until the answers fill all buffers on the way back and nothing moves any more.
    while timeout(Duration::from_millis(500), writing.write_all(&lines)).await.is_ok() {
        assert!(bench.collector.puts() < 1_000_000, "it reads on and on");
    }
    bench.running.stop().await.unwrap();
    drop(reading);
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port();
    let keys = format!("bind = 127.0.0.1\nport = {port}");
    let config = Section::parse(&keys).read().into_result().unwrap();
    match Netcat::open(config, cx()).await {
        Err(OpenError::Unavailable(cause)) => {
            let message = cause.to_string();
            assert!(message.contains(&format!("127.0.0.1:{port}")), "{message}");
            assert!(message.contains("another port"), "{message}");
        }
        _ => panic!("it opened"),
    }
}

#[test]
fn keys_are_checked() {
    let check = |keys: &str| {
        assert!(Section::parse(keys).read::<Config>().into_result().is_err(), "{keys}");
    };
    check("bind = localhost");
    check("port = 1");
    check("bind = localhost\nport = 65536");
    check("bind = localhost\nport = 1\nmax-line-length = 0");
    check("bind = localhost\nport = 1\nencoding = UTF-32");
    check("bind = localhost\nport = 1\nmaxConnections = 0");
}

#[test]
fn a_listener_off_loopback_is_warned_of() {
    let check = |bind: &str, want: &[&str]| {
        let keys = Section::parse(&format!("bind = {bind}\nport = 1"));
        let found = splashdam_core::Entry::source::<Netcat>().look(&keys).findings;
        assert_eq!(found.iter().map(|finding| finding.code).collect::<Vec<_>>(), want, "{bind}");
    };
    check("127.0.0.1", &[]);
    check("localhost", &[]);
    check("0.0.0.0", &["plain-listener"]);
    check("mill.example.org", &["plain-listener"]);
}
