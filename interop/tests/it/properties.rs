//! Properties files: the oracle answers as Java's documentation says, and our parser as the oracle.

use splashdam_config::Diagnostic;
use splashdam_interop::Peers;
use splashdam_interop::properties_oracle::{PropertiesOracle, escaped};

use crate::side_by_side::{Turn, is_set};

fn java() -> Option<(Peers, Turn)> {
    match Peers::available() {
        Ok(peers) => Some((peers, Turn::take())),
        Err(missing) => {
            assert!(!is_set("SPLASHDAM_REQUIRE_INTEROP"), "{missing}");
            eprintln!("skipped: {missing}");
            None
        }
    }
}

#[test]
fn java_answers() {
    let Some((peers, _turn)) = java() else { return };
    let mut oracle = PropertiesOracle::start(&peers).expect("java starts");
    let mut check = |text: &[u8], wanted: Result<&[(&str, &str)], ()>| {
        let found = oracle.read(text).expect("java answers");
        let wanted = wanted
            .map(|pairs| pairs.iter().map(|(key, value)| (escaped(key), escaped(value))).collect());
        assert_eq!(found.map_err(|_| ()), wanted, "{}", text.escape_ascii());
    };
    check(b"", Ok(&[]));
    check(b"a=1\n# no\n! no\n b : 2 \nc 3", Ok(&[("a", "1"), ("b", "2 "), ("c", "3")]));
    check(b"a=1\na=2", Ok(&[("a", "1"), ("a", "2")]));
    check(b"a = one \\\n    two\r\nb=\\u00e9\\t", Ok(&[("a", "one two"), ("b", "\u{e9}\t")]));
    check(b"k\\ e\\=y=v\xe9", Ok(&[("k e=y", "v\u{e9}")]));
    check("x=\u{20ac}".as_bytes(), Ok(&[("x", "\u{e2}\u{82}\u{ac}")]));
    check(b"a=\\ud83c\\udf0a", Ok(&[("a", "\u{1f30a}")]));
    check(b"bad=\\u12", Err(()));
}

/// Seeded texts of what matters in a properties file, read by Java and by us.
#[test]
fn ours_reads_as_java() {
    const PIECES: &[&[u8]] = &[
        b"a",
        b"b.c",
        b"key",
        b"value",
        b"=",
        b"=",
        b":",
        b" ",
        b" ",
        b"\t",
        b"\x0c",
        b"\\",
        b"\\",
        b"\n",
        b"\n",
        b"\r",
        b"\r\n",
        b"#",
        b"!",
        b"\\\n",
        b"\\\r\n  ",
        b"\\t",
        b"\\n",
        b"\\r",
        b"\\f",
        b"\\:",
        b"\\=",
        b"\\ ",
        b"\\\\",
        b"\\u0041",
        b"\\u00e9",
        b"\\u000a",
        b"\\ud83c\\udf0a",
        b"\\ud83c",
        b"\\udf0a",
        b"\\u12",
        b"\\U0041",
        b"\xe9",
        b"\xff",
        b"\x80",
        b"\x00",
        b"\x0b",
        b"\x85",
        b"\xa0",
        b"\"",
        b"$",
        b"{",
        b"}",
        b"\\z",
        b"\\uFFFF",
    ];
    let Some((peers, _turn)) = java() else { return };
    let mut oracle = PropertiesOracle::start(&peers).expect("java starts");
    let mut state = 1u64;
    let mut below = |limit: usize| {
        // Xorshift, by Marsaglia: the same texts in every run.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % limit as u64).unwrap_or(0)
    };
    let (mut read, mut refused) = (0, 0);
    for _ in 0..5000 {
        let text: Vec<u8> =
            (0..below(24)).flat_map(|_| PIECES[below(PIECES.len())].to_vec()).collect();
        let ours = splashdam_config::text::parse(&text);
        match oracle.read(&text).expect("java answers") {
            Ok(pairs) => {
                let trimmed = |escaped: &str| trimmed(&unescaped(escaped));
                // A lone backslash before a blank line is an assignment of nothing to nothing in Java, which Flume
                // warns about and drops.
                let real = |(key, value): &(String, String)| !(key.is_empty() && value.is_empty());
                let wanted: Vec<(String, String)> = pairs
                    .iter()
                    .map(|(key, value)| (trimmed(key), trimmed(value)))
                    .filter(real)
                    .collect();
                let written = ours
                    .entries
                    .iter()
                    .map(|entry| (entry.key().to_owned(), entry.value().to_owned()));
                let found: Vec<(String, String)> = written.filter(real).collect();
                assert_eq!(found, wanted, "{}", text.escape_ascii());
                let errors: Vec<_> =
                    ours.findings.iter().filter(|finding| finding.is_error()).collect();
                assert!(errors.is_empty(), "{}: {errors:?}", text.escape_ascii());
                read += 1;
            }
            Err(_) => {
                let noticed = ours.findings.iter().any(Diagnostic::is_error);
                assert!(noticed, "java refuses {}", text.escape_ascii());
                refused += 1;
            }
        }
    }
    assert!(read > 1000 && refused > 100, "{read} read, {refused} refused");
}

/// As `String.trim`, which Flume applies to keys and values.
fn trimmed(text: &str) -> String {
    text.trim_matches(|c| c <= ' ').to_owned()
}

/// The oracle's answer as text; half a surrogate pair becomes U+FFFD.
fn unescaped(shown: &str) -> String {
    let mut units = Vec::new();
    let mut rest = shown;
    while let Some(at) = rest.find("\\u") {
        units.extend(rest[..at].encode_utf16());
        units.push(u16::from_str_radix(&rest[at + 2..at + 6], 16).expect("four digits"));
        rest = &rest[at + 6..];
    }
    units.extend(rest.encode_utf16());
    String::from_utf16_lossy(&units)
}
