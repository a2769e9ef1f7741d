//! Deserializer `LINE`: an event of each line, without its LF; a CR in front of it stays.
//!
//! Flume's class: `org.apache.flume.serialization.LineDeserializer`, quirks included: a line longer
//! than `maxLineLength` goes on in the next event, and one of exactly a multiple of that many
//! characters is followed by an empty event. A character of two UTF-16 units, which Flume cuts in
//! half at such a place, stays whole.

use std::borrow::Cow;
use std::io::{self, Read};
use std::num::NonZeroU32;

use bytes::Bytes;
use serde::Deserialize;
use splashdam_core::{Batch, Event};

use super::{BATCH_BYTES, Content, Deserializer, Input, ReadError};
use crate::charset::{Charset, OnMalformed};

/// Bytes that are read at once, unless a line needs more. Events are slices of what was read, so
/// each may keep as much alive.
const CHUNK_BYTES: usize = 64 * 1024;
/// Bytes in an event at the most, whatever `maxLineLength` says.
const MOST_BYTES: usize = 64 * 1024 * 1024;

/// Keys of the line deserializer, below `deserializer.`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Config {
    /// Characters in an event at the most, as Java counts them. What is longer goes on in the next
    /// event. An event has at most 64 MiB all the same.
    pub max_line_length: NonZeroU32,
    /// The charset of bodies, by its Java name.
    pub output_charset: Charset,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            max_line_length: const { NonZeroU32::new(2048).unwrap() },
            output_charset: Charset::UTF_8,
        }
    }
}

/// The deserializer, reading.
pub struct Line {
    content: Content,
    charset: Charset,
    on_malformed: OnMalformed,
    output: Charset,
    max_chars: usize,
    /// Bytes that surely hold `max_chars` characters or a line end, if there are as many.
    window: usize,
    /// What was read and not yet returned.
    rest: Bytes,
    /// Where `rest` begins in the file.
    position: u64,
    at_end: bool,
}

impl Line {
    pub(super) fn open(config: &Config, input: Input) -> io::Result<Self> {
        let Input { mut content, position, charset, on_malformed } = input;
        // The byte order is told at the start of the file, wherever reading begins.
        content.go_to(0)?;
        let mut head = Vec::new();
        (&mut content).take(2).read_to_end(&mut head)?;
        let (charset, mark) = charset.resolve(&head);
        let position = position.max(mark as u64);
        content.go_to(position)?;
        let max_chars = config.max_line_length.get() as usize;
        Ok(Line {
            content,
            charset,
            on_malformed,
            output: config.output_charset,
            max_chars,
            window: max_chars.saturating_add(2).saturating_mul(4).min(MOST_BYTES),
            rest: Bytes::new(),
            position,
            at_end: false,
        })
    }

    fn next(&mut self) -> Result<Option<Event>, ReadError> {
        let window = loop {
            let window = &self.rest[..self.rest.len().min(self.window)];
            let found = self.charset.find(window, b'\n');
            if found.is_some() || window.len() == self.window || self.at_end {
                break (window, found);
            }
            self.fill()?;
        };
        let (window, line_end) = window;
        let line = &window[..line_end.unwrap_or(window.len())];
        if line.is_empty() && line_end.is_none() {
            return Ok(None);
        }
        let unit = self.charset.unit_bytes();
        let (length, consumed) = match self.charset.prefix(line, self.max_chars, self.on_malformed)
        {
            Some(length) => (length, length),
            None => match line_end {
                Some(at) => (at, at + unit),
                None if self.at_end && line.len() == self.rest.len() => (line.len(), line.len()),
                None => {
                    let whole = self.charset.whole(line);
                    let length = if whole == 0 { line.len() } else { whole };
                    (length, length)
                }
            },
        };
        let event = self.event(length)?;
        self.rest = self.rest.slice(consumed..);
        self.position += consumed as u64;
        Ok(Some(event))
    }

    fn event(&self, length: usize) -> Result<Event, ReadError> {
        let line = self.rest.slice(..length);
        let decoded = self.charset.decode(&line, self.on_malformed).map_err(|malformed| {
            let at = self.position + malformed.at as u64;
            ReadError::Malformed { at, charset: self.charset }
        })?;
        let body = match decoded {
            Cow::Borrowed(_) if self.output.is_utf8() => line.clone(),
            Cow::Owned(text) if self.output.is_utf8() => Bytes::from(text),
            text => Bytes::from(self.output.encode(&text)),
        };
        Ok(Event::new(body))
    }

    /// Reads as much again as is at hand, so that a long line is copied and searched only a few
    /// times.
    fn fill(&mut self) -> Result<(), ReadError> {
        let wanted = self.rest.len().max(CHUNK_BYTES);
        let mut buffer = Vec::with_capacity(self.rest.len() + wanted);
        buffer.extend_from_slice(&self.rest);
        // After an error the file may stand anywhere.
        let at = self.position + self.rest.len() as u64;
        let read = self
            .content
            .go_to(at)
            .and_then(|()| (&mut self.content).take(wanted as u64).read_to_end(&mut buffer))
            .map_err(|source| ReadError::reading(at, source))?;
        self.at_end = read < wanted;
        self.rest = Bytes::from(buffer);
        Ok(())
    }
}

impl Deserializer for Line {
    fn read(&mut self, most: usize) -> Result<Batch, ReadError> {
        let mut batch = Batch::default();
        while batch.len() < most && batch.size().bytes < BATCH_BYTES {
            match self.next() {
                Ok(Some(event)) => batch.push(event),
                Ok(None) => break,
                Err(error) if batch.is_empty() => return Err(error),
                Err(_) => break,
            }
        }
        Ok(batch)
    }

    fn position(&self) -> u64 {
        self.position
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use splashdam_config::Section;
    use splashdam_testkit::bodies;
    use std::io::Write;

    fn open(keys: &str, charset: &str, on_malformed: OnMalformed, input: &[u8], at: u64) -> Line {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(input).unwrap();
        let config = Section::parse(keys).read().into_result().unwrap();
        let charset = Charset::named(charset).unwrap();
        let content = Content::plain(file).unwrap();
        Line::open(&config, Input { content, position: at, charset, on_malformed }).unwrap()
    }

    /// Reads to the end, one event at a time, opening anew at each position told.
    fn all(keys: &str, charset: &str, on: OnMalformed, input: &[u8]) -> Result<Vec<Event>, u64> {
        let (mut events, mut position) = (Vec::new(), 0);
        loop {
            let mut line = open(keys, charset, on, input, position);
            match line.read(1) {
                Ok(batch) if batch.is_empty() => return Ok(events),
                Ok(batch) => events.extend(batch.into_events()),
                Err(ReadError::Malformed { at, .. }) => return Err(at),
                Err(error) => panic!("{error}"),
            }
            position = line.position();
        }
    }

    #[test]
    fn lines_are_cut_as_in_flume() {
        let check = |keys: &str, charset: &str, input: &[u8], want: &[&str]| {
            let events = all(keys, charset, OnMalformed::Fail, input).unwrap();
            assert_eq!(bodies(&events), want, "{keys} {charset}");
            let whole = open(keys, charset, OnMalformed::Fail, input, 0).read(100).unwrap();
            assert_eq!(bodies(whole.events()), want, "{keys} {charset} at once");
        };
        check("", "UTF-8", b"", &[]);
        check("", "UTF-8", b"a\nb\r\n\nc", &["a", "b\r", "", "c"]);
        check("", "UTF-8", b"a\rb\n", &["a\rb"]);
        // One short of the limit, at it, twice it.
        check("maxLineLength = 3", "UTF-8", b"ab\nx\n", &["ab", "x"]);
        check("maxLineLength = 3", "UTF-8", b"abc\nx\n", &["abc", "", "x"]);
        check("maxLineLength = 3", "UTF-8", b"abcd\nx\n", &["abc", "d", "x"]);
        check("maxLineLength = 3", "UTF-8", b"abcdef\nx\n", &["abc", "def", "", "x"]);
        check("maxLineLength = 3", "UTF-8", b"abcdef", &["abc", "def"]);
        check("maxLineLength = 3", "UTF-8", "üüü\nx".as_bytes(), &["üüü", "", "x"]);
        check("maxLineLength = 3", "UTF-8", "ab🌲c\n".as_bytes(), &["ab🌲", "c"]);
        check("maxLineLength = 1", "UTF-8", "🌲🌲".as_bytes(), &["🌲", "🌲"]);
        check("", "ISO-8859-1", b"gr\xfcn\n", &["grün"]);
        check("maxLineLength = 2", "Shift_JIS", b"\x8a\xbf\x8e\x9aa\n", &["漢字", "a"]);
        check("", "UTF-16", b"\xff\xfea\0\n\0b\0", &["a", "b"]);
        check("", "UTF-16", b"\0a\0\n\0b", &["a", "b"]);
        check("maxLineLength = 1", "UTF-16LE", b"a\0b\0", &["a", "b"]);
        check("", "UTF-8", b"\xef\xbb\xbfa\n", &["\u{feff}a"]);
    }

    #[test]
    fn bodies_are_in_the_output_charset() {
        let out = "outputCharset = ISO-8859-1";
        let events = all(out, "UTF-8", OnMalformed::Fail, "grün €\n".as_bytes()).unwrap();
        assert_eq!(events[0].body, &b"gr\xfcn ?"[..]);
    }

    #[test]
    fn malformed_input_fails_or_not_as_asked() {
        let input = b"good\nb\xffd\nnext\n\xc3";
        let fail = all("", "UTF-8", OnMalformed::Fail, input);
        assert_eq!(fail, Err(6));
        let check = |on, want: &[&str]| {
            assert_eq!(bodies(&all("", "UTF-8", on, input).unwrap()), want, "{on:?}");
        };
        check(OnMalformed::Replace, &["good", "b\u{fffd}d", "next", "\u{fffd}"]);
        check(OnMalformed::Ignore, &["good", "bd", "next", ""]);
        // What comes before the bad place is returned first, and it stays bad.
        let mut line = open("", "UTF-8", OnMalformed::Fail, input, 0);
        assert_eq!(bodies(line.read(100).unwrap().events()), ["good"]);
        assert_eq!(line.position(), 5);
        assert!(line.read(100).is_err() && line.read(100).is_err());
    }

    #[test]
    fn a_long_line_needs_no_more_memory_than_an_event() {
        let input = vec![b'x'; 10 * CHUNK_BYTES];
        let mut line = open("maxLineLength = 100", "UTF-8", OnMalformed::Fail, &input, 0);
        let mut read = 0;
        loop {
            let batch = line.read(1000).unwrap();
            if batch.is_empty() {
                break;
            }
            assert!(line.rest.len() <= 2 * CHUNK_BYTES);
            read += batch.size().bytes;
        }
        assert_eq!(read, input.len());
        // A limit beyond all reason ends at the limit in bytes: 64 MiB, then the rest.
        let input = vec![b'x'; MOST_BYTES + 5];
        let keys = "maxLineLength = 2000000000";
        let mut line = open(keys, "UTF-8", OnMalformed::Fail, &input, 0);
        assert_eq!(line.read(9).unwrap().size().bytes, MOST_BYTES);
        assert_eq!(line.read(9).unwrap().size().bytes, 5);
    }
}
