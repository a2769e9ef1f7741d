//! Puts many rows as fast as a table takes them, and says how fast that was.
//!
//! ```text
//! cargo run --release -p splashdam-hbase --example load -- localhost:2181 table family 200000 1000 200 2 2
//! ```
//!
//! The last two are how many batches are written side by side, and how many calls of one batch.

use std::env;
use std::time::Instant;

use bytes::Bytes;
use splashdam_hbase::{Client, Config, Mutation, TableName};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [quorum, table, family, rows, batch, value_bytes, writers, calls] = &arguments[..] else {
        return Err(
            "usage: load <quorum> <table> <family> <rows> <batch> <value bytes> <writers> <calls>"
                .into(),
        );
    };
    let config = Config::zookeeper(quorum, "/hbase")?;
    let client = Client::new(Config { calls_per_server: calls.parse()?, ..config })?;
    let table = TableName::parse(table)?;
    let (rows, batch): (usize, usize) = (rows.parse()?, batch.parse()?);
    let writers: usize = writers.parse()?;
    let value = Bytes::from(vec![0; value_bytes.parse()?]);
    let began = Instant::now();
    let tasks = (0..writers).map(|writer| {
        let (client, table, value) = (client.clone(), table.clone(), value.clone());
        let family = Bytes::from(family.clone());
        tokio::spawn(async move {
            for first in (writer * batch..rows).step_by(writers * batch) {
                let put = |row: usize| {
                    Mutation::put(format!("rust-{row:010}")).set(
                        family.clone(),
                        "pCol",
                        value.clone(),
                    )
                };
                let puts: Vec<Mutation> = (first..rows.min(first + batch)).map(put).collect();
                client.batch(&table, &puts).await.all().map_err(|(_, error)| error.clone())?;
            }
            Ok::<_, splashdam_hbase::Error>(())
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await??;
    }
    let took = began.elapsed();
    println!("{rows} rows in {took:?}, {:.0} rows/s", rows as f64 / took.as_secs_f64());
    Ok(())
}
