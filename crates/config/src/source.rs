//! The texts a configuration was read from, and places in them.

use std::sync::Arc;

/// Which of the [`Sources`] a span lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct FileId(u32);

/// A range of bytes in one source's text, on character boundaries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Span {
    /// The source.
    pub file: FileId,
    /// First byte.
    pub start: usize,
    /// One past the last byte; equal to `start` for a place without width.
    pub end: usize,
}

/// A line and a column as people count them, from one. Columns are characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineCol {
    /// Line, from one; `\n`, `\r` and `\r\n` each end a line, as they do in `.properties`.
    pub line: usize,
    /// Column, from one, in characters.
    pub column: usize,
}

/// One file or URI: what it is called and what it says.
#[derive(Debug, Clone)]
pub struct Source {
    /// Path or URI, for messages.
    pub name: Arc<str>,
    /// The text.
    pub text: Arc<str>,
    /// Whether variables in its values stay as they are written: Flume fills them in for files and
    /// URIs, and not in what comes from ZooKeeper.
    pub verbatim: bool,
}

/// Files and URIs in the order in which they are merged: later ones override earlier ones.
#[derive(Debug, Clone, Default)]
pub struct Sources(Vec<Source>);

impl FileId {
    /// The source that was added as number `index`, from zero.
    #[must_use]
    pub fn at(index: u32) -> Self {
        FileId(index)
    }

    /// Position in the [`Sources`], from zero.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl Span {
    /// A span of `file`.
    #[must_use]
    pub fn new(file: FileId, start: usize, end: usize) -> Self {
        Span { file, start, end }
    }

    /// From the start of `self` to the end of `other`, which is in the same file.
    #[must_use]
    pub fn to(self, other: Span) -> Self {
        Span { end: other.end.max(self.start), ..self }
    }
}

impl Source {
    /// A text that is already decoded.
    pub fn new(name: impl Into<Arc<str>>, text: impl Into<Arc<str>>) -> Self {
        Source { name: name.into(), text: text.into(), verbatim: false }
    }

    /// Bytes of a file or an http(s) answer: ISO-8859-1, as Java reads `.properties`. Never fails.
    pub fn from_latin1(name: impl Into<Arc<str>>, bytes: &[u8]) -> Self {
        let text: String = bytes.iter().copied().map(char::from).collect();
        Source::new(name, text)
    }

    /// Bytes of a ZooKeeper node: UTF-8, where what is not becomes U+FFFD, as in Java; and verbatim.
    pub fn from_zookeeper(name: impl Into<Arc<str>>, bytes: &[u8]) -> Self {
        Source { verbatim: true, ..Source::new(name, String::from_utf8_lossy(bytes)) }
    }

    /// The text of `span`, or nothing where it does not fit this source.
    #[must_use]
    pub fn slice(&self, span: Span) -> &str {
        self.text.get(span.start..span.end).unwrap_or("")
    }

    /// Line and column of a byte. Past the end it is the end.
    #[must_use]
    pub fn line_col(&self, at: usize) -> LineCol {
        let mut line = 1;
        let mut column = 1;
        let mut last = '\0';
        for (index, c) in self.text.char_indices() {
            if index >= at {
                break;
            }
            match c {
                '\n' if last == '\r' => {}
                '\n' | '\r' => {
                    line += 1;
                    column = 1;
                }
                _ => column += 1,
            }
            last = c;
        }
        LineCol { line, column }
    }
}

impl Sources {
    /// No source yet.
    #[must_use]
    pub fn new() -> Self {
        Sources::default()
    }

    /// Adds one that overrides those before it.
    pub fn add(&mut self, source: Source) -> FileId {
        let id = FileId(u32::try_from(self.0.len()).unwrap_or(u32::MAX));
        self.0.push(source);
        id
    }

    /// The source of that number.
    #[must_use]
    pub fn find(&self, file: FileId) -> Option<&Source> {
        self.0.get(file.index())
    }

    /// All, in the order they were added.
    pub fn iter(&self) -> impl Iterator<Item = (FileId, &Source)> {
        (0..).map(FileId).zip(&self.0)
    }

    /// The text of `span`.
    #[must_use]
    pub fn slice(&self, span: Span) -> &str {
        self.find(span.file).map_or("", |source| source.slice(span))
    }

    /// Name of the source, line and column where `span` starts.
    #[must_use]
    pub fn locate(&self, span: Span) -> Option<(&str, LineCol)> {
        let source = self.find(span.file)?;
        Some((&source.name, source.line_col(span.start)))
    }

    /// Whether nothing was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Source> for Sources {
    fn from_iter<I: IntoIterator<Item = Source>>(sources: I) -> Self {
        let mut all = Sources::new();
        for source in sources {
            all.add(source);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_as_in_properties() {
        let source = Source::new("x", "a\rb\r\nc\n\u{e9}d");
        for (at, line, column) in
            [(0, 1, 1), (2, 2, 1), (5, 3, 1), (7, 4, 1), (9, 4, 2), (99, 4, 3)]
        {
            assert_eq!(source.line_col(at), LineCol { line, column }, "byte {at}");
        }
    }

    #[test]
    fn latin1_takes_any_byte() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(Source::from_latin1("x", &all).text.chars().count(), 256);
    }
}
