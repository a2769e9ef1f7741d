//! A real ZooKeeper by itself, from the jars that HBase brings, and somebody who writes into it.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::agent::free_port;
use crate::jars;
use crate::peers::{Missing, java};

/// Two seconds on an idle machine.
const START_LIMIT: Duration = Duration::from_secs(120);
/// How long an answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
const PACKET_LIMIT_BYTES: usize = 1 << 20;

const CREATE: i32 = 1;
const DELETE: i32 = 2;
const SET_DATA: i32 = 5;
const NO_NODE: i32 = -101;
const NODE_EXISTS: i32 = -110;

/// A running server. Dropping it kills it; its directory and its port outlive that.
#[derive(Debug)]
pub struct ZooKeeper {
    java: PathBuf,
    jars: PathBuf,
    dir: PathBuf,
    port: u16,
    child: Child,
}

impl ZooKeeper {
    /// Starts a server that keeps everything in `dir`, and waits until it answers.
    pub fn start(dir: &Path) -> Result<ZooKeeper> {
        let missing = |missing: Missing| anyhow::anyhow!("{missing}");
        let (java, jars) = (java().map_err(missing)?, jars::hbase().map_err(missing)?);
        let port = free_port()?;
        let child = spawn(&java, &jars, dir, port)?;
        let mut server = ZooKeeper { java, jars, dir: dir.to_owned(), port, child };
        server.wait_until_ready()?;
        Ok(server)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where it is, as a connect string.
    pub fn connect(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Ends it as a crash would.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Starts it again on the same directory and port.
    pub fn restart(&mut self) -> Result<()> {
        self.child = spawn(&self.java, &self.jars, &self.dir, self.port)?;
        self.wait_until_ready()
    }

    /// Lets the node at `path` hold `data`; nodes above it are made where they lack.
    pub fn set(&self, path: &str, data: &[u8]) -> Result<()> {
        let mut session = Session::open(self.port)?;
        let above = path.match_indices('/').skip(1).map(|(at, _)| &path[..at]);
        for node in above.chain([path]) {
            match session.ask(CREATE, &created(node))? {
                0 | NODE_EXISTS => {}
                code => bail!("creating {node} failed with {code}"),
            }
        }
        let code = session
            .ask(SET_DATA, &[&buffer(path.as_bytes()), &buffer(data), &[0xff; 4][..]].concat())?;
        ensure!(code == 0, "setting {path} failed with {code}");
        session.close()
    }

    /// Removes the node at `path`, if it is there.
    pub fn remove(&self, path: &str) -> Result<()> {
        let mut session = Session::open(self.port)?;
        let code = session.ask(DELETE, &[&buffer(path.as_bytes()), &[0xff; 4][..]].concat())?;
        ensure!(code == 0 || code == NO_NODE, "removing {path} failed with {code}");
        session.close()
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let began = Instant::now();
        while Session::open(self.port).and_then(Session::close).is_err() {
            if let Some(status) = self.child.try_wait()? {
                let log = fs::read_to_string(self.dir.join("zookeeper.log"))?;
                bail!("ZooKeeper ended with {status}: {log}");
            }
            ensure!(began.elapsed() < START_LIMIT, "no ZooKeeper within {START_LIMIT:?}");
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for ZooKeeper {
    fn drop(&mut self) {
        // One that has ended already needs neither.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn spawn(java: &Path, jars: &Path, dir: &Path, port: u16) -> Result<Child> {
    let site = dir.join("zoo.cfg");
    let text = format!(
        "tickTime=2000\ndataDir={}\nclientPortAddress=127.0.0.1\nclientPort={port}\n\
         admin.enableServer=false\n",
        dir.join("data").display()
    );
    fs::write(&site, text)?;
    let said = File::options().create(true).append(true).open(dir.join("zookeeper.log"))?;
    Command::new(java)
        .args(["-Xmx128m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"])
        .arg("-cp")
        .arg(jars.join("*"))
        .arg("org.apache.zookeeper.server.ZooKeeperServerMain")
        .arg(&site)
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(said.try_clone()?)
        .stderr(said)
        .spawn()
        .context("starting ZooKeeper")
}

/// A client that writes: as little of the protocol as that takes.
struct Session {
    stream: TcpStream,
    xid: i32,
}

impl Session {
    fn open(port: u16) -> Result<Session> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        let mut session = Session { stream, xid: 0 };
        let timeout = 10_000u32.to_be_bytes();
        session.send(&[&[0; 12][..], &timeout, &[0; 8], &buffer(&[0; 16]), &[0]].concat())?;
        session.receive()?;
        Ok(session)
    }

    /// The answer's error code.
    fn ask(&mut self, operation: i32, record: &[u8]) -> Result<i32> {
        self.xid += 1;
        self.send(&[&self.xid.to_be_bytes()[..], &operation.to_be_bytes(), record].concat())?;
        let answer = self.receive()?;
        let code = answer.get(12..16).context("an answer that is cut short")?;
        Ok(i32::from_be_bytes(code.try_into()?))
    }

    fn close(mut self) -> Result<()> {
        self.ask(-11, &[]).map(drop)
    }

    fn send(&mut self, record: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(&buffer(record))?)
    }

    fn receive(&mut self) -> Result<Vec<u8>> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let length = usize::try_from(u32::from_be_bytes(length))?;
        ensure!(length <= PACKET_LIMIT_BYTES, "an answer of {length} bytes");
        let mut packet = vec![0; length];
        self.stream.read_exact(&mut packet)?;
        Ok(packet)
    }
}

/// A node without data that everybody may do everything with.
fn created(path: &str) -> Vec<u8> {
    let everything = 31u32.to_be_bytes();
    let one = 1u32.to_be_bytes();
    let acl = [&one[..], &everything, &buffer(b"world"), &buffer(b"anyone")].concat();
    [&buffer(path.as_bytes())[..], &buffer(b""), &acl, &[0; 4]].concat()
}

fn buffer(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).expect("tests write little");
    [&length.to_be_bytes()[..], bytes].concat()
}
