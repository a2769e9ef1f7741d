use super::fakes::checking;
use super::*;

/// An agent that nothing is wrong with; tests add lines, and the last of equal keys wins.
const GOOD: &str = "\
a1.sources = r1
a1.channels = c1
a1.sinks = k1
a1.sources.r1.type = seq
a1.sources.r1.channels = c1
a1.channels.c1.type = memory
a1.channels.c1.capacity = 1000
a1.sinks.k1.type = null
a1.sinks.k1.channel = c1
";

/// Source, channel and sink of a second way.
const SECOND: &str = "\
a1.sources = r1 r2
a1.channels = c1 c2
a1.sinks = k1 k2
a1.sources.r2.type = seq
a1.sources.r2.channels = c2
a1.channels.c2.type = memory
a1.sinks.k2.type = null
a1.sinks.k2.channel = c2
";

fn with(lines: &str) -> Checking {
    let mut checking = checking(&format!("{GOOD}{lines}"));
    // The plan says so of each line that a test overrides.
    checking.findings.retain(|finding| finding.code != "duplicate-key");
    checking
}

/// Names of sources, channels and groups with their sinks.
fn shape(checking: &Checking) -> String {
    let Some(checked) = &checking.checked else {
        return if checking.fatal { "fatal".into() } else { "idle".into() };
    };
    let sources = checked.sources.iter().map(|s| format!("{}>{}", s.name, s.channels.join("+")));
    let channels = checked.channels.iter().map(|c| c.name.to_string());
    let groups = checked.groups.iter().map(|group| {
        let sinks: Vec<_> =
            group.sinks.iter().map(|s| format!("{}<{}", s.name, s.channel)).collect();
        format!("{}:{}({})", group.name, group.processor.entry.name, sinks.join(","))
    });
    sources.chain(channels).chain(groups).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_good_agent_is_all_there() {
    let checking = with("");
    assert_eq!(checking.findings, []);
    assert!(!checking.fatal);
    assert_eq!(shape(&checking), "r1>c1 c1 k1:default(k1<c1)");
    let checked = checking.checked.unwrap();
    assert_eq!(checked.sources[0].selector.entry.name, "replicating");
    assert_eq!(checked.channel("c1").unwrap().part.facts.capacity_events, Some(1000));
    assert!(checked.groups[0].is_lone_sink());
}

/// What is left of the agent, and the codes of the findings.
#[test]
fn what_cannot_be_opened_is_left_out() {
    let left = |what: &str| format!("{what} r2>c2 c2 k2:default(k2<c2)");
    let one = [
        // (lines, what is left, codes)
        ("a1.sources.r1.type = avro", "fatal", "type-not-built"),
        ("a1.sources.r1.type = org.apache.flume.source.AvroSource", "fatal", "type-not-built"),
        ("a1.sources.r1.type = com.example.Mine", "fatal", "unknown-type"),
        ("a1.sinks.k1.type = hdfs", "fatal", "type-not-built"),
        ("a1.channels.c1.type = memroy", "fatal", "unknown-type"),
        ("a1.sources.r1.type = ORG.apache.flume.source.SequenceGeneratorSource", "", ""),
        ("a1.sources.r1.batchSize = 10k", "c1 k1:default(k1<c1)", "bad-number"),
        ("a1.sources.r1.batchSize = 101", "c1 k1:default(k1<c1)", "batch-exceeds-transaction"),
        ("a1.sources.r1.batchSize = 100", "", ""),
        (
            "a1.channels = c1 c9\na1.channels.c9.type = memory\na1.sinks.k1.deadLetter = c9\n\
             a1.channels.c9.transactionCapacity = 99",
            "r1>c1 c1",
            "batch-exceeds-transaction left-out",
        ),
        (
            "a1.channels = c1 c9\na1.channels.c9.type = memory\na1.sinks.k1.deadLetter = c9\n\
             a1.channels.c9.capacity = many",
            "r1>c1 c1",
            "bad-number left-out",
        ),
        ("a1.sinks.k1.batchSize = 101", "r1>c1 c1", "batch-exceeds-transaction"),
        ("a1.channels.c1.capacity = many", "idle", "bad-number left-out left-out nothing-left"),
        ("a1.sources.r1.selector.type = mine", "c1 k1:default(k1<c1)", "unknown-type"),
        ("a1.sources.r1.selector.optional = c9", "c1 k1:default(k1<c1)", "selector-channel"),
        (
            "a1.sources.r1.interceptors = i1\na1.sources.r1.interceptors.i1.type = mine",
            "c1 k1:default(k1<c1)",
            "unknown-type",
        ),
        (
            "a1.sources.r1.batchSize = x\na1.sinks.k1.batchSize = y",
            "idle",
            "bad-number bad-number left-out nothing-left",
        ),
    ];
    for (lines, shape_left, codes) in one {
        let checking = with(lines);
        let expected =
            if shape_left.is_empty() { "r1>c1 c1 k1:default(k1<c1)" } else { shape_left };
        assert_eq!(shape(&checking), expected, "{lines}");
        assert_eq!(codes_of(&checking), codes, "{lines}");
    }
    let checking = with(&format!("{SECOND}a1.channels.c1.capacity = many\n"));
    assert_eq!(shape(&checking), left("").trim_start());
    let checking =
        with(&format!("{SECOND}a1.sources.r1.channels = c1 c2\na1.channels.c1.capacity = many\n"));
    assert_eq!(shape(&checking), "r1>c2 r2>c2 c2 k2:default(k2<c2)");
    assert!(codes_of(&checking).contains("left-out"));
}

fn codes_of(checking: &Checking) -> String {
    checking.findings.iter().map(|finding| finding.code).collect::<Vec<_>>().join(" ")
}

#[test]
fn groups_go_on_with_what_is_left() {
    let group = "\
a1.sinks = k1 k2
a1.sinkgroups = g1
a1.sinkgroups.g1.sinks = k1 k2
a1.sinks.k2.type = null
a1.sinks.k2.channel = c1
";
    for (lines, expected) in [
        ("a1.sinkgroups.g1.processor.type = failover", "g1:failover(k1<c1,k2<c1)"),
        (
            "a1.sinkgroups.g1.processor.type = load_balance\na1.sinks.k1.batchSize = x",
            "g1:default(k2<c1)",
        ),
        (
            "a1.sinkgroups.g1.processor.type = failover\na1.sinks.k1.batchSize = x\n\
             a1.sinks.k2.batchSize = x",
            "",
        ),
        ("a1.sinkgroups.g1.processor.type = com.example.P", ""),
    ] {
        let checking = with(&format!("{group}{lines}\n"));
        assert_eq!(shape(&checking), format!("r1>c1 c1 {expected}").trim_end(), "{lines}");
    }
}

#[test]
fn findings_say_where_and_what_now() {
    for (lines, code, says) in [
        ("a1.sources.r1.type = memory", "unknown-type", "this is a channel type"),
        ("a1.sources.r1.type = hdfs", "unknown-type", "this is a sink type"),
        ("a1.sources.r1.type = tail-dir", "unknown-type", "did you mean `taildir`?"),
        ("a1.sinks.k1.type = fileroll", "unknown-type", "did you mean `file_roll`?"),
        ("a1.sinks.k1.type = com.example.S", "unknown-type", "splashdam runs no Java"),
        ("a1.sources.r1.type = kafka", "type-not-built", "`taildir`, `seq`"),
        ("a1.sources.r1.type = twitter", "type-not-served", "post to `http`"),
        ("a1.sources.r1.bachSize = 5", "unknown-key", "did you mean `batchSize`?"),
        ("a1.sinks.k1.sink.directory = /x", "unknown-key", "a key of the sink `file_roll`"),
        ("a1.sinks.k1.hdfs.path = /x", "unknown-key", "belong to the type `hdfs`"),
        ("a1.sinks.k1.positionFile = /x", "unknown-key", "a key of the source `taildir`"),
        (
            "a1.sources.r1.selector.type = multiplexing\na1.sources.r1.selector.mapping.A = c1 C1",
            "selector-channel",
            "did you mean `c1`?",
        ),
        (
            "a1.sinkgroups = g\na1.sinkgroups.g.sinks = k1\n\
             a1.sinkgroups.g.processor.type = failover\n\
             a1.sinkgroups.g.processor.priority.K1 = 5",
            "processor-sink",
            "did you mean `k1`?",
        ),
        ("a1.sinks.k1.batchSize = 500", "batch-exceeds-transaction", "`batchSize` to at most 100"),
        ("a1.sinks.k1.batchSize = x", "bad-number", "the agent runs without sink k1"),
    ] {
        let checking = with(lines);
        let finding = checking.findings.iter().find(|finding| finding.code == code);
        let finding = finding.unwrap_or_else(|| panic!("{lines}: {:?}", checking.findings));
        assert!(finding.span.is_some(), "{lines}");
        assert!(finding.component.is_some(), "{lines}");
        let text = format!("{finding:?}");
        assert!(text.contains(says), "{lines}: {text}");
    }
}

#[test]
fn parts_are_equal_when_they_say_the_same() {
    let checked = |lines: &str| with(lines).checked.unwrap();
    let base = checked("");
    assert_eq!(base, checked("# moved\na1.sources.r1.type = SEQ\na1.sources.r1.type = seq\n"));
    let other = checked("a1.sinks.k1.batchSize = 5");
    assert_ne!(base.groups, other.groups);
    assert_eq!(base.sources, other.sources);
    assert_eq!(base.channels, other.channels);
}

#[test]
fn what_is_left_out_is_named_with_its_reason() {
    let left_out = |lines: &str| -> Vec<String> {
        let checking = with(&format!("{SECOND}{lines}"));
        let checked = checking.checked.expect("the rest").without(&checking.findings);
        let said = checked
            .left_out
            .iter()
            .map(|one| format!("{} {}: {}", one.role.word(), one.name, one.why));
        said.collect()
    };
    let check = |lines: &str, want: &[&str]| {
        let got = left_out(lines);
        assert_eq!(got.len(), want.len(), "{lines}: {got:?}");
        for (got, want) in got.iter().zip(want) {
            assert!(got.starts_with(want), "{lines}: {got}");
        }
    };
    check("", &[]);
    check("a1.sources.r1.batchSize = 10k", &["source r1: "]);
    check("a1.sinks.k1.batchSize = 101", &["sink k1: sink k1 takes batches of 101 events"]);
    check("a1.sources.r1.channels = c9", &["source r1: source `r1` has no channel that exists"]);
    check("a1.sources = r1 r2 r3", &["source r3: source `r3` is listed but not defined"]);
    // Each with its own reason, errors first.
    check(
        "a1.channels.c1.capacity = many",
        &["channel c1: ", "source r1: source r1 is left out too", "sink k1: sink k1 is left out"],
    );
    // A warning, and one that runs without a part of it.
    check("a1.sources.r1.nonsense = 1", &[]);
    check("a1.sources.r1.channels = c1 c9", &[]);
    check(
        "a1.sinkgroups = g1\na1.sinkgroups.g1.sinks = k1 k2",
        &["sink group g1: sink group `g1` has no processor type"],
    );
}
