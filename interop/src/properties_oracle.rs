//! How `java.util.Properties` reads a text, answered by Java itself: one JVM for as many texts as wanted.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::peers::Peers;

/// A running Java program (`java/PropertiesOracle.java`, compiled as it starts). Dropping it ends it.
#[derive(Debug)]
pub struct PropertiesOracle {
    child: Child,
    questions: Option<ChildStdin>,
    answers: Receiver<String>,
}

/// The first answer waits for the JVM to start and to compile; later ones come at once.
const LIMIT: Duration = Duration::from_secs(60);

/// What Java made of a text: every assignment in order, duplicates included, keys and values [`escaped`]; or the
/// message of its refusal, escaped too.
pub type Reading = Result<Vec<(String, String)>, String>;

impl PropertiesOracle {
    /// Starts the program. The JVM must be a JDK, since it compiles the source.
    pub fn start(peers: &Peers) -> Result<PropertiesOracle> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("java/PropertiesOracle.java");
        let mut child = Command::new(&peers.java)
            .arg("-Xmx128m")
            .arg(&source)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting java on {}", source.display()))?;
        let questions = child.stdin.take();
        let said = BufReader::new(child.stdout.take().context("java has no output")?);
        let (send, answers) = sync_channel(1);
        // Reads until the program ends or nobody asks any more, so that an answer can be waited for with a limit.
        thread::spawn(move || {
            said.lines().map_while(Result::ok).try_for_each(|line| send.send(line))
        });
        Ok(PropertiesOracle { child, questions, answers })
    }

    /// Asks about one text.
    pub fn read(&mut self, text: &[u8]) -> Result<Reading> {
        let mut question = String::with_capacity(text.len() * 2 + 1);
        for byte in text {
            write!(question, "{byte:02x}")?;
        }
        question.push('\n');
        let questions = self.questions.as_mut().context("java has no input")?;
        questions.write_all(question.as_bytes())?;
        questions.flush()?;
        let answer = self
            .answers
            .recv_timeout(LIMIT)
            .context("java gave no answer; is it a JDK that can run a source file?")?;
        let mut words = answer.split('\t');
        match words.next() {
            Some("ok") => {
                let words: Vec<&str> = words.collect();
                ensure!(
                    words.len().is_multiple_of(2),
                    "java answered half an assignment: {answer}"
                );
                Ok(Ok(words
                    .chunks_exact(2)
                    .map(|pair| (pair[0].to_owned(), pair[1].to_owned()))
                    .collect()))
            }
            Some("error") => Ok(Err(words.next().unwrap_or_default().to_owned())),
            _ => bail!("java answered {answer}"),
        }
    }
}

impl Drop for PropertiesOracle {
    fn drop(&mut self) {
        drop(self.questions.take());
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Text as the program writes it: all but printable ASCII as `\uXXXX` per UTF-16 unit, backslashes too.
pub fn escaped(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for unit in text.encode_utf16() {
        match u8::try_from(unit) {
            Ok(byte @ b' '..=b'~') if byte != b'\\' => shown.push(char::from(byte)),
            _ => {
                // Writing to a string does not fail.
                write!(shown, "\\u{unit:04x}").ok();
            }
        }
    }
    shown
}
