//! Sink `null`: takes every event and keeps none.
//!
//! Flume's class: `org.apache.flume.sink.NullSink`. Flume logs at each multiple of
//! `logEveryNEvents`; here a batch that passes several of them is one line with the total.

use std::num::NonZeroU32;
use std::sync::Arc;

use serde::Deserialize;
use splashdam_core::{
    Batch, Component, Context, DeliverError, Delivered, Facts, OpenError, Sink, Size,
};
use tracing::info;

/// Keys of the null sink.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Config {
    /// Events per transaction.
    pub batch_size: NonZeroU32,
    /// Events after which the total is logged.
    #[serde(rename = "logEveryNEvents")]
    pub log_every_n_events: NonZeroU32,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            batch_size: const { NonZeroU32::new(100).unwrap() },
            log_every_n_events: const { NonZeroU32::new(10_000).unwrap() },
        }
    }
}

impl Config {
    fn batch_events(&self) -> usize {
        usize::try_from(self.batch_size.get()).unwrap_or(usize::MAX)
    }
}

/// The sink.
pub struct Null {
    name: Arc<str>,
    config: Config,
    total: u64,
}

impl Component for Null {
    const TYPE: &'static str = "null";
    const ALIASES: &'static [&'static str] = &["org.apache.flume.sink.NullSink"];
    type Config = Config;

    async fn open(config: Config, cx: Context) -> Result<Self, OpenError> {
        Ok(Null { name: cx.name, config, total: 0 })
    }

    fn facts(config: &Config) -> Facts {
        Facts {
            batch_events: Some(config.batch_events()),
            place: Some("discards events".into()),
            ..Facts::default()
        }
    }
}

impl Null {
    /// Counts `events` and answers with the last multiple of `logEveryNEvents` among them.
    fn count(&mut self, events: usize) -> Option<u64> {
        let every = u64::from(self.config.log_every_n_events.get());
        let before = self.total / every;
        self.total += events as u64;
        (self.total / every > before).then(|| self.total / every * every)
    }
}

impl Sink for Null {
    fn limit(&self) -> Size {
        Size::events(self.config.batch_events())
    }

    async fn deliver(&mut self, batch: &Batch) -> Result<Delivered, DeliverError> {
        if let Some(total) = self.count(batch.len()) {
            info!(component = %self.name, total, "null sink took {total} events");
        }
        Ok(Delivered::all(batch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use splashdam_config::Section;
    use splashdam_core::Role;
    use splashdam_testkit::{context, contract};

    #[tokio::test]
    async fn keeps_the_contract() {
        contract::sink::<Null>("").await;
        contract::sink::<Null>("batchSize = 1\nlogEveryNEvents = 1").await;
    }

    #[tokio::test]
    async fn totals_are_told_at_multiples() {
        let keys = "logEveryNEvents = 10\nbatchSize = 7";
        let mut null = contract::open_sink::<Null>(keys, context(Role::Sink)).await;
        assert_eq!(Sink::limit(&null), Size::events(7));
        let told: Vec<_> = [7, 2, 1, 9, 35, 5].map(|events| null.count(events)).into();
        assert_eq!(told, [None, None, Some(10), None, Some(50), None]);
    }

    #[test]
    fn keys_must_be_positive() {
        let check = |keys: &str, want: Option<(usize, u32)>| {
            let config = Section::parse(keys).read::<Config>().into_result().ok();
            let got = config.map(|c| (c.batch_events(), c.log_every_n_events.get()));
            assert_eq!(got, want, "{keys}");
        };
        check("", Some((100, 10_000)));
        check("batchSize = 5\nlogEveryNEvents = 6", Some((5, 6)));
        check("batchSize = 0", None);
        check("logEveryNEvents = 0", None);
        check("logEveryNEvents = -1", None);
    }
}
