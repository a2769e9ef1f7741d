//! Which directory a sender's batches go to, or those of a lane. All that are under way at once go to one, whose
//! thread sees them in order; only when none is may the next one go elsewhere.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use crate::log::{Shared, locked};
use crate::record::Record;
use crate::threads::Mutex;

/// Puts without an origin that are to be stored in the order in which they are put, though the next one
/// is put before the one before is stored. Once one of them is refused so are all that come behind it:
/// who puts them again does so in a new lane. Nothing of it is written down.
#[derive(Clone, Debug)]
pub struct Lane {
    key: [u8; 16],
    broken: Arc<AtomicBool>,
}

impl Lane {
    /// The lane of this number, which no other has in this process. `broken` is set once a put is refused.
    pub fn new(number: u64, broken: Arc<AtomicBool>) -> Lane {
        let mut key = *b"a lane, number: ";
        key[8..].copy_from_slice(&number.to_be_bytes());
        Lane { key, broken }
    }

    /// What is put into it from now on is refused.
    pub(crate) fn end(&self) {
        self.broken.store(true, Ordering::Release);
    }

    /// Whether one before was refused.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }
}

/// By sender, or lane, where its batches are under way, and how many. Bounded by the puts under way.
#[derive(Default)]
pub(crate) struct Homes(Mutex<HashMap<[u8; 16], (usize, usize)>>);

/// A batch of a sender or in a lane under way. Dropped once it is known how it ended, and before that is told.
pub(crate) struct Home<R: Record> {
    /// Not held on to: it may lie in the log's own lists.
    log: Weak<Shared<R>>,
    sender: [u8; 16],
    line: Option<usize>,
}

impl<R: Record> Home<R> {
    /// One more batch of `sender` is under way.
    pub(crate) fn of(log: &Arc<Shared<R>>, sender: [u8; 16]) -> Home<R> {
        Home::near(log, sender, Some(usual(&sender, log.lines.len())))
    }

    /// One more batch in `lane` is under way.
    pub(crate) fn in_lane(log: &Arc<Shared<R>>, lane: &Lane) -> Home<R> {
        Home::near(log, lane.key, None)
    }

    fn near(log: &Arc<Shared<R>>, sender: [u8; 16], wanted: Option<usize>) -> Home<R> {
        let mut homes = locked(&log.homes.0);
        let (known, under_way) = homes.get(&sender).copied().unzip();
        // What is under way in a directory that failed is held up, and what follows with it.
        let line = known.filter(|line| log.lines[*line].works()).or_else(|| log.able(wanted));
        homes.extend(line.map(|line| (sender, (line, under_way.unwrap_or(0) + 1))));
        drop(homes);
        Home { log: Arc::downgrade(log), sender, line }
    }

    /// The directory it goes to; `None` if none works.
    pub(crate) fn line(&self) -> Option<usize> {
        self.line
    }
}

impl<R: Record> Drop for Home<R> {
    fn drop(&mut self) {
        let Some(log) = self.log.upgrade().filter(|_| self.line.is_some()) else { return };
        let mut homes = locked(&log.homes.0);
        if let Some((_, under_way)) = homes.get_mut(&self.sender) {
            *under_way -= 1;
            if *under_way == 0 {
                homes.remove(&self.sender);
            }
        }
    }
}

/// The directory of a sender as long as nothing speaks against it, so that they are spread.
fn usual(sender: &[u8; 16], lines: usize) -> usize {
    sender.iter().fold(0usize, |sum, byte| sum * 31 % 65_521 + usize::from(*byte)) % lines
}
