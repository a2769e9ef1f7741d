//! A native client of Apache HBase: small, pipelined and correct, without a JVM.
//!
//! Its tests run against HBase 2.6 and, if asked to, 2.4; 1.7 was tried by hand.
//!
//! It speaks the protocol of HBase 1.x and 2.x (protobuf over TCP, cells in cell blocks), finds the
//! cluster through ZooKeeper or through its masters, keeps one connection to each region server with
//! any number of calls under way on it, and follows HBase's own rules for what to try again, where
//! and when. It writes (puts, deletes, increments, alone and in batches), reads (gets, scans) and
//! describes tables. It does not create or change tables, and has no filters, coprocessors or
//! conditional mutations.
//!
//! # Example
//!
//! ```no_run
//! use splashdam_hbase::{Client, Config, Get, Mutation, TableName};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::new(Config::zookeeper("zk1:2181,zk2:2181", "/hbase")?)?;
//! let table = TableName::parse("events")?;
//!
//! let mutations = [
//!     Mutation::put("host-1/0001").set("d", "message", "hello"),
//!     Mutation::put("host-2/0001").set("d", "message", "world").set("d", "level", "info"),
//!     Mutation::increment("totals").add("d", "events", 2),
//! ];
//! let batch = client.batch(&table, &mutations).await;
//! for (mutation, result) in mutations.iter().zip(&batch.results) {
//!     if let Err(error) = result {
//!         eprintln!("{:?} was not written: {error}", mutation.row());
//!     }
//! }
//!
//! let row = client.get(&table, Get::new("totals")).await?;
//! println!("{:?}", row.and_then(|row| row.number("d", "events")));
//! # Ok(())
//! # }
//! ```
//!
//! Reading goes region by region, whatever happens to regions meanwhile:
//!
//! ```no_run
//! use splashdam_hbase::{Client, Scan, TableName};
//!
//! # async fn example(client: Client) -> Result<(), splashdam_hbase::Error> {
//! let table = TableName::parse("metrics:events")?;
//! let mut scanner = client.scan(&table, Scan::range("host-1/", "host-2/").column("d", "level"));
//! loop {
//!     let rows = scanner.next().await?;
//!     if rows.is_empty() {
//!         break;
//!     }
//!     for row in rows {
//!         println!("{:?}: {:?}", row.key(), row.value("d", "level"));
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! `cargo run -p splashdam-hbase --example put_and_scan` is a whole program, `--example load` measures
//! how fast a table takes rows. A cluster's own `hbase-site.xml` is read with [`Config::from_site`].
//!
//! # What is where
//!
//! | to | use |
//! |---|---|
//! | find a cluster | [`Config::zookeeper`], [`Config::from_site`], or [`Registry::Masters`] |
//! | write one row | [`Client::mutate`] with [`Mutation::put`], [`Mutation::increment`] or [`Mutation::delete`] |
//! | write many | [`Client::batch`], several of them side by side for more speed |
//! | read | [`Client::get`], [`Client::scan`] |
//! | see what a table is made of | [`Client::describe`] |
//! | refuse early what no server takes | [`Client::check`] |
//!
//! A [`Client`] is cheap to clone and is meant to be shared: all clones use the same connections, one
//! to each server, and know the same regions. Nothing is sent before the first operation, and no
//! session with ZooKeeper is kept: it is asked when a server has to be found.
//!
//! # Guarantees
//!
//! - A mutation whose result is `Ok` was acknowledged by its region server, with the durability it
//!   asked for; each mutation is applied to its row whole or not at all.
//! - A batch is not a transaction: some of it may be carried out and some not, and each mutation
//!   has a result of its own. Only what failed is sent again, until the tries
//!   ([`Config::retries`]) or the time ([`Config::operation_timeout`]) are used up.
//! - An error other than [`Error::Config`] and [`Error::Invalid`] leaves open whether the mutation
//!   was carried out, unless the server refused it ([`Error::Refused`]). A put at a time of the
//!   caller's ([`Mutation::set_at`]) may be repeated without a trace; one at the server's time makes
//!   another version.
//! - A mutation that is refused ([`Error::Refused`]) is itself at fault. Servers refuse all puts of a
//!   region that came in one call for one of them; the client sends those again in halves until it
//!   knows which.
//! - An increment that the client itself sends again, after a lost answer, is counted once, as long
//!   as the server remembers its nonce (`hbase.server.hashNonce.gracePeriod`, half an hour by
//!   default). Nonces are a server's own, and reach another one only through the log that is read
//!   after a crash, of what was not flushed: it is counted again if the answer is lost and the region
//!   is then moved in good order, by the balancer say, or flushed before a crash. One that the caller
//!   repeats is counted again in any case.
//! - Mutations of one row in one batch are applied in the order given, unless one of them had to be
//!   sent again. Batches side by side have no order.
//! - A scan gives whole rows in the order of their keys and goes on behind the last one when a
//!   region moves, splits or merges, or a server goes. Each row is as it was at some moment of the
//!   scan.
//! - Memory is bounded: calls under way to a server hold [`Config::in_flight_bytes`] at most, an
//!   answer is [`Config::answer_limit_bytes`] long at most, and bytes that make no sense close
//!   their connection. Nothing from outside makes the client panic.
//!
//! # Errors
//!
//! [`Error::is_permanent`] tells what needs somebody's hand (a table that is not there, a cell over
//! the limit, a permission) from what may pass. Failures that may pass were tried again before they
//! come out as [`Error::GaveUp`], which carries the last of them.
//!
//! ```no_run
//! use splashdam_hbase::{Client, Error, Mutation, TableName};
//!
//! # async fn example(client: Client, table: TableName, put: Mutation) {
//! match client.mutate(&table, put).await {
//!     Ok(_) => {}
//!     Err(Error::TableNotFound { table }) => println!("somebody has to create {table}"),
//!     Err(Error::Refused { exception, .. }) => println!("not this one: {}", exception.message),
//!     Err(error) if error.is_permanent() => println!("will not work like this: {error}"),
//!     // The cluster was away for longer than the client waits; the put may have been carried out.
//!     Err(error) => println!("later: {error}"),
//! }
//! # }
//! ```
//!
//! | a server says | the client |
//! |---|---|
//! | the region is not here, has moved, its log is closed | looks the region up again and sends at once, then with pauses |
//! | the region opens or is busy, the queue is full, a quota is used up | sends the same after a pause |
//! | it stops, aborts or is not up; the connection breaks; no answer in time | leaves the server, looks its regions up again |
//! | the scanner is gone | opens another behind the last row |
//! | do not retry, no such family, access denied, … | gives the error at once |
//! | anything else | sends the same after a pause |
//!
//! Pauses are HBase's (100 ms times 1, 2, 3, 5, 10, 20, 40, 100, …) with up to a quarter more at
//! random.
//!
//! # Security
//!
//! Only simple authentication: servers take the name in [`Config::user`] on trust. A configuration
//! that asks for Kerberos or TLS is refused by [`Client::new`] with the reason.

mod batch;
mod cell_block;
mod client;
mod cluster;
mod config;
mod connection;
mod error;
mod frame;
#[doc(hidden)]
pub mod fuzzing;
mod model;
mod proto;
mod random;
mod region;
mod registry;
mod remedy;
mod retry;
mod scan;
mod servers;

#[cfg(any(test, feature = "fake"))]
#[doc(hidden)]
pub mod fake;

pub use batch::BatchResult;
pub use client::Client;
pub use config::{Authentication, Config, Registry};
pub use error::{Error, ServerException};
pub use model::{
    Address, Cell, CellKind, Durability, FAMILY_LIMIT_BYTES, FamilyDescription, Get, Mutation,
    MutationKind, ROW_LIMIT_BYTES, Row, Scan, TableDescription, TableName,
};
pub use scan::Scanner;
