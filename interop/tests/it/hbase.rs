//! Our client of HBase, and the sinks on it, against a real HBase; looked at with HBase's own client.

mod beside_flume;
mod example;
mod faults;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use splashdam_core::{Batch, Component, Context as Cx, Delivered, Event, Role, Sink};
use splashdam_hbase::{Client, Config, Error, Get, Mutation, Registry, Row, Scan, TableName};
use splashdam_interop::hbase::{HBase, HBasePeer, hex};

use crate::side_by_side::{Turn, is_set};

/// A cluster, its directory and the turn to run it; `None` after saying what is missing.
fn cluster() -> Option<(HBase, tempfile::TempDir, Turn)> {
    cluster_by(HBasePeer::start)
}

fn cluster_by(
    start: fn(&HBasePeer, &Path) -> Result<HBase>,
) -> Option<(HBase, tempfile::TempDir, Turn)> {
    let turn = Turn::take();
    let peer = match HBasePeer::available() {
        Ok(peer) => peer,
        Err(missing) => {
            assert!(!is_set("SPLASHDAM_REQUIRE_INTEROP"), "{missing}");
            eprintln!("skipped: {missing}");
            return None;
        }
    };
    let dir = tempfile::tempdir().expect("room for a cluster");
    let hbase = start(&peer, dir.path()).expect("an HBase that starts");
    Some((hbase, dir, turn))
}

fn client(hbase: &HBase) -> Result<Client> {
    Ok(Client::new(Config::zookeeper(&hbase.quorum(), "/hbase")?)?)
}

fn key(row: &Row) -> String {
    row.key().map(|key| key.escape_ascii().to_string()).unwrap_or_default()
}

#[tokio::test]
async fn what_we_write_java_reads_and_the_other_way_round() -> Result<()> {
    let Some((mut hbase, _dir, _turn)) = cluster() else { return Ok(()) };
    hbase.drive(&format!("create t f,g {}", hex(b"m")))?;
    let (client, table) = (client(&hbase)?, TableName::parse("t")?);

    // Puts of every shape, of both regions, one at a time and as a batch.
    let odd: &[u8] = b"\x00\xff\xfe";
    let large = vec![b'x'; 3_000_000];
    let puts = vec![
        Mutation::put("a").set("f", "q", "1").set("g", "", ""),
        Mutation::put(odd).set_at("f", odd, 5, odd),
        Mutation::put("z").set("f", "large", large.clone()),
        Mutation::put("z2").set("f", "large", large.clone()),
    ];
    client
        .batch(&table, &puts)
        .await
        .all()
        .map_err(|(_, error)| error.clone())
        .context("a batch")?;
    client.mutate(&table, Mutation::put("b").set_at("f", "q", 7, "v")).await?;
    let cells = hbase.cells("t")?;
    let shown: Vec<(String, usize)> = cells
        .iter()
        .map(|cell| {
            let [row, family, column] = [&cell.row, &cell.family, &cell.qualifier]
                .map(|bytes| bytes.escape_ascii().to_string());
            (format!("{row} {family}:{column}"), cell.value.len())
        })
        .collect();
    let want = [
        ("\\x00\\xff\\xfe f:\\x00\\xff\\xfe", 3),
        ("a f:q", 1),
        ("a g:", 0),
        ("b f:q", 1),
        ("z f:large", large.len()),
        ("z2 f:large", large.len()),
    ];
    assert_eq!(shown, want.map(|(cell, bytes)| (cell.to_owned(), bytes)));
    assert_eq!((cells[0].timestamp, cells[3].timestamp), (5, 7));

    // Reads, of what Java wrote as well.
    hbase.drive(&format!("put t {} {} {} {} 9", hex(b"java"), hex(b"f"), hex(b"q"), hex(odd)))?;
    let row = client.get(&table, Get::new("java").column("f", "q")).await?.context("no row")?;
    assert_eq!((&row.cells[0].value[..], row.cells[0].timestamp), (odd, 9));
    assert_eq!(client.get(&table, Get::new("java").family("g")).await?, None);
    let rows = client.scan(&table, Scan::all()).collect().await?;
    let keys: Vec<String> = rows.iter().map(key).collect();
    assert_eq!(keys, ["\\x00\\xff\\xfe", "a", "b", "java", "z", "z2"]);
    let some = client.scan(&table, Scan::range("b", "z2").limit(2)).collect().await?;
    assert_eq!(some.iter().map(key).collect::<Vec<_>>(), ["b", "java"]);

    // Increments, alone and in a batch, and a delete.
    let add = |by: i64| Mutation::increment("n").add("f", "c", by).add("f", "d", -by);
    assert_eq!(client.mutate(&table, add(5)).await?.number("f", "c"), Some(5));
    let done = client.batch(&table, &[add(1), add(1)]).await;
    let last = done.results[1].as_ref().map_err(Clone::clone)?;
    assert_eq!((last.number("f", "c"), last.number("f", "d")), (Some(7), Some(-7)));
    client.mutate(&table, Mutation::delete("b")).await?;
    assert_eq!(client.get(&table, Get::new("b")).await?, None);

    // What is asked of the master, by either registry, and from the cluster's own file.
    let description = client.describe(&table).await?;
    assert!(description.has_family("f") && description.has_family("g"));
    let registry = Registry::Masters(vec![hbase.master().parse_address()?]);
    let by_master = Client::new(Config { registry, ..Config::default() })?;
    assert!(by_master.get(&table, Get::new("a")).await?.is_some());
    let site = std::fs::read_to_string(hbase.conf().join("hbase-site.xml"))?;
    assert_eq!(Client::new(Config::from_site(&site)?)?.describe(&table).await?, description);

    // Errors that come from the server.
    let bad = client.batch(&table, &[Mutation::put("x").set("no", "q", "v"), add(0)]).await;
    assert!(
        matches!(&bad.results[0], Err(Error::Refused { exception, .. }) if exception.short_class() == "NoSuchColumnFamilyException"),
        "{bad:?}"
    );
    assert!(bad.results[1].is_ok());
    // An increment of what is no number, which is refused by itself.
    let adds = ["a", "n2"].map(|row| Mutation::increment(row).add("f", "q", 1));
    let done = client.batch(&table, &adds).await;
    assert!(
        matches!(&done.results[0], Err(Error::Refused { exception, .. }) if exception.short_class() == "DoNotRetryIOException"),
        "{done:?}"
    );
    let counted = done.results[1].as_ref().map_err(Clone::clone)?;
    assert_eq!(counted.number("f", "q"), Some(1));
    // A cell over the server's limit, which refuses all puts of the region that come with it.
    let bold = Client::new(Config { cell_limit_bytes: 32 << 20, ..client.config().clone() })?;
    let sizes = [1, 11 << 20, 2, 3];
    let puts = sizes.map(|bytes| Mutation::put(format!("s{bytes}")).set("f", "q", vec![0; bytes]));
    let done = bold.batch(&table, &puts).await;
    let refused: Vec<usize> = (0..4).filter(|at| done.results[*at].is_err()).collect();
    assert_eq!(refused, [1], "{:?}", done.all());
    assert!(done.all().is_err_and(|(_, error)| error.to_string().contains("exceeds limit")));
    assert!(client.get(&table, Get::new("s3")).await?.is_some());
    hbase.drive("disable t")?;
    let few = Client::new(Config { retries: 5, ..client.config().clone() })?;
    assert_eq!(
        few.mutate(&table, add(0)).await,
        Err(Error::TableDisabled { table: table.clone() })
    );
    hbase.drive("enable t")?;
    hbase.drive("drop t")?;
    let none = Err(Error::TableNotFound { table: table.clone() });
    assert_eq!(few.mutate(&table, add(0)).await, none);
    Ok(())
}

trait ParseAddress {
    fn parse_address(&self) -> Result<splashdam_hbase::Address>;
}

impl ParseAddress for String {
    fn parse_address(&self) -> Result<splashdam_hbase::Address> {
        splashdam_hbase::Address::parse(self, 0).context("no address")
    }
}

#[tokio::test]
async fn regions_split_merge_and_move_under_load() -> Result<()> {
    const ROWS: usize = 6_000;
    let Some((mut hbase, _dir, _turn)) = cluster() else { return Ok(()) };
    hbase.drive(&format!("create load f {},{}", hex(b"20"), hex(b"40")))?;
    let (client, table) = (client(&hbase)?, TableName::parse("load")?);
    let writer = tokio::spawn({
        let (client, table) = (client.clone(), table.clone());
        async move {
            for first in (0..ROWS).step_by(50) {
                let mut batch: Vec<Mutation> = (first..first + 50)
                    .map(|n| Mutation::put(format!("{:02}-{n:06}", n % 100)).set("f", "q", "v"))
                    .collect();
                batch.push(Mutation::increment("count").add("f", "n", 50));
                client.batch(&table, &batch).await.all().map_err(|(_, error)| error.clone())?;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Ok::<_, Error>(())
        }
    });
    let mut hbase = tokio::task::spawn_blocking(move || -> Result<HBase> {
        hbase.drive("join load 0")?;
        hbase.drive(&format!("split load {}", hex(b"70")))?;
        hbase.drive("move load")?;
        hbase.drive(&format!("split load {}", hex(b"50")))?;
        hbase.drive("move load")?;
        Ok(hbase)
    })
    .await??;
    writer.await??;
    let rows = hbase.cells("load")?.iter().filter(|cell| cell.qualifier == b"q").count();
    assert_eq!(rows, ROWS);
    let count = client.get(&table, Get::new("count")).await?.context("no count")?;
    assert_eq!(count.number("f", "n"), i64::try_from(ROWS).ok(), "each increment counted once");
    let scanned = client.scan(&table, Scan::all()).collect().await?;
    assert_eq!(scanned.len(), ROWS + 1);
    assert!(hbase.drive("regions load")?.len() >= 3);
    Ok(())
}

#[tokio::test]
async fn a_restart_of_everything_is_waited_for() -> Result<()> {
    const BATCHES: usize = 60;
    let Some((mut hbase, _dir, _turn)) = cluster() else { return Ok(()) };
    hbase.drive(&format!("create again f {}", hex(b"5")))?;
    let (client, table) = (client(&hbase)?, TableName::parse("again")?);
    let (under_way, seen) = tokio::sync::oneshot::channel();
    let writer = tokio::spawn({
        let (client, table) = (client.clone(), table.clone());
        async move {
            let mut under_way = Some(under_way);
            for batch in 0..BATCHES {
                let put = |n: usize| Mutation::put(format!("{n}-{batch:06}")).set("f", "q", "v");
                let puts: Vec<Mutation> = (0..10).map(put).collect();
                client.batch(&table, &puts).await.all().map_err(|(_, error)| error.clone())?;
                if batch == BATCHES / 3 {
                    under_way.take().map(|under_way| under_way.send(()));
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Ok::<_, Error>(())
        }
    });
    seen.await?;
    let mut hbase = tokio::task::spawn_blocking(move || -> Result<HBase> {
        hbase.restart()?;
        Ok(hbase)
    })
    .await??;
    writer.await??;
    assert_eq!(client.scan(&table, Scan::all()).collect().await?.len(), 10 * BATCHES);
    assert_eq!(hbase.cells("again")?.len(), 10 * BATCHES);
    Ok(())
}

async fn sink<S: Component + Sink>(hbase: &HBase, more: &str) -> Result<S> {
    let keys = format!("table = s\ncolumnFamily = f\nzookeeperQuorum = {}\n{more}", hbase.quorum());
    Ok(splashdam_testkit::contract::open_sink::<S>(&keys, context()).await)
}

fn context() -> Cx {
    splashdam_testkit::context(Role::Sink)
}

#[tokio::test]
async fn the_sinks_write_what_java_reads() -> Result<()> {
    use splashdam_components::sinks::{asynchbase::AsyncHbase, hbase::Hbase, hbase2::Hbase2};
    let Some((mut hbase, _dir, _turn)) = cluster() else { return Ok(()) };
    let batch: Batch =
        ["web1 503 timed out", "nothing", "web2 200 "].map(Event::new).to_vec().into();
    let mut check = async |more: &str, which: usize, want: &[&str]| -> Result<()> {
        hbase.drive("create s f")?;
        let delivered = match which {
            0 => sink::<Hbase>(&hbase, more).await?.deliver(&batch).await,
            1 => sink::<Hbase2>(&hbase, more).await?.deliver(&batch).await,
            _ => sink::<AsyncHbase>(&hbase, more).await?.deliver(&batch).await,
        };
        let all = |done: Delivered| done.events + done.rejected.len() == batch.len();
        ensure!(delivered.is_ok_and(all), "not delivered: {more}");
        let mut cells = hbase.cells("s")?;
        // The newest version comes first; each increment made one.
        cells.dedup_by(|later, first| later.row == first.row && later.qualifier == first.qualifier);
        let mut shown: Vec<String> = cells
            .iter()
            .map(|cell| format!("{}={}", cell.qualifier.escape_ascii(), cell.value.escape_ascii()))
            .collect();
        shown.sort();
        assert_eq!(shown, want, "{more}");
        hbase.drive("drop s")?;
        Ok(())
    };
    let simple: &[&str] = &[
        "iCol=\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x03",
        "pCol=nothing",
        "pCol=web1 503 timed out",
        "pCol=web2 200 ",
    ];
    for which in 0..3 {
        check("", which, simple).await?;
        check("enableWal = false\ncoalesceIncrements = false", which, simple).await?;
    }
    let regex = "serializer = regex\nserializer.regex = (\\\\S+) (\\\\d+) (.*)\n\
                 serializer.colNames = ROW_KEY,status,message\nserializer.rowKeyIndex = 0";
    check(regex, 1, &["message=", "message=timed out", "status=200", "status=503"]).await?;
    // A table whose counter holds a text: all is written, and goes to the dead letters.
    hbase.drive("create s f")?;
    let text =
        format!("put s {} {} {} {} 9", hex(b"incRow"), hex(b"f"), hex(b"iCol"), hex(b"text"));
    hbase.drive(&text)?;
    let refused = sink::<Hbase2>(&hbase, "").await?.deliver(&batch).await;
    ensure!(refused.is_err_and(|error| error.to_string().contains("DoNotRetryIOException")));
    let keys = format!("table = s\ncolumnFamily = f\nzookeeperQuorum = {}", hbase.quorum());
    let letters = Cx { dead_letters: true, ..context() };
    let mut sink_with_letters =
        splashdam_testkit::contract::open_sink::<Hbase2>(&keys, letters).await;
    let delivered = sink_with_letters.deliver(&batch).await.map_err(anyhow::Error::from)?;
    let whys: Vec<&str> = delivered.rejected.iter().map(|one| &*one.why).collect();
    ensure!(whys.len() == 3 && whys[0].contains("not counted in row `incRow`"), "{whys:?}");
    drop(sink_with_letters);
    hbase.drive("drop s")?;
    Ok(())
}
