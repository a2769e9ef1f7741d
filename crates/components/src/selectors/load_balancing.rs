//! Channel selector `load_balancing`: each event to one channel, in turn or at random.
//!
//! Flume's class: `org.apache.flume.channel.LoadBalancingChannelSelector`, which Flume 1.11 has
//! but refuses in a file; here it works. As in Flume a batch spreads over all channels, and one
//! that is full is not avoided.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use serde::Deserialize;
use splashdam_core::{ChannelSet, Component, Context, Event, OpenError, Random, Route, Selector};

/// Spreads events.
pub struct LoadBalancing {
    channels: usize,
    turn: Turn,
}

enum Turn {
    Next(AtomicUsize),
    Any(Random),
}

/// Keys of the load_balancing selector.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Config {
    /// How the next channel is found: `round_robin` or `random`, in any case.
    pub policy: Policy,
}

/// How the next channel is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename = "any case")]
pub enum Policy {
    /// In the order in which the source lists them.
    #[default]
    #[serde(rename = "round_robin")]
    RoundRobin,
    /// Any of them.
    #[serde(rename = "random")]
    Random,
}

impl Component for LoadBalancing {
    const TYPE: &'static str = "load_balancing";
    const ALIASES: &'static [&'static str] =
        &["org.apache.flume.channel.LoadBalancingChannelSelector"];
    type Config = Config;

    async fn open(config: Config, cx: Context) -> Result<Self, OpenError> {
        if cx.choices.is_empty() {
            return Err(OpenError::config(format!("{} has no channel to choose", cx.title())));
        }
        let turn = match config.policy {
            Policy::RoundRobin => Turn::Next(AtomicUsize::new(0)),
            Policy::Random => Turn::Any(cx.random()),
        };
        Ok(LoadBalancing { channels: cx.choices.len(), turn })
    }
}

impl Selector for LoadBalancing {
    fn route(&self, _event: &Event) -> Route {
        let channel = match &self.turn {
            Turn::Next(next) => next.fetch_add(1, Relaxed) % self.channels,
            Turn::Any(random) => random.below(self.channels),
        };
        Route { required: ChannelSet::default().with(channel), optional: ChannelSet::default() }
    }

    fn uniform(&self) -> Option<Route> {
        let only = ChannelSet::first(1);
        (self.channels == 1).then(|| Route { required: only, optional: ChannelSet::default() })
    }
}

#[cfg(test)]
mod tests {
    use splashdam_testkit::contract;

    use super::super::tests::{open, opened};
    use super::*;

    #[tokio::test]
    async fn keeps_the_contract() {
        contract::selector::<LoadBalancing>("", &["c1", "c2", "c3"]).await;
        contract::selector::<LoadBalancing>("policy = random", &["c1", "c2"]).await;
        contract::selector::<LoadBalancing>("", &["c1"]).await;
    }

    #[tokio::test]
    async fn spreads_events() {
        for (keys, least, most) in
            [("", 100, 100), ("policy = ROUND_ROBIN", 100, 100), ("policy = Random", 60, 140)]
        {
            let selector = open::<LoadBalancing>(keys, &["c1", "c2", "c3"]).await;
            let mut counts = [0; 3];
            for _ in 0..300 {
                let route = selector.route(&Event::new("x"));
                let channels: Vec<_> = route.required.iter().collect();
                assert_eq!(channels.len(), 1);
                counts[channels[0]] += 1;
            }
            assert!(counts.iter().all(|n| (least..=most).contains(n)), "{keys}: {counts:?}");
        }
        assert!(opened::<LoadBalancing>("policy = fair", &["c1"]).await.is_err());
    }
}
