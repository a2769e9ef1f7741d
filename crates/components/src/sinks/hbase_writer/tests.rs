use std::sync::Arc;

use splashdam_config::Section;
use splashdam_core::{Component, Context, Event, OpenError, Place, Role, Sink, Then};
use splashdam_hbase::fake::{FakeCluster, FakeRegion, Fault};
use splashdam_testkit::fakes::{FakeWorld, context_in};
use splashdam_testkit::{context, contract};

use super::serializer::{self, Actions, Manner};
use super::*;
use crate::sinks::asynchbase::AsyncHbase;
use crate::sinks::hbase::Hbase;
use crate::sinks::hbase2::Hbase2;

/// What a serializer makes of events, as text: rows with their columns, then increments.
fn made(keys: &str, events: &[Event]) -> Result<Vec<String>, String> {
    let world = Arc::new(FakeWorld::default());
    world.set_millis(1_700_000_000_123);
    let cx = context_in(Role::Sink, world);
    let section = Section::parse(keys).section("serializer");
    let manner = Manner { repeatable: keys.contains("effectivelyOnce = true") };
    let opened = serializer::open(&section, manner, &cx);
    let mut serializer = opened.map_err(|error| error.to_string())?;
    let mut actions = Actions::default();
    let numbers = 0..events.len() as u64;
    let place = Place { queue: [0xab; 16], low: 0, began: 0, ranges: vec![numbers], lasting: true };
    for (event, place) in events.iter().zip(EventPlace::of(Some(&place))) {
        match serializer.write(event, Some(place), &mut actions) {
            Ok(()) | Err(Refusal::Drops(_)) => {}
            Err(Refusal::Holds(why)) => return Err(why),
        }
    }
    let text = |bytes: &Bytes| bytes.escape_ascii().to_string();
    let puts = actions.puts.iter().map(|(row, columns)| {
        let set = |(name, value): &(Bytes, Bytes)| format!("{}={}", text(name), text(value));
        format!("{}: {}", text(row), columns.iter().map(set).collect::<Vec<_>>().join(" "))
    });
    let increments = actions.increments.iter().map(|(row, columns)| {
        let add = |(name, by): &(Bytes, i64)| format!("{}+{by}", text(name));
        format!("{}: {}", text(row), columns.iter().map(add).collect::<Vec<_>>().join(" "))
    });
    Ok(puts.chain(increments).collect())
}

fn event(body: &str, headers: &[(&'static str, &'static str)]) -> Event {
    Event { headers: headers.iter().copied().collect(), body: body.to_owned().into() }
}

#[test]
fn simple_rows_are_those_of_flume() {
    let check = |keys: &str, row: &str, rest: &str, count: &str| {
        let got = made(keys, &[event("b\u{e4}", &[("h", "v")])]).unwrap();
        let (key, columns) = got[0].split_once(": ").unwrap();
        let shape = java_shape(key);
        assert_eq!((&*shape, columns, &*got[1]), (row, rest, count), "{keys}");
        assert_eq!(got.len(), 2);
    };
    let (cell, count) = ("pCol=b\\xc3\\xa4", "incRow: iCol+1");
    check("", "default<uuid>", cell, count);
    check("serializer.suffix = TIMESTAMP", "default<uuid>", cell, count);
    check("serializer.suffix = timestamp", "default1700000000123", cell, count);
    check("serializer.suffix = random", "default<number>", cell, count);
    check("serializer.suffix = nano\nserializer.rowPrefix = p-", "p-<number>", cell, count);
    check(
        "serializer = org.apache.flume.sink.hbase2.SimpleHBase2EventSerializer\n\
         serializer.payloadColumn = x\nserializer.incrementColumn = y\nserializer.incrementRow = z\n\
         serializer.suffix = timestamp",
        "default1700000000123",
        "x=b\\xc3\\xa4",
        "z: y+1",
    );
}

/// A row key with what chance and clocks made of it replaced by its kind.
fn java_shape(key: &str) -> String {
    let uuid = key.strip_prefix("default").filter(|rest| uuid::Uuid::try_parse(rest).is_ok());
    let is_number = |text: &str| text.parse::<i128>().is_ok() && text != "1700000000123";
    let number = ["default", "p-"]
        .into_iter()
        .find(|prefix| key.strip_prefix(prefix).is_some_and(is_number));
    match (uuid, number) {
        (Some(_), _) => "default<uuid>".into(),
        (_, Some(prefix)) => format!("{prefix}<number>"),
        _ => key.into(),
    }
}

#[test]
fn regex_rows_are_those_of_flume() {
    let check = |keys: &str, bodies: &[&str], want: Result<&[&str], &str>| {
        let keys = format!("serializer = regex\n{keys}");
        let events: Vec<Event> =
            bodies.iter().map(|body| event(body, &[("h", "v\u{e4}"), ("k", "")])).collect();
        match (made(&keys, &events), want) {
            (Ok(got), Ok(want)) => {
                let got: Vec<String> = got.iter().map(|row| without_letters(row)).collect();
                assert_eq!(got, want, "{keys}");
            }
            (Err(got), Err(want)) => assert!(got.contains(want), "{got}"),
            (got, _) => panic!("{keys}: {got:?}"),
        }
    };
    let made = "1700000000123-<10>-";
    check(
        "",
        &["a", "b\nc"],
        Ok(&[&format!("{made}0: payload=a"), &format!("{made}1: payload=b\\nc")]),
    );
    let two = "serializer.regex = (\\\\w+) (\\\\d+)\nserializer.colNames = name,number";
    // What does not match is left out, and takes no number.
    check(
        two,
        &["a 1", "no", "b 2"],
        Ok(&[&format!("{made}0: name=a number=1"), &format!("{made}1: name=b number=2")]),
    );
    check(&format!("{two},more"), &["a 1"], Ok(&[]));
    check(&format!("{two},,"), &["a 1"], Ok(&[&format!("{made}0: name=a number=1")]));
    check(
        "serializer.colNames = a , b\nserializer.regex = (.)(.)",
        &["xy"],
        Ok(&[&format!("{made}0: a =x  b=y")]),
    );
    let key =
        "serializer.regex = (.)(.)\nserializer.colNames = a,row_key\nserializer.rowKeyIndex = ";
    check(&format!("{key}1"), &["xy"], Ok(&["y: a=x"]));
    check(&format!("{key}0"), &["xy"], Err("ROW_KEY").map_err(|_| "rowKeyIndex"));
    check(&format!("{key}2"), &["xy"], Err("there are 2"));
    check(
        "serializer.depositHeaders = true\nserializer.charset = ISO-8859-1",
        &["\u{e4}"],
        // The two bytes of the body are two letters there, and written in UTF-8.
        Ok(&[&format!("{made}0: payload=\\xc3\\x83\\xc2\\xa4 h=v\\xe4 k=")]),
    );
    check(
        "serializer.regex = a(B)?c|(x)\nserializer.colNames = p,q",
        &["abc", "aBc"],
        Err("took no part"),
    );
    let either = "serializer.regex = (A|b)\nserializer.regexIgnoreCase = ";
    check(&format!("{either}true"), &["a"], Ok(&[&format!("{made}0: payload=a")]));
    check(&format!("{either}false"), &["a"], Ok(&[]));
}

#[test]
fn bytes_that_are_no_text_are_written() {
    let check = |keys: &str, want: &str| {
        let event = Event { headers: [("h", "\u{0}")].into_iter().collect(), ..event("", &[]) };
        let got = made(keys, &[Event { body: (&b"a\xff\xc3 1"[..]).into(), ..event }]).unwrap();
        assert!(got[0].ends_with(want), "{keys}: {}", got[0]);
    };
    check("", "pCol=a\\xff\\xc3 1");
    let replaced = "a\\xef\\xbf\\xbd\\xef\\xbf\\xbd";
    check("serializer = regex", &format!("payload={replaced} 1"));
    check("serializer = regex\nserializer.depositHeaders = true", "h=\\x00");
    check(
        "serializer = regex\nserializer.regex = (\\\\S+) (\\\\d)\nserializer.colNames = ROW_KEY,n\n\
         serializer.rowKeyIndex = 0",
        "n=1",
    );
    let columns = "serializer = columns\nserializer.rowKey = k\nserializer.columns.b = %[body]";
    check(columns, "b=a\\xff\\xc3 1");
}

fn without_letters(row: &str) -> String {
    let mut parts: Vec<String> = row.splitn(3, '-').map(str::to_owned).collect();
    let letters =
        |part: &String| part.len() == 10 && part.chars().all(|c| c.is_ascii_alphanumeric());
    if parts.get(1).is_some_and(letters) {
        parts[1] = "<10>".into();
    }
    parts.join("-")
}

#[test]
fn increments_are_added_up_by_row_and_column() {
    let row = |row: &str, columns: &[(&str, i64)], by: &[usize]| {
        let column = |(name, by): &(&str, i64)| (Bytes::from((*name).to_owned()), *by);
        let columns = columns.iter().map(column).collect();
        Increment { row: row.to_owned().into(), columns, by: by.to_vec() }
    };
    let given = vec![
        row("r", &[("a", 1)], &[0]),
        row("s", &[("a", 1)], &[0]),
        row("r", &[("a", 2), ("b", 5)], &[1]),
        row("r", &[("b", i64::MAX), ("a", -1)], &[3]),
    ];
    let sum = 5i64.wrapping_add(i64::MAX);
    let sums = [row("r", &[("a", 2), ("b", sum)], &[0, 1, 3]), row("s", &[("a", 1)], &[0])];
    assert_eq!(coalesced(given), sums);
    assert_eq!(coalesced(Vec::new()), []);
}

fn keys(cluster: &FakeCluster, more: &str) -> String {
    format!("table = t\ncolumnFamily = f\nzookeeperQuorum = {}\n{more}", cluster.quorum())
}

fn batch(bodies: &[&str]) -> Batch {
    bodies.iter().map(|body| event(body, &[])).collect::<Vec<_>>().into()
}

fn count(cluster: &FakeCluster) -> Option<i64> {
    let rows = cluster.rows();
    let (_, _, value) = rows.iter().find(|(row, _, _)| row == "incRow")?;
    Some(i64::from_be_bytes(value[..].try_into().unwrap()))
}

#[tokio::test]
async fn events_are_rows_and_a_count() {
    async fn check<S: Component + Sink>(more: &str) {
        let cluster = FakeCluster::with_table().await;
        let mut sink = contract::open_sink::<S>(&keys(&cluster, more), context(Role::Sink)).await;
        let delivered = sink.deliver(&batch(&["a", "b", "c"])).await.unwrap();
        assert_eq!(delivered.events, 3);
        assert_eq!((count(&cluster), cluster.rows().len()), (Some(3), 4), "{more}");
    }
    for more in ["", "coalesceIncrements = false", "enableWal = false"] {
        check::<Hbase>(more).await;
        check::<Hbase2>(more).await;
        check::<AsyncHbase>(more).await;
    }
}

#[tokio::test]
async fn a_failure_keeps_the_batch_and_says_what_was_refused() {
    let cluster = FakeCluster::with_table().await;
    let mut sink = contract::open_sink::<Hbase2>(&keys(&cluster, ""), context(Role::Sink)).await;
    cluster.fail_next(Fault::Action(1, "NoSuchColumnFamilyException"));
    let failed = sink.deliver(&batch(&["a", "b", "c"])).await.unwrap_err();
    assert_eq!(failed.then, Then::FailOver);
    let text = failed.to_string();
    assert!(text.contains("1 of 3") && text.contains("NoSuchColumnFamily"), "{text}");
    // Increments wait for the puts.
    assert_eq!((count(&cluster), cluster.rows().len()), (None, 2));
    sink.deliver(&batch(&["a", "b", "c"])).await.unwrap();
    assert_eq!((count(&cluster), cluster.rows().len()), (Some(3), 6));
}

#[tokio::test]
async fn a_table_that_goes_away_is_waited_for() {
    async fn check(away: impl Fn(&FakeCluster), back: impl Fn(&FakeCluster), why: &str) {
        let cluster = FakeCluster::with_table().await;
        // Dead letters are for events that are at fault, which these are not.
        let cx = Context { dead_letters: true, ..context(Role::Sink) };
        let mut sink = contract::open_sink::<Hbase2>(&keys(&cluster, ""), cx).await;
        sink.deliver(&batch(&["a"])).await.unwrap();
        away(&cluster);
        let failed = sink.deliver(&batch(&["b", "c"])).await.unwrap_err();
        assert!(failed.to_string().contains(why), "{failed}");
        back(&cluster);
        sink.deliver(&batch(&["b", "c"])).await.unwrap();
        assert_eq!((count(&cluster), cluster.rows().len()), (Some(3), 4), "{why}");
    }
    let disable = |cluster: &FakeCluster| cluster.set_enabled(false);
    let enable = |cluster: &FakeCluster| cluster.set_enabled(true);
    check(disable, enable, "table `t` is disabled; enable it").await;
    let drop = |cluster: &FakeCluster| cluster.set_regions(&[]);
    let create = |cluster: &FakeCluster| {
        cluster.set_regions(&[FakeRegion { start: "", end: "", id: 2, server: 0 }]);
    };
    check(drop, create, "there is no table `t`; create it").await;
}

#[tokio::test]
async fn asynchbase_gives_a_batch_its_time() {
    let cluster = FakeCluster::with_table().await;
    let keys = keys(&cluster, "timeout = 100");
    let mut sink = contract::open_sink::<AsyncHbase>(&keys, context(Role::Sink)).await;
    cluster.fail_next(Fault::Silence);
    let failed = sink.deliver(&batch(&["a"])).await.unwrap_err();
    assert!(failed.to_string().contains("within 100ms"), "{failed}");
    sink.deliver(&batch(&["a"])).await.unwrap();
}

#[tokio::test]
async fn a_server_that_stops_answering_does_not_hold_a_sink_of_little_patience() {
    let cluster = FakeCluster::with_table().await;
    // The client itself would wait for a minute.
    let keys = keys(&cluster, "timeout = 500");
    let mut sink = contract::open_sink::<AsyncHbase>(&keys, context(Role::Sink)).await;
    sink.deliver(&batch(&["a"])).await.unwrap();
    cluster.mute(1);
    cluster.set_regions(&[FakeRegion { start: "", end: "", id: 1, server: 0 }]);
    let failed = sink.deliver(&batch(&["b"])).await.unwrap_err();
    assert!(failed.to_string().contains("within 500ms"), "{failed}");
    sink.deliver(&batch(&["b"])).await.unwrap();
    assert_eq!((count(&cluster), cluster.rows().len()), (Some(2), 3));
}

#[tokio::test]
async fn what_is_not_there_is_said_when_the_sink_opens() {
    async fn check<S: Component>(keys: &str, unavailable: bool, want: &str) {
        check_in::<S>(keys, context(Role::Sink), unavailable, want).await;
    }
    async fn check_in<S: Component>(keys: &str, cx: Context, unavailable: bool, want: &str) {
        let config = Section::parse(keys).read::<S::Config>().into_result();
        let error = match config {
            Ok(config) => S::open(config, cx).await.err().expect("not to open"),
            Err(findings) => OpenError::Config(findings),
        };
        assert_eq!(matches!(error, OpenError::Unavailable(_)), unavailable, "{error}");
        assert!(error.to_string().contains(want), "{error}");
    }
    let cluster = FakeCluster::with_table().await;
    let place = format!("zookeeperQuorum = {}", cluster.quorum());
    let (none, other) = ("no table `none`", "no column family `g`, only `f`");
    check::<Hbase2>(&format!("table = none\ncolumnFamily = f\n{place}"), true, none).await;
    check::<Hbase2>(&format!("table = t\ncolumnFamily = g\n{place}"), true, other).await;
    check::<AsyncHbase>(
        &format!(
            "table = t\ncolumnFamily = g\nasync.hbase.{}",
            place.replace("zookeeperQ", "zookeeper.q")
        ),
        true,
        other,
    )
    .await;
    check::<Hbase2>("table = a b\ncolumnFamily = f", false, "no name of a table").await;
    check::<Hbase2>("table = t\ncolumnFamily = f\nzookeeperQuorum = :1", false, ":1").await;
    check::<Hbase>(&keys(&cluster, "kerberosPrincipal = a/b@C"), false, "Kerberos").await;
    check::<Hbase>(&keys(&cluster, "serializer = my.own.Serializer"), false, "my.own.Serializer")
        .await;
    check::<Hbase>(&keys(&cluster, "hbaseSite = /nowhere/x.xml"), true, "/nowhere/x.xml").await;
    // The site file says where the cluster is, and the keys go before it.
    let folder = tempfile::tempdir().unwrap();
    let site = |quorum: &str, more: &str| {
        let xml = format!(
            "<configuration><property><name>hbase.zookeeper.quorum</name><value>{quorum}</value></property>{more}</configuration>"
        );
        std::fs::write(folder.path().join("hbase-site.xml"), xml).unwrap();
        let folder = folder.path().to_str().unwrap();
        context_in(
            Role::Sink,
            Arc::new(FakeWorld::default().with_variable("HBASE_CONF_DIR", folder)),
        )
    };
    let table = "table = t\ncolumnFamily = g";
    check_in::<Hbase2>(table, site(&cluster.quorum(), ""), true, other).await;
    let kerberos =
        "<property><name>hbase.security.authentication</name><value>kerberos</value></property>";
    check_in::<Hbase2>(table, site("h", kerberos), false, "Kerberos").await;
    check_in::<Hbase2>(&format!("{table}\n{place}"), site("nobody:1", ""), true, other).await;
}

#[test]
fn a_check_says_what_opening_would_and_more() {
    let check = |keys: &str, want: &[&str]| {
        let section = Section::parse(&format!("table = t\ncolumnFamily = f\n{keys}"));
        let config = section.read::<crate::sinks::hbase::Config>().into_result().unwrap();
        let findings = Hbase::check(&config, &section);
        let found: Vec<&str> = findings.iter().map(|finding| &*finding.message).collect();
        assert_eq!(found.len(), want.len(), "{found:?}");
        for (found, want) in found.iter().zip(want) {
            assert!(found.contains(want), "{found}");
        }
    };
    check("", &[]);
    check("kerberosKeytab = /k", &["Kerberos"]);
    check("serializer = x", &["no HBase serializer `x`"]);
    check("serializer.suffx = uuid", &["suffx"]);
    check("serializer = regex\nserializer.regex = (a)(b)", &["2 groups and `colNames` 1"]);
    check("serializer = regex\nserializer.rowKeyIndex = 0\nserializer.colNames = ROW_KEY", &[]);
    check("serializer = regex\nserializer.rowKeyIndex = 0", &["is called `payload`"]);
}

mod beyond_flume;
mod dead_letters;
