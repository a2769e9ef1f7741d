//! The grammar against tables made with `java.util.Properties`, and places against the text.

use proptest::prelude::*;

use super::*;

fn read(text: &str) -> Properties {
    parse_source(&Source::new("t", text), FileId::default())
}

/// Keys and values as `[key]=[value]`, in written order.
fn shown(text: &str) -> String {
    let pairs = read(text)
        .entries
        .into_iter()
        .map(|entry| format!("[{}]=[{}]", entry.key(), entry.value()));
    pairs.collect::<Vec<_>>().join(" ")
}

#[test]
fn reads_as_java_does() {
    for (text, want) in [
        ("a=1", "[a]=[1]"),
        ("a:1", "[a]=[1]"),
        ("a 1", "[a]=[1]"),
        ("a\t=\u{c}:1", "[a]=[:1]"),
        ("a = = b", "[a]=[= b]"),
        ("a : = b", "[a]=[= b]"),
        ("a", "[a]=[]"),
        ("=x", "[]=[x]"),
        (" :x", "[]=[x]"),
        (r"a\=b=c", "[a=b]=[c]"),
        (r"a\ b c", "[a b]=[c]"),
        ("#a=1\n!b=2\n  # c=3\nd=4", "[d]=[4]"),
        ("a=1 \\\n  # no\nb=2", "[a]=[1 # no] [b]=[2]"),
        ("a=1\\\n\nb=2", "[a]=[1] [b]=[2]"),
        ("a=1\\\n  \n  b=2", "[a]=[1] [b]=[2]"),
        ("a=1\\\r\n  2\rb=3", "[a]=[12] [b]=[3]"),
        ("a=1\\", "[a]=[1]"),
        ("\\", "[]=[]"),
        ("\\\na=b", "[a]=[b]"),
        ("a=\\\\\nb=1", "[a]=[\\] [b]=[1]"),
        ("a=\\\\\\\nb=1", "[a]=[\\b=1]"),
        (r"a=x\t\n\r\f\q\:", "[a]=[x\t\n\r\u{c}q:]"),
        (r"a=\u0041\u00e9x", "[a]=[Aéx]"),
        (r"a=\uD83D\ude00", "[a]=[😀]"),
        (r"a\u003db=c", "[a=b]=[c]"),
        (r"a=\\u0041", r"[a]=[\u0041]"),
        ("#c\\\na=1", "[a]=[1]"),
        ("a=1\\\n#b\\\nc", "[a]=[1#bc]"),
        ("\\\n# x\ny=1", "[y]=[1]"),
        ("\\\n\n# x\ny=1", "[y]=[1]"),
        ("a=\\u004\\\n1", "[a]=[A]"),
        ("a\\\nb=c", "[ab]=[c]"),
        ("a \\\n = b", "[a]=[b]"),
        ("\u{c}\t a=1", "[a]=[1]"),
        ("a=b\u{b}c", "[a]=[b\u{b}c]"),
        ("a\u{a0}=b", "[a\u{a0}]=[b]"),
        ("\n\r\n\r a=1\r\r\n", "[a]=[1]"),
        (r"a=\U0041", "[a]=[U0041]"),
        ("a=x\\\n\\\ny", "[a]=[xy]"),
        // Here Flume trims what Java keeps.
        ("a=1\\ \nb=2", "[a]=[1] [b]=[2]"),
        ("a=1  \t\n", "[a]=[1]"),
        (r"\ta\ =\n1\u0001", "[a]=[1]"),
        ("a=\u{a0}1\u{a0}", "[a]=[\u{a0}1\u{a0}]"),
        ("", ""),
    ] {
        assert_eq!(shown(text), want, "{text:?}");
    }
}

#[test]
fn bad_escapes_are_findings() {
    for (text, codes, entries) in [
        (r"a=\u00zz", &["bad-unicode-escape"][..], 0),
        (r"a=\u12", &["bad-unicode-escape"], 0),
        ("a=\\u\nb=1", &["bad-unicode-escape"], 1),
        (r"a=\ud83d", &["lone-surrogate"], 1),
        (r"a=\ud83dx\ude00", &["lone-surrogate", "lone-surrogate"], 1),
        (r"a=\ud83d\u0041", &["lone-surrogate"], 1),
        ("a=1\nb=2\na=3\n", &["duplicate-key"], 3),
    ] {
        let properties = read(text);
        let found: Vec<_> = properties.findings.iter().map(|finding| finding.code).collect();
        assert_eq!((found.as_slice(), properties.entries.len()), (codes, entries), "{text:?}");
    }
    assert_eq!(shown(r"a=\ud83d\u0041"), "[a]=[\u{fffd}A]");
}

#[test]
fn later_sources_win_in_place_of_the_first() {
    let sources =
        ["a=1\nb=2\n", "c=3\na=4\n"].into_iter().map(|text| Source::new("t", text)).collect();
    let merged = parse_all(&sources);
    let pairs: Vec<_> = merged.entries.iter().map(|entry| (entry.key(), entry.value())).collect();
    assert_eq!(pairs, [("a", "4"), ("b", "2"), ("c", "3")]);
    assert_eq!(merged.entries[0].value_span().file.index(), 1);
    assert_eq!(merged.findings, []);
}

#[test]
fn parts_of_values_know_their_place() {
    // Each `|` of the second column is where the part starts and ends.
    for (text, part, want) in [
        ("a=one two", "two", "two"),
        ("a=one \\\n   two", "two", "two"),
        ("a=one \\\n   two", "one", "one"),
        (r"a=\u0041b two", "Ab", r"\u0041b"),
        (r"a=x\:y\:z", "y", "y"),
        (r"a=x\:y\:z", ":y:", r"\:y\:"),
        (r"a=\ud83d\ude00 x", "😀", r"\ud83d\ude00"),
        (r"a=\é x", "é", r"\é"),
        ("a=é x", "é", "é"),
    ] {
        let properties = read(text);
        let value = &properties.entries[0].value;
        let from = value.text().find(part).unwrap();
        let span = value.part_span(from, from + part.len());
        assert_eq!(&text[span.start..span.end], want, "{text:?}");
        let cut = value.part(from, from + part.len()).unwrap();
        assert_eq!((cut.text(), cut.span()), (part, span), "{text:?}");
        assert_eq!(cut.part_span(0, part.len()), span, "{text:?}");
    }
}

/// Texts made of what the grammar cares about.
fn texts() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "a",
        ".",
        "=",
        ":",
        " ",
        "\t",
        "\u{c}",
        "\\",
        "\n",
        "\r",
        "\r\n",
        "#",
        "!",
        "u0041",
        "ud83d",
        "\\u",
        "\\ude00",
        "é",
        "\u{a0}",
        "😀",
        "${",
        "}",
        "\\\n",
        "a1.sources.r1.type = x\n",
    ]);
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn bytes_never_panic_and_spans_fit(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let source = Source::from_latin1("t", &bytes);
        spans_fit(&source, &parse(&bytes));
    }

    #[test]
    fn texts_never_panic_and_spans_fit(text in texts()) {
        spans_fit(&Source::new("t", text.as_str()), &read(&text));
    }
}

fn spans_fit(source: &Source, properties: &Properties) {
    let fits = |span: Span| source.text.get(span.start..span.end).is_some();
    for finding in &properties.findings {
        assert!(finding.span.is_some_and(fits), "{:?}: {finding:?}", source.text);
    }
    for entry in &properties.entries {
        for located in [&entry.key, &entry.value] {
            assert!(fits(located.span()), "{:?}: {located:?}", source.text);
            let ends: Vec<usize> = located
                .text()
                .char_indices()
                .map(|(at, _)| at)
                .chain([located.text().len()])
                .collect();
            for (index, from) in ends.iter().enumerate() {
                for to in &ends[index..] {
                    let span = located.part_span(*from, *to);
                    assert!(
                        fits(span),
                        "{:?}: {from}..{to} of {located:?} at {span:?}",
                        source.text
                    );
                    let part = located.part(*from, *to).unwrap();
                    assert!(
                        fits(part.part_span(0, part.text().len())),
                        "{:?}: {part:?}",
                        source.text
                    );
                }
            }
        }
    }
}
