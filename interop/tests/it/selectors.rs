//! Which event goes to which channel.

use std::fs;
use std::path::Path;

use anyhow::Result;
use splashdam_interop::outputs;

use crate::side_by_side::{Case, channel_and_sink, compare, only_watch};

const INPUT: &str = "kind=red 1\nkind=green 2\nkind=blue 3\nno kind 4\nkind=red 5\nkind=Red 6\n";

const SOURCE: &str = "a1.sources = r1
a1.channels = c1 c2 c3
a1.sinks = k1 k2 k3
a1.sources.r1.type = exec
a1.sources.r1.command = cat {dir}/input
a1.sources.r1.batchTimeout = 100
a1.sources.r1.channels = c1 c2 c3
a1.sources.r1.interceptors = kind
a1.sources.r1.interceptors.kind.type = regex_extractor
a1.sources.r1.interceptors.kind.regex = kind=(\\\\w+)
a1.sources.r1.interceptors.kind.serializers = s
a1.sources.r1.interceptors.kind.serializers.s.name = kind
";

fn routes(selector: &str, delivered: [u64; 3]) -> Option<[Vec<String>; 3]> {
    let config =
        [1, 2, 3].map(|number| channel_and_sink(number, "text")).concat() + SOURCE + selector;
    let [one, two, three] = delivered;
    let case = Case { config: &config, delivered: &[("k1", one), ("k2", two), ("k3", three)] };
    let prepare = |dir: &Path| -> Result<()> { Ok(fs::write(dir.join("input"), INPUT)?) };
    let look = |dir: &Path| -> Result<[Vec<String>; 3]> {
        Ok([
            outputs::lines(&dir.join("k1"))?,
            outputs::lines(&dir.join("k2"))?,
            outputs::lines(&dir.join("k3"))?,
        ])
    };
    compare(&case, prepare, only_watch, look).map(|(_, lines)| lines)
}

#[test]
fn multiplexing() {
    let selector = "a1.sources.r1.selector.type = multiplexing
a1.sources.r1.selector.header = kind
a1.sources.r1.selector.mapping.red = c1
a1.sources.r1.selector.mapping.green = c1 c2
a1.sources.r1.selector.optional.blue = c2
a1.sources.r1.selector.default = c3
";
    let Some([one, two, three]) = routes(selector, [3, 2, 3]) else {
        return;
    };
    assert_eq!(one, ["kind=red 1", "kind=green 2", "kind=red 5"]);
    assert_eq!(two, ["kind=green 2", "kind=blue 3"]);
    assert_eq!(three, ["kind=blue 3", "no kind 4", "kind=Red 6"]);
}

#[test]
fn multiplexing_without_default_drops() {
    let selector = "a1.sources.r1.selector.type = multiplexing
a1.sources.r1.selector.header = kind
a1.sources.r1.selector.mapping.red = c1 c3
a1.sources.r1.selector.mapping.Red = c2
";
    let Some([one, two, three]) = routes(selector, [2, 1, 2]) else {
        return;
    };
    assert_eq!(one, ["kind=red 1", "kind=red 5"]);
    assert_eq!(two, ["kind=Red 6"]);
    assert_eq!(three, one);
}

#[test]
fn replicating() {
    let selector = "a1.sources.r1.selector.type = replicating
a1.sources.r1.selector.optional = c3
";
    let Some([one, two, three]) = routes(selector, [6, 6, 6]) else {
        return;
    };
    assert_eq!(one.join("\n") + "\n", INPUT);
    assert_eq!((&one, &one), (&two, &three));
}
