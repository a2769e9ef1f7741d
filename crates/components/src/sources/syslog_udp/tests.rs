use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use splashdam_core::{Channel, Role};
use splashdam_testkit::{Collector, context, contract, outlet};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::super::syslog_tcp::tests::shown;
use super::*;

const KEYS: &str = "host = 127.0.0.1\nport = 0";
const LIMIT: Duration = Duration::from_secs(10);

fn cx() -> Context {
    context(Role::Source)
}

async fn client(address: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(address).await.unwrap();
    socket
}

#[tokio::test]
async fn stops() {
    contract::source_stops::<SyslogUdp>(KEYS, cx).await;
}

#[tokio::test]
async fn datagrams_become_events() {
    async fn check(keys: &str, datagrams: &[&[u8]], want: &[&str]) {
        let collector = Collector::new();
        let source = contract::open_source::<SyslogUdp>(&format!("{KEYS}\n{keys}"), cx()).await;
        let client = client(source.local_addr().unwrap()).await;
        let running = contract::run_source(source, &collector);
        for datagram in datagrams {
            client.send(datagram).await.unwrap();
        }
        let events = collector.wait_for(want.len()).await;
        assert_eq!(shown(&events), want, "{keys}");
        running.stop().await.unwrap();
        assert_eq!(collector.events().len(), want.len());
    }
    let good = "Facility=1 Severity=5 priority=13 host=mill ";
    let long = "x".repeat(60_000);
    check(
        "",
        &[
            b"<13>- mill a",
            b"<13>- mill b\n<13>- mill dropped",
            b"",
            b"\n",
            b"<",
            b"text",
            b"<13",
            format!("<13>- mill {long}").as_bytes(),
        ],
        &[
            &format!("{good}a"),
            &format!("{good}b"),
            "Facility=0 Severity=0 priority=13 flume.syslog.status=Invalid text",
            "Facility=1 Severity=5 priority=13 <13",
            &format!("{good}{long}"),
        ],
    )
    .await;
    check(
        "clientIPHeader = ip\nkeepFields = all",
        &[b"<13>- mill a\n"],
        &[&format!("{good}ip=127.0.0.1 <13>- mill a")],
    )
    .await;
    check(
        "mode = rfc",
        &[b"<13>a: one\ntwo\n\0", b""],
        &[
            "Facility=1 Severity=5 priority=13 appname=a one\ntwo",
            "Facility=1 Severity=5 flume.syslog.status=Invalid ",
        ],
    )
    .await;
}

#[tokio::test]
async fn a_burst_is_taken_while_the_channel_is_full() {
    let keys = "capacity = 50\ntransactionCapacity = 20\nkeep-alive = 0";
    let config = Section::parse(keys).read().into_result().unwrap();
    let memory =
        crate::channels::memory::Memory::open(config, context(Role::Channel)).await.unwrap();
    let source = contract::open_source::<SyslogUdp>(KEYS, cx()).await;
    let client = client(source.local_addr().unwrap()).await;
    let (handle, stop) = Stop::new();
    let out = outlet(memory.clone());
    let task = tokio::spawn(source.run(out.clone(), stop));
    for n in 0..150 {
        client.send(format!("<13>- mill {n}").as_bytes()).await.unwrap();
    }
    let mut bodies = Vec::new();
    while bodies.len() < 150 {
        let take = timeout(LIMIT, memory.begin_take(Size::events(20))).await.unwrap().unwrap();
        bodies.extend(splashdam_testkit::bodies(take.batch().events()));
        take.commit().await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let want: Vec<String> = (0..150).map(|n| n.to_string()).collect();
    assert_eq!(bodies, want);
    assert_eq!(out.metrics().events_dropped.value(), 0);
    handle.stop();
    task.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_stop_does_not_wait_for_senders_that_never_pause() {
    let check = async |keys: &str, limit: Duration| {
        let source = contract::open_source::<SyslogUdp>(&format!("{KEYS}\n{keys}"), cx()).await;
        let address = source.local_addr().unwrap();
        let ended = Arc::new(AtomicBool::new(false));
        let sends = || {
            let ended = ended.clone();
            std::thread::spawn(move || {
                let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
                while !ended.load(Relaxed) {
                    socket.send_to(b"<13>- mill a", address).ok();
                }
            })
        };
        let senders = [sends(), sends(), sends()];
        let collector = Collector::new();
        let running = contract::run_source(source, &collector);
        collector.wait_for(1000).await;
        let stopped = timeout(limit, running.stop()).await;
        ended.store(true, Relaxed);
        for sender in senders {
            sender.join().unwrap();
        }
        stopped.expect("it stops").unwrap();
    };
    check("receiveBufferBytes = 65536", Duration::from_secs(3)).await;
    check("", LIMIT).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn what_the_kernel_drops_is_counted() {
    let keys = format!("{KEYS}\nreceiveBufferBytes = 4096");
    let source = contract::open_source::<SyslogUdp>(&keys, cx()).await;
    let client = client(source.local_addr().unwrap()).await;
    // Nobody reads yet.
    for _ in 0..1000 {
        client.send(&[b'x'; 1000]).await.unwrap();
    }
    let collector = Collector::new();
    let running = contract::run_source(source, &collector);
    let metrics = running.outlet.clone();
    let got = async {
        while collector.events().len() as u64 + metrics.metrics().events_dropped.value() < 1000 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LIMIT, got).await.unwrap();
    assert!(metrics.metrics().events_dropped.value() > 500);
    running.stop().await.unwrap();
    assert_eq!(collector.events().len() as u64 + metrics.metrics().events_dropped.value(), 1000);
}

#[test]
fn keys_are_checked() {
    let check = |keys: &str, want: &[&str]| {
        let keys = Section::parse(keys);
        let found = splashdam_core::Entry::source::<SyslogUdp>().look(&keys).findings;
        assert_eq!(found.iter().map(|finding| finding.code).collect::<Vec<_>>(), want);
    };
    check("host = 127.0.0.1\nport = 1", &[]);
    check("port = 1", &["plain-listener"]);
    check("host = 127.0.0.1\nport = 1\nssl = true", &["unknown-key"]);
    for bad in ["host = h", "port = x", "port = 1\nreceiveBufferBytes = 0", "port = 1\nmode = x"] {
        assert!(Section::parse(bad).read::<Config>().into_result().is_err(), "{bad}");
    }
}
