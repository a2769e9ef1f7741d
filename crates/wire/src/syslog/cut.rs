//! Where messages end in a stream: at a line end, as Flume has it, or after as many bytes as the
//! message announces (octet counting, RFC 6587 and RFC 5425).

use std::ops::Range;

use splashdam_core::Malformed;

/// How messages follow each other in a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// Each ends at LF.
    #[default]
    Newline,
    /// Each begins with its length in decimal and a blank.
    OctetCounted,
    /// Told by the first byte of each message: one that begins with a digit is counted.
    Auto,
}

/// What becomes of a message that is longer than allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// It goes on as a message of its own, as in Flume.
    NextMessage,
    /// It is skipped.
    Skipped,
}

/// What a line end is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LineEnd {
    /// The byte 10.
    #[default]
    Byte,
    /// The two bytes of UTF-16, the greater one first.
    Utf16Be,
    /// The two bytes of UTF-16, the smaller one first.
    Utf16Le,
}

/// Cuts messages out of a stream.
#[derive(Clone, Debug)]
pub struct Cutter {
    framing: Framing,
    limit: usize,
    rest: Rest,
    line_end: LineEnd,
    /// Whether a `<` begins a priority in which a line end does not count, as in Flume's
    /// `SyslogUtils`.
    priority_first: bool,
    /// Bytes of the unfinished message that are known to hold no line end.
    searched: usize,
    skip: Skip,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Skip {
    Nothing,
    ToLineEnd,
    Bytes(usize),
}

/// What the bytes at hand begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cut {
    /// A message; what comes next begins behind it.
    Message {
        /// Where it lies, without its line end or length.
        at: Range<usize>,
        /// Where the next one begins.
        next: usize,
        /// Whether it was longer than allowed, and this is its beginning.
        incomplete: bool,
    },
    /// Bytes without a meaning, to be passed over.
    Nothing {
        /// Where the next message begins.
        next: usize,
    },
    /// Part of a message: more has to come first.
    Part,
}

/// A longer count of octets is nonsense.
const COUNT_DIGITS: usize = 9;

impl Cutter {
    /// The least number of bytes that a limit may be; Flume's `SyslogUtils.MIN_SIZE`.
    pub const LEAST_LIMIT: usize = 10;

    /// Cuts messages of less than `limit` bytes at LF, or of up to `limit` by count; what is longer
    /// is cut there. Limits below [`Cutter::LEAST_LIMIT`] are that.
    pub fn new(framing: Framing, limit: usize, rest: Rest) -> Self {
        let limit = limit.max(Cutter::LEAST_LIMIT);
        Cutter {
            framing,
            limit,
            rest,
            line_end: LineEnd::Byte,
            priority_first: false,
            searched: 0,
            skip: Skip::Nothing,
        }
    }

    /// With another line end.
    #[must_use]
    pub fn with_line_end(mut self, line_end: LineEnd) -> Self {
        self.line_end = line_end;
        self
    }

    /// As Flume's `SyslogUtils`, for which a line end in a priority belongs to the message.
    #[must_use]
    pub fn with_priority_first(mut self) -> Self {
        self.priority_first = true;
        self
    }

    /// What `bytes` begin with. They are the stream from where the last cut said that the next
    /// message begins; after a part, the same bytes with more behind them.
    ///
    /// # Errors
    /// A count of octets that is none; the stream is of no use behind it.
    pub fn cut(&mut self, bytes: &[u8]) -> Result<Cut, Malformed> {
        let cut = match self.skip {
            Skip::Nothing => match self.is_counted(bytes) {
                None => Cut::Part,
                Some(true) => self.counted(bytes)?,
                Some(false) => self.line(bytes),
            },
            Skip::ToLineEnd => self.skip_line(bytes),
            Skip::Bytes(0) => {
                self.skip = Skip::Nothing;
                Cut::Nothing { next: 0 }
            }
            Skip::Bytes(_) if bytes.is_empty() => Cut::Part,
            Skip::Bytes(count) => {
                let next = count.min(bytes.len());
                self.skip = Skip::Bytes(count - next);
                Cut::Nothing { next }
            }
        };
        if cut != Cut::Part {
            self.searched = 0;
        }
        Ok(cut)
    }

    /// Whether what is left when the stream ends is a message: one that would end at a line end.
    pub fn may_end_here(&self, rest: &[u8]) -> bool {
        self.skip == Skip::Nothing && !rest.is_empty() && self.is_counted(rest) == Some(false)
    }

    fn is_counted(&self, bytes: &[u8]) -> Option<bool> {
        match self.framing {
            Framing::Newline => Some(false),
            Framing::OctetCounted => Some(true),
            Framing::Auto => bytes.first().map(u8::is_ascii_digit),
        }
    }

    fn counted(&mut self, bytes: &[u8]) -> Result<Cut, Malformed> {
        // Line ends between counted messages come from senders that write both.
        let at =
            bytes.iter().position(|byte| !matches!(byte, b'\n' | b'\r')).unwrap_or(bytes.len());
        if at > 0 {
            return Ok(Cut::Nothing { next: at });
        }
        let digits = bytes.iter().take(COUNT_DIGITS + 1).take_while(|b| b.is_ascii_digit()).count();
        let malformed = |what| Err(Malformed { at: digits, what });
        match bytes.get(digits) {
            _ if digits > COUNT_DIGITS => return malformed("a message of a billion bytes or more"),
            None => return Ok(Cut::Part),
            Some(b' ') if digits > 0 => {}
            Some(_) => return malformed("a message that does not begin with its length"),
        }
        let length =
            bytes[..digits].iter().fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0'));
        let start = digits + 1;
        let incomplete = length > self.limit;
        let at = start..start + length.min(self.limit);
        if bytes.len() < at.end {
            return Ok(Cut::Part);
        }
        if incomplete {
            self.skip = Skip::Bytes(length - self.limit);
        }
        let next = at.end;
        // rsyslog ends messages by LF even where their length goes before them.
        let ended = !incomplete && bytes[at.clone()].ends_with(b"\n");
        let at = at.start..next - usize::from(ended);
        Ok(if at.is_empty() {
            Cut::Nothing { next }
        } else {
            Cut::Message { at, next, incomplete }
        })
    }

    fn line(&mut self, bytes: &[u8]) -> Cut {
        if bytes.first() == Some(&b'\n') && self.line_end == LineEnd::Byte {
            let next = bytes.iter().position(|byte| *byte != b'\n').unwrap_or(bytes.len());
            return Cut::Nothing { next };
        }
        let Some(from) = self.text_start(bytes) else { return Cut::Part };
        let within = &bytes[..bytes.len().min(self.limit)];
        let from = self.searched.max(from).min(within.len());
        match self.find(within, from) {
            Some(0) => Cut::Nothing { next: self.line_end.bytes() },
            Some(end) => {
                Cut::Message { at: 0..end, next: end + self.line_end.bytes(), incomplete: false }
            }
            None if bytes.len() >= self.limit => {
                if self.rest == Rest::Skipped {
                    self.skip = Skip::ToLineEnd;
                }
                Cut::Message { at: 0..self.limit, next: self.limit, incomplete: true }
            }
            None => {
                self.searched = within.len() - within.len() % self.line_end.bytes();
                Cut::Part
            }
        }
    }

    fn skip_line(&mut self, bytes: &[u8]) -> Cut {
        match self.find(bytes, 0) {
            Some(end) => {
                self.skip = Skip::Nothing;
                Cut::Nothing { next: end + self.line_end.bytes() }
            }
            None if bytes.len() < self.line_end.bytes() => Cut::Part,
            None => Cut::Nothing { next: bytes.len() - bytes.len() % self.line_end.bytes() },
        }
    }

    /// Where a line end may stand at first; `None` while that cannot be told.
    fn text_start(&self, bytes: &[u8]) -> Option<usize> {
        if !self.priority_first || bytes.first() != Some(&b'<') {
            return Some(0);
        }
        for (at, byte) in bytes.iter().enumerate().skip(1) {
            // The byte that ends the priority, properly or not, is part of the message.
            if !byte.is_ascii_digit() || at > 3 {
                return Some(at + 1);
            }
        }
        None
    }

    fn find(&self, bytes: &[u8], from: usize) -> Option<usize> {
        let pair = match self.line_end {
            LineEnd::Byte => {
                return memchr::memchr(b'\n', &bytes[from..]).map(|at| from + at);
            }
            LineEnd::Utf16Be => [0, b'\n'],
            LineEnd::Utf16Le => [b'\n', 0],
        };
        let from = from - from % 2;
        bytes[from..].chunks_exact(2).position(|unit| unit == pair).map(|at| from + 2 * at)
    }
}

impl LineEnd {
    const fn bytes(self) -> usize {
        match self {
            LineEnd::Byte => 1,
            LineEnd::Utf16Be | LineEnd::Utf16Le => 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Messages of a stream that comes in pieces of `piece` bytes, `…` behind incomplete ones.
    fn cut(mut cutter: Cutter, stream: &[u8], piece: usize) -> Result<Vec<String>, &'static str> {
        let (mut messages, mut start) = (Vec::new(), 0);
        let mut end = 0;
        loop {
            match cutter.cut(&stream[start..end]).map_err(|malformed| malformed.what)? {
                Cut::Part if end == stream.len() => return Ok(messages),
                Cut::Part => end = stream.len().min(end + piece),
                Cut::Nothing { next } => start += next,
                Cut::Message { at, next, incomplete } => {
                    let text = String::from_utf8_lossy(&stream[start..][at]).into_owned();
                    messages.push(text + if incomplete { "…" } else { "" });
                    start += next;
                }
            }
        }
    }

    #[test]
    fn messages_end_where_they_should_however_they_arrive() {
        let flume = Cutter::new(Framing::Newline, 10, Rest::NextMessage).with_priority_first();
        let lines = Cutter::new(Framing::Newline, 10, Rest::NextMessage);
        let skipping = Cutter::new(Framing::Newline, 10, Rest::Skipped);
        let counted = Cutter::new(Framing::OctetCounted, 10, Rest::Skipped);
        let auto = Cutter::new(Framing::Auto, 10, Rest::Skipped);
        let utf16 = |end| lines.clone().with_line_end(end);
        let count = Err("a message that does not begin with its length");
        let check = |cutter: &Cutter, stream: &[u8], want: Result<&[&str], &'static str>| {
            for piece in 1..=stream.len().max(1) {
                let want = want.map(|all| all.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>());
                assert_eq!(cut(cutter.clone(), stream, piece), want, "{stream:?} by {piece}");
            }
        };
        check(&flume, b"", Ok(&[]));
        check(&flume, b"\n\n<1>a\n\n<2>b\nrest", Ok(&["<1>a", "<2>b"]));
        check(&flume, b"<1\nab\n", Ok(&["<1\nab"]));
        check(&flume, b"<\nab\n", Ok(&["<\nab"]));
        check(&flume, b"<>\nab\n", Ok(&["<>", "ab"]));
        check(&flume, b"<1234\n", Ok(&["<1234"]));
        check(&flume, b"<123\nab\n", Ok(&["<123\nab"]));
        check(
            &flume,
            b"123456789\n1234567890\n12345678901\n",
            Ok(&["123456789", "1234567890…", "1234567890…", "1"]),
        );
        check(&lines, b"<1\nab\n", Ok(&["<1", "ab"]));
        check(
            &skipping,
            b"123456789012\nab\n1234567890\nc\n",
            Ok(&["1234567890…", "ab", "1234567890…", "c"]),
        );
        check(&counted, b"3 abc2 d\n10 1234567890", Ok(&["abc", "d", "1234567890"]));
        check(&counted, b"13 12345678901233 abc\n0 1 x", Ok(&["1234567890…", "abc", "x"]));
        check(&counted, b"2 a\n1 \n3 b\n\n10 123456789\n", Ok(&["a", "b\n", "123456789"]));
        check(&counted, b"3 ab", Ok(&[]));
        check(&counted, b"abc", count);
        check(&counted, b" 3 abc", count);
        check(&counted, b"1234567890 x", Err("a message of a billion bytes or more"));
        check(&auto, b"3 abc<1>x\n4 <2>y<3>z\n", Ok(&["abc", "<1>x", "<2>y", "<3>z"]));
        check(&utf16(LineEnd::Utf16Be), b"\0a\0\n\x0a\0\0\n", Ok(&["\0a", "\n\0"]));
        check(&utf16(LineEnd::Utf16Le), b"a\0\n\0\0\n\n\0", Ok(&["a\0", "\0\n"]));
    }
}
