//! Connections that break off while something of theirs is being stored.

use splashdam_core::ledger::{Ledger, What};
use splashdam_core::metrics::{ChannelMetrics, SourceMetrics};
use splashdam_core::{Outlet, OutletChannel};
use splashdam_testkit::fakes::ToAll;

use super::*;

/// The channel has what was posted to it, whatever becomes of the connection, so it has to be counted.
#[tokio::test]
async fn what_is_being_stored_is_counted_though_the_connection_breaks_off() {
    let dir = tempfile::tempdir().unwrap();
    let channel = file_channel(dir.path()).await;
    let (ledger, metrics) = (Ledger::default(), Arc::new(ChannelMetrics::default()));
    let to =
        OutletChannel { name: "c1".into(), channel: channel.clone(), metrics: metrics.clone() };
    let out = Outlet::tallied(
        "r1".into(),
        Vec::new(),
        Box::new(ToAll(1)),
        vec![to],
        Arc::<SourceMetrics>::default(),
        ledger.source("r1", ["c1"]),
    );
    let (source, address) = source("").await;
    let running = run_source_into(source, out);
    let mut calls = Outgoing::default();
    calls.append_batch(1, Some(FLUME_HASH), None, events(0, 10).events()).unwrap();
    let calls = calls.copy_to_bytes(calls.remaining());
    let mut client = Client::connect(address).await;
    // A call, and at once what begins no other.
    client.send(&[&calls[..], &hex("00000002 ffffffff")].concat()).await;
    client.closed().await;
    assert_eq!(running.outlet.metrics().read_failures.value(), 1);
    let outlet = running.outlet.clone();
    running.stop().await.unwrap();
    let total = |what| ledger.total(|line| line.what == what);
    assert_eq!((total(What::Received), total(What::In)), (10, 10));
    let counts = [
        outlet.metrics().events_received.value(),
        outlet.metrics().events_accepted.value(),
        outlet.metrics().batches_accepted.value(),
        metrics.put_successes.value(),
    ];
    assert_eq!(counts, [10, 10, 1, 10]);
    assert_eq!(channel.level().queued.events, 10);
    channel.close().await.unwrap();
}
