//! What every sink answers alike.

use splashdam_config::Section;
use splashdam_core::{Batch, Component, Context, Event, Role, Sink, Size};

use crate::fakes::{context, events};

/// Opens a sink from the keys of a `flume.conf` below its name.
pub async fn open_sink<S: Component + Sink>(keys: &str, cx: Context) -> S {
    let config = Section::parse(keys).read::<S::Config>().into_result().expect("valid keys");
    S::open(config, cx).await.expect("an open sink")
}

/// Asks a sink whose destination works: batches of every size from one to its limit, empty
/// bodies, binary bodies, idle ticks, a close; all are delivered and counted whole.
pub async fn sink<S: Component + Sink>(keys: &str) {
    let mut sink = open_sink::<S>(keys, context(Role::Sink)).await;
    let limit = Sink::limit(&sink);
    assert!(limit.events >= 1, "a sink that takes nothing");
    assert!(limit.bytes >= 1, "a sink that takes nothing");
    sink.tick().await.expect("an idle tick before the first batch");
    for count in [1, limit.events.min(2), limit.events.min(500)] {
        deliver(&mut sink, events(0, count)).await;
    }
    deliver(&mut sink, one(Event::new(""))).await;
    deliver(&mut sink, one(Event::new(&b"\0\xff\xfe\r\n"[..]))).await;
    let mut with_headers = Event::new("body");
    with_headers.headers.insert("key", "värde");
    with_headers.headers.insert("empty", "");
    deliver(&mut sink, one(with_headers)).await;
    sink.tick().await.expect("an idle tick");
    sink.tick().await.expect("a second idle tick");
    sink.close().await.expect("a close");

    let untouched = open_sink::<S>(keys, context(Role::Sink)).await;
    untouched.close().await.expect("a close without a batch");
}

fn one(event: Event) -> Batch {
    Batch::from(vec![event])
}

async fn deliver<S: Sink>(sink: &mut S, batch: Batch) {
    assert!(batch.size().events <= Sink::limit(sink).events.max(Size::ZERO.events + 1));
    let delivered = sink.deliver(&batch).await.expect("a delivery");
    assert_eq!(delivered.events, batch.len(), "events delivered");
}
