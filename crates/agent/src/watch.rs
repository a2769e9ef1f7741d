//! When to look at the configuration again: by the clock, on SIGHUP, when a file changes, and when
//! ZooKeeper says so.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use splashdam_zookeeper::Seen;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio::sync::watch::Receiver;
use tokio::time::{Instant, Interval, MissedTickBehavior, Sleep, interval_at};
use tracing::warn;

/// Flume's poll interval.
pub const POLL: Duration = Duration::from_secs(30);
/// Flume's poll interval when any URI is http(s).
pub const POLL_REMOTE: Duration = Duration::from_secs(300);
/// A file must have been quiet for this long before it is worth a look.
const QUIET: Duration = Duration::from_millis(200);
/// A file that never gets quiet is looked at all the same after this long.
const QUIET_AT_MOST: Duration = Duration::from_secs(2);

/// Why to look again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// The poll interval went by.
    Poll,
    /// SIGHUP.
    Hangup,
    /// A file may have changed.
    File,
    /// A node of ZooKeeper has changed, or nobody answers for it, or somebody does again.
    Node,
}

/// A stream of reasons to look again. Reasons that come together are one.
pub struct Changes {
    poll: Option<Interval>,
    hangup: Signal,
    touched: Arc<Notify>,
    node: Option<Receiver<Seen>>,
    /// When the current run of touches is over, and when it is over at the latest.
    settling: Option<(Pin<Box<Sleep>>, Instant)>,
    _watcher: Option<RecommendedWatcher>,
}

impl Changes {
    /// Watches `files` and the clock. A `poll` of zero leaves the clock out. Where notification
    /// cannot be had, polling remains, with a warning. Needs a tokio runtime.
    ///
    /// # Errors
    /// The handler for SIGHUP could not be installed.
    pub fn new(poll: Duration, files: &[PathBuf]) -> io::Result<Self> {
        let touched = Arc::new(Notify::new());
        let poll = (!poll.is_zero()).then(|| {
            let mut ticks = interval_at(Instant::now() + poll, poll);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        });
        let watcher = if files.is_empty() { None } else { watch(files, &touched) };
        let hangup = signal(SignalKind::hangup())?;
        Ok(Changes { poll, hangup, touched, node: None, settling: None, _watcher: watcher })
    }

    /// Watches a node, too. It is never half written, so that nothing needs to settle.
    #[must_use]
    pub fn and_node(self, node: Option<Receiver<Seen>>) -> Self {
        Changes { node, ..self }
    }

    /// The next reason. Cancel-safe.
    pub async fn next(&mut self) -> Trigger {
        loop {
            let poll = async {
                match &mut self.poll {
                    Some(poll) => drop(poll.tick().await),
                    None => std::future::pending().await,
                }
            };
            let settled = async {
                match &mut self.settling {
                    Some((quiet, _)) => quiet.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                Some(()) = self.hangup.recv() => return Trigger::Hangup,
                () = told(&mut self.node) => return Trigger::Node,
                () = self.touched.notified() => {
                    let now = Instant::now();
                    let latest = self.settling.take().map_or(now + QUIET_AT_MOST, |(_, at)| at);
                    let quiet = tokio::time::sleep_until((now + QUIET).min(latest));
                    self.settling = Some((Box::pin(quiet), latest));
                }
                () = settled => {
                    self.settling = None;
                    return Trigger::File;
                }
                () = poll => return Trigger::Poll,
            }
        }
    }
}

/// Something new of a node that may not be followed at all.
async fn told(node: &mut Option<Receiver<Seen>>) {
    let followed = match node {
        Some(node) => node.changed().await.is_ok(),
        None => false,
    };
    if !followed {
        std::future::pending::<()>().await;
    }
}

/// Watches the directories of `files`, as files are replaced rather than written, and those that
/// links lead to.
fn watch(files: &[PathBuf], touched: &Arc<Notify>) -> Option<RecommendedWatcher> {
    let mut names = BTreeSet::new();
    let mut directories = BTreeSet::new();
    for file in files {
        for path in std::iter::once(file.clone()).chain(file.canonicalize().ok()) {
            names.extend(path.file_name().map(ToOwned::to_owned));
            let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
            directories.insert(parent.unwrap_or(Path::new(".")).to_owned());
        }
    }
    let touched = touched.clone();
    let heard = move |event: notify::Result<Event>| {
        if event.is_ok_and(|event| matters(&event, &names)) {
            touched.notify_one();
        }
    };
    let mut watcher = match notify::recommended_watcher(heard) {
        Ok(watcher) => watcher,
        Err(error) => {
            warn!(%error, "cannot watch the configuration for changes; it is polled only");
            return None;
        }
    };
    for directory in directories {
        if let Err(error) = watcher.watch(&directory, RecursiveMode::NonRecursive) {
            let path = directory.display();
            warn!(%path, %error, "cannot watch the configuration's directory; it is polled only");
        }
    }
    Some(watcher)
}

/// Whether an event may concern one of the files: not one of our own reads, and not a neighbour.
/// `..data` is the link that Kubernetes swaps above a mounted configuration.
fn matters(event: &Event, names: &BTreeSet<OsString>) -> bool {
    let changes = !matches!(event.kind, EventKind::Access(_));
    let names_it = |path: &PathBuf| {
        path.file_name().is_some_and(|name| names.contains(name) || name == "..data")
    };
    changes && (event.need_rescan() || event.paths.iter().any(names_it))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_clock_ticks() {
        let start = Instant::now();
        let mut changes = Changes::new(POLL, &[]).unwrap();
        assert_eq!(changes.next().await, Trigger::Poll);
        assert_eq!(start.elapsed(), POLL);
    }

    #[tokio::test(start_paused = true)]
    async fn touches_settle_into_one_and_outlast_being_dropped() {
        let mut changes = Changes::new(POLL, &[]).unwrap();
        let start = Instant::now();
        changes.touched.notify_one();
        for _ in 0..3 {
            let early = tokio::time::timeout(QUIET / 2, changes.next()).await;
            assert!(early.is_err());
            changes.touched.notify_one();
        }
        assert_eq!(changes.next().await, Trigger::File);
        assert_eq!(start.elapsed(), QUIET / 2 * 3 + QUIET);
        assert_eq!(changes.next().await, Trigger::Poll);
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_never_rests_is_looked_at_all_the_same() {
        let mut changes = Changes::new(Duration::ZERO, &[]).unwrap();
        let touched = changes.touched.clone();
        let start = Instant::now();
        let restless = tokio::spawn(async move {
            loop {
                touched.notify_one();
                tokio::time::sleep(QUIET / 4).await;
            }
        });
        assert_eq!(changes.next().await, Trigger::File);
        assert!(start.elapsed() <= QUIET_AT_MOST + QUIET, "{:?}", start.elapsed());
        restless.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_is_told_of_at_once_and_outlives_who_follows_it() {
        let (sender, seen) = tokio::sync::watch::channel(Seen::default());
        let mut changes = Changes::new(POLL, &[]).unwrap().and_node(Some(seen));
        let start = Instant::now();
        sender.send_replace(Seen::default());
        assert_eq!(changes.next().await, Trigger::Node);
        assert_eq!(start.elapsed(), Duration::ZERO);
        drop(sender);
        assert_eq!(changes.next().await, Trigger::Poll);
    }

    #[tokio::test]
    async fn a_replaced_file_is_noticed_and_a_neighbour_or_a_read_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("flume.conf");
        fs::write(&path, "x").unwrap();
        let mut changes = Changes::new(Duration::ZERO, std::slice::from_ref(&path)).unwrap();
        fs::read(&path).unwrap();
        fs::write(dir.path().join("neighbour"), "x").unwrap();
        assert!(tokio::time::timeout(QUIET * 2, changes.next()).await.is_err());
        fs::write(dir.path().join("new"), "y").unwrap();
        fs::rename(dir.path().join("new"), &path).unwrap();
        let noticed = tokio::time::timeout(Duration::from_secs(20), changes.next()).await;
        assert_eq!(noticed.unwrap(), Trigger::File);
    }
}
