//! `splashdam check` and `graph` over the examples: the broken ones get the findings that help,
//! the others none that count.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Broken examples there must be at least.
const BROKEN: usize = 30;

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples")
}

/// File names that end in `.conf`, by the alphabet.
fn files(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).expect("the examples are there");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("it can be listed").file_name().to_string_lossy().into_owned())
        .filter(|name| Path::new(name).extension().is_some_and(|ending| ending == "conf"))
        .collect();
    names.sort();
    names
}

fn splashdam(dir: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_splashdam"))
        .args(arguments)
        .current_dir(dir)
        .env_clear()
        .output()
        .expect("the program starts")
}

/// What was printed, and the exit status.
fn told(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!(text(&output.stderr), "", "nothing panics, nothing is said elsewhere");
    format!("{}exit {}\n", text(&output.stdout), output.status.code().unwrap_or(-1))
}

#[test]
fn broken_examples_get_findings_that_help() {
    let dir = examples().join("broken");
    let names = files(&dir);
    assert!(names.len() >= BROKEN, "only {} broken examples", names.len());
    for name in names {
        let output = splashdam(&dir, &["check", "--name", "a1", "--conf-file", &name]);
        insta::assert_snapshot!(name.trim_end_matches(".conf"), told(&output));
    }
}

#[test]
fn each_broken_example_has_a_finding_in_json_at_a_place() {
    let dir = examples().join("broken");
    for name in files(&dir) {
        let output =
            splashdam(&dir, &["check", "-n", "a1", "-f", &name, "--format", "json", "--strict"]);
        let report: serde_json::Value =
            serde_json::from_slice(&output.stdout).expect("the report is JSON");
        assert_eq!(output.status.code(), Some(1), "{name}: {report}");
        assert_eq!(report["agent"], "a1", "{name}");
        assert_eq!(report["files"][0], name.as_str());
        let findings = report["findings"].as_array().expect("findings are a list");
        let placed = findings.iter().filter(|finding| finding["line"].is_u64());
        assert!(placed.count() > 0, "{name}: {report}");
        let errors = findings.iter().filter(|finding| finding["severity"] == "error").count();
        assert_eq!(report["errors"], errors, "{name}");
    }
}

#[test]
fn examples_pass() {
    for name in files(&examples()) {
        let agents = agents(&examples().join(&name));
        for agent in &agents {
            // Without a name the only agent of a file is meant.
            let of = if agents.len() > 1 { vec!["-n", agent] } else { Vec::new() };
            let run =
                |command: &[&str]| splashdam(&examples(), &[command, &["-f", &name], &of].concat());
            let output = run(&["check"]);
            assert!(output.status.success(), "{name}:\n{}", told(&output));
            for format in ["text", "dot", "mermaid"] {
                let output = run(&["graph", "--format", format]);
                assert!(output.status.success(), "{name}:\n{}", told(&output));
                assert!(output.stdout.len() > 10, "{name}");
            }
        }
    }
}

#[test]
fn what_external_processes_promise_is_said() {
    let output = splashdam(&examples(), &["check", "-f", "external.conf"]);
    let text = told(&output);
    for says in [
        "at least once, also after a crash",
        "interceptor i1",
        "goes to the next one again, and into no channel before that",
        "a batch that the process has stored without having answered is delivered again",
        "goes to channel refused with the reason in its headers",
    ] {
        assert!(text.contains(says), "no {says:?} in\n{text}");
    }
}

/// Whose sources a file lists.
fn agents(file: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(file).expect("it can be read");
    let found: Vec<_> = text
        .lines()
        .filter_map(|line| {
            line.split_once(".sources ")?.1.trim_start().strip_prefix('=').and(line.split_once('.'))
        })
        .map(|(agent, _)| agent.to_owned())
        .collect();
    assert!(!found.is_empty(), "{}", file.display());
    found
}

#[test]
fn what_cannot_be_read_is_a_finding() {
    let dir = tempfile::tempdir().expect("there is room");
    let at = dir.path();
    let check = |arguments: &[&str]| {
        let output = splashdam(at, arguments);
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (status, text) = check(&["check", "-n", "a1", "-f", "missing.conf"]);
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("missing.conf"), "{text}");
    std::fs::write(at.join("noise.conf"), [0u8, 255, 10, 13, 27, 61, 200, 58]).expect("room");
    let (status, text) = check(&["check", "-n", "a1", "-f", "noise.conf"]);
    assert_eq!(status, Some(1), "{text}");
    assert!(!text.contains('\u{1b}'), "{text:?}");
    std::fs::write(at.join("two.conf"), "a.sources = r\nb.sources = r\n").expect("room");
    let (status, text) = check(&["check", "-f", "two.conf"]);
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("say which with --name: `a`, `b`"), "{text}");
    // UTF-16 with and without its mark, and bytes of anything.
    let words: Vec<u8> =
        "a1.sources = r1\na1.sinks = k1\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let marked = [&[255, 254][..], &words].concat();
    let bytes: Vec<u8> = (0..=255).cycle().take(4000).collect();
    for (content, says) in
        [(&words, "is UTF-16"), (&marked, "is UTF-16"), (&bytes, "is not a text")]
    {
        std::fs::write(at.join("wide.conf"), content).expect("room");
        for name in [&["check", "-f", "wide.conf"][..], &["check", "-n", "a1", "-f", "wide.conf"]] {
            let (status, text) = check(name);
            assert_eq!(status, Some(1), "{text}");
            assert!(text.contains(says) && text.contains("does not run: 1 error\n"), "{text}");
        }
    }
    assert_eq!(check(&["check"]).0, Some(2));
    assert_eq!(check(&["graph", "-n", "a1", "-f", "noise.conf"]).0, Some(1));
}

#[test]
fn nothing_that_a_terminal_acts_on_comes_out() {
    let dir = tempfile::tempdir().expect("there is room");
    let odd = "k\u{1b}]0;x\u{7}\\u009b";
    let text = format!(
        "a1.sources = r1\na1.channels = c1\na1.sinks = {odd} {odd}2\na1.sources.r1.type = seq\n\
         a1.sources.r1.channels = c1 {odd}\na1.sources.r1.{odd} = {odd}\n\
         a1.channels.c1.type = memory\na1.channels.c1.{odd} = 1\n\
         a1.sinks.{odd}.type = null\na1.sinks.{odd}.channel = c1\n\
         a1.sinks.{odd}2.type = {odd}\na1.sinks.{odd}2.channel = {odd}\n{odd} = {odd}\n"
    );
    // Among enough words it is no binary file.
    let text = text + "# " + &"words ".repeat(400) + "\n";
    std::fs::write(dir.path().join("odd.conf"), text).expect("there is room");
    for arguments in [
        &["check", "-n", "a1", "-f", "odd.conf"][..],
        &["check", "-n", "a1", "-f", "odd.conf", "--format", "json"],
        &["graph", "-n", "a1", "-f", "odd.conf"],
        &["graph", "-n", "a1", "-f", "odd.conf", "--format", "dot"],
        &["graph", "-n", "a1", "-f", "odd.conf", "--format", "mermaid"],
    ] {
        let output = splashdam(dir.path(), arguments);
        assert!(output.stdout.len() > 100, "{arguments:?}: {output:?}");
        for bytes in [output.stdout, output.stderr] {
            let text = String::from_utf8(bytes).expect("UTF-8");
            assert!(
                !text.contains(|c: char| c.is_control() && c != '\n'),
                "{arguments:?}: {text:?}"
            );
        }
    }
}

#[test]
fn of_hundreds_of_agents_only_some_are_named() {
    let dir = tempfile::tempdir().expect("there is room");
    let text: String = (0..300).map(|n| format!("x{n}z.sources = r\n")).collect();
    std::fs::write(dir.path().join("many.conf"), text).expect("there is room");
    for arguments in [
        &["check", "-f", "many.conf"][..],
        &["graph", "-f", "many.conf"],
        &["check", "-n", "nobody-like-that", "-f", "many.conf"],
    ] {
        let output = splashdam(dir.path(), arguments);
        let text = String::from_utf8([output.stdout, output.stderr].concat()).expect("UTF-8");
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains(" and 290 more") && text.len() < 2000, "{text}");
    }
}

#[cfg(unix)]
#[test]
fn a_link_named_flume_ng_speaks_like_the_script() {
    let dir = tempfile::tempdir().expect("there is room");
    let link = dir.path().join("flume-ng");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_splashdam"), &link).expect("it can be linked");
    let run = |arguments: &[&str], options: &str| {
        let output = Command::new(&link)
            .args(arguments)
            .env("FLUME_JAVA_OPTS", options)
            .current_dir(dir.path())
            .output()
            .expect("the program starts");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (status, text) = run(&["version"], "");
    assert_eq!(status, Some(0));
    assert!(text.starts_with("Flume 1.11.0\n"), "{text}");
    let (status, text) = run(&["agent", "-d", "-n", "a1", "-c", ".", "-f", "a b"], "-Dx=1 -Xmx1g");
    assert_eq!(status, Some(0));
    assert!(text.starts_with("splashdam agent -n a1 -c . -f 'a b' -Dx=1\n# -Xmx1g"), "{text}");
    assert_eq!(run(&["password"], "").0, Some(1));
}

#[test]
fn types_that_are_not_there_are_refused_by_name() {
    const FLOW: &str = "a1.sources = r1\na1.channels = c1\na1.sinks = k1\n\
                        a1.sources.r1.type = seq\na1.sources.r1.channels = c1\n\
                        a1.channels.c1.type = memory\n\
                        a1.sinks.k1.type = null\na1.sinks.k1.channel = c1\n";
    let dir = tempfile::tempdir().expect("there is room");
    let class = "org.apache.flume.";
    let check = |config: &str, says: &str| {
        let config = format!("{FLOW}{config}\n");
        std::fs::write(dir.path().join("flume.conf"), config).expect("there is room");
        let output = splashdam(dir.path(), &["check", "-n", "a1", "-f", "flume.conf"]);
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains(says), "{says}: {text}");
    };
    let types = [
        ("source", "sources.r1", ".source.kafka.KafkaSource"),
        ("channel", "channels.c1", ".channel.kafka.KafkaChannel"),
        (
            "sink",
            "sinks.k1",
            "hdfs hive morphline_solr \
             .sink.kafka.KafkaSink .sink.kudu.KuduSink",
        ),
    ];
    for (role, component, names) in types {
        for name in names.split_whitespace() {
            let name = name.strip_prefix('.').map_or(name.to_owned(), |n| format!("{class}{n}"));
            let says = format!("this version has no {role} of type `{name}` yet");
            check(&format!("a1.{component}.type = {name}"), &says);
        }
    }
    for (role, component, name) in [
        ("source", "sources.r1", "org.apache.flume.source.twitter.TwitterSource"),
        ("channel", "channels.c1", "JDBC"),
        ("sink", "sinks.k1", "elasticsearch"),
        ("sink", "sinks.k1", "org.apache.flume.sink.kite.DatasetSink"),
    ] {
        let config = format!("a1.{component}.type = {name}");
        check(&config, &format!("{role} type `{name}` is not served"));
        check(&config, "help: use `");
    }
    check("a1.sinks.k1.type = com.example.Sink", "use `external` with a program of your own");
    let morphline = "org.apache.flume.sink.solr.morphline.MorphlineInterceptor$Builder";
    check(
        &format!("a1.sources.r1.interceptors = i\na1.sources.r1.interceptors.i.type = {morphline}"),
        &format!("this version has no interceptor of type `{morphline}` yet"),
    );
}

#[test]
fn online_what_cannot_be_reached_is_an_error() {
    let dir = tempfile::tempdir().expect("there is room");
    // A port that nobody listens at any more.
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr());
    let port = port.expect("a port").port();
    let config = format!(
        "a1.sources = r1\na1.channels = c1\na1.sinks = k1\na1.sources.r1.type = seq\n\
         a1.sources.r1.channels = c1\na1.channels.c1.type = memory\na1.sinks.k1.type = hbase2\n\
         a1.sinks.k1.channel = c1\na1.sinks.k1.table = t\na1.sinks.k1.columnFamily = f\n\
         a1.sinks.k1.zookeeperQuorum = 127.0.0.1:{port}\n"
    );
    std::fs::write(dir.path().join("a.conf"), config).expect("room");
    let check = |more: &[&str]| {
        let output = splashdam(dir.path(), &[&["check", "-f", "a.conf"], more].concat());
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    assert_eq!(check(&[]).0, Some(0));
    let (status, text) = check(&["--online"]);
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("[unreachable]") && text.contains("sink k1"), "{text}");
}
