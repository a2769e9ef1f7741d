use std::net::SocketAddr;

use splashdam_core::{Role, find};
use splashdam_testkit::{context, contract, events};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, UdpSocket};
use tokio::time::timeout;

use super::*;

const LIMIT: Duration = Duration::from_secs(10);

async fn sink(address: SocketAddr, keys: &str) -> Syslog {
    let keys =
        format!("hostname = {}\nport = {}\nhost = mill\n{keys}", address.ip(), address.port());
    contract::open_sink::<Syslog>(&keys, context(Role::Sink)).await
}

fn event(headers: &[(&str, &str)], body: &str) -> Event {
    let mut event = Event::new(body.to_owned());
    event.headers = headers.iter().map(|(name, value)| (*name, *value)).collect();
    event
}

const TIME: (&str, &str) = ("timestamp", "1646370367008");

#[tokio::test]
async fn events_become_messages_on_a_connection() {
    let batch: Batch = [
        event(&[TIME], "plain"),
        event(
            &[
                TIME,
                ("Facility", "4"),
                ("Severity", "2"),
                ("host", "gate"),
                ("appname", "su"),
                ("procid", "7"),
                ("msgid", "id"),
            ],
            "two\nlines",
        ),
        event(&[TIME, ("Facility", "24"), ("Severity", "x")], ""),
    ]
    .into_iter()
    .collect();
    let time = "2022-03-04T05:06:07.008Z";
    let check = async |keys: &str, want: &str| {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut sink = sink(listener.local_addr().unwrap(), keys).await;
        assert_eq!(sink.deliver(&batch).await.unwrap(), Delivered::all(&batch));
        let (mut stream, _) = listener.accept().await.unwrap();
        sink.close().await.unwrap();
        let mut got = String::new();
        timeout(LIMIT, stream.read_to_string(&mut got)).await.unwrap().unwrap();
        assert_eq!(got, want, "{keys}");
    };
    check(
        "",
        &format!(
            "57 <13>1 {time} mill splashdam - - - plain55 <34>1 {time} gate su 7 id - two\nlines52 <13>1 {time} mill splashdam - - - "
        ),
    )
    .await;
    check(
        "framing = newline\nfacility = 16\nseverity = 7\nappName = saw",
        &format!("<135>1 {time} mill saw - - - plain\n<34>1 {time} gate su 7 id - two lines\n<135>1 {time} mill saw - - - \n"),
    )
    .await;
    check(
        "format = rfc3164\nframing = newline",
        "<13>Mar  4 05:06:07 mill splashdam: plain\n<34>Mar  4 05:06:07 gate su[7]: two lines\n<13>Mar  4 05:06:07 mill splashdam: \n",
    )
    .await;
}

#[tokio::test]
async fn events_become_datagrams() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut sink = sink(socket.local_addr().unwrap(), "protocol = udp\nformat = rfc3164").await;
    let long = "x".repeat(70_000);
    let batch: Batch = [event(&[TIME], "a\nb"), event(&[TIME], &long)].into_iter().collect();
    sink.deliver(&batch).await.unwrap();
    let mut got = vec![0; 70_000];
    let head = "<13>Mar  4 05:06:07 mill splashdam: ";
    for want in [format!("{head}a\nb"), format!("{head}{long}")[..DATAGRAM_BYTES].to_owned()] {
        let read = timeout(LIMIT, socket.recv(&mut got)).await.unwrap().unwrap();
        assert!(got[..read] == *want.as_bytes(), "{} bytes, not {}", read, want.len());
    }
}

#[tokio::test]
async fn what_no_datagram_holds_is_rejected_whole_where_somebody_takes_it() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let keys = format!("hostname = {}\nport = {}\nprotocol = udp", address.ip(), address.port());
    let cx = Context { dead_letters: true, ..context(Role::Sink) };
    let mut sink = contract::open_sink::<Syslog>(&keys, cx).await;
    let long = "x".repeat(DATAGRAM_BYTES);
    let batch: Batch =
        ["one", &long, "two", &long].map(|body| event(&[TIME], body)).into_iter().collect();
    let delivered = sink.deliver(&batch).await.unwrap();
    let places: Vec<_> = delivered.rejected.iter().map(|rejected| rejected.at).collect();
    assert_eq!((places, delivered.events), (vec![1, 3], 2));
    assert!(delivered.rejected[0].why.contains("longer than a datagram"), "{delivered:?}");
    let mut got = vec![0; 70_000];
    for want in ["one", "two"] {
        let read = timeout(LIMIT, socket.recv(&mut got)).await.unwrap().unwrap();
        assert!(got[..read].ends_with(want.as_bytes()), "{read} bytes, not {want}");
    }
}

#[tokio::test]
async fn a_server_that_went_away_is_connected_to_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut sink = sink(listener.local_addr().unwrap(), "framing = newline").await;
    let batch = events(0, 1);
    sink.deliver(&batch).await.unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    drop(stream);
    // The end has to arrive before it can be noticed.
    while sink.target.is_open() {
        tokio::task::yield_now().await;
    }
    sink.deliver(&batch).await.unwrap();
    let (mut stream, _) = timeout(LIMIT, listener.accept()).await.unwrap().unwrap();
    assert!(stream.read_u8().await.unwrap() == b'<');
    let metrics = sink.metrics.clone();
    assert_eq!((metrics.connections_created.value(), metrics.connections_closed.value()), (2, 1));
    drop((stream, listener));
    let error = loop {
        match sink.deliver(&batch).await {
            Ok(_) => tokio::task::yield_now().await,
            Err(error) => break error.to_string(),
        }
    };
    assert!(error.contains("cannot be reached") || error.contains("broke"), "{error}");
}

#[tokio::test]
async fn a_server_that_reads_nothing_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut sink = sink(listener.local_addr().unwrap(), "request-timeout = 200").await;
    let body = "x".repeat(4_000_000);
    let batch: Batch = [event(&[TIME], &body)].into_iter().collect();
    let error = loop {
        match sink.deliver(&batch).await {
            Ok(_) => {}
            Err(error) => break error.to_string(),
        }
    };
    assert!(error.contains("takes no messages"), "{error}");
}

#[test]
fn keys_are_checked() {
    let check = |keys: &str, want: &[&str]| {
        let section = Section::parse(keys);
        let found = find(crate::SINKS, "syslog").unwrap().look(&section).findings;
        assert_eq!(found.iter().map(|finding| finding.code).collect::<Vec<_>>(), want, "{keys}");
    };
    let keys = "hostname = h\nport = 514\n";
    check(keys, &[]);
    check(&format!("{keys}protocol = udp"), &[]);
    check(&format!("{keys}protocol = udp\nframing = newline"), &["unused-key"]);
    check(&format!("{keys}protocol = udp\nssl = true"), &["invalid-value"]);
    for bad in ["facility = 24", "severity = 8", "format = x", "batchSize = 0", "protocol = tls"] {
        let section = Section::parse(&format!("{keys}{bad}"));
        assert!(section.read::<Config>().into_result().is_err(), "{bad}");
    }
}

#[tokio::test]
async fn messages_come_over_tls() {
    use crate::sources::syslog_tcp::SyslogTcp;
    use splashdam_testkit::Collector;

    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    for name in ["mill", "stranger"] {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        std::fs::write(path(&format!("{name}.pem")), made.cert.pem()).unwrap();
        std::fs::write(path(name), made.cert.pem() + &made.signing_key.serialize_pem()).unwrap();
    }
    for mode in ["rfc", "flume\nframing = octet-counted"] {
        let keys = format!(
            "host = 127.0.0.1\nport = 0\nmode = {mode}\nssl = true\nkeystore = {}\nkeystore-password = x",
            path("mill")
        );
        let source = contract::open_source::<SyslogTcp>(&keys, context(Role::Source)).await;
        let address = source.local_addr().unwrap();
        let collector = Collector::new();
        let running = contract::run_source(source, &collector);
        let client = |trusted: &str| format!("ssl = true\ntruststore = {}", path(trusted));
        let mut good = sink(address, &client("mill.pem")).await;
        good.deliver(&events(0, 100)).await.unwrap();
        let got = collector.wait_for(100).await;
        assert!(got.iter().all(|event| event.headers.get("host").unwrap().as_str() == "mill"));
        let mut strange = sink(address, &client("stranger.pem")).await;
        let error = strange.deliver(&events(0, 1)).await.unwrap_err().to_string();
        assert!(error.contains("the server's certificate is refused"), "{error}");
        // Who speaks no TLS is turned away, as was who trusts somebody else.
        let mut plain = sink(address, "").await;
        plain.deliver(&events(0, 1)).await.unwrap();
        let turned_away = async {
            while running.outlet.metrics().read_failures.value() < 2 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(LIMIT, turned_away).await.unwrap();
        good.close().await.unwrap();
        running.stop().await.unwrap();
        assert_eq!(collector.events().len(), 100);
    }
}
