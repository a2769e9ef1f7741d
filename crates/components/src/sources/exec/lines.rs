//! Output of a command cut into lines: they end at LF, CR LF or CR, as Java's `readLine` has it.

use std::borrow::Cow;

use bytes::{Buf, Bytes, BytesMut};
use splashdam_core::Event;

use crate::charset::{Charset, OnMalformed};

/// Bytes of one block that lines are slices of.
const BLOCK_BYTES: usize = 64 * 1024;
/// The least room for a read. Blocks are filled to the last such part, so that lines in a channel
/// hold little more memory than they have bytes.
const READ_BYTES: usize = 4 * 1024;

/// Bytes that were read and not yet handed out.
pub(super) struct Lines {
    charset: Charset,
    /// Whether the byte order is settled.
    resolved: bool,
    buffer: BytesMut,
    /// Bytes at the start of the buffer that are known to hold no line end.
    searched: usize,
    /// Whether the last line ended with a CR, so that an LF now belongs to it.
    after_cr: bool,
    max_bytes: usize,
}

impl Lines {
    pub(super) fn new(charset: Charset, max_bytes: usize) -> Self {
        Lines {
            charset,
            resolved: false,
            buffer: BytesMut::new(),
            searched: 0,
            after_cr: false,
            max_bytes: max_bytes.max(4),
        }
    }

    /// Where to read more to.
    pub(super) fn room(&mut self) -> &mut BytesMut {
        if self.buffer.capacity() - self.buffer.len() < READ_BYTES {
            self.buffer.reserve(BLOCK_BYTES);
        }
        &mut self.buffer
    }

    /// The next whole line, or a piece of the greatest length of a longer one.
    pub(super) fn next(&mut self) -> Option<Event> {
        let unit = self.charset.unit_bytes();
        if self.buffer.len() < unit {
            return None;
        }
        if !std::mem::replace(&mut self.resolved, true) {
            let (charset, mark) = self.charset.resolve(&self.buffer);
            self.charset = charset;
            self.buffer.advance(mark);
        }
        if self.after_cr && self.buffer.len() >= unit {
            self.after_cr = false;
            if self.charset.find(&self.buffer[..unit], b'\n') == Some(0) {
                self.buffer.advance(unit);
            }
        }
        let window = &self.buffer[..self.buffer.len().min(self.max_bytes + unit)];
        let found = self.charset.find_either(&window[self.searched..], b'\n', b'\r');
        match found.map(|at| self.searched + at).filter(|at| *at <= self.max_bytes) {
            Some(at) => {
                let line = self.buffer.split_to(at).freeze();
                self.after_cr = self.charset.find(&self.buffer[..unit], b'\r') == Some(0);
                self.buffer.advance(unit);
                self.searched = 0;
                Some(self.event(line))
            }
            None if self.buffer.len() > self.max_bytes => Some(self.piece()),
            None => {
                self.searched = self.buffer.len() - self.buffer.len() % unit;
                None
            }
        }
    }

    fn piece(&mut self) -> Event {
        let most = self.max_bytes - self.max_bytes % self.charset.unit_bytes();
        let end = match self.charset.whole(&self.buffer[..most]) {
            0 => most,
            end => end,
        };
        self.searched = 0;
        let piece = self.buffer.split_to(end).freeze();
        self.event(piece)
    }

    /// What is left when nothing more comes, unless it is nothing.
    pub(super) fn last(&mut self) -> Option<Event> {
        let rest = self.buffer.split().freeze();
        (!rest.is_empty()).then(|| self.event(rest))
    }

    /// A line as an event: its very bytes where they are UTF-8.
    fn event(&self, line: Bytes) -> Event {
        // Replacing never fails.
        let text = self.charset.decode(&line, OnMalformed::Replace).unwrap_or_default();
        match text {
            Cow::Borrowed(_) => Event::new(line),
            Cow::Owned(text) => Event::new(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use splashdam_testkit::bodies;

    fn cut(charset: &str, max_bytes: usize, input: &[u8], piece: usize) -> Vec<String> {
        let mut lines = Lines::new(Charset::named(charset).unwrap(), max_bytes);
        let mut events = Vec::new();
        for part in input.chunks(piece) {
            lines.room().extend_from_slice(part);
            events.extend(std::iter::from_fn(|| lines.next()));
        }
        events.extend(lines.last());
        bodies(&events)
    }

    #[test]
    fn lines_end_as_in_java_however_they_arrive() {
        let check = |charset: &str, max: usize, input: &[u8], want: &[&str]| {
            for piece in [1, 2, 3, 1000] {
                assert_eq!(cut(charset, max, input, piece), want, "{charset} {max} {piece}");
            }
        };
        check("UTF-8", 100, b"a\nb\r\nc\rd", &["a", "b", "c", "d"]);
        check("UTF-8", 100, b"\n\r\n\r\r", &["", "", "", ""]);
        check("UTF-8", 100, b"a\n", &["a"]);
        check("UTF-8", 100, b"", &[]);
        check("UTF-8", 100, b"a\xffb\xc3\n", &["a\u{fffd}b\u{fffd}"]);
        check("UTF-8", 4, b"abcd\nabcdefghij\nx\n", &["abcd", "abcd", "efgh", "ij", "x"]);
        check("UTF-8", 4, "aüüü\n".as_bytes(), &["aü", "üü"]);
        check("UTF-8", 4, b"abcd\r\nab", &["abcd", "ab"]);
        check("ISO-8859-1", 100, b"gr\xfcn\n", &["grün"]);
        check("UTF-16", 100, b"\xff\xfea\0\r\0\n\0b\0", &["a", "b"]);
        check("UTF-16", 100, b"\0a\0\r\0b", &["a", "b"]);
        check("UTF-16LE", 4, b"a\0b\0c\0\n\0", &["ab", "c"]);
    }
}
