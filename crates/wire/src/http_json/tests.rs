use proptest::prelude::*;

use super::*;

/// Events as `header=value,… body`, or the refusal's kind.
fn outcome(text: &str) -> Result<Vec<String>, &'static str> {
    outcome_in(text, Charset::Utf8)
}

fn outcome_in(text: &str, charset: Charset) -> Result<Vec<String>, &'static str> {
    let shown = |event: &Event| {
        let headers = event.headers.iter().map(|(name, value)| format!("{name}={value}"));
        format!("{} {}", headers.collect::<Vec<_>>().join(","), event.body.escape_ascii())
    };
    match read_events(&Bytes::copy_from_slice(text.as_bytes()), charset) {
        Ok(batch) => Ok(batch.events().iter().map(shown).collect()),
        Err(Refusal::Syntax(_)) => Err("syntax"),
        Err(Refusal::Unusable(_)) => Err("unusable"),
        Err(Refusal::TooMany) => Err("too many"),
    }
}

#[test]
fn events_are_read_as_gson_reads_them() {
    let check = |text: &str, want: &[&str]| {
        assert_eq!(outcome(text), Ok(want.iter().map(|&w| w.to_owned()).collect()), "{text}");
    };
    check("[]", &[]);
    check(r#"[{"headers":{"a":"1"},"body":"x"}]"#, &["a=1 x"]);
    check(r#"[{"body":"x"},{"headers":{"b":"2","c":"3"}},{}]"#, &[" x", "b=2,c=3 ", " "]);
    check(r#"[{"headers":null,"body":null}]"#, &[" "]);
    check(
        r#"[{"headers":{"n":1,"d":1.50,"t":true,"e":-1e3,"z":null},"body":7}]"#,
        &["n=1,d=1.50,t=true,e=-1e3 7"],
    );
    check(r#"[{"x":{"y":[1,{"z":"}"}]},"body":"b","w":[[],[[]]]}]"#, &[" b"]);
    check(r#"[{"body":"first","body":"last"}]"#, &[" last"]);
    check(r#"[{"headers":{"a":"1"},"headers":{"b":"2"}}]"#, &["b=2 "]);
    check(r#"[{"headers":{"a":null,"a":"1"}}]"#, &["a=1 "]);
    check(r#"[{"headers":[["a","1"],["b",2]]}]"#, &["a=1,b=2 "]);
    // Beyond JSON.
    check("\u{feff}[{'body':'x'}]", &[" x"]);
    check(")]}'\n[{body:plain}]", &[" plain"]);
    check("[{body=x;headers=>{a=b}}]", &["a=b x"]);
    check("/* c */ [ // d\n {#e\r\"body\": 'f'}\n]", &[" f"]);
    check("[{body:TRUE},{body:Null},{body:nul}]", &[" true", " ", " nul"]);
    check("[{body:007},{body:1.2.3},{\"body\":NaN}]", &[" 007", " 1.2.3", " NaN"]);
    check("[{\"body\":\"two\nlines\"}]", &[" two\\nlines"]);
    check("  [ ]  \r\n\t", &[]);
    // Escapes.
    check(r#"[{"body":"\"\\\/\b\f\n\r\t\u0041\'"}]"#, &[r#" \"\\/\x08\x0c\n\r\tA\'"#]);
    check(r#"[{"body":"\ud83d\ude00"}]"#, &[" \\xf0\\x9f\\x98\\x80"]);
    check(r#"[{"body":"a\ud83dz\ude00\ud83d\ud83d"}]"#, &[" a?z???"]);
    check("[{\"body\":\"x\\\ny\"}]", &[" x\\ny"]);
}

#[test]
fn what_is_no_array_of_events_is_refused() {
    let check = |text: &str, want: &'static str| assert_eq!(outcome(text), Err(want), "{text}");
    for text in ["", "  ", "null", "NULL x", "// nothing", "[null]", "[{},]", "[,]", "[{};{},,{}]"]
    {
        check(text, "unusable");
    }
    check(r#"[{"body":"\uZZZZ"}]"#, "unusable");
    check(r#"[{"headers":[[null,"x"]]}]"#, "unusable");
    let syntax = [
        "{}",
        "\"x\"",
        "5",
        "true",
        "]",
        "[",
        "[{",
        "[{}",
        "[}",
        "[[]]",
        "[1]",
        "[\"x\"]",
        "[{}] x",
        "[] []",
        "[] // comment",
        "[] # comment",
        "/* open",
        "[{} {}]",
        r#"[{"body":"x"}"#,
        r#"[{"body":"x]"#,
        r#"[{"body"}]"#,
        r#"[{"body":}]"#,
        r#"[{"body":,}]"#,
        r#"[{"body":["x"]}]"#,
        r#"[{"body":{"x":1}}]"#,
        r#"[{"headers":"x"}]"#,
        r#"[{"headers":5}]"#,
        r#"[{"headers":{"a":{"b":"c"}}}]"#,
        r#"[{"headers":{"a":["b"]}}]"#,
        r#"[{"headers":{"a":"1","a":"2"}}]"#,
        r#"[{"headers":{"a":"1","a":null}}]"#,
        r#"[{"headers":[["a"]]}]"#,
        r#"[{"headers":[["a","b","c"]]}]"#,
        r#"[{"headers":["a"]}]"#,
        r#"[{"headers":[["a","1"],["a","2"]]}]"#,
        r#"[{"a":1,}]"#,
        r#"[{,"a":1}]"#,
        r#"[{"a" 1}]"#,
        r#"[{"body":"\q"}]"#,
        r#"[{"body":"\u00"#,
        "[{\"body\":\"\\",
        "[{:1}]",
        "[{\"x\":[1}]}]",
    ];
    syntax.into_iter().for_each(|text| check(text, "syntax"));
    assert!(read_events(&Bytes::from_static(b"[{\"body\":\"\xff\"}]"), Charset::Utf8).is_err());
}

#[test]
fn bodies_are_in_the_charset_of_the_request_and_headers_are_not() {
    let check = |charset, want: &str| {
        let text = r#"[{"headers":{"a":"ü\ud800"},"body":"ü\ud800"}]"#;
        assert_eq!(outcome_in(text, charset), Ok(vec![format!("a=ü? {want}")]));
    };
    check(Charset::Utf8, r"\xc3\xbc?");
    check(Charset::Utf16, r"\xfe\xff\x00\xfc\xff\xfd");
    check(Charset::Utf32, r"\x00\x00\x00\xfc\x00\x00\xff\xfd");
}

#[test]
fn many_headers_are_told_apart() {
    let names: Vec<String> = (0..40).map(|n| format!("\"h{n}\":\"{n}\"")).collect();
    let text = |more: &str| format!("[{{\"headers\":{{{}{more}}}}}]", names.join(","));
    let batch = read_events(&text("").into(), Charset::Utf8).unwrap();
    assert_eq!(batch.events()[0].headers.len(), 40);
    assert_eq!(outcome(&text(",\"h3\":\"again\"")), Err("syntax"));
    assert_eq!(outcome(&text(",\"h39\":\"again\"")), Err("syntax"));
}

#[test]
fn what_it_takes_is_bounded() {
    let deep = format!("[{{\"x\":{}{}}}]", "[".repeat(1 << 20), "]".repeat(1 << 20));
    assert_eq!(outcome(&deep), Ok(vec![" ".to_owned()]));
    let many = format!("[{}{{}}]", "{},".repeat(MOST_ITEMS));
    assert_eq!(outcome(&many), Err("too many"));
}

#[test]
fn what_needs_no_unescaping_is_a_slice() {
    let text = Bytes::from_static(br#"[{"headers":{"name":"value"},"body":"payload"}]"#);
    let batch = read_events(&text, Charset::Utf8).unwrap();
    let within = |part: &[u8]| text.as_ptr_range().contains(&part.as_ptr());
    let event = &batch.events()[0];
    assert!(within(&event.body) && within(event.headers.get("name").unwrap().as_bytes()));
}

#[test]
fn lines_of_json_are_told_from_others() {
    for good in [r#"{"a":1}"#, " [1,2] ", "5", "\"x\"", "null"] {
        assert!(is_json(good.as_bytes()), "{good}");
    }
    for bad in ["", "{", "{'a':1}", "{} {}", "\u{feff}{}"] {
        assert!(!is_json(bad.as_bytes()), "{bad}");
    }
    for bad in [&b"\"\xff\""[..], b"{\"a\xc0\": 1}"] {
        assert!(!is_json(bad), "{bad:?}");
    }
}

proptest! {
    #[test]
    fn what_a_json_library_writes_is_read(
        events in prop::collection::vec((prop::collection::btree_map(".*", ".*", 0..4), ".*"), 0..5)
    ) {
        let written: Vec<_> = events
            .iter()
            .map(|(headers, body)| serde_json::json!({ "headers": headers, "body": body }))
            .collect();
        let text = serde_json::to_string(&written).unwrap();
        let batch = read_events(&text.into(), Charset::Utf8).unwrap();
        prop_assert_eq!(batch.len(), events.len());
        for (event, (headers, body)) in batch.events().iter().zip(&events) {
            prop_assert_eq!(&event.body, body.as_bytes());
            let want: Headers = headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            prop_assert_eq!(&event.headers, &want);
        }
    }
}
