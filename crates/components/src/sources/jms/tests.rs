use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use splashdam_amqp::fake::{Broker, State, text};
use splashdam_config::Section;
use splashdam_core::{
    Batch, BoxFuture, Channel, ChannelError, Context, Level, Put, Role, Size, Take,
};
use splashdam_testkit::{Collector, Lines, context, contract, outlet};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::*;
use crate::tls::ServerTls;

fn cx() -> Context {
    context(Role::Source)
}

/// A broker that listens, until this is dropped.
struct Listening {
    broker: Broker,
    keys: String,
    port: u16,
    task: JoinHandle<()>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn broker() -> Listening {
    let broker = Broker::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = broker.clone();
    let task = tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let serving = serving.clone();
            connections.spawn(async move { serving.serve(stream).await });
        }
    });
    let keys = format!(
        "providerURL = amqp://127.0.0.1:{port}\ndestinationName = orders\ndestinationType = queue\n\
         backoffSleepIncrement = 1\nmaxBackoffSleep = 20"
    );
    Listening { broker, keys, port, task }
}

fn texts(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("message {n}")).collect()
}

impl Listening {
    /// A source with these keys besides, that puts into `collector`.
    async fn run(&self, keys: &str, collector: &Collector) -> contract::Running {
        let keys = format!("{}\n{keys}", self.keys);
        contract::run_source(contract::open_source::<Jms>(&keys, cx()).await, collector)
    }

    fn send(&self, bodies: &[String]) {
        self.broker.change(|state| state.queue.extend(bodies.iter().map(|body| text(body))));
    }

    async fn accepted(&self, count: usize) {
        self.broker.until(|state| state.accepted.len() >= count).await;
    }

    fn state<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        self.broker.change(look)
    }
}

#[tokio::test]
async fn stops() {
    let idle = broker().await;
    contract::source_stops::<Jms>(&idle.keys, cx).await;
    let busy = broker().await;
    busy.send(&texts(1000));
    contract::source_stops::<Jms>(&busy.keys, cx).await;
}

#[tokio::test]
async fn messages_become_events_and_are_accepted_once_they_are_stored() {
    for (keys, most) in [("", 100), ("batchSize = 7", 7), ("batchSize = 1", 1)] {
        let listening = broker().await;
        listening.send(&texts(250));
        let collector = Collector::new();
        let running = listening.run(keys, &collector).await;
        listening.accepted(250).await;
        let outlet = running.outlet.clone();
        running.stop().await.unwrap();
        assert_eq!(collector.bodies(), texts(250), "{keys}");
        assert!(collector.batches().iter().all(|batch| batch.len() <= most), "{keys}");
        assert_eq!(outlet.metrics().events_accepted.value(), 250);
        assert_eq!(listening.state(|state| (state.queue.len(), state.released)), (0, 0));
        assert_eq!(&**collector.events()[0].headers.get("JMSXDeliveryCount").unwrap(), "1");
    }
}

#[tokio::test]
async fn what_channels_refuse_goes_back_and_comes_again_in_order() {
    async fn check(refuse: impl FnOnce(&Collector)) {
        let listening = broker().await;
        listening.send(&texts(100));
        let collector = Collector::new();
        refuse(&collector);
        let running = listening.run("batchSize = 10\nerrorThreshold = 0", &collector).await;
        listening.accepted(100).await;
        let outlet = running.outlet.clone();
        running.stop().await.unwrap();
        assert_eq!(collector.bodies(), texts(100));
        assert_eq!(outlet.metrics().channel_write_failures.value(), 3);
        assert!(listening.state(|state| state.released) >= 30);
    }
    check(|collector| collector.refuse(3)).await;
    check(|collector| collector.fail_commits(3)).await;
}

/// A channel that refuses, and only when it is told to.
#[derive(Clone, Default)]
struct Slow {
    asked: Arc<Notify>,
    told: Arc<Notify>,
}

impl Channel for Slow {
    fn begin_put(&self, _: Size) -> BoxFuture<'_, Result<Box<dyn Put>, ChannelError>> {
        Box::pin(async {
            self.asked.notify_one();
            self.told.notified().await;
            Err(ChannelError::Full { channel: "c1".into(), events: 0, waited: Duration::ZERO })
        })
    }

    fn begin_take(&self, _: Size) -> BoxFuture<'_, Result<Box<dyn Take>, ChannelError>> {
        Box::pin(ready(Err(ChannelError::Closed { channel: "c1".into() })))
    }

    fn level(&self) -> Level {
        Level::default()
    }

    fn close(&self) -> BoxFuture<'_, Result<(), ChannelError>> {
        Box::pin(ready(Ok(())))
    }
}

#[tokio::test]
async fn what_is_refused_while_it_stops_goes_back_and_does_not_count_as_tried() {
    for batch in [10, 3] {
        let listening = broker().await;
        listening.send(&texts(10));
        let channel = Slow::default();
        let keys = format!("{}\nbatchSize = {batch}", listening.keys);
        let source = contract::open_source::<Jms>(&keys, cx()).await;
        let running = contract::run_source_into(source, outlet(channel.clone()));
        channel.asked.notified().await;
        // The stop is asked for before the refusal comes.
        let (stopped, ()) = tokio::join!(running.stop(), async { channel.told.notify_one() });
        stopped.unwrap();
        listening.broker.until(|state| state.said.iter().any(|said| said == "detach true")).await;
        listening.broker.until(|state| state.queue.len() == 10).await;
        let (queue, released, tried) =
            listening.state(|state| (state.queue.clone(), state.released, state.tried));
        assert!(released >= batch && tried == 0, "{batch}: {released}, {tried}");
        let sent: Vec<_> = texts(10).iter().map(|body| text(body)).collect();
        assert!(queue.iter().eq(&sent), "{batch}: {queue:?}");
    }
}

#[tokio::test]
async fn what_channels_never_take_is_set_aside_alone() {
    let listening = broker().await;
    listening.send(&texts(100));
    let collector = Collector::new();
    collector.never_take("message 37");
    let running = listening.run("batchSize = 20\nerrorThreshold = 0", &collector).await;
    listening.accepted(99).await;
    let outlet = running.outlet.clone();
    running.stop().await.unwrap();
    let mut want = texts(100);
    assert_eq!(want.remove(37), "message 37");
    assert_eq!(collector.bodies(), want);
    assert_eq!(listening.state(|state| state.rejected.len()), 1);
    assert_eq!(outlet.metrics().read_failures.value(), 1);
    // Whole batches again behind it.
    let holds = |batch: &Batch| batch.events().iter().any(|event| &*event.body == b"message 38");
    let behind: Vec<_> =
        collector.batches().into_iter().skip_while(|batch| !holds(batch)).collect();
    assert!(behind.iter().any(|batch| batch.len() == 20), "{behind:?}");
}

#[tokio::test]
async fn a_broken_connection_is_made_anew_and_nothing_is_lost() {
    let listening = broker().await;
    listening.send(&texts(50));
    listening.state(|state| state.cuts_after = Some(20));
    let collector = Collector::new();
    let running = listening.run("batchSize = 5", &collector).await;
    listening.accepted(50).await;
    running.stop().await.unwrap();
    assert_eq!(listening.state(|state| state.connections), 2);
    let mut bodies = collector.bodies();
    bodies.sort();
    bodies.dedup();
    assert_eq!(bodies.len(), 50);
}

#[tokio::test]
async fn a_source_that_was_killed_leaves_all_that_it_did_not_store() {
    let listening = broker().await;
    listening.send(&texts(10));
    let (full, collector) = (Collector::new(), Collector::new());
    full.refuse(usize::from(u16::MAX));
    let killed = listening.run("", &full).await;
    listening.broker.until(|state| state.released > 0).await;
    killed.abort().await;
    assert!(full.batches().is_empty());
    let running = listening.run("", &collector).await;
    listening.accepted(10).await;
    running.stop().await.unwrap();
    assert_eq!(collector.bodies(), texts(10));
}

#[tokio::test]
async fn another_broker_of_the_list_is_taken_and_the_first_one_again() {
    let (first, second) = (broker().await, broker().await);
    first.state(|state| state.refuses = Some("amqp:not-found"));
    second.send(&texts(3));
    let both = [&first, &second].map(|one| format!("amqp://127.0.0.1:{}", one.port)).join(",");
    let rest = first.keys.split_once('\n').unwrap().1;
    let keys = format!("providerURL = failover:({both})\n{rest}");
    let collector = Collector::new();
    let running = contract::run_source(contract::open_source::<Jms>(&keys, cx()).await, &collector);
    second.accepted(3).await;
    first.state(|state| state.refuses = None);
    first.send(&["back".to_owned()]);
    second.state(|state| {
        state.refuses = Some("amqp:not-found");
        state.cuts_after = Some(0);
        state.queue.push_back(text("never"));
    });
    first.accepted(1).await;
    running.stop().await.unwrap();
    assert_eq!(collector.bodies().last().map(String::as_str), Some("back"));
}

#[tokio::test]
async fn what_never_can_be_an_event_is_rejected() {
    let listening = broker().await;
    let long = text(&"x".repeat(5000));
    let bad = bytes::Bytes::from_static(b"\0\x53\x77");
    listening.state(|state| {
        state.queue.extend([text("a"), long.clone(), text("b"), bad.clone(), text("c")]);
    });
    let collector = Collector::new();
    let running = listening.run("maxMessageBytes = 1000", &collector).await;
    listening.accepted(3).await;
    let outlet = running.outlet.clone();
    running.stop().await.unwrap();
    assert_eq!(collector.bodies(), ["a", "b", "c"]);
    assert_eq!(listening.state(|state| state.rejected.clone()), [long, bad]);
    assert_eq!(outlet.metrics().read_failures.value(), 2);
}

#[tokio::test]
async fn failures_above_the_threshold_end_the_source() {
    let listening = broker().await;
    let collector = Collector::new();
    let running = listening.run("errorThreshold = 2", &collector).await;
    listening.state(|state| {
        state.refuses = Some("amqp:resource-limit-exceeded");
        state.cuts_after = Some(0);
        state.queue.push_back(text("never"));
    });
    let outlet = running.outlet.clone();
    let error = running.ended().await.unwrap_err();
    assert!(error.to_string().contains("amqp:resource-limit-exceeded"), "{error}");
    assert_eq!(outlet.metrics().read_failures.value(), 1);
    assert_eq!(listening.state(|state| state.connections), 3);
}

#[tokio::test]
async fn a_broker_that_ends_each_connection_at_once_is_one_trouble() {
    let (lines, _listening) = Lines::from_level(tracing::Level::INFO);
    let broker = Broker::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let keys = format!(
        "providerURL = amqp://127.0.0.1:{port}\ndestinationName = orders\ndestinationType = queue\n\
         backoffSleepIncrement = 1\nmaxBackoffSleep = 20"
    );
    broker.change(|state| state.queue.push_back(text("late")));
    let serving = broker.clone();
    let serve = tokio::spawn(async move {
        for left in (0..4).rev() {
            let (stream, _) = listener.accept().await.unwrap();
            serving.change(|state| state.cuts_after = (left > 0).then_some(0));
            serving.serve(stream).await;
        }
    });
    let collector = Collector::new();
    let running = contract::run_source(contract::open_source::<Jms>(&keys, cx()).await, &collector);
    broker.until(|state| state.accepted.len() == 1).await;
    running.stop().await.unwrap();
    serve.abort();
    assert_eq!(broker.change(|state| state.connections), 4);
    for words in ["the broker is not there", "the broker is there again"] {
        assert_eq!(lines.with(words).len(), 1, "{words}: {:?}", lines.with(""));
    }
}

/// A broker may name our end of a connection, which has another port each time.
#[tokio::test]
async fn what_ends_connections_for_the_same_reason_is_said_alike() {
    let broker = Broker::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let keys = format!(
        "providerURL = amqp://127.0.0.1:{port}\ndestinationName = orders\ndestinationType = queue\n\
         errorThreshold = 0"
    );
    let mut said = Vec::new();
    for _ in 0..2 {
        let collector = Collector::new();
        let serving = async {
            let (stream, peer) = listener.accept().await.unwrap();
            broker.change(|state| {
                state.queue = [text("never")].into();
                (state.cuts_after, state.last_words) =
                    (Some(0), Some(format!("{peer} has no say")));
            });
            broker.serve(stream).await;
        };
        let receiving = async {
            let source = contract::open_source::<Jms>(&keys, cx()).await;
            contract::run_source(source, &collector).ended().await.unwrap_err().to_string()
        };
        let ((), error) = tokio::join!(serving, receiving);
        assert!(error.contains("127.0.0.1 has no say"), "{error}");
        said.push(error);
    }
    assert_eq!(said[0], said[1]);
}

#[tokio::test]
async fn what_somebody_has_to_mend_ends_the_source_at_once() {
    async fn check(refuse: impl FnOnce(&mut State), connections: usize, says: &str) {
        let listening = broker().await;
        let collector = Collector::new();
        let running = listening.run("errorThreshold = 3", &collector).await;
        listening.state(|state| {
            refuse(state);
            state.cuts_after = Some(0);
            state.queue.push_back(text("never"));
        });
        let error = running.ended().await.unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
        assert_eq!(listening.state(|state| state.connections), connections, "{error}");
        // Whoever opens it again is told that it takes a hand.
        let config = Section::parse(&listening.keys).read::<Config>().into_result().unwrap();
        let opened = Jms::open(config, cx()).await.err().expect("no source");
        assert!(opened.to_string().contains(says), "{opened}");
        assert_eq!(opened.needs_hand(), connections == 2, "{opened}");
    }
    check(|state| state.login = Some("u\0p"), 2, "; set `userName` and `passwordFile`").await;
    check(|state| state.mechanisms = vec!["EXTERNAL"], 2, "by: EXTERNAL; let").await;
    let refuse = |condition| move |state: &mut State| state.refuses = Some(condition);
    check(refuse("amqp:not-found"), 2, "; make the queue orders at the broker").await;
    check(refuse("amqp:unauthorized-access"), 2, "; let the broker allow who logs in").await;
    check(refuse("amqp:internal-error"), 4, "amqp:internal-error: no such thing").await;
}

#[tokio::test(start_paused = true)]
async fn who_accepts_a_connection_and_says_nothing_is_not_waited_for() {
    for (scheme, says) in
        [("amqps", "took longer than 10 seconds"), ("amqp", "said nothing for 30s")]
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let keys = format!(
            "providerURL = {scheme}://127.0.0.1:{port}\ndestinationName = q\ndestinationType = queue"
        );
        let config = Section::parse(&keys).read::<Config>().into_result().unwrap();
        let error = Jms::open(config, cx()).await.err().expect("nobody speaks").to_string();
        assert!(error.contains(says), "{error}");
    }
}

#[tokio::test]
async fn a_broker_that_cannot_be_used_keeps_the_source_from_opening() {
    async fn check(listening: &Listening, keys: &str, says: &str) {
        let text = format!("{}\n{keys}", listening.keys);
        let config = || Section::parse(&text).read::<Config>().into_result().unwrap();
        let opened = Jms::open(config(), cx()).await.err().expect("no source").to_string();
        assert!(opened.contains(says), "{opened}");
    }
    let listening = broker().await;
    check(&listening, "createDurableSubscription = true", "needs `destinationType = topic`").await;
    check(&listening, "userName = u\npasswordFile = /no/such/file", "/no/such/file").await;
    listening.state(|state| state.refuses = Some("amqp:not-found"));
    check(&listening, "", "amqp:not-found").await;
    let config = Section::parse(&listening.keys).read::<Config>().into_result().unwrap();
    let probed = Jms::probe(config.clone(), cx()).await.unwrap().unwrap();
    assert!(probed.contains("speaks AMQP 1.0"), "{probed}");
    assert!(
        listening.state(|state| state
            .said
            .iter()
            .filter(|said| said.starts_with("attach"))
            .count())
            == 1
    );
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("password");
    std::fs::write(&file, "  right\n").unwrap();
    let keys = format!("userName = u\npasswordFile = {}", file.display());
    listening.state(|state| (state.refuses, state.login) = (None, Some("u\0wrong")));
    check(&listening, &keys, "check `userName` and the password").await;
    listening.state(|state| state.login = Some("u\0right"));
    listening.send(&texts(1));
    let collector = Collector::new();
    let running = listening.run(&keys, &collector).await;
    listening.accepted(1).await;
    running.stop().await.unwrap();
    let nobody = listening.keys.replace(&format!(":{}", listening.port), ":0");
    let config = Section::parse(&nobody).read::<Config>().into_result().unwrap();
    let refused = Jms::open(config, cx()).await.err().expect("nobody listens").to_string();
    assert!(refused.contains("cannot receive from the broker: 127.0.0.1:0"), "{refused}");
}

#[tokio::test]
async fn brokers_are_spoken_to_over_tls() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    for name in ["localhost", "stranger"] {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        std::fs::write(path(&format!("{name}.pem")), made.cert.pem()).unwrap();
        std::fs::write(path(name), made.cert.pem() + &made.signing_key.serialize_pem()).unwrap();
    }
    for (host, trusted, wanted) in [
        ("localhost", "localhost", ""),
        ("localhost", "stranger", "certificate"),
        ("stranger", "stranger", "certificate"),
    ] {
        let keys = format!("ssl = true\nkeystore = {}\nkeystore-password = x", path(host));
        let tls = Section::parse(&keys).read::<ServerTls>().into_result().unwrap();
        let acceptor = tls.acceptor(&cx()).await.unwrap().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let broker = Broker::default();
        let serving = broker.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if let Ok(stream) = acceptor.accept(stream).await {
                    serving.serve(stream).await;
                }
            }
        });
        broker.change(|state| state.queue.push_back(text("sealed")));
        let keys = format!(
            "providerURL = amqps://localhost:{port}\ndestinationName = q\ndestinationType = queue\n\
             truststore = {}",
            path(&format!("{trusted}.pem"))
        );
        let config = Section::parse(&keys).read::<Config>().into_result().unwrap();
        match Jms::open(config, cx()).await {
            Ok(source) => {
                let collector = Collector::new();
                let running = contract::run_source(source, &collector);
                broker.until(|state| state.accepted.len() == 1).await;
                running.stop().await.unwrap();
                assert_eq!((wanted, &*collector.bodies()[0]), ("", "sealed"));
            }
            Err(error) => {
                let error = error.to_string();
                assert!(!wanted.is_empty() && error.contains(wanted), "{host}: {error}");
            }
        }
        task.abort();
    }
}

#[test]
fn facts_say_where_and_how_much() {
    let keys =
        "providerURL = amqp://b\ndestinationName = q\ndestinationType = topic\nbatchSize = 5";
    let config = Section::parse(keys).read::<Config>().into_result().unwrap();
    let facts = Jms::facts(&config);
    assert_eq!(facts.batch_events, Some(5));
    assert_eq!(facts.place.as_deref(), Some("receives from the topic q at b:5672"));
    assert!(facts.memory_bytes.is_some_and(|bytes| bytes < 200 << 20));
    let big = format!("{keys}\nmaxMessageBytes = {}", u64::MAX);
    let config = Section::parse(&big).read::<Config>().into_result().unwrap();
    assert_eq!(Jms::facts(&config).memory_bytes, Some(u64::MAX));
}
