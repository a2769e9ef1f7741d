//! Channel selector `replicating`, the default: every event to every channel.
//!
//! Flume's class: `org.apache.flume.channel.ReplicatingChannelSelector`. An unknown name among
//! `optional` is an error when opened; Flume accepts it and then fails every put after the required
//! channels took the events; its spooldir source, for one, stops for good at the first batch.

use serde::Deserialize;
use splashdam_config::Spanned;
use splashdam_core::{ChannelSet, Component, Context, Event, Facts, OpenError, Route, Selector};

/// Sends everything everywhere.
pub struct Replicating {
    route: Route,
}

/// Keys of the replicating selector.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Channels whose failure does not fail the batch, with blanks between.
    pub optional: Vec<Spanned<String>>,
}

impl Component for Replicating {
    const TYPE: &'static str = "replicating";
    const ALIASES: &'static [&'static str] =
        &["org.apache.flume.channel.ReplicatingChannelSelector"];
    type Config = Config;

    async fn open(config: Config, cx: Context) -> Result<Self, OpenError> {
        let mut findings = Vec::new();
        let optional = super::channels(&config.optional, &cx, &mut findings);
        if !findings.is_empty() {
            return Err(OpenError::Config(findings));
        }
        let required = ChannelSet::first(cx.choices.len()).without(optional);
        Ok(Replicating { route: Route { required, optional } })
    }

    fn facts(config: &Config) -> Facts {
        let optional = config.optional.iter().map(|name| name.value.clone()).collect();
        Facts { chooses: config.optional.clone(), optional, ..Facts::default() }
    }
}

impl Selector for Replicating {
    fn route(&self, _event: &Event) -> Route {
        self.route
    }

    fn uniform(&self) -> Option<Route> {
        Some(self.route)
    }
}

#[cfg(test)]
mod tests {
    use splashdam_testkit::contract;

    use super::super::tests::{open, refuses};
    use super::*;

    #[tokio::test]
    async fn keeps_the_contract() {
        contract::selector::<Replicating>("", &["c1"]).await;
        contract::selector::<Replicating>("optional = c2", &["c1", "c2", "c3"]).await;
    }

    #[tokio::test]
    async fn all_but_the_optional_are_required() {
        let check = async |keys: &str, required: &[usize], optional: &[usize]| {
            let route = open::<Replicating>(keys, &["c1", "c2", "c3"]).await.uniform().unwrap();
            let got: (Vec<_>, Vec<_>) =
                (route.required.iter().collect(), route.optional.iter().collect());
            assert_eq!(got, (required.to_vec(), optional.to_vec()), "{keys}");
        };
        check("", &[0, 1, 2], &[]).await;
        check("optional = c2", &[0, 2], &[1]).await;
        check("optional = c3   c1", &[1], &[0, 2]).await;
        check("optional = c1 c2 c3", &[], &[0, 1, 2]).await;
    }

    #[tokio::test]
    async fn unknown_channels_are_found() {
        refuses::<Replicating>("optional = c1 c9", &["c9"]).await;
    }
}
