#![expect(clippy::single_range_in_vec_init, reason = "claims are lists of ranges")]

use bytes::{Buf, Bytes};
use splashdam_client::thrift::Connection;
use splashdam_client::{Address, CallError, Plain};
use splashdam_core::{Batch, Channel, Event, Role, Size, find};
use splashdam_testkit::fakes::outlet_to;
use splashdam_testkit::{Collector, Lines, bodies, context, contract};
use splashdam_wire::claim::Claim;
use splashdam_wire::thrift::Protocol as Wire;
use splashdam_wire::thrift::rpc::{Status, read_answer, write_append_batch};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio::time::timeout;

use std::ops::Range;
use std::time::Duration;

use super::*;
use crate::channels::file::FileChannel;
use crate::channels::memory::Memory;

const KEYS: &str = "bind = 127.0.0.1\nport = 0";
const LIMIT: Duration = Duration::from_secs(10);

fn cx() -> Context {
    context(Role::Source)
}

struct Bench {
    running: contract::Running,
    address: SocketAddr,
    collector: Collector,
}

async fn start(keys: &str, collector: Collector) -> Bench {
    let source = contract::open_source::<Thrift>(&format!("{KEYS}\n{keys}"), cx()).await;
    let address = source.local_addr().unwrap();
    Bench { running: contract::run_source(source, &collector), address, collector }
}

impl Bench {
    async fn client(&self, protocol: Wire) -> Connection {
        let address = Address { host: self.address.ip().to_string(), port: self.address.port() };
        Connection::open(&Plain, address, protocol, LIMIT).await.unwrap()
    }

    async fn raw(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }
}

fn events(count: usize) -> Vec<Event> {
    (0..count)
        .map(|n| {
            let mut event = Event::new(n.to_string());
            event.headers.insert("n", n.to_string());
            event
        })
        .collect()
}

/// Everything until the source closes.
async fn rest(mut stream: TcpStream) -> Vec<u8> {
    let mut read = Vec::new();
    let ended = timeout(LIMIT, stream.read_to_end(&mut read)).await;
    drop(ended.expect("the source closes"));
    read
}

async fn answer(stream: &mut TcpStream) -> Bytes {
    let length = timeout(LIMIT, stream.read_u32()).await.expect("an answer").unwrap();
    let mut answer = vec![0; length as usize];
    stream.read_exact(&mut answer).await.unwrap();
    answer.into()
}

#[tokio::test]
async fn stops() {
    contract::source_stops::<Thrift>(KEYS, cx).await;
}

#[tokio::test]
async fn calls_become_events_in_either_protocol() {
    // Whatever the key says, as the last two show.
    for (keys, protocol) in [
        ("", Wire::Compact),
        ("protocol = binary", Wire::Binary),
        ("protocol = Binary\nthreads = 1", Wire::Compact),
        ("protocol = compact\nthreads = x", Wire::Binary),
    ] {
        let bench = start(keys, Collector::new()).await;
        let mut client = bench.client(protocol).await;
        let events = events(300);
        client.append_batch(&events[..299], LIMIT).await.unwrap();
        client.append(&events[299], LIMIT).await.unwrap();
        assert_eq!(bench.collector.events(), events, "{keys}");
        let metrics = bench.running.outlet.metrics();
        let counts = [
            metrics.events_received.value(),
            metrics.events_accepted.value(),
            metrics.batches_received.value(),
            metrics.batches_accepted.value(),
            metrics.appends_received.value(),
            metrics.appends_accepted.value(),
        ];
        assert_eq!(counts, [300, 300, 1, 1, 1, 1]);
        assert_eq!(metrics.open_connections.value(), 1);
        bench.running.stop().await.unwrap();
    }
}

#[tokio::test]
async fn a_refused_call_is_answered_failed_and_the_connection_stays() {
    let collector = Collector::new();
    collector.refuse(2);
    let bench = start("", collector).await;
    let mut client = bench.client(Wire::Compact).await;
    for single in [true, false] {
        let events = events(2);
        let refused = match single {
            true => client.append(&events[0], LIMIT).await,
            false => client.append_batch(&events, LIMIT).await,
        };
        let Err(CallError::Refused { status: "FAILED", .. }) = refused else {
            panic!("{refused:?}")
        };
    }
    client.append_batch(&events(2), LIMIT).await.unwrap();
    assert_eq!(bench.collector.bodies(), ["0", "1"]);
    assert_eq!(bench.running.outlet.metrics().channel_write_failures.value(), 2);
    bench.running.stop().await.unwrap();
}

#[tokio::test]
async fn each_channel_that_is_full_is_said_once() {
    let (lines, _guard) = Lines::of_this_thread();
    let collector = Collector::new();
    collector.refuse_as(&["c1", "c1", "c2", "c1", "c2"]);
    let bench = start("", collector).await;
    let mut client = bench.client(Wire::Compact).await;
    for _ in 0..5 {
        client.append_batch(&events(2), LIMIT).await.unwrap_err();
    }
    let said = lines.with("channels refuse calls");
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].contains("c1 is full") && said[1].contains("c2 is full"), "{said:?}");
    bench.running.stop().await.unwrap();
}

#[tokio::test]
async fn what_is_no_call_is_answered_and_the_connection_stays() {
    let bench = start("", Collector::new()).await;
    let mut stream = bench.raw().await;
    for call in [
        &b"\0\0\0\x08\x82\x21\x01\x03foo\0"[..],
        b"\0\0\0\x0d\x82\x21\x01\x06append\x1c\0\0",
        b"\0\0\0\x0b\x82\x21\x01\x06append\0",
    ] {
        stream.write_all(call).await.unwrap();
        assert!(read_answer(&answer(&mut stream).await).unwrap().outcome.is_err(), "{call:?}");
    }
    let (mut frame, _) = write_append_batch(Wire::Compact, 5, &events(1), None).unwrap();
    // In two pieces, which arrive as they may.
    let bytes = frame.copy_to_bytes(frame.remaining());
    stream.write_all(&bytes[..7]).await.unwrap();
    tokio::task::yield_now().await;
    stream.write_all(&bytes[7..]).await.unwrap();
    let answer = read_answer(&answer(&mut stream).await).unwrap();
    assert_eq!((answer.sequence, answer.outcome), (5, Ok(Status::Ok)));
    assert_eq!(bench.running.outlet.metrics().read_failures.value(), 3);
    bench.running.stop().await.unwrap();
}

#[tokio::test]
async fn nonsense_ends_its_connection_and_nobody_elses() {
    let bench = start("", Collector::new()).await;
    let mut other = bench.client(Wire::Compact).await;
    let inputs: [&[u8]; 8] = [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
        b"\x7f\xff\xff\xff",
        b"\xff\xff\xff\xff",
        b"\0\0\0\0",
        // Flume's Avro: serial 1, one part.
        b"\0\0\0\x01\0\0\0\x01\0\0\0\x40",
        // A list of 2^31-1 events, and a map of as many headers.
        b"\0\0\0\x17\x82\x21\x01\x0bappendBatch\x19\xfc\xff\xff\xff\xff\x07\0",
        b"\0\0\0\x13\x82\x21\x01\x06append\x1c\x1b\xff\xff\xff\xff\x07\x88\0",
    ];
    for input in inputs {
        let mut stream = bench.raw().await;
        stream.write_all(input).await.unwrap();
        assert_eq!(rest(stream).await, b"", "{input:?}");
    }
    other.append_batch(&events(1), LIMIT).await.unwrap();
    let metrics = bench.running.outlet.metrics();
    assert_eq!(metrics.read_failures.value(), inputs.len() as u64);
    assert_eq!(bench.collector.bodies(), ["0"]);
    bench.running.stop().await.unwrap();
}

#[tokio::test]
async fn a_frame_that_breaks_off_is_not_put() {
    let bench = start("", Collector::new()).await;
    let mut stream = bench.raw().await;
    let (mut frame, _) = write_append_batch(Wire::Compact, 1, &events(3), None).unwrap();
    let bytes = frame.copy_to_bytes(frame.remaining());
    stream.write_all(&bytes[..bytes.len() - 1]).await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(rest(stream).await, b"");
    assert_eq!(bench.collector.puts(), 0);
    bench.running.stop().await.unwrap();
}

/// A client that sends a byte now and then holds its connection for a while, not for ever.
#[tokio::test(start_paused = true)]
async fn a_slow_frame_is_given_up_and_an_idle_client_is_not() {
    let (mut client, server) = tokio::io::duplex(64);
    let (collector, (_handle, stop)) = (Collector::new(), Stop::new());
    let out = splashdam_testkit::outlet(collector.clone());
    let service = Arc::new(Service::new(Dialect::Flume, None, None, &cx(), out.clone(), stop));
    let peer = "192.0.2.7:1".parse().unwrap();
    let serving = tokio::spawn(async move { service.serve(server, peer).await });
    // An hour of silence, a call, and another hour.
    for _ in 0..2 {
        sleep(Duration::from_secs(3600)).await;
        client.write_all(b"\0\0\0\x0b\x82\x21\x01\x06append\0").await.unwrap();
        let length = client.read_u32().await.unwrap();
        let mut answer = vec![0; length as usize];
        client.read_exact(&mut answer).await.unwrap();
    }
    let began = tokio::time::Instant::now();
    let slow = async {
        for byte in b"\0\0\x10\0" {
            client.write_all(&[*byte]).await?;
        }
        loop {
            client.write_all(&[0]).await?;
            sleep(Duration::from_secs(10)).await;
        }
        #[expect(unreachable_code, reason = "it names the type")]
        std::io::Result::Ok(())
    };
    slow.await.unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    serving.await.unwrap();
    assert_eq!(out.metrics().read_failures.value(), 3);
    assert_eq!(collector.puts(), 0);
}

/// Who claims a lot and sends little takes room from large calls for a while, from small ones none.
#[tokio::test(start_paused = true)]
async fn what_frames_hold_is_limited() {
    let (collector, (_handle, stop)) = (Collector::new(), Stop::new());
    let out = splashdam_testkit::outlet(collector.clone());
    let service = Arc::new(Service::new(Dialect::Flume, None, None, &cx(), out, stop));
    let connect = || {
        let (client, server) = tokio::io::duplex(8 << 20);
        let (service, peer) = (service.clone(), "192.0.2.7:1".parse().unwrap());
        tokio::spawn(async move { service.serve(server, peer).await });
        client
    };
    let mut hogs = Vec::new();
    for _ in 0..20 {
        let mut hog = connect();
        hog.write_all(&16_384_000_u32.to_be_bytes()).await.unwrap();
        hog.write_all(&[0; 100_000]).await.unwrap();
        hogs.push(hog);
    }
    let call = async |body: usize| {
        let event = Event::new(vec![b'x'; body]);
        let (mut frame, _) = write_append_batch(Wire::Compact, 1, &[event], None).unwrap();
        let mut client = connect();
        client.write_all_buf(&mut frame).await.unwrap();
        let began = tokio::time::Instant::now();
        client.read_u32().await.unwrap();
        began.elapsed()
    };
    assert_eq!(call(60_000).await, Duration::ZERO);
    let waited = call(7_000_000).await;
    let limits = Duration::from_secs(155)..Duration::from_secs(400);
    assert!(limits.contains(&waited), "{waited:?}");
    assert_eq!(collector.events().len(), 2);
}

#[tokio::test]
async fn connections_are_counted_and_limited() {
    let bench = start("maxConnections = 2", Collector::new()).await;
    let mut one = bench.client(Wire::Compact).await;
    let mut two = bench.client(Wire::Compact).await;
    one.append_batch(&events(1), LIMIT).await.unwrap();
    two.append_batch(&events(1), LIMIT).await.unwrap();
    assert_eq!(bench.running.outlet.metrics().open_connections.value(), 2);
    // The third waits until one of them is gone.
    let mut three = bench.client(Wire::Compact).await;
    let waiting = tokio::spawn(async move { three.append_batch(&events(1), LIMIT).await });
    two.append_batch(&events(1), LIMIT).await.unwrap();
    assert!(!waiting.is_finished());
    drop(one);
    waiting.await.unwrap().unwrap();
    bench.running.stop().await.unwrap();
}

#[tokio::test]
async fn many_clients_at_once() {
    let bench = start("threads = 2", Collector::new()).await;
    let mut clients = JoinSet::new();
    for _ in 0..20 {
        let mut client = bench.client(Wire::Compact).await;
        clients.spawn(async move {
            for _ in 0..10 {
                client.append_batch(&events(10), LIMIT).await.unwrap();
            }
        });
    }
    while let Some(done) = clients.join_next().await {
        done.unwrap();
    }
    let batches = bench.collector.batches();
    assert_eq!(batches.len(), 200);
    assert!(batches.iter().all(|batch| bodies(batch.events()) == bodies(&events(10))));
    bench.running.stop().await.unwrap();
}

#[tokio::test]
async fn the_largest_frame_is_taken() {
    let bench = start("", Collector::new()).await;
    let mut client = bench.client(Wire::Compact).await;
    let large: Batch = (0..4).map(|_| Event::new(vec![b'x'; 4_000_000])).collect();
    client.append_batch(large.events(), LIMIT).await.unwrap();
    assert_eq!(bench.collector.batches().len(), 1);
    // Two frames' worth are two calls.
    let more: Batch = (0..7).map(|_| Event::new(vec![b'x'; 4_000_000])).collect();
    client.append_batch(more.events(), LIMIT).await.unwrap();
    assert_eq!(bench.collector.batches().len(), 3);
    assert_eq!(bench.collector.events().len(), 11);
    bench.running.stop().await.unwrap();
}

#[tokio::test]
async fn a_stop_finishes_the_call_that_is_being_put() {
    let keys = "capacity = 2\ntransactionCapacity = 2\nkeep-alive = 1";
    let config = Section::parse(keys).read().into_result().unwrap();
    let memory =
        crate::channels::memory::Memory::open(config, context(Role::Channel)).await.unwrap();
    let source = contract::open_source::<Thrift>(KEYS, cx()).await;
    let address = source.local_addr().unwrap();
    let running = contract::run_source_into(source, splashdam_testkit::outlet(memory));
    let address = Address { host: address.ip().to_string(), port: address.port() };
    let mut client = Connection::open(&Plain, address, Wire::Compact, LIMIT).await.unwrap();
    client.append_batch(&events(2), LIMIT).await.unwrap();
    let waiting = tokio::spawn(async move { client.append_batch(&events(1), LIMIT).await });
    while running.outlet.metrics().batches_received.value() < 2 {
        tokio::task::yield_now().await;
    }
    running.stop().await.unwrap();
    // The channel waited for room in vain, and the client is told.
    let refused = waiting.await.unwrap();
    assert!(matches!(refused, Err(CallError::Refused { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let config = Section::parse(&format!("bind = 127.0.0.1\nport = {port}"));
    let config = config.read::<Config>().into_result().unwrap();
    let Err(OpenError::Unavailable(error)) = Thrift::open(config, cx()).await else {
        panic!("it opened")
    };
    assert!(error.to_string().contains(&format!("127.0.0.1:{port}")), "{error}");
}

#[test]
fn keys_are_checked() {
    let check = |keys: &str, want: &[&str]| {
        let keys = format!("type = thrift\n{keys}");
        let looked = find(crate::SOURCES, "thrift").unwrap().look(&Section::parse(&keys));
        let found: Vec<_> = looked.findings.iter().map(|finding| finding.code).collect();
        assert_eq!(found, want, "{keys}");
    };
    check(KEYS, &[]);
    check("", &["missing-key", "missing-key"]);
    check(&format!("{KEYS}\nprotocol = BINARY\nthreads = -1\nmaxConnections = 5"), &[]);
    check(&format!("{KEYS}\nprotocol = json"), &["unknown-value"]);
    check(&format!("{KEYS}\nthreads = x"), &["bad-number"]);
    check(&format!("{KEYS}\nkerberos = true\nagent-principal = a/b@C"), &["kerberos-not-built"]);
}

#[tokio::test]
async fn kerberos_is_refused() {
    let config = Section::parse(&format!("{KEYS}\nkerberos = true"));
    let config = config.read::<Config>().into_result().unwrap();
    let refused = Thrift::open(config, cx()).await;
    assert!(matches!(refused, Err(OpenError::Config(_))));
}

// Batches that say where they come from.

/// The events that a queue gave these numbers, and what is said of them.
fn numbered(ranges: &[Range<u64>]) -> (Vec<Event>, Claim) {
    let numbers = ranges.iter().flat_map(Clone::clone);
    let events = numbers.map(|number| Event::new(format!("event {number}"))).collect();
    (events, Claim { sender: [7; 16], low: 0, ranges: ranges.to_vec() })
}

/// An open channel of a kind.
async fn channel<C: Component + Channel>(keys: &str) -> Arc<dyn Channel> {
    let config = Section::parse(keys).read().into_result().unwrap();
    Arc::new(C::open(config, context(Role::Channel)).await.unwrap())
}

/// Each life of the receiver is asked over two connections, in either protocol.
#[tokio::test]
async fn what_is_sent_again_is_stored_once() {
    let dir = tempfile::tempdir().unwrap();
    let steps: &[(&[Range<u64>], &[Range<u64>])] = &[
        (&[10..20], &[10..20]),
        (&[10..20], &[]),
        (&[30..40], &[30..40]),
        (&[5..12, 18..35], &[5..10, 20..30]),
        (&[0..45], &[0..5, 40..45]),
    ];
    let mut want = Vec::new();
    for life in 0..2 {
        let keys = format!(
            "checkpointDir = {0}/checkpoint\ndataDirs = {0}/data\nminimumRequiredSpace = 1048576",
            dir.path().display()
        );
        let channel = channel::<FileChannel>(&keys).await;
        let source = contract::open_source::<Thrift>(KEYS, cx()).await;
        let address = source.local_addr().unwrap();
        let running = contract::run_source_into(source, outlet_to(vec![channel.clone()]));
        let mut clients = Vec::new();
        for protocol in [Wire::Compact, Wire::Binary] {
            let address = Address { host: address.ip().to_string(), port: address.port() };
            clients.push(Connection::open(&Plain, address, protocol, LIMIT).await.unwrap());
        }
        for (step, (sent, fresh)) in steps.iter().enumerate() {
            let (events, claim) = numbered(sent);
            let once = clients[step % 2].append_claimed(&events, Some(claim), LIMIT).await;
            assert!(once.unwrap(), "life {life}, step {step}");
            if life == 0 {
                want.extend(bodies(&numbered(fresh).0));
            }
        }
        // Who says nothing of where they come from is stored as often as he sends.
        let (events, _) = numbered(&[10..11]);
        assert!(!clients[0].append_claimed(&events, None, LIMIT).await.unwrap());
        want.extend(bodies(&events));
        running.stop().await.unwrap();
        if life == 1 {
            let take = channel.begin_take(Size::events(1000)).await.unwrap();
            assert_eq!(bodies(take.batch().events()), want);
        }
        channel.close().await.unwrap();
    }
}

/// A channel that remembers nothing, and one that is full.
#[tokio::test]
async fn who_cannot_store_once_says_so_and_who_refuses_stores_nothing() {
    let bench = start("", Collector::new()).await;
    let (events, claim) = numbered(&[1..3]);
    let mut client = bench.client(Wire::Compact).await;
    for _ in 0..2 {
        assert!(!client.append_claimed(&events, Some(claim.clone()), LIMIT).await.unwrap());
    }
    assert_eq!(bench.collector.events().len(), 4);
    bench.running.stop().await.unwrap();

    let (lines, _guard) = Lines::of_this_thread();
    let keys = "capacity = 2\ntransactionCapacity = 2\nkeep-alive = 0";
    let channel = channel::<Memory>(keys).await;
    let source = contract::open_source::<Thrift>(KEYS, cx()).await;
    let address = source.local_addr().unwrap();
    let address = Address { host: address.ip().to_string(), port: address.port() };
    let running = contract::run_source_into(source, outlet_to(vec![channel.clone()]));
    let mut client = Connection::open(&Plain, address, Wire::Compact, LIMIT).await.unwrap();
    let mut call = async |ranges: &[Range<u64>]| {
        let (events, claim) = numbered(ranges);
        client.append_claimed(&events, Some(claim), LIMIT).await
    };
    assert!(call(&[1..3]).await.unwrap());
    assert!(matches!(call(&[3..5]).await, Err(CallError::Refused { status: "FAILED", .. })));
    let said = lines.with("channels refuse calls");
    assert!(matches!(&said[..], [said] if said.contains("channel x1 is full")), "{said:?}");
    // What is there already needs no room.
    assert!(call(&[2..3]).await.unwrap());
    channel.begin_take(Size::events(2)).await.unwrap().commit().await.unwrap();
    assert!(call(&[2..5]).await.unwrap());
    let take = channel.begin_take(Size::events(9)).await.unwrap();
    assert_eq!(bodies(take.batch().events()), ["event 3", "event 4"]);
    running.stop().await.unwrap();
}
