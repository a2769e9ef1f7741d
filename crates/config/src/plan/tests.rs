//! Whole agents, broken ones above all.

use super::*;
use crate::source::Source;
use crate::subst::NoLookups;

/// A text around which one thing is changed.
const GOOD: &str = "\
a1.sources = r1
a1.channels = c1
a1.sinks = k1
a1.sources.r1.type = netcat
a1.sources.r1.channels = c1
a1.channels.c1.type = memory
a1.sinks.k1.type = logger
a1.sinks.k1.channel = c1
";

fn no_filters(plan: &FilterPlan) -> Result<Box<dyn ConfigFilter>, String> {
    Err(format!("there is no type `{}`", plan.kind.value))
}

fn read(text: &str) -> PlanReading {
    let sources = std::iter::once(Source::new("t", text)).collect();
    Plan::read("a1", &sources, &NoLookups, &no_filters)
}

/// `line code`, and the help after that.
fn said(text: &str, reading: &PlanReading) -> Vec<String> {
    let sources: Sources = std::iter::once(Source::new("t", text)).collect();
    let line = |finding: &Diagnostic| {
        let span = finding.span.unwrap();
        assert!(text.get(span.start..span.end).is_some(), "{finding:?}");
        let (_, at) = sources.locate(span).unwrap();
        let sign = match finding.severity {
            crate::Severity::Error => "!",
            _ => "",
        };
        format!("{}{sign} {}", at.line, finding.code)
    };
    reading.findings.iter().map(line).collect()
}

/// Sources, channels, sinks and groups that are left.
fn left(reading: &PlanReading) -> String {
    let Some(plan) = &reading.plan else {
        return "idle".to_owned();
    };
    let sources = plan.sources.iter().map(|source| {
        let channels: Vec<&str> =
            source.channels.iter().map(|channel| channel.value.as_str()).collect();
        format!("{}>{}", source.name, channels.join(","))
    });
    let channels = plan.channels.iter().map(|channel| channel.name.clone());
    let sinks = plan.sinks.iter().map(|sink| format!("{}<{}", sink.name, sink.channel.value));
    let groups = plan.groups.iter().map(|group| {
        let sinks: Vec<&str> = group.sinks.iter().map(|sink| sink.value.as_str()).collect();
        format!("{}({})", group.name, sinks.join(","))
    });
    sources.chain(channels).chain(sinks).chain(groups).collect::<Vec<_>>().join(" ")
}

#[track_caller]
fn check(text: &str, want_left: &str, want_said: &[&str]) -> Option<Plan> {
    let reading = read(text);
    assert!(!reading.fatal, "{text}");
    assert_eq!(left(&reading), want_left, "{text}\n{:#?}", reading.findings);
    assert_eq!(said(text, &reading), want_said, "{text}\n{:#?}", reading.findings);
    reading.plan
}

#[test]
fn a_good_agent_has_no_findings() {
    let plan = check(GOOD, "r1>c1 c1 k1<c1", &[]).unwrap();
    assert_eq!(read(GOOD).agents, ["a1"]);
    assert_eq!(plan.sources[0].kind.value, "netcat");
    assert_eq!(plan.sources[0].section.owner(), Some("source r1"));
    assert_eq!(plan.lone_sinks().count(), 1);
}

#[test]
fn what_flume_leaves_out_is_left_out_with_a_reason() {
    let change = |from: &str, to: &str| {
        assert!(GOOD.contains(from), "{from}");
        GOOD.replacen(from, to, 1)
    };
    let cases: &[(&str, &str, &str, &[&str])] = &[
        // listed and defined
        ("sinks = k1", "sinks = k1 k2", "r1>c1 c1 k1<c1", &["3! not-defined"]),
        ("sinks = k1", "sinks = kl", "r1>c1 c1", &["3! not-defined", "7 not-listed"]),
        ("a1.sinks = k1\n", "", "r1>c1 c1", &["6 not-listed"]),
        ("sinks = k1", "sinks = k1 k1", "r1>c1 c1 k1<c1", &["3 listed-twice"]),
        (
            "a1.sinks = k1",
            "a1.sinks = k1, k2",
            "r1>c1 c1",
            &["3 comma-in-list", "3! not-defined", "3! not-defined", "7 not-listed"],
        ),
        // types
        ("a1.sinks.k1.type = logger", "a1.sinks.k1.typ = logger", "r1>c1 c1", &["7! type-missing"]),
        (
            "a1.channels.c1.type = memory",
            "a1.channels.c1.capacity = 9",
            "idle",
            &[
                "2! nothing-to-run",
                "5 unknown-channel",
                "5! no-channels",
                "6! type-missing",
                "8! unknown-channel",
            ],
        ),
        // channels
        ("r1.channels = c1", "r1.channel = c1", "c1 k1<c1", &["5! no-channels"]),
        ("k1.channel = c1", "k1.channels = c1", "r1>c1 c1", &["8! no-channel"]),
        ("k1.channel = c1", "k1.channel = c1 c2", "r1>c1 c1", &["8! several-channels"]),
        ("k1.channel = c1", "k1.channel = c2", "r1>c1 c1", &["8! unknown-channel"]),
        (
            "k1.channel = c1",
            "k1.channel = c1\na1.sinks.k1.deadLetter = c1",
            "r1>c1 c1",
            &["9! dead-letter-circle"],
        ),
        (
            "k1.channel = c1",
            "k1.channel = c1\na1.sinks.k1.deadLetter = c2",
            "r1>c1 c1",
            &["9! unknown-channel"],
        ),
        (
            "k1.channel = c1",
            "k1.channel = c1\na1.sinks.k1.config = org.example.Checked",
            "r1>c1 c1 k1<c1",
            &["9 java-class"],
        ),
        ("r1.channels = c1", "r1.channels = c2 c1", "r1>c1 c1 k1<c1", &["5 unknown-channel"]),
        (
            "r1.channels = c1",
            "r1.channels = c1\na1.sources.r1.channel = c1",
            "r1>c1 c1 k1<c1",
            &["6 misplaced-key"],
        ),
        (
            "a1.channels = c1",
            "a1.channels = c1 c2\na1.channels.c2.type = file",
            "r1>c1 c1 k1<c1",
            &["3 unused-channel"],
        ),
        // places
        (
            "k1.type",
            "k1.interceptors = i1\na1.sinks.k1.type",
            "r1>c1 c1 k1<c1",
            &["7 misplaced-key"],
        ),
        (
            "a1.sources.r1.type",
            "a1.source.r1.type",
            "c1 k1<c1",
            &["4 invalid-property", "5! type-missing"],
        ),
        (
            "a1.sources.r1.type",
            "a1.Sources.r1.type",
            "c1 k1<c1",
            &["4 invalid-property", "5! type-missing"],
        ),
        (
            "a1.sinks.k1.type = logger",
            "a1.sinks.k1 = logger",
            "r1>c1 c1",
            &["7 invalid-property", "8! type-missing"],
        ),
        (
            "a1.sinks.k1.type",
            "a1,sinks.k1.type",
            "r1>c1 c1",
            &["7 comma-for-dot", "8! type-missing"],
        ),
        // interceptors
        ("r1.type", "r1.interceptors = i1\na1.sources.r1.type", "c1 k1<c1", &["4! type-missing"]),
        (
            "r1.type",
            "r1.interceptors.i1.type = host\na1.sources.r1.type",
            "r1>c1 c1 k1<c1",
            &["4 not-listed"],
        ),
        // values and keys
        ("= logger", "=", "r1>c1 c1", &["7 property-value-null", "8! type-missing"]),
        ("= logger", "= logger # to the log", "r1>c1 c1 k1<c1", &["7 comment-behind-value"]),
        ("= logger", "= \"logger\"", "r1>c1 c1 k1<c1", &["7 quoted-value"]),
        (
            "k1.type = logger",
            "k1 .type = logger",
            "r1>c1 c1",
            &["7 blank-in-key", "7 invalid-property", "8! type-missing"],
        ),
        ("= logger", "= logger \\", "r1>c1 c1", &["8 joined-lines", "7! no-channel"]),
        ("= logger", "= ${none}", "r1>c1 c1 k1<c1", &["7 unknown-variable"]),
        ("= logger", "= ${f['x']}", "r1>c1 c1 k1<c1", &["7 unknown-filter"]),
        ("a1.sinks = k1", "a1.sinks = k1\nsinks = k1", "r1>c1 c1 k1<c1", &["4 no-agent-name"]),
        (
            "a1.sinks = k1",
            "a1.sinks = k1\nsinks.k1.type = x",
            "r1>c1 c1 k1<c1",
            &["4 agent-name-missing"],
        ),
        (
            "a1.sinks = k1",
            "a1.sinks = k1\nA1.sinks.k1.x = x",
            "r1>c1 c1 k1<c1",
            &["4 agent-name-misspelt"],
        ),
        ("a1.sinks = k1", "a1.sinks = k1\na2.sinks = k1", "r1>c1 c1 k1<c1", &[]),
        ("a1.sinks = k1", "a1.sinks = k1\na1.foo = 1", "r1>c1 c1 k1<c1", &["4 invalid-property"]),
    ];
    for (from, to, want_left, want_said) in cases {
        let text = change(from, to);
        let reading = read(&text);
        assert_eq!(left(&reading), *want_left, "{to}\n{:#?}", reading.findings);
        let mut found = said(&text, &reading);
        let mut want: Vec<String> = want_said.iter().map(|&line| line.to_owned()).collect();
        found.sort();
        want.sort();
        assert_eq!(found, want, "{to}\n{:#?}", reading.findings);
        assert!(!reading.fatal, "{to}");
    }
}

#[test]
fn groups_follow_flumes_rules() {
    const SINKS: &str = "a1.sinks = k1 k2\na1.sinks.k2.type = null\na1.sinks.k2.channel = c1\n";
    for (group, want_left, want_said, fatal) in [
        (
            "a1.sinkgroups = g\na1.sinkgroups.g.sinks = k2 k1\na1.sinkgroups.g.processor.type = failover\n",
            "k1<c1 k2<c1 g(k2,k1)",
            &[][..],
            false,
        ),
        (
            "a1.sinkgroups = g\na1.sinkgroups.g.processor.type = failover\n",
            "k1<c1 k2<c1",
            &["no-sinks"],
            true,
        ),
        ("a1.sinkgroups = g\na1.sinkgroups.g.sinks = k1 k2\n", "", &["type-missing"], false),
        (
            "a1.sinkgroups = g\na1.sinkgroups.g.sinks = k1 k2\na1.sinkgroups.g.processor.type = default\n",
            "",
            &["group-size"],
            false,
        ),
        (
            "a1.sinkgroups = g\na1.sinkgroups.g.sinks = k1\na1.sinkgroups.g.processor.type = LOAD_BALANCE\n",
            "k2<c1",
            &["group-size"],
            false,
        ),
        (
            "a1.sinkgroups = g\t  h\na1.sinkgroups.g.sinks = k1\na1.sinkgroups.g.processor.type = default\n\
             a1.sinkgroups.h.sinks = k1 k2 k3\na1.sinkgroups.h.processor.type = failover\n",
            "k1<c1 k2<c1 g(k1) h(k2)",
            &["group-member", "group-member"],
            false,
        ),
        (
            "a1.sinkgroups = g\na1.sinkgroups.g.sinks = k3\na1.sinkgroups.g.processor.type = failover\n",
            "k1<c1 k2<c1",
            &["no-sinks", "group-member"],
            false,
        ),
    ] {
        let text = format!("{}{SINKS}{group}", GOOD.replace("a1.sinks = k1\n", ""));
        let reading = read(&text);
        assert_eq!(
            left(&reading),
            format!("r1>c1 c1 {want_left}").trim_end(),
            "{group}\n{:#?}",
            reading.findings
        );
        let codes: Vec<_> = reading.findings.iter().map(|finding| finding.code).collect();
        assert_eq!(
            (codes.as_slice(), reading.fatal),
            (want_said, fatal),
            "{group}\n{:#?}",
            reading.findings
        );
    }
}

#[test]
fn agents_that_do_not_run() {
    let unknown = read("agent.sources = r1\nb.sinks = k1\n");
    assert_eq!(unknown.findings[0].code, "unknown-agent");
    assert_eq!(unknown.findings[0].help.as_deref(), Some("the agents here are `agent`, `b`"));
    assert!(unknown.plan.is_none() && !unknown.fatal);
    assert_eq!(read("").findings[0].code, "unknown-agent");
    let fatal = read(&format!("{GOOD}a1.sinks.k1.x = \\u00zz\n"));
    assert!(fatal.plan.is_none() && fatal.fatal);
    let channel_only = "a1.channels = c1\na1.channels.c1.type = memory\n";
    assert_eq!(check(channel_only, "idle", &["1! nothing-to-run"]), None);
}

#[test]
fn written_order_is_kept() {
    let text = "\
a1.sources = r2 r1
a1.channels = c3 c1 c2
a1.sources.r1.type = seq
a1.sources.r1.channels = c2 c1 c2
a1.sources.r2.type = seq
a1.sources.r2.channels = c3 c1
a1.channels.c1.type = memory
a1.channels.c2.type = memory
a1.channels.c3.type = memory
a1.sources.r1.interceptors = i2 i1
a1.sources.r1.interceptors.i1.type = host
a1.sources.r1.interceptors.i1.useIP = false
a1.sources.r1.interceptors.i2.type = timestamp
";
    let plan = check(text, "r2>c3,c1 r1>c2,c1 c3 c1 c2", &[]).unwrap();
    let names: Vec<_> =
        plan.sources[1].interceptors.iter().map(|interceptor| interceptor.name.as_str()).collect();
    assert_eq!(names, ["i2", "i1"]);
    assert_eq!(plan.sources[1].interceptors[1].section.get("useIP"), Some("false"));
}

#[test]
fn filters_reach_values_and_types_but_not_lists() {
    struct Constant;
    impl ConfigFilter for Constant {
        fn lookup(&self, key: &str) -> Result<Option<String>, String> {
            Ok((key == "kind").then(|| "logger".to_owned()))
        }
    }
    let text = format!("{GOOD}a1.configfilters = f\na1.configfilters.f.type = env\n")
        .replace("= logger", "= ${f['kind']}")
        .replace("sources = r1", "sources = r1 ${f['kind']}");
    let sources = std::iter::once(Source::new("t", text.as_str())).collect();
    let reading = Plan::read("a1", &sources, &NoLookups, &|_| Ok(Box::new(Constant)));
    let plan = reading.plan.unwrap();
    assert_eq!(plan.sinks[0].kind.value, "logger");
    assert_eq!(plan.filters[0].kind.value, "env");
    let codes: Vec<_> = reading.findings.iter().map(|finding| finding.code).collect();
    assert_eq!(codes, ["not-defined"]);
    let broken = read(&text);
    assert!(broken.findings.iter().any(|finding| finding.code == "config-filter"));
    assert_eq!(broken.plan.unwrap().sinks[0].kind.value, "${f['kind']}");
}

#[test]
fn plans_are_equal_when_they_say_the_same() {
    let plan = read(GOOD).plan;
    let moved = read(&format!("# moved\n\n{}", GOOD.replace(" = ", ": "))).plan;
    assert_eq!(plan, moved);
    assert_ne!(plan, read(&format!("{GOOD}a1.sinks.k1.maxBytesToLog = 1\n")).plan);
}

proptest::proptest! {
    #[test]
    fn no_text_breaks_the_plan(lines in proptest::collection::vec(line(), 0..20)) {
        let text = lines.concat();
        let reading = read(&text);
        for finding in &reading.findings {
            let span = finding.span;
            proptest::prop_assert!(
                span.is_none_or(|span| text.get(span.start..span.end).is_some()),
                "{:?} in {:?}", finding, text
            );
        }
    }
}

/// Lines that nearly make an agent.
fn line() -> impl proptest::strategy::Strategy<Value = String> {
    "a1[.,]?(sources|sinks|channels|sinkgroups|Sinks)?[.]?(k1|c1|g1)?[. ]?(type|channels?|sinks|processor.type|interceptors)?\
     ?( |=| = |:)(k1|c1|g1|c1, k1|[$][{]a1.sinks[}]|[$][{]f\\[k\\][}]|x # y|\"q\"|é\u{a0})?(\n|\\\\\n|\r\n)"
}

#[test]
fn keys_that_variables_name_need_no_agent() {
    let check_with = |more: &str, want: &[&str]| {
        let text = format!("{GOOD}a1.sinks.k1.x = {more}\n");
        assert_eq!(said(&text, &read(&text)), want, "{text}");
    };
    check_with("${dir}/y\ndir = /x", &[]);
    check_with("${dir}/y\ndir = ${root}/x\nroot = /r", &[]);
    check_with("${env:dir}/y\ndir = /x", &[]);
    check_with("${no:-${dir:-z}}/y\ndir = /x", &[]);
    check_with("${dir.${stage}}\nstage = 1\ndir.1 = /x", &[]);
    check_with("${a11.dir}\na11.dir = /x", &[]);
    check_with("y\na11.dir = /x", &["10 agent-name-misspelt"]);
    check_with("y\nb1.sinks.k1.x = ${dir}\ndir = /x", &[]);
    check_with("{dir}\ndir = /x", &["10 no-agent-name"]);
}

#[test]
fn remedies_name_the_agent() {
    let check_help = |text: &str, want: &str| {
        let reading = read(text);
        let helps: Vec<&str> = reading.findings.iter().filter_map(|f| f.help.as_deref()).collect();
        assert!(helps.iter().any(|help| help.contains(want)), "{want}: {helps:?}\n{text}");
    };
    let without = |line: &str| {
        assert!(GOOD.contains(line));
        GOOD.replace(line, "")
    };
    check_help(&without("a1.sources.r1.type = netcat\n"), "`a1.sources.r1.type`");
    check_help(&without("a1.sources.r1.channels = c1\n"), "`a1.sources.r1.channels = `");
    check_help(&without("a1.sinks.k1.channel = c1\n"), "`a1.sinks.k1.channel = `");
    check_help(&without("a1.sinks = k1\n"), "add `a1.sinks = k1`");
    check_help(&format!("{GOOD}a1.sinks.k2.type = null\n"), "add `k2` to `a1.sinks`");
    check_help(&GOOD.replace("sinks = k1", "sinks = k1 zzz"), "`a1.sinks.zzz.type = `");
    check_help(&GOOD.replace("sinks = k1", "sinks = k1, k2"), "write `a1.sinks = k1 k2`");
    check_help(&GOOD.replace("k1.channel", "k1.channels"), "write `a1.sinks.k1.channel = c1`");
    check_help(&GOOD.replace("r1.channels", "r1.channel"), "write `a1.sources.r1.channels = c1`");
    check_help(
        &format!("{GOOD}a1.sources.r1.interceptors = i1\n"),
        "`a1.sources.r1.interceptors.i1.type = `",
    );
    check_help(
        &format!("{GOOD}a1.sources.r1.interceptors.i1.type = host\n"),
        "`a1.sources.r1.interceptors = `",
    );
    check_help(
        &format!("{GOOD}a1.sinkgroups = g\na1.sinkgroups.g.x = 1\n"),
        "`a1.sinkgroups.g.sinks = `",
    );
    check_help(
        &format!("{GOOD}a1.sinkgroups = g\na1.sinkgroups.g.sinks = k1\n"),
        "`a1.sinkgroups.g.processor.type = failover`",
    );
    check_help(&format!("{GOOD}a1.source.r1.x = 1\n"), "as in `a1.sources.r1.x`");
    check_help(&format!("{GOOD}a1.sinks.k1 = 1\n"), "as in `a1.sinks.k1.type`");
    check_help(&format!("{GOOD}a1.sinks.k1.x = ${{f[k]}}\n"), "`a1.configfilters.f.type = `");
}

#[test]
fn what_is_no_text_gets_one_finding() {
    let wide = |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_be_bytes).collect() };
    let noise: Vec<u8> =
        (0..4096_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0]).collect();
    let slip = format!("{GOOD}a1.sinks.k1.x = \u{1}\u{0}y\n");
    let foreign = format!("{GOOD}a1.sinks.k1.x = {}\n", "\u{4e2d}\u{6587}".repeat(200));
    for (bytes, want) in [
        (wide(GOOD), &["utf-16"][..]),
        ([&[254, 255][..], &wide(GOOD)].concat(), &["utf-16"]),
        (b"\xff\xfea\0".to_vec(), &["utf-16"]),
        (noise, &["not-a-text"]),
        (vec![0; 5000], &["not-a-text"]),
        (slip.into_bytes(), &[]),
        (foreign.into_bytes(), &["not-latin1"]),
        (GOOD.into(), &[]),
    ] {
        let sources = std::iter::once(Source::from_latin1("t", &bytes)).collect();
        let reading = Plan::read("a1", &sources, &NoLookups, &no_filters);
        let codes: Vec<&str> = reading.findings.iter().map(|finding| finding.code).collect();
        assert_eq!(codes, want);
    }
}

#[test]
fn what_comes_from_zookeeper_is_not_substituted() {
    let text = GOOD.to_owned()
        + "a1.sources.r1.bind = ${env:HOST}\na1.sources.r1.port = ${f['key']}\n\
           a1.sinks.k1.x = ${a1.sinks} $${y} ${open\n";
    let sources = std::iter::once(Source::from_zookeeper("t", text.as_bytes())).collect();
    let reading = Plan::read("a1", &sources, &NoLookups, &no_filters);
    assert_eq!(
        said(&text, &reading),
        [
            "9 variable-left-alone",
            "10 unknown-filter",
            "11 variable-left-alone",
            "11 variable-left-alone"
        ]
    );
    let plan = reading.plan.unwrap();
    assert_eq!(plan.sinks[0].section.get("x"), Some("${a1.sinks} $${y} ${open"));
}
