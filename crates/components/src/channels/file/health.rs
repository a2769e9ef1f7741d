//! What a log reports, in words to people and in counters of its channels.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use splashdam_core::metrics::{ChannelMetrics, FileMetrics};
use splashdam_core::{Context, OpenError, Trouble};
use splashdam_wal::{Damage, Notice};
use tokio::sync::Notify;
use tracing::{error, info, warn};

use super::flume::Origin;
use super::import::{Imported, Step};

/// Runs of damage that are remembered, so that none of them is told twice.
const MOST_DAMAGED: usize = 4096;

/// The state of a log as its channels show it.
pub(super) struct Health {
    /// The channel that opened the log.
    title: String,
    channels: Mutex<BTreeMap<Arc<str>, Arc<ChannelMetrics>>>,
    untidy: Mutex<Trouble>,
    /// That the log has stopped and does not open again.
    healing: Mutex<Trouble>,
    /// Where stored data is damaged, by directory, segment and offset, as far as it was told.
    damaged: Mutex<BTreeSet<(String, u64, u64)>>,
    /// Directories that take nothing.
    ill: Mutex<Ill>,
    /// Told when the log has stopped, as all of its directories failed.
    pub(super) stopped: Notify,
}

#[derive(Default)]
struct Ill {
    /// Those without room.
    full: BTreeSet<String>,
    /// Those that failed for good.
    failed: BTreeSet<String>,
}

impl Ill {
    fn show(&self, file: &FileMetrics) {
        file.disk_full.set(i64::from(!self.full.is_empty()));
        file.unhealthy.set(i64::from(!self.failed.is_empty()));
    }
}

impl Health {
    pub(super) fn new(cx: &Context) -> Health {
        let health = Health {
            title: cx.title(),
            channels: Mutex::default(),
            untidy: Mutex::new(Trouble::new()),
            healing: Mutex::new(Trouble::new()),
            damaged: Mutex::default(),
            ill: Mutex::default(),
            stopped: Notify::new(),
        };
        // So that what is found while the log opens is counted.
        health.insert(&cx.name, cx.counters.channel());
        health
    }

    pub(super) fn join(&self, name: &Arc<str>, counters: Arc<ChannelMetrics>) {
        let file = counters.file.get_or_init(FileMetrics::default);
        file.open.set(1);
        file.closed.set(0);
        // The log may be ill already, which nobody tells a second time.
        let ill = self.ill.lock().unwrap_or_else(PoisonError::into_inner);
        ill.show(file);
        self.insert(name, counters);
    }

    fn insert(&self, name: &Arc<str>, counters: Arc<ChannelMetrics>) {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        channels.insert(name.clone(), counters);
    }

    /// The log is about to begin anew, and will tell what is wrong then, from its first step on.
    pub(super) fn anew(&self) {
        *self.ill.lock().unwrap_or_else(PoisonError::into_inner) = Ill::default();
    }

    /// The log was opened again.
    pub(super) fn healed(&self) {
        self.note_ill(|_| {});
        let mut healing = self.healing.lock().unwrap_or_else(PoisonError::into_inner);
        healing.ended(Instant::now());
        info!(component = %self.title, "the log is open again");
    }

    /// The log could not be opened again yet.
    pub(super) fn not_healed(&self, error: &OpenError, wait: Duration) {
        self.each(|file| file.unhealthy.set(1));
        let mut healing = self.healing.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(repeats) = healing.happened(Instant::now(), &error.to_string()) else { return };
        if error.needs_hand() {
            error!(component = %self.title, %error, again_in = ?wait, repeats, "the log has stopped and cannot be opened again before somebody mends this");
        } else {
            warn!(component = %self.title, %error, again_in = ?wait, repeats, "the log has stopped and cannot be opened again yet");
        }
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

    /// The same bytes are read when the log opens, and for each of its queues; they are told once.
    fn is_news(&self, damage: &Damage) -> bool {
        let mut damaged = self.damaged.lock().unwrap_or_else(PoisonError::into_inner);
        let at = (damage.place.clone(), damage.segment, damage.offset);
        damaged.len() >= MOST_DAMAGED || damaged.insert(at)
    }

    /// Some directory may be full, or have failed, while others are well.
    fn note_ill(&self, change: impl FnOnce(&mut Ill)) {
        let mut ill = self.ill.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut ill);
        self.each(|file| ill.show(file));
    }

    /// Stored events with good checksums that are no events.
    pub(super) fn undecodable(&self, name: &str, events: usize) {
        error!(component = %format!("channel {name}"), events, "stored events cannot be read and are skipped; please report this, as it is a bug");
        self.skipped(name, events);
    }

    /// Of the channels of a log only this one has lost events.
    fn skipped(&self, name: &str, events: usize) {
        let channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = channels.get(name).and_then(|counters| counters.file.get()) {
            file.events_skipped.add(events);
        }
    }

    /// Called on the log's threads; does not block.
    pub(super) fn notice(&self, notice: &Notice) {
        let component = &self.title;
        match notice {
            Notice::Damaged(damage) if !self.is_news(damage) => {}
            Notice::Damaged(damage) => {
                error!(%component, %damage, "stored data is damaged");
                self.each(|file| file.damaged.add(1));
            }
            Notice::Skipped { queue, events } => {
                error!(component = %format!("channel {queue}"), events, "events are skipped, since the data that held them is damaged or of failed transactions");
                self.skipped(queue, usize::try_from(*events).unwrap_or(usize::MAX));
            }
            Notice::TailCut { place, segment, offset } => {
                info!(%component, %place, segment, offset, "what was not yet committed at the last stop is cut off");
            }
            Notice::SegmentDead { place, segment, why } => {
                error!(%component, %place, segment, %why, "a write or sync failed; the channel goes on in another file");
                self.each(|file| file.failed_files.add(1));
            }
            Notice::DirectoryFailed { place, why } => {
                error!(%component, %place, %why, "the directory fails again and again and takes nothing more until the log is opened again; look at its disk");
                self.note_ill(|ill| {
                    ill.full.remove(place);
                    ill.failed.insert(place.clone());
                });
            }
            Notice::Stopped { why } => {
                error!(%component, %why, "the log has stopped: no directory is left that takes anything");
                self.stopped.notify_one();
            }
            Notice::DiskFull(shortage) => {
                warn!(%component, %shortage, "no room on the disk: puts wait, takes go on; make room or lower minimumRequiredSpace");
                self.note_ill(|ill| ill.full.extend([shortage.place.clone()]));
            }
            Notice::DiskRoom { place } => {
                info!(%component, %place, "there is room on the disk again");
                self.note_ill(|ill| ill.full.retain(|other| other != place));
            }
            Notice::NoRoomAhead { place } => {
                warn!(%component, %place, "the file system promises files no room ahead, so that takes may have to wait for room, too, when its disk is full; another file system does, such as ext4 or xfs");
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

/// An import, as it is told of in the log: when it begins, at each tenth, and what it brought.
pub(super) struct ImportTold<'a> {
    health: &'a Health,
    tenths: u64,
}

impl Health {
    pub(super) fn of_import(&self) -> ImportTold<'_> {
        ImportTold { health: self, tenths: 0 }
    }
}

impl ImportTold<'_> {
    pub(super) fn step(&mut self, step: &Step<'_>) -> ControlFlow<()> {
        let component = &self.health.title;
        match step {
            Step::ChangedSince => {
                warn!(%component, "the files of a flume in dataDirs have changed since they were taken over, and are not taken over again; drain them with flume, or move them aside");
            }
            Step::Found { logs, bytes } => {
                info!(%component, logs, bytes, "taking over what a flume left in dataDirs");
            }
            Step::Discarded { events } => {
                info!(%component, events, "an earlier try to take it over was cut off; what it had stored is thrown away, and it begins anew");
            }
            Step::Stored { events, of } => {
                let tenths = events.saturating_mul(10) / (*of).max(1);
                if tenths > self.tenths && tenths < 10 {
                    info!(%component, events, of, "taking over what a flume left");
                }
                self.tenths = tenths;
            }
            Step::Done(imported) => self.done(imported),
            Step::Reading(_) | Step::Begun { .. } | Step::Durable | Step::Marked => {}
        }
        ControlFlow::Continue(())
    }

    fn done(&self, imported: &Imported) {
        let component = &self.health.title;
        for damage in &imported.damages {
            error!(%component, %damage, "a log of flume's is damaged; what is readable behind it is taken over");
        }
        let (damaged, skipped) = (imported.counts.damaged, imported.unreadable);
        if damaged + skipped > 0 {
            error!(%component, damaged_places = damaged, events_skipped = skipped, "not all that a flume left could be read; its files stay where they are");
            let clipped = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
            self.health.each(|file| {
                file.damaged.add(clipped(damaged));
                file.events_skipped.add(clipped(skipped));
            });
        }
        if let Origin::Logs(why) | Origin::Backup(why) = &imported.origin {
            warn!(%component, %why, "flume's checkpoint could not be used; its logs were replayed without");
        }
        if imported.may_repeat {
            warn!(%component, "events that flume had delivered may come again, since there are several dataDirs and no checkpoint");
        }
        info!(%component, events = imported.events, "what a flume left is taken over; its files stay where they are, and nothing here needs them any more");
    }
}

#[cfg(test)]
mod tests {
    use splashdam_core::Role;
    use splashdam_core::metrics::Counters;
    use splashdam_testkit::context;

    use super::*;

    #[test]
    fn damage_is_told_once_wherever_it_is_met() {
        let counters = Counters::new(Role::Channel);
        let cx = Context { counters: counters.clone(), ..context(Role::Channel) };
        let health = Health::new(&cx);
        health.join(&cx.name, counters.channel());
        let damage = |segment, offset| {
            let place = "/data".to_owned();
            Notice::Damaged(Damage { place, segment, offset, bytes: 9, lsns: None })
        };
        for (segment, offset) in [(1, 64), (1, 64), (2, 64), (1, 99), (1, 64)] {
            health.notice(&damage(segment, offset));
        }
        assert_eq!(counters.channel().file.get().unwrap().damaged.value(), 3);
    }

    fn health_of(name: &str) -> (Health, Counters) {
        let counters = Counters::new(Role::Channel);
        let context = context(Role::Channel);
        let cx = Context { name: name.into(), counters: counters.clone(), ..context };
        let health = Health::new(&cx);
        health.join(&cx.name, counters.channel());
        (health, counters)
    }

    fn disk_full(place: &str) -> Notice {
        Notice::DiskFull(splashdam_wal::Shortage {
            place: place.into(),
            free_bytes: Some(0),
            needed_bytes: 1,
            why: "no space".into(),
        })
    }

    /// Whether some directory is full, and whether one failed.
    fn gauges(counters: &Counters) -> (i64, i64) {
        let counters = counters.channel();
        let file = counters.file.get().unwrap();
        (file.disk_full.value(), file.unhealthy.value())
    }

    #[test]
    fn a_channel_that_joins_shows_what_is_wrong_with_its_log_already() {
        let (health, first) = health_of("c1");
        let failed = Notice::DirectoryFailed { place: "/b".into(), why: "bad".into() };
        for (notice, want) in [(disk_full("/a"), (1, 0)), (failed, (1, 1))] {
            health.notice(&notice);
            let second = Counters::new(Role::Channel);
            health.join(&"c2".into(), second.channel());
            assert_eq!([&first, &second].map(gauges), [want; 2]);
            health.leave("c2");
        }
    }

    #[test]
    fn a_full_directory_that_fails_is_not_full_any_more() {
        let (health, counters) = health_of("c1");
        for place in ["/a", "/b"] {
            health.notice(&disk_full(place));
        }
        health.notice(&Notice::DirectoryFailed { place: "/a".into(), why: "bad".into() });
        assert_eq!(gauges(&counters), (1, 1));
        health.notice(&Notice::DiskRoom { place: "/b".into() });
        assert_eq!(gauges(&counters), (0, 1));
    }

    #[test]
    fn what_one_channel_of_a_log_lost_the_others_did_not() {
        let counters = ["c1", "c2"].map(|_| Counters::new(Role::Channel));
        let cx = Context { name: "c1".into(), ..context(Role::Channel) };
        let health = Health::new(&cx);
        for (name, counters) in ["c1", "c2"].into_iter().zip(&counters) {
            health.join(&name.into(), counters.channel());
        }
        health.notice(&Notice::Skipped { queue: "c2".into(), events: 8 });
        // A queue of a channel that is not there any more.
        health.notice(&Notice::Skipped { queue: "c3".into(), events: 5 });
        let skipped = |one: &Counters| one.channel().file.get().unwrap().events_skipped.value();
        assert_eq!(counters.each_ref().map(skipped), [0, 8]);
    }
}
