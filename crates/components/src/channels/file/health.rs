//! What a log reports, in words to people and in counters of its channels.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use splashdam_core::metrics::{ChannelMetrics, FileMetrics};
use splashdam_core::{Context, Trouble};
use splashdam_wal::Notice;
use tracing::{error, info, warn};

/// The state of a log as its channels show it.
pub(super) struct Health {
    /// The channel that opened the log.
    title: String,
    channels: Mutex<BTreeMap<Arc<str>, Arc<ChannelMetrics>>>,
    untidy: Mutex<Trouble>,
}

impl Health {
    pub(super) fn new(cx: &Context) -> Health {
        let health = Health {
            title: cx.title(),
            channels: Mutex::default(),
            untidy: Mutex::new(Trouble::new()),
        };
        // So that what is found while the log opens is counted.
        health.insert(&cx.name, cx.counters.channel());
        health
    }

    pub(super) fn join(&self, name: &Arc<str>, counters: Arc<ChannelMetrics>) {
        let file = counters.file.get_or_init(FileMetrics::default);
        file.open.set(1);
        file.closed.set(0);
        self.insert(name, counters);
    }

    fn insert(&self, name: &Arc<str>, counters: Arc<ChannelMetrics>) {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        channels.insert(name.clone(), counters);
    }

    pub(super) fn leave(&self, name: &str) {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = channels.remove(name).as_ref().and_then(|set| set.file.get()) {
            file.open.set(0);
            file.closed.set(1);
        }
    }

    /// Tells every channel of the log.
    fn each(&self, tell: impl Fn(&FileMetrics)) {
        let channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        channels.values().filter_map(|counters| counters.file.get()).for_each(tell);
    }

    /// Stored events with good checksums that are no events.
    pub(super) fn undecodable(&self, name: &str, events: usize) {
        error!(component = %format!("channel {name}"), events, "stored events cannot be read and are skipped; please report this, as it is a bug");
        let channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = channels.get(name).and_then(|counters| counters.file.get()) {
            file.events_skipped.add(events);
        }
    }

    /// Called on the log's threads; does not block.
    pub(super) fn notice(&self, notice: &Notice) {
        let component = &self.title;
        match notice {
            Notice::Damaged(damage) => {
                error!(%component, %damage, "stored data is damaged");
                self.each(|file| file.damaged.add(1));
            }
            Notice::Skipped { queue, events } => {
                error!(%component, queue, events, "events are skipped, since the data that held them is damaged or of failed transactions");
                let events = usize::try_from(*events).unwrap_or(usize::MAX);
                self.each(|file| file.events_skipped.add(events));
            }
            Notice::TailCut { place, segment, offset } => {
                info!(%component, %place, segment, offset, "what was not yet committed at the last stop is cut off");
            }
            Notice::SegmentDead { place, segment, why } => {
                error!(%component, %place, segment, %why, "a write or sync failed; the channel goes on in another file");
                self.each(|file| file.failed_files.add(1));
            }
            Notice::DirectoryFailed { place, why } => {
                error!(%component, %place, %why, "the directory fails again and again and takes nothing more until the channel is opened again; look at its disk");
                self.each(|file| file.unhealthy.set(1));
            }
            Notice::DiskFull { place } => {
                warn!(%component, %place, "no room on the disk: puts wait, takes go on; make room or lower minimumRequiredSpace");
                self.each(|file| file.disk_full.set(1));
            }
            Notice::DiskRoom { place } => {
                info!(%component, %place, "there is room on the disk again");
                self.each(|file| file.disk_full.set(0));
            }
            Notice::GivenUp { place, what } => {
                warn!(%component, %place, %what, "given up, as the operator has said");
            }
            Notice::Untidy { place, why } => {
                let mut untidy = self.untidy.lock().unwrap_or_else(PoisonError::into_inner);
                if untidy.happened(Instant::now(), why).is_some() {
                    warn!(%component, %place, %why, "something failed that nothing depends on, and is tried again");
                }
            }
        }
    }
}
