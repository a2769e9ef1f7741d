//! The oracle for properties files answers as Java's documentation says. Our parser is compared where it exists.

use splashdam_interop::Peers;
use splashdam_interop::properties_oracle::{PropertiesOracle, escaped};

use crate::side_by_side::is_set;

#[test]
fn java_answers() {
    let peers = match Peers::available() {
        Ok(peers) => peers,
        Err(missing) => {
            assert!(!is_set("SPLASHDAM_REQUIRE_INTEROP"), "{missing}");
            eprintln!("skipped: {missing}");
            return;
        }
    };
    let mut oracle = PropertiesOracle::start(&peers).expect("java starts");
    let mut check = |text: &[u8], wanted: Result<&[(&str, &str)], ()>| {
        let found = oracle.read(text).expect("java answers");
        let wanted = wanted.map(|pairs| {
            pairs
                .iter()
                .map(|(key, value)| (escaped(key), escaped(value)))
                .collect()
        });
        assert_eq!(found.map_err(|_| ()), wanted, "{}", text.escape_ascii());
    };
    check(b"", Ok(&[]));
    check(
        b"a=1\n# no\n! no\n b : 2 \nc 3",
        Ok(&[("a", "1"), ("b", "2 "), ("c", "3")]),
    );
    check(b"a=1\na=2", Ok(&[("a", "1"), ("a", "2")]));
    check(
        b"a = one \\\n    two\r\nb=\\u00e9\\t",
        Ok(&[("a", "one two"), ("b", "\u{e9}\t")]),
    );
    check(b"k\\ e\\=y=v\xe9", Ok(&[("k e=y", "v\u{e9}")]));
    check("x=\u{20ac}".as_bytes(), Ok(&[("x", "\u{e2}\u{82}\u{ac}")]));
    check(b"a=\\ud83c\\udf0a", Ok(&[("a", "\u{1f30a}")]));
    check(b"bad=\\u12", Err(()));
}
