//! `/metrics` of both: the same components, the same counters, the same numbers where the work decides them.

use std::fs;
use std::path::Path;

use anyhow::Result;
use splashdam_interop::Agent;

use crate::side_by_side::{Case, Site, channel_and_sink, compare, wait_for};

/// What does not depend on time or on how batches happened to be cut.
const STEADY: &[(&str, &[&str])] = &[
    (
        "SOURCE.r1",
        &["Type", "StopTime", "EventReceivedCount", "EventAcceptedCount", "OpenConnectionCount"],
    ),
    (
        "SOURCE.r1",
        &["EventReadFail", "ChannelWriteFail", "GenericProcessingFail", "AppendReceivedCount"],
    ),
    ("SOURCE.r1", &["AppendAcceptedCount"]),
    (
        "CHANNEL.c1",
        &["Type", "StopTime", "ChannelCapacity", "ChannelSize", "ChannelFillPercentage"],
    ),
    ("CHANNEL.c1", &["EventPutAttemptCount", "EventPutSuccessCount", "EventTakeSuccessCount"]),
    (
        "SINK.k1",
        &[
            "Type",
            "StopTime",
            "ConnectionCreatedCount",
            "ConnectionClosedCount",
            "ConnectionFailedCount",
        ],
    ),
    (
        "SINK.k1",
        &["EventDrainAttemptCount", "EventDrainSuccessCount", "EventWriteFail", "ChannelReadFail"],
    ),
];

#[test]
fn same_names_and_numbers() {
    let config = channel_and_sink(1, "text")
        + "a1.sources = r1\na1.channels = c1\na1.sinks = k1\n\
           a1.sources.r1.type = TAILDIR\n\
           a1.sources.r1.filegroups = g\n\
           a1.sources.r1.filegroups.g = {dir}/app.log\n\
           a1.sources.r1.positionFile = {dir}/position.json\n\
           a1.sources.r1.channels = c1\n";
    let case = Case { config: &config, delivered: &[("k1", 250)] };
    let prepare = |dir: &Path| -> Result<()> {
        let lines: String = (0..250).map(|number| format!("line {number}\n")).collect();
        Ok(fs::write(dir.join("app.log"), lines)?)
    };
    let drive = |_: &Site, agent: &mut Agent| {
        wait_for(agent, "k1", 250)?;
        let metrics = agent.metrics()?;
        let names: Vec<(String, Vec<String>)> = metrics
            .names()
            .into_iter()
            .map(|(component, names)| {
                (component.to_owned(), names.into_iter().map(str::to_owned).collect())
            })
            .collect();
        let mut steady = Vec::new();
        for (component, counters) in STEADY {
            for counter in *counters {
                steady.push(format!(
                    "{component}.{counter} = {:?}",
                    metrics.text(component, counter)
                ));
            }
        }
        let started = ["SOURCE.r1", "CHANNEL.c1", "SINK.k1"].map(|component| {
            metrics.count(component, "StartTime").is_some_and(|at| at > 1_600_000_000_000)
        });
        Ok((names, steady, metrics.not_strings(), started))
    };
    let Some(((names, steady, not_strings, started), ())) =
        compare(&case, prepare, drive, |_| Ok(()))
    else {
        return;
    };
    assert_eq!(names.len(), 3, "{names:?}");
    assert!(
        steady.contains(&"SINK.k1.EventDrainSuccessCount = Some(\"250\")".to_owned()),
        "{steady:?}"
    );
    assert_eq!(not_strings, Vec::<String>::new());
    assert_eq!(started, [true; 3]);
}
