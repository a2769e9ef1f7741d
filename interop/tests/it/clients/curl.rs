//! curl posts to the HTTP source, in all the forms that it reads.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::side_by_side::{channel_and_sink, ours, program, wait_for};
use crate::syslog::events_of;
use splashdam_interop::Agent;

/// A request, and what it comes to: the source, curl's options, path and query, body, status, and
/// `{header=value} body` of each event.
type Case =
    (&'static str, &'static [&'static str], &'static str, Body, u16, &'static [&'static str]);

enum Body {
    Text(&'static str),
    /// The same, packed by `gzip`.
    Packed(&'static str),
    /// A text of so many bytes `x`.
    Long(usize),
}

const JSON_BODY: &str = r#"[{"headers":{"a":"b"},"body":"one"},{"body":"gr\u00fcn"}]"#;
const JSON: &[&str] = &["-H", "Content-Type: application/json"];
const TEXT: &[&str] = &["-H", "Content-Type: text/plain"];
const NDJSON: &[&str] = &["-H", "Content-Type: application/x-ndjson"];
const PACKED: &[&str] =
    &["-H", "Content-Type: application/json", "-H", "Content-Encoding: gzip", "--http1.0"];
const CHUNKED: &[&str] =
    &["-H", "Content-Type: application/json", "-H", "Transfer-Encoding: chunked"];
const EXPECTING: &[&str] = &["-H", "Content-Type: text/plain", "-H", "Expect: 100-continue"];
const GOT: &[&str] = &["{a=b} one", "{} gr\u{fc}n"];

const CASES: &[Case] = &[
    ("flume", JSON, "", Body::Text(JSON_BODY), 200, GOT),
    // Without options curl says that it is a form.
    ("flume", &[], "any/path", Body::Text(JSON_BODY), 200, GOT),
    ("flume", CHUNKED, "", Body::Text(JSON_BODY), 200, GOT),
    ("flume", PACKED, "", Body::Packed(JSON_BODY), 200, GOT),
    ("flume", JSON, "", Body::Text("{"), 400, &[]),
    ("flume", JSON, "", Body::Long(2_000_000), 400, &[]),
    ("flume", PACKED, "", Body::Text(JSON_BODY), 400, &[]),
    ("flume", &["-X", "PUT"], "", Body::Text(JSON_BODY), 405, &[]),
    ("auto", JSON, "", Body::Text(JSON_BODY), 200, GOT),
    ("auto", PACKED, "", Body::Packed(JSON_BODY), 200, GOT),
    (
        "auto",
        NDJSON,
        "?host=mill",
        Body::Text("{\"a\": 1}\n\n[2]\r\n"),
        200,
        &["{host=mill} {\"a\": 1}", "{host=mill} [2]"],
    ),
    ("auto", NDJSON, "", Body::Text("{\"a\": 1}\nx\n"), 400, &[]),
    (
        "auto",
        TEXT,
        "?host=mill&b=c%20d",
        Body::Text("one\ntwo"),
        200,
        &["{b=c d, host=mill} one", "{b=c d, host=mill} two"],
    ),
    ("auto", EXPECTING, "", Body::Text("one"), 200, &["{} one"]),
    ("whole", &[], "?name=x", Body::Text("one\ntwo\n"), 200, &["{name=x} one\ntwo\n"]),
    (
        "blob",
        TEXT,
        "?name=x",
        Body::Text("0123456789abc"),
        200,
        &["{Content-Type=text/plain, name=x} 0123456789"],
    ),
];

/// Sources, and what they say of the handler.
const SOURCES: &[(&str, &str)] = &[
    ("flume", "handler = org.apache.flume.source.http.JSONHandler"),
    ("auto", "handler = auto"),
    (
        "whole",
        "handler = org.apache.flume.source.http.BLOBHandler\nhandler.mandatoryParameters = name",
    ),
    ("blob", "handler = blob\nhandler.maxBlobLength = 10"),
];

impl Body {
    fn bytes(&self, gzip: &Path) -> Result<Vec<u8>> {
        Ok(match self {
            Body::Text(text) => text.as_bytes().to_vec(),
            Body::Packed(text) => piped(Command::new(gzip).arg("-c"), text.as_bytes())?,
            Body::Long(length) => vec![b'x'; *length],
        })
    }
}

/// What a program makes of `input`.
fn piped(command: &mut Command, input: &[u8]) -> Result<Vec<u8>> {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut stdin = child.stdin.take().context("no standard input")?;
    let input = input.to_vec();
    // It may not read all of it.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output()?;
    writer.join().ok();
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(output.stdout)
}

#[test]
fn curl_posts() -> Result<()> {
    let Some((ours, _turn)) = ours() else { return Ok(()) };
    let (Some(curl), Some(gzip)) = (program("curl", "curl"), program("gzip", "gzip")) else {
        return Ok(());
    };
    let dir = tempfile::tempdir()?;
    let mut config = String::new();
    for (number, (name, keys)) in (1..).zip(SOURCES) {
        fs::create_dir(dir.path().join(format!("k{number}")))?;
        config += &channel_and_sink(number, "avro_event");
        let all = format!("{keys}\ntype = http\nbind = 127.0.0.1\nport = 0\nchannels = c{number}");
        for line in all.lines() {
            config += &format!("a1.sources.{name}.{line}\n");
        }
    }
    config +=
        "a1.sources = flume auto whole blob\na1.channels = c1 c2 c3 c4\na1.sinks = k1 k2 k3 k4\n";
    let config = config.replace("{dir}", &dir.path().display().to_string());
    let mut agent = Agent::start(&ours, dir.path(), &config)?;
    for (source, options, path, body, status, _) in CASES {
        let port = agent.listening(source)?[0].port();
        let mut command = Command::new(&curl);
        command.args(["--silent", "--show-error", "--max-time", "60", "--output", "/dev/null"]);
        command.args(["--noproxy", "*", "--write-out", "%{http_code}", "--data-binary", "@-"]);
        command.args(*options).arg(format!("http://127.0.0.1:{port}/{path}"));
        let said = piped(&mut command, &body.bytes(&gzip)?)?;
        let said = String::from_utf8_lossy(&said);
        assert_eq!(said, status.to_string(), "{source} {options:?} {path}");
    }
    for (number, (name, _)) in (1..).zip(SOURCES) {
        let of = CASES.iter().filter(|(source, ..)| source == name);
        let want: Vec<&str> = of.flat_map(|(.., events)| events.iter().copied()).collect();
        let sink = format!("k{number}");
        wait_for(&mut agent, &sink, want.len() as u64)?;
        let got = events_of(&dir.path().join(&sink))?;
        let shown = |(headers, body): &(std::collections::BTreeMap<String, String>, Vec<u8>)| {
            let headers: Vec<_> =
                headers.iter().map(|(name, value)| format!("{name}={value}")).collect();
            format!("{{{}}} {}", headers.join(", "), String::from_utf8_lossy(body))
        };
        assert_eq!(got.iter().map(shown).collect::<Vec<_>>(), want, "{name}");
    }
    agent.stop()?;
    Ok(())
}
