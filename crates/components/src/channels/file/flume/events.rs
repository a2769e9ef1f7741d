//! The events of a queue, read from their logs.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;

use splashdam_core::Event;

use super::error::{Damage, Error};
use super::log_file::LogFile;
use super::record::{Layout, Pointer, Unreadable};
use super::scan::{Scan, Window};

/// Logs of which a part is kept in memory at once: one a directory is needed, and one more where a log ends.
const WINDOWS: usize = 32;

/// Reads what pointers point to.
#[derive(Debug)]
pub(super) struct Reader {
    logs: BTreeMap<u32, (LogFile, Layout)>,
    /// The one used last comes last.
    windows: Vec<(u32, Window)>,
    /// Encrypted logs with damage of which the key is the right one all the same.
    right_keys: BTreeSet<u32>,
}

impl Reader {
    pub(super) fn new(files: &BTreeMap<u32, LogFile>, layouts: BTreeMap<u32, Layout>) -> Reader {
        let log = |(id, layout)| files.get(&id).map(|log: &LogFile| (id, (log.clone(), layout)));
        let logs = layouts.into_iter().filter_map(log).collect();
        Reader { logs, windows: Vec::new(), right_keys: BTreeSet::new() }
    }

    /// Whether the log of this number is there.
    pub(super) fn has(&self, log: u32) -> bool {
        self.logs.contains_key(&log)
    }

    /// The event, with the write-order id of its put; `None` when it was struck out.
    ///
    /// # Errors
    /// Damage, a file that cannot be read, and an encrypted log of which nothing can: its key is another.
    pub(super) fn read(&mut self, pointer: Pointer) -> Result<Option<(i64, Event)>, Error> {
        let read = self.read_as_is(pointer);
        if matches!(read, Err(Error::Damaged(_))) {
            self.look_at_key(pointer.file())?;
        }
        read
    }

    /// Without a readable record in an encrypted log it is the key that is wrong, and nothing may be called damaged.
    fn look_at_key(&mut self, id: u32) -> Result<(), Error> {
        if let Some((log, layout)) = self.logs.get(&id)
            && let Some(other_key) = log.other_key()
            && !self.right_keys.contains(&id)
        {
            if Scan::begin(id, log, layout, i64::MIN)?.next()?.is_none() {
                return Err(other_key);
            }
            self.right_keys.insert(id);
        }
        Ok(())
    }

    fn read_as_is(&mut self, pointer: Pointer) -> Result<Option<(i64, Event)>, Error> {
        let offset = pointer.offset();
        let Some((LogFile { path, length, .. }, layout)) = self.logs.get(&pointer.file()) else {
            let path = PathBuf::from(format!("log-{}", pointer.file()));
            let what = "the log is in none of the data directories";
            return Err(Error::Damaged(Damage { path, offset, what }));
        };
        let damaged = |what| Error::Damaged(Damage { path: path.clone(), offset, what });
        let remaining = length
            .checked_sub(offset)
            .filter(|&remaining| remaining > 0)
            .ok_or_else(|| damaged("the log ends before the event"))?;
        let kept = self.windows.iter().rposition(|(id, _)| *id == pointer.file());
        let entry = match kept {
            Some(index) if index + 1 == self.windows.len() => None,
            Some(index) => Some(self.windows.remove(index)),
            None => {
                if self.windows.len() == WINDOWS {
                    self.windows.remove(0);
                }
                Some((pointer.file(), Window::new(path, *length)))
            }
        };
        self.windows.extend(entry);
        let Some((_, window)) = self.windows.last_mut() else { return Ok(None) };
        let mut need = 128;
        loop {
            match layout.event(window.bytes(offset, need)?, remaining) {
                Ok(event) => return Ok(event),
                Err(Unreadable::Bad(what)) => return Err(damaged(what)),
                Err(Unreadable::Short(more)) => need = more.max(need * 2),
            }
        }
    }

    /// The write-order id of a put; of one that cannot be read, which is reported when it is delivered, zero.
    pub(super) fn put_order(&mut self, pointer: Pointer) -> Result<i64, Error> {
        match self.read(pointer) {
            Ok(event) => Ok(event.map_or(0, |(order, _)| order)),
            Err(Error::Damaged(_)) => Ok(0),
            Err(error) => Err(error),
        }
    }
}

/// See [`Queue::into_events`](super::Queue::into_events).
#[derive(Debug)]
pub struct Events {
    pointers: VecDeque<Pointer>,
    reader: Reader,
    struck_out: u64,
}

impl Events {
    pub(super) fn new(pointers: VecDeque<Pointer>, reader: Reader) -> Events {
        Events { pointers, reader, struck_out: 0 }
    }

    /// How many are left, with those that are damaged or struck out.
    pub fn remaining(&self) -> usize {
        self.pointers.len()
    }

    /// Queued events that Flume's integrity tool struck out, passed over so far, as Flume does.
    pub fn struck_out(&self) -> u64 {
        self.struck_out
    }
}

impl Iterator for Events {
    type Item = Result<Event, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.reader.read(self.pointers.pop_front()?) {
                Ok(Some((_, event))) => return Some(Ok(event)),
                Ok(None) => self.struck_out += 1,
                Err(error) => return Some(Err(error)),
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.pointers.len()))
    }
}
