//! How far a long act is, in one line on the terminal.

use std::io::{self, IsTerminal, Write};

/// Events between two changes of a count.
const COUNT_STEP: u64 = 10_000;

/// A line on standard error that is written again and again, if that is a terminal.
pub(crate) struct Bar {
    what: &'static str,
    shown: bool,
    last: Option<u64>,
}

impl Bar {
    pub(crate) fn new(what: &'static str) -> Bar {
        Bar { what, shown: io::stderr().is_terminal(), last: None }
    }

    /// So much of so much is done.
    pub(crate) fn at(&mut self, done: u64, of: u64) {
        let percent = (u128::from(done) * 100).checked_div(u128::from(of)).unwrap_or(100);
        let percent = u64::try_from(percent).unwrap_or(100).min(100);
        self.show(percent, |what| format!("{what} {percent} %"));
    }

    /// So many are done, of an unknown number.
    pub(crate) fn count(&mut self, done: u64) {
        self.show(done / COUNT_STEP, |what| format!("{what}, {done} events"));
    }

    fn show(&mut self, mark: u64, text: impl Fn(&str) -> String) {
        if self.shown && self.last != Some(mark) {
            self.last = Some(mark);
            // A terminal that has gone is no reason to stop.
            let _written = write!(io::stderr(), "\r\u{1b}[K{}", text(self.what));
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if self.last.is_some() {
            let _written = write!(io::stderr(), "\r\u{1b}[K");
        }
    }
}
