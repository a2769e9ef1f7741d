//! Texts as they are published, and what is said about them.

use super::*;
use crate::text::parse_all;

/// Codes, and the text each points at.
fn said(source: Source) -> Vec<(&'static str, String)> {
    let sources: Sources = std::iter::once(source).collect();
    let properties = parse_all(&sources);
    let mut findings = Vec::new();
    in_sources(&sources, &mut findings);
    for entry in &properties.entries {
        in_entry(entry, &mut findings);
    }
    findings
        .iter()
        .map(|finding| (finding.code, sources.slice(finding.span.unwrap()).to_owned()))
        .collect()
}

#[test]
fn pasted_texts_are_recognised() {
    for (text, want) in [
        ("a.b = 100 # comment", &[("comment-behind-value", "# comment")][..]),
        ("a.b = 100 #comment", &[("comment-behind-value", "#comment")]),
        ("a.b = /x/y // the path", &[("comment-behind-value", "// the path")]),
        ("a.b = grep #x", &[("comment-behind-value", "#x")]),
        ("a.b = /x/#y", &[]),
        ("a.b = http://x/#y", &[]),
        ("a.b = sed s/#// x #y", &[]),
        ("a.b = #fff", &[]),
        ("a.b = \"x y\"", &[("quoted-value", "\"x y\"")]),
        ("a.b = 'x'", &[("quoted-value", "'x'")]),
        ("a.b = \"x\" \"y\"", &[]),
        ("a.b = \"", &[]),
        ("a.s.r1 .type = x", &[("blank-in-key", "a.s.r1 .type")]),
        ("a.s.r1. type = x", &[("blank-in-key", "a.s.r1. type")]),
        ("a.s.r1 x = y", &[]),
        ("a.b = x \\\na.s.r1.type = y", &[("joined-lines", "a.s.r1.type = y")]),
        ("a.b = x \\\n# note", &[("joined-lines", "# note"), ("comment-behind-value", "# note")]),
        ("a.b = x \\\n  y", &[]),
        ("a.b = x \\ \n  y", &[("blank-behind-backslash", "\\ ")]),
        ("# x \\\na.s.r1.type = y", &[]),
        ("a.b = x\\\\\na.s.r1.type = y", &[]),
        ("a.b = \u{201c}x\u{201d}", &[("pasted-character", "\u{201c}")]),
        ("a.b = it\u{2019}s", &[("pasted-character", "\u{2019}")]),
        ("a.b\u{a0}= x", &[("pasted-character", "\u{a0}")]),
        ("a.b = x\u{200b}", &[("pasted-character", "\u{200b}")]),
        ("\u{feff}a.b = x", &[("byte-order-mark", "\u{feff}")]),
        ("a.b = é", &[]),
        ("a.b = plain", &[]),
    ] {
        let want: Vec<_> = want.iter().map(|(code, at)| (*code, (*at).to_owned())).collect();
        assert_eq!(said(Source::new("t", text)), want, "{text:?}");
    }
}

#[test]
fn utf8_read_as_latin1_is_recognised() {
    for (text, code) in [
        ("a.b = \u{201c}x\u{201d}", Some("pasted-character")),
        ("a.b\u{a0}= x", Some("pasted-character")),
        ("a.b = x\u{200b}y", Some("pasted-character")),
        ("\u{feff}a.b = x", Some("byte-order-mark")),
        ("a.b = caf\u{e9}", Some("not-latin1")),
        ("a.b = 😀", Some("not-latin1")),
        ("a.b = x", None),
    ] {
        let codes: Vec<_> = said(Source::from_latin1("t", text.as_bytes()))
            .into_iter()
            .map(|(code, _)| code)
            .collect();
        assert_eq!(codes, code.into_iter().collect::<Vec<_>>(), "{text:?}");
    }
    assert_eq!(said(Source::from_latin1("t", b"a.b = caf\xe9")), []);
}
