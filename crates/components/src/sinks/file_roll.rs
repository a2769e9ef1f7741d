//! Sink `file_roll`: events into files of a local directory, a new file at each interval.
//!
//! Flume's class: `org.apache.flume.sink.RollingFileSink`. A batch is in the file whole or not at
//! all: after a failed write the file is cut back to what it was, so that the batch can be written
//! again without a torn or repeated line. What differs from Flume:
//!
//! - An existing file is never truncated: a name that is taken is passed over for the next number.
//! - The file is opened, and rolled, without waiting for the next batch.
//! - A file that was removed while it was open is noticed, and the batch goes to a new one.
//! - `sink.createDirectory` makes the directory.
//! - An unknown serializer and a batch size of 0 are errors; Flume's sink starts with them and never
//!   delivers.
//! - What a file channel hands out again after `kill -9` is not written again, but for the batch
//!   that was being written. For that the directory has a note, in `.splashdam`.
//! - An event that the serializer refuses for good goes to the channel of dead letters, if there is
//!   one; else it holds the sink, as in Flume.
//! - `sink.sync` says what must survive a crash of the machine; Flume leaves it to chance.
//! - `sink.rollSize`, `sink.rollCount` and `sink.compression` are what the HDFS sink's keys of such
//!   names are; Flume's file roll sink has no such keys.

mod compression;
mod disk;
mod names;
mod note;
mod writer;

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use serde::Deserialize;
use splashdam_config::{Diagnostic, Section, Severity};
use splashdam_core::{
    Batch, Claim, Component, Context, DeliverError, Delivered, Facts, OpenError, Rejected, Sink,
    Size, Trouble, World,
};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::{block_in_place, spawn_blocking};
use tracing::{info, warn};

use crate::{serializers, time_zone};
use compression::Compression;
use disk::{Disk, RealDisk};
use names::Names;
use writer::{FileError, Full, Writer};

/// How long a roll that failed waits before it is tried again, while the old file goes on.
const ROLL_AGAIN: Duration = Duration::from_secs(1);

/// Keys of the file roll sink.
#[derive(Clone, Debug, Deserialize)]
pub struct Config {
    /// The directory for the files. It must exist, unless `sink.createDirectory` is set.
    #[serde(rename = "sink.directory")]
    pub directory: PathBuf,
    /// Whether the directory is made, with those above it, when the sink opens; not a key of
    /// Flume's. One that vanishes later is never made again, since it may be a lost mount.
    #[serde(rename = "sink.createDirectory", default)]
    pub create_directory: bool,
    /// Seconds until the next file begins; 0 means one file for ever. As in Flume a new file
    /// begins even if nothing came in.
    #[serde(rename = "sink.rollInterval", default = "defaults::roll_interval")]
    pub roll_interval: u32,
    /// Bytes of the file, as it lies on the disk, after which the next batch goes to a new one; 0
    /// means never. No batch is parted, so a file may have nearly a batch more. Not a key of Flume's,
    /// as the next one.
    #[serde(rename = "sink.rollSize", default)]
    pub roll_size: u64,
    /// Events of the file after which the next batch goes to a new one; 0 means never.
    #[serde(rename = "sink.rollCount", default)]
    pub roll_count: u64,
    /// `none`, `gzip`, `zstd` or `bzip2`; not a key of Flume's. Names end with `.gz`, `.zst` or
    /// `.bz2` then. Each batch is compressed by itself, so that a file can be unpacked up to the last
    /// batch at any time; after a kill it may end in a part of one, which tools report as a file cut
    /// short behind all that they unpacked. Small batches compress badly: set `sink.batchSize` to
    /// thousands.
    #[serde(rename = "sink.compression", default)]
    pub compression: Compression,
    /// Events per transaction.
    #[serde(rename = "sink.batchSize", default = "defaults::batch_size")]
    pub batch_size: NonZeroU32,
    /// How events become bytes: `TEXT`, `HEADER_AND_TEXT`, `AVRO_EVENT` or a class of Flume's;
    /// the keys of the serializer go below.
    #[serde(rename = "sink.serializer", default)]
    pub serializer: Section,
    /// How files are named. `DEFAULT`: the milliseconds of the start and a number that grows.
    /// `ROLLTIME`: local time of the roll as `yyyyMMddHHmmss` and a number within the second.
    #[serde(rename = "sink.pathManager", default)]
    pub path_manager: PathManager,
    /// What names begin with.
    #[serde(rename = "sink.pathManager.prefix", default)]
    pub prefix: String,
    /// What names end with, without its dot.
    #[serde(rename = "sink.pathManager.extension", default)]
    pub extension: String,
    /// When files are synced to the disk; not a key of Flume's, which never does. `never`, `roll`
    /// (as a file ends) or `batch` (before a batch counts as delivered).
    #[serde(rename = "sink.sync", default)]
    pub sync: SyncWhen,
}

mod defaults {
    use std::num::NonZeroU32;

    pub(super) fn roll_interval() -> u32 {
        30
    }

    pub(super) fn batch_size() -> NonZeroU32 {
        const { NonZeroU32::new(100).unwrap() }
    }
}

/// How files are named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename = "any case")]
pub enum PathManager {
    /// By the time of the start.
    #[default]
    #[serde(
        rename = "DEFAULT",
        alias = "org.apache.flume.formatter.output.DefaultPathManager$Builder"
    )]
    Default,
    /// By the time of the roll.
    #[serde(
        rename = "ROLLTIME",
        alias = "org.apache.flume.formatter.output.RollTimePathManager$Builder"
    )]
    RollTime,
}

/// When files are synced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename = "any case")]
pub enum SyncWhen {
    /// When the system sees fit.
    #[default]
    #[serde(rename = "never")]
    Never,
    /// As a file ends.
    #[serde(rename = "roll")]
    Roll,
    /// Before a batch counts as delivered.
    #[serde(rename = "batch")]
    Batch,
}

impl Config {
    fn batch_events(&self) -> usize {
        usize::try_from(self.batch_size.get()).unwrap_or(usize::MAX)
    }

    /// What names end with: the extension behind a dot, and that of the compression.
    fn suffix(&self) -> String {
        let compression = self.compression.suffix();
        match self.extension.as_str() {
            "" => compression.to_owned(),
            extension => format!(".{extension}{compression}"),
        }
    }
}

/// The sink.
pub struct FileRoll {
    name: Arc<str>,
    world: Arc<dyn World>,
    limit: Size,
    /// Out while it is at work on another thread.
    writer: Option<Box<Writer>>,
    roll: Option<Roll>,
    /// A full file is not rolled before this, after a roll that failed.
    full_again: Instant,
    roll_trouble: Trouble,
}

/// When the next file is due.
struct Roll {
    every: Duration,
    due: Instant,
}

impl Component for FileRoll {
    const TYPE: &'static str = "file_roll";
    const ALIASES: &'static [&'static str] = &["org.apache.flume.sink.RollingFileSink"];
    type Config = Config;

    async fn open(config: Config, cx: Context) -> Result<Self, OpenError> {
        FileRoll::open_on(Arc::new(RealDisk), config, cx).await
    }

    fn facts(config: &Config) -> Facts {
        Facts {
            batch_events: Some(config.batch_events()),
            place: Some(format!("writes files into {}", config.directory.display())),
            claims: vec![Claim::files(
                "sink.directory",
                &config.directory,
                &config.prefix,
                &config.suffix(),
                Severity::Warning,
            )],
            process_crash: Some(match config.compression {
                Compression::None => {
                    "the batch that is being written may be there in part, and is written again after the restart"
                }
                _ => {
                    "the batch that is being written may be there in part, at which unpacking ends, and is written again to the next file after the restart"
                }
            }),
            machine_crash: Some(match config.sync {
                SyncWhen::Never => {
                    "what the system had not yet written to the disk is lost; set sink.sync to keep it"
                }
                SyncWhen::Roll => "what was written since the last roll may be lost",
                SyncWhen::Batch => {
                    "nothing that was delivered is lost; the last batch may be there twice"
                }
            }),
            rejects: serializers::rejects(&config.serializer),
            ..Facts::default()
        }
    }

    fn check(config: &Config, _section: &Section) -> Vec<Diagnostic> {
        serializers::check(&config.serializer)
    }
}

impl FileRoll {
    async fn open_on(disk: Arc<dyn Disk>, config: Config, cx: Context) -> Result<Self, OpenError> {
        let serializer = serializers::open(&config.serializer, cx.clone()).await?;
        let writer = Writer {
            component: cx.name.clone(),
            disk,
            world: cx.world.clone(),
            metrics: cx.counters.sink(),
            names: Names::new(&config, cx.world.now_millis(), || time_zone::local(&*cx.world)),
            directory: config.directory.clone(),
            serializer,
            sync: config.sync,
            compression: config.compression,
            full: Full { bytes: config.roll_size, events: config.roll_count },
            current: None,
            buffer: BytesMut::new(),
            dead_letters: cx.dead_letters,
            packed: Vec::new(),
            unread_note: Some(format!("{}.{}", cx.agent, cx.name)),
            note: None,
        };
        let every = Duration::from_secs(config.roll_interval.into());
        let mut sink = FileRoll {
            name: cx.name,
            limit: Size::events(config.batch_events()),
            writer: Some(Box::new(writer)),
            roll: (!every.is_zero()).then(|| Roll { every, due: cx.world.instant() + every }),
            full_again: cx.world.instant(),
            world: cx.world,
            roll_trouble: Trouble::new(),
        };
        let create_directory = config.create_directory;
        let open_first = move |writer: &mut Writer| {
            if create_directory {
                writer.create_directory()?;
            }
            writer.roll()
        };
        let opened = sink.on_disk(open_first).await;
        opened.map_err(OpenError::unavailable)?.map_err(OpenError::unavailable)?;
        Ok(sink)
    }

    /// Does blocking work on the writer: where it is, as that is a thread of the sink's own
    /// ([`Sink::BLOCKS`]), but in the runtime of tests, which has only one.
    async fn on_disk<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Writer) -> T + Send + 'static,
    ) -> Result<T, DeliverError> {
        const LOST: &str = "the writer was lost when an earlier delivery was cut short";
        if Handle::current().runtime_flavor() == RuntimeFlavor::MultiThread {
            let writer = self.writer.as_mut().ok_or_else(|| DeliverError::fail_over(LOST))?;
            return Ok(block_in_place(|| work(writer)));
        }
        let mut writer = self.writer.take().ok_or_else(|| DeliverError::fail_over(LOST))?;
        let worked = spawn_blocking(move || {
            let done = work(&mut writer);
            (writer, done)
        });
        match worked.await {
            Ok((writer, done)) => {
                self.writer = Some(writer);
                Ok(done)
            }
            Err(failed) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
            Err(_) => Err(DeliverError::fail_over("the runtime is shutting down")),
        }
    }

    /// Begins the next file when it is due, or when there is none after an error, or when `more` is
    /// to be written and the file is full.
    async fn roll_if_due(&mut self, more: bool) -> Result<(), DeliverError> {
        let now = self.world.instant();
        let none = self.writer.as_ref().is_some_and(|writer| writer.current.is_none());
        let full = more && now >= self.full_again;
        let full = full && self.writer.as_ref().is_some_and(|writer| writer.is_full());
        if !none && !full && self.roll.as_ref().is_none_or(|roll| now < roll.due) {
            return Ok(());
        }
        let rolled =
            self.on_disk(|writer| writer.roll().inspect_err(|_| writer.count_failure())).await?;
        if rolled.is_err() {
            self.full_again = now + ROLL_AGAIN;
        }
        if let Some(roll) = &mut self.roll {
            roll.due = match rolled {
                // The beat is kept; intervals that were slept through are not made up for.
                Ok(()) if now >= roll.due && now < roll.due + roll.every => roll.due + roll.every,
                Ok(()) => now + roll.every,
                Err(_) => now + ROLL_AGAIN,
            };
        }
        match rolled {
            Ok(()) => {
                if self.roll_trouble.ended(now).is_some() {
                    info!(component = %self.name, "a new file could be created again");
                }
                Ok(())
            }
            Err(error) if none => Err(DeliverError::fail_over(error)),
            Err(error) => {
                if self.roll_trouble.happened(now, &error.to_string()).is_some() {
                    warn!(component = %self.name, %error, "the next file is not there yet, the current one goes on");
                }
                Ok(())
            }
        }
    }

    /// Encodes where blocking is allowed as well: to compress a large batch takes seconds. The
    /// copy of the batch holds the same bytes.
    async fn write(&mut self, batch: &Batch) -> Result<Vec<Rejected>, DeliverError> {
        let batch = batch.clone();
        let written = self.on_disk(move |writer| writer.deliver(&batch)).await?;
        written.map_err(|error: FileError| DeliverError::fail_over(error))
    }
}

impl Sink for FileRoll {
    const BLOCKS: bool = true;

    fn limit(&self) -> Size {
        self.limit
    }

    async fn deliver(&mut self, batch: &Batch) -> Result<Delivered, DeliverError> {
        self.roll_if_due(!batch.is_empty()).await?;
        if batch.is_empty() {
            return Ok(Delivered::all(batch));
        }
        let rejected = self.write(batch).await?;
        Ok(Delivered::all_but(batch, rejected))
    }

    async fn tick(&mut self) -> Result<(), DeliverError> {
        self.roll_if_due(false).await
    }

    async fn close(mut self) -> Result<(), DeliverError> {
        if self.writer.is_none() {
            return Ok(());
        }
        self.on_disk(Writer::finish).await
    }
}

#[cfg(test)]
mod tests;
