//! Many clients that send nothing.

use super::*;

/// What a client that sends nothing may cost. Other tests allocate beside the one that measures.
const MOST_IDLE_BYTES: usize = 8 * 1024;

/// Pages of this process that are in memory, in bytes.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = text.split(' ').nth(1).unwrap().parse().unwrap();
    pages * rustix::param::page_size()
}

/// As many as the test may open, at most so many.
fn connections(most: usize) -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let current = limit.maximum;
    if setrlimit(Resource::Nofile, Rlimit { current, ..limit }).is_err() {
        eprintln!("the limit of open files stays as it is");
    }
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    // Each has two ends, and other tests have files as well.
    most.min(usize::try_from(files / 2).unwrap_or(most).saturating_sub(500))
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_clients_cost_little() {
    let count = connections(10_000);
    if count < 1000 {
        eprintln!("skipped: no more than {count} connections can be opened (`ulimit -n`)");
        return;
    }
    let collector = Collector::new();
    let (source, address) = source("").await;
    let outlet = outlet_to(vec![Arc::new(collector.clone())]);
    let running = run_source_into(source, outlet.clone());
    let before = resident();
    let mut idle = Vec::new();
    for _ in 0..count {
        idle.push(std::net::TcpStream::connect(address).unwrap());
    }
    let served = async {
        while outlet.metrics().open_connections.value() < i64::try_from(count).unwrap() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(60), served).await.expect("all are served");
    let each = resident().saturating_sub(before) / count;
    assert!(each < MOST_IDLE_BYTES, "an idle client costs {each} bytes");
    // Others are served beside them.
    let mut client = Client::connect(address).await;
    client.call(1, true, None, &events(0, 3)).await;
    assert_eq!(client.answer(true).await, (1, Answer::Ok));
    assert_eq!(collector.bodies().len(), 3);
    drop((idle, client));
    running.stop().await.unwrap();
}
