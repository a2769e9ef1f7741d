//! What a caller may choose, and what it is told.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Damage;
use crate::pack::Compression;
use crate::seal::Keys;
use crate::storage::{Surroundings, System};

/// What to do with acknowledged bytes that do not pass their checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDamage {
    /// Copy them aside, count them, go on with the rest.
    Quarantine,
    /// Do not open; if it is already open, stop.
    Halt,
}

/// What happened that a person may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Acknowledged bytes were damaged and set aside.
    Damaged(Damage),
    /// A queue skips numbers that no segment has: damaged, or of puts that failed.
    Skipped {
        /// The queue's name.
        queue: String,
        /// How many events.
        events: u64,
    },
    /// Frames that were never acknowledged were cut off when opening.
    TailCut {
        /// The directory.
        place: String,
        /// The segment.
        segment: u64,
        /// From where on.
        offset: u64,
    },
    /// A write or sync failed: the segment takes no more frames, the log goes on in another.
    SegmentDead {
        /// The directory.
        place: String,
        /// The segment.
        segment: u64,
        /// What the disk said.
        why: String,
    },
    /// Too many failures one after another: the directory takes no more frames.
    DirectoryFailed {
        /// The directory.
        place: String,
        /// What the disk said last.
        why: String,
    },
    /// No directory is left: the log takes nothing more until it is opened again.
    Stopped {
        /// What the last disk said last.
        why: String,
    },
    /// No room for another segment: puts are refused, takes go on.
    DiskFull(Shortage),
    /// There is room again.
    DiskRoom {
        /// The directory.
        place: String,
    },
    /// The file system promises files no room ahead: a full disk shows when something is written, and
    /// then takes may have to wait for room, too.
    NoRoomAhead {
        /// The directory.
        place: String,
    },
    /// Something is given up because the operator said so.
    GivenUp {
        /// The directory.
        place: String,
        /// What of it.
        what: String,
    },
    /// Something failed that nothing depends on: a file of no use was not removed, the next segment
    /// not made ahead, damaged bytes not copied. It is tried again, or at the next start.
    Untidy {
        /// The directory.
        place: String,
        /// What the disk said.
        why: String,
    },
}

/// A directory that has no room for another segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// The directory.
    pub place: String,
    /// Bytes that are free on its disk, if that could be asked.
    pub free_bytes: Option<u64>,
    /// Bytes that must be free there for puts to go on: [`Options::least_free_bytes`] and the segment.
    pub needed_bytes: u64,
    /// What the disk said.
    pub why: String,
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shortage { place, free_bytes, needed_bytes, why } = self;
        match free_bytes {
            Some(free) if free < needed_bytes => {
                let (free, needed) = (Mebibytes(*free), Mebibytes(*needed_bytes));
                write!(f, "{place} has {free} free and needs {needed}")
            }
            // Room is not what is lacking there, but inodes, a quota or descriptors.
            _ => f.write_str(why),
        }
    }
}

/// Bytes as people say them of disks.
struct Mebibytes(u64);

impl fmt::Display for Mebibytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MEBIBYTE: u64 = 1 << 20;
        let tenths = self.0 % MEBIBYTE * 10 / MEBIBYTE;
        write!(f, "{}.{tenths} MiB", self.0 / MEBIBYTE)
    }
}

/// When what is written is synced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Syncs {
    /// Before anybody is answered (Flume's `fsyncPerTransaction = true`): what was acknowledged
    /// survives everything.
    #[default]
    Each,
    /// At least this often while there is something to sync, before more than `group_bytes` lie
    /// unsynced, before the segment changes and at the end; who waits is answered once it is written
    /// (Flume's `fsyncPerTransaction = false` with `fsyncInterval`). A process that dies loses
    /// nothing; a power failure may cost what was acknowledged since the last sync.
    Every(Duration),
}

/// What an operator gives up, so that the rest can be opened. What is not lost is not touched by it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loss {
    /// Directories, by the places that the log knows them by, that leave it with all that is in
    /// them; they must not be named as storages.
    pub directories: Vec<String>,
    /// Segments that are missing or cut short; what is left of a cut one is kept.
    pub segments: bool,
    /// What directories have lost that are older than their siblings say.
    pub older: bool,
    /// All directories are an older copy of themselves, and what was put since is gone.
    pub copy: bool,
}

impl Loss {
    /// Whether nothing is given up.
    pub fn is_none(&self) -> bool {
        *self == Loss::default()
    }
}

/// Bugs planted on purpose, for the simulation to find.
#[cfg(feature = "sabotage")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// Answers without a sync.
    AnswerBeforeSync,
    /// A sync answers also those who came while it ran.
    AnswerLatecomers,
    /// Whether the log is closing is not asked under the lock of the last look.
    ClosingUnasked,
    /// A put into several queues is written down for the first one only.
    FanOutHalf,
    /// What a sender sent is remembered before it is synced.
    OriginBeforeData,
    /// A rollback does not give back the last piece of a lease.
    RollbackForgets,
    /// Names of new segments are not synced.
    NoDirectorySync,
    /// Bodies are believed without looking at their checksum.
    ChecksumSkipped,
    /// Segments are removed while a few of their events are still there.
    RemovedTooEarly,
    /// Frames claim to be synced while they are being written.
    WatermarkAhead,
    /// A segment is used on after its sync failed.
    SyncAgain,
    /// A segment begins with the state before the last takes were published.
    CursorBeforeData,
    /// The tail that was kept at a start is not written again.
    TailNotCopied,
    /// A recovery's header is durable before the frames behind it.
    HeaderFirst,
    /// What a sender sent behind a batch that failed is stored before that one comes again.
    HoldUpSkipped,
    /// What was put behind a refused batch of its lane is stored.
    LaneIgnored,
    /// Batches of a lane go to several directories at once.
    LaneSpread,
    /// What is encrypted is believed without looking at its tag.
    TagSkipped,
    /// With syncs now and then, frames claim to be synced that are only written.
    WrittenIsSynced,
    /// With syncs now and then, a segment ends without one.
    NoSyncBeforeRoll,
    /// What a directory that failed may still hold is not told to the others.
    VoidUntold,
    /// The first cursor of a directory speaks of what only the tail of another holds.
    TailBeforeItsCopy,
    /// What is put in exchange for a lease has a frame of its own, behind the take.
    ExchangeInTwo,
}

/// How a log behaves.
#[derive(Clone)]
pub struct Options {
    /// Length of a segment file in bytes; one that must hold a larger frame is longer.
    pub segment_bytes: u64,
    /// Most bytes of frames that one sync covers, if there is more than one frame.
    pub group_bytes: u64,
    /// Most bytes of events that one queue keeps in memory for its takers.
    pub window_bytes: usize,
    /// Beyond so many bytes of segments in a directory the system is told, as one more is full, that it need not
    /// keep that in its memory: it is read last, and would drive out what is read first.
    pub cached_bytes: u64,
    /// Bytes of one read when events come back from the disk.
    pub read_bytes: usize,
    /// Bytes held back in each directory, so that takes go on and the log opens when the disk is
    /// full; more than `group_bytes`.
    pub reserve_bytes: u64,
    /// How many segments of a directory are open at once beside those that are written.
    pub open_segments: usize,
    /// Free bytes below which no segment is made for puts (Flume's `minimumRequiredSpace`).
    pub least_free_bytes: u64,
    /// Most senders remembered; the one unseen for longest is forgotten first.
    pub most_senders: usize,
    /// Most bytes of all the positions of senders together; forgotten likewise. A cursor has them
    /// all, and must not be longer than a meta part may be.
    pub most_position_bytes: usize,
    /// What to do about damage.
    pub on_damage: OnDamage,
    /// When what is written is synced.
    pub sync: Syncs,
    /// How bodies of new frames are compressed; what is there is read whatever it is.
    pub compression: Compression,
    /// Where keys come from; without, nothing is encrypted and encrypted segments are refused.
    pub keys: Option<Arc<dyn Keys>>,
    /// What is given up at this start instead of refusing it.
    pub accept: Loss,
    /// Clock and randomness.
    pub surroundings: Arc<dyn Surroundings>,
    /// Is told what happens, on the thread where it happens; must not block.
    pub notice: Arc<dyn Fn(Notice) + Send + Sync>,
    /// A planted bug.
    #[cfg(feature = "sabotage")]
    pub sabotage: Option<Sabotage>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            segment_bytes: 64 << 20,
            group_bytes: 8 << 20,
            window_bytes: 16 << 20,
            cached_bytes: 512 << 20,
            read_bytes: 1 << 20,
            reserve_bytes: 12 << 20,
            open_segments: 32,
            least_free_bytes: 0,
            most_senders: 16_384,
            most_position_bytes: 16 << 20,
            on_damage: OnDamage::Quarantine,
            sync: Syncs::Each,
            compression: Compression::None,
            keys: None,
            accept: Loss::default(),
            surroundings: Arc::new(System),
            notice: Arc::new(|_| {}),
            #[cfg(feature = "sabotage")]
            sabotage: None,
        }
    }
}

/// Whether a bug is planted here; never, outside the simulation.
macro_rules! sabotaged {
    ($options:expr, $bug:ident) => {{
        #[cfg(feature = "sabotage")]
        let planted = $options.sabotage == Some($crate::options::Sabotage::$bug);
        #[cfg(not(feature = "sabotage"))]
        let planted = false;
        planted
    }};
}
pub(crate) use sabotaged;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortage_says_numbers_where_room_is_what_lacks() {
        let check = |free_bytes, needed_bytes, want: &str| {
            let (place, why) = ("/data".to_owned(), "no inodes".to_owned());
            let shortage = Shortage { place, free_bytes, needed_bytes, why };
            assert_eq!(shortage.to_string(), want);
        };
        check(Some(0), 1 << 20, "/data has 0.0 MiB free and needs 1.0 MiB");
        check(Some((1 << 20) - 1), 564 << 20, "/data has 0.9 MiB free and needs 564.0 MiB");
        check(Some(1 << 20), 1 << 20, "no inodes");
        check(None, 1 << 20, "no inodes");
    }
}
