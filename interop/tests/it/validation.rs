//! Which components run when parts of a configuration are broken: those that Flume would run, and no others.

use std::path::Path;

use anyhow::Result;
use splashdam_interop::{Agent, Make};

use crate::side_by_side::{Case, Site, channel_and_sink, compare, first_sink, pair, wait_for};

/// One good flow, and beside it whatever `broken` says; answers the components that count.
fn running(listed: [&str; 3], broken: &str, delivered: u64) -> Option<(Vec<String>, Vec<String>)> {
    let [sources, channels, sinks] = listed;
    let config = format!(
        "a1.sources = r1 {sources}\na1.channels = c1 {channels}\na1.sinks = k1 {sinks}\n\
         a1.sources.r1.type = seq\n\
         a1.sources.r1.totalEvents = 5\n\
         a1.sources.r1.channels = c1\n\
         {}{broken}",
        channel_and_sink(1, "text")
    );
    let case = Case { config: &config, delivered: &[("k1", delivered)] };
    let drive = |_: &Site, agent: &mut Agent| -> Result<Vec<String>> {
        wait_for(agent, "k1", delivered)?;
        Ok(agent.metrics()?.names().into_keys().map(str::to_owned).collect())
    };
    let look = |dir: &Path| {
        // Two sources put into one channel in any order.
        let mut lines = first_sink(dir)?;
        lines.sort();
        Ok(lines)
    };
    compare(&case, |_| Ok(()), drive, look)
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

#[test]
fn unknown_types_are_fatal() {
    let Some(makes) = pair() else { return };
    let good = channel_and_sink(1, "text")
        + "a1.sources = r1\na1.channels = c1\na1.sinks = k1\n\
           a1.sources.r1.type = seq\na1.sources.r1.channels = c1\n";
    for broken in
        ["a1.sources.r1.type = nosuch", "a1.channels.c1.type = nosuch", "a1.sinks.k1.type = nosuch"]
    {
        for make in &makes {
            let dir = tempfile::tempdir().expect("a temporary directory");
            std::fs::create_dir(dir.path().join("k1")).expect("writable");
            let config = good.replace("{dir}", &dir.path().display().to_string()) + broken + "\n";
            let refusal = match Agent::start(make, dir.path(), &config) {
                Ok(_) => panic!("{} runs with {broken}", make.name()),
                Err(error) => error.to_string(),
            };
            assert!(refusal.contains("ended early"), "{}: {refusal}", make.name());
            // Flume's status says that all is well; ours is not to be copied from that.
            let says_well = refusal.contains("exit status: 0");
            assert_eq!(says_well, matches!(make, Make::Flume(_)), "{}: {refusal}", make.name());
        }
    }
}
