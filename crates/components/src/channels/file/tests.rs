use std::path::Path;
use std::time::Duration;

use splashdam_core::metrics::Counters;
use splashdam_core::{Event, Outlet, OutletChannel, PutTxn, Role, Selector, Shared};
use splashdam_testkit::fakes::ToAll;
use splashdam_testkit::{bodies, context, contract, events};
use tempfile::{TempDir, tempdir};
use tokio::time::Instant;

use super::*;

mod configuration;
mod undecodable;

const ALL: Size = Size { events: usize::MAX, bytes: usize::MAX };

pub(super) fn keys(dir: &Path, more: &str) -> String {
    let dir = dir.display();
    format!("dataDirs = {dir}\nmaxFileSize = 1048576\nminimumRequiredSpace = 1048576\n{more}")
}

pub(super) fn read(keys: &str) -> Config {
    Section::parse(keys).read::<Config>().into_result().unwrap()
}

/// A channel of an agent that owns `shared`.
async fn open_in(shared: &Shared, name: &str, keys: &str) -> Result<Arc<FileChannel>, OpenError> {
    let cx = Context {
        name: name.into(),
        shared: shared.clone(),
        counters: Counters::new(Role::Channel),
        ..context(Role::Channel)
    };
    FileChannel::open(read(keys), cx).await.map(Arc::new)
}

pub(super) async fn open(dir: &Path, more: &str) -> Arc<FileChannel> {
    open_in(&Shared::default(), "c1", &keys(dir, more)).await.unwrap()
}

pub(super) async fn put(channel: &FileChannel, batch: Batch) -> Result<(), ChannelError> {
    let put = channel.begin_put(batch.size()).await?;
    put.commit(batch).await.map_err(|refused| refused.error)
}

pub(super) async fn drain(channel: &FileChannel) -> Vec<String> {
    let mut all = Vec::new();
    while channel.level().queued.events > 0 {
        let taken = channel.begin_take(ALL).await.unwrap();
        all.extend(bodies(taken.batch().events()));
        taken.commit().await.unwrap();
    }
    all
}

pub(super) fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_contract() {
    // The directories go when the suite is through.
    let dirs = std::sync::Mutex::new(Vec::<TempDir>::new());
    contract::channel(async |capacity: usize, transaction: usize| {
        let dir = tempdir().unwrap();
        let more =
            format!("capacity = {capacity}\ntransactionCapacity = {transaction}\nkeep-alive = 1");
        let channel = open(dir.path(), &more).await;
        dirs.lock().unwrap().push(dir);
        channel as Arc<dyn Channel>
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_window_changes_nothing() {
    let dir = tempdir().unwrap();
    let channel = open(dir.path(), "memoryBytes = 65536").await;
    let batch = |n: usize| -> Batch {
        let event = |n: usize| {
            let mut event = Event::new(format!("{n:0200}"));
            event.headers.insert("n", n.to_string());
            event.headers.insert("\u{e9}", "");
            event
        };
        (n..n + 100).map(event).collect()
    };
    for n in (0..3000).step_by(100) {
        put(&channel, batch(n)).await.unwrap();
    }
    let mut next = 0;
    while next < 3000 {
        let taken = channel.begin_take(Size::events(70)).await.unwrap();
        for event in taken.batch().events() {
            assert_eq!(event.headers.get("n").unwrap().as_str(), next.to_string());
            assert!(event.headers.contains("\u{e9}"));
            assert_eq!(event.body, format!("{next:0200}"));
            next += 1;
        }
        taken.commit().await.unwrap();
    }
    channel.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_what_was_committed_and_not_taken() {
    let dir = tempdir().unwrap();
    for cleanly in [true, false] {
        let channel = open(dir.path(), "").await;
        put(&channel, events(0, 6)).await.unwrap();
        let taken = channel.begin_take(Size::events(2)).await.unwrap();
        taken.commit().await.unwrap();
        let held = channel.begin_take(Size::events(2)).await.unwrap();
        let room = channel.begin_put(Size::events(1)).await.unwrap();
        if cleanly {
            drop((held, room));
            channel.close().await.unwrap();
        } else {
            // The log ends with what was leased and reserved still open.
            channel.close().await.unwrap();
            drop((held, room));
        }
        let channel = open(dir.path(), "").await;
        assert_eq!(drain(&channel).await, numbers(2..6), "cleanly: {cleanly}");
        channel.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_is_let_go_of_lets_its_directory_go() {
    let dir = tempdir().unwrap();
    let channel = open(dir.path(), "").await;
    put(&channel, events(0, 2)).await.unwrap();
    drop(channel);
    let deadline = Instant::now() + Duration::from_secs(20);
    let channel = loop {
        match open_in(&Shared::default(), "c1", &keys(dir.path(), "")).await {
            Ok(channel) => break channel,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!(drain(&channel).await, numbers(0..2));
}

#[tokio::test]
async fn keep_alive_is_waited_out_and_no_longer() {
    let dir = tempdir().unwrap();
    let channel = open(dir.path(), "capacity = 4\ntransactionCapacity = 4\nkeep-alive = 7").await;
    put(&channel, events(0, 3)).await.unwrap();
    tokio::time::pause();
    let start = Instant::now();
    let refused = channel.begin_put(Size { events: 2, bytes: 2 }).await.map(|_| ());
    assert!(matches!(refused, Err(ChannelError::Full { events: 2, .. })), "{refused:?}");
    assert_eq!(start.elapsed().as_secs(), 7);
    let taken = channel.begin_take(ALL).await.unwrap();
    assert_eq!(start.elapsed().as_secs(), 7, "what is there is not waited for");
    assert!(channel.begin_take(ALL).await.unwrap().batch().is_empty());
    assert_eq!(start.elapsed().as_secs(), 14);
    // Else a sink would ask without a pause.
    let none = "capacity = 4\ntransactionCapacity = 4\nkeep-alive = 0";
    assert!(channel.reconfigure(&Section::parse(&keys(dir.path(), none))));
    assert!(channel.begin_take(ALL).await.unwrap().batch().is_empty());
    assert_eq!(start.elapsed().as_secs(), 15);
    drop(taken);
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_change_while_it_runs() {
    let dir = tempdir().unwrap();
    let with = |more: &str| Section::parse(&keys(dir.path(), more));
    let small = "capacity = 2\ntransactionCapacity = 2\nkeep-alive = 0";
    let channel = open(dir.path(), small).await;
    put(&channel, events(0, 2)).await.unwrap();
    assert!(matches!(put(&channel, events(2, 1)).await, Err(ChannelError::Full { .. })));
    assert!(channel.reconfigure(&with("capacity = 9\ntransactionCapacity = 5\nkeep-alive = 0")));
    put(&channel, events(2, 5)).await.unwrap();
    assert!(channel.reconfigure(&with(small)));
    assert_eq!(channel.level().capacity.events, 2);
    assert!(matches!(put(&channel, events(7, 1)).await, Err(ChannelError::Full { .. })));
    assert_eq!(drain(&channel).await, numbers(0..7));
    for other in [
        "memoryBytes = 100000",
        "onDamage = halt",
        "transactionCapacity = 2000000",
        "compression = zstd",
        "fsyncPerTransaction = false",
    ] {
        assert!(!channel.reconfigure(&with(other)), "{other}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_are_limited_too_and_one_large_batch_passes() {
    let dir = tempdir().unwrap();
    let channel = open(dir.path(), "capacityBytes = 1000\nkeep-alive = 0").await;
    let wide = |bytes: usize| Batch::from(vec![Event::new(vec![b'x'; bytes])]);
    put(&channel, wide(600)).await.unwrap();
    assert!(matches!(put(&channel, wide(600)).await, Err(ChannelError::Full { .. })));
    put(&channel, wide(100)).await.unwrap();
    assert_eq!(drain(&channel).await.len(), 2);
    put(&channel, wide(5000)).await.unwrap();
    assert!(matches!(put(&channel, wide(1)).await, Err(ChannelError::Full { .. })));
    assert_eq!(drain(&channel).await.len(), 1);
}

/// Two channels on one log, replicated into.
pub(super) struct Pair {
    pub(super) channels: [Arc<FileChannel>; 2],
    pub(super) outlet: Outlet,
}

pub(super) async fn pair(dir: &Path, capacities: [usize; 2]) -> Pair {
    let shared = Shared::default();
    let more = |capacity| {
        format!("capacity = {capacity}\ntransactionCapacity = {capacity}\nkeep-alive = 0")
    };
    let [a, b] = capacities.map(|capacity| keys(dir, &more(capacity)));
    let (a, b) = tokio::join!(open_in(&shared, "a", &a), open_in(&shared, "b", &b));
    let channels = [a.unwrap(), b.unwrap()];
    let outlet = outlet(&channels, Box::new(ToAll(2)));
    Pair { channels, outlet }
}

pub(super) fn outlet(channels: &[Arc<FileChannel>], selector: Box<dyn Selector>) -> Outlet {
    let channels = channels.iter().map(outlet_channel).collect();
    Outlet::new("r1".into(), Vec::new(), selector, channels, Arc::default())
}

fn outlet_channel(channel: &Arc<FileChannel>) -> OutletChannel {
    OutletChannel {
        name: channel.member.name.clone(),
        channel: channel.clone(),
        metrics: Arc::default(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn channels_of_one_log_get_a_batch_all_or_none() {
    let dir = tempdir().unwrap();
    let Pair { channels: [a, b], outlet } = pair(dir.path(), [9, 3]).await;
    assert!(a.joint().is_some());
    assert_eq!(a.joint(), b.joint());
    outlet.put(events(0, 2)).await.unwrap();
    let refused = outlet.put(events(2, 2)).await.unwrap_err();
    assert!(
        matches!(&refused.failures[..], [ChannelError::Full { channel, .. }] if **channel == *"b")
    );
    // The one that had room is not blamed.
    let [to_a, to_b] = [&a, &b].map(outlet_channel);
    assert!(PutTxn::begin_joint(&to_a, &[&to_b], Size::events(2)).await.is_err());
    assert_eq!([to_a, to_b].map(|to| to.metrics.put_refusals.value()), [0, 1]);
    assert_eq!((a.level().queued.events, b.level().queued.events), (2, 2));
    assert_eq!(drain(&b).await, numbers(0..2));
    outlet.put(refused.batch).await.unwrap();
    assert_eq!(drain(&a).await, numbers(0..4));
    assert_eq!(drain(&b).await, numbers(2..4));
    // A frame went to both: the body lies in the segments once.
    let body = vec![b'Q'; 3];
    outlet.put(Batch::from(vec![Event::new(body.clone())])).await.unwrap();
    let names = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
    let times: usize = names
        .filter(|path| path.extension().is_some_and(|end| end == "seg"))
        .map(|path| std::fs::read(path).unwrap().windows(3).filter(|w| *w == body).count())
        .sum();
    assert_eq!(times, 1);
    // One of them may close; the other goes on, and the log with it.
    b.close().await.unwrap();
    let refused = outlet.put(events(4, 1)).await.unwrap_err();
    assert!(matches!(&refused.failures[..], [ChannelError::Closed { .. }]), "{refused:?}");
    assert_eq!(drain(&a).await, ["QQQ"]);
    a.close().await.unwrap();
    let Pair { channels: [a, b], .. } = pair(dir.path(), [9, 3]).await;
    assert_eq!((drain(&a).await, drain(&b).await), (vec![], vec!["QQQ".to_owned()]));
}

fn origin(sequence: u64) -> Option<Origin> {
    let position = Bytes::from(sequence.to_string());
    Some(Origin { sender: [7; 16], epoch: 1, sequence, position })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_with_an_origin_is_stored_once() {
    let dir = tempdir().unwrap();
    let Pair { channels, outlet } = pair(dir.path(), [9, 9]).await;
    assert_eq!(outlet.last_of([7; 16]), None);
    outlet.put(events(0, 2).with_origin(origin(1))).await.unwrap();
    outlet.put(events(0, 2).with_origin(origin(1))).await.unwrap();
    outlet.put(events(2, 1).with_origin(origin(2))).await.unwrap();
    assert_eq!(outlet.last_of([7; 16]), origin(2));
    assert_eq!(outlet.last_of([8; 16]), None);
    for channel in channels {
        channel.close().await.unwrap();
    }
    let Pair { channels: [a, b], outlet } = pair(dir.path(), [9, 9]).await;
    assert_eq!(outlet.last_of([7; 16]), origin(2));
    outlet.put(events(2, 1).with_origin(origin(2))).await.unwrap();
    assert_eq!(drain(&a).await, numbers(0..3));
    assert_eq!(drain(&b).await, numbers(0..3));
}

/// Events with an even first byte go one way, the others the other.
struct ByParity;

impl Selector for ByParity {
    fn route(&self, event: &Event) -> splashdam_core::Route {
        let to = usize::from(event.body[0] % 2);
        splashdam_core::Route {
            required: splashdam_core::ChannelSet::default().with(to),
            optional: splashdam_core::ChannelSet::default(),
        }
    }

    fn repeats(&self, _varies: &dyn Fn(&str) -> bool) -> bool {
        true
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_a_batch_on_one_log_are_all_stored() {
    let dir = tempdir().unwrap();
    let Pair { channels, .. } = pair(dir.path(), [9, 9]).await;
    let outlet = outlet(&channels, Box::new(ByParity));
    outlet.put(events(0, 5).with_origin(origin(1))).await.unwrap();
    assert_eq!(outlet.last_of([7; 16]), origin(1));
    let [a, b] = channels;
    assert_eq!(drain(&a).await, ["0", "2", "4"]);
    assert_eq!(drain(&b).await, ["1", "3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outlet_knows_whether_all_goes_to_one_log() {
    let (dirs, shared) = ([tempdir().unwrap(), tempdir().unwrap()], Shared::default());
    let open = async |name: &str, dir: usize| {
        open_in(&shared, name, &keys(dirs[dir].path(), "")).await.unwrap()
    };
    let (a, b, other) = (open("a", 0).await, open("b", 0).await, open("c", 1).await);
    let check = |channels: &[&Arc<FileChannel>], selector: Box<dyn Selector>, want: bool| {
        let channels: Vec<_> = channels.iter().copied().cloned().collect();
        assert_eq!(outlet(&channels, selector).stores_once(), want);
    };
    check(&[&a], Box::new(ToAll(1)), true);
    check(&[&a, &b], Box::new(ToAll(2)), true);
    check(&[&a, &other], Box::new(ToAll(2)), false);
    check(&[&a, &b], Box::new(ByParity), false);
    check(&[&a], Box::new(ToAll(0)), false);
    let alone = outlet(std::slice::from_ref(&a), Box::new(ToAll(1)));
    alone.put(events(0, 1).with_origin(origin(1))).await.unwrap();
    let apart = outlet(&[a, other], Box::new(ToAll(2)));
    assert_eq!(apart.last_of([7; 16]), None);
    assert_eq!((apart.newest_epoch([7; 16]), apart.newest_epoch([8; 16])), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn directories_that_will_not_do_are_named() {
    let check = async |prepare: fn(&Path), more: &str, want: &str| {
        let dir = tempdir().unwrap();
        prepare(dir.path());
        let keys = keys(dir.path(), &more.replace("DIR", &dir.path().display().to_string()));
        let error = open_in(&Shared::default(), "c1", &keys).await.map(|_| ()).unwrap_err();
        assert!(error.needs_hand(), "{error}");
        let error = error.to_string();
        let want = want.replace("DIR", &dir.path().canonicalize().unwrap().display().to_string());
        assert!(error.contains(&want), "{error}");
    };
    let nothing = |_: &Path| {};
    check(nothing, "dataDirs = DIR/x,DIR/y/../x", "dataDirs names DIR/x twice").await;
    check(
        |dir| std::fs::write(dir.join("log-3"), "x").unwrap(),
        "",
        "cannot take over what a flume left: DIR/log-3 has no .meta",
    )
    .await;
    check(
        |dir| std::fs::write(dir.join("x"), "").unwrap(),
        "dataDirs = DIR/x",
        "cannot open directory DIR/x",
    )
    .await;
    check(
        |dir| std::fs::write(dir.join("00000000000000000001.seg"), "").unwrap(),
        "",
        "DIR: it holds segments but no readable member file",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_agent_is_refused_at_once() {
    let dir = tempdir().unwrap();
    let channel = open(dir.path(), "").await;
    let error = open_in(&Shared::default(), "c1", &keys(dir.path(), "")).await.map(|_| ());
    assert!(matches!(error, Err(OpenError::Unavailable(_))));
    let error = error.unwrap_err().to_string();
    assert!(error.ends_with("is in use by another agent; stop it or name another directory"));
    channel.close().await.unwrap();
    open(dir.path(), "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn directories_are_shared_all_or_none() {
    let dir = tempdir().unwrap();
    let path = dir.path().display();
    let shared = Shared::default();
    let check = async |dirs: String, want: Result<(), &str>| {
        let keys = format!("{}\ndataDirs = {dirs}", keys(dir.path(), ""));
        let opened = open_in(&shared, "c2", &keys).await;
        let got = opened.map(drop).map_err(|error| error.to_string());
        match want {
            Ok(()) => assert_eq!(got, Ok(()), "{dirs}"),
            Err(part) => assert!(got.unwrap_err().contains(part), "{dirs}"),
        }
    };
    let first = format!("{}\ndataDirs = {path}/a, {path}/b", keys(dir.path(), ""));
    let held = open_in(&shared, "c1", &first).await.unwrap();
    check(format!("{path}/b,{path}/a"), Ok(())).await;
    check(format!("{path}/b,{path}/c"), Err("have some directories in common")).await;
    check(format!("{path}/d"), Ok(())).await;
    held.close().await.unwrap();
    check(format!("{path}/b"), Err("it is part of the log but was not named")).await;
}

/// A folder of stores that a JDK wrote; see the tests of [`crate::jceks`].
const STORES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/jceks");

pub(super) fn encryption(dir: &Path, aliases: &str, active: &str) -> String {
    std::fs::write(dir.join("store"), "storePassword\n").unwrap();
    std::fs::write(dir.join("key"), "keyPassword0").unwrap();
    let dir = dir.display();
    format!(
        "encryption.activeKey = {active}\nencryption.cipherProvider = AESCTRNOPADDING\n\
         encryption.keyProvider = JCEKSFILE\n\
         encryption.keyProvider.keyStoreFile = {STORES}/file-channel.jceks\n\
         encryption.keyProvider.keyStorePasswordFile = {dir}/store\n\
         encryption.keyProvider.keys = {aliases}\n\
         encryption.keyProvider.keys.key-0.passwordFile = {dir}/key\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn stored_events_are_encrypted_and_compressed_as_asked_for() {
    let body = "a secret that repeats itself, ".repeat(20);
    let bytes_of = |dir: &Path| -> Vec<u8> {
        let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        let segments = names.filter(|path| path.extension().is_some_and(|end| end == "seg"));
        segments.flat_map(|path| std::fs::read(path).unwrap()).collect()
    };
    let shows = |dir: &Path| bytes_of(dir).windows(body.len()).any(|w| w == body.as_bytes());
    let keys_dir = tempdir().unwrap();
    let encrypted = encryption(keys_dir.path(), "key-0", "key-0");
    for (more, visible) in [
        ("", true),
        ("compression = lz4", false),
        ("compression = ZSTD", false),
        (encrypted.as_str(), false),
    ] {
        let dir = tempdir().unwrap();
        let channel = open(dir.path(), more).await;
        put(&channel, Batch::from(vec![Event::new(body.clone())])).await.unwrap();
        channel.close().await.unwrap();
        assert_eq!(shows(dir.path()), visible, "{more}");
        // Compression may change; what is stored is read whatever it is.
        let next = if more.starts_with("compression") { "compression = none" } else { more };
        let channel = open(dir.path(), next).await;
        assert_eq!(drain(&channel).await, std::slice::from_ref(&body), "{more}");
        channel.close().await.unwrap();
        if more == encrypted {
            let channel = open(dir.path(), more).await;
            put(&channel, events(0, 1)).await.unwrap();
            channel.close().await.unwrap();
            let plain = open_in(&Shared::default(), "c1", &keys(dir.path(), "")).await;
            let error = plain.map(drop).unwrap_err().to_string();
            assert!(error.contains("the key 'key-0'"), "{error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_cannot_be_had_are_named() {
    let dir = tempdir().unwrap();
    let good = encryption(dir.path(), "key-0", "key-0");
    let check = async |change: &dyn Fn(String) -> String, want: &str| {
        let data = tempdir().unwrap();
        let keys = keys(data.path(), &change(good.clone()));
        let opened = open_in(&Shared::default(), "c1", &keys).await;
        let error = opened.map(drop).unwrap_err().to_string();
        assert!(error.contains(want), "{error}");
    };
    let store = format!("key store {STORES}/file-channel.jceks");
    check(
        &|keys| keys.replace("keys = key-0", "keys = key-0 key-7"),
        &format!("key key-7 of {store}: there is no secret key of that name")
            .replace("key store key store", "key store"),
    )
    .await;
    check(&|keys| keys.replace("/key\n", "/store\n"), "the password of key key-0 is wrong").await;
    check(&|keys| keys.replace("/store\n", "/key\n"), "the password of the store is wrong").await;
    check(&|keys| keys.replace("/store\n", "/gone\n"), "cannot read the password file").await;
    check(&|keys| keys.replace("file-channel.jceks", "gone.jceks"), "gone.jceks").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_loss_the_queue_is_another_sender() {
    let dir = tempdir().unwrap();
    let queue = async || {
        let channel = open(dir.path(), "").await;
        put(&channel, events(0, 1)).await.unwrap();
        let taken = channel.begin_take(ALL).await.unwrap();
        let queue = taken.batch().place().expect("it syncs each commit").queue;
        drop(taken);
        channel.close().await.unwrap();
        queue
    };
    let first = queue().await;
    assert_eq!(queue().await, first, "a restart loses nothing");
    let loss = offline::Loss { copy: true, ..offline::Loss::default() };
    offline::accept(&read(&keys(dir.path(), "")), Path::new("/nowhere"), loss).unwrap();
    let then = queue().await;
    assert_ne!(then, first, "its new events would have the numbers of lost ones");
    assert_eq!(queue().await, then);
}
