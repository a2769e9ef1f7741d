//! A JMS broker in a process of its own, ActiveMQ Artemis or Classic, with everything in one directory and on free ports;
//! and JMS clients to send with (`java/JmsDriver.java`, which says what the commands are and who may do what).

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::agent::free_port;
use crate::jars;
use crate::peers::{Missing, java};

/// Five seconds on an idle machine.
const START_LIMIT: Duration = Duration::from_secs(120);
/// The longest command sends some ten thousand messages.
const COMMAND_LIMIT: Duration = Duration::from_secs(120);

/// Whose broker it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Brand {
    /// ActiveMQ Artemis.
    Artemis,
    /// ActiveMQ Classic.
    Classic,
}

impl Brand {
    /// What to call it in messages.
    pub fn name(self) -> &'static str {
        match self {
            Brand::Artemis => "artemis",
            Brand::Classic => "classic",
        }
    }

    /// The class of `java/` that runs it.
    fn class(self) -> &'static str {
        match self {
            Brand::Artemis => "ArtemisBroker",
            Brand::Classic => "ClassicBroker",
        }
    }
}

/// A JDK and a broker's jars.
#[derive(Clone, Debug)]
pub struct JmsPeer {
    java: PathBuf,
    jars: PathBuf,
    brand: Brand,
    /// Whether it is to be there soon, rather than fast once it is warm.
    briefly: bool,
}

/// What the broker has for TLS, in files that Java knows.
#[derive(Clone, Debug)]
pub struct KeyStore {
    /// Its certificate, with its key.
    pub path: PathBuf,
    /// The certificates of clients that it trusts.
    pub clients: PathBuf,
    /// The password of both.
    pub password: String,
}

/// Where it listens: in the clear, over TLS, and over TLS for who shows a certificate.
#[derive(Clone, Copy, Debug)]
struct Ports([u16; 3]);

/// A running broker. Dropping it kills it.
#[derive(Debug)]
pub struct JmsBroker {
    peer: JmsPeer,
    dir: PathBuf,
    keys: Option<KeyStore>,
    ports: Ports,
    child: Child,
    commands: ChildStdin,
    answers: Receiver<String>,
}

impl JmsPeer {
    /// Finds the JDK and the broker's jars; the first call on a machine resolves them with Maven.
    pub fn available(brand: Brand) -> Result<JmsPeer, Missing> {
        let jars = match brand {
            Brand::Artemis => jars::artemis()?,
            Brand::Classic => jars::activemq()?,
        };
        Ok(JmsPeer { java: java()?, jars, brand, briefly: true })
    }

    /// The same, as fast as it gets once it is warm: for measuring.
    #[must_use]
    pub fn at_length(self) -> JmsPeer {
        JmsPeer { briefly: false, ..self }
    }

    /// Starts a broker with its data in `dir`; without keys it speaks no TLS.
    pub fn start(&self, dir: &Path, keys: Option<KeyStore>) -> Result<JmsBroker> {
        self.compile(dir)?;
        self.start_at(dir, keys, Ports([free_port()?, free_port()?, free_port()?]))
    }

    fn compile(&self, dir: &Path) -> Result<()> {
        let source =
            |class: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("java/{class}.java"));
        let compiled = Command::new(self.java.with_file_name("javac"))
            .args(["-nowarn", "-cp"])
            .arg(self.jars.join("*"))
            .arg("-d")
            .arg(dir.join("classes"))
            .args([source("JmsDriver"), source(self.brand.class())])
            .output()
            .context("starting javac; is there a JDK beside java?")?;
        let said = String::from_utf8_lossy(&compiled.stderr);
        ensure!(compiled.status.success(), "javac ended with {}: {said}", compiled.status);
        Ok(())
    }

    fn start_at(&self, dir: &Path, keys: Option<KeyStore>, ports: Ports) -> Result<JmsBroker> {
        let class_path =
            format!("{}:{}", dir.join("classes").display(), self.jars.join("*").display());
        let options: &[&str] = match self.briefly {
            true => &["-Xmx512m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"],
            false => &["-Xmx2g"],
        };
        let sealed = keys.iter().flat_map(|keys| {
            let password: &OsStr = keys.password.as_ref();
            [keys.path.as_os_str(), password, keys.clients.as_os_str()]
        });
        let mut child = Command::new(&self.java)
            .args(options)
            .args(["-cp", &class_path, "JmsDriver", self.brand.class()])
            .arg(dir)
            .args(ports.0.map(|port| port.to_string()))
            .args(sealed)
            .current_dir(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::options().create(true).append(true).open(dir.join("broker.err"))?)
            .spawn()
            .with_context(|| format!("starting {}", self.brand.class()))?;
        let commands = child.stdin.take().context("java has no input")?;
        let said = BufReader::new(child.stdout.take().context("java has no output")?);
        let (send, answers) = sync_channel(1);
        // Reads until the program ends or nobody asks any more, so that an answer can be waited for with a limit.
        thread::spawn(move || {
            said.lines().map_while(Result::ok).try_for_each(|line| send.send(line))
        });
        let (peer, dir) = (self.clone(), dir.to_owned());
        let broker = JmsBroker { peer, dir, keys, ports, child, commands, answers };
        let ready = broker.answers.recv_timeout(START_LIMIT);
        let ready = ready.with_context(|| format!("no word from java: {}", broker.complaints()))?;
        ensure!(ready == "ready", "java said {ready}");
        Ok(broker)
    }
}

impl JmsBroker {
    /// Whose it is.
    pub fn brand(&self) -> Brand {
        self.peer.brand
    }

    /// Its port, of AMQP and of its Java clients.
    pub fn port(&self) -> u16 {
        self.ports.0[0]
    }

    /// Its port of AMQP over TLS.
    pub fn tls_port(&self) -> u16 {
        self.ports.0[1]
    }

    /// The same for clients with certificates only.
    pub fn certificate_port(&self) -> u16 {
        self.ports.0[2]
    }

    /// Gives it a command and answers the lines that it printed.
    pub fn drive(&mut self, command: &str) -> Result<Vec<String>> {
        writeln!(self.commands, "{command}")?;
        self.commands.flush()?;
        let mut lines = Vec::new();
        loop {
            let line = self.answers.recv_timeout(COMMAND_LIMIT);
            let line =
                line.with_context(|| format!("no answer to `{command}`: {}", self.complaints()))?;
            match line.strip_prefix("failed ") {
                Some(why) => bail!("`{command}` failed: {why}"),
                None if line == "ok" => return Ok(lines),
                None => lines.push(line),
            }
        }
    }

    /// Gives it a command that is answered by a number.
    pub fn number(&mut self, command: &str) -> Result<u64> {
        let lines = self.drive(command)?;
        let [line] = &lines[..] else { bail!("`{command}` says {lines:?}") };
        Ok(line.parse()?)
    }

    /// Gives it a command until the answer is this number.
    pub fn wait_for(&mut self, command: &str, wanted: u64, limit: Duration) -> Result<()> {
        let began = Instant::now();
        loop {
            let found = self.number(command)?;
            if found == wanted {
                return Ok(());
            }
            ensure!(began.elapsed() < limit, "`{command}` says {found}, not {wanted}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Kills it as `kill -9` does.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Starts it again on the same data and ports, after [`Artemis::kill`].
    pub fn start_again(&mut self) -> Result<()> {
        *self = self.peer.start_at(&self.dir, self.keys.clone(), self.ports)?;
        Ok(())
    }

    fn complaints(&self) -> String {
        std::fs::read_to_string(self.dir.join("broker.err")).unwrap_or_default()
    }
}

impl Drop for JmsBroker {
    fn drop(&mut self) {
        // One that has ended by itself needs neither.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
