//! `avro-client`: lines to an Avro source, as Flume's command of that name sends them.
//!
//! Flume's class: `org.apache.flume.client.avro.AvroCLIClient`. As there a line is an event, whatever
//! ends it, and calls follow one another. Calls hold 100 lines instead of 5, a failure is told by the
//! exit status, and a file of a directory that is done is renamed to end in `.COMPLETED`, where Flume
//! writes `fileSuffix`.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use splashdam_client::settings::SettingsError;
use splashdam_client::{Address, Client, DeliveryError, Kind, Settings};
use splashdam_components::dialer::Dialer;
use splashdam_components::tls::ClientTls;
use splashdam_config::diagnostic::escaped;
use splashdam_config::{Section, text};
use splashdam_core::metrics::Counters;
use splashdam_core::{Context, Event, Headers, OpenError, Role, Shared};

use crate::cli::FAILED;
use crate::cli::avro_client::{AvroClientArgs, Input, Target};
use crate::log::progress::Bar;
use crate::log::refused;
use crate::world::Machine;

/// Bytes of one call's lines at the most, but for a longer line.
const CALL_BYTES: usize = 4 << 20;
/// The longest line.
const LINE_BYTES: usize = 16 << 20;
/// What the name of a file that is done ends in.
const DONE: &str = ".COMPLETED";

/// Why sending ended early.
#[derive(Debug, thiserror::Error)]
enum Stopped {
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("cannot read standard input: {0}")]
    Standard(io::Error),
    #[error("{}: line {line} is longer than {LINE_BYTES} bytes", input)]
    Line { input: String, line: u64 },
    #[error(transparent)]
    Delivery(#[from] DeliveryError),
    #[error("{}: {source}", path.display())]
    Settings { path: PathBuf, source: SettingsError },
    #[error(transparent)]
    Open(#[from] OpenError),
}

/// Runs the command; answers the exit status.
pub(crate) fn run(args: &AvroClientArgs) -> io::Result<u8> {
    for note in &args.java.notes {
        writeln!(io::stderr(), "note: {}", escaped(note, false))?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut sent = 0;
    match runtime.block_on(send(args, &mut sent)) {
        Ok(()) => {
            writeln!(io::stderr(), "{sent} events sent")?;
            Ok(0)
        }
        Err(stopped) => {
            refused(&format!("{stopped}\n{sent} events were sent before that"))?;
            Ok(FAILED)
        }
    }
}

async fn send(args: &AvroClientArgs, sent: &mut u64) -> Result<(), Stopped> {
    let headers = match &args.headers {
        Some(path) => properties(path)?.into_iter().collect(),
        None => Headers::default(),
    };
    let mut sender = Sender { client: client(args).await?, headers, sent };
    match &args.input {
        Input::Standard => {
            let input = BufReader::with_capacity(1 << 16, io::stdin().lock());
            let bar = Bar::new("sending");
            sender.lines("standard input", input, None, bar, Stopped::Standard).await
        }
        Input::File(path) => sender.file(path).await,
        Input::Directory(directory) => {
            for path in files(directory).map_err(|source| at(directory, source))? {
                sender.file(&path).await?;
                let mut done = path.clone().into_os_string();
                done.push(DONE);
                fs::rename(&path, done).map_err(|source| at(&path, source))?;
            }
            Ok(())
        }
    }
}

fn at(path: &Path, source: io::Error) -> Stopped {
    Stopped::File { path: path.to_owned(), source }
}

/// Keys and values of a file of properties.
fn properties(path: &Path) -> Result<Vec<(String, String)>, Stopped> {
    let bytes = fs::read(path).map_err(|source| at(path, source))?;
    let entries = text::parse(&bytes).entries.into_iter();
    Ok(entries.map(|entry| (entry.key.text().to_owned(), entry.value.text().to_owned())).collect())
}

async fn client(args: &AvroClientArgs) -> Result<Client, Stopped> {
    /// What of a client's properties is about TLS.
    #[derive(Deserialize)]
    struct Keys {
        #[serde(rename = ".tls", default)]
        tls: ClientTls,
    }
    let (settings, section) = match &args.target {
        Target::Address(host, port) => {
            let address = Address { host: host.clone(), port: *port };
            (Settings::to(address, Kind::Default), Section::empty())
        }
        Target::Properties(path) => {
            let settings = Settings::from_properties(properties(path)?);
            let failed = |source| Stopped::Settings { path: path.clone(), source };
            let bytes = fs::read(path).map_err(|source| at(path, source))?;
            let entries = text::parse(&bytes).entries;
            (
                settings.map_err(failed)?,
                Section::new("rpcProps", splashdam_config::tree::Role::Part, None, entries),
            )
        }
    };
    let keys = section.read::<Keys>();
    let tls = match keys.value {
        Some(Keys { tls }) => tls,
        None => return Err(OpenError::Config(keys.findings).into()),
    };
    let cx = Context {
        dead_letters: false,
        agent: "avro-client".into(),
        name: "avro-client".into(),
        role: Role::Sink,
        choices: Arc::new([]),
        counters: Counters::new(Role::Sink),
        world: Arc::new(Machine::new(args.java.properties.clone())),
        shared: Shared::default(),
    };
    let dialer = Dialer::new(&tls, settings.deflate, &cx).await?;
    Ok(Client::with(settings, Arc::new(dialer)))
}

/// The files that are not done, the oldest first.
fn files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let metadata = fs::metadata(entry.path())?;
        if metadata.is_file() && !name.starts_with('.') && !name.ends_with(DONE) {
            found.push((metadata.modified()?, entry.path()));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

struct Sender<'a> {
    client: Client,
    headers: Headers,
    sent: &'a mut u64,
}

impl Sender<'_> {
    async fn file(&mut self, path: &Path) -> Result<(), Stopped> {
        let file = File::open(path).map_err(|source| at(path, source))?;
        // What is no file, as a pipe, has no length that means anything.
        let size = file.metadata().ok().filter(fs::Metadata::is_file).map(|found| found.len());
        let (name, bar) = (path.display().to_string(), Bar::new("sending"));
        let input = BufReader::with_capacity(1 << 16, file);
        self.lines(&name, input, size, bar, |source| at(path, source)).await
    }

    /// Sends lines in calls of the client's size.
    async fn lines(
        &mut self,
        name: &str,
        input: impl BufRead,
        size: Option<u64>,
        mut bar: Bar,
        failed: impl Fn(io::Error) -> Stopped,
    ) -> Result<(), Stopped> {
        let most = self.client.settings().batch_size.get();
        let mut lines = Lines { input, behind_return: false, read: 0 };
        let (mut number, mut ended) = (0, false);
        while !ended {
            let (mut call, mut bytes) = (Vec::new(), 0);
            while call.len() < most && bytes < CALL_BYTES {
                let Some(line) = lines.next().map_err(&failed)? else {
                    ended = true;
                    break;
                };
                number += 1;
                if line.len() > LINE_BYTES {
                    return Err(Stopped::Line { input: name.to_owned(), line: number });
                }
                bytes += line.len();
                call.push(Event { headers: self.headers.clone(), body: line.into() });
            }
            self.client.append_batch(&call).await?;
            *self.sent += call.len() as u64;
            match size {
                Some(size) => bar.at(lines.read, size),
                None => bar.count(*self.sent),
            }
        }
        Ok(())
    }
}

/// Lines as Java's `BufferedReader` parts them: at LF, CR or both.
struct Lines<I> {
    input: I,
    /// The last line ended at CR, so that LF belongs to it.
    behind_return: bool,
    /// Bytes so far.
    read: u64,
}

impl<I: BufRead> Lines<I> {
    /// The next line, without its end; one that is too long comes cut off one byte behind the limit.
    fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        let (mut line, mut begun) = (Vec::new(), false);
        loop {
            let buffer = self.input.fill_buf()?;
            if buffer.is_empty() {
                return Ok(begun.then_some(line));
            }
            if std::mem::take(&mut self.behind_return) && buffer[0] == b'\n' {
                self.consume(1);
                continue;
            }
            begun = true;
            let end = buffer.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let part = &buffer[..end.unwrap_or(buffer.len())];
            let room = (LINE_BYTES + 1).saturating_sub(line.len());
            line.extend_from_slice(&part[..part.len().min(room)]);
            let is_return = end.is_some_and(|end| buffer[end] == b'\r');
            let used = part.len() + usize::from(end.is_some());
            self.consume(used);
            self.behind_return = is_return;
            if end.is_some() || line.len() > LINE_BYTES {
                return Ok(Some(line));
            }
        }
    }

    fn consume(&mut self, bytes: usize) {
        self.input.consume(bytes);
        self.read += bytes as u64;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn lines_end_as_in_java() {
        let check = |input: &str, want: &[&str]| {
            // Through the smallest buffers there are, too.
            for capacity in [1, 2, 100] {
                let input = BufReader::with_capacity(capacity, input.as_bytes());
                let mut lines = Lines { input, behind_return: false, read: 0 };
                let mut found = Vec::new();
                while let Some(line) = lines.next().unwrap() {
                    found.push(String::from_utf8(line).unwrap());
                }
                assert_eq!(found, want, "{input:?}", input = lines.read);
            }
        };
        check("", &[]);
        check("a\nb\n", &["a", "b"]);
        check("a\r\nb\rc", &["a", "b", "c"]);
        check("\n\n", &["", ""]);
        check("\r\n\r\n", &["", ""]);
        check("a\n\r", &["a", ""]);
        check("last", &["last"]);
    }

    #[test]
    fn a_line_without_an_end_takes_no_more_memory_than_allowed() {
        let input = BufReader::new(io::repeat(b'x').take(3 * LINE_BYTES as u64));
        let mut lines = Lines { input, behind_return: false, read: 0 };
        assert_eq!(lines.next().unwrap().unwrap().len(), LINE_BYTES + 1);
    }
}
