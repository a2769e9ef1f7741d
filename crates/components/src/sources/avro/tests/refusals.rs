//! What is said of batches that the channels refuse, and of clients that the source refuses.

use tokio::net::TcpSocket;

use super::*;

/// Batches with an origin are put by a task of their own, others by their connection.
#[tokio::test]
async fn why_channels_refuse_is_said_once_for_batches_with_an_origin_and_without() {
    let (lines, _guard) = Lines::of_this_thread();
    let dir = tempfile::tempdir().unwrap();
    let more = "\ncapacity = 20\ntransactionCapacity = 20\nkeep-alive = 0";
    let channel = file_channel_with(dir.path(), more, context(Role::Channel)).await;
    let (source, address) = source("").await;
    let running = run_source_into(source, outlet_to(vec![channel.clone()]));
    let (mut first, mut plain) = (Client::connect(address).await, Client::connect(address).await);
    for (client, claim, count) in
        [(&mut first, Some(claim(0, &[0..10])), 10), (&mut plain, None, 1)]
    {
        client.call(1, true, claim.as_ref(), &events(0, count)).await;
        assert_eq!(client.answer(true).await, (1, Answer::Ok));
    }
    for serial in 2..5 {
        // After the first of them the others are behind a refused one, over this connection.
        let mut other = Client::connect(address).await;
        for (client, is_new) in [(&mut first, false), (&mut other, true)] {
            let claim = claim(0, &[10..30]);
            client.call(serial, is_new, Some(&claim), &numbered(&[10..30])).await;
            assert_eq!(client.answer(is_new).await, (serial, Answer::Failed));
        }
        plain.call(serial, false, None, &events(0, 20)).await;
        assert_eq!(plain.answer(false).await, (serial, Answer::Failed));
    }
    let said = lines.with("channels refuse a batch");
    assert!(matches!(&said[..], [said] if said.contains("channel x1 is full")), "{said:?}");
    running.stop().await.unwrap();
    channel.close().await.unwrap();
}

#[tokio::test]
async fn each_channel_that_is_full_is_said_once() {
    let (lines, _guard) = Lines::of_this_thread();
    let collector = Collector::new();
    collector.refuse_as(&["c1", "c1", "c2", "c1", "c2"]);
    let (source, address) = source("").await;
    let running = run_source_into(source, outlet_to(vec![Arc::new(collector)]));
    let mut client = Client::connect(address).await;
    for serial in 1..6 {
        client.call(serial, serial == 1, None, &events(0, 1)).await;
        assert_eq!(client.answer(serial == 1).await, (serial, Answer::Failed));
    }
    let said = lines.with("channels refuse a batch");
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].contains("c1 is full") && said[1].contains("c2 is full"), "{said:?}");
    running.stop().await.unwrap();
}

#[tokio::test]
async fn many_clients_that_are_kept_out_are_a_few_lines() {
    let (lines, _guard) = Lines::of_this_thread();
    let rules = "deny:ip:127.0.0.1,deny:ip:127.*";
    let (running, address) =
        start(&format!("ipFilter = true\nipFilterRules = {rules}"), &Collector::new()).await;
    for _ in 0..3 {
        for last in 1..=40 {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind(([127, 0, 0, last], 0).into()).unwrap();
            Client::over(socket.connect(address).await.unwrap()).closed().await;
        }
    }
    let said = lines.with("a connection was closed");
    assert_eq!(said.len(), 2, "one for each rule: {said:?}");
    assert!(said[1].contains("the rule deny:ip:127.* keeps 127.0.0.2 out"), "{said:?}");
    running.stop().await.unwrap();
}
