//! What is sent, and what Flume answers.

/// A request.
pub(super) struct Sent {
    /// Its first line.
    line: String,
    /// Header lines, but for the body's length.
    head: String,
    body: Vec<u8>,
    /// Whether the body is sent in chunks.
    chunked: bool,
    /// What is answered.
    pub(super) status: u16,
    /// How many events come of it.
    pub(super) events: u64,
}

impl Sent {
    fn post(body: impl Into<Vec<u8>>, status: u16, events: u64) -> Sent {
        Sent::to("/", body, status, events).with("Content-Type: application/json; charset=UTF-8")
    }

    fn to(target: &str, body: impl Into<Vec<u8>>, status: u16, events: u64) -> Sent {
        let line = format!("POST {target} HTTP/1.1");
        let head = "Host: localhost\r\nConnection: close\r\n".to_owned();
        Sent { line, head, body: body.into(), chunked: false, status, events }
    }

    /// One event of JSON under another content type.
    fn typed(kind: &str, body: impl Into<Vec<u8>>, status: u16, events: u64) -> Sent {
        Sent::to("/", body, status, events).with(&format!("Content-Type: {kind}"))
    }

    fn with(mut self, line: &str) -> Sent {
        self.head += &format!("{line}\r\n");
        self
    }

    fn line(mut self, line: &str) -> Sent {
        self.line = line.to_owned();
        self
    }

    fn chunked(mut self) -> Sent {
        self.chunked = true;
        self
    }

    pub(super) fn name(&self) -> String {
        let body = &self.body[..self.body.len().min(80)];
        format!("{} | {} | {}", self.line, self.head.escape_debug(), body.escape_ascii())
    }

    pub(super) fn request(&self) -> Vec<u8> {
        let Sent { line, head, body, .. } = self;
        if !self.chunked {
            let length = body.len();
            let mut all = format!("{line}\r\n{head}Content-Length: {length}\r\n\r\n").into_bytes();
            all.extend_from_slice(body);
            return all;
        }
        let mut all = format!("{line}\r\n{head}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
        for chunk in body.chunks(7) {
            all.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            all.extend_from_slice(chunk);
            all.extend_from_slice(b"\r\n");
        }
        all.extend_from_slice(b"0\r\n\r\n");
        all
    }
}

const ONE: &str = r#"[{"headers":{"a":"1"},"body":"x"}]"#;

/// To the JSON handler.
pub(super) fn json() -> Vec<Sent> {
    let mut cases: Vec<Sent> = Vec::new();
    for (body, events) in GOOD {
        cases.push(Sent::post(*body, 200, *events));
    }
    for body in NULLS {
        cases.push(Sent::post(*body, 500, 0));
    }
    for body in SYNTAX {
        cases.push(Sent::post(*body, 400, 0));
    }
    cases.push(Sent::post(&b"[{\"body\":\"bad \xff\xc3( end\xe2\x82\"}]"[..], 200, 1));
    cases.push(Sent::post(format!("[{{\"body\":\"{}\"}}]", "0123456789".repeat(20_000)), 200, 1));
    let many: Vec<String> = (0..50).map(|n| format!("{{\"body\":\"event {n}\"}}")).collect();
    cases.push(Sent::post(format!("[{}]", many.join(",")), 200, 50));
    let headers: Vec<String> = (0..30).map(|n| format!("\"h{n}\":\"{n}\"")).collect();
    cases.push(Sent::post(format!("[{{\"headers\":{{{}}}}}]", headers.join(",")), 200, 1));
    let deep = format!("[{{\"x\":{}{},\"body\":\"deep\"}}]", "[".repeat(500), "]".repeat(500));
    cases.push(Sent::post(deep, 200, 1));
    cases.extend(charsets());
    cases.extend(exchanges());
    cases
}

/// Bodies that are arrays of events, and how many.
const GOOD: &[(&str, u64)] = &[
    ("[]", 0),
    (" \r\n[ ]\t", 0),
    (ONE, 1),
    (r#"[{"headers":{"a":"1","b":"2"},"body":"x"},{"headers":{},"body":"y"}]"#, 2),
    ("[{}]", 1),
    (r#"[{"body":null}]"#, 1),
    (r#"[{"headers":null,"body":""}]"#, 1),
    (r#"[{"headers":{"n":1,"d":1.50,"t":true,"f":false,"e":-1e3}}]"#, 1),
    (r#"[{"headers":{"z":-0,"big":123456789012345678901234567890,"l":-9223372036854775808}}]"#, 1),
    (r#"[{"body":5},{"body":true},{"body":1.50},{"body":-0},{"body":1E5}]"#, 5),
    (r#"[{"x":{"y":[1,{"z":"}"}]},"body":"b","w":[[],[[]]],"v":null,"u":"u"}]"#, 1),
    (r#"[{"body":"first","body":"last"}]"#, 1),
    (r#"[{"body":"first","body":null}]"#, 1),
    (r#"[{"headers":{"a":"1"},"headers":{"b":"2"}}]"#, 1),
    (r#"[{"headers":[["a","1"],["b",2]]}]"#, 1),
    (r#"[{"headers":[]}]"#, 1),
    (r#"[{"headers":{"":"empty name","empty value":""}}]"#, 1),
    ("[{\"headers\":{\"gr\u{fc}n\":\"\u{4e16}\u{754c} \u{1f30a}\"},\"body\":\"h\u{e9}llo\"}]", 1),
    ("[{'headers':{'a':'it\\'s'},'body':'x'}]", 1),
    ("[{headers:{a:b,c:d},body:plain}]", 1),
    ("[{body=x;headers=>{a=b;c=d}}]", 1),
    ("[{'body':'x'};{'body':'y'}]", 2),
    ("/* c */ [ // d\n {#e\r\"body\": 'f'}\n/**/]", 1),
    (")]}'\n[{body:guarded}]", 1),
    ("\u{feff}[{body:marked}]", 1),
    ("[{body:TRUE},{body:False},{body:Null},{body:nul},{body:trueish}]", 5),
    (
        "[{body:007},{body:1.2.3},{body:NaN},{body:-Infinity},{body:0x10},{body:+1},{body:.5},{body:1.}]",
        8,
    ),
    (r#"[{"body":"\"\\\/\b\f\r\t\u0041\'"}]"#, 1),
    (r#"[{"body":"\ud83d\ude00 \u00e9 \uD83D\uDE00"}]"#, 1),
    (r#"[{"body":"a\ud83dz\ude00\ud83d\ud83d","headers":{"h\ud800":"\udc00v"}}]"#, 1),
    ("[{\"body\":\"tab\there\u{1}\"}]", 1),
    ("[{\"body\":\"two\nlines\"}]", 1),
    ("[{\"body\":\"x\\\ny\"}]", 1),
    (r#"[{"BODY":"no","Body":"no","headers ":{"a":"b"}}]"#, 1),
    (r#"[{"charset":"utf-16","body":"still UTF-8"}]"#, 1),
    (r#"[{"body":"a&b<c>\u003d"}]"#, 1),
    (r#"[{"\u0062ody":"escaped name"}]"#, 1),
];

/// Bodies that Flume's handler stumbles over.
const NULLS: &[&str] = &[
    "",
    "  \n",
    "null",
    "NULL",
    "null x",
    "// nothing",
    "[null]",
    "[{},]",
    "[,]",
    "[{},,{}]",
    r#"[{"body":"\uZZZZ"}]"#,
    r#"[{"headers":[[null,"x"]]}]"#,
];

/// Bodies that are no arrays of events.
const SYNTAX: &[&str] = &[
    "{}",
    "\"x\"",
    "5",
    "true",
    "nothing",
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
    "[{}]]",
    "[:]",
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
    r#"[{"headers":[["a"]]}]"#,
    r#"[{"headers":[["a","b","c"]]}]"#,
    r#"[{"headers":["a"]}]"#,
    r#"[{"a":1,}]"#,
    r#"[{,"a":1}]"#,
    r#"[{"a" 1}]"#,
    r#"[{"body":"\q"}]"#,
    r#"[{"body":"\u00"#,
    "[{headers:{a:b c:d}}]",
    "[{:1}]",
    "[{'it''s':1}]",
    "<events/>",
    "headers=a&body=b",
];

fn charsets() -> Vec<Sent> {
    let text =
        "[{\"headers\":{\"a\":\"gr\u{fc}n\"},\"body\":\"h\u{e9} \u{1f30a}\"},{\"body\":\"\"}]";
    let units: Vec<u16> = text.encode_utf16().collect();
    let big: Vec<u8> = units.iter().flat_map(|unit| unit.to_be_bytes()).collect();
    let little: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
    let wide = |bytes: fn(u32) -> [u8; 4]| -> Vec<u8> {
        text.chars().flat_map(|char| bytes(char.into())).collect()
    };
    let marked = |mark: &[u8], bytes: &[u8]| [mark, bytes].concat();
    let json = |charset: &str| format!("application/json; charset={charset}");
    vec![
        Sent::typed("application/json", text, 200, 2),
        Sent::typed("text/json", text, 200, 2),
        Sent::typed("text/plain; charset=utf-8", text, 200, 2),
        Sent::typed("Application/JSON;Charset=Utf-8", text, 200, 2),
        Sent::typed("application/json; charset=\"utf-8\"", text, 200, 2),
        Sent::typed("application/json; version=1; charset=utf-8", text, 200, 2),
        Sent::typed("application/x-www-form-urlencoded", ONE, 200, 1),
        Sent::typed("nonsense", ONE, 200, 1),
        Sent::to("/", ONE, 200, 1),
        Sent::typed(&json("UTF-16"), big.clone(), 200, 2),
        Sent::typed(&json("utf-16"), marked(b"\xfe\xff", &big), 200, 2),
        Sent::typed(&json("utf-16"), marked(b"\xff\xfe", &little), 200, 2),
        Sent::typed(&json("utf-16"), little, 400, 0),
        Sent::typed(&json("utf-32"), wide(u32::to_be_bytes), 200, 2),
        Sent::typed(&json("UTF-32"), marked(b"\xff\xfe\0\0", &wide(u32::to_le_bytes)), 200, 2),
        Sent::typed(&json("utf-16"), ONE, 400, 0),
        Sent::typed(&json("utf-16"), "", 500, 0),
        Sent::typed(&json("utf-8"), big, 400, 0),
        Sent::typed(&json("iso-8859-1"), ONE, 500, 0),
        Sent::typed(&json("us-ascii"), ONE, 500, 0),
        Sent::typed(&json("utf-16le"), ONE, 500, 0),
        Sent::typed(&json("klingon"), ONE, 500, 0),
        Sent::typed(&json("utf8"), ONE, 200, 1),
        Sent::typed(&json("utf16"), ONE, 400, 0),
        Sent::typed(&json("utf32"), ONE, 500, 0),
    ]
}

fn exchanges() -> Vec<Sent> {
    vec![
        Sent::post(ONE, 200, 1).line("POST /any/path?with=query HTTP/1.1"),
        Sent::post(ONE, 200, 1).line("POST /a;b=c/%20/x HTTP/1.1"),
        Sent::post(ONE, 200, 1).line("GET / HTTP/1.1"),
        Sent::post("", 500, 0).line("GET / HTTP/1.1"),
        Sent::post("", 500, 0).line("HEAD / HTTP/1.1"),
        Sent::post(ONE, 405, 0).line("PUT / HTTP/1.1"),
        Sent::post("", 405, 0).line("DELETE / HTTP/1.1"),
        Sent::post("", 403, 0).line("OPTIONS / HTTP/1.1"),
        Sent::post("", 403, 0).line("TRACE / HTTP/1.1"),
        Sent::post(ONE, 501, 0).line("PATCH / HTTP/1.1"),
        Sent::post(ONE, 501, 0).line("POSTED / HTTP/1.1"),
        Sent::post(ONE, 200, 1).line("POST / HTTP/1.0"),
        Sent::post(ONE, 200, 1).chunked(),
        Sent::post("[", 400, 0).chunked(),
        Sent::post("", 500, 0).chunked(),
        Sent::post(ONE, 200, 1).with("Expect: 100-continue"),
        Sent::post(ONE, 200, 1).with("X-Long: ").with(&format!("X-Other: {}", "x".repeat(4000))),
        Sent::post("", 500, 0).line("POST http://localhost/absolute HTTP/1.1"),
    ]
}

/// To the BLOB handler, which wants the parameter `a`.
pub(super) fn blob() -> Vec<Sent> {
    let form = "Content-Type: application/x-www-form-urlencoded";
    let binary: Vec<u8> = (0..=255).filter(|byte| *byte != b'\n').collect();
    vec![
        Sent::to("/?a=1", "whole body", 200, 1),
        Sent::to("/?a=1", "two\nlines", 200, 1),
        Sent::to("/?a=1", binary, 200, 1),
        Sent::to("/?a=1", "", 200, 1),
        Sent::to("/?a", "empty value", 200, 1),
        Sent::to("/?a=", "empty value", 200, 1),
        Sent::to("/?a=1&b=2&a=3", "first counts", 200, 1),
        Sent::to("/?b=2&c=3&a=gr%C3%BCn+und+%2B", "decoded", 200, 1),
        Sent::to("/?a=1&&b=2&", "empty parts", 200, 1),
        Sent::to("/?a=1=2", "two signs", 200, 1),
        Sent::to("/?a=1&=x", "no name", 200, 1),
        Sent::to("/path/to?a=1", "path", 200, 1),
        Sent::to("/?a=1", "x".repeat(300_000), 200, 1),
        Sent::to("/?a=1", "in chunks of seven", 200, 1).chunked(),
        Sent::to("/?a=1", "body", 200, 1).line("GET /?a=1 HTTP/1.1"),
        Sent::to("/?a=1", "", 200, 1).line("HEAD /?a=1 HTTP/1.1"),
        Sent::to("/?a=1", "not a list", 200, 1).with("Content-Type: application/json"),
        Sent::to("/?a=1", "text", 200, 1).with("Content-Type: text/plain; charset=utf-16"),
        Sent::to("/?a=1", "b=form", 200, 1).with(form),
        Sent::to("/?a=1", "b=%zz", 200, 1).with(form),
        Sent::to("/", "a=form", 500, 0).with(form),
        Sent::to("/", "nothing", 500, 0),
        Sent::to("/?", "nothing", 500, 0),
        Sent::to("/?A=1", "another case", 500, 0),
        Sent::to("/?b=1", "another", 500, 0),
        Sent::to("/?a=1", "", 405, 0).line("PUT /?a=1 HTTP/1.1"),
        Sent::to("/?a=1", "", 403, 0).line("OPTIONS /?a=1 HTTP/1.1"),
    ]
}

/// What is answered alike and gives other events.
pub(super) fn different() -> Vec<Sent> {
    vec![
        // Without a charset Flume reads what is not called JSON as ISO-8859-1.
        Sent::typed("text/plain", "[{\"body\":\"gr\u{fc}n\"}]", 200, 1),
        // A header may be null there.
        Sent::post(r#"[{"headers":{"a":null,"b":"1"},"body":"x"}]"#, 200, 1),
    ]
}
