//! File channels on the storages of a simulation, with a log whose writers it moves by hand.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, RwLock};

use splashdam_config::Section;
use splashdam_core::{Context, JointId, OpenError};
use splashdam_wal::storage::Storage;
use splashdam_wal::{Committer, Log, Options, QueueOptions, Reader};

use super::{OpenLog, identity_of, unavailable};
use crate::channels::file::health::Health;
use crate::channels::file::record::Datums;
use crate::channels::file::{Config, FileChannel};

/// The writers and the reader of a log. Dropped without more they leave it as a crash does.
pub struct Hands {
    committers: Vec<Committer<Datums>>,
    reader: Reader<Datums>,
    log: Log<Datums>,
}

impl Hands {
    /// Commits what waits, and reads what is wanted; whether there was anything of either.
    pub fn work(&mut self) -> bool {
        let mut any = false;
        for committer in &mut self.committers {
            any |= committer.commit_waiting();
        }
        while self.reader.read_waiting() {
            any = true;
        }
        any
    }

    /// Whether the log takes nothing more, as its disks failed.
    pub fn stopped(&self) -> bool {
        self.log.stopped().is_some()
    }

    /// Ends as a clean stop does.
    pub fn finish(self) {
        self.committers.into_iter().for_each(Committer::finish);
        self.log.close();
    }
}

impl FileChannel {
    /// Opens channels that share a log on `storages`, one for each context, all with the same keys.
    ///
    /// # Errors
    /// What keeps the log from being opened.
    pub fn by_hand(
        contexts: &[Context],
        section: &Section,
        storages: Vec<Arc<dyn Storage>>,
        options: Options,
        number: u64,
    ) -> Result<(Vec<FileChannel>, Hands), OpenError> {
        let config = section.read::<Config>().into_result().map_err(OpenError::Config)?;
        let limits = config.limits();
        let queue =
            |cx: &Context| QueueOptions { name: cx.name.to_string(), capacity: limits.capacity };
        let queues: Vec<_> = contexts.iter().map(queue).collect();
        let Some(first) = contexts.first() else {
            return Err(OpenError::config("a log needs a channel"));
        };
        let health = Arc::new(Health::new(first));
        let noticed = health.clone();
        let notice = Arc::new(move |notice| noticed.notice(&notice));
        let options = Options { notice, ..options };
        let opened = Log::open(storages, &queues, options).map_err(unavailable)?;
        let log = opened.log.clone();
        let open = Arc::new(OpenLog {
            id: JointId(number),
            log: RwLock::new(opened.log),
            directories: Vec::new(),
            settings: config.settings(),
            under_way: Arc::default(),
            members: Mutex::default(),
            signals: Mutex::default(),
            health,
            place: Arc::default(),
            // It has no threads that anybody would have to end.
            closed: AtomicBool::new(true),
        });
        let channels = contexts.iter().map(|cx| {
            let identity = Some(identity_of(&log, cx));
            let member = open.join(cx.name.clone(), identity, limits, cx.counters.channel())?;
            let (_, began) = log.untaken(member.queue);
            let (config, log, place) = (config.clone(), open.clone(), PathBuf::new());
            Ok(FileChannel { config, log, member, place, began })
        });
        let channels = channels.collect::<Result<_, OpenError>>()?;
        let hands = Hands { committers: opened.committers, reader: opened.reader, log };
        Ok((channels, hands))
    }
}
