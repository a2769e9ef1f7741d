//! Findings for people: the excerpt, a caret, the cause and what to do.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Element, Level, Origin, Renderer, Snippet};
use splashdam_config::diagnostic::escaped;
use splashdam_config::{Diagnostic, Severity, Source, Sources, Span};

/// Lines of an excerpt; a span that goes on is cut.
const MOST_LINES: usize = 4;
/// Bytes of a line that are shown around the place.
const MOST_BYTES: usize = 400;

/// How findings look.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    /// Whether colours are welcome.
    pub(crate) colours: bool,
    /// Columns of the terminal.
    pub(crate) width: usize,
}

/// The part of a text around a span, by whole lines.
struct Excerpt {
    text: String,
    /// Where the span is in `text`.
    marked: Range<usize>,
    /// The number of the first line.
    line: usize,
    /// Line and column of the span.
    at: (usize, usize),
    /// Whether a line lacks its beginning.
    cut: bool,
}

/// One finding, as several lines with a last line break.
pub(crate) fn finding(finding: &Diagnostic, sources: &Sources, look: Look) -> String {
    let renderer = if look.colours { Renderer::styled() } else { Renderer::plain() };
    let renderer = renderer.term_width(look.width);
    let level = match finding.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Note => Level::NOTE,
    };
    let title = level.primary_title(escaped(&finding.message, false)).id(finding.code);
    let mut elements: Vec<Element<'_>> = Vec::new();
    if let Some((source, span)) = place(finding, sources) {
        let excerpt = Excerpt::of(source, span);
        let label = finding.label.as_deref().map(|label| escaped(label, false));
        let name = escaped(&source.name, false);
        let mark = AnnotationKind::Primary.span(excerpt.marked).label(label);
        let snippet = Snippet::source(excerpt.text).line_start(excerpt.line).fold(false);
        if excerpt.cut {
            // The excerpt does not know what is in front of it.
            let (line, column) = excerpt.at;
            elements.push(Origin::path(name).line(line).char_column(column).into());
            elements.push(snippet.annotation(mark).into());
        } else {
            elements.push(snippet.path(name).annotation(mark).into());
        }
    } else if let Some(component) = &finding.component {
        elements.push(Level::INFO.with_name("at").message(escaped(component, false)).into());
    }
    elements
        .extend(finding.help.iter().map(|help| Level::HELP.message(escaped(help, false)).into()));
    elements
        .extend(finding.notes.iter().map(|note| Level::NOTE.message(escaped(note, false)).into()));
    let mut text = renderer.render(&[title.elements(elements)]);
    text.push('\n');
    text
}

fn place<'s>(finding: &Diagnostic, sources: &'s Sources) -> Option<(&'s Source, Span)> {
    let span = finding.span?;
    Some((sources.find(span.file)?, span))
}

impl Excerpt {
    /// The lines of `span`. Lines end where Java ends them; what is too long is cut on both sides.
    fn of(source: &Source, span: Span) -> Excerpt {
        let text = &*source.text;
        let start = floor(text, span.start);
        let end = floor(text, span.end.max(span.start));
        let ends = |c: char| c == '\n' || c == '\r';
        let from = text[..start].rfind(ends).map_or(0, |at| at + 1);
        let place = source.line_col(start);
        let mut excerpt = Excerpt {
            text: String::new(),
            marked: 0..0,
            line: place.line,
            at: (place.line, place.column),
            cut: false,
        };
        let mut rest = from;
        for _ in 0..MOST_LINES {
            let to = text[rest..].find(ends).map_or(text.len(), |at| rest + at);
            excerpt.push_line(text, rest..to, start, end);
            if to >= end || to == text.len() {
                break;
            }
            rest = to + if text[to..].starts_with("\r\n") { 2 } else { 1 };
            excerpt.text.push('\n');
        }
        excerpt
    }

    fn push_line(&mut self, text: &str, line: Range<usize>, start: usize, end: usize) {
        let before = self.text.len();
        let shown_from = if start > line.start + MOST_BYTES {
            self.text.push('…');
            self.cut = true;
            floor(text, start - MOST_BYTES / 2)
        } else {
            line.start
        };
        let shown_to = line.end.min(floor(text, shown_from + 2 * MOST_BYTES));
        let offset = self.text.len();
        // Those of one byte are shown as pictures later; these are as long as what replaces them.
        let quiet = |c: char| if matches!(c, '\u{80}'..='\u{9f}') { '\u{b7}' } else { c };
        self.text.extend(text[shown_from..shown_to].chars().map(quiet));
        let within = |at: usize| offset + at.clamp(shown_from, shown_to) - shown_from;
        if line.contains(&start) || line.end == start {
            self.marked = within(start)..within(end);
        } else {
            self.marked.end = within(end).max(before);
        }
        if shown_to < line.end {
            self.text.push('…');
        }
    }
}

/// The last character boundary up to `at`.
fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, from: usize, to: usize) -> String {
        let mut sources = Sources::new();
        let file = sources.add(Source::new("flume.conf", text));
        let diagnostic = Diagnostic::warning("odd", "this is odd")
            .at(Span::new(file, from, to))
            .label("here")
            .help("do not");
        finding(&diagnostic, &sources, Look { colours: false, width: 100 })
    }

    #[test]
    fn the_place_is_shown_with_its_line() {
        let text = shown("# one\r\na1.sources = r1\ra1.sinks = k1\n", 7, 17);
        for part in ["flume.conf:2:1", "2 | a1.sources = r1", "^^^^^^^^^^ here", "help: do not"] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        assert!(!text.contains("a1.sinks"));
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn what_terminals_act_on_is_escaped_everywhere() {
        let odd = "a\u{1b}[31mb\u{9b}c";
        let mut sources = Sources::new();
        let file = sources.add(Source::new(format!("{odd}.conf"), format!("{odd} = {odd}\n")));
        let all = Diagnostic::error("odd", odd).label(odd).help(odd).with_note(odd).component(odd);
        for diagnostic in [all.clone(), all.at(Span::new(file, 0, 4))] {
            let shown = finding(&diagnostic, &sources, Look { colours: false, width: 100 });
            let acts = |c: char| c.is_control() && c != '\n';
            assert!(!shown.contains(acts), "{shown:?}");
            assert!(shown.contains("a\\u{1b}[31mb\\u{9b}c"), "{shown}");
        }
    }

    #[test]
    fn no_place_is_too_odd_to_be_shown() {
        let long = format!("a = {}\nb = 1\n", "x\u{e9}".repeat(50_000));
        for (text, from, to) in [
            ("", 0, 0),
            ("", 5, 9),
            ("a = 1", 5, 5),
            ("a = 1", 9, 3),
            ("a = 1\n", 6, 6),
            ("a = \\\n  b\\\n  c\\\n  d\\\n  e\\\n f\n", 4, 30),
            ("a = \u{e9}\u{e9}", 5, 6),
            ("a = \u{1b}[31m\t\0", 4, 10),
            (long.as_str(), 4, 6),
            (long.as_str(), 70_001, 70_003),
            (long.as_str(), 0, 140_000),
        ] {
            let shown = shown(text, from, to);
            assert!(shown.contains("this is odd"));
            assert!(shown.len() < 20_000, "{}", shown.len());
            assert!(!shown.contains('\u{1b}'), "escapes are not passed on");
        }
    }
}
