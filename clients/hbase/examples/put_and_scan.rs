//! Puts a few rows, counts them in another, and reads them back.
//!
//! ```text
//! cargo run -p splashdam-hbase --example put_and_scan -- localhost:2181 my_table my_family
//! ```

use std::env;

use splashdam_hbase::{Client, Config, Get, Mutation, Scan, TableName};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [quorum, table, family] = &arguments[..] else {
        return Err("usage: put_and_scan <zookeeper quorum> <table> <family>".into());
    };
    let client = Client::new(Config::zookeeper(quorum, "/hbase")?)?;
    let table = TableName::parse(table)?;
    if !client.describe(&table).await?.has_family(family) {
        return Err(format!("table `{table}` has no family `{family}`").into());
    }

    // One batch: each mutation has a result of its own, and only what failed is sent again.
    let put = |n: u32| {
        Mutation::put(format!("row-{n}")).set(family.clone(), "greeting", format!("hello {n}"))
    };
    let mut mutations: Vec<Mutation> = (0..5).map(put).collect();
    mutations.push(Mutation::increment("count").add(family.clone(), "rows", 5));
    let done = client.batch(&table, &mutations).await;
    done.all().map_err(|(at, error)| format!("mutation {at}: {error}"))?;

    let count = client.get(&table, Get::new("count")).await?.unwrap_or_default();
    println!("counted {:?}", count.number(family, "rows"));
    let mut scanner = client.scan(&table, Scan::range("row-", "row."));
    loop {
        let rows = scanner.next().await?;
        if rows.is_empty() {
            return Ok(());
        }
        for row in rows {
            println!("{:?}: {:?}", row.key(), row.value(family, "greeting"));
        }
    }
}
