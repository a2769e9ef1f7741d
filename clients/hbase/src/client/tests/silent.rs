//! Servers that take calls and do not answer them.

use super::*;

fn patient(cluster: &FakeCluster) -> Config {
    Config { rpc_timeout: Duration::from_secs(60), ..cluster.config() }
}

/// How many look-ups there were.
fn look_ups(cluster: &FakeCluster) -> usize {
    cluster.state().calls.iter().filter(|(_, method)| method == "meta").count()
}

async fn until(what: impl Fn() -> bool) {
    let there = async || {
        while !what() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), there()).await.unwrap();
}

#[tokio::test]
async fn a_server_that_a_caller_gave_up_on_is_left() {
    let cluster = FakeCluster::start(WHOLE).await;
    let client = Client::new(patient(&cluster)).unwrap();
    client.mutate(&table(), put("a")).await.unwrap();
    cluster.mute(1);
    let patience = Duration::from_millis(200);
    let waited = tokio::time::timeout(patience, client.mutate(&table(), put("b"))).await;
    assert!(waited.is_err());
    cluster.set_regions(&[FakeRegion { server: 0, ..WHOLE[0].clone() }]);
    let limit = Duration::from_secs(20);
    tokio::time::timeout(limit, client.mutate(&table(), put("c"))).await.unwrap().unwrap();
    assert_eq!(cluster.state().rows.len(), 2);
}

#[tokio::test]
async fn a_server_that_answers_others_is_not_left() {
    // A machine that is busy may stand still for as long as a server must not be silent.
    for _ in 0..20 {
        let (cluster, _) = start(WHOLE, &[]).await;
        let client = Client::new(patient(&cluster)).unwrap();
        client.mutate(&table(), put("a")).await.unwrap();
        cluster.fail_next(Fault::Silence);
        let one = client.clone();
        let slow = tokio::spawn(async move { one.mutate(&table(), put("b")).await });
        until(|| cluster.state().rows.len() == 2).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        client.mutate(&table(), put("c")).await.unwrap();
        let answered = std::time::Instant::now();
        slow.abort();
        assert!(slow.await.is_err());
        if answered.elapsed() > Duration::from_millis(40) {
            continue;
        }
        client.mutate(&table(), put("d")).await.unwrap();
        assert_eq!(look_ups(&cluster), 1);
        return;
    }
    panic!("it took 40 ms to stop a task, twenty times");
}

#[tokio::test]
async fn calls_behind_one_that_was_not_answered_are_not_sent_there() {
    let cluster = FakeCluster::start(WHOLE).await;
    let rpc_timeout = Duration::from_secs(1);
    let config = Config { request_bytes: 30, rpc_timeout, ..cluster.config() };
    let client = Client::new(config).unwrap();
    client.mutate(&table(), put("a")).await.unwrap();
    cluster.mute(1);
    cluster.set_regions(&[FakeRegion { server: 0, ..WHOLE[0].clone() }]);
    cluster.state().calls.clear();
    let rows: Vec<Mutation> = ["a", "b", "c", "d", "e"].map(put).into();
    let began = std::time::Instant::now();
    client.batch(&table(), &rows).await.all().unwrap();
    assert!(began.elapsed() < 3 * rpc_timeout, "{:?}", began.elapsed());
    let state = cluster.state();
    let to =
        |server| state.calls.iter().filter(move |(at, method)| *at == server && method == "Multi");
    assert_eq!((to(1).count(), to(0).count(), state.rows.len()), (1, 5, 5));
}
