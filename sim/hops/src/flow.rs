//! Which agents there are, and who sends to whom: chosen by a seed.

use splashdam_sim::dice::Dice;

/// An agent as it is started in each of its lives.
#[derive(Clone, Debug, Default)]
pub struct NodePlan {
    /// For each of its logs, how many channels share it. Its source puts into all of them.
    pub logs: Vec<usize>,
    /// Disks of each log.
    pub disks: usize,
    /// Its groups of sinks, which all drain its first channel.
    pub groups: Vec<GroupPlan>,
    /// Events in a call.
    pub batch_events: u64,
    /// Whether its channels have room for few calls only, and refuse at once what they have no room
    /// for. Something must drain them.
    pub is_narrow: bool,
    /// In what it and the others talk.
    pub protocol: Protocol,
    /// Whether events are put into it by hand, and not by other agents.
    pub is_first: bool,
}

/// What sinks and sources speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// Avro.
    #[default]
    Avro,
    /// Thrift.
    Thrift,
}

impl Protocol {
    /// The type of its sink and its source.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Avro => "avro",
            Protocol::Thrift => "thrift",
        }
    }
}

/// A group of sinks.
#[derive(Clone, Debug)]
pub struct GroupPlan {
    /// Its processor.
    pub processor: &'static str,
    /// The processor's keys.
    pub keys: &'static str,
    /// To which agents its sinks send, by index.
    pub to: Vec<usize>,
}

/// Agents, and what is promised of them together.
#[derive(Clone, Debug)]
pub struct Flow {
    /// What it is called.
    pub name: &'static str,
    /// The agents.
    pub nodes: Vec<NodePlan>,
    /// Into which of them events are put, by index.
    pub first: Vec<usize>,
    /// In which of them events end, by index.
    pub last: Vec<usize>,
    /// Whether each event is there once; else at least once. Where several agents are the last, in
    /// each at most once.
    pub once: bool,
    /// Whether they stay in order.
    pub in_order: bool,
}

/// How many kinds of flow there are.
pub const KINDS: usize = 9;

const FAILOVER: &str = "priority.k0 = 10\npriority.k1 = 5\nmaxpenalty = 2000";
const IN_TURN: &str = "selector = round_robin\nbackoff = true\nselector.maxTimeOut = 2000";
const AT_RANDOM: &str = "selector = random";

/// The flow of a kind, with details from a seed.
pub fn flow(kind: usize, dice: &mut Dice) -> Flow {
    let batch_events = dice.below(5) + 1;
    let protocol = if dice.once_in(3) { Protocol::Thrift } else { Protocol::Avro };
    let node = |groups: Vec<GroupPlan>| NodePlan {
        logs: vec![1],
        disks: 1,
        groups,
        batch_events,
        is_narrow: false,
        protocol,
        is_first: false,
    };
    let group = |processor, keys, to: &[usize]| GroupPlan { processor, keys, to: to.to_vec() };
    let one = |to: usize| vec![group("default", "", &[to])];
    let sender = |processor, keys| node(vec![group(processor, keys, &[1, 2])]);
    let plain = |name, nodes: Vec<NodePlan>, last: &[usize]| Flow {
        name,
        nodes,
        first: vec![0],
        last: last.to_vec(),
        once: true,
        in_order: true,
    };
    let mut flow = match kind {
        0 => plain("one hop", vec![node(one(1)), node(vec![])], &[1]),
        1 => {
            let narrow = NodePlan { is_narrow: true, ..node(one(2)) };
            plain("two hops, the second narrow", vec![node(one(1)), narrow, node(vec![])], &[2])
        }
        2 => {
            let nodes = vec![node(one(2)), node(one(2)), node(vec![])];
            Flow { first: vec![0, 1], ..plain("two senders", nodes, &[2]) }
        }
        3 => {
            let sinks = [one(1), one(1)].concat();
            let nodes = vec![node(sinks), node(vec![])];
            Flow { in_order: false, ..plain("two sinks of a channel", nodes, &[1]) }
        }
        4..=6 => {
            let (name, sender) = match kind {
                4 => ("failover", sender("failover", FAILOVER)),
                5 => ("load balanced in turn", sender("load_balance", IN_TURN)),
                _ => ("load balanced at random", sender("load_balance", AT_RANDOM)),
            };
            let nodes = vec![sender, node(vec![]), node(vec![])];
            Flow { in_order: false, ..plain(name, nodes, &[1, 2]) }
        }
        7 => {
            let receiver = NodePlan { logs: vec![2], ..node(vec![]) };
            plain("two channels in a log", vec![node(one(1)), receiver], &[1])
        }
        _ => {
            let receiver = NodePlan { logs: vec![1, 1], ..node(vec![]) };
            let nodes = vec![node(one(1)), receiver];
            Flow { once: false, in_order: false, ..plain("two logs", nodes, &[1]) }
        }
    };
    for first in &flow.first {
        flow.nodes[*first].is_first = true;
    }
    if dice.once_in(4) {
        // What is put by hand, one beside the other, has no order across several directories.
        flow.nodes.iter_mut().filter(|node| !node.is_first).for_each(|node| node.disks = 2);
    }
    flow
}
