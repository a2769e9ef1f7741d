//! `splashdam graph`: a configuration as a drawing.

mod drawing;

use std::collections::BTreeMap;
use std::io::{self, Write};

use splashdam_agent::Checked;
use splashdam_agent::account::short;
use splashdam_agent::checked::CheckedSource;
use splashdam_config::Diagnostic;
use splashdam_config::diagnostic::escaped;

use crate::check::{self, Reading};
use crate::cli::{Drawing, FAILED, GraphArgs};
use crate::render::{self, Look};

/// Who is connected to whom.
#[derive(Debug, Default, PartialEq)]
struct Graph {
    agent: String,
    sources: Vec<Node>,
    channels: Vec<Node>,
    sinks: Vec<Node>,
    /// From sources to channels.
    puts: Vec<Edge>,
    /// From channels to sinks.
    takes: Vec<Edge>,
    groups: Vec<Group>,
}

/// A component: its name, its type, and what else is worth a line.
#[derive(Debug, PartialEq)]
struct Node {
    name: String,
    kind: &'static str,
    more: Vec<String>,
}

/// By indexes into the columns.
#[derive(Debug, PartialEq)]
struct Edge {
    from: usize,
    to: usize,
    /// Which events go this way, if not all.
    label: Option<String>,
    optional: bool,
}

/// Sinks that take turns.
#[derive(Debug, PartialEq)]
struct Group {
    name: String,
    kind: &'static str,
    sinks: Vec<usize>,
}

/// Runs `splashdam graph`: the drawing goes to standard output, errors of the configuration to
/// standard error; answers the exit status.
pub(crate) fn run(args: &GraphArgs) -> io::Result<u8> {
    let Reading { sources, checked, findings, .. } = check::read(&args.origin);
    let look = Look { colours: false, width: 120 };
    let mut errors = io::stderr().lock();
    for finding in findings.iter().filter(|finding| finding.is_error()) {
        writeln!(errors, "{}", render::finding(finding, &sources, look))?;
    }
    let Some(checked) = checked else { return Ok(FAILED) };
    let graph = Graph::of(&checked);
    let text = match args.format {
        Drawing::Text => drawing::draw(&graph),
        Drawing::Dot => graph.dot(),
        Drawing::Mermaid => graph.mermaid(),
    };
    io::stdout().lock().write_all(escaped(&text, true).as_bytes())?;
    Ok(if findings.iter().any(Diagnostic::is_error) { FAILED } else { 0 })
}

impl Graph {
    fn of(checked: &Checked) -> Graph {
        let mut graph = Graph { agent: checked.agent.to_string(), ..Graph::default() };
        let position =
            |name: &str| checked.channels.iter().position(|channel| *channel.name == *name);
        for channel in &checked.channels {
            graph.channels.push(Node::new(&channel.name, channel.part.entry.name));
        }
        for (from, source) in checked.sources.iter().enumerate() {
            let mut node = Node::new(&source.name, source.part.entry.name);
            let passed = source
                .interceptors
                .iter()
                .map(|(name, part)| format!("{name}: {}", short(part.entry.name)));
            node.more.extend(passed);
            let selector = source.selector.entry.name;
            if source.channels.len() > 1 || selector != "replicating" {
                node.more.push(format!("selector: {selector}"));
            }
            graph.sources.push(node);
            let labels = Labels::of(source);
            for name in &source.channels {
                let Some(to) = position(name) else { continue };
                let (label, optional) = labels.of_channel(name);
                graph.puts.push(Edge { from, to, label, optional });
            }
        }
        for group in &checked.groups {
            let mut members = Vec::new();
            for sink in &group.sinks {
                let Some(from) = position(&sink.channel) else { continue };
                let to = graph.sinks.len();
                let mut node = Node::new(&sink.name, sink.part.entry.name);
                if !group.is_lone_sink() {
                    node.more.push(format!("{}: {}", group.name, group.processor.entry.name));
                }
                node.more.extend(sink.dead_letter.as_ref().map(|to| format!("dead letters: {to}")));
                graph.sinks.push(node);
                graph.takes.push(Edge { from, to, label: None, optional: false });
                members.push(to);
            }
            if !group.is_lone_sink() {
                let (name, kind) = (group.name.to_string(), group.processor.entry.name);
                graph.groups.push(Group { name, kind, sinks: members });
            }
        }
        graph
    }

    /// Graphviz.
    fn dot(&self) -> String {
        let mut text = format!("digraph {} {{\n", quoted(&self.agent));
        text += "  rankdir=LR;\n  node [shape=box, fontname=\"sans-serif\"];\n";
        let columns =
            [("source", &self.sources, ""), ("channel", &self.channels, ", shape=cylinder")];
        for (role, nodes, shape) in columns {
            for node in nodes {
                text +=
                    &format!("  {} [label={}{shape}];\n", id(role, node), quoted(&node.text("\n")));
            }
        }
        for (index, group) in self.groups.iter().enumerate() {
            let label = quoted(&format!("{}: {}", group.name, group.kind));
            text += &format!("  subgraph cluster_{index} {{\n    label={label};\n");
            for sink in group.sinks.iter().map(|sink| &self.sinks[*sink]) {
                text += &format!("    {};\n", id("sink", sink));
            }
            text += "  }\n";
        }
        for node in &self.sinks {
            text += &format!("  {} [label={}];\n", id("sink", node), quoted(&node.head("\n")));
        }
        for (roles, edges, from, to) in self.columns() {
            for edge in edges {
                let mut attributes = Vec::new();
                attributes.extend(edge.label.as_ref().map(|l| format!("label={}", quoted(l))));
                attributes.extend(edge.optional.then(|| "style=dashed".to_owned()));
                let attributes = match attributes.join(", ") {
                    none if none.is_empty() => none,
                    some => format!(" [{some}]"),
                };
                let (from, to) = (id(roles.0, &from[edge.from]), id(roles.1, &to[edge.to]));
                text += &format!("  {from} -> {to}{attributes};\n");
            }
        }
        text + "}\n"
    }

    /// Mermaid.
    fn mermaid(&self) -> String {
        let mut text = "flowchart LR\n".to_owned();
        let node_id = |role: &str, index: usize| format!("{role}{index}");
        for (index, node) in self.sources.iter().enumerate() {
            text += &format!("  {}[{}]\n", node_id("source", index), marked(&node.text("<br>")));
        }
        for (index, node) in self.channels.iter().enumerate() {
            text += &format!("  {}[({})]\n", node_id("channel", index), marked(&node.text("<br>")));
        }
        for (index, group) in self.groups.iter().enumerate() {
            let label = marked(&format!("{}: {}", group.name, group.kind));
            text += &format!("  subgraph group{index}[{label}]\n");
            for sink in &group.sinks {
                let head = marked(&self.sinks[*sink].head("<br>"));
                text += &format!("    {}[{head}]\n", node_id("sink", *sink));
            }
            text += "  end\n";
        }
        let grouped = |sink: usize| self.groups.iter().any(|group| group.sinks.contains(&sink));
        for (index, node) in self.sinks.iter().enumerate().filter(|(index, _)| !grouped(*index)) {
            text += &format!("  {}[{}]\n", node_id("sink", index), marked(&node.head("<br>")));
        }
        for (roles, edges, ..) in self.columns() {
            for edge in edges {
                let arrow = if edge.optional { "-.->" } else { "-->" };
                let label = edge.label.as_ref().map(|label| format!("|{}|", marked(label)));
                let (from, to) = (node_id(roles.0, edge.from), node_id(roles.1, edge.to));
                text += &format!("  {from} {arrow}{} {to}\n", label.unwrap_or_default());
            }
        }
        text
    }

    fn columns(&self) -> [((&'static str, &'static str), &[Edge], &[Node], &[Node]); 2] {
        [
            (("source", "channel"), &self.puts, &self.sources, &self.channels),
            (("channel", "sink"), &self.takes, &self.channels, &self.sinks),
        ]
    }
}

impl Node {
    fn new(name: &str, kind: &'static str) -> Node {
        Node { name: name.to_owned(), kind: short(kind), more: Vec::new() }
    }

    fn lines(&self) -> impl Iterator<Item = &str> {
        [&*self.name, self.kind].into_iter().chain(self.more.iter().map(String::as_str))
    }

    fn text(&self, separator: &str) -> String {
        self.lines().collect::<Vec<_>>().join(separator)
    }

    /// Without what a frame around it says.
    fn head(&self, separator: &str) -> String {
        format!("{}{separator}{}", self.name, self.kind)
    }
}

/// What a selector's keys say of each channel.
struct Labels {
    values: BTreeMap<String, Vec<String>>,
    optional: BTreeMap<String, Vec<String>>,
    header: Option<String>,
}

impl Labels {
    fn of(source: &CheckedSource) -> Labels {
        let selector = &source.selector.section;
        let mut labels =
            Labels { values: BTreeMap::new(), optional: BTreeMap::new(), header: None };
        if source.selector.entry.name == "multiplexing" {
            let header = selector.get("header").unwrap_or("flume.selector.header");
            labels.header = Some(header.to_owned());
        }
        for entry in selector.entries() {
            let (map, value) = match entry.key() {
                "default" => (&mut labels.values, "all else"),
                "optional" => (&mut labels.optional, ""),
                key => match (key.strip_prefix("mapping."), key.strip_prefix("optional.")) {
                    (Some(value), _) => (&mut labels.values, value),
                    (_, Some(value)) => (&mut labels.optional, value),
                    _ => continue,
                },
            };
            for channel in entry.value().split_whitespace() {
                map.entry(channel.to_owned()).or_default().push(value.to_owned());
            }
        }
        labels
    }

    /// The label of the way to `channel`, and whether it is an optional one.
    fn of_channel(&self, channel: &str) -> (Option<String>, bool) {
        let optional = self.optional.contains_key(channel) && !self.values.contains_key(channel);
        let Some(header) = &self.header else { return (None, optional) };
        let values: Vec<&str> = [&self.values, &self.optional]
            .into_iter()
            .filter_map(|map| map.get(channel))
            .flatten()
            .map(String::as_str)
            .collect();
        let label = match &values[..] {
            [] => "no event".to_owned(),
            ["all else"] => "all else".to_owned(),
            values => format!("{header} = {}", values.join(", ")),
        };
        (Some(label), optional)
    }
}

fn id(role: &str, node: &Node) -> String {
    quoted(&format!("{role} {}", node.name))
}

/// A string of the DOT language.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

/// A string of Mermaid's, where `#` starts the name of a character.
fn marked(text: &str) -> String {
    format!("\"{}\"", text.replace('#', "#35;").replace('"', "#quot;"))
}

#[cfg(test)]
mod tests;
