//! What interceptors, selectors, sink processors and serializers answer alike.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use splashdam_config::Section;
use splashdam_core::{
    Batch, ChannelSet, Component, Context, DynInterceptor, Event, Interception, Role, Selector,
    Serializer, SinkId, SinkProcessor, Start, Went,
};

use crate::fakes::context;

async fn open<C: Component>(keys: &str, cx: Context) -> C {
    let config = Section::parse(keys).read::<C::Config>().into_result().expect("valid keys");
    C::open(config, cx).await.expect("an open component")
}

/// Events of every awkward kind.
fn awkward() -> Vec<Event> {
    let mut all: Vec<Event> = [
        &b""[..],
        b"plain text",
        b"\0\xff\xfe",
        b"line\r\n",
        "gr\u{fc}n \u{1f332}".as_bytes(),
        b"2024-01-02 03:04:05,678 WARN key=value",
        &[b'x'; 5000],
    ]
    .into_iter()
    .map(Event::new)
    .collect();
    let mut headers = Event::new("with headers");
    for (name, value) in [("timestamp", "1700000000000"), ("host", ""), ("k\u{e4}y", "v\u{e4}lue")]
    {
        headers.headers.insert(name, value);
    }
    all.push(headers);
    all
}

fn named(names: &[&str]) -> Arc<[Arc<str>]> {
    names.iter().map(|n| Arc::from(*n)).collect()
}

/// An interceptor keeps order, adds nothing, keeps the batch's size true and minds no input.
pub async fn interceptor<I: Component + DynInterceptor>(keys: &str) {
    let interceptor = open::<I>(keys, context(Role::Source)).await;
    let intercept = async |batch: &mut Batch| match interceptor.place() {
        Interception::Here(here) => here.intercept(batch),
        Interception::Elsewhere(there) => there.intercept(batch).await.expect("an answer"),
    };
    let mut empty = Batch::default();
    intercept(&mut empty).await;
    assert!(empty.is_empty());

    let mut batch: Batch = (0..50).flat_map(|_| awkward()).collect();
    let before = batch.len();
    intercept(&mut batch).await;
    assert!(batch.len() <= before, "events were added");
    let recounted: usize = batch.events().iter().map(Event::bytes).sum();
    assert_eq!(batch.size().bytes, recounted, "the size is no longer true");

    // One by one gives what all at once gives, as far as no random part is in it.
    let mut singly = 0;
    for event in (0..50).flat_map(|_| awkward()) {
        let mut one = Batch::from(vec![event]);
        intercept(&mut one).await;
        singly += one.len();
    }
    assert_eq!(singly, batch.len());
    if let Interception::Elsewhere(there) = interceptor.place() {
        there.close().await;
    }
}

/// A selector routes to the channels it was given, never to one both ways, and its uniform route
/// is every event's route.
pub async fn selector<S: Component + Selector>(keys: &str, channels: &[&str]) {
    let mut cx = context(Role::Source);
    cx.choices = named(channels);
    let selector = open::<S>(keys, cx).await;
    for event in awkward() {
        let route = selector.route(&event);
        let all = ChannelSet::first(channels.len());
        assert!(route.required.union(route.optional).without(all).is_empty(), "unknown channel");
        let both = route.required.without(route.required.without(route.optional));
        assert!(both.is_empty(), "required and optional at once");
        if let Some(uniform) = selector.uniform() {
            assert_eq!(uniform, route);
        }
    }
}

/// A sink processor tries each sink at most once for a batch, stops by itself, and takes every
/// sink back some time after its failures end.
pub async fn processor<P: Component + SinkProcessor>(keys: &str, sinks: &[&str]) {
    let mut cx = context(Role::SinkGroup);
    cx.choices = named(sinks);
    let mut processor = open::<P>(keys, cx).await;
    let mut now = Instant::now();
    for round in 0..200u32 {
        let mut tried = Vec::new();
        processor.begin(now);
        while let Some(sink) = processor.pick(now, &tried) {
            assert!(sink.0 < sinks.len(), "an unknown sink");
            assert!(!tried.contains(&sink), "a sink was tried twice for one batch");
            tried.push(sink);
            processor.settle(now, sink, Went::Failed);
        }
        now += Duration::from_millis(u64::from(round) * 37);
    }
    now += Duration::from_secs(3600);
    let next = |processor: &mut P, now| {
        processor.begin(now);
        processor.pick(now, &[])
    };
    let picked = next(&mut processor, now).expect("a sink once the penalties are over");
    processor.settle(now, picked, Went::Delivered);
    for _ in 0..10 {
        let picked = next(&mut processor, now).expect("a sink after a success");
        processor.settle(now, picked, Went::BackedOff);
        let picked: SinkId = next(&mut processor, now).expect("a sink after a back-off");
        processor.settle(now, picked, Went::Delivered);
        now += Duration::from_secs(60);
    }
}

/// A serializer writes the same bytes however events are grouped, and can start another file.
pub async fn serializer<S: Component + Serializer>(keys: &str) {
    let write = async |groups: usize| {
        let mut serializer = open::<S>(keys, context(Role::Sink)).await;
        let mut files = Vec::new();
        for _ in 0..2 {
            let mut out = BytesMut::new();
            serializer.start(&mut out, Start::Created);
            for group in awkward().chunks(groups) {
                serializer.write(group, &mut out).expect("events of every kind");
            }
            serializer.finish(&mut out);
            files.push(out.len());
        }
        assert_eq!(files[0], files[1], "the second file differs in length");
        files[0]
    };
    assert_eq!(write(1).await, write(3).await);
    assert_eq!(write(1).await, write(100).await);
}
