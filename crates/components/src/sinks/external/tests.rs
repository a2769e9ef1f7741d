use splashdam_core::{Event, Role};
use splashdam_testkit::{context, contract};
use tempfile::TempDir;

use super::*;
use crate::external::tests::{READY, example, python, script};

/// The example, which writes into `dir`.
fn writing(dir: &TempDir) -> String {
    format!("{}\nset.file = {}\ntimeout = 60000", example(), dir.path().join("out").display())
}

fn written(dir: &TempDir) -> String {
    std::fs::read_to_string(dir.path().join("out")).unwrap().replace('\n', " ")
}

fn batch(bodies: &[String]) -> Batch {
    bodies.iter().map(|body| Event::new(body.clone())).collect()
}

fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|n| n.to_string()).collect()
}

#[tokio::test]
async fn keeps_the_contract() {
    if python() {
        contract::sink::<External>(&writing(&tempfile::tempdir().unwrap())).await;
    }
}

#[tokio::test]
async fn refused_events_are_named_wherever_batches_are_cut() {
    if !python() {
        return;
    }
    for more in ["", "maxMessageBytes = 1024"] {
        let dir = tempfile::tempdir().unwrap();
        let keys = format!("{}\nset.refuse = no\n{more}", writing(&dir));
        let mut sink = contract::open_sink::<External>(&keys, context(Role::Sink)).await;
        let mut bodies: Vec<String> = (0..100).map(|n| format!("{n}{}", "-".repeat(20))).collect();
        for at in [0, 50, 99] {
            bodies[at] = format!("no {at}");
        }
        let delivered = sink.deliver(&batch(&bodies)).await.unwrap();
        let at: Vec<usize> = delivered.rejected.iter().map(|rejected| rejected.at).collect();
        assert_eq!((delivered.events, at), (97, vec![0, 50, 99]), "{more}");
        assert_eq!(delivered.rejected[0].why, "nobody wants it");
        bodies.retain(|body| !body.starts_with("no"));
        assert_eq!(written(&dir).trim_end(), bodies.join(" "));
        sink.close().await.unwrap();
    }
}

#[tokio::test]
async fn what_no_message_can_carry_goes_to_dead_letters_or_holds_the_sink() {
    if !python() {
        return;
    }
    let large = "x".repeat(1024);
    // Each with the places of those that do not arrive.
    for (bodies, want) in [
        (vec!["0", &large, "no 2", "3", &large, "5"], vec![1, 2, 4]),
        (vec![&large, "1"], vec![0]),
        (vec![&large], vec![0]),
    ] {
        let events: Batch = bodies.iter().map(|body| Event::new((*body).to_owned())).collect();
        for dead_letters in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            let keys = format!("{}\nset.refuse = no\nmaxMessageBytes = 1024", writing(&dir));
            let cx = Context { dead_letters, ..context(Role::Sink) };
            let mut sink = contract::open_sink::<External>(&keys, cx).await;
            let delivered = sink.deliver(&events).await;
            if dead_letters {
                let delivered = delivered.unwrap();
                let at: Vec<usize> = delivered.rejected.iter().map(|one| one.at).collect();
                assert_eq!((delivered.events, &at), (bodies.len() - want.len(), &want));
                assert!(delivered.rejected[0].why.contains("raise `maxMessageBytes`"));
            } else {
                let error = delivered.unwrap_err().to_string();
                assert!(error.contains("raise `maxMessageBytes`"), "{error}");
            }
            sink.close().await.unwrap();
            let kept = |at: &usize| dead_letters && !want.contains(at);
            let kept: Vec<&str> = (0..bodies.len()).filter(kept).map(|at| bodies[at]).collect();
            let there = std::fs::read_to_string(dir.path().join("out")).unwrap_or_default();
            assert_eq!(there.lines().collect::<Vec<_>>(), kept);
        }
    }
}

#[tokio::test]
async fn a_batch_is_delivered_again_until_it_is_stored() {
    if !python() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    // The first process dies with the batch, the second wants it again, and then stores it.
    let text = format!(
        "{READY}if claim('first'):\n    e.receive()\n    os.kill(os.getpid(), signal.SIGKILL)\n\
         kind, payload = e.receive()\ne.answer(e.read_batch(payload)[0], e.AGAIN, e.text('full'))\ne.deliver(hello)\n"
    );
    let keys = writing(&dir).replace(&example(), &script(&dir, &text));
    let mut sink = contract::open_sink::<External>(&keys, context(Role::Sink)).await;
    let events = batch(&numbered(3));
    let error = sink.deliver(&events).await.unwrap_err();
    assert!(error.to_string().contains("wants the batch again: full"), "{error}");
    assert_eq!(sink.deliver(&events).await.unwrap(), Delivered::all(&events));
    sink.close().await.unwrap();
    assert_eq!(written(&dir), "0 1 2 ");
}
