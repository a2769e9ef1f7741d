//! `.properties` text, read exactly as `java.util.Properties.load` reads it, then trimmed as Flume
//! trims it, with the place of each key and value.
//!
//! ```text
//! # comment          ! comment         (first thing on a line that continues no other)
//! key = value        key : value       key value        (first unescaped = : or blank separates)
//! key = one \        blanks that start a continued line are skipped, so this is `one two`
//!       two
//! \uXXXX \t \n \r \f; any other \x is x, so `\:` and `\=` and `\ ` may stand in keys
//! ```

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::diagnostic::Diagnostic;
use crate::source::{FileId, Source, Sources, Span};

/// Texts longer than this many bytes are refused; published configurations stay far below.
pub const TEXT_LIMIT_BYTES: usize = 8 << 20;

/// A decoded text that still knows where each of its characters was written.
///
/// Two are equal when their texts are: the place does not count.
#[derive(Clone)]
pub struct Located {
    text: Arc<str>,
    span: Span,
    places: Places,
}

/// How offsets in a decoded text map to the source.
#[derive(Clone)]
enum Places {
    /// Text and source agree byte for byte.
    Verbatim,
    /// Escapes and continuations in between; never empty.
    Runs(Arc<[Run]>),
    /// A made text, as after substitution: parts of it have no place of their own.
    Whole,
}

/// Decoded bytes from `decoded` on stand at `start` in the source, until the next run; the last
/// character of the run ends at `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    decoded: usize,
    decoded_end: usize,
    start: usize,
    end: usize,
}

/// One property as written, decoded and trimmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The whole key, agent name included.
    pub key: Located,
    /// The value; may be empty.
    pub value: Located,
}

/// What one text holds.
#[derive(Debug, Default)]
pub struct Properties {
    /// In written order, duplicates included.
    pub entries: Vec<Entry>,
    /// What is wrong with the text as such.
    pub findings: Vec<Diagnostic>,
}

/// A character of a logical line and where it stands.
#[derive(Debug, Clone, Copy)]
struct Char {
    c: char,
    start: usize,
    end: usize,
}

/// Reads bytes as ISO-8859-1 properties: the entry point for fuzzing.
#[must_use]
pub fn parse(bytes: &[u8]) -> Properties {
    parse_source(&Source::from_latin1("input", bytes), FileId::default())
}

/// Reads one source. Nothing in it can make this fail; what Java refuses is an error finding.
#[must_use]
pub fn parse_source(source: &Source, file: FileId) -> Properties {
    let mut properties = Properties::default();
    if source.text.len() > TEXT_LIMIT_BYTES {
        properties.findings.push(
            Diagnostic::error(
                "text-too-long",
                format!("{} is too long to be a configuration", source.name),
            )
            .at(Span::new(file, 0, 0))
            .help(format!("at most {TEXT_LIMIT_BYTES} bytes are read; is this the right file?")),
        );
        return properties;
    }
    let mut lines = Lines { text: &source.text, at: 0 };
    let mut line = Vec::new();
    while lines.next_into(&mut line) {
        if let Some(entry) = read_entry(&line, file, &mut properties.findings) {
            properties.entries.push(entry);
        }
    }
    properties.findings.extend(duplicates(&properties.entries, source));
    properties
}

/// What is said of a source that holds no text of properties at all; advice on its parts would
/// help nobody.
fn no_text(source: &Source, file: FileId) -> Option<Diagnostic> {
    /// This many control characters and fewer may be a slip.
    const SLIPS: usize = 16;
    let (mut count, mut controls, mut zeros) = (0_usize, 0_usize, [0_usize; 2]);
    for c in source.text.chars() {
        if c == '\0' {
            zeros[count % 2] += 1;
        }
        controls += usize::from(c.is_ascii_control() && !is_blank(c) && !is_line_end(c));
        count += 1;
    }
    let marked = ["\u{ff}\u{fe}", "\u{fe}\u{ff}"].iter().any(|mark| source.text.starts_with(mark));
    // Every other byte of plain words in UTF-16 is zero.
    let [low, high] = [zeros[0].min(zeros[1]), zeros[0].max(zeros[1])];
    let wide = high >= SLIPS && high * 4 > count && low * 16 < count;
    let finding = if marked || wide {
        Diagnostic::error(UTF_16, format!("{} is UTF-16, which is not read", source.name))
            .help("save it as ISO-8859-1 or plain ASCII (or UTF-8)")
    } else if controls > SLIPS && controls * 20 > count {
        Diagnostic::error(BINARY, format!("{} is not a text", source.name))
            .help("is this the right file? a configuration is lines such as `a1.sources = r1`")
    } else {
        return None;
    };
    Some(finding.at(Span::new(file, 0, 0)))
}

/// Whether a finding says that a source is no text, after which nothing else counts.
pub(crate) fn is_no_text(finding: &Diagnostic) -> bool {
    matches!(finding.code, UTF_16 | BINARY)
}

const UTF_16: &str = "utf-16";
const BINARY: &str = "not-a-text";

/// Reads and merges all sources: of entries with one key the last wins, at the place of the first.
#[must_use]
pub fn parse_all(sources: &Sources) -> Properties {
    let mut merged = Properties::default();
    let mut places: HashMap<Arc<str>, usize> = HashMap::new();
    for (file, source) in sources.iter() {
        if let Some(finding) = no_text(source, file) {
            merged.findings.push(finding);
            continue;
        }
        let read = parse_source(source, file);
        merged.findings.extend(read.findings);
        for entry in read.entries {
            match places.get(&entry.key.text) {
                Some(&place) => merged.entries[place] = entry,
                None => {
                    places.insert(entry.key.text.clone(), merged.entries.len());
                    merged.entries.push(entry);
                }
            }
        }
    }
    merged
}

impl Located {
    /// The decoded text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn shared(&self) -> Arc<str> {
        self.text.clone()
    }

    /// Where all of it stands.
    #[must_use]
    pub fn span(&self) -> Span {
        self.span
    }

    /// Where a range of the decoded text stands; all of it, if there is no such range.
    #[must_use]
    pub fn part_span(&self, from: usize, to: usize) -> Span {
        if from > to || !self.text.is_char_boundary(from) || !self.text.is_char_boundary(to) {
            return self.span;
        }
        if from == to && to == self.text.len() {
            return Span { start: self.span.end, ..self.span };
        }
        let runs = match &self.places {
            Places::Whole => return self.span,
            Places::Verbatim => {
                return Span::new(self.span.file, self.span.start + from, self.span.start + to);
            }
            Places::Runs(runs) => runs,
        };
        let start = start_in(runs, from);
        let end = if from == to { start } else { end_in(runs, to) };
        Span::new(self.span.file, start, end)
    }

    /// A range of the text, with its place; nothing, if there is no such range.
    #[must_use]
    pub fn part(&self, from: usize, to: usize) -> Option<Located> {
        let text = self.text.get(from..to)?;
        let span = self.part_span(from, to);
        let places = match &self.places {
            Places::Runs(runs) => {
                let inside = runs.iter().filter_map(|run| {
                    let kept = run.decoded.max(from)..run.decoded_end.min(to);
                    (kept.start < kept.end).then(|| Run {
                        decoded: kept.start - from,
                        decoded_end: kept.end - from,
                        start: start_in(runs, kept.start),
                        end: end_in(runs, kept.end),
                    })
                });
                let inside: Arc<[Run]> = inside.collect();
                if inside.is_empty() { Places::Whole } else { Places::Runs(inside) }
            }
            places => places.clone(),
        };
        Some(Located { text: text.into(), span, places })
    }

    /// Words between blanks of ASCII, as `\s+` splits in Java, each with its place.
    #[must_use]
    pub fn words(&self) -> Vec<Located> {
        let text = self.text();
        let start_of = |word: &str| word.as_ptr() as usize - text.as_ptr() as usize;
        let words = text.split(is_word_blank).filter(|word| !word.is_empty()).filter_map(|word| {
            let start = start_of(word);
            self.part(start, start + word.len())
        });
        words.collect()
    }

    /// Another text that stands for the same place, as a substituted value does.
    #[must_use]
    pub fn replaced(&self, text: impl Into<Arc<str>>) -> Located {
        Located { text: text.into(), span: self.span, places: Places::Whole }
    }

    fn from_chars(chars: &[Char], file: FileId, end: usize) -> Located {
        let mut text = String::with_capacity(chars.len());
        let mut runs: Vec<Run> = Vec::new();
        for char in chars {
            let decoded = text.len();
            let decoded_end = decoded + char.c.len_utf8();
            match runs.last_mut() {
                Some(run) if run.start + (decoded - run.decoded) == char.start => {
                    run.decoded_end = decoded_end;
                    run.end = char.end;
                }
                _ => runs.push(Run { decoded, decoded_end, start: char.start, end: char.end }),
            }
            text.push(char.c);
        }
        let span = match (chars.first(), chars.last()) {
            (Some(first), Some(last)) => Span::new(file, first.start, last.end),
            _ => Span::new(file, end, end),
        };
        let verbatim = runs.len() <= 1 && span.end - span.start == text.len();
        let places = if verbatim { Places::Verbatim } else { Places::Runs(runs.into()) };
        Located { text: text.into(), span, places }
    }
}

fn start_in(runs: &[Run], offset: usize) -> usize {
    let index = runs.partition_point(|run| run.decoded <= offset).saturating_sub(1);
    runs.get(index).map_or(0, |run| (run.start + (offset - run.decoded)).min(run.end))
}

fn end_in(runs: &[Run], offset: usize) -> usize {
    let index = runs.partition_point(|run| run.decoded < offset).saturating_sub(1);
    runs.get(index).map_or(0, |run| {
        // Only the last character of a run may be an escape, longer in the source than decoded.
        if offset >= run.decoded_end { run.end } else { run.start + (offset - run.decoded) }
    })
}

impl fmt::Debug for Located {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}@{}..{}", self.text, self.span.start, self.span.end)
    }
}

impl PartialEq for Located {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Located {}

impl Entry {
    /// The key's text.
    #[must_use]
    pub fn key(&self) -> &str {
        self.key.text()
    }

    /// The value's text.
    #[must_use]
    pub fn value(&self) -> &str {
        self.value.text()
    }

    /// Where the key stands.
    #[must_use]
    pub fn key_span(&self) -> Span {
        self.key.span()
    }

    /// Where the value stands.
    #[must_use]
    pub fn value_span(&self) -> Span {
        self.value.span()
    }
}

/// Cuts a text into logical lines: comments and blank lines left out, continuations joined.
struct Lines<'a> {
    text: &'a str,
    at: usize,
}

impl Lines<'_> {
    /// Fills `line` with the next logical line; false at the end.
    fn next_into(&mut self, line: &mut Vec<Char>) -> bool {
        line.clear();
        let mut skipping = true; // blanks at the start of a natural line
        let mut continued = false; // nothing of a continued line was seen yet
        let mut escaped = false; // an odd number of backslashes stands before
        while let Some(c) = self.text[self.at..].chars().next() {
            let start = self.at;
            self.at += c.len_utf8();
            if skipping {
                if is_blank(c) || (!continued && is_line_end(c)) {
                    continue;
                }
                skipping = false;
                continued = false;
            }
            if line.is_empty() && (c == '#' || c == '!') {
                self.skip_line();
                skipping = true;
                continue;
            }
            if !is_line_end(c) {
                line.push(Char { c, start, end: self.at });
                escaped = c == '\\' && !escaped;
                continue;
            }
            if line.is_empty() {
                skipping = true;
                continue;
            }
            if !escaped {
                return true;
            }
            line.pop();
            escaped = false;
            skipping = true;
            continued = true;
            if c == '\r' && self.text[self.at..].starts_with('\n') {
                self.at += 1;
            }
        }
        let any = !line.is_empty();
        if escaped {
            line.pop();
        }
        any
    }

    fn skip_line(&mut self) {
        let rest = &self.text[self.at..];
        self.at += rest.find(is_line_end).unwrap_or(rest.len());
    }
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\u{c}')
}

/// What `\s` is in Java.
pub(crate) fn is_word_blank(c: char) -> bool {
    matches!(c, ' ' | '\t'..='\r')
}

fn is_line_end(c: char) -> bool {
    matches!(c, '\n' | '\r')
}

fn read_entry(line: &[Char], file: FileId, findings: &mut Vec<Diagnostic>) -> Option<Entry> {
    let (key_end, value_start) = split(line);
    let mut key = Vec::with_capacity(key_end);
    let mut value = Vec::with_capacity(line.len() - value_start);
    let whole = decode(&line[..key_end], file, &mut key, findings)
        & decode(&line[value_start..], file, &mut value, findings);
    if !whole {
        return None;
    }
    let end = line.last().map_or(0, |char| char.end);
    let key_end =
        line[..key_end].last().map_or_else(|| line.first().map_or(end, |c| c.start), |c| c.end);
    Some(Entry {
        key: Located::from_chars(trim(&key), file, key_end),
        value: Located::from_chars(trim(&value), file, end),
    })
}

/// Where the key ends and where the value starts.
fn split(line: &[Char]) -> (usize, usize) {
    let mut escaped = false;
    let separator = line.iter().position(|char| {
        let found = !escaped && (is_blank(char.c) || matches!(char.c, '=' | ':'));
        escaped = char.c == '\\' && !escaped;
        found
    });
    let Some(key_end) = separator else {
        return (line.len(), line.len());
    };
    let mut separated = false;
    let mut at = key_end;
    while let Some(char) = line.get(at) {
        if !is_blank(char.c) {
            if separated || !matches!(char.c, '=' | ':') {
                break;
            }
            separated = true;
        }
        at += 1;
    }
    (key_end, at)
}

/// Resolves escapes; false where Java would refuse the file.
fn decode(
    line: &[Char],
    file: FileId,
    out: &mut Vec<Char>,
    findings: &mut Vec<Diagnostic>,
) -> bool {
    let mut at = 0;
    while let Some(&char) = line.get(at) {
        at += 1;
        if char.c != '\\' {
            out.push(char);
            continue;
        }
        let Some(&escape) = line.get(at) else { break };
        at += 1;
        let c = match escape.c {
            't' => '\t',
            'n' => '\n',
            'r' => '\r',
            'f' => '\u{c}',
            'u' => {
                let Some(unit) = hex4(&line[at..]) else {
                    let end = line[at..].iter().take(4).next_back().map_or(escape.end, |c| c.end);
                    findings.push(bad_unicode(Span::new(file, char.start, end)));
                    return false;
                };
                at += 4;
                let low = surrogate_pair(unit, &line[at..]);
                let read = if low.is_some() { 6 } else { 0 };
                at += read;
                let end = line[at - 1].end;
                let c = low.or_else(|| char::from_u32(unit)).unwrap_or_else(|| {
                    findings.push(lone_surrogate(Span::new(file, char.start, end)));
                    char::REPLACEMENT_CHARACTER
                });
                out.push(Char { c, start: char.start, end });
                continue;
            }
            other => other,
        };
        out.push(Char { c, start: char.start, end: escape.end });
    }
    true
}

fn hex4(line: &[Char]) -> Option<u32> {
    let digits = line.get(..4)?;
    digits.iter().try_fold(0, |unit, char| Some(unit * 16 + char.c.to_digit(16)?))
}

/// The character of a high surrogate `unit` that an escaped low one follows.
fn surrogate_pair(unit: u32, rest: &[Char]) -> Option<char> {
    let high = (0xd800..0xdc00).contains(&unit);
    if !high || rest.first()?.c != '\\' || rest.get(1)?.c != 'u' {
        return None;
    }
    let low = hex4(&rest[2..]).filter(|low| (0xdc00..0xe000).contains(low))?;
    char::from_u32(0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00))
}

fn bad_unicode(span: Span) -> Diagnostic {
    Diagnostic::error("bad-unicode-escape", r"`\u` is not followed by four hexadecimal digits")
        .at(span)
        .help(r"write `\\u` for a backslash and a `u`, as in Windows paths: `C:\\users`")
        .with_note("Flume refuses the whole file")
}

fn lone_surrogate(span: Span) -> Diagnostic {
    Diagnostic::warning(
        "lone-surrogate",
        "half of a surrogate pair is no character, it reads as U+FFFD",
    )
    .at(span)
    .help(r"write both halves, as in `\ud83d\ude00`")
}

/// As `String.trim` does: all up to the blank, control characters included; nothing beyond ASCII.
fn trim(chars: &[Char]) -> &[Char] {
    let kept = |char: &Char| char.c > ' ';
    let from = chars.iter().position(kept).unwrap_or(chars.len());
    let to = chars.iter().rposition(kept).map_or(from, |last| last + 1);
    &chars[from..to]
}

fn duplicates(entries: &[Entry], source: &Source) -> Vec<Diagnostic> {
    let mut last: HashMap<&str, &Entry> = HashMap::new();
    let mut findings = Vec::new();
    for entry in entries {
        let Some(before) = last.insert(entry.key(), entry) else {
            continue;
        };
        let line = source.line_col(entry.key_span().start).line;
        findings.push(
            Diagnostic::warning(
                "duplicate-key",
                format!("`{}` is set twice in this file", entry.key()),
            )
            .at(before.key_span())
            .label(format!("set again on line {line}, which wins"))
            .help("remove one of the two"),
        );
        if findings.len() == DUPLICATES_SHOWN {
            break;
        }
    }
    findings
}

/// A file of nothing but duplicates needs no finding for each.
const DUPLICATES_SHOWN: usize = 100;

#[cfg(test)]
mod tests;
