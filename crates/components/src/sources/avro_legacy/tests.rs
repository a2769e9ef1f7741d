use splashdam_core::Role;
use splashdam_testkit::{Collector, context, contract};
use splashdam_wire::avro::legacy::OG;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::*;

const KEYS: &str = "host = 127.0.0.1\nport = 0";

fn cx() -> Context {
    context(Role::Source)
}

struct Bench {
    running: contract::Running,
    address: SocketAddr,
    collector: Collector,
}

async fn start(keys: &str, collector: Collector) -> Bench {
    let source = contract::open_source::<AvroLegacy>(&format!("{KEYS}\n{keys}"), cx()).await;
    let address = source.local_addr().unwrap();
    Bench { running: contract::run_source(source, &collector), address, collector }
}

/// A handshake by this hash, without a protocol's text.
fn hello(hash: Hash) -> Vec<u8> {
    [&hash[..], &[0], &OG.hash, &[0]].concat()
}

/// A text of less than 64 bytes with its length.
fn short(text: &str) -> Vec<u8> {
    [&[u8::try_from(2 * text.len()).unwrap()], text.as_bytes()].concat()
}

/// A call of `append` with this body and a field.
fn append(body: &str) -> Vec<u8> {
    let call = [vec![0], short("append"), vec![10, 6], short(body), vec![18], short("mill")];
    [call.concat(), vec![2], short("k"), short("v"), vec![0]].concat()
}

fn post(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    raw("POST", &[&length, message, &[0; 4]].concat())
}

fn raw(method: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "{method} /any HTTP/1.1\r\nHost: x\r\nContent-Type: avro/binary\r\nContent-Length: {length}\r\n\r\n"
    );
    [head.into_bytes(), body.to_vec()].concat()
}

/// Sends bytes, ends its side, and returns all that is answered.
async fn talk(address: SocketAddr, input: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The source may close before it has read everything.
    drop(stream.write_all(input).await);
    drop(stream.shutdown().await);
    let mut answers = Vec::new();
    let read = timeout(Duration::from_secs(60), stream.read_to_end(&mut answers)).await;
    drop(read.expect("the source answers and closes"));
    answers
}

/// The status of the only answer, and its body.
fn answer(answers: &[u8]) -> (u16, Vec<u8>) {
    let end = answers.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let status = str::from_utf8(&answers[9..12]).unwrap().parse().unwrap();
    (status, answers[end + 4..].to_vec())
}

/// What is answered to an event that is stored, if the handshake knew all.
const STORED: &[u8] = &[0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

#[tokio::test]
async fn stops() {
    contract::source_stops::<AvroLegacy>(KEYS, cx).await;
}

#[tokio::test]
async fn requests_are_answered_as_in_flume() {
    let bench = start("fieldValues = text", Collector::new()).await;
    let good = [hello(OG.hash), append("one")].concat();
    let check = async |request: &[u8], want: u16| {
        let (status, body) = answer(&talk(bench.address, request).await);
        assert_eq!(status, want, "{}", request.escape_ascii());
        body
    };
    assert_eq!(check(&post(&good), 200).await, STORED);
    // Who is not known is asked for its protocol, and the event is not stored.
    let asked = check(&post(&[hello([1; 16]), append("no")].concat()), 200).await;
    assert_eq!(asked[4], 4, "the handshake's third answer");
    assert!(asked.windows(22).any(|part| part == b"FlumeOGEventAvroServer"));
    let text = OG.text.replace("OG", "");
    let known = [&[1; 16][..], &[2], &long(&text), &OG.hash, &[0], &append("two")].concat();
    assert_eq!(check(&post(&known), 200).await, STORED);
    assert_eq!(check(&post(&[hello([1; 16]), append("three")].concat()), 200).await, STORED);
    let failures = || bench.running.outlet.metrics().read_failures.value();
    assert_eq!(failures(), 0);
    // An error of Avro's behind the handshake.
    let error = check(&post(&[hello(OG.hash), vec![0], short("add")].concat()), 200).await;
    assert_eq!(error[4..11], [0, 0, 0, 0, 0, 1, 0]);
    for body in [&[][..], b"\0\0\0\x09short", &[0xff; 30]] {
        check(&raw("POST", body), 500).await;
    }
    assert_eq!(failures(), 4);
    for (method, status) in [
        ("GET", 405),
        ("HEAD", 405),
        ("PUT", 405),
        ("DELETE", 405),
        ("PATCH", 501),
        ("OPTIONS", 200),
    ] {
        check(&raw(method, b""), status).await;
    }
    assert_eq!(bench.collector.bodies(), ["one", "two", "three"]);
    let headers = [
        ("host", "mill"),
        ("timestamp", "5"),
        ("pri", "INFO"),
        ("nanos", "9"),
        ("k", "v"),
        ("FlumeOG", "yes"),
    ];
    assert_eq!(bench.collector.events()[0].headers, headers.into_iter().collect());
    bench.running.stop().await.unwrap();
}

/// A text with its length in two bytes.
fn long(text: &str) -> Vec<u8> {
    let twice = u8::try_from(2 * text.len() / 128).unwrap();
    let low = u8::try_from(2 * text.len() % 128).unwrap();
    [&[low | 0x80, twice], text.as_bytes()].concat()
}

#[tokio::test]
async fn a_full_channel_is_an_error_and_later_none() {
    let collector = Collector::new();
    collector.refuse(1);
    let bench = start("", collector).await;
    let request = post(&[hello(OG.hash), append("one")].concat());
    let (status, refused) = answer(&talk(bench.address, &request).await);
    assert_eq!((status, &refused[4..11]), (200, &[0, 0, 0, 0, 0, 1, 0][..]));
    assert!(refused.windows(18).any(|part| part == b"channel c1 is full"), "{refused:?}");
    assert_eq!(answer(&talk(bench.address, &request).await), (200, STORED.to_vec()));
    assert_eq!(bench.collector.bodies(), ["one"]);
    let events = bench.collector.events();
    let field = events[0].headers.get("k").map(ToString::to_string);
    assert_eq!(field.as_deref(), Some("java.nio.HeapByteBuffer[pos=0 lim=1 cap=1]"));
    bench.running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn large_slow_and_silent_clients_are_sent_away() {
    let bench = start("maxRequestBytes = 1000", Collector::new()).await;
    let large = answer(&talk(bench.address, &raw("POST", &[1; 1001])).await);
    assert_eq!(large.0, 413);
    let mut slow = TcpStream::connect(bench.address).await.unwrap();
    slow.write_all(&raw("POST", &[0; 9])[..80]).await.unwrap();
    let mut told = Vec::new();
    let read = timeout(Duration::from_secs(60), slow.read_to_end(&mut told)).await;
    drop(read.expect("it is told"));
    assert_eq!(answer(&told).0, 408);
    let mut silent = TcpStream::connect(bench.address).await.unwrap();
    let closed = timeout(2 * IDLE, silent.read(&mut [0])).await;
    drop(closed.expect("it is sent away"));
    bench.running.stop().await.unwrap();
}

#[test]
fn keys_are_checked() {
    let check = |keys: &str, good: bool| {
        let read = Section::parse(keys).read::<Config>().into_result();
        assert_eq!(read.is_ok(), good, "{keys}");
    };
    check("host = h\nport = 1\nfieldValues = buffer", true);
    check("host = h", false);
    check("port = 1", false);
    check("host = h\nport = 1\nfieldValues = x", false);
    check("host = h\nport = 1\nmaxRequestBytes = 0", false);
    check("host = h\nport = 1\nmaxConnections = 0", false);
}
