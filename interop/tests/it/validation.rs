//! Which components run when parts of a configuration are broken: those that Flume would run, and no others.

use std::fs;
use std::path::Path;

use anyhow::Result;
use splashdam_interop::Agent;

use crate::side_by_side::{
    Case, channel_and_sink, compare, components, contrast, first_sink, wait_for,
};

/// The components that count, and the lines of the good flow.
type Ran = (Vec<String>, Vec<String>);

/// One good flow, and beside it whatever `broken` says; what Flume made of it, and ours the same.
fn running(listed: [&str; 3], broken: &str, delivered: u64) -> Option<Ran> {
    let config = config(listed, broken);
    let case = Case { config: &config, delivered: &[("k1", delivered)] };
    compare(&case, prepare, |_, agent| watch(agent, delivered), look)
}

fn config([sources, channels, sinks]: [&str; 3], broken: &str) -> String {
    format!(
        "a1.sources = r1 {sources}\na1.channels = c1 {channels}\na1.sinks = k1 {sinks}\n\
         a1.sources.r1.type = seq\n\
         a1.sources.r1.totalEvents = 5\n\
         a1.sources.r1.channels = c1\n\
         {}{broken}",
        channel_and_sink(1, "text")
    )
}

fn prepare(dir: &Path) -> Result<()> {
    fs::create_dir(dir.join("other"))?;
    Ok(fs::create_dir(dir.join("spool"))?)
}

fn watch(agent: &mut Agent, delivered: u64) -> Result<Vec<String>> {
    wait_for(agent, "k1", delivered)?;
    components(agent)
}

fn look(dir: &Path) -> Result<Vec<String>> {
    // Two sources put into one channel in any order.
    let mut lines = first_sink(dir)?;
    lines.sort();
    Ok(lines)
}

#[test]
fn broken_sources_are_left_out() {
    let sources = "lost large undefined aliased none";
    let broken = "a1.sources.lost.type = seq
a1.sources.lost.channels = c9
a1.sources.large.type = seq
a1.sources.large.batchSize = 1001
a1.sources.large.channels = c1
a1.sources.none.type = seq
a1.sources.aliased.type = org.apache.flume.source.SequenceGeneratorSource
a1.sources.aliased.totalEvents = 2
a1.sources.aliased.channels = c1 c9
a1.sources.unlisted.type = seq
a1.sources.unlisted.channels = c1
";
    let Some((names, lines)) = running([sources, "", ""], broken, 7) else { return };
    assert_eq!(names, ["CHANNEL.c1", "SINK.k1", "SOURCE.aliased", "SOURCE.r1"]);
    assert_eq!(lines.len(), 7);
}

#[test]
fn broken_sinks_are_left_out() {
    let sinks = "lost two large none";
    let broken = "a1.sinks.lost.type = file_roll
a1.sinks.lost.channel = c9
a1.sinks.lost.sink.directory = {dir}/k1
a1.sinks.two.type = file_roll
a1.sinks.two.channel = c1 c2
a1.sinks.two.sink.directory = {dir}/k1
a1.sinks.large.type = file_roll
a1.sinks.large.channel = c1
a1.sinks.large.sink.batchSize = 1001
a1.sinks.large.sink.directory = {dir}/k1
a1.sinks.none.type = file_roll
a1.sinks.none.sink.directory = {dir}/k1
";
    let Some((names, _)) = running(["", "", sinks], broken, 5) else { return };
    assert_eq!(names, ["CHANNEL.c1", "SINK.k1", "SOURCE.r1"]);
}

#[test]
fn broken_and_idle_channels_are_left_out() {
    let broken = "a1.channels.idle.type = memory
a1.channels.small.type = memory
a1.channels.small.capacity = 10
a1.channels.small.transactionCapacity = 11
a1.channels.put.type = MEMORY
a1.sources.r2.type = SEQ
a1.sources.r2.totalEvents = 3
a1.sources.r2.channels = put small
a1.sinks.k2.type = null
a1.sinks.k2.channel = small
";
    let Some((names, lines)) = running(["r2", "idle small put", "k2"], broken, 5) else {
        return;
    };
    assert_eq!(names, ["CHANNEL.c1", "CHANNEL.put", "SINK.k1", "SOURCE.r1", "SOURCE.r2"]);
    assert_eq!(lines, ["0", "1", "2", "3", "4"]);
}

/// Values and parts that one component each has wrong: who runs all the same, and who is left out.
#[test]
fn odd_values() {
    const SEQUENCES: &[(&str, &str)] = &[
        ("blank", "batchSize = 5 "),
        ("plus", "batchSize = +5"),
        ("hex", "batchSize = 0x5"),
        ("long", "batchSize = 5L"),
        ("word", "batchSize = five"),
        ("empty", "batchSize ="),
        ("zero", "batchSize = 0"),
        ("below", "batchSize = -1"),
        ("fraction", "batchSize = 5.0"),
        ("huge", "batchSize = 9999999999"),
        ("group", "batchSize = 1_000"),
        ("comment", "batchSize = 5 # five"),
        ("Total", "TOTALEVENTS = 5"),
        ("selector", "selector.type = nosuch"),
        ("header", "selector.type = multiplexing"),
        ("bound", "selector.type = multiplexing\nselector.header = h\nselector.mapping.x = c9"),
        ("optional", "selector.optional = c9"),
        ("undefined", "interceptors = i"),
        ("untyped", "interceptors = i\ninterceptors.i.key = v"),
        ("unknown", "interceptors = i\ninterceptors.i.type = nosuch"),
        ("regex", "interceptors = i\ninterceptors.i.type = regex_filter\ninterceptors.i.regex = ("),
        ("pattern", "interceptors = i\ninterceptors.i.type = search_replace"),
        (
            "extract",
            "interceptors = i\ninterceptors.i.type = regex_extractor\ninterceptors.i.regex = (x)",
        ),
        ("bool", "interceptors = i\ninterceptors.i.type = host\ninterceptors.i.useIP = yes"),
    ];
    const SOURCES: &[(&str, &str)] = &[
        ("silent", "type = exec"),
        ("again", "type = exec\ncommand = true\nrestart = perhaps"),
        ("charset", "type = exec\ncommand = true\ncharset = nosuch"),
        ("nowhere", "type = spooldir"),
        ("order", "type = spooldir\nspoolDir = {dir}/spool\nconsumeOrder = nosuch"),
        ("policy", "type = spooldir\nspoolDir = {dir}/spool\ndeletePolicy = nosuch"),
        ("decode", "type = spooldir\nspoolDir = {dir}/spool\ninputCharset = nosuch"),
        ("ungrouped", "type = TAILDIR"),
        ("missing", "type = TAILDIR\nfilegroups = g"),
        ("tailregex", "type = TAILDIR\nfilegroups = g\nfilegroups.g = {dir}/("),
    ];
    const SINKS: &[(&str, &str)] = &[
        ("homeless", ""),
        ("roll", "sink.directory = {dir}/other\nsink.rollInterval = soon"),
        ("batch", "sink.directory = {dir}/other\nsink.batchSize = many"),
        ("none", "sink.directory = {dir}/other\nsink.batchSize = 0"),
        ("path", "sink.directory = {dir}/other\nsink.pathManager = nosuch"),
        ("serial", "sink.directory = {dir}/other\nsink.serializer = nosuch"),
    ];
    const CHANNELS: &[(&str, &str)] = &[
        ("capacity", "capacity = lots"),
        ("transaction", "transactionCapacity = lots"),
        ("nothing", "capacity = 0"),
        ("minus", "transactionCapacity = -1"),
        ("percent", "byteCapacityBufferPercentage = 200"),
        ("bytes", "byteCapacity = much"),
        ("alive", "keep-alive = long"),
        ("tiny", "capacity = 1"),
    ];
    let mut broken = String::new();
    let mut add = |role: &str, name: &str, properties: &str| {
        for property in properties.lines() {
            broken += &format!("a1.{role}.{name}.{property}\n");
        }
    };
    for (name, properties) in SEQUENCES {
        add("sources", name, &format!("type = seq\ntotalEvents = 1\nchannels = c2\n{properties}"));
    }
    for (name, properties) in SOURCES {
        add("sources", name, &format!("{properties}\nchannels = c2"));
    }
    for (name, properties) in SINKS {
        add("sinks", name, &format!("type = file_roll\nchannel = c2\n{properties}"));
    }
    for (name, properties) in CHANNELS {
        add("channels", name, &format!("type = memory\n{properties}"));
        add(
            "sources",
            &format!("to_{name}"),
            &format!("type = seq\ntotalEvents = 1\nchannels = {name}"),
        );
    }
    add("channels", "c2", "type = memory");
    let names =
        |parts: &[(&'static str, &str)]| parts.iter().map(|(name, _)| *name).collect::<Vec<_>>();
    let sources = [names(SEQUENCES), names(SOURCES)].concat().join(" ")
        + &names(CHANNELS).iter().map(|name| format!(" to_{name}")).collect::<String>();
    let channels = names(CHANNELS).join(" ") + " c2";
    let listed = [sources.as_str(), channels.as_str(), &names(SINKS).join(" ")];
    let config = config(listed, &broken);
    let case = Case { config: &config, delivered: &[("k1", 5)] };
    let Some([(theirs, _), (ours, _)]) =
        contrast([&case, &case], prepare, |_, agent| watch(agent, 5), look)
    else {
        return;
    };
    // These start in Flume, but the sinks never deliver and each put of the source fails; ours says so and leaves them
    // out. See `sinks/file_roll.rs` and `selectors/replicating.rs`.
    let broken = ["SINK.none", "SINK.serial", "SOURCE.optional"];
    assert!(broken.iter().all(|name| theirs.iter().any(|ran| ran == name)), "{theirs:?}");
    let whole: Vec<&String> =
        theirs.iter().filter(|name| !broken.contains(&name.as_str())).collect();
    assert_eq!(ours.iter().collect::<Vec<_>>(), whole, "ours is on the left, Flume's on the right");
    assert!(whole.len() > 20, "{whole:?}");
}
