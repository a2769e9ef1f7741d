//! Flume's file channel without an agent around it, driven by a script: `java/FileChannelDriver.java`, which says what
//! the steps are.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::peers::Peers;

/// A script that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(300);

/// The compiled driver.
#[derive(Debug)]
pub struct FileChannelDriver {
    java: PathBuf,
    class_path: String,
    dir: PathBuf,
}

impl FileChannelDriver {
    /// Compiles the driver into `dir`. It belongs to the channel's own package, to reach what is not public there.
    pub fn compile(peers: &Peers, dir: &Path) -> Result<FileChannelDriver> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("java/FileChannelDriver.java");
        let classes = dir.join("classes");
        let jars = peers.flume_jars.join("*");
        let compiled = Command::new(peers.java.with_file_name("javac"))
            .args(["-encoding", "UTF-8", "-cp"])
            .arg(&jars)
            .arg("-d")
            .arg(&classes)
            .arg(&source)
            .output()
            .context("starting javac; is there a JDK beside java?")?;
        ensure!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
        let logging = classes.join("log4j2.xml");
        fs::write(&logging, LOG4J2)?;
        let class_path = format!("{}:{}", classes.display(), jars.display());
        Ok(FileChannelDriver { java: peers.java.clone(), class_path, dir: dir.to_owned() })
    }

    /// Runs a script on the channel of these properties, `key=value` each, and answers the lines it wrote: bodies and
    /// headers of what was drained.
    pub fn run(&self, properties: &[String], steps: &str) -> Result<Vec<String>> {
        let mut command = self.command(properties, steps)?;
        let said = self.dir.join("driver.out");
        let mut child = command.stdout(File::create(&said)?).spawn()?;
        let began = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if began.elapsed() > LIMIT {
                child.kill()?;
                child.wait()?;
                bail!("`{steps}` took longer than {LIMIT:?}");
            }
            thread::sleep(Duration::from_millis(10));
        };
        ensure!(status.success(), "`{steps}` failed: {}", self.log()?);
        Ok(fs::read_to_string(said)?.lines().map(str::to_owned).collect())
    }

    /// Runs a script that ends in `load`, and kills the process when it was at that for `time`.
    pub fn run_and_kill(&self, properties: &[String], steps: &str, time: Duration) -> Result<()> {
        let mut child = self.command(properties, steps)?.stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        let said = child.stdout.take().context("no output")?;
        BufReader::new(said).read_line(&mut line)?;
        if line.trim_end() == "ready" {
            thread::sleep(time);
        }
        child.kill()?;
        child.wait()?;
        ensure!(line.trim_end() == "ready", "`{steps}` failed: {}", self.log()?);
        Ok(())
    }

    fn command(&self, properties: &[String], steps: &str) -> Result<Command> {
        let mut command = Command::new(&self.java);
        command
            .args(["-Xmx512m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"])
            .args(["--add-opens", "java.base/java.nio=ALL-UNNAMED"])
            .args(["--add-opens", "java.base/sun.nio.ch=ALL-UNNAMED"])
            .args(["-cp", &self.class_path, "org.apache.flume.channel.file.FileChannelDriver"])
            .args(properties)
            .arg("--")
            .args(steps.split_ascii_whitespace())
            .stdin(Stdio::null())
            .stderr(File::create(self.dir.join("driver.log"))?);
        Ok(command)
    }

    fn log(&self) -> Result<String> {
        let log = fs::read(self.dir.join("driver.log"))?;
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        Ok(lines[lines.len().saturating_sub(40)..].join("\n"))
    }
}

const LOG4J2: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<Configuration status="ERROR">
  <Appenders>
    <Console name="err" target="SYSTEM_ERR"><PatternLayout pattern="%d %p %c{1} %m%n"/></Console>
  </Appenders>
  <Loggers>
    <Root level="INFO"><AppenderRef ref="err"/></Root>
  </Loggers>
</Configuration>
"#;
