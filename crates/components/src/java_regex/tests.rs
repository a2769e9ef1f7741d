//! What Java 17 answered for the same patterns, and what is refused here.

use super::*;

/// Pattern, text, whether the whole of it matches, the groups found.
type Case = (&'static str, &'static str, bool, &'static [Option<&'static str>]);

fn compiled(pattern: &str) -> JavaRegex {
    JavaRegex::new(pattern).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn answers_as_java_does() {
    let mut wrong = Vec::new();
    for (pattern, text, full, found) in CASES {
        let regex = match JavaRegex::new(pattern) {
            Ok(regex) => regex,
            Err(e) => {
                wrong.push(e.to_string());
                continue;
            }
        };
        let got = regex.is_full_match(text.as_bytes()).unwrap();
        let captures = regex.captures(text.as_bytes()).unwrap();
        let groups: Vec<_> = match &captures {
            Some(captures) => (0..captures.groups.len()).map(|n| captures.group(n)).collect(),
            None => Vec::new(),
        };
        assert_eq!(regex.is_match(text.as_bytes()).unwrap(), captures.is_some());
        if (got, groups.as_slice()) != (*full, *found) {
            wrong.push(format!("{pattern:?} on {text:?}: {got} {groups:?}, not {full} {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[rustfmt::skip]
const CASES: &[Case] = &[
    ("a|ab", "ab", true, &[Some("a")]),
    ("a|ab", "a", true, &[Some("a")]),
    (".*", "a\nb", false, &[Some("a")]),
    (".*", "a\rb", false, &[Some("a")]),
    (".*", "a\u{85}b", false, &[Some("a")]),
    (".*", "a\u{2028}b", false, &[Some("a")]),
    (".*", "", true, &[Some("")]),
    (".*", "x", true, &[Some("x")]),
    ("(?s).*", "a\nb", true, &[Some("a\nb")]),
    ("(?d).+", "a\rb\nc", false, &[Some("a\rb")]),
    ("a$", "a", true, &[Some("a")]),
    ("a$", "a\n", false, &[Some("a")]),
    ("a$", "a\r\n", false, &[Some("a")]),
    ("a$", "a\r", false, &[Some("a")]),
    ("a$", "a\u{85}", false, &[Some("a")]),
    ("a$", "a\n\n", false, &[]),
    ("a$", "ab", false, &[]),
    ("(?d)a$", "a\n", false, &[Some("a")]),
    ("(?d)a$", "a\r", false, &[]),
    ("a\\Z", "a\n", false, &[Some("a")]),
    ("a\\Z", "a\n\n", false, &[]),
    ("a\\z", "a\n", false, &[]),
    ("a\\z", "a", true, &[Some("a")]),
    ("\\n$", "a\r\n", false, &[Some("\n")]),
    ("\\n$", "a\n", false, &[Some("\n")]),
    ("(?m)^b$", "a\nb\nc", false, &[Some("b")]),
    ("(?m)^b$", "a\r\nb\r\nc", false, &[Some("b")]),
    ("(?m)^b$", "b", true, &[Some("b")]),
    ("(?m)^b$", "a\nb", false, &[Some("b")]),
    ("(?m)^", "", false, &[]),
    ("(?m)$", "a\r\n", false, &[Some("")]),
    ("(?m)\\r$", "a\r\n", false, &[]),
    ("(?md)b$", "ab\rc", false, &[]),
    ("(?md)b$", "ab\nc", false, &[Some("b")]),
    ("(?md)^c", "ab\rc", false, &[]),
    ("(?md)^c", "ab\nc", false, &[Some("c")]),
    ("^a", "ba", false, &[]),
    ("^a", "a", true, &[Some("a")]),
    ("\\Aa", "a", true, &[Some("a")]),
    ("\\d+", "12\u{663}", false, &[Some("12")]),
    ("(?U)\\d+", "\u{663}", true, &[Some("\u{663}")]),
    ("\\w+", "gr\u{fc}n", false, &[Some("gr")]),
    ("(?U)\\w+", "gr\u{fc}n", true, &[Some("gr\u{fc}n")]),
    ("\\s", "\u{a0}", false, &[]),
    ("\\s", "\u{b}", true, &[Some("\u{b}")]),
    ("\\s", "\u{85}", false, &[]),
    ("\\bgr\u{fc}n\\b", "ein gr\u{fc}n da", false, &[Some("gr\u{fc}n")]),
    ("\\b\u{fc}ber\\b", "\u{fc}ber alles", false, &[Some("\u{fc}ber")]),
    ("gr\\B", "gr\u{fc}n", false, &[Some("gr")]),
    ("\\h", "\u{a0}", true, &[Some("\u{a0}")]),
    ("\\h", "\u{3000}", true, &[Some("\u{3000}")]),
    ("\\h", "\n", false, &[]),
    ("\\H", "a", true, &[Some("a")]),
    ("\\v", "\u{85}", true, &[Some("\u{85}")]),
    ("\\R", "\r\n", true, &[Some("\r\n")]),
    ("\\R", "\u{2029}", true, &[Some("\u{2029}")]),
    ("\\V+", "ab", true, &[Some("ab")]),
    ("(?i)ABC", "abc", true, &[Some("abc")]),
    ("(?i)\u{c4}", "\u{e4}", false, &[]),
    ("(?iu)\u{c4}", "\u{e4}", true, &[Some("\u{e4}")]),
    ("(?i)[a-z]+", "ABz", true, &[Some("ABz")]),
    ("(?i)[^a]", "A", false, &[]),
    ("(?i)[^a]", "b", true, &[Some("b")]),
    ("a(?i)b|c", "aB", true, &[Some("aB")]),
    ("a(?i)b|c", "C", true, &[Some("C")]),
    ("a(?i)b|c", "AB", false, &[]),
    ("a(?i:b)c", "aBc", true, &[Some("aBc")]),
    ("a(?i:b)c", "aBC", false, &[]),
    ("(?i)a(?-i)b", "AB", false, &[]),
    ("(?i)a(?-i)b", "Ab", true, &[Some("Ab")]),
    ("((?i)a)b", "AB", false, &[]),
    ("((?i)a)b", "Ab", true, &[Some("Ab"), Some("A")]),
    ("(?iu)[\u{e4}]", "\u{c4}", true, &[Some("\u{c4}")]),
    ("(?i)[Z-b]", "z", true, &[Some("z")]),
    ("(?i)[Z-b]", "B", true, &[Some("B")]),
    ("(?i)[Z-b]", "Y", false, &[]),
    ("[a-z&&[^bc]]+", "abcd", false, &[Some("a")]),
    ("[a-z&&[^bc]]+", "ad", true, &[Some("ad")]),
    ("[a-z&&def]+", "abcdef", false, &[Some("def")]),
    ("[a-c[x-z]]+", "axbz", true, &[Some("axbz")]),
    ("[^a-c[x-z]]", "x", false, &[]),
    ("[^a-c[x-z]]", "d", true, &[Some("d")]),
    ("[]a]+", "]a", true, &[Some("]a")]),
    ("[^]a]", "]", false, &[]),
    ("[^]a]", "b", true, &[Some("b")]),
    ("[a\\]b]+", "a]b", true, &[Some("a]b")]),
    ("[-a]+", "-a", true, &[Some("-a")]),
    ("[a-]+", "a-", true, &[Some("a-")]),
    ("[a&b]+", "a&b", true, &[Some("a&b")]),
    ("[\\w&&[^\\d]]+", "12ab", false, &[Some("ab")]),
    ("[\\[\\]]+", "[]", true, &[Some("[]")]),
    ("[\\x41-\\u0043]+", "ABCD", false, &[Some("ABC")]),
    ("[.$^*]+", ".$^*", true, &[Some(".$^*")]),
    ("[^\\s]+", " ab ", false, &[Some("ab")]),
    ("[\\D]", "1", false, &[]),
    ("[\\D]", "a", true, &[Some("a")]),
    ("[a-f&&[^c]&&[a-d]]+", "abcdef", false, &[Some("ab")]),
    ("[{}|()?+]+", "{}|()?+", true, &[Some("{}|()?+")]),
    ("[~#\\-]+", "~#-", true, &[Some("~#-")]),
    ("[a^]+", "a^", true, &[Some("a^")]),
    ("\\Qa.b\\E+", "a.bb", true, &[Some("a.bb")]),
    ("\\Qa.b\\E+", "axb", false, &[]),
    ("\\Q[\\E", "[", true, &[Some("[")]),
    ("[\\Q]^\\E]+", "]^", true, &[Some("]^")]),
    ("\\Qab", "ab", true, &[Some("ab")]),
    ("x\\Q\\Ey", "xy", true, &[Some("xy")]),
    ("\\x41\\u0042\\0103\\x{43}\\t\\e\\cA", "ABCC\t\u{1b}\u{1}", true, &[Some("ABCC\t\u{1b}\u{1}")]),
    ("\\0377", "\u{ff}", true, &[Some("\u{ff}")]),
    ("\\0400", " 0", true, &[Some(" 0")]),
    ("\\uD83D\\uDE00", "\u{1f600}", true, &[Some("\u{1f600}")]),
    ("\\.\\*\\_\\-\\/", "..", false, &[]),
    ("\\.\\*\\_\\-\\/", "._", false, &[]),
    ("\\.\\*\\_\\-\\/", "x.*_-/y", false, &[Some(".*_-/")]),
    ("\\p{Lower}+", "ab\u{e4}", false, &[Some("ab")]),
    ("\\p{Punct}+", "!$_~", true, &[Some("!$_~")]),
    ("\\p{IsLatin}+", "ab\u{e4}", true, &[Some("ab\u{e4}")]),
    ("\\p{Lu}", "\u{c4}", true, &[Some("\u{c4}")]),
    ("\\pL+", "a\u{e4}", true, &[Some("a\u{e4}")]),
    ("\\P{L}+", "12a", false, &[Some("12")]),
    ("\\p{javaLowerCase}+", "a\u{e4}B", false, &[Some("a\u{e4}")]),
    ("\\p{IsAlphabetic}+", "a\u{e4}1", false, &[Some("a\u{e4}")]),
    ("\\p{script=Greek}", "\u{3b1}", true, &[Some("\u{3b1}")]),
    ("\\p{gc=Nd}", "5", true, &[Some("5")]),
    ("[\\p{L}&&[^a]]+", "abc", false, &[Some("bc")]),
    ("\\p{Alnum}+-\\p{XDigit}", "x9-F", true, &[Some("x9-F")]),
    ("\\p{javaWhitespace}", "\u{a0}", false, &[]),
    ("\\p{javaWhitespace}", "\u{1c}", true, &[Some("\u{1c}")]),
    ("\\p{L1}", "\u{ff}", true, &[Some("\u{ff}")]),
    ("\\p{L1}", "\u{100}", false, &[]),
    ("\\p{IsL}", "x", true, &[Some("x")]),
    ("(?U)\\p{Lower}", "\u{e4}", true, &[Some("\u{e4}")]),
    ("\\p{Graph}+", "a b", false, &[Some("a")]),
    ("(a)(b)?(c)", "ac", true, &[Some("ac"), Some("a"), None, Some("c")]),
    ("(?<y>\\d{4})-(?<m>\\d\\d)", "on 2024-05 x", false, &[Some("2024-05"), Some("2024"), Some("05")]),
    ("(\\w)\\1", "hello", false, &[Some("ll"), Some("l")]),
    ("(?<c>.)\\k<c>", "xaay", false, &[Some("aa"), Some("a")]),
    ("(?i)(a)\\1", "aA", true, &[Some("aA"), Some("a")]),
    ("(a)(b)\\11", "abab", false, &[]),
    ("(a)(b)\\11", "aba1", true, &[Some("aba1"), Some("a"), Some("b")]),
    ("(a|(b))*", "ba", true, &[Some("ba"), Some("a"), Some("b")]),
    ("(a)|b", "b", true, &[Some("b"), None]),
    ("foo(?=bar)", "foobar", false, &[Some("foo")]),
    ("foo(?=bar)", "foobaz", false, &[]),
    ("foo(?!bar)", "foobar", false, &[]),
    ("foo(?!bar)", "foobaz", false, &[Some("foo")]),
    ("(?<=a)b", "ab", false, &[Some("b")]),
    ("(?<=a)b", "cb", false, &[]),
    ("(?<!a)b", "ab", false, &[]),
    ("(?<!a)b", "cb", false, &[Some("b")]),
    ("(?<=a{1,3})b", "aab", false, &[Some("b")]),
    ("(?>a*)ab", "aab", false, &[]),
    ("a*+b", "aaab", true, &[Some("aaab")]),
    ("a*+a", "aaa", false, &[]),
    ("a++b", "aab", true, &[Some("aab")]),
    ("a?+a", "a", false, &[]),
    ("a?+a", "aa", true, &[Some("aa")]),
    ("a{1,2}+a", "aa", false, &[]),
    ("a{1,2}+a", "aaa", true, &[Some("aaa")]),
    ("(?:ab)*+c", "ababc", true, &[Some("ababc")]),
    ("(?!.*\\.tmp$).*", "a.log", true, &[Some("a.log")]),
    ("(?!.*\\.tmp$).*", "a.tmp", false, &[Some("tmp")]),
    ("^(?!DEBUG).*$", "INFO x", true, &[Some("INFO x")]),
    ("^(?!DEBUG).*$", "DEBUG x", false, &[]),
    ("^(?!DEBUG).*$", "INFO x\n", false, &[Some("INFO x")]),
    ("(?x) a b # c\n c", "abc", true, &[Some("abc")]),
    ("(?x)[a b]+", "a b", false, &[Some("a")]),
    ("(?x)a\\ b", "a b", true, &[Some("a b")]),
    ("(?x)\\Q \\E", " ", true, &[Some(" ")]),
    ("a{2}", "aaa", false, &[Some("aa")]),
    ("a{2,}", "aaaa", true, &[Some("aaaa")]),
    ("a{1,2}?", "aaa", false, &[Some("a")]),
    ("a+?", "aaa", true, &[Some("a")]),
    ("a??b", "ab", true, &[Some("ab")]),
    ("}", "}", true, &[Some("}")]),
    ("]", "]", true, &[Some("]")]),
    ("^*", "x", false, &[Some("")]),
    ("\\b+a", "a", true, &[Some("a")]),
    ("a|", "a", true, &[Some("a")]),
    ("a|", "", true, &[Some("")]),
    ("|a", "a", true, &[Some("")]),
    ("()", "", true, &[Some(""), Some("")]),
    ("(|a)+", "aa", true, &[Some(""), Some("")]),
    ("(?:)", "x", false, &[Some("")]),
    ("[[a]-c]", "-", true, &[Some("-")]),
    ("[a-c-e]+", "b-e", true, &[Some("b-e")]),
    ("\\d+(?:\\.\\d+)?", "3.14", true, &[Some("3.14")]),
    ("\\uFFFD", "\u{fffd}", true, &[Some("\u{fffd}")]),
    ("(?m)(.*)$", "ab\ncd", false, &[Some("ab"), Some("ab")]),
    ("[^a]*", "b\nc", true, &[Some("b\nc")]),
    ("\\Z\\n", "\n", true, &[Some("\n")]),
    ("[+--]+", "+,-", true, &[Some("+,-")]),
    ("[a-c&&b-d]+", "abcd", false, &[Some("bc")]),
    ("[^a&&b]+", "ab", true, &[Some("ab")]),
    ("\\cZ", "\u{1a}", true, &[Some("\u{1a}")]),
    ("[\\00-\\x20]", " ", true, &[Some(" ")]),
    ("(?i:a)b", "AB", false, &[]),
    ("(?i:a)b", "Ab", true, &[Some("Ab")]),
    ("(?-i)a", "A", false, &[]),
    ("(?)a", "a", true, &[Some("a")]),
    ("(?i-)a", "A", true, &[Some("A")]),
    ("(?<a1>x)", "x", true, &[Some("x"), Some("x")]),
    ("\\_", "_", true, &[Some("_")]),
    ("\\ ", " ", true, &[Some(" ")]),
    ("\\\u{e4}", "\u{e4}", true, &[Some("\u{e4}")]),
    ("(?u)a", "A", false, &[]),
    ("(?U:\\w)\\w", "\u{e4}\u{e4}", false, &[]),
    ("x{0}", "x", false, &[Some("")]),
];
#[rustfmt::skip]
const REPLACED: &[(&str, &str, &str, &str)] = &[
    ("x*", "-", "abc", "-a-b-c-"),
    ("x*", "-", "xab", "--a-b-"),
    ("(a)(b)?", "[$2$1]", "ab a", "[ba] [a]"),
    ("(?<n>\\d+)", "<${n}>", "a1b22", "a<1>b<22>"),
    ("a", "\\$1", "aaa", "$1$1$1"),
    ("(a)", "$10", "aa", "a0a0"),
    ("\\s+", "", " a  b ", "ab"),
    ("^", "> ", "ab", "> ab"),
    ("$", "!", "a\n", "a!\n!"),
    ("\\d{2}(\\d{2})", "**$1", "1234 5678", "**34 **78"),
    ("b", "\\\\", "abc", "a\\c"),
    ("", "-", "\u{e4}b", "-\u{e4}-b-"),
    ("(?m)^", "> ", "a\nb", "> a\n> b"),
    ("(?<=a)b", "x", "abab", "axax"),
    (".", "-", "a\u{1f600}b", "---"),
    ("z", "-", "abc", "abc"),
];

#[test]
fn replaces_as_java_does() {
    for (pattern, replacement, text, want) in REPLACED {
        let regex = compiled(pattern);
        let replacement = JavaReplacement::new(replacement).unwrap().resolve(&regex).unwrap();
        let got = regex.replace_all(text.as_bytes(), &replacement).unwrap();
        assert_eq!(got.as_deref().unwrap_or(text), *want, "{pattern:?} on {text:?}");
        assert_eq!(got.is_some(), regex.is_match(text.as_bytes()).unwrap());
    }
}

#[test]
fn says_what_is_not_supported_and_where() {
    let check = |pattern: &str, at: usize, what: &str| {
        let error = JavaRegex::new(pattern).expect_err(pattern);
        assert_eq!(error.at, at, "{error}");
        assert!(error.to_string().contains(what), "{error}");
    };
    check("a*b**", 5, "repetition of a repetition");
    check("a{2}{3}", 5, "repetition of a repetition");
    check("*a", 1, "`*` that repeats nothing");
    check("a|+", 3, "`+` that repeats nothing");
    check("a{", 2, "`{`");
    check("{a", 1, "`{`");
    check("a{,2}", 2, "`{`");
    check("x{3,1}", 2, "wrong way round");
    check("x{99999999999}", 2, "too large");
    check("ab(c", 3, "group without an end");
    check("ab)", 3, "`)` without a group");
    check("(?", 1, "group without an end");
    check("x[a", 2, "class without its `]`");
    check("[]", 1, "class without its `]`");
    check("[b-a]", 2, "wrong way round");
    check("[a-\\d]", 2, "wrong way round");
    check("[a&&]", 1, "`&&` with nothing behind it");
    check("[&&a]", 2, "`&&` with nothing before it");
    check("[a&&&b]", 5, "`&`");
    check("[\\b]", 2, "`\\b` in a class");
    check("ab\\", 3, "backslash");
    check("\\y", 1, "`\\y`");
    check("\\X", 1, "`\\X`");
    check("a\\G", 2, "`\\G`");
    check("\\N{DIGIT ONE}", 1, "`\\N`");
    check("\\E", 1, "`\\E`");
    check("a\\b{g}", 2, "`\\b{…}`");
    check("\\xz", 1, "hexadecimal");
    check("\\u12", 1, "hexadecimal");
    check("\\uD83D", 1, "surrogate");
    check("\\08", 1, "octal");
    check("é\\p{InGreek}", 2, "`\\p{InGreek}`");
    check("\\p{javaMirrored}", 1, "`\\p{javaMirrored}`");
    check("[\\P{Foo}]", 2, "`\\P{Foo}`");
    check("(?z)a", 3, "`(?z`");
    check("(?#c)a", 3, "`(?#`");
    check("(?'a'x)", 3, "`(?'`");
    check("(?P<a>x)", 3, "`(?P`");
    check("(?<1a>x)", 4, "group name");
    check("(?<a_b>x)", 5, "group name");
    check("(?<a>a)(?<a>b)", 8, "second group `a`");
    check("\\2(a)", 1, "group 2");
    check("\\k<x>(?<x>a)", 1, "`x`");
    check("(?=a)*b", 6, "look-around");
    check(&"(".repeat(5000), 101, "groups within each other");
    check(&"[".repeat(5000), 101, "classes within each other");
    check("(((a{99}){99}){99}){99}", 1, "too large");
}

#[test]
fn bad_bytes_are_replacement_characters() {
    let regex = compiled("a.b");
    assert!(regex.is_full_match(b"a\xffb").unwrap());
    let captures = compiled("(.)b").captures(b"a\xffb").unwrap().unwrap();
    assert_eq!((captures.group(1), captures.in_input()), (Some("\u{fffd}"), false));
    assert!(compiled("(.)b").captures(b"ab").unwrap().unwrap().in_input());
}

#[test]
fn a_pattern_that_backtracks_gives_up_in_bounded_time() {
    let regex = compiled("(?:(a|aa)+)+\\1z");
    assert_eq!(regex.is_match("a".repeat(200).as_bytes()), Err(GaveUp));
    assert_eq!(regex.is_match(b"aaaz"), Ok(true));
    // The linear engine does not mind.
    assert_eq!(compiled("(a|aa)+z").is_match("a".repeat(20_000).as_bytes()), Ok(false));
}

#[test]
fn names_and_groups() {
    let regex = compiled("(?<year>\\d+)-(\\d+)-(?<day>\\d+)");
    assert_eq!(regex.groups(), 3);
    assert_eq!(regex.names().collect::<Vec<_>>(), [("year", 1), ("day", 3)]);
    let captures = regex.full_captures(b"2024-05-06").unwrap().unwrap();
    assert_eq!(captures.group(3), Some("06"));
    assert_eq!(captures.group(4), None);
    assert_eq!(regex.full_captures(b"2024-05-06 ").unwrap(), None);
}

#[test]
fn replacements_are_checked() {
    let check = |pattern: &str, replacement: &str, what: &str| {
        let read = JavaReplacement::new(replacement);
        let error = read.and_then(|r| r.resolve(&compiled(pattern))).expect_err(replacement);
        assert!(error.to_string().contains(what), "{error}");
    };
    check("a", "x\\", "backslash");
    check("a", "$", "`$`");
    check("a", "$x", "`$`");
    check("a", "${1}", "`$`");
    check("a", "${x", "`$`");
    check("a", "$1", "no group 1");
    check("(a)", "$2", "no group 2");
    check("(?<y>a)", "${x}", "no group `x`");
}

#[test]
fn reads_from_a_section() {
    #[derive(serde::Deserialize)]
    struct Config {
        regex: JavaRegex,
    }
    let section = splashdam_config::Section::parse("regex = ^a\\\\d+$\n");
    let config: Config = section.read().into_result().unwrap();
    assert_eq!(config.regex.as_str(), "^a\\d+$");
    let section = splashdam_config::Section::parse("regex = a(?z)\n");
    let findings = section.read::<Config>().findings;
    assert!(
        findings[0].message.contains("`(?z`, which is not supported, at character 4"),
        "{findings:?}"
    );
    assert!(findings[0].is_error() && findings[0].span.is_some());
}

#[test]
fn any_pattern_is_taken_or_refused() {
    let pieces = [
        "a", "é", "(", ")", "[", "]", "^", "$", "\\", "|", "*", "+", "?", "{", "}", "1", ",", "-",
        "&&", "&", "(?", "<", ">", "=", "!", ":", "i", "x", "m", "#", " ", "\\Q", "\\E", "\\p",
        "\\u", "D83D", "\\k<a>", "(?<a>", "\\1", "\\R", ".", "\n",
    ];
    let random = splashdam_core::Random::new(4);
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..3000 {
        let pattern: String =
            (0..random.below(9)).map(|_| pieces[random.below(pieces.len())]).collect();
        match JavaRegex::new(&pattern) {
            Ok(regex) => {
                taken += 1;
                // Only that it ends matters here.
                drop(regex.captures("aé1\n<a>".as_bytes()));
                regex.is_full_match(b"a").ok();
            }
            Err(error) => {
                refused += 1;
                assert!(error.at <= pattern.chars().count() + 1, "{error}");
            }
        }
    }
    assert!(taken > 500 && refused > 500, "{taken} taken, {refused} refused");
}

#[test]
fn splits_as_java_does() {
    for (pattern, text, want) in [
        (",", "a,b", &["a", "b"][..]),
        (",", "a,,b,,", &["a", "", "b"]),
        (",", ",a", &["", "a"]),
        (",", "", &[""]),
        (",", ",", &[]),
        (" *", "ab c", &["a", "b", "", "c"]),
        ("", "abc", &["a", "b", "c"]),
        ("x", "abc", &["abc"]),
    ] {
        assert_eq!(compiled(pattern).split(text), want, "{pattern:?} on {text:?}");
    }
}
