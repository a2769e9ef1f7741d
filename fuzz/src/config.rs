//! Properties and substitution: nothing panics, every span lies in the text, limits hold.

use splashdam_config::source::{Source, Sources};
use splashdam_config::subst::{self, Lookups, VALUE_LIMIT_BYTES};
use splashdam_config::{Span, text};

/// Reads bytes as properties and looks at everything that came out.
pub fn properties(input: &[u8]) {
    let bare = text::parse(input);
    let source = Source::from_latin1("input", input);
    let sources: Sources = std::iter::once(source.clone()).collect();
    let merged = text::parse_all(&sources);
    assert!(merged.entries.len() <= bare.entries.len());
    let inside = |span: Span| {
        assert!(span.start <= span.end && span.end <= source.text.len(), "{span:?}");
        assert!(source.text.is_char_boundary(span.start), "{span:?}");
        assert!(source.text.is_char_boundary(span.end), "{span:?}");
    };
    for entry in bare.entries.iter().chain(&merged.entries) {
        inside(entry.key_span());
        inside(entry.value_span());
        let value = entry.value();
        for (at, _) in value.char_indices() {
            inside(entry.value.part_span(at, value.len()));
            inside(entry.value.part_span(0, at));
        }
    }
    for finding in bare.findings.iter().chain(&merged.findings) {
        finding.span.into_iter().for_each(inside);
        assert!(!finding.plain(&sources).is_empty());
    }
}

/// Substitutes in a text that stands alone, and in all values of it read as properties.
pub fn substitution(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let expanded = subst::expand(&text, &Echo);
    assert!(expanded.len() <= text.len().max(VALUE_LIMIT_BYTES));
    if !text.contains("${") {
        assert_eq!(expanded, text);
    }
    let properties = text::parse(input);
    let mut substitution = subst::Substitution::new(&properties.entries, &Echo);
    let mut findings = Vec::new();
    for entry in &properties.entries {
        let value = substitution.value(&entry.value, &mut findings);
        assert!(value.text().len() <= entry.value().len().max(VALUE_LIMIT_BYTES));
    }
}

/// Every lookup finds something, and what it finds may hold variables again.
struct Echo;

impl Lookups for Echo {
    fn system(&self, name: &str) -> Option<String> {
        Some(format!("${{{name}}}"))
    }
    fn environment(&self, name: &str) -> Option<String> {
        (name.len() < 9).then(|| format!("{name}${{env:{name}x}}"))
    }
    fn java(&self, name: &str) -> Option<String> {
        (!name.is_empty()).then(|| name.to_owned())
    }
    fn date(&self, pattern: &str) -> Option<String> {
        Some(pattern.chars().rev().collect())
    }
    fn bare_environment(&self) -> bool {
        true
    }
}
