//! Variables, by table.

use super::*;
use crate::source::Source;
use crate::text::parse_all;

struct Fixed {
    bare: bool,
}

impl Lookups for Fixed {
    fn system(&self, name: &str) -> Option<String> {
        (name == "user.home").then(|| "/root".to_owned())
    }

    fn environment(&self, name: &str) -> Option<String> {
        match name {
            "HOST" => Some("h1".to_owned()),
            "NAME" => Some("HOST".to_owned()),
            "TRAP" => Some("${env:TRAP}".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    fn java(&self, name: &str) -> Option<String> {
        (name == "version").then(|| "none".to_owned())
    }

    fn date(&self, pattern: &str) -> Option<String> {
        (pattern == "yyyy").then(|| "2024".to_owned())
    }

    fn bare_environment(&self) -> bool {
        self.bare
    }
}

/// The value of `v` in a text, and the codes of the findings about it.
fn value_of(text: &str, bare: bool) -> (String, Vec<&'static str>) {
    let properties = parse_all(&std::iter::once(Source::new("t", text)).collect());
    let lookups = Fixed { bare };
    let mut substitution = Substitution::new(&properties.entries, &lookups);
    let entry = properties.entries.iter().find(|entry| entry.key() == "v").unwrap();
    let mut findings = Vec::new();
    let value = substitution.value(&entry.value, &mut findings);
    for finding in &findings {
        let span = finding.span.unwrap();
        assert!(text.get(span.start..span.end).is_some(), "{text}: {finding:?}");
    }
    (value.text().to_owned(), findings.iter().map(|finding| finding.code).collect())
}

#[test]
fn variables_are_filled_in() {
    for (text, want, codes) in [
        ("v=a${env:HOST}b", "ah1b", &[][..]),
        ("v=${ENV:HOST}${sys:user.home}${date:yyyy}${java:version}", "h1/root2024none", &[]),
        ("v=${a.b}\na.b=${c}\nc=${env:HOST}", "h1", &[]),
        ("v=${env:NONE:-x}${none:-${env:HOST}}${none:-}", "xh1", &[]),
        ("v=${env:EMPTY}|${env:EMPTY:-x}", "|", &[]),
        ("v=${env:${env:NAME}}", "h1", &[]),
        ("v=${env:a.b}\na.b=1", "1", &[]),
        ("v=${foo:a.b}\na.b=1", "1", &[]),
        ("v=$${env:HOST}", "${env:HOST}", &[]),
        ("v=$$${env:HOST}", "$${env:HOST}", &[]),
        ("v=$${a${env:HOST}}", "${ah1}", &[]),
        ("v=$HOST {x} $", "$HOST {x} $", &[]),
        ("v=${HOST}", "${HOST}", &["unknown-variable"]),
        ("v=${env:NONE}-${env:HOST}", "${env:NONE}-h1", &["unknown-variable"]),
        ("v=${a ${env:HOST}", "${a ${env:HOST}", &["unclosed-variable"]),
        ("v=${}", "${}", &["unknown-variable"]),
        ("v=${f['k-1']} ${f[\"k\"]} ${f[k]}", "${f['k-1']} ${f[\"k\"]} ${f[k]}", &[]),
        ("v=${f['k\"]}", "${f['k\"]}", &["unknown-variable"]),
        ("v=${v}", "${v}", &["substitution-cycle"]),
        ("v=${a}\na=${b}\nb=x${a}", "${a}", &["substitution-cycle"]),
        ("v=${env:TRAP}", "${env:TRAP}", &["substitution-cycle"]),
        ("v=${a}${a}\na=1", "11", &[]),
    ] {
        let (value, found) = value_of(text, false);
        assert_eq!((value.as_str(), found.as_slice()), (want, codes), "{text}");
    }
    assert_eq!(
        value_of("v=${HOST}${NONE}", true),
        ("h1${NONE}".to_owned(), vec!["unknown-variable"])
    );
}

#[test]
fn growth_is_bounded() {
    let mut doubling = String::from("v=${k29}\nk0=xxxxxxxxxx\n");
    let mut empty = String::from("v=${k29}\nk0=${env:EMPTY}\n");
    for step in 1..30 {
        let line = format!("k{step}=${{k{0}}}${{k{0}}}\n", step - 1);
        doubling.push_str(&line);
        empty.push_str(&line);
    }
    assert_eq!(value_of(&doubling, false).1, ["substitution-too-large"]);
    assert_eq!(value_of(&empty, false).1, ["substitution-too-large"]);
    let nested = format!("v={}x{}", "${".repeat(1000), "}".repeat(1000));
    assert_eq!(value_of(&nested, false).1, ["substitution-too-deep"]);
}

#[test]
fn filters_answer_their_own_placeholders() {
    struct Table;
    impl ConfigFilter for Table {
        fn lookup(&self, key: &str) -> Result<Option<String>, String> {
            match key {
                "password" => Ok(Some("s3cret".to_owned())),
                "broken" => Err("no such file".to_owned()),
                _ => Ok(None),
            }
        }
    }
    for (text, want, findings) in [
        ("a${f['password']}b", "as3cretb", 0),
        ("${f[\"password\"]}${f[password]}", "s3crets3cret", 0),
        ("${g['password']}", "${g['password']}", 0),
        ("${f['password\"]}", "${f['password\"]}", 0),
        ("${f['none']}-${f[password]}", "${f['none']}-s3cret", 1),
        ("${f[broken]}", "${f[broken]}", 1),
        ("${x ${f[password]} ${", "${x s3cret ${", 0),
        ("plain", "plain", 0),
    ] {
        let entry = parse_all(&std::iter::once(Source::new("t", format!("v={text}"))).collect());
        let mut found = Vec::new();
        let value = apply_filter(&entry.entries[0].value, "f", &Table, &mut found);
        assert_eq!((value.text(), found.len()), (want, findings), "{text}");
    }
}

proptest::proptest! {
    #[test]
    fn expanding_never_panics(text in "([$]|[{]|[}]|:-|env:|HOST|é|'|\\[|\\]|a){0,40}") {
        let expanded = expand(&text, &Fixed { bare: true });
        proptest::prop_assert!(expanded.len() <= VALUE_LIMIT_BYTES);
    }
}
