//! Opening a log: lock, find out who the directories are, read them all, and only then write.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::committer::Committer;
use crate::directory::{Directory, Identity};
use crate::error::{Damage, OpenError};
use crate::frame::Kind;
use crate::held_up::HeldUp;
use crate::homes::Homes;
use crate::log::{Line, Log, MOST_NAME, MOST_QUEUES, Roster, Shared, Slot, Slots, locked};
use crate::member::{self, Member};
use crate::options::{Notice, OnDamage, Options, sabotaged};
use crate::queue::{Count, Place, Queue};
use crate::ranges::Taken;
use crate::reader::Reader;
use crate::record::{PutMeta, QueueCursor, Record, SegmentEntry};
use crate::recovery::{self, Recovered, quarantine, recover_all};
use crate::replay::State;
use crate::segment::FIRST_FRAME;
use crate::senders::Senders;
use crate::storage::{Asked, Storage};
use crate::threads::{AtomicBool, Builder, Condvar, JoinHandle, Mutex};

/// Locked for life, never removed. The second is the name that Flume locks.
pub(crate) const LOCKS: [&str; 2] = ["splashdam.lock", "in_use.lock"];

/// A queue to be opened.
#[derive(Clone, Debug)]
pub struct QueueOptions {
    /// Its name, which stays with its data.
    pub name: String,
    /// The most it holds.
    pub capacity: Count,
}

/// A log that was open, for the one in its place.
struct Before<'a, R: Record> {
    member: Member,
    shared: &'a Shared<R>,
}

impl<R: Record> Before<'_, R> {
    /// What is held up stays so; and so is what may count on a batch not being stored that is.
    fn held_up(&self, state: &State) -> Arc<Mutex<HeldUp>> {
        let senders = locked(&self.shared.senders);
        let mut held_up = locked(&self.shared.held_up);
        for (sender, last) in &state.senders {
            let (told, found) = (senders.get(sender), last.origin.order());
            if told.is_none_or(|told| told.origin.order() < found) {
                held_up.found(*sender, found);
            }
        }
        self.shared.held_up.clone()
    }
}

/// An open log whose threads do not run yet; a simulation moves them by hand.
pub struct Opened<R: Record> {
    /// The log.
    pub log: Log<R>,
    /// The writer of each directory.
    pub committers: Vec<Committer<R>>,
    /// The reader of all.
    pub reader: Reader<R>,
}

/// What a thread of the log does.
type Run = Box<dyn FnOnce() + Send>;

impl<R: Record> Opened<R> {
    /// Starts the threads. If one does not start the log is closed, and may be opened again.
    pub fn start(self) -> io::Result<Log<R>> {
        self.start_with(|name, run| Builder::new().name(name).spawn(run))
    }

    fn start_with(
        self,
        mut spawn: impl FnMut(String, Run) -> io::Result<JoinHandle<()>>,
    ) -> io::Result<Log<R>> {
        let Opened { log, committers, reader } = self;
        let mut runs: Vec<(String, Run)> = Vec::new();
        for (index, committer) in committers.into_iter().enumerate() {
            runs.push((format!("wal-commit-{index}"), Box::new(move || committer.run())));
        }
        runs.push(("wal-read".into(), Box::new(move || reader.run())));
        for (name, run) in runs {
            match spawn(name, run) {
                Ok(thread) => locked(&log.0.threads).push(thread),
                Err(error) => {
                    // Those that run hold the locks of the directories.
                    log.close();
                    return Err(error);
                }
            }
        }
        log.0.wake_reader();
        Ok(log)
    }
}

impl<R: Record> Log<R> {
    /// Opens the log that lies in `storages`, or begins one if they are all empty. Queues of
    /// earlier starts that are not named now are kept as they are.
    pub fn open(
        storages: Vec<Arc<dyn Storage>>,
        queues: &[QueueOptions],
        options: Options,
    ) -> Result<Opened<R>, OpenError> {
        Log::open_with(storages, queues, options, None)
    }

    /// Opens in its place a log that stopped and was closed. What its senders put behind a batch that
    /// failed there waits for that batch here, too. Where a batch turns out to be stored that its
    /// sender was told failed, the next one of another epoch is refused once, as its sender may
    /// have looked where it stands before. Its queues keep their numbers. Directories that
    /// are not those of that log are refused as [`OpenError::Membership`], with nothing made in them.
    pub fn open_again(
        &self,
        storages: Vec<Arc<dyn Storage>>,
        queues: &[QueueOptions],
        options: Options,
    ) -> Result<Opened<R>, OpenError> {
        let mut member = locked(&self.0.roster).member.clone();
        // A queue that could not be told of has no number yet.
        member.queues.truncate(self.0.slots.len());
        Log::open_with(storages, queues, options, Some(&Before { member, shared: &self.0 }))
    }

    fn open_with(
        storages: Vec<Arc<dyn Storage>>,
        queues: &[QueueOptions],
        options: Options,
        before: Option<&Before<'_, R>>,
    ) -> Result<Opened<R>, OpenError> {
        check_options(&storages, queues, &options)?;
        let known = before.map(|before| &before.member);
        if known.is_some() {
            // Without the locks, which are files: a disk that is gone has another directory beneath.
            member::read_all(&storages, known)?;
        }
        let mut locks = Vec::new();
        for storage in &storages {
            for name in LOCKS {
                let lock = storage.lock(name).map_err(|error| match error.kind() {
                    io::ErrorKind::WouldBlock => OpenError::Locked { place: storage.place() },
                    _ => Err::<(), _>(error).asked("lock", name, &**storage).unwrap_err().into(),
                })?;
                locks.push(lock);
            }
        }
        let names: Vec<_> = queues.iter().map(|queue| queue.name.as_str()).collect();
        let (loss, surroundings) = (&options.accept, &*options.surroundings);
        let (member, storages) = member::admit(storages, &names, loss, surroundings, known)?;
        let places = member.present();

        let together: Vec<_> = storages
            .iter()
            .zip(&places)
            .map(|(storage, place)| recovery::Directory {
                storage,
                place: *place,
                identity: member.directories[*place].0,
            })
            .collect();
        let (all, state) = recover_all(&together, member.log, &options)?;
        check_recovered(&storages, &all, &state, &options)?;
        report_damage(&storages, &all, &options)?;

        let mut directories = Vec::new();
        for (index, (storage, recovered)) in storages.iter().zip(&all).enumerate() {
            let identity =
                Identity { log: member.log, directory: member.directories[places[index]].0 };
            directories.push(Directory::new(storage.clone(), identity, options.clone(), recovered));
        }
        let (most, most_bytes) = (options.most_senders, options.most_position_bytes);
        let senders = Senders::of(state.senders.clone(), most, most_bytes);
        let registries: Vec<_> =
            directories.iter().map(|one| (one.place(), one.registry())).collect();
        let count = member
            .queues
            .len()
            .max(state.queues.keys().map(|id| usize::from(*id) + 1).max().unwrap_or(0));
        let tails = tail_bytes(&all, &state);
        let slots = (0..count).map(|id| {
            let name = member.queues.get(id);
            let wanted = queues.iter().find(|queue| Some(&queue.name) == name);
            let most = Count { events: u64::MAX, bytes: u64::MAX };
            let capacity = wanted.map_or(most, |queue| queue.capacity);
            let id = u16::try_from(id).unwrap_or(u16::MAX);
            Slot::new(queue(id, &all, &tails, &state, capacity, options.window_bytes))
        });
        let shared = Arc::new(Shared {
            places: (places, member.directories.len()),
            slots: Slots::new(slots),
            roster: Mutex::new(Roster { member, storages: storages.clone() }),
            lines: directories.iter().map(|_| Line::default()).collect(),
            registries,
            senders: Mutex::new(senders),
            held_up: before.map(|before| before.held_up(&state)).unwrap_or_default(),
            voids: Mutex::new(state.voids.clone()),
            homes: Homes::default(),
            stopped: Mutex::new(None),
            closing: AtomicBool::new(false),
            reading: (Mutex::new(false), Condvar::new()),
            locks: Mutex::new(locks),
            threads: Mutex::new(Vec::new()),
            options,
        });
        for (line, recovered) in shared.lines.iter().zip(&all) {
            line.watermark.store(recovered.watermark, Ordering::Release);
        }
        for (directory, recovered) in directories.iter().zip(&all) {
            directory.harden(recovered)?;
        }
        // A directory's first cursor must not speak of what only the tail of another holds, until
        // that is durable in its new segment: after a failed sync the page cache may have it alone.
        let mut known = State::default();
        all.iter().for_each(|one| known.join(&one.synced));
        if sabotaged!(shared.options, TailBeforeItsCopy) {
            known = state.clone();
        }
        let mut committers = Vec::new();
        for (index, (mut directory, recovered)) in directories.into_iter().zip(&all).enumerate() {
            known.join(&recovered.state);
            // As many as one cursor can say.
            known.senders = Senders::of(known.senders, most, most_bytes).into_all();
            directory.begin(known.to_cursor(shared.watermarks()), recovered)?;
            directory.clear(&recovered.useless());
            shared.lines[index].watermark.store(directory.watermark(), Ordering::Release);
            *locked(&shared.lines[index].shortage) = directory.shortage().cloned();
            shared.lines[index].full.store(directory.full(), Ordering::Release);
            committers.push(Committer {
                shared: shared.clone(),
                index,
                directory,
                pending: Default::default(),
                stranded: Vec::new(),
                unburied: Vec::new(),
                stale: None,
            });
        }
        // The tail now lies in the new segments: that is where reading ends.
        let ends: Vec<_> = committers.iter().map(|one| one.directory.end()).collect();
        for (_, slot) in shared.slots.iter() {
            slot.lock().begin(&ends);
        }
        let reader = Reader { shared: shared.clone(), storages };
        Ok(Opened { log: Log(shared), committers, reader })
    }
}

fn check_options(
    storages: &[Arc<dyn Storage>],
    queues: &[QueueOptions],
    options: &Options,
) -> Result<(), OpenError> {
    let refuse = |why: &str| Err(OpenError::Options(why.to_owned()));
    if storages.is_empty() || storages.len() > 1024 || queues.len() > MOST_QUEUES {
        return refuse("a log has from 1 to 1024 directories and at most 1024 queues");
    }
    if storages.iter().any(|storage| storage.place().len() > usize::from(u16::MAX))
        || queues.iter().any(|queue| queue.name.len() > MOST_NAME)
    {
        return refuse("the name of a queue has at most 1024 bytes, a path at most 65535");
    }
    if options.segment_bytes < 4 * FIRST_FRAME
        || options.reserve_bytes < options.group_bytes.saturating_add(FIRST_FRAME)
    {
        return refuse("a segment has at least 32768 bytes and the reserve is larger than a group");
    }
    Ok(())
}

/// What must be there and is not, and directories that contradict each other.
fn check_recovered(
    storages: &[Arc<dyn Storage>],
    all: &[Recovered],
    state: &State,
    options: &Options,
) -> Result<(), OpenError> {
    let given_up = |storage: &dyn Storage, what: String| {
        (options.notice)(Notice::GivenUp { place: storage.place(), what });
    };
    for (storage, recovered) in storages.iter().zip(all) {
        let needed = |entry: &&SegmentEntry| {
            entry.queues.iter().any(|held| {
                let taken = state.queues.get(&held.queue).map(|queue| queue.taken.clone());
                !taken.unwrap_or_default().missing(held.numbers.clone()).is_empty()
            })
        };
        let needed = recovered.missing.iter().filter(needed);
        // What a cut took away is known to nobody, so that it may be needed.
        let segments: Vec<_> = needed.chain(&recovered.cut_short).cloned().collect();
        if !segments.is_empty() {
            if !options.accept.segments {
                return Err(OpenError::Missing { place: storage.place(), segments });
            }
            for lost in segments {
                let what = format!("segment {} with {} events", lost.number, lost.events);
                given_up(&**storage, what);
            }
        }
        if let Some(last_lsn) = recovered.older {
            let seen_lsn = recovered.last_lsn;
            if !options.accept.older {
                return Err(OpenError::Older { place: storage.place(), last_lsn, seen_lsn });
            }
            // The siblings will go on saying what they have seen: what comes is numbered behind it.
            given_up(&**storage, format!("frames {} to {seen_lsn}", last_lsn + 1));
        }
    }
    Ok(())
}

fn report_damage(
    storages: &[Arc<dyn Storage>],
    all: &[Recovered],
    options: &Options,
) -> Result<(), OpenError> {
    let damage: Vec<Damage> = all.iter().flat_map(|one| one.damage.iter().cloned()).collect();
    if !damage.is_empty() && options.on_damage == OnDamage::Halt {
        return Err(OpenError::Damaged(damage));
    }
    for (storage, recovered) in storages.iter().zip(all) {
        for damage in &recovered.damage {
            (options.notice)(Notice::Damaged(damage.clone()));
            if let Some((_, file)) = recovered.segments.get(&damage.segment) {
                quarantine(&**storage, &*file.file, damage)?;
            }
        }
        if let Some((segment, offset)) = recovered.cut {
            (options.notice)(Notice::TailCut { place: storage.place(), segment, offset });
        }
    }
    Ok(())
}

/// A queue out of the state, with an estimate of its bytes and the places where reading starts.
fn queue<R: Record>(
    id: u16,
    all: &[Recovered],
    tails: &BTreeMap<u16, u64>,
    state: &State,
    capacity: Count,
    window_bytes: usize,
) -> Queue<R> {
    let cursor: QueueCursor = state.queues.get(&id).cloned().unwrap_or_default();
    let mut bytes = tails.get(&id).copied().unwrap_or(0);
    let mut starts = Vec::new();
    for recovered in all {
        let mut start = Place { segment: recovered.next_number, offset: FIRST_FRAME };
        for (number, (entry, _)) in recovered.segments.iter().rev() {
            for held in entry.queues.iter().filter(|held| held.queue == id) {
                let left = left(&cursor.taken, held.numbers.clone());
                let whole = held.numbers.end.saturating_sub(held.numbers.start);
                bytes += part(held.bytes, left, whole);
                if left > 0 {
                    start = Place { segment: *number, offset: FIRST_FRAME };
                }
            }
        }
        starts.push(start);
    }
    let ends = starts.clone();
    Queue::new(cursor, bytes, starts, ends, capacity, window_bytes)
}

/// Bytes of what is left in the tails, by queue.
fn tail_bytes(all: &[Recovered], state: &State) -> BTreeMap<u16, u64> {
    let mut tails = BTreeMap::new();
    let frames = all.iter().flat_map(|recovered| &recovered.tail);
    for frame in frames.filter(|frame| frame.kind == Kind::Put) {
        let Some(put) = PutMeta::decode(&frame.meta) else { continue };
        let (events, stored) = (u64::from(put.events), frame.body.len() as u64);
        let bytes = put.inflated.map_or(stored, u64::from).saturating_sub(4 * events);
        for (queue, first) in &put.queues {
            let taken = state.queues.get(queue).map(|queue| &queue.taken);
            let left = taken.map_or(events, |taken| left(taken, *first..*first + events));
            *tails.entry(*queue).or_default() += part(bytes, left, events);
        }
    }
    tails
}

/// So much of `bytes` as `left` is of `whole`.
fn part(bytes: u64, left: u64, whole: u64) -> u64 {
    let part = u128::from(bytes) * u128::from(left) / u128::from(whole.max(1));
    u64::try_from(part).unwrap_or(u64::MAX)
}

fn left(taken: &Taken, numbers: std::ops::Range<u64>) -> u64 {
    taken.missing(numbers).iter().map(|range| range.end - range.start).sum()
}

#[cfg(all(test, not(explore)))]
mod tests {
    use super::*;
    use crate::record::Parts;
    use crate::storage::Disk;

    struct Nothing;

    impl Record for Nothing {
        fn events(&self) -> usize {
            0
        }

        fn event_bytes(&self, _: usize) -> usize {
            0
        }

        fn encode(&self, _: &mut Parts) {}

        fn part(&self, _: usize) -> &[u8] {
            &[]
        }
    }

    #[test]
    fn a_thread_that_does_not_start_leaves_no_directory_locked() {
        let place = tempfile::tempdir().expect("a directory");
        let open = || {
            let disk = |name| Disk::open(&place.path().join(name)).expect("a directory");
            let storages = ["0", "1"].map(|name| Arc::new(disk(name)) as Arc<dyn Storage>);
            Log::<Nothing>::open(storages.into(), &[], Options::default())
        };
        for good in 0..3 {
            let mut started = 0;
            let log = open().expect("directories that nobody has").start_with(|name, run| {
                if started == good {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                started += 1;
                Builder::new().name(name).spawn(run)
            });
            assert!(log.is_err(), "{good} threads started");
        }
        open().expect("directories that nobody has").start().expect("threads").close();
    }
}
