#![expect(clippy::single_range_in_vec_init, reason = "claims are lists of ranges")]

use std::io::ErrorKind;
use std::ops::Range;
use std::path::Path;

use bytes::{Buf, Bytes};
use splashdam_core::{Batch, Channel, Event, Role, Size};
use splashdam_testkit::contract::{
    Running, open_source, run_source, run_source_into, source_stops,
};
use splashdam_testkit::fakes::outlet_to;
use splashdam_testkit::{Collector, Lines, context, events};
use splashdam_wire::avro::handshake::{FLUME_HASH, Match};
use splashdam_wire::avro::pack::{Limits, Packs};
use splashdam_wire::avro::rpc::{Answer, Outgoing, read_answer};
use splashdam_wire::claim::Claim;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::sources::senders::{Inbox, NotStored, Refused, Senders};
use tokio::time::sleep;

use super::*;
use crate::channels::file::FileChannel;

mod broken_off;
mod crowd;
mod order;
mod refusals;
mod silence;

const KEYS: &str = "bind = 127.0.0.1\nport = 0";
const SOON: Duration = Duration::from_secs(5);

async fn source(keys: &str) -> (Avro, SocketAddr) {
    let source = open_source::<Avro>(&format!("{KEYS}\n{keys}"), context(Role::Source)).await;
    let address = source.local_addr().unwrap();
    (source, address)
}

async fn start(keys: &str, collector: &Collector) -> (Running, SocketAddr) {
    let (source, address) = source(keys).await;
    (run_source(source, collector), address)
}

/// A client as a test writes it: what it sends and reads, one step after the other.
struct Client<S> {
    stream: S,
    packs: Packs,
}

impl Client<TcpStream> {
    async fn connect(address: SocketAddr) -> Self {
        Client::over(TcpStream::connect(address).await.unwrap())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    fn over(stream: S) -> Self {
        Client { stream, packs: Packs::new(Limits { message_bytes: 1 << 20, buffers: 100 }) }
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    async fn call(&mut self, serial: i32, first: bool, claim: Option<&Claim>, batch: &Batch) {
        let mut out = Outgoing::default();
        let hash = first.then_some(FLUME_HASH);
        out.append_batch(serial, hash, claim, batch.events()).unwrap();
        let bytes = out.copy_to_bytes(out.remaining());
        self.send(&bytes).await;
    }

    async fn message(&mut self) -> (i32, Bytes) {
        let read = async {
            loop {
                if let Some(pack) = self.packs.next_pack().unwrap() {
                    return (pack.serial, pack.message);
                }
                let read = self.stream.read_buf(self.packs.room()).await.unwrap();
                assert!(read > 0, "the source closed the connection");
            }
        };
        timeout(SOON, read).await.expect("an answer")
    }

    async fn answer(&mut self, first: bool) -> (i32, Answer) {
        let (serial, message) = self.message().await;
        let (greeting, answer) = read_answer(&message, first).unwrap();
        assert_eq!(greeting.map(|greeting| greeting.matched), first.then_some(Match::Both));
        (serial, answer.expect("an answer"))
    }

    async fn closed(&mut self) {
        let read = timeout(SOON, self.stream.read(&mut [0; 100])).await.expect("it is closed");
        let reset = read.as_ref().is_err_and(|error| error.kind() == ErrorKind::ConnectionReset);
        assert!(reset || matches!(read, Ok(0)), "{read:?}");
    }
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let pairs = digits.as_chunks::<2>().0.iter();
    pairs.map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn silent_clients_are_watched() {
    let (running, address) = start("", &Collector::new()).await;
    let client = TcpStream::connect(address).await.unwrap();
    crate::accepting::tests::is_kept_alive(address, client.local_addr().unwrap()).await;
    running.stop().await.unwrap();
}

#[tokio::test]
async fn flumes_bytes_are_answered() {
    let collector = Collector::new();
    let (running, address) = start("", &collector).await;
    let mut client = Client::connect(address).await;
    let flume = "86aadae2c45474c0fe93ffd0f2350a65";
    let append = format!(
        "00000001 00000002 0000002b {flume} 00 {flume} 0200 00 0c617070656e64 00000009 020261026200046869"
    );
    client.send(&hex(&append)).await;
    let (serial, message) = client.message().await;
    assert_eq!((serial, &message[..]), (1, &[0; 7][..]));
    client
        .send(&hex(
            "00000002 00000002 0000000d 00 16 617070656e644261746368 0000000b 02 020261026200046869 00",
        ))
        .await;
    let (serial, message) = client.message().await;
    assert_eq!((serial, &message[..]), (2, &[0; 3][..]));
    assert_eq!(collector.bodies(), ["hi", "hi"]);
    assert!(collector.events().iter().all(|event| event.headers.get("a").unwrap().as_str() == "b"));
    let metrics = running.outlet.metrics();
    let counts = [
        metrics.appends_received.value(),
        metrics.appends_accepted.value(),
        metrics.batches_received.value(),
        metrics.batches_accepted.value(),
        metrics.events_received.value(),
        metrics.events_accepted.value(),
    ];
    assert_eq!(counts, [1, 1, 1, 1, 2, 2]);
    assert_eq!(metrics.open_connections.value(), 1);
    running.stop().await.unwrap();
    client.closed().await;
}

#[tokio::test]
async fn strangers_are_told_what_to_say() {
    let collector = Collector::new();
    let (running, address) = start("", &collector).await;
    let mut client = Client::connect(address).await;
    let mut unknown = hex("00000001 00000001 00000025");
    unknown.extend_from_slice(&[&[9; 16][..], b"\0", &[9; 16], b"\x02\0", b"\0\0"].concat());
    client.send(&unknown).await;
    let (_, message) = client.message().await;
    let (greeting, answer) = read_answer(&message, true).unwrap();
    let greeting = greeting.unwrap();
    assert_eq!((greeting.matched, greeting.server_hash), (Match::None, Some(FLUME_HASH)));
    assert_eq!(answer, None);
    // The whole call again, with all that was missing.
    client.call(2, true, None, &events(0, 3)).await;
    assert_eq!(client.answer(true).await, (2, Answer::Ok));
    client.send(&hex("00000003 00000001 00000005 00 06 666f6f")).await;
    let (serial, answer) = client.answer(false).await;
    let text = "org.apache.avro.AvroRuntimeException: No such remote message: foo";
    assert_eq!((serial, answer), (3, Answer::Error(text.into())));
    // A call that is cut short costs nobody the connection.
    client.send(&hex("00000004 00000001 00000009 00 0c617070656e64 02")).await;
    assert!(matches!(client.answer(false).await, (4, Answer::Error(_))));
    client.call(5, false, None, &events(3, 1)).await;
    assert_eq!(client.answer(false).await, (5, Answer::Ok));
    assert_eq!(collector.events().len(), 4);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn calls_that_follow_each_other_keep_their_order() {
    let collector = Collector::new();
    let (running, address) = start("", &collector).await;
    let mut client = Client::connect(address).await;
    client.call(1, true, None, &events(0, 1)).await;
    client.answer(true).await;
    for serial in 2..50 {
        client.call(serial, false, None, &events(serial.unsigned_abs() as usize, 1)).await;
    }
    for serial in 2..50 {
        assert_eq!(client.answer(false).await, (serial, Answer::Ok));
    }
    let want: Vec<_> =
        [0].into_iter().chain(2..50).flat_map(|n| events(n, 1).into_events()).collect();
    assert_eq!(collector.events(), want);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_refused_batch_is_answered_so_and_the_next_is_taken() {
    let collector = Collector::new();
    let (running, address) = start("", &collector).await;
    let mut client = Client::connect(address).await;
    collector.refuse(1);
    client.call(1, true, None, &events(0, 2)).await;
    assert_eq!(client.answer(true).await, (1, Answer::Failed));
    client.call(2, false, None, &events(0, 2)).await;
    assert_eq!(client.answer(false).await, (2, Answer::Ok));
    assert_eq!(collector.events(), events(0, 2).events());
    let metrics = running.outlet.metrics();
    assert_eq!(metrics.channel_write_failures.value(), 1);
    assert_eq!((metrics.batches_received.value(), metrics.batches_accepted.value()), (2, 1));
    running.stop().await.unwrap();
}

#[tokio::test]
async fn who_is_no_avro_client_is_disconnected_and_others_are_not() {
    let collector = Collector::new();
    let (running, address) = start("maxMessageBytes = 100000", &collector).await;
    let mut good = Client::connect(address).await;
    good.call(1, true, None, &events(0, 1)).await;
    good.answer(true).await;
    let long = [&hex("00000001 00000001 7fffffff")[..], b"x"].concat();
    let negative = hex("00000001 ffffffff");
    let parts = hex("00000001 7fffffff 00000000");
    let no_handshake = hex("00000001 00000001 00000003 000000");
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &long, &negative, &parts, &no_handshake] {
        let mut bad = Client::connect(address).await;
        bad.send(bytes).await;
        bad.closed().await;
    }
    good.call(2, false, None, &events(1, 1)).await;
    assert_eq!(good.answer(false).await, (2, Answer::Ok));
    assert_eq!(running.outlet.metrics().read_failures.value(), 5);
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn half_a_message_is_not_waited_for_long_and_silence_is_allowed() {
    let collector = Collector::new();
    let (running, address) = start("", &collector).await;
    let mut silent = Client::connect(address).await;
    let mut half = Client::connect(address).await;
    half.send(&hex("00000001 00000001 00000010 0000")).await;
    let waited = tokio::time::Instant::now();
    let mut byte = [0; 1];
    assert_eq!(half.stream.read(&mut byte).await.unwrap(), 0);
    assert!(waited.elapsed() >= Duration::from_secs(29), "{:?}", waited.elapsed());
    sleep(Duration::from_secs(100_000)).await;
    silent.call(1, true, None, &events(0, 1)).await;
    let read = silent.stream.read_buf(silent.packs.room()).await.unwrap();
    assert!(read > 0, "it is still served");
    running.stop().await.unwrap();
}

#[tokio::test]
async fn compressed_calls_are_answered_compressed() {
    let collector = Collector::new();
    let (running, address) = start("compression-type = DEFLATE", &collector).await;
    let plain = TcpStream::connect(address).await.unwrap();
    let mut client = Client::over(ZlibStream::new(plain, 6));
    client.call(1, true, None, &events(0, 500)).await;
    assert_eq!(client.answer(true).await, (1, Answer::Ok));
    client.call(2, false, None, &events(500, 5)).await;
    assert_eq!(client.answer(false).await, (2, Answer::Ok));
    assert_eq!(collector.events().len(), 505);
    let mut plain = Client::connect(address).await;
    plain.send(&hex("00000001 00000002 0000002b")).await;
    let mut rest = Vec::new();
    timeout(SOON, plain.stream.read_to_end(&mut rest)).await.expect("it is closed").ok();
    running.stop().await.unwrap();
}

#[tokio::test]
async fn who_is_kept_out_sees_no_byte() {
    for (rules, lets_in) in [("deny:ip:127.*", false), ("allow:ip:127.*,deny:ip:*", true)] {
        let keys = format!("ipFilter = true\nipFilterRules = {rules}");
        let (running, address) = start(&keys, &Collector::new()).await;
        let mut client = Client::connect(address).await;
        if lets_in {
            client.call(1, true, None, &events(0, 1)).await;
            client.answer(true).await;
        } else {
            client.closed().await;
        }
        running.stop().await.unwrap();
    }
}

#[tokio::test]
async fn keeps_the_contract() {
    source_stops::<Avro>(KEYS, || context(Role::Source)).await;
}

#[test]
fn keys() {
    let findings = |keys: &str| {
        let section = Section::parse(keys);
        let entry = splashdam_core::find(crate::SOURCES, "avro").unwrap();
        let looked = entry.look(&section);
        looked.findings.iter().map(|finding| finding.message.clone()).collect::<Vec<_>>()
    };
    assert_eq!(findings("bind = localhost\nport = 1\nthreads = 5"), [""; 0]);
    let check = |keys: &str, want: &str| {
        let all = findings(keys);
        assert!(all.iter().any(|message| message.contains(want)), "{keys}: {all:?}");
    };
    check("bind = h", "port");
    check("port = 1", "bind");
    check("bind = h\nport = 1\nipFilter = true", "there are no rules");
    check("bind = h\nport = 1\nipFilter = true\nipFilterRules = allow", "not three parts");
    check("bind = h\nport = 1", "without encryption");
}

// Batches that say where they come from.

async fn file_channel(dir: &Path) -> Arc<dyn Channel> {
    file_channel_with(dir, "", context(Role::Channel)).await
}

async fn file_channel_with(dir: &Path, more: &str, cx: Context) -> Arc<dyn Channel> {
    let keys = format!(
        "checkpointDir = {0}/checkpoint\ndataDirs = {0}/data\nminimumRequiredSpace = 1048576{more}",
        dir.display()
    );
    let config = Section::parse(&keys).read().into_result().unwrap();
    Arc::new(FileChannel::open(config, cx).await.unwrap())
}

/// Two channels of one agent, each with a log of its own.
async fn two_logs(dir: &Path) -> [Arc<dyn Channel>; 2] {
    let cx = context(Role::Channel);
    [
        file_channel_with(&dir.join("c1"), "", cx.clone()).await,
        file_channel_with(&dir.join("c2"), "", cx).await,
    ]
}

fn claim(low: u64, ranges: &[Range<u64>]) -> Claim {
    Claim { sender: [7; 16], low, ranges: ranges.to_vec() }
}

/// The events that a queue gave these numbers.
fn numbered(ranges: &[Range<u64>]) -> Batch {
    let event = |number: u64| Event::new(format!("event {number}"));
    ranges.iter().flat_map(Clone::clone).map(event).collect()
}

async fn stored(channel: &dyn Channel) -> Vec<String> {
    let mut bodies = Vec::new();
    while channel.level().queued.events > 0 {
        let take = channel.begin_take(Size::events(1000)).await.unwrap();
        bodies.extend(splashdam_testkit::fakes::bodies(take.batch().events()));
        take.commit().await.unwrap();
    }
    bodies
}

#[tokio::test]
async fn what_is_sent_again_is_stored_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut want = Vec::new();
    // Each life of the receiver is asked over two connections.
    for life in 0..3_u64 {
        let channel = file_channel(dir.path()).await;
        let (source, address) = source("").await;
        let running = run_source_into(source, outlet_to(vec![channel.clone()]));
        let mut clients = [Client::connect(address).await, Client::connect(address).await];
        for client in &mut clients {
            client.call(1, true, None, &Batch::default()).await;
            assert_eq!(client.answer(true).await, (1, Answer::Ok));
        }
        let base = life * 1000;
        let steps: &[(&[Range<u64>], &[Range<u64>])] = &[
            (&[10..20], &[10..20]),
            (&[10..20], &[]),
            (&[30..40], &[30..40]),
            (&[5..12, 18..35], &[5..10, 20..30]),
            (&[5..40], &[]),
            (&[0..45], &[0..5, 40..45]),
        ];
        let at = |ranges: &[Range<u64>]| -> Vec<Range<u64>> {
            ranges.iter().map(|range| range.start + base..range.end + base).collect()
        };
        for (serial, (sent, fresh)) in (2_i32..).zip(steps) {
            let (sent, fresh) = (at(sent), at(fresh));
            // Also of what lives before have stored.
            let again: Vec<_> = match life {
                0 => sent,
                _ => std::iter::once(base - 1000..base - 955).chain(sent).collect(),
            };
            let client = &mut clients[serial.unsigned_abs() as usize % 2];
            client.call(serial, false, Some(&claim(0, &again)), &numbered(&again)).await;
            assert_eq!(client.answer(false).await, (serial, Answer::Ok));
            want.extend(numbered(&fresh).into_events());
        }
        running.stop().await.unwrap();
        channel.close().await.unwrap();
    }
    let channel = file_channel(dir.path()).await;
    let want: Vec<_> = splashdam_testkit::fakes::bodies(&want);
    assert_eq!(stored(&*channel).await, want);
    channel.close().await.unwrap();
}

#[tokio::test]
async fn what_is_settled_is_not_stored_whoever_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let channel = file_channel(dir.path()).await;
    let (source, address) = source("").await;
    let running = run_source_into(source, outlet_to(vec![channel.clone()]));
    let mut client = Client::connect(address).await;
    client.call(1, true, Some(&claim(90, &[100..101])), &numbered(&[100..101])).await;
    assert_eq!(client.answer(true).await, (1, Answer::Ok));
    // From a connection that was thought dead.
    client.call(2, false, Some(&claim(0, &[80..90])), &numbered(&[80..90])).await;
    assert_eq!(client.answer(false).await, (2, Answer::Ok));
    client.call(3, false, Some(&claim(0, &[90..100])), &numbered(&[90..100])).await;
    assert_eq!(client.answer(false).await, (3, Answer::Ok));
    assert_eq!(running.outlet.metrics().events_repeated.value(), 10);
    running.stop().await.unwrap();
    let want = numbered(&[100..101, 90..100]).into_events();
    assert_eq!(stored(&*channel).await, splashdam_testkit::fakes::bodies(&want));
    channel.close().await.unwrap();
}

#[tokio::test]
async fn channels_of_several_logs_all_get_what_comes() {
    let dir = tempfile::tempdir().unwrap();
    let channels = two_logs(dir.path()).await;
    // The first has had this sender for some time when the second is added.
    for (life, count, once) in [(0, 1, true), (1, 1, true), (2, 2, false), (3, 2, false)] {
        let (source, address) = source("").await;
        let running = run_source_into(source, outlet_to(channels[..count].to_vec()));
        let mut client = Client::connect(address).await;
        let claimed = &[life * 10..life * 10 + 10];
        client.call(1, true, Some(&claim(0, claimed)), &numbered(claimed)).await;
        let (_, message) = client.message().await;
        let (greeting, answer) = read_answer(&message, true).unwrap();
        assert_eq!(greeting.unwrap().peer.map(|peer| peer.stores_once), Some(once), "{life}");
        assert_eq!(answer, Some(Answer::Ok));
        running.stop().await.unwrap();
    }
    let bodies = |range| splashdam_testkit::fakes::bodies(numbered(&[range]).events());
    assert_eq!(stored(&*channels[0]).await, bodies(0..40));
    assert_eq!(stored(&*channels[1]).await, bodies(20..40));
}

fn senders(outlet: Outlet) -> Senders {
    Senders::new(outlet, &context(Role::Source))
}

async fn puts(senders: &Senders, numbers: Range<u64>) -> Result<(), NotStored> {
    let numbers = &[numbers];
    let claim = claim(0, numbers);
    let inbox = senders.inbox(claim.sender).expect("there is a task");
    inbox.put(numbered(numbers), claim, Refused::default()).await
}

#[tokio::test]
async fn a_sender_goes_on_in_an_epoch_that_no_channel_has() {
    let dir = tempfile::tempdir().unwrap();
    let channels = two_logs(dir.path()).await;
    for (count, numbers) in [(1, 0..10), (1, 10..20), (2, 20..30), (2, 30..40)] {
        let senders = senders(outlet_to(channels[..count].to_vec()));
        puts(&senders, numbers).await.unwrap();
        senders.end().await;
    }
    assert_eq!(channels[0].level().queued.events, 40);
    assert_eq!(channels[1].level().queued.events, 20);
}

#[tokio::test]
async fn what_a_log_has_when_it_is_opened_again_is_heard_of() {
    let dir = tempfile::tempdir().unwrap();
    let channel = file_channel(dir.path()).await;
    let outlet = outlet_to(vec![channel.clone()]);
    let senders = senders(outlet.clone());
    puts(&senders, 0..10).await.unwrap();
    // As if a put that failed had been on disk all the same.
    let other = self::senders(outlet.clone());
    puts(&other, 10..20).await.unwrap();
    other.end().await;
    puts(&senders, 10..20).await.unwrap();
    puts(&senders, 20..30).await.unwrap();
    assert_eq!(outlet.metrics().events_repeated.value(), 10);
    let want = numbered(&[0..30]).into_events();
    assert_eq!(stored(&*channel).await, splashdam_testkit::fakes::bodies(&want));
}

#[tokio::test]
async fn nothing_is_stored_behind_what_was_refused() {
    let dir = tempfile::tempdir().unwrap();
    let more = "\ncapacity = 20\ntransactionCapacity = 20\nkeep-alive = 0";
    let channel = file_channel_with(dir.path(), more, context(Role::Channel)).await;
    let (source, address) = source("").await;
    let running = run_source_into(source, outlet_to(vec![channel.clone()]));
    let mut client = Client::connect(address).await;
    let steps = [([0..10], Answer::Ok), ([10..25], Answer::Failed), ([25..28], Answer::Failed)];
    for (serial, (numbers, want)) in (1..).zip(steps) {
        let claim = claim(0, &numbers);
        client.call(serial, serial == 1, Some(&claim), &numbered(&numbers)).await;
        assert_eq!(client.answer(serial == 1).await, (serial, want));
    }
    let mut want = stored(&*channel).await;
    assert_eq!(want.len(), 10);
    // Another connection begins anew.
    let mut client = Client::connect(address).await;
    client.call(1, true, Some(&claim(0, &[10..25])), &numbered(&[10..25])).await;
    assert_eq!(client.answer(true).await, (1, Answer::Ok));
    client.call(2, false, Some(&claim(0, &[25..28])), &numbered(&[25..28])).await;
    assert_eq!(client.answer(false).await, (2, Answer::Ok));
    running.stop().await.unwrap();
    want.extend(stored(&*channel).await);
    assert_eq!(want, splashdam_testkit::fakes::bodies(numbered(&[0..28]).events()));
    channel.close().await.unwrap();
}

#[tokio::test]
async fn a_source_that_is_cut_off_leaves_nobody_at_work() {
    let dir = tempfile::tempdir().unwrap();
    let channel = file_channel(dir.path()).await;
    let held = Arc::downgrade(&channel);
    let senders = senders(outlet_to(vec![channel]));
    puts(&senders, 0..10).await.unwrap();
    drop(senders);
    let gone = async {
        while held.strong_count() > 0 {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(SOON, gone).await.expect("its task ends");
}

/// A call that found its task about to end would have to wait for that, and one behind it could be
/// the first to reach the next task.
#[tokio::test(start_paused = true)]
async fn calls_keep_their_places_however_long_they_wait() {
    let collector = Collector::new();
    let senders = senders(outlet_to(vec![Arc::new(collector.clone())]));
    puts(&senders, 0..10).await.unwrap();
    let sender = claim(0, &[0..1]).sender;
    let first = senders.inbox(sender).unwrap();
    sleep(Duration::from_secs(60)).await;
    assert_eq!(senders.at_work(), 1, "somebody may still send");
    let second = senders.inbox(sender).unwrap();
    let put = |inbox: Inbox, numbers: Range<u64>| {
        let numbers = &[numbers];
        inbox.put(numbered(numbers), claim(0, numbers), Refused::default())
    };
    assert_eq!(tokio::join!(put(first, 10..20), put(second, 20..30)), (Ok(()), Ok(())));
    let want = numbered(&[0..30]).into_events();
    assert_eq!(collector.bodies(), splashdam_testkit::fakes::bodies(&want));
    sleep(Duration::from_secs(60)).await;
    assert_eq!(senders.at_work(), 0);
    puts(&senders, 30..40).await.unwrap();
}
