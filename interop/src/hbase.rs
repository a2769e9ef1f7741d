//! HBase by itself: ZooKeeper, master and one region server in one JVM, with everything in one directory and on free
//! ports; and HBase's own client to look at it with (`java/HBaseDriver.java`, which says what the commands are).

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::agent::free_port;
use crate::jars;
use crate::peers::{Missing, java};
use crate::zookeeper::ZooKeeper;

/// Ten seconds on an idle machine.
const START_LIMIT: Duration = Duration::from_secs(120);
/// The longest command: a split or a merge waits for regions to open.
const COMMAND_LIMIT: Duration = Duration::from_secs(120);

/// The shortest session that ZooKeeper allows: so long nobody knows that a server was killed.
const SHORT_SESSION: Duration = Duration::from_secs(4);
/// Where ZooKeeper may go alone: a busy server must find it again within the session that begins anew then, or it ends.
const LONG_SESSION: Duration = Duration::from_secs(10);

/// What HBase needs of a JDK that guards its own parts.
const OPENS: &[&str] = &[
    "java.base/java.lang",
    "java.base/java.lang.reflect",
    "java.base/java.nio",
    "java.base/sun.nio.ch",
    "java.base/java.util",
    "java.base/java.util.concurrent",
    "java.base/jdk.internal.ref",
];

/// A JDK and HBase's jars.
#[derive(Clone, Debug)]
pub struct HBasePeer {
    java: PathBuf,
    jars: PathBuf,
    /// Whether it lives for a test only: compiling little starts it sooner.
    briefly: bool,
}

/// A running cluster of one. Dropping it kills it.
#[derive(Debug)]
pub struct HBase {
    peer: HBasePeer,
    child: Child,
    /// ZooKeeper, where it has a process of its own.
    zookeeper: Option<ZooKeeper>,
    /// A region server in a process of its own: the second, or the only one where ZooKeeper is apart.
    second: Option<Child>,
    driver: Option<Driver>,
    zookeeper_port: u16,
    master_port: u16,
    server_port: u16,
    session: Duration,
    dir: PathBuf,
}

/// HBase's own client in a process of its own.
#[derive(Debug)]
struct Driver {
    child: Child,
    commands: ChildStdin,
    answers: Receiver<String>,
}

/// A cell as HBase's client read it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct JavaCell {
    /// Row key.
    pub row: Vec<u8>,
    /// Family.
    pub family: Vec<u8>,
    /// Qualifier.
    pub qualifier: Vec<u8>,
    /// Value.
    pub value: Vec<u8>,
    /// Milliseconds since 1970.
    pub timestamp: u64,
}

impl HBasePeer {
    /// Finds the JDK and HBase's jars; the first call on a machine resolves them with Maven.
    pub fn available() -> Result<HBasePeer, Missing> {
        Ok(HBasePeer { java: java()?, jars: jars::hbase()?, briefly: true })
    }

    /// The same, as fast as it gets once it is warm: for measuring.
    #[must_use]
    pub fn at_length(self) -> HBasePeer {
        HBasePeer { briefly: false, ..self }
    }

    /// Starts a cluster in `dir` and waits until a client has an answer from it.
    pub fn start(&self, dir: &Path) -> Result<HBase> {
        let mut hbase = self.begin(dir, false)?;
        hbase.wait_for_port(hbase.server_port)?;
        hbase.driver = Some(self.drive(&hbase.dir)?);
        Ok(hbase)
    }

    /// The same with ZooKeeper, master and region server in processes of their own, so that ZooKeeper alone can go and
    /// come back ([`HBase::zookeeper`]).
    pub fn start_apart(&self, dir: &Path) -> Result<HBase> {
        let mut hbase = self.begin(dir, true)?;
        hbase.wait_for_port(hbase.master_port)?;
        hbase.start_second()?;
        hbase.driver = Some(self.drive(&hbase.dir)?);
        Ok(hbase)
    }

    fn begin(&self, dir: &Path, apart: bool) -> Result<HBase> {
        let [master_port, server_port] = [free_port()?, free_port()?];
        let of_zookeeper = dir.join("zookeeper");
        fs::create_dir_all(&of_zookeeper)?;
        fs::create_dir_all(dir.join("conf"))?;
        let zookeeper = apart.then(|| ZooKeeper::start(&of_zookeeper)).transpose()?;
        let zookeeper_port = zookeeper.as_ref().map_or_else(free_port, |one| Ok(one.port()))?;
        let session = if apart { LONG_SESSION } else { SHORT_SESSION };
        let site = site(dir, [zookeeper_port, master_port, server_port], apart, session);
        fs::write(dir.join("conf/hbase-site.xml"), site)?;
        Ok(HBase {
            peer: self.clone(),
            child: self.spawn(dir)?,
            zookeeper,
            second: None,
            driver: None,
            zookeeper_port,
            master_port,
            server_port,
            session,
            dir: dir.to_owned(),
        })
    }

    fn spawn(&self, dir: &Path) -> Result<Child> {
        self.spawn_one(dir, "conf", "org.apache.hadoop.hbase.master.HMaster", "hbase")
    }

    fn spawn_one(&self, dir: &Path, conf: &str, class: &str, log: &str) -> Result<Child> {
        let said = |end: &str| {
            let path = dir.join(format!("{log}.{end}"));
            File::options().create(true).append(true).open(path)
        };
        self.command_with(dir, conf, "1g")
            .args([class, "start"])
            .stdin(Stdio::null())
            .stdout(said("out")?)
            .stderr(said("err")?)
            .spawn()
            .with_context(|| format!("starting {class}"))
    }

    fn command(&self, dir: &Path, heap: &str) -> Command {
        self.command_with(dir, "conf", heap)
    }

    fn command_with(&self, dir: &Path, conf: &str, heap: &str) -> Command {
        let mut command = Command::new(&self.java);
        command.arg(format!("-Xmx{heap}"));
        if self.briefly {
            command.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]);
        }
        for package in OPENS {
            command.args(["--add-opens", &format!("{package}=ALL-UNNAMED")]);
        }
        command.args(["--add-exports", "java.base/jdk.internal.misc=ALL-UNNAMED"]);
        let class_path = format!("{}:{}", dir.join(conf).display(), self.jars.join("*").display());
        command.args(["-cp", &class_path]).current_dir(dir);
        command
    }

    fn drive(&self, dir: &Path) -> Result<Driver> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("java/HBaseDriver.java");
        let mut child = self
            .command(dir, "256m")
            .arg(&source)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(dir.join("driver.err"))?)
            .spawn()
            .with_context(|| format!("starting java on {}", source.display()))?;
        let commands = child.stdin.take().context("java has no input")?;
        let said = BufReader::new(child.stdout.take().context("java has no output")?);
        let (send, answers) = sync_channel(1);
        // Reads until the program ends or nobody asks any more, so that an answer can be waited for with a limit.
        thread::spawn(move || {
            said.lines().map_while(Result::ok).try_for_each(|line| send.send(line))
        });
        let driver = Driver { child, commands, answers };
        let ready = driver.answers.recv_timeout(START_LIMIT).context("no word from java")?;
        ensure!(ready == "ready", "java said {ready}");
        Ok(driver)
    }
}

impl HBase {
    /// Where its ZooKeeper is, as a quorum.
    pub fn quorum(&self) -> String {
        format!("127.0.0.1:{}", self.zookeeper_port)
    }

    /// Where its master is.
    pub fn master(&self) -> String {
        format!("127.0.0.1:{}", self.master_port)
    }

    /// The directory with its `hbase-site.xml`.
    pub fn conf(&self) -> PathBuf {
        self.dir.join("conf")
    }

    /// Gives HBase's client a command and answers the lines that it printed.
    pub fn drive(&mut self, command: &str) -> Result<Vec<String>> {
        let driver = self.driver.as_mut().context("no client runs")?;
        writeln!(driver.commands, "{command}")?;
        driver.commands.flush()?;
        let mut lines = Vec::new();
        loop {
            let line = driver.answers.recv_timeout(COMMAND_LIMIT);
            let line = line.with_context(|| format!("no answer to `{command}`"))?;
            match line.strip_prefix("failed ") {
                Some(why) => bail!("`{command}` failed: {why}"),
                None if line == "ok" => return Ok(lines),
                None => lines.push(line),
            }
        }
    }

    /// All cells of a table, as HBase's client reads them.
    pub fn cells(&mut self, table: &str) -> Result<Vec<JavaCell>> {
        self.drive(&format!("scan {table}"))?.iter().map(|line| cell(line)).collect()
    }

    /// Stops the whole cluster, ZooKeeper included, in order, and starts it again on the same data and ports. A second
    /// region server is stopped for good.
    pub fn restart(&mut self) -> Result<()> {
        if self.second.is_some() {
            self.kill_second()?;
        }
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let began = Instant::now();
        while self.child.try_wait()?.is_none() {
            ensure!(began.elapsed() < START_LIMIT, "HBase did not stop within {START_LIMIT:?}");
            thread::sleep(Duration::from_millis(50));
        }
        self.child = self.peer.spawn(&self.dir)?;
        self.wait_for_port(self.server_port)
    }

    /// ZooKeeper by itself, where it has a process of its own.
    pub fn zookeeper(&mut self) -> Result<&mut ZooKeeper> {
        self.zookeeper.as_mut().context("ZooKeeper has no process of its own")
    }

    /// How long servers are missed before they count as gone.
    pub fn session(&self) -> Duration {
        self.session
    }

    /// Starts a second region server, in a process of its own.
    pub fn start_second(&mut self) -> Result<()> {
        ensure!(self.second.is_none(), "a second region server runs already");
        let port = free_port()?;
        let ports = [self.zookeeper_port, self.master_port, port];
        let site = site(&self.dir, ports, true, self.session);
        fs::create_dir_all(self.dir.join("second"))?;
        fs::write(self.dir.join("second/hbase-site.xml"), site)?;
        let class = "org.apache.hadoop.hbase.regionserver.HRegionServer";
        self.second = Some(self.peer.spawn_one(&self.dir, "second", class, "second")?);
        let began = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            let ended = self.second.as_mut().map(Child::try_wait).transpose()?.flatten();
            ensure!(ended.is_none(), "the second region server ended with {ended:?}");
            ensure!(began.elapsed() < START_LIMIT, "no second server within {START_LIMIT:?}");
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Stops the second region server as `kill -STOP` does: the system accepts connections for it, and nobody answers.
    pub fn freeze_second(&self) -> Result<()> {
        let second = self.second.as_ref().context("no second region server runs")?;
        Ok(kill_process(Pid::from_child(second), Signal::STOP)?)
    }

    /// Kills the second region server as `kill -9` does.
    pub fn kill_second(&mut self) -> Result<()> {
        let mut second = self.second.take().context("no second region server runs")?;
        second.kill()?;
        second.wait()?;
        Ok(())
    }

    fn wait_for_port(&mut self, port: u16) -> Result<()> {
        let began = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!(
                    "HBase ended with {status}: {}",
                    fs::read_to_string(self.dir.join("hbase.err"))?
                );
            }
            ensure!(began.elapsed() < START_LIMIT, "HBase did not start within {START_LIMIT:?}");
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

impl Drop for HBase {
    fn drop(&mut self) {
        let driver = self.driver.as_mut().map(|driver| &mut driver.child);
        let second = self.second.as_mut();
        for child in driver.into_iter().chain(second).chain([&mut self.child]) {
            // One that has ended by itself needs neither.
            child.kill().ok();
            child.wait().ok();
        }
    }
}

/// Bytes as the driver writes them.
pub fn hex(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "-".to_owned();
    }
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string does not fail");
        text
    })
}

fn unhex(text: &str) -> Result<Vec<u8>> {
    if text == "-" {
        return Ok(Vec::new());
    }
    let pairs = text.as_bytes().chunks(2).map(|pair| {
        let pair = std::str::from_utf8(pair)?;
        u8::from_str_radix(pair, 16).with_context(|| format!("`{pair}` is no byte"))
    });
    pairs.collect()
}

fn cell(line: &str) -> Result<JavaCell> {
    let words: Vec<&str> = line.split(' ').collect();
    let ["cell", row, family, qualifier, value, timestamp] = words[..] else {
        bail!("`{line}` is no cell");
    };
    Ok(JavaCell {
        row: unhex(row)?,
        family: unhex(family)?,
        qualifier: unhex(qualifier)?,
        value: unhex(value)?,
        timestamp: timestamp.parse()?,
    })
}

fn site(
    dir: &Path,
    [zookeeper, master, server]: [u16; 3],
    distributed: bool,
    session: Duration,
) -> String {
    let below = |name: &str| dir.join(name).display().to_string();
    let properties = [
        ("hbase.rootdir", format!("file://{}", below("data"))),
        ("hbase.tmp.dir", below("tmp")),
        // Without the file system's own checksums, which it buffers: so what is logged outlives a `kill -9`.
        ("fs.file.impl", "org.apache.hadoop.fs.RawLocalFileSystem".into()),
        // A server of its own process is one of a distributed cluster, by its own word.
        ("hbase.cluster.distributed", distributed.to_string()),
        ("hbase.zookeeper.property.tickTime", "2000".into()),
        ("zookeeper.session.timeout", session.as_millis().to_string()),
        ("hbase.zookeeper.quorum", "127.0.0.1".into()),
        ("hbase.zookeeper.property.dataDir", below("zookeeper")),
        ("hbase.zookeeper.property.clientPort", zookeeper.to_string()),
        ("hbase.unsafe.stream.capability.enforce", "false".into()),
        ("hbase.wal.provider", "filesystem".into()),
        ("hbase.master.ipc.address", "127.0.0.1".into()),
        ("hbase.master.hostname", "localhost".into()),
        ("hbase.master.port", master.to_string()),
        ("hbase.master.info.port", "-1".into()),
        ("hbase.regionserver.ipc.address", "127.0.0.1".into()),
        ("hbase.regionserver.hostname", "localhost".into()),
        ("hbase.regionserver.port", server.to_string()),
        ("hbase.regionserver.info.port", "-1".into()),
    ];
    let property = |(name, value): &(&str, String)| {
        format!("<property><name>{name}</name><value>{value}</value></property>\n")
    };
    format!(
        "<configuration>\n{}</configuration>\n",
        properties.iter().map(property).collect::<String>()
    )
}
