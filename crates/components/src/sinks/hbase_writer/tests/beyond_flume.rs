use super::*;

#[test]
fn columns_are_as_described() {
    let check = |keys: &str, body: &str, want: Result<&str, &str>| {
        let headers = [("host", "web1"), ("timestamp", "1700000000123")];
        let keys = format!("serializer = columns\n{keys}");
        match (made(&keys, &[event(body, &headers)]), want) {
            (Ok(got), Ok(want)) => assert_eq!(got, [want], "{keys}"),
            (Err(got), Err(want)) => assert!(got.contains(want), "{keys}: {got}"),
            (got, _) => panic!("{keys}: {got:?}"),
        }
    };
    let line = "serializer.regex = (\\\\S+) (\\\\d+)( .*)?\n\
        serializer.rowKey = %[1]-%t-%[sequence]\n\
        serializer.columns.status = (int) %[2]\nserializer.columns.host = %{host}\n\
        serializer.columns.rest = %[3]";
    let row = "a-1700000000123-00000000000000000000";
    check(line, "a 258", Ok(&format!("{row}: host=web1 status=\\x00\\x00\\x01\\x02")));
    check(line, "a 1 x", Ok(&format!("{row}: host=web1 rest= x status=\\x00\\x00\\x00\\x01")));
    check(line, "nothing", Err("does not match"));
    check(line, "a 99999999999", Err("column `status`: `99999999999` is no value of type int"));
    let whole = "serializer.columns.line = %[body]\nserializer.rowKey = ";
    check(&format!("{whole}%Y%m%d\nserializer.timeZone = UTC"), "x", Ok("20231114: line=x"));
    check(&format!("{whole}%{{nobody}}"), "x", Err("no header `nobody`"));
    check(&format!("{whole}%[1]"), "x", Err("the pattern has no group 1, but 0"));
    check(&format!("{whole}%[.a]"), "x", Err("is for the serializer `json`"));
    check(&format!("{whole}%Q"), "x", Err("`%Q` is nothing"));
    check(&format!("{whole}a\nserializer.timeZone = Nowhere"), "x", Err("no time zone `Nowhere`"));
    check(
        &format!("{whole}a\nserializer.columns.n = (number) %[body]"),
        "x",
        Err("no type `number`"),
    );
    check("serializer.columns.line = x", "x", Err("rowKey"));
    check(&format!("{whole}%[uuid]\neffectivelyOnce = true"), "x", Err("differs from try to try"));
    check(
        &format!("{whole}%[place]\neffectivelyOnce = true"),
        "x",
        Ok("abababababababab-00000000000000000000: line=x"),
    );
}

#[test]
fn json_members_are_columns() {
    let check = |keys: &str, body: &str, want: Result<&str, &str>| {
        let keys = format!("serializer = json\nserializer.rowKey = %[.id]\n{keys}");
        match (made(&keys, &[event(body, &[("h", "v")])]), want) {
            (Ok(got), Ok(want)) => assert_eq!(got, [want], "{body}"),
            (Err(got), Err(want)) => assert!(got.contains(want), "{body}: {got}"),
            (got, _) => panic!("{body}: {got:?}"),
        }
    };
    let body = r#"{"id": 7, "user": {"name": "ä", "n": null}, "tags": [1, {"a": 2}], "ok": true}"#;
    check("", body, Ok(r#"7: id=7 user.name=\xc3\xa4 tags=[1,{\"a\":2}] ok=true"#));
    check(
        "serializer.types.id = short",
        body,
        Ok(r#"7: id=\x00\x07 user.name=\xc3\xa4 tags=[1,{\"a\":2}] ok=true"#),
    );
    check(
        "serializer.fields = user.name, ok\nserializer.depositHeaders = true",
        body,
        Ok(r"7: user.name=\xc3\xa4 ok=true h=v"),
    );
    check("serializer.types.user.name = int", body, Err("member `user.name`: `ä` is no value"));
    // What 64 bits do not hold, and how a number is written, stays as it is.
    let exact = r#"{"id": 18446744073709551617, "p": 12.10, "e": [1.50E+3 , "a \" ]b"]}"#;
    check(
        "",
        exact,
        Ok(r#"18446744073709551617: id=18446744073709551617 p=12.10 e=[1.50E+3,\"a \\\" ]b\"]"#),
    );
    let other = r#"{"id": 18446744073709551618}"#;
    check("", other, Ok("18446744073709551618: id=18446744073709551618"));
    check("serializer.types.id = long", other, Err("is no value of type long"));
    check("", r#"{"id": {"n": 1}}"#, Ok(r#"{\"n\":1}: id.n=1"#));
    check("", r#"{"id": 1, "a": 2, "id": 3}"#, Ok("3: id=3 a=2"));
    check("", r#"{"id": 1, "a": "\ud800"}"#, Err("member `a`: "));
    check("", r#"{"id": 1, "a": 01}"#, Err("no JSON object"));
    check("", r#"{"a": 1}"#, Err("nothing for `%[.id]`"));
    check("", r#"{"id": null}"#, Err("nothing for `%[.id]`"));
    check("", "[1]", Err("no JSON object"));
    check("", "{", Err("no JSON object"));
    check("", &format!("{}1{}", r#"{"a":"#.repeat(200), "}".repeat(200)), Err("no JSON object"));
    check("", &format!(r#"{{"id": 1, "{}": 1}}"#, "n".repeat(1025)), Err("names of more than"));
    let many: Vec<String> = (0..10_001).map(|n| format!(r#""{n}":1"#)).collect();
    check("", &format!(r#"{{"id": 1, {}}}"#, many.join(",")), Err("more than 10000 members"));
}

fn placed(bodies: &[&str], first: u64) -> Batch {
    let numbers = first..first + bodies.len() as u64;
    let place =
        Place { queue: [1; 16], low: first, began: 0, ranges: vec![numbers], lasting: true };
    batch(bodies).with_place(Some(place))
}

#[tokio::test]
async fn effectively_once_writes_the_same_cells_again() {
    async fn check(more: &str, rows: &[(&str, u64)]) {
        let cluster = FakeCluster::with_table().await;
        let keys = keys(&cluster, &format!("effectivelyOnce = true\n{more}"));
        for faults in [vec![Fault::LoseAnswer], vec![]] {
            // Another life of the agent.
            let mut sink = contract::open_sink::<Hbase2>(&keys, context(Role::Sink)).await;
            faults.into_iter().for_each(|fault| cluster.fail_next(fault));
            sink.deliver(&placed(&["a 1", "b 2"], 5)).await.unwrap();
        }
        let cells = cluster.rows();
        let got: Vec<(String, u64)> = cells
            .iter()
            .zip(cluster.times())
            .map(|((row, _, _), time)| (String::from_utf8_lossy(row).into_owned(), time))
            .collect();
        let want: Vec<(String, u64)> =
            rows.iter().map(|(row, time)| ((*row).to_owned(), *time)).collect();
        assert_eq!(got, want, "{more}");
    }
    let place = "0101010101010101-0000000000000000000";
    let (five, six) = (format!("{place}5"), format!("{place}6"));
    let (default_five, default_six) = (format!("default{five}"), format!("default{six}"));
    check("serializer.count = false", &[(&default_five, 5), (&default_six, 6)]).await;
    check("serializer = regex", &[(&five, 5), (&six, 6)]).await;
    check(
        "serializer = regex\nserializer.regex = (.) (.)\nserializer.colNames = ROW_KEY,n\n\
         serializer.rowKeyIndex = 0\ncellTime = number",
        &[("a", 5), ("b", 6)],
    )
    .await;
}

#[tokio::test]
async fn times_of_cells_are_chosen() {
    let check = async |more: &str, want: Result<u64, &str>| {
        let cluster = FakeCluster::with_table().await;
        let keys = keys(&cluster, &format!("serializer.count = false\n{more}"));
        let mut sink = contract::open_sink::<Hbase2>(&keys, context(Role::Sink)).await;
        let stamped = Batch::from(vec![event("b", &[("timestamp", "77")])]);
        let done = sink.deliver(&stamped).await;
        match (done, want) {
            (Ok(_), Ok(time)) => assert_eq!(cluster.times(), [time], "{more}"),
            (Err(failed), Err(why)) => assert!(failed.to_string().contains(why), "{failed}"),
            (done, _) => panic!("{more}: {done:?}"),
        }
    };
    check("", Ok(i64::MAX.unsigned_abs())).await;
    check("cellTime = server", Ok(i64::MAX.unsigned_abs())).await;
    check("cellTime = header", Ok(77)).await;
    // A batch from a channel that does not tell where its events lie.
    check("cellTime = number", Err("does not tell where its events lie")).await;
    check("effectivelyOnce = true", Err("does not tell where its events lie")).await;
}

#[tokio::test]
async fn a_table_that_forgets_takes_no_numbers_for_times() {
    let check = async |more: &str, opens: bool| {
        let cluster = FakeCluster::with_table().await;
        cluster.set_time_to_live(60);
        let keys =
            keys(&cluster, &format!("effectivelyOnce = true\nserializer.count = false\n{more}"));
        let config = Section::parse(&keys).read::<<Hbase2 as Component>::Config>();
        let opened = Hbase2::open(config.into_result().unwrap(), context(Role::Sink)).await;
        assert_eq!(opened.is_ok(), opens, "{more}");
    };
    check("", false).await;
    check("cellTime = header", true).await;
}

#[test]
fn what_cannot_be_repeated_is_refused() {
    let check = |keys: &str, want: &str| {
        let keys = format!("table = t\ncolumnFamily = f\neffectivelyOnce = true\n{keys}");
        let section = Section::parse(&keys);
        let config = section.read().into_result().unwrap();
        let findings = Hbase2::check(&config, &section);
        let found: Vec<&str> = findings.iter().map(|finding| &*finding.message).collect();
        match want {
            "" => assert_eq!(found, [""; 0], "{keys}"),
            want => assert!(found.iter().any(|found| found.contains(want)), "{found:?}"),
        }
        assert!(Hbase2::facts(&config).needs_place);
    };
    check("", "counts again");
    check("serializer.count = false", "");
    check("serializer.count = false\nserializer.suffix = place", "");
    check("serializer.count = false\nserializer.suffix = nano", "this suffix differs");
    check("serializer = regex\ncellTime = server", "the time of the try");
    check("serializer = regex", "");
    let keyed = "serializer = regex\nserializer.colNames = ROW_KEY\nserializer.rowKeyIndex = 0";
    check(keyed, "would hide the newer value");
    check(&format!("{keyed}\ncellTime = header"), "");
    let json = "serializer = json\nserializer.rowKey = ";
    check(&format!("{json}%[.id]"), "would hide the newer value");
    check(&format!("{json}%[place]"), "");
    check(&format!("{json}%[uuid]"), "differs from try to try");
}

#[tokio::test]
async fn what_is_made_of_places_needs_a_channel_that_tells_them() {
    let bodies = [r#"{"id": 1}"#, r#"{"id": 2}"#];
    let check = async |more: &str, want: bool| {
        let cluster = FakeCluster::with_table().await;
        let keys = keys(&cluster, more);
        let config = Section::parse(&keys).read().into_result().unwrap();
        assert_eq!(Hbase2::facts(&config).needs_place, want, "{more}");
        // Nobody's event is at fault, so that none goes to the dead letters.
        let cx = Context { dead_letters: true, ..context(Role::Sink) };
        let mut sink = contract::open_sink::<Hbase2>(&keys, cx).await;
        match sink.deliver(&batch(&bodies)).await {
            Ok(delivered) => assert!(!want && delivered.rejected.is_empty(), "{more}"),
            Err(failed) => {
                assert!(want && failed.to_string().contains("where its events lie"), "{failed}");
            }
        }
        sink.deliver(&placed(&bodies, 5)).await.unwrap();
        let nothing_is_missing = |(_, _, value): &(Bytes, Bytes, Bytes)| !value.is_empty();
        assert!(cluster.rows().iter().all(nothing_is_missing), "{more}");
    };
    let columns = "serializer = columns\nserializer.columns.b = %[body]\nserializer.rowKey = ";
    check("", false).await;
    check("serializer.suffix = uuid", false).await;
    check("serializer.suffix = place", true).await;
    check(&format!("{columns}%[uuid]"), false).await;
    check(&format!("{columns}%[place]"), true).await;
    check(&format!("{columns}%[body]-%[sequence]"), true).await;
    check(&format!("{columns}%[uuid]\nserializer.columns.n = (long) %[sequence]"), true).await;
    let json = "serializer = json\nserializer.rowKey = %[.id]";
    check(json, false).await;
    check(&format!("{json}-%[place]"), true).await;
    check("serializer = regex", false).await;
}

#[tokio::test]
async fn what_is_found_online_is_said() {
    let cluster = FakeCluster::with_table().await;
    let check = async |table: &str, want: Result<&str, &str>| {
        let quorum = cluster.quorum();
        let keys = format!("table = {table}\ncolumnFamily = f\nzookeeperQuorum = {quorum}");
        let config = Section::parse(&keys).read().into_result().unwrap();
        match (Hbase2::probe(config, context(Role::Sink)).await, want) {
            (Ok(found), Ok(want)) => assert!(found.as_ref().unwrap().contains(want), "{found:?}"),
            (Err(error), Err(want)) => assert!(error.to_string().contains(want), "{error}"),
            (probed, _) => panic!("{table}: {probed:?}"),
        }
    };
    check("t", Ok("has the table `t` with the families `f`, and its server answers")).await;
    check("none", Err("no table `none`")).await;
}
