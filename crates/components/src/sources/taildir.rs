//! Source `TAILDIR`: follows files that grow, line by line, through every kind of rotation.
//!
//! Flume's class: `org.apache.flume.source.taildir.TaildirSource`. One thread reads files in turn
//! (`tailer`, `listing`, `reading`, `copies`); the task here puts batches and notes positions
//! (`positions`) once the channels have committed them.
//!
//! What differs from Flume, and why:
//! - A file is known by device, inode, birth time and fingerprints of its first bytes and of those
//!   before the position, not by inode and path: renaming repeats nothing, an inode that is used
//!   again loses nothing, `copytruncate` does neither.
//! - New lines are waited for (notification, polling as the fallback), not polled for after sleeps
//!   that grow to 5 s. `maxBackoffSleep` is how often everything is looked at all the same.
//! - Files take turns after 1 MiB each, so that a busy one does not hold up the others, and a
//!   batch may hold lines of several files. Flume drains one after the other.
//! - The position file is replaced in one step, so that a crash cannot empty it; what Flume's
//!   format has no room for stands beside it. A damaged one is refused rather than forgotten.
//! - The position file is also written before `writePosInterval` is over, after the first lines
//!   of a run and after many, so that crashes in a row do not repeat the same lines for ever.
//! - Lines have a longest length (`maxLineLength`, `longLines`) and batches 4 MiB.
//! - A missing directory is waited for; Flume leaves the source out.
//! - A file without a name that matches is read until it is idle for `idleTimeout`, one that is
//!   removed also at the stop, and then its last line counts as complete.
//! - When a last line without end was delivered as it was, after `idleTimeout`, its end alone
//!   makes no empty event.

mod copies;
mod filler;
mod groups;
mod known;
mod lines;
mod listing;
mod positions;
mod print;
mod pump;
mod reading;
mod tailed;
mod tailer;
mod trail;
mod watch;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use splashdam_config::{Diagnostic, Section, Severity};
use splashdam_core::pipeline::Patience;
use splashdam_core::{
    Claim, Component, Context, Facts, OpenError, Outlet, Pipeline, Size, Source, SourceError, Stop,
    Text, Trouble,
};
use tokio::sync::{Notify, mpsc};
use tokio::task::spawn_blocking;
use tracing::{info, warn};

use filler::{AHEAD_BYTES, BATCH_BYTES, SEND_BYTES};
pub use groups::FileGroups;
pub use lines::LongLines;
use lines::Rule;
use positions::{Positions, Saved, make_directory, sync_directory};
use pump::{Leash, Pump};
use tailer::{Settings, Tailer, most_open};
use watch::Watch;

/// Times about a thousand events, or a batch, read ahead of those that are being put.
const READ_AHEAD: usize = 2;
/// What is put without waiting for what came before, while the channels make that durable.
const AHEAD: Size = Size { events: 65_536, bytes: AHEAD_BYTES };
/// How long a batch that is refused while the source stops is tried again: a little more patience,
/// as it may hold the last lines of a file that nobody can find again.
const LAST_TRIES: Duration = Duration::from_millis(500);
/// How soon positions are written after the first lines of a run or after many, and how long not
/// after they were written: for as long as that took, so many times, but no shorter than this.
const SAVE_SOON: Duration = Duration::from_millis(100);
const SAVE_PAUSE: Duration = Duration::from_millis(250);
const SAVE_SHARE: u32 = 4;
/// The first wait after channels refused a batch; it doubles up to `maxBackoffSleep`.
const FIRST_RETRY: Duration = Duration::from_millis(100);

/// Keys of the taildir source.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Config {
    /// Names of groups between blanks, and for each `filegroups.<g>`: an absolute path whose last
    /// segment is a regular expression for whole file names. The directory is taken literally.
    pub filegroups: Option<FileGroups>,
    /// Where positions are kept; its directory is made when missing. Flume's own file is read and
    /// written. Default: `.flume/taildir_position.json` in the home directory.
    pub position_file: Option<PathBuf>,
    /// `headers.<g>.<name>`: headers of all events of a group. Names may hold dots.
    pub headers: BTreeMap<String, String>,
    /// Whether to set a header to the file's absolute path.
    pub file_header: bool,
    /// The name of that header.
    pub file_header_key: String,
    /// Whether to set the header `byteoffset` to where in the file the line starts.
    pub byte_offset_header: bool,
    /// Whether files that are there at the start, and have no position yet, are read from their
    /// end. Those found later are read from their start.
    pub skip_to_end: bool,
    /// Milliseconds without change, at least 100, after which a file is closed and its last line
    /// delivered, complete or not.
    pub idle_timeout: u64,
    /// Milliseconds between writes of the position file, which is written when positions changed;
    /// earlier after the first lines of a run and after many (100000, or 64 MiB).
    pub write_pos_interval: u64,
    /// Events in one batch.
    pub batch_size: NonZeroUsize,
    /// Batches from one file before another has its turn. Zero or less means the default: no limit
    /// but the turn of 1 MiB.
    pub max_batch_count: i64,
    /// Whether a directory is listed again only when it changed.
    pub cache_pattern_matching: bool,
    /// Accepted as in Flume, where it lets sleeps grow; there are none here.
    pub backoff_sleep_increment: u64,
    /// Milliseconds after which files and directories are looked at even without notification,
    /// and the longest wait before a refused batch is put again.
    pub max_backoff_sleep: u64,
    /// Bytes of the longest line, without its end. Not in Flume.
    pub max_line_length: NonZeroUsize,
    /// Whether directories of file groups that are missing at the start are made. Not in Flume.
    pub create_directories: bool,
    /// What becomes of longer lines: `split` into events of that length, `truncate` to it, or
    /// `skip`. Not in Flume.
    pub long_lines: LongLines,
}

impl Default for Config {
    fn default() -> Self {
        const MIB_16: NonZeroUsize = NonZeroUsize::new(16 * 1024 * 1024).unwrap();
        const HUNDRED: NonZeroUsize = NonZeroUsize::new(100).unwrap();
        Config {
            filegroups: None,
            position_file: None,
            headers: BTreeMap::new(),
            file_header: false,
            file_header_key: "file".into(),
            byte_offset_header: false,
            skip_to_end: false,
            idle_timeout: 120_000,
            write_pos_interval: 3_000,
            batch_size: HUNDRED,
            max_batch_count: i64::MAX,
            cache_pattern_matching: true,
            backoff_sleep_increment: 1_000,
            max_backoff_sleep: 5_000,
            max_line_length: MIB_16,
            create_directories: false,
            long_lines: LongLines::Split,
        }
    }
}

/// The source.
pub struct Taildir {
    cx: Context,
    config: Config,
    groups: FileGroups,
    positions: Arc<Positions>,
    saved: Saved,
}

impl Component for Taildir {
    const TYPE: &'static str = "TAILDIR";
    const ALIASES: &'static [&'static str] = &["org.apache.flume.source.taildir.TaildirSource"];
    type Config = Config;

    async fn open(config: Config, cx: Context) -> Result<Self, OpenError> {
        let groups = config.filegroups.clone();
        let groups = groups.ok_or_else(|| OpenError::Config(vec![no_groups()]))?;
        let file = config.position_file(&cx.world.home());
        let context = cx.clone();
        let wanted = if config.create_directories { groups.directories() } else { Vec::new() };
        let opened = spawn_blocking(move || {
            for directory in wanted {
                make_directory(&directory, sync_directory).map_err(|error| {
                    let directory = directory.display();
                    let said = format!(
                        "directory {directory} cannot be made: {error}; make it, or let the agent"
                    );
                    OpenError::refused(said, error)
                })?;
            }
            Positions::open(&file, &context)
        })
        .await;
        let (positions, saved) = opened.map_err(OpenError::unavailable)??;
        Ok(Taildir { cx, config, groups, positions: Arc::new(positions), saved })
    }

    fn facts(config: &Config) -> Facts {
        let mut sets_headers: Vec<String> = Vec::new();
        sets_headers.extend(config.file_header.then(|| config.file_header_key.clone()));
        sets_headers.extend(config.byte_offset_header.then(|| "byteoffset".to_owned()));
        let named = config.headers.keys().filter_map(|key| key.split_once('.'));
        sets_headers.extend(named.map(|(_, name)| name.to_owned()));
        // What is being filled, and what is on its way.
        let filled = (BATCH_BYTES + SEND_BYTES).saturating_add(config.max_line_length.get());
        let memory = filled.saturating_add(filled.max(AHEAD_BYTES));
        let positions = config.position_file(Path::new("~"));
        Facts {
            batch_events: Some(config.batch_size.get()),
            claims: vec![Claim::file("positionFile", positions, Severity::Error)],
            place: config.filegroups.as_ref().map(FileGroups::place),
            memory_bytes: Some(memory as u64),
            acknowledged: Some("the position moves on after the channels have committed the batch"),
            process_crash: Some(
                "nothing is repeated where the channels are durable and share a log, as it stores the position \
                 with the lines; with several logs what some of them had not stored yet is; otherwise lines since the last write of the position file are: those of \
                 writePosInterval at the most, and under load those of 100000 lines or 64 MiB",
            ),
            machine_crash: Some(
                "as after a crash of the process; lines that the file system had not written are lost with \
                 the file",
            ),
            sets_headers,
            ..Facts::default()
        }
    }

    fn check(config: &Config, section: &Section) -> Vec<Diagnostic> {
        let mut findings = Vec::new();
        if config.filegroups.is_none() {
            findings.push(no_groups().at(section.span()));
        }
        if config.max_batch_count <= 0 {
            let message = format!("maxBatchCount {} means no limit", config.max_batch_count);
            let finding = Diagnostic::warning("value-ignored", message);
            findings.push(finding.at(section.value_span("maxBatchCount")));
        }
        let listed = |group: &str| {
            config.filegroups.as_ref().is_some_and(|g| g.0.iter().any(|g| g.name == group))
        };
        for prefix in ["filegroups", "headers"] {
            for child in section.section(prefix).children() {
                if !listed(child.name()) {
                    let message =
                        format!("file group `{}` is not listed in filegroups", child.name());
                    let finding = Diagnostic::warning("unlisted-group", message);
                    findings
                        .push(finding.at(child.span()).help("add it there, or remove this line"));
                }
            }
        }
        findings
    }
}

fn no_groups() -> Diagnostic {
    Diagnostic::error("missing-key", "source type `TAILDIR` needs the key `filegroups`")
        .help("add `filegroups = g1` and `filegroups.g1 = /absolute/directory/name-pattern`")
}

impl Config {
    fn position_file(&self, home: &Path) -> PathBuf {
        self.position_file.clone().unwrap_or_else(|| home.join(".flume/taildir_position.json"))
    }

    fn settings(&self, groups: FileGroups, name: Arc<str>) -> Settings {
        let batches = usize::try_from(self.max_batch_count).ok().filter(|n| *n > 0);
        Settings {
            name,
            groups: groups.with_headers(&self.headers),
            file_header: self.file_header.then(|| Text::from(self.file_header_key.as_str())),
            byte_offset: self.byte_offset_header,
            skip_to_end: self.skip_to_end,
            // Files are looked at as often as this, so it has a floor.
            idle: Duration::from_millis(self.idle_timeout.max(100)),
            batch_size: self.batch_size.get(),
            quantum_lines: batches.map_or(usize::MAX, |n| n.saturating_mul(self.batch_size.get())),
            rule: Rule { max: self.max_line_length.get(), long: self.long_lines },
            cache_listing: self.cache_pattern_matching,
            longest_poll: Duration::from_millis(self.max_backoff_sleep.clamp(10, 60_000)),
            most_open: most_open(),
        }
    }
}

impl Source for Taildir {
    async fn run(self, out: Outlet, stop: Stop) -> Result<(), SourceError> {
        let Taildir { cx, config, groups, positions, mut saved } = self;
        let (watch, waker) = Watch::new().map_err(SourceError::new)?;
        let leash = Leash { stop: Arc::default(), waker };
        let (to, turns) = mpsc::channel(READ_AHEAD);
        let (life, trail) = pump::begin(&cx, &out, &positions, &mut saved).await;
        let settings = config.settings(groups, cx.name.clone());
        let world = cx.world.clone();
        let tailer =
            Tailer::new(settings, saved, watch, to, leash.stop.clone(), world, out.clone());
        let reader = spawn_blocking(move || tailer.run());
        let longest = Duration::from_millis(config.max_backoff_sleep);
        let pipeline = Pipeline::new(out.clone(), AHEAD);
        let patience = Patience::new(cx.name.clone(), FIRST_RETRY, longest, LAST_TRIES);
        let mut pump = Pump::new(&stop, &positions, (life, trail), pipeline, patience);
        let over = Notify::new();
        let pumping = async {
            let done = pump.run(&leash, turns).await;
            over.notify_one();
            done
        };
        let every = Duration::from_millis(config.write_pos_interval);
        let (done, ()) = tokio::join!(pumping, save_often(&positions, &cx, every, &over));
        // What is still in it holds up the reader, which may wait for room.
        drop(pump);
        leash.pull();
        let read = reader.await;
        let saved = save(&positions).await;
        done?;
        // That nobody took its batches any more is no news here.
        drop(read.map_err(SourceError::new)?);
        saved.map_err(|error| {
            let file = positions.file().display();
            SourceError::new(format!("position file {file} cannot be written: {error}"))
        })
    }
}

async fn save(positions: &Arc<Positions>) -> std::io::Result<()> {
    let positions = positions.clone();
    spawn_blocking(move || positions.save()).await.map_err(std::io::Error::other)?
}

/// Writes the position file now and then, until it is over. It is not cut off in the middle of that: who opens
/// the file next would find it locked.
async fn save_often(positions: &Arc<Positions>, cx: &Context, every: Duration, over: &Notify) {
    let mut trouble = Trouble::new();
    let mut not_before = tokio::time::Instant::now();
    loop {
        let early = async {
            positions.due().await;
            let soon = tokio::time::Instant::now() + SAVE_SOON;
            tokio::time::sleep_until(soon.max(not_before)).await;
        };
        tokio::select! {
            () = tokio::time::sleep(every.max(Duration::from_millis(10))) => {}
            () = early => {}
            () = over.notified() => return,
        }
        let now = cx.world.instant();
        let began = tokio::time::Instant::now();
        let saved = save(positions).await;
        not_before = tokio::time::Instant::now() + SAVE_PAUSE.max(began.elapsed() * SAVE_SHARE);
        match saved {
            Ok(()) if trouble.ended(now).is_some() => {
                info!(component = %cx.name, "the position file can be written again");
            }
            Ok(()) => {}
            Err(error) => {
                if trouble.happened(now, &error.to_string()).is_some() {
                    warn!(component = %cx.name, file = %positions.file().display(), %error, "the position file cannot be written; lines delivered since the last write would be repeated after a crash");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
