//! Looking at a log that nobody runs, and letting go of what is lost. Nothing here writes but
//! [`accept`] and [`Offline::set_aside`], and the latter only beside the log.

use std::any::Any;
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use crate::directory::Registry;
use crate::error::{Damage, OpenError};
use crate::frame::{Kind, LZ4, SEALED, ZSTD};
use crate::log::Log;
use crate::member::Member;
use crate::open::LOCKS;
use crate::options::{Loss, Notice, Options};
use crate::pack::inflate;
use crate::queue::{Chunk, Errand, Place, ReadPlace};
use crate::ranges::Ranges;
use crate::record::{LastOf, Parts, PutMeta, QueueCursor, Record, SegmentEntry, event_offsets};
use crate::recovery::{Directory, Recovered, quarantine, recover_all};
use crate::replay::State;
use crate::segment::{FIRST_FRAME, Found, SegmentHeader, Walk};
use crate::storage::{Asked, DiskError, Storage};

/// Bytes of one read while looking.
const LOOK_BYTES: usize = 1 << 20;

/// A log as it lies there. It holds the directories' locks, unless it was told not to.
pub struct Offline {
    storages: Vec<Arc<dyn Storage>>,
    member: Member,
    recovered: Vec<Recovered>,
    state: State,
    options: Options,
    _locks: Vec<Box<dyn Any + Send + Sync>>,
}

/// What a log holds and how it is.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The log's identity.
    pub log: [u8; 16],
    /// Each directory that was named, in the log's order.
    pub directories: Vec<DirectoryReport>,
    /// Directories of the log that were not named.
    pub absent: Vec<String>,
    /// Each queue.
    pub queues: Vec<QueueReport>,
    /// The last batch of each sender, by its identity.
    pub senders: Vec<LastOf>,
}

impl Report {
    /// Whether nothing is damaged, missing or absent. A tail that will be cut is no fault.
    pub fn sound(&self) -> bool {
        let sound = |one: &DirectoryReport| {
            one.damage.is_empty() && one.missing.is_empty() && one.seen_lsn <= one.last_lsn
        };
        self.absent.is_empty() && self.directories.iter().all(sound)
    }
}

/// One directory.
#[derive(Clone, Debug, Default)]
pub struct DirectoryReport {
    /// Where it is.
    pub place: String,
    /// Its segments that count.
    pub segments: Vec<SegmentReport>,
    /// Segments that should be there and are not, or are cut short.
    pub missing: Vec<SegmentEntry>,
    /// Acknowledged bytes that are bad.
    pub damage: Vec<Damage>,
    /// Frames that no later one knows to be synced, and that the next start keeps.
    pub tail_frames: u64,
    /// Where the next start cuts what was never acknowledged: segment and offset.
    pub cut: Option<(u64, u64)>,
    /// The last frame known to be synced.
    pub watermark: u64,
    /// The last frame that counts.
    pub last_lsn: u64,
    /// The last frame that any directory has seen in it; beyond `last_lsn` if it is older than those.
    pub seen_lsn: u64,
}

/// One segment.
#[derive(Clone, Debug, Default)]
pub struct SegmentReport {
    /// Its number.
    pub number: u64,
    /// Bytes up to where its frames end.
    pub bytes: u64,
    /// Milliseconds since 1970 when it was begun.
    pub begun: u64,
    /// The key it is encrypted with.
    pub alias: Option<String>,
    /// Frames that put.
    pub puts: u64,
    /// Events in them, as often as there are queues they went to.
    pub events: u64,
    /// Frames that take.
    pub takes: u64,
    /// Frames that sum up.
    pub cursors: u64,
    /// Frames with a compressed body.
    pub compressed: u64,
    /// Encrypted frames.
    pub encrypted: u64,
    /// Milliseconds since 1970 of its first and last put.
    pub times: Option<(u64, u64)>,
}

/// One queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueReport {
    /// Its number in the log.
    pub id: u16,
    /// Its name.
    pub name: String,
    /// The number that the next event gets.
    pub next: u64,
    /// The lowest number not taken.
    pub low: u64,
    /// Numbers not taken; events lost to damage are among them.
    pub queued: u64,
}

/// An event that is queued.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// Its number in the queue.
    pub number: u64,
    /// Its bytes at rest.
    pub bytes: &'a [u8],
}

/// Records that are only ever read back.
enum Nothing {}

impl Record for Nothing {
    fn events(&self) -> usize {
        match *self {}
    }
    fn event_bytes(&self, _: usize) -> usize {
        match *self {}
    }
    fn encode(&self, _: &mut Parts) {
        match *self {}
    }
    fn part(&self, _: usize) -> &[u8] {
        match *self {}
    }
}

impl Offline {
    /// Looks at the log in `storages`, which need not be all of its directories. With `force` it
    /// takes no locks, so that what a running agent writes meanwhile may look like damage.
    pub fn open(
        storages: Vec<Arc<dyn Storage>>,
        options: Options,
        force: bool,
    ) -> Result<Offline, OpenError> {
        let mut locks = Vec::new();
        for storage in storages.iter().filter(|_| !force) {
            for name in LOCKS {
                locks.push(storage.lock(name).map_err(|error| match error.kind() {
                    io::ErrorKind::WouldBlock => OpenError::Locked { place: storage.place() },
                    _ => Err::<(), _>(error).asked("lock", name, &**storage).unwrap_err().into(),
                })?);
            }
        }
        let mut found: Vec<(usize, Arc<dyn Storage>)> = Vec::new();
        let mut newest: Option<Member> = None;
        for storage in storages {
            let place = storage.place();
            let refuse = |why: &str| OpenError::Membership { place, why: why.into() };
            let Some(member) = Member::read(&*storage)?.0 else {
                return Err(refuse("there is no readable log in it"));
            };
            if newest.as_ref().is_some_and(|newest| newest.log != member.log) {
                return Err(refuse("it belongs to another log; name the directories of one log"));
            }
            if found.iter().any(|(index, _)| *index == usize::from(member.index)) {
                return Err(refuse("it is a copy of one of its siblings, or was named twice"));
            }
            found.push((usize::from(member.index), storage));
            if newest.as_ref().is_none_or(|newest| newest.generation < member.generation) {
                newest = Some(member);
            }
        }
        let Some(member) = newest else {
            return Err(OpenError::Options("name the directories of a log".into()));
        };
        found.sort_by_key(|(index, _)| *index);
        let mut directories = Vec::new();
        for (place, storage) in &found {
            let Some((identity, _)) = member.directories.get(*place) else {
                let (place, why) = (storage.place(), "its siblings do not know it".to_owned());
                return Err(OpenError::Membership { place, why });
            };
            directories.push(Directory { storage, place: *place, identity: *identity });
        }
        let (recovered, mut state) = recover_all(&directories, member.log, &options)?;
        // What the next start keeps is looked at, too.
        for one in &recovered {
            for frame in &one.tail {
                if let Some((_, file)) = one.segments.get(&frame.segment) {
                    file.close(file.end().max(frame.end));
                }
            }
        }
        let storages = found.iter().map(|(_, storage)| storage.clone()).collect();
        let places: Vec<_> = found.into_iter().map(|(index, _)| index).collect();
        // In the order of the storages; directories that are not here keep their places free.
        state.watermarks =
            places.iter().map(|at| state.watermarks.get(*at).copied().unwrap_or(0)).collect();
        Ok(Offline { storages, member, recovered, state, options, _locks: locks })
    }

    /// The queues' names by their numbers.
    pub fn queues(&self) -> &[String] {
        &self.member.queues
    }

    /// Reads all frames with their bodies. `progress` is told how many bytes of how many are read.
    pub fn verify(&self, mut progress: impl FnMut(u64, u64)) -> Report {
        let named: Vec<_> = self.storages.iter().map(|storage| storage.place()).collect();
        let paths = self.member.directories.iter().map(|(_, path)| path);
        let mut senders: Vec<_> = self.state.senders.values().cloned().collect();
        senders.sort_unstable_by_key(|last| last.origin.sender);
        let mut report = Report {
            log: self.member.log,
            absent: paths
                .filter(|path| !path.is_empty() && !named.contains(path))
                .cloned()
                .collect(),
            senders,
            ..Report::default()
        };
        for (id, name) in (0u16..).zip(&self.member.queues) {
            let QueueCursor { next, taken } =
                self.state.queues.get(&id).cloned().unwrap_or_default();
            let queued = taken.missing(0..next).iter().map(|range| range.end - range.start).sum();
            let (name, low) = (name.clone(), taken.low());
            report.queues.push(QueueReport { id, name, next, low, queued });
        }
        let ends = self.recovered.iter().flat_map(|one| one.segments.values());
        let total = ends.map(|(_, file)| file.end()).sum();
        let mut read = 0;
        for (index, one) in self.recovered.iter().enumerate() {
            let mut directory = DirectoryReport {
                place: named[index].clone(),
                missing: one.missing.iter().chain(&one.cut_short).cloned().collect(),
                damage: one.damage.clone(),
                tail_frames: one.tail.len() as u64,
                cut: one.cut,
                watermark: one.watermark,
                last_lsn: one.older.unwrap_or(one.last_lsn),
                seen_lsn: self.state.watermarks[index],
                ..DirectoryReport::default()
            };
            for number in one.segments.keys() {
                let before = read;
                let segment = look(one, *number, &mut directory, |bytes| {
                    progress(before + bytes, total);
                });
                read += segment.bytes;
                directory.segments.push(segment);
            }
            report.directories.push(directory);
        }
        report
    }

    /// Copies the damaged bytes that a report names aside, as the log does when it comes upon them.
    /// What is there already stays.
    pub fn set_aside(&self, report: &Report) -> Result<(), DiskError> {
        for (storage, one) in self.storages.iter().zip(&self.recovered) {
            let place = storage.place();
            let damage = report.directories.iter().flat_map(|directory| &directory.damage);
            for damage in damage.filter(|damage| damage.place == place) {
                if let Some((_, segment)) = one.segments.get(&damage.segment) {
                    quarantine(&**storage, &*segment.file, damage)?;
                }
            }
        }
        Ok(())
    }

    /// Gives all events that are queued in `queue` to `each`, in order, until it says no. Says what
    /// was damaged on the way.
    pub fn scan(&self, queue: u16, mut each: impl FnMut(Event<'_>) -> bool) -> Vec<Damage> {
        let QueueCursor { next, taken } =
            self.state.queues.get(&queue).cloned().unwrap_or_default();
        let registries: Vec<_> = self
            .storages
            .iter()
            .zip(&self.recovered)
            .map(|(storage, one)| {
                let registry = Registry::default();
                one.segments.values().for_each(|(_, file)| registry.add(file.clone()));
                (storage.place(), Arc::new(registry))
            })
            .collect();
        let end = Place { segment: u64::MAX, offset: u64::MAX };
        let start = Place { segment: 0, offset: FIRST_FRAME };
        let count = registries.len();
        let mut place: ReadPlace<Nothing> = ReadPlace {
            at: vec![start; count],
            heads: (0..count).map(|_| VecDeque::new()).collect(),
            expected: taken.low(),
        };
        let mut damage = Vec::new();
        loop {
            let (ends, in_flight) = (vec![end; count], Ranges::default());
            let errand = Errand { place, ends, in_flight, next, room: LOOK_BYTES };
            let brought = crate::reader::read(queue, errand, &registries, &self.options);
            damage.extend(brought.damage.into_iter().map(|(_, _, damage)| damage));
            if brought.pieces.is_empty() {
                return damage;
            }
            for piece in &brought.pieces {
                let Chunk::Stored(bytes, offsets) = &piece.chunk else { continue };
                for range in taken.missing(piece.numbers()) {
                    for number in range {
                        let at = piece.events.start + (number - piece.first) as usize;
                        let bytes = &bytes[offsets[at] as usize..offsets[at + 1] as usize];
                        if !each(Event { number, bytes }) {
                            return damage;
                        }
                    }
                }
            }
            place = brought.place;
        }
    }
}

/// Reads one segment with all bodies.
fn look(
    one: &Recovered,
    number: u64,
    directory: &mut DirectoryReport,
    mut progress: impl FnMut(u64),
) -> SegmentReport {
    let mut report = SegmentReport { number, ..SegmentReport::default() };
    let Some((_, segment)) = one.segments.get(&number) else { return report };
    report.bytes = segment.end();
    if let Ok(header) = SegmentHeader::read(&*segment.file) {
        report.begun = header.begun;
        report.alias = header.sealed.map(|sealed| sealed.alias);
    }
    let mut bad = Vec::new();
    let mut walk = Walk::new(segment, FIRST_FRAME, segment.end(), LOOK_BYTES);
    while let Some(found) = walk.step() {
        progress(walk.at());
        let (header, meta) = match found {
            Found::Frame(header, meta) => (header, meta),
            Found::Bad { from, to } => {
                bad.push((from, to));
                continue;
            }
        };
        report.encrypted += u64::from(header.flags & SEALED > 0);
        report.compressed += u64::from(header.flags & (LZ4 | ZSTD) > 0);
        match header.kind {
            Kind::Take => report.takes += 1,
            Kind::Cursor => report.cursors += 1,
            Kind::Put => {
                let put = PutMeta::decode(&meta);
                let good = put.as_ref().is_some_and(|put| {
                    let body = walk.body(&header);
                    let body = body.and_then(|body| inflate(header.flags, body, put.inflated));
                    body.is_some_and(|body| event_offsets(&body, put.events).is_some())
                });
                let Some(put) = put.filter(|_| good) else {
                    bad.push((header.offset, header.end()));
                    continue;
                };
                report.puts += 1;
                report.takes += u64::from(put.take.is_some());
                report.events += u64::from(put.events) * put.queues.len() as u64;
                let first = report.times.map_or(header.time, |times| times.0);
                report.times = Some((first, header.time));
            }
        }
    }
    for (from, to) in bad {
        let known = |damage: &Damage| damage.segment == number && damage.offset == from;
        if !directory.damage.iter().any(known) {
            let (place, bytes) = (directory.place.clone(), to - from);
            let damage = Damage { place, segment: number, offset: from, bytes, lsns: None };
            directory.damage.push(damage);
        }
    }
    report
}

/// Opens the log, giving up what `loss` says, and closes it again: from then on it opens without.
/// Says what was given up, and what else was noticed.
pub fn accept(
    storages: Vec<Arc<dyn Storage>>,
    loss: Loss,
    options: Options,
) -> Result<Vec<Notice>, OpenError> {
    let notices: Arc<Mutex<Vec<Notice>>> = Arc::default();
    let heard = notices.clone();
    let notice = move |notice| heard.lock().unwrap_or_else(PoisonError::into_inner).push(notice);
    for place in &loss.directories {
        notice(Notice::GivenUp { place: place.clone(), what: "all that is in it".into() });
    }
    let options = Options { accept: loss, notice: Arc::new(notice), ..options };
    let opened = Log::<Nothing>::open(storages, &[], options)?;
    for committer in opened.committers {
        committer.finish();
    }
    opened.log.close();
    Ok(std::mem::take(&mut *notices.lock().unwrap_or_else(PoisonError::into_inner)))
}
