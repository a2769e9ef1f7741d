//! Sink `external`: batches go to a process of one's own, in any language.
//!
//! Not in Flume, where one writes a Java class. The process is spoken to over its standard input and
//! output (`docs/external.md`). It says when it has stored a batch, and which of its events it refuses
//! for good: these go to the channel that `deadLetter` names, or away. A batch that it wants again, or
//! has not answered within `timeout` or by its end, is rolled back and delivered again. An event that
//! no message can carry goes to the channel of dead letters too; without one it holds the sink.

use std::num::NonZeroUsize;

use serde::Deserialize;
use splashdam_config::{Diagnostic, Section};
use splashdam_core::{
    Batch, Component, Context, DeliverError, Delivered, Facts, OpenError, Probed, Rejected, Sink,
    Size,
};
use splashdam_wire::external::{Refusal, read_refusals};

use crate::external::{ProcessConfig, Settings, Worker, check, probe};

/// Keys of the external sink.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// The process.
    #[serde(rename = ".process")]
    pub process: ProcessConfig,
    /// Events in one transaction.
    #[serde(default = "batch_size")]
    pub batch_size: NonZeroUsize,
}

fn batch_size() -> NonZeroUsize {
    const { NonZeroUsize::new(100).unwrap() }
}

/// The sink.
pub struct External {
    batch_size: NonZeroUsize,
    most_bytes: usize,
    /// Whether somebody takes what no message can carry.
    dead_letters: bool,
    worker: Worker<Refusal>,
}

impl Component for External {
    const TYPE: &'static str = "external";
    type Config = Config;

    async fn open(config: Config, cx: Context) -> Result<Self, OpenError> {
        let batch_size = config.batch_size;
        let settings = Settings::new(config.process, "sink", Some(batch_size), &cx);
        let most_bytes = settings.most_message_bytes();
        let read = |done: &_, events: &[_]| read_refusals(done, events.len());
        let worker = Worker::start(settings, read, cx.random());
        Ok(External { batch_size, most_bytes, dead_letters: cx.dead_letters, worker })
    }

    async fn probe(config: Config, cx: Context) -> Probed {
        probe(Settings::new(config.process, "sink", Some(config.batch_size), &cx)).await
    }

    fn facts(config: &Config) -> Facts {
        let crash =
            "a batch that the process has stored without having answered is delivered again";
        Facts {
            batch_events: Some(config.batch_size.get()),
            place: Some(format!("runs `{}`", config.process.command.as_str())),
            process_crash: Some(crash),
            machine_crash: Some(crash),
            rejects: Some(
                "is dropped when the process refuses it for good, and holds the sink when no message can carry it",
            ),
            ..Facts::default()
        }
    }

    fn check(config: &Config, section: &Section) -> Vec<Diagnostic> {
        check(&config.process, section)
    }
}

impl Sink for External {
    fn limit(&self) -> Size {
        Size { events: self.batch_size.get(), bytes: self.most_bytes }
    }

    async fn deliver(&mut self, batch: &Batch) -> Result<Delivered, DeliverError> {
        let mut rejected: Vec<_> = match self.dead_letters {
            true => self.worker.unfit(batch).collect(),
            false => Vec::new(),
        };
        let places = fit(batch.len(), &rejected);
        if places.is_empty() {
            return Ok(Delivered::all_but(batch, rejected));
        }
        let few: Batch;
        let asked = match rejected.is_empty() {
            true => batch,
            false => {
                few = places.iter().map(|at| batch.events()[*at].clone()).collect();
                &few
            }
        };
        let mut rest = &places[..];
        for (events, refusals) in self.worker.ask(asked).await.map_err(DeliverError::fail_over)? {
            let (part, behind) = rest.split_at(events);
            let reject =
                |of: Refusal| Rejected { at: part[of.at as usize], why: of.why.to_string() };
            rejected.extend(refusals.into_iter().map(reject));
            rest = behind;
        }
        rejected.sort_unstable_by_key(|rejected| rejected.at);
        Ok(Delivered::all_but(batch, rejected))
    }

    async fn close(self) -> Result<(), DeliverError> {
        self.worker.close().await;
        Ok(())
    }
}

/// The places of so many events, but for those that are rejected.
fn fit(events: usize, rejected: &[Rejected]) -> Vec<usize> {
    let mut rejected = rejected.iter().map(|rejected| rejected.at).peekable();
    (0..events).filter(|at| rejected.next_if_eq(at).is_none()).collect()
}

#[cfg(test)]
mod tests;
