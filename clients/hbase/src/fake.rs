//! A cluster in the test's own process: a ZooKeeper that serves two nodes, and region servers on
//! real sockets that keep rows in memory and do what a script says before they answer.

mod answers;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::config::Config;
use crate::model::{Address, Cell};
use crate::proto;

/// The one family.
pub const FAMILY: &str = "f";

/// What happens to one call instead of an answer.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The whole call fails: class, message, do not retry.
    Call(&'static str, &'static str, bool),
    /// In a `Multi`, each region fails.
    Regions(&'static str),
    /// In a `Multi`, the action at this place of each region fails.
    Action(u32, &'static str),
    /// The connection is closed before the call is carried out.
    Close,
    /// The call is carried out and the connection closed instead of an answer.
    LoseAnswer,
    /// The call is carried out and never answered.
    Silence,
    /// Bytes that are no answer.
    Garbage(&'static [u8]),
    /// Regions move to the other server, and the call fails with the word for it.
    Move,
    /// The call is carried out, and the connection closed instead of an answer; the other server has
    /// the regions then, and knows from the log what was counted.
    Crash,
}

/// The server of a region that none has.
pub const NOBODY: usize = usize::MAX;

/// A region as meta shows it.
#[derive(Clone, Debug)]
pub struct FakeRegion {
    /// The first row.
    pub start: &'static str,
    /// The first row behind it, or nothing.
    pub end: &'static str,
    /// Grows with each split or merge.
    pub id: u64,
    /// Which of the servers has it.
    pub server: usize,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    /// Faults to come, for calls to regions of the table.
    pub(crate) faults: VecDeque<Fault>,
    pub(crate) regions: Vec<FakeRegion>,
    /// Whether `table:state` says disabled.
    pub(crate) disabled: bool,
    /// No puts of a region are taken in one call with one of this row.
    refused_row: Option<(&'static str, &'static str)>,
    /// Servers that take calls and never answer one.
    mute: Vec<usize>,
    /// What closes its connections instead of answering.
    pub(crate) zookeeper_gone: bool,
    /// How often somebody came to ZooKeeper.
    pub(crate) visits: usize,
    /// Methods called, in order, with the server; those of meta as `meta`.
    pub(crate) calls: Vec<(usize, String)>,
    pub(crate) rows: BTreeMap<(Bytes, Bytes), Bytes>,
    /// The time that each cell was last written with.
    times: BTreeMap<(Bytes, Bytes), u64>,
    /// Of cells, in seconds.
    time_to_live: Option<u32>,
    /// Of the increments that each server has seen or read from the log of one that crashed.
    nonces: Vec<(usize, u64, u64)>,
    scanners: Vec<VecDeque<Vec<Cell>>>,
    servers: Vec<Address>,
}

/// A cluster. Its tasks end with the runtime.
#[derive(Clone)]
pub struct FakeCluster {
    state: Arc<Mutex<State>>,
    zookeeper: Address,
}

impl FakeCluster {
    /// Two servers, of which the first has meta, and a table `t` of these regions.
    pub async fn start(regions: &[FakeRegion]) -> Self {
        let state = Arc::new(Mutex::new(State { regions: regions.to_vec(), ..State::default() }));
        let zookeeper = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = |listener: &TcpListener| {
            Address::new("127.0.0.1", listener.local_addr().unwrap().port())
        };
        for index in 0..2 {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            state.lock().unwrap().servers.push(address(&listener));
            tokio::spawn(accept(listener, index, state.clone()));
        }
        let cluster = FakeCluster { state: state.clone(), zookeeper: address(&zookeeper) };
        tokio::spawn(async move {
            loop {
                let (stream, _) = zookeeper.accept().await.unwrap();
                let (gone, meta) = {
                    let mut state = state.lock().unwrap();
                    state.visits += 1;
                    (state.zookeeper_gone, state.servers[0].clone())
                };
                if !gone {
                    tokio::spawn(serve_zookeeper(stream, meta));
                }
            }
        });
        cluster
    }

    /// One with a table `t` in one region, with the family `f`.
    pub async fn with_table() -> Self {
        FakeCluster::start(&[FakeRegion { start: "", end: "", id: 1, server: 1 }]).await
    }

    /// Where its ZooKeeper is.
    pub fn quorum(&self) -> String {
        self.zookeeper.to_string()
    }

    /// What the table holds: row, qualifier and value, in order.
    pub fn rows(&self) -> Vec<(Bytes, Bytes, Bytes)> {
        let state = self.state();
        let cell = |((row, column), value): (&(Bytes, Bytes), &Bytes)| {
            (row.clone(), column.clone(), value.clone())
        };
        state.rows.iter().map(cell).collect()
    }

    /// The times that cells were last written with, in the order of [`FakeCluster::rows`]; the
    /// greatest of Java's stands for the server's own.
    pub fn times(&self) -> Vec<u64> {
        self.state().times.values().copied().collect()
    }

    /// Lets the table say that cells go after so many seconds.
    pub fn set_time_to_live(&self, seconds: u32) {
        self.state().time_to_live = Some(seconds);
    }

    /// As a server does that checks puts one by one and stops at the first that is at fault: all puts
    /// of a region that come in one call with one of this row are refused, in the same words.
    pub fn refuse_row(&self, row: &'static str, class: &'static str) {
        self.state().refused_row = Some((row, class));
    }

    /// Whether the table is enabled.
    pub fn set_enabled(&self, enabled: bool) {
        self.state().disabled = !enabled;
    }

    /// Drops the table, or makes it again with these regions.
    pub fn set_regions(&self, regions: &[FakeRegion]) {
        self.state().regions = regions.to_vec();
    }

    /// This happens to the next call to a region that nothing else happens to.
    pub fn fail_next(&self, fault: Fault) {
        self.state().faults.push_back(fault);
    }

    /// Lets a server take calls and carry out and answer none of them from now on, on connections old
    /// and new.
    pub fn mute(&self, server: usize) {
        self.state().mute.push(server);
    }

    /// For a client that soon loses patience.
    pub fn config(&self) -> Config {
        Config {
            pause: std::time::Duration::from_millis(1),
            rpc_timeout: std::time::Duration::from_millis(300),
            ..Config::zookeeper(&self.zookeeper.to_string(), "/hbase").unwrap()
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

async fn serve_zookeeper(mut stream: TcpStream, meta: Address) -> Option<()> {
    let mut packet = async |answer: &[u8]| {
        let length = stream.read_u32().await.ok()?;
        let mut request = vec![0; length as usize];
        stream.read_exact(&mut request).await.ok()?;
        stream.write_u32(answer.len() as u32).await.ok()?;
        stream.write_all(answer).await.ok()?;
        Some(())
    };
    let mut welcome = vec![0, 0, 0, 0, 0, 0, 1, 0];
    welcome.extend([0; 29]);
    packet(&welcome).await?;
    let (host_name, port) = (meta.host.to_string(), Some(u32::from(meta.port)));
    let server = proto::ServerName { host_name, port, start_code: None };
    let node = proto::ServerNode { server: Some(server) }.encode_to_vec();
    let data = [b"\xff\0\0\0\0PBUF", &node[..]].concat();
    let mut reply = BytesMut::new();
    reply.put_i32(1);
    reply.put_i64(0);
    reply.put_i32(0);
    reply.put_u32(data.len() as u32);
    reply.put_slice(&data);
    packet(&reply).await
}

async fn accept(listener: TcpListener, index: usize, state: Arc<Mutex<State>>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        tokio::spawn(serve(stream, index, state.clone()));
    }
}

async fn serve(mut stream: TcpStream, index: usize, state: Arc<Mutex<State>>) -> Option<()> {
    let mut greeting = [0; 6];
    stream.read_exact(&mut greeting).await.ok()?;
    assert_eq!(&greeting, b"HBas\0\x50");
    let length = stream.read_u32().await.ok()?;
    let mut header = vec![0; length as usize];
    stream.read_exact(&mut header).await.ok()?;
    loop {
        let length = stream.read_u32().await.ok()?;
        let mut call = vec![0; length as usize];
        stream.read_exact(&mut call).await.ok()?;
        let reply = state.lock().unwrap().answer(index, call.into());
        match reply {
            Reply::Frame(frame) => {
                stream.write_u32(frame.len() as u32).await.ok()?;
                stream.write_all(&frame).await.ok()?;
            }
            Reply::Raw(bytes) => stream.write_all(bytes).await.ok()?,
            Reply::Nothing => {}
            Reply::Close => return None,
        }
    }
}

enum Reply {
    Frame(Bytes),
    Raw(&'static [u8]),
    Nothing,
    Close,
}
