//! Interceptor `external`: events go through a process of one's own, in any language.
//!
//! Not in Flume, where one writes a Java class. The process is spoken to over its standard input and
//! output (`docs/external.md`); it drops events, changes them or makes several of one, but never more
//! than came in a batch. What it has not answered is put nowhere: the batch goes to the next process
//! when one ends, and while none answers within `timeout` the source waits or refuses as with a full
//! channel. An event that no message can carry is refused for good, with its batch.

use std::num::NonZeroUsize;

use serde::Deserialize;
use splashdam_config::{Diagnostic, Section};
use splashdam_core::{
    Batch, BoxFuture, Component, Context, DynInterceptor, Event, Facts, Interception, OpenError,
    Probed, RemoteInterceptor, Undone,
};
use splashdam_wire::external::read_edits;

use crate::external::{ProcessConfig, Settings, Worker, check, probe};

/// Keys of the external interceptor.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// The process.
    #[serde(rename = ".process")]
    pub process: ProcessConfig,
    /// Events in one message at the most; larger batches are cut. Default: as many as come.
    pub batch_size: Option<NonZeroUsize>,
}

/// Hands batches to a process.
pub struct External(Worker<Event>);

impl Component for External {
    const TYPE: &'static str = "external";
    type Config = Config;

    async fn open(config: Config, cx: Context) -> Result<Self, OpenError> {
        let settings = Settings::new(config.process, "interceptor", config.batch_size, &cx);
        Ok(External(Worker::start(settings, read_edits, cx.random())))
    }

    async fn probe(config: Config, cx: Context) -> Probed {
        probe(Settings::new(config.process, "interceptor", config.batch_size, &cx)).await
    }

    fn facts(config: &Config) -> Facts {
        let crash = "a batch that the process has not answered goes to the next one again, and into no channel before that";
        Facts {
            place: Some(format!("runs `{}`", config.process.command.as_str())),
            process_crash: Some(crash),
            machine_crash: Some(crash),
            // What it sets only the process knows.
            sets_headers: vec!["*".to_owned()],
            ..Facts::default()
        }
    }

    fn check(config: &Config, section: &Section) -> Vec<Diagnostic> {
        check(&config.process, section)
    }
}

impl DynInterceptor for External {
    fn place(&self) -> Interception<'_> {
        Interception::Elsewhere(self)
    }
}

impl RemoteInterceptor for External {
    fn intercept<'a>(&'a self, batch: &'a mut Batch) -> BoxFuture<'a, Result<(), Undone>> {
        Box::pin(async {
            if batch.is_empty() {
                return Ok(());
            }
            let parts = self.0.ask(batch).await?;
            batch.replace(parts.into_iter().flat_map(|(_, events)| events).collect());
            Ok(())
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.0.close())
    }
}

#[cfg(test)]
mod tests {
    use splashdam_testkit::contract;

    use super::*;
    use crate::external::tests::{example, python};

    #[tokio::test]
    async fn keeps_the_contract() {
        if python() {
            let keys = format!("{}\ntimeout = 60000", example());
            contract::interceptor::<External>(&keys).await;
            contract::interceptor::<External>(&format!("{keys}\nset.drop = plain")).await;
        }
    }
}
