use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;
use crate::fake::{Broker, text};
use crate::{Kind, Login, Reason, Subscription, TooLong};

fn settings() -> Settings {
    Settings {
        container: "me".to_owned(),
        host: "there".to_owned(),
        login: Login::Anonymous,
        subscription: Some(Subscription {
            name: "link".to_owned(),
            address: "orders".to_owned(),
            kind: Kind::Queue,
            selector: None,
            lasting: false,
        }),
        prefetch_messages: 10,
        message_limit_bytes: 4 << 20,
    }
}

fn connect(broker: &Broker) -> DuplexStream {
    let (ours, theirs) = duplex(64 * 1024);
    let broker = broker.clone();
    tokio::spawn(async move { broker.serve(theirs).await });
    ours
}

async fn open(broker: &Broker, settings: Settings) -> Result<Receiver<DuplexStream>, Fault> {
    Receiver::open(connect(broker), settings).await
}

/// Takes messages until `count` have come, and accepts each.
async fn drain(receiver: &mut Receiver<DuplexStream>, count: usize) -> Vec<Bytes> {
    let mut taken = Vec::new();
    while taken.len() < count {
        receiver.wait().await.unwrap();
        while let Some(delivery) = receiver.take() {
            receiver.settle(delivery.id, delivery.id, &Verdict::Accepted);
            taken.push(delivery.payload.unwrap());
        }
        receiver.flush().await.unwrap();
    }
    taken
}

#[tokio::test(start_paused = true)]
async fn messages_come_in_order_past_credit_and_window() {
    for (messages, bytes, piece_bytes) in [(100, 10, 0), (30, 300_000, 0), (3, 5000, 7), (2, 1, 0)]
    {
        let broker = Broker::default();
        let sent: Vec<_> = (0..messages).map(|n| text(&n.to_string().repeat(bytes))).collect();
        broker.change(|state| {
            state.queue.extend(sent.clone());
            state.piece_bytes = piece_bytes;
        });
        let mut receiver = open(&broker, settings()).await.unwrap();
        assert_eq!(drain(&mut receiver, messages).await, sent);
        broker.until(|state| state.accepted.len() == messages).await;
        receiver.close().await;
        let said = broker.change(|state| state.said.clone());
        assert!(said.contains(&"detach true".to_owned()), "{said:?}");
        assert_eq!(broker.change(|state| state.accepted.clone()), sent);
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_comes_than_was_asked_for() {
    let broker = Broker::default();
    broker.change(|state| state.queue.extend((0..25).map(|n| text(&n.to_string()))));
    let mut receiver = open(&broker, settings()).await.unwrap();
    receiver.wait().await.unwrap();
    tokio::time::timeout(Duration::from_secs(5), receiver.idle()).await.unwrap_err();
    assert_eq!(receiver.link.ready(), 10);
    assert_eq!(broker.change(|state| state.queue.len()), 15);
}

#[tokio::test(start_paused = true)]
async fn verdicts_reach_the_broker_and_the_rest_comes_again() {
    let broker = Broker::default();
    broker.change(|state| state.queue.extend(["a", "b", "c", "d"].map(text)));
    let mut receiver = open(&broker, settings()).await.unwrap();
    receiver.gather(4).unwrap();
    while receiver.link.ready() < 4 {
        receiver.step().await.unwrap();
    }
    let ids: Vec<_> = std::iter::from_fn(|| receiver.take()).map(|delivery| delivery.id).collect();
    receiver.settle(ids[0], ids[1], &Verdict::Accepted);
    receiver.settle(ids[2], ids[2], &Verdict::Rejected("it is not wanted"));
    receiver.settle(ids[3], ids[3], &Verdict::Released);
    receiver.wait().await.unwrap();
    assert_eq!(receiver.take().unwrap().payload.unwrap(), text("d"));
    drop(receiver);
    broker.until(|state| state.queue.len() == 1).await;
    broker.change(|state| {
        assert_eq!(state.accepted, ["a", "b"].map(text));
        assert_eq!((&*state.rejected, state.released), (&[text("c")][..], 1));
    });
}

#[tokio::test(start_paused = true)]
async fn what_is_too_long_is_counted_and_not_kept() {
    let broker = Broker::default();
    let long = text(&"x".repeat(5 << 20));
    broker.change(|state| state.queue.extend([long.clone(), text("short")]));
    let mut receiver = open(&broker, settings()).await.unwrap();
    receiver.wait().await.unwrap();
    let bytes = long.len() as u64;
    assert_eq!(receiver.take().unwrap().payload, Err(TooLong { bytes }));
    assert_eq!(drain(&mut receiver, 1).await, [text("short")]);
}

#[tokio::test(start_paused = true)]
async fn subscriptions_are_asked_for_as_brokers_know_them() {
    let broker = Broker::default();
    let mut settings = settings();
    settings.subscription = Some(Subscription {
        name: "reports".to_owned(),
        address: "news".to_owned(),
        kind: Kind::Topic,
        selector: Some("colour = 'red'".to_owned()),
        lasting: true,
    });
    let receiver = open(&broker, settings.clone()).await.unwrap();
    receiver.close().await;
    let deaf = Broker::default();
    deaf.change(|state| state.ignores_selectors = true);
    let fault = open(&deaf, settings).await.expect_err("it would take what is not for it");
    assert!(matches!(fault, Fault::Unselected), "{fault}");
    let said = broker.change(|state| state.said.clone());
    for part in ["reports", "news", "colour = 'red'", "topic", "never", "copy"] {
        assert!(said[0].contains(part), "{part}: {said:?}");
    }
    assert_eq!(said[1], "detach false");
}

#[tokio::test(start_paused = true)]
async fn why_there_is_no_link_is_told() {
    async fn check(change: impl FnOnce(&mut crate::fake::State), login: Login, says: &str) {
        let broker = Broker::default();
        broker.change(change);
        let fault = open(&broker, Settings { login, ..settings() }).await.expect_err("no link");
        assert!(fault.to_string().contains(says), "{fault}");
    }
    let password = |password: &str| Login::Password { user: "u".into(), password: password.into() };
    check(|s| s.refuses = Some("amqp:not-found"), Login::Anonymous, "amqp:not-found: no such")
        .await;
    check(|s| s.login = Some("u\0right"), password("wrong"), "refuses the login (SASL outcome 1)")
        .await;
    check(|s| s.mechanisms = vec!["GSSAPI"], Login::Anonymous, "by ANONYMOUS, but by: GSSAPI")
        .await;
    check(|s| s.mechanisms = vec!["PLAIN"], Login::Certificate, "by EXTERNAL").await;
    let broker = Broker::default();
    broker.change(|state| state.login = Some("u\0right"));
    let settings = Settings { login: password("right"), ..settings() };
    assert!(!format!("{settings:?}").contains("right"));
    open(&broker, settings).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_answers_otherwise_is_named() {
    async fn check(answer: &'static [u8], says: &str) {
        let (ours, mut theirs) = duplex(1024);
        theirs.write_all(answer).await.unwrap();
        let fault = Receiver::open(ours, settings()).await.expect_err("no broker");
        assert!(fault.to_string().contains(says), "{fault}");
    }
    check(b"AMQP\x00\x00\x09\x01", "RabbitMQ").await;
    check(b"AMQP\x00\x01\x00\x00", "wants no login").await;
    check(b"\0\0\x01\x37\x01ActiveMQ\0\0\0", "mostly 5672").await;
    check(b"HTTP/1.1 400 Bad Request\r\n", "HTTP").await;
    check(b"\x15\x03\x03\0\x02\x02\x50", "amqps://").await;
    check(b"AMQP\x03\x01\0\0\0\0\0\x08\x02\x01\0", "said nothing for 30s").await;
    check(b"AMQP\x03\x01\0\0\x7f\0\0\x08\x02\x01\0\0", "above the limit").await;
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_falls_silent_is_left_and_one_that_listens_hears_signs() {
    let broker = Broker::default();
    let mut receiver = open(&broker, settings()).await.unwrap();
    // The broker of the tests announces the same thirty seconds as we do, and sends no signs.
    let began = Instant::now();
    assert!(matches!(receiver.wait().await, Err(Fault::Silent(_))));
    assert_eq!(began.elapsed(), SILENCE);
    assert_eq!(receiver.link.idle_millis, 30_000);
    assert!(receiver.spoke.duration_since(began) >= Duration::from_secs(45));
    broker.until(|state| !state.said.is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn an_end_of_the_connection_is_told() {
    let broker = Broker::default();
    broker.change(|state| {
        state.queue.extend(["a", "b"].map(text));
        state.cuts_after = Some(1);
    });
    let mut receiver = open(&broker, settings()).await.unwrap();
    receiver.wait().await.unwrap();
    assert_eq!(receiver.take().unwrap().payload.unwrap(), text("a"));
    let fault = receiver.wait().await.unwrap_err();
    assert!(fault.to_string().starts_with("the connection broke"), "{fault}");
    let ended = Fault::Ended { what: "the link", reason: Reason::default() };
    assert_eq!(ended.to_string(), "the broker ended the link: without a reason");
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_does_not_read_is_left() {
    let (ours, mut theirs) = duplex(256);
    let opening = tokio::spawn(Receiver::open(ours, settings()));
    theirs.write_all(b"AMQP\x03\x01\0\0").await.unwrap();
    let mut header = [0; 8];
    theirs.read_exact(&mut header).await.unwrap();
    assert_eq!(&header, b"AMQP\x03\x01\0\0");
    let fault = opening.await.unwrap().expect_err("nobody answers");
    assert!(matches!(fault, Fault::Silent(_)), "{fault}");
}

#[tokio::test(start_paused = true)]
async fn what_is_given_back_comes_again_in_order() {
    for (count, bytes) in [(25, 1), (2, 1)] {
        given_back(count, bytes).await;
    }
}

async fn given_back(count: usize, bytes: usize) {
    let broker = Broker::default();
    let sent: Vec<_> = (0..count).map(|n| text(&n.to_string().repeat(bytes))).collect();
    broker.change(|state| state.queue.extend(sent.clone()));
    let mut receiver = open(&broker, settings()).await.unwrap();
    while receiver.link.ready() < 2 {
        receiver.step().await.unwrap();
    }
    let first = receiver.take().unwrap().id;
    let second = receiver.take().unwrap().id;
    receiver.give_back(&[(first, second)]).await.unwrap();
    assert_eq!(receiver.link.ready(), 0);
    broker.until(|state| state.queue.len() == count).await;
    // While it is held nothing comes.
    tokio::time::timeout(Duration::from_secs(1), receiver.idle()).await.unwrap_err();
    assert_eq!(receiver.link.ready(), 0);
    receiver.resume();
    assert!(drain(&mut receiver, count).await == sent);
}
