use std::time::Duration;

use splashdam_config::Section;
use splashdam_core::{Channel, Event, Role};
use splashdam_testkit::{Collector, Lines, context, contract, outlet};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::*;

const KEYS: &str = "host = 127.0.0.1\nport = 0";
const LIMIT: Duration = Duration::from_secs(10);

fn cx() -> Context {
    context(Role::Source)
}

struct Bench {
    running: contract::Running,
    address: SocketAddr,
    collector: Collector,
}

async fn start(keys: &str) -> Bench {
    let collector = Collector::new();
    let source = contract::open_source::<SyslogTcp>(&format!("{KEYS}\n{keys}"), cx()).await;
    let address = source.local_addr().unwrap();
    Bench { running: contract::run_source(source, &collector), address, collector }
}

/// Each event as its headers in order and its body.
pub(in crate::sources) fn shown(events: &[Event]) -> Vec<String> {
    let show = |event: &Event| {
        let headers = event.headers.iter().map(|(name, value)| format!("{name}={value} "));
        format!("{}{}", headers.collect::<String>(), String::from_utf8_lossy(&event.body))
    };
    events.iter().map(show).collect()
}

async fn send(address: SocketAddr, input: &[u8]) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The source may close before it has read everything.
    drop(stream.write_all(input).await);
    drop(stream.shutdown().await);
    // Nothing is answered; the end comes when all was read.
    let mut rest = Vec::new();
    drop(timeout(LIMIT, tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut rest)).await);
    assert_eq!(rest, b"");
}

#[tokio::test]
async fn stops() {
    contract::source_stops::<SyslogTcp>(KEYS, cx).await;
}

#[tokio::test]
async fn streams_become_events() {
    async fn check(keys: &str, input: &[u8], want: &[&str]) {
        let bench = start(keys).await;
        send(bench.address, input).await;
        let events = bench.collector.wait_for(want.len()).await;
        assert_eq!(shown(&events), want, "{keys}");
        bench.running.stop().await.unwrap();
    }
    let good = "Facility=1 Severity=5 priority=13 host=mill ";
    check("", b"", &[]).await;
    check(
        "",
        b"<13>- mill a\n\n<13>- mill b\n<13>- mill lost",
        &[&format!("{good}a"), &format!("{good}b")],
    )
    .await;
    check("keepFields = all", b"<13>- mill a\n", &[&format!("{good}<13>- mill a")]).await;
    check(
        "eventSize = 14",
        b"<13>- mill 123456\n",
        &[
            &format!("{good}flume.syslog.status=Incomplete 123"),
            "Facility=0 Severity=0 priority=13 flume.syslog.status=Invalid 456",
        ],
    )
    .await;
    check("clientIPHeader = ip", b"<13>- mill a\n", &[&format!("{good}ip=127.0.0.1 a")]).await;
    check(
        "framing = octet-counted",
        b"12 <13>- mill a12 <13>- mill b",
        &[&format!("{good}a"), &format!("{good}b")],
    )
    .await;
    check(
        "framing = auto",
        b"12 <13>- mill a<13>- mill b\n",
        &[&format!("{good}a"), &format!("{good}b")],
    )
    .await;
    check("framing = octet-counted", b"12 <13>- mill a<13>- mill b\n", &[&format!("{good}a")])
        .await;
    let rfc = "Facility=1 Severity=5 priority=13 version=1 host=mill appname=app sd.a.b=c ";
    let line = "<13>1 - mill app - - [a b=\"c\"] ";
    check(
        "mode = rfc",
        format!("{line}one\n{line}two").as_bytes(),
        &[&format!("{rfc}one"), &format!("{rfc}two")],
    )
    .await;
    check(
        "mode = rfc",
        format!("{} {line}one", line.len() + 3).as_bytes(),
        &[&format!("{rfc}one")],
    )
    .await;
    check(
        "mode = rfc\neventSize = 10",
        b"<13>a: 1234567\n<13>a: b\n",
        &[
            "Facility=1 Severity=5 priority=13 appname=a flume.syslog.status=Incomplete 123",
            "Facility=1 Severity=5 priority=13 appname=a b",
        ],
    )
    .await;
    let own = "format.regex = <(\\\\d+)>(v\\\\d) (\\\\S+) (\\\\S+) (.*)\nformat.dateFormat = yyyy/MM/dd\nformat.search = -\nformat.replace = /";
    check(
        own,
        b"<13>v7 1970/01-02 mill a\n",
        &["Facility=1 Severity=5 priority=13 version=v7 timestamp=86400000 host=mill a"],
    )
    .await;
    let many = "<13>- mill x\n".repeat(5000);
    check("", many.as_bytes(), &vec![format!("{good}x").as_str(); 5000]).await;
}

#[tokio::test]
async fn a_message_in_pieces_is_one_message() {
    let bench = start("").await;
    let mut stream = TcpStream::connect(bench.address).await.unwrap();
    for piece in ["<1", "3>- mi", "ll one\n<13", ">- mill two\n"] {
        stream.write_all(piece.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    bench.collector.wait_for(2).await;
    assert_eq!(bench.collector.bodies(), ["one", "two"]);
    assert_eq!(bench.running.outlet.metrics().open_connections.value(), 1);
    bench.running.stop().await.unwrap();
}

#[tokio::test]
async fn a_full_channel_makes_senders_wait_and_nothing_is_lost() {
    let keys = "capacity = 150\ntransactionCapacity = 30\nkeep-alive = 0";
    let config = Section::parse(keys).read().into_result().unwrap();
    let memory =
        crate::channels::memory::Memory::open(config, context(Role::Channel)).await.unwrap();
    let source = contract::open_source::<SyslogTcp>(KEYS, cx()).await;
    let address = source.local_addr().unwrap();
    let (handle, stop) = Stop::new();
    let out = outlet(memory.clone());
    let task = tokio::spawn(source.run(out.clone(), stop));
    let lines: String = (0..1000).map(|n| format!("<13>- mill {n}\n")).collect();
    let sender = tokio::spawn(async move { send(address, lines.as_bytes()).await });
    let mut bodies = Vec::new();
    while bodies.len() < 1000 {
        let take = timeout(LIMIT, memory.begin_take(splashdam_core::Size::events(30))).await;
        let take = take.unwrap().unwrap();
        bodies.extend(splashdam_testkit::bodies(take.batch().events()));
        take.commit().await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let want: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
    assert_eq!(bodies, want);
    sender.await.unwrap();
    assert_eq!(out.metrics().events_dropped.value(), 0);
    handle.stop();
    task.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_a_full_channel_never_takes_is_counted_at_the_end() {
    let bench = start("").await;
    bench.collector.refuse(usize::from(u16::MAX));
    let mut stream = TcpStream::connect(bench.address).await.unwrap();
    stream.write_all(b"<13>- mill a\n").await.unwrap();
    let metrics = bench.running.outlet.clone();
    while metrics.metrics().channel_write_failures.value() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    bench.running.stop().await.unwrap();
    assert_eq!(metrics.metrics().events_dropped.value(), 1);
}

#[tokio::test]
async fn what_is_not_counted_ends_its_connection_and_nobody_elses() {
    let bench = start("framing = octet-counted").await;
    let mut other = TcpStream::connect(bench.address).await.unwrap();
    other.write_all(b"12 <13>- mill a").await.unwrap();
    send(bench.address, b"GET / HTTP/1.1\r\n\r\n").await;
    other.write_all(b"12 <13>- mill b").await.unwrap();
    bench.collector.wait_for(2).await;
    assert_eq!(bench.running.outlet.metrics().read_failures.value(), 1);
    bench.running.stop().await.unwrap();
}

#[test]
fn keys_are_checked() {
    let check = |keys: &str, want: &[&str]| {
        let keys = Section::parse(keys);
        let found = splashdam_core::Entry::source::<SyslogTcp>().look(&keys).findings;
        assert_eq!(found.iter().map(|finding| finding.code).collect::<Vec<_>>(), want);
    };
    let local = "host = 127.0.0.1\nport = 1\n";
    check(local, &[]);
    check("port = 1", &["plain-listener"]);
    check(&format!("{local}format.regex = a\nformat.search = b"), &["invalid-value"]);
    check(&format!("{local}format.regex = a\nformat.dateFormat = ww"), &["invalid-value"]);
    check(&format!("{local}mode = rfc\nformat.regex = a"), &["unused-key"]);
    check(&format!("{local}mode = rfc\nformat.dateFormat = ww"), &["unused-key"]);
    for bad in [
        "host = h",
        "port = 65536",
        "port = 1\neventSize = 0",
        "port = 1\nmode = x",
        "port = 1\nframing = x",
        "port = 1\nformat.regex = (",
    ] {
        assert!(Section::parse(bad).read::<Config>().into_result().is_err(), "{bad}");
    }
}

#[tokio::test]
async fn who_sends_what_is_no_syslog_is_told_once_in_either_mode() {
    for keys in ["", "mode = rfc"] {
        let (lines, _guard) = Lines::of_this_thread();
        let bench = start(keys).await;
        send(bench.address, b"<13>- mill a\n").await;
        bench.collector.wait_for(1).await;
        assert_eq!(lines.with("is not syslog"), [""; 0], "{keys}");
        send(bench.address, b"GET /\nGET /\n").await;
        let events = bench.collector.wait_for(3).await;
        let status = events[1].headers.get("flume.syslog.status").expect("a status");
        assert_eq!(status.as_str(), "Invalid", "{keys}");
        let said = lines.with("a message is not syslog");
        assert!(matches!(&said[..], [said] if said.contains("127.0.0.1")), "{keys}: {said:?}");
        bench.running.stop().await.unwrap();
    }
}
