use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use splashdam_wire::avro::datum::{Most, Reader};
use splashdam_wire::avro::handshake::{FLUME, Peer, Request};
use splashdam_wire::avro::pack::{Limits, Packs};
use splashdam_wire::avro::rpc::{Answer, Call, Incoming, put_answer};
use splashdam_wire::thrift::{FRAME_HEAD_BYTES, Protocol, frame_length, rpc};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::*;
use crate::Address;

/// What a server does with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    Takes,
    Refuses,
    Fails,
    Closes,
    Keeps,
}

/// A server that remembers what it took.
struct Server {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    /// What it does with the next calls; it takes those behind them.
    does: Vec<Does>,
    calls: Vec<Vec<String>>,
    connections: usize,
}

impl Server {
    async fn start(thrift: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        let task = tokio::spawn(async move {
            let mut open = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                shared.lock().unwrap().connections += 1;
                let shared = shared.clone();
                open.spawn(async move {
                    match thrift {
                        true => serve_thrift(stream, &shared).await,
                        false => serve_avro(stream, &shared).await,
                    }
                });
            }
        });
        Server { address, state, task }
    }

    fn will(&self, does: &[Does]) {
        self.state.lock().unwrap().does = does.to_vec();
    }

    fn bodies(&self) -> Vec<String> {
        self.state.lock().unwrap().calls.concat()
    }

    fn calls(&self) -> Vec<usize> {
        self.state.lock().unwrap().calls.iter().map(Vec::len).collect()
    }

    fn connections(&self) -> usize {
        self.state.lock().unwrap().connections
    }
}

fn decide(state: &Mutex<State>, events: &[Event]) -> Does {
    let mut state = state.lock().unwrap();
    let does = if state.does.is_empty() { Does::Takes } else { state.does.remove(0) };
    if does == Does::Takes {
        let text = |event: &Event| String::from_utf8_lossy(&event.body).into_owned();
        state.calls.push(events.iter().map(text).collect());
    }
    does
}

async fn serve_avro(mut stream: TcpStream, state: &Mutex<State>) {
    let mut packs = Packs::new(Limits { message_bytes: 1 << 20, buffers: 10 });
    let mut established = false;
    loop {
        let pack = loop {
            if let Some(pack) = packs.next_pack().unwrap() {
                break pack;
            }
            if stream.read_buf(packs.room()).await.unwrap_or(0) == 0 {
                return;
            }
        };
        let mut input = Reader::new(&pack.message);
        let mut greeting = None;
        if !established {
            let hello = Request::read(&mut input).unwrap();
            let (response, _) = hello.answer(&FLUME, Peer::default(), |_| true).unwrap();
            established = true;
            greeting = Some(response);
        }
        let most = Most { events: 10_000, headers: 10_000 };
        let Call::AppendBatch(events) = Incoming::read(&mut input, most).unwrap().call else {
            panic!("a batch")
        };
        let answer = match decide(state, &events) {
            Does::Takes => Answer::Ok,
            Does::Refuses => Answer::Failed,
            Does::Fails => Answer::Error("because".into()),
            Does::Closes => return,
            Does::Keeps => std::future::pending().await,
        };
        let mut out = Vec::new();
        put_answer(pack.serial, greeting.as_ref(), Some(&answer), &mut out);
        stream.write_all(&out).await.unwrap();
    }
}

async fn serve_thrift(mut stream: TcpStream, state: &Mutex<State>) {
    loop {
        let mut head = [0; FRAME_HEAD_BYTES];
        if stream.read_exact(&mut head).await.is_err() {
            return;
        }
        let mut frame = BytesMut::zeroed(frame_length(head).unwrap());
        stream.read_exact(&mut frame).await.unwrap();
        let call = rpc::read_call(&frame.freeze()).unwrap();
        let Ok(rpc::Request::AppendBatch(batch, _)) = call.request else { panic!("a batch") };
        let outcome = match decide(state, batch.events()) {
            Does::Takes => Ok(rpc::Status::Ok),
            Does::Refuses => Ok(rpc::Status::Failed),
            Does::Fails => Err(rpc::Exception::internal("because")),
            Does::Closes => return,
            Does::Keeps => std::future::pending().await,
        };
        let mut answer = call.caller.answer(&outcome);
        let answer: Bytes = answer.copy_to_bytes(answer.remaining());
        stream.write_all(&answer).await.unwrap();
    }
}

fn address(server: &Server) -> Address {
    Address { host: server.address.ip().to_string(), port: server.address.port() }
}

fn client(servers: &[&Server], kind: Kind) -> Client {
    let hosts = servers.iter().map(|server| address(server)).collect();
    let settings = Settings {
        hosts,
        batch_size: NonZeroUsize::new(3).unwrap(),
        request_timeout: Duration::from_secs(1),
        ..Settings::to(address(servers[0]), kind)
    };
    Client::new(settings).unwrap()
}

fn events(texts: &[&'static str]) -> Vec<Event> {
    texts.iter().map(|text| Event::new(*text)).collect()
}

const BOTH: [(bool, Kind); 2] = [(false, Kind::Default), (true, Kind::Thrift(Protocol::Compact))];

#[tokio::test]
async fn lists_are_parted_and_stay_in_order() {
    for (thrift, kind) in BOTH {
        let server = Server::start(thrift).await;
        let client = client(&[&server], kind);
        client.append(&Event::new("0")).await.unwrap();
        client.append_batch(&events(&["1", "2", "3", "4", "5", "6", "7"])).await.unwrap();
        client.append_batch(&[]).await.unwrap();
        assert_eq!(server.calls(), [1, 3, 3, 1]);
        assert_eq!(server.bodies(), ["0", "1", "2", "3", "4", "5", "6", "7"]);
        assert_eq!(server.connections(), 1);
        server.task.abort();
    }
}

#[tokio::test]
async fn whatever_fails_is_told_and_the_next_call_works() {
    for (thrift, kind) in BOTH {
        let check = async |does: Does, says: &str, connections: usize| {
            let server = Server::start(thrift).await;
            let client = client(&[&server], kind.clone());
            client.append(&Event::new("before")).await.unwrap();
            server.will(&[does]);
            let error = client.append_batch(&events(&["x"])).await.unwrap_err();
            assert_eq!(error.failures.len(), 1);
            assert!(error.to_string().contains(says), "{error}");
            client.append(&Event::new("behind")).await.unwrap();
            assert_eq!(server.bodies(), ["before", "behind"], "{does:?}");
            assert_eq!(server.connections(), connections, "{does:?}");
            server.task.abort();
        };
        check(Does::Refuses, "refused the events with status FAILED", 1).await;
        check(Does::Fails, "because", 2).await;
        check(Does::Closes, "broke", 2).await;
        check(Does::Keeps, "did not answer within 1s", 2).await;
    }
}

#[tokio::test]
async fn a_later_call_that_fails_leaves_the_earlier_ones() {
    for (thrift, kind) in BOTH {
        let server = Server::start(thrift).await;
        server.will(&[Does::Takes, Does::Refuses]);
        let client = client(&[&server], kind);
        client.append_batch(&events(&["1", "2", "3", "4", "5", "6", "7"])).await.unwrap_err();
        assert_eq!(server.bodies(), ["1", "2", "3"]);
        server.task.abort();
    }
}

#[tokio::test]
async fn many_calls_share_a_few_connections() {
    for (thrift, kind) in BOTH {
        let server = Server::start(thrift).await;
        let client = Arc::new(client(&[&server], kind));
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..100 {
            let client = client.clone();
            calls.spawn(async move { client.append(&Event::new("x")).await });
        }
        while let Some(done) = calls.join_next().await {
            done.unwrap().unwrap();
        }
        assert_eq!(server.bodies().len(), 100);
        assert!((2..=5).contains(&server.connections()), "{}", server.connections());
        server.task.abort();
    }
}

#[tokio::test]
async fn failover_stays_with_who_works() {
    let servers = [Server::start(false).await, Server::start(false).await];
    let [one, two] = &servers;
    let client =
        client(&[one, two], Kind::Failover { max_attempts: NonZeroUsize::new(2).unwrap() });
    client.append(&Event::new("1")).await.unwrap();
    one.will(&[Does::Closes, Does::Closes]);
    client.append(&Event::new("2")).await.unwrap();
    client.append(&Event::new("3")).await.unwrap();
    assert_eq!(
        (one.bodies(), two.bodies()),
        (vec!["1".to_owned()], vec!["2".to_owned(), "3".to_owned()])
    );
    // Back again, round the corner; then nobody is left.
    two.will(&[Does::Refuses, Does::Refuses]);
    client.append(&Event::new("4")).await.unwrap_err();
    client.append(&Event::new("5")).await.unwrap();
    assert_eq!(one.bodies(), ["1", "5"]);
    two.task.abort();
    one.will(&[Does::Refuses]);
    let error = client.append(&Event::new("6")).await.unwrap_err();
    assert_eq!(error.failures.len(), 2, "{error}");
    one.task.abort();
}

#[tokio::test]
async fn load_is_balanced_and_a_failure_handed_on() {
    let servers = [Server::start(false).await, Server::start(false).await];
    let [one, two] = &servers;
    let balance = |back_off| Kind::LoadBalance { random: false, back_off };
    let even = client(&[one, two], balance(None));
    for _ in 0..10 {
        even.append(&Event::new("x")).await.unwrap();
    }
    assert_eq!((one.bodies().len(), two.bodies().len()), (5, 5));
    one.will(&[Does::Refuses]);
    even.append(&Event::new("x")).await.unwrap();
    assert_eq!((one.bodies().len(), two.bodies().len()), (5, 6));

    // With back-off one that failed gets no further call for a while.
    let patient = client(&[one, two], balance(Some(Duration::from_secs(30))));
    one.will(&[Does::Refuses]);
    for _ in 0..6 {
        patient.append(&Event::new("x")).await.unwrap();
    }
    assert_eq!((one.bodies().len(), two.bodies().len()), (5, 12));
    two.will(&[Does::Refuses]);
    patient.append(&Event::new("x")).await.unwrap_err();
    let error = patient.append(&Event::new("x")).await.unwrap_err();
    assert!(error.to_string().contains("passed over"), "{error}");
}

#[tokio::test]
async fn nobody_there() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let address = Address { host: free.ip().to_string(), port: free.port() };
    let client = Client::new(Settings::to(address, Kind::Default)).unwrap();
    let error = client.append(&Event::new("x")).await.unwrap_err();
    assert!(error.to_string().contains("cannot connect to 127.0.0.1:"), "{error}");
}

#[tokio::test]
async fn a_dropped_call_closes_its_connection() {
    for (thrift, kind) in BOTH {
        let server = Server::start(thrift).await;
        server.will(&[Does::Keeps]);
        let client = client(&[&server], kind);
        let limit = Duration::from_millis(50);
        tokio::time::timeout(limit, client.append(&Event::new("x"))).await.unwrap_err();
        client.append(&Event::new("y")).await.unwrap();
        assert_eq!((server.bodies(), server.connections()), (vec!["y".to_owned()], 2));
        server.task.abort();
    }
}

#[test]
fn tls_and_compression_are_not_left_out_in_silence() {
    let mut settings = Settings::to("mill:1".parse().unwrap(), Kind::Default);
    settings.ssl = true;
    assert_eq!(Client::new(settings.clone()).err(), Some(NotPlain));
    settings.ssl = false;
    settings.deflate = Some(6);
    assert_eq!(Client::new(settings).err(), Some(NotPlain));
}
