//! Sink groups: which of them run, and who gets the events.

use std::fs;
use std::path::Path;

use anyhow::Result;
use splashdam_interop::{Agent, outputs};

use crate::side_by_side::{Case, Site, compare, components, wait_for};

/// A channel of its own with three events for each group; its sinks write to directories of their names.
fn flow(name: &str, sinks: &[&str]) -> String {
    let mut text = format!(
        "a1.channels.c-{name}.type = memory\n\
         a1.sources.r-{name}.type = seq\n\
         a1.sources.r-{name}.totalEvents = 3\n\
         a1.sources.r-{name}.channels = c-{name}\n"
    );
    for sink in sinks {
        text += &format!("a1.sinks.{sink}.type = file_roll\n");
        text += &format!("a1.sinks.{sink}.channel = c-{name}\n");
        text += &format!("a1.sinks.{sink}.sink.directory = {{dir}}/{sink}\n");
    }
    text
}

#[test]
fn who_runs_and_who_delivers() {
    const GROUPS: &[(&str, &[&str], &str)] = &[
        (
            "first",
            &["high", "low"],
            "processor.type = failover\nprocessor.priority.high = 10\nprocessor.priority.low = 5",
        ),
        ("alone", &["only"], "processor.type = default"),
        ("crowd", &["many1", "many2"], "processor.type = default"),
        ("untyped", &["vague"], "processor.maxpenalty = 1"),
        ("odd", &["strange"], "processor.type = nosuch"),
        ("single", &["lonely"], "processor.type = load_balance"),
        (
            "chooser",
            &["left", "right"],
            "processor.type = load_balance\nprocessor.selector = nosuch",
        ),
    ];
    let mut config = String::new();
    let (mut sources, mut channels, mut sinks, mut groups) =
        (String::new(), String::new(), String::new(), String::new());
    for (name, members, properties) in GROUPS {
        config += &flow(name, members);
        sources += &format!(" r-{name}");
        channels += &format!(" c-{name}");
        sinks += &format!(" {}", members.join(" "));
        groups += &format!(" {name}");
        // One that is not there is left out of its group.
        config += &format!("a1.sinkgroups.{name}.sinks = {} ghost\n", members.join(" "));
        for property in properties.lines() {
            config += &format!("a1.sinkgroups.{name}.{property}\n");
        }
    }
    config += &format!(
        "a1.sources ={sources}\na1.channels ={channels}\na1.sinks ={sinks}\na1.sinkgroups ={groups}\n"
    );
    let case = Case { config: &config, delivered: &[("high", 3), ("low", 0), ("only", 3)] };
    let prepare = |dir: &Path| -> Result<()> {
        for sink in ["many1", "many2", "vague", "strange", "lonely", "left", "right"] {
            fs::create_dir(dir.join(sink))?;
        }
        Ok(())
    };
    let drive = |_: &Site, agent: &mut Agent| -> Result<Vec<String>> {
        wait_for(agent, "only", 3)?;
        components(agent)
    };
    let look = |dir: &Path| -> Result<[Vec<String>; 3]> {
        let [one, two, three] = ["high", "low", "only"].map(|sink| outputs::lines(&dir.join(sink)));
        Ok([one?, two?, three?])
    };
    let Some((ran, [high, low, only])) = compare(&case, prepare, drive, look) else {
        return;
    };
    let sinks: Vec<&str> = ran.iter().filter_map(|name| name.strip_prefix("SINK.")).collect();
    assert_eq!(sinks, ["high", "low", "only"]);
    assert_eq!([&high, &only], [&["0", "1", "2"]; 2]);
    assert_eq!(low, Vec::<String>::new());
}
