//! What becomes of a log when one of its threads panics.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;

use crate::error::CommitError;
use crate::log::{Shared, locked};
use crate::options::Notice;
use crate::record::Record;

const WHY: &str = "one of its threads panicked, which is a bug; see the log of errors";

/// A panic is a mistake of ours: the log takes nothing more until it is opened again. Dropped by a thread
/// that panics; one that ends well forgets it.
pub(crate) struct StopOnPanic<'a, R: Record> {
    shared: &'a Shared<R>,
    /// Which committer it is, if it is one.
    index: Option<usize>,
}

impl<'a, R: Record> StopOnPanic<'a, R> {
    pub(crate) fn of(shared: &'a Shared<R>, index: Option<usize>) -> StopOnPanic<'a, R> {
        StopOnPanic { shared, index }
    }
}

impl<R: Record> Drop for StopOnPanic<'_, R> {
    fn drop(&mut self) {
        let shared = self.shared;
        // No lock is held here: what took one has been unwound. What is called may panic, too, and a panic
        // that left this would end the process.
        contained(|| shared.stop(WHY));
        for line in &shared.lines {
            line.failed.store(true, Ordering::Release);
        }
        // The other committers refuse what waits for them; nobody looks into this one's inbox any more.
        let left = self.index.map(|index| std::mem::take(&mut *locked(&shared.lines[index].inbox)));
        for request in left.into_iter().flatten() {
            contained(|| request.refuse(shared, CommitError::Closed(WHY.to_owned())));
        }
        contained(|| (shared.options.notice)(Notice::Stopped { why: WHY.to_owned() }));
    }
}

fn contained(act: impl FnOnce()) {
    // The hook has reported it.
    let _ended = catch_unwind(AssertUnwindSafe(act));
}
