//! Source `spooldir`: files put into a directory, read once each, from front to back.
//!
//! Flume's class: `org.apache.flume.source.SpoolDirectorySource`. Progress is kept in Flume's own
//! file and form, written after the channels took a batch and before the next is put, so a crash of
//! the process repeats one batch at most; one of the machine what was put in the tenth of a second
//! before. What differs:
//!
//! - Flume stops for good when a file changes while it is read, when the name of a finished file is
//!   taken, or when bytes mean nothing in `inputCharset`. Here that one file is reported once and
//!   set aside with its progress, and the others go on. A file that grew is read on from where
//!   reading was, and finished a minute after its last change; one whose finished name is taken
//!   waits until that is gone; one with bad bytes, or that cannot be unpacked, waits until it changes
//!   or the agent starts again.
//!   What the system refuses (permissions, a full disk) is tried again every minute.
//! - No canary file is written at the start. Whether the directory may be written to is asked only
//!   where files are to be renamed or deleted: with `trackingPolicy = tracker_dir` and an absolute
//!   `trackerDir` nothing is ever written there.
//! - Symbolic links are not followed unless `followSymlinks` says so: who may put a link here could
//!   otherwise have any file read that the agent can read. Links to directories are never followed.
//! - A crash between the last batch of a file and its renaming makes no empty event.
//! - A lock in the tracker directory keeps a second agent out.
//!
//! As in Flume an empty file makes one event without a body.
//!
//! | deserializer | an event is | keys below `deserializer.` |
//! |---|---|---|
//! | `LINE` | a line | `maxLineLength` (2048) characters, what is longer goes on in the next event; `outputCharset` (`UTF-8`) |
//! | `AVRO` | a datum of an Avro container file, as it lies there | `schemaType`: `HASH` sets the header `flume.avro.schema.hash`, `LITERAL` sets `flume.avro.schema.literal` |
//! | `BLOB`, `org.apache.flume.sink.solr.morphline.BlobDeserializer$Builder` | a whole file | `maxBlobLength` (100000000) bytes, what is longer goes on in the next event |

mod finish;
mod progress;
mod scan;
mod spooler;

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use serde::Deserialize;
use splashdam_config::{Diagnostic, Lenient, Reading, Section, Severity};
use splashdam_core::{
    Claim, Component, Context, Facts, Hold, OpenError, Outlet, Source, SourceError, Stop, Trouble,
};
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::gave_up;
use crate::charset::{Charset, OnMalformed};
use crate::deserializers::{BATCH_BYTES, Choice};
use crate::name_pattern::NamePattern;
use progress::SYNC_EVERY;
use spooler::{Spooler, Step};

/// The first wait after a channel refused; the longest is `maxBackoff`.
const FIRST_RETRY: Duration = Duration::from_millis(250);
/// The least time between two looks at the directory.
const LEAST_POLL: Duration = Duration::from_millis(10);
/// Time until the next try when nothing can go on, as when the disk of the progress file is full.
const STUCK: Duration = Duration::from_secs(1);

/// Keys of the spooling directory source.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// The directory. It must be there.
    pub spool_dir: PathBuf,
    /// What is appended to the name of a finished file; names that end so are not read.
    #[serde(default = "file_suffix")]
    pub file_suffix: String,
    /// Whether finished files are deleted (`immediate`) or kept (`never`).
    #[serde(default)]
    pub delete_policy: DeletePolicy,
    /// Whether each event gets a header with the absolute path of its file.
    #[serde(default)]
    pub file_header: bool,
    /// The name of that header.
    #[serde(default = "file_header_key")]
    pub file_header_key: String,
    /// Whether each event gets a header with the name of its file.
    #[serde(default)]
    pub basename_header: bool,
    /// The name of that header.
    #[serde(default = "basename_header_key")]
    pub basename_header_key: String,
    /// Only files whose whole name matches this regular expression are read. Default: `^.*$`.
    #[serde(default = "NamePattern::everything")]
    pub include_pattern: NamePattern,
    /// Files, and directories below, whose whole name matches this are not read, whatever
    /// `includePattern` says. Default: `^$`.
    #[serde(default = "NamePattern::nothing")]
    pub ignore_pattern: NamePattern,
    /// Where progress is kept: an absolute path, or one below `spoolDir`. It is made if its parent
    /// is there.
    #[serde(default = "tracker_dir")]
    pub tracker_dir: PathBuf,
    /// How it is remembered that a file is finished: by renaming it (`rename`), or by an empty file
    /// of its name in the tracker directory (`tracker_dir`), which leaves it untouched.
    #[serde(default)]
    pub tracking_policy: TrackingPolicy,
    /// Which file comes first: `oldest` or `youngest` by time of change, ties by name, or `random`.
    #[serde(default)]
    pub consume_order: ConsumeOrder,
    /// Milliseconds between looks at the directory when there is nothing to read, at least 10.
    #[serde(default = "poll_delay")]
    pub poll_delay: u64,
    /// Whether directories below are read as well, but for those that begin with a dot.
    #[serde(default)]
    pub recursive_directory_search: bool,
    /// Milliseconds between tries to put a batch that a channel refuses, at the most.
    #[serde(default = "max_backoff")]
    pub max_backoff: u64,
    /// Events in one transaction. One of many large events ends at 16 MiB.
    #[serde(default = "batch_size")]
    pub batch_size: NonZeroU32,
    /// The charset of the files, by its Java name.
    #[serde(default)]
    pub input_charset: Charset,
    /// What becomes of bytes that mean nothing in that charset: the file is set aside (`FAIL`), they
    /// become U+FFFD (`REPLACE`), or they are left out (`IGNORE`).
    #[serde(default)]
    pub decode_error_policy: OnMalformed,
    /// How files become events, with keys below: alias or class of the builder.
    #[serde(default)]
    pub deserializer: Section,
    /// Obsolete, has no effect.
    #[serde(default)]
    pub buffer_max_lines: Option<Lenient<i64>>,
    /// Old name of `deserializer.maxLineLength`, which it overrides.
    #[serde(default)]
    pub buffer_max_line_length: Option<NonZeroU32>,
    /// Whether files that are packed with gzip or zstd, by what they begin with, are unpacked as they
    /// are read. Not a key of Flume, which takes them as they are.
    #[serde(default)]
    pub decompress: bool,
    /// Bytes that a packed file may become; one that becomes more is set aside there. Not a key of
    /// Flume.
    #[serde(default = "max_uncompressed_bytes")]
    pub max_uncompressed_bytes: u64,
    /// Whether symbolic links to files are read. Not a key of Flume, which does.
    #[serde(default)]
    pub follow_symlinks: bool,
}

fn file_suffix() -> String {
    ".COMPLETED".to_owned()
}

fn file_header_key() -> String {
    "file".to_owned()
}

fn basename_header_key() -> String {
    "basename".to_owned()
}

fn tracker_dir() -> PathBuf {
    ".flumespool".into()
}

fn poll_delay() -> u64 {
    500
}

fn max_backoff() -> u64 {
    4000
}

fn max_uncompressed_bytes() -> u64 {
    100 << 30
}

fn batch_size() -> NonZeroU32 {
    const { NonZeroU32::new(100).unwrap() }
}

/// Whether finished files are deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename = "any case", rename_all = "lowercase")]
pub enum DeletePolicy {
    /// They are kept.
    #[default]
    Never,
    /// At once.
    Immediate,
}

/// How it is remembered that a file is finished.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename = "any case", rename_all = "snake_case")]
pub enum TrackingPolicy {
    /// By its name.
    #[default]
    Rename,
    /// By a file in the tracker directory.
    TrackerDir,
}

/// Which file comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename = "any case", rename_all = "lowercase")]
pub enum ConsumeOrder {
    /// The one that was changed first.
    #[default]
    Oldest,
    /// The one that was changed last.
    Youngest,
    /// Any.
    Random,
}

impl Config {
    /// The deserializer with its keys, old ones included.
    fn deserializer(&self) -> Reading<Choice> {
        let mut reading = Choice::look(&self.deserializer);
        if let (Some(Choice::Line(line)), Some(old)) =
            (&mut reading.value, self.buffer_max_line_length)
        {
            line.max_line_length = old;
        }
        reading
    }

    fn suffix_error(&self) -> Option<Diagnostic> {
        let bad = self.file_suffix.is_empty() || self.file_suffix.contains('/');
        bad.then(|| {
            let message = "`fileSuffix` must be part of a name and not empty";
            Diagnostic::error("invalid-value", message).help("leave it out to get .COMPLETED")
        })
    }
}

/// The source.
pub struct SpoolDir {
    config: Config,
    cx: Context,
    spooler: Box<Spooler>,
}

impl Component for SpoolDir {
    const TYPE: &'static str = "spooldir";
    const ALIASES: &'static [&'static str] = &["org.apache.flume.source.SpoolDirectorySource"];
    type Config = Config;

    async fn open(config: Config, cx: Context) -> Result<Self, OpenError> {
        if let Some(error) = config.suffix_error() {
            return Err(OpenError::Config(vec![error]));
        }
        let choice = config.deserializer().into_result().map_err(OpenError::Config)?;
        let (for_spooler, cx_for_spooler) = (config.clone(), cx.clone());
        let opened = spawn_blocking(move || Spooler::open(&for_spooler, choice, &cx_for_spooler));
        let spooler = opened.await.map_err(|error| OpenError::unavailable(panicked(&error)))?;
        let spooler = Box::new(spooler?);
        Ok(SpoolDir { config, cx, spooler })
    }

    fn facts(config: &Config) -> Facts {
        let headers = [
            (config.file_header, &config.file_header_key),
            (config.basename_header, &config.basename_header_key),
        ];
        let tracker = config.spool_dir.join(&config.tracker_dir);
        let set = headers.into_iter().filter(|(on, _)| *on).map(|(_, key)| key.clone());
        Facts {
            batch_events: Some(config.batch_size.get() as usize),
            place: Some(format!(
                "takes the files that are moved into {}",
                config.spool_dir.display()
            )),
            // Where two meet in both, the worse one is to be said. Patterns may keep the files apart.
            claims: vec![
                Claim::directory("trackerDir", tracker, Hold::Alone(Severity::Error)),
                Claim::directory("spoolDir", &config.spool_dir, Hold::Alone(Severity::Warning)),
            ],
            memory_bytes: Some(2 * BATCH_BYTES as u64),
            acknowledged: Some(
                "after the channels have committed the batch, by the position in the tracker directory",
            ),
            process_crash: Some(
                "nothing is read again where all channels are durable, as they store the position with the \
                 events, unless their selector takes turns and they do not share a log; otherwise the batch \
                 under way, if any, is",
            ),
            machine_crash: Some(
                "nothing is read again where all channels are durable, with the same exception; otherwise \
                 what was put in the last tenth of a second is",
            ),
            sets_headers: set.collect(),
            ..Facts::default()
        }
    }

    fn check(config: &Config, section: &Section) -> Vec<Diagnostic> {
        let mut findings = config.deserializer().findings;
        findings.extend(config.suffix_error().map(|e| e.at(section.value_span("fileSuffix"))));
        if config.buffer_max_lines.is_some() {
            let finding = Diagnostic::warning("obsolete-key", "`bufferMaxLines` has no effect");
            let finding = finding.at(section.key_span("bufferMaxLines"));
            findings.push(finding.help("remove it; `batchSize` limits a transaction"));
        }
        findings
    }
}

fn panicked(error: &JoinError) -> String {
    format!("reading the spooling directory ended early: {error}")
}

impl Source for SpoolDir {
    async fn run(self, out: Outlet, stop: Stop) -> Result<(), SourceError> {
        let SpoolDir { config, cx, mut spooler } = self;
        spooler.tell(&out);
        let poll = Duration::from_millis(config.poll_delay).max(LEAST_POLL);
        let most = Duration::from_millis(config.max_backoff);
        let mut trouble = Trouble::new();
        while !stop.requested() {
            let (back, step) = blocking(spooler, Spooler::step).await?;
            spooler = back;
            let wait = match step {
                Ok(step) => {
                    if let Some(lasted) = trouble.ended(cx.world.instant()) {
                        info!(component = %cx.title(), ?lasted, "the spooling directory is read again");
                    }
                    match step {
                        Step::Idle => poll,
                        Step::Batch(batch) => {
                            let mut put = pin!(out.put_patiently(batch, &stop, FIRST_RETRY, most));
                            let put = match timeout(SYNC_EVERY, &mut put).await {
                                Ok(put) => put,
                                // It waits for a channel, which may take long: what was put
                                // before must not wait for its sync as long.
                                Err(_) => {
                                    let (put, synced) =
                                        tokio::join!(put, blocking(spooler, Spooler::sync));
                                    let (back, synced) = synced?;
                                    spooler = back;
                                    if let Err(error) = synced
                                        && trouble.happened(cx.world.instant(), &error).is_some()
                                    {
                                        warn!(component = %cx.title(), "{error}");
                                    }
                                    put
                                }
                            };
                            if let Err(error) = put {
                                return gave_up(error, &stop);
                            }
                            spooler.delivered();
                            continue;
                        }
                    }
                }
                Err(error) => {
                    if trouble.happened(cx.world.instant(), &error).is_some() {
                        warn!(component = %cx.title(), "{error}");
                    }
                    poll.max(STUCK)
                }
            };
            stop.or(sleep(wait)).await;
        }
        let (_, settled) = blocking(spooler, Spooler::settle_for_good).await?;
        settled.map_err(SourceError::new)
    }
}

/// Runs a piece of work where blocking is allowed, and brings the spooler back.
async fn blocking<T: Send + 'static>(
    mut spooler: Box<Spooler>,
    work: fn(&mut Spooler) -> T,
) -> Result<(Box<Spooler>, T), SourceError> {
    let done = spawn_blocking(move || {
        let done = work(&mut spooler);
        (spooler, done)
    });
    done.await.map_err(|error| SourceError::new(panicked(&error)))
}

#[cfg(test)]
mod tests;
