use super::*;

fn with_dead_letters() -> Context {
    Context { dead_letters: true, ..context(Role::Sink) }
}

/// The places of what was rejected, and the first reason.
fn rejected(delivered: &Delivered) -> (Vec<usize>, String) {
    let places = delivered.rejected.iter().map(|rejected| rejected.at).collect();
    (places, delivered.rejected.first().map(|first| first.why.clone()).unwrap_or_default())
}

#[tokio::test]
async fn a_bad_event_holds_the_batch_or_goes_with_its_reason() {
    async fn check(more: &str, bodies: &[&str], bad: &[usize], why: &str) {
        let cluster = FakeCluster::with_table().await;
        let keys = keys(&cluster, &format!("serializer = regex\n{more}"));
        let mut sink = contract::open_sink::<Hbase2>(&keys, context(Role::Sink)).await;
        let failed = sink.deliver(&batch(bodies)).await.unwrap_err();
        assert!(failed.to_string().contains(why), "{failed}");
        assert_eq!((failed.then, cluster.rows().len()), (Then::FailOver, 0), "{more}");
        let mut sink = contract::open_sink::<Hbase2>(&keys, with_dead_letters()).await;
        let delivered = sink.deliver(&batch(bodies)).await.unwrap();
        let (places, reason) = rejected(&delivered);
        assert_eq!(places, bad, "{more}");
        assert!(reason.contains(why), "{reason}");
        let good = bodies.len() - bad.len();
        assert_eq!((delivered.events, cluster.rows().len()), (good, good), "{more}");
    }
    let keyed = "serializer.regex = (\\\\S*) (.*)\nserializer.rowKeyIndex = 0\n\
        serializer.colNames = ROW_KEY,x";
    check(keyed, &["a 1", " 2", "b 3"], &[1], "a row key of 0 bytes").await;
    let long = format!("{} 1", "k".repeat(32_768));
    check(keyed, &[&long, "b 3", &long], &[0, 2], "a row key of 32768 bytes").await;
    let large = format!("a {}", "v".repeat(10 * 1024 * 1024));
    check(keyed, &["b 1", &large], &[1], "more than the limit").await;
    let optional = "serializer.regex = a(B)?c|(x)\nserializer.colNames = p,q";
    check(optional, &["aBc"], &[0], "took no part").await;
}

#[tokio::test]
async fn what_does_not_match_is_dropped_and_said() {
    for cx in [context(Role::Sink), with_dead_letters()] {
        let cluster = FakeCluster::with_table().await;
        let keys = keys(&cluster, "serializer = regex\nserializer.regex = (\\\\d+)");
        let mut sink = contract::open_sink::<Hbase>(&keys, cx).await;
        let delivered = sink.deliver(&batch(&["1", "x", "2"])).await.unwrap();
        let (places, why) = rejected(&delivered);
        assert_eq!((delivered.events, cluster.rows().len()), (2, 2));
        assert_eq!((places, &*why), (vec![1], "a body that the pattern does not match"));
    }
}

#[tokio::test]
async fn what_the_server_refuses_for_its_own_sake_goes_and_nothing_else() {
    let check = async |class: &'static str, goes: bool| {
        let cluster = FakeCluster::with_table().await;
        let mut sink =
            contract::open_sink::<Hbase2>(&keys(&cluster, ""), with_dead_letters()).await;
        cluster.fail_next(Fault::Action(1, class));
        let done = sink.deliver(&batch(&["a", "b", "c"])).await;
        if !goes {
            let failed = done.unwrap_err();
            assert!(failed.to_string().contains(class), "{failed}");
            assert_eq!(count(&cluster), None, "{class}");
            return;
        }
        let delivered = done.unwrap();
        let (places, why) = rejected(&delivered);
        assert_eq!((delivered.events, places), (2, vec![1]), "{class}");
        assert!(why.contains(class), "{why}");
        // What was refused is not counted.
        assert_eq!((count(&cluster), cluster.rows().len()), (Some(2), 3), "{class}");
    };
    check("ConstraintException", true).await;
    check("DoNotRetryIOException: Cell[x] with size 9 exceeds limit of 8 bytes", true).await;
    check("FailedSanityCheckException", true).await;
    check("NoSuchColumnFamilyException", false).await;
    check("AccessDeniedException", false).await;
    check("DoNotRetryIOException: something else", false).await;
}

#[tokio::test]
async fn one_that_a_server_refuses_takes_no_others_with_it() {
    let cluster = FakeCluster::with_table().await;
    cluster
        .refuse_row("bad", "DoNotRetryIOException: Cell[x] with size 9 exceeds limit of 8 bytes");
    let keyed = "serializer = regex\nserializer.regex = (\\\\S*) (.*)\n\
        serializer.rowKeyIndex = 0\nserializer.colNames = ROW_KEY,x";
    let mut sink = contract::open_sink::<Hbase2>(&keys(&cluster, keyed), with_dead_letters()).await;
    let delivered = sink.deliver(&batch(&["a 1", "b 2", "bad 3", "c 4"])).await.unwrap();
    let (places, why) = rejected(&delivered);
    assert_eq!((delivered.events, places, cluster.rows().len()), (3, vec![2], 3));
    assert!(why.contains("DoNotRetryIOException"), "{why}");
}

#[tokio::test]
async fn an_increment_of_a_cell_that_is_no_count_holds_the_batch_or_goes() {
    for more in ["", "coalesceIncrements = false"] {
        let cluster = FakeCluster::with_table().await;
        let client = Client::new(cluster.config()).unwrap();
        let table = TableName::parse("t").unwrap();
        let text = Mutation::put("incRow").set("f", "iCol", "text");
        client.mutate(&table, text).await.unwrap();
        let keys = keys(&cluster, more);
        let mut sink = contract::open_sink::<Hbase2>(&keys, context(Role::Sink)).await;
        let failed = sink.deliver(&batch(&["a", "b"])).await.unwrap_err();
        assert_eq!(failed.then, Then::FailOver);
        assert!(failed.to_string().contains("DoNotRetryIOException"), "{failed}");
        let mut sink = contract::open_sink::<Hbase2>(&keys, with_dead_letters()).await;
        let delivered = sink.deliver(&batch(&["a", "b"])).await.unwrap();
        let (places, why) = rejected(&delivered);
        assert_eq!((delivered.events, places), (0, vec![0, 1]), "{more}");
        assert!(why.starts_with("it is written, but not counted in row `incRow`: "), "{why}");
        // Each sink of a test makes the same row keys, so both events are there once.
        assert_eq!(cluster.rows().len(), 1 + 2, "{more}");
        // Another counter is none of its business.
        let other = format!("{keys}\nserializer.incrementColumn = other");
        let mut sink = contract::open_sink::<Hbase2>(&other, with_dead_letters()).await;
        assert_eq!(sink.deliver(&batch(&["a", "b"])).await.unwrap().events, 2);
    }
}

#[tokio::test]
async fn a_table_that_is_read_only_buries_nothing() {
    let cluster = FakeCluster::with_table().await;
    cluster.refuse_row("k", "DoNotRetryIOException: region is read only");
    let keyed = "serializer = regex\nserializer.regex = (\\\\S*) (.*)\n\
        serializer.rowKeyIndex = 0\nserializer.colNames = ROW_KEY,x";
    let mut sink = contract::open_sink::<Hbase2>(&keys(&cluster, keyed), with_dead_letters()).await;
    for bodies in [&["k 1"][..], &["k 1", "k 2", "k 3"]] {
        let failed = sink.deliver(&batch(bodies)).await.unwrap_err();
        assert_eq!((failed.then, cluster.rows().len()), (Then::FailOver, 0));
        assert!(failed.to_string().contains("region is read only"), "{failed}");
    }
}
