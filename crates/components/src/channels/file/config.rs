//! Keys of the file channel, Flume's and ours.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use splashdam_config::{CommaList, Diagnostic, Lenient, Section};
use splashdam_core::{Claim, Hold, LogTerms, OpenError};
use splashdam_wal as wal;

use super::import::FlumePlaces;
use super::keys::{self, KeyError, KeySource, StoredKeys};
use crate::channels::value_replaced;

const CAPACITY: i64 = 1_000_000;
const TRANSACTION_CAPACITY: i64 = 10_000;
const KEEP_ALIVE: i64 = 3;
const MAX_FILE_SIZE: i64 = 1_623_195_647;
const MINIMUM_REQUIRED_SPACE: i64 = 524_288_000;
const MEMORY_BYTES: i64 = 8 << 20;
const FSYNC_INTERVAL: i64 = 5;
/// Flume's floor of `minimumRequiredSpace`.
const LEAST_REQUIRED_SPACE: i64 = 1 << 20;
/// A segment is no longer than this: the shorter they are, the sooner their space comes back.
const SEGMENT_BYTES: i64 = 64 << 20;
const LEAST_SEGMENT_BYTES: i64 = 1 << 20;
const LEAST_MEMORY_BYTES: i64 = 64 << 10;

/// Keys of the file channel. Channels that name the same `dataDirs` share one log there.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Config {
    /// Directories for the data, between commas; one on each disk writes to all disks at once.
    /// Missing ones are made. An empty channel takes 140 MiB of each, made ahead: the file that is
    /// written, the next one, and 12 MiB held back for a full disk. Default: `.flume/file-channel/data` in the home directory.
    pub data_dirs: CommaList,
    /// Where a Flume had its checkpoint: used when the data that it left in `dataDirs` is taken
    /// over. Data and checkpoints lie together in `dataDirs` here. Default:
    /// `.flume/file-channel/checkpoint` in the home directory.
    pub checkpoint_dir: Option<PathBuf>,
    /// Accepted as in Flume; a damaged checkpoint costs nothing here, as it can be read anew.
    pub use_dual_checkpoints: bool,
    /// Where a Flume had the copy of its checkpoint, as `checkpointDir`; there are no second
    /// checkpoints here.
    pub backup_checkpoint_dir: Option<PathBuf>,
    /// Accepted as in Flume; there are no second checkpoints here.
    pub compress_backup_checkpoint: bool,
    /// Accepted as in Flume; the state is written down as segments begin and end.
    pub checkpoint_interval: Lenient<i64>,
    /// Accepted as in Flume; the state is always written down at a clean stop.
    pub checkpoint_on_close: bool,
    /// Events it holds. A value that is not a positive number means the default, as in Flume.
    pub capacity: Lenient<i64>,
    /// Bytes of events it holds, as they are stored; 0 means no limit. Not in Flume.
    pub capacity_bytes: Lenient<i64>,
    /// Events in one transaction, at most `capacity`.
    pub transaction_capacity: Lenient<i64>,
    /// Seconds to wait for room at a put and for an event at a take, which is given a second at least.
    #[serde(rename = "keep-alive")]
    pub keep_alive: Lenient<i64>,
    /// The most bytes of one file, from 1048576 on. Files are never longer than 64 MiB here, so a
    /// greater value changes nothing.
    pub max_file_size: Lenient<i64>,
    /// Bytes that puts leave free on each disk, from 1048576 on. Takes go on on a full disk.
    pub minimum_required_space: Lenient<i64>,
    /// Bytes of events kept in memory for the sinks, from 65536 on; older ones are read from the
    /// disk. Not in Flume.
    pub memory_bytes: Lenient<i64>,
    /// What becomes of stored bytes that do not pass their checks: `quarantine` copies them aside
    /// and goes on with the rest, `halt` stops the channel. Not in Flume.
    pub on_damage: OnDamage,
    /// Compression of stored events: `none`, `lz4` or `zstd`. What is stored is read whatever it
    /// is. Not in Flume.
    pub compression: Compression,
    /// Whether a transaction is synced to the disk before it counts as committed. With `false` a
    /// power failure may cost what was committed since the last sync; the end of the process costs
    /// nothing.
    pub fsync_per_transaction: bool,
    /// Seconds between syncs if `fsyncPerTransaction` is `false`.
    pub fsync_interval: Lenient<i64>,
    /// Accepted from before Flume 1.4; nothing waits for such a time.
    #[serde(rename = "write-timeout")]
    pub write_timeout: Lenient<i64>,
    /// Accepted from before Flume 1.4; nothing waits for such a time.
    #[serde(rename = "checkpoint-timeout")]
    pub checkpoint_timeout: Lenient<i64>,
    /// Accepted as in Flume; there is one way to read the log, and it is fast.
    #[serde(rename = "use-log-replay-v1")]
    pub use_log_replay_v1: bool,
    /// Accepted as in Flume; there is one way to read the log, and it is fast.
    #[serde(rename = "use-fast-replay")]
    pub use_fast_replay: bool,
    /// The alias of the key for new data. All three of the keys of encryption are written, or none.
    #[serde(rename = "encryption.activeKey")]
    pub active_key: Option<String>,
    /// `AESCTRNOPADDING`, the cipher of data that a Flume left. New data is sealed with
    /// AES-256-GCM, whatever is written here.
    #[serde(rename = "encryption.cipherProvider")]
    pub cipher_provider: Option<String>,
    /// Where keys come from, `JCEKSFILE`, with its keys `keyStoreFile`, `keyStorePasswordFile`,
    /// `keys` (aliases between blanks, old ones as long as there is data of theirs) and
    /// `keys.<alias>.passwordFile` (else the store's password) below.
    #[serde(rename = "encryption.keyProvider")]
    pub key_provider: Section,
}

/// What becomes of damage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename = "any case", rename_all = "lowercase")]
pub enum OnDamage {
    /// It is copied aside.
    #[default]
    Quarantine,
    /// The channel stops.
    Halt,
}

/// Compression of stored events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename = "any case", rename_all = "lowercase")]
pub enum Compression {
    /// None.
    #[default]
    None,
    /// Fast.
    Lz4,
    /// Small.
    Zstd,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            data_dirs: CommaList(Vec::new()),
            checkpoint_dir: None,
            use_dual_checkpoints: false,
            backup_checkpoint_dir: None,
            compress_backup_checkpoint: false,
            checkpoint_interval: Lenient(Some(30_000)),
            checkpoint_on_close: true,
            capacity: Lenient(Some(CAPACITY)),
            capacity_bytes: Lenient(Some(0)),
            transaction_capacity: Lenient(Some(TRANSACTION_CAPACITY)),
            keep_alive: Lenient(Some(KEEP_ALIVE)),
            max_file_size: Lenient(Some(MAX_FILE_SIZE)),
            minimum_required_space: Lenient(Some(MINIMUM_REQUIRED_SPACE)),
            memory_bytes: Lenient(Some(MEMORY_BYTES)),
            on_damage: OnDamage::Quarantine,
            compression: Compression::None,
            fsync_per_transaction: true,
            fsync_interval: Lenient(Some(FSYNC_INTERVAL)),
            write_timeout: Lenient(Some(10)),
            checkpoint_timeout: Lenient(Some(600)),
            use_log_replay_v1: false,
            use_fast_replay: false,
            active_key: None,
            cipher_provider: None,
            key_provider: Section::empty(),
        }
    }
}

/// What may change while the channel runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) capacity: wal::Count,
    pub(super) transaction_events: usize,
    pub(super) keep_alive: Duration,
}

/// What channels that share a log must agree on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) segment_bytes: u64,
    pub(super) least_free_bytes: u64,
    pub(super) window_bytes: usize,
    pub(super) on_damage: OnDamage,
    pub(super) compression: Compression,
    pub(super) sync: wal::Syncs,
    /// What is wrong with it keeps the channel from opening.
    pub(super) keys: Option<KeySource>,
}

impl Settings {
    /// The log's options, and the keys that are in them. Blocking: reads the key store.
    pub(super) fn options(
        &self,
        notice: Arc<dyn Fn(wal::Notice) + Send + Sync>,
    ) -> Result<(wal::Options, Option<Arc<StoredKeys>>), KeyError> {
        let keys = self.keys.as_ref().map(KeySource::read).transpose()?.map(Arc::new);
        let options = wal::Options {
            segment_bytes: self.segment_bytes,
            least_free_bytes: self.least_free_bytes,
            window_bytes: self.window_bytes,
            on_damage: match self.on_damage {
                OnDamage::Quarantine => wal::OnDamage::Quarantine,
                OnDamage::Halt => wal::OnDamage::Halt,
            },
            sync: self.sync,
            compression: match self.compression {
                Compression::None => wal::Compression::None,
                Compression::Lz4 => wal::Compression::Lz4,
                Compression::Zstd => wal::Compression::Zstd,
            },
            keys: keys.clone().map(|keys| keys as Arc<dyn wal::Keys>),
            notice,
            ..wal::Options::default()
        };
        Ok((options, keys))
    }
}

/// A number from `least` on, or Flume's default.
fn number<T: TryFrom<i64>>(value: Lenient<i64>, least: i64, default: i64, most: T) -> T {
    let value = value.0.filter(|value| *value >= least).unwrap_or(default);
    T::try_from(value).unwrap_or(most)
}

impl Config {
    pub(super) fn limits(&self) -> Limits {
        let bytes = number(self.capacity_bytes, 0, 0, u64::MAX);
        Limits {
            capacity: wal::Count {
                events: number(self.capacity, 1, CAPACITY, u64::MAX),
                bytes: if bytes == 0 { u64::MAX } else { bytes },
            },
            transaction_events: number(
                self.transaction_capacity,
                1,
                TRANSACTION_CAPACITY,
                usize::MAX,
            ),
            keep_alive: Duration::from_secs(number(self.keep_alive, 0, KEEP_ALIVE, u64::MAX)),
        }
    }

    pub(super) fn settings(&self) -> Settings {
        let floor = |value: Lenient<i64>, least: i64| Lenient(value.0.map(|v| v.max(least)));
        let file = floor(self.max_file_size, LEAST_SEGMENT_BYTES);
        let file = Lenient(file.0.map(|bytes| bytes.min(SEGMENT_BYTES)));
        let space = floor(self.minimum_required_space, LEAST_REQUIRED_SPACE);
        Settings {
            segment_bytes: number(file, 1, SEGMENT_BYTES, u64::MAX),
            least_free_bytes: number(space, 1, MINIMUM_REQUIRED_SPACE, u64::MAX),
            window_bytes: number(self.memory_bytes, LEAST_MEMORY_BYTES, MEMORY_BYTES, usize::MAX),
            on_damage: self.on_damage,
            compression: self.compression,
            sync: match self.fsync_per_transaction {
                true => wal::Syncs::Each,
                false => wal::Syncs::Every(Duration::from_secs(number(
                    self.fsync_interval,
                    1,
                    FSYNC_INTERVAL,
                    u64::MAX,
                ))),
            },
            keys: KeySource::of(self).unwrap_or_default(),
        }
    }

    /// Where a Flume with this configuration has its files.
    pub(super) fn of_flume(&self, home: &Path) -> FlumePlaces {
        let checkpoint = self.checkpoint_dir.clone();
        FlumePlaces {
            checkpoint_dir: checkpoint
                .unwrap_or_else(|| home.join(".flume/file-channel/checkpoint")),
            backup_dir: self.backup_checkpoint_dir.clone().filter(|_| self.use_dual_checkpoints),
            data_dirs: self.directories(home),
        }
    }

    /// The directories of the data, those of Flume where none are named.
    pub(super) fn directories(&self, home: &Path) -> Vec<PathBuf> {
        match &self.data_dirs.0[..] {
            [] => vec![home.join(".flume/file-channel/data")],
            written => written.iter().map(PathBuf::from).collect(),
        }
    }

    /// Where the log lies, and where a Flume had its checkpoints.
    pub(super) fn claims(&self) -> Vec<Claim> {
        let log = self.directories(Path::new("~")).into_iter();
        let log = log.map(|path| Claim::directory("dataDirs", path, Hold::Log));
        let backup = self.backup_checkpoint_dir.as_ref().filter(|_| self.use_dual_checkpoints);
        let of_flume =
            [("checkpointDir", self.checkpoint_dir.as_ref()), ("backupCheckpointDir", backup)];
        let of_flume = of_flume.into_iter().filter_map(|(key, path)| Some((key, path?)));
        let of_flume = of_flume.map(|(key, path)| Claim::directory(key, path, Hold::OfFlume));
        log.chain(of_flume).collect()
    }

    /// The settings of the log by their keys.
    pub(super) fn terms(&self) -> LogTerms {
        let Settings {
            segment_bytes,
            least_free_bytes,
            window_bytes,
            on_damage,
            compression,
            sync,
            keys,
        } = self.settings();
        let mut agree = vec![
            ("maxFileSize", segment_bytes.to_string()),
            ("minimumRequiredSpace", least_free_bytes.to_string()),
            ("memoryBytes", window_bytes.to_string()),
            ("onDamage", format!("{on_damage:?}")),
            ("compression", format!("{compression:?}")),
            ("fsyncPerTransaction", self.fsync_per_transaction.to_string()),
        ];
        if let wal::Syncs::Every(interval) = sync {
            agree.push(("fsyncInterval", format!("{interval:?}")));
        }
        agree.extend(KeySource::terms(keys.as_ref()));
        LogTerms { agree, joint: true }
    }

    /// Whether `other` differs in nothing that needs the log to be opened anew.
    pub(super) fn same_log(&self, other: &Config) -> bool {
        self.data_dirs == other.data_dirs && self.settings() == other.settings()
    }

    /// Findings that keep the channel from opening.
    pub(super) fn refusals(&self, section: Option<&Section>) -> Vec<Diagnostic> {
        let limits = self.limits();
        let at = |key: &str| section.and_then(|section| section.value_span(key));
        let mut findings = Vec::new();
        if limits.transaction_events as u64 > limits.capacity.events {
            let place = at("transactionCapacity").or_else(|| at("capacity"));
            findings.push(
                Diagnostic::error(
                    "transaction-exceeds-capacity",
                    format!(
                        "transactionCapacity {} is greater than capacity {}",
                        limits.transaction_events, limits.capacity.events
                    ),
                )
                .at(place)
                .help("raise capacity, or lower transactionCapacity to at most capacity"),
            );
        }
        if self.use_dual_checkpoints {
            let same = self.backup_checkpoint_dir.is_some()
                && self.backup_checkpoint_dir == self.checkpoint_dir;
            if self.backup_checkpoint_dir.is_none() || same {
                let what = if same { "must differ from checkpointDir" } else { "is missing" };
                findings.push(
                    Diagnostic::error(
                        "invalid-value",
                        format!("backupCheckpointDir {what} with useDualCheckpoints"),
                    )
                    .at(at("backupCheckpointDir").or_else(|| at("useDualCheckpoints")))
                    .help("remove useDualCheckpoints: the channel does without, and is as safe"),
                );
            }
        }
        for (key, finding) in KeySource::of(self).err().unwrap_or_default() {
            findings.push(finding.at(at(&key)));
        }
        findings
    }

    pub(super) fn refuse(&self) -> Result<(), OpenError> {
        match self.refusals(None) {
            findings if findings.is_empty() => Ok(()),
            findings => Err(OpenError::Config(findings)),
        }
    }
}

/// Keys that Flume's file channel needs and this one does not.
const WITHOUT_EFFECT: [(&str, &str); 10] = [
    (
        "checkpointDir",
        "the state is kept in `dataDirs`, and this is only read to take over what a Flume left",
    ),
    ("useDualCheckpoints", "the state can always be read from the data"),
    ("backupCheckpointDir", "the state can always be read from the data"),
    ("compressBackupCheckpoint", "there are no second checkpoints"),
    ("checkpointInterval", "the state is written down as segments begin and end"),
    ("checkpointOnClose", "the state is always written down at a clean stop"),
    ("write-timeout", "nothing waits for such a time, as in Flume from 1.4 on"),
    ("checkpoint-timeout", "nothing waits for such a time, as in Flume from 1.4 on"),
    ("use-log-replay-v1", "there is one way to read the log, and it is fast"),
    ("use-fast-replay", "there is one way to read the log, and it is fast"),
];

/// What else there is to say of a section.
pub(super) fn remarks(config: &Config, section: &Section) -> Vec<Diagnostic> {
    let numbers = [
        ("capacity", config.capacity, 1, CAPACITY),
        ("capacityBytes", config.capacity_bytes, 0, 0),
        ("transactionCapacity", config.transaction_capacity, 1, TRANSACTION_CAPACITY),
        ("keep-alive", config.keep_alive, 0, KEEP_ALIVE),
        ("memoryBytes", config.memory_bytes, LEAST_MEMORY_BYTES, MEMORY_BYTES),
        ("fsyncInterval", config.fsync_interval, 1, FSYNC_INTERVAL),
    ];
    let replaced = numbers.into_iter().filter_map(|(key, value, least, default)| {
        value_replaced(section, key, value, least, format_args!("the default {default}"))
    });
    let floors = [
        ("maxFileSize", config.max_file_size, LEAST_SEGMENT_BYTES),
        ("minimumRequiredSpace", config.minimum_required_space, LEAST_REQUIRED_SPACE),
    ];
    let raised = floors
        .into_iter()
        .filter_map(|(key, value, least)| value_replaced(section, key, value, least, least));
    let interval = ("fsyncInterval", "every transaction is synced");
    let interval = config.fsync_per_transaction.then_some(interval);
    let cipher = (
        "encryption.cipherProvider",
        "new data is sealed with AES-256-GCM, and what a Flume left says itself what it is encrypted with",
    );
    let idle = WITHOUT_EFFECT.into_iter().chain(interval).chain([cipher]);
    let idle = idle.filter(|(key, _)| section.get(key).is_some());
    let idle = idle.map(|(key, why)| {
        Diagnostic::note("no-effect", format!("`{key}` has no effect: {why}"))
            .at(section.key_span(key))
    });
    let strangers = keys::strangers(&config.key_provider).into_iter().map(|key| {
        let key = format!("encryption.keyProvider.{key}");
        Diagnostic::warning("unknown-key", format!("key providers have no key `{key}`"))
            .at(section.key_span(&key))
            .help("remove it, or look for a slip of the pen")
    });
    let in_sight = keys::in_sight(&config.key_provider);
    let files = config.data_dirs.0.iter().filter_map(|written| no_directory(written, section));
    replaced.chain(raised).chain(idle).chain(strangers).chain(in_sight).chain(files).collect()
}

/// A warning where something else is in a directory's place, or in that of one above it.
fn no_directory(written: &str, section: &Section) -> Option<Diagnostic> {
    let there = Path::new(written).ancestors().find(|path| path.exists())?;
    (!there.is_dir()).then(|| {
        Diagnostic::warning("not-a-directory", format!("{} is not a directory", there.display()))
            .at(section.value_span("dataDirs"))
            .with_note("the channel does not open while it is there")
            .help("move it away, or name another directory")
    })
}
