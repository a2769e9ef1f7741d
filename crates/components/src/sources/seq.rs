//! Source `seq`: a counter from 0 as decimal text, one event a number.
//!
//! Flume's class: `org.apache.flume.source.SequenceGeneratorSource`. As there, a refused batch is
//! put again with the same numbers, so none is left out and none comes twice, and a restart begins
//! at 0. Flume tries again without a pause; here the pause grows from `backoffSleepIncrement` to
//! `maxBackoffSleep`.

use std::num::NonZeroU32;
use std::time::Duration;

use serde::Deserialize;
use splashdam_core::{
    Batch, Component, Context, Event, Facts, OpenError, Outlet, Source, SourceError, Stop,
};
use tokio::task::coop::consume_budget;

use super::gave_up;

/// Keys of the sequence generator.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Config {
    /// Events in one transaction, at least 1.
    pub batch_size: NonZeroU32,
    /// Events in all; afterwards the source is idle. Not positive means none at all, as in Flume.
    pub total_events: i64,
    /// Milliseconds to wait after the first refusal by a channel; doubles with each further one.
    pub backoff_sleep_increment: u64,
    /// Milliseconds to wait after a refusal at the most.
    pub max_backoff_sleep: u64,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            batch_size: NonZeroU32::MIN,
            total_events: i64::MAX,
            backoff_sleep_increment: 1000,
            max_backoff_sleep: 5000,
        }
    }
}

/// The source.
pub struct Seq {
    config: Config,
}

impl Component for Seq {
    const TYPE: &'static str = "seq";
    const ALIASES: &'static [&'static str] = &["org.apache.flume.source.SequenceGeneratorSource"];
    type Config = Config;

    async fn open(config: Config, _cx: Context) -> Result<Self, OpenError> {
        Ok(Seq { config })
    }

    fn facts(config: &Config) -> Facts {
        Facts {
            batch_events: Some(config.batch_size.get() as usize),
            place: Some("counts".into()),
            process_crash: Some("the count begins at 0 again"),
            machine_crash: Some("the count begins at 0 again"),
            ..Facts::default()
        }
    }
}

impl Source for Seq {
    async fn run(self, out: Outlet, stop: Stop) -> Result<(), SourceError> {
        let Config { batch_size, total_events, .. } = self.config;
        let first = Duration::from_millis(self.config.backoff_sleep_increment);
        let most = Duration::from_millis(self.config.max_backoff_sleep);
        let mut next = 0;
        while next < total_events && !stop.requested() {
            let end = next.saturating_add(i64::from(batch_size.get())).min(total_events);
            let batch: Batch = (next..end).map(|n| Event::new(n.to_string())).collect();
            if let Err(error) = out.put_patiently(batch, &stop, first, most).await {
                return gave_up(error, &stop);
            }
            next = end;
            consume_budget().await;
        }
        stop.wait().await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use splashdam_core::Role;
    use splashdam_testkit::{Collector, context, contract};

    fn cx() -> Context {
        context(Role::Source)
    }

    #[tokio::test]
    async fn stops() {
        contract::source_stops::<Seq>("", cx).await;
        contract::source_stops::<Seq>("totalEvents = 0", cx).await;
    }

    #[tokio::test(start_paused = true)]
    async fn counts_without_gap_or_repeat_past_refusals() {
        async fn check(keys: &str, refused: usize, want: usize, batches: &[usize]) {
            let collector = Collector::new();
            collector.refuse(refused);
            collector.fail_commits(refused);
            let running =
                contract::run_source(contract::open_source::<Seq>(keys, cx()).await, &collector);
            collector.wait_for(want).await;
            let metrics = running.outlet.clone();
            running.stop().await.unwrap();
            let want: Vec<String> = (0..want).map(|n| n.to_string()).collect();
            assert_eq!(collector.bodies(), want, "{keys}");
            let sizes: Vec<usize> = collector.batches().iter().map(Batch::len).collect();
            assert_eq!(sizes, batches, "{keys}");
            assert_eq!(metrics.metrics().events_accepted.value() as usize, want.len());
            assert_eq!(metrics.metrics().batches_accepted.value() as usize, batches.len());
        }
        check("totalEvents = 3", 0, 3, &[1, 1, 1]).await;
        check("totalEvents = 7\nbatchSize = 3", 0, 7, &[3, 3, 1]).await;
        check("totalEvents = 7\nbatchSize = 3", 2, 7, &[3, 3, 1]).await;
        check("totalEvents = -1", 0, 0, &[]).await;
    }

    #[test]
    fn refuses_an_empty_batch() {
        let keys = splashdam_config::Section::parse("batchSize = 0");
        assert!(keys.read::<Config>().into_result().is_err());
        assert_eq!(Seq::facts(&Config::default()).batch_events, Some(1));
    }
}
