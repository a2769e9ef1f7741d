//! Config filter `external`: asks a command.
//!
//! Flume's class: `org.apache.flume.configfilter.ExternalProcessConfigFilter`. The command is split
//! at blanks, without a shell and without quotes, and the key is its last argument. The first line
//! that it prints is the answer; if it fails there is none. Unlike in Flume it is given 30 seconds
//! and may print 1 MiB, and what it prints to standard error is part of the warning.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use encoding_rs::{Encoding, UTF_8};
use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;
use splashdam_config::{ConfigFilter, Words};
use splashdam_core::{Component, Context, OpenError};

const TIME_LIMIT: Duration = Duration::from_secs(30);
const OUTPUT_LIMIT_BYTES: u64 = 1 << 20;
/// As much of the standard error as a warning quotes.
const COMPLAINT_BYTES: u64 = 300;

/// Keys of the external process filter.
#[derive(Clone, Debug, Deserialize)]
pub struct Config {
    /// The command and its arguments, split at blanks; the key follows as the last argument.
    pub command: NonEmptyCommand,
    /// The charset of what it prints.
    #[serde(default)]
    pub charset: Charset,
}

/// A command of at least one word.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Words")]
pub struct NonEmptyCommand {
    program: String,
    arguments: Vec<String>,
}

impl TryFrom<Words> for NonEmptyCommand {
    type Error = &'static str;
    fn try_from(Words(words): Words) -> Result<Self, &'static str> {
        let mut words = words.into_iter();
        let program = words.next().ok_or("the command is empty")?;
        Ok(NonEmptyCommand { program, arguments: words.collect() })
    }
}

/// A charset by its name.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Charset(&'static Encoding);

impl Default for Charset {
    fn default() -> Self {
        Charset(UTF_8)
    }
}

impl TryFrom<String> for Charset {
    type Error = String;
    fn try_from(name: String) -> Result<Self, String> {
        let known = Encoding::for_label(name.as_bytes()).map(Charset);
        known.ok_or_else(|| format!("`{name}` is no charset known here, try UTF-8 or ISO-8859-1"))
    }
}

/// The filter.
#[derive(Debug)]
pub struct ExternalProcess {
    config: Config,
    time_limit: Duration,
}

impl Component for ExternalProcess {
    const TYPE: &'static str = "external";
    const ALIASES: &'static [&'static str] =
        &["org.apache.flume.configfilter.ExternalProcessConfigFilter"];
    type Config = Config;

    async fn open(config: Config, _cx: Context) -> Result<Self, OpenError> {
        Ok(ExternalProcess { config, time_limit: TIME_LIMIT })
    }
}

impl ConfigFilter for ExternalProcess {
    fn lookup(&self, key: &str) -> Result<Option<String>, String> {
        let NonEmptyCommand { program, arguments } = &self.config.command;
        let child = Command::new(program)
            .args(arguments)
            .arg(key)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|error| format!("cannot run {program} for key {key}: {error}"))?;
        let answer =
            self.answer_of(child).map_err(|why| format!("{program} {why} for key {key}"))?;
        let line = answer.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if answer.is_empty() {
            return Ok(None);
        }
        Ok(Some(self.config.charset.0.decode_without_bom_handling(line).0.into_owned()))
    }
}

impl ExternalProcess {
    /// What the process prints before it ends well and in time. It and all that it started in its
    /// group is killed otherwise.
    fn answer_of(&self, mut child: Child) -> Result<Vec<u8>, String> {
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let (sender, receiver) = mpsc::sync_channel(1);
        // Another thread waits, so that this one can give up; it ends as the process is killed.
        thread::spawn(move || {
            let complaint = thread::spawn(move || read(stderr, COMPLAINT_BYTES));
            let answer = read(stdout, OUTPUT_LIMIT_BYTES);
            let status = child.wait();
            // Nobody listens any more when the time was up.
            drop(sender.send((status, answer, complaint.join().unwrap_or_default())));
        });
        let Ok((status, answer, complaint)) = receiver.recv_timeout(self.time_limit) else {
            // An error means that it has just ended.
            let _gone = group.map(|group| kill_process_group(group, Signal::KILL));
            return Err(format!("gave no answer within {:?}", self.time_limit));
        };
        match status {
            Ok(status) if status.success() => Ok(answer),
            Ok(status) => {
                let complaint = String::from_utf8_lossy(&complaint);
                let complaint = complaint.split_whitespace().collect::<Vec<_>>().join(" ");
                let said = if complaint.is_empty() { "" } else { " and said: " };
                Err(format!("ended with {status}{said}{complaint}"))
            }
            Err(error) => Err(format!("could not be waited for: {error}")),
        }
    }
}

/// Reads to the end, of which `limit` bytes are kept.
fn read(from: Option<impl Read>, limit: u64) -> Vec<u8> {
    let Some(mut from) = from else { return Vec::new() };
    let mut kept = Vec::new();
    // What was read before an error is as good as an answer cut short by the process.
    drop(from.by_ref().take(limit).read_to_end(&mut kept));
    drop(std::io::copy(&mut from, &mut std::io::sink()));
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use splashdam_config::Section;
    use splashdam_core::Role;
    use splashdam_testkit::context;

    async fn filter(keys: &str) -> ExternalProcess {
        let config = Section::parse(keys).read::<Config>().into_result().unwrap();
        ExternalProcess::open(config, context(Role::Source)).await.unwrap()
    }

    /// A filter whose command is a shell script.
    async fn script(dir: &tempfile::TempDir, text: &str) -> ExternalProcess {
        let path = dir.path().join("answer.sh");
        std::fs::write(&path, text).unwrap();
        filter(&format!("command = /bin/sh  {}", path.display())).await
    }

    #[tokio::test]
    async fn the_first_line_is_the_answer() {
        let check = async |command: &str, key: &str, want: Option<&str>| {
            let answer = filter(&format!("command = {command}")).await.lookup(key);
            assert_eq!(answer, Ok(want.map(str::to_owned)), "{command}");
        };
        check("echo", "key-1", Some("key-1")).await;
        check("echo a  b", "c", Some("a b c")).await;
        check("printf one\\\\ntwo\\\\n%s", "x", Some("one")).await;
        check("printf one\\\\r\\\\n%s", "x", Some("one")).await;
        check("printf \\\\n%s", "x", Some("")).await;
        check("true", "x", None).await;
        let latin = "command = printf gr\\\\374n\\ncharset = ISO-8859-1".replace("\\n", "\n");
        assert_eq!(filter(&latin).await.lookup("x"), Ok(Some("grün".into())));
    }

    #[tokio::test]
    async fn failures_say_why() {
        let check = async |command: &str, want: &str| {
            let error = filter(&format!("command = {command}")).await.lookup("k").unwrap_err();
            assert!(error.contains(want), "{error}");
            assert!(error.contains("for key k"), "{error}");
        };
        check("false", "ended with exit status: 1").await;
        check("/no/such/program", "cannot run /no/such/program").await;
        check("ls /no/such/file", "and said: ls:").await;
    }

    #[tokio::test]
    async fn time_and_output_are_bounded() {
        let dir = tempfile::tempdir().unwrap();
        // The child of the shell holds the pipe open: it must not be waited for either.
        let mut slow = script(&dir, "sleep 1000 & wait").await;
        slow.time_limit = Duration::from_millis(50);
        let error = slow.lookup("k").unwrap_err();
        assert!(error.contains("no answer within 50ms"), "{error}");
        let endless =
            script(&dir, "head -c 3000000 /dev/zero; head -c 1000000 /dev/zero >&2").await;
        let len = OUTPUT_LIMIT_BYTES;
        assert_eq!(endless.lookup("k").unwrap().unwrap().len() as u64, len);
    }

    #[test]
    fn bad_keys_are_found() {
        for (keys, want) in [
            ("", "missing-key"),
            ("command =", "bad-value"),
            ("command = x\ncharset = klingon", "bad-value"),
            ("command = x\ncomand = y", "unknown-key"),
        ] {
            let codes: Vec<_> =
                Section::parse(keys).read::<Config>().findings.iter().map(|f| f.code).collect();
            assert_eq!(codes, [want], "{keys}");
        }
    }
}
