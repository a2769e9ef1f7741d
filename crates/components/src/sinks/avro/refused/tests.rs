use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use splashdam_core::{
    BoxFuture, Channel, ChannelError, Context, Level, Put, Role, Sink, Size, Take,
};
use splashdam_testkit::contract::{Running, open_sink, open_source, run_source, run_source_into};
use splashdam_testkit::fakes::outlet_to;
use splashdam_testkit::{Collector, context};

use super::*;
use crate::sources;

/// What the peer reads, in bytes.
const MOST: usize = 10_000;

async fn peer(collector: &Collector) -> (Running, SocketAddr) {
    let keys = format!("bind = 127.0.0.1\nport = 0\nmaxMessageBytes = {MOST}");
    let source = open_source::<sources::avro::Avro>(&keys, context(Role::Source)).await;
    let address = source.local_addr().unwrap();
    (run_source(source, collector), address)
}

async fn sink(address: SocketAddr, dead_letters: bool) -> Avro {
    let keys = format!("hostname = 127.0.0.1\nport = {}\nbatch-size = 10", address.port());
    let mut sink = open_sink::<Avro>(&keys, Context { dead_letters, ..context(Role::Sink) }).await;
    sink.waits.trial = Duration::from_millis(1);
    sink.waits.retry = [Duration::from_millis(1); 2];
    sink
}

fn batch(lengths: &[usize]) -> Batch {
    lengths.iter().map(|length| Event::new(vec![b'x'; *length])).collect()
}

fn lengths(collector: &Collector) -> Vec<usize> {
    collector.events().iter().map(|event| event.body.len()).collect()
}

/// Delivers until the sink is through; the events that it rejected, and how often it failed.
async fn through(sink: &mut Avro, batch: &Batch) -> (Vec<usize>, u32) {
    for failed in 0..10 {
        if let Ok(delivered) = sink.deliver(batch).await {
            assert_eq!(delivered.events + delivered.rejected.len(), batch.len());
            return (delivered.rejected.iter().map(|rejected| rejected.at).collect(), failed);
        }
    }
    panic!("it never got through");
}

#[tokio::test]
async fn an_event_longer_than_the_peer_reads_is_found_and_rejected() {
    let check = async |sizes: &[usize], rejected: &[usize], fails: u32| {
        let collector = Collector::new();
        let (running, address) = peer(&collector).await;
        let mut sink = sink(address, true).await;
        let batch = batch(sizes);
        assert_eq!(through(&mut sink, &batch).await, (rejected.to_vec(), fails), "{sizes:?}");
        let kept: Vec<_> = (0..sizes.len()).filter(|at| !rejected.contains(at)).collect();
        let want: Vec<_> = kept.iter().map(|at| sizes[*at]).collect();
        assert_eq!(lengths(&collector), want, "{sizes:?}");
        // From there on batches are whole again.
        let before = collector.batches().len();
        assert_eq!(through(&mut sink, &self::batch(&[1, 2, 3])).await, (vec![], 0));
        assert_eq!(collector.batches().len(), before + 1);
        running.stop().await.unwrap();
    };
    check(&[1, 2], &[], 0).await;
    check(&[1, 2 * MOST, 3, 3 * MOST, 5], &[1, 3], SUSPICIOUS).await;
    check(&[2 * MOST], &[0], SUSPICIOUS).await;
    // Too much together, and none of it too long.
    check(&[MOST / 2, MOST / 2, MOST / 2], &[], SUSPICIOUS).await;
}

/// A channel that takes or refuses each put as it is told to, and then all.
struct Fickle {
    taken: Collector,
    plan: Mutex<VecDeque<bool>>,
}

impl Channel for Fickle {
    fn begin_put(&self, size: Size) -> BoxFuture<'_, Result<Box<dyn Put>, ChannelError>> {
        if self.plan.lock().unwrap().pop_front() == Some(false) {
            self.taken.refuse(1);
        }
        self.taken.begin_put(size)
    }

    fn begin_take(&self, limit: Size) -> BoxFuture<'_, Result<Box<dyn Take>, ChannelError>> {
        self.taken.begin_take(limit)
    }

    fn level(&self) -> Level {
        self.taken.level()
    }

    fn close(&self) -> BoxFuture<'_, Result<(), ChannelError>> {
        self.taken.close()
    }
}

/// A peer that has no room now and then gets no event twice, and what it will not have is found all the
/// same. One that never has room again is left after a while.
#[tokio::test]
async fn a_peer_that_is_full_in_between_gets_each_event_once() {
    let collector = Collector::new();
    let channel = Arc::new(Fickle { taken: collector.clone(), plan: Mutex::default() });
    let keys = format!("bind = 127.0.0.1\nport = 0\nmaxMessageBytes = {MOST}");
    let source = open_source::<sources::avro::Avro>(&keys, context(Role::Source)).await;
    let mut sink = sink(source.local_addr().unwrap(), true).await;
    let running = run_source_into(source, outlet_to(vec![channel.clone()]));
    let batch = batch(&[1, 2, 3, 2 * MOST, 5]);
    for _ in 0..SUSPICIOUS {
        sink.deliver(&batch).await.unwrap_err();
    }
    *channel.plan.lock().unwrap() = [true, false, false, true, false, true, false].into();
    let delivered = sink.deliver(&batch).await.unwrap();
    assert_eq!((delivered.events, delivered.rejected.len()), (4, 1));
    assert_eq!(delivered.rejected[0].at, 3);
    assert_eq!(lengths(&collector), [1, 2, 3, 5]);

    sink.waits.patience = Duration::from_millis(50);
    sink.suspicious = SUSPICIOUS;
    let never_again = std::iter::repeat_n(false, 100_000);
    *channel.plan.lock().unwrap() = [true].into_iter().chain(never_again).collect();
    let error = sink.deliver(&batch).await.unwrap_err().to_string();
    assert!(error.contains("could not store"), "{error}");
    assert_eq!(lengths(&collector), [1, 2, 3, 5, 1]);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn without_a_channel_for_it_the_event_holds_the_sink() {
    let collector = Collector::new();
    let (running, address) = peer(&collector).await;
    let mut sink = sink(address, false).await;
    for _ in 0..3 * SUSPICIOUS {
        sink.deliver(&batch(&[1, 2 * MOST])).await.unwrap_err();
    }
    assert!(collector.events().is_empty());
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_full_or_absent_peer_rejects_nothing() {
    let collector = Collector::new();
    let (running, address) = peer(&collector).await;
    let mut sink = sink(address, true).await;
    for _ in 0..3 * SUSPICIOUS {
        collector.refuse(1);
        sink.deliver(&batch(&[1, 2])).await.unwrap_err();
    }
    assert_eq!(sink.deliver(&batch(&[1, 2])).await.unwrap().events, 2);
    running.stop().await.unwrap();
    for _ in 0..3 * SUSPICIOUS {
        sink.deliver(&batch(&[3])).await.unwrap_err();
    }
    let collector = Collector::new();
    let keys = format!("bind = 127.0.0.1\nport = {}", address.port());
    let again = open_source::<sources::avro::Avro>(&keys, context(Role::Source)).await;
    let running = run_source(again, &collector);
    assert_eq!(through(&mut sink, &batch(&[3])).await.0, [0; 0]);
    assert_eq!(lengths(&collector), [3]);
    running.stop().await.unwrap();
}

/// Who closes every connection may just be going, whatever the event.
#[tokio::test]
async fn a_peer_that_closes_on_everybody_rejects_nothing() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut sink = sink(listener.local_addr().unwrap(), true).await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            drop(stream);
        }
    });
    for _ in 0..3 * SUSPICIOUS {
        sink.deliver(&batch(&[1])).await.unwrap_err();
    }
    assert_eq!(sink.limit().events, 10);
}
