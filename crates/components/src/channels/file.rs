//! Channel `file`: batches in a log on one or several disks, there after any crash.
//!
//! Flume's class: `org.apache.flume.channel.file.FileChannel`. A commit returns when it is durable.
//! Channels of an agent that name the same `dataDirs` share a log, and a batch that goes to several
//! of them is stored once, in all or in none. The bytes are the affair of the `wal` crate.
//!
//! Where `dataDirs` and `checkpointDir` are those of a channel of Flume's, what is queued there is
//! taken over when the channel opens first; Flume's files stay as they are.

mod config;
pub mod flume;
mod health;
mod import;
mod keys;
mod logs;
pub mod offline;
mod probe;
mod record;
mod transactions;
mod under_way;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use splashdam_config::{Diagnostic, Section};
use splashdam_core::metrics::FileMetrics;
use splashdam_core::{
    Batch, BoxFuture, Channel, ChannelError, Component, Context, Facts, JointId, LEAST_TAKE_WAIT,
    Level, Lifetime, OpenError, Origin, Place, Probed, Put, Size, Take,
};
use splashdam_wal::{self as wal, CommitError, Count, Refusal};
use tokio::sync::Notify;
use tokio::time::timeout;

pub use config::{Compression, Config, OnDamage};
pub use import::{FlumePlaces, ImportError, Imported, Step};
pub use keys::KeyError;
#[cfg(feature = "simulation")]
pub use logs::Hands;
use logs::{Logs, Member, OpenLog};
use record::{Datums, Leased};
pub(super) use transactions::{Held, RoomHeld};

/// About what an event has at rest besides its bytes; what is more is held at the commit.
const EVENT_BYTES: usize = 8;

/// The most bytes of one batch in the log.
const MOST_BYTES: usize = 1 << 30;

/// The channel.
pub struct FileChannel {
    config: Config,
    log: Arc<OpenLog>,
    member: Arc<Member>,
    /// The first of its directories.
    place: PathBuf,
    /// The number of the next event when it was opened.
    began: u64,
}

/// A log as it is open for a while: one that stops is opened again, and what was promised of the
/// queues before need not hold then.
pub(super) struct OpenedLog(wal::Log<Datums>);

impl OpenedLog {
    pub(super) fn is(&self, other: &OpenedLog) -> bool {
        self.0.is(&other.0)
    }

    /// Lets go of the directories, as a log does that has stopped.
    #[cfg(test)]
    pub(super) fn close(&self) {
        self.0.close();
    }
}

impl Component for FileChannel {
    const TYPE: &'static str = "file";
    const ALIASES: &'static [&'static str] = &["org.apache.flume.channel.file.FileChannel"];
    type Config = Config;

    async fn open(config: Config, cx: Context) -> Result<Self, OpenError> {
        config.refuse()?;
        let logs = cx.shared.of::<Logs>();
        let places = config.of_flume(&cx.world.home());
        let place = places.data_dirs.first().cloned().unwrap_or_default();
        let counters = cx.counters.channel();
        let health = counters.file.get_or_init(FileMetrics::default);
        match logs.attach(places, config.settings(), config.limits(), &cx).await {
            Ok((log, member)) => {
                let (_, began) = log.log().untaken(member.queue);
                Ok(FileChannel { config, log, member, place, began })
            }
            Err(error) => {
                health.unhealthy.set(1);
                Err(error)
            }
        }
    }

    fn facts(config: &Config) -> Facts {
        let limits = config.limits();
        let directories = config.directories(Path::new("~"));
        let directories = directories.iter().map(|path| path.display().to_string());
        let place = format!("stores events in {}", directories.collect::<Vec<_>>().join(", "));
        Facts {
            transaction_events: Some(limits.transaction_events),
            capacity_events: usize::try_from(limits.capacity.events).ok(),
            capacity_key: Some("capacity"),
            place: Some(place),
            claims: config.claims(),
            log: Some(config.terms()),
            memory_bytes: Some(config.settings().window_bytes as u64),
            memory_key: Some("memoryBytes"),
            durable: true,
            tells_place: config.fsync_per_transaction,
            process_crash: Some(
                "nothing that was committed is lost; a batch whose commit was under way may be there or not, but whole",
            ),
            machine_crash: Some(if config.fsync_per_transaction {
                "nothing that was committed is lost; a batch whose commit was under way may be there or not, but whole"
            } else {
                "what was committed since the last sync may be lost (fsyncPerTransaction is false, so that is up to fsyncInterval ago), and what was taken since then comes again; batches stay whole"
            }),
            ..Facts::default()
        }
    }

    fn check(config: &Config, section: &Section) -> Vec<Diagnostic> {
        let mut findings = config.refusals(Some(section));
        findings.extend(config::remarks(config, section));
        findings
    }

    async fn probe(config: Config, cx: Context) -> Probed {
        let least_free = config.settings().least_free_bytes;
        let segment = config.settings().segment_bytes;
        let directories = config.directories(&cx.world.home());
        logs::blocking(move || probe::rooms(&directories, least_free, segment)).await.map(Some)
    }
}

impl FileChannel {
    pub(super) async fn hold(&self, size: Size) -> Result<Box<RoomHeld>, ChannelError> {
        hold(&self.log, vec![self.member.clone()], size).await
    }

    async fn hold_jointly(
        &self,
        names: Vec<Arc<str>>,
        size: Size,
    ) -> Result<Box<dyn Put>, ChannelError> {
        let members = names
            .into_iter()
            .map(|name| self.log.member(&name).ok_or(ChannelError::Closed { channel: name }));
        Ok(hold(&self.log, members.collect::<Result<_, _>>()?, size).await?)
    }

    async fn lease(&self, limit: Size) -> Result<Box<dyn Take>, ChannelError> {
        let member = &self.member;
        let fill = async {
            loop {
                let mut changed = std::pin::pin!(member.changed.notified());
                changed.as_mut().enable();
                if let Some(held) = self.try_lease(limit)? {
                    return Ok(held);
                }
                changed.await;
            }
        };
        match timeout(member.limits().keep_alive.max(LEAST_TAKE_WAIT), fill).await {
            Ok(Ok(held)) => Ok(Box::new(held)),
            Ok(Err(error)) => Err(error),
            Err(_) => {
                let batch = Batch::default();
                Ok(Box::new(Held {
                    member: member.clone(),
                    lease: None,
                    batch,
                    told: None,
                    unread: None,
                }))
            }
        }
    }

    /// Leases up to `limit` from the head of the queue, if anything of it is in memory. As many
    /// events leave the queue as [`Held::events`] says.
    pub(super) fn try_lease(&self, limit: Size) -> Result<Option<Held>, ChannelError> {
        self.try_lease_in(&self.open_log(), limit)
    }

    /// As [`FileChannel::try_lease`], in the log as it was open at some moment: one in whose place
    /// another was opened gives nothing more.
    pub(super) fn try_lease_in(
        &self,
        log: &OpenedLog,
        limit: Size,
    ) -> Result<Option<Held>, ChannelError> {
        let member = &self.member;
        let most = Count {
            events: limit.events.min(member.limits().transaction_events) as u64,
            bytes: limit.bytes as u64,
        };
        member.check_open()?;
        let lease = log.0.lease(member.queue, most).map_err(|error| failed(member, &error))?;
        let Some(lease) = lease else { return Ok(None) };
        let Leased { batch, numbers, bad } = Leased::of(lease.pieces());
        let place = member.identity.map(|queue| Place {
            queue,
            low: log.0.low(member.queue),
            began: self.began,
            ranges: numbers,
            lasting: true,
        });
        let batch = batch.with_place(place);
        let unread = (bad > 0).then(|| (self.log.clone(), bad));
        Ok(Some(Held { member: member.clone(), lease: Some(lease), batch, told: None, unread }))
    }

    /// The log as it is open now.
    pub(super) fn open_log(&self) -> OpenedLog {
        OpenedLog(self.log.log())
    }

    /// Told whenever something about the queue may have changed.
    pub(super) fn changed(&self) -> &Notify {
        &self.member.changed
    }

    /// The numbers of the events in the queue, and the next one; see [`wal::Log::untaken`].
    pub(super) fn untaken(&self) -> (Vec<Range<u64>>, u64) {
        self.untaken_in(&self.open_log())
    }

    /// The same, in the log as it was open at some moment.
    pub(super) fn untaken_in(&self, log: &OpenedLog) -> (Vec<Range<u64>>, u64) {
        log.0.untaken(self.member.queue)
    }

    /// Whether nothing in the queue waits to be taken.
    pub(super) fn is_empty_in(&self, log: &OpenedLog) -> bool {
        log.0.level(self.member.queue).queued.events == 0
    }

    /// That puts wait for room on the disk, if they do.
    pub(super) fn disk_full(&self) -> Option<ChannelError> {
        let reason = lacking(&self.log.log())?.into();
        Some(ChannelError::DiskFull { channel: self.member.name.clone(), reason })
    }

    /// Opens the log anew, as if it had stopped.
    #[cfg(test)]
    pub(crate) fn open_again(&self) -> Result<(), OpenError> {
        self.log.replace()
    }

    /// Opens the log anew, on other storages with the same in them.
    #[cfg(test)]
    pub(crate) fn open_again_on(
        &self,
        on: impl Fn(wal::storage::Disk) -> Arc<dyn wal::storage::Storage>,
    ) -> Result<(), OpenError> {
        self.log.replace_on(on)
    }

    /// Goes on with this configuration, unless it has to be opened anew for that.
    pub(super) fn adopt(&self, config: &Config) -> bool {
        if config.refuse().is_err() || !config.same_log(&self.config) {
            return false;
        }
        self.log.set_limits(&self.member, config.limits());
        true
    }
}

/// Holds room in the queues of all `members`, or in none.
async fn hold(
    log: &OpenLog,
    members: Vec<Arc<Member>>,
    size: Size,
) -> Result<Box<RoomHeld>, ChannelError> {
    // Whoever does not know the bytes holds them at the commit.
    let bytes = if size.bytes == usize::MAX { 0 } else { size.bytes };
    let more = size.events.saturating_mul(EVENT_BYTES);
    let mut count = Count {
        events: size.events as u64,
        bytes: bytes.saturating_add(more).min(MOST_BYTES) as u64,
    };
    let mut keep_alive = Duration::ZERO;
    for member in &members {
        let limits = member.limits();
        if size.events > limits.transaction_events {
            return Err(ChannelError::TooLarge {
                channel: member.name.clone(),
                events: size.events,
                capacity: limits.transaction_events,
            });
        }
        keep_alive = keep_alive.max(limits.keep_alive);
        // A batch larger than the channel passes alone.
        count.bytes = count.bytes.min(limits.capacity.bytes);
    }
    let queues: Vec<_> = members.iter().map(|member| member.queue).collect();
    let mut full = members.first();
    let mut disk_full = false;
    let wait = async {
        loop {
            // Whoever is full tells when that changes; a full disk is told to all.
            let Some(waiting) = full else { return Err(None) };
            let mut changed = std::pin::pin!(waiting.changed.notified());
            changed.as_mut().enable();
            for member in &members {
                member.check_open().map_err(Some)?;
            }
            let reserved = log.log().reserve(&queues, count);
            disk_full = matches!(reserved, Err(Refusal::DiskFull));
            match reserved {
                Ok(room) => return Ok(room),
                Err(Refusal::Full(queue)) if queue != waiting.queue => {
                    full = members.iter().find(|member| member.queue == queue);
                }
                Err(Refusal::Full(_) | Refusal::DiskFull) => changed.await,
                Err(Refusal::Closed(why)) => {
                    return Err(Some(failed(waiting, &CommitError::Closed(why))));
                }
            }
        }
    };
    let held = timeout(keep_alive, wait).await;
    let room = match held {
        Ok(Ok(room)) => room,
        Ok(Err(Some(error))) => return Err(error),
        Ok(Err(None)) | Err(_) => {
            let channel = full.map_or_else(|| Arc::from(""), |member| member.name.clone());
            // There may be room again by now: then it is the queue's turn to say what is wrong.
            if let Some(reason) = disk_full.then(|| lacking(&log.log())).flatten() {
                return Err(ChannelError::DiskFull { channel, reason: reason.into() });
            }
            return Err(ChannelError::Full { channel, events: size.events, waited: keep_alive });
        }
    };
    Ok(Box::new(RoomHeld { room, members, under_way: log.under_way.clone(), told: None }))
}

/// What the disks of a log lack, if puts wait for them.
fn lacking(log: &wal::Log<Datums>) -> Option<String> {
    let shortages = log.shortages();
    let said: Vec<_> = shortages.iter().map(ToString::to_string).collect();
    (!said.is_empty()).then(|| said.join(", "))
}

/// What the log's refusal means to the outlet and to the runner of sinks.
fn failed(member: &Member, error: &CommitError) -> ChannelError {
    let channel = member.name.clone();
    match error {
        CommitError::Closed(_) if member.closed.load(Ordering::Acquire) => {
            ChannelError::Closed { channel }
        }
        other => ChannelError::Failed { channel, reason: other.to_string().into() },
    }
}

impl Channel for FileChannel {
    fn begin_put(&self, size: Size) -> BoxFuture<'_, Result<Box<dyn Put>, ChannelError>> {
        Box::pin(async move { Ok(self.hold(size).await? as Box<dyn Put>) })
    }

    fn begin_take(&self, limit: Size) -> BoxFuture<'_, Result<Box<dyn Take>, ChannelError>> {
        Box::pin(self.lease(limit))
    }

    fn joint(&self) -> Option<JointId> {
        Some(self.log.id)
    }

    fn begin_joint_put(
        &self,
        names: Vec<Arc<str>>,
        size: Size,
    ) -> BoxFuture<'_, Result<Box<dyn Put>, ChannelError>> {
        Box::pin(self.hold_jointly(names, size))
    }

    fn keeps_origins(&self) -> bool {
        true
    }

    fn last_of(&self, sender: [u8; 16]) -> Option<Origin> {
        let last = self.log.log().last_of(sender)?;
        let wal::Origin { sender, epoch, sequence, position } = last;
        Some(Origin { sender, epoch, sequence, position: Bytes::from(position) })
    }

    fn newest_epoch(&self, sender: [u8; 16]) -> u64 {
        self.log.log().newest_epoch(sender)
    }

    fn settled(&self, sender: [u8; 16]) -> BoxFuture<'_, ()> {
        Box::pin(self.log.under_way.settled(sender))
    }

    fn level(&self) -> Level {
        let level = self.log.log().level(self.member.queue);
        let size = |count: Count| Size {
            events: usize::try_from(count.events).unwrap_or(usize::MAX),
            bytes: usize::try_from(count.bytes).unwrap_or(usize::MAX),
        };
        Level {
            queued: size(level.queued),
            leased: size(level.leased),
            capacity: size(level.capacity),
        }
    }

    fn hindrance(&self) -> Option<String> {
        // Its log stops with the last channel that is closed: that is no trouble.
        self.member.check_open().ok()?;
        let log = self.log.log();
        if let Some(why) = log.stopped() {
            return Some(format!("its log has stopped and is opened again when that works: {why}"));
        }
        lacking(&log).map(|what| {
            format!("its disk is full: {what}; make room there, or lower minimumRequiredSpace")
        })
    }

    fn close(&self) -> BoxFuture<'_, Result<(), ChannelError>> {
        Box::pin(async {
            self.log.clone().close(&self.member).await;
            Ok(())
        })
    }

    fn reconfigure(&self, section: &Section) -> bool {
        section.read::<Config>().value.is_some_and(|config| self.adopt(&config))
    }

    fn lifetime(&self) -> Option<Lifetime> {
        let (untaken, put) = self.untaken();
        let held: u64 = untaken.iter().map(|numbers| numbers.end - numbers.start).sum();
        Some(Lifetime { put, taken: put - held, place: self.place.clone() })
    }

    fn volatile(&self) -> bool {
        false
    }
}

impl Drop for FileChannel {
    fn drop(&mut self) {
        // The log is closed with the last channel that lets it go; see there.
        self.log.leave(&self.member);
    }
}

#[cfg(test)]
mod tests;
