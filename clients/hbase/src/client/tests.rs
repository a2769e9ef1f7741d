use std::time::Duration;

use super::*;
use crate::fake::{FAMILY, FakeCluster, FakeRegion, Fault, NOBODY};

const WHOLE: &[FakeRegion] = &[FakeRegion { start: "", end: "", id: 1, server: 1 }];
const HALVES: &[FakeRegion] = &[
    FakeRegion { start: "", end: "m", id: 1, server: 0 },
    FakeRegion { start: "m", end: "", id: 2, server: 1 },
];

fn table() -> TableName {
    TableName::parse("t").unwrap()
}

fn put(row: &str) -> Mutation {
    Mutation::put(row.to_owned()).set(FAMILY, "q", row.to_owned())
}

fn count() -> Mutation {
    Mutation::increment("count").add(FAMILY, "n", 3)
}

async fn start(regions: &[FakeRegion], faults: &[Fault]) -> (FakeCluster, Client) {
    let cluster = FakeCluster::start(regions).await;
    cluster.state().faults.extend(faults.iter().cloned());
    let client = Client::new(cluster.config()).unwrap();
    (cluster, client)
}

/// The retry table, line by line. Two regions on one server are known; the next call to the first
/// region fails. Then: who is asked before that call is done, whether there is a pause, and whether the
/// other region has to be looked up again. What a batch makes of the same is below.
///
/// | a server says | the client |
/// |---|---|
/// | not serving, moved, offline, log closed | looks up that region, at once |
/// | moved, and where to | asks there, at once |
/// | opening, too busy, queue full, throttled, hold, anything else | asks the same server, after a pause |
/// | stopped, aborted, not up; no connection, no answer, no sense in it | looks up all regions of that server, at once |
/// | do not retry; no such family, no such table, access denied | gives up at once |
#[tokio::test]
async fn each_line_of_the_retry_table_asks_where_and_when_it_should() {
    const BOTH: &[FakeRegion] = &[
        FakeRegion { start: "", end: "m", id: 1, server: 1 },
        FakeRegion { start: "m", end: "", id: 2, server: 1 },
    ];
    /// Where the second try goes.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Then {
        AfterALookUp,
        AfterAPause,
        AfterLookUpsOfAll,
        Nowhere,
    }
    async fn check(fault: Fault, then: Then) {
        let (cluster, client) = start(BOTH, &[]).await;
        // Whoever pauses is seen to; whoever must not would pause for too long.
        let pause = if then == Then::AfterAPause { 20 } else { 60_000 };
        let pause = Duration::from_millis(pause);
        let client = Client::new(Config { pause, ..client.config().clone() }).unwrap();
        for row in ["a", "z"] {
            client.mutate(&table(), put(row)).await.unwrap();
        }
        cluster.state().calls.clear();
        cluster.state().faults.push_back(fault.clone());
        let began = std::time::Instant::now();
        let limit = Duration::from_secs(30);
        let done = tokio::time::timeout(limit, client.mutate(&table(), put("b"))).await;
        let done = done.unwrap_or_else(|_| panic!("{fault:?}: it pauses"));
        assert_eq!(done.is_ok(), then != Then::Nowhere, "{fault:?}: {done:?}");
        if then == Then::AfterAPause {
            assert!(began.elapsed() >= pause, "{fault:?}: it does not pause");
        }
        client.mutate(&table(), put("y")).await.unwrap();
        let calls = cluster.state().calls.clone();
        let calls: Vec<&str> = calls.iter().map(|(_, method)| method.as_str()).collect();
        let want: &[&str] = match then {
            Then::AfterALookUp => &["Mutate", "meta", "Mutate", "Mutate"],
            Then::AfterAPause => &["Mutate", "Mutate", "Mutate"],
            Then::AfterLookUpsOfAll => &["Mutate", "meta", "Mutate", "meta", "Mutate"],
            Then::Nowhere => &["Mutate", "Mutate"],
        };
        assert_eq!(calls, want, "{fault:?}");
    }
    let said = |class: &'static str| Fault::Call(class, "", false);
    for class in [
        "NotServingRegionException",
        "RegionMovedException",
        "regionserver.WrongRegionException",
        "RegionOfflineException",
    ] {
        check(said(class), Then::AfterALookUp).await;
    }
    check(Fault::Call("IOException", "Cannot append; log is closed", false), Then::AfterALookUp)
        .await;
    for class in [
        "regionserver.RegionOpeningException",
        "RegionTooBusyException",
        "CallQueueTooBigException",
        "CallDroppedException",
        "quotas.RpcThrottlingException",
        "RetryImmediatelyException",
        "PleaseHoldException",
        "SomethingNewException",
    ] {
        check(said(class), Then::AfterAPause).await;
    }
    for class in [
        "regionserver.RegionServerStoppedException",
        "regionserver.RegionServerAbortedException",
        "ipc.ServerNotRunningYetException",
    ] {
        check(said(class), Then::AfterLookUpsOfAll).await;
    }
    for fault in [
        Fault::Close,
        Fault::LoseAnswer,
        Fault::Silence,
        Fault::Garbage(b"HTTP/1.1 400 Bad Request\r\n"),
    ] {
        check(fault, Then::AfterLookUpsOfAll).await;
    }
    check(Fault::Call("SomethingNewException", "", true), Then::Nowhere).await;
    for class in [
        "DoNotRetryIOException",
        "regionserver.NoSuchColumnFamilyException",
        "TableNotFoundException",
        "security.AccessDeniedException",
    ] {
        check(said(class), Then::Nowhere).await;
    }
}

/// What a batch of puts `a`, `z` and an increment comes to when faults meet it.
#[tokio::test]
async fn every_line_of_the_retry_table_ends_well_or_at_once() {
    async fn check(fault: Fault, calls: usize, failed: &[usize]) {
        let (cluster, client) = start(WHOLE, std::slice::from_ref(&fault)).await;
        let done = client.batch(&table(), &[put("a"), put("z"), count()]).await;
        let bad = done.results.iter().enumerate().filter(|(_, result)| result.is_err());
        assert_eq!(bad.map(|(at, _)| at).collect::<Vec<_>>(), failed, "{fault:?} {done:?}");
        let state = cluster.state();
        let multis = state.calls.iter().filter(|(_, method)| method == "Multi").count();
        assert_eq!(multis, calls, "{fault:?}: {:?}", state.calls);
        if failed.is_empty() {
            let number = done.results[2].as_ref().unwrap().number(FAMILY, "n");
            assert_eq!((state.rows.len(), number), (3, Some(3)), "{fault:?}");
        }
    }
    let all = &[0, 1, 2];
    for class in [
        "NotServingRegionException",
        "RegionMovedException",
        "RegionOpeningException",
        "RegionTooBusyException",
        "RegionServerStoppedException",
        "ServerNotRunningYetException",
        "SomethingNewException",
    ] {
        check(Fault::Call(class, "", false), 2, &[]).await;
        check(Fault::Regions(class), 2, &[]).await;
        check(Fault::Action(1, class), 2, &[]).await;
    }
    for class in ["CallQueueTooBigException", "RpcThrottlingException", "PleaseHoldException"] {
        check(Fault::Call(class, "", false), 2, &[]).await;
    }
    check(Fault::Call("IOException", "Cannot append; log is closed", false), 2, &[]).await;
    check(Fault::Move, 2, &[]).await;
    check(Fault::Close, 2, &[]).await;
    check(Fault::LoseAnswer, 2, &[]).await;
    check(Fault::Silence, 2, &[]).await;
    check(Fault::Garbage(b"HTTP/1.1 400 Bad Request\r\n"), 2, &[]).await;
    check(Fault::Garbage(b"\0\0\0\x02\x00\x00"), 2, &[]).await;
    check(Fault::Call("SomethingNewException", "", true), 1, all).await;
    for class in ["DoNotRetryIOException", "NoSuchColumnFamilyException", "AccessDeniedException"] {
        check(Fault::Call(class, "", true), 1, all).await;
        check(Fault::Regions(class), 1, all).await;
        check(Fault::Action(1, class), 1, &[1]).await;
    }
}

#[tokio::test]
async fn a_moved_region_is_found_without_asking_meta_again() {
    let (cluster, client) = start(WHOLE, &[Fault::Move]).await;
    client.mutate(&table(), put("a")).await.unwrap();
    let calls = cluster.state().calls.clone();
    let want = [(0, "meta"), (1, "Mutate"), (0, "Mutate")];
    assert_eq!(calls, want.map(|(server, method)| (server, method.to_owned())));
}

#[tokio::test]
async fn a_split_under_way_is_waited_for() {
    let (cluster, client) = start(WHOLE, &[]).await;
    client.mutate(&table(), put("a")).await.unwrap();
    // The parent is gone, of the daughters only the second has a server yet.
    let daughter = |index: usize, server| FakeRegion { id: 3, server, ..HALVES[index].clone() };
    cluster.state().regions = vec![daughter(0, NOBODY), daughter(1, 1)];
    let waited = client.clone();
    let both = tokio::spawn(async move { waited.batch(&table(), &[put("b"), put("y")]).await });
    let there = async || {
        while !cluster.state().rows.contains_key(&("y".into(), "q".into())) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), there()).await.unwrap();
    assert!(!cluster.state().rows.contains_key(&("b".into(), "q".into())));
    cluster.state().regions[0].server = 0;
    both.await.unwrap().all().unwrap();
    assert_eq!(cluster.state().rows.len(), 3);
}

#[tokio::test]
async fn a_batch_goes_to_each_server_in_one_call() {
    let (cluster, client) = start(HALVES, &[]).await;
    let rows: Vec<Mutation> = ["a", "z", "b", "y", "c"].map(put).into();
    client.batch(&table(), &rows).await.all().unwrap();
    let state = cluster.state();
    let mut multis: Vec<_> = state.calls.iter().filter(|(_, m)| m == "Multi").collect();
    multis.sort();
    assert_eq!(multis.iter().map(|(server, _)| *server).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(state.rows.len(), 5);
}

#[tokio::test]
async fn a_large_batch_goes_in_several_calls() {
    let cluster = FakeCluster::start(WHOLE).await;
    let client = Client::new(Config { request_bytes: 100, ..cluster.config() }).unwrap();
    let rows: Vec<Mutation> = ["a", "b", "c", "d", "e"].map(put).into();
    client.batch(&table(), &rows).await.all().unwrap();
    let multis = cluster.state().calls.iter().filter(|(_, method)| method == "Multi").count();
    // A cell of these takes 23 bytes.
    assert_eq!(multis, 2);
}

#[tokio::test]
async fn many_go_in_several_calls_at_a_time_and_each_row_in_order() {
    for (per_server, calls) in [(1, 1), (2, 2), (5, 3)] {
        let cluster = FakeCluster::start(WHOLE).await;
        let config = Config { calls_per_server: per_server, ..cluster.config() };
        let client = Client::new(config).unwrap();
        let rows = |n: usize| format!("row-{}", n % 40);
        let puts = (0..400).map(|n| Mutation::put(rows(n)).set(FAMILY, "q", n.to_string()));
        client.batch(&table(), &puts.collect::<Vec<_>>()).await.all().unwrap();
        let state = cluster.state();
        let multis = state.calls.iter().filter(|(_, method)| method == "Multi").count();
        assert_eq!(multis, calls, "{per_server}");
        for n in 360..400 {
            assert_eq!(state.rows[&(rows(n).into(), "q".into())], n.to_string(), "{per_server}");
        }
    }
}

#[tokio::test]
async fn what_no_server_takes_does_not_keep_the_rest() {
    let (cluster, client) = start(WHOLE, &[]).await;
    let done = client.batch(&table(), &[put("a"), put(""), put("b")]).await;
    assert!(matches!(done.all(), Err((1, Error::Invalid(_)))), "{done:?}");
    assert_eq!((done.done(), cluster.state().rows.len()), (2, 2));
    assert!(client.batch(&table(), &[]).await.results.is_empty());
}

/// Puts of one region that come in one call are refused together when one of them is at fault.
#[tokio::test]
async fn refusals_are_of_those_that_are_at_fault() {
    async fn check(rows: &[&'static str], class: &'static str, refused: &[usize]) {
        let (cluster, client) = start(HALVES, &[]).await;
        cluster.refuse_row("bad", class);
        let mut mutations: Vec<Mutation> = rows.iter().map(|row| put(row)).collect();
        mutations.push(count());
        let done = client.batch(&table(), &mutations).await;
        let bad = done.results.iter().enumerate().filter(|(_, result)| result.is_err());
        assert_eq!(bad.map(|(at, _)| at).collect::<Vec<_>>(), refused, "{rows:?} {class}");
        assert_eq!(done.results[rows.len()].as_ref().unwrap().number(FAMILY, "n"), Some(3));
        let mut want: Vec<&str> = rows.iter().copied().filter(|row| *row != "bad").collect();
        want.extend(["count"]);
        want.sort_unstable();
        want.dedup();
        let state = cluster.state();
        let kept: Vec<&[u8]> = state.rows.keys().map(|(row, _)| &row[..]).collect();
        if BLAMED.contains(&class) {
            assert_eq!(kept, want.iter().map(|row| row.as_bytes()).collect::<Vec<_>>(), "{rows:?}");
        }
        let multis = state.calls.iter().filter(|(_, method)| method == "Multi").count();
        assert!(multis <= 2 * (mutations.len() + 1), "{rows:?}: {multis}");
    }
    const BLAMED: [&str; 2] = [
        "DoNotRetryIOException: Cell[x] with size 9 exceeds limit of 8 bytes",
        "constraint.ConstraintException",
    ];
    for class in BLAMED {
        check(&["bad"], class, &[0]).await;
        check(&["a", "bad"], class, &[1]).await;
        check(&["bad", "a", "b", "c", "z", "y"], class, &[0]).await;
        check(&["a", "b", "c", "bad", "d", "bad", "e", "z"], class, &[3, 5]).await;
        check(&["bad", "bad", "bad"], class, &[0, 1, 2]).await;
    }
    // These are said of each by itself.
    check(&["a", "bad", "z"], "NoSuchColumnFamilyException", &[0, 1]).await;
}

/// How many calls it takes to hear that nothing of a batch is taken.
#[tokio::test]
async fn who_is_at_fault_is_looked_for_only_where_one_may_be_and_not_for_ever() {
    async fn check(class: &'static str, calls: std::ops::RangeInclusive<usize>) {
        let (cluster, client) = start(WHOLE, &[]).await;
        cluster.refuse_row("bad", class);
        let config = Config { calls_per_server: 1, ..client.config().clone() };
        let client = Client::new(config).unwrap();
        let done = client.batch(&table(), &vec![put("bad"); 20]).await;
        assert!(done.results.iter().all(Result::is_err), "{class}");
        let state = cluster.state();
        let multis = state.calls.iter().filter(|(_, method)| method == "Multi").count();
        assert!(calls.contains(&multis), "{class}: {multis}");
    }
    check("DoNotRetryIOException: region is read only", 1..=1).await;
    // Each of them by itself, in several rounds.
    check("constraint.ConstraintException", 39..=70).await;
}

#[tokio::test]
async fn a_zookeeper_that_is_gone_is_waited_for() {
    let (cluster, client) = start(WHOLE, &[]).await;
    cluster.state().zookeeper_gone = true;
    let client = Client::new(Config { retries: 1000, ..client.config().clone() }).unwrap();
    let waiting = tokio::spawn(async move { client.mutate(&table(), put("a")).await });
    let visited = async || {
        while cluster.state().visits < 5 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), visited()).await.unwrap();
    assert!(cluster.state().rows.is_empty());
    cluster.state().zookeeper_gone = false;
    waiting.await.unwrap().unwrap();
    assert_eq!(cluster.state().rows.len(), 1);
}

#[tokio::test]
async fn tables_that_are_not_there_or_disabled_are_named() {
    let (cluster, client) = start(WHOLE, &[]).await;
    let none = TableName::parse("none").unwrap();
    let missing = Error::TableNotFound { table: none.clone() };
    assert_eq!(client.describe(&none).await, Err(missing.clone()));
    assert_eq!(client.get(&none, Get::new("a")).await, Err(missing.clone()));
    let done = client.batch(&none, &[put("a")]).await;
    assert_eq!(done.results, [Err(missing)]);
    assert!(client.describe(&table()).await.unwrap().has_family(FAMILY));
    cluster.state().disabled = true;
    let disabled = Error::TableDisabled { table: table() };
    assert_eq!(client.mutate(&table(), put("a")).await, Err(disabled.clone()));
    assert_eq!(client.scan(&table(), Scan::all()).collect().await, Err(disabled.clone()));
    assert_eq!(client.batch(&table(), &[put("a")]).await.results, [Err(disabled)]);
}

#[tokio::test]
async fn tries_are_used_up() {
    let busy = vec![Fault::Call("RegionTooBusyException", "memstore", false); 9];
    let cluster = FakeCluster::start(WHOLE).await;
    cluster.state().faults.extend(busy);
    let client = Client::new(Config { retries: 2, ..cluster.config() }).unwrap();
    let error = client.mutate(&table(), put("a")).await.unwrap_err();
    assert!(!error.is_permanent());
    let text = error.to_string();
    assert!(
        text.contains("3 tries") && text.contains("RegionTooBusyException: memstore"),
        "{text}"
    );
}

#[tokio::test]
async fn rows_are_read_in_order_across_regions_and_failures() {
    let rows = ["a", "b", "c", "m", "n", "x"];
    let read = |rows: Vec<Row>| -> Vec<String> {
        let key = |row: &Row| String::from_utf8_lossy(row.key().unwrap()).into_owned();
        rows.iter().map(key).collect()
    };
    let check = async |scan: Scan, faults: &[Fault], want: &[&str]| {
        let (cluster, client) = start(HALVES, &[]).await;
        let puts: Vec<Mutation> = rows.map(put).into();
        client.batch(&table(), &puts).await.all().unwrap();
        cluster.state().faults.extend(faults.iter().cloned());
        let got = read(client.scan(&table(), scan.clone()).collect().await.unwrap());
        assert_eq!(got, want, "{scan:?} {faults:?}");
    };
    let none: &[Fault] = &[];
    check(Scan::all(), none, &rows).await;
    check(Scan::range("b", "n"), none, &["b", "c", "m"]).await;
    check(Scan::range("c1", "m"), none, &[]).await;
    check(Scan::range("b", "b"), none, &[]).await;
    check(Scan::all().limit(4), none, &["a", "b", "c", "m"]).await;
    for fault in [
        Fault::Call("UnknownScannerException", "", true),
        Fault::Call("NotServingRegionException", "", false),
        Fault::Close,
        Fault::LoseAnswer,
        Fault::Silence,
    ] {
        check(Scan::all(), std::slice::from_ref(&fault), &rows).await;
    }
    let (cluster, client) = start(HALVES, &[]).await;
    let puts: Vec<Mutation> = rows.map(put).into();
    client.batch(&table(), &puts).await.all().unwrap();
    let mut scanner = client.scan(&table(), Scan::all());
    assert_eq!(read(scanner.next().await.unwrap()), ["a"]);
    cluster.state().faults.push_back(Fault::Call("ScannerResetException", "", true));
    assert_eq!(read(scanner.next().await.unwrap()), ["b"]);
    scanner.close().await;
}

#[tokio::test]
async fn one_row_is_read_counted_and_hidden() {
    let (_, client) = start(WHOLE, &[]).await;
    assert_eq!(client.get(&table(), Get::new("count")).await, Ok(None));
    for want in [3, 6] {
        let row = client.mutate(&table(), count()).await.unwrap();
        assert_eq!(row.number(FAMILY, "n"), Some(want));
    }
    let row = client.get(&table(), Get::new("count")).await.unwrap().unwrap();
    assert_eq!(row.number(FAMILY, "n"), Some(6));
    client.mutate(&table(), Mutation::delete("count").hide(FAMILY, "n")).await.unwrap();
    assert_eq!(client.get(&table(), Get::new("count")).await, Ok(None));
}

#[tokio::test]
async fn who_waits_for_ever_is_answered() {
    let cluster = FakeCluster::start(WHOLE).await;
    let (rpc_timeout, operation_timeout) = (Duration::MAX, Duration::MAX);
    let config = Config { rpc_timeout, operation_timeout, ..cluster.config() };
    let client = Client::new(config).unwrap();
    client.mutate(&table(), put("a")).await.unwrap();
    assert_eq!(client.scan(&table(), Scan::all()).collect().await.unwrap().len(), 1);
}

/// A call that is not answered is waited for as long as the limit of its kind says.
#[tokio::test]
async fn reads_and_writes_have_limits_of_their_own() {
    async fn check(limits: impl FnOnce(&mut Config), write: bool) {
        let (cluster, _) = start(WHOLE, &[Fault::Silence]).await;
        let mut config = Config { rpc_timeout: Duration::from_secs(60), ..cluster.config() };
        limits(&mut config);
        let client = Client::new(config).unwrap();
        let done = async {
            match write {
                true => drop(client.mutate(&table(), put("a")).await.unwrap()),
                false => drop(client.get(&table(), Get::new("a")).await.unwrap()),
            }
        };
        tokio::time::timeout(Duration::from_secs(20), done).await.unwrap();
    }
    let limit = Some(Duration::from_millis(50));
    check(|config| config.write_timeout = limit, true).await;
    check(|config| config.read_timeout = limit, false).await;
}

#[tokio::test]
async fn many_calls_share_a_connection_within_their_bytes() {
    let cluster = FakeCluster::start(WHOLE).await;
    let client = Client::new(Config { in_flight_bytes: 2048, ..cluster.config() }).unwrap();
    let calls = (0..200).map(|n| {
        let client = client.clone();
        let value = vec![b'x'; 50 * n];
        let put = Mutation::put(format!("row-{n}")).set(FAMILY, "q", value);
        tokio::spawn(async move { client.mutate(&table(), put).await })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap().unwrap();
    }
    assert_eq!(cluster.state().rows.len(), 200);
}

#[tokio::test]
async fn a_cluster_that_is_not_there_is_named() {
    let config = Config { retries: 1, pause: Duration::from_millis(1), ..Config::default() };
    // Nobody listens on port 1.
    let quorum = crate::config::addresses("127.0.0.1:1", 1).unwrap();
    let parent = "/hbase".to_owned();
    let registry = crate::config::Registry::ZooKeeper { quorum: quorum.clone(), parent };
    for registry in [registry, crate::config::Registry::Masters(quorum)] {
        let client = Client::new(Config { registry, ..config.clone() }).unwrap();
        let error = client.describe(&table()).await.unwrap_err().to_string();
        assert!(error.contains("127.0.0.1:1"), "{error}");
    }
}

mod increments;
mod silent;
