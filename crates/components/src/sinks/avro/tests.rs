#![expect(clippy::single_range_in_vec_init, reason = "places are lists of ranges")]

use std::net::SocketAddr;
use std::ops::Range;

use splashdam_config::Section;
use splashdam_core::metrics::Counter;
use splashdam_core::{Place, Role, Then};
use splashdam_testkit::contract::{self, Running, open_sink, open_source, run_source};
use splashdam_testkit::{Collector, context, events};
use splashdam_wire::avro::datum::Reader;
use splashdam_wire::avro::handshake::{FLUME, Match, Peer, Request, Response};
use splashdam_wire::avro::pack::{Limits, Packs};
use splashdam_wire::avro::rpc::{Answer, Call, Incoming, put_answer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::*;
use crate::sources;

async fn peer(keys: &str, collector: &Collector) -> (Running, SocketAddr) {
    let keys = format!("bind = 127.0.0.1\nport = 0\n{keys}");
    let source = open_source::<sources::avro::Avro>(&keys, context(Role::Source)).await;
    let address = source.local_addr().unwrap();
    (run_source(source, collector), address)
}

async fn sink(address: SocketAddr, keys: &str) -> Avro {
    let keys = format!("hostname = 127.0.0.1\nport = {}\n{keys}", address.port());
    open_sink::<Avro>(&keys, context(Role::Sink)).await
}

/// A peer that does as a test says: one connection after the other, each a list of answers.
#[derive(Clone)]
enum Does {
    Answers(Answer),
    /// It does not know the client's protocol, and has another hash.
    Asks,
    Nothing,
    Closes,
    Says(&'static [u8]),
    /// Answers with another serial.
    Mistakes,
}

/// Answers how many events each call had.
async fn actor(connections: Vec<Vec<Does>>) -> (JoinHandle<Vec<usize>>, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let mut seen = Vec::new();
        for steps in connections {
            let (stream, _) = listener.accept().await.unwrap();
            act(stream, steps, &mut seen).await;
        }
        seen
    });
    (task, address)
}

async fn act(mut stream: TcpStream, steps: Vec<Does>, seen: &mut Vec<usize>) {
    let mut packs = Packs::new(Limits { message_bytes: 1 << 20, buffers: 10 });
    let mut established = false;
    for does in steps {
        let pack = loop {
            if let Some(pack) = packs.next_pack().unwrap() {
                break pack;
            }
            if stream.read_buf(packs.room()).await.unwrap() == 0 {
                return;
            }
        };
        let mut input = Reader::new(&pack.message);
        let mut greeting = None;
        if !established {
            let hello = Request::read(&mut input).unwrap();
            let peer = Peer { in_order: true, stores_once: true };
            let (mut response, _) = hello.answer(&FLUME, peer, |_| true).unwrap();
            if hello.server_hash == [3; 16] {
                response = Response { matched: Match::Both, server_hash: None, peer: None };
            }
            if let Does::Asks = does {
                response =
                    Response { matched: Match::None, server_hash: Some([3; 16]), peer: None };
            }
            established = response.matched != Match::None;
            greeting = Some(response);
        }
        let most = splashdam_wire::avro::datum::Most { events: 10_000, headers: 10_000 };
        let Call::AppendBatch(events) = Incoming::read(&mut input, most).unwrap().call else {
            panic!("a batch");
        };
        seen.push(events.len());
        let mut out = Vec::new();
        let serial = pack.serial;
        match does {
            Does::Answers(answer) => put_answer(serial, greeting.as_ref(), Some(&answer), &mut out),
            Does::Asks => put_answer(serial, greeting.as_ref(), None, &mut out),
            Does::Mistakes => {
                put_answer(serial + 1, greeting.as_ref(), Some(&Answer::Ok), &mut out);
            }
            Does::Says(bytes) => out.extend_from_slice(bytes),
            Does::Closes => return,
            Does::Nothing => std::future::pending().await,
        }
        stream.write_all(&out).await.unwrap();
    }
}

#[tokio::test]
async fn keeps_the_contract() {
    let stores = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/tls");
    let (deflate, tls) = ("compression-type = deflate", "ssl = true\ntrust-all-certs = true");
    let server =
        format!("ssl = true\nkeystore = {stores}/pair.jks\nkeystore-password = storePassword");
    for (source, sink) in [
        (String::new(), String::new()),
        (deflate.into(), deflate.into()),
        (server.clone(), tls.into()),
        (format!("{server}\n{deflate}"), format!("{tls}\n{deflate}")),
        (format!("{server}\n{deflate}"), format!("{tls}\n{deflate}\ndeflate-inside-tls = true")),
    ] {
        let collector = Collector::new();
        let (running, address) = peer(&source, &collector).await;
        let keys = format!("hostname = 127.0.0.1\nport = {}\n{sink}", address.port());
        contract::sink::<Avro>(&keys).await;
        assert_eq!(collector.events().len(), 1 + 2 + 100 + 3);
        running.stop().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_goes_wrong_the_batch_is_not_delivered_and_the_next_connection_is_new() {
    let check = async |does: Does, why: &str| {
        let good = Does::Answers(Answer::Ok);
        let (peer, address) = actor(vec![vec![good.clone(), does], vec![good.clone(), good]]).await;
        let mut sink = sink(address, "").await;
        let batch = events(0, 3);
        sink.deliver(&batch).await.unwrap();
        let error = sink.deliver(&batch).await.unwrap_err();
        assert_eq!(error.then, Then::FailOver);
        let text = error.to_string();
        assert!(text.contains(why), "{text}");
        assert_eq!(sink.deliver(&batch).await.unwrap().events, 3);
        assert_eq!(sink.deliver(&batch).await.unwrap().events, 3);
        let counts: [&Counter; 3] = [
            &sink.metrics.connections_created,
            &sink.metrics.connections_closed,
            &sink.metrics.connections_failed,
        ];
        assert_eq!(counts.map(Counter::value), [2, 1, 0]);
        peer.abort();
    };
    check(Does::Answers(Answer::Failed), "could not store the batch").await;
    check(Does::Answers(Answer::Unknown), "could not store the batch").await;
    check(Does::Answers(Answer::Error("because".into())), "refused the call: because").await;
    check(Does::Closes, "closed the connection").await;
    check(Does::Says(b"HTTP/1.1 400 Bad Request\r\n"), "same compression-type and ssl").await;
    check(Does::Says(b"\0\0\0\x02\0\0\0\x01\0\0\0\x02\0\0"), "malformed").await;
    check(Does::Mistakes, "was not made").await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_not_waited_for_longer_than_was_said() {
    for (keys, want) in [("", 20), ("request-timeout = 999", 20), ("request-timeout = 3000", 3)] {
        let (peer, address) = actor(vec![vec![Does::Nothing]]).await;
        let mut sink = sink(address, keys).await;
        let began = Instant::now();
        let error = sink.deliver(&events(0, 1)).await.unwrap_err();
        assert!(error.to_string().contains("no answer within"), "{error}");
        assert_eq!(began.elapsed().as_secs(), want, "{keys}");
        peer.abort();
    }
}

#[tokio::test]
async fn a_peer_that_asks_is_told() {
    let good = Does::Answers(Answer::Ok);
    let first = vec![Does::Asks, good.clone(), good.clone()];
    let (peer, address) = actor(vec![first, vec![good]]).await;
    let mut sink = sink(address, "").await;
    for _ in 0..2 {
        sink.deliver(&events(0, 2)).await.unwrap();
    }
    // The hash that it learnt is what the next connection says.
    assert_eq!(sink.peer_hash, [3; 16]);
    sink.connection = None;
    sink.deliver(&events(0, 5)).await.unwrap();
    assert_eq!(peer.await.unwrap(), [2, 2, 2, 5]);
}

#[tokio::test]
async fn nobody_there() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mut sink = sink(free, "").await;
    let error = sink.deliver(&events(0, 1)).await.unwrap_err();
    assert!(error.to_string().contains("cannot connect to 127.0.0.1:"), "{error}");
    assert_eq!(sink.metrics.connections_failed.value(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_old_connection_is_replaced() {
    let good = Does::Answers(Answer::Ok);
    let (peer, address) =
        actor(vec![vec![good.clone(), good.clone(), good.clone()], vec![good]]).await;
    let mut sink = sink(address, "reset-connection-interval = 60").await;
    sink.deliver(&events(0, 1)).await.unwrap();
    tokio::time::advance(Duration::from_secs(59)).await;
    sink.deliver(&events(0, 2)).await.unwrap();
    tokio::time::advance(Duration::from_secs(1)).await;
    sink.deliver(&events(0, 3)).await.unwrap();
    assert_eq!(peer.await.unwrap(), [1, 2, 3]);
    assert_eq!(sink.metrics.connections_created.value(), 2);
}

#[tokio::test]
async fn batches_that_lie_in_a_queue_say_so_and_go_out_several_at_once() {
    let good = Does::Answers(Answer::Ok);
    let (peer, address) = actor(vec![vec![good; 4]]).await;
    let mut sink = sink(address, "batch-size = 10").await;
    assert_eq!(Sink::limit(&sink), Size { events: 10, bytes: CALL_BYTES });
    let place = |ranges: Vec<Range<u64>>| {
        Some(Place { queue: [1; 16], low: 0, began: 0, ranges, lasting: true })
    };
    sink.deliver(&events(0, 10).with_place(place(vec![5..10, 20..25]))).await.unwrap();
    assert_eq!(Sink::limit(&sink).events, 80);
    sink.deliver(&events(0, 25).with_place(place(vec![30..55]))).await.unwrap();
    assert_eq!(peer.await.unwrap(), [10, 10, 10, 5]);
}

#[tokio::test]
async fn large_events_go_in_calls_that_the_peer_takes() {
    let collector = Collector::new();
    let (running, address) = peer("maxMessageBytes = 9000000", &collector).await;
    let mut sink = sink(address, "").await;
    let large = |bytes: usize| Event::new(vec![b'x'; bytes]);
    sink.deliver(&vec![large(3_000_000); 7].into()).await.unwrap();
    let sizes: Vec<_> = collector.batches().iter().map(Batch::len).collect();
    assert_eq!(sizes, [2, 2, 2, 1]);
    // One event that alone is more than the peer takes.
    let error = sink.deliver(&vec![large(9_000_001)].into()).await.unwrap_err().to_string();
    assert!(
        error.contains("a call had 9000001 bytes") && error.contains("maxMessageBytes"),
        "{error}"
    );
    running.stop().await.unwrap();
}

#[test]
fn defaults_are_those_of_flume() {
    let settings = |keys: &str| {
        let keys = format!("hostname = h\nport = 1\n{keys}");
        let config: Config = Section::parse(&keys).read().into_result().unwrap();
        let Settings { connect_timeout, request_timeout, deflate, .. } = config.settings(None);
        let millis = [connect_timeout, request_timeout].map(|timeout| timeout.as_millis());
        (config.batch_events().get(), millis, deflate, config.reset_after())
    };
    let defaults = (100, [20_000, 20_000], None, None);
    assert_eq!(settings(""), defaults);
    assert_eq!(settings("batch-size = 0\nconnect-timeout = 999\nrequest-timeout = x"), defaults);
    assert_eq!(settings("compression-type = none\nreset-connection-interval = 0"), defaults);
    let minute = Some(Duration::from_secs(60));
    let keys = "batch-size = 7\nconnect-timeout = 1000\nrequest-timeout = 5000\n\
                compression-type = Deflate\ncompression-level = 1\nreset-connection-interval = 60";
    assert_eq!(settings(keys), (7, [1000, 5000], Some(1), minute));
}

#[test]
fn keys_of_clients_with_many_hosts_are_unknown() {
    let keys = "type = avro\nhostname = h\nport = 1\nhosts = h1\nclient.type = default_failover";
    let looked = splashdam_core::find(crate::SINKS, "avro").unwrap().look(&Section::parse(keys));
    let found: Vec<_> = looked.findings.iter().map(|finding| finding.code).collect();
    assert_eq!(found, ["unknown-key", "unknown-key"]);
}
