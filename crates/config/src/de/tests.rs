//! What sections read as, and what is said about those that do not.

use std::collections::BTreeMap;
use std::num::{NonZeroU16, NonZeroUsize};

use serde::Deserialize;

use super::*;
use crate::source::Sources;
use crate::{Diagnostic, Severity};

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
struct Config {
    batch_size: NonZeroUsize,
    use_ip: bool,
    #[serde(rename = "keep-alive")]
    keep_alive: u32,
    #[serde(rename = "sink.rollInterval")]
    roll_interval: i64,
    hdfs: Hdfs,
    serializer: Section,
    headers: BTreeMap<String, String>,
    filegroups: Words,
    rules: CommaList,
    policy: Policy,
    ports: Vec<u16>,
    directory: Option<String>,
    ratio: f64,
    separator: char,
    max_penalty: Lenient<u32>,
    at: Spanned<u16>,
    #[serde(rename = ".tls")]
    tls: Tls,
    #[serde(alias = "oldName")]
    new_name: u8,
    selector: String,
    codec: Codec,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
struct Hdfs {
    path: String,
    roll_count: u64,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
struct Tls {
    ssl: bool,
    #[serde(rename = "keystore-password")]
    keystore_password: String,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename = "any case", rename_all = "UPPERCASE")]
enum Policy {
    Fail,
    #[serde(alias = "SKIP")]
    Ignore,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Codec {
    Line,
    Blob(Blob),
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
struct Blob {
    max_length: u32,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            batch_size: const { NonZeroUsize::new(100).unwrap() },
            use_ip: true,
            keep_alive: 3,
            roll_interval: 30,
            hdfs: Hdfs::default(),
            serializer: Section::empty(),
            headers: BTreeMap::new(),
            filegroups: Words::default(),
            rules: CommaList::default(),
            policy: Policy::Fail,
            ports: Vec::new(),
            directory: None,
            ratio: 0.0,
            separator: ',',
            max_penalty: Lenient(None),
            at: Spanned::from(0),
            tls: Tls::default(),
            new_name: 0,
            selector: "round_robin".to_owned(),
            codec: Codec::Line,
        }
    }
}

#[derive(Debug, Deserialize)]
struct Strict {
    bind: String,
    port: NonZeroU16,
    #[serde(default)]
    hdfs: Option<Path>,
}

#[derive(Debug, Deserialize)]
struct Path {
    path: String,
}

fn read<T: DeserializeOwned>(text: &str) -> Reading<T> {
    Section::parse(text).read()
}

/// `line:column severity code` of each finding.
fn places(text: &str, findings: &[Diagnostic]) -> Vec<String> {
    let sources: Sources = std::iter::once(crate::Source::new("t", text)).collect();
    let place = |finding: &Diagnostic| {
        let at = finding.span.and_then(|span| sources.locate(span)).map(|(_, at)| at);
        let at = at.map_or("-".to_owned(), |at| format!("{}:{}", at.line, at.column));
        format!("{at} {} {}", finding.severity.name(), finding.code)
    };
    findings.iter().map(place).collect()
}

#[test]
fn an_empty_section_is_the_defaults() {
    let reading: Reading<Config> = read("");
    assert_eq!(reading.findings, []);
    assert_eq!(reading.value, Some(Config::default()));
}

#[test]
fn every_kind_of_field_is_read() {
    let text = "\
type = x
channels = c1
selector.type = multiplexing
interceptors.i1.type = host
batchSize = +7
useIP = FALSE
useIp = TRUE
keep-alive = 9
sink.rollInterval = -1
hdfs.path = /x
hdfs.rollCount = 18446744073709551615
serializer = text
serializer.appendNewline = false
headers.f1.a.b = c
filegroups = f1   f2
rules = allow:ip:1 , deny:ip:*
policy = skip
ports = 1 22
directory = /tmp
ratio = 1.5e3
separator = \\u0001x
maxPenalty = 10
at = 443
ssl = true
keystore-password = s
oldName = 3
codec = blob
codec.maxLength = 5
";
    // The separator is trimmed by Flume's rule, and what is left is one character.
    let reading: Reading<Config> = read(text);
    assert_eq!(places(text, &reading.findings), ["6:1 warning unknown-key"]);
    let config = reading.value.unwrap();
    let want = Config {
        batch_size: NonZeroUsize::new(7).unwrap(),
        use_ip: true,
        keep_alive: 9,
        roll_interval: -1,
        hdfs: Hdfs { path: "/x".to_owned(), roll_count: u64::MAX },
        serializer: Section::parse("serializer = text\nserializer.appendNewline = false")
            .section("serializer"),
        headers: BTreeMap::from([("f1.a.b".to_owned(), "c".to_owned())]),
        filegroups: Words(vec!["f1".to_owned(), "f2".to_owned()]),
        rules: CommaList(vec!["allow:ip:1".to_owned(), "deny:ip:*".to_owned()]),
        policy: Policy::Ignore,
        ports: vec![1, 22],
        directory: Some("/tmp".to_owned()),
        ratio: 1500.0,
        separator: 'x',
        max_penalty: Lenient(Some(10)),
        at: Spanned::from(443),
        tls: Tls { ssl: true, keystore_password: "s".to_owned() },
        new_name: 3,
        selector: "round_robin".to_owned(),
        codec: Codec::Blob(Blob { max_length: 5 }),
    };
    assert_eq!(config, want);
    let span = config.at.span.unwrap();
    assert_eq!(&text[span.start..span.end], "443");
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    let cases: &[(&str, &[&str])] = &[
        ("batchSize = 0", &["1:13 error bad-value"]),
        (
            "batchSize = 30s\nkeep-alive = 5 # x\nratio = x",
            &["1:13 error bad-number", "2:14 error bad-number", "3:9 error bad-number"],
        ),
        (
            "batchsize = 3\nports = 1 99999\nfoo.bar = 1",
            &[
                "1:1 warning unknown-key",
                "2:11 error number-out-of-range",
                "3:1 warning unknown-key",
            ],
        ),
        ("useIp = yes", &["1:9 warning not-boolean"]),
        ("policy = never", &["1:10 error unknown-value"]),
        ("maxPenalty = ten", &["1:14 warning bad-number"]),
        ("separator = ab", &["1:13 error bad-value"]),
        ("hdfs.rolCount = 1", &["1:1 warning unknown-key"]),
        ("hdfs.rollCount = x", &["1:18 error bad-number"]),
        ("selector.x = 1", &[]),
        ("batchSize.x = 1", &["1:1 warning unknown-key"]),
        ("codec = blob", &["1:1 error missing-key"]),
        ("codec = blob\ncodec.maxLength = x", &["2:19 error bad-number"]),
    ];
    for (text, want) in cases {
        let reading: Reading<Config> = read(text);
        assert_eq!(places(text, &reading.findings), *want, "{text}: {:#?}", reading.findings);
        let failed = reading.findings.iter().any(|finding| finding.severity == Severity::Error);
        assert_eq!(reading.value.is_none(), failed, "{text}");
    }
}

#[test]
fn all_missing_keys_are_named() {
    let reading: Reading<Strict> = read("hdfs.x = 1\n");
    let messages: Vec<_> =
        reading.findings.iter().map(|finding| finding.message.as_str()).collect();
    assert_eq!(
        messages,
        [
            "source `test` needs the key `hdfs.path`",
            "source `test` needs the key `bind`",
            "source `test` needs the key `port`",
            "source `test` has no key `hdfs.x`",
        ]
    );
    let reading: Reading<Strict> = read("port = 70000\n");
    let codes: Vec<_> = reading.findings.iter().map(|finding| finding.code).collect();
    assert_eq!(codes, ["missing-key", "number-out-of-range"], "{:#?}", reading.findings);
    let strict: Strict = read("bind = x\nport = 1\nhdfs.path = y").into_result().unwrap();
    assert_eq!((strict.bind.as_str(), strict.port.get()), ("x", 1));
    assert_eq!(strict.hdfs.unwrap().path, "y");
}

#[test]
fn units_are_explained() {
    for (text, help) in [
        ("30s", "write 30 where the key counts seconds, 30000 where"),
        (
            "10m",
            "write 600 where the key counts seconds, 600000 where it counts milliseconds, 10485760 where",
        ),
        ("64MB", "write 67108864 where the key counts bytes"),
        ("1_000", "as in 1000"),
        ("1,000", "as in 1000"),
        ("\"5\"", "write 5 without them"),
        ("5 # five", "write `5`, the comment on a line of its own"),
        ("0x10", "in decimal"),
        ("99999999999999999999999999999999999999999999 days", "write digits only"),
    ] {
        let error = scalar::integer(text, 0, 100).unwrap_err();
        let finding = error.into_diagnostic(&Section::empty(), "x");
        assert!(
            finding.help.as_deref().is_some_and(|said| said.contains(help)),
            "{text}: {finding:#?}"
        );
    }
}

#[test]
fn suggestions_come_first_then_elsewhere() {
    let section = Section::parse("batchsize = 1\nspoolDir = /x\nkafka.acks = 1\n");
    let elsewhere =
        |key: &str| (key == "spoolDir").then(|| "a key of the spooldir source".to_owned());
    let reader = section.reader().elsewhere(&elsewhere).also_known(&["kafka"]);
    let reading: Reading<Config> = reader.subject("sink type `avro`").read();
    let helps: Vec<_> = reading.findings.iter().map(|finding| finding.help.as_deref()).collect();
    assert_eq!(helps, [Some("did you mean `batchSize`?"), Some("a key of the spooldir source")]);
    assert_eq!(reading.findings[0].message, "sink type `avro` has no key `batchsize`");
}

#[test]
fn the_newer_of_two_names_wins() {
    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(default, rename_all = "camelCase")]
    struct Aliased {
        #[serde(alias = "aOld", alias = "zOld")]
        name: u8,
        below: Option<Box<Aliased>>,
    }
    for (text, name, places_want) in [
        ("aOld = 1\nname = 2", 2, &["1:1 warning duplicate-key"][..]),
        ("name = 2\nzOld = 1", 2, &["2:1 warning duplicate-key"]),
        (
            "name = 2\nzOld = 1\naOld = 3",
            2,
            &["2:1 warning duplicate-key", "3:1 warning duplicate-key"],
        ),
        ("zOld = 1", 1, &[]),
        ("name = 2\nbelow.zOld = 1\nbelow.name = 3", 2, &["2:1 warning duplicate-key"]),
    ] {
        let reading: Reading<Aliased> = read(text);
        assert_eq!(places(text, &reading.findings), places_want, "{text}");
        let value = reading.value.unwrap();
        assert_eq!(value.name, name, "{text}");
        assert_eq!(value.below.map_or(3, |below| below.name), 3, "{text}");
    }
}

#[test]
fn configurations_without_keys_have_unknown_ones_too() {
    #[derive(Debug, Deserialize)]
    struct Nothing {}
    assert_eq!(places("x = 1", &read::<Nothing>("x = 1").findings), ["1:1 warning unknown-key"]);
    assert_eq!(
        places("x = 1", &read::<()>("x = 1\ntype = y").findings),
        ["1:1 warning unknown-key"]
    );
    let all: Reading<BTreeMap<String, String>> = read("x = 1\ny.z = 2");
    assert_eq!(all.findings, []);
    assert_eq!(all.value.unwrap()["y.z"], "2");
}

#[test]
fn limits_checked_on_reading_are_findings() {
    #[derive(Debug, Deserialize)]
    #[serde(try_from = "Raw")]
    struct Checked(u8);
    #[derive(Debug, Deserialize)]
    struct Raw {
        low: u8,
        high: u8,
    }
    impl TryFrom<Raw> for Checked {
        type Error = String;
        fn try_from(raw: Raw) -> Result<Self, String> {
            if raw.low > raw.high {
                Err("`low` is above `high`".to_owned())
            } else {
                Ok(Checked(raw.low))
            }
        }
    }
    let reading: Reading<Checked> = read("low = 2\nhigh = 1\nx = 1");
    assert_eq!(
        places("low = 2\nhigh = 1\nx = 1", &reading.findings),
        ["1:1 error bad-value", "3:1 warning unknown-key"]
    );
    assert_eq!(reading.findings[0].message, "`low` is above `high`");
    assert_eq!(read::<Checked>("low = 1\nhigh = 1").value.unwrap().0, 1);
}
