//! The reading of a spooling directory, step by step, without any waiting. It blocks.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use rustix::fs::{Access, FlockOperation, OFlags, access, flock};
use rustix::io::Errno;
use sha1::{Digest, Sha1};
use splashdam_core::metrics::SourceMetrics;
use splashdam_core::{Batch, Context, Event, Headers, OpenError, Origin, Outlet, Random, World};
use tokio::runtime::Handle;
use tracing::{error, info, warn};

use super::finish::{Finish, Unfinished};
use super::progress::{Progress, SYNC_EVERY, sync_dir};
use super::scan::{Candidate, Print, Rules};
use super::{Config, ConsumeOrder, DeletePolicy, TrackingPolicy};
use crate::charset::{Charset, OnMalformed};
use crate::deserializers::{Choice, Content, Deserializer, Input, ReadError, is_damage};

const LOCK: &str = ".splashdam.lock";
/// Files that are remembered as set aside.
const MOST_ASIDE: usize = 10_000;
/// Time until a file that the system refused is tried again, and after which one that changed is
/// taken for complete.
const RETRY: Duration = Duration::from_secs(60);

/// Everything that reading needs and remembers.
pub(super) struct Spooler {
    title: String,
    rules: Rules,
    finish: Finish,
    choice: Choice,
    charset: Charset,
    on_malformed: OnMalformed,
    /// The bytes that a packed file may become, if such are unpacked.
    unpacks: Option<u64>,
    file_header: Option<String>,
    basename_header: Option<String>,
    batch_events: usize,
    tracker_dir: PathBuf,
    random: Random,
    world: Arc<dyn World>,
    metrics: Arc<SourceMetrics>,
    /// Files of the last look at the directory, the next one last.
    listing: Vec<Candidate>,
    listed: Option<Instant>,
    listing_lasts: Option<Duration>,
    aside: HashMap<PathBuf, Aside>,
    current: Option<Current>,
    /// Directories in which files were finished since the last sync.
    unsynced: BTreeSet<PathBuf>,
    unsynced_since: Option<Instant>,
    /// The position behind what was delivered and is not yet written down.
    delivered: Option<u64>,
    /// Asked how far a file is stored already, if the channels keep that with the lines.
    outlet: Option<Outlet>,
    /// Held as long as this lives.
    _lock: File,
}

/// The file that is being read.
struct Current {
    relative: PathBuf,
    print: Print,
    deserializer: Box<dyn Deserializer>,
    progress: Progress,
    headers: Headers,
    /// Whether nothing of it was read yet, now or before.
    fresh: bool,
    /// Whether it was renamed, deleted or noted, and only its progress is still there.
    finished: bool,
    /// The name under which channels know this file, and how far the last batch that said so went.
    sender: [u8; 16],
    epoch: u64,
    told: u64,
}

/// What the channels know of a file: its name, which reading of it comes next, and up to where all
/// have it.
struct Known {
    sender: [u8; 16],
    epoch: u64,
    position: Option<u64>,
}

/// A file that is left alone.
struct Aside {
    print: Print,
    until: Until,
    said: String,
    /// Whether it was seen to change while it was read.
    restless: bool,
}

/// When a file that is set aside is looked at again, unless it changes before.
enum Until {
    Changed,
    Gone(PathBuf),
    Later(Instant),
}

/// What came of a step.
pub(super) enum Step {
    /// To be put; then [`Spooler::delivered`].
    Batch(Batch),
    /// There is nothing to read.
    Idle,
}

impl Spooler {
    /// Looks at the directories and locks the tracker's. The error says what to do.
    pub(super) fn open(
        config: &Config,
        choice: Choice,
        cx: &Context,
    ) -> Result<Spooler, OpenError> {
        let spool_dir: PathBuf = config.spool_dir.components().collect();
        let config = Config { spool_dir, ..config.clone() };
        let root = &config.spool_dir;
        match fs::metadata(root) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => {
                let said = format!("spoolDir {} is not a directory", root.display());
                return Err(OpenError::unmended(said));
            }
            Err(error) => {
                let root = root.display();
                let said = format!(
                    "spoolDir {root} cannot be used: {error}; create it or correct the path"
                );
                return Err(OpenError::refused(said, error));
            }
        }
        let finish = match (config.delete_policy, config.tracking_policy) {
            (DeletePolicy::Immediate, _) => Finish::Delete,
            (DeletePolicy::Never, TrackingPolicy::Rename) => Finish::Rename,
            (DeletePolicy::Never, TrackingPolicy::TrackerDir) => Finish::Note,
        };
        if finish != Finish::Note
            && let Err(error) = access(root, Access::WRITE_OK | Access::EXEC_OK)
        {
            let said = format!(
                "spoolDir {} cannot be written to: {error}; finished files could not be renamed or deleted. \
                 Allow it, or set trackingPolicy = tracker_dir and trackerDir to a directory elsewhere",
                root.display()
            );
            return Err(OpenError::refused(said, error.into()));
        }
        let tracker_dir = root.join(&config.tracker_dir);
        let lock = prepare_tracker_dir(&tracker_dir)?;
        let tracks = config.tracking_policy == TrackingPolicy::TrackerDir;
        let random_order = config.consume_order == ConsumeOrder::Random;
        Ok(Spooler {
            title: cx.title(),
            rules: Rules::new(&config, &tracker_dir, tracks),
            finish,
            choice,
            charset: config.input_charset,
            on_malformed: config.decode_error_policy,
            unpacks: config.decompress.then_some(config.max_uncompressed_bytes),
            file_header: config.file_header.then_some(config.file_header_key),
            basename_header: config.basename_header.then_some(config.basename_header_key),
            batch_events: config.batch_size.get() as usize,
            tracker_dir,
            random: cx.random(),
            world: cx.world.clone(),
            metrics: cx.counters.source(),
            listing: Vec::new(),
            listed: None,
            listing_lasts: (!random_order).then(|| Duration::from_millis(config.poll_delay)),
            aside: HashMap::new(),
            current: None,
            unsynced: BTreeSet::new(),
            unsynced_since: None,
            delivered: None,
            outlet: None,
            _lock: lock,
        })
    }

    /// Has batches say how far they go, for channels that store that with them.
    pub(super) fn tell(&mut self, outlet: &Outlet) {
        self.outlet = outlet.keeps_origins().then(|| outlet.clone());
    }

    /// The batch of the last step is safe in the channels.
    pub(super) fn delivered(&mut self) {
        self.delivered = self.current.as_ref().map(|current| current.deserializer.position());
    }

    /// Writes down what was delivered. Should it fail it can be tried again.
    fn settle(&mut self) -> Result<(), String> {
        let now = self.world.instant();
        if let (Some(position), Some(current)) = (self.delivered, &mut self.current) {
            current.progress.commit(position, now).map_err(|error| {
                let dir = self.tracker_dir.display();
                format!("progress cannot be written to {dir}: {error}; make room there or allow it. Reading waits, so that nothing is read twice")
            })?;
        }
        self.delivered = None;
        Ok(())
    }

    /// Writes down what was delivered, so that a crash of the machine does not undo it either.
    pub(super) fn settle_for_good(&mut self) -> Result<(), String> {
        self.settle()?;
        self.sync()
    }

    /// Makes durable what was written down.
    pub(super) fn sync(&mut self) -> Result<(), String> {
        let synced = self.current.as_mut().map_or(Ok(()), |current| current.progress.sync());
        synced.map_err(|error| self.tracker_trouble(&error))?;
        self.sync_names()
    }

    /// Makes durable that files are finished.
    fn sync_names(&mut self) -> Result<(), String> {
        while let Some(dir) = self.unsynced.first() {
            match sync_dir(dir) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(format!("directory {} cannot be synced: {error}", dir.display()));
                }
                _ => self.unsynced.pop_first(),
            };
        }
        self.unsynced_since = None;
        Ok(())
    }

    /// Writes down what was delivered and reads on: in the file at hand, or in the next one. An
    /// error is one that keeps all files from being read; the step can be tried again.
    pub(super) fn step(&mut self) -> Result<Step, String> {
        self.settle()?;
        loop {
            let now = self.world.instant();
            let unsynced = self.unsynced_since.map(|since| now.saturating_duration_since(since));
            if unsynced.is_some_and(|lasts| lasts >= SYNC_EVERY) {
                self.sync_names()?;
            }
            let Some(current) = &mut self.current else {
                if self.open_next()? {
                    continue;
                }
                self.sync_names()?;
                return Ok(Step::Idle);
            };
            if current.finished {
                self.let_go()?;
                continue;
            }
            match current.deserializer.read(self.batch_events) {
                Err(error) => {
                    let until = match &error {
                        ReadError::Io { .. } => self.later(),
                        ReadError::Malformed { .. } | ReadError::Damaged { .. } => Until::Changed,
                    };
                    self.set_current_aside(&error.to_string(), until)?;
                }
                Ok(mut batch) => {
                    if batch.is_empty() && current.fresh {
                        batch.push(Event::default());
                    }
                    current.fresh = false;
                    if batch.is_empty() {
                        self.finish_current()?;
                        continue;
                    }
                    if !current.headers.is_empty() {
                        batch.edit(|event| add(&current.headers, &mut event.headers));
                    }
                    let origin = self.outlet.as_ref().and_then(|_| current.origin());
                    return Ok(Step::Batch(batch.with_origin(origin)));
                }
            }
        }
    }

    fn finish_current(&mut self) -> Result<(), String> {
        let Some(current) = &self.current else { return Ok(()) };
        let aside = self.aside.get(&current.relative);
        if aside.is_some_and(|aside| aside.restless) && !self.quiet(&current.print) {
            let until = self.later();
            return self.set_current_aside(&Unfinished::Changed.to_string(), until);
        }
        match self.finish.apply(&self.rules, &current.relative, &current.print) {
            Ok(changed) => {
                info!(component = %self.title, file = %current.relative.display(), "a file is finished");
                self.unsynced.extend(changed);
                self.unsynced_since.get_or_insert(self.world.instant());
                self.current.iter_mut().for_each(|current| current.finished = true);
                self.let_go()
            }
            Err(Unfinished::Gone) => {
                let file = current.relative.display();
                warn!(component = %self.title, %file, "a file {}; what was read of it is delivered", Unfinished::Gone);
                self.metrics.read_failures.add(1);
                self.forget_current()
            }
            Err(unfinished) => {
                let until = match &unfinished {
                    Unfinished::Exists(target) => Until::Gone(target.clone()),
                    _ => self.later(),
                };
                let restless = matches!(unfinished, Unfinished::Changed);
                let relative = current.relative.clone();
                self.set_current_aside(&unfinished.to_string(), until)?;
                if let Some(aside) = self.aside.get_mut(&relative) {
                    aside.restless |= restless;
                }
                Ok(())
            }
        }
    }

    /// Forgets the progress of a file that is finished. A long one would be read again from its
    /// start, so it keeps it until its new name is safe. Short ones are many, and synced together.
    fn let_go(&mut self) -> Result<(), String> {
        if self.current.as_ref().is_some_and(|current| current.progress.outlives_the_machine()) {
            self.sync_names()?;
        }
        self.forget_current()
    }

    /// Whether a file was left alone for long enough to be taken for complete.
    fn quiet(&self, print: &Print) -> bool {
        let modified = print.modified.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
        let now = u64::try_from(self.world.now_millis()).unwrap_or(0);
        let age = modified.map(|at| Duration::from_millis(now).saturating_sub(at));
        age.is_none_or(|age| age >= RETRY)
    }

    fn forget_current(&mut self) -> Result<(), String> {
        let Some(current) = self.current.take() else { return Ok(()) };
        self.aside.remove(&current.relative);
        current.progress.finish().map_err(|error| self.tracker_trouble(&error))
    }

    fn set_current_aside(&mut self, why: &str, until: Until) -> Result<(), String> {
        let Some(current) = self.current.take() else { return Ok(()) };
        self.set_aside(current.relative, current.print, why, until);
        current.progress.set_aside().map_err(|error| self.tracker_trouble(&error))
    }

    /// Leaves a file alone, and says so once.
    fn set_aside(&mut self, relative: PathBuf, print: Print, why: &str, until: Until) {
        self.metrics.read_failures.add(1);
        if self.aside.get(&relative).is_none_or(|aside| aside.said != why) {
            let file = self.rules.root.join(&relative);
            error!(component = %self.title, file = %file.display(), "a file {why}; it is set aside, the others go on");
        }
        if self.aside.len() >= MOST_ASIDE {
            let root = &self.rules.root;
            self.aside.retain(|relative, _| root.join(relative).exists());
            if self.aside.len() >= MOST_ASIDE {
                self.aside.clear();
            }
        }
        let restless = self.aside.get(&relative).is_some_and(|aside| aside.restless);
        self.aside.insert(relative, Aside { print, until, said: why.to_owned(), restless });
    }

    fn later(&self) -> Until {
        Until::Later(self.world.instant() + RETRY)
    }

    fn tracker_trouble(&self, error: &io::Error) -> String {
        let dir = self.tracker_dir.display();
        format!("progress cannot be changed in {dir}: {error}; make room there or allow it")
    }

    /// Opens the next file; false when there is none.
    fn open_next(&mut self) -> Result<bool, String> {
        let now = self.world.instant();
        let stale = match (self.listed, self.listing_lasts) {
            (Some(listed), Some(lasts)) => now.saturating_duration_since(listed) >= lasts,
            (listed, _) => listed.is_none(),
        };
        if stale || self.listing.is_empty() {
            self.list(now)?;
        }
        while let Some(candidate) = self.listing.pop() {
            let relative = candidate.relative;
            match self.open_file(&relative) {
                Ok(Some(current)) => {
                    self.current = Some(current);
                    return Ok(true);
                }
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    let why = format!("cannot be opened: {error}");
                    let until = if is_damage(&error) { Until::Changed } else { self.later() };
                    self.set_aside(relative, candidate.print, &why, until);
                }
            }
        }
        Ok(false)
    }

    fn list(&mut self, now: Instant) -> Result<(), String> {
        let mut links = Vec::new();
        let aside = &self.aside;
        let mut skip = |candidate: &Candidate, link: bool| match aside.get(&candidate.relative) {
            Some(aside) if aside.print == candidate.print => match &aside.until {
                Until::Changed => true,
                Until::Gone(target) => target.exists(),
                Until::Later(due) => now < *due,
            },
            _ => {
                if link && links.len() < MOST_ASIDE {
                    links.push(candidate.clone());
                }
                link
            }
        };
        let listed = self.rules.candidates(&self.random, &mut skip);
        for Candidate { relative, print } in links {
            let why = "is a symbolic link, which is not followed; set followSymlinks = true if nobody but trusted users can put files here";
            self.set_aside(relative, print, why, Until::Changed);
        }
        self.listing = listed.map_err(|error| {
            format!("spoolDir {} cannot be listed: {error}", self.rules.root.display())
        })?;
        self.listed = Some(now);
        Ok(())
    }

    /// `None` for something that is no file after all.
    fn open_file(&self, relative: &Path) -> io::Result<Option<Current>> {
        let path = self.rules.root.join(relative);
        // Something that blocks may have taken its place since it was listed, or a link.
        let mut flags = OFlags::NONBLOCK;
        if !self.rules.follow_links {
            flags |= OFlags::NOFOLLOW;
        }
        let flags = flags.bits().cast_signed();
        let file = OpenOptions::new().read(true).custom_flags(flags).open(&path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Ok(None);
        }
        let named = path.to_string_lossy().into_owned();
        let content = match self.unpacks {
            Some(most) => Content::unpacked(file, most)?,
            None => Content::plain(file)?,
        };
        let length = content.length();
        let progress = Progress::find(&self.tracker_dir, named, &metadata, length, &self.random)?;
        let Known { sender, epoch, position } = self.known(&metadata, length);
        let resumed = progress.resumed().max(position);
        let deserializer = self.choice.open(Input {
            content,
            position: resumed.unwrap_or(0),
            charset: self.charset,
            on_malformed: self.on_malformed,
        })?;
        Ok(Some(Current {
            relative: relative.to_owned(),
            print: Print::of(&metadata),
            deserializer,
            fresh: resumed.is_none(),
            finished: false,
            sender,
            epoch,
            told: resumed.unwrap_or(0),
            progress,
            headers: self.headers(&path)?,
        }))
    }

    /// What the channels know of a file.
    ///
    /// One log knows exactly how far it is stored. The file is read on in a new epoch, so that
    /// nothing waits for what an earlier reading could not store, in batches of other lengths
    /// perhaps. Several logs may stand apart: the batches are the same again, and so are their parts, or
    /// the channels would not be told origins ([`Outlet::keeps_origins`]). So each takes what it lacks;
    /// where the source is configured otherwise, the file has another name.
    fn known(&self, metadata: &fs::Metadata, length: u64) -> Known {
        let sender = sender(&self.tracker_dir, metadata);
        let Some(outlet) = &self.outlet else { return Known { sender, epoch: 1, position: None } };
        let sender = outlet.name_of(sender);
        let one_log = outlet.stores_once();
        if let Ok(runtime) = Handle::try_current()
            && one_log
        {
            // What a reading that was cut off had on its way may still get there.
            runtime.block_on(outlet.settled(sender));
        }
        let position = outlet.last_of(sender).map(|last| last.sequence);
        let position = position.filter(|at| *at <= length);
        let epoch = if one_log { outlet.newest_epoch(sender) + 1 } else { 1 };
        Known { sender, epoch, position }
    }

    fn headers(&self, path: &Path) -> io::Result<Headers> {
        let mut headers = Headers::default();
        if let Some(key) = &self.file_header {
            let absolute = std::path::absolute(path)?;
            headers.insert(key.as_str(), absolute.to_string_lossy().into_owned());
        }
        if let (Some(key), Some(name)) = (&self.basename_header, path.file_name()) {
            headers.insert(key.as_str(), name.to_string_lossy().into_owned());
        }
        Ok(headers)
    }
}

/// Adds a file's headers to those that its deserializer set.
fn add(more: &Headers, headers: &mut Headers) {
    if headers.is_empty() {
        *headers = more.clone();
        return;
    }
    for (name, value) in more.iter() {
        headers.insert(name, value);
    }
}

impl Current {
    /// Says how far the batch goes that was just read. The same place in the same reading is the
    /// same batch, however often it is put; one that does not go further says nothing.
    fn origin(&mut self) -> Option<Origin> {
        let position = self.deserializer.position();
        if position <= self.told {
            return None;
        }
        self.told = position;
        let Current { sender, epoch, .. } = *self;
        Some(Origin { sender, epoch, sequence: position, position: Bytes::new() })
    }
}

/// The name of a file for the channels: a file that is moved in again is another one.
fn sender(tracker_dir: &Path, metadata: &fs::Metadata) -> [u8; 16] {
    let mut hash = Sha1::new();
    hash.update(tracker_dir.as_os_str().as_bytes());
    let born = metadata.created().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let born = born.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX));
    for number in [metadata.dev(), metadata.ino(), born] {
        hash.update(number.to_le_bytes());
    }
    for time in [metadata.ctime(), metadata.ctime_nsec()] {
        hash.update(time.to_le_bytes());
    }
    let hash = hash.finalize();
    let mut name = [0; 16];
    name.copy_from_slice(&hash[..16]);
    name
}

/// Makes the tracker directory if need be, one level only, and locks it.
fn prepare_tracker_dir(dir: &Path) -> Result<File, OpenError> {
    let wrong = |error: io::Error| {
        let said = format!(
            "trackerDir {} cannot be used: {error}; set it to a directory, absolute or below spoolDir, that the agent may write to",
            dir.display()
        );
        OpenError::refused(said, error)
    };
    match fs::create_dir(dir) {
        Ok(()) => dir.parent().map_or(Ok(()), sync_dir).map_err(wrong)?,
        Err(_) if dir.is_dir() => {}
        Err(error) => return Err(wrong(error)),
    }
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    let lock = options.open(dir.join(LOCK)).map_err(wrong)?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(Errno::WOULDBLOCK) => Err(OpenError::unavailable(format!(
            "trackerDir {} is in use by another source or agent; give each its own trackerDir, and each directory one source",
            dir.display()
        ))),
        Err(error) => {
            warn!(
                "trackerDir {} cannot be locked: {error}; see to it that no other agent uses it",
                dir.display()
            );
            Ok(lock)
        }
    }
}
