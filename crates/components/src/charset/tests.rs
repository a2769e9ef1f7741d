use super::OnMalformed::{Fail, Ignore, Replace};
use super::*;

fn charset(name: &str) -> Charset {
    Charset::named(name).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn knows_the_names_that_java_knows() {
    let check = |name: &str, want: &str| assert_eq!(charset(name).name(), want, "{name}");
    check("utf-8", "UTF-8");
    check("UTF8", "UTF-8");
    check("US-ASCII", "US-ASCII");
    check("iso-8859-1", "ISO-8859-1");
    check("ISO8859_1", "ISO-8859-1");
    check("Latin1", "ISO-8859-1");
    check("ISO-8859-15", "ISO-8859-15");
    check("ISO8859_15", "ISO-8859-15");
    check("8859_2", "ISO-8859-2");
    check("Cp1252", "windows-1252");
    check("windows-1251", "windows-1251");
    check("KOI8_R", "KOI8-R");
    check("SJIS", "Shift_JIS");
    check("MS932", "Shift_JIS");
    check("EUC_JP", "EUC-JP");
    check("GBK", "GBK");
    check("GB18030", "gb18030");
    check("Big5", "Big5");
    check("Cp866", "IBM866");
    check("UTF-16", "UTF-16");
    check("UTF-16LE", "UTF-16LE");
    check("x-MacRoman", "macintosh");
}

#[test]
fn says_why_a_charset_is_refused() {
    let check = |name: &str, want: &str| {
        let error = Charset::named(name).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains(want), "{error}");
    };
    check("UTF-32", "iconv");
    check("UTF-32LE", "iconv");
    check("Cp037", "EBCDIC");
    check("IBM1047", "EBCDIC");
    check("x-EBCDIC-US", "EBCDIC");
    check("IBM01140", "EBCDIC");
    check("Cp437", "DOS");
    check("IBM850", "DOS");
    check("UTF-7", "convert the input");
    check("ISO-2022-KR", "convert the input");
    check("utf 8", "not known");
    check("", "not known");
}

#[test]
fn text_goes_there_and_back() {
    let names = [
        ("UTF-8", "grün 漢字 🌲"),
        ("US-ASCII", "plain"),
        ("ISO-8859-1", "grün \u{80}\u{9f}ÿ"),
        ("windows-1252", "grün €"),
        ("UTF-16LE", "grün 漢字 🌲"),
        ("UTF-16BE", "grün 漢字 🌲"),
        ("Shift_JIS", "漢字 テスト"),
        ("EUC-JP", "漢字 テスト"),
        ("GB18030", "漢字 ü 🌲"),
        ("ISO-2022-JP", "漢字 ascii"),
        ("KOI8-R", "сплав леса"),
    ];
    for (name, text) in names {
        let charset = charset(name);
        let bytes = charset.encode(text);
        assert_eq!(charset.decode(&bytes, Fail).unwrap(), text, "{name}");
        // Piece by piece it is the same text, and the pieces join up.
        let (mut pieces, mut at) = (String::new(), 0);
        let walked = charset.walk(&bytes, &mut |range, piece| {
            assert_eq!(range.start, at, "{name}");
            at = range.end;
            pieces.push_str(piece.unwrap());
            ControlFlow::Continue(())
        });
        assert!(walked.is_continue());
        assert_eq!((pieces.as_str(), at), (text, bytes.len()), "{name}");
        assert_eq!(charset.prefix(&bytes, text.encode_utf16().count() + 1, Fail), None, "{name}");
    }
    assert_eq!(charset("UTF-16").encode("a"), [0xfe, 0xff, 0, b'a']);
}

#[test]
fn what_a_charset_lacks_becomes_a_question_mark() {
    let check = |name: &str, text: &str, want: &[u8]| {
        assert_eq!(charset(name).encode(text), want, "{name} {text}");
    };
    check("US-ASCII", "aü🌲b", b"a??b");
    check("ISO-8859-1", "ü€", &[0xfc, b'?']);
    check("windows-1252", "€漢", &[0x80, b'?']);
    check("Shift_JIS", "🌲x", b"?x");
}

#[test]
fn malformed_input_is_treated_as_asked() {
    let check = |name: &str, bytes: &[u8], at: usize, replaced: &str, ignored: &str| {
        let charset = charset(name);
        assert_eq!(charset.decode(bytes, Fail).unwrap_err().at, at, "{name}");
        assert_eq!(charset.decode(bytes, Replace).unwrap(), replaced, "{name}");
        assert_eq!(charset.decode(bytes, Ignore).unwrap(), ignored, "{name}");
    };
    check("UTF-8", b"ab\xff\xc3c\xe2\x82", 2, "ab\u{fffd}\u{fffd}c\u{fffd}", "abc");
    check("US-ASCII", b"a\xfcb", 1, "a\u{fffd}b", "ab");
    check("UTF-16LE", b"a\0\x00\xd8b\0", 2, "a\u{fffd}b", "ab");
    check("UTF-16BE", b"\0a\0", 2, "a\u{fffd}", "a");
    check("Shift_JIS", b"a\x81\x20b\x81", 1, "a\u{fffd} b\u{fffd}", "a b");
    check("EUC-JP", b"x\xff", 1, "x\u{fffd}", "x");
}

#[test]
fn a_prefix_ends_between_characters() {
    let check = |name: &str, text: &str, units: usize, want: Option<usize>| {
        let charset = charset(name);
        assert_eq!(charset.prefix(&charset.encode(text), units, Fail), want, "{name} {units}");
    };
    check("UTF-8", "abc", 2, Some(2));
    check("UTF-8", "aüb", 2, Some(3));
    check("UTF-8", "aüb", 3, Some(4));
    check("UTF-8", "aüb", 4, None);
    check("UTF-8", "🌲🌲", 1, Some(4));
    check("UTF-8", "🌲🌲", 3, Some(8));
    check("UTF-16LE", "a🌲b", 2, Some(6));
    check("Shift_JIS", "a漢字", 2, Some(3));
    check("Shift_JIS", "漢字", 3, None);
    check("ISO-8859-1", "üü", 1, Some(1));
    assert_eq!(Charset::UTF_8.prefix(b"\xff\xff\xff", 2, Replace), Some(2));
    assert_eq!(Charset::UTF_8.prefix(b"\xff\xff\xff", 2, Ignore), None);
}

#[test]
fn an_incomplete_character_at_the_end_is_left_over() {
    let check = |name: &str, bytes: &[u8], want: usize| {
        assert_eq!(charset(name).whole(bytes), want, "{name} {bytes:x?}");
    };
    check("UTF-8", b"ab", 2);
    check("UTF-8", b"a\xc3", 1);
    check("UTF-8", b"a\xc3\xbc", 3);
    check("UTF-8", b"a\xf0\x9f\x8c", 1);
    check("UTF-8", b"a\xff", 2);
    check("UTF-8", b"\x80\x80\x80\x80\x80", 5);
    check("UTF-16LE", b"a\0b", 2);
    check("UTF-16LE", b"a\0\x3c\xd8", 2);
    check("Shift_JIS", b"a\x8a", 1);
    check("ISO-8859-1", b"a\xfc", 2);
    check("UTF-8", b"", 0);
}

#[test]
fn control_characters_are_found_as_whole_units() {
    let check = |name: &str, bytes: &[u8], want: Option<usize>| {
        assert_eq!(charset(name).find(bytes, b'\n'), want, "{name} {bytes:x?}");
    };
    check("UTF-8", b"a\nb", Some(1));
    check("UTF-16LE", b"\x0a\x01\x0a\x00", Some(2));
    check("UTF-16LE", b"\x00\x0a\x00", None);
    check("UTF-16BE", b"\x0a\x00\x00\x0a", Some(2));
    check("UTF-16BE", b"\x0a", None);
    assert_eq!(charset("UTF-16LE").find_either(b"\x0d\0\x0a\0", b'\n', b'\r'), Some(0));
}

#[test]
fn the_mark_settles_the_byte_order() {
    let check = |name: &str, head: &[u8], want: (&str, usize)| {
        let (resolved, skip) = charset(name).resolve(head);
        assert_eq!((resolved.name(), skip), want, "{name} {head:x?}");
    };
    check("UTF-16", b"\xff\xfea\0", ("UTF-16LE", 2));
    check("UTF-16", b"\xfe\xff\0a", ("UTF-16BE", 2));
    check("UTF-16", b"\0a", ("UTF-16BE", 0));
    check("UTF-16LE", b"\xff\xfe", ("UTF-16LE", 0));
    check("UTF-8", b"\xef\xbb\xbf", ("UTF-8", 0));
}
