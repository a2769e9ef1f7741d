//! Cutting bytes into lines, the long ones by rule.

use std::ops::Range;

use memchr::memchr;
use serde::{Deserialize, Serialize};

/// What becomes of a line longer than `maxLineLength`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename = "any case")]
pub enum LongLines {
    /// Each `maxLineLength` bytes of it become an event.
    #[default]
    #[serde(rename = "split")]
    Split,
    /// Its first `maxLineLength` bytes become an event, the rest is dropped.
    #[serde(rename = "truncate")]
    Truncate,
    /// All of it is dropped.
    #[serde(rename = "skip")]
    Skip,
}

/// Where in a line a position stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum At {
    /// At its start.
    #[default]
    Start,
    /// Behind a part that was delivered: the rest, unless empty, is an event of its own.
    Within,
    /// In a part that is dropped up to the end of the line.
    Dropped,
}

/// The longest line, in bytes without its end, and what becomes of longer ones.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    pub(super) max: usize,
    pub(super) long: LongLines,
}

/// What comes next in some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// An event; go on at `next`. `cut` tells that the rest of its line will be dropped.
    Line { body: Range<usize>, next: usize, at: At, cut: bool },
    /// Nothing to deliver up to `next`. `dropped` tells that a line begins to be dropped.
    Pass { next: usize, at: At, dropped: bool },
    /// No end of line in sight.
    More,
}

impl Rule {
    /// Bytes that must be in sight before a line can be called long: its end may be `\r\n`.
    pub(super) const fn sight(self) -> usize {
        self.max.saturating_add(2)
    }

    /// Looks at `data[from..]`, where the position stands `at` in a line. A line ends at `\n`;
    /// one `\r` before it is removed.
    pub(super) fn next(self, data: &[u8], from: usize, at: At) -> Next {
        let rest = &data[from..];
        let Some(found) = memchr(b'\n', rest) else {
            return match at {
                At::Dropped if !rest.is_empty() => {
                    Next::Pass { next: data.len(), at, dropped: false }
                }
                At::Start | At::Within if rest.len() >= self.sight() => self.long(from),
                _ => Next::More,
            };
        };
        let (end, next) = (from + found, from + found + 1);
        let stop = if found > 0 && data[end - 1] == b'\r' { end - 1 } else { end };
        match at {
            At::Dropped => Next::Pass { next, at: At::Start, dropped: false },
            At::Within if stop == from => Next::Pass { next, at: At::Start, dropped: false },
            _ if stop - from > self.max => self.long(from),
            _ => Next::Line { body: from..stop, next, at: At::Start, cut: false },
        }
    }

    /// Looks at what is left of a file that is over or quiet: a last line without its end.
    pub(super) fn last(self, data: &[u8], from: usize, at: At) -> Next {
        match data.len() - from {
            0 => Next::More,
            left if at == At::Dropped => {
                Next::Pass { next: from + left, at: At::Dropped, dropped: false }
            }
            left if left > self.max => self.long(from),
            left => Next::Line {
                body: from..from + left,
                next: from + left,
                at: At::Within,
                cut: false,
            },
        }
    }

    fn long(self, from: usize) -> Next {
        let next = from + self.max;
        match self.long {
            LongLines::Split => Next::Line { body: from..next, next, at: At::Within, cut: false },
            LongLines::Truncate => {
                Next::Line { body: from..next, next, at: At::Dropped, cut: true }
            }
            LongLines::Skip => Next::Pass { next, at: At::Dropped, dropped: true },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cuts `text` as it would be read in blocks of `block` bytes, each beginning at the position.
    fn cut(rule: Rule, text: &str, block: usize, over: bool) -> (Vec<String>, usize) {
        let (data, mut from, mut at, mut want) = (text.as_bytes(), 0, At::Start, block);
        let (mut lines, mut dropped) = (Vec::new(), 0);
        loop {
            let sight = &data[..data.len().min(from + want)];
            let mut next = rule.next(sight, from, at);
            if next == Next::More {
                if sight.len() < data.len() {
                    want *= 2;
                    continue;
                }
                if over {
                    next = rule.last(sight, from, at);
                }
            }
            want = block;
            match next {
                Next::Line { body, next, at: then, cut } => {
                    lines.push(String::from_utf8_lossy(&data[body]).into_owned());
                    (from, at) = (next, then);
                    dropped += usize::from(cut);
                }
                Next::Pass { next, at: then, dropped: new } => {
                    (from, at) = (next, then);
                    dropped += usize::from(new);
                }
                Next::More => return (lines, dropped),
            }
        }
    }

    #[test]
    fn lines_as_flume_cuts_them() {
        let check = |text: &str, over: bool, want: &[&str]| {
            for block in [1, 2, 3, 7, 100] {
                let rule = Rule { max: 1000, long: LongLines::Split };
                assert_eq!(cut(rule, text, block, over).0, want, "{text:?} in blocks of {block}");
            }
        };
        check("", false, &[]);
        check("a\nb\n", false, &["a", "b"]);
        check("a\r\nb\n", false, &["a", "b"]);
        check("a\r\r\nb\rc\n", false, &["a\r", "b\rc"]);
        check("\n\n\r\n", false, &["", "", ""]);
        check("a\nb", false, &["a"]);
        check("a\nb", true, &["a", "b"]);
        check("a\n", true, &["a"]);
        check("gr\u{fc}n\0\n", false, &["gr\u{fc}n\0"]);
    }

    #[test]
    fn long_lines_by_rule() {
        let check = |long, text: &str, want: &[&str], dropped| {
            for block in [1, 3, 6, 8, 100] {
                for over in [false, true] {
                    let got = cut(Rule { max: 4, long }, text, block, over);
                    let want: Vec<String> = want.iter().map(ToString::to_string).collect();
                    assert_eq!(got, (want, dropped), "{long:?} {text:?} in blocks of {block}");
                }
            }
        };
        use LongLines::{Skip, Split, Truncate};
        for fits in [Split, Truncate, Skip] {
            check(fits, "abcd\nabcd\r\nx\n", &["abcd", "abcd", "x"], 0);
        }
        check(Split, "abcdefgh\nx\n", &["abcd", "efgh", "x"], 0);
        check(Split, "abcdefghi\r\nx\n", &["abcd", "efgh", "i", "x"], 0);
        check(Split, "abcde\nabcdefgh\r\n\n", &["abcd", "e", "abcd", "efgh", ""], 0);
        check(Truncate, "abcdefghi\nx\n", &["abcd", "x"], 1);
        check(Truncate, "abcde\nabcde\r\nx\n", &["abcd", "abcd", "x"], 2);
        check(Skip, "abcdefghi\nx\nabcde\n", &["x"], 2);
    }

    #[test]
    fn a_line_that_never_ends_is_cut_as_well() {
        let text = "x".repeat(1000);
        let rule = Rule { max: 64, long: LongLines::Split };
        let (lines, _) = cut(rule, &text, 16, true);
        assert_eq!(lines.concat(), text);
        assert_eq!(lines.len(), 16);
        let rule = Rule { long: LongLines::Skip, ..rule };
        assert_eq!(cut(rule, &text, 16, true), (vec![], 1));
    }
}
