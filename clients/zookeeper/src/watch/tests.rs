//! Servers that come, go, forget and fall silent.

use tokio::sync::watch::{Receiver, channel};
use tokio::time::timeout;

use super::*;
use crate::fake::{Fake, Mood};

/// However slow the machine.
const LIMIT: Duration = Duration::from_secs(60);
const LONG: Duration = Duration::from_secs(40);
/// A session that is pinged three times a second.
const SHORT: Duration = Duration::from_secs(1);

fn data(text: &'static str) -> Node {
    Node::Data(text.into())
}

fn followed(fakes: &[&Fake]) -> Receiver<Seen> {
    let ensemble = Ensemble::of(fakes.iter().map(|fake| fake.server()).collect()).unwrap();
    let (sender, seen) = channel(Seen::default());
    tokio::spawn(Watch::new(ensemble, "/flume/a1", 0).run(sender));
    seen
}

async fn until(seen: &mut Receiver<Seen>, wanted: impl FnMut(&Seen) -> bool) -> Seen {
    let found = timeout(LIMIT, seen.wait_for(wanted)).await;
    found.expect("in time").expect("it is followed").clone()
}

async fn until_node(seen: &mut Receiver<Seen>, node: Node) {
    let all_well = |seen: &Seen| seen.node.as_ref() == Some(&node) && seen.trouble.is_none();
    until(seen, all_well).await;
}

#[tokio::test]
async fn a_node_that_comes_changes_goes_and_comes_back_is_seen() {
    let fake = Fake::start(LONG).await.unwrap();
    let mut seen = followed(&[&fake]);
    for node in [Node::Absent, data("x = 1"), data("x = 2"), data(""), Node::Absent, data("x = 3")]
    {
        fake.set(node.clone());
        until_node(&mut seen, node).await;
    }
    let visits = fake.visits();
    assert_eq!(visits.sessions, [(0, 0)], "one session for all of it");
    assert!(visits.paths.iter().all(|path| path == "/flume/a1"), "{:?}", visits.paths);
}

#[tokio::test]
async fn a_session_goes_on_at_another_server_with_what_it_has_seen() {
    let fakes = [Fake::start(LONG).await.unwrap(), Fake::start(LONG).await.unwrap()];
    let [one, two] = &fakes;
    one.set(data("x = 1"));
    let mut seen = followed(&[one, two]);
    until_node(&mut seen, data("x = 1")).await;
    // The second has not heard of it yet: it must not make the agent forget.
    one.mood(Mood::Away);
    until(&mut seen, |seen| seen.trouble.is_some()).await;
    assert_eq!(seen.borrow().node, Some(data("x = 1")));
    two.set(data("x = 2"));
    until_node(&mut seen, data("x = 2")).await;
    assert!(two.visits().sessions.iter().all(|&visit| visit == (1, 1)), "{:?}", two.visits());
}

#[tokio::test]
async fn trouble_names_every_server_and_ends() {
    let fakes = [Fake::start(LONG).await.unwrap(), Fake::start(LONG).await.unwrap()];
    fakes.iter().for_each(|fake| fake.mood(Mood::Away));
    let mut seen = followed(&[&fakes[0], &fakes[1]]);
    let trouble = until(&mut seen, |seen| seen.trouble.is_some()).await.trouble.unwrap();
    for fake in &fakes {
        assert!(trouble.contains(&fake.server().to_string()), "{trouble}");
    }
    assert_eq!(seen.borrow().node, None);
    fakes[1].mood(Mood::Well);
    until_node(&mut seen, Node::Absent).await;
}

#[tokio::test]
async fn a_forgotten_session_is_replaced_by_a_new_one() {
    let fake = Fake::start(LONG).await.unwrap();
    fake.set(data("x = 1"));
    let mut seen = followed(&[&fake]);
    until_node(&mut seen, data("x = 1")).await;
    fake.mood(Mood::Away);
    until(&mut seen, |seen| seen.trouble.is_some()).await;
    fake.mood(Mood::Forgetful);
    fake.set(data("x = 2"));
    until_node(&mut seen, data("x = 2")).await;
    assert_eq!(fake.visits().sessions.last(), Some(&(0, 0)));
}

#[tokio::test]
async fn idle_sessions_are_pinged_and_silent_servers_left() {
    let fakes = [Fake::start(SHORT).await.unwrap(), Fake::start(SHORT).await.unwrap()];
    let [one, two] = &fakes;
    one.set(data("x = 1"));
    two.set(data("x = 2"));
    // A machine that stands still makes a client leave for the other one: it is sent back from there.
    two.mood(Mood::Away);
    let mut seen = followed(&[one, two]);
    until_node(&mut seen, data("x = 1")).await;
    let pinged = async {
        while one.visits().pings < 3 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LIMIT, pinged).await.expect("pings");
    one.mood(Mood::Silent);
    two.mood(Mood::Well);
    until_node(&mut seen, data("x = 2")).await;
}

#[tokio::test]
async fn refusals_and_endless_answers_say_so() {
    let fake = Fake::start(LONG).await.unwrap();
    let mut seen = followed(&[&fake]);
    for (mood, says) in [
        (Mood::Refuses(-102), "without a login"),
        (Mood::Refuses(-7), "error -7"),
        (Mood::Endless, "more than the limit"),
        (Mood::Away, "closed the connection"),
    ] {
        fake.mood(mood);
        // Who is there already is left alone until there is a reason to ask.
        fake.set(data(""));
        let told = |seen: &Seen| seen.trouble.as_ref().is_some_and(|why| why.contains(says));
        until(&mut seen, told).await;
    }
}

#[tokio::test]
async fn it_ends_with_its_listeners() {
    let fake = Fake::start(LONG).await.unwrap();
    let ensemble = Ensemble::of(vec![fake.server()]).unwrap();
    let (sender, seen) = channel(Seen::default());
    let running = tokio::spawn(Watch::new(ensemble, "/a", 7).run(sender));
    drop(seen);
    timeout(LIMIT, running).await.expect("in time").unwrap();
}

#[tokio::test]
async fn one_look_takes_the_first_server_that_answers() {
    let fakes = [Fake::start(LONG).await.unwrap(), Fake::start(LONG).await.unwrap()];
    let [one, two] = &fakes;
    let ensemble = Ensemble::of(vec![one.server(), two.server()]).unwrap();
    let read = async |patience| ensemble.read("/a", 0, patience).await;
    one.mood(Mood::Away);
    assert_eq!(read(LIMIT).await, Ok(Node::Absent));
    two.set(data("x"));
    assert_eq!(read(LIMIT).await, Ok(data("x")));
    two.mood(Mood::Silent);
    let said = read(Duration::from_millis(50)).await.unwrap_err().to_string();
    assert!(said.starts_with("no ZooKeeper answered (127.0.0.1:"), "{said}");
    assert!(said.contains("no answer within 50ms"), "{said}");
}
