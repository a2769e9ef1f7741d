//! Whole exchanges over a socket.

use splashdam_core::metrics::{Counters, Registered};
use splashdam_core::{Level, Role, Size, StopHandle};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::status::{Phase, Sign};

/// Fewer than outside of tests: files that a process has open may be few.
const SOME_CONNECTIONS: usize = 64;

struct Rig {
    address: SocketAddr,
    sign: Sign,
    board: Board,
    agent: StopHandle,
    _stop: StopHandle,
}

async fn rig(form: Form) -> Rig {
    let monitoring = Monitoring { form, port: 0, host: Some("127.0.0.1".into()) };
    let mut admin = Admin::bind(&monitoring).await.unwrap();
    admin.connections = SOME_CONNECTIONS;
    let address = admin.local_addr().unwrap();
    let registry = Registry::default();
    let counters = Counters::new(Role::Source);
    counters.source().events_received.add(5);
    counters.life().started.set(1_700_000_000_000);
    registry.register(
        Role::Source,
        "r\"1".into(),
        Registered { counters, level: None, hindrance: None },
    );
    let level = Level {
        queued: Size { events: 1, bytes: 10 },
        leased: Size::ZERO,
        capacity: Size { events: 3, bytes: 100 },
    };
    let counters = Counters::new(Role::Channel);
    let level: splashdam_core::metrics::ReadLevel = Arc::new(move || level);
    registry.register(
        Role::Channel,
        "c1".into(),
        Registered { counters, level: Some(level), hindrance: None },
    );
    let board = Board::default();
    let sign = board.sign(Role::Sink, "k1".into());
    sign.set(Phase::Running, None);
    let (handle, stop) = Stop::new();
    let world = Arc::new(splashdam_testkit::FakeWorld::default());
    let ledger = Bookkeeper::new("a1".into(), world);
    let (agent, stopping) = Stop::new();
    tokio::spawn(admin.serve(registry, board.clone(), ledger, stopping, stop));
    Rig { address, sign, board, agent, _stop: handle }
}

/// The status, the head and the body of the answer to raw bytes.
async fn exchange(address: SocketAddr, request: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // A refusal may come before all is written.
    drop(stream.write_all(request.as_bytes()).await);
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer).await);
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    (status, head.to_ascii_lowercase(), body.to_owned())
}

async fn get(address: SocketAddr, path: &str) -> (u16, String, String) {
    exchange(address, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).await
}

#[tokio::test]
async fn metrics_in_flumes_shape() {
    let rig = rig(Form::Json).await;
    for path in ["/metrics", "/METRICS", "/metrics/json", "/metrics?x=1"] {
        let (status, head, body) = get(rig.address, path).await;
        assert_eq!(status, 200, "{path}");
        assert!(head.contains("content-type: application/json;charset=utf-8"), "{head}");
        let json: serde_json::Value = serde_json::from_str(&body).unwrap();
        let all = json.as_object().unwrap();
        let values = all.values().flat_map(|set| set.as_object().unwrap().values());
        assert!(values.clone().all(serde_json::Value::is_string), "{body}");
        assert_eq!(json["SOURCE.r\"1"]["EventReceivedCount"], "5");
        assert_eq!(json["SOURCE.r\"1"]["StartTime"], "1700000000000");
        assert_eq!(json["SOURCE.r\"1"]["StopTime"], "0");
        assert_eq!(json["CHANNEL.c1"]["ChannelFillPercentage"], "33.33333333333333");
        assert_eq!(json["CHANNEL.c1"]["ChannelSize"], "1");
        assert_eq!(json["CHANNEL.c1"].as_object().unwrap().len(), 10);
    }
}

#[tokio::test]
async fn metrics_for_prometheus() {
    let rig = rig(Form::Prometheus).await;
    let (status, head, body) = get(rig.address, "/metrics").await;
    assert_eq!(status, 200);
    assert!(head.contains("version=0.0.4"), "{head}");
    let line = "splashdam_source_events_received_total{component=\"r\\\"1\"} 5\n";
    assert!(body.contains(line), "{body}");
    assert!(body.contains("splashdam_channel_capacity_events{component=\"c1\"} 3\n"), "{body}");
    assert!(body.contains("# TYPE process_cpu_seconds_total counter\n"), "{body}");
    let mut families: Vec<_> = body.lines().filter(|l| l.starts_with("# TYPE")).collect();
    let count = families.len();
    families.sort_unstable();
    families.dedup();
    assert_eq!(families.len(), count, "each family stands once");
    let (_, _, json) = get(rig.address, "/metrics/json").await;
    assert!(json.starts_with('{'), "{json}");
}

#[tokio::test]
async fn methods_and_paths_as_in_flume() {
    let rig = rig(Form::Json).await;
    let check = async |request: &str, want: u16| {
        let (status, ..) =
            exchange(rig.address, &format!("{request} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        assert_eq!(status, want, "{request}");
    };
    check("GET /", 200).await;
    check("GET /nothing", 404).await;
    check("POST /metrics", 200).await;
    check("HEAD /metrics", 200).await;
    check("TRACE /metrics", 403).await;
    check("OPTIONS /", 403).await;
    let (status, ..) = exchange(rig.address, "\x16\x03\x01 nonsense\r\n\r\n").await;
    assert_eq!(status, 400);
    let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(2 * HEAD_LIMIT_BYTES));
    let (status, ..) = exchange(rig.address, &long).await;
    assert!([0, 414, 431].contains(&status), "{status}");
    let many = "A: b\r\n".repeat(HEAD_LIMIT_LINES + 1);
    let (status, ..) = exchange(rig.address, &format!("GET / HTTP/1.1\r\n{many}\r\n")).await;
    assert_eq!(status, 431);
    check("GET /metrics", 200).await;
}

#[tokio::test]
async fn health_tells_what_is_wrong() {
    let rig = rig(Form::Json).await;
    const WELL: &str = "{\"status\":\"ok\",\"problems\":[]}";
    let check = async |want: [u16; 3]| {
        let mut bodies = String::new();
        for (path, want) in ["/healthz", "/readyz", "/flowz"].into_iter().zip(want) {
            let (status, _, body) = get(rig.address, path).await;
            assert_eq!(status, want, "{path}: {body}");
            assert_eq!(status == 200, body == WELL, "{path}: {body}");
            bodies += &body;
        }
        bodies
    };
    check([200, 200, 200]).await;
    rig.sign.set(Phase::Waiting, Some("connection refused"));
    let body = check([200, 200, 503]).await;
    assert!(body.contains("\"component\":\"sink k1\""), "{body}");
    assert!(body.contains("connection refused"), "{body}");
    rig.sign.set(Phase::Draining, None);
    check([200, 503, 200]).await;
    rig.sign.set(Phase::Dead, Some("panicked"));
    check([503, 200, 503]).await;
}

#[tokio::test]
async fn an_agent_that_stops_says_so_to_its_end() {
    let rig = rig(Form::Json).await;
    assert_eq!(get(rig.address, "/readyz").await.0, 200);
    rig.agent.stop();
    for gone in [false, true] {
        if gone {
            rig.board.remove(Role::Sink, "k1");
        }
        let (status, _, body) = get(rig.address, "/readyz").await;
        let problem = "{\"component\":\"agent\",\"reason\":\"it is stopping\"}";
        assert!(status == 503 && body.contains(problem), "{status}: {body}");
        for path in ["/healthz", "/flowz"] {
            assert_eq!(get(rig.address, path).await.0, 200, "{path}");
        }
    }
}

#[tokio::test]
async fn an_agent_of_nobody_is_not_ready() {
    let rig = rig(Form::Json).await;
    rig.board.remove(Role::Sink, "k1");
    for (path, want) in [("/healthz", 200), ("/readyz", 503), ("/flowz", 503)] {
        let (status, _, body) = get(rig.address, path).await;
        assert_eq!(status, want, "{path}: {body}");
        assert_eq!(body.contains("nothing is configured"), want == 503, "{path}: {body}");
    }
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let rig = rig(Form::Json).await;
    let monitoring =
        Monitoring { form: Form::Json, port: rig.address.port(), host: Some("127.0.0.1".into()) };
    let error = Admin::bind(&monitoring).await.err().unwrap().to_string();
    assert!(error.contains(&rig.address.to_string()), "{error}");
}

#[tokio::test]
async fn who_says_nothing_keeps_nobody_else_out_and_is_sent_away() {
    let rig = rig(Form::Json).await;
    let mut silent = Vec::new();
    for _ in 0..2 * SOME_CONNECTIONS {
        silent.push(TcpStream::connect(rig.address).await.unwrap());
    }
    // The clock stands still until nothing else is to do: no timeout of the server's helps.
    tokio::time::pause();
    let asked = tokio::time::Instant::now();
    for _ in 0..3 {
        let (status, ..) = get(rig.address, "/healthz").await;
        assert_eq!(status, 200);
    }
    assert!(asked.elapsed() < HEAD_TIMEOUT, "{:?}", asked.elapsed());
    // The oldest were sent away.
    let mut left = Vec::new();
    let end = silent[0].read_to_end(&mut left).await;
    assert!(end.is_err() || left.is_empty(), "{left:?}");
    assert!(asked.elapsed() < HEAD_TIMEOUT, "{:?}", asked.elapsed());
    // The youngest is when its time is over.
    let last = silent.last_mut().unwrap();
    let end = last.read_to_end(&mut left).await;
    assert!(end.is_err() || left.is_empty() || left.starts_with(b"HTTP/1.1 408"), "{left:?}");
    assert!(asked.elapsed() >= HEAD_TIMEOUT - Duration::from_secs(1), "{:?}", asked.elapsed());
}
