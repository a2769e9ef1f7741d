use super::*;

fn node(name: &str, kind: &'static str, more: &[&str]) -> Node {
    Node { name: name.to_owned(), kind, more: more.iter().map(|line| (*line).to_owned()).collect() }
}

fn edge(from: usize, to: usize) -> Edge {
    Edge { from, to, label: None, optional: false }
}

fn straight() -> Graph {
    Graph {
        agent: "a1".into(),
        sources: vec![node("r1", "taildir", &[])],
        channels: vec![node("c1", "memory", &[])],
        sinks: vec![node("k1", "file_roll", &[])],
        puts: vec![edge(0, 0)],
        takes: vec![edge(0, 0)],
        groups: vec![],
    }
}

fn tangled() -> Graph {
    Graph {
        agent: "a1".into(),
        sources: vec![
            node("r1", "netcat", &["i1: timestamp", "selector: multiplexing"]),
            node("r2", "seq", &[]),
        ],
        channels: vec![
            node("c1", "memory", &[]),
            node("c2", "memory", &[]),
            node("c3", "file", &[]),
        ],
        sinks: vec![
            node("k1", "logger", &["g1: failover"]),
            node("k2", "null", &["g1: failover"]),
            node("k\"3", "null", &[]),
        ],
        puts: vec![
            Edge { label: Some("state = CZ".into()), ..edge(0, 0) },
            Edge { label: Some("all else".into()), optional: true, ..edge(0, 2) },
            edge(1, 1),
        ],
        takes: vec![edge(0, 0), edge(0, 1), edge(2, 2)],
        groups: vec![Group { name: "g1".into(), kind: "failover", sinks: vec![0, 1] }],
    }
}

#[test]
fn a_straight_flow_is_drawn_straight() {
    let expected = "\
agent a1

┌─────────┐      ┌────────┐      ┌───────────┐
│ r1      ├─────▶│ c1     ├─────▶│ k1        │
│ taildir │      │ memory │      │ file_roll │
└─────────┘      └────────┘      └───────────┘
";
    assert_eq!(drawing::draw(&straight()), expected);
}

#[test]
fn drawings_of_a_tangled_agent() {
    insta::assert_snapshot!("text", drawing::draw(&tangled()));
    insta::assert_snapshot!("dot", tangled().dot());
    insta::assert_snapshot!("mermaid", tangled().mermaid());
}

#[test]
fn an_agent_of_nothing_is_drawn_too() {
    let none = Graph { agent: "a1".into(), ..Graph::default() };
    assert_eq!(drawing::draw(&none), "agent a1\n");
    assert!(none.dot().starts_with("digraph"));
    assert!(none.mermaid().starts_with("flowchart"));
}
