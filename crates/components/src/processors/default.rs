//! Sink processor `default`: one sink, always.
//!
//! Flume's class: `org.apache.flume.sink.DefaultSinkProcessor`.

use std::time::Instant;

use serde::Deserialize;
use splashdam_core::{Component, Context, OpenError, SinkId, SinkProcessor, Went};

/// The one sink of its group.
pub struct Default(());

/// The default processor has no keys.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Config {}

impl Component for Default {
    const TYPE: &'static str = "default";
    const ALIASES: &'static [&'static str] = &["org.apache.flume.sink.DefaultSinkProcessor"];
    type Config = Config;

    async fn open(_: Config, cx: Context) -> Result<Self, OpenError> {
        match cx.choices.len() {
            1 => Ok(Default(())),
            sinks => Err(OpenError::config(format!(
                "{} has {sinks} sinks and processor `default`, which takes one; use `failover` or `load_balance`",
                cx.title()
            ))),
        }
    }
}

impl SinkProcessor for Default {
    fn pick(&mut self, _now: Instant, tried: &[SinkId]) -> Option<SinkId> {
        tried.is_empty().then_some(SinkId(0))
    }

    fn settle(&mut self, _now: Instant, _sink: SinkId, _went: Went) {}
}

#[cfg(test)]
mod tests {
    use splashdam_testkit::contract;

    use super::super::tests::{Group, opened};
    use super::*;

    #[tokio::test]
    async fn keeps_the_contract() {
        contract::processor::<Default>("", &["k1"]).await;
    }

    #[tokio::test]
    async fn tries_its_sink_once_for_a_batch() {
        let mut group = Group::<Default>::new("", &["k1"]).await;
        for answer in *b"fdbf" {
            group.answers = vec![answer];
            assert_eq!(group.batch(0), [0]);
        }
    }

    #[tokio::test]
    async fn takes_exactly_one_sink() {
        assert!(opened::<Default>("", &["k1", "k2"]).await.is_err());
        assert!(opened::<Default>("", &[]).await.is_err());
    }
}
