//! The JMS source against a real ActiveMQ, Artemis and Classic: beside real Flume on the same messages, where the broker refuses, with
//! what is large and what is many, and through deaths of the agent and of the broker.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use splashdam_interop::agent::free_port;
use splashdam_interop::jms::{Brand, JmsBroker, JmsPeer, KeyStore};
use splashdam_interop::{Agent, Launch, Make, Missing, Peers, avro_file, outputs};
use tempfile::TempDir;

use crate::side_by_side::{LIMIT, Turn, is_set, wait_for};
use crate::thrift::{PASSWORD, key_store, stores, trusts};

/// How often an agent is killed, and how many messages it has before it each time.
const ROUNDS: u32 = 5;
const EACH: u32 = 1500;
/// Messages in the longest queue.
const MANY: usize = 20_000;
/// Properties that Artemis makes of parts of AMQP's messages, to make these again of them; only its own client sees them.
const CONVERTED: &[&str] = &["JMS_AMQP_", "NATIVE_MESSAGE_ID"];
/// `TC_RESET` of Java's serialized objects.
const RESET: u8 = 0x79;
/// What an agent may take for messages of 10 MiB and a long queue.
const PEAK_LIMIT_BYTES: u64 = 256 << 20;

/// Both agents, a broker and a directory for all of them.
struct Scene {
    flume: Make,
    ours: Make,
    broker: JmsBroker,
    dir: TempDir,
    _turn: Turn,
}

/// `None` after saying what is missing.
fn scene(brand: Brand) -> Result<Option<Scene>> {
    let turn = Turn::take();
    let makes = || -> Result<_, Missing> {
        let mut peers = Peers::with_jms()?;
        // Without it Flume connects nowhere but to `java:`.
        peers.java_options = vec!["-XX:TieredStopAtLevel=1", "-DJndiAllowedProtocols=tcp"];
        Ok((JmsPeer::available(brand)?, Make::Flume(peers), Make::splashdam()?))
    };
    match makes() {
        Ok((peer, flume, ours)) => {
            let dir = tempfile::tempdir()?;
            stores(dir.path())?;
            // One that the broker knows a user by, one that it trusts and knows nobody by, and one that it does not trust.
            for client in ["ada", "nobody", "foreign"] {
                key_store(dir.path(), client, client)?;
            }
            ["ada", "nobody"].iter().try_for_each(|name| trusts(dir.path(), "clients", name))?;
            fs::write(dir.path().join("right"), "grist\n")?;
            fs::write(dir.path().join("wrong"), "gravel\n")?;
            let [path, clients] = ["keys.jks", "clients.jks"].map(|name| dir.path().join(name));
            let keys = KeyStore { path, clients, password: PASSWORD.to_owned() };
            let broker = peer.start(dir.path(), Some(keys))?;
            Ok(Some(Scene { flume, ours, broker, dir, _turn: turn }))
        }
        Err(missing) => {
            assert!(!is_set("SPLASHDAM_REQUIRE_INTEROP"), "{missing}");
            eprintln!("skipped: {missing}");
            Ok(None)
        }
    }
}

/// One broker serves all of them, as it takes seconds to start.
#[test]
fn messages_of_a_real_artemis() -> Result<()> {
    let Some(mut scene) = scene(Brand::Artemis)? else { return Ok(()) };
    let idle = scene.idles()?;
    scene.has_the_same_events_as_flume().context("beside Flume")?;
    scene.is_refused_and_let_in().context("refused and let in")?;
    scene.gives_back_what_channels_refuse().context("full channels")?;
    scene.takes_what_is_large_and_what_is_many().context("large and many")?;
    scene.has_idled(idle).context("an idle connection")?;
    scene.loses_nothing_when_the_agent_is_killed().context("agents killed")?;
    scene.loses_nothing_when_the_broker_is_killed().context("the broker killed")?;
    scene.runs_the_example().context("the example")
}

#[test]
fn messages_of_a_real_activemq() -> Result<()> {
    let Some(mut scene) = scene(Brand::Classic)? else { return Ok(()) };
    let idle = scene.idles()?;
    scene.has_the_same_events_as_flume().context("beside Flume")?;
    scene.is_refused_and_let_in().context("refused and let in")?;
    scene.gives_back_what_channels_refuse().context("full channels")?;
    scene.has_idled(idle).context("an idle connection")?;
    scene.loses_nothing_when_the_agent_is_killed().context("agents killed")?;
    scene.loses_nothing_when_the_broker_is_killed().context("the broker killed")
}

/// A source's name and all of its keys.
struct Source<'a> {
    name: &'a str,
    text: String,
}

/// A source that takes from a `queue` or `topic` and its name, with `keys` beside those that it needs.
fn source<'a>(name: &'a str, url: &str, destination: &str, keys: &[&str]) -> Source<'a> {
    let (kind, destination) = destination.split_once(' ').unwrap_or_default();
    let mut all = format!(
        "type = jms\n\
         connectionFactory = ConnectionFactory\n\
         providerURL = {url}\n\
         destinationName = {destination}\n\
         destinationType = {kind}\n\
         backoffSleepIncrement = 50\n\
         interceptors = i1\n\
         interceptors.i1.type = static\n\
         interceptors.i1.key = source\n\
         interceptors.i1.value = {name}\n\
         channels = c1\n"
    );
    all.extend(keys.iter().map(|key| format!("{key}\n")));
    let text = all.lines().map(|line| format!("a1.sources.{name}.{line}\n")).collect();
    Source { name, text }
}

/// An agent of these sources, one channel and one sink that writes to `dir/k1`.
fn agent(sources: &[Source<'_>], channel: &str, serializer: &str, dir: &Path) -> Result<String> {
    fs::create_dir_all(dir.join("k1"))?;
    let names: Vec<&str> = sources.iter().map(|source| source.name).collect();
    let texts: String = sources.iter().map(|source| &*source.text).collect();
    let dir = dir.display();
    Ok(format!(
        "a1.sources = {}\na1.channels = c1\na1.sinks = k1\n\
         {}\
         a1.sinks.k1.type = file_roll\n\
         a1.sinks.k1.channel = c1\n\
         a1.sinks.k1.sink.directory = {dir}/k1\n\
         a1.sinks.k1.sink.rollInterval = 0\n\
         a1.sinks.k1.sink.serializer = {serializer}\n\
         {texts}",
        names.join(" "),
        channel.replace("{dir}", &dir.to_string())
    ))
}

const MEMORY: &str = "a1.channels.c1.type = memory
a1.channels.c1.capacity = 10000
a1.channels.c1.transactionCapacity = 1000
";

const FILE: &str = "a1.channels.c1.type = file
a1.channels.c1.checkpointDir = {dir}/checkpoint
a1.channels.c1.dataDirs = {dir}/data
";

/// The numbers in texts, in the order in which they were written.
fn numbers(dir: &Path) -> Result<Vec<u32>> {
    let number = |line: String| {
        let number = line.strip_prefix("text ").and_then(|number| number.parse().ok());
        number.with_context(|| format!("a strange line: {line}"))
    };
    outputs::lines(&dir.join("k1"))?.into_iter().map(number).collect()
}

/// An agent on the configuration in `dir`, once it is ready.
fn launch(make: &Make, dir: &Path) -> Result<Agent> {
    Agent::launch(make, dir, Launch::default())
}

fn log(dir: &Path) -> Result<String> {
    Ok(fs::read_to_string(dir.join("agent.log"))?)
}

type Event = (BTreeMap<String, String>, Vec<u8>);

/// What each source brought, in order.
fn events(dir: &Path) -> Result<BTreeMap<String, Vec<Event>>> {
    let mut all: BTreeMap<String, Vec<Event>> = BTreeMap::new();
    for file in outputs::files(&dir.join("k1"))? {
        let bytes = fs::read(&file)?;
        // A file that was opened and not written to has no head either.
        let events = if bytes.is_empty() { vec![] } else { avro_file::read(&bytes)?.events };
        for (mut headers, body) in events {
            let source = headers.remove("source").context("an event of no source")?;
            headers.retain(|name, _| !CONVERTED.iter().any(|own| name.starts_with(own)));
            all.entry(source).or_default().push((headers, body));
        }
    }
    Ok(all)
}

impl Scene {
    fn url(&self) -> String {
        format!("amqp://127.0.0.1:{}", self.broker.port())
    }

    fn place(&self, name: &str) -> Result<PathBuf> {
        let dir = self.dir.path().join(name);
        fs::create_dir_all(&dir)?;
        Ok(dir)
    }

    /// Starts an agent that has nothing to do for longer than the broker lets anybody be silent.
    fn idles(&self) -> Result<Agent> {
        let (url, dir) = (self.url(), self.place("idle")?);
        let source = source("r1", &url, "queue idle", &[]);
        Agent::start(&self.ours, &dir, &agent(&[source], MEMORY, "text", &dir)?)
    }

    fn has_idled(&mut self, mut agent: Agent) -> Result<()> {
        self.broker.drive("texts idle 7 1")?;
        wait_for(&mut agent, "k1", 1)?;
        agent.stop()?;
        let dir = self.place("idle")?;
        assert_eq!(numbers(&dir)?, [7]);
        let said = log(&dir)?;
        assert_eq!(said.matches("connected to the broker").count(), 1, "{said}");
        Ok(())
    }

    fn has_the_same_events_as_flume(&mut self) -> Result<()> {
        let makes = [self.flume.clone(), self.ours.clone()];
        // Both subscribe and go away; their subscriptions stay.
        for (make, subscriptions) in makes.iter().zip(1..) {
            let agent = self.one_of_two(make)?;
            self.broker.wait_for("bound news", subscriptions, LIMIT)?;
            agent.stop()?;
        }
        self.broker.drive("news news 0 5")?;
        // Classic gives its own clients whole messages of AMQP as bytes: there both are sent alike.
        let other = if self.broker.brand() == Brand::Classic { "own" } else { "amqp" };
        let mut found = Vec::new();
        for make in &makes {
            let name = make.name();
            self.broker.drive(&format!("samples own {name}-own"))?;
            self.broker.drive(&format!("samples {other} {name}-amqp"))?;
            self.broker.drive(&format!("texts {name}-north 0 10"))?;
            self.broker.drive(&format!("texts closed.{name} 0 3"))?;
            let agent = self.one_of_two(make)?;
            for (queue, left) in [("-own", 0), ("-amqp", 0), ("-north", 5)] {
                self.broker.wait_for(&format!("count {name}{queue}"), left, LIMIT)?;
            }
            self.broker.wait_for(&format!("count closed.{name}"), 0, LIMIT)?;
            self.broker.wait_for(&format!("count {name}.readers"), 0, LIMIT)?;
            agent.stop()?;
            found.push(events(&self.place(name)?)?);
        }
        let (ours, flumes) = (&found[1], &found[0]);
        assert_eq!(ours.keys().collect::<Vec<_>>(), ["amqp", "closed", "news", "north", "own"]);
        for (source, wanted) in flumes {
            let found: Vec<Event> =
                ours[source].iter().cloned().map(|event| self.unmarked(event)).collect();
            let lengths = |events: &[Event]| events.iter().map(|(_, body)| body.len()).collect();
            let (left, right): (Vec<_>, Vec<_>) = (lengths(&found), lengths(wanted));
            assert_eq!(left, right, "{source}: ours is on the left, Flume's on the right");
            let pairs = found.iter().zip(wanted).enumerate();
            let unlike: Vec<_> = pairs.filter(|(_, (found, wanted))| found != wanted).collect();
            let shown = |(headers, body): &Event| {
                format!("{headers:?} {}", body[..body.len().min(100)].escape_ascii())
            };
            for (number, (found, wanted)) in &unlike {
                eprintln!("{source} {number}: {} is not {}", shown(found), shown(wanted));
            }
            ensure!(unlike.is_empty(), "{source}: {} events are not alike", unlike.len());
        }
        let count = |source: &str| ours[source].len();
        assert_eq!(["closed", "news", "north"].map(count), [3, 5, 5]);
        println!("{} and {} samples are alike", count("own"), count("amqp"));
        Ok(())
    }

    /// Without what only we show of Classic's messages: how often they were given, and the mark that its client puts
    /// behind a serialized object; Flume reads the object, and writes it again without.
    fn unmarked(&self, (mut headers, mut body): Event) -> Event {
        let is_object = body.starts_with(b"\xac\xed\x00\x05");
        if self.broker.brand() == Brand::Classic {
            headers.remove("JMSXDeliveryCount");
            if is_object && body.last() == Some(&RESET) {
                body.pop();
            }
        }
        (headers, body)
    }

    /// The same for both but for their names and the broker's protocol.
    fn one_of_two(&self, make: &Make) -> Result<Agent> {
        let (name, dir) = (make.name(), self.place(make.name())?);
        let scheme = if matches!(make, Make::Flume(_)) { "tcp" } else { "amqp" };
        let url = format!("{scheme}://127.0.0.1:{}", self.broker.port());
        let [own, amqp] = ["own", "amqp"].map(|client| format!("queue {name}-{client}"));
        let [north, closed] = [format!("queue {name}-north"), format!("queue closed.{name}")];
        let password = format!("passwordFile = {}/right", self.dir.path().display());
        let client = format!("clientId = {name}");
        let factory = match self.broker.brand() {
            Brand::Artemis => {
                "initialContextFactory = org.apache.activemq.artemis.jndi.ActiveMQInitialContextFactory"
            }
            Brand::Classic => {
                "initialContextFactory = org.apache.activemq.jndi.ActiveMQInitialContextFactory"
            }
        };
        let source = |name, destination: &str, keys: &[&str]| source(name, &url, destination, keys);
        let sources = [
            source("own", &own, &[factory]),
            source("amqp", &amqp, &[factory, "batchSize = 3", "pollTimeout = 100"]),
            source("north", &north, &[factory, "messageSelector = region = 'north'"]),
            source("closed", &closed, &[factory, "userName = mill", &password]),
            source(
                "news",
                "topic news",
                &[
                    factory,
                    "createDurableSubscription = true",
                    &client,
                    "durableSubscriptionName = readers",
                    "converter.converter.charset = UTF-16",
                ],
            ),
        ];
        Agent::start(make, &dir, &agent(&sources, MEMORY, "avro_event", &dir)?)
    }

    fn is_refused_and_let_in(&mut self) -> Result<()> {
        let (url, dir) = (self.url(), self.place("refused")?);
        let [sealed, known] = [self.broker.tls_port(), self.broker.certificate_port()]
            .map(|port| format!("amqps://localhost:{port}"));
        let loosely = |url: &str| format!("{url}?transport.verifyHost=false");
        let at = self.dir.path().display();
        let trust = format!("truststore = {at}/trust.jks");
        let [right, wrong] =
            ["right", "wrong"].map(|password| format!("passwordFile = {at}/{password}"));
        let user = "userName = mill";
        let [ada, nobody, foreign] =
            ["ada", "nobody", "foreign"].map(|client| format!("keystore = {at}/{client}.jks"));
        let opens = format!("keystore-password = {PASSWORD}");
        let mut sources = vec![
            source("right", &url, "queue closed.a", &[user, &right]),
            source("wrong", &url, "queue closed.b", &[user, &wrong]),
            source("guest", &url, "queue closed.c", &[]),
            source("selector", &url, "queue e", &["messageSelector = region = = 'north'"]),
            source("sealed", &loosely(&sealed), "queue closed.f", &[user, &right, &trust]),
            source("stranger", &loosely(&sealed), "queue g", &[]),
            source("renamed", &sealed, "queue h", &[&trust]),
            source("known", &loosely(&known), "queue closed.i", &[&trust, &ada, &opens]),
            source("bare", &loosely(&known), "queue j", &[&trust]),
            source("foreign", &loosely(&known), "queue k", &[&trust, &foreign, &opens]),
            source("nobody", &loosely(&known), "queue l", &[&trust, &nobody, &opens]),
        ];
        let mut reasons = vec![
            ("wrong", "check `userName` and the password"),
            ("guest", "let the broker allow who logs in without a name to receive"),
            ("selector", "correct `messageSelector`"),
            ("stranger", "nobody that is trusted has signed it"),
            ("renamed", "connect by a name that it is for"),
            ("bare", "set `keystore` to a key"),
            ("foreign", "set `keystore` to a key"),
            ("nobody", "certificate in `keystore`"),
        ];
        // The other one makes whatever is asked for.
        let makes = self.broker.brand() == Brand::Classic;
        if !makes {
            sources.push(source("missing", &url, "queue missing.d", &[]));
            reasons.push(("missing", "make the queue missing.d at the broker"));
        }
        fs::write(dir.join("flume.conf"), agent(&sources, MEMORY, "avro_event", &dir)?)?;
        // It is not ready while a source waits.
        let mut agent = Agent::spawn(&self.ours, &dir, Launch::default())?;
        let is_error = |line: &str, source: &str| {
            line.contains("ERROR") && line.contains(&format!("source {source}: "))
        };
        let began = Instant::now();
        for (source, reason) in &reasons {
            let says = |line: &str| is_error(line, source) && line.contains(reason);
            while !log(&dir)?.lines().any(says) {
                let late = began.elapsed() > LIMIT;
                ensure!(!late, "{source} does not say {reason}\n{}", log(&dir)?);
                thread::sleep(Duration::from_millis(20));
            }
        }
        let mut want = vec![("known", 3), ("right", 3), ("sealed", 3)];
        if !makes {
            self.broker.drive("create missing.d")?;
            self.broker.drive("texts missing.d 0 3")?;
            want.push(("missing", 3));
            want.sort_unstable();
        }
        for queue in ["closed.a", "closed.b", "e", "closed.f", "closed.i"] {
            self.broker.drive(&format!("texts {queue} 0 3"))?;
        }
        wait_for(&mut agent, "k1", 3 * want.len() as u64)?;
        agent.stop()?;
        let found = events(&dir)?;
        let counts: Vec<_> =
            found.iter().map(|(source, events)| (&**source, events.len())).collect();
        assert_eq!(counts, want);
        assert_eq!(self.broker.number("count closed.b")?, 3);
        // Each says it once, however often it is tried.
        let said = log(&dir)?;
        for (source, _) in reasons {
            let errors = said.lines().filter(|line| is_error(line, source)).count();
            assert_eq!(errors, 1, "{source}: {said}");
        }
        Ok(())
    }

    fn gives_back_what_channels_refuse(&mut self) -> Result<()> {
        let (url, dir) = (self.url(), self.place("full")?);
        let source = source("r1", &url, "queue full", &["batchSize = 10"]);
        let room = agent(&[source], FILE, "text", &dir)?;
        let narrow = room.replace(
            "a1.sinks.k1.type = file_roll",
            &format!(
                "a1.channels.c1.capacity = 25\na1.channels.c1.transactionCapacity = 25\n\
                 a1.channels.c1.keep-alive = 0\n\
                 a1.sinks.k1.hostname = 127.0.0.1\na1.sinks.k1.port = {}\n\
                 a1.sinks.k1.type = avro",
                free_port()?
            ),
        );
        self.broker.drive("texts full 0 100")?;
        let mut blocked = Agent::start(&self.ours, &dir, &narrow)?;
        // More often than a broker would suffer messages to fail.
        blocked.wait_until(LIMIT, "refusals", |metrics| {
            metrics.count("SOURCE.r1", "ChannelWriteFail") >= Some(12)
        })?;
        // How full it gets is a matter of how messages fell into batches; the rest is the broker's.
        let began = Instant::now();
        loop {
            let metrics = blocked.metrics()?;
            let accepted = metrics.count("SOURCE.r1", "EventAcceptedCount").unwrap_or(0);
            if accepted > 15 && accepted + self.broker.number("count full")? == 100 {
                break;
            }
            ensure!(
                began.elapsed() < LIMIT,
                "the broker and the channel have not 100: {metrics:?}"
            );
            thread::sleep(Duration::from_millis(20));
        }
        blocked.kill()?;
        let freed = Agent::start(&self.ours, &dir, &room)?;
        self.broker.wait_for("count full", 0, LIMIT)?;
        freed.stop()?;
        assert_eq!(numbers(&dir)?, (0..100).collect::<Vec<_>>());
        assert_eq!(self.broker.number("dead")?, 0);
        Ok(())
    }

    fn takes_what_is_large_and_what_is_many(&mut self) -> Result<()> {
        let (url, dir) = (self.url(), self.place("large")?);
        let (large, many) = (10 << 20, MANY);
        self.broker.drive(&format!("large large {large} 3"))?;
        self.broker.drive(&format!("large too-large {} 1", 2 * large))?;
        self.broker.drive(&format!("texts many 0 {many}"))?;
        let source = |name, destination: &str, keys: &[&str]| source(name, &url, destination, keys);
        let most = format!("maxMessageBytes = {}", large + 1000);
        let sources = [
            source("r1", "queue large", &[&most]),
            source("r2", "queue too-large", &[&most]),
            source("r3", "queue many", &["batchSize = 1000"]),
        ];
        let agent = Agent::start(&self.ours, &dir, &agent(&sources, FILE, "text", &dir)?)?;
        for queue in ["large", "too-large", "many"] {
            self.broker.wait_for(&format!("count {queue}"), 0, LIMIT)?;
        }
        // The broker set aside what is too large, and nothing else.
        self.broker.wait_for("dead", 1, LIMIT)?;
        let peak_bytes = agent.usage()?.peak_bytes;
        agent.stop()?;
        println!("{} MiB at the most", peak_bytes >> 20);
        ensure!(peak_bytes < PEAK_LIMIT_BYTES, "{} MiB of memory", peak_bytes >> 20);
        let lines = outputs::lines(&dir.join("k1"))?;
        let is_large =
            |line: &&String| line.len() == large && line.bytes().all(|byte| byte == b'z');
        assert_eq!(lines.iter().filter(is_large).count(), 3);
        let texts = lines.iter().filter(|line| line.starts_with("text "));
        assert!(texts.cloned().eq((0..many).map(|n| format!("text {n}"))));
        Ok(())
    }

    fn loses_nothing_when_the_agent_is_killed(&mut self) -> Result<()> {
        let (url, dir) = (self.url(), self.place("killed")?);
        self.durable(&url, &dir)?;
        // What it subscribed to is kept while it is gone.
        launch(&self.ours, &dir)?.kill()?;
        for round in 0..ROUNDS {
            self.broker.drive(&format!("texts orders {} {EACH}", round * EACH))?;
            self.broker.drive(&format!("news more-news {} 10", 100_000 + round * 10))?;
            let mut agent = launch(&self.ours, &dir)?;
            agent.wait_until(LIMIT, "events at all", |metrics| {
                metrics.count("SOURCE.r1", "EventAcceptedCount") > Some(0)
            })?;
            agent.kill()?;
        }
        let agent = launch(&self.ours, &dir)?;
        self.drained(u64::from(ROUNDS * EACH / 2))?;
        agent.stop()?;
        self.arrived(&dir, ROUNDS)
    }

    fn loses_nothing_when_the_broker_is_killed(&mut self) -> Result<()> {
        let (url, dir) = (self.url(), self.place("killed")?);
        self.durable(&url, &dir)?;
        self.broker.drive(&format!("texts orders {} {EACH}", ROUNDS * EACH))?;
        let mut agent = launch(&self.ours, &dir)?;
        agent.wait_until(LIMIT, "events at all", |metrics| {
            metrics.count("SOURCE.r1", "EventAcceptedCount") > Some(0)
        })?;
        self.broker.kill()?;
        self.broker.start_again()?;
        // The agent finds it by itself.
        self.broker.drive(&format!("news more-news {} 10", 100_000 + ROUNDS * 10))?;
        self.drained(u64::from((ROUNDS + 1) * EACH / 2))?;
        agent.stop()?;
        self.arrived(&dir, ROUNDS + 1)
    }

    /// A queue and a topic into a file channel, and from there into files.
    fn durable(&self, url: &str, dir: &Path) -> Result<()> {
        let source = |name, destination: &str, keys: &[&str]| source(name, url, destination, keys);
        let sources = [
            source(
                "r1",
                "queue orders",
                &["batchSize = 20", "messageSelector = region = 'north'", "errorThreshold = 3"],
            ),
            source(
                "r2",
                "topic more-news",
                &[
                    "createDurableSubscription = true",
                    "clientId = mill",
                    "durableSubscriptionName = readers",
                ],
            ),
        ];
        Ok(fs::write(dir.join("flume.conf"), agent(&sources, FILE, "text", dir)?)?)
    }

    /// Waits until the broker has but what nobody wants.
    fn drained(&mut self, unwanted: u64) -> Result<()> {
        self.broker.wait_for("count orders", unwanted, LIMIT)?;
        self.broker.wait_for("count mill.readers", 0, LIMIT)
    }

    /// All that was sent in so many rounds is there.
    fn arrived(&mut self, dir: &Path, rounds: u32) -> Result<()> {
        let mut found = numbers(dir)?;
        found.sort_unstable();
        let all = found.len();
        found.dedup();
        let news = (0..rounds * 10).map(|n| 100_000 + n);
        let wanted: Vec<u32> = (0..rounds * EACH).step_by(2).chain(news).collect();
        assert_eq!(found, wanted);
        println!("{} events, {} of them twice", wanted.len(), all - wanted.len());
        // Only the one that was too large.
        let dead = u64::from(self.broker.brand() == Brand::Artemis);
        assert_eq!(self.broker.number("dead")?, dead);
        Ok(())
    }

    /// `examples/jms.conf` at work, with the places of this test.
    fn runs_the_example(&mut self) -> Result<()> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/jms.conf");
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let dir = self.place("example")?;
        let text = text
            .replace("localhost:5672", &format!("127.0.0.1:{}", self.broker.port()))
            .replace("destinationName = orders", "destinationName = example")
            .replace("= /var/", &format!("= {}/var/", dir.display()));
        for folder in ["var/lib/splashdam", "var/log/orders"] {
            fs::create_dir_all(dir.join(folder))?;
        }
        let config = dir.join("flume.conf");
        fs::write(&config, text)?;
        let Make::Splashdam(binary) = &self.ours else { return Ok(()) };
        let said = Command::new(binary).args(["check", "--online", "-f"]).arg(&config).output()?;
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        ensure!(said.contains("speaks AMQP 1.0 and takes the login"), "check says {said}");
        // To look is not to make.
        assert_eq!(self.broker.number("bound example")?, 0);
        self.broker.drive("texts example 0 10")?;
        let mut agent = launch(&self.ours, &dir)?;
        wait_for(&mut agent, "k1", 5)?;
        agent.stop()?;
        let lines = outputs::lines(&dir.join("var/log/orders"))?;
        assert_eq!(lines, ["text 0", "text 2", "text 4", "text 6", "text 8"]);
        Ok(())
    }
}
