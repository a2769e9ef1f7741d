//! Many clients that send nothing. Alone in its process, as the memory of that is measured.

use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use splashdam_components::{sinks, sources};
use splashdam_core::{Role, Sink};
use splashdam_testkit::contract::{open_sink, open_source, run_source_into};
use splashdam_testkit::fakes::outlet_to;
use splashdam_testkit::{Collector, context, events};
use tokio::time::{sleep, timeout};

/// What a client that sends nothing may cost, in bytes.
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
    // Each has two ends, and the process has files of its own.
    most.min(usize::try_from(files / 2).unwrap_or(most).saturating_sub(100))
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_clients_cost_little() {
    let count = connections(9_990);
    if count < 1000 {
        eprintln!("skipped: no more than {count} connections can be opened (`ulimit -n`)");
        return;
    }
    let collector = Collector::new();
    let keys = "bind = 127.0.0.1\nport = 0";
    let source = open_source::<sources::avro::Avro>(keys, context(Role::Source)).await;
    let address = source.local_addr().unwrap();
    let outlet = outlet_to(vec![Arc::new(collector.clone())]);
    let running = run_source_into(source, outlet.clone());
    let before = resident();
    let mut idle = Vec::new();
    let served = async |count: usize| {
        while outlet.metrics().open_connections.value() < i64::try_from(count).unwrap() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    for number in 1..=count {
        idle.push(TcpStream::connect(address).unwrap());
        // Whom the system's queue has no place for waits a second before trying again.
        if number % 64 == 0 || number == count {
            let served = timeout(Duration::from_secs(60), served(number)).await;
            served.expect("all are served");
        }
    }
    let each = resident().saturating_sub(before) / count;
    assert!(each < MOST_IDLE_BYTES, "an idle client costs {each} bytes");
    // Others are served beside them.
    let keys = format!("hostname = 127.0.0.1\nport = {}", address.port());
    let mut sink = open_sink::<sinks::avro::Avro>(&keys, context(Role::Sink)).await;
    sink.deliver(&events(0, 3)).await.unwrap();
    assert_eq!(collector.bodies().len(), 3);
    drop(idle);
    sink.close().await.unwrap();
    running.stop().await.unwrap();
}
