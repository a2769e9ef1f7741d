use std::net::SocketAddr;

use splashdam_core::{Channel, Event, Place, Role, Then, find};
use splashdam_testkit::fakes::outlet_to;
use splashdam_testkit::{Collector, context, contract, events};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::*;
use crate::channels::memory::Memory;
use crate::sources;

struct Bench {
    running: contract::Running,
    address: SocketAddr,
    collector: Collector,
}

/// A source of ours on a port of its own.
async fn source() -> Bench {
    source_with("").await
}

async fn source_with(more: &str) -> Bench {
    let keys = format!("bind = 127.0.0.1\nport = 0\n{more}");
    let cx = context(Role::Source);
    let source = contract::open_source::<sources::thrift::Thrift>(&keys, cx).await;
    let (address, collector) = (source.local_addr().unwrap(), Collector::new());
    Bench { running: contract::run_source(source, &collector), address, collector }
}

fn keys(address: SocketAddr, more: &str) -> String {
    format!("hostname = {}\nport = {}\n{more}", address.ip(), address.port())
}

async fn sink(address: SocketAddr, more: &str) -> Thrift {
    contract::open_sink::<Thrift>(&keys(address, more), context(Role::Sink)).await
}

#[tokio::test]
async fn keeps_the_contract() {
    let bench = source().await;
    for more in ["", "protocol = binary", "batch-size = 1", "protocol = Binary\nbatch-size = 1000"]
    {
        contract::sink::<Thrift>(&keys(bench.address, more)).await;
    }
    bench.running.stop().await.unwrap();
}

#[tokio::test]
async fn batches_arrive_whole_and_in_order() {
    let bench = source().await;
    let mut sink = sink(bench.address, "").await;
    let mut event = Event::new(&b"\0\xff"[..]);
    event.headers.insert("a", "b");
    sink.deliver(&Batch::from(vec![event.clone()])).await.unwrap();
    sink.deliver(&events(0, 100)).await.unwrap();
    assert_eq!(bench.collector.batches().len(), 2);
    assert_eq!(bench.collector.events()[0], event);
    assert_eq!(bench.collector.bodies()[1..], bodies(100));
    let metrics = sink.metrics.clone();
    sink.close().await.unwrap();
    let counts = [
        metrics.connections_created.value(),
        metrics.connections_closed.value(),
        metrics.connections_failed.value(),
    ];
    assert_eq!(counts, [1, 1, 0]);
    bench.running.stop().await.unwrap();
}

fn bodies(count: usize) -> Vec<String> {
    (0..count).map(|n| n.to_string()).collect()
}

#[tokio::test]
async fn a_refusal_keeps_the_connection_and_a_break_does_not() {
    let bench = source().await;
    let mut sink = sink(bench.address, "").await;
    bench.collector.refuse(1);
    let error = sink.deliver(&events(0, 1)).await.unwrap_err();
    assert_eq!(error.then, Then::FailOver);
    assert!(error.to_string().contains("FAILED"), "{error}");
    sink.deliver(&events(0, 1)).await.unwrap();
    assert_eq!(sink.metrics.connections_created.value(), 1);

    bench.running.stop().await.unwrap();
    let error = sink.deliver(&events(1, 1)).await.unwrap_err();
    assert_eq!(error.then, Then::FailOver);
    assert_eq!(sink.metrics.connections_closed.value(), 1);
    sink.deliver(&events(1, 1)).await.unwrap_err();
    assert_eq!(sink.metrics.connections_failed.value(), 1);
    assert_eq!(bench.collector.bodies(), ["0"]);
}

#[tokio::test]
async fn it_connects_again_when_the_source_is_back() {
    let bench = source().await;
    let mut sink = sink(bench.address, "").await;
    sink.deliver(&events(0, 1)).await.unwrap();
    let (port, collector) = (bench.address.port(), bench.collector);
    bench.running.stop().await.unwrap();
    let keys = format!("bind = 127.0.0.1\nport = {port}");
    let cx = context(Role::Source);
    let again = contract::open_source::<sources::thrift::Thrift>(&keys, cx).await;
    let running = contract::run_source(again, &collector);
    // The old connection is found broken, the next one works.
    sink.deliver(&events(1, 1)).await.unwrap_err();
    sink.deliver(&events(1, 1)).await.unwrap();
    assert_eq!(collector.bodies(), ["0", "1"]);
    running.stop().await.unwrap();
}

/// An open channel of a kind.
async fn channel<C: Component + Channel>(keys: &str) -> Arc<dyn Channel> {
    let config = Section::parse(keys).read().into_result().unwrap();
    Arc::new(C::open(config, context(Role::Channel)).await.unwrap())
}

/// A channel in memory stores each event once; a collector does not know where they come from.
#[tokio::test]
async fn what_is_delivered_again_is_there_once_where_the_peer_says_so() {
    let again = events(0, 5).with_place(Some(Place {
        queue: [3; 16],
        low: 0,
        began: 0,
        ranges: vec![10..13, 20..22],
        lasting: true,
    }));
    let channel = channel::<Memory>("").await;
    let keys = "bind = 127.0.0.1\nport = 0";
    let cx = context(Role::Source);
    let source = contract::open_source::<sources::thrift::Thrift>(keys, cx).await;
    let address = source.local_addr().unwrap();
    let running = contract::run_source_into(source, outlet_to(vec![channel.clone()]));
    let mut ours = sink(address, "").await;
    for _ in 0..2 {
        ours.deliver(&again).await.unwrap();
        assert_eq!(ours.guarantee, Some(true));
    }
    assert_eq!(channel.level().queued.events, 5);
    running.stop().await.unwrap();

    let bench = self::source().await;
    let mut ours = sink(bench.address, "").await;
    for _ in 0..2 {
        ours.deliver(&again).await.unwrap();
        assert_eq!(ours.guarantee, Some(false));
    }
    assert_eq!(bench.collector.events().len(), 10);
    bench.running.stop().await.unwrap();
}

/// A server that takes connections and says `answer` on each.
async fn server(answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            stream.write_all(answer).await.unwrap();
            open.push(stream);
        }
    });
    address
}

#[tokio::test]
async fn answers_that_are_none_end_the_connection() {
    let check = async |answer: &'static [u8], want: &str| {
        let mut sink = sink(server(answer).await, "request-timeout = 1000").await;
        let error = sink.deliver(&events(0, 1)).await.unwrap_err();
        assert!(error.to_string().contains(want), "{want}: {error}");
        assert_eq!(sink.metrics.connections_closed.value(), 1, "{want}");
    };
    check(b"", "did not answer within 1s").await;
    check(b"HTTP/1.1 400 Bad Request\r\n", "something else than an answer").await;
    check(b"\0\0\0\x02\x82\x41", "something else than an answer").await;
    check(b"\0\0\0\x13\x82\x41\x09\x0bappendBatch\x05\0\0\0", "an answer to another call").await;
    check(b"\0\0\0\x0c\x82\x61\x01\x01x\x18\x02hm\x15\x0c\0", "answered with an error: hm").await;
    // As much as a frame may be, of which nothing comes.
    check(b"\0\xfa\0\0", "did not answer").await;
}

#[tokio::test]
async fn connections_are_made_anew_after_their_time() {
    let bench = source().await;
    let mut sink = sink(bench.address, "reset-connection-interval = 60").await;
    sink.deliver(&events(0, 1)).await.unwrap();
    sink.deliver(&events(1, 1)).await.unwrap();
    assert_eq!(sink.metrics.connections_created.value(), 1);
    let minute = Duration::from_secs(60);
    sink.open.as_mut().unwrap().since -= minute;
    sink.deliver(&events(2, 1)).await.unwrap();
    assert_eq!(sink.metrics.connections_created.value(), 2);
    assert_eq!(sink.metrics.connections_closed.value(), 1);
    assert_eq!(bench.collector.bodies(), ["0", "1", "2"]);
    bench.running.stop().await.unwrap();
}

#[tokio::test]
async fn an_event_that_no_frame_holds_is_named() {
    let bench = source().await;
    let mut sink = sink(bench.address, "").await;
    let batch = Batch::from(vec![Event::new(vec![0; MOST_FRAME_BYTES])]);
    let error = sink.deliver(&batch).await.unwrap_err();
    assert!(error.to_string().contains("an event of 16384000 bytes"), "{error}");
    sink.deliver(&events(0, 1)).await.unwrap();
    assert_eq!(sink.metrics.connections_created.value(), 1);
    bench.running.stop().await.unwrap();
}

#[tokio::test]
async fn an_event_that_no_frame_holds_is_rejected_where_somebody_takes_it() {
    let bench = source().await;
    for protocol in ["compact", "binary"] {
        let keys = keys(bench.address, &format!("protocol = {protocol}"));
        let cx = Context { dead_letters: true, ..context(Role::Sink) };
        let mut sink = contract::open_sink::<Thrift>(&keys, cx).await;
        let before = bench.collector.events().len();
        let long = || Event::new(vec![b'x'; MOST_FRAME_BYTES]);
        let fits = || Event::new(vec![b'y'; MOST_FRAME_BYTES - 1000]);
        let batch = Batch::from(vec![Event::new("a"), long(), fits(), long(), Event::new("b")]);
        let delivered = sink.deliver(&batch).await.unwrap();
        let places: Vec<_> = delivered.rejected.iter().map(|rejected| rejected.at).collect();
        assert_eq!((places, delivered.events), (vec![1, 3], 3), "{protocol}");
        assert!(delivered.rejected[0].why.contains("16384000 bytes"), "{delivered:?}");
        let got: Vec<_> = bench.collector.events()[before..].iter().map(Event::bytes).collect();
        assert_eq!(got, [1, MOST_FRAME_BYTES - 1000, 1], "{protocol}");
        // With nothing left to send nothing is sent.
        let delivered = sink.deliver(&Batch::from(vec![long()])).await.unwrap();
        assert_eq!((delivered.rejected.len(), delivered.events), (1, 0), "{protocol}");
    }
    bench.running.stop().await.unwrap();
}

#[tokio::test]
async fn what_is_all_rejected_needs_no_peer_and_says_nothing_of_one() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let cx = Context { dead_letters: true, ..context(Role::Sink) };
    let mut sink = contract::open_sink::<Thrift>(&keys(nobody, ""), cx).await;
    let place = Place {
        queue: [1; 16],
        low: 0,
        began: 0,
        #[expect(clippy::single_range_in_vec_init, reason = "a place is a list of ranges")]
        ranges: vec![0..1],
        lasting: true,
    };
    let batch = Batch::from(vec![Event::new(vec![0; MOST_FRAME_BYTES])]).with_place(Some(place));
    let delivered = sink.deliver(&batch).await.unwrap();
    assert_eq!((delivered.rejected.len(), delivered.events), (1, 0));
    assert_eq!((sink.guarantee, sink.metrics.connections_failed.value()), (None, 0));
    sink.deliver(&events(0, 1)).await.unwrap_err();
}

/// A delivery that the end of the grace time drops leaves a connection that nothing is sent on.
#[tokio::test]
async fn a_dropped_delivery_spoils_its_connection() {
    let mut sink = sink(server(b"").await, "").await;
    let limit = Duration::from_millis(50);
    tokio::time::timeout(limit, sink.deliver(&events(0, 1))).await.unwrap_err();
    tokio::time::timeout(limit, sink.deliver(&events(0, 1))).await.unwrap_err();
    assert_eq!(sink.metrics.connections_created.value(), 2);
}

#[tokio::test]
async fn both_speak_tls_or_neither() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    for name in ["mill", "stranger"] {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        std::fs::write(path(&format!("{name}.pem")), made.cert.pem()).unwrap();
        std::fs::write(path(name), made.cert.pem() + &made.signing_key.serialize_pem()).unwrap();
    }
    let server = format!("ssl = true\nkeystore = {}\nkeystore-password = x", path("mill"));
    let client = |trusted: &str| format!("ssl = true\ntruststore = {}", path(trusted));

    let bench = source_with(&server).await;
    let mut good = sink(bench.address, &client("mill.pem")).await;
    good.deliver(&events(0, 100)).await.unwrap();
    let large: Batch = (0..3).map(|_| Event::new(vec![b'x'; 5_000_000])).collect();
    good.deliver(&large).await.unwrap();
    assert_eq!(bench.collector.events().len(), 103);
    assert_eq!(bench.collector.events()[100..], *large.events());

    let check = async |address: SocketAddr, more: String, want: &str| {
        let mut sink = sink(address, &format!("{more}\nrequest-timeout = 1000")).await;
        let error = sink.deliver(&events(0, 1)).await.unwrap_err();
        assert!(error.to_string().contains(want), "{want}: {error}");
    };
    check(bench.address, client("stranger.pem"), "the server's certificate is refused").await;
    check(bench.address, String::new(), "TLS instead of a frame").await;
    assert_eq!(bench.running.outlet.metrics().read_failures.value(), 2);
    good.deliver(&events(103, 1)).await.unwrap();
    bench.running.stop().await.unwrap();

    let plain = source().await;
    check(plain.address, client("mill.pem"), "the TLS handshake").await;
    plain.running.stop().await.unwrap();
}

#[test]
fn keys_are_checked() {
    let must = "hostname = mill\nport = 4141";
    let check = |keys: &str, want: &[&str]| {
        let keys = format!("type = thrift\n{keys}");
        let looked = find(crate::SINKS, "thrift").unwrap().look(&Section::parse(&keys));
        let found: Vec<_> = looked.findings.iter().map(|finding| finding.code).collect();
        assert_eq!(found, want, "{keys}");
    };
    check(must, &[]);
    check("", &["missing-key", "missing-key"]);
    check(&format!("{must}\nmaxConnections = 5\nreset-connection-interval = 5"), &[]);
    check(&format!("{must}\nconnection-reset-interval = 5"), &[]);
    check(&format!("{must}\nhosts = h1\nclient.type = thrift"), &["unknown-key", "unknown-key"]);
    check(&format!("{must}\nprotocol = BINARY"), &["value-replaced"]);
    check(&format!("{must}\nrequest-timeout = 999"), &["value-replaced"]);
    check(&format!("{must}\nbatch-size = 0"), &["bad-value"]);
    check(&format!("{must}\nkerberos = true\nclient-principal = a@B"), &["kerberos-not-built"]);
}

#[test]
fn values_count_as_in_flume() {
    let check = |keys: &str, want: (usize, u64, u64, Protocol)| {
        let keys = format!("hostname = mill\nport = 4141\n{keys}");
        let config = Section::parse(&keys).read::<Config>().value.unwrap();
        let timeouts = [config.connect_timeout, config.request_timeout];
        let [connect, request] = timeouts.map(|millis| timeout(millis).as_secs());
        assert_eq!((config.batch_events(), connect, request, config.protocol()), want, "{keys}");
    };
    check("", (100, 20, 20, Protocol::Compact));
    check("batch-size = 7\nprotocol = binary", (7, 20, 20, Protocol::Binary));
    check("batch-size = 0\nprotocol = Binary", (100, 20, 20, Protocol::Compact));
    check("batch-size = x\nconnect-timeout = 2000", (100, 2, 20, Protocol::Compact));
    check("request-timeout = 999\nconnect-timeout = -5", (100, 20, 20, Protocol::Compact));
}
