//! Clients that together begin more than there may be.

use futures_util::future::join_all;
use tokio::io::duplex;

use super::super::connection::Service;
use super::super::inflow::{Inflow, MOST_AHEAD_BYTES};
use super::silence::Late;
use super::*;

/// However many have begun more than there may be, each call is taken in the end: nobody is cut off, which a sink
/// could take for a word about its batch.
#[tokio::test(start_paused = true)]
async fn who_begins_too_much_waits_for_the_others() {
    let collector = Collector::new();
    let (_handle, stop) = Stop::new();
    let config = Section::parse(KEYS).read().into_result().unwrap();
    let out = outlet_to(vec![Arc::new(collector.clone())]);
    let mut service = Service::new(&config, &context(Role::Source), out, stop);
    service.inflow = Inflow::of(100_000);
    let large = |letter: &'static str| Batch::from(vec![Event::new(letter.repeat(300_000))]);
    let calls = ["a", "b", "c", "d", "e"].map(async |letter| {
        let (near, far) = duplex(10_000);
        let mut client = Client::over(near);
        let talk = async {
            client.call(1, true, None, &large(letter)).await;
            assert_eq!(client.answer(true).await, (1, Answer::Ok));
            drop(client);
        };
        tokio::join!(service.serve(far, peer()), talk)
    });
    join_all(calls).await;
    assert_eq!(collector.events().len(), 5);

    // Who leads and does not go on holds the others up for a while only.
    let begun = tokio::time::Instant::now();
    let stalls = async {
        let (mut near, far) = duplex(10_000);
        let half = async {
            near.write_all(&hex("00000001 00000001 00100000")).await.unwrap();
            near.write_all(&[0; 300_000]).await.unwrap();
            near.read_to_end(&mut Vec::new()).await.unwrap();
        };
        tokio::join!(service.serve(far, peer()), half);
        begun.elapsed().as_secs()
    };
    let waits = async {
        sleep(Duration::from_secs(1)).await;
        let (near, far) = duplex(10_000);
        let mut client = Client::over(near);
        let mut out = Outgoing::default();
        out.append_batch(1, Some(FLUME_HASH), None, large("f").events()).unwrap();
        let bytes = out.copy_to_bytes(out.remaining());
        let talk = async { client.stream.write_all(&bytes).await.unwrap_err() };
        tokio::join!(service.serve(far, peer()), talk);
        begun.elapsed().as_secs()
    };
    let (stalled, waited) = tokio::join!(stalls, waits);
    assert_eq!((stalled, waited), (30 + 300_012 / (16 * 1024), 31));
    assert_eq!(collector.events().len(), 5);
}

/// The channel may be done with a call before it is counted as under way; nothing else would wake its connection.
#[tokio::test(start_paused = true)]
async fn a_call_larger_than_what_may_be_ahead_does_not_hold_up_the_next() {
    let collector = Collector::new();
    let (_handle, stop) = Stop::new();
    let config = Section::parse(KEYS).read().into_result().unwrap();
    let out = outlet_to(vec![Arc::new(collector.clone())]);
    let service = Service::new(&config, &context(Role::Source), out, stop);
    let (near, far) = duplex(100_000);
    let mut client = Client::over(near);
    let large = Batch::from(vec![Event::new("a".repeat(MOST_AHEAD_BYTES + 1))]);
    let talk = async {
        for (serial, batch) in [(1, &large), (2, &events(0, 1))] {
            client.call(serial, serial == 1, None, batch).await;
            assert_eq!(client.answer(serial == 1).await, (serial, Answer::Ok));
        }
        drop(client);
    };
    tokio::join!(service.serve(far, peer()), talk);
    assert_eq!(collector.events().len(), 2);
}

/// Each of them costs more than its few bytes.
#[tokio::test(start_paused = true)]
async fn who_sends_many_small_headers_is_well_ahead() {
    let collector = Collector::new();
    let running = async |headers: usize| {
        let (source, address) = source("").await;
        let late = Late(collector.clone());
        let running = run_source_into(source, outlet_to(vec![Arc::new(late)]));
        let mut client = Client::connect(address).await;
        let names: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        let headers = names[..headers].iter().map(|name| (name.as_str(), "")).collect();
        let many = Batch::from(vec![Event { headers, body: Bytes::new() }; 1000]);
        let began = tokio::time::Instant::now();
        client.call(1, true, None, &many).await;
        sleep(Duration::from_secs(1)).await;
        client.call(2, false, None, &events(0, 1)).await;
        assert_eq!(client.answer(true).await, (1, Answer::Ok));
        assert_eq!(client.answer(false).await, (2, Answer::Ok));
        running.stop().await.unwrap();
        began.elapsed().as_secs()
    };
    assert_eq!(running(1).await, 4, "both are under way at once");
    assert_eq!(running(100).await, 6, "one after the other");
}

fn peer() -> std::net::SocketAddr {
    ([127, 0, 0, 1], 1).into()
}
