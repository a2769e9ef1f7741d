//! What a committer does when its disk fails: a new segment makes void what the dead one may hold,
//! or, where none can be made, another directory says that it is.

use std::sync::atomic::Ordering;

use super::Committer;
use super::request::{Buried, Job, Request};
use crate::error::CommitError;
use crate::log::{Line, locked};
use crate::options::{Notice, sabotaged};
use crate::record::{Record, Void};
use crate::storage::DiskError;

impl<R: Record> Committer<R> {
    /// Begins a new segment after a failure, which makes void what the dead one may still hold.
    pub(super) fn seal(&mut self) -> bool {
        while !self.directory.failed() {
            let cursor = self.shared.cursor();
            match self.directory.roll(cursor, 0) {
                Ok(_) => {}
                // What failed here must not be put elsewhere as long as it may come back.
                Err(error) if self.others_work() => {
                    self.directory.note_failure(&error);
                    continue;
                }
                Err(_) => return false,
            }
            match self.directory.append(&[]) {
                Ok(_) => {
                    self.durable();
                    return true;
                }
                // It is not the disk's fault, and may be so for long.
                Err(error) if error.is_full() => return false,
                Err(_) => {}
            }
        }
        false
    }

    /// Where there was no room even to make void what a write has left, another directory does that, or this
    /// one when it can; until then nobody may be told, as it could be put elsewhere and come back here.
    pub(super) fn leave(&mut self, failed: Vec<Job<R>>, why: CommitError) {
        failed.iter().for_each(|job| job.request.hold_up(&self.shared));
        let stranded = std::mem::take(&mut self.stranded);
        let buried = Buried { void: self.void(), failed, stranded, why };
        // So that others come first.
        self.shared.lines[self.index].full.store(true, Ordering::Release);
        self.shared.hand_on(Request::Bury(buried));
    }

    /// What this directory may hold and must not count.
    fn void(&self) -> Void {
        let (segment, above) = self.directory.void();
        let place = u16::try_from(self.shared.places.0[self.index]).unwrap_or(u16::MAX);
        Void { directory: place, segment, above }
    }

    /// A segment could not be made. Where others can take its place, a directory that fails so again
    /// and again is given up; the only one goes on trying: it is all there is.
    pub(super) fn note_failure(&mut self, error: &DiskError) {
        if self.others_work() {
            self.directory.note_failure(error);
            self.give_up_if_failed(&error.to_string());
        }
    }

    pub(super) fn others_work(&self) -> bool {
        let mut others = self.shared.lines.iter().enumerate();
        others.any(|(index, line)| index != self.index && line.works())
    }

    pub(super) fn give_up_if_failed(&mut self, why: &str) {
        if self.directory.failed() && self.shared.lines[self.index].works() {
            self.give_up(Vec::new(), why);
        }
    }

    /// A directory that failed takes no more; a log without any other stops. `failed` are answered
    /// when another has said that what they left here is void.
    pub(super) fn give_up(&mut self, failed: Vec<Job<R>>, why: &str) {
        let shared = self.shared.clone();
        let line = &shared.lines[self.index];
        let mut inbox = locked(&line.inbox);
        self.pending.extend(inbox.drain(..));
        // Before anybody turns to another directory: what follows must not be stored there first.
        failed.iter().for_each(|job| job.request.hold_up(&shared));
        self.pending.iter().for_each(|request| request.hold_up(&shared));
        line.failed.store(true, Ordering::Release);
        drop(inbox);
        if !shared.lines.iter().any(Line::works) {
            shared.stop(why);
            (shared.options.notice)(Notice::Stopped { why: why.to_owned() });
        }
        let void = self.void();
        let stranded = std::mem::take(&mut self.stranded);
        let why = CommitError::Failed(why.to_owned());
        let mine = Buried { void, failed, stranded, why: why.clone() };
        let others = std::mem::take(&mut self.unburied);
        let (waiting, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.pending)
            .into_iter()
            .partition(|request| matches!(request, Request::Bury(_)));
        for buried in std::iter::once(mine).chain(others).map(Request::Bury).chain(waiting) {
            shared.hand_on(buried);
        }
        let why = CommitError::Closed(why.to_string());
        rest.into_iter().for_each(|request| request.refuse(&shared, why.clone()));
    }

    /// Says for a directory that failed that what it may still hold is void, and answers those who
    /// wait for that.
    pub(super) fn bury(&mut self, buried: Buried<R>) {
        let void = buried.void;
        if !sabotaged!(self.shared.options, VoidUntold) {
            locked(&self.shared.voids).insert(void.directory, void);
            if self.write_cursor(&[]).is_err() {
                if self.directory.failed() {
                    self.shared.hand_on(Request::Bury(buried));
                } else {
                    self.unburied.push(buried);
                }
                return;
            }
        }
        self.stranded.extend(buried.stranded);
        self.withdraw_stranded();
        for job in buried.failed.into_iter().rev() {
            self.withdraw(&job, true);
            job.request.refuse(&self.shared, buried.why.clone());
        }
    }

    pub(super) fn withdraw(&mut self, job: &Job<R>, sealed: bool) {
        let Some(put) = &job.put else { return };
        for (queue, first) in put.queues.iter().rev() {
            let numbers = *first..*first + u64::from(put.events);
            // As long as a crash may bring the frame back, its numbers must not count as gone: the
            // cursor of another directory would say so, and half of the put would be missed.
            if sealed || self.shared.lines.len() == 1 {
                self.shared.slots.at(*queue).lock().withdraw(numbers);
            } else {
                self.stranded.push((*queue, numbers));
            }
        }
    }

    pub(super) fn withdraw_stranded(&mut self) {
        for (queue, numbers) in self.stranded.drain(..) {
            self.shared.slots.at(queue).lock().withdraw(numbers);
        }
    }
}
