//! What was promised, and whether it was kept.

use std::collections::{BTreeMap, BTreeSet};

use crate::flow::Flow;

/// An event's number, which is its body.
pub type EventId = u32;

/// Events that were put into first agents, and what became of that.
#[derive(Clone, Debug, Default)]
pub struct Promises {
    next: EventId,
    /// Put, by the agent, in order.
    put: BTreeMap<usize, Vec<EventId>>,
    acknowledged: BTreeSet<EventId>,
}

/// How a run went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Events that were put.
    pub put: u64,
    /// Of these, acknowledged.
    pub acknowledged: u64,
    /// Events that are somewhere twice, where that is allowed.
    pub twice: u64,
    /// Events that came again and were told apart by a receiver that lived to the end.
    pub repeated: u64,
    /// Lives that ended.
    pub deaths: u64,
    /// A number that differs as soon as two runs do.
    pub trace: u64,
}

impl Promises {
    /// Numbers for events that are put into an agent next.
    pub fn begin(&mut self, node: usize, count: u32) -> Vec<EventId> {
        let ids: Vec<_> = (self.next..self.next + count).collect();
        self.next += count;
        self.put.entry(node).or_default().extend(&ids);
        ids
    }

    /// These were acknowledged.
    pub fn acknowledge(&mut self, ids: &[EventId]) {
        self.acknowledged.extend(ids);
    }

    /// Compares what the channels of the last agents hold, by agent and channel, with what was
    /// promised.
    ///
    /// # Errors
    /// The promise that was broken.
    pub fn judge(&self, flow: &Flow, held: &[Vec<Vec<EventId>>]) -> Result<Verdict, String> {
        let mut verdict = Verdict {
            put: u64::from(self.next),
            acknowledged: self.acknowledged.len() as u64,
            ..Verdict::default()
        };
        let mut somewhere = BTreeSet::new();
        for (node, channel, ids) in held.iter().enumerate().flat_map(|(node, channels)| {
            channels.iter().enumerate().map(move |(channel, ids)| (node, channel, ids))
        }) {
            let at = format!("channel {channel} of the last agent {node}");
            let set: BTreeSet<_> = ids.iter().copied().collect();
            if let Some(invented) = set.iter().find(|id| **id >= self.next) {
                return Err(format!("{at} holds {invented}, which nobody put"));
            }
            let twice = ids.len() - set.len();
            if flow.once && twice > 0 {
                return Err(format!("{at} holds {twice} events twice: {ids:?}"));
            }
            if flow.last.len() == 1
                && let Some(lost) = self.acknowledged.difference(&set).next()
            {
                return Err(format!("{lost} was acknowledged and is not in {at}: {ids:?}"));
            }
            if flow.in_order {
                self.check_order(ids).map_err(|why| format!("{at}: {why}: {ids:?}"))?;
            }
            verdict.twice += twice as u64;
            somewhere.extend(set);
        }
        match self.acknowledged.difference(&somewhere).next() {
            Some(lost) => Err(format!("{lost} was acknowledged and is nowhere")),
            None => Ok(verdict),
        }
    }

    /// Events of one agent are in the order in which they were put.
    fn check_order(&self, ids: &[EventId]) -> Result<(), String> {
        for put in self.put.values() {
            let mut of_one = ids.iter().filter(|id| put.binary_search(id).is_ok());
            if let Some((first, second)) = pairs(&mut of_one).find(|(first, second)| first > second)
            {
                return Err(format!("{first} comes before {second}"));
            }
        }
        Ok(())
    }
}

fn pairs<'a>(
    ids: &mut impl Iterator<Item = &'a EventId>,
) -> impl Iterator<Item = (EventId, EventId)> {
    let mut before = ids.next().copied();
    ids.map(move |id| (before.replace(*id).unwrap_or(*id), *id))
}
