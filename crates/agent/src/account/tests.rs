use super::*;
use crate::checked::fakes::checking;

const GOOD: &str = "\
a1.sources = r1
a1.channels = c1
a1.sinks = k1
a1.sources.r1.type = taildir
a1.sources.r1.channels = c1
a1.channels.c1.type = file
a1.sinks.k1.type = file_roll
a1.sinks.k1.channel = c1
";

fn with(lines: &str) -> Account {
    let checking = checking(&format!("{GOOD}{lines}"));
    account(&checking.checked.unwrap_or_else(|| panic!("{:?}", checking.findings)))
}

#[test]
fn a_flow_is_as_good_as_its_weakest_part() {
    for (lines, promise) in [
        ("", Promise::AtLeastOnce),
        ("a1.channels.c1.type = memory\na1.channels.c1.capacity = 1000", Promise::WhileRunning),
        ("a1.sources.r1.type = seq\n", Promise::BestEffort),
        ("a1.sources.r1.selector.optional = c1\n", Promise::BestEffort),
    ] {
        let account = with(lines);
        assert_eq!(account.flows.len(), 1, "{lines}");
        assert_eq!(account.flows[0].promise, promise, "{lines}");
    }
    let account = with("a1.channels.c1.type = memory");
    let crash = &account.flows[0].process_crash;
    assert_eq!(crash[0].at, "source r1");
    assert_eq!(crash[1].says, "everything in the channel is lost, at most 100 events");
    assert_eq!(account.memory.bytes, 1 << 20);
    assert_eq!(with("").memory.unknown_channels, ["c1"]);
}

#[test]
fn flows_fan_out_and_end_where_nothing_drains() {
    let account = with(
        "\
a1.channels = c1 c2 c3
a1.sinks = k1 k2 k3
a1.sources.r1.channels = c1 c2
a1.channels.c2.type = memory
a1.channels.c3.type = file
a1.sinks.k2.type = null
a1.sinks.k2.channel = c1
a1.sinks.k3.type = null
a1.sinks.k3.channel = c3
a1.sinkgroups = g1
a1.sinkgroups.g1.sinks = k1 k2
a1.sinkgroups.g1.processor.type = failover
",
    );
    let ways: Vec<String> = account
        .flows
        .iter()
        .map(|flow| {
            let name = |station: &Option<Station>| {
                station.as_ref().map_or("-".to_owned(), |station| station.name.clone())
            };
            let sinks: Vec<&str> = flow.sinks.iter().map(|sink| sink.name.as_str()).collect();
            let (source, group) = (name(&flow.source), name(&flow.group));
            format!("{source} {} {group} {}", flow.channel.name, sinks.join(","))
        })
        .collect();
    assert_eq!(ways, ["r1 c1 g1 k1,k2", "r1 c2 - ", "- c3 - k3"]);
    assert_eq!(account.flows[0].selector, Some("replicating"));
}

#[test]
fn combinations_are_found_where_they_are_and_only_there() {
    const SECOND_SINK: &str = "a1.sinks = k1 k2\na1.sinks.k2.channel = c1\n";
    const SECOND_CHANNEL: &str = "a1.channels = c1 c2\na1.channels.c2.type = file\n";
    const MEMORY: &str = "a1.channels.c1.type = memory\na1.channels.c1.capacity = 1000\n";
    for (lines, codes) in [
        (String::new(), ""),
        (MEMORY.to_owned(), "volatile-channel"),
        (format!("{MEMORY}a1.sources.r1.type = seq\na1.sinks.k1.sink.batchSize = 19"), ""),
        (format!("{MEMORY}a1.sources.r1.type = seq"), "small-batches"),
        (format!("{MEMORY}a1.channels.c1.capacity = 199"), "tight-channel volatile-channel"),
        (format!("{MEMORY}a1.channels.c1.capacity = 200"), "volatile-channel"),
        (format!("{SECOND_SINK}a1.sinks.k2.type = null"), "shared-channel"),
        (
            format!("{SECOND_SINK}a1.sinks.k2.type = file_roll\na1.sinks.k2.sink.directory = /b"),
            "shared-channel",
        ),
        (format!("{SECOND_SINK}a1.sinks.k2.type = file_roll"), "shared-channel shared-place"),
        (format!("{SECOND_CHANNEL}a1.sources.r1.channels = c1 c2"), "no-sink"),
        (
            format!(
                "{SECOND_CHANNEL}{SECOND_SINK}a1.sinks.k2.type = null\na1.sinks.k2.channel = c2\n\
                 a1.sources.r1.channels = c1 c2\na1.sinkgroups = g\na1.sinkgroups.g.sinks = k1 k2\n\
                 a1.sinkgroups.g.processor.type = failover\n"
            ),
            "scattered-group",
        ),
        ("a1.sinks.k1.sink.serializer.appendNewline = false".to_owned(), "no-newline"),
        ("a1.sinks.k1.sink.serializer.appendNewline = True".to_owned(), ""),
        ("a1.sinks.k1.sink.directory = /x/%Y".to_owned(), "header-never-set"),
        (
            "a1.sinks.k1.sink.directory = /x/%Y\na1.sources.r1.interceptors = i\n\
             a1.sources.r1.interceptors.i.type = timestamp"
                .to_owned(),
            "",
        ),
        (
            "a1.sinks.k1.sink.directory = /x/%Y\na1.sources.r1.interceptors = i\n\
             a1.sources.r1.interceptors.i.type = timestamp\n\
             a1.sources.r1.interceptors.i.headerName = t"
                .to_owned(),
            "header-never-set",
        ),
        (
            "a1.sources.r1.selector.type = multiplexing\na1.sources.r1.selector.mapping.A = c1"
                .to_owned(),
            "header-never-set",
        ),
        (
            "a1.sources.r1.selector.type = multiplexing\na1.sources.r1.selector.mapping.A = c1\n\
             a1.sources.r1.selector.header = timestamp\na1.sources.r1.selector.default = c1\n\
             a1.sources.r1.interceptors = i\na1.sources.r1.interceptors.i.type = timestamp"
                .to_owned(),
            "",
        ),
        (
            "a1.sources = r1 r2\na1.sources.r2.type = taildir\na1.sources.r2.channels = c1"
                .to_owned(),
            "shared-place",
        ),
        (
            "a1.sources = r1 r2\na1.sources.r2.type = taildir\na1.sources.r2.channels = c1\n\
             a1.sources.r2.positionFile = /p2"
                .to_owned(),
            "",
        ),
        (
            "a1.channels = c1 c2\na1.channels.c2.type = memory\na1.channels.c2.capacity = 1000\n\
             a1.sinks.k1.channel = c2"
                .to_owned(),
            "no-sink no-source",
        ),
        (format!("{SECOND_CHANNEL}a1.sinks.k1.deadLetter = c2\n"), "no-sink"),
        ("a1.sinks.k1.sink.directory = /once".to_owned(), ""),
        (format!("{MEMORY}a1.sinks.k1.sink.directory = /once"), "volatile-channel no-place"),
        (
            format!(
                "{SECOND_CHANNEL}{SECOND_SINK}a1.sinks.k1.deadLetter = c2\n\
                a1.channels.c2.type = memory\na1.channels.c2.capacity = 1000\n\
                a1.sinks.k2.type = null\na1.sinks.k2.channel = c2"
            ),
            "",
        ),
        (
            format!(
                "{SECOND_CHANNEL}{SECOND_SINK}a1.sinks.k1.deadLetter = c2\n\
                a1.sinks.k2.type = file_roll\na1.sinks.k2.sink.directory = /b\n\
                a1.sinks.k2.channel = c2\na1.sinks.k2.deadLetter = c1"
            ),
            "dead-letter-circle dead-letter-circle",
        ),
        (
            format!(
                "{SECOND_CHANNEL}{SECOND_SINK}a1.sinks.k1.type = null\n\
                a1.sinks.k1.deadLetter = c2\n\
                a1.sinks.k2.type = null\na1.sinks.k2.channel = c2"
            ),
            "dead-letter-unused",
        ),
    ] {
        let account = with(&lines);
        let found: Vec<&str> = account.findings.iter().map(|finding| finding.code).collect();
        assert_eq!(found.join(" "), codes, "{lines}");
        assert!(account.findings.iter().all(|finding| finding.span.is_some()), "{lines}");
    }
}

#[test]
fn what_a_sink_rejects_is_accounted_for() {
    let says = |account: &Account| {
        account.flows[0].rejects.iter().map(|clause| clause.says.clone()).collect::<Vec<_>>()
    };
    assert_eq!(says(&with("a1.sinks.k1.type = null")), [""; 0]);
    assert_eq!(says(&with("")), ["what it cannot write holds it"]);
    let account =
        with("a1.channels = c1 c9\na1.channels.c9.type = file\na1.sinks.k1.deadLetter = c9");
    assert!(says(&account)[0].ends_with("it is in one of them and never in both"), "{account:?}");
    let elsewhere = with(
        "a1.channels = c1 c9\na1.channels.c9.type = file\na1.channels.c9.dataDirs = /d\na1.sinks.k1.deadLetter = c9",
    );
    assert!(says(&elsewhere)[0].ends_with("puts it there again"), "{elsewhere:?}");
    let apart = with(
        "a1.channels = c1 c9\na1.channels.c9.type = file\na1.channels.c9.apart = true\na1.sinks.k1.deadLetter = c9",
    );
    assert!(says(&apart)[0].ends_with("puts it there again"), "{apart:?}");
    assert_eq!(account.flows[1].source, None);
    assert_eq!(account.flows[1].rejected_by[0].name, "k1");
}

/// Two channels that one source feeds.
const TWO: &str = "\
a1.channels = c1 c2
a1.sources.r1.channels = c1 c2
a1.channels.c1.dataDirs = /x,/y
a1.channels.c2.type = file
a1.sinks = k1 k2
a1.sinks.k2.type = null
a1.sinks.k2.channel = c2
";

#[test]
fn channels_of_one_log_agree_or_it_is_said() {
    for (lines, keys) in [
        ("a1.channels.c2.dataDirs = /y, /x", &[][..]),
        ("a1.channels.c2.dataDirs = /z\na1.channels.c2.onDamage = halt", &[]),
        ("a1.channels.c2.dataDirs = /x,/y\na1.channels.c2.capacity = 5", &[]),
        (
            "a1.channels.c2.dataDirs = /y,/x\na1.channels.c1.onDamage = halt\na1.channels.c2.compression = lz4",
            &["onDamage", "compression"],
        ),
        ("a1.channels.c2.dataDirs = /y,/x/\na1.channels.c2.onDamage = halt", &["onDamage"]),
        ("a1.channels.c2.dataDirs = /y,/x\na1.channels.c2.onDamage = quarantine", &[]),
    ] {
        let account = with(&format!("{TWO}{lines}"));
        let found: Vec<&str> = account
            .findings
            .iter()
            .filter(|finding| finding.code == "shared-log-differs")
            .map(|finding| finding.message.rsplit('`').nth(1).unwrap_or_default())
            .collect();
        assert_eq!(found, keys, "{lines}");
    }
}

#[test]
fn directories_that_are_in_the_way_of_others_are_named() {
    for (lines, said) in [
        ("a1.channels.c2.dataDirs = /y/, /x", &[][..]),
        ("a1.channels.c2.dataDirs = /z\na1.channels.c2.checkpointDir = /x/c", &[]),
        ("", &[]),
        ("a1.channels.c2.dataDirs = /z, /w, /z/.", &["`dataDirs` names /z twice"]),
        (
            "a1.channels.c2.dataDirs = /y/",
            &["channels c1 and c2 share /y and not all of their `dataDirs`"],
        ),
        (
            "a1.channels.c2.dataDirs = /z\na1.channels.c2.checkpointDir = /x/",
            &["`checkpointDir` /x is among the `dataDirs` of channel c1"],
        ),
        (
            "a1.channels.c2.dataDirs = /z\na1.channels.c2.checkpointDir = /z",
            &["`checkpointDir` /z is among the `dataDirs` of this channel"],
        ),
    ] {
        let account = with(&format!("{TWO}{lines}"));
        let found = account.findings.iter().filter(|finding| finding.code == "shared-place");
        let found: Vec<&str> = found.map(|finding| finding.message.as_str()).collect();
        assert_eq!(found, said, "{lines}");
    }
}

#[test]
fn what_components_claim_is_compared_whatever_their_types() {
    const TAIL: &str = "a1.sources = r1 r2 r3\na1.sources.r2.type = taildir\n\
        a1.sources.r2.channels = c1\na1.sources.r3.type = taildir\na1.sources.r3.channels = c1\n";
    const SEQ: &str = "a1.sources = r1 r2 r3\na1.sources.r2.type = seq\n\
        a1.sources.r2.channels = c1\na1.sources.r3.type = seq\na1.sources.r3.channels = c1\n";
    for (lines, said) in [
        (
            "a1.sources.r1.positionFile = /p/\na1.sinks.k1.sink.directory = /p".to_owned(),
            &[
                "warning sink k1 and source r1 share /p (`sink.directory` and `positionFile`), and would be in each other's way; change `sink.directory` of sink k1, or `positionFile` of source r1",
            ][..],
        ),
        (
            "a1.sources.r1.positionFile = /d\na1.channels.c1.dataDirs = /c, /d".to_owned(),
            &[
                "error source r1 and channel c1 share /d (`positionFile` and `dataDirs`), and would be in each other's way; change `positionFile` of source r1, or `dataDirs` of channel c1",
            ],
        ),
        (
            "a1.channels.c1.dataDirs = /d\na1.sinks.k1.sink.directory = /d".to_owned(),
            &[
                "error sink k1 and channel c1 share /d (`sink.directory` and `dataDirs`), and would be in each other's way; change `sink.directory` of sink k1, or `dataDirs` of channel c1",
            ],
        ),
        ("a1.channels.c1.checkpointDir = /f\na1.sinks.k1.sink.directory = /f".to_owned(), &[]),
        (
            format!("{TAIL}a1.sources.r1.positionFile = /p\na1.sources.r2.positionFile = /p/\n"),
            &[
                "error source r2 and source r1 share /p (`positionFile`), and would be in each other's way; give each its own `positionFile`",
            ],
        ),
        (
            TAIL.to_owned(),
            &[
                "error source r2 and source r1 share the default of `positionFile`, and would be in each other's way; give each its own `positionFile`",
                "error source r3 and source r1 share the default of `positionFile`, and would be in each other's way; give each its own `positionFile`",
            ],
        ),
        (
            format!(
                "{SEQ}a1.sources.r2.ports = 1 2 3 0\na1.sources.r3.ports = 0 4 3 2\n\
                 a1.sources.r3.host = ::1"
            ),
            &[],
        ),
        (
            format!(
                "{SEQ}a1.sources.r2.ports = 1 2 3 0\na1.sources.r3.ports = 0 4 3 2\n\
                 a1.sources.r3.host = 127.0.0.1"
            ),
            &[
                "error source r3 and source r2 share TCP port 3 (`ports`), and would be in each other's way; give each its own `ports`",
            ],
        ),
        (
            format!("{SEQ}a1.sources.r2.ports = 1\na1.sources.r3.ports = 1"),
            &[
                "error source r3 and source r2 share `ports = 1`, and would be in each other's way; give each its own `ports`",
            ],
        ),
    ] {
        let account = with(&lines);
        let found = account.findings.iter().filter(|finding| finding.code == "shared-place");
        let found: Vec<String> = found
            .map(|finding| {
                assert!(finding.span.is_some(), "{lines}");
                assert!(finding.message.contains(finding.component.as_deref().unwrap()), "{lines}");
                let severity = format!("{:?}", finding.severity).to_lowercase();
                let help = finding.help.as_deref().unwrap_or_default();
                format!("{severity} {}; {help}", finding.message)
            })
            .collect();
        assert_eq!(found, said, "{lines}");
    }
}

#[test]
fn advice_on_room_names_the_key_that_the_channel_has_for_it() {
    let checked = |lines: &str| {
        let checking = checking(&format!("{GOOD}{lines}"));
        checking.checked.unwrap_or_else(|| panic!("{:?}", checking.findings))
    };
    for (kind, key) in [("file", "holds"), ("memory", "capacity")] {
        let lines = format!("a1.channels.c1.type = {kind}\na1.channels.c1.{key} = 150");
        let checked = checked(&lines);
        let findings = account(&checked).findings;
        let tight = findings.iter().find(|finding| finding.code == "tight-channel").unwrap();
        let help = format!("set `{key}` of c1 to several batches, 400 or more");
        assert_eq!(tight.help, Some(help));
        assert_eq!(tight.span, checked.channels[0].part.section.value_span(key));
    }
    let few = "a1.channels.c1.holds = 150\na1.sources.r1.batchSize = 20000\n";
    let findings = checking(&format!("{GOOD}{few}")).findings;
    let large = findings.iter().find(|finding| finding.code == "batch-exceeds-transaction");
    let help = large.unwrap().help.as_deref().unwrap();
    assert!(
        help.starts_with("set `transactionCapacity` and `holds` of channel c1 to 20000"),
        "{help}"
    );
}
