use std::time::Duration;

use splashdam_core::Role;
use splashdam_testkit::{Collector, context, contract};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::super::syslog_tcp::tests::shown;
use super::*;

const KEYS: &str = "host = 127.0.0.1\nports = 0 0";

fn cx() -> Context {
    context(Role::Source)
}

async fn send(address: SocketAddr, input: &[u8]) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(input).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut rest = Vec::new();
    let ended = timeout(Duration::from_secs(10), stream.read_to_end(&mut rest)).await;
    ended.unwrap().unwrap();
}

#[tokio::test]
async fn stops() {
    contract::source_stops::<MultiportSyslogTcp>(KEYS, cx).await;
}

#[tokio::test]
async fn streams_of_all_ports_become_events() {
    async fn check(keys: &str, input: &[u8], want: &[String]) {
        let collector = Collector::new();
        let keys = format!("{KEYS}\n{keys}");
        let source = contract::open_source::<MultiportSyslogTcp>(&keys, cx()).await;
        let addresses = source.local_addrs();
        let running = contract::run_source(source, &collector);
        for (at, address) in addresses.iter().enumerate() {
            send(*address, input).await;
            let all = collector.wait_for(want.len() * (at + 1)).await;
            let port = address.port().to_string();
            let want: Vec<String> = want.iter().map(|line| line.replace("{port}", &port)).collect();
            assert_eq!(shown(&all[want.len() * at..]), want, "{keys}");
        }
        running.stop().await.unwrap();
    }
    let texts = |all: &[&str]| all.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let time = "2022-03-04T05:06:07Z";
    let good = "Priority=13 Facility=1 Severity=5 Version=1 timestamp=1646370367000 host=mill ";
    let line = |text: &str| format!("<13>1 {time} mill {text}\n");
    let input = line("a") + "\nnonsense\n" + &line("b\r") + "<13>1 - lost";
    check(
        "",
        input.as_bytes(),
        &[format!("{good}a"), "flume.syslog.status=Invalid nonsense".into(), format!("{good}b\r")],
    )
    .await;
    check(
        "portHeader = port\nclientIPHeader = ip",
        line("a").as_bytes(),
        &[format!("{good}port={{port}} ip=127.0.0.1 a")],
    )
    .await;
    check(
        "eventSize = 40",
        line("123456789").as_bytes(),
        &[
            format!("{good}flume.syslog.status=Incomplete 12345678"),
            "flume.syslog.status=Invalid 9".into(),
        ],
    )
    .await;
    let latin: Vec<u8> = line("grün").chars().map(|c| c as u8).collect();
    check(
        "",
        &latin,
        &texts(&["flume.syslog.status=Invalid <13>1 2022-03-04T05:06:07Z mill gr\u{fffd}n"]),
    )
    .await;
    check("charset.default = ISO-8859-1", &latin, &[format!("{good}gr\u{fffd}n")]).await;
    check(
        "charset.default = UTF-8\ncharset.port.0 = ISO-8859-1",
        &latin,
        &[format!("{good}gr\u{fffd}n")],
    )
    .await;
    check("", line("nul\0nul").as_bytes(), &[format!("{good}nul\0nul")]).await;
    let rfc = "Facility=1 Severity=5 priority=13 version=1 timestamp=1646370367000 host=mill appname=app ";
    check("mode = rfc", line("app - - - a").as_bytes(), &[format!("{rfc}a")]).await;
}

#[tokio::test]
async fn the_other_ports_are_served_while_one_cannot_be_had() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port();
    let keys = format!("host = 127.0.0.1\nports = {port} 0");
    let source = contract::open_source::<MultiportSyslogTcp>(&keys, cx()).await;
    let addresses = source.local_addrs();
    assert_eq!(addresses.len(), 1);
    let collector = Collector::new();
    let running = contract::run_source(source, &collector);
    send(addresses[0], b"<13>- mill a\n").await;
    collector.wait_for(1).await;
    drop(taken);
    let began = std::time::Instant::now();
    let stream = loop {
        match TcpStream::connect(("127.0.0.1", port)).await {
            Ok(stream) => break stream,
            Err(error) => assert!(began.elapsed() < AGAIN * 4, "{error}"),
        }
        sleep(Duration::from_millis(20)).await;
    };
    drop(stream);
    running.stop().await.unwrap();
    let alone = Section::parse(&format!("host = 127.0.0.1\nports = {port}"));
    let _held = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let config = alone.read().into_result().unwrap();
    assert!(matches!(MultiportSyslogTcp::open(config, cx()).await, Err(OpenError::Unavailable(_))));
}

#[test]
fn keys_are_checked() {
    let check = |keys: &str, want: &[&str]| {
        let keys = Section::parse(keys);
        let found = splashdam_core::Entry::source::<MultiportSyslogTcp>().look(&keys).findings;
        assert_eq!(found.iter().map(|finding| finding.code).collect::<Vec<_>>(), want);
    };
    let local = "host = 127.0.0.1\nports = 1 2\n";
    check(&format!("{local}readBufferBytes = 9\nnumProcessors = 3"), &[]);
    check("ports = 1", &["plain-listener"]);
    check("host = 127.0.0.1\nports =", &["invalid-value"]);
    check(&format!("{local}charset.port.3 = UTF-8"), &["unused-key"]);
    check(&format!("{local}charset.port.2 = UTF-8"), &[]);
    for bad in
        ["host = h", "ports = x", "ports = 1\ncharset.default = x", "ports = 1\nbatchSize = 0"]
    {
        assert!(Section::parse(bad).read::<Config>().into_result().is_err(), "{bad}");
    }
}
