//! Nodes that are there, are not, change, and cannot be asked for.

use std::path::Path;
use std::time::Duration;

use splashdam_zookeeper::Node;
use splashdam_zookeeper::fake::{Fake, Mood};

use crate::provider::{Loaded, Provider, Settings, ZooKeeperSettings};

/// However slow the machine.
const LIMIT: Duration = Duration::from_secs(60);
const SESSION: Duration = Duration::from_secs(40);

fn data(text: &'static str) -> Node {
    Node::Data(text.into())
}

fn settings(fake: &Fake, follow: bool) -> Settings {
    let connect = format!("{}/chroot", fake.server());
    let zookeeper = ZooKeeperSettings { connect, base_path: None, follow, first: 5 };
    Settings { agent: "a1".into(), zookeeper: Some(zookeeper), ..Settings::default() }
}

fn provider(fake: &Fake, follow: bool) -> Provider {
    Provider::new(&settings(fake, follow)).unwrap()
}

fn texts(loaded: &Loaded) -> Vec<String> {
    loaded.sources.iter().map(|(_, source)| source.text.to_string()).collect()
}

/// Polls when the node is told of, as the agent does, until `wanted` finds something.
async fn polled<T>(
    provider: &mut Provider,
    wanted: impl Fn(Result<Option<Loaded>, String>) -> Option<T>,
) -> T {
    let mut told = provider.node().unwrap();
    let polled = async {
        loop {
            let polled = provider.poll().await.map_err(|error| error.to_string());
            match wanted(polled) {
                Some(found) => return found,
                None => told.changed().await.unwrap(),
            }
        }
    };
    tokio::time::timeout(LIMIT, polled).await.expect("in time")
}

/// The next change, whatever the trouble on the way to it.
async fn next(provider: &mut Provider) -> Vec<String> {
    polled(provider, |polled| polled.ok().flatten().map(|loaded| texts(&loaded))).await
}

#[tokio::test]
async fn a_node_is_read_once_or_its_absence_is_fatal() {
    let fake = Fake::start(SESSION).await.unwrap();
    let missing = provider(&fake, false).load().await.unwrap_err().to_string();
    assert!(missing.contains("zookeeper:/flume/a1: there is no such node"), "{missing}");
    fake.set(Node::Data("a1.x = h\u{e9} ${env:HOME}\n".into()));
    let mut once = provider(&fake, false);
    assert!(once.node().is_none() && once.files().is_empty() && !once.is_remote());
    let loaded = once.load().await.unwrap();
    assert_eq!(texts(&loaded), ["a1.x = h\u{e9} ${env:HOME}\n"], "UTF-8");
    assert!(loaded.sources.iter().all(|(_, source)| source.verbatim));
    assert!(once.poll().await.unwrap().is_none());
    assert_eq!(fake.visits().paths.last().unwrap(), "/chroot/flume/a1");
    fake.set(data(" \n"));
    let empty = provider(&fake, false).load().await.unwrap();
    assert!(empty.sources.is_empty());
    assert_eq!(empty.warnings, ["the node /flume/a1 of ZooKeeper is empty"]);
    fake.mood(Mood::Away);
    let before = fake.visits();
    let away = provider(&fake, false).load().await.unwrap_err().to_string();
    assert!(away.contains("no ZooKeeper answered (127.0.0.1:"), "{away}");
    assert_eq!(fake.visits(), before, "nobody is let in");
}

#[tokio::test]
async fn a_followed_node_may_come_late_change_and_go() {
    let fake = Fake::start(SESSION).await.unwrap();
    let mut following = provider(&fake, true);
    let loaded = following.load().await.unwrap();
    assert!(loaded.sources.is_empty());
    assert!(loaded.warnings[0].contains("is not there; nothing runs"), "{:?}", loaded.warnings);
    fake.set(data("x = 1\n"));
    assert_eq!(next(&mut following).await, ["x = 1\n"]);
    fake.set(data("x = 1\n"));
    assert!(following.poll().await.unwrap().is_none());
    fake.set(data("x = 2"));
    assert_eq!(next(&mut following).await, ["x = 2"]);
    fake.mood(Mood::Away);
    let away = polled(&mut following, Result::err).await;
    assert!(away.contains("no ZooKeeper answers (127.0.0.1:"), "{away}");
    fake.set(Node::Absent);
    fake.mood(Mood::Well);
    assert_eq!(next(&mut following).await, [""; 0], "nothing to run");
    fake.set(data("x = 2"));
    assert_eq!(next(&mut following).await, ["x = 2"]);
}

#[tokio::test]
async fn a_backup_or_patience_serves_a_start_without_zookeeper() {
    let fake = Fake::start(SESSION).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings { backup: Some(dir.path().to_owned()), ..settings(&fake, true) };
    fake.set(Node::Data("x = h\u{e9}\n".into()));
    Provider::new(&settings).unwrap().load().await.unwrap();
    fake.mood(Mood::Away);
    let mut from_backup = Provider::new(&settings).unwrap();
    let loaded = from_backup.load().await.unwrap();
    assert_eq!(texts(&loaded), ["x = h\u{e9}\n\n\n"]);
    assert!(loaded.sources.iter().all(|(_, source)| source.verbatim));
    assert!(loaded.warnings[0].contains("starting from the backup"), "{:?}", loaded.warnings);
    let mut patient = provider(&fake, true);
    let loaded = patient.load().await.unwrap();
    assert!(loaded.sources.is_empty());
    assert!(
        loaded.warnings[0].ends_with("; the agent idles until one does"),
        "{:?}",
        loaded.warnings
    );
    fake.mood(Mood::Well);
    fake.set(Node::Absent);
    for provider in [&mut from_backup, &mut patient] {
        assert_eq!(next(provider).await, [""; 0], "nothing to run");
    }
    // A node that is gone leaves a backup with nothing in it, and no way back to what was.
    let kept = std::fs::read(dir.path().join(".a1.properties")).unwrap();
    assert!(kept.is_empty(), "{kept:?}");
    fake.mood(Mood::Away);
    assert!(Provider::new(&settings).unwrap().load().await.unwrap().sources.is_empty());
}

#[test]
fn what_cannot_name_a_node_is_refused() {
    let check = |connect: &str, base: Option<&str>, agent: &str, says: &str| {
        let zookeeper = ZooKeeperSettings {
            connect: connect.into(),
            base_path: base.map(Into::into),
            follow: true,
            first: 0,
        };
        let files = vec![Path::new("x").into()];
        let agent = agent.into();
        let made = Provider::new(&Settings {
            agent,
            files,
            zookeeper: Some(zookeeper),
            ..Settings::default()
        });
        let said = match made {
            Ok(made) => made.node().map(|_| made.warnings.join("; ")).unwrap_or_default(),
            Err(error) => error.to_string(),
        };
        assert!(said.contains(says), "{connect} {base:?}: {said}");
    };
    check("zk", None, "a1", "ignored because --zkConnString");
    check("zk", Some(""), "a1", "ignored because");
    check("zk", Some("/"), "a1", "ignored because");
    check("zk", Some("/x/"), "a1", "ignored because");
    check("zk:x", None, "a1", "--zkConnString: `zk:x` names no ZooKeeper");
    check("", None, "a1", "--zkConnString");
    check("zk", Some("x"), "a1", "--zkBasePath: `x/a1` is no path");
    check("zk", None, "", "--zkBasePath: `/flume/` is no path");
    check("zk", None, "..", "--zkBasePath: `/flume/..` is no path");
}
