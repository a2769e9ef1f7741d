//! Waiting for files to change: notification by the kernel as a hint, a wake-up call by hand.
//!
//! Notification is read here, by the thread that reads the files, and only when that has nothing
//! else to do: while it is busy the kernel folds equal hints into one, so a file that is written
//! a hundred thousand times a second costs no more than one that is written now and then.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;

/// Hints kept by name; with more of them everything is looked at.
const MOST_HINTS: usize = 4096;

/// Wakes the thread that waits.
#[derive(Debug)]
pub(super) struct Waker(UnixStream);

/// What may have changed.
#[derive(Debug, Default)]
pub(super) struct Hints {
    /// Files with new content.
    pub(super) files: HashSet<PathBuf>,
    /// Names came, went or moved.
    pub(super) names: bool,
    /// Hints were lost: look at everything.
    pub(super) all: bool,
}

/// The waiting end.
#[derive(Debug)]
pub(super) struct Watch {
    woken: UnixStream,
    notify: Option<OwnedFd>,
    watched: HashMap<i32, PathBuf>,
    paths: HashSet<PathBuf>,
}

impl Waker {
    /// Wakes it now, or at its next wait.
    pub(super) fn wake(&self) {
        // A full pipe means that it is being woken already; a closed one that nobody waits.
        let _sent = (&self.0).write(&[0]).is_ok();
    }
}

impl Watch {
    /// Without notification, should the kernel have none to give, `wait` only waits.
    pub(super) fn new() -> io::Result<(Self, Waker)> {
        let (woken, waker) = UnixStream::pair()?;
        woken.set_nonblocking(true)?;
        waker.set_nonblocking(true)?;
        let notify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).ok();
        let watch = Watch { woken, notify, watched: HashMap::new(), paths: HashSet::new() };
        Ok((watch, Waker(waker)))
    }

    /// Asks for hints about the names in a directory and the content of its files. Whether they
    /// will come: not for one that is not there, nor from network file systems.
    pub(super) fn directory(&mut self, path: &Path) -> bool {
        let names = WatchFlags::CREATE | WatchFlags::DELETE | WatchFlags::MOVE;
        let itself = WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF | WatchFlags::ONLYDIR;
        self.add(path, names | itself | WatchFlags::MODIFY) && is_local(path)
    }

    /// Asks for hints about the file behind a link.
    pub(super) fn link(&mut self, path: &Path) -> bool {
        self.add(path, WatchFlags::MODIFY)
    }

    fn add(&mut self, path: &Path, what: WatchFlags) -> bool {
        if self.paths.contains(path) {
            return true;
        }
        let Some(notify) = &self.notify else { return false };
        let Ok(number) = inotify::add_watch(notify, path, what) else { return false };
        if let Some(before) = self.watched.insert(number, path.to_owned()) {
            self.paths.remove(&before);
        }
        self.paths.insert(path.to_owned());
        true
    }

    /// Forgets a watch, so that the next request for the same path is a new one: what a link
    /// leads to has changed.
    pub(super) fn forget(&mut self, path: &Path) {
        if !self.paths.remove(path) {
            return;
        }
        let number = self.watched.iter().find(|(_, p)| *p == path).map(|(number, _)| *number);
        if let (Some(number), Some(notify)) = (number, &self.notify) {
            self.watched.remove(&number);
            // It fails when the file is gone, and its watch with it.
            let _removed = inotify::remove_watch(notify, number).is_ok();
        }
    }

    /// Waits for a hint or a call, `most` long at the most, and adds to `hints`.
    pub(super) fn wait(&mut self, most: Duration, hints: &mut Hints) {
        let timeout = Timespec {
            tv_sec: i64::try_from(most.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: most.subsec_nanos().into(),
        };
        let mut fds = vec![PollFd::new(&self.woken, PollFlags::IN)];
        fds.extend(self.notify.as_ref().map(|notify| PollFd::new(notify, PollFlags::IN)));
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            // Nothing to poll with: time must pass all the same.
            Err(_) => std::thread::sleep(most.min(Duration::from_millis(100))),
        }
        drop(fds);
        let mut calls = [0; 64];
        while (&self.woken).read(&mut calls).is_ok_and(|n| n == calls.len()) {}
        self.collect(hints);
    }

    /// Adds the hints that are there to `hints`.
    pub(super) fn collect(&mut self, hints: &mut Hints) {
        let Some(notify) = &self.notify else { return };
        let mut space = [MaybeUninit::uninit(); 16 * 1024];
        let mut reader = inotify::Reader::new(notify, &mut space);
        loop {
            let event = match reader.next() {
                Ok(event) => event,
                Err(Errno::INTR) => continue,
                Err(Errno::WOULDBLOCK) => return,
                Err(_) => {
                    hints.all = true;
                    return;
                }
            };
            let (what, number) = (event.events(), event.wd());
            if what.contains(ReadFlags::QUEUE_OVERFLOW) {
                hints.all = true;
                continue;
            }
            let Some(path) = self.watched.get(&number) else { continue };
            if what == ReadFlags::MODIFY && hints.files.len() < MOST_HINTS {
                let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()));
                hints.files.insert(name.map_or_else(|| path.clone(), |name| path.join(name)));
            } else if what == ReadFlags::MODIFY {
                hints.all = true;
            } else {
                hints.names = true;
            }
            let gone = ReadFlags::IGNORED | ReadFlags::MOVE_SELF | ReadFlags::UNMOUNT;
            if what.intersects(gone) {
                self.paths.remove(path);
                self.watched.remove(&number);
            }
        }
    }
}

/// Whether changes made elsewhere would be noticed by this kernel.
fn is_local(path: &Path) -> bool {
    // NFS, SMB (three), 9p, Ceph, FUSE, AFS.
    const REMOTE: [u32; 8] = [
        0x6969,
        0x517b,
        0xff53_4d42,
        0xfe53_4d42,
        0x0102_1997,
        0x00c3_6400,
        0x6573_5546,
        0x5346_414f,
    ];
    let Ok(found) = rustix::fs::statfs(path) else { return false };
    // The type's width and sign differ between platforms; the numbers have 32 bits.
    let kind = u32::try_from(i128::from(found.f_type) & 0xffff_ffff).unwrap_or_default();
    !REMOTE.contains(&kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const LONG: Duration = Duration::from_secs(5);

    #[test]
    fn hints_name_what_changed() {
        let dir = tempfile::tempdir().unwrap();
        let (mut watch, waker) = Watch::new().unwrap();
        assert!(watch.directory(dir.path()));
        let (file, mut hints) = (dir.path().join("a"), Hints::default());
        fs::write(&file, "x").unwrap();
        watch.wait(LONG, &mut hints);
        assert!(hints.names && hints.files.contains(&file) && !hints.all);

        let mut hints = Hints::default();
        waker.wake();
        watch.wait(LONG, &mut hints);
        assert!(!hints.names && hints.files.is_empty());
    }

    #[test]
    fn links_are_watched_where_they_lead() {
        let (dir, far) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (target, link) = (far.path().join("t"), dir.path().join("l"));
        fs::write(&target, "").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let (mut watch, _waker) = Watch::new().unwrap();
        assert!(watch.link(&link));
        fs::write(&target, "x").unwrap();
        let mut hints = Hints::default();
        watch.wait(LONG, &mut hints);
        assert!(hints.files.contains(&link));
    }

    #[test]
    fn a_directory_that_is_not_there_gives_no_hints() {
        let (mut watch, _waker) = Watch::new().unwrap();
        assert!(!watch.directory(Path::new("/nonexistent/directory")));
    }
}
